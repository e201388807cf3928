//! The tokens that a registry is asked with: each for one repository and one request's actions, made here.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::HeaderValue;
use lru::LruCache;
use time::OffsetDateTime;

use super::RegistryFailure;
use crate::keys::Effort;
use crate::random;
use crate::token::{AccessEntry, Issuer, TokenContent, jti};

/// Whose requests ours are, in the registry's log and in its events. No account is called so: names of robots are nobody else's, and
/// none has a second plus sign.
pub(in crate::catalogue) const OURSELVES: &str = "robot+dockwarden+catalogue";
/// How long our tokens live, in seconds.
const LIFE: u32 = 300;
/// How many tokens are kept for another request.
const KEPT: NonZeroUsize = match NonZeroUsize::new(256) {
    Some(number) => number,
    None => NonZeroUsize::MIN,
};

type Recent = LruCache<(String, &'static str), (HeaderValue, i64)>;

/// The tokens for one registry.
pub(super) struct OwnTokens {
    issuer: Arc<Issuer>,
    service: String,
    /// Those that were made a moment ago, each with its end, by the repository and the actions that they are for.
    recent: Mutex<Recent>,
}

impl OwnTokens {
    pub(super) fn new(issuer: Arc<Issuer>, service: &str) -> OwnTokens {
        OwnTokens { issuer, service: service.to_owned(), recent: Mutex::new(LruCache::new(KEPT)) }
    }

    /// `Bearer` and a token for one repository's action, or for the catalog; one that was made a moment ago, if there is one.
    pub(super) async fn bearer(
        &self,
        repository: Option<&str>,
        actions: &'static str,
    ) -> Result<HeaderValue, RegistryFailure> {
        #[expect(clippy::disallowed_methods, reason = "the registry compares the token with this moment")]
        let now = OffsetDateTime::now_utc();
        let key = (repository.unwrap_or_default().to_owned(), actions);
        let kept = self.recent.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((token, expires)) = kept
            && expires > now.unix_timestamp() + 60
        {
            return Ok(token);
        }
        let (kind, name) = match repository {
            Some(repository) => ("repository", repository),
            None => ("registry", "catalog"),
        };
        let content = TokenContent {
            subject: OURSELVES.to_owned(),
            audience: self.service.clone(),
            access: vec![AccessEntry {
                kind: kind.to_owned(),
                name: name.to_owned(),
                actions: vec![actions.to_owned()],
            }],
            secret: None,
        };
        let none = |cause: String| RegistryFailure::NoToken(cause);
        let id = jti(random::bytes().map_err(|error| none(error.to_string()))?);
        let claims = self.issuer.claims(content, now, LIFE, id);
        let expires = claims.exp;
        let issuer = Arc::clone(&self.issuer);
        let made = match issuer.key().effort() {
            Effort::Small => issuer.mint(&claims, now),
            Effort::Large => {
                let made = tokio::task::spawn_blocking(move || issuer.mint(&claims, now));
                made.await.map_err(|died| none(died.to_string()))?
            }
        };
        let token = made.map_err(|error| none(error.to_string()))?;
        let mut token = HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| none(error.to_string()))?;
        token.set_sensitive(true);
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).put(key, (token.clone(), expires));
        Ok(token)
    }
}
