//! How an API is reached, as a configuration writes it: TLS, deadline and bounds, which both backends share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use url::Url;

use crate::config::problem::At;
use crate::config::section::{Problems, Section, parse_duration};
use crate::config::{Keys, read_pem};

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
pub struct Settings {
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
#[derive(Clone, Default, PartialEq)]
pub(super) struct Tls {
    /// The authorities that the server's certificate may be from, PEM; `None` for the public ones.
    authority: Option<Vec<u8>>,
    /// Our certificate and key, PEM.
    client: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |given: bool| if given { "given" } else { "none" };
        out.debug_struct("Tls")
            .field("authority", &shown(self.authority.is_some()))
            .field("client", &shown(self.client.is_some()))
            .finish()
    }
}

impl Tls {
    /// What the TLS library needs to know. The server's certificate is always checked.
    pub(super) fn config(&self) -> anyhow::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        match &self.authority {
            Some(pem) => {
                for certificate in certificates(pem).context("ca_certificate")? {
                    roots.add(certificate).context("ca_certificate")?;
                }
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match &self.client {
            Some((certificate, key)) => {
                config.with_client_auth_cert(certificates(certificate)?, PrivateKeyDer::from_pem_slice(key)?)?
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    anyhow::ensure!(!found.is_empty(), "the file holds no certificate in PEM");
    Ok(found)
}

/// Reads `timeout`, `deadline`, `concurrency`, `cache_ttl` and `tls`; `origin` is the address, where that could be read.
pub fn read(
    section: &mut Section<'_>,
    origin: Option<&Url>,
    keys: Keys,
    problems: &Problems,
    files: &mut Vec<PathBuf>,
) -> Option<Settings> {
    let timeout = section.parsed("timeout", |text| match parse_duration(text)? {
        time if time < Duration::from_millis(50) => Err("no API answers within that; 1400ms is usual".to_owned()),
        time if time > LONGEST_ANSWER => {
            Err("clients do not wait that long for a token; write 30s or less, 1400ms is usual".to_owned())
        }
        time => Ok(time),
    });
    let deadline = section.parsed("deadline", |text| match parse_duration(text)? {
        time if time < Duration::from_millis(50) => Err("no API answers within that; 10s is usual".to_owned()),
        time if time > LONGEST_DEADLINE => {
            Err("clients do not wait that long for a token; write 60s or less, 10s is usual".to_owned())
        }
        time => Ok(time),
    });
    let concurrency = section.parsed("concurrency", |text| match text.parse::<usize>() {
        Ok(number @ 1..=MOST_CONCURRENCY) => Ok(number),
        Ok(_) | Err(_) => Err(format!("write how many may be asked at once, from 1 to {MOST_CONCURRENCY}")),
    });
    let cache_ttl = section.parsed("cache_ttl", |text| match parse_duration(text)? {
        time if time > LONGEST_MEMORY => {
            Err("for so long a revoked right would live on; write 1h or less, or 0 to ask each time".to_owned())
        }
        Duration::ZERO => Ok(None),
        time => Ok(Some(time)),
    });
    let path = section.path_of("tls");
    let tls = match section.node("tls") {
        None => Some(Tls::default()),
        Some(node) => match origin.map(Url::scheme) {
            Some("http") => {
                problems.add(&node.place, path, "the address speaks no TLS; write url: https://…");
                None
            }
            Some(_) | None => Section::open(node, path, problems).and_then(|tls| read_tls(tls, keys, files)),
        },
    };
    Some(Settings {
        origin: origin?.clone(),
        tls: tls?,
        // Where `timeout` stands alone, it has always been for all of it.
        deadline: deadline.map(|at| at.value).or(timeout.as_ref().map(|at| at.value)).unwrap_or(DEADLINE),
        timeout: timeout.map_or(ANSWER_WITHIN, |at| at.value),
        concurrency: concurrency.map_or(CONCURRENCY, |at| at.value),
        cache_ttl: cache_ttl.and_then(|at| at.value),
    })
}

fn read_tls(mut section: Section<'_>, keys: Keys, files: &mut Vec<PathBuf>) -> Option<Tls> {
    let authority = section.path("ca_certificate");
    let client = section.path("client_certificate");
    let key = section.path("client_key");
    let mut problems = Vec::new();
    if let (None, Some(At { place, .. })) = (&client, &key) {
        problems.push((place, "client_certificate", "a key is given without its certificate".to_owned()));
    }
    let mut load = |at: &At<PathBuf>| {
        files.push(at.value.clone());
        match keys {
            Keys::Read => read_pem(&at.value),
            Keys::LeftAlone => Ok(Vec::new()),
        }
    };
    let mut tls = Tls::default();
    if let Some(at) = &authority {
        match load(at) {
            Ok(pem) => tls.authority = Some(pem),
            Err(message) => problems.push((&at.place, "ca_certificate", message)),
        }
    }
    if let Some(at) = &client {
        // Certificate and key may be one file.
        let key = key.as_ref().unwrap_or(at);
        match (load(at), load(key)) {
            (Ok(certificate), Ok(key)) => tls.client = Some((certificate, key)),
            (Err(message), _) => problems.push((&at.place, "client_certificate", message)),
            (Ok(_), Err(message)) => problems.push((&key.place, "client_key", message)),
        }
    }
    if problems.is_empty() && keys == Keys::Read {
        let refusal = |tls: Tls| tls.config().err().map(|error| error.root_cause().to_string());
        if let (Some(at), Some(message)) = (&authority, refusal(Tls { client: None, ..tls.clone() })) {
            problems.push((&at.place, "ca_certificate", message));
        }
        if let (Some(at), Some(message)) = (&client, refusal(Tls { authority: None, ..tls.clone() })) {
            let message = format!("{message}; a certificate and its key are needed, in PEM and not encrypted");
            problems.push((&at.place, "client_certificate", message));
        }
    }
    let complete = problems.is_empty();
    for (place, key, message) in problems {
        section.problem(place, key, message);
    }
    section.finish();
    complete.then_some(tls)
}
