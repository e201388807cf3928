//! `GET /.well-known/jwks.json`: the public keys, each under both of its ids (RFC 7517), for registries that are given a JWK set.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;
use time::OffsetDateTime;

use crate::app::App;

/// Answers with the key that signs, first of all; under an authority for tokens also with the one that will sign next, and with
/// those whose tokens are still good.
pub(super) async fn answer(State(app): State<Arc<App>>) -> Json<Value> {
    #[expect(clippy::disallowed_methods, reason = "the moment of this request")]
    let now = OffsetDateTime::now_utc();
    Json(app.snapshot().issuer.key_set(app.coming_key().as_deref(), now))
}
