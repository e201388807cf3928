//! Why a request ends at the gateway, and what clients, the log and the metrics are told of it.

use axum::http::StatusCode;
use policy::target;

use crate::client_address::NoAddress;
use crate::decision_log::Fault;
use crate::gateway::places::NoPlace;
use crate::gateway::upstream::{Upstream, UpstreamFailure};
use crate::http::host::NoHost;
use crate::http::paging::NoPage;
use crate::http::shape::{NOT_NOW, NOTHING_HERE, Shape};
use crate::http::visit::NotAdmitted;

/// Why a request ends here.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatewayRefusal {
    /// The client speaks only the protocol before `/v2/`, and falls back to it.
    #[error("the client is too old for the second version of the protocol")]
    TooOld,
    /// An upstream leads back to us.
    #[error("the request has been here before: an upstream is this gateway itself, or leads back to it")]
    Loop,
    /// A proxy does not say where the client is.
    #[error(transparent)]
    NoAddress(#[from] NoAddress),
    /// Two readers could each see another host.
    #[error(transparent)]
    NoHost(#[from] NoHost),
    /// A target that could be read in more than one way, or not at all.
    #[error(transparent)]
    Target(#[from] target::Refused),
    /// The body may hold parameters.
    #[error("a registry's client does not send forms")]
    FormBody,
    /// A body where none has a meaning.
    #[error("a registry reads no body of a GET, HEAD or DELETE")]
    Body,
    /// The client is not known, or may not do this.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// No upstream is for this host and repository.
    #[error("no upstream holds this repository")]
    NoUpstream,
    /// `n` and `last` name no page of the catalog.
    #[error(transparent)]
    NoPage(#[from] NoPage),
    /// Too much is under way; the client may come again later.
    #[error(transparent)]
    Busy(#[from] NoPlace),
    /// A catalog of an upstream does not end within the time, the pages or the names that are looked through.
    #[error("the catalog is too long to be looked through")]
    CatalogTooLong,
    /// The upstream's reply cannot be read as a catalog.
    #[error("upstream {upstream}: its reply is not a catalog: {cause}")]
    NoCatalog {
        /// Its name.
        upstream: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A change at an upstream that is read-only here.
    #[error("the upstream is read-only here")]
    ReadOnly,
    /// The upstream gave no reply for the client.
    #[error("upstream {upstream}")]
    Upstream {
        /// Its name.
        upstream: String,
        /// Why.
        #[source]
        failure: UpstreamFailure,
    },
}

/// The reasons in [`GatewayRefusal::shape`] of requests for which no upstream was looked for yet, but for
/// [`visit::reasons`](crate::http::visit::reasons).
pub(super) const BEFORE_AN_UPSTREAM: &[&str] =
    &["client_too_old", "gateway_loop", "no_client_address", "no_host", "no_upstream", "no_page", "catalog_too_long"];
/// Those of requests that were for an upstream, or for the catalogs of several.
pub(super) const AT_AN_UPSTREAM: &[&str] = &[
    "target_refused",
    "read_only",
    "busy",
    "upstream_credentials",
    "upstream_refused_us",
    "upstream_denied_us",
    "upstream_unreachable",
    "upstream_timeout",
    "upstream_broke",
    "client_gone",
    "client_stalled",
];

/// A failure of an upstream as the reason why a request ends.
pub(super) fn failed(upstream: &Upstream, failure: UpstreamFailure) -> GatewayRefusal {
    GatewayRefusal::Upstream { upstream: upstream.settings.name.clone(), failure }
}

/// The methods of a registry.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// The message about a request that no registry takes.
const NOT_A_REGISTRYS: &str = "this request is none that a registry takes";

fn client(status: StatusCode, code: &'static str, message: &'static str, reason: &'static str) -> Shape {
    Shape::new(status, code, message, reason, Fault::Client)
}

fn unsupported(status: StatusCode, reason: &'static str) -> Shape {
    client(status, "UNSUPPORTED", NOT_A_REGISTRYS, reason)
}

/// A failure behind the gateway, of which the client is told only that it may try again.
fn behind(status: StatusCode, reason: &'static str) -> Shape {
    Shape::new(status, "UNAVAILABLE", NOT_NOW, reason, Fault::OursAfterwards)
}

impl GatewayRefusal {
    /// What the client, the log and the metrics are told.
    pub(super) fn shape(&self) -> Shape {
        match self {
            GatewayRefusal::TooOld => client(StatusCode::NOT_FOUND, "NOT_FOUND", NOTHING_HERE, "client_too_old"),
            GatewayRefusal::Loop => {
                Shape::new(StatusCode::LOOP_DETECTED, "UNAVAILABLE", NOT_NOW, "gateway_loop", Fault::Ours)
            }
            GatewayRefusal::NoAddress(_) => unsupported(StatusCode::BAD_REQUEST, "no_client_address"),
            GatewayRefusal::NoHost(_) => unsupported(StatusCode::BAD_REQUEST, "no_host"),
            GatewayRefusal::Target(refused) => of_target(*refused),
            GatewayRefusal::FormBody => unsupported(StatusCode::UNSUPPORTED_MEDIA_TYPE, "target_refused"),
            GatewayRefusal::Body => unsupported(StatusCode::BAD_REQUEST, "target_refused"),
            GatewayRefusal::NotAdmitted(cause) => cause.shape(),
            GatewayRefusal::NoUpstream => {
                client(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "there is no such repository", "no_upstream")
            }
            GatewayRefusal::NoPage(_) => {
                let message = "n and last name no page of the catalog";
                client(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", message, "no_page")
            }
            GatewayRefusal::Busy(_) => Shape::unavailable("busy", Fault::OursAfterwards),
            GatewayRefusal::CatalogTooLong => Shape::unavailable("catalog_too_long", Fault::OursAfterwards),
            GatewayRefusal::NoCatalog { .. } => behind(StatusCode::BAD_GATEWAY, "upstream_broke"),
            GatewayRefusal::ReadOnly => {
                let message = "this registry is read-only";
                let shape = client(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", message, "read_only");
                Shape { allow: Some("GET, HEAD"), ..shape }
            }
            GatewayRefusal::Upstream { failure, .. } => of_failure(failure),
        }
    }
}

fn of_target(refused: target::Refused) -> Shape {
    let reason = "target_refused";
    match refused {
        target::Refused::NoRoute => {
            client(StatusCode::NOT_FOUND, "NOT_FOUND", "a registry has nothing at this address", reason)
        }
        target::Refused::NoRepository => {
            client(StatusCode::BAD_REQUEST, "NAME_INVALID", "this is no name of a repository", reason)
        }
        target::Refused::Method => {
            Shape { allow: Some(METHODS), ..unsupported(StatusCode::METHOD_NOT_ALLOWED, reason) }
        }
        target::Refused::TooLong | target::Refused::NotCanonical | target::Refused::Query => {
            unsupported(StatusCode::BAD_REQUEST, reason)
        }
    }
}

fn of_failure(failure: &UpstreamFailure) -> Shape {
    match failure {
        UpstreamFailure::NoCredentials(_) => behind(StatusCode::BAD_GATEWAY, "upstream_credentials"),
        UpstreamFailure::RefusedUs(_) => behind(StatusCode::BAD_GATEWAY, "upstream_refused_us"),
        UpstreamFailure::DeniedUs(_) => {
            let message = "the registry behind this one does not allow this";
            client(StatusCode::FORBIDDEN, "DENIED", message, "upstream_denied_us")
        }
        UpstreamFailure::Unreachable(_) => behind(StatusCode::BAD_GATEWAY, "upstream_unreachable"),
        UpstreamFailure::TooSlow(_) => behind(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"),
        UpstreamFailure::Broke(_) | UpstreamFailure::NoEnd => behind(StatusCode::BAD_GATEWAY, "upstream_broke"),
        UpstreamFailure::ClientBroke => unsupported(StatusCode::BAD_REQUEST, "client_gone"),
        UpstreamFailure::ClientStalls => unsupported(StatusCode::REQUEST_TIMEOUT, "client_stalled"),
    }
}
