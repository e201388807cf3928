//! A visit: one request at a door, from what it presents to what was decided, or why nothing was.

use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use policy::scope::{Scope, words};
use policy::target::Target;
use serde_json::json;
use time::OffsetDateTime;

use super::credentials::{self, Malformed};
use super::error::Presented;
use super::shape::{self, NOT_ALLOWED, Shape, basic_challenge, denied_reasons, quoted};
use crate::access::{Decision, Denied, Grant, Names, Viewer};
use crate::app::{App, Snapshot};
use crate::authn::{Account, Credentials, IdentifiedBy, Identity, Method, Narrowing};
use crate::client_address::{NoAddress, Peer};
use crate::client_network::ClientNetwork;
use crate::config::{Api, Challenge};
use crate::decision_log::{self, Asker, DecisionId, Fault, LoggedToken};
use crate::decisions::Decisions;
use crate::secrets::TokenOfSecret;
use crate::token::{Claims, NotOurs};
use crate::turns::Client;

/// The header that names the registry's protocol; old clients look for it before they log in.
pub(super) const API_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));

/// What tells who somebody is, where a token of ours does.
const TOKENS: &str = "token";

/// Why a request for a registry is not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAdmitted {
    /// The credentials could not be read at all.
    #[error(transparent)]
    MalformedCredentials(#[from] Malformed),
    /// Nothing was presented where an account is needed.
    #[error("an account is needed: log in")]
    LoginNeeded,
    /// A token that we did not make, or that is not valid now.
    #[error(transparent)]
    Token(#[from] NotOurs),
    /// A token that we made for a secret that would bring none now: it is dead, or its owner is closed.
    #[error("the token was made for a secret: {0}")]
    TokenOfDead(#[source] Denied),
    /// A valid token for something else.
    #[error("the token does not allow this")]
    TokenAllowsLess,
    /// The client was refused, or a backend could not tell.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The account is known and may not do this.
    #[error("the account may not do this")]
    NotGranted,
}

/// All reasons in [`NotAdmitted::shape`].
pub(super) fn reasons() -> impl Iterator<Item = &'static str> {
    let own = ["malformed_credentials", "login_needed", "invalid_token", "insufficient_scope", "not_granted"];
    own.into_iter().chain(denied_reasons())
}

impl NotAdmitted {
    /// What the client, the log and the metrics are told.
    pub(super) fn shape(&self) -> Shape {
        let unauthorized = |reason, fault| Shape::unauthorized(shape::LOG_IN, reason, fault);
        // RFC 6750, section 3.1, in the registries' use of it.
        let token = |error| Shape { token_error: Some(error), ..unauthorized(error, Fault::Client) };
        match self {
            NotAdmitted::MalformedCredentials(_) => unauthorized("malformed_credentials", Fault::Client),
            // Every client begins so, to learn how to log in.
            NotAdmitted::LoginNeeded => unauthorized("login_needed", Fault::Nobody),
            NotAdmitted::Token(_) | NotAdmitted::TokenOfDead(_) => token("invalid_token"),
            NotAdmitted::TokenAllowsLess => token("insufficient_scope"),
            NotAdmitted::Denied(denied) => shape::denied(denied, Fault::Nobody),
            NotAdmitted::NotGranted => {
                Shape::new(StatusCode::FORBIDDEN, "DENIED", NOT_ALLOWED, "not_granted", Fault::Client)
            }
        }
    }
}

/// One request at a door, and what is known of it so far.
pub(super) struct Visit<'a> {
    pub(super) app: &'a App,
    /// The configuration that the request was begun with.
    pub(super) snapshot: &'a Arc<Snapshot>,
    /// The other end of the connection.
    pub(super) peer: Peer,
    pub(super) id: DecisionId,
    /// What its lines in the log say of it.
    pub(super) asker: Asker,
    /// What was presented.
    pub(super) presented: Presented,
    /// What the client calls itself.
    client: String,
}

impl<'a> Visit<'a> {
    pub(super) fn new(app: &'a App, snapshot: &'a Arc<Snapshot>, peer: Peer, asker: Asker) -> Visit<'a> {
        let (presented, client) = (Presented::default(), String::new());
        Visit { app, snapshot, peer, id: DecisionId::new(), asker, presented, client }
    }

    /// Finds the client's address, and what it calls itself.
    ///
    /// # Errors
    /// A proxy does not say where the client is.
    pub(super) fn find_client(&mut self, headers: &HeaderMap) -> Result<(), NoAddress> {
        let client = headers.get(USER_AGENT).and_then(|line| line.to_str().ok());
        self.client = client.unwrap_or_default().to_owned();
        self.asker.address = self.snapshot.address.client(self.peer, headers)?;
        Ok(())
    }

    /// What the client calls itself.
    pub(super) fn client(&self) -> &str {
        &self.client
    }

    /// In whose turn what this client asks for is done.
    pub(super) fn whose_turn(&self) -> Client {
        self.snapshot.access.attempts().client(ClientNetwork::of(self.asker.address))
    }

    /// Takes note of what is presented.
    pub(super) fn presents(&mut self, who: &Credentials) {
        self.asker.claimed(who);
        self.presented = match who {
            Credentials::Anonymous | Credentials::Password { .. } | Credentials::Workload { .. } => Presented::Other,
            Credentials::Secret { .. } => Presented::Secret,
        };
    }

    /// Finds out who presents these credentials, and decides on the scopes. The log learns the account as soon as it is known.
    ///
    /// # Errors
    /// Why nothing was decided.
    pub(super) async fn decide(
        &mut self,
        who: &Credentials,
        scopes: Vec<Scope>,
        now: OffsetDateTime,
    ) -> Result<(Identity, Decision), Denied> {
        let (access, asker) = (&self.snapshot.access, &mut self.asker);
        let found = access.identify(who, asker.address, now).await;
        let identity = found.inspect_err(|denied| asker.refused(denied))?;
        asker.identified(&identity);
        let deciding = crate::clock::now();
        let decision = access.decide(&identity, asker.address, &asker.service, scopes, now).await?;
        self.app.metrics.decided(deciding.elapsed());
        if let Some(lasting) = access.lasting() {
            lasting.used(&identity, asker.address, &self.client, now);
        }
        Ok((identity, decision))
    }

    /// Of these repositories, in their order, the first that somebody may pull, at most so many.
    ///
    /// # Errors
    /// As [`Access::pullable`](crate::access::Access::pullable).
    pub(super) async fn pullable(
        &self,
        who: &Identity,
        names: impl Names,
        most: usize,
        now: OffsetDateTime,
    ) -> Result<Vec<Arc<str>>, Denied> {
        let viewer = Viewer { who, address: self.asker.address, service: &self.asker.service, now };
        let deciding = crate::clock::now();
        let found = self.snapshot.access.pullable(&viewer, names, most).await?;
        self.app.metrics.decided(deciding.elapsed());
        Ok(found)
    }

    /// Lets the client in where all of `needed` is granted, and writes the decision's line in the log. A token of ours says the
    /// account, and no labels.
    ///
    /// # Errors
    /// Why not; a line is written only if something was decided.
    pub(super) async fn require(
        &mut self,
        target: &Target,
        needed: &[Scope],
        headers: &HeaderMap,
    ) -> Result<Identity, NotAdmitted> {
        #[expect(clippy::disallowed_methods, reason = "the moment of this request")]
        let now = OffsetDateTime::now_utc();
        if let Some(token) = bearer(headers) {
            let (identity, claims) = self.holder(token, now)?;
            // What is decided by the account besides, such as the names of a catalog, is no more than the secret may see.
            let narrowing = self.honour(&claims, now).await?.map(|(_, narrowing)| narrowing);
            // Its limits may be narrower by now than those that the token was made with.
            let is_left = |scope: &Scope| {
                narrowing.as_ref().is_none_or(|by| by.cut.of(&scope.resource, &scope.actions) == scope.actions)
            };
            if !needed.iter().all(|scope| allows(&claims, scope) && is_left(scope)) {
                return Err(NotAdmitted::TokenAllowsLess);
            }
            self.log_allowed(needed);
            return Ok(Identity { narrowing, ..identity });
        }
        let who = credentials::from_header(headers)?;
        self.presents(&who);
        match (target, &who) {
            // Clients learn here whether and how to log in. Without this 401 they would never send what they have, and
            // `docker login` would believe any password.
            (Target::Base, Credentials::Anonymous) => return Err(NotAdmitted::LoginNeeded),
            (
                Target::Base,
                Credentials::Password { .. } | Credentials::Secret { .. } | Credentials::Workload { .. },
            )
            | (Target::Catalog(_) | Target::Repository(_) | Target::Outside(_), _) => {}
        }
        let (identity, decision) = self.decide(&who, needed.to_vec(), now).await?;
        self.log_decision(&decision, None);
        let is_granted = |grant: &Grant| !grant.granted.is_empty() && grant.withheld().is_empty();
        match (decision.grants().iter().all(is_granted), who) {
            (true, _) => Ok(identity),
            (false, Credentials::Password { .. } | Credentials::Secret { .. } | Credentials::Workload { .. }) => {
                Err(NotAdmitted::NotGranted)
            }
            // An account may be allowed what nobody is.
            (false, Credentials::Anonymous) => Err(NotAdmitted::LoginNeeded),
        }
    }

    /// Whose a token of ours is, and what it says. The log learns the account.
    ///
    /// # Errors
    /// It is none of ours for this service, or not valid now.
    pub(super) fn holder(&mut self, token: &str, now: OffsetDateTime) -> Result<(Identity, Claims), NotAdmitted> {
        let claims = self.snapshot.issuer.verify(token, &self.asker.service, now)?;
        // No account that we let in has another name.
        let account = Account::parse_or_anonymous(&claims.sub).map_err(|_| NotOurs::Forged)?;
        let credential = Some(claims.jti.clone());
        let by = Some(IdentifiedBy { backend: TOKENS, method: Method::Token, credential });
        // A token says no labels. Those of the directory go by the account alone, and are known here too.
        let identity = self.snapshot.access.in_directory(Identity { account, by, ..Identity::default() })?;
        self.asker.identified(&identity);
        Ok((identity, claims))
    }

    /// Refuses an access token that was made for a secret which is dead by now, and says who the owner of a living one is and how it
    /// narrows them. All others are as good as they say.
    ///
    /// # Errors
    /// The secret is dead, or nobody can tell.
    pub(super) async fn honour(
        &self,
        claims: &Claims,
        now: OffsetDateTime,
    ) -> Result<Option<(Identity, Arc<Narrowing>)>, NotAdmitted> {
        let token = match (&claims.cred, claims.epoch) {
            (None, None) => return Ok(None),
            (Some(id), Some(epoch)) => {
                TokenOfSecret { id, epoch, made: claims.iat, last4: claims.cred_last4.as_deref() }
            }
            // We make none that says the one without the other.
            (Some(_), None) | (None, Some(_)) => return Err(NotOurs::Forged.into()),
        };
        match self.snapshot.access.honours(&token, self.asker.address, now).await {
            Ok(owner) => Ok(Some(owner)),
            // The client learns it by the login that it tries next.
            Err(denied @ (Denied::Secret(_) | Denied::Closed(_) | Denied::NameTaken { .. })) => {
                Err(NotAdmitted::TokenOfDead(denied))
            }
            Err(
                denied @ (Denied::Anonymous
                | Denied::Credentials
                | Denied::OtherIssuer { .. }
                | Denied::Workload(_)
                | Denied::TooMany(_)
                | Denied::Busy { .. }
                | Denied::Unavailable { .. }),
            ) => Err(denied.into()),
        }
    }

    /// How the client is asked to log in: the challenge of a 401 about what it needs (RFC 9110 section 11.6.1 for Basic; the
    /// distribution project's token protocol for Bearer).
    fn challenge(&self, by: &Challenge, needed: &[Scope], shape: &Shape) -> HeaderValue {
        let realm = match by {
            Challenge::Basic => return basic_challenge(self.snapshot.issuer.name()),
            Challenge::Bearer { realm } => realm,
        };
        let mut text = format!("Bearer realm={},service={}", quoted(realm), quoted(&self.asker.service));
        if !needed.is_empty() {
            let wanted: Vec<String> = needed.iter().map(asked_for).collect();
            text.push_str(&format!(",scope={}", quoted(&wanted.join(" "))));
        }
        if let Some(error) = shape.token_error {
            text.push_str(&format!(",error=\"{error}\""));
        }
        shape::challenge(&text)
    }

    /// Writes the line of a request that was refused, and makes its reply.
    pub(super) fn refused(
        &self,
        by: &Challenge,
        needed: &[Scope],
        shape: &Shape,
        cause: &(dyn std::error::Error + 'static),
    ) -> Response {
        self.log_refusal(shape, cause);
        shape.reply(json!({ "errors": shape.errors() }), self.challenge(by, needed, shape))
    }

    /// Writes the line of a request that was refused.
    pub(super) fn log_refusal(&self, shape: &Shape, cause: &(dyn std::error::Error + 'static)) {
        decision_log::refused(self.remembered(), &self.id, &self.asker, shape.reason, shape.fault, cause);
    }

    /// Writes the lines of what was decided; `token` is what the client gets, where it gets one.
    pub(super) fn log_decision(&self, decision: &Decision, token: Option<LoggedToken<'_>>) {
        decision_log::decided(self.remembered(), &self.id, &self.asker, self.snapshot.generation, decision, token);
    }

    /// The same where it was decided for another service than the one that the request is about.
    pub(super) fn log_decision_for(&self, service: &str, decision: &Decision) {
        let asker = Asker { service: service.to_owned(), ..self.asker.clone() };
        decision_log::decided(self.remembered(), &self.id, &asker, self.snapshot.generation, decision, None);
    }

    /// Writes the line of a request that a token of ours allows.
    pub(super) fn log_allowed(&self, scopes: &[Scope]) {
        decision_log::allowed_by_token(self.remembered(), &self.id, &self.asker, self.snapshot.generation, scopes);
    }

    /// Where decisions are remembered: for whoever looks at them on pages or by the API, which not every server has.
    fn remembered(&self) -> Option<&Decisions> {
        let by_api = match self.snapshot.api {
            Api::Off => false,
            Api::Main | Api::Admin => true,
        };
        (by_api || self.snapshot.sign_in.is_some()).then_some(&self.app.decisions)
    }

    /// The reply with the id of its lines in the log.
    pub(super) fn with_id(&self, mut response: Response) -> Response {
        if let Ok(value) = HeaderValue::from_str(self.id.as_str()) {
            response.headers_mut().insert("x-decision-id", value);
        }
        response
    }
}

/// A scope as a challenge asks for it.
fn asked_for(scope: &Scope) -> String {
    format!("{}:{}:{}", scope.resource.kind(), scope.resource.name(), words(&scope.actions))
}

/// Whether the body may hold parameters. The registry reads `from` and `mount` from a form's body too, which no door
/// looks at: a blob could be mounted from a repository that nobody decided on.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().any(|line| {
        let text = String::from_utf8_lossy(line.as_bytes()).to_ascii_lowercase();
        text.contains("x-www-form-urlencoded") || text.contains("form-data")
    })
}

/// The token in the Authorization header, if that is what it holds.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
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
