//! A connection's stream while hyper does not have it: which HTTP is spoken on it, and when a header is whole.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;
use tracing::debug;

use crate::activity::Activity;
use crate::server::stream::Stream;

/// As much of a header is gathered before hyper has the connection, in bytes; hyper would have a buffer of this size for the
/// first of them.
pub(super) const GATHERED: usize = 8 * 1024;
/// The most bytes that are read at once while hyper does not have the connection.
pub(super) const READ_AT_ONCE: usize = 4 * 1024;
/// The same of what is thrown away.
const DISCARDED_AT_ONCE: usize = 16 * 1024;
/// What an HTTP/2 client says first (RFC 9113, section 3.4).
pub(super) const GREETING: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection's stream, with what was read of it before hyper had it.
pub(super) struct Line<S: Stream> {
    stream: S,
    early: Bytes,
    activity: Activity,
}

impl<S: Stream> Line<S> {
    /// A new connection's.
    pub(super) fn new(stream: S, activity: Activity) -> Line<S> {
        Line { stream, early: Bytes::new(), activity }
    }

    /// What goes on on it.
    pub(super) fn activity(&self) -> &Activity {
        &self.activity
    }

    /// What hyper has read and not used comes first from now on.
    pub(super) fn put_back(&mut self, read: &[u8]) {
        self.early = Bytes::copy_from_slice(read);
    }
}

impl<S: Stream> Line<S> {
    /// Waits for the client's next bytes. May be given up and asked again.
    pub(super) async fn wait(&mut self) -> std::io::Result<Next> {
        poll_fn(|context| {
            // Here, and not for as long as is waited: that would be its memory for each connection.
            let mut space = [0; READ_AT_ONCE];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(Next::Closed));
            }
            self.early = [self.early.as_ref(), read.filled()].concat().into();
            Poll::Ready(Ok(Next::Bytes))
        })
        .await
    }

    /// Reads something and throws it away; how much. Nothing comes after 0.
    pub(super) async fn discard(&mut self) -> std::io::Result<usize> {
        let early = std::mem::take(&mut self.early).len();
        if early > 0 {
            return Ok(early);
        }
        poll_fn(|context| {
            let mut space = [0; DISCARDED_AT_ONCE];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
            Poll::Ready(Ok(read.filled().len()))
        })
        .await
    }

    /// Finds out which HTTP is spoken, by as many bytes as that takes.
    pub(super) async fn greeting(&mut self) -> std::io::Result<Protocol> {
        loop {
            if self.early.starts_with(GREETING) {
                return Ok(Protocol::Http2);
            }
            if !GREETING.starts_with(&self.early) {
                return Ok(Protocol::Http1);
            }
            match self.wait().await? {
                Next::Bytes => {}
                Next::Closed => return Ok(Protocol::None),
            }
        }
    }

    /// Waits for a whole header, or for what hyper has to judge without one. May be given up and asked again.
    pub(super) async fn header(&mut self) -> std::io::Result<Next> {
        let mut looked_at = 0;
        while may_become_a_header(&self.early, looked_at) {
            looked_at = self.early.len();
            match self.wait().await? {
                Next::Bytes => {}
                Next::Closed => return Ok(Next::Closed),
            }
        }
        Ok(Next::Bytes)
    }
}

/// What was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is something to go on with.
    Bytes,
    /// Nothing more comes.
    Closed,
}

/// Whether these bytes are the beginning of an HTTP/1 header that is neither whole nor long. Somebody who sends thousands of
/// such, a line now and then, has no more of our memory than that takes.
///
/// Of so many bytes it was found before that they may: somebody may send a header byte by byte.
pub(super) fn may_become_a_header(bytes: &[u8], looked_at: usize) -> bool {
    let is_text = |byte: &u8| !byte.is_ascii_control() || matches!(byte, b'\t' | b'\r' | b'\n');
    // Before the first line empty ones may stand (RFC 9112, section 2.2); after it, one ends the header.
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let header = bytes.get(blank..).unwrap_or_default();
    let (first, is_whole_line) = match header.iter().position(|byte| *byte == b'\n') {
        Some(end) => (header.get(..end).unwrap_or_default(), true),
        None => (header, false),
    };
    let first = first.strip_suffix(b"\r").unwrap_or(first);
    let new = bytes.get(looked_at..).unwrap_or_default();
    let end = bytes.get(looked_at.saturating_sub(2).max(blank)..).unwrap_or_default();
    let is_whole = end.windows(2).any(|pair| pair == b"\n\n") || end.windows(3).any(|three| three == b"\n\r\n");
    bytes.len() < GATHERED
        && !is_whole
        && new.iter().all(is_text)
        && (!is_whole_line || first.ends_with(b" HTTP/1.1") || first.ends_with(b" HTTP/1.0"))
}

/// Which HTTP is spoken.
pub(super) enum Protocol {
    Http1,
    Http2,
    /// The client has closed before it was known.
    None,
}

impl<S: Stream> AsyncRead for Line<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        if self.early.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        } else {
            let fits = self.early.len().min(into.remaining());
            let taken = self.early.split_to(fits);
            into.put_slice(&taken);
        }
        if into.filled().len() > before {
            self.activity.read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> Line<S> {
    /// Says that nothing more comes, which TLS has words for: without them a client may take the end for an attack.
    pub(super) async fn end(&mut self, patience: Duration) {
        if let Ok(Err(cause)) = timeout(patience, self.close()).await {
            debug!(cause = %cause, "a connection ended early");
        }
    }

    /// Says it, and waits until the system has all that is to be sent.
    pub(super) async fn close(&mut self) -> std::io::Result<()> {
        self.stream.shutdown().await
    }

    fn written<T>(&self, outcome: Poll<T>) -> Poll<T> {
        self.activity.written(&outcome);
        outcome
    }
}

impl<S: Stream> AsyncWrite for Line<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.written(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.written(outcome)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        // For hyper, which closes a connection with bytes unread: how it ends is decided when hyper has it no longer.
        self.poll_flush(context)
    }
}

impl<S: Stream> Drop for Line<S> {
    fn drop(&mut self) {
        // Half a reply would look like a whole one: HTTP/1.0 has no other end where nobody knows its length.
        if self.activity.ends_a_reply() {
            self.stream.break_when_closed();
        }
    }
}
