//! Connections that only hold their place.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::{announced, config, healthy, lets_pull, pair, pulls, question, reasons, reloads, stops};
use crate::support::dockwarden::{Dockwarden, SERVICE, with_descriptors};
use crate::support::http::{self, Connection, connect_from};
use crate::support::{http2, machine, scratch};

/// Whether a process has this end of a connection open, by the kernel's table: a client that does not read does not
/// see the connection close. A socket that no process holds any more has no inode there.
fn held(table: &str, server: u16, client: SocketAddr) -> bool {
    let SocketAddr::V4(client) = client else { panic!("{client} is not of IPv4") };
    // As the kernel writes it: the address as the machine has it in memory.
    let client = format!("{:08X}:{:04X}", u32::from_ne_bytes(client.ip().octets()), client.port());
    let server = format!(":{server:04X}");
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1].ends_with(&server) && fields[2] == client && fields[9] != "0"
    })
}

/// How many of these connections the server has open.
fn held_of(clients: &[TcpStream], server: &str) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    clients.iter().filter(|client| held(&table, port_of(server), client.local_addr().unwrap())).count()
}

fn port_of(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}

/// Asks again and again for something long, and never reads a reply.
struct Glutton {
    stream: TcpStream,
    wire: Vec<u8>,
    written: usize,
}

impl Glutton {
    fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let wire = http::request("GET", "/metrics", "localhost", &[], b"").repeat(1000);
        Self { stream, wire, written: 0 }
    }

    /// Writes what goes in.
    fn ask(&mut self) {
        if let Ok(count) = self.stream.write(&self.wire[self.written..]) {
            self.written = (self.written + count) % self.wire.len();
        }
    }

    /// Whether a reply has come.
    fn was_answered(&self) -> bool {
        let mut start = [0; 12];
        self.stream.peek(&mut start).is_ok() && &start == b"HTTP/1.1 200"
    }
}

#[test]
fn connections_that_only_hold_their_place_are_closed() {
    let server = Dockwarden::start(&config(&pair(), "first"));
    let address = &server.address;
    let target = format!("/auth?service={}", http::form_encode(SERVICE));
    let silent = TcpStream::connect(address).unwrap();
    let mut half_greeting = TcpStream::connect(address).unwrap();
    half_greeting.write_all(&http2::PREFACE[..9]).unwrap();
    let mut half_header = TcpStream::connect(address).unwrap();
    half_header.write_all(b"GET /auth HTTP/1.1\r\nHost: localhost\r\n").unwrap();
    let mut pinging = http2::Connection::open(address, 65_535);
    let mut asked_once = http2::Connection::open(address, 65_535);
    asked_once.get(0, &target);
    let mut no_window = http2::Connection::open(address, 0);
    for number in 0..10 {
        no_window.get(number, &target);
    }
    let mut glutton = Glutton::open(address);
    let all: Vec<(&str, SocketAddr)> = [
        ("sends nothing", &silent),
        ("sends half of HTTP/2's greeting", &half_greeting),
        ("sends half a header", &half_header),
        ("only pings", &pinging.stream),
        ("asks once and then only pings", &asked_once.stream),
        ("lets no reply's body through", &no_window.stream),
        ("reads no reply", &glutton.stream),
    ]
    .map(|(what, stream)| (what, stream.local_addr().unwrap()))
    .into();
    let still_held = || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let open = all.iter().filter(|(_, client)| held(&table, port_of(address), *client));
        open.map(|(what, _)| *what).collect::<Vec<&str>>()
    };
    server.process.until("all connections", |_| (still_held().len() == all.len()).then_some(()));

    let began = Instant::now();
    let mut pinged = began;
    let mut honest = Connection::open(address).unwrap();
    let mut left = still_held();
    let mut fed = false;
    while !left.is_empty() && began.elapsed() < Duration::from_secs(75) {
        // Somebody who goes on asking keeps the connection, however old it is.
        let reply = honest.send(&question("first")).unwrap();
        assert!(reply.status == 200 && lets_pull(&reply.json()));
        glutton.ask();
        fed |= glutton.was_answered();
        let ping = pinged.elapsed() > Duration::from_secs(1);
        for connection in [&mut pinging, &mut asked_once, &mut no_window] {
            connection.attend();
            if ping {
                connection.ping();
                pinged = Instant::now();
            }
        }
        let now = still_held();
        if now != left {
            left = now;
            println!("{:?}: left {left:?}", began.elapsed());
        }
        // The tests beside it need the cores too.
        thread::sleep(Duration::from_millis(5));
    }
    assert!(left.is_empty(), "still open after {:?}: {left:?}", began.elapsed());
    // They were what they are meant to be, and not closed as broken.
    assert!(fed, "replies were there to be read");
    assert_eq!((pinging.replies, asked_once.replies, no_window.replies), (0, 1, 10));
    assert!(pinging.pongs > 5 && asked_once.pongs > 20 && no_window.pongs > 20);
}

/// Networks that a crowd comes from.
const NETWORKS: usize = 10;

/// 256 descriptors, of which 192 are kept free for files and the like: 64 places.
#[test]
fn however_few_places_there_are_one_network_has_a_quarter_of_them() {
    let text = config(&pair(), "first");
    let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &text);
    let process = with_descriptors(&file, "256:256");
    let address = announced(&process, "listening");
    let stranger = Ipv4Addr::new(127, 0, 1, 1);
    let idle: Vec<TcpStream> = (0..40).map(|_| connect_from(stranger, &address).unwrap()).collect();
    process.until("the others to be closed", |_| (held_of(&idle, &address) == 16).then_some(()));
    assert!(pulls(&address, "first"), "there is room for others");
    process.until("why they were closed", |process| (reasons(process, "too_many_connections") > 0).then_some(()));
    assert_eq!(reasons(&process, "too_many_connections"), 1, "{}", process.tail());
    stops(&process);
}

#[test]
fn few_descriptors_leave_places_for_monitoring_and_for_honest_clients() {
    // The second limit may be raised by the process itself, which then has places for everybody.
    // Few enough that the others find room in the system's queue.
    for (limits, clients, places) in [("256:256", 150, 256 - 192), ("256:2048", 300, 300)] {
        let pair = pair();
        let text = config(&pair, "first").replace("token:\n", "  admin_addr: \"127.0.0.1:0\"\ntoken:\n");
        let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &text);
        let process = with_descriptors(&file, limits);
        let address = announced(&process, "listening");
        let admin = announced(&process, "listening for health and metrics");
        // One network may have a quarter of the places, so that a crowd has to come from several.
        let from = |number: usize| Ipv4Addr::new(127, 0, 1, u8::try_from(number % NETWORKS).unwrap() + 1);
        let idle: Vec<TcpStream> = (0..clients).map(|number| connect_from(from(number), &address).unwrap()).collect();
        process.until("the crowd", |_| (held_of(&idle, &address) == places).then_some(()));
        healthy(&admin);
        if places == clients {
            assert!(pulls(&address, "first"));
        }
        fs::write(&file, text.replace("name: first", "name: second")).unwrap();
        process.until("a reload in the crowd", |process| (reloads(process) == 1).then_some(()));
        healthy(&admin);
        drop(idle);
        assert!(pulls(&address, "second"));
        assert_eq!(reasons(&process, "accept_failed"), 0, "{}", process.tail());
        assert_eq!(reasons(&process, "few_descriptors"), 1, "{}", process.tail());
        stops(&process);
    }
}

/// Each network has no more than its share, and together they have every place.
#[test]
fn many_networks_that_take_every_place_and_hardly_ask_shut_nobody_out() {
    let text = config(&pair(), "first");
    let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &text);
    let process = with_descriptors(&file, "256:256");
    let address = announced(&process, "listening");
    let asking = http::request("GET", "/healthz", "localhost", &[], b"");
    let mut crowd: Vec<Connection> = (0..64)
        .map(|number| Connection::open_from(Ipv4Addr::new(127, 0, 1, 1 + number % 4), &address).unwrap())
        .collect();
    for connection in &mut crowd {
        assert_eq!(connection.send(&asking).unwrap().status, 200);
    }
    let began = Instant::now();
    for _ in 0..4 {
        assert!(pulls(&address, "first"));
    }
    // By themselves they would have been closed after 14 seconds.
    assert!(machine::elapsed(began) < Duration::from_secs(10), "{:?}", began.elapsed());
    let left = crowd.iter_mut().filter_map(|connection| connection.send(&asking).ok()).count();
    assert!((56..64).contains(&left), "one for each who came: {left} of 64 are left");
    process.until("why some were closed", |process| (reasons(process, "all_places_taken") > 0).then_some(()));
    assert_eq!(reasons(&process, "all_places_taken"), 1, "{}", process.tail());
    stops(&process);
}
