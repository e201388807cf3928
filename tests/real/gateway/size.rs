//! A blob of two gibibytes both ways, through a gateway that holds none of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::dockwarden::{Dockwarden, password};
use crate::support::gateway::{self, Challenge};
use crate::support::http;
use crate::support::registry::{Edition, Registry};
use crate::support::visit::basic;

const SIZE: u64 = 2 * 1024 * 1024 * 1024;
/// What the gateway may take for itself meanwhile. A fiftieth of the blob would already be a leak.
const ROOM: u64 = 40 * 1024 * 1024;

fn head(gateway: &Dockwarden, method: &str, target: &str, more: &str) -> String {
    let authorization = basic("alice", &password("alice"));
    format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: {authorization}\r\n{more}\r\n", gateway.host())
}

fn connect(gateway: &Dockwarden) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(&gateway.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    BufReader::with_capacity(256 * 1024, stream)
}

/// The status and the header lines of a reply.
fn reply(stream: &mut BufReader<TcpStream>) -> (u16, Vec<String>) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the connection ended: {lines:?}");
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    (lines[0].split(' ').nth(1).unwrap().parse().unwrap(), lines)
}

fn value<'a>(lines: &'a [String], name: &str) -> &'a str {
    lines.iter().find_map(|line| line.split_once(": ").filter(|(own, _)| own.eq_ignore_ascii_case(name))).unwrap().1
}

#[test]
fn two_gibibytes_go_up_and_down_in_little_memory() {
    let registry = Registry::start_with_passwords(Edition::V3, &gateway::inside());
    let upstream = format!("url: \"http://{}\", {}", registry.address(), gateway::login());
    let gateway = gateway::start(Challenge::Basic, &[upstream]);
    let digest = gateway::digest_of_zeros(SIZE);
    let before = gateway.process.peak_memory();

    let began = Instant::now();
    let mut stream = connect(&gateway);
    let begin = head(&gateway, "POST", "/v2/team/large/blobs/uploads/", "Content-Length: 0\r\n");
    stream.get_mut().write_all(begin.as_bytes()).unwrap();
    let (status, lines) = reply(&mut stream);
    assert_eq!(status, 202, "{lines:?}");
    let send = head(
        &gateway,
        "PATCH",
        value(&lines, "location"),
        &format!("Content-Type: application/octet-stream\r\nContent-Length: {SIZE}\r\n"),
    );
    stream.get_mut().write_all(send.as_bytes()).unwrap();
    let zeros = vec![0; 1024 * 1024];
    for _ in 0..SIZE / zeros.len() as u64 {
        stream.get_mut().write_all(&zeros).unwrap();
    }
    let (status, lines) = reply(&mut stream);
    assert_eq!(status, 202, "{lines:?}");
    let target = format!("{}&digest={}", value(&lines, "location"), http::form_encode(&digest));
    stream.get_mut().write_all(head(&gateway, "PUT", &target, "Content-Length: 0\r\n").as_bytes()).unwrap();
    let (status, lines) = reply(&mut stream);
    assert_eq!(status, 201, "{lines:?}");
    let (up, pushed) = (began.elapsed(), gateway.process.peak_memory());

    let began = Instant::now();
    let mut stream = connect(&gateway);
    let get = head(&gateway, "GET", &format!("/v2/team/large/blobs/{digest}"), "");
    stream.get_mut().write_all(get.as_bytes()).unwrap();
    let (status, lines) = reply(&mut stream);
    assert_eq!((status, value(&lines, "content-length")), (200, SIZE.to_string().as_str()));
    let received = std::io::copy(&mut stream.by_ref().take(SIZE), &mut std::io::sink()).unwrap();
    assert_eq!(received, SIZE);
    let after = gateway.process.peak_memory();
    eprintln!("2 GiB: up in {up:?}, down in {:?}; peak {before}, {pushed}, {after} bytes", began.elapsed());
    assert!(after < before + ROOM, "the gateway grew from {before} to {after} bytes");
}
