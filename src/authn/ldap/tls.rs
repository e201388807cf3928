//! Whom a connection under TLS is made with: the check of a directory server's certificate.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::settings::Trust;

/// TLS with servers that are trusted so.
///
/// # Errors
/// No authority is known that could have signed a server's certificate.
pub(super) fn config(trust: &Trust) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let named = match trust {
        Trust::System => rustls_native_certs::load_native_certs().certs,
        Trust::File(authorities) => authorities.certificates().to_vec(),
        Trust::Anybody => Vec::new(),
    };
    let expected = match trust {
        Trust::Anybody => Expected::Any,
        Trust::System | Trust::File(_) => {
            let mut roots = RootCertStore::empty();
            let (added, _) = roots.add_parsable_certificates(named.iter().cloned());
            if added == 0 {
                anyhow::bail!(
                    "no certificate authority is known that the directory's certificate could be from; name it in ca_certificate"
                );
            }
            let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
            Expected::From { chains, named }
        }
    };
    let verifier = Arc::new(Verifier { expected, algorithms: provider.signature_verification_algorithms });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Checks a server's certificate, and always that the server holds its key.
#[derive(Debug)]
struct Verifier {
    expected: Expected,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The certificate that a server must have.
#[derive(Debug)]
enum Expected {
    /// One of these authorities; or one of `named` itself, as with a server whose own self-signed certificate is what
    /// `ca_certificate` names.
    From { chains: Arc<WebPkiServerVerifier>, named: Vec<CertificateDer<'static>> },
    /// Anybody's (`insecure_tls_skip_verify`).
    Any,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        stapled: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (chains, named) = match &self.expected {
            Expected::From { chains, named } => (chains, named),
            Expected::Any => return Ok(ServerCertVerified::assertion()),
        };
        let refusal = match chains.verify_server_cert(own, others, name, stapled, now) {
            Ok(verified) => return Ok(verified),
            Err(refusal) => refusal,
        };
        if !named.iter().any(|named| named == own) {
            return Err(refusal);
        }
        // The chain is the certificate itself; its name and its time still count.
        rustls::client::verify_server_name(&ParsedCertificate::try_from(own)?, name)?;
        let (_, read) = x509_parser::parse_x509_certificate(own).map_err(|_| CertificateError::BadEncoding)?;
        let now = i64::try_from(now.as_secs()).map_err(|_| CertificateError::Expired)?;
        if now < read.validity().not_before.timestamp() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > read.validity().not_after.timestamp() {
            return Err(CertificateError::Expired.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, own, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, own, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
