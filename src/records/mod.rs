//! What Dockwarden itself remembers: secrets that last, the epochs that end them, robots, and tokens seen once.
//!
//! One trait an entity, each as small as what is asked of it. The moment is an argument wherever one counts: no store reads a clock.
//! An error of any of them means that the store could not tell or could not change; it is never a "no". Times are kept to the
//! millisecond.

mod backup;
pub mod catalogue;
pub mod devices;
pub mod directory;
mod kept;
mod lock;
pub mod logins;
mod mongo;
pub mod persons;
mod row;
pub mod rule_uses;
mod schema;
mod settings;
mod sql;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use time::OffsetDateTime;
use tracing::warn;

use crate::identity::Account;

pub use crate::secret::lasting::{SecretHash, SecretKind};
pub use backup::{BackupError, Restored, back_up, migrate, restore};
pub use kept::{Bound, Epoch, Found, Kept, Limits, Owner, Robot, RobotName, SecretId, Slot, Use, Version};
pub use logins::{LastLogins, Logins};
pub use row::ROBOT_PREFIX;
pub(crate) use row::{from_hexadecimal, hexadecimal};
pub use rule_uses::{Day, RuleCounts, RuleUse, RuleUses};
pub use settings::{Settings, read};

use catalogue::{EventQueue, Leases, Pulls, Repositories, Sweeps};
use devices::DeviceLogins;
use directory::DirectoryEntries;
use lock::Holding;
use mongo::MongoRecords;
use persons::Persons;
use sql::SqlRecords;

use crate::breaker::Passage;
use crate::reach::{REACH_WITHIN, Reach, Reachable, Reached};

/// How many secrets of a kind that were revoked an owner has at most, where there is a bound on the living ones, and how many that ended
/// by themselves: those that ended last. Build jobs that log in all day would fill the store otherwise.
pub const MOST_ENDED: u32 = 100;

/// The section of the file, and its name in the log and the metrics.
pub const NAME: &str = "records";
/// What the log says when an outage begins.
const DOWN: &str = "the records cannot be asked; whatever needs them is answered with 503 until they can";
/// What it says when it is over.
const BACK: &str = "the records are asked again";

/// The store could not tell, or could not change what it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It cannot be reached, does not answer in time, is locked or full. Passes by itself, or once somebody sees to it.
    #[error("the records cannot be asked: {cause}")]
    Away {
        /// What the driver says; never with a password or a connection string.
        cause: String,
    },
    /// It was written by a newer program, or holds what no version of this program wrote.
    #[error("the records cannot be used: {cause}")]
    Unusable {
        /// What is wrong, and what to do.
        cause: String,
    },
}

/// What came of adding a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is kept from now on. Those that had to go because the owner may have only so many, the longest unused first.
    Kept {
        /// They are revoked.
        evicted: Vec<SecretId>,
    },
    /// The owner has a living secret of this name already, or the robot's slot is taken. Nothing was changed.
    Taken,
    /// The owner has as many as there is room for. Nothing was changed.
    Full,
}

/// How many living secrets of a kind an owner may have, the new one among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Any number.
    Any,
    /// So many: the longest unused are revoked for a new one, and of those that ended, [`MOST_ENDED`] stay.
    Evict(u32),
    /// So many: there is no other.
    Refuse(u32),
}

/// What came of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was made.
    Done,
    /// There is nothing of this id.
    Missing,
    /// Somebody else changed it in between, or it is not in the state that the change needs, such as revoked already.
    Conflict,
}

/// Which secrets a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's.
    #[default]
    All,
    /// An account's.
    Account(Account),
    /// A robot's.
    Robot(RobotName),
}

/// Secrets that last, by the hash of what was handed out.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// Finds a secret, with its owner's epoch and robot as they are now: one question for one use.
    ///
    /// # Errors
    /// [`Failure`], as for all that follow.
    async fn find(&self, hash: &SecretHash) -> Result<Option<Found>, Failure>;

    /// Finds a secret by its id, whether it lives or not, as [`find`](Secrets::find) does.
    ///
    /// # Errors
    /// [`Failure`].
    async fn get(&self, id: &SecretId) -> Result<Option<Found>, Failure>;

    /// Keeps a secret. What ended, also by its owner's epoch, gives its name and slot away.
    ///
    /// # Errors
    /// [`Failure`]; then it may be kept all the same, and nobody was given it.
    async fn add(&self, secret: &Kept, room: Room, now: OffsetDateTime) -> Result<Added, Failure>;

    /// Lists secrets by id, at most `count`, beginning behind `after`. Those that are revoked or expired are in it.
    ///
    /// # Errors
    /// [`Failure`].
    async fn list(&self, whose: &Whose, after: Option<&SecretId>, count: u32) -> Result<Vec<Kept>, Failure>;

    /// Lists an account's secrets of a kind that nothing has ended at this moment, by id, at most `count`, beginning behind `after`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn living(
        &self,
        whose: (&Account, SecretKind),
        page: (Option<&SecretId>, u32),
        now: OffsetDateTime,
    ) -> Result<Vec<Kept>, Failure>;

    /// Puts a changed secret (its name, limits, end; its hash, last four characters and when it was made) in place of the one of the same id, if that still has version `seen`.
    ///
    /// # Errors
    /// [`Failure`]; then whether it was changed is not known.
    async fn replace(&self, secret: &Kept, seen: Version) -> Result<Changed, Failure>;

    /// Revokes a secret for good, from this moment on; [`Changed::Conflict`] where it is revoked already.
    ///
    /// # Errors
    /// [`Failure`]; then whether it was revoked is not known.
    async fn revoke(&self, id: &SecretId, now: OffsetDateTime) -> Result<Changed, Failure>;

    /// Writes down when, where from and by what secrets were last used, in one go; an older use never takes the place of a newer one.
    ///
    /// # Errors
    /// [`Failure`]; nothing is lost but the times.
    async fn used(&self, uses: &BTreeMap<SecretId, Use>) -> Result<(), Failure>;

    /// Forgets secrets of a kind that ended (revoked, expired, idle) before this moment: how many.
    ///
    /// # Errors
    /// [`Failure`].
    async fn forget(&self, kind: SecretKind, ended_before: OffsetDateTime) -> Result<u64, Failure>;
}

/// The epoch of each account. A secret is good while it has the epoch that its owner has.
#[async_trait]
pub trait Epochs: Send + Sync {
    /// An account's epoch; the first one where nobody ever raised it.
    ///
    /// # Errors
    /// [`Failure`].
    async fn epoch(&self, account: &Account) -> Result<Epoch, Failure>;

    /// Ends everything lasting that an account has: its new epoch.
    ///
    /// # Errors
    /// [`Failure`]; then whether it was raised is not known.
    async fn raise(&self, account: &Account, now: OffsetDateTime) -> Result<Epoch, Failure>;

    /// The same for all accounts and robots, as after a backup was restored: what was revoked since must not live again.
    ///
    /// # Errors
    /// [`Failure`].
    async fn raise_all(&self, now: OffsetDateTime) -> Result<(), Failure>;
}

/// Robots: accounts that are nobody's, and have two secrets each. A robot's epoch is that of the account `robot+NAME`.
#[async_trait]
pub trait Robots: Send + Sync {
    /// A robot.
    ///
    /// # Errors
    /// [`Failure`].
    async fn robot(&self, name: &RobotName) -> Result<Option<Robot>, Failure>;

    /// All robots by name, at most `count`, beginning behind `after`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn robots(&self, after: Option<&RobotName>, count: u32) -> Result<Vec<Robot>, Failure>;

    /// Makes a robot; [`Changed::Conflict`] where there is one of its name.
    ///
    /// # Errors
    /// [`Failure`].
    async fn make_robot(&self, robot: &Robot) -> Result<Changed, Failure>;

    /// Puts a changed robot (its labels, whether it is switched off) in place of the one of its name, if that still has version `seen`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn replace_robot(&self, robot: &Robot, seen: Version) -> Result<Changed, Failure>;

    /// Removes a robot, and revokes its secrets.
    ///
    /// # Errors
    /// [`Failure`].
    async fn remove_robot(&self, name: &RobotName, now: OffsetDateTime) -> Result<Changed, Failure>;
}

/// Whether something that may be presented once was presented before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// This is the first time.
    First,
    /// It was, before its end.
    Again,
}

/// Tokens of others that may be used once, kept until they end by themselves.
#[async_trait]
pub trait SeenTokens: Send + Sync {
    /// Notes a token by its hash until it ends, and forgets those that have ended. Of two that ask at once, one is the first.
    ///
    /// # Errors
    /// [`Failure`].
    async fn see(&self, hash: &SecretHash, ends: OffsetDateTime, now: OffsetDateTime) -> Result<Presented, Failure>;

    /// Whether one was noted. Nothing is changed; one that has ended may be forgotten.
    ///
    /// # Errors
    /// [`Failure`].
    async fn was_seen(&self, hash: &SecretHash) -> Result<bool, Failure>;
}

/// All that is remembered, in one store.
#[async_trait]
pub trait Records:
    Secrets
    + Epochs
    + Robots
    + SeenTokens
    + Users
    + Rules
    + EventQueue
    + Repositories
    + Sweeps
    + Pulls
    + Leases
    + DirectoryEntries
    + RuleUses
    + LastLogins
    + Persons
    + DeviceLogins
    + Reachable
{
    /// Makes the store ready before it is needed: a file of SQLite is made, and brought to the form that this program knows.
    ///
    /// # Errors
    /// [`Failure::Unusable`] where a newer program has made it, or nobody ran `dockwarden migrate`: then nothing that needs
    /// records will work. [`Failure::Away`] may pass by itself.
    async fn prepare(&self) -> Result<(), Failure>;
}

/// The records that the settings name; nothing is connected, and no file is made yet.
pub fn open(settings: &Settings) -> Arc<dyn Records> {
    open_for(settings, NAME)
}

/// The same for a section that keeps its own there, by whose name an outage is told.
pub(crate) fn open_for(settings: &Settings, section: &'static str) -> Arc<dyn Records> {
    match settings {
        Settings::Sql(settings) => Arc::new(SqlRecords::new(settings.clone(), section, Holding::Shared)),
        Settings::Mongo(settings) => Arc::new(MongoRecords::new(settings.clone(), section)),
    }
}

/// So many robots are read at a time.
const ROBOTS_AT_ONCE: u32 = 500;

/// All robots, or the first `most` of them.
///
/// # Errors
/// [`Failure`].
pub async fn all_robots(records: &(impl Robots + ?Sized), most: usize) -> Result<Vec<Robot>, Failure> {
    let mut all: Vec<Robot> = Vec::new();
    while all.len() < most {
        let after = all.last().map(|robot| robot.name.clone());
        let more = records.robots(after.as_ref(), ROBOTS_AT_ONCE).await?;
        if more.is_empty() {
            break;
        }
        all.extend(more);
    }
    all.truncate(most);
    Ok(all)
}

/// The records in use, and the settings that they were opened from.
#[derive(Clone)]
pub struct InUse {
    settings: Settings,
    /// The records.
    pub records: Arc<dyn Records>,
}

impl InUse {
    /// Opens them; a server that does not answer is not an error here.
    pub fn open(settings: Settings) -> InUse {
        let records = open(&settings);
        InUse { settings, records }
    }

    /// Takes over what was opened from the same settings, or opens others, which have to answer before those that work are
    /// given up for them.
    ///
    /// # Errors
    /// Others do not answer, or cannot be used.
    pub fn keep_or_open(settings: Settings, before: Option<&InUse>) -> anyhow::Result<InUse> {
        if let Some(kept) = before.filter(|before| before.settings == settings) {
            return Ok(kept.clone());
        }
        let opened = InUse::open(settings);
        let reaching = async { tokio::time::timeout(REACH_WITHIN, opened.records.prepare()).await };
        let prepared = tokio::runtime::Handle::try_current()?.block_on(reaching);
        prepared.context("no answer")?.context(NAME)?;
        Ok(opened)
    }

    /// Makes them ready at the start. Those that are away are asked again when they are needed.
    ///
    /// # Errors
    /// [`Failure::Unusable`].
    pub async fn prepare(&self) -> Result<(), Failure> {
        match self.records.prepare().await {
            Ok(()) => Ok(()),
            Err(unusable @ Failure::Unusable { .. }) => Err(unusable),
            Err(Failure::Away { cause }) => {
                // An outage that the breaker knows of is told by it.
                if self.passage().is_some_and(|(_, passage)| passage == Passage::Passing) {
                    warn!(reason = "backend_down", backend = NAME, cause = %cause, "{DOWN}");
                }
                Ok(())
            }
        }
    }

    /// Whether they are asked, by their name.
    pub fn passage(&self) -> Option<(&'static str, Passage)> {
        Some((NAME, self.records.passage()?))
    }

    /// Tries whether they are there.
    pub async fn reach(&self) -> Option<Reached> {
        let found = self.records.reach().found().await?;
        Some(Reached { name: NAME, found })
    }
}

/// Whether the store has the form that this program knows: one that is older would have been raised before.
fn check_schema(version: Option<i64>, place: &str) -> Result<(), Failure> {
    let cause = match version {
        Some(schema::VERSION) => return Ok(()),
        Some(version) if version > schema::VERSION => format!(
            "{place} was made by a newer Dockwarden (its records have version {version}, and this program knows {}); run that \
             program, or restore a backup of before",
            schema::VERSION
        ),
        Some(_) | None => format!("{place} is not prepared for records; run: dockwarden migrate CONFIG"),
    };
    Err(Failure::Unusable { cause })
}

#[async_trait]
impl Records for SqlRecords {
    async fn prepare(&self) -> Result<(), Failure> {
        SqlRecords::prepare(self).await
    }
}

impl Reachable for SqlRecords {
    fn reach(&self) -> Reach<'_> {
        Reach::server(async {
            if let Some(told) = self.settings().unmade()? {
                return Ok(told);
            }
            found(self, &self.settings().place()).await
        })
    }

    fn passage(&self) -> Option<Passage> {
        Some(SqlRecords::passage(self))
    }
}

#[async_trait]
impl Records for MongoRecords {
    async fn prepare(&self) -> Result<(), Failure> {
        MongoRecords::prepare(self).await
    }
}

impl Reachable for MongoRecords {
    fn reach(&self) -> Reach<'_> {
        Reach::server(async { found(self, &self.place()).await })
    }

    fn passage(&self) -> Option<Passage> {
        Some(MongoRecords::passage(self))
    }
}

async fn found(records: &dyn Records, place: &str) -> anyhow::Result<String> {
    records.prepare().await?;
    records.rules_version().await?;
    Ok(format!("{place} holds the records (version {})", schema::VERSION))
}

/// A user, or all rules, as JSON with the keys that MongoDB's documents have.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    /// The text.
    pub text: String,
    /// Of this record; 0 where nobody ever wrote it.
    pub version: Version,
}

impl Document {
    /// Rules where nobody ever wrote any.
    fn no_rules() -> Document {
        Document { text: "[]".to_owned(), version: Version(0) }
    }
}

/// A user's has the hash of a password.
impl fmt::Debug for Document {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "[document of version {}]", self.version.0)
    }
}

/// Users whose passwords are kept here.
#[async_trait]
pub trait Users: Send + Sync {
    /// A user, by this very name.
    ///
    /// # Errors
    /// [`Failure`].
    async fn user(&self, name: &Account) -> Result<Option<Document>, Failure>;

    /// All users by name, at most `count`, beginning behind `after`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn users(&self, after: Option<&Account>, count: u32) -> Result<Vec<(String, Document)>, Failure>;

    /// Makes a user; [`Changed::Conflict`] where there is one of this name.
    ///
    /// # Errors
    /// [`Failure`].
    async fn make_user(&self, name: &Account, text: &str) -> Result<Changed, Failure>;

    /// Puts another text in place of a user's, if that still has version `seen`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn replace_user(&self, name: &Account, text: &str, seen: Version) -> Result<Changed, Failure>;

    /// Removes a user that still has version `seen`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn remove_user(&self, name: &Account, seen: Version) -> Result<Changed, Failure>;
}

/// Rules that are kept here: one list, changed as a whole, so that nobody is ever answered by half of a change.
#[async_trait]
pub trait Rules: Send + Sync {
    /// All rules; an empty list where nobody ever wrote any.
    ///
    /// # Errors
    /// [`Failure`].
    async fn rules(&self) -> Result<Document, Failure>;

    /// Which version they have: cheap enough to be asked all the time.
    ///
    /// # Errors
    /// [`Failure`].
    async fn rules_version(&self) -> Result<Version, Failure>;

    /// Puts other rules in place of those that still have version `seen`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn replace_rules(&self, text: &str, seen: Version) -> Result<Changed, Failure>;
}
