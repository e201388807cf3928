//! What monitoring reads: health and metrics.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::error::plain_error;
use crate::app::App;

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
