//! The token that a registry verifies: its claims, its header, and the signed text of both.

mod living;
pub mod recent;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::json;
use crate::keys::{KidForm, SigningKey, VerifyingKey};

pub use self::living::{Before, Trust};
pub use crate::keys::SignError;

/// How far `nbf` lies before `iat`, in seconds. Registries allow 60 seconds more by themselves, so that their clock may be a
/// minute and a half behind ours.
pub const NOT_BEFORE_MARGIN: i64 = 30;

/// An entry of the `access` claim: the actions that are allowed on one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessEntry {
    /// The resource's type, `repository` or `registry`, without any class.
    #[serde(rename = "type")]
    pub kind: String,
    /// The resource's name.
    pub name: String,
    /// The allowed actions; an empty list allows nothing.
    pub actions: Vec<String>,
}

/// All that a token says but its times and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenContent {
    /// The account; empty for anonymous.
    pub subject: String,
    /// The service the token is for.
    pub audience: String,
    /// What it allows.
    pub access: Vec<AccessEntry>,
    /// The secret that it is made for, if it is one.
    pub secret: Option<SecretClaims>,
}

/// What a token says of the secret that it was made for, so that our own doors can refuse it once the secret is dead. Registries
/// overlook both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretClaims {
    /// The secret's id.
    pub id: String,
    /// The epoch of the secret's owner.
    pub epoch: i64,
}

/// A token's claims. All times are whole seconds since 1970: registries refuse fractions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The account; empty for anonymous.
    pub sub: String,
    /// The service the token is for: one text, since registry 2.x cannot read a list.
    pub aud: String,
    /// The moment at which it expires.
    pub exp: i64,
    /// The first moment at which it is valid.
    pub nbf: i64,
    /// The moment at which it was made.
    pub iat: i64,
    /// Its own id.
    pub jti: String,
    /// What it allows.
    #[serde(deserialize_with = "json::objects")]
    pub access: Vec<AccessEntry>,
    /// The id of the secret that it was made for. A claim of our own, as the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cred: Option<String>,
    /// The epoch of the secret's owner then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
}

/// The part of a token's header that tells the registry which key signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderForm {
    /// The certificate chain (`x5c`) and the key's id: all that a registry with a `rootcertbundle` needs.
    X5c,
    /// The key's id (`kid`) alone: for registries that know the key by a JWK set.
    Kid,
}

/// The header that tokens get at a moment, and whether it is the configured one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderChoice {
    /// The header that was configured.
    Configured(HeaderForm),
    /// The key's id alone, although `x5c` is configured: registries would refuse the certificate now. The operator has to
    /// know, because registries that do not know the key by this id refuse the tokens.
    KidInstead(CertificateTime),
}

impl HeaderChoice {
    /// The header that the tokens do have.
    pub fn form(self) -> HeaderForm {
        match self {
            HeaderChoice::Configured(form) => form,
            HeaderChoice::KidInstead(CertificateTime::NotYetValid | CertificateTime::Expired) => HeaderForm::Kid,
        }
    }
}

/// Why the certificate chain cannot be used at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateTime {
    /// It is not valid yet.
    NotYetValid,
    /// It has expired.
    Expired,
}

/// The maker of tokens: a key, the issuer's name, and the header. The moment and the random id come in with each call.
#[derive(Debug)]
pub struct Issuer {
    key: Arc<SigningKey>,
    name: String,
    form: HeaderForm,
    kid_form: KidForm,
    /// Encoded once, since the headers are the same in all tokens; the chain is most of a token.
    x5c_header: String,
    kid_header: String,
    /// Where an authority for tokens stands above the key: whom we trust besides the key itself.
    trust: Option<Trust>,
    /// Tokens made before this moment are refused at our own doors.
    not_before: Option<OffsetDateTime>,
}

impl Issuer {
    /// An issuer called `name` (the `iss` claim, which the registries' `issuer` setting must equal).
    pub fn new(
        key: Arc<SigningKey>,
        name: impl Into<String>,
        form: HeaderForm,
        kid_form: KidForm,
    ) -> Result<Issuer, SignError> {
        let mut header = Header::new(key.algorithm());
        header.kid = Some(key.kid(kid_form).to_owned());
        let kid_header = part(&header)?;
        header.x5c = Some(key.certificates().iter().map(|der| STANDARD.encode(der)).collect());
        let x5c_header = part(&header)?;
        Ok(Issuer { key, name: name.into(), form, kid_form, x5c_header, kid_header, trust: None, not_before: None })
    }

    /// The same under an authority for tokens: tokens of all its leaves are ours, and none outlives the leaf that signed it.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Issuer {
        Issuer { trust: Some(trust), ..self }
    }

    /// The same, with tokens refused at our own doors that were made before this moment.
    #[must_use]
    pub fn refusing_before(self, not_before: Option<OffsetDateTime>) -> Issuer {
        Issuer { not_before, ..self }
    }

    /// The last moment at which a token may end that is made now, if a leaf says so.
    pub fn leaf_ends(&self) -> Option<OffsetDateTime> {
        self.trust.as_ref().map(|_| self.key.not_after())
    }

    /// The public keys under which our tokens are known: the one that signs, one that soon will, and those that signed tokens
    /// which are still good (RFC 7517 section 5).
    pub fn key_set(&self, coming: Option<&VerifyingKey>, now: OffsetDateTime) -> Value {
        let living = self.trust.iter().flat_map(|trust| trust.living(now));
        let keys = [self.key.public()].into_iter().chain(coming).chain(living);
        json!({ "keys": keys.flat_map(VerifyingKey::jwks).collect::<Vec<_>>() })
    }

    /// The id by which tokens of this issuer name `key`.
    pub fn kid_of<'a>(&self, key: &'a SigningKey) -> &'a str {
        key.kid(self.kid_form)
    }

    /// The `iss` claim.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key that signs.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The header of tokens that are made at this moment. Registries compare the certificates with their clock at each
    /// request and give no leeway, while a key that they know by its id does not expire. Their clock may be ahead of ours:
    /// see [`SigningKey::used_from`].
    pub fn header_form_at(&self, now: OffsetDateTime) -> HeaderChoice {
        match self.form {
            HeaderForm::Kid => HeaderChoice::Configured(HeaderForm::Kid),
            HeaderForm::X5c if now < self.key.used_from() => HeaderChoice::KidInstead(CertificateTime::NotYetValid),
            HeaderForm::X5c if now > self.key.not_after() => HeaderChoice::KidInstead(CertificateTime::Expired),
            HeaderForm::X5c => HeaderChoice::Configured(HeaderForm::X5c),
        }
    }

    /// The claims of a token that is made now and valid for `lifetime` seconds.
    pub fn claims(&self, content: TokenContent, now: OffsetDateTime, lifetime: u32, jti: String) -> Claims {
        let TokenContent { subject, audience, access, secret } = content;
        let (cred, epoch) = secret.map(|secret| (secret.id, secret.epoch)).unzip();
        let iat = now.unix_timestamp();
        Claims {
            iss: self.name.clone(),
            sub: subject,
            aud: audience,
            exp: iat.saturating_add(i64::from(lifetime)),
            nbf: iat.saturating_sub(NOT_BEFORE_MARGIN),
            iat,
            jti,
            access,
            cred,
            epoch,
        }
    }

    /// The signed token (JWS in its compact form, RFC 7515 section 7.1). With a key of large [`Effort`](crate::keys::Effort),
    /// call it where blocking is allowed.
    pub fn mint(&self, claims: &Claims, now: OffsetDateTime) -> Result<String, SignError> {
        let choice = self.header_form_at(now);
        if self.trust.is_some() && !self.is_leaf_in_time(now) {
            return Err(SignError::LeafOutOfTime);
        }
        let header = match choice.form() {
            HeaderForm::X5c => &self.x5c_header,
            HeaderForm::Kid => &self.kid_header,
        };
        let mut token = format!("{header}.{}", part(claims)?);
        let signature = self.key.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

/// Why a token that was presented is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// Not signed by our key, not for this service, or not a token.
    #[error("the token is not one of ours for this service")]
    Forged,
    /// Not valid yet, or expired.
    #[error("the token is out of its time")]
    OutOfTime,
    /// Made before the moment that the configuration names (`token.not_before`).
    #[error("tokens that were made at that time are not accepted any more")]
    TooOld,
}

impl Issuer {
    fn is_leaf_in_time(&self, now: OffsetDateTime) -> bool {
        (self.key.used_from()..=self.key.not_after()).contains(&now)
    }

    /// The claims of a token that is ours, for `audience`, and valid now.
    ///
    /// The key that signs is the only one, unless an authority for tokens stands above it: then see [`Trust`]. Only the key's
    /// own algorithm is accepted: a header that names another (`none`, or an HMAC keyed with our public key) is a forgery, and
    /// so is a key that the token brings along and that the authority has not signed.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn verify(&self, token: &str, audience: &str, now: OffsetDateTime) -> Result<Claims, NotOurs> {
        let read = |key: &VerifyingKey| self.read(token, key, audience);
        let claims = match &self.trust {
            None => read(self.key.public()),
            Some(trust) => trust.verify(token, (&self.key, self.is_leaf_in_time(now)), now, read),
        }?;
        if self.not_before.is_some_and(|moment| claims.iat < moment.unix_timestamp()) {
            return Err(NotOurs::TooOld);
        }
        let now = now.unix_timestamp();
        match claims.nbf <= now && now < claims.exp {
            true => Ok(claims),
            false => Err(NotOurs::OutOfTime),
        }
    }

    /// The claims of a token that this key has signed, whatever its time.
    fn read(&self, token: &str, key: &VerifyingKey, audience: &str) -> Result<Claims, NotOurs> {
        let mut validation = Validation::new(key.algorithm());
        validation.set_issuer(&[&self.name]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "nbf"]);
        // Compared by the caller, with the moment of the whole decision.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let read = jsonwebtoken::decode::<json::Object<Claims>>(token, key.verifier(), &validation);
        let read = read.map_err(|_| NotOurs::Forged)?;
        // A token that names an extension which must be understood is refused by those who do not understand it (RFC 7515,
        // section 4.1.11). We understand none.
        if read.header.crit.is_some() {
            return Err(NotOurs::Forged);
        }
        let json::Object(claims) = read.claims;
        Ok(claims)
    }
}

/// The id of a token, from 16 bytes of a cryptographic generator: whoever can guess an id can claim another's token.
pub fn jti(random: [u8; 16]) -> String {
    URL_SAFE_NO_PAD.encode(random)
}

fn part(value: &impl Serialize) -> Result<String, SignError> {
    let json = serde_json::to_vec(value).map_err(|_| SignError::Encoding)?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

#[cfg(test)]
mod tests {
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
        let in_order =
            ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "access"].map(|member| whole.get(member).cloned());
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
            (None, (None, None)),
            (Some(SecretClaims { id: "0a".to_owned(), epoch: 3 }), (Some(json!("0a")), Some(json!(3)))),
        ] {
            let content = TokenContent { secret: secret.clone(), ..content("alice", "registry", vec![]) };
            let claims = issuer.claims(content, now(), 60, jti([1; 16]));
            let token = issuer.mint(&claims, now()).unwrap();
            let text: Value = serde_json::from_str(&parts(&token).1).unwrap();
            assert_eq!((text.get("cred").cloned(), text.get("epoch").cloned()), expected);
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
}
