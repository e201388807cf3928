//! Fetches an issuer's documents over HTTPS: from the configured host alone, whole, and within bounds.

use std::time::Duration;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::http::header::{ACCEPT, USER_AGENT};
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;
use url::Url;

use super::key_set::{KeySet, Meant};
use crate::dial::{Dialer, Patience};
use crate::json;
use crate::pem::tls::{Authorities, client_config};

/// How long all of it may take, the discovery document included, where nobody says otherwise.
pub(crate) const WITHIN: Duration = Duration::from_secs(5);
/// The longest document, in bytes.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// Where an issuer's keys are published.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Published {
    /// Where this document of OpenID Connect Discovery says, on the same host; it must be the issuer's own.
    Discovery {
        /// The document's address.
        document: Url,
        /// What it must say of whom it is.
        issuer: String,
    },
    /// At this address.
    Set {
        /// The address of the JWK Set.
        address: Url,
        /// What its keys are for.
        meant: Meant,
    },
}

/// Fetches from one issuer.
pub(crate) struct Fetching {
    client: Client<Dialer, Full<Bytes>>,
    published: Published,
    within: Duration,
}

/// What is used of a discovery document (OpenID Connect Discovery 1.0, section 3).
#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
}

impl Fetching {
    /// Fetches nothing yet. The server's certificate is of one of these authorities, or else of a public one. Each fetch may take so
    /// long.
    ///
    /// # Errors
    /// The TLS library does not take them.
    pub(crate) fn new(
        published: Published,
        authorities: Option<&Authorities>,
        within: Duration,
    ) -> anyhow::Result<Fetching> {
        let mut tls = client_config(authorities, None)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let dialer = Dialer::new(std::sync::Arc::new(tls), Patience { silence: within, whole: within });
        // Redirects are not followed: they could lead to anybody's keys, or into our own network. A fetch is minutes after the
        // last one, so that no connection is kept.
        let client =
            Client::builder(TokioExecutor::new()).timer(TokioTimer::new()).pool_max_idle_per_host(0).build(dialer);
        Ok(Fetching { client, published, within })
    }

    /// The keys as they are published now.
    ///
    /// # Errors
    /// They could not be fetched in time, or are no set. A set without a key that can be used is none.
    pub(crate) async fn fetch(&self) -> anyhow::Result<KeySet> {
        let fetched = tokio::time::timeout(self.within, self.fetch_at_leisure()).await;
        fetched.unwrap_or_else(|_| anyhow::bail!("no whole answer within {} ms", self.within.as_millis()))
    }

    async fn fetch_at_leisure(&self) -> anyhow::Result<KeySet> {
        let (address, meant) = match &self.published {
            Published::Set { address, meant } => (address.clone(), *meant),
            Published::Discovery { document, issuer } => (self.discover(document, issuer).await?, Meant::Signatures),
        };
        let text = self.get(&address).await?;
        KeySet::published(&text, meant).with_context(|| shown(&address))
    }

    /// Where the keys are, as the issuer's own document says.
    async fn discover(&self, address: &Url, issuer: &str) -> anyhow::Result<Url> {
        let text = self.get(address).await?;
        // Without the parser's own words: they could repeat what whoever answered wrote.
        let read: Option<Document> = json::object(&text).ok();
        let document = read.with_context(|| format!("{} is not a discovery document", shown(address)))?;
        anyhow::ensure!(document.issuer == issuer, "{} is the document of another issuer", shown(address));
        let keys = Url::parse(&document.jwks_uri).ok().filter(|keys| keys.origin() == address.origin());
        // Whoever can change the document could otherwise have us ask anybody, inside our own network too.
        keys.with_context(|| {
            format!("{} names keys on another host; write keys: {{url: …}} with their address", shown(address))
        })
    }

    async fn get(&self, address: &Url) -> anyhow::Result<Bytes> {
        let request = Request::get(address.as_str())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("dockwarden/", env!("CARGO_PKG_VERSION")))
            .body(Full::default())?;
        let reply = self.client.request(request).await.with_context(|| shown(address))?;
        let status = reply.status();
        anyhow::ensure!(status == StatusCode::OK, "{} answers with status {}", shown(address), status.as_u16());
        let body = Limited::new(reply.into_body(), MAX_DOCUMENT).collect().await;
        Ok(body.map_err(|error| anyhow::anyhow!("{}: {error}", shown(address)))?.to_bytes())
    }
}

/// An address for messages: what follows a question mark could be a key.
fn shown(address: &Url) -> String {
    let mut shown = address.clone();
    shown.set_query(None);
    shown.to_string()
}
