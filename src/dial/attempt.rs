//! An attempt to connect to one address, and the connection that comes of it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tower::Service;

use super::{Failed, Progress, Quiet, Stream};
use crate::clock;

/// An address that was asked something and said nothing for so long is asked after the others from then on.
pub(super) const QUIET_AFTER: Duration = Duration::from_secs(1);
/// How often the system asks over a silent connection whether the other end is there.
const ALIVE_EVERY: Duration = Duration::from_secs(60);

/// One address that is tried.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) address: SocketAddr,
    pub(super) quiet: Arc<Quiet>,
    pub(super) silence: Duration,
    pub(super) question: Arc<Progress>,
}

/// A connection, and how long it took.
pub(super) struct Made {
    pub(super) address: SocketAddr,
    pub(super) stream: Stream,
    pub(super) steps: Vec<(&'static str, Duration)>,
}

impl Attempt {
    pub(super) async fn make(self, place: Uri, tls: Arc<ClientConfig>) -> Result<Made, Failed> {
        let Attempt { address, silence, .. } = self;
        let began = clock::now();
        let seen = Arc::new(Mutex::new(Seen { connected: None, last: began, is_ready: false }));
        let look = || *seen.lock().unwrap_or_else(PoisonError::into_inner);
        let tcp = Tcp { attempt: self.clone(), seen: Arc::clone(&seen) };
        let connecting = HttpsConnector::from((tcp, tls)).call(place);
        tokio::pin!(connecting);
        let stream = loop {
            let until = look().last + silence;
            tokio::select! {
                connected = &mut connecting => break connected?,
                () = sleep_until(until) => if look().last + silence <= clock::now() {
                    self.quiet.note(address);
                    let waited = silence.as_millis();
                    return Err(too_long(match look().connected {
                        None => format!("{address} takes no connection within {waited} ms"),
                        Some(at) => {
                            let connecting = (at - began).as_millis();
                            format!("{address} takes a connection ({connecting} ms) and says nothing in the TLS handshake for {waited} ms")
                        }
                    }));
                },
            }
        };
        seen.lock().unwrap_or_else(PoisonError::into_inner).is_ready = true;
        let connected = look().connected.unwrap_or(began);
        let mut steps = vec![("connecting", connected - began)];
        match &stream {
            MaybeHttpsStream::Http(_) => {}
            MaybeHttpsStream::Https(_) => steps.push(("TLS", connected.elapsed())),
        }
        Ok(Made { address, stream, steps })
    }
}

pub(super) fn too_long(what: String) -> Failed {
    io::Error::new(io::ErrorKind::TimedOut, what).into()
}

/// What was seen of an attempt.
#[derive(Clone, Copy)]
struct Seen {
    connected: Option<Instant>,
    last: Instant,
    /// Nobody waits for the connection any more.
    is_ready: bool,
}

/// Connects to one address, whatever the place is called.
#[derive(Clone)]
struct Tcp {
    attempt: Attempt,
    seen: Arc<Mutex<Seen>>,
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<Heard>;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Heard>, Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, place: Uri) -> Self::Future {
        let Tcp { attempt, seen } = self.clone();
        let mut connector = HttpConnector::new_with_resolver(Only(attempt.address));
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_keepalive(Some(ALIVE_EVERY));
        Box::pin(async move {
            let stream = connector.call(place).await?.into_inner();
            let now = clock::now();
            *seen.lock().unwrap_or_else(PoisonError::into_inner) =
                Seen { connected: Some(now), last: now, is_ready: false };
            attempt.question.came_on();
            let Attempt { address, quiet, question, .. } = attempt;
            let early = Some(Early { seen, question });
            Ok(TokioIo::new(Heard { stream, address, quiet, early, asked: None }))
        })
    }
}

/// A name with this one address.
#[derive(Clone, Copy)]
struct Only(SocketAddr);

impl Service<Name> for Only {
    type Response = std::iter::Once<SocketAddr>;
    type Error = io::Error;
    type Future = std::future::Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Name) -> Self::Future {
        std::future::ready(Ok(std::iter::once(self.0)))
    }
}

/// A connection that knows whether the other end talks. Where it was asked something and never said a word, others of the
/// name's addresses are tried first from then on.
pub(crate) struct Heard {
    stream: TcpStream,
    pub(super) address: SocketAddr,
    quiet: Arc<Quiet>,
    early: Option<Early>,
    /// When something was said to it that it has not answered.
    pub(super) asked: Option<Instant>,
}

/// What is told of the first bytes, those of a TLS handshake.
struct Early {
    seen: Arc<Mutex<Seen>>,
    question: Arc<Progress>,
}

impl Drop for Heard {
    fn drop(&mut self) {
        if self.asked.is_some_and(|asked| asked.elapsed() >= QUIET_AFTER) {
            self.quiet.note(self.address);
        }
    }
}

impl Connection for Heard {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl AsyncRead for Heard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if into.filled().len() > before {
            self.asked = None;
            if let Some(Early { seen, question }) = self.early.take() {
                let mut now = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if !now.is_ready {
                    now.last = clock::now();
                    drop(now);
                    question.came_on();
                    self.early = Some(Early { seen, question });
                }
            }
        }
        read
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.asked.get_or_insert_with(clock::now);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.asked.get_or_insert_with(clock::now);
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
