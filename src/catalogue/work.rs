//! What is done with events after they came: their changes are made in the records, one lot after the other, by one replica at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::timeout;
use tracing::warn;

use super::events::{Effect, effect};
use super::{Catalogue, Shared, this_moment};
use crate::clock;
use crate::records::Failure;
use crate::records::catalogue::{Lease, Leased, Pull, StoredEvent, Work};

/// How long after the last look another one is taken, if nothing came by itself.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// How many events are worked on at once.
const LOT: u32 = 500;
/// How long one replica works on events without a word.
const LEASE: time::Duration = time::Duration::seconds(10);
/// How long the ids of events are kept after they came, so that one that is sent again is known.
const KNOWN_FOR: time::Duration = time::Duration::minutes(15);
/// How long it is remembered that a tag was deleted, so that an older push that comes late does not bring it back.
const GONE_FOR: time::Duration = time::Duration::days(2);
/// How often what is too old is forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(300);
/// After a failure.
const PAUSE: Duration = Duration::from_secs(2);

impl Catalogue {
    /// Works on events and keeps the lists up to date, for ever.
    pub async fn work(self: Arc<Self>) {
        let mut tidied = None;
        loop {
            let worked = self.work_once(this_moment()).await;
            if tidied.is_none_or(|at: tokio::time::Instant| at.elapsed() >= TIDY_EVERY) && worked.is_ok() {
                self.tidy(this_moment()).await;
                tidied = Some(clock::now());
            }
            match worked {
                Ok(LotSize::Full) => {}
                Ok(LotSize::Rest) => {
                    drop(timeout(LOOK_EVERY, self.shared.came.notified()).await);
                }
                // The breaker says what is to be said of an outage.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Works on the events that wait, as far as one lot goes, and reads what changed.
    async fn work_once(&self, now: OffsetDateTime) -> Result<LotSize, Failure> {
        let shared = &self.shared;
        let events = shared.records.waiting_events(LOT).await?;
        let size = match events.len() >= usize::try_from(LOT).unwrap_or(usize::MAX) {
            true => LotSize::Full,
            false => LotSize::Rest,
        };
        let size = match shared.work_on(&events, now).await? {
            Leased::Held => size,
            Leased::Elsewhere => LotSize::Rest,
        };
        match events.is_empty() {
            // Most looks find nothing, and there is one every moment.
            true => shared.note_waiting(0),
            false => shared.count_waiting().await?,
        }
        shared.refresh().await?;
        Ok(size)
    }

    async fn tidy(&self, now: OffsetDateTime) {
        let pulls_kept = time::Duration::try_from(self.settings.pulls_kept).unwrap_or(time::Duration::MAX);
        let forgotten = async {
            self.shared.records.forget_events(now - KNOWN_FOR).await?;
            if let Some(before) = now.checked_sub(pulls_kept) {
                self.shared.records.forget_pulls(before).await?;
            }
            self.shared.records.forget_gone(now - GONE_FOR).await?;
            Ok::<_, Failure>(())
        };
        if let Err(cause) = forgotten.await {
            // It is done the next time.
            warn!(reason = "catalogue_untidy", cause = %cause, "what is too old in the catalogue could not be forgotten");
        }
    }
}

/// Whether there may be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LotSize {
    Full,
    Rest,
}

impl Shared {
    pub(super) fn lease_of(&self, name: impl Into<String>) -> Lease {
        Lease { name: name.into(), holder: self.holder.clone() }
    }

    async fn work_on(&self, events: &[StoredEvent], now: OffsetDateTime) -> Result<Leased, Failure> {
        if events.is_empty() {
            return Ok(Leased::Held);
        }
        let lease = self.lease_of("events");
        if self.records.lease(&lease, now + LEASE, now).await? == Leased::Elsewhere {
            return Ok(Leased::Elsewhere);
        }
        let mut work = Work::default();
        let mut pulls: BTreeMap<[String; 5], Pull> = BTreeMap::new();
        for event in events {
            work.done.push((event.service.clone(), event.id.clone()));
            match effect(event, now).map(|effect| effect.bounded(now)) {
                Some(Effect::Changes(change)) => work.changes.push((event.service.clone(), change)),
                Some(Effect::Pulled(pull)) => gather(&mut pulls, *pull),
                None => self.metrics.events(&event.service, "unreadable", 1),
            }
        }
        work.pulls = pulls.into_values().collect();
        self.records.work_off(&work, &lease, now).await
    }
}

/// One for each account and address that pulled a manifest.
fn gather(pulls: &mut BTreeMap<[String; 5], Pull>, pull: Pull) {
    let Pull { service, repository, digest, account, address, .. } = &pull;
    let key = [service, repository, digest, account, address].map(Clone::clone);
    match pulls.get_mut(&key) {
        None => _ = pulls.insert(key, pull),
        Some(before) => {
            before.first = before.first.min(pull.first);
            if pull.last >= before.last {
                (before.last, before.tag) = (pull.last, pull.tag);
            }
        }
    }
}
