//! Repositories and their tags, as far as the asker may pull, push or delete there.

use policy::scope::{Action, Actions};

use super::told::{ToldDetails, ToldRepository, ToldTag};
use super::{Candidate, Desk, NotDone, Page, Wanted, granted, registries, repository};
use crate::directory::rights::{Managed, ManagedAction};
use crate::records::catalogue::{Mark, Repository};

/// What may be done with a repository, as registries know it.
const ALL: [Action; 3] = [Action::Pull, Action::Push, Action::Delete];

/// A repository of which the asker may have something, and what.
pub(super) struct Seen {
    pub(super) repository: Repository,
    pub(super) may: Actions,
}

/// Which repositories a list shows, beside what is searched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only the official ones, or only the others.
    pub official: Option<Mark>,
    /// Only those that are built automatically, or only the others.
    pub automated: Option<Mark>,
}

impl Desk<'_> {
    /// The repositories of a registry that the asker may pull from.
    ///
    /// # Errors
    /// Why nobody can say which; [`NotDone::Missing`] where the asker may neither see the registry nor pull anything there.
    pub async fn repositories(
        &self,
        service: &str,
        filter: Filter,
        wanted: &Wanted,
    ) -> Result<Page<ToldRepository>, NotDone> {
        let (view, catalogue) = (self.view()?, self.catalogue()?);
        registries::declared(&view, service)?;
        if !catalogue.is_ready() {
            return Err(NotDone::NotReady);
        }
        let listing = catalogue.listing(service);
        let mut candidates = Vec::new();
        for entry in listing.iter() {
            let (name, description) = (&entry.name, &entry.description);
            let is_meant = filter.official.is_none_or(|mark| mark == description.official)
                && filter.automated.is_none_or(|mark| mark == description.automated)
                && wanted.is_in(&[name, &description.text]);
            // What is no name of a repository can be nobody's.
            if is_meant && let Ok(scope) = repository(name, &[Action::Pull]) {
                candidates.push(Candidate { name: name.to_string(), scope, item: entry });
            }
        }
        let page = self.page(service, candidates, wanted, |name, entry| ToldRepository::listed(name, entry)).await?;
        if page.items.is_empty() {
            self.require(Managed::Registry(service), ManagedAction::Show).await?;
        }
        Ok(page)
    }

    /// A repository, with what the asker may do there.
    ///
    /// # Errors
    /// Why it is not shown.
    pub async fn repository(&self, service: &str, name: &str) -> Result<ToldRepository, NotDone> {
        let seen = self.seen(service, name).await?;
        Ok(ToldRepository::of(&seen.repository, Some(&seen.may)))
    }

    /// The tags of a repository by name.
    ///
    /// # Errors
    /// Why they are not shown.
    pub async fn tags(&self, service: &str, name: &str, wanted: &Wanted) -> Result<Page<ToldTag>, NotDone> {
        let seen = self.seen(service, name).await?;
        let (catalogue, mut items, mut after) = (self.catalogue()?, Vec::new(), wanted.after.clone());
        // One more, to know whether there is a next page.
        let enough = wanted.limit.saturating_add(1);
        while items.len() < enough {
            let count = u32::try_from(enough).unwrap_or(u32::MAX);
            let page = catalogue.tags(service, name, after.as_deref(), count).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            let is_last = page.len() < enough;
            items.extend(page.iter().filter(|tag| wanted.is_in(&[&tag.name])).map(ToldTag::of));
            if is_last {
                break;
            }
        }
        let has_more = items.len() > wanted.limit;
        items.truncate(wanted.limit);
        let next = items.last().filter(|_| has_more).map(|last| last.name.clone());
        let count = match (wanted.counted, &wanted.search) {
            (super::Counted::All, None) => usize::try_from(seen.repository.tags).ok(),
            (super::Counted::All, Some(_)) | (super::Counted::Not, _) => None,
        };
        Ok(Page { items, next, count })
    }

    /// What a tag names, as the registry says it now.
    ///
    /// # Errors
    /// Why it is not shown.
    pub async fn tag(&self, service: &str, name: &str, tag: &str) -> Result<ToldDetails, NotDone> {
        self.seen(service, name).await?;
        let details = self.catalogue()?.open_tag(service, name, tag).await?;
        Ok(ToldDetails::of(tag, &details))
    }

    /// A repository, if there is one of which the asker may have anything.
    pub(super) async fn seen(&self, service: &str, name: &str) -> Result<Seen, NotDone> {
        let (view, catalogue) = (self.view()?, self.catalogue()?);
        registries::declared(&view, service)?;
        let decision = self.decide(service, vec![repository(name, &ALL)?]).await?;
        (self.heard)(service, &decision);
        let may = granted(&decision);
        // Who may only push there learns nothing of what is there.
        if !may.contains(&Action::Pull) && !may.contains(&Action::Delete) {
            return Err(NotDone::Missing);
        }
        let repository = catalogue.repository(service, name).await?.ok_or(NotDone::Missing)?;
        Ok(Seen { repository, may })
    }
}
