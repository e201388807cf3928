//! The decision table: in every cell, what a real registry did is what `explain` says.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::support::bed::{Bed, Shared};
use crate::support::dockwarden::{self, SERVICE};
use crate::support::keys::{self, Kind};
use crate::support::registry::{Edition, Registry};
use crate::support::visit::{self, Visit};

/// Accounts of the table with their labels; "" is nobody.
const ACCOUNTS: [(&str, &str); 8] = [
    ("", "{}"),
    ("waldi", r#"{"full-access": ["test", "socke*"], "read-only-access": ["prod/*"]}"#),
    ("busy-guy", r#"{"group": ["web", "webdev"], "project": ["website", "api"], "tier": ["frontend", "backend"]}"#),
    ("admin", r#"{"role": ["root"]}"#),
    ("alice", "{}"),
    ("robot-7", r#"{"role": ["ci"]}"#),
    ("auditor", r#"{"role": ["audit"]}"#),
    ("mallory", r#"{"full-access": ["*", "*/*"], "role": ["root"]}"#),
];

/// Repositories of the table, one or more for each rule and one for none.
const REPOSITORIES: [&str; 10] = [
    "test",
    "socken-test",
    "test-socke",
    "prod/server",
    "website/webdev-backend",
    "website/webdev-database",
    "alice/app",
    "robot-7/cache",
    "public/base",
    "a/b/c",
];

/// Where layers are mounted from.
const MOUNTED_FROM: [&str; 3] = ["test", "public/base", "alice/app"];

/// Every kind of rule, in an order that matters.
const ACL: &str = r#"
acl:
  - match: {account: "mallory"}
    actions: []
    comment: "locked out, whatever the rules below say"
  - match: {labels: {role: "root"}}
    actions: ["*"]
    comment: "root"
  - match: {type: "registry", name: "catalog", labels: {role: "audit"}}
    actions: ["*"]
    comment: "auditors list"
  - match: {ip: "10.0.0.0/8"}
    actions: ["*"]
    comment: "nobody comes from there"
  - match: {account: "/^robot-[0-9]+$/", name: "${account}/*", ip: "127.0.0.0/8"}
    actions: ["push", "pull", "delete"]
    comment: "robots have a corner"
  - match: {account: "/^(.+)$/", name: "${account:1}/*"}
    actions: ["*"]
    comment: "everybody has a corner"
  - match: {name: "${labels:full-access}"}
    actions: ["*"]
    comment: "full access"
  - match: {name: "${labels:read-only-access}"}
    actions: ["pull"]
    comment: "pull access"
  - match: {name: "${labels:project}/${labels:group}-${labels:tier}"}
    actions: ["push", "pull"]
    comment: "three labels"
  - match: {account: "?*", name: "/^a\\/b\\/c$/"}
    actions: ["push"]
    comment: "push without pull is not enough for a registry"
  - match: {account: "auditor", type: "repository"}
    actions: ["pull"]
    comment: "auditors read"
  - match: {account: "", name: "public/*"}
    actions: ["pull"]
    comment: "the world reads"
  - match: {name: "public/*", account: "?*"}
    actions: ["pull", "push"]
    comment: "members write"
"#;

/// The content of every layer of the table.
const BLOB: &[u8] = b"the layer of the table";

/// What is tried in one cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Pull,
    Push,
    Delete,
    Mount { from: &'static str },
    Catalog,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Allowed,
    Refused,
}

/// One cell, tried.
struct Cell {
    edition: Edition,
    account: &'static str,
    repository: &'static str,
    deed: Deed,
    visit: Visit,
}

fn bed() -> Shared {
    static BED: OnceLock<Bed> = OnceLock::new();
    Shared::get(&BED, || Bed::start(&keys::as_in_the_guide(Kind::P256), &(dockwarden::users(&ACCOUNTS) + ACL)))
}

fn manifest_of(edition: Edition, account: &str) -> Vec<u8> {
    visit::manifest(BLOB, &format!("{edition:?} {account}"))
}

/// Puts the layer and a manifest into a repository, as `admin`.
fn fill(registry: &Registry, admin: &str, repository: &str) {
    visit::put_blob(registry, admin, repository, BLOB);
    visit::put_manifest(registry, admin, repository, "latest", &visit::manifest(BLOB, "latest"));
}

fn try_cell(registry: &Registry, admin: &str, account: &str, repository: &str, deed: Deed) -> Visit {
    let visit = |method: &str, target: &str| visit::visit(registry, account, method, target, b"");
    match deed {
        Deed::Pull => visit("GET", &format!("/v2/{repository}/manifests/latest")),
        Deed::Push => visit("POST", &format!("/v2/{repository}/blobs/uploads/")),
        Deed::Delete => {
            let manifest = manifest_of(registry.edition, account);
            let digest = visit::digest(&manifest);
            visit::put_manifest(registry, admin, repository, &digest, &manifest);
            visit("DELETE", &format!("/v2/{repository}/manifests/{digest}"))
        }
        Deed::Mount { from } => {
            let digest = visit::digest(BLOB).replace(':', "%3A");
            let from = from.replace('/', "%2F");
            visit("POST", &format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}"))
        }
        Deed::Catalog => visit("GET", "/v2/_catalog"),
    }
}

/// What the registry's last answer means; anything but the two expected ones is a failure.
#[track_caller]
fn verdict(cell: &Cell) -> Verdict {
    let allowed = match cell.deed {
        Deed::Pull | Deed::Catalog => 200,
        Deed::Push | Deed::Delete => 202,
        Deed::Mount { .. } => 201,
    };
    let reply = &cell.visit.reply;
    if reply.status == allowed {
        return Verdict::Allowed;
    }
    assert_eq!(reply.status, 401, "{}: {}", cell.name(), reply.text());
    assert_eq!(visit::challenge(reply).error, "insufficient_scope", "{}", cell.name());
    Verdict::Refused
}

impl Cell {
    fn name(&self) -> String {
        format!("{:?} {:?} {} {:?}", self.edition, self.account, self.repository, self.deed)
    }

    /// The questions that the registry's challenge puts, for `explain --requests`.
    fn questions(&self) -> Vec<Value> {
        let labels = ACCOUNTS.iter().find(|(account, _)| *account == self.account).map(|(_, labels)| *labels).unwrap();
        let labels: Value = serde_json::from_str(labels).unwrap();
        self.visit
            .challenge
            .scope
            .split(' ')
            .map(|scope| {
                let (kind, rest) = scope.split_once(':').unwrap();
                let (name, actions) = rest.rsplit_once(':').unwrap();
                json!({
                    "account": self.account, "labels": labels, "ip": "127.0.0.1", "service": SERVICE, "type": kind,
                    "name": name, "actions": actions.split(',').collect::<Vec<_>>(),
                })
            })
            .collect()
    }

    /// The token's own entry for what a question names; nothing if it has none.
    fn granted(&self, question: &Value) -> Vec<String> {
        let claims = visit::claims(&self.visit.token);
        let mut granted: Vec<String> = claims["access"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|entry| entry["type"] == question["type"] && entry["name"] == question["name"])
            .flat_map(|entry| entry["actions"].as_array().unwrap())
            .map(|action| action.as_str().unwrap().to_owned())
            .collect();
        granted.sort();
        granted
    }
}

/// All cells of one registry.
fn cells(bed: &Bed, edition: Edition) -> Vec<Cell> {
    let registry = bed.registry(edition);
    let scopes: Vec<String> = REPOSITORIES.iter().map(|name| format!("repository:{name}:push,pull")).collect();
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    let admin = visit::token(&bed.dockwarden.realm(), SERVICE, "admin", &scopes);
    for repository in REPOSITORIES {
        fill(registry, &admin, repository);
    }
    let mut cells = Vec::new();
    for (account, _) in ACCOUNTS {
        let mut push = |repository: &'static str, deed: Deed| {
            let visit = try_cell(registry, &admin, account, repository, deed);
            cells.push(Cell { edition, account, repository, deed, visit });
        };
        for repository in REPOSITORIES {
            for deed in [Deed::Pull, Deed::Push, Deed::Delete] {
                push(repository, deed);
            }
            for from in MOUNTED_FROM.into_iter().filter(|from| *from != repository) {
                push(repository, Deed::Mount { from });
            }
        }
        push("", Deed::Catalog);
    }
    cells
}

#[test]
fn what_the_registries_did_is_what_explain_says_in_every_cell() {
    let bed = bed();
    let cells: Vec<Cell> = std::thread::scope(|scope| {
        let bed: &Bed = &bed;
        let running = Edition::ALL.map(|edition| scope.spawn(move || self::cells(bed, edition)));
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });

    let questions: Vec<Vec<Value>> = cells.iter().map(Cell::questions).collect();
    let mut answers = bed.dockwarden.explain(&questions.concat()).into_iter();
    let mut seen: BTreeMap<(&str, Verdict), usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (cell, questions) in cells.iter().zip(&questions) {
        let mut said = Verdict::Allowed;
        for question in questions {
            let answer = answers.next().unwrap();
            let granted: Vec<String> = serde_json::from_value(answer["granted"].clone()).unwrap();
            if !answer["withheld"].as_array().unwrap().is_empty() {
                said = Verdict::Refused;
            }
            // The registry's catalog wants a literal `*`; on repositories nobody asks for it here.
            if granted != cell.granted(question) {
                wrong.push(format!("{}: the token has {:?}, explain {answer}", cell.name(), cell.granted(question)));
            }
        }
        let done = verdict(cell);
        if done != said {
            wrong.push(format!("{}: the registry {done:?}, explain {said:?}", cell.name()));
        }
        let deed = match cell.deed {
            Deed::Pull => "pull",
            Deed::Push => "push",
            Deed::Delete => "delete",
            Deed::Mount { .. } => "mount",
            Deed::Catalog => "catalog",
        };
        *seen.entry((deed, done)).or_default() += 1;
    }
    println!("decision table: {} cells {seen:?}", cells.len());
    assert!(wrong.is_empty(), "{} of {} cells differ:\n{}", wrong.len(), cells.len(), wrong.join("\n"));
    assert!(cells.len() >= 200, "only {} cells", cells.len());
    assert_eq!(seen.len(), 10, "every deed was allowed to some and refused to others: {seen:?}");
}

#[test]
fn the_table_holds_what_people_know_of_these_rules() {
    let bed = bed();
    // Written by hand, so that explain and the server cannot be wrong together.
    let known = [
        ("waldi", "repository:test:pull,push", vec!["pull", "push"]),
        ("waldi", "repository:socken-test:pull,push", vec!["pull", "push"]),
        ("waldi", "repository:test-socke:pull,push", vec![]),
        ("waldi", "repository:prod/server:pull,push", vec!["pull"]),
        ("busy-guy", "repository:website/webdev-backend:pull,push,delete", vec!["pull", "push"]),
        ("busy-guy", "repository:website/webdev-database:pull", vec![]),
        ("mallory", "repository:test:pull", vec![]),
        ("mallory", "registry:catalog:*", vec![]),
        ("admin", "registry:catalog:*", vec!["*"]),
        ("auditor", "registry:catalog:*", vec!["*"]),
        ("alice", "repository:alice/app:pull,push,delete", vec!["delete", "pull", "push"]),
        ("alice", "repository:robot-7/cache:pull", vec![]),
        ("alice", "repository:a/b/c:pull,push", vec!["push"]),
        ("", "repository:public/base:pull,push", vec!["pull"]),
        ("", "repository:a/b/c:push", vec![]),
        ("alice", "repository:public/base:pull,push,delete", vec!["pull", "push"]),
        // Asking for `*` is asking for all that the rule gives.
        ("waldi", "repository:test:*", vec!["*"]),
        ("waldi", "repository:prod/server:*", vec!["pull"]),
    ];
    for (account, scope, expected) in known {
        let token = visit::token(&bed.dockwarden.realm(), SERVICE, account, &[scope]);
        let claims = visit::claims(&token);
        let granted: Vec<&str> = claims["access"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|entry| entry["actions"].as_array().unwrap())
            .map(|action| action.as_str().unwrap())
            .collect();
        assert_eq!(granted, expected, "{account} {scope}");
        assert_eq!(claims["sub"], account);
    }
}
