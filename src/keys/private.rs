//! Private keys: which kinds are accepted, how they are read, and how they sign.

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
use crate::pem::{self, Block, Headers, PairFile, PemProblem};

/// An accepted kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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

impl Kind {
    /// The one signature algorithm that every registry accepts for this kind (RFC 7518 section 3.1).
    pub(super) fn algorithm(self) -> Algorithm {
        match self {
            Kind::Rsa(_) => Algorithm::RS256,
            Kind::Ec(Curve::P256) => Algorithm::ES256,
            Kind::Ec(Curve::P384) => Algorithm::ES384,
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

    /// With the raw R and S side by side, as RFC 7518 section 3.4 wants them.
    fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Curve::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Rsa(bits) => write!(f, "RSA {bits}"),
            Kind::Ec(curve) => curve.fmt(f),
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

/// A private key, parsed once: reading one costs as much as a signature, and every request wants a signature.
/// It has no `Debug`, so that no log can ever show it.
pub(super) struct PrivateKey {
    pair: Pair,
    kind: Kind,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
}

impl PrivateKey {
    /// The first private key of a PEM file, and what its owner should know.
    pub(super) fn from_pem(bytes: &[u8]) -> Result<(PrivateKey, Vec<KeyWarning>), KeyProblem> {
        let blocks = pem::blocks(bytes, PairFile::Key)?;
        let keys: Vec<&Block> = blocks.iter().filter(|block| block.is_key()).collect();
        let Some(first) = keys.first() else {
            // `openssl ecparam` writes the curve's parameters first; what comes after them is what was meant.
            let meant = blocks.iter().find(|block| block.label != "EC PARAMETERS").or(blocks.first());
            return Err(match meant.map(|block| block.label.as_str()) {
                Some("CERTIFICATE") => KeyProblem::KeyIsCertificate,
                Some(label) => KeyProblem::KeyIsOther(label.to_owned()),
                None => PemProblem::NotPem(PairFile::Key).into(),
            });
        };
        let warnings = match keys.len() {
            1 => Vec::new(),
            several => vec![KeyWarning::SeveralKeys(several)],
        };
        Ok((PrivateKey::from_block(first)?, warnings))
    }

    fn from_block(block: &Block) -> Result<PrivateKey, KeyProblem> {
        match (block.label.as_str(), block.headers) {
            (_, Headers::Encrypted) | ("ENCRYPTED PRIVATE KEY", Headers::Plain) => Err(KeyProblem::KeyEncrypted),
            ("PRIVATE KEY", Headers::Plain) => PrivateKey::from_pkcs8(&block.der),
            ("RSA PRIVATE KEY", Headers::Plain) => PrivateKey::from_pkcs1(&block.der),
            ("EC PRIVATE KEY", Headers::Plain) => PrivateKey::from_sec1(&block.der),
            ("OPENSSH PRIVATE KEY", Headers::Plain) => Err(KeyProblem::KeyOpenSsh),
            ("DSA PRIVATE KEY", Headers::Plain) => Err(KeyProblem::KeyKind("DSA".to_owned())),
            (label, Headers::Plain) => Err(KeyProblem::KeyIsOther(label.to_owned())),
        }
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
            Named::Rsa => rsa(inner.data, || RsaKeyPair::from_pkcs8(der)),
            Named::Ec(curve) => ecdsa(curve, || EcdsaKeyPair::from_pkcs8(curve.signing(), der)),
        }
    }

    /// PKCS#1 (RFC 8017 appendix A.1.2).
    fn from_pkcs1(der: &[u8]) -> Result<PrivateKey, KeyProblem> {
        rsa(der, || RsaKeyPair::from_der(der))
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

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The public key as a certificate's subjectPublicKey bits hold it: PKCS#1 for RSA, the uncompressed point else.
    pub(super) fn public_bits(&self) -> &[u8] {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref(),
            Pair::Ecdsa(pair) => pair.public_key().as_ref(),
        }
    }

    /// The SubjectPublicKeyInfo in DER, always in its usual form whatever the files looked like.
    pub(super) fn spki(&self) -> Result<Vec<u8>, SignError> {
        let der: PublicKeyX509Der<'_> = match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_der(),
            Pair::Ecdsa(pair) => pair.public_key().as_der(),
        }
        .map_err(|_| SignError::Refused)?;
        Ok(der.as_ref().to_vec())
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256, or ECDSA as raw R and S.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .map_err(|_| SignError::Refused)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_| SignError::Refused)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }
}

/// An algorithm identifier that names an accepted kind of key.
pub(super) enum Named {
    Rsa,
    Ec(Curve),
}

/// What an AlgorithmIdentifier names (RFC 3279 section 2.3, RFC 5480, RFC 8410); the error is the name of a kind that
/// is not accepted.
pub(super) fn named_kind(id: &str, parameters: Option<&Any<'_>>) -> Result<Named, String> {
    match id {
        "1.2.840.113549.1.1.1" => Ok(Named::Rsa),
        "1.2.840.10045.2.1" => named_curve(parameters).map(Named::Ec),
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

/// The size and exponent are read before the key is parsed, so that the answer can name them: the library refuses
/// some sizes by itself, without a word about why.
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
    Ok(PrivateKey { pair: Pair::Rsa(pair), kind: Kind::Rsa(bits) })
}

fn ecdsa(curve: Curve, parse: impl FnOnce() -> Result<EcdsaKeyPair, KeyRejected>) -> Result<PrivateKey, KeyProblem> {
    let pair = parse().map_err(rejected)?;
    Ok(PrivateKey { pair: Pair::Ecdsa(pair), kind: Kind::Ec(curve) })
}

fn rejected(reason: KeyRejected) -> KeyProblem {
    unreadable(&format!("its numbers do not fit together: {reason}"))
}

fn unreadable(what: &str) -> KeyProblem {
    KeyProblem::KeyUnreadable(what.to_owned())
}

/// Bits of a positive DER integer.
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
