//! The catalogue against a registry that is a stand-in: large, broken off, lying, and one that counts what it is asked at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use dockwarden::catalogue::{Catalogue, NotSwept, Swept};
use dockwarden::directory::NewEntry;
use dockwarden::records::Version;
use dockwarden::records::catalogue::{Description, Star};
use dockwarden::records::directory::{EntryAt, EntryKind};
use dockwarden::registries::Registry as Declared;
use serde_json::{Value, json};

use crate::bed::{Bed, serve};

/// What the registry holds, and how it behaves.
#[derive(Default)]
struct Holds {
    repositories: BTreeMap<String, Vec<String>>,
    /// Answers pages of the catalog behind this name with 500.
    breaks_behind: Option<String>,
    /// Answers requests for tags so, in place of the truth.
    tags_as: Option<(u16, &'static str)>,
    delay: Duration,
    /// Never answers.
    silent: Option<Silence>,
    /// Pages have this many entries at most; more are refused.
    max_entries: usize,
}

/// What is never answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// Requests for tags.
    Tags,
    /// Nothing at all.
    All,
}

#[derive(Clone)]
struct Registry {
    holds: Arc<Mutex<Holds>>,
    at_once: Arc<AtomicUsize>,
    most_at_once: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Registry {
    async fn start() -> (Registry, String) {
        let registry = Registry {
            holds: Arc::new(Mutex::new(Holds { max_entries: 1000, ..Holds::default() })),
            at_once: Arc::default(),
            most_at_once: Arc::default(),
            asked: Arc::default(),
        };
        let routes = Router::new()
            .route("/v2/_catalog", get(catalog))
            .route("/v2/{*rest}", get(tags))
            .with_state(registry.clone());
        let url = serve(routes).await;
        (registry, url)
    }

    fn set(&self, change: impl FnOnce(&mut Holds)) {
        change(&mut self.holds.lock().unwrap());
    }

    fn with(&self, names: impl IntoIterator<Item = String>, tags: &[&str]) {
        let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self.set(|holds| holds.repositories.extend(names.into_iter().map(|name| (name, tags.clone()))));
    }

    async fn begin(&self, of: Silence) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let silent = self.holds.lock().unwrap().silent;
        if silent.is_some_and(|silent| silent == of || silent == Silence::All) {
            std::future::pending::<()>().await;
        }
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        let delay = self.holds.lock().unwrap().delay;
        tokio::time::sleep(delay).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
    }
}

fn is_let_in(headers: &HeaderMap) -> bool {
    headers.get("authorization").is_some_and(|value| value.to_str().unwrap().starts_with("Bearer ey"))
}

async fn catalog(State(registry): State<Registry>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    registry.begin(Silence::All).await;
    assert!(is_let_in(&headers));
    let query = query.unwrap();
    let query: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let holds = registry.holds.lock().unwrap();
    let number: usize = query["n"].parse().unwrap();
    if number > holds.max_entries {
        let body = json!({"errors": [{"code": "PAGINATION_NUMBER_INVALID", "message": "", "detail": null}]});
        return (StatusCode::BAD_REQUEST, axum::Json(body)).into_response();
    }
    let last = query.get("last").cloned().unwrap_or_default();
    if holds.breaks_behind.as_ref().is_some_and(|name| *name <= last) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let behind = holds.repositories.keys().filter(|name| **name > last);
    let names: Vec<&String> = behind.clone().take(number).collect();
    let mut response = axum::Json(json!({ "repositories": names })).into_response();
    if behind.count() > names.len() {
        // As registries behind a proxy write it: the host is no address of theirs.
        let link =
            format!("<http://elsewhere.test/v2/_catalog?last={}&n={number}>; rel=\"next\"", names[names.len() - 1]);
        response.headers_mut().insert("link", link.replace('/', "%2F").replace("%2Fv2%2F", "/v2/").parse().unwrap());
    }
    response
}

async fn tags(
    State(registry): State<Registry>,
    Path(rest): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    registry.begin(Silence::Tags).await;
    assert!(is_let_in(&headers) && method == Method::GET);
    let name = rest.strip_suffix("/tags/list").unwrap();
    let holds = registry.holds.lock().unwrap();
    if let Some((status, body)) = holds.tags_as {
        return (StatusCode::from_u16(status).unwrap(), body).into_response();
    }
    match holds.repositories.get(name) {
        Some(tags) if tags.is_empty() => axum::Json(json!({"name": name, "tags": null})).into_response(),
        Some(tags) => axum::Json(json!({"name": name, "tags": tags})).into_response(),
        None => unknown(),
    }
}

fn unknown() -> Response {
    let body: Value = json!({"errors": [{"code": "NAME_UNKNOWN", "message": "", "detail": null}]});
    (StatusCode::NOT_FOUND, axum::Json(body)).into_response()
}

/// A server in this process that knows the registry; nothing is done in its background.
async fn bed() -> (Registry, Bed, Arc<Catalogue>) {
    let (registry, url) = Registry::start().await;
    let bed = Bed::with(&format!(
        "registries: {{reg: {{url: \"{url}\", events: {{secret: 0123456789abcdef}}}}}}\n\
         catalogue: {{sweep_every: 1h, requests_at_once: 16}}\n"
    ));
    bed.app.prepare().await.unwrap();
    let catalogue = Arc::clone(bed.app.snapshot().catalogue.as_ref().unwrap());
    (registry, bed, catalogue)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("team{}/app-{number:06}", number % 7)).collect()
}

async fn tags_of(catalogue: &Catalogue, name: &str) -> Vec<String> {
    catalogue.tags("reg", name, None, 100).await.unwrap().into_iter().map(|tag| tag.name).collect()
}

/// Check 47, and the bound of a sweep: `DOCKWARDEN_REPOSITORIES=100000` is the issue's, which takes less than two minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_repositories_are_known_and_no_more_is_asked_at_once_than_may_be() {
    let count = std::env::var("DOCKWARDEN_REPOSITORIES").map_or(2500, |text| text.parse().unwrap());
    let (registry, _bed, catalogue) = bed().await;
    registry.with(names(count), &["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9"]);
    registry.set(|holds| holds.delay = Duration::from_millis(5));
    let began = Instant::now();
    assert_eq!(catalogue.sweep("reg").await.unwrap(), Swept::Complete(i64::try_from(count).unwrap()));
    let took = began.elapsed();
    assert_eq!(catalogue.listing("reg").len(), count);
    assert!(catalogue.listing("reg").iter().all(|entry| entry.tags == 10));
    let most = registry.most_at_once.load(Ordering::SeqCst);
    assert!((2..=16).contains(&most), "{most} at once");
    eprintln!("{count} repositories with 10 tags each in {took:?}, {most} at once");
    assert!(took < Duration::from_secs(120), "{took:?}");
    // What is known is not asked for once more.
    let asked = registry.asked.swap(0, Ordering::SeqCst);
    catalogue.sweep("reg").await.unwrap();
    let again = registry.asked.load(Ordering::SeqCst);
    assert!(again <= count / 1000 + 2 && asked > count, "{again} of {asked}");
}

/// A registry that allows smaller pages only (distribution 2.8 with `catalog.maxentries: 100`).
#[tokio::test]
async fn a_registry_with_small_pages_is_read_to_its_end() {
    let (registry, _bed, catalogue) = bed().await;
    registry.with(names(250), &["v1"]);
    registry.set(|holds| holds.max_entries = 100);
    assert_eq!(catalogue.sweep("reg").await.unwrap(), Swept::Complete(250));
    assert_eq!(catalogue.listing("reg").len(), 250);
}

/// Check 48: tags/list that is no list takes no tag away, whether the repository is in doubt or a sweep asks.
#[tokio::test]
async fn tags_stay_where_the_registry_does_not_say_that_they_are_gone() {
    let (registry, bed, catalogue) = bed().await;
    registry.with(["lib/x".to_owned(), "lib/y".to_owned()], &["v1", "v2"]);
    catalogue.sweep("reg").await.unwrap();
    assert_eq!(tags_of(&catalogue, "lib/x").await, ["v1", "v2"]);
    let records = Arc::clone(&bed.app.snapshot().records.as_ref().unwrap().records);
    let unknown = "{\"errors\": [{\"code\": \"NAME_UNKNOWN\", \"message\": \"\", \"detail\": null}]}";
    for (status, body) in [
        (401, "{\"errors\": []}"),
        (403, ""),
        (404, "<html>"),
        (404, unknown),
        (500, ""),
        (502, ""),
        (200, ""),
        (200, "[]"),
        (200, "{\"tags\": {}}"),
        (200, "{\"tags\": [1]}"),
    ] {
        registry.set(|holds| holds.tags_as = Some((status, body)));
        records.doubt("reg", "lib/x").await.unwrap();
        drop(catalogue.sweep("reg").await);
        assert_eq!(tags_of(&catalogue, "lib/x").await, ["v1", "v2"], "{status} {body}");
        assert!(catalogue.listing("reg").get("lib/x").is_some(), "{status} {body}");
    }
    registry.set(|holds| holds.tags_as = None);
    registry.with(["lib/x".to_owned()], &["v2"]);
    records.doubt("reg", "lib/x").await.unwrap();
    catalogue.sweep("reg").await.unwrap();
    assert_eq!(tags_of(&catalogue, "lib/x").await, ["v2"], "but for what it says itself");
    registry.with(["lib/x".to_owned()], &[]);
    records.doubt("reg", "lib/x").await.unwrap();
    catalogue.sweep("reg").await.unwrap();
    assert!(catalogue.listing("reg").get("lib/x").is_none());
}

/// The monotonic clock goes on by this much at once.
async fn later(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

/// Check 48, of a registry that takes every request and never answers: it is given up in its time, what is known stays and is served, the
/// error says so, and once the registry answers again the sweep comes to its end.
#[tokio::test]
async fn check_48_a_registry_that_never_answers_is_given_up_and_what_is_known_of_it_stays() {
    let (registry, bed, catalogue) = bed().await;
    registry.with(["lib/x".to_owned(), "lib/y".to_owned()], &["v1", "v2"]);
    catalogue.sweep("reg").await.unwrap();
    let records = Arc::clone(&bed.app.snapshot().records.as_ref().unwrap().records);
    for (silence, within) in [(Silence::Tags, 30), (Silence::All, 300)] {
        registry.set(|holds| holds.silent = Some(silence));
        records.doubt("reg", "lib/x").await.unwrap();
        let asked = registry.asked.swap(0, Ordering::SeqCst);
        assert!(asked > 0);
        let sweeping = Arc::clone(&catalogue);
        let sweep = tokio::spawn(async move { sweeping.sweep("reg").await });
        // The page of the catalog, and the tags of what is in doubt.
        let expected = match silence {
            Silence::Tags => 2,
            Silence::All => 1,
        };
        let began = Instant::now();
        while registry.asked.load(Ordering::SeqCst) < expected {
            assert!(began.elapsed() < Duration::from_secs(20), "it is not asked");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        later(Duration::from_secs(within - 5)).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(!sweep.is_finished(), "{within} s are allowed");
        // Who asks meanwhile does not wait for it.
        assert_eq!(tags_of(&catalogue, "lib/x").await, ["v1", "v2"]);
        assert_eq!(catalogue.sweep("reg").await.unwrap(), Swept::Elsewhere);
        later(Duration::from_secs(6)).await;
        let failed = sweep.await.unwrap().unwrap_err();
        assert!(matches!(&failed, NotSwept::Registry(_)), "{failed:?}");
        assert!(failed.to_string().contains(&format!("no answer within {within} s")), "{failed}");
        let status = catalogue.status("reg").await.unwrap().unwrap();
        assert_eq!(status.sweep.error.map(|(told, _)| told), Some(failed.to_string()));
        assert_eq!((status.repositories, status.sweep.ended), (2, None));
        for name in ["lib/x", "lib/y"] {
            assert_eq!(tags_of(&catalogue, name).await, ["v1", "v2"]);
            assert!(catalogue.listing("reg").get(name).is_some_and(|entry| entry.tags == 2));
        }
        registry.set(|holds| holds.silent = None);
        assert_eq!(catalogue.sweep("reg").await.unwrap(), Swept::Complete(2));
        assert_eq!(catalogue.status("reg").await.unwrap().unwrap().sweep.error, None);
    }
}

/// Checks 49 and 50: a catalog that breaks off, or is empty once, takes nothing away; the sweep goes on where it broke off; what people wrote
/// is there again with the repository.
#[tokio::test]
async fn a_catalog_that_breaks_off_or_is_empty_once_takes_nothing_away() {
    let (registry, _bed, catalogue) = bed().await;
    registry.with(names(2500), &["v1"]);
    catalogue.sweep("reg").await.unwrap();
    let name = "team0/app-000000";
    let text = Description { text: "the first".to_owned(), ..Description::default() };
    catalogue.describe("reg", name, &text).await.unwrap();
    catalogue.star("reg", name, "ann", Star::Given).await.unwrap();
    let all: Vec<String> = registry.holds.lock().unwrap().repositories.keys().cloned().collect();
    registry.set(|holds| holds.breaks_behind = Some(all[999].clone()));
    let failed = catalogue.sweep("reg").await.unwrap_err();
    assert!(failed.to_string().contains("500"), "{failed}");
    let status = catalogue.status("reg").await.unwrap().unwrap();
    assert!(status.sweep.error.is_some() && status.sweep.cursor.as_ref() == Some(&all[999]), "{status:?}");
    assert_eq!((status.repositories, status.sweep.ended), (2500, None));
    registry.set(|holds| holds.breaks_behind = None);
    registry.asked.store(0, Ordering::SeqCst);
    assert_eq!(catalogue.sweep("reg").await.unwrap(), Swept::Complete(2500));
    assert_eq!(registry.asked.load(Ordering::SeqCst), 2, "the pages that were left");
    let status = catalogue.status("reg").await.unwrap().unwrap();
    assert_eq!(status.sweep.error, None);
    // With another storage, for a while.
    let held = std::mem::take(&mut registry.holds.lock().unwrap().repositories);
    assert_eq!(catalogue.sweep("reg").await.unwrap(), Swept::Complete(0));
    assert_eq!(catalogue.listing("reg").len(), 2500, "one empty catalog");
    registry.set(|holds| holds.repositories = held.clone());
    assert_eq!(catalogue.sweep("reg").await.unwrap(), Swept::Complete(2500));
    registry.set(|holds| holds.repositories.clear());
    for left in [2500, 0] {
        assert_eq!(catalogue.sweep("reg").await.unwrap(), Swept::Complete(0));
        assert_eq!(catalogue.listing("reg").len(), left);
    }
    registry.set(|holds| holds.repositories = held);
    catalogue.sweep("reg").await.unwrap();
    let entry = catalogue.listing("reg").get(name).unwrap().clone();
    assert_eq!((entry.description.text.as_str(), entry.stars), ("the first", 1));
}

/// 200 events a second and more, each in the records before its 202.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_events_are_kept_and_worked_on_as_they_come() {
    const COUNT: usize = 1000;
    let (registry, bed, catalogue) = bed().await;
    registry.with([], &[]);
    tokio::spawn(Arc::clone(&catalogue).work());
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..20 {
        let router = bed.router();
        tasks.spawn(async move {
            for number in (0..COUNT).filter(|number| number % 20 == lane) {
                let event = json!({"events": [{
                    "id": format!("e{number}"), "timestamp": "2026-11-30T04:05:06Z", "action": "push",
                    "target": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1,
                        "digest": format!("sha256:{number:064x}"), "repository": format!("many/r{}", number % 50),
                        "tag": format!("t{number}")},
                    "request": {"method": "PUT"}, "actor": {"name": "ann"},
                }]});
                let sent = crate::bed::Ask::new(router.clone(), Method::POST, "/api/v1/events")
                    .header("authorization", "Bearer 0123456789abcdef")
                    .body(&event.to_string())
                    .send()
                    .await;
                assert_eq!(sent.status, 202);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let sent = began.elapsed();
    let records = Arc::clone(&bed.app.snapshot().records.as_ref().unwrap().records);
    while records.count_waiting(1).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = began.elapsed();
    let mut tags = 0;
    for number in 0..50 {
        tags += tags_of(&catalogue, &format!("many/r{number}")).await.len();
    }
    assert_eq!(tags, COUNT);
    eprintln!("{COUNT} events kept in {sent:?} and worked on in {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}: fewer than 200 a second");
}

/// The seed's path, Basic, wrong secrets, and methods.
#[tokio::test]
async fn events_are_taken_with_the_registrys_own_secret_alone() {
    let (_registry, bed, _catalogue) = bed().await;
    let send = async |path: &str, method: Method, header: &'static str| {
        let asked = bed.request(method, path).header("authorization", header).body("{\"events\": []}");
        asked.send().await.status
    };
    for path in ["/api/v1/events", "/init/registry/call/json/events"] {
        assert_eq!(send(path, Method::POST, "Bearer 0123456789abcdef").await, 202);
        // `x:0123456789abcdef`.
        assert_eq!(send(path, Method::POST, "Basic eDowMTIzNDU2Nzg5YWJjZGVm").await, 202);
        assert_eq!(send(path, Method::POST, "Bearer 0123456789abcdeg").await, 401);
        assert_eq!(send(path, Method::POST, "Bearer").await, 401);
        assert_eq!(send(path, Method::GET, "Bearer 0123456789abcdef").await, 405);
    }
    let mut refused = Vec::new();
    for number in 0..200 {
        let guess =
            bed.request(Method::POST, "/api/v1/events").header("authorization", &format!("Bearer guess{number}"));
        refused.push(guess.send().await.status);
    }
    assert!(refused.contains(&429), "guesses are slowed down: {refused:?}");
    assert_eq!(send("/api/v1/events", Method::POST, "Bearer 0123456789abcdef").await, 202, "the registry is not");
    let without = Bed::with("");
    let asked = without.request(Method::POST, "/api/v1/events").send().await;
    assert_eq!(asked.status, 404, "there are no registries");
}

/// Registries of the records are swept beside those of the file, followed as they change; what stays as it is keeps its client.
#[tokio::test]
async fn registries_are_followed_as_the_directory_changes() {
    let ((one, one_url), (two, two_url)) = (Registry::start().await, Registry::start().await);
    one.with(["lib/x".to_owned()], &["v1"]);
    two.with(["lib/y".to_owned(), "lib/z".to_owned()], &["v1"]);
    let bed = Bed::with(
        "directory: {groups: {dev: {id: 10}}}\n\
         records: {sqlite: $DIR/dockwarden.db}\n\
         api: {listen: main}\n\
         registries_declared: {networks: [127.0.0.1]}\n\
         catalogue: {sweep_every: 1h}\n",
    );
    bed.app.prepare().await.unwrap();
    let snapshot = bed.app.snapshot();
    let (catalogue, directory) = (snapshot.catalogue.as_ref().unwrap(), snapshot.access.directory().unwrap());
    let declared = |url: &str| NewEntry::Registry {
        registry: Box::new(Declared::from_address("late", url.parse().unwrap())),
        authorities: None,
        creator: None,
    };
    assert_eq!(catalogue.services(), Vec::<String>::new());
    directory.make(declared(&one_url)).await.unwrap();
    // It takes all that is declared in place of what was, with no restart and no reload.
    snapshot.follow_directory();
    assert_eq!(catalogue.services(), ["late"]);
    assert_eq!(catalogue.sweep("late").await.unwrap(), Swept::Complete(1));
    assert_eq!(catalogue.listing("late").iter().map(|entry| entry.name.as_ref()).collect::<Vec<&str>>(), ["lib/x"]);
    assert_eq!(catalogue.status("late").await.unwrap().unwrap().repositories, 1);
    // Another address is asked from then on.
    directory.replace(declared(&two_url), Version(1)).await.unwrap();
    snapshot.follow_directory();
    let before = one.asked.load(Ordering::SeqCst);
    assert_eq!(catalogue.sweep("late").await.unwrap(), Swept::Complete(2));
    assert_eq!(one.asked.load(Ordering::SeqCst), before);
    let at = EntryAt { kind: EntryKind::Registry, name: "late".to_owned() };
    directory.remove(&at, Version(2), time::OffsetDateTime::now_utc()).await.unwrap();
    snapshot.follow_directory();
    assert_eq!(catalogue.services(), Vec::<String>::new());
    assert!(matches!(catalogue.sweep("late").await, Err(NotSwept::NoRegistry)));
    assert_eq!(catalogue.status("late").await.unwrap(), None);
}

/// The work in the background takes up a registry that is declared while it runs, and leaves one that is declared no more.
#[tokio::test]
async fn the_background_sweeps_what_is_declared_while_it_runs() {
    let (registry, url) = Registry::start().await;
    registry.with(["lib/x".to_owned()], &["v1"]);
    let bed = Bed::with(
        "directory: {groups: {dev: {id: 10}}}\n\
         records: {sqlite: $DIR/dockwarden.db}\n\
         registries_declared: {networks: [127.0.0.1]}\n\
         api: {listen: main}\n",
    );
    bed.app.prepare().await.unwrap();
    let snapshot = bed.app.snapshot();
    let (catalogue, directory) = (snapshot.catalogue.as_ref().unwrap(), snapshot.access.directory().unwrap());
    let work = tokio::spawn(dockwarden::app::look_after_catalogue(Arc::clone(&bed.app)));
    let entry = NewEntry::Registry {
        registry: Box::new(Declared::from_address("late", url.parse().unwrap())),
        authorities: None,
        creator: None,
    };
    directory.make(entry).await.unwrap();
    let began = Instant::now();
    while catalogue.listing("late").get("lib/x").is_none() {
        assert!(began.elapsed() < Duration::from_secs(20), "it was not swept");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    work.abort();
}

/// An envelope that holds more events than may wait at once is kept in parts: it would come again for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_envelope_of_more_events_than_may_wait_is_kept() {
    let (_registry, bed, catalogue) = bed().await;
    let event = |number: usize| {
        let target = json!({"mediaType": "application/vnd.oci.image.index.v1+json", "digest": format!("sha256:{number:064x}"),
            "repository": "many/x", "tag": format!("t{number}")});
        json!({"id": number.to_string(), "timestamp": "2026-01-01T00:00:00Z", "action": "push", "target": target})
    };
    let count = 10_001;
    let body = json!({ "events": (0..count).map(event).collect::<Vec<_>>() }).to_string();
    // As a registry does: again, as long as it is told that there is trouble.
    let mut status = 0;
    for _ in 0..20 {
        let sent = bed.request(Method::POST, "/api/v1/events").header("authorization", "Bearer 0123456789abcdef");
        status = sent.body(&body).send().await.status;
        if status == 202 {
            break;
        }
    }
    assert_eq!(status, 202);
    let records = std::sync::Arc::clone(&bed.app.snapshot().records.as_ref().unwrap().records);
    assert_eq!(records.count_waiting(20_000).await.unwrap(), count as u64);
    drop(catalogue);
}
