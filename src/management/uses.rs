//! Who uses an image: who pulled a digest, from whichever repositories and registries the asker may know of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use policy::scope::Action;
use serde::Serialize;

use super::callers::ToldPull;
use super::{Desk, LOT, NotDone, Page, SERVICE, ours, repository};
use crate::directory::rights::{Managed, ManagedAction};
use crate::records::catalogue::{Pull, Pulled};

/// So many pulls are looked at for one page.
const MOST_LOOKED_AT: usize = 100_000;
/// So many are read at once.
const READ: u32 = 1000;
/// Whoever may do one of these may know of a repository.
const VISIBLE: [Action; 2] = [Action::Pull, Action::Delete];

/// That somebody pulled an image from somewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToldUse {
    /// The registry.
    pub service: String,
    /// The repository.
    pub repository: String,
    /// Who, and when.
    #[serde(flatten)]
    pub pull: ToldPull,
}

impl ToldUse {
    /// A pull as it is told.
    pub fn of(pull: &Pull) -> ToldUse {
        let (service, repository) = (pull.service.clone(), pull.repository.clone());
        ToldUse { service, repository, pull: ToldPull::of(pull) }
    }
}

/// Where a list of uses goes on: behind so many pulls of a registry, of those that the asker may know of. The others are not counted:
/// how many there are is not told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    service: String,
    skip: u32,
}

impl Behind {
    /// Reads what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Behind> {
        let (skip, service) = text.split_once('/')?;
        Some(Behind { service: service.to_owned(), skip: skip.parse().ok()? })
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.skip, self.service)
    }
}

impl Desk<'_> {
    /// Who pulled an image by this digest: of all registries, or of one, of which the asker may list the pulls, what is in repositories
    /// that they may know of.
    ///
    /// # Errors
    /// Why nobody can say who.
    pub async fn uses(
        &self,
        digest: &str,
        service: Option<&str>,
        behind: Option<&Behind>,
        limit: usize,
    ) -> Result<Page<ToldUse>, NotDone> {
        // Where there are no registries, nobody pulled anything.
        let Some(catalogue) = self.catalogue else { return Ok(Page { items: Vec::new(), next: None, count: None }) };
        let (mut items, mut looked_at) = (Vec::new(), 0_usize);
        for own in self.with_pulls(service, behind).await? {
            let skip = behind.filter(|behind| behind.service == own).map_or(0, |behind| behind.skip);
            let (mut at, mut told, mut visible) = (0_u32, 0_u32, BTreeMap::new());
            loop {
                let page = catalogue.pulls(&own, &Pulled::Digest(digest.to_owned()), at, READ).await?;
                looked_at = looked_at.saturating_add(page.len());
                if looked_at > MOST_LOOKED_AT {
                    let message =
                        "there are more pulls than are looked through at once; ask of one registry, by service";
                    return Err(NotDone::Wrong(message.to_owned()));
                }
                self.look_at(&own, &page, &mut visible).await?;
                for pull in page.iter().filter(|pull| visible.get(&pull.repository) == Some(&true)) {
                    if told >= skip {
                        if items.len() == limit {
                            let next = Behind { service: own, skip: told }.to_string();
                            return Ok(Page { items, next: Some(next), count: None });
                        }
                        items.push(ToldUse::of(pull));
                    }
                    told = told.saturating_add(1);
                }
                at = at.saturating_add(READ);
                if page.len() < usize::try_from(READ).unwrap_or(usize::MAX) {
                    break;
                }
            }
        }
        Ok(Page { items, next: None, count: None })
    }

    /// The registries of which the asker may list the pulls, by name, from where the list goes on.
    async fn with_pulls(&self, service: Option<&str>, behind: Option<&Behind>) -> Result<Vec<String>, NotDone> {
        let view = self.view()?;
        let declared = view.registries().iter().map(|registry| registry.service.as_str());
        let declared = declared.filter(|own| service.is_none_or(|service| service == *own));
        let mut declared: Vec<&str> =
            declared.filter(|own| behind.is_none_or(|behind| *own >= behind.service.as_str())).collect();
        declared.sort_unstable();
        let mut with = Vec::with_capacity(declared.len());
        for lot in declared.chunks(LOT) {
            let lists = |own: &&str| ours(&Managed::Pulls(own).name(), [ManagedAction::List.action()]);
            let scopes: Vec<_> = lot.iter().map(lists).collect::<Result<_, _>>()?;
            let decision = self.decide(SERVICE, scopes).await?;
            let granted = lot.iter().zip(decision.grants()).filter(|(_, grant)| !grant.granted.is_empty());
            with.extend(granted.map(|(own, _)| (*own).to_owned()));
        }
        Ok(with)
    }

    /// Adds the repositories of these pulls that are not known yet, each with whether the asker may know of it.
    async fn look_at(
        &self,
        service: &str,
        pulls: &[Pull],
        visible: &mut BTreeMap<String, bool>,
    ) -> Result<(), NotDone> {
        let new = pulls.iter().map(|pull| pull.repository.as_str()).filter(|name| !visible.contains_key(*name));
        let new: BTreeSet<&str> = new.collect();
        // What can be no name of a repository is nobody's to see.
        let named: Vec<_> = new.iter().filter_map(|name| Some((*name, repository(name, &VISIBLE).ok()?))).collect();
        visible.extend(new.iter().map(|name| ((*name).to_owned(), false)));
        for lot in named.chunks(LOT) {
            let decision = self.decide(service, lot.iter().map(|(_, scope)| scope.clone()).collect()).await?;
            for ((name, _), grant) in lot.iter().zip(decision.grants()) {
                visible.insert((*name).to_owned(), !grant.granted.is_empty());
            }
        }
        Ok(())
    }
}
