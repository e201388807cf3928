//! Signing in: the ways in, a provider and back, and by a password that somebody has with us.

use std::borrow::Cow;

use askama::Template;
use axum::http::header::{LOCATION, RETRY_AFTER, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use time::OffsetDateTime;
use tracing::info;

use super::flow::{self, Flow};
use super::frame::{Frame, Problem, page};
use super::{Desk, Form, query};
use crate::access::Denied;
use crate::authn::{Credentials, Method};
use crate::backend::sign_in::{Answer, Flow as Asked, NotSignedIn, SignIn, SignedIn};
use crate::digest::sha256;
use crate::http::credentials;
use crate::http::visit::Visit;
use crate::identity::Kind;
use crate::records::Presented;
use crate::secret::Secret;
use crate::secret::lasting::LastingSecret;
use crate::secrets::Lasting;

/// How much longer than a sign-in lasts its end is remembered, by any replica's clock.
const CLOCKS_APART: time::Duration = time::Duration::minutes(5);
/// What somebody is told whose password is for docker alone.
const NO_SECRET: &str = "this is a docker password; sign in by the password of your account, or at your provider";
/// The longest error code of a provider that is shown.
const LONGEST_CODE: usize = 64;
/// Of an account that was not let in, so much comes back in the form, in bytes.
const LONGEST_SHOWN: usize = 1024;

#[derive(Template)]
#[template(path = "sign-in.html")]
struct SignInPage<'page> {
    frame: &'page Frame<'page>,
    ways: Vec<Link>,
    /// What is wrong with the form that was sent, and the account that stood in it.
    told: Option<&'page str>,
    account: &'page str,
}

/// A way in by a provider.
struct Link {
    path: String,
    title: String,
}

impl Desk<'_, '_> {
    /// The ways in.
    pub(super) async fn ways_in(&mut self, parts: &Parts) -> Result<Response, Problem> {
        if self.signed_in(&parts.headers).await.is_ok() {
            return Ok(self.to("/account", &[]));
        }
        Ok(self.sign_in_page(StatusCode::OK, (None, "")))
    }

    fn sign_in_page(&self, status: StatusCode, (told, account): (Option<&str>, &str)) -> Response {
        let of_section = |(section, people): &(&'static str, std::sync::Arc<dyn SignIn>)| {
            let link = |way: crate::backend::sign_in::Way| Link {
                path: match &way.name {
                    Some(name) => format!("{section}/{}", utf8_percent_encode(name, NON_ALPHANUMERIC)),
                    None => (*section).to_owned(),
                },
                title: way.title,
            };
            people.ways().into_iter().map(link).collect::<Vec<_>>()
        };
        let ways = self.visit.snapshot.access.sign_ins().iter().flat_map(of_section).collect();
        page(status, &SignInPage { frame: &Frame::of(self.prefix, None), ways, told, account })
    }

    /// The form once more, with the account that was typed and what is wrong.
    ///
    /// # Errors
    /// The problem is not about what was typed.
    pub(super) fn sign_in_again(&self, form: &Form, problem: Problem) -> Result<Response, Problem> {
        let shape = problem.shape();
        if !problem.is_of_what_was_typed(&shape) {
            return Err(problem);
        }
        self.visit.log_refusal(&shape, &problem);
        let account = form.field("account").unwrap_or_default();
        // A secret stands there in the wrong place, where everybody would read it.
        let comes_back = account.len() <= LONGEST_SHOWN && !LastingSecret::read(account).is_ours();
        let account = if comes_back { account } else { "" };
        let mut response = self.sign_in_page(shape.status, (Some(&shape.message), account));
        if let Some(seconds) = shape.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        Ok(response)
    }

    /// Sends a browser to a provider, or takes it back.
    pub(super) async fn provider(
        &mut self,
        (section, name): (&'static str, Option<&str>),
        parts: &Parts,
    ) -> Result<Response, Problem> {
        let sign_ins = self.visit.snapshot.access.sign_ins();
        let (_, people) = sign_ins.iter().find(|(own, _)| *own == section).ok_or(Problem::Nothing)?;
        let asked = query(parts);
        match (asked.field("code"), asked.field("error")) {
            (None, None) if asked.0.iter().any(|(key, _)| key == "code" || key == "error" || key == "state") => {
                Err(Problem::Flow("the address is not one that a provider sends people to".into()))
            }
            (None, None) => self.begin((section, name), &**people, &parts.headers).await,
            (code, error) => {
                let flow = self.flow((section, name), &asked, parts)?;
                let ended = flow.end(self.prefix);
                let finished = match (code, error) {
                    (Some(code), None) => self.finish(&flow, &**people, (code, asked.field("iss"))).await,
                    (_, error) => Err(Problem::ProviderRefused(shown_code(error.unwrap_or_default()))),
                };
                let mut response = finished?;
                if let Some(cookie) = ended.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
                    response.headers_mut().append(SET_COOKIE, cookie);
                }
                Ok(response)
            }
        }
    }

    async fn begin(
        &self,
        (section, name): (&'static str, Option<&str>),
        people: &dyn SignIn,
        headers: &HeaderMap,
    ) -> Result<Response, Problem> {
        let key = &self.section.key;
        let flow = Flow::begin(section, name, self.now).map_err(|cause| Problem::Unavailable(cause.into()))?;
        let (nonce, verifier) = (flow.nonce(key), flow.verifier(key));
        let asked = Asked { state: &flow.state, nonce: &nonce, verifier: &verifier };
        let address = people.begin(name, &asked).await.map_err(Problem::Unavailable)?.ok_or(Problem::Nothing)?;
        let cookie = flow.cookie(self.prefix, key).ok_or(Problem::Nothing)?;
        let mut response = StatusCode::SEE_OTHER.into_response();
        let line = |text: &str| HeaderValue::from_str(text).map_err(|cause| Problem::Unavailable(cause.into()));
        response.headers_mut().insert(LOCATION, line(address.as_str())?);
        for cookie in Flow::make_room(headers, (self.prefix, key)).iter().chain([&cookie]) {
            response.headers_mut().append(SET_COOKIE, line(cookie)?);
        }
        Ok(response)
    }

    /// The flow that this browser began and comes back from.
    fn flow(
        &self,
        (section, name): (&'static str, Option<&str>),
        asked: &Form,
        parts: &Parts,
    ) -> Result<Flow, Problem> {
        let begun = asked
            .field("state")
            .and_then(|state| Flow::of(&parts.headers, (self.prefix, &self.section.key), state, self.now))
            .filter(|flow| flow.section == section && flow.way.as_deref() == name);
        begun.ok_or(Problem::Flow(Cow::Borrowed(
            "it was not begun in this browser, or more than 10 minutes ago; begin once more",
        )))
    }

    async fn finish(
        &mut self,
        flow: &Flow,
        people: &dyn SignIn,
        (code, issuer): (&str, Option<&str>),
    ) -> Result<Response, Problem> {
        let client = self.visit.whose_turn();
        // Anybody can begin a sign-in and bring a code of their own making, which costs the records and the provider a question.
        let attempts = self.visit.snapshot.access.attempts();
        let attempt = attempts.begin_return(&flow.state, client.network).map_err(Problem::TooManyReturns)?;
        self.use_up(("flow", &flow.state), time::Duration::seconds(flow::LONGEST)).await?;
        let key = &self.section.key;
        let (nonce, verifier) = (flow.nonce(key), flow.verifier(key));
        let asked = Asked { state: &flow.state, nonce: &nonce, verifier: &verifier };
        let (code, way) = (Secret::new(code), flow.way.as_deref());
        let found = people.finish(way, &asked, &Answer { code: &code, issuer, client }, self.now).await;
        let SignedIn { account, mark } = match found.map_err(Problem::Unavailable)? {
            Ok(signed_in) => signed_in,
            Err(NotSignedIn::Wrong(why)) => {
                attempt.was_wrong();
                return Err(Problem::Flow(why.into()));
            }
            Err(NotSignedIn::Refused(why)) => return Err(Problem::Refused(why)),
        };
        self.visit.asker.account = account.to_string();
        let cookie = self.begin_session((&account, &flow.section, Some(mark))).await?;
        self.visit.snapshot.access.signed_in(&account, self.now);
        info!(
            decision.id = self.visit.id.as_str(),
            user.account = account.as_str(),
            user.backend = flow.section.as_str(),
            "somebody signed in"
        );
        Ok(self.to("/account", &[cookie]))
    }

    /// Takes note that something was used that may be used once, on every replica, until it is over by itself.
    ///
    /// # Errors
    /// It was used before, or nobody can tell.
    pub(super) async fn use_up(&self, used: (&str, &str), life: time::Duration) -> Result<(), Problem> {
        use_up(self.visit, &self.lasting, used, life, self.now).await
    }

    /// By which the records know something that may be used once.
    pub(super) fn used_up((what, text): (&str, &str)) -> [u8; 32] {
        sha256([what, text])
    }

    /// Lets somebody in by a password that they have with us. Secrets are none: one that could make others would have no end.
    pub(super) async fn by_password(&mut self, form: &Form) -> Result<Response, Problem> {
        let (account, password) =
            (form.field("account").unwrap_or_default(), form.field("password").unwrap_or_default());
        for (typed, field, wanted) in [
            (account.trim(), "Account", "type the name that you log in with"),
            (password, "Password", "type the password of this account"),
        ] {
            if typed.is_empty() {
                return Err(Problem::Field { field, wanted });
            }
        }
        let who = credentials::from_pair(account, password).map_err(|_| Problem::WrongPassword(None))?;
        match &who {
            Credentials::Password { .. } => {}
            // Whether it is one that lives is not looked up.
            Credentials::Secret { .. } => return Err(Problem::Refused(NO_SECRET.to_owned())),
            Credentials::Anonymous | Credentials::Workload { .. } => return Err(Problem::WrongPassword(None)),
        }
        self.visit.presents(&who);
        let found = self.visit.decide(&who, Vec::new(), self.now).await;
        let (identity, _) = found.map_err(|denied| match denied {
            Denied::Credentials | Denied::OtherIssuer { .. } | Denied::Closed(_) | Denied::NameTaken { .. } => {
                Problem::WrongPassword(Some(denied))
            }
            denied => Problem::Denied(denied),
        })?;
        let account = identity.account.ok_or(Problem::WrongPassword(None))?;
        match identity.kind {
            Kind::Account => {}
            Kind::Service => {
                let told = "a service has no pages; whoever manages it makes its secrets";
                return Err(Problem::Refused(told.to_owned()));
            }
        }
        // One that could make others would have no end.
        if identity.by.as_ref().is_some_and(|by| by.method == Method::OldPassword) {
            return Err(Problem::Refused(NO_SECRET.to_owned()));
        }
        let backend = identity.by.map(|by| by.backend).unwrap_or_default();
        let cookie = match self.begin_session((&account, backend, identity.mark)).await {
            Err(Problem::SignedOut) => {
                return Err(Problem::Refused(
                    "your account is kept where only a password tells who somebody is, and can have no others"
                        .to_owned(),
                ));
            }
            cookie => cookie?,
        };
        Ok(self.to("/account", &[cookie]))
    }
}

/// A provider's code of an error, as far as it is one (RFC 6749, section 4.1.2.1): whoever sends somebody here writes it.
fn shown_code(code: &str) -> String {
    code.chars().filter(|letter| !letter.is_control()).take(LONGEST_CODE).collect()
}

/// Takes note that something was used that may be used once, as [`Desk::use_up`] does.
pub(super) async fn use_up(
    visit: &Visit<'_>,
    lasting: &Lasting,
    used: (&str, &str),
    life: time::Duration,
    now: OffsetDateTime,
) -> Result<(), Problem> {
    let over = now.saturating_add(life).saturating_add(CLOCKS_APART);
    match lasting.use_up((&Desk::used_up(used), over), visit.whose_turn(), now).await.map_err(Problem::Unavailable)? {
        Presented::First => Ok(()),
        Presented::Again => Err(Problem::Flow(Cow::Borrowed("it was finished already; begin once more"))),
    }
}
