//! Search, and the catalog of registries that are not served through us: what is in a registry, as far as the asker may pull it.
//!
//! `docker search` and podman ask `/v1/_ping` and `/v1/search`, podman and others `/v2/_catalog`, and OpenSVC's collector had a path of
//! its own. The registry is the one that clients reach under the request's `Host`. A token of ours counts by whose it is and not by what
//! it allows: clients ask for it without a scope, or for one that no registry knows.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use axum::{Json, Router};
use policy::target::{self, Target};
use serde::Serialize;
use time::OffsetDateTime;

use super::host::{NoHost, host_of};
use super::paging::{NoPage, Page};
use super::shape::{LOG_IN, NOTHING_HERE, Shape, nothing_here};
use super::visit::{self, NotAdmitted, Visit, bearer};
use crate::access::{Denied, Names, Run};
use crate::app::App;
use crate::authn::{Credentials, Identity, LookUp};
use crate::catalogue::{Catalogue, Entry, Listing, Stretch, Substring};
use crate::client_address::{NoAddress, Peer};
use crate::config::Challenge;
use crate::decision_log::{Asker, Door, Fault};
use crate::metrics::Metrics;
use crate::records::catalogue::Mark;

/// The outcome of what was not refused, in the metrics.
const DONE: &str = "done";
/// The most repositories that search shows.
const MOST_FOUND: usize = 100;
/// How many it shows where the client does not say, or says something else than a number up to [`MOST_FOUND`].
const USUAL_FOUND: usize = 25;
/// By this header docker says that it speaks the first version of the protocol, whether it has logged in or not.
const DOCKER_TOKEN: &str = "x-docker-token";
/// The header by which docker knows that it may send its login to this very host.
const STANDALONE: &str = "x-docker-registry-standalone";

/// Why nothing is shown.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// The address of the client cannot be told.
    #[error(transparent)]
    NoAddress(#[from] NoAddress),
    /// Two readers could each see another host.
    #[error(transparent)]
    NoHost(#[from] NoHost),
    /// No registry is reached under this host.
    #[error("no registry has this host; name it in the hosts of one under registries")]
    NoRegistry,
    /// Something else than reading.
    #[error("there is nothing to change at this address")]
    Method,
    /// A target that could be read in more than one way.
    #[error(transparent)]
    Target(#[from] target::Refused),
    /// `n` and `last` name no page.
    #[error(transparent)]
    NoPage(#[from] NoPage),
    /// The client is not known.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// Whose token it is, is known, but not which labels they have, by which rules decide: what is shown could be more or less than
    /// what they may pull.
    #[error("the labels of this account are known at a login only: log in by Basic authentication")]
    OnlyByLogin,
    /// What the records have of the registry is not read yet.
    #[error("what is in the registries is not read yet")]
    NotReady,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        NotAdmitted::Denied(denied).into()
    }
}

/// The reasons in [`Refusal::shape`], but for [`visit::reasons`].
const REASONS: &[&str] =
    &["no_client_address", "no_host", "no_registry", "target_refused", "no_page", "labels_unknown", "not_ready"];

impl Refusal {
    /// What the client, the log and the metrics are told.
    fn shape(&self) -> Shape {
        let client = |status, code, message, reason| Shape::new(status, code, message, reason, Fault::Client);
        let bad =
            |reason| client(StatusCode::BAD_REQUEST, "UNSUPPORTED", "this request is none that is taken here", reason);
        match self {
            Refusal::NoAddress(_) => bad("no_client_address"),
            Refusal::NoHost(_) => bad("no_host"),
            Refusal::NoRegistry => {
                client(StatusCode::NOT_FOUND, "NOT_FOUND", "no registry is known under this host name", "no_registry")
            }
            Refusal::Method => Shape {
                allow: Some("GET, HEAD"),
                ..client(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this is read by GET", "target_refused")
            },
            Refusal::Target(target::Refused::NoRoute | target::Refused::NoRepository) => {
                client(StatusCode::NOT_FOUND, "NOT_FOUND", NOTHING_HERE, "target_refused")
            }
            Refusal::Target(
                target::Refused::TooLong
                | target::Refused::NotCanonical
                | target::Refused::Query
                | target::Refused::Method,
            ) => bad("target_refused"),
            Refusal::NoPage(_) => {
                let message = "n and last name no page of the catalog";
                client(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", message, "no_page")
            }
            Refusal::NotAdmitted(cause) => cause.shape(),
            Refusal::OnlyByLogin => Shape::unauthorized(LOG_IN, "labels_unknown", Fault::Client),
            Refusal::NotReady => Shape::unavailable("not_ready", Fault::Ours),
        }
    }
}

/// Begins the metrics of search and the catalog.
pub(super) fn begin_metrics(metrics: &Metrics) {
    metrics.expect_search_outcomes(REASONS.iter().copied().chain(visit::reasons()).chain([DONE]));
}

/// The routes of docker's first protocol. Not below `server.path_prefix`: clients look for them at the root of the registry's host.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/v1/_ping", any(ping)).route("/v1/search", any(search))
}

/// The catalog, where no gateway takes it.
pub(super) fn catalog_routes() -> Router<Arc<App>> {
    Router::new().route("/v2/_catalog", any(catalog))
}

/// Where OpenSVC's collector had search: what passes it on needs another host only.
pub(super) fn collector_routes(prefix: &str) -> Router<Arc<App>> {
    Router::new().route(&format!("{prefix}/init/registry/call/json/search"), any(search))
}

/// Answers below `/v2/` where the gateway has a place and no configuration: the catalog, and nothing else.
pub(super) async fn without_gateway(app: &Arc<App>, peer: Peer, request: Request) -> Response {
    match request.uri().path() {
        "/v2/_catalog" => answer(app, peer, request, Asked::Catalog).await,
        _ => nothing_here(),
    }
}

async fn ping(State(app): State<Arc<App>>) -> Response {
    if app.snapshot().catalogue.is_none() {
        return nothing_here();
    }
    let mut response = Json(serde_json::json!({ "standalone": true })).into_response();
    response.headers_mut().insert(STANDALONE, HeaderValue::from_static("true"));
    response
}

async fn search(State(app): State<Arc<App>>, Extension(peer): Extension<Peer>, request: Request) -> Response {
    answer(&app, peer, request, Asked::Search).await
}

async fn catalog(State(app): State<Arc<App>>, Extension(peer): Extension<Peer>, request: Request) -> Response {
    answer(&app, peer, request, Asked::Catalog).await
}

/// What is asked for.
#[derive(Clone, Copy)]
enum Asked {
    Search,
    Catalog,
}

async fn answer(app: &Arc<App>, peer: Peer, request: Request, asked: Asked) -> Response {
    let snapshot = app.snapshot();
    let Some(catalogue) = &snapshot.catalogue else { return nothing_here() };
    let asker = Asker {
        door: Door::Search,
        request: Some(format!("{} {}", request.method(), request.uri())),
        ..Asker::default()
    };
    let mut visit = Visit::new(app, &snapshot, peer, asker);
    let (parts, _) = request.into_parts();
    let (mut response, outcome) = match respond(&mut visit, catalogue, &parts, asked).await {
        Ok(response) => (response, DONE),
        Err(refusal) => {
            let shape = refusal.shape();
            // Clients that have a token they got elsewhere are asked for the login itself: by that, everything can be found out.
            (visit.refused(&Challenge::Basic, &[], &shape, &refusal), shape.reason)
        }
    };
    app.metrics.search_answered(outcome);
    // What was decided for one account is nothing for a cache to give to another.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    visit.with_id(response)
}

async fn respond(
    visit: &mut Visit<'_>,
    catalogue: &Catalogue,
    request: &Parts,
    asked: Asked,
) -> Result<Response, Refusal> {
    let headers = &request.headers;
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return Err(Refusal::Method);
    }
    visit.find_client(headers)?;
    let host = host_of(request.version, &request.uri, headers)?;
    visit.asker.service = visit.snapshot.registry_of_host(&host)?.ok_or(Refusal::NoRegistry)?;
    #[expect(clippy::disallowed_methods, reason = "the moment of this request")]
    let now = OffsetDateTime::now_utc();
    match asked {
        Asked::Search => {
            let wanted = Wanted::read(request.uri.query().unwrap_or_default());
            let shelf = Shelf::open(visit, catalogue, headers, now).await?;
            Ok(Json(shelf.find(wanted).await?).into_response())
        }
        Asked::Catalog => {
            let target = request.uri.path_and_query().map_or("*", PathAndQuery::as_str);
            let Target::Catalog(query) = Target::parse(target)? else { return Err(target::Refused::NoRoute.into()) };
            let page = Page::read(&query)?;
            let shelf = Shelf::open(visit, catalogue, headers, now).await?;
            let names = Sought::After(page.last.clone());
            Ok(page.reply(&shelf.pullable(names, page.n.saturating_add(1)).await?))
        }
    }
}

/// What is looked for, and how much of it is shown.
struct Wanted {
    /// As it was asked; everything is looked for by an empty text.
    text: String,
    n: usize,
}

impl Wanted {
    /// Reads `q` and `n`. Nothing of it can be wrong: what is no number is none.
    fn read(query: &str) -> Wanted {
        let (mut text, mut n) = (None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "q" => _ = text.get_or_insert(value.into_owned()),
                "n" => _ = n.get_or_insert(value.parse().ok()),
                _ => {}
            }
        }
        let n = n.flatten().filter(|n| (1..=MOST_FOUND).contains(n)).unwrap_or(USUAL_FOUND);
        Wanted { text: text.unwrap_or_default(), n }
    }
}

/// What search found, in the form of docker's first protocol.
#[derive(Serialize)]
struct Found {
    query: String,
    num_results: usize,
    results: Vec<FoundRepository>,
}

#[derive(Serialize)]
struct FoundRepository {
    name: Arc<str>,
    description: String,
    star_count: i64,
    is_official: bool,
    is_automated: bool,
}

impl FoundRepository {
    fn from_entry(entry: &Entry) -> FoundRepository {
        let has = |mark| match mark {
            Mark::Set => true,
            Mark::Unset => false,
        };
        FoundRepository {
            name: Arc::clone(&entry.name),
            description: entry.description.text.clone(),
            star_count: entry.stars,
            is_official: has(entry.description.official),
            is_automated: has(entry.description.automated),
        }
    }
}

/// What is in the registry, and who looks at it.
struct Shelf<'v, 'a> {
    visit: &'v Visit<'a>,
    who: Identity,
    listing: Listing,
    now: OffsetDateTime,
}

impl<'v, 'a> Shelf<'v, 'a> {
    /// Finds out who asks, and what there is.
    async fn open(
        visit: &'v mut Visit<'a>,
        catalogue: &Catalogue,
        headers: &HeaderMap,
        now: OffsetDateTime,
    ) -> Result<Shelf<'v, 'a>, Refusal> {
        let who = match bearer(headers) {
            Some(token) => holder(visit, token, now).await?,
            None if headers.contains_key(AUTHORIZATION) || headers.contains_key(DOCKER_TOKEN) => {
                let target = Target::Outside(String::new());
                visit.require(&target, &[], headers).await?
            }
            // Podman searches so whatever login it has, and takes any other answer for the last word.
            None => return Err(NotAdmitted::LoginNeeded.into()),
        };
        if !catalogue.is_ready() {
            return Err(Refusal::NotReady);
        }
        let listing = catalogue.listing(&visit.asker.service);
        Ok(Shelf { visit, who, listing, now })
    }

    /// Of what is sought, the first that may be pulled.
    async fn pullable(&self, sought: Sought, most: usize) -> Result<Vec<Arc<str>>, Refusal> {
        let names = InListing { listing: self.listing.clone(), sought };
        Ok(self.visit.pullable(&self.who, names, most, self.now).await?)
    }

    /// The repositories that have the text in their names, and behind them those that have it in what is written about them.
    async fn find(self, Wanted { text, n }: Wanted) -> Result<Found, Refusal> {
        let sought = Substring::new(&text.to_lowercase());
        let mut names = self.pullable(Sought::ByName(sought.clone()), n).await?;
        if names.len() < n && !text.is_empty() {
            let left = n.saturating_sub(names.len());
            names.extend(self.pullable(Sought::ByDescription(sought), left).await?);
        }
        let entries = names.iter().filter_map(|name| self.listing.get(name));
        let results: Vec<FoundRepository> = entries.map(|entry| FoundRepository::from_entry(entry)).collect();
        Ok(Found { query: text, num_results: results.len(), results })
    }
}

/// What of a listing is looked for.
enum Sought {
    /// All that comes behind a name, or all.
    After(Option<String>),
    /// What has a text in its name. Names are in small letters by their grammar.
    ByName(Substring),
    /// What has a text in what is written about it, and not in its name.
    ByDescription(Substring),
}

/// It, in the order of the listing.
struct InListing {
    listing: Listing,
    sought: Sought,
}

impl Names for InListing {
    fn runs(&self) -> Box<dyn Iterator<Item = Run<'_>> + Send + '_> {
        let after = match &self.sought {
            Sought::After(last) => last.as_deref(),
            Sought::ByName(_) | Sought::ByDescription(_) => None,
        };
        Box::new(self.listing.after(after).map(|stretch| self.run(stretch)))
    }
}

impl InListing {
    fn run<'l>(&'l self, stretch: Stretch<'l>) -> Run<'l> {
        let names: Box<dyn Iterator<Item = &str> + Send + '_> = match &self.sought {
            Sought::After(_) => Box::new(stretch.names()),
            Sought::ByName(text) => Box::new(stretch.named(text)),
            Sought::ByDescription(text) => Box::new(stretch.described(text)),
        };
        Run { between: stretch.between(), names }
    }
}

/// Who a token of ours is, with the labels that a login would bring now: a token has none, and rules go by them.
async fn holder(visit: &mut Visit<'_>, token: &str, now: OffsetDateTime) -> Result<Identity, Refusal> {
    let (holder, claims) = visit.holder(token, now)?;
    let owner = visit.honour(&claims, now).await?;
    visit.log_allowed(&[]);
    let (access, address) = (&visit.snapshot.access, visit.asker.address);
    if let Some((owner, _)) = owner {
        return Ok(owner);
    }
    let Some(account) = &holder.account else {
        return Ok(access.identify(&Credentials::Anonymous, address, now).await?);
    };
    match access.look_up(account, address).await? {
        LookUp::Known(identity) => Ok(identity),
        LookUp::Unknown => Err(Denied::Credentials.into()),
        LookUp::OnlyByLogin => Err(Refusal::OnlyByLogin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_asked_for_something_is_looked_for() {
        for (query, text, n) in [
            ("q=x&n=7", "x", 7),
            ("", "", 25),
            ("n=0&q=", "", 25),
            ("n=101", "", 25),
            ("n=100", "", 100),
            ("n=abc", "", 25),
            ("n=-1", "", 25),
            ("q=Lib%2FX", "Lib/X", 25),
            ("q=%25&n=1", "%", 1),
            ("q=a+b", "a b", 25),
        ] {
            let wanted = Wanted::read(query);
            assert_eq!((wanted.text.as_str(), wanted.n), (text, n), "{query}");
        }
    }
}
