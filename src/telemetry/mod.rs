//! Telemetry: a span for each request and all metrics, sent to a collector of OpenTelemetry as OTLP over HTTP. It is a best effort:
//! no answer ever waits for it.
//!
//! The messages are `opentelemetry-proto`'s. Its SDK's exporters read variables of the environment, send again by themselves,
//! and do not tell how much they drop.

mod collector;
mod numbers;
mod settings;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as SpanStatus;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{info, warn};

use crate::metrics::Metrics;
use crate::random;
use collector::Collector;
pub(crate) use settings::{NAME, read};
pub use settings::{Settings, Signal};

/// Spans that wait to be sent: what a collector that is away or slow costs in memory is bounded by them. Further ones are dropped and
/// counted.
const WAITING: usize = 4096;
/// At most so many are sent together.
const TOGETHER: usize = 512;
/// How long they come together.
const GATHERED_FOR: Duration = Duration::from_millis(500);

/// The caller's span, of a `traceparent` header (W3C Trace Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    trace: [u8; 16],
    span: [u8; 8],
}

impl Parent {
    /// Reads the header's value. What is not one is nobody's: a request is never refused for it.
    pub fn parse(text: &str) -> Option<Parent> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Later versions may have more at the end.
        let is_known = version == "00" && parts.next().is_none();
        let is_later = version.len() == 2 && version != "00" && version != "ff";
        if !(is_known || is_later) || flags.len() != 2 {
            return None;
        }
        let (trace, span) = (bytes_of_hex(trace)?, bytes_of_hex(span)?);
        (trace != [0; 16] && span != [0; 8]).then_some(Parent { trace, span })
    }
}

/// Bytes in lower-case hexadecimal digits, exactly so many.
fn bytes_of_hex<const COUNT: usize>(text: &str) -> Option<[u8; COUNT]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?)).collect();
    bytes?.try_into().ok()
}

/// A request that was answered, as its span tells of it. Nothing in it comes from the client but the caller's span.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The method, or `_OTHER`.
    pub method: &'static str,
    /// The address as it is documented, without what a client put into it.
    pub route: &'static str,
    /// The reply's status.
    pub status: u16,
    /// The id of the decision.
    pub decision: Option<String>,
    /// The caller's span.
    pub parent: Option<Parent>,
    /// From the request's head to the reply's.
    pub took: Duration,
    /// When the reply began.
    pub at: OffsetDateTime,
}

/// What tells the collector.
pub struct Telemetry {
    collector: Collector,
    settings: Settings,
    spans: mpsc::Sender<Span>,
    /// The other end, until it is sent.
    waiting: Mutex<Option<mpsc::Receiver<Span>>>,
    metrics: Metrics,
    started: OffsetDateTime,
}

impl Telemetry {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// No TLS can be made of the authorities that the collector's certificate may be from.
    pub fn open(settings: Settings, metrics: &Metrics, now: OffsetDateTime) -> anyhow::Result<Telemetry> {
        let (spans, waiting) = mpsc::channel(WAITING);
        Ok(Telemetry {
            collector: Collector::new(&settings)?,
            settings,
            spans,
            waiting: Mutex::new(Some(waiting)),
            metrics: metrics.clone(),
            started: now,
        })
    }

    /// Takes note of a request. Where too many wait already, it is dropped and counted.
    pub fn answered(&self, request: Answered) {
        if !self.settings.sends(Signal::Traces) {
            return;
        }
        let sent = span(request).is_some_and(|span| self.spans.try_send(span).is_ok());
        if !sent {
            self.metrics.telemetry_dropped(1);
        }
    }

    /// Sends what there is, until it is dropped. `numbers` gives all metrics as text.
    pub async fn send(&self, numbers: impl Fn() -> Option<String>) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut waiting) = waiting else { return };
        let mut rounds = interval(self.settings.interval);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut spans, mut is_away) = (Vec::new(), false);
        loop {
            let sent = tokio::select! {
                count = waiting.recv_many(&mut spans, TOGETHER) => {
                    if count == 0 {
                        return;
                    }
                    sleep(GATHERED_FOR).await;
                    while spans.len() < TOGETHER && let Ok(span) = waiting.try_recv() {
                        spans.push(span);
                    }
                    self.send_spans(std::mem::take(&mut spans)).await
                }
                _ = rounds.tick(), if self.settings.sends(Signal::Metrics) => match numbers() {
                    Some(text) => self.send_numbers(&text).await,
                    None => continue,
                },
            };
            match (sent, is_away) {
                (Ok(()), true) => {
                    info!(collector = %self.collector.origin(), "the collector takes telemetry again");
                    is_away = false;
                }
                (Err(cause), false) => {
                    warn!(reason = "telemetry_not_sent", collector = %self.collector.origin(), cause,
                        "the collector does not take telemetry: spans are dropped until it does, and nothing else changes");
                    is_away = true;
                }
                (Ok(()), false) | (Err(_), true) => {}
            }
        }
    }

    async fn send_spans(&self, spans: Vec<Span>) -> Result<(), String> {
        let count = spans.len() as u64;
        let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..ScopeSpans::default() }];
        let resource = Some(self.resource());
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
        };
        match self.collector.post("v1/traces", request.encode_to_vec()).await {
            Ok(reply) => {
                let reply = ExportTraceServiceResponse::decode(reply).unwrap_or_default();
                let refused = reply.partial_success.map_or(0, |partly| partly.rejected_spans);
                self.metrics.telemetry_dropped(u64::try_from(refused).unwrap_or_default());
                Ok(())
            }
            Err(cause) => {
                self.metrics.telemetry_dropped(count);
                Err(cause)
            }
        }
    }

    /// What could not be sent is in the next ones: they are totals.
    async fn send_numbers(&self, text: &str) -> Result<(), String> {
        #[expect(clippy::disallowed_methods, reason = "the numbers are of this moment, and of no request")]
        let now = OffsetDateTime::now_utc();
        let metrics = numbers::from_text(text, nanoseconds(self.started), nanoseconds(now));
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }];
        let resource = Some(self.resource());
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }],
        };
        self.collector.post("v1/metrics", request.encode_to_vec()).await.map(drop)
    }

    fn resource(&self) -> Resource {
        let attributes = vec![
            word("service.name", self.settings.service_name.clone()),
            word("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        Resource { attributes, ..Resource::default() }
    }
}

fn scope() -> InstrumentationScope {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    InstrumentationScope { name: "dockwarden".to_owned(), version, ..InstrumentationScope::default() }
}

fn value(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn word(key: &str, text: String) -> KeyValue {
    value(key, any_value::Value::StringValue(text))
}

/// Since 1970.
fn nanoseconds(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp_nanos()).unwrap_or_default()
}

/// The span of a request; `None` where the system gives no random bytes for its id.
fn span(request: Answered) -> Option<Span> {
    let Answered { method, route, status, decision, parent, took, at } = request;
    let span_id = random::bytes::<8>().ok()?.to_vec();
    let (trace_id, parent_span_id) = match parent {
        Some(Parent { trace, span }) => (trace.to_vec(), span.to_vec()),
        None => (random::bytes::<16>().ok()?.to_vec(), Vec::new()),
    };
    let mut attributes = vec![
        word("http.request.method", method.to_owned()),
        word("http.route", route.to_owned()),
        value("http.response.status_code", any_value::Value::IntValue(i64::from(status))),
    ];
    attributes.extend(decision.map(|id| word("dockwarden.decision.id", id)));
    let ended = nanoseconds(at);
    Some(Span {
        trace_id,
        span_id,
        parent_span_id,
        name: format!("{method} {route}"),
        kind: SpanKind::Server.into(),
        start_time_unix_nano: ended.saturating_sub(u64::try_from(took.as_nanos()).unwrap_or_default()),
        end_time_unix_nano: ended,
        attributes,
        // By OpenTelemetry's conventions a client's mistake is no error of a server.
        status: (status >= 500).then(|| Status { code: SpanStatus::Error.into(), ..Status::default() }),
        ..Span::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_span_is_read_and_nothing_else_is_taken_for_one() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        for (text, is_one) in [
            (format!("00-{trace}-{span}-01"), true),
            (format!("00-{trace}-{span}-00"), true),
            (format!("01-{trace}-{span}-01-more"), true),
            (format!("00-{trace}-{span}-01-more"), false),
            (format!("ff-{trace}-{span}-01"), false),
            (format!("00-{}-{span}-01", "0".repeat(32)), false),
            (format!("00-{trace}-{}-01", "0".repeat(16)), false),
            (format!("00-{}-{span}-01", trace.to_uppercase()), false),
            (format!("00-{trace}0-{span}-01"), false),
            (format!("00-{trace}-{span}"), false),
            (format!("00-{trace}-ä{}-01", "0".repeat(14)), false),
            (String::new(), false),
        ] {
            let parent = Parent::parse(&text);
            assert_eq!(parent.is_some(), is_one, "{text}");
            assert!(parent.is_none_or(|parent| parent.trace[..2] == [0x0a, 0xf7] && parent.span[..2] == [0xb7, 0xad]));
        }
    }
}
