//! How an API is reached, as a configuration writes it: TLS, deadline and bounds, which both backends share.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use settings::number::{self, duration, waiting_time};
use settings::{At, Noted, Refusal, Section};
use url::Url;

use crate::pem::named::{read_authorities, read_pair, read_pair_in_one};
use crate::pem::tls::{Authorities, TlsIdentity, TlsProblem, client_config};

/// How long an API may say nothing, where the file does not say: clients wait with it.
const ANSWER_WITHIN: Duration = Duration::from_millis(1400);
/// The longest time that `timeout` may say.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);
/// How long all of it may take where the file says neither `timeout` nor `deadline`: over long ways, each step of connecting
/// takes its time, and none of them is silence.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest time that `deadline` may say.
const LONGEST_DEADLINE: Duration = Duration::from_secs(60);
/// How many questions are asked at once where the file does not say.
const CONCURRENCY: usize = 64;
/// The highest number that `concurrency` may say. Each question holds a connection and its reply.
const MOST_CONCURRENCY: usize = 512;
/// The longest time that `cache_ttl` may say: for so long a revoked right lives on.
const LONGEST_MEMORY: Duration = Duration::from_secs(3600);

/// How an API is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiSettings {
    /// Scheme, host and port, for messages.
    pub(super) origin: Url,
    pub(super) tls: Tls,
    /// How long it may say nothing.
    pub(super) timeout: Duration,
    /// How long an answer may take in all, connecting and waiting for a turn included.
    pub(super) deadline: Duration,
    /// How many questions are asked at once.
    pub(super) concurrency: usize,
    /// How long a yes is remembered; `None` where each question is asked.
    pub(crate) cache_ttl: Option<Duration>,
}

/// Whom we trust, and who we are. The files' content is part of it: changed files are changed settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tls {
    /// The authorities that the server's certificate may be from; `None` for the public ones.
    authority: Option<Authorities>,
    /// Our certificate and key.
    client: Option<Arc<TlsIdentity>>,
}

impl Tls {
    /// What the TLS library needs to know. The server's certificate is always checked.
    pub(super) fn config(&self) -> anyhow::Result<ClientConfig> {
        let mut config = client_config(self.authority.as_ref(), self.client.as_deref())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl ApiSettings {
    /// How an API is reached of which the file says nothing but where it is, and whom it is to be known by.
    pub(crate) fn usual(origin: Url, authority: Option<Authorities>) -> ApiSettings {
        ApiSettings {
            origin,
            tls: Tls { authority, client: None },
            timeout: ANSWER_WITHIN,
            deadline: DEADLINE,
            concurrency: CONCURRENCY,
            cache_ttl: None,
        }
    }
}

/// Reads `timeout`, `deadline`, `concurrency`, `cache_ttl` and `tls`; `origin` is the address, where that could be read.
pub fn read(section: &mut Section<'_>, origin: Option<&Url>) -> Option<ApiSettings> {
    let timeout = section.word("timeout", |text| waiting_time(text, LONGEST_ANSWER, "1400ms"));
    let concurrency = section.word("concurrency", |text| number::count(text, MOST_CONCURRENCY, "may be asked at once"));
    let deadline = section.word("deadline", |text| waiting_time(text, LONGEST_DEADLINE, "10s"));
    if let (Some(At { place, value }), Some(deadline)) = (&timeout, &deadline)
        && *value > deadline.value
    {
        let message = format!(
            "an answer ends after {} ms (deadline), whatever came of it; write less, or a longer deadline",
            deadline.value.as_millis()
        );
        section.problem(place, "timeout", message);
    }
    let cache_ttl = section.word("cache_ttl", |text| match duration(text)? {
        time if time > LONGEST_MEMORY => {
            Err(Refusal::says("for so long a revoked right would live on; write 1h or less, or 0 to ask each time"))
        }
        Duration::ZERO => Ok(None),
        time => Ok(Some(time)),
    });
    let tls = match section.field("tls") {
        None => Some(Tls::default()),
        Some(field) if origin.is_some_and(|origin| origin.scheme() == "http") => {
            field.problem("the address speaks no TLS; write url: https://…");
            None
        }
        Some(field) => field.section().and_then(read_tls),
    };
    Some(ApiSettings {
        origin: origin?.clone(),
        tls: tls?,
        // Where `timeout` stands alone, it has always been for all of it.
        deadline: deadline.map(|at| at.value).or(timeout.as_ref().map(|at| at.value)).unwrap_or(DEADLINE),
        timeout: timeout.map_or(ANSWER_WITHIN, |at| at.value),
        concurrency: concurrency.map_or(CONCURRENCY, |at| at.value),
        cache_ttl: cache_ttl.and_then(|at| at.value),
    })
}

fn read_tls(mut section: Section<'_>) -> Option<Tls> {
    let authority = section.path("ca_certificate");
    let client = section.path("client_certificate");
    let key = section.path("client_key");
    if let (None, Some(at)) = (&client, &key) {
        section.problem(&at.place, "client_certificate", "a key is given without its certificate");
    }
    let authority = authority.map(|at| read_authorities(&section, &at, "ca_certificate")).transpose();
    let client = client.as_ref().map(|at| (at, "client_certificate"));
    let client = match (client, &key) {
        (Some(certificate), Some(key)) => {
            read_pair(&section, certificate, (key, "client_key"), TlsIdentity::from_pem, TlsProblem::file)
        }
        (Some(both), None) => read_pair_in_one(&section, both, "without client_key, the file"),
        (None, Some(_)) => Err(Noted),
        (None, None) => Ok(None),
    };
    section.finish();
    Some(Tls { authority: authority.ok()?, client: client.ok()?.map(Arc::new) })
}
