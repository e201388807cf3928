//! `dockwarden health`: asks the server of this machine whether it is ready, over whatever it listens on.
//!
//! For an image without a shell or curl. It reads no secret and no key, and sends none.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::http::StatusCode;
use axum::http::header::{CONNECTION, HOST};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::app::Source;
use crate::config::{ListenAddress, read_server};
use crate::pem::tls::config_of_anybody;
use crate::shown::printable;

use super::{DONE, complain, say};

/// How long all of it may take: with what the start and the end of the process take besides, less than the five seconds that
/// health checks usually give.
const WITHIN: Duration = Duration::from_secs(4);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 4096;

/// Where `/readyz` is served.
struct Endpoint {
    address: ListenAddress,
    security: Security,
}

/// Whether TLS is spoken there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    Tls,
    Plain,
}

/// Runs the command.
pub(super) fn run(source: &Source) -> u8 {
    let asked = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(anyhow::Error::from);
    let asked = asked.and_then(|runtime| {
        let asked = runtime.block_on(async {
            let place = Endpoint::from_source(source)?;
            let asked = tokio::time::timeout(WITHIN, place.ask()).await;
            asked
                .unwrap_or_else(|_| bail!("no answer within {} s", WITHIN.as_secs()))
                .with_context(|| place.address.to_string())
        });
        // A name server that does not answer must not keep the command.
        runtime.shutdown_background();
        asked
    });
    match asked {
        Ok(()) => say("ready\n", DONE),
        Err(error) => complain(&format!("not ready: {error:#}")),
    }
}

impl Endpoint {
    fn from_source(source: &Source) -> anyhow::Result<Endpoint> {
        let server = read_server(&source.file, source.variables.iter().cloned())?;
        Ok(match (server.speaks_tls(), server.admin) {
            (_, Some(address)) => Endpoint { address, security: Security::Plain },
            (true, None) => Endpoint { address: server.listen, security: Security::Tls },
            (false, None) => Endpoint { address: server.listen, security: Security::Plain },
        })
    }

    /// Asks there.
    ///
    /// # Errors
    /// Nobody answers, or the answer is another than 200.
    async fn ask(&self) -> anyhow::Result<()> {
        match &self.address {
            ListenAddress::Tcp { port: 0, .. } => {
                bail!("the system chose the port, and nobody else knows it; write one")
            }
            ListenAddress::Tcp { host, port } => self.ask_over(connect(host, *port).await?).await,
            ListenAddress::Unix(path) => self.ask_over(UnixStream::connect(path).await?).await,
        }
    }

    async fn ask_over(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> anyhow::Result<()> {
        match self.security {
            Security::Plain => ask(stream).await,
            Security::Tls => {
                let name = ServerName::try_from("localhost")?;
                // Any certificate will do: it is our own, over this machine's own loopback, its name there is not the one that it
                // is for, and it may be out of its time. Whoever else answers there learns and gains nothing but that we take
                // it for healthy.
                ask(TlsConnector::from(Arc::new(config_of_anybody()?)).connect(name, stream).await?).await
            }
        }
    }
}

/// Connects to a listener of this machine. One that listens on every address of it is asked on the loopback ones.
async fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let is_every = host.is_empty() || host.parse::<IpAddr>().is_ok_and(|address| address.is_unspecified());
    let hosts: &[&str] = if is_every { &["127.0.0.1", "::1"] } else { &[host] };
    let mut failed = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for host in hosts {
        match TcpStream::connect((*host, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> anyhow::Result<()> {
    let (mut asking, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/readyz").header(HOST, "localhost").header(CONNECTION, "close");
    let reply = asking.send_request(request.body(Empty::<Bytes>::new())?).await?;
    match reply.status() {
        StatusCode::OK => Ok(()),
        status => {
            let body = Limited::new(reply.into_body(), MAX_ANSWER).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            bail!("status {}: {}", status.as_u16(), printable(&String::from_utf8_lossy(&body)))
        }
    }
}
