//! The file descriptors of this process, shared out between its clients' connections and its own.

use tracing::warn;

/// Connections that are open at once for tokens. Further ones wait in the system's queue.
const MAX_CONNECTIONS: usize = 16_384;
/// Requests of the gateway to its upstreams that are under way at once.
const MAX_TRANSFERS: usize = 4096;
/// Descriptors that are left for the listener for health and metrics, files, and the log.
const SPARE_DESCRIPTORS: u64 = 192;

/// How many descriptors there are for connections to us and from us.
fn descriptors() -> usize {
    let most = MAX_CONNECTIONS + MAX_TRANSFERS;
    let limit = rlimit::increase_nofile_limit(most as u64 + SPARE_DESCRIPTORS);
    limit.map_or(most, |limit| usize::try_from(limit.saturating_sub(SPARE_DESCRIPTORS)).unwrap_or(most))
}

/// How many requests of the gateway may be under way: no more than half of what there is, since each has a client too.
pub(crate) fn transfers_at_once() -> usize {
    (descriptors() / 2).clamp(1, MAX_TRANSFERS)
}

/// How many connections this process can hold beside so many transfers: as many as are allowed, where it may open as many
/// files.
pub(crate) fn connections_at_once(transfers: usize) -> usize {
    let connections = descriptors().saturating_sub(transfers).clamp(1, MAX_CONNECTIONS);
    if connections < MAX_CONNECTIONS {
        warn!(
            reason = "few_descriptors",
            connections,
            wanted = MAX_CONNECTIONS,
            "the limit of open files allows fewer connections; raise it (ulimit -n, LimitNOFILE)"
        );
    }
    connections
}
