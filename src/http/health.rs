//! What monitoring reads: health and metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::client_address::Peer;
use super::error::{nothing_here, plain_error};
use crate::app::App;

/// What the headers begin with by which a proxy says which request it asks about.
const ASKED_ABOUT: &[&str] = &["x-original-", "x-forwarded-method", "x-forwarded-uri"];

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
    let asks = headers.keys().any(|name| ASKED_ABOUT.iter().any(|begin| name.as_str().starts_with(begin)));
    match may_ask || asks {
        true => nothing_here(),
        false => "ok\n".into_response(),
    }
}

/// `GET /healthz`: the process runs.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: it should be sent requests. Not once it is stopping, nor while a source of rules has none that it may
/// decide by.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    if app.is_stopping() {
        return plain_error(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "the server is stopping");
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
    match app.metrics.text(&app.snapshot()) {
        Ok(text) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(error) => {
            tracing::error!(reason = "metrics", error = %error, "the metrics could not be written");
            plain_error(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the metrics could not be written")
        }
    }
}
