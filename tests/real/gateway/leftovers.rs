//! Nothing is left over of many transfers that broke off, on whichever side: not a connection, and no memory.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;

use crate::support::dockwarden::password;
use crate::support::gateway::{self, Challenge};
use crate::support::http;
use crate::support::process::until;
use crate::support::standin::{Head, Standin, Then};
use crate::support::visit::basic;

/// Clients at once, a third of them each: leaves after the first piece, reads nothing, and has an upstream that lies.
const CROWD: usize = 90;
const ROUNDS: usize = 5;
/// How much more memory the later rounds may take than the first, which depends on how many are at it at once. The
/// transfers of one round, if they were kept, would take more, and there are four rounds after the first.
const ROOM: u64 = 32 * 1024 * 1024;

/// As much as anybody takes of a gibibyte; or half of what is promised.
fn answer(head: &Head, stream: &mut BufReader<TcpStream>) -> Then {
    let piece = vec![7; 64 * 1024];
    let stream = stream.get_mut();
    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").is_ok() {
        let pieces = if head.line.contains("/lies") { 8 } else { 16_384 };
        for _ in 0..pieces {
            if stream.write_all(&piece).is_err() {
                break;
            }
        }
    }
    Then::Close
}

#[test]
fn broken_transfers_leave_nothing_behind() {
    let upstream = Standin::start(answer);
    let line = format!("url: \"http://{}\", idle_timeout: 1s", upstream.address);
    let gateway = gateway::start(Challenge::Basic, &[line]);
    let authorization = basic("alice", &password("alice"));
    let get = |tag: &str| {
        let target = format!("/v2/team/app/manifests/{tag}");
        let mut stream = TcpStream::connect(&gateway.address).unwrap();
        let headers = [("Authorization", authorization.as_str())];
        stream.write_all(&http::request("GET", &target, "x", &headers, b"")).unwrap();
        stream
    };
    let (sockets, mut peaks) = (gateway.process.sockets(), Vec::new());
    for _ in 0..ROUNDS {
        let stalled: Vec<TcpStream> = (0..CROWD / 3).map(|_| get("stalls")).collect();
        for mut leaving in (0..CROWD / 3).map(|_| get("leaves")).collect::<Vec<_>>() {
            leaving.read_exact(&mut [0; 1000]).unwrap();
        }
        for mut cheated in (0..CROWD / 3).map(|_| get("lies")).collect::<Vec<_>>() {
            let read = std::io::copy(&mut cheated, &mut std::io::sink());
            assert!(read.is_err() || read.is_ok_and(|read| read < 1024 * 1024), "half a reply looks whole");
        }
        until("the upstream's connections to be closed", || (upstream.open() == 0).then_some(()));
        drop(stalled);
        until("no socket to be left", || (gateway.process.sockets() <= sockets).then_some(()));
        assert_eq!(upstream.take().len(), CROWD);
        peaks.push(gateway.process.peak_memory());
    }
    let (first, last) = (peaks[0], peaks[ROUNDS - 1]);
    eprintln!("peaks of memory: {peaks:?}");
    assert!(last - first < ROOM, "{peaks:?}");
    // And it goes on as before.
    let mut again = get("lies");
    let mut first = [0; 15];
    again.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
}

/// What each of them holds is bounded: HTTP's own library would keep a whole mebibyte for one.
#[test]
fn a_client_that_does_not_read_holds_little_memory() {
    const HELD: u64 = 704 * 1024;
    let upstream = Standin::start(answer);
    let line = format!("url: \"http://{}\", idle_timeout: 2s", upstream.address);
    let gateway = gateway::start(Challenge::Basic, &[line]);
    let authorization = basic("alice", &password("alice"));
    let get = || {
        let mut stream = TcpStream::connect(&gateway.address).unwrap();
        let headers = [("Authorization", authorization.as_str())];
        let request = http::request("GET", "/v2/team/app/manifests/stalls", "x", &headers, b"");
        stream.write_all(&request).unwrap();
        stream
    };
    // So that what the first request takes is not counted.
    let first = get();
    until("the first one to arrive", || (upstream.take().len() == 1).then_some(()));
    drop(first);
    let before = gateway.process.peak_memory();
    let stalled: Vec<TcpStream> = (0..CROWD).map(|_| get()).collect();
    let mut arrived = 0;
    until("all to arrive", || {
        arrived += upstream.take().len();
        (arrived == CROWD).then_some(())
    });
    until("the upstream's connections to be closed", || (upstream.open() == 0).then_some(()));
    let each = (gateway.process.peak_memory() - before) / stalled.len() as u64;
    eprintln!("{each} bytes for each client that does not read");
    assert!(each < HELD, "{each}");
}
