//! The token endpoint as clients meet it: paths, methods, parameters, replies, and what is granted of what is asked.

use axum::http::Method;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::bed::{ALICE, BOB, Bed, Caller, Chunk, NOBODY, Reply};

const PATHS: [&str; 6] = ["/auth", "/auth/", "/auth/token", "/auth/token/", "/token", "/init/registry/token"];

/// What a form needs to be Alice's.
const AS_ALICE: &str = "grant_type=password&username=alice&password=alice-pw";

#[tokio::test]
async fn get_and_post_answer_alike_on_every_path() {
    let bed = Bed::with("");
    let scope = "service=registry&scope=repository:alice/app:pull,push&scope=repository:bob/app:pull";
    for path in PATHS {
        for reply in [
            bed.get(&format!("{path}?{scope}")).by(ALICE).send().await,
            bed.post(path, &format!("{AS_ALICE}&{scope}")).send().await,
        ] {
            let reply = reply.ok();
            assert_eq!(reply.access(), ["repository:alice/app:pull,push", "repository:bob/app:"], "{path}");
            assert_eq!(reply.claims()["sub"], "alice", "{path}");
        }
    }
    for path in ["//", "/auth/x", "/auth//token", "/AUTH", "/token/", "/auth%2Ftoken", "/v2/", "/authx"] {
        let reply = bed.get(path).by(ALICE).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "NOT_FOUND"), "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_405_and_say_what_is_allowed() {
    let bed = Bed::with("");
    for path in PATHS {
        for method in [Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::PATCH] {
            let shown = format!("{method} {path}");
            let is_head = method == Method::HEAD;
            let reply = bed.request(method, &format!("{path}?service=registry")).by(ALICE).send().await;
            assert_eq!((reply.status, reply.header("allow")), (405, "GET, POST"), "{shown}");
            assert!(!reply.header("x-decision-id").is_empty(), "{shown}");
            if !is_head {
                assert_eq!(reply.code(), "UNSUPPORTED", "{shown}");
            }
        }
    }
}

fn members(json: &Value) -> Vec<&str> {
    json.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_reply_is_what_every_client_reads_and_never_a_refresh_token() {
    let bed = Bed::with("");
    let by_get = bed.get("/auth?service=registry&offline_token=true&client_id=docker&account=alice").by(ALICE);
    let by_post = bed.post("/auth", &format!("{AS_ALICE}&service=registry&access_type=offline&client_id=x"));
    let replies = [
        (by_get.send().await.ok(), &["access_token", "expires_in", "issued_at", "token"] as &[&str]),
        (by_post.send().await.ok(), &["access_token", "expires_in", "issued_at", "token", "token_type"]),
    ];
    for (reply, expected) in replies {
        let json = reply.json();
        assert_eq!(members(&json), expected);
        assert_eq!(json["token"], json["access_token"]);
        assert!(json["token_type"].is_null() || json["token_type"] == "Bearer", "{json}");
        assert_eq!(json["expires_in"].as_i64(), Some(300), "{json}");
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.header("cache-control"), "no-store");
        let issued_at = json["issued_at"].as_str().unwrap();
        assert_eq!((issued_at.len(), issued_at.chars().last()), (20, Some('Z')), "whole seconds, UTC: {issued_at}");
        let issued_at = OffsetDateTime::parse(issued_at, &Rfc3339).unwrap().unix_timestamp();
        assert_eq!(Some(issued_at), reply.claims()["iat"].as_i64());
        assert!((OffsetDateTime::now_utc().unix_timestamp() - issued_at).abs() <= 5);
    }
}

#[tokio::test]
async fn expires_in_is_never_below_what_clients_take_for_60() {
    let bed = Bed::with("token: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key, expiration: 5}");
    let reply = bed.get("/auth?service=registry").by(ALICE).send().await.ok();
    assert_eq!((reply.json()["expires_in"].as_i64(), reply.life()), (Some(60), 5));
}

#[tokio::test]
async fn every_reply_has_a_decision_id_of_its_own() {
    let bed = Bed::with("");
    let mut seen = std::collections::BTreeSet::new();
    for reply in [
        bed.get("/auth?service=registry").by(ALICE).send().await,
        bed.get("/auth?service=registry").by(ALICE).send().await,
        bed.get("/auth?service=registry").basic("alice", "wrong").send().await,
        bed.get("/auth").by(ALICE).send().await,
        bed.post("/auth", "grant_type=nonsense").send().await,
        bed.post("/auth", "").without_content_type().send().await,
    ] {
        let id = reply.header("x-decision-id").to_owned();
        assert!(id.len() == 16 && id.bytes().all(|letter| letter.is_ascii_hexdigit()), "{id:?}");
        assert!(seen.insert(id), "two replies with one id");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(reply.header("content-type"), "application/json");
    }
}

/// What comes out of a request's `scope` parameters: one entry for each resource, in the order of first mention.
#[tokio::test]
async fn scopes_are_collected_split_united_and_never_fatal() {
    let bed = Bed::with("acl: [{match: {}, actions: ['*']}]");
    let cases: &[(&str, &[&str])] = &[
        ("", &[]),
        ("scope=", &[]),
        ("scope=+", &[]),
        ("scope=repository:a:pull", &["repository:a:pull"]),
        ("scope=repository:a:push,pull", &["repository:a:pull,push"]),
        // The same repository twice, the actions in another order: one entry.
        ("scope=repository:a:pull&scope=repository:a:push,pull", &["repository:a:pull,push"]),
        ("scope=repository:a:pull+repository:a:pull,push", &["repository:a:pull,push"]),
        // Several in one parameter, by `+` and by `%20`, and several parameters: the order of first mention.
        ("scope=repository:b:pull+repository:a:pull", &["repository:b:pull", "repository:a:pull"]),
        ("scope=repository:b:pull%20repository:a:pull", &["repository:b:pull", "repository:a:pull"]),
        ("scope=repository:b:pull&scope=repository:a:pull", &["repository:b:pull", "repository:a:pull"]),
        // An empty or a malformed one never hides those that follow.
        ("scope=&scope=repository:a:pull", &["repository:a:pull"]),
        ("scope=foo&scope=repository:a:pull", &["repository:a:pull"]),
        ("scope=repository:a:pull+&scope=", &["repository:a:pull"]),
        ("scope=foo", &[]),
        ("scope=repository:x", &[]),
        ("scope=::", &[]),
        ("scope=repository:A+B:pull", &[]),
        ("scope=REPOsitory:a:pull", &[]),
        ("scope=!!repository!!:a:pull", &[]),
        ("scope=XXrepository(plugin):a:pull", &[]),
        // Percent-encoded as Go encodes it, and raw as curl sends it.
        ("scope=repository%3Afoo%2Fbar%3Apush%2Cpull", &["repository:foo/bar:pull,push"]),
        ("scope=repository:foo/bar:push,pull", &["repository:foo/bar:pull,push"]),
        // The name may hold a host and a port.
        ("scope=repository:host.tld:5000/foo:pull", &["repository:host.tld:5000/foo:pull"]),
        // Actions: `*`, empty ones, unknown ones, upper case. What is unknown is not signed for `["*"]`.
        ("scope=repository:a:*", &["repository:a:*"]),
        ("scope=repository:a:pull,,push", &["repository:a:pull,push"]),
        ("scope=repository:a:PULL", &["repository:a:"]),
        ("scope=repository:a:admin,pull", &["repository:a:pull"]),
        ("scope=repository:a:", &["repository:a:"]),
        // A class is no part of the token's type, and the same resource with and without it is one.
        ("scope=repository(plugin):x:pull", &["repository:x:pull"]),
        ("scope=repository(plugin):x:pull&scope=repository:x:push", &["repository:x:pull,push"]),
        // Names that a registry cannot hold are no names: nothing is normalised into one that it can.
        ("scope=repository:Alice/app:pull", &[]),
        ("scope=repository:a/../b:pull", &[]),
        ("scope=repository:a/./b:pull", &[]),
        ("scope=repository:%2e%2e/b:pull", &[]),
        ("scope=repository:%252e%252e/b:pull", &[]),
        ("scope=repository:a//b:pull", &[]),
        ("scope=repository:a..b:pull", &[]),
        ("scope=repository:a___b:pull", &[]),
        ("scope=repository:-a:pull", &[]),
        ("scope=repository:a-:pull", &[]),
        ("scope=repository:a/b:5000/c:pull", &[]),
        ("scope=repository:a.b__c--d/e:pull", &["repository:a.b__c--d/e:pull"]),
        ("scope=repository:a%00b:pull", &[]),
        ("scope=repository:a%0ab:pull", &[]),
        ("scope=repository:%ff:pull", &[]),
        ("scope=repository:a%5cb:pull", &[]),
        ("scope=registry:catalog:*", &["registry:catalog:*"]),
        // Go's clients put the query of the realm's own URL first: what it holds is kept apart and ignored.
        ("tenant=a&scope=repository:a:pull", &["repository:a:pull"]),
    ];
    for (query, expected) in cases {
        let by_get = bed.get(&format!("/auth?service=registry&{query}")).by(ALICE).send().await.ok();
        assert_eq!(by_get.access(), *expected, "GET {query}");
        let by_post = bed.post("/auth", &format!("{AS_ALICE}&service=registry&{query}")).send().await.ok();
        assert_eq!(by_post.access(), *expected, "POST {query}");
    }
}

#[tokio::test]
async fn a_refused_scope_is_a_200_with_less_in_it() {
    let bed = Bed::with("");
    let cases: &[(Caller, &str, &[&str])] = &[
        (ALICE, "repository:alice/app:pull,push,delete", &["repository:alice/app:delete,pull,push"]),
        (ALICE, "repository:web/app:pull,push,delete", &["repository:web/app:pull,push"]),
        (ALICE, "repository:pub/app:push", &["repository:pub/app:"]),
        (
            ALICE,
            "repository:bob/app:pull repository:alice/app:pull",
            &["repository:bob/app:", "repository:alice/app:pull"],
        ),
        // A mount whose source may not be read: the target is still granted.
        (
            BOB,
            "repository:bob/app:pull,push repository:alice/app:pull",
            &["repository:bob/app:pull,push", "repository:alice/app:"],
        ),
        // `*` is answered with what the rule allows.
        (ALICE, "repository:alice/app:*", &["repository:alice/app:*"]),
        (ALICE, "repository:web/app:*", &["repository:web/app:pull,push"]),
        (ALICE, "repository:bob/app:*", &["repository:bob/app:"]),
        (BOB, "registry:catalog:*", &["registry:catalog:*"]),
        (NOBODY, "registry:catalog:*", &["registry:catalog:"]),
        (NOBODY, "repository:pub/app:pull,push", &["repository:pub/app:pull"]),
        (NOBODY, "repository:web/app:pull", &["repository:web/app:"]),
    ];
    for (caller, scopes, expected) in cases {
        assert_eq!(bed.grants(*caller, scopes).await, *expected, "{caller:?} asks for {scopes}");
    }
}

#[tokio::test]
async fn the_subject_is_who_logged_in_whatever_the_parameters_say() {
    let bed = Bed::with("");
    let targets = [
        "/auth?service=registry&scope=repository:alice/app:pull&scope=repository:root/app:pull",
        "/auth?service=registry&scope=repository:alice/app:pull&scope=repository:root/app:pull&account=root",
        "/auth?account=root&account=bob&service=registry&scope=repository:alice/app:pull&scope=repository:root/app:pull",
        "/auth?username=root&password=x&sub=root&user=root&service=registry&scope=repository:alice/app:pull&scope=repository:root/app:pull",
    ];
    for target in targets {
        let by_alice = bed.get(target).by(ALICE).send().await.ok();
        assert_eq!(by_alice.claims()["sub"], "alice", "{target}");
        assert_eq!(by_alice.access(), ["repository:alice/app:pull", "repository:root/app:"], "{target}");
        let by_nobody = bed.get(target).by(NOBODY).send().await.ok();
        assert_eq!(by_nobody.claims()["sub"], "", "{target}");
        assert_eq!(by_nobody.access(), ["repository:alice/app:", "repository:root/app:"], "{target}");
    }
    // docker_auth made this token Bob's.
    let form = "grant_type=password&username=alice&password=alice-pw&account=bob&service=registry";
    assert_eq!(bed.post("/auth", form).send().await.ok().claims()["sub"], "alice");
}

/// What clients are refused for: the status, the registry's code, OAuth's code.
fn refusal(reply: &Reply) -> (u16, String, String) {
    let code = reply.code();
    let json = reply.json();
    (reply.status, code, json["error"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn errors_have_the_registrys_shape_and_on_post_oauths_too() {
    let bed = Bed::with("");
    let on_get = bed.get("/auth?service=registry").basic("alice", "wrong").send().await;
    assert_eq!(members(&on_get.json()), ["errors"]);
    assert_eq!(refusal(&on_get), (401, "UNAUTHORIZED".to_owned(), String::new()));
    let on_post = bed.post("/auth", "grant_type=password&username=alice&password=x&service=registry").send().await;
    assert_eq!(members(&on_post.json()), ["error", "error_description", "errors"]);
    assert_eq!(on_post.json()["error_description"], on_post.json()["errors"][0]["message"]);
    assert_eq!(refusal(&on_post), (401, "UNAUTHORIZED".to_owned(), "invalid_grant".to_owned()));
}

#[tokio::test]
async fn forms_are_taken_however_clients_send_them() {
    let bed = Bed::with("");
    let scope = "scope=repository%3Aalice%2Fapp%3Apull%2Cpush&service=registry";
    for media_type in [
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=utf-8",
        "application/x-www-form-urlencoded;charset=UTF-8",
        "Application/X-WWW-Form-Urlencoded",
    ] {
        let ask = bed.request(Method::POST, "/token").header("content-type", media_type);
        let reply = ask.body(&format!("{AS_ALICE}&{scope}")).send().await.ok();
        assert_eq!(reply.access(), ["repository:alice/app:pull,push"], "{media_type}");
    }
    // skopeo: chunked, without a length.
    let pieces = [
        "grant_type=pass",
        "word&username=alice&password=alice-pw&service=reg",
        "istry&scope=repository:alice/app:pull",
    ];
    let reply = bed.post("/token", "").chunks(pieces.map(Chunk::Data)).send().await.ok();
    assert_eq!(reply.access(), ["repository:alice/app:pull"]);
    // The connection breaks: what had arrived is not taken for the whole.
    let reply = bed.post("/token", "").chunks([Chunk::Data(AS_ALICE), Chunk::Data("&service=registry"), Chunk::Broken]);
    assert_eq!(refusal(&reply.send().await), (400, "UNSUPPORTED".to_owned(), "invalid_request".to_owned()));
    // A query on a POST is left alone: the form says it all.
    let reply = bed.post("/token?tenant=a&scope=repository:alice/b:pull", &format!("{AS_ALICE}&{scope}"));
    assert_eq!(reply.send().await.ok().access(), ["repository:alice/app:pull,push"]);
}

#[tokio::test]
async fn what_is_no_password_form_is_an_error_and_never_anonymous() {
    let bed = Bed::with("");
    let unsupported = (400, "UNSUPPORTED".to_owned(), "unsupported_grant_type".to_owned());
    for form in [
        "service=registry",
        "grant_type=&service=registry",
        "grant_type=authorization_code&code=x&service=registry",
        "grant_type=client_credentials&service=registry",
        "grant_type=Password&username=alice&password=alice-pw&service=registry",
        "username=alice&password=alice-pw&service=registry",
        "client_id=docker&grant_type=refresh_token&refresh_token=REFRESH1&scope=repository%3Afoo%2Fbar%3Apull&service=registry",
    ] {
        assert_eq!(refusal(&bed.post("/token", form).send().await), unsupported, "{form}");
        assert_eq!(refusal(&bed.post("/token", form).by(ALICE).send().await), unsupported, "with a header: {form}");
    }
    let no_form = (415, "UNSUPPORTED".to_owned(), "invalid_request".to_owned());
    let json = r#"{"grant_type":"password","username":"alice","password":"alice-pw","service":"registry"}"#;
    for media_type in
        ["application/json", "text/plain", "multipart/form-data; boundary=x", "", "application/x-www-form-urlencoded-x"]
    {
        let ask = bed.request(Method::POST, "/token").header("content-type", media_type).body(json);
        assert_eq!(refusal(&ask.send().await), no_form, "{media_type}");
    }
    assert_eq!(refusal(&bed.post("/token", AS_ALICE).without_content_type().send().await), no_form);
    // Credentials are missing, or are there in part only.
    for (form, expected) in [
        ("grant_type=password&service=registry", 400),
        ("grant_type=password&username=alice&service=registry", 400),
        ("grant_type=password&password=alice-pw&service=registry", 400),
        ("grant_type=password&username=alice&password=&service=registry", 401),
        ("grant_type=password&username=&password=alice-pw&service=registry", 401),
        ("grant_type=password&username=&password=&service=registry", 401),
    ] {
        assert_eq!(bed.post("/token", form).send().await.status, expected, "{form}");
        assert_ne!(bed.post("/token", form).by(ALICE).send().await.status, 200, "with a header: {form}");
    }
}

#[tokio::test]
async fn a_header_may_repeat_the_form_but_not_contradict_it() {
    let bed = Bed::with("");
    let form = format!("{AS_ALICE}&service=registry");
    assert_eq!(bed.post("/auth", &form).by(ALICE).send().await.ok().claims()["sub"], "alice");
    assert_eq!(bed.post("/auth", &form).by(Caller::Header("Basic Og==")).send().await.ok().claims()["sub"], "alice");
    for (caller, status) in [
        (BOB, 400),
        (Caller::Account("alice", "other"), 400),
        (Caller::Header("Bearer x"), 401),
        (Caller::Header("Basic !!!"), 401),
    ] {
        assert_eq!(bed.post("/auth", &form).by(caller).send().await.status, status, "{caller:?}");
    }
}

#[tokio::test]
async fn a_parameter_that_is_given_twice_must_say_the_same() {
    let bed = Bed::with("");
    for (query, status) in [
        ("service=registry&service=registry", 200),
        ("service=registry&service=other", 400),
        ("service=registry&service=", 400),
        ("service=&service=registry", 400),
        ("service=registry&account=a&account=b", 200),
    ] {
        assert_eq!(bed.get(&format!("/auth?{query}")).by(ALICE).send().await.status, status, "{query}");
        assert_eq!(bed.post("/auth", &format!("{AS_ALICE}&{query}")).send().await.status, status, "POST {query}");
    }
    for twice in ["username=bob", "password=bob-pw", "grant_type=refresh_token"] {
        let reply = bed.post("/auth", &format!("{AS_ALICE}&service=registry&{twice}")).send().await;
        assert_eq!(refusal(&reply), (400, "UNSUPPORTED".to_owned(), "invalid_request".to_owned()), "{twice}");
    }
}

#[tokio::test]
async fn tokens_are_for_known_services_only() {
    let token =
        |services: &str| format!("token: {{issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key{services}}}");
    let (any, one, two) = (token(""), token(", services: [only]"), token(", services: [first, second]"));
    // Configuration, query, the audience or the refusal.
    let cases: &[(&str, &str, Result<&str, &str>)] = &[
        (&any, "service=whatever", Ok("whatever")),
        (&any, "service=Docker+registry", Ok("Docker registry")),
        (&any, "", Err("UNSUPPORTED")),
        (&any, "service=", Err("UNSUPPORTED")),
        (&one, "service=only", Ok("only")),
        (&one, "", Ok("only")),
        (&one, "service=", Ok("only")),
        (&one, "service=other", Err("DENIED")),
        (&one, "service=Only", Err("DENIED")),
        (&one, "service=only+", Err("DENIED")),
        (&two, "service=second", Ok("second")),
        (&two, "service=", Err("UNSUPPORTED")),
        (&two, "service=first,second", Err("DENIED")),
    ];
    for (config, query, expected) in cases {
        let bed = Bed::with(config);
        let replies = [
            bed.get(&format!("/auth?{query}")).by(ALICE).send().await,
            bed.post("/auth", &format!("{AS_ALICE}&{query}")).send().await,
        ];
        for reply in replies {
            match expected {
                Ok(audience) => assert_eq!(reply.ok().claims()["aud"], *audience, "{config} with {query}"),
                Err(code) => assert_eq!((reply.status, reply.code().as_str()), (400, *code), "{config} with {query}"),
            }
        }
    }
}

/// docker_auth answered `curl -u … -d service=…`, which is a POST.
#[tokio::test]
async fn a_post_with_basic_and_no_grant_type_is_told_what_to_send() {
    let bed = Bed::with("");
    let message = |reply: &Reply| reply.json()["errors"][0]["message"].as_str().unwrap().to_owned();
    for form in
        ["service=registry", "service=registry&scope=repository:alice/a:pull", "username=alice&password=alice-pw", ""]
    {
        let reply = bed.post("/auth", form).by(ALICE).send().await;
        let (told, described) = (message(&reply), reply.json()["error_description"].clone());
        assert_eq!((reply.status, described.as_str()), (400, Some(told.as_str())), "{form}");
        for piece in ["a POST without grant_type", "add -G for a GET", "grant_type=password with username and password"]
        {
            assert!(told.contains(piece), "{form}: {told}");
        }
    }
    for (form, caller) in [
        ("service=registry", NOBODY),
        ("grant_type=refresh_token&service=registry", ALICE),
        ("grant_type=&service=registry", ALICE),
    ] {
        let reply = bed.post("/auth", form).by(caller).send().await;
        assert_eq!((reply.status, message(&reply).as_str()), (400, "only grant_type=password is supported"), "{form}");
    }
}
