//! What Dockwarden itself remembers: secrets that last, the epochs that end them, robots, and tokens seen once.
//!
//! One trait an entity, each as small as what is asked of it. The moment is an argument wherever one counts: no store reads a clock.
//! An error of any of them means that the store could not tell or could not change; it is never a "no".

mod kept;

use std::collections::BTreeMap;

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::identity::Account;

pub use crate::secret::lasting::{SecretHash, SecretKind};
pub use kept::{Bound, Epoch, Found, Kept, Limits, Owner, Robot, RobotName, SecretId, Slot, Use, Version};

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

    /// Keeps a secret. `most` is how many living ones of its kind the owner may have after it: the longest unused are revoked for it.
    ///
    /// # Errors
    /// [`Failure`]; then nothing was kept.
    async fn add(&self, secret: &Kept, most: Option<u32>, now: OffsetDateTime) -> Result<Added, Failure>;

    /// Lists secrets by id, at most `count`, beginning behind `after`. Those that are revoked or expired are in it.
    ///
    /// # Errors
    /// [`Failure`].
    async fn list(&self, whose: &Whose, after: Option<&SecretId>, count: u32) -> Result<Vec<Kept>, Failure>;

    /// Puts a changed secret (its name, limits, end; its hash, last four characters and when it was made) in the place of the one of the same id, if that still has version `seen`.
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

    /// Forgets secrets that ended (revoked, expired, idle) before this moment: how many.
    ///
    /// # Errors
    /// [`Failure`].
    async fn forget(&self, ended_before: OffsetDateTime) -> Result<u64, Failure>;
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

/// Robots: accounts that are nobody's, and have two secrets each.
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

    /// Puts a changed robot (its labels, whether it is switched off) in the place of the one of its name, if that still has version `seen`.
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
}
