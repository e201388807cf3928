//! Users who keep their passwords: brought in from a configuration or an htpasswd file, or added by their hash.

use std::path::Path;

use mongodb::bson::{DateTime, Document, doc};

use super::{config, run, run_with};
use crate::mongo::{guide_rules, status};
use crate::support::dockwarden::{Dockwarden, hash};
use crate::support::mongo::Database;
use crate::support::part::Said;
use crate::support::scratch;

fn prepared() -> (Database, std::path::PathBuf) {
    let database = Database::start();
    let file = config(&database);
    run("migrate", &file, &[]).well();
    (database, file)
}

/// The document of a user, which must be there.
fn of<'d>(documents: &'d [Document], name: &str) -> &'d Document {
    let is_it = |document: &&Document| document.get_str("username").is_ok_and(|own| own == name);
    documents.iter().find(is_it).unwrap()
}

fn import(file: &Path, text: &str, how: &[&str]) -> Said {
    run_with("user import", file, &[&["-"], how].concat(), text)
}

/// A configuration file as people have them, with users of every kind.
fn old_file() -> String {
    format!(
        "server: {{addr: \":5001\"}}\nusers:\n  waldi:\n    password: \"{}\"\n    labels: {{full-access: [test, \"socke*\"], none: []}}\n  \
         off: {{password: \"{}\", disabled: true}}\n  past: {{password: \"{}\", not_after: 2020-12-31}}\n  \
         ever: {{password: \"{}\", not_before: 2020-01-01, not_after: 9999-12-31}}\n  \"\": {{}}\nacl:\n  - match: {{}}\n    actions: []\n",
        hash("one"),
        hash("two"),
        hash("three"),
        hash("four"),
    )
}

const WEAK: &str =
    "dockwarden: warning: 4 hash(es) of a cost below 10 are weak; a new password (user passwd) makes a better one\n";

#[test]
fn users_of_a_file_keep_their_passwords_labels_and_standing() {
    let (database, file) = prepared();
    database.insert("acl", &guide_rules());
    let server = Dockwarden::start_file(&file);
    let old = scratch::write(&scratch::directory("old"), "old.yml", &old_file());
    let old = old.to_str().unwrap();
    assert_eq!(status(&server, "waldi", "one"), 401);

    let anonymous = "dockwarden: the anonymous user stays in the file: write users: {\"\": {}} where clients without an account may come in\n";
    let lines = "ever: added, enabled, no labels, password bcrypt ($2y$), cost 4\n\
                 off: added, disabled, no labels, password bcrypt ($2y$), cost 4\n\
                 past: added, expired, no labels, password bcrypt ($2y$), cost 4\n\
                 waldi: added, enabled, full-access=[test, socke*], password bcrypt ($2y$), cost 4\n";
    let dry = run("user import", &file, &[old, "--dry-run"]).well();
    assert_eq!(dry.stdout, format!("{lines}4 users would change; nothing was changed\n"));
    assert!(database.documents("users").is_empty());
    let real = run("user import", &file, &[old]).well();
    assert_eq!(real.stdout, format!("{lines}4 users changed\n"));
    assert!(real.text.contains(anonymous) && real.text.contains(WEAK), "{}", real.text);
    assert!(!real.text.contains("$04$"), "{}", real.text);

    // Whoever logged in before still does, with the rights that the labels give, and who did not does not.
    assert_eq!((status(&server, "waldi", "one"), status(&server, "ever", "four")), (200, 200));
    assert_eq!((status(&server, "off", "two"), status(&server, "past", "three")), (401, 401));
    let documents = database.documents("users");
    assert_eq!(of(&documents, "waldi").get_document("labels").unwrap(), &doc! { "full-access": ["test", "socke*"] });
    assert_eq!(of(&documents, "past").get_datetime("not_after").unwrap(), &DateTime::from_millis(1_609_459_200_000));
    assert!(
        of(&documents, "ever").get_str("not_after").is_ok_and(|text| text.starts_with("9999-12-31T23:59:59")),
        "{:?}",
        of(&documents, "ever")
    );

    // The second time there is nothing to do, with the same file and without a word.
    assert_eq!(run("user import", &file, &[old]).well().stdout, "nothing changes\n");
    assert_eq!(database.documents("users"), documents);
}

#[test]
fn what_is_there_is_replaced_only_when_that_is_meant() {
    let (database, file) = prepared();
    import(&file, &old_file(), &[]).well();
    let note = doc! { "$set": { "note": "of another program" } };
    database.update("users", doc! { "username": "waldi" }, note);
    let before = database.documents("users");
    // One is new, one is the same, and three are there and say something else.
    let lines = old_file();
    let same = lines.split('"').find(|text| text.starts_with("$2")).unwrap();
    let other = hash("other");
    let people = format!("new:{other}\nwaldi:{other}\noff:{other}\npast:{other}\n");
    let refused = import(&file, &people, &[]).refused(&[
        "3 of these users are in 23-5.users already, with another password, labels or state: off, past, waldi; nothing was changed: write --replace",
    ]);
    assert!(refused.stdout.is_empty() && !refused.text.contains("$2"), "{}", refused.text);
    assert_eq!(database.documents("users"), before, "nothing by halves");
    let said = import(&file, &people, &["--replace"]).well();
    let expected = "new: added, enabled, no labels, password bcrypt ($2y$), cost 4\n\
                    off: replaced, disabled, no labels, password bcrypt ($2y$), cost 4 -> enabled, no labels, password bcrypt ($2y$), cost 4\n\
                    past: replaced, expired, no labels, password bcrypt ($2y$), cost 4 -> enabled, no labels, password bcrypt ($2y$), cost 4\n\
                    waldi: replaced, enabled, full-access=[test, socke*], password bcrypt ($2y$), cost 4 -> enabled, no labels, password bcrypt ($2y$), cost 4\n\
                    4 users changed\n";
    assert_eq!(said.stdout, expected);
    let after = database.documents("users");
    assert_eq!(of(&after, "waldi").get("_id"), of(&before, "waldi").get("_id"));
    assert_eq!(of(&after, "waldi").get_str("note").unwrap(), "of another program");
    for (name, keys) in
        [("waldi", ["labels", "disabled"]), ("off", ["labels", "disabled"]), ("past", ["not_after", "not_before"])]
    {
        assert!(keys.iter().all(|key| !of(&after, name).contains_key(key)), "{:?}", of(&after, name));
    }
    assert_eq!(of(&after, "ever"), of(&before, "ever"), "who is not in the file stays");
    // Those that say the same are no obstacle: an import that was cut off is simply run again.
    import(&file, &format!("new:{other}\nnewer:{same}\n"), &[]).well();
    assert_eq!(database.documents("users").len(), 6);
}

#[test]
fn what_could_not_log_in_is_not_brought_in() {
    let (database, file) = prepared();
    let good = hash("good");
    for (text, expected) in [
        (format!("alice:{good}\nbob:hunter2\n"), "standard input:2: \"bob\" has a hash of crypt, or no hash at all"),
        (
            format!("users:\n  alice: {{password: \"{good}\"}}\n  bob: {{}}\n"),
            "standard input:3: users.bob.password: a named user needs",
        ),
        (
            format!("users: {{alice: {{password: \"{good}\", labels: {{a.b: [x]}}}}}}\n"),
            "the label's name \"a.b\" holds a dot",
        ),
        ("acl: []\n".to_owned(), "there are neither a configuration's users in it"),
        ("".to_owned(), "there are neither a configuration's users in it"),
    ] {
        let said = import(&file, &text, &[]).refused(&[expected]);
        assert!(
            said.stdout.is_empty() && !said.text.contains("hunter2") && !said.text.contains(&good),
            "{}",
            said.text
        );
    }
    assert!(database.documents("users").is_empty());
}

#[test]
fn a_hash_comes_in_by_standard_input_and_is_never_shown() {
    let (database, file) = prepared();
    let server = Dockwarden::start_file(&file);
    let (one, two) = (hash("one"), hash("two"));
    let weak = "dockwarden: warning: 1 hash(es) of a cost below 10 are weak";
    let said = run_with("user add", &file, &["alice", "--hash", "--label", "team=web"], &format!("{one}\n")).well();
    assert_eq!(said.stdout, "alice: added, enabled, team=[web], password bcrypt ($2y$), cost 4\n");
    assert!(said.text.contains(weak), "{}", said.text);
    assert_eq!(status(&server, "alice", "one"), 200);
    // As `htpasswd -nB bob` prints it, and only for bob.
    run_with("user add", &file, &["bob", "--hash"], &format!("bob:{one}\n\n")).well();
    assert_eq!(status(&server, "bob", "one"), 200);
    let said = run_with("user passwd", &file, &["bob", "--hash"], &two).well();
    assert_eq!(said.stdout, "bob: new password, bcrypt ($2y$), cost 4 -> bcrypt ($2y$), cost 4\n");
    assert_eq!((status(&server, "bob", "one"), status(&server, "bob", "two")), (401, 200));

    let before = database.documents("users");
    for (input, expected) in [
        (format!("carol:{one}"), "this is the hash of another name; give the hash alone"),
        ("hunter2".to_owned(), "this is not a bcrypt hash"),
        ("$apr1$hk3m3Zx7$GYOZRVtPZBJaMhVh1ZIg9.".to_owned(), "this is an MD5 hash ($apr1$), not a bcrypt hash"),
        (format!("{one}\n{two}\n"), "this is not a bcrypt hash"),
        (String::new(), "this is not a bcrypt hash"),
    ] {
        let said = run_with("user add", &file, &["dave", "--hash"], &input).refused(&[expected]);
        assert!(said.stdout.is_empty(), "{}", said.text);
        assert!(input.is_empty() || !said.text.contains(input.trim()), "{}", said.text);
    }
    // What people paste: not taken, and not shown again.
    for arguments in [
        &["dave", "--hash", &one][..],
        &["dave", &format!("--hash={one}")],
        &["dave", &one],
        &["dave", "--password", &one],
    ] {
        let said = run_with("user add", &file, arguments, "")
            .refused(&["a hash is given on standard input, never on the command line"]);
        assert!(!said.text.contains(&one[7..]), "{}", said.text);
    }
    run_with("user add", &file, &["dave", "--hash", "--cost", "12"], &one).refused(&["cannot be used with"]);
    assert_eq!(database.documents("users"), before);
}

/// The lints that `check` has for the rules of a file are told for those that come into the database.
#[test]
fn rules_that_are_probably_not_meant_are_pointed_out_as_they_come_in() {
    let (_database, file) = prepared();
    let push = "push without pull lets nobody push";
    let said = run("acl add", &file, &["--name", "Web/*", "--actions", "push"]).well();
    assert!(
        said.text.contains("dockwarden: warning: the rule: match.name: no repository can have such a name"),
        "{}",
        said.text
    );
    assert!(said.text.contains(&format!("dockwarden: warning: the rule: actions: {push}")), "{}", said.text);
    let rules = "- {match: {name: \"{a,b}/*\"}, actions: [pull]}\n- {match: {name: ok/*}, actions: [pull, push]}\n";
    for how in [&["-", "--append", "--dry-run"][..], &["-", "--append"]] {
        let said = run_with("acl import", &file, how, rules).well();
        let warnings: Vec<&str> = said.text.lines().filter(|line| line.contains("warning")).collect();
        assert!(
            matches!(warnings.as_slice(), [one] if one.starts_with("dockwarden: warning: rule 1: match.name: ")),
            "{warnings:?}"
        );
    }
}
