//! Who is answered before all was read still gets the answer, and holds nothing for long.

use std::collections::VecDeque;

use hyper::body::{Body as HttpBody, Bytes, Frame};
use tokio::sync::Semaphore;

use super::*;
use crate::client_network::ClientNetwork;
use crate::connections::{Connections, LARGEST_SHARE};

/// More than any buffer holds, and less than what is thrown away.
const MUCH: usize = 20 * 1024 * 1024;
const MOMENT: Duration = Duration::from_millis(10);

/// A body in pieces. What is pending stays so.
pub(super) struct Pieces(pub(super) VecDeque<Poll<Result<&'static str, CutOff>>>);

#[derive(Debug, thiserror::Error)]
#[error("cut off")]
pub(super) struct CutOff;

pub(super) fn ready(text: &'static str) -> Poll<Result<&'static str, CutOff>> {
    Poll::Ready(Ok(text))
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        match self.0.pop_front() {
            Some(Poll::Ready(piece)) => {
                Poll::Ready(Some(piece.map(|text| Frame::data(Bytes::from_static(text.as_bytes())))))
            }
            Some(Poll::Pending) => {
                self.0.push_front(Poll::Pending);
                Poll::Pending
            }
            None => Poll::Ready(None),
        }
    }
}

/// Answers at once, and reads on all the same.
pub(super) async fn pass_on(body: Body, seen: Arc<Mutex<Vec<String>>>) -> &'static str {
    tokio::spawn(async move {
        let mut body = body;
        while let Some(Ok(_)) = http_body_util::BodyExt::frame(&mut body).await {}
        if body.is_end_stream() {
            seen.lock().unwrap().push("to its end".to_owned());
        }
    });
    ""
}

/// The header of a request with a body of that length.
fn header(length: usize, more: &str) -> String {
    format!("POST /refused HTTP/1.1\r\nhost: here\r\ncontent-length: {length}\r\n{more}\r\n")
}

/// What is written all at once by a client that reads nothing before.
async fn write(client: &mut Client, length: usize) -> std::io::Result<()> {
    let piece = [b'x'; 10_000];
    let mut left = length;
    while left > 0 {
        let now = left.min(piece.len());
        timeout(LONG, client.stream.write_all(piece.get(..now).unwrap())).await.unwrap()?;
        left -= now;
    }
    Ok(())
}

/// All that comes until the server has closed its side.
async fn rest(client: &mut Client) -> String {
    let mut read = Vec::new();
    timeout(LONG, client.stream.read_to_end(&mut read)).await.unwrap().unwrap();
    String::from_utf8(read).unwrap()
}

/// A client that was refused, has read that, and goes on sending.
async fn refused(mut client: Client) -> Client {
    client.send(&header(usize::MAX / 2, "")).await;
    let reply = rest(&mut client).await;
    assert!(reply.starts_with("HTTP/1.1 403 ") && reply.contains("connection: close\r\n"), "{reply}");
    client
}

#[tokio::test(start_paused = true)]
async fn a_refusal_reaches_a_client_that_sends_all_of_its_body_first() {
    let whole = "transfer-encoding: chunked\r\n\r\n";
    let chunked = format!("POST /refused HTTP/1.1\r\nhost: here\r\n{whole}{MUCH:x}\r\n");
    for (sent, status) in [
        (header(MUCH, ""), "403"),
        (chunked, "403"),
        // Before HTTP is spoken at all, and with a header that is too long.
        ("GET / HTTP/7.0\r\n".to_owned(), "400"),
        (format!("GET / HTTP/1.1\r\nlong: {}", "x".repeat(MAX_HEADER)), "431"),
        // A request that nobody expects any more.
        ("GET /large HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n".to_owned(), "200"),
    ] {
        // The line holds all of the reply, and next to nothing of the body.
        let mut client = connect(2 * REPLY);
        let began = clock::now();
        client.send(&sent).await;
        let written = write(&mut client, MUCH).await;
        assert!(written.is_ok(), "{written:?}: {sent:.60}");
        let reply = rest(&mut client).await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{reply:.100}");
        assert!(began.elapsed() < REST_AFTER, "{:?}", began.elapsed());
        // It knows then that nothing more is wanted, and the server that nothing more comes.
        drop(client.stream);
        timeout(MOMENT, client.served).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_body_that_is_there_is_read_and_its_connection_kept() {
    let chunked = "POST /refused HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n";
    let long = "x".repeat(200_000);
    for (head, body, waits, kept) in [
        (header(3, ""), "abc", Duration::ZERO, true),
        (header(3, ""), "abc", MOMENT, true),
        (header(3, ""), "abc", 10 * MOMENT, false),
        (chunked.to_owned(), "3\r\nabc\r\n0\r\n\r\n", MOMENT, true),
        (chunked.to_owned(), "3\r\nabc\r\n", MOMENT, false),
        (chunked.to_owned(), "nonsense\r\n", MOMENT, false),
        (header(long.len(), ""), long.as_str(), MOMENT, true),
        (header(2 * long.len(), ""), long.as_str(), MOMENT, false),
        // Nobody has asked for it.
        (header(3, "expect: 100-continue\r\n"), "", Duration::ZERO, false),
        (header(3, "expect: 100-continue\r\n"), "abc", Duration::ZERO, false),
    ] {
        let mut client = connect(1 << 20);
        client.send(&head).await;
        if !waits.is_zero() {
            sleep(waits).await;
        }
        client.send(body).await;
        client.send("GET /next HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").await;
        let replies = rest(&mut client).await;
        assert!(replies.starts_with("HTTP/1.1 403 "), "{replies}");
        let next = if kept { vec!["/refused", "/next"] } else { vec!["/refused"] };
        assert_eq!(client.seen(), next, "{head}{body:.20} after {waits:?}: {replies}");
        assert_eq!(replies.matches("HTTP/1.1 ").count(), next.len(), "{replies}");
        // Told in time, so that no client sends its next request here in vain.
        assert!(replies.split("\r\n\r\n").next().unwrap().contains("connection: close") != kept, "{replies}");
    }
}

/// Whoever sends for ever holds a place for a while, and no memory.
#[tokio::test(start_paused = true)]
async fn a_client_that_was_refused_and_goes_on_is_let_go() {
    let silent = refused(connect(1 << 16)).await;
    let began = clock::now();
    timeout(LONG, silent.served).await.unwrap().unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(5));

    let mut slow = refused(connect(1 << 16)).await;
    let began = clock::now();
    while slow.stream.write_all(b"x").await.is_ok() {
        assert!(slow.asked_for.load(Ordering::Acquire) <= 16 * 1024, "nothing of it is kept");
        sleep(REST_AFTER).await;
    }
    let took = began.elapsed();
    assert!((30..=32).contains(&took.as_secs()), "{took:?}");

    let mut fast = refused(connect(1 << 16)).await;
    let began = clock::now();
    let piece = vec![b'x'; 1 << 16];
    let mut sent = 0;
    while let Ok(Ok(())) = timeout(LONG, fast.stream.write_all(&piece)).await {
        sent += piece.len();
    }
    assert!((64 << 20..65 << 20).contains(&sent), "{sent}");
    assert!(began.elapsed() < REST_AFTER, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_refused_and_goes_on_makes_room() {
    let places = Arc::new(Semaphore::new(2));
    let connections = Arc::new(Connections::sharing(LARGEST_SHARE));
    let seat = || {
        let counted = connections.count(ClientNetwork::of(Some([192, 0, 2, 1].into())), LARGEST_SHARE);
        (Arc::clone(&places).try_acquire_owned().unwrap(), counted.unwrap())
    };
    let mut asking = connect_with(1 << 16, Some(seat()));
    asking.send("GET /slow HTTP/1.1\r\nhost: here\r\n\r\n").await;
    let mut client = refused(connect_with(1 << 16, Some(seat()))).await;
    client.send("more").await;
    timeout(MOMENT, connections.place(&places)).await.unwrap().unwrap().forget();
    assert!(client.stream.write_all(b"more").await.is_err());
    assert_eq!(asking.reply().await, "slow");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_was_refused_and_goes_on_does_not_keep_the_server_from_leaving() {
    for before in [true, false] {
        let client = connect(1 << 16);
        let mut client = if before { refused(client).await } else { client };
        client.leave.send_replace(());
        let began = clock::now();
        if !before {
            client = refused(client).await;
        }
        while client.stream.write_all(b"x").await.is_ok() {
            sleep(MOMENT).await;
        }
        assert!(began.elapsed() < 2 * FAREWELL_PATIENCE, "{:?}", began.elapsed());
    }
}

/// HTTP/1.0 has no other mark of the end where a length is not known before.
#[tokio::test(start_paused = true)]
async fn a_reply_that_ends_with_its_connection_and_is_not_whole_breaks_it() {
    for (path, version, broken) in [
        ("/whole", "1.0", false),
        ("/large", "1.0", false),
        ("/refused", "1.0", false),
        ("/cut", "1.0", true),
        // Its last piece is missing there.
        ("/cut", "1.1", false),
    ] {
        let mut client = connect(1 << 16);
        client.send(&format!("GET {path} HTTP/{version}\r\nhost: here\r\nconnection: close\r\n\r\n")).await;
        let reply = rest(&mut client).await;
        drop(client.stream);
        timeout(LONG, client.served).await.unwrap().unwrap();
        assert_eq!(client.broken.load(Ordering::Acquire), broken, "{path} {version}: {reply}");
        assert_eq!(reply.contains("and half"), path == "/whole", "{reply}");
    }
    // Nor may an end of ours look like that of a reply.
    let mut client = connect(1 << 16);
    client.send("GET /stuck HTTP/1.0\r\nhost: here\r\n\r\n").await;
    sleep(MOMENT).await;
    client.served.abort();
    assert!(client.served.await.unwrap_err().is_cancelled());
    assert!(client.broken.load(Ordering::Acquire));
}

/// An upstream may answer before it has all of a body, and go on reading it.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_passed_on_after_its_reply_is_passed_on_to_its_end() {
    let mut client = connect(1 << 16);
    client.send(&header(MUCH, "").replace("/refused", "/passed_on")).await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(LONG, client.stream.read_u8()).await.unwrap().unwrap());
    }
    assert!(String::from_utf8(head).unwrap().contains("connection: close\r\n"));
    write(&mut client, MUCH).await.unwrap();
    timeout(LONG, client.stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
    assert_eq!(client.seen(), ["/passed_on", "to its end"]);
}
