//! An issuer's keys, kept up to date: fetched in the background, once for all who wait, and kept for a day where that fails.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::fetch::{Fetching, Published, WITHIN};
use super::jwt::Header;
use super::key_set::{Key, KeySet, NoKeys};
use crate::pem::tls::Authorities;
use crate::shown::counted;

/// How old keys are when they are fetched anew, without anybody waiting for it.
const REFRESH_AFTER: Duration = Duration::from_secs(600);
/// How long nothing is fetched for a key that is not known: anybody can make up the id of one.
const UNKNOWN_AGAIN: Duration = Duration::from_secs(30);
/// The same after a failure without any keys at all, where each workload waits for them.
const FAILED_AGAIN: Duration = Duration::from_secs(2);
/// How long keys are used that cannot be fetched anew.
const LONGEST_USE: Duration = Duration::from_secs(24 * 3600);

/// How an issuer is asked for its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    /// How long a fetch may take, the discovery document included.
    pub(crate) within: Duration,
    /// How long nothing is fetched for a key that is not known.
    pub(crate) unknown_again: Duration,
}

impl Default for Asking {
    fn default() -> Asking {
        Asking { within: WITHIN, unknown_again: UNKNOWN_AGAIN }
    }
}

/// Where an entry's keys are from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum KeysFrom {
    /// A file, as it was read.
    File(KeySet),
    /// The issuer, over HTTPS.
    Issuer {
        published: Published,
        /// The authorities that its certificate may be from, in place of the public ones.
        authorities: Option<Authorities>,
    },
}

/// The keys of an entry.
pub(crate) enum Keys {
    Fixed(KeySet),
    Fetched(Arc<Fetched>),
}

/// Keys that are fetched.
pub(crate) struct Fetched {
    /// Who trusts them, for the log.
    section: &'static str,
    /// Whose they are, for the log.
    issuer: String,
    fetching: Fetching,
    unknown_again: Duration,
    current: ArcSwapOption<Current>,
    state: Mutex<State>,
    /// Changes at the end of each fetch.
    ended: watch::Sender<u64>,
}

/// Keys and when they were fetched.
struct Current {
    keys: KeySet,
    at: Instant,
}

#[derive(Default)]
struct State {
    is_under_way: bool,
    began: Option<Instant>,
    /// Why the last fetch failed, if it did.
    failure: Option<String>,
}

impl Keys {
    /// The keys of an issuer that this section of the file names, which are fetched from now on, as long as this is held.
    ///
    /// # Errors
    /// Authorities cannot be used, or there is no runtime to work in the background.
    pub(crate) fn open(
        from: &KeysFrom,
        asking: Asking,
        (section, issuer): (&'static str, &str),
    ) -> anyhow::Result<Keys> {
        match from {
            KeysFrom::File(keys) => Ok(Keys::Fixed(keys.clone())),
            KeysFrom::Issuer { published, authorities } => {
                let fetched = Arc::new(Fetched {
                    section,
                    issuer: issuer.to_owned(),
                    fetching: Fetching::new(published.clone(), authorities.as_ref(), asking.within)?,
                    unknown_again: asking.unknown_again,
                    current: ArcSwapOption::empty(),
                    state: Mutex::default(),
                    ended: watch::Sender::new(0),
                });
                drop(crate::background::spawn(Fetched::keep_fresh(Arc::downgrade(&fetched)))?);
                Ok(Keys::Fetched(fetched))
            }
        }
    }

    /// The keys that a JWT with this header can be signed with; none where the issuer has none such.
    ///
    /// # Errors
    /// Which keys the issuer has could not be found out.
    pub(crate) async fn of(&self, header: &Header) -> anyhow::Result<Vec<Key>> {
        match self {
            Keys::Fixed(keys) => Ok(keys.of(header)),
            Keys::Fetched(fetched) => fetched.of(header).await,
        }
    }

    /// Fetches them now: in a few words, what there is.
    ///
    /// # Errors
    /// They could not be fetched.
    pub(crate) async fn reach(&self) -> anyhow::Result<Option<String>> {
        match self {
            Keys::Fixed(_) => Ok(None),
            Keys::Fetched(fetched) => {
                let keys = fetched.fetching.fetch().await?;
                anyhow::ensure!(keys.len() > 0, "{} publishes no key: {}", fetched.issuer, NoKeys::NoneUsable);
                Ok(Some(format!("{} publishes {} that can be used", fetched.issuer, counted(keys.len(), "key"))))
            }
        }
    }
}

impl Fetched {
    /// How long ago they were fetched; `None` before that.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.current.load().as_ref().map(|current| current.at.elapsed())
    }

    async fn of(self: &Arc<Fetched>, header: &Header) -> anyhow::Result<Vec<Key>> {
        if let Some(found) = self.known(header) {
            return Ok(found);
        }
        let began = self.fetch_if_due();
        if let Some(mut ended) = began {
            // The sender is in `self`.
            ended.changed().await.ok();
        }
        if let Some(found) = self.known(header) {
            return Ok(found);
        }
        let failure = self.state().failure.clone();
        match (failure, self.usable()) {
            // What the issuer has now was seen, and this key is not among it.
            (None, Some(_)) => Ok(Vec::new()),
            (failure, _) => {
                let cause = failure.unwrap_or_else(|| "they were not fetched yet".to_owned());
                Err(anyhow::Error::msg(cause)).with_context(|| format!("the keys of {} are not known", self.issuer))
            }
        }
    }

    /// The keys for this header among those that are here.
    fn known(&self, header: &Header) -> Option<Vec<Key>> {
        Some(self.usable()?.keys.of(header)).filter(|found| !found.is_empty())
    }

    fn usable(&self) -> Option<Arc<Current>> {
        self.current.load_full().filter(|current| current.at.elapsed() < LONGEST_USE)
    }

    /// Begins a fetch, unless one is under way or the last one was a moment ago. What is returned changes when it ends, and is
    /// `None` where nothing is to be waited for.
    fn fetch_if_due(self: &Arc<Fetched>) -> Option<watch::Receiver<u64>> {
        let mut state = self.state();
        let ended = self.ended.subscribe();
        if state.is_under_way {
            return Some(ended);
        }
        let pause = if self.usable().is_some() { self.unknown_again } else { FAILED_AGAIN };
        if state.began.is_some_and(|began| began.elapsed() < pause) {
            return None;
        }
        state.is_under_way = true;
        state.began = Some(crate::clock::now());
        drop(state);
        // Whoever asks may go away meanwhile, and others wait for the same keys.
        let flight = Flight(Arc::clone(self));
        tokio::spawn(async move {
            let fetched = flight.0.fetching.fetch().await;
            flight.0.took(fetched);
        });
        Some(ended)
    }

    /// Takes over what was fetched, or notes why nothing was.
    fn took(&self, fetched: anyhow::Result<KeySet>) {
        let mut state = self.state();
        let (section, issuer) = (self.section, self.issuer.as_str());
        match fetched {
            Ok(keys) => {
                // A whole set is the issuer's word. One that has withdrawn its keys, because somebody has stolen them, means it: to go
                // on with them for a day would serve the thief. What is cut off, or another page, is no set and ends nothing.
                let had_keys = self.usable().is_none_or(|before| before.keys.len() > 0);
                if keys.len() == 0 && had_keys {
                    warn!(
                        reason = "workload_keys_withdrawn",
                        backend = section,
                        issuer,
                        "this issuer publishes no key that can be used; no token of it is taken until it does"
                    );
                }
                self.current.store(Some(Arc::new(Current { keys, at: crate::clock::now() })));
                if state.failure.take().is_some() {
                    info!(
                        reason = "workload_keys_back",
                        backend = section,
                        issuer,
                        "the keys of this issuer are fetched again"
                    );
                }
            }
            Err(error) => {
                let cause = format!("{error:#}");
                if state.failure.is_none() {
                    warn!(
                        reason = "workload_keys_failed",
                        backend = section,
                        issuer,
                        cause,
                        "the keys of this issuer cannot be fetched; those of before are used for 24 hours"
                    );
                }
                state.failure = Some(cause);
            }
        }
    }

    /// Fetches again and again, as long as somebody holds the keys.
    async fn keep_fresh(held: Weak<Fetched>) {
        loop {
            let pause = {
                let Some(fetched) = held.upgrade() else { return };
                match fetched.age() {
                    Some(age) if age < REFRESH_AFTER => REFRESH_AFTER - age,
                    Some(_) | None => {
                        if let Some(mut ended) = fetched.fetch_if_due() {
                            ended.changed().await.ok();
                        }
                        UNKNOWN_AGAIN
                    }
                }
            };
            sleep(pause).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch under way, until it is dropped.
struct Flight(Arc<Fetched>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.state().is_under_way = false;
        self.0.ended.send_modify(|number| *number = number.wrapping_add(1));
    }
}
