//! One catalog of several real registries, and of one that hangs.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::dockwarden::{events, password};
use crate::support::gateway::{self, Challenge};
use crate::support::http::{self, Reply};
use crate::support::machine;
use crate::support::registry::{Edition, Registry};
use crate::support::standin::{Standin, Then};
use crate::support::visit::{basic, digest, manifest};

fn call(address: &str, method: &str, target: &str, body: &[u8]) -> Reply {
    let authorization = basic("boss", &password("boss"));
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", kind)];
    http::exchange(address, &http::request(method, target, "x", &headers, body))
}

/// Puts the smallest image.
fn put(address: &str, repository: &str) {
    let blob = repository.as_bytes();
    let begun = call(address, "POST", &format!("/v2/{repository}/blobs/uploads/"), b"");
    let target = format!("{}&digest={}", begun.header("location").unwrap(), http::form_encode(&digest(blob)));
    assert_eq!(call(address, "PUT", &target, blob).status, 201);
    let target = format!("/v2/{repository}/manifests/1");
    assert_eq!(call(address, "PUT", &target, &manifest(blob, repository)).status, 201);
}

#[test]
fn both_registries_are_one_sorted_catalog_whatever_the_pages() {
    let registries = Edition::ALL.map(|edition| Registry::start_with_passwords(edition, &gateway::inside()));
    let [old, new] = &registries;
    let url = |registry: &Registry| format!("url: \"http://{}\", {}", registry.address(), gateway::login());
    let gateway = gateway::start(Challenge::Basic, &[url(old) + ", prefix: team", url(new)]);
    // In the registries' own order: part by part.
    let names = ["a/z", "a-b", "public/app", "team/a/b", "team/a-b", "team/a.b", "team/b/c", "team-x/a", "teams", "z"];
    for name in names {
        put(&gateway.address, name);
    }
    for n in 1..=names.len() + 1 {
        let (mut seen, mut target) = (Vec::new(), format!("/v2/_catalog?n={n}"));
        loop {
            let reply = call(&gateway.address, "GET", &target, b"");
            assert_eq!(reply.status, 200, "{}", reply.text());
            let page = reply.json()["repositories"].clone();
            seen.extend(page.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()));
            let Some(link) = reply.header("link") else { break };
            link.strip_prefix('<').and_then(|link| link.split_once('>')).unwrap().0.clone_into(&mut target);
        }
        assert_eq!(seen, names, "in pages of {n}");
    }
}

/// `response_timeout` is for blobs that are put together; nobody waits as long for names.
#[test]
fn an_upstream_that_hangs_is_left_out_of_the_catalog_in_time() {
    let hangs = Standin::start(|_, stream| {
        // Until the gateway has had enough.
        std::io::copy(stream, &mut std::io::sink()).ok();
        Then::Close
    });
    let registry = Registry::start_with_passwords(Edition::V3, &gateway::inside());
    let gateway = gateway::start(
        Challenge::Basic,
        &[
            format!("url: \"http://{}\", prefix: team", hangs.address),
            format!("url: \"http://{}\", {}", registry.address(), gateway::login()),
            format!("url: \"http://{}\", name: alone, host: alone.test", hangs.address),
        ],
    );
    put(&gateway.address, "public/app");
    let began = Instant::now();
    let joint = call(&gateway.address, "GET", "/v2/_catalog", b"");
    assert_eq!((joint.status, joint.json()["repositories"].clone()), (200, Value::from(vec!["public/app"])));
    let line = gateway.process.until("the line that tells of it", |process| {
        events(&process.log(), "the catalog is shown without this upstream's repositories").pop()
    });
    assert_eq!((&line["reason"], &line["because"]), (&"catalog_left_out".into(), &"upstream_timeout".into()));
    let authorization = basic("boss", &password("boss"));
    let raw = http::request("GET", "/v2/_catalog", "alone.test", &[("Authorization", authorization.as_str())], b"");
    assert_eq!(http::exchange(&gateway.address, &raw).status, 504);
    assert!(machine::elapsed(began) < Duration::from_secs(30), "{:?}", began.elapsed());
}
