//! Commands for whole policies: what they once passed over without a word.

use std::process::Command;

use serde_json::{Value, json};

use super::{STRONG, configured, finish, run, strong_users};
use crate::bed::{Bed, Folder};
use crate::directory::opensvc;

const MODEL: &str = "[request_definition]\nr = account, type, name, service, ip, action, labels\n[policy_definition]\np = account, type, name, service, ip, action, labels\n[policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\nm = r.account == p.account && keyMatch(r.name, p.name) && r.action == p.action\n";
const REFUSES: &str = "acl:\n  - {match: {account: alice, name: team/a}, actions: []}\n";
const BELOW: &str = "what no rule matches is decided by somebody whose rules are not known";

fn policy(token: &str, more: &str) -> (Folder, String) {
    let token = format!("token: {{issuer: Acme, certificate: $DIR/none.crt, key: $DIR/none.key{token}}}\n");
    configured(&format!("{token}{}{more}", strong_users()))
}

/// A policy with a Casbin policy below its rules, which lets alice pull this.
fn with_casbin(name: &str) -> (Folder, String) {
    let casbin = "casbin_authz: {model_path: $DIR/model.conf, policy_path: $DIR/policy.csv}\n";
    let (folder, file) = policy(", services: [registry]", &format!("{casbin}{REFUSES}"));
    std::fs::write(folder.path("model.conf"), MODEL).unwrap();
    std::fs::write(folder.path("policy.csv"), format!("p, alice, repository, {name}, registry, , pull, \n")).unwrap();
    (folder, file)
}

fn undecided(told: &str) -> Vec<String> {
    let told: Value = serde_json::from_str(told).unwrap_or_else(|error| panic!("{error}: {told}"));
    told["undecided"].as_array().unwrap().iter().map(|open| open["why"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn whoever_decides_below_the_rules_is_never_passed_over() {
    let ((_one, old), (_other, new)) = (with_casbin("team/*"), with_casbin("web/*"));
    let (_none, without) = policy(", services: [registry]", REFUSES);
    let api = |port| {
        policy(", services: [registry]", &format!("http_authz: {{url: \"http://127.0.0.1:{port}/\"}}\n{REFUSES}"))
    };
    let ((_api, near), (_far, far)) = (api(9), api(10));
    for (one, other) in
        [(&old, &new), (&old, &without), (&without, &old), (&near, &far), (&near, &without), (&near, &old)]
    {
        let told = run(["diff", one, other, "--json"]);
        assert_eq!((told.code, undecided(&told.out)), (4, vec![BELOW.to_owned()]), "{}{}", told.out, told.err);
    }
    for file in [&old, &near] {
        assert_eq!(run(["diff", file, file]).out, "both decide everything alike\n");
        for command in
            [&["who-can", file, "pull", "repository:team/b", "--json"][..], &["what-can", file, "alice", "--json"]]
        {
            let told = run(command.iter().copied());
            assert_eq!((told.code, undecided(&told.out)), (4, vec![BELOW.to_owned()]), "{}{}", told.out, told.err);
        }
        // What it would grant is refused above it.
        assert_eq!(run(["minimise", file]).code, 0);
    }
    assert_eq!(run(["minimise", &without]).code, 3);
}

#[test]
fn what_is_dockwardens_own_is_asked_for_under_its_own_service() {
    let rules = "acl:\n  - {match: {name: \"tokens/*\", service: dockwarden}, actions: [list]}\n";
    let ((_one, old), (_other, new)) =
        (policy(", services: [registry]", "acl: []\n"), policy(", services: [registry]", rules));
    let told = run(["diff", &old, &new]);
    assert_eq!(told.code, 3, "{}{}", told.out, told.err);
    assert!(told.out.starts_with("granted   dockwarden:tokens/:list  no rule -> acl[0]\n"), "{}", told.out);
    let lines = told.out.lines().filter_map(|line| line.trim().strip_prefix("dockwarden "));
    assert_eq!(lines.map(|line| run(line.split(' ')).code).collect::<Vec<_>>(), [0]);
    for service in [&[][..], &["--service", "dockwarden"]] {
        let who = ["who-can", &new, "list", "dockwarden:tokens/x"].into_iter().chain(service.iter().copied());
        let told = run(who);
        assert!(told.code == 0 && told.out.contains("alice  acl[0]"), "{}{}", told.out, told.err);
        let explain = ["explain", &new, "--account", "alice", "dockwarden:tokens/x:list"];
        assert_eq!(run(explain.into_iter().chain(service.iter().copied())).code, 0);
    }
    assert_eq!(run(["who-can", &new, "list", "dockwarden:tokens/x", "--service", "other"]).code, 2);
    assert_eq!(run(["minimise", &new, "--for-these-users"]).code, 0);
    let checked = run(["check", &new]);
    assert!(!checked.err.contains("no such service"), "{}", checked.err);
}

#[test]
fn where_any_service_is_served_those_of_the_rule_are_told() {
    let (_folder, file) = policy("", "acl:\n  - {match: {service: \"r[12]\", name: \"a/*\"}, actions: [pull]}\n");
    let told = run(["what-can", &file, "alice"]);
    assert!(told.out.starts_with("any:a/*:pull  acl[0], for services r[12], such as a/a\n"), "{}", told.out);
    let told = run(["who-can", &file, "pull", "repository:a/b", "--json"]);
    let told: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(told["accounts"][1]["ways"][0]["service"], json!("r[12]"), "{told}");
}

/// Tests ask at other moments, and with labels that no user of now has.
#[test]
fn rules_that_tests_need_are_kept() {
    let rules = "tests:\n  - {as: alice, at: 2020-06-01, ask: \"repository:a/b:pull\", want: [pull]}\n  - {as: carol, name: carols, labels: {team: [x]}, ask: \"repository:c/b:pull\", want: [pull]}\nacl:\n  - {match: {name: \"a/*\"}, actions: [pull], not_after: 2021-01-01}\n  - {match: {name: \"b/*\"}, actions: [pull], not_after: 2021-01-01}\n  - {match: {labels: {team: x}, name: \"c/*\"}, actions: [pull]}\n";
    let (folder, file) = policy(", services: [registry]", rules);
    let told = run(["minimise", &file, "--for-these-users"]);
    assert_eq!(told.code, 3, "{}{}", told.out, told.err);
    assert_eq!(told.out.matches("left out").count(), 1, "{}", told.out);
    assert!(told.err.contains("acl[0] stays: without it the test tests[0]"), "{}", told.err);
    assert!(told.err.contains("acl[2] stays: without it the test carols"), "{}", told.err);
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, _) = text.split_once("acl:").unwrap();
    let shorter = folder.path("shorter.yml");
    std::fs::write(&shorter, format!("{before}{}", told.out)).unwrap();
    assert_eq!(run(["test", shorter.to_str().unwrap()]).code, 0);
}

#[test]
fn a_file_of_a_revision_is_named_as_git_names_it() {
    let (folder, file) = policy(", services: [registry]", REFUSES);
    let (top, bare) = (folder.path(""), folder.path("bare.git"));
    std::fs::create_dir(folder.path("sub")).unwrap();
    std::fs::copy(&file, folder.path("sub/own.yml")).unwrap();
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(&top).args(["-c", "user.name=a", "-c", "user.email=a@example.com"]).args(arguments);
        assert!(git.output().unwrap().status.success(), "{arguments:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "one"]);
    git(&["clone", "-q", "--bare", ".", "bare.git"]);
    let told = |folder: &std::path::Path, place: &str| {
        let mut command = super::command(["diff", place, file.as_str()]);
        command.current_dir(folder);
        finish(command, "")
    };
    let sub = folder.path("sub");
    for (folder, place) in [
        (&top, "git:HEAD:config.yml"),
        (&sub, "git:HEAD:config.yml"),
        (&sub, "git:HEAD:./own.yml"),
        (&bare, "git:HEAD:sub/own.yml"),
    ] {
        let told = told(folder, place);
        assert_eq!(told.code, 0, "{place}: {}", told.err);
    }
    let told = told(&top, "git:HEAD:sub");
    assert!(told.code == 1 && told.err.contains("it is a folder"), "{}", told.err);
}

/// The line below a row is for a shell, whatever accounts are called.
#[test]
fn the_line_that_explains_a_row_confirms_it_in_a_shell() {
    for account in ["-x", "it's", "a\u{202e}b"] {
        let users = |more: &str| format!("users:\n  {}: {{password: \"{STRONG}\"}}\n{more}", json!(account));
        let of = |more: &str| {
            let token = "token: {issuer: Acme, certificate: $DIR/none.crt, key: $DIR/none.key, services: [registry]}\n";
            configured(&format!("{token}{}", users(more)))
        };
        let ((_one, old), (_other, new)) = (of("acl: []\n"), of("acl: [{match: {}, actions: [pull]}]\n"));
        let told = run(["diff", &old, &new]);
        assert_eq!(told.code, 3, "{}{}", told.out, told.err);
        let line = told.out.lines().find_map(|line| line.trim().strip_prefix("dockwarden ")).unwrap();
        let script = format!("{} {line}", env!("CARGO_BIN_EXE_dockwarden"));
        let done = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn too_few_tests_are_told_with_the_reason() {
    let (folder, file) = policy(", services: [registry]", REFUSES);
    let xml = folder.path("told.xml");
    for (arguments, reason) in
        [(&["--require"][..], "there is no test"), (&["--coverage", "--min", "90"], "the tests cover 0 % of the rules")]
    {
        let always = ["test", &file, "--junit", xml.to_str().unwrap()];
        let told = run(always.into_iter().chain(arguments.iter().copied()));
        assert!(told.code == 3 && told.err.contains(reason), "{}{}", told.out, told.err);
        let written = std::fs::read_to_string(&xml).unwrap();
        assert!(written.contains("failures=\"1\"") && written.contains(reason), "{written}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registries_that_the_records_declare_are_served() {
    let bed = Bed::with(&format!("{}records: {{sqlite: $DIR/dockwarden.db}}\napi: {{listen: main}}\n", opensvc()));
    bed.app.prepare().await.unwrap();
    let file = bed.folder.path("config.yml").to_str().unwrap().to_owned();
    let who = |service: &str| run(["who-can", &file, "pull", "repository:apps/100/x", "--service", service]);
    assert_eq!(who("third").code, 2);
    let added = run([
        "registry",
        "add",
        &file,
        "third",
        "--url",
        "https://third.example.org",
        "--publication",
        "dev",
        "--restricted",
        "false",
    ]);
    assert_eq!((added.code, added.err.as_str()), (0, ""));
    let told = who("third");
    assert!(told.code != 2 && told.code != 1, "{}{}", told.out, told.err);
}

/// What accounts that cannot be listed are is not known; that it may have changed is.
#[test]
fn a_change_of_who_cannot_be_listed_is_never_passed_over() {
    let ldap = |more: &str| {
        format!(
            "ldap_auth: {{addr: \"127.0.0.1:9\", filter: \"(uid=${{account}})\", bind_dn: x, bind_password_file: none.txt, {more}}}\n"
        )
    };
    let usual = ldap("base: \"dc=x\", labels: {group: {attribute: z}}");
    let directory = |from: &str, privileges: &str, published: &str, more: &str| {
        format!(
            "{usual}directory:\n  {from}\n  groups: {{dev: {{id: 10, privileges: [{privileges}]}}, ops: {{id: 20}}}}\n{more}\
             registries:\n  registry: {{url: \"http://127.0.0.1:9\", publications: [{published}]}}\nstandard_rules: opensvc\n"
        )
    };
    let named = |more: &str| {
        let users = format!("  users:\n    alice: {{id: 1, groups: [{more}]}}\n    zoe: {{id: 2, groups: [ops]}}\n");
        directory("groups_from: group", "puller", "dev", &users)
    };
    let told = |old: &str, new: &str| {
        let ((_one, old), (_other, new)) = (
            policy(", services: [registry]", &format!("{old}{REFUSES}")),
            policy(", services: [registry]", &format!("{new}{REFUSES}")),
        );
        let told = run(["diff", &old, &new, "--json"]);
        (told.code, undecided(&told.out))
    };
    let by = |section: &str| (4, vec![format!("who logs in by {section}, and with which labels, may have changed")]);
    let given = (
        4,
        vec![
            "the labels that directory and registries give to accounts that cannot be listed may have changed"
                .to_owned(),
        ],
    );
    let alike = (0, Vec::new());
    let program = format!("{usual}ext_auth: {{command: /bin/true}}\n");
    for (old, new, wanted) in [
        (&usual, &usual, &alike),
        (&usual, &ldap("base: \"dc=y\", labels: {group: {attribute: z}}"), &by("ldap_auth")),
        (&usual, &ldap("base: \"dc=x\", labels: {group: {attribute: y}}"), &by("ldap_auth")),
        (&usual, &ldap("base: \"dc=x\""), &by("ldap_auth")),
        (&usual, &program, &by("ext_auth")),
        (&program, &usual, &by("ext_auth")),
        (&program, &program.replace("true", "false"), &by("ext_auth")),
    ] {
        assert_eq!(&told(old, new), wanted, "{old}{new}");
    }
    let jobs = |owner: u32| {
        format!(
            "workload:\n  - {{issuer: \"https://a.example\", audiences: [registry.example.org], keys: discovery, \
             require: {{owner: \"{owner}\"}}, account: \"job:${{claim:repository}}\"}}\n"
        )
    };
    assert_eq!(told(&jobs(1), &jobs(1)), alike);
    assert_eq!(told(&jobs(1), &jobs(2)), by("workload"));
    let base = directory("groups_from: group", "puller", "dev", "");
    for (new, wanted) in [
        (&base, &alike),
        (&directory("groups_from: group", "puller, pusher", "dev", ""), &given),
        (&directory("groups_from: team", "puller", "dev", ""), &given),
        (&directory("groups_from: group", "puller", "dev, ops", ""), &given),
        // Where a registry is makes no difference to what anybody may do.
        (&base.replace("127.0.0.1:9\", publications", "127.0.0.1:10\", publications"), &alike),
    ] {
        assert_eq!(&told(&base, new), wanted, "{new}");
    }
    // Without a label for groups, whoever is no user of the directory gets nothing of it.
    let nobody = |privileges: &str| directory("users: {}", privileges, "dev", "");
    assert_eq!(told(&nobody("puller"), &nobody("pusher")), alike);
    // An account that is listed is compared as it is, and another user of the directory may come in by the section.
    assert!(told(&named(""), &named("dev")).1.iter().all(|why| *why != given.1[0]));
    assert!(told(&named(""), &named("").replace("groups: [ops]", "groups: [dev]")).1.contains(&given.1[0]));
}
