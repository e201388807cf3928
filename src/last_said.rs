//! A pause between two lines of the log that say the same: whoever floods us must not flood the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock;

/// The shortest pause.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// When the log last said something that it says once in a while.
#[derive(Default)]
pub(crate) struct LastSaid(Mutex<Option<Instant>>);

impl LastSaid {
    /// Whether it may be said again, and if so, notes that it is said now.
    pub(crate) fn is_long_ago(&self) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let long_ago = said.is_none_or(|before| before.elapsed() >= SAID_EVERY);
        if long_ago {
            *said = Some(clock::now());
        }
        long_ago
    }
}
