//! Everything beside the token itself: the key set, health, metrics, prefixes, HSTS, and whose word on an address counts.

use axum::http::Method;
use dockwarden::client_address::Peer;
use jsonwebtoken::Algorithm;
use serde_json::Value;

use crate::bed::{ALICE, Ask, Bed, Folder, NOBODY, pair};

#[tokio::test]
async fn the_key_set_holds_the_public_key_under_both_ids() {
    for (algorithm, name, kind, members) in [
        (Algorithm::ES256, "ES256", "EC", &["alg", "crv", "kid", "kty", "use", "x", "y"] as &[&str]),
        (Algorithm::ES384, "ES384", "EC", &["alg", "crv", "kid", "kty", "use", "x", "y"]),
        (Algorithm::RS256, "RS256", "RSA", &["alg", "e", "kid", "kty", "n", "use"]),
    ] {
        let folder = Folder::new();
        folder.put_pair(pair(algorithm));
        let bed = Bed::in_folder(folder, "");
        let set = bed.get("/.well-known/jwks.json").send().await.ok().json();
        let keys = set["keys"].as_array().unwrap();
        assert_eq!(keys.len(), 2, "{set}");
        for key in keys {
            let own: Vec<&String> = key.as_object().unwrap().keys().collect();
            assert_eq!(own, members, "no member of a private key: {key}");
            assert_eq!(
                (&key["alg"], &key["kty"], &key["use"]),
                (&Value::from(name), &Value::from(kind), &Value::from("sig"))
            );
        }
        let (libtrust, thumbprint) = (keys[0]["kid"].as_str().unwrap(), keys[1]["kid"].as_str().unwrap());
        let groups: Vec<&str> = libtrust.split(':').collect();
        assert!(groups.len() == 12 && groups.iter().all(|group| group.len() == 4), "{libtrust}");
        assert_eq!(thumbprint.len(), 43, "{thumbprint}");
        // The one that tokens carry is among them.
        let used = bed.get("/auth?service=registry").by(ALICE).send().await.ok().token_header();
        assert_eq!(used["kid"], libtrust);
    }
}

#[tokio::test]
async fn health_and_metrics_are_served_where_they_are_configured() {
    let together = Bed::with("");
    let apart = Bed::with("server: {addr: \"127.0.0.1:0\", admin_addr: \"127.0.0.1:0\"}");
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(together.get(path).send().await.status, 200, "{path}");
        assert_eq!(apart.get(path).send().await.status, 404, "{path} on the public listener");
        assert_eq!(Ask::new(apart.admin(), Method::GET, path).send().await.status, 200, "{path} on its own listener");
        assert_eq!(together.post(path, "").send().await.status, 405, "{path}");
    }
    for path in ["/auth", "/token", "/.well-known/jwks.json"] {
        assert_eq!(Ask::new(apart.admin(), Method::GET, path).send().await.status, 404, "{path} on the admin listener");
    }
}

#[tokio::test]
async fn a_server_that_stops_says_so() {
    let bed = Bed::with("");
    assert_eq!(bed.get("/readyz").send().await.header("connection"), "");
    bed.app.begin_stopping();
    assert_eq!(bed.get("/readyz").send().await.status, 503);
    assert_eq!(bed.get("/healthz").send().await.status, 200);
    // Requests that still arrive are answered, and the connection is not used again.
    let reply = bed.get("/auth?service=registry").by(ALICE).send().await.ok();
    assert_eq!(reply.header("connection"), "close");
}

#[tokio::test]
async fn metrics_count_requests_by_outcome() {
    let bed = Bed::with("");
    let asks = [
        ("login", 3, "/auth?service=registry"),
        ("granted", 1, "/auth?service=registry&scope=repository:alice/a:pull"),
        ("partly_granted", 1, "/auth?service=registry&scope=repository:pub/a:pull,push"),
        ("nothing_granted", 2, "/auth?service=registry&scope=repository:bob/a:pull"),
        ("bad_request", 1, "/auth"),
    ];
    for (_, times, target) in asks {
        for _ in 0..times {
            bed.get(target).by(ALICE).send().await;
        }
    }
    bed.get("/auth?service=registry").basic("alice", "wrong").send().await;
    bed.post("/auth", "grant_type=refresh_token").send().await;
    let text = bed.get("/metrics").send().await.ok().text();
    let expected = asks.map(|(outcome, times, _)| (outcome, times));
    for (outcome, times) in expected.into_iter().chain([("wrong_credentials", 1), ("unsupported_grant_type", 1)]) {
        let line = format!("dockwarden_token_requests_total{{outcome=\"{outcome}\"}} {times}");
        assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
    }
    let value = |name: &str| {
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.split(' ').nth(1))
            .unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .parse::<f64>()
            .unwrap()
    };
    // Ten GETs and one refused form; two passwords were hashed, the right one once. The rules were asked whenever somebody
    // was let in, for no scope too.
    assert_eq!(value("dockwarden_token_request_seconds_count"), 10.0);
    assert_eq!(value("dockwarden_password_hash_seconds_count"), 2.0);
    assert_eq!(value("dockwarden_decision_seconds_count"), 7.0);
    assert!((0.0..1.0).contains(&value("dockwarden_decision_seconds_sum")), "{text}");
    assert_eq!(value("dockwarden_header_fallback"), 0.0);
    assert!(value("dockwarden_snapshot_age_seconds") < 60.0);
    let certificate = bed.app.snapshot().issuer.key().not_after().unix_timestamp();
    assert_eq!(value("dockwarden_certificate_expiry_timestamp_seconds"), certificate as f64);
    assert!(text.ends_with("# EOF\n"));
    assert!(!text.contains("alice"), "accounts are no metrics");
}

#[tokio::test]
async fn the_prefix_is_part_of_every_token_path() {
    for written in ["/registry", "/registry/", "/a/b.c-d_e~f"] {
        let bed = Bed::with(&format!("server: {{addr: \"127.0.0.1:0\", path_prefix: {written}}}"));
        let prefix = written.trim_end_matches('/');
        for path in ["/auth", "/auth/", "/auth/token", "/auth/token/", "/token", "/init/registry/token"] {
            let target = format!("{prefix}{path}?service=registry");
            assert_eq!(bed.get(&target).by(ALICE).send().await.status, 200, "{target}");
            let without = format!("{path}?service=registry");
            assert_eq!(bed.get(&without).by(ALICE).send().await.status, 404, "{without}");
        }
        assert_eq!(bed.get(&format!("{prefix}/.well-known/jwks.json")).send().await.status, 200);
        assert_eq!(bed.get("/.well-known/jwks.json").send().await.status, 200);
        assert_eq!(bed.get("/healthz").send().await.status, 200);
    }
}

#[tokio::test]
async fn hsts_is_sent_where_it_is_configured() {
    for (server, expected) in [
        ("server: {addr: \"127.0.0.1:0\"}", ""),
        ("server: {addr: \"127.0.0.1:0\", hsts: false}", ""),
        ("server: {addr: \"127.0.0.1:0\", hsts: true}", "max-age=31536000"),
        ("server: {addr: \"127.0.0.1:0\", hsts: yes}", "max-age=31536000"),
    ] {
        let bed = Bed::with(server);
        for path in ["/auth?service=registry", "/auth", "/nowhere", "/healthz"] {
            let reply = bed.get(path).send().await;
            assert_eq!(reply.header("strict-transport-security"), expected, "{server} {path}");
        }
    }
}

const BY_ADDRESS: &str = "acl: [{match: {ip: 10.1.0.0/16}, actions: [push]}, {match: {ip: \"2001:db8::/32\"}, actions: [delete]}, {match: {}, actions: [pull]}]";

/// Header lines by name.
type Lines<'a> = &'a [(&'a str, &'a str)];

/// Whose address decides: `push` for 10.1.0.0/16, `delete` for 2001:db8::/32, otherwise `pull`, or a refusal.
#[tokio::test]
async fn an_address_is_believed_from_trusted_proxies_only() {
    let plain = "";
    let proxies = ", trusted_proxies: [192.0.2.0/24, \"fd00::/8\", unix]";
    let other_header = ", trusted_proxies: [192.0.2.1], real_ip_header: X-Client";
    let position = ", real_ip_header: X-Forwarded-For";
    let last = ", real_ip_header: X-Forwarded-For, real_ip_pos: -1";
    let second = ", real_ip_header: X-Forwarded-For, real_ip_pos: 1";
    let beyond = ", real_ip_header: X-Forwarded-For, real_ip_pos: -5";
    // Setting, peer, header lines, what is granted (or the status).
    let cases: &[(&str, &str, Lines<'_>, Result<&str, u16>)] = &[
        (plain, "10.1.2.3", &[], Ok("push")),
        (plain, "::ffff:10.1.2.3", &[], Ok("push")),
        (plain, "2001:db8::1", &[], Ok("delete")),
        (plain, "203.0.113.9", &[("x-forwarded-for", "10.1.2.3")], Ok("pull")),
        (plain, "203.0.113.9", &[("forwarded", "for=10.1.2.3"), ("x-real-ip", "10.1.2.3")], Ok("pull")),
        (plain, "unix", &[("x-forwarded-for", "10.1.2.3")], Ok("pull")),
        (proxies, "192.0.2.1", &[("x-forwarded-for", "10.1.2.3")], Ok("push")),
        (proxies, "192.0.2.1", &[("x-forwarded-for", "10.1.2.3, 203.0.113.9")], Ok("pull")),
        (proxies, "192.0.2.1", &[("x-forwarded-for", "203.0.113.9, 10.1.2.3, 192.0.2.7")], Ok("push")),
        // A proxy that adds a line of its own: the client's line is not the one in charge.
        (proxies, "192.0.2.1", &[("x-forwarded-for", "10.1.2.3"), ("x-forwarded-for", "203.0.113.9")], Ok("pull")),
        (proxies, "192.0.2.1", &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "10.1.2.3:4711")], Ok("push")),
        (proxies, "192.0.2.1", &[("x-forwarded-for", "[2001:db8::1]:80")], Ok("delete")),
        (proxies, "192.0.2.1", &[("x-forwarded-for", "[2001:db8::1]")], Ok("delete")),
        (proxies, "192.0.2.1", &[("x-forwarded-for", "::ffff:10.1.2.3")], Ok("push")),
        (proxies, "fd00::1", &[("x-forwarded-for", "10.1.2.3")], Ok("push")),
        (proxies, "unix", &[("x-forwarded-for", "10.1.2.3")], Ok("push")),
        (proxies, "203.0.113.9", &[("x-forwarded-for", "10.1.2.3")], Ok("pull")),
        (proxies, "192.0.2.1", &[], Ok("pull")),
        // A proxy that does not know its client: no rule with an address is about it, also not one with the proxy's own.
        (proxies, "192.0.2.1", &[("x-forwarded-for", "unknown")], Ok("pull")),
        (proxies, "192.0.2.1", &[("x-forwarded-for", "10.1.2.3, unknown")], Ok("pull")),
        (proxies, "192.0.2.1", &[("x-forwarded-for", "10.1.2.3,")], Ok("push")),
        (proxies, "192.0.2.1", &[("x-forwarded-for", "6.6.6.6,, 10.1.2.3, ,")], Ok("push")),
        (proxies, "192.0.2.1", &[("x-forwarded-for", "10.1.2.3, junk")], Err(400)),
        (proxies, "192.0.2.1", &[("x-forwarded-for", "10.1.2.3 203.0.113.9")], Err(400)),
        (proxies, "203.0.113.9", &[("x-forwarded-for", "unknown")], Ok("pull")),
        (other_header, "192.0.2.1", &[("x-client", "10.1.2.3"), ("x-forwarded-for", "6.6.6.6")], Ok("push")),
        (other_header, "192.0.2.1", &[("x-forwarded-for", "10.1.2.3")], Ok("pull")),
        // docker_auth's way, from whoever connects.
        (position, "203.0.113.9", &[("x-forwarded-for", "10.1.2.3, 192.0.2.7")], Ok("push")),
        (last, "203.0.113.9", &[("x-forwarded-for", "10.1.2.3, 192.0.2.7")], Ok("pull")),
        (last, "203.0.113.9", &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "10.1.2.3")], Ok("push")),
        (second, "203.0.113.9", &[("x-forwarded-for", "6.6.6.6, 10.1.2.3")], Ok("push")),
        (beyond, "203.0.113.9", &[("x-forwarded-for", "10.1.2.3, 6.6.6.6")], Ok("push")),
        // Where docker_auth dropped the connection.
        (second, "10.1.2.3", &[("x-forwarded-for", "10.1.2.3")], Err(400)),
        (position, "10.1.2.3", &[], Err(400)),
        (position, "10.1.2.3", &[("x-forwarded-for", "")], Err(400)),
        (position, "10.1.2.3", &[("x-forwarded-for", "unknown")], Err(400)),
        (last, "203.0.113.9", &[("x-forwarded-for", "6.6.6.6, 10.1.2.3,")], Ok("push")),
        (position, "unix", &[("x-forwarded-for", "10.1.2.3")], Ok("push")),
    ];
    for (setting, peer, lines, expected) in cases {
        let bed = Bed::with(&format!("server: {{addr: \"127.0.0.1:0\"{setting}}}\n{BY_ADDRESS}"));
        let ask = bed.get("/auth?service=registry&scope=repository:a:pull,push,delete").by(NOBODY);
        let mut ask = if *peer == "unix" { ask.peer(Peer::Unix) } else { ask.from(peer) };
        for (name, value) in *lines {
            ask = ask.header(name, value);
        }
        let reply = ask.send().await;
        let case = format!("{setting} {peer} {lines:?}");
        match expected {
            Ok(action) => assert_eq!(reply.ok().access(), [format!("repository:a:{action}")], "{case}"),
            Err(status) => assert_eq!((reply.status, reply.code().as_str()), (*status, "UNSUPPORTED"), "{case}"),
        }
    }
}

/// docker_auth's chart and balancers ask `/` whether the server lives; it says no more than that.
#[tokio::test]
async fn whoever_asks_at_the_root_whether_the_server_lives_is_told() {
    let forward_auth = "forward_auth: {trusted_proxies: [192.0.2.7], service: registry}\n";
    let gateway = "gateway: {service: registry, upstreams: [{url: \"http://127.0.0.1:1\"}]}\n";
    for (config, paths, elsewhere) in [
        ("", &["/"][..], &["/registry/"][..]),
        ("server: {addr: \"127.0.0.1:0\", path_prefix: /registry}\n", &["/", "/registry/"], &["/registry", "/other/"]),
        ("server: {addr: \"127.0.0.1:0\", admin_addr: \"127.0.0.1:0\"}\n", &["/"], &[]),
        (forward_auth, &["/"], &[]),
        (gateway, &["/"], &[]),
    ] {
        let bed = Bed::with(config);
        for path in paths {
            let got = bed.get(path).send().await.ok();
            assert_eq!((got.text().as_str(), got.header("content-type")), ("ok\n", "text/plain; charset=utf-8"));
            let told: Vec<&str> = got.headers.keys().map(|name| name.as_str()).collect();
            assert!(told.iter().all(|name| ["content-type", "content-length", "date"].contains(name)), "{told:?}");
            let head = bed.request(Method::HEAD, path).send().await;
            assert_eq!((head.status, head.text().as_str()), (200, ""), "{config}");
            assert_eq!(bed.post(path, "").send().await.status, 405, "{config}");
        }
        for path in elsewhere {
            assert_eq!(bed.get(path).send().await.status, 404, "{config}{path}");
        }
    }
    // The gateway's own listener has the registry's addresses alone, and monitoring's its own.
    let bed = Bed::with(gateway);
    assert_eq!(bed.get("/v2/").send().await.status, 401);
    for router in [dockwarden::http::gateway(&bed.app), bed.admin()] {
        assert_eq!(Ask::new(router, Method::GET, "/").send().await.status, 404);
    }
}

/// What balancers and orchestrators send is no more than this.
#[tokio::test]
async fn the_root_answers_the_health_checks_of_balancers() {
    let checks: &[&[(&str, &str)]] = &[
        &[("user-agent", "GoogleHC/1.0"), ("connection", "Keep-alive")],
        &[("user-agent", "ELB-HealthChecker/2.0"), ("connection", "close"), ("accept-encoding", "gzip, compressed")],
        &[("user-agent", "kube-probe/1.31"), ("accept", "*/*"), ("connection", "close")],
        &[("user-agent", "Envoy/HC")],
        &[("user-agent", "curl/8.14.1"), ("accept", "*/*")],
        &[("user-agent", "Wget"), ("connection", "close")],
        // HAProxy's.
        &[],
    ];
    let bed = Bed::with("");
    for check in checks {
        for method in [Method::GET, Method::HEAD] {
            let mut ask = bed.request(method, "/").header("host", "192.0.2.1:5001");
            for (name, value) in *check {
                ask = ask.header(name, value);
            }
            assert_eq!(ask.send().await.status, 200, "{check:?}");
        }
    }
}

/// A proxy that asks here instead of at `/forward_auth` must not take that for a yes.
#[tokio::test]
async fn the_root_is_no_answer_to_a_proxy_that_asks_about_a_request() {
    let section = "forward_auth: {trusted_proxies: [192.0.2.7, unix], service: registry}\n";
    let passed_on = [
        "x-original-uri",
        "X-Original-URL",
        "x-original-method",
        "X-Original-Forwarded-For",
        "x-forwarded-uri",
        "X-Forwarded-Method",
        "X-Forwarded-For",
        "x-forwarded-host",
        "X-Forwarded-Proto",
        "x-forwarded-port",
        "X-Real-IP",
        "Forwarded",
        "Authorization",
        "Cookie",
    ];
    for config in ["", section, "server: {addr: \"127.0.0.1:0\", trusted_proxies: [192.0.2.7]}\n"] {
        let bed = Bed::with(config);
        for name in passed_on {
            for (method, value) in [(Method::GET, "/v2/"), (Method::HEAD, "192.0.2.9"), (Method::GET, "")] {
                let reply = bed.request(method, "/").from("192.0.2.7").header(name, value).send().await;
                assert_eq!(reply.status, 404, "{config}{name}");
            }
        }
        // One that tells nothing of the request is known by its address.
        let expected = if config == section { 404 } else { 200 };
        assert_eq!(bed.get("/").from("192.0.2.7").send().await.status, expected, "{config}");
        let by_socket = bed.get("/").peer(Peer::Unix).send().await;
        assert_eq!(by_socket.status, expected, "{config}");
    }
}
