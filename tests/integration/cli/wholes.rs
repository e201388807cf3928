//! Commands for whole policies where accounts, services or command lines are unusual.

use serde_json::{Value, json};

use super::{STRONG, configured, run};
use crate::bed::Folder;
use crate::directory::opensvc;

/// A file with alice, who has this group id, and these rules.
fn policy(gid: &str, acl: &str, more: &str) -> (Folder, String) {
    let token = "token: {issuer: Acme, certificate: $DIR/none.crt, key: $DIR/none.key, services: [registry]}\n";
    configured(&format!(
        "{token}users:\n  alice: {{password: \"{STRONG}\", labels: {{gid: [\"{gid}\"]}}}}\n{more}acl:\n{acl}"
    ))
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

const STRANGERS: &str = "ext_auth: {command: /bin/false}\n";
const MINE: &str = "  - {match: {name: \"/^g\\\\/([^\\\\/]+)\\\\/.+$/\", labels: {gid: \"${name:1}\"}}, actions: [pull], comment: mine}\n  - {match: {name: \"/^g\\\\//\"}, actions: []}\n";

/// The rules are the same: a user got another label, which one of them holds against a piece of the name.
#[test]
fn diff_tells_what_another_label_of_a_user_changes_and_explain_confirms_it() {
    let ((_one, old), (_other, new)) = (policy("10", MINE, ""), policy("20", MINE, ""));
    let told = run(["diff", &old, &new]);
    assert_eq!(told.code, 3, "{}{}", told.out, told.err);
    assert!(told.out.contains("granted   repository:g/20/a:pull  acl[1] -> acl[0] (mine)\n"), "{}", told.out);
    assert!(told.out.contains("withheld  repository:g/10/a:pull  acl[0] (mine) -> acl[1]\n"), "{}", told.out);
    assert!(told.out.contains("undecided which names these rules match"), "{}", told.out);
    let lines = told.out.lines().filter_map(|line| line.trim().strip_prefix("dockwarden "));
    let codes: Vec<u8> = lines.map(|line| u8::try_from(run(line.split(' ')).code).unwrap()).collect();
    assert_eq!(codes, [0, 0]);
}

/// Who moves to another group of the directory sees that group, and no more the other.
#[test]
fn diff_tells_what_another_group_of_the_directory_changes() {
    let before = opensvc();
    let after = before.replacen("groups: [dev]", "groups: [ops]", 1);
    assert_ne!(before, after, "{before}");
    let ((_one, old), (_other, new)) = (configured(&before), configured(&after));
    let told = run(["diff", &old, &new, "--json"]);
    assert_eq!(told.code, 3, "{}{}", told.out, told.err);
    let found = json_of(&told.out);
    let seen = |list: &str| {
        let rows = found[list].as_array().unwrap().iter();
        rows.filter(|row| row["scope"].as_str().unwrap().starts_with("dockwarden:groups/")).count()
    };
    assert!(seen("granted") > 0 && seen("withheld") > 0, "{}", told.out);
}

#[test]
fn services_of_the_directory_are_listed() {
    let before = opensvc();
    let (_one, file) = configured(&before);
    let told = run(["what-can", &file, "web@n2", "--service", "reg"]);
    assert!(told.code != 1 && told.out.contains("standard_rules["), "{}{}", told.out, told.err);
    let who = run(["who-can", &file, "pull", "repository:apps/100/x", "--service", "reg", "--json"]);
    let accounts = json_of(&who.out)["accounts"].clone();
    let names: Vec<&str> = accounts.as_array().unwrap().iter().filter_map(|one| one["account"].as_str()).collect();
    assert!(names.iter().any(|name| name.contains('@')), "{}{}", who.out, who.err);
    // Without its services a directory lets none of them in.
    let (rest, _) = before.split_once("  services:").unwrap();
    let (_other, without) = configured(rest);
    let told = run(["diff", &without, &file, "--fail-on", "granted"]);
    assert!(told.code == 3 && told.out.contains("web@n2"), "{}{}", told.out, told.err);
}

#[test]
fn a_service_that_no_policy_knows_is_a_wrong_command_line() {
    let (_folder, file) = policy("10", MINE, "");
    for arguments in
        [["diff", &file, &file].as_slice(), &["who-can", &file, "pull", "repository:a"], &["what-can", &file, "alice"]]
    {
        let told = run(arguments.iter().copied().chain(["--service", "regisrty"]));
        let said = "no token is made for the service \"regisrty\": token.services has \"registry\"";
        assert!(told.code == 2 && told.err.contains(said), "{arguments:?}: {} {}", told.code, told.err);
        assert_eq!(run(arguments.iter().copied().chain(["--service", "registry"])).code % 4, 0, "{arguments:?}");
    }
    for question in [["", "repository:a"], ["pull", "app"], ["pull", "repository:${account}/*"]] {
        let told = run(["who-can", &file, question[0], question[1]]);
        assert_eq!(told.code, 2, "{question:?}: {}", told.err);
    }
}

#[test]
fn what_an_account_of_a_program_can_hangs_on_its_labels() {
    let (_folder, file) = policy("10", MINE, STRANGERS);
    let told = run(["what-can", &file, "stranger"]);
    assert_eq!(told.code, 4, "{}{}", told.out, told.err);
    assert!(told.out.starts_with("nothing that is sure\nundecided "), "{}", told.out);
    assert!(
        told.out.contains("its labels are not known, and these rules look at labels: acl[0] (mine)\n"),
        "{}",
        told.out
    );
}

#[test]
fn minimise_keeps_what_stands_behind_the_last_rule() {
    const KEPT: &str = "  - {match: {name: \"a/*\"}, actions: [pull]}\n";
    const SPARE: &str = "  - {match: {name: a/b}, actions: [pull]}\n";
    let (_folder, file) = configured(&format!(
        "{}acl:\n{KEPT}{SPARE}  # The end.\n\n  # Truly.\n\n# Of the tests.\ntests: []\n",
        super::strong_users()
    ));
    let told = run(["minimise", &file]);
    let left_out =
        "  # acl[1] left out, what it matches is matched above: acl[0]\n  # - {match: {name: a/b}, actions: [pull]}\n";
    assert_eq!(
        (told.code, told.out),
        (3, format!("acl:\n{KEPT}{left_out}  # The end.\n\n  # Truly.\n")),
        "{}",
        told.err
    );
    let (_folder, file) = configured(&format!("{}acl:\n{KEPT}  # The end.\n", super::strong_users()));
    assert_eq!(run(["minimise", &file]).out, format!("acl:\n{KEPT}  # The end.\n"));
}

/// What other lines mean by an alias stays, and why is said.
#[test]
fn minimise_keeps_a_rule_whose_anchor_is_used_elsewhere() {
    let rules = "acl:\n  - match: {name: \"a/*\"}\n    actions: [pull]\n  - match: {name: a/b}\n    actions: &q [pull]\n  - match: {name: c}\n    actions: *q\n";
    let (_folder, file) = configured(&format!("{}{rules}", super::strong_users()));
    let told = run(["minimise", &file]);
    assert_eq!((told.code, told.out.as_str()), (0, rules));
    assert!(told.err.contains("acl[1] decides nothing and stays: what it calls &q is used elsewhere"), "{}", told.err);
    // Nobody else means what is called so.
    let (_folder, file) = configured(&format!("{}{}", super::strong_users(), rules.replace("*q", "[pull]")));
    assert_eq!(run(["minimise", &file]).code, 3);
}

#[test]
fn minimise_numbers_rules_that_share_a_line() {
    let rules =
        "acl: [{match: {name: \"a/*\"}, actions: [pull]}, {match: {name: a/b}, actions: [pull], comment: twice}]\n";
    let (_folder, file) = configured(&format!("{}{rules}", super::strong_users()));
    let told = run(["minimise", &file, "--json"]);
    assert_eq!(told.code, 3, "{}", told.err);
    let left_out = json!([{"rule": 1, "comment": "twice", "why": "what it matches is matched above", "by": [0]}]);
    assert_eq!(json_of(&told.out)["left_out"], left_out);
}

/// A question that was not answered is decided by no rule, and no earlier one hides it.
#[test]
fn a_question_without_an_answer_covers_nothing() {
    let acl = "  - {match: {account: temp, name: x}, actions: [pull], not_after: 2030-01-01}\n";
    let (_folder, file) =
        policy("10", &format!("{acl}tests:\n  - {{as: temp, ask: \"repository:x:pull\", want: [pull]}}\n"), "");
    let told = run(["test", &file, "--coverage"]);
    assert!(told.code == 3 && told.out.contains("acl[0]: no test meets it\n"), "{}{}", told.out, told.err);
}

/// A reader of JUnit's file never takes the results of an earlier run for those of one that failed.
#[test]
fn results_of_an_earlier_run_do_not_stay() {
    let test = "tests:\n  - {as: alice, ask: \"repository:x:pull\", want: []}\n";
    let (folder, file) = policy("10", &format!("  []\n{test}"), "");
    let results = folder.path("junit.xml");
    let junit = ["test", &file, "--junit", results.to_str().unwrap()];
    assert_eq!(run(junit).code, 0);
    assert!(std::fs::read_to_string(&results).unwrap().contains("classname=\"config.yml: alice repository:x:pull\""));
    std::fs::write(&file, "acl: [{match: {nam: a}}]\n").unwrap();
    let told = run(junit);
    assert_eq!(told.code, 1);
    let text = std::fs::read_to_string(&results).unwrap();
    assert!(
        text.contains("<error type=\"unusable\"") && text.contains("match.nam") && !text.contains("repository:x"),
        "{text}"
    );
}

/// An equals sign in a label's name is told from the one behind it, and `explain` takes it.
#[test]
fn a_label_with_an_equals_sign_in_its_name_is_told_apart_from_its_value() {
    let rule = "  - {match: {name: team/app, labels: {\"a=b\": c}}, actions: [pull]}\n";
    let ((_one, old), (_other, new)) = (policy("10", "  []\n", STRANGERS), policy("10", rule, STRANGERS));
    let told = run(["who-can", &new, "pull", "repository:team/app"]);
    assert_eq!((told.code, &*told.out), (0, "anyone with 'a=b'=c  acl[0]\n"), "{}", told.err);
    let told = run(["diff", &old, &new]);
    let line = told.out.lines().find_map(|line| line.trim().strip_prefix("dockwarden ")).unwrap();
    let script = format!("{} {line}", env!("CARGO_BIN_EXE_dockwarden"));
    let done = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("labels 'a=b'=[c]\n"), "{script}: {said}");
}

/// Where tokens may be for any service, the doors that need none name theirs.
#[test]
fn services_of_the_doors_are_tried_where_token_services_is_open() {
    let of = |acl: &str| {
        let token = "token: {issuer: Acme, certificate: $DIR/none.crt, key: $DIR/none.key}\n";
        let doors = "forward_auth: {trusted_proxies: [unix], service: handbook}\n\
                     gateway: {service: front, upstreams: [{url: \"http://127.0.0.1:9\", host: b.example.org, service: back}]}\n";
        configured(&format!("{token}users:\n  alice: {{password: \"{STRONG}\"}}\n{doors}acl:\n{acl}"))
    };
    let ((_one, old), (_other, new)) = (
        of("  - {match: {name: \"registry/*\"}, actions: [pull]}\n"),
        of("  - {match: {name: \"${service}/*\"}, actions: [pull]}\n"),
    );
    for service in ["handbook", "front", "back"] {
        let told = run(["who-can", &new, "pull", &format!("repository:{service}/app"), "--json"]);
        let accounts = json_of(&told.out)["accounts"].clone();
        assert_eq!(accounts[0]["ways"][0]["services"], json!([service]), "{}{}", told.out, told.err);
    }
    let told = run(["diff", &old, &new, "--json"]);
    let row = json_of(&told.out)["granted"][0].clone();
    assert_eq!(
        (told.code, &row["service"], &row["scope"]),
        (3, &json!("back"), &json!("repository:back/a:pull")),
        "{}",
        told.out
    );
}
