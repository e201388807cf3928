//! Why a secret that was presented is good for nothing. Clients are told one thing of all of these; the log is told which it was.

use std::sync::Arc;

use crate::identity::Account;

/// A secret that is good for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{dead}{}", .robot.as_ref().map(|robot| format!("; it is a robot's, which logs in as {robot}")).unwrap_or_default())]
pub struct DeadSecret {
    /// Why.
    pub dead: Dead,
    /// Which one, as far as it was found.
    pub id: Option<Arc<str>>,
    /// The robot whose it is, where it was presented with another name and would be good with this one.
    pub robot: Option<Account>,
}

impl From<Dead> for DeadSecret {
    fn from(dead: Dead) -> DeadSecret {
        DeadSecret { dead, id: None, robot: None }
    }
}

/// Why a secret is not, or not here and now, as good as its owner's password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Dead {
    /// No records are configured, so that nothing can be found.
    #[error("a secret was presented, and this server keeps none: there is no records section")]
    NotKept,
    /// It is nobody's. Its checksum is right: it was forgotten, made elsewhere, or made up.
    #[error("the secret is not known")]
    Unknown,
    /// Somebody revoked it, or it had to make room for newer ones.
    #[error("the secret was revoked")]
    Revoked,
    /// Its time is over, or will be within a minute.
    #[error("the secret has expired")]
    Expired,
    /// It was not used for too long.
    #[error("the secret was not used for so long that it ended")]
    Idle,
    /// Everything lasting of its owner was ended: signed out everywhere, or the records were restored from a backup.
    #[error("the secret's owner was signed out everywhere")]
    SignedOut,
    /// Its time has not come.
    #[error("the secret is not valid yet")]
    NotYet,
    /// It must not be used from there.
    #[error("the secret must not be used from this network")]
    Network,
    /// It is not for this service.
    #[error("the secret is not for this service")]
    Service,
    /// It was presented with somebody else's name.
    #[error("the secret belongs to another account than the one that was named")]
    NotTheirs,
    /// Its owner is no account any more, or not of the same backend.
    #[error("the secret's owner does not exist any more")]
    OwnerGone,
    /// Its owner is not what it was when the secret was made: another password, or another account of the same name.
    #[error("the secret's owner has another password, or was made anew, since the secret was made")]
    OwnerChanged,
    /// Its owner's backend tells who somebody is only at a login.
    #[error("the secret's owner can only be asked about by a login")]
    OwnerHidden,
    /// Its robot was switched off.
    #[error("the robot is disabled")]
    RobotOff,
    /// An access token of it was made before the secret was renewed.
    #[error("the secret was renewed since")]
    Renewed,
}

impl Dead {
    /// All of them.
    pub const ALL: [Dead; 15] = [
        Dead::NotKept,
        Dead::Unknown,
        Dead::Revoked,
        Dead::Expired,
        Dead::Idle,
        Dead::SignedOut,
        Dead::NotYet,
        Dead::Network,
        Dead::Service,
        Dead::NotTheirs,
        Dead::OwnerGone,
        Dead::OwnerChanged,
        Dead::OwnerHidden,
        Dead::RobotOff,
        Dead::Renewed,
    ];

    /// The reason's name in the log and in the metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Dead::NotKept => "secret_not_kept",
            Dead::Unknown => "secret_unknown",
            Dead::Revoked => "secret_revoked",
            Dead::Expired => "secret_expired",
            Dead::Idle => "secret_idle",
            Dead::SignedOut => "secret_signed_out",
            Dead::NotYet => "secret_not_yet",
            Dead::Network => "secret_network",
            Dead::Service => "secret_service",
            Dead::NotTheirs => "secret_not_theirs",
            Dead::OwnerGone => "secret_owner_gone",
            Dead::OwnerChanged => "secret_owner_changed",
            Dead::OwnerHidden => "secret_owner_hidden",
            Dead::RobotOff => "secret_robot_disabled",
            Dead::Renewed => "secret_renewed",
        }
    }
}
