//! Upstreams that die, lie, stall or lead elsewhere, and clients that stall or leave: the other side sees a failure that
//! it can repeat, and nothing is left over.

use std::collections::HashSet;
use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::dockwarden::{Dockwarden, events, password};
use crate::support::gateway::{self, Challenge};
use crate::support::http::{self, Connection};
use crate::support::process::{Signal, until};
use crate::support::registry::{Edition, Registry};
use crate::support::standin::{Head, Standin, Then};
use crate::support::visit::basic;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const BLOB: &str = "/v2/team/app/blobs/sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn before(upstream: &Standin) -> Dockwarden {
    let upstream = format!("url: \"http://{}\", response_timeout: 2s, idle_timeout: 1s", upstream.address);
    gateway::start(Challenge::Basic, &[upstream])
}

fn request(gateway: &Dockwarden, method: &str, target: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let authorization = basic("alice", &password("alice"));
    let mut headers = vec![("Authorization", authorization.as_str())];
    headers.extend(more);
    http::request(method, target, &gateway.host(), &headers, b"")
}

/// The lines of transfers that are over.
fn transfers(gateway: &Dockwarden) -> Vec<Value> {
    let log = gateway.process.log();
    [events(&log, "transferred"), events(&log, "cut off")].concat()
}

/// Waits for the line of a transfer.
fn last_transfer(gateway: &Dockwarden) -> Value {
    gateway.process.until("the transfer's line", |_| transfers(gateway).pop())
}

/// The same; its outcome.
fn outcome(gateway: &Dockwarden) -> String {
    last_transfer(gateway)["outcome"].as_str().unwrap().to_owned()
}

/// A reply's head, and as much of a body as anybody takes.
fn pour(stream: &mut BufReader<TcpStream>, head: &str) -> Then {
    let piece = vec![7; 64 * 1024];
    let stream = stream.get_mut();
    if stream.write_all(head.as_bytes()).is_ok() {
        while stream.write_all(&piece).is_ok() {}
    }
    Then::Close
}

fn say(stream: &mut BufReader<TcpStream>, bytes: &[u8], then: Then) -> Then {
    stream.get_mut().write_all(bytes).ok();
    then
}

#[test]
fn a_reply_that_breaks_off_never_looks_whole() {
    for (reply, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", None),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nhalf", None),
        // Longer than it says: what it says counts.
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhalf and more", Some((200, "half"))),
        // Nobody could tell this one from a broken one.
        ("HTTP/1.1 200 OK\r\n\r\nhalf", Some((502, ""))),
        ("HTTP/1.0 200 OK\r\n\r\nhalf", Some((502, ""))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nhalf", Some((502, ""))),
        // Two ends, or a coding that somebody would have to undo.
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n\r\n",
            Some((502, "")),
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4\r\nhalf\r\n0\r\n\r\n", Some((502, ""))),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n\r\n",
            Some((502, "")),
        ),
        // Another protocol, that nobody asked for.
        ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nhalf", Some((502, ""))),
        ("HTTP/1.1 200 OK\r\nContent-Le", Some((502, ""))),
        ("", Some((502, ""))),
        ("nonsense\r\n\r\n", Some((502, ""))),
    ] {
        let upstream = Standin::start(move |_, stream| say(stream, reply.as_bytes(), Then::Close));
        let gateway = before(&upstream);
        let mut client = Connection::open(&gateway.address).unwrap();
        let received = client.send(&request(&gateway, "GET", BLOB, &[]));
        match expected {
            None => {
                let error = received.err().unwrap_or_else(|| panic!("whole, it seems: {reply:?}"));
                assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{reply:?}");
                assert_eq!(outcome(&gateway), "upstream_broke", "{reply:?}");
            }
            Some((status, body)) => {
                let received = received.unwrap_or_else(|error| panic!("{error}: {reply:?}"));
                assert_eq!(received.status, status, "{reply:?}");
                match status {
                    200 => assert_eq!(received.text(), body),
                    _ => assert_eq!(received.json()["errors"][0]["code"], "UNAVAILABLE"),
                }
            }
        }
    }
}

#[test]
fn a_registry_killed_in_the_middle_of_a_blob_breaks_the_clients_connection() {
    let registry = Registry::start_with_passwords(Edition::V2, &gateway::inside());
    let upstream = format!("url: \"http://{}\", {}", registry.address(), gateway::login());
    let gateway = gateway::start(Challenge::Basic, &[upstream]);
    let size = 64 * 1024 * 1024;
    let digest = gateway::digest_of_zeros(size);
    let mut client = Connection::open(&gateway.address).unwrap();
    let begun = client.send(&request(&gateway, "POST", "/v2/team/app/blobs/uploads/", &[])).unwrap();
    let target = format!("{}&digest={}", begun.header("location").unwrap(), http::form_encode(&digest));
    let authorization = basic("alice", &password("alice"));
    let zeros = vec![0; usize::try_from(size).unwrap()];
    let put = http::request("PUT", &target, &gateway.host(), &[("Authorization", &authorization)], &zeros);
    assert_eq!(client.send(&put).unwrap().status, 201);

    let mut stream = TcpStream::connect(&gateway.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(&request(&gateway, "GET", &format!("/v2/team/app/blobs/{digest}"), &[])).unwrap();
    let mut first = vec![0; 100_000];
    stream.read_exact(&mut first).unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200 OK"));
    registry.process.signal(Signal::Kill);
    let rest = std::io::copy(&mut stream, &mut std::io::sink());
    assert!(rest.is_err() || rest.is_ok_and(|rest| rest < size - 100_000), "half a blob arrived as a whole one");
    gateway.process.until("the line", |_| {
        transfers(&gateway).iter().any(|line| line["outcome"] == "upstream_broke").then_some(())
    });
    // The next request is told what is the matter.
    let reply = client.send(&request(&gateway, "GET", &format!("/v2/team/app/blobs/{digest}"), &[])).unwrap();
    assert_eq!(reply.status, 502);
}

#[test]
fn whoever_stalls_is_left_and_frees_the_other_side() {
    // A client that does not read.
    let upstream = Standin::start(|_, stream| pour(stream, "HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n"));
    let gateway = before(&upstream);
    let sockets = gateway.process.sockets();
    let mut client = TcpStream::connect(&gateway.address).unwrap();
    client.write_all(&request(&gateway, "GET", BLOB, &[])).unwrap();
    until("the request", || (!upstream.take().is_empty()).then_some(()));
    until("the upstream's connection to be closed", || (upstream.open() == 0).then_some(()));
    assert_eq!(outcome(&gateway), "client_stalled");
    drop(client);
    until("no socket to be left", || (gateway.process.sockets() <= sockets).then_some(()));

    // A client that does not go on sending.
    let upstream = Standin::start(|_, stream| {
        std::io::copy(stream, &mut std::io::sink()).ok();
        Then::Close
    });
    let gateway = before(&upstream);
    let mut client = Connection::open(&gateway.address).unwrap();
    let authorization = basic("alice", &password("alice"));
    let head = format!(
        "PATCH /v2/team/app/blobs/uploads/1 HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\n\
         Content-Length: 1000\r\n\r\nhalf"
    );
    client.write(head.as_bytes()).unwrap();
    assert_eq!(client.read(false).unwrap().status, 408);
    let line = last_transfer(&gateway);
    assert_eq!((line["outcome"].as_str(), line["bytes.sent"].as_u64()), (Some("client_stalled"), Some(4)), "{line}");
    until("the upstream's connection to be closed", || (upstream.open() == 0).then_some(()));

    // An upstream that does not go on, or does not begin.
    for (reply, expected) in [("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf", None), ("", Some(504))] {
        let upstream = Standin::start(move |_, stream| {
            stream.get_mut().write_all(reply.as_bytes()).unwrap();
            // Until the other side leaves.
            std::io::copy(stream, &mut std::io::sink()).ok();
            Then::Close
        });
        let gateway = before(&upstream);
        let mut client = Connection::open(&gateway.address).unwrap();
        let received = client.send(&request(&gateway, "GET", BLOB, &[]));
        match expected {
            Some(status) => {
                assert_eq!(received.unwrap().status, status);
                assert_eq!(outcome(&gateway), "upstream_timeout");
            }
            None => {
                assert!(received.is_err());
                assert_eq!(outcome(&gateway), "upstream_stalled");
            }
        }
        until("the upstream's connection to be closed", || (upstream.open() == 0).then_some(()));
    }
}

#[test]
fn a_client_that_leaves_frees_its_upstream() {
    // While the reply is on its way.
    let upstream = Standin::start(|_, stream| pour(stream, "HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n"));
    let gateway = gateway::start(Challenge::Basic, &[format!("url: \"http://{}\"", upstream.address)]);
    for _ in 0..20 {
        let mut client = TcpStream::connect(&gateway.address).unwrap();
        client.write_all(&request(&gateway, "GET", BLOB, &[])).unwrap();
        client.read_exact(&mut [0; 1000]).unwrap();
    }
    until("all connections to be closed", || (upstream.take().len() + upstream.open() == 0).then_some(()));
    assert_eq!(outcome(&gateway), "client_gone");

    // Before there is any reply, and in the middle of its own body.
    let silent = Standin::start(|_, stream| {
        std::io::copy(stream, &mut std::io::sink()).ok();
        Then::Close
    });
    let gateway = gateway::start(Challenge::Basic, &[format!("url: \"http://{}\"", silent.address)]);
    // What nobody waited for is in the log too, with what it took until then.
    for (raw, operation, sent, lines) in [
        (request(&gateway, "GET", BLOB, &[]), "pull", 0, 1),
        (
            [&request(&gateway, "PATCH", "/v2/team/app/blobs/uploads/1", &[("Content-Length", "100")]), &b"half"[..]]
                .concat(),
            "push",
            4,
            2,
        ),
    ] {
        let mut client = TcpStream::connect(&gateway.address).unwrap();
        client.write_all(&raw).unwrap();
        until("the request", || (!silent.take().is_empty()).then_some(()));
        assert_eq!(silent.open(), 1);
        drop(client);
        until("the upstream's connection to be closed", || (silent.open() == 0).then_some(()));
        until("the line", || (transfers(&gateway).len() == lines).then_some(()));
        let line = last_transfer(&gateway);
        assert!(line["outcome"] == "client_gone" && line["user.account"] == "alice", "{line}");
        assert!(line["operation"] == operation && line["bytes.sent"] == sent && line["status"].is_null(), "{line}");
        assert!(line["seconds"].as_f64().is_some(), "{line}");
    }
}

/// A connection that is kept may be closed at the very moment at which the next request goes out.
#[test]
fn what_changes_nothing_is_asked_again_where_a_kept_connection_breaks() {
    // A connection is kept a moment after its answer has gone out, so that a request may come too early to meet it.
    let expected = (vec![200, 200, 200, 200, 502, 200, 200], 7 + 4);
    let tried: Vec<_> = (0..5).map(|_| requests_on_kept_connections()).take_while(|seen| *seen != expected).collect();
    assert!(tried.len() < 5, "what reads and came second is asked twice, and nothing else: {tried:?}");
}

/// What is answered where each connection to the upstream breaks with its second request, and how many requests that has.
fn requests_on_kept_connections() -> (Vec<u16>, usize) {
    let seen = Mutex::new(HashSet::new());
    let upstream = Standin::start(move |head, stream| {
        let first_on_its_connection = seen.lock().unwrap().insert(stream.get_ref().peer_addr().unwrap());
        if !first_on_its_connection {
            return Then::Close;
        }
        let body = if head.line.starts_with("HEAD") { "" } else { "ok" };
        say(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}").as_bytes(), Then::GoOn)
    });
    let gateway = gateway::start(Challenge::Basic, &[format!("url: \"http://{}\"", upstream.address)]);
    let mut client = Connection::open(&gateway.address).unwrap();
    let target = format!("/v2/team/app/manifests/{DIGEST}");
    let mut ask = |method| client.send(&request(&gateway, method, &target, &[])).unwrap().status;
    let statuses = ["GET", "GET", "HEAD", "HEAD", "DELETE", "DELETE", "GET"].map(&mut ask).to_vec();
    let heads = upstream.take();
    // However it comes: who reads notices nothing, and what changes something is asked once.
    assert!([0, 1, 2, 3, 6].iter().all(|number| statuses[*number] == 200), "{statuses:?}");
    assert_eq!(heads.iter().filter(|head| head.line.starts_with("DELETE")).count(), 2, "{statuses:?}");
    (statuses, heads.len())
}

#[test]
fn an_upstream_that_does_not_finish_its_handshake_is_a_504() {
    let silent = Standin::start(|_, stream| {
        std::io::copy(stream, &mut std::io::sink()).ok();
        Then::Close
    });
    let upstream = format!("url: \"https://{}\", connect_timeout: 300ms", silent.address);
    let gateway = gateway::start(Challenge::Basic, &[upstream]);
    let reply = Connection::open(&gateway.address).unwrap().send(&request(&gateway, "GET", BLOB, &[])).unwrap();
    assert_eq!((reply.status, outcome(&gateway)), (504, "upstream_timeout".to_owned()));
    until("the connection to be closed", || (silent.open() == 0).then_some(()));
}

/// A transfer may take as long as it moves: longer than any idle connection is kept.
#[test]
fn a_slow_transfer_outlives_every_idle_time() {
    const PIECES: usize = 330;
    let upstream = Standin::start(|head: &Head, stream| {
        if head.line.starts_with("PATCH") {
            let length: u64 = head.header("content-length").unwrap().parse().unwrap();
            std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink()).unwrap();
            return say(stream, b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", Then::GoOn);
        }
        let stream = stream.get_mut();
        stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {PIECES}\r\n\r\n").as_bytes()).unwrap();
        for _ in 0..PIECES {
            stream.write_all(b"x").unwrap();
            std::thread::sleep(Duration::from_millis(200));
        }
        Then::GoOn
    });
    // Less than the whole takes, and more than a busy machine makes of the pauses.
    let upstream = format!("url: \"http://{}\", response_timeout: 2s, idle_timeout: 10s", upstream.address);
    let gateway = gateway::start(Challenge::Basic, &[upstream]);
    let began = Instant::now();
    let down = std::thread::spawn({
        let (raw, address) = (request(&gateway, "GET", BLOB, &[]), gateway.address.clone());
        move || Connection::open(&address).unwrap().send(&raw).unwrap()
    });
    let mut up = Connection::open(&gateway.address).unwrap();
    let length = PIECES.to_string();
    up.write(&request(&gateway, "PATCH", "/v2/team/app/blobs/uploads/1", &[("Content-Length", &length)])).unwrap();
    for _ in 0..PIECES {
        up.write(b"x").unwrap();
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(up.read(false).unwrap().status, 202);
    let down = down.join().unwrap();
    assert_eq!((down.status, down.body.len()), (200, PIECES));
    assert!(began.elapsed() > Duration::from_secs(62), "it was to take longer than an idle connection is kept");
}

/// A redirect is the client's to follow; neither its credentials nor ours go there, or to the other side.
#[test]
fn redirects_to_storage_pass_untouched_and_credentials_stay_on_their_side() {
    let storage = Standin::start(|_, stream| say(stream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Then::GoOn));
    let place = format!("http://{}/bucket/{DIGEST}?X-Amz-Signature=0a%2Fb", storage.address);
    let told = place.clone();
    let upstream = Standin::start(move |_, stream| {
        let reply = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {told}\r\nWWW-Authenticate: Basic realm=\"inside\"\r\n\
             Set-Cookie: session=ours\r\nContent-Length: 0\r\n\r\n"
        );
        say(stream, reply.as_bytes(), Then::GoOn)
    });
    let upstream_line = format!("url: \"http://{}\", {}", upstream.address, gateway::login());
    let gateway = gateway::start(Challenge::Basic, &[upstream_line]);
    let mut client = Connection::open(&gateway.address).unwrap();
    let noise = [("Cookie", "session=clients"), ("X-Forwarded-For", "6.6.6.6"), ("Proxy-Authorization", "Basic eA==")];
    let reply = client.send(&request(&gateway, "GET", BLOB, &noise)).unwrap();
    assert_eq!((reply.status, reply.header("location")), (307, Some(place.as_str())));
    let shown: Vec<&String> = reply.headers.iter().map(|(_, value)| value).collect();
    let (clients, ours) = (basic("alice", &password("alice")), basic(gateway::INSIDE.0, gateway::INSIDE.1));
    assert!(!shown.iter().any(|value| value.contains("inside") || value.contains("session") || **value == ours));
    let heads = upstream.take();
    assert_eq!(heads.len(), 1);
    assert_eq!(heads[0].header("authorization"), Some(ours.as_str()));
    let all = heads[0].headers.join("\n");
    assert!(!all.contains(&clients) && !all.contains("session") && !all.contains("6.6.6.6"), "{all}");
    assert_eq!(heads[0].header("x-forwarded-for"), Some("127.0.0.1"));
    assert!(storage.take().is_empty(), "the gateway went there itself");
}
