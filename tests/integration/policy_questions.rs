//! Questions about the policy as a whole over HTTP: what other rules would decide differently, and who may do something.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Method;
use dockwarden::app::write_uses;
use dockwarden::identity::AccountState;
use dockwarden::records::{Robot, RobotName, Settings, Version, open};
use policy::pattern::LabelValue;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::bed::{ALICE, Ask, BOB, Bed, Folder};

/// Alice may ask everything, and her teams push.
fn bed_of(more: &str) -> Bed {
    Bed::with(&format!(
        "api: {{listen: main}}\nacl:\n  - {{match: {{type: dockwarden, name: policy, account: alice}}, actions: [diff, who-can]}}\n  - {{match: {{name: \"${{labels:team}}/*\"}}, actions: [pull, push], comment: teams}}\n{more}"
    ))
}

fn question(bed: &Bed, what: &str, body: &Value) -> Ask {
    let asked = bed.request(Method::POST, &format!("/api/v1/policy:{what}"));
    asked.header("content-type", "application/json").body(&body.to_string())
}

async fn ask_once(bed: &Bed, what: &str, body: &Value) -> (u16, Value) {
    let reply = question(bed, what, body).by(ALICE).send().await;
    (reply.status, reply.json())
}

/// The same, until it is worked on: the tests beside this one ask as well, and there is one turn for all.
async fn ask(bed: &Bed, what: &str, body: Value) -> (u16, Value) {
    loop {
        let (status, told) = ask_once(bed, what, &body).await;
        if told["reason"] != "busy" {
            return (status, told);
        }
    }
}

/// The rules that are in use, with one more in front of those of the teams.
fn with(rule: Value) -> Value {
    json!({ "acl": [
        { "match": { "type": "dockwarden", "name": "policy", "account": "alice" }, "actions": ["diff", "who-can"] },
        rule,
        { "match": { "name": "${labels:team}/*" }, "actions": ["pull", "push"], "comment": "teams" },
    ] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_rules_are_compared_with_those_in_use_and_nothing_changes() {
    let bed = bed_of("");
    let same = with(json!({ "match": { "name": "web/app", "account": "nobody" }, "actions": [] }));
    assert_eq!(ask(&bed, "diff", same).await, (200, json!({ "granted": [], "withheld": [], "undecided": [] })));
    let other = with(json!({ "match": { "name": "web/*" }, "actions": ["pull"], "comment": "all of us" }));
    let (status, told) = ask(&bed, "diff", other.clone()).await;
    assert_eq!(status, 200, "{told}");
    let row = &told["granted"][0];
    assert_eq!(
        (&row["scope"], &row["old_rule"], &row["new_rule"], &row["accounts"]["first"]),
        (&json!("repository:web/a:pull"), &Value::Null, &json!(1), &json!(["", "bob"])),
        "{told}"
    );
    let row = &told["withheld"][0];
    assert_eq!(
        (&row["account"], &row["scope"], &row["old_rule"], &row["new_rule"]),
        (&json!("alice"), &json!("repository:web/a:push"), &json!(1), &json!(1)),
        "{told}"
    );
    // Only where and when it is asked about.
    let mut narrowed = other;
    narrowed["service"] = json!("other");
    narrowed["ip"] = json!("192.0.2.1");
    let (_, told) = ask(&bed, "diff", narrowed).await;
    assert_eq!((&told["granted"][0]["ip"], &told["granted"][0]["service"]), (&json!("192.0.2.1"), &json!("other")));
    assert_eq!(bed.grants(ALICE, "repository:web/app:pull,push").await, ["repository:web/app:pull,push"]);
    assert_eq!(bed.grants(BOB, "repository:web/app:pull,push").await, ["repository:web/app:"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_do_something_is_told_with_the_robots_of_the_records() {
    let folder = Folder::new();
    let file = folder.path("dockwarden.db");
    let records = open(&Settings::sqlite(file.clone()));
    records.prepare().await.unwrap();
    for (name, state) in [("ci", AccountState::Enabled), ("old", AccountState::Disabled)] {
        let labels = Arc::new([("team".to_owned(), vec![LabelValue::literal("web")])].into_iter().collect());
        let made = OffsetDateTime::UNIX_EPOCH;
        let robot = Robot { name: RobotName(name.into()), labels, state, made, version: Version(1) };
        records.make_robot(&robot).await.unwrap();
    }
    let bed = bed_of(&format!("records: {{sqlite: \"{}\"}}\n", file.display()));
    let accounts = |told: &Value| -> Vec<String> {
        let all = told["accounts"].as_array().unwrap_or_else(|| panic!("{told}"));
        all.iter().map(|one| one["account"].as_str().unwrap().to_owned()).collect()
    };
    let push = |resource: &str| json!({ "action": "push", "resource": resource });
    let (status, told) = ask(&bed, "who-can", push("repository:web/app")).await;
    assert_eq!((status, accounts(&told)), (200, vec!["alice".to_owned(), "robot+ci".to_owned()]), "{told}");
    let way = &told["accounts"][0]["ways"][0];
    assert_eq!((&way["rule"], &way["comment"], &way["example"]), (&json!(1), &json!("teams"), &json!("web/app")));
    assert_eq!(accounts(&ask(&bed, "who-can", push("repository:ops/app")).await.1), [""; 0]);
    // Of a pattern any or all; and by other rules.
    let mut pattern = push("repository:web/*");
    assert_eq!(accounts(&ask(&bed, "who-can", pattern.clone()).await.1).len(), 2);
    pattern["all"] = json!(true);
    assert_eq!(accounts(&ask(&bed, "who-can", pattern).await.1).len(), 2);
    let mut other = push("repository:web/app");
    other["acl"] = json!([{ "match": { "account": "bob" }, "actions": ["push"] }]);
    assert_eq!(accounts(&ask(&bed, "who-can", other).await.1), ["bob"]);
    // The command lists the same robots.
    let told = std::process::Command::new(env!("CARGO_BIN_EXE_dockwarden"))
        .args(["who-can", bed.folder.path("config.yml").to_str().unwrap(), "push", "repository:web/app", "--json"])
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"));
    assert_eq!(accounts(&told), ["alice", "robot+ci"]);
    drop(folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_question_needs_its_own_word_and_what_is_wrong_is_said() {
    let rule = |actions: &str| {
        format!("api: {{listen: main}}\nacl: [{{match: {{type: dockwarden, name: policy}}, actions: [{actions}]}}]\n")
    };
    let who = json!({ "action": "pull", "resource": "repository:a" });
    for (actions, diff, who_can) in
        [("diff", 200, 403), ("who-can", 403, 200), ("check, test", 403, 403), ("\"*\"", 403, 403)]
    {
        let bed = Bed::with(&rule(actions));
        let statuses = (ask(&bed, "diff", json!({ "acl": [] })).await.0, ask(&bed, "who-can", who.clone()).await.0);
        assert_eq!(statuses, (diff, who_can), "{actions}");
    }
    let bed = bed_of("");
    for (what, body, detail) in [
        ("diff", json!({}), "acl: the rules are needed"),
        ("diff", json!({ "acl": [{ "match": {}, "actions": ["Pull"] }] }), "acl[0].actions: "),
        ("diff", json!({ "acl": [], "tests": [] }), "tests: there is no such key"),
        ("diff", json!({ "acl": [], "ip": "here" }), "ip: "),
        ("who-can", json!({ "action": "push" }), "resource: what it is done to is needed"),
        ("who-can", json!({ "action": "PUSH", "resource": "repository:a" }), "action: this is no action"),
        ("who-can", json!({ "action": "push", "resource": "app" }), "resource: what it is done to names no type"),
        (
            "who-can",
            json!({ "action": "push", "resource": "repository:${account}/*" }),
            "a placeholder stands for nothing",
        ),
    ] {
        let (status, told) = ask(&bed, what, body).await;
        assert!(status == 400 && told["detail"].as_str().unwrap().contains(detail), "{detail}: {told}");
    }
    assert_eq!(question(&bed, "diff", &json!({ "acl": [] })).send().await.status, 401);
}

/// Only the rules of the file give way; others stay where they are asked, and what they would say is told, or that nobody knows it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_rules_stand_above_those_that_are_kept_elsewhere() {
    let folder = Folder::new();
    let file = folder.path("dockwarden.db");
    let records = open(&Settings::sqlite(file.clone()));
    records.prepare().await.unwrap();
    let kept = "[{\"seq\": 10, \"match\": {\"name\": \"web/*\"}, \"actions\": [\"pull\"]}]";
    records.replace_rules(kept, Version(0)).await.unwrap();
    let bed = bed_of(&format!(
        "records: {{sqlite: \"{}\"}}\nacl_records: {{cache_ttl: 1s, max_stale: 1h}}\n",
        file.display()
    ));
    let began = Instant::now();
    while bed.get("/auth?service=registry&scope=repository:web/app:pull").by(BOB).send().await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(10), "the rules are never read");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refusal = with(json!({ "match": { "name": "web/old" }, "actions": [] }));
    let (status, told) = ask(&bed, "diff", refusal).await;
    let rows = told["withheld"].as_array().unwrap_or_else(|| panic!("{told}"));
    let row = rows.iter().find(|row| row["old_source"] == "acl_records").unwrap_or_else(|| panic!("{told}"));
    assert_eq!((status, told["granted"].as_array().map(Vec::len)), (200, Some(0)), "{told}");
    assert_eq!(
        (&row["scope"], &row["old_source"], &row["old_rule"], &row["new_source"], &row["new_rule"]),
        (&json!("repository:web/old:pull"), &json!("acl_records"), &json!(0), &Value::Null, &json!(1)),
        "{told}"
    );
    // Accounts of a backend are no list: what they need is told.
    let bed = bed_of("http_auth: {url: \"http://127.0.0.1:9/\", headers: {Authorization: \"${basic}\"}}\n");
    let (_, told) = ask(&bed, "who-can", json!({ "action": "push", "resource": "repository:prod/app" })).await;
    assert_eq!(told["symbolic"][0]["labels"], json!({ "team": "prod" }), "{told}");
    // Somebody else decides after the rules, and nobody knows what.
    let bed = bed_of("http_authz: {url: \"http://127.0.0.1:9/\"}\n");
    let (_, told) = ask(&bed, "diff", with(json!({ "match": { "name": "a" }, "actions": ["pull"] }))).await;
    let (_, who) = ask(&bed, "who-can", json!({ "action": "pull", "resource": "repository:a" })).await;
    for undecided in [&told["undecided"], &who["undecided"]] {
        assert!(undecided[0]["why"].as_str().is_some_and(|why| why.starts_with("what no rule matches")), "{undecided}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_compared_at_the_moment_that_is_asked_about() {
    let bed = bed_of("");
    let mut later = with(json!({ "match": { "name": "a" }, "actions": ["pull"], "not_before": "2100-01-01" }));
    let granted = async |asked: &Value| ask(&bed, "diff", asked.clone()).await.1["granted"].clone();
    assert!(granted(&later).await[0]["at"].as_str().is_some_and(|at| at.starts_with("2100-01-0")));
    for (at, rows) in [("2099-12-30", 0), ("2100-06-01T12:00:00Z", 1)] {
        later["at"] = json!(at);
        assert_eq!(granted(&later).await.as_array().map(Vec::len), Some(rows), "{at}");
    }
}

/// Nobody can keep the cores with such questions: one at a time, for ten seconds at most, and for nobody who has left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_question_at_a_time_and_none_for_who_has_left() {
    let bed = Arc::new(bed_of(""));
    let hard = |actions: &str| {
        let rules: Vec<Value> = (0..30)
            .map(|number| json!({ "match": { "name": format!("/.*w{number}x.*/") }, "actions": [actions] }))
            .collect();
        json!({ "acl": rules })
    };
    let began = Instant::now();
    let asking = {
        let (bed, body) = (Arc::clone(&bed), hard("push"));
        tokio::spawn(async move { question(&bed, "diff", &body).by(ALICE).send().await.status })
    };
    // Its turn has come once another has to wait.
    let second = loop {
        let reply = question(&bed, "who-can", &json!({ "action": "pull", "resource": "repository:a" })).by(BOB);
        let _ = reply.send().await;
        let (status, told) = ask_once(&bed, "who-can", &json!({ "action": "pull", "resource": "repository:a" })).await;
        if status != 200 {
            break (status, told["reason"].clone());
        }
        assert!(began.elapsed() < Duration::from_secs(5), "nobody ever waits");
    };
    assert_eq!(second, (503, json!("busy")));
    // Tokens are made meanwhile.
    assert_eq!(bed.grants(ALICE, "repository:web/app:pull").await, ["repository:web/app:pull"]);
    asking.abort();
    let left = Instant::now();
    while ask_once(&bed, "who-can", &json!({ "action": "pull", "resource": "repository:a" })).await.0 != 200 {
        assert!(left.elapsed() < Duration::from_secs(5), "somebody who has left is still worked for");
    }
}

/// What is counted on every replica is one count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uses_of_all_replicas_are_counted_together() {
    let folder = Folder::new();
    let file = folder.path("dockwarden.db");
    let config = format!(
        "records: {{sqlite: \"{}\"}}\nacl:\n  - {{match: {{name: \"web/*\"}}, actions: [pull]}}\n  - {{match: {{name: \"api/*\"}}, actions: [pull]}}\n  - {{match: {{name: \"old/*\"}}, actions: [pull]}}\n",
        file.display()
    );
    let (one, other) = (Bed::with(&config), Bed::with(&config));
    one.app.prepare().await.unwrap();
    one.grants(ALICE, "repository:web/a:pull").await;
    other.grants(ALICE, "repository:web/a:pull repository:api/a:pull").await;
    write_uses(&one.app).await;
    write_uses(&other.app).await;
    let records = open(&Settings::sqlite(file));
    let mut uses: Vec<u64> = records.rule_uses().await.unwrap().iter().map(|one| one.uses).collect();
    uses.sort_unstable();
    assert_eq!(uses, [1, 2]);
    for bed in [&one, &other] {
        let told = std::process::Command::new(env!("CARGO_BIN_EXE_dockwarden"))
            .args(["acl", "unused", bed.folder.path("config.yml").to_str().unwrap(), "--output", "json"])
            .output()
            .unwrap();
        let said: Value = serde_json::from_slice(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"));
        let rules: Vec<&Value> = said["unused"].as_array().unwrap().iter().map(|one| &one["rule"]).collect();
        assert_eq!((told.status.code(), rules), (Some(3), vec![&json!(2)]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_told_why_somebody_may_do_something_or_not() {
    let bed = Bed::with(
        "api: {listen: main}\nacl:\n  - {match: {type: dockwarden, name: policy, account: alice}, actions: [explain]}\n  - {match: {name: \"${labels:team}/*\"}, actions: [pull, push], comment: teams}\n",
    );
    let (status, told) =
        ask(&bed, "explain", json!({ "scope": "repository:web/app:pull,delete", "account": "alice" })).await;
    assert_eq!((status, &told["granted"], &told["withheld"]), (200, &json!(["pull"]), &json!(["delete"])), "{told}");
    let rules = told["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 2, "{told}");
    assert_eq!((&rules[0]["field"], &rules[0]["matches"]), (&json!("type"), &json!(false)), "{told}");
    assert_eq!((&rules[1]["comment"], &rules[1]["matches"]), (&json!("teams"), &json!(true)), "{told}");
    // It is the token's answer, and asks nothing of anybody: labels may be supposed, and places and moments as well.
    for (body, granted, note) in [
        (json!({ "scope": "repository:web/app:pull", "account": "bob" }), json!([]), true),
        (
            json!({ "scope": "repository:web/app:pull", "account": "new", "labels": { "team": ["web"] } }),
            json!(["pull"]),
            false,
        ),
        (json!({ "scope": "repository:web/app:pull", "account": "new" }), json!([]), true),
    ] {
        let (status, told) = ask(&bed, "explain", body.clone()).await;
        assert_eq!((status, &told["granted"]), (200, &granted), "{body}: {told}");
        assert_eq!(told["notes"].as_array().is_some_and(|notes| !notes.is_empty()), note, "{body}: {told}");
    }
    for body in [
        json!({}),
        json!({ "scope": "nonsense" }),
        json!({ "scope": "repository:web/app:pull", "ip": "nowhere" }),
        json!({ "scope": "repository:web/app:pull", "reference": "!" }),
        json!({ "scope": "repository:web/app:pull", "labels": "team" }),
        json!({ "scope": "repository:web/app:pull", "acl": [] }),
    ] {
        let (status, told) = ask(&bed, "explain", body.clone()).await;
        assert_eq!((status, &told["reason"]), (400, &json!("bad_request")), "{body}: {told}");
    }
    // Another word of the policy does not do.
    let (status, told) = ask(&bed_of(""), "explain", json!({ "scope": "repository:web/app:pull" })).await;
    assert_eq!((status, &told["reason"]), (403, &json!("not_granted")), "{told}");
}
