//! Ends that nobody may take for others: of a token while a push goes on, and of a reply over HTTP/1.0.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::dockwarden::{Dockwarden, events, password};
use crate::support::front;
use crate::support::gateway::{self, Challenge};
use crate::support::http::{self, Connection};
use crate::support::link::{Link, State};
use crate::support::person::Person;
use crate::support::process::{Process, until_within};
use crate::support::registry::{Edition, Registry};
use crate::support::standin::{Standin, Then};
use crate::support::visit::basic;
use crate::support::{part, port, scratch};

/// What docker takes through the link in a second is a mebibyte divided by this.
const SLOW: Duration = Duration::from_secs(3);
/// More than it takes in the life of a token.
const LAYER: &str = "40M";
/// When no token is good any more that was there at the beginning.
const BEYOND: Duration = Duration::from_secs(95);

#[test]
fn a_push_goes_on_across_the_end_of_its_token() {
    let registry = Registry::start_with_passwords(Edition::V3, &gateway::inside());
    let upstream = format!("url: \"http://{}\", {}", registry.address(), gateway::login());
    let config = gateway::config(Challenge::Bearer, &[upstream]).replace("expiration: 900", "expiration: 60");
    let gateway = Dockwarden::start(&config);
    let link = Link::to(gateway.address.clone());
    let host = link.address().replace("127.0.0.1", "localhost");
    let alice = Person::logged_in(&host, "alice", &password("alice"));

    let directory = scratch::directory("layer");
    let tar = directory.join("layer.tar");
    // Nothing that gets smaller.
    let make = format!("head -c {LAYER} /dev/urandom >large && tar -cf layer.tar large");
    part::run(part::client("sh").current_dir(&directory).args(["-c", &make])).well();
    alice.import(&tar, "across");
    link.set(State::Slowed(SLOW));
    let began = Instant::now();
    thread::scope(|scope| {
        let push = scope.spawn(|| alice.push("across", "team/app"));
        // No token lives longer than that, but for what clocks may differ by.
        until_within(BEYOND * 2, "the end of its first token", || (began.elapsed() > BEYOND).then_some(()));
        assert!(!push.is_finished(), "its first token was good to the end");
        link.set(State::Passing);
        push.join().unwrap().well();
    });
    alice.forget("across");
    alice.pull("team/app").well();
    alice.forget(&format!("{host}/team/app:latest"));
    let manifest = |line: &serde_json::Value| line["status"] == 201 && line["reference"] == "latest";
    let pushed = gateway.process.until("the manifest's line", |process| {
        let mut pushed = events(&process.log(), "transferred");
        pushed.retain(manifest);
        (!pushed.is_empty()).then_some(pushed)
    });
    assert_eq!(pushed.len(), 1, "{pushed:?}");
}

const BLOB: &str = "/v2/team/app/blobs/sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// An upstream that does not say how long its replies are: the first is whole, and the others break off.
fn breaks_off() -> Standin {
    Standin::start(|head, stream| {
        let head_and_half = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
        let (end, then) = if head.line.contains("/manifests/") { ("0\r\n\r\n", Then::GoOn) } else { ("", Then::Close) };
        stream.get_mut().write_all(format!("{head_and_half}{end}").as_bytes()).ok();
        then
    })
}

fn old(target: &str, authorization: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.0\r\nHost: localhost\r\nAuthorization: {authorization}\r\n\r\n").into_bytes()
}

fn read(stream: &mut impl io::Read) -> io::Result<String> {
    let mut reply = String::new();
    stream.read_to_string(&mut reply).map(|_| reply)
}

#[test]
fn half_a_reply_never_looks_whole_over_http_1_0_either() {
    let upstream = breaks_off();
    let gateway = gateway::start(Challenge::Basic, &[format!("url: \"http://{}\"", upstream.address)]);
    let authorization = basic("alice", &password("alice"));
    let ask = |target: &str| {
        let mut stream = TcpStream::connect(&gateway.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(&old(target, &authorization)).unwrap();
        read(&mut stream)
    };
    let whole = ask("/v2/team/app/manifests/1").unwrap();
    assert!(whole.starts_with("HTTP/1.0 200 ") && whole.ends_with("\r\n\r\nhalf"), "{whole}");
    assert_eq!(ask(BLOB).map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset));

    // nginx speaks HTTP/1.0 to what is behind it unless it is told otherwise, and its own client learns of it.
    let (_nginx, plain) = port::with_free(|[plain]| {
        let site = format!(
            "server {{ listen 127.0.0.1:{plain}; proxy_http_version 1.0;\n\
             location / {{ proxy_pass http://{}; proxy_set_header Host $http_host; }} }}\n",
            gateway.address
        );
        let process = Process::start("nginx", &front::nginx(&site));
        let up = process.up_or_ended("its port", |_| TcpStream::connect(("127.0.0.1", plain)).is_ok().then_some(()));
        assert!(up.is_some() || process.log().contains("Address already in use"), "{}", process.tail());
        up.map(|()| (process, format!("127.0.0.1:{plain}")))
    });
    let through = |target: &str| {
        let headers = [("Authorization", authorization.as_str())];
        Connection::open(&plain).unwrap().send(&http::request("GET", target, "localhost", &headers, b""))
    };
    assert_eq!(through("/v2/team/app/manifests/1").unwrap().text(), "half");
    let broken = through(BLOB);
    assert!(broken.is_err(), "whole, it seems: {broken:?}");
}

/// TLS says by itself where it ends, and does not where a reply breaks off.
#[test]
fn half_a_reply_never_looks_whole_over_http_1_0_and_tls_either() {
    let upstream = breaks_off();
    let tls = crate::support::keys::for_localhost();
    let config = gateway::config(Challenge::Basic, &[format!("url: \"http://{}\"", upstream.address)]);
    let file = scratch::write(
        &scratch::directory("config"),
        "auth_config.yml",
        &crate::support::dockwarden::with_tls(&config, &tls.leaf),
    );
    let (_server, address) = crate::support::dockwarden::listening(&file);
    let authorization = basic("alice", &password("alice"));
    let ask = |target: &str| {
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let session = rustls::ClientConnection::new(http::trusting(&tls.authority), name).unwrap();
        let mut stream = rustls::StreamOwned::new(session, TcpStream::connect(&address).unwrap());
        stream.write_all(&old(target, &authorization)).unwrap();
        read(&mut stream)
    };
    assert!(ask("/v2/team/app/manifests/1").unwrap().ends_with("\r\n\r\nhalf"));
    assert!(ask(BLOB).is_err());
}
