//! The two questions every door asks, and the only code that grants anything: who is this, and what may they do?

mod accounts;
mod chain;
mod decision;
mod listing;
mod logins;
mod members;
mod owners;
mod presented;
mod uses;

use std::net::IpAddr;
use std::sync::Arc;

use policy::Answer;
use policy::acl::earliest;
use policy::scope::{Actions, Scope};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::authn::attempts::{Attempts, Manner};
use crate::authn::password::Passwords;
use crate::authn::{
    Account, Alike, Authenticator, ClosedBy, Credentials, IdentifiedBy, Identity, LookUp, Method, Outcome, Secret, Time,
};
use crate::authz::work::Work;
use crate::authz::{Authorizer, Freshness, Question, Shown};
use crate::backend::{self, Backends, Held, Opened, SignIn};
use crate::breaker::Passage;
use crate::client_network::ClientNetwork;
use crate::directory::Directory;
use crate::metrics::{BackendMetrics, BackendOutcome, Metrics};
use crate::reach::Reached;
use crate::records::NAME as RECORDS;
use crate::secrets::{Dead, DeadSecret, Lasting, is_robots};
use crate::turns::Busy;
use crate::workload::{self, Workloads};

pub use chain::{Chain, Subject};
pub use decision::{Decision, DecisionOutcome, Denied, Grant};
pub use listing::{Names, Run, Viewer};
pub use logins::NotedLogins;
pub use uses::UsedRules;

/// The identity backends and the sources of rules, each asked in order.
pub struct Access {
    authn: Vec<Counted<dyn Authenticator>>,
    authz: Vec<Counted<dyn Authorizer>>,
    /// Those of the first whose people sign in in a browser, by name.
    sign_ins: Vec<(&'static str, Arc<dyn SignIn>)>,
    attempts: Arc<Attempts>,
    /// The entries of `workload:`, if there are any.
    workloads: Option<Counted<Workloads>>,
    /// The secrets that last, where records are configured.
    lasting: Option<Counted<Lasting>>,
    /// Who is in which groups, where somebody says so.
    directory: Option<Arc<Directory>>,
    /// Which rules decide, where that is counted.
    used_rules: Option<Arc<UsedRules>>,
    /// When the directory's users log in, where that is noted.
    noted_logins: Option<Arc<NotedLogins>>,
    /// All of them, for the next reload.
    held: Vec<Held>,
}

/// A backend, its name and its metrics. What it answers is counted here, where all are asked, so that no backend can forget it.
struct Counted<B: ?Sized> {
    name: &'static str,
    backend: Arc<B>,
    metrics: BackendMetrics,
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
            Outcome::Accepted(_) => Some(BackendOutcome::Accepted),
            Outcome::Rejected | Outcome::Closed(_) => Some(BackendOutcome::Rejected),
            Outcome::NotMine => Some(BackendOutcome::NotMine),
        })
    }

    /// Asks who an account is, and counts the answer as `known` where it is one here.
    async fn look_up(&self, account: &Account, known: BackendOutcome, from: ClientNetwork) -> Result<LookUp, Denied> {
        let began = crate::clock::now();
        let said = self.backend.look_up(account, from).await;
        self.count(began, said, |said| match said {
            LookUp::Known(_) => Some(known),
            LookUp::Unknown => Some(BackendOutcome::NotMine),
            LookUp::OnlyByLogin => None,
        })
    }

    /// Whether this name is that of an account here: by a look-up, and where only a login tells, by what a login under this
    /// name would have brought. Without a password, that stays open, and is a no.
    async fn holds(&self, name: &Account, password: Option<&Secret>, from: ClientNetwork) -> Result<Holds, Denied> {
        match (self.look_up(name, BackendOutcome::Rejected, from).await?, password) {
            (LookUp::Known(_), _) => Ok(Holds::Name),
            (LookUp::Unknown, _) | (LookUp::OnlyByLogin, None) => Ok(Holds::NoSuchName),
            (LookUp::OnlyByLogin, Some(password)) => {
                let login = Credentials::Password { account: name.clone(), password: password.clone() };
                Ok(match self.authenticate(&login, from).await? {
                    Outcome::Accepted(_) | Outcome::Rejected | Outcome::Closed(_) => Holds::Name,
                    Outcome::NotMine => Holds::NoSuchName,
                })
            }
        }
    }
}

impl<B: ?Sized> Counted<B> {
    /// Who it is, with who said so: this backend. Here, so that no backend can forget it, or say another.
    fn said(&self, who: Identity, method: Method) -> Identity {
        Identity { by: Some(IdentifiedBy { backend: self.name, method, credential: None }), ..who }
    }

    /// Counts what a question brought, unless it brought no answer of which there is a kind.
    fn count<T>(
        &self,
        began: Instant,
        said: anyhow::Result<T>,
        outcome: impl Fn(&T) -> Option<BackendOutcome>,
    ) -> Result<T, Denied> {
        let said = said.map_err(|cause| unanswered(self.name, cause));
        let outcome = match &said {
            Ok(said) => outcome(said),
            // It was not asked: nothing is wrong with it.
            Err(Denied::Busy { .. }) => None,
            Err(_) => Some(BackendOutcome::Error),
        };
        if let Some(outcome) = outcome {
            self.metrics.answered(outcome, began.elapsed());
        }
        said
    }
}

impl Access {
    /// Opens the backends that a file names, taking over what a snapshot before held.
    ///
    /// # Errors
    /// A local prerequisite is missing; or, at a reload, a new server does not answer.
    pub fn open(
        backends: &Backends,
        before: Option<&Access>,
        passwords: &Arc<Passwords>,
        metrics: &Metrics,
    ) -> anyhow::Result<Access> {
        let held = backends.open(before.map(|before| before.held.as_slice()), passwords)?;
        let attempts = Arc::clone(passwords.attempts());
        let opened = held.iter().map(|one| (one.kind.key, one.opened.clone()));
        let access = Access::new(opened, metrics, attempts);
        Ok(Access { held, ..access })
    }

    /// Opened backends with their names, in the order in which they are asked, and the wrong passwords of before.
    fn new(
        opened: impl IntoIterator<Item = (&'static str, Opened)>,
        metrics: &Metrics,
        attempts: Arc<Attempts>,
    ) -> Access {
        use BackendOutcome::{Accepted, Decided, Error, NoMatch, NotMine, Rejected};
        let (mut authn, mut authz, mut sign_ins) = (Vec::new(), Vec::new(), Vec::new());
        let mut counted_as = Manner::Passwords;
        for (name, opened) in opened {
            match opened {
                Opened::Identities(backend, manner) => {
                    let metrics = metrics.backend(name, &[Accepted, Rejected, NotMine, Error]);
                    authn.push(Counted { name, backend, metrics });
                    if manner == Manner::Tokens {
                        counted_as = Manner::Tokens;
                    }
                }
                Opened::People(people) => {
                    let metrics = metrics.backend(name, &[Accepted, Rejected, NotMine, Error]);
                    sign_ins.push((name, Arc::clone(&people)));
                    authn.push(Counted { name, backend: people as Arc<dyn Authenticator>, metrics });
                }
                Opened::Rules(backend) => {
                    let metrics = metrics.backend(name, &[Decided, NoMatch, Error]);
                    authz.push(Counted { name, backend, metrics });
                }
            }
        }
        attempts.count_as(counted_as);
        Access {
            authn,
            authz,
            sign_ins,
            attempts,
            workloads: None,
            lasting: None,
            directory: None,
            used_rules: None,
            noted_logins: None,
            held: Vec::new(),
        }
    }

    /// Tries each backend that needs something outside this process, all at the same time, and the issuers of workloads.
    pub async fn reach(&self) -> Vec<Reached> {
        let mut reached = backend::reach(&self.held).await;
        if let Some(workloads) = self.workloads() {
            reached.extend(workloads.reach().await);
        }
        reached
    }

    /// The rules of each source that shows them, by name, in the order in which they are asked.
    ///
    /// # Errors
    /// [`Denied::Unavailable`] where rules could not be read or cannot be used.
    pub async fn rules(&self) -> Result<Vec<(&'static str, Shown)>, Denied> {
        let mut all = Vec::with_capacity(self.authz.len());
        for source in &self.authz {
            let shown = source.backend.rules().await.map_err(|cause| unanswered(source.name, cause))?;
            all.push((source.name, shown));
        }
        Ok(all)
    }

    /// The sources of rules that can fall behind, by name, and how fresh each is.
    pub fn freshness(&self) -> Vec<(&'static str, Freshness)> {
        self.authz.iter().filter_map(|source| Some((source.name, source.backend.freshness()?))).collect()
    }

    /// The backends whose people sign in in a browser, by name.
    pub fn sign_ins(&self) -> &[(&'static str, Arc<dyn SignIn>)] {
        &self.sign_ins
    }

    /// The wrong passwords of the last minutes.
    pub fn attempts(&self) -> &Arc<Attempts> {
        &self.attempts
    }

    /// The backends that remember an outage, by name, and whether each is asked.
    pub fn passages(&self) -> Vec<(&'static str, Passage)> {
        let who = self.authn.iter().filter_map(|one| Some((one.name, one.backend.passage()?)));
        let what = self.authz.iter().filter_map(|one| Some((one.name, one.backend.passage()?)));
        let workloads = self.workloads().and_then(|entries| Some((workload::NAME, entries.passage()?)));
        who.chain(what).chain(workloads).collect()
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
        let found = self.found(who, address, now).await?;
        self.note_login(&found, now);
        Ok(found)
    }

    async fn found(&self, who: &Credentials, address: Option<IpAddr>, now: OffsetDateTime) -> Result<Identity, Denied> {
        let from = ClientNetwork::of(address);
        let (account, password) = match who {
            Credentials::Anonymous => return self.ask(who, from).await,
            Credentials::Secret { claimed, secret } => {
                return self.by_secret((claimed.as_ref(), secret), address, now).await;
            }
            Credentials::Workload { token } => return self.by_workload_token(token, from, now).await,
            Credentials::Password { account, password } => (account, password),
        };
        // Before anybody is asked, who would be shown a token that is none of theirs.
        if let Some(workloads) = &self.workloads
            && let Some(token) = workloads.backend.recognise(password)
        {
            return self.by_recognised_token(workloads, &token, from, now).await;
        }
        let attempt = self.attempts.begin(account, password, from)?;
        let found = self.ask(who, from).await.map_err(|denied| match (denied, workload::issuer_of(password)) {
            (Denied::Credentials, Some(issuer)) => Denied::OtherIssuer { issuer },
            (denied, _) => denied,
        });
        match &found {
            // The client is told that the password is wrong. Forgiving it would reveal that it was right.
            Ok(identity) if identity.standing.check(now).is_err() => attempt.was_wrong(),
            Ok(_) => attempt.was_right(),
            Err(
                Denied::Credentials
                | Denied::OtherIssuer { .. }
                | Denied::NameTaken { .. }
                | Denied::Closed(_)
                | Denied::Secret(_),
            ) => attempt.was_wrong(),
            Err(
                Denied::Workload(_)
                | Denied::Anonymous
                | Denied::TooMany(_)
                | Denied::Busy { .. }
                | Denied::Unavailable { .. },
            ) => drop(attempt),
        }
        found
    }

    /// Finds out who an account is now, without its password: the first backend that knows it says so, as at a login. It is
    /// [`LookUp::OnlyByLogin`] where none knows it, and one of them would know more at a login.
    ///
    /// # Errors
    /// [`Denied::NameTaken`] where an earlier backend has an account of the name that was found, [`Denied::Busy`] and
    /// [`Denied::Unavailable`] as for [`Access::identify`].
    pub async fn look_up(&self, account: &Account, address: Option<IpAddr>) -> Result<LookUp, Denied> {
        let from = ClientNetwork::of(address);
        // Nobody but its issuer knows it, who says so by a token.
        if self.is_workloads(account) {
            return Ok(LookUp::OnlyByLogin);
        }
        let mut nobody = LookUp::Unknown;
        for (index, section) in self.authn.iter().enumerate() {
            match section.look_up(account, BackendOutcome::Accepted, from).await? {
                LookUp::Known(identity) => {
                    self.refuse_name_taken(index, &identity, (account, None), from).await?;
                    return Ok(LookUp::Known(self.in_directory(section.said(identity, Method::LookUp))?));
                }
                LookUp::Unknown => {}
                LookUp::OnlyByLogin => nobody = LookUp::OnlyByLogin,
            }
        }
        Ok(nobody)
    }

    /// Asks one backend after the other.
    async fn ask(&self, who: &Credentials, from: ClientNetwork) -> Result<Identity, Denied> {
        let login = who.password();
        for (index, section) in self.authn.iter().enumerate() {
            match section.authenticate(who, from).await? {
                Outcome::Accepted(identity) => {
                    if let Some((account, password)) = login {
                        self.refuse_name_taken(index, &identity, (account, Some(password)), from).await?;
                    }
                    return self.in_directory(section.said(identity, self.method(section.name, who)));
                }
                Outcome::Rejected => return Err(Denied::Credentials),
                Outcome::Closed(words) => return Err(ClosedBy::Keeper(words).into()),
                Outcome::NotMine => {}
            }
        }
        if let Some((account, password)) = login {
            for section in self.authn.iter().rev() {
                let began = crate::clock::now();
                let said = section.backend.take_time(account, password, from).await;
                match section.count(began, said, |_| None)? {
                    Time::Taken => break,
                    Time::NotTaken => {}
                }
            }
        }
        Err(match who {
            Credentials::Anonymous => Denied::Anonymous,
            Credentials::Password { .. } | Credentials::Secret { .. } | Credentials::Workload { .. } => {
                Denied::Credentials
            }
        })
    }

    /// What a section went by: where people sign in in a browser, the only passwords are those that docker_auth gave them.
    fn method(&self, section: &str, who: &Credentials) -> Method {
        match who.method() {
            Method::Password if self.sign_ins.iter().any(|(name, _)| *name == section) => Method::OldPassword,
            method => method,
        }
    }

    /// Whether a name is one that only a workload can have.
    fn is_workloads(&self, account: &str) -> bool {
        self.workloads().is_some_and(|entries| entries.owns(account))
    }

    /// Asks the sections before this one whether they know the account by the name that it turned out to have. They were asked
    /// by the name that was typed: `ALICE` is nobody's in the file whose `alice` is disabled, and an API that overlooks case
    /// would open that account with a password of its own. Nor does it help to stay `ALICE`: that is the same person, who has no
    /// business here any more. At a look-up there is no password.
    async fn refuse_name_taken(
        &self,
        index: usize,
        found: &Identity,
        (account, password): (&Account, Option<&Secret>),
        from: ClientNetwork,
    ) -> Result<(), Denied> {
        let (Some(section), Some(earlier)) = (self.authn.get(index), self.authn.get(..index)) else { return Ok(()) };
        let owner = match found.name() {
            name if is_robots(name) => Some(RECORDS),
            name if self.is_workloads(name) => Some(workload::NAME),
            _ => None,
        };
        if let Some(owner) = owner {
            return Err(Denied::NameTaken { backend: section.name, owner });
        }
        let Some(spelled) = found.account.as_ref().filter(|_| !earlier.is_empty()) else { return Ok(()) };
        let name = self.attempts.spelled(spelled);
        for owner in earlier {
            let holds = match owner.backend.alike(&name) {
                Alike::Taken => Holds::Name,
                // By this very name it was asked already.
                Alike::Free | Alike::NotKnown if spelled == account => Holds::NoSuchName,
                Alike::Free | Alike::NotKnown => owner.holds(spelled, password, from).await?,
            };
            if let Holds::Name = holds {
                return Err(Denied::NameTaken { backend: section.name, owner: owner.name });
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
        let mut until = until_of(who, service, now)?;
        let mut grants = Vec::with_capacity(scopes.len());
        let began = crate::clock::now();
        // Whoever has an account was let in from there just now: it is those without one who have the strangers' turns.
        let client = self.attempts.client(ClientNetwork::of(address));
        let work = Work::of(client.lane);
        let (account, labels) = (who.name(), &*who.labels);
        for scope in scopes {
            if !grants.is_empty() {
                // A request of many scopes that cost much each would otherwise keep all others from this thread.
                tokio::task::yield_now().await;
            }
            let Scope { resource, actions, class: _, reference } = &scope;
            let reference = reference.as_ref();
            let asked = policy::Question { account, labels, address, service, resource, actions, reference, now };
            let question = Question { asked, began, work: &work };
            let mut granted = Actions::new();
            let mut by = None;
            for source in &self.authz {
                let began = crate::clock::now();
                let said = source.backend.authorize(&question).await;
                let answer = source.count(began, said, |answer| match answer {
                    Answer::Decided { .. } => Some(BackendOutcome::Decided),
                    Answer::NoMatch { .. } => Some(BackendOutcome::NoMatch),
                })?;
                match answer {
                    Answer::Decided { actions, by: rule, until: end } => {
                        until = earliest(until, end);
                        granted = actions;
                        if let (Some(used), Some(id)) = (&self.used_rules, rule.id) {
                            used.note(id, now);
                        }
                        by = Some((source.name, rule));
                        break;
                    }
                    Answer::NoMatch { until: end } => until = earliest(until, end),
                }
            }
            let mut cut = Actions::new();
            if let Some(narrowing) = &who.narrowing {
                let left = narrowing.cut.of(&scope.resource, &granted);
                cut = granted.difference(&left).cloned().collect();
                granted = left;
            }
            grants.push(Grant { scope, granted, cut, by });
        }
        Ok(Decision::new(who.account.clone(), grants, until, client).narrowed(who.narrowing.clone()))
    }
}

/// Until when somebody may be anybody at a service, where that ends by itself.
///
/// # Errors
/// They may not be so now: the account is closed, or the secret is for other services.
fn until_of(who: &Identity, service: &str, now: OffsetDateTime) -> Result<Option<OffsetDateTime>, Denied> {
    who.standing.check(now).map_err(ClosedBy::from)?;
    let Some(narrowing) = &who.narrowing else { return Ok(who.standing.not_after) };
    if !narrowing.services.is_empty() && !narrowing.services.iter().any(|own| own == service) {
        let (dead, id) = (Dead::Service, Some(Arc::clone(&narrowing.secret)));
        return Err(DeadSecret { id, ..dead.into() }.into());
    }
    Ok(earliest(who.standing.not_after, narrowing.ends))
}

/// Why a backend gave no answer: it could not find out, or it is costly and no turn came.
fn unanswered(backend: &'static str, cause: anyhow::Error) -> Denied {
    match cause.chain().any(|cause| cause.is::<Busy>()) {
        true => Denied::Busy { backend, cause },
        false => Denied::Unavailable { backend, cause },
    }
}

#[cfg(test)]
mod tests;
