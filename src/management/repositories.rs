//! Repositories and their tags, as far as the asker may pull, push or delete there.

use policy::scope::{Action, Actions};

use super::told::{ToldDetails, ToldRepository, ToldTag};
use super::{Counted, Desk, NotDone, Page, Sought, granted, registries, repository};
use crate::access::{Decision, Names, Run, Viewer};
use crate::catalogue::{Deleted, Emptied, Entry, Listing, MayDelete, Seen, Substring};
use crate::directory::rights::{Managed, ManagedAction};
use crate::records::Changed;
use crate::records::catalogue::{self, Mark, Repository, Star, Tag};

/// The longest description, in bytes.
const LONGEST: usize = 1000;
/// So many tags are looked at at once where some are searched for.
const SEARCHED: u32 = 1000;
/// What may be done with a repository, as registries know it.
const ALL: [Action; 3] = [Action::Pull, Action::Push, Action::Delete];

/// A repository of which the asker may have something, and what.
pub(super) struct Visible {
    pub(super) repository: Repository,
    decision: Decision,
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

/// What is changed of what people say of a repository; the rest stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The text.
    pub text: Option<String>,
    /// Whether it is one of the site's official ones.
    pub official: Option<Mark>,
    /// Whether it is built automatically.
    pub automated: Option<Mark>,
}

/// The repositories of a registry that a list is about, behind one of them or all.
struct Meant {
    listing: Listing,
    after: Option<String>,
    filter: Filter,
    search: Option<Substring>,
}

impl Meant {
    fn has(&self, entry: &Entry) -> bool {
        let description = &entry.description;
        self.filter.official.is_none_or(|mark| mark == description.official)
            && self.filter.automated.is_none_or(|mark| mark == description.automated)
    }
}

impl Names for Meant {
    fn runs(&self) -> Box<dyn Iterator<Item = Run<'_>> + Send + '_> {
        let runs = self.listing.after(self.after.as_deref());
        Box::new(runs.map(|stretch| {
            let meant = stretch.mentioning(self.search.as_ref()).filter(|entry| self.has(entry));
            Run { between: stretch.between(), names: Box::new(meant.map(|entry| &*entry.name)) }
        }))
    }
}

/// A repository that was found in one of the registries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The registry's name.
    pub service: String,
    /// The host name that clients write for it.
    pub host: Option<String>,
    /// The repository.
    pub repository: ToldRepository,
}

/// What stands between a registry and a repository in the cursor of a list over all registries. No name has it.
const BETWEEN: char = '\n';

impl Placed {
    /// The cursor of what is behind it in a list over all registries.
    pub fn place(&self) -> String {
        format!("{}{BETWEEN}{}", self.service, self.repository.name)
    }
}

impl Desk<'_> {
    /// The repositories of all registries, or of this one, that the asker may pull from: registry by registry.
    ///
    /// # Errors
    /// Why nobody can say which.
    pub async fn everywhere(&self, service: Option<&str>, sought: &Sought) -> Result<Page<Placed>, NotDone> {
        let view = self.view()?;
        let (from, mut after) = match sought.after.as_deref().and_then(|after| after.split_once(BETWEEN)) {
            Some((from, after)) => (from, Some(after.to_owned())),
            None => ("", None),
        };
        let is_meant = |own: &str| own >= from && service.is_none_or(|service| service == own);
        let mut registries: Vec<_> = view.registries().iter().filter(|own| is_meant(&own.service)).collect();
        registries.sort_by(|one, other| one.service.cmp(&other.service));
        let (mut items, mut has_more) = (Vec::new(), false);
        for registry in registries {
            let left = sought.limit.saturating_sub(items.len());
            let after = after.take().filter(|_| registry.service == from);
            // Where the page is full, one more tells that there is another.
            let within = Sought { after, limit: left.max(1), counted: super::Counted::Not, ..sought.clone() };
            let page = self.listed(&registry.service, Filter::default(), &within).await?;
            has_more = page.next.is_some() || (left == 0 && !page.items.is_empty());
            let placed = |repository| Placed {
                service: registry.service.clone(),
                host: registry.hosts.first().cloned(),
                repository,
            };
            items.extend(page.items.into_iter().take(left).map(placed));
            if has_more {
                break;
            }
        }
        let next = items.last().filter(|_| has_more).map(Placed::place);
        Ok(Page { items, next, count: None })
    }

    /// A repository, with what the asker may do there, and where clients find it.
    ///
    /// # Errors
    /// Why it is not shown.
    pub async fn placed(&self, service: &str, name: &str) -> Result<Placed, NotDone> {
        let repository = self.repository(service, name).await?;
        let view = self.view()?;
        let host = registries::declared(&view, service)?.hosts.first().cloned();
        Ok(Placed { service: service.to_owned(), host, repository })
    }

    /// The repositories of a registry that the asker may pull from.
    ///
    /// # Errors
    /// Why nobody can say which; [`NotDone::Missing`] where the asker may neither see the registry nor pull anything there.
    pub async fn repositories(
        &self,
        service: &str,
        filter: Filter,
        sought: &Sought,
    ) -> Result<Page<ToldRepository>, NotDone> {
        let view = self.view()?;
        registries::declared(&view, service)?;
        let page = self.listed(service, filter, sought).await?;
        // Who sees any of them may search in vain.
        if page.items.is_empty() && self.listed(service, Filter::default(), &Sought::any()).await?.items.is_empty() {
            self.require(Managed::Registry(service), ManagedAction::Show).await?;
        }
        Ok(page)
    }

    async fn listed(&self, service: &str, filter: Filter, sought: &Sought) -> Result<Page<ToldRepository>, NotDone> {
        let catalogue = self.catalogue()?;
        if !catalogue.is_ready() {
            return Err(NotDone::NotReady);
        }
        let listing = catalogue.listing(service);
        // Names have no capital letters.
        let search = sought.search.as_ref().map(|search| Substring::new(&search.to_lowercase()));
        let from = |after: Option<String>| Meant { listing: listing.clone(), after, filter, search: search.clone() };
        let viewer = Viewer { who: self.who, address: self.address, service, now: self.now };
        let mut found =
            self.access.pullable(&viewer, from(sought.after.clone()), sought.limit.saturating_add(1)).await?;
        let has_more = found.len() > sought.limit;
        found.truncate(sought.limit);
        let count = match sought.counted {
            Counted::Not => None,
            Counted::All => Some(self.access.pullable(&viewer, from(None), usize::MAX).await?.len()),
        };
        let items: Vec<ToldRepository> =
            found.iter().filter_map(|name| listing.get(name)).map(|entry| ToldRepository::listed(entry)).collect();
        let next = found.last().filter(|_| has_more).map(ToString::to_string);
        Ok(Page { items, next, count })
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
    pub async fn tags(&self, service: &str, name: &str, sought: &Sought) -> Result<Page<ToldTag>, NotDone> {
        let seen = self.seen(service, name).await?;
        if let Some(search) = &sought.search {
            return self.tags_with(search, (service, name), sought).await;
        }
        // One more, to know whether there is a next page.
        let enough = u32::try_from(sought.limit.saturating_add(1)).unwrap_or(u32::MAX);
        let found = self.catalogue()?.tags(service, name, sought.after.as_deref(), enough).await?;
        let mut items: Vec<ToldTag> = found.iter().map(ToldTag::of).collect();
        let has_more = items.len() > sought.limit;
        items.truncate(sought.limit);
        let next = items.last().filter(|_| has_more).map(|last| last.name.clone());
        let count = match sought.counted {
            Counted::All => usize::try_from(seen.repository.tags).ok(),
            Counted::Not => None,
        };
        Ok(Page { items, next, count })
    }

    /// The tags that have this in their names. Few may: they are looked at in pages of their own size, and all of them to be counted.
    async fn tags_with(
        &self,
        search: &str,
        (service, name): (&str, &str),
        sought: &Sought,
    ) -> Result<Page<ToldTag>, NotDone> {
        let (catalogue, search) = (self.catalogue()?, search.to_lowercase());
        let is_behind = |tag: &Tag| sought.after.as_ref().is_none_or(|after| tag.name > *after);
        let mut from = match sought.counted {
            Counted::All => None,
            Counted::Not => sought.after.clone(),
        };
        let (mut items, mut count, mut has_more) = (Vec::new(), 0_usize, false);
        'all: loop {
            let page = catalogue.tags(service, name, from.as_deref(), SEARCHED).await?;
            let Some(last) = page.last() else { break };
            for tag in page.iter().filter(|tag| tag.name.to_lowercase().contains(&search)) {
                count = count.saturating_add(1);
                match (is_behind(tag), items.len() < sought.limit) {
                    (false, _) => {}
                    (true, true) => items.push(ToldTag::of(tag)),
                    (true, false) => has_more = true,
                }
                if has_more && sought.counted == Counted::Not {
                    break 'all;
                }
            }
            from = Some(last.name.clone());
            if page.len() < usize::try_from(SEARCHED).unwrap_or(usize::MAX) {
                break;
            }
        }
        let next = items.last().filter(|_| has_more).map(|last: &ToldTag| last.name.clone());
        let count = match sought.counted {
            Counted::All => Some(count),
            Counted::Not => None,
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

    /// Writes what people say of a repository: for whoever may describe in the registry, and push to it.
    ///
    /// # Errors
    /// Why not.
    pub async fn describe(&self, service: &str, name: &str, change: Description) -> Result<ToldRepository, NotDone> {
        let visible = self.seen(service, name).await?;
        if !visible.may.contains(&Action::Push) {
            return Err(NotDone::NotGranted { action: "push", name: format!("repository:{name}") });
        }
        if self.may(Managed::Descriptions(service), &[ManagedAction::Describe]).await?.is_empty() {
            let name = format!("dockwarden:{}", Managed::Descriptions(service).name());
            return Err(NotDone::NotGranted { action: ManagedAction::Describe.as_str(), name });
        }
        let Description { text, official, automated } = change;
        let is_text = |text: &String| text.len() <= LONGEST && !text.contains(char::is_control);
        if !text.as_ref().is_none_or(is_text) {
            let message = format!("a description has {LONGEST} bytes at most, on one line");
            return Err(NotDone::Wrong(message));
        }
        let before = visible.repository.description;
        let description = catalogue::Description {
            text: text.unwrap_or(before.text),
            official: official.unwrap_or(before.official),
            automated: automated.unwrap_or(before.automated),
        };
        match self.catalogue()?.describe(service, name, &description).await? {
            Changed::Done => self.repository(service, name).await,
            Changed::Missing | Changed::Conflict => Err(NotDone::Missing),
        }
    }

    /// Gives a repository the asker's star, or takes it back. What is so already stays so.
    ///
    /// # Errors
    /// Why not.
    pub async fn star(&self, service: &str, name: &str, star: Star) -> Result<(), NotDone> {
        self.seen(service, name).await?;
        // Nobody without an account has one.
        let account = self.who.account.as_ref().ok_or(NotDone::Missing)?;
        match self.catalogue()?.star(service, name, account, star).await? {
            Changed::Done | Changed::Conflict => Ok(()),
            Changed::Missing => Err(NotDone::Missing),
        }
    }

    /// Deletes a tag, as the asker.
    ///
    /// # Errors
    /// Why not, or that nobody knows what came of it.
    pub async fn delete_tag(&self, (service, name): (&str, &str), tag: &str, seen: &Seen) -> Result<Deleted, NotDone> {
        let right = self.may_delete(service, name).await?;
        Ok(self.catalogue()?.delete_tag(&right, tag, seen).await?)
    }

    /// Deletes all tags of a repository, as the asker.
    ///
    /// # Errors
    /// Why not, or that nobody knows what came of it.
    pub async fn delete_repository(&self, service: &str, name: &str) -> Result<Emptied, NotDone> {
        let right = self.may_delete(service, name).await?;
        Ok(self.catalogue()?.delete_repository(&right).await?)
    }

    async fn may_delete(&self, service: &str, name: &str) -> Result<MayDelete, NotDone> {
        let visible = self.seen(service, name).await?;
        let refused = || NotDone::NotGranted { action: "delete", name: format!("repository:{name}") };
        MayDelete::from_decision(&visible.decision, service, name).ok_or_else(refused)
    }

    /// A repository, if there is one of which the asker may have anything.
    pub(super) async fn seen(&self, service: &str, name: &str) -> Result<Visible, NotDone> {
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
        Ok(Visible { repository, decision, may })
    }
}
