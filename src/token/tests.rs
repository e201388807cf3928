//! Tokens as they are made, taken apart by hand.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use serde_json::{Value, json};
use time::Duration;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::keys::generate;

use super::*;

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn key(algorithm: Algorithm) -> Arc<SigningKey> {
    let made = generate(algorithm, "auth.example.org", now()).unwrap();
    let key = SigningKey::from_pem(made.key_pem.as_bytes(), made.certificate_pem.as_bytes());
    Arc::new(key.unwrap_or_else(|problems| panic!("{problems:?}")))
}

fn issuer(key: &Arc<SigningKey>, form: HeaderForm, kid_form: KidForm) -> Issuer {
    Issuer::new(Arc::clone(key), "Auth service", form, kid_form).unwrap()
}

fn sample(issuer: &Issuer) -> Claims {
    let access = vec![
        AccessEntry {
            kind: "repository".to_owned(),
            name: "team/app".to_owned(),
            actions: vec!["pull".to_owned(), "push".to_owned()],
        },
        AccessEntry { kind: "registry".to_owned(), name: "catalog".to_owned(), actions: vec![] },
    ];
    issuer.claims(content("waldi", "Docker registry", access), now(), 900, jti([0xff; 16]))
}

fn content(subject: &str, audience: &str, access: Vec<AccessEntry>) -> TokenContent {
    TokenContent { subject: subject.to_owned(), audience: audience.to_owned(), access, secret: None }
}

/// The three parts of a token, taken apart by hand; the text has to be exactly base64url without padding.
fn parts(token: &str) -> (String, String, Vec<u8>) {
    let parts: Vec<Vec<u8>> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    let [header, claims, signature] = <[Vec<u8>; 3]>::try_from(parts).unwrap();
    (String::from_utf8(header).unwrap(), String::from_utf8(claims).unwrap(), signature)
}

/// How often each member's name occurs in a JSON object of one level, which parsers do not tell.
fn occurrences(object: &str, member: &str) -> usize {
    object.matches(&format!("\"{member}\":")).count()
}

#[test]
fn every_algorithm_makes_tokens_that_the_certificate_in_them_verifies() {
    let cases: [(Algorithm, &str, &dyn VerificationAlgorithm, usize); 3] = [
        (Algorithm::RS256, "RS256", &RSA_PKCS1_2048_8192_SHA256, 256),
        (Algorithm::ES256, "ES256", &ECDSA_P256_SHA256_FIXED, 64),
        (Algorithm::ES384, "ES384", &ECDSA_P384_SHA384_FIXED, 96),
    ];
    for (algorithm, name, verification, signature_bytes) in cases {
        let key = key(algorithm);
        for (form, kid_form) in [
            (HeaderForm::X5c, KidForm::Libtrust),
            (HeaderForm::X5c, KidForm::Thumbprint),
            (HeaderForm::Kid, KidForm::Libtrust),
            (HeaderForm::Kid, KidForm::Thumbprint),
        ] {
            let issuer = issuer(&key, form, kid_form);
            let token = issuer.mint(&sample(&issuer), now()).unwrap();
            let (header, _, signature) = parts(&token);
            let header: Value = serde_json::from_str(&header).unwrap();
            let mut expected = json!({"typ": "JWT", "alg": name, "kid": key.kid(kid_form)});
            if form == HeaderForm::X5c {
                let chain: Vec<String> = key.certificates().iter().map(|der| STANDARD.encode(der)).collect();
                expected.as_object_mut().unwrap().insert("x5c".to_owned(), json!(chain));
            }
            assert_eq!(header, expected);

            assert_eq!(signature.len(), signature_bytes);
            let (_, certificate) = X509Certificate::from_der(key.certificates().first().unwrap()).unwrap();
            let signed = token.rsplit_once('.').unwrap().0;
            UnparsedPublicKey::new(verification, &certificate.public_key().subject_public_key.data)
                .verify(signed.as_bytes(), &signature)
                .unwrap();
        }
    }
}

#[test]
fn our_own_tokens_are_good_from_their_first_second_to_the_one_before_their_last() {
    let pair = key(Algorithm::ES256);
    let ours = issuer(&pair, HeaderForm::X5c, KidForm::Libtrust);
    assert_eq!(ours.name(), "Auth service");
    let claims = sample(&ours);
    let token = ours.mint(&claims, now()).unwrap();
    let at = |seconds: i64| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
    for (moment, expected) in [
        (claims.nbf - 1, Err(NotOurs::OutOfTime)),
        (claims.nbf, Ok("waldi".to_owned())),
        (claims.exp - 1, Ok("waldi".to_owned())),
        (claims.exp, Err(NotOurs::OutOfTime)),
        (claims.exp + 1, Err(NotOurs::OutOfTime)),
    ] {
        let seen = ours.verify(&token, "Docker registry", at(moment)).map(|claims| claims.sub);
        assert_eq!(seen, expected, "{moment}");
    }
    let renamed = Issuer::new(Arc::clone(&pair), "Another", HeaderForm::X5c, KidForm::Libtrust).unwrap();
    let stranger = issuer(&key(Algorithm::ES256), HeaderForm::X5c, KidForm::Libtrust);
    for (who, token, audience) in [
        (&ours, token.as_str(), "Another registry"),
        (&ours, token.get(1..).unwrap(), "Docker registry"),
        (&renamed, token.as_str(), "Docker registry"),
        (&stranger, token.as_str(), "Docker registry"),
    ] {
        assert_eq!(who.verify(token, audience, now()).map(|claims| claims.sub), Err(NotOurs::Forged));
    }
}

/// With the right signature, too: whoever wrote `crit` wants the token refused by those who do not know the extension.
#[test]
fn a_token_with_an_extension_that_must_be_known_is_refused() {
    let pair = key(Algorithm::ES256);
    let ours = issuer(&pair, HeaderForm::Kid, KidForm::Libtrust);
    let claims = part(&sample(&ours)).unwrap();
    for (more, expected) in [
        (json!({}), Ok("waldi".to_owned())),
        (json!({"crit": ["exp"], "exp": 1}), Err(NotOurs::Forged)),
        (json!({"crit": ["b64"], "b64": false}), Err(NotOurs::Forged)),
        (json!({"crit": []}), Err(NotOurs::Forged)),
        (json!({"crit": "exp"}), Err(NotOurs::Forged)),
    ] {
        let mut header = json!({"typ": "JWT", "alg": "ES256"});
        header.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        let signed = format!("{}.{claims}", part(&header).unwrap());
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()).unwrap()));
        assert_eq!(ours.verify(&token, "Docker registry", now()).map(|claims| claims.sub), expected, "{header}");
    }
}

#[test]
fn claims_are_what_all_registries_read() {
    let key = key(Algorithm::ES256);
    let issuer = issuer(&key, HeaderForm::X5c, KidForm::Libtrust);
    let (_, text, _) = parts(&issuer.mint(&sample(&issuer), now()).unwrap());
    let claims: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        claims,
        json!({
            "iss": "Auth service", "sub": "waldi", "aud": "Docker registry",
            "exp": 1_800_000_900, "nbf": 1_799_999_970, "iat": 1_800_000_000,
            "jti": "_____________________w",
            "access": [
                {"type": "repository", "name": "team/app", "actions": ["pull", "push"]},
                {"type": "registry", "name": "catalog", "actions": []}
            ]
        })
    );
    for member in ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access"] {
        assert_eq!(occurrences(&text, member), 1, "{member} in {text}");
    }
    // Digits and nothing else: registries refuse `1800000900.0` and `1.8e9`.
    for (member, digits) in [("exp", "1800000900"), ("nbf", "1799999970"), ("iat", "1800000000")] {
        let written = [",", "}"].map(|end| format!("\"{member}\":{digits}{end}"));
        assert!(written.iter().any(|written| text.contains(written)), "{member} in {text}");
    }
}

#[test]
fn anonymous_without_rights_gets_an_empty_subject_and_list() {
    let key = key(Algorithm::ES256);
    let issuer = issuer(&key, HeaderForm::Kid, KidForm::Libtrust);
    let claims = issuer.claims(content("", "s", vec![]), now(), 60, jti([0; 16]));
    let (_, text, _) = parts(&issuer.mint(&claims, now()).unwrap());
    assert!(text.contains(r#""sub":"""#) && text.contains(r#""access":[]"#), "{text}");
}

#[test]
fn x5c_gives_way_to_kid_when_registries_would_refuse_the_certificate() {
    let key = key(Algorithm::ES256);
    let second = Duration::seconds(1);
    let usual = HeaderChoice::Configured(HeaderForm::X5c);
    let by_kid = HeaderChoice::Configured(HeaderForm::Kid);
    for (moment, expected) in [
        (key.not_before() - 91 * second, HeaderChoice::KidInstead(CertificateTime::NotYetValid)),
        // Our clock may be behind the one by which the certificate was made.
        (key.not_before() - 90 * second, usual),
        (key.not_before(), usual),
        (now(), usual),
        (key.not_after(), usual),
        (key.not_after() + second, HeaderChoice::KidInstead(CertificateTime::Expired)),
    ] {
        let with_x5c = issuer(&key, HeaderForm::X5c, KidForm::Thumbprint);
        assert_eq!(with_x5c.header_form_at(moment), expected, "{moment}");
        let (header, _, _) = parts(&with_x5c.mint(&sample(&with_x5c), moment).unwrap());
        assert_eq!(occurrences(&header, "x5c") == 1, expected == usual, "{moment}: {header}");
        assert!(header.contains(key.kid(KidForm::Thumbprint)), "{moment}: {header}");

        let with_kid = issuer(&key, HeaderForm::Kid, KidForm::Thumbprint);
        assert_eq!(with_kid.header_form_at(moment), by_kid, "{moment}");
    }
}

/// Whoever else signs with our key writes what they like; a list does not count as claims.
#[test]
fn only_an_object_with_objects_in_it_is_the_claims_of_a_token() {
    let key = key(Algorithm::ES256);
    let issuer = issuer(&key, HeaderForm::Kid, KidForm::Thumbprint);
    let whole = serde_json::to_value(sample(&issuer)).unwrap();
    let verify = |claims: &Value| {
        let text = format!("{}.{}", issuer.kid_header, part(claims).unwrap());
        let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(key.sign(text.as_bytes()).unwrap()));
        issuer.verify(&token, "Docker registry", now())
    };
    assert_eq!(verify(&whole).map(|claims| claims.access.len()), Ok(2));
    let in_order = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access"].map(|member| whole.get(member).cloned());
    assert_eq!(verify(&json!(in_order)), Err(NotOurs::Forged));
    let mut inside = whole;
    *inside.pointer_mut("/access/0").unwrap() = json!(["repository", "team/app", ["push"]]);
    assert_eq!(verify(&inside), Err(NotOurs::Forged));
}

#[test]
fn a_secrets_token_says_which_and_no_other_says_anything_of_it() {
    let key = key(Algorithm::ES256);
    let issuer = issuer(&key, HeaderForm::Kid, KidForm::Libtrust);
    for (secret, expected) in [
        (None, [None, None, None]),
        (
            Some(SecretClaims { id: "0a".to_owned(), epoch: 3, last4: "a1B2".to_owned() }),
            [Some(json!("0a")), Some(json!(3)), Some(json!("a1B2"))],
        ),
    ] {
        let content = TokenContent { secret: secret.clone(), ..content("alice", "registry", vec![]) };
        let claims = issuer.claims(content, now(), 60, jti([1; 16]));
        let token = issuer.mint(&claims, now()).unwrap();
        let text: Value = serde_json::from_str(&parts(&token).1).unwrap();
        assert_eq!(["cred", "epoch", "cred_last4"].map(|claim| text.get(claim).cloned()), expected);
        assert_eq!(issuer.verify(&token, "registry", now()), Ok(claims));
    }
}

#[test]
fn ids_of_tokens_hold_all_random_bits() {
    assert_eq!(jti([0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
    for bit in 0..128_usize {
        let mut random = [0; 16];
        *random.get_mut(bit / 8).unwrap() = 1 << (bit % 8);
        assert_ne!(jti(random), jti([0; 16]), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn no_name_breaks_out_of_its_claim(subject in any::<String>(), audience in any::<String>(), name in any::<String>()) {
        let key = key(Algorithm::ES256);
        let issuer = issuer(&key, HeaderForm::Kid, KidForm::Libtrust);
        let access = vec![AccessEntry { kind: "repository".to_owned(), name: name.clone(), actions: vec![] }];
        let claims = issuer.claims(content(&subject, &audience, access), now(), 60, jti([1; 16]));
        let (_, text, _) = parts(&issuer.mint(&claims, now()).unwrap());
        let read: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read.as_object().unwrap().len(), 8);
        prop_assert_eq!(read.get("sub"), Some(&json!(subject)));
        prop_assert_eq!(read.get("aud"), Some(&json!(audience)));
        prop_assert_eq!(read.pointer("/access/0/name"), Some(&json!(name)));
    }
}
