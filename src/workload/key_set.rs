//! The public keys of an issuer, as it publishes them (JWK Set, RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use super::jwt::{Header, Jwt};
use crate::json::{self, Object};

/// More keys than these in one set are not looked at: issuers have a few.
const MAX_KEYS: usize = 100;
/// The shortest modulus of an RSA key, in bytes.
const SHORTEST_RSA: usize = 256;

/// What an issuer's keys are published for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// Signatures of any kind: `use` is `sig`, or is not there.
    Signatures,
    /// The documents of SPIFFE workloads: `use` is `jwt-svid`. Such a set holds keys of authorities (`x509-svid`) as well.
    JwtSvids,
}

/// The keys of an issuer that can be used. None where the file was not read, or where the issuer has withdrawn them all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct KeySet(Vec<Key>);

/// A public key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    kid: Option<String>,
    /// The one algorithm that it is for, where it says so.
    algorithm: Option<Algorithm>,
    numbers: Numbers,
}

/// What a key consists of, in base64url.
#[derive(Clone, Debug, PartialEq)]
enum Numbers {
    Rsa { n: String, e: String },
    P256 { x: String, y: String },
    P384 { x: String, y: String },
    Ed25519 { x: String },
}

/// Why a text is not a set of keys that can be used. The text is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoKeys {
    /// It is no JWK Set at all.
    #[error("this is not a set of public keys (JSON with keys: {{\"keys\": [{{\"kty\": …}}]}})")]
    NotASet,
    /// No key of it can be used.
    #[error(
        "it holds no public key that can be used: RSA of 2048 bits or more, P-256, P-384 or Ed25519, for signatures"
    )]
    NoneUsable,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

/// A key as it is published (RFC 7518, section 6; RFC 8037). What other members it has does not matter.
#[derive(Deserialize)]
struct PublishedKey {
    kty: String,
    #[serde(rename = "use")]
    meant: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a set. Keys that cannot be used are left out.
    ///
    /// # Errors
    /// There is none that can be used.
    pub(crate) fn parse(text: &[u8], meant: Meant) -> Result<KeySet, NoKeys> {
        let keys = KeySet::published(text, meant)?;
        if keys.0.is_empty() { Err(NoKeys::NoneUsable) } else { Ok(keys) }
    }

    /// Reads a set as its issuer publishes it, which may have withdrawn all that can be used.
    ///
    /// # Errors
    /// It is no set.
    pub(crate) fn published(text: &[u8], meant: Meant) -> Result<KeySet, NoKeys> {
        let published: Published = json::object(text).map_err(|_| NoKeys::NotASet)?;
        let keys = published.keys.into_iter().take(MAX_KEYS).filter_map(|key| Key::read(key, meant));
        Ok(KeySet(keys.collect()))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys that a JWT with this header can be signed with: those of its `kid`, or the only one that fits the algorithm.
    pub(crate) fn of(&self, header: &Header) -> Vec<Key> {
        let fitting = self.0.iter().filter(|key| key.fits(header.algorithm));
        match &header.kid {
            Some(kid) => fitting.filter(|key| key.kid.as_ref() == Some(kid)).cloned().collect(),
            None => {
                let all: Vec<Key> = fitting.cloned().collect();
                if all.len() == 1 { all } else { Vec::new() }
            }
        }
    }
}

impl Key {
    fn read(published: Value, meant: Meant) -> Option<Key> {
        let Object(PublishedKey { kty, meant: said, key_ops, alg, kid, crv, n, e, x, y }) =
            Object::deserialize(published).ok()?;
        let is_meant = match meant {
            Meant::Signatures => said.is_none_or(|said| said == "sig"),
            Meant::JwtSvids => said.is_some_and(|said| said == "jwt-svid"),
        };
        let verifies = key_ops.is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let numbers = match (kty.as_str(), crv.as_deref()) {
            ("RSA", _) => Numbers::Rsa { n: n.filter(|n| length(n) >= Some(SHORTEST_RSA))?, e: e? },
            ("EC", Some("P-256")) => Numbers::P256 { x: of_length(x, 32)?, y: of_length(y, 32)? },
            ("EC", Some("P-384")) => Numbers::P384 { x: of_length(x, 48)?, y: of_length(y, 48)? },
            ("OKP", Some("Ed25519")) => Numbers::Ed25519 { x: of_length(x, 32)? },
            // Symmetric ones among them.
            (_, _) => return None,
        };
        let algorithm = match alg {
            None => None,
            Some(alg) => Some(alg.parse().ok()?),
        };
        (is_meant && verifies).then_some(Key { kid, algorithm, numbers })
    }

    /// Whether a signature by this algorithm can be of this key. Otherwise a public key could be taken as the secret of an
    /// HMAC, or a curve for another.
    fn fits(&self, algorithm: Algorithm) -> bool {
        let of_kind = match self.numbers {
            Numbers::Rsa { .. } => matches!(
                algorithm,
                Algorithm::RS256
                    | Algorithm::RS384
                    | Algorithm::RS512
                    | Algorithm::PS256
                    | Algorithm::PS384
                    | Algorithm::PS512
            ),
            Numbers::P256 { .. } => algorithm == Algorithm::ES256,
            Numbers::P384 { .. } => algorithm == Algorithm::ES384,
            Numbers::Ed25519 { .. } => algorithm == Algorithm::EdDSA,
        };
        of_kind && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// Whether this key signed the JWT by this algorithm, which fits it.
    pub(crate) fn signed(&self, jwt: &Jwt<'_>, algorithm: Algorithm) -> bool {
        let key = match &self.numbers {
            Numbers::Rsa { n, e } => DecodingKey::from_rsa_components(n, e),
            Numbers::P256 { x, y } | Numbers::P384 { x, y } => DecodingKey::from_ec_components(x, y),
            Numbers::Ed25519 { x } => DecodingKey::from_ed_components(x),
        };
        let signed = jwt.signed.as_bytes();
        key.and_then(|key| jsonwebtoken::crypto::verify(jwt.signature, signed, &key, algorithm)).unwrap_or(false)
    }
}

/// The length of a number in base64url, in bytes.
fn length(number: &str) -> Option<usize> {
    Some(URL_SAFE_NO_PAD.decode(number).ok()?.len())
}

fn of_length(number: Option<String>, bytes: usize) -> Option<String> {
    number.filter(|number| length(number) == Some(bytes))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "a test ends where something is not as it should be")]

    use serde_json::json;

    use super::*;

    fn fitting(set: &Value, meant: Meant, algorithm: Algorithm, kid: Option<&str>) -> Result<usize, NoKeys> {
        let header = Header { algorithm, kid: kid.map(str::to_owned) };
        KeySet::parse(set.to_string().as_bytes(), meant).map(|set| set.of(&header).len())
    }

    #[test]
    fn a_key_is_used_for_what_it_is_published_for() {
        use Algorithm::{ES256, ES384, EdDSA, PS256, RS256};
        let of = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![7; bytes]);
        let rsa = |kid: &str, bytes: usize| json!({"kty": "RSA", "kid": kid, "n": of(bytes), "e": "AQAB"});
        let ec = |kid: &str, curve: &str, bytes: usize| json!({"kty": "EC", "kid": kid, "crv": curve, "x": of(bytes), "y": of(bytes)});
        let with = |mut key: Value, member: &str, value: Value| {
            key[member] = value;
            key
        };
        let one = |key: Value| json!({"keys": [key]});
        for (set, algorithm, kid, expected) in [
            (one(rsa("a", 256)), RS256, Some("a"), Ok(1)),
            (one(rsa("a", 256)), PS256, Some("a"), Ok(1)),
            (one(rsa("a", 256)), RS256, None, Ok(1)),
            (one(rsa("a", 256)), RS256, Some("b"), Ok(0)),
            (one(rsa("a", 256)), ES256, Some("a"), Ok(0)),
            (one(rsa("a", 255)), RS256, Some("a"), Err(NoKeys::NoneUsable)),
            (one(with(rsa("a", 256), "alg", json!("RS512"))), RS256, Some("a"), Ok(0)),
            (one(with(rsa("a", 256), "use", json!("enc"))), RS256, Some("a"), Err(NoKeys::NoneUsable)),
            (one(with(rsa("a", 256), "key_ops", json!(["encrypt"]))), RS256, Some("a"), Err(NoKeys::NoneUsable)),
            (one(with(rsa("a", 256), "alg", json!("RSA-OAEP"))), RS256, Some("a"), Err(NoKeys::NoneUsable)),
            (one(ec("a", "P-256", 32)), ES256, Some("a"), Ok(1)),
            (one(ec("a", "P-384", 48)), ES384, Some("a"), Ok(1)),
            (one(ec("a", "P-384", 48)), ES256, Some("a"), Ok(0)),
            (one(ec("a", "P-256", 31)), ES256, Some("a"), Err(NoKeys::NoneUsable)),
            (one(ec("a", "secp256k1", 32)), ES256, Some("a"), Err(NoKeys::NoneUsable)),
            (one(json!({"kty": "OKP", "crv": "Ed25519", "x": of(32)})), EdDSA, None, Ok(1)),
            (one(json!({"kty": "oct", "k": of(32), "kid": "a"})), ES256, Some("a"), Err(NoKeys::NoneUsable)),
            // The kid may be left out where one key fits, and stands twice while kinds change.
            (json!({"keys": [rsa("a", 256), rsa("b", 256)]}), RS256, None, Ok(0)),
            (json!({"keys": [rsa("a", 256), ec("b", "P-256", 32)]}), RS256, None, Ok(1)),
            (json!({"keys": [rsa("a", 256), ec("a", "P-256", 32)]}), ES256, Some("a"), Ok(1)),
            // What cannot be read is not the end of the others.
            (json!({"keys": [1, {}, {"kty": 7}, rsa("a", 256)]}), RS256, Some("a"), Ok(1)),
            (json!({"keys": {}}), RS256, None, Err(NoKeys::NotASet)),
            (json!([]), RS256, None, Err(NoKeys::NotASet)),
        ] {
            assert_eq!(fitting(&set, Meant::Signatures, algorithm, kid), expected, "{algorithm:?} {kid:?} {set}");
        }
        for (said, expected) in
            [("jwt-svid", Ok(1)), ("x509-svid", Err(NoKeys::NoneUsable)), ("sig", Err(NoKeys::NoneUsable))]
        {
            let set = one(with(ec("a", "P-256", 32), "use", json!(said)));
            assert_eq!(fitting(&set, Meant::JwtSvids, ES256, Some("a")), expected, "{said}");
        }
        assert_eq!(fitting(&one(ec("a", "P-256", 32)), Meant::JwtSvids, ES256, None), Err(NoKeys::NoneUsable));
    }
}
