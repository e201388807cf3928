//! The public half of a signing key: its two ids and its JSON Web Key.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use super::SignError;
use super::private::{Curve, KeyKind, sequence};

/// The parameters of a public key in base64url, as in a JWK (RFC 7518 section 6).
#[derive(Clone)]
pub(super) enum PublicKey {
    Rsa { n: String, e: String },
    Ec { curve: Curve, x: String, y: String },
}

impl PublicKey {
    /// Reads the bits of a certificate's subjectPublicKey.
    pub(super) fn from_bits(kind: KeyKind, bits: &[u8]) -> Result<PublicKey, SignError> {
        match kind {
            KeyKind::Rsa(_) => {
                let fields = sequence(bits).ok_or(SignError::Refused)?;
                let (Some(modulus), Some(exponent)) = (fields.first(), fields.get(1)) else {
                    return Err(SignError::Refused);
                };
                Ok(PublicKey::Rsa { n: base64url_uint(modulus.data), e: base64url_uint(exponent.data) })
            }
            KeyKind::Ec(curve) => {
                // An uncompressed point: a byte 4, then both coordinates in the field's full size, zeros included.
                let Some((4, coordinates)) = bits.split_first().map(|(form, rest)| (*form, rest)) else {
                    return Err(SignError::Refused);
                };
                match coordinates.split_at_checked(curve.field_bytes()) {
                    Some((x, y)) if y.len() == curve.field_bytes() => {
                        Ok(PublicKey::Ec { curve, x: URL_SAFE_NO_PAD.encode(x), y: URL_SAFE_NO_PAD.encode(y) })
                    }
                    Some(_) | None => Err(SignError::Refused),
                }
            }
        }
    }

    /// The thumbprint (RFC 7638): SHA-256 of the required members in the order of their names, without white space.
    pub(super) fn thumbprint(&self) -> String {
        // Each value is base64url or a curve's name, and needs no escaping.
        let members = match self {
            PublicKey::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
            PublicKey::Ec { curve, x, y } => {
                format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
        };
        URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()))
    }

    /// The JWK (RFC 7517 section 4) with this id.
    pub(super) fn jwk(&self, algorithm: Algorithm, kid: &str) -> Value {
        match self {
            PublicKey::Rsa { n, e } => {
                json!({"kty": "RSA", "use": "sig", "alg": algorithm, "kid": kid, "n": n, "e": e})
            }
            PublicKey::Ec { curve, x, y } => json!({
                "kty": "EC", "use": "sig", "alg": algorithm, "kid": kid, "crv": curve.to_string(), "x": x, "y": y
            }),
        }
    }
}

/// A number in base64url with the fewest bytes (RFC 7518 section 2, "Base64urlUInt").
fn base64url_uint(integer: &[u8]) -> String {
    let start = integer.iter().take_while(|byte| **byte == 0).count();
    URL_SAFE_NO_PAD.encode(integer.get(start..).unwrap_or_default())
}

/// The key id of Docker's first registries: base32 of the first 30 bytes of the SubjectPublicKeyInfo's SHA-256, in twelve
/// groups of four.
pub(super) fn libtrust_kid(spki: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = digest(&SHA256, spki);
    let mut kid = String::with_capacity(59);
    // Five bytes are eight letters, thus two groups; thirty bytes leave no rest.
    for five in hash.as_ref().chunks_exact(5).take(6) {
        let number = five.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        for place in 0..8 {
            if place % 4 == 0 && !kid.is_empty() {
                kid.push(':');
            }
            let letter = (number >> (35 - 5 * place)) & 31;
            kid.extend(ALPHABET.get(letter as usize).map(|letter| char::from(*letter)));
        }
    }
    kid
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// A vector that the code of registries 2.8.3 and 3.1.1 itself accepted.
    const SPKI: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEiBQcQgzayhi+dLx0ytpmbfu3yGi+mmIULxPjHzprVnRPqvxL9h5ZX7qBP3RaGAoae09HMx30/ydG5jjDak8r+g==";

    #[test]
    fn both_key_ids_are_those_that_registries_compute() {
        let spki = STANDARD.decode(SPKI).unwrap();
        assert_eq!(libtrust_kid(&spki), "PZ22:WNAP:UFZL:V6Q5:Y5IE:PVAG:G2PK:UVIY:P4LR:25X2:MRWR:DOZ3");
        let point = spki.get(spki.len() - 65..).unwrap();
        let key = PublicKey::from_bits(KeyKind::Ec(Curve::P256), point).unwrap();
        assert_eq!(key.thumbprint(), "iInN4nK6WUqfPYXpNgYvreJ3-93vJaJMBHtBRYxBaFQ");
        assert_eq!(
            key.jwk(Algorithm::ES256, "k"),
            json!({
                "alg": "ES256", "crv": "P-256", "kid": "k", "kty": "EC", "use": "sig",
                "x": "iBQcQgzayhi-dLx0ytpmbfu3yGi-mmIULxPjHzprVnQ",
                "y": "T6r8S_YeWV-6gT90WhgKGntPRzMd9P8nRuY4w2pPK_o"
            })
        );
    }

    #[test]
    fn rsa_thumbprint_is_that_of_rfc_7638_section_3_1() {
        let key = PublicKey::Rsa {
            n: "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw".to_owned(),
            e: "AQAB".to_owned(),
        };
        assert_eq!(key.thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    #[test]
    fn points_of_another_form_or_size_are_refused() {
        for (curve, length, form) in [
            (Curve::P256, 33, 2),
            (Curve::P256, 64, 4),
            (Curve::P256, 66, 4),
            (Curve::P384, 65, 4),
            (Curve::P256, 0, 4),
        ] {
            let mut bits = vec![7; length];
            if let Some(first) = bits.first_mut() {
                *first = form;
            }
            assert!(PublicKey::from_bits(KeyKind::Ec(curve), &bits).is_err(), "{curve} {length} {form}");
        }
    }

    #[test]
    fn numbers_lose_their_leading_zeros() {
        assert_eq!(base64url_uint(&[0, 1, 0, 1]), "AQAB");
        assert_eq!(base64url_uint(&[0]), "");
    }
}
