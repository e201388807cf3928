//! A small HTTP/1.1 client that sends exactly the bytes it is given, as the replayed requests need.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use super::canary;

/// Longest wait for the next bytes of a reply.
const SILENCE: Duration = Duration::from_secs(30);

/// A whole reply.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The status code.
    pub(crate) status: u16,
    /// Header lines in order, names as sent.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, unchunked.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The first header line of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.status, self.text()))
    }
}

/// What the bytes go through.
#[derive(Debug)]
enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl io::Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(buffer),
            Wire::Tls(stream) => stream.read(buffer),
        }
    }
}

impl io::Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(bytes),
            Wire::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.flush(),
            Wire::Tls(stream) => stream.flush(),
        }
    }
}

/// TLS as a client that trusts this authority and nobody else.
pub(crate) fn trusting(authority: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// A connection that is kept between requests.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<Wire>,
}

impl Connection {
    /// # Errors
    /// If nobody listens at `address` (`127.0.0.1:port`).
    pub(crate) fn open(address: &str) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// The same from an address of this machine's own, such as `127.0.0.9`.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub(crate) fn open_from(source: Ipv4Addr, address: &str) -> io::Result<Self> {
        Self::over(connect_from(source, address)?)
    }

    /// The same under TLS, with `localhost`. Both sides agree on it when the first bytes are sent.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub(crate) fn open_tls(address: &str, tls: &Arc<ClientConfig>) -> io::Result<Self> {
        let stream = prepared(TcpStream::connect(address)?)?;
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        Ok(Self { stream: BufReader::new(Wire::Tls(Box::new(StreamOwned::new(client, stream)))) })
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        Ok(Self { stream: BufReader::new(Wire::Plain(prepared(stream)?)) })
    }

    /// Sends one request and reads its whole reply.
    ///
    /// # Errors
    /// If the connection breaks or what comes back is not a whole HTTP reply.
    pub(crate) fn send(&mut self, raw: &[u8]) -> io::Result<Reply> {
        self.write(raw)?;
        self.read(raw.starts_with(b"HEAD "))
    }

    /// Sends bytes and reads nothing.
    ///
    /// # Errors
    /// If the connection breaks.
    pub(crate) fn write(&mut self, raw: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(raw)?;
        self.stream.get_mut().flush()
    }

    /// Reads one whole reply; `bodiless` for the reply to HEAD.
    ///
    /// # Errors
    /// `UnexpectedEof` with "no reply" if the peer closed before the first byte, with "truncated" if it closed later.
    pub(crate) fn read(&mut self, bodiless: bool) -> io::Result<Reply> {
        let reply = self.whole(bodiless)?;
        // A token, or the session that it is exchanged for, is what one asks for, and the only secret that there ever is in a reply.
        let text = reply.text();
        if !["token\":\"ey", "\"access_token\":\"dws_"].iter().any(|asked_for| text.contains(asked_for)) {
            canary::holds_no_secret("a reply", &reply.body);
        }
        Ok(reply)
    }

    fn whole(&mut self, bodiless: bool) -> io::Result<Reply> {
        let mut first = String::new();
        match self.stream.read_line(&mut first) {
            // Under TLS an end without a word of goodbye is an error.
            Err(error) if !(first.is_empty() && error.kind() == io::ErrorKind::UnexpectedEof) => return Err(error),
            Err(_) | Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no reply")),
            Ok(_) => {}
        }
        let status = first
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| broken(&format!("not a status line: {first:?}")))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| broken(&line))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let mut reply = Reply { status, headers, body: Vec::new() };
        if bodiless || status == 204 || status == 304 {
            return Ok(reply);
        }
        if reply.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            loop {
                let size = self.line()?;
                let size = size.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(size, 16).map_err(|_| broken("chunk size"))?;
                let chunk = self.exactly(size)?;
                reply.body.extend_from_slice(&chunk);
                self.line()?;
                if size == 0 {
                    return Ok(reply);
                }
            }
        }
        match reply.header("content-length") {
            Some(length) => {
                let length = length.parse().map_err(|_| broken("Content-Length"))?;
                reply.body = self.exactly(length)?;
            }
            None => {
                self.stream.read_to_end(&mut reply.body)?;
            }
        }
        Ok(reply)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).map_err(truncated)?;
        match line.strip_suffix('\n') {
            Some(whole) => Ok(whole.trim_end_matches('\r').to_owned()),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "truncated")),
        }
    }

    fn exactly(&mut self, size: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; size];
        self.stream.read_exact(&mut bytes).map_err(truncated)?;
        Ok(bytes)
    }
}

fn prepared(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An end in the middle of a reply.
fn truncated(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "truncated"),
        _ => error,
    }
}

/// Connects from an address of this machine's own.
///
/// # Errors
/// If nobody listens there.
pub(crate) fn connect_from(source: Ipv4Addr, address: &str) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect(&address.parse::<SocketAddr>().unwrap().into())?;
    Ok(socket.into())
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// One request over a connection of its own.
///
/// # Panics
/// If no whole reply comes back.
#[track_caller]
pub(crate) fn exchange(address: &str, raw: &[u8]) -> Reply {
    Connection::open(address)
        .and_then(|mut connection| connection.send(raw))
        .unwrap_or_else(|error| panic!("{address}: {error}\n{}", String::from_utf8_lossy(raw)))
}

/// The bytes of a request: `Host` and, with a body, `Content-Length` are added, nothing else.
pub(crate) fn request(method: &str, target: &str, host: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    if !body.is_empty() || method == "POST" || method == "PUT" {
        write!(text, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    text.push_str("\r\n");
    let mut raw = text.into_bytes();
    raw.extend_from_slice(body);
    raw
}

/// A query or form value as browsers and Go write it.
pub(crate) fn form_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            _ => write!(encoded, "%{byte:02X}").unwrap(),
        }
    }
    encoded
}
