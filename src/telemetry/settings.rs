//! The `telemetry:` section: where a collector is, and what it is sent.

use std::time::Duration;

use axum::http::HeaderValue;
use settings::number::waiting_time;
use settings::{At, Refusal, Section};
use url::{Host, Url};

use crate::pem::named::read_authorities;
use crate::pem::tls::Authorities;

/// The name of the section.
pub(crate) const NAME: &str = "telemetry";

/// How often the metrics are sent where the file does not say.
const USUAL_INTERVAL: Duration = Duration::from_secs(30);
/// The longest time between.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A span for each request.
    Traces,
    /// All metrics.
    Metrics,
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Without a slash at the end.
    pub(super) endpoint: Url,
    pub(super) signals: Vec<Signal>,
    pub(super) interval: Duration,
    pub(super) service_name: String,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) authorities: Option<Authorities>,
}

impl Settings {
    pub(super) fn sends(&self, signal: Signal) -> bool {
        self.signals.contains(&signal)
    }
}

/// Reads the section.
pub(crate) fn read(mut section: Section<'_>) -> Option<Settings> {
    let endpoint = section.parsed("endpoint", |text| {
        let url = Url::parse(text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        });
        url.ok_or_else(|| Refusal::is("not a collector's address; write https://collector.example.org:4318"))
    });
    if endpoint.is_none() && !section.has("endpoint") {
        section.missing("endpoint", "where is the collector? https://collector.example.org:4318");
    }
    let signals = read_signals(&mut section);
    let interval = section.word("interval", |text| waiting_time(text, LONGEST_INTERVAL, "30s"));
    let service_name = section.filled("service_name");
    let authorities =
        section.path("ca_certificate").map(|at| read_authorities(&section, &at, "ca_certificate")).transpose();
    let authorization = section.secret("authorization", "authorization_file").ok()?.map(|At { place, value }| {
        let header = HeaderValue::try_from(value.trim()).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        if header.is_err() {
            section.problem(&place, "authorization", "a header cannot have this value");
        }
        (place, header)
    });
    if let (Some(At { value, .. }), Some((place, _))) = (&endpoint, &authorization)
        && value.scheme() == "http"
        && !is_here(value)
    {
        section.problem(
            place,
            "authorization",
            "it would go there unencrypted, readable by everybody on the way; use https://",
        );
    }
    section.finish();
    Some(Settings {
        endpoint: endpoint?.value,
        signals: signals?,
        interval: interval.map_or(USUAL_INTERVAL, |at| at.value),
        service_name: service_name.map_or_else(|| "dockwarden".to_owned(), |at| at.value),
        authorization: authorization.map(|(_, header)| header).transpose().ok()?,
        authorities: authorities.ok()?,
    })
}

fn read_signals(section: &mut Section<'_>) -> Option<Vec<Signal>> {
    let Some(named) = section.texts("signals") else { return Some(vec![Signal::Traces, Signal::Metrics]) };
    let mut signals = Vec::new();
    for At { place, value } in named {
        match value.as_str() {
            "traces" => signals.push(Signal::Traces),
            "metrics" => signals.push(Signal::Metrics),
            _ => section.problem(&place, "signals", "this is neither traces nor metrics"),
        }
    }
    if signals.is_empty() {
        section.missing("signals", "what is sent? write [traces, metrics], or leave it out");
        return None;
    }
    Some(signals)
}

fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
