//! The certificate that handshakes are answered with.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::pem::tls::TlsIdentity;

/// A certificate with its key.
pub(super) struct Held {
    shown: SingleCertAndKey,
    own: CertificateDer<'static>,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
    /// Whether it is of another authority than the one that is asked now.
    pub(super) is_elsewhere: bool,
}

impl Held {
    /// Reads a certificate, those above it, and its key from one PEM text; it must be for this name.
    ///
    /// # Errors
    /// What is wrong with it, in words that repeat nothing of it.
    pub(super) fn from_pem(pem: &[u8], host: &str) -> Result<Held, String> {
        let identity = TlsIdentity::from_pem(pem, pem)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let own = identity.own().ok_or_else(|| "it holds no certificate".to_owned())?.clone();
        let name = ServerName::try_from(host).map_err(|_| "the host is no name".to_owned())?;
        let is_named = ParsedCertificate::try_from(&own).is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok());
        if !is_named {
            return Err(format!("it is not for {host}"));
        }
        let (_, parsed) = X509Certificate::from_der(&own).map_err(|_| "the certificate is none".to_owned())?;
        let validity = parsed.validity();
        let (not_before, not_after) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
        Ok(Held { shown: identity.shown(), own, not_before, not_after, is_elsewhere: false })
    }

    /// The same, whoever has issued it: replicas that ask two authorities, as while they are restarted, would take turns otherwise.
    pub(super) fn of_any_authority(self) -> Held {
        Held { is_elsewhere: false, ..self }
    }

    /// When it is to be renewed: after two thirds of its life.
    pub(super) fn renew_at(&self) -> OffsetDateTime {
        self.not_before + (self.not_after - self.not_before) * 2 / 3
    }

    /// Whether it is to be shown in place of this one.
    pub(super) fn follows(&self, other: &Held) -> bool {
        self.own != other.own && self.not_after >= other.not_after
    }
}

/// Shows no part of the key.
impl fmt::Debug for Held {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Held").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// What is shown now. Connections that are open keep what they began with.
#[derive(Debug, Default)]
pub(super) struct Shown(ArcSwapOption<Held>);

impl Shown {
    /// Shows this one from now on.
    pub(super) fn show(&self, held: Held) {
        self.0.store(Some(Arc::new(held)));
    }

    /// What is shown.
    pub(super) fn held(&self) -> Option<Arc<Held>> {
        self.0.load_full()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().as_ref()?.shown.resolve(hello)
    }
}
