//! Where a provider is asked, by its own document (OpenID Connect Discovery 1.0), fetched when it is needed and kept for an hour.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::json;
use crate::pem::tls::Authorities;
use crate::sign_in::settings::OpenIdSettings;
use crate::sign_in::web::{Web, shown};
use crate::workload::{AskingForKeys, IssuerKeys, KeysFrom, Meant, Published};

/// How long a document is used before it is fetched again.
const REFRESH_AFTER: Duration = Duration::from_secs(3600);
/// How long one is used that cannot be fetched again.
const LONGEST_USE: Duration = Duration::from_secs(24 * 3600);
/// How long a provider is not asked again that did not answer: everybody who signs in would wait for it.
const FAILED_AGAIN: Duration = Duration::from_secs(2);

/// How long no keys are fetched for one that is not known: a provider that anybody can have asked by coming back with a made-up token
/// must not be asked with each.
const UNKNOWN_KEY_AGAIN: Duration = Duration::from_secs(60);

/// Where a provider is asked.
pub(super) struct Discovered {
    pub(super) authorization: Url,
    pub(super) token: Url,
    /// The scopes that it has.
    pub(super) scopes: Vec<String>,
    /// Whether applications log in there by Basic authentication.
    pub(super) takes_basic: bool,
    pub(super) keys: Arc<IssuerKeys>,
    key_set: Url,
}

/// The document of one provider.
pub(super) struct Discovery {
    settings: OpenIdSettings,
    authorities: Option<Authorities>,
    section: &'static str,
    asking: AskingForKeys,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Option<(Arc<Discovered>, Instant)>,
    failed: Option<(Instant, String)>,
}

/// What is used of the document (section 3).
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    scopes_supported: Vec<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Discovery {
    /// Fetches nothing yet. Its keys are waited for as long as anything else of it.
    pub(super) fn new(
        settings: OpenIdSettings,
        (authorities, within): (Option<Authorities>, Duration),
        section: &'static str,
    ) -> Discovery {
        let asking = AskingForKeys { within, unknown_again: UNKNOWN_KEY_AGAIN };
        Discovery { settings, authorities, section, asking, state: Mutex::default() }
    }

    /// Where the provider is asked now. Whoever comes while it is fetched waits for the one answer.
    ///
    /// # Errors
    /// It does not say, and has not for a day.
    pub(super) async fn get(&self, web: &Web) -> anyhow::Result<Arc<Discovered>> {
        let mut state = self.state.lock().await;
        let usable = state.known.as_ref().filter(|(_, at)| at.elapsed() < LONGEST_USE);
        let usable = usable.map(|(known, at)| (Arc::clone(known), at.elapsed() < REFRESH_AFTER));
        if let Some((known, true)) = usable {
            return Ok(known);
        }
        let usable = usable.map(|(known, _)| known);
        if let Some((failed, cause)) = &state.failed
            && failed.elapsed() < FAILED_AGAIN
        {
            return usable.ok_or_else(|| anyhow::Error::msg(cause.clone()));
        }
        match self.fetch(web, usable.as_deref()).await {
            Ok(found) => {
                let found = Arc::new(found);
                *state = State { known: Some((Arc::clone(&found), crate::clock::now())), failed: None };
                Ok(found)
            }
            Err(cause) => {
                state.failed = Some((crate::clock::now(), format!("{cause:#}")));
                usable.ok_or(cause)
            }
        }
    }

    async fn fetch(&self, web: &Web, before: Option<&Discovered>) -> anyhow::Result<Discovered> {
        let OpenIdSettings { issuer, plain_http, .. } = &self.settings;
        let address = Url::parse(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))?;
        let reply = web.get(&address, None).await?;
        let status = reply.status;
        anyhow::ensure!(status == StatusCode::OK, "{} answers with status {}", shown(&address), status.as_u16());
        // Without the parser's own words: they could repeat what whoever answered wrote.
        let read: Option<Document> = json::object(&reply.body).ok();
        let document = read.with_context(|| format!("{} is not a discovery document", shown(&address)))?;
        anyhow::ensure!(document.issuer == *issuer, "{} is the document of another issuer", shown(&address));
        let secure = |text: &str, what: &str| {
            let url = Url::parse(text).ok().filter(|url| url.scheme() == "https" || plain_http.takes(url));
            url.with_context(|| format!("{} names no {what} over https", shown(&address)))
        };
        let key_set = secure(&document.jwks_uri, "jwks_uri")?;
        let keys = match before {
            Some(before) if before.key_set == key_set => Arc::clone(&before.keys),
            Some(_) | None => {
                let published = Published::Set { address: key_set.clone(), meant: Meant::Signatures };
                let from = KeysFrom::Issuer { published, authorities: self.authorities.clone() };
                Arc::new(IssuerKeys::open(&from, self.asking, (self.section, issuer))?)
            }
        };
        let methods = document.token_endpoint_auth_methods_supported;
        Ok(Discovered {
            authorization: secure(&document.authorization_endpoint, "authorization_endpoint")?,
            token: secure(&document.token_endpoint, "token_endpoint")?,
            scopes: document.scopes_supported,
            // What is not said is Basic.
            takes_basic: methods.is_none_or(|all| {
                all.iter().any(|one| one == "client_secret_basic") || !all.iter().any(|one| one == "client_secret_post")
            }),
            keys,
            key_set,
        })
    }
}
