//! What comes of asking: a decision with its grants, or why there is none.

use std::sync::Arc;

use policy::RuleRef;
use policy::scope::{Actions, Scope};
use time::OffsetDateTime;

use crate::authn::attempts::TooMany;
use crate::authn::{Account, ClosedBy, Narrowing};
use crate::secrets::{Dead, DeadSecret};
use crate::turns::Client;
use crate::workload;

/// Why there is no decision.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// Nothing was presented, and nobody may come in without an account.
    #[error("an account is needed: log in")]
    Anonymous,
    /// The credentials are wrong, or nobody knows the account. Which of the two is never told apart.
    #[error("the credentials were not accepted")]
    Credentials,
    /// The password was wrong, and is a JWT of an issuer that no entry of `workload:` names. The client is told what it is of any other.
    #[error(
        "the credentials were not accepted: the password is a JWT of {issuer}, which no entry of workload names as its issuer"
    )]
    OtherIssuer {
        /// What it says of its issuer, cut short.
        issuer: String,
    },
    /// A workload's token is not accepted; the client is told no more than of a wrong password.
    #[error("the workload's token was not accepted")]
    Workload(#[source] workload::Refused),
    /// The account may not be used, although the credentials are right, or whatever they are.
    #[error(transparent)]
    Closed(#[from] ClosedBy),
    /// The password is right, and the account that it belongs to has the name of one that an earlier section knows.
    #[error("{backend} says that this is an account of a name that {owner} has")]
    NameTaken {
        /// The backend that took the password.
        backend: &'static str,
        /// The earlier one, whose account it is.
        owner: &'static str,
    },
    /// A secret that lasts was presented, and is good for nothing.
    #[error(transparent)]
    Secret(#[from] DeadSecret),
    /// There were too many wrong passwords for this account from this network; this one was not looked at.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Too many passwords wait to be hashed, costly questions to be decided, or either to be asked somebody else; this one was
    /// not looked at.
    #[error("{backend} was not asked")]
    Busy {
        /// The backend that no turn came for.
        backend: &'static str,
        /// Why, for the log only; [`Busy`](crate::turns::Busy) is in it.
        #[source]
        cause: anyhow::Error,
    },
    /// A backend could not find out. Never a yes, and never a "wrong password" either.
    #[error("{backend} could not answer")]
    Unavailable {
        /// The backend that failed.
        backend: &'static str,
        /// Its error, for the log only.
        #[source]
        cause: anyhow::Error,
    },
}

impl From<Dead> for Denied {
    fn from(dead: Dead) -> Denied {
        Denied::Secret(dead.into())
    }
}

/// What is granted of one requested scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What was asked for.
    pub scope: Scope,
    /// What is given: never more than was asked, where `*` asks for everything.
    pub granted: Actions,
    /// What the rules give, and the secret that was presented does not.
    pub cut: Actions,
    /// The source of rules and the rule that decided; `None` where no rule matched.
    pub by: Option<(&'static str, RuleRef)>,
}

impl Grant {
    /// How much of it was granted. A scope without any action is granted nothing.
    pub fn outcome(&self) -> DecisionOutcome {
        match (self.granted.is_empty(), self.withheld().is_empty()) {
            (true, _) => DecisionOutcome::NothingGranted,
            (false, true) => DecisionOutcome::Granted,
            (false, false) => DecisionOutcome::PartlyGranted,
        }
    }

    /// What was asked for and is not given.
    pub fn withheld(&self) -> Actions {
        self.scope.actions.difference(&self.granted).cloned().collect()
    }
}

/// How much of what was asked for is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionOutcome {
    /// Nothing was asked for: a login alone.
    Login,
    /// All of it.
    Granted,
    /// Some of it.
    PartlyGranted,
    /// None of it.
    NothingGranted,
}

impl DecisionOutcome {
    /// All of them.
    pub const ALL: [DecisionOutcome; 4] = [
        DecisionOutcome::Login,
        DecisionOutcome::Granted,
        DecisionOutcome::PartlyGranted,
        DecisionOutcome::NothingGranted,
    ];

    /// Its name in the log and in the metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            DecisionOutcome::Login => "login",
            DecisionOutcome::Granted => "granted",
            DecisionOutcome::PartlyGranted => "partly_granted",
            DecisionOutcome::NothingGranted => "nothing_granted",
        }
    }
}

/// The answer to a whole request. Only [`Access::decide`](super::Access::decide) makes one, and a token is minted from nothing else: an
/// account's standing was looked at, whichever door was used.
#[derive(Debug)]
pub struct Decision {
    account: Option<Account>,
    grants: Vec<Grant>,
    until: Option<OffsetDateTime>,
    client: Client,
    narrowing: Option<Arc<Narrowing>>,
}

impl Decision {
    /// Of this account; `None` is anonymous.
    pub(super) fn new(
        account: Option<Account>,
        grants: Vec<Grant>,
        until: Option<OffsetDateTime>,
        client: Client,
    ) -> Decision {
        Decision { account, grants, until, client, narrowing: None }
    }

    /// The same, by this secret.
    pub(super) fn narrowed(self, narrowing: Option<Arc<Narrowing>>) -> Decision {
        Decision { narrowing, ..self }
    }

    /// The secret that it was made for, if it was one.
    pub fn narrowing(&self) -> Option<&Narrowing> {
        self.narrowing.as_deref()
    }

    /// Who asked, where what follows from it has to wait for its turn.
    pub(crate) fn client(&self) -> Client {
        self.client
    }

    /// Whom it is about; empty for anonymous.
    pub fn account(&self) -> &str {
        self.account.as_deref().unwrap_or_default()
    }

    /// One grant for each requested scope, in their order.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// How much of the whole request is granted.
    pub fn outcome(&self) -> DecisionOutcome {
        let mut outcomes = self.grants.iter().map(Grant::outcome);
        match outcomes.next() {
            None => DecisionOutcome::Login,
            Some(first) if outcomes.all(|other| other == first) => first,
            Some(_) => DecisionOutcome::PartlyGranted,
        }
    }

    /// The moment at which it stops being true by itself; what is derived from it must not outlive that.
    pub fn until(&self) -> Option<OffsetDateTime> {
        self.until
    }
}
