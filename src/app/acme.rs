//! The listener's certificate, where it is ordered of an authority.

use std::future::{Future, pending};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::ClientHello;
use time::OffsetDateTime;

use super::App;
use crate::acme::{AcmeCertificate, Standing, is_challenge};
use crate::config::Tls;

/// Orders and renews the certificate, where that is configured, until it is dropped.
pub async fn look_after_certificate(app: Arc<App>) {
    match app.acme() {
        Some(acme) => acme.look_after().await,
        None => pending().await,
    }
}

/// The same TLS, with the certificate that is ordered, if one is.
pub(super) fn shown_in(tls: &Tls, acme: Option<&AcmeCertificate>) -> Tls {
    acme.map_or_else(|| tls.clone(), |acme| Tls { config: acme.shown_in(&tls.config), ends: None })
}

/// The name of the certificate, and when it ends.
pub(super) fn measured(acme: &AcmeCertificate) -> (String, Option<OffsetDateTime>) {
    let ends = match acme.standing() {
        Standing::Missing => None,
        Standing::Shown(ends) => Some(ends),
    };
    (acme.host().to_owned(), ends)
}

impl App {
    /// The listener's certificate, where it is ordered.
    pub(crate) fn acme(&self) -> Option<&Arc<AcmeCertificate>> {
        self.acme.as_ref()
    }

    /// With what a greeting is answered: `tls`, unless it is the authority's question.
    pub(crate) fn tls_for(
        &self,
        hello: &ClientHello<'_>,
        tls: Arc<ServerConfig>,
    ) -> impl Future<Output = Arc<ServerConfig>> + Send + use<> {
        let asked = self.acme.as_ref().filter(|_| is_challenge(hello)).map(Arc::clone);
        let name = asked.as_ref().and_then(|_| hello.server_name()).unwrap_or_default().to_owned();
        async move {
            match asked {
                None => tls,
                // Where nothing is asked for, no protocol is left to agree on.
                Some(acme) => acme.answer(&name).await.unwrap_or(tls),
            }
        }
    }
}
