//! The token endpoint: reads the request, finds out who asks, decides, and signs.
//!
//! GET is the distribution project's token protocol, POST its OAuth 2 form; they differ only in how the parameters are
//! read. A refused scope is never an HTTP error: the token then simply allows less.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, request::Parts};
use axum::response::{IntoResponse as _, Response};
use policy::scope::{self, RequestedScopes};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::{self, Protocol, TokenError};
use super::exchange;
use super::refresh::{self, Refreshable};
use super::shape::denied_reasons;
use super::visit::Visit;
use super::{body, credentials};
use crate::access::{DecisionOutcome, Denied};
use crate::app::App;
use crate::authn::Credentials;
use crate::client_address::Peer;
use crate::decision_log::{Asker, LoggedToken};
use crate::metrics::Metrics;
use crate::mint::Made;
use crate::secret::lasting::LastingSecret;
use crate::turns::Busy;

/// The longest query of a request, in bytes. A hundred scopes take half of it.
const MAX_QUERY: usize = 32 * 1024;
/// The longest form, in bytes.
const MAX_FORM: usize = 64 * 1024;
/// The longest service name, in bytes: it becomes part of the token.
const MAX_SERVICE: usize = 255;
/// The shortest life that a reply names, in seconds. Clients read a shorter one as 60 anyway, and registries take a token
/// for 60 seconds after its end.
const LEAST_EXPIRES_IN: i64 = 60;

/// The reply with a token, in the form of both protocols.
#[derive(Serialize)]
struct TokenReply<'a> {
    token: &'a str,
    access_token: &'a str,
    expires_in: i64,
    issued_at: String,
    /// A secret that the client may present later in place of the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
    /// RFC 6749, section 5.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
}

/// Begins the metrics of token requests.
pub(super) fn begin_metrics(metrics: &Metrics) {
    let decided = DecisionOutcome::ALL.map(DecisionOutcome::as_str);
    let refused = error::REASONS.iter().copied().chain(denied_reasons());
    metrics.expect_refresh_outcomes(Refreshable::ALL.map(Refreshable::as_str));
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
    let mut visit = Visit::new(&app, &snapshot, peer, Asker::default());
    let protocol = Protocol::from_method(request.method());
    let outcome = match protocol {
        Some(protocol) => respond(&mut visit, protocol, request).await,
        None => Err(TokenError::Method),
    };
    let (response, name) = outcome.unwrap_or_else(|error| {
        let (response, shape) = error.reply(protocol.unwrap_or(Protocol::Get), snapshot.issuer.name(), visit.presented);
        visit.log_refusal(&shape, &error);
        (response, shape.reason)
    });
    app.metrics.answered(name, started.elapsed());
    visit.with_id(response)
}

/// The reply with a token, and the outcome's name in the metrics.
async fn respond(
    visit: &mut Visit<'_>,
    protocol: Protocol,
    request: Request,
) -> Result<(Response, &'static str), TokenError> {
    let (parts, body) = request.into_parts();
    visit.find_client(&parts.headers)?;
    let in_header = credentials::from_header(&parts.headers)?;
    let asked = match protocol {
        Protocol::Get => Parameters::from_query(&parts)?,
        Protocol::OAuth => {
            check_form(&parts.headers)?;
            let keeps = visit.snapshot.access.lasting().is_some();
            // The header's bytes are part of the connection's buffer, and would keep it from being used for the form: thousands
            // of forms that never end would take twice the memory.
            drop(parts);
            Parameters::from_form(body, &in_header, keeps).await?
        }
    };
    visit.asker.scopes_ignored = asked.requested.ignored;
    let who = asked.credentials(in_header, protocol)?;
    visit.presents(&who);
    let exchanged = asked.grant(protocol);
    visit.asker.service = asked.service.clone().unwrap_or_default();
    // A client that names none means the only one.
    visit.asker.service = match asked.service {
        Some(service) if visit.snapshot.declares(&service) => service,
        named => audience(&visit.snapshot.services, named).map_err(|error| match (error, exchanged) {
            (TokenError::UnknownService, Grant::Exchange) => TokenError::UnknownTarget,
            (error, Grant::Exchange | Grant::Token) => error,
        })?,
    };

    #[expect(clippy::disallowed_methods, reason = "the moment of this request")]
    let now = OffsetDateTime::now_utc();
    let decided = visit.decide(&who, asked.requested.scopes, now).await;
    let (identity, decision) = match exchanged {
        Grant::Token => decided?,
        Grant::Exchange => {
            let (identity, decision) = decided.map_err(TokenError::Subject)?;
            let response = exchange::reply(visit, &identity, now).await?;
            visit.log_decision(&decision, None);
            return Ok((response, decision.outcome().as_str()));
        }
    };
    let minted = visit.snapshot.mint.token(&decision, &visit.asker.service, now).await.map_err(unsigned)?;

    let reused = match minted.made {
        Made::Now => false,
        Made::Before => true,
    };
    let logged = LoggedToken { id: &minted.id, reused };
    visit.log_decision(&decision, Some(logged));
    let refresh_token = match asked.offline {
        Offline::Asked => refresh::token_for(visit, &identity, &asked.client, now).await,
        Offline::NotAsked => None,
    };
    let issued_at = now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339);
    let reply = TokenReply {
        token: &minted.token,
        access_token: &minted.token,
        expires_in: minted.lives_for.max(LEAST_EXPIRES_IN),
        refresh_token: refresh_token.as_ref().map(LastingSecret::reveal),
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

/// Why there is no token although everything was decided.
fn unsigned(cause: anyhow::Error) -> TokenError {
    match cause.is::<Busy>() {
        true => Denied::Busy { backend: "token", cause }.into(),
        false => TokenError::Signing(cause),
    }
}

/// The audience of the token: what was asked for, if tokens are made for it, or the only one that there is.
fn audience(known: &[String], asked: Option<String>) -> Result<String, TokenError> {
    match (asked, known) {
        (Some(asked), []) if asked.len() > MAX_SERVICE => Err(TokenError::UnknownService),
        (Some(asked), []) => Ok(asked),
        (Some(asked), known) if known.contains(&asked) => Ok(asked),
        (Some(_), _) => Err(TokenError::UnknownService),
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(TokenError::BadRequest("name the registry's service: service=…")),
    }
}

/// Checks that a form is announced.
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

/// What the client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grant {
    /// A token for a registry.
    Token,
    /// A session for a workload's token.
    Exchange,
}

/// Whether the client asks for a refresh token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Offline {
    Asked,
    #[default]
    NotAsked,
}

/// The parameters of a token request, of either protocol. `account` is not read: the account is the one that logs in, whatever a
/// parameter says.
#[derive(Default)]
struct Parameters {
    service: Option<String>,
    requested: RequestedScopes,
    grant_type: Option<String>,
    username: Option<String>,
    password: Option<String>,
    refresh_token: Option<String>,
    offline: Offline,
    exchange: exchange::Asked,
    /// What the client calls itself.
    client: String,
}

impl Parameters {
    fn from_query(parts: &Parts) -> Result<Parameters, TokenError> {
        let query = parts.uri.query().unwrap_or_default();
        if query.len() > MAX_QUERY {
            return Err(TokenError::AddressTooLong);
        }
        Parameters::parse(query.as_bytes(), "offline_token", "true")
    }

    /// `keeps` says whether there are secrets at all.
    async fn from_form(body: axum::body::Body, in_header: &Credentials, keeps: bool) -> Result<Parameters, TokenError> {
        let form = body::gather(body, MAX_FORM).await?;
        let asked = Parameters::parse(&form, "access_type", "offline")?;
        match (asked.grant_type.as_deref(), in_header) {
            (Some("password"), _) => Ok(asked),
            // Where there are none, one of ours is dead, and anything else is what it was before there were any.
            (Some("refresh_token"), _) if keeps || asked.refreshes_with_ours() => Ok(asked),
            (Some(exchange::GRANT), _) if keeps => asked.for_exchange(),
            (None, Credentials::Password { .. } | Credentials::Secret { .. } | Credentials::Workload { .. }) => {
                Err(TokenError::NoGrant)
            }
            (Some(_), _) | (None, Credentials::Anonymous) => Err(TokenError::UnsupportedGrant),
        }
    }

    /// The parameters of a token exchange, which names the service by `audience`, or as all other requests do.
    fn for_exchange(mut self) -> Result<Parameters, TokenError> {
        if !self.requested.scopes.is_empty() || self.requested.ignored > 0 {
            return Err(TokenError::BadRequest("a session may do what its account may; leave out scope"));
        }
        match (&self.service, self.exchange.audience.take().filter(|audience| !audience.is_empty())) {
            (Some(service), Some(audience)) if *service != audience => {
                Err(TokenError::BadRequest("service and audience are different; name one"))
            }
            (None, Some(audience)) => Ok(Parameters { service: Some(audience), ..self }),
            (Some(_) | None, _) => Ok(self),
        }
    }

    fn grant(&self, protocol: Protocol) -> Grant {
        match (protocol, self.grant_type.as_deref()) {
            (Protocol::OAuth, Some(exchange::GRANT)) => Grant::Exchange,
            // A query says nothing of grants.
            (Protocol::OAuth, Some(_) | None) | (Protocol::Get, _) => Grant::Token,
        }
    }

    fn refreshes_with_ours(&self) -> bool {
        self.refresh_token.as_deref().is_some_and(|token| LastingSecret::read(token).is_ours())
    }

    /// Reads a query or a form, in which this parameter with this value asks for a refresh token.
    fn parse(text: &[u8], offline: &str, yes: &str) -> Result<Parameters, TokenError> {
        let mut asked = Parameters::default();
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
                "refresh_token" => &mut asked.refresh_token,
                "client_id" => {
                    asked.client = value.into_owned();
                    continue;
                }
                name if name == offline => {
                    asked.offline = if value == yes { Offline::Asked } else { Offline::NotAsked };
                    continue;
                }
                name => match asked.exchange.slot(name) {
                    Some(slot) => slot,
                    None => continue,
                },
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
                let in_form = match (self.grant_type.as_deref(), &self.refresh_token) {
                    (Some(exchange::GRANT), _) => self.exchange.credentials()?,
                    (Some("refresh_token"), Some(token)) => credentials::from_refresh_token(token)?,
                    (Some("refresh_token"), None) => {
                        return Err(TokenError::BadRequest("grant_type=refresh_token needs refresh_token"));
                    }
                    (Some(_) | None, _) => {
                        let (Some(username), Some(password)) = (&self.username, &self.password) else {
                            return Err(TokenError::BadRequest("grant_type=password needs username and password"));
                        };
                        credentials::from_pair(username, password)?
                    }
                };
                match in_header {
                    Credentials::Anonymous => Ok(in_form),
                    same if same == in_form => Ok(in_form),
                    Credentials::Password { .. } | Credentials::Secret { .. } | Credentials::Workload { .. } => {
                        Err(TokenError::BadRequest("the form and the Authorization header name different credentials"))
                    }
                }
            }
        }
    }
}
