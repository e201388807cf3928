//! What people do with registries, with what is in them and with the directory: each as somebody who is decided on, whichever door or
//! page they came by.
//!
//! A [`Desk`] is one request. What its asker may not see is [`NotDone::Missing`], as if it were not there.

mod callers;
mod entries;
mod importing;
mod registries;
mod repositories;
mod told;
mod uses;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use policy::scope::{Action, Actions, Resource, Scope};
use serde::Serialize;
use time::OffsetDateTime;

use crate::access::{Access, Decision, Denied};
use crate::catalogue::{Catalogue, NoDetails, NotDeleted, NotSwept, RegistryFailure};
use crate::directory::changing::{NotChanged, who_name_it};
use crate::directory::entry::Entries;
use crate::directory::rights::{Managed, ManagedAction, OVERVIEW};
use crate::directory::{self, Directory, Kept, View};
use crate::identity::Identity;
use crate::policy_tests::PolicyAction;
use crate::records::Failure;
use crate::records::directory::EntryAt;

pub use callers::{ToldCaller, ToldPull};
pub use entries::{Fields, MemberKind, ToldMember, make};
pub use importing::plan;
pub use registries::{RegistryFields, address_from};
pub use repositories::{Description, Filter, Placed};
pub use told::{ToldDetails, ToldRegistry, ToldRepository, ToldTag};
pub use uses::{Behind, ToldUse};

/// The service that rules and secrets may name for what is done here.
pub const SERVICE: &str = policy::scope::OUR_SERVICE;
/// How many scopes are decided at once for a list.
const LOT: usize = 32;

/// One request of somebody.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    /// Who decides.
    pub access: &'a Access,
    /// What is in the registries, where that is known.
    pub catalogue: Option<&'a Arc<Catalogue>>,
    /// Who asks.
    pub who: &'a Identity,
    /// Where from.
    pub address: Option<IpAddr>,
    /// When.
    pub now: OffsetDateTime,
    /// Hears each decision about one thing, and for which service; those of a list are many.
    pub heard: &'a (dyn Fn(&str, &Decision) + Sync),
}

/// What a list shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// Only what has this in its name, or in its description, without regard to case.
    pub search: Option<String>,
    /// Only what is behind this: the `next` of the page before.
    pub after: Option<String>,
    /// How many at most.
    pub limit: usize,
    /// Whether all that there are are counted.
    pub counted: Counted,
}

impl Sought {
    /// The first one that there is, for whoever asks whether there is any.
    pub fn any() -> Sought {
        Sought { search: None, after: None, limit: 1, counted: Counted::Not }
    }
}

/// Whether a list says how many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counted {
    /// It does, on all pages together.
    All,
    /// It does not, and needs to look at no more than one page.
    #[default]
    Not,
}

impl Sought {
    /// Whether one of these texts has what is searched for.
    fn is_in(&self, texts: &[&str]) -> bool {
        let Some(search) = &self.search else { return true };
        let search = search.to_lowercase();
        texts.iter().any(|text| text.to_lowercase().contains(&search))
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next one begins, if there is one.
    pub next: Option<String>,
    /// How many there are on all pages, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// There is nothing of this name that the asker may see.
    #[error("there is nothing of this name that you may see")]
    Missing,
    /// The asker may see it, and not do this.
    #[error("no rule gives you \"{action}\" on {name}")]
    NotGranted {
        /// The action.
        action: &'static str,
        /// What it is about, as rules name it: `dockwarden:registries/reg`, `repository:lib/x`.
        name: String,
    },
    /// What was asked for cannot be, and nothing of it is repeated.
    #[error("{0}")]
    Wrong(String),
    /// No version is named where one has to be.
    #[error("say which version you change: If-Match, with the ETag of what you saw")]
    NoVersion,
    /// It has another version by now.
    #[error("it was changed since; get it again")]
    Changed,
    /// Other entries of the directory name it.
    #[error("{}; take it out of there first", who_name_it(seen, *others))]
    Named {
        /// Those that the asker may list.
        seen: Vec<EntryAt>,
        /// How many others there are.
        others: usize,
    },
    /// The lists are not read yet.
    #[error("what is in the registries is not read from the records yet")]
    NotReady,
    /// Nothing was decided.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The directory was not changed.
    #[error(transparent)]
    NotChanged(#[from] NotChanged),
    /// It is not known what came of deleting something.
    #[error(transparent)]
    NotDeleted(#[from] NotDeleted),
    /// A sweep did not come to its end.
    #[error(transparent)]
    NotSwept(#[from] NotSwept),
    /// A registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryFailure),
    /// The records failed.
    #[error(transparent)]
    Records(#[from] Failure),
}

impl From<NoDetails> for NotDone {
    fn from(cause: NoDetails) -> NotDone {
        match cause {
            NoDetails::Missing => NotDone::Missing,
            NoDetails::Registry(failure) => failure.into(),
            NoDetails::Failure(failure) => failure.into(),
        }
    }
}

/// Something of which a list may show one, by its name.
struct Candidate<T> {
    name: String,
    scope: Scope,
    item: T,
}

impl<'a> Desk<'a> {
    fn directory(&self) -> Result<&'a Arc<Directory>, NotDone> {
        self.access.directory().ok_or(NotDone::NotChanged(NotChanged::NoRecords))
    }

    fn view(&self) -> Result<Arc<View>, NotDone> {
        let unavailable = |cause| Denied::Unavailable { backend: directory::NAME, cause };
        match self.access.directory() {
            Some(directory) => Ok(directory.view().map_err(unavailable)?),
            // Registries can be declared without saying who is in which groups.
            None => {
                let registries = self.catalogue.map(|catalogue| catalogue.registries()).unwrap_or_default();
                let file = Entries { registries, ..Entries::default() };
                Ok(Arc::new(View::from_both(&file, Kept::default())))
            }
        }
    }

    fn catalogue(&self) -> Result<&'a Arc<Catalogue>, NotDone> {
        self.catalogue.ok_or(NotDone::Missing)
    }

    async fn decide(&self, service: &str, scopes: Vec<Scope>) -> Result<Decision, NotDone> {
        Ok(self.access.decide(self.who, self.address, service, scopes, self.now).await?)
    }

    /// Which of these actions the asker may do with something of ours.
    async fn may(&self, what: Managed<'_>, actions: &[ManagedAction]) -> Result<Actions, NotDone> {
        let scope = ours(&what.name(), actions.iter().map(|action| action.action()))?;
        let decision = self.decide(SERVICE, vec![scope]).await?;
        (self.heard)(SERVICE, &decision);
        Ok(granted(&decision))
    }

    /// What the asker may do with something of ours.
    ///
    /// # Errors
    /// Nothing was decided.
    pub async fn rights(&self, what: Managed<'_>) -> Result<Vec<ManagedAction>, NotDone> {
        let may = self.may(what, &ManagedAction::ALL).await?;
        Ok(ManagedAction::ALL.into_iter().filter(|action| may.contains(&action.action())).collect())
    }

    /// Whether the asker may do this with something of ours, for whoever shows what can be done: nobody hears of it.
    ///
    /// # Errors
    /// Nothing was decided.
    pub async fn could(&self, name: &str, action: Action) -> Result<bool, NotDone> {
        let decision = self.decide(SERVICE, vec![ours(name, [action.clone()])?]).await?;
        Ok(granted(&decision).contains(&action))
    }

    /// Whether the asker may ask this about the policy.
    ///
    /// # Errors
    /// Nothing was decided.
    pub async fn asks_policy(&self, action: PolicyAction) -> Result<bool, NotDone> {
        let decision = self.decide(SERVICE, vec![ours(PolicyAction::ON, [action.action()])?]).await?;
        (self.heard)(SERVICE, &decision);
        Ok(granted(&decision).contains(&action.action()))
    }

    /// Whether the asker may see how the server is, and what it decided. Nobody hears of it: who looks at what was decided last would fill
    /// that with looking.
    ///
    /// # Errors
    /// Nothing was decided.
    pub async fn sees_overview(&self) -> Result<bool, NotDone> {
        self.could(OVERVIEW, ManagedAction::Show.action()).await
    }

    /// The same as [`Desk::could`] of each of these, for a list of ways.
    ///
    /// # Errors
    /// Nothing was decided.
    pub async fn could_each(&self, names: &[String], action: Action) -> Result<Vec<bool>, NotDone> {
        let mut all = Vec::with_capacity(names.len());
        for lot in names.chunks(LOT) {
            let scopes: Result<Vec<Scope>, NotDone> = lot.iter().map(|name| ours(name, [action.clone()])).collect();
            let decision = self.decide(SERVICE, scopes?).await?;
            all.extend(decision.grants().iter().map(|grant| grant.granted.contains(&action)));
        }
        Ok(all)
    }

    /// That the asker may do this. Of what they may not see, nobody learns that it is there.
    async fn require(&self, what: Managed<'_>, action: ManagedAction) -> Result<(), NotDone> {
        let may = self.may(what, &[action, ManagedAction::Show]).await?;
        match (may.contains(&action.action()), may.contains(&ManagedAction::Show.action())) {
            (true, _) => Ok(()),
            (false, true) => {
                Err(NotDone::NotGranted { action: action.as_str(), name: format!("dockwarden:{}", what.name()) })
            }
            (false, false) => Err(NotDone::Missing),
        }
    }

    /// Those of the candidates of which something is granted at this service, in their order, each as `tell` says it.
    async fn page<T, U>(
        &self,
        service: &str,
        candidates: Vec<Candidate<T>>,
        sought: &Sought,
        tell: impl Fn(&str, T) -> U,
    ) -> Result<Page<U>, NotDone> {
        let (mut items, mut last, mut count, mut has_more) = (Vec::new(), None, 0_usize, false);
        let is_behind = |one: &Candidate<T>| sought.after.as_ref().is_none_or(|after| one.name > *after);
        let mut rest = candidates.into_iter().filter(|one| sought.counted == Counted::All || is_behind(one)).peekable();
        'all: while rest.peek().is_some() {
            let lot: Vec<Candidate<T>> = rest.by_ref().take(LOT).collect();
            let decision = self.decide(service, lot.iter().map(|one| one.scope.clone()).collect()).await?;
            for (one, grant) in lot.into_iter().zip(decision.grants()) {
                if grant.granted.is_empty() {
                    continue;
                }
                count = count.saturating_add(1);
                if !is_behind(&one) {
                    continue;
                }
                if items.len() < sought.limit {
                    items.push(tell(&one.name, one.item));
                    last = Some(one.name);
                    continue;
                }
                has_more = true;
                match sought.counted {
                    Counted::Not => break 'all,
                    Counted::All => {}
                }
            }
        }
        let count = match sought.counted {
            Counted::All => Some(count),
            Counted::Not => None,
        };
        Ok(Page { items, next: last.filter(|_| has_more), count })
    }
}

/// All that is granted by a decision.
fn granted(decision: &Decision) -> Actions {
    decision.grants().iter().flat_map(|grant| grant.granted.iter().cloned()).collect()
}

/// Something of ours with these actions.
fn ours(name: &str, actions: impl IntoIterator<Item = Action>) -> Result<Scope, NotDone> {
    let resource = Resource::ours(name).map_err(|_| NotDone::Missing)?;
    Ok(Scope { resource, class: None, actions: actions.into_iter().collect(), reference: None })
}

/// A repository with these actions.
fn repository(name: &str, actions: &[Action]) -> Result<Scope, NotDone> {
    let resource = Resource::new("repository", name).map_err(|_| NotDone::Missing)?;
    Ok(Scope { resource, class: None, actions: actions.iter().cloned().collect::<BTreeSet<_>>(), reference: None })
}
