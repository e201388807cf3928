//! Tests of the signing pair as a whole, on files made by `openssl` and on pairs made here.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair as _};
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use rcgen::{CertificateParams, DnType};
use x509_parser::prelude::FromDer as _;

use super::*;
use crate::pem;

mod authority;
mod making;
mod renewal;

/// A file of `tests/fixtures/keys`.
fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(names: &[&str]) -> Vec<u8> {
    names.iter().flat_map(|name| file(name)).collect()
}

fn loaded(key: &[u8], certificate: &[u8]) -> SigningKey {
    SigningKey::from_pem(key, certificate).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn problems(key: &[u8], certificate: &[u8]) -> Vec<KeyProblem> {
    SigningKey::from_pem(key, certificate).expect_err("the pair must be refused")
}

fn some_day() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

/// A pair for a given EC private key, which `generate` would not choose.
fn pair_of(pkcs8: &[u8]) -> GeneratedPair {
    let key = rcgen::KeyPair::try_from(pkcs8).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "test");
    let certificate = params.self_signed(&key).unwrap();
    GeneratedPair {
        key_pem: pem::write("PRIVATE KEY", pkcs8),
        certificate_pem: pem::write("CERTIFICATE", certificate.der()),
    }
}

#[test]
fn every_accepted_kind_loads_and_signs_the_same_in_every_container() {
    let cases: &[(&[&str], &str, Algorithm, usize)] = &[
        (&["guide-rsa4096.key"], "guide-rsa4096.crt", Algorithm::RS256, 512),
        (&["rsa2048-pkcs1.key", "rsa2048-pkcs8.key"], "rsa2048.crt", Algorithm::RS256, 256),
        (&["p256-sec1.key", "p256-pkcs8.key"], "p256.crt", Algorithm::ES256, 64),
        (&["p384-sec1.key", "p384-pkcs8.key"], "p384.crt", Algorithm::ES384, 96),
    ];
    for (keys, certificate, algorithm, signature_bytes) in cases {
        let mut ids = Vec::new();
        for name in *keys {
            let plain = file(name);
            let windows = String::from_utf8(plain.clone()).unwrap().replace('\n', "\r\n").into_bytes();
            let marked = [b"\xef\xbb\xbf".as_slice(), &plain].concat();
            let noted = [b"Bag Attributes\n  name: x\n".as_slice(), &plain, b"the end"].concat();
            for text in [plain, windows, marked, noted] {
                let key = loaded(&text, &file(certificate));
                assert_eq!(key.algorithm(), *algorithm, "{name}");
                assert_eq!(key.sign(b"x").unwrap().len(), *signature_bytes, "{name}");
                assert_eq!(key.certificates().len(), 1, "{name}");
                ids.push((key.kid(KidForm::Libtrust).to_owned(), key.kid(KidForm::Thumbprint).to_owned()));
            }
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "{keys:?} are one key");
    }
}

/// Computed with `openssl` and Go's crypto packages, see the fixtures' README.
#[test]
fn key_ids_of_the_fixtures_are_those_that_others_compute() {
    for (key, certificate, libtrust, thumbprint) in [
        (
            "rsa2048-pkcs1.key",
            "rsa2048.crt",
            "GMPN:EHUA:IJUU:EZSS:VAAV:NNSS:72P7:OV66:4LB2:AMSP:KHBC:6DYN",
            "q5s7b1UEwZ-wyyDCD6Fd4CfYcglJtigFJDde_HhqPV4",
        ),
        (
            "p384-sec1.key",
            "p384.crt",
            "REVM:QOZB:O5TR:7R6M:OODH:4FQV:DKAO:GL7E:VNHX:PIA5:ZHQ3:EMYE",
            "aCalS_6TYMcELQzM2n5ZyX18nsxhXbJogcGzVn_dXCw",
        ),
    ] {
        let key = loaded(&file(key), &file(certificate));
        assert_eq!((key.kid(KidForm::Libtrust), key.kid(KidForm::Thumbprint)), (libtrust, thumbprint));
    }
}

/// A key's file, the certificate's files, all problems, and words that one of them must say.
type Refusal = (&'static str, &'static [&'static str], Vec<KeyProblem>, &'static str);

#[test]
fn what_cannot_sign_is_refused_with_what_is_wrong_and_what_to_do() {
    let kind = |name: &str| KeyProblem::KeyKind(name.to_owned());
    let of_its = |name: &str| KeyProblem::CertificateKind(name.to_owned());
    let mismatch = |subject: &str, kind: &str| KeyProblem::Mismatch {
        subject: subject.to_owned(),
        certificate_kind: kind.to_owned(),
        key_kind: "P-256".to_owned(),
    };
    let spelt_out = "an elliptic curve key with its curve spelt out instead of named";
    let no_key = PemProblem::KeyIsOther("PUBLIC KEY".to_owned());
    let swapped = vec![PemProblem::KeyIsCertificate.into(), PemProblem::CertificateIsKey.into()];
    let not_first = KeyProblem::CertificateNotFirst { number: 2, subject: "CN=test leaf".to_owned() };
    let cases: [Refusal; 15] = [
        ("rsa1024.key", &["rsa1024.crt"], vec![KeyProblem::RsaTooSmall(1024)], "1024 bits"),
        ("rsa4352.key", &["rsa4352.crt"], vec![KeyProblem::RsaTooLarge(4352)], "4352 bits"),
        ("ed25519.key", &["ed25519.crt"], vec![kind("Ed25519"), of_its("Ed25519")], "registry 2.8 does not even"),
        ("p521-sec1.key", &["p256.crt"], vec![kind("an elliptic curve key on P-521")], "P-521"),
        ("secp256k1-sec1.key", &["p256.crt"], vec![kind("an elliptic curve key on secp256k1")], "secp256k1"),
        ("p256-explicit.key", &["p256.crt"], vec![kind(spelt_out)], "spelt out"),
        ("rsapss.key", &["rsa2048.crt"], vec![kind("an RSA-PSS key")], "RSA-PSS"),
        ("encrypted-pkcs8.key", &["p256.crt"], vec![PemProblem::KeyEncrypted.into()], "openssl pkey -in OLD -out NEW"),
        ("encrypted-legacy.key", &["rsa2048.crt"], vec![PemProblem::KeyEncrypted.into()], "openssl pkey -in OLD"),
        ("p256.crt", &["p256-sec1.key"], swapped, "swapped"),
        ("p256-public.pem", &["p256.crt"], vec![no_key.into()], "`PUBLIC KEY`"),
        ("p256-pkcs8.key", &["leaf.csr"], vec![KeyProblem::CertificateIsRequest], "openssl x509 -req"),
        ("p256-pkcs8.key", &["rsa2048.crt"], vec![mismatch("CN=test rsa2048", "RSA 2048")], "does not belong to the"),
        ("p256-pkcs8.key", &["ca.crt"], vec![mismatch("CN=test ca", "P-256")], "public keys differ"),
        ("p256-pkcs8.key", &["ca.crt", "leaf.crt"], vec![not_first], "put it first"),
    ];
    for (key, certificate, expected, words) in cases {
        refused(&format!("{key} {certificate:?}"), &file(key), &files(certificate), &expected, words);
    }
    let public = String::from_utf8(file("p256-public.pem")).unwrap();
    let der = STANDARD.decode(public.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    let empty = [PairFile::Key, PairFile::Certificate].map(|file| KeyProblem::from(PemProblem::Empty(file)));
    let (key, certificate) = (file("p256-pkcs8.key"), file("p256.crt"));
    let cut = pem::write("CERTIFICATE", b"\x30\x82\x01\x00");
    let what = "it is not an X.509 certificate".to_owned();
    let unreadable = KeyProblem::CertificateUnreadable { number: 1, what };
    let nonsense = pem::write("PRIVATE KEY", b"nonsense");
    let not_pkcs8 = KeyProblem::KeyUnreadable("it is not a PKCS#8 structure".to_owned());
    refused("binary", &der, &certificate, &[PemProblem::Der(PairFile::Key).into()], "-inform DER");
    refused("both empty", b"", b"", &empty, "is empty");
    refused("cut short", &key, cut.as_bytes(), &[unreadable], "openssl x509 -in FILE -noout -text");
    refused("nonsense", nonsense.as_bytes(), &certificate, &[not_pkcs8], "openssl pkey -in FILE -check");
}

fn refused(case: &str, key: &[u8], certificate: &[u8], expected: &[KeyProblem], words: &str) {
    let found = problems(key, certificate);
    assert_eq!(found, expected, "{case}");
    let text: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(text.iter().any(|text| text.contains(words)), "{case}: {text:?} does not say {words:?}");
}

#[test]
fn a_key_whose_numbers_were_changed_is_refused() {
    // The last bytes of a SEC1 key in PKCS#8 are its public point, those of a PKCS#1 key are the CRT coefficient.
    for (name, certificate) in [("p256-pkcs8.key", "p256.crt"), ("rsa2048-pkcs1.key", "rsa2048.crt")] {
        let mut blocks = pem::blocks(&file(name), PairFile::Key).unwrap();
        let block = blocks.first_mut().unwrap();
        *block.der.last_mut().unwrap() ^= 1;
        let text = pem::write(&block.label, &block.der);
        let found = problems(text.as_bytes(), &file(certificate));
        assert!(matches!(found.as_slice(), [KeyProblem::KeyUnreadable(_)]), "{name}: {found:?}");
    }
}

#[test]
fn no_text_shows_any_part_of_a_key() {
    let text = String::from_utf8(file("p256-pkcs8.key")).unwrap();
    let secret: Vec<&str> = text.lines().filter(|line| !line.starts_with('-')).collect();
    let broken = text.replacen(secret.first().unwrap(), "M*", 1);
    let key = loaded(text.as_bytes(), &file("p256.crt"));
    let made = generate(Algorithm::ES256, "x", some_day()).unwrap();
    let shown = [
        format!("{key:?}"),
        format!("{made:?}"),
        format!("{:?}", problems(broken.as_bytes(), &file("p256.crt"))),
        format!("{:?}", problems(text.as_bytes(), text.as_bytes())),
    ]
    .concat();
    let made_lines = made.key_pem.lines().filter(|line| !line.starts_with('-'));
    for line in secret.into_iter().chain(made_lines) {
        assert!(!shown.contains(line), "{shown}");
    }
    assert!(!shown.contains("BEGIN PRIVATE"), "{shown}");
}

#[test]
fn the_chain_is_the_leaf_and_what_certifies_it_and_its_window_is_the_tightest() {
    let alone = loaded(&file("p256-pkcs8.key"), &file("leaf.crt"));
    let chain = loaded(&file("p256-pkcs8.key"), &files(&["leaf.crt", "p384.crt", "ca.crt"]));
    assert_eq!(alone.certificates().len(), 1);
    assert_eq!(chain.certificates().len(), 2, "the stranger is left out");
    assert_eq!(chain.certificates().first(), alone.certificates().first());
    let now = chain.not_before() + Duration::days(1);
    assert_eq!(chain.warnings(now), [KeyWarning::NotInChain("CN=test p384".to_owned())]);

    let dates = |der: &[u8]| {
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).unwrap();
        let validity = certificate.validity().clone();
        (validity.not_before.to_datetime(), validity.not_after.to_datetime())
    };
    let windows: Vec<_> = chain.certificates().iter().map(|der| dates(der)).collect();
    assert_eq!(Some(chain.not_before()), windows.iter().map(|window| window.0).max());
    assert_eq!(Some(chain.not_after()), windows.iter().map(|window| window.1).min());
    assert_eq!(chain.not_after(), alone.not_after(), "the leaf ends before its authority");
}

#[test]
fn an_authority_that_ends_first_ends_the_window() {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "short-lived ca");
    ca.not_before = some_day();
    ca.not_after = some_day() + Duration::days(100);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = CertificateParams::default();
    let signed = leaf.signed_by(&leaf_key, &rcgen::Issuer::from_params(&ca, &ca_key)).unwrap();
    let key_pem = pem::write("PRIVATE KEY", leaf_key.serialized_der());
    let chain = [signed, ca.self_signed(&ca_key).unwrap()].map(|one| pem::write("CERTIFICATE", one.der())).concat();
    let key = loaded(key_pem.as_bytes(), chain.as_bytes());
    assert_eq!((key.not_before(), key.not_after()), (ca.not_before, ca.not_after));
    // The authority is not marked as one. One random key in 128 has a coordinate that begins with zeros besides.
    let mut warnings = key.warnings(some_day());
    warnings.retain(|warning| !matches!(warning, KeyWarning::ShortCoordinate(_)));
    assert!(
        matches!(warnings.as_slice(), [KeyWarning::NotAnAuthority(name)] if name.contains("short-lived")),
        "{warnings:?}"
    );
}

#[test]
fn warnings_tell_what_the_owner_should_know() {
    let key = file("p256-pkcs8.key");
    let certificate = file("p256.crt");
    let marked = [b"\xef\xbb\xbf".as_slice(), &certificate].concat();
    let now = loaded(&key, &certificate).not_before() + Duration::days(1);
    let one_file = files(&["p256-sec1.key", "p256.crt"]);
    let two_keys = files(&["p256-pkcs8.key", "p384-sec1.key"]);
    for (case, key, certificate, expected) in [
        ("nothing", key.clone(), certificate.clone(), vec![]),
        ("usage", key.clone(), file("nosign.crt"), vec![KeyWarning::KeyUsage]),
        ("one file", one_file.clone(), one_file, vec![KeyWarning::CertificateHoldsKey]),
        ("two keys", two_keys, certificate.clone(), vec![KeyWarning::SeveralKeys(2)]),
        ("marked", key.clone(), marked, vec![KeyWarning::BeginNotFirst(1)]),
    ] {
        assert_eq!(loaded(&key, &certificate).warnings(now), expected, "{case}");
    }
}

#[test]
fn coordinates_keep_their_leading_zeros() {
    let mut seen = Vec::new();
    while !(seen.contains(&"x") && seen.contains(&"y")) {
        let pair = EcdsaKeyPair::generate(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let which = match (point.get(1), point.get(33)) {
            (Some(0), _) => "x",
            (_, Some(0)) => "y",
            _ => continue,
        };
        let (x, y) = point.get(1..).unwrap().split_at(32);
        let made = pair_of(pair.to_pkcs8v1().unwrap().as_ref());
        let key = loaded(made.key_pem.as_bytes(), made.certificate_pem.as_bytes());

        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        let jwks = key.jwks();
        for jwk in jwks.get("keys").and_then(Value::as_array).unwrap() {
            assert_eq!((jwk.get("x"), jwk.get("y")), (Some(&json!(x)), Some(&json!(y))));
        }
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, members.as_bytes());
        assert_eq!(key.kid(KidForm::Thumbprint), URL_SAFE_NO_PAD.encode(hash));
        assert!(key.warnings(some_day()).contains(&KeyWarning::ShortCoordinate(which)));
        seen.push(which);
    }
}

#[test]
fn the_jwk_set_holds_one_key_under_both_ids() {
    for (key, certificate, algorithm, kind) in
        [("rsa2048-pkcs1.key", "rsa2048.crt", "RS256", "RSA"), ("p384-sec1.key", "p384.crt", "ES384", "EC")]
    {
        let key = loaded(&file(key), &file(certificate));
        let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(key.jwks()).unwrap();
        let signature = URL_SAFE_NO_PAD.encode(key.sign(b"message").unwrap());
        assert_eq!(set.keys.len(), 2);
        for form in [KidForm::Libtrust, KidForm::Thumbprint] {
            let jwk = set.find(key.kid(form)).unwrap();
            let verifier = DecodingKey::from_jwk(jwk).unwrap();
            assert_eq!(jsonwebtoken::crypto::verify(&signature, b"message", &verifier, key.algorithm()), Ok(true));
        }
        for jwk in key.jwks().get("keys").and_then(Value::as_array).unwrap() {
            assert_eq!(jwk.get("alg"), Some(&json!(algorithm)));
            assert_eq!(jwk.get("kty"), Some(&json!(kind)));
            assert_eq!(jwk.get("use"), Some(&json!("sig")));
            assert!(jwk.get("d").is_none(), "the private part stays here");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_in_any_block_panic(
        label in prop_oneof![Just("PRIVATE KEY"), Just("EC PRIVATE KEY"), Just("RSA PRIVATE KEY")],
        der in proptest::collection::vec(any::<u8>(), 0..120),
    ) {
        let key = pem::write(label, &der);
        let certificate = pem::write("CERTIFICATE", &der);
        prop_assert!(SigningKey::from_pem(key.as_bytes(), certificate.as_bytes()).is_err());
    }

    /// One changed byte: the pair may still be good (a serial number, a name), but what loads signs with its key.
    #[test]
    fn a_changed_byte_never_panics_or_loads_another_key(
        name in prop_oneof![Just("p256-pkcs8.key"), Just("p256-sec1.key")],
        at in any::<prop::sample::Index>(), to in any::<u8>(), in_key in any::<bool>(),
    ) {
        let id = loaded(&file(name), &file("p256.crt")).kid(KidForm::Libtrust).to_owned();
        let changed = |bytes: Vec<u8>| {
            let mut blocks = pem::blocks(&bytes, PairFile::Key).unwrap();
            let block = blocks.last_mut().unwrap();
            let at = at.index(block.der.len());
            *block.der.get_mut(at).unwrap() = to;
            pem::write(&block.label, &block.der).into_bytes()
        };
        let (key, certificate) = match in_key {
            true => (changed(file(name)), file("p256.crt")),
            false => (file(name), changed(file("p256.crt"))),
        };
        if let Ok(key) = SigningKey::from_pem(&key, &certificate) {
            prop_assert_eq!(key.kid(KidForm::Libtrust), id);
        }
    }
}
