//! The token endpoint: read the question, find out who asks, decide, sign.
//!
//! GET is the distribution project's token protocol, POST its OAuth 2 form; they differ only in how the parameters are
//! read. A refused scope is never an HTTP error: the token then simply allows less.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, request::Parts};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::{self, Protocol, TokenError};
use super::{credentials, denied};
use crate::access::{DecisionOutcome, Denied};
use crate::app::{App, Snapshot};
use crate::authn::Credentials;
use crate::client_address::Peer;
use crate::decision_log::{self, Asker, DecisionId};
use crate::metrics::Metrics;
use crate::scope::{self, Requested};
use crate::turns::Busy;

/// The longest query of a request, in bytes. A hundred scopes take half of it.
const MAX_QUERY: usize = 32 * 1024;
/// The longest form, in bytes.
const MAX_FORM: usize = 64 * 1024;
/// The longest service name, in bytes: it becomes part of the token.
const MAX_SERVICE: usize = 255;
/// How long a form may take to arrive.
const FORM_PATIENCE: Duration = Duration::from_secs(10);
/// The least life that a reply names, in seconds. Clients read a shorter one as 60 anyway, and registries take a token
/// for 60 seconds after its end.
const LEAST_EXPIRES_IN: i64 = 60;

/// A successful reply, as both protocols want it.
#[derive(Serialize)]
struct Reply<'a> {
    token: &'a str,
    access_token: &'a str,
    expires_in: i64,
    issued_at: String,
    /// RFC 6749, section 5.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
}

/// Begins the figures of token requests.
pub(super) fn begin_figures(metrics: &Metrics) {
    let decided = DecisionOutcome::ALL.map(DecisionOutcome::as_str);
    let refused = error::REASONS.iter().chain(denied::REASONS).copied();
    metrics.expect_token_outcomes(decided.into_iter().chain(refused));
}

/// Answers one request for a token.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let started = crate::clock::now();
    let snapshot = app.snapshot();
    let id = DecisionId::new();
    let protocol = Protocol::of(request.method());
    let mut asker = Asker::default();
    let outcome = match protocol {
        Some(protocol) => respond(&app, &snapshot, peer, protocol, request, &id, &mut asker).await,
        None => Err(TokenError::Method),
    };
    let (mut response, name) = match outcome {
        Ok((response, name)) => (response, name),
        Err(error) => {
            decision_log::refused(&id, &asker, error.reason(), error.fault(), &error);
            let reason = error.reason();
            (error.into_response(protocol.unwrap_or(Protocol::Get), snapshot.issuer.name()), reason)
        }
    };
    app.metrics.answered(name, started.elapsed());
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert("x-decision-id", value);
    }
    response
}

async fn respond(
    app: &App,
    snapshot: &Arc<Snapshot>,
    peer: Peer,
    protocol: Protocol,
    request: Request,
    id: &DecisionId,
    asker: &mut Asker,
) -> Result<(Response, &'static str), TokenError> {
    let (parts, body) = request.into_parts();
    asker.address = snapshot.address.client(peer, &parts.headers)?;
    let in_header = credentials::of_header(&parts.headers)?;
    let asked = match protocol {
        Protocol::Get => Asked::of_query(&parts)?,
        Protocol::OAuth => {
            check_form(&parts.headers)?;
            // The header's bytes are part of the connection's buffer, and would keep it from being used for the form: thousands
            // of forms that never end would take twice the memory.
            drop(parts);
            Asked::of_form(body, &in_header).await?
        }
    };
    asker.scopes_ignored = asked.requested.ignored;
    let who = asked.credentials(in_header, protocol)?;
    asker.account = who.account().to_owned();
    asker.service = asked.service.clone().unwrap_or_default();
    let service = snapshot.audience(asked.service.as_deref())?;
    // Who names none means the only one.
    service.clone_into(&mut asker.service);

    #[expect(clippy::disallowed_methods, reason = "the moment of this request")]
    let now = OffsetDateTime::now_utc();
    let identity = snapshot.access.identify(&who, asker.address, now).await?;
    asker.account.clone_from(&identity.account);
    let deciding = crate::clock::now();
    let decision = snapshot.access.decide(&identity, asker.address, service, asked.requested.scopes, now).await?;
    app.metrics.decided(deciding.elapsed());
    let minted = snapshot.mint.token(&decision, service, now).await.map_err(unsigned)?;

    decision_log::decided(id, asker, snapshot, &decision, Some(&minted));
    let issued_at = now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339);
    let reply = Reply {
        token: &minted.token,
        access_token: &minted.token,
        expires_in: minted.lives_for.max(LEAST_EXPIRES_IN),
        issued_at: issued_at.map_err(|error| TokenError::Signing(error.into()))?,
        token_type: match protocol {
            Protocol::Get => None,
            Protocol::OAuth => Some("Bearer"),
        },
    };
    let mut response = Json(reply).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((response, decision.outcome().as_str()))
}

/// Why there is no token although all is decided.
fn unsigned(cause: anyhow::Error) -> TokenError {
    match cause.is::<Busy>() {
        true => Denied::Busy { backend: "token", cause }.into(),
        false => TokenError::Signing(cause),
    }
}

impl Snapshot {
    /// The audience that a token is to be for.
    fn audience<'a>(&'a self, asked: Option<&'a str>) -> Result<&'a str, TokenError> {
        match (asked, self.services.as_slice()) {
            (Some(asked), []) if asked.len() > MAX_SERVICE => Err(TokenError::UnknownService),
            (Some(asked), []) => Ok(asked),
            (Some(asked), known) => {
                known.iter().find(|service| *service == asked).map(String::as_str).ok_or(TokenError::UnknownService)
            }
            (None, [only]) => Ok(only),
            (None, _) => Err(TokenError::BadRequest("name the registry's service: service=…")),
        }
    }
}

/// Looks whether a form is announced.
fn check_form(headers: &HeaderMap) -> Result<(), TokenError> {
    let is_form = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
        let media_type = value.split(';').next().unwrap_or_default();
        media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
    });
    match is_form {
        true => Ok(()),
        false => Err(TokenError::NotAForm),
    }
}

/// A whole form. Byte after byte into one place: pieces that were kept apart would take forty times the length of a form that
/// comes in pieces of one byte.
async fn gather(mut body: axum::body::Body) -> Result<Vec<u8>, TokenError> {
    // A client that asks before it sends (`Expect: 100-continue`) is to learn it then.
    if body.size_hint().lower() > MAX_FORM as u64 {
        return Err(TokenError::BodyTooLong);
    }
    let mut form = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| TokenError::BadRequest("the form ended too early"))?;
        let Ok(piece) = frame.into_data() else { continue };
        if form.len() + piece.len() > MAX_FORM {
            return Err(TokenError::BodyTooLong);
        }
        form.extend_from_slice(&piece);
    }
    Ok(form)
}

/// A request's parameters, of either protocol. `account`, `client_id` and `offline_token` are read by nothing: the
/// account is who logs in, whatever a parameter says.
#[derive(Default)]
struct Asked {
    service: Option<String>,
    requested: Requested,
    grant_type: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl Asked {
    fn of_query(parts: &Parts) -> Result<Asked, TokenError> {
        let query = parts.uri.query().unwrap_or_default();
        if query.len() > MAX_QUERY {
            return Err(TokenError::AddressTooLong);
        }
        Asked::read(query.as_bytes())
    }

    async fn of_form(body: axum::body::Body, in_header: &Credentials) -> Result<Asked, TokenError> {
        let arrived = tokio::time::timeout(FORM_PATIENCE, gather(body)).await;
        let form = arrived.map_err(|_| TokenError::TooSlow)??;
        let asked = Asked::read(&form)?;
        match (asked.grant_type.as_deref(), in_header) {
            (Some("password"), _) => Ok(asked),
            (None, Credentials::Password { .. }) => Err(TokenError::NoGrant),
            (Some(_), _) | (None, Credentials::Anonymous) => Err(TokenError::UnsupportedGrant),
        }
    }

    fn read(text: &[u8]) -> Result<Asked, TokenError> {
        let mut asked = Asked::default();
        let mut scopes: Vec<Cow<'_, str>> = Vec::new();
        for (name, value) in form_urlencoded::parse(text) {
            let slot = match name.as_ref() {
                "scope" => {
                    scopes.push(value);
                    continue;
                }
                "service" => &mut asked.service,
                "grant_type" => &mut asked.grant_type,
                "username" => &mut asked.username,
                "password" => &mut asked.password,
                _ => continue,
            };
            // Two readers of a doubled parameter could each see another one.
            if slot.as_ref().is_some_and(|known| *known != value) {
                return Err(TokenError::BadRequest("a parameter is given twice, with different values"));
            }
            *slot = Some(value.into_owned());
        }
        asked.service = asked.service.filter(|service| !service.is_empty());
        asked.requested = scope::parse_all(scopes);
        Ok(asked)
    }

    /// Who is presented: by header on GET; on POST by the form, which a header may repeat but not contradict.
    fn credentials(&self, in_header: Credentials, protocol: Protocol) -> Result<Credentials, TokenError> {
        match protocol {
            Protocol::Get => Ok(in_header),
            Protocol::OAuth => {
                let (Some(username), Some(password)) = (&self.username, &self.password) else {
                    return Err(TokenError::BadRequest("grant_type=password needs username and password"));
                };
                let in_form = credentials::of_pair(username, password)?;
                match in_header {
                    Credentials::Anonymous => Ok(in_form),
                    same if same == in_form => Ok(in_form),
                    Credentials::Password { .. } => {
                        Err(TokenError::BadRequest("the form and the Authorization header name different credentials"))
                    }
                }
            }
        }
    }
}
