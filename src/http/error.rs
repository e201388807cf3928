//! What clients are told when there is no token: a code, a plain sentence, and nothing about the cause.

use axum::Json;
use axum::http::header::{ALLOW, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::credentials::Malformed;
use super::denied::{self, RETRY_SOON, whole_seconds};
use crate::access::Denied;
use crate::authn::attempts::TooMany;
use crate::client_address::NoAddress;
use crate::decision_log::Fault;

/// Which of the two protocols a reply is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The distribution project's GET.
    Get,
    /// OAuth 2's POST, whose errors also carry `error` (RFC 6749, section 5.2).
    OAuth,
}

impl Protocol {
    /// The protocol that a method belongs to, if it is one of theirs.
    pub(super) fn of(method: &Method) -> Option<Protocol> {
        match *method {
            Method::GET => Some(Protocol::Get),
            Method::POST => Some(Protocol::OAuth),
            _ => None,
        }
    }
}

/// Why a token request got no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    /// A parameter is missing, doubled or contradicts another.
    #[error("{0}")]
    BadRequest(&'static str),
    /// The address of the client cannot be told.
    #[error(transparent)]
    NoAddress(#[from] NoAddress),
    /// A grant type other than `password`.
    #[error("only grant_type=password is supported")]
    UnsupportedGrant,
    /// A POST with Basic credentials and without a grant type, which docker_auth answered: `curl -u … -d …` sends one.
    #[error(
        "this is a POST without grant_type; curl -d sends one: add -G for a GET, or send grant_type=password with username \
         and password"
    )]
    NoGrant,
    /// The audience is none that tokens are made for.
    #[error("tokens are not issued for this service")]
    UnknownService,
    /// The credentials could not be read at all.
    #[error(transparent)]
    MalformedCredentials(#[from] Malformed),
    /// Who, or what they may do, was not to be found out, or was refused.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The signature failed.
    #[error("the token could not be signed")]
    Signing(#[source] anyhow::Error),
    /// The body is no form.
    #[error("send the parameters as application/x-www-form-urlencoded")]
    NotAForm,
    /// The body did not arrive in time.
    #[error("the request did not arrive in time")]
    TooSlow,
    /// The body is too long.
    #[error("the request body is too long")]
    BodyTooLong,
    /// The query is too long.
    #[error("the request address is too long")]
    AddressTooLong,
    /// Neither GET nor POST.
    #[error("ask for tokens with GET or POST")]
    Method,
}

/// What is said where something of ours is in the way; what it is stands in the log.
const NOT_NOW: &str = "this cannot be answered now; try again";

/// How an error looks to the client.
struct Shape {
    status: StatusCode,
    /// The registry's error code.
    code: &'static str,
    /// OAuth's error code.
    oauth: &'static str,
    message: String,
}

/// All that [`TokenError::reason`] says, but for [`denied::REASONS`].
pub(super) const REASONS: &[&str] = &[
    "bad_request",
    "no_client_address",
    "unsupported_grant_type",
    "unknown_service",
    "malformed_credentials",
    "signing_failed",
    "too_slow",
    "too_long",
];

impl TokenError {
    /// The outcome's name in logs and metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            TokenError::BadRequest(_) | TokenError::NotAForm | TokenError::Method => "bad_request",
            TokenError::NoAddress(_) => "no_client_address",
            TokenError::UnsupportedGrant | TokenError::NoGrant => "unsupported_grant_type",
            TokenError::UnknownService => "unknown_service",
            TokenError::MalformedCredentials(_) => "malformed_credentials",
            TokenError::Denied(denied) => denied::reason(denied),
            TokenError::Signing(_) => "signing_failed",
            TokenError::TooSlow => "too_slow",
            TokenError::BodyTooLong | TokenError::AddressTooLong => "too_long",
        }
    }

    /// Whether somebody here has to look into it.
    pub(super) fn fault(&self) -> Fault {
        match self {
            TokenError::Denied(denied) => denied::fault(denied, Fault::Client),
            TokenError::Signing(_) => Fault::OursAfterwards,
            TokenError::BadRequest(_)
            | TokenError::NoAddress(_)
            | TokenError::UnsupportedGrant
            | TokenError::NoGrant
            | TokenError::UnknownService
            | TokenError::MalformedCredentials(_)
            | TokenError::NotAForm
            | TokenError::TooSlow
            | TokenError::BodyTooLong
            | TokenError::AddressTooLong
            | TokenError::Method => Fault::Client,
        }
    }

    fn shape(&self) -> Shape {
        let bad = |status, oauth, error: &TokenError| Shape {
            status,
            code: "UNSUPPORTED",
            oauth,
            message: error.to_string(),
        };
        match self {
            TokenError::BadRequest(_) | TokenError::NoAddress(_) => {
                bad(StatusCode::BAD_REQUEST, "invalid_request", self)
            }
            TokenError::UnsupportedGrant | TokenError::NoGrant => {
                bad(StatusCode::BAD_REQUEST, "unsupported_grant_type", self)
            }
            TokenError::UnknownService => Shape {
                status: StatusCode::BAD_REQUEST,
                code: "DENIED",
                oauth: "invalid_request",
                message: self.to_string(),
            },
            TokenError::MalformedCredentials(_) => Shape {
                status: StatusCode::UNAUTHORIZED,
                code: "UNAUTHORIZED",
                oauth: "invalid_grant",
                message: self.to_string(),
            },
            TokenError::Denied(denied) => {
                let (code, oauth, message) = match denied {
                    Denied::Anonymous => ("UNAUTHORIZED", "invalid_grant", denied.to_string()),
                    Denied::Credentials | Denied::NameTaken { .. } | Denied::Closed(_) => {
                        ("UNAUTHORIZED", "invalid_grant", "the account or the password is wrong".to_owned())
                    }
                    Denied::TooMany(TooMany { wait }) => {
                        let seconds = whole_seconds(*wait);
                        let message = format!("too many wrong passwords for this account; wait {seconds} s");
                        ("TOOMANYREQUESTS", "temporarily_unavailable", message)
                    }
                    Denied::Busy { .. } => {
                        ("UNAVAILABLE", "temporarily_unavailable", "too many requests at once; try again".to_owned())
                    }
                    Denied::Unavailable { .. } => ("UNAVAILABLE", "temporarily_unavailable", NOT_NOW.to_owned()),
                };
                Shape { status: denied::status(denied), code, oauth, message }
            }
            TokenError::Signing(_) => Shape {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "UNAVAILABLE",
                oauth: "temporarily_unavailable",
                message: NOT_NOW.to_owned(),
            },
            TokenError::NotAForm => bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request", self),
            TokenError::TooSlow => bad(StatusCode::REQUEST_TIMEOUT, "invalid_request", self),
            TokenError::BodyTooLong => bad(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", self),
            TokenError::AddressTooLong => bad(StatusCode::URI_TOO_LONG, "invalid_request", self),
            TokenError::Method => bad(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", self),
        }
    }

    /// The reply. `realm` is the issuer's name, for the challenge of a 401.
    pub(super) fn into_response(self, protocol: Protocol, realm: &str) -> Response {
        let shape = self.shape();
        let retry_after = match &self {
            TokenError::Denied(denied) => denied::retry_after(denied),
            _ => RETRY_SOON,
        };
        let errors = json!([{ "code": shape.code, "message": shape.message, "detail": null }]);
        let body = match protocol {
            Protocol::Get => json!({ "errors": errors }),
            Protocol::OAuth => json!({ "error": shape.oauth, "error_description": shape.message, "errors": errors }),
        };
        let mut response = (shape.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match shape.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, challenge(realm));
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                headers.insert(ALLOW, HeaderValue::from_static("GET, POST"));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(RETRY_AFTER, HeaderValue::from(retry_after));
            }
            _ => {}
        }
        response
    }
}

/// A text in quotes, as RFC 9110 (section 5.6.4) has them.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `Basic realm="…"`.
fn challenge(realm: &str) -> HeaderValue {
    let text = format!("Basic realm={}", quoted(realm));
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or(HeaderValue::from_static("Basic realm=\"dockwarden\""))
}

/// What is said at every address where nothing is.
pub(super) fn nothing_here() -> Response {
    plain_error(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing at this address")
}

/// An error outside the token endpoint, in the registry's shape.
pub(crate) fn plain_error(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "errors": [{ "code": code, "message": message, "detail": null }] }))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_that_failed_is_not_said_to_be_undecided() {
        let error = TokenError::Signing(anyhow::anyhow!("the key"));
        assert_eq!((error.fault(), error.reason()), (Fault::OursAfterwards, "signing_failed"));
    }
}
