//! What the span of a request tells: which of our addresses was asked, and what was answered.

use axum::extract::Request;
use axum::http::{HeaderName, Method};
use axum::response::Response;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::clock;
use crate::telemetry::{Answered, Parent};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const DECISION: HeaderName = HeaderName::from_static("x-decision-id");

/// A request that has a span, until it is answered.
pub(super) struct Traced {
    method: &'static str,
    route: &'static str,
    parent: Option<Parent>,
    began: Instant,
}

impl Traced {
    /// `None` for those that have none: health checks and metrics, which are asked all the time.
    pub(super) fn begun(request: &Request) -> Option<Traced> {
        let route = route(request.uri().path())?;
        let parent = request.headers().get(TRACEPARENT).and_then(|line| Parent::parse(line.to_str().ok()?));
        Some(Traced { method: method(request.method()), route, parent, began: clock::now() })
    }

    pub(super) fn answered(self, response: &Response, at: OffsetDateTime) -> Answered {
        let decision = response.headers().get(DECISION).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let Traced { method, route, parent, began } = self;
        Answered { method, route, status: response.status().as_u16(), decision, parent, took: began.elapsed(), at }
    }
}

/// The methods that there are, and one name for whatever a client makes up.
fn method(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|name| method == *name).unwrap_or("_OTHER")
}

/// The address that a path is one of, without what a client put into it: names of repositories and accounts, and whatever was
/// pasted there.
fn route(path: &str) -> Option<&'static str> {
    let below = |prefix: &str| path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
    if below("/v2") {
        return Some("/v2");
    }
    if path.contains("/api/v1/") {
        return Some("/api/v1");
    }
    match path.trim_end_matches('/').rsplit('/').next().unwrap_or_default() {
        "" | "healthz" | "readyz" | "metrics" => None,
        "auth" | "token" => Some("/auth"),
        "forward_auth" => Some("/forward_auth"),
        "jwks.json" => Some("/.well-known/jwks.json"),
        "events" => Some("/events"),
        _ => Some("other"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_nothing_of_a_clients() {
        for (path, expected) in [
            ("/auth", Some("/auth")),
            ("/auth/", Some("/auth")),
            ("/prefix/auth/token", Some("/auth")),
            ("/init/registry/token", Some("/auth")),
            ("/v2/", Some("/v2")),
            ("/v2/secret/manifests/1", Some("/v2")),
            ("/v2x", Some("other")),
            ("/api/v1/users/secret", Some("/api/v1")),
            ("/x/forward_auth", Some("/forward_auth")),
            ("/.well-known/jwks.json", Some("/.well-known/jwks.json")),
            ("/secret", Some("other")),
            ("/healthz", None),
            ("/readyz", None),
            ("/metrics", None),
            ("/", None),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
        assert_eq!(method(&Method::GET), "GET");
        assert!(Method::from_bytes(b"SECRET").is_ok_and(|made_up| method(&made_up) == "_OTHER"));
    }
}
