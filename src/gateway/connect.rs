//! Connections to an upstream: kept open between requests, over TLS that is checked, and made within a deadline.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use axum::http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower::Service;

use super::body::ClientBody;
use super::lookups::Lookups;
use crate::config::Authorities;

/// Unused connections to one upstream that are kept.
const KEPT_CONNECTIONS: usize = 64;
/// How long they are kept. Shorter than what registries and the proxies before them allow, so that a request is seldom
/// sent into a connection that is being closed.
const KEPT_FOR: Duration = Duration::from_secs(20);
/// How often an HTTP/2 connection is asked whether it is still there, and how long it may take to say so.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// How much of a reply over HTTP/2 may wait here for a client that reads slowly, in bytes.
const WINDOW: u32 = 512 * 1024;
/// The same for all replies of one connection together: more than as many streams as any upstream allows. With less, a few
/// clients that do not read would stop the replies of all others, which come over the same connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024 * 1024;

/// What requests to an upstream are sent with.
pub(super) type HttpClient = Client<Deadlined, ClientBody>;

/// A client whose servers show a certificate of one of these authorities, or else of a public one.
///
/// # Errors
/// The authorities' certificates cannot be used.
pub(super) fn client(authorities: Option<&Authorities>, connect_within: Duration) -> anyhow::Result<HttpClient> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(own) => {
            for certificate in &own.certificates {
                roots.add(certificate.clone()).with_context(|| own.file.display().to_string())?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new_with_resolver(Lookups::new(GaiResolver::new()));
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(Duration::from_secs(60)));
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_all_versions().wrap_connector(tcp);
    let client = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEPT_FOR)
        .pool_max_idle_per_host(KEPT_CONNECTIONS)
        .http2_keep_alive_interval(ALIVE_EVERY)
        .http2_keep_alive_timeout(ALIVE_EVERY)
        .http2_initial_stream_window_size(WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .build(Deadlined { connector, within: connect_within });
    Ok(client)
}

/// Connects within a deadline, the name's lookup and the TLS handshake included.
#[derive(Clone)]
pub(super) struct Deadlined {
    connector: HttpsConnector<HttpConnector<Lookups<GaiResolver>>>,
    within: Duration,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Deadlined {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failed>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, place: Uri) -> Self::Future {
        let (connecting, within) = (self.connector.call(place), self.within);
        Box::pin(async move {
            match tokio::time::timeout(within, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }
}
