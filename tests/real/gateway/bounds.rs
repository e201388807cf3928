//! What many clients can have of the gateway at once: never so much that nothing is left for the others.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::dockwarden::{self, password, program};
use crate::support::gateway::{self, Challenge};
use crate::support::http::{self, Connection};
use crate::support::keys;
use crate::support::process::{Process, until};
use crate::support::registry::{Edition, Registry};
use crate::support::standin::{Head, Standin, Then};
use crate::support::visit::basic;
use crate::support::{http2, part, scratch};

/// Holds back all replies until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn wait(&self) {
        let (open, opened) = &*self.0;
        drop(opened.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
    }

    fn open(&self) {
        let (open, opened) = &*self.0;
        *open.lock().unwrap() = true;
        opened.notify_all();
    }
}

/// An upstream that says the same to everything, once its gate is open.
fn patient(gate: &Gate) -> Standin {
    let gate = gate.clone();
    Standin::start(move |_: &Head, stream: &mut BufReader<TcpStream>| {
        gate.wait();
        let body = "{\"repositories\":[\"team/app\"]}";
        let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        match stream.get_mut().write_all(reply.as_bytes()) {
            Ok(()) => Then::GoOn,
            Err(_) => Then::Close,
        }
    })
}

/// One question is many questions to upstreams and rules, and each holds a page in memory.
#[test]
fn eight_catalogs_are_looked_through_at_once_and_the_others_are_told_to_come_again() {
    let gate = Gate::default();
    let upstream = patient(&gate);
    let gateway = gateway::start(Challenge::Basic, &[format!("url: \"http://{}\"", upstream.address)]);
    let ask = || {
        let authorization = basic("alice", &password("alice"));
        let headers = [("Authorization", authorization.as_str())];
        http::exchange(&gateway.address, &http::request("GET", "/v2/_catalog", "x", &headers, b""))
    };
    let replies = thread::scope(|scope| {
        let clients: Vec<_> = (0..20).map(|_| scope.spawn(ask)).collect();
        until("the others' answers", || {
            (clients.iter().filter(|client| client.is_finished()).count() == 12).then_some(())
        });
        assert_eq!(upstream.open(), 8);
        gate.open();
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let of = |status: u16| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!((of(200), of(503)), (8, 12));
    assert!(replies.iter().filter(|reply| reply.status == 503).all(|reply| reply.header("retry-after").is_some()));
    assert_eq!(ask().json()["repositories"][0], "team/app", "there is room again");
}

/// 256 descriptors, of which 192 are kept free for files and the like: 32 for clients, and 32 for what they ask for.
#[test]
fn transfers_leave_descriptors_for_those_who_want_tokens() {
    let gate = Gate::default();
    let upstream = patient(&gate);
    let config = gateway::config(Challenge::Basic, &[format!("url: \"http://{}\"", upstream.address)]);
    let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &config);
    let mut serve = Command::new(part::path("prlimit"));
    serve.arg("--nofile=256:256").arg(program()).arg("serve").arg(&file);
    let process = Process::start("dockwarden", &serve);
    let address = dockwarden::address(&process, "listening");

    let authorization = basic("alice", &password("alice"));
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/v2/team/app/tags/list"),
        (":authority", "localhost"),
        ("authorization", &authorization),
    ];
    let mut connections: Vec<_> = (0..3).map(|_| http2::Connection::open(&address, 1 << 16)).collect();
    for connection in &mut connections {
        for number in 0..16 {
            connection.ask(number, &fields);
        }
    }
    let mut replies = |wanted: usize| {
        until("replies", || {
            connections.iter_mut().for_each(http2::Connection::attend);
            let replies: usize = connections.iter().map(|connection| connection.replies).sum();
            (replies == wanted).then_some(())
        });
    };
    replies(48 - 32);
    assert_eq!(upstream.open(), 32);
    let token = http::request("GET", "/auth?service=x", "x", &[("Authorization", &authorization)], b"");
    assert_eq!(http::exchange(&address, &token).status, 200);
    gate.open();
    replies(48);
    let log = process.log();
    assert!(log.contains("\"reason\":\"busy\"") && !log.contains("accept_failed"), "{}", process.tail());
}

/// Whoever does not read holds back nobody else's replies, though over HTTP/2 all come on one connection.
#[test]
fn clients_that_do_not_read_hold_nobody_back_over_http_2() {
    let chain = keys::for_localhost();
    let registry = Registry::start_with_tls(Edition::V3, &gateway::inside(), &chain.leaf);
    let authority = chain.authority.display();
    let upstream =
        format!("url: \"https://{}\", ca_certificate: \"{authority}\", {}", registry.host(), gateway::login());
    let gateway = gateway::start(Challenge::Basic, &[upstream]);
    let authorization = basic("alice", &password("alice"));
    let headers = [("Authorization", authorization.as_str())];
    let call = |method, target: &str, body: &[u8]| {
        http::exchange(&gateway.address, &http::request(method, target, "x", &headers, body))
    };
    let size = 32 * 1024 * 1024;
    let digest = gateway::digest_of_zeros(size);
    let zeros = vec![0; usize::try_from(size).unwrap()];
    let begun = call("POST", "/v2/team/app/blobs/uploads/", b"");
    let target = format!("{}&digest={}", begun.header("location").unwrap(), http::form_encode(&digest));
    assert_eq!(call("PUT", &target, &zeros).status, 201);
    assert!(registry.process.log().contains("HTTP/2.0\" 201"), "{}", registry.process.tail());

    let get = http::request("GET", &format!("/v2/team/app/blobs/{digest}"), "x", &headers, b"");
    let stalled: Vec<TcpStream> = (0..12)
        .map(|_| {
            let mut stream = TcpStream::connect(&gateway.address).unwrap();
            stream.write_all(&get).unwrap();
            stream
        })
        .collect();
    // All of them have got as much as there is room for.
    let (mut last, mut since) = (String::new(), Instant::now());
    until("nothing to move any more", || {
        let metrics = call("GET", "/metrics", b"").text();
        let received = metrics.lines().find(|line| line.contains("direction=\"received\"")).unwrap_or_default();
        if received != last {
            (last, since) = (received.to_owned(), Instant::now());
        }
        (!last.is_empty() && since.elapsed() > Duration::from_secs(1)).then_some(())
    });
    let began = Instant::now();
    let mut honest = Connection::open(&gateway.address).unwrap();
    let reply = honest.send(&get).unwrap_or_else(|error| panic!("somebody else's blob: {error}"));
    assert!(
        reply.status == 200 && reply.body == zeros && began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    drop(stalled);
}
