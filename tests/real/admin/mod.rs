//! The commands of administrators on MongoDB, as processes, beside servers that run.

mod docs;
mod explain;
mod import;
mod migrate;
mod people;
mod rules;
mod users;

use std::fs;
use std::path::{Path, PathBuf};

use mongodb::bson::{Document, doc};

use crate::mongo::{guide_file, pair};
use crate::support::dockwarden::{Dockwarden, program};
use crate::support::mongo::Database;
use crate::support::part::{self, Said};
use crate::support::scratch;

/// How soon a server follows a change of rules: `cache_ttl` and a second.
const FOLLOWS: std::time::Duration = std::time::Duration::from_secs(2);

/// The guide's file, whose rules are read again each second.
fn config(database: &Database) -> PathBuf {
    config_at(&database.address())
}

/// The same for a database at this address.
fn config_at(address: &str) -> PathBuf {
    let file = guide_file(pair(), address, "");
    let text = fs::read_to_string(&file).unwrap().replace("cache_ttl: \"10s\"", "cache_ttl: \"1s\"");
    fs::write(&file, text).unwrap();
    file
}

/// Runs `dockwarden COMMAND ACTION CONFIG ARGUMENTS…` with this on its standard input; `words` are COMMAND and ACTION.
pub(crate) fn run_with(words: &str, config: &Path, arguments: &[&str], input: &str) -> Said {
    let mut command = part::command_at(program());
    command.args(words.split(' ')).arg(config).args(arguments);
    part::run_with(&mut command, input.as_bytes())
}

pub(crate) fn run(words: &str, config: &Path, arguments: &[&str]) -> Said {
    run_with(words, config, arguments, "")
}

/// A rule as the shell would write it.
fn rule(seq: i32, name: &str, actions: &[&str], comment: &str) -> Document {
    doc! { "seq": seq, "match": { "name": name }, "actions": actions, "comment": comment }
}

/// The comments of the rules, in their order.
pub(crate) fn comments(config: &Path) -> Vec<String> {
    let said = run("acl list", config, &["--output", "json"]).well();
    let rules: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    let rules = rules.as_array().unwrap();
    rules.iter().map(|rule| rule["comment"].as_str().unwrap_or_default().to_owned()).collect()
}

pub(crate) fn seqs(config: &Path) -> Vec<i64> {
    let said = run("acl list", config, &["--output", "json"]).well();
    let rules: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    rules.as_array().unwrap().iter().map(|rule| rule["seq"].as_i64().unwrap()).collect()
}

/// A section that is not there, a server that is not there, and a server that does not know us: for each command.
#[test]
fn every_command_says_plainly_why_it_cannot_begin() {
    let database = Database::start();
    let good = config(&database);
    let text = fs::read_to_string(&good).unwrap();
    let directory = scratch::directory("begin");
    let (_, sections) = text.split_once("mongo_auth:").unwrap();
    let without = text.replace(&format!("mongo_auth:{sections}"), "users: {}\nacl: []\n");
    let without = scratch::write(&directory, "without.yml", &without);
    let away = scratch::write(&directory, "away.yml", &text.replace(&database.address(), "127.0.0.1:1"));
    let wrong = scratch::write(
        &directory,
        "wrong.yml",
        &text.replace("password_file: \"", "password: \"x").replace("mongopass.txt", ""),
    );
    let people = format!("waldi:{}\n", crate::support::dockwarden::hash("secret"));
    let people = scratch::write(&directory, "people", &people);
    let commands: [(&str, &[&str]); 20] = [
        ("migrate", &[]),
        ("migrate", &["--dry-run"]),
        ("user add", &["waldi"]),
        ("user import", &[people.to_str().unwrap()]),
        ("user import", &[people.to_str().unwrap(), "--replace", "--dry-run"]),
        ("user passwd", &["waldi"]),
        ("user label", &["waldi", "a=b"]),
        ("user disable", &["waldi"]),
        ("user enable", &["waldi"]),
        ("user remove", &["waldi"]),
        ("user list", &[]),
        ("user show", &["waldi"]),
        ("acl list", &[]),
        ("acl add", &["--name", "x", "--actions", "pull"]),
        ("acl move", &["10", "--before", "20"]),
        ("acl remove", &["10"]),
        ("acl edit", &["10"]),
        ("acl import", &["-"]),
        ("acl export", &[]),
        ("acl test", &["--scope", "repository:x:pull"]),
    ];
    for (words, arguments) in commands {
        let input = "- {match: {}, actions: []}";
        let begin = |file: &Path, expected: &[&str]| {
            let said = run_with(words, file, arguments, input).refused(expected);
            assert!(said.stdout.is_empty(), "{}", said.text);
            assert!(!said.text.contains("panicked") && !said.text.contains("test\n"), "{}", said.text);
        };
        let neither = match words.split_whitespace().next() {
            Some("user") => "there is neither mongo_auth nor ",
            Some("acl") => "there is neither acl_mongo nor ",
            _ => "there is neither mongo_auth nor acl_mongo nor ",
        };
        begin(&without, &[neither]);
        begin(
            &away,
            &["cannot be asked: no server answers (127.0.0.1:", "); is the server running, and are its address"],
        );
        begin(&wrong, &["refuses our user name or password"]);
        begin(&directory.join("nowhere.yml"), &["cannot be read"]);
    }
    // Nothing there is no error, and what has to be there is named.
    assert_eq!(run("user list", &good, &[]).well().text, "");
    assert_eq!(run("user list", &good, &["--output", "json"]).well().text, "[]\n");
    assert_eq!(run("acl list", &good, &[]).well().text, "");
    assert_eq!(run("acl export", &good, &[]).well().text, "[]\n");
    for words in ["user show", "user passwd", "user disable", "user enable", "user remove"] {
        run(words, &good, &["waldi"]).refused(&["there is no user \"waldi\" in 23-5.users"]);
    }
    for (words, arguments) in
        [("acl remove", &["10"][..]), ("acl edit", &["10"]), ("acl move", &["10", "--after", "20"])]
    {
        run(words, &good, arguments).refused(&["there is no rule with the seq 10"]);
    }
}

/// A user who may only read is enough for serving: nothing else is ever sent. This server does not enforce roles, so what
/// is sent is what is looked at.
#[test]
fn serving_asks_the_database_and_changes_nothing_there() {
    let database = Database::start();
    let file = config(&database);
    run("migrate", &file, &[]).well();
    database.insert("users", &crate::mongo::guide_users());
    database.insert("acl", &crate::mongo::guide_rules());
    let before = database.commands();
    let server = Dockwarden::start_file(&file);
    let scope = "repository:test:pull";
    assert_eq!(crate::mongo::granted(&server, "waldi", scope), Ok(vec!["pull".to_owned()]));
    assert_eq!(crate::mongo::granted(&server, "stranger", scope), Err(401));
    run("explain", &file, &["--account", "waldi", scope]).well();
    run("acl test", &file, &["--account", "waldi", "--scope", scope]).well();
    for words in ["user list", "acl list", "acl export"] {
        run(words, &file, &[]).well();
    }
    run("migrate", &file, &["--dry-run"]).well();
    let sent = database.commands().into_iter().filter(|(command, count)| before.get(command) != Some(count));
    let sent: Vec<String> = sent.map(|(command, _)| command).collect();
    let questions = [
        // Of a change stream; what follows changes of the collection changes nothing itself.
        "aggregate",
        "endSessions",
        "find",
        "getMore",
        "hello",
        "isMaster",
        "ismaster",
        "listCollections",
        "listIndexes",
        "ping",
        "saslContinue",
        "saslStart",
    ];
    assert!(sent.contains(&"find".to_owned()), "{sent:?}");
    assert!(sent.iter().all(|command| questions.contains(&command.as_str())), "{sent:?}");
}
