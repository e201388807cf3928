//! The gateway's door: registries that know nothing of our tokens, served under our own accounts, rules and log.
//!
//! A request is read, decided on as everywhere (`Visit::require`), and given to the upstream (`route.rs`) with as much of its
//! query (`query.rs`) and of its headers as may go on. How it gets there is [`crate::gateway`]'s business. `catalog.rs` is the
//! one reply that is made here.

mod catalog;
mod names;
mod query;
mod refusal;
mod route;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::{CACHE_CONTROL, USER_AGENT};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use policy::scope::{Resource, Scope};
use policy::target::{Refused, RepositoryTarget, Target};
use serde_json::json;

use self::refusal::{AT_AN_UPSTREAM, BEFORE_AN_UPSTREAM, GatewayRefusal, failed};
use super::host::host_of;
use super::search;
use super::visit::{self, API_VERSION, Visit, bearer, is_form};
use crate::activity::Activity;
use crate::app::App;
use crate::client_address::{AddressSource, Peer};
use crate::config::Writes;
use crate::decision_log::{Asker, Door};
use crate::gateway::Gateway;
use crate::gateway::body::{ClientBody, Cut, NotEmpty, Relay, no_body};
use crate::gateway::headers::{self, Inside, Outside};
use crate::gateway::transfer::{OUTCOMES, Transfer, TransferEnd, operation};
use crate::gateway::upstream::{OnwardRequest, Upstream, UpstreamFailure};
use crate::metrics::{Direction, Metrics};

/// Begins the metrics of requests to these upstreams, and of those to none.
pub(super) fn begin_metrics(gateway: &Gateway, metrics: &Metrics) {
    let at_one = || AT_AN_UPSTREAM.iter().copied();
    let at_none = BEFORE_AN_UPSTREAM.iter().copied().chain(at_one()).chain(visit::reasons()).chain(["2xx"]);
    metrics.expect_gateway_outcomes("", at_none);
    for upstream in &gateway.upstreams {
        metrics.expect_gateway_outcomes(&upstream.settings.name, at_one().chain(OUTCOMES.iter().copied()));
    }
}

/// A request at the gateway, and what is known of it so far.
struct GatewayVisit<'a> {
    visit: Visit<'a>,
    gateway: &'a Gateway,
    /// What clients are invited to ask a token for.
    needed: Vec<Scope>,
    /// The upstream's name, once one was found.
    upstream: String,
}

/// Answers one request below `/v2/`.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let snapshot = app.snapshot();
    let Some(gateway) = &snapshot.gateway else { return search::without_gateway(&app, peer, request).await };
    let asker = Asker {
        door: Door::Gateway,
        request: Some(format!("{} {}", request.method(), request.uri())),
        service: gateway.service.clone(),
        ..Asker::default()
    };
    let visit = Visit::new(&app, &snapshot, peer, asker);
    let mut at_gateway = GatewayVisit { visit, gateway, needed: Vec::new(), upstream: String::new() };
    let mut response = match at_gateway.respond(request).await {
        Ok(response) => response,
        Err(refusal) => at_gateway.refuse(&refusal),
    };
    response.headers_mut().entry(API_VERSION.0).or_insert(API_VERSION.1);
    at_gateway.visit.with_id(response)
}

impl<'a> GatewayVisit<'a> {
    async fn respond(&mut self, request: Request) -> Result<Response, GatewayRefusal> {
        let headers = request.headers();
        if is_too_old(headers) {
            return Err(GatewayRefusal::TooOld);
        }
        self.visit.find_client(headers)?;
        if self.gateway.pseudonym.is_in(headers) {
            return Err(GatewayRefusal::Loop);
        }
        let host = host_of(request.version(), request.uri(), headers)?;
        let target = Target::parse(request.uri().path_and_query().map_or("*", PathAndQuery::as_str))?;
        self.needed = target.scopes(request.method().as_str())?;
        if is_form(headers) {
            return Err(GatewayRefusal::FormBody);
        }
        let upstreams = route::of_host(&self.gateway.upstreams, &host, |upstream| &upstream.settings);
        // All of one host have the same, or none.
        if let Some(own) = upstreams.first().and_then(|upstream| upstream.settings.service.as_ref()) {
            self.visit.asker.service.clone_from(own);
        }
        let needed = match &target {
            // Everybody may see the names of what they may pull. A token says nothing about that, so that it has to allow the
            // catalog.
            Target::Catalog(_) if bearer(headers).is_none() => &[],
            Target::Base | Target::Catalog(_) | Target::Repository(_) => self.needed.as_slice(),
            Target::Outside(_) => return Err(Refused::NoRoute.into()),
        };
        let identity = self.visit.require(&target, needed, headers).await?;
        match &target {
            Target::Base => {
                self.visit.app.metrics.gateway_answered("", "2xx");
                Ok(no_store(Json(json!({})).into_response()))
            }
            Target::Catalog(query) => {
                if !matches!(*request.method(), Method::GET | Method::HEAD) {
                    return Err(GatewayRefusal::ReadOnly);
                }
                let viewer = catalog::Viewer {
                    visit: &self.visit,
                    identity: &identity,
                    places: &self.gateway.places,
                    via: self.gateway.pseudonym.onward(request.version(), headers),
                };
                let response = catalog::answer(&upstreams, &viewer, query, &self.needed).await?;
                self.visit.app.metrics.gateway_answered("", "2xx");
                Ok(no_store(response))
            }
            Target::Repository(asked) => self.forward(request, asked, &host, &upstreams).await,
            Target::Outside(_) => Err(Refused::NoRoute.into()),
        }
    }

    /// Sends a request for a repository on to its upstream, and gives the reply as it comes.
    async fn forward(
        &mut self,
        request: Request,
        asked: &RepositoryTarget,
        host: &str,
        upstreams: &[&'a Arc<Upstream>],
    ) -> Result<Response, GatewayRefusal> {
        let (parts, body) = request.into_parts();
        let upstream = upstream_of(upstreams, asked.repository.name()).ok_or(GatewayRefusal::NoUpstream)?;
        let name = &upstream.settings.name;
        self.upstream.clone_from(name);
        match (upstream.settings.writes, &parts.method) {
            (Writes::Passed, _) | (Writes::Refused, &Method::GET | &Method::HEAD) => {}
            (Writes::Refused, _) => return Err(GatewayRefusal::ReadOnly),
        }
        let (target, needed) = self.onward_target(&parts, asked, upstreams, upstream)?;
        let body = match parts.method {
            Method::GET | Method::HEAD | Method::DELETE => {
                no_body(body, upstream.settings.idle_for).await.map_err(|cause| match cause {
                    NotEmpty::Something => GatewayRefusal::Body,
                    NotEmpty::Broken => failed(upstream, UpstreamFailure::ClientBroke),
                    NotEmpty::Stalled => failed(upstream, UpstreamFailure::ClientStalls),
                })?
            }
            _ => body,
        };
        let Asker { account, address, .. } = &self.visit.asker;
        let place = self.gateway.places.transfer(account, *address, name, self.gateway.upstreams.len()).await?;
        let metrics = &self.visit.app.metrics;
        let sent = ClientBody::new(body, metrics.gateway_bytes(name, Direction::Sent));
        let outside = Outside { client: *address, scheme: self.scheme(&parts.headers), host };
        let mut headers = headers::onward(&parts.headers, &outside);
        headers.extend(self.gateway.pseudonym.onward(parts.version, &parts.headers));
        let transfer = Transfer {
            metrics: metrics.clone(),
            id: self.visit.id.clone(),
            upstream: name.clone(),
            account: account.clone(),
            operation: operation(&parts.method, asked),
            repository: asked.repository.name().to_owned(),
            reference: asked.part.reference().map(|reference| reference.as_str().to_owned()),
            status: None,
            sent: sent.clone(),
            began: crate::clock::now(),
            _held: parts.extensions.get::<Activity>().map(Activity::hold),
            _place: place,
            ride: None,
            end: TransferEnd::Cut(Cut::Client),
            received: 0,
        };
        let onward = OnwardRequest { method: parts.method, target, headers, body: sent, needed };
        self.relay(upstream, onward, transfer, host).await
    }

    /// The target as it goes on, and what is needed at the upstream for it: the path byte for byte as it was decided on, and of
    /// the query what `query.rs` lets on, but for a mount that the upstream cannot be trusted with. Without its query, that begins
    /// an upload instead, as when there is nothing to mount; clients know that.
    ///
    /// An upstream knows us and not the client. Where `from` is another upstream's repository, it would look for it among
    /// its own; without `from`, some would look for the blob in all that is there, whoever may see it.
    fn onward_target(
        &self,
        parts: &Parts,
        asked: &RepositoryTarget,
        upstreams: &[&Arc<Upstream>],
        upstream: &Arc<Upstream>,
    ) -> Result<(PathAndQuery, &[Scope]), GatewayRefusal> {
        let kept = query::onward(asked, &parts.method)?;
        let query: Vec<&str> = kept.iter().map(|parameter| parameter.written.as_str()).collect();
        let query = query.join("&");
        let mounts = kept.iter().any(|parameter| parameter.name == "mount");
        let is_here = |from: &Resource| upstream_of(upstreams, from.name()).is_some_and(|at| Arc::ptr_eq(at, upstream));
        let (query, needed) = match (asked.from.as_ref().map(is_here), mounts) {
            (Some(true), _) | (None, false) => (query, self.needed.as_slice()),
            (None, true) => (String::new(), self.needed.as_slice()),
            // The repository's own comes first. The source is another upstream's, and its name no matter of this one's token
            // service.
            (Some(false), _) => (String::new(), self.needed.get(..1).unwrap_or_default()),
        };
        let target = match parts.uri.path_and_query() {
            Some(whole) if whole.query() == Some(&query) => Ok(whole.clone()),
            Some(_) | None if query.is_empty() => PathAndQuery::try_from(parts.uri.path()),
            Some(_) | None => PathAndQuery::try_from(format!("{}?{query}", parts.uri.path())),
        };
        Ok((target.map_err(|_| Refused::NotCanonical)?, needed))
    }

    /// Sends the request, and gives the reply as it comes. The transfer ends with the reply, or with why there is none.
    async fn relay(
        &self,
        upstream: &Upstream,
        onward: OnwardRequest<'_>,
        mut transfer: Transfer,
        host: &str,
    ) -> Result<Response, GatewayRefusal> {
        let method = onward.method.clone();
        let (mut reply, relayed) = match upstream.send(onward).await {
            Ok(reply) => reply.into_parts(),
            Err(failure) => {
                let refusal = failed(upstream, failure);
                transfer.ended(TransferEnd::Failed(refusal.shape().reason), 0);
                return Err(refusal);
            }
        };
        transfer.status = Some(reply.status);
        transfer.ride = reply.extensions.remove();
        let settings = &upstream.settings;
        let inside = Inside { scheme: &settings.scheme, authority: &settings.authority };
        let bodiless =
            method == Method::HEAD || matches!(reply.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let relay = match bodiless {
            true => Relay::nothing(transfer),
            false => {
                let counted = self.visit.app.metrics.gateway_bytes(&settings.name, Direction::Received);
                Relay::new(relayed, settings.idle_for, counted, transfer)
            }
        };
        let mut response = Response::new(Body::new(relay));
        *response.status_mut() = reply.status;
        *response.headers_mut() = headers::back(&reply.headers, reply.status, &inside, host);
        Ok(response)
    }

    /// The scheme that the client used: our own, or what a proxy that is believed says.
    fn scheme(&self, headers: &HeaderMap) -> &'static str {
        let snapshot = self.visit.snapshot;
        let believed = match &snapshot.address {
            AddressSource::Proxies(proxies) => proxies.peers.include(self.visit.peer),
            AddressSource::Peer | AddressSource::Position { .. } => false,
        };
        if snapshot.tls.is_some() || (believed && all_say_https(headers)) { "https" } else { "http" }
    }

    fn refuse(&self, refusal: &GatewayRefusal) -> Response {
        let shape = refusal.shape();
        self.visit.app.metrics.gateway_answered(&self.upstream, shape.reason);
        no_store(self.visit.refused(&self.gateway.challenge, &self.needed, &shape, refusal))
    }
}

/// Of these upstreams, the one that holds the repository.
fn upstream_of<'a>(upstreams: &[&'a Arc<Upstream>], repository: &str) -> Option<&'a Arc<Upstream>> {
    route::of_repository(upstreams, repository, |upstream| &upstream.settings)
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
