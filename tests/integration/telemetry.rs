//! Spans and metrics reach a collector, and whatever it does, no answer waits for it. The collector is a stand-in that decodes
//! what OpenTelemetry's own crate has as the messages.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dockwarden::app::tell_collector;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::sync::mpsc;

use crate::bed::{ALICE, Bed};

/// How long anything may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// One message: the request's head, and its body.
type Posted = (String, Vec<u8>);

/// A collector that answers each message so; and what it got.
fn collector(reply: &'static [u8]) -> (String, mpsc::UnboundedReceiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (posted, got) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let posted = posted.clone();
            thread::spawn(move || serve(&stream.unwrap(), reply, &posted));
        }
    });
    (address, got)
}

fn serve(stream: &TcpStream, reply: &[u8], posted: &mpsc::UnboundedSender<Posted>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let lower = head.to_lowercase();
        let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).ok()?;
        let mut writer = stream;
        write!(writer, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", reply.len()).ok()?;
        writer.write_all(reply).ok()?;
        posted.send((head, body)).ok()?;
    }
}

async fn next(got: &mut mpsc::UnboundedReceiver<Posted>) -> Posted {
    tokio::time::timeout(PATIENCE, got.recv()).await.unwrap().unwrap()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found =
        attributes.iter().find(|attribute| attribute.key == key).unwrap_or_else(|| panic!("{key}: {attributes:?}"));
    match found.value.as_ref().unwrap().value.as_ref().unwrap() {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is in the metric's text.
fn dropped(bed: &Bed) -> u64 {
    let text = bed.app.metrics_text(time::OffsetDateTime::now_utc()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("dockwarden_telemetry_spans_dropped_total "));
    line.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_collector_gets_a_span_for_each_request_and_nothing_that_a_client_wrote() {
    let (address, mut got) = collector(b"");
    let bed = Bed::with(&format!(
        "telemetry: {{endpoint: \"{address}/otlp/\", signals: [traces], service_name: gate, authorization: Basic of-the-collector}}\n"
    ));
    let telling = tokio::spawn(tell_collector(Arc::clone(&bed.app)));
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let granted = bed
        .get("/auth?service=registry&scope=repository:secret-name:pull")
        .by(ALICE)
        .header("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"))
        .send()
        .await;
    let refused = bed.get("/auth?service=registry").basic("alice", "wrong-password").send().await;
    bed.get("/healthz").send().await;

    let mut spans: Vec<Span> = Vec::new();
    let mut all = Vec::new();
    while spans.len() < 2 {
        let (head, body) = next(&mut got).await;
        assert!(head.starts_with("POST /otlp/v1/traces HTTP/1.1\r\n"), "{head}");
        let head = head.to_lowercase();
        assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
        assert!(head.contains("authorization: basic of-the-collector\r\n"), "{head}");
        let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
        all.extend(body);
        for resource in request.resource_spans {
            assert_eq!(text(&resource.resource.unwrap().attributes, "service.name"), "gate");
            spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    let [first, second] = &spans[..] else { panic!("{spans:?}") };
    for (span, reply, status) in [(first, &granted, "200"), (second, &refused, "401")] {
        assert_eq!(span.name, "GET /auth");
        assert_eq!(text(&span.attributes, "http.response.status_code"), status);
        assert_eq!(text(&span.attributes, "dockwarden.decision.id"), reply.header("x-decision-id"));
        assert!(span.start_time_unix_nano < span.end_time_unix_nano, "{span:?}");
        assert!(span.status.is_none(), "{span:?}");
    }
    assert_eq!((hex(&first.trace_id).as_str(), hex(&first.parent_span_id).as_str()), (trace, "b7ad6b7169203331"));
    assert!(second.trace_id.len() == 16 && second.parent_span_id.is_empty() && second.trace_id != first.trace_id);
    let all = String::from_utf8_lossy(&all);
    for word in ["alice", "secret-name", "wrong-password"] {
        assert!(!all.contains(word), "{word} is in {all}");
    }
    assert_eq!(dropped(&bed), 0);
    telling.abort();
}

#[tokio::test]
async fn a_collector_gets_all_metrics_with_the_values_that_prometheus_reads() {
    let (address, mut got) = collector(b"");
    let bed = Bed::with(&format!("telemetry: {{endpoint: \"{address}\", signals: [metrics]}}\n"));
    for _ in 0..3 {
        bed.get("/auth?service=registry").by(ALICE).send().await.ok();
    }
    let telling = tokio::spawn(tell_collector(Arc::clone(&bed.app)));
    let (head, body) = next(&mut got).await;
    assert!(head.starts_with("POST /v1/metrics HTTP/1.1\r\n"), "{head}");
    let request = ExportMetricsServiceRequest::decode(&body[..]).unwrap();
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    let metrics: Vec<_> = scopes.flat_map(|scope| scope.metrics).collect();
    let find = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap().data.clone().unwrap();

    let Data::Sum(requests) = find("dockwarden_token_requests") else { panic!("{metrics:?}") };
    let counts = requests.data_points.iter().map(|point| match point.value {
        Some(number_data_point::Value::AsInt(count)) => count,
        other => panic!("{other:?}"),
    });
    assert_eq!(counts.sum::<i64>(), 3);
    let Data::Histogram(took) = find("dockwarden_token_request_seconds") else { panic!("{metrics:?}") };
    let [point] = &took.data_points[..] else { panic!("{took:?}") };
    assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (3, 3));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    // Each metric of the text that has a sample is there.
    let written = bed.app.metrics_text(time::OffsetDateTime::now_utc()).unwrap();
    let with_samples: std::collections::BTreeSet<&str> = written
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| {
            let is_its = |rest: &str| ["{", " ", "_total", "_bucket"].iter().any(|sign| rest.starts_with(sign));
            written.lines().any(|line| line.strip_prefix(name).is_some_and(is_its))
        })
        .collect();
    let sent = metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(with_samples, sent);
    telling.abort();
}

/// More requests than there may be spans that wait, at a collector that does not answer, and at one that is not there: each is
/// answered as if there were none, and what was not sent is counted.
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_waits_for_a_collector_that_is_away_or_silent() {
    const REQUESTS: u64 = 6000;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    // Not a port that was free a moment ago: another test may have it by now.
    let gone = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 1));
    let time = async |config: &str| {
        let bed = Bed::with(config);
        let telling = tokio::spawn(tell_collector(Arc::clone(&bed.app)));
        let began = Instant::now();
        for _ in 0..REQUESTS {
            bed.get("/.well-known/jwks.json").send().await.ok();
        }
        (began.elapsed(), bed, telling)
    };
    let (without, ..) = time("").await;
    for address in [silent.local_addr().unwrap(), gone] {
        let (with, bed, telling) = time(&format!("telemetry: {{endpoint: \"http://{address}\"}}\n")).await;
        // Waiting even once would be far more.
        assert!(with < without * 3 + Duration::from_secs(2), "{with:?} and {without:?} without");
        let dropped = dropped(&bed);
        assert!((1..=REQUESTS).contains(&dropped), "{dropped}");
        telling.abort();
    }
}

#[tokio::test]
async fn spans_that_a_collector_refuses_are_counted() {
    let partial_success = Some(ExportTracePartialSuccess { rejected_spans: 1, error_message: "too old".to_owned() });
    let reply = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    let (address, mut got) = collector(reply.leak());
    let bed = Bed::with(&format!("telemetry: {{endpoint: \"{address}\", signals: [traces]}}\n"));
    let telling = tokio::spawn(tell_collector(Arc::clone(&bed.app)));
    bed.get("/.well-known/jwks.json").send().await.ok();
    next(&mut got).await;
    let began = Instant::now();
    while dropped(&bed) != 1 {
        assert!(began.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    telling.abort();
}
