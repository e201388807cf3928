//! The listeners, and the bounds of a connection: time, memory, and a place among the others.
//!
//! `axum::serve` has no deadline for a request's header, so that a few hundred half-open connections would stay for
//! ever; connections are served here instead.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rustls::server::ClientHello;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::acme::CHALLENGE_PROTOCOL;
use crate::app::App;
use crate::client_address::Peer;
use crate::clock;
use crate::config::{ListenAddress, Server};
use crate::connections::{Admission, Connections, Counted};
use crate::descriptors::{connections_at_once, transfers_at_once};
use crate::http::{self, AdminRoutes};
use crate::metrics::OpenConnection;

mod asked;
mod connection;
mod handshake;
mod listener;
mod not_http;
mod refused;
mod reply;
mod stream;

use connection::{Protocols, patiently};
use handshake::{is_no_tls, shake_hands};
use listener::{Listener, listen};
use not_http::NotHttp;
use stream::Stream;

/// How long a TLS handshake may take.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// The most connections at once of the listener for health and metrics, where it is one of its own.
const ADMIN_CONNECTIONS: usize = 64;
/// After SIGTERM: how long requests are still taken, with `Connection: close` on each reply, so that clients leave by
/// themselves before connections are closed on them.
const FAREWELL: Duration = Duration::from_secs(1);
/// After that: how long requests under way may take to finish. With what the end of the process may take besides, it is
/// less than the ten seconds after which Docker kills.
const DRAIN: Duration = Duration::from_secs(7);
/// Grace for connections that are queued already when the server stops: somebody may connect again and again.
const LAST_ONES: Duration = Duration::from_millis(300);

/// The sockets of a server, bound and not yet served.
pub struct Listeners {
    public: Listener,
    admin: Option<Listener>,
    gateway: Option<Listener>,
    tls: bool,
    path_prefix: String,
}

impl Listeners {
    /// Binds the sockets.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub async fn bind(server: &Server, gateway: Option<&ListenAddress>) -> anyhow::Result<Listeners> {
        let public = listen(&server.listen).await?;
        let admin = match &server.admin {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let gateway = match gateway {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        Ok(Listeners { public, admin, gateway, tls: server.speaks_tls(), path_prefix: server.path_prefix.clone() })
    }
}

/// Serves until `stop` becomes true, and lets the requests under way finish.
pub async fn serve(app: Arc<App>, listeners: Listeners, mut stop: watch::Receiver<bool>) {
    let Listeners { public: public_listener, admin: admin_listener, gateway, tls, path_prefix } = listeners;
    let routes = match admin_listener {
        Some(_) => AdminRoutes::Elsewhere,
        None => AdminRoutes::Here,
    };
    let public = http::public(&app, &path_prefix, routes);
    let transfers = if app.snapshot().gateway.is_some() { transfers_at_once() } else { 0 };
    let connections = connections_at_once(transfers);
    let places = Arc::new(Semaphore::new(connections));
    let (farewell_over, over) = watch::channel(false);
    let mut doors = tokio::task::JoinSet::new();
    public_listener.announce("listening", tls);
    let crowd = Crowd::Limited(Arc::new(Connections::sharing(connections)));
    let open = |router: Router, listener: Listener| {
        let entrance = Entrance::new(&app, router, Security::AsConfigured, crowd.clone());
        accept(listener, entrance, Arc::clone(&places), over.clone())
    };
    doors.spawn(open(public, public_listener));
    if let Some(listener) = gateway {
        listener.announce("listening for the gateway", tls);
        doors.spawn(open(http::gateway(&app), listener));
    }
    if let Some(listener) = admin_listener {
        listener.announce("listening for health and metrics", false);
        // Places of its own: monitoring has to answer when all others are taken.
        let places = Arc::new(Semaphore::new(ADMIN_CONNECTIONS));
        let entrance = Entrance::new(&app, http::admin(&app), Security::Plain, Crowd::Unlimited);
        doors.spawn(accept(listener, entrance, places, over));
    }
    while !*stop.borrow_and_update() {
        if stop.changed().await.is_err() {
            break;
        }
    }
    app.begin_stopping();
    info!("stopping: requests under way will finish");
    tokio::time::sleep(FAREWELL).await;
    farewell_over.send_replace(true);
    while doors.join_next().await.is_some() {}
    info!("stopped");
}

/// Whether a listener speaks TLS.
#[derive(Clone, Copy)]
enum Security {
    /// Where a certificate is configured.
    AsConfigured,
    /// Never: the listener is for monitoring.
    Plain,
}

/// Whether the clients of one network have a share of the places.
#[derive(Clone)]
enum Crowd {
    Limited(Arc<Connections>),
    /// The listener is for monitoring.
    Unlimited,
}

impl Crowd {
    /// A place for the next connection, for which one that rests may have to leave.
    async fn place(&self, places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, AcquireError> {
        match self {
            Crowd::Limited(connections) => connections.place(places).await,
            Crowd::Unlimited => Arc::clone(places).acquire_owned().await,
        }
    }
}

/// What a connection holds while it is open.
struct Seat {
    _place: OwnedSemaphorePermit,
    share: Option<Counted>,
    _counted: OpenConnection,
}

/// What every connection of a listener shares.
#[derive(Clone)]
struct Entrance {
    app: Arc<App>,
    router: Router,
    security: Security,
    crowd: Crowd,
    protocols: Arc<Protocols>,
}

async fn accept(listener: Listener, entrance: Entrance, places: Arc<Semaphore>, mut over: watch::Receiver<bool>) {
    // Each connection holds a receiver until it ends.
    let (leave, leaving) = watch::channel(());
    loop {
        let next = async {
            let place = entrance.crowd.place(&places).await?;
            take(&listener, &entrance, leaving.clone(), place).await;
            Ok::<(), AcquireError>(())
        };
        tokio::select! {
            _ = over.changed() => break,
            taken = next => match taken {
                Ok(()) => {}
                Err(_) => break,
            }
        }
    }
    take_last_ones(|| {
        let place = Arc::clone(&places).try_acquire_owned().ok()?;
        Some(take(&listener, &entrance, leaving.clone(), place))
    })
    .await;
    match listener {
        Listener::Tcp(socket) => drop(socket),
        Listener::Unix(socket, file) => {
            drop(socket);
            file.remove().await;
        }
    }
    drop(leaving);
    leave.send_replace(());
    if timeout(DRAIN, leave.closed()).await.is_err() {
        warn!(reason = "drain_timeout", seconds = DRAIN.as_secs(), "requests were still under way and are cut off");
    }
}

/// Takes what has connected already, before the socket is closed, which would reset it: as long as there is a place, and one
/// that has come.
async fn take_last_ones<F: Future<Output = ()>>(mut next: impl FnMut() -> Option<F>) {
    let end = clock::now() + LAST_ONES;
    while clock::now() < end
        && let Some(taking) = next()
    {
        if timeout(Duration::ZERO, taking).await.is_err() {
            break;
        }
    }
}

/// Takes one connection and serves it on a task of its own.
async fn take(listener: &Listener, entrance: &Entrance, leaving: watch::Receiver<()>, place: OwnedSemaphorePermit) {
    let failed = match listener {
        Listener::Tcp(listener) => match listener.accept().await {
            Ok((stream, peer)) => {
                let peer = Peer::Tcp(peer.ip());
                let Some(seat) = entrance.seat(peer, place) else { return };
                if let Err(cause) = stream.set_nodelay(true) {
                    debug!(cause = %cause, "replies may be delayed on a connection");
                }
                tokio::spawn(secure_and_serve(entrance.clone(), stream, peer, leaving, seat));
                return;
            }
            Err(cause) => cause,
        },
        Listener::Unix(listener, _) => match listener.accept().await {
            Ok((stream, _)) => {
                let Some(seat) = entrance.seat(Peer::Unix, place) else { return };
                tokio::spawn(secure_and_serve(entrance.clone(), stream, Peer::Unix, leaving, seat));
                return;
            }
            Err(cause) => cause,
        },
    };
    // Out of file descriptors, most likely: without a pause this would spin until one is free.
    warn!(reason = "accept_failed", cause = %failed, "a connection could not be taken");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

impl Entrance {
    fn new(app: &Arc<App>, router: Router, security: Security, crowd: Crowd) -> Entrance {
        let protocols = Arc::new(Protocols::new(NotHttp::new(app.metrics.clone())));
        Entrance { app: Arc::clone(app), router, security, crowd, protocols }
    }

    /// What a new connection holds from now on; nothing if its network has too many.
    fn seat(&self, peer: Peer, place: OwnedSemaphorePermit) -> Option<Seat> {
        let share = match &self.crowd {
            Crowd::Unlimited => None,
            Crowd::Limited(connections) => match connections.admit(self.app.snapshot().origin(peer)) {
                Admission::Counted(counted) => Some(counted),
                Admission::Uncounted => None,
                Admission::Refused => {
                    self.app.metrics.connection_refused();
                    return None;
                }
            },
        };
        Some(Seat { _place: place, share, _counted: self.app.metrics.connection_opened() })
    }
}

async fn secure_and_serve<S>(entrance: Entrance, stream: S, peer: Peer, mut leaving: watch::Receiver<()>, seat: Seat)
where
    S: Stream,
{
    let share = seat.share.as_ref();
    let tls = match entrance.security {
        Security::AsConfigured => entrance.app.snapshot().tls.as_ref().map(|tls| Arc::clone(&tls.config)),
        Security::Plain => None,
    };
    let Some(tls) = tls else { return entrance.protocols.serve(entrance.router, stream, peer, leaving, share).await };
    // Apart: a connection without TLS would take the memory of one with it.
    Box::pin(async move {
        // And a connection that has shaken hands that of the handshake; its stream is named in many places of its state.
        let chosen = |hello: ClientHello<'_>| entrance.app.tls_for(&hello, tls);
        let shaken = Box::pin(shake_hands(chosen, stream, || entrance.app.turn_to_sign(peer)));
        match patiently(shaken, HANDSHAKE_PATIENCE, &mut leaving).await {
            // The authority has seen what it asked for. Nothing else is said in this protocol (RFC 8737, section 4).
            Some(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(CHALLENGE_PROTOCOL) => {}
            Some(Ok(stream)) => entrance.protocols.serve(entrance.router, Box::new(stream), peer, leaving, share).await,
            Some(Err(cause)) => {
                if is_no_tls(&cause) {
                    entrance.protocols.not_http().came(peer, &"no TLS, which is spoken here");
                }
                debug!(cause = %cause, "a TLS handshake failed");
            }
            None => debug!("a TLS handshake took too long"),
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_connections_are_taken_as_long_as_there_are_any() {
        let mut left = 1000;
        take_last_ones(|| {
            left -= 1;
            Some(async move {
                if left == 0 {
                    std::future::pending::<()>().await;
                }
            })
        })
        .await;
        assert_eq!(left, 0, "nobody was left behind, and nobody waited for");
    }

    #[tokio::test]
    async fn whoever_connects_again_and_again_is_not_taken_for_ever() {
        let began = clock::now();
        take_last_ones(|| {
            assert!(began.elapsed() < Duration::from_secs(60), "somebody connects again and again");
            Some(async {})
        })
        .await;
    }
}
