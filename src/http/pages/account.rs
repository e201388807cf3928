//! My account: docker passwords by machine and end, shown once, listed with their last use, and revoked.

use std::time::Duration;

use askama::Template;
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use tracing::info;

use super::frame::{Frame, Problem, page};
use super::once::{self, ANOTHER, ONCE};
use super::session::SignedIn;
use super::sheet::{Cell, Link, day, fitting, minute};
use super::{Desk, Form, cookie, cookie_name, set_cookie};
use crate::app::Snapshot;
use crate::http::api::id_from;
use crate::identity::{Identity, LookUp};
use crate::records::{Kept, Limits, SecretId, SecretKind};
use crate::secrets::{DAY, Expires, New, NotMade, Settings, is_of, pull_only};
use crate::shell::quoted;
use crate::sign_in::Section;

/// The cookie that brings a new password over to the page that shows it.
const NEW: &str = "new";
/// How long it may take there, in seconds.
const NEW_LIFE: u64 = 60;
/// The ends that may be chosen, in days, and which is at first.
const ENDS: [(u32, &str); 4] = [(7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "1 year")];
pub(super) const USUAL_END: u32 = 90;
/// How many passwords are shown at once, and in how many bytes.
const PAGE: usize = 50;
const BYTES: usize = 40_000;
/// What surrounds the name and the id of a password in its row's form.
const REVOKE: &str =
    "<td><form method=post action=/account/passwords//revoke><button aria-label=Revoke >Revoke</button></form></td>";

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'page> {
    frame: &'page Frame<'page>,
    new: Option<NewPassword>,
    passwords: Vec<Row>,
    /// Where the next page of them is.
    next: Option<String>,
    ends: Vec<(u32, String)>,
    /// What is wrong with the form that was sent.
    told: Option<&'page str>,
    form: NewForm,
}

/// What stands in the form that makes a password.
struct NewForm {
    once: String,
    name: String,
    days: u32,
    pulls: bool,
}

/// A form that was sent and did not bring a password: what is told of it, with which status, and what comes back of it.
struct SentBack<'form> {
    status: StatusCode,
    told: &'form str,
    typed: Option<&'form Form>,
}

/// The end that is chosen at first, in days.
pub(super) fn usual_end(settings: &Settings) -> u32 {
    USUAL_END.min(settings.most_days())
}

/// The ends that may be chosen: those of the usual ones that a secret may live to, and the last that it may, if that comes before.
fn ends(settings: &Settings) -> Vec<(u32, String)> {
    let most = settings.most_days();
    let mut ends: Vec<_> =
        ENDS.into_iter().filter(|(days, _)| *days <= most).map(|(days, said)| (days, said.to_owned())).collect();
    let is_last = ENDS.into_iter().all(|(days, _)| days != most) && ENDS.into_iter().any(|(days, _)| days > most);
    if is_last {
        ends.push((most, if most == 1 { "1 day".to_owned() } else { format!("{most} days") }));
    }
    ends
}

/// A password that is shown once.
struct NewPassword {
    password: String,
    command: String,
}

/// A password in the list.
struct Row {
    id: String,
    name: String,
    last4: String,
    made: String,
    ends: String,
    used: String,
    pulls: bool,
}

impl Row {
    /// What it takes of a page.
    fn cells(&self, prefix: &str) -> Vec<Cell> {
        let Row { id, name, last4, made, ends, used, pulls: _ } = self;
        // The button of a row has its name once more.
        let revoke = Link { href: format!("{prefix}{id}"), title: format!("{REVOKE}{name}") };
        let texts = [name, last4, made, ends, used].map(Cell::text);
        texts.into_iter().chain([Cell::Link(revoke)]).collect()
    }
}

impl Desk<'_, '_> {
    /// Shows the account, and of its passwords those that are asked for.
    pub(super) async fn account(&mut self, parts: &Parts, asked: &Form) -> Result<Response, Problem> {
        let headers = &parts.headers;
        let Some(signed_in) = self.or_sign_in(headers).await? else {
            return Ok(self.to("/sign-in", &[]));
        };
        // Who asks for the head alone would never see it.
        let sealed = cookie(headers, &cookie_name(self.prefix, NEW)).filter(|_| parts.method != Method::HEAD);
        let after = asked.field("after").map(|text| id_from(text).ok_or(Problem::Nothing)).transpose()?;
        self.account_page(signed_in, (sealed, after.as_ref()), None).await
    }

    /// The page, with the password that was just made in this browser, or with a form that was sent back.
    async fn account_page(
        &mut self,
        SignedIn { account, who, renewed }: SignedIn,
        (sealed, after): (Option<&str>, Option<&SecretId>),
        back: Option<SentBack<'_>>,
    ) -> Result<Response, Problem> {
        let new = match sealed {
            Some(sealed) => self.new_password(&account, sealed).await?,
            None => None,
        };
        let (passwords, next) = self.passwords(&who, after).await?;
        let frame = Frame { nav: self.nav_of(&who).await, here: "/account", ..Frame::of(self.prefix, Some(&account)) };
        let settings = self.lasting.settings();
        let typed = back.as_ref().and_then(|back| back.typed);
        let said = |name| typed.and_then(|form| form.field(name));
        let form = NewForm {
            once: once::fresh()?,
            name: said("name").unwrap_or_default().to_owned(),
            days: said("days").and_then(|days| days.parse().ok()).unwrap_or_else(|| usual_end(settings)),
            pulls: said("pull_only").is_some(),
        };
        let (status, told) = back.as_ref().map_or((StatusCode::OK, None), |back| (back.status, Some(back.told)));
        let ends = ends(settings);
        let shown = AccountPage { frame: &frame, new, passwords, next, ends, told, form };
        let mut response = page(status, &shown);
        let gone = sealed.map(|_| set_cookie(self.prefix, NEW, "", 0));
        for line in [renewed, gone].into_iter().flatten() {
            if let Ok(line) = HeaderValue::from_str(&line) {
                response.headers_mut().append(SET_COOKIE, line);
            }
        }
        Ok(response)
    }

    /// The account's passwords that are good, behind an id, and where the next page of them is.
    async fn passwords(
        &self,
        owner: &Identity,
        after: Option<&SecretId>,
    ) -> Result<(Vec<Row>, Option<String>), Problem> {
        // One more, to know whether there is a next page.
        let found = self.lasting.living_personal(owner, (after, PAGE.saturating_add(1)), self.now).await;
        let found = found.map_err(|cause| Problem::Unavailable(cause.into()))?;
        let mut rows: Vec<Row> = found.iter().take(PAGE).map(row).collect();
        rows.truncate(fitting(rows.iter().map(|row| row.cells(self.prefix)), BYTES).len());
        let last = if rows.len() < found.len() { rows.last() } else { None };
        let next = last.map(|last| format!("{}/account?after={}", self.prefix, last.id));
        Ok((rows, next))
    }

    /// The password that was just made in this browser, once.
    async fn new_password(&self, account: &str, sealed: &str) -> Result<Option<NewPassword>, Problem> {
        let Ok(password) = self.section.key.open(account, sealed) else { return Ok(None) };
        let life = time::Duration::seconds(i64::try_from(NEW_LIFE).unwrap_or(i64::MAX));
        match self.use_up((NEW, sealed), life).await {
            Ok(()) => {}
            Err(Problem::Flow(_)) => return Ok(None),
            Err(problem) => return Err(problem),
        }
        let command = login_line(account, registry(self.visit.snapshot, self.section).as_deref());
        Ok(Some(NewPassword { password: password.reveal().to_owned(), command }))
    }

    /// Makes a password, and sends the browser where it is shown. What is wrong with the form is said beside it.
    pub(super) async fn make_password(&mut self, headers: &HeaderMap, form: &Form) -> Result<Response, Problem> {
        let Some(signed_in) = self.or_sign_in(headers).await? else {
            return Ok(self.to("/sign-in", &[]));
        };
        let problem = match self.made_password(&signed_in, form).await {
            Ok(response) => return Ok(response),
            Err(problem) => problem,
        };
        let shape = problem.shape();
        let typed = (problem.is_of_what_was_typed(&shape) && form.comes_back()).then_some(form);
        if typed.is_none() && !matches!(problem, Problem::MadeAlready { .. }) {
            return Err(problem);
        }
        let back = SentBack { status: shape.status, told: &shape.message, typed };
        match self.account_page(signed_in, (None, None), Some(back)).await {
            Ok(response) => {
                self.visit.log_refusal(&shape, &problem);
                Ok(response)
            }
            Err(_) => Err(problem),
        }
    }

    async fn made_password(&self, SignedIn { account, who, .. }: &SignedIn, form: &Form) -> Result<Response, Problem> {
        let days: Option<u32> = form.field("days").and_then(|days| days.parse().ok());
        let settings = self.lasting.settings();
        let days = days.filter(|days| ends(settings).iter().any(|(own, _)| own == days));
        let days = days.ok_or(Problem::Field { field: "Good for", wanted: "choose one of those that the form has" })?;
        let life = Duration::from_secs(u64::from(days).saturating_mul(DAY));
        let new = New {
            name: form.field("name").unwrap_or_default().trim().to_owned(),
            expires: Some(Expires::In(settings.longest.map_or(life, |longest| longest.min(life)))),
            limits: form.field("pull_only").map_or_else(Limits::default, |_| pull_only()),
            maker: Some(account.clone()),
        };
        let once = ("make", form.field(ONCE));
        let was_sent = once::was_sent(self.visit, &self.lasting, once, self.now).await?;
        // One that brought nothing the first time may be sent again as it is.
        let made = match self.lasting.make_personal(LookUp::Known(who.clone()), new, self.now).await {
            Err(NotMade::NameTaken | NotMade::TooMany) if was_sent => {
                return Err(Problem::MadeAlready { what: "password", mend: ANOTHER, list: None });
            }
            made => made?,
        };
        info!(
            decision.id = self.visit.id.as_str(),
            user.account = account.as_str(),
            secret.id = &*made.kept.id.0,
            "a docker password was made"
        );
        let password = crate::secret::Secret::new(made.secret.reveal());
        let sealed = self.section.key.seal(account, &password).map_err(|cause| Problem::Unavailable(cause.into()))?;
        Ok(self.to("/account", &[set_cookie(self.prefix, NEW, &sealed, NEW_LIFE)]))
    }

    /// Ends one of one's own passwords. Of what is somebody else's, nobody learns that it is there.
    pub(super) async fn revoke_password(&mut self, headers: &HeaderMap, id: Option<&str>) -> Result<Response, Problem> {
        let Some(SignedIn { account, who, .. }) = self.or_sign_in(headers).await? else {
            return Ok(self.to("/sign-in", &[]));
        };
        let id = id.and_then(id_from).ok_or(Problem::Nothing)?;
        let found = self.lasting.shown(&id, self.now).await.map_err(|cause| Problem::Unavailable(cause.into()))?;
        let (kept, _) = found.ok_or(Problem::Nothing)?;
        if !is_of(&kept, &who) || kept.kind != SecretKind::Personal {
            return Err(Problem::Nothing);
        }
        match self.lasting.revoke(&id, self.now).await {
            Ok(()) | Err(NotMade::Missing) => {}
            Err(cause) => return Err(cause.into()),
        }
        info!(
            decision.id = self.visit.id.as_str(),
            user.account = account.as_str(),
            secret.id = &*id.0,
            "a docker password was revoked"
        );
        Ok(self.to("/account", &[]))
    }

    /// Ends everything lasting that the account has, in all browsers and on all machines.
    pub(super) async fn sign_out_everywhere(&mut self, headers: &HeaderMap) -> Result<Response, Problem> {
        let Some(SignedIn { account, .. }) = self.or_sign_in(headers).await? else {
            return Ok(self.to("/sign-in", &[]));
        };
        self.lasting.sign_out(&account, self.now).await.map_err(|cause| Problem::Unavailable(cause.into()))?;
        info!(decision.id = self.visit.id.as_str(), user.account = account.as_str(), "somebody signed out everywhere");
        Ok(self.signed_out())
    }

    /// Who has signed in; `None` where nobody has.
    pub(super) async fn or_sign_in(&mut self, headers: &HeaderMap) -> Result<Option<SignedIn>, Problem> {
        match self.signed_in(headers).await {
            Ok(signed_in) => Ok(Some(signed_in)),
            Err(Problem::SignedOut) => Ok(None),
            Err(problem) => Err(problem),
        }
    }
}

/// The registry that docker logs in to.
pub(in crate::http) fn registry(snapshot: &Snapshot, section: &Section) -> Option<String> {
    let of_ways =
        || snapshot.access.sign_ins().iter().flat_map(|(_, people)| people.ways()).find_map(|way| way.registry);
    section.registry.clone().or_else(of_ways).or_else(|| snapshot.services.first().cloned())
}

fn row(kept: &Kept) -> Row {
    let used = |used: &crate::records::Use| {
        let at = minute(used.at);
        let from = used.network.map(|network| format!(", {network}")).unwrap_or_default();
        format!("{at}{from}")
    };
    Row {
        id: kept.id.0.to_string(),
        name: kept.name.clone(),
        last4: kept.last4.clone(),
        made: day(kept.made),
        ends: kept.ends.map_or_else(|| "never".to_owned(), day),
        used: kept.last_use.as_ref().map_or_else(|| "never".to_owned(), used),
        pulls: !kept.limits.allow.is_empty(),
    }
}

/// What somebody pastes into a shell. The password is read from where it is typed, and stands in no history.
pub(super) fn login_line(account: &str, registry: Option<&str>) -> String {
    let line = format!("docker login -u {} --password-stdin", quoted(account));
    match registry {
        Some(registry) => format!("{line} {}", quoted(registry)),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Check 16 of the reference.
    #[test]
    fn no_name_is_a_command() {
        for (account, registry, expected) in [
            ("alice", Some("r.example.org:5000"), "docker login -u alice --password-stdin r.example.org:5000"),
            ("x;id", None, "docker login -u 'x;id' --password-stdin"),
            ("`$(id)", Some("$(id)"), "docker login -u '`$(id)' --password-stdin '$(id)'"),
        ] {
            assert_eq!(login_line(account, registry), expected);
        }
    }

    #[test]
    fn the_form_has_no_end_that_would_be_refused() {
        for (hours, expected, usual) in [
            (None, &[7, 30, 90, 365][..], 90),
            (Some(30 * 24), &[7, 30], 30),
            (Some(60 * 24), &[7, 30, 60], 60),
            (Some(3 * 24), &[3], 3),
            (Some(12), &[1], 1),
            (Some(400 * 24), &[7, 30, 90, 365], 90),
        ] {
            let longest = hours.map(|hours: u64| Duration::from_secs(hours * 3600));
            let settings = Settings { longest, ..Settings::default() };
            let days: Vec<u32> = ends(&settings).into_iter().map(|(days, _)| days).collect();
            assert_eq!((days.as_slice(), usual_end(&settings)), (expected, usual), "{hours:?} hours");
        }
    }
}
