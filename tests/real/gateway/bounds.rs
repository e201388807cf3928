//! What many clients can have of the gateway at once: never so much that nothing is left for the others.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::dockwarden::{self, Dockwarden, password};
use crate::support::gateway::{self, Challenge};
use crate::support::http::{self, Connection};
use crate::support::keys;
use crate::support::process::{Process, until};
use crate::support::registry::{Edition, Registry};
use crate::support::standin::{Head, Standin, Then};
use crate::support::visit::basic;
use crate::support::{http2, machine, scratch};

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

/// A gateway whose clients say who they are, as if a proxy did.
fn by_address(upstreams: &[String]) -> String {
    let config = gateway::config(Challenge::Basic, upstreams);
    config.replacen("token:\n", "  trusted_proxies: [\"127.0.0.1\"]\ntoken:\n", 1)
}

/// One question is many questions to upstreams and rules, and each holds a page in memory.
#[test]
fn two_catalogs_of_a_network_are_looked_through_at_once_and_eight_in_all() {
    let gate = Gate::default();
    let upstream = patient(&gate);
    let gateway = Dockwarden::start(&by_address(&[format!("url: \"http://{}\"", upstream.address)]));
    let ask = |client: u32| {
        let (authorization, client) = (basic("alice", &password("alice")), format!("192.0.2.{client}"));
        let headers = [("Authorization", authorization.as_str()), ("X-Forwarded-For", client.as_str())];
        http::exchange(&gateway.address, &http::request("GET", "/v2/_catalog", "x", &headers, b""))
    };
    let replies = thread::scope(|scope| {
        let ask = &ask;
        let start = |client| scope.spawn(move || (client, ask(client)));
        // The greedy one first: of what all may have, it leaves six.
        let mut clients: Vec<_> = [1; 10].map(start).into();
        until("its share", || (upstream.open() == 2).then_some(()));
        clients.extend((2..12).map(start));
        until("the others' answers", || {
            (clients.iter().filter(|client| client.is_finished()).count() == 12).then_some(())
        });
        assert_eq!(upstream.open(), 8);
        gate.open();
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    let of = |status: u16| replies.iter().filter(|(_, reply)| reply.status == status).count();
    assert_eq!((of(200), of(503)), (8, 12));
    let greedy = replies.iter().filter(|(client, reply)| *client == 1 && reply.status == 200);
    assert_eq!(greedy.count(), 2, "{replies:?}");
    let refused = || replies.iter().filter(|(_, reply)| reply.status == 503);
    assert!(refused().all(|(_, reply)| reply.header("retry-after").is_some()));
    gateway.process.until("the line about the network", |process| {
        process.log().contains("as many catalogs as one network may have are under way").then_some(())
    });
    assert_eq!(ask(1).json()["repositories"][0], "team/app", "there is room again");
}

/// 256 descriptors, of which 192 are kept free for files and the like: 32 for clients, and 32 for what they ask for. Of these
/// a network has 8, an account too, and an upstream that does not answer 16.
#[test]
fn transfers_leave_descriptors_for_those_who_want_tokens() {
    let gate = Gate::default();
    let upstream = patient(&gate);
    let (hung, opened) = (format!("url: \"http://{}\"", upstream.address), Gate::default());
    opened.open();
    let well = patient(&opened);
    let config = by_address(&[hung, format!("url: \"http://{}\", prefix: public", well.address)]);
    // Each network has an account of its own.
    let accounts = ["client-0", "client-1", "client-2", "client-3", "client-4"];
    let config = config.replacen("users:\n", &dockwarden::users(&accounts.map(|account| (account, "{}"))), 1).replacen(
        "acl:\n",
        "acl:\n  - {match: {account: \"client-*\"}, actions: [\"*\"]}\n",
        1,
    );
    let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &config);
    let process = dockwarden::with_descriptors(&file, "256:256");
    let address = dockwarden::address(&process, "listening");

    let authorizations = accounts.map(|account| basic(account, &password(account)));
    // Each connection is one network's.
    let mut connections: Vec<_> = (0..5).map(|_| http2::Connection::open(&address, 1 << 16)).collect();
    let mut busy = |asked: &[(usize, &str, usize)], wanted: usize| {
        for (client, target, times) in asked {
            let from = format!("192.0.2.{client}");
            let fields = [
                (":method", "GET"),
                (":scheme", "http"),
                (":path", target),
                (":authority", "localhost"),
                ("authorization", &authorizations[*client]),
                ("x-forwarded-for", &from),
            ];
            let before = connections[*client].asked;
            for number in 0..*times {
                connections[*client].ask(before + u32::try_from(number).unwrap(), &fields);
            }
        }
        until("replies", || {
            connections.iter_mut().for_each(http2::Connection::attend);
            let replies: usize = connections.iter().map(|connection| connection.replies).sum();
            (replies == wanted).then_some(())
        });
    };
    let (hung, well) = ("/v2/team/app/tags/list", "/v2/public/app/tags/list");
    // Four of each network at the upstream that hangs, and none for the fifth, where the upstream's share is taken.
    busy(&[(0, hung, 10)], 6);
    assert_eq!(upstream.open(), 4);
    busy(&[(1, hung, 10), (2, hung, 10), (3, hung, 10), (4, hung, 3)], 4 * 6 + 3);
    assert_eq!(upstream.open(), 16);
    // All of them get through to the other.
    busy(&[(0, well, 4), (4, well, 8)], 4 * 6 + 3 + 12);
    let token = http::request("GET", "/auth?service=x", "x", &[("Authorization", &authorizations[0])], b"");
    assert_eq!(http::exchange(&address, &token).status, 200);
    gate.open();
    busy(&[], 4 * 10 + 3 + 12);
    for whose in ["one network at one upstream", "one upstream"] {
        process.until(&format!("the line about {whose}"), |process| {
            process.log().contains(&format!("as many transfers as {whose} may have are under way")).then_some(())
        });
    }
    let log = dockwarden::whole_log(&process, &address);
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
    let over_http2 = |process: &Process| process.log().contains("HTTP/2.0\" 201").then_some(());
    registry.process.until("the line of the upload over HTTP/2", over_http2);

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
        (!last.is_empty() && machine::elapsed(since) > Duration::from_secs(1)).then_some(())
    });
    let began = Instant::now();
    let mut honest = Connection::open(&gateway.address).unwrap();
    let reply = honest.send(&get).unwrap_or_else(|error| panic!("somebody else's blob: {error}"));
    assert!(
        reply.status == 200 && reply.body == zeros && machine::elapsed(began) < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    drop(stalled);
}
