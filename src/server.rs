//! Listening, and what a connection may take of us: time, memory, and a place among the others.
//!
//! `axum::serve` has no deadline for a request's header, so that a few hundred half-open connections would stay for
//! ever; connections are served here instead.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tracing::{debug, info, warn};

use crate::app::App;
use crate::config::{ListenAddress, Server};
use crate::http::client_address::Peer;
use crate::http::{self, AdminRoutes};

/// Connections that are open at once, over all listeners. Further ones wait in the system's queue.
const MAX_CONNECTIONS: usize = 16_384;
/// How long the header of a request may take to arrive, and how long a connection may be idle between requests.
const HEADER_PATIENCE: Duration = Duration::from_secs(15);
/// How long a connection may be open before its first request is there. HTTP/1's header deadline starts only once it is
/// known which HTTP is spoken, so that a connection that sends nothing, or half of HTTP/2's greeting, would stay.
const FIRST_REQUEST_PATIENCE: Duration = Duration::from_secs(20);
/// How long a TLS handshake may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// The longest request header, all lines together, in bytes.
const MAX_HEADER: usize = 64 * 1024;
/// The number of header lines.
const MAX_HEADER_LINES: usize = 100;
/// Requests that one HTTP/2 connection may have under way.
const MAX_STREAMS: u32 = 128;
/// After SIGTERM: how long requests are still taken, with `Connection: close` on each reply, so that clients leave by
/// themselves before connections are closed on them.
const FAREWELL: Duration = Duration::from_secs(1);
/// After that: how long requests under way may take to finish.
const DRAIN: Duration = Duration::from_secs(8);

/// A socket that is listened on.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// Listens, serves until `stop` becomes true, and lets the requests under way finish.
///
/// # Errors
/// An address cannot be listened on.
pub async fn serve(app: Arc<App>, server: &Server, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let public_listener = listen(&server.listen).await?;
    let admin_listener = match &server.admin {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let routes = match admin_listener {
        Some(_) => AdminRoutes::Elsewhere,
        None => AdminRoutes::Here,
    };
    let public = http::public(&app, &server.path_prefix, routes);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (farewell_over, over) = watch::channel(false);
    let mut doors = tokio::task::JoinSet::new();
    announce("listening", &public_listener, server.pair.is_some());
    doors.spawn(accept(
        Arc::clone(&app),
        public_listener,
        public,
        Security::AsConfigured,
        Arc::clone(&places),
        over.clone(),
    ));
    if let Some(listener) = admin_listener {
        announce("listening for health and metrics", &listener, false);
        doors.spawn(accept(Arc::clone(&app), listener, http::admin(&app), Security::Plain, places, over));
    }
    while !*stop.borrow_and_update() {
        if stop.changed().await.is_err() {
            break;
        }
    }
    info!("stopping: requests under way will finish");
    app.begin_stopping();
    tokio::time::sleep(FAREWELL).await;
    farewell_over.send_replace(true);
    while doors.join_next().await.is_some() {}
    info!("stopped");
    Ok(())
}

fn announce(message: &str, listener: &Listener, tls: bool) {
    let address = match listener {
        Listener::Tcp(listener) => listener.local_addr().map(|address| address.to_string()).unwrap_or_default(),
        Listener::Unix(_, path) => format!("unix:{}", path.display()),
    };
    info!(address, tls, "{message}");
}

async fn listen(address: &ListenAddress) -> anyhow::Result<Listener> {
    match address {
        ListenAddress::Tcp { host, port } if host.is_empty() => {
            // Where the machine has no IPv6 at all, the IPv4 addresses are all of them.
            let listener = match TcpListener::bind(("::", *port)).await {
                Ok(listener) => Ok(listener),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(error),
                Err(_) => TcpListener::bind(("0.0.0.0", *port)).await,
            };
            Ok(Listener::Tcp(listener.with_context(|| format!("cannot listen on port {port}"))?))
        }
        ListenAddress::Tcp { host, port } => {
            let listener = TcpListener::bind((host.as_str(), *port)).await;
            Ok(Listener::Tcp(listener.with_context(|| format!("cannot listen on {address}"))?))
        }
        ListenAddress::Unix(path) => {
            remove_stale_socket(path).await?;
            let listener = UnixListener::bind(path).with_context(|| format!("cannot listen on {address}"))?;
            Ok(Listener::Unix(listener, path.clone()))
        }
    }
}

/// A socket file that a process left behind is removed. One that somebody answers on is not, and nothing else is ever.
async fn remove_stale_socket(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let is_socket = tokio::fs::symlink_metadata(path).await.is_ok_and(|seen| seen.file_type().is_socket());
    if is_socket && tokio::net::UnixStream::connect(path).await.is_err() {
        tokio::fs::remove_file(path)
            .await
            .with_context(|| format!("cannot remove the old socket {}", path.display()))?;
    }
    Ok(())
}

/// Whether a listener speaks TLS.
#[derive(Clone, Copy)]
enum Security {
    /// Where a certificate is configured.
    AsConfigured,
    /// Never: the listener is for monitoring.
    Plain,
}

/// What every connection of a listener shares.
#[derive(Clone)]
struct Door {
    app: Arc<App>,
    router: Router,
    security: Security,
    connections: Arc<Builder<TokioExecutor>>,
}

async fn accept(
    app: Arc<App>,
    listener: Listener,
    router: Router,
    security: Security,
    places: Arc<Semaphore>,
    mut over: watch::Receiver<bool>,
) {
    let door = Door { app, router, security, connections: Arc::new(connections()) };
    let graceful = GracefulShutdown::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        tokio::select! {
            _ = over.changed() => break,
            () = take(&listener, &door, graceful.watcher(), place) => {}
        }
    }
    // What has connected already is served: closing the socket would reset it.
    while let Ok(place) = Arc::clone(&places).try_acquire_owned() {
        if tokio::time::timeout(Duration::ZERO, take(&listener, &door, graceful.watcher(), place)).await.is_err() {
            break;
        }
    }
    if let Listener::Unix(socket, path) = listener {
        drop(socket);
        if let Err(cause) = tokio::fs::remove_file(&path).await {
            debug!(cause = %cause, path = %path.display(), "the socket file was not removed");
        }
    } else {
        drop(listener);
    }
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        warn!(reason = "drain_timeout", seconds = DRAIN.as_secs(), "requests were still under way and are cut off");
    }
}

/// Takes one connection and serves it on a task of its own.
async fn take(listener: &Listener, door: &Door, watcher: Watcher, place: OwnedSemaphorePermit) {
    let failed = match listener {
        Listener::Tcp(listener) => match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(cause) = stream.set_nodelay(true) {
                    debug!(cause = %cause, "replies may be delayed on a connection");
                }
                tokio::spawn(secure_and_serve(door.clone(), stream, Peer::Tcp(peer.ip()), watcher, place));
                return;
            }
            Err(cause) => cause,
        },
        Listener::Unix(listener, _) => match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(secure_and_serve(door.clone(), stream, Peer::Unix, watcher, place));
                return;
            }
            Err(cause) => cause,
        },
    };
    // Out of file descriptors, most likely: without a pause this would spin until one is free.
    warn!(reason = "accept_failed", cause = %failed, "a connection could not be taken");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

fn connections() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .max_headers(MAX_HEADER_LINES)
        .max_buf_size(MAX_HEADER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER as u32)
        .keep_alive_interval(HEADER_PATIENCE)
        .keep_alive_timeout(HEADER_PATIENCE);
    builder
}

async fn secure_and_serve<S>(door: Door, stream: S, peer: Peer, watcher: Watcher, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _place = place;
    let tls = match door.security {
        Security::AsConfigured => door.app.snapshot().tls.clone(),
        Security::Plain => None,
    };
    let Some(tls) = tls else { return serve_connection(&door, stream, peer, watcher).await };
    match tokio::time::timeout(HANDSHAKE_PATIENCE, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => serve_connection(&door, stream, peer, watcher).await,
        Ok(Err(cause)) => debug!(cause = %cause, "a TLS handshake failed"),
        Err(_) => debug!("a TLS handshake took too long"),
    }
}

async fn serve_connection<S>(door: &Door, stream: S, peer: Peer, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = door.router.clone();
    let asked = Arc::new(AtomicBool::new(false));
    let asking = Arc::clone(&asked);
    let service = service_fn(move |mut request: Request<Incoming>| {
        asking.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request.map(Body::new))
    });
    let connection = door.connections.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(watcher.watch(connection.into_owned()));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = tokio::time::sleep(FIRST_REQUEST_PATIENCE) => {
            if !asked.load(Ordering::Relaxed) {
                debug!("a connection was closed that asked for nothing");
                return;
            }
            connection.await
        }
    };
    if let Err(cause) = ended {
        debug!(cause = %cause, "a connection ended early");
    }
}
