//! Each outcome is among the metrics before the first request: `increase()` does not see the first of what was not there.

use std::collections::BTreeSet;
use std::path::Path;

use crate::bed::Bed;

/// The reasons in a file of ours.
fn reasons(file: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    let reasons = in_shapes(&std::fs::read_to_string(path).unwrap());
    assert!(reasons.len() > 4, "{file}: {reasons:?}");
    reasons
}

/// The reasons in a source text that errors have: the texts in small letters in functions that make a `Shape`.
pub(super) fn in_shapes(text: &str) -> BTreeSet<String> {
    let mut reasons = BTreeSet::new();
    let is_reason = |text: &&str| !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
    for after in text.split("-> ").filter(|after| after.starts_with("Shape {") || after.starts_with("(Shape, ")) {
        let body = after.split("\n    }\n").next().unwrap().split("\n}\n").next().unwrap();
        reasons.extend(body.split('"').skip(1).step_by(2).filter(is_reason).map(str::to_owned));
    }
    reasons
}

#[tokio::test]
async fn every_outcome_begins_at_0() {
    let more = "forward_auth: {trusted_proxies: [unix], service: registry}\n\
                gateway: {service: registry, upstreams: [{url: \"http://127.0.0.1:1\", name: one}]}\n";
    let bed = Bed::with(more);
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<String>>();
    let text = bed.get("/metrics").send().await.ok().text();
    let all = |files: &[&str], others: &[&str]| -> BTreeSet<String> {
        let others = others.iter().map(|other| (*other).to_owned());
        files.iter().flat_map(|file| reasons(file)).chain(others).collect()
    };
    let decided = ["login", "granted", "partly_granted", "nothing_granted"];
    let token = all(&["http/error.rs", "http/shape.rs"], &decided);
    let forward_auth = all(&["http/forward_auth.rs", "http/visit.rs", "http/shape.rs"], &["allowed"]);
    let of_gateway = all(&["http/gateway/refusal.rs", "http/visit.rs", "http/shape.rs"], &["2xx"]);
    let search = all(&["http/search.rs", "http/visit.rs", "http/shape.rs"], &["done"]);
    let at_one = [
        "2xx",
        "3xx",
        "4xx",
        "5xx",
        "client_gone",
        "client_stalled",
        "upstream_broke",
        "upstream_stalled",
        "busy",
        "read_only",
        "target_refused",
        "upstream_credentials",
        "upstream_refused_us",
        "upstream_denied_us",
        "upstream_unreachable",
        "upstream_timeout",
    ];
    let counters = token
        .iter()
        .map(|outcome| format!("dockwarden_token_requests_total{{outcome=\"{outcome}\"}} 0"))
        .chain(forward_auth.iter().map(|own| format!("dockwarden_forward_auth_requests_total{{outcome=\"{own}\"}} 0")))
        .chain(search.iter().map(|own| format!("dockwarden_search_requests_total{{outcome=\"{own}\"}} 0")))
        .chain(
            of_gateway
                .iter()
                .map(|own| format!("dockwarden_gateway_requests_total{{upstream=\"\",outcome=\"{own}\"}} 0")),
        )
        .chain(
            at_one
                .iter()
                .map(|own| format!("dockwarden_gateway_requests_total{{upstream=\"one\",outcome=\"{own}\"}} 0")),
        )
        .chain(["sent", "received"].map(|direction| {
            format!("dockwarden_gateway_transferred_bytes_total{{upstream=\"one\",direction=\"{direction}\"}} 0")
        }));
    let there = lines(&text);
    let missing: Vec<String> = counters.filter(|line| !there.contains(line)).collect();
    assert!(missing.is_empty(), "{missing:#?} not in\n{text}");

    // A second upstream comes with a reload.
    bed.folder
        .configure(&more.replace("name: one}", "name: one, prefix: a}, {url: \"http://127.0.0.1:1\", name: two}"));
    bed.app.reload();
    let text = bed.get("/metrics").send().await.ok().text();
    let line = "dockwarden_gateway_requests_total{upstream=\"two\",outcome=\"upstream_unreachable\"} 0";
    assert!(lines(&text).contains(line), "{text}");
}
