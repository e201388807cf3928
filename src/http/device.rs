//! Where a terminal begins a login and asks what came of it (RFC 8628): JSON for programs. The page that answers it is in `pages/`.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tracing::info;
use url::Url;

use super::body::{NotRead, gather};
use super::pages::registry;
use super::shape::{self, Shape, basic_challenge, nothing_here};
use super::visit::{Visit, is_form};
use crate::access::Denied;
use crate::app::App;
use crate::client_address::{NoAddress, Peer};
use crate::decision_log::{Asker, Door, Fault};
use crate::management::SERVICE;
use crate::records::Failure;
use crate::secrets::{
    DEVICE_DAYS, DEVICE_GRANT, DEVICE_INTERVAL, DEVICE_LIFE, DeviceScope, DeviceWish, Lasting, MOST_DEVICE_DAYS,
    NotBegun, NotMade, Polled,
};
use crate::sign_in::Section;

/// The longest form, in bytes.
const MAX_FORM: usize = 8 * 1024;
/// When to come again where too many logins were begun, in seconds.
const LATER: u64 = 60;

/// What a terminal comes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Begin,
    Poll,
}

/// Why it gets nothing, or nothing yet.
#[derive(Debug, thiserror::Error)]
enum DeviceError {
    #[error("ask with POST")]
    Method,
    #[error("send the parameters as application/x-www-form-urlencoded, once each, in at most {MAX_FORM} bytes")]
    Form,
    #[error(transparent)]
    NoAddress(#[from] NoAddress),
    #[error("only grant_type={DEVICE_GRANT} is supported here")]
    Grant,
    #[error("there is no device_code")]
    NoCode,
    #[error("the scope is pull, or left out")]
    Scope,
    #[error("days is a number from 1 to {MOST_DEVICE_DAYS}")]
    Days,
    #[error("nobody has answered yet")]
    Pending,
    #[error("nobody has answered yet, and this was asked too soon: wait 5 s longer from now on")]
    TooSoon,
    #[error("the login was refused")]
    Refused,
    #[error("nobody answered in time; begin once more")]
    Expired,
    #[error("there is no such login, or it came to its end; begin once more")]
    Unknown,
    #[error(transparent)]
    NotBegun(#[from] NotBegun),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    NotMade(#[from] NotMade),
    #[error(transparent)]
    Records(#[from] Failure),
}

impl From<NotRead> for DeviceError {
    fn from(_: NotRead) -> DeviceError {
        DeviceError::Form
    }
}

impl DeviceError {
    /// What the log and the metrics are told, and the client's sentence.
    fn shape(&self) -> Shape {
        let bad = |status, reason| Shape::new(status, "UNSUPPORTED", self.to_string(), reason, Fault::Client);
        let ended = || bad(StatusCode::BAD_REQUEST, "sign_in_failed");
        match self {
            DeviceError::Method => Shape { allow: Some("POST"), ..bad(StatusCode::METHOD_NOT_ALLOWED, "bad_request") },
            DeviceError::Form | DeviceError::NoCode | DeviceError::Scope | DeviceError::Days => {
                bad(StatusCode::BAD_REQUEST, "bad_request")
            }
            DeviceError::NoAddress(_) => bad(StatusCode::BAD_REQUEST, "no_client_address"),
            DeviceError::Grant => bad(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            // Every terminal asks so until somebody answers.
            DeviceError::Pending | DeviceError::TooSoon => Shape { fault: Fault::Nobody, ..ended() },
            DeviceError::Refused | DeviceError::Expired | DeviceError::Unknown => ended(),
            DeviceError::NotBegun(NotBegun::TooMany) => {
                let shape = bad(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts");
                Shape { code: "TOOMANYREQUESTS", retry_after: Some(LATER), ..shape }
            }
            DeviceError::NotBegun(NotBegun::NoRandomBytes | NotBegun::Records(_))
            | DeviceError::NotMade(NotMade::Records(_) | NotMade::NoRandomBytes)
            | DeviceError::Records(_) => Shape::unavailable("unavailable", Fault::Ours),
            // Who approved it is nobody any more, or may have no secret.
            DeviceError::NotMade(_) => bad(StatusCode::BAD_REQUEST, "secret_not_made"),
            DeviceError::Denied(denied) => {
                let shape = shape::denied(denied, Fault::Client);
                // Not 401: there is nothing that a terminal could log in with.
                let status = if shape.retry_after.is_some() { shape.status } else { StatusCode::BAD_REQUEST };
                Shape { status, ..shape }
            }
        }
    }

    /// The code of OAuth 2 (RFC 6749, section 5.2; RFC 8628, section 3.5).
    fn code(&self) -> &'static str {
        match self {
            DeviceError::Method
            | DeviceError::Form
            | DeviceError::NoCode
            | DeviceError::Days
            | DeviceError::NoAddress(_) => "invalid_request",
            DeviceError::Scope => "invalid_scope",
            DeviceError::Grant => "unsupported_grant_type",
            DeviceError::Pending => "authorization_pending",
            DeviceError::TooSoon => "slow_down",
            DeviceError::Expired => "expired_token",
            DeviceError::Unknown => "invalid_grant",
            DeviceError::NotBegun(_)
            | DeviceError::NotMade(NotMade::Records(_) | NotMade::NoRandomBytes)
            | DeviceError::Records(_) => "temporarily_unavailable",
            DeviceError::Denied(denied) if shape::denied(denied, Fault::Client).retry_after.is_some() => {
                "temporarily_unavailable"
            }
            DeviceError::Refused | DeviceError::NotMade(_) | DeviceError::Denied(_) => "access_denied",
        }
    }
}

/// The routes on one listener.
pub(super) fn routes(prefix: &str) -> Router<Arc<App>> {
    [("/device_authorization", Step::Begin), ("/device_token", Step::Poll)].into_iter().fold(
        Router::new(),
        |routes, (path, step)| {
            let answer = move |State(app): State<Arc<App>>, Extension(peer): Extension<Peer>, request: Request| async move {
                answer(&app, peer, (step, path), request).await
            };
            routes.route(&format!("{prefix}{path}"), any(answer))
        },
    )
}

async fn answer(app: &App, peer: Peer, (step, path): (Step, &'static str), request: Request) -> Response {
    let snapshot = app.snapshot();
    let lasting = snapshot.access.lasting().map(Arc::clone);
    let (Some(section), Some(lasting)) = (&snapshot.sign_in, lasting) else { return nothing_here() };
    let Some(url) = &section.url else { return nothing_here() };
    let target = Some(format!("{} {path}", request.method()));
    let asker = Asker { door: Door::Pages, request: target, service: SERVICE.to_owned(), ..Asker::default() };
    let mut visit = Visit::new(app, &snapshot, peer, asker);
    #[expect(clippy::disallowed_methods, reason = "the moment of this request")]
    let now = OffsetDateTime::now_utc();
    let (parts, body) = request.into_parts();
    let answered = match form(&mut visit, &parts, body).await {
        Err(error) => Err(error),
        Ok(form) => match step {
            Step::Begin => begin(&visit, (&lasting, section, url), &form, now).await,
            Step::Poll => poll(&mut visit, (&lasting, section), &form, now).await,
        },
    };
    let mut response = match answered {
        Ok(body) => Json(body).into_response(),
        Err(error) => {
            let shape = error.shape();
            visit.log_refusal(&shape, &error);
            let body = json!({ "error": error.code(), "error_description": shape.message });
            shape.reply(body, basic_challenge(SERVICE))
        }
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    visit.with_id(response)
}

/// The parameters; none of them may be there twice.
type Form = Vec<(String, String)>;

fn field<'form>(form: &'form [(String, String)], name: &str) -> Option<&'form str> {
    form.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
}

async fn form(visit: &mut Visit<'_>, parts: &Parts, body: Body) -> Result<Form, DeviceError> {
    if parts.method != Method::POST {
        return Err(DeviceError::Method);
    }
    visit.find_client(&parts.headers)?;
    if !is_form(&parts.headers) {
        return Err(DeviceError::Form);
    }
    let text = gather(body, MAX_FORM).await?;
    let form: Form = form_urlencoded::parse(&text).into_owned().collect();
    let is_doubled = form.iter().enumerate().any(|(at, (name, _))| form.iter().take(at).any(|(own, _)| own == name));
    if is_doubled { Err(DeviceError::Form) } else { Ok(form) }
}

async fn begin(
    visit: &Visit<'_>,
    (lasting, section, url): (&Lasting, &Section, &Url),
    form: &[(String, String)],
    now: OffsetDateTime,
) -> Result<Value, DeviceError> {
    let scope = match field(form, "scope").unwrap_or_default() {
        "" => DeviceScope::Everything,
        "pull" => DeviceScope::Pull,
        _ => return Err(DeviceError::Scope),
    };
    let days = match field(form, "days") {
        None => DEVICE_DAYS,
        Some(days) => {
            days.parse().ok().filter(|days| (1..=MOST_DEVICE_DAYS).contains(days)).ok_or(DeviceError::Days)?
        }
    };
    let machine = field(form, "machine").unwrap_or_default();
    let wish = DeviceWish { machine, address: visit.asker.address, scope, days };
    let begun = lasting.begin_device(wish, now).await?;
    let page = format!("{}/device", url.as_str().trim_end_matches('/'));
    let code = begun.user_code.shown();
    // The registry, too: whoever has nowhere to keep its password learns that before there is one.
    Ok(json!({
        "registry": registry(visit.snapshot, section),
        "device_code": begun.device_code.reveal(),
        "user_code": code,
        "verification_uri": page,
        "verification_uri_complete": format!("{page}?user_code={code}"),
        "expires_in": DEVICE_LIFE.as_secs(),
        "interval": DEVICE_INTERVAL.as_secs(),
    }))
}

async fn poll(
    visit: &mut Visit<'_>,
    (lasting, section): (&Lasting, &Section),
    form: &[(String, String)],
    now: OffsetDateTime,
) -> Result<Value, DeviceError> {
    if field(form, "grant_type") != Some(DEVICE_GRANT) {
        return Err(DeviceError::Grant);
    }
    let code = field(form, "device_code").ok_or(DeviceError::NoCode)?;
    let approved = match lasting.poll_device(code, now).await? {
        Polled::Approved(approved) => approved,
        Polled::Pending => return Err(DeviceError::Pending),
        Polled::TooSoon => return Err(DeviceError::TooSoon),
        Polled::Refused => return Err(DeviceError::Refused),
        Polled::Expired => return Err(DeviceError::Expired),
        Polled::Unknown => return Err(DeviceError::Unknown),
    };
    let account = approved.account().clone();
    visit.asker.account = account.to_string();
    // Before the code is used up: while a backend is away, the terminal may ask again.
    let owner = visit.snapshot.access.look_up(&account, visit.asker.address).await?;
    let made = lasting.take_device(*approved, owner, now).await?.ok_or(DeviceError::Unknown)?;
    info!(
        decision.id = visit.id.as_str(),
        user.account = account.as_str(),
        secret.id = &*made.kept.id.0,
        "a terminal was logged in"
    );
    // RFC 8693, section 2.2.1: it is no access token, but takes a password's place.
    let mut body = json!({ "access_token": made.secret.reveal(), "token_type": "N_A", "username": account.as_str() });
    if let (Some(ends), Some(body)) = (made.kept.ends, body.as_object_mut()) {
        body.insert("expires_in".to_owned(), (ends - now).whole_seconds().into());
    }
    if let (Some(registry), Some(body)) = (registry(visit.snapshot, section), body.as_object_mut()) {
        body.insert("registry".to_owned(), registry.into());
    }
    Ok(body)
}
