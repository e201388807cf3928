//! The directory: who is in which groups, which apps and services there are, and which registries each group sees.
//!
//! It knows no passwords but those of services. Whoever logs in under the name of one of its users, by any backend, gets labels from
//! it ([`Label`]), by which rules give rights; the standard rules are such. It is asked in memory alone.

pub mod changing;
mod documents;
pub mod entry;
mod events_secrets;
pub mod import;
mod labels;
mod naming;
mod planning;
mod reading;
pub mod rights;
mod service_logins;
mod settings;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context as _;
use policy::pattern::LabelValues;
use tracing::debug;

use crate::authn::password::PasswordHash;
use crate::authn::{Account, Identity};
use crate::dial::Places;
use crate::reach::REACH_WITHIN;
use crate::records;

use changing::NotChanged;
pub use documents::NewEntry;
use reading::Reading;

pub use labels::Label;
pub(crate) use labels::is_in_group;
pub use planning::Planned;
pub(crate) use service_logins::ServiceLogins;
pub use settings::{Elsewhere, NAME, Settings, read};
pub use view::{Kept, Listed, Origin, View};

/// The directory in use.
pub struct Directory {
    settings: Settings,
    place: Place,
    /// What looks at where registries are that are about to be declared.
    places: Places,
}

/// Where the directory is.
enum Place {
    /// In the file alone.
    File(Arc<View>),
    /// In the records, too.
    Records(Reading),
}

impl Directory {
    /// The directory that a file describes, and that its records have; these begin to be read in the background.
    ///
    /// # Errors
    /// There is no running server to read in.
    pub fn open(settings: Settings) -> anyhow::Result<Directory> {
        let place = match &settings.store {
            None => Place::File(Arc::new(View::from_both(&settings.entries, Kept::default()))),
            Some(store) => Place::Records(Reading::begin(records::open_for(store, NAME), settings.entries.clone())?),
        };
        let places = Places::new(settings.networks.clone());
        Ok(Directory { settings, place, places })
    }

    /// Takes over what was opened from the same settings, or opens others, which have to be read before those that work are given
    /// up for them.
    ///
    /// # Errors
    /// Records that are new do not answer.
    pub fn keep_or_open(settings: Settings, before: Option<&Arc<Directory>>) -> anyhow::Result<Arc<Directory>> {
        if let Some(kept) = before.filter(|before| before.settings == settings) {
            return Ok(Arc::clone(kept));
        }
        let opened = Arc::new(Directory::open(settings)?);
        // Of the same records, what is known stays known: a change of the file alone does not wait for them.
        let is_known = before.is_some_and(|before| match (&opened.place, &before.place) {
            (Place::Records(reading), Place::Records(old)) if opened.settings.store == before.settings.store => {
                reading.begin_with(old)
            }
            (Place::Records(_) | Place::File(_), Place::Records(_) | Place::File(_)) => false,
        });
        if before.is_some() && !is_known {
            let reading = async { tokio::time::timeout(REACH_WITHIN, opened.read_again()).await };
            let read = tokio::runtime::Handle::try_current()?.block_on(reading);
            read.context("no answer")?.context(NAME)?;
        }
        Ok(opened)
    }

    /// Reads again what the records have, where they have any of it.
    ///
    /// # Errors
    /// They could not tell.
    pub async fn read_again(&self) -> Result<(), records::Failure> {
        match &self.place {
            Place::File(_) => Ok(()),
            Place::Records(reading) => reading.read().await,
        }
    }

    /// What the records have of it now.
    async fn kept(&self) -> Result<Kept, records::Failure> {
        match &self.place {
            Place::File(_) => Ok(Kept::default()),
            Place::Records(reading) => reading.kept().await,
        }
    }

    /// The records, where they have some of it.
    fn records(&self) -> Result<&Arc<dyn records::Records>, NotChanged> {
        match &self.place {
            Place::File(_) => Err(NotChanged::NoRecords),
            Place::Records(reading) => Ok(reading.records()),
        }
    }

    /// What the file says of it.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The directory at this moment.
    ///
    /// # Errors
    /// Nobody knows what it is now.
    pub fn view(&self) -> anyhow::Result<Arc<View>> {
        match &self.place {
            Place::File(view) => Ok(Arc::clone(view)),
            Place::Records(reading) => reading.view(),
        }
    }

    /// Whether services can log in.
    pub fn has_services(&self) -> bool {
        self.settings.store.is_some() || !self.settings.entries.services.is_empty()
    }

    /// Hashes of nobody's, which a refusal takes besides the first one, so that it tells nothing of a service's places.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn further_hashes(&self) -> anyhow::Result<Vec<PasswordHash>> {
        service_logins::further_places(&self.settings.entries.services)
    }

    /// The same person with the labels that the directory gives. Those of its names that a backend gave are dropped: what a person
    /// may write of themselves in some other directory must not give them what this one does not.
    ///
    /// # Errors
    /// Nobody knows what the directory says now.
    pub fn labelled(&self, who: Identity) -> anyhow::Result<Identity> {
        let view = self.view()?;
        // Whoever another backend let in under a service's name is not that service.
        let is_other =
            |account: &Account| view.service(account).is_some() && who.by.as_ref().is_some_and(|by| by.backend != NAME);
        let account = who.account.as_ref().filter(|account| !is_other(account));
        let given = account.and_then(|account| view.labels(account, &self.groups_of(&view, &who)));
        let is_ours = |name: &String| Label::ALL.iter().any(|label| label.as_str() == name);
        let labels = match given {
            None if !who.labels.keys().any(is_ours) => return Ok(who),
            Some(given) if who.labels.is_empty() => given,
            given => {
                let others = who.labels.iter().filter(|(name, _)| !is_ours(name));
                let given = given.iter().flat_map(|labels| labels.iter());
                let all = others.chain(given).map(|(name, values)| (name.clone(), values.clone()));
                Arc::new(all.collect::<LabelValues>())
            }
        };
        Ok(Identity { labels, ..who })
    }

    /// The groups that somebody's login says, as far as the directory knows them.
    fn groups_of(&self, view: &View, who: &Identity) -> BTreeSet<usize> {
        let named = self.settings.groups_from.as_ref().and_then(|label| who.labels.get(label));
        let known = named.into_iter().flatten().filter_map(|value| {
            let at = view.group_at(value.text());
            if at.is_none() {
                debug!(
                    account = who.name(),
                    group = value.text(),
                    "the directory has no such group, and it counts for nothing"
                );
            }
            at
        });
        known.collect()
    }

    /// The registries that are declared, by name, as far as that is known now.
    pub fn services_declared(&self) -> Vec<String> {
        let view = self.view();
        view.map(|view| view.registries().iter().map(|registry| registry.service.clone()).collect()).unwrap_or_default()
    }

    /// Whether a registry of this name is declared, as far as that is known now.
    pub fn declares(&self, service: &str) -> bool {
        self.view().is_ok_and(|view| view.registries().get(service).is_some())
    }
}
