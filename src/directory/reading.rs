//! The directory of the records, read whole again and again: what is in use is replaced whole, and is never asked of the records on the
//! way of a token.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::documents::kept_from;
use super::entry::Entries;
use super::settings::NAME;
use super::view::{Kept, View};
use crate::breaker::jittered;
use crate::records::directory::EntryAt;
use crate::records::{Failure, Records, Version};

/// How often it is asked whether something has changed.
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// How often all is read again, whether or not the count of changes says so.
const READ_EVERY: Duration = Duration::from_secs(10);
/// How long what was read is used while it cannot be read again: the same as for rules.
const MAX_STALE: Duration = Duration::from_secs(600);
/// So many entries are read at once.
const PAGE: u32 = 1000;
/// How often a directory that changes all the time is read, until it is left for a while.
const MAX_READINGS: usize = 5;

/// The directory of the records, beside that of the file.
pub(super) struct Reading {
    shared: Arc<Shared>,
    work: AbortHandle,
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.work.abort();
    }
}

struct Shared {
    records: Arc<dyn Records>,
    file: Entries,
    in_use: ArcSwapOption<View>,
    /// What of it the records had.
    kept: ArcSwapOption<Kept>,
    /// When it was last known to be all there is, and of which version.
    seen: Mutex<Option<(Instant, Version)>>,
    alone: tokio::sync::Mutex<()>,
}

impl Reading {
    /// Begins to read in the background, for as long as this lives.
    pub(super) fn begin(records: Arc<dyn Records>, file: Entries) -> anyhow::Result<Reading> {
        let shared = Arc::new(Shared {
            records,
            file,
            in_use: ArcSwapOption::empty(),
            kept: ArcSwapOption::empty(),
            seen: Mutex::default(),
            alone: tokio::sync::Mutex::default(),
        });
        let reader = Arc::clone(&shared);
        let work = crate::background::spawn(async move { reader.keep_reading().await })?.abort_handle();
        Ok(Reading { shared, work })
    }

    /// Begins with what another reading of the same records had, which is as old as it was there; whether there was any.
    pub(super) fn begin_with(&self, before: &Reading) -> bool {
        let seen = *before.shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((kept, (at, version))) = before.shared.kept.load_full().zip(seen) else { return false };
        self.shared.put(kept, at, version);
        true
    }

    /// What is in use.
    ///
    /// # Errors
    /// Nothing was read yet, or for too long.
    pub(super) fn view(&self) -> anyhow::Result<Arc<View>> {
        let view = self.shared.in_use.load_full().context("the directory has not been read yet")?;
        let seen = *self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let age = seen.map_or(MAX_STALE, |(at, _)| at.elapsed());
        anyhow::ensure!(age < MAX_STALE, "the directory was last up to date {} seconds ago", age.as_secs());
        Ok(view)
    }

    /// Reads it now.
    ///
    /// # Errors
    /// The records could not tell.
    pub(super) async fn read(&self) -> Result<(), Failure> {
        self.shared.read().await
    }

    /// What the records have now.
    ///
    /// # Errors
    /// The records could not tell.
    pub(super) async fn kept(&self) -> Result<Kept, Failure> {
        Ok(kept_from(self.shared.all().await?))
    }

    /// Where it is kept.
    pub(super) fn records(&self) -> &Arc<dyn Records> {
        &self.shared.records
    }
}

impl Shared {
    async fn keep_reading(&self) {
        let mut last = String::new();
        loop {
            match self.read_if_changed().await {
                Ok(()) if last.is_empty() => {}
                Ok(()) => {
                    info!(reason = "rules_current", source = NAME, "the directory is up to date again");
                    last.clear();
                }
                Err(failure) => {
                    let cause = failure.to_string();
                    if cause != last {
                        let message =
                            "the directory could not be read; what was read last stays in use for ten minutes";
                        warn!(reason = "rules_unread", source = NAME, cause, "{message}");
                        last = cause;
                    }
                }
            }
            tokio::time::sleep(jittered(ASKED_EVERY)).await;
        }
    }

    async fn read_if_changed(&self) -> Result<(), Failure> {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen {
            // A change that was not counted is seen by the next whole reading.
            Some((at, known)) if at.elapsed() < READ_EVERY && self.records.directory_version().await? == known => {
                Ok(())
            }
            Some(_) | None => self.read().await,
        }
    }

    async fn read(&self) -> Result<(), Failure> {
        // Of two at the same time, the one that began earlier could end later, and put an older directory back.
        let _alone = self.alone.lock().await;
        for _ in 0..MAX_READINGS {
            let (began, before) = (crate::clock::now(), self.records.directory_version().await?);
            let entries = self.all().await?;
            // Half of a change would take somebody out of one group and not yet into another.
            if self.records.directory_version().await? == before {
                self.put(Arc::new(kept_from(entries)), began, before);
                return Ok(());
            }
        }
        Err(Failure::Away { cause: "the directory changed while it was read".to_owned() })
    }

    /// Has this be in use, as the records had it then.
    fn put(&self, kept: Arc<Kept>, at: Instant, version: Version) {
        let view = View::from_both(&self.file, (*kept).clone());
        let known = self.in_use.load();
        let is_new = |remark: &&String| known.as_ref().is_none_or(|known| !known.remarks().contains(remark));
        for remark in view.remarks().iter().filter(is_new) {
            warn!(reason = "directory_entry", source = NAME, "{remark}");
        }
        drop(known);
        self.kept.store(Some(kept));
        self.in_use.store(Some(Arc::new(view)));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, version));
    }

    async fn all(&self) -> Result<Vec<crate::records::directory::Entry>, Failure> {
        let (mut all, mut after): (Vec<_>, Option<EntryAt>) = (Vec::new(), None);
        loop {
            let page = self.records.entries(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(all) };
            after = Some(last.at.clone());
            all.extend(page);
        }
    }
}
