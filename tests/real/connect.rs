//! `check --connect` against servers that are there: what it finds, and what it says of a wrong password.

use mongodb::bson::doc;

use crate::mongo::{guide_database, guide_file, pair};
use crate::support::dockwarden::program;
use crate::support::part::{self, Said};
use crate::support::scratch;

/// The command's lines about backends.
fn tried(said: &Said) -> Vec<&str> {
    said.stdout.lines().filter(|line| line.contains(": ok: ") || line.contains(": failed: ")).collect()
}

#[test]
fn what_mongodb_holds_is_found_and_what_is_wrong_there_is_named() {
    let database = guide_database();
    let file = guide_file(pair(), &database.address(), "");
    let original = std::fs::read_to_string(&file).unwrap();
    let check = |text: &str| {
        let file = scratch::write(&scratch::directory("check"), "auth_config.yml", text);
        part::run(part::command_at(program()).args(["check", "--connect"]).arg(file))
    };
    let well = check(&original).well();
    let expected = ["mongo_auth: ok: 23-5.users holds 2 users", "acl_mongo: ok: 23-5.acl holds 3 rules"];
    let found: Vec<&str> = tried(&well).iter().map(|line| line.split(';').next().unwrap()).collect();
    assert_eq!(found, expected, "{}", well.text);
    assert!(
        well.stdout.contains("; connecting took ") && well.stdout.contains(" ms, looking one up took "),
        "{}",
        well.text
    );

    // The users' section alone has a wrong password: the rules are found all the same.
    let (users, rules) = original.split_once("acl_mongo:").unwrap();
    let users = users.replace("password_file: \"", "password: \"canary-").replace("mongopass.txt", "");
    let wrong = check(&format!("{users}acl_mongo:{rules}"));
    let lines = tried(&wrong);
    assert!(!wrong.success && lines.len() == 2, "{}", wrong.text);
    let refused = "mongo_auth: failed: 23-5.users cannot be asked: the server refuses our user name or password (asked \
                   in: admin, 23-5)";
    assert!(lines[0].starts_with(refused) && lines[0].ends_with("in which the user was made?"), "{}", wrong.text);
    assert_eq!(lines[1], expected[1]);
    assert!(!wrong.text.contains("canary"), "{}", wrong.text);

    // A line break in a document must not make a line of its own.
    database.insert(
        "acl",
        &[
            doc! { "_id": "poison\nacl_mongo: ok: fine", "seq": 5, "match": {}, "actions": "pull" },
            doc! { "_id": "no-seq", "match": {}, "actions": [] },
        ],
    );
    let poisoned = check(&original);
    let lines = tried(&poisoned);
    assert!(!poisoned.success && lines.len() == 2 && lines[0].starts_with(expected[0]), "{}", poisoned.text);
    assert!(lines[1].starts_with("acl_mongo: failed: "), "{}", poisoned.text);
    for piece in [
        "_id poisonacl_mongo: ok: fine (seq 5)",
        "actions: ",
        "_id no-seq: seq: a number is needed",
        "correct or remove these",
    ] {
        assert!(lines[1].contains(piece), "{piece} is not in {}", poisoned.text);
    }
}
