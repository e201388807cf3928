//! TokenReview: the cluster itself says whether a token is still good (check 43). The API server is a stand-in.

use serde_json::{Value, json};

use super::{AUDIENCE, RULES, claims, key, whose};
use crate::bed::{Bed, Folder};
use crate::oidc::{Manner, Provider};

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
const SUB: &str = "system:serviceaccount:ci:builder";

fn started(provider: &Provider) -> Bed {
    let folder = Folder::new();
    folder.put("reviewer", "reviewers.own.token\n");
    let address = &provider.address;
    let text = format!(
        "{RULES}workload:\n  - issuer: {ISSUER}\n    audiences: [{AUDIENCE}, second]\n    keys: {{url: \"{address}/jwks\", plain_http: loopback}}\n    require: {{kubernetes.io.namespace: ci}}\n    account: \"k8s:${{claim:sub}}\"\n    token_review: {{api: \"{address}\", token_file: $DIR/reviewer, plain_http: loopback}}\n"
    );
    Bed::in_folder(folder, &text)
}

fn good() -> Value {
    json!({"authenticated": true, "user": {"username": SUB}, "audiences": [AUDIENCE]})
}

#[tokio::test]
async fn a_deleted_pods_token_is_a_401_at_once() {
    let key = key("k1", 0);
    let provider = Provider::start(&[&key]);
    let bed = started(&provider);
    let token = key.sign(&claims(json!({"iss": ISSUER, "sub": SUB, "kubernetes.io": {"namespace": "ci"}})));
    provider.review(good());
    assert_eq!(whose(&bed, &token).await.as_deref(), Ok("k8s:system:serviceaccount:ci:builder"));
    let asked: Value = serde_json::from_str(&provider.bodies()[0]).unwrap();
    assert_eq!(asked["kind"], "TokenReview");
    assert_eq!(asked["spec"], json!({"token": token, "audiences": [AUDIENCE, "second"]}));
    for (what, status) in [
        ("the pod was deleted", json!({"authenticated": false, "error": "pod not found"})),
        ("nothing is said", json!({})),
        (
            "of another audience",
            json!({"authenticated": true, "user": {"username": SUB}, "audiences": ["https://kubernetes.default.svc"]}),
        ),
        ("a server that knows no audiences", json!({"authenticated": true, "user": {"username": SUB}})),
        (
            "of another account",
            json!({"authenticated": true, "user": {"username": "system:admin"}, "audiences": [AUDIENCE]}),
        ),
        ("of nobody", json!({"authenticated": true, "audiences": [AUDIENCE]})),
    ] {
        provider.review(status);
        assert_eq!(whose(&bed, &token).await, Err(401), "{what}");
    }
    provider.review(good());
    assert_eq!(whose(&bed, &token).await.as_deref(), Ok("k8s:system:serviceaccount:ci:builder"));
}

/// Only what the cluster signed is shown to it, and not what is refused anyway.
#[tokio::test]
async fn nothing_else_is_shown_to_the_cluster() {
    let (key, foreign) = (key("k1", 0), super::key("k1", 1));
    let provider = Provider::start(&[&key]);
    let bed = started(&provider);
    provider.review(good());
    let claims = claims(json!({"iss": ISSUER, "sub": SUB, "kubernetes.io": {"namespace": "ci"}}));
    let other = crate::oidc::changed(&claims, &json!({"kubernetes.io": {"namespace": "default"}}));
    for token in [foreign.sign(&claims), key.sign(&other), key.sign(&crate::oidc::changed(&claims, &json!({"exp": 1})))]
    {
        assert_eq!(whose(&bed, &token).await, Err(401));
    }
    assert!(provider.bodies().is_empty(), "{:?}", provider.bodies());
}

#[tokio::test]
async fn an_api_server_that_cannot_tell_is_503() {
    let key = key("k1", 0);
    let token = key.sign(&claims(json!({"iss": ISSUER, "sub": SUB, "kubernetes.io": {"namespace": "ci"}})));
    for (manner, status) in [
        (Manner::Status(401), good()),
        (Manner::Status(403), good()),
        (Manner::Status(500), good()),
        (Manner::Status(503), good()),
        (Manner::Redirecting("http://127.0.0.1:1".to_owned()), good()),
        (Manner::Well, json!("yes")),
    ] {
        let provider = Provider::start(&[&key]);
        let bed = started(&provider);
        provider.review(good());
        assert_eq!(whose(&bed, &token).await.as_deref(), Ok("k8s:system:serviceaccount:ci:builder"));
        provider.review(status);
        provider.behave(manner.clone());
        assert_eq!(whose(&bed, &token).await, Err(503), "{manner:?}");
    }
}
