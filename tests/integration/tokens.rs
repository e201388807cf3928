//! Tokens as a registry takes them apart: header, claims and signature, from the endpoint's own replies.
//!
//! Everything here is read by hand or by `x509-parser` and verified by `aws-lc-rs` directly; the code that signs has no
//! part in it. (A verifier in Go, and the registries themselves, look at tokens in `tests/real`.)

use std::collections::BTreeSet;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dockwarden::keys::generate;
use jsonwebtoken::Algorithm;
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use tokio::task::JoinSet;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::bed::{ALICE, Bed, Folder, NOBODY, Reply, pair};

/// A token taken apart.
struct Token {
    header: Value,
    claims_text: String,
    claims: Value,
    /// Everything before the last dot.
    signed: String,
    signature: Vec<u8>,
}

fn token(reply: &Reply) -> Token {
    let text = reply.token();
    let parts: Vec<Vec<u8>> = text.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    assert_eq!(parts.len(), 3, "{text}");
    let (signed, _) = text.rsplit_once('.').unwrap();
    Token {
        header: serde_json::from_slice(&parts[0]).unwrap(),
        claims_text: String::from_utf8(parts[1].clone()).unwrap(),
        claims: serde_json::from_slice(&parts[1]).unwrap(),
        signed: signed.to_owned(),
        signature: parts[2].clone(),
    }
}

impl Token {
    /// The certificates of the header, in DER.
    fn chain(&self) -> Vec<Vec<u8>> {
        let texts = self.header["x5c"].as_array().unwrap();
        texts.iter().map(|text| STANDARD.decode(text.as_str().unwrap()).unwrap()).collect()
    }

    /// Whether this certificate's key made the signature, by the algorithm that the header names.
    fn is_signed_by(&self, certificate: &[u8]) -> bool {
        let (algorithm, length): (&dyn VerificationAlgorithm, usize) = match self.header["alg"].as_str().unwrap() {
            "ES256" => (&ECDSA_P256_SHA256_FIXED, 64),
            "ES384" => (&ECDSA_P384_SHA384_FIXED, 96),
            "RS256" => (&RSA_PKCS1_2048_8192_SHA256, self.signature.len()),
            other => panic!("{other}"),
        };
        let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
        let key = UnparsedPublicKey::new(algorithm, &certificate.public_key().subject_public_key.data);
        self.signature.len() == length && key.verify(self.signed.as_bytes(), &self.signature).is_ok()
    }
}

fn members(json: &Value) -> Vec<&str> {
    json.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The first certificate of a PEM text, in DER.
fn der(pem: &str) -> Vec<u8> {
    let body = pem.split("-----").nth(2).unwrap().replace(['\r', '\n'], "");
    STANDARD.decode(body).unwrap()
}

/// The key id of docker's first registries, computed anew: base32 of 30 bytes of the hash of the key's own encoding.
fn libtrust_id(certificate: &[u8]) -> String {
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    let hash = digest(&SHA256, certificate.public_key().raw);
    let bits: String = hash.as_ref()[..30].iter().map(|byte| format!("{byte:08b}")).collect();
    let letters: Vec<char> = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".chars().collect();
    let letters: Vec<char> =
        (0..48).map(|at| letters[usize::from_str_radix(&bits[at * 5..at * 5 + 5], 2).unwrap()]).collect();
    letters.chunks(4).map(|group| group.iter().collect::<String>()).collect::<Vec<_>>().join(":")
}

const ASK: &str = "/auth?service=registry&scope=repository:alice/app:push,pull,delete&scope=repository:bob/app:pull&scope=registry:catalog:*";

#[tokio::test]
async fn each_kind_of_key_signs_what_its_certificate_verifies() {
    for (algorithm, name) in [(Algorithm::ES256, "ES256"), (Algorithm::ES384, "ES384"), (Algorithm::RS256, "RS256")] {
        let folder = Folder::new();
        folder.put_pair(pair(algorithm));
        let bed = Bed::in_folder(folder, "");
        let token = token(&bed.get(ASK).by(ALICE).send().await.ok());
        assert_eq!(members(&token.header), ["alg", "kid", "typ", "x5c"]);
        assert_eq!((&token.header["alg"], &token.header["typ"]), (&Value::from(name), &Value::from("JWT")));
        let certificate = der(&pair(algorithm).certificate_pem);
        assert_eq!(token.chain(), std::slice::from_ref(&certificate));
        assert!(token.is_signed_by(&certificate), "{name}");
        assert_eq!(token.header["kid"], libtrust_id(&certificate));
        // Another key's certificate does not, nor this one when a letter of the claims is another.
        let stranger = generate(algorithm, "other", OffsetDateTime::now_utc()).unwrap();
        assert!(!token.is_signed_by(&der(&stranger.certificate_pem)), "{name}");
        let forged = Token { signed: format!("{}x", token.signed), ..token };
        assert!(!forged.is_signed_by(&certificate), "{name}");
    }
}

#[tokio::test]
async fn claims_are_exactly_those_that_every_registry_reads() {
    let bed = Bed::with("");
    let before = OffsetDateTime::now_utc().unix_timestamp();
    let Token { claims, claims_text, .. } = token(&bed.get(ASK).by(ALICE).send().await.ok());
    assert_eq!(members(&claims), ["access", "aud", "exp", "iat", "iss", "jti", "nbf", "sub"]);
    assert_eq!((claims["iss"].as_str(), claims["sub"].as_str()), (Some("Acme"), Some("alice")));
    // A text, never a list: registry 2.x cannot read a list.
    assert_eq!(claims["aud"].as_str(), Some("registry"));
    let number = |name: &str| claims[name].as_i64().unwrap_or_else(|| panic!("{name} is no integer in {claims_text}"));
    assert!((before..before + 5).contains(&number("iat")), "{claims_text}");
    assert_eq!((number("exp"), number("nbf")), (number("iat") + 300, number("iat") - 30));
    // Registries refuse `1.8e9` and `1800000000.0`, which a JSON parser cannot tell from integers.
    for name in ["exp", "nbf", "iat"] {
        let digits = claims_text.split_once(&format!("\"{name}\":")).unwrap().1;
        let digits = digits.split([',', '}']).next().unwrap();
        assert!(digits.bytes().all(|digit| digit.is_ascii_digit()), "{name} is {digits}");
        assert_eq!(claims_text.matches(&format!("\"{name}\":")).count(), 1, "registry 3.x refuses doubled members");
    }
    let access = claims["access"].as_array().unwrap();
    for entry in access {
        assert_eq!(members(entry), ["actions", "name", "type"]);
    }
    let expected = serde_json::json!([
        {"type": "repository", "name": "alice/app", "actions": ["delete", "pull", "push"]},
        {"type": "repository", "name": "bob/app", "actions": []},
        {"type": "registry", "name": "catalog", "actions": ["*"]},
    ]);
    assert_eq!(claims["access"], expected);
}

#[tokio::test]
async fn anonymous_tokens_have_an_empty_subject_and_logins_an_empty_list() {
    let bed = Bed::with("");
    let nobody = token(&bed.get(ASK).by(NOBODY).send().await.ok());
    assert_eq!(nobody.claims["sub"], "");
    assert!(nobody.claims["access"].as_array().unwrap().iter().all(|entry| entry["actions"] == serde_json::json!([])));
    let login = token(&bed.get("/auth?service=registry").by(ALICE).send().await.ok());
    assert!(login.claims_text.contains("\"access\":[]"), "{}", login.claims_text);
}

#[tokio::test]
async fn ids_of_tokens_are_never_the_same() {
    let bed = Bed::with("");
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let token = token(&bed.get("/auth?service=registry").by(NOBODY).send().await.ok());
        let id = token.claims["jti"].as_str().unwrap().to_owned();
        assert_eq!(URL_SAFE_NO_PAD.decode(&id).unwrap().len(), 16, "{id}");
        assert!(seen.insert(id));
    }
}

/// Texts of the client's and the operator's choosing stay inside their claims.
#[tokio::test]
async fn names_with_quotes_and_control_characters_are_only_names() {
    let token_section =
        r#"token: {issuer: 'a "quoted" \ issuer, "sub": "x"', certificate: $DIR/token.crt, key: $DIR/token.key}"#;
    let bed = Bed::with(token_section);
    let service = r#"x","sub":"root","access":[{"type":"repository","name":"a","actions":["*"]}],"y":""#;
    let target = format!("/auth?service={}", form_urlencoded::byte_serialize(service.as_bytes()).collect::<String>());
    let token = token(&bed.get(&target).by(ALICE).send().await.ok());
    assert_eq!(members(&token.claims), ["access", "aud", "exp", "iat", "iss", "jti", "nbf", "sub"]);
    assert_eq!((token.claims["aud"].as_str(), token.claims["sub"].as_str()), (Some(service), Some("alice")));
    assert_eq!(token.claims["iss"], r#"a "quoted" \ issuer, "sub": "x""#);
}

#[tokio::test]
async fn the_header_is_what_the_configuration_asks_for() {
    let with = |more: &str| {
        Bed::with(&format!("token: {{issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key{more}}}"))
    };
    let certificate = der(&pair(Algorithm::ES256).certificate_pem);
    let libtrust = libtrust_id(&certificate);
    let set = with("").get("/.well-known/jwks.json").send().await.json();
    let key = &set["keys"][0];
    // RFC 7638: the members that the key's kind requires, in the order of their names.
    let canonical = format!("{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":{},\"y\":{}}}", key["x"], key["y"]);
    let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()));
    // The coordinates are those of the certificate: 32 bytes each, after the byte that says "uncompressed".
    let (_, parsed) = X509Certificate::from_der(&certificate).unwrap();
    let point = &parsed.public_key().subject_public_key.data;
    assert_eq!(key["x"], URL_SAFE_NO_PAD.encode(&point[1..33]));
    assert_eq!(key["y"], URL_SAFE_NO_PAD.encode(&point[33..65]));
    for (more, form, kid) in [
        ("", "x5c", &libtrust),
        (", header: x5c, disable_legacy_key_id: false", "x5c", &libtrust),
        (", disable_legacy_key_id: true", "x5c", &thumbprint),
        (", header: kid", "kid", &libtrust),
        (", header: kid, disable_legacy_key_id: true", "kid", &thumbprint),
    ] {
        let token = token(&with(more).get(ASK).by(ALICE).send().await.ok());
        assert_eq!(token.header["kid"], *kid, "{more}");
        assert_eq!(token.header.get("x5c").is_some(), form == "x5c", "{more}");
        assert!(token.is_signed_by(&certificate), "{more}");
    }
}

/// Registries compare the certificate with their clock at each request; the same key, known by its id, has no end.
#[tokio::test]
async fn a_certificate_out_of_its_time_is_left_out() {
    let now = OffsetDateTime::now_utc();
    for (made, fallback) in [
        (now - Duration::days(3649), false),
        (now - Duration::days(3651), true),
        // Certificates start an hour before they are made, and our clock may be a minute and a half behind.
        (now + Duration::minutes(61), false),
        (now + Duration::minutes(62), true),
    ] {
        let folder = Folder::new();
        let odd = generate(Algorithm::ES256, "odd", made).unwrap();
        folder.put_pair(&odd);
        let bed = Bed::in_folder(folder, "");
        let token = token(&bed.get(ASK).by(ALICE).send().await.ok());
        let expected: &[&str] = if fallback { &["alg", "kid", "typ"] } else { &["alg", "kid", "typ", "x5c"] };
        assert_eq!(members(&token.header), expected, "made {made}");
        assert_eq!(token.header["kid"], libtrust_id(&der(&odd.certificate_pem)));
        assert!(token.is_signed_by(&der(&odd.certificate_pem)));
        let metrics = bed.get("/metrics").send().await.text();
        assert!(
            metrics.contains(&format!("dockwarden_header_fallback {}", f64::from(u8::from(fallback)))),
            "{metrics}"
        );
    }
}

/// A token with a certificate ends with it, since registries refuse it from then on; but never within the minute, which
/// clients would take for no life at all. A token that names its key by id has nothing to do with that.
#[tokio::test]
async fn a_token_does_not_outlive_its_certificate() {
    let end = |seconds: i64| OffsetDateTime::now_utc() - Duration::days(3650) + Duration::seconds(seconds);
    for (ends_in, header, life) in
        [(5000, "x5c", 900..=900), (200, "x5c", 190..=200), (20, "x5c", 60..=60), (200, "kid", 900..=900)]
    {
        let folder = Folder::new();
        folder.put_pair(&generate(Algorithm::ES256, "short", end(ends_in)).unwrap());
        let pair = "certificate: $DIR/token.crt, key: $DIR/token.key";
        let bed =
            Bed::in_folder(folder, &format!("token: {{issuer: Acme, {pair}, header: {header}, expiration: 900}}"));
        let reply = bed.get(ASK).by(ALICE).send().await.ok();
        assert!(life.contains(&reply.life()), "{} seconds where {ends_in} are left, {header}", reply.life());
        assert_eq!(reply.json()["expires_in"].as_i64(), Some(reply.life()));
    }
}

/// A leaf of a private authority: the leaf comes first, and each certificate is followed by the one above it.
#[tokio::test]
async fn a_chain_is_sent_in_order_whatever_the_order_in_the_file() {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys");
    let read = |name: &str| std::fs::read_to_string(keys.join(name)).unwrap();
    let (leaf, authority, stranger) = (read("leaf.crt"), read("ca.crt"), read("p384.crt"));
    for (bundle, expected) in [
        (leaf.clone(), vec![der(&leaf)]),
        (format!("{leaf}{authority}"), vec![der(&leaf), der(&authority)]),
        (format!("{leaf}{stranger}{authority}"), vec![der(&leaf), der(&authority)]),
    ] {
        let folder = Folder::new();
        folder.put("token.crt", &bundle);
        folder.put("token.key", &read("p256-sec1.key"));
        let bed = Bed::in_folder(folder, "");
        let reply = bed.get(ASK).by(ALICE).send().await.ok();
        let token = token(&reply);
        assert_eq!(token.chain(), expected);
        assert!(token.is_signed_by(&der(&leaf)));
        assert!(reply.body.len() < 16 * 1024);
    }
}

#[tokio::test]
async fn the_servers_pair_signs_where_the_token_section_names_none() {
    let bed = Bed::with(
        "server: {addr: \"127.0.0.1:0\", certificate: $DIR/token.crt, key: $DIR/token.key}\ntoken: {issuer: Acme}\n",
    );
    let token = token(&bed.get(ASK).by(ALICE).send().await.ok());
    assert_eq!(token.chain(), [der(&pair(Algorithm::ES256).certificate_pem)]);
}

/// Without an account a token costs a client nothing but asking, and us a signature.
#[tokio::test]
async fn a_network_that_asks_without_a_pause_waits_behind_its_own_requests() {
    let bed = Bed::with("users: {\"\": {}}\nacl: [{match: {}, actions: [pull]}]");
    let ask = |from: &str| bed.get("/auth?service=registry&scope=repository:app:pull").from(from);
    let mut asks: JoinSet<(Reply, bool)> = JoinSet::new();
    for _ in 0..300 {
        let one = ask("203.0.113.1");
        asks.spawn(async move { (one.send().await, false) });
    }
    let honest = ask("203.0.113.2");
    asks.spawn(async move { (honest.send().await, true) });
    let mut before = 0;
    loop {
        let (reply, is_honest) = asks.join_next().await.unwrap().unwrap();
        assert_eq!(reply.status, 200, "nobody is sent away for a signature: {}", reply.text());
        if is_honest {
            break;
        }
        before += 1;
    }
    // Those that had their turns when it came, one for each core, and every second one from then on.
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    assert!(before <= 2 * cores + 2, "{before} of 300 were answered before");
    while let Some(reply) = asks.join_next().await {
        assert_eq!(reply.unwrap().0.status, 200);
    }
}
