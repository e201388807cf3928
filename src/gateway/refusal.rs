//! Why a request ends at the gateway, and how clients, the log and the figures are told.

use axum::http::StatusCode;

use super::places::Full;
use super::route::NoHost;
use super::upstream::Failure;
use crate::client_address::NoAddress;
use crate::decision_log::Fault;
use crate::http::RETRY_SOON;
use crate::http::door::NotAdmitted;
use crate::target;

/// Why a request ends here.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
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
    /// The target could be read in more than one way, or is none.
    #[error(transparent)]
    Target(#[from] target::Refused),
    /// The body may hold parameters.
    #[error("a form is no body that a registry's client sends")]
    FormBody,
    /// There is a body where none has a meaning.
    #[error("a GET, HEAD or DELETE has no body that a registry reads")]
    Body,
    /// Whoever asks is not known, or may not do this.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// No upstream is for this host and repository.
    #[error("no upstream holds this repository")]
    NoUpstream,
    /// The page of the catalog that is asked for is none.
    #[error("the catalog has no such page")]
    NoPage,
    /// So much is under way that this has to come again later.
    #[error(transparent)]
    Busy(#[from] Full),
    /// The upstream's catalog has no end.
    #[error("the catalog is too long to be looked through")]
    CatalogTooLong,
    /// The upstream's reply is no catalog.
    #[error("upstream {upstream}: its reply is no catalog: {cause}")]
    NoCatalog {
        /// Its name.
        upstream: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Nothing is changed through us at this upstream.
    #[error("the upstream is read-only here")]
    ReadOnly,
    /// The upstream has no reply for the client.
    #[error("upstream {upstream}")]
    Upstream {
        /// Its name.
        upstream: String,
        /// Why.
        #[source]
        failure: Failure,
    },
}

/// What [`Refusal::reason`] says of requests for which no upstream was looked for yet, but for those of
/// [`door::reasons`](crate::http::door::reasons).
pub(super) const BEFORE_AN_UPSTREAM: &[&str] =
    &["client_too_old", "gateway_loop", "no_client_address", "no_host", "no_upstream", "no_page", "catalog_too_long"];
/// What it says of requests that were for an upstream, or for the catalogs of several.
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

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Refusal::TooOld | Refusal::NoUpstream | Refusal::Target(target::Refused::NoRoute) => StatusCode::NOT_FOUND,
            Refusal::Loop => StatusCode::LOOP_DETECTED,
            Refusal::NoAddress(_) | Refusal::NoHost(_) | Refusal::NoPage | Refusal::Body => StatusCode::BAD_REQUEST,
            Refusal::ReadOnly | Refusal::Target(target::Refused::Method) => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Target(
                target::Refused::TooLong
                | target::Refused::NotCanonical
                | target::Refused::NoRepository
                | target::Refused::Query,
            ) => StatusCode::BAD_REQUEST,
            Refusal::FormBody => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::NotAdmitted(cause) => cause.status(),
            Refusal::Upstream { failure: Failure::DeniedUs(_), .. } => StatusCode::FORBIDDEN,
            Refusal::CatalogTooLong | Refusal::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Upstream { failure: Failure::TooSlow(_), .. } => StatusCode::GATEWAY_TIMEOUT,
            Refusal::Upstream { failure: Failure::ClientBroke, .. } => StatusCode::BAD_REQUEST,
            Refusal::Upstream { failure: Failure::ClientStalls, .. } => StatusCode::REQUEST_TIMEOUT,
            Refusal::NoCatalog { .. }
            | Refusal::Upstream {
                failure:
                    Failure::NoCredentials(_)
                    | Failure::RefusedUs(_)
                    | Failure::Unreachable(_)
                    | Failure::Broke(_)
                    | Failure::NoEnd,
                ..
            } => StatusCode::BAD_GATEWAY,
        }
    }

    /// The outcome's name in logs and metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Refusal::TooOld => "client_too_old",
            Refusal::Loop => "gateway_loop",
            Refusal::NoAddress(_) => "no_client_address",
            Refusal::NoHost(_) => "no_host",
            Refusal::Target(_) | Refusal::FormBody | Refusal::Body => "target_refused",
            Refusal::NotAdmitted(cause) => cause.reason(),
            Refusal::NoUpstream => "no_upstream",
            Refusal::NoPage => "no_page",
            Refusal::CatalogTooLong => "catalog_too_long",
            Refusal::Busy(_) => "busy",
            Refusal::ReadOnly => "read_only",
            Refusal::Upstream { failure: Failure::NoCredentials(_), .. } => "upstream_credentials",
            Refusal::Upstream { failure: Failure::RefusedUs(_), .. } => "upstream_refused_us",
            Refusal::Upstream { failure: Failure::DeniedUs(_), .. } => "upstream_denied_us",
            Refusal::Upstream { failure: Failure::Unreachable(_), .. } => "upstream_unreachable",
            Refusal::Upstream { failure: Failure::TooSlow(_), .. } => "upstream_timeout",
            Refusal::NoCatalog { .. } | Refusal::Upstream { failure: Failure::Broke(_) | Failure::NoEnd, .. } => {
                "upstream_broke"
            }
            Refusal::Upstream { failure: Failure::ClientBroke, .. } => "client_gone",
            Refusal::Upstream { failure: Failure::ClientStalls, .. } => "client_stalled",
        }
    }

    /// Whether somebody here has to look into it.
    pub(super) fn fault(&self) -> Fault {
        match self {
            Refusal::NotAdmitted(cause) => cause.fault(),
            Refusal::Loop => Fault::Ours,
            Refusal::CatalogTooLong
            | Refusal::Busy(_)
            | Refusal::NoCatalog { .. }
            | Refusal::Upstream {
                failure:
                    Failure::NoCredentials(_)
                    | Failure::RefusedUs(_)
                    | Failure::Unreachable(_)
                    | Failure::TooSlow(_)
                    | Failure::Broke(_)
                    | Failure::NoEnd,
                ..
            } => Fault::OursAfterwards,
            Refusal::TooOld
            | Refusal::NoAddress(_)
            | Refusal::NoHost(_)
            | Refusal::Target(_)
            | Refusal::FormBody
            | Refusal::Body
            | Refusal::NoUpstream
            | Refusal::NoPage
            | Refusal::ReadOnly
            | Refusal::Upstream {
                failure: Failure::DeniedUs(_) | Failure::ClientBroke | Failure::ClientStalls, ..
            } => Fault::Client,
        }
    }

    /// The registry's error code and a sentence, neither of which tells what the log tells.
    pub(super) fn shown(&self) -> (&'static str, &'static str) {
        match self {
            Refusal::ReadOnly => ("UNSUPPORTED", "this registry is read-only"),
            Refusal::NoUpstream => ("NAME_UNKNOWN", "there is no such repository"),
            Refusal::Upstream { failure: Failure::DeniedUs(_), .. } => {
                ("DENIED", "the registry behind this one does not allow this")
            }
            Refusal::NoPage => ("PAGINATION_NUMBER_INVALID", "n and last name no page of the catalog"),
            Refusal::Target(target::Refused::NoRoute) => ("NOT_FOUND", "a registry has nothing at this address"),
            Refusal::Target(target::Refused::NoRepository) => ("NAME_INVALID", "this is no name of a repository"),
            _ => match self.status() {
                StatusCode::UNAUTHORIZED => ("UNAUTHORIZED", "log in with an account that may do this"),
                StatusCode::FORBIDDEN => ("DENIED", "this is not allowed"),
                StatusCode::NOT_FOUND => ("NOT_FOUND", "there is nothing at this address"),
                StatusCode::TOO_MANY_REQUESTS => {
                    ("TOOMANYREQUESTS", "too many wrong passwords for this account; wait a while")
                }
                StatusCode::BAD_GATEWAY
                | StatusCode::GATEWAY_TIMEOUT
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::LOOP_DETECTED => ("UNAVAILABLE", "this cannot be answered now; try again"),
                _ => ("UNSUPPORTED", "this request is none that a registry takes"),
            },
        }
    }

    /// RFC 6750, section 3.1, in the registries' use of it.
    pub(super) fn token_error(&self) -> Option<&'static str> {
        match self {
            Refusal::NotAdmitted(cause) => cause.token_error(),
            _ => None,
        }
    }

    /// When to come again, in seconds, if it is not now.
    pub(super) fn retry_after(&self) -> u64 {
        match self {
            Refusal::NotAdmitted(cause) => cause.retry_after(),
            _ => RETRY_SOON,
        }
    }
}
