//! `dockwarden explain`: one question in words or in JSON, and many questions from a file.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{BROKEN, STRONG, command, configured, finish, run};
use crate::bed::Folder;

/// No answer takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(10);

const POLICY: &str = r#"
acl:
  - match: {account: admin}
    actions: ["*"]
    comment: administrators
  - match: {account: "/^.+$/", name: "${account}/*"}
    actions: [pull, push]
  - match: {name: "${labels:team}/*", service: registry}
    actions: [pull]
    comment: teams
  - match: {ip: 10.0.0.0/8, name: local}
    actions: [pull]
"#;

fn policy() -> (Folder, String) {
    // Neither key nor certificate is there: to explain a decision, nobody needs them.
    let token = "token: {issuer: Acme, certificate: $DIR/none.crt, key: $DIR/none.key, services: [registry]}\n";
    let users = format!(
        "users:\n  alice: {{password: \"{STRONG}\", labels: {{team: [web, api]}}}}\n  gone: {{password: \"{STRONG}\", disabled: true}}\n  \"\": {{}}\n"
    );
    configured(&format!("{token}{users}{POLICY}"))
}

#[test]
fn explain_shows_each_rule_up_to_the_one_that_decides() {
    let (_folder, file) = policy();
    let all = run(["explain", &file, "--account", "alice", "repository:alice/app:pull,push"]);
    assert_eq!(all.code, 0, "{}", all.err);
    let expected = "alice, labels team=[web, api]\n\nrepository:alice/app:pull,push\n  acl[0] account: \"admin\" does not match \"alice\"  # administrators\n  acl[1] matches, and decides\n  granted:  pull,push\n  withheld: nothing\n";
    assert_eq!(all.out, expected);
    // Two scopes, of which the second is granted in part: placeholders are shown filled in.
    let part =
        run(["explain", &file, "--account", "alice", "repository:alice/app:pull", "repository:api/app:push,pull"]);
    assert_eq!(part.code, 3);
    let expected = "alice, labels team=[web, api]\n\nrepository:alice/app:pull\n  acl[0] account: \"admin\" does not match \"alice\"  # administrators\n  acl[1] matches, and decides\n  granted:  pull\n  withheld: nothing\n\nrepository:api/app:pull,push\n  acl[0] account: \"admin\" does not match \"alice\"  # administrators\n  acl[1] name: \"alice/*\" does not match \"api/app\"\n  acl[2] matches, and decides  # teams\n  granted:  pull\n  withheld: push\n";
    assert_eq!(part.out, expected);
    let none = run([
        "explain",
        &file,
        "--account",
        "alice",
        "--service",
        "other",
        "--ip",
        "11.0.0.1",
        "repository:ops/app:pull",
    ]);
    assert_eq!(none.code, 3);
    assert!(none.out.contains("  acl[2] name: \"{web|api}/*\" does not match \"ops/app\"  # teams\n"), "{}", none.out);
    assert!(none.out.contains("  acl[3] name: \"local\" does not match \"ops/app\"\n"), "{}", none.out);
    assert!(none.out.contains("  no rule matches: nothing is granted\n"), "{}", none.out);
    let elsewhere = run(["explain", &file, "--account", "alice", "--service", "other", "repository:web/app:pull"]);
    assert!(
        elsewhere.out.contains("  acl[2] service: \"registry\" does not match \"other\"  # teams\n"),
        "{}",
        elsewhere.out
    );
    for (ip, code) in [("10.1.1.1", 0), ("11.0.0.1", 3)] {
        let run = run(["explain", &file, "--ip", ip, "repository:local:pull"]);
        assert_eq!(run.code, code, "{ip}: {}", run.out);
        assert!(run.out.starts_with("anonymous, no labels\n"), "{}", run.out);
        assert!(
            code == 0 || run.out.contains("  acl[3] ip: \"10.0.0.0/8\" does not match \"11.0.0.1\"\n"),
            "{}",
            run.out
        );
    }
    let closed = run(["explain", &file, "--account", "gone", "repository:gone/app:pull"]);
    assert_eq!(closed.code, 3);
    assert!(closed.out.contains("  the account is disabled: nobody can log in with it\n"), "{}", closed.out);
}

#[test]
fn labels_given_to_explain_stand_in_for_the_accounts_own() {
    let (_folder, file) = policy();
    let scope = |team: &str| format!("repository:{team}/app:pull");
    // The labels given, the team asked for, the exit code.
    let cases: [(&str, &[&str], &str, i32); 7] = [
        ("alice", &[], "web", 0),
        ("alice", &[], "ops", 3),
        ("alice", &["team=ops"], "ops", 0),
        ("alice", &["team=ops"], "web", 3),
        ("alice", &["team=ops", "team=web"], "web", 0),
        ("alice", &["other=x"], "web", 3),
        ("stranger", &["team=op*"], "ops", 0),
    ];
    for (account, labels, team, code) in cases {
        let mut arguments = vec!["explain".to_owned(), file.clone(), "--account".to_owned(), account.to_owned()];
        arguments.extend(labels.iter().flat_map(|label| ["--label".to_owned(), (*label).to_owned()]));
        arguments.push(scope(team));
        let run = run(&arguments);
        assert_eq!(run.code, code, "{arguments:?}: {}{}", run.out, run.err);
    }
}

#[test]
fn explain_speaks_json() {
    let (_folder, file) = policy();
    let run = run(["explain", &file, "--json", "--account", "alice", "repository:web/app:push,pull"]);
    assert_eq!(run.code, 3, "{}", run.err);
    let expected = json!([{
        "scope": "repository:web/app:pull,push",
        "granted": ["pull"],
        "withheld": ["push"],
        "rule": 2,
        "rule_id": "49df82e63e644d3e",
        "comment": "teams",
        "rules": [
            {"index": 0, "id": "3696e1ca7eadf610", "comment": "administrators", "matches": false, "field": "account", "pattern": "admin", "value": "alice"},
            {"index": 1, "id": "3a466554120b16b8", "comment": null, "matches": false, "field": "name", "pattern": "alice/*", "value": "web/app"},
            {"index": 2, "id": "49df82e63e644d3e", "comment": "teams", "matches": true},
        ],
    }]);
    assert_eq!(serde_json::from_str::<Value>(&run.out).unwrap(), expected);
    let nothing = self::run(["explain", &file, "--json", "repository:x:pull"]);
    let json: Value = serde_json::from_str(&nothing.out).unwrap();
    assert_eq!((&json[0]["rule"], &json[0]["granted"], nothing.code), (&Value::Null, &json!([]), 3));
}

#[test]
fn explain_refuses_what_it_cannot_read() {
    let (_folder, file) = policy();
    let cases: [(&[&str], i32, &str); 7] = [
        (&["nonsense"], 1, "\"nonsense\" is not a scope"),
        (&["repository:A:pull"], 1, "is not a scope"),
        (&["--label", "team", "repository:a:pull"], 1, "--label name=value"),
        (&["--label", "team=[a", "repository:a:pull"], 1, "this `[` is never closed"),
        (&["--ip", "nowhere", "repository:a:pull"], 2, "nowhere"),
        (&[], 2, "required"),
        (&["--requests", "-", "repository:a:pull"], 2, "cannot be used with"),
    ];
    for (more, code, piece) in cases {
        let run = run(["explain", file.as_str()].iter().chain(more));
        assert_eq!((run.code, run.out.as_str()), (code, ""), "{more:?}: {}", run.err);
        assert!(run.err.contains(piece), "{more:?}: {}", run.err);
    }
    let (_folder, broken) = configured(BROKEN);
    let run = run(["explain", &broken, "repository:a:pull"]);
    assert_eq!(run.code, 1);
    // The keys are not looked at, everything else is.
    assert!(run.err.contains(":9: acl[1].actions: ") && !run.err.contains("none.key"), "{}", run.err);
}

/// Questions, one a line, and the exact lines that answer them.
const QUESTIONS: &[(&str, &str)] = &[
    (
        r#"{"account":"alice","type":"repository","name":"alice/app","actions":["push","pull"]}"#,
        r#"{"rule":1,"comment":null,"granted":["pull","push"],"withheld":[]}"#,
    ),
    (
        r#"{"account":"alice","type":"repository","name":"alice/app","actions":["push","delete","pull"]}"#,
        r#"{"rule":1,"comment":null,"granted":["pull","push"],"withheld":["delete"]}"#,
    ),
    (
        r#"{"account":"alice","service":"registry","type":"repository","name":"web/app","actions":["pull","push"]}"#,
        r#"{"rule":2,"comment":"teams","granted":["pull"],"withheld":["push"]}"#,
    ),
    (
        r#"{"account":"alice","labels":{"team":["ops"]},"service":"registry","type":"repository","name":"web/app","actions":["pull"]}"#,
        r#"{"rule":null,"comment":null,"granted":[],"withheld":["pull"]}"#,
    ),
    (
        r#"{"account":"alice","labels":{},"service":"registry","type":"repository","name":"web/app","actions":["pull"]}"#,
        r#"{"rule":null,"comment":null,"granted":[],"withheld":["pull"]}"#,
    ),
    (
        r#"{"account":"stranger","labels":{"team":["ops"]},"service":"registry","type":"repository","name":"ops/app","actions":["pull"]}"#,
        r#"{"rule":2,"comment":"teams","granted":["pull"],"withheld":[]}"#,
    ),
    (
        r#"{"ip":"10.9.9.9","type":"repository","name":"local","actions":["pull"]}"#,
        r#"{"rule":3,"comment":null,"granted":["pull"],"withheld":[]}"#,
    ),
    (
        r#"{"ip":"","type":"repository","name":"local","actions":["pull"]}"#,
        r#"{"rule":null,"comment":null,"granted":[],"withheld":["pull"]}"#,
    ),
    (
        r#"{"account":"admin","type":"registry","name":"catalog","actions":["*"]}"#,
        r#"{"rule":0,"comment":"administrators","granted":["*"],"withheld":[]}"#,
    ),
    (
        r#"{"account":"admin","type":"repository","name":"x","actions":["pull","pull","junk","PULL",""]}"#,
        r#"{"rule":0,"comment":"administrators","granted":["pull"],"withheld":["","PULL","junk"]}"#,
    ),
    (
        r#"{"account":"gone","type":"repository","name":"gone/app","actions":["pull"]}"#,
        r#"{"rule":null,"comment":null,"granted":[],"withheld":["pull"]}"#,
    ),
    (
        r#"{"account":"admin","type":"repository","name":"Not/../A/Name","actions":["pull"]}"#,
        r#"{"rule":null,"comment":null,"granted":[],"withheld":["pull"]}"#,
    ),
    (
        r#"{"account":"admin","type":"repository","name":"x","actions":[]}"#,
        r#"{"rule":0,"comment":"administrators","granted":[],"withheld":[]}"#,
    ),
];

#[test]
fn many_questions_are_answered_in_order() {
    let (folder, file) = policy();
    let questions: String = QUESTIONS.iter().map(|(question, _)| format!("{question}\n")).collect();
    let answers: String = QUESTIONS.iter().map(|(_, answer)| format!("{answer}\n")).collect();
    let from_stdin = finish(command(["explain", &file, "--requests", "-"]), &questions);
    assert_eq!((from_stdin.code, from_stdin.err.as_str()), (0, ""));
    assert_eq!(from_stdin.out, answers);
    let asked = folder.put("questions.jsonl", &questions.replace('\n', "\r\n\n"));
    let from_file = run(["explain", &file, "--requests", asked.to_str().unwrap()]);
    assert_eq!((from_file.code, from_file.out), (0, answers));
    // A line that is no question ends it, with its number; nothing is guessed.
    for (line, piece) in [
        ("nonsense", "expected"),
        (r#"{"account":"a","type":"repository","name":"x"}"#, "missing field `actions`"),
        (r#"{"acount":"a","type":"repository","name":"x","actions":[]}"#, "unknown field `acount`"),
        (r#"{"type":"repository","name":"x","actions":"pull"}"#, "invalid type"),
        (r#"["a",null,null,null,"repository","x",["pull"]]"#, "invalid type: sequence, expected a JSON object"),
        (r#"{"type":"repository","name":"x","actions":[],"ip":"nowhere"}"#, "\"nowhere\" is not an IP address"),
        (r#"{"type":"repository","name":"x","actions":[],"labels":{"a":["[x"]}}"#, "this `[` is never closed"),
    ] {
        let run = finish(command(["explain", &file, "--requests", "-"]), &format!("{}\n\n{line}\n", QUESTIONS[0].0));
        assert_eq!(run.code, 1, "{line}");
        assert!(run.err.contains("-:3: ") && run.err.contains(piece), "{line}: {}", run.err);
    }
    let missing = run(["explain", &file, "--requests", "nowhere.jsonl"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("nowhere.jsonl cannot be read"), "{}", missing.err);
}

/// Whoever asks one question at a time gets the answer before the next one: nothing waits for the end of the input.
#[test]
fn a_question_is_answered_when_it_is_asked() {
    let (_folder, file) = policy();
    let mut explain = command(["explain", &file, "--requests", "-"]);
    let mut child = explain.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut questions = child.stdin.take().unwrap();
    let answers = BufReader::new(child.stdout.take().unwrap());
    let (line, lines) = channel();
    // Read on a thread of its own, since an answer that does not come would be waited for without an end.
    let reading = thread::spawn(move || answers.lines().try_for_each(|text| line.send(text.unwrap())));
    for (question, expected) in QUESTIONS {
        writeln!(questions, "{question}").unwrap();
        let answer = lines.recv_timeout(PATIENCE);
        if answer.is_err() {
            child.kill().unwrap();
        }
        assert_eq!(answer.as_deref(), Ok(*expected), "{question}");
    }
    drop(questions);
    assert!(child.wait().unwrap().success());
    assert_eq!(reading.join().unwrap(), Ok(()));
}

/// A generous bound, for a program that is not optimised on a busy machine: it is passed by no more than what takes time
/// for each line (a write, a compiled pattern) or for each pair of lines.
#[test]
fn twenty_thousand_questions_take_no_time_to_speak_of() {
    let (_folder, file) = policy();
    let rounds = 20_000 / QUESTIONS.len() + 1;
    let questions: String = QUESTIONS.iter().map(|(question, _)| format!("{question}\n")).collect();
    let answers: String = QUESTIONS.iter().map(|(_, answer)| format!("{answer}\n")).collect();
    let started = Instant::now();
    let run = finish(command(["explain", &file, "--requests", "-"]), &questions.repeat(rounds));
    let took = started.elapsed();
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    assert!(run.out == answers.repeat(rounds), "{} bytes are not the answers", run.out.len());
    assert!(took < PATIENCE, "{took:?}");
}

/// What stands in the answer, beside what was asked: each is a line of its own, and the exit status goes with it.
#[test]
fn explain_says_what_is_missing() {
    let more = r#"
  - match: {account: alice, name: "drop/*"}
    actions: [push]
  - match: {account: alice, name: "both/*"}
    actions: [pull, push]
  - match: {account: gone, labels: {team: web}}
    actions: [pull]
  - match: {labels: {team: web}, name: labels}
    actions: [pull]
  - match: {name: tags, tag: "v*"}
    actions: [pull]
"#;
    let token = "token: {issuer: Acme, certificate: $DIR/none.crt, key: $DIR/none.key, services: [registry, other]}\n";
    let users = format!(
        "users:\n  alice: {{password: \"{STRONG}\", labels: {{team: [api]}}}}\n  bob: {{password: \"{STRONG}\"}}\n  \"\": {{}}\n"
    );
    let (_folder, file) = configured(&format!("{token}{users}{POLICY}{}", more.trim_start_matches('\n')));
    let push = "push without pull lets nobody push: clients ask for pull,push, and registries want both";
    let refused = "the server refuses requests for the service \"nope\": token.services has \"registry\", \"other\"";
    // What is asked, the exit status, a line of the answer, and what is granted.
    let cases: [(&[&str], i32, &str, &str); 16] = [
        (&["--account", "alice", "repository:drop/x:push"], 0, push, "push"),
        (&["--account", "alice", "repository:drop/x:pull,push"], 3, push, "push"),
        (&["--account", "alice", "repository:both/x:push"], 0, "acl[5] matches, and decides", "push"),
        (&["--account", "alice", "--service", "nope", "repository:both/x:pull"], 3, refused, "nothing"),
        (
            &["--account", "alice", "--service", "other", "repository:both/x:pull"],
            0,
            "acl[5] matches, and decides",
            "pull",
        ),
        (
            &["--account", "alice", "repository:both/x:psh,pull"],
            3,
            "\"psh\" is not an action of a registry (pull, push, delete); did you mean \"push\"?",
            "pull",
        ),
        (
            &["--account", "alice", "repository:both/x:PULL"],
            3,
            "\"PULL\" is not an action; did you mean \"pull\"?",
            "nothing",
        ),
        (&["--account", "alice", "repository:both/x:read"], 3, "\"read\" is not an action of a registry", "nothing"),
        (
            &["repository:local:pull"],
            3,
            "acl[3] ip: \"10.0.0.0/8\" is wanted, and the address is not known: give --ip",
            "nothing",
        ),
        (
            &["--account", "bob", "repository:web/app:pull"],
            3,
            "acl[2] name: \"${labels:team}/*\" does not match \"web/app\": bob has no label team  # teams",
            "nothing",
        ),
        (
            &["--account", "bob", "repository:labels:pull"],
            3,
            "acl[7] labels.team: \"web\" is wanted, and bob has no label team",
            "nothing",
        ),
        (&["repository:labels:pull"], 3, "is wanted, and an anonymous client has no label team", "nothing"),
        (
            &["--account", "alice", "repository:labels:pull"],
            3,
            "labels.team: \"web\" does not match \"[api]\"",
            "nothing",
        ),
        (
            &["--account", "alice", "repository:tags:pull"],
            3,
            "tag: \"v*\" is wanted, and a token request names no tag",
            "nothing",
        ),
        (
            &["--account", "alice", "--reference", "v1", "repository:tags:pull"],
            0,
            "acl[8] matches, and decides",
            "pull",
        ),
        (&["--account", "alice", "registry:catalog:push"], 3, "no rule matches: nothing is granted", "nothing"),
    ];
    for (asked, code, line, granted) in cases {
        let run = run(["explain", file.as_str()].iter().chain(asked));
        assert_eq!(run.code, code, "{asked:?}: {}{}", run.out, run.err);
        assert!(run.out.contains(line), "{asked:?}: {}", run.out);
        assert!(run.out.contains(&format!("  granted:  {granted}\n")), "{asked:?}: {}", run.out);
        // Said only where it is so.
        assert_eq!(run.out.contains(push), line == push, "{asked:?}: {}", run.out);
        assert_eq!(run.out.contains("refuses requests"), line == refused, "{asked:?}: {}", run.out);
    }
    // In JSON the fields are what they were, and what is said is the note.
    let json = run(["explain", &file, "--json", "--account", "bob", "--service", "nope", "repository:labels:pull,psh"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    let note = json[0]["note"].as_str().unwrap();
    assert!(note.contains(refused) && note.contains("did you mean \"push\"?"), "{note}");
    assert_eq!(
        json[0]["rules"][7],
        json!({"index": 7, "id": "e2de090f1f8c15e5", "comment": null, "matches": false, "field": "labels.team", "pattern": "web", "value": "[]"})
    );
    assert_eq!((&json[0]["granted"], &json[0]["withheld"]), (&json!([]), &json!(["psh", "pull"])));
}

#[test]
fn what_is_no_scope_is_told_with_what_was_meant() {
    let (_folder, file) = policy();
    for (text, expected) in [
        ("alice", "\"alice\" is not a scope: a scope has the form type:name:actions; meant: --account alice\n"),
        ("alpine", "; meant: repository:alpine:pull,push, or --account alpine\n"),
        ("Bob", "\"Bob\" is not a scope: a scope has the form type:name:actions; meant: --account Bob\n"),
        ("web/app", "; meant: repository:web/app:pull,push\n"),
        ("web/app:pull", "; meant: repository:web/app:pull\n"),
        ("web/app:latest", "; meant: repository:web/app:pull,push\n"),
        ("repository:web/app", "; meant: repository:web/app:pull,push\n"),
        (
            "repository:web/a:latest:pull",
            ": a tag or a digest is not part of a name; meant: repository:web/a:pull (--reference",
        ),
        ("repository:web/a@sha256:0ab:pull", "is not part of a name; meant: repository:web/a:pull (--reference"),
        ("web/a:latest:pull", "; meant: repository:web/a:pull\n"),
        ("repository:Web/app:pull", "upper-case letters are not allowed\n"),
        ("repository:web//app:pull", "the name is not one that a registry can hold\n"),
        ("REPOSITORY:web:pull", "the type must be lower-case letters"),
    ] {
        let run = run(["explain", &file, text]);
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{text}");
        assert!(run.err.contains(expected), "{text}: {}", run.err);
    }
}

/// Whom the server does not let in is granted nothing, whatever the rules say; labels ask what would be.
#[test]
fn whom_the_server_turns_away_is_granted_nothing() {
    let acl = "acl: [{match: {name: a}, actions: [pull]}]\n";
    let users = format!("users: {{alice: {{password: \"{STRONG}\"}}}}\n");
    let with_anonymous = format!("users: {{alice: {{password: \"{STRONG}\"}}, \"\": {{}}}}\n");
    let api = format!(
        "{users}http_auth: {{url: \"http://127.0.0.1:1/\", account: unchecked, headers: {{Authorization: \"${{basic}}\"}}}}\n"
    );
    let nobody = "  nobody may come in without an account: the server answers 401\n";
    let ghost = "  no section knows this account: the server answers 401 (--label asks what the rules would say)\n";
    // The users, who asks, and why nothing is granted.
    let cases: [(&str, &[&str], Option<&str>); 11] = [
        (&users, &[], Some(nobody)),
        (&users, &["--account", ""], Some(nobody)),
        (&users, &["--account", "ghost"], Some(ghost)),
        (&users, &["--account", "alice"], None),
        (&users, &["--account", "ghost", "--label", "team=web"], None),
        (&users, &["--label", "team=web"], None),
        (&with_anonymous, &[], None),
        (&with_anonymous, &["--account", "ghost"], Some(ghost)),
        (&api, &["--account", "ghost"], None),
        (&api, &[], Some(nobody)),
        (&api, &["--account", "alice"], None),
    ];
    for (users, who, why) in cases {
        let (_folder, file) = configured(&format!("{users}{acl}"));
        let asked = run(["explain", file.as_str(), "repository:a:pull"].iter().chain(who));
        let (code, granted) = if why.is_some() { (3, "nothing") } else { (0, "pull") };
        assert_eq!((asked.code, asked.err.as_str()), (code, ""), "{users}{who:?}: {}", asked.out);
        assert!(asked.out.contains(&format!("  granted:  {granted}\n")), "{users}{who:?}: {}", asked.out);
        assert!(asked.out.contains("  acl[0] matches, and decides\n"), "{users}{who:?}: {}", asked.out);
        for note in [nobody, ghost] {
            assert_eq!(asked.out.contains(note), why == Some(note), "{users}{who:?}: {}", asked.out);
        }
    }
}

/// The database is asked by `explain`, and an administrator who runs it learns what to look at, as from `check --connect`.
#[test]
fn what_can_be_done_about_a_database_that_is_away_is_said() {
    // Not a port that was free a moment ago: another test may have it by now.
    let gone = "127.0.0.1:1";
    let dial = format!("dial_info: {{addrs: [\"{gone}\"], database: d}}");
    let advice = "is the server running, and are its address and enable_tls right?\n";
    let users = format!("mongo_auth: {{{dial}, collection: users}}\nacl: []\n");
    let rules = format!("users: {{}}\nacl_mongo: {{{dial}, collection: acl}}\n");
    let explain: &[&str] = &["explain", "FILE", "--account", "ghost", "repository:a:pull"];
    let test: &[&str] = &["acl", "test", "FILE", "--account", "ghost", "--scope", "repository:a:pull"];
    for (sections, command, section) in
        [(&users, explain, "mongo_auth"), (&rules, explain, "acl_mongo"), (&rules, test, "acl_mongo")]
    {
        let (_folder, file) = configured(sections);
        let command = command.iter().map(|word| if *word == "FILE" { file.as_str() } else { word });
        let command: Vec<&str> = command.collect();
        let told = run(command.clone());
        assert_eq!((told.code, told.out.as_str()), (1, ""), "{command:?}: {}", told.err);
        let beginning = format!("dockwarden: {section}: d.");
        assert!(told.err.starts_with(&beginning) && told.err.ends_with(advice), "{command:?}: {}", told.err);
        assert!(told.err.contains(" cannot be asked: no server answers"), "{command:?}: {}", told.err);
    }
}

/// A robot is in the records, and no section knows it.
#[test]
fn a_robot_has_the_labels_that_its_secrets_have() {
    let (folder, file) = configured(
        "users: {}\nrecords: {sqlite: $DIR/records.db}\nacl: [{match: {name: \"${labels:team}/*\"}, actions: [pull]}]\n",
    );
    let asked = || run(["explain", &file, "--account", "robot+ci", "repository:web/app:pull"]);
    let none = asked();
    assert!(none.code == 3 && none.out.contains("no section knows this account"), "{}{}", none.out, none.err);
    assert!(!folder.path("records.db").exists(), "who only looks makes no file");
    let made = run(["token", "create", &file, "--robot", "ci", "--owner-label", "team=web", "--expires", "1d"]);
    assert_eq!(made.code, 0, "{}", made.err);
    let one = asked();
    assert!(one.code == 0 && one.out.starts_with("robot+ci, labels team=[web]\n"), "{}{}", one.out, one.err);
    assert!(run(["explain", &file, "--account", "robot+cd", "repository:web/app:pull"]).code == 3, "another robot");
}
