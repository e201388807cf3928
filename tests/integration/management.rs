//! Registries, what is in them, and the directory, by the API: who sees and does what, by the people of the reference's checks.

use axum::http::Method;
use dockwarden::records::catalogue::{Description, Listing, Mark, SweepNumber};
use serde_json::Value;
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

async fn bed_with(directory: &str) -> Bed {
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
            false => assert_eq!(shown.ok().json()["url"], "http://127.0.0.1:5000/", "{who}"),
        }
        let nowhere = get(&bed, who, &format!("{REGISTRIES}/nowhere")).send().await;
        assert_eq!(refused(&nowhere), missing(), "{who}");
    }
    let counted = get(&bed, "ann", &format!("{REGISTRIES}?search=VAU&count=true")).send().await.ok().json();
    assert_eq!((&counted["count"], &counted["items"][0]["service"]), (&1.into(), &"vault".into()));
    let shown = get(&bed, "ann", &format!("{REGISTRIES}/reg")).send().await.ok().json();
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
