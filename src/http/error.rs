//! Why a token request gets no token: each reason's status, its codes in both protocols, and a plain sentence.

use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use serde_json::json;

use super::body::NotRead;
use super::credentials::Malformed;
use super::shape::{self, NOT_NOW, Shape, basic_challenge, whole_seconds};
use crate::access::Denied;
use crate::authn::attempts::TooMany;
use crate::client_address::NoAddress;
use crate::decision_log::Fault;
use crate::secrets::DeadSecret;

/// The protocol that a reply is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// The distribution project's GET.
    Get,
    /// OAuth 2's POST, whose errors also carry `error` (RFC 6749, section 5.2).
    OAuth,
}

impl Protocol {
    /// The protocol that a method belongs to, if it is one of theirs.
    pub(super) fn from_method(method: &Method) -> Option<Protocol> {
        match *method {
            Method::GET => Some(Protocol::Get),
            Method::POST => Some(Protocol::OAuth),
            _ => None,
        }
    }
}

/// What was presented, as far as it changes what is said of an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Presented {
    /// A secret of ours.
    Secret,
    /// Something else, or nothing.
    #[default]
    Other,
}

/// What the holder of a dead secret is told, whyever it is dead.
const LOG_IN_AGAIN: &str = "the token is not valid any more: log in again (docker login)";

/// A code of OAuth 2 (RFC 6749, sections 4.1.2.1 and 5.2).
#[derive(Clone, Copy)]
enum OAuthCode {
    InvalidRequest,
    InvalidGrant,
    UnsupportedGrantType,
    /// RFC 8693, section 2.2.2.
    InvalidTarget,
    TemporarilyUnavailable,
}

impl OAuthCode {
    fn as_str(self) -> &'static str {
        match self {
            OAuthCode::InvalidRequest => "invalid_request",
            OAuthCode::InvalidGrant => "invalid_grant",
            OAuthCode::UnsupportedGrantType => "unsupported_grant_type",
            OAuthCode::InvalidTarget => "invalid_target",
            OAuthCode::TemporarilyUnavailable => "temporarily_unavailable",
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
    /// A grant type other than `password`, or a refresh token that is none of ours.
    #[error("only grant_type=password is supported")]
    UnsupportedGrant,
    /// A POST with Basic credentials and without a grant type, which docker_auth answered: `curl -u … -d …` sends one.
    #[error(
        "this is a POST without grant_type; curl -d sends one: add -G for a GET, or send grant_type=password with username \
         and password"
    )]
    NoGrant,
    /// An audience that no tokens are made for.
    #[error("tokens are not issued for this service")]
    UnknownService,
    /// The same in a token exchange.
    #[error("tokens are not issued for this service")]
    UnknownTarget,
    /// A workload's token that is right, and brings no session.
    #[error("no session is given for this token: its issuer's entry gives none, or it ends too soon")]
    NoSession,
    /// The token of a token exchange was refused, or a backend could not tell.
    #[error(transparent)]
    Subject(Denied),
    /// The credentials could not be read at all.
    #[error(transparent)]
    MalformedCredentials(#[from] Malformed),
    /// The client, or what it asks for, was refused; or a backend could not tell.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The signature failed.
    #[error("the token could not be signed")]
    Signing(#[source] anyhow::Error),
    /// A body that is announced as something else than a form.
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
    /// A method other than GET and POST.
    #[error("ask for tokens with GET or POST")]
    Method,
}

impl From<NotRead> for TokenError {
    fn from(cause: NotRead) -> TokenError {
        match cause {
            NotRead::TooLong => TokenError::BodyTooLong,
            NotRead::TooSlow => TokenError::TooSlow,
            NotRead::Ended => TokenError::BadRequest("the form ended too early"),
        }
    }
}

/// All reasons in [`TokenError::shape`], but for [`shape::denied_reasons`].
pub(super) const REASONS: &[&str] = &[
    "bad_request",
    "no_client_address",
    "unsupported_grant_type",
    "unknown_service",
    "no_session",
    "malformed_credentials",
    "signing_failed",
    "too_slow",
    "too_long",
];

impl TokenError {
    /// What the client, the log and the metrics are told, and OAuth's code.
    fn shape(&self) -> (Shape, OAuthCode) {
        use OAuthCode::{InvalidGrant, InvalidRequest, InvalidTarget, TemporarilyUnavailable, UnsupportedGrantType};
        let bad = |status, reason| Shape::new(status, "UNSUPPORTED", self.to_string(), reason, Fault::Client);
        match self {
            TokenError::BadRequest(_) => (bad(StatusCode::BAD_REQUEST, "bad_request"), InvalidRequest),
            TokenError::NoAddress(_) => (bad(StatusCode::BAD_REQUEST, "no_client_address"), InvalidRequest),
            TokenError::UnsupportedGrant | TokenError::NoGrant => {
                (bad(StatusCode::BAD_REQUEST, "unsupported_grant_type"), UnsupportedGrantType)
            }
            TokenError::UnknownService | TokenError::UnknownTarget => {
                let shape = Shape { code: "DENIED", ..bad(StatusCode::BAD_REQUEST, "unknown_service") };
                (shape, if matches!(self, TokenError::UnknownTarget) { InvalidTarget } else { InvalidRequest })
            }
            TokenError::NoSession => (bad(StatusCode::BAD_REQUEST, "no_session"), InvalidRequest),
            TokenError::MalformedCredentials(_) => {
                (Shape::unauthorized(self.to_string(), "malformed_credentials", Fault::Client), InvalidGrant)
            }
            TokenError::Denied(denied) | TokenError::Subject(denied) => {
                let shape = Shape { message: message(denied).into(), ..shape::denied(denied, Fault::Client) };
                let code = match (shape.retry_after, self) {
                    (Some(_), _) => TemporarilyUnavailable,
                    // RFC 8693, section 2.2.2; with the status that every door has for it.
                    (None, TokenError::Subject(_)) => InvalidRequest,
                    (None, _) => InvalidGrant,
                };
                (shape, code)
            }
            TokenError::Signing(_) => {
                (Shape::unavailable("signing_failed", Fault::OursAfterwards), TemporarilyUnavailable)
            }
            TokenError::NotAForm => (bad(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_request"), InvalidRequest),
            TokenError::TooSlow => (bad(StatusCode::REQUEST_TIMEOUT, "too_slow"), InvalidRequest),
            TokenError::BodyTooLong => (bad(StatusCode::PAYLOAD_TOO_LARGE, "too_long"), InvalidRequest),
            TokenError::AddressTooLong => (bad(StatusCode::URI_TOO_LONG, "too_long"), InvalidRequest),
            TokenError::Method => {
                let shape = bad(StatusCode::METHOD_NOT_ALLOWED, "bad_request");
                (Shape { allow: Some("GET, POST"), ..shape }, InvalidRequest)
            }
        }
    }

    /// The reply, and what the log and the metrics are told. `realm` is that of a 401's challenge.
    ///
    /// Who presented a dead secret is told so in both forms on GET, too: docker and containerd come by POST and then by GET with it, and
    /// show what the last answer says.
    pub(super) fn reply(&self, protocol: Protocol, realm: &str, presented: Presented) -> (Response, Shape) {
        let (mut shape, oauth) = self.shape();
        let dead = match presented {
            Presented::Secret => shape.status == StatusCode::UNAUTHORIZED,
            Presented::Other => false,
        };
        let is_told = matches!(self, TokenError::Denied(Denied::Secret(_)) | TokenError::Subject(Denied::Secret(_)));
        if dead && !is_told {
            shape.message = LOG_IN_AGAIN.into();
        }
        let body = match protocol {
            Protocol::Get if !dead => json!({ "errors": shape.errors() }),
            Protocol::Get | Protocol::OAuth => json!({
                "error": oauth.as_str(), "error_description": shape.message, "errors": shape.errors()
            }),
        };
        let mut response = shape.reply(body, basic_challenge(realm));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        (response, shape)
    }
}

/// The sentence of a refusal, for whoever logs in.
fn message(denied: &Denied) -> String {
    match denied {
        Denied::Anonymous => denied.to_string(),
        Denied::Secret(DeadSecret { robot: Some(robot), .. }) => {
            format!("this token is a robot's: log in as {robot} (docker login -u {robot})")
        }
        Denied::Secret(_) => LOG_IN_AGAIN.to_owned(),
        Denied::Credentials | Denied::OtherIssuer { .. } | Denied::NameTaken { .. } | Denied::Closed(_) => {
            "the account or the password is wrong".to_owned()
        }
        Denied::Workload(_) => "the workload's token was not accepted".to_owned(),
        Denied::TooMany(TooMany { wait }) => {
            format!("too many wrong passwords for this account; wait {} s", whole_seconds(*wait))
        }
        Denied::Busy { .. } => "too many requests at once; try again".to_owned(),
        Denied::Unavailable { .. } => NOT_NOW.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_that_failed_is_not_said_to_be_undecided() {
        let (shape, _) = TokenError::Signing(anyhow::anyhow!("the key")).shape();
        assert_eq!((shape.fault, shape.reason), (Fault::OursAfterwards, "signing_failed"));
    }
}
