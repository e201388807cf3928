//! Tests of the policy as a gate: what would break one does not take the place of what keeps it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Method;
use dockwarden::app::{App, Reload, Source, write_uses};
use dockwarden::config::Secrets;
use dockwarden::policy_tests::{Outcome, run};
use dockwarden::records::{Settings, Version, open};

use crate::bed::{ALICE, Bed, Folder};
use crate::logs::{Form, Log};

const ASK: &str = "repository:team/app:pull,push";

fn config(action: &str) -> String {
    format!(
        "acl:\n  - {{match: {{name: \"team/*\"}}, actions: [{action}]}}\ntests:\n  - name: the team pulls\n    as: alice\n    ask: \"{ASK}\"\n    want: [pull]\n"
    )
}

async fn metric(bed: &Bed, line: &str) -> bool {
    bed.get("/metrics").send().await.text().lines().any(|own| own == line)
}

/// Check 5, and a file that is right again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_5_a_reload_that_fails_a_test_leaves_the_old_policy_and_names_the_test() {
    const FAILING: &str = "dockwarden_policy_tests_failing{test=\"the team pulls\"} 1";
    let bed = Bed::with(&config("pull"));
    assert_eq!(bed.grants(ALICE, ASK).await, ["repository:team/app:pull"]);
    bed.folder.configure(&config("push"));
    let app = Arc::clone(&bed.app);
    let reloading = tokio::task::spawn_blocking(move || {
        let log = Log::start(Form::Json);
        (app.reload(), log.text())
    });
    let (reload, told) = reloading.await.unwrap();
    assert_eq!(reload, Reload::Failed);
    assert_eq!(bed.grants(ALICE, ASK).await, ["repository:team/app:pull"]);
    let line = told.lines().find(|line| line.contains("reload_failed")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let cause = line["cause"].as_str().unwrap();
    for piece in [
        "config.yml:11: the team pulls: this test does not hold: ",
        "\"alice\" asks for repository:team/app:pull,push, wants [pull] and gets [push]: acl[0] decides",
    ] {
        assert!(cause.contains(piece), "{piece} is not in {cause}");
    }
    assert!(metric(&bed, FAILING).await && metric(&bed, "dockwarden_reload_failures_total 1").await);
    bed.folder.configure(&config("pull"));
    assert_eq!(bed.app.reload(), Reload::Done);
    assert!(!metric(&bed, FAILING).await, "nothing keeps the file out any more");
}

/// Checks 7 and 8: both are errors that name the line, as everything that is wrong with a file.
#[tokio::test]
async fn checks_7_and_8_a_server_does_not_begin_with_a_test_that_fails_or_hangs_on_the_time() {
    let window = "acl: [{match: {name: \"team/*\"}, actions: [pull], not_after: 2030-01-01, comment: until then}]\n";
    let test = |more: &str| format!("tests:\n  - {{as: alice, ask: \"{ASK}\", want: [pull]{more}}}\n");
    for (text, expected) in [
        (config("push"), Some("config.yml:11: the team pulls: this test does not hold: ")),
        (
            format!("{window}{}", test("")),
            Some("the answer depends on the time of acl[0] # until then; write at: 2026-12-31T18:00:00Z"),
        ),
        (format!("{window}{}", test(", at: 2029-12-31")), None),
        (format!("{window}{}", test(", at: 2030-01-02")), Some("wants [pull] and gets []: no rule matches")),
        // A rule with a window that is not met needs no moment.
        (
            format!(
                "acl:\n  - {{match: {{name: other}}, actions: [], not_after: 2030-01-01}}\n  - {{match: {{name: \"team/*\"}}, actions: [pull]}}\n{}",
                test("")
            ),
            None,
        ),
    ] {
        let folder = Folder::new();
        let source = Source { file: folder.configure(&text), variables: Vec::new() };
        let config = source.load(Secrets::Read).unwrap_or_else(|invalid| panic!("{invalid}"));
        let opened = App::open(source, config);
        match (opened, expected) {
            (Ok(_), None) => {}
            (Err(error), Some(piece)) => assert!(format!("{error:#}").contains(piece), "{error:#}"),
            (Ok(_), Some(piece)) => panic!("it begins, and not: {piece}"),
            (Err(error), None) => panic!("{error:#}"),
        }
    }
}

/// Check 6, by the rules of the records, which are read like those of MongoDB and SQL: see `mongo_rules` of the tests with real
/// parts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_6_rules_kept_elsewhere_that_fail_a_test_leave_the_last_good_ones_in_use() {
    let folder = Folder::new();
    let records = open(&Settings::sqlite(folder.path("dockwarden.db")));
    records.prepare().await.unwrap();
    let rules =
        |actions: &str| format!("[{{\"seq\": 10, \"match\": {{\"name\": \"team/*\"}}, \"actions\": [{actions}]}}]");
    records.replace_rules(&rules("\"pull\""), Version(0)).await.unwrap();
    let tests = format!("tests: [{{name: pulls only, as: alice, ask: \"{ASK}\", want: [pull]}}]\n");
    let text = format!("acl: []\nacl_records: {{cache_ttl: 1s, max_stale: 1h}}\n{tests}");
    let bed = Bed::in_folder(folder, &text);
    let until = async |what: &str, expected: &[&str], line: &str| {
        let began = Instant::now();
        loop {
            let reply = bed.get(&format!("/auth?service=registry&scope={ASK}")).by(ALICE).send().await;
            if reply.status == 200 && reply.access() == expected && metric(&bed, line).await {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{what}: {}", reply.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let refused = "dockwarden_rules_refused{source=\"acl_records\",document=\"pulls only\"} 1";
    let none = "dockwarden_rules_refused{source=\"acl_records\",document=\"\"} 0";
    until("the first rules", &["repository:team/app:pull"], none).await;
    records.replace_rules(&rules("\"push\""), Version(1)).await.unwrap();
    let changed = Instant::now();
    until("rules that fail the test", &["repository:team/app:pull"], refused).await;
    // A no is not an outage: the last good rules stay young, and in use for longer than `max_stale`.
    loop {
        let text = bed.get("/metrics").send().await.ok().text();
        let (_, rest) = text.split_once("dockwarden_rules_age_seconds{source=\"acl_records\"} ").unwrap();
        let age: f64 = rest.lines().next().unwrap().parse().unwrap();
        let since = changed.elapsed().as_secs_f64();
        if since > 1.5 && age < since - 1.0 {
            break;
        }
        assert!(since < 10.0, "they grow old: {age}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The test gives way by a reload, and then the rules come in by themselves.
    bed.folder.configure("acl: []\nacl_records: {cache_ttl: 1s, max_stale: 1h}\n");
    let app = Arc::clone(&bed.app);
    assert_eq!(tokio::task::spawn_blocking(move || app.reload()).await.unwrap(), Reload::Done);
    until("the rules without the test", &["repository:team/app:push"], none).await;
    // A reload looks at the rules that are there.
    bed.folder.configure(&text);
    let app = Arc::clone(&bed.app);
    assert_eq!(tokio::task::spawn_blocking(move || app.reload()).await.unwrap(), Reload::Failed);
    assert!(metric(&bed, "dockwarden_policy_tests_failing{test=\"pulls only\"} 1").await);
}

/// Rules that fail a test from the beginning are never used: it is an error where they are read before the server begins, and
/// otherwise they decide nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_kept_elsewhere_that_fail_a_test_at_the_start_decide_nothing() {
    let folder = Folder::new();
    let records = open(&Settings::sqlite(folder.path("dockwarden.db")));
    records.prepare().await.unwrap();
    let rules = "[{\"seq\": 10, \"match\": {}, \"actions\": [\"*\"]}]";
    records.replace_rules(rules, Version(0)).await.unwrap();
    let tests = format!("tests: [{{as: alice, ask: \"{ASK}\", want: []}}]\n");
    let source =
        Source { file: folder.configure(&format!("acl: []\nacl_records: {{}}\n{tests}")), variables: Vec::new() };
    let app = match App::open(source.clone(), source.load(Secrets::Read).unwrap()) {
        Err(error) => {
            let told = format!("{error:#}");
            assert!(
                told.contains("tests[0]: this test does not hold: ") && told.contains("acl_records[seq 10]"),
                "{told}"
            );
            return;
        }
        Ok(app) => app,
    };
    let refused = "dockwarden_rules_refused{source=\"acl_records\",document=\"tests[0]\"} 1";
    let began = Instant::now();
    while !app.metrics_text(time::OffsetDateTime::now_utc()).unwrap().contains(refused) {
        assert!(began.elapsed() < Duration::from_secs(10), "nobody is told");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(app.snapshot().access.freshness().iter().all(|(_, freshness)| freshness.age.is_none()));
}

/// The command asks the rules that are kept elsewhere too, and counts for each list by itself.
#[tokio::test]
async fn coverage_tells_the_rules_of_one_section_from_those_of_another() {
    let folder = Folder::new();
    let records = open(&Settings::sqlite(folder.path("dockwarden.db")));
    records.prepare().await.unwrap();
    records.replace_rules("[{\"seq\": 10, \"match\": {}, \"actions\": [\"pull\"]}]", Version(0)).await.unwrap();
    let file = folder.configure(
        "acl:\n  - {match: {name: \"team/*\"}, actions: [push]}\nacl_records: {}\ntests:\n  - {as: alice, ask: [\"repository:team/app:push\", \"repository:team/lib:push\"], want: [push]}\n  - {as: alice, ask: \"repository:other:pull\", want: [pull]}\n",
    );
    let told = std::process::Command::new(env!("CARGO_BIN_EXE_dockwarden"))
        .args(["test", file.to_str().unwrap(), "--coverage", "--min", "100", "--json"])
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"));
    let each: Vec<(&str, u64, u64)> = said["coverage"]["each"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            (one["source"].as_str().unwrap(), one["decided"].as_u64().unwrap(), one["shadowed"].as_u64().unwrap())
        })
        .collect();
    assert_eq!((told.status.code(), each), (Some(0), vec![("acl", 2, 0), ("acl_records", 1, 2)]), "{said}");
}

/// Tests that there was no time for promise nothing.
#[tokio::test]
async fn tests_that_were_not_reached_do_not_hold() {
    let bed = Bed::with(&config("pull"));
    let snapshot = bed.app.snapshot();
    let chain = snapshot.access.chain(snapshot.tests.iter().map(|test| &test.account)).unwrap();
    for (most, outcome, failed) in
        [(Duration::ZERO, Outcome::NotReached, 1), (Duration::from_secs(60), Outcome::Holds, 0)]
    {
        let run = run(&snapshot.tests, &chain, &chain.in_use(), most);
        assert_eq!((&run.verdicts[0].outcome, run.failed().count()), (&outcome, failed));
    }
}

/// Check 10: what was counted belongs to the rule, wherever it stands, after a reload and in another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_10_uses_follow_the_rule_and_not_its_place() {
    let rules = |first: &str, second: &str| {
        format!(
            "acl:\n  - {first}\n  - {second}\n  - {{match: {{name: none}}, actions: [], comment: nobody}}\nrecords: {{sqlite: $DIR/dockwarden.db}}\n"
        )
    };
    let (web, api) = (
        "{match: {name: \"web/*\"}, actions: [pull], comment: web}",
        "{match: {name: \"api/*\"}, actions: [pull, push]}",
    );
    let bed = Bed::with(&rules(web, api));
    bed.app.prepare().await.unwrap();
    let file = bed.folder.path("config.yml");
    let asked = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dockwarden"));
        command.args(["acl", "unused", file.to_str().unwrap(), "--output", "json"]).output().unwrap()
    };
    let unused = || {
        let output = asked();
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let rules = said["unused"].as_array().unwrap().clone();
        (output.status.code(), rules, said["since"].is_string())
    };
    // Nobody asked yet: that says nothing of any rule.
    let nothing = asked();
    let said = String::from_utf8_lossy(&nothing.stderr);
    assert!(nothing.status.code() == Some(1) && nothing.stdout.is_empty(), "{nothing:?}");
    assert!(said.contains("nothing is counted yet: no server has written"), "{said}");
    for _ in 0..2 {
        bed.grants(ALICE, "repository:web/app:pull").await;
    }
    let id = {
        let log = Log::start(Form::Json);
        bed.grants(ALICE, "repository:web/app:pull").await;
        let told = log.text();
        let line = told.lines().find(|line| line.contains("decided")).unwrap_or_else(|| panic!("{told}")).to_owned();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["rule"], "acl[0] web");
        line["rule.id"].as_str().unwrap().to_owned()
    };
    write_uses(&bed.app).await;
    // Reordered, and with another comment.
    bed.folder.configure(&rules(api, &web.replace("comment: web", "comment: the web")));
    let app = Arc::clone(&bed.app);
    assert_eq!(tokio::task::spawn_blocking(move || app.reload()).await.unwrap(), Reload::Done);
    let (status, found, since) = unused();
    let numbers: Vec<(u64, bool)> =
        found.iter().map(|one| (one["rule"].as_u64().unwrap(), one["refuses"].as_bool().unwrap())).collect();
    assert_eq!((status, numbers, since), (Some(3), vec![(0, false), (2, true)], true));
    assert!(found.iter().all(|one| one["rule_id"] != id.as_str()), "{found:?} and {id}");
    // Another server goes on with the count.
    drop(bed.app.snapshot());
    let records = open(&Settings::sqlite(bed.folder.path("dockwarden.db")));
    assert_eq!(
        records.rule_uses().await.unwrap().iter().map(|one| (one.rule.to_string(), one.uses)).collect::<Vec<_>>(),
        [(id, 3)]
    );
    bed.grants(ALICE, "repository:api/app:pull").await;
    write_uses(&bed.app).await;
    assert_eq!(unused().1.len(), 1, "only the refusal is left");
}

/// The same questions over HTTP. Each needs its own word, and changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tests_are_run_and_rules_are_checked_over_http() {
    let bed_of = |actions: &str| {
        Bed::with(&format!(
            "api: {{listen: main}}\nacl:\n  - {{match: {{type: dockwarden, name: policy, account: alice}}, actions: [{actions}]}}\n  - {{match: {{name: \"team/*\"}}, actions: [pull]}}\ntests: [{{as: alice, ask: \"{ASK}\", want: [pull]}}]\n"
        ))
    };
    let ask = async |bed: &Bed, what: &str, body: &str| {
        let asked =
            bed.request(Method::POST, &format!("/api/v1/policy:{what}")).header("content-type", "application/yaml");
        let reply = asked.body(body).by(ALICE).send().await;
        (reply.status, reply.json())
    };
    for (actions, check, test) in [("check", 200, 403), ("test", 403, 200), ("\"*\"", 403, 403)] {
        let bed = bed_of(actions);
        assert_eq!((ask(&bed, "check", "{}").await.0, ask(&bed, "test", "{}").await.0), (check, test), "{actions}");
    }
    let bed = bed_of("check, test");
    let anonymous = bed.request(Method::POST, "/api/v1/policy:test").body("{}").send().await;
    assert_eq!(anonymous.status, 401);
    // Those in use, and others.
    let (status, told) = ask(&bed, "test", "{}").await;
    assert_eq!((status, &told["tests"], &told["failed"]), (200, &1.into(), &0.into()), "{told}");
    let other = "acl: [{match: {name: \"team/*\"}, actions: [push], comment: other}]";
    let (_, told) = ask(&bed, "test", other).await;
    assert_eq!((&told["failed"], &told["results"][0]["comment"]), (&1.into(), &"other".into()), "{told}");
    let (_, told) = ask(&bed, "test", "tests: [{as: bob, ask: \"repository:team/x:push\", want: [push]}]").await;
    assert_eq!((&told["failed"], &told["results"][0]["outcome"]), (&1.into(), &"differs".into()), "{told}");
    assert_eq!(bed.grants(ALICE, ASK).await, ["repository:team/app:pull"], "nothing has changed");
    // What is wrong is said with its line.
    let (status, told) = ask(&bed, "check", "acl:\n  - match: {}\n    actions: [Pull]\ntests: [{as: a}]\n").await;
    assert_eq!((status, told["problems"].as_array().unwrap().len()), (200, 3), "{told}");
    assert_eq!((&told["problems"][0]["line"], &told["problems"][0]["path"]), (&3.into(), &"acl[0].actions".into()));
    // What is probably not meant is said as by the command.
    let twice =
        "acl:\n  - {match: {name: a}, actions: [pull]}\n  - {match: {name: a, account: alise}, actions: [push]}\n";
    let (_, told) = ask(&bed, "check", twice).await;
    assert_eq!((&told["problems"], &told["warnings"][0]["line"]), (&serde_json::json!([]), &3.into()), "{told}");
    let said = told["warnings"].to_string();
    assert!(said.contains("never decides: acl[0] matches everything") && said.contains("alise"), "{told}");
    assert_eq!(ask(&bed, "test", "acl: [{match: {}, actions: [Pull]}]").await.0, 400);
    assert_eq!(ask(&bed, "check", "acl: [").await.0, 400);
    // As JSON, and as nothing else.
    let json = bed.request(Method::POST, "/api/v1/policy:check").header("content-type", "application/json");
    assert_eq!(json.body("{\"acl\": []}").by(ALICE).send().await.status, 200);
    let form = bed.post("/api/v1/policy:check", "acl=").by(ALICE).send().await;
    assert_eq!(form.status, 415);
    let long = format!("# {}", "a".repeat(256 * 1024));
    assert_eq!(ask(&bed, "check", &long).await.0, 413);
}
