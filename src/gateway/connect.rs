//! Connections to an upstream: kept open between requests, over TLS that is checked, and made within a deadline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};

use super::body::ClientBody;
use crate::config::AuthoritiesFile;
use crate::dial::{Dialer, Patience};

/// The number of unused connections to one upstream that are kept.
const KEPT_CONNECTIONS: usize = 64;
/// How long they are kept. Shorter than what registries and the proxies before them allow, so that a request is seldom
/// sent into a connection that is being closed.
const KEPT_FOR: Duration = Duration::from_secs(20);
/// The interval of pings on an HTTP/2 connection, and how long each may remain unanswered.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// How much of a reply over HTTP/1.1 is read at once, in bytes, and waits here for a client that reads slowly. Several such
/// pieces may: hyper's own bound is three times as much, and a thousand clients that do not read held a gigabyte.
const PIECE: usize = 128 * 1024;
/// How much of a reply over HTTP/2 may wait here for a client that reads slowly, in bytes.
const WINDOW: u32 = 512 * 1024;
/// The same for all replies of one connection together: more than as many streams as any upstream allows. With less, a few
/// clients that do not read would stop the replies of all others, which come over the same connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024 * 1024;

/// Requests at once on one connection of HTTP/2: fewer than servers allow, which is 100 or more (RFC 9113, section 6.5.2).
/// Further ones would wait in line, and whoever held all of them, reading nothing, would close the upstream for everybody.
const STREAMS: usize = 64;
/// Unused connections that are kept for each further so many requests. One of HTTP/2 is enough for all of them.
const KEPT_BESIDES: usize = 1;

/// The HTTP client of an upstream. Clones share their connections.
#[derive(Clone)]
pub(super) struct HttpClient {
    connector: Dialer,
    lanes: Arc<Mutex<Vec<Lane>>>,
    /// Whether requests share connections, as the last reply told. Over HTTP/1.1 one lane has a connection for each of them.
    shared: Arc<AtomicBool>,
}

/// Connections of which one of HTTP/2 serves for all requests.
struct Lane {
    client: Client<Dialer, ClientBody>,
    /// Shared with each request that is under way.
    riders: Arc<()>,
}

/// The part of a lane that a request takes until its reply is over. Each reply carries it among its extensions.
#[derive(Clone)]
pub(crate) struct Ride {
    _counted: Arc<()>,
}

impl HttpClient {
    /// Sends a request, over HTTP/2 on a connection where fewer than [`STREAMS`] are under way.
    ///
    /// # Errors
    /// There is no connection, or it broke.
    pub(super) async fn request(&self, request: Request<ClientBody>) -> Result<Response<Incoming>, legacy::Error> {
        let (client, ride) = self.board();
        let mut reply = client.request(request).await?;
        self.shared.store(reply.version() == Version::HTTP_2, Ordering::Relaxed);
        reply.extensions_mut().insert(ride);
        Ok(reply)
    }

    fn board(&self) -> (Client<Dialer, ClientBody>, Ride) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = self.shared.load(Ordering::Relaxed);
        // One more than its riders hold it.
        let free = lanes.iter().find(|lane| !shared || Arc::strong_count(&lane.riders) <= STREAMS);
        if let Some(lane) = free {
            return (lane.client.clone(), Ride { _counted: Arc::clone(&lane.riders) });
        }
        let kept = if lanes.is_empty() { KEPT_CONNECTIONS } else { KEPT_BESIDES };
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_FOR)
            .pool_max_idle_per_host(kept)
            .http1_max_buf_size(PIECE)
            .http2_keep_alive_interval(ALIVE_EVERY)
            .http2_keep_alive_timeout(ALIVE_EVERY)
            .http2_initial_stream_window_size(WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .build(self.connector.clone());
        let riders = Arc::new(());
        lanes.push(Lane { client: client.clone(), riders: Arc::clone(&riders) });
        (client, Ride { _counted: riders })
    }
}

/// A client whose servers show a certificate of one of these authorities, or else of a public one.
///
/// # Errors
/// The authorities' certificates cannot be used.
pub(super) fn client(authorities: Option<&AuthoritiesFile>, connect_within: Duration) -> anyhow::Result<HttpClient> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(own) => {
            let (usable, _) = roots.add_parsable_certificates(own.certificates.iter().cloned());
            anyhow::ensure!(usable > 0, "{} names no authority that can be used", own.file.display());
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let connector = Dialer::new(Arc::new(tls), Patience { silence: connect_within, whole: connect_within });
    Ok(HttpClient { connector, lanes: Arc::default(), shared: Arc::default() })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

    use super::*;

    #[tokio::test]
    async fn further_connections_are_for_http2_and_are_filled_up_again() {
        let client = client(None, Duration::from_secs(1)).unwrap();
        let lanes = || client.lanes.lock().unwrap().len();
        let board = |number: usize| -> Vec<Ride> { (0..number).map(|_| client.board().1).collect() };
        let over_http1 = board(3 * STREAMS);
        assert_eq!(lanes(), 1);
        drop(over_http1);
        client.shared.store(true, Ordering::Relaxed);
        let mut first = board(STREAMS);
        assert_eq!(lanes(), 1);
        let second = board(1);
        assert_eq!(lanes(), 2);
        first.truncate(1);
        let again = board(2 * STREAMS - 2);
        assert_eq!((lanes(), again.len() + first.len() + second.len()), (2, 2 * STREAMS));
        let _third = board(1);
        assert_eq!(lanes(), 3);
    }
}
