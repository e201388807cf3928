//! Commands that only look: they make no store, and say where is kept what they do not count.

use serde_json::Value;

use super::{command, configured, finish, run};
use crate::bed::ALICE_HASH;

const IN_RECORDS: &str =
    "records: {sqlite: $DIR/dockwarden.db}\nlasting: {}\nrecords_auth: {}\nacl_records: {}\nusers: ~\nacl: ~\n";

#[test]
fn who_only_looks_makes_no_records() {
    let (folder, file) = configured(IN_RECORDS);
    for (words, out) in [
        ("user list", Some("")),
        ("acl list", None),
        ("acl export", None),
        ("token list", Some("")),
        ("token list --json", Some("{\n  \"tokens\": []\n}\n")),
        ("check", None),
        ("check --connect", None),
    ] {
        let (first, rest) = words.split_once(' ').unwrap_or((words, ""));
        let (second, rest) = match first {
            "check" => ("", rest),
            _ => rest.split_once(' ').unwrap_or((rest, "")),
        };
        let words: Vec<&str> = [first, second, &file, rest].into_iter().filter(|word| !word.is_empty()).collect();
        let looked = run(&words);
        assert_eq!(looked.code, 0, "{words:?}: {}{}", looked.out, looked.err);
        if let Some(out) = out {
            assert_eq!(looked.out, out, "{words:?}");
        }
        assert!(!folder.path("dockwarden.db").exists(), "{words:?}");
    }
    for words in [
        ["user", "show", &file, "alice"].as_slice(),
        &["token", "show", &file, "x"],
        &["acl", "test", &file, "--scope", "repository:a:pull"],
        &["explain", &file, "--account", "alice", "repository:a:pull"],
        &["explain", &file, "--account", "robot+ci", "repository:a:pull"],
    ] {
        let looked = run(words);
        assert_ne!(looked.code, 0, "{words:?}");
        assert!(!looked.err.contains("panic") && !folder.path("dockwarden.db").exists(), "{words:?}: {}", looked.err);
    }
    // Who changes something makes them.
    let added = finish(command(["user", "add", &file, "alice", "--hash"]), ALICE_HASH);
    assert_eq!(added.code, 0, "{}", added.err);
    assert!(run(["user", "list", &file]).out.starts_with("alice"));
}

#[test]
fn check_says_who_is_asked_for_what_it_does_not_count() {
    let asked = "which is asked when it is needed";
    for (config, expected) in [
        (
            IN_RECORDS,
            format!("(0 users and those of records_auth, {asked}, 0 rules and those of acl_records, {asked}, "),
        ),
        (
            "xorm_auth: {database_type: sqlite3, conn_string: $DIR/x.db}\nacl: []\n",
            format!("(3 users and those of xorm_auth, {asked}, 0 rules, "),
        ),
        ("ext_auth: {command: /bin/true}\nacl: []\n", format!("(3 users and those of ext_auth, {asked}, 0 rules, ")),
        ("acl: ~\next_authz: {command: /bin/true}\n", format!("(3 users, 0 rules and those of ext_authz, {asked}, ")),
        ("acl: []\n", "(3 users, 0 rules, ".to_owned()),
    ] {
        let (_folder, file) = configured(config);
        let checked = run(["check", &file]);
        assert!(checked.out.contains(&expected), "{expected}: {}{}", checked.out, checked.err);
    }
}

#[test]
fn a_backup_says_how_much_of_each_came_back() {
    let (folder, file) = configured(IN_RECORDS);
    assert_eq!(finish(command(["user", "add", &file, "alice", "--hash"]), ALICE_HASH).code, 0);
    for account in ["alice", "bob"] {
        let added = run(["acl", "add", &file, "--account", account, "--actions", "pull"]);
        assert_eq!(added.code, 0, "{}", added.err);
    }
    let saved = folder.path("saved.db");
    assert_eq!(run(["records", "backup", &file, saved.to_str().unwrap()]).code, 0);
    let restored = run(["records", "restore", &file, saved.to_str().unwrap()]);
    assert!(restored.out.contains("0 secrets, 0 robots, 1 user, 2 rules\n"), "{}{}", restored.out, restored.err);
    let rules = run(["acl", "list", &file, "--output", "json"]);
    assert_eq!(serde_json::from_str::<Value>(&rules.out).unwrap().as_array().map(Vec::len), Some(2));
}

#[test]
fn the_warning_of_plain_wildcards_names_its_section() {
    let (folder, file) = configured(&IN_RECORDS.replace("records_auth: {}", "records_auth: {label_values: literal}"));
    let users = folder.put(
        "users.yml",
        &format!("users: {{alice: {{password: \"{ALICE_HASH}\", labels: {{team: [\"web-*\"]}}}}}}\n"),
    );
    let imported = run(["user", "import", &file, users.to_str().unwrap()]);
    assert_eq!(imported.code, 0, "{}", imported.err);
    assert!(imported.err.contains("warning: records_auth has label_values: literal"), "{}", imported.err);
}
