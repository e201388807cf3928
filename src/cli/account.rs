//! Whose a name is, for commands that make users or services: no user is called as a service, and no service as a user.

use std::sync::Arc;

use super::members::plain;
use crate::access::Access;
use crate::authn::password::Passwords;
use crate::config::Config;
use crate::directory::{Directory, Settings, View};
use crate::metrics::Metrics;
use crate::shown::printable;

/// Who can log in by the sections of a file.
pub(super) fn backends(config: &Config) -> Result<Access, String> {
    let shown = |error: anyhow::Error| format!("{error:#}");
    let (passwords, metrics) = (Arc::new(Passwords::new(|_| {}).map_err(shown)?), Metrics::default());
    let access = Access::open(&config.backends, None, &passwords, &metrics).map_err(shown)?;
    access.with_workloads(config.workload.clone(), None, &metrics).map_err(shown)
}

/// The services of a file's directory, whose names no user may have: they log in before all others.
pub(super) struct Services {
    /// What the file says, where it has a directory.
    settings: Option<Settings>,
    /// The directory with the records, once these are there.
    opened: Option<Directory>,
}

impl Services {
    /// Those of the directory, if the file has one.
    pub(super) fn of(config: &Config) -> Services {
        Services { settings: config.directory.clone(), opened: None }
    }

    /// Refuses names that are those of services, as they are now.
    pub(super) async fn refuse<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) -> Result<(), String> {
        let Some(view) = self.view().await? else { return Ok(()) };
        let taken: Vec<String> = names
            .into_iter()
            .filter_map(|name| Some((name, view.service_alike(name)?)))
            .map(|(name, service)| {
                format!(
                    "{}: the service {} of the directory logs in by this name, with secrets of its own, so no user can; call the \
                     user something else",
                    printable(name),
                    printable(service)
                )
            })
            .collect();
        match taken.is_empty() {
            true => Ok(()),
            false => Err(taken.join("\n")),
        }
    }

    /// The directory as it is now. Records that are not there yet are not made by looking, and have no services.
    async fn view(&mut self) -> Result<Option<Arc<View>>, String> {
        let shown = |error: anyhow::Error| format!("{error:#}");
        let Some(settings) = &self.settings else { return Ok(None) };
        let is_unmade = settings.store.as_ref().is_some_and(|store| store.is_unmade());
        if self.opened.is_none() && is_unmade {
            let of_file = Settings { store: None, ..settings.clone() };
            return Directory::open(of_file).and_then(|directory| directory.view()).map(Some).map_err(shown);
        }
        let directory = match self.opened.take() {
            Some(directory) => directory,
            None => Directory::open(settings.clone()).map_err(shown)?,
        };
        directory.read_again().await.map_err(plain)?;
        self.opened.insert(directory).view().map(Some).map_err(shown)
    }
}
