//! Registries: which there are, and what is known of each.

use time::OffsetDateTime;

use super::told::{ToldRegistry, moment};
use super::{Candidate, Desk, NotDone, Page, SERVICE, Wanted, ours};
use crate::catalogue::Status;
use crate::directory::View;
use crate::directory::rights::{Managed, ManagedAction};
use crate::records::Version;
use crate::registries::Registry;

impl Desk<'_> {
    /// The registries that the asker may list.
    ///
    /// # Errors
    /// Why nobody can say which.
    pub async fn registries(&self, wanted: &Wanted) -> Result<Page<ToldRegistry>, NotDone> {
        let view = self.view()?;
        let mut candidates = Vec::new();
        for registry in view.registries().iter().filter(|registry| wanted.is_in(&[&registry.service])) {
            let scope = ours(&Managed::Registry(&registry.service).name(), [ManagedAction::List.action()])?;
            candidates.push(Candidate { name: registry.service.clone(), scope, item: registry });
        }
        candidates.sort_by(|one, other| one.name.cmp(&other.name));
        self.page(SERVICE, candidates, wanted, |_, registry| ToldRegistry::of(&view, registry, None)).await
    }

    /// A registry with what is known of its events and sweeps, and its version, where it can be changed here.
    ///
    /// # Errors
    /// Why it is not shown.
    pub async fn registry(&self, service: &str) -> Result<(ToldRegistry, Option<Version>), NotDone> {
        let view = self.view()?;
        self.require(Managed::Registry(service), ManagedAction::Show).await?;
        let registry = declared(&view, service)?;
        let status = self.status(service).await?;
        Ok((ToldRegistry::of(&view, registry, status.as_ref()), version_of(&view, service)))
    }

    async fn status(&self, service: &str) -> Result<Option<Status>, NotDone> {
        match self.catalogue {
            Some(catalogue) => Ok(catalogue.status(service).await?),
            None => Ok(None),
        }
    }
}

/// When the last sweep was complete, also while another one is under way.
fn complete(status: &Status) -> Option<OffsetDateTime> {
    status.sweep.ended.or(status.sweep.before.map(|before| before.ended))
}

/// The registry of this name, if one is declared.
pub(super) fn declared<'view>(view: &'view View, service: &str) -> Result<&'view Registry, NotDone> {
    view.registries().get(service).ok_or(NotDone::Missing)
}

/// The version of a registry of the records.
pub(super) fn version_of(view: &View, service: &str) -> Option<Version> {
    view.origin(service).and_then(super::told::version)
}

impl ToldRegistry {
    fn of(view: &View, registry: &Registry, status: Option<&Status>) -> ToldRegistry {
        let origin = view.origin(&registry.service);
        ToldRegistry {
            service: registry.service.clone(),
            url: registry.url.to_string(),
            hosts: registry.hosts.clone(),
            restricted: registry.restriction.is_restricted(),
            publications: registry.publications.clone(),
            responsibles: registry.responsibles.clone(),
            creator: origin.and_then(super::told::creator),
            origin: super::told::origin(origin),
            repositories: status.map(|status| status.repositories),
            last_event: status.and_then(|status| status.last_event).map(moment),
            sweep_began: status.and_then(|status| status.sweep.began).map(moment),
            sweep_ended: status.and_then(complete).map(moment),
            last_error: status.and_then(|status| status.sweep.error.as_ref()).map(|(cause, _)| cause.clone()),
            last_error_at: status.and_then(|status| status.sweep.error.as_ref()).map(|(_, at)| moment(*at)),
        }
    }
}
