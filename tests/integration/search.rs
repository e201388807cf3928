//! Search and the catalog: checks 31 to 37 of the reference. "Listed if and only if pull is granted" is in
//! `properties/listed.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dockwarden::catalogue::Catalogue;
use dockwarden::records::catalogue::{Description, Listing, Mark, SweepNumber};
use hyper::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::bed::{ALICE, ALICE_HASH, Bed, Caller, NOBODY};
use crate::directory::{opensvc, person};

/// What is in `reg`.
const NAMES: [&str; 12] = [
    "users/1/x",
    "users/2/x",
    "groups/10/x",
    "groups/20/x",
    "apps/100/x",
    "apps/101/x",
    "apps/999/x",
    "appstore/x",
    "lib/x",
    "lib/a-b",
    "lib/a/b",
    "lib/p_x",
];

/// Has the records know these repositories, and the lists too.
pub(crate) async fn fill(bed: &Bed, service: &str, names: &[String]) -> Arc<Catalogue> {
    bed.app.prepare().await.unwrap();
    let snapshot = bed.app.snapshot();
    let records = Arc::clone(&snapshot.records.as_ref().unwrap().records);
    let catalogue = Arc::clone(snapshot.catalogue.as_ref().unwrap());
    let now = OffsetDateTime::now_utc();
    for some in names.chunks(1000) {
        records.found(service, SweepNumber(1), some, now).await.unwrap();
        let listed = |name: &String| Listing { repository: name.clone(), tags: vec!["v1".to_owned()], asked: now };
        records.listed(service, &some.iter().map(listed).collect::<Vec<_>>(), now).await.unwrap();
    }
    let description = Description { text: "The Library's 50%".to_owned(), official: Mark::Set, automated: Mark::Unset };
    if let Some(last) = names.last() {
        catalogue.describe(service, last, &description).await.unwrap();
    }
    assert_eq!(catalogue.listing(service).len(), names.len());
    catalogue
}

async fn bed(config: &str) -> Bed {
    let bed = Bed::with(config);
    fill(&bed, "reg", &NAMES.map(str::to_owned)).await;
    bed
}

async fn searched(bed: &Bed, target: &str, by: Caller) -> Value {
    bed.get(target).header("host", "reg").by(by).send().await.ok().json()
}

async fn found(bed: &Bed, target: &str, by: Caller) -> Vec<String> {
    let reply = searched(bed, target, by).await;
    let results = reply["results"].as_array().unwrap();
    assert_eq!(reply["num_results"], results.len());
    results.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

/// Check 31: GET /v1/_ping.
#[tokio::test]
async fn ping_says_that_the_login_may_come_here() {
    let bed = bed(&opensvc()).await;
    let reply = bed.get("/v1/_ping").send().await.ok();
    assert_eq!((reply.header("x-docker-registry-standalone"), reply.json()), ("true", json!({"standalone": true})));
    // Without registries there is nothing.
    let other = Bed::with("");
    for target in ["/v1/_ping", "/v1/search", "/v2/_catalog", "/init/registry/call/json/search"] {
        assert_eq!(other.get(target).send().await.status, 404, "{target}");
    }
}

/// Checks 23 and 32 to 34: what ann may pull, whatever `n` is, and `%` for itself.
#[tokio::test]
async fn search_shows_what_the_asker_may_pull() {
    let bed = bed(&opensvc()).await;
    let hers = ["apps/100/x", "apps/101/x", "appstore/x", "groups/10/x", "lib/p_x", "lib/x", "users/1/x"];
    assert_eq!(found(&bed, "/v1/search?q=x&n=25", person("ann")).await, hers);
    assert_eq!(found(&bed, "/init/registry/call/json/search?q=x", person("ann")).await, hers);
    assert_eq!(found(&bed, "/v1/search?q=X&n=2", person("ann")).await, hers[..2], "the ACL first, then the limit");
    let all = found(&bed, "/v1/search", person("ann")).await;
    assert_eq!(all.len(), 9);
    for target in ["/v1/search?q=&n=0", "/v1/search?n=101", "/v1/search?n=abc&q="] {
        assert_eq!(found(&bed, target, person("ann")).await, all, "{target}");
    }
    // Of what is written about it, too; `%` and `_` stand for themselves.
    assert_eq!(found(&bed, "/v1/search?q=library", person("ann")).await, ["lib/p_x"]);
    assert_eq!(found(&bed, "/v1/search?q=%25", person("ann")).await, ["lib/p_x"]);
    assert_eq!(found(&bed, "/v1/search?q=_", person("ann")).await, ["lib/p_x"]);
    assert_eq!(
        searched(&bed, "/v1/search?q=Lib/P", person("ann")).await,
        json!({"query": "Lib/P", "num_results": 1, "results": [{
            "name": "lib/p_x", "description": "The Library's 50%", "star_count": 0, "is_official": true, "is_automated": false,
        }]})
    );
    assert_eq!(found(&bed, "/v1/search?q=", person("dan")).await, [""; 0]);
    assert_eq!(found(&bed, "/v1/search?q=apps", person("web@n1")).await, ["apps/100/x", "appstore/x"]);
    // At another registry there is nothing of this one; at none, nobody knows which is meant.
    let at = |host: &'static str| bed.get("/v1/search").header("host", host).by(person("ann")).send();
    assert_eq!(at("vault.example.org").await.ok().json()["num_results"], 0);
    assert_eq!((at("127.0.0.1:5000").await.status, at("elsewhere.test").await.status), (200, 404));
    assert_eq!(bed.request(Method::POST, "/v1/search").header("host", "reg").send().await.status, 405);
}

/// Checks 35 and 36: an empty login is nobody's, and none at all is asked for one, so that podman goes on to the catalog.
#[tokio::test]
async fn an_empty_login_is_anonymous_and_no_login_is_asked_for_one() {
    let everybody = "  - {match: {name: \"lib/*\"}, actions: [pull]}\n";
    let config =
        opensvc().replace("acl: []\n", &format!("acl:\n{everybody}")).replacen("users:\n", "users:\n  \"\": {}\n", 1);
    let bed = bed(&config).await;
    assert_eq!(found(&bed, "/v1/search?q=", Caller::Header("Basic Og==")).await, ["lib/a-b", "lib/p_x", "lib/x"]);
    let with_token = bed.get("/v1/search?q=p_").header("host", "reg").header("x-docker-token", "true").send().await;
    assert_eq!(with_token.ok().json()["num_results"], 1);
    for target in ["/v1/search?q=x", "/v2/_catalog"] {
        let reply = bed.get(target).header("host", "reg").by(NOBODY).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"), "{target}");
        assert_eq!(reply.header("www-authenticate"), "Basic realm=\"Acme\"", "not what Host says");
    }
    // Nobody may come in without an account here.
    let closed = self::bed(&opensvc()).await;
    let reply = closed.get("/v1/search").header("host", "reg").by(Caller::Header("Basic Og==")).send().await;
    assert_eq!(reply.status, 401);
    let wrong = closed.get("/v1/search").header("host", "reg").by(Caller::Account("ann", "wrong")).send().await;
    assert_eq!(wrong.status, 401);
}

/// Check 37: a token counts by whose it is, with the labels of a login.
#[tokio::test]
async fn a_token_shows_what_a_login_does() {
    let bed = bed(&opensvc()).await;
    for name in ["ann", "cat", "dan", "web@n1"] {
        let scope = "/auth?service=reg&scope=registry:catalog:search";
        let token = bed.get(scope).by(person(name)).send().await.ok().token();
        let line = format!("Bearer {token}");
        let by_token = bed.get("/v1/search?q=x").header("host", "reg").header("authorization", &line).send().await.ok();
        assert_eq!(by_token.json(), searched(&bed, "/v1/search?q=x", person(name)).await, "{name}");
        // It is for this registry.
        let elsewhere = bed.get("/v1/search").header("host", "vault.example.org").header("authorization", &line).send();
        assert_eq!(elsewhere.await.status, 401);
    }
}

/// A backend that knows labels at a login only: a list by the token alone could be another than what pulling allows.
#[tokio::test]
async fn a_token_of_whom_only_a_login_tells_is_asked_for_the_login() {
    let config = format!(
        "acl:\n  - {{match: {{labels: {{team: \"*\"}}}}, actions: [pull]}}\nusers:\n  alice: {{password: \"{ALICE_HASH}\"}}\n\
         http_auth: {{url: \"http://127.0.0.1:1/login\", headers: {{Authorization: \"Basic ${{basic}}\"}}}}\nregistries: {{reg: {{url: \"http://127.0.0.1:5000\"}}}}\n"
    );
    let bed = self::bed(&config).await;
    let token = bed.get("/auth?service=reg").by(ALICE).send().await.ok().token();
    let ask = |line: String| bed.get("/v2/_catalog").header("host", "reg").header("authorization", &line).send();
    assert_eq!(ask(format!("Bearer {token}")).await.status, 200, "the file knows alice");
    bed.folder.configure(&config.replace(
        &format!("  alice: {{password: \"{ALICE_HASH}\"}}"),
        &format!("  bob: {{password: \"{ALICE_HASH}\"}}"),
    ));
    bed.app.reload();
    let reply = ask(format!("Bearer {token}")).await;
    assert_eq!((reply.status, reply.header("www-authenticate")), (401, "Basic realm=\"Acme\""));
}

/// The catalog page by page, in the order of registries.
#[tokio::test]
async fn the_catalog_has_pages_and_the_order_of_registries() {
    let bed = bed(&opensvc()).await;
    let (mut all, mut target) = (Vec::new(), "/v2/_catalog?n=2".to_owned());
    loop {
        let reply = bed.get(&target).header("host", "reg").by(person("ann")).send().await.ok();
        let names = reply.json()["repositories"].as_array().unwrap().clone();
        assert!(names.len() <= 2);
        all.extend(names.iter().map(|name| name.as_str().unwrap().to_owned()));
        match reply.header("link").strip_prefix('<').and_then(|line| line.strip_suffix(">; rel=\"next\"")) {
            Some(next) => target = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(
        all,
        [
            "apps/100/x",
            "apps/101/x",
            "appstore/x",
            "groups/10/x",
            "lib/a/b",
            "lib/a-b",
            "lib/p_x",
            "lib/x",
            "users/1/x"
        ]
    );
    for query in ["n=0", "n=x", "n=1&n=2"] {
        let reply = bed.get(&format!("/v2/_catalog?{query}")).header("host", "reg").by(person("ann")).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "PAGINATION_NUMBER_INVALID"), "{query}");
    }
}

/// What a list of rules says of all names is one answer of it, and one decision.
#[tokio::test]
async fn what_is_looked_through_is_counted_as_decided() {
    let bed = bed(&opensvc()).await;
    let counted = async |line: &str| -> u64 {
        let metrics = bed.get("/metrics").send().await.ok().text();
        let value = metrics.lines().find_map(|own| own.strip_prefix(line)?.strip_prefix(' ').map(str::to_owned));
        value.map_or(0, |value| value.parse().unwrap())
    };
    let decided = "dockwarden_backend_answers_total{backend=\"standard_rules\",outcome=\"decided\"}";
    let unmatched = "dockwarden_backend_answers_total{backend=\"acl\",outcome=\"no_match\"}";
    let all =
        async || [counted(decided).await, counted(unmatched).await, counted("dockwarden_decision_seconds_count").await];
    let before = all().await;
    assert_eq!(found(&bed, "/v1/search?q=lib/", person("ann")).await.len(), 4);
    let after = all().await;
    // The login asks the rules nothing, and is a decision; so are the names, and what is written about them, where nothing is left to ask.
    assert_eq!([0, 1, 2].map(|at| after[at] - before[at]), [1, 1, 3]);
}

/// The bound: search and a first page over 100,000 repositories, for an account with 50 groups. `DOCKWARDEN_REPOSITORIES=100000` is the
/// issue's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn search_and_the_catalog_are_quick_however_little_may_be_pulled() {
    let count = std::env::var("DOCKWARDEN_REPOSITORIES").map_or(5000, |text| text.parse::<usize>().unwrap());
    let names: Vec<String> = (0..count)
        .map(|number| match number % 4 {
            0 => format!("groups/{}/app-{number}", 1 + number % 3000),
            1 => format!("apps/{}/app-{number}", 1 + number % 3000),
            2 => format!("users/{number}/app"),
            _ => format!("team-{number}/app"),
        })
        .collect();
    let groups: Vec<String> = (1..=50).map(|id| format!("g{id}")).collect();
    let declared: Vec<String> =
        groups.iter().enumerate().map(|(at, name)| format!("{name}: {{id: {}}}", at + 1)).collect();
    let config = format!(
        "acl: []\nstandard_rules: opensvc\nregistries: {{reg: {{url: \"http://127.0.0.1:5000\", publications: [g1], responsibles: [g2]}}}}\n\
         users:\n  ann: {{password: \"{ALICE_HASH}\"}}\n  none: {{password: \"{ALICE_HASH}\"}}\n\
         directory:\n  groups: {{{}}}\n  users:\n    ann: {{id: 1, groups: [{all}], privileges: [puller, pusher, manager]}}\n    \
         none: {{id: 3, groups: [{all}]}}\n  apps: {{web: {{id: 7, publications: [g1]}}}}\n",
        declared.join(", "),
        all = groups.join(", "),
    );
    let bed = Bed::with(&config);
    fill(&bed, "reg", &names).await;
    for account in ["ann", "none"] {
        for target in [
            "/v1/search?q=app",
            "/v1/search?q=no-such",
            "/v1/search?q=users/",
            "/v2/_catalog",
            "/v2/_catalog?n=1000&last=users",
        ] {
            let mut took = Vec::new();
            for _ in 0..50 {
                let began = Instant::now();
                bed.get(target).header("host", "reg").basic(account, "alice-pw").send().await.ok();
                took.push(began.elapsed());
            }
            took.sort();
            let (half, most) = (took[took.len() / 2], took[took.len() - 1]);
            eprintln!("{count} repositories, {account} {target}: median {half:?}, of 50 at most {most:?}");
            assert!(half < Duration::from_millis(20), "{account} {target}: {half:?}");
        }
    }
}
