//! Changes of the directory, which are made in the records alone: what the file has is changed in the file.

use super::Directory;
use super::documents::{NewEntry, authorities_in, with_name_alone};
use super::entry::{EVERYBODY, Named, id_of, is_everybody};
use super::labels::is_in_group;
use super::view::{Origin, View};
use crate::authn::{Account, Identity};
use crate::records::directory::{Entry, EntryAt, EntryKind};
use crate::records::{Changed, Failure, Logins, Version};
use crate::registries::{NotAllowed, Registry};
use crate::shown::printable;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    /// The directory is in the file alone.
    #[error("the directory is in the configuration file alone; with a records: section, it can be changed")]
    NoRecords,
    /// The file has it.
    #[error("this is in the configuration file, and changed there")]
    InTheFile,
    /// There is nothing of this name.
    #[error("there is nothing of this name")]
    Missing,
    /// Something of this name, this id or this address is there already.
    #[error("{}", said_taken(.0.as_ref()))]
    Taken(Option<Clash>),
    /// Somebody else is called so: a service of this name would log in before them, and be them to the rules.
    #[error("{section} has an account of this name, which a service would take over; call the service something else")]
    Account {
        /// The section that has it.
        section: &'static str,
    },
    /// A group or an app is named that there is not.
    #[error("there is no {what} \"{name}\" in the directory")]
    Unknown {
        /// What is missing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It is about to be removed.
    #[error("the {what} \"{name}\" is being removed; whoever changes it keeps it")]
    Leaving {
        /// What it is.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Other entries name it, these.
    #[error("{}; take it out of there first", who_name_it(.0, 0))]
    Named(Vec<EntryAt>),
    /// Somebody else changed it in between.
    #[error("somebody else changed it in between; look at it again")]
    Conflict,
    /// The user has as many registries as they may declare.
    #[error("the quota is {0} registries, and there are as many")]
    Quota(u32),
    /// A registry of this name was there before, and others were responsible for it, or the operator.
    #[error(
        "a registry of this name was there before, and registries, tokens and records may still know it; those who were responsible \
         for it may declare it, or the operator, by command"
    )]
    Reserved,
    /// The file has tokens made for this name, and no registry of it.
    #[error(
        "the configuration file has tokens made for this name, so a registry of it is the operator's: it is declared in the file, or \
         by command"
    )]
    Operators,
    /// The user has declared as many registries that were removed as anybody may.
    #[error(
        "you declared {0} registries that were removed, and their names are kept; the operator declares more, by command"
    )]
    Removed(usize),
    /// The registry is where managers may not have anything asked.
    #[error(transparent)]
    Place(#[from] NotAllowed),
    /// The records could not be asked, or not changed.
    #[error(transparent)]
    Failure(#[from] Failure),
}

/// In what a new entry is another's, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// What both have.
    pub of: ClashOf,
    /// What has it already.
    pub with: EntryAt,
}

/// What two entries have of which only one may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClashOf {
    /// The name.
    Name,
    /// The id.
    Id,
    /// The one's name is the other's id.
    NameAndId,
    /// The url.
    Url,
    /// A host name.
    Host,
}

impl ClashOf {
    fn as_str(self) -> &'static str {
        match self {
            ClashOf::Name => "this name",
            ClashOf::Id => "this id",
            ClashOf::NameAndId => "this name as its id, or this id as its name",
            ClashOf::Url => "this url",
            ClashOf::Host => "one of these hosts",
        }
    }
}

fn said_taken(clash: Option<&Clash>) -> String {
    match clash {
        None => "something of this name, this id, this url or one of these hosts is there already".to_owned(),
        Some(Clash { of, with }) => {
            format!("the {} {} has {} already", with.kind.as_str(), printable(&with.name), of.as_str())
        }
    }
}

/// So many entries that name another are said.
pub(super) const MOST_SAID: usize = 20;

/// So many names of registries that one user declared are kept once these are removed: whoever declares and removes without end does
/// not fill the records.
const MOST_RESERVED: usize = 1000;

/// Who names an entry, in a sentence: these, and so many others.
pub fn who_name_it(by: &[EntryAt], others: usize) -> String {
    let said = by.iter().take(MOST_SAID).map(|at| format!("{} {}", at.kind.as_str(), printable(&at.name)));
    let said: Vec<String> = said.collect();
    let others = others.saturating_add(by.len().saturating_sub(MOST_SAID));
    match (said.is_empty(), others) {
        (false, 0) => format!("it is named by {}", said.join(", ")),
        (false, others) => format!("it is named by {} and {others} more", said.join(", ")),
        (true, others) => format!("it is named by {others} that you may not list"),
    }
}

/// Whether something is still known of what a registry of some name held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remains {
    /// Its repositories, or that it was swept.
    Something,
    /// Nothing: there was none, as far as anybody knows.
    Nothing,
}

impl Directory {
    /// Keeps a new entry.
    ///
    /// # Errors
    /// Why it was not kept.
    pub async fn make(&self, new: NewEntry) -> Result<(), NotChanged> {
        let view = self.current().await?;
        self.make_in(&view, &new).await.map(drop)
    }

    /// Keeps a new entry in this directory; the version that it has, and what it took the place of.
    async fn make_in(&self, view: &View, new: &NewEntry) -> Result<(Version, Option<Entry>), NotChanged> {
        // First where it may be: that something is there already tells of an address inside.
        self.check_place(new).await?;
        check(view, new)?;
        let (written, before) = self.write_new(view, new).await?;
        self.confirm(new, written, before.clone()).await?;
        Ok((written, before))
    }

    /// Writes a new entry, in the place of the name that is kept of a registry that was removed, where it is one.
    async fn write_new(&self, view: &View, new: &NewEntry) -> Result<(Version, Option<Entry>), NotChanged> {
        let (records, entry) = (self.records()?, entry_of(new)?);
        let reserved = match new {
            NewEntry::Registry { registry, .. } => view.reserved(&registry.service),
            NewEntry::Group(_) | NewEntry::User(_) | NewEntry::App(_) | NewEntry::Service(_) => None,
        };
        let (changed, written, before) = match reserved {
            None => (records.make_entry(&entry).await?, Version(1), None),
            Some(reserved) => {
                let (seen, before) = (reserved.version, records.entry(&entry.at).await?);
                (records.replace_entry(&entry, seen).await?, Version(seen.0.saturating_add(1)), before)
            }
        };
        match changed {
            Changed::Done => Ok((written, before)),
            Changed::Missing | Changed::Conflict => Err(NotChanged::Taken(None)),
        }
    }

    /// Keeps many new entries, those of one kind after the other, and says of each what came of it. What is there is read once a kind:
    /// of two that are alike in the same list, the second is refused by its name or its id.
    ///
    /// # Errors
    /// The records cannot be asked, or there are none.
    pub async fn make_all(&self, all: Vec<NewEntry>) -> Result<Vec<(EntryAt, Result<(), NotChanged>)>, NotChanged> {
        let (mut told, mut last) = (Vec::with_capacity(all.len()), None);
        let (mut view, mut kept) = (self.current().await?, Vec::new());
        for new in all {
            let at = new.at();
            if last.replace(at.kind) != Some(at.kind) {
                view = self.current().await?;
            }
            let made = match self.check_place(&new).await {
                Err(refused) => Err(refused.into()),
                Ok(()) if let Err(refused) = check(&view, &new) => Err(refused),
                Ok(()) => match self.write_new(&view, &new).await {
                    Ok(written) => {
                        kept.push((told.len(), new, written));
                        Ok(())
                    }
                    Err(NotChanged::Failure(failure)) => return Err(failure.into()),
                    Err(refused) => Err(refused),
                },
            };
            told.push((at, made));
        }
        view = self.current().await?;
        for (at, new, (written, before)) in kept {
            if view.has_named(&new).is_ok() {
                continue;
            }
            let confirmed = self.confirm(&new, written, before).await;
            if let (Some((_, made)), Err(lacking)) = (told.get_mut(at), confirmed) {
                *made = Err(lacking);
            }
        }
        Ok(told)
    }

    /// Puts an entry in place of the one of its name, if that still has this version. The secrets of a registry's events stay as they
    /// are.
    ///
    /// # Errors
    /// Why it was not changed.
    pub async fn replace(&self, mut new: NewEntry, seen: Version) -> Result<(), NotChanged> {
        let view = self.current().await?;
        kept(&view, &new.at())?;
        let before = view.registries().get(&new.at().name);
        if let (NewEntry::Registry { registry, .. }, Some(before)) = (&mut new, before) {
            registry.events.clone_from(&before.events);
            if registry.url != before.url {
                // By whomever: a manager changes what the operator declared by command, too.
                self.places.check_written(&registry.url)?;
            }
        }
        check_but(&view, &new, Others::ButItself)?;
        let (records, entry) = (self.records()?, entry_of(&new)?);
        let kept = records.entry(&entry.at).await?.ok_or(NotChanged::Missing)?;
        match records.replace_entry(&entry, seen).await? {
            Changed::Done => self.confirm(&new, Version(seen.0.saturating_add(1)), Some(kept)).await,
            Changed::Missing => Err(NotChanged::Missing),
            Changed::Conflict => Err(NotChanged::Conflict),
        }
    }

    /// Removes an entry that no other names. A service's secrets end with it; a registry's name is kept for the groups that were
    /// responsible for it.
    ///
    /// # Errors
    /// Why it was not removed; [`NotChanged::Named`] with those that name it.
    pub async fn remove(&self, at: &EntryAt, seen: Version, now: time::OffsetDateTime) -> Result<(), NotChanged> {
        let view = self.current().await?;
        kept(&view, at)?;
        let records = self.records()?;
        match at.kind {
            EntryKind::Group | EntryKind::App => return self.remove_unnamed(at, seen).await,
            EntryKind::Service => {
                if let Ok(account) = Account::parse(&at.name) {
                    records.raise(&account, now).await?;
                }
            }
            EntryKind::Registry => return self.remove_but_for_its_name(&view, at, seen).await,
            EntryKind::User => {}
        }
        self.changed(records.remove_entry(at, seen).await?).await?;
        match at.kind {
            // Whoever is called so later never logged in.
            EntryKind::User => Ok(records.forget_login(&at.name).await?),
            EntryKind::Group | EntryKind::App | EntryKind::Service | EntryKind::Registry => Ok(()),
        }
    }

    async fn remove_but_for_its_name(&self, view: &View, at: &EntryAt, seen: Version) -> Result<(), NotChanged> {
        let registry = view.registries().get(&at.name).ok_or(NotChanged::Missing)?;
        // By their ids: a group that is called so later is another one.
        let responsibles = registry.responsibles.iter();
        let responsibles = responsibles.filter_map(|name| Some(view.group(name)?.entry.id.to_string())).collect();
        let records = self.records()?;
        let entry = records.entry(at).await?.ok_or(NotChanged::Missing)?;
        let odd = || Failure::Unusable { cause: format!("the {at} is not as this program writes it") };
        let name_alone = with_name_alone(entry, responsibles).ok_or_else(odd)?;
        self.changed(records.replace_entry(&name_alone, seen).await?).await
    }

    /// When these users last logged in, as far as that is written down; `None` where the directory is in the file alone, and nobody
    /// notes it.
    ///
    /// # Errors
    /// The records could not tell.
    pub async fn last_logins(&self, accounts: &[&str]) -> Result<Option<Logins>, Failure> {
        match self.records() {
            Ok(records) => Ok(Some(records.last_logins(accounts).await?)),
            Err(_) => Ok(None),
        }
    }

    /// The registry as this user declares it: where no groups are said, their primary group, or else the first of their groups, is
    /// responsible for it, and it is published to that group.
    ///
    /// # Errors
    /// [`NotChanged::Quota`], and [`NotChanged::Unknown`] for who has no group.
    pub fn declared(&self, account: &str, registry: Registry) -> Result<Registry, NotChanged> {
        let view = self.view().map_err(|cause| Failure::Away { cause: format!("{cause:#}") })?;
        let user = view.user(account).map(|user| &user.entry);
        let quota = user.and_then(|user| user.quota);
        if let Some(quota) = quota.filter(|quota| view.declared_by(account) >= number(*quota)) {
            return Err(NotChanged::Quota(quota));
        }
        if !registry.responsibles.is_empty() || !registry.publications.is_empty() {
            return Ok(registry);
        }
        let group = user.and_then(|user| user.primary_group.as_ref().or(user.groups.first()));
        let group = group.ok_or_else(|| NotChanged::Unknown { what: "group of", name: account.to_owned() })?;
        let (responsibles, publications) = (vec![group.clone()], vec![group.clone()]);
        Ok(Registry { responsibles, publications, ..registry })
    }

    /// Declares a registry for a user, within their quota. Of several at once, in whichever replicas, no more are left than that. The
    /// name of one that was removed is for those who were responsible for it, by the groups that `who` has.
    ///
    /// # Errors
    /// Why it was not declared.
    pub async fn declare(
        &self,
        (creator, who): (&Account, &Identity),
        registry: Registry,
        authorities: Option<String>,
        remains: Remains,
    ) -> Result<(), NotChanged> {
        let view = self.current().await?;
        check_name(&view, who, &registry.service, remains)?;
        let is_the_files = self.settings().audiences.contains(&registry.service);
        if is_the_files && view.registries().get(&registry.service).is_none() {
            return Err(NotChanged::Operators);
        }
        if view.reserved_by(creator) >= MOST_RESERVED {
            return Err(NotChanged::Removed(MOST_RESERVED));
        }
        let registry = Box::new(self.declared(creator, registry)?);
        let new = NewEntry::Registry { registry, authorities, creator: Some(creator.to_string()) };
        let at = new.at();
        let (written, before) = self.make_in(&view, &new).await?;
        // Others may have been made since it was counted.
        let view = self.current().await?;
        let quota = view.user(creator).and_then(|user| user.entry.quota);
        match quota.filter(|quota| view.declared_by(creator) > number(*quota)) {
            None => Ok(()),
            Some(quota) => {
                let records = self.records()?;
                let undone = match before {
                    None => records.remove_entry(&at, written).await?,
                    Some(before) => records.replace_entry(&before, written).await?,
                };
                self.changed(undone).await?;
                Err(NotChanged::Quota(quota))
            }
        }
    }

    /// The certificates of the authorities of a registry that the records have, in PEM.
    ///
    /// # Errors
    /// The records cannot be asked, or there are none.
    pub async fn authorities_of(&self, service: &str) -> Result<Option<String>, NotChanged> {
        let at = EntryAt { kind: EntryKind::Registry, name: service.to_owned() };
        Ok(self.records()?.entry(&at).await?.and_then(|entry| authorities_in(&entry)))
    }

    /// That a registry is where one may be declared.
    pub(super) async fn check_place(&self, new: &NewEntry) -> Result<(), NotAllowed> {
        match new {
            // A manager learns nothing of names.
            NewEntry::Registry { registry, creator: Some(_), .. } => self.places.check_written(&registry.url),
            NewEntry::Registry { registry, creator: None, .. } => self.places.check(&registry.url).await,
            NewEntry::Group(_) | NewEntry::User(_) | NewEntry::App(_) | NewEntry::Service(_) => Ok(()),
        }
    }

    /// Whether anything is changed, told to this process at once.
    pub(super) async fn changed(&self, changed: Changed) -> Result<(), NotChanged> {
        match changed {
            Changed::Done => {
                // Whoever changed it had better see it. That it cannot be read is seen, and told, by who reads it all the time.
                drop(self.read_again().await);
                Ok(())
            }
            Changed::Missing => Err(NotChanged::Missing),
            Changed::Conflict => Err(NotChanged::Conflict),
        }
    }

    pub(super) async fn current(&self) -> Result<std::sync::Arc<View>, NotChanged> {
        self.read_again().await?;
        self.view().map_err(|cause| Failure::Away { cause: format!("{cause:#}") }.into())
    }
}

fn number(quota: u32) -> usize {
    usize::try_from(quota).unwrap_or(usize::MAX)
}

/// That somebody may declare a registry of this name: that no other groups were responsible for one, nor the operator.
fn check_name(view: &View, who: &Identity, service: &str, remains: Remains) -> Result<(), NotChanged> {
    match (view.reserved(service), remains) {
        (Some(reserved), _) if reserved.responsibles.iter().any(|id| is_in_group(who, id)) => Ok(()),
        (Some(_), _) => Err(NotChanged::Reserved),
        // One that the file had is gone from there without a word. One that is there is told to be.
        (None, Remains::Something) if view.registries().get(service).is_none() => Err(NotChanged::Reserved),
        (None, Remains::Something | Remains::Nothing) => Ok(()),
    }
}

fn entry_of(new: &NewEntry) -> Result<Entry, NotChanged> {
    new.entry().map_err(|error| Failure::Unusable { cause: error.to_string() }.into())
}

/// The entries that a new one must not be taken for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    All,
    ButItself,
}

/// That the records have it, and not the file.
pub(super) fn kept(view: &View, at: &EntryAt) -> Result<(), NotChanged> {
    let name = at.name.as_str();
    let origin = match at.kind {
        EntryKind::Group => view.groups().iter().find(|own| own.entry.name == name).map(|own| &own.origin),
        EntryKind::User => view.user(name).map(|own| &own.origin),
        EntryKind::App => view.apps().iter().find(|own| own.entry.name == name).map(|own| &own.origin),
        EntryKind::Service => view.service(name).map(|own| &own.origin),
        EntryKind::Registry => view.origin(name),
    };
    match origin {
        None | Some(Origin::Records { .. }) => Ok(()),
        Some(Origin::File) => Err(NotChanged::InTheFile),
    }
}

/// That a new entry is not taken for another, and names what there is.
pub(super) fn check(view: &View, new: &NewEntry) -> Result<(), NotChanged> {
    check_but(view, new, Others::All)
}

/// The same beside others that are new, too.
pub(super) fn check_beside(fresh: &[&NewEntry], new: &NewEntry) -> Result<(), NotChanged> {
    let clash = |other: &NewEntry| {
        let of = match (new, other) {
            _ if new.at() == other.at() => ClashOf::Name,
            _ if id_in(new).is_some_and(|id| id_in(other) == Some(id)) => ClashOf::Id,
            (NewEntry::Registry { registry, .. }, NewEntry::Registry { registry: own, .. }) => clash_of(registry, own)?,
            (_, _) => return None,
        };
        Some(Clash { of, with: other.at() })
    };
    match fresh.iter().find_map(|other| clash(other)) {
        Some(clash) => Err(NotChanged::Taken(Some(clash))),
        None => Ok(()),
    }
}

/// The id of what has one.
fn id_in(entry: &NewEntry) -> Option<u64> {
    match entry {
        NewEntry::Group(group) => Some(group.id),
        NewEntry::User(user) => Some(user.id),
        NewEntry::App(app) => Some(app.id),
        NewEntry::Service(_) | NewEntry::Registry { .. } => None,
    }
}

fn check_but(view: &View, new: &NewEntry, others: Others) -> Result<(), NotChanged> {
    let taken = |of: ClashOf, kind: EntryKind, name: &str| {
        Err(NotChanged::Taken(Some(Clash { of, with: EntryAt { kind, name: name.to_owned() } })))
    };
    match new {
        NewEntry::Group(group) => {
            if is_everybody(&group.name) || group.name.is_empty() {
                return taken(ClashOf::Name, EntryKind::Group, EVERYBODY);
            }
            is_free((EntryKind::Group, group), view.groups().iter().map(|own| &own.entry), others)
        }
        NewEntry::User(user) => {
            is_free((EntryKind::User, user), view.users().iter().map(|own| &own.entry), others)?;
            if view.service(&user.name).is_some() {
                return taken(ClashOf::Name, EntryKind::Service, &user.name);
            }
            view.has_named(new)
        }
        NewEntry::App(app) => {
            is_free((EntryKind::App, app), view.apps().iter().map(|own| &own.entry), others)?;
            view.has_named(new)
        }
        NewEntry::Service(service) => {
            view.has_named(new)?;
            match others {
                Others::All if view.service(&service.name).is_some() => {
                    taken(ClashOf::Name, EntryKind::Service, &service.name)
                }
                Others::All if view.user(&service.name).is_some() => {
                    taken(ClashOf::Name, EntryKind::User, &service.name)
                }
                Others::All | Others::ButItself => Ok(()),
            }
        }
        NewEntry::Registry { registry, .. } => {
            let is_other = |own: &&Registry| others == Others::All || own.service != registry.service;
            let clash = |own: &Registry| Some((clash_of(registry, own)?, own.service.clone()));
            match view.registries().iter().filter(is_other).find_map(clash) {
                Some((of, service)) => taken(of, EntryKind::Registry, &service),
                None => view.has_named(new),
            }
        }
    }
}

/// What a new registry has that another has.
fn clash_of(new: &Registry, own: &Registry) -> Option<ClashOf> {
    if own.service == new.service {
        return Some(ClashOf::Name);
    }
    if own.url == new.url {
        return Some(ClashOf::Url);
    }
    new.takes_a_host_of(own).then_some(ClashOf::Host)
}

fn is_free<'entry, T: Named + 'entry>(
    (kind, new): (EntryKind, &T),
    mut known: impl Iterator<Item = &'entry T>,
    others: Others,
) -> Result<(), NotChanged> {
    let (id, as_id) = (new.id().to_string(), id_of(new.name()));
    let clash = |own: &T| {
        let of = match own.name() == new.name() {
            true if others == Others::ButItself => return None,
            true => ClashOf::Name,
            false if own.id() == new.id() => ClashOf::Id,
            false if own.name() == id || as_id == Some(own.id()) => ClashOf::NameAndId,
            false => return None,
        };
        Some(Clash { of, with: EntryAt { kind, name: own.name().to_owned() } })
    };
    match known.find_map(clash) {
        Some(clash) => Err(NotChanged::Taken(Some(clash))),
        None => Ok(()),
    }
}
