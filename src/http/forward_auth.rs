//! Forward-auth: a proxy asks whether somebody's request may go on to the registry, or to anything else behind it.
//!
//! The answer is 200, 401, 403 or 503 and nothing else: nginx takes every other status for a fault of its own, and some
//! proxies let it pass. Who asks has to be a configured proxy, since the original request is told in headers that anybody
//! could write.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::OffsetDateTime;

use super::client_address::{NoAddress, Peer};
use super::credentials::{self, Malformed};
use super::error::{plain_error, quoted};
use crate::access::{Decision, Denied, Grant};
use crate::app::{App, Snapshot};
use crate::authn::{Credentials, Identity};
use crate::authz::pattern::LabelValue;
use crate::config::{Challenge, ForwardAuth, OriginalHeaders};
use crate::decision_log::{self, Asker, DecisionId, Door, Fault};
use crate::scope::{Scope, words};
use crate::target::{self, Target};
use crate::token::{Claims, NotOurs};

/// What the registry's protocol is called in its own header; old clients look for it before they log in.
const API_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));
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
    /// The credentials could not be read at all.
    #[error(transparent)]
    MalformedCredentials(#[from] Malformed),
    /// Nothing was presented where somebody has to be.
    #[error("an account is needed: log in")]
    LoginNeeded,
    /// The token is none of ours, or out of its time.
    #[error(transparent)]
    Token(#[from] NotOurs),
    /// The token is good, and allows something else.
    #[error("the token does not allow this")]
    TokenAllowsLess,
    /// Who, or what they may do, was not to be found out, or was refused.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The account is right and may not do this.
    #[error("the account may not do this")]
    NotGranted,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Refusal::NotAProxy
            | Refusal::NoOriginal(_)
            | Refusal::ClaimsIdentity
            | Refusal::NoAddress(_)
            | Refusal::Target(_)
            | Refusal::FormBody
            | Refusal::UnknownPath
            | Refusal::NotGranted => StatusCode::FORBIDDEN,
            Refusal::MalformedCredentials(_)
            | Refusal::LoginNeeded
            | Refusal::Token(_)
            | Refusal::TokenAllowsLess
            | Refusal::Denied(Denied::Anonymous | Denied::Credentials | Denied::Closed(_)) => StatusCode::UNAUTHORIZED,
            Refusal::Denied(Denied::Unavailable { .. }) => StatusCode::SERVICE_UNAVAILABLE,
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
            Refusal::MalformedCredentials(_) => "malformed_credentials",
            Refusal::LoginNeeded | Refusal::Denied(Denied::Anonymous) => "login_needed",
            Refusal::Token(_) => "invalid_token",
            Refusal::TokenAllowsLess => "insufficient_scope",
            Refusal::Denied(Denied::Credentials) => "wrong_credentials",
            Refusal::Denied(Denied::Closed(_)) => "account_closed",
            Refusal::Denied(Denied::Unavailable { .. }) => "unavailable",
            Refusal::NotGranted => "not_granted",
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
            Refusal::Token(_) => Some("invalid_token"),
            Refusal::TokenAllowsLess => Some("insufficient_scope"),
            _ => None,
        }
    }
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
        Ok(response) => (response, "allowed"),
        Err(refusal) => {
            let fault = match refusal {
                Refusal::Denied(Denied::Unavailable { .. }) => Fault::Ours,
                _ => Fault::Client,
            };
            decision_log::refused(&id, &asker, refusal.reason(), fault, &refusal);
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

    let now = OffsetDateTime::now_utc();
    if let Some(token) = bearer(headers) {
        let claims = snapshot.issuer.verify(token, &door.service, now)?;
        asker.account.clone_from(&claims.sub);
        if !scopes.iter().all(|scope| allows(&claims, scope)) {
            return Err(Refusal::TokenAllowsLess);
        }
        decision_log::allowed_by_token(id, asker, snapshot, &claims.jti, scopes);
        // A token carries no labels, so none are told.
        return Ok(allowed(&Identity { account: claims.sub, ..Identity::default() }));
    }
    let who = credentials::of_header(headers)?;
    asker.account = who.account().to_owned();
    match (&target, &who) {
        // Clients learn here whether and how to log in. Without this 401 they would never send what they have, and
        // `docker login` would believe any password.
        (Target::Base, Credentials::Anonymous) => return Err(Refusal::LoginNeeded),
        (Target::Base | Target::Catalog | Target::Repository(_) | Target::Outside(_), _) => {}
    }
    let identity = snapshot.access.identify(&who).await?;
    asker.account.clone_from(&identity.account);
    let deciding = Instant::now();
    let decision = snapshot.access.decide(&identity, asker.address, &door.service, scopes.clone(), now).await?;
    app.metrics.decided(deciding.elapsed());
    decision_log::decided(id, asker, snapshot, &decision, None);
    match (grants_all(&decision), who) {
        (true, _) => Ok(allowed(&identity)),
        (false, Credentials::Password { .. }) => Err(Refusal::NotGranted),
        // An account may be allowed what nobody is.
        (false, Credentials::Anonymous) => Err(Refusal::LoginNeeded),
    }
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
            // The registry reads `from` and `mount` from a form's body too, which no proxy shows: a blob could be
            // mounted from a repository that nobody decided on.
            if is_form(headers) {
                return Err(Refusal::FormBody);
            }
            Ok(target.scopes(method)?)
        }
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|line| {
        let text = String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase();
        text.contains("x-www-form-urlencoded") || text.contains("form-data")
    })
}

/// The token in the Authorization header, if that is what it holds.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let (scheme, token) = line.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a token names every action of a scope, as the registry compares them: word by word.
fn allows(claims: &Claims, scope: &Scope) -> bool {
    let resource = &scope.resource;
    scope.actions.iter().all(|action| {
        claims
            .access
            .iter()
            .filter(|entry| entry.kind == resource.kind() && entry.name == resource.name())
            .any(|entry| entry.actions.iter().any(|own| own == action.as_str()))
    })
}

fn grants_all(decision: &Decision) -> bool {
    decision.grants().iter().all(|grant: &Grant| !grant.granted.is_empty() && grant.withheld().is_empty())
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
    let body = Json(json!({ "errors": [{ "code": code, "message": message, "detail": null }] }));
    let mut response = (refusal.status(), body).into_response();
    let headers = response.headers_mut();
    match refusal.status() {
        StatusCode::UNAUTHORIZED => {
            let text = challenge(refusal, door, scopes, issuer);
            let basic = HeaderValue::from_static("Basic realm=\"dockwarden\"");
            // A 401 without a challenge would leave clients with nothing to do.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_bytes(text.as_bytes()).unwrap_or(basic));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        _ => {}
    }
    response
}

/// RFC 9110 section 11.6.1 for Basic; the distribution project's token protocol for Bearer.
fn challenge(refusal: &Refusal, door: &ForwardAuth, scopes: &[Scope], issuer: &str) -> String {
    match &door.challenge {
        Challenge::Basic => format!("Basic realm={}", quoted(issuer)),
        Challenge::Bearer { realm } => {
            let mut text = format!("Bearer realm={},service={}", quoted(realm), quoted(&door.service));
            if !scopes.is_empty() {
                let wanted: Vec<String> = scopes
                    .iter()
                    .map(|scope| {
                        format!("{}:{}:{}", scope.resource.kind(), scope.resource.name(), words(&scope.actions))
                    })
                    .collect();
                text.push_str(&format!(",scope={}", quoted(&wanted.join(" "))));
            }
            if let Some(error) = refusal.token_error() {
                text.push_str(&format!(",error=\"{error}\""));
            }
            text
        }
    }
}
