//! What another entry names is not removed, and whoever would remove it is told by whom it is named, as far as they may know.

use axum::http::Method;
use serde_json::{Value, json};

use super::{opensvc, person, ready};
use crate::bed::{ALICE_HASH, Bed, Reply};

/// `root` edits the directory; `dan` may remove groups and apps, and list nothing of it.
fn bed() -> Bed {
    let users = format!("users:\n  root: {{password: \"{ALICE_HASH}\"}}\n  zoe: {{password: \"{ALICE_HASH}\"}}");
    let rules = "acl:\n  - {match: {account: root, type: dockwarden}, actions: [list, show, create, change, delete]}\n  \
                 - {match: {account: dan, type: dockwarden}, actions: [delete]}\n";
    // The file's entries may name those of the records.
    let text = opensvc()
        .replacen("users:", &users, 1)
        .replace("acl: []\n", rules)
        .replace("eve: {id: 5, groups: [dev]}", "eve: {id: 5, groups: [dev, late]}");
    Bed::with(&format!("{text}records: {{sqlite: $DIR/dockwarden.db}}\napi: {{listen: main}}\n"))
}

async fn send(bed: &Bed, who: &'static str, (method, target): (Method, &str), body: &Value) -> Reply {
    let ask = bed.request(method, &format!("/api/v1/{target}")).by(person(who)).header("if-match", "*");
    ask.header("content-type", "application/json").body(&body.to_string()).send().await
}

async fn remove(bed: &Bed, who: &'static str, target: &str) -> Reply {
    send(bed, who, (Method::DELETE, target), &Value::Null).await
}

/// The names that a refusal lists, and its sentence.
fn named_by(reply: &Reply) -> (Vec<String>, String) {
    assert_eq!(reply.status, 409, "{}", reply.text());
    let json = reply.json();
    assert_eq!(json["reason"], "not_changed");
    let named = json["named_by"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    (named.collect(), json["detail"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_group_or_an_app_that_is_named_is_not_removed_and_who_names_it_is_listed() {
    let bed = bed();
    ready(&bed).await;
    for (place, body) in [
        ("groups", json!({ "name": "web", "id": 50 })),
        ("groups", json!({ "name": "late", "id": 60 })),
        ("users", json!({ "name": "zoe", "id": 9, "groups": ["50"] })),
        ("apps", json!({ "name": "shop", "id": 200, "responsibles": ["web"] })),
        ("services", json!({ "name": "shop@n1", "app": "200" })),
        (
            "registries",
            json!({ "service": "third", "url": "https://third.example.org", "publications": ["web"],
            "responsibles": ["late"] }),
        ),
    ] {
        let made = send(&bed, "root", (Method::POST, place), &body).await;
        assert_eq!(made.status, 201, "{body}: {}", made.text());
    }
    let (named, said) = named_by(&remove(&bed, "root", "groups/web").await);
    assert_eq!(named, ["users/zoe", "apps/shop", "registries/third"]);
    assert!(said.contains("user zoe, app shop, registry third; take it out of there first"), "{said}");
    let (named, _) = named_by(&remove(&bed, "root", "groups/60").await);
    assert_eq!(named, ["users/eve", "registries/third"], "the file's entries count, too");
    let (named, _) = named_by(&remove(&bed, "root", "apps/shop").await);
    assert_eq!(named, ["services/shop@n1"]);
    // Who names it is nobody's to learn who may not list them; that somebody does, is.
    let (named, said) = named_by(&remove(&bed, "dan", "groups/web").await);
    assert!(named.is_empty() && said.contains("3 that you may not list") && !said.contains("zoe"), "{said}");
    // It is as it was, and can still be named.
    let shown = bed.get("/api/v1/groups/web").by(person("root")).send().await.ok();
    assert_eq!((shown.json()["id"].as_u64(), shown.header("etag")), (Some(50), "\"1\""));
    // Named by nobody any more, it goes.
    for (target, change) in [
        ("users/zoe", json!({ "groups": [] })),
        ("apps/shop", json!({ "responsibles": [] })),
        ("registries/third", json!({ "publications": ["late"] })),
    ] {
        let changed = send(&bed, "root", (Method::PATCH, target), &change).await;
        assert_eq!(changed.status, 200, "{target}: {}", changed.text());
    }
    assert_eq!(remove(&bed, "dan", "groups/web").await.status, 204);
    assert_eq!(remove(&bed, "root", "services/shop@n1").await.status, 204);
    assert_eq!(remove(&bed, "root", "apps/shop").await.status, 204);
    let refused = send(&bed, "root", (Method::PATCH, "users/zoe"), &json!({ "groups": ["web"] })).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
}

/// Who declared a registry is history: the user can be removed, and the registry stays whose groups it is.
#[tokio::test]
async fn a_user_who_declared_a_registry_can_be_removed() {
    let bed = bed();
    ready(&bed).await;
    let zoe = json!({ "name": "zoe", "id": 9, "groups": ["dev"], "privileges": ["manager"], "quota": 1 });
    assert_eq!(send(&bed, "root", (Method::POST, "users"), &zoe).await.status, 201);
    let third = json!({ "service": "third", "url": "https://third.example.org" });
    assert_eq!(send(&bed, "zoe", (Method::POST, "registries"), &third).await.status, 201);
    assert_eq!(remove(&bed, "root", "users/zoe").await.status, 204);
    let shown = bed.get("/api/v1/registries/third").by(person("root")).send().await.ok().json();
    assert_eq!((&shown["creator"], &shown["responsibles"]), (&json!("zoe"), &json!(["dev"])));
    // Whoever is called so later has no right by it, and less of a quota.
    let other = json!({ "name": "zoe", "id": 10, "groups": ["fin"], "privileges": ["manager"], "quota": 1 });
    assert_eq!(send(&bed, "root", (Method::POST, "users"), &other).await.status, 201);
    assert_eq!(bed.get("/api/v1/registries/third").by(person("zoe")).send().await.status, 404);
    assert_eq!(super::granted(&bed, "zoe", "repository:lib/x:pull", "third").await, "");
    let fourth = json!({ "service": "fourth", "url": "https://fourth.example.org" });
    assert_eq!(send(&bed, "zoe", (Method::POST, "registries"), &fourth).await.status, 409);
}
