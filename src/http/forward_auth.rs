//! Forward-auth: a proxy asks whether somebody's request may go on to the registry, or to anything else behind it.
//!
//! The answer is 200, 401, 403 or 503 (404 where the section is not configured): nginx takes every other status for a fault of
//! its own, and some proxies let it pass. Who asks has to be a configured proxy, since the original request is told in headers that anybody
//! could write.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::denied::RETRY_SOON;
use super::door::{self, API_VERSION, Invitation, Knock, NotAdmitted, is_form};
use super::error::plain_error;
use crate::app::{App, Snapshot};
use crate::authn::Identity;
use crate::authz::pattern::LabelValue;
use crate::client_address::{NoAddress, Peer};
use crate::config::{ForwardAuth, OriginalHeaders};
use crate::decision_log::{self, Asker, DecisionId, Door, Fault};
use crate::metrics::Metrics;
use crate::scope::Scope;
use crate::target::{self, Target};

/// The header that tells the account.
const ACCOUNT: &str = "x-auth-account";
/// What the headers that tell labels begin with.
const LABEL: &str = "x-auth-labels-";
/// The longest list of label values in one header, in bytes: a proxy's buffers are not much larger.
const MAX_LABELS: usize = 2 * 1024;

/// Why a request may not go on.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// The question does not come from a configured proxy.
    #[error("only configured proxies may ask here")]
    NotAProxy,
    /// The proxy does not say, or says twice, which request it asks about.
    #[error("the proxy does not name exactly one original request in {0}")]
    NoOriginal(&'static str),
    /// The client says itself who it is, in a header of ours.
    #[error("the client sends a header that only this server's answer may set")]
    ClaimsIdentity,
    /// The proxy does not say where the client is.
    #[error(transparent)]
    NoAddress(#[from] NoAddress),
    /// The original target could be read in more than one way, or is none.
    #[error(transparent)]
    Target(#[from] target::Refused),
    /// The body may hold parameters.
    #[error("a form is no body that a registry's client sends")]
    FormBody,
    /// Nothing in the table is about this path.
    #[error("nothing is allowed at this path")]
    UnknownPath,
    /// Whoever asks is not known, or may not do this.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
}

/// The outcome's name in metrics where a request may go on.
const ALLOWED: &str = "allowed";
/// All that [`Refusal::reason`] says, but for [`door::reasons`].
const REASONS: &[&str] =
    &["not_a_proxy", "no_original_request", "identity_claimed", "no_client_address", "target_refused", "unknown_path"];

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Refusal::NotAProxy
            | Refusal::NoOriginal(_)
            | Refusal::ClaimsIdentity
            | Refusal::NoAddress(_)
            | Refusal::Target(_)
            | Refusal::FormBody
            | Refusal::UnknownPath => StatusCode::FORBIDDEN,
            Refusal::NotAdmitted(cause) => match cause.status() {
                // nginx would make a 500 of it, and others might let it pass.
                StatusCode::TOO_MANY_REQUESTS => StatusCode::SERVICE_UNAVAILABLE,
                status => status,
            },
        }
    }

    /// The outcome's name in logs and metrics.
    fn reason(&self) -> &'static str {
        match self {
            Refusal::NotAProxy => "not_a_proxy",
            Refusal::NoOriginal(_) => "no_original_request",
            Refusal::ClaimsIdentity => "identity_claimed",
            Refusal::NoAddress(_) => "no_client_address",
            Refusal::Target(_) | Refusal::FormBody => "target_refused",
            Refusal::UnknownPath => "unknown_path",
            Refusal::NotAdmitted(cause) => cause.reason(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Refusal::NotAdmitted(cause) => cause.fault(),
            Refusal::NotAProxy
            | Refusal::NoOriginal(_)
            | Refusal::ClaimsIdentity
            | Refusal::NoAddress(_)
            | Refusal::Target(_)
            | Refusal::FormBody
            | Refusal::UnknownPath => Fault::Client,
        }
    }

    /// The registry's error code and a sentence, neither of which tells what the log tells.
    fn shown(&self) -> (&'static str, &'static str) {
        match self.status() {
            StatusCode::UNAUTHORIZED => ("UNAUTHORIZED", "log in with an account that may do this"),
            StatusCode::SERVICE_UNAVAILABLE => ("UNAVAILABLE", "this cannot be answered now; try again"),
            _ => ("DENIED", "this is not allowed"),
        }
    }

    /// RFC 6750, section 3.1, in the registries' use of it.
    fn token_error(&self) -> Option<&'static str> {
        match self {
            Refusal::NotAdmitted(cause) => cause.token_error(),
            _ => None,
        }
    }

    /// When to come again, in seconds, if it is not now.
    fn retry_after(&self) -> u64 {
        match self {
            Refusal::NotAdmitted(cause) => cause.retry_after(),
            _ => RETRY_SOON,
        }
    }
}

/// Begins the figures of proxies' questions.
pub(super) fn begin_figures(metrics: &Metrics) {
    metrics.expect_forward_auth_outcomes(REASONS.iter().copied().chain(door::reasons()).chain([ALLOWED]));
}

/// Answers one question of a proxy.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let snapshot = app.snapshot();
    let Some(door) = &snapshot.forward_auth else {
        return plain_error(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing at this address");
    };
    let id = DecisionId::new();
    let mut asker = Asker { door: Door::ForwardAuth, service: door.service.clone(), ..Asker::default() };
    let mut scopes = Vec::new();
    let outcome = decide(&app, &snapshot, door, peer, request.headers(), &id, &mut asker, &mut scopes).await;
    let (mut response, name) = match outcome {
        Ok(response) => (response, ALLOWED),
        Err(refusal) => {
            decision_log::refused(&id, &asker, refusal.reason(), refusal.fault(), &refusal);
            (refused(&refusal, door, &scopes, snapshot.issuer.name()), refusal.reason())
        }
    };
    app.metrics.forward_auth_answered(name);
    let headers = response.headers_mut();
    headers.insert(API_VERSION.0, API_VERSION.1);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        headers.insert("x-decision-id", value);
    }
    response
}

#[expect(
    clippy::too_many_arguments,
    reason = "each is one of the things that a decision stands on, and there is one caller"
)]
async fn decide(
    app: &App,
    snapshot: &Snapshot,
    door: &ForwardAuth,
    peer: Peer,
    headers: &HeaderMap,
    id: &DecisionId,
    asker: &mut Asker,
    scopes: &mut Vec<Scope>,
) -> Result<Response, Refusal> {
    // Before anything else is read: what anybody else says about a request is not about a request.
    if !door.proxies.include(peer) {
        return Err(Refusal::NotAProxy);
    }
    let original = Original::read(door.headers, headers)?;
    asker.request = Some(format!("{} {}", original.method, original.target));
    if headers.keys().any(names_identity) {
        return Err(Refusal::ClaimsIdentity);
    }
    asker.address = snapshot.address.client(peer, headers)?;
    let target = Target::parse(original.target)?;
    *scopes = needed(door, &target, original.method, headers)?;

    let knock = Knock { app, snapshot, id, service: &door.service, headers };
    Ok(allowed(&knock.admit(&target, scopes, asker).await?.into_identity()))
}

/// The request that the proxy asks about.
struct Original<'a> {
    method: &'a str,
    target: &'a str,
}

impl<'a> Original<'a> {
    /// Reads the one family of headers that the proxy is known to set. The other one is the client's and is not looked at.
    fn read(family: OriginalHeaders, headers: &'a HeaderMap) -> Result<Original<'a>, Refusal> {
        let (method, target) = match family {
            OriginalHeaders::Original => ("x-original-method", "x-original-uri"),
            OriginalHeaders::Forwarded => ("x-forwarded-method", "x-forwarded-uri"),
        };
        Ok(Original { method: only(headers, method)?, target: only(headers, target)? })
    }
}

/// The header's one line. Two lines mean that the client's own was passed on beside the proxy's.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Refusal> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => line.to_str().map_err(|_| Refusal::NoOriginal(name)),
        (None, _) | (Some(_), Some(_)) => Err(Refusal::NoOriginal(name)),
    }
}

/// Whether what is behind the proxy could take this header of the client's for ours. No proxy can be told to drop all labels,
/// and one that copies those of our answer lets the client's stand where the account has none. An underscore or a dot is a
/// dash to whoever reads headers as CGI does.
fn names_identity(name: &HeaderName) -> bool {
    let name = name.as_str().replace(['_', '.'], "-");
    name == ACCOUNT || name.starts_with(LABEL)
}

/// What has to be granted for the request to go on.
fn needed(door: &ForwardAuth, target: &Target, method: &str, headers: &HeaderMap) -> Result<Vec<Scope>, Refusal> {
    match target {
        Target::Outside(path) => {
            let row = door.paths.iter().find(|row| row.covers(method, path)).ok_or(Refusal::UnknownPath)?;
            Ok(vec![row.scope.clone()])
        }
        Target::Base | Target::Catalog | Target::Repository(_) => {
            if is_form(headers) {
                return Err(Refusal::FormBody);
            }
            Ok(target.scopes(method)?)
        }
    }
}

/// The 200, with who it is, for proxies that tell what is behind them.
fn allowed(identity: &Identity) -> Response {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    if let Ok(account) = HeaderValue::from_str(&visible(&identity.account)) {
        headers.insert(ACCOUNT, account);
    }
    for (label, values) in identity.labels.iter() {
        let texts: Vec<String> = values.iter().map(|value: &LabelValue| visible(value.text())).collect();
        let list = texts.join(",");
        // A label whose name no header can have, or whose values no header can hold, is left out: half of its values
        // would be another label.
        if list.len() <= MAX_LABELS
            && let Ok(name) = HeaderName::try_from(format!("{LABEL}{}", label.to_ascii_lowercase()))
            && let Ok(list) = HeaderValue::from_str(&list)
        {
            headers.insert(name, list);
        }
    }
    response
}

/// Text as visible ASCII: a percent sign, a comma (it stands between values) and everything else is percent-encoded, so
/// that no name of an account becomes a second header or a second value.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | b',' => out.push_str(&format!("%{byte:02X}")),
            _ if byte.is_ascii_graphic() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn refused(refusal: &Refusal, door: &ForwardAuth, scopes: &[Scope], issuer: &str) -> Response {
    let (code, message) = refusal.shown();
    let invitation = Invitation {
        challenge: &door.challenge,
        service: &door.service,
        issuer,
        needed: scopes,
        token_error: refusal.token_error(),
        retry_after: refusal.retry_after(),
    };
    door::refused(refusal.status(), code, message, &invitation)
}
