//! What of a request goes on to the upstream: nothing that was not decided on, and nothing a second time.

use super::upstream::Upstream;
use super::{DIGEST, ask, before, gateway};
use crate::bed::{ALICE, Chunk};
use crate::logs::{Form, Log};

/// A mount is a read of another repository, with our own rights: only of one that was decided on, and at the same place.
#[tokio::test]
async fn a_mount_that_cannot_be_trusted_begins_an_upload_instead() {
    let [web, other] = [Upstream::with_headers(&[]).await, Upstream::with_headers(&[]).await];
    let bed = gateway(&format!(
        "{{service: registry, upstreams: [{{url: \"http://{}\", prefix: web}}, {{url: \"http://{}\"}}]}}",
        web.address, other.address
    ));
    let start = "/v2/web/app/blobs/uploads/";
    for (query, expected) in [
        ("?mount=DIGEST&from=web%2Fapp", Some("?mount=DIGEST&from=web%2Fapp")),
        ("?mount=DIGEST&from=other%2Fapp", Some("")),
        // Without a source, some registries look in all of theirs.
        ("?mount=DIGEST", Some("")),
        ("?mount=DIGEST&from=", Some("")),
        ("?digest=DIGEST", Some("?digest=DIGEST")),
        ("?from=other%2Fapp", Some("")),
    ] {
        let reply = ask(&bed, "POST", &format!("{start}{query}")).by(ALICE).send().await;
        let arrived: Vec<String> = web.take().into_iter().map(|arrival| arrival.target).collect();
        let expected: Vec<String> =
            expected.iter().map(|query| format!("{start}{query}").replace("DIGEST", DIGEST)).collect();
        assert_eq!((reply.status, arrived), (200, expected), "{query}");
    }
    for from in ["other%2Fapp", "web%2Fapp"] {
        let elsewhere = ask(&bed, "GET", &format!("/v2/web/app/manifests/v1?from={from}")).by(ALICE).send().await;
        assert_eq!(elsewhere.status, 400, "nothing is mounted there");
    }
    assert!(other.take().is_empty() && web.take().is_empty());
}

/// What an upstream may read, and the decision did not, does not go on.
#[tokio::test]
async fn queries_go_on_as_far_as_they_were_decided_on() {
    let upstream = Upstream::with_headers(&[]).await;
    let bed = before(&upstream, "");
    for (method, target, expected) in [
        ("GET", "/v2/web/app/manifests/v1?ns=docker.io", Some("/v2/web/app/manifests/v1")),
        ("HEAD", "/v2/web/app/blobs/DIGEST?ns=docker.io", Some("/v2/web/app/blobs/DIGEST")),
        ("GET", "/v2/web/app/tags/list?n=1&ns=ghcr.io&last=a", Some("/v2/web/app/tags/list?n=1&last=a")),
        ("GET", "/v2/web/app/tags/list?n=1&last=a", Some("/v2/web/app/tags/list?n=1&last=a")),
        (
            "POST",
            "/v2/web/app/blobs/uploads/?from=other%2Fapp&mount=DIGEST&origin=c.test",
            Some("/v2/web/app/blobs/uploads/?from=other%2Fapp&mount=DIGEST"),
        ),
        // No part of a request: nobody who reads targets ever sees it.
        ("GET", "/v2/web/app/manifests/v1#/../../secret", Some("/v2/web/app/manifests/v1")),
        ("GET", "/v2/web/app/tags/list?n=1#&ns=x", Some("/v2/web/app/tags/list?n=1")),
        ("GET", "/v2/web/app/manifests/v1?namespace=secret", None),
        ("PUT", "/v2/web/app/manifests/DIGEST?tag=v1", None),
        ("POST", "/v2/web/app/blobs/uploads/?mount=DIGEST&From=secret%2Fapp", None),
        ("POST", "/v2/web/app/blobs/uploads/?Mount=DIGEST&from=web%2Fapp", None),
        ("POST", "/v2/web/app/blobs/uploads/?m%6Funt=DIGEST", None),
        ("PUT", "/v2/web/app/blobs/uploads/1?_state=a%2b&x;y", None),
        (
            "PUT",
            "/v2/web/app/blobs/uploads/1?_state=a%2B_-%3d%3D&upload=1&&digest=DIGEST",
            Some("/v2/web/app/blobs/uploads/1?_state=a%2B_-%3d%3D&upload=1&&digest=DIGEST"),
        ),
    ] {
        let reply = ask(&bed, method, target).by(ALICE).send().await;
        let arrived: Vec<String> = upstream.take().into_iter().map(|arrival| arrival.target).collect();
        let expected: Vec<String> = expected.iter().map(|target| target.replace("DIGEST", DIGEST)).collect();
        assert_eq!(arrived, expected, "{method} {target}");
        assert_eq!(reply.status, if expected.is_empty() { 400 } else { 200 }, "{method} {target}");
    }
}

/// A body where none has a meaning could be the next request to whoever does not look for one.
#[tokio::test]
async fn what_has_no_body_goes_on_without_one() {
    let upstream = Upstream::with_headers(&[]).await;
    let bed = before(&upstream, "");
    let target = "/v2/web/app/manifests/DIGEST";
    for method in ["GET", "HEAD", "DELETE"] {
        for (chunks, expected) in [
            (vec![], 200),
            (vec![Chunk::Data("")], 200),
            (vec![Chunk::Data(""), Chunk::Data("GET /v2/secret/app/manifests/v1 HTTP/1.1\r\n\r\n")], 400),
            (vec![Chunk::Broken], 400),
        ] {
            let reply = ask(&bed, method, target).by(ALICE).chunks(chunks).send().await;
            assert_eq!(reply.status, expected, "{method}");
            match expected {
                200 => {
                    let arrival = upstream.only();
                    let framing = ["content-length", "transfer-encoding"].map(|name| arrival.header(name).to_owned());
                    assert_eq!(framing, ["", ""], "{method}");
                }
                _ => assert!(upstream.take().is_empty(), "{method}"),
            }
        }
        let reply = ask(&bed, method, target).by(ALICE).body("x").send().await;
        assert_eq!((reply.status, upstream.take().len()), (400, 0), "{method}");
    }
}

/// Each upstream is told who passes a request on, and by that it is known when it comes back, after a reload too.
#[tokio::test]
async fn a_request_that_comes_back_is_refused() {
    let upstream = Upstream::with_headers(&[]).await;
    let bed = before(&upstream, "");
    let mut ours = String::new();
    for (target, expected) in [("/v2/web/app/manifests/v1", 200), ("/v2/_catalog", 502)] {
        let reply = ask(&bed, "GET", target).by(ALICE).header("via", "1.0 another").send().await;
        assert_eq!(reply.status, expected, "{target}");
        let arrival = upstream.only();
        let lines: Vec<&str> = arrival.headers.get_all("via").iter().map(|line| line.to_str().unwrap()).collect();
        let [first, last] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(*first == "1.0 another" && last.starts_with("1.1 dockwarden-"), "{lines:?}");
        assert!(ours.is_empty() || ours == *last, "one name of this process");
        (*last).clone_into(&mut ours);
    }
    for _ in 0..2 {
        for (method, target) in [("GET", "/v2/web/app/manifests/v1"), ("PUT", "/v2/web/app/blobs/x"), ("GET", "/v2/")] {
            let log = Log::start(Form::Json);
            let reply = ask(&bed, method, target).by(ALICE).header("via", &format!("1.0 another, {ours}")).send().await;
            assert_eq!((reply.status, reply.code().as_str()), (508, "UNAVAILABLE"), "{method} {target}");
            assert!(log.text().contains("\"gateway_loop\""), "{}", log.text());
        }
        bed.app.reload();
    }
    assert!(upstream.take().is_empty());
}
