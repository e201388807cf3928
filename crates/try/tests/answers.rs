//! Rules are decided here as by a server; what cannot be used is told with its line.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where something is not as it should be"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const RULES: &str = "users: {}\nacl:\n  - {match: {name: \"${labels:team}/*\"}, actions: [pull], comment: teams}\n  - {match: {name: closed}, actions: [], not_after: 2030-01-01}\n  - {match: {ip: 10.0.0.0/8}, actions: [\"*\"]}\n";

fn ask(change: &Value) -> Value {
    let mut question = json!({
        "rules": RULES, "account": "alice", "labels": {"team": ["web"]}, "service": "registry",
        "at": "2029-12-31T00:00:00Z", "scope": "repository:web/app:pull,push",
    });
    question.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let mut child = Command::new(env!("CARGO_BIN_EXE_dockwarden-try"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_question_is_decided_by_the_first_rule_that_matches() {
    for (change, rule, granted) in [
        (json!({}), json!(0), json!(["pull"])),
        (json!({"labels": {}}), Value::Null, json!([])),
        (json!({"labels": {}, "ip": "10.1.1.1"}), json!(2), json!(["pull", "push"])),
        (json!({"scope": "repository:closed:pull", "ip": "10.1.1.1"}), json!(1), json!([])),
        (json!({"scope": "repository:closed:pull", "ip": "10.1.1.1", "at": "2030-02-01"}), json!(2), json!(["pull"])),
    ] {
        let told = ask(&change);
        assert_eq!((&told["decided"]["rule"], &told["decided"]["granted"]), (&rule, &granted), "{change}: {told}");
    }
    let steps = ask(&json!({"labels": {"team": ["api"]}}))["decided"]["rules"].clone();
    let first = json!({"rule": 0, "comment": "teams", "matches": false, "field": "name", "wanted": "api/*", "found": "web/app"});
    assert_eq!(steps.as_array().unwrap().first(), Some(&first));
}

#[test]
fn what_cannot_be_used_is_said() {
    for (change, piece) in [
        (json!({"rules": "acl:\n  - match: {}\n    actions: [Pull]\n"}), "line 3: acl[0].actions: "),
        (json!({"rules": "users: {}"}), "there is no acl:"),
        (json!({"rules": "acl: ["}), "line 1: this is not YAML"),
        (json!({"scope": "web/app"}), "not a scope"),
        (json!({"ip": "here"}), "address"),
        (json!({"at": "soon"}), "moment"),
        (json!({"reference": "a b"}), "neither a tag nor a digest"),
        (json!({"labels": {"a": ["["]}}), "["),
        (json!({"other": 1}), "unknown field"),
    ] {
        let told = ask(&change);
        let said = told["problems"].as_array().unwrap_or_else(|| panic!("{told}"));
        assert!(said.iter().any(|one| one.as_str().unwrap().contains(piece)), "{piece}: {told}");
    }
}
