//! Token exchange (RFC 8693): a workload's JWT in, a session out, for clients that keep what they log in with and cannot ask for a
//! session themselves.

use axum::Json;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use time::OffsetDateTime;

use super::error::TokenError;
use super::refresh;
use super::visit::Visit;
use crate::access::Denied;
use crate::authn::{Credentials, Identity, Secret};
use crate::records::NAME as RECORDS;
use crate::secrets::NotMade;

/// The grant type of an exchange.
pub(super) const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// What a subject token may be said to be. All of them are JWTs here.
const SUBJECTS: [&str; 2] = ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];
/// What is given: a session is taken wherever a refresh token is, and no registry takes it as it is.
const ISSUED: &str = "urn:ietf:params:oauth:token-type:refresh_token";

/// The parameters that only an exchange has.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) subject_token: Option<String>,
    pub(super) subject_token_type: Option<String>,
    pub(super) requested_token_type: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) resource: Option<String>,
    pub(super) actor_token: Option<String>,
}

/// The reply (RFC 8693, section 2.2.1).
#[derive(Serialize)]
struct Reply<'a> {
    access_token: &'a str,
    issued_token_type: &'static str,
    token_type: &'static str,
    expires_in: i64,
}

impl Asked {
    /// The slot of a parameter that is one of an exchange's.
    pub(super) fn slot(&mut self, name: &str) -> Option<&mut Option<String>> {
        Some(match name {
            "subject_token" => &mut self.subject_token,
            "subject_token_type" => &mut self.subject_token_type,
            "requested_token_type" => &mut self.requested_token_type,
            "audience" => &mut self.audience,
            "resource" => &mut self.resource,
            "actor_token" => &mut self.actor_token,
            _ => return None,
        })
    }

    /// The token that is to be exchanged.
    ///
    /// # Errors
    /// Something else is asked than a session for a workload's token.
    pub(super) fn credentials(&self) -> Result<Credentials, TokenError> {
        let wrong = |message| Err(TokenError::BadRequest(message));
        let Some(token) = self.subject_token.as_deref().filter(|token| !token.is_empty()) else {
            return wrong("a token exchange needs subject_token");
        };
        if !self.subject_token_type.as_deref().is_some_and(|named| SUBJECTS.contains(&named)) {
            return wrong("subject_token_type is urn:ietf:params:oauth:token-type:jwt or …:id_token");
        }
        if self.requested_token_type.as_deref().is_some_and(|named| named != ISSUED) {
            return wrong(
                "what is given is a urn:ietf:params:oauth:token-type:refresh_token; leave out requested_token_type",
            );
        }
        if self.actor_token.is_some() {
            return wrong("nobody acts for another here; leave out actor_token");
        }
        if self.resource.is_some() {
            return wrong("name the registry's service as audience, and leave out resource");
        }
        Ok(Credentials::Workload { token: Secret::new(token) })
    }
}

/// The reply with a session for the workload that was let in.
///
/// # Errors
/// There is none for it, or the records could not keep it.
pub(super) async fn reply(visit: &Visit<'_>, who: &Identity, now: OffsetDateTime) -> Result<Response, TokenError> {
    let unavailable = |cause: anyhow::Error| TokenError::Denied(Denied::Unavailable { backend: RECORDS, cause });
    let Some(lasting) = visit.snapshot.access.lasting() else { return Err(TokenError::UnsupportedGrant) };
    let made = match refresh::session(visit, lasting, who, now).await {
        Ok(made) => made,
        Err(refresh::NoToken::NotMade(NotMade::NoSession)) => return Err(TokenError::NoSession),
        Err(refresh::NoToken::NotAsked(denied)) => return Err(denied.into()),
        Err(cause @ (refresh::NoToken::NotMade(_) | refresh::NoToken::TooLate)) => {
            return Err(unavailable(cause.into()));
        }
    };
    let reply = Reply {
        access_token: made.secret.reveal(),
        issued_token_type: ISSUED,
        token_type: "N_A",
        expires_in: made.kept.ends.map_or(0, |ends| (ends - now).whole_seconds()),
    };
    let mut response = Json(reply).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
