//! Health checks and metrics, for monitoring.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, FORWARDED};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::gateway;
use super::shape::{nothing_here, plain_error};
use crate::acme::Standing;
use crate::app::App;
use crate::client_address::Peer;

/// The beginnings of the headers in which a proxy names the client, or the request that it asks about.
const PASSED_ON: &[&str] = &["x-forwarded-", "x-original-"];

/// Whether this header comes with a request that a proxy passed on, or with a client's credentials. Balancers, kubelets and
/// `docker` send none in their own health checks.
fn is_somebodys(name: &HeaderName) -> bool {
    [AUTHORIZATION, COOKIE, FORWARDED].contains(name)
        || name.as_str() == "x-real-ip"
        || PASSED_ON.iter().any(|begin| name.as_str().starts_with(begin))
}

/// `GET /`: the process runs. docker_auth's own chart asks here, and so do balancers that are told nothing else.
///
/// Never for a proxy that asks whether somebody's request may go on, and was given this address instead of
/// `/forward_auth`: it would take the 200 for a yes, and let everybody through.
pub(super) async fn root(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Response {
    let snapshot = app.snapshot();
    let may_ask = snapshot.forward_auth.as_ref().is_some_and(|door| door.proxies.include(peer));
    if !may_ask && !headers.keys().any(is_somebodys) {
        return "ok\n".into_response();
    }
    if app.said_asked_at_root.is_long_ago() {
        tracing::warn!(
            reason = "asked_at_root",
            client.address = %peer,
            "404 for a request for / that a proxy passed on, or that has credentials: a proxy that asks about requests has to \
             ask at /forward_auth, and a health check with such headers at /healthz"
        );
    }
    nothing_here()
}

/// `GET /healthz`: the process runs.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: the server is ready for requests, unless it is stopping, nobody can connect for want of a certificate, or a source
/// of rules has none that it may decide by.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.is_stopping() {
        return plain_error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "the server is stopping");
    }
    if app.acme().is_some_and(|acme| acme.standing() == Standing::Missing) {
        let what = "the certificate of the listener is not there yet";
        return plain_error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", what);
    }
    for (source, freshness) in app.snapshot().access.freshness() {
        if !freshness.is_enough() {
            let what = match freshness.age {
                None => "has no rules yet",
                Some(_) => "has rules that are too old",
            };
            return plain_error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", &format!("{source} {what}"));
        }
    }
    Json(json!({ "status": "ready" })).into_response()
}

/// `GET /metrics`: in Prometheus' text form.
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let snapshot = app.snapshot();
    if let Some(gateway) = &snapshot.gateway {
        gateway::begin_metrics(gateway, &app.metrics);
    }
    #[expect(clippy::disallowed_methods, reason = "the moment of this request")]
    let now = OffsetDateTime::now_utc();
    match app.metrics_text(now) {
        Ok(text) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(error) => {
            tracing::error!(reason = "metrics", error = %error, "the metrics could not be written");
            plain_error(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the metrics could not be written")
        }
    }
}
