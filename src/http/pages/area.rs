//! The pages about registries, what is in them, the directory and the policy: their addresses, who is asked about, and what stands around
//! each. What is done there is what the API does, by the same rights; what somebody has no right to is not there.

use axum::http::header::SET_COOKIE;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use tracing::info;

use super::again::Again;
use super::frame::{Frame, Problem, page};
use super::members::{all_of, may_make};
use super::sheet::{Cell, Hidden, Input, Link, Search, Sending, Sheet, SheetPage, fitting};
use super::{Desk, Form};
use crate::access::Decision;
use crate::directory::rights::{ManagedAction, REGISTRIES};
use crate::http::visit::Visit;
use crate::identity::{Account, Identity};
use crate::management::{self, Counted, MemberKind, NotDone, Page, Sought};
use crate::policy_tests::PolicyAction;
use crate::records::Version;
use crate::secrets::TokenAction;
use crate::shown::printable;

/// How many entries a list shows at once, and in how many bytes: with what is around it, a page has 60 KB at most.
const PAGE: usize = 50;
const BYTES: usize = 40_000;

/// The secrets of a robot that nobody has, to find out whether somebody looks after any.
pub(super) const SOME_ROBOT: &str = "tokens/robot+any";

/// The field of a form that says which version of something it was made for.
pub(super) const VERSION: &str = "version";

/// Somewhere in here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Area {
    /// What may be pulled.
    Repositories,
    /// One of them.
    Repository,
    /// What a tag names.
    Tag,
    /// Who may pull from a repository or push to it.
    Callers,
    /// Deletes a tag, or all.
    Delete,
    /// Which registries there are.
    Registries,
    /// Declares one.
    NewRegistry,
    /// One of them.
    Registry,
    /// Has it swept.
    Sweep,
    /// Declares it no more.
    RemoveRegistry,
    /// The entries of the directory of a kind.
    Members(MemberKind),
    /// Makes one.
    NewMember(MemberKind),
    /// One of them.
    Member(MemberKind),
    /// Removes it.
    RemoveMember(MemberKind),
    /// The secrets of robots and of others.
    Secrets,
    /// Makes a robot's.
    NewSecret,
    /// One of them.
    Secret,
    /// Makes it anew.
    RenewSecret,
    /// Ends it.
    RevokeSecret,
    /// Why somebody may do something, or not.
    Why,
    /// Who may do something.
    WhoCan,
    /// How the server is.
    Overview,
    /// What was decided, by its id.
    Decision,
}

/// What is done at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// It shows.
    Shows,
    /// It takes a form.
    Takes,
    /// It shows a form, and takes it.
    Both,
}

impl Area {
    pub(super) fn all() -> impl Iterator<Item = Area> {
        let one = [
            Area::Repositories,
            Area::Repository,
            Area::Tag,
            Area::Callers,
            Area::Delete,
            Area::Registries,
            Area::NewRegistry,
            Area::Registry,
            Area::Sweep,
            Area::RemoveRegistry,
            Area::Secrets,
            Area::NewSecret,
            Area::Secret,
            Area::RenewSecret,
            Area::RevokeSecret,
            Area::Why,
            Area::WhoCan,
            Area::Overview,
            Area::Decision,
        ];
        let of_kind = |kind| [Area::Members(kind), Area::NewMember(kind), Area::Member(kind), Area::RemoveMember(kind)];
        one.into_iter().chain(MemberKind::ALL.into_iter().flat_map(of_kind))
    }

    /// Its address below the prefix, and what is done there. Names stand in the query: proxies change slashes in paths.
    pub(super) fn row(self) -> (&'static str, Does) {
        match self {
            Area::Repositories => ("/repositories", Does::Shows),
            Area::Repository => ("/repositories/one", Does::Shows),
            Area::Tag => ("/repositories/tag", Does::Shows),
            Area::Callers => ("/repositories/callers", Does::Shows),
            Area::Delete => ("/repositories/delete", Does::Both),
            Area::Registries => ("/registries", Does::Shows),
            Area::NewRegistry => ("/registries/new", Does::Both),
            Area::Registry => ("/registries/one", Does::Both),
            Area::Sweep => ("/registries/sweep", Does::Takes),
            Area::RemoveRegistry => ("/registries/remove", Does::Both),
            Area::Secrets => ("/secrets", Does::Shows),
            Area::NewSecret => ("/secrets/new", Does::Both),
            Area::Secret => ("/secrets/one", Does::Shows),
            Area::RenewSecret => ("/secrets/renew", Does::Both),
            Area::RevokeSecret => ("/secrets/revoke", Does::Both),
            Area::Why => ("/why", Does::Shows),
            Area::WhoCan => ("/why/who", Does::Shows),
            Area::Overview => ("/overview", Does::Shows),
            Area::Decision => ("/decisions", Does::Shows),
            Area::Members(kind) => (places(kind)[0], Does::Shows),
            Area::NewMember(kind) => (places(kind)[1], Does::Both),
            Area::Member(kind) => (places(kind)[2], Does::Both),
            Area::RemoveMember(kind) => (places(kind)[3], Does::Both),
        }
    }
}

impl Area {
    /// The part of the pages that it belongs to: the first of its address.
    fn part(self) -> &'static str {
        let (path, _) = self.row();
        let end = path.char_indices().skip(1).find(|(_, letter)| *letter == '/').map_or(path.len(), |(at, _)| at);
        path.get(..end).unwrap_or(path)
    }

    /// Where the form of this place is, and which of its fields stand in the address there.
    fn form_at(self) -> (Area, &'static [&'static str]) {
        match self {
            Area::Delete => (self, &["registry", "name", "tag"]),
            Area::Sweep => (Area::Registry, &["name"]),
            Area::Registry | Area::RemoveRegistry | Area::Member(_) | Area::RemoveMember(_) => (self, &["name"]),
            Area::RenewSecret | Area::RevokeSecret => (self, &["id"]),
            Area::NewSecret => (self, &["account"]),
            Area::NewRegistry | Area::NewMember(_) => (self, &[]),
            // These take none.
            Area::Repositories
            | Area::Repository
            | Area::Tag
            | Area::Callers
            | Area::Registries
            | Area::Members(_)
            | Area::Secrets
            | Area::Secret
            | Area::Why
            | Area::WhoCan
            | Area::Overview
            | Area::Decision => (self, &[]),
        }
    }

    /// The address of the form that was sent here.
    pub(super) fn back(self, prefix: &str, form: &Form) -> String {
        let (area, fields) = self.form_at();
        let pairs: Vec<(&str, &str)> = fields.iter().filter_map(|name| Some((*name, form.field(name)?))).collect();
        href(prefix, area, &pairs)
    }
}

/// The address of a page about this.
fn href(prefix: &str, area: Area, pairs: &[(&str, &str)]) -> String {
    let path = area.row().0;
    if pairs.is_empty() {
        return format!("{prefix}{path}");
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    format!("{prefix}{path}?{}", query.extend_pairs(pairs).finish())
}

impl Does {
    pub(super) fn takes(self, method: &Method) -> bool {
        match self {
            Does::Shows => matches!(*method, Method::GET | Method::HEAD),
            Does::Takes => *method == Method::POST,
            Does::Both => matches!(*method, Method::GET | Method::HEAD | Method::POST),
        }
    }

    pub(super) fn methods(self) -> &'static str {
        match self {
            Does::Shows => "GET, HEAD",
            Does::Takes => "POST",
            Does::Both => "GET, HEAD, POST",
        }
    }
}

/// Where the entries of a kind are: all, a new one, one, and where it is removed.
fn places(kind: MemberKind) -> [&'static str; 4] {
    match kind {
        MemberKind::Group => ["/groups", "/groups/new", "/groups/one", "/groups/remove"],
        MemberKind::App => ["/apps", "/apps/new", "/apps/one", "/apps/remove"],
        MemberKind::Service => ["/services", "/services/new", "/services/one", "/services/remove"],
        MemberKind::User => ["/users", "/users/new", "/users/one", "/users/remove"],
    }
}

/// Whether a page is shown, or a form was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Shown,
    Sent,
}

/// One page for somebody who has signed in.
pub(super) struct Room<'r> {
    pub(super) visit: &'r Visit<'r>,
    pub(super) account: &'r Account,
    pub(super) desk: management::Desk<'r>,
    pub(super) frame: Frame<'r>,
    /// What was asked in the address, or sent by the form.
    pub(super) asked: &'r Form,
    pub(super) turn: Turn,
    /// Where the form was sent that is shown once more.
    pub(super) again: Option<Again>,
}

impl Desk<'_, '_> {
    /// The ways to what somebody may see; none where that cannot be found out, which is no reason to show them nothing of their own.
    pub(super) async fn nav_of(&self, who: &Identity) -> Vec<Link> {
        let (snapshot, address) = (self.visit.snapshot, self.visit.asker.address);
        let (access, catalogue) = (&snapshot.access, snapshot.catalogue.as_ref());
        let desk = management::Desk { access, catalogue, who, address, now: self.now, heard: &|_, _| {} };
        nav(&desk, self.prefix).await.unwrap_or_default()
    }

    /// Shows a page, or does what a form says, as who has signed in.
    pub(super) async fn area(
        &mut self,
        area: Area,
        (headers, asked, turn): (&axum::http::HeaderMap, &Form, Turn),
    ) -> Result<Response, Problem> {
        let Some(signed) = self.or_sign_in(headers).await? else { return Ok(self.to("/sign-in", &[])) };
        self.visit.asker.identified(&signed.who);
        let visit: &Visit<'_> = self.visit;
        let heard = |service: &str, decision: &Decision| visit.log_decision_for(service, decision);
        let desk = management::Desk {
            access: &visit.snapshot.access,
            catalogue: visit.snapshot.catalogue.as_ref(),
            who: &signed.who,
            address: visit.asker.address,
            now: self.now,
            heard: &heard,
        };
        let nav = nav(&desk, self.prefix).await?;
        self.nav = Some(nav.clone());
        let frame = Frame { nav, here: area.part(), ..Frame::of(self.prefix, Some(&signed.account)) };
        let room = Room { visit, account: &signed.account, desk, frame, asked, turn, again: None };
        let mut response = match room.serve(area).await {
            Ok(response) => response,
            Err(problem) => room.sent_back(area, problem).await?,
        };
        if let Some(line) = signed.renewed.and_then(|line| HeaderValue::from_str(&line).ok()) {
            response.headers_mut().append(SET_COOKIE, line);
        }
        Ok(response)
    }
}

/// The ways to what somebody may see.
async fn nav(desk: &management::Desk<'_>, prefix: &str) -> Result<Vec<Link>, Problem> {
    let mut nav = Vec::new();
    let mut add = |path: &str, title: &str| nav.push(Link { href: format!("{prefix}{path}"), title: title.to_owned() });
    let any = Sought::any();
    if desk.catalogue.is_some() {
        add("/repositories", "Repositories");
    }
    let creates = desk.could(REGISTRIES, ManagedAction::Create.action()).await?;
    if creates || !desk.registries(&any).await?.items.is_empty() {
        add("/registries", "Registries");
    }
    for kind in MemberKind::ALL {
        // Whoever may make the first one finds the page before there is any.
        if !desk.members(kind, None, &any).await?.items.is_empty() || may_make(desk, kind).await?.is_some() {
            add(Area::Members(kind).row().0, all_of(kind));
        }
    }
    if desk.access.lasting().is_some() && desk.could(SOME_ROBOT, TokenAction::List.action()).await? {
        add(Area::Secrets.row().0, "Secrets");
    }
    let asks =
        [PolicyAction::Explain, PolicyAction::WhoCan].map(|action| desk.could(PolicyAction::ON, action.action()));
    let [explains, finds] = asks;
    if explains.await? || finds.await? {
        add(Area::Why.row().0, "Why");
    }
    if desk.sees_overview().await? {
        add(Area::Overview.row().0, "Overview");
    }
    Ok(nav)
}

impl Room<'_> {
    pub(super) async fn serve(&self, area: Area) -> Result<Response, Problem> {
        match area {
            Area::Repositories => self.repositories().await,
            Area::Repository => self.repository().await,
            Area::Tag => self.tag().await,
            Area::Callers => self.callers().await,
            Area::Delete => self.delete().await,
            Area::Registries => self.registries().await,
            Area::NewRegistry => self.new_registry().await,
            Area::Registry => self.registry().await,
            Area::Sweep => self.sweep().await,
            Area::RemoveRegistry => self.remove_registry().await,
            Area::Members(kind) => self.members(kind).await,
            Area::NewMember(kind) => self.new_member(kind).await,
            Area::Member(kind) => self.member(kind).await,
            Area::RemoveMember(kind) => self.remove_member(kind).await,
            Area::Why => self.why().await,
            Area::WhoCan => self.who_can().await,
            Area::Overview => self.overview().await,
            Area::Decision => self.decision().await,
            Area::Secrets => self.secrets().await,
            Area::NewSecret => self.new_secret().await,
            Area::Secret => self.secret().await,
            Area::RenewSecret => self.renew_secret().await,
            Area::RevokeSecret => self.revoke_secret().await,
        }
    }

    pub(super) fn show(&self, sheet: Sheet) -> Result<Response, Problem> {
        Ok(match &self.again {
            None => self.show_as(StatusCode::OK, sheet),
            Some(again) => self.show_as(again.status, self.filled_in(again, sheet)),
        })
    }

    pub(super) fn show_as(&self, status: StatusCode, sheet: Sheet) -> Response {
        page(status, &SheetPage { frame: &self.frame, sheet })
    }

    /// The address of a page about this.
    pub(super) fn href(&self, area: Area, pairs: &[(&str, &str)]) -> String {
        href(self.frame.prefix, area, pairs)
    }

    pub(super) fn link(&self, title: impl Into<String>, area: Area, pairs: &[(&str, &str)]) -> Link {
        Link { href: self.href(area, pairs), title: title.into() }
    }

    /// Sends the browser on after something was done.
    pub(super) fn on_to(&self, area: Area, pairs: &[(&str, &str)]) -> Result<Response, Problem> {
        Ok(super::see_other(&self.href(area, pairs)))
    }

    /// A field that has to be there.
    pub(super) fn one(&self, name: &str) -> Result<&str, Problem> {
        self.said(name).ok_or(Problem::Nothing)
    }

    /// A field that says something.
    pub(super) fn said(&self, name: &str) -> Option<&str> {
        self.asked.field(name).map(str::trim).filter(|text| !text.is_empty())
    }

    /// The lines of a field that say something.
    pub(super) fn lines(&self, name: &str) -> Vec<String> {
        let lines = self.asked.field(name).unwrap_or_default().lines().map(str::trim);
        lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// What a list is to show.
    pub(super) fn sought(&self) -> Sought {
        let search = self.said("search").map(str::to_owned);
        let after = self.asked.field("after").map(str::to_owned);
        Sought { search, after, limit: PAGE, counted: Counted::Not }
    }

    /// The box that searches a list.
    pub(super) fn search(&self, area: Area, hidden: Hidden) -> Option<Search> {
        let text = self.said("search").unwrap_or_default().to_owned();
        Some(Search { action: self.href(area, &[]), hidden, text })
    }

    /// The rows of a list that fit on a page, and behind which place the next page begins.
    pub(super) fn rows<T>(
        &self,
        page: &Page<T>,
        row: impl Fn(&T) -> Vec<Cell>,
        place: impl Fn(&T) -> String,
    ) -> (Vec<Vec<Cell>>, Option<String>) {
        let rows = fitting(page.items.iter().map(row), BYTES);
        let next = match rows.len() < page.items.len() {
            true => rows.len().checked_sub(1).and_then(|last| page.items.get(last)).map(place),
            false => page.next.clone(),
        };
        (rows, next)
    }

    /// The next page of a list, with what was searched for.
    pub(super) fn next(&self, area: Area, pairs: &[(&str, &str)], after: Option<String>) -> Option<String> {
        let search = self.said("search").map(|search| ("search", search));
        let pairs: Vec<(&str, &str)> =
            pairs.iter().copied().chain(search).chain([("after", after.as_deref()?)]).collect();
        Some(self.href(area, &pairs))
    }

    /// A form that sends these.
    pub(super) fn form(&self, title: impl Into<String>, area: Area, button: &'static str, hidden: Hidden) -> Sending {
        let action = self.href(area, &[]);
        Sending { title: title.into(), method: "post", action, hidden, inputs: Vec::new(), button }
    }

    /// The same with something to fill in.
    pub(super) fn form_with(&self, form: Sending, inputs: Vec<Input>) -> Sending {
        Sending { inputs, ..form }
    }

    /// That the version is the one that the form was made for.
    pub(super) fn seen(&self, version: Version) -> Result<(), NotDone> {
        match self.asked.field(VERSION).map(|seen| seen == version.0.to_string()) {
            Some(true) => Ok(()),
            Some(false) => Err(NotDone::Changed),
            None => Err(NotDone::NoVersion),
        }
    }

    pub(super) fn log(&self, message: &'static str, entry: &str) {
        info!(user.account = self.desk.who.name(), entry = %printable(entry), "{message}");
    }
}
