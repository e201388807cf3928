//! One line in the log for each pull and push that reached an upstream, when it is over.

use std::time::Instant;

use axum::http::{Method, StatusCode};
use tracing::{info, warn};

use super::body::{ClientBody, Cut};
use crate::decision_log::{DecisionId, printable};
use crate::metrics::Metrics;
use crate::server::Held;
use crate::target::{Part, Visit};

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The whole reply was passed on.
    Whole,
    /// Something broke; the client saw its connection break too, or had left.
    Cut(Cut),
}

/// A request that was sent to an upstream, and what is to be told about it in the end.
pub(super) struct Transfer {
    pub(super) metrics: Metrics,
    pub(super) id: DecisionId,
    pub(super) upstream: String,
    pub(super) account: String,
    pub(super) operation: &'static str,
    pub(super) repository: String,
    pub(super) reference: Option<String>,
    pub(super) status: StatusCode,
    pub(super) sent: ClientBody,
    pub(super) began: Instant,
    /// Keeps the client's connection from being taken for an idle one.
    pub(super) held: Option<Held>,
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
    pub(super) fn ended(self, end: End, received: u64) {
        let outcome = match end {
            End::Whole => "whole",
            End::Cut(Cut::Client | Cut::Anew) => "client_gone",
            End::Cut(Cut::Upstream) => "upstream_broke",
            End::Cut(Cut::ClientStalls) => "client_stalled",
            End::Cut(Cut::UpstreamStalls) => "upstream_stalled",
        };
        let counted = match (end, self.status.as_u16()) {
            (End::Whole, 200..=299) => "2xx",
            (End::Whole, 300..=399) => "3xx",
            (End::Whole, 400..=499) => "4xx",
            (End::Whole, _) => "5xx",
            (End::Cut(_), _) => outcome,
        };
        self.metrics.gateway_answered(&self.upstream, counted);
        macro_rules! line {
            ($level:ident, $message:literal) => {
                $level!(
                    decision.id = self.id.as_str(),
                    upstream = %self.upstream,
                    user.account = %printable(&self.account),
                    operation = self.operation,
                    repository = self.repository,
                    reference = self.reference,
                    status = self.status.as_u16(),
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
            End::Cut(Cut::Upstream | Cut::ClientStalls | Cut::UpstreamStalls) => line!(warn, "cut off"),
        }
        drop(self.held);
    }
}
