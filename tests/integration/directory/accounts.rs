//! Whose an account is: a service takes over nobody's, and nobody is called as a service.

use std::sync::Arc;

use axum::http::Method;
use dockwarden::authn::Account;
use dockwarden::directory::NewEntry;
use dockwarden::directory::entry::{Group, Service};
use serde_json::json;

use super::{opensvc, person, ready};
use crate::bed::{ALICE_HASH, Bed, Reply};
use crate::cli::run;

const RULES: &str = "acl:\n  - {match: {account: root, type: dockwarden}, actions: [list, show, create, change, delete]}\n  \
                     - {match: {account: \"jim@example.org\", name: \"jims/*\"}, actions: [pull]}\n";

fn text(more: &str) -> String {
    let users =
        format!("users:\n  root: {{password: \"{ALICE_HASH}\"}}\n  jim@example.org: {{password: \"{ALICE_HASH}\"}}");
    let text = opensvc().replacen("users:", &users, 1).replace("acl: []\n", RULES);
    format!("{text}{more}records: {{sqlite: $DIR/dockwarden.db}}\napi: {{listen: main}}\n")
}

async fn make_service(bed: &Bed, name: &str) -> Reply {
    let body = json!({ "name": name, "app": "web" }).to_string();
    let ask = bed.request(Method::POST, "/api/v1/services").by(person("root"));
    ask.header("content-type", "application/json").body(&body).send().await
}

fn service(name: &str) -> NewEntry {
    let (name, app, made) = (Account::parse(name).unwrap(), "web".to_owned(), "1".to_owned());
    NewEntry::Service(Service { name, app, secrets: Vec::new(), made })
}

async fn logs_in(bed: &Bed, name: &'static str) -> u16 {
    bed.get("/auth?service=reg").basic(name, "alice-pw").send().await.status
}

/// A manager who makes a service under somebody's name would lock them out, and be them to the rules.
#[tokio::test]
async fn a_service_is_not_made_under_the_name_of_an_account() {
    let more = "htpasswd_auth: {path: $DIR/htpasswd}\nrecords_auth: {}\n";
    let folder = crate::bed::Folder::new();
    folder.put("htpasswd", &format!("tom@example.org:{ALICE_HASH}\n"));
    let bed = Bed::in_folder(folder, &text(more));
    ready(&bed).await;
    let records = Arc::clone(&bed.app.snapshot().records.as_ref().unwrap().records);
    let joe = Account::parse("joe@example.org").unwrap();
    records
        .make_user(&joe, &json!({ "username": "joe@example.org", "password": ALICE_HASH }).to_string())
        .await
        .unwrap();
    for (name, section) in [
        ("jim@example.org", "users"),
        ("JIM@example.org", "users"),
        ("tom@example.org", "htpasswd_auth"),
        ("joe@example.org", "records_auth"),
    ] {
        let refused = make_service(&bed, name).await;
        assert_eq!((refused.status, &refused.json()["reason"]), (409, &"not_changed".into()), "{}", refused.text());
        assert!(refused.text().contains(&format!("{section} has an account of this name")), "{}", refused.text());
    }
    for name in ["jim@example.org", "tom@example.org", "joe@example.org"] {
        assert_eq!(logs_in(&bed, name).await, 200, "{name}");
    }
    assert_eq!(make_service(&bed, "shop@n1").await.status, 201);
    // The same by command; and nobody is called as a service.
    let file = bed.folder.path("config.yml").to_str().unwrap().to_owned();
    let refused = run(["service", "add", &file, "joe@example.org", "--app", "web"]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    assert!(refused.err.contains("records_auth has an account of this name"), "{}", refused.err);
    let users = bed.folder.put("users.yml", &format!("users: {{\"shop@n1\": {{password: \"{ALICE_HASH}\"}}}}\n"));
    let import = ["user", "import", &file, "--section", "records_auth", users.to_str().unwrap()];
    let add = |name| ["user", "add", &file, "--section", "records_auth", name];
    for (refused, service) in [
        (run(add("shop@n1")), "shop@n1"),
        (run(add("SHOP@n1")), "shop@n1"),
        (run(add("web@n2")), "web@n2"),
        (run(import), "shop@n1"),
    ] {
        assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{}", refused.err);
        assert!(refused.err.contains(&format!("the service {service} of the directory logs in")), "{}", refused.err);
    }
    assert!(records.user(&Account::parse("shop@n1").unwrap()).await.unwrap().is_none());
}

/// Where nobody can find out whose a name is, it is nobody's to give away.
#[tokio::test]
async fn a_service_is_not_made_while_a_backend_cannot_say_whose_its_name_is() {
    let more = "http_auth:\n  url: \"http://127.0.0.1:1/\"\n  headers: {Authorization: \"Basic ${basic}\"}\n  account: \"$.name\"\n  \
                look_up: {url: \"http://127.0.0.1:1/${account}\"}\n";
    let bed = Bed::with(&text(more));
    ready(&bed).await;
    let refused = make_service(&bed, "shop@n1").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    let directory = Arc::clone(bed.app.snapshot().access.directory().unwrap());
    assert!(directory.view().unwrap().service("shop@n1").is_none());
}

/// Where a service of the records and an account of the file have one name after all, the account stays with the file.
#[tokio::test]
async fn an_account_of_the_file_is_no_service_of_the_records() {
    // The service was there first.
    let bed = Bed::with(&text("").replace("  jim@example.org:", "  other@example.org:"));
    ready(&bed).await;
    let directory = Arc::clone(bed.app.snapshot().access.directory().unwrap());
    directory.make(service("jim@example.org")).await.unwrap();
    let now = time::OffsetDateTime::now_utc();
    let secret = {
        let access = &bed.app.snapshot().access;
        let owner = access.look_up(&Account::parse("jim@example.org").unwrap(), None).await.unwrap();
        access.lasting().unwrap().make_service(owner, "never".parse().unwrap(), now).await.unwrap().secret
    };
    let by_secret =
        async |bed: &Bed| bed.get("/auth?service=reg").basic("jim@example.org", secret.reveal()).send().await.status;
    assert_eq!(by_secret(&bed).await, 200);
    drop(directory);
    let Bed { folder, .. } = bed;
    let bed = Bed::in_folder(folder, &text(""));
    ready(&bed).await;
    let reply = bed.get("/auth?service=reg&scope=repository:jims/x:pull&scope=repository:apps/web/x:pull");
    let reply = reply.basic("jim@example.org", "alice-pw").send().await.ok();
    assert_eq!(reply.access(), ["repository:jims/x:pull", "repository:apps/web/x:"], "nothing of the service's");
    assert_eq!(by_secret(&bed).await, 401, "no secret of a service lets in as jim");
    let snapshot = bed.app.snapshot();
    let view = snapshot.access.directory().unwrap().view().unwrap();
    let remark =
        "the service jim@example.org of the records is called as an account of the file, and counts for nothing";
    assert_eq!(view.remarks(), [remark]);
    let file = bed.folder.path("config.yml");
    let checked = run(["check", "--connect", file.to_str().unwrap()]);
    assert!(checked.out.contains(&format!("warning: directory: {remark}\n")), "{}{}", checked.out, checked.err);
}

/// The file takes a name or an id later: what of the records named its own entry means the file's from then on, and that is said.
#[tokio::test]
async fn entries_that_mean_the_files_by_now_are_named() {
    let bed = Bed::with(&text(""));
    ready(&bed).await;
    let records = Arc::clone(&bed.app.snapshot().records.as_ref().unwrap().records);
    let group = Group { name: "devs".to_owned(), id: 10, privileges: Default::default() };
    records.make_entry(&NewEntry::Group(group).entry().unwrap()).await.unwrap();
    let mut registry =
        dockwarden::registries::Registry::from_address("third", "https://third.example.org".parse().unwrap());
    registry.publications = vec!["10".to_owned()];
    let registry = NewEntry::Registry { registry: Box::new(registry), authorities: None, creator: None };
    records.make_entry(&registry.entry().unwrap()).await.unwrap();
    ready(&bed).await;
    let view = bed.app.snapshot().access.directory().unwrap().view().unwrap();
    assert_eq!(
        view.remarks(),
        [
            "the group devs (id 10) of the records is the file's now: registry third of the records named it",
            "the group devs of the records has a name or an id that another group has, and counts for nothing",
        ]
    );
}
