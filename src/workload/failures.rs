//! How many tokens of workloads were refused of late, by network: by account, one broken pipeline would shut out all others of
//! its repository, and a stranger anybody.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use crate::client_network::ClientNetwork;
use crate::passwords::attempts::TooMany;

/// So many refused tokens of one network are looked at in [`WINDOW`]; further ones are not, right ones among them. No token can
/// be guessed: this bounds what a flood of them costs, and is far from what build servers do that share an address.
const MOST: u32 = 120;
/// How long they are counted together.
const WINDOW: Duration = Duration::from_secs(60);
/// The number of networks that have a count.
const NETWORKS: NonZeroUsize = match NonZeroUsize::new(10_000) {
    Some(number) => number,
    None => NonZeroUsize::MIN,
};

/// Refused tokens by network, of the last minute.
pub(super) struct Failures(Mutex<LruCache<ClientNetwork, Count>>);

struct Count {
    since: Instant,
    number: u32,
}

impl Default for Failures {
    fn default() -> Failures {
        Failures(Mutex::new(LruCache::new(NETWORKS)))
    }
}

impl Failures {
    /// Whether a token of this network is looked at.
    ///
    /// # Errors
    /// Too many were refused, and how long to wait.
    pub(super) fn admit(&self, network: ClientNetwork) -> Result<(), TooMany> {
        let counts = self.counts();
        match counts.peek(&network) {
            // Read once: between two looks at the clock the window can end.
            Some(Count { since, number }) if *number >= MOST => match WINDOW.checked_sub(since.elapsed()) {
                Some(wait) if !wait.is_zero() => Err(TooMany { wait }),
                Some(_) | None => Ok(()),
            },
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a token that was refused.
    pub(super) fn count(&self, network: ClientNetwork) {
        let now = crate::clock::now();
        let mut counts = self.counts();
        match counts.get_mut(&network) {
            Some(count) if now - count.since < WINDOW => count.number = count.number.saturating_add(1),
            Some(_) | None => drop(counts.put(network, Count { since: now, number: 1 })),
        }
    }

    fn counts(&self) -> MutexGuard<'_, LruCache<ClientNetwork, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_looked_at_for_a_while_and_only_of_its_network() {
        let failures = Failures::default();
        let (here, elsewhere) = (ClientNetwork::of("203.0.113.1".parse().ok()), ClientNetwork::Unknown);
        for _ in 0..MOST {
            assert_eq!(failures.admit(here), Ok(()));
            failures.count(here);
        }
        assert_eq!(failures.admit(here), Err(TooMany { wait: WINDOW }));
        assert_eq!(failures.admit(elsewhere), Ok(()));
        tokio::time::advance(WINDOW).await;
        assert_eq!(failures.admit(here), Ok(()));
        failures.count(here);
        assert_eq!(failures.admit(here), Ok(()));
    }
}
