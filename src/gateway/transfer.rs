//! One line in the log for each pull and push that was sent to an upstream, when it is over, however it ends.

use axum::http::{Method, StatusCode};
use tokio::time::Instant;
use tracing::{info, warn};

use super::body::{ClientBody, Cut};
use super::connect::Ride;
use super::places::Place;
use crate::activity::Held;
use crate::decision_id::DecisionId;
use crate::metrics::Metrics;
use crate::shown::printable;
use crate::target::{Part, Visit};

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The whole reply was passed on.
    Whole,
    /// Something broke; the client saw its connection break too, or had left.
    Cut(Cut),
    /// There was no reply to pass on; the client was told so. The reason is counted where that is done.
    Failed(&'static str),
}

/// The outcomes in the figures of transfers that had a reply.
pub(super) const OUTCOMES: &[&str] =
    &["2xx", "3xx", "4xx", "5xx", "client_gone", "upstream_broke", "client_stalled", "upstream_stalled"];

/// A request that is sent to an upstream, and what is to be told about it in the end. One that is dropped before was given
/// up by its client, and is told too: what it took until then was taken.
pub(super) struct Transfer {
    pub(super) metrics: Metrics,
    pub(super) id: DecisionId,
    pub(super) upstream: String,
    pub(super) account: String,
    pub(super) operation: &'static str,
    pub(super) repository: String,
    pub(super) reference: Option<String>,
    /// Of the reply, once there is one.
    pub(super) status: Option<StatusCode>,
    pub(super) sent: ClientBody,
    pub(super) began: Instant,
    /// Keeps the client's connection from being taken for an idle one.
    pub(super) _held: Option<Held>,
    /// One of those that may be under way at once.
    pub(super) _place: Place,
    /// Its part of the connection to the upstream, once there is a reply.
    pub(super) ride: Option<Ride>,
    pub(super) told: Told,
}

/// Whether the line of a transfer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    NotYet,
    Once,
}

impl Drop for Transfer {
    fn drop(&mut self) {
        match self.told {
            Told::NotYet => self.tell(End::Cut(Cut::Client), 0),
            Told::Once => {}
        }
    }
}

/// What is done to a repository by such a request, in the words of rules; reading what an upload has come to is a part
/// of pushing.
pub(super) fn operation(method: &Method, visit: &Visit) -> &'static str {
    match (method, &visit.part) {
        (_, Part::Uploads | Part::Upload) => "push",
        (&Method::GET | &Method::HEAD, _) => "pull",
        (&Method::DELETE, _) => "delete",
        (_, Part::Tags | Part::Manifest(_) | Part::Blob(_) | Part::Referrers(_)) => "push",
    }
}

impl Transfer {
    /// Writes the line, and counts. `received` is how many bytes of the reply's body were passed on.
    pub(super) fn ended(mut self, end: End, received: u64) {
        self.told = Told::Once;
        self.tell(end, received);
    }

    fn tell(&self, end: End, received: u64) {
        let outcome = match end {
            End::Whole => "whole",
            End::Cut(Cut::Client | Cut::Anew) => "client_gone",
            End::Cut(Cut::Upstream) => "upstream_broke",
            End::Cut(Cut::ClientStalls) => "client_stalled",
            End::Cut(Cut::UpstreamStalls) => "upstream_stalled",
            End::Failed(reason) => reason,
        };
        let counted = match (end, self.status.map(|status| status.as_u16())) {
            (End::Whole, Some(200..=299)) => Some("2xx"),
            (End::Whole, Some(300..=399)) => Some("3xx"),
            (End::Whole, Some(400..=499)) => Some("4xx"),
            (End::Whole, _) => Some("5xx"),
            (End::Cut(_), _) => Some(outcome),
            (End::Failed(_), _) => None,
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
                    bytes.received = received,
                    seconds = self.began.elapsed().as_secs_f64(),
                    outcome,
                    $message
                )
            };
        }
        match end {
            End::Whole | End::Cut(Cut::Client | Cut::Anew) => line!(info, "transferred"),
            End::Cut(Cut::Upstream | Cut::ClientStalls | Cut::UpstreamStalls) | End::Failed(_) => {
                line!(warn, "cut off")
            }
        }
    }
}
