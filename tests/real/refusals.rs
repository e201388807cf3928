//! Refusals that come while the client still sends, to Go's client, which docker is made with: each arrives, at every door
//! and however the body is announced; and whoever goes on sending after one shuts nobody out.

use std::collections::BTreeMap;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::clock::Clocked;
use crate::support::dockwarden::{self, Dockwarden, SERVICE, events, password};
use crate::support::gateway::{self, Challenge};
use crate::support::http::{self, Connection, connect_from};
use crate::support::keys::{self, Kind};
use crate::support::process::{Signal, until_within};
use crate::support::standin::{Standin, Then};
use crate::support::visit::{self, basic};
use crate::support::{http2, machine, number, part, scratch};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const UPLOAD: &str = "/v2/team/app/blobs/uploads/1";

/// Something that is refused.
struct Case {
    what: &'static str,
    method: &'static str,
    target: String,
    headers: Vec<String>,
    /// What may come of it.
    statuses: &'static [u16],
}

fn case(
    what: &'static str,
    (method, target): (&'static str, &str),
    headers: &[&str],
    statuses: &'static [u16],
) -> Case {
    let headers = headers.iter().map(|line| (*line).to_owned()).collect();
    Case { what, method, target: target.to_owned(), headers, statuses }
}

/// What a server without a gateway refuses.
fn without_a_gateway() -> Vec<Case> {
    let wrong = format!("Authorization: {}", basic("alice", "wrong"));
    let long = format!("/auth?scope={}", "x".repeat(40_000));
    vec![
        case("a form that is too long", ("POST", "/auth"), &[FORM], &[413]),
        case("no form", ("POST", "/auth"), &[], &[415]),
        case("no method of the token endpoint", ("PUT", "/auth"), &[], &[405]),
        case("credentials that are none", ("POST", "/auth"), &[FORM, "Authorization: Basic !"], &[401]),
        case("a wrong password", ("GET", "/auth?service=x"), &[&wrong], &[401]),
        case("a query that is too long", ("GET", &long), &[], &[414]),
        case("no address", ("POST", "/nothing"), &[], &[404]),
        case("no method of health", ("POST", "/healthz"), &[], &[405]),
        case("no method of the key set", ("POST", "/.well-known/jwks.json"), &[], &[405]),
    ]
}

/// What the gateway and forward_auth refuse besides; `over` is a token that is over.
fn at_the_doors(over: &str) -> Vec<Case> {
    let over = format!("Authorization: Bearer {over}");
    let wrong = format!("Authorization: {}", basic("alice", "wrong"));
    let of = |account: &str| format!("Authorization: {}", basic(account, &password(account)));
    let [alice, bob, boss] = ["alice", "bob", "boss"].map(of);
    // Nobody of that name is in the file, and the program that knows more fails.
    let ghost = of("ghost");
    let original = ["X-Original-Method: PATCH", "X-Original-URI: /v2/team/app/blobs/uploads/1"];
    vec![
        case("a token that is over", ("PATCH", UPLOAD), &[&over], &[401]),
        case("no credentials", ("PATCH", UPLOAD), &[], &[401]),
        case("a wrong password at the gateway", ("PATCH", UPLOAD), &[&wrong], &[401]),
        case("no right", ("PATCH", UPLOAD), &[&bob], &[403]),
        case("an outage", ("PATCH", UPLOAD), &[&ghost], &[503]),
        case("a form", ("PATCH", UPLOAD), &[&alice, FORM], &[415]),
        case("GET with a body", ("GET", "/v2/team/app/manifests/1"), &[&alice], &[400]),
        case("no canonical target", ("PATCH", "/v2/team//app/blobs/uploads/1"), &[&alice], &[400]),
        case("read only", ("PATCH", "/v2/public/app/blobs/uploads/1"), &[&boss], &[405]),
        case("no upstream", ("PATCH", "/v2/other/app/blobs/uploads/1"), &[&boss], &[404]),
        case("an upstream that is away", ("PATCH", "/v2/dead/app/blobs/uploads/1"), &[&boss], &[502]),
        case("too long for the upstream", ("PATCH", UPLOAD), &[&alice], &[413]),
        case("forward_auth without a question", ("POST", "/forward_auth"), &[], &[403]),
        case("forward_auth without credentials", ("POST", "/forward_auth"), &original, &[401]),
        case("forward_auth without a right", ("POST", "/forward_auth"), &[original[0], original[1], &bob], &[403]),
    ]
}

/// The client in its ways.
#[derive(Clone, Copy, Debug)]
enum Way {
    Http1,
    Chunked,
    Http2,
    Expect,
}

impl Way {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Way::Http1 => &[],
            Way::Chunked => &["-chunked"],
            Way::Http2 => &["-http2"],
            Way::Expect => &["-expect"],
        }
    }
}

/// Asks so many times, and gives how often each thing was learned. Every time it must have been one of the case's statuses.
#[track_caller]
fn all_learn(base: &str, case: &Case, way: Way, times: u64, more: &[&str]) -> BTreeMap<String, u64> {
    let mut upload = part::client("upload");
    upload.args(["-url", &format!("{base}{}", case.target), "-method", case.method]);
    upload.args(["-times", &times.to_string()]).args(way.arguments()).args(more);
    for header in &case.headers {
        upload.args(["-header", header]);
    }
    let said = part::run(&mut upload).well();
    let learned: BTreeMap<String, u64> = serde_json::from_str(said.stdout.trim()).unwrap();
    let right: u64 = case.statuses.iter().filter_map(|status| learned.get(&status.to_string())).sum();
    assert_eq!(right, times, "{} ({way:?}): {learned:?}", case.what);
    learned
}

/// Takes nothing, and says so at once.
fn takes_nothing() -> Standin {
    Standin::start(|_, stream: &mut BufReader<TcpStream>| {
        let reply = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        stream.get_mut().write_all(reply).ok();
        stream.get_mut().shutdown(Shutdown::Write).ok();
        std::io::copy(stream, &mut std::io::sink()).ok();
        Then::Close
    })
}

/// All doors in one, and a token for pushing that ended an hour ago.
fn all_doors() -> (Dockwarden, String) {
    let upstream = takes_nothing();
    let url = |prefix: &str| format!("url: \"http://{}\", name: {prefix}, prefix: {prefix}", upstream.address);
    let dead = "url: \"http://127.0.0.1:1\", name: dead, prefix: dead".to_owned();
    let fails = scratch::write(&scratch::directory("program"), "fails", "#!/bin/sh\nexit 3\n");
    part::run(part::client("chmod").arg("755").arg(&fails)).well();
    let config = gateway::config(Challenge::Bearer, &[url("team"), url("public") + ", read_only: true", dead])
        + &format!(
            "ext_auth: {{command: \"{}\"}}\nforward_auth: {{trusted_proxies: [127.0.0.1], service: \"{SERVICE}\"}}\n",
            fails.display()
        );
    let own = config.lines().find(|line| line.trim_start().starts_with("addr:")).unwrap();
    let before = Clocked::start(&config.replace(own, "  addr: \"127.0.0.1:0\""), -2 * 3600);
    let over = visit::token(&before.dockwarden.realm(), SERVICE, "alice", &["repository:team/app:pull,push"]);
    (Dockwarden::start(&config), over)
}

/// Guesses bob's password until there have been too many.
fn guess(server: &Dockwarden) {
    let wrong = |number: u32| {
        let authorization = basic("bob", &format!("guess {number}"));
        let headers = [("Authorization", authorization.as_str())];
        http::exchange(&server.address, &http::request("GET", "/auth?service=x", "x", &headers, b"")).status
    };
    assert!((0..10).map(wrong).any(|status| status == 429));
}

#[test]
fn every_early_refusal_of_every_door_reaches_a_client_that_is_sending() {
    let (server, over) = all_doors();
    let base = format!("http://{}", server.address);
    let times = number("REFUSALS", 40);
    let guessed = format!("Authorization: {}", basic("bob", "wrong"));
    let too_many = case("too many guesses", ("PATCH", UPLOAD), &[&guessed], &[401, 429]);
    let mut statuses = BTreeMap::new();
    for case in without_a_gateway().iter().chain(&at_the_doors(&over)).chain([&too_many]) {
        if case.what == too_many.what {
            guess(&server);
        }
        for way in [Way::Http1, Way::Chunked, Way::Http2] {
            let mut learned = all_learn(&base, case, way, times, &[]);
            let connections = learned.remove("connections");
            if matches!(way, Way::Http2) {
                // The others on it do not suffer.
                assert_eq!(connections, Some(1), "{}", case.what);
            }
            for (status, count) in learned {
                *statuses.entry(status).or_insert(0) += count;
            }
        }
        // It has not sent anything then, and is not told to.
        let expecting = all_learn(&base, case, Way::Expect, 2, &[]);
        if case.what != "too long for the upstream" {
            assert_eq!(expecting["continued"], 0, "{}: {expecting:?}", case.what);
        }
    }
    for status in [401, 403, 404, 405, 413, 415, 429, 503] {
        assert!(statuses.contains_key(&status.to_string()), "no {status}: {statuses:?}");
    }
    // Nobody is left, and short bodies keep their connection.
    server.process.until("all connections to be closed", |process| (process.sockets() <= 8).then_some(()));
    let short = all_learn(&base, &at_the_doors(&over)[0], Way::Http1, 40, &["-bytes", "1000"]);
    assert_eq!(short["connections"], 1);
}

#[test]
fn refusals_reach_a_client_that_is_sending_over_tls_and_unix_sockets_too() {
    let pair = keys::as_in_the_guide(Kind::P256);
    let policy = dockwarden::users(&[("alice", "{}")]) + "acl: []\n";
    let config = dockwarden::config(&pair, "", &policy);
    let tls = keys::for_localhost();
    let file = |text: &str| scratch::write(&scratch::directory("config"), "auth_config.yml", text);
    let (_with_tls, address) = dockwarden::listening(&file(&dockwarden::with_tls(&config, &tls.leaf)));
    let base = format!("https://{}", address.replace("127.0.0.1", "localhost"));
    let trusted = ["-authority", tls.authority.to_str().unwrap()];
    let socket = scratch::directory("socket").join("auth.sock");
    let unix = format!("addr: \"{}\"\n  net: unix", socket.display());
    let (_on_a_socket, _) = dockwarden::listening(&file(&config.replace("addr: \"127.0.0.1:0\"", &unix)));
    let there = ["-socket", socket.to_str().unwrap()];
    for case in &without_a_gateway() {
        for way in [Way::Http1, Way::Chunked, Way::Http2] {
            all_learn(&base, case, way, 40, &trusted);
            all_learn("http://localhost", case, way, 40, &there);
        }
    }
}

fn plain() -> String {
    let pair = keys::as_in_the_guide(Kind::P256);
    dockwarden::config(&pair, "", &(dockwarden::users(&[("alice", "{}")]) + "acl: []\n"))
}

/// A client that is refused, and goes on sending.
fn refused(source: Ipv4Addr, address: &str) -> TcpStream {
    let mut stream = connect_from(source, address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"PUT /auth HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n").unwrap();
    let mut reply = String::new();
    // Until the server has closed its side.
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 405 ") && reply.contains("connection: close"), "{reply}");
    stream.set_nonblocking(true).unwrap();
    stream
}

/// Sends more. Whether the server still takes it.
fn go_on(stream: &mut TcpStream, piece: &[u8]) -> bool {
    match stream.write(piece) {
        Ok(length) => length > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

/// 256 descriptors, of which 192 are kept free for files and the like: 64 places.
#[test]
fn whoever_goes_on_sending_for_ever_shuts_nobody_out_and_is_let_go() {
    let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &plain());
    let process = dockwarden::with_descriptors(&file, "256:256");
    let address = dockwarden::address(&process, "listening");
    let healthy = || http::exchange(&address, &http::request("GET", "/healthz", "x", &[], b"")).status == 200;
    assert!(healthy());
    let before = process.peak_memory();
    let mut crowd: Vec<TcpStream> =
        (0..64).map(|number| refused(Ipv4Addr::new(127, 0, 1, 1 + number % 4), &address)).collect();
    let began = Instant::now();
    for _ in 0..8 {
        for stream in &mut crowd {
            go_on(stream, b"more");
        }
        assert!(healthy());
    }
    assert!(machine::elapsed(began) < Duration::from_secs(4), "{:?}", began.elapsed());
    crowd.retain_mut(|stream| go_on(stream, b"more") && go_on(stream, b"more"));
    assert!((40..64).contains(&crowd.len()), "one for each who came: {} of 64 are left", crowd.len());
    // Some now and then, some as fast as they can.
    let flood = vec![0; 1 << 20];
    until_within(Duration::from_secs(40), "the end of the crowd", || {
        let mut fast = true;
        crowd.retain_mut(|stream| {
            fast = !fast;
            go_on(stream, if fast { &flood } else { b"x" })
        });
        crowd.is_empty().then_some(())
    });
    let grown = process.peak_memory() - before;
    assert!(grown < 16 * 1024 * 1024, "{grown} bytes");
    process.keeps_secrets();
}

/// Its stream is over with the refusal; what still comes on it is not kept, and ends the connection.
#[test]
fn whoever_goes_on_sending_over_http2_is_let_go_too() {
    let server = Dockwarden::start(&plain());
    let mut connection = http2::Connection::open(&server.address, 65_535);
    let fields = [
        (":method", "PUT"),
        (":scheme", "http"),
        (":path", "/auth"),
        (":authority", "x"),
        ("content-length", "99999999"),
    ];
    connection.begin(0, &fields);
    let began = Instant::now();
    until_within(Duration::from_secs(75), "the end of the connection", || {
        connection.attend();
        connection.send_byte(0);
        connection.closed.then_some(())
    });
    println!("closed after {:?}", began.elapsed());
    assert_eq!((connection.replies, connection.resets > 0), (1, true));
}

#[test]
fn a_stop_does_not_wait_for_whoever_goes_on_sending() {
    let server = Dockwarden::start(&plain());
    let mut crowd: Vec<TcpStream> = (0..20).map(|_| refused(Ipv4Addr::LOCALHOST, &server.address)).collect();
    server.process.signal(Signal::Terminate);
    let began = Instant::now();
    server.process.until("its end", |process| {
        for stream in &mut crowd {
            go_on(stream, b"more");
        }
        process.ended()
    });
    assert!(machine::elapsed(began) < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(!server.process.log().contains("drain_timeout"));
}

/// The lines about what is no HTTP.
fn said(log: &str) -> Vec<Value> {
    events(log, "connections were closed on which no HTTP was spoken")
}

fn counted(process: &str) -> u64 {
    let reply = http::exchange(process, &http::request("GET", "/metrics", "x", &[], b""));
    let text = reply.text();
    let line = text.lines().find_map(|line| line.strip_prefix("dockwarden_connections_not_http_total "));
    line.unwrap().parse().unwrap()
}

#[test]
fn what_is_no_http_is_counted_and_said_once() {
    let tls = keys::for_localhost();
    let server = Dockwarden::start(&plain());
    let admin = "server:\n  admin_addr: \"127.0.0.1:0\"\n";
    let with_tls = dockwarden::with_tls(&plain(), &tls.leaf).replace("server:\n", admin);
    let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &with_tls);
    let (secure, address) = dockwarden::listening(&file);
    let admin = dockwarden::address(&secure, "listening for health and metrics");
    let sent: [&[u8]; 4] =
        [b"\x16\x03\x01\x02\x00\x01\x00", b"SSH-2.0-canary\r\n", b"GET /canary\r\n", b"CANARY / HTTP/7.7\r\n\r\n"];
    for (process, address, counter, sent) in [
        (&server.process, &server.address, &server.address, &sent[..]),
        (&secure, &address, &admin, &[&b"GET /canary HTTP/1.1\r\nHost: x\r\n\r\n"[..]; 4]),
    ] {
        assert_eq!(counted(counter), 0);
        for bytes in sent {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(bytes).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            // It is answered at once, with an alert or 400.
            stream.read_exact(&mut [0]).unwrap();
        }
        // A hang-up is none, nor is a request that is refused.
        drop(TcpStream::connect(address).unwrap());
        process.until("all four", |_| (counted(counter) == 4).then_some(()));
        // The log is written beside that.
        let lines = process
            .until("the line about the first", |process| Some(said(&process.log())).filter(|lines| !lines.is_empty()));
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line = &lines[0];
        assert!(line["client.address"] == "127.0.0.1" && line["reason"] == "not_http", "{line}");
        assert!(line["connections"] == 1 && line["cause"].as_str().is_some(), "{line}");
        assert!(!process.log().to_lowercase().contains("canary"), "what a stranger sent is in the log");
    }
    let mut well = Connection::open(&server.address).unwrap();
    assert_eq!(well.send(&http::request("PUT", "/auth", "x", &[], b"")).unwrap().status, 405);
    assert_eq!(counted(&server.address), 4);
}
