//! The gateway: registries that know nothing of our tokens, served under our own accounts, rules and log.
//!
//! The path of one request: whose it is and whether it may (`Knock::admit`, the same decision as everywhere), which
//! registry it is for (`route.rs`), what of it goes there (`headers.rs`), with which credentials (`upstream.rs` and what
//! it names), and both bodies as they come (`body.rs`). `transfer.rs` writes the line at the end.

mod body;
mod catalog;
mod connect;
mod ecr;
mod headers;
mod names;
mod places;
mod query;
mod refusal;
mod renewing;
mod route;
mod token_service;
mod transfer;
mod upstream;
mod via;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL, USER_AGENT};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use self::body::{ClientBody, NotEmpty, Relay, no_body};
use self::headers::{Inside, Outside};
use self::places::Places;
use self::refusal::{AT_AN_UPSTREAM, BEFORE_AN_UPSTREAM, Refusal};
use self::transfer::{End, OUTCOMES, Told, Transfer, operation};
use self::upstream::{Failure, Onward, Upstream};
use self::via::Pseudonym;
use crate::activity::Activity;
use crate::app::{App, Snapshot};
use crate::client_address::{AddressSource, Peer};
use crate::config::{self, Challenge, Writes};
use crate::decision_log::{self, Asker, DecisionId, Door};
use crate::http::door::{self, API_VERSION, Invitation, Knock, bearer, is_form, refused};
use crate::http::plain_error;
use crate::metrics::{Direction, Metrics};
use crate::reach::{REACH_WITHIN, Reached};
use crate::scope::Scope;
use crate::target::{Target, Visit};

/// The registries behind the gateway, ready for use.
pub struct Gateway {
    service: String,
    challenge: Challenge,
    upstreams: Vec<Arc<Upstream>>,
    places: Places,
    pseudonym: Pseudonym,
}

impl Gateway {
    /// Makes the upstreams ready. Those whose settings a snapshot before had too keep their connections and tokens.
    ///
    /// # Errors
    /// Certificates or an account that cannot be used. An upstream that does not answer is no error here.
    pub fn open(settings: config::Gateway, before: Option<&Gateway>) -> anyhow::Result<Gateway> {
        let held = before.map(|before| before.upstreams.as_slice()).unwrap_or_default();
        let mut upstreams = Vec::with_capacity(settings.upstreams.len());
        for settings in settings.upstreams {
            let kept = held.iter().find(|upstream| upstream.settings == settings);
            upstreams.push(match kept {
                Some(kept) => Arc::clone(kept),
                None => Arc::new(Upstream::open(settings)?),
            });
        }
        let places = before.map_or_else(Places::new, |before| before.places.clone());
        let pseudonym = before.map_or_else(Pseudonym::new, |before| before.pseudonym.clone());
        Ok(Gateway { service: settings.service, challenge: settings.challenge, upstreams, places, pseudonym })
    }

    /// Begins the figures of requests to these upstreams, and of those to none.
    pub(crate) fn begin_figures(&self, metrics: &Metrics) {
        let at_one = || AT_AN_UPSTREAM.iter().copied();
        metrics.expect_gateway_outcomes(
            "",
            BEFORE_AN_UPSTREAM.iter().copied().chain(at_one()).chain(door::reasons()).chain(["2xx"]),
        );
        for upstream in &self.upstreams {
            metrics.expect_gateway_outcomes(&upstream.settings.name, at_one().chain(OUTCOMES.iter().copied()));
        }
    }

    /// Asks each upstream, all at the same time, something that changes nothing. None waits longer than half a minute.
    pub async fn reach(&self) -> Vec<Reached> {
        let mut asked = Vec::with_capacity(self.upstreams.len());
        for upstream in &self.upstreams {
            let upstream = Arc::clone(upstream);
            asked.push(tokio::spawn(tokio::time::timeout(REACH_WITHIN, async move { upstream.reach().await })));
        }
        let mut reached = Vec::with_capacity(asked.len());
        for (asked, upstream) in asked.into_iter().zip(&self.upstreams) {
            let found = match asked.await {
                Ok(Ok(found)) => found,
                Ok(Err(_)) => {
                    Err(anyhow::anyhow!("{}: no answer within {} s", upstream.settings.name, REACH_WITHIN.as_secs()))
                }
                Err(died) => Err(died.into()),
            };
            reached.push(Reached { name: "gateway", found });
        }
        reached
    }
}

/// What is known of a request on its way.
struct Passage<'a> {
    app: &'a App,
    snapshot: &'a Snapshot,
    gateway: &'a Gateway,
    peer: Peer,
    id: DecisionId,
    asker: Asker,
    /// What clients are invited to ask a token for.
    needed: Vec<Scope>,
    /// The upstream's name, once one was found.
    upstream: String,
}

/// Answers one request below `/v2/`.
pub(crate) async fn answer(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let snapshot = app.snapshot();
    let Some(gateway) = &snapshot.gateway else {
        return plain_error(StatusCode::NOT_FOUND, "NOT_FOUND", "there is nothing at this address");
    };
    let asker = Asker {
        door: Door::Gateway,
        request: Some(format!("{} {}", request.method(), request.uri())),
        service: gateway.service.clone(),
        ..Asker::default()
    };
    let mut passage = Passage {
        app: &app,
        snapshot: &snapshot,
        gateway,
        peer,
        id: DecisionId::new(),
        asker,
        needed: Vec::new(),
        upstream: String::new(),
    };
    let mut response = match passage.go(request).await {
        Ok(response) => response,
        Err(refusal) => passage.refuse(&refusal),
    };
    let headers = response.headers_mut();
    headers.entry(API_VERSION.0).or_insert(API_VERSION.1);
    if let Ok(value) = HeaderValue::from_str(passage.id.as_str()) {
        headers.insert("x-decision-id", value);
    }
    response
}

impl Passage<'_> {
    async fn go(&mut self, request: Request) -> Result<Response, Refusal> {
        let (parts, body) = request.into_parts();
        if is_too_old(&parts.headers) {
            return Err(Refusal::TooOld);
        }
        self.asker.address = self.snapshot.address.client(self.peer, &parts.headers)?;
        if self.gateway.pseudonym.is_in(&parts.headers) {
            return Err(Refusal::Loop);
        }
        let host = route::host_of(parts.version, &parts.uri, &parts.headers)?;
        let raw = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("*"));
        let target = Target::parse(raw.as_str())?;
        self.needed = target.scopes(parts.method.as_str())?;
        if is_form(&parts.headers) {
            return Err(Refusal::FormBody);
        }
        let upstreams = route::of_host(&self.gateway.upstreams, &host, |upstream| &upstream.settings);
        // All of one host have the same, or none.
        if let Some(own) = upstreams.first().and_then(|upstream| upstream.settings.service.as_ref()) {
            self.asker.service.clone_from(own);
        }
        let service = self.asker.service.clone();
        let knock =
            Knock { app: self.app, snapshot: self.snapshot, id: &self.id, service: &service, headers: &parts.headers };
        match &target {
            Target::Base => {
                knock.admit(&target, &self.needed, &mut self.asker).await?;
                self.app.metrics.gateway_answered("", "2xx");
                Ok(no_store(Json(json!({})).into_response()))
            }
            Target::Catalog => {
                // Everybody may see the names of what they may pull. A token says nothing about that, so that it has to
                // allow the catalog.
                let needed = if bearer(&parts.headers).is_some() { self.needed.as_slice() } else { &[] };
                let identity = knock.admit(&target, needed, &mut self.asker).await?.into_identity();
                let viewer = catalog::Viewer {
                    access: &self.snapshot.access,
                    identity: &identity,
                    address: self.asker.address,
                    service: &service,
                    id: &self.id,
                    places: &self.gateway.places,
                    via: self.gateway.pseudonym.onward(parts.version, &parts.headers),
                };
                if !matches!(parts.method, Method::GET | Method::HEAD) {
                    return Err(Refusal::ReadOnly);
                }
                let query = raw.query().unwrap_or_default();
                let response = catalog::answer(&upstreams, &viewer, query, &self.needed).await?;
                self.app.metrics.gateway_answered("", "2xx");
                Ok(no_store(response))
            }
            Target::Repository(visit) => {
                knock.admit(&target, &self.needed, &mut self.asker).await?;
                let name = visit.repository.name();
                let found = route::of_repository(&upstreams, name, |upstream| &upstream.settings);
                let upstream = Arc::clone(found.ok_or(Refusal::NoUpstream)?);
                self.upstream.clone_from(&upstream.settings.name);
                match (upstream.settings.writes, &parts.method) {
                    (Writes::Passed, _) | (Writes::Refused, &Method::GET | &Method::HEAD) => {}
                    (Writes::Refused, _) => return Err(Refusal::ReadOnly),
                }
                let target = self.onward_target(&upstreams, &upstream, visit, &parts.method, raw)?;
                let body = match parts.method {
                    Method::GET | Method::HEAD | Method::DELETE => {
                        no_body(body, upstream.settings.idle_for).await.map_err(|cause| match cause {
                            NotEmpty::Something => Refusal::Body,
                            NotEmpty::Broken => upstream.failed(Failure::ClientBroke),
                            NotEmpty::Stalled => upstream.failed(Failure::ClientStalls),
                        })?
                    }
                    _ => body,
                };
                self.forward(&upstream, visit, target, &host, parts, body).await
            }
            Target::Outside(_) => Err(Refusal::Target(crate::target::Refused::NoRoute)),
        }
    }

    /// The target as it goes on: the path byte for byte as it was decided on, and of the query what `query.rs` lets on, but
    /// for a mount that the upstream cannot be trusted with. Without its query, that begins an upload instead, as when there
    /// is nothing to mount; clients know that.
    ///
    /// An upstream knows us and not the client. Where `from` is another upstream's repository, it would look for it among
    /// its own; without `from`, some would look for the blob in all that is there, whoever may see it.
    fn onward_target(
        &self,
        upstreams: &[&Arc<Upstream>],
        upstream: &Arc<Upstream>,
        visit: &Visit,
        method: &Method,
        raw: PathAndQuery,
    ) -> Result<PathAndQuery, Refusal> {
        let Some(query) = raw.query() else { return Ok(raw) };
        let onward = query::onward(visit, method, query)?;
        let mounts = form_urlencoded::parse(onward.as_bytes()).any(|(key, _)| key == "mount");
        let from_here = visit.from.as_ref().map(|from| {
            let at = route::of_repository(upstreams, from.name(), |upstream| &upstream.settings);
            at.is_some_and(|at| Arc::ptr_eq(at, upstream))
        });
        let target = match (from_here, mounts) {
            (Some(true), _) | (None, false) if onward == query => return Ok(raw),
            (Some(true), _) | (None, false) if !onward.is_empty() => format!("{}?{onward}", raw.path()),
            (Some(_), _) | (None, _) => raw.path().to_owned(),
        };
        PathAndQuery::try_from(target).map_err(|_| Refusal::Target(crate::target::Refused::NotCanonical))
    }

    async fn forward(
        &self,
        upstream: &Arc<Upstream>,
        visit: &Visit,
        target: PathAndQuery,
        host: &str,
        parts: Parts,
        body: Body,
    ) -> Result<Response, Refusal> {
        let (places, upstreams) = (&self.gateway.places, self.gateway.upstreams.len());
        let Asker { account, address, .. } = &self.asker;
        let place = places.transfer(account, *address, &upstream.settings.name, upstreams).await?;
        let began = crate::clock::now();
        let metrics = &self.app.metrics;
        let name = &upstream.settings.name;
        let held = parts.extensions.get::<Activity>().map(Activity::hold);
        let sent = ClientBody::new(body, metrics.gateway_bytes(name, Direction::Sent));
        let outside = Outside { client: self.asker.address, scheme: self.scheme(&parts.headers), host };
        let mut headers = headers::onward(&parts.headers, &outside);
        headers.extend(self.gateway.pseudonym.onward(parts.version, &parts.headers));
        // What a mount needs besides comes after the repository's own. Where it does not go on, the source is another
        // upstream's, and its name no matter of this one's token service.
        let mounts =
            form_urlencoded::parse(target.query().unwrap_or_default().as_bytes()).any(|(key, _)| key == "from");
        let needed = if mounts { self.needed.as_slice() } else { self.needed.get(..1).unwrap_or_default() };
        let onward = Onward { method: parts.method.clone(), target, headers, body: sent.clone(), needed };
        let mut transfer = Transfer {
            metrics: metrics.clone(),
            id: self.id.clone(),
            upstream: name.clone(),
            account: self.asker.account.clone(),
            operation: operation(&parts.method, visit),
            repository: visit.repository.name().to_owned(),
            reference: visit.part.reference().map(|reference| reference.as_str().to_owned()),
            status: None,
            sent,
            began,
            _held: held,
            _place: place,
            ride: None,
            told: Told::NotYet,
        };
        let (mut reply, relayed) = match upstream.send(onward).await {
            Ok(reply) => reply.into_parts(),
            Err(failure) => {
                let refusal = upstream.failed(failure);
                transfer.ended(End::Failed(refusal.reason()), 0);
                return Err(refusal);
            }
        };
        transfer.status = Some(reply.status);
        transfer.ride = reply.extensions.remove();
        let inside = Inside { scheme: &upstream.settings.scheme, authority: &upstream.settings.authority };
        let bodiless =
            parts.method == Method::HEAD || matches!(reply.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let relay = match bodiless {
            true => Relay::nothing(transfer),
            false => {
                let counted = metrics.gateway_bytes(name, Direction::Received);
                Relay::new(relayed, upstream.settings.idle_for, counted, transfer)
            }
        };
        let mut response = Response::new(Body::new(relay));
        *response.status_mut() = reply.status;
        *response.headers_mut() = headers::back(&reply.headers, reply.status, &inside, host);
        Ok(response)
    }

    /// The scheme that the client used: our own, or what a proxy that is believed says.
    fn scheme(&self, headers: &HeaderMap) -> &'static str {
        let believed = match &self.snapshot.address {
            AddressSource::Proxies(proxies) => proxies.peers.include(self.peer),
            AddressSource::Peer | AddressSource::Position { .. } => false,
        };
        if self.snapshot.tls.is_some() || (believed && all_say_https(headers)) { "https" } else { "http" }
    }

    fn refuse(&self, refusal: &Refusal) -> Response {
        decision_log::refused(&self.id, &self.asker, refusal.reason(), refusal.fault(), refusal);
        self.app.metrics.gateway_answered(&self.upstream, refusal.reason());
        let (code, message) = refusal.shown();
        let invitation = Invitation {
            challenge: &self.gateway.challenge,
            service: &self.asker.service,
            issuer: self.snapshot.issuer.name(),
            needed: &self.needed,
            token_error: refusal.token_error(),
            retry_after: refusal.retry_after(),
        };
        let mut response = refused(refusal.status(), code, message, &invitation);
        if refusal.status() == StatusCode::METHOD_NOT_ALLOWED {
            let methods = match refusal {
                Refusal::ReadOnly => "GET, HEAD",
                _ => "GET, HEAD, POST, PUT, PATCH, DELETE",
            };
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
        }
        no_store(response)
    }
}

/// Whether each proxy on the way says that it was asked by HTTPS. Some add to a list what others put in its place.
fn all_say_https(headers: &HeaderMap) -> bool {
    let lines =
        headers.get_all("x-forwarded-proto").iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut said = lines.map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()).peekable();
    said.peek().is_some() && said.all(|scheme| scheme.eq_ignore_ascii_case(b"https"))
}

/// What was decided for one account is nothing for a cache to give to another.
fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Docker before 1.6 (but for the last builds of 1.5), and the bare Go client of that time. A 404 below `/v2/` makes them
/// fall back to the first version of the protocol, and say something a person can understand.
fn is_too_old(headers: &HeaderMap) -> bool {
    let agents = headers.get_all(USER_AGENT).iter().filter_map(|line| line.to_str().ok());
    agents.into_iter().any(|agent| {
        let is_development_of_1_5 = |rest: &str| {
            let digit = rest.strip_prefix('.').and_then(|rest| rest.strip_prefix(|digit: char| digit.is_ascii_digit()));
            digit.is_some_and(|rest| rest.starts_with("-dev"))
        };
        agent.starts_with("Go ")
            || agent.starts_with("docker/1.3")
            || agent.starts_with("docker/1.4")
            || agent.strip_prefix("docker/1.5").is_some_and(|rest| !is_development_of_1_5(rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clients_without_the_second_protocol_are_too_old() {
        for (agent, expected) in [
            ("docker/1.3.0 go/go1.3", true),
            ("docker/1.4.1 go/go1.4", true),
            ("docker/1.5.0 go/go1.4", true),
            ("docker/1.5", true),
            ("Go 1.1 package http", true),
            ("docker/1.5.0-dev go/go1.4", false),
            ("docker/1.6.2 go/go1.4", false),
            ("docker/1.13.1 go/go1.7", false),
            ("docker/29.0.0 go/go1.25", false),
            ("Go-http-client/1.1", false),
            ("skopeo/1.9.3", false),
            ("Mozilla docker/1.3", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_static(agent));
            assert_eq!(is_too_old(&headers), expected, "{agent}");
        }
        assert!(!is_too_old(&HeaderMap::new()));
    }

    #[test]
    fn the_scheme_outside_is_what_all_proxies_say() {
        for (lines, expected) in [
            (&[][..], false),
            (&[""], false),
            (&["https"], true),
            (&["HTTPS,"], true),
            (&["https, https"], true),
            (&["https", "https"], true),
            (&["https", "http"], false),
            (&["http, https"], false),
            (&["https https"], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-proto", HeaderValue::from_static(line));
            }
            assert_eq!(all_say_https(&headers), expected, "{lines:?}");
        }
    }
}
