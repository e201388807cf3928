//! Crowds of strangers, and one honest client among them: thousands of slow connections, more connections than one address
//! may have, floods of HTTP/2 frames, and more guesses than can be hashed.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConnection;

use crate::support::chaos::Over;
use crate::support::dockwarden::{self, Dockwarden, SERVICE, events, hash_of_cost, password};
use crate::support::http::{self, Connection, connect_from};
use crate::support::keys::{self, Chain, Kind};
use crate::support::process::{Signal, until_within};
use crate::support::{http2, scratch, visit};

/// Slow connections, as in `slowhttptest -c 5000`.
const SLOW: usize = 5000;
/// The addresses that they come from: none has more than its share.
const SLOW_ADDRESSES: usize = 20;
/// What a connection may cost, in KiB, without optimisation, the mean of all kinds: half a form takes some sixteen.
const MOST_MEMORY: u64 = 7;
/// Greetings of one network, and how many threads send them.
const GREETINGS: usize = 1000;
const GREETING_THREADS: usize = 10;
/// Questions of the honest client, of each kind.
const ASKED: usize = 100;

fn stranger(number: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(number + 1).unwrap().to_be_bytes();
    Ipv4Addr::new(127, 0, high + 1, low)
}

/// A server with waldi, and these lines in its `server` section.
fn start(settings: &str, more: &str) -> Dockwarden {
    let pair = keys::as_in_the_guide(Kind::P256);
    let policy = dockwarden::users(&[("waldi", "{}")]) + more + "acl: [{match: {account: waldi}, actions: [\"*\"]}]\n";
    Dockwarden::start(&dockwarden::config(&pair, "", &policy).replace("server:\n", &format!("server:\n{settings}")))
}

fn question(account: &str, secret: &str) -> Vec<u8> {
    let target = format!("/auth?service={}&scope=repository:test:pull", http::form_encode(SERVICE));
    http::request("GET", &target, "localhost", &[("Authorization", &visit::basic(account, secret))], b"")
}

fn metric(server: &Dockwarden, name: &str) -> f64 {
    let reply = http::exchange(&server.address, &http::request("GET", "/metrics", "localhost", &[], b""));
    let text = reply.text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}\n{text}")).parse().unwrap()
}

/// The memory of the server that is in use, in KiB.
fn resident(server: &Dockwarden) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// How long each answer took, in order.
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, share: f64) -> Duration {
        let last = self.0.len() - 1;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "small"
        )]
        self.0[((last as f64) * share) as usize]
    }
}

/// Asks over a connection that is kept and over new ones, from an address; each question has to be answered with a token.
fn honest(server: &Dockwarden, source: Ipv4Addr) -> Times {
    let wire = question("waldi", &password("waldi"));
    let mut kept = Connection::open_from(source, &server.address).unwrap();
    let mut times = Vec::new();
    for number in 0..2 * ASKED {
        let began = Instant::now();
        let reply = match number % 2 {
            0 => kept.send(&wire),
            _ => Connection::open_from(source, &server.address).and_then(|mut new| new.send(&wire)),
        };
        let reply = reply.unwrap_or_else(|error| panic!("question {number}: {error}"));
        assert_eq!(reply.status, 200, "{}", reply.text());
        times.push(began.elapsed());
    }
    times.sort_unstable();
    println!("{source}: median {:?}, 99 of 100 within {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
    Times(times)
}

/// One connection that does as little as it can to seem alive.
struct Slow {
    stream: TcpStream,
    drip: &'static [u8],
}

impl Slow {
    fn open(number: usize, address: &str) -> io::Result<Slow> {
        let mut stream = connect_from(stranger(number % SLOW_ADDRESSES), address)?;
        let form = "POST /auth HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                    Content-Length: 60000\r\n\r\n";
        let (start, drip): (&[u8], &[u8]) = match number % 5 {
            0 => (b"", b""),
            // Empty lines come first that mean nothing.
            1 => (b"\r\nGET /auth HTTP/1.1\r\nHost: localhost\r\n", b"X: x\r\n"),
            2 => (b"GET /a", b"a"),
            3 => (&http2::PREFACE[..20], b""),
            _ => (form.as_bytes(), b"x"),
        };
        stream.write_all(start)?;
        stream.set_nonblocking(true)?;
        Ok(Slow { stream, drip })
    }

    /// Sends a little more. Whether the server still holds the connection.
    fn go_on(&mut self) -> bool {
        let mut read = [0; 512];
        match self.stream.read(&mut read) {
            Ok(0) => return false,
            // A form that took too long is answered before the connection is closed.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        // A few bytes go in whole or not at all.
        let written = self.stream.write(self.drip);
        written.map_or_else(|error| error.kind() == io::ErrorKind::WouldBlock, |count| count == self.drip.len())
    }
}

#[test]
fn thousands_of_slow_connections_cost_an_honest_client_nothing_and_end_in_time() {
    // With some for the tests beside it.
    let descriptors = rlimit::increase_nofile_limit(SLOW as u64 + 3000).unwrap();
    assert!(descriptors > SLOW as u64 + 200, "the limit of open files is too low for this test: {descriptors}");
    let server = start("", "");
    let me = Ipv4Addr::LOCALHOST;
    let before = honest(&server, me);
    let at_rest = resident(&server);
    let mut crowd: Vec<Slow> = (0..SLOW).map(|number| Slow::open(number, &server.address).unwrap()).collect();
    let all_open = Instant::now();
    until_within(Duration::from_secs(10), "the crowd", || {
        (metric(&server, "dockwarden_connections_open") >= SLOW as f64).then_some(())
    });
    let amid = thread::scope(|scope| {
        let asking = scope.spawn(|| honest(&server, me));
        while !asking.is_finished() {
            crowd.retain_mut(Slow::go_on);
            thread::sleep(Duration::from_millis(200));
        }
        asking.join().unwrap()
    });
    let grown = resident(&server).saturating_sub(at_rest);
    println!(
        "{} slow connections were still open after {:?}; {grown} KiB more memory",
        crowd.len(),
        all_open.elapsed()
    );
    // Bounds that a machine which does much else keeps, and a server that waits for the crowd does not.
    let bound = before.at(0.99) * 2 + Duration::from_millis(500);
    assert!(amid.at(0.99) < bound, "99 of 100 within {:?}, not {bound:?}", amid.at(0.99));
    assert!(grown < MOST_MEMORY * SLOW as u64, "{grown} KiB for {SLOW} connections");
    let left = until_within(Duration::from_secs(30), "the crowd to be shut out", || {
        crowd.retain_mut(Slow::go_on);
        crowd.is_empty().then_some(all_open.elapsed())
    });
    println!("all were closed after {left:?}");
    assert_eq!(metric(&server, "dockwarden_connections_refused_total"), 0.0);
    assert_eq!(server.process.ended(), None);
}

/// Whether the server has closed a connection on which it has nothing to say.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    !matches!(stream.read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn one_address_has_its_share_of_the_connections_and_a_proxy_has_no_end_of_them() {
    let stranger = stranger(0);
    let open = |server: &Dockwarden, number: usize| {
        let opened = (0..number).map(|_| {
            let stream = connect_from(stranger, &server.address).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        });
        opened.collect::<Vec<TcpStream>>()
    };
    let server = start("  max_connections_per_address: 50\n", "");
    let mut crowd = open(&server, 80);
    server.process.until("too many to be closed", |_| {
        crowd.retain_mut(|stream| !is_closed(stream));
        (crowd.len() == 50).then_some(())
    });
    assert_eq!(metric(&server, "dockwarden_connections_refused_total"), 30.0);
    honest(&server, Ipv4Addr::LOCALHOST);
    // Said once, however many there are.
    let said = server.process.until("the line about them", |process| {
        let said = process.log().lines().filter(|line| line.contains("too_many_connections")).count();
        (said > 0).then_some(said)
    });
    assert_eq!(said, 1, "{}", server.process.log());
    drop(crowd);
    server.process.until("the places to be free again", |_| {
        let mut next = open(&server, 1);
        let reply = next[0].set_nonblocking(false).and_then(|()| next[0].write_all(b"GET /healthz HTTP/1.0\r\n\r\n"));
        let mut answer = String::new();
        reply.and_then(|()| next[0].read_to_string(&mut answer)).ok();
        answer.starts_with("HTTP/1.0 200").then_some(())
    });

    // All clients of a proxy come from one address.
    let server = start(&format!("  max_connections_per_address: 50\n  trusted_proxies: [{stranger}]\n"), "");
    let mut crowd = open(&server, 80);
    server.process.until("all of them", |_| (metric(&server, "dockwarden_connections_open") >= 80.0).then_some(()));
    crowd.retain_mut(|stream| !is_closed(stream));
    assert_eq!((crowd.len(), metric(&server, "dockwarden_connections_refused_total")), (80, 0.0));
}

/// Sends these frames over and over until the server closes the connection or takes nothing more. How many bytes it took.
fn flood(address: &str, mut next: impl FnMut(u32) -> Vec<u8>) -> (usize, bool) {
    let mut connection = http2::Connection::open(address, 65_535);
    let began = Instant::now();
    let mut sent = 0;
    let mut number = 0;
    let mut bytes = Vec::new();
    while began.elapsed() < Duration::from_secs(3) {
        if bytes.is_empty() {
            for _ in 0..100 {
                bytes.extend(next(number));
                number += 1;
            }
        }
        match connection.stream.write(&bytes) {
            Ok(count) => {
                sent += count;
                bytes.drain(..count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::yield_now(),
            Err(_) => return (sent, true),
        }
        connection.attend();
        if connection.closed {
            return (sent, true);
        }
    }
    (sent, false)
}

#[test]
fn floods_of_http2_frames_end_their_connection_and_nothing_else() {
    let server = start("", "");
    let kept = honest(&server, Ipv4Addr::LOCALHOST);
    let at_rest = resident(&server);
    // POST, http, "/auth", localhost, by their index or as plain text.
    let header = [&[0x83, 0x86, 0x04, 5][..], b"/auth", &[0x01, 9], b"localhost"].concat();
    let whole = 0x4 | 0x1;
    let rapid_reset = |number: u32| {
        let stream = 1 + 2 * number;
        let reset = http2::frame(http2::RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        [http2::frame(http2::HEADERS, whole, stream, &header), reset].concat()
    };
    let continuation = |number: u32| match number {
        0 => http2::frame(http2::HEADERS, 0, 1, &header),
        _ => http2::frame(http2::CONTINUATION, 0, 1, b"\x00\x01a\x01b"),
    };
    let empty_data = |number: u32| match number {
        0 => http2::frame(http2::HEADERS, 0x4, 1, &header),
        _ => http2::frame(http2::DATA, 0, 1, b""),
    };
    // Requests that are no HTTP: without a method.
    let malformed = |number: u32| http2::frame(http2::HEADERS, whole, 1 + 2 * number, &header[1..]);
    let asked = || metric(&server, "dockwarden_token_request_seconds_count");
    for (what, (sent, closed)) in [
        ("rapid reset", flood(&server.address, rapid_reset)),
        ("CONTINUATION without end", flood(&server.address, continuation)),
        ("empty DATA without end", flood(&server.address, empty_data)),
        ("requests without a method", flood(&server.address, malformed)),
    ] {
        println!("{what}: closed after {sent} bytes; {} requests were answered so far", asked());
        assert!(closed, "{what}: {sent} bytes were taken and the connection is open");
    }
    // These are answered one by one, so they take what they send; nothing heaps up.
    for (what, kind, payload) in [("SETTINGS", http2::SETTINGS, &b""[..]), ("PING", http2::PING, b"are you?")] {
        let (sent, closed) = flood(&server.address, |_| http2::frame(kind, 0, 0, payload));
        println!("{what}: {sent} bytes in 3 s, closed: {closed}");
    }
    let grown = resident(&server).saturating_sub(at_rest);
    println!("{grown} KiB more memory");
    assert!(grown < 16 * 1024, "{grown} KiB");
    let after = honest(&server, Ipv4Addr::LOCALHOST);
    assert!(after.at(0.99) < kept.at(0.99) * 2 + Duration::from_millis(500));
    assert_eq!(server.process.ended(), None);
    assert_eq!(events(&server.whole_log(), "a request was given up after a fault in the program").len(), 0);
}

/// The guessers' threads, each with a connection that is never idle.
const GUESSERS: usize = 40;

#[test]
fn more_guesses_than_can_be_hashed_starve_nobody_else() {
    // As `hash-password` makes them.
    let accounts: Vec<String> = (0..6).map(|number| format!("fresh-{number}")).collect();
    let hash = hash_of_cost("fresh:pw", 10);
    let more: String = accounts.iter().map(|account| format!("  {account}: {{password: \"{hash}\"}}\n")).collect();
    let server = start("", &more);
    honest(&server, Ipv4Addr::LOCALHOST);
    let (done, looked_at, put_off) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for guesser in 0..GUESSERS {
            let (server, done, looked_at, put_off) = (&server, &done, &looked_at, &put_off);
            scope.spawn(move || {
                let mut number = 0;
                let mut connection = Connection::open_from(stranger(0), &server.address).unwrap();
                while !done.load(Ordering::SeqCst) {
                    number += 1;
                    // Never the same account for long, so that only the queue is between them and the hashing.
                    let wire = question(&format!("victim-{guesser}-{}", number / 3), &format!("guess {number}"));
                    let reply = connection.send(&wire).unwrap();
                    match reply.status {
                        401 => looked_at.fetch_add(1, Ordering::SeqCst),
                        429 | 503 => {
                            let after = reply.header("retry-after").and_then(|text| text.parse::<u64>().ok());
                            assert!(after.is_some_and(|seconds| seconds > 0), "{reply:?}");
                            put_off.fetch_add(1, Ordering::SeqCst)
                        }
                        other => panic!("{other} {}", reply.text()),
                    };
                }
            });
        }
        // Set even if something below fails, or the guessers would never end and hide why.
        let finish = Over(&done);
        server.process.until("the guesses", |_| (looked_at.load(Ordering::SeqCst) > 3).then_some(()));
        // Known before: no password is hashed.
        let known = honest(&server, Ipv4Addr::LOCALHOST);
        // Never seen before: each waits for one guess or two.
        let mut fresh = Vec::new();
        for account in &accounts {
            let began = Instant::now();
            let mut connection = Connection::open_from(Ipv4Addr::new(127, 0, 0, 9), &server.address).unwrap();
            let reply = connection.send(&question(account, "fresh:pw")).unwrap();
            assert_eq!(reply.status, 200, "{account}: {}", reply.text());
            fresh.push(began.elapsed());
        }
        println!("fresh logins: {fresh:?}");
        // All were answered, which is what counts on a machine that does much else: the flood takes all it can get.
        assert!(known.at(0.5) < Duration::from_millis(250), "{:?}", known.at(0.5));
        drop(finish);
    });
    let (looked_at, put_off) = (looked_at.load(Ordering::SeqCst), put_off.load(Ordering::SeqCst));
    println!("{looked_at} guesses were looked at, {put_off} put off");
}

/// More than can be looked at, for each thread that hashes, while one that waits has patience.
const ADDRESSES: usize = 300;

#[test]
fn guesses_from_hundreds_of_addresses_leave_turns_to_networks_that_are_known() {
    let hash = hash_of_cost("fresh:pw", 10);
    let more: String = (0..5).map(|number| format!("  fresh-{number}: {{password: \"{hash}\"}}\n")).collect();
    let server = start("", &more);
    let office = Ipv4Addr::new(127, 0, 0, 9);
    let login = |number: usize| {
        let mut connection = Connection::open_from(office, &server.address).unwrap();
        connection.send(&question(&format!("fresh-{number}"), "fresh:pw")).unwrap()
    };
    assert_eq!(login(0).status, 200);
    let threads = thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get).saturating_sub(1).max(1);
    let guesses: Vec<TcpStream> = (0..ADDRESSES * threads)
        .map(|number| {
            let mut stream = connect_from(stranger(number), &server.address).unwrap();
            stream.write_all(&question(&format!("victim-{number}"), "guess")).unwrap();
            stream
        })
        .collect();
    // The first of them are hashed, and the others wait.
    let waited = "dockwarden_password_wait_seconds_count";
    server.process.until("the guesses", |_| (metric(&server, waited) > 4.0).then_some(()));
    for number in 1..5 {
        let hashed = || metric(&server, "dockwarden_password_hash_seconds_count");
        let before = hashed();
        assert_eq!(login(number).status, 200);
        let between = hashed() - before;
        println!("{between} passwords were hashed until a login from a known network was");
        // Behind all of the guesses it would be more than a hundred for each thread.
        assert!(between <= 40.0 * threads as f64, "{between}");
    }
    drop(guesses);
}

/// Connections that ask for as much deciding as one request may take, without a pause.
const COSTLY_CLIENTS: usize = 12;
/// Rules that name label values in expressions, and accounts that they are asked about.
const TEMPLATES: usize = 200;
const TEMPLATE_ACCOUNTS: usize = 64;

#[test]
fn decisions_that_cost_much_starve_nobody_else_and_leave_nothing_behind() {
    // Each value by itself fits a name of an odd number of letters, and no combination does.
    let values: Vec<String> = (1..=60).map(|length| "a".repeat(length)).collect();
    let labels: String = ["p", "q", "r"].map(|label| format!("{label}: [{}]", values.join(", "))).join(", ");
    let templates: String = (0..TEMPLATES)
        .map(|number| {
            let name = format!("/^(?:${{labels:team}}-)+${{account}}\\\\/${{labels:team}}-{number}$/");
            format!("  - {{match: {{type: repository, name: \"{name}\"}}, actions: [pull]}}\n")
        })
        .collect();
    let mut accounts = vec![("waldi".to_owned(), "{}".to_owned()), ("greedy".to_owned(), format!("{{{labels}}}"))];
    accounts.extend((0..TEMPLATE_ACCOUNTS).map(|number| {
        (format!("member-{number}"), format!("{{team: [team-{number}, other-{number}, third-{number}]}}"))
    }));
    let users: Vec<(&str, &str)> = accounts.iter().map(|(name, labels)| (name.as_str(), labels.as_str())).collect();
    let pair = keys::as_in_the_guide(Kind::P256);
    let policy = dockwarden::users(&users)
        + "acl:\n  - match: {account: greedy, name: \"/^${labels:p}${labels:q}${labels:r}${labels:p}${labels:q}${labels:r}$/\"}\n    actions: []\n"
        + &templates
        + "  - {match: {account: waldi}, actions: [\"*\"]}\n";
    let server = Dockwarden::start(&dockwarden::config(&pair, "", &policy));
    let scopes =
        |names: &[String]| names.iter().map(|name| format!("&scope=repository:{name}:pull")).collect::<String>();
    let ask = |account: &str, names: &[String]| {
        let target = format!("/auth?service={}{}", http::form_encode(SERVICE), scopes(names));
        http::request(
            "GET",
            &target,
            "localhost",
            &[("Authorization", &visit::basic(account, &password(account)))],
            b"",
        )
    };

    // What each account brings to each rule is not kept.
    let before = honest(&server, Ipv4Addr::LOCALHOST);
    let at_rest = resident(&server);
    let mut connection = Connection::open_from(stranger(0), &server.address).unwrap();
    for number in 0..TEMPLATE_ACCOUNTS {
        let account = format!("member-{number}");
        let names = [format!("team-{number}-{account}/team-{number}-{}", TEMPLATES - 1), format!("{account}/nothing")];
        let reply = connection.send(&ask(&account, &names)).unwrap();
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let grown = resident(&server).saturating_sub(at_rest);
    println!("{TEMPLATE_ACCOUNTS} accounts and {TEMPLATES} rules: {grown} KiB more memory");
    assert!(grown < 32 * 1024, "{grown} KiB");

    let costly = ask("greedy", &(0..30).map(|more| "a".repeat(121 + 2 * more)).collect::<Vec<_>>());
    let done = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    let (amid, health) = thread::scope(|scope| {
        for _ in 0..COSTLY_CLIENTS {
            scope.spawn(|| {
                let mut connection = Connection::open_from(stranger(1), &server.address).unwrap();
                while !done.load(Ordering::SeqCst) {
                    let reply = connection.send(&costly).unwrap();
                    // It is no answer, and nothing is granted.
                    assert_eq!(reply.status, 503, "{}", reply.text());
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        until_within(Duration::from_secs(30), "a costly request to be answered", || {
            (answered.load(Ordering::SeqCst) > 0).then_some(())
        });
        let amid = honest(&server, Ipv4Addr::LOCALHOST);
        let mut health = Vec::new();
        for _ in 0..ASKED {
            let began = Instant::now();
            let reply = http::exchange(&server.address, &http::request("GET", "/healthz", "localhost", &[], b""));
            assert_eq!(reply.status, 200);
            health.push(began.elapsed());
        }
        health.sort_unstable();
        done.store(true, Ordering::SeqCst);
        (amid, Times(health))
    });
    println!("{} costly requests were answered; health within {:?}", answered.load(Ordering::SeqCst), health.at(0.99));
    let bound = before.at(0.99) * 2 + Duration::from_millis(500);
    assert!(amid.at(0.99) < bound, "99 of 100 within {:?}, not {bound:?}", amid.at(0.99));
    assert!(health.at(0.99) < bound, "99 of 100 within {:?}, not {bound:?}", health.at(0.99));
    assert_eq!(server.process.ended(), None);
}

/// Otherwise whoever reads the log for guesses would not see those of a client that never waits for an answer.
#[test]
fn a_guess_whose_client_hangs_up_has_its_line_in_the_log() {
    let pair = keys::as_in_the_guide(Kind::P256);
    let policy = format!("users: {{slow: {{password: \"{}\"}}}}\nacl: []\n", hash_of_cost("right", 11));
    let server = Dockwarden::start(&dockwarden::config(&pair, "", &policy));
    let mut guesses = 0;
    let line = until_within(Duration::from_secs(60), "a line about a guess that was not waited for", || {
        let mut stream = connect_from(stranger(guesses), &server.address).unwrap();
        stream.write_all(&question(&format!("somebody-{guesses}"), "guess")).unwrap();
        drop(stream);
        guesses += 1;
        let log = server.process.log();
        let lines = events(&log, "a password was wrong whose client did not wait for the answer");
        lines.into_iter().next()
    });
    assert_eq!((&line["reason"], &line["level"]), (&"guess_unanswered".into(), &"WARN".into()), "{line}");
    assert!(line["user.account"].as_str().unwrap().starts_with("somebody-"), "{line}");
    assert!(line["client.network"].as_str().unwrap().starts_with("127.0."), "{line}");
}

/// A server that speaks TLS with this pair.
fn start_secure(chain: &Chain) -> Dockwarden {
    let pair = keys::as_in_the_guide(Kind::P256);
    let config = dockwarden::with_tls(&dockwarden::config(&pair, "", "users: {}\nacl: []\n"), &chain.leaf);
    Dockwarden::start_unready(&scratch::write(&scratch::directory("config"), "auth_config.yml", &config))
}

/// What a client says first that speaks TLS.
fn greeting(chain: &Chain) -> Vec<u8> {
    let mut greeting = Vec::new();
    let mut client = ClientConnection::new(http::trusting(&chain.authority), "localhost".try_into().unwrap()).unwrap();
    client.write_tls(&mut greeting).unwrap();
    greeting
}

/// One greeting can be sent again and again, and each costs us a signature.
#[test]
fn the_greetings_of_one_network_wait_behind_each_other_and_keep_nobody_else() {
    let chain = keys::for_localhost_with(Kind::Rsa);
    let server = start_secure(&chain);
    let greeting = greeting(&chain);
    let open = |number| connect_from(stranger(number), &server.address).unwrap();
    let (greeted, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let crowd: Vec<Vec<TcpStream>> =
        (0..GREETING_THREADS).map(|_| (0..GREETINGS / GREETING_THREADS).map(|_| open(0)).collect()).collect();
    let mut honest = open(1);
    let mut first = [0];
    thread::scope(|scope| {
        for mut streams in crowd {
            let (greeting, greeted, answered) = (&greeting, &greeted, &answered);
            scope.spawn(move || {
                for stream in &mut streams {
                    stream.write_all(greeting).unwrap();
                    greeted.fetch_add(1, Ordering::SeqCst);
                }
                // A slow machine may not get to all of them while their time for a handshake lasts.
                for stream in &mut streams {
                    let is_answered = stream.read(&mut [0]).is_ok_and(|length| length > 0);
                    answered.fetch_add(usize::from(is_answered), Ordering::SeqCst);
                }
            });
        }
        server.process.until("a crowd", |_| (greeted.load(Ordering::SeqCst) == GREETINGS).then_some(()));
        honest.write_all(&greeting).unwrap();
        honest.read_exact(&mut first).unwrap();
        // Some dozens; all of them, if they were answered in the order in which they came.
        let before = answered.load(Ordering::SeqCst);
        assert!(before < GREETINGS * 3 / 4, "{before} of {GREETINGS} were answered before");
    });
}

/// They would be cut off after seven seconds, and each of them could have that prolong every restart.
#[test]
fn a_server_that_ends_does_not_wait_for_clients_that_only_greet() {
    let chain = keys::for_localhost();
    let server = start_secure(&chain);
    let greeting = greeting(&chain);
    // Some have an answer, and some are not even understood yet.
    let greeted = |number: usize| {
        let mut stream = connect_from(stranger(number), &server.address).unwrap();
        match number % 2 {
            0 => stream.write_all(&greeting).and_then(|()| stream.read_exact(&mut [0])).unwrap(),
            _ => stream.write_all(&greeting[..greeting.len() / 2]).unwrap(),
        }
        stream
    };
    let _crowd: Vec<TcpStream> = (0..20).map(greeted).collect();
    server.process.signal(Signal::Terminate);
    let status = server.process.end();
    assert!(status.success(), "{status}");
    assert!(!server.process.log().contains("drain_timeout"), "{}", server.process.tail());
}
