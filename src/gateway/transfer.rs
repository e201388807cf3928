//! The line in the log for each pull and push that was sent to an upstream, written when it ends, however that is.

use axum::http::{Method, StatusCode};
use policy::target::{Part, RepositoryTarget};
use tokio::time::Instant;
use tracing::{info, warn};

use super::body::{ClientBody, Cut};
use super::connect::Ride;
use super::places::HeldPlace;
use crate::activity::Held;
use crate::decision_id::DecisionId;
use crate::metrics::Metrics;
use crate::shown::printable;

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransferEnd {
    /// The whole reply was passed on.
    Whole,
    /// Something broke; the client saw its connection break too, or had left.
    Cut(Cut),
    /// There was no reply to pass on, and the client was told so. The reason is counted where that is done.
    Failed(&'static str),
}

/// The outcomes in the metrics of transfers that had a reply.
pub(crate) const OUTCOMES: &[&str] =
    &["2xx", "3xx", "4xx", "5xx", "client_gone", "upstream_broke", "client_stalled", "upstream_stalled"];

/// A request that is sent to an upstream, and what its line says. The line is written when it is dropped, so that none ends
/// without one: one that was not [`ended`](Transfer::ended) was given up by its client.
pub(crate) struct Transfer {
    pub(crate) metrics: Metrics,
    pub(crate) id: DecisionId,
    pub(crate) upstream: String,
    pub(crate) account: String,
    pub(crate) operation: &'static str,
    pub(crate) repository: String,
    pub(crate) reference: Option<String>,
    /// The status of the reply, once there is one.
    pub(crate) status: Option<StatusCode>,
    pub(crate) sent: ClientBody,
    pub(crate) began: Instant,
    /// Keeps the client's connection from being taken for an idle one.
    pub(crate) _held: Option<Held>,
    /// Its place among those that may be under way at once.
    pub(crate) _place: HeldPlace,
    /// Its part of the connection to the upstream, once there is a reply.
    pub(crate) ride: Option<Ride>,
    /// How it ended; until that is known, as it ends where its client gives it up.
    pub(crate) end: TransferEnd,
    /// How many bytes of the reply's body were passed on.
    pub(crate) received: u64,
}

/// What such a request does to a repository, in the words of rules. Asking how far an upload has come is a part of pushing.
pub(crate) fn operation(method: &Method, asked: &RepositoryTarget) -> &'static str {
    match (method, &asked.part) {
        (_, Part::Uploads | Part::Upload) => "push",
        (&Method::GET | &Method::HEAD, _) => "pull",
        (&Method::DELETE, _) => "delete",
        (_, Part::Tags | Part::Manifest(_) | Part::Blob(_) | Part::Referrers(_)) => "push",
    }
}

impl Transfer {
    /// Ends it, which writes the line. `received` is how many bytes of the reply's body were passed on.
    pub(crate) fn ended(mut self, end: TransferEnd, received: u64) {
        (self.end, self.received) = (end, received);
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let end = self.end;
        let outcome = match end {
            TransferEnd::Whole => "whole",
            TransferEnd::Cut(Cut::Client | Cut::Anew) => "client_gone",
            TransferEnd::Cut(Cut::Upstream) => "upstream_broke",
            TransferEnd::Cut(Cut::ClientStalls) => "client_stalled",
            TransferEnd::Cut(Cut::UpstreamStalls) => "upstream_stalled",
            TransferEnd::Failed(reason) => reason,
        };
        let counted = match (end, self.status.map(|status| status.as_u16())) {
            (TransferEnd::Whole, Some(200..=299)) => Some("2xx"),
            (TransferEnd::Whole, Some(300..=399)) => Some("3xx"),
            (TransferEnd::Whole, Some(400..=499)) => Some("4xx"),
            (TransferEnd::Whole, _) => Some("5xx"),
            (TransferEnd::Cut(_), _) => Some(outcome),
            (TransferEnd::Failed(_), _) => None,
        };
        if let Some(counted) = counted {
            self.metrics.gateway_answered(&self.upstream, counted);
        }
        macro_rules! line {
            ($level:ident, $message:literal) => {
                $level!(
                    decision.id = self.id.as_str(),
                    upstream = %self.upstream,
                    user.account = %printable(&self.account),
                    operation = self.operation,
                    repository = self.repository,
                    reference = self.reference,
                    status = self.status.map(|status| status.as_u16()),
                    bytes.sent = self.sent.bytes(),
                    bytes.received = self.received,
                    seconds = self.began.elapsed().as_secs_f64(),
                    outcome,
                    $message
                )
            };
        }
        match end {
            TransferEnd::Whole | TransferEnd::Cut(Cut::Client | Cut::Anew) => line!(info, "transferred"),
            TransferEnd::Cut(Cut::Upstream | Cut::ClientStalls | Cut::UpstreamStalls) | TransferEnd::Failed(_) => {
                line!(warn, "cut off")
            }
        }
    }
}
