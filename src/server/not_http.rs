//! Whoever speaks something else than is spoken here: scanners, and clients that were sent to the wrong port or scheme.

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::warn;

use crate::client_address::Peer;
use crate::last_said::LastSaid;
use crate::metrics::Metrics;

/// Counts what is not HTTP on a listener, and says so once in a while: strangers can send as much of it as they like.
pub(super) struct NotHttp {
    metrics: Metrics,
    said: LastSaid,
    /// Since it was last said.
    unsaid: AtomicU64,
}

impl NotHttp {
    /// Nobody has come yet.
    pub(super) fn new(metrics: Metrics) -> NotHttp {
        NotHttp { metrics, said: LastSaid::default(), unsaid: AtomicU64::new(0) }
    }

    /// Somebody sent something else than a request. The `cause` has nothing of what was sent.
    pub(super) fn came(&self, peer: Peer, cause: &dyn std::fmt::Display) {
        self.metrics.not_http();
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        if self.said.is_long_ago() {
            warn!(
                reason = "not_http",
                client.address = %peer,
                connections = self.unsaid.swap(0, Ordering::Relaxed),
                cause = %cause,
                "connections were closed on which no HTTP was spoken"
            );
        }
    }
}
