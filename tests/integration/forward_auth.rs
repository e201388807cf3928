//! What a proxy is told about somebody's request: allowed, log in, no, or ask again; and whose word is taken for it.

use std::collections::HashMap;

use dockwarden::client_address::Peer;
use dockwarden::keys::generate;
use jsonwebtoken::Algorithm;
use time::OffsetDateTime;

use crate::bed::{ALICE, Ask, BOB, Bed, Caller, Folder, NOBODY};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const DOOR: &str = r#"
forward_auth:
  trusted_proxies: [192.0.2.1, unix]
  service: registry
  paths:
    - {path: "/docs/**", scope: "web:docs:read"}
    - {path: "/admin/*", methods: [GET, POST], scope: "web:admin:use"}
acl:
  - match: {account: alice, name: web/app}
    actions: [pull, push]
  - match: {account: alice, name: other/app}
    actions: [pull]
  - match: {account: alice, type: web, name: docs}
    actions: [read]
  - match: {account: alice, type: registry, name: catalog}
    actions: ["*"]
  - match: {account: bob, name: web/app, tag: "v*"}
    actions: [pull]
  - match: {account: bob, name: web/app, reference: digest}
    actions: [pull]
  - match: {account: bob, name: "${labels:none}/x", tag: "${account}"}
    actions: [pull]
  - match: {name: "pub/*"}
    actions: [pull]
"#;

fn about(bed: &Bed, method: &str, target: &str) -> Ask {
    bed.get("/forward_auth")
        .header("x-original-method", method)
        .header("x-original-uri", &target.replace("DIGEST", DIGEST))
}

#[tokio::test]
async fn each_request_is_allowed_to_whom_the_rules_allow_it() {
    let bed = Bed::with(DOOR);
    let wrong = Caller::Account("alice", "wrong");
    let cases: &[(Caller, &str, &str, u16)] = &[
        (ALICE, "GET", "/v2/", 200),
        (BOB, "GET", "/v2/", 200),
        (wrong, "GET", "/v2/", 401),
        // Rules let everybody pull pub/*, and there is an anonymous user; but whoever has a password must be asked for it.
        (NOBODY, "GET", "/v2/", 401),
        (NOBODY, "GET", "/v2/pub/app/manifests/latest", 200),
        (NOBODY, "GET", "/v2/web/app/manifests/v1", 401),
        (NOBODY, "PUT", "/v2/pub/app/manifests/latest", 401),
        (wrong, "GET", "/v2/pub/app/manifests/latest", 401),
        (Caller::Header("Basic ???"), "GET", "/v2/pub/app/manifests/latest", 401),
        (Caller::Header("Digest x"), "GET", "/v2/pub/app/manifests/latest", 401),
        (ALICE, "GET", "/v2/web/app/manifests/latest", 200),
        (ALICE, "PUT", "/v2/web/app/manifests/latest", 200),
        (ALICE, "DELETE", "/v2/web/app/manifests/DIGEST", 403),
        (ALICE, "GET", "/v2/_catalog", 200),
        (BOB, "GET", "/v2/_catalog", 403),
        (ALICE, "POST", "/v2/web/app/blobs/uploads/?mount=DIGEST&from=other%2Fapp", 200),
        (ALICE, "POST", "/v2/web/app/blobs/uploads/?mount=DIGEST&from=secret%2Fapp", 403),
        (ALICE, "POST", "/v2/other/app/blobs/uploads/", 403),
        (ALICE, "OPTIONS", "/v2/web/app/manifests/latest", 403),
        (ALICE, "GET", "/v2/WEB/app/manifests/latest", 403),
        (ALICE, "GET", "/v2/web/app/../../secret/app/manifests/latest", 403),
        (ALICE, "GET", "/v2/web%2Fapp/manifests/latest", 403),
        // The tag and the digest are known here.
        (BOB, "GET", "/v2/web/app/manifests/v1.2", 200),
        (BOB, "GET", "/v2/web/app/manifests/latest", 403),
        (BOB, "GET", "/v2/web/app/manifests/DIGEST", 200),
        (BOB, "HEAD", "/v2/web/app/blobs/DIGEST", 200),
        (BOB, "GET", "/v2/web/app/tags/list", 403),
        (BOB, "PUT", "/v2/web/app/manifests/v1.2", 403),
        // Outside of the registry.
        (ALICE, "GET", "/docs/", 200),
        (ALICE, "HEAD", "/docs/a/b?c=d", 200),
        (ALICE, "POST", "/docs/a", 403),
        (ALICE, "GET", "/docs", 403),
        (ALICE, "GET", "/docsx/a", 403),
        (ALICE, "GET", "/admin/x", 403),
        (BOB, "GET", "/docs/", 403),
        (NOBODY, "GET", "/docs/", 401),
        (NOBODY, "GET", "/elsewhere", 403),
        (ALICE, "GET", "/docs/%2e%2e/admin/x", 403),
        (ALICE, "GET", "/docs/%2Fx", 403),
        (ALICE, "GET", "/docs/../admin/x", 403),
        (ALICE, "GET", "/V2/web/app/manifests/latest", 403),
    ];
    for (caller, method, target, expected) in cases {
        let reply = about(&bed, method, target).by(*caller).send().await;
        assert_eq!(reply.status, *expected, "{caller:?} {method} {target}");
        let challenge = reply.header("www-authenticate");
        assert_eq!(
            challenge,
            if *expected == 401 { "Basic realm=\"Acme\"" } else { "" },
            "{caller:?} {method} {target}"
        );
    }
}

/// The server, who connects, with which headers, and the status.
type Case<'a> = (&'a Bed, Peer, Vec<(&'a str, &'a str)>, u16);

#[tokio::test]
async fn only_configured_proxies_are_believed_and_only_in_one_way() {
    let bed = Bed::with(DOOR);
    let forwarded = Bed::with(&DOOR.replace("service: registry", "service: registry\n  headers: forwarded"));
    let own: &[(&str, &str)] = &[("x-original-method", "GET"), ("x-original-uri", "/v2/web/app/manifests/v1")];
    let other: &[(&str, &str)] = &[("x-forwarded-method", "GET"), ("x-forwarded-uri", "/v2/web/app/manifests/v1")];
    let secret: &[(&str, &str)] = &[("x-forwarded-method", "PUT"), ("x-forwarded-uri", "/v2/secret/app/manifests/v1")];
    let aliases: &[(&str, &str)] =
        &[("x_original_method", "PUT"), ("x_original_uri", "/v2/secret"), ("x.original.uri", "/x")];
    let noise: &[(&str, &str)] = &[
        ("x-forwarded-prefix", "/v2/secret"),
        ("x-rewrite-url", "/x"),
        ("forwarded", "for=1.1.1.1"),
        ("x-real-ip", "1.1.1.1"),
    ];
    let join = |parts: &[&[(&'static str, &'static str)]]| parts.concat();
    let trusted = Peer::Tcp([192, 0, 2, 1].into());
    let stranger = Peer::Tcp([192, 0, 2, 2].into());
    let cases: Vec<Case<'_>> = vec![
        (&bed, trusted, join(&[own]), 200),
        (&bed, Peer::Unix, join(&[own]), 200),
        (&bed, stranger, join(&[own]), 403),
        (&bed, stranger, join(&[own, &[("x-forwarded-for", "192.0.2.1")]]), 403),
        (&bed, trusted, join(&[]), 403),
        (&bed, trusted, join(&[&own[..1]]), 403),
        (&bed, trusted, join(&[&own[1..]]), 403),
        (&bed, trusted, join(&[other]), 403),
        (&bed, trusted, join(&[own, secret]), 200),
        (&bed, trusted, join(&[own, aliases, noise]), 200),
        (&bed, trusted, join(&[own, own]), 403),
        (&bed, trusted, join(&[own, &[("x-original-uri", "/v2/pub/app/manifests/v1")]]), 403),
        (&bed, trusted, join(&[own, &[("x-original-method", "GET")]]), 403),
        (&bed, trusted, join(&[own, &[("content-type", "application/x-www-form-urlencoded")]]), 403),
        (&bed, trusted, join(&[own, &[("content-type", "Multipart/Form-Data; boundary=x")]]), 403),
        (&bed, trusted, join(&[own, &[("content-type", "application/octet-stream")]]), 200),
        (&forwarded, trusted, join(&[other]), 200),
        (&forwarded, trusted, join(&[other, own]), 200),
        (&forwarded, trusted, join(&[own]), 403),
        (&forwarded, stranger, join(&[other]), 403),
    ];
    for (index, (bed, peer, headers, expected)) in cases.into_iter().enumerate() {
        let mut ask = bed.get("/forward_auth").by(ALICE).peer(peer);
        for (name, value) in &headers {
            ask = ask.header(name, value);
        }
        assert_eq!(ask.send().await.status, expected, "case {index}: {headers:?} from {peer:?}");
    }
    let not_text = bed.get("/forward_auth").by(ALICE).header("x-original-method", "GET");
    assert_eq!(not_text.header_bytes("x-original-uri", b"/v2/\xff").send().await.status, 403);
}

#[tokio::test]
async fn without_the_section_there_is_no_such_door() {
    let bed = Bed::with("");
    assert_eq!(about(&bed, "GET", "/v2/").by(ALICE).send().await.status, 404);
    let bed = Bed::with(&format!("server: {{addr: \"127.0.0.1:0\", path_prefix: /below}}\n{DOOR}"));
    assert_eq!(about(&bed, "GET", "/v2/").by(ALICE).send().await.status, 404);
    let reply = bed.get("/below/forward_auth").header("x-original-method", "GET").header("x-original-uri", "/v2/");
    assert_eq!(reply.by(ALICE).send().await.status, 200);
}

#[tokio::test]
async fn who_it_is_goes_back_and_cannot_be_forged() {
    let config = r#"
users:
  "Ädam,b": {password: "$2b$04$abcdefghijklmnopqrstuu9UGc9IJbl39mlDZvvYWvWECKJosLcIu", labels: {team: [web, "a,b%"], "bad name": [x], Role: ["ü"]}}
"#;
    let bed = Bed::with(&format!("{config}{DOOR}"));
    let reply = about(&bed, "GET", "/v2/")
        .basic("Ädam,b", "alice-pw")
        .header("x-auth-token", "of something else")
        .send()
        .await
        .ok();
    let told: HashMap<&str, &str> = reply
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-auth-"))
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let expected =
        [("x-auth-account", "%C3%84dam%2Cb"), ("x-auth-labels-team", "web,a%2Cb%25"), ("x-auth-labels-role", "%C3%BC")];
    assert_eq!(told, HashMap::from(expected));

    // What is behind the proxy would read them as ours, where the proxy does not set each one anew.
    for name in [
        "x-auth-account",
        "X_Auth_Account",
        "x-auth.account",
        "x-auth-labels-team",
        "x-auth-labels-other",
        "X_AUTH_LABELS_X",
    ] {
        let reply = about(&bed, "GET", "/v2/").basic("Ädam,b", "alice-pw").header(name, "root").send().await;
        assert_eq!((reply.status, reply.header("x-auth-account")), (403, ""), "{name}");
    }
}

#[tokio::test]
async fn a_token_of_ours_opens_what_it_says_and_nothing_else() {
    let realm = "challenge: bearer\n  realm: https://auth.test/auth";
    let bed = Bed::with(&DOOR.replace("service: registry", &format!("service: registry\n  {realm}")));
    let other_name = "token: {issuer: Other, certificate: $DIR/token.crt, key: $DIR/token.key}\n";
    let other_issuer = Bed::with(&format!("{other_name}{DOOR}"));
    let folder = Folder::new();
    folder.put_pair(&generate(Algorithm::ES256, "auth.test", OffsetDateTime::now_utc()).unwrap());
    let other_key = Bed::in_folder(folder, DOOR);
    let asked = "scope=repository:web/app:pull,push&scope=repository:other/app:pull,push";
    let token = bed.get(&format!("/auth?service=registry&{asked}")).by(ALICE).send().await.ok().token();
    let elsewhere = bed.get(&format!("/auth?service=another&{asked}")).by(ALICE).send().await.ok().token();
    let other_issuer = other_issuer.get(&format!("/auth?service=registry&{asked}")).by(ALICE).send().await.ok().token();
    let other_key = other_key.get(&format!("/auth?service=registry&{asked}")).by(ALICE).send().await.ok().token();
    let (_, tail) = token.split_once('.').unwrap();
    // {"alg":"none","typ":"JWT"} and an HS256 of the same
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", tail.split_once('.').unwrap().0);
    let hmac = format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{tail}");
    let cases: &[(&str, &str, &str, u16, &str)] = &[
        (&token, "GET", "/v2/", 200, ""),
        (&token, "GET", "/v2/web/app/manifests/v1", 200, ""),
        (&token, "PUT", "/v2/web/app/manifests/v1", 200, ""),
        (&token, "GET", "/v2/other/app/tags/list", 200, ""),
        (
            &token,
            "PUT",
            "/v2/other/app/manifests/v1",
            401,
            r#"scope="repository:other/app:pull,push",error="insufficient_scope""#,
        ),
        (
            &token,
            "DELETE",
            "/v2/web/app/manifests/v1",
            401,
            r#"scope="repository:web/app:delete",error="insufficient_scope""#,
        ),
        (
            &token,
            "POST",
            "/v2/web/app/blobs/uploads/?from=secret%2Fapp",
            401,
            r#"scope="repository:web/app:pull,push repository:secret/app:pull",error="insufficient_scope""#,
        ),
        (&token, "GET", "/v2/_catalog", 401, r#"scope="registry:catalog:*",error="insufficient_scope""#),
        (&token, "GET", "/docs/", 401, r#"scope="web:docs:read",error="insufficient_scope""#),
        (
            &elsewhere,
            "GET",
            "/v2/web/app/manifests/v1",
            401,
            r#"scope="repository:web/app:pull",error="invalid_token""#,
        ),
        (&other_issuer, "GET", "/v2/", 401, r#"error="invalid_token""#),
        (&other_key, "GET", "/v2/", 401, r#"error="invalid_token""#),
        (&none, "GET", "/v2/", 401, r#"error="invalid_token""#),
        (&hmac, "GET", "/v2/", 401, r#"error="invalid_token""#),
        ("x", "GET", "/v2/", 401, r#"error="invalid_token""#),
    ];
    for (token, method, target, expected, challenge) in cases {
        let reply = about(&bed, method, target).header("authorization", &format!("Bearer {token}")).send().await;
        assert_eq!(reply.status, *expected, "{method} {target}");
        let told = reply.header("www-authenticate");
        match expected {
            200 => assert_eq!((told, reply.header("x-auth-account")), ("", "alice"), "{method} {target}"),
            _ => {
                let whole = format!("Bearer realm=\"https://auth.test/auth\",service=\"registry\",{challenge}");
                assert_eq!(told, whole, "{method} {target}");
            }
        }
    }
    let twice = about(&bed, "GET", "/v2/").by(ALICE).header("authorization", &format!("Bearer {token}")).send().await;
    assert_eq!(twice.status, 401);
    let nobody = about(&bed, "GET", "/v2/web/app/tags/list").send().await;
    let expected = r#"Bearer realm="https://auth.test/auth",service="registry",scope="repository:web/app:pull""#;
    assert_eq!((nobody.status, nobody.header("www-authenticate")), (401, expected));
}

#[tokio::test]
async fn what_cannot_be_found_out_is_a_503_and_never_an_answer() {
    let rules = "acl_mongo: {dial_info: {addrs: [\"127.0.0.1:1\"], database: d}, collection: acl}\n";
    let bed = Bed::with(&format!("{rules}{DOOR}"));
    let reply = about(&bed, "GET", "/v2/nowhere/app/manifests/v1").by(ALICE).send().await;
    assert_eq!((reply.status, reply.header("retry-after"), reply.header("www-authenticate")), (503, "2", ""));
}
