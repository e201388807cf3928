//! The listener's certificate from an authority that speaks ACME (RFC 8555): ordered by tls-alpn-01 (RFC 8737), kept in a folder, and
//! renewed when two thirds of its life are over.
//!
//! `shown` is what handshakes see. `keeping` decides when to order, `authority` does it over `web`, `challenge` answers the
//! authority's question meanwhile, and `cache` is the folder, which replicas share.

mod authority;
mod cache;
mod challenge;
mod keeping;
mod settings;
mod shown;
#[cfg(test)]
mod tests;
mod web;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::ClientHello;
use time::OffsetDateTime;

use self::cache::Cache;
use self::challenge::Challenge;
use self::shown::Shown;

pub use self::settings::{Settings, read};

/// The certificate that is ordered for the listener, and what orders it.
pub struct AcmeCertificate {
    settings: Settings,
    cache: Arc<Cache>,
    shown: Arc<Shown>,
    challenge: Challenge,
}

/// How far the certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is none yet: nobody can connect.
    Missing,
    /// It is shown, and ends then.
    Shown(OffsetDateTime),
}

impl AcmeCertificate {
    /// The certificate of the folder, if there is one of use. Nothing is ordered yet. Reads files.
    pub fn open(settings: Settings) -> AcmeCertificate {
        let cache = Arc::new(Cache::new(&settings));
        let shown = Arc::<Shown>::default();
        // What is wrong with the folder is said when it is looked after.
        if let Ok(Some(held)) = cache.certificate() {
            shown.show(held);
        }
        AcmeCertificate { challenge: Challenge::new(&cache), settings, cache, shown }
    }

    /// How far it is.
    pub fn standing(&self) -> Standing {
        self.shown.held().map_or(Standing::Missing, |held| Standing::Shown(held.not_after))
    }

    /// The name that it is for.
    pub fn host(&self) -> &str {
        self.settings.host()
    }

    /// The same TLS, with this certificate. While there is none, no handshake succeeds.
    pub fn shown_in(&self, tls: &ServerConfig) -> Arc<ServerConfig> {
        let mut tls = tls.clone();
        tls.cert_resolver = Arc::clone(&self.shown) as _;
        Arc::new(tls)
    }

    /// What a client is answered that asks for `acme-tls/1` under this name, as the authority does (RFC 8737, section 3).
    /// Nothing, unless that is under way: the handshake then fails.
    pub async fn answer(&self, name: &str) -> Option<Arc<ServerConfig>> {
        match name.eq_ignore_ascii_case(&self.settings.host) {
            true => self.challenge.answer().await,
            false => None,
        }
    }
}

/// The protocol in which an authority asks.
pub const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";

/// Whether a client asks as an authority does: for that protocol, and for no other (RFC 8737, section 3).
pub fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|protocols| protocols.eq([CHALLENGE_PROTOCOL]))
}

/// A resolver for a configuration that was read and is not served yet: it shows nothing.
pub fn nothing_shown() -> Arc<dyn rustls::server::ResolvesServerCert> {
    Arc::<Shown>::default()
}
