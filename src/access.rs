//! The two questions every door asks, and the only code that grants anything: who is this, and what may they do?

use std::net::IpAddr;
use std::sync::Arc;

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::authn::attempts::{Attempts, TooMany};
use crate::authn::{Alike, Authenticator, ClosedBy, Credentials, Identity, LookUp, Outcome, Secret, Time};
use crate::authz::acl::earliest;
use crate::authz::work::Work;
use crate::authz::{Answer, Authorizer, Freshness, Question, RuleRef};
use crate::breaker::Passage;
use crate::client_network::ClientNetwork;
use crate::metrics::{BackendMetrics, BackendOutcome, Metrics};
use crate::scope::{Actions, Scope};
use crate::turns::{Busy, Client};

/// The identity backends and the sources of rules, each asked in order.
pub struct Access {
    authn: Vec<Counted<dyn Authenticator>>,
    authz: Vec<Counted<dyn Authorizer>>,
    attempts: Arc<Attempts>,
}

/// A backend and its figures. What it answers is counted here, where all are asked, so that no backend can forget it.
struct Counted<B: ?Sized> {
    backend: Box<B>,
    figures: BackendMetrics,
}

/// Whether a backend has an account of some name.
enum Holds {
    Name,
    NoSuchName,
}

impl Counted<dyn Authenticator> {
    /// Asks about credentials, and counts the answer.
    async fn authenticate(&self, who: &Credentials, from: ClientNetwork) -> Result<Outcome, Denied> {
        let began = crate::clock::now();
        let said = self.backend.authenticate(who, from).await;
        self.count(began, said, |outcome| match outcome {
            Outcome::Accepted(_) => BackendOutcome::Accepted,
            Outcome::Rejected | Outcome::Closed(_) => BackendOutcome::Rejected,
            Outcome::NotMine => BackendOutcome::NotMine,
        })
    }

    /// Whether this name is that of an account here: by a look-up, and where only a login tells, by what a login under this
    /// name would have brought.
    async fn holds(&self, name: &str, password: &Secret, from: ClientNetwork) -> Result<Holds, Denied> {
        let began = crate::clock::now();
        let said = self.backend.look_up(name, from).await;
        let found = match said {
            Ok(LookUp::OnlyByLogin) => {
                let login = Credentials::Password { account: name.to_owned(), password: password.clone() };
                return Ok(match self.authenticate(&login, from).await? {
                    Outcome::Accepted(_) | Outcome::Rejected | Outcome::Closed(_) => Holds::Name,
                    Outcome::NotMine => Holds::NoSuchName,
                });
            }
            Ok(LookUp::Known(_)) => Ok(Holds::Name),
            Ok(LookUp::Unknown) => Ok(Holds::NoSuchName),
            Err(cause) => Err(cause),
        };
        self.count(began, found, |holds| match holds {
            Holds::Name => BackendOutcome::Rejected,
            Holds::NoSuchName => BackendOutcome::NotMine,
        })
    }

    /// Counts what a question brought.
    fn count<T>(
        &self,
        began: Instant,
        said: anyhow::Result<T>,
        outcome: impl Fn(&T) -> BackendOutcome,
    ) -> Result<T, Denied> {
        let said = said.map_err(|cause| unanswered(self.backend.name(), cause));
        match &said {
            Ok(said) => self.figures.answered(outcome(said), began.elapsed()),
            // It was not asked: nothing is wrong with it.
            Err(Denied::Busy { .. }) => {}
            Err(_) => self.figures.answered(BackendOutcome::Error, began.elapsed()),
        }
        said
    }
}

/// Why there is no decision.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// Nothing was presented, and nobody may come in without an account.
    #[error("an account is needed: log in")]
    Anonymous,
    /// The credentials are wrong, or nobody knows the account. Which of the two is never told apart.
    #[error("the credentials were not accepted")]
    Credentials,
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
    /// There were too many wrong passwords for this account from this network; this one was not looked at.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// Too many passwords wait to be hashed, costly questions to be decided, or either to be asked somebody else; this one was
    /// not looked at.
    #[error("{backend} was not asked")]
    Busy {
        /// The backend that no turn came for.
        backend: &'static str,
        /// Why, for the log only; [`Busy`] is in it.
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

/// What is granted of one requested scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What was asked for.
    pub scope: Scope,
    /// What is given: never more than was asked, where `*` asks for everything.
    pub granted: Actions,
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

/// The answer to a whole request. Only [`Access::decide`] makes one, and a token is minted from nothing else: an
/// account's standing was looked at, whichever door was used.
#[derive(Debug)]
pub struct Decision {
    account: String,
    grants: Vec<Grant>,
    until: Option<OffsetDateTime>,
    client: Client,
}

impl Decision {
    /// Who asked, where what follows from it has to wait for its turn.
    pub(crate) fn client(&self) -> Client {
        self.client
    }

    /// Whom it is about; empty for anonymous.
    pub fn account(&self) -> &str {
        &self.account
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

impl Access {
    /// The chains, in the order in which they are asked, and the wrong passwords of before.
    pub fn new(
        authn: Vec<Box<dyn Authenticator>>,
        authz: Vec<Box<dyn Authorizer>>,
        metrics: &Metrics,
        attempts: Arc<Attempts>,
    ) -> Access {
        use BackendOutcome::{Accepted, Decided, Error, NoMatch, NotMine, Rejected};
        let who = |backend: Box<dyn Authenticator>| {
            let figures = metrics.backend(backend.name(), &[Accepted, Rejected, NotMine, Error]);
            Counted { backend, figures }
        };
        let what = |backend: Box<dyn Authorizer>| {
            let figures = metrics.backend(backend.name(), &[Decided, NoMatch, Error]);
            Counted { backend, figures }
        };
        Access { authn: authn.into_iter().map(who).collect(), authz: authz.into_iter().map(what).collect(), attempts }
    }

    /// The sources of rules that can fall behind, by name, and how fresh each is.
    pub fn freshness(&self) -> Vec<(&'static str, Freshness)> {
        let sources = self.authz.iter().map(|source| &source.backend);
        sources.filter_map(|source| Some((source.name(), source.freshness()?))).collect()
    }

    /// The wrong passwords of the last minutes.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    /// The backends that remember an outage, by name, and whether each is asked.
    pub fn passages(&self) -> Vec<(&'static str, Passage)> {
        let who = self.authn.iter().filter_map(|one| Some((one.backend.name(), one.backend.passage()?)));
        let what = self.authz.iter().filter_map(|one| Some((one.backend.name(), one.backend.passage()?)));
        who.chain(what).collect()
    }

    /// Finds out who presented these credentials at this moment, from an address as [`AddressSource`] finds it.
    ///
    /// # Errors
    /// [`Denied::Credentials`] where a backend rejects them or none knows the account, [`Denied::Closed`] where a backend's keeper
    /// of accounts says that this one may not be used, [`Denied::Anonymous`] where there
    /// are none and that is not enough, [`Denied::TooMany`] and [`Denied::Busy`] where nobody looked at them, and
    /// [`Denied::Unavailable`] where a backend could not tell.
    ///
    /// [`AddressSource`]: crate::client_address::AddressSource
    pub async fn identify(
        &self,
        who: &Credentials,
        address: Option<IpAddr>,
        now: OffsetDateTime,
    ) -> Result<Identity, Denied> {
        let from = ClientNetwork::of(address);
        let (account, password) = match who {
            Credentials::Anonymous => return self.ask(who, from).await,
            Credentials::Password { account, password } => (account, password),
        };
        let attempt = self.attempts.begin(account, password, from)?;
        let found = self.ask(who, from).await;
        match &found {
            // The client is told that the password is wrong. Forgiving it would reveal that it was right.
            Ok(identity) if identity.standing.check(now).is_err() => attempt.was_wrong(),
            Ok(_) => attempt.was_right(),
            Err(Denied::Credentials | Denied::NameTaken { .. } | Denied::Closed(_)) => attempt.was_wrong(),
            Err(Denied::Anonymous | Denied::TooMany(_) | Denied::Busy { .. } | Denied::Unavailable { .. }) => {
                drop(attempt)
            }
        }
        found
    }

    /// Asks one backend after the other.
    async fn ask(&self, who: &Credentials, from: ClientNetwork) -> Result<Identity, Denied> {
        for (index, section) in self.authn.iter().enumerate() {
            match section.authenticate(who, from).await? {
                Outcome::Accepted(identity) => {
                    self.refuse_name_taken(index, &identity, who, from).await?;
                    return Ok(identity);
                }
                Outcome::Rejected => return Err(Denied::Credentials),
                Outcome::Closed(words) => return Err(ClosedBy::Keeper(words).into()),
                Outcome::NotMine => {}
            }
        }
        if let Credentials::Password { account, password } = who {
            for Counted { backend, figures } in self.authn.iter().rev() {
                let began = crate::clock::now();
                match backend
                    .take_time(account, password, from)
                    .await
                    .map_err(|cause| unanswered(backend.name(), cause))
                {
                    Ok(Time::Taken) => break,
                    Ok(Time::NotTaken) => {}
                    Err(denied @ Denied::Busy { .. }) => return Err(denied),
                    Err(denied) => {
                        figures.answered(BackendOutcome::Error, began.elapsed());
                        return Err(denied);
                    }
                }
            }
        }
        Err(match who {
            Credentials::Anonymous => Denied::Anonymous,
            Credentials::Password { .. } => Denied::Credentials,
        })
    }

    /// Asks the sections before this one whether they know the account by the name that it turned out to have. They were asked
    /// by the name that was typed: `ALICE` is nobody's in the file whose `alice` is disabled, and an API that overlooks case
    /// would open that account with a password of its own. Nor does it help to stay `ALICE`: that is the same person, who has no
    /// business here any more.
    async fn refuse_name_taken(
        &self,
        index: usize,
        found: &Identity,
        who: &Credentials,
        from: ClientNetwork,
    ) -> Result<(), Denied> {
        let Credentials::Password { account, password } = who else { return Ok(()) };
        let (Some(section), Some(earlier)) = (self.authn.get(index), self.authn.get(..index)) else { return Ok(()) };
        if earlier.is_empty() {
            return Ok(());
        }
        let name = self.attempts.spelled(&found.account);
        for owner in earlier {
            let holds = match owner.backend.alike(&name) {
                Alike::Taken => Holds::Name,
                // By this very name it was asked already.
                Alike::Free | Alike::NotKnown if found.account == *account => Holds::NoSuchName,
                Alike::Free | Alike::NotKnown => owner.holds(&found.account, password, from).await?,
            };
            if let Holds::Name = holds {
                return Err(Denied::NameTaken { backend: section.backend.name(), owner: owner.backend.name() });
            }
        }
        Ok(())
    }

    /// Decides each scope by itself: one that is refused never fails the others.
    ///
    /// # Errors
    /// [`Denied::Closed`] where the account may not be used now, [`Denied::Unavailable`] where a source of rules could
    /// not tell, also because it would take too much work, [`Denied::Busy`] where too many questions wait for their turns.
    pub async fn decide(
        &self,
        who: &Identity,
        address: Option<IpAddr>,
        service: &str,
        scopes: Vec<Scope>,
        now: OffsetDateTime,
    ) -> Result<Decision, Denied> {
        who.standing.check(now).map_err(ClosedBy::from)?;
        let mut until = who.standing.not_after;
        let mut grants = Vec::with_capacity(scopes.len());
        let began = crate::clock::now();
        // Whoever has an account was let in from there just now: it is those without one who have the strangers' turns.
        let client = self.attempts.client(ClientNetwork::of(address));
        let work = Work::of(client.lane);
        for scope in scopes {
            if !grants.is_empty() {
                // A request of many scopes that cost much each would otherwise keep all others from this thread.
                tokio::task::yield_now().await;
            }
            let Scope { resource, actions, class: _, reference } = &scope;
            let reference = reference.as_ref();
            let question =
                Question { identity: who, address, service, resource, actions, reference, now, began, work: &work };
            let mut granted = Actions::new();
            let mut by = None;
            for Counted { backend: source, figures } in &self.authz {
                let asked = crate::clock::now();
                let answer = source.authorize(&question).await.map_err(|cause| unanswered(source.name(), cause));
                let outcome = match &answer {
                    Ok(Answer::Decided { .. }) => Some(BackendOutcome::Decided),
                    Ok(Answer::NoMatch { .. }) => Some(BackendOutcome::NoMatch),
                    // It was not asked: nothing is wrong with it.
                    Err(Denied::Busy { .. }) => None,
                    Err(_) => Some(BackendOutcome::Error),
                };
                if let Some(outcome) = outcome {
                    figures.answered(outcome, asked.elapsed());
                }
                match answer? {
                    Answer::Decided { actions, by: rule, until: end } => {
                        until = earliest(until, end);
                        granted = actions;
                        by = Some((source.name(), rule));
                        break;
                    }
                    Answer::NoMatch { until: end } => until = earliest(until, end),
                }
            }
            grants.push(Grant { scope, granted, by });
        }
        Ok(Decision { account: who.account.clone(), grants, until, client })
    }
}

/// Why a backend gave no answer: it could not find out, or it is costly and no turn came.
fn unanswered(backend: &'static str, cause: anyhow::Error) -> Denied {
    match cause.chain().any(|cause| cause.is::<Busy>()) {
        true => Denied::Busy { backend, cause },
        false => Denied::Unavailable { backend, cause },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::authn::Secret;
    use crate::authn::attempts::Spelled;
    use crate::turns::Lane;

    /// Lets in whose password is "right".
    struct Doorkeeper;

    #[async_trait::async_trait]
    impl Authenticator for Doorkeeper {
        fn name(&self) -> &'static str {
            "doorkeeper"
        }

        async fn authenticate(&self, who: &Credentials, _from: ClientNetwork) -> anyhow::Result<Outcome> {
            let is_right = matches!(who, Credentials::Password { password, .. } if password.reveal() == "right");
            let account = who.account().to_owned();
            Ok(if is_right {
                Outcome::Accepted(Identity { account, ..Identity::default() })
            } else {
                Outcome::Rejected
            })
        }

        async fn look_up(&self, _account: &str, _from: ClientNetwork) -> anyhow::Result<LookUp> {
            Ok(LookUp::OnlyByLogin)
        }

        fn alike(&self, _name: &Spelled) -> Alike {
            Alike::NotKnown
        }

        fn passage(&self) -> Option<Passage> {
            None
        }
    }

    /// Keeps whose turns the questions have that it is asked.
    struct Noting(Arc<Mutex<Vec<Lane>>>);

    #[async_trait::async_trait]
    impl Authorizer for Noting {
        fn name(&self) -> &'static str {
            "noting"
        }

        async fn authorize(&self, question: &Question<'_>) -> anyhow::Result<Answer> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(question.work.lane());
            Ok(Answer::NoMatch { until: None })
        }

        fn passage(&self) -> Option<Passage> {
            None
        }
    }

    #[tokio::test]
    async fn costly_questions_from_networks_with_right_passwords_have_turns_of_their_own() -> anyhow::Result<()> {
        let noted = Arc::default();
        let access = Access::new(
            vec![Box::new(Doorkeeper)],
            vec![Box::new(Noting(Arc::clone(&noted)))],
            &Metrics::default(),
            Arc::new(Attempts::new()?),
        );
        let (here, elsewhere) = ("203.0.113.1".parse().ok(), "203.0.113.2".parse().ok());
        for password in ["wrong", "right"] {
            let who = Credentials::Password { account: "alice".to_owned(), password: Secret::new(password) };
            let is_right = access.identify(&who, here, OffsetDateTime::UNIX_EPOCH).await.is_ok();
            assert_eq!(is_right, password == "right");
            for address in [here, elsewhere] {
                let scopes = vec![Scope::parse("repository:app:pull")?];
                access.decide(&Identity::default(), address, "registry", scopes, OffsetDateTime::UNIX_EPOCH).await?;
            }
        }
        let noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(*noted, [Lane::Strangers, Lane::Strangers, Lane::Known, Lane::Strangers]);
        Ok(())
    }
}
