//! Secrets that last and replace passwords: which are good, whose they are, and how they are made, renewed and ended.
//!
//! What a secret may do is what its owner may do now, cut by the secret's own limits. Nothing about the owner is remembered but what
//! tells it from another of the same name: who it is, and what it may do, is asked anew at each use.

mod action;
mod changing;
mod dead;
mod device;
mod ending;
mod expires;
mod making;
mod names;
mod not_made;
mod told;
mod uses;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use policy::cut::Cut;
use policy::pattern::LabelValues;
use time::OffsetDateTime;

use self::ending::same_owner;
use crate::identity::{Account, AccountState, IdentifiedBy, Identity, LookUp, Method, Narrowing};
use crate::records::{Failure, Found, Limits, NAME as RECORDS, Owner, Presented, Records, SecretHash, SecretId};
use crate::secret::lasting::LastingSecret;
use crate::turns::{Busy, Client, Turn, Turns};

pub use crate::records::ROBOT_PREFIX;
pub use action::TokenAction;
pub use changing::{Changes, LimitTexts, Wanted, account_of};
pub use dead::{Dead, DeadSecret};
pub use device::{
    Approved, Begun, DEVICE_DAYS, DEVICE_GRANT, DEVICE_INTERVAL, DEVICE_LIFE, DeviceScope, DeviceWish,
    MOST_DEVICE_DAYS, NotBegun, Polled, Said, UserCode, Waiting,
};
pub use ending::is_of;
pub use expires::{Expires, NoExpiry, length};
pub use making::{MOST_PERSONAL, MOST_REFRESH, MOST_SESSIONS, Made, New, pull_only};
pub(crate) use names::is_robots;
pub use names::{robot_account, robot_name};
pub use not_made::NotMade;
pub use told::{State, Told};
pub use uses::{Uses, use_of};

/// How long the records may take to answer. Whoever presents a secret is told 503 by then.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// How many questions are put to the records at once; further ones wait in turns by network.
const AT_ONCE: usize = 32;
/// What is left of a secret's life at least: registries take no shorter token than of a minute.
const LEAST_LEFT: Duration = Duration::from_secs(60);

/// A day, in seconds.
pub(crate) const DAY: u64 = 24 * 3600;

/// What the `lasting:` section says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// For which services a login gets a refresh token, if it asks for one.
    pub refresh: Refresh,
    /// The longest life that may be asked for; `None`: any, and for ever.
    pub longest: Option<Duration>,
}

impl Settings {
    /// How many whole days a secret may be good, and one where it is less.
    pub fn most_days(&self) -> u32 {
        let days = self.longest.map(|longest| u32::try_from(longest.as_secs() / DAY).unwrap_or(u32::MAX));
        days.map_or(u32::MAX, |days| days.max(1))
    }
}

/// For which services a login gets a refresh token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Refresh {
    /// For none.
    #[default]
    Never,
    /// For any.
    Always,
    /// For these.
    For(Vec<String>),
}

impl Refresh {
    /// Whether a login for this service gets one.
    pub fn is_for(&self, service: &str) -> bool {
        match self {
            Refresh::Never => false,
            Refresh::Always => true,
            Refresh::For(services) => services.iter().any(|own| own == service),
        }
    }
}

/// The secrets of one configuration.
pub struct Lasting {
    store: Arc<dyn Records>,
    settings: Settings,
    /// The names of the workload entries that there are: sessions end with theirs.
    workloads: Vec<String>,
    uses: Arc<Uses>,
    turns: Turns,
}

/// A secret that is good as far as can be told from itself. What is open is its owner.
pub struct Living {
    found: Found,
    cut: Cut,
}

/// Who says who the owner of a secret is.
pub enum Asked<'living> {
    /// A backend, by a look-up of this account, whose answer goes into [`Living::of_account`].
    Backends(&'living Account),
    /// The records themselves.
    Nobody(Identity),
}

impl Lasting {
    /// Secrets in these records. `uses` are those that no snapshot before has written down.
    pub fn new(store: Arc<dyn Records>, settings: Settings, uses: Arc<Uses>) -> Lasting {
        Lasting { store, settings, workloads: Vec::new(), uses, turns: Turns::new(AT_ONCE) }
    }

    /// The same with these workload entries.
    #[must_use]
    pub fn with_workloads(self, workloads: Vec<String>) -> Lasting {
        Lasting { workloads, ..self }
    }

    /// What the file says of them.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The uses that are not written down yet, for the next configuration.
    pub fn uses(&self) -> Arc<Uses> {
        Arc::clone(&self.uses)
    }

    /// Finds a secret, and says whether it is good at this moment, used from there. One question to the records.
    ///
    /// # Errors
    /// The records could not tell, or no turn came to ask them ([`Busy`]).
    pub(crate) async fn find(
        &self,
        secret: &LastingSecret,
        (client, address): (Client, Option<std::net::IpAddr>),
        now: OffsetDateTime,
    ) -> anyhow::Result<Result<Living, DeadSecret>> {
        let hash = secret.hash();
        let Some(found) = self.ask(client, self.store.find(&hash)).await? else { return Ok(Err(Dead::Unknown.into())) };
        // Two hands of one store could differ on what is equal; the kind is in the secret, and so in the hash.
        if found.secret.hash != hash || found.secret.kind != secret.kind() {
            return Ok(Err(Dead::Unknown.into()));
        }
        let refused = |dead: Dead| {
            let id = Some(Arc::clone(&found.secret.id.0));
            Ok(Err(DeadSecret { id, ..dead.into() }))
        };
        if let Err(dead) = lives(&found, now) {
            return refused(dead);
        }
        if let Err(dead) = fits(&found.secret.limits, address, now) {
            return refused(dead);
        }
        let cut = cut_of(&found)?;
        Ok(Ok(Living { found, cut }))
    }

    /// The secret that an access token was made for, if it would be as good now, presented from there, as it was then. What is open is
    /// its owner. One question to the records.
    ///
    /// # Errors
    /// As for [`Lasting::find`].
    pub(crate) async fn honours(
        &self,
        token: &TokenOfSecret<'_>,
        (client, address): (Client, Option<std::net::IpAddr>),
        now: OffsetDateTime,
    ) -> anyhow::Result<Result<Living, Dead>> {
        let id = SecretId(token.id.into());
        let Some(found) = self.ask(client, self.store.get(&id)).await? else { return Ok(Err(Dead::Unknown)) };
        let honoured = lives_at_all(&found, now).and_then(|()| {
            if found.epoch.0 != token.epoch {
                return Err(Dead::SignedOut);
            }
            // Within the second of a renewal, only the characters tell the old one's tokens from the new one's.
            let is_other = token.last4.is_some_and(|last4| last4 != found.secret.last4);
            match is_other || token.made < found.secret.made.unix_timestamp() {
                true => Err(Dead::Renewed),
                false => fits(&found.secret.limits, address, now),
            }
        });
        match honoured {
            Ok(()) => {
                let cut = cut_of(&found)?;
                Ok(Ok(Living { found, cut }))
            }
            Err(dead) => Ok(Err(dead)),
        }
    }

    /// Notes that a token of others was used which may be used once, and that is over at this moment. Of two that ask at once, one is
    /// the first.
    ///
    /// # Errors
    /// As for [`Lasting::find`]; then it is not let in.
    pub(crate) async fn use_up(
        &self,
        (token, over): (&[u8; 32], OffsetDateTime),
        client: Client,
        now: OffsetDateTime,
    ) -> anyhow::Result<Presented> {
        self.ask(client, self.store.see(&SecretHash(*token), over, now)).await
    }

    /// Whether [`Lasting::use_up`] noted this.
    ///
    /// # Errors
    /// The records could not tell.
    pub(crate) async fn is_used_up(&self, token: &[u8; 32]) -> Result<bool, Failure> {
        self.within(self.store.was_seen(&SecretHash(*token))).await
    }

    /// Who the owner is and who says so, as far as the records alone say it; `None` for an account, of which its backend has to be asked.
    fn owner_of(&self, found: &Found) -> Result<Option<(Identity, &'static str)>, Dead> {
        let identity = |account, labels: &Arc<LabelValues>| {
            let (account, labels) = (Some(account), Arc::clone(labels));
            Identity { account, labels, ..Identity::default() }
        };
        match &found.secret.owner {
            Owner::Account { .. } => Ok(None),
            Owner::Robot { name, .. } => {
                let robot = found.robot.as_ref().ok_or(Dead::OwnerGone)?;
                match robot.state {
                    AccountState::Enabled => {}
                    AccountState::Disabled => return Err(Dead::RobotOff),
                }
                let account = robot_account(name).map_err(|_| Dead::OwnerGone)?;
                Ok(Some((identity(account, &robot.labels), RECORDS)))
            }
            Owner::Workload { entry, account, labels } => match self.workloads.contains(entry) {
                true => Ok(Some((identity(account.clone(), labels), WORKLOAD))),
                false => Err(Dead::OwnerGone),
            },
        }
    }

    /// Who has to be asked who the owner of a secret is.
    ///
    /// # Errors
    /// The owner is no more.
    pub fn asked<'living>(&self, living: &'living Living) -> Result<Asked<'living>, Dead> {
        match (self.owner_of(&living.found)?, &living.found.secret.owner) {
            (Some((who, by)), _) => Ok(Asked::Nobody(living.narrowed(who, by))),
            (None, Owner::Account { account, .. }) => Ok(Asked::Backends(account)),
            (None, Owner::Robot { .. } | Owner::Workload { .. }) => Err(Dead::OwnerGone),
        }
    }

    /// Takes note that a secret was used. It is written down later, with others.
    pub fn used(&self, who: &Identity, address: Option<std::net::IpAddr>, client: &str, now: OffsetDateTime) {
        if let Some(narrowing) = &who.narrowing {
            let id = SecretId(Arc::clone(&narrowing.secret));
            self.uses.note(id, narrowing.last_use, use_of(now, address, client));
        }
    }

    /// Writes down the uses that were noted.
    ///
    /// # Errors
    /// They could not be written, and are kept for the next time.
    pub async fn write_uses(&self) -> Result<usize, Failure> {
        self.within(self.uses.write(&*self.store)).await
    }

    /// Waits for this client's turn to ask the records something.
    ///
    /// # Errors
    /// None came in time.
    pub(crate) async fn turn(&self, client: Client) -> Result<Turn, Busy> {
        self.turns.turn(client, crate::clock::now() + PATIENCE).await
    }

    /// Asks the records something in this client's turn.
    async fn ask<T>(&self, client: Client, question: impl Future<Output = Result<T, Failure>>) -> anyhow::Result<T> {
        let _turn = self.turn(client).await?;
        Ok(self.within(question).await?)
    }

    /// The answer, if it comes in time.
    async fn within<T>(&self, question: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let late = |_| Failure::Away { cause: format!("no answer within {} ms", PATIENCE.as_millis()) };
        tokio::time::timeout(PATIENCE, question).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
    }
}

/// What tells who somebody is, where the session of a workload does.
const WORKLOAD: &str = "workload";

/// What an access token says of the secret that it was made for.
#[derive(Clone, Copy, Debug)]
pub struct TokenOfSecret<'claims> {
    /// The secret's id.
    pub id: &'claims str,
    /// Its owner's epoch then.
    pub epoch: i64,
    /// When the token was made, in seconds since 1970.
    pub made: i64,
    /// The secret's last four characters then; tokens of older versions do not say them.
    pub last4: Option<&'claims str>,
}

/// Whether nobody and nothing has ended a secret, and a token of it could still live a minute.
fn lives(found: &Found, now: OffsetDateTime) -> Result<(), Dead> {
    lives_at_all(found, now)?;
    match found.secret.ends {
        Some(end) if end - now < LEAST_LEFT => Err(Dead::Expired),
        Some(_) | None => Ok(()),
    }
}

/// Whether a secret may be used from there, at this moment.
fn fits(limits: &Limits, address: Option<std::net::IpAddr>, now: OffsetDateTime) -> Result<(), Dead> {
    if limits.not_before.is_some_and(|start| now < start) {
        return Err(Dead::NotYet);
    }
    let is_inside = |address| limits.from.iter().any(|network| network.contains(&address));
    match limits.from.is_empty() || address.map(|address| address.to_canonical()).is_some_and(is_inside) {
        true => Ok(()),
        false => Err(Dead::Network),
    }
}

/// Whether nobody and nothing has ended a secret.
fn lives_at_all(found: &Found, now: OffsetDateTime) -> Result<(), Dead> {
    let secret = &found.secret;
    if secret.revoked.is_some() {
        return Err(Dead::Revoked);
    }
    if secret.ends.is_some_and(|end| end <= now) {
        return Err(Dead::Expired);
    }
    if secret.epoch != found.epoch {
        return Err(Dead::SignedOut);
    }
    let last = secret.last_use.as_ref().map_or(secret.made, |used| used.at.max(secret.made));
    match secret.idle {
        Some(idle) if now - last >= idle => Err(Dead::Idle),
        Some(_) | None => Ok(()),
    }
}

/// What is left of its owner's rights.
fn cut_of(found: &Found) -> anyhow::Result<Cut> {
    Cut::parse(found.secret.limits.allow.iter().map(String::as_str))
        .with_context(|| format!("the limits of the secret {} cannot be read", found.secret.id.0))
}

/// How a secret narrows its owner.
fn narrowing(found: &Found, cut: Cut) -> Narrowing {
    let secret = &found.secret;
    Narrowing {
        secret: Arc::clone(&secret.id.0),
        epoch: found.epoch.0,
        last4: secret.last4.clone(),
        cut,
        services: secret.limits.services.clone(),
        made: secret.made,
        ends: secret.ends,
        last_use: secret.last_use.as_ref().map(|used| used.at),
    }
}

impl Living {
    /// The secret, which turns out to be dead.
    pub(crate) fn dead(&self, dead: Dead) -> DeadSecret {
        DeadSecret { id: Some(Arc::clone(&self.found.secret.id.0)), ..dead.into() }
    }

    /// The account of the robot whose it is, if it is one's.
    pub(crate) fn robot(&self) -> Option<Account> {
        match &self.found.secret.owner {
            Owner::Robot { name, .. } => robot_account(name).ok(),
            Owner::Account { .. } | Owner::Workload { .. } => None,
        }
    }

    /// Who it is, of a secret of an account: what a look-up says now, if that is still who the secret was made for.
    ///
    /// # Errors
    /// It is somebody else, or nobody.
    pub fn of_account(&self, said: LookUp) -> Result<Identity, Dead> {
        let identity = match said {
            LookUp::Known(identity) => identity,
            LookUp::Unknown => return Err(Dead::OwnerGone),
            LookUp::OnlyByLogin => return Err(Dead::OwnerHidden),
        };
        let by = same_owner(&self.found.secret.owner, &identity)?;
        Ok(self.narrowed(identity, by))
    }

    /// The owner, as this secret narrows it.
    fn narrowed(&self, owner: Identity, backend: &'static str) -> Identity {
        let secret = &self.found.secret;
        let credential = Some(secret.id.0.to_string());
        let narrowing = narrowing(&self.found, self.cut.clone());
        Identity {
            by: Some(IdentifiedBy { backend, method: Method::Secret, credential }),
            narrowing: Some(Arc::new(narrowing)),
            ..owner
        }
    }
}
