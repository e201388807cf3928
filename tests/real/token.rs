//! Tokens by every kind of key, checked by a verifier that shares no code with the signer, and by both registries.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::support::dockwarden::{self, Dockwarden, ISSUER, SERVICE};
use crate::support::http;
use crate::support::keys::{self, Kind, Pair};
use crate::support::part::{self, Said};
use crate::support::registry::{Edition, Registry, Trust};
use crate::support::{scratch, verify_binary, visit};

const POLICY: &str = "acl:\n  - match: {account: \"waldi\"}\n    actions: [\"*\"]\n";

fn policy() -> String {
    dockwarden::users(&[("waldi", "{}")]) + POLICY
}

fn start(pair: &Pair, token_settings: &str) -> Dockwarden {
    Dockwarden::start(&dockwarden::config(pair, token_settings, &policy()))
}

/// A token of waldi's for a repository.
fn token(dockwarden: &Dockwarden) -> String {
    visit::token(&dockwarden.realm(), SERVICE, "waldi", &["repository:test:pull,push"])
}

/// The independent verifier's word on a token.
fn verify(token: &str, bundle: &Path, issuer: &str, service: &str) -> Said {
    let mut verify = part::command_at(&verify_binary());
    verify.arg("-bundle").arg(bundle).args(["-issuer", issuer, "-service", service]);
    part::run_with(&mut verify, token.as_bytes())
}

/// The registry's own word on a token: an upload is started with it, or it is refused.
fn taken_by(registry: &Registry, token: &str) -> bool {
    let reply = visit::call(registry, Some(token), "POST", "/v2/test/blobs/uploads/", b"");
    match reply.status {
        202 => true,
        401 => false,
        other => panic!("{other} {}", reply.text()),
    }
}

#[track_caller]
fn assert_taken(registry: &Registry, token: &str) {
    assert!(
        taken_by(registry, token),
        "{:?} refused {}\n{}",
        registry.edition,
        visit::header(token),
        registry.process.tail()
    );
}

fn header_and_claims_are_what_registries_want(kind: Kind) {
    let pair = keys::as_in_the_guide(kind);
    let dockwarden = start(&pair, "");
    let reply = visit::ask_realm(&dockwarden.realm(), SERVICE, "waldi", &["repository:test:pull,push"]);
    let expires_in = reply.json()["expires_in"].as_i64().unwrap();
    let token = reply.json()["token"].as_str().unwrap().to_owned();

    let header = visit::header(&token);
    assert_eq!(header["typ"], "JWT");
    assert_eq!(header["alg"], kind.algorithm());
    assert!(header["kid"].as_str().is_some_and(|kid| !kid.is_empty()), "{header}");
    assert_eq!(header["x5c"].as_array().unwrap().len(), 1, "{header}");
    let pem = fs::read_to_string(&pair.certificate).unwrap().replace('\n', "");
    assert!(pem.contains(header["x5c"][0].as_str().unwrap()), "the certificate itself: {header}");

    let claims = visit::claims(&token);
    let seconds = |name: &str| claims[name].as_i64().unwrap();
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["aud"], SERVICE);
    assert_eq!(claims["sub"], "waldi");
    assert_eq!(seconds("exp") - seconds("iat"), 900);
    assert_eq!(expires_in, 900);
    assert!((1..=60).contains(&(seconds("iat") - seconds("nbf"))), "a little back-dated: {claims}");
    let other = visit::claims(&self::token(&dockwarden));
    assert_ne!(claims["jti"], other["jti"]);
    assert!(claims["jti"].as_str().is_some_and(|jti| jti.len() >= 16), "{claims}");

    verify(&token, &pair.certificate, ISSUER, SERVICE).well();
    verify(&token, &pair.certificate, "somebody else", SERVICE).refused(&["issuer: "]);
    verify(&token, &pair.certificate, ISSUER, "another registry").refused(&["audience: "]);
    let stranger = keys::as_in_the_guide(Kind::P256);
    verify(&token, &stranger.certificate, ISSUER, SERVICE).refused(&["x5c: x509: "]);
    // The first letter of the signature, since the last one holds bits that mean nothing.
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let letter = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{signed}.{letter}{}", &signature[1..]);
    verify(&forged, &pair.certificate, ISSUER, SERVICE).refused(&["signature: it does not verify"]);

    for edition in Edition::ALL {
        let registry = Registry::start(edition, &dockwarden, &pair.certificate);
        assert_taken(&registry, &token);
        assert!(!taken_by(&registry, &forged), "{edition:?}");
        let visited = visit::visit(&registry, "waldi", "GET", "/v2/", b"");
        assert_eq!(visited.reply.status, 200, "{edition:?}");
    }
}

#[test]
fn rs256_with_the_guides_own_pair() {
    header_and_claims_are_what_registries_want(Kind::Rsa);
}

#[test]
fn es256() {
    header_and_claims_are_what_registries_want(Kind::P256);
}

#[test]
fn es384() {
    header_and_claims_are_what_registries_want(Kind::P384);
}

#[test]
fn when_the_certificates_time_is_over_the_configured_kid_still_opens() {
    let pair = keys::expired(Kind::Rsa);
    // Each generation knows one form of the key's name.
    for (edition, settings) in
        [(Edition::V2, "  disable_legacy_key_id: false\n"), (Edition::V3, "  disable_legacy_key_id: true\n")]
    {
        let dockwarden = start(&pair, settings);
        let token = token(&dockwarden);
        let header = visit::header(&token);
        assert_eq!(header.get("x5c"), None, "a registry would refuse it: {header}");
        let registry = Registry::start(edition, &dockwarden, &pair.certificate);
        assert_taken(&registry, &token);
        let log = dockwarden.whole_log();
        let loud = |line: &Value| {
            let text = line.to_string().to_lowercase();
            matches!(line["level"].as_str(), Some("WARN" | "ERROR"))
                && text.contains("certificate")
                && text.contains("kid")
        };
        assert!(log.lines().filter_map(|line| serde_json::from_str(line).ok()).any(|line| loud(&line)), "{log}");
    }
}

/// A token as the server would make it if it did not look at the certificate's time: the claims of one of its own, with
/// the certificate in `x5c`, signed by `openssl`.
fn with_x5c(token: &str, pair: &Pair) -> String {
    let pem = fs::read_to_string(&pair.certificate).unwrap();
    let certificate: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let mut header = visit::header(token);
    header["x5c"] = Value::from(vec![certificate]);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), token.split('.').nth(1).unwrap());
    let signature = scratch::directory("signature").join("signature");
    let mut sign = part::client("openssl");
    sign.args(["dgst", "-sha256", "-sign"]).arg(&pair.key).arg("-out").arg(&signature);
    part::run_with(&mut sign, signed.as_bytes()).well();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(fs::read(&signature).unwrap()))
}

/// Why the server falls back to the kid: with the certificate in the token, no registry would let anybody in.
#[test]
fn registries_refuse_x5c_once_the_certificates_time_is_over() {
    for (pair, is_over) in [(keys::expired(Kind::Rsa), true), (keys::as_in_the_guide(Kind::Rsa), false)] {
        for (edition, settings) in
            [(Edition::V2, "  disable_legacy_key_id: false\n"), (Edition::V3, "  disable_legacy_key_id: true\n")]
        {
            let dockwarden = start(&pair, settings);
            let own = token(&dockwarden);
            let by_hand = with_x5c(&own, &pair);
            let registry = Registry::start(edition, &dockwarden, &pair.certificate);
            // The one who signs by hand does it well: the certificate's time makes all the difference.
            assert_taken(&registry, &own);
            assert_eq!(taken_by(&registry, &by_hand), !is_over, "{edition:?}\n{}", registry.process.tail());
            let said = verify(&by_hand, &pair.certificate, ISSUER, SERVICE);
            if is_over {
                said.refused(&["x5c: x509: certificate has expired"])
            } else {
                said.well()
            };
        }
    }
}

#[test]
fn a_leaf_passes_with_the_leaf_the_authority_or_both_in_the_bundle() {
    let chain = keys::under_an_authority();
    let alone = start(&chain.leaf, "");
    let with_authority = start(&Pair { certificate: chain.both.clone(), key: chain.leaf.key.clone() }, "");
    let tokens = [token(&alone), token(&with_authority)];
    for bundle in [&chain.leaf.certificate, &chain.authority, &chain.both] {
        for token in &tokens {
            verify(token, bundle, ISSUER, SERVICE).well();
        }
        for edition in Edition::ALL {
            let registry = Registry::start(edition, &alone, bundle);
            for token in &tokens {
                assert_taken(&registry, token);
            }
        }
    }
}

#[test]
fn a_generated_pair_is_private_kept_and_trusted() {
    let directory = scratch::directory("generated");
    let pair = Pair { certificate: directory.join("auth.crt"), key: directory.join("auth.key") };
    let first = start(&pair, "  generate: true\n");
    let mode = fs::metadata(&pair.key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the key is its owner's only");
    let token = token(&first);
    verify(&token, &pair.certificate, ISSUER, SERVICE).well();
    for edition in Edition::ALL {
        assert_taken(&Registry::start(edition, &first, &pair.certificate), &token);
    }
    drop(first);
    let made = fs::read(&pair.key).unwrap();
    let second = start(&pair, "  generate: true\n");
    assert_eq!(fs::read(&pair.key).unwrap(), made, "an existing key is kept");
    assert_eq!(visit::header(&self::token(&second))["x5c"], visit::header(&token)["x5c"]);
}

/// A registry 3 that has only the JWKS takes what `token.header: kid` makes, in both forms of the key's name.
#[test]
fn a_registry_with_nothing_but_the_jwks_takes_a_token_with_nothing_but_a_kid() {
    let pair = keys::as_in_the_guide(Kind::P256);
    for legacy in ["true", "false"] {
        let dockwarden = start(&pair, &format!("  header: kid\n  disable_legacy_key_id: {legacy}\n"));
        let wire = http::request("GET", "/.well-known/jwks.json", &dockwarden.host(), &[], b"");
        let jwks = http::exchange(&dockwarden.address, &wire);
        assert_eq!(jwks.status, 200, "{}", jwks.text());
        let token = token(&dockwarden);
        let header = visit::header(&token);
        assert_eq!(header.get("x5c"), None, "{header}");
        let keys = jwks.json()["keys"].as_array().unwrap().clone();
        assert_eq!(keys.len(), 2, "one under each name: {keys:?}");
        assert!(keys.iter().any(|key| key["kid"] == header["kid"]), "{header} {keys:?}");
        for key in &keys {
            assert_eq!(key.get("d"), None, "the private part stays at home");
        }
        let file = scratch::write(&scratch::directory("jwks"), "jwks.json", &jwks.text());
        let registry = Registry::start_with(Edition::V3, &dockwarden.realm(), &Trust::Jwks(file));
        assert_taken(&registry, &token);
    }
}

/// A certificate that no registry could read is warned of, and no other is: Go's own reader of PEM has the last word.
#[test]
fn what_go_cannot_read_of_a_bundle_is_warned_of() {
    let pair = keys::as_in_the_guide(Kind::P256);
    let whole = fs::read_to_string(&pair.certificate).unwrap();
    let server = start(&pair, "");
    let token = token(&server);
    let mut seen = Vec::new();
    for (number, text) in [
        whole.clone(),
        whole.replace('\n', "\r\n"),
        whole.replace("-----\n", "----- \t\n"),
        format!("Bag Attributes: x\n{whole}the end"),
        whole.trim_end().to_owned(),
        whole.replace("-----\nM", "-----\nName: value\n\nM"),
        whole.replace("\n-----END", " \n-----END"),
        // From here on it is mended.
        format!("\u{feff}{whole}"),
        format!("  {whole}"),
        format!("\"{whole}\""),
        whole.replace('\n', " "),
        whole.replace('\n', ""),
        whole.replace('\n', "\r"),
        whole.replace('\n', "\\n"),
        whole.replace("\n-----END", "-----END"),
        whole.replace("-----\nM", "-----M"),
        whole.replace("\n-----END", "\n  -----END"),
        whole.replace("=\n-----END", "\n-----END"),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(&pair.certificate, &text).unwrap();
        let go = verify(&token, &pair.certificate, ISSUER, SERVICE).success;
        let said = part::run(part::command_at(dockwarden::program()).arg("check").arg(&server.config));
        assert!(said.success, "{number}: {}", said.text);
        let warned = said.text.contains("rootcertbundle");
        assert_eq!(warned, !go, "{number}: {text}\n{}", said.text);
        seen.push(go);
    }
    assert!(seen.iter().filter(|go| **go).count() >= 7 && seen.contains(&false), "{seen:?}");
}
