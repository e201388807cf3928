//! `dockwarden acl`: rules added, moved, edited and removed one by one, beside a server that reads them all the time.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mongodb::bson::{Bson, Document, doc};

use super::{FOLLOWS, comments, config_at, rule, run, run_with, seqs};
use crate::mongo::{granted, guide_rules, guide_users};
use crate::support::change_streams::ChangeStreams;
use crate::support::dockwarden::{Dockwarden, program};
use crate::support::mongo::{DATABASE, Database};
use crate::support::part::{self, Said};
use crate::support::process::until_within;
use crate::support::scratch;

fn prepared() -> (Database, PathBuf) {
    let database = Database::start();
    let file = prepare(&database, &database.address());
    (database, file)
}

/// A configuration for the database at this address, and what the commands need there.
fn prepare(database: &Database, address: &str) -> PathBuf {
    let file = config_at(address);
    run("migrate", &file, &[]).well();
    database.insert("users", &guide_users());
    file
}

#[test]
fn each_command_prints_what_changed_and_a_running_server_follows() {
    let (_database, file) = prepared();
    let server = Dockwarden::start_file(&file);
    let may = |name: &str| granted(&server, "waldi", &format!("repository:{name}:pull,push"));
    let actions = |list: &[&str]| Ok(list.iter().map(|action| (*action).to_owned()).collect::<Vec<_>>());
    // What holds after a command, and how soon.
    let step = |said: Said, printed: &str, name: &str, expected: &[&str]| {
        assert_eq!(said.well().text, printed);
        until_within(FOLLOWS, &format!("{name} to be {expected:?}"), || (may(name) == actions(expected)).then_some(()));
    };
    let labels = ["--name", "${labels:full-access}", "--actions", "*", "--comment", "full access"];
    step(
        run("acl add", &file, &labels),
        "+     10  name=\"${labels:full-access}\" -> *  # full access\n",
        "test",
        &["pull", "push"],
    );
    let deny =
        "match: {name: test, account: \"/^w.*/\", labels: {full-access: \"t*\"}}\nactions: []\ncomment: not now\n";
    let printed = "account=\"/^w.*/\" name=\"test\" labels.full-access=\"t*\" -> nothing  # not now\n";
    step(run_with("acl add", &file, &["--before", "10"], deny), &format!("+      5  {printed}"), "test", &[]);
    step(
        run("acl move", &file, &["5", "--after", "10"]),
        &format!("-      5  {printed}+     20  {printed}"),
        "test",
        &["pull", "push"],
    );
    assert_eq!(run("acl move", &file, &["20", "--after", "10"]).well().text, "dockwarden: the rule is there already\n");
    step(
        edit(&file, "10", "sed -i 's/\\[\"\\*\"\\]/[pull]/'"),
        "-     10  name=\"${labels:full-access}\" -> *  # full access\n+     10  name=\"${labels:full-access}\" -> pull  # full access\n",
        "test",
        &["pull"],
    );
    let json = r#"{"seq": {"$numberLong": "7"}, "match": {"name": "test"}, "actions": ["pull"], "not_after": {"$date": "2999-01-01T00:00:00Z"}}"#;
    step(
        run_with("acl add", &file, &[], json),
        "+      7  name=\"test\" -> pull  not_after 2999-01-01T00:00:00Z\n",
        "test",
        &["pull"],
    );
    step(
        run("acl remove", &file, &["7"]),
        "-      7  name=\"test\" -> pull  not_after 2999-01-01T00:00:00Z\n",
        "test",
        &["pull"],
    );
    assert_eq!(comments(&file), ["full access", "not now"]);
    let list = run("acl list", &file, &[]).well();
    assert_eq!(
        list.text,
        format!("    10  name=\"${{labels:full-access}}\" -> pull  # full access\n    20  {printed}")
    );

    // The same is said by test and by explain, with the labels of the database.
    let told = "waldi, labels full-access=[test, socke*] read-only-access=[prod/*]\n\nrepository:test:pull\n  acl_mongo[seq 10] matches, and decides  # full access\n  granted:  pull\n  withheld: nothing\n";
    assert_eq!(run("acl test", &file, &["--account", "waldi", "--scope", "repository:test:pull"]).well().text, told);
    assert_eq!(run("explain", &file, &["--account", "waldi", "repository:test:pull"]).well().text, told);
}

/// Runs `acl edit` with a shell script as the editor; the file to be edited is its last argument.
fn edit(file: &Path, which: &str, script: &str) -> Said {
    let mut command = part::command_at(program());
    command.args(["acl", "edit"]).arg(file).arg(which);
    command.env("EDITOR", script).env("TMPDIR", scratch::directory("edit")).env("DOCKWARDEN__TOKEN__ISSUER", "Acme");
    part::run(&mut command)
}

fn export(file: &Path) -> String {
    run("acl export", file, &[]).well().stdout
}

/// An editor that does what the script says, with the file as `$1`.
fn editor(script: &str) -> String {
    let directory = scratch::directory("editor");
    let path = scratch::write(&directory, "editor", &format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[test]
fn what_was_typed_in_the_editor_is_written_or_kept() {
    let (database, file) = prepared();
    database.insert("acl", &guide_rules());
    let before = database.documents("acl");
    let kept = |said: &Said| {
        let (_, path) = said.text.split_once("your text is kept in ").unwrap_or_else(|| panic!("{}", said.text));
        fs::read_to_string(path.trim()).unwrap()
    };
    assert_eq!(edit(&file, "10", "true").well().text, "nothing changes\n");
    let typo = edit(&file, "10", "sed -i s/name:/nome:/")
        .refused(&["rule 1.match.nome: there is no such key; did you mean \"name\"?"]);
    assert!(kept(&typo).contains("nome: \"${labels:full-access}\""));
    let pattern = edit(&file, "10", "sed -i 's/full-access}/full-access}[/'").refused(&["rule 1.match.name: "]);
    assert!(kept(&pattern).contains("full-access}["));
    let taken = edit(&file, "10", "sed -i 's/seq: 10/seq: 20/'").refused(&["the seq 20 is taken"]);
    assert!(kept(&taken).contains("seq: 20"));
    let two = edit(&file, "10", &editor("more=$(sed -n '/^-/,$p' \"$1\"); echo \"$more\" >>\"$1\""));
    assert!(kept(&two.refused(&["one rule is expected, not 2"])).contains("- seq: 10"));
    kept(&edit(&file, "10", "false").refused(&["ended with exit status: 1; nothing was changed"]));
    kept(&edit(&file, "10", "no-such-editor").refused(&["no-such-editor"]));
    // An editor starts other programs, which have no business with our secrets.
    edit(&file, "10", &editor("env | grep -q DOCKWARDEN__ && exit 7; exit 0")).well();
    assert_eq!(database.documents("acl"), before);

    // Somebody else was quicker: by changing the rule, and by removing it.
    let ours = program().display();
    let quicker = [
        format!("EDITOR='sed -i s/Contrived/Other/' '{ours}' acl edit '{}' 30", file.display()),
        format!("'{ours}' acl remove '{}' 30", file.display()),
    ];
    for quicker in quicker {
        let other = format!("{quicker} && sed -i s/push/delete/ \"$1\"");
        let lost = edit(&file, "30", &editor(&other)).refused(&["somebody else changed this rule at the same time"]);
        assert!(kept(&lost).contains("delete"));
        assert!(!export(&file).contains("delete"), "{}", lost.text);
    }
    // A key of another program's stays, and a number can be changed.
    database.update("acl", doc! { "seq": 20 }, doc! { "$set": { "owner": "another program" } });
    let moved = "sed -i -e 's/seq: 20/seq: 5/' -e 's/comment: .*/not_after: 2999-01-01/'";
    edit(&file, "20", moved).well();
    let changed = database.documents("acl").into_iter().find(|rule| rule.get("seq") == Some(&Bson::Int32(5))).unwrap();
    assert_eq!((changed.get_str("owner").ok(), changed.get("comment")), (Some("another program"), None));
    assert!(changed.get_datetime("not_after").is_ok(), "{changed}");
}

#[test]
fn what_a_server_could_not_use_is_refused_and_changes_nothing() {
    let (database, file) = prepared();
    database.insert("acl", &guide_rules());
    let before = database.documents("acl");
    let rule = "{match: {name: x}, actions: [pull]}";
    let cases: [(&str, &[&str], &str, &str); 22] = [
        ("acl add", &["--name", "[a", "--actions", "pull"], "", "match.name: "),
        ("acl add", &["--account", "/(/", "--actions", "pull"], "", "match.account: "),
        ("acl add", &["--ip", "home", "--actions", "pull"], "", "neither an address nor a network"),
        ("acl add", &["--name", "a", "--actions", "PULL"], "", "\"PULL\" is not an action"),
        ("acl add", &["--name", "a"], "", "a rule needs actions"),
        ("acl add", &["--actions", "pull"], "", "for everybody and everything"),
        ("acl add", &["--label", "team", "--actions", "pull"], "", "--label name=pattern"),
        ("acl add", &["--name", "a", "--actions", "pull", "--not-after", "soon"], "", "\"soon\" is not a date or time"),
        ("acl add", &["--name", "a", "--actions", "pull", "--seq", "10"], "", "the seq 10 is taken"),
        ("acl add", &["--name", "a", "--actions", "pull", "--before", "11"], "", "there is no rule with the seq 11"),
        ("acl add", &["--seq", "9000000000000001"], rule, "is too large"),
        ("acl add", &["--before", "10", "--after", "10"], rule, "cannot be used with"),
        ("acl add", &["--before", "10"], "{seq: 1, match: {name: x}, actions: [pull]}", "another place is given"),
        ("acl add", &[], "", "there are no rules in it"),
        ("acl add", &[], "- {match: {}, actions: []}\n- {match: {}, actions: []}\n", "one rule is expected, not 2"),
        ("acl add", &[], "{match: {acount: x}, actions: []}", "did you mean \"account\"?"),
        ("acl move", &["10"], "", "--before SEQ or --after SEQ"),
        ("acl move", &["10", "--before", "10"], "", "before or after itself"),
        ("acl move", &["10", "--before", "99"], "", "there is no rule with the seq 99"),
        ("acl remove", &["nobody"], "", "there is no rule with the seq or the _id nobody"),
        ("acl test", &["--scope", "nonsense"], "", "is not a scope"),
        ("acl test", &["--scope", "repository:x:pull", "--label", "x"], "", "--label name=value"),
    ];
    for (words, arguments, input, expected) in cases {
        let said = run_with(words, &file, arguments, input).refused(&[expected]);
        assert!(said.stdout.is_empty(), "{}", said.text);
    }
    assert_eq!(database.documents("acl"), before);
}

#[test]
fn a_set_that_is_broken_can_be_looked_at_and_mended() {
    let (database, file) = prepared();
    database.insert("acl", &guide_rules());
    database.insert(
        "acl",
        &[
            doc! { "_id": "typed", "seq": 40, "match": { "name": "x" }, "actions": "pull" },
            doc! { "_id": "unnumbered", "match": { "name": "y" }, "actions": ["pull"] },
        ],
    );
    let list = run("acl list", &file, &[]).well();
    for expected in [
        "?  _id typed (seq 40): actions: a list of texts",
        "?  _id unnumbered: seq: a number is needed",
        "cannot be used as they are",
    ] {
        assert!(list.text.contains(expected), "{}", list.text);
    }
    let (add, to) = (["--name", "z", "--actions", "pull"], ["10", "--after", "20"]);
    run("acl add", &file, &add).refused(&["mend them first"]);
    run("acl move", &file, &to).refused(&["mend them first"]);
    run("acl export", &file, &[]).refused(&["_id typed (seq 40)"]);
    run("acl test", &file, &["--scope", "repository:x:pull"]).refused(&["cannot be used as they are"]);
    run("explain", &file, &["repository:x:pull"]).refused(&["cannot be used as they are"]);
    // Each step mends one of them, and says what is left.
    let mended = edit(&file, "40", "sed -i 's/actions: .*/actions: [pull]/'").well();
    assert!(mended.text.contains("not right as a whole") && mended.text.contains("_id unnumbered"), "{}", mended.text);
    let removed = run("acl remove", &file, &["unnumbered"]).well();
    assert_eq!(removed.text, "- _id unnumbered\n");
    assert_eq!(seqs(&file), [10, 20, 30, 40]);
    run("acl add", &file, &add).well();

    // Two with one number, before there was an index.
    let text = fs::read_to_string(&file).unwrap().replace("collection: \"acl\"", "collection: \"twice\"");
    fs::write(&file, text).unwrap();
    database.insert(
        "twice",
        &[super::rule(10, "a", &[], "one"), doc! { "_id": "two", "seq": 10, "match": {}, "actions": [] }],
    );
    run("acl remove", &file, &["10"]).refused(&["there are several rules with this seq"]);
    run("acl remove", &file, &["two"]).well();
    assert_eq!(comments(&file), ["one"]);
}

/// All rules in the order of their numbers, as two readings agree on them.
fn reading(database: &Database) -> Option<Vec<Document>> {
    let read = || {
        database.with(|client| async move {
            let rules = client.database(DATABASE).collection::<Document>("acl");
            let mut cursor = rules.find(doc! {}).sort(doc! { "seq": 1 }).await?;
            let mut documents = Vec::new();
            while cursor.advance().await? {
                documents.push(cursor.deserialize_current()?);
            }
            Ok(documents)
        })
    };
    let first = read();
    (read() == first).then_some(first)
}

/// Rules without a gap between them make room again and again. Whoever reads meanwhile sees them in their order, and the
/// rule that refuses is never behind the one that allows.
#[test]
fn making_room_never_shows_another_order() {
    const RULES: i32 = 40;
    let (database, file) = prepared();
    let deny = doc! { "seq": 1, "match": { "name": "secret" }, "actions": [], "comment": "0" };
    let mut all = vec![deny];
    all.extend((2..RULES).map(|seq| rule(seq, &format!("n{seq}"), &["pull"], &(seq - 1).to_string())));
    let last = (RULES - 1).to_string();
    all.push(doc! { "seq": RULES, "match": { "account": "waldi" }, "actions": ["*"], "comment": &last });
    database.insert("acl", &all);
    let server = Dockwarden::start_file(&file);
    let (over, wrong, readings) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let secret = granted(&server, "waldi", "repository:secret:pull");
                let open = granted(&server, "waldi", "repository:open:pull");
                // On a busy machine the database may answer too late, which is no answer and no order.
                let fits = |said: &Result<Vec<String>, u16>, right: &[&str]| {
                    matches!(said, Err(503)) || said.as_ref().is_ok_and(|actions| actions == right)
                };
                if !fits(&secret, &[]) || !fits(&open, &["pull"]) {
                    wrong.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let Some(documents) = reading(&database) else { continue };
                let number = |rule: &Document| rule.get_str("comment").ok()?.parse::<i32>().ok();
                let original: Vec<i32> = documents.iter().filter_map(number).collect();
                assert_eq!(original, (0..RULES).collect::<Vec<_>>());
                readings.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Directly after the rule that refuses: everything behind it has to move on, each time.
        for turn in 0..4 {
            let name = format!("new-{turn}");
            run("acl add", &file, &["--name", &name, "--actions", "pull", "--comment", &name, "--after", "1"]).well();
            if turn % 2 == 0 {
                // Dense again.
                for (seq, document) in reading_in_order(&database).into_iter().zip(1..) {
                    database.update(
                        "acl",
                        doc! { "_id": seq.get("_id").cloned() },
                        doc! { "$set": { "seq": document } },
                    );
                }
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let readings = readings.into_inner();
    println!("{readings} readings while the rules made room");
    assert_eq!(wrong.into_inner(), 0);
    assert!(readings > 0, "nobody read while the rules made room");
    let mut expected: Vec<String> = (0..RULES).map(|number| number.to_string()).collect();
    for turn in 0..4 {
        expected.insert(1, format!("new-{turn}"));
    }
    assert_eq!(comments(&file), expected);
}

fn reading_in_order(database: &Database) -> Vec<Document> {
    loop {
        if let Some(documents) = reading(database) {
            return documents;
        }
    }
}

/// Whoever is refused is told; whoever is not has a rule; and the others are where they were.
#[test]
fn many_who_add_at_once_leave_a_right_set() {
    let database = Database::start();
    let one_write_at_a_time = ChangeStreams::before(database.address());
    let file = prepare(&database, &one_write_at_a_time.address());
    database.insert("acl", &(1..=8).map(|seq| rule(seq, "a", &["pull"], &seq.to_string())).collect::<Vec<_>>());
    let said = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..6)
            .map(|number| {
                let file = &file;
                scope.spawn(move || {
                    let name = format!("new-{number}");
                    let added = run(
                        "acl add",
                        file,
                        &["--name", &name, "--actions", "pull", "--comment", &name, "--after", "4"],
                    );
                    (name, added)
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect::<Vec<_>>()
    });
    let mut added: Vec<String> = Vec::new();
    for (name, said) in said {
        match said.success {
            true => added.push(name),
            false => drop(said.refused(&["try again"])),
        }
    }
    let set = comments(&file);
    let (mut new, old): (Vec<String>, Vec<String>) = set.into_iter().partition(|comment| comment.starts_with("new"));
    new.sort();
    assert_eq!(old, (1..=8).map(|seq| seq.to_string()).collect::<Vec<_>>());
    assert_eq!(new, added);
    assert!(!added.is_empty());
    let seqs = seqs(&file);
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{seqs:?}");
}
