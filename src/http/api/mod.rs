//! The API that administers secrets, registries and the directory, and answers questions about the policy. What may be done is decided by
//! rules, as everything is; what it means is in [`secrets`](crate::secrets) and [`management`](crate::management), as for the commands.

mod asked;
mod drafts;
mod managing;
mod operation;
mod overview;
mod policy_explained;
mod policy_questions;
mod policy_wholes;
mod problem;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, RawPathParams, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode, request::Parts};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use policy::pattern::{LabelValue, LabelValues};
use policy::scope::{Actions, Resource, Scope};
use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;
use tracing::info;

use self::asked::{Change, IfMatch, Listing, NewSecret, Of, Renewal, SignOut, account_from, etag};
use self::operation::BASE;
use super::credentials;
use super::shape::nothing_here;
use super::visit::Visit;
use crate::access::Decision;
use crate::app::App;
use crate::authn::{Credentials, Identity, Method};
use crate::client_address::Peer;
use crate::config::Api;
use crate::decision_log::{Asker, Door};
use crate::identity::{Account, LookUp};
use crate::management::SERVICE;
use crate::metrics::Metrics;
use crate::records::{Kept, Limits, Owner, SecretId, Whose};
use crate::secrets::{
    Changes, Expires, Lasting, Made, New, NotMade, State as SecretState, TokenAction, Told, account_of, robot_account,
    robot_name,
};

pub(super) use self::Desk as SecretsDesk;
pub(super) use asked::{MAX_BODY, id_from};
pub use managing::{Managing, ManagingRight};
pub use operation::{Operation, Right};
pub(super) use policy_explained::{Asked as AskedWhy, Explained, explain};
pub(super) use policy_questions::{apart, turn};
pub(super) use policy_wholes::{People, find_who};
pub(super) use problem::{Refused, shape_of};

/// The outcome of what was not refused, in the metrics.
const DONE: &str = "done";
/// The description of the API, which the repository shows at the same place.
const DESCRIPTION: &str = include_str!("../../../docs/openapi.json");
/// How JSON may be announced.
const JSON: &[&str] = &["application/json"];
/// The same for a change.
const PATCH: &[&str] = &["application/merge-patch+json", "application/json"];

/// Begins the metrics of the API.
pub(super) fn begin_metrics(metrics: &Metrics) {
    metrics.expect_api_outcomes(problem::reasons().chain([DONE]));
}

/// The routes of the API on one listener, where it is served only while the configuration says so.
pub(super) fn routes(listener: Api, prefix: &str) -> Router<Arc<App>> {
    let secrets = Operation::ALL.into_iter().map(|operation| operation.row().1);
    let paths: BTreeSet<&str> = secrets.chain(Managing::all().map(|operation| operation.row().1)).collect();
    paths.into_iter().fold(Router::new(), |routes, path| {
        let answer = move |State(app): State<Arc<App>>,
                           Extension(peer): Extension<Peer>,
                           parameters: Result<RawPathParams, _>,
                           request: Request| async move {
            let all = parameters.map(|all: RawPathParams| all.iter().map(|(_, value)| value.to_owned()).collect());
            answer(&app, peer, (listener, path, all.unwrap_or_default()), request).await
        };
        routes.route(&format!("{prefix}{BASE}{path}"), any(answer))
    })
}

/// Answers one request.
async fn answer(
    app: &Arc<App>,
    peer: Peer,
    (listener, path, parameters): (Api, &'static str, Vec<String>),
    request: Request,
) -> Response {
    let snapshot = app.snapshot();
    if snapshot.api != listener {
        return nothing_here();
    }
    // Without the id: somebody may have put a secret in its place.
    let target = Some(format!("{} {BASE}{path}", request.method()));
    let asker = Asker { door: Door::Api, request: target, service: SERVICE.to_owned(), ..Asker::default() };
    let mut visit = Visit::new(app, &snapshot, peer, asker);
    let (mut response, outcome) = match respond(&mut visit, path, &parameters, request).await {
        Ok(response) => (response, DONE),
        Err(refused) => {
            let shape = refused.shape();
            visit.log_refusal(&shape, &refused);
            (refused.reply(&shape, snapshot.issuer.name()), shape.reason)
        }
    };
    app.metrics.api_answered(outcome);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    visit.with_id(response)
}

async fn respond(
    visit: &mut Visit<'_>,
    path: &str,
    parameters: &[String],
    request: Request,
) -> Result<Response, Refused> {
    if Managing::is_at(path) {
        return managing::respond(visit, path, parameters, request).await;
    }
    let (parts, body) = request.into_parts();
    let id = parameters.first().and_then(|id| id_from(id));
    let operation =
        Operation::of(path, &parts.method).ok_or_else(|| Refused::Method { allow: Operation::methods(path) })?;
    visit.find_client(&parts.headers)?;
    let (text, body) = match operation {
        Operation::Create | Operation::Change | Operation::Renew | Operation::SignOut => {
            (asked::gather(body).await?, Body::empty())
        }
        Operation::CheckPolicy
        | Operation::TestPolicy
        | Operation::DiffPolicy
        | Operation::WhoCan
        | Operation::ExplainPolicy => (asked::gather_up_to(body, policy_questions::MAX_BODY).await?, Body::empty()),
        Operation::List | Operation::Show | Operation::Revoke | Operation::RevokePresented | Operation::Describe => {
            (Vec::new(), body)
        }
    };
    #[expect(clippy::disallowed_methods, reason = "the moment of this request")]
    let now = OffsetDateTime::now_utc();
    let lasting = visit.snapshot.access.lasting().map(Arc::clone);
    let (_, _, right) = operation.row();
    match (operation, right) {
        (Operation::Describe, _) => {
            Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], DESCRIPTION).into_response())
        }
        (Operation::RevokePresented, _) => {
            let lasting = lasting.ok_or(NotMade::Missing)?;
            let presented = asked::presented(&parts.headers, body).await?;
            revoke_presented(visit, &lasting, &presented, now).await
        }
        (_, Right::Action(action)) => {
            let admitted = admit(visit, &parts.headers, now).await?;
            let lasting = lasting.ok_or(NotMade::Missing)?;
            let desk = Desk { visit, lasting, admitted, action, now };
            desk.serve(operation, id, &parts, &text).await
        }
        (_, Right::Policy(action)) => policy_questions::answer(visit, action, &parts, text, now).await,
        (_, Right::Holder | Right::Everybody) => Err(Refused::NotFound),
    }
}

/// Whoever has a secret may end it. Nobody learns whether there was one (RFC 7009, section 2.2).
async fn revoke_presented(
    visit: &mut Visit<'_>,
    lasting: &Lasting,
    presented: &str,
    now: OffsetDateTime,
) -> Result<Response, Refused> {
    let _turn = lasting.turn(visit.whose_turn()).await?;
    if let Some(id) = lasting.revoke_presented(presented, now).await? {
        info!(decision.id = visit.id.as_str(), secret.id = &*id.0, "a secret was revoked by whoever has it");
    }
    Ok(StatusCode::OK.into_response())
}

/// Who asks.
pub(super) struct Admitted {
    pub(super) who: Identity,
    pub(super) account: Account,
}

/// Finds out who asks. Nobody is anonymous here.
async fn admit(visit: &mut Visit<'_>, headers: &HeaderMap, now: OffsetDateTime) -> Result<Admitted, Refused> {
    let presented = credentials::from_header(headers)?;
    visit.presents(&presented);
    match presented {
        Credentials::Anonymous => return Err(Refused::LoginNeeded),
        Credentials::Password { .. } | Credentials::Secret { .. } | Credentials::Workload { .. } => {}
    }
    let access = &visit.snapshot.access;
    let who = access.identify(&presented, visit.asker.address, now).await?;
    visit.asker.identified(&who);
    let account = who.account.clone().ok_or(Refused::LoginNeeded)?;
    Ok(Admitted { who, account })
}

/// One request of somebody who is logged in, for what rules give rights to.
pub(super) struct Desk<'v, 'a> {
    pub(super) visit: &'v Visit<'a>,
    pub(super) lasting: Arc<Lasting>,
    pub(super) admitted: Admitted,
    /// The action that it takes.
    pub(super) action: TokenAction,
    pub(super) now: OffsetDateTime,
}

/// A secret with what is shown of it once.
#[derive(Serialize)]
struct Handed<'a> {
    token: &'a str,
    #[serde(flatten)]
    told: Told,
}

impl Desk<'_, '_> {
    async fn serve(
        self,
        operation: Operation,
        id: Option<SecretId>,
        parts: &Parts,
        body: &[u8],
    ) -> Result<Response, Refused> {
        let headers = &parts.headers;
        match (operation, id) {
            (Operation::List, _) => self.list(parts.uri.query().unwrap_or_default()).await,
            (Operation::Create, _) => self.create(headers, body).await,
            (Operation::SignOut, _) => self.sign_out(headers, body).await,
            (Operation::Show, Some(id)) => self.show(&id).await,
            (Operation::Change, Some(id)) => self.change(&id, headers, body).await,
            (Operation::Revoke, Some(id)) => self.revoke(&id, headers).await,
            (Operation::Renew, Some(id)) => self.renew(&id, headers, body).await,
            (Operation::Show | Operation::Change | Operation::Revoke | Operation::Renew, None)
            | (
                Operation::RevokePresented
                | Operation::CheckPolicy
                | Operation::TestPolicy
                | Operation::DiffPolicy
                | Operation::WhoCan
                | Operation::ExplainPolicy
                | Operation::Describe,
                _,
            ) => Err(Refused::NotFound),
        }
    }

    /// Asks the rules about these actions on the secrets of these accounts.
    async fn decide<'o>(
        &self,
        owners: impl IntoIterator<Item = &'o Account>,
        actions: &[TokenAction],
    ) -> Result<Decision, Refused> {
        let actions: Actions = actions.iter().map(|action| action.action()).collect();
        let scopes: Result<Vec<Scope>, Refused> = owners
            .into_iter()
            .map(|owner| {
                let resource = Resource::ours(&name_of(owner)).map_err(|_| Refused::NotFound)?;
                Ok(Scope { resource, class: None, actions: actions.clone(), reference: None })
            })
            .collect();
        let (snapshot, asker) = (self.visit.snapshot, &self.visit.asker);
        let who = &self.admitted.who;
        let decision = snapshot.access.decide(who, asker.address, SERVICE, scopes?, self.now).await?;
        // Not before: what is for another service is not used by being refused here, and would else never rest.
        self.lasting.used(who, asker.address, self.visit.client(), self.now);
        self.visit.log_decision(&decision, None);
        Ok(decision)
    }

    /// Whether the asker may do what is asked for with the secrets of this account.
    pub(super) async fn require(&self, owner: &Account) -> Result<(), Refused> {
        let decision = self.decide([owner], &[self.action]).await?;
        match gives(&decision, self.action).next() {
            Some(true) => Ok(()),
            Some(false) | None => Err(Refused::NotGranted { action: self.action.as_str(), name: name_of(owner) }),
        }
    }

    /// The secret of this id, if the asker may do with it what is asked for. Of what nobody may see, nobody learns that it is there.
    pub(super) async fn find(&self, id: &SecretId) -> Result<(Kept, SecretState), Refused> {
        let (kept, state) = self.lasting.shown(id, self.now).await?.ok_or(Refused::NotFound)?;
        let owner = account_of(&kept.owner)?;
        let decision = self.decide([&owner], &[self.action, TokenAction::Show]).await?;
        match (gives(&decision, self.action).next(), gives(&decision, TokenAction::Show).next()) {
            (Some(true), _) => Ok((kept, state)),
            (_, Some(true)) => Err(Refused::NotGranted { action: self.action.as_str(), name: name_of(&owner) }),
            (Some(false) | None, Some(false) | None) => Err(Refused::NotFound),
        }
    }

    /// Whether it is somebody with a password, and not whoever has found something else.
    ///
    /// A secret that could make another, or be made anew by itself, would have no end; and one that could be changed by itself, no
    /// limits.
    fn needs_password(&self) -> Result<(), Refused> {
        match self.admitted.who.by.as_ref().map(|by| by.method) {
            Some(Method::Password) => Ok(()),
            Some(
                Method::OldPassword
                | Method::Anonymous
                | Method::Token
                | Method::Workload
                | Method::Secret
                | Method::LookUp,
            )
            | None => Err(Refused::NeedsPassword),
        }
    }

    async fn list(self, query: &str) -> Result<Response, Refused> {
        let Listing { of, after, count } = Listing::from_query(query)?;
        let whose = match of {
            Of::All => Whose::All,
            Of::Asker => Whose::Account(self.admitted.account.clone()),
            Of::Account(account) => Whose::Account(account),
            Of::Robot(robot) => Whose::Robot(robot),
        };
        let (seen, next) = self.page(whose, after.as_ref(), count).await?;
        let tokens: Vec<Told> = seen.iter().map(|(kept, state)| Told::of(kept, *state)).collect();
        reply(StatusCode::OK, &json!({ "tokens": tokens, "next": next }))
    }

    /// Some secrets behind an id, as far as the asker may list them, and where the next page begins.
    pub(super) async fn page(
        &self,
        whose: Whose,
        after: Option<&SecretId>,
        count: u32,
    ) -> Result<(Vec<(Kept, SecretState)>, Option<String>), Refused> {
        match &whose {
            Whose::All => {}
            Whose::Account(account) => self.require(account).await?,
            Whose::Robot(robot) => self.require(&robot_account(robot)?).await?,
        }
        // One more, to know where the next page begins.
        let mut page = self.lasting.listed(&whose, (after, count.saturating_add(1)), self.now).await?;
        let rest = page.split_off(page.len().min(usize::try_from(count).unwrap_or(usize::MAX)));
        let next = page.last().zip(rest.first()).map(|((last, _), (next, _))| asked::cursor(&last.id, &next.id));
        let seen = match whose {
            Whose::All => self.visible(page).await?,
            Whose::Account(_) | Whose::Robot(_) => page,
        };
        Ok((self.states(seen).await, next))
    }

    /// What became of these secrets, with their owners asked about.
    async fn states(&self, page: Vec<(Kept, SecretState)>) -> Vec<(Kept, SecretState)> {
        self.visit.snapshot.access.states(page, self.visit.asker.address, self.now).await
    }

    /// Those of the secrets that the asker may list.
    async fn visible(&self, page: Vec<(Kept, SecretState)>) -> Result<Vec<(Kept, SecretState)>, Refused> {
        let owners = self.owners(&page, self.action).await?;
        let mut seen = Vec::with_capacity(page.len());
        for row in page {
            if owners.contains(&account_of(&row.0.owner)?) {
                seen.push(row);
            }
        }
        Ok(seen)
    }

    /// Those owners of these secrets with whose secrets the asker may do this.
    pub(super) async fn owners(
        &self,
        page: &[(Kept, SecretState)],
        action: TokenAction,
    ) -> Result<BTreeSet<Account>, Refused> {
        let owners: Result<BTreeSet<Account>, _> = page.iter().map(|(kept, _)| account_of(&kept.owner)).collect();
        let owners = owners?;
        let decision = self.decide(&owners, &[action]).await?;
        let given: Vec<bool> = gives(&decision, action).collect();
        Ok(owners.into_iter().zip(given).filter(|(_, given)| *given).map(|(owner, _)| owner).collect())
    }

    /// A secret that may be shown, with its owner asked about.
    pub(super) async fn shown(&self, id: &SecretId) -> Result<(Kept, SecretState), Refused> {
        let found = self.find(id).await?;
        self.states(vec![found]).await.pop().ok_or(Refused::NotFound)
    }

    async fn show(self, id: &SecretId) -> Result<Response, Refused> {
        let (kept, state) = self.shown(id).await?;
        with_version(&kept, reply(StatusCode::OK, &Told::of(&kept, state))?)
    }

    async fn create(self, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refused> {
        const FIELDS: &str = "name, expires; account, or robot and labels; allow, from, services, not_before";
        self.needs_password()?;
        let mut asked: NewSecret = asked::json(headers, body, (JSON, FIELDS))?;
        let limits = asked.limits();
        let made = match (&asked.account, &asked.robot) {
            (Some(_), Some(_)) => {
                return Err(Refused::Request("name an account or a robot, and not both".to_owned()));
            }
            (account, None) => {
                if asked.labels.is_some() {
                    return Err(Refused::Request("only a robot gets labels here".to_owned()));
                }
                let account = match account {
                    Some(account) => account_from(account)?,
                    None => self.admitted.account.clone(),
                };
                self.require(&account).await?;
                let new = self.new_secret(&asked, limits.over(Limits::default())?)?;
                let owner = self.look_up(&account).await?;
                self.lasting.make_personal(owner, new, self.now).await?
            }
            (None, Some(robot)) => {
                let robot = robot_name(robot)?;
                self.require(&robot_account(&robot)?).await?;
                let new = self.new_secret(&asked, limits.over(Limits::default())?)?;
                let labels = asked.labels.as_ref().map(|labels| self.own_labels(labels)).transpose()?;
                self.lasting.make_robot(&robot, labels.map(Arc::new), new, self.now).await?
            }
        };
        let mut response = self.hand_out(&made, StatusCode::CREATED, "a secret was made")?;
        if let Ok(place) = HeaderValue::from_str(&format!("tokens/{}", made.kept.id.0)) {
            response.headers_mut().insert(LOCATION, place);
        }
        Ok(response)
    }

    fn new_secret(&self, asked: &NewSecret, limits: Limits) -> Result<New, Refused> {
        let expires = Some(expires_from(&asked.expires)?);
        Ok(New { name: asked.name.clone(), expires, limits, maker: Some(self.admitted.account.clone()) })
    }

    /// The labels of a new robot. Labels give rights: whoever could give any would have all of them.
    pub(super) fn own_labels(&self, asked: &BTreeMap<String, Vec<String>>) -> Result<LabelValues, Refused> {
        let own = &self.admitted.who.labels;
        let mut labels = LabelValues::new();
        for (name, values) in asked {
            let values: Vec<LabelValue> = values.iter().map(|value| LabelValue::literal(value)).collect();
            if !values.iter().all(|value| own.get(name).is_some_and(|own| own.contains(value))) {
                return Err(Refused::LabelsOfOthers);
            }
            labels.insert(name.clone(), values);
        }
        Ok(labels)
    }

    /// What is known of an owner now.
    pub(super) async fn look_up(&self, account: &Account) -> Result<LookUp, Refused> {
        let (access, address) = (&self.visit.snapshot.access, self.visit.asker.address);
        access.look_up(account, address).await.map_err(Refused::Owner)
    }

    async fn renew(self, id: &SecretId, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refused> {
        self.needs_password()?;
        let (kept, _) = self.find(id).await?;
        let Renewal { expires } = asked::json(headers, body, (JSON, "expires"))?;
        let expires = Some(expires_from(&expires)?);
        let owner = match &kept.owner {
            Owner::Account { account, .. } => Some(self.look_up(account).await?),
            Owner::Robot { .. } | Owner::Workload { .. } => None,
        };
        let by = Some(self.admitted.account.clone());
        let made = self.lasting.renew(id, owner, (expires, by), self.now).await?;
        self.hand_out(&made, StatusCode::OK, "a secret was renewed")
    }

    /// The one reply that holds a secret.
    fn hand_out(&self, made: &Made, status: StatusCode, message: &'static str) -> Result<Response, Refused> {
        self.log(&made.kept, message);
        let told = Told::of(&made.kept, SecretState::Active);
        with_version(&made.kept, reply(status, &Handed { token: made.secret.reveal(), told })?)
    }

    async fn change(self, id: &SecretId, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refused> {
        self.needs_password()?;
        let (kept, _) = self.find(id).await?;
        match IfMatch::of(headers, kept.version) {
            IfMatch::Fits => {}
            IfMatch::Unsaid => return Err(Refused::NoVersion),
            IfMatch::Differs => return Err(Refused::Changed),
        }
        let asked: Change = asked::json(headers, body, (PATCH, "name, allow, from, services, not_before"))?;
        let name = asked.name.clone();
        let limits = Some(asked.limits().over(kept.limits.clone())?);
        let seen = kept.version;
        let kept = self.lasting.change(kept, Changes { name, limits }, seen).await?;
        self.log(&kept, "a secret was changed");
        let now = self.states(self.lasting.shown(id, self.now).await?.into_iter().collect()).await;
        let state = now.first().map_or(SecretState::Revoked, |(_, state)| *state);
        with_version(&kept, reply(StatusCode::OK, &Told::of(&kept, state))?)
    }

    async fn revoke(self, id: &SecretId, headers: &HeaderMap) -> Result<Response, Refused> {
        let (kept, _) = self.find(id).await?;
        match IfMatch::of(headers, kept.version) {
            IfMatch::Fits | IfMatch::Unsaid => {}
            IfMatch::Differs => return Err(Refused::Changed),
        }
        self.lasting.revoke(id, self.now).await?;
        self.log(&kept, "a secret was revoked");
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    /// Ends everything lasting that an account has, as its page does.
    async fn sign_out(self, headers: &HeaderMap, body: &[u8]) -> Result<Response, Refused> {
        let SignOut { account } = asked::json(headers, body, (JSON, "account"))?;
        let account = account.as_deref().map(account_from).transpose()?;
        let account = account.unwrap_or_else(|| self.admitted.account.clone());
        self.require(&account).await?;
        self.lasting.sign_out(&account, self.now).await?;
        info!(
            decision.id = self.visit.id.as_str(),
            user.account = self.admitted.account.as_str(),
            secret.owner = account.as_str(),
            "somebody was signed out everywhere"
        );
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    pub(super) fn log(&self, kept: &Kept, message: &'static str) {
        info!(
            decision.id = self.visit.id.as_str(),
            user.account = self.admitted.account.as_str(),
            secret.id = &*kept.id.0,
            secret.owner = account_of(&kept.owner).map(|owner| owner.to_string()).unwrap_or_default(),
            "{message}"
        );
    }
}

/// Of each scope of a decision, whether the action is given.
fn gives(decision: &Decision, action: TokenAction) -> impl Iterator<Item = bool> {
    let action = action.action();
    decision.grants().iter().map(move |grant| grant.granted.contains(&action))
}

/// What rules call the secrets of an account.
pub(super) fn name_of(owner: &Account) -> String {
    format!("tokens/{owner}")
}

fn expires_from(text: &str) -> Result<Expires, Refused> {
    text.parse().map_err(|error: crate::secrets::NoExpiry| Refused::Request(error.to_string()))
}

fn reply(status: StatusCode, body: &impl Serialize) -> Result<Response, Refused> {
    let text = serde_json::to_string(body)?;
    Ok((status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response())
}

fn with_version(kept: &Kept, mut response: Response) -> Result<Response, Refused> {
    if let Some(tag) = etag(kept.version) {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}
