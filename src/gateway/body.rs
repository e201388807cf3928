//! The bodies of requests and replies on their way through: passed on piece by piece, counted, and cut off when nothing moves.
//!
//! Neither side is ever read ahead of the other, so that a transfer of any size takes the memory of a few pieces.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use axum::body::{Body, Bytes};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use prometheus_client::metrics::counter::Counter;

use super::transfer::{Transfer, TransferEnd};

/// Why a body was cut off. It never ends as if it were whole: the connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Cut {
    /// The client went away, or sent something that cannot be read as a body.
    #[error("the client's body broke off")]
    Client,
    /// The request is sent once more.
    #[error("the request was begun anew")]
    Anew,
    /// The upstream went away, or its reply is not as long as it said.
    #[error("the upstream's reply broke off")]
    Upstream,
    /// The client reads or sends nothing.
    #[error("the client stalls")]
    ClientStalls,
    /// The upstream reads or sends nothing.
    #[error("the upstream stalls")]
    UpstreamStalls,
}

/// The body of a client's request, on its way to the upstream. Clones are of the same body.
#[derive(Clone)]
pub(crate) struct ClientBody {
    shared: Arc<Mutex<Sent>>,
    turn: u32,
}

/// How far a client's body has come.
struct Sent {
    body: Body,
    /// The number of the clone that may read; the others were given up.
    turn: u32,
    moved: Instant,
    bytes: u64,
    counted: Counter,
    /// Whether a piece of it is gone.
    touched: bool,
    /// Whether the upstream has asked for more than the client has sent so far.
    waits: bool,
    end: Option<(Instant, Result<(), Cut>)>,
}

/// What a request that is under way waits for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// More of the client's body.
    Body,
    /// An upstream that reads it.
    Reader,
    /// The beginning of a reply to the whole of it.
    Reply,
}

impl ClientBody {
    pub(crate) fn new(body: Body, counted: Counter) -> ClientBody {
        let now = crate::clock::now();
        let end = body.is_end_stream().then_some((now, Ok(())));
        let sent = Sent { body, turn: 0, moved: now, bytes: 0, counted, touched: false, waits: false, end };
        ClientBody { shared: Arc::new(Mutex::new(sent)), turn: 0 }
    }

    /// No body at all, of a request of our own.
    pub(crate) fn none() -> ClientBody {
        ClientBody::new(Body::empty(), Counter::default())
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes are gone.
    pub(crate) fn bytes(&self) -> u64 {
        self.sent().bytes
    }

    /// Whether nothing of it is gone, so that the request can be sent once more.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.sent().touched
    }

    /// Whether it broke off on the client's side.
    pub(crate) fn broke(&self) -> bool {
        self.sent().end.is_some_and(|(_, end)| end.is_err())
    }

    /// The same body for another try. Whoever still reads for the try before gets nothing more of it.
    pub(crate) fn again(&self) -> ClientBody {
        let mut sent = self.sent();
        sent.turn += 1;
        sent.moved = crate::clock::now();
        if let Some((ended, _)) = &mut sent.end {
            *ended = crate::clock::now();
        }
        ClientBody { shared: Arc::clone(&self.shared), turn: sent.turn }
    }

    /// Returns once nothing has moved for `idle_for`, or the whole request has been answered with nothing for
    /// `respond_within`.
    pub(crate) async fn stalled(&self, idle_for: Duration, respond_within: Duration) -> Missing {
        loop {
            let pause = {
                let sent = self.sent();
                match sent.end {
                    Some((ended, _)) if ended.elapsed() >= respond_within => return Missing::Reply,
                    Some((ended, _)) => respond_within.saturating_sub(ended.elapsed()),
                    None if sent.moved.elapsed() >= idle_for && sent.waits => return Missing::Body,
                    None if sent.moved.elapsed() >= idle_for => return Missing::Reader,
                    None => idle_for.saturating_sub(sent.moved.elapsed()).min(respond_within),
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}

impl hyper::body::Body for ClientBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let mut guard = self.sent();
        let sent = &mut *guard;
        if sent.turn != self.turn {
            return Poll::Ready(Some(Err(Cut::Anew)));
        }
        match Pin::new(&mut sent.body).poll_frame(cx) {
            Poll::Pending => {
                sent.waits = true;
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else {
                    // Trailers, after which nothing comes. No registry reads any.
                    sent.end.get_or_insert((crate::clock::now(), Ok(())));
                    return Poll::Ready(None);
                };
                let length = data.len() as u64;
                sent.moved = crate::clock::now();
                sent.bytes += length;
                sent.counted.inc_by(length);
                sent.touched = true;
                sent.waits = false;
                if sent.body.is_end_stream() {
                    sent.end.get_or_insert((sent.moved, Ok(())));
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Some(Err(_))) => {
                sent.end = Some((crate::clock::now(), Err(Cut::Client)));
                Poll::Ready(Some(Err(Cut::Client)))
            }
            Poll::Ready(None) => {
                sent.end.get_or_insert((crate::clock::now(), Ok(())));
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.sent().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.sent().body.size_hint()
    }
}

/// What is wrong with a body that should be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotEmpty {
    /// It has content.
    Something,
    /// It broke off.
    Broken,
    /// It does not come to an end.
    Stalled,
}

/// The empty body of a request that must not have one, once it is known to be empty: over HTTP/2 and in pieces, that comes later.
///
/// Content has no meaning there (RFC 9110, section 9.3.1), so that two readers may see another end of it: what one takes for
/// a body is the next request to the other, and that would be one that nobody decided on.
///
/// # Errors
/// What is there instead.
pub(crate) async fn no_body(mut body: Body, idle_for: Duration) -> Result<Body, NotEmpty> {
    // A client that asks before it sends (`Expect: 100-continue`) is to learn it then.
    if body.size_hint().lower() > 0 {
        return Err(NotEmpty::Something);
    }
    let end = async {
        while let Some(frame) = body.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) if !data.is_empty() => return Err(NotEmpty::Something),
                // An empty piece, or trailers.
                Ok(Ok(_) | Err(_)) => {}
                Err(_) => return Err(NotEmpty::Broken),
            }
        }
        Ok(Body::empty())
    };
    tokio::time::timeout(idle_for, end).await.unwrap_or(Err(NotEmpty::Stalled))
}

/// The body of an upstream's reply, on its way to the client.
pub(crate) struct Relay(Arc<Mutex<Relayed>>);

struct Relayed {
    /// `None` once it has been given up, or where the reply has none.
    body: Option<Incoming>,
    moved: Instant,
    bytes: u64,
    counted: Counter,
    /// The client's side, while it waits for the upstream.
    waiting: Option<Waker>,
    cut: Option<Cut>,
    whole: bool,
    /// Writes the line at the end; `None` once that is done.
    transfer: Option<Transfer>,
}

impl Relay {
    /// Passes `body` on, and watches that it moves. The transfer's line is written when all of it is gone, or when it
    /// ends in any other way.
    pub(crate) fn new(body: Incoming, idle_for: Duration, counted: Counter, transfer: Transfer) -> Relay {
        let relay = Relay::from_body(Some(body), counted, transfer);
        tokio::spawn(watch(Arc::downgrade(&relay.0), idle_for));
        relay
    }

    /// A reply without a body, to HEAD for example. Its length is that of something else, and nobody's to fill in.
    pub(crate) fn nothing(transfer: Transfer) -> Relay {
        Relay::from_body(None, Counter::default(), transfer)
    }

    fn from_body(body: Option<Incoming>, counted: Counter, transfer: Transfer) -> Relay {
        Relay(Arc::new(Mutex::new(Relayed {
            whole: body.as_ref().is_none_or(hyper::body::Body::is_end_stream),
            body,
            moved: crate::clock::now(),
            bytes: 0,
            counted,
            waiting: None,
            cut: None,
            transfer: Some(transfer),
        })))
    }
}

impl Relayed {
    /// Lets go of the upstream and of the client's connection, and tells how it went.
    fn ended(&mut self) {
        self.body = None;
        let end = match (self.whole, self.cut) {
            (true, _) => TransferEnd::Whole,
            (false, Some(cut)) => TransferEnd::Cut(cut),
            // Nobody wanted the rest.
            (false, None) => TransferEnd::Cut(Cut::Client),
        };
        if let Some(transfer) = self.transfer.take() {
            transfer.ended(end, self.bytes);
        }
    }
}

fn locked(shared: &Mutex<Relayed>) -> MutexGuard<'_, Relayed> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets go of the upstream once nothing has moved for too long. The client's side may not even be asked for more by
/// then: a client that does not read would otherwise hold the upstream's connection for as long as it likes.
async fn watch(relay: Weak<Mutex<Relayed>>, idle_for: Duration) {
    loop {
        let pause = {
            let Some(shared) = relay.upgrade() else { return };
            let mut relayed = locked(&shared);
            if relayed.whole || relayed.body.is_none() {
                return;
            }
            let silent = relayed.moved.elapsed();
            if silent >= idle_for {
                let waiting = relayed.waiting.take();
                relayed.cut = Some(if waiting.is_some() { Cut::UpstreamStalls } else { Cut::ClientStalls });
                // Not when the client's side is dropped: one that does not read would keep its own connection open.
                relayed.ended();
                drop(relayed);
                if let Some(waker) = waiting {
                    waker.wake();
                }
                return;
            }
            idle_for.saturating_sub(silent)
        };
        tokio::time::sleep(pause).await;
    }
}

impl hyper::body::Body for Relay {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let mut guard = locked(&self.0);
        let relayed = &mut *guard;
        loop {
            if let Some(cut) = relayed.cut {
                return Poll::Ready(Some(Err(cut)));
            }
            let Some(body) = &mut relayed.body else { return Poll::Ready(None) };
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => {
                    relayed.waiting = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(frame))) => {
                    relayed.waiting = None;
                    // Trailers stay here; what follows them is the end.
                    let Ok(data) = frame.into_data() else { continue };
                    let length = data.len() as u64;
                    relayed.moved = crate::clock::now();
                    relayed.whole = relayed.body.as_ref().is_some_and(hyper::body::Body::is_end_stream);
                    relayed.bytes += length;
                    relayed.counted.inc_by(length);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(_))) => {
                    relayed.cut = Some(Cut::Upstream);
                    relayed.body = None;
                }
                Poll::Ready(None) => {
                    relayed.whole = true;
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let relayed = locked(&self.0);
        relayed.cut.is_none() && relayed.body.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        locked(&self.0).body.as_ref().map(hyper::body::Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        locked(&self.0).ended();
    }
}
