//! What somebody may see of what is in a registry: the repositories that they may pull; and the other way round, who may do something
//! to one repository.

use std::net::IpAddr;
use std::sync::Arc;

use policy::Budget;
use policy::acl::Acl;
use policy::names::{ForNames, Verdict};
use policy::pattern::TooComplex;
use policy::scope::{Action, Resource, Scope};
use time::OffsetDateTime;

use super::{Access, Denied, until_of};
use crate::authz::Question;
use crate::authz::work::{self, Work};
use crate::client_network::ClientNetwork;
use crate::identity::{Account, Identity, LookUp};
use crate::metrics::BackendOutcome;

/// The number of names that are decided on at once: a program or a server that decides is asked about no more than a page needs.
const DECIDED_AT_ONCE: usize = 32;

/// Somebody who looks at what is in a registry.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    /// Who it is.
    pub who: &'a Identity,
    /// Where they are, if that is known.
    pub address: Option<IpAddr>,
    /// The registry.
    pub service: &'a str,
    /// The moment of the request.
    pub now: OffsetDateTime,
}

/// Names of repositories, taken one after the other for as long as somebody wants more: there can be a hundred thousand of them, of which
/// a page needs a few.
pub trait Names: Send + Sync + 'static {
    /// The names, in their order, some at a time.
    fn runs(&self) -> Box<dyn Iterator<Item = Run<'_>> + Send + '_>;
}

/// Some names that follow each other.
pub struct Run<'n> {
    /// Two names between which they all are, as [`grants_none`](policy::names::ForNames::grants_none) has it, where there are such.
    pub between: Option<(&'n str, &'n str)>,
    /// The names.
    pub names: Box<dyn Iterator<Item = &'n str> + Send + 'n>,
}

impl Names for Vec<Arc<str>> {
    fn runs(&self) -> Box<dyn Iterator<Item = Run<'_>> + Send + '_> {
        Box::new(std::iter::once(Run { between: None, names: Box::new(self.iter().map(|name| &**name)) }))
    }
}

impl Access {
    /// Of these names of repositories, in their order, the first that somebody may pull, at most so many: exactly those of which a token
    /// would allow it. Where lists of rules decide, the names are taken on the thread that decides.
    ///
    /// # Errors
    /// As [`Access::decide`].
    pub async fn pullable(&self, viewer: &Viewer<'_>, names: impl Names, most: usize) -> Result<Vec<Arc<str>>, Denied> {
        let mut lists = Vec::with_capacity(self.authz.len());
        for source in &self.authz {
            match source.count(crate::clock::now(), source.backend.compiled(), |_| None)? {
                Some(acl) => lists.push(acl),
                None => return self.pullable_one_by_one(viewer, &names, most).await,
            }
        }
        self.pullable_by_lists(lists, viewer, names, most).await
    }

    /// The same, by asking about each name.
    async fn pullable_one_by_one(
        &self,
        viewer: &Viewer<'_>,
        names: &impl Names,
        most: usize,
    ) -> Result<Vec<Arc<str>>, Denied> {
        let (mut found, mut left) = (Vec::new(), names.runs().flat_map(|run| run.names));
        while found.len() < most {
            let some: Vec<&str> = left.by_ref().take(DECIDED_AT_ONCE).collect();
            if some.is_empty() {
                break;
            }
            let (names, scopes): (Vec<_>, Vec<_>) =
                some.into_iter().filter_map(|name| Some((name, scope(name, Action::Pull)?))).unzip();
            let decision = self.decide(viewer.who, viewer.address, viewer.service, scopes, viewer.now).await?;
            let granted =
                decision.grants().iter().zip(names).filter(|(grant, _)| grant.granted.contains(&Action::Pull));
            found.extend(granted.map(|(_, name)| Arc::from(name)));
        }
        found.truncate(most);
        Ok(found)
    }

    /// The same by lists of rules alone: what has nothing to do with the name is compared once.
    async fn pullable_by_lists(
        &self,
        lists: Vec<Arc<Acl>>,
        viewer: &Viewer<'_>,
        names: impl Names,
        most: usize,
    ) -> Result<Vec<Arc<str>>, Denied> {
        until_of(viewer.who, viewer.service, viewer.now)?;
        let Some(source) = self.authz.first() else { return Ok(Vec::new()) };
        // Of it, the lists are asked about the type alone.
        let Some(Scope { resource, actions, .. }) = scope("any", Action::Pull) else { return Ok(Vec::new()) };
        let asked = policy::Question {
            account: viewer.who.name(),
            labels: &viewer.who.labels,
            address: viewer.address,
            service: viewer.service,
            resource: &resource,
            actions: &actions,
            reference: None,
            now: viewer.now,
        };
        let client = self.attempts.client(ClientNetwork::of(viewer.address));
        let began = crate::clock::now();
        let question = Question { asked, began, work: &Work::of(client.lane) };
        let narrowing = viewer.who.narrowing.clone();
        let look = move |question: &policy::Question<'_>, budget: &mut Budget| {
            let pull = Action::Pull;
            let mut filters = Vec::with_capacity(lists.len());
            for acl in &lists {
                filters.push(acl.for_names(*question, &pull, budget)?);
            }
            let is_left = |name: &str| {
                let pull = [Action::Pull].into();
                narrowing.as_ref().is_none_or(|by| {
                    Resource::new(question.resource.kind(), name).is_ok_and(|own| by.cut.of(&own, &pull) == pull)
                })
            };
            // All names are one question to each list.
            let mut said: Vec<Option<BackendOutcome>> = vec![None; filters.len()];
            let mut found = Vec::new();
            'runs: for Run { between, names } in names.runs() {
                let mut between = between;
                for name in names {
                    if found.len() >= most {
                        break 'runs;
                    }
                    match first_verdict(&filters, &mut said, name, budget)? {
                        Verdict::Granted if is_left(name) => found.push(Arc::from(name)),
                        Verdict::Granted => {}
                        // Where one is not shown, the others often are not either. That is found out once.
                        Verdict::Withheld | Verdict::NoMatch => {
                            if let Some((first, last)) = between.take()
                                && none_is_granted(&filters, (first, last), budget)?
                            {
                                break;
                            }
                        }
                    }
                }
            }
            Ok((found, said))
        };
        let (found, said) = source.count(began, work::about_many(&question, look).await, |_| None)?;
        for (source, outcome) in self.authz.iter().zip(said) {
            if let Some(outcome) = outcome {
                source.metrics.answered(outcome, began.elapsed());
            }
        }
        Ok(found)
    }

    /// Whether somebody may do this to a repository.
    ///
    /// # Errors
    /// As [`Access::decide`].
    pub async fn may(&self, viewer: &Viewer<'_>, action: Action, repository: &str) -> Result<bool, Denied> {
        let Some(scope) = scope(repository, action.clone()) else { return Ok(false) };
        let decision = self.decide(viewer.who, viewer.address, viewer.service, vec![scope], viewer.now).await?;
        Ok(decision.grants().iter().all(|grant| grant.granted.contains(&action)))
    }

    /// Who an account is, for somebody who asks about it: what a look-up tells, and where that tells nothing, what the directory says of
    /// the name alone.
    ///
    /// # Errors
    /// As [`Access::look_up`].
    pub async fn member(&self, account: &Account, address: Option<IpAddr>) -> Result<Identity, Denied> {
        match self.look_up(account, address).await? {
            LookUp::Known(identity) => Ok(identity),
            LookUp::Unknown | LookUp::OnlyByLogin => {
                self.in_directory(Identity { account: Some(account.clone()), ..Identity::default() })
            }
        }
    }

    /// Of these accounts, in their order, those that may do this to a repository: each as [`Access::member`] finds it. One that is closed
    /// may do nothing. Where rules look at addresses, none of theirs is known.
    ///
    /// # Errors
    /// As [`Access::look_up`] and [`Access::decide`].
    pub async fn who_may(
        &self,
        accounts: impl IntoIterator<Item = Account> + Send,
        action: &Action,
        (service, repository): (&str, &str),
        now: OffsetDateTime,
    ) -> Result<Vec<Account>, Denied> {
        let mut found = Vec::new();
        let accounts: Vec<Account> = accounts.into_iter().collect();
        for account in accounts {
            // Many accounts would otherwise keep all others from this thread.
            tokio::task::yield_now().await;
            let who = match self.member(&account, None).await {
                Ok(who) => who,
                // Whoever logs in under that name is turned away.
                Err(Denied::NameTaken { .. }) => continue,
                Err(denied) => return Err(denied),
            };
            let viewer = Viewer { who: &who, address: None, service, now };
            match self.may(&viewer, action.clone(), repository).await {
                Ok(true) => found.push(account),
                Ok(false) | Err(Denied::Closed(_)) => {}
                Err(denied) => return Err(denied),
            }
        }
        Ok(found)
    }
}

/// What the first list says that has a rule for a name; `said` is told what each has said.
fn first_verdict(
    filters: &[ForNames<'_>],
    said: &mut [Option<BackendOutcome>],
    name: &str,
    budget: &mut Budget,
) -> Result<Verdict, TooComplex> {
    for (filter, said) in filters.iter().zip(said) {
        match filter.verdict(name, budget)? {
            Verdict::NoMatch => _ = said.get_or_insert(BackendOutcome::NoMatch),
            verdict @ (Verdict::Granted | Verdict::Withheld) => {
                *said = Some(BackendOutcome::Decided);
                return Ok(verdict);
            }
        }
    }
    Ok(Verdict::NoMatch)
}

/// Whether no list grants any name from one to another.
fn none_is_granted(
    filters: &[ForNames<'_>],
    (first, last): (&str, &str),
    budget: &mut Budget,
) -> Result<bool, TooComplex> {
    for filter in filters {
        if !filter.grants_none(first, last, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The scope of one action on a repository; `None` where none can be called so.
fn scope(repository: &str, action: Action) -> Option<Scope> {
    let resource = Resource::new("repository", repository).ok()?;
    Some(Scope { resource, class: None, actions: [action].into(), reference: None })
}
