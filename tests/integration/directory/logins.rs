//! When the directory's users last logged in, and that somebody never did.

use axum::http::Method;
use dockwarden::app::write_uses;
use serde_json::{Value, json};

use super::{opensvc, person, ready};
use crate::bed::{ALICE_HASH, Bed};
use crate::cli::run;

fn text(more: &str) -> String {
    let users = format!("users:\n  root: {{password: \"{ALICE_HASH}\"}}\n  zoe: {{password: \"{ALICE_HASH}\"}}");
    let rules = "acl: [{match: {account: root, type: dockwarden}, actions: [list, show, create, change, delete]}]";
    format!("{}{more}api: {{listen: main}}\n", opensvc().replacen("users:", &users, 1).replace("acl: []", rules))
}

/// The users, each with when they last logged in.
async fn logins(bed: &Bed) -> Vec<(String, Value)> {
    let page = bed.get("/api/v1/users").by(person("root")).send().await.ok().json();
    let items = page["items"].as_array().unwrap().iter();
    items.map(|user| (user["name"].as_str().unwrap().to_owned(), user["last_login"].clone())).collect()
}

fn never(logins: &[(String, Value)]) -> Vec<&str> {
    logins.iter().filter(|(_, at)| at.is_null()).map(|(name, _)| name.as_str()).collect()
}

// A command reads what a server wrote: both have the same file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_user_who_never_logged_in_is_listed_as_such() {
    let bed = Bed::with(&text("records: {sqlite: $DIR/dockwarden.db}\n"));
    ready(&bed).await;
    let file = bed.folder.path("config.yml").to_str().unwrap().to_owned();
    assert_eq!(never(&logins(&bed).await), ["ann", "bob", "cat", "dan", "eve"]);
    let login = async |who: &'static str, password: &'static str| {
        bed.get("/auth?service=reg").basic(who, password).send().await.status
    };
    // Who only tries, and who is asked about, did not log in; nor is a service a user.
    assert_eq!((login("ann", "wrong").await, login("web@n1", "alice-pw").await), (401, 200));
    assert_eq!(bed.get("/api/v1/users/ann").by(person("root")).send().await.ok().json()["last_login"], Value::Null);
    assert_eq!(login("ann", "alice-pw").await, 200);
    let now = logins(&bed).await;
    assert_eq!(never(&now), ["bob", "cat", "dan", "eve"], "it shows at once where it was");
    assert!(now[0].1.as_str().is_some_and(|at| at.starts_with("20") && at.ends_with('Z')), "{now:?}");
    assert_eq!(bed.get("/api/v1/users/1").by(person("root")).send().await.ok().json()["last_login"], now[0].1);
    // Written down, it shows everywhere.
    write_uses(&bed.app).await;
    assert_eq!(logins(&bed).await, now);
    let list = run(["directory", "user", "list", &file, "--json"]);
    assert_eq!((list.code, list.err.as_str()), (0, ""));
    let list: Value = serde_json::from_str(&list.out).unwrap();
    assert_eq!((&list["items"][0]["last_login"], &list["items"][1]["last_login"]), (&now[0].1, &Value::Null));
    let table = run(["directory", "user", "list", &file]).out;
    let mut lines = table.lines();
    assert!(lines.next().unwrap().contains("LAST_LOGIN"), "{table}");
    assert!(lines.next().unwrap().contains(now[0].1.as_str().unwrap()), "{table}");
    assert!(lines.all(|line| line.contains("  never  ")), "{table}");
    assert!(run(["directory", "user", "show", &file, "dan"]).out.contains("last_login  never\n"));

    // Whoever is called so later never logged in.
    let zoe = json!({ "name": "zoe", "id": 9 }).to_string();
    for _ in 0..2 {
        let make = bed.request(Method::POST, "/api/v1/users").by(person("root"));
        let made = make.header("content-type", "application/json").body(&zoe).send().await;
        assert_eq!((made.status, &made.json()["last_login"]), (201, &Value::Null));
        assert_eq!(login("zoe", "alice-pw").await, 200);
        write_uses(&bed.app).await;
        let shown = bed.get("/api/v1/users/zoe").by(person("root")).send().await.ok().json();
        assert!(shown["last_login"].is_string(), "{shown}");
        assert_eq!(bed.request(Method::DELETE, "/api/v1/users/zoe").by(person("root")).send().await.status, 204);
    }
}

/// Where nobody notes it, nothing is said of it: not that somebody never did.
#[tokio::test]
async fn without_records_nobody_says_when_users_logged_in() {
    let bed = Bed::with(&text(""));
    let page = bed.get("/api/v1/users").by(person("root")).send().await.ok().json();
    let items = page["items"].as_array().unwrap();
    assert!(items.len() == 5 && items.iter().all(|user| user.get("last_login").is_none()), "{page}");
}
