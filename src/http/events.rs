//! `POST /api/v1/events`, and the path that OpenSVC's collector had: notifications of registries, each known by a secret of its own.
//!
//! Once the secret is right, the answer is 202 whatever was sent: a registry sends anything else again for ever, and nothing behind it.
//! Only what cannot be kept now is 503, since nothing is lost by sending that again.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router, routing};
use time::OffsetDateTime;

use super::body::{NotRead, gather};
use super::credentials::pair_of;
use super::shape::{nothing_here, plain_error, whole_seconds};
use super::visit::bearer;
use crate::app::App;
use crate::authn::Secret;
use crate::authn::attempts::TooMany;
use crate::catalogue::{NotKept, Sink};
use crate::client_address::Peer;
use crate::client_network::ClientNetwork;

/// The longest envelope, in bytes: that of a push names all layers of a manifest, which has 4 MiB at most.
const LONGEST: usize = 8 << 20;

/// The routes.
pub(super) fn routes(prefix: &str) -> Router<Arc<App>> {
    ["/api/v1/events", "/init/registry/call/json/events"]
        .into_iter()
        .fold(Router::new(), |routes, path| routes.route(&format!("{prefix}{path}"), routing::any(answer)))
}

async fn answer(State(app): State<Arc<App>>, Extension(peer): Extension<Peer>, request: Request) -> Response {
    let snapshot = app.snapshot();
    let Some(catalogue) = &snapshot.catalogue else { return nothing_here() };
    if request.method() != Method::POST {
        let mut response = plain_error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "events are sent by POST");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    #[expect(clippy::disallowed_methods, reason = "the moment of this request")]
    let now = OffsetDateTime::now_utc();
    let secret = presented(request.headers());
    let Some(sink) = secret.as_ref().and_then(|secret| catalogue.sink(secret.reveal())) else {
        let network = ClientNetwork::of(snapshot.address.client(peer, request.headers()).ok().flatten());
        let counted = secret.map(|secret| snapshot.access.attempts().secret_was_dead(&secret, network));
        return match counted {
            Some(Err(too_many)) => come_later(&too_many),
            Some(Ok(())) | None => {
                catalogue.say_unauthorized();
                unauthorized()
            }
        };
    };
    take(&sink, request, now).await
}

async fn take(sink: &Sink, request: Request, now: OffsetDateTime) -> Response {
    let kept = match gather(request.into_body(), LONGEST).await {
        Ok(body) => sink.take(&body, now).await,
        // What is too long will not be shorter the next time.
        Err(NotRead::TooLong) => {
            sink.unreadable(1);
            Ok(())
        }
        Err(NotRead::TooSlow | NotRead::Ended) => {
            return plain_error(StatusCode::REQUEST_TIMEOUT, "UNKNOWN", "the events did not come in time");
        }
    };
    match kept {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(NotKept::Failure(_) | NotKept::Full) => {
            let mut response = plain_error(
                StatusCode::SERVICE_UNAVAILABLE,
                "UNAVAILABLE",
                "events cannot be kept now; send them again",
            );
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("2"));
            response
        }
    }
}

/// The secret: a Bearer token, or the password of Basic authentication under any name, as a registry sends what its endpoint's url has.
fn presented(headers: &HeaderMap) -> Option<Secret> {
    if let Some(token) = bearer(headers) {
        return Some(Secret::new(token));
    }
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let (scheme, encoded) = line.to_str().ok()?.trim().split_once(' ')?;
    match scheme.eq_ignore_ascii_case("basic") {
        true => pair_of(encoded.trim()).map(|(_, password)| Secret::new(password)),
        false => None,
    }
}

fn unauthorized() -> Response {
    let mut response = plain_error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "this is no registry's secret of events");
    let challenge = HeaderValue::from_static("Bearer realm=\"events\"");
    response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, challenge);
    response
}

fn come_later(TooMany { wait }: &TooMany) -> Response {
    let mut response =
        plain_error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", "too many wrong secrets; wait a while");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(*wait)));
    response
}
