//! Certificates and keys for TLS, read from PEM files: those that we present, and the authorities that we trust.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::problem::example_label;
use super::{KeyBlock, KeyEncoding, PairFile, PemProblem, blocks, write};

/// Why a file cannot be used for TLS. Each text says what is wrong and what to do about it; none holds any part of the
/// file, nor a word of the TLS library.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TlsProblem {
    /// It cannot be read as PEM, or holds no certificate or key.
    #[error(transparent)]
    Pem(#[from] PemProblem),
    /// It holds another block in place of a certificate.
    #[error(
        "the file holds no certificate, but `{0}`; it must hold a line such as `-----BEGIN {example}-----`",
        example = example_label(&PairFile::Certificate)
    )]
    CertificateIsOther(String),
    /// One of the certificates does not parse.
    #[error(
        "certificate number {number} of the file is not an X.509 certificate; check it with `openssl x509 -in FILE -noout -text`"
    )]
    CertificateUnreadable {
        /// Its place in the file, from 1.
        number: usize,
    },
    /// None of the certificates can be an authority.
    #[error(
        "no certificate of the file can be an authority; name the certificates that the server's is signed with (`openssl x509 -in FILE -noout -text` shows one)"
    )]
    NoAuthority,
    /// The key is damaged, or of a kind that cannot be used for TLS here.
    #[error(
        "the private key cannot be used: it is damaged, or neither RSA of 2048 bits or more nor P-256, P-384, P-521 or Ed25519; check it with `openssl pkey -in FILE -check -noout`"
    )]
    KeyUnusable,
    /// The key belongs to another certificate.
    #[error(
        "the key does not belong to the certificate: their public keys differ; compare `openssl x509 -in CERTIFICATE -noout -pubkey` with `openssl pkey -in KEY -pubout`"
    )]
    Mismatch,
    /// TLS libraries do not accept the certificate.
    #[error(
        "the certificate cannot be used for TLS, which needs one of version 3, with the host's name in subjectAltName; `openssl req -x509 -addext subjectAltName=DNS:…` makes one"
    )]
    CertificateUnfit,
}

impl TlsProblem {
    /// The file of the pair that the problem is about.
    pub(crate) fn file(&self) -> PairFile {
        match self {
            TlsProblem::Pem(problem) => problem.file(),
            TlsProblem::CertificateIsOther(_)
            | TlsProblem::CertificateUnreadable { .. }
            | TlsProblem::NoAuthority
            | TlsProblem::CertificateUnfit => PairFile::Certificate,
            TlsProblem::KeyUnusable | TlsProblem::Mismatch => PairFile::Key,
        }
    }
}

/// The certificates by which those of others are verified; at least one of them can be an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorities(Vec<CertificateDer<'static>>);

impl Authorities {
    /// The certificates of a PEM file.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Authorities, TlsProblem> {
        let found = Authorities(certificates(pem)?);
        match found.roots().is_empty() {
            true => Err(TlsProblem::NoAuthority),
            false => Ok(found),
        }
    }

    /// An empty list, for a file that was not read.
    pub(crate) fn unread() -> Authorities {
        Authorities(Vec::new())
    }

    /// Those of a list that the TLS library can use; systems know some that it cannot.
    pub(crate) fn usable(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Authorities {
        let is_usable = |certificate: &CertificateDer<'static>| RootCertStore::empty().add(certificate.clone()).is_ok();
        Authorities(certificates.into_iter().filter(is_usable).collect())
    }

    /// All certificates.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }

    /// The roots for the TLS library. Certificates that it cannot use are left out.
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

/// A certificate with those above it and its private key, usable for TLS.
pub(crate) struct TlsIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    certified: CertifiedKey,
}

/// Equal if the content of the files is.
impl PartialEq for TlsIdentity {
    fn eq(&self, other: &TlsIdentity) -> bool {
        self.chain == other.chain && self.key.secret_der() == other.key.secret_der()
    }
}

/// Shows the public side only.
impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("certificates", &self.chain.len()).finish_non_exhaustive()
    }
}

impl TlsIdentity {
    /// Reads a pair from its PEM files, which may be one. All problems of both come at once.
    pub(crate) fn from_pem(certificate: &[u8], key: &[u8]) -> Result<TlsIdentity, Vec<TlsProblem>> {
        match (certificates(certificate), private_key(key)) {
            (Ok(chain), Ok(key)) => TlsIdentity::tried(chain, key).map_err(|problem| vec![problem]),
            (chain, key) => Err([chain.err(), key.err()].into_iter().flatten().collect()),
        }
    }

    fn tried(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<TlsIdentity, TlsProblem> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let loaded = provider.key_provider.load_private_key(key.clone_key());
        let certified = CertifiedKey::new(chain.clone(), loaded.map_err(|_| TlsProblem::KeyUnusable)?);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(TlsProblem::Mismatch),
            Err(_) => return Err(TlsProblem::CertificateUnfit),
        }
        Ok(TlsIdentity { chain, key, certified })
    }

    /// The certificate of the key.
    pub(crate) fn own(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }

    /// The pair as the TLS library presents it.
    pub(crate) fn shown(&self) -> SingleCertAndKey {
        SingleCertAndKey::from(self.certified.clone())
    }

    /// When the certificate ends.
    pub(crate) fn ends(&self) -> Option<time::OffsetDateTime> {
        let (_, certificate) = X509Certificate::from_der(self.chain.first()?).ok()?;
        Some(certificate.validity().not_after.to_datetime())
    }

    /// The certificates and the key as PEM text.
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

/// The pair of one PEM text as the TLS library presents it, though the library would take no such certificate from anybody: one with
/// an extension that is critical and unknown to it. Nothing if it is no pair.
pub(crate) fn shown_unread(pem: &[u8]) -> Option<SingleCertAndKey> {
    let (chain, key) = (certificates(pem).ok()?, private_key(pem).ok()?);
    let key = rustls::crypto::aws_lc_rs::default_provider().key_provider.load_private_key(key).ok()?;
    Some(SingleCertAndKey::from(CertifiedKey::new(chain, key)))
}

/// The TLS settings for servers whose certificates come from these authorities, or else from a public one; `own` is shown to
/// a server that asks who we are.
///
/// # Errors
/// The library does not take them.
pub(crate) fn client_config(
    authorities: Option<&Authorities>,
    own: Option<&TlsIdentity>,
) -> Result<ClientConfig, rustls::Error> {
    let roots = match authorities {
        Some(authorities) => authorities.roots(),
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_root_certificates(roots);
    Ok(match own {
        Some(own) => config.with_client_cert_resolver(Arc::new(own.shown())),
        None => config.with_no_client_auth(),
    })
}

/// The TLS settings for a server that may show any certificate, whoever it is.
///
/// # Errors
/// The library does not take them.
pub(crate) fn config_of_anybody() -> Result<ClientConfig, rustls::Error> {
    config_of(|provider| Ok(Arc::new(AnyCertificate(provider.signature_verification_algorithms))))
}

/// The TLS settings for a server whose certificate is verified so.
///
/// # Errors
/// There is no such verifier, or the library does not take the settings.
pub(crate) fn config_of<E: From<rustls::Error>>(
    verifier: impl FnOnce(&Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, E>,
) -> Result<ClientConfig, E> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = verifier(&provider)?;
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Takes every certificate whose key the server holds.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, own, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, own, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// The certificates of a PEM file, at least one; other blocks are skipped.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let blocks = blocks(pem, PairFile::Certificate)?;
    let mut found = Vec::new();
    for (number, block) in (1..).zip(blocks.iter().filter(|block| block.label == "CERTIFICATE")) {
        let certificate = CertificateDer::from(block.der.clone());
        // Two readers, since each refuses some that the other accepts: lists of authorities hold old certificates.
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
            Err(TlsProblem::CertificateIsOther(other.label.clone()))
        }
        (true, _) => Err(PemProblem::CertificateIsKey.into()),
    }
}

/// The first private key of a PEM file.
fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsProblem> {
    let KeyBlock { encoding, der, .. } = KeyBlock::from_pem(pem)?;
    match encoding {
        KeyEncoding::Pkcs8 => Ok(PrivatePkcs8KeyDer::from(der).into()),
        KeyEncoding::Pkcs1 => Ok(PrivatePkcs1KeyDer::from(der).into()),
        KeyEncoding::Sec1 => Ok(PrivateSec1KeyDer::from(der).into()),
        KeyEncoding::Other(_) => Err(TlsProblem::KeyUnusable),
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
    fn a_pair_is_read_if_tls_can_use_it() {
        let unreadable = |number| TlsProblem::CertificateUnreadable { number };
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
            (
                &["p256-sec1.key"],
                &["leaf.crt"],
                &[PemProblem::CertificateIsKey.into(), PemProblem::KeyIsCertificate.into()],
            ),
            (&["leaf.crt"], &["encrypted-pkcs8.key"], &[PemProblem::KeyEncrypted.into()]),
            (&["leaf.crt"], &["encrypted-legacy.key"], &[PemProblem::KeyEncrypted.into()]),
            (&["leaf.crt"], &["secp256k1-sec1.key"], &[TlsProblem::KeyUnusable]),
            (&["leaf.crt"], &["p256-public.pem"], &[PemProblem::KeyIsOther("PUBLIC KEY".to_owned()).into()]),
            (&["leaf.csr"], &["p256-pkcs8.key"], &[TlsProblem::CertificateIsOther("CERTIFICATE REQUEST".to_owned())]),
            (&["leaf.crt", "README.md"], &["README.md"], &[PemProblem::NotPem(PairFile::Key).into()]),
        ];
        for (certificate, key, expected) in cases {
            let read = TlsIdentity::from_pem(&files(certificate), &files(key));
            assert_eq!(read.as_ref().err().map_or(&[][..], Vec::as_slice), *expected, "{certificate:?} {key:?}");
            // What is written of it is read as the same.
            if let Ok(identity) = read {
                let text = identity.to_pem();
                let again = TlsIdentity::from_pem(text.as_bytes(), text.as_bytes());
                assert!(again.is_ok_and(|again| again == identity), "{certificate:?} {key:?}");
            }
        }
        let damaged = [&files(&["leaf.crt"])[..], write("CERTIFICATE", b"nonsense").as_bytes()].concat();
        assert_eq!(TlsIdentity::from_pem(&damaged, &files(&["p256-pkcs8.key"])), Err(vec![unreadable(2)]));
    }

    #[test]
    fn authorities_are_certificates() {
        let read = |names: &[&str]| Authorities::from_pem(&files(names));
        for names in [&["ca.crt"][..], &["ca.crt", "p384.crt"], &["p256-pkcs8.key", "rsa1024.crt"]] {
            let found = read(names).unwrap_or_else(|problem| panic!("{names:?}: {problem}"));
            assert_eq!(found.roots().len(), found.certificates().len(), "{names:?}");
            assert_eq!(Authorities::from_pem(found.to_pem().as_bytes()), Ok(found), "{names:?}");
        }
        assert_eq!(read(&["p256-pkcs8.key"]), Err(PemProblem::CertificateIsKey.into()));
        assert_eq!(read(&["README.md"]), Err(PemProblem::NotPem(PairFile::Certificate).into()));
    }
}
