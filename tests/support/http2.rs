//! HTTP/2 by hand: just enough of its frames (RFC 9113) to hold a connection as nobody honest would.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

/// What an HTTP/2 connection begins with (section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types of section 6.
pub(crate) const DATA: u8 = 0;
/// Begins a request.
pub(crate) const HEADERS: u8 = 1;
/// Gives a request up.
pub(crate) const RST_STREAM: u8 = 3;
/// Has to be answered.
pub(crate) const SETTINGS: u8 = 4;
/// Has to be answered.
pub(crate) const PING: u8 = 6;
/// Goes on with a request's header.
pub(crate) const CONTINUATION: u8 = 9;
/// Of SETTINGS and PING: this is the answer.
const ACK: u8 = 1;
/// Of HEADERS: the header is whole, and no body follows.
const WHOLE_REQUEST: u8 = WHOLE_HEADER | 0x1;
/// The same, and a body follows.
const WHOLE_HEADER: u8 = 0x4;
/// The setting that bounds how much of each reply may be sent.
const INITIAL_WINDOW_SIZE: [u8; 2] = [0, 4];

/// A connection that never blocks and answers what keeps it open.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Nothing but frames may be written here.
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
    /// Requests that were sent.
    pub(crate) asked: u32,
    /// Replies whose header has come.
    pub(crate) replies: usize,
    /// Answers to our pings.
    pub(crate) pongs: usize,
    /// Requests that the server gave up without a reply.
    pub(crate) resets: usize,
    /// Whether the server has closed the connection.
    pub(crate) closed: bool,
}

impl Connection {
    /// Greets the server; of each reply's body it may send `window` bytes.
    pub(crate) fn open(address: &str, window: u32) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(PREFACE).unwrap();
        let setting = [&INITIAL_WINDOW_SIZE[..], &window.to_be_bytes()].concat();
        stream.write_all(&frame(SETTINGS, 0, 0, &setting)).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, unread: Vec::new(), asked: 0, replies: 0, pongs: 0, resets: 0, closed: false }
    }

    /// Asks for a path, as request `number` (0, 1, …) of this connection.
    pub(crate) fn get(&mut self, number: u32, path: &str) {
        // HPACK (RFC 7541, appendix A): GET and http by their index, :path (4) and :authority (1) as plain text.
        let mut header = vec![0x82, 0x86];
        for (name, value) in [(4, path), (1, "localhost")] {
            header.extend([name, u8::try_from(value.len()).ok().filter(|length| *length < 127).unwrap()]);
            header.extend(value.as_bytes());
        }
        self.stream.write_all(&frame(HEADERS, WHOLE_REQUEST, 1 + 2 * number, &header)).unwrap();
    }

    /// Sends request `number` with exactly these header fields, pseudo-header fields first.
    pub(crate) fn ask(&mut self, number: u32, fields: &[(&str, &str)]) {
        self.send_header(number, fields, WHOLE_REQUEST);
    }

    /// The same of a request with a body, which is to follow.
    pub(crate) fn begin(&mut self, number: u32, fields: &[(&str, &str)]) {
        self.send_header(number, fields, WHOLE_HEADER);
    }

    /// Sends a byte of a request's body.
    pub(crate) fn send_byte(&mut self, number: u32) {
        self.closed |= self.stream.write_all(&frame(DATA, 0, 1 + 2 * number, b"x")).is_err();
    }

    fn send_header(&mut self, number: u32, fields: &[(&str, &str)], flags: u8) {
        let mut header = Vec::new();
        for (name, value) in fields {
            // A literal that is not indexed, with a literal name (RFC 7541, section 6.2.2).
            header.push(0);
            for text in [name, value] {
                put_length(&mut header, text.len());
                header.extend(text.as_bytes());
            }
        }
        let frame = frame(HEADERS, flags, 1 + 2 * number, &header);
        // The server may have closed it for what came before.
        self.asked += 1;
        self.closed |= self.stream.write_all(&frame).is_err();
    }

    /// Pings the server. That the connection is closed is no failure: `/proc` tells.
    pub(crate) fn ping(&mut self) {
        self.stream.write_all(&frame(PING, 0, 0, b"are you?")).ok();
    }

    /// Reads what has come, and answers pings and settings, so that the server takes this side for alive.
    pub(crate) fn attend(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => {
                    self.closed = true;
                    break;
                }
                Ok(count) => self.unread.extend(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        while let Some((head, rest)) = self.unread.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            let Some(payload) = rest.get(..length).map(<[u8]>::to_vec) else { break };
            self.unread.drain(..9 + length);
            match (kind, flags & ACK) {
                (HEADERS, _) => self.replies += 1,
                (RST_STREAM, _) => self.resets += 1,
                (PING, ACK) => self.pongs += 1,
                (PING, _) => drop(self.stream.write_all(&frame(PING, ACK, 0, &payload))),
                (SETTINGS, 0) => drop(self.stream.write_all(&frame(SETTINGS, ACK, 0, b""))),
                _ => {}
            }
        }
    }
}

/// A length as HPACK has it: seven bits, and what is above them in groups of seven (RFC 7541, section 5.1).
fn put_length(bytes: &mut Vec<u8>, length: usize) {
    let small = |value: usize| u8::try_from(value).unwrap();
    if length < 127 {
        return bytes.push(small(length));
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push(small(rest % 128) | 0x80);
        rest /= 128;
    }
    bytes.push(small(rest));
}

/// The bytes of one frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}
