//! The page on which somebody who has signed in answers a terminal's login (RFC 8628): it shows the machine, its address and the code,
//! and asks. An address with the code in it asks, too, and answers nothing (section 5.4).

use askama::Template;
use axum::http::header::{RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use tracing::info;

use super::frame::{Frame, Problem, page};
use super::session::SignedIn;
use super::{Desk, Form, cookie, cookie_name, set_cookie};
use crate::access::Denied;
use crate::authn::attempts::TooMany;
use crate::client_network::ClientNetwork;
use crate::decision_log::Fault;
use crate::http::shape::{self, whole_seconds};
use crate::records::Changed;
use crate::secret::Secret;
use crate::secrets::{DeviceScope, Said, UserCode, Waiting};

/// The cookie that brings whoever has to sign in first back here.
const NEXT: &str = "device";
/// How long that may take, in seconds.
const NEXT_LIFE: u64 = 600;
/// What it says where nobody has typed a code yet.
const NO_CODE: &str = "-";
/// What somebody is told of a code that brought nothing, for whatever reason.
const NO_SUCH: &str =
    "No login waits for this code. See what the terminal shows: a code is good for 10 minutes, and for one login.";

#[derive(Template)]
#[template(path = "device.html")]
struct DevicePage<'page> {
    frame: &'page Frame<'page>,
    title: &'static str,
    told: Option<&'page str>,
    asking: Option<Asking<'page>>,
    /// Whether a code is asked for.
    asks: bool,
}

/// A login that waits.
struct Asking<'page> {
    account: &'page str,
    machine: &'page str,
    address: String,
    code: String,
    scope: &'static str,
    days: u32,
}

/// What a code came to.
enum Typed {
    Waits(UserCode, Box<Waiting>),
    Nothing,
    TooMany(TooMany),
}

impl Desk<'_, '_> {
    /// Shows the login of a code, or asks for one.
    pub(super) async fn device(&mut self, headers: &HeaderMap, form: &Form) -> Result<Response, Problem> {
        let code = form.field("user_code");
        let Some(SignedIn { account, .. }) = self.or_sign_in(headers).await? else {
            let next = code.and_then(UserCode::read);
            let next = next.as_ref().map_or(NO_CODE, UserCode::letters);
            return Ok(self.to("/sign-in", &[set_cookie(self.prefix, NEXT, next, NEXT_LIFE)]));
        };
        let Some(code) = code else { return Ok(self.ask_for_code(&account, StatusCode::OK, None)) };
        match self.typed(&account, code).await? {
            Typed::Waits(code, waiting) => {
                let address = waiting.address().map_or_else(|| "not known".to_owned(), |address| address.to_string());
                let (machine, code) = (waiting.machine(), code.shown());
                let scope = match waiting.scope() {
                    DeviceScope::Everything => "everything you may do",
                    DeviceScope::Pull => "pull only",
                };
                let asking = Some(Asking { account: &account, machine, address, code, scope, days: waiting.days() });
                let frame = Frame::of(self.prefix, Some(&account));
                let title = "A terminal wants to log in";
                let shown = DevicePage { frame: &frame, title, told: None, asking, asks: false };
                Ok(page(StatusCode::OK, &shown))
            }
            other => Ok(self.refused(&account, &other)),
        }
    }

    /// Approves or refuses a login.
    pub(super) async fn answer_device(&mut self, headers: &HeaderMap, form: &Form) -> Result<Response, Problem> {
        let Some(SignedIn { account, who, .. }) = self.or_sign_in(headers).await? else {
            return Ok(self.to("/sign-in", &[]));
        };
        let said = match form.field("answer") {
            Some("approve") => Said::Yes(&account, &who),
            Some("refuse") => Said::No,
            Some(_) | None => return Err(Problem::Field { field: "The answer", wanted: "approve or refuse" }),
        };
        let is_yes = matches!(said, Said::Yes(..));
        let waiting = match self.typed(&account, form.field("user_code").unwrap_or_default()).await? {
            Typed::Waits(_, waiting) => waiting,
            other => return Ok(self.refused(&account, &other)),
        };
        let answered = self.lasting.answer_device(*waiting, said).await;
        match answered.map_err(|cause| Problem::Unavailable(cause.into()))? {
            Changed::Done => {}
            Changed::Missing | Changed::Conflict => return Ok(self.refused(&account, &Typed::Nothing)),
        }
        let answer = if is_yes { "approved" } else { "refused" };
        let id = self.visit.id.as_str();
        info!(decision.id = id, user.account = account.as_str(), answer, "somebody answered a terminal's login");
        let (title, told) = match is_yes {
            true => ("Approved", "The terminal goes on by itself in a moment. You can close this page."),
            false => ("Refused", "The terminal was not let in."),
        };
        let frame = Frame::of(self.prefix, Some(&account));
        let shown = DevicePage { frame: &frame, title, told: Some(told), asking: None, asks: false };
        Ok(page(StatusCode::OK, &shown))
    }

    /// The login of a code that this account typed. Of wrong ones, only so many are looked for.
    async fn typed(&self, account: &str, text: &str) -> Result<Typed, Problem> {
        let network = ClientNetwork::of(self.visit.asker.address);
        let attempts = self.visit.snapshot.access.attempts();
        let attempt = match attempts.begin_code(account, &Secret::new(text), network) {
            Ok(attempt) => attempt,
            Err(too_many) => return Ok(Typed::TooMany(too_many)),
        };
        let found = match UserCode::read(text) {
            Some(code) => {
                let waiting = self.lasting.waiting_device(&code, self.now).await;
                waiting.map_err(|cause| Problem::Unavailable(cause.into()))?.map(|waiting| (code, waiting))
            }
            None => None,
        };
        Ok(match found {
            Some((code, waiting)) => Typed::Waits(code, Box::new(waiting)),
            None => {
                attempt.was_wrong();
                Typed::Nothing
            }
        })
    }

    fn refused(&self, account: &str, typed: &Typed) -> Response {
        match typed {
            Typed::TooMany(too_many) => {
                let denied = Denied::TooMany(*too_many);
                let shape = shape::denied(&denied, Fault::Client);
                self.visit.log_refusal(&shape, &denied);
                let seconds = whole_seconds(too_many.wait);
                let told = format!("Too many wrong codes were typed. Wait {seconds} s.");
                let mut response = self.ask_for_code(account, shape.status, Some(&told));
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
                response
            }
            Typed::Nothing | Typed::Waits(..) => self.ask_for_code(account, StatusCode::BAD_REQUEST, Some(NO_SUCH)),
        }
    }

    fn ask_for_code(&self, account: &str, status: StatusCode, told: Option<&str>) -> Response {
        let frame = Frame::of(self.prefix, Some(account));
        let title = "Log in at a terminal";
        page(status, &DevicePage { frame: &frame, title, told, asking: None, asks: true })
    }

    /// Where somebody goes who has just signed in: to the login that they came for.
    pub(super) fn onward(&self, headers: &HeaderMap, signed_in: Response) -> Response {
        let Some(next) = cookie(headers, &cookie_name(self.prefix, NEXT)) else { return signed_in };
        let account = format!("{}/account", self.prefix);
        let location = signed_in.headers().get(axum::http::header::LOCATION);
        if location.is_none_or(|place| place.as_bytes() != account.as_bytes()) {
            return signed_in;
        }
        let place = match UserCode::read(next) {
            Some(code) => format!("/device?user_code={}", code.letters()),
            None => "/device".to_owned(),
        };
        let mut response = self.to(&place, &[set_cookie(self.prefix, NEXT, "", 0)]);
        for line in signed_in.headers().get_all(SET_COOKIE) {
            response.headers_mut().append(SET_COOKIE, line.clone());
        }
        response
    }
}
