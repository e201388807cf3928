//! The shape of an error: what the client, the log and the metrics are told of it, at every door.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::access::Denied;
use crate::authn::attempts::TooMany;
use crate::decision_log::Fault;
use crate::secrets::Dead;

/// `Retry-After` after an outage, in seconds: by then it is noticed that a backend is back.
const AFTER_AN_OUTAGE: u64 = 2;
/// The same where too many ask at once: a little later, so that they do not stay too many.
const WHEN_QUIET: u64 = 5;

/// The message of a failure on our side. Its cause is only logged.
pub(super) const NOT_NOW: &str = "this cannot be answered now; try again";
/// The message of a 401 at the doors to a registry.
pub(super) const LOG_IN: &str = "log in with an account that may do this";
/// The message of a refusal of which the client learns no more.
pub(super) const NOT_ALLOWED: &str = "this is not allowed";
/// The message at every address that is not served.
pub(super) const NOTHING_HERE: &str = "there is nothing at this address";

/// What is told of an error. Each error type has one function `shape` that says it, variant by variant.
pub(super) struct Shape {
    pub(super) status: StatusCode,
    /// The registry's error code.
    pub(super) code: &'static str,
    /// A sentence for the client.
    pub(super) message: Cow<'static, str>,
    /// The outcome's name in logs and metrics.
    pub(super) reason: &'static str,
    /// Whether somebody here has to look into it.
    pub(super) fault: Fault,
    /// When to come again, in seconds (RFC 9110, section 10.2.3).
    pub(super) retry_after: Option<u64>,
    /// The methods that there are instead of the one that was sent (RFC 9110, section 10.2.1).
    pub(super) allow: Option<&'static str>,
    /// What is wrong with a token (RFC 6750, section 3.1), as part of a Bearer challenge.
    pub(super) token_error: Option<&'static str>,
}

impl Shape {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        message: impl Into<Cow<'static, str>>,
        reason: &'static str,
        fault: Fault,
    ) -> Shape {
        let message = message.into();
        Shape { status, code, message, reason, fault, retry_after: None, allow: None, token_error: None }
    }

    /// A 401, which asks the client to log in.
    pub(super) fn unauthorized(message: impl Into<Cow<'static, str>>, reason: &'static str, fault: Fault) -> Shape {
        Shape::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message, reason, fault)
    }

    /// A 503, after which the client may come again soon.
    pub(super) fn unavailable(reason: &'static str, fault: Fault) -> Shape {
        let shape = Shape::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", NOT_NOW, reason, fault);
        Shape { retry_after: Some(AFTER_AN_OUTAGE), ..shape }
    }

    /// The registry's form of it in JSON: a list of one error.
    pub(super) fn errors(&self) -> Value {
        errors(self.code, &self.message)
    }

    /// The reply with this body, and with the headers that the status calls for; `challenge` is that of a 401.
    pub(super) fn reply(&self, body: Value, challenge: HeaderValue) -> Response {
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// All reasons in [`denied`].
pub(super) fn denied_reasons() -> impl Iterator<Item = &'static str> {
    let own = [
        "login_needed",
        "wrong_credentials",
        "workload_refused",
        "name_taken",
        "account_closed",
        "too_many_attempts",
        "busy",
        "unavailable",
    ];
    own.into_iter().chain(Dead::ALL.into_iter().map(Dead::reason))
}

/// The shape of a refusal by [`access`](crate::access). `anonymous` is what it means at this door that nobody logged in.
///
/// An account that is closed looks like a wrong password, so that nobody learns who exists; and what may be a right
/// password is never answered with a 401, since clients throw away what is wrong.
pub(super) fn denied(denied: &Denied, anonymous: Fault) -> Shape {
    let unauthorized = |reason, fault| Shape::unauthorized(LOG_IN, reason, fault);
    match denied {
        Denied::Anonymous => unauthorized("login_needed", anonymous),
        Denied::Credentials | Denied::OtherIssuer { .. } => unauthorized("wrong_credentials", Fault::Client),
        Denied::Workload(_) => unauthorized("workload_refused", Fault::Client),
        Denied::NameTaken { .. } => unauthorized("name_taken", Fault::Client),
        Denied::Closed(_) => unauthorized("account_closed", Fault::Client),
        Denied::Secret(secret) => unauthorized(secret.dead.reason(), Fault::Client),
        Denied::TooMany(TooMany { wait }) => Shape {
            retry_after: Some(whole_seconds(*wait)),
            ..Shape::new(
                StatusCode::TOO_MANY_REQUESTS,
                "TOOMANYREQUESTS",
                "too many wrong passwords for this account; wait a while",
                "too_many_attempts",
                Fault::Client,
            )
        },
        Denied::Busy { .. } => Shape { retry_after: Some(WHEN_QUIET), ..Shape::unavailable("busy", Fault::Client) },
        Denied::Unavailable { .. } => Shape::unavailable("unavailable", Fault::Ours),
    }
}

/// Never less than the wait itself: who comes back at the second that was named is not sent away once more.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

fn errors(code: &str, message: &str) -> Value {
    json!([{ "code": code, "message": message, "detail": null }])
}

/// An error that no log line is about, in the registry's form.
pub(super) fn plain_error(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "errors": errors(code, message) }))).into_response()
}

/// The reply at every address that is not served.
pub(super) fn nothing_here() -> Response {
    plain_error(StatusCode::NOT_FOUND, "NOT_FOUND", NOTHING_HERE)
}

/// `Basic realm="…"` (RFC 9110, section 11.6.1).
pub(super) fn basic_challenge(realm: &str) -> HeaderValue {
    challenge(&format!("Basic realm={}", quoted(realm)))
}

/// A challenge as a header. A 401 without one would leave clients with nothing to do.
pub(super) fn challenge(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or(HeaderValue::from_static("Basic realm=\"dockwarden\""))
}

/// A text in quotes, as RFC 9110 (section 5.6.4) has them.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
