//! The directory in the records, beside that of the file.

use std::collections::BTreeSet;

use dockwarden::authn::Account;
use dockwarden::directory::changing::NotChanged;
use dockwarden::directory::entry::{App, Group, Privilege, Service, User};
use dockwarden::directory::{Directory, NewEntry, Origin};
use dockwarden::records::directory::{EntryAt, EntryKind};
use dockwarden::records::{Settings, Version, back_up, restore};
use dockwarden::registries::{Registry, Restriction};
use time::OffsetDateTime;

use super::{granted, opensvc};
use crate::bed::{ALICE_HASH, Bed, Caller};

fn bed() -> Bed {
    let more = format!("users:\n  zoe: {{password: \"{ALICE_HASH}\"}}");
    let text = opensvc().replacen("users:", &more, 1);
    let more = "registries_declared: {networks: [127.0.0.1]}\n";
    Bed::with(&format!("{text}{more}records: {{sqlite: $DIR/dockwarden.db}}\napi: {{listen: main}}\n"))
}

fn directory(bed: &Bed) -> std::sync::Arc<Directory> {
    std::sync::Arc::clone(bed.app.snapshot().access.directory().unwrap())
}

fn group(name: &str, id: u64) -> NewEntry {
    NewEntry::Group(Group { name: name.to_owned(), id, privileges: BTreeSet::new() })
}

fn user(name: &str, id: u64, groups: &[&str], privileges: &[Privilege]) -> User {
    let groups = groups.iter().map(|group| (*group).to_owned()).collect();
    let name = Account::parse(name).unwrap();
    User { name, id, groups, privileges: privileges.iter().copied().collect(), primary_group: None, quota: Some(1) }
}

fn registry(service: &str, url: &str) -> Registry {
    let mut registry = Registry::from_address(service, url.parse().unwrap());
    registry.restriction = Restriction::Open;
    registry.publications = vec!["web".to_owned()];
    registry.responsibles = vec!["web".to_owned()];
    registry
}

fn declared(registry: Registry, creator: Option<&str>) -> NewEntry {
    NewEntry::Registry { registry: Box::new(registry), authorities: None, creator: creator.map(str::to_owned) }
}

/// Groups, users, apps, services and registries of the records count beside those of the file.
#[tokio::test]
async fn what_the_records_have_counts_beside_the_file() {
    let bed = bed();
    let directory = directory(&bed);
    let all = [Privilege::Puller, Privilege::Pusher, Privilege::Manager];
    directory.make(group("web", 50)).await.unwrap();
    directory.make(NewEntry::User(user("zoe", 9, &["web", "dev"], &all))).await.unwrap();
    let app = App { name: "shop".to_owned(), id: 200, responsibles: vec!["web".to_owned()], publications: Vec::new() };
    directory.make(NewEntry::App(app)).await.unwrap();
    directory.make(declared(registry("third", "https://third.example.org"), None)).await.unwrap();
    for (scope, service, expected) in [
        ("repository:users/9/x:pull,push", "reg", "pull,push"),
        ("repository:users/zoe/x:pull", "vault", "pull"),
        ("repository:groups/50/x:pull,push", "third", "pull,push"),
        ("repository:apps/shop/x:pull,push", "third", "pull,push"),
        ("repository:lib/x:*", "third", "delete,pull,push"),
        ("repository:lib/x:*", "reg", "pull"),
    ] {
        assert_eq!(granted(&bed, "zoe", scope, service).await, expected, "{scope} at {service}");
    }
    assert_eq!(granted(&bed, "ann", "repository:lib/x:pull", "third").await, "");
    // Taken away, it is gone at once here.
    let at = EntryAt { kind: EntryKind::User, name: "zoe".to_owned() };
    directory.replace(NewEntry::User(user("zoe", 9, &["web"], &[Privilege::Puller])), Version(1)).await.unwrap();
    assert_eq!(granted(&bed, "zoe", "repository:users/9/x:pull,push", "third").await, "pull");
    directory.remove(&at, Version(2), OffsetDateTime::now_utc()).await.unwrap();
    assert_eq!(granted(&bed, "zoe", "repository:users/9/x:pull,push", "third").await, "");
}

#[tokio::test]
async fn what_is_in_the_file_or_would_be_mistaken_is_not_made() {
    let bed = bed();
    let directory = directory(&bed);
    for taken in [
        group("dev", 40),
        group("new", 10),
        group("20", 40),
        group("everybody", 40),
        NewEntry::User(user("web@n1", 40, &[], &[])),
        declared(registry("reg", "https://x.example.org"), None),
        declared(Registry::from_address("x", "http://127.0.0.1:5000".parse().unwrap()), None),
    ] {
        let refused = directory.make(taken.clone()).await;
        assert!(matches!(refused, Err(NotChanged::Taken(_))), "{taken:?}: {refused:?}");
    }
    let refused = directory.make(NewEntry::User(user("zoe", 9, &["nowhere"], &[]))).await.unwrap_err().to_string();
    assert_eq!(refused, "there is no group \"nowhere\" in the directory");
    let refused = directory.replace(group("dev", 40), Version(1)).await;
    assert!(matches!(refused, Err(NotChanged::InTheFile)), "{refused:?}");
    let at = EntryAt { kind: EntryKind::Registry, name: "reg".to_owned() };
    let refused = directory.remove(&at, Version(1), OffsetDateTime::now_utc()).await;
    assert!(matches!(refused, Err(NotChanged::InTheFile)), "{refused:?}");
}

/// A new registry has its creator's primary group as responsible and publication, and quotas bite.
#[tokio::test]
async fn a_user_declares_as_many_registries_as_the_quota_says() {
    let bed = bed();
    let directory = directory(&bed);
    directory.make(group("web", 50)).await.unwrap();
    let zoe = User { primary_group: Some("web".to_owned()), ..user("zoe", 9, &["dev", "web"], &[Privilege::Manager]) };
    directory.make(NewEntry::User(zoe)).await.unwrap();
    let first = directory.declared("zoe", registry("one", "https://one.example.org")).unwrap();
    assert_eq!((&first.responsibles, &first.publications), (&vec!["web".to_owned()], &vec!["web".to_owned()]));
    directory.make(declared(first, Some("zoe"))).await.unwrap();
    let view = directory.view().unwrap();
    assert_eq!(view.declared_by("zoe"), 1);
    let creator = Some("zoe".to_owned());
    assert_eq!(view.origin("one"), Some(&Origin::Records { version: Version(1), creator }));
    let second = directory.declared("zoe", registry("two", "https://two.example.org"));
    assert!(matches!(second, Err(NotChanged::Quota(1))), "{second:?}");
}

/// A service of the records logs in by secrets that last; they end with it, and do not come back with another of its name.
#[tokio::test]
async fn services_of_the_records_have_secrets_that_last() {
    let bed = bed();
    let directory = directory(&bed);
    let service = |made: &str| {
        let (name, made) = (Account::parse("shop@n1").unwrap(), made.to_owned());
        NewEntry::Service(Service { name, app: "web".to_owned(), secrets: Vec::new(), made })
    };
    directory.make(service("1")).await.unwrap();
    let now = OffsetDateTime::now_utc();
    let access = &bed.app.snapshot().access;
    let made = |slot: &'static str| async move {
        let owner = access.look_up(&Account::parse("shop@n1").unwrap(), None).await.unwrap();
        access.lasting().unwrap().make_service(owner, slot.parse().unwrap(), now).await
    };
    let (one, two) = (made("never").await.unwrap(), made("never").await.unwrap());
    assert!(made("never").await.is_err(), "both slots are taken");
    let login = |secret: String| {
        let ask = bed.get("/auth?service=reg&scope=repository:apps/web/x:pull,push");
        async move { ask.basic("shop@n1", &secret).send().await }
    };
    for made in [&one, &two] {
        let reply = login(made.secret.reveal().to_string()).await.ok();
        assert_eq!(reply.access(), ["repository:apps/web/x:pull"]);
        assert_eq!(reply.claims()["sub"], "shop@n1");
    }
    // By its name as it is written, and no other.
    for (name, status) in [("shop@n1", 200), ("SHOP@n1", 401), ("shop@N1", 401), ("shop@n2", 401)] {
        let reply = bed.get("/auth?service=reg").basic(name, one.secret.reveal()).send().await;
        assert_eq!(reply.status, status, "{name}");
    }
    let other = bed.get("/auth?service=reg").by(Caller::Account("shop@n1", "alice-pw")).send().await;
    assert_eq!(other.status, 401);
    let at = EntryAt { kind: EntryKind::Service, name: "shop@n1".to_owned() };
    directory.remove(&at, Version(1), now).await.unwrap();
    assert_eq!(login(one.secret.reveal().to_string()).await.status, 401);
    directory.make(service("2")).await.unwrap();
    assert_eq!(login(two.secret.reveal().to_string()).await.status, 401);
}

#[tokio::test]
async fn backups_hold_the_directory() {
    let bed = bed();
    let directory = directory(&bed);
    directory.make(group("web", 50)).await.unwrap();
    let (store, backup) = (bed.folder.path("dockwarden.db"), bed.folder.path("backup.db"));
    back_up(&Settings::sqlite(store), &backup).await.unwrap();
    let other = Settings::sqlite(bed.folder.path("other.db"));
    restore(&other, &backup, OffsetDateTime::now_utc()).await.unwrap();
    let records = dockwarden::records::open(&other);
    let at = EntryAt { kind: EntryKind::Group, name: "web".to_owned() };
    assert_eq!(records.entry(&at).await.unwrap().map(|entry| entry.text), Some("{\"id\":50}".to_owned()));
    assert!(records.directory_version().await.unwrap() != Version(0));
}
