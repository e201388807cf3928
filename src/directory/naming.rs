//! Which entries name which groups and apps, and removing one that none names any more.
//!
//! Stores without transactions keep this, too: whoever removes marks the entry first, and then looks at who names it; whoever names
//! writes first, and then looks at what is named. Of the two at once, one sees the other.

use std::collections::BTreeSet;

use super::Directory;
use super::changing::{MOST_SAID, NotChanged};
use super::documents::{NewEntry, Stay, with_stay};
use super::entry::{App, Named, Service, User, id_of, is_everybody};
use super::view::{Listed, View};
use crate::records::directory::{EntryAt, EntryKind};
use crate::records::{Changed, Failure, Version};
use crate::registries::Registry;

impl View {
    /// The app of this code or id.
    pub fn app(&self, reference: &str) -> Option<&Listed<App>> {
        let by_id = self.apps().iter().find(|own| id_of(reference) == Some(own.entry.id()));
        by_id.or_else(|| self.apps().iter().find(|own| own.entry.name() == reference))
    }

    /// The entries that name this one, by name or id. Who declared a registry is not named by it: that is history, and gives nothing.
    pub fn naming(&self, at: &EntryAt) -> Vec<EntryAt> {
        let namers = Namers {
            users: self.users().iter().map(|own| &own.entry).collect(),
            apps: self.apps().iter().map(|own| &own.entry).collect(),
            services: self.services().iter().map(|own| &own.entry).collect(),
            registries: self.registries().iter().collect(),
        };
        let is_group = |name: &String| self.group(name).is_some_and(|group| group.entry.name == at.name);
        let is_app = |name: &String| self.app(name).is_some_and(|app| app.entry.name == at.name);
        match at.kind {
            EntryKind::Group => namers.naming(at.kind, &is_group),
            EntryKind::App => namers.naming(at.kind, &is_app),
            EntryKind::User | EntryKind::Service | EntryKind::Registry => Vec::new(),
        }
    }

    /// That everything that an entry names is there, and stays.
    pub(super) fn has_named(&self, new: &NewEntry) -> Result<(), NotChanged> {
        let (groups, app): (Vec<&String>, Option<&String>) = match new {
            NewEntry::Group(_) => (Vec::new(), None),
            NewEntry::User(user) => (user.groups.iter().chain(&user.primary_group).collect(), None),
            NewEntry::App(app) => (app.responsibles.iter().chain(&app.publications).collect(), None),
            NewEntry::Service(service) => (Vec::new(), Some(&service.app)),
            NewEntry::Registry { registry, .. } => {
                (registry.responsibles.iter().chain(&registry.publications).collect(), None)
            }
        };
        let groups = groups.into_iter().filter(|name| !is_everybody(name));
        let groups = groups.map(|name| (EntryKind::Group, name, self.group(name).map(|own| own.entry.name.clone())));
        let app = app.map(|name| (EntryKind::App, name, self.app(name).map(|own| own.entry.name.clone())));
        for (kind, reference, found) in groups.chain(app) {
            let (what, name) = (kind.as_str(), reference.clone());
            let found = found.ok_or(NotChanged::Unknown { what, name: name.clone() })?;
            if self.leaving().contains(&EntryAt { kind, name: found }) {
                return Err(NotChanged::Leaving { what, name });
            }
        }
        Ok(())
    }
}

/// The entries that may name others.
pub(super) struct Namers<'own> {
    users: Vec<&'own User>,
    apps: Vec<&'own App>,
    services: Vec<&'own Service>,
    registries: Vec<&'own Registry>,
}

impl<'own> Namers<'own> {
    /// Those of the records.
    pub(super) fn of_kept(
        users: &'own [Listed<User>],
        apps: &'own [Listed<App>],
        services: &'own [Listed<Service>],
        registries: &'own [Listed<Registry>],
    ) -> Namers<'own> {
        Namers {
            users: users.iter().map(|own| &own.entry).collect(),
            apps: apps.iter().map(|own| &own.entry).collect(),
            services: services.iter().map(|own| &own.entry).collect(),
            registries: registries.iter().map(|own| &own.entry).collect(),
        }
    }

    /// Those that name the group or the app that these references mean.
    fn naming(&self, kind: EntryKind, is_it: &dyn Fn(&String) -> bool) -> Vec<EntryAt> {
        let of = |kind: EntryKind, name: &str| EntryAt { kind, name: name.to_owned() };
        match kind {
            EntryKind::Group => {
                let users = self.users.iter();
                let users = users.filter(|user| user.groups.iter().chain(&user.primary_group).any(is_it));
                let apps = self.apps.iter();
                let apps = apps.filter(|app| app.responsibles.iter().chain(&app.publications).any(is_it));
                let registries = self.registries.iter();
                let registries = registries.filter(|own| own.responsibles.iter().chain(&own.publications).any(is_it));
                let users = users.map(|user| of(EntryKind::User, &user.name));
                let apps = apps.map(|app| of(EntryKind::App, &app.name));
                users.chain(apps).chain(registries.map(|own| of(EntryKind::Registry, &own.service))).collect()
            }
            EntryKind::App => {
                let services = self.services.iter().filter(|service| is_it(&service.app));
                services.map(|service| of(EntryKind::Service, &service.name)).collect()
            }
            EntryKind::User | EntryKind::Service | EntryKind::Registry => Vec::new(),
        }
    }

    /// Says of each group or app of the records that the file's took the name or the id of, which entries of the records named it, and
    /// mean the file's now.
    pub(super) fn remarks<T: Named>(&self, kind: EntryKind, file: &[T], kept: &[Listed<T>]) -> Vec<String> {
        let (names, ids) = (file.iter().map(Named::name), file.iter().map(Named::id));
        let (names, ids): (BTreeSet<&str>, BTreeSet<u64>) = (names.collect(), ids.collect());
        let is_lost = |own: &&Listed<T>| names.contains(own.entry.name()) || ids.contains(&own.entry.id());
        let lost = kept.iter().filter(is_lost);
        let told = lost.filter_map(|own| {
            let (what, name, id) = (kind.as_str(), own.entry.name(), own.entry.id().to_string());
            let is_it = |reference: &String| {
                (reference == name && names.contains(name)) || (*reference == id && ids.contains(&own.entry.id()))
            };
            let by = self.naming(kind, &is_it);
            let said = by.iter().take(MOST_SAID).map(|at| format!("{} {}", at.kind.as_str(), at.name));
            let said: Vec<String> = said.chain((by.len() > MOST_SAID).then(|| "others".to_owned())).collect();
            let said = said.join(", ");
            (!said.is_empty()).then(|| {
                format!("the {what} {name} (id {id}) of the records is the file's now: {said} of the records named it")
            })
        });
        told.collect()
    }
}

impl Directory {
    /// Removes a group or an app that still has this version, unless something names it.
    pub(super) async fn remove_unnamed(&self, at: &EntryAt, seen: Version) -> Result<(), NotChanged> {
        let view = self.current().await?;
        let by = view.naming(at);
        if !by.is_empty() {
            // Whoever was to remove it did not come to the end, perhaps; it stays.
            if view.leaving().contains(at) {
                self.mark(at, seen, Stay::Stays).await?;
            }
            return Err(NotChanged::Named(by));
        }
        let marked = self.mark(at, seen, Stay::Leaves).await?;
        let by = self.current().await?.naming(at);
        if by.is_empty() {
            return self.changed(self.records()?.remove_entry(at, marked).await?).await;
        }
        match self.mark(at, marked, Stay::Stays).await {
            // Somebody who changed it meanwhile has it stay.
            Ok(_) | Err(NotChanged::Conflict | NotChanged::Missing) => Err(NotChanged::Named(by)),
            Err(other) => Err(other),
        }
    }

    /// Has an entry stay or leave; the version that it has then.
    async fn mark(&self, at: &EntryAt, seen: Version, stay: Stay) -> Result<Version, NotChanged> {
        let records = self.records()?;
        let entry = records.entry(at).await?.ok_or(NotChanged::Missing)?;
        if entry.version != seen {
            return Err(NotChanged::Conflict);
        }
        let odd = || Failure::Unusable { cause: format!("the {at} is not as this program writes it") };
        match records.replace_entry(&with_stay(entry, stay).ok_or_else(odd)?, seen).await? {
            Changed::Done => Ok(Version(seen.0.saturating_add(1))),
            Changed::Missing => Err(NotChanged::Missing),
            Changed::Conflict => Err(NotChanged::Conflict),
        }
    }

    /// Looks once more at what an entry names that was just written with this version. Where that is gone, or about to go, what was
    /// before is put back.
    pub(super) async fn confirm(
        &self,
        new: &NewEntry,
        written: Version,
        before: Option<crate::records::directory::Entry>,
    ) -> Result<(), NotChanged> {
        let Err(lacking) = self.current().await?.has_named(new) else { return Ok(()) };
        let records = self.records()?;
        let undone = match before {
            None => records.remove_entry(&new.at(), written).await?,
            Some(before) => records.replace_entry(&before, written).await?,
        };
        match self.changed(undone).await {
            // Somebody who changed it meanwhile looked at what it names themselves.
            Ok(()) | Err(NotChanged::Conflict | NotChanged::Missing) => Err(lacking),
            Err(other) => Err(other),
        }
    }
}
