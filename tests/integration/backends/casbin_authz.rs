//! A Casbin model and policy behind the whole server: docker_auth's sample, with real requests, changed files and wrong ones.

use std::fs;
use std::path::Path;

use dockwarden::config::{Config, Secrets};

use crate::bed::{ALICE, BOB, Bed, Caller, Folder, NOBODY};
use crate::logs::{Form, Log};

/// docker_auth's `examples/casbin_authz_model.conf`, its `matcher` apart.
pub(crate) const MODEL: &str = r#"[request_definition]
r = account, type, name, service, ip, action, labels

[policy_definition]
p = account, type, name, service, ip, action, labels

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = r.account == "admin" || (g(r.account, p.account) && r.type == p.type && r.name == p.name && r.service == p.service && ipMatch(r.ip, p.ip) && r.action == p.action && labelMatch(r.labels, p.labels))
"#;

/// Lines in the form of docker_auth's `examples/casbin_authz_policy.csv`, for the accounts of the test bed.
pub(crate) const POLICY: &str = r#"p, alice, repository, book1, registry, 1.2.3.4, pull, "{""team"":[""web""]}"
p, alice, repository, book1, registry, 1.2.3.4, push, "{""team"":[""web""]}"
p, role1, repository, book2, registry, 192.168.1.0/24, pull, {}

g, bob, role1
"#;

const SECTION: &str = "casbin_authz: {model_path: $DIR/model.conf, policy_path: $DIR/policy.csv}\n";

fn folder(model: &str, policy: &str) -> Folder {
    let folder = Folder::new();
    folder.put("model.conf", model);
    folder.put("policy.csv", policy);
    folder
}

async fn granted(bed: &Bed, caller: Caller, from: &str, scope: &str) -> String {
    let ask = bed.get(&format!("/auth?service=registry&scope={scope}"));
    let ask = if from.is_empty() { ask } else { ask.from(from) };
    ask.by(caller).send().await.ok().access().join(" ").rsplit(':').next().unwrap_or_default().to_owned()
}

/// docker_auth refuses the section alone, so that files have `acl: []` beside it.
#[tokio::test]
async fn the_sample_is_served_with_acl_and_without() {
    let users = crate::bed::USERS;
    let head =
        "server: {addr: \"127.0.0.1:0\"}\ntoken: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key}\n";
    for acl in ["acl: []\n", ""] {
        let folder = folder(MODEL, POLICY);
        let text = format!("{head}{users}{acl}{SECTION}")
            .replace("$DIR", folder.path("").to_str().unwrap().trim_end_matches('/'));
        let config = Config::read(Path::new("config.yml"), &text, [], Secrets::Read).map(|config| config.warnings);
        assert_eq!(config.map_err(|problems| format!("{problems:?}")), Ok(Vec::new()), "{acl}");
    }
    let bed = Bed::in_folder(folder(MODEL, POLICY), &format!("acl: []\n{SECTION}"));
    for (caller, from, scope, expected) in [
        (ALICE, "1.2.3.4", "repository:book1:pull,push,delete", "pull,push"),
        (ALICE, "::ffff:1.2.3.4", "repository:book1:pull", "pull"),
        (ALICE, "1.2.3.3", "repository:book1:pull,push", ""),
        (ALICE, "1.2.3.4", "repository:book2:pull", ""),
        (ALICE, "1.2.3.4", "registry:book1:pull", ""),
        (BOB, "192.168.1.123", "repository:book2:pull,push", "pull"),
        (BOB, "192.168.0.123", "repository:book2:pull", ""),
        (BOB, "2001:db8::1", "repository:book2:pull", ""),
        (NOBODY, "1.2.3.4", "repository:book1:pull", ""),
        // No address is known.
        (ALICE, "", "repository:book1:pull", ""),
    ] {
        assert_eq!(granted(&bed, caller, from, scope).await, expected, "{from} {scope}");
    }
}

/// The rules of the file come first; and the log has the lines that granted something.
#[tokio::test]
async fn rules_come_first_and_the_log_names_the_lines() {
    let log = Log::start(Form::Json);
    let rules = "acl:\n  - match: {name: book1, account: bob}\n    actions: [push]\n  - match: {name: closed}\n    actions: []\n";
    let bed = Bed::in_folder(folder(MODEL, &POLICY.replace("book2", "closed")), &format!("{rules}{SECTION}"));
    assert_eq!(granted(&bed, BOB, "1.1.1.1", "repository:book1:pull,push").await, "push");
    assert_eq!(granted(&bed, BOB, "192.168.1.1", "repository:closed:pull").await, "");
    assert_eq!(granted(&bed, ALICE, "1.2.3.4", "repository:book1:pull,push").await, "pull,push");
    assert!(log.text().contains("\"casbin_authz[0] lines 1, 2\""), "{}", log.text());
}

#[tokio::test]
async fn a_changed_policy_is_taken_over_and_a_wrong_one_is_not() {
    let bed = Bed::in_folder(folder(MODEL, POLICY), SECTION);
    let watched = Config::load(&bed.folder.path("config.yml"), [], Secrets::Read).unwrap().files;
    assert!(["model.conf", "policy.csv"].iter().all(|file| watched.contains(&bed.folder.path(file))), "{watched:?}");
    let asked = async || granted(&bed, ALICE, "1.2.3.4", "repository:book1:pull,push").await;
    assert_eq!(asked().await, "pull,push");
    bed.folder.put("policy.csv", &POLICY.replace("push, ", "delete, "));
    bed.app.reload();
    assert_eq!(asked().await, "pull");
    bed.folder.put("policy.csv", "p, alice\n");
    bed.app.reload();
    assert_eq!(asked().await, "pull", "what worked goes on");
    bed.folder.put("policy.csv", "");
    bed.app.reload();
    assert_eq!(asked().await, "");
}

#[test]
fn what_makes_no_sense_is_told_with_its_file_and_line() {
    for (from, to, path, piece) in [
        ("1.2.3.4, push", "1.2.3, push", "casbin_authz.policy_path", "policy.csv:2: ipMatch needs an address"),
        ("{}", "{team: web}", "casbin_authz.policy_path", "policy.csv:3: labels are lists of values by name"),
        ("g, bob, role1", "g, bob", "casbin_authz.policy_path", "policy.csv:5: g needs 2 columns"),
        ("pull, \"", "pull\np, \"", "casbin_authz.policy_path", "policy.csv:1: the line has 6 columns after p"),
        ("ipMatch", "ipmatch", "casbin_authz.model_path", "model.conf:14: \"ipmatch\" is no function"),
        ("r.name == p.name", "regexMatch(r.name, r.account)", "casbin_authz.model_path", "model.conf:14: a pattern"),
        ("r.name == p.name", "regexMatch(r.name, '(')", "casbin_authz.model_path", "model.conf:14: the pattern is not"),
        ("(p.eft == allow)", "(p.eft == alow)", "casbin_authz.model_path", "model.conf:11: this effect is not known"),
    ] {
        let folder = folder(&MODEL.replacen(from, to, 1), &POLICY.replacen(from, to, 1));
        let file = folder.configure(SECTION);
        let problems = Config::load(&file, [], Secrets::Read).err().unwrap().problems;
        let first = problems.first().map(|problem| (problem.path.as_str(), problem.message.contains(piece)));
        assert_eq!(first, Some((path, true)), "{to}: {problems:?}");
    }
    // Many wrong lines are not all told, and no value that could be a secret is.
    let folder = folder(MODEL, &"p, hunter2Hunter\n".repeat(100));
    let problems = Config::load(&folder.configure(SECTION), [], Secrets::Read).err().unwrap().problems;
    let all: String = problems.iter().map(|problem| problem.message.clone() + "\n").collect();
    assert!(problems.len() == 21 && all.contains("has 80 more lines") && !all.contains("unter"), "{all}");
    for (section, path) in [("{}", "model_path"), ("{model_path: m, policy_path: \"\"}", "policy_path")] {
        let text = folder.complete(&format!("casbin_authz: {section}\n"));
        let problems = Config::read(Path::new("c.yml"), &text, [], Secrets::Read).unwrap_err();
        let expected = format!("casbin_authz.{path}");
        assert!(
            problems.iter().any(|problem| problem.path == expected && problem.message.contains("is needed")),
            "{problems:?}"
        );
    }
    fs::remove_file(folder.path("model.conf")).unwrap();
    let problems = Config::load(&folder.path("config.yml"), [], Secrets::Read).err().unwrap().problems;
    assert!(problems.iter().any(|problem| problem.message.contains("model.conf cannot be read")), "{problems:?}");
}

/// Ten thousand lines cost a moment and not a worker, and more work than a request may have is no answer.
#[tokio::test]
async fn a_policy_that_costs_too_much_is_no_answer() {
    let log = Log::start(Form::Json);
    let line = |number: usize| format!("p, alice, repository, a{number}, registry, 1.2.3.4, pull, {{}}\n");
    let many: String = (0..10_000).map(line).collect();
    let bed = Bed::in_folder(folder(MODEL, &many), SECTION);
    assert_eq!(granted(&bed, ALICE, "1.2.3.4", "repository:a9999:pull").await, "pull");
    assert_eq!(granted(&bed, ALICE, "1.2.3.4", "repository:b:pull").await, "");
    let evil: String = (0..400).map(line).collect();
    // Each line walks all the roles of another name.
    let near: String = (0..400).map(|number| format!("g, alicea{number}, hub\n")).collect();
    let far: String = (0..3_000).map(|number| format!("g, hub, role{number}\n")).collect();
    let model = MODEL.replace("g(r.account, p.account)", "g(r.account + p.name, p.account)");
    let bed = Bed::in_folder(folder(&model, &format!("{evil}{near}{far}")), SECTION);
    let scopes: String = (0..40).map(|number| format!("&scope=repository:b{number}:pull,push,delete")).collect();
    let reply = bed.get(&format!("/auth?service=registry{scopes}")).from("1.2.3.4").by(ALICE).send().await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"), "{}", log.text());
}
