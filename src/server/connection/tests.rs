//! What silence, slowness and the end of the server do to a connection. Time stands still but for what is waited for.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::routing::{any, post};
use hyper::client::conn::http2 as http2_client;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::line::{GATHERED, GREETING, READ_AT_ONCE, may_become_a_header};
use super::*;
use crate::clock;
use crate::metrics::Metrics;

mod refused;
mod room;

use refused::{CutOff, Pieces, ready};

/// Longer than any connection is let be without having asked.
const LONG: Duration = Duration::from_secs(300);
/// Long enough to rest, and too short to be closed.
const SILENCE: Duration = Duration::from_secs(5);
const REPLY: usize = 20_000;

/// The server's side of a connection, and how much was last asked of it at once: hyper asks for more than we do.
struct Watched {
    stream: DuplexStream,
    asked_for: Arc<AtomicUsize>,
    broken: Arc<AtomicBool>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.asked_for.store(into.remaining(), Ordering::Release);
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Stream for Watched {
    fn break_when_closed(&self) {
        self.broken.store(true, Ordering::Release);
    }
}

/// A client and the connection that it has.
struct Client {
    stream: DuplexStream,
    asked_for: Arc<AtomicUsize>,
    /// Whether it would be reset.
    broken: Arc<AtomicBool>,
    leave: watch::Sender<()>,
    served: JoinHandle<()>,
    /// The paths that requests came for.
    seen: Arc<Mutex<Vec<String>>>,
}

/// Connects over a line that holds so many bytes in each direction.
fn connect(holds: usize) -> Client {
    connect_with(holds, None)
}

/// The same with what a connection holds that is counted.
fn connect_with(holds: usize, seat: Option<(OwnedSemaphorePermit, Counted)>) -> Client {
    let (stream, other) = duplex(holds);
    let asked_for = Arc::new(AtomicUsize::new(0));
    let broken = Arc::new(AtomicBool::new(false));
    let watched = Watched { stream: other, asked_for: Arc::clone(&asked_for), broken: Arc::clone(&broken) };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (noted, passed_on) = (Arc::clone(&seen), Arc::clone(&seen));
    let router = Router::new()
        .route("/large", any(|| async { "x".repeat(REPLY) }))
        .route(
            "/slow",
            any(|| async {
                sleep(SILENCE).await;
                "slow"
            }),
        )
        .route(
            "/slower",
            any(|| async {
                sleep(2 * IDLE_PATIENCE).await;
                "slower"
            }),
        )
        .route("/read", post(|body: String| async { body }))
        .route("/refused", any(|| async { (StatusCode::FORBIDDEN, "no") }))
        .route("/whole", any(|| async { Body::new(Pieces([ready("half"), ready(" and half")].into())) }))
        .route("/cut", any(|| async { Body::new(Pieces([ready("half"), Poll::Ready(Err(CutOff))].into())) }))
        .route("/passed_on", post(move |body: Body| refused::pass_on(body, passed_on)))
        .route("/stuck", any(|| async { Body::new(Pieces([ready("half"), Poll::Pending].into())) }))
        .fallback(|| async { "" })
        .layer(axum::middleware::map_request(move |request: axum::extract::Request| {
            noted.lock().unwrap().push(request.uri().path().to_owned());
            std::future::ready(request)
        }));
    let (leave, leaving) = watch::channel(());
    let served = tokio::spawn(async move {
        let share = seat.as_ref().map(|(_, counted)| counted);
        Protocols::new(NotHttp::new(Metrics::default())).serve(router, watched, Peer::Unix, leaving, share).await;
    });
    Client { stream, asked_for, broken, leave, served, seen }
}

impl Client {
    async fn send(&mut self, text: &str) {
        timeout(LONG, self.stream.write_all(text.as_bytes())).await.unwrap().unwrap();
    }

    async fn ask(&mut self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n")).await;
        self.reply().await
    }

    /// The body of the next reply, which is one with 200.
    async fn reply(&mut self) -> String {
        timeout(LONG, async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut body).await.unwrap();
            String::from_utf8(body).unwrap()
        })
        .await
        .unwrap()
    }

    fn rests(&self) -> bool {
        self.asked_for.load(Ordering::Acquire) <= READ_AT_ONCE
    }

    /// For how long the server still keeps the connection.
    async fn closed_after(&mut self) -> Duration {
        let began = clock::now();
        assert_eq!(timeout(LONG, self.stream.read(&mut [0])).await.unwrap().unwrap(), 0);
        began.elapsed()
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_rests_and_is_served_again() {
    let mut client = connect(1 << 16);
    for turn in 0..3 {
        assert_eq!(client.ask(&format!("/{turn}")).await, "");
        assert!(!client.rests(), "hyper waits for a request that follows at once");
        sleep(SILENCE).await;
        assert!(client.rests());
    }
    // One that comes in pieces, of which the first awakes the connection.
    for piece in ["G", "ET /pieces HTTP/1.1\r", "\nhost: here\r\n\r", "\n"] {
        assert!(client.rests(), "hyper has no buffer for a header that is not whole");
        client.send(piece).await;
        sleep(REST_AFTER * 2).await;
    }
    client.reply().await;
    assert_eq!(client.seen(), ["/0", "/1", "/2", "/pieces"]);
    // One with a body that was read.
    client.send("POST /read HTTP/1.1\r\nhost: here\r\ncontent-length: 3\r\n\r\nabc").await;
    assert_eq!(client.reply().await, "abc");
    sleep(SILENCE).await;
    assert!(client.rests());
    client.send("POST /read HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    assert_eq!(client.reply().await, "abc");
    sleep(SILENCE).await;
    assert!(client.rests());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_of_what_hyper_holds() {
    // A reply that the client does not read for a while; the line holds little of it.
    let mut client = connect(64);
    client.send("GET /large HTTP/1.1\r\nhost: here\r\n\r\n").await;
    sleep(SILENCE).await;
    assert_eq!(client.reply().await.len(), REPLY);
    sleep(SILENCE).await;
    assert!(client.rests());

    // A reply that is not there yet; and idle is what follows it.
    let mut client = connect(1 << 16);
    assert_eq!(client.ask("/slow").await, "slow");
    sleep(HEADER_PATIENCE - REST_AFTER).await;

    // Half a body.
    client.send("POST /read HTTP/1.1\r\nhost: here\r\ncontent-length: 6\r\n\r\nabc").await;
    sleep(SILENCE).await;
    client.send("def").await;
    assert_eq!(client.reply().await, "abcdef");

    // A request and the beginning of the next.
    client.send("GET /first HTTP/1.1\r\nhost: here\r\n\r\nGET /sec").await;
    client.reply().await;
    sleep(SILENCE).await;
    client.send("ond HTTP/1.1\r\nhost: here\r\n\r\n").await;
    client.reply().await;
    assert_eq!(client.seen(), ["/slow", "/read", "/first", "/second"]);
}

/// Request smuggling: what is left of a body that nobody reads must not be taken for a request.
#[tokio::test(start_paused = true)]
async fn the_rest_of_a_body_is_no_request() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: here\r\n\r\n";
    let mut client = connect(1 << 16);
    client.send(&format!("POST /unread HTTP/1.1\r\nhost: here\r\ncontent-length: {}\r\n\r\n", smuggled.len())).await;
    client.reply().await;
    sleep(SILENCE).await;
    // The server may close the connection instead.
    let _ = client.stream.write_all(smuggled.as_bytes()).await;
    let _ = client.stream.write_all(b"GET /after HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await;
    timeout(LONG, client.stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    assert!(!client.seen().contains(&"/smuggled".to_owned()), "{:?}", client.seen());
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_us_is_not_idle_and_idle_time_begins_with_the_answer() {
    let mut client = connect(100_000);
    assert_eq!(client.ask("/slower").await, "slower");
    sleep(SILENCE).await;
    assert_eq!(client.ask("/slower").await, "slower");
    let began = clock::now();
    timeout(LONG, client.served).await.unwrap().unwrap();
    assert_eq!(began.elapsed(), HEADER_PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_nothing_is_let_go() {
    let seconds = |from: u64, to: u64| Duration::from_secs(from)..=Duration::from_secs(to);
    for (sent, kept) in
        [("", seconds(14, 14)), ("PRI * HTT", seconds(14, 14)), ("GET / HTTP/1.1\r\nhost:", seconds(14, 14))]
    {
        let mut client = connect(1 << 16);
        client.send(sent).await;
        let after = client.closed_after().await;
        assert!(kept.contains(&after), "{sent:?}: {after:?}");
    }
    // After a request, and with the beginning of another: the deadline does not begin anew with each byte.
    let mut client = connect(1 << 16);
    client.ask("/").await;
    let after = client.closed_after().await;
    assert!(seconds(14, 15).contains(&after), "{after:?}");
    let mut client = connect(1 << 16);
    client.ask("/").await;
    sleep(SILENCE).await;
    let began = clock::now();
    while client.stream.write_all(b"G").await.is_ok() {
        sleep(REST_AFTER * 2).await;
    }
    assert!(seconds(14, 17).contains(&began.elapsed()), "{:?}", began.elapsed());
    // One that does not read.
    let mut client = connect(64);
    client.send("GET /large HTTP/1.1\r\nhost: here\r\n\r\n").await;
    let began = clock::now();
    timeout(LONG, client.served).await.unwrap().unwrap();
    assert!(seconds(60, 62).contains(&began.elapsed()), "{:?}", began.elapsed());
}

/// TLS where there is none, HTTP/0.9, and what is nothing at all: whoever speaks so is told, and does not wait for it.
#[tokio::test(start_paused = true)]
async fn what_cannot_become_a_header_is_answered_at_once() {
    for sent in ["\x16\x03\x01\x02", "GET /\r\n", "GET / HTTP/3\r\n", "\0", "\r\n\r\nG\0"] {
        let mut client = connect(1 << 16);
        client.send(sent).await;
        let began = clock::now();
        let mut line = [0; 12];
        timeout(LONG, client.stream.read_exact(&mut line)).await.unwrap().unwrap();
        assert_eq!(
            (std::str::from_utf8(&line).unwrap(), began.elapsed()),
            ("HTTP/1.1 400", Duration::ZERO),
            "{sent:?}"
        );
    }
}

#[test]
fn a_header_is_gathered_until_it_is_whole_or_long_or_none() {
    for (bytes, expected) in [
        (b"".as_slice(), true),
        (b"G", true),
        (b"GET / HTTP/1.1\r\nhost: \xc3\xb6\r\n", true),
        (b"GET / HTTP/1.0\nhost: a\tb\n", true),
        (b"GET / HTTP/1.1\r\n\r", true),
        (b"GET / HTTP/1.1\r\n\r\n", false),
        (b"GET / HTTP/1.1\n\n", false),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET", false),
        (b"\r\n\r\n\nGET / HTTP/1.1\r\n", true),
        (b"\r\n\r\n", true),
        (b"\r\nGET / HTTP/1.1\r\n\r\n", false),
        (b"\nGET / HTTP/1.1\n\n", false),
        (b"\r\nGET /\r\n", false),
        (b"GET / HTTP/1.2\r\n", false),
        (b"GET /\0", false),
        (b"GET / HTTP/1.1\r\na: \x7f", false),
        (&[b'a'; GATHERED - 1], true),
        (&[b'a'; GATHERED], false),
    ] {
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(may_become_a_header(bytes, 0), expected, "{shown:?}");
        // Byte by byte it is found out at the same one.
        let until_found = |looked_at: fn(usize) -> usize| {
            let may = |length: &usize| {
                bytes.get(..*length).is_some_and(|begin| may_become_a_header(begin, looked_at(*length)))
            };
            (1..=bytes.len()).take_while(may).count()
        };
        let (found, at_once) = (until_found(|length| length - 1), until_found(|_| 0));
        assert_eq!((found, found == bytes.len()), (at_once, expected), "{shown:?}");
    }
}

/// What follows the greeting may come together with its end.
#[tokio::test(start_paused = true)]
async fn http2s_greeting_may_come_in_pieces_of_any_length() {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    for first in 1..GREETING.len() {
        let mut client = connect(1 << 16);
        let all = [GREETING.as_slice(), &settings].concat();
        let (begin, rest) = all.split_at(first);
        client.stream.write_all(begin).await.unwrap();
        sleep(REST_AFTER).await;
        client.stream.write_all(rest).await.unwrap();
        let mut head = [0; 9];
        timeout(LONG, client.stream.read_exact(&mut head)).await.unwrap().unwrap();
        assert_eq!(head[3], 4, "the server's own settings come first, after {first} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_has_its_length_however_it_comes() {
    let lengths = [(MAX_HEADER - 100, "200"), (MAX_HEADER + 100, "431"), (3 * MAX_HEADER / 2, "431")];
    // hyper reads more at once where much came before.
    for ((length, status), before) in lengths.into_iter().flat_map(|one| [(one, 0), (one, 4)]) {
        let mut client = connect(1 << 20);
        for _ in 0..before {
            client.send(&format!("GET / HTTP/1.1\r\nlong: {}\r\n\r\n", "x".repeat(MAX_HEADER - 100))).await;
            client.reply().await;
        }
        client.send(&format!("GET / HTTP/1.1\r\nlong: {}\r\n\r\n", "x".repeat(length))).await;
        let mut line = [0; 12];
        timeout(LONG, client.stream.read_exact(&mut line)).await.unwrap().unwrap();
        assert_eq!(std::str::from_utf8(&line).unwrap(), format!("HTTP/1.1 {status}"), "{length} after {before}");
    }
}

/// A client that has asked for this, or for nothing yet, and is silent.
async fn silent_after(first: &str) -> Client {
    let mut client = connect(1 << 16);
    if !first.is_empty() {
        client.ask(first).await;
    }
    sleep(SILENCE).await;
    client
}

#[tokio::test(start_paused = true)]
async fn when_the_server_leaves_what_was_asked_is_answered() {
    let asked = "GET /slow HTTP/1.1\r\nhost: here\r\n\r\n";
    let soon = Duration::from_millis(100);
    // Resting, and one that has not asked yet.
    for first in ["/", ""] {
        let mut client = silent_after(first).await;
        client.leave.send_replace(());
        assert!(client.closed_after().await < soon);
    }
    // With half a header: it would be a request that is sent after the end.
    for first in ["/", ""] {
        let mut client = silent_after(first).await;
        client.send("GET /half HTTP/1.1\r\nhost:").await;
        sleep(soon).await;
        client.leave.send_replace(());
        assert!(client.closed_after().await <= FAREWELL_PATIENCE + soon);
    }
    // With half a header whose other half was on its way.
    for first in ["/", ""] {
        let mut client = silent_after(first).await;
        client.send("GET /slow HTTP/1.1\r\nhost:").await;
        sleep(soon).await;
        client.leave.send_replace(());
        sleep(soon).await;
        client.send(" here\r\n\r\n").await;
        assert_eq!(client.reply().await, "slow");
        assert!(client.closed_after().await < soon);
    }
    // Of one that has only just come, the request was on its way.
    let mut client = connect(1 << 16);
    sleep(soon).await;
    client.leave.send_replace(());
    sleep(soon).await;
    client.send(asked).await;
    assert_eq!(client.reply().await, "slow");
    assert!(client.closed_after().await < soon);
    // Under way.
    let mut client = connect(1 << 16);
    client.send(asked).await;
    sleep(soon).await;
    client.leave.send_replace(());
    assert_eq!(client.reply().await, "slow");
    assert!(client.closed_after().await < soon);
    // Sent and not looked at yet: on a new connection, and on one that rests.
    let mut client = connect(1 << 16);
    client.send(asked).await;
    client.leave.send_replace(());
    assert_eq!(client.reply().await, "slow");
    assert!(client.closed_after().await < soon);
    let mut client = connect(1 << 16);
    client.ask("/").await;
    sleep(SILENCE).await;
    client.send(asked).await;
    client.leave.send_replace(());
    assert_eq!(client.reply().await, "slow");
    assert!(client.closed_after().await < soon);
}

/// Its windows are the client's, who may take a reply in small pieces: hyper has it whole long before it is sent.
#[tokio::test(start_paused = true)]
async fn what_http2_has_still_to_send_is_sent_when_the_server_leaves() {
    let client = connect(1 << 16);
    let mut builder = http2_client::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(1000);
    let (mut asking, connection) = builder.handshake(TokioIo::new(client.stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://here/large").body(String::new()).unwrap();
    let reply = asking.send_request(request).await.unwrap();
    client.leave.send_replace(());
    sleep(SILENCE).await;
    let body = http_body_util::BodyExt::collect(reply.into_body()).await.unwrap().to_bytes();
    assert_eq!(body.len(), REPLY);
}

/// A line that was sent before takes one byte (RFC 7541), and memory as any other.
#[tokio::test(start_paused = true)]
async fn many_lines_are_too_many_over_http2_too() {
    for (lines, status) in [(MAX_LINES - 1, 200), (MAX_LINES + 1, 431)] {
        let client = connect(1 << 20);
        let builder = http2_client::Builder::new(TokioExecutor::new());
        let (mut asking, connection) = builder.handshake(TokioIo::new(client.stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::get("http://here/").body(String::new()).unwrap();
        for _ in 0..lines {
            request.headers_mut().append("x", "y".parse().unwrap());
        }
        assert_eq!(asking.send_request(request).await.unwrap().status(), status, "{lines} lines");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_in_one_piece_do_not_come_before_those_of_others() {
    let (mut pipelined, mut other) = (connect(1 << 20), connect(1 << 16));
    pipelined.send(&"GET /many HTTP/1.1\r\nhost: here\r\n\r\n".repeat(200)).await;
    other.ask("/one").await;
    let before = pipelined.seen().len();
    assert!(before < 20, "{before} of 200 were answered first");
    for _ in 0..200 {
        pipelined.reply().await;
    }
}

/// What the server says first is what its side of HTTP/2 holds clients to (RFC 9113, section 6.5.2).
#[tokio::test(start_paused = true)]
async fn http2_clients_are_told_how_many_requests_and_lines_they_may_send() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    const MAX_HEADER_LIST_SIZE: u16 = 6;
    let mut client = connect(1 << 16);
    client.stream.write_all(GREETING).await.unwrap();
    client.stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    let mut head = [0; 9];
    client.stream.read_exact(&mut head).await.unwrap();
    let [a, b, c, kind, ..] = head;
    assert_eq!(kind, 4, "SETTINGS come first");
    let mut left = u32::from_be_bytes([0, a, b, c]);
    let mut told = std::collections::BTreeMap::new();
    while left > 0 {
        let (name, value) = (client.stream.read_u16().await.unwrap(), client.stream.read_u32().await.unwrap());
        told.insert(name, value);
        left -= 6;
    }
    assert_eq!(told.get(&MAX_CONCURRENT_STREAMS), Some(&MAX_STREAMS));
    assert_eq!(told.get(&MAX_HEADER_LIST_SIZE), Some(&(MAX_HEADER as u32)));
}
