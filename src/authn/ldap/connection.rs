//! One connection to a directory server, on which one thing is asked at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::address::{Address, Protection};
use super::ber::{Garbled, SEQUENCE, length, length_bytes};
use super::protocol::{Done, Entry, Request, Response, Search, UNASKED, decode, encode};

/// A longer answer to one question is refused, in bytes, however many messages it has: an entry with ten thousand groups
/// takes one million.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It ended, or was never there.
    #[error("{0}")]
    Lost(#[from] io::Error),
    /// Nothing came within the time.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// What came is not LDAP, or does not answer what was asked.
    #[error(transparent)]
    Garbled(#[from] Garbled),
    /// What it sends is more than an answer may have. That is about this one question, and not about the server.
    #[error("the directory sends {0}")]
    TooMuch(&'static str),
    /// The server does not begin TLS.
    #[error("the server refuses StartTLS (code {code}: {remark})")]
    NoTls {
        /// Its result code.
        code: u32,
        /// What it remarks.
        remark: String,
    },
    /// Bytes in the clear came after the answer to StartTLS, which somebody on the way can have put there, to have them
    /// taken for what the server said under TLS (CVE-2011-0411 and its kin).
    #[error("bytes in the clear follow the answer to StartTLS: somebody is between the server and us")]
    Injected,
}

/// When a wait ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    end: Instant,
    length: Duration,
}

impl Limit {
    /// A wait of this length, from now on, that ends no later than `latest`.
    pub(super) fn new(length: Duration, latest: Instant) -> Limit {
        let now = Instant::now();
        let end = latest.min(now + length);
        Limit { end, length: end.saturating_duration_since(now) }
    }

    async fn wait<T>(self, work: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
        timeout_at(self.end, work).await.unwrap_or(Err(Trouble::Silent(self.length)))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// A connection. Dropping it closes it; after any error it must be dropped, as what comes next could answer what was
/// asked before.
pub(super) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    last: u32,
}

impl Connection {
    /// Connects, and is done only when TLS is up, if the address asks for it.
    ///
    /// # Errors
    /// There is no connection, or none that is protected as it has to be.
    pub(super) async fn open(
        address: &Address,
        tls: Option<&Arc<rustls::ClientConfig>>,
        limit: Limit,
    ) -> Result<Connection, Trouble> {
        limit.wait(Connection::open_whole(address, tls, limit)).await
    }

    async fn open_whole(
        address: &Address,
        tls: Option<&Arc<rustls::ClientConfig>>,
        limit: Limit,
    ) -> Result<Connection, Trouble> {
        let stream = connect(address, limit).await?;
        let plain = |stream: TcpStream| Connection { stream: BufReader::new(Box::new(stream)), last: UNASKED };
        let stream = match address.protection {
            Protection::None => return Ok(plain(stream)),
            Protection::Tls => stream,
            Protection::StartTls => begin_tls(stream).await?,
        };
        let tls = tls.ok_or_else(|| io::Error::other("TLS is not set up"))?;
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        Ok(Connection { stream: BufReader::new(Box::new(stream)), last: UNASKED })
    }

    /// Asks to be this name. What the server says to that is the caller's to judge.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn bind(&mut self, name: &str, password: &str, limit: Limit) -> Result<Done, Trouble> {
        limit
            .wait(async {
                let id = self.send(Request::Bind { name, password }).await?;
                match self.receive(id, &mut { MAX_ANSWER }).await? {
                    Response::Bind(mut done) => {
                        // A server that repeats the password must not bring it into the log.
                        if done.remark.contains(password) {
                            done.remark = "[left out, since it holds the password]".to_owned();
                        }
                        Ok(done)
                    }
                    _ => Err(Garbled("a bind is answered with something else").into()),
                }
            })
            .await
    }

    /// Searches: the entries that came, and how it ended.
    ///
    /// # Errors
    /// There is no whole answer, or more than a search may bring.
    pub(super) async fn search(&mut self, search: &Search, limit: Limit) -> Result<(Vec<Entry>, Done), Trouble> {
        limit
            .wait(async {
                let id = self.send(Request::Search(search)).await?;
                let mut entries = Vec::new();
                let mut left = MAX_ANSWER;
                loop {
                    match self.receive(id, &mut left).await? {
                        // A server that keeps no limit could send a million of them.
                        Response::Entry(_) if entries.len() > search.most as usize => {
                            return Err(Trouble::TooMuch("more entries than were asked for"));
                        }
                        Response::Entry(entry) => entries.push(entry),
                        Response::Reference => {}
                        Response::Search(done) => return Ok((entries, done)),
                        Response::Bind(_) | Response::Extended(_) => {
                            return Err(Garbled("a search is answered with something else").into());
                        }
                    }
                }
            })
            .await
    }

    async fn send(&mut self, request: Request<'_>) -> Result<u32, Trouble> {
        // More than a connection ever sends.
        self.last = self.last.checked_add(1).unwrap_or(1);
        send(self.stream.get_mut(), self.last, request).await?;
        Ok(self.last)
    }

    async fn receive(&mut self, asked: u32, left: &mut usize) -> Result<Response, Trouble> {
        receive(&mut self.stream, asked, left).await
    }
}

/// Connects to one of the name's addresses, one after the other, each with its share of the time: one that swallows
/// everything must not keep the others from being tried.
async fn connect(address: &Address, limit: Limit) -> Result<TcpStream, Trouble> {
    let addresses: Vec<_> = tokio::net::lookup_host((address.host.as_str(), address.port)).await?.collect();
    let mut trouble = Trouble::Lost(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    for (position, address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - position).unwrap_or(u32::MAX);
        let share = limit.end.saturating_duration_since(Instant::now()) / left;
        match Limit::new(share, limit.end).wait(async { Ok(TcpStream::connect(address).await?) }).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(failed) => trouble = failed,
        }
    }
    Err(trouble)
}

/// Asks the server to begin TLS. Nothing else has been said before, and nothing is said after, in the clear.
async fn begin_tls(stream: TcpStream) -> Result<TcpStream, Trouble> {
    let mut stream = BufReader::new(stream);
    let id = UNASKED + 1;
    send(stream.get_mut(), id, Request::StartTls).await?;
    match receive(&mut stream, id, &mut { MAX_ANSWER }).await? {
        Response::Extended(Done { code: 0, .. }) => {}
        Response::Extended(done) => return Err(Trouble::NoTls { code: done.code, remark: done.shown() }),
        _ => return Err(Garbled("StartTLS is answered with something else").into()),
    }
    match stream.buffer() {
        [] => Ok(stream.into_inner()),
        _ => Err(Trouble::Injected),
    }
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, id: u32, request: Request<'_>) -> Result<(), Trouble> {
    stream.write_all(&encode(id, request)).await?;
    Ok(stream.flush().await?)
}

/// Reads the next message, which has to answer the request with this number. `left` is how many bytes the answer may
/// still have.
async fn receive<S: AsyncRead + Unpin>(stream: &mut S, asked: u32, left: &mut usize) -> Result<Response, Trouble> {
    let ended = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "the server closed the connection"),
        _ => error,
    };
    let tag = stream.read_u8().await.map_err(ended)?;
    if tag != SEQUENCE {
        return Err(Garbled("a message begins with something else").into());
    }
    let first = stream.read_u8().await.map_err(ended)?;
    let size = match length_bytes(first)? {
        0 => usize::from(first),
        more => {
            let mut bytes = [0; 4];
            let bytes = bytes.get_mut(..more).ok_or(Garbled("a length that is too long"))?;
            stream.read_exact(bytes).await.map_err(ended)?;
            length(bytes)
        }
    };
    *left = left.checked_sub(size).ok_or(Trouble::TooMuch("an answer that is too long"))?;
    // Grows with what comes, not with what is announced.
    let mut content = Vec::with_capacity(size.min(8 * 1024));
    let expected = u64::try_from(size).map_err(|_| Trouble::TooMuch("an answer that is too long"))?;
    stream.take(expected).read_to_end(&mut content).await?;
    if content.len() != size {
        return Err(
            io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection within a message").into()
        );
    }
    match decode(&content)? {
        (id, response) if id == asked => Ok(response),
        // Its remark could repeat the password of the bind that it answers.
        (UNASKED, Response::Extended(done)) => Err(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            format!("the server ends the connection (code {})", done.code),
        )
        .into()),
        _ => Err(Garbled("an answer to something that was not asked").into()),
    }
}
