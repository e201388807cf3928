//! Metrics for monitoring, with Prometheus' names and units.

use std::borrow::Cow;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry, Unit};
use time::OffsetDateTime;

use crate::breaker::Passage;

/// The names and values of labels.
type Labels<const COUNT: usize> = [(&'static str, Cow<'static, str>); COUNT];

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
    /// Its name in the metrics.
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

/// The metrics of one backend.
#[derive(Clone)]
pub struct BackendMetrics {
    backend: &'static str,
    answers: Family<Labels<2>, Counter>,
    answering: Histogram,
}

impl BackendMetrics {
    /// It answered one question. Questions whose client went away before the answer are not told.
    pub fn answered(&self, outcome: BackendOutcome, took: Duration) {
        let labels = [("backend", self.backend.into()), ("outcome", outcome.as_str().into())];
        self.answers.get_or_create(&labels).inc();
        self.answering.observe(took.as_secs_f64());
    }
}

/// What is measured when somebody looks, and not counted as it happens.
pub struct Now {
    /// When the signing certificate ends.
    pub certificate_ends: OffsetDateTime,
    /// When the listener's certificate ends that is ordered of an authority, and for which name it is; nothing before there is one.
    pub tls_certificate_ends: Option<(String, Option<OffsetDateTime>)>,
    /// How many accounts have wrong passwords, counted for each client's network.
    pub wrong_password_accounts: usize,
    /// Whether tokens carry `kid` alone because the certificate is out of its time.
    pub header_fallback: bool,
    /// Whether tokens end before their time, since the leaf that signs them does.
    pub tokens_cut_short: bool,
    /// How long the configuration has been in use.
    pub snapshot_age: Duration,
    /// The sources of rules that can fall behind.
    pub rules: Vec<Rules>,
    /// The entries of `workload:` whose keys are fetched, and how long ago that was; nothing before the first time.
    pub workload_keys: Vec<(String, Option<Duration>)>,
    /// The backends that have a breaker, and how it stands.
    pub breakers: Vec<(&'static str, Passage)>,
}

/// A source of rules that can fall behind.
pub struct Rules {
    /// Its section.
    pub source: &'static str,
    /// How long ago its rules were last up to date; nothing while there are none.
    pub age: Option<Duration>,
    /// The documents that keep newer rules from being used.
    pub refused: Vec<String>,
}

/// The metrics that are set when somebody looks.
struct Measured {
    dropped_lines: Counter,
    certificate_expiry: Gauge<f64, AtomicU64>,
    tls_certificate_expiry: Family<Labels<1>, Gauge<f64, AtomicU64>>,
    wrong_password_accounts: Gauge<f64, AtomicU64>,
    header_fallback: Gauge<f64, AtomicU64>,
    tokens_cut_short: Gauge<f64, AtomicU64>,
    snapshot_age: Gauge<f64, AtomicU64>,
    rules_age: Family<Labels<1>, Gauge<f64, AtomicU64>>,
    rules_refused: Family<Labels<2>, Gauge>,
    workload_keys_age: Family<Labels<1>, Gauge<f64, AtomicU64>>,
    down: Family<Labels<1>, Gauge>,
}

/// All metrics. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Locked while they are set and read.
    measured: Arc<Mutex<Measured>>,
    dropped_lines: Arc<dyn Fn() -> usize + Send + Sync>,
    requests: Family<Labels<1>, Counter>,
    administered: Family<Labels<1>, Counter>,
    searched: Family<Labels<1>, Counter>,
    forwarded: Family<Labels<1>, Counter>,
    passed: Family<Labels<2>, Counter>,
    moved: Family<Labels<2>, Counter>,
    reused: Counter,
    refreshable: Family<Labels<1>, Counter>,
    answering: Histogram,
    deciding: Histogram,
    hashing: Histogram,
    waiting: Histogram,
    backend_answers: Family<Labels<2>, Counter>,
    backend_answering: Family<Labels<1>, Histogram, fn() -> Histogram>,
    reloads: Counter,
    reload_failures: Counter,
    tests_failing: Family<Labels<1>, Gauge>,
    secrets_ending: Gauge,
    registry_events: Family<Labels<2>, Counter>,
    events_waiting: Gauge,
    sweeps: Family<Labels<2>, Counter>,
    deletions: Family<Labels<2>, Counter>,
    connections: Gauge,
    connections_refused: Counter,
    connections_not_http: Counter,
    telemetry_dropped: Counter,
}

/// A connection that is open, until it is dropped.
pub struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    /// Every metric under its name, in the order of the text.
    fn default() -> Metrics {
        let from_quarter_millisecond = || Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        // A decision takes microseconds.
        let decisions = Histogram::new(exponential_buckets(0.000_001, 4.0, 12));
        // From a look into memory to a program that takes seconds.
        let backends = Family::new_with_constructor((|| Histogram::new(exponential_buckets(0.000_001, 4.0, 13))) as _);
        let mut registry = Registry::with_prefix("dockwarden");
        let to = &mut registry;
        let metrics = Metrics {
            registry: Arc::default(),
            dropped_lines: Arc::new(|| 0),
            requests: add(to, "token_requests", "Token requests by outcome"),
            reused: add(to, "tokens_reused", "Tokens handed out again"),
            refreshable: add(to, "refresh_tokens", "Logins that asked for a refresh token by outcome"),
            administered: add(to, "api_requests", "Requests to the API by outcome"),
            searched: add(to, "search_requests", "Requests for search and catalogs by outcome"),
            forwarded: add(to, "forward_auth_requests", "Questions of proxies by outcome"),
            passed: add(to, "gateway_requests", "Requests to the gateway by upstream and outcome"),
            moved: {
                let (help, moved) = ("Bytes of bodies that went through the gateway", Family::default());
                to.register_with_unit("gateway_transferred", help, Unit::Bytes, moved.clone());
                moved
            },
            answering: seconds(to, "token_request", "How long token requests took", from_quarter_millisecond()),
            deciding: seconds(to, "decision", "How long the rules took to decide a request", decisions),
            hashing: seconds(to, "password_hash", "How long password hashes took", from_quarter_millisecond()),
            waiting: seconds(
                to,
                "password_wait",
                "How long passwords waited to be hashed, or for the word that they are not",
                from_quarter_millisecond(),
            ),
            backend_answers: add(to, "backend_answers", "What identity backends and sources of rules answered"),
            backend_answering: seconds(
                to,
                "backend_answer",
                "How long identity backends and sources of rules took to answer",
                backends,
            ),
            reloads: add(to, "reloads", "Configurations taken over while running"),
            reload_failures: add(to, "reload_failures", "Changed configurations that could not be used"),
            tests_failing: add(
                to,
                "policy_tests_failing",
                "1 for each test of the policy that keeps a changed configuration from being used; 0, without a name, if there is none",
            ),
            secrets_ending: add(to, "secrets_ending", "Secrets that end within 14 days and whose owners have no other"),
            registry_events: add(to, "registry_events", "Events of registries by outcome"),
            events_waiting: add(to, "registry_events_waiting", "Events of registries that wait to be worked on"),
            sweeps: add(to, "registry_sweeps", "Sweeps of registries by outcome"),
            deletions: add(to, "registry_deletions", "Tags and repositories that were to be deleted, by outcome"),
            connections: add(to, "connections_open", "Connections that are open, those of admin_addr too"),
            connections_refused: add(
                to,
                "connections_refused",
                "Connections that were closed at once, since their network had too many",
            ),
            connections_not_http: add(
                to,
                "connections_not_http",
                "Connections that were closed because something else than HTTP came",
            ),
            telemetry_dropped: add(
                to,
                "telemetry_spans_dropped",
                "Spans that the collector did not get, since it was away, too slow, or refused them",
            ),
            measured: Arc::new(Mutex::new(Measured::registered(to))),
        };
        metrics.failing_tests(&[]);
        Metrics { registry: Arc::new(registry), ..metrics }
    }
}

/// What becomes of the events of a registry.
const EVENT_OUTCOMES: [&str; 4] = ["kept", "not_kept", "ignored", "unreadable"];
/// What becomes of a sweep.
const SWEEP_OUTCOMES: [&str; 2] = ["complete", "failed"];
/// What becomes of what is to be deleted.
const DELETION_OUTCOMES: [&str; 8] =
    ["deleted", "was_gone", "siblings", "changed", "off", "too_many_tags", "still_there", "failed"];

impl Metrics {
    /// Tells how many lines of the log were dropped, from now on.
    pub fn count_dropped_lines(&mut self, dropped: impl Fn() -> usize + Send + Sync + 'static) {
        self.dropped_lines = Arc::new(dropped);
    }

    /// Begins to count token requests with these outcomes, at 0: `increase()` does not see the first of what was not there
    /// before it.
    pub fn expect_token_outcomes(&self, outcomes: impl IntoIterator<Item = &'static str>) {
        begin(&self.requests, outcomes.into_iter().map(|outcome| [("outcome", outcome.into())]));
    }

    /// The same for questions of proxies.
    pub fn expect_forward_auth_outcomes(&self, outcomes: impl IntoIterator<Item = &'static str>) {
        begin(&self.forwarded, outcomes.into_iter().map(|outcome| [("outcome", outcome.into())]));
    }

    /// The same for requests to the gateway, of one upstream, with its bytes; or, if `upstream` is empty, of none.
    pub fn expect_gateway_outcomes(&self, upstream: &str, outcomes: impl IntoIterator<Item = &'static str>) {
        begin(&self.passed, outcomes.into_iter().map(|outcome| passed(upstream, outcome)));
        if !upstream.is_empty() {
            for direction in [Direction::Sent, Direction::Received] {
                self.gateway_bytes(upstream, direction);
            }
        }
    }

    /// A token request was answered.
    pub fn answered(&self, outcome: &'static str, took: Duration) {
        self.requests.get_or_create(&[("outcome", outcome.into())]).inc();
        self.answering.observe(took.as_secs_f64());
    }

    /// A token was handed out again.
    pub fn reused(&self) {
        self.reused.inc();
    }

    /// Begins to count logins that asked for a refresh token, with these outcomes, at 0.
    pub fn expect_refresh_outcomes(&self, outcomes: impl IntoIterator<Item = &'static str>) {
        begin(&self.refreshable, outcomes.into_iter().map(|outcome| [("outcome", outcome.into())]));
    }

    /// A login asked for a refresh token, where the configuration gives some.
    pub fn refresh_asked(&self, outcome: &'static str) {
        self.refreshable.get_or_create(&[("outcome", outcome.into())]).inc();
    }

    /// A request to the API was answered.
    pub fn api_answered(&self, outcome: &'static str) {
        self.administered.get_or_create(&[("outcome", outcome.into())]).inc();
    }

    /// Begins the outcomes of requests to the API.
    pub fn expect_api_outcomes(&self, outcomes: impl IntoIterator<Item = &'static str>) {
        begin(&self.administered, outcomes.into_iter().map(|outcome| [("outcome", outcome.into())]));
    }

    /// A request for search or a catalog was answered.
    pub fn search_answered(&self, outcome: &'static str) {
        self.searched.get_or_create(&[("outcome", outcome.into())]).inc();
    }

    /// Begins the outcomes of requests for search and catalogs.
    pub fn expect_search_outcomes(&self, outcomes: impl IntoIterator<Item = &'static str>) {
        begin(&self.searched, outcomes.into_iter().map(|outcome| [("outcome", outcome.into())]));
    }

    /// So many secrets end soon, and leave their owners without one.
    pub fn secrets_end_soon(&self, count: usize) {
        self.secrets_ending.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many there were when that was last looked at.
    #[cfg(test)]
    pub(crate) fn secrets_ending(&self) -> i64 {
        self.secrets_ending.get()
    }

    /// Begins to count what comes of a registry's events and sweeps, at 0.
    pub fn expect_registry(&self, service: &str) {
        for outcome in EVENT_OUTCOMES {
            self.events(service, outcome, 0);
        }
        drop(self.deletions.get_or_create(&of_registry(service, "deleted")));
        for outcome in SWEEP_OUTCOMES {
            drop(self.sweeps.get_or_create(&of_registry(service, outcome)));
        }
    }

    /// Shows no more of a registry that is declared no more.
    pub fn forget_registry(&self, service: &str) {
        for outcome in EVENT_OUTCOMES {
            self.registry_events.remove(&of_registry(service, outcome));
        }
        for outcome in DELETION_OUTCOMES {
            self.deletions.remove(&of_registry(service, outcome));
        }
        for outcome in SWEEP_OUTCOMES {
            self.sweeps.remove(&of_registry(service, outcome));
        }
    }

    /// Events of a registry came to this.
    pub fn events(&self, service: &str, outcome: &'static str, count: u64) {
        self.registry_events.get_or_create(&of_registry(service, outcome)).inc_by(count);
    }

    /// So many events wait.
    pub fn events_waiting(&self, count: u64) {
        self.events_waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A sweep of a registry came to this.
    pub fn swept(&self, service: &str, outcome: &'static str) {
        self.sweeps.get_or_create(&of_registry(service, outcome)).inc();
    }

    /// Deleting a tag or a repository came to this.
    pub fn tag_deleted(&self, service: &str, outcome: &'static str) {
        self.deletions.get_or_create(&of_registry(service, outcome)).inc();
    }

    /// A proxy was told about somebody's request.
    pub fn forward_auth_answered(&self, outcome: &'static str) {
        self.forwarded.get_or_create(&[("outcome", outcome.into())]).inc();
    }

    /// A request to the gateway was answered; `upstream` is empty where none was needed or found.
    pub fn gateway_answered(&self, upstream: &str, outcome: &'static str) {
        self.passed.get_or_create(&passed(upstream, outcome)).inc();
    }

    /// Counts the bytes that go through the gateway one way.
    pub fn gateway_bytes(&self, upstream: &str, direction: Direction) -> Counter {
        let direction = match direction {
            Direction::Sent => "sent",
            Direction::Received => "received",
        };
        self.moved.get_or_create(&[("upstream", upstream.to_owned().into()), ("direction", direction.into())]).clone()
    }

    /// The rules were asked.
    pub fn decided(&self, took: Duration) {
        self.deciding.observe(took.as_secs_f64());
    }

    /// A password waited so long to be hashed, or for the word that it is not.
    pub fn password_waited(&self, took: Duration) {
        self.waiting.observe(took.as_secs_f64());
    }

    /// A password was hashed.
    pub fn password_hashed(&self, took: Duration) {
        self.hashing.observe(took.as_secs_f64());
    }

    /// The metrics of a backend. Each outcome it can have is there from the beginning: an alarm can then tell "none"
    /// from "not known".
    pub fn backend(&self, backend: &'static str, outcomes: &[BackendOutcome]) -> BackendMetrics {
        for outcome in outcomes {
            drop(
                self.backend_answers
                    .get_or_create(&[("backend", backend.into()), ("outcome", outcome.as_str().into())]),
            );
        }
        BackendMetrics {
            backend,
            answers: self.backend_answers.clone(),
            answering: self.backend_answering.get_or_create(&[("backend", backend.into())]).clone(),
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

    /// These tests of the policy keep a changed configuration from being used, and no others.
    pub fn failing_tests(&self, names: &[Arc<str>]) {
        self.tests_failing.clear();
        if names.is_empty() {
            self.tests_failing.get_or_create(&[("test", "".into())]).set(0);
        }
        for name in names {
            self.tests_failing.get_or_create(&[("test", name.to_string().into())]).set(1);
        }
    }

    /// The collector did not get so many spans.
    pub fn telemetry_dropped(&self, spans: u64) {
        self.telemetry_dropped.inc_by(spans);
    }

    /// All metrics as text.
    ///
    /// # Errors
    /// The text could not be formatted.
    pub fn text(&self, now: Now) -> Result<String, std::fmt::Error> {
        let measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let dropped = (self.dropped_lines)() as u64;
        measured.dropped_lines.inc_by(dropped.saturating_sub(measured.dropped_lines.get()));
        measured.set(now);
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn of_registry(service: &str, outcome: &'static str) -> Labels<2> {
    [("service", service.to_owned().into()), ("outcome", outcome.into())]
}

impl Measured {
    fn registered(to: &mut Registry) -> Measured {
        Measured {
            dropped_lines: add(to, "log_lines_dropped", "Lines of the log that nobody took in time"),
            certificate_expiry: seconds(
                to,
                "certificate_expiry_timestamp",
                "When the signing certificate ends, since 1970",
                Gauge::default(),
            ),
            tls_certificate_expiry: seconds(
                to,
                "tls_certificate_expiry_timestamp",
                "When the certificate of the listener ends that is ordered of an authority, since 1970; 0 while there is none",
                Family::default(),
            ),
            wrong_password_accounts: add(
                to,
                "wrong_password_accounts",
                "Accounts with wrong passwords in the last minutes, counted for each client's network",
            ),
            header_fallback: add(
                to,
                "header_fallback",
                "1 while tokens carry kid alone because the certificate is out of its time",
            ),
            tokens_cut_short: add(
                to,
                "tokens_cut_short",
                "1 while tokens end before their time, since the leaf that signs them does",
            ),
            snapshot_age: seconds(to, "snapshot_age", "Age of the configuration in use", Gauge::default()),
            rules_age: seconds(
                to,
                "rules_age",
                "How long ago the rules in use were last up to date; infinite while there are none",
                Family::default(),
            ),
            rules_refused: add(
                to,
                "rules_refused",
                "1 for each document that keeps newer rules from being used; 0, without a document, if there is none",
            ),
            workload_keys_age: seconds(
                to,
                "workload_keys_age",
                "How long ago the keys of an issuer of workloads were fetched; infinite while there are none",
                Family::default(),
            ),
            down: add(to, "backend_down", "1 while a backend is not asked because it does not answer"),
        }
    }

    fn set(&self, now: Now) {
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970, and a few thousands, fit a double exactly")]
        let (expiry, counted) = (now.certificate_ends.unix_timestamp() as f64, now.wrong_password_accounts as f64);
        self.certificate_expiry.set(expiry);
        self.wrong_password_accounts.set(counted);
        self.header_fallback.set(f64::from(u8::from(now.header_fallback)));
        self.tokens_cut_short.set(f64::from(u8::from(now.tokens_cut_short)));
        self.snapshot_age.set(now.snapshot_age.as_secs_f64());
        if let Some((host, ends)) = now.tls_certificate_ends {
            #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double exactly")]
            let ends = ends.map_or(0.0, |ends| ends.unix_timestamp() as f64);
            self.tls_certificate_expiry.get_or_create(&[("host", host.into())]).set(ends);
        }
        // A reload may have taken some away.
        self.rules_age.clear();
        self.rules_refused.clear();
        self.down.clear();
        self.workload_keys_age.clear();
        for (entry, age) in now.workload_keys {
            let age = age.map_or(f64::INFINITY, |age| age.as_secs_f64());
            self.workload_keys_age.get_or_create(&[("entry", entry.into())]).set(age);
        }
        for Rules { source, age, refused } in now.rules {
            self.rules_age
                .get_or_create(&[("source", source.into())])
                .set(age.map_or(f64::INFINITY, |age| age.as_secs_f64()));
            if refused.is_empty() {
                self.rules_refused.get_or_create(&[("source", source.into()), ("document", "".into())]).set(0);
            }
            for document in refused {
                self.rules_refused.get_or_create(&[("source", source.into()), ("document", document.into())]).set(1);
            }
        }
        for (backend, passage) in now.breakers {
            let down = match passage {
                Passage::Passing => 0,
                Passage::Shut { .. } => 1,
            };
            self.down.get_or_create(&[("backend", backend.into())]).set(down);
        }
    }
}

fn add<M: Metric + Clone + Default>(to: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    to.register(name, help, metric.clone());
    metric
}

fn seconds<M: Metric + Clone>(to: &mut Registry, name: &str, help: &str, metric: M) -> M {
    to.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

fn passed(upstream: &str, outcome: &'static str) -> Labels<2> {
    [("upstream", upstream.to_owned().into()), ("outcome", outcome.into())]
}

/// Makes these counters, if they are not there.
fn begin<L: Clone + Eq + std::hash::Hash>(family: &Family<L, Counter>, labels: impl Iterator<Item = L>) {
    for labels in labels {
        drop(family.get_or_create(&labels));
    }
}
