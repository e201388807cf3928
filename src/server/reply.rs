//! The body of a reply, which says when its connection may be taken for an idle one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::http::{Response, Version};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};

use crate::activity::UnderWay;

/// The body of a reply. Its request is under way until hyper has taken all of it; in HTTP/2, where hyper keeps what the client
/// has no room for yet, until all of it is sent.
pub(super) struct ReplyBody {
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

impl ReplyBody {
    /// A reply to that request, which came in this version of HTTP.
    pub(super) fn to(reply: Response<Body>, under_way: UnderWay, version: Version) -> Response<ReplyBody> {
        let (head, body) = reply.into_parts();
        let has_length = head.headers.contains_key(CONTENT_LENGTH) || body.size_hint().exact().is_some();
        let end = match version {
            Version::HTTP_09 | Version::HTTP_10 if !has_length && !body.is_end_stream() => End::Connections,
            _ => End::Marked,
        };
        under_way.set_ends_a_reply(end == End::Connections);
        Response::from_parts(head, ReplyBody { body, under_way, version, end })
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

impl HttpBody for ReplyBody {
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
            (End::Connections, Some(Ok(_)) | None) => self.under_way.set_ends_a_reply(false),
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
