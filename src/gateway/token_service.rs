//! The tokens of an upstream's own token service: fetched for what each request needs, and kept until shortly before they
//! expire.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use axum::http::header::{ACCEPT, AUTHORIZATION};
use axum::http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use lru::LruCache;
use policy::scope::Scope;
use serde::Deserialize;

use super::body::ClientBody;
use super::connect::HttpClient;
use super::renewing::{AccountRefused, CredentialLife, CredentialSource, Fetched, Renewing};
use super::upstream::{UpstreamCredentials, basic, secret};
use crate::config::UpstreamAccount;
use crate::json;

/// The number of tokens that are kept, each for its own scopes.
const KEPT_TOKENS: NonZeroUsize = match NonZeroUsize::new(1000) {
    Some(number) => number,
    None => NonZeroUsize::MIN,
};
/// The longest reply of a token service, in bytes.
const MAX_REPLY: usize = 256 * 1024;
/// The life of a token that names none, in seconds (the distribution project's token protocol).
const USUAL_LIFE: u64 = 60;

/// Tokens of one token service.
pub(super) struct TokenService {
    asking: Asking,
    tokens: Mutex<LruCache<String, Arc<Renewing<ForScopes>>>>,
}

/// The token service and our account there.
#[derive(Clone)]
struct Asking {
    client: HttpClient,
    /// Configured, and never what an upstream names: whoever could answer a request of ours with a challenge would be
    /// shown our account (CVE-2026-33540 was that).
    realm: Uri,
    service: String,
    account: Option<HeaderValue>,
}

/// The token for some scopes.
struct ForScopes {
    asking: Asking,
    scopes: Vec<String>,
}

impl TokenService {
    /// Asks for nothing yet.
    ///
    /// # Errors
    /// No header can hold the account.
    pub(super) fn new(
        client: HttpClient,
        realm: Uri,
        service: String,
        account: Option<&UpstreamAccount>,
    ) -> anyhow::Result<TokenService> {
        let account = account.map(basic).transpose()?;
        let asking = Asking { client, realm, service, account };
        Ok(TokenService { asking, tokens: Mutex::new(LruCache::new(KEPT_TOKENS)) })
    }

    fn token(&self, needed: &[Scope]) -> Arc<Renewing<ForScopes>> {
        let scopes: Vec<String> = needed.iter().map(Scope::to_string).collect();
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let made = tokens.get_or_insert(scopes.join(" "), || {
            Arc::new(Renewing::new(ForScopes { asking: self.asking.clone(), scopes }))
        });
        Arc::clone(made)
    }
}

#[async_trait]
impl UpstreamCredentials for TokenService {
    async fn authorization(&self, needed: &[Scope]) -> anyhow::Result<Option<HeaderValue>> {
        self.token(needed).current().await.map(Some)
    }

    async fn another(
        &self,
        needed: &[Scope],
        refused: Option<&HeaderValue>,
        status: StatusCode,
    ) -> anyhow::Result<Option<HeaderValue>> {
        match status {
            StatusCode::UNAUTHORIZED => self.token(needed).other_than(refused, Duration::ZERO).await,
            _ => Ok(None),
        }
    }
}

/// The reply of a token service (the distribution project's token protocol).
#[derive(Deserialize)]
struct IssuedToken {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl ForScopes {
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("service", &self.asking.service);
        for scope in &self.scopes {
            query.append_pair("scope", scope);
        }
        query.finish()
    }
}

/// A realm for messages.
fn without_query(realm: &Uri) -> String {
    let whole = realm.to_string();
    whole.split_once('?').map(|(before, _)| before.to_owned()).unwrap_or(whole)
}

#[async_trait]
impl CredentialSource for ForScopes {
    fn what(&self) -> String {
        format!("a token for {}", self.scopes.join(" "))
    }

    async fn fetch(&self) -> anyhow::Result<Fetched> {
        let realm = &self.asking.realm;
        // What follows the question mark could be a key.
        let shown = without_query(realm);
        let glue = if realm.query().is_some() { '&' } else { '?' };
        let target = format!("{realm}{glue}{}", self.query());
        let mut request = Request::get(target).header(ACCEPT, "application/json").body(ClientBody::none())?;
        if let Some(account) = &self.asking.account {
            request.headers_mut().insert(AUTHORIZATION, account.clone());
        }
        let reply = self.asking.client.request(request).await.with_context(|| shown.clone())?;
        let status = reply.status();
        if self.asking.account.is_some() && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(AccountRefused(format!("{shown} answered with status {status}")).into());
        }
        // A redirect is not followed: it could lead to anybody.
        anyhow::ensure!(status == StatusCode::OK, "{shown} answered with status {status}");
        let body = Limited::new(reply.into_body(), MAX_REPLY).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("{shown}: {error}"))?.to_bytes();
        let no_token = || format!("{shown} answered with something that is not a token");
        // Without the parser's own words: they could repeat the token.
        let reply: IssuedToken = json::object(&body).map_err(|_| anyhow::anyhow!(no_token()))?;
        let token = reply.token.or(reply.access_token).filter(|token| !token.is_empty()).with_context(no_token)?;
        let life = reply.expires_in.filter(|life| *life > 0).unwrap_or(USUAL_LIFE);
        Ok(Fetched { value: secret(&format!("Bearer {token}"))?, life: CredentialLife::For(Duration::from_secs(life)) })
    }
}
