//! `dockwarden user`: what each command does, prints and refuses, and that a running server follows at once.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use mongodb::bson::doc;

use super::{config, run, run_with};
use crate::mongo::{granted, guide_rules, status};
use crate::support::dockwarden::{Dockwarden, password, program};
use crate::support::mongo::Database;
use crate::support::part::Said;

/// The cheapest hash: what these tests are about is not its strength.
const COST: [&str; 2] = ["--cost", "4"];

fn prepared() -> (Database, std::path::PathBuf) {
    let database = Database::start();
    let file = config(&database);
    run("migrate", &file, &[]).well();
    (database, file)
}

fn add(file: &std::path::Path, name: &str, more: &[&str], password: &str) -> Said {
    run_with("user add", file, &[&[name][..], &COST, more].concat(), password)
}

#[test]
fn a_running_server_follows_each_command_at_once() {
    let (database, file) = prepared();
    database.insert("acl", &guide_rules());
    let server = Dockwarden::start_file(&file);
    let old = password("waldi");
    let said = |said: Said, expected: &str| assert_eq!(said.well().text, expected);
    let may = |name: &str| granted(&server, "waldi", &format!("repository:{name}:pull"));

    assert_eq!(status(&server, "waldi", &old), 401);
    said(
        add(&file, "waldi", &["--label", "full-access=test,socke*", "--label", "read-only-access=prod/*"], &old),
        "waldi: added, enabled, full-access=[test, socke*] read-only-access=[prod/*], password bcrypt ($2b$), cost 4\n",
    );
    assert_eq!(may("test"), Ok(vec!["pull".to_owned()]));
    assert_eq!(may("dev"), Ok(vec![]));
    said(
        run("user label", &file, &["waldi", "full-access+=dev", "read-only-access="]),
        "waldi: full-access=[test, socke*] read-only-access=[prod/*] -> full-access=[test, socke*, dev]\n",
    );
    assert_eq!(may("dev"), Ok(vec!["pull".to_owned()]));
    assert_eq!(may("prod/x"), Ok(vec![]));
    said(
        run("user label", &file, &["waldi", "full-access-=dev"]),
        "waldi: full-access=[test, socke*, dev] -> full-access=[test, socke*]\n",
    );
    assert_eq!(may("dev"), Ok(vec![]));
    said(
        run("user label", &file, &["waldi", "full-access-=dev"]),
        "waldi: nothing changes, full-access=[test, socke*]\n",
    );

    said(
        run_with("user passwd", &file, &["waldi", "--cost", "5"], "new\n"),
        "waldi: new password, bcrypt ($2b$), cost 4 -> bcrypt ($2b$), cost 5\n",
    );
    assert_eq!((status(&server, "waldi", &old), status(&server, "waldi", "new")), (401, 200));
    said(run("user disable", &file, &["waldi"]), "waldi: enabled -> disabled\n");
    assert_eq!(status(&server, "waldi", "new"), 401);
    said(run("user disable", &file, &["waldi"]), "waldi: nothing changes, disabled\n");
    // A new password does not switch it on.
    run_with("user passwd", &file, &["waldi", "--cost", "4"], "newer").well();
    assert_eq!(status(&server, "waldi", "newer"), 401);
    said(run("user enable", &file, &["waldi"]), "waldi: disabled -> enabled\n");
    assert_eq!(status(&server, "waldi", "newer"), 200);
    said(run("user remove", &file, &["waldi"]), "waldi: removed; it was enabled, full-access=[test, socke*]\n");
    assert_eq!(status(&server, "waldi", "newer"), 401);
    said(
        add(&file, "later", &["--disabled"], "later"),
        "later: added, disabled, no labels, password bcrypt ($2b$), cost 4\n",
    );
    assert_eq!(status(&server, "later", "later"), 401);
}

#[test]
fn what_could_not_log_in_is_refused_and_changes_nothing() {
    let (database, file) = prepared();
    add(&file, "waldi", &[], "secret").well();
    database.insert("users", &[doc! { "_id": "broken", "username": "broken", "labels": 7 }]);
    let before = database.documents("users");
    let long = "x".repeat(73);
    let odd = "x".repeat(256);
    let cases: [(&str, &[&str], &str, &str); 17] = [
        ("user add", &["waldi"], "x", "there is a user \"waldi\" in 23-5.users already"),
        ("user add", &[""], "x", "a user needs a name"),
        ("user add", &["a:b"], "x", "colon"),
        ("user add", &["a\nb"], "x", "control characters"),
        ("user add", &[&odd], "x", "the name has 256 bytes"),
        ("user add", &["new"], "", "the password is empty"),
        ("user add", &["new"], "a\0b", "the password contains a NUL byte"),
        ("user add", &["new"], &long, "the password has 73 bytes; bcrypt uses no more than 72"),
        ("user add", &["new"], "two\nlines", "more than one line"),
        ("user add", &["new", "--cost", "3"], "x", "3 is not in 4..=16"),
        ("user add", &["new", "--cost", "17"], "x", "17 is not in 4..=16"),
        ("user add", &["new", "--label", "team"], "x", "is not a label change"),
        (
            "user add",
            &["new", "--label", "team=[a"],
            "x",
            "nobody could log in then; nothing was changed: labels.team: ",
        ),
        ("user passwd", &["waldi"], &long, "the password has 73 bytes"),
        ("user label", &["waldi", "team+="], "", "is not a label change"),
        ("user label", &["waldi", "team=[a"], "", "nobody could log in then; nothing was changed: labels.team: "),
        ("user label", &["broken", "team=[a"], "", "nobody could log in then; nothing was changed: labels.team: "),
    ];
    for (words, arguments, input, expected) in cases {
        let said = run_with(words, &file, arguments, input).refused(&[expected]);
        assert!(said.stdout.is_empty(), "{}", said.text);
        assert!(input.len() < 5 || !said.text.contains(input), "{}", said.text);
    }
    assert_eq!(database.documents("users"), before);

    // One that is of no use can be looked at, mended step by step, and removed.
    let said = run("user show", &file, &["broken"]).well();
    assert!(said.text.contains("state     unusable\n") && said.text.contains("problem   labels: "), "{}", said.text);
    let said = run("user list", &file, &[]).well();
    assert!(said.text.starts_with("broken  unusable  password: a bcrypt hash is needed"), "{}", said.text);
    run("user label", &file, &["broken", "team=web"]).well();
    run_with("user passwd", &file, &["broken", "--cost", "4"], "mended").well();
    let said = run("user show", &file, &["broken"]).well();
    assert!(said.text.contains("state     enabled\nlabels    team=[web]\n"), "{}", said.text);
    // Two with one name, where there is no index: none of them is taken for the other.
    database.insert("others", &[doc! { "_id": "one", "username": "x" }, doc! { "_id": "two", "username": "x" }]);
    let text = fs::read_to_string(&file).unwrap().replace("collection: \"users\"", "collection: \"others\"");
    fs::write(&file, text).unwrap();
    run("user show", &file, &["x"]).refused(&["two documents of 23-5.others have this username"]);
    run_with("user add", &file, &["x"], "x").refused(&["there is a user \"x\""]);
}

#[test]
fn lists_show_state_and_labels_and_never_a_hash() {
    let (database, file) = prepared();
    add(&file, "waldi", &["--label", "team=web,api"], "secret").well();
    add(&file, "off", &["--disabled"], "secret").well();
    let hash = crate::support::dockwarden::hash("secret");
    let past = doc! { "username": "past", "password": &hash, "not_after": "2020-01-01", "labels": { "one": "alone" } };
    let odd = doc! { "username": "odd\u{1b}[2J", "password": &hash, "not_before": "2999-01-01" };
    database.insert("users", &[past, odd]);
    let list = run("user list", &file, &[]).well();
    let expected = "odd\\u{1b}[2J  not yet   no labels\noff           disabled  no labels\npast          expired   one=[alone]\nwaldi         enabled   team=[web, api]\n";
    assert_eq!(list.text, expected);
    let json = run("user list", &file, &["--output", "json"]).well();
    let parsed: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let expected = serde_json::json!([
        { "name": "odd\u{1b}[2J", "state": "not yet", "labels": {}, "not_before": "2999-01-01T00:00:00Z", "cost": 4 },
        { "name": "off", "state": "disabled", "labels": {}, "cost": 4 },
        { "name": "past", "state": "expired", "labels": { "one": ["alone"] }, "not_after": "2020-01-02T00:00:00Z", "cost": 4 },
        { "name": "waldi", "state": "enabled", "labels": { "team": ["web", "api"] }, "cost": 4 },
    ]);
    assert_eq!(parsed, expected);
    let show = run("user show", &file, &["past"]).well();
    assert!(show.text.contains("password  bcrypt ($2y$), cost 4\nuntil     2020-01-02T00:00:00Z\n"), "{}", show.text);
    let one = run("user show", &file, &["waldi", "--output", "json"]).well();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&one.stdout).unwrap(), expected[3]);
    for said in [list, json, show, one] {
        assert!(!said.text.contains(&hash[7..]) && !said.text.contains("$04$"), "{}", said.text);
    }
}

/// Between the question for the password and its answer, others go on working.
#[test]
fn a_change_by_somebody_else_is_not_overwritten_and_a_password_is_in_no_argument() {
    let (database, file) = prepared();
    add(&file, "waldi", &["--label", "team=web"], "secret").well();
    let secret = "canary-7c1f";
    for (change, expected) in [
        (doc! { "$set": { "labels": { "team": ["ops"] } } }, Err("somebody else changed this user at the same time")),
        (doc! { "$set": { "note": "of another program" } }, Ok(())),
    ] {
        // The first reading of the database is over once the program waits for its input.
        let reads = |database: &Database| database.commands().get("find").copied().unwrap_or_default();
        let before = reads(&database);
        let mut passwd = Command::new(program());
        passwd.args(["user", "passwd"]).arg(&file).args(["waldi", "--cost", "4"]).env_clear();
        let mut child = passwd.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        crate::support::process::until("the user to be read", || (reads(&database) > before).then_some(()));
        for secret_place in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{}/{secret_place}", child.id())).unwrap();
            assert!(!String::from_utf8_lossy(&text).contains(secret));
        }
        database.update("users", doc! { "username": "waldi" }, change);
        child.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(!text.contains(secret), "{text}");
        assert_eq!(done.status.success(), expected.is_ok(), "{text}");
        assert!(expected.is_ok_and(|()| true) || text.contains(expected.unwrap_err()), "{text}");
    }
    let kept = database.documents("users");
    assert_eq!(kept[0].get_document("labels").ok(), Some(&doc! { "team": ["ops"] }));
    assert_eq!(kept[0].get_str("note").ok(), Some("of another program"));
    // An argument is no way to give one.
    run_with("user passwd", &file, &["waldi", "password"], "").refused(&["an argument too many"]);
    run_with("user add", &file, &["x", "--password", "y"], "").refused(&["an argument too many"]);
}

/// Each of them is there once, or said not to be.
#[test]
fn many_who_add_one_name_at_once_make_one_user() {
    let (database, file) = prepared();
    let said = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..5).map(|_| scope.spawn(|| add(&file, "waldi", &[], "secret"))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
    });
    let (added, refused): (Vec<_>, Vec<_>) = said.into_iter().partition(|said| said.success);
    assert_eq!((added.len(), refused.len()), (1, 4));
    for said in refused {
        said.refused(&["there is a user \"waldi\" in 23-5.users already"]);
    }
    assert_eq!(database.documents("users").len(), 1);
}
