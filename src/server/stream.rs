//! What a connection's bytes come over, and how it can end so that nobody takes the end for an orderly one.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tracing::debug;

/// Both directions of a connection.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// When it is closed from now on, the client sees that it broke. Whoever sends a reply that ends where the connection does
    /// says so with it that this is not the end.
    fn break_when_closed(&self);
}

impl Stream for TcpStream {
    fn break_when_closed(&self) {
        if let Err(cause) = self.set_zero_linger() {
            debug!(cause = %cause, "a connection could not be reset");
        }
    }
}

impl Stream for UnixStream {
    /// Such a socket has no reset: it looks closed, whatever was sent before.
    fn break_when_closed(&self) {}
}

/// TLS has an end of its own, which is not said then.
impl<S: Stream> Stream for TlsStream<S> {
    fn break_when_closed(&self) {
        self.get_ref().0.break_when_closed();
    }
}

impl<S: Stream> Stream for Box<S> {
    fn break_when_closed(&self) {
        self.as_ref().break_when_closed();
    }
}
