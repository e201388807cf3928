//! Every URL that is served, on one screen.

mod api;
mod body;
pub mod credentials;
mod device;
mod error;
mod events;
mod exchange;
mod forward_auth;
mod gateway;
mod health;
mod host;
mod key_set;
mod pages;
mod paging;
mod refresh;
mod search;
mod shape;
mod token;
mod traced;
mod visit;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, DATE, STRICT_TRANSPORT_SECURITY};
use axum::http::{HeaderValue, StatusCode, Version};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{any, get};
use time::OffsetDateTime;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::config::{Api, Hsts};
pub use api::{Managing, ManagingRight, Operation, Right};
pub use pages::addresses as page_addresses;
use shape::{nothing_here, plain_error};
use traced::Traced;

/// The form of a date in HTTP (RFC 9110, section 5.6.7).
const HTTP_DATE: StaticFormatDescription =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// The listener that serves health and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminRoutes {
    /// The same one that serves tokens: there is none of their own.
    Here,
    /// That of `server.admin_addr`.
    Elsewhere,
}

/// The routes of the public listener.
pub fn public(app: &Arc<App>, path_prefix: &str, admin: AdminRoutes) -> Router {
    token::begin_metrics(&app.metrics);
    forward_auth::begin_metrics(&app.metrics);
    api::begin_metrics(&app.metrics);
    search::begin_metrics(&app.metrics);
    let mut routes = Router::new().route("/.well-known/jwks.json", get(key_set::answer)).route("/", get(health::root));
    if !path_prefix.is_empty() {
        routes = routes.route(&format!("{path_prefix}/"), get(health::root));
    }
    // The last is where the collector of OpenSVC had it: registries that are set up for that need another host only.
    for path in ["/auth", "/auth/", "/auth/token", "/auth/token/", "/token", "/init/registry/token"] {
        routes = routes.route(&format!("{path_prefix}{path}"), any(token::answer));
    }
    routes = routes.route(&format!("{path_prefix}/forward_auth"), any(forward_auth::answer));
    routes = match app.gateway_is_elsewhere() {
        true => routes.merge(search::routes()).merge(search::catalog_routes()),
        false => routes.merge(gateway_routes()),
    };
    if !path_prefix.is_empty() {
        routes = routes.route(&format!("{path_prefix}/.well-known/jwks.json"), get(key_set::answer));
    }
    routes = routes.merge(api::routes(Api::Main, path_prefix)).merge(events::routes(path_prefix));
    routes = routes.merge(search::collector_routes(path_prefix));
    routes = routes.merge(pages::routes(path_prefix)).merge(device::routes(path_prefix));
    match admin {
        AdminRoutes::Here => finished(app, routes.merge(admin_routes())),
        AdminRoutes::Elsewhere => finished(app, routes),
    }
}

/// The routes of `server.admin_addr`.
pub fn admin(app: &Arc<App>) -> Router {
    finished(app, admin_routes().merge(api::routes(Api::Admin, "")))
}

/// The routes of `gateway.addr`.
pub fn gateway(app: &Arc<App>) -> Router {
    finished(app, gateway_routes())
}

/// Not below `server.path_prefix`: clients look for a registry at the root of its host.
fn gateway_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/v2", any(gateway::answer))
        .route("/v2/", any(gateway::answer))
        .route("/v2/{*below}", any(gateway::answer))
        .merge(search::routes())
}

fn admin_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
}

fn finished(app: &Arc<App>, routes: Router<Arc<App>>) -> Router {
    let routes = routes.fallback(|| async { nothing_here() }).layer(from_fn_with_state(Arc::clone(app), reply_headers));
    caught(routes).with_state(Arc::clone(app))
}

/// Turns a panic into a 500: it ends one request, and neither the connection nor the process. A request that a stranger finds
/// could otherwise take others down.
fn caught<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes.layer(CatchPanicLayer::custom(|_| {
        tracing::error!(reason = "panic", "a request was given up after a fault in the program");
        plain_error(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "something went wrong here; it is in the log")
    }))
}

/// The headers that every reply carries: HSTS where it is configured; the date; and, once the server is stopping,
/// `Connection: close`, so that clients take their next request elsewhere before the connection is closed on them.
async fn reply_headers(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let version = request.version();
    let traced = app.telemetry().and_then(|telemetry| Some((telemetry, Traced::begun(&request)?)));
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    match app.snapshot().hsts {
        Hsts::Sent => {
            headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
        }
        Hsts::Omitted => {}
    }
    // Left to itself, hyper goes on with the date from before until a clock that was set back is there again; and by the
    // date one sees that the clock is wrong.
    #[expect(clippy::disallowed_methods, reason = "the header says when the reply was made")]
    let now = OffsetDateTime::now_utc();
    if !headers.contains_key(DATE)
        && let Ok(date) = now.format(HTTP_DATE)
        && let Ok(date) = HeaderValue::try_from(date)
    {
        headers.insert(DATE, date);
    }
    if app.is_stopping() && version <= Version::HTTP_11 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some((telemetry, traced)) = traced {
        telemetry.answered(traced.answered(&response, now));
    }
    response
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, clippy::unwrap_used, reason = "the test is about a panic, and fails by one")]

    use axum::body::{Body, to_bytes};
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_fault_in_the_program_is_answered_and_the_next_request_too() {
        async fn fault() -> &'static str {
            panic!("the secret of the fault")
        }
        let router = caught(Router::new().route("/fault", get(fault)).route("/well", get(|| async { "well" })));
        for (path, status) in [("/fault", 500), ("/well", 200), ("/fault", 500)] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let reply = router.clone().oneshot(request).await.unwrap();
            assert_eq!(reply.status(), status);
            let body = to_bytes(reply.into_body(), 1024).await.unwrap();
            assert!(!String::from_utf8_lossy(&body).contains("secret"), "{body:?}");
        }
    }
}
