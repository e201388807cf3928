//! Events as they come in: whose they are, and kept in the records before the registry is told so.
//!
//! Whoever is told anything but 2xx sends the same event again for ever, and nothing behind it. So what cannot be read is taken and
//! counted, since another try would bring no more; and what cannot be kept now, because the records are away or too many wait, is
//! refused, since another try will do and nothing is lost by it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;
use tokio::sync::oneshot;

use super::{Catalogue, Known, Shared, events, this_moment};
use crate::records::Failure;
use crate::records::catalogue::StoredEvent;
use crate::registries::events::digest_of;

/// The most events that wait to be worked on in the records.
const MOST_WAITING: u32 = 100_000;
/// The most events that wait to be kept, in memory.
const MOST_PENDING: usize = 10_000;
/// The most that are kept in one go.
const LOT: usize = 1000;

/// A registry's place for events: it showed the registry's secret.
pub struct Sink {
    shared: Arc<Shared>,
    known: Arc<Known>,
}

/// Why events were not kept. The registry sends them again.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// The records could not keep them.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// Too many wait already.
    #[error("too many events wait to be worked on")]
    Full,
}

/// Those that wait to be kept, all of which are kept in one go as soon as the ones before them are.
#[derive(Default)]
pub(super) struct Pending(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<(Vec<StoredEvent>, Told)>,
    count: usize,
    is_kept_now: bool,
    /// How many waited in the records when they were last counted.
    in_records: u64,
}

impl Catalogue {
    /// The registry whose secret of events this is. All secrets are compared, by their digests: how long it takes says nothing of any.
    pub fn sink(&self, secret: &str) -> Option<Sink> {
        let shown = digest_of(secret);
        let declared = self.declared.load();
        let mut found = None;
        for (own, known) in &declared.secrets {
            if aws_lc_rs::constant_time::verify_slices_are_equal(own, &shown).is_ok() {
                found = Some(known);
            }
        }
        if found.is_none() {
            self.shared.metrics.events("", "unauthorized", 1);
        }
        found.map(|known| Sink { shared: Arc::clone(&self.shared), known: Arc::clone(known) })
    }

    /// Says in the log, from time to time, that events came without a secret.
    pub fn say_unauthorized(&self) {
        if self.shared.said_unauthorized.is_long_ago() {
            tracing::warn!(
                reason = "event_unauthorized",
                "events came without the secret of a registry; does its endpoint send Authorization: Bearer and what \
                 events.secret_file holds?"
            );
        }
    }
}

impl Sink {
    /// The registry.
    pub fn service(&self) -> &str {
        &self.known.registry.service
    }

    /// Takes an envelope of events, whatever is in it: those that can be read are in the records once this returns.
    ///
    /// # Errors
    /// They could not be kept now.
    pub async fn take(&self, body: &[u8], now: OffsetDateTime) -> Result<(), NotKept> {
        let service = self.service();
        let received = events::receive(service, body);
        self.shared.metrics.events(service, "ignored", received.ignored);
        self.unreadable(received.unreadable);
        self.shared.note_event(service, now);
        if received.events.is_empty() {
            return Ok(());
        }
        let count = u64::try_from(received.events.len()).unwrap_or(u64::MAX);
        let kept = self.keep(received.events).await;
        let outcome = if kept.is_ok() { "kept" } else { "not_kept" };
        self.shared.metrics.events(service, outcome, count);
        kept
    }

    /// Keeps them, lot by lot: an envelope that holds more than may wait would else be refused for ever. Those of it that are kept, where
    /// others cannot be, are known when it comes again.
    async fn keep(&self, mut events: Vec<StoredEvent>) -> Result<(), NotKept> {
        while events.len() > LOT {
            let rest = events.split_off(LOT);
            self.shared.keep(events).await?;
            events = rest;
        }
        self.shared.keep(events).await
    }

    /// Counts what could not be read, and says so in the log from time to time.
    pub fn unreadable(&self, count: u64) {
        self.shared.metrics.events(self.service(), "unreadable", count);
        if count > 0 {
            tracing::debug!(reason = "event_unreadable", service = self.service(), count, "events could not be read");
        }
    }
}

impl Shared {
    fn note_event(&self, service: &str, now: OffsetDateTime) {
        let mut last = self.last_events.lock().unwrap_or_else(PoisonError::into_inner);
        last.insert(service.to_owned(), now);
    }

    /// Notes how many wait in the records.
    pub(super) fn note_waiting(&self, count: u64) {
        self.sink.wait_in_records(count);
        self.metrics.events_waiting(count);
    }

    /// Counts those that wait in the records, for the bound.
    pub(super) async fn count_waiting(&self) -> Result<(), Failure> {
        let count = self.records.count_waiting(MOST_WAITING).await?;
        self.note_waiting(count);
        Ok(())
    }

    /// Keeps events together with all that came meanwhile.
    async fn keep(self: &Arc<Self>, events: Vec<StoredEvent>) -> Result<(), NotKept> {
        let (sender, kept) = oneshot::channel();
        let begins = {
            let mut state = self.sink.state();
            if state.count + events.len() > MOST_PENDING || state.in_records >= u64::from(MOST_WAITING) {
                self.came.notify_one();
                return Err(NotKept::Full);
            }
            state.count += events.len();
            state.waiting.push_back((events, sender));
            !std::mem::replace(&mut state.is_kept_now, true)
        };
        if begins {
            // By itself, so that it goes on if this client hangs up.
            tokio::spawn(Arc::clone(self).keep_all());
        }
        let gone = || NotKept::Failure(Failure::Away { cause: "keeping the events was given up".to_owned() });
        kept.await.unwrap_or_else(|_| Err(gone()))
    }

    async fn keep_all(self: Arc<Self>) {
        while let Some((events, senders)) = self.sink.next_lot() {
            let kept = self.records.keep_events(&events, this_moment()).await;
            self.came.notify_one();
            for sender in senders {
                let told = match &kept {
                    Ok(()) => Ok(()),
                    Err(failure) => Err(NotKept::Failure(Failure::Away { cause: failure.to_string() })),
                };
                // Who hung up is told nothing, and sends it again.
                drop(sender.send(told));
            }
        }
    }
}

/// Whom to tell what came of it.
type Told = oneshot::Sender<Result<(), NotKept>>;

/// Events that are kept in one go, and whom to tell.
type Lot = (Vec<StoredEvent>, Vec<Told>);

impl Pending {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_lot(&self) -> Option<Lot> {
        let mut state = self.state();
        let (mut events, mut senders) = (Vec::new(), Vec::new());
        let has_room = |events: &Vec<_>, lot: &Vec<_>| events.is_empty() || events.len() + lot.len() <= LOT;
        while let Some((lot, sender)) = state.waiting.pop_front_if(|(lot, _)| has_room(&events, lot)) {
            events.extend(lot);
            senders.push(sender);
        }
        if senders.is_empty() {
            state.is_kept_now = false;
            return None;
        }
        state.count -= events.len();
        Some((events, senders))
    }

    /// Notes how many wait in the records.
    pub(super) fn wait_in_records(&self, count: u64) {
        self.state().in_records = count;
    }
}
