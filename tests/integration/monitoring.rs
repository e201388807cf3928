//! The alerts and the dashboard that are shipped: they ask only for metrics, labels and outcomes that the program has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::docs;

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring").join(name)).unwrap()
}

/// A query, and what is said about its result: texts that name its labels.
struct Query {
    place: String,
    expression: String,
    texts: String,
    /// How a label is written in the texts, before its name.
    label: &'static str,
}

fn queries_of_alerts() -> Vec<Query> {
    let text = shipped("alerts.yml");
    let alert = |block: &str| {
        let (name, rest) = block.split_once('\n').unwrap();
        let expression = rest.lines().find_map(|line| line.trim().strip_prefix("expr: ")).unwrap();
        Query { place: name.to_owned(), expression: expression.to_owned(), texts: rest.to_owned(), label: "$labels." }
    };
    text.split("- alert: ").skip(1).map(alert).collect()
}

fn queries_of_dashboard() -> Vec<Query> {
    let board: Value = serde_json::from_str(&shipped("dashboard.json")).unwrap();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            queries.push(Query {
                place: word(&panel["title"]),
                expression: word(&target["expr"]),
                texts: word(&target["legendFormat"]),
                label: "{{",
            });
        }
    }
    for variable in board["templating"]["list"].as_array().unwrap() {
        if let Some(expression) = variable["definition"].as_str() {
            let place = word(&variable["name"]);
            queries.push(Query { place, expression: expression.to_owned(), texts: String::new(), label: "{{" });
        }
    }
    queries
}

/// What the program says: each series by its name, with the values of its labels.
fn series(text: &str) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut all: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            let endings: &[&str] = match kind {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_sum", "_count"],
                "gauge" => &[""],
                other => panic!("{name} is a {other}"),
            };
            all.extend(endings.iter().map(|ending| (format!("{name}{ending}"), BTreeMap::new())));
        } else if let Some((name, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = all.get_mut(name).unwrap_or_else(|| panic!("{name} has no type"));
            for label in rest.rsplit_once('}').unwrap().0.split("\",") {
                let (label, value) = label.split_once("=\"").unwrap();
                labels.entry(label.to_owned()).or_default().insert(value.trim_end_matches('"').to_owned());
            }
        }
    }
    all
}

/// The name at the beginning of a text.
fn name(text: &str) -> &str {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_')).next().unwrap()
}

/// The metrics of an expression, each with what stands between its braces.
fn asked(expression: &str) -> Vec<(&str, &str)> {
    let metrics = expression.match_indices("dockwarden_").map(|(at, _)| &expression[at..]);
    metrics
        .map(|rest| {
            let metric = name(rest);
            let choice = rest[metric.len()..].strip_prefix('{').and_then(|choice| choice.split_once('}'));
            (metric, choice.map_or("", |(choice, _)| choice))
        })
        .collect()
}

#[tokio::test]
async fn alerts_and_dashboard_ask_for_what_the_program_has() {
    let has = series(&docs::all_metrics().await.unwrap());
    // What registries say is counted from the first event on; the page that a test holds to the program lists it.
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/metrics.md")).unwrap();
    let described = |metric: &str, word: &str| {
        page.lines().any(|line| line.contains(&format!("| `{metric}`")) && line.contains(&format!("`{word}`")))
    };
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for query in queries_of_alerts().into_iter().chain(queries_of_dashboard()) {
        let Query { place, expression, texts, label } = &query;
        // Prometheus adds these two to all that it reads.
        let mut labels = BTreeSet::from(["instance".to_owned(), "job".to_owned()]);
        for (metric, choice) in asked(expression) {
            used.insert(metric.to_owned());
            if !choice.contains("job=\"dockwarden\"") {
                wrong.push(format!("{place}: {metric} of any job"));
            }
            let Some(own) = has.get(metric) else {
                wrong.push(format!("{place}: there is no {metric}"));
                continue;
            };
            let of_page = ["service", "outcome"].into_iter().filter(|label| own.is_empty() && described(metric, label));
            labels.extend(own.keys().cloned().chain(of_page.map(str::to_owned)));
            for outcomes in choice.split("outcome=").skip(1) {
                for outcome in outcomes.trim_start_matches('~').split('"').nth(1).unwrap().split('|') {
                    let counted = own.get("outcome").is_some_and(|known| known.contains(outcome));
                    if !(counted || described(metric, outcome)) {
                        wrong.push(format!("{place}: {metric} never has the outcome {outcome}"));
                    }
                }
            }
        }
        let grouped = expression.split("by (").skip(1).flat_map(|by| by.split(')').next().unwrap().split(", "));
        let named = texts.split(label).skip(1).map(name);
        let unknown = grouped.chain(named).filter(|label| !labels.contains(*label));
        wrong.extend(unknown.map(|label| format!("{place}: {expression} has no label {label}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(used.len() > 25, "{used:?}");
}

/// Whoever is told by an alert reads about what it watches on the page of the metrics, and the other way round.
#[test]
fn each_metric_that_the_page_wants_an_alert_on_has_one() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/metrics.md")).unwrap();
    let table = page.split("\n## Alerts\n").nth(1).unwrap();
    let alerts = shipped("alerts.yml");
    let mut wanted: Vec<&str> = table.split('`').filter(|word| word.starts_with("dockwarden_")).collect();
    assert!(wanted.len() > 7, "{wanted:?}");
    wanted.retain(|metric| !alerts.contains(&format!("{metric}{{")));
    assert!(wanted.is_empty(), "no alert on {wanted:?}");
}
