//! `dockwarden diff`, `who-can`, `what-can` and `minimise`: what they print, and with which status.

use std::process::Command;

use serde_json::{Value, json};

use super::{STRONG, configured, run};
use crate::bed::Folder;

/// A file with alice, who is of the web team, and these rules.
fn policy(acl: &str, more: &str) -> (Folder, String) {
    let token = "token: {issuer: Acme, certificate: $DIR/none.crt, key: $DIR/none.key, services: [registry]}\n";
    let users = format!(
        "users:\n  alice: {{password: \"{STRONG}\", labels: {{team: [web]}}}}\n  gone: {{password: \"{STRONG}\", disabled: true}}\n  \"\": {{}}\n"
    );
    configured(&format!("{token}{users}{more}acl:\n{acl}"))
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

const TEAM: &str = "  - {match: {name: \"team/*\"}, actions: [pull], comment: the team}\n";
const TEAM_AND_BELOW: &str = "  - {match: {name: \"/^team\\\\/.*$/\"}, actions: [pull]}\n";

/// Checks 13, 14 and 15 of the reference, and `explain` agrees with each row.
#[test]
fn diff_tells_each_pair_of_rules_with_a_question_that_explain_confirms() {
    let ((_one, old), (_other, new)) = (policy(TEAM, ""), policy(TEAM_AND_BELOW, ""));
    let same = run(["diff", &old, &old]);
    assert_eq!((same.code, same.out.as_str()), (0, "both decide everything alike\n"), "{}", same.err);
    let (_two, stars) = policy(&TEAM.replace("team/*", "team/**"), "");
    assert_eq!(run(["diff", &old, &stars]).code, 0);
    let told = run(["diff", &old, &new, "--json"]);
    assert_eq!(told.code, 3, "{}", told.err);
    let row = json!({
        "account": "", "service": "registry", "scope": "repository:team/a/a:pull", "old_rule": null, "new_rule": 0,
        "accounts": {"count": 2, "first": ["", "alice"]},
    });
    assert_eq!(json_of(&told.out), json!({"granted": [row], "withheld": [], "undecided": []}));
    let explained = |file: &str| run(["explain", file, "--service", "registry", "repository:team/a/a:pull"]).code;
    assert_eq!((explained(&old), explained(&new)), (3, 0));
    let text = run(["diff", &old, &new]);
    let expected = format!(
        "granted   repository:team/a/a:pull  no rule -> acl[0]\n          2 accounts: anonymous, alice\n          dockwarden explain {new} --service registry repository:team/a/a:pull\n"
    );
    assert_eq!((text.code, text.out), (3, expected));
    // The other way round nothing is granted.
    assert_eq!(run(["diff", &new, &old, "--fail-on", "granted"]).code, 0);
    assert_eq!(run(["diff", &new, &old]).code, 3);
    assert_eq!(run(["diff", &new]).code, 2);
    for place in ["git:-x:y", "git:p.yml", "git::p.yml"] {
        assert_eq!(run(["diff", place, &old]).code, 2, "{place}");
    }
}

#[test]
fn what_cannot_be_told_is_said_with_the_rules_and_a_status_of_its_own() {
    let tagged = |tag: &str| format!("  - {{match: {{name: \"/^([a-z]+)$/\", tag: \"{tag}\"}}, actions: [pull]}}\n");
    let ((_one, old), (_other, new)) =
        (policy(&tagged("${name:1}-${name:1}-x"), ""), policy(&tagged("${name:1}-${name:1}-y"), ""));
    let told = run(["diff", &old, &new, "--json"]);
    let found = json_of(&told.out);
    assert!(told.code == 4 || !found["withheld"].as_array().unwrap().is_empty(), "{}", told.out);
    assert_eq!(found["undecided"][0]["old_rules"], json!([0]), "{}", told.out);
    let api = "http_authz: {url: \"http://127.0.0.1:9/\"}\n";
    let ((_one, old), (_other, new)) = (policy(TEAM, api), policy(TEAM_AND_BELOW, api));
    let told = run(["diff", &old, &new]);
    assert_eq!(told.code, 4, "{}{}", told.out, told.err);
    assert!(told.out.starts_with("undecided what no rule matches is decided by somebody"), "{}", told.out);
}

/// The line below a row says why, at its moment as well.
#[test]
fn what_differs_at_another_moment_is_explained_at_that_moment() {
    let window = "  - {match: {name: \"team/*\"}, actions: [pull], not_before: 2100-01-01}\n";
    let ((_one, old), (_other, new)) = (policy("  []\n", ""), policy(window, ""));
    let told = run(["diff", &old, &new]);
    assert_eq!(told.code, 3, "{}{}", told.out, told.err);
    let line = told.out.lines().find_map(|line| line.trim().strip_prefix("dockwarden ")).unwrap();
    assert!(line.contains(" --at 2100-01-0"), "{line}");
    let explained = |line: &str| run(line.split(' ')).code;
    assert_eq!((explained(line), explained(&line.replace(&new, &old))), (0, 3), "{line}");
    let (before, at) = line.split_once(" --at ").unwrap();
    let (_, scope) = at.split_once(' ').unwrap();
    assert_eq!(explained(&format!("{before} {scope}")), 3, "nothing is granted now");
}

#[test]
fn diff_reads_a_file_of_a_revision() {
    let (folder, file) = policy(TEAM, "");
    let git = |arguments: &[&str]| {
        let directory = folder.path("");
        let mut git = Command::new("git");
        git.current_dir(directory).args(["-c", "user.name=a", "-c", "user.email=a@example.com"]).args(arguments);
        let done = git.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("actions: [pull]", "actions: [pull, push]")).unwrap();
    let mut command = super::command(["diff", "git:HEAD:config.yml", "config.yml"]);
    command.current_dir(folder.path(""));
    let told = super::finish(command, "");
    assert_eq!(told.code, 3, "{}{}", told.out, told.err);
    assert!(
        told.out.starts_with("granted   repository:team/a:push  acl[0] (the team) -> acl[0] (the team)\n"),
        "{}",
        told.out
    );
    let mut command = super::command(["diff", "git:HEAD:none.yml", "config.yml"]);
    command.current_dir(folder.path(""));
    assert_eq!(super::finish(command, "").code, 1);
}

/// Checks 11 and 12 of the reference.
#[test]
fn who_can_lists_accounts_and_conditions_for_those_that_cannot_be_listed() {
    let rules = "  - {match: {name: \"web/secret\"}, actions: []}\n  - {match: {name: \"${labels:team}/*\", ip: 10.0.0.0/8}, actions: [push], not_after: 2100-01-01}\n";
    let (_folder, file) = policy(rules, "");
    let told = run(["who-can", &file, "push", "repository:web/app"]);
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(told.out.starts_with("alice  acl[1], from 10.0.0.0/8, until 2100-01-02T00:00:00Z"), "{}", told.out);
    assert_eq!(run(["who-can", &file, "push", "repository:web/secret"]).out, "nobody\n");
    assert_eq!(run(["who-can", &file, "push", "repository:web/app", "--ip", "192.0.2.1"]).out, "nobody\n");
    let nothing = run(["who-can", &file, "push", "repository:Web"]);
    assert!(
        nothing.code == 2 && nothing.err.contains("nobody can ask about that: it is no name of its type"),
        "{}",
        nothing.err
    );
    let any = run(["who-can", &file, "push", "repository:web/*", "--ip", "10.0.0.1"]);
    let all = run(["who-can", &file, "push", "repository:web/*", "--ip", "10.0.0.1", "--all"]);
    assert!(any.out.starts_with("alice  acl[1]") && all.out == "nobody\n", "{}{}", any.out, all.out);
    let (_folder, file) = policy(
        rules,
        "ldap_auth: {addr: \"127.0.0.1:9\", base: \"dc=x\", filter: \"(uid=${account})\", bind_dn: x, bind_password_file: $DIR/config.yml}\n",
    );
    let told = run(["who-can", &file, "push", "repository:prod/app", "--json"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    assert_eq!(json_of(&told.out)["symbolic"][0]["labels"], json!({"team": "prod"}), "{}", told.out);
}

#[test]
fn what_can_lists_the_rules_that_grant_an_account_anything() {
    let rules = "  - {match: {name: \"web/secret\"}, actions: []}\n  - {match: {name: \"${labels:team}/*\"}, actions: [push]}\n  - {match: {name: \"web/app\"}, actions: [pull]}\n";
    let (_folder, file) = policy(rules, "");
    let told = run(["what-can", &file, "alice"]);
    let expected = "any:web/*:push  acl[1], except where acl[0] decides, such as web/a\n";
    assert_eq!((told.code, told.out.as_str()), (0, expected), "{}", told.err);
    assert_eq!(run(["what-can", &file, ""]).out, "any:web/app:pull  acl[2], such as web/app\n");
    assert_eq!(json_of(&run(["what-can", &file, "alice", "--json"]).out)["rules"][0]["except"], json!([0]));
    for nobody in ["gone", "stranger"] {
        assert_eq!(run(["what-can", &file, nobody]).code, 1, "{nobody}");
    }
}

/// The names of such a rule are open to an account as far as its labels say, and that is said beside them.
#[test]
fn what_can_says_what_has_to_agree_with_the_name() {
    let rules = r#"  - {match: {name: "/^apps/([^/]+)/.+$/", labels: {team: "${name:1}"}}, actions: [pull]}
"#;
    let (_folder, file) = policy(rules, "");
    let told = run(["what-can", &file, "alice"]);
    let expected = r#"any:/^apps/([^/]+)/.+$/:pull  acl[0], where labels.team (web) matches "${name:1}", such as apps/web/a
"#;
    assert_eq!((told.code, told.out.as_str()), (0, expected), "{}", told.err);
    let told = json_of(&run(["what-can", &file, "alice", "--json"]).out);
    let held = json!([{"field": "labels.team", "pattern": "${name:1}", "values": ["web"]}]);
    assert_eq!(told["rules"][0]["where"], held, "{told}");
    // Of one name nothing is left open.
    let told = run(["who-can", &file, "pull", "repository:apps/web/x"]);
    assert_eq!((told.code, told.out.as_str()), (0, "alice  acl[0]\n"), "{}", told.err);
    let told = run(["who-can", &file, "pull", "repository:/^apps\\/we[bc]\\/x$/", "--all"]);
    assert!(told.code == 4 && told.out.starts_with("nobody\nundecided"), "{}{}", told.out, told.err);
}

/// Check 25 of the reference: what is printed decides alike.
#[test]
fn minimise_prints_rules_that_decide_alike_and_keeps_comments() {
    let rules = "  # Everybody.\n  - match: {name: \"public/*\"}\n    actions: [pull]\n  # Once special.\n  - match:\n      name: public/app\n    actions: [push] # never met\n  - {match: {account: carol}, actions: [push]}\n# After.\n";
    let (_folder, file) = policy(rules, "");
    let told = run(["minimise", &file]);
    let expected = "acl:\n  # Everybody.\n  - match: {name: \"public/*\"}\n    actions: [pull]\n  # Once special.\n  # acl[1] left out, what it matches is matched above: acl[0]\n  # - match:\n  #     name: public/app\n  #   actions: [push] # never met\n  - {match: {account: carol}, actions: [push]}\n";
    assert_eq!((told.code, told.out.as_str()), (3, expected), "{}", told.err);
    let whole = std::fs::read_to_string(&file).unwrap();
    let (head, _) = whole.split_once("acl:\n").unwrap();
    let (_folder, shorter) = configured(&format!("{head}{}", told.out));
    assert_eq!(run(["diff", &file, &shorter]).code, 0);
    assert_eq!(run(["minimise", &shorter]).code, 0);
    let left_out = json_of(&run(["minimise", &file, "--for-these-users", "--json"]).out)["left_out"].clone();
    let rules: Vec<&Value> = left_out.as_array().unwrap().iter().map(|rule| &rule["rule"]).collect();
    assert_eq!(rules, [1, 2]);
}

/// What `minimise` prints can take the place of what is there, whatever it is about.
#[test]
fn minimise_prints_what_a_server_takes() {
    const TWICE: &str = "  - {match: {name: \"a/*\"}, actions: [pull], comment: first}\n  - {match: {name: a/b}, actions: [pull], comment: second}\n";
    let test =
        |rule: &str| format!("tests: [{{as: alice, ask: \"repository:a/b:pull\", want: [pull], rule: {rule}}}]\n");
    for (acl, more, code, printed) in [
        ("  []\n".to_owned(), "", 0, "acl: []\n"),
        (
            "  - {match: {name: a}, actions: []}\n".to_owned(),
            "",
            3,
            "acl: []\n  # acl[0] left out, nothing else grants what it refuses\n  # - {match: {name: a}, actions: []}\n",
        ),
        // What a test is about stays: without it the test would be an error.
        (TWICE.to_owned(), &*test("second"), 0, &*format!("acl:\n{TWICE}")),
        (
            TWICE.to_owned(),
            &*test("first"),
            3,
            "acl:\n  - {match: {name: \"a/*\"}, actions: [pull], comment: first}\n  # acl[1] left out, what it matches is matched above: acl[0]\n  # - {match: {name: a/b}, actions: [pull], comment: second}\n",
        ),
    ] {
        let (_folder, file) = policy(&acl, more);
        let told = run(["minimise", &file]);
        assert_eq!((told.code, told.out.as_str()), (code, printed), "{acl}{}", told.err);
    }
    // In one line nothing can be put behind a sign.
    for (rules, code) in [
        ("[{match: {name: \"a/*\"}, actions: [pull]}, {match: {name: b}, actions: [pull]}]", 0),
        ("[{match: {name: \"a/*\"}, actions: [pull]}, {match: {name: a/b}, actions: [pull]}]", 1),
        ("[{match: {name: a}, actions: []}]", 1),
    ] {
        let (_folder, file) = configured(&format!("{}acl: {rules}\n", super::strong_users()));
        let told = run(["minimise", &file]);
        let is_said = told.err.contains("rules share a line; write each on lines of its own");
        assert_eq!((told.code, is_said), (code, code == 1), "{}{}", told.out, told.err);
    }
}

/// What an account may do ends with the account, and a policy in which it ends otherwise is another.
#[test]
fn time_limits_of_accounts_are_told() {
    let with = |limits: &str| {
        let token = "token: {issuer: Acme, certificate: $DIR/none.crt, key: $DIR/none.key, services: [registry]}\n";
        configured(&format!("{token}users:\n  alice: {{password: \"{STRONG}\"{limits}}}\nacl:\n{TEAM}"))
    };
    let ((_one, always), (_other, ends)) = (with(""), with(", not_after: 2099-12-31"));
    let told = run(["who-can", &ends, "pull", "repository:team/a"]);
    assert_eq!(told.out, "alice, until 2100-01-01T00:00:00Z  acl[0] (the team) (on conditions)\n", "{}", told.err);
    assert_eq!(run(["who-can", &ends, "pull", "repository:team/a", "--at", "2100-01-01"]).out, "nobody\n");
    assert_eq!(
        json_of(&run(["who-can", &ends, "pull", "repository:team/a", "--json"]).out)["accounts"][0]["until"],
        "2100-01-01T00:00:00Z"
    );
    let told = run(["what-can", &ends, "alice"]);
    let expected = "alice, until 2100-01-01T00:00:00Z:\nany:team/*:pull  acl[0] (the team), such as team/a\n";
    assert_eq!((told.code, told.out.as_str()), (0, expected), "{}", told.err);
    let told = run(["diff", &always, &ends]);
    assert!(
        told.code == 3 && told.out.starts_with("withheld  repository:team/a:pull  acl[0] (the team) -> no rule\n"),
        "{}{}",
        told.out,
        told.err
    );
    let line = told.out.lines().find_map(|line| line.trim().strip_prefix("dockwarden ")).unwrap();
    assert!(line.contains(" --at 2100-01-01T00:00:00Z "), "{line}");
    let explained = |line: &str| run(line.split(' ')).code;
    assert_eq!((explained(line), explained(&line.replace(&always, &ends))), (0, 3), "{line}");
    let (_third, over) = with(", not_after: 2020-01-01");
    assert_eq!(run(["what-can", &over, "alice"]).out, "alice, until 2020-01-02T00:00:00Z:\nnothing\n");
    assert_eq!(run(["who-can", &over, "pull", "repository:team/a"]).out, "nobody\n");
}

/// Where somebody else decides after the rules, nobody knows what a refusal keeps from them, and who can do what.
#[test]
fn whoever_decides_below_the_rules_leaves_answers_open() {
    let api = "http_authz: {url: \"http://127.0.0.1:9/\"}\n";
    let refusal = "  - {match: {name: a}, actions: []}\n";
    let (_folder, file) = policy(refusal, api);
    let told = run(["minimise", &file]);
    assert_eq!((told.code, told.out), (0, format!("acl:\n{refusal}")), "{}", told.err);
    // It keeps whoever decides below from granting that, to these users as well.
    let told = run(["minimise", &file, "--for-these-users"]);
    assert_eq!((told.code, told.out), (0, format!("acl:\n{refusal}")), "{}", told.err);
    for arguments in [["who-can", &file, "pull", "repository:b"].as_slice(), &["what-can", &file, "alice"]] {
        let told = run(arguments.iter().copied());
        assert!(told.code == 4 && told.out.contains("undecided what no rule matches"), "{}{}", told.out, told.err);
    }
}

/// Whoever is asked after a rule that decides all is never asked.
#[test]
fn what_is_below_a_rule_for_all_leaves_no_answer_open() {
    let more = "http_authz: {url: \"http://127.0.0.1:9/\"}\nldap_auth: {addr: \"127.0.0.1:9\", base: \"dc=x\", filter: \"(uid=${account})\", bind_dn: x, bind_password_file: $DIR/none}\n";
    let rules = "  - {match: {name: \"a*\"}, actions: [pull]}\n  - {match: {}, actions: []}\n  - {match: {name: b, labels: {team: \"*\"}}, actions: [pull]}\n";
    let (_folder, file) = policy(rules, more);
    for (arguments, out) in [
        (["who-can", &file, "pull", "repository:b"].as_slice(), "nobody\n"),
        (&["who-can", &file, "pull", "repository:b*"], "nobody\n"),
        (&["what-can", &file, "alice"], "any:a*:pull  acl[0], such as a\n"),
        (&["what-can", &file, "stranger"], "any:a*:pull  acl[0], such as a\n"),
    ] {
        let told = run(arguments.iter().copied());
        assert_eq!((told.code, told.out.as_str()), (0, out), "{arguments:?}: {}", told.err);
    }
}

/// Whoever only one of two files lists may be known to a directory as well.
#[test]
fn an_account_that_one_file_lists_and_a_directory_may_know_is_named() {
    let directory = "ldap_auth: {addr: \"127.0.0.1:9\", base: \"dc=x\", filter: \"(uid=${account})\", bind_dn: x, bind_password_file: $DIR/none}\n";
    let ((_one, old), (_other, new)) = (policy(TEAM, directory), policy(TEAM, directory));
    let text = std::fs::read_to_string(&new).unwrap();
    let more = text.replace("users:\n", &format!("users:\n  carol: {{password: \"{STRONG}\"}}\n"));
    std::fs::write(&new, more).unwrap();
    for (old, new) in [(&old, &new), (&new, &old)] {
        let told = run(["diff", old, new]);
        let is_named =
            told.out.contains("undecided only one of the two lists these accounts") && told.out.contains(": carol\n");
        assert!(told.code == 4 && is_named, "{}{}", told.out, told.err);
    }
}

#[test]
fn check_finds_rules_that_others_hide_together() {
    let (_folder, file) = configured(&format!(
        "{}acl:\n  - {{match: {{name: \"team/[a-m]*\"}}, actions: [pull]}}\n  - {{match: {{name: \"team/[n-z0-9]*\"}}, actions: [pull]}}\n  - {{match: {{name: \"/^team\\\\/[a-z]+$/\"}}, actions: [pull, push]}}\n",
        super::strong_users()
    ));
    let told = run(["check", &file]);
    assert!(
        told.out.contains("acl[2]: never decides: acl[0] and acl[1] match everything it does"),
        "{}{}",
        told.out,
        told.err
    );
}
