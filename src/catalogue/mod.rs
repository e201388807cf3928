//! What is in the registries: found by their events and by sweeps, kept in the records, and listed from memory.
//!
//! [`Catalogue`] is all that others know of it. Nothing here decides who may see or delete what: whoever asks has decided that, and
//! shows it where something is changed ([`MayDelete`]).

mod course;
mod declared;
mod delete;
mod details;
mod events;
mod listed;
mod name;
mod registry;
mod sink;
mod sweep;
mod work;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use lru::LruCache;
use time::OffsetDateTime;
use tokio::sync::Notify;

pub use delete::{Deleted, Emptied, MayDelete, NotDeleted, Seen, Siblings, stopped_at};
pub use details::{Details, Kind, NoDetails, Platform, Referrer};
use listed::Listed;
pub use listed::{Entry, Listing, Stretch, Substring};
pub use name::is_digest;
pub use registry::RegistryFailure;
pub use sink::{NotKept, Sink};
pub use sweep::{NotSwept, Swept};

use crate::last_said::LastSaid;
use crate::metrics::Metrics;
use crate::records::catalogue::{Description, Pull, Pulled, Repository, Stamp, Star, Sweep, Tag};
use crate::records::{Changed, Failure, Records};
use crate::registries::{Networks, Registries, Registry};
use crate::token::Issuer;
use crate::{clock, random};

use declared::Declared;
use registry::RegistryClient;

/// The most requests to one registry at once.
pub const AT_ONCE: usize = 16;
/// How many manifests are remembered that somebody opened.
const OPENED: std::num::NonZeroUsize = match std::num::NonZeroUsize::new(2000) {
    Some(number) => number,
    None => std::num::NonZeroUsize::MIN,
};

/// How registries are asked for what is in them, and how long it is kept who pulled what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How the sweeps go.
    pub pace: Pace,
    /// How long pulls are kept after the last one.
    pub pulls_kept: Duration,
    /// Where registries may be that were not declared in the file, besides public addresses.
    pub networks: Networks,
}

/// How much sweeps may ask of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The time from the end of one sweep to the beginning of the next.
    pub every: Duration,
    /// The most requests at once, up to [`AT_ONCE`].
    pub at_once: usize,
    /// The most requests a second; `None` for as many as it answers.
    pub per_second: Option<NonZeroU32>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            pace: Pace { every: Duration::from_secs(600), at_once: 4, per_second: None },
            pulls_kept: Duration::from_secs(90 * 24 * 3600),
            networks: Networks::default(),
        }
    }
}

/// What one replica knows of what is in the registries that are declared now.
pub struct Catalogue {
    shared: Arc<Shared>,
    declared: ArcSwap<Declared>,
    issuer: Arc<Issuer>,
    settings: Settings,
}

/// What outlives a change of the configuration.
struct Shared {
    records: Arc<dyn Records>,
    listed: Listed,
    sink: sink::Pending,
    metrics: Metrics,
    /// What this replica is called where only one does something.
    holder: String,
    /// Rung when events came.
    came: Notify,
    /// When each registry's last event came to this replica.
    last_events: Mutex<BTreeMap<String, OffsetDateTime>>,
    details: Mutex<LruCache<(String, String, String), Arc<Details>>>,
    /// When the log last said that events came without a secret.
    said_unauthorized: LastSaid,
}

/// A registry, and how it is asked.
struct Known {
    /// As it was declared when it was first asked so. Its groups and its secrets may be others now.
    registry: Registry,
    client: RegistryClient,
    /// Held by the one sweep that this replica makes of it.
    sweeping: tokio::sync::Mutex<()>,
    /// Not asked by itself before then, after it failed.
    rests_until: Mutex<Option<tokio::time::Instant>>,
}

/// What is known of a registry, for people who wonder why something is not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// When its last event came, to whichever replica. One that tells nothing is known to the replica that it came to.
    pub last_event: Option<OffsetDateTime>,
    /// How far its sweeps have come, and what went wrong last.
    pub sweep: Sweep,
    /// How many repositories are listed.
    pub repositories: usize,
}

impl Catalogue {
    /// The catalogue of these registries. What is known of them is taken over from `before`, where that has the same records.
    ///
    /// # Errors
    /// No client can be made for one of them, or the system gave no random bytes.
    pub fn open(
        registries: &Registries,
        settings: Settings,
        records: &Arc<dyn Records>,
        issuer: &Arc<Issuer>,
        metrics: &Metrics,
        before: Option<&Catalogue>,
    ) -> anyhow::Result<Catalogue> {
        let shared = match before.filter(|before| Arc::ptr_eq(&before.shared.records, records)) {
            Some(before) => Arc::clone(&before.shared),
            None => Arc::new(Shared {
                records: Arc::clone(records),
                listed: Listed::default(),
                sink: sink::Pending::default(),
                metrics: metrics.clone(),
                holder: random::bytes::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect(),
                came: Notify::new(),
                last_events: Mutex::default(),
                details: Mutex::new(LruCache::new(OPENED)),
                said_unauthorized: LastSaid::default(),
            }),
        };
        let issuer = Arc::clone(issuer);
        let catalogue = Catalogue { shared, declared: ArcSwap::default(), issuer, settings };
        let known = registries.iter().map(|registry| catalogue.begin(registry)).collect::<anyhow::Result<_>>()?;
        catalogue.declared.store(Arc::new(Declared::from_known(registries, known)));
        Ok(catalogue)
    }

    /// The services of the registries, in their order.
    pub fn services(&self) -> Vec<String> {
        self.declared.load().known.keys().cloned().collect()
    }

    /// The repositories of a registry that have tags, by name, as they are at this moment. Whoever holds the list sees no change of it.
    pub fn listing(&self, service: &str) -> Listing {
        self.shared.listed.of(service)
    }

    /// Whether the lists hold what the records had when this replica started; before, nothing may be said to be missing.
    pub fn is_ready(&self) -> bool {
        self.shared.listed.is_ready()
    }

    /// Reads the lists from the records, for whoever does not have them kept up to date.
    ///
    /// # Errors
    /// The records cannot be asked.
    pub async fn read(&self) -> Result<(), Failure> {
        self.shared.refresh().await
    }

    /// What is known of a registry; `None` where there is none of this name.
    ///
    /// # Errors
    /// The records cannot be asked.
    pub async fn status(&self, service: &str) -> Result<Option<Status>, Failure> {
        if self.known(service).is_none() {
            return Ok(None);
        }
        let sweep = self.shared.records.sweep(service).await?;
        let kept = self.shared.records.last_event(service).await?;
        let here = self.shared.last_events.lock().unwrap_or_else(PoisonError::into_inner).get(service).copied();
        let last_event = kept.max(here);
        Ok(Some(Status { last_event, sweep, repositories: self.listing(service).len() }))
    }

    /// A repository with its last push and pull, whether it has tags or not.
    ///
    /// # Errors
    /// The records cannot be asked.
    pub async fn repository(&self, service: &str, name: &str) -> Result<Option<Repository>, Failure> {
        self.shared.records.repository(service, name).await
    }

    /// The tags of a repository by name, at most `count`, beginning behind `after`.
    ///
    /// # Errors
    /// The records cannot be asked.
    pub async fn tags(
        &self,
        service: &str,
        repository: &str,
        after: Option<&str>,
        count: u32,
    ) -> Result<Vec<Tag>, Failure> {
        self.shared.records.tags(service, repository, after, count).await
    }

    /// Writes what people say of a repository.
    ///
    /// # Errors
    /// The records cannot be asked.
    pub async fn describe(&self, service: &str, name: &str, description: &Description) -> Result<Changed, Failure> {
        let changed = self.shared.records.describe(service, name, description).await?;
        self.shared.refresh().await?;
        Ok(changed)
    }

    /// Gives a repository an account's star, or takes it back.
    ///
    /// # Errors
    /// The records cannot be asked.
    pub async fn star(&self, service: &str, name: &str, account: &str, star: Star) -> Result<Changed, Failure> {
        let changed = self.shared.records.star(service, name, account, star).await?;
        self.shared.refresh().await?;
        Ok(changed)
    }

    /// Who pulled something, and when last: accounts (services and robots are such too; empty for anonymous) and addresses.
    ///
    /// # Errors
    /// The records cannot be asked.
    pub async fn pulls(&self, service: &str, what: &Pulled, skip: u32, count: u32) -> Result<Vec<Pull>, Failure> {
        self.shared.records.pulls(service, what, skip, count).await
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn known(&self, service: &str) -> Option<Arc<Known>> {
        self.declared.load().known.get(service).cloned()
    }
}

impl Stamp {
    /// The moment that a registry's clock showed; `None` for one that no calendar has.
    pub fn moment(self) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0).saturating_mul(1000)).ok()
    }
}

impl Known {
    /// Has it left alone for a while, since it failed.
    fn rest(&self) {
        const PAUSE: Duration = Duration::from_secs(30);
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::now() + PAUSE);
    }

    fn is_resting(&self) -> bool {
        self.rests_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| clock::now() < until)
    }
}

/// The moment of what is done here by itself, for no request.
#[expect(clippy::disallowed_methods, reason = "what goes on in the background happens at its own moment")]
fn this_moment() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}
