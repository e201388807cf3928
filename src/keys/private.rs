//! Private keys for signing: the accepted kinds, reading, and signing.

use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::error::KeyRejected;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use jsonwebtoken::Algorithm;
use x509_parser::asn1_rs::{Any, FromDer as _, Oid, Tag};

use super::problem::{KeyProblem, KeyWarning};
use super::{RSA_BITS, SignError};
use crate::pem::{KeyBlock, KeyEncoding, PemProblem};

/// An accepted kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    /// RSA, with the modulus' size in bits.
    Rsa(usize),
    /// An elliptic curve key.
    Ec(Curve),
}

/// The curves that registries 2.7 to 3.x all accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

impl KeyKind {
    /// The one signature algorithm that every registry accepts for this kind (RFC 7518 section 3.1).
    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            KeyKind::Rsa(_) => Algorithm::RS256,
            KeyKind::Ec(Curve::P256) => Algorithm::ES256,
            KeyKind::Ec(Curve::P384) => Algorithm::ES384,
        }
    }
}

impl Curve {
    /// Bytes of a coordinate (RFC 7518 section 6.2.1.2).
    pub(super) fn field_bytes(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
        }
    }

    /// The algorithm that signs with raw R and S side by side (RFC 7518 section 3.4).
    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyKind::Rsa(bits) => write!(f, "RSA {bits}"),
            KeyKind::Ec(curve) => curve.fmt(f),
        }
    }
}

/// The curve's name in a JWK (RFC 7518 section 6.2.1.1).
impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
        })
    }
}

/// A private key, parsed once: parsing costs as much as a signature, and every request needs a signature. It has no `Debug`,
/// so that no log can show it.
pub(super) struct PrivateKey {
    pair: Parsed,
    kind: KeyKind,
}

enum Parsed {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
}

impl PrivateKey {
    /// The first private key of a PEM file, and what its owner should know.
    pub(super) fn from_pem(bytes: &[u8]) -> Result<(PrivateKey, Vec<KeyWarning>), KeyProblem> {
        let KeyBlock { encoding, der, keys } = KeyBlock::from_pem(bytes)?;
        let key = match encoding {
            KeyEncoding::Pkcs8 => PrivateKey::from_pkcs8(&der),
            KeyEncoding::Pkcs1 => rsa(&der, || RsaKeyPair::from_der(&der)),
            KeyEncoding::Sec1 => PrivateKey::from_sec1(&der),
            KeyEncoding::Other(label) if label == "DSA PRIVATE KEY" => Err(KeyProblem::KeyKind("DSA".to_owned())),
            KeyEncoding::Other(label) => Err(PemProblem::KeyIsOther(label).into()),
        };
        let warnings = if keys > 1 { vec![KeyWarning::SeveralKeys(keys)] } else { Vec::new() };
        Ok((key?, warnings))
    }

    /// PKCS#8 (RFC 5958 section 2): version, algorithm, and the key in an octet string.
    fn from_pkcs8(der: &[u8]) -> Result<PrivateKey, KeyProblem> {
        let fields = sequence(der).ok_or_else(|| unreadable("it is not a PKCS#8 structure"))?;
        let (Some(algorithm), Some(inner)) = (fields.get(1), fields.get(2)) else {
            return Err(unreadable("it is not a whole PKCS#8 structure"));
        };
        let algorithm = elements(algorithm.data).ok_or_else(|| unreadable("it names no algorithm"))?;
        let id = algorithm.first().and_then(oid_of).unwrap_or_default();
        match named_kind(&id, algorithm.get(1)).map_err(KeyProblem::KeyKind)? {
            NamedKind::Rsa => rsa(inner.data, || RsaKeyPair::from_pkcs8(der)),
            NamedKind::Ec(curve) => ecdsa(curve, || EcdsaKeyPair::from_pkcs8(curve.signing(), der)),
        }
    }

    /// SEC1 (RFC 5915 section 3): version, the number, `[0]` the curve, `[1]` the public key.
    fn from_sec1(der: &[u8]) -> Result<PrivateKey, KeyProblem> {
        let fields = sequence(der).ok_or_else(|| unreadable("it is not a SEC1 structure"))?;
        let curve = fields
            .iter()
            .find(|field| field.header.is_contextspecific() && field.tag() == Tag(0))
            .and_then(|field| Any::from_der(field.data).ok())
            .map(|(_, curve)| curve)
            .ok_or_else(|| unreadable("it does not name its curve"))?;
        let curve = named_curve(Some(&curve)).map_err(KeyProblem::KeyKind)?;
        ecdsa(curve, || EcdsaKeyPair::from_private_key_der(curve.signing(), der))
    }

    pub(super) fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The public key as in a certificate's subjectPublicKey bits: PKCS#1 for RSA, otherwise the uncompressed point.
    pub(super) fn public_bits(&self) -> &[u8] {
        match &self.pair {
            Parsed::Rsa(pair) => pair.public_key().as_ref(),
            Parsed::Ecdsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// The SubjectPublicKeyInfo in DER, in its usual form whatever form the files have.
    pub(super) fn spki(&self) -> Result<Vec<u8>, SignError> {
        let der: PublicKeyX509Der<'_> = match &self.pair {
            Parsed::Rsa(pair) => pair.public_key().as_der(),
            Parsed::Ecdsa(pair) => pair.public_key().as_der(),
        }
        .map_err(|_| SignError::Refused)?;
        Ok(der.as_ref().to_vec())
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256, or ECDSA as raw R and S.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.pair {
            Parsed::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| SignError::Refused)?;
                Ok(signature)
            }
            Parsed::Ecdsa(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| SignError::Refused)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

/// An accepted kind of key, as an algorithm identifier names it.
pub(super) enum NamedKind {
    Rsa,
    Ec(Curve),
}

/// The kind that an AlgorithmIdentifier names (RFC 3279 section 2.3, RFC 5480, RFC 8410). The error names a kind that is
/// not accepted.
pub(super) fn named_kind(id: &str, parameters: Option<&Any<'_>>) -> Result<NamedKind, String> {
    match id {
        "1.2.840.113549.1.1.1" => Ok(NamedKind::Rsa),
        "1.2.840.10045.2.1" => named_curve(parameters).map(NamedKind::Ec),
        "1.2.840.113549.1.1.10" => Err("an RSA-PSS key".to_owned()),
        "1.2.840.10040.4.1" => Err("DSA".to_owned()),
        "1.3.101.110" => Err("X25519".to_owned()),
        "1.3.101.111" => Err("X448".to_owned()),
        "1.3.101.112" => Err("Ed25519".to_owned()),
        "1.3.101.113" => Err("Ed448".to_owned()),
        other => Err(format!("of an unknown kind (OID {other})")),
    }
}

fn named_curve(parameters: Option<&Any<'_>>) -> Result<Curve, String> {
    let Some(parameters) = parameters else {
        return Err("an elliptic curve key that does not name its curve".to_owned());
    };
    let Some(id) = oid_of(parameters) else {
        return Err("an elliptic curve key with its curve spelt out instead of named".to_owned());
    };
    match id.as_str() {
        "1.2.840.10045.3.1.7" => Ok(Curve::P256),
        "1.3.132.0.34" => Ok(Curve::P384),
        "1.3.132.0.35" => Err("an elliptic curve key on P-521".to_owned()),
        "1.3.132.0.33" => Err("an elliptic curve key on P-224".to_owned()),
        "1.3.132.0.10" => Err("an elliptic curve key on secp256k1".to_owned()),
        other => Err(format!("an elliptic curve key on another curve (OID {other})")),
    }
}

fn oid_of(field: &Any<'_>) -> Option<String> {
    (field.tag() == Tag::Oid).then(|| Oid::new(field.data.into()).to_id_string())
}

/// Parses an RSA key. Its size and exponent are read first, so that a problem can name them: the library refuses some sizes
/// without saying why.
fn rsa(pkcs1: &[u8], parse: impl FnOnce() -> Result<RsaKeyPair, KeyRejected>) -> Result<PrivateKey, KeyProblem> {
    let fields = sequence(pkcs1).ok_or_else(|| unreadable("it is not a PKCS#1 structure"))?;
    let (Some(modulus), Some(exponent)) = (fields.get(1), fields.get(2)) else {
        return Err(unreadable("it is not a whole PKCS#1 structure"));
    };
    let bits = integer_bits(modulus.data);
    if bits < *RSA_BITS.start() {
        return Err(KeyProblem::RsaTooSmall(bits));
    }
    if bits > *RSA_BITS.end() {
        return Err(KeyProblem::RsaTooLarge(bits));
    }
    if integer_bits(exponent.data) > 31 {
        return Err(KeyProblem::RsaExponent);
    }
    let pair = parse().map_err(rejected)?;
    Ok(PrivateKey { pair: Parsed::Rsa(pair), kind: KeyKind::Rsa(bits) })
}

fn ecdsa(curve: Curve, parse: impl FnOnce() -> Result<EcdsaKeyPair, KeyRejected>) -> Result<PrivateKey, KeyProblem> {
    let pair = parse().map_err(rejected)?;
    Ok(PrivateKey { pair: Parsed::Ecdsa(pair), kind: KeyKind::Ec(curve) })
}

fn rejected(reason: KeyRejected) -> KeyProblem {
    unreadable(&format!("its numbers do not fit together: {reason}"))
}

fn unreadable(what: &str) -> KeyProblem {
    KeyProblem::KeyUnreadable(what.to_owned())
}

/// The number of bits of a positive DER integer.
pub(super) fn integer_bits(integer: &[u8]) -> usize {
    let mut significant = integer.iter().skip_while(|byte| **byte == 0);
    match significant.next() {
        None => 0,
        Some(first) => (8 - first.leading_zeros() as usize) + 8 * significant.count(),
    }
}

/// The fields of a DER sequence that is all of `der`.
pub(super) fn sequence(der: &[u8]) -> Option<Vec<Any<'_>>> {
    let (rest, outer) = Any::from_der(der).ok()?;
    (outer.tag() == Tag::Sequence && rest.is_empty()).then(|| elements(outer.data)).flatten()
}

fn elements(mut content: &[u8]) -> Option<Vec<Any<'_>>> {
    let mut fields = Vec::new();
    while !content.is_empty() {
        let (rest, field) = Any::from_der(content).ok()?;
        fields.push(field);
        content = rest;
    }
    Some(fields)
}
