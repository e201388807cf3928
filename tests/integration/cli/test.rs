//! `dockwarden test`: what is asked, what is told, and what of the rules is covered.

use serde_json::{Value, json};

use super::{STRONG, configured, run};
use crate::bed::Folder;

const RULES: &str = r#"acl:
  - match: {account: admin}
    actions: ["*"]
    comment: administrators
  - match: {name: "${labels:team}/*"}
    actions: [pull, push]
    comment: teams
  - match: {name: "web/*", ip: 10.0.0.0/8}
    actions: [pull]
    comment: inside
  - match: {account: temp, name: "x"}
    actions: [pull]
    not_after: 2030-01-01
    comment: temporary
"#;

fn with(tests: &str) -> (Folder, String) {
    // Neither key nor certificate is there: nobody needs them.
    let token = "token: {issuer: Acme, certificate: $DIR/none.crt, key: $DIR/none.key, services: [registry]}\n";
    let users = format!(
        "users:\n  alice: {{password: \"{STRONG}\", labels: {{team: [web, api]}}}}\n  gone: {{password: \"{STRONG}\", disabled: true, labels: {{team: [web]}}}}\n  short: {{password: \"{STRONG}\", not_after: 2030-01-01, labels: {{team: [web]}}}}\n"
    );
    configured(&format!("{token}{users}{RULES}{tests}"))
}

/// What each of these tests comes to, by itself, as `--json` says it.
fn outcome(test: &str) -> (i32, Value) {
    let (_folder, file) = with(&format!("tests: [{test}]\n"));
    let said = run(["test", &file, "--json"]);
    assert_eq!(said.err, "", "{test}");
    let said_json: Value = serde_json::from_str(&said.out).unwrap();
    (said.code, said_json["results"][0].clone())
}

#[test]
fn check_1_tests_that_hold_are_0() {
    for test in [
        "{as: alice, ask: \"repository:web/app:pull,push\", want: [pull, push], rule: teams}",
        "{as: [admin], ask: \"repository:any/app:*\", want: [\"*\"], rule: administrators}",
        "{as: alice, ask: \"repository:ops/app:pull\", want: []}",
        "{as: alice, labels: {team: ops}, ask: \"repository:ops/app:pull\", want: [pull]}",
        "{as: gone, ask: \"repository:web/app:pull\", want: []}",
        "{as: short, at: 2029-01-01, ask: \"repository:web/app:pull\", want: [pull]}",
        "{as: short, at: 2030-01-02, ask: \"repository:web/app:pull\", want: []}",
        "{as: temp, at: 2029-01-01, ask: \"repository:x:pull\", want: [pull], rule: temporary}",
        // Anonymous is not let in here, whatever the rules say.
        "{as: \"\", ip: 10.1.1.1, ask: \"repository:web/app:pull\", want: []}",
        "{as: \"\", labels: {}, ip: 10.1.1.1, ask: \"repository:web/app:pull\", want: [pull], rule: inside}",
    ] {
        let (code, told) = outcome(test);
        assert_eq!((code, told["outcome"].as_str()), (0, Some("holds")), "{test}: {told}");
    }
}

#[test]
fn check_2_a_wrong_promise_is_3_and_shows_what_came_by_which_rule_and_which_field_differs() {
    let (folder, file) = with(
        "tests:\n  - {as: bob, ip: 11.0.0.1, ask: \"repository:web/app:pull,push\", want: [pull]}\n  - {as: alice, ask: \"repository:web/app:pull\", want: [pull], rule: inside}\n",
    );
    let said = run(["test", &file]);
    assert_eq!((said.code, said.err.as_str()), (3, ""));
    let expected = format!(
        "{file}:22: tests[0]: differs: \"bob\" asks for repository:web/app:pull,push, wants [pull] and gets []: no rule matches; acl[2] # inside differs in ip: \"11.0.0.1\" is not \"10.0.0.0/8\"\n"
    );
    assert!(said.out.contains("tests[0]: differs: \"bob\" asks for repository:web/app:pull,push, wants [pull] and gets []: no rule matches; "), "{}", said.out);
    assert!(
        said.out.contains("acl[2] # inside differs in ip: \"11.0.0.1\" is not \"10.0.0.0/8\""),
        "{} {expected}",
        said.out
    );
    assert!(said.out.contains("by another rule than \"inside\": acl[1] # teams decides"), "{}", said.out);
    assert!(said.out.ends_with("0 of 2 tests hold\n"), "{}", said.out);
    // CI reads the same.
    let junit = folder.path("junit.xml");
    run(["test", &file, "--junit", junit.to_str().unwrap()]);
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(
        xml.starts_with("<?xml ") && xml.contains("<testsuite name=\"dockwarden\" tests=\"2\" failures=\"2\">"),
        "{xml}"
    );
    let odd =
        folder.put("odd.yml", "- {name: \"<a> & b's\", as: alice, ask: \"repository:web/a:push\", want: [push]}\n");
    run(["test", &file, odd.to_str().unwrap(), "--junit", folder.path("odd.xml").to_str().unwrap()]);
    let odd = std::fs::read_to_string(folder.path("odd.xml")).unwrap();
    assert!(
        odd.contains(
            "<testcase name=\"&lt;a&gt; &amp; b's\" classname=\"odd.yml: alice repository:web/a:push\"></testcase>"
        ),
        "{odd}"
    );
    assert!(xml.contains("<testcase name=\"tests[0]\" classname=\"config.yml: bob repository:web/app:pull,push\"><failure type=\"differs\" message=\"&quot;bob&quot; asks"), "{xml}");
}

#[test]
fn check_3_without_tests_only_require_fails() {
    let (_folder, file) = with("");
    assert_eq!((run(["test", &file]).code, run(["test", &file, "--require"]).code), (0, 3));
}

#[test]
fn check_4_unknown_accounts_are_asked_about_like_any_other_and_lists_multiply() {
    let (folder, file) = with(
        "tests: [{as: [alice, nobody-yet], ask: [\"repository:ops/a:pull\", \"repository:ops/b:pull\"], want: []}]\n",
    );
    let said = run(["test", &file]);
    assert_eq!((said.code, said.out.as_str()), (0, "4 of 4 tests hold\n"));
    // Tests of another file come on top.
    let more =
        folder.put("more.yml", "- {as: carol, labels: {team: [web]}, ask: \"repository:web/a:push\", want: []}\n");
    let said = run(["test", &file, more.to_str().unwrap()]);
    assert_eq!(said.code, 3);
    assert!(said.out.starts_with(&format!("{}:1: tests[0]: differs: ", more.display())), "{}", said.out);
    assert!(said.out.ends_with("4 of 5 tests hold\n"), "{}", said.out);
}

#[test]
fn everything_that_is_wrong_with_tests_is_said_at_once() {
    let wrong = r#"tests:
  - {ask: "repository:a:pull", want: [pull]}
  - {as: alice, want: [pull]}
  - {as: alice, ask: "repository:a:pull"}
  - {as: alice, ask: "repository:A:pull", want: []}
  - {as: alice, ask: "repository:a:PULL", want: []}
  - {as: alice, ask: "repository:a:pull", want: [push]}
  - {as: alice, ask: "repository:a:pull", want: [], rule: no such rule}
  - {as: alice, ask: "repository:a:pull", want: [], ip: here, reference: "a b", at: now, service: other}
  - {account: alice, as: alice, ask: "repository:a:pull", want: []}
  - {name: same, as: alice, ask: "repository:a:pull", want: []}
  - {name: same, as: alice, ask: "repository:a:pull", want: []}
"#;
    let (_folder, file) = with(wrong);
    let said = run(["test", &file]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    let mut from = 0;
    for piece in [
        "tests[0].as: a test needs somebody who asks",
        "tests[1].ask: a test needs a question",
        "tests[2].want: a test needs the answer",
        "tests[3].ask: ",
        "tests[4].ask: one of the actions is none",
        "tests[5].want: ",
        "tests[6].rule: no rule has this comment",
        "tests[7].ip: ",
        "tests[7].reference: ",
        "tests[7].at: ",
        "tests[7].service: token.services does not have it",
        "tests[8].account: there is no such key; write as",
        "tests[10].name: another test has this name",
    ] {
        assert!(said.err.contains(piece), "{piece} is not in\n{}", said.err);
        from += 1;
    }
    assert_eq!(said.err.lines().count(), from, "{}", said.err);
}

#[test]
fn check_9_coverage_names_the_rules_that_decided_no_test_and_conditions_that_kept_nobody_out() {
    let (_folder, file) = with(
        "tests:\n  - {as: alice, ask: [\"repository:web/app:pull\", \"repository:ops/app:pull\"], want: []}\n  - {as: admin, ask: \"repository:a:pull\", want: [pull]}\n  - {as: alice, ip: 10.1.1.1, ask: \"repository:web/app:pull\", want: [pull]}\n",
    );
    let said = run(["test", &file, "--coverage", "--min", "100"]);
    assert_eq!(said.code, 3);
    let line = |piece: &str| {
        let text = std::fs::read_to_string(&file).unwrap();
        text.lines().position(|line| line.contains(piece)).unwrap() + 1
    };
    let (inside, temporary) = (line("web/*\", ip"), line("account: temp"));
    for piece in [
        format!("{file}:{inside}: acl[2] # inside: decided no test: earlier rules decided the 1 that it matches\n"),
        format!("{file}:{temporary}: acl[3] # temporary: no test meets it\n"),
        "2 of 4 rules decided a test (50 %)\n".to_owned(),
    ] {
        assert!(said.out.contains(&piece), "{piece} is not in\n{}", said.out);
    }
    // A rule that is decided by tests, whose network kept nobody of them out.
    let (_other, loose) = with(
        "tests:\n  - {as: [alice, zoe], ip: 10.1.1.1, ask: [\"repository:ops/app:pull\", \"repository:x:pull\"], want: []}\n  - {as: zoe, ip: 10.1.1.1, ask: \"repository:web/app:pull\", want: [pull]}\n",
    );
    let told = run(["test", &loose, "--coverage"]);
    let piece = format!("{loose}:{inside}: acl[2] # inside: decided 1 test, and none was kept out by ip\n");
    assert!(told.code == 0 && told.out.contains(&piece), "{piece} is not in\n{}", told.out);
    // All its tests hold: only the share decides.
    for (min, code) in [("25", 0), ("26", 3)] {
        assert_eq!(run(["test", &loose, "--coverage", "--min", min]).code, code, "{min}");
    }
    // The first test is wrong, but the share is enough.
    let json = run(["test", &file, "--coverage", "--min", "50", "--json"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["failed"], 1);
    assert_eq!(json["coverage"]["percent"], 50);
    let admin = &json["coverage"]["each"][0];
    assert_eq!((&admin["decided"], &admin["never_failed"]), (&json!(1), &json!([])));
    assert_eq!(json["coverage"]["each"][2]["never_failed"], json!([]), "both its conditions kept somebody out");
    assert_eq!(json["coverage"]["each"][3]["never_failed"], json!(["name", "not_after"]));
}

/// A witness that any command prints can be asked again, with its moment and its reference.
#[test]
fn questions_of_a_file_have_a_moment_and_a_reference() {
    let (folder, file) = with("");
    let rules = std::fs::read_to_string(&file)
        .unwrap()
        .replace("acl:\n", "acl:\n  - {match: {name: tagged, tag: \"v*\"}, actions: [pull]}\n");
    let file = folder.put("config.yml", &rules);
    let ask = |more: &str, name: &str| {
        let line = format!(
            "{{\"account\": \"temp\", \"type\": \"repository\", \"name\": \"{name}\", \"actions\": [\"pull\"]{more}}}"
        );
        let questions = folder.put("questions", &line);
        let said = run(["explain", file.to_str().unwrap(), "--requests", questions.to_str().unwrap()]);
        (
            said.code,
            serde_json::from_str::<Value>(&said.out).map(|answer| answer["granted"].clone()).unwrap_or_default(),
        )
    };
    for (more, name, expected) in [
        (", \"at\": \"2029-12-31T23:59:59Z\"", "x", json!(["pull"])),
        (", \"at\": \"2030-01-02\"", "x", json!([])),
        (", \"reference\": \"v1\"", "tagged", json!(["pull"])),
        (", \"reference\": \"w1\"", "tagged", json!([])),
        ("", "tagged", json!([])),
    ] {
        assert_eq!(ask(more, name), (0, expected), "{more} {name}");
    }
    assert_eq!(ask(", \"at\": \"soon\"", "x").0, 1);
    assert_eq!(ask(", \"reference\": \"a b\"", "x").0, 1);
}

/// What a server would not begin with, `check` calls an error; whether there is a key to sign with makes no difference.
#[test]
fn check_runs_the_tests_that_a_server_runs() {
    for wants in ["[pull]", "[]"] {
        let text = format!(
            "acl: [{{match: {{}}, actions: [pull]}}]\ntests: [{{as: a, ask: \"repository:x:pull\", want: {wants}}}]\n"
        );
        let token = "token: {issuer: i, certificate: $DIR/new.crt, key: $DIR/new.key, generate: true}\n";
        for text in [text.clone(), format!("{token}{text}")] {
            let (_folder, file) = configured(&text);
            let said = run(["check", &file]);
            assert_eq!(said.code, i32::from(wants == "[]"), "{}{}", said.out, said.err);
            let is_told = said.err.contains(&format!("{file}:"))
                && said.err.contains("tests[0]: this test does not hold: \"a\" asks");
            assert_eq!(is_told, wants == "[]", "{}", said.err);
        }
    }
}
