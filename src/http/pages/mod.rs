//! Pages for people: signing in, and what belongs to who has signed in. Off unless the file has `sign_in:`.
//!
//! The frame is here and for all pages alike: who is let in by which cookie (`session.rs`), that a form was sent by a page of ours
//! (`origin.rs`), what surrounds a page and with which headers it goes out (`frame.rs`).

mod account;
mod again;
mod area;
mod device;
mod flow;
mod frame;
mod members;
mod once;
mod origin;
mod overview;
mod plot;
mod registries;
mod repositories;
mod secrets;
mod session;
mod sheet;
mod sign_in;
mod why;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, RawPathParams, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use time::OffsetDateTime;

pub(super) use self::account::registry;
use self::area::{Area, Turn};
use self::frame::{Frame, Problem, with_headers};
use self::sheet::Link;
use super::api::MAX_BODY;
use super::body::gather;
use super::shape::{Shape, nothing_here};
use super::visit::Visit;
use crate::app::App;
use crate::client_address::Peer;
use crate::decision_log::{Asker, Door};
use crate::identity::{Account, Identity};
use crate::management::SERVICE;
use crate::secret::lasting::LastingSecret;
use crate::secrets::Lasting;
use crate::sign_in::{KINDS, Section};

/// How pages look. Its address changes with the program, so that it may be kept for ever.
const STYLE: &str = include_str!("../../../templates/pages.css");
const STYLE_PATH: &str = concat!("/pages-", env!("CARGO_PKG_VERSION"), ".css");

/// The pages, by what is done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The ways in.
    SignIn,
    /// Where browsers begin at a provider of this section, and come back to.
    Provider(&'static str),
    /// What belongs to who has signed in.
    Account,
    /// Makes a docker password.
    MakePassword,
    /// Ends one.
    RevokePassword,
    /// Shows a terminal's login, or asks for its code.
    Device,
    /// Answers one.
    AnswerDevice,
    /// Signs this browser out.
    SignOut,
    /// Ends everything that lasts.
    SignOutEverywhere,
    /// Something to see or to manage.
    Area(Area),
}

impl Place {
    /// The one method that does something there besides those that only show.
    fn takes(self, method: &Method) -> bool {
        match self {
            Place::SignIn | Place::Device => matches!(*method, Method::GET | Method::HEAD | Method::POST),
            // HEAD would redeem a code, and links in chats and mails are looked at so.
            Place::Provider(_) => *method == Method::GET,
            Place::Account => matches!(*method, Method::GET | Method::HEAD),
            Place::MakePassword
            | Place::RevokePassword
            | Place::AnswerDevice
            | Place::SignOut
            | Place::SignOutEverywhere => *method == Method::POST,
            Place::Area(area) => area.row().1.takes(method),
        }
    }

    /// Where the form is that was sent there.
    fn back(self, prefix: &str, form: &Form) -> Option<String> {
        match self {
            Place::SignIn | Place::SignOut | Place::Provider(_) => None,
            Place::Account | Place::MakePassword | Place::RevokePassword | Place::SignOutEverywhere => {
                Some(format!("{prefix}/account"))
            }
            Place::Device | Place::AnswerDevice => Some(format!("{prefix}/device")),
            Place::Area(area) => Some(area.back(prefix, form)),
        }
    }

    fn methods(self) -> &'static str {
        match self {
            Place::SignIn | Place::Device => "GET, HEAD, POST",
            Place::Provider(_) => "GET",
            Place::Account => "GET, HEAD",
            Place::MakePassword
            | Place::RevokePassword
            | Place::AnswerDevice
            | Place::SignOut
            | Place::SignOutEverywhere => "POST",
            Place::Area(area) => area.row().1.methods(),
        }
    }
}

/// One request for a page.
struct Desk<'v, 'a> {
    visit: &'v mut Visit<'a>,
    section: &'v Section,
    lasting: Arc<Lasting>,
    prefix: &'v str,
    now: OffsetDateTime,
    /// Who turned out to have signed in, for the page that tells a problem; without the identity where nobody could say who that is now.
    seen: Option<(Account, Option<Identity>)>,
    /// The ways to what they may see, once they were asked for.
    nav: Option<Vec<Link>>,
    /// Where the form that was sent is.
    back: Option<String>,
}

/// The addresses of all pages below the prefix, but for the style.
pub fn addresses() -> Vec<String> {
    places().into_iter().map(|(path, _)| path).collect()
}

/// What is done at which address.
fn places() -> Vec<(String, Place)> {
    let mut places = vec![
        ("/sign-in".to_owned(), Place::SignIn),
        ("/account".to_owned(), Place::Account),
        ("/account/passwords".to_owned(), Place::MakePassword),
        ("/account/passwords/{id}/revoke".to_owned(), Place::RevokePassword),
        ("/device".to_owned(), Place::Device),
        ("/device/answer".to_owned(), Place::AnswerDevice),
        ("/sign-out".to_owned(), Place::SignOut),
        ("/account/sign-out-everywhere".to_owned(), Place::SignOutEverywhere),
    ];
    places.extend(Area::all().map(|area| (area.row().0.to_owned(), Place::Area(area))));
    for kind in KINDS {
        places.push((format!("/{}", kind.key), Place::Provider(kind.key)));
        places.push((format!("/{}/{{name}}", kind.key), Place::Provider(kind.key)));
    }
    places
}

/// The routes of the pages on one listener.
pub(super) fn routes(prefix: &str) -> Router<Arc<App>> {
    let own: Arc<str> = prefix.into();
    let style = any(|State(app): State<Arc<App>>| async move {
        match app.snapshot().sign_in {
            None => nothing_here(),
            Some(_) => {
                let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
                let css = HeaderValue::from_static("text/css; charset=utf-8");
                let as_said = HeaderValue::from_static("nosniff");
                let headers = [(CONTENT_TYPE, css), (CACHE_CONTROL, kept), (X_CONTENT_TYPE_OPTIONS, as_said)];
                (headers, STYLE).into_response()
            }
        }
    });
    let routes = Router::new().route(&format!("{prefix}{STYLE_PATH}"), style);
    places().into_iter().fold(routes, |routes, (path, place)| {
        let (own, route): (_, Arc<str>) = (Arc::clone(&own), format!("{prefix}{path}").into());
        let answer = move |State(app): State<Arc<App>>,
                           Extension(peer): Extension<Peer>,
                           parameters: Result<RawPathParams, _>,
                           request: Request| async move {
            let name = parameters.ok().and_then(|all: RawPathParams| Some(all.iter().next()?.1.to_owned()));
            answer((&app, peer, &own), (place, name.as_deref(), &route), request).await
        };
        routes.route(&format!("{prefix}{path}"), any(answer))
    })
}

async fn answer(
    (app, peer, prefix): (&App, Peer, &str),
    (place, name, route): (Place, Option<&str>, &str),
    request: Request,
) -> Response {
    let snapshot = app.snapshot();
    let (Some(section), Some(lasting)) = (&snapshot.sign_in, snapshot.access.lasting().map(Arc::clone)) else {
        return nothing_here();
    };
    // Without the query, where codes stand, and by the route: somebody may have put a secret in a part of the path.
    let target = Some(format!("{} {route}", request.method()));
    let asker = Asker { door: Door::Pages, request: target, service: SERVICE.to_owned(), ..Asker::default() };
    let mut visit = Visit::new(app, &snapshot, peer, asker);
    #[expect(clippy::disallowed_methods, reason = "the moment of this request")]
    let now = OffsetDateTime::now_utc();
    let mut desk = Desk { visit: &mut visit, section, lasting, prefix, now, seen: None, nav: None, back: None };
    let response = match desk.serve(place, name, request).await {
        Ok(response) => response,
        Err(problem) => {
            let shape = problem.shape();
            desk.visit.log_refusal(&shape, &problem);
            desk.problem(&problem, &shape).await
        }
    };
    with_headers(visit.with_id(response))
}

impl Desk<'_, '_> {
    async fn serve(&mut self, place: Place, name: Option<&str>, request: Request) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        self.visit.find_client(&parts.headers)?;
        if !place.takes(&parts.method) {
            let _whoever_it_is = self.signed_in(&parts.headers).await;
            return Err(Problem::Method { allow: place.methods() });
        }
        if parts.method == Method::POST {
            origin::check(&parts.headers, self.section.url.as_ref())?;
        }
        let sends = parts.method == Method::POST;
        let sent = if sends { self.form(place, &parts.headers, body).await? } else { query(&parts) };
        match (place, sends) {
            (Place::SignIn, false) => self.ways_in(&parts).await,
            (Place::SignIn, true) => match self.by_password(&sent).await {
                Ok(signed_in) => Ok(self.onward(&parts.headers, signed_in)),
                Err(problem) => self.sign_in_again(&sent, problem),
            },
            (Place::Provider(section), _) => {
                let signed_in = self.provider((section, name), &parts).await?;
                Ok(self.onward(&parts.headers, signed_in))
            }
            (Place::Device | Place::AnswerDevice, _) if self.section.url.is_none() => Err(Problem::Nothing),
            (Place::Device, _) => self.device(&parts.headers, &sent).await,
            (Place::AnswerDevice, _) => self.answer_device(&parts.headers, &sent).await,
            (Place::Account, _) => self.account(&parts, &sent).await,
            (Place::MakePassword, _) => self.make_password(&parts.headers, &sent).await,
            (Place::RevokePassword, _) => self.revoke_password(&parts.headers, name).await,
            (Place::SignOut, _) => self.sign_out(&parts.headers).await,
            (Place::SignOutEverywhere, _) => self.sign_out_everywhere(&parts.headers).await,
            (Place::Area(area), false) => self.area(area, (&parts.headers, &sent, Turn::Shown)).await,
            (Place::Area(area), true) => self.area(area, (&parts.headers, &sent, Turn::Sent)).await,
        }
    }

    /// The form that was sent. Whoever sent one that cannot be read is told so on a page of their own.
    async fn form(&mut self, place: Place, headers: &HeaderMap, body: Body) -> Result<Form, Problem> {
        match gather(body, MAX_BODY).await {
            Ok(text) => {
                let form = Form(form_urlencoded::parse(&text).into_owned().collect());
                self.back = place.back(self.prefix, &form);
                Ok(form)
            }
            Err(cause) => {
                let _whoever_it_is = self.signed_in(headers).await;
                Err(cause.into())
            }
        }
    }

    /// The page that tells a problem, to whoever has signed in.
    async fn problem(&mut self, problem: &Problem, shape: &Shape) -> Response {
        let nav = match (self.nav.take(), &self.seen) {
            (Some(nav), _) => nav,
            (None, Some((_, Some(who)))) => self.nav_of(who).await,
            (None, Some((_, None)) | None) => Vec::new(),
        };
        let account = self.seen.as_ref().map(|(account, _)| account.as_str());
        let frame = Frame { nav, ..Frame::of(self.prefix, account) };
        frame::problem_page(&frame, (problem, shape), self.back.take(), self.visit.id.as_str())
    }

    /// The way to another page of ours, with what the browser is to keep.
    fn to(&self, path: &str, cookies: &[String]) -> Response {
        let mut response = see_other(&format!("{}{path}", self.prefix));
        let headers = response.headers_mut();
        for cookie in cookies.iter().filter_map(|cookie| HeaderValue::from_str(cookie).ok()) {
            headers.append(SET_COOKIE, cookie);
        }
        response
    }
}

/// Sends the browser on.
fn see_other(place: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(LOCATION, place);
    }
    response
}

/// Of a longer form, in bytes, no page is made: what was typed is written longer there, and a page has a size.
const MOST_SHOWN_AGAIN: usize = 4 * 1024;

/// The fields of a form; of two of one name, neither.
struct Form(Vec<(String, String)>);

impl Form {
    fn field(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter().filter(|(own, _)| own == name);
        let (Some((_, value)), None) = (all.next(), all.next()) else { return None };
        Some(value)
    }

    /// Whether there is a field of this name, whatever it says.
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }

    /// Whether it may be shown once more: each field stands there once, it is short, and a secret is in none, which would be read by whoever
    /// looks at the screen.
    fn comes_back(&self) -> bool {
        let is_secret = |text: &str| LastingSecret::read(text.trim()).is_ours();
        self.0.iter().map(|(_, text)| text.len()).sum::<usize>() <= MOST_SHOWN_AGAIN
            && !self.0.iter().any(|(name, text)| self.field(name).is_none() || is_secret(text))
    }
}

/// The parameters of a request's address; of two of one name, neither.
fn query(parts: &Parts) -> Form {
    Form(form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect())
}

/// The cookies that a browser sent, each with its name, the oldest first as browsers send them.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(axum::http::header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

/// The cookie of a name, where there is exactly one.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut found = cookies(headers).filter(|(own, _)| *own == name);
    let (Some((_, value)), None) = (found.next(), found.next()) else { return None };
    Some(value)
}

/// A cookie for this browser, our host and nothing else. Below a prefix, another program may have the rest of the host, and does not
/// get it sent.
fn set_cookie(prefix: &str, name: &str, value: &str, seconds: u64) -> String {
    let path = if prefix.is_empty() { "/" } else { prefix };
    format!("{}={value}; Path={path}; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax", cookie_name(prefix, name))
}

fn cookie_name(prefix: &str, name: &str) -> String {
    // `__Host-` stands for the whole host.
    let begin = if prefix.is_empty() { "__Host-" } else { "__Secure-" };
    format!("{begin}dockwarden-{name}")
}
