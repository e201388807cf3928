//! Entries of the directory as the records keep them: JSON, read strictly.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::entry::{App, Group, Privilege, Service, User, id_of, is_everybody, is_service};
use super::view::{Kept, Listed, Origin, Reserved};
use crate::authn::Account;
use crate::json;
use crate::pem::tls::Authorities;
use crate::records::directory::{Entry, EntryAt, EntryKind};
use crate::records::{Version, from_hexadecimal, hexadecimal};
use crate::registries::events::{EventsSecret, Made};
use crate::registries::{DeclaredBy, Registry, Restriction, check_service, host_from, is_host, read_url, usual_hosts};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupDocument {
    id: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    privileges: Vec<String>,
    /// Whether it is about to be removed.
    #[serde(default, skip_serializing_if = "stays")]
    leaving: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UserDocument {
    id: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    privileges: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    primary_group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quota: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AppDocument {
    id: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    responsibles: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    publications: Vec<String>,
    /// Whether it is about to be removed.
    #[serde(default, skip_serializing_if = "stays")]
    leaving: bool,
}

/// What is not said of an entry that stays.
fn stays(leaving: &bool) -> bool {
    !leaving
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceDocument {
    app: String,
    made: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistryDocument {
    url: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<String>,
    /// In PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authorities: Option<String>,
    restricted: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    publications: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    responsibles: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    creator: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "json::objects")]
    events: Vec<EventsDocument>,
    /// Whether it was removed, and its name alone is still kept for the groups that were responsible for it, by their ids.
    #[serde(default, skip_serializing_if = "stays")]
    removed: bool,
}

/// A secret of a registry's events.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsDocument {
    id: String,
    /// The digest, in hexadecimal.
    digest: String,
    /// When it was made, in seconds since 1970.
    made: i64,
}

impl EventsDocument {
    fn of(secret: &EventsSecret) -> Option<EventsDocument> {
        let Made { id, at } = secret.made.as_ref()?;
        Some(EventsDocument { id: id.clone(), digest: hexadecimal(&secret.digest), made: at.unix_timestamp() })
    }

    fn secret(&self) -> Option<EventsSecret> {
        let at = OffsetDateTime::from_unix_timestamp(self.made).ok()?;
        let made = Some(Made { id: self.id.clone(), at });
        Some(EventsSecret { digest: from_hexadecimal(&self.digest)?, made })
    }
}

/// An entry that is about to be kept.
#[derive(Clone, Debug)]
pub enum NewEntry {
    /// A group.
    Group(Group),
    /// A user.
    User(User),
    /// An app.
    App(App),
    /// A service.
    Service(Service),
    /// A registry, and who declares it; `None` at the command line.
    Registry {
        /// The registry.
        registry: Box<Registry>,
        /// The certificates of its authorities, in PEM.
        authorities: Option<String>,
        /// Who declares it.
        creator: Option<String>,
    },
}

impl NewEntry {
    /// What it is found by.
    pub fn at(&self) -> EntryAt {
        let (kind, name) = match self {
            NewEntry::Group(group) => (EntryKind::Group, group.name.as_str()),
            NewEntry::User(user) => (EntryKind::User, user.name.as_str()),
            NewEntry::App(app) => (EntryKind::App, app.name.as_str()),
            NewEntry::Service(service) => (EntryKind::Service, service.name.as_str()),
            NewEntry::Registry { registry, .. } => (EntryKind::Registry, registry.service.as_str()),
        };
        EntryAt { kind, name: name.to_owned() }
    }

    /// The entry as the records keep it.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn entry(&self) -> Result<Entry, serde_json::Error> {
        let words = |privileges: &BTreeSet<Privilege>| privileges.iter().map(|own| own.as_str().to_owned()).collect();
        let (claim, text) = match self {
            NewEntry::Group(Group { name: _, id, privileges }) => {
                let document = GroupDocument { id: *id, privileges: words(privileges), leaving: false };
                (Some(id.to_string()), serde_json::to_string(&document)?)
            }
            NewEntry::User(User { name: _, id, groups, privileges, primary_group, quota }) => {
                let (groups, primary_group, quota) = (groups.clone(), primary_group.clone(), *quota);
                let document = UserDocument { id: *id, groups, privileges: words(privileges), primary_group, quota };
                (Some(id.to_string()), serde_json::to_string(&document)?)
            }
            NewEntry::App(App { name: _, id, responsibles, publications }) => {
                let (responsibles, publications) = (responsibles.clone(), publications.clone());
                let document = AppDocument { id: *id, responsibles, publications, leaving: false };
                (Some(id.to_string()), serde_json::to_string(&document)?)
            }
            NewEntry::Service(Service { name: _, app, secrets: _, made }) => {
                let document = ServiceDocument { app: app.clone(), made: made.clone() };
                (None, serde_json::to_string(&document)?)
            }
            NewEntry::Registry { registry, authorities, creator } => {
                let url = registry.url.to_string();
                let document = RegistryDocument {
                    url: url.clone(),
                    hosts: registry.hosts.clone(),
                    authorities: authorities.clone(),
                    restricted: registry.restriction.is_restricted(),
                    publications: registry.publications.clone(),
                    responsibles: registry.responsibles.clone(),
                    creator: creator.clone(),
                    events: registry.events.iter().filter_map(EventsDocument::of).collect(),
                    removed: false,
                };
                (Some(url), serde_json::to_string(&document)?)
            }
        };
        Ok(Entry { at: self.at(), claim, text, version: Version(1) })
    }
}

/// What stays of a registry's entry when it is removed: its name, for these groups. `None` where it is not as this program writes it.
pub(super) fn with_name_alone(entry: Entry, responsibles: Vec<String>) -> Option<Entry> {
    let document: RegistryDocument = json::object(entry.text.as_bytes()).ok()?;
    let (publications, hosts, events) = (Vec::new(), Vec::new(), Vec::new());
    let document =
        RegistryDocument { publications, hosts, events, responsibles, authorities: None, removed: true, ..document };
    // Its address is free.
    Some(Entry { claim: None, text: serde_json::to_string(&document).ok()?, ..entry })
}

/// The secrets of a registry's events, by its entry; `None` where that is not as this program writes it.
pub(super) fn events_of(entry: &Entry) -> Option<Vec<EventsSecret>> {
    let document: RegistryDocument = json::object(entry.text.as_bytes()).ok()?;
    document.events.iter().map(EventsDocument::secret).collect()
}

/// A registry's entry with these secrets of its events, whatever else is in it; `None` where it is not as this program writes it.
pub(super) fn with_events(entry: Entry, events: &[EventsSecret]) -> Option<Entry> {
    let document: RegistryDocument = json::object(entry.text.as_bytes()).ok()?;
    let events = events.iter().filter_map(EventsDocument::of).collect();
    let text = serde_json::to_string(&RegistryDocument { events, ..document }).ok()?;
    Some(Entry { text, ..entry })
}

/// Whether a group or an app is about to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stay {
    /// It stays.
    Stays,
    /// It is about to be removed: nothing that does not name it yet may name it.
    Leaves,
}

/// A group's or an app's entry that stays or leaves, whatever else is in it; `None` where it is not as this program writes it.
pub(super) fn with_stay(entry: Entry, stay: Stay) -> Option<Entry> {
    let (text, leaving) = (entry.text.as_bytes(), stay == Stay::Leaves);
    let text = match entry.at.kind {
        EntryKind::Group => serde_json::to_string(&GroupDocument { leaving, ..json::object(text).ok()? }).ok()?,
        EntryKind::App => serde_json::to_string(&AppDocument { leaving, ..json::object(text).ok()? }).ok()?,
        EntryKind::User | EntryKind::Service | EntryKind::Registry => return None,
    };
    Some(Entry { text, ..entry })
}

/// Reads entries. One that is not as it is written counts for nothing, and is named: the groups of others stay what they are.
pub(super) fn kept_from(entries: Vec<Entry>) -> Kept {
    let mut kept = Kept::default();
    for entry in entries {
        let place = entry.at.to_string();
        if read_into(&mut kept, entry).is_none() {
            kept.unreadable.push(format!("the {place} of the records is not as this program writes it"));
        }
    }
    kept
}

/// The certificates of a registry's authorities, in PEM.
pub(super) fn authorities_in(entry: &Entry) -> Option<String> {
    let document: RegistryDocument = json::object(entry.text.as_bytes()).ok()?;
    document.authorities
}

fn read_into(kept: &mut Kept, entry: Entry) -> Option<()> {
    let Entry { at: EntryAt { kind, name }, claim: _, text, version } = entry;
    let text = text.as_bytes();
    let origin = |creator| Origin::Records { version, creator };
    match kind {
        EntryKind::Group => {
            let GroupDocument { id, privileges, leaving } = json::object(text).ok()?;
            let is_one = id_of(&id.to_string()).is_some() && !is_everybody(&name) && !name.is_empty();
            if leaving {
                kept.leaving.insert(EntryAt { kind, name: name.clone() });
            }
            let group = Group { name, id, privileges: privileges_of(&privileges)? };
            is_one.then(|| kept.groups.push(Listed { entry: group, origin: origin(None) }))
        }
        EntryKind::User => {
            let UserDocument { id, groups, privileges, primary_group, quota } = json::object(text).ok()?;
            let (name, privileges) = (Account::parse(&name).ok()?, privileges_of(&privileges)?);
            let user = User { name, id: id_of(&id.to_string())?, groups, privileges, primary_group, quota };
            kept.users.push(Listed { entry: user, origin: origin(None) });
            Some(())
        }
        EntryKind::App => {
            let AppDocument { id, responsibles, publications, leaving } = json::object(text).ok()?;
            if leaving {
                kept.leaving.insert(EntryAt { kind, name: name.clone() });
            }
            let app = App { name, id: id_of(&id.to_string())?, responsibles, publications };
            kept.apps.push(Listed { entry: app, origin: origin(None) });
            Some(())
        }
        EntryKind::Service => {
            let ServiceDocument { app, made } = json::object(text).ok()?;
            let name = Account::parse(&name).ok().filter(|name| is_service(name))?;
            let service = Service { name, app, secrets: Vec::new(), made };
            kept.services.push(Listed { entry: service, origin: origin(None) });
            Some(())
        }
        EntryKind::Registry => {
            let document: RegistryDocument = json::object(text).ok()?;
            let RegistryDocument {
                url,
                hosts,
                authorities,
                restricted,
                publications,
                responsibles,
                creator,
                events,
                removed,
            } = document;
            check_service(&name).ok()?;
            if removed {
                kept.reserved.insert(name, Reserved { responsibles, creator, version });
                return Some(());
            }
            let url = read_url(&url).ok()?;
            let authorities = match authorities {
                None => None,
                Some(pem) => Some(Authorities::from_pem(pem.as_bytes()).ok()?),
            };
            let hosts = match hosts.is_empty() {
                true => usual_hosts(&name, &url),
                false => hosts.iter().map(|host| host_from(host)).collect(),
            };
            let registry = Registry {
                service: name,
                url,
                authorities,
                restriction: Restriction::from_flag(restricted),
                publications,
                responsibles,
                events: events.iter().map(EventsDocument::secret).collect::<Option<_>>()?,
                declared: DeclaredBy::Manager,
                hosts,
            };
            let is_one = registry.hosts.iter().all(|host| is_host(host));
            is_one.then(|| kept.registries.push(Listed { entry: registry, origin: origin(creator) }))
        }
    }
}

fn privileges_of(words: &[String]) -> Option<BTreeSet<Privilege>> {
    words.iter().map(|word| Privilege::parse(word)).collect()
}
