//! The static users of the configuration file (`users:`), the identity backend that needs nothing else.

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use policy::pattern::{LabelValue, LabelValues};
use settings::refused::shown_name;
use settings::yaml::{Entry, Value};
use settings::{At, DayEnd, Field, Noted, Problem, Secrets, Section};

use super::attempts::Spelled;
use super::hash_kind::HashKind;
use super::password::{Check, PUBLISHED_HASH, PasswordHash, Passwords, Recall, WEAK_BELOW};
use super::{
    Account, AccountState, Alike, Authenticator, Credentials, Identity, LookUp, Outcome, Secret, Standing, Time,
};
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::breaker::Passage;
use crate::client_network::ClientNetwork;
use crate::identity::mark_of;
use crate::reach::{Reach, Reachable};
use crate::secrets::is_robots;

/// One user of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// The bcrypt hash of the password; only the anonymous user (`""`) has none.
    pub password: Option<At<PasswordHash>>,
    /// The labels. Their values are globs: an administrator wrote them.
    pub labels: Arc<LabelValues>,
    /// Whether and when the account may be used.
    pub standing: Standing,
}

/// The row of the table.
pub const KIND: Kind = Kind {
    key: "users",
    purpose: Purpose::Identity,
    read: |field| configured(read(field).filter(|users| !users.is_empty())),
};

/// The `users:` section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Users {
    /// Every client without an account (`""`).
    pub anonymous: Option<User>,
    /// Those with an account.
    pub named: BTreeMap<Account, User>,
}

impl Users {
    /// How many there are, anonymous among them.
    pub fn len(&self) -> usize {
        self.named.len().saturating_add(usize::from(self.anonymous.is_some()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What is said of an account that is called as a robot.
pub(in crate::authn) const ROBOTS_NAME: &str =
    "a name that begins with robot+ is kept for robots (dockwarden token create --robot); give the account another one";

/// A dearer hash than this takes more than a second.
const SLOW_ABOVE: u32 = 13;

/// What is said of `alice:$2y$…`.
fn about_a_line() -> String {
    format!(
        "this is a line of an htpasswd file; write alice: {{password: \"…\"}} with what stands after the colon, or name the \
         file in {}",
        super::htpasswd::KIND.key
    )
}

/// What a key that a user does not have is meant for: a name for labels, mostly.
fn meant_in_user(entry: &Entry) -> Option<String> {
    const LABELS: &[&str] = &["group", "groups", "team", "teams", "role", "roles", "project", "projects"];
    let key = LABELS.iter().find(|word| **word == entry.key)?;
    Some(format!("there is no such key; a label is written labels: {{{key}: […]}}"))
}

/// Reads the `users:` section. Files with passwords are read, whoever asks: without its hash there is no user.
pub fn read(section: Field<'_>) -> Option<Users> {
    let section = section.with(Secrets::Read);
    let Some(entries) = section.entries() else {
        let is_hash = |(_, after): (&str, &str)| HashKind::from_prefix(after).is_some();
        section.problem(match section.value() {
            Value::Text(text) if text.split_once(':').is_some_and(is_hash) => about_a_line(),
            Value::Text(_) | Value::Null | Value::List(_) | Value::Map(_) => {
                "accounts and their settings are expected here: users: {alice: {password: …}}".to_owned()
            }
        });
        return None;
    };
    let mut users = Users::default();
    for (name, field) in entries {
        let account = match Account::parse_or_anonymous(name) {
            Ok(account) => account,
            Err(wrong) => {
                section.problem_at(field.key_place(), wrong.to_string());
                continue;
            }
        };
        if is_robots(name) {
            field.problem_at(field.key_place(), ROBOTS_NAME);
        } else if let Some((_, after)) = name.split_once(':') {
            let message = match HashKind::from_prefix(after) {
                Some(_) => about_a_line(),
                None => "an account's name cannot contain a colon: nobody could log in with it (RFC 7617)".to_owned(),
            };
            field.problem_at(field.key_place(), message);
        } else if matches!(field.value(), Value::Text(text) if HashKind::from_prefix(text).is_some()) {
            let name = shown_name(name);
            field.problem(format!("a hash stands here alone; write {name}: {{password: \"…\"}}"));
        } else if let Some(user) = field.section().and_then(|fields| read_user(account.as_ref(), fields)) {
            match account {
                Some(account) => drop(users.named.insert(account, user)),
                None => users.anonymous = Some(user),
            }
        }
    }
    Some(users)
}

fn read_user(account: Option<&Account>, mut fields: Section<'_>) -> Option<User> {
    let written = fields.secret("password", "password_file");
    let labels = Arc::new(read_labels(&mut fields));
    let state = match fields.flag("disabled") {
        Some(At { value: true, .. }) => AccountState::Disabled,
        Some(At { value: false, .. }) | None => AccountState::Enabled,
    };
    let not_before = fields.moment("not_before", DayEnd::Start);
    let not_after = fields.moment("not_after", DayEnd::End);
    if let (Some(start), Some(end)) = (&not_before, &not_after)
        && start.value >= end.value
    {
        fields.problem(
            &end.place,
            "not_after",
            "the account would expire before it begins; swap not_before and not_after",
        );
    }
    let password = match (account, written) {
        (_, Err(noted)) => Err(noted),
        (None, Ok(Some(written))) => {
            fields.problem(
                &written.place,
                "password",
                "the anonymous user has no password; write \"\": {} or give the account a name",
            );
            Err(Noted)
        }
        (None, Ok(None)) => Ok(None),
        (Some(_), Ok(None)) => {
            // Without a password docker_auth lets in everybody who knows the name.
            fields.missing("password", "a named user needs a bcrypt hash; make one with: dockwarden hash-password");
            Err(Noted)
        }
        (Some(_), Ok(Some(written))) => match PasswordHash::from_str(&written.value) {
            Ok(value) => Ok(Some(At { place: written.place, value })),
            Err(message) => {
                fields.problem(&written.place, "password", message);
                Err(Noted)
            }
        },
    };
    fields.finish_with(meant_in_user);
    let standing =
        Standing { state, not_before: not_before.map(|at| at.value), not_after: not_after.map(|at| at.value) };
    Some(User { password: password.ok()?, labels, standing })
}

fn read_labels(fields: &mut Section<'_>) -> LabelValues {
    let mut labels = LabelValues::new();
    let Some(field) = fields.field("labels") else { return labels };
    let Some(entries) = field.entries() else {
        field.problem("labels are names with lists of values: labels: {team: [web, api]}");
        return labels;
    };
    for (label, field) in entries {
        let mut values = Vec::new();
        for text in field.texts() {
            match LabelValue::glob(&text.value) {
                Ok(value) => values.push(value),
                Err(error) => field.problem_at(&text.place, error.to_string()),
            }
        }
        labels.insert(label.to_owned(), values);
    }
    labels
}

/// The accounts with a password, each with its hash.
pub(super) fn hashes(users: &Users) -> impl Iterator<Item = (&Account, &At<PasswordHash>)> {
    users.named.iter().filter_map(|(account, user)| Some((account, user.password.as_ref()?)))
}

/// What can be used but is probably not meant: hashes that are no protection, or tell who exists.
pub(crate) fn doubts(users: &Users) -> Vec<Problem> {
    let mut found = Vec::new();
    let hashes = || hashes(users);
    let highest = hashes().map(|(_, hash)| hash.value.cost()).max().unwrap_or_default();
    // One warning for all of them: a list of a hundred hides what else is said.
    let mut warn =
        |is_meant: &dyn Fn(u32) -> bool, of_one: &dyn Fn(u32) -> String, of_many: &dyn Fn(usize) -> String| {
            let meant: Vec<_> = hashes().filter(|(_, hash)| is_meant(hash.value.cost())).collect();
            let Some((account, first)) = meant.iter().min_by_key(|(_, hash)| &hash.place) else { return };
            let (path, message) = match meant.len() {
                1 => (format!("users.{account}.password"), of_one(first.value.cost())),
                number => ("users".to_owned(), format!("{} (\"{account}\" has the first)", of_many(number))),
            };
            found.push(Problem::new(first.place.clone(), path, message));
        };
    let anew = format!("with: dockwarden hash-password --cost {WEAK_BELOW}");
    warn(
        &|cost| cost < WEAK_BELOW,
        &|cost| format!("the hash's cost of {cost} is weak; make a new one {anew}"),
        &|number| format!("{number} hashes of a cost below {WEAK_BELOW} are weak; make new ones {anew}"),
    );
    warn(
        &|cost| cost > SLOW_ABOVE,
        &|cost| format!("a cost of {cost} keeps a core busy for seconds at each login; 10 to 12 is usual"),
        &|number| {
            format!(
                "{number} hashes of a cost above {SLOW_ABOVE} keep a core busy for seconds at each login; 10 to 12 is usual"
            )
        },
    );
    // Each of them, since each is a way in: everybody can read these passwords.
    for (account, hash) in hashes().filter(|(_, hash)| hash.value.is_published()) {
        found.push(Problem::new(hash.place.clone(), format!("users.{account}.password"), PUBLISHED_HASH));
    }
    let mixed = hashes().find(|(_, hash)| hash.value.cost() != highest).map(|(_, hash)| &hash.place);
    if let Some(place) = mixed {
        let message = "hashes of different cost take different time, which tells who exists; use one cost for all";
        found.push(Problem::new(place.clone(), "users", message));
    }
    found
}

impl Configured for Users {
    fn open(self: Arc<Self>, passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        Opened::identities(StaticUsers::new(self, Arc::clone(passwords))?)
    }

    fn facts(&self) -> Facts<'_> {
        let anonymous = self.anonymous.iter().map(|user| ("", user));
        let all = anonymous.chain(self.named.iter().map(|(account, user)| (account.as_str(), user)));
        Facts::Accounts(all.map(|(account, user)| (account, &*user.labels)).collect())
    }
}

/// The static users as an identity backend.
pub struct StaticUsers {
    users: Arc<Users>,
    spelled: HashSet<Spelled>,
    usual: PasswordHash,
    passwords: Arc<Passwords>,
}

impl StaticUsers {
    /// A backend over these users.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn new(users: Arc<Users>, passwords: Arc<Passwords>) -> anyhow::Result<StaticUsers> {
        let usual = PasswordHash::nobodys(hashes(&users).map(|(_, hash)| hash.value.cost()))?;
        let spelled = users.named.keys().map(|account| passwords.attempts().spelled(account)).collect();
        Ok(StaticUsers { users, spelled, usual, passwords })
    }
}

impl User {
    /// A user with a password and nothing else.
    pub(super) fn from_hash(hash: At<PasswordHash>) -> User {
        User { password: Some(hash), labels: Arc::default(), standing: Standing::default() }
    }

    /// Who this is under the name that the file has.
    fn identity(&self, account: Option<Account>) -> Identity {
        let mark = self.password.as_ref().map(|hash| mark_of([hash.value.text()]));
        Identity { account, labels: Arc::clone(&self.labels), standing: self.standing, mark, ..Identity::default() }
    }
}

impl Reachable for StaticUsers {
    fn reach(&self) -> Reach<'_> {
        Reach::Nothing
    }

    fn passage(&self) -> Option<Passage> {
        None
    }
}

#[async_trait]
impl Authenticator for StaticUsers {
    fn alike(&self, name: &Spelled) -> Alike {
        match self.spelled.contains(name) {
            true => Alike::Taken,
            false => Alike::Free,
        }
    }

    async fn authenticate(&self, who: &Credentials, from: ClientNetwork) -> anyhow::Result<Outcome> {
        match who {
            // Both are told apart before any backend is asked.
            Credentials::Secret { .. } | Credentials::Workload { .. } => Ok(Outcome::NotMine),
            Credentials::Anonymous => Ok(match &self.users.anonymous {
                Some(user) => Outcome::Accepted(user.identity(None)),
                None => Outcome::NotMine,
            }),
            Credentials::Password { account, password } => {
                let Some(user) = self.users.named.get(account) else { return Ok(Outcome::NotMine) };
                let Some(hash) = &user.password else { return Ok(Outcome::NotMine) };
                let recall = Recall::for_standing(&user.standing);
                Ok(
                    match self
                        .passwords
                        .check(account, password, std::slice::from_ref(&hash.value), recall, from)
                        .await?
                    {
                        Check::Right => Outcome::Accepted(user.identity(Some(account.clone()))),
                        Check::Wrong => Outcome::Rejected,
                    },
                )
            }
        }
    }

    async fn look_up(&self, account: &Account, _from: ClientNetwork) -> anyhow::Result<LookUp> {
        Ok(match self.users.named.get(account) {
            Some(user) => LookUp::Known(user.identity(Some(account.clone()))),
            None => LookUp::Unknown,
        })
    }

    async fn take_time(&self, account: &Account, password: &Secret, from: ClientNetwork) -> anyhow::Result<Time> {
        self.passwords.check_nobody(account, password, &self.usual, std::time::Duration::ZERO, from).await?;
        Ok(Time::Taken)
    }
}
