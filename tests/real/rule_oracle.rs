//! Random questions decided by `dockwarden explain` and by a second evaluator, `rules`, which was written in Go from
//! `docs/reference/rules.md` alone: both must name the same rule and grant the same. `make differential` asks ten million.
//! Random policies are edited too, and `dockwarden diff` must tell whatever the second evaluator decides differently.

use serde_json::Value;

use crate::support::{dockwarden, part};

/// A matter of seconds, with the unoptimized program too. `RULE_ORACLE_CASES` asks for more.
const CASES: &str = "200000";
/// The same cases every time, so that a failure can be repeated. `RULE_ORACLE_SEED` asks for others.
const SEED: &str = "20261122";

fn chosen(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

#[test]
fn decisions_are_those_the_policy_page_describes() {
    let said = part::run(part::command("rules").arg("-product").arg(dockwarden::program()).args([
        "-cases",
        &chosen("RULE_ORACLE_CASES", CASES),
        "-seed",
        &chosen("RULE_ORACLE_SEED", SEED),
    ]))
    .well();
    println!("{}", said.stdout);
    let summary: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(summary["disagreements"], 0, "{}", said.text);
    // Cases that never match, or are always granted as a whole, would prove little.
    for share in ["matched", "granted_all", "granted_part", "granted_nothing"] {
        assert!(summary[share].as_f64().unwrap() > 0.1, "{share} in {}", said.stdout);
    }
    let cases = summary["cases"].as_f64().unwrap();
    for what in
        ["glob", "regex", "label in glob", "label in regex", "group in regex", "several placeholders", "labels", "ip"]
    {
        let decided = summary["decided_by"][what].as_f64().unwrap();
        assert!(decided > cases / 100.0, "rules with {what} decide {decided} of {cases}");
    }
}

/// Check 16 of the reference: no difference is missed, and each that is told is one.
#[test]
fn diff_tells_what_the_policy_page_decides_differently() {
    let said = part::run(part::command("rules").arg("-product").arg(dockwarden::program()).args([
        "-compare",
        "-each",
        "200",
        "-cases",
        &chosen("RULE_ORACLE_EDITED_CASES", "20000"),
        "-seed",
        &chosen("RULE_ORACLE_SEED", SEED),
    ]))
    .well();
    println!("{}", said.stdout);
    let summary: Value = serde_json::from_str(&said.stdout).unwrap();
    let number = |of: &str| summary[of].as_u64().unwrap();
    assert_eq!((number("missed"), number("wrong")), (0, 0), "{}", said.text);
    let enough = number("confirmed") >= number("pairs")
        && number("differing") * 20 > number("questions")
        && number("left") * 10 < number("differing");
    assert!(enough, "{}", said.stdout);
}
