//! The figures that monitoring reads, by Prometheus' names and units.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use time::OffsetDateTime;

use crate::app::Snapshot;
use crate::authn::password::Step;
use crate::breaker::Passage;
use crate::token::HeaderChoice;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Backend {
    backend: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendAnswer {
    backend: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Source {
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    source: &'static str,
    document: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Passed {
    upstream: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Moved {
    upstream: String,
    direction: &'static str,
}

/// Which way the bytes of a transfer go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the upstream.
    Sent,
    /// From the upstream.
    Received,
}

/// What a backend said to one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendOutcome {
    /// It is this account.
    Accepted,
    /// The account is known, and is not let in.
    Rejected,
    /// The account is not known there.
    NotMine,
    /// A rule decided.
    Decided,
    /// No rule matched.
    NoMatch,
    /// It could not find out.
    Error,
}

impl BackendOutcome {
    /// Its name in the figures.
    pub fn as_str(self) -> &'static str {
        match self {
            BackendOutcome::Accepted => "accepted",
            BackendOutcome::Rejected => "rejected",
            BackendOutcome::NotMine => "not_mine",
            BackendOutcome::Decided => "decided",
            BackendOutcome::NoMatch => "no_match",
            BackendOutcome::Error => "error",
        }
    }
}

/// The figures of one backend.
#[derive(Clone)]
pub struct BackendFigures {
    backend: &'static str,
    answers: Family<BackendAnswer, Counter>,
    answering: Histogram,
}

impl BackendFigures {
    /// It answered one question. Questions whose client went away before the answer are not told.
    pub fn answered(&self, outcome: BackendOutcome, took: Duration) {
        let labels = BackendAnswer { backend: self.backend, outcome: outcome.as_str() };
        self.answers.get_or_create(&labels).inc();
        self.answering.observe(took.as_secs_f64());
    }
}

/// All figures. Cloning shares them.
#[derive(Clone)]
pub struct Metrics {
    dropped_lines: Arc<dyn Fn() -> usize + Send + Sync>,
    requests: Family<Outcome, Counter>,
    forwarded: Family<Outcome, Counter>,
    passed: Family<Passed, Counter>,
    moved: Family<Moved, Counter>,
    reused: Counter,
    answering: Histogram,
    deciding: Histogram,
    hashing: Histogram,
    waiting: Histogram,
    backend_answers: Family<BackendAnswer, Counter>,
    backend_answering: Family<Backend, Histogram, fn() -> Histogram>,
    reloads: Counter,
    reload_failures: Counter,
    connections: Gauge,
    connections_refused: Counter,
    connections_not_http: Counter,
}

/// A connection that is open, until it is dropped.
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        let from_quarter_millisecond = || Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        Metrics {
            dropped_lines: Arc::new(|| 0),
            requests: Family::default(),
            forwarded: Family::default(),
            passed: Family::default(),
            moved: Family::default(),
            reused: Counter::default(),
            answering: from_quarter_millisecond(),
            // A decision takes microseconds.
            deciding: Histogram::new(exponential_buckets(0.000_001, 4.0, 12)),
            hashing: from_quarter_millisecond(),
            waiting: from_quarter_millisecond(),
            backend_answers: Family::default(),
            // From a look into memory to a program that takes seconds.
            backend_answering: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_001, 4.0, 13))),
            reloads: Counter::default(),
            reload_failures: Counter::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            connections_not_http: Counter::default(),
        }
    }
}

impl Metrics {
    /// Tells how many lines of the log were dropped, from now on.
    pub fn count_dropped_lines(&mut self, dropped: impl Fn() -> usize + Send + Sync + 'static) {
        self.dropped_lines = Arc::new(dropped);
    }

    /// Begins to count token requests with these outcomes, at 0: `increase()` does not see the first of what was not there
    /// before it.
    pub fn expect_token_outcomes(&self, outcomes: impl IntoIterator<Item = &'static str>) {
        begin(&self.requests, outcomes.into_iter().map(|outcome| Outcome { outcome }));
    }

    /// The same for questions of proxies.
    pub fn expect_forward_auth_outcomes(&self, outcomes: impl IntoIterator<Item = &'static str>) {
        begin(&self.forwarded, outcomes.into_iter().map(|outcome| Outcome { outcome }));
    }

    /// The same for requests to the gateway, of one upstream, with its bytes; or, if `upstream` is empty, of none.
    pub fn expect_gateway_outcomes(&self, upstream: &str, outcomes: impl IntoIterator<Item = &'static str>) {
        begin(&self.passed, outcomes.into_iter().map(|outcome| Passed { upstream: upstream.to_owned(), outcome }));
        if !upstream.is_empty() {
            for direction in [Direction::Sent, Direction::Received] {
                self.gateway_bytes(upstream, direction);
            }
        }
    }

    /// A token request was answered.
    pub fn answered(&self, outcome: &'static str, took: Duration) {
        self.requests.get_or_create(&Outcome { outcome }).inc();
        self.answering.observe(took.as_secs_f64());
    }

    /// A token was handed out again.
    pub fn reused(&self) {
        self.reused.inc();
    }

    /// A proxy was told about somebody's request.
    pub fn forward_auth_answered(&self, outcome: &'static str) {
        self.forwarded.get_or_create(&Outcome { outcome }).inc();
    }

    /// A request to the gateway was answered; `upstream` is empty where none was needed or found.
    pub fn gateway_answered(&self, upstream: &str, outcome: &'static str) {
        self.passed.get_or_create(&Passed { upstream: upstream.to_owned(), outcome }).inc();
    }

    /// Counts the bytes that go through the gateway one way.
    pub fn gateway_bytes(&self, upstream: &str, direction: Direction) -> Counter {
        let direction = match direction {
            Direction::Sent => "sent",
            Direction::Received => "received",
        };
        self.moved.get_or_create(&Moved { upstream: upstream.to_owned(), direction }).clone()
    }

    /// The rules were asked.
    pub fn decided(&self, took: Duration) {
        self.deciding.observe(took.as_secs_f64());
    }

    /// A password was checked, one step of it.
    pub fn checked(&self, step: Step) {
        match step {
            Step::Waited(took) => self.waiting.observe(took.as_secs_f64()),
            Step::Hashed(took) => self.hashing.observe(took.as_secs_f64()),
        }
    }

    /// The figures of a backend. Each outcome it can have is there from the beginning: an alarm can then tell "none"
    /// from "not known".
    pub fn backend(&self, backend: &'static str, outcomes: &[BackendOutcome]) -> BackendFigures {
        for outcome in outcomes {
            drop(self.backend_answers.get_or_create(&BackendAnswer { backend, outcome: outcome.as_str() }));
        }
        BackendFigures {
            backend,
            answers: self.backend_answers.clone(),
            answering: self.backend_answering.get_or_create(&Backend { backend }).clone(),
        }
    }

    /// A connection was opened.
    pub fn connection_opened(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// A connection was closed at once, since its network has too many.
    pub fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    /// A connection was closed on which something else than HTTP came.
    pub fn not_http(&self) {
        self.connections_not_http.inc();
    }

    /// A changed configuration was taken over.
    pub fn reloaded(&self) {
        self.reloads.inc();
    }

    /// A changed configuration could not be used.
    pub fn reload_failed(&self) {
        self.reload_failures.inc();
    }

    /// The figures as text.
    ///
    /// # Errors
    /// The text could not be formatted.
    pub fn text(&self, snapshot: &Snapshot) -> Result<String, std::fmt::Error> {
        let now = OffsetDateTime::now_utc();
        let mut registry = Registry::with_prefix("dockwarden");
        registry.register("token_requests", "Token requests by outcome", self.requests.clone());
        registry.register("tokens_reused", "Tokens handed out again", self.reused.clone());
        registry.register("forward_auth_requests", "Questions of proxies by outcome", self.forwarded.clone());
        registry.register("gateway_requests", "Requests to the gateway by upstream and outcome", self.passed.clone());
        registry.register_with_unit(
            "gateway_transferred",
            "Bytes of bodies that went through the gateway",
            Unit::Bytes,
            self.moved.clone(),
        );
        registry.register_with_unit(
            "token_request",
            "How long token requests took",
            Unit::Seconds,
            self.answering.clone(),
        );
        registry.register_with_unit(
            "decision",
            "How long the rules took to decide a request",
            Unit::Seconds,
            self.deciding.clone(),
        );
        registry.register_with_unit(
            "password_hash",
            "How long password hashes took",
            Unit::Seconds,
            self.hashing.clone(),
        );
        registry.register_with_unit(
            "password_wait",
            "How long passwords waited to be hashed, or for the word that they are not",
            Unit::Seconds,
            self.waiting.clone(),
        );
        registry.register(
            "backend_answers",
            "What identity backends and sources of rules answered",
            self.backend_answers.clone(),
        );
        registry.register_with_unit(
            "backend_answer",
            "How long identity backends and sources of rules took to answer",
            Unit::Seconds,
            self.backend_answering.clone(),
        );
        registry.register("reloads", "Configurations taken over while running", self.reloads.clone());
        registry.register(
            "reload_failures",
            "Changed configurations that could not be used",
            self.reload_failures.clone(),
        );
        registry.register(
            "connections_open",
            "Connections that are open, those of admin_addr too",
            self.connections.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections that were closed at once, since their network had too many",
            self.connections_refused.clone(),
        );
        registry.register(
            "connections_not_http",
            "Connections that were closed because something else than HTTP came",
            self.connections_not_http.clone(),
        );
        let dropped = Counter::<u64>::default();
        dropped.inc_by((self.dropped_lines)() as u64);
        registry.register("log_lines_dropped", "Lines of the log that nobody took in time", dropped);
        let gauge = |value: f64| {
            let gauge = Gauge::<f64, AtomicU64>::default();
            gauge.set(value);
            gauge
        };
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double exactly")]
        let expiry = snapshot.issuer.key().not_after().unix_timestamp() as f64;
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the signing certificate ends, since 1970",
            Unit::Seconds,
            gauge(expiry),
        );
        #[expect(clippy::cast_precision_loss, reason = "a few thousands fit a double exactly")]
        let counted = snapshot.access.attempts().counted() as f64;
        registry.register(
            "wrong_password_accounts",
            "Accounts with wrong passwords in the last minutes, counted for each client's network",
            gauge(counted),
        );
        let fallback = match snapshot.issuer.header_form_at(now) {
            HeaderChoice::Configured(_) => 0.0,
            HeaderChoice::KidInstead(_) => 1.0,
        };
        registry.register(
            "header_fallback",
            "1 while tokens carry kid alone because the certificate is out of its time",
            gauge(fallback),
        );
        registry.register_with_unit(
            "snapshot_age",
            "Age of the configuration in use",
            Unit::Seconds,
            gauge(snapshot.age().as_secs_f64()),
        );
        register_freshness(&mut registry, snapshot);
        register_passages(&mut registry, snapshot);
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// Makes these counters, if they are not there.
fn begin<L: Clone + Eq + std::hash::Hash>(family: &Family<L, Counter>, labels: impl Iterator<Item = L>) {
    for labels in labels {
        drop(family.get_or_create(&labels));
    }
}

/// Which backends are not asked because they do not answer.
fn register_passages(registry: &mut Registry, snapshot: &Snapshot) {
    let down = Family::<Backend, Gauge>::default();
    for (backend, passage) in snapshot.access.passages() {
        let value = match passage {
            Passage::Passing => 0,
            Passage::Shut => 1,
        };
        down.get_or_create(&Backend { backend }).set(value);
    }
    registry.register("backend_down", "1 while a backend is not asked because it does not answer", down);
}

/// The figures of the sources of rules that can fall behind.
fn register_freshness(registry: &mut Registry, snapshot: &Snapshot) {
    let ages = Family::<Source, Gauge<f64, AtomicU64>>::default();
    let refused = Family::<Refused, Gauge>::default();
    for (source, freshness) in snapshot.access.freshness() {
        let age = freshness.age.map_or(f64::INFINITY, |age| age.as_secs_f64());
        ages.get_or_create(&Source { source }).set(age);
        if freshness.refused.is_empty() {
            refused.get_or_create(&Refused { source, document: String::new() }).set(0);
        }
        for document in freshness.refused {
            refused.get_or_create(&Refused { source, document }).set(1);
        }
    }
    registry.register_with_unit(
        "rules_age",
        "How long ago the rules in use were last up to date; infinite while there are none",
        Unit::Seconds,
        ages,
    );
    registry.register(
        "rules_refused",
        "1 for each document that keeps newer rules from being used; 0, without a document, if there is none",
        refused,
    );
}
