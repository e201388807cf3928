//! Registries, what is in them, and the directory, by the API: who sees and does what, by the people of the reference's checks.

use axum::http::Method;
use dockwarden::records::catalogue::{Description, Listing, Mark, SweepNumber};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::bed::{Ask, Bed, Caller, NOBODY, Reply};
use crate::directory::{granted, opensvc, person};

const REGISTRIES: &str = "/api/v1/registries";
/// What is in `reg`.
const NAMES: [&str; 9] = [
    "apps/100/x",
    "apps/101/x",
    "apps/999/x",
    "appstore/x",
    "groups/10/x",
    "groups/20/x",
    "lib/x",
    "users/1/x",
    "users/2/x",
];
/// The people and services of the checks.
const EVERYBODY: [&str; 7] = ["ann", "bob", "cat", "dan", "eve", "web@n1", "bank@n1"];

/// A server over the reference's directory and records, and a catalogue of its registries: each of [`NAMES`] has the tags `v1` and
/// `v2` in `reg`, and nothing is in `vault`.
async fn bed() -> Bed {
    bed_with(&opensvc()).await
}

pub(crate) async fn bed_with(directory: &str) -> Bed {
    let bed = Bed::with(&format!("{directory}records: {{sqlite: $DIR/dockwarden.db}}\napi: {{listen: main}}\n"));
    bed.app.prepare().await.unwrap();
    let snapshot = bed.app.snapshot();
    snapshot.access.directory().unwrap().read_again().await.unwrap();
    let records = &snapshot.records.as_ref().unwrap().records;
    let (names, now) = (NAMES.map(str::to_owned), OffsetDateTime::now_utc());
    records.found("reg", SweepNumber(1), &names, now).await.unwrap();
    let listing = |name: &String| Listing {
        repository: name.clone(),
        tags: vec!["v1".to_owned(), "v2".to_owned()],
        asked: OffsetDateTime::now_utc(),
    };
    records.listed("reg", &names.each_ref().map(listing), now).await.unwrap();
    let text = Description { text: "What <everybody> needs".to_owned(), official: Mark::Set, automated: Mark::Unset };
    // The lists are read again with it.
    snapshot.catalogue.as_ref().unwrap().describe("reg", "lib/x", &text).await.unwrap();
    bed
}

fn get(bed: &Bed, who: &'static str, target: &str) -> Ask {
    bed.get(target).by(person(who))
}

/// The items of a list by this member, over all of its pages.
async fn listed(bed: &Bed, who: &'static str, target: &str, member: &str) -> Vec<String> {
    let (mut all, mut cursor): (Vec<String>, Option<String>) = (Vec::new(), None);
    loop {
        let query = cursor.iter().map(|at| format!("cursor={at}")).collect::<String>();
        let joint = if target.contains('?') { "&" } else { "?" };
        let page = get(bed, who, &format!("{target}{joint}{query}")).send().await.ok().json();
        let items = page["items"].as_array().unwrap();
        all.extend(items.iter().map(|item| item[member].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            None => return all,
            Some(next) => cursor = Some(form_urlencoded::byte_serialize(next.as_bytes()).collect()),
        }
    }
}

fn repository(name: &str) -> String {
    format!("{REGISTRIES}/reg/repositories/{}", name.replace('/', "%2F"))
}

/// The status and the reason of a refusal.
fn refused(reply: &Reply) -> (u16, String) {
    assert_eq!(reply.header("content-type"), "application/problem+json", "{}", reply.text());
    let json = reply.json();
    assert_eq!(json["status"].as_u64(), Some(reply.status.into()));
    assert!(!json["detail"].as_str().unwrap().is_empty());
    (reply.status, json["reason"].as_str().unwrap().to_owned())
}

fn missing() -> (u16, String) {
    (404, "not_found".to_owned())
}

/// Check 56: who sees which registries, and what is invisible is not there.
#[tokio::test]
async fn check_56_a_registry_is_listed_and_shown_to_whom_it_is_published_to() {
    let bed = bed().await;
    for (who, expected) in [
        ("ann", &["reg", "vault"][..]),
        ("cat", &["reg", "vault"]),
        ("eve", &["reg", "vault"]),
        ("dan", &[]),
        ("bank@n1", &[]),
        ("web@n1", &["reg", "vault"]),
    ] {
        assert_eq!(listed(&bed, who, REGISTRIES, "service").await, expected, "{who}");
        let shown = get(&bed, who, &format!("{REGISTRIES}/reg")).send().await;
        match expected.is_empty() {
            true => assert_eq!(refused(&shown), missing(), "{who}"),
            false => {
                // Where it is, and how much is in it, is for her who manages it.
                let url = shown.ok().json()["url"].clone();
                let expected = if who == "cat" { "http://127.0.0.1:5000/".into() } else { Value::Null };
                assert_eq!(url, expected, "{who}");
            }
        }
        let nowhere = get(&bed, who, &format!("{REGISTRIES}/nowhere")).send().await;
        assert_eq!(refused(&nowhere), missing(), "{who}");
    }
    let counted = get(&bed, "ann", &format!("{REGISTRIES}?search=VAU&count=true")).send().await.ok().json();
    assert_eq!((&counted["count"], &counted["items"][0]["service"]), (&1.into(), &"vault".into()));
    let shown = get(&bed, "cat", &format!("{REGISTRIES}/reg")).send().await.ok().json();
    assert_eq!((&shown["repositories"], &shown["origin"]), (&NAMES.len().into(), &"file".into()));
}

/// A list shows exactly what a token lets its asker pull; what it does not show is not there by its name either.
#[tokio::test]
async fn a_repository_is_listed_if_and_only_if_it_can_be_pulled() {
    let bed = bed().await;
    for who in EVERYBODY {
        let target = format!("{REGISTRIES}/reg/repositories?limit=2");
        let mut expected = Vec::new();
        for name in NAMES {
            let actions = granted(&bed, who, &format!("repository:{name}:pull,delete"), "reg").await;
            if actions.contains("pull") {
                expected.push(name.to_owned());
            }
            let shown = get(&bed, who, &repository(name)).send().await;
            let tags = get(&bed, who, &format!("{}/tags", repository(name))).send().await;
            match actions.is_empty() {
                true => assert_eq!((refused(&shown), refused(&tags)), (missing(), missing()), "{who}: {name}"),
                false => {
                    assert_eq!(shown.ok().json()["name"], name, "{who}");
                    let (first, next) = (tags.ok().json()["items"][0].clone(), "v1");
                    assert_eq!(first["name"], next, "{who}: {name}");
                }
            }
        }
        match who {
            // They do not even see the registry.
            "dan" | "bank@n1" => assert_eq!(refused(&get(&bed, who, &target).send().await), missing(), "{who}"),
            _ => assert_eq!(listed(&bed, who, &target, "name").await, expected, "{who}"),
        }
    }
    assert_eq!(refused(&get(&bed, "ann", &repository("lib/nothing")).send().await), missing());
    assert_eq!(listed(&bed, "ann", &format!("{}/tags?limit=1", repository("lib/x")), "name").await, ["v1", "v2"]);
}

/// Searching, filters and counts, each over what the asker may see alone.
#[tokio::test]
async fn a_list_is_searched_filtered_and_counted() {
    let bed = bed().await;
    for (query, expected) in [
        ("?search=LIB", &["lib/x"][..]),
        ("?search=everybody", &["lib/x"]),
        ("?search=%25", &[]),
        ("?search=_", &[]),
        ("?search=apps/", &["apps/100/x", "apps/101/x"]),
        ("?official=true", &["lib/x"]),
        ("?official=false&search=apps", &["apps/100/x", "apps/101/x", "appstore/x"]),
        ("?automated=true", &[]),
        ("?cursor=groups/20/x", &["lib/x", "users/1/x"]),
    ] {
        let target = format!("{REGISTRIES}/reg/repositories{query}");
        let page = get(&bed, "ann", &target).send().await.ok().json();
        let names: Vec<&str> =
            page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{query}");
        assert_eq!(page.get("count"), None);
    }
    let page = get(&bed, "ann", &format!("{REGISTRIES}/reg/repositories?limit=1&count=true")).send().await.ok().json();
    assert_eq!((&page["count"], &page["next"]), (&6.into(), &"apps/100/x".into()));
    for wrong in ["?limit=0", "?limit=1001", "?limit=x", "?count=1", "?other=1", "?limit=1&limit=2", "?official=yes"] {
        let reply = get(&bed, "ann", &format!("{REGISTRIES}/reg/repositories{wrong}")).send().await;
        assert_eq!(refused(&reply), (400, "bad_request".to_owned()), "{wrong}");
    }
}

/// Nobody is anonymous here, and a wrong password is as at every door.
#[tokio::test]
async fn whoever_asks_logs_in() {
    let bed = bed().await;
    for target in [REGISTRIES, "/api/v1/registries/reg", "/api/v1/registries/reg/repositories"] {
        assert_eq!(refused(&bed.get(target).by(NOBODY).send().await), (401, "login_needed".to_owned()));
        let wrong = bed.get(target).by(Caller::Account("ann", "wrong")).send().await;
        assert_eq!(refused(&wrong), (401, "wrong_credentials".to_owned()));
        let method = bed.request(Method::PUT, target).by(person("cat")).send().await;
        assert_eq!((method.status, method.json()["reason"].clone()), (405, Value::from("bad_request")));
    }
}

/// Checks 54 and 55 as far as no registry is asked: whoever may not delete learns that, or that there is nothing.
#[tokio::test]
async fn checks_54_and_55_a_deletion_is_decided_as_whoever_asks() {
    let bed = bed().await;
    let delete = |target: String| bed.request(Method::DELETE, &target);
    for (who, name, expected) in [
        ("ann", "lib/x", (403, "not_granted")),
        ("ann", "groups/20/x", (404, "not_found")),
        ("ann", "users/1/x", (403, "not_granted")),
        ("dan", "lib/x", (404, "not_found")),
        ("web@n1", "apps/100/x", (403, "not_granted")),
        // Whoever manages the registry may, and it is away.
        ("cat", "apps/100/x", (502, "registry_failed")),
        ("cat", "users/1/x", (502, "registry_failed")),
    ] {
        for target in [format!("{}/tags/v1", repository(name)), repository(name)] {
            let reply = delete(target).by(person(who)).send().await;
            assert_eq!(refused(&reply), (expected.0, expected.1.to_owned()), "{who}: {name}");
        }
    }
    for wrong in ["?with=a&with=b", "?other=1"] {
        let reply = delete(format!("{}/tags/v1{wrong}", repository("lib/x"))).by(person("cat")).send().await;
        assert_eq!(refused(&reply).0, 400, "{wrong}");
    }
    let tag = format!("{}/tags/v1", repository("lib/x"));
    let reply = delete(tag).by(person("cat")).header("if-match", "sha256:0").send().await;
    assert_eq!(refused(&reply).0, 400, "a digest without its quotes");
}

/// Check 57: "who may pull this" agrees with the token, account by account; and who pushes, too.
#[tokio::test]
async fn check_57_whoever_may_pull_is_listed_and_nobody_else() {
    let bed = bed().await;
    let target = format!("{}/pullers", repository("apps/101/x"));
    assert_eq!(listed(&bed, "cat", &target, "name").await, ["ann", "bob", "cat"]);
    assert_eq!(listed(&bed, "cat", &format!("{target}?limit=1"), "name").await, ["ann", "bob", "cat"]);
    // Who does not manage the registry sees those that they may list.
    assert_eq!(listed(&bed, "ann", &target, "name").await, ["ann"]);
    for name in ["apps/101/x", "apps/100/x", "lib/x", "users/1/x"] {
        for (action, place) in [("pull", "pullers"), ("push", "pushers")] {
            let mut expected = Vec::new();
            for who in ["ann", "bank@n1", "bob", "cat", "dan", "eve", "web@n1", "web@n2"] {
                if granted(&bed, who, &format!("repository:{name}:{action}"), "reg").await == action {
                    expected.push(who.to_owned());
                }
            }
            let target = format!("{}/{place}", repository(name));
            assert_eq!(listed(&bed, "cat", &target, "name").await, expected, "{action} {name}");
        }
    }
    // What a list does not do is refused rather than left out.
    for (place, wrong) in
        [("pullers", "count=true"), ("pushers", "count=true"), ("pulls", "count=true"), ("pulls", "search=x")]
    {
        let reply = get(&bed, "cat", &format!("{}/{place}?{wrong}", repository("lib/x"))).send().await;
        assert_eq!(refused(&reply).0, 400, "{place}?{wrong}");
    }
    assert_eq!(listed(&bed, "cat", &format!("{target}?search=BO"), "name").await, ["bob"]);
    let hidden = get(&bed, "ann", &format!("{}/pullers", repository("groups/20/x"))).send().await;
    assert_eq!(refused(&hidden), missing());
    let pulls = get(&bed, "ann", &format!("{}/pulls", repository("lib/x"))).send().await;
    assert_eq!(refused(&pulls), (403, "not_granted".to_owned()));
    let pulls = get(&bed, "cat", &format!("{}/pulls", repository("lib/x"))).send().await.ok();
    assert_eq!(pulls.json(), json!({ "items": [], "next": null }));
}

fn send(bed: &Bed, who: &'static str, (method, target): (Method, &str), body: &Value) -> Ask {
    bed.request(method, target).by(person(who)).header("content-type", "application/json").body(&body.to_string())
}

/// Pushers describe what they may push, and a star is one person's.
#[tokio::test]
async fn a_repository_is_described_by_whoever_pushes_it_and_starred_by_whoever_pulls_it() {
    let bed = bed().await;
    let describe = |who: &'static str, name: &str, body: Value| {
        let ask = send(&bed, who, (Method::PATCH, &repository(name)), &body);
        async move { ask.send().await }
    };
    for (who, name, expected) in [
        ("ann", "lib/x", 403),
        ("bob", "apps/100/x", 403),
        ("ann", "apps/100/x", 200),
        ("cat", "lib/x", 200),
        ("ann", "groups/20/x", 404),
        ("web@n1", "apps/100/x", 403),
    ] {
        let reply = describe(who, name, json!({ "description": "Ours", "automated": true })).await;
        assert_eq!(reply.status, expected, "{who}: {name}: {}", reply.text());
    }
    let kept = describe("cat", "lib/x", json!({ "description": null })).await.ok().json();
    assert_eq!(
        kept,
        json!({ "name": "lib/x", "description": "", "official": true, "automated": true, "stars": 0, "tags": 2,
        "actions": ["delete", "pull", "push"] })
    );
    for wrong in [json!({ "description": "a\nb" }), json!({ "description": "x".repeat(1001) })] {
        assert_eq!(refused(&describe("cat", "lib/x", wrong).await), (422, "not_changed".to_owned()));
    }
    for wrong in [json!({ "stars": 7 }), json!({ "official": null }), json!([])] {
        assert_eq!(refused(&describe("cat", "lib/x", wrong).await), (400, "bad_request".to_owned()));
    }
    let star = |who: &'static str, method: Method| {
        let ask = bed.request(method, &format!("{}/star", repository("lib/x"))).by(person(who));
        async move { ask.send().await.status }
    };
    for (who, method, status, stars) in [
        ("ann", Method::PUT, 204, 1),
        ("ann", Method::PUT, 204, 1),
        ("bob", Method::PUT, 204, 2),
        ("dan", Method::PUT, 404, 2),
        ("ann", Method::DELETE, 204, 1),
        ("ann", Method::DELETE, 204, 1),
    ] {
        assert_eq!(star(who, method.clone()).await, status, "{who}: {method}");
        let shown = get(&bed, "cat", &repository("lib/x")).send().await.ok().json();
        assert_eq!(shown["stars"], stars, "{who}: {method}");
    }
}

/// The reference's directory with `root`, whom rules give all rights of the directory, and `cat` and a group of hers in the records.
async fn administered() -> Bed {
    let rule = "acl: [{match: {account: root, type: dockwarden}, actions: [list, show, create, change, delete]}]";
    let root = format!("users:\n  root: {{password: \"{}\"}}\n  zoe: {{password: \"{0}\"}}", crate::bed::ALICE_HASH);
    bed_with(&opensvc().replace("acl: []", rule).replacen("users:", &root, 1)).await
}

/// Every entry of the directory is made, shown, changed and removed in the records by whom the rules let; the file's stay.
#[tokio::test]
async fn the_directory_is_edited_in_the_records_alone() {
    let bed = administered().await;
    for (place, body, name, change, fields) in [
        ("groups", json!({ "name": "web", "id": 50 }), "web", json!({ "privileges": ["puller"] }), "privileges"),
        (
            "apps",
            json!({ "name": "shop", "id": 200, "responsibles": ["web"] }),
            "shop",
            json!({ "publications": ["dev"] }),
            "publications",
        ),
        ("services", json!({ "name": "shop@n1", "app": "shop" }), "shop@n1", json!({ "app": "bank" }), "app"),
        (
            "users",
            json!({ "name": "zoe", "id": 9, "groups": ["web"], "quota": 1 }),
            "zoe",
            json!({ "groups": ["web", "dev"] }),
            "groups",
        ),
    ] {
        let (all, one) = (format!("/api/v1/{place}"), format!("/api/v1/{place}/{name}"));
        assert_eq!(send(&bed, "cat", (Method::POST, &all), &body).send().await.status, 403, "{place}");
        let made = send(&bed, "root", (Method::POST, &all), &body).send().await;
        assert_eq!((made.status, made.header("etag")), (201, "\"1\""), "{place}: {}", made.text());
        assert_eq!((&made.json()["name"], &made.json()["origin"]), (&name.into(), &"records".into()));
        let again = send(&bed, "root", (Method::POST, &all), &body).send().await;
        assert_eq!(refused(&again), (409, "not_changed".to_owned()), "{place}");
        if let Some(id) = body["id"].as_u64() {
            assert_eq!(get(&bed, "root", &format!("{all}/{id}")).send().await.ok().json(), made.json());
        }
        let change = |etag: &'static str| {
            let ask = send(&bed, "root", (Method::PATCH, &one), &change);
            async move { if etag.is_empty() { ask } else { ask.header("if-match", etag) }.send().await }
        };
        assert_eq!(refused(&change("").await), (428, "not_changed".to_owned()));
        assert_eq!(refused(&change("\"9\"").await), (412, "not_changed".to_owned()));
        let changed = change("\"1\"").await.ok();
        assert_eq!(changed.header("etag"), "\"2\"");
        assert_ne!(changed.json()[fields], made.json()[fields], "{place}");
        assert_eq!(get(&bed, "dan", &one).send().await.status, 404, "{place}: nobody else sees it");
        assert!(listed(&bed, "root", &all, "name").await.contains(&name.to_owned()));
    }
    // It counts at once, and what uses it is found by it.
    assert_eq!(granted(&bed, "zoe", "repository:groups/10/x:pull", "reg").await, "pull");
    assert_eq!(listed(&bed, "root", "/api/v1/users?group=50", "name").await, ["zoe"]);
    assert_eq!(listed(&bed, "root", "/api/v1/services?app=101", "name").await, ["bank@n1", "shop@n1"]);
    for (place, in_file) in [("groups", "dev"), ("apps", "100"), ("services", "web@n1"), ("users", "ann")] {
        let one = format!("/api/v1/{place}/{in_file}");
        let change = send(&bed, "root", (Method::PATCH, &one), &json!({})).header("if-match", "*").send().await;
        let remove = bed.request(Method::DELETE, &one).by(person("root")).send().await;
        for reply in [change, remove] {
            assert_eq!(refused(&reply), (409, "not_changed".to_owned()), "{one}");
            assert!(reply.text().contains("configuration file"), "{}", reply.text());
        }
    }
    for (place, body) in [
        ("groups", json!({ "name": "x", "id": 60, "groups": [] })),
        ("groups", json!({ "name": "x", "id": 60, "privileges": ["boss"] })),
        ("groups", json!({ "name": "a\u{1b}[2J", "id": 60 })),
        ("groups", json!({ "name": "x" })),
        ("groups", json!({ "name": "x", "id": 0 })),
        ("apps", json!({ "name": "x", "id": 60, "publications": ["nowhere"] })),
        ("services", json!({ "name": "x", "app": "web" })),
        ("services", json!({ "name": "x@n1", "app": "nowhere" })),
        ("users", json!({ "name": "x", "id": 60, "quota": 0 })),
        ("users", json!({ "name": "x", "id": 60, "groups": ["dev"], "primary_group": "ops" })),
    ] {
        let reply = send(&bed, "root", (Method::POST, &format!("/api/v1/{place}")), &body).send().await;
        assert_eq!(refused(&reply), (422, "not_changed".to_owned()), "{place}: {body}");
    }
    for (place, name) in [("services", "shop@n1"), ("apps", "200"), ("users", "zoe"), ("groups", "web")] {
        let one = format!("/api/v1/{place}/{name}");
        let remove = |etag: &'static str| {
            let ask = bed.request(Method::DELETE, &one).by(person("root")).header("if-match", etag);
            async move { ask.send().await }
        };
        assert_eq!(remove("\"1\"").await.status, 412, "{one}");
        assert_eq!(remove("\"2\"").await.status, 204, "{one}");
        assert_eq!(refused(&remove("*").await), missing(), "{one}");
    }
}

/// Users see themselves, their groups and the apps that are published to them; nobody sees anybody else's.
#[tokio::test]
async fn people_see_of_the_directory_what_is_theirs() {
    let bed = bed().await;
    for (who, users, groups, apps) in [
        ("ann", &["ann"][..], &["dev"][..], &["bank", "web"][..]),
        ("cat", &["cat"], &["dev", "ops"], &["bank", "web"]),
        ("dan", &["dan"], &[], &[]),
        ("web@n1", &[], &[], &["web"]),
    ] {
        for (place, expected) in [("users", users), ("groups", groups), ("apps", apps), ("services", &[])] {
            assert_eq!(listed(&bed, who, &format!("/api/v1/{place}"), "name").await, expected, "{who}: {place}");
        }
    }
    for (one, status) in
        [("users/2", 404), ("users/bob", 404), ("users/1", 200), ("groups/20", 404), ("groups/10", 200)]
    {
        assert_eq!(get(&bed, "ann", &format!("/api/v1/{one}")).send().await.status, status, "{one}");
    }
}

/// Managers declare registries: for their primary group, for groups of their own alone, and within their quota.
#[tokio::test]
async fn a_registry_is_declared_for_its_creators_group_and_within_the_quota() {
    let bed = administered().await;
    let zoe = json!({ "name": "zoe", "id": 9, "groups": ["dev", "ops"], "primary_group": "ops", "quota": 1,
        "privileges": ["puller", "pusher", "manager"] });
    assert_eq!(send(&bed, "root", (Method::POST, "/api/v1/users"), &zoe).send().await.status, 201);
    let declare = |who: &'static str, body: Value| {
        let ask = send(&bed, who, (Method::POST, REGISTRIES), &body);
        async move { ask.send().await }
    };
    let new = |service: &str| json!({ "service": service, "url": format!("https://{service}.example.org") });
    assert_eq!(refused(&declare("ann", new("third")).await), (403, "not_granted".to_owned()));
    let mut foreign = new("third");
    foreign["publications"] = json!(["fin"]);
    assert_eq!(refused(&declare("zoe", foreign.clone()).await), (422, "not_changed".to_owned()));
    foreign["publications"] = json!(["everybody"]);
    assert_eq!(refused(&declare("zoe", foreign).await), (403, "not_granted".to_owned()));
    for (key, value) in [
        ("url", json!("https://x.example.org/path")),
        ("url", json!("ftp://x.example.org")),
        ("service", json!("two words")),
        ("hosts", json!([])),
        ("hosts", json!(["a b"])),
        ("ca_certificate", json!("none")),
        ("responsibles", json!(["nowhere"])),
    ] {
        let mut wrong = new("third");
        wrong[key] = value;
        assert_eq!(refused(&declare("zoe", wrong).await), (422, "not_changed".to_owned()), "{key}");
    }
    for taken in ["reg", "vault"] {
        assert_eq!(refused(&declare("zoe", new(taken)).await), (409, "not_changed".to_owned()));
    }
    // Clients who mean another registry had better not come to this one; nor is it Dockwarden itself that is meant.
    for host in ["vault", "VAULT:443", "vault.example.org:8443", "127.0.0.1:5000"] {
        let mut thief = new("thief");
        thief["hosts"] = json!([host]);
        assert_eq!(refused(&declare("zoe", thief).await), (409, "not_changed".to_owned()), "{host}");
    }
    assert_eq!(refused(&declare("zoe", new("dockwarden")).await), (422, "not_changed".to_owned()));
    let made = declare("zoe", new("third")).await;
    assert_eq!((made.status, made.header("etag")), (201, "\"1\""), "{}", made.text());
    let expected = json!({ "service": "third", "url": "https://third.example.org/", "hosts": ["third", "third.example.org"],
        "restricted": true, "publications": ["ops"], "responsibles": ["ops"], "creator": "zoe", "origin": "records" });
    assert_eq!(made.json(), expected);
    assert_eq!(granted(&bed, "zoe", "repository:lib/x:*", "third").await, "delete,pull,push");
    assert!(bed.app.snapshot().catalogue.as_ref().unwrap().services().contains(&"third".to_owned()));
    // The quota bites, also of two at once.
    let refusal = declare("zoe", new("fourth")).await;
    assert_eq!(refused(&refusal), (409, "not_changed".to_owned()));
    assert!(refusal.text().contains("quota"), "{}", refusal.text());
    let one = format!("{REGISTRIES}/third");
    assert_eq!(bed.request(Method::DELETE, &one).by(person("ann")).send().await.status, 404);
    let change = |who: &'static str, body: Value| {
        let ask = send(&bed, who, (Method::PATCH, &one), &body).header("if-match", "\"1\"");
        async move { ask.send().await }
    };
    assert_eq!(change("ann", json!({ "restricted": false })).await.status, 404);
    assert_eq!(change("cat", json!({ "responsibles": ["fin"] })).await.status, 422);
    let changed = change("cat", json!({ "restricted": false, "publications": ["ops", "dev"] })).await.ok();
    assert_eq!(changed.json()["publications"], json!(["ops", "dev"]));
    assert_eq!(changed.json()["creator"], "zoe");
    assert_eq!(granted(&bed, "ann", "repository:lib/x:pull", "third").await, "pull");
    assert_eq!(bed.request(Method::DELETE, &one).by(person("ann")).send().await.status, 403, "she sees it now");
    assert_eq!(bed.request(Method::DELETE, &one).by(person("zoe")).send().await.status, 204);
    let (one, two) = tokio::join!(declare("zoe", new("fifth")), declare("zoe", new("sixth")));
    assert!(one.status != 201 || two.status != 201, "{} {}", one.status, two.status);
    let of_zoe = listed(&bed, "zoe", REGISTRIES, "service").await;
    assert!(of_zoe.len() <= 3, "{of_zoe:?}");
    let in_file = format!("{REGISTRIES}/reg");
    for method in [Method::PATCH, Method::DELETE] {
        let reply = send(&bed, "cat", (method, &in_file), &json!({})).header("if-match", "*").send().await;
        assert_eq!(refused(&reply), (409, "not_changed".to_owned()));
    }
    for (who, status) in [("ann", 403), ("dan", 404), ("cat", 202)] {
        let reply = bed.request(Method::POST, &format!("{in_file}/sweep")).by(person(who)).send().await;
        assert_eq!(reply.status, status, "{who}");
    }
}

/// Who sees something of a registry by the rules alone may search in vain there; who sees nothing learns nothing.
#[tokio::test]
async fn a_search_in_vain_is_an_empty_list_for_whom_the_list_is_not_empty() {
    let rule = "acl:\n  - {match: {account: dan, name: \"lib/*\"}, actions: [pull]}\n";
    let bed = bed_with(&opensvc().replace("acl: []\n", rule)).await;
    let target = format!("{REGISTRIES}/reg/repositories");
    for (query, items) in
        [("", 1..=usize::MAX), ("?search=zzz", 0..=0), ("?cursor=zzz", 0..=0), ("?automated=true", 0..=0)]
    {
        let reply = get(&bed, "dan", &format!("{target}{query}")).send().await.ok().json();
        assert!(items.contains(&reply["items"].as_array().unwrap().len()), "{query}: {reply}");
        let nothing = get(&bed, "bank@n1", &format!("{target}{query}")).send().await;
        assert_eq!(refused(&nothing), missing(), "{query}");
    }
}

/// Tags that are searched for are counted on all pages, wherever one is.
#[tokio::test]
async fn tags_that_are_searched_for_are_counted() {
    let bed = bed().await;
    let records = std::sync::Arc::clone(&bed.app.snapshot().records.as_ref().unwrap().records);
    let tags: Vec<String> = (0..2500).map(|number| format!("v{number:04}")).collect();
    let now = time::OffsetDateTime::now_utc();
    let listing = Listing { repository: "lib/x".to_owned(), tags, asked: now };
    records.listed("reg", &[listing], now).await.unwrap();
    let tags = format!("{}/tags", repository("lib/x"));
    let page = |query: &str| {
        let ask = get(&bed, "ann", &format!("{tags}?{query}"));
        async move { ask.send().await.ok().json() }
    };
    for (query, count, first, next) in [
        ("search=V24&count=true&limit=1", json!(100), json!("v2400"), json!("v2400")),
        ("search=v24&count=true&limit=1&cursor=v2498", json!(100), json!("v2499"), Value::Null),
        ("search=v24&limit=1", Value::Null, json!("v2400"), json!("v2400")),
        ("search=zzz&count=true&limit=1", json!(0), Value::Null, Value::Null),
        ("count=true&limit=1", json!(2500), json!("v0000"), json!("v0000")),
    ] {
        let page = page(query).await;
        assert_eq!((&page["count"], &page["items"][0]["name"], &page["next"]), (&count, &first, &next), "{query}");
    }
}

/// Names that would look like others', and accounts that no secret could be made for, are not made; what is said twice is kept once.
#[tokio::test]
async fn names_that_look_like_others_are_not_made() {
    let bed = administered().await;
    let make = |place: &'static str, body: Value| {
        let ask = send(&bed, "root", (Method::POST, place), &body);
        async move { ask.send().await }
    };
    for name in ["   ", " dev", "dev ", "de\u{200b}v", "dev\u{202e}", "dev\u{fe0f}", "\u{3164}", "a\u{1}"] {
        let group = make("/api/v1/groups", json!({ "name": name, "id": 77 })).await;
        assert_eq!(refused(&group), (422, "not_changed".to_owned()), "{name:?}");
    }
    for name in ["we\u{200b}b@n1", "robot+x@n1"] {
        let service = make("/api/v1/services", json!({ "name": name, "app": "web" })).await;
        assert_eq!(refused(&service), (422, "not_changed".to_owned()), "{name:?}");
    }
    let app = make("/api/v1/apps", json!({ "name": "once", "id": 78, "publications": ["dev", "ops", "dev"] })).await;
    assert_eq!((app.status, &app.json()["publications"]), (201, &json!(["dev", "ops"])), "{}", app.text());
    let clash = make("/api/v1/groups", json!({ "name": "devs", "id": 10 })).await;
    assert_eq!(refused(&clash), (409, "not_changed".to_owned()));
    assert!(clash.text().contains("the group dev has this id already"), "{}", clash.text());
}

/// Whoever may not list what a name clashes with is not told what it is.
#[tokio::test]
async fn a_clash_names_what_the_asker_may_list() {
    let rule = "acl:\n  - {match: {account: dan, type: dockwarden}, actions: [create]}\n";
    let config = opensvc().replace("acl: []\n", rule);
    let bed = Bed::with(&format!("{config}records: {{sqlite: $DIR/dockwarden.db}}\napi: {{listen: main}}\n"));
    crate::directory::ready(&bed).await;
    let group = json!({ "name": "devs", "id": 10 });
    let clash = send(&bed, "dan", (Method::POST, "/api/v1/groups"), &group).send().await;
    assert_eq!(refused(&clash), (409, "not_changed".to_owned()));
    assert!(!clash.text().contains("dev ") && clash.text().contains("is there already"), "{}", clash.text());
}

/// What deletes everything takes no parameter that it would not look at.
#[tokio::test]
async fn deleting_a_repository_has_no_parameters() {
    let bed = bed().await;
    let reply = bed.request(Method::DELETE, &format!("{}?tag=v1", repository("lib/x"))).by(person("cat")).send().await;
    assert_eq!(reply.status, 400, "{}", reply.text());
}

/// Of a registry that is declared no more, nothing is measured.
#[tokio::test]
async fn a_registry_that_is_removed_leaves_the_metrics() {
    let bed = administered().await;
    let measured = || async {
        let text = bed.get("/metrics").send().await.ok().text();
        text.lines().filter(|line| line.contains("\"third\"")).count()
    };
    let body = json!({ "service": "third", "url": "https://third.example.org" });
    assert_eq!(send(&bed, "cat", (Method::POST, REGISTRIES), &body).send().await.status, 201);
    assert!(measured().await > 5);
    let gone = bed.request(Method::DELETE, &format!("{REGISTRIES}/third")).by(person("cat")).send().await;
    assert_eq!((gone.status, measured().await), (204, 0));
}
