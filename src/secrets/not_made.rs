//! Why no secret was made, or none changed.

use policy::cut::NotACut;

use super::making::MOST_PERSONAL;
use crate::identity::Closed;
use crate::random;
use crate::records::Failure;

/// The longest name of a robot, in bytes.
pub(super) const LONGEST_ROBOT: usize = 64;
/// The longest name of a secret, in bytes.
pub(super) const LONGEST_NAME: usize = 64;
/// The most networks, and the most services, that one is for.
pub(super) const MOST_LISTED: usize = 64;

/// Why no secret was made, or none changed. For people.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// Nobody knows the account.
    #[error("no backend knows this account")]
    Unknown,
    /// A secret of such an account could never be checked.
    #[error(
        "this account's backend tells who it is only at a login, so that no secret of it could be checked; it gets none"
    )]
    OnlyByLogin,
    /// It would make what outlives the secret that it logged in by.
    #[error("a service gets no secret by its own login; whoever manages it makes one")]
    OfService,
    /// The owner may not be used.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// Nobody said when it ends.
    #[error("say when it ends: in 90d or 12h, on 2027-01-31, or never")]
    NoEnd,
    /// It would be over at once.
    #[error("it would end before it begins; name a later end")]
    Over,
    /// No token could be made from it: registries take none that lives shorter.
    #[error("it would end within a minute, and no token is made that lives shorter than that; name a later end")]
    TooBrief,
    /// The configuration allows no such life.
    #[error("no secret may live longer than {days} days here (lasting.longest); name an earlier end")]
    TooLong {
        /// The longest life, in days.
        days: u64,
    },
    /// It cannot be called so.
    #[error("a name has 1 to {LONGEST_NAME} bytes, and no letters that cannot be seen")]
    Name,
    /// It would be called as a secret is written.
    #[error("this is a secret, which everybody could read in the list; take another name")]
    NamedBySecret,
    /// No robot can be called so.
    #[error(
        "a robot's name is of lower-case letters, digits, and dots, dashes and underscores between them, at most {LONGEST_ROBOT}"
    )]
    RobotName,
    /// The owner has one of this name.
    #[error("there is a living secret of this name already; take another name, or revoke that one")]
    NameTaken,
    /// The account has as many as it may have.
    #[error(
        "an account has at most {MOST_PERSONAL} living secrets of its own, and this one has as many; revoke one that nobody uses"
    )]
    TooMany,
    /// What it may do cannot be read.
    #[error("{0}")]
    Limits(#[from] NotACut),
    /// Too many networks or services.
    #[error("at most {MOST_LISTED} networks and as many services can be named")]
    TooManyListed,
    /// A limit that would let nothing through, or be taken for none.
    #[error(
        "an empty list would be no limit at all; leave the field out to keep what there is, or write null for no limit"
    )]
    NoneListed,
    /// A network that is none.
    #[error("a network is written 10.0.0.0/8, 2001:db8::/32, or as an address")]
    Network,
    /// A first moment that is none.
    #[error("a first moment is written 2027-01-31 or 2027-01-31T18:00:00Z")]
    Moment,
    /// There is no such robot, and no labels by which to make it.
    #[error("there is no robot of this name; to make it, say by labels whose it is")]
    NoRobot,
    /// The robot has other labels.
    #[error("there is a robot of this name already, with other labels; leave them out, or take another name")]
    OtherLabels,
    /// Both of its places are taken.
    #[error("it has two living secrets already; renew one of them, or revoke it")]
    BothSlots,
    /// There is no secret of this id.
    #[error("there is no secret of this id")]
    Missing,
    /// It was revoked, or ended with its owner: nothing brings it back.
    #[error("this secret was ended for good; make a new one")]
    Ended,
    /// Only personal and robots' secrets are renewed.
    #[error("a secret of this kind is not renewed; the next login brings a new one")]
    NotRenewed,
    /// A workload's token that brings no session.
    #[error("no session is given for this token: its entry gives none, or it ends too soon")]
    NoSession,
    /// Only personal and robots' secrets are changed.
    #[error("a secret of this kind is not changed; revoke it, and the next login brings a new one")]
    NotChanged,
    /// Somebody else changed it at the same time.
    #[error("somebody else changed it at the same time; look at it again")]
    Conflict,
    /// The records could not tell, or could not be changed.
    #[error(transparent)]
    Records(#[from] Failure),
    /// There are no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomBytes,
}

impl From<random::NoRandomBytes> for NotMade {
    fn from(_: random::NoRandomBytes) -> NotMade {
        NotMade::NoRandomBytes
    }
}
