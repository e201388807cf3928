//! The certificates of a signing key: the chain that goes into tokens, its validity, and whether it belongs to the key.

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Version;

use super::RSA_BITS;
use super::private::{KeyKind, NamedKind, PrivateKey, integer_bits, named_kind, sequence};
use super::problem::{KeyProblem, KeyWarning};
use super::renewal::{self, Renewal};
use crate::pem::{self, Block, Layout, PairFile, PemProblem};

/// The certificates of a key, its own first.
pub(super) struct Chain {
    pub(super) certificates: Vec<Vec<u8>>,
    /// The time of the first one alone.
    pub(super) own: (OffsetDateTime, OffsetDateTime),
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    pub(super) warnings: Vec<KeyWarning>,
    pub(super) renewals: Vec<Renewal>,
}

/// The certificate blocks of a file, before any of them is parsed.
pub(super) struct Certificates {
    blocks: Vec<Block>,
    warnings: Vec<KeyWarning>,
}

impl Certificates {
    /// The certificates of a PEM file; other blocks than certificates are skipped, as registries do.
    pub(super) fn from_pem(bytes: &[u8]) -> Result<Certificates, KeyProblem> {
        let mut blocks = pem::blocks(bytes, PairFile::Certificate)?;
        let holds_key = blocks.iter().any(Block::is_key);
        let other = blocks.iter().find(|block| !block.is_key()).map(|block| block.label.clone());
        blocks.retain(|block| block.label == "CERTIFICATE");
        if blocks.is_empty() {
            return Err(match other {
                None => PemProblem::CertificateIsKey.into(),
                Some(label) if holds_key && label == "EC PARAMETERS" => PemProblem::CertificateIsKey.into(),
                Some(label) if label.ends_with("CERTIFICATE REQUEST") => KeyProblem::CertificateIsRequest,
                Some(label) => KeyProblem::CertificateIsOther(label),
            });
        }
        let mut warnings = Vec::new();
        if holds_key {
            warnings.push(KeyWarning::CertificateHoldsKey);
        }
        for block in &blocks {
            match block.layout {
                Layout::Usual => {}
                Layout::AfterSomething => warnings.push(KeyWarning::BeginNotFirst(block.line)),
                Layout::Mended => warnings.push(KeyWarning::NotAsWritten(block.line)),
            }
        }
        Ok(Certificates { blocks, warnings })
    }

    /// The certificates in DER, in the order of the file, and what was noticed about their blocks.
    pub(super) fn into_ders(self) -> (Vec<Vec<u8>>, Vec<KeyWarning>) {
        (self.blocks.into_iter().map(|block| block.der).collect(), self.warnings)
    }

    /// Parses every certificate, and finds those above the first. With a key, the first one must be the key's.
    pub(super) fn chain(mut self, key: Option<&PrivateKey>) -> Result<Chain, Vec<KeyProblem>> {
        let mut problems = Vec::new();
        let mut parsed = Vec::new();
        for (number, block) in (1..).zip(&self.blocks) {
            match X509Certificate::from_der(&block.der) {
                Ok(([], certificate)) => parsed.push((block, certificate)),
                Ok(_) => problems.push(unreadable(number, "there are bytes after its end")),
                Err(_) => problems.push(unreadable(number, "it is not an X.509 certificate")),
            }
        }
        let Some((leaf, others)) = parsed.split_first() else {
            return Err(problems);
        };
        match key {
            Some(key) if problems.is_empty() => problems.extend(mismatch(key, &leaf.1, others)),
            Some(_) => {}
            None => problems.extend(kind_of(&leaf.1).err().map(KeyProblem::CertificateKind)),
        }
        if !problems.is_empty() {
            return Err(problems);
        }

        if matches!(leaf.1.key_usage(), Ok(Some(usage)) if !usage.value.digital_signature()) {
            self.warnings.push(KeyWarning::KeyUsage);
        }
        let chain = sorted(leaf, others, &mut self.warnings);
        let own = window(&leaf.1);
        let (mut not_before, mut not_after) = own;
        for (_, certificate) in &chain {
            let (from, until) = window(certificate);
            not_before = not_before.max(from);
            not_after = not_after.min(until);
        }
        let renewals = renewal::signs_in(&leaf.1, chain.iter().map(|(_, certificate)| certificate));
        Ok(Chain {
            renewals,
            own,
            certificates: chain.into_iter().map(|(block, _)| block.der.clone()).collect(),
            not_before,
            not_after,
            warnings: self.warnings,
        })
    }
}

/// A certificate with the block that it was read from.
type Parsed<'a> = (&'a Block, X509Certificate<'a>);

/// The first certificate of a file and those above it in their order. What is noticed goes to the warnings.
fn sorted<'a>(leaf: &'a Parsed<'a>, others: &'a [Parsed<'a>], warnings: &mut Vec<KeyWarning>) -> Vec<&'a Parsed<'a>> {
    let mut chain = vec![leaf];
    let mut left: Vec<_> = others.iter().collect();
    // Each certificate of `x5c` certifies the one before it (RFC 7515 section 4.1.6). One that does not is left out, so
    // that its dates have no part in whether registries accept the chain.
    while let Some((_, below)) = chain.last() {
        let above = left.iter().position(|(_, one)| {
            below.subject().as_raw() != below.issuer().as_raw() && one.subject().as_raw() == below.issuer().as_raw()
        });
        let Some(above) = above else { break };
        if let Some(name) = weak_signature(below) {
            warnings.push(KeyWarning::WeakSignature(below.subject().to_string(), name.to_owned()));
        }
        let above = left.remove(above);
        // A certificate of version 1 cannot have the mark, and is accepted as a root.
        if above.1.version() == X509Version::V3 && !above.1.is_ca() {
            warnings.push(KeyWarning::NotAnAuthority(above.1.subject().to_string()));
        }
        chain.push(above);
    }
    warnings.extend(left.iter().map(|(_, certificate)| KeyWarning::NotInChain(certificate.subject().to_string())));
    chain
}

pub(super) fn window(certificate: &X509Certificate<'_>) -> (OffsetDateTime, OffsetDateTime) {
    let validity = certificate.validity();
    (validity.not_before.to_datetime(), validity.not_after.to_datetime())
}

fn unreadable(number: usize, what: &str) -> KeyProblem {
    KeyProblem::CertificateUnreadable { number, what: what.to_owned() }
}

pub(super) fn bits_of<'a>(certificate: &'a X509Certificate<'_>) -> &'a [u8] {
    &certificate.public_key().subject_public_key.data
}

/// The kind of a certificate's key. The error names a kind that is not accepted.
pub(super) fn kind_of(certificate: &X509Certificate<'_>) -> Result<KeyKind, String> {
    let algorithm = &certificate.public_key().algorithm;
    match named_kind(&algorithm.algorithm.to_id_string(), algorithm.parameters.as_ref())? {
        NamedKind::Ec(curve) => Ok(KeyKind::Ec(curve)),
        NamedKind::Rsa => {
            let numbers = sequence(bits_of(certificate)).unwrap_or_default();
            Ok(KeyKind::Rsa(numbers.first().map(|modulus| integer_bits(modulus.data)).unwrap_or_default()))
        }
    }
}

/// Makes sure that every registry accepts an authority's key of this kind. The error names one that is not.
pub(super) fn kind_of_authority(certificate: &X509Certificate<'_>) -> Result<(), String> {
    match kind_of(certificate)? {
        KeyKind::Rsa(bits) if bits < *RSA_BITS.start() => Err(format!("RSA of {bits} bits")),
        KeyKind::Rsa(_) | KeyKind::Ec(_) => Ok(()),
    }
}

/// The reason why the first certificate of the file does not belong to the key, if there is one.
fn mismatch(key: &PrivateKey, leaf: &X509Certificate<'_>, others: &[Parsed<'_>]) -> Option<KeyProblem> {
    if bits_of(leaf) == key.public_bits() {
        // Registries read only the usual form, which is the one that we write.
        let usual = key.spki().is_ok_and(|usual| usual == leaf.public_key().raw);
        return (!usual).then(|| KeyProblem::CertificateForm("its algorithm is not named in the usual way".to_owned()));
    }
    if let Some(place) = others.iter().position(|(_, other)| bits_of(other) == key.public_bits()) {
        let subject = others.get(place).map(|(_, other)| other.subject().to_string()).unwrap_or_default();
        // The leaf is number 1 and is not among the others.
        return Some(KeyProblem::CertificateNotFirst { number: place + 2, subject });
    }
    let kind = kind_of(leaf);
    if matches!((&kind, bits_of(leaf).first()), (Ok(KeyKind::Ec(_)), Some(2 | 3))) {
        return Some(KeyProblem::CertificateForm("a compressed point".to_owned()));
    }
    Some(KeyProblem::Mismatch {
        subject: leaf.subject().to_string(),
        certificate_kind: kind.map_or_else(|name| name, |kind| kind.to_string()),
        key_kind: key.kind().to_string(),
    })
}

/// The hash of a certificate's signature, if Go's verifier, and so every registry, no longer accepts it.
pub(super) fn weak_signature(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.113549.1.1.2" => Some("MD2"),
        "1.2.840.113549.1.1.4" => Some("MD5"),
        "1.2.840.113549.1.1.5" | "1.2.840.10040.4.3" | "1.2.840.10045.4.1" => Some("SHA-1"),
        _ => None,
    }
}
