//! `dockwarden migrate`: what it makes, again and at once, and what is in its way.

use std::fs;

use mongodb::bson::{Document, doc};

use super::{config, run};
use crate::mongo::{guide_rules, guide_users};
use crate::support::mongo::{DATABASE, Database};

/// The unique indexes of a collection.
fn unique_indexes(database: &Database, collection: &str) -> Vec<Document> {
    let indexes = database.with(|client| async move {
        let mut cursor = client.database(DATABASE).collection::<Document>(collection).list_indexes().await?;
        let mut indexes = Vec::new();
        while cursor.advance().await? {
            indexes.push(cursor.deserialize_current()?);
        }
        Ok(indexes)
    });
    let unique =
        |index: &mongodb::IndexModel| index.options.as_ref().is_some_and(|options| options.unique == Some(true));
    indexes.into_iter().filter(unique).map(|index| index.keys).collect()
}

fn lines(of: &[(&str, &str)]) -> String {
    const STEPS: [(&str, &str); 8] = [
        ("users", "0001-bookkeeping: the collection dockwarden_migrations, which notes what was applied"),
        ("users", "0002-users: the collection"),
        ("users", "0002-users: the unique index on username"),
        ("users", "0004-users-validator: the validator of users"),
        ("acl", "0001-bookkeeping: the collection dockwarden_migrations, which notes what was applied"),
        ("acl", "0003-rules: the collection"),
        ("acl", "0003-rules: the unique index on seq"),
        ("acl", "0005-rules-validator: the validator of rules"),
    ];
    let came = |step: &str| of.iter().find(|(part, _)| step.contains(part)).unwrap().1;
    STEPS.iter().map(|(collection, step)| format!("{DATABASE}.{collection}: {step}: {}\n", came(step))).collect()
}

#[test]
fn what_is_missing_is_made_and_the_second_time_it_is_there() {
    let database = Database::start();
    let file = config(&database);
    let dry = run("migrate", &file, &["--dry-run"]).well();
    let would = [("validator", "would be applied, if the server supports it"), ("", "would be applied")];
    assert_eq!(dry.text, lines(&would));
    let collections = database.with(|client| async move { client.database(DATABASE).list_collection_names().await });
    assert_eq!(collections, Vec::<String>::new());

    // The guide's documents are there before: they stay what they are.
    database.insert("users", &guide_users());
    database.insert("acl", &guide_rules());
    let documents = |database: &Database| (database.documents("users"), database.documents("acl"));
    let before = documents(&database);
    // This server has no validators: it is told, and it goes on.
    let skipped = "skipped: this server does not support it";
    let first = run("migrate", &file, &[]).well();
    for (step, came) in [
        ("0001-bookkeeping", "applied"),
        ("on username", "applied"),
        ("on seq", "applied"),
        ("of users", skipped),
        ("of rules", skipped),
    ] {
        assert!(first.text.lines().any(|line| line.contains(step) && line.ends_with(came)), "{step}: {}", first.text);
    }
    assert_eq!(run("migrate", &file, &[]).well().text, lines(&[("validator", skipped), ("", "already there")]));
    assert_eq!(documents(&database), before);
    assert_eq!(unique_indexes(&database, "users"), [doc! { "username": 1 }]);
    assert_eq!(unique_indexes(&database, "acl"), [doc! { "seq": 1 }]);
    let noted: Vec<String> = database
        .documents("dockwarden_migrations")
        .iter()
        .map(|note| note.get_str("_id").unwrap().to_owned())
        .collect();
    assert_eq!(noted, ["0001-bookkeeping/acl", "0001-bookkeeping/users", "0002-users/users", "0003-rules/acl"]);

    // What somebody takes away is made again, and a newer Dockwarden's notes are seen.
    database.with(|client| async move {
        client.database(DATABASE).collection::<Document>("users").drop_index("username_1").await
    });
    database.insert("dockwarden_migrations", &[doc! { "migration": "0099-later", "collection": "users" }]);
    let again = run("migrate", &file, &[]).well();
    assert!(again.text.contains("0002-users: the unique index on username: applied\n"), "{}", again.text);
    let newer =
        "migration: 0099-later, which this version does not know: skipped: it was applied by a newer Dockwarden\n";
    assert!(again.text.contains(newer), "{}", again.text);
}

#[test]
fn many_at_once_do_each_other_no_harm() {
    let database = Database::start();
    let file = config(&database);
    let said = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..6).map(|_| scope.spawn(|| run("migrate", &file, &[]))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
    });
    for one in said {
        one.well();
    }
    assert_eq!(unique_indexes(&database, "users"), [doc! { "username": 1 }]);
    assert_eq!(unique_indexes(&database, "acl"), [doc! { "seq": 1 }]);
}

#[test]
fn documents_and_indexes_in_the_way_are_named_and_left_alone() {
    let database = Database::start();
    let file = config(&database);
    database.insert(
        "users",
        &[
            doc! { "_id": "one", "username": "waldi" },
            doc! { "_id": "two", "username": "waldi" },
            doc! { "_id": "three", "username": "other" },
        ],
    );
    for dry in [&["--dry-run"][..], &[]] {
        let said = run("migrate", &file, dry).refused(&["username has to be different in each document"]);
        assert!(said.text.contains("\"waldi\": _id one, _id two") && !said.text.contains("three"), "{}", said.text);
    }
    assert_eq!(database.documents("users").len(), 3);
    database.remove("users", doc! { "_id": "two" });

    database.insert("acl", &[doc! { "_id": "a", "seq": 10 }, doc! { "_id": "b", "seq": 10.0 }, doc! { "_id": "c" }]);
    let said = run("migrate", &file, &[]).refused(&["seq has to be different in each document"]);
    assert!(said.text.contains("10: _id a, _id b") && !said.text.contains("_id c"), "{}", said.text);
    assert!(said.stdout.contains("0002-users: the unique index on username: applied\n"), "{}", said.text);
    database.remove("acl", doc! { "_id": "b" });

    // An index that somebody made without saying unique.
    database.with(|client| async move {
        let index = mongodb::IndexModel::builder().keys(doc! { "seq": 1 }).build();
        client.database(DATABASE).collection::<Document>("acl").create_index(index).await.map(|_| ())
    });
    run("migrate", &file, &[]).refused(&["db.acl.dropIndex(\"seq_1\")"]);
    database.with(
        |client| async move { client.database(DATABASE).collection::<Document>("acl").drop_index("seq_1").await },
    );
    run("migrate", &file, &[]).well();
}

#[test]
fn each_section_has_a_server_and_a_collection_of_its_own() {
    let users = Database::start();
    let rules = Database::start();
    let file = config(&users);
    let text = fs::read_to_string(&file).unwrap();
    let (before, after) = text.split_once("acl_mongo:").unwrap();
    let after =
        after.replace(&users.address(), &rules.address()).replace("collection: \"acl\"", "collection: \"rights\"");
    fs::write(&file, format!("{}acl_mongo:{after}", before.replace("collection: \"users\"", "collection: \"people\"")))
        .unwrap();
    run("migrate", &file, &[]).well();
    assert_eq!(unique_indexes(&users, "people"), [doc! { "username": 1 }]);
    assert_eq!(unique_indexes(&rules, "rights"), [doc! { "seq": 1 }]);
    let noted = |database: &Database| database.documents("dockwarden_migrations").len();
    assert_eq!((noted(&users), noted(&rules)), (2, 2));

    // One of the sections alone is enough.
    fs::write(&file, format!("{before}acl: []\n")).unwrap();
    let said = run("migrate", &file, &[]).well();
    assert!(!said.text.contains("acl"), "{}", said.text);
}
