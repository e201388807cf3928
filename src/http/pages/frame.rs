//! What surrounds a page: its layout, its headers, and how a problem is told.

use std::borrow::Cow;

use askama::Template;
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::STYLE_PATH;
use super::sheet::Link;
use crate::access::Denied;
use crate::authn::attempts::TooMany;
use crate::client_address::NoAddress;
use crate::decision_log::Fault;
use crate::directory::changing::NotChanged;
use crate::http::api::{MAX_BODY, Refused, shape_of};
use crate::http::body::NotRead;
use crate::http::shape::{self, NOT_NOW, NOTHING_HERE, Shape};
use crate::management::NotDone;
use crate::secrets::NotMade;

/// The headers of every page. Nothing is loaded or run but our own style; nobody shows the page inside theirs, keeps it, and no
/// other site learns where somebody comes from, since addresses have codes in them. Our own does: without a referrer, browsers send
/// our forms with `Origin: null`.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "same-origin"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// What every page shows around its own.
pub(super) struct Frame<'page> {
    /// What stands before every path of ours.
    pub(super) prefix: &'page str,
    pub(super) style: &'static str,
    /// Who has signed in.
    pub(super) account: Option<&'page str>,
    /// The ways to what they may see.
    pub(super) nav: Vec<Link>,
    /// The first part of the page's path, without the prefix.
    pub(super) here: &'static str,
}

impl<'page> Frame<'page> {
    pub(super) fn of(prefix: &'page str, account: Option<&'page str>) -> Frame<'page> {
        Frame { prefix, style: STYLE_PATH, account, nav: Vec::new(), here: "" }
    }

    /// Whether a way of `nav` leads to where the page is.
    pub(super) fn is_here(&self, link: &Link) -> bool {
        link.href.strip_prefix(self.prefix) == Some(self.here)
    }
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// Another site sent the form.
    #[error("the form was not sent by a page of this server")]
    OtherSite,
    /// A field of the form cannot be read: which, as the form calls it, and what to write there.
    #[error("{field}: {wanted}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is read there.
        wanted: &'static str,
    },
    /// The form is too long.
    #[error("the form is longer than {} KiB, which is the most that is taken", MAX_BODY / 1024)]
    TooLong,
    /// The form did not arrive in time.
    #[error("the form did not arrive in time; send it again")]
    TooSlow,
    /// The form broke off.
    #[error("the form broke off before its end; send it again")]
    BrokenOff,
    /// There is no such page, or what it is about is not there.
    #[error("there is nothing at this address")]
    Nothing,
    /// The address of the client cannot be told.
    #[error(transparent)]
    NoAddress(#[from] NoAddress),
    /// Another method.
    #[error("this method does nothing here")]
    Method {
        /// Those that do.
        allow: &'static str,
    },
    /// A browser comes back that nobody sent: why.
    #[error("the sign-in cannot be finished: {0}")]
    Flow(Cow<'static, str>),
    /// Too many codes from one network that no provider had given.
    #[error("too many sign-ins from your network could not be finished; wait a while, and begin once more")]
    TooManyReturns(TooMany),
    /// The provider refused; its code, as far as it is one.
    #[error("the provider did not sign this person in ({0})")]
    ProviderRefused(String),
    /// The provider knows them, and they may not come in.
    #[error("{0}")]
    Refused(String),
    /// Nobody, or not who it was when they signed in.
    #[error("nobody has signed in, or not any more")]
    SignedOut,
    /// The account or the password is wrong.
    #[error("the account or the password is wrong")]
    WrongPassword(#[source] Option<Denied>),
    /// Refused, or a backend could not tell.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The form that makes a secret was sent once more: the first one made it.
    #[error(
        "this form was sent twice, and the {what} was made the first time; it is shown only once: if you have not seen it, {mend}"
    )]
    MadeAlready {
        /// What the page calls it.
        what: &'static str,
        /// What is done if nobody has seen it.
        mend: &'static str,
        /// Where the list is, for whoever may see it and is not there.
        list: Option<String>,
    },
    /// No password was made, or none revoked.
    #[error(transparent)]
    NotMade(#[from] NotMade),
    /// Nothing of what is managed was done.
    #[error(transparent)]
    NotDone(#[from] NotDone),
    /// What the API refuses.
    #[error(transparent)]
    Asked(#[from] Refused),
    /// It could not be found out.
    #[error("{0:#}")]
    Unavailable(anyhow::Error),
}

impl From<NotRead> for Problem {
    fn from(cause: NotRead) -> Problem {
        match cause {
            NotRead::TooLong => Problem::TooLong,
            NotRead::TooSlow => Problem::TooSlow,
            NotRead::Ended => Problem::BrokenOff,
        }
    }
}

impl Problem {
    /// What people, the log and the metrics are told.
    pub(super) fn shape(&self) -> Shape {
        let bad = |status, reason| Shape::new(status, "UNSUPPORTED", self.to_string(), reason, Fault::Client);
        match self {
            Problem::OtherSite => bad(StatusCode::FORBIDDEN, "other_site"),
            Problem::Field { .. } => bad(StatusCode::BAD_REQUEST, "bad_request"),
            Problem::TooLong => bad(StatusCode::PAYLOAD_TOO_LARGE, "too_long"),
            Problem::TooSlow => bad(StatusCode::REQUEST_TIMEOUT, "too_slow"),
            Problem::BrokenOff => bad(StatusCode::BAD_REQUEST, "bad_request"),
            Problem::NoAddress(_) => bad(StatusCode::BAD_REQUEST, "no_client_address"),
            Problem::Nothing => Shape { code: "NOT_FOUND", ..bad(StatusCode::NOT_FOUND, "not_found") },
            Problem::Method { allow } => {
                Shape { allow: Some(allow), ..bad(StatusCode::METHOD_NOT_ALLOWED, "bad_request") }
            }
            Problem::Flow(_) => bad(StatusCode::BAD_REQUEST, "sign_in_failed"),
            Problem::TooManyReturns(too_many) => {
                let denied = shape::denied(&Denied::TooMany(*too_many), Fault::Client);
                Shape { message: self.to_string().into(), ..denied }
            }
            Problem::ProviderRefused(_) => bad(StatusCode::BAD_REQUEST, "sign_in_failed"),
            Problem::Refused(_) => bad(StatusCode::FORBIDDEN, "sign_in_refused"),
            Problem::SignedOut => bad(StatusCode::UNAUTHORIZED, "login_needed"),
            Problem::WrongPassword(_) => bad(StatusCode::UNAUTHORIZED, "wrong_credentials"),
            Problem::Denied(denied) => shape::denied(denied, Fault::Client),
            // As for the form that renews one, and is sent once more.
            Problem::MadeAlready { .. } => bad(StatusCode::PRECONDITION_FAILED, "secret_conflict"),
            Problem::NotMade(NotMade::Records(_) | NotMade::NoRandomBytes) => {
                Shape::unavailable("unavailable", Fault::Ours)
            }
            Problem::NotMade(NotMade::TooMany) => bad(StatusCode::CONFLICT, "secret_not_made"),
            Problem::NotMade(_) => bad(StatusCode::BAD_REQUEST, "secret_not_made"),
            // What somebody has no right to is not there.
            Problem::NotDone(NotDone::NotGranted { .. }) | Problem::Asked(Refused::NotGranted { .. }) => {
                let message = NOTHING_HERE.into();
                Shape { code: "NOT_FOUND", message, ..bad(StatusCode::NOT_FOUND, "not_granted") }
            }
            Problem::NotDone(not_done) => match of_versions(not_done) {
                Some(told) => Shape { message: told.into(), ..shape_of(not_done) },
                None => shape_of(not_done),
            },
            Problem::Asked(refused) => refused.shape(),
            Problem::Unavailable(_) => Shape::unavailable("unavailable", Fault::Ours),
        }
    }

    /// Whether it is about what was typed, and so said beside the form, where that is mended. What is not there has no form; and one that
    /// was made for another version, or did its work before, is not to be sent as it was.
    pub(super) fn is_of_what_was_typed(&self, shape: &Shape) -> bool {
        let is_over = match self {
            Problem::NotDone(not_done) => of_versions(not_done).is_some(),
            Problem::MadeAlready { .. } => true,
            Problem::OtherSite
            | Problem::Field { .. }
            | Problem::TooLong
            | Problem::TooSlow
            | Problem::BrokenOff
            | Problem::Nothing
            | Problem::NoAddress(_)
            | Problem::Method { .. }
            | Problem::Flow(_)
            | Problem::TooManyReturns(_)
            | Problem::ProviderRefused(_)
            | Problem::Refused(_)
            | Problem::SignedOut
            | Problem::WrongPassword(_)
            | Problem::Denied(_)
            | Problem::NotMade(_)
            | Problem::Asked(_)
            | Problem::Unavailable(_) => false,
        };
        !is_over && shape.status.is_client_error() && shape.status != StatusCode::NOT_FOUND
    }
}

/// What somebody is told whose form was made for another version: the API's words are about headers.
fn of_versions(not_done: &NotDone) -> Option<&'static str> {
    if matches!(not_done, NotDone::Changed | NotDone::NotChanged(NotChanged::Conflict)) {
        Some(
            "somebody else changed it after your form was shown, and nothing of yours was saved; see what it is now, and change that",
        )
    } else if matches!(not_done, NotDone::NoVersion) {
        Some("the form does not say what it was made for, and nothing was saved; open it once more")
    } else {
        None
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'page> {
    frame: &'page Frame<'page>,
    title: &'static str,
    message: &'page str,
    id: &'page str,
    /// The way to the form that was sent.
    back: Option<Link>,
}

/// The page that tells a problem.
pub(super) fn problem_page(
    frame: &Frame<'_>,
    (problem, shape): (&Problem, &Shape),
    back: Option<String>,
    id: &str,
) -> Response {
    let is_stale = matches!(problem, Problem::NotDone(not_done) if of_versions(not_done).is_some());
    let words = if is_stale { "See it as it is now" } else { "Back to the form" };
    // What is not there has no form.
    let back = back.filter(|_| shape.status != StatusCode::NOT_FOUND);
    let list = if let Problem::MadeAlready { list, .. } = problem { list.clone() } else { None };
    let back = list.map(|href| (href, "See the list")).or_else(|| back.map(|href| (href, words)));
    let back = back.map(|(href, words)| Link { href, title: words.to_owned() });
    let title = match problem {
        Problem::SignedOut => "Sign in",
        Problem::Refused(_) => "You may not sign in",
        Problem::Flow(_) | Problem::TooManyReturns(_) | Problem::ProviderRefused(_) | Problem::WrongPassword(_) => {
            "Not signed in"
        }
        Problem::Unavailable(_) => "Not now",
        Problem::OtherSite
        | Problem::Field { .. }
        | Problem::TooLong
        | Problem::TooSlow
        | Problem::BrokenOff
        | Problem::NoAddress(_)
        | Problem::Method { .. }
        | Problem::Denied(_)
        | Problem::MadeAlready { .. }
        | Problem::NotMade(_) => "This did not work",
        Problem::NotDone(NotDone::Missing | NotDone::NotGranted { .. })
        | Problem::Asked(Refused::NotFound | Refused::NotGranted { .. }) => "Nothing here",
        Problem::NotDone(_) | Problem::Asked(_) => "This did not work",
        Problem::Nothing => "Nothing here",
    };
    let mut response = page(shape.status, &ProblemPage { frame, title, message: &shape.message, id, back });
    let headers = response.headers_mut();
    if let Some(methods) = shape.allow {
        headers.insert(ALLOW, HeaderValue::from_static(methods));
    }
    if let Some(seconds) = shape.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A page.
pub(super) fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(text) => {
            (status, [(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))], text).into_response()
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, NOT_NOW).into_response(),
    }
}

/// The same with the headers of all pages.
pub(super) fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
