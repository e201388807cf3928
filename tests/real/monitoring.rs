//! Prometheus' own reader takes the scrape job, the alerts and each query of the dashboard, and the alerts go off when they should.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{part, scratch};

fn shipped() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring")
}

#[test]
fn the_alerts_go_off_when_they_should_and_only_then() {
    let promtool =
        |arguments: &[&str]| part::run(part::client("promtool").current_dir(shipped()).args(arguments)).well();
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["test", "rules", "alerts.test.yml"]);
    // The tests have all alerts go off: one that was added later is among them.
    let text = |name: &str| fs::read_to_string(shipped().join(name)).unwrap();
    let (alerts, tests) = (text("alerts.yml"), text("alerts.test.yml"));
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} is not tested");
    }
}

#[test]
fn prometheus_takes_each_query_of_the_dashboard() {
    let board: Value = serde_json::from_str(&fs::read_to_string(shipped().join("dashboard.json")).unwrap()).unwrap();
    let mut rules = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            // What Grafana puts in the place of its variables.
            let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "2m").replace("$instance", ".*");
            assert!(!query.contains('$'), "{query}");
            rules.push(serde_json::json!({"record": format!("query:{}", rules.len()), "expr": query}));
        }
    }
    assert!(rules.len() > 20, "{} queries", rules.len());
    // JSON is YAML.
    let file = serde_json::json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string();
    let directory = scratch::directory("dashboard");
    let file = scratch::write(&directory, "rules.yml", &file);
    part::run(part::client("promtool").args(["check", "rules"]).arg(file)).well();
}
