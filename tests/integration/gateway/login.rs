//! Who we are to an upstream: its own token service, and what happens when it takes our credentials no longer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::Response;
use serde_json::json;

use super::upstream::{Upstream, status, text};
use super::{RULES, ask, gateway};
use crate::bed::{ALICE, Bed};

/// A token service that numbers its tokens, and a registry that takes only the newest one once `strict` is set.
struct Registry {
    tokens: Upstream,
    registry: Upstream,
    given: Arc<AtomicUsize>,
    least: Arc<AtomicUsize>,
}

impl Registry {
    async fn start(life: u64) -> Registry {
        let (given, least) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&given);
        let tokens = Upstream::answering(move |_| {
            let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
            Response::new(text(&json!({"token": format!("t{number}"), "expires_in": life}).to_string()))
        })
        .await;
        let accepted = Arc::clone(&least);
        let registry = Upstream::answering(move |arrival| {
            let number = arrival.header("authorization").strip_prefix("Bearer t").and_then(|text| text.parse().ok());
            match number.unwrap_or(0) >= accepted.load(Ordering::Relaxed).max(1) {
                true => status(200),
                false => Response::builder()
                    .status(401)
                    // Where a trusting gateway would show its password.
                    .header("www-authenticate", "Bearer realm=\"http://127.0.0.1:1/evil\",service=\"x\"")
                    .body(Body::empty())
                    .unwrap(),
            }
        })
        .await;
        Registry { tokens, registry, given, least }
    }

    fn bed(&self) -> Bed {
        gateway(&format!(
            "{{service: registry, upstreams: [{{url: \"http://{}\", auth: {{token: {{realm: \"http://{}/token?tenant=a\", \
             service: inside, username: gateway, password: pw}}}}}}]}}",
            self.registry.address, self.tokens.address
        ))
    }
}

#[tokio::test]
async fn tokens_are_for_what_a_request_needs_and_are_kept() {
    let parts = Registry::start(300).await;
    let bed = parts.bed();
    for (method, target, scopes) in [
        ("GET", "/v2/web/app/manifests/v1", &["repository:web/app:pull"][..]),
        ("GET", "/v2/web/app/tags/list", &[]),
        ("PUT", "/v2/web/app/manifests/v1", &["repository:web/app:pull,push"]),
        ("DELETE", "/v2/web/app/manifests/DIGEST", &["repository:web/app:delete"]),
        ("GET", "/v2/other/app/manifests/v1", &["repository:other/app:pull"]),
        (
            "POST",
            "/v2/web/app/blobs/uploads/?mount=DIGEST&from=other/app",
            &["repository:web/app:pull,push", "repository:other/app:pull"],
        ),
        ("PUT", "/v2/web/app/manifests/v2", &[]),
    ] {
        let reply = ask(&bed, method, target).by(ALICE).send().await;
        assert_eq!(reply.status, 200, "{method} {target}");
        let asked = parts.tokens.take();
        assert_eq!(asked.len(), usize::from(!scopes.is_empty()), "{method} {target}: {asked:?}");
        for arrival in asked {
            let query = arrival.target.strip_prefix("/token?tenant=a&").unwrap();
            let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            let mut expected = vec![("service".to_owned(), "inside".to_owned())];
            expected.extend(scopes.iter().map(|scope| ("scope".to_owned(), (*scope).to_owned())));
            assert_eq!(pairs, expected);
            assert_eq!(arrival.header("authorization"), "Basic Z2F0ZXdheTpwdw==");
        }
    }
    assert!(parts.registry.take().iter().all(|arrival| arrival.header("authorization").starts_with("Bearer t")));
}

/// What is mounted from elsewhere is decided on here, and nothing that the upstream's token service knows of.
#[tokio::test]
async fn a_token_service_learns_nothing_of_another_upstreams_repositories() {
    let parts = Registry::start(300).await;
    let bed = gateway(&format!(
        "{{service: registry, upstreams: [{{url: \"http://{}\", prefix: web, auth: {{token: {{\
         realm: \"http://{}/token\", service: inside}}}}}}, {{url: \"http://127.0.0.1:1\"}}]}}",
        parts.registry.address, parts.tokens.address
    ));
    for query in ["?mount=DIGEST&from=other%2Fapp", "?from=other%2Fapp&digest=DIGEST"] {
        let target = format!("/v2/web/app/blobs/uploads/{query}");
        assert_eq!(ask(&bed, "POST", &target).by(ALICE).send().await.status, 200, "{query}");
        assert_eq!(parts.registry.only().target, "/v2/web/app/blobs/uploads/", "{query}");
    }
    assert_eq!(parts.tokens.only().target, "/token?service=inside&scope=repository%3Aweb%2Fapp%3Apull%2Cpush");
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_and_the_request_sent_again() {
    let parts = Registry::start(300).await;
    let bed = parts.bed();
    assert_eq!(ask(&bed, "GET", "/v2/web/app/manifests/v1").by(ALICE).send().await.status, 200);
    parts.least.store(2, Ordering::Relaxed);
    let reply = ask(&bed, "GET", "/v2/web/app/manifests/v1").by(ALICE).send().await;
    assert_eq!((reply.status, parts.given.load(Ordering::Relaxed)), (200, 2));
    // Where nothing helps, the client learns that it is not its fault, and the token service is not asked each time.
    parts.least.store(1000, Ordering::Relaxed);
    for _ in 0..10 {
        let reply = ask(&bed, "GET", "/v2/web/app/manifests/v1").by(ALICE).send().await;
        assert_eq!((reply.status, reply.header("www-authenticate")), (502, ""));
    }
    assert!(parts.given.load(Ordering::Relaxed) <= 3, "{:?}", parts.given);
}

/// The body of a request is gone once it was sent, and is not made up again.
#[tokio::test]
async fn a_body_that_is_gone_is_not_sent_again_and_the_next_request_has_a_new_token() {
    let parts = Registry::start(300).await;
    let bed = parts.bed();
    let put = async || ask(&bed, "PUT", "/v2/web/app/manifests/v1").by(ALICE).body("a manifest").send().await.status;
    assert_eq!(put().await, 200);
    parts.least.store(2, Ordering::Relaxed);
    assert_eq!(put().await, 502);
    assert_eq!(put().await, 200);
    let bodies: Vec<usize> = parts.registry.take().iter().map(|arrival| arrival.body.len()).collect();
    assert_eq!(bodies, [10, 10, 10], "each was sent once");
}

#[tokio::test]
async fn a_token_service_that_fails_or_leads_elsewhere_is_a_502() {
    let elsewhere = Upstream::with_headers(&[]).await;
    let place = elsewhere.address.clone();
    let tokens = Upstream::answering(move |arrival| match arrival.target.contains("other") {
        true => status(500),
        // The members of such a reply in their order.
        false if arrival.target.contains("web%2Fapp%3Apull%2Cpush") => Response::new(text("[\"a-token\", null, 300]")),
        false if arrival.target.contains("pub") => Response::new(text("{\"token\": \"\"}")),
        false => Response::builder()
            .status(307)
            .header("location", format!("http://{place}/token"))
            .body(Body::empty())
            .unwrap(),
    })
    .await;
    let registry = Upstream::with_headers(&[]).await;
    let bed = gateway(&format!(
        "{{service: registry, upstreams: [{{url: \"http://{}\", auth: {{token: {{realm: \"http://{}/\", \
         service: inside, username: gateway, password: pw}}}}}}]}}",
        registry.address, tokens.address
    ));
    for (method, repository) in [("GET", "web/app"), ("GET", "other/app"), ("GET", "pub/app"), ("PUT", "web/app")] {
        let reply = ask(&bed, method, &format!("/v2/{repository}/manifests/v1")).by(ALICE).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (502, "UNAVAILABLE"), "{method} {repository}");
    }
    assert!(elsewhere.take().is_empty(), "our password was shown to another");
    assert!(registry.take().is_empty());
}

/// A reload that leaves an upstream as it is keeps its tokens; one that changes it makes new ones.
#[tokio::test]
async fn tokens_outlive_a_reload_that_does_not_concern_them() {
    let parts = Registry::start(300).await;
    let bed = parts.bed();
    let visit = async || ask(&bed, "GET", "/v2/web/app/manifests/v1").by(ALICE).send().await.status;
    assert_eq!(visit().await, 200);
    bed.app.reload();
    assert_eq!((visit().await, parts.given.load(Ordering::Relaxed)), (200, 1));
    let text = std::fs::read_to_string(bed.folder.path("config.yml")).unwrap();
    bed.folder.put("config.yml", &text.replace("password: pw", "password: pw2"));
    bed.app.reload();
    assert_eq!((visit().await, parts.given.load(Ordering::Relaxed)), (200, 2));
    assert!(text.contains(RULES.trim()));
}
