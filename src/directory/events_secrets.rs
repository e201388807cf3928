//! The secrets of events of the registries that the records have: made here and shown once, two at a time so that none is lost while
//! one is changed for the other, and revoked. What the file declares has its secret there.

use time::OffsetDateTime;

use super::Directory;
use super::changing::{NotChanged, kept};
use super::documents::{events_of, with_events};
use crate::records::Failure;
use crate::records::directory::{Entry, EntryAt, EntryKind};
use crate::registries::events::{EventsSecret, Made};
use crate::secret::Secret;

/// So many secrets a registry may have at once.
const MOST: usize = 2;

impl Directory {
    /// The secrets of a registry's events, the older first.
    ///
    /// # Errors
    /// There is no such registry, or the file has it, or the records cannot be asked.
    pub async fn events_secrets(&self, service: &str) -> Result<Vec<Made>, NotChanged> {
        let (_, secrets) = self.secrets_of(service).await?;
        Ok(secrets.into_iter().filter_map(|secret| secret.made).collect())
    }

    /// Makes a secret for a registry's events. Where there are two, it takes the place of the older one, and the younger goes on
    /// working until the registry has the new one.
    ///
    /// # Errors
    /// Why there is none; then nothing was changed, or nobody was shown what was made.
    pub async fn make_events_secret(&self, service: &str, now: OffsetDateTime) -> Result<(Secret, Made), NotChanged> {
        let (entry, mut secrets) = self.secrets_of(service).await?;
        let (text, secret) = EventsSecret::draw(now).map_err(|error| Failure::Unusable { cause: error.to_string() })?;
        let made = secret.made.clone();
        secrets.push(secret);
        let surplus = secrets.len().saturating_sub(MOST);
        secrets.drain(..surplus);
        self.keep_secrets(entry, &secrets).await?;
        Ok((text, made.ok_or(NotChanged::Missing)?))
    }

    /// Revokes a secret of a registry's events by its id, or all of them: how many there were.
    ///
    /// # Errors
    /// There is none of this id, or why it was not revoked.
    pub async fn revoke_events_secrets(&self, service: &str, id: Option<&str>) -> Result<usize, NotChanged> {
        let (entry, mut secrets) = self.secrets_of(service).await?;
        let before = secrets.len();
        secrets.retain(|secret| id.is_some_and(|id| secret.made.as_ref().is_none_or(|made| made.id != id)));
        let revoked = before.saturating_sub(secrets.len());
        if revoked == 0 && id.is_some() {
            return Err(NotChanged::Missing);
        }
        self.keep_secrets(entry, &secrets).await?;
        Ok(revoked)
    }

    /// The registry's entry as it is now, and the secrets in it: who changes them changes this version of it.
    async fn secrets_of(&self, service: &str) -> Result<(Entry, Vec<EventsSecret>), NotChanged> {
        let at = EntryAt { kind: EntryKind::Registry, name: service.to_owned() };
        let view = self.current().await?;
        kept(&view, &at)?;
        if view.reserved(service).is_some() {
            return Err(NotChanged::Missing);
        }
        let entry = self.records()?.entry(&at).await?.ok_or(NotChanged::Missing)?;
        let secrets = events_of(&entry).ok_or_else(|| odd(service))?;
        Ok((entry, secrets))
    }

    async fn keep_secrets(&self, entry: Entry, secrets: &[EventsSecret]) -> Result<(), NotChanged> {
        let (seen, service) = (entry.version, entry.at.name.clone());
        let entry = with_events(entry, secrets).ok_or_else(|| odd(&service))?;
        self.changed(self.records()?.replace_entry(&entry, seen).await?).await
    }
}

fn odd(service: &str) -> Failure {
    Failure::Unusable { cause: format!("the registry {service} is not as this program writes it") }
}
