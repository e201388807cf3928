//! One connection to a directory server, on which one thing is asked at a time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::address::{Address, Protection};
use super::ber::{Garbled, SEQUENCE, length, length_bytes};
use super::closed;
use super::course::{Heard, Limit};
use super::protocol::{Done, Entry, Request, Response, Search, UNASKED, decode, encode};
use super::step::Step;
use crate::dial::Noting;

/// A longer answer to one question is refused, in bytes, however many messages it has: an entry with ten thousand groups
/// takes one million.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// How long one address of a name is tried alone, before the next one is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It ended, or was never there.
    #[error("{0}")]
    Lost(#[from] io::Error),
    /// Nothing came for too long: says what was waited for.
    #[error("{0}")]
    Silent(String),
    /// The time for the whole login was over first, which says nothing about the server.
    #[error("{0}")]
    Overdue(String),
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

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// A connection. Dropping it closes it; after any error it must be dropped, as what comes next could answer what was
/// asked before.
pub(super) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    heard: Heard,
    at: SocketAddr,
    last: u32,
}

impl Connection {
    /// Makes a connection of one that was made to this address: it is done only when TLS is up, if the server's address asks
    /// for it.
    ///
    /// # Errors
    /// It is not protected as it has to be.
    pub(super) async fn over(
        stream: TcpStream,
        at: SocketAddr,
        address: &Address,
        tls: Option<&Arc<rustls::ClientConfig>>,
        limit: Limit<'_>,
    ) -> Result<Connection, Trouble> {
        stream.set_nodelay(true)?;
        let heard = Heard::nothing();
        let noted = heard.clone();
        let stream = Noting::new(stream, move || noted.note());
        let stream = match address.protection {
            Protection::None => {
                return Ok(Connection { stream: BufReader::new(Box::new(stream)), heard, at, last: UNASKED });
            }
            Protection::Tls => stream,
            Protection::StartTls => limit.of(Step::StartTls).wait(&heard, begin_tls(stream)).await?,
        };
        let tls = tls.ok_or_else(|| io::Error::other("TLS is not set up"))?;
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        let handshake = async { Ok(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?) };
        let stream = limit.of(Step::Tls).wait(&heard, handshake).await?;
        Ok(Connection { stream: BufReader::new(Box::new(stream)), heard, at, last: UNASKED })
    }

    /// Where the other side is.
    pub(super) fn at(&self) -> SocketAddr {
        self.at
    }

    /// Asks to be this name. What the server says to that is the caller's to judge.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn bind(&mut self, name: &str, password: &str, limit: Limit<'_>) -> Result<Done, Trouble> {
        let heard = self.heard.clone();
        limit
            .wait(&heard, async {
                let id = self.send(Request::Bind { name, password }).await?;
                match self.receive(id, &mut { MAX_ANSWER }).await? {
                    Response::Bind(mut done) => {
                        done.closed = closed::why(&done);
                        // A server that repeats the password must not bring it into the log.
                        if done.remark.contains(password) {
                            done.remark = "[left out, since it holds the password]".to_owned();
                        }
                        Ok(done)
                    }
                    Response::Entry(_) | Response::Reference | Response::Search(_) | Response::Extended(_) => {
                        Err(Garbled("a bind is answered with something else").into())
                    }
                }
            })
            .await
    }

    /// Searches: the entries that came, and how it ended.
    ///
    /// # Errors
    /// There is no whole answer, or more than a search may bring.
    pub(super) async fn search(&mut self, search: &Search, limit: Limit<'_>) -> Result<(Vec<Entry>, Done), Trouble> {
        let heard = self.heard.clone();
        limit
            .wait(&heard, async {
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

/// The addresses that a server's name has now.
///
/// # Errors
/// It has none, or nobody says.
pub(super) async fn look_up(address: &Address, limit: Limit<'_>) -> Result<Vec<SocketAddr>, Trouble> {
    let name = (address.host.as_str(), address.port);
    let looked_up = async { Ok(tokio::net::lookup_host(name).await?.collect::<Vec<_>>()) };
    let found = limit.of(Step::Lookup).wait(&Heard::nothing(), looked_up).await?;
    match found.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address").into()),
        false => Ok(found),
    }
}

/// Connects to the first of these addresses that takes a connection. Each is tried for a moment alone, and then beside the
/// next: one that swallows everything must not keep the others from being tried, nor one far away be given up too soon.
///
/// # Errors
/// None does.
pub(super) async fn connect(addresses: &[SocketAddr], limit: Limit<'_>) -> Result<(TcpStream, SocketAddr), Trouble> {
    let number = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let head_start = HEAD_START.min(limit.silence.length / 2 / number);
    let race = async {
        let mut trouble = Trouble::Lost(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        let mut left = addresses.iter().copied();
        // Those that nobody waits for any more end with it.
        let mut attempts = JoinSet::new();
        loop {
            if let Some(address) = left.next() {
                attempts.spawn(async move { TcpStream::connect(address).await.map(|stream| (stream, address)) });
            }
            tokio::select! {
                ended = attempts.join_next() => match ended {
                    Some(Ok(Ok(connected))) => return Ok(connected),
                    Some(Ok(Err(failed))) => trouble = failed.into(),
                    // One that broke down.
                    Some(Err(_)) => {}
                    None => return Err(trouble),
                },
                () = tokio::time::sleep(head_start), if left.len() > 0 => {}
            }
        }
    };
    limit.of(Step::Connect).wait(&Heard::nothing(), race).await
}

/// Asks the server to begin TLS. Nothing else has been said before, and nothing is said after, in the clear.
async fn begin_tls(stream: Noting) -> Result<Noting, Trouble> {
    let mut stream = BufReader::new(stream);
    let id = UNASKED + 1;
    send(stream.get_mut(), id, Request::StartTls).await?;
    match receive(&mut stream, id, &mut { MAX_ANSWER }).await? {
        Response::Extended(Done { code: 0, .. }) => {}
        Response::Extended(done) => return Err(Trouble::NoTls { code: done.code, remark: done.shown() }),
        Response::Bind(_) | Response::Entry(_) | Response::Reference | Response::Search(_) => {
            return Err(Garbled("StartTLS is answered with something else").into());
        }
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
        (
            _,
            Response::Bind(_) | Response::Entry(_) | Response::Reference | Response::Search(_) | Response::Extended(_),
        ) => Err(Garbled("an answer to something that was not asked").into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::authn::ldap::course::{Course, Silence};

    /// An address that swallows whatever comes, as a host behind a firewall does: as many connections wait there as it takes.
    async fn swallows() -> std::io::Result<(SocketAddr, TcpListener, Vec<TcpStream>)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let mut waiting = Vec::new();
        while let Ok(connected) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            waiting.push(connected?);
        }
        Ok((address, listener, waiting))
    }

    #[tokio::test]
    async fn an_address_that_swallows_everything_keeps_no_other_from_being_tried() -> std::io::Result<()> {
        let (gone, _listener, _waiting) = swallows().await?;
        let there = TcpListener::bind("127.0.0.1:0")?;
        let there = there.local_addr().map(|address| (address, there))?;
        let refuses = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let course = Course::of(Duration::from_secs(10));
        let silence = Silence { key: "connect_timeout", length: Duration::from_millis(1400) };
        let limit = Limit { step: Step::Connect, silence, course: &course };
        for addresses in [&[there.0][..], &[gone, there.0], &[gone, refuses, gone, there.0], &[refuses, there.0]] {
            let connected = connect(addresses, limit).await.map(|(_, at)| at);
            assert!(matches!(connected, Ok(at) if at == there.0), "{addresses:?}: {connected:?}");
        }
        let silent = connect(&[gone, refuses], limit).await.map(|(_, at)| at);
        assert!(
            matches!(&silent, Err(Trouble::Silent(why)) if why.contains("1400 ms (connect_timeout)")),
            "{silent:?}"
        );
        let refused = connect(&[refuses], limit).await.map(|(_, at)| at);
        assert!(matches!(refused, Err(Trouble::Lost(_))), "{refused:?}");
        Ok(())
    }
}
