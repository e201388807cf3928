//! The API as somebody who has only its description uses it: schemathesis, which tries what the description allows and what it forbids.

use std::fs;

use crate::support::dockwarden::{self, Dockwarden, password};
use crate::support::keys::{self, Kind};
use crate::support::{http, part, scratch, visit};

/// One who may do everything to everybody's secrets, and so reaches what lies behind the rights.
const RULES: &str = "acl:\n  - match: {type: dockwarden, account: waldi}\n    actions: [list, show, create, change, renew, revoke, check, test, diff, who-can]\n";

#[test]
fn nothing_that_schemathesis_sends_is_answered_with_a_500_or_against_the_description() {
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
        .args(["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "60", "--seed", "1"])
        .args(["--generation-deterministic", "--suppress-health-check", "all", "--warnings", "off", "--no-color"])
        .arg("--report-json-path")
        .arg(&report);
    let said = part::run(&mut schemathesis).well();
    // It came to what lies behind: secrets were made, and all operations were tried but one, which schemathesis does not count.
    assert!(said.stdout.contains("Tested: 49"), "{}", said.text);
    assert!(fs::metadata(&records).unwrap().len() > 0);
    let metrics = http::exchange(&server.address, &http::request("GET", "/metrics", &server.address, &[], b"")).text();
    let done = metrics.lines().find_map(|line| line.strip_prefix("dockwarden_api_requests_total{outcome=\"done\"} "));
    assert!(done.unwrap().parse::<u64>().unwrap() > 20, "{metrics}");
    assert!(server.process.log().contains("a secret was made"));
}
