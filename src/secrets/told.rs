//! What is told of a secret: all that is kept of it but its hash, in the JSON that commands and API share.

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::ending::same_owner;
use super::{Dead, lives_at_all};
use crate::identity::{Closed, LookUp};
use crate::records::{Found, Kept, Owner};

/// What became of a secret: by itself, and once its owner was looked up ([`State::held_against`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing has ended it.
    Active,
    /// Somebody revoked it, or it had to make room.
    Revoked,
    /// Its time is over.
    Expired,
    /// It rested for too long.
    Idle,
    /// Its owner was signed out everywhere since it was made.
    SignedOut,
    /// Its owner has another password, or was made anew, since it was made.
    OwnerChanged,
    /// Its owner is no account any more, or one of another backend.
    OwnerGone,
    /// Its owner may not be used now: switched off, or before or after its time. It comes back with its owner.
    OwnerClosed,
    /// Its owner can only be asked about by a login, so that the secret is good for nothing now.
    OwnerHidden,
    /// Nothing that the records know has ended it; its owner's backend could not tell the rest.
    Unknown,
}

impl State {
    /// The state of a secret that was found, whoever its owner is now.
    pub(super) fn of(found: &Found, now: OffsetDateTime) -> State {
        lives_at_all(found, now).map_or_else(State::from, |()| State::Active)
    }

    /// The same of a secret whose owner was looked up; `owner` is `None` where that could not be found out.
    #[must_use]
    pub fn held_against(self, kept: &Kept, owner: Option<&LookUp>, now: OffsetDateTime) -> State {
        match (self, owner) {
            (State::Active, Some(LookUp::Known(owner))) => match same_owner(&kept.owner, owner) {
                Err(dead) => dead.into(),
                Ok(_) => match owner.standing.check(now) {
                    Ok(()) => State::Active,
                    Err(Closed::Disabled | Closed::NotYet | Closed::Over) => State::OwnerClosed,
                },
            },
            (State::Active, Some(LookUp::Unknown)) => State::OwnerGone,
            (State::Active, Some(LookUp::OnlyByLogin)) => State::OwnerHidden,
            (State::Active, None) => State::Unknown,
            (
                State::Revoked
                | State::Expired
                | State::Idle
                | State::SignedOut
                | State::OwnerChanged
                | State::OwnerGone
                | State::OwnerClosed
                | State::OwnerHidden
                | State::Unknown,
                _,
            ) => self,
        }
    }

    /// Whether it can still be of use to somebody, as far as is known.
    pub fn may_be_good(self) -> bool {
        match self {
            State::Active | State::Unknown => true,
            State::Revoked
            | State::Expired
            | State::Idle
            | State::SignedOut
            | State::OwnerChanged
            | State::OwnerGone
            | State::OwnerClosed
            | State::OwnerHidden => false,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Revoked => "revoked",
            State::Expired => "expired",
            State::Idle => "idle",
            State::SignedOut => "signed_out",
            State::OwnerChanged => "owner_changed",
            State::OwnerGone => "owner_gone",
            State::OwnerClosed => "owner_closed",
            State::OwnerHidden => "owner_hidden",
            State::Unknown => "unknown",
        }
    }
}

impl From<Dead> for State {
    fn from(dead: Dead) -> State {
        match dead {
            Dead::Expired => State::Expired,
            Dead::Idle => State::Idle,
            Dead::SignedOut => State::SignedOut,
            Dead::OwnerChanged => State::OwnerChanged,
            Dead::OwnerGone => State::OwnerGone,
            Dead::OwnerHidden => State::OwnerHidden,
            // Of the others, none is said of the secret alone.
            Dead::Revoked
            | Dead::NotKept
            | Dead::Unknown
            | Dead::NotYet
            | Dead::Network
            | Dead::Service
            | Dead::NotTheirs
            | Dead::RobotOff
            | Dead::Renewed => State::Revoked,
        }
    }
}

/// A secret as it is told. There is no field for the secret or its hash.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// Its public name.
    pub id: String,
    /// What it is for.
    pub kind: &'static str,
    /// The account whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The robot whose it is, without the `robot+` that it logs in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub robot: Option<String>,
    /// What its owner calls it.
    pub name: String,
    /// Its last four characters.
    pub last4: String,
    /// What became of it.
    pub state: State,
    /// When it was made.
    pub created: String,
    /// Who made it; nobody at the command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// When it ends; `null` for one that does not by itself.
    pub expires: Option<String>,
    /// When it was revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
    /// The scopes that it is cut to.
    pub allow: Vec<String>,
    /// The networks that it may be used from.
    pub from: Vec<String>,
    /// The services that it may be used for.
    pub services: Vec<String>,
    /// It may be used from this moment on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// Its last use, as far as it is written down; `null` where it was never used.
    pub last_used: Option<LastUse>,
}

/// The last use of a secret.
#[derive(Clone, Debug, Serialize)]
pub struct LastUse {
    /// When.
    pub at: String,
    /// The network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// What the client calls itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client: String,
}

impl Told {
    /// What is told of this secret.
    pub fn of(kept: &Kept, state: State) -> Told {
        let (account, robot) = match &kept.owner {
            Owner::Account { account, .. } | Owner::Workload { account, .. } => (Some(account.to_string()), None),
            Owner::Robot { name, .. } => (None, Some(name.0.to_string())),
        };
        let limits = &kept.limits;
        Told {
            id: kept.id.0.to_string(),
            kind: kept.kind.as_str(),
            account,
            robot,
            name: kept.name.clone(),
            last4: kept.last4.clone(),
            state,
            created: moment(kept.made),
            created_by: kept.maker.as_ref().map(ToString::to_string),
            expires: kept.ends.map(moment),
            revoked: kept.revoked.map(moment),
            allow: limits.allow.clone(),
            from: limits.from.iter().map(ToString::to_string).collect(),
            services: limits.services.clone(),
            not_before: limits.not_before.map(moment),
            last_used: kept.last_use.as_ref().map(|used| LastUse {
                at: moment(used.at),
                network: used.network.map(|network| network.to_string()),
                client: used.client.clone(),
            }),
        }
    }
}

/// A moment in RFC 3339, in UTC and to the second.
fn moment(at: OffsetDateTime) -> String {
    let utc = at.to_offset(time::UtcOffset::UTC);
    utc.replace_nanosecond(0).unwrap_or(utc).format(&Rfc3339).unwrap_or_default()
}
