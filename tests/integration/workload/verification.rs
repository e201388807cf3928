//! What is verified of a token (checks 32 to 35 and 40), and what is none of ours.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{ASK, AUDIENCE, RULES, bed, claims, key, login, rsa, whose};
use crate::bed::{ALICE, Bed};
use crate::logs::{Form, Log};
use crate::oidc::{Key, Provider, changed, unsigned};

const ISSUER: &str = "https://ci.example.org";

fn entry(issuer: &str, name: &str, provider: &Provider) -> String {
    format!(
        "  - issuer: \"{issuer}\"\n    name: {name}\n    audiences: [{AUDIENCE}]\n    keys: {{url: \"{}/jwks\", plain_http: loopback}}\n    require: {{org: \"7\"}}\n    account: \"{name}:${{claim:sub}}\"\n",
        provider.address
    )
}

fn good(changes: &Value) -> Value {
    changed(&claims(json!({"iss": ISSUER, "org": "7", "sub": "job"})), changes)
}

/// Check 32.
#[tokio::test]
async fn a_token_is_for_us_alone_and_for_now() {
    let key = key("k1", 0);
    let bed = bed(&entry(ISSUER, "ci", &Provider::start(&[&key])));
    let now = claims(json!({}))["iat"].as_i64().unwrap();
    for (what, changes, taken) in [
        ("as it should be", json!({}), true),
        ("aud as a list of one", json!({"aud": [AUDIENCE]}), true),
        ("two aud", json!({"aud": [AUDIENCE, "other"]}), false),
        ("ours twice", json!({"aud": [AUDIENCE, AUDIENCE]}), false),
        ("another aud", json!({"aud": "registry.example.org.evil.example"}), false),
        ("aud in capitals", json!({"aud": "Registry.Example.Org"}), false),
        ("no aud", json!({"aud": null}), false),
        ("an empty aud", json!({"aud": []}), false),
        ("aud as an object", json!({"aud": {AUDIENCE: 1}}), false),
        ("no exp", json!({"exp": null}), false),
        ("exp as a text", json!({"exp": (now + 300).to_string()}), false),
        ("exp past", json!({"exp": now - 1}), false),
        ("nbf in five minutes", json!({"nbf": now + 300}), false),
        ("iat in five minutes", json!({"iat": now + 300}), false),
        ("a clock that is half a minute ahead", json!({"nbf": now + 30, "iat": now + 30}), true),
        ("no nbf and no iat", json!({"nbf": null, "iat": null}), true),
    ] {
        let expected = if taken { Ok("ci:job".to_owned()) } else { Err(401) };
        assert_eq!(whose(&bed, &key.sign(&good(&changes))).await, expected, "{what}");
    }
}

#[tokio::test]
async fn other_audiences_are_taken_where_that_is_configured() {
    let key = key("k1", 0);
    let provider = Provider::start(&[&key]);
    let bed = bed(&format!("{}    other_audiences: true\n", entry(ISSUER, "ci", &provider)));
    for (aud, expected) in
        [(json!([AUDIENCE, "other"]), Ok("ci:job")), (json!(["other"]), Err(401)), (json!("x"), Err(401))]
    {
        assert_eq!(whose(&bed, &key.sign(&good(&json!({"aud": aud})))).await, expected.map(str::to_owned), "{aud}");
    }
}

/// Check 33. Nothing that a token brings along or points to is a key.
#[tokio::test]
async fn a_token_is_signed_by_the_issuers_own_key() {
    let (key, foreign, rsa) = (key("k1", 0), key("k1", 1), rsa("r1"));
    let (provider, evil) = (Provider::start(&[&key, &rsa]), Provider::start(&[&foreign]));
    let bed = bed(&entry(ISSUER, "ci", &provider));
    let claims = good(&json!({}));
    assert_eq!(whose(&bed, &key.sign(&claims)).await.as_deref(), Ok("ci:job"));
    assert_eq!(whose(&bed, &rsa.sign(&claims)).await.as_deref(), Ok("ci:job"));
    let without = |algorithm: &str| format!("{}.", unsigned(&json!({"alg": algorithm, "kid": "k1"}), &claims));
    let hs256 = |secret: &[u8]| {
        let signed = unsigned(&json!({"alg": "HS256", "kid": "r1"}), &claims);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let modulus = rsa.jwk["n"].as_str().unwrap();
    let header = |more: Value| changed(&json!({"alg": "ES256", "kid": "k1"}), &more);
    let jwks = format!("{}/jwks", evil.address);
    let (signed, _) =
        key.sign(&claims).rsplit_once('.').map(|(signed, rest)| (signed.to_owned(), rest.to_owned())).unwrap();
    let other = good(&json!({"sub": "root"}));
    let swapped = {
        let token = key.sign(&claims);
        let signature = token.rsplit('.').next().unwrap();
        format!("{}.{signature}", unsigned(&header(json!({})), &other))
    };
    for (what, token) in [
        ("a foreign key", foreign.sign(&claims)),
        ("none", without("none")),
        ("None", without("None")),
        ("no signature", format!("{signed}.")),
        ("other claims", swapped),
        ("HS256 by the public key", hs256(modulus.as_bytes())),
        ("HS256 by the public key's bytes", hs256(&URL_SAFE_NO_PAD.decode(modulus).unwrap())),
        ("HS256 by the JWK", hs256(rsa.jwk.to_string().as_bytes())),
        ("jwk", foreign.sign_with(header(json!({"jwk": foreign.jwk})), &claims)),
        ("jwk without kid", foreign.sign_with(header(json!({"jwk": foreign.jwk, "kid": null})), &claims)),
        ("jku", foreign.sign_with(header(json!({"jku": jwks})), &claims)),
        ("x5u", foreign.sign_with(header(json!({"x5u": jwks})), &claims)),
        ("x5c", foreign.sign_with(header(json!({"x5c": [STANDARD.encode("certificate")]})), &claims)),
        ("crit", key.sign_with(header(json!({"crit": ["exp"]})), &claims)),
        ("the algorithm of another key", key.sign_with(header(json!({"alg": "RS256"})), &claims)),
        ("the id of another key", key.sign_with(header(json!({"kid": "r1"})), &claims)),
        ("an algorithm that is not taken", key.sign_with(header(json!({"alg": "PS256", "kid": "r1"})), &claims)),
    ] {
        assert_eq!(whose(&bed, &token).await, Err(401), "{what}");
    }
    // The id may be left out where one key fits.
    assert_eq!(whose(&bed, &key.sign_with(json!({"alg": "ES256"}), &claims)).await.as_deref(), Ok("ci:job"));
    assert!(evil.asked().is_empty(), "{:?}", evil.asked());
}

/// Check 34. One of the issuers is malicious, or was broken into.
#[tokio::test]
async fn a_key_belongs_to_its_entry() {
    let (a, b) = (key("k1", 0), key("k1", 1));
    let (of_a, of_b) = (Provider::start(&[&a]), Provider::start(&[&b]));
    let other = "https://other.example.org";
    let bed = bed(&format!("{}{}", entry(ISSUER, "ci", &of_a), entry(other, "other", &of_b)));
    let as_other = good(&json!({"iss": other}));
    assert_eq!(whose(&bed, &a.sign(&good(&json!({})))).await.as_deref(), Ok("ci:job"));
    assert_eq!(whose(&bed, &b.sign(&as_other)).await.as_deref(), Ok("other:job"));
    assert_eq!(whose(&bed, &b.sign(&good(&json!({})))).await, Err(401));
    assert_eq!(whose(&bed, &a.sign(&as_other)).await, Err(401));
    // Not even under an id that only the other has.
    let b = Key { kid: "k2".to_owned(), ..b };
    assert_eq!(whose(&bed, &b.sign(&good(&json!({})))).await, Err(401));
}

/// Check 35. What is nearly the issuer is a password like any other, and nobody is asked for its keys.
#[tokio::test]
async fn an_issuer_is_compared_byte_for_byte() {
    let key = key("k1", 0);
    let provider = Provider::start(&[&key]);
    let bed = bed(&entry(ISSUER, "ci", &provider));
    assert_eq!(whose(&bed, &key.sign(&good(&json!({})))).await.as_deref(), Ok("ci:job"));
    let before = provider.asked().len();
    let evil = Provider::start(&[&key]);
    for (number, iss) in [
        json!("https://ci.example.org/"),
        json!("https://CI.example.org"),
        json!("https://ci.example.org@evil.example"),
        json!(format!("https://ci.example.org@{}", evil.address.trim_start_matches("http://"))),
        json!(evil.address),
        json!("http://ci.example.org"),
        json!("https://ci.example.org:443"),
        json!(" https://ci.example.org"),
        json!("https://ci.example.org.evil.example"),
        json!([ISSUER]),
        json!(null),
    ]
    .into_iter()
    .enumerate()
    {
        let token = key.sign(&good(&json!({"iss": iss})));
        let reply = bed.get(ASK).basic("whoever", &token).from(&format!("198.51.100.{number}")).send().await;
        assert_eq!(reply.status, 401, "{iss}");
    }
    assert_eq!((provider.asked().len(), evil.asked().len()), (before, 0));
}

/// A backend whose passwords look like tokens goes on as before.
#[tokio::test]
async fn whatever_is_not_of_a_configured_issuer_is_a_password() {
    let key = key("k1", 0);
    let bed = bed(&entry(ISSUER, "ci", &Provider::start(&[&key])));
    assert_eq!(bed.get(ASK).by(ALICE).send().await.ok().claims()["sub"], "alice");
    // The same in the slots of both protocols.
    let token = key.sign(&good(&json!({})));
    let form = format!("grant_type=password&username=x&password={token}&service=registry&scope=repository:x/app:pull");
    let reply = bed.post("/auth", &form).send().await.ok();
    assert_eq!(
        (reply.claims()["sub"].as_str(), reply.access()),
        (Some("ci:job"), vec!["repository:x/app:pull".to_owned()])
    );
    for user in ["<token>", "alice", "00000000-0000-0000-0000-000000000000"] {
        assert_eq!(bed.get(ASK).basic(user, &token).send().await.ok().claims()["sub"], "ci:job");
    }
}

/// Check 40. Neither becomes a workload somebody, nor somebody a workload.
#[tokio::test]
async fn no_workload_is_called_like_a_user_nor_a_user_like_a_workload() {
    let key = key("k1", 0);
    let provider = Provider::start(&[&key]);
    // It lets in everybody, whatever they are called.
    let anybody = "ext_auth: {command: /bin/true}\n";
    let bed = Bed::with(&format!("{anybody}{RULES}workload:\n{}", entry(ISSUER, "ci", &provider)));
    for (sub, expected) in [
        (json!("alice"), Ok("ci:alice")),
        (json!("x:alice"), Ok("ci:x:alice")),
        (json!(7), Ok("ci:7")),
        (json!(""), Err(401)),
        (json!("a\nb"), Err(401)),
        (json!(["alice"]), Err(401)),
        (json!(true), Err(401)),
        (json!("a".repeat(1100)), Err(401)),
        (Value::Null, Err(401)),
    ] {
        let found = whose(&bed, &key.sign(&good(&json!({"sub": sub})))).await;
        assert_eq!(found, expected.map(str::to_owned), "{sub}");
    }
    for (account, expected) in [("bob2", 200), ("ci:job", 401), ("ci:", 401), ("cix", 200)] {
        let form = format!("grant_type=password&username={account}&password=x&service=registry");
        assert_eq!(bed.post("/auth", &form).send().await.status, expected, "{account}");
    }
}

/// Dead tokens do not shut out an account that their user's name happens to be, nor each other.
#[tokio::test]
async fn refused_tokens_count_for_their_network_alone() {
    let key = key("k1", 0);
    let bed = bed(&entry(ISSUER, "ci", &Provider::start(&[&key])));
    for number in 0..100 {
        let dead = key.sign(&good(&json!({"exp": 1_700_000_000, "jti": number})));
        assert_eq!(bed.get(ASK).basic("alice", &dead).send().await.status, 401);
    }
    assert_eq!(bed.get(ASK).by(ALICE).send().await.status, 200);
    assert_eq!(whose(&bed, &key.sign(&good(&json!({})))).await.as_deref(), Ok("ci:job"));
    for _ in 0..20 {
        login(&bed, &key.sign(&good(&json!({"exp": 1_700_000_000})))).await;
    }
    let reply = login(&bed, &key.sign(&good(&json!({})))).await;
    assert_eq!(reply.status, 429);
    assert!((1..=60).contains(&reply.header("retry-after").parse().unwrap()));
    let elsewhere = bed.get(ASK).basic("x", &key.sign(&good(&json!({})))).from("203.0.113.9").send().await;
    assert_eq!(elsewhere.status, 200);
}

/// The log says why, and repeats nothing of the token; the client learns nothing.
#[tokio::test]
async fn the_log_says_why_and_has_no_part_of_the_token() {
    let key = key("k1", 0);
    let bed = bed(&entry(ISSUER, "ci", &Provider::start(&[&key])));
    let log = Log::start(Form::Json);
    let token = key.sign(&good(&json!({"org": "Zq7XvCanary9Kd"})));
    let reply = login(&bed, &token).await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"));
    let told = log.text();
    assert!(
        told.contains("workload_refused") && told.contains("the token's claim org is not what ci requires"),
        "{told}"
    );
    let good = key.sign(&good(&json!({})));
    assert_eq!(login(&bed, &good).await.status, 200);
    let told = log.text();
    assert!(told.contains("\"user.backend\":\"workload\""), "{told}");
    for secret in [token.as_str(), good.as_str(), "Zq7XvCanary9Kd"] {
        let parts = secret.split('.').filter(|part| part.len() > 20);
        for part in parts.chain([secret]) {
            assert!(!told.contains(part), "{part} in {told}");
        }
    }
    let metrics = bed.get("/metrics").send().await.text();
    for line in [
        "dockwarden_backend_answers_total{backend=\"workload\",outcome=\"accepted\"} 1",
        "dockwarden_backend_answers_total{backend=\"workload\",outcome=\"rejected\"} 1",
        "dockwarden_backend_answers_total{backend=\"workload\",outcome=\"error\"} 0",
        "dockwarden_token_requests_total{outcome=\"workload_refused\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    assert!(metrics.contains("dockwarden_workload_keys_age_seconds{entry=\"ci\"} "), "{metrics}");
}
