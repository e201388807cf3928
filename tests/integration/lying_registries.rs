//! Registries that lie, fail or lead elsewhere: what is known of them stays, the last error says why, and no token goes anywhere else.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use dockwarden::catalogue::{Catalogue, NoDetails, Swept};
use serde_json::json;
use sqlx::Connection as _;

use crate::bed::{Bed, serve};

/// What is answered to a path with its query: a status, headers and a body. Nothing else is known there.
type Answers = BTreeMap<String, (u16, Vec<(&'static str, String)>, String)>;

#[derive(Clone, Default)]
struct Liar(Arc<Mutex<Answers>>);

impl Liar {
    fn says(&self, target: &str, headers: &[(&'static str, &str)], body: &str) {
        self.says_with(200, target, headers, body);
    }

    fn says_with(&self, status: u16, target: &str, headers: &[(&'static str, &str)], body: &str) {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.0.lock().unwrap().insert(target.to_owned(), (status, headers, body.to_owned()));
    }

    fn forget(&self, target: &str) {
        self.0.lock().unwrap().remove(target);
    }
}

async fn answer(State(liar): State<Liar>, request: Request) -> Response {
    let target = request.uri().path_and_query().unwrap().to_string();
    let Some((status, headers, body)) = liar.0.lock().unwrap().get(&target).cloned() else {
        let body = json!({"errors": [{"code": "NAME_UNKNOWN", "message": ""}]});
        return (StatusCode::NOT_FOUND, axum::Json(body)).into_response();
    };
    let headers: HeaderMap =
        headers.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    (StatusCode::from_u16(status).unwrap(), headers, body).into_response()
}

const FIRST: &str = "/v2/_catalog?n=1000";

/// A server that knows a registry, which was well once: it has `lib/a` with `v1`, and `lib/b` with `v1`.
async fn bed() -> (Liar, Bed, Arc<Catalogue>) {
    let liar = Liar::default();
    let url = serve(Router::new().fallback(answer).with_state(liar.clone())).await;
    let bed = Bed::with(&format!("registries: {{reg: {{url: \"{url}\"}}}}\ncatalogue: {{sweep_every: 1h}}\n"));
    bed.app.prepare().await.unwrap();
    let catalogue = Arc::clone(bed.app.snapshot().catalogue.as_ref().unwrap());
    liar.says(FIRST, &[], "{\"repositories\": [\"lib/a\", \"lib/b\"]}");
    for name in ["lib/a", "lib/b"] {
        liar.says(&format!("/v2/{name}/tags/list"), &[], "{\"tags\": [\"v1\"]}");
    }
    assert_eq!(catalogue.sweep("reg").await.unwrap(), Swept::Complete(2));
    (liar, bed, catalogue)
}

fn listed(catalogue: &Catalogue) -> Vec<String> {
    catalogue.listing("reg").iter().map(|entry| entry.name.to_string()).collect()
}

async fn error(catalogue: &Catalogue) -> String {
    let status = catalogue.status("reg").await.unwrap().unwrap();
    status.sweep.error.map(|(told, _)| told).unwrap_or_default()
}

fn link(last: &str) -> String {
    format!("</v2/_catalog?last={last}&n=1000>; rel=\"next\"")
}

#[tokio::test]
async fn a_catalog_that_goes_round_in_circles_ends_and_takes_nothing_away() {
    let (liar, _bed, catalogue) = bed().await;
    let page = "{\"repositories\": [\"lib/c\"]}";
    liar.says(FIRST, &[("link", &link("one"))], page);
    liar.says("/v2/lib/c/tags/list", &[], "{\"tags\": [\"v1\"]}");
    for (from, to) in [("one", "two"), ("two", "three"), ("three", "one")] {
        liar.says(&format!("/v2/_catalog?n=1000&last={from}"), &[("link", &link(to))], page);
    }
    for _ in 0..3 {
        let failed = catalogue.sweep("reg").await.unwrap_err().to_string();
        assert!(failed.contains("has no end"), "{failed}");
        assert_eq!(error(&catalogue).await, failed);
    }
    assert_eq!(listed(&catalogue), ["lib/a", "lib/b", "lib/c"]);
    liar.says(FIRST, &[], "{\"repositories\": [\"lib/a\", \"lib/b\", \"lib/c\"]}");
    assert_eq!(catalogue.sweep("reg").await.unwrap(), Swept::Complete(3), "it begins where a catalog begins");
    assert_eq!(error(&catalogue).await, "");
}

/// Pages of nothing, names that can be none, and a way back: a sweep ends, says so, and begins anew the next time.
#[tokio::test]
async fn a_catalog_without_an_end_is_left_after_a_while() {
    let (liar, _bed, catalogue) = bed().await;
    let many = format!("{{\"repositories\": [{}]}}", vec!["\"A\""; 250_000].join(","));
    for (what, pages, body) in [
        ("empty", &["a", "b"][..], "{\"repositories\": []}"),
        ("no names", &["a", "b", "c", "d", "e", "f", "g", "h", "i"], many.as_str()),
        ("descending", &["b", "a"], "{\"repositories\": [\"lib/a\"]}"),
        ("the same page", &["a", "a"], "{\"repositories\": [\"lib/a\"]}"),
    ] {
        liar.says(FIRST, &[("link", &link(pages[0]))], body);
        for pair in pages.windows(2) {
            liar.says(&format!("/v2/_catalog?n=1000&last={}", pair[0]), &[("link", &link(pair[1]))], body);
        }
        for _ in 0..2 {
            let failed = catalogue.sweep("reg").await.unwrap_err().to_string();
            assert!(failed.contains("has no end"), "{what}: {failed}");
        }
        assert_eq!(listed(&catalogue), ["lib/a", "lib/b"], "{what}");
        for page in pages {
            liar.forget(&format!("/v2/_catalog?n=1000&last={page}"));
        }
    }
    liar.says(FIRST, &[], "{\"repositories\": [\"lib/a\", \"lib/b\"]}");
    assert_eq!(catalogue.sweep("reg").await.unwrap(), Swept::Complete(2));
}

/// One list that is too long, or no list, is one repository's trouble: the others are listed, and what was known of it stays.
#[tokio::test]
async fn one_repository_that_cannot_be_listed_keeps_no_other_from_it() {
    let (liar, _bed, catalogue) = bed().await;
    liar.says(FIRST, &[], "{\"repositories\": [\"lib/b\", \"lib/huge\", \"lib/many\", \"lib/new\"]}");
    let tags = |count: usize| {
        let all: Vec<String> = (0..count).map(|number| format!("\"t{number:05}\"")).collect();
        format!("{{\"tags\": [{}]}}", all.join(","))
    };
    liar.says("/v2/lib/huge/tags/list", &[], &format!("{{\"tags\": [\"{}\"]}}", "x".repeat(17 << 20)));
    liar.says("/v2/lib/many/tags/list", &[], &tags(20_000));
    liar.says("/v2/lib/new/tags/list", &[], "{\"tags\": [\"v1\"]}");
    assert_eq!(catalogue.sweep("reg").await.unwrap(), Swept::Complete(4));
    assert_eq!(
        listed(&catalogue),
        ["lib/a", "lib/b", "lib/many", "lib/new"],
        "what is too long is not listed, and the rest is"
    );
    assert_eq!(catalogue.listing("reg").get("lib/many").unwrap().tags, 20_000);
    let told = error(&catalogue).await;
    assert!(told.contains("longer than"), "{told}");
}

/// Whatever is sent elsewhere is sent without our token, and nothing is.
#[tokio::test]
async fn a_redirect_and_a_link_to_another_host_are_not_followed() {
    let elsewhere = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&elsewhere);
    let count = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async { "{\"repositories\": [\"evil/x\"]}" }
    };
    let other = serve(Router::new().fallback(count)).await;
    let (liar, _bed, catalogue) = bed().await;
    liar.says_with(307, FIRST, &[("location", &format!("{other}/v2/_catalog"))], "");
    let failed = catalogue.sweep("reg").await.unwrap_err().to_string();
    assert!(failed.contains("307"), "{failed}");
    assert_eq!(listed(&catalogue), ["lib/a", "lib/b"]);
    let to_other = format!("<{other}/v2/_catalog?last=lib%2Fb&n=1000>; rel=\"next\"");
    liar.says(FIRST, &[("link", &to_other)], "{\"repositories\": [\"lib/a\", \"lib/b\"]}");
    liar.says("/v2/_catalog?n=1000&last=lib%2Fb", &[], "{\"repositories\": []}");
    assert_eq!(catalogue.sweep("reg").await.unwrap(), Swept::Complete(2), "the next page is asked of the registry");
    liar.forget("/v2/_catalog?n=1000&last=lib%2Fb");
    assert_eq!(elsewhere.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_manifest_that_is_not_what_its_digest_names_is_not_shown() {
    let (liar, _bed, catalogue) = bed().await;
    let body = "{\"schemaVersion\": 2, \"config\": {\"mediaType\": \"c\", \"size\": 1}, \"layers\": []}";
    let hashed = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body.as_bytes());
    let right = hashed.as_ref().iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"));
    let wrong = format!("sha256:{}", "0".repeat(64));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let serve = |named: &str, body: &str| {
        for reference in ["v1", &right, &wrong] {
            let headers = [("docker-content-digest", named), ("content-type", kind)];
            liar.says(&format!("/v2/lib/a/manifests/{reference}"), &headers, body);
        }
    };
    serve(&wrong, body);
    let told = catalogue.open_tag("reg", "lib/a", "v1").await;
    assert!(matches!(&told, Err(NoDetails::Registry(failure)) if failure.to_string().contains("digest")), "{told:?}");
    serve(&right, body);
    assert_eq!(catalogue.open_tag("reg", "lib/a", "v1").await.unwrap().digest, right);
}

/// While the records are away, events are refused, and none that was answered with 202 is lost.
#[tokio::test]
async fn events_are_refused_while_nobody_can_keep_them() {
    let bed = Bed::with(
        "registries: {reg: {url: \"http://127.0.0.1:9\", events: {secret: 0123456789abcdef}}}\n\
         records: {sqlite: $DIR/dockwarden.db}\n",
    );
    bed.app.prepare().await.unwrap();
    let send = async |id: &str| {
        let event = json!({"events": [{"id": id, "timestamp": "2026-11-30T04:05:06Z", "action": "push",
            "target": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1,
                "digest": format!("sha256:{}", "a".repeat(64)), "repository": "lib/x", "tag": id},
            "request": {"method": "PUT"}, "actor": {"name": "ann"}}]});
        let asked = bed.request(axum::http::Method::POST, "/api/v1/events");
        let asked = asked.header("authorization", "Bearer 0123456789abcdef").body(&event.to_string());
        asked.send().await
    };
    assert_eq!(send("one").await.status, 202);
    // Somebody else writes, and does not end.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(bed.folder.path("dockwarden.db"));
    let mut other = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let refused = send("two").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(!refused.header("retry-after").is_empty());
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    let mut status = 503;
    for _ in 0..100 {
        status = send("two").await.status;
        if status == 202 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(status, 202);
    let records = Arc::clone(&bed.app.snapshot().records.as_ref().unwrap().records);
    let mut kept: Vec<String> = records.waiting_events(10).await.unwrap().into_iter().map(|event| event.id).collect();
    kept.sort();
    assert_eq!(kept, ["one", "two"]);
}
