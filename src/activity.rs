//! The activity of a client's connection: when it was last used, and whether anything of a request is still under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use tokio::time::Instant;

use crate::clock;

/// The activity of one connection: its requests, what was read and written, and work that takes longer than any idle time.
#[derive(Clone)]
pub(crate) struct Activity(Arc<Happening>);

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
pub(crate) struct Held(Arc<Happening>);

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// Its bytes were read after the last request.
    Alone,
    /// Its bytes had been read already when the last request was answered.
    WithAnother,
}

/// A request of which not all is done.
pub(crate) struct UnderWay(Arc<Happening>);

impl Activity {
    pub(crate) fn new() -> Activity {
        Activity(Arc::new(Happening {
            opened: clock::now(),
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
    pub(crate) fn hold(&self) -> Held {
        self.0.held.fetch_add(1, Ordering::AcqRel);
        Held(Arc::clone(&self.0))
    }

    /// A request has come; it is under way until what is returned is dropped.
    pub(crate) fn asked(&self, body: &Incoming) -> (UnderWay, Came) {
        self.0.touch();
        self.0.under_way.fetch_add(1, Ordering::AcqRel);
        self.0.body_left.store(false, Ordering::Release);
        // What follows half a body is not a request, and where the body ends is known to hyper alone: see `server/asked.rs`.
        let came = match self.0.unread.swap(!body.is_end_stream(), Ordering::AcqRel) {
            true => Came::Alone,
            false => Came::WithAnother,
        };
        (UnderWay(Arc::clone(&self.0)), came)
    }

    /// Bytes have been read that no request came of yet.
    pub(crate) fn read(&self) {
        self.0.unread.store(true, Ordering::Release);
    }

    /// hyper has read a request's body to its end.
    pub(crate) fn read_to_the_end_of_a_body(&self) {
        self.0.unread.store(false, Ordering::Release);
    }

    /// Nobody will read a request's body to its end.
    pub(crate) fn left_a_body_unread(&self) {
        self.0.body_left.store(true, Ordering::Release);
    }

    /// Whether the body of the last request was left unread.
    pub(crate) fn has_left_a_body_unread(&self) -> bool {
        self.0.body_left.load(Ordering::Acquire)
    }

    /// Whether the end of the connection would look like that of a reply which is not whole.
    pub(crate) fn ends_a_reply(&self) -> bool {
        self.0.ends_a_reply.load(Ordering::Acquire)
    }

    /// What became of an attempt to write.
    pub(crate) fn written<T>(&self, outcome: &Poll<T>) {
        self.0.unsent.store(outcome.is_pending(), Ordering::Release);
    }

    /// For how long the connection has been open.
    pub(crate) fn open_for(&self) -> Duration {
        self.0.opened.elapsed()
    }

    /// For how long nothing has gone on; `None` before the first request.
    pub(crate) fn silent(&self) -> Option<Duration> {
        match (self.0.last.load(Ordering::Acquire), self.0.held.load(Ordering::Acquire)) {
            (0, _) => None,
            (_, 1..) => Some(Duration::ZERO),
            (last, 0) => Some(self.0.opened.elapsed().saturating_sub(Duration::from_millis(last))),
        }
    }

    /// Whether nothing of a request is left to be answered, or of a reply to be sent.
    pub(crate) fn has_answered(&self) -> bool {
        self.0.under_way.load(Ordering::Acquire) == 0 && !self.0.unsent.load(Ordering::Acquire)
    }

    /// Whether hyper holds nothing of this connection that would be lost without it: no request, no part of one, and
    /// nothing of a reply.
    pub(crate) fn is_between_requests(&self) -> bool {
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
    /// Says whether the end of the connection would now look like that of a reply which is not whole.
    pub(crate) fn set_ends_a_reply(&self, ends_a_reply: bool) {
        self.0.ends_a_reply.store(ends_a_reply, Ordering::Release);
    }

    /// Something of the same request, which is not done before that is.
    pub(crate) fn and_more(&self) -> UnderWay {
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
