//! What the API does with registries, with what is in them, and with the directory: one table, and what each row reads and answers.
//! What is done is in [`management`](crate::management).

use std::collections::BTreeMap;
use std::fmt;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::ETAG;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use serde::Serialize;
use time::OffsetDateTime;

use super::problem::Refused;
use super::{Admitted, admit, etag, reply};
use crate::access::Decision;
use crate::decision_log::{self, Asker};
use crate::directory::rights::{ManagedAction, REGISTRIES};
use crate::http::visit::Visit;
use crate::management::{Counted, Desk, Filter, NotDone, Wanted};
use crate::records::Version;
use crate::records::catalogue::Mark;

/// How many entries a list shows at once, unless it is said.
const PAGE: usize = 50;
/// The most that it shows at once.
const MOST: usize = 1000;

/// Something that is done with registries, with what is in them, or with the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Managing {
    /// Lists registries.
    ListRegistries,
    /// Shows a registry.
    ShowRegistry,
    /// Lists the repositories of a registry.
    ListRepositories,
    /// Shows a repository.
    ShowRepository,
    /// Lists the tags of a repository.
    ListTags,
    /// Shows what a tag names.
    ShowTag,
}

/// Who may do something: whom the rules give this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagingRight {
    /// An action on something of Dockwarden's own, by how its name begins.
    Ours(ManagedAction, &'static str),
    /// To pull from the repository, as at its registry.
    Pull,
}

impl fmt::Display for ManagingRight {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManagingRight::Ours(action, name) => write!(out, "{} dockwarden:{name}", action.as_str()),
            ManagingRight::Pull => out.write_str("pull repository"),
        }
    }
}

impl Managing {
    /// All of them.
    pub const ALL: [Managing; 6] = [
        Managing::ListRegistries,
        Managing::ShowRegistry,
        Managing::ListRepositories,
        Managing::ShowRepository,
        Managing::ListTags,
        Managing::ShowTag,
    ];

    /// Its method, its address below `/api/v1`, and who may do it.
    pub fn row(self) -> (Method, &'static str, ManagingRight) {
        use ManagedAction::{List, Show};
        use ManagingRight::{Ours, Pull};
        const REPOSITORIES: &str = "/registries/{service}/repositories";
        const NAMED: &str = "/registries/{service}/repositories/{name}";
        const TAGS: &str = "/registries/{service}/repositories/{name}/tags";
        const TAG: &str = "/registries/{service}/repositories/{name}/tags/{tag}";
        match self {
            Managing::ListRegistries => (Method::GET, "/registries", Ours(List, REGISTRIES)),
            Managing::ShowRegistry => (Method::GET, "/registries/{service}", Ours(Show, REGISTRIES)),
            Managing::ListRepositories => (Method::GET, REPOSITORIES, Pull),
            Managing::ShowRepository => (Method::GET, NAMED, Pull),
            Managing::ListTags => (Method::GET, TAGS, Pull),
            Managing::ShowTag => (Method::GET, TAG, Pull),
        }
    }

    /// Whether there is anything of it at an address.
    pub(super) fn is_at(path: &str) -> bool {
        Managing::ALL.into_iter().any(|operation| operation.row().1 == path)
    }

    /// What a method does at an address.
    fn of(path: &str, method: &Method) -> Option<Managing> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        Managing::ALL.into_iter().find(|operation| {
            let (own, at, _) = operation.row();
            own == *method && at == path
        })
    }

    /// The methods that there are at an address.
    fn methods(path: &str) -> String {
        let rows = Managing::ALL.into_iter().map(Managing::row);
        let methods: Vec<String> = rows.filter(|(_, at, _)| *at == path).map(|(own, ..)| own.to_string()).collect();
        methods.join(", ")
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
    let _: Body = body;
    #[expect(clippy::disallowed_methods, reason = "the moment of this request")]
    let now = OffsetDateTime::now_utc();
    let Admitted { who, .. } = admit(visit, &parts.headers, now).await?;
    let (snapshot, asker, id) = (visit.snapshot, &visit.asker, &visit.id);
    let heard = |service: &str, decision: &Decision| {
        let asker = Asker { service: service.to_owned(), ..asker.clone() };
        decision_log::decided(id, &asker, snapshot.generation, decision, None);
    };
    let (access, catalogue, address) = (&snapshot.access, snapshot.catalogue.as_ref(), asker.address);
    let desk = Desk { access, catalogue, who: &who, address, now, heard: &heard };
    let place: [&str; 3] = std::array::from_fn(|at| parameters.get(at).map_or("", String::as_str));
    let done = serve(&desk, operation, place, &parts).await;
    if !matches!(done, Err(Refused::NotDone(NotDone::Denied(_))))
        && let Some(lasting) = access.lasting()
    {
        lasting.used(&who, address, visit.client(), now);
    }
    done
}

async fn serve(
    desk: &Desk<'_>,
    operation: Managing,
    [first, name, tag]: [&str; 3],
    parts: &Parts,
) -> Result<Response, Refused> {
    let query = parts.uri.query().unwrap_or_default();
    match operation {
        Managing::ListRegistries => ok(&desk.registries(&List::read(query, &[])?.wanted()).await?),
        Managing::ShowRegistry => {
            let (told, version) = desk.registry(first).await?;
            Ok(with_version(version, ok(&told)?))
        }
        Managing::ListRepositories => {
            let list = List::read(query, &["official", "automated"])?;
            let filter = Filter { official: list.mark("official")?, automated: list.mark("automated")? };
            ok(&desk.repositories(first, filter, &list.wanted()).await?)
        }
        Managing::ShowRepository => ok(&desk.repository(first, name).await?),
        Managing::ListTags => ok(&desk.tags(first, name, &List::read(query, &[])?.wanted()).await?),
        Managing::ShowTag => {
            let told = desk.tag(first, name, tag).await?;
            let mut response = ok(&told)?;
            // Whoever deletes what they have seen says so by it.
            if let Ok(digest) = HeaderValue::from_str(&format!("\"{}\"", told.digest)) {
                response.headers_mut().insert(ETAG, digest);
            }
            Ok(response)
        }
    }
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
    /// Reads it. `filters` are the parameters that this list has beside those of all.
    fn read(query: &str, filters: &[&'static str]) -> Result<List, Refused> {
        const OF_ALL: [&str; 4] = ["search", "cursor", "limit", "count"];
        let names = || OF_ALL.iter().chain(filters).copied();
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

    fn wanted(&self) -> Wanted {
        Wanted { search: self.search.clone(), after: self.after.clone(), limit: self.limit, counted: self.counted }
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
