//! One connection from its first byte to its last: which HTTP it speaks, how long it may be silent, and how it rests.
//!
//! Ten thousand clients keep connections that they use now and then. HTTP's state of one is 25 KiB, most of it a buffer
//! for reading that hyper keeps between requests; so a connection that is silent is taken away from hyper, rests as a bare
//! socket, and is given back with its next request's header.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::IntoResponse as _;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;
use tracing::debug;

use super::asked::{RequestBody, Rest as RestOfBody};
use super::not_http::NotHttp;
use super::reply::ReplyBody;
use super::stream::Stream;
use crate::activity::{Activity, Came};
use crate::client_address::Peer;
use crate::connections::Counted;

mod drive;
mod lent;
mod line;
mod linger;

use drive::{Driven, Rest, drive, wanted};
use lent::Lent;
use line::{Line, Next, Protocol};
use linger::{Unread, see_off};

/// How long the header of a request may take to arrive, and how long a connection may be idle between requests. A second less
/// than half-open connections may have at most (15 seconds): what is closed has to be noticed, also where the cores are busy.
const HEADER_PATIENCE: Duration = Duration::from_secs(14);
/// How long a connection may be open before its first request is there. HTTP/1's header deadline starts only once it is
/// known which HTTP is spoken, so that a connection that sends nothing, or half of HTTP/2's greeting, would stay.
const FIRST_REQUEST_PATIENCE: Duration = Duration::from_secs(14);
/// How long a connection may be open without a new request, an answer to one, or the end of a reply. Whoever does not read
/// the replies, or keeps HTTP/2 alive with pings alone, would otherwise hold a place and the memory of the replies for ever.
const IDLE_PATIENCE: Duration = Duration::from_secs(60);
/// How long the end of a connection may take to be sent; and how long the rest of a header, once the server leaves.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(1);
/// How long an HTTP/1 connection is silent before it rests. What it costs is done anew with its next request, so clients
/// that ask again and again should not see it.
const REST_AFTER: Duration = Duration::from_secs(1);
/// The longest request header, all lines together, in bytes.
const MAX_HEADER: usize = 64 * 1024;
/// The most lines of it: hyper's own bound for HTTP/1. Over HTTP/2 a line that was sent before takes one byte, and many times
/// that here.
const MAX_LINES: usize = 100;
/// Requests that one HTTP/2 connection may have under way.
const MAX_STREAMS: u32 = 16;
/// Requests of one HTTP/2 connection that were reset before we looked at them (CVE-2023-44487), and requests that were so
/// wrong that we reset them ourselves. With one more of either the connection is closed.
const MAX_RESETS: usize = 20;
/// What one HTTP/2 connection may have waiting to be sent, in bytes for each request: a little more than a reply.
const MAX_SEND_BUFFER: usize = 64 * 1024;

/// How long a connection may be silent. What holds for strangers would end a proxy's while it still keeps it, and the request
/// that it sends in that moment is lost: its client sees a 502.
#[derive(Clone, Copy)]
struct Patience {
    /// How long it may rest if it is a proxy's.
    proxy_rest: Option<Duration>,
}

impl Patience {
    fn with(share: Option<&Counted>) -> Patience {
        Patience { proxy_rest: share.and_then(Counted::proxy_rest) }
    }

    /// From its beginning to its first request.
    fn first_request(self) -> Duration {
        self.proxy_rest.map_or(FIRST_REQUEST_PATIENCE, |rest| rest + HEADER_PATIENCE)
    }

    /// Between two requests, where strangers may rest for so long.
    fn rest(self, strangers: Duration) -> Duration {
        self.proxy_rest.map_or(strangers, |rest| rest.max(strangers))
    }

    /// After how long it may have to make room for another: a stranger's once it rests; a proxy's once it has rested for
    /// longer than a stranger's may.
    fn gives_way(self, strangers: Duration) -> Duration {
        if self.proxy_rest.is_some() { strangers } else { REST_AFTER }
    }
}

/// Waits until `leaving` changes, and a connection that has only just come was open for a moment: its first request is on its
/// way, perhaps behind the end of a TLS handshake.
async fn farewell(activity: &Activity, leaving: &mut watch::Receiver<()>) {
    // An error would mean that nobody says it any more: the server has left.
    let _ = leaving.changed().await;
    leaving.mark_changed();
    sleep(FAREWELL_PATIENCE.saturating_sub(activity.open_for())).await;
}

/// Waits for something for so long, and not for much longer than until `leaving` changes; nothing if it did not come.
pub(super) async fn patiently<T>(
    work: impl Future<Output = T>,
    patience: Duration,
    leaving: &mut watch::Receiver<()>,
) -> Option<T> {
    let mut work = pin!(work);
    tokio::select! {
        // What has arrived already is served even if the server leaves.
        biased;
        done = &mut work => return Some(done),
        _ = leaving.changed() => {}
        () = sleep(patience) => return None,
    }
    // Whoever serves what comes now has to know as well.
    leaving.mark_changed();
    timeout(FAREWELL_PATIENCE, work).await.ok()
}

/// How HTTP is spoken on every connection of a listener.
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    not_http: NotHttp,
}

impl Protocols {
    /// With the limits above. Whoever speaks none of them is counted.
    pub(super) fn new(not_http: NotHttp) -> Protocols {
        let mut http1 = http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(HEADER_PATIENCE).max_buf_size(MAX_HEADER);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_RESETS)
            .max_send_buf_size(MAX_SEND_BUFFER)
            .max_header_list_size(MAX_HEADER as u32)
            .keep_alive_interval(HEADER_PATIENCE)
            .keep_alive_timeout(HEADER_PATIENCE);
        Protocols { http1, http2, not_http }
    }

    /// Those who speak something else.
    pub(super) fn not_http(&self) -> &NotHttp {
        &self.not_http
    }

    /// Serves a connection until it ends, or until what was asked is answered after `leaving` has changed. Where it is
    /// counted as a `share` of its network's, it also ends if another one needs its place while it rests.
    pub(super) async fn serve<S>(
        &self,
        router: Router,
        stream: S,
        peer: Peer,
        mut leaving: watch::Receiver<()>,
        share: Option<&Counted>,
    ) where
        S: Stream,
    {
        let activity = Activity::new();
        let patience = Patience::with(share);
        let mut line = Line::new(stream, activity.clone());
        let protocol = tokio::select! {
            // What has arrived already is served even if the server leaves.
            biased;
            protocol = line.greeting() => protocol,
            () = farewell(&activity, &mut leaving) => return,
            // Some proxies connect before they have a request.
            () = sleep(patience.proxy_rest.unwrap_or(FIRST_REQUEST_PATIENCE)) => {
                return debug!("a connection was closed that asks for nothing");
            }
            // A proxy's: a stranger's is closed by then.
            () = make_room(share, FIRST_REQUEST_PATIENCE) => {
                return debug!("a connection that had asked for nothing was closed for another one");
            }
        };
        let service = service(router, peer, activity.clone());
        match protocol {
            Ok(Protocol::Http1) => match self.serve_http1(line, service, peer, &mut leaving, share).await {
                None => {}
                Some((line, unread)) => see_off(line, unread, &mut leaving, share).await,
            },
            Ok(Protocol::Http2) => {
                let (lent, mut found) = Lent::new(line);
                let mut connection = Box::new(self.http2.serve_connection(TokioIo::new(lent), service));
                let rest = Rest::WithHyper(share);
                let driven =
                    drive(&mut *connection, http2::Connection::graceful_shutdown, &activity, rest, &mut leaving).await;
                drop(connection);
                let Ok(mut line) = found.try_recv() else { return };
                match driven {
                    // Pieces of bodies that were refused may be on their way.
                    Driven::Done(_) => see_off(line, Unread::Something, &mut leaving, share).await,
                    // Nobody who does not read may keep the other one waiting.
                    Driven::MadeRoom => line.end(Duration::ZERO).await,
                    Driven::GivenUp | Driven::Silent => {}
                }
            }
            Ok(Protocol::None) => {}
            Err(cause) => debug!(cause = %cause, "a connection ended early"),
        }
    }

    /// Serves a connection until it ends by itself, in which case it is given back, or is given up.
    async fn serve_http1<S, H>(
        &self,
        mut line: Line<S>,
        mut service: H,
        peer: Peer,
        leaving: &mut watch::Receiver<()>,
        share: Option<&Counted>,
    ) -> Option<(Line<S>, Unread)>
    where
        S: Stream,
        H: HttpService<Incoming, ResBody = ReplyBody, Error = Infallible>,
    {
        let activity = line.activity().clone();
        let patience = Patience::with(share);
        let mut header_patience = patience.first_request().saturating_sub(activity.open_for()).min(HEADER_PATIENCE);
        loop {
            match patiently(line.header(), header_patience, leaving).await {
                Some(Ok(Next::Bytes)) => {}
                Some(Ok(Next::Closed)) => {
                    line.end(FAREWELL_PATIENCE).await;
                    return None;
                }
                Some(Err(cause)) => {
                    debug!(cause = %cause, "a connection ended early");
                    return None;
                }
                None => {
                    debug!("a connection was closed on which no whole request came");
                    line.end(FAREWELL_PATIENCE).await;
                    return None;
                }
            }
            header_patience = HEADER_PATIENCE;
            // Apart, so that the memory of it can be given back while the connection rests.
            let mut connection = Box::new(self.http1.serve_connection(TokioIo::new(line), service));
            let rest = Rest::Apart(patience);
            let driven = drive(&mut *connection, http1::Connection::graceful_shutdown, &activity, rest, leaving).await;
            let unread = match driven {
                Driven::Silent => None,
                Driven::GivenUp | Driven::MadeRoom => return None,
                Driven::Done(Ok(())) if activity.has_left_a_body_unread() => Some(Unread::Something),
                Driven::Done(Ok(())) => Some(Unread::NothingKnown),
                Driven::Done(Err(cause)) if cause.is_parse() => {
                    self.not_http.came(peer, &cause);
                    Some(Unread::Something)
                }
                // It broke, or a reply did: that must not look like its end.
                Driven::Done(Err(_)) => return None,
            };
            let parts = connection.into_parts();
            line = parts.io.into_inner();
            match unread {
                None => {}
                Some(Unread::NothingKnown) if parts.read_buf.is_empty() => return Some((line, Unread::NothingKnown)),
                Some(Unread::Something | Unread::NothingKnown) => return Some((line, Unread::Something)),
            }
            service = parts.service;
            if !parts.read_buf.is_empty() {
                // Sent together with the last request, and not a whole one.
                // Alone: it is a part of hyper's buffer, which may be large.
                line.put_back(&parts.read_buf);
                continue;
            }
            // Even empty it holds the whole buffer.
            drop(parts.read_buf);
            let silent = activity.silent().unwrap_or_default();
            let left = patience.rest(HEADER_PATIENCE).saturating_sub(silent);
            let keeps_its_place = patience.gives_way(HEADER_PATIENCE).saturating_sub(silent);
            let farewell = tokio::select! {
                // What has been asked is answered, whoever else needs the place.
                biased;
                read = line.wait() => match read {
                    Ok(Next::Closed) => FAREWELL_PATIENCE,
                    Ok(Next::Bytes) => continue,
                    Err(cause) => {
                        debug!(cause = %cause, "a connection ended early");
                        return None;
                    }
                },
                _ = leaving.changed() => FAREWELL_PATIENCE,
                () = make_room(share, keeps_its_place) => {
                    debug!("a connection that rested was closed for another one");
                    // Nor may a client that does not read keep the other one waiting.
                    Duration::ZERO
                }
                () = sleep(left) => {
                    debug!("a connection was closed that asks for nothing");
                    FAREWELL_PATIENCE
                }
            };
            line.end(farewell).await;
            return None;
        }
    }
}

/// Waits until a connection that rests has to leave for another one, which it need not before so long, and says that it does.
async fn make_room(share: Option<&Counted>, keeps_its_place: Duration) {
    if !keeps_its_place.is_zero() {
        sleep(keeps_its_place).await;
    }
    let mut at_rest = share.map(Counted::rest);
    wanted(&mut at_rest).await;
    if let Some(at_rest) = at_rest {
        at_rest.leave();
    }
}

/// Answers the requests of one connection.
fn service(
    router: Router,
    peer: Peer,
    activity: Activity,
) -> impl HttpService<Incoming, ResBody = ReplyBody, Error = Infallible, Future: Send> {
    service_fn(move |mut request: Request<Incoming>| {
        let (under_way, came) = activity.asked(request.body());
        let version = request.version();
        // Who waits for us is not idle. What answers has deadlines of its own: a program's may be a minute for each scope.
        let answering = activity.hold();
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(activity.clone());
        let headers = request.headers();
        // hyper counts what it has read before it reads on, so that a header which ends in its last piece may be longer.
        let length = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + ": \r\n".len();
        let is_fit = headers.len() <= MAX_LINES && headers.iter().map(length).sum::<usize>() <= MAX_HEADER;
        let (asked, left) = RequestBody::from_request(request, activity.clone());
        let answer = is_fit.then(|| router.clone().oneshot(asked.map(Body::new)));
        async move {
            match came {
                Came::Alone => {}
                // Two hundred requests in one piece would otherwise be answered before anybody else's.
                Came::WithAnother => tokio::task::yield_now().await,
            }
            let mut reply = match answer {
                Some(answer) => answer.await?,
                None => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response(),
            };
            match left {
                None => {}
                Some(left) => match left.read().await {
                    RestOfBody::None => {}
                    RestOfBody::ToCome => {
                        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                },
            }
            drop(answering);
            Ok(ReplyBody::to(reply, under_way, version))
        }
    })
}

#[cfg(test)]
mod tests;
