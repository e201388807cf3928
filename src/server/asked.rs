//! A request's body, and what becomes of it where a reply is there before all of it was read.
//!
//! A connection that is closed with bytes unread is reset, and the reset overtakes the reply: a client that is still sending
//! sees a broken pipe instead of a refusal. So the rest of a body is read to its end if it is short and there already; if it
//! is not, the client is told that the connection ends with the reply, and `connection/linger.rs` waits until it has seen
//! that.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::header::EXPECT;
use axum::http::{Request, Version};
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::timeout;

use crate::activity::Activity;

/// As much of a body that nobody wants is read before the reply, in bytes, so that the connection can be kept: as Go's
/// server does.
const MOST_OF_A_REST: u64 = 256 * 1024;
/// How long the reply waits for such a rest. What was sent with the header is there by then.
const REST_PATIENCE: Duration = Duration::from_millis(20);

/// A request's body, which tells when hyper has read it to its end.
pub(super) struct RequestBody {
    /// `None` only while it is handed over.
    body: Option<Incoming>,
    read: Read,
    activity: Activity,
    /// Who gets it from whoever drops it, as long as there is something left.
    after: Option<oneshot::Sender<RequestBody>>,
}

/// How far a body was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// The client sends nothing of it before it is asked to, or before it has waited for that in vain (RFC 9110, section
    /// 10.1.1). Reading is asking.
    NotAskedFor,
    /// Not to its end.
    Begun,
    /// It broke off, or is malformed.
    Broken,
    ToItsEnd,
}

/// The body of a request over HTTP/1, once whoever answered it has dropped it with something left.
pub(super) struct Left(oneshot::Receiver<RequestBody>);

/// What the rest of a request means for its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// There is none.
    None,
    /// Some of it is still to come, so that the next request would be far away: the connection ends with the reply, or, where
    /// somebody passes the rest on, with that.
    ToCome,
}

impl RequestBody {
    /// The body of a request on that connection, and, where the protocol has no way to do without it, what is left of it.
    pub(super) fn from_request(request: Request<Incoming>, activity: Activity) -> (Request<RequestBody>, Option<Left>) {
        let (parts, body) = request.into_parts();
        let read = match (body.is_end_stream(), parts.headers.contains_key(EXPECT)) {
            (true, _) => Read::ToItsEnd,
            (false, true) => Read::NotAskedFor,
            (false, false) => Read::Begun,
        };
        let (after, left) = match (read, parts.version) {
            (Read::ToItsEnd, _) | (_, Version::HTTP_2) => (None, None),
            (Read::NotAskedFor | Read::Begun | Read::Broken, _) => {
                let (sender, receiver) = oneshot::channel();
                (Some(sender), Some(Left(receiver)))
            }
        };
        let asked = RequestBody { body: Some(body), read, activity, after };
        (Request::from_parts(parts, asked), left)
    }

    /// Reads on and keeps nothing.
    async fn read_to_its_end(&mut self) {
        let mut length = 0;
        while length <= MOST_OF_A_REST
            && let Some(Ok(frame)) = http_body_util::BodyExt::frame(self).await
        {
            length += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
    }
}

impl Left {
    /// Reads what is left if it is short and there already.
    pub(super) async fn read(mut self) -> Rest {
        let mut asked = match self.0.try_recv() {
            Ok(asked) => asked,
            Err(TryRecvError::Closed) => return Rest::None,
            // An upstream may answer before it has all of it.
            Err(TryRecvError::Empty) => return Rest::ToCome,
        };
        match asked.read {
            Read::Begun if asked.size_hint().lower() <= MOST_OF_A_REST => {
                // What was read until then says it.
                let _ = timeout(REST_PATIENCE, asked.read_to_its_end()).await;
            }
            Read::Begun | Read::NotAskedFor | Read::Broken | Read::ToItsEnd => {}
        }
        match asked.read {
            Read::ToItsEnd => Rest::None,
            Read::NotAskedFor | Read::Begun | Read::Broken => Rest::ToCome,
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let asked = &mut *self;
        let Some(body) = &mut asked.body else { return Poll::Ready(None) };
        asked.read = match asked.read {
            Read::NotAskedFor => Read::Begun,
            before @ (Read::Begun | Read::Broken | Read::ToItsEnd) => before,
        };
        let frame = ready!(Pin::new(&mut *body).poll_frame(context));
        match (&frame, asked.read) {
            (Some(Err(_)), _) => asked.read = Read::Broken,
            // Nothing comes after what is broken either.
            (None, Read::Broken) => {}
            (Some(Ok(_)), _) if !body.is_end_stream() => {}
            (Some(Ok(_)) | None, _) => {
                asked.read = Read::ToItsEnd;
                asked.after = None;
                asked.activity.read_to_the_end_of_a_body();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        match (self.read, self.body.take(), self.after.take()) {
            (Read::ToItsEnd, _, _) | (_, None, _) => {}
            (Read::NotAskedFor | Read::Begun | Read::Broken, Some(body), Some(after)) => {
                let rest =
                    RequestBody { body: Some(body), read: self.read, activity: self.activity.clone(), after: None };
                // Where nobody waits for it any more, it is dropped here.
                drop(after.send(rest));
            }
            (Read::NotAskedFor | Read::Begun | Read::Broken, Some(_), None) => self.activity.left_a_body_unread(),
        }
    }
}
