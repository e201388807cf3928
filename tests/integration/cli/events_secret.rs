//! The commands of registries.

use axum::http::Method;
use dockwarden::directory::NewEntry;
use dockwarden::registries::Registry;

use super::run;
use crate::bed::{Bed, Folder};

/// The secret alone is on standard output, once; a server that runs takes it, and no more once it is revoked.
#[tokio::test]
async fn secrets_of_events_are_made_listed_and_revoked() {
    let config = "records: {sqlite: $DIR/dockwarden.db}\napi: {listen: main}\nacl: []\ndirectory: {}\n\
                  registries: {filed: {url: \"https://filed.example.org\"}}\n";
    let folder = Folder::new();
    let file = folder.configure(config);
    let file = file.to_str().unwrap();
    let bed = Bed::in_folder(folder, config);
    bed.app.prepare().await.unwrap();
    let directory = std::sync::Arc::clone(bed.app.snapshot().access.directory().unwrap());
    let registry = Box::new(Registry::from_address("late", "https://late.example.org".parse().unwrap()));
    directory.make(NewEntry::Registry { registry, authorities: None, creator: None }).await.unwrap();
    let of = |action: &'static str| run(["registry", "events-secret", action, file, "late"]);

    let made = of("create");
    assert_eq!(made.code, 0, "{}", made.err);
    let secret = made.out.strip_suffix('\n').unwrap();
    assert!(secret.starts_with("dwe_") && secret.len() == 40 && !made.err.contains(secret), "{}", made.err);
    let sent = async || {
        directory.read_again().await.unwrap();
        bed.app.snapshot().follow_directory();
        let asked = bed.request(Method::POST, "/api/v1/events").body("{\"events\": []}");
        asked.header("authorization", &format!("Bearer {secret}")).send().await.status
    };
    assert_eq!(sent().await, 202);
    let listed = of("list");
    assert_eq!((listed.code, listed.out.lines().count()), (0, 1));
    assert!(!listed.out.contains(&secret[4..10]), "{}", listed.out);
    let listed = run(["registry", "events-secret", "list", file, "late", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    let id = listed[0]["id"].as_str().unwrap();
    assert!(made.err.contains(id), "{}", made.err);

    let revoke = |id: &str| run(["registry", "events-secret", "revoke", file, "late", id]);
    let wrong = revoke("0123456789");
    assert!(wrong.code == 1 && wrong.err.contains("no such secret"), "{}", wrong.err);
    let shown = revoke(secret);
    assert!(shown.code == 1 && shown.err.contains("by its id") && !shown.err.contains(secret), "{}", shown.err);
    assert_eq!(revoke(id).out, "late: 1 secret revoked\n");
    assert_eq!(sent().await, 401);
    assert_eq!(of("list").out, "");
    for (service, told) in [("filed", "configuration file"), ("nowhere", "no registry nowhere")] {
        let refused = run(["registry", "events-secret", "create", file, service]);
        assert!(refused.code == 1 && refused.out.is_empty() && refused.err.contains(told), "{}", refused.err);
    }
}
