//! `GET /.well-known/jwks.json`: the public key under both of its ids (RFC 7517), for registries that are given a JWK set.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use crate::app::App;

/// Answers with the key of the configuration in use.
pub(super) async fn answer(State(app): State<Arc<App>>) -> Json<Value> {
    Json(app.snapshot().issuer.key().jwks())
}
