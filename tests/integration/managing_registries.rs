//! What managers may do with registries that are others', or were: names that are free again, and what they see of each.

use std::sync::Arc;

use axum::http::Method;
use dockwarden::directory::NewEntry;
use dockwarden::records::catalogue::{Description, Listing, Mark, Sweep, SweepNumber};
use dockwarden::registries::Registry;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::bed::{ALICE_HASH, Bed, Reply};
use crate::directory::{granted, opensvc, person, ready};

const REGISTRIES: &str = "/api/v1/registries";

/// The reference's directory, with `zoe`, who manages registries for `ops`, and `yan`, who does for `fin`.
fn text(more: &str) -> String {
    let users = format!("users:\n  zoe: {{password: \"{ALICE_HASH}\"}}\n  yan: {{password: \"{ALICE_HASH}\"}}");
    let text = opensvc().replacen("users:", &users, 1).replacen(
        "  users:\n    ann:",
        "  users:\n    zoe: {id: 8, groups: [ops], privileges: [puller, pusher, manager]}\n    \
         yan: {id: 9, groups: [fin], privileges: [puller, pusher, manager]}\n    ann:",
        1,
    );
    format!("{text}{more}records: {{sqlite: $DIR/dockwarden.db}}\napi: {{listen: main}}\n")
}

async fn bed(more: &str) -> Bed {
    let bed = Bed::with(&text(more));
    ready(&bed).await;
    bed
}

async fn send(bed: &Bed, who: &'static str, (method, target): (Method, &str), body: &Value) -> Reply {
    let ask = bed.request(method, target).by(person(who)).header("if-match", "*");
    ask.header("content-type", "application/json").body(&body.to_string()).send().await
}

async fn declare(bed: &Bed, who: &'static str, service: &str, host: &str) -> Reply {
    let body = json!({ "service": service, "url": format!("https://{host}.example.org") });
    send(bed, who, (Method::POST, REGISTRIES), &body).await
}

/// Has it known that this is in a registry.
async fn fill(bed: &Bed, service: &str, name: &str) {
    let snapshot = bed.app.snapshot();
    let records = Arc::clone(&snapshot.records.as_ref().unwrap().records);
    let now = OffsetDateTime::now_utc();
    records.found(service, SweepNumber(1), &[name.to_owned()], now).await.unwrap();
    let listing = Listing { repository: name.to_owned(), tags: vec!["v1".to_owned()], asked: now };
    records.listed(service, &[listing], now).await.unwrap();
    let text = Description { text: "Ours".to_owned(), official: Mark::Unset, automated: Mark::Unset };
    snapshot.catalogue.as_ref().unwrap().describe(service, name, &text).await.unwrap();
}

async fn repositories(bed: &Bed, who: &'static str, service: &str) -> Value {
    let target = format!("{REGISTRIES}/{service}/repositories");
    bed.get(&target).by(person(who)).send().await.ok().json()["items"].clone()
}

/// What a registry held, and what tokens for it open, is not had by declaring its name once it is free again.
#[tokio::test]
async fn the_name_of_a_registry_that_was_removed_is_kept_for_those_who_were_responsible() {
    let bed = bed("").await;
    let team = format!("{REGISTRIES}/team");
    assert_eq!(declare(&bed, "zoe", "team", "team").await.status, 201);
    fill(&bed, "team", "lib/secret").await;
    assert_eq!(send(&bed, "zoe", (Method::DELETE, &team), &Value::Null).await.status, 204);
    for who in ["zoe", "yan"] {
        assert_eq!(bed.get(&team).by(person(who)).send().await.status, 404, "{who}");
    }
    for host in ["team", "other"] {
        let refused = declare(&bed, "yan", "team", host).await;
        assert_eq!((refused.status, &refused.json()["reason"]), (409, &"not_changed".into()), "{}", refused.text());
        assert!(refused.text().contains("was there before"), "{}", refused.text());
    }
    // Where it was is free, and so are its hosts.
    let mine = declare(&bed, "yan", "mine", "team").await;
    assert_eq!(mine.status, 201, "{}", mine.text());
    let directory = Arc::clone(bed.app.snapshot().access.directory().unwrap());
    let secret = directory.make_events_secret("team", OffsetDateTime::now_utc()).await;
    assert!(secret.is_err(), "nothing is told of what is not there");
    // Who was responsible declares it anew, as often as they like, and has what is known of it.
    for _ in 0..2 {
        let again = declare(&bed, "zoe", "team", "moved").await;
        assert_eq!((again.status, &again.json()["responsibles"]), (201, &json!(["ops"])), "{}", again.text());
        assert_eq!(repositories(&bed, "zoe", "team").await[0]["name"], "lib/secret");
        assert_eq!(declare(&bed, "zoe", "team", "twice").await.status, 409);
        assert_eq!(send(&bed, "zoe", (Method::DELETE, &team), &Value::Null).await.status, 204);
    }
    // The operator, by command, gives it to whom they like.
    let mut registry = Registry::from_address("team", "https://given.example.org".parse().unwrap());
    registry.responsibles = vec!["fin".to_owned()];
    let given = NewEntry::Registry { registry: Box::new(registry), authorities: None, creator: None };
    directory.make(given).await.unwrap();
    assert_eq!(bed.get(&team).by(person("yan")).send().await.ok().json()["responsibles"], json!(["fin"]));
    assert_eq!(bed.get(&team).by(person("zoe")).send().await.status, 404);
}

/// What the file declared once is the operator's still: nothing was removed by anybody whose groups are known.
#[tokio::test]
async fn a_name_of_which_something_is_known_is_not_declared_by_a_manager() {
    let bed = bed("").await;
    fill(&bed, "old", "lib/secret").await;
    for who in ["zoe", "yan"] {
        assert_eq!(declare(&bed, who, "old", "old").await.status, 409, "{who}");
        assert_eq!(declare(&bed, who, "new", "new").await.status, if who == "zoe" { 201 } else { 409 }, "{who}");
    }
}

/// Whoever declared what the operator has tokens made for would manage it, and have its repositories deleted.
#[tokio::test]
async fn a_name_that_the_file_has_tokens_made_for_is_the_operators() {
    let services =
        "token: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key, services: [reg, vault, legacy]}\n";
    let bed = bed(services).await;
    let refused = declare(&bed, "zoe", "legacy", "legacy").await;
    assert_eq!((refused.status, &refused.json()["reason"]), (409, &"not_changed".into()), "{}", refused.text());
    assert!(refused.text().contains("configuration file"), "{}", refused.text());
    assert_eq!(granted(&bed, "zoe", "repository:lib/x:delete", "legacy").await, "");
    assert_eq!(declare(&bed, "zoe", "new", "new").await.status, 201);
    for service in ["dockwarden", "Dockwarden", "DOCKWARDEN"] {
        assert_eq!(declare(&bed, "zoe", service, "ours").await.status, 422, "{service}");
    }
    let registry = Registry::from_address("legacy", "https://legacy.example.org".parse().unwrap());
    let by_command = NewEntry::Registry { registry: Box::new(registry), authorities: None, creator: None };
    let directory = Arc::clone(bed.app.snapshot().access.directory().unwrap());
    directory.make(by_command).await.unwrap();
}

/// The same of what the gateway and forward_auth are for, where tokens are made for any service.
#[tokio::test]
async fn what_the_doors_of_the_file_are_for_is_the_operators() {
    let doors = "forward_auth: {trusted_proxies: [unix], service: behind}\n\
                 gateway: {service: through, upstreams: [{url: \"http://127.0.0.1:9\"}, \
                 {host: other.example.org, service: other, url: \"http://127.0.0.1:10\"}]}\n";
    let text = text(doors);
    let lines =
        text.lines().filter(|line| !["registries:", "  reg:", "  vault:"].iter().any(|own| line.starts_with(own)));
    let bed = Bed::with(&lines.map(|line| format!("{line}\n")).collect::<String>());
    ready(&bed).await;
    for (service, status) in [("behind", 409), ("through", 409), ("other", 409), ("more", 201)] {
        let reply = declare(&bed, "zoe", service, service).await;
        assert_eq!(reply.status, status, "{service}: {}", reply.text());
    }
}

/// Where a registry is, why it failed and how much there is in it is not told to those whom it is only published to.
#[tokio::test]
async fn the_inside_of_a_registry_is_shown_to_whoever_may_change_it() {
    let bed = bed("").await;
    assert_eq!(declare(&bed, "zoe", "team", "team").await.status, 201);
    let team = format!("{REGISTRIES}/team");
    let publish = json!({ "publications": ["dev"] });
    assert_eq!(send(&bed, "cat", (Method::PATCH, &team), &publish).await.status, 200);
    fill(&bed, "team", "groups/30/x").await;
    fill(&bed, "reg", "groups/30/x").await;
    let records = Arc::clone(&bed.app.snapshot().records.as_ref().unwrap().records);
    let error = Some(("the registry cannot be asked: 10.1.2.3:5000".to_owned(), OffsetDateTime::now_utc()));
    for service in ["team", "reg"] {
        records.save_sweep(service, &Sweep { error: error.clone(), ..Sweep::default() }).await.unwrap();
    }
    let shown = async |who: &'static str, service: &str| {
        let shown = bed.get(&format!("{REGISTRIES}/{service}")).by(person(who)).send().await.ok().json();
        let list = bed.get(REGISTRIES).by(person(who)).send().await.ok().json();
        let item = list["items"].as_array().unwrap().iter().find(|item| item["service"] == service).unwrap().clone();
        (shown, item)
    };
    for (service, declared) in [("team", "zoe"), ("reg", "")] {
        for who in ["cat", "zoe"] {
            let (shown, item) = shown(who, service).await;
            for key in ["url", "last_error", "last_error_at", "repositories"] {
                assert!(!shown[key].is_null(), "{who}: {service}: {key}");
            }
            assert!(item["url"].is_string(), "{who}: {item}");
            assert_eq!(shown["creator"].as_str().unwrap_or_default(), declared);
        }
        let (shown, item) = shown("ann", service).await;
        for key in ["url", "last_error", "repositories", "creator"] {
            assert!(shown[key].is_null() && item[key].is_null(), "{service}: {key}: {shown} {item}");
        }
        assert!(shown["last_error_at"].is_string(), "that it fails is theirs to know: {shown}");
    }
}

/// A group that one may not see is answered as one that there is not, by its name and by its id.
#[tokio::test]
async fn a_registry_is_for_groups_that_its_manager_may_know_of() {
    let bed = bed("").await;
    assert_eq!(declare(&bed, "zoe", "team", "team").await.status, 201);
    let team = format!("{REGISTRIES}/team");
    for key in ["responsibles", "publications"] {
        for (group, status) in [
            (json!(["fin"]), 422),
            (json!(["30"]), 422),
            (json!(["nil"]), 422),
            (json!(["31"]), 422),
            // The one that is hers lets no other in.
            (json!(["ops", "fin"]), 422),
            (json!(["everybody"]), 403),
            (json!(["everybody", "fin"]), 403),
        ] {
            let named = group[group.as_array().unwrap().len() - 1].as_str().unwrap();
            let mut new = json!({ "service": "new", "url": "https://new.example.org" });
            new[key] = group.clone();
            let changed = send(&bed, "zoe", (Method::PATCH, &team), &json!({ key: group.clone() })).await;
            for reply in [changed, send(&bed, "zoe", (Method::POST, REGISTRIES), &new).await] {
                assert_eq!(reply.status, status, "{key}: {group}: {}", reply.text());
                let sentence = format!("there is no group \"{named}\" in the directory");
                let told = reply.json()["detail"].as_str().unwrap().to_owned();
                assert_eq!(told == sentence, status == 422, "{key}: {group}: {told}");
            }
        }
    }
}
