//! Logins that a terminal begins and somebody answers in a browser (RFC 8628): its two codes, the answer, and the one secret that comes
//! of it.
//!
//! Neither code is kept, nor the secret: it is made when the terminal comes for it, once, for who approved it then and still is the
//! same.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;

use super::making::{known, pull_only};
use super::{DAY, Expires, Lasting, Made, New, NotMade};
use crate::client_network::ClientNetwork;
use crate::identity::{Account, Identity, LookUp};
use crate::json;
use crate::random::{self, NoRandomBytes};
use crate::records::devices::{DeviceId, DeviceLogin, UserCodeId};
use crate::records::{Changed, Epoch, Failure, Limits, Version, hexadecimal};
use crate::secret::Secret;
use crate::shown::printable;

/// The one grant of such logins (RFC 8628, section 3.4).
pub const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// How long both codes are good.
pub const DEVICE_LIFE: Duration = Duration::from_secs(600);
/// How long a terminal waits between two questions, at first.
pub const DEVICE_INTERVAL: Duration = Duration::from_secs(2);
/// By how much more once it asked too soon (RFC 8628, section 3.5).
const SLOWER_BY: i64 = 5;
/// The longest it is made to wait, in seconds.
const SLOWEST: i64 = 60;
/// How long an ended login is remembered, so that its terminal learns why.
const REMEMBERED: Duration = Duration::from_secs(600);
/// The most logins of one network that are remembered. Nobody has to be known to begin one.
const MOST_OF_NETWORK: u64 = 50;
/// The most of all networks.
const MOST: u64 = 10_000;
/// The letters of a user code: no vowels, so that it spells nothing, and none that look alike (RFC 8628, section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// How many it has: 34 bits, of which five guesses a minute find none within its life.
const CODE_LENGTH: usize = 8;
/// The longest name of a machine, in bytes. What is added to one that is taken has room behind it.
const LONGEST_MACHINE: usize = 40;
/// How long the secret is good where the terminal does not say, in days. The file's `longest` may be less.
pub const DEVICE_DAYS: u32 = 90;
/// The longest that it may ask for.
pub const MOST_DEVICE_DAYS: u32 = 365;
/// What tells the secret of a machine from an earlier one of its name.
const SUFFIX: StaticFormatDescription = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

/// A login that was begun.
#[derive(Debug)]
pub struct Begun {
    /// What the terminal asks with.
    pub device_code: Secret,
    /// What somebody types.
    pub user_code: UserCode,
}

/// Why none was begun.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// There are too many already.
    #[error("too many logins of terminals were begun; wait a few minutes")]
    TooMany,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomBytes,
    /// The records could not tell, or could not be changed.
    #[error(transparent)]
    Records(#[from] Failure),
}

impl From<NoRandomBytes> for NotBegun {
    fn from(_: NoRandomBytes) -> NotBegun {
        NotBegun::NoRandomBytes
    }
}

/// A code that somebody types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCode(String);

impl UserCode {
    /// Reads what somebody typed: in whatever case, with whatever stands between the letters.
    pub fn read(text: &str) -> Option<UserCode> {
        let letters: String = text
            .chars()
            .filter(|letter| !(letter.is_whitespace() || *letter == '-'))
            .map(|letter| letter.to_ascii_uppercase())
            .take(CODE_LENGTH + 1)
            .collect();
        let is_code = letters.len() == CODE_LENGTH && letters.bytes().all(|letter| LETTERS.contains(&letter));
        is_code.then_some(UserCode(letters))
    }

    fn draw() -> Result<UserCode, NoRandomBytes> {
        let mut letters = String::new();
        while letters.len() < CODE_LENGTH {
            // Twelve times twenty: beyond them, some letters would come more often than others.
            let even = random::bytes::<16>()?.into_iter().filter(|byte| *byte < 240);
            let drawn = even.filter_map(|byte| LETTERS.get(usize::from(byte) % LETTERS.len()).copied().map(char::from));
            letters.extend(drawn.take(CODE_LENGTH - letters.len()));
        }
        Ok(UserCode(letters))
    }

    /// The letters alone.
    pub fn letters(&self) -> &str {
        &self.0
    }

    /// As it is shown: `BCDF-GHJK`.
    pub fn shown(&self) -> String {
        let (first, last) = self.0.split_at_checked(CODE_LENGTH / 2).unwrap_or((&self.0, ""));
        format!("{first}-{last}")
    }

    fn id(&self) -> UserCodeId {
        UserCodeId::of(&self.0)
    }
}

/// What the secret of a login is to be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceScope {
    /// Whatever its owner may do.
    Everything,
    /// Pulling.
    Pull,
}

/// What a terminal asks for.
#[derive(Clone, Copy, Debug)]
pub struct DeviceWish<'wish> {
    /// What it calls its machine.
    pub machine: &'wish str,
    /// Where it asks from.
    pub address: Option<IpAddr>,
    /// What the secret is to be good for.
    pub scope: DeviceScope,
    /// How long, in days: at most [`MOST_DEVICE_DAYS`].
    pub days: u32,
}

/// What is kept of a login besides its codes.
#[derive(Clone, Serialize, Deserialize)]
struct Document {
    machine: String,
    address: Option<IpAddr>,
    scope: DeviceScope,
    days: u32,
    /// How long the terminal has to wait between two questions, in seconds.
    interval: i64,
    /// When it last asked, in milliseconds since 1970.
    asked: Option<i64>,
    answer: Answer,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Open,
    Refused,
    Approved(Approver),
    /// The secret was made.
    Taken,
}

/// Who approved, as they were then.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Approver {
    account: String,
    backend: String,
    mark: Option<String>,
    epoch: i64,
}

impl Approver {
    fn of(account: &Account, who: &Identity, epoch: Epoch) -> Approver {
        Approver {
            account: account.to_string(),
            backend: who.by.as_ref().map(|by| by.backend.to_owned()).unwrap_or_default(),
            mark: who.mark.map(|mark| hexadecimal(&mark)),
            epoch: epoch.0,
        }
    }
}

/// A login that waits for somebody's answer.
pub struct Waiting {
    login: DeviceLogin,
    document: Document,
}

impl Waiting {
    /// What the terminal calls its machine.
    pub fn machine(&self) -> &str {
        &self.document.machine
    }

    /// Where it asked from.
    pub fn address(&self) -> Option<IpAddr> {
        self.document.address
    }

    /// What its secret is to be good for.
    pub fn scope(&self) -> DeviceScope {
        self.document.scope
    }

    /// How long that will be, in days.
    pub fn days(&self) -> u32 {
        self.document.days
    }
}

/// What somebody says to a login.
pub enum Said<'who> {
    /// That it is theirs.
    Yes(&'who Account, &'who Identity),
    /// That it is not.
    No,
}

/// What a terminal learns of its login.
pub enum Polled {
    /// Nobody has answered yet.
    Pending,
    /// The same, and it asked too soon.
    TooSoon,
    /// Somebody refused.
    Refused,
    /// Nobody answered in time.
    Expired,
    /// There is no login of this code, or it came to its end before.
    Unknown,
    /// Somebody approved.
    Approved(Box<Approved>),
}

/// A login that somebody approved, and whose secret is not made yet.
pub struct Approved {
    id: DeviceId,
    seen: Version,
    document: Document,
    approver: Approver,
    account: Account,
}

impl Approved {
    /// Whose it is: who that is now, is asked before the secret is made.
    pub fn account(&self) -> &Account {
        &self.account
    }
}

fn parse(login: &DeviceLogin) -> Result<Document, Failure> {
    // Without the reader's words, which quote the text.
    json::object(login.text.as_bytes()).map_err(|_| Failure::Unusable {
        cause: "a terminal's login in the records is not as this program writes it".to_owned(),
    })
}

fn text_of(document: &Document) -> Result<String, Failure> {
    serde_json::to_string(document).map_err(|error| Failure::Unusable { cause: error.to_string() })
}

fn milliseconds(now: OffsetDateTime) -> i64 {
    i64::try_from(now.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

/// A machine's name as people are shown it: nothing in it writes over the page or the terminal.
fn machine_name(text: &str) -> String {
    let text = printable(text.trim());
    let mut name = String::new();
    for letter in text.chars() {
        if name.len() + letter.len_utf8() > LONGEST_MACHINE {
            break;
        }
        name.push(letter);
    }
    if name.is_empty() { "a terminal".to_owned() } else { name }
}

impl Lasting {
    /// Begins a login for a machine.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn begin_device(
        &self,
        DeviceWish { machine, address, scope, days }: DeviceWish<'_>,
        now: OffsetDateTime,
    ) -> Result<Begun, NotBegun> {
        let network = ClientNetwork::of(address).to_string();
        self.within(self.store.forget_devices(now.saturating_sub(REMEMBERED.try_into().unwrap_or_default()))).await?;
        let count = self.within(self.store.count_devices(&network)).await?;
        if count.of_network >= MOST_OF_NETWORK || count.all >= MOST {
            return Err(NotBegun::TooMany);
        }
        let document = Document {
            machine: machine_name(machine),
            address,
            scope,
            days: days.min(MOST_DEVICE_DAYS).min(self.settings().most_days()),
            interval: i64::try_from(DEVICE_INTERVAL.as_secs()).unwrap_or(SLOWEST),
            asked: None,
            answer: Answer::Open,
        };
        let text = text_of(&document)?;
        loop {
            let device_code = Secret::new(URL_SAFE_NO_PAD.encode(random::bytes::<32>()?));
            let user_code = UserCode::draw()?;
            let login = DeviceLogin {
                id: DeviceId::of(device_code.reveal()),
                code: user_code.id(),
                network: network.clone(),
                ends: now.saturating_add(DEVICE_LIFE.try_into().unwrap_or_default()),
                text: text.clone(),
                version: Version(1),
            };
            match self.within(self.store.make_device(&login)).await? {
                Changed::Done => return Ok(Begun { device_code, user_code }),
                // Somebody has the code at this moment: of so many codes, the next is free.
                Changed::Conflict | Changed::Missing => {}
            }
        }
    }

    /// The login of a code that somebody typed, if it still waits for an answer.
    ///
    /// # Errors
    /// The records could not tell.
    pub async fn waiting_device(&self, code: &UserCode, now: OffsetDateTime) -> Result<Option<Waiting>, Failure> {
        let Some(login) = self.within(self.store.device_called(&code.id())).await? else { return Ok(None) };
        let document = parse(&login)?;
        let is_open = matches!(document.answer, Answer::Open) && now < login.ends;
        Ok(is_open.then_some(Waiting { login, document }))
    }

    /// Answers a login. [`Changed::Conflict`] where it no longer waits.
    ///
    /// # Errors
    /// The records could not tell, or could not be changed.
    pub async fn answer_device(&self, waiting: Waiting, said: Said<'_>) -> Result<Changed, Failure> {
        let answer = match said {
            Said::No => Answer::Refused,
            Said::Yes(account, who) => Answer::Approved(Approver::of(account, who, self.epoch(account).await?)),
        };
        let Waiting { mut login, mut document } = waiting;
        loop {
            document.answer = answer.clone();
            let text = text_of(&document)?;
            match self.within(self.store.replace_device(&login.id, &text, login.version)).await? {
                Changed::Conflict => {}
                changed => return Ok(changed),
            }
            // The terminal asks all the time, which is written down too.
            let Some(found) = self.within(self.store.device(&login.id)).await? else { return Ok(Changed::Missing) };
            document = parse(&found)?;
            login = found;
            match document.answer {
                Answer::Open => {}
                Answer::Refused | Answer::Approved(_) | Answer::Taken => return Ok(Changed::Conflict),
            }
        }
    }

    /// What a terminal learns that asks with its device code.
    ///
    /// # Errors
    /// The records could not tell, or could not be changed.
    pub async fn poll_device(&self, device_code: &str, now: OffsetDateTime) -> Result<Polled, Failure> {
        let id = DeviceId::of(device_code);
        let Some(login) = self.within(self.store.device(&id)).await? else { return Ok(Polled::Unknown) };
        let mut document = parse(&login)?;
        match &document.answer {
            Answer::Taken => return Ok(Polled::Unknown),
            Answer::Open | Answer::Refused | Answer::Approved(_) if login.ends <= now => return Ok(Polled::Expired),
            Answer::Refused => return Ok(Polled::Refused),
            Answer::Approved(approver) => {
                let approver = approver.clone();
                let account = Account::parse(&approver.account).map_err(|_| Failure::Unusable {
                    cause: "the account of a terminal's login is not as this program writes it".to_owned(),
                })?;
                let seen = login.version;
                return Ok(Polled::Approved(Box::new(Approved { id, seen, document, approver, account })));
            }
            Answer::Open => {}
        }
        let at = milliseconds(now);
        let wait = document.interval.saturating_mul(1000);
        let is_too_soon = document.asked.is_some_and(|asked| at.saturating_sub(asked) < wait);
        if is_too_soon {
            document.interval = document.interval.saturating_add(SLOWER_BY).min(SLOWEST);
        }
        document.asked = Some(at);
        // If somebody answers at this moment, the terminal learns it the next time.
        self.within(self.store.replace_device(&id, &text_of(&document)?, login.version)).await?;
        Ok(if is_too_soon { Polled::TooSoon } else { Polled::Pending })
    }

    /// Makes the secret of an approved login, once; `None` where somebody else took it, or who approved it is not who has the account
    /// by now. `owner` is what a look-up says.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn take_device(
        &self,
        approved: Approved,
        owner: LookUp,
        now: OffsetDateTime,
    ) -> Result<Option<Made>, NotMade> {
        let Approved { id, seen, document, approver, account } = approved;
        let (_, who) = known(owner, now)?;
        let is_same = who.account.as_ref() == Some(&account)
            && Approver::of(&account, &who, self.epoch(&account).await?) == approver;
        let text = text_of(&Document { answer: Answer::Taken, ..document.clone() })?;
        // Before it is made: of two that come with one code, one is the first.
        match self.within(self.store.replace_device(&id, &text, seen)).await? {
            Changed::Done if is_same => {}
            Changed::Done | Changed::Missing | Changed::Conflict => return Ok(None),
        }
        let wanted = Duration::from_secs(u64::from(document.days) * DAY);
        let life = self.settings().longest.map_or(wanted, |longest| longest.min(wanted));
        let new = |name: String| New {
            name,
            expires: Some(Expires::In(life)),
            limits: match document.scope {
                DeviceScope::Everything => Limits::default(),
                DeviceScope::Pull => pull_only(),
            },
            maker: Some(account.clone()),
        };
        let made = self.make_personal(LookUp::Known(who.clone()), new(document.machine.clone()), now).await;
        match made {
            // Another machine of this name may have that one, and keeps it.
            Err(NotMade::NameTaken) => {
                let at = now.to_offset(time::UtcOffset::UTC).format(SUFFIX).unwrap_or_default();
                let name = format!("{} ({at})", document.machine);
                self.make_personal(LookUp::Known(who), new(name), now).await.map(Some)
            }
            made => made.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_is_written() -> Result<(), NoRandomBytes> {
        for (text, expected) in [
            ("BCDF-GHJK", Some("BCDFGHJK")),
            (" bcdf ghjk\n", Some("BCDFGHJK")),
            ("BCDFGHJ", None),
            ("BCDFGHJKL", None),
            ("BCDF-GHJA", None),
            ("", None),
            ("ＢCDFGHJK", None),
        ] {
            assert_eq!(UserCode::read(text).as_ref().map(UserCode::letters), expected, "{text}");
        }
        for _ in 0..100 {
            let drawn = UserCode::draw()?;
            assert_eq!(UserCode::read(&drawn.shown()), Some(drawn));
        }
        Ok(())
    }

    #[test]
    fn a_machine_writes_over_nothing() {
        for (text, expected) in [("laptop", "laptop"), (" \t", "a terminal"), ("a\u{202e}b", "a\\u{202e}b")] {
            assert_eq!(machine_name(text), expected);
        }
        assert_eq!(machine_name(&"ä".repeat(100)).len(), LONGEST_MACHINE);
    }
}
