//! What the doors to a registry share: from what a request presents to everything it needs granted, or why not, and how
//! a client is told.

use axum::Json;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::OffsetDateTime;

use super::credentials::{self, Malformed};
use super::denied::{self, RETRY_SOON};
use super::error::quoted;
use crate::access::{Decision, Denied, Grant};
use crate::app::{App, Snapshot};
use crate::authn::{Credentials, Identity};
use crate::config::Challenge;
use crate::decision_log::{self, Asker, DecisionId, Fault};
use crate::scope::{Scope, words};
use crate::target::Target;
use crate::token::{Claims, NotOurs};

/// What the registry's protocol is called in its own header; old clients look for it before they log in.
pub(crate) const API_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAdmitted {
    /// The credentials could not be read at all.
    #[error(transparent)]
    MalformedCredentials(#[from] Malformed),
    /// Nothing was presented where somebody has to be.
    #[error("an account is needed: log in")]
    LoginNeeded,
    /// The token is none of ours, or out of its time.
    #[error(transparent)]
    Token(#[from] NotOurs),
    /// The token is good, and allows something else.
    #[error("the token does not allow this")]
    TokenAllowsLess,
    /// Who, or what they may do, was not to be found out, or was refused.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The account is right and may not do this.
    #[error("the account may not do this")]
    NotGranted,
}

/// All that [`NotAdmitted::reason`] says.
pub(crate) fn reasons() -> impl Iterator<Item = &'static str> {
    let own = ["malformed_credentials", "login_needed", "invalid_token", "insufficient_scope", "not_granted"];
    own.into_iter().chain(denied::REASONS.iter().copied())
}

impl NotAdmitted {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            NotAdmitted::NotGranted => StatusCode::FORBIDDEN,
            NotAdmitted::MalformedCredentials(_)
            | NotAdmitted::LoginNeeded
            | NotAdmitted::Token(_)
            | NotAdmitted::TokenAllowsLess => StatusCode::UNAUTHORIZED,
            NotAdmitted::Denied(denied) => denied::status(denied),
        }
    }

    /// When to come again, in seconds, if that is what the status calls for.
    pub(crate) fn retry_after(&self) -> u64 {
        match self {
            NotAdmitted::Denied(denied) => denied::retry_after(denied),
            NotAdmitted::MalformedCredentials(_)
            | NotAdmitted::LoginNeeded
            | NotAdmitted::Token(_)
            | NotAdmitted::TokenAllowsLess
            | NotAdmitted::NotGranted => RETRY_SOON,
        }
    }

    /// The outcome's name in logs and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            NotAdmitted::MalformedCredentials(_) => "malformed_credentials",
            NotAdmitted::LoginNeeded => "login_needed",
            NotAdmitted::Token(_) => "invalid_token",
            NotAdmitted::TokenAllowsLess => "insufficient_scope",
            NotAdmitted::Denied(denied) => denied::reason(denied),
            NotAdmitted::NotGranted => "not_granted",
        }
    }

    /// Whether somebody here has to look into it.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            // Every client begins so, to learn how to log in.
            NotAdmitted::Denied(denied) => denied::fault(denied, Fault::Nobody),
            NotAdmitted::LoginNeeded => Fault::Nobody,
            NotAdmitted::MalformedCredentials(_)
            | NotAdmitted::Token(_)
            | NotAdmitted::TokenAllowsLess
            | NotAdmitted::NotGranted => Fault::Client,
        }
    }

    /// RFC 6750, section 3.1, in the registries' use of it.
    pub(crate) fn token_error(&self) -> Option<&'static str> {
        match self {
            NotAdmitted::Token(_) => Some("invalid_token"),
            NotAdmitted::TokenAllowsLess => Some("insufficient_scope"),
            NotAdmitted::MalformedCredentials(_)
            | NotAdmitted::LoginNeeded
            | NotAdmitted::Denied(_)
            | NotAdmitted::NotGranted => None,
        }
    }
}

/// A request at a door, before anybody knows whose it is.
pub(crate) struct Knock<'a> {
    pub(crate) app: &'a App,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) id: &'a DecisionId,
    /// The registry behind the door.
    pub(crate) service: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

/// Who was let in, and by what.
pub(crate) enum Admitted {
    /// By account and password, or as the anonymous client.
    Known(Identity),
    /// By a token of ours. It carries no labels.
    Token {
        /// The account that it was made for.
        account: String,
    },
}

impl Admitted {
    /// The identity as far as it is known.
    pub(crate) fn into_identity(self) -> Identity {
        match self {
            Admitted::Known(identity) => identity,
            Admitted::Token { account } => Identity { account, ..Identity::default() },
        }
    }
}

impl Knock<'_> {
    /// Finds out who it is and whether all of `needed` is granted, and writes the decision's line in the log. `asker`
    /// learns the account as soon as it is known.
    ///
    /// # Errors
    /// Why not; no line is written then.
    pub(crate) async fn admit(
        &self,
        target: &Target,
        needed: &[Scope],
        asker: &mut Asker,
    ) -> Result<Admitted, NotAdmitted> {
        #[expect(clippy::disallowed_methods, reason = "the moment of this request")]
        let now = OffsetDateTime::now_utc();
        if let Some(token) = bearer(self.headers) {
            let claims = self.snapshot.issuer.verify(token, self.service, now)?;
            asker.account.clone_from(&claims.sub);
            if !needed.iter().all(|scope| allows(&claims, scope)) {
                return Err(NotAdmitted::TokenAllowsLess);
            }
            decision_log::allowed_by_token(self.id, asker, self.snapshot, &claims.jti, needed);
            return Ok(Admitted::Token { account: claims.sub });
        }
        let who = credentials::of_header(self.headers)?;
        asker.account = who.account().to_owned();
        match (target, &who) {
            // Clients learn here whether and how to log in. Without this 401 they would never send what they have, and
            // `docker login` would believe any password.
            (Target::Base, Credentials::Anonymous) => return Err(NotAdmitted::LoginNeeded),
            (Target::Base | Target::Catalog | Target::Repository(_) | Target::Outside(_), _) => {}
        }
        let access = &self.snapshot.access;
        let identity = access.identify(&who, asker.address, now).await?;
        asker.account.clone_from(&identity.account);
        let deciding = crate::clock::now();
        let decision = access.decide(&identity, asker.address, self.service, needed.to_vec(), now).await?;
        self.app.metrics.decided(deciding.elapsed());
        decision_log::decided(self.id, asker, self.snapshot, &decision, None);
        match (grants_all(&decision), who) {
            (true, _) => Ok(Admitted::Known(identity)),
            (false, Credentials::Password { .. }) => Err(NotAdmitted::NotGranted),
            // An account may be allowed what nobody is.
            (false, Credentials::Anonymous) => Err(NotAdmitted::LoginNeeded),
        }
    }
}

/// Whether the body may hold parameters. The registry reads `from` and `mount` from a form's body too, which no door
/// looks at: a blob could be mounted from a repository that nobody decided on.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|line| {
        let text = String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase();
        text.contains("x-www-form-urlencoded") || text.contains("form-data")
    })
}

/// The token in the Authorization header, if that is what it holds.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let (scheme, token) = line.to_str().ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a token names every action of a scope, as the registry compares them: word by word.
fn allows(claims: &Claims, scope: &Scope) -> bool {
    let resource = &scope.resource;
    scope.actions.iter().all(|action| {
        claims
            .access
            .iter()
            .filter(|entry| entry.kind == resource.kind() && entry.name == resource.name())
            .any(|entry| entry.actions.iter().any(|own| own == action.as_str()))
    })
}

fn grants_all(decision: &Decision) -> bool {
    decision.grants().iter().all(|grant: &Grant| !grant.granted.is_empty() && grant.withheld().is_empty())
}

/// How a door asks its clients to log in.
pub(crate) struct Invitation<'a> {
    pub(crate) challenge: &'a Challenge,
    pub(crate) service: &'a str,
    /// The issuer's name: the realm of Basic.
    pub(crate) issuer: &'a str,
    /// What the request needs.
    pub(crate) needed: &'a [Scope],
    /// What is wrong with the token that was presented.
    pub(crate) token_error: Option<&'static str>,
    /// When to come again, in seconds, if it is not now.
    pub(crate) retry_after: u64,
}

impl Invitation<'_> {
    /// RFC 9110 section 11.6.1 for Basic; the distribution project's token protocol for Bearer.
    fn challenge(&self) -> String {
        match self.challenge {
            Challenge::Basic => format!("Basic realm={}", quoted(self.issuer)),
            Challenge::Bearer { realm } => {
                let mut text = format!("Bearer realm={},service={}", quoted(realm), quoted(self.service));
                if !self.needed.is_empty() {
                    let wanted: Vec<String> = self
                        .needed
                        .iter()
                        .map(|scope| {
                            format!("{}:{}:{}", scope.resource.kind(), scope.resource.name(), words(&scope.actions))
                        })
                        .collect();
                    text.push_str(&format!(",scope={}", quoted(&wanted.join(" "))));
                }
                if let Some(error) = self.token_error {
                    text.push_str(&format!(",error=\"{error}\""));
                }
                text
            }
        }
    }
}

/// A refusal in the registry's shape, with what its status calls for: the challenge, or when to come again.
pub(crate) fn refused(status: StatusCode, code: &str, message: &str, invitation: &Invitation<'_>) -> Response {
    let body = Json(json!({ "errors": [{ "code": code, "message": message, "detail": null }] }));
    let mut response = (status, body).into_response();
    let headers = response.headers_mut();
    match status {
        StatusCode::UNAUTHORIZED => {
            let text = invitation.challenge();
            let basic = HeaderValue::from_static("Basic realm=\"dockwarden\"");
            // A 401 without a challenge would leave clients with nothing to do.
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_bytes(text.as_bytes()).unwrap_or(basic));
        }
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            headers.insert(RETRY_AFTER, HeaderValue::from(invitation.retry_after));
        }
        _ => {}
    }
    response
}
