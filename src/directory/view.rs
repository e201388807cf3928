//! The directory at one moment: what the file and the records have together, and what follows from it for each member.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use policy::pattern::LabelValues;
use policy::scope::is_component;

use super::entry::{App, Entries, Group, Named, Privilege, Service, User, id_of, is_everybody};
use super::labels::Member;
use super::naming::Namers;
use crate::authn::Account;
use crate::records::Version;
use crate::records::directory::{EntryAt, EntryKind};
use crate::registries::{Registries, Registry};

/// Where an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the file, where alone it is changed.
    File,
    /// In the records.
    Records {
        /// Of this record.
        version: Version,
        /// Who declared it; `None` at the command line.
        creator: Option<String>,
    },
}

/// An entry, and where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed<T> {
    /// The entry.
    pub entry: T,
    /// Where it is.
    pub origin: Origin,
}

/// The name of a registry that was removed. Tokens for it may still open what is there, and what it held is still known: it is not
/// just anybody's to declare anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reserved {
    /// The ids of the groups that were responsible for it.
    pub(super) responsibles: Vec<String>,
    /// Who declared it; `None` at the command line.
    pub(super) creator: Option<String>,
    /// Of this record.
    pub(super) version: Version,
}

/// What the records have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// The groups.
    pub groups: Vec<Listed<Group>>,
    /// The users.
    pub users: Vec<Listed<User>>,
    /// The apps.
    pub apps: Vec<Listed<App>>,
    /// The services.
    pub services: Vec<Listed<Service>>,
    /// The registries.
    pub registries: Vec<Listed<Registry>>,
    /// The groups and apps that are about to be removed.
    pub leaving: BTreeSet<EntryAt>,
    /// The names of registries that were removed.
    pub(super) reserved: BTreeMap<String, Reserved>,
    /// What of them cannot be read, which counts for nothing.
    pub unreadable: Vec<String>,
}

/// The directory at one moment.
#[derive(Debug, Default)]
pub struct View {
    groups: Vec<Listed<Group>>,
    users: Vec<Listed<User>>,
    apps: Vec<Listed<App>>,
    services: Vec<Listed<Service>>,
    origins: Vec<Origin>,
    registries: Registries,
    group_at: HashMap<String, usize>,
    user_at: HashMap<Account, usize>,
    service_at: HashMap<Account, usize>,
    given: HashMap<Account, Arc<LabelValues>>,
    /// What each group brings its members, in the order of `groups`.
    brings: Vec<Brings>,
    /// What the group of everybody brings.
    to_everybody: Brings,
    restricted: BTreeSet<String>,
    leaving: BTreeSet<EntryAt>,
    reserved: BTreeMap<String, Reserved>,
    remarks: Vec<String>,
}

/// What being in a group brings.
#[derive(Debug, Default)]
struct Brings {
    gid: Vec<String>,
    app_pull: BTreeSet<String>,
    app_push: BTreeSet<String>,
    published: BTreeSet<String>,
    responsible: BTreeSet<String>,
    privileges: BTreeSet<Privilege>,
}

impl View {
    /// What both have together. Where they have the same, the file's counts, and what the records have of that name or id counts for
    /// nothing, which is remarked.
    pub fn from_both(file: &Entries, kept: Kept) -> View {
        let Kept { groups, users, apps, services, registries, leaving, reserved, unreadable } = kept;
        let remarks = unreadable.into_iter().map(|text| format!("{text}, and counts for nothing")).collect();
        let mut view = View { remarks, leaving, reserved, ..View::default() };
        let namers = Namers::of_kept(&users, &apps, &services, &registries);
        let meant = [
            namers.remarks(EntryKind::Group, &file.groups, &groups),
            namers.remarks(EntryKind::App, &file.apps, &apps),
        ];
        view.remarks.extend(meant.into_iter().flatten());
        view.groups = together(("group", &file.groups), groups, &mut view.remarks);
        view.groups.retain(|group| !is_everybody(&group.entry.name));
        view.users = together(("user", &file.users), users, &mut view.remarks);
        view.apps = together(("app", &file.apps), apps, &mut view.remarks);
        view.services = in_file(&file.services);
        for service in services {
            let name = &service.entry.name;
            if view.services.iter().any(|own| own.entry.name == *name) {
                view.remarks
                    .push(format!("the service {name} of the records is in the file too, and counts for nothing"));
            } else if file.accounts.contains(&name.to_lowercase()) {
                // Whoever holds the service's secret would else be that account, and whoever has that account could not log in.
                view.remarks.push(format!(
                    "the service {name} of the records is called as an account of the file, and counts for nothing"
                ));
            } else {
                view.services.push(service);
            }
        }
        let mut all: Vec<Registry> = file.registries.iter().cloned().collect();
        view.origins = vec![Origin::File; all.len()];
        for Listed { entry, origin } in registries {
            match all.iter().find(|own| own.service == entry.service || own.url == entry.url) {
                Some(_) => {
                    view.remarks.push(format!(
                        "the registry {} of the records is declared twice, or its url, and counts for nothing",
                        entry.service
                    ));
                }
                None => {
                    all.push(entry);
                    view.origins.push(origin);
                }
            }
        }
        view.registries = Registries::from_declared(all);
        view.compile();
        view
    }

    fn compile(&mut self) {
        let group_at = by_reference(self.groups.iter().map(|group| &group.entry));
        let apps = by_reference(self.apps.iter().map(|app| &app.entry));
        let app_names = names_of(self.apps.iter().map(|app| &app.entry));
        let gids = names_of(self.groups.iter().map(|group| &group.entry));
        let in_group = |(group, gid): (&Listed<Group>, Vec<String>)| {
            let privileges = group.entry.privileges.clone();
            Brings { gid, privileges, ..Brings::default() }
        };
        let mut brings: Vec<Brings> = self.groups.iter().zip(gids).map(in_group).collect();
        let mut to_everybody = Brings::default();
        let mut bring = |groups: &[String], change: &dyn Fn(&mut Brings)| {
            for group in groups {
                if is_everybody(group) {
                    change(&mut to_everybody);
                } else if let Some(brings) = group_at.get(group).and_then(|at| brings.get_mut(*at)) {
                    change(brings);
                }
            }
        };
        for (app, names) in self.apps.iter().zip(&app_names) {
            bring(&app.entry.publications, &|brings| brings.app_pull.extend(names.iter().cloned()));
            bring(&app.entry.responsibles, &|brings| brings.app_push.extend(names.iter().cloned()));
        }
        for registry in self.registries.iter() {
            bring(&registry.publications, &|brings| _ = brings.published.insert(registry.service.clone()));
            bring(&registry.responsibles, &|brings| _ = brings.responsible.insert(registry.service.clone()));
        }
        (self.group_at, self.brings, self.to_everybody) = (group_at, brings, to_everybody);
        let restricted = self.registries.iter().filter(|registry| registry.restriction.is_restricted());
        self.restricted = restricted.map(|registry| registry.service.clone()).collect();
        self.user_at = self.users.iter().enumerate().map(|(at, user)| (user.entry.name.clone(), at)).collect();
        self.service_at =
            self.services.iter().enumerate().map(|(at, service)| (service.entry.name.clone(), at)).collect();
        let user_names = names_of(self.users.iter().map(|user| &user.entry));
        let mut given = HashMap::with_capacity(self.users.len().saturating_add(self.services.len()));
        for (user, names) in self.users.iter().zip(&user_names) {
            given.insert(
                user.entry.name.clone(),
                Arc::new(self.labels_of(Some((&user.entry, names)), &BTreeSet::new())),
            );
        }
        for service in &self.services {
            let app = apps.get(&service.entry.app).and_then(|at| Some((self.apps.get(*at)?, app_names.get(*at)?)));
            given.insert(service.entry.name.clone(), Arc::new(self.labels_of_service(app)));
        }
        self.given = given;
    }

    /// The labels of a user, or of somebody who is in the directory by these groups alone.
    fn labels_of(&self, user: Option<(&User, &[String])>, more: &BTreeSet<usize>) -> LabelValues {
        let restricted = self.restricted.iter().map(String::as_str).collect();
        let mut member = Member::nobody(&restricted);
        if let Some((user, names)) = user {
            member.uid.extend(names.iter().map(String::as_str));
            member.privileges.extend(&user.privileges);
        }
        let own = user.into_iter().flat_map(|(user, _)| &user.groups).filter_map(|group| self.group_at.get(group));
        let groups: BTreeSet<usize> = own.chain(more).copied().collect();
        let brought = groups.iter().filter_map(|at| self.brings.get(*at));
        for brings in brought.chain([&self.to_everybody]) {
            member.gid.extend(brings.gid.iter().map(String::as_str));
            // Who may push there may pull.
            member.app_pull.extend(brings.app_pull.iter().chain(&brings.app_push).map(String::as_str));
            member.app_push.extend(brings.app_push.iter().map(String::as_str));
            member.published.extend(brings.published.iter().map(String::as_str));
            member.responsible.extend(brings.responsible.iter().map(String::as_str));
            member.privileges.extend(&brings.privileges);
        }
        member.labels()
    }

    /// The labels of a service of this app: it has the publications of the groups that are responsible for the app, and pulls.
    fn labels_of_service(&self, app: Option<(&Listed<App>, &Vec<String>)>) -> LabelValues {
        let restricted = BTreeSet::new();
        let mut member = Member::nobody(&restricted);
        member.privileges.insert(Privilege::Puller);
        member.published.extend(self.to_everybody.published.iter().map(String::as_str));
        if let Some((app, names)) = app {
            member.app_pull.extend(names.iter().map(String::as_str));
            let groups = app.entry.responsibles.iter().filter_map(|group| self.group_at.get(group));
            for brings in groups.filter_map(|at| self.brings.get(*at)) {
                member.published.extend(brings.published.iter().map(String::as_str));
            }
        }
        member.labels()
    }

    /// What the directory gives an account that is in these groups by what its login says, too. `None` for who is not in the
    /// directory.
    pub(super) fn labels(&self, account: &Account, groups: &BTreeSet<usize>) -> Option<Arc<LabelValues>> {
        let user = self.user_at.get(account).and_then(|at| self.users.get(*at));
        let is_in = |at: &usize| {
            user.is_some_and(|user| user.entry.groups.iter().any(|group| self.group_at.get(group) == Some(at)))
        };
        match (user, self.service_at.contains_key(account)) {
            // No login of theirs but their own tells of it.
            (_, true) => self.given.get(account).cloned(),
            (Some(_), false) if groups.iter().all(is_in) => self.given.get(account).cloned(),
            (Some(user), false) => {
                let names = self.given.get(account).and_then(|labels| labels.get(super::Label::Uid.as_str()));
                let names: Vec<String> = names.into_iter().flatten().map(|value| value.text().to_owned()).collect();
                Some(Arc::new(self.labels_of(Some((&user.entry, &names)), groups)))
            }
            (None, false) if groups.is_empty() => None,
            (None, false) => Some(Arc::new(self.labels_of(None, groups))),
        }
    }

    /// The group of this name or id, by its place.
    pub(super) fn group_at(&self, reference: &str) -> Option<usize> {
        self.group_at.get(reference).copied()
    }

    /// What the directory gives this user or service, by what it knows itself; `None` for somebody who is not in it.
    pub fn given(&self, account: &str) -> Option<&Arc<LabelValues>> {
        self.given.get(account)
    }

    /// The groups, but for that of everybody.
    pub fn groups(&self) -> &[Listed<Group>] {
        &self.groups
    }

    /// The group of this name or id.
    pub fn group(&self, reference: &str) -> Option<&Listed<Group>> {
        self.groups.get(self.group_at(reference)?)
    }

    /// The users, whether or not they ever logged in.
    pub fn users(&self) -> &[Listed<User>] {
        &self.users
    }

    /// The user of this name.
    pub fn user(&self, account: &str) -> Option<&Listed<User>> {
        self.users.get(*self.user_at.get(account)?)
    }

    /// The apps.
    pub fn apps(&self) -> &[Listed<App>] {
        &self.apps
    }

    /// The services.
    pub fn services(&self) -> &[Listed<Service>] {
        &self.services
    }

    /// The service of this account.
    pub fn service(&self, account: &str) -> Option<&Listed<Service>> {
        self.services.get(*self.service_at.get(account)?)
    }

    /// The service that an account is called as, but for case.
    pub fn service_alike(&self, account: &str) -> Option<&Account> {
        let account = account.to_lowercase();
        self.services.iter().map(|service| &service.entry.name).find(|name| name.to_lowercase() == account)
    }

    /// The registries.
    pub fn registries(&self) -> &Registries {
        &self.registries
    }

    /// Where a registry was declared.
    pub fn origin(&self, service: &str) -> Option<&Origin> {
        let at = self.registries.iter().position(|registry| registry.service == service)?;
        self.origins.get(at)
    }

    /// How many registries this user has declared, which count for their quota.
    pub fn declared_by(&self, account: &str) -> usize {
        let is_theirs = |origin: &&Origin| match origin {
            Origin::File => false,
            Origin::Records { creator, .. } => creator.as_deref() == Some(account),
        };
        self.origins.iter().filter(is_theirs).count()
    }

    /// The groups and apps of the records that are about to be removed.
    pub(super) fn leaving(&self) -> &BTreeSet<EntryAt> {
        &self.leaving
    }

    /// What is kept of the name of a registry that was removed.
    pub(super) fn reserved(&self, service: &str) -> Option<&Reserved> {
        self.reserved.get(service)
    }

    /// How many registries this user has declared that were removed.
    pub(super) fn reserved_by(&self, account: &str) -> usize {
        self.reserved.values().filter(|reserved| reserved.creator.as_deref() == Some(account)).count()
    }

    /// What of the records counts for nothing, and why.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }
}

impl<'view> Member<'view> {
    fn nobody(restricted: &'view BTreeSet<&'view str>) -> Member<'view> {
        Member {
            uid: Vec::new(),
            gid: BTreeSet::new(),
            app_pull: BTreeSet::new(),
            app_push: BTreeSet::new(),
            published: BTreeSet::new(),
            responsible: BTreeSet::new(),
            restricted,
            privileges: BTreeSet::new(),
        }
    }
}

fn in_file<T: Clone>(entries: &[T]) -> Vec<Listed<T>> {
    entries.iter().map(|entry| Listed { entry: entry.clone(), origin: Origin::File }).collect()
}

/// The entries of the file, and those of the records that are no other's name and id.
fn together<T: Named + Clone>(
    (what, file): (&str, &[T]),
    kept: Vec<Listed<T>>,
    remarks: &mut Vec<String>,
) -> Vec<Listed<T>> {
    let mut all = in_file(file);
    let mut names: BTreeSet<String> = file.iter().map(|entry| entry.name().to_owned()).collect();
    let mut ids: BTreeSet<u64> = file.iter().map(Named::id).collect();
    for one in kept {
        let (name, id) = (one.entry.name().to_owned(), one.entry.id());
        if names.contains(&name) || ids.contains(&id) {
            remarks.push(format!(
                "the {what} {name} of the records has a name or an id that another {what} has, and counts for nothing"
            ));
            continue;
        }
        names.insert(name);
        ids.insert(id);
        all.push(one);
    }
    all
}

/// Where each entry is by what names it: its name, and its id where that is no other's name.
fn by_reference<'entry, T: Named + 'entry>(entries: impl Iterator<Item = &'entry T> + Clone) -> HashMap<String, usize> {
    let ids = entries.clone().enumerate().map(|(at, entry)| (entry.id().to_string(), at));
    // The id counts: of a name that is another's id, nobody can say which is meant.
    let ids: HashMap<String, usize> = ids.collect();
    let mut all: HashMap<String, usize> = HashMap::new();
    for (at, entry) in entries.enumerate() {
        if ids.get(entry.name()).is_none_or(|other| *other == at) {
            all.insert(entry.name().to_owned(), at);
        }
    }
    all.extend(ids);
    all
}

/// What each entry is called in the names of repositories: its id, and its name where that can be a part of one and is no other
/// entry's id, nor its name in any case of letters.
fn names_of<'entry, T: Named + 'entry>(entries: impl Iterator<Item = &'entry T> + Clone) -> Vec<Vec<String>> {
    let mut spelled: BTreeMap<String, usize> = BTreeMap::new();
    let mut ids: BTreeMap<u64, usize> = BTreeMap::new();
    for (at, entry) in entries.clone().enumerate() {
        let number = spelled.entry(entry.name().to_lowercase()).or_default();
        *number = number.saturating_add(1);
        ids.insert(entry.id(), at);
    }
    let called = |(at, entry): (usize, &T)| {
        let name = entry.name();
        let is_others_id = id_of(name).and_then(|id| ids.get(&id)).is_some_and(|other| *other != at);
        let counts = is_component(name) && !is_others_id && spelled.get(&name.to_lowercase()) == Some(&1);
        let id = entry.id().to_string();
        let name = counts.then(|| name.to_owned()).filter(|name| *name != id);
        [Some(id), name].into_iter().flatten().collect()
    };
    entries.enumerate().map(called).collect()
}
