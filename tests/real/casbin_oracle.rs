//! Random Casbin models, policies and questions decided by `dockwarden explain` and by Casbin's own library for Go, as
//! docker_auth uses it: both must grant the same.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::dice::Dice;
use crate::support::dockwarden;
use crate::support::keys::{self, Kind};
use crate::support::{number, part, scratch};

/// Models, each with a policy. `CASBIN_ORACLE_CASES` asks for more.
const CASES: usize = 250;
/// Questions about each.
const QUESTIONS: usize = 40;
/// The same cases every time, so that a failure can be repeated. `CASBIN_ORACLE_SEED` asks for others.
const SEED: u64 = 20_261_130;

const EFFECTS: &[&str] = &[
    "some(where (p.eft == allow))",
    "!some(where (p.eft == deny))",
    "some(where (p.eft == allow)) && !some(where (p.eft == deny))",
    "priority(p.eft) || deny",
];

/// What a matcher is made of. Columns of the policy: sub, name, ip, act, labels, rule.
const ATOMS: &[&str] = &[
    "g(r.account, p.sub)",
    "g(r.account, p.sub) == true",
    "r.account == p.sub",
    "r.account == \"admin\"",
    "r_account != 'bob'",
    "p.sub == \"*\"",
    "r.type == 'repository'",
    "r.type != \"repository\"",
    "r.service == \"r\"",
    "r.name == p.name",
    "r.name < p.name",
    "r.name <= p.name",
    "r.name > \"m\"",
    "r.name >= 'team/x'",
    "r.name == r.account + \"/x\"",
    "keyMatch(r.name, r.account + \"/*\")",
    "keyMatch(r.name, p.name)",
    "keyMatch2(r.name, p.name)",
    "keyMatch3(r.name, p.name)",
    "keyMatch4(r.name, p.name)",
    "keyMatch5(r.name, p.name)",
    "keyGet(r.name, p.name) == r.account",
    "keyGet2(r.name, p.name, \"id\") == r.account",
    "keyGet2(r.name, p.name, 'no') != \"\"",
    "keyGet3(r.name, p.name, \"id\") == r.account",
    "globMatch(r.name, p.name)",
    "regexMatch(r.name, p.name)",
    "regexMatch(r.name, \"^(team|own)/.+\")",
    "r.name =~ p.name",
    "r.name !~ \"x$\"",
    "ipMatch(r.ip, p.ip)",
    "ipMatch(r.ip, \"10.0.0.0/8\")",
    "(p.act == '*' || r.action == p.act)",
    "r.action == p.act",
    "r.action in (\"pull\", \"push\")",
    "r.action in [p.act, 'delete']",
    "labelMatch(r.labels, p.labels)",
    "r.labels == \"{}\"",
    "eval(p.rule)",
    "true",
    "false",
];

const SUBJECTS: &[&str] = &["alice", "bob", "admin", "role1", "role2", "role3", "*"];
const ACCOUNTS: &[&str] = &["alice", "bob", "admin", "carol", "role2", "x"];
/// Each is something as a text, a key, a glob and a regular expression.
const NAMES: &[&str] = &[
    "team/*",
    "team/x",
    "team/:id",
    "team/:id/x",
    "team/{id}",
    "team/{id}/{id}",
    "{id}/{no}",
    "own/alice",
    ":id/*",
    "team/.",
    "t..m/x",
    "team",
    "team/{i}{id}",
    "x?",
    "/*",
    "/team/",
    "team/x$",
    "^own",
    "team/\\w+",
    "team/alice/*",
    "*/x",
    "team/**",
];
const ASKED: &[&str] = &[
    "team/x",
    "team/alice",
    "team/bob",
    "team/alice/x",
    "team/x/x",
    "team/x/y",
    "own/alice",
    "alice/x",
    "bob/x",
    "alice/bob",
    "team",
    "tee.m/x",
    "x",
    "x/team/y",
    "team/alice/bob",
];
const NETWORKS: &[&str] =
    &["10.0.0.0/8", "10.1.2.3", "192.168.1.77/24", "2001:db8::/32", "::1", "::ffff:10.0.0.0/104", "0.0.0.0/0", "::/0"];
const ADDRESSES: &[&str] =
    &["10.1.2.3", "10.9.9.9", "192.168.1.5", "192.168.2.5", "2001:db8::5", "::1", "::ffff:10.1.2.3"];
const ACTIONS: &[&str] = &["pull", "push", "delete", "*"];
const LABELS: &[&str] = &[
    r#"{}"#,
    "",
    r#"{"team":["web"]}"#,
    r#"{"team":["web","db"]}"#,
    r#"{"team":["web"],"grade":["a<b"]}"#,
    r#"{"no":[]}"#,
];

fn matcher(dice: &mut Dice, depth: usize) -> String {
    match dice.below(if depth == 0 { 1 } else { 6 }) {
        0 => dice.pick(ATOMS).to_owned(),
        1 => format!("!({})", matcher(dice, depth - 1)),
        2 | 3 => format!("{} && {}", matcher(dice, depth - 1), matcher(dice, depth - 1)),
        4 => format!("{} || {}", matcher(dice, depth - 1), matcher(dice, depth - 1)),
        _ => format!("({})", matcher(dice, depth - 1)),
    }
}

const RULES: &[&str] = &[
    "true",
    "r.account == 'alice' || r.account == p.sub",
    "keyMatch(r.name, 'team/*') && r.action != 'delete'",
    "!(r.action in ('pull', 'push'))",
    "g2(r.account, 'role2')",
];

/// A column as CSV.
fn column(text: &str) -> String {
    match text.contains([',', '"']) || text.starts_with(' ') {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

struct Case {
    model: String,
    policy: String,
    questions: Vec<Value>,
}

fn case(dice: &mut Dice) -> Case {
    let (has_domain, has_effect, has_priority) = (dice.once_in(4), !dice.once_in(4), dice.once_in(4));
    let mut matcher = matcher(dice, 3);
    // A relation that most policies have, so that not everything is refused.
    if dice.once_in(2) {
        matcher = format!("(g(r.account, p.sub) || {}) && ({matcher})", dice.pick(ATOMS));
    }
    if has_domain {
        matcher = matcher.replace("g(r.account, p.sub)", "g(r.account, p.sub, r.service)");
    }
    let mut columns = "sub, name, ip, act, labels, rule".to_owned();
    columns.push_str(if has_effect { ", eft" } else { "" });
    columns.push_str(if has_priority { ", priority" } else { "" });
    let model = format!(
        "[request_definition]\nr = account, type, name, service, ip, action, labels\n[policy_definition]\np = {columns}\n\
         [role_definition]\ng = _, _{}\ng2 = _, _\n[policy_effect]\ne = {}\n# a remark\n[matchers]\nm = {}\n",
        if has_domain { ", _" } else { "" },
        dice.pick(EFFECTS),
        // A line that goes on.
        matcher.replacen(" && ", " && \\\n  ", 1),
    );
    let mut policy = String::new();
    for _ in 0..dice.below(9) {
        let mut line = vec![
            dice.pick(SUBJECTS),
            dice.pick(NAMES),
            dice.pick(NETWORKS),
            dice.pick(ACTIONS),
            dice.pick(LABELS),
            dice.pick(RULES),
        ];
        line.extend(has_effect.then(|| dice.pick(&["allow", "allow", "deny"])));
        line.extend(has_priority.then(|| dice.pick(&["1", "2", "-3", "10"])));
        let line: Vec<String> = line.into_iter().map(column).collect();
        writeln!(policy, "p, {}", line.join(if dice.once_in(2) { ", " } else { "," })).unwrap();
    }
    for _ in 0..dice.below(6) {
        let domain = if has_domain { format!(", {}", dice.pick(&["r", "other"])) } else { String::new() };
        writeln!(policy, "g, {}, {}{domain}", dice.pick(SUBJECTS), dice.pick(SUBJECTS)).unwrap();
    }
    for _ in 0..dice.below(3) {
        writeln!(policy, "g2, {}, {}", dice.pick(SUBJECTS), dice.pick(SUBJECTS)).unwrap();
    }
    let questions = (0..QUESTIONS).map(|_| {
        let labels: Value = serde_json::from_str(dice.pick(&LABELS[2..5])).unwrap();
        json!({
            "account": dice.pick(ACCOUNTS), "type": if dice.once_in(5) { "registry" } else { "repository" },
            "name": dice.pick(ASKED), "service": dice.pick(&["r", "r", "other"]), "ip": dice.pick(ADDRESSES),
            "actions": ["delete", "pull", "push"], "labels": if dice.once_in(4) { json!({}) } else { labels },
        })
    });
    Case { questions: questions.collect(), model, policy }
}

/// What our program grants, or why it does not load the files.
fn ours(folder: &Path, case: &Case) -> Result<Vec<Value>, String> {
    scratch::write(folder, "model.conf", &case.model);
    scratch::write(folder, "policy.csv", &case.policy);
    let questions: String = case.questions.iter().map(|question| format!("{question}\n")).collect();
    let mut explain = part::command_at(dockwarden::program());
    explain.arg("explain").arg(folder.join("auth_config.yml")).args(["--requests", "-"]);
    let said = part::run_with(&mut explain, questions.as_bytes());
    if !said.success {
        return Err(said.text);
    }
    Ok(said.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["granted"].clone()).collect())
}

#[test]
fn decisions_are_those_of_casbin_for_go() {
    let (cases, seed) = (number("CASBIN_ORACLE_CASES", CASES), number("CASBIN_ORACLE_SEED", SEED));
    let mut dice = Dice(seed);
    let cases: Vec<Case> = (0..cases).map(|_| case(&mut dice)).collect();
    let tasks: String = cases
        .iter()
        .map(|case| format!("{}\n", json!({"model": case.model, "policy": case.policy, "questions": case.questions})))
        .collect();
    let theirs = part::run_with(&mut part::command("casbin"), tasks.as_bytes()).well();
    let folder = scratch::directory("casbin");
    let pair = keys::as_in_the_guide(Kind::P256);
    // As docker_auth demands it: Casbin alone is not enough for it.
    let sections = format!(
        "users: {{}}\nacl: []\ncasbin_authz: {{model_path: \"{0}/model.conf\", policy_path: \"{0}/policy.csv\"}}\n",
        folder.display()
    );
    scratch::write(&folder, "auth_config.yml", &dockwarden::config(&pair, "", &sections));
    let (mut refused, mut compared, mut granted) = (0, 0, 0);
    for (case, theirs) in cases.iter().zip(theirs.stdout.lines()) {
        let theirs: Value = serde_json::from_str(theirs).unwrap();
        let context = format!("{}\n{}\n{theirs}", case.model, case.policy);
        let ours = match ours(&folder, case) {
            Ok(ours) => ours,
            Err(why) => {
                // Only what is no regular expression, which their library finds out while it decides.
                assert!(why.contains("the pattern is not a regular expression"), "{why}\n{context}");
                refused += 1;
                continue;
            }
        };
        assert_eq!(theirs["error"], Value::Null, "{context}");
        for ((question, ours), theirs) in case.questions.iter().zip(&ours).zip(theirs["granted"].as_array().unwrap()) {
            assert_eq!(ours, theirs, "{question}\n{context}");
            compared += 1;
            granted += ours.as_array().unwrap().len();
        }
    }
    println!("{compared} questions, {granted} actions granted, {refused} models refused");
    assert!(refused * 5 < cases.len(), "{refused} of {} were refused", cases.len());
    // Where nothing or everything is granted, little is shown.
    assert!((compared / 3..compared * 2).contains(&granted), "{granted} actions of {compared} questions");
}
