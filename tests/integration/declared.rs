//! Registries that managers declare while the server runs: the secrets of their events, and where they may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::Method;
use dockwarden::catalogue::NotSwept;
use dockwarden::directory::changing::NotChanged;
use dockwarden::directory::{Directory, NewEntry};
use dockwarden::records::directory::{EntryAt, EntryKind};
use dockwarden::records::{Settings, Version, back_up, restore};
use dockwarden::registries::Registry;
use time::OffsetDateTime;
use tokio::net::TcpListener;

use crate::bed::Bed;

fn bed(networks: &str) -> Bed {
    Bed::with(&format!(
        "directory: {{groups: {{dev: {{id: 10}}}}}}\n\
         registries: {{filed: {{url: \"http://127.0.0.1:9\"}}}}\n\
         records: {{sqlite: $DIR/dockwarden.db}}\n\
         api: {{listen: main}}\n\
         {networks}\n"
    ))
}

fn directory(bed: &Bed) -> Arc<Directory> {
    Arc::clone(bed.app.snapshot().access.directory().unwrap())
}

fn declared(service: &str, url: &str) -> NewEntry {
    let registry = Box::new(Registry::from_address(service, url.parse().unwrap()));
    NewEntry::Registry { registry, authorities: None, creator: Some("cat".to_owned()) }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

async fn send(bed: &Bed, secret: &str) -> u16 {
    bed.app.snapshot().follow_directory();
    let asked = bed.request(Method::POST, "/api/v1/events").header("authorization", &format!("Bearer {secret}"));
    asked.body("{\"events\": []}").send().await.status
}

#[tokio::test]
async fn a_registry_of_the_records_has_secrets_of_events_that_are_changed_one_for_the_other() {
    let bed = bed("");
    bed.app.prepare().await.unwrap();
    let directory = directory(&bed);
    for service in ["late", "other"] {
        directory.make(declared(service, &format!("https://{service}.example.org"))).await.unwrap();
    }
    let make = async || directory.make_events_secret("late", now()).await.unwrap();
    let (first, first_made) = make().await;
    assert!(first.reveal().starts_with("dwe_") && first.reveal().len() == 40);
    assert_eq!((send(&bed, first.reveal()).await, send(&bed, "dwe_0").await), (202, 401));
    let known =
        bed.app.snapshot().catalogue.as_ref().unwrap().sink(first.reveal()).map(|sink| sink.service().to_owned());
    assert_eq!(known.as_deref(), Some("late"), "its secret says whose the events are");
    // Both work, until a third takes the place of the older one.
    let (second, _) = make().await;
    assert_eq!((send(&bed, first.reveal()).await, send(&bed, second.reveal()).await), (202, 202));
    let (third, third_made) = make().await;
    let works = async |secrets: [u16; 3]| {
        for (secret, status) in [&first, &second, &third].into_iter().zip(secrets) {
            assert_eq!(send(&bed, secret.reveal()).await, status);
        }
    };
    works([401, 202, 202]).await;
    let listed = directory.events_secrets("late").await.unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(listed.last(), Some(&third_made));
    // They are kept as digests, and what else is said of the registry leaves them alone.
    let at = EntryAt { kind: EntryKind::Registry, name: "late".to_owned() };
    let records = Arc::clone(&bed.app.snapshot().records.as_ref().unwrap().records);
    let entry = records.entry(&at).await.unwrap().unwrap();
    for secret in [&first, &second, &third] {
        assert!(!entry.text.contains(secret.reveal()) && !entry.text.contains(&secret.reveal()[4..34]));
    }
    directory.replace(declared("late", "https://moved.example.org"), entry.version).await.unwrap();
    works([401, 202, 202]).await;
    // In another store, too.
    let backup = bed.folder.path("backup.jsonl");
    let settings = Settings::sqlite(bed.folder.path("dockwarden.db"));
    back_up(&settings, &backup).await.unwrap();
    let copy = Settings::sqlite(bed.folder.path("copy.db"));
    restore(&copy, &backup, now()).await.unwrap();
    let copied = dockwarden::records::open(&copy).entry(&at).await.unwrap().unwrap();
    assert!(copied.text.contains(&third_made.id));
    // Revoked, for good.
    assert_eq!(directory.revoke_events_secrets("late", Some(&third_made.id)).await.unwrap(), 1);
    works([401, 202, 401]).await;
    let gone = directory.revoke_events_secrets("late", Some(&first_made.id)).await;
    assert!(matches!(gone, Err(NotChanged::Missing)), "{gone:?}");
    assert_eq!(directory.revoke_events_secrets("late", None).await.unwrap(), 1);
    works([401, 401, 401]).await;
    for (service, missing) in [("nowhere", true), ("filed", false)] {
        match directory.make_events_secret(service, now()).await {
            Err(NotChanged::Missing) => assert!(missing),
            Err(NotChanged::InTheFile) => assert!(!missing),
            other => panic!("{service}: {other:?}"),
        }
    }
    directory.make_events_secret("other", now()).await.unwrap();
}

/// Of two that are made at once, none is shown and dead: the second is told that something was changed in between.
#[tokio::test]
async fn secrets_that_are_made_at_once_are_both_kept_or_one_is_refused() {
    let bed = bed("");
    let directory = directory(&bed);
    directory.make(declared("late", "https://late.example.org")).await.unwrap();
    let (one, other) =
        tokio::join!(directory.make_events_secret("late", now()), directory.make_events_secret("late", now()));
    let kept = directory.events_secrets("late").await.unwrap();
    for made in [one, other] {
        match made {
            Ok((_, made)) => assert!(kept.contains(&made)),
            Err(refused) => assert!(matches!(refused, NotChanged::Conflict), "{refused:?}"),
        }
    }
}

/// A manager's url leads neither to this machine nor to its network, unless the operator says so.
#[tokio::test]
async fn a_manager_declares_registries_at_public_addresses_alone() {
    let inside = [
        "http://127.0.0.1:5000",
        "http://localhost:5000",
        "http://2130706433",
        "http://169.254.169.254",
        "http://10.1.2.3:5000",
        "https://[fd00:ec2::254]",
        "https://[::ffff:192.168.0.1]",
    ];
    let strict = bed("");
    let directory_of_strict = directory(&strict);
    for url in inside {
        let refused = directory_of_strict.make(declared("late", url)).await;
        assert!(matches!(refused, Err(NotChanged::Place(_))), "{url}: {refused:?}");
        assert!(refused.unwrap_err().to_string().contains("registries_declared.networks"));
        let told = directory_of_strict.make_all(vec![declared("late", url)]).await.unwrap();
        assert!(matches!(told.as_slice(), [(_, Err(NotChanged::Place(_)))]), "{url}: {told:?}");
    }
    directory_of_strict.make(declared("late", "https://1.1.1.1")).await.unwrap();
    // Where one is that the file has is told like where none is.
    for url in ["http://127.0.0.1:5000", "http://127.0.0.1:9"] {
        let moved = directory_of_strict.replace(declared("late", url), Version(1)).await;
        assert!(matches!(moved, Err(NotChanged::Place(_))), "{moved:?}");
        let more = directory_of_strict.make(declared("more", url)).await;
        assert!(matches!(more, Err(NotChanged::Place(_))), "{url}: {more:?}");
        let told = directory_of_strict.make_all(vec![declared("more", url)]).await.unwrap();
        assert!(matches!(told.as_slice(), [(_, Err(NotChanged::Place(_)))]), "{url}: {told:?}");
    }
    let open = bed("registries_declared: {networks: [10.1.0.0/16]}");
    directory(&open).make(declared("late", "http://10.1.2.3:5000")).await.unwrap();
    let refused = directory(&open).make(declared("more", "http://10.2.0.1:5000")).await;
    assert!(matches!(refused, Err(NotChanged::Place(_))), "{refused:?}");
}

/// What is in the records already, or means another address by now, is not connected to either, and says so as the last error.
#[tokio::test]
async fn what_was_declared_is_looked_at_again_at_each_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let bed = bed("");
    bed.app.prepare().await.unwrap();
    let records = Arc::clone(&bed.app.snapshot().records.as_ref().unwrap().records);
    // As by an older configuration, which allowed it.
    records.make_entry(&declared("late", &url).entry().unwrap()).await.unwrap();
    directory(&bed).read_again().await.unwrap();
    let snapshot = bed.app.snapshot();
    snapshot.follow_directory();
    let catalogue = snapshot.catalogue.as_ref().unwrap();
    let refused = catalogue.sweep("late").await;
    assert!(matches!(refused, Err(NotSwept::Registry(_))), "{refused:?}");
    let status = catalogue.status("late").await.unwrap().unwrap();
    let (told, _) = status.sweep.error.unwrap();
    assert!(told.contains("registries_declared.networks") && !told.contains("127.0.0.1"), "{told}");
    assert_eq!(taken.load(Ordering::SeqCst), 0, "nobody was connected to");
    // The operator's own may be anywhere: that one is asked, and nobody is there.
    let away = catalogue.sweep("filed").await.unwrap_err().to_string();
    assert!(!away.contains("registries_declared"), "{away}");
}
