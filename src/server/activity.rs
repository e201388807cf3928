//! What goes on on a connection: whether it asks for anything, and whether anything of a request is still under way.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Response, Version};
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use tokio::time::Instant;

/// What goes on on a connection: its requests, what was read and written, and what takes longer than any idle time.
#[derive(Clone)]
pub struct Activity(Arc<Happening>);

struct Happening {
    opened: Instant,
    /// Milliseconds from the opening to the last request, or the end of its reply or of a transfer; none yet is zero.
    last: AtomicU64,
    /// Answers that are being made, and transfers.
    held: AtomicUsize,
    /// Requests whose replies were not handed over whole yet.
    under_way: AtomicUsize,
    /// Something was read that no request came of yet, or that may be one's body.
    unread: AtomicBool,
    /// The client does not take what is to be sent.
    unsent: AtomicBool,
    /// Nobody has read the last body to its end.
    body_left: AtomicBool,
    /// A reply is under way that ends where the connection does.
    ends_a_reply: AtomicBool,
}

/// As long as one of these lives, its connection is not an idle one. Whoever holds it ends what does not move.
pub struct Held(Arc<Happening>);

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// Its bytes were read after the last request.
    Alone,
    /// Its bytes had been read already when the last request was answered.
    WithAnother,
}

/// A request of which not all is done.
pub(super) struct UnderWay(Arc<Happening>);

impl Activity {
    pub(super) fn new() -> Activity {
        Activity(Arc::new(Happening {
            opened: Instant::now(),
            last: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            unread: AtomicBool::new(false),
            unsent: AtomicBool::new(false),
            body_left: AtomicBool::new(false),
            ends_a_reply: AtomicBool::new(false),
        }))
    }

    /// Keeps the connection from being closed as idle.
    pub fn hold(&self) -> Held {
        self.0.held.fetch_add(1, Ordering::AcqRel);
        Held(Arc::clone(&self.0))
    }

    /// A request has come; it is under way until what is returned is dropped.
    pub(super) fn asked(&self, body: &Incoming) -> (UnderWay, Came) {
        self.0.touch();
        self.0.under_way.fetch_add(1, Ordering::AcqRel);
        self.0.body_left.store(false, Ordering::Release);
        // What follows half a body is no request, and where the body ends is known to hyper alone: see
        // [`Asked`](super::asked::Asked).
        let came = match self.0.unread.swap(!body.is_end_stream(), Ordering::AcqRel) {
            true => Came::Alone,
            false => Came::WithAnother,
        };
        (UnderWay(Arc::clone(&self.0)), came)
    }

    /// Bytes have been read that no request came of yet.
    pub(super) fn read(&self) {
        self.0.unread.store(true, Ordering::Release);
    }

    /// hyper has read a request's body to its end.
    pub(super) fn read_to_the_end_of_a_body(&self) {
        self.0.unread.store(false, Ordering::Release);
    }

    /// Nobody will read a request's body to its end.
    pub(super) fn left_a_body_unread(&self) {
        self.0.body_left.store(true, Ordering::Release);
    }

    /// Whether the body of the last request was left unread.
    pub(super) fn has_left_a_body_unread(&self) -> bool {
        self.0.body_left.load(Ordering::Acquire)
    }

    /// Whether the end of the connection would look like that of a reply which is not whole.
    pub(super) fn ends_a_reply(&self) -> bool {
        self.0.ends_a_reply.load(Ordering::Acquire)
    }

    /// What became of an attempt to write.
    pub(super) fn written<T>(&self, outcome: &Poll<T>) {
        self.0.unsent.store(outcome.is_pending(), Ordering::Release);
    }

    /// For how long the connection has been open.
    pub(super) fn open_for(&self) -> Duration {
        self.0.opened.elapsed()
    }

    /// For how long nothing has gone on; `None` before the first request.
    pub(super) fn silent(&self) -> Option<Duration> {
        match (self.0.last.load(Ordering::Acquire), self.0.held.load(Ordering::Acquire)) {
            (0, _) => None,
            (_, 1..) => Some(Duration::ZERO),
            (last, 0) => Some(self.0.opened.elapsed().saturating_sub(Duration::from_millis(last))),
        }
    }

    /// Whether nothing of a request is left to be answered, or of a reply to be sent.
    pub(super) fn has_answered(&self) -> bool {
        self.0.under_way.load(Ordering::Acquire) == 0 && !self.0.unsent.load(Ordering::Acquire)
    }

    /// Whether hyper holds nothing of this connection that would be lost without it: no request, no part of one, and
    /// nothing of a reply.
    pub(super) fn is_between_requests(&self) -> bool {
        self.has_answered() && !self.0.unread.load(Ordering::Acquire)
    }
}

impl Happening {
    fn touch(&self) {
        let after = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(after.max(1), Ordering::Release);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.touch();
        self.0.held.fetch_sub(1, Ordering::AcqRel);
    }
}

impl UnderWay {
    /// Something of the same request, which is not done before that is.
    fn and_more(&self) -> UnderWay {
        self.0.under_way.fetch_add(1, Ordering::AcqRel);
        UnderWay(Arc::clone(&self.0))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // A connection is idle from the end of the reply, however long that took.
        self.0.touch();
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A reply's body, and that its request is under way until hyper has taken all of it; in HTTP/2, where hyper keeps what the
/// client has no room for yet, until all of it is sent.
pub(super) struct Reply {
    body: Body,
    under_way: UnderWay,
    version: Version,
    end: End,
}

/// How a client knows that it has all of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By its length, or by its last piece.
    Marked,
    /// By that of the connection.
    Connections,
}

impl Reply {
    /// A reply to that request, which came in this version of HTTP.
    pub(super) fn to(reply: Response<Body>, under_way: UnderWay, version: Version) -> Response<Reply> {
        let (head, body) = reply.into_parts();
        let has_length = head.headers.contains_key(CONTENT_LENGTH) || body.size_hint().exact().is_some();
        let end = match version {
            Version::HTTP_09 | Version::HTTP_10 if !has_length && !body.is_end_stream() => End::Connections,
            _ => End::Marked,
        };
        under_way.0.ends_a_reply.store(end == End::Connections, Ordering::Release);
        Response::from_parts(head, Reply { body, under_way, version, end })
    }
}

/// A piece of a reply that is not sent yet.
struct Piece {
    bytes: Bytes,
    _under_way: UnderWay,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match (self.end, &frame) {
            (End::Marked, _) | (End::Connections, Some(Err(_))) => {}
            (End::Connections, Some(Ok(_))) if !self.body.is_end_stream() => {}
            (End::Connections, Some(Ok(_)) | None) => self.under_way.0.ends_a_reply.store(false, Ordering::Release),
        }
        if self.version != Version::HTTP_2 {
            return Poll::Ready(frame);
        }
        let piece = |bytes| Bytes::from_owner(Piece { bytes, _under_way: self.under_way.and_more() });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
