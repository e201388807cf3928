//! Who somebody is: what is presented, who it turns out to be, and what an identity backend may say of it.

mod account;

use std::sync::Arc;

use policy::cut::Cut;
use policy::pattern::LabelValues;
use time::OffsetDateTime;

use crate::digest::sha256;
use crate::secret::Secret;
use crate::secret::lasting::LastingSecret;

pub use account::{Account, MAX_TYPED, NotAnAccount};

/// What the client presented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing: no header, or an empty one. Whether that is somebody, the chain decides.
    Anonymous,
    /// An account and a password, which is not empty.
    Password {
        /// The account as the client wrote it.
        account: Account,
        /// The password.
        password: Secret,
    },
    /// A secret of ours, which says by itself whose it is.
    Secret {
        /// The account that was named with it, where one was. It is not believed, but must not be somebody else's.
        claimed: Option<Account>,
        /// The secret.
        secret: LastingSecret,
    },
    /// A workload's token, which was presented as one and is nothing else: nobody is asked about it as a password.
    Workload {
        /// The token.
        token: Secret,
    },
}

impl Credentials {
    /// The account that is claimed.
    pub fn account(&self) -> Option<&Account> {
        match self {
            Credentials::Anonymous | Credentials::Workload { .. } => None,
            Credentials::Password { account, .. } => Some(account),
            Credentials::Secret { claimed, .. } => claimed.as_ref(),
        }
    }

    /// The account and the password: for backends that know accounts by passwords, and nobody who presents anything else.
    pub fn password(&self) -> Option<(&Account, &Secret)> {
        match self {
            Credentials::Anonymous | Credentials::Secret { .. } | Credentials::Workload { .. } => None,
            Credentials::Password { account, password } => Some((account, password)),
        }
    }

    /// How these tell who somebody is.
    pub(crate) fn method(&self) -> Method {
        match self {
            Credentials::Anonymous => Method::Anonymous,
            Credentials::Password { .. } => Method::Password,
            Credentials::Secret { .. } => Method::Secret,
            Credentials::Workload { .. } => Method::Workload,
        }
    }
}

/// Who it turned out to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identity {
    /// The account, as the backend spells it; `None` for anonymous.
    pub account: Option<Account>,
    /// Label name to values; shared, since every request of an account carries the same ones.
    pub labels: Arc<LabelValues>,
    /// Whether and when the account may be used.
    pub standing: Standing,
    /// Who said so. Set where backends are asked, not by each backend; `None` where nobody was asked.
    pub by: Option<IdentifiedBy>,
    /// What tells the account from another of the same name, now or later: a digest of its id and its password's hash, where the
    /// backend knows one of them. Secrets that last are bound to it.
    pub mark: Option<[u8; 32]>,
    /// How it is narrower than the account, where a secret was presented.
    pub narrowing: Option<Arc<Narrowing>>,
    /// Until when a session of it may live, where a workload's token was presented that brings one.
    pub session: Option<OffsetDateTime>,
    /// What it is.
    pub kind: Kind,
}

/// What an account is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A person's, or whatever else logs in by a name.
    #[default]
    Account,
    /// A service of the directory. By its secrets it does nothing but log in: what it could make by a stolen one would live on when
    /// that is exchanged.
    Service,
}

/// What tells an account from another of the same name ([`Identity::mark`]), made of what tells it: its id, its password's hash.
pub(crate) fn mark_of<Part: AsRef<[u8]>>(parts: impl IntoIterator<Item = Part>) -> [u8; 32] {
    sha256(parts)
}

/// How a secret that was presented is narrower than its owner.
#[derive(Clone, Debug, PartialEq)]
pub struct Narrowing {
    /// The secret's id.
    pub secret: Arc<str>,
    /// Its owner's epoch.
    pub epoch: i64,
    /// Its last four characters.
    pub last4: String,
    /// What is left of its owner's rights.
    pub cut: Cut,
    /// The services that it is for; empty means any.
    pub services: Vec<String>,
    /// When it was made, or made anew; no token that is older is one of it.
    pub made: OffsetDateTime,
    /// When it ends; no token outlives it.
    pub ends: Option<OffsetDateTime>,
    /// Its last use that is written down.
    pub last_use: Option<OffsetDateTime>,
}

impl Identity {
    /// The account as rules, tokens and the log have it: empty for anonymous.
    pub fn name(&self) -> &str {
        self.account.as_deref().unwrap_or_default()
    }
}

/// Who said who somebody is, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentifiedBy {
    /// The backend, by its section of the file; `token` for a token of ours.
    pub backend: &'static str,
    /// What it went by.
    pub method: Method,
    /// Which credential it was, where it has an id: a token's `jti`, a secret's id, or the entry of `workload:`.
    pub credential: Option<String>,
}

/// What it was told by who somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Nothing was presented, and the backend lets in whoever does so.
    Anonymous,
    /// A password.
    Password,
    /// A docker password that docker_auth gave. It logs in, and can make no other.
    OldPassword,
    /// A token of ours.
    Token,
    /// A workload's token from an issuer that is trusted.
    Workload,
    /// A secret of ours.
    Secret,
    /// The account's name alone: an administrator asks, and nobody logs in.
    LookUp,
}

/// Whether and when an account may be used. Looked at where decisions are made, not where passwords are checked, so
/// that no door can forget it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether somebody switched the account off.
    pub state: AccountState,
    /// The account may be used from this moment on.
    pub not_before: Option<OffsetDateTime>,
    /// The account may be used until just before this moment; no token outlives it.
    pub not_after: Option<OffsetDateTime>,
}

/// Whether somebody switched an account off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccountState {
    /// It may be used.
    #[default]
    Enabled,
    /// It may not be used, whatever its password.
    Disabled,
}

/// Who says that an account may not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClosedBy {
    /// What is written of it here.
    #[error(transparent)]
    Standing(#[from] Closed),
    /// Whoever keeps the account: its words.
    #[error("{0}")]
    Keeper(String),
}

/// Why an account with the right password gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// Switched off.
    #[error("the account is disabled")]
    Disabled,
    /// Its time has not come.
    #[error("the account is not valid yet")]
    NotYet,
    /// Its time is over.
    #[error("the account has expired")]
    Over,
}

impl Standing {
    /// Whether the account may be used at this moment.
    ///
    /// # Errors
    /// Says why not.
    pub fn check(&self, now: OffsetDateTime) -> Result<(), Closed> {
        match self.state {
            AccountState::Disabled => return Err(Closed::Disabled),
            AccountState::Enabled => {}
        }
        if self.not_before.is_some_and(|start| now < start) {
            return Err(Closed::NotYet);
        }
        match self.not_after {
            Some(end) if now >= end => Err(Closed::Over),
            Some(_) | None => Ok(()),
        }
    }
}

/// What a backend says to credentials.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is this account. Ends the chain.
    Accepted(Identity),
    /// The account is known here and the password is wrong. Ends the chain: another backend must not let in whom
    /// this one turned away.
    Rejected,
    /// The account is known here, and whoever keeps it says that it may not be used: why, in words for the log. The client is
    /// told that the password is wrong, and whether it is, is not known. Ends the chain.
    Closed(String),
    /// The account is not known here; the next backend is asked.
    NotMine,
}

/// What a backend knows of an account without its password.
#[derive(Clone, Debug, PartialEq)]
pub enum LookUp {
    /// The account is this backend's, closed or not.
    Known(Identity),
    /// This backend knows nobody of that name.
    Unknown,
    /// This backend tells only whoever brings the password.
    OnlyByLogin,
}

/// Whether a name is one of a backend's accounts in some spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alike {
    /// An account here is called so, but for case, width, accents and the like.
    Taken,
    /// None is.
    Free,
    /// Nobody knows without asking somebody else.
    NotKnown,
}

/// Whether a backend took the time of a wrong password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// It did.
    Taken,
    /// It hashes no passwords.
    NotTaken,
}
