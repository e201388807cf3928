//! The gateway in this process: who may pass, what arrives at the upstream, and what comes back.

mod catalog;
mod login;
mod onward;
mod streams;
mod upstream;

use axum::http::{Method, Response};
use dockwarden::client_address::Peer;

use crate::bed::{ALICE, Ask, BOB, Bed, Caller, NOBODY};
use crate::logs::{Form, Log};
use upstream::{Upstream, status, text};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const RULES: &str = r#"
acl:
  - match: {account: alice, name: web/app}
    actions: ["*"]
  - match: {account: alice, name: "other/*"}
    actions: [pull]
  - match: {account: alice, name: "locked/*"}
    actions: ["*"]
  - match: {account: alice, name: "dead/*"}
    actions: ["*"]
  - match: {account: bob, name: web/app, tag: "v*"}
    actions: [pull]
  - match: {name: "pub/*"}
    actions: [pull]
"#;

/// A server with this `gateway` section and the rules above.
fn gateway(section: &str) -> Bed {
    Bed::with(&format!("gateway: {section}\n{RULES}"))
}

/// The same with one upstream.
fn before(upstream: &Upstream, more: &str) -> Bed {
    gateway(&format!("{{service: registry, upstreams: [{{url: \"http://{}\"{more}}}]}}", upstream.address))
}

fn ask(bed: &Bed, method: &str, target: &str) -> Ask {
    bed.request(Method::from_bytes(method.as_bytes()).unwrap(), &target.replace("DIGEST", DIGEST))
}

#[tokio::test]
async fn each_request_passes_for_whom_the_rules_allow_it() {
    let upstream = Upstream::with_headers(&[]).await;
    let bed = before(&upstream, "");
    let wrong = Caller::Account("alice", "wrong");
    for (caller, method, target, expected, code) in [
        (NOBODY, "GET", "/v2/web/app/manifests/v1", 401, "UNAUTHORIZED"),
        (NOBODY, "GET", "/v2/pub/app/manifests/v1", 200, ""),
        (wrong, "GET", "/v2/pub/app/manifests/v1", 401, "UNAUTHORIZED"),
        (Caller::Header("Basic ???"), "GET", "/v2/pub/app/manifests/v1", 401, "UNAUTHORIZED"),
        (ALICE, "GET", "/v2/web/app/manifests/v1", 200, ""),
        (ALICE, "PUT", "/v2/web/app/manifests/v1", 200, ""),
        (ALICE, "DELETE", "/v2/web/app/manifests/DIGEST", 200, ""),
        (ALICE, "PUT", "/v2/other/app/manifests/v1", 403, "DENIED"),
        (ALICE, "GET", "/v2/secret/app/manifests/v1", 403, "DENIED"),
        (ALICE, "POST", "/v2/web/app/blobs/uploads/?mount=DIGEST&from=other%2Fapp", 200, ""),
        (ALICE, "POST", "/v2/web/app/blobs/uploads/?mount=DIGEST&from=secret%2Fapp", 403, "DENIED"),
        // The tag is known here.
        (BOB, "GET", "/v2/web/app/manifests/v1", 200, ""),
        (BOB, "GET", "/v2/web/app/manifests/latest", 403, "DENIED"),
        // What could be read in two ways is refused before anybody is asked.
        (ALICE, "GET", "/v2/web/app/../../secret/app/manifests/v1", 400, "UNSUPPORTED"),
        (ALICE, "GET", "/v2/web%2fapp/manifests/v1", 400, "UNSUPPORTED"),
        (ALICE, "GET", "/v2//web/app/manifests/v1", 400, "UNSUPPORTED"),
        (ALICE, "GET", "/v2/WEB/app/manifests/v1", 400, "NAME_INVALID"),
        (ALICE, "POST", "/v2/web/app/blobs/uploads/?from=a&from=b", 400, "UNSUPPORTED"),
        (ALICE, "GET", "/v2/web/app/_trust/x", 404, "NOT_FOUND"),
        (ALICE, "OPTIONS", "/v2/web/app/manifests/v1", 405, "UNSUPPORTED"),
        (ALICE, "TRACE", "/v2/", 405, "UNSUPPORTED"),
    ] {
        let reply = ask(&bed, method, target).by(caller).send().await;
        let what = format!("{caller:?} {method} {target}");
        assert_eq!(reply.status, expected, "{what}: {}", reply.text());
        assert_eq!(reply.header("docker-distribution-api-version"), "registry/2.0", "{what}");
        assert_eq!(reply.header("x-decision-id").len(), 16, "{what}");
        match expected {
            200 => {
                assert_eq!(reply.text(), "from upstream", "{what}");
                assert_eq!(upstream.only().target, target.replace("DIGEST", DIGEST), "byte for byte");
            }
            _ => {
                assert_eq!(reply.code(), code, "{what}");
                assert!(upstream.take().is_empty(), "{what} reached the upstream");
            }
        }
    }
}

#[tokio::test]
async fn clients_learn_how_to_log_in_and_need_no_upstream_for_it() {
    let nobody_there = "upstreams: [{url: \"http://127.0.0.1:1\"}]";
    let basic = gateway(&format!("{{service: registry, {nobody_there}}}"));
    let first = ask(&basic, "GET", "/v2/").send().await;
    assert_eq!((first.status, first.header("www-authenticate")), (401, "Basic realm=\"Acme\""));
    for target in ["/v2/", "/v2"] {
        let reply = ask(&basic, "GET", target).by(ALICE).send().await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "{}"), "{target}");
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    let wrong = ask(&basic, "GET", "/v2/").by(Caller::Account("alice", "wrong")).send().await;
    assert_eq!(wrong.status, 401);

    let realm = "challenge: bearer, realm: \"http://auth.test/auth\"";
    let bearer = gateway(&format!("{{service: registry, {realm}, {nobody_there}}}"));
    let first = ask(&bearer, "GET", "/v2/").send().await;
    assert_eq!(first.header("www-authenticate"), "Bearer realm=\"http://auth.test/auth\",service=\"registry\"");
    let first = ask(&bearer, "PUT", "/v2/web/app/manifests/v1").send().await;
    assert_eq!(
        first.header("www-authenticate"),
        "Bearer realm=\"http://auth.test/auth\",service=\"registry\",scope=\"repository:web/app:pull,push\""
    );
    let first = ask(&bearer, "GET", "/v2/_catalog").by(Caller::Header("Bearer nonsense")).send().await;
    assert_eq!(
        first.header("www-authenticate"),
        "Bearer realm=\"http://auth.test/auth\",service=\"registry\",scope=\"registry:catalog:*\",error=\"invalid_token\""
    );
}

#[tokio::test]
async fn a_token_of_ours_opens_what_it_says() {
    let upstream = Upstream::with_headers(&[]).await;
    let bed = before(&upstream, "");
    let token = bed.get("/auth?service=registry&scope=repository:web/app:pull").by(ALICE).send().await.ok().token();
    let other = bed.get("/auth?service=other&scope=repository:web/app:pull").by(ALICE).send().await.ok().token();
    let with = |token: &str| format!("Bearer {token}");
    for (method, target, token, expected) in [
        ("GET", "/v2/web/app/manifests/v1", &token, 200),
        ("GET", "/v2/", &token, 200),
        ("PUT", "/v2/web/app/manifests/v1", &token, 401),
        ("GET", "/v2/other/app/manifests/v1", &token, 401),
        ("GET", "/v2/web/app/manifests/v1", &other, 401),
        ("GET", "/v2/", &other, 401),
    ] {
        let reply = ask(&bed, method, target).header("authorization", &with(token)).send().await;
        assert_eq!(reply.status, expected, "{method} {target}");
    }
    assert!(upstream.take().iter().all(|arrival| arrival.header("authorization").is_empty()));
}

#[tokio::test]
async fn hosts_with_services_of_their_own_have_rules_and_tokens_of_their_own() {
    let [inner, public] = [Upstream::with_headers(&[]).await, Upstream::with_headers(&[]).await];
    let bed = Bed::with(&format!(
        "gateway: {{service: registry, challenge: bearer, realm: \"http://auth.test/auth\", upstreams: [\
         {{url: \"http://{}\", host: inner.test, service: inner}}, {{url: \"http://{}\"}}]}}\n\
         acl:\n  - match: {{account: alice, service: inner, name: \"web/*\"}}\n    actions: [pull]\n  \
         - match: {{account: alice, service: registry, name: \"pub/*\"}}\n    actions: [pull]\n",
        inner.address, public.address
    ));
    let token = async |service: &str, name: &str| {
        let target = format!("/auth?service={service}&scope=repository:{name}:pull");
        format!("Bearer {}", bed.get(&target).by(ALICE).send().await.ok().token())
    };
    let (of_inner, of_public) = (token("inner", "web/app").await, token("registry", "pub/app").await);
    for (host, name, authorization, expected) in [
        ("inner.test", "web/app", of_inner.as_str(), "inner"),
        ("inner.test:5000", "web/app", &of_inner, "inner"),
        ("any.test", "pub/app", &of_public, "public"),
        // A token of one host is none at the other.
        ("any.test", "web/app", &of_inner, "401"),
        ("inner.test", "pub/app", &of_public, "401"),
    ] {
        let ask = ask(&bed, "GET", &format!("/v2/{name}/manifests/v1")).header("host", host);
        let reply = ask.header("authorization", authorization).send().await;
        let arrived = [("inner", inner.take().len()), ("public", public.take().len())];
        for (upstream, arrived) in arrived {
            assert_eq!(arrived, usize::from(upstream == expected), "{host} {name} at {upstream}: {}", reply.status);
        }
        if expected == "401" {
            assert_eq!(reply.status, 401, "{host} {name}");
        }
    }
    for (host, service) in [("inner.test", "inner"), ("any.test", "registry")] {
        let first = ask(&bed, "GET", "/v2/").header("host", host).send().await;
        assert!(first.header("www-authenticate").contains(&format!("service=\"{service}\"")), "{host}");
    }
    // And by password.
    for (host, name, status) in
        [("inner.test", "web/app", 200), ("any.test", "web/app", 403), ("inner.test", "pub/app", 403)]
    {
        let ask = ask(&bed, "GET", &format!("/v2/{name}/manifests/v1")).header("host", host);
        assert_eq!(ask.by(ALICE).send().await.status, status, "{host} {name}");
    }
}

#[tokio::test]
async fn upstreams_are_found_by_host_and_by_prefix() {
    let [rest, locked, named] =
        [Upstream::with_headers(&[]).await, Upstream::with_headers(&[]).await, Upstream::with_headers(&[]).await];
    let bed = gateway(&format!(
        "{{service: registry, upstreams: [{{url: \"http://{}\", prefix: web}}, \
         {{url: \"http://{}\", prefix: locked, read_only: true}}, {{url: \"http://{}\", host: named.test}}]}}",
        rest.address, locked.address, named.address
    ));
    for (host, method, target, expected) in [
        ("any.test", "GET", "/v2/web/app/manifests/v1", "rest"),
        ("any.test", "GET", "/v2/locked/app/manifests/v1", "locked"),
        ("any.test", "HEAD", "/v2/locked/app/manifests/v1", "locked"),
        ("any.test", "PUT", "/v2/locked/app/manifests/v1", "405"),
        ("any.test", "POST", "/v2/locked/app/blobs/uploads/", "405"),
        ("any.test", "DELETE", "/v2/locked/app/manifests/DIGEST", "405"),
        ("named.test:5000", "GET", "/v2/web/app/manifests/v1", "named"),
        ("named.test:5000", "PUT", "/v2/locked/app/manifests/v1", "named"),
        // Nobody holds it; and only to those who may see it is that said.
        ("any.test", "GET", "/v2/other/app/manifests/v1", "404"),
        ("any.test", "GET", "/v2/secret/app/manifests/v1", "403"),
    ] {
        let reply = ask(&bed, method, target).header("host", host).by(ALICE).send().await;
        let what = format!("{host} {method} {target}");
        for (name, upstream) in [("rest", &rest), ("locked", &locked), ("named", &named)] {
            let arrived = upstream.take().len();
            assert_eq!(arrived, usize::from(name == expected), "{what}: {arrived} requests at {name}");
        }
        match expected.parse::<u16>() {
            Ok(status) => assert_eq!(reply.status, status, "{what}"),
            Err(_) => assert_eq!(reply.status, 200, "{what}"),
        }
        if expected == "405" {
            assert_eq!((reply.code().as_str(), reply.header("allow")), ("UNSUPPORTED", "GET, HEAD"));
        }
        if expected == "404" {
            assert_eq!(reply.code(), "NAME_UNKNOWN");
        }
    }
    let two = ask(&bed, "GET", "/v2/web/app/manifests/v1").header("host", "a").header("host", "named.test");
    assert_eq!(two.by(ALICE).send().await.status, 400, "two hosts");
}

#[tokio::test]
async fn the_upstream_learns_who_asks_in_our_words_only() {
    let upstream = Upstream::with_headers(&[("x-auth-account", "boss"), ("set-cookie", "session=ours")]).await;
    let more = ", auth: {basic: {username: gateway, password: \"o:ur s\"}}";
    let trusting = "server: {addr: \"127.0.0.1:0\", trusted_proxies: [192.0.2.1]}\n";
    for (server, peer, address, scheme) in [
        ("", Peer::Tcp("192.0.2.1".parse().unwrap()), "192.0.2.1", "http"),
        (trusting, Peer::Tcp("192.0.2.1".parse().unwrap()), "203.0.113.9", "https"),
        (trusting, Peer::Tcp("192.0.2.7".parse().unwrap()), "192.0.2.7", "http"),
    ] {
        let section = format!("{{service: registry, upstreams: [{{url: \"http://{}\"{more}}}]}}", upstream.address);
        let bed = Bed::with(&format!("{server}gateway: {section}\n{RULES}"));
        let reply = ask(&bed, "PUT", "/v2/web/app/manifests/v1")
            .by(ALICE)
            .peer(peer)
            .header("host", "docker.test")
            .header("cookie", "session=clients")
            .header("x-forwarded-for", "203.0.113.9")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-host", "evil.test")
            .header("x_forwarded_host", "evil.test")
            .header("x-auth-account", "boss")
            .header("x-auth-labels-team", "admins")
            .header("connection", "close, accept-language")
            .header("accept-language", "de")
            .header("content-type", "application/vnd.oci.image.manifest.v1+json")
            .body("{}")
            .send()
            .await;
        assert_eq!(reply.status, 200);
        for name in ["x-auth-account", "set-cookie", "www-authenticate"] {
            assert_eq!(reply.header(name), "", "{name}");
        }
        let arrival = upstream.only();
        assert_eq!(arrival.header("authorization"), "Basic Z2F0ZXdheTpvOnVyIHM=", "our own");
        assert_eq!(arrival.header("x-forwarded-for"), address);
        assert_eq!(arrival.header("x-forwarded-proto"), scheme);
        assert_eq!(arrival.header("x-forwarded-host"), "docker.test");
        assert_eq!(arrival.header("host"), upstream.address);
        assert_eq!((arrival.header("content-length"), arrival.body.as_ref()), ("2", &b"{}"[..]));
        for name in ["cookie", "x_forwarded_host", "x-auth-account", "x-auth-labels-team", "accept-language"] {
            assert_eq!(arrival.header(name), "", "{name}");
        }
    }
}

#[tokio::test]
async fn replies_come_back_as_they_are_but_for_places_of_the_upstream() {
    let upstream = Upstream::answering(|arrival| {
        let reply = Response::builder();
        let host = arrival.header("host");
        match arrival.target.rsplit('/').next().unwrap() {
            "started" => {
                reply.status(202).header("location", format!("http://{host}/v2/web/app/blobs/uploads/1?_state=a%2B"))
            }
            "forwarded" => {
                let (scheme, host) = (arrival.header("x-forwarded-proto"), arrival.header("x-forwarded-host"));
                reply.status(202).header("location", format!("{scheme}://{host}/v2/web/app/blobs/uploads/1"))
            }
            "called" => reply.status(201).header("location", "https://called.test/v2/web/app/manifests/called"),
            "going" => reply.status(204).header("location", "https://called.test/v2/web/app/blobs/uploads/1?_state=a"),
            "moved" => reply.status(307).header("location", "https://called.test/v2/web/app/blobs/x"),
            "storage" => reply.status(307).header("location", "https://storage.test/bucket/x?X-Signature=1"),
            "page" => reply.header("link", format!("<http://{host}/v2/web/app/tags/list?n=1&last=a>; rel=\"next\"")),
            "partial" => {
                reply.status(206).header("content-range", "bytes 0-3/9").header("docker-content-digest", DIGEST)
            }
            "unchanged" => reply.status(304).header("etag", "\"x\""),
            "broken" => reply.status(500).header("www-authenticate", "Bearer realm=\"http://inside/\""),
            _ => reply,
        }
        .body(text("body"))
        .unwrap()
    })
    .await;
    let bed = before(&upstream, "");
    for (tag, expected, name, value) in [
        ("started", 202, "location", "/v2/web/app/blobs/uploads/1?_state=a%2B"),
        ("forwarded", 202, "location", "/v2/web/app/blobs/uploads/1"),
        ("called", 201, "location", "/v2/web/app/manifests/called"),
        ("going", 204, "location", "/v2/web/app/blobs/uploads/1?_state=a"),
        ("moved", 307, "location", "https://called.test/v2/web/app/blobs/x"),
        ("storage", 307, "location", "https://storage.test/bucket/x?X-Signature=1"),
        ("page", 200, "link", "</v2/web/app/tags/list?n=1&last=a>; rel=\"next\""),
        ("partial", 206, "content-range", "bytes 0-3/9"),
        ("partial", 206, "docker-content-digest", DIGEST),
        ("unchanged", 304, "etag", "\"x\""),
        ("unchanged", 304, "content-length", ""),
        ("broken", 500, "www-authenticate", ""),
        ("broken", 500, "docker-distribution-api-version", "registry/2.0"),
    ] {
        let asked = ask(&bed, "GET", &format!("/v2/web/app/manifests/{tag}")).header("host", "docker.test");
        let reply = asked.header("range", "bytes=0-3").header("if-none-match", "\"x\"").by(ALICE).send().await;
        assert_eq!((reply.status, reply.header(name)), (expected, value), "{tag}");
        let arrival = upstream.only();
        assert_eq!((arrival.header("range"), arrival.header("if-none-match")), ("bytes=0-3", "\"x\""));
        let whole = if matches!(expected, 204 | 304) { "" } else { "body" };
        assert_eq!(reply.text(), whole, "{tag}");
    }
    let reply = ask(&bed, "HEAD", "/v2/web/app/manifests/x").by(ALICE).send().await;
    assert_eq!((reply.header("content-length"), reply.body.len()), ("4", 0), "the length of what GET would bring");
}

#[tokio::test]
async fn what_is_wrong_behind_the_gateway_is_told_by_status_alone() {
    let upstream = Upstream::answering(|arrival| match arrival.target.contains("/locked/") {
        true => Response::builder()
            .status(401)
            .header("www-authenticate", "Basic realm=\"inside\"")
            .body(text("wrong password for gateway"))
            .unwrap(),
        false => status(200),
    })
    .await;
    let bed = gateway(&format!(
        "{{service: registry, upstreams: [{{url: \"http://{}\"}}, {{url: \"http://127.0.0.1:1\", prefix: dead}}]}}",
        upstream.address
    ));
    for (target, expected) in [("/v2/locked/app/manifests/v1", 502), ("/v2/dead/app/manifests/v1", 502)] {
        let reply = ask(&bed, "GET", target).by(ALICE).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (expected, "UNAVAILABLE"), "{target}");
        // An upstream's challenge would make clients send their passwords to it, or throw them away.
        assert_eq!(reply.header("www-authenticate"), "");
        assert!(!reply.text().contains("inside") && !reply.text().contains("127.0.0.1"), "{}", reply.text());
    }
    let metrics = bed.get("/metrics").send().await.text();
    let dead = "dockwarden_gateway_requests_total{upstream=\"127.0.0.1:1\",outcome=\"upstream_unreachable\"} 1";
    assert!(metrics.contains(dead), "{metrics}");
    assert!(metrics.contains("outcome=\"upstream_refused_us\"} 1"), "{metrics}");
}

/// What an upstream says of our account there is for operators and for nobody else.
#[tokio::test]
async fn a_denial_of_the_upstream_is_told_in_our_words() {
    let arn = "arn:aws:sts::123456789012:assumed-role/gateway/i-0";
    let said = format!("{{\"errors\":[{{\"code\":\"DENIED\",\"message\":\"User: {arn} is not authorized\"}}]}}");
    let long = "x".repeat(100_000);
    let upstream = Upstream::answering(move |arrival| {
        let body = if arrival.target.ends_with("/long") { &long } else { &said };
        Response::builder().status(403).header("x-amzn-role", arn).body(text(body)).unwrap()
    })
    .await;
    let bed = before(&upstream, "");
    for (method, target) in [
        ("GET", "/v2/web/app/manifests/v1"),
        ("HEAD", "/v2/web/app/manifests/v1"),
        ("PUT", "/v2/web/app/manifests/v1"),
        ("GET", "/v2/web/app/manifests/long"),
    ] {
        let log = Log::start(Form::Json);
        let reply = ask(&bed, method, target).by(ALICE).send().await;
        // HEAD has no body to read it in.
        let code = if method == "HEAD" { "DENIED".to_owned() } else { reply.code() };
        assert_eq!((reply.status, code.as_str()), (403, "DENIED"), "{method} {target}");
        assert!(!reply.text().contains("arn:") && reply.header("x-amzn-role").is_empty(), "{}", reply.text());
        let text = log.text();
        let line = text.lines().find(|line| line.contains("\"decision.outcome\":\"refused\"")).unwrap();
        assert!(line.contains("\"WARN\"") && line.contains("\"upstream_denied_us\""), "{line}");
        assert!(line.contains(&upstream.address) && line.contains("status 403") && line.len() < 2000, "{line}");
        assert_eq!(line.contains(arn), method != "HEAD" && !target.ends_with("/long"), "{line}");
    }
}

#[tokio::test]
async fn forms_and_clients_of_the_first_protocol_go_no_further() {
    let upstream = Upstream::with_headers(&[]).await;
    let bed = before(&upstream, "");
    let form = ask(&bed, "POST", "/v2/web/app/blobs/uploads/")
        .by(ALICE)
        .header("content-type", "application/x-www-form-urlencoded")
        .body("from=secret/app&mount=x");
    assert_eq!(form.send().await.status, 415);
    let old = ask(&bed, "GET", "/v2/").header("user-agent", "docker/1.4.1 go/go1.3.3 kernel/3.13");
    assert_eq!(old.send().await.status, 404, "they fall back at a 404, and only there");
    assert!(upstream.take().is_empty());
}

#[tokio::test]
async fn without_the_section_there_is_no_gateway_and_a_reload_makes_and_ends_it() {
    let upstream = Upstream::with_headers(&[]).await;
    let bed = Bed::with(RULES);
    let visit = async || ask(&bed, "GET", "/v2/pub/app/manifests/v1").by(ALICE).send().await.status;
    assert_eq!(visit().await, 404);
    let section = format!("gateway: {{service: registry, upstreams: [{{url: \"http://{}\"}}]}}\n", upstream.address);
    bed.folder.configure(&format!("{section}{RULES}"));
    bed.app.reload();
    assert_eq!(visit().await, 200);
    bed.folder.configure(RULES);
    bed.app.reload();
    assert_eq!(visit().await, 404);
}
