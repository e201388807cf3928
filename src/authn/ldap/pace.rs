//! How long the directory takes to refuse a password: an account that is not there has to be refused as slowly.
//!
//! Most directories refuse a bind as nobody at once, and compute a hash, which can be slow, for somebody only. How slow,
//! only they know; so what was seen a moment ago is what is imitated.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::random;

/// So many of the last binds are remembered.
const REMEMBERED: usize = 64;

/// What is added to a refusal at most.
const BLUR: Duration = Duration::from_millis(4);

/// The lengths of the last binds of accounts that are there.
#[derive(Default)]
pub(super) struct Pace(Mutex<VecDeque<Duration>>);

impl Pace {
    /// A bind took so long.
    pub(super) fn saw(&self, took: Duration) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push_back(took);
        if seen.len() > REMEMBERED {
            seen.pop_front();
        }
    }

    /// How long one took, drawn at random among the last: always the same length could be told from a real one. Nothing
    /// as long as none was seen.
    pub(super) fn drawn(&self) -> Option<Duration> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Without random bytes it is the first: a nuisance, not a danger.
        seen.get(usize::from(number()).checked_rem(seen.len())?).copied()
    }
}

/// How long a refusal waits besides: up to [`BLUR`], each time another part of it.
pub(super) fn blur() -> Duration {
    BLUR * u32::from(number()) / u32::from(u8::MAX)
}

fn number() -> u8 {
    let [number] = random::bytes().unwrap_or_default();
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_was_seen_not_long_ago() {
        let pace = Pace::default();
        assert_eq!(pace.drawn(), None);
        for length in 0..500 {
            pace.saw(Duration::from_millis(length));
        }
        let drawn: std::collections::BTreeSet<Duration> = (0..2000).filter_map(|_| pace.drawn()).collect();
        assert_eq!(drawn.first(), Some(&Duration::from_millis(436)));
        assert_eq!(drawn.len(), 64);
    }
}
