//! The directory's groups, apps, services and users: listed, shown, made, changed and removed, each by whom the rules let.

use std::collections::BTreeSet;
use std::sync::Arc;

use policy::scope::Scope;
use serde::Serialize;
use time::OffsetDateTime;

use super::told::{moment, origin, version};
use super::{Candidate, Desk, LOT, NotDone, Page, SERVICE, Sought, granted, ours};
use crate::access::Access;
use crate::directory::changing::NotChanged;
use crate::directory::entry::{App, Group, Named, Privilege, Service, User, id_of, is_service};
use crate::directory::rights::{Managed, ManagedAction};
use crate::directory::{Directory, Listed, NewEntry, Origin, View};
use crate::identity::Account;
use crate::records::directory::{EntryAt, EntryKind};
use crate::records::{Failure, Logins, Version};
use crate::secrets::{Wanted, is_robots};
use crate::shown::is_plain_name;

/// So many of those that name an entry are told; the others are counted.
const MOST_NAMING: usize = 100;
/// The longest name of a group or an app, in bytes.
const LONGEST_NAME: usize = 255;

/// What an entry of the directory is, but for registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A group.
    Group,
    /// An app.
    App,
    /// A service.
    Service,
    /// A user.
    User,
}

impl MemberKind {
    /// All of them.
    pub const ALL: [MemberKind; 4] = [MemberKind::Group, MemberKind::App, MemberKind::Service, MemberKind::User];

    /// What it is among the entries of the records.
    pub fn entry(self) -> EntryKind {
        match self {
            MemberKind::Group => EntryKind::Group,
            MemberKind::App => EntryKind::App,
            MemberKind::Service => EntryKind::Service,
            MemberKind::User => EntryKind::User,
        }
    }
}

/// An entry of the directory, as people are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ToldMember {
    /// A group.
    Group {
        /// Its name.
        name: String,
        /// Its id.
        id: u64,
        /// What all of its members may do.
        privileges: Vec<&'static str>,
        /// `file` or `records`.
        origin: &'static str,
    },
    /// An app.
    App {
        /// Its code.
        name: String,
        /// Its id.
        id: u64,
        /// The groups that are responsible for it.
        responsibles: Vec<String>,
        /// The groups that it is published to.
        publications: Vec<String>,
        /// `file` or `records`.
        origin: &'static str,
    },
    /// A service.
    Service {
        /// Its account.
        name: String,
        /// The app that it belongs to.
        app: String,
        /// `file` or `records`.
        origin: &'static str,
    },
    /// A user.
    User {
        /// The account.
        name: String,
        /// The id.
        id: u64,
        /// The groups.
        groups: Vec<String>,
        /// The group that is responsible for what the user declares.
        #[serde(skip_serializing_if = "Option::is_none")]
        primary_group: Option<String>,
        /// What the user may do beside what the groups give.
        privileges: Vec<&'static str>,
        /// How many registries the user may have declared.
        #[serde(skip_serializing_if = "Option::is_none")]
        quota: Option<u32>,
        /// How many the user has declared.
        declared: usize,
        /// When the user last logged in; left out where nobody notes it.
        #[serde(skip_serializing_if = "Option::is_none")]
        last_login: Option<LastLogin>,
        /// `file` or `records`.
        origin: &'static str,
    },
}

/// When a user last logged in, to some minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum LastLogin {
    /// At this moment.
    At(String),
    /// Not since the records were begun: `null`.
    Never(()),
}

impl ToldMember {
    /// All entries of a kind, in the order of their names.
    pub fn all(view: &Arc<View>, kind: MemberKind) -> Vec<ToldMember> {
        let mut found: Vec<Found> = all(view, kind).collect();
        found.sort_by_key(|found| found.entry.at());
        found.into_iter().filter_map(|found| told(view, found).ok()).collect()
    }

    /// Says of users when they last logged in, by the records and by what `noted` knows besides.
    ///
    /// # Errors
    /// The records could not tell.
    pub async fn tell_logins(
        members: &mut [ToldMember],
        directory: &Directory,
        noted: impl FnOnce(&[&str]) -> Logins,
    ) -> Result<(), Failure> {
        let names = members.iter().filter_map(ToldMember::user).map(ToOwned::to_owned).collect::<Vec<String>>();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if names.is_empty() {
            return Ok(());
        }
        let Some(mut known) = directory.last_logins(&names).await? else { return Ok(()) };
        for (account, at) in noted(&names) {
            let known = known.entry(account).or_insert(at);
            *known = (*known).max(at);
        }
        for member in members {
            if let ToldMember::User { name, last_login, .. } = member {
                let at = known.get(name.as_str());
                *last_login = Some(at.map_or(LastLogin::Never(()), |at| LastLogin::At(moment(*at))));
            }
        }
        Ok(())
    }

    /// The account, of a user.
    fn user(&self) -> Option<&str> {
        match self {
            ToldMember::User { name, .. } => Some(name),
            ToldMember::Group { .. } | ToldMember::App { .. } | ToldMember::Service { .. } => None,
        }
    }

    /// The entry of this name or id, for whoever administers them all: as it is told, as it is, and its version where it can be changed.
    pub fn find(view: &View, kind: MemberKind, reference: &str) -> Option<(ToldMember, NewEntry, Option<Version>)> {
        let found = find(view, kind, reference)?;
        let (entry, version) = (found.entry.clone(), version(&found.origin));
        Some((told(view, found).ok()?, entry, version))
    }
}

/// What is said of an entry that is made or changed; each kind has its own of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The privileges of a group or a user.
    pub privileges: Wanted<Vec<String>>,
    /// The groups of a user.
    pub groups: Wanted<Vec<String>>,
    /// The group that is responsible for what a user declares.
    pub primary_group: Wanted<String>,
    /// How many registries a user may have declared.
    pub quota: Wanted<u32>,
    /// The groups that are responsible for an app.
    pub responsibles: Wanted<Vec<String>>,
    /// The groups that an app is published to.
    pub publications: Wanted<Vec<String>>,
    /// The app of a service.
    pub app: Wanted<String>,
}

impl Fields {
    /// Whether nothing is said but of these.
    fn only(&self, kind: MemberKind) -> Result<(), NotDone> {
        let Fields { privileges, groups, primary_group, quota, responsibles, publications, app } = self;
        let said = [
            (is_said(privileges), "privileges", &[MemberKind::Group, MemberKind::User][..]),
            (is_said(groups), "groups", &[MemberKind::User]),
            (is_said(primary_group), "primary_group", &[MemberKind::User]),
            (is_said(quota), "quota", &[MemberKind::User]),
            (is_said(responsibles), "responsibles", &[MemberKind::App]),
            (is_said(publications), "publications", &[MemberKind::App]),
            (is_said(app), "app", &[MemberKind::Service]),
        ];
        let own = |(_, _, kinds): &&(bool, &str, &[MemberKind])| kinds.contains(&kind);
        match said.iter().any(|row| row.0 && !own(&row)) {
            false => Ok(()),
            true => {
                let names: Vec<&str> = said.iter().filter(own).map(|row| row.1).collect();
                Err(NotDone::Wrong(format!("a {} has {}", kind.entry().as_str(), names.join(", "))))
            }
        }
    }

    /// A new entry of this name and id.
    ///
    /// # Errors
    /// [`NotDone::Wrong`].
    pub fn new_entry(self, kind: MemberKind, name: &str, id: Option<u64>, made: String) -> Result<NewEntry, NotDone> {
        let id = || {
            let id = id.filter(|id| id_of(&id.to_string()).is_some());
            id.ok_or_else(|| NotDone::Wrong("an id is a number from 1 on, which no other has".to_owned()))
        };
        let blank = match kind {
            MemberKind::Group => {
                NewEntry::Group(Group { name: name_from(name)?, id: id()?, privileges: BTreeSet::new() })
            }
            MemberKind::App => NewEntry::App(App {
                name: name_from(name)?,
                id: id()?,
                responsibles: Vec::new(),
                publications: Vec::new(),
            }),
            MemberKind::Service => {
                let name = account_from(name)?;
                if !is_service(&name) {
                    return Err(NotDone::Wrong("a service is called PATH@NODE, such as web@n1".to_owned()));
                }
                if is_robots(&name) {
                    return Err(NotDone::Wrong("robots are called so, and no service has a secret as one".to_owned()));
                }
                NewEntry::Service(Service { name, app: String::new(), secrets: Vec::new(), made })
            }
            MemberKind::User => NewEntry::User(User {
                name: account_from(name)?,
                id: id()?,
                groups: Vec::new(),
                privileges: BTreeSet::new(),
                primary_group: None,
                quota: None,
            }),
        };
        self.change(blank)
    }

    /// The same entry with what is said of it.
    ///
    /// # Errors
    /// [`NotDone::Wrong`].
    pub fn change(self, entry: NewEntry) -> Result<NewEntry, NotDone> {
        let kind = match &entry {
            NewEntry::Group(_) => MemberKind::Group,
            NewEntry::User(_) => MemberKind::User,
            NewEntry::App(_) => MemberKind::App,
            NewEntry::Service(_) => MemberKind::Service,
            NewEntry::Registry { .. } => return Err(NotDone::Missing),
        };
        self.only(kind)?;
        Ok(match entry {
            NewEntry::Group(group) => {
                let privileges = privileges_over(self.privileges, group.privileges)?;
                NewEntry::Group(Group { privileges, ..group })
            }
            NewEntry::App(app) => NewEntry::App(App {
                responsibles: once_each(over(self.responsibles, app.responsibles)),
                publications: once_each(over(self.publications, app.publications)),
                ..app
            }),
            NewEntry::Service(service) => {
                let app = over(self.app, service.app);
                if app.is_empty() {
                    return Err(NotDone::Wrong("a service belongs to an app".to_owned()));
                }
                NewEntry::Service(Service { app, ..service })
            }
            NewEntry::User(user) => {
                let groups = once_each(over(self.groups, user.groups));
                let primary_group = over(wrapped(self.primary_group), user.primary_group);
                if primary_group.as_ref().is_some_and(|primary| !groups.contains(primary)) {
                    let message = "the primary group is one of the groups, as it is written there";
                    return Err(NotDone::Wrong(message.to_owned()));
                }
                let quota = over(wrapped(self.quota), user.quota);
                if quota == Some(0) {
                    return Err(NotDone::Wrong("a quota is from 1 on, or null for any number".to_owned()));
                }
                let privileges = privileges_over(self.privileges, user.privileges)?;
                NewEntry::User(User { groups, primary_group, quota, privileges, ..user })
            }
            NewEntry::Registry { .. } => return Err(NotDone::Missing),
        })
    }
}

impl ToldMember {
    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            ToldMember::Group { name, .. }
            | ToldMember::App { name, .. }
            | ToldMember::Service { name, .. }
            | ToldMember::User { name, .. } => name,
        }
    }

    /// The right to it, as rules name it.
    pub fn managed(&self) -> Managed<'_> {
        match self {
            ToldMember::Group { id, .. } => Managed::Group(*id),
            ToldMember::App { id, .. } => Managed::App(*id),
            ToldMember::Service { name, .. } => Managed::Service(name),
            ToldMember::User { id, .. } => Managed::User(*id),
        }
    }
}

/// The right to an entry, as rules name it.
fn managed(entry: &NewEntry) -> Managed<'_> {
    match entry {
        NewEntry::Group(group) => Managed::Group(group.id),
        NewEntry::User(user) => Managed::User(user.id),
        NewEntry::App(app) => Managed::App(app.id),
        NewEntry::Service(service) => Managed::Service(&service.name),
        NewEntry::Registry { registry, .. } => Managed::Registry(&registry.service),
    }
}

/// Makes an entry of the directory. A service is called as nobody else is who could log in: that is looked at before and after, so
/// that of a service and an account that are made at the same time, one is seen.
///
/// # Errors
/// Why it was not made, or that nobody could find out whose the name is.
pub async fn make(access: &Access, directory: &Directory, new: NewEntry, now: OffsetDateTime) -> Result<(), NotDone> {
    let account = match &new {
        NewEntry::Service(service) => Some(service.name.clone()),
        NewEntry::Group(_) | NewEntry::User(_) | NewEntry::App(_) | NewEntry::Registry { .. } => None,
    };
    let Some(account) = account else { return Ok(directory.make(new).await?) };
    nobodys(access, &account).await?;
    let at = new.at();
    directory.make(new).await?;
    let seen = nobodys(access, &account).await;
    if seen.is_err() {
        directory.remove(&at, Version(1), now).await?;
    }
    seen
}

/// That no identity backend has an account of this name, as far as they can tell without a login.
async fn nobodys(access: &Access, account: &Account) -> Result<(), NotDone> {
    match access.account_elsewhere(account).await? {
        None => Ok(()),
        Some(section) => Err(NotChanged::Account { section }.into()),
    }
}

/// An entry that there is.
struct Found {
    entry: NewEntry,
    origin: Origin,
}

impl Desk<'_> {
    /// The entries of a kind that the asker may list; `of` are the members of this group, or the services of this app.
    ///
    /// # Errors
    /// Why nobody can say which.
    pub async fn members(
        &self,
        kind: MemberKind,
        of: Option<&str>,
        sought: &Sought,
    ) -> Result<Page<ToldMember>, NotDone> {
        let view = self.view()?;
        let mut candidates = Vec::new();
        for found in all(&view, kind) {
            let at = found.entry.at();
            if !sought.is_in(&[&at.name]) || !of.is_none_or(|of| belongs(&view, &found.entry, of)) {
                continue;
            }
            // What no rule can name is nobody's to see.
            if let Ok(scope) = ours(&managed(&found.entry).name(), [ManagedAction::List.action()]) {
                candidates.push(Candidate { name: at.name, scope, item: found });
            }
        }
        candidates.sort_by(|one, other| one.name.cmp(&other.name));
        let page = self.page(SERVICE, candidates, sought, |_, found| told(&view, found)).await?;
        let Page { items, next, count } = page;
        let mut items: Vec<ToldMember> = items.into_iter().collect::<Result<_, _>>()?;
        self.tell_logins(&mut items).await?;
        Ok(Page { items, next, count })
    }

    /// An entry by its name, or by its id, and its version where it can be changed here.
    ///
    /// # Errors
    /// Why it is not shown.
    pub async fn member(&self, kind: MemberKind, reference: &str) -> Result<(ToldMember, Option<Version>), NotDone> {
        let view = self.view()?;
        let found = self.found(&view, kind, reference, ManagedAction::Show).await?;
        let version = version(&found.origin);
        Ok((self.with_login(told(&view, found)?).await?, version))
    }

    /// The first id that no entry of a kind has, for whoever makes one; 1 for services, which have none.
    ///
    /// # Errors
    /// Nobody knows which there are.
    pub fn free_id(&self, kind: MemberKind) -> Result<u64, NotDone> {
        let view = self.view()?;
        let ids = all(&view, kind).map(|found| match found.entry {
            NewEntry::Group(group) => group.id,
            NewEntry::App(app) => app.id,
            NewEntry::User(user) => user.id,
            NewEntry::Service(_) | NewEntry::Registry { .. } => 0,
        });
        Ok(ids.max().unwrap_or_default().saturating_add(1))
    }

    /// Makes an entry.
    ///
    /// # Errors
    /// Why not.
    pub async fn make_member(&self, new: NewEntry) -> Result<(ToldMember, Option<Version>), NotDone> {
        let action = ManagedAction::Create;
        if !self.may(managed(&new), &[action]).await?.contains(&action.action()) {
            let name = format!("dockwarden:{}", managed(&new).name());
            return Err(NotDone::NotGranted { action: action.as_str(), name });
        }
        let at = new.at();
        if let Err(refused) = make(self.access, self.directory()?, new, self.now).await {
            return Err(self.taken(refused).await?);
        }
        self.shown(&at).await
    }

    /// Changes an entry that still has this version.
    ///
    /// # Errors
    /// Why not.
    pub async fn change_member(
        &self,
        (kind, reference): (MemberKind, &str),
        seen: impl FnOnce(Version) -> Result<(), NotDone>,
        fields: Fields,
    ) -> Result<(ToldMember, Option<Version>), NotDone> {
        let view = self.view()?;
        let found = self.found(&view, kind, reference, ManagedAction::Change).await?;
        let current = version(&found.origin).ok_or(NotChanged::InTheFile)?;
        seen(current)?;
        let changed = fields.change(found.entry)?;
        let at = changed.at();
        if let Err(refused) = self.directory()?.replace(changed, current).await {
            return Err(self.taken(refused.into()).await?);
        }
        self.shown(&at).await
    }

    /// Removes an entry that still has this version, and that no other names. A service's secrets end with it.
    ///
    /// # Errors
    /// Why not; [`NotDone::Named`] with those that name it, as far as the asker may list them.
    pub async fn remove_member(
        &self,
        (kind, reference): (MemberKind, &str),
        seen: impl FnOnce(Version) -> Result<(), NotDone>,
    ) -> Result<EntryAt, NotDone> {
        let view = self.view()?;
        let found = self.found(&view, kind, reference, ManagedAction::Delete).await?;
        let current = version(&found.origin).ok_or(NotChanged::InTheFile)?;
        seen(current)?;
        let at = found.entry.at();
        match self.directory()?.remove(&at, current, self.now).await {
            Ok(()) => {
                if let (MemberKind::User, Some(noted)) = (kind, self.access.noted_logins()) {
                    noted.forget(&at.name);
                }
                Ok(at)
            }
            Err(NotChanged::Named(by)) => Err(self.named(by).await?),
            Err(other) => Err(other.into()),
        }
    }

    /// The same refusal; what has a name already is named to whoever may list it.
    pub(super) async fn taken(&self, refused: NotDone) -> Result<NotDone, NotDone> {
        let NotDone::NotChanged(NotChanged::Taken(Some(clash))) = refused else { return Ok(refused) };
        let scope = listing_of(&*self.view()?, &clash.with);
        let seen = match scope {
            None => false,
            Some(scope) => !granted(&self.decide(SERVICE, vec![scope]).await?).is_empty(),
        };
        Ok(NotChanged::Taken(Some(clash).filter(|_| seen)).into())
    }

    /// That these name an entry, as far as the asker may know of them.
    async fn named(&self, by: Vec<EntryAt>) -> Result<NotDone, NotDone> {
        let (view, all, mut seen) = (self.view()?, by.len(), Vec::new());
        for lot in by.chunks(LOT).take(MOST_NAMING.div_ceil(LOT)) {
            let mut candidates = Vec::with_capacity(lot.len());
            for at in lot {
                candidates.extend(listing_of(&view, at).map(|scope| (at, scope)));
            }
            let decision = self.decide(SERVICE, candidates.iter().map(|(_, scope)| scope.clone()).collect()).await?;
            let listed = candidates.iter().zip(decision.grants()).filter(|(_, grant)| !grant.granted.is_empty());
            seen.extend(listed.map(|((at, _), _)| (*at).clone()));
        }
        let others = all.saturating_sub(seen.len());
        Ok(NotDone::Named { seen, others })
    }

    async fn found(
        &self,
        view: &View,
        kind: MemberKind,
        reference: &str,
        action: ManagedAction,
    ) -> Result<Found, NotDone> {
        let found = find(view, kind, reference).ok_or(NotDone::Missing)?;
        self.require(managed(&found.entry), action).await?;
        Ok(found)
    }

    /// What was just made or changed, as it is now.
    async fn shown(&self, at: &EntryAt) -> Result<(ToldMember, Option<Version>), NotDone> {
        let view = self.view()?;
        let kind = MemberKind::ALL.into_iter().find(|kind| kind.entry() == at.kind).ok_or(NotDone::Missing)?;
        let found = all(&view, kind).find(|found| found.entry.at() == *at).ok_or(NotChanged::Conflict)?;
        let version = version(&found.origin);
        Ok((self.with_login(told(&view, found)?).await?, version))
    }

    /// An entry, and of a user when they last logged in.
    async fn with_login(&self, told: ToldMember) -> Result<ToldMember, NotDone> {
        let mut told = [told];
        self.tell_logins(&mut told).await?;
        let [told] = told;
        Ok(told)
    }

    /// Says of users when they last logged in: by the records, and by what this process has not written down yet.
    async fn tell_logins(&self, members: &mut [ToldMember]) -> Result<(), NotDone> {
        let Some(directory) = self.access.directory() else { return Ok(()) };
        let noted = |names: &[&str]| self.access.noted_logins().map(|noted| noted.of(names)).unwrap_or_default();
        Ok(ToldMember::tell_logins(members, directory, noted).await?)
    }
}

/// The right to list an entry; nothing for what no rule can name, which is nobody's to see.
fn listing_of(view: &View, at: &EntryAt) -> Option<Scope> {
    let own = match at.kind {
        EntryKind::Group => view.group(&at.name).map(|own| Managed::Group(own.entry.id)),
        EntryKind::App => view.app(&at.name).map(|own| Managed::App(own.entry.id)),
        EntryKind::User => view.user(&at.name).map(|own| Managed::User(own.entry.id)),
        EntryKind::Service => Some(Managed::Service(&at.name)),
        EntryKind::Registry => Some(Managed::Registry(&at.name)),
    };
    ours(&own?.name(), [ManagedAction::List.action()]).ok()
}

/// The entries of a kind.
fn all(view: &Arc<View>, kind: MemberKind) -> impl Iterator<Item = Found> {
    fn each<T: Clone>(list: &[Listed<T>], entry: fn(T) -> NewEntry) -> Vec<Found> {
        list.iter().map(|own| Found { entry: entry(own.entry.clone()), origin: own.origin.clone() }).collect()
    }
    let found = match kind {
        MemberKind::Group => each(view.groups(), NewEntry::Group),
        MemberKind::App => each(view.apps(), NewEntry::App),
        MemberKind::Service => each(view.services(), NewEntry::Service),
        MemberKind::User => each(view.users(), NewEntry::User),
    };
    found.into_iter()
}

fn find(view: &View, kind: MemberKind, reference: &str) -> Option<Found> {
    fn named<'own, T: Named>(list: &'own [Listed<T>], reference: &str) -> Option<&'own Listed<T>> {
        let by_name = list.iter().find(|own| own.entry.name() == reference);
        by_name.or_else(|| list.iter().find(|own| id_of(reference) == Some(own.entry.id())))
    }
    fn found<T: Clone>(own: &Listed<T>, entry: fn(T) -> NewEntry) -> Found {
        Found { entry: entry(own.entry.clone()), origin: own.origin.clone() }
    }
    match kind {
        MemberKind::Group => named(view.groups(), reference).map(|own| found(own, NewEntry::Group)),
        MemberKind::App => named(view.apps(), reference).map(|own| found(own, NewEntry::App)),
        MemberKind::User => named(view.users(), reference).map(|own| found(own, NewEntry::User)),
        MemberKind::Service => view.service(reference).map(|own| found(own, NewEntry::Service)),
    }
}

/// Whether an entry is of this group, or of this app.
fn belongs(view: &View, entry: &NewEntry, of: &str) -> bool {
    let is_group = |own: &String| {
        let (own, of) = (view.group(own), view.group(of));
        own.zip(of).is_some_and(|(own, of)| own.entry.id == of.entry.id)
    };
    match entry {
        NewEntry::User(user) => user.groups.iter().any(is_group),
        NewEntry::App(app) => app.responsibles.iter().chain(&app.publications).any(is_group),
        NewEntry::Service(service) => {
            let app = |reference: &str| find(view, MemberKind::App, reference).map(|found| found.entry.at());
            app(&service.app).is_some_and(|own| app(of) == Some(own))
        }
        NewEntry::Group(_) | NewEntry::Registry { .. } => false,
    }
}

fn told(view: &View, found: Found) -> Result<ToldMember, NotDone> {
    let origin = origin(Some(&found.origin));
    let words = |privileges: &BTreeSet<Privilege>| privileges.iter().map(|own| own.as_str()).collect();
    match found.entry {
        NewEntry::Group(Group { name, id, privileges }) => {
            Ok(ToldMember::Group { name, id, privileges: words(&privileges), origin })
        }
        NewEntry::App(App { name, id, responsibles, publications }) => {
            Ok(ToldMember::App { name, id, responsibles, publications, origin })
        }
        NewEntry::Service(Service { name, app, .. }) => Ok(ToldMember::Service { name: name.to_string(), app, origin }),
        NewEntry::User(User { name, id, groups, privileges, primary_group, quota }) => {
            let (declared, privileges) = (view.declared_by(&name), words(&privileges));
            let name = name.to_string();
            let last_login = None;
            Ok(ToldMember::User { name, id, groups, primary_group, privileges, quota, declared, last_login, origin })
        }
        NewEntry::Registry { .. } => Err(NotDone::Missing),
    }
}

fn is_said<T>(wanted: &Wanted<T>) -> bool {
    match wanted {
        Wanted::Unsaid => false,
        Wanted::Lifted | Wanted::Is(_) => true,
    }
}

/// What there is then.
pub(super) fn over<T: Default>(wanted: Wanted<T>, before: T) -> T {
    match wanted {
        Wanted::Unsaid => before,
        Wanted::Lifted => T::default(),
        Wanted::Is(wanted) => wanted,
    }
}

/// The same without what is named twice.
pub(super) fn once_each(mut names: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn wrapped<T>(wanted: Wanted<T>) -> Wanted<Option<T>> {
    match wanted {
        Wanted::Unsaid => Wanted::Unsaid,
        Wanted::Lifted => Wanted::Lifted,
        Wanted::Is(wanted) => Wanted::Is(Some(wanted)),
    }
}

fn privileges_over(wanted: Wanted<Vec<String>>, before: BTreeSet<Privilege>) -> Result<BTreeSet<Privilege>, NotDone> {
    match wanted {
        Wanted::Unsaid => Ok(before),
        Wanted::Lifted => Ok(BTreeSet::new()),
        Wanted::Is(words) => {
            let all: Option<_> = words.iter().map(|word| Privilege::parse(word)).collect();
            all.ok_or_else(|| NotDone::Wrong("the privileges are puller, pusher and manager".to_owned()))
        }
    }
}

/// The name of a group or an app: what lists, logs and terminals can show.
fn name_from(text: &str) -> Result<String, NotDone> {
    match text.len() <= LONGEST_NAME && is_plain_name(text) {
        true => Ok(text.to_owned()),
        false => Err(NotDone::Wrong(format!("a name has 1 to {LONGEST_NAME} bytes, {PLAIN}"))),
    }
}

/// What names are without: two of them would look alike.
const PLAIN: &str = "no space at its ends, and no characters that nobody sees";

fn account_from(text: &str) -> Result<Account, NotDone> {
    if !is_plain_name(text) {
        return Err(NotDone::Wrong(format!("a name has at least a letter, {PLAIN}")));
    }
    Account::parse(text).map_err(|error| NotDone::Wrong(error.to_string()))
}
