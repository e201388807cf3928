//! What answers the authority's question whether this server has the name (RFC 8737): a certificate for it that holds the proof, shown
//! in a handshake after which nothing is said.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::CHALLENGE_PROTOCOL;
use super::cache::Cache;
use crate::clock;
use crate::pem;
use crate::pem::tls::shown_unread;

/// How long it is remembered what was found in the folder: whoever asks, and asks again, has it read no more often.
const LOOKED_FOR: Duration = Duration::from_millis(500);

/// The challenge that is under way, if there is one.
pub(super) struct Challenge {
    own: ArcSwapOption<ServerConfig>,
    cache: Arc<Cache>,
    looked: Mutex<Option<Looked>>,
}

/// What was found in the folder.
struct Looked {
    at: Instant,
    found: Option<Arc<ServerConfig>>,
}

/// A challenge is answered, until this is dropped.
pub(super) struct Answering<'a>(&'a Challenge);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.own.store(None);
    }
}

impl Challenge {
    pub(super) fn new(cache: &Arc<Cache>) -> Challenge {
        Challenge { own: ArcSwapOption::empty(), cache: Arc::clone(cache), looked: Mutex::default() }
    }

    /// Answers with this certificate from now on.
    pub(super) fn begin(&self, pem: &str) -> Option<Answering<'_>> {
        self.own.store(Some(config_of(pem.as_bytes())?));
        Some(Answering(self))
    }

    /// What the authority is answered: with what this replica has ordered by, or else another one that shares the folder.
    pub(super) async fn answer(&self) -> Option<Arc<ServerConfig>> {
        if let Some(own) = self.own.load_full() {
            return Some(own);
        }
        let mut looked = self.looked.lock().await;
        if let Some(Looked { at, found }) = &*looked
            && at.elapsed() < LOOKED_FOR
        {
            return found.clone();
        }
        let cache = Arc::clone(&self.cache);
        let read = tokio::task::spawn_blocking(move || config_of(&cache.challenge()?)).await;
        let found = read.ok().flatten();
        *looked = Some(Looked { at: clock::now(), found: found.clone() });
        found
    }
}

/// The certificate that proves to who has asked that we have the name, with its key, as PEM text. `digest` is that of the key
/// authorization.
///
/// # Errors
/// It could not be made.
pub(super) fn proof(host: &str, digest: &[u8]) -> Result<String, String> {
    let made = || -> Result<String, rcgen::Error> {
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(format!(
            "{}{}",
            pem::write("PRIVATE KEY", key.serialized_der()),
            pem::write("CERTIFICATE", certificate.der())
        ))
    };
    made().map_err(|cause| format!("the certificate for the challenge could not be made: {cause}"))
}

/// TLS that shows this certificate and speaks nothing but the authority's protocol.
fn config_of(pem: &[u8]) -> Option<Arc<ServerConfig>> {
    let proof = shown_unread(pem)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(proof));
    config.alpn_protocols = vec![CHALLENGE_PROTOCOL.to_vec()];
    Some(Arc::new(config))
}
