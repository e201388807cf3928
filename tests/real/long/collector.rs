//! OpenTelemetry's own Collector takes what we send, by TLS and HTTP/2, and understands it.

use std::process::Command;

use crate::support::dockwarden::{self, Dockwarden, SERVICE};
use crate::support::keys::{self, Kind};
use crate::support::process::Process;
use crate::support::{http, part, port, scratch, visit};

/// The collector, which writes down all that came, and its port.
fn collector(pair: &keys::Chain) -> (Process, u16) {
    port::with_free(|[port]| {
        let config = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"127.0.0.1:{port}\", tls: {{cert_file: {}, key_file: {}}}}}}}}}}}\n\
             exporters: {{debug: {{verbosity: detailed, use_internal_logger: false}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
             traces: {{receivers: [otlp], exporters: [debug]}}\n    metrics: {{receivers: [otlp], exporters: [debug]}}\n",
            pair.both.display(),
            pair.leaf.key.display(),
        );
        let file = scratch::write(&scratch::directory("collector"), "config.yaml", &config);
        let mut serve = Command::new(part::path("long/collector"));
        serve.env_clear().arg("--config").arg(file);
        let process = Process::start("collector", &serve);
        let ready = |process: &Process| process.log().contains("Everything is ready").then_some(());
        process.up_or_ended("Everything is ready", ready).map(|()| (process, port))
    })
}

#[test]
fn the_collector_takes_spans_and_every_metric() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";
    let pair = keys::for_localhost();
    let (collector, port) = collector(&pair);
    let policy = format!(
        "{}acl: [{{match: {{account: alice}}, actions: [pull]}}]\ntelemetry: {{endpoint: \"https://localhost:{port}\", \
         ca_certificate: {}, interval: 1s, service_name: gate}}\n",
        dockwarden::users(&[("alice", "{}")]),
        pair.authority.display(),
    );
    let server = Dockwarden::start(&dockwarden::config(&keys::as_in_the_guide(Kind::P256), "", &policy));
    let target = format!("/auth?service={}&scope=repository:secret-name:pull", http::form_encode(SERVICE));
    let line = visit::basic("alice", &dockwarden::password("alice"));
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let headers = [("Authorization", line.as_str()), ("traceparent", &parent)];
    let reply = http::exchange(&server.address, &http::request("GET", &target, &server.address, &headers, b""));
    assert_eq!(reply.status, 200, "{}", reply.text());

    // A line that begins with this name, and ends with this value, whatever stands between them.
    let has = |log: &str, name: &str, value: &str| {
        log.lines().any(|line| line.trim_start_matches([' ', '-', '>']).starts_with(name) && line.ends_with(value))
    };
    let decision = format!(": Str({})", reply.header("x-decision-id").unwrap());
    for (name, value) in [
        ("service.name", ": Str(gate)"),
        ("Name", ": GET /auth"),
        ("Kind", ": Server"),
        ("Trace ID", TRACE),
        ("Parent ID", PARENT),
        ("http.route", ": Str(/auth)"),
        ("http.response.status_code", ": Int(200)"),
        ("dockwarden.decision.id", &decision),
    ] {
        collector.until(name, |collector| has(&collector.log(), name, value).then_some(()));
    }
    let page = http::exchange(&server.address, &http::request("GET", "/metrics", &server.address, &[], b"")).text();
    let names: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| page.lines().any(|line| line.starts_with(name)))
        .collect();
    assert!(names.len() > 20, "{page}");
    for name in names {
        collector.until(name, |collector| has(&collector.log(), "Name", &format!(": {name}")).then_some(()));
    }
    let log = collector.log();
    assert!(!log.contains("secret-name") && !log.contains("alice"), "{log}");
    assert!(!log.contains("\terror\t") && !log.contains("\twarn\t"), "{log}");
    assert!(page.contains("dockwarden_telemetry_spans_dropped_total 0\n"), "{page}");
    server.process.keeps_secrets();
}
