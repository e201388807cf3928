//! Whom a connection under TLS is made with: the check of a directory server's certificate.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::settings::Trust;
use crate::pem::tls::{config_of, config_of_anybody};

/// TLS with servers that are trusted so.
///
/// # Errors
/// No authority is known that could have signed a server's certificate.
pub(super) fn config(trust: &Trust) -> anyhow::Result<Arc<ClientConfig>> {
    let named = match trust {
        Trust::System => rustls_native_certs::load_native_certs().certs,
        Trust::File(authorities) => authorities.certificates().to_vec(),
        Trust::Anybody => return Ok(Arc::new(config_of_anybody()?)),
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(named.iter().cloned());
    if added == 0 {
        anyhow::bail!(
            "no certificate authority is known that the directory's certificate could be from; name it in ca_certificate"
        );
    }
    let config = config_of(|provider| {
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build()?;
        anyhow::Ok(Arc::new(Verifier { chains, named }) as Arc<dyn ServerCertVerifier>)
    });
    Ok(Arc::new(config?))
}

/// Checks a server's certificate, and always that the server holds its key.
#[derive(Debug)]
struct Verifier {
    /// The chains that authorities vouch for.
    chains: Arc<WebPkiServerVerifier>,
    /// The server's certificate may be one of these itself: a server whose own self-signed certificate is what
    /// `ca_certificate` names.
    named: Vec<CertificateDer<'static>>,
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
        let refusal = match self.chains.verify_server_cert(own, others, name, stapled, now) {
            Ok(verified) => return Ok(verified),
            Err(refusal) => refusal,
        };
        if !self.named.iter().any(|named| named == own) {
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
        self.chains.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
