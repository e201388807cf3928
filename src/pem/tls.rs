//! Certificates and keys for TLS, read from PEM files: what is shown to others, and whom we trust.

use std::fmt;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, RootCertStore};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::problem::example_label;
use super::{Block, Headers, PairFile, PemProblem, blocks, write};

/// Why a file cannot be used for TLS. Each text says what is wrong and what to do about it; none holds any part of the
/// file, nor a word of the TLS library.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TlsProblem {
    /// It holds no certificate, or no key, at all.
    #[error(
        "the file holds no {wanted} in PEM; it must hold a line such as `-----BEGIN {example}-----`",
        wanted = wanted(.0),
        example = example_label(.0)
    )]
    NotPem(PairFile),
    /// It cannot be read as PEM for another reason.
    #[error(transparent)]
    Pem(PemProblem),
    /// A private key where a certificate belongs.
    #[error("the file holds no certificate, but a private key; name the certificate here (are the two files swapped?)")]
    CertificateIsKey,
    /// Another block where a certificate or a key belongs.
    #[error(
        "the file holds no {wanted}, but `{label}`; it must hold a line such as `-----BEGIN {example}-----`",
        wanted = wanted(.file),
        example = example_label(.file)
    )]
    Other {
        /// What was wanted.
        file: PairFile,
        /// What is there.
        label: String,
    },
    /// One of the certificates does not parse.
    #[error(
        "certificate number {number} of the file is no X.509 certificate; check it with `openssl x509 -in FILE -noout -text`"
    )]
    CertificateUnreadable {
        /// Its place in the file, from 1.
        number: usize,
    },
    /// Certificates, and none that others could be checked by.
    #[error(
        "no certificate of the file can be an authority; name the certificates that the server's is signed with (`openssl x509 -in FILE -noout -text` shows one)"
    )]
    NoAuthority,
    /// A certificate where a private key belongs.
    #[error(
        "the file holds no private key, but a certificate; name the file with the key (are the two files swapped?)"
    )]
    KeyIsCertificate,
    /// The key is encrypted with a pass phrase.
    #[error(
        "the key is encrypted, and there is nobody to type its pass phrase; store it without one, readable by its owner only: `openssl pkey -in OLD -out NEW`"
    )]
    KeyEncrypted,
    /// The key is in OpenSSH's own format.
    #[error("the key is in OpenSSH's format; rewrite the file as PEM with `ssh-keygen -p -N '' -m PEM -f FILE`")]
    KeyOpenSsh,
    /// The key is damaged, or of a kind that TLS is not spoken with here.
    #[error(
        "the private key cannot be used: it is damaged, or neither RSA of 2048 bits or more nor P-256, P-384, P-521 or Ed25519; check it with `openssl pkey -in FILE -check -noout`"
    )]
    KeyUnusable,
    /// The key is of another certificate.
    #[error(
        "the key does not belong to the certificate: their public keys differ; compare `openssl x509 -in CERTIFICATE -noout -pubkey` with `openssl pkey -in KEY -pubout`"
    )]
    Mismatch,
    /// The certificate is one that TLS libraries do not take.
    #[error(
        "the certificate cannot be used for TLS, which needs one of version 3, with the host's name in subjectAltName; `openssl req -x509 -addext subjectAltName=DNS:…` makes one"
    )]
    CertificateUnfit,
}

impl From<PemProblem> for TlsProblem {
    fn from(problem: PemProblem) -> TlsProblem {
        match problem {
            PemProblem::NotPem(file) => TlsProblem::NotPem(file),
            PemProblem::Empty(_)
            | PemProblem::Der(_)
            | PemProblem::Utf16(_)
            | PemProblem::Wrapped { .. }
            | PemProblem::Damaged { .. } => TlsProblem::Pem(problem),
        }
    }
}

impl TlsProblem {
    /// Which of a pair's files it is about.
    pub(crate) fn file(&self) -> PairFile {
        match self {
            TlsProblem::NotPem(file) | TlsProblem::Other { file, .. } => *file,
            TlsProblem::Pem(problem) => problem.file(),
            TlsProblem::CertificateIsKey
            | TlsProblem::CertificateUnreadable { .. }
            | TlsProblem::NoAuthority
            | TlsProblem::CertificateUnfit => PairFile::Certificate,
            TlsProblem::KeyIsCertificate
            | TlsProblem::KeyEncrypted
            | TlsProblem::KeyOpenSsh
            | TlsProblem::KeyUnusable
            | TlsProblem::Mismatch => PairFile::Key,
        }
    }
}

fn wanted(file: &PairFile) -> &'static str {
    match file {
        PairFile::Key => "private key",
        PairFile::Certificate => "certificate",
    }
}

/// Certificates that others' are checked by, of which at least one can be an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorities(Vec<CertificateDer<'static>>);

impl Authorities {
    /// Those of a PEM file.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Authorities, TlsProblem> {
        let found = Authorities(certificates(pem)?);
        match found.roots().is_empty() {
            true => Err(TlsProblem::NoAuthority),
            false => Ok(found),
        }
    }

    /// None, for a file that was not read.
    pub(crate) fn unread() -> Authorities {
        Authorities(Vec::new())
    }

    /// All of them.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }

    /// What the TLS library checks with. In a long list, one that it cannot use does not count against the others.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.0.iter().cloned());
        roots
    }

    /// As PEM text.
    pub(crate) fn to_pem(&self) -> String {
        self.0.iter().map(|certificate| write("CERTIFICATE", certificate)).collect()
    }
}

/// A certificate with those above it and the key that belongs to it, which TLS can be spoken with.
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    certified: CertifiedKey,
}

/// Two are the same if the files' content is.
impl PartialEq for Identity {
    fn eq(&self, other: &Identity) -> bool {
        self.chain == other.chain && self.key.secret_der() == other.key.secret_der()
    }
}

/// Shows the public side only.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Identity {
    /// That of two PEM files, which may be one. Everything that is wrong with both comes at once.
    pub(crate) fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Identity, Vec<TlsProblem>> {
        match (certificates(certificate), private_key(key)) {
            (Ok(chain), Ok(key)) => Identity::tried(chain, key).map_err(|problem| vec![problem]),
            (chain, key) => Err([chain.err(), key.err()].into_iter().flatten().collect()),
        }
    }

    fn tried(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Identity, TlsProblem> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let loaded = provider.key_provider.load_private_key(key.clone_key());
        let certified = CertifiedKey::new(chain.clone(), loaded.map_err(|_| TlsProblem::KeyUnusable)?);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(TlsProblem::Mismatch),
            Err(_) => return Err(TlsProblem::CertificateUnfit),
        }
        Ok(Identity { chain, key, certified })
    }

    /// What the TLS library shows to others.
    pub(crate) fn shown(&self) -> SingleCertAndKey {
        SingleCertAndKey::from(self.certified.clone())
    }

    /// Certificates and key as PEM text.
    pub(crate) fn to_pem(&self) -> String {
        let label = match &self.key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let mut text: String = self.chain.iter().map(|certificate| write("CERTIFICATE", certificate)).collect();
        text.push_str(&write(label, self.key.secret_der()));
        text
    }
}

/// The certificates of a PEM file, of which there is at least one; other blocks are skipped.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let blocks = blocks(pem, PairFile::Certificate)?;
    let mut found = Vec::new();
    for (number, block) in (1..).zip(blocks.iter().filter(|block| block.label == "CERTIFICATE")) {
        let certificate = CertificateDer::from(block.der.clone());
        // Two readers, since each refuses some that the other takes: lists of authorities hold old ones.
        let is_one = matches!(X509Certificate::from_der(&certificate), Ok(([], _)))
            || ParsedCertificate::try_from(&certificate).is_ok();
        if !is_one {
            return Err(TlsProblem::CertificateUnreadable { number });
        }
        found.push(certificate);
    }
    match (found.is_empty(), blocks.iter().find(|block| !block.is_key())) {
        (false, _) => Ok(found),
        (true, Some(other)) if other.label != "EC PARAMETERS" => {
            Err(TlsProblem::Other { file: PairFile::Certificate, label: other.label.clone() })
        }
        (true, _) => Err(TlsProblem::CertificateIsKey),
    }
}

/// The first private key of a PEM file.
fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let blocks = blocks(pem, PairFile::Key)?;
    let Some(Block { label, headers, der, .. }) = blocks.iter().find(|block| block.is_key()) else {
        let meant = blocks.iter().find(|block| block.label != "EC PARAMETERS").or(blocks.first());
        return Err(match meant.map(|block| block.label.as_str()) {
            Some("CERTIFICATE") => TlsProblem::KeyIsCertificate,
            Some(label) => TlsProblem::Other { file: PairFile::Key, label: label.to_owned() },
            None => TlsProblem::NotPem(PairFile::Key),
        });
    };
    match (label.as_str(), headers) {
        (_, Headers::Encrypted) | ("ENCRYPTED PRIVATE KEY", Headers::Plain) => Err(TlsProblem::KeyEncrypted),
        ("PRIVATE KEY", Headers::Plain) => Ok(PrivatePkcs8KeyDer::from(der.clone()).into()),
        ("RSA PRIVATE KEY", Headers::Plain) => Ok(PrivatePkcs1KeyDer::from(der.clone()).into()),
        ("EC PRIVATE KEY", Headers::Plain) => Ok(PrivateSec1KeyDer::from(der.clone()).into()),
        ("OPENSSH PRIVATE KEY", Headers::Plain) => Err(TlsProblem::KeyOpenSsh),
        (_, Headers::Plain) => Err(TlsProblem::KeyUnusable),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;

    /// Files of `tests/fixtures/keys`, one after the other.
    fn files(names: &[&str]) -> Vec<u8> {
        let read = |name: &&str| std::fs::read(format!("{}/tests/fixtures/keys/{name}", env!("CARGO_MANIFEST_DIR")));
        names.iter().flat_map(|name| read(name).unwrap()).collect()
    }

    #[test]
    fn a_pair_is_what_tls_can_be_spoken_with() {
        let unreadable = |number| TlsProblem::CertificateUnreadable { number };
        let other = |file, label: &str| TlsProblem::Other { file, label: label.to_owned() };
        let cases: &[(&[&str], &[&str], &[TlsProblem])] = &[
            (&["p256.crt"], &["p256-pkcs8.key"], &[]),
            (&["p256.crt", "ca.crt"], &["p256-sec1.key"], &[]),
            (&["rsa2048.crt"], &["rsa2048-pkcs1.key"], &[]),
            (&["rsa2048.crt"], &["rsa2048-pkcs8.key"], &[]),
            (&["ed25519.crt"], &["ed25519.key"], &[]),
            (&["p256.crt", "p256-pkcs8.key"], &["p256.crt", "p256-pkcs8.key"], &[]),
            (&["p256.crt"], &["p384-pkcs8.key"], &[TlsProblem::Mismatch]),
            // Of version 1, as `openssl x509 -req` makes it by itself.
            (&["leaf.crt"], &["p256-pkcs8.key"], &[TlsProblem::CertificateUnfit]),
            (&["p256-sec1.key"], &["leaf.crt"], &[TlsProblem::CertificateIsKey, TlsProblem::KeyIsCertificate]),
            (&["leaf.crt"], &["encrypted-pkcs8.key"], &[TlsProblem::KeyEncrypted]),
            (&["leaf.crt"], &["encrypted-legacy.key"], &[TlsProblem::KeyEncrypted]),
            (&["leaf.crt"], &["secp256k1-sec1.key"], &[TlsProblem::KeyUnusable]),
            (&["leaf.crt"], &["p256-public.pem"], &[other(PairFile::Key, "PUBLIC KEY")]),
            (&["leaf.csr"], &["p256-pkcs8.key"], &[other(PairFile::Certificate, "CERTIFICATE REQUEST")]),
            (&["leaf.crt", "README.md"], &["README.md"], &[TlsProblem::NotPem(PairFile::Key)]),
        ];
        for (certificate, key, expected) in cases {
            let read = Identity::from_pem(&files(certificate), &files(key));
            assert_eq!(read.as_ref().err().map_or(&[][..], Vec::as_slice), *expected, "{certificate:?} {key:?}");
            // What is written of it is read as the same.
            if let Ok(identity) = read {
                let text = identity.to_pem();
                let again = Identity::from_pem(text.as_bytes(), text.as_bytes());
                assert!(again.is_ok_and(|again| again == identity), "{certificate:?} {key:?}");
            }
        }
        let damaged = [&files(&["leaf.crt"])[..], write("CERTIFICATE", b"nonsense").as_bytes()].concat();
        assert_eq!(Identity::from_pem(&damaged, &files(&["p256-pkcs8.key"])), Err(vec![unreadable(2)]));
    }

    #[test]
    fn authorities_are_certificates() {
        let read = |names: &[&str]| Authorities::from_pem(&files(names));
        for names in [&["ca.crt"][..], &["ca.crt", "p384.crt"], &["p256-pkcs8.key", "rsa1024.crt"]] {
            let found = read(names).unwrap_or_else(|problem| panic!("{names:?}: {problem}"));
            assert_eq!(found.roots().len(), found.certificates().len(), "{names:?}");
            assert_eq!(Authorities::from_pem(found.to_pem().as_bytes()), Ok(found), "{names:?}");
        }
        assert_eq!(read(&["p256-pkcs8.key"]), Err(TlsProblem::CertificateIsKey));
        assert_eq!(read(&["README.md"]), Err(TlsProblem::NotPem(PairFile::Certificate)));
    }
}
