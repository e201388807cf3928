//! What the API does with registries, with what is in them, and with the directory: one table, and what each row reads and answers.
//! What is done is in [`management`](crate::management).

use std::collections::BTreeMap;
use std::fmt;

use axum::extract::Request;
use axum::http::header::ETAG;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use policy::scope::Action;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use time::OffsetDateTime;
use tracing::info;

use super::asked::{self, IfMatch};
use super::drafts::{Described, DescriptionChange, MemberFields, NewMember, NewRegistry, RegistryChange};
use super::overview::{self, OverviewTold};
use super::problem::Refused;
use super::{Admitted, JSON, PATCH, admit, etag, reply};
use crate::access::Decision;
use crate::catalogue::{Deleted, Emptied, Seen, Siblings, is_digest};
use crate::directory::rights::{DESCRIPTIONS, ManagedAction, OVERVIEW, PULLS, REGISTRIES};
use crate::http::visit::Visit;
use crate::management::{Behind, Counted, Desk, Filter, MemberKind, NotDone, Sought};
use crate::records::Version;
use crate::records::catalogue::{Mark, Star};
use crate::shown::printable;

/// How many entries a list shows at once, unless it is said.
const PAGE: usize = 50;
/// The most that it shows at once.
const MOST: usize = 1000;

/// Something that is done with registries, with what is in them, or with the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Managing {
    /// Lists registries.
    ListRegistries,
    /// Declares a registry.
    DeclareRegistry,
    /// Shows a registry.
    ShowRegistry,
    /// Changes a registry.
    ChangeRegistry,
    /// Declares a registry no more.
    RemoveRegistry,
    /// Has a registry swept.
    SweepRegistry,
    /// Lists the repositories of a registry.
    ListRepositories,
    /// Shows a repository.
    ShowRepository,
    /// Says what a repository is.
    Describe,
    /// Deletes all tags of a repository.
    DeleteRepository,
    /// Gives a repository a star.
    Star,
    /// Takes it back.
    TakeStarBack,
    /// Lists the tags of a repository.
    ListTags,
    /// Shows what a tag names.
    ShowTag,
    /// Deletes a tag.
    DeleteTag,
    /// Lists who may pull.
    ListPullers,
    /// Lists who may push.
    ListPushers,
    /// Lists who pulled.
    ListPulls,
    /// Lists who pulled an image, from wherever.
    ListUses,
    /// Shows how the server is, and what it decided last.
    ShowOverview,
    /// Shows what was decided under an id.
    ShowDecisions,
    /// Lists entries of the directory.
    ListMembers(MemberKind),
    /// Makes one.
    MakeMember(MemberKind),
    /// Shows one.
    ShowMember(MemberKind),
    /// Changes one.
    ChangeMember(MemberKind),
    /// Removes one.
    RemoveMember(MemberKind),
}

/// Who may do something: whom the rules give this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagingRight {
    /// An action on something of Dockwarden's own, by how its name begins.
    Ours(ManagedAction, &'static str),
    /// To pull from the repository, as at its registry.
    Pull,
    /// To delete in it, likewise.
    Delete,
}

impl fmt::Display for ManagingRight {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManagingRight::Ours(action, name) => write!(out, "{} dockwarden:{name}", action.as_str()),
            ManagingRight::Pull => out.write_str("pull repository"),
            ManagingRight::Delete => out.write_str("delete repository"),
        }
    }
}

impl Managing {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Managing> {
        let catalogue = [
            Managing::ListRegistries,
            Managing::DeclareRegistry,
            Managing::ShowRegistry,
            Managing::ChangeRegistry,
            Managing::RemoveRegistry,
            Managing::SweepRegistry,
            Managing::ListRepositories,
            Managing::ShowRepository,
            Managing::Describe,
            Managing::DeleteRepository,
            Managing::Star,
            Managing::TakeStarBack,
            Managing::ListTags,
            Managing::ShowTag,
            Managing::DeleteTag,
            Managing::ListPullers,
            Managing::ListPushers,
            Managing::ListPulls,
            Managing::ListUses,
            Managing::ShowOverview,
            Managing::ShowDecisions,
        ];
        let members = MemberKind::ALL.into_iter().flat_map(|kind| {
            [
                Managing::ListMembers(kind),
                Managing::MakeMember(kind),
                Managing::ShowMember(kind),
                Managing::ChangeMember(kind),
                Managing::RemoveMember(kind),
            ]
        });
        catalogue.into_iter().chain(members)
    }

    /// Its method, its address below `/api/v1`, and who may do it.
    pub fn row(self) -> (Method, &'static str, ManagingRight) {
        use ManagedAction as May;
        use ManagingRight::{Delete, Ours, Pull};
        const ONE: &str = "/registries/{service}";
        const NAMED: &str = "/registries/{service}/repositories/{name}";
        const STAR: &str = "/registries/{service}/repositories/{name}/star";
        const TAG: &str = "/registries/{service}/repositories/{name}/tags/{tag}";
        match self {
            Managing::ListRegistries => (Method::GET, "/registries", Ours(May::List, REGISTRIES)),
            Managing::DeclareRegistry => (Method::POST, "/registries", Ours(May::Create, REGISTRIES)),
            Managing::ShowRegistry => (Method::GET, ONE, Ours(May::Show, REGISTRIES)),
            Managing::ChangeRegistry => (Method::PATCH, ONE, Ours(May::Change, REGISTRIES)),
            Managing::RemoveRegistry => (Method::DELETE, ONE, Ours(May::Delete, REGISTRIES)),
            Managing::SweepRegistry => (Method::POST, "/registries/{service}/sweep", Ours(May::Sweep, REGISTRIES)),
            Managing::ListRepositories => (Method::GET, "/registries/{service}/repositories", Pull),
            Managing::ShowRepository => (Method::GET, NAMED, Pull),
            Managing::Describe => (Method::PATCH, NAMED, Ours(May::Describe, DESCRIPTIONS)),
            Managing::DeleteRepository => (Method::DELETE, NAMED, Delete),
            Managing::Star => (Method::PUT, STAR, Pull),
            Managing::TakeStarBack => (Method::DELETE, STAR, Pull),
            Managing::ListTags => (Method::GET, "/registries/{service}/repositories/{name}/tags", Pull),
            Managing::ShowTag => (Method::GET, TAG, Pull),
            Managing::DeleteTag => (Method::DELETE, TAG, Delete),
            Managing::ListPullers => (Method::GET, "/registries/{service}/repositories/{name}/pullers", Pull),
            Managing::ListPushers => (Method::GET, "/registries/{service}/repositories/{name}/pushers", Pull),
            Managing::ListPulls => {
                (Method::GET, "/registries/{service}/repositories/{name}/pulls", Ours(May::List, PULLS))
            }
            Managing::ListUses => (Method::GET, "/pulls", Ours(May::List, PULLS)),
            Managing::ShowOverview => (Method::GET, "/overview", Ours(May::Show, OVERVIEW)),
            Managing::ShowDecisions => (Method::GET, "/decisions/{id}", Ours(May::Show, OVERVIEW)),
            Managing::ListMembers(kind) => (Method::GET, places(kind).0, Ours(May::List, kind.entry().plural())),
            Managing::MakeMember(kind) => (Method::POST, places(kind).0, Ours(May::Create, kind.entry().plural())),
            Managing::ShowMember(kind) => (Method::GET, places(kind).1, Ours(May::Show, kind.entry().plural())),
            Managing::ChangeMember(kind) => (Method::PATCH, places(kind).1, Ours(May::Change, kind.entry().plural())),
            Managing::RemoveMember(kind) => (Method::DELETE, places(kind).1, Ours(May::Delete, kind.entry().plural())),
        }
    }

    /// Whether there is anything of it at an address.
    pub(super) fn is_at(path: &str) -> bool {
        Managing::all().any(|operation| operation.row().1 == path)
    }

    /// What a method does at an address.
    fn of(path: &str, method: &Method) -> Option<Managing> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        Managing::all().find(|operation| {
            let (own, at, _) = operation.row();
            own == *method && at == path
        })
    }

    /// The methods that there are at an address.
    fn methods(path: &str) -> String {
        let rows = Managing::all().map(Managing::row);
        let methods: Vec<String> = rows.filter(|(_, at, _)| *at == path).map(|(own, ..)| own.to_string()).collect();
        methods.join(", ")
    }
}

/// Where the entries of a kind are: all of them, and one.
fn places(kind: MemberKind) -> (&'static str, &'static str) {
    match kind {
        MemberKind::Group => ("/groups", "/groups/{name}"),
        MemberKind::App => ("/apps", "/apps/{name}"),
        MemberKind::Service => ("/services", "/services/{name}"),
        MemberKind::User => ("/users", "/users/{name}"),
    }
}

/// Answers one request.
pub(super) async fn respond(
    visit: &mut Visit<'_>,
    path: &str,
    parameters: &[String],
    request: Request,
) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let operation =
        Managing::of(path, &parts.method).ok_or_else(|| Refused::Method { allow: Managing::methods(path) })?;
    visit.find_client(&parts.headers)?;
    let body = match operation {
        Managing::DeclareRegistry
        | Managing::ChangeRegistry
        | Managing::Describe
        | Managing::MakeMember(_)
        | Managing::ChangeMember(_) => asked::gather(body).await?,
        Managing::ListRegistries
        | Managing::ShowRegistry
        | Managing::RemoveRegistry
        | Managing::SweepRegistry
        | Managing::ListRepositories
        | Managing::ShowRepository
        | Managing::DeleteRepository
        | Managing::Star
        | Managing::TakeStarBack
        | Managing::ListTags
        | Managing::ShowTag
        | Managing::DeleteTag
        | Managing::ListPullers
        | Managing::ListPushers
        | Managing::ListPulls
        | Managing::ListUses
        | Managing::ShowOverview
        | Managing::ShowDecisions
        | Managing::ListMembers(_)
        | Managing::ShowMember(_)
        | Managing::RemoveMember(_) => Vec::new(),
    };
    #[expect(clippy::disallowed_methods, reason = "the moment of this request")]
    let now = OffsetDateTime::now_utc();
    let Admitted { who, .. } = admit(visit, &parts.headers, now).await?;
    let visit: &Visit<'_> = visit;
    let heard = |service: &str, decision: &Decision| visit.log_decision_for(service, decision);
    let (access, catalogue) = (&visit.snapshot.access, visit.snapshot.catalogue.as_ref());
    let address = visit.asker.address;
    let desk = Desk { access, catalogue, who: &who, address, now, heard: &heard };
    let place: [&str; 3] = std::array::from_fn(|at| parameters.get(at).map_or("", String::as_str));
    let counter = Counter { visit, desk, parts: &parts, body: &body };
    let done = counter.serve(operation, place).await;
    if !matches!(done, Err(Refused::NotDone(NotDone::Denied(_))))
        && let Some(lasting) = access.lasting()
    {
        lasting.used(&who, address, visit.client(), now);
    }
    done
}

/// One request, and what was sent with it.
struct Counter<'a> {
    visit: &'a Visit<'a>,
    desk: Desk<'a>,
    parts: &'a Parts,
    body: &'a [u8],
}

impl Counter<'_> {
    async fn serve(&self, operation: Managing, place: [&str; 3]) -> Result<Response, Refused> {
        let (desk, [first, name, tag]) = (&self.desk, place);
        match operation {
            Managing::ListRegistries => ok(&desk.registries(&self.list(&[])?.sought()).await?),
            Managing::DeclareRegistry => {
                let (service, fields) = self.json::<NewRegistry>(JSON)?.read();
                let (told, version) = desk.declare(&service, fields).await?;
                self.log("a registry was declared", &service);
                Ok(with_version(version, reply(StatusCode::CREATED, &told)?))
            }
            Managing::ShowRegistry => {
                let (told, version) = desk.registry(first).await?;
                Ok(with_version(version, ok(&told)?))
            }
            Managing::ChangeRegistry => {
                let fields = self.json::<RegistryChange>(PATCH)?.read();
                let seen = |version| self.seen(version, Unsaid::Refused);
                let (told, version) = desk.change_registry(first, seen, fields).await?;
                self.log("a registry was changed", first);
                Ok(with_version(version, ok(&told)?))
            }
            Managing::RemoveRegistry => {
                desk.remove_registry(first, |version| self.seen(version, Unsaid::Any)).await?;
                self.log("a registry is declared no more", first);
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            Managing::SweepRegistry => {
                desk.begin_sweep(first).await?;
                Ok(StatusCode::ACCEPTED.into_response())
            }
            Managing::ListMembers(kind) => {
                let (filters, of): (&[&str], _) = match kind {
                    MemberKind::User | MemberKind::App => (&["group"], "group"),
                    MemberKind::Service => (&["app"], "app"),
                    MemberKind::Group => (&[], ""),
                };
                let list = self.list(filters)?;
                let of = list.filters.get(of).map(String::as_str);
                ok(&desk.members(kind, of, &list.sought()).await?)
            }
            Managing::MakeMember(kind) => {
                // One of its name that is made later is another.
                let made = desk.now.unix_timestamp_nanos().to_string();
                let (name, id, fields) = self.json::<NewMember>(JSON)?.read();
                let new = fields.new_entry(kind, &name, id, made)?;
                let (told, version) = desk.make_member(new).await?;
                self.log("an entry of the directory was made", &format!("{}/{name}", kind.entry().plural()));
                Ok(with_version(version, reply(StatusCode::CREATED, &told)?))
            }
            Managing::ShowMember(kind) => {
                let (told, version) = desk.member(kind, first).await?;
                Ok(with_version(version, ok(&told)?))
            }
            Managing::ChangeMember(kind) => {
                let fields = self.json::<MemberFields>(PATCH)?.read();
                let seen = |version| self.seen(version, Unsaid::Refused);
                let (told, version) = desk.change_member((kind, first), seen, fields).await?;
                self.log("an entry of the directory was changed", &format!("{}/{first}", kind.entry().plural()));
                Ok(with_version(version, ok(&told)?))
            }
            Managing::RemoveMember(kind) => {
                let at = desk.remove_member((kind, first), |version| self.seen(version, Unsaid::Any)).await?;
                self.log("an entry of the directory was removed", &at.to_string());
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            Managing::ListRepositories => {
                let list = self.list(&["official", "automated"])?;
                let filter = Filter { official: list.mark("official")?, automated: list.mark("automated")? };
                ok(&desk.repositories(first, filter, &list.sought()).await?)
            }
            Managing::ShowRepository => ok(&desk.repository(first, name).await?),
            Managing::Describe => {
                let change = self.json::<DescriptionChange>(PATCH)?.read();
                ok(&desk.describe(first, name, change).await?)
            }
            Managing::DeleteRepository if !self.query().is_empty() => {
                Err(Refused::Request("deleting a repository has no parameters: all of its tags go".to_owned()))
            }
            Managing::DeleteRepository => match desk.delete_repository(first, name).await? {
                Emptied::Done(tags) => ok(&json!({ "outcome": "deleted", "tags": tags })),
                Emptied::WasGone => ok(&json!({ "outcome": "was_gone", "tags": 0 })),
                Emptied::Stopped { deleted, tag, by } => {
                    Err(Refused::NotDeleted { deleted: by, after: Some((deleted, tag)) })
                }
            },
            Managing::Star => {
                desk.star(first, name, Star::Given).await?;
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            Managing::TakeStarBack => {
                desk.star(first, name, Star::TakenBack).await?;
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            Managing::ListTags => ok(&desk.tags(first, name, &self.list(&[])?.sought()).await?),
            Managing::ShowTag => {
                let told = desk.tag(first, name, tag).await?;
                let mut response = ok(&told)?;
                // Whoever deletes what they have seen says so by it.
                if let Ok(digest) = HeaderValue::from_str(&format!("\"{}\"", told.digest)) {
                    response.headers_mut().insert(ETAG, digest);
                }
                Ok(response)
            }
            Managing::DeleteTag => self.delete_tag((first, name), tag).await,
            Managing::ListPullers => self.callers((first, name), &Action::Pull).await,
            Managing::ListPushers => self.callers((first, name), &Action::Push).await,
            Managing::ListPulls => self.pulls((first, name)).await,
            Managing::ListUses => self.uses().await,
            Managing::ShowOverview => {
                self.sees_overview().await?;
                ok(&OverviewTold::of(&self.visit.app.overview(desk.now)?))
            }
            Managing::ShowDecisions => {
                self.sees_overview().await?;
                match self.visit.app.decided(first) {
                    found if found.is_empty() => Err(NotDone::Missing.into()),
                    found => ok(&json!({ "decisions": overview::told(&found) })),
                }
            }
        }
    }

    async fn sees_overview(&self) -> Result<(), NotDone> {
        match self.desk.sees_overview().await? {
            true => Ok(()),
            false => Err(NotDone::Missing),
        }
    }

    async fn delete_tag(&self, place: (&str, &str), tag: &str) -> Result<Response, Refused> {
        let mut with = None;
        for (key, value) in form_urlencoded::parse(self.query().as_bytes()) {
            if key != "with" || with.is_some() {
                return Err(Refused::Request("the one parameter is with: the tags that go along".to_owned()));
            }
            let tags = value.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned);
            with = Some(Siblings(tags.collect()));
        }
        let seen = Seen { digest: asked::quoted(&self.parts.headers)?, siblings: with };
        let deleted = self.desk.delete_tag(place, tag, &seen).await?;
        let (outcome, detail) = (deleted.as_str(), deleted.sentence());
        match deleted {
            Deleted::Done { digest, with } => {
                ok(&json!({ "outcome": outcome, "detail": detail, "digest": digest, "with": with }))
            }
            Deleted::WasGone => ok(&json!({ "outcome": outcome, "detail": detail })),
            deleted @ (Deleted::Siblings(_)
            | Deleted::Changed { .. }
            | Deleted::Off
            | Deleted::TooManyTags
            | Deleted::StillThere) => Err(Refused::NotDeleted { deleted, after: None }),
        }
    }

    async fn callers(&self, place: (&str, &str), action: &Action) -> Result<Response, Refused> {
        ok(&self.desk.callers(place, action, &self.list_of(&["search", "cursor", "limit"], &[])?.sought()).await?)
    }

    async fn pulls(&self, place: (&str, &str)) -> Result<Response, Refused> {
        let list = self.list_of(&["cursor", "limit"], &["digest"])?;
        let skip: u32 = match &list.after {
            None => 0,
            Some(cursor) => cursor.parse().map_err(|_| Refused::Request("the cursor is none of ours".to_owned()))?,
        };
        let limit = u32::try_from(list.limit).unwrap_or(u32::MAX);
        let digest = list.filters.get("digest").map(String::as_str);
        let (items, has_more) = self.desk.pulls(place, digest, (skip, limit)).await?;
        let next = has_more.then(|| skip.saturating_add(limit).to_string());
        ok(&json!({ "items": items, "next": next }))
    }

    async fn uses(&self) -> Result<Response, Refused> {
        let list = self.list_of(&["cursor", "limit"], &["digest", "service"])?;
        let not_ours = || Refused::Request("the cursor is none of ours".to_owned());
        let behind = list.after.as_ref().map(|cursor| Behind::parse(cursor).ok_or_else(not_ours)).transpose()?;
        let digest = list.filters.get("digest").filter(|digest| is_digest(digest));
        let digest = digest.ok_or_else(|| Refused::Request("digest is needed: sha256:…".to_owned()))?;
        let service = list.filters.get("service").map(String::as_str);
        ok(&self.desk.uses(digest, service, behind.as_ref(), list.limit).await?)
    }

    fn query(&self) -> &str {
        self.parts.uri.query().unwrap_or_default()
    }

    fn list(&self, filters: &[&'static str]) -> Result<List, Refused> {
        self.list_of(&["search", "cursor", "limit", "count"], filters)
    }

    /// A list that has these alone of the parameters that others have.
    fn list_of(&self, usual: &[&'static str], filters: &[&'static str]) -> Result<List, Refused> {
        List::read(self.query(), usual, filters)
    }

    fn json<T: DeserializeOwned + Described>(&self, types: &'static [&'static str]) -> Result<T, Refused> {
        asked::json(&self.parts.headers, self.body, (types, T::FIELDS))
    }

    /// That the version is the one that was seen.
    fn seen(&self, version: Version, unsaid: Unsaid) -> Result<(), NotDone> {
        match (IfMatch::of(&self.parts.headers, version), unsaid) {
            (IfMatch::Fits, _) | (IfMatch::Unsaid, Unsaid::Any) => Ok(()),
            (IfMatch::Unsaid, Unsaid::Refused) => Err(NotDone::NoVersion),
            (IfMatch::Differs, _) => Err(NotDone::Changed),
        }
    }

    fn log(&self, message: &'static str, entry: &str) {
        info!(user.account = self.desk.who.name(), entry = %printable(entry), "{message}");
    }
}

/// What it means that no version is named.
#[derive(Clone, Copy)]
enum Unsaid {
    /// Whichever there is, is meant.
    Any,
    /// One has to be.
    Refused,
}

/// The query of a list.
struct List {
    search: Option<String>,
    after: Option<String>,
    limit: usize,
    counted: Counted,
    filters: BTreeMap<&'static str, String>,
}

impl List {
    /// Reads it. `filters` are the parameters that this list has beside the usual ones.
    fn read(query: &str, usual: &[&'static str], filters: &[&'static str]) -> Result<List, Refused> {
        let names = || usual.iter().chain(filters).copied();
        let mut known: BTreeMap<&'static str, String> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(name) = names().find(|own| *own == name) else {
                let all: Vec<&str> = names().collect();
                return Err(Refused::Request(format!("the parameters of this list are {}", all.join(", "))));
            };
            if known.insert(name, value.into_owned()).is_some() {
                return Err(Refused::Request("a parameter is given twice".to_owned()));
            }
        }
        let limit = match known.remove("limit") {
            None => PAGE,
            Some(limit) => limit
                .parse()
                .ok()
                .filter(|limit| (1..=MOST).contains(limit))
                .ok_or_else(|| Refused::Request(format!("limit is a number from 1 to {MOST}")))?,
        };
        let counted = match known.remove("count").as_deref().map(flag) {
            None | Some(Some(false)) => Counted::Not,
            Some(Some(true)) => Counted::All,
            Some(None) => return Err(Refused::Request("count is true or false".to_owned())),
        };
        let (search, after) = (known.remove("search").filter(|search| !search.is_empty()), known.remove("cursor"));
        Ok(List { search, after, limit, counted, filters: known })
    }

    fn sought(&self) -> Sought {
        Sought { search: self.search.clone(), after: self.after.clone(), limit: self.limit, counted: self.counted }
    }

    fn mark(&self, name: &str) -> Result<Option<Mark>, Refused> {
        match self.filters.get(name).map(|text| flag(text)) {
            None => Ok(None),
            Some(Some(true)) => Ok(Some(Mark::Set)),
            Some(Some(false)) => Ok(Some(Mark::Unset)),
            Some(None) => Err(Refused::Request(format!("{name} is true or false"))),
        }
    }
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn ok(body: &impl Serialize) -> Result<Response, Refused> {
    reply(StatusCode::OK, body)
}

/// The response with the version as its ETag, where there is one.
fn with_version(version: Option<Version>, mut response: Response) -> Response {
    if let Some(tag) = version.and_then(etag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
