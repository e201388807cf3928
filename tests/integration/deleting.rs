//! Deleting while others push: what is listed afterwards is what the registry has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::bed::{Bed, serve};
use crate::directory::{opensvc, person, ready};

/// What a registry of version 3 holds in `race/r5`.
#[derive(Default)]
struct Holds {
    tags: BTreeMap<String, String>,
    /// Listed, though their manifests are gone.
    ghosts: Vec<String>,
    /// Pushed by somebody else as soon as this one is deleted.
    pushed_behind: Option<(&'static str, &'static str)>,
}

async fn answer(State(holds): State<Arc<Mutex<Holds>>>, request: Request) -> Response {
    let mut holds = holds.lock().unwrap();
    let rest = request.uri().path().strip_prefix("/v2/race/r5/").unwrap_or_default().to_owned();
    if rest == "tags/list" {
        let tags: Vec<&String> = holds.tags.keys().chain(&holds.ghosts).collect();
        return axum::Json(json!({ "name": "race/r5", "tags": tags })).into_response();
    }
    let Some(tag) = rest.strip_prefix("manifests/") else { return StatusCode::NOT_FOUND.into_response() };
    let Some(digest) = holds.tags.get(tag).cloned() else {
        let body = json!({ "errors": [{ "code": "MANIFEST_UNKNOWN", "message": "" }] });
        return (StatusCode::NOT_FOUND, axum::Json(body)).into_response();
    };
    if request.method() == Method::DELETE {
        holds.tags.remove(tag);
        if let Some((_, new)) = holds.pushed_behind.take_if(|(behind, _)| *behind == tag) {
            holds.tags.insert(new.to_owned(), format!("sha256:{}", "b".repeat(64)));
        }
        return StatusCode::ACCEPTED.into_response();
    }
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert("docker-content-digest", digest.parse().unwrap());
    headers.insert("content-type", HeaderValue::from_static("application/vnd.oci.image.manifest.v1+json"));
    response
}

/// A server of the reference's directory whose `reg` is this one, and lists these tags.
async fn bed(holds: Holds) -> Bed {
    let routes = Router::new().fallback(answer).with_state(Arc::new(Mutex::new(holds)));
    let url = serve(routes).await;
    let text = opensvc().replace("http://127.0.0.1:5000", &url);
    let bed = Bed::with(&format!("{text}records: {{sqlite: $DIR/dockwarden.db}}\napi: {{listen: main}}\n"));
    ready(&bed).await;
    crate::search::fill(&bed, "reg", &["race/r5".to_owned()]).await;
    bed
}

const REPOSITORY: &str = "/api/v1/registries/reg/repositories/race%2Fr5";

async fn tags(bed: &Bed) -> Vec<String> {
    let reply = bed.get(&format!("{REPOSITORY}/tags")).by(person("cat")).send().await.ok().json();
    reply["items"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap().to_owned()).collect()
}

/// A push that comes while a repository is deleted is not hidden by its deletion, and a ghost stays deleted.
#[tokio::test]
async fn what_is_pushed_while_a_repository_is_deleted_stays_listed() {
    let tag = |name: &str| (name.to_owned(), format!("sha256:{}", "a".repeat(64)));
    for (pushed_behind, left) in [
        (Some(("v1", "new")), &["new"][..]),
        // Again, under a name that was deleted just now.
        (Some(("v2", "v1")), &["v1"]),
        (None, &[]),
    ] {
        let holds = Holds { tags: ["v1", "v2"].map(tag).into(), ghosts: vec!["v9".to_owned()], pushed_behind };
        let bed = bed(holds).await;
        let deleted = bed.request(Method::DELETE, REPOSITORY).by(person("cat")).send().await.ok();
        assert_eq!(deleted.json()["outcome"], "deleted");
        assert_eq!(tags(&bed).await, left, "{pushed_behind:?}");
        let found = bed.get("/v1/search?q=race").header("host", "reg").by(person("cat")).send().await.ok().json();
        assert_eq!(found["num_results"], usize::from(!left.is_empty()), "{pushed_behind:?}");
    }
}
