//! A line that is given back by whoever drops it: hyper keeps that of an HTTP/2 connection to itself.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::line::Line;
use crate::server::stream::Stream;

/// A line that hyper holds for as long as its HTTP/2 connection lasts.
pub(super) struct Lent<S: Stream> {
    /// `None` only while it is given back.
    line: Option<Line<S>>,
    back: Option<oneshot::Sender<Line<S>>>,
}

impl<S: Stream> Lent<S> {
    /// Lends a line; where it will be found again.
    pub(super) fn new(line: Line<S>) -> (Lent<S>, oneshot::Receiver<Line<S>>) {
        let (back, found) = oneshot::channel();
        (Lent { line: Some(line), back: Some(back) }, found)
    }

    fn line<T>(
        &mut self,
        work: impl FnOnce(Pin<&mut Line<S>>) -> Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        match &mut self.line {
            Some(line) => work(Pin::new(line)),
            None => Poll::Ready(Err(std::io::ErrorKind::NotConnected.into())),
        }
    }
}

impl<S: Stream> Drop for Lent<S> {
    fn drop(&mut self) {
        if let (Some(line), Some(back)) = (self.line.take(), self.back.take()) {
            drop(back.send(line));
        }
    }
}

impl<S: Stream> AsyncRead for Lent<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.line(|line| line.poll_read(context, into))
    }
}

impl<S: Stream> AsyncWrite for Lent<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.line(|line| line.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        self.line(|line| line.poll_write_vectored(context, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        self.line.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.line(|line| line.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.line(|line| line.poll_shutdown(context))
    }
}
