//! The API as somebody who has only its description uses it: schemathesis, which tries what the description allows and what it forbids.

use std::fs;
use std::path::PathBuf;

use crate::support::dockwarden::{self, Dockwarden, password};
use crate::support::keys::{self, Kind};
use crate::support::{at_length, http, part, scratch, visit};

/// One who may do everything to everybody's secrets, and so reaches what lies behind the rights.
const RULES: &str = "acl:\n  - match: {type: dockwarden, account: waldi}\n    actions: [list, show, create, change, renew, revoke, check, test, diff, who-can, explain]\n";

/// What is below these addresses: registries, the directory, and how the server is.
const MANAGED: &str = "^/(registries|pulls|overview|decisions|groups|apps|services|users)(/|$)";

#[test]
fn nothing_that_schemathesis_sends_about_secrets_and_policies_is_answered_with_a_500_or_against_the_description() {
    let (server, records) = tried(["--exclude-path-regex", MANAGED], 60, 13);
    assert!(fs::metadata(&records).unwrap().len() > 0);
    let metrics = http::exchange(&server.address, &http::request("GET", "/metrics", &server.address, &[], b"")).text();
    let done = metrics.lines().find_map(|line| line.strip_prefix("dockwarden_api_requests_total{outcome=\"done\"} "));
    assert!(done.unwrap().parse::<u64>().unwrap() > 20, "{metrics}");
    assert!(server.whole_log().contains("a secret was made"));
}

/// They are many: each has fewer examples than those of secrets, unless there is time.
#[test]
fn nothing_that_schemathesis_sends_about_registries_is_answered_with_a_500_or_against_the_description() {
    tried(["--include-path-regex", MANAGED], at_length(10), 41);
}

/// A server with the records in this file, after schemathesis has tried so many operations of it with so many examples each.
fn tried(which: [&str; 2], examples: usize, operations: usize) -> (Dockwarden, PathBuf) {
    let records = scratch::directory("records").join("dockwarden.db");
    let users = dockwarden::users(&[("waldi", "{team: [web]}")]);
    let policy = format!("{users}{RULES}records: {{sqlite: \"{}\"}}\napi: {{listen: main}}\n", records.display());
    let config = dockwarden::config(&keys::as_in_the_guide(Kind::P256), "", &policy);
    let server = Dockwarden::start(&config);
    let base = format!("http://{}/api/v1", server.address);
    let report = scratch::directory("schemathesis").join("report.json");

    let mut schemathesis = part::client("schemathesis");
    schemathesis
        .current_dir(scratch::directory("schemathesis"))
        .args(["run", &format!("{base}/openapi.json"), "--url", &base])
        .args(["--header", &format!("Authorization:{}", visit::basic("waldi", &password("waldi")))])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .args(which)
        .args([
            "--phases",
            "examples,coverage,fuzzing,stateful",
            "--max-examples",
            &examples.to_string(),
            "--seed",
            "1",
        ])
        .args(["--generation-deterministic", "--suppress-health-check", "all", "--warnings", "off", "--no-color"])
        .arg("--report-json-path")
        .arg(&report);
    let said = part::run(&mut schemathesis).well();
    assert!(said.stdout.contains(&format!("Tested: {operations}")), "{}", said.text);
    (server, records)
}
