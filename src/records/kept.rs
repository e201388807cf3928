//! What is kept of a secret, of its owner and of a robot.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use policy::pattern::LabelValues;
use time::OffsetDateTime;

use crate::identity::{Account, AccountState};
use crate::secret::lasting::{SecretHash, SecretKind};

/// A secret's public name in lists, logs and tokens. Nothing can be done with it alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretId(pub Arc<str>);

/// A robot's name, without the `robot+` that it logs in with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RobotName(pub Arc<str>);

/// A number an account; raising it ends everything lasting that was made before. The first is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub i64);

/// Counts the changes of a record, so that nobody overwrites what they have not seen. The first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub i64);

/// A secret as it is kept. The secret itself is not.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its public name.
    pub id: SecretId,
    /// What it is for.
    pub kind: SecretKind,
    /// What it is found by.
    pub hash: SecretHash,
    /// Its last four characters, by which people recognise it.
    pub last4: String,
    /// What its owner calls it; of one owner's living secrets of a kind, each has another.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// The owner's epoch when it was made.
    pub epoch: Epoch,
    /// By whom it was made; `None` at the command line.
    pub maker: Option<Account>,
    /// What it may do of what its owner may.
    pub limits: Limits,
    /// When it was made.
    pub made: OffsetDateTime,
    /// When it ends by itself; `None` where somebody said "never".
    pub ends: Option<OffsetDateTime>,
    /// It ends, too, when it was not used for so long.
    pub idle: Option<Duration>,
    /// When it was revoked.
    pub revoked: Option<OffsetDateTime>,
    /// Its last use that was written down.
    pub last_use: Option<Use>,
    /// Of this record.
    pub version: Version,
}

/// Whose a secret is.
#[derive(Clone, Debug, PartialEq)]
pub enum Owner {
    /// An account's, as it was when the secret was made.
    Account {
        /// The account, as its backend spells it.
        account: Account,
        /// What it was then.
        bound: Bound,
    },
    /// A robot's.
    Robot {
        /// Which.
        name: RobotName,
        /// In which of its two places.
        slot: Slot,
    },
    /// Of a workload, by the entry of the configuration that knew it. It ends with the entry.
    Workload {
        /// The entry's name.
        entry: String,
        /// The account that it was given.
        account: Account,
        /// The labels that it was given.
        labels: Arc<LabelValues>,
    },
}

/// What an account was when a secret was made for it: removed and made anew, or with another password, it is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The backend that knew it, by its section of the file.
    pub backend: String,
    /// What tells the account from another of its name: a digest of its id and of its password's hash, where the backend knows one.
    pub mark: Option<[u8; 32]>,
}

/// One of a robot's two places for a secret: the new one is handed out while the old one still works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The first.
    One,
    /// The second.
    Two,
}

/// How a secret is narrower than its owner. What is empty narrows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Scopes as a client asks for them, with globs for names (`repository:team/*:pull`); one of them has to allow each action.
    pub allow: Vec<String>,
    /// The networks that it may be used from.
    pub from: Vec<IpNet>,
    /// The services that it may be used for.
    pub services: Vec<String>,
    /// It may be used from this moment on.
    pub not_before: Option<OffsetDateTime>,
}

/// A use of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// When.
    pub at: OffsetDateTime,
    /// From where: a network of 24 bits (48 for IPv6), no more than is needed to recognise it.
    pub network: Option<IpNet>,
    /// By what, as the client calls itself; at most 64 bytes.
    pub client: String,
}

/// A secret that was found, and all that tells whether it is good.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The secret.
    pub secret: Kept,
    /// Its owner's epoch now.
    pub epoch: Epoch,
    /// The robot, where it is a robot's; `None` once that was removed.
    pub robot: Option<Robot>,
}

/// An account that is nobody's: it belongs to a team, by its labels, and outlives people.
#[derive(Clone, Debug, PartialEq)]
pub struct Robot {
    /// Its name.
    pub name: RobotName,
    /// What rules give it rights by.
    pub labels: Arc<LabelValues>,
    /// Whether somebody switched it off.
    pub state: AccountState,
    /// When it was made.
    pub made: OffsetDateTime,
    /// Of this record.
    pub version: Version,
}
