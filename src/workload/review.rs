//! Asks a cluster's API server whether a service account's token is still good (TokenReview): it knows at once of a pod that
//! was deleted.

use anyhow::Context as _;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::Refused;
use super::entry::Entry;
use super::jwt::Jwt;
use crate::breaker::Passage;
use crate::http_api::request::{Repeat, Request};
use crate::http_api::settings::ApiSettings;
use crate::http_api::{Api, Wanted};
use crate::json;
use crate::pem::tls::Authorities;
use crate::secret::Secret;
use crate::turns::Client;

/// Where tokens are reviewed, below the API server's address.
const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// The longest reply, in bytes.
const MAX_REPLY: usize = 64 * 1024;

/// How the API server is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ReviewSettings {
    /// The API server.
    pub(super) api: Url,
    /// The authorities that its certificate may be from, in place of the public ones.
    pub(super) authorities: Option<Authorities>,
    /// Our own token there, which may make TokenReviews and nothing else.
    pub(super) token: Secret,
}

/// An API server that is asked.
pub(super) struct Review {
    api: Api,
    address: Url,
    authorization: HeaderValue,
}

/// What is used of a TokenReview's status.
#[derive(Deserialize)]
struct Reply {
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    audiences: Vec<String>,
    user: Option<User>,
}

#[derive(Deserialize)]
struct User {
    username: Option<String>,
}

impl Review {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// Authorities or the token cannot be used.
    pub(super) fn open(settings: &ReviewSettings) -> anyhow::Result<Review> {
        let ReviewSettings { api, authorities, token } = settings;
        let address = api.join(PATH).context("the address of the API server cannot be used")?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
            .map_err(|_| anyhow::anyhow!("token_file holds no token"))?;
        authorization.set_sensitive(true);
        // It says nothing of anybody: whoever is not known may ask it.
        let trial = Request {
            method: Method::GET,
            url: api.join("/livez").context("the address of the API server cannot be used")?,
            headers: HeaderMap::new(),
            body: None,
            repeat: Repeat::Allowed,
        };
        let settings = ApiSettings::usual(api.clone(), authorities.clone());
        Ok(Review { api: Api::new(super::NAME, settings, trial)?, address, authorization })
    }

    /// Whether the API server is asked, or known not to answer.
    pub(super) fn passage(&self) -> Passage {
        self.api.breaker().passage()
    }

    /// In a few words, whether it answers.
    ///
    /// # Errors
    /// It does not.
    pub(super) async fn reach(&self) -> anyhow::Result<String> {
        self.api.reach(|_| false).await
    }

    /// Asks whether a verified token of this entry is good, for us, and of whom it says it is.
    ///
    /// # Errors
    /// [`Refused::Reviewed`] inside where it is not; outside where it could not be found out.
    pub(super) async fn ask(
        &self,
        jwt: &Jwt<'_>,
        entry: &Entry,
        client: Client,
    ) -> anyhow::Result<Result<(), Refused>> {
        let spec = json!({"token": jwt.whole, "audiences": entry.audiences});
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec});
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, json.clone());
        headers.insert(CONTENT_TYPE, json);
        headers.insert(AUTHORIZATION, self.authorization.clone());
        let request = Request {
            method: Method::POST,
            url: self.address.clone(),
            headers,
            body: Some(Secret::new(body.to_string())),
            // A review is remembered by nobody.
            repeat: Repeat::Allowed,
        };
        let reply = self.api.ask(&request, client, crate::clock::now(), |_| Wanted::Body(MAX_REPLY), |_| {}).await?;
        let origin = self.api.origin();
        anyhow::ensure!(
            matches!(reply.status, StatusCode::OK | StatusCode::CREATED),
            "{origin} answers a TokenReview with status {}; may the account of token_file make them?",
            reply.status.as_u16()
        );
        // Without the parser's own words: they could repeat the token.
        let read: Option<Reply> = json::object(&reply.body).ok();
        let Reply { status } =
            read.with_context(|| format!("{origin} answers with something that is not a TokenReview"))?;
        // A server that knows nothing of audiences says that the token is good for itself.
        let is_ours = status.audiences.iter().any(|audience| entry.audiences.contains(audience));
        let sub = jwt.claims.own("sub").and_then(serde_json::Value::as_str);
        let is_same = sub.is_some() && status.user.and_then(|user| user.username).as_deref() == sub;
        Ok(match status.authenticated && is_ours && is_same {
            true => Ok(()),
            false => Err(Refused::Reviewed { entry: entry.name.clone() }),
        })
    }
}
