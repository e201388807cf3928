//! The registries that are declared now: those that a change leaves as they are keep their clients and their pauses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tracing::warn;

use super::registry::RegistryClient;
use super::{Catalogue, Known};
use crate::directory::changing::Remains;
use crate::records::Failure;
use crate::registries::{Registries, Registry};

/// The registries of one moment.
#[derive(Default)]
pub(super) struct Declared {
    /// As they were declared. One that no client could be made for is among these alone.
    as_said: Registries,
    /// By their services.
    pub(super) known: BTreeMap<String, Arc<Known>>,
    /// The digests of the secrets of each registry's events.
    pub(super) secrets: Vec<([u8; 32], Arc<Known>)>,
}

impl Declared {
    pub(super) fn from_known(as_said: &Registries, known: Vec<Arc<Known>>) -> Declared {
        let known: BTreeMap<_, _> = known.into_iter().map(|one| (one.registry.service.clone(), one)).collect();
        let of_one = |registry: &Registry| {
            let known = known.get(&registry.service)?;
            let digests = registry.events.iter().map(|secret| secret.digest);
            Some(digests.map(|digest| (digest, Arc::clone(known))).collect::<Vec<_>>())
        };
        let secrets = as_said.iter().filter_map(of_one).flatten().collect();
        Declared { as_said: as_said.clone(), known, secrets }
    }
}

impl Catalogue {
    /// Goes on with these registries in place of those before. What the records have of one that is declared no more stays there.
    pub fn follow(&self, registries: &Registries) {
        let before = self.declared.load_full();
        if before.as_said == *registries {
            return;
        }
        let known = registries.iter().filter_map(|registry| {
            if let Some(kept) = before.known.get(&registry.service).filter(|known| known.registry.is_asked_as(registry))
            {
                return Some(Arc::clone(kept));
            }
            let begun = self.begin(registry);
            if let Err(cause) = &begun {
                let service = registry.service.as_str();
                warn!(
                    reason = "registry_unusable",
                    service,
                    cause = format!("{cause:#}"),
                    "the registry cannot be asked as it is declared; it is not swept until that is changed"
                );
            }
            begun.ok()
        });
        let followed = Declared::from_known(registries, known.collect());
        for gone in before.as_said.iter().filter(|own| registries.get(&own.service).is_none()) {
            self.shared.metrics.forget_registry(&gone.service);
        }
        self.declared.store(Arc::new(followed));
    }

    /// Whether the records have something of a registry of this name, declared or not.
    ///
    /// # Errors
    /// They cannot be asked.
    pub async fn remains(&self, service: &str) -> Result<Remains, Failure> {
        let is_swept = self.shared.records.sweep(service).await?.began.is_some();
        match is_swept || !self.listing(service).is_empty() {
            true => Ok(Remains::Something),
            false => Ok(Remains::Nothing),
        }
    }

    /// The registries, as they were declared.
    pub fn registries(&self) -> Registries {
        self.declared.load().as_said.clone()
    }

    /// A registry that nobody has asked yet.
    pub(super) fn begin(&self, registry: &Registry) -> anyhow::Result<Arc<Known>> {
        let client = RegistryClient::new(registry, Arc::clone(&self.issuer), &self.settings)?;
        self.shared.metrics.expect_registry(&registry.service);
        Ok(Arc::new(Known {
            registry: registry.clone(),
            client,
            sweeping: tokio::sync::Mutex::default(),
            rests_until: Mutex::new(None),
        }))
    }
}
