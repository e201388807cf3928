//! `dockwarden explain` where users and rules are in MongoDB: it says what the server does.

use mongodb::bson::doc;
use serde_json::{Value, json};

use super::{rule, run};
use crate::mongo::{granted, guide_file, guide_rules, guide_users, pair, user};
use crate::support::dockwarden::{Dockwarden, users};
use crate::support::mongo::Database;

#[test]
fn explain_says_what_the_server_does_with_both_kinds_of_users_and_rules() {
    let database = Database::start();
    database.insert("users", &guide_users());
    database.insert(
        "users",
        &[
            // The file knows this one first, with other labels and another password.
            user("both", doc! { "full-access": ["**"] }),
            doc! { "username": "off", "password": crate::support::dockwarden::hash("off"), "disabled": true },
            doc! { "_id": "bad", "username": "bad", "password": "no hash" },
        ],
    );
    database.insert("acl", &guide_rules());
    database.insert("acl", &[rule(25, "file/closed", &["*"], "never asked")]);
    let file_rules = "acl:\n- match: {name: \"file/closed\"}\n  actions: []\n  comment: closed\n- match: {account: both, name: \"file/*\"}\n  actions: [pull]\n";
    let more = format!("{}{file_rules}", users(&[("both", "{full-access: [mine]}"), ("", "")]));
    let file = guide_file(pair(), &database.address(), &more);
    let server = Dockwarden::start_file(&file);
    // Account, name, what decides: the rule's index in the file, the number of one in the database, or nothing.
    let cases = [
        ("both", "file/closed", Some(Ok(0))),
        ("both", "file/open", Some(Ok(1))),
        ("both", "mine", Some(Err(10))),
        ("both", "any", None),
        ("waldi", "test", Some(Err(10))),
        ("waldi", "prod/x", Some(Err(20))),
        ("waldi", "file/closed", Some(Ok(0))),
        ("waldi", "file/open", None),
        ("busy-guy", "api/web-backend", Some(Err(30))),
        ("", "test", None),
        ("", "file/closed", Some(Ok(0))),
    ];
    let questions: Vec<Value> = cases
        .iter()
        .map(|(account, name, _)| json!({ "account": account, "type": "repository", "name": name, "actions": ["pull", "push"], "service": "Docker registry" }))
        .collect();
    for ((account, name, decides), answer) in cases.iter().zip(server.explain(&questions)) {
        let said = granted(&server, account, &format!("repository:{name}:pull,push"));
        assert_eq!(json!(said.unwrap()), answer["granted"], "{account} {name}");
        let by = match (answer["seq"].as_i64(), answer["rule"].as_i64()) {
            (Some(seq), _) => Some(Err(seq)),
            (None, rule) => rule.map(Ok),
        };
        assert_eq!(by, *decides, "{account} {name}: {answer}");
    }

    let told = run("explain", &file, &["--account", "waldi", "repository:prod/x:pull"]).well();
    let expected = "waldi, labels full-access=[test, socke*] read-only-access=[prod/*]\n\nrepository:prod/x:pull\n  acl[0] name: \"file/closed\" does not match \"prod/x\"  # closed\n  acl[1] account: \"both\" does not match \"waldi\"\n  acl_mongo[seq 10] name: \"{test|socke*}\" does not match \"prod/x\"  # full access\n  acl_mongo[seq 20] matches, and decides  # pull access\n  granted:  pull\n  withheld: nothing\n";
    assert_eq!(told.text, expected);
    let told = run("explain", &file, &["--json", "--account", "waldi", "repository:prod/x:pull"]).well();
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(
        (&told[0]["seq"], &told[0]["rules"][3]["seq"], &told[0]["rules"][3]["matches"]),
        (&json!(20), &json!(20), &json!(true))
    );
    assert!(told[0]["rules"][0].get("seq").is_none());
    // Other labels stand in for those of the database, and a closed account stays closed.
    run("explain", &file, &["--account", "waldi", "--label", "read-only-access=other", "repository:other:pull"]).well();
    let off = run("explain", &file, &["--account", "off", "--label", "full-access=x", "repository:x:pull"]);
    assert!(off.text.contains("the account is disabled: nobody can log in with it"), "{}", off.text);
    let stranger = run("explain", &file, &["--account", "stranger", "repository:x:pull"]);
    assert!(
        stranger.text.starts_with("stranger (not among the users of this file or of 23-5.users), no labels\n"),
        "{}",
        stranger.text
    );
    run("explain", &file, &["--account", "bad", "repository:x:pull"])
        .refused(&["the document _id bad of 23-5.users cannot be used"]);
    // The rules in the database alone.
    let alone = run("acl test", &file, &["--account", "waldi", "--scope", "repository:file/closed:pull"]).well();
    assert!(alone.text.contains("acl_mongo[seq 25] matches") && !alone.text.contains("acl["), "{}", alone.text);
    // A database that does not answer is no reason to say that nothing is granted.
    database.kill();
    run("explain", &file, &["--account", "waldi", "repository:prod/x:pull"]).refused(&["cannot be asked"]);
}
