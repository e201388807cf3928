//! Rules brought in and out: every form, nothing by halves, and what is left of an import that was cut off.

use std::path::{Path, PathBuf};
use std::process::Command;

use mongodb::bson::{Document, doc};

use super::{FOLLOWS, comments, config, rule, run, run_with, seqs};
use crate::mongo::{granted, guide_rules, guide_users};
use crate::support::dockwarden::{Dockwarden, program};
use crate::support::mongo::Database;
use crate::support::part;
use crate::support::process::{Process, Signal, until_within};
use crate::support::scratch;

/// The form in which docker_auth's documentation has its example, an object a line, spaces and all.
const REFERENCE: &str = r#"{"seq": 10, "match" : {"account" : "admin"}, "actions" : ["*"], "comment" : "The admin may do everything."}
{"seq": 20, "match" : {"account" : "test", "name" : "test-*"}, "actions" : ["*"], "comment" : "\"test\" has its own images (1)"}
{"seq": 30, "match" : {"account" : "test"}, "actions" : [], "comment" : "\"test\" has its own images (2)"}
{"seq": 40, "match" : {"account" : "/.+/"}, "actions" : ["pull"], "comment" : "Whoever is logged in may pull."}
{"seq": 50, "match" : {"account" : "/.+/", "name" : "${account}/*"}, "actions" : ["*"], "comment" : "And push below the own name."}
{"seq": 60, "match" : {"account" : "", "name" : "hello-world"}, "actions" : ["pull"], "comment" : "Anybody may pull this one."}
"#;

fn prepared() -> (Database, PathBuf) {
    let database = Database::start();
    let file = config(&database);
    run("migrate", &file, &[]).well();
    database.insert("users", &guide_users());
    (database, file)
}

fn export(file: &Path, format: &str) -> String {
    run("acl export", file, &["--format", format]).well().stdout
}

fn import(file: &Path, text: &str, how: &[&str]) -> part::Said {
    run_with("acl import", file, &[&["-"], how].concat(), text)
}

#[test]
fn what_is_exported_is_imported_as_the_same() {
    let (database, file) = prepared();
    import(&file, REFERENCE, &[]).well();
    assert_eq!(seqs(&file), [10, 20, 30, 40, 50, 60]);
    let documents = |database: &Database| -> Vec<Document> {
        let mut documents = database.documents("acl");
        documents.iter_mut().for_each(|document| drop(document.remove("_id")));
        documents
    };
    let stored = documents(&database);
    let lines: Vec<Document> = REFERENCE.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(stored, lines, "the documents are those of the text");
    for format in ["yaml", "jsonl"] {
        let text = export(&file, format);
        database.remove("acl", doc! {});
        import(&file, &text, &[]).well();
        assert_eq!((export(&file, format), documents(&database)), (text.clone(), stored.clone()));
        // The second time there is nothing to do.
        assert_eq!(import(&file, &text, &["--replace"]).well().text, "nothing changes\n");
    }

    // Whatever a shell has written: floating point numbers, dates, keys of other programs, odd texts.
    let date = mongodb::bson::DateTime::from_millis(32_472_144_000_123);
    let odd = doc! { "seq": 10.0, "match": { "name": "a\"b\\c\u{2028}ö😀", "labels": { "te am": "yes" } }, "actions": [], "comment": "- {a: b} # c\n", "not_before": "2026-01-01", "not_after": date, "__v": 3 };
    database.remove("acl", doc! {});
    database.insert(
        "acl",
        &[odd, doc! { "seq": -7_i64, "match": {}, "actions": ["pull"], "comment": doc! {}.get("x").cloned() }],
    );
    let before = database.documents("acl");
    for format in ["yaml", "jsonl"] {
        let text = export(&file, format);
        assert_eq!(import(&file, &text, &["--replace"]).well().text, "nothing changes\n", "{text}");
        assert_eq!(database.documents("acl"), before, "what does not change is not touched");
        database.remove("acl", doc! {});
        import(&file, &text, &[]).well();
        assert_eq!(export(&file, format), text);
        database.remove("acl", doc! {});
        database.insert("acl", &before);
    }

    // From a configuration file, whose rules have no numbers, by its name.
    let directory = scratch::directory("rules");
    let text =
        "server: {addr: \":5001\"}\nacl:\n- match: {account: admin}\n  actions: [\"*\"]\n- match: {}\n  actions: []\n";
    let whole = scratch::write(&directory, "old.yml", text);
    run("acl import", &file, &[whole.to_str().unwrap(), "--replace"]).well();
    assert_eq!(seqs(&file), [10, 20]);
}

#[test]
fn an_import_says_what_it_changes_and_asks_before_it_replaces() {
    let (database, file) = prepared();
    let two = "- {seq: 10, match: {name: a}, actions: [pull], comment: one}\n- {seq: 20, match: {name: b}, actions: [pull], comment: two}\n";
    let printed = "+     10  name=\"a\" -> pull  # one\n+     20  name=\"b\" -> pull  # two\n";
    let dry = import(&file, two, &["--dry-run"]).well();
    assert_eq!(dry.text, format!("{printed}2 rules would change; nothing was changed\n"));
    assert!(database.documents("acl").is_empty());
    assert_eq!(import(&file, two, &[]).well().text, format!("{printed}2 rules changed\n"));
    let before = database.documents("acl");
    import(&file, two, &[]).refused(&["there are 2 rules already; write --replace"]);

    let other = "- {seq: 20, match: {name: b}, actions: [delete], comment: two}\n- {seq: 30, match: {name: c}, actions: [], comment: three}\n";
    let changes = "-     10  name=\"a\" -> pull  # one\n-     20  name=\"b\" -> pull  # two\n+     20  name=\"b\" -> delete  # two\n+     30  name=\"c\" -> nothing  # three\n";
    let dry = import(&file, other, &["--replace", "--dry-run"]).well();
    assert_eq!(dry.text, format!("{changes}3 rules would change; nothing was changed\n"));
    assert_eq!(database.documents("acl"), before);
    assert_eq!(import(&file, other, &["--replace"]).well().text, format!("{changes}3 rules changed\n"));
    let kept = |documents: &[Document]| {
        documents
            .iter()
            .find(|rule| rule.get_str("comment").is_ok_and(|text| text == "two"))
            .unwrap()
            .get("_id")
            .cloned()
    };
    assert_eq!(kept(&database.documents("acl")), kept(&before), "a rule that is changed stays the same document");

    // Added ones come last, in their own order, whatever numbers they bring.
    let more = "- {seq: 2, match: {name: e}, actions: [], comment: five}\n- {seq: 1, match: {name: d}, actions: [], comment: four}\n";
    import(&file, more, &["--append"]).well();
    assert_eq!(
        (comments(&file), seqs(&file)),
        (["two", "three", "four", "five"].map(str::to_owned).to_vec(), vec![20, 30, 40, 50])
    );
    import(&file, more, &["--append", "--replace"]).refused(&["cannot be used with"]);
    assert_eq!(import(&file, "[]", &["--replace"]).well().stdout.lines().last(), Some("4 rules changed"));
    assert!(database.documents("acl").is_empty());
}

#[test]
fn rules_that_could_not_be_used_are_refused_with_their_line() {
    let (database, file) = prepared();
    database.insert("acl", &guide_rules());
    let before = database.documents("acl");
    for (text, expected) in [
        ("", "standard input:1: there are no rules in it"),
        (
            "- {match: {}, actions: [pull]}\n- {match: {name: \"[a\"}, actions: [pull]}\n",
            "standard input:2: rule 2.match.name: ",
        ),
        ("- {match: {acount: a}, actions: [pull]}\n", "did you mean \"account\"?"),
        ("- {seq: 1, match: {}, actions: []}\n- {match: {}, actions: []}\n", "1 of 2 rules has no seq"),
        ("- {seq: 1, match: {}, actions: []}\n- {seq: 1, match: {}, actions: []}\n", "two rules have the seq 1"),
        (
            "{\"seq\": 1, \"match\": {}, \"actions\": []}\n{\"seq\": 2, \"match\": {}}\n",
            "standard input:2: rule 2.actions: ",
        ),
        ("users: {}\n", "neither rules in it nor a configuration's acl"),
    ] {
        for how in [&["--replace"][..], &["--append"], &["--replace", "--dry-run"]] {
            let said = import(&file, text, how);
            // Added rules get numbers of their own.
            if !(how == ["--append"] && expected.contains("seq")) {
                assert!(said.stdout.is_empty(), "{}", said.text);
                said.refused(&[expected]);
                assert_eq!(database.documents("acl"), before, "{text}");
            } else {
                said.well();
                database.remove("acl", doc! { "seq": { "$gt": 30 } });
            }
        }
    }
    run("acl import", &file, &["/nowhere/rules.yml"]).refused(&["/nowhere/rules.yml cannot be read"]);
}

/// An import of many rules that is cut off while it is at work.
#[test]
fn an_import_that_is_killed_leaves_the_last_good_rules_in_use() {
    const MANY: usize = 3000;
    let (database, file) = prepared();
    // Refuses first, allows then: half of the new set would allow what both refuse.
    database.insert(
        "acl",
        &[
            rule(10, "secret", &[], "old refusal"),
            doc! { "seq": 99_999, "match": { "account": "waldi" }, "actions": ["*"], "comment": "old" },
        ],
    );
    let server = Dockwarden::start_file(&file);
    let may = |server: &Dockwarden, name: &str| granted(server, "waldi", &format!("repository:{name}:pull"));
    let pull = || Ok(vec!["pull".to_owned()]);
    let mut new = String::from("- {seq: 20, match: {account: waldi, name: new}, actions: [pull], comment: new}\n");
    for number in 0..MANY {
        new.push_str(&format!("- {{seq: {}, match: {{name: n{number}}}, actions: []}}\n", number + 100));
    }
    let rules = scratch::write(&scratch::directory("many"), "new.yml", &new);
    let mut command = Command::new(program());
    command.args(["acl", "import"]).arg(&file).arg(&rules).arg("--replace").env_clear();
    let import_process = Process::start("import", &command);
    let guard = || database.documents("acl").into_iter().find(|document| document.get_str("_id").is_ok());
    let begun = |count: usize| guard().is_some() && database.documents("acl").len() > count;
    import_process.until("a part of the rules to be there", |_| begun(50).then_some(()));
    // Another one waits for nobody: it sees that the first is at work.
    run("acl import", &file, &[rules.to_str().unwrap(), "--replace"]).refused(&["another import is at work"]);
    import_process.signal(Signal::Kill);
    import_process.end();
    assert!(database.documents("acl").len() < MANY, "it was not cut off in the middle");

    // The server goes on with what it has, and says why; one that starts now has nothing.
    let named = "_id dockwarden-import: an import of rules that began at ";
    server.process.until("the reason in the log", |process| process.log().contains(named).then_some(()));
    assert_eq!((may(&server, "secret"), may(&server, "new"), may(&server, "other")), (Ok(vec![]), pull(), pull()));
    let late = Dockwarden::start_unready(&file);
    late.process.until("the reason in the log", |process| process.log().contains(named).then_some(()));
    assert_eq!((may(&late, "other"), late.ready()), (Err(503), Some(503)));
    // Everybody is told, and nobody changes half a set.
    let told = "has not ended; if it was cut off, import the rules once more";
    assert!(run("acl list", &file, &[]).well().text.contains(told));
    run("acl test", &file, &["--scope", "repository:x:pull"]).refused(&[told]);
    run("acl add", &file, &["--name", "x", "--actions", "pull"]).refused(&[told]);
    run("acl remove", &file, &["20"]).refused(&[told]);
    import(&file, &new, &["--append"]).refused(&[told]);

    let again = run("acl import", &file, &[rules.to_str().unwrap(), "--replace"]).well();
    assert!(again.text.contains("it was cut off; this import takes its place"), "{}", again.text);
    assert_eq!((guard(), seqs(&file).len()), (None, MANY + 1));
    for server in [&server, &late] {
        until_within(FOLLOWS, "the new rules", || (may(server, "other") == Ok(vec![])).then_some(()));
        assert_eq!(may(server, "new"), pull());
    }
}

/// Starts an import of many rules into an empty collection, and waits until some of them are there.
fn slow_import(database: &Database, file: &Path) -> Process {
    let many: String = (0..2000).map(|number| format!("- {{match: {{name: n{number}}}, actions: []}}\n")).collect();
    let rules = scratch::write(&scratch::directory("many"), "new.yml", &many);
    let mut command = Command::new(program());
    command.args(["acl", "import"]).arg(file).arg(&rules).env_clear();
    let process = Process::start("import", &command);
    process.until("a part of the rules to be there", |_| (database.documents("acl").len() > 50).then_some(()));
    process
}

/// One that was taken for dead finds out, and writes no more.
#[test]
fn an_import_whose_place_was_taken_stops() {
    let (database, file) = prepared();
    let slow = slow_import(&database, &file);
    // FerretDB's update finds a document and writes it in two steps: a beat that is under way would put the owner back.
    slow.signal(Signal::Stop);
    slow.until("its last write to be there", |_| {
        (database.documents("acl") == database.documents("acl")).then_some(())
    });
    database.update("acl", doc! { "_id": "dockwarden-import" }, doc! { "$set": { "owner": "another" } });
    slow.signal(Signal::Continue);
    assert!(!slow.end().success());
    assert!(slow.log().contains("another import took this one for dead"), "{}", slow.tail());
    assert!(database.documents("acl").len() < 2000);
    database.remove("acl", doc! {});

    // The same with another one that really took it, since the first was held still for so long.
    let paused = slow_import(&database, &file);
    paused.signal(Signal::Stop);
    import(&file, "- {match: {name: other}, actions: [pull], comment: other}\n", &["--replace"]).well();
    paused.signal(Signal::Continue);
    assert!(!paused.end().success());
    assert!(paused.log().contains("The import is not complete"), "{}", paused.tail());
    // At most the one write that was under way came after it.
    let left = comments(&file);
    assert!(left.contains(&"other".to_owned()) && left.len() <= 2, "{left:?}");
}
