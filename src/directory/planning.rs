//! Many entries that are brought in at once: what would come of each is known before the first is made.

use super::Directory;
use super::changing::{NotChanged, check, check_beside};
use super::documents::NewEntry;
use super::view::{Kept, Listed, Origin, View};
use crate::records::Version;
use crate::records::directory::EntryAt;
use crate::registries::Registry;

/// What would come of an entry.
#[derive(Debug)]
pub enum Planned {
    /// It would be made.
    New,
    /// It is there already, as it is said.
    Same,
    /// It would be refused.
    Refused(NotChanged),
}

impl Directory {
    /// What would come of making these entries, of which each may name those before it: by the checks that making them has.
    ///
    /// # Errors
    /// The records cannot be asked.
    pub async fn plan(&self, all: &[NewEntry]) -> Result<Vec<(EntryAt, Planned)>, NotChanged> {
        let file = &self.settings().entries;
        let mut kept = self.kept().await?;
        let mut view = View::from_both(file, kept.clone());
        let (mut last, mut fresh) = (None, Vec::new());
        let mut told = Vec::with_capacity(all.len());
        for new in all {
            let at = new.at();
            if last.replace(at.kind) != Some(at.kind) {
                // With those before it, which are of other kinds.
                view = View::from_both(file, kept.clone());
                fresh.clear();
            }
            let planned = match view.has_same(new) {
                true => Planned::Same,
                false => match self.check_place(new).await.map_err(NotChanged::from) {
                    Ok(()) => match check(&view, new).and_then(|()| check_beside(&fresh, new)) {
                        Ok(()) => Planned::New,
                        Err(refused) => Planned::Refused(refused),
                    },
                    Err(refused) => Planned::Refused(refused),
                },
            };
            match planned {
                Planned::New => {
                    keep(&mut kept, new);
                    fresh.push(new);
                }
                Planned::Same | Planned::Refused(_) => {}
            }
            told.push((at, planned));
        }
        Ok(told)
    }
}

impl View {
    /// Whether an entry is there already, with all that is said of it.
    fn has_same(&self, new: &NewEntry) -> bool {
        match new {
            NewEntry::Group(group) => self.groups().iter().any(|own| own.entry == *group),
            NewEntry::User(user) => self.user(&user.name).is_some_and(|own| own.entry == *user),
            NewEntry::App(app) => self.apps().iter().any(|own| own.entry == *app),
            NewEntry::Service(service) => self.service(&service.name).is_some_and(|own| own.entry.app == service.app),
            NewEntry::Registry { registry, .. } => {
                fn said(own: &Registry) -> impl PartialEq {
                    (&own.url, &own.hosts, own.restriction, &own.publications, &own.responsibles)
                }
                self.registries().get(&registry.service).is_some_and(|own| said(own) == said(registry))
            }
        }
    }
}

/// Has what the records have hold this, too.
fn keep(kept: &mut Kept, new: &NewEntry) {
    let origin = Origin::Records { version: Version(1), creator: None };
    match new.clone() {
        NewEntry::Group(entry) => kept.groups.push(Listed { entry, origin }),
        NewEntry::User(entry) => kept.users.push(Listed { entry, origin }),
        NewEntry::App(entry) => kept.apps.push(Listed { entry, origin }),
        NewEntry::Service(entry) => kept.services.push(Listed { entry, origin }),
        NewEntry::Registry { registry, .. } => kept.registries.push(Listed { entry: *registry, origin }),
    }
}
