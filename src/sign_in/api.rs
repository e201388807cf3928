//! Providers of OAuth 2 that say who somebody is by an API of their own: GitHub and GitLab.

mod github;
mod gitlab;

use anyhow::Context as _;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::settings::ProviderSettings;
use super::web::{NoWord, Reply, Web, no_tokens, shown};
use crate::backend::sign_in::Flow;
use crate::json;
use crate::secret::Secret;

pub(super) use github::GitHub;
pub(super) use gitlab::GitLab;

/// What the token endpoint says. GitHub answers errors with 200, too.
#[derive(Deserialize)]
struct Said {
    access_token: Option<String>,
    refresh_token: Option<String>,
    error: Option<String>,
}

/// What it gives.
struct Tokens {
    access: Secret,
    refresh: Option<Secret>,
}

/// Where a browser is sent to begin, below this address.
fn authorize(mut address: Url, settings: &ProviderSettings, scope: &str, flow: &Flow<'_>) -> Url {
    let challenge = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, flow.verifier.reveal().as_bytes());
    address
        .query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &settings.client_id)
        .append_pair("redirect_uri", settings.redirect_url.as_str())
        .append_pair("scope", scope)
        .append_pair("state", flow.state)
        .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
        .append_pair("code_challenge_method", "S256");
    address
}

/// Asks for tokens; `None` where what was presented is not taken.
async fn ask_for_tokens(
    web: &Web,
    address: &Url,
    settings: &ProviderSettings,
    own: &[(&str, &str)],
) -> anyhow::Result<Option<Tokens>> {
    let mut form = vec![
        ("client_id", settings.client_id.as_str()),
        ("client_secret", settings.client_secret.reveal()),
        ("redirect_uri", settings.redirect_url.as_str()),
    ];
    form.extend_from_slice(own);
    let reply = web.post(address, &form, None).await?;
    let said: Option<Said> = json::object(&reply.body).ok();
    let error = said.as_ref().and_then(|said| said.error.as_deref());
    match (reply.status, error) {
        (StatusCode::OK, None) => {
            let given = said.and_then(|said| {
                Some(Tokens { access: Secret::new(said.access_token?), refresh: said.refresh_token.map(Secret::new) })
            });
            // Nobody is gone by that: a page of a proxy's would lock out everybody, one after the other.
            given.map(Some).with_context(|| format!("{} answers with no tokens", shown(address)))
        }
        (_, Some("bad_verification_code" | "invalid_grant" | "bad_refresh_token")) => Ok(None),
        (status, error) => Err(no_tokens(address, status, error)),
    }
}

/// An address below an API's.
fn below(api: &Url, path: &str) -> anyhow::Result<Url> {
    Ok(Url::parse(&format!("{}{path}", api.as_str().trim_end_matches('/')))?)
}

fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.reveal()))
}

/// Who the API says that a token is of: the number and the name. `None` where it does not take the token.
async fn user(web: &Web, address: &Url, token: &Secret, name: &str) -> anyhow::Result<Option<(String, String)>> {
    let Reply { status, body, .. } = web.get(address, Some(&bearer(token))).await?;
    match status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => return Ok(None),
        // 403 is a limit on questions, and nobody's absence.
        status => return Err(NoWord { address: shown(address), status }.into()),
    }
    let read: Option<serde_json::Map<String, Value>> = json::object(&body).ok();
    let found = read.and_then(|user| {
        let id = user.get("id").and_then(Value::as_i64)?;
        let name = user.get(name).and_then(Value::as_str).filter(|name| !name.is_empty())?;
        Some((id.to_string(), name.to_owned()))
    });
    found.map(Some).with_context(|| format!("{} does not say who it is", shown(address)))
}
