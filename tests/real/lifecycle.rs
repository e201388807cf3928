//! Change and end under load: no reload and no stop may cost a single request.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use serde_json::Value;

use crate::support::chaos::Over;
use crate::support::dockwarden::{self, Dockwarden, SERVICE, hash_of_cost, password};
use crate::support::http::{self, Connection, Reply};
use crate::support::keys::{self, Kind, Pair};
use crate::support::machine;
use crate::support::process::{Signal, until};
use crate::support::{number, scratch, visit};

/// Connections that ask without a pause. With `DOCKWARDEN_RATE`, so many requests a second are asked in all, by more of them.
const CALLERS: usize = 6;
/// Requests a second of each caller, where a rate is wanted.
const RATE_OF_EACH: u32 = 50;

/// How soon the log says why a changed config cannot be used, beside what the machine delays.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// How often the config changes in one test; every fifth change is broken. `DOCKWARDEN_CHANGES=200` is the long run.
const CHANGES: usize = 20;

/// How often a server is told to stop. `DOCKWARDEN_STOPS=50` is the long run.
const STOPS: usize = 3;

/// A version's number has so many bits.
const BITS: usize = 8;

/// A token of version 0 lives so long, in seconds, and of each further one a second longer.
const LIFE: usize = 900;

/// The repository by which a version says that this bit of its number is set, or is not.
fn bit(bit: usize, set: usize) -> String {
    format!("bit-{bit}-{set}")
}

/// A config that always lets waldi pull `steady`, and tells its number in each token, in two places: by what waldi may pull,
/// and by how long the token lives. If a request ever met half of one config and half of the next, they would differ.
fn version(pair: &Pair, users: &str, number: usize) -> String {
    let names = (0..BITS).map(|place| bit(place, number >> place & 1)).chain(["steady".to_owned()]);
    let rules = names.map(|name| format!("  - match: {{account: waldi, name: {name}}}\n    actions: [pull]\n"));
    let acl: String = rules.collect();
    dockwarden::config(pair, "", &format!("{users}acl:\n{acl}"))
        .replace("expiration: 900", &format!("expiration: {}", LIFE + number))
}

/// The same with a line that no YAML reader takes, and one that a strict reader refuses.
fn broken(number: usize, good: &str) -> String {
    if number.is_multiple_of(2) { format!("{good}\n  - [unclosed\n") } else { format!("{good}\nacls: []\n") }
}

/// Asks for `steady`, and for every bit of the version's number both ways.
fn question() -> Vec<u8> {
    let bits = (0..BITS).flat_map(|place| [bit(place, 0), bit(place, 1)]);
    let scopes: String = bits.map(|name| format!("&scope=repository:{name}:pull")).collect();
    let target = format!("/auth?service={}&scope=repository:steady:pull{scopes}", http::form_encode(SERVICE));
    let authorization = visit::basic("waldi", &password("waldi"));
    http::request("GET", &target, "localhost", &[("Authorization", &authorization)], b"")
}

/// Whether the reply is a whole token that lets its owner pull.
fn lets_pull(reply: &Reply) -> bool {
    reply.status == 200
        && reply.json()["token"]
            .as_str()
            .is_some_and(|token| visit::claims(token)["access"][0]["actions"] == Value::from(vec!["pull"]))
}

/// The number of the version that decided.
///
/// # Errors
/// Says what came instead of a token of one version.
fn version_of(reply: &Reply) -> Result<usize, String> {
    if !lets_pull(reply) {
        return Err(format!("{} {}", reply.status, reply.text()));
    }
    let claims = visit::claims(reply.json()["token"].as_str().unwrap());
    let granted = |name: String| {
        let access = claims["access"].as_array().unwrap();
        access.iter().any(|entry| entry["name"] == name && entry["actions"] == Value::from(vec!["pull"]))
    };
    let mut number = 0;
    for place in 0..BITS {
        match (granted(bit(place, 0)), granted(bit(place, 1))) {
            (true, false) => {}
            (false, true) => number |= 1 << place,
            both => return Err(format!("bit {place} is {both:?} in {claims}")),
        }
    }
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    if usize::try_from(life) != Ok(LIFE + number) {
        return Err(format!("the rules are of version {number}, and the life of the token is not: {claims}"));
    }
    Ok(number)
}

/// What the callers did and saw.
#[derive(Debug, Default)]
struct Load {
    answered: AtomicUsize,
    /// The longest that an answer took, in microseconds: how long the machine keeps somebody waiting who should not be.
    longest: AtomicU64,
    /// Set before the server is told to stop: from then on a refused connection is as it should be.
    stopping: AtomicBool,
    /// Answers after that on connections that were opened after that.
    answered_late: AtomicUsize,
    /// Set when the server is seen to stop: from then on each reply says that its connection ends.
    leaving: AtomicBool,
    /// Replies that said so on a connection that had been kept.
    sent_away: AtomicUsize,
    done: AtomicBool,
    failures: Mutex<Vec<String>>,
}

impl Load {
    fn failures(&self) -> MutexGuard<'_, Vec<String>> {
        self.failures.lock().unwrap()
    }

    /// One caller: asks on a kept connection until the load is done or, once the server stops, nobody listens.
    fn call(&self, way: &Way<'_>, pause: Option<Duration>) {
        let wire = question();
        let mut next = Instant::now();
        let mut newest = 0;
        let mut kept: Option<Connection> = None;
        // What became of a new connection without an answer, if there was one.
        let mut unanswered = None;
        while !self.done.load(Ordering::SeqCst) {
            if let Some(pause) = pause {
                thread::sleep(next.saturating_duration_since(Instant::now()));
                next = (next + pause).max(Instant::now());
            }
            let (stopping, leaving) = (self.stopping.load(Ordering::SeqCst), self.leaving.load(Ordering::SeqCst));
            let reused = kept.is_some();
            let mut connection = match kept.take().map_or_else(|| way.open(), Ok) {
                Ok(connection) => connection,
                Err(_) if stopping || self.stopping.load(Ordering::SeqCst) => return,
                Err(error) => return self.failures().push(format!("connect: {error}")),
            };
            if let Some(error) = unanswered {
                return self
                    .failures()
                    .push(format!("a new connection got no answer while others were taken: {error}"));
            }
            let asked = Instant::now();
            match connection.send(&wire) {
                Ok(reply) => {
                    let took = u64::try_from(asked.elapsed().as_micros()).unwrap();
                    self.longest.fetch_max(took, Ordering::SeqCst);
                    match version_of(&reply) {
                        Ok(number) if number >= newest => newest = number,
                        Ok(number) => return self.failures().push(format!("version {number} after {newest}")),
                        Err(what) => return self.failures().push(what),
                    }
                    self.answered.fetch_add(1, Ordering::SeqCst);
                    if stopping && !reused {
                        self.answered_late.fetch_add(1, Ordering::SeqCst);
                    }
                    let closing = reply.header("connection").is_some_and(|line| line.eq_ignore_ascii_case("close"));
                    if leaving && !closing {
                        return self
                            .failures()
                            .push(format!("a reply of a server that stops keeps its connection: {reply:?}"));
                    }
                    if closing && reused {
                        self.sent_away.fetch_add(1, Ordering::SeqCst);
                    }
                    kept = (!closing).then_some(connection);
                }
                Err(error) if self.stopping.load(Ordering::SeqCst) && never_answered(&error) => {
                    // The server may close a connection that is idle, and the next request may cross that on its way;
                    // HTTP clients send it again on a new connection. Nothing of an answer may have come. A new
                    // connection without an answer can only be the very last: made when the listener was closed, so
                    // that there is none after it.
                    unanswered = (!reused).then_some(error);
                }
                Err(error) => {
                    return self
                        .failures()
                        .push(format!("request on a {} connection: {error}", if reused { "kept" } else { "new" }));
                }
            }
        }
    }
}

/// Whether the connection ended before the first byte of an answer.
fn never_answered(error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => true,
        // Also while TLS was being agreed on.
        io::ErrorKind::UnexpectedEof => error.to_string() != "truncated",
        _ => false,
    }
}

/// The way to a server.
enum Way<'a> {
    Plain(&'a str),
    Tls(&'a str, Arc<ClientConfig>),
}

impl Way<'_> {
    fn open(&self) -> io::Result<Connection> {
        match self {
            Way::Plain(address) => Connection::open(address),
            Way::Tls(address, tls) => Connection::open_tls(address, tls),
        }
    }
}

/// Runs `deeds` while the callers ask, and checks that no request failed.
fn under_load(way: &Way<'_>, deeds: impl FnOnce(&Load)) {
    let load = Load::default();
    let rate = number("DOCKWARDEN_RATE", 0);
    let (callers, pause) = match u32::try_from(rate).unwrap() {
        0 => (CALLERS, None),
        rate => {
            let callers = rate.div_ceil(RATE_OF_EACH);
            (callers as usize, Some(Duration::from_secs(1) * callers / rate))
        }
    };
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..callers {
            scope.spawn(|| load.call(way, pause));
        }
        // Set even if the deeds panic, or the callers would never end and hide why.
        let finish = Over(&load.done);
        until("the load to start", || (load.answered.load(Ordering::SeqCst) > CALLERS * 5).then_some(()));
        deeds(&load);
        drop(finish);
    });
    let (answered, took) = (load.answered.load(Ordering::SeqCst), began.elapsed());
    println!("{answered} requests, {:.0} a second", answered as f64 / took.as_secs_f64());
    let failures = load.failures();
    assert!(failures.is_empty(), "{} failed, for example: {:?}", failures.len(), &failures[..failures.len().min(5)]);
}

/// Waits until the server decides by the config of that number.
fn until_version(server: &Dockwarden, number: usize) {
    let wire = question();
    server.process.until(&format!("version {number} of the config"), |_| {
        (version_of(&http::exchange(&server.address, &wire)) == Ok(number)).then_some(())
    });
}

/// Waits for the log to say, after so many bytes, why a changed config cannot be used, and which file that is.
fn until_refused(server: &Dockwarden, after: u64) {
    server.process.until("why the broken config cannot be used", |process| {
        let log = process.log_after(after);
        // The last line may be on its way.
        let lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n') && line.contains("reload_failed"));
        let mut lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let line = lines.find(|line| line["reason"] == "reload_failed")?;
        let cause = line["cause"].as_str().unwrap();
        assert!(cause.contains("this is not YAML") || cause.contains("acls"), "{line}");
        assert_eq!(
            (&line["level"], &line["file"]),
            (&"ERROR".into(), &server.config.to_str().unwrap().into()),
            "{line}"
        );
        Some(())
    });
}

/// Takes the server through all versions, each put in place by `change`.
fn change_under_load(server: &Dockwarden, pair: &Pair, users: &str, change: impl Fn(usize, &str)) {
    let began = Instant::now();
    let changes = number("DOCKWARDEN_CHANGES", CHANGES);
    assert!(changes < 1 << BITS, "a version's number has {BITS} bits");
    let (mut told, mut delay) = (Vec::new(), Duration::ZERO);
    under_load(&Way::Plain(&server.address), |load| {
        let mut last = 0;
        for number in 1..=changes {
            let good = version(pair, users, number);
            if number % 5 == 0 {
                let before = server.process.logged();
                change(number, &broken(number, &good));
                let changed = Instant::now();
                until_refused(server, before);
                told.push(machine::elapsed(changed));
                until_version(server, last);
            } else {
                change(number, &good);
                until_version(server, number);
                last = number;
            }
        }
        delay = Duration::from_micros(load.longest.load(Ordering::SeqCst));
    });
    println!("{changes} changes in {:?}; the log told of the broken ones after {told:?}", began.elapsed());
    // Whoever keeps the server from answering keeps it from reading files as well, and there is an end to that.
    let most = TOLD_WITHIN + delay.min(TOLD_WITHIN / 2);
    assert!(told.iter().all(|told| *told <= most), "{told:?}, and an answer took {delay:?}");
    assert_eq!(server.process.ended(), None);
}

fn users() -> String {
    dockwarden::users(&[("waldi", "{}")])
}

#[test]
fn a_config_written_renamed_or_hung_up_on_loses_no_request() {
    let pair = keys::as_in_the_guide(Kind::P256);
    let users = users();
    let server = Dockwarden::start(&version(&pair, &users, 0));
    let directory = server.config.parent().unwrap().to_owned();
    change_under_load(&server, &pair, &users, |number, text| match number % 3 {
        0 => fs::write(&server.config, text).unwrap(),
        1 => fs::rename(scratch::write(&directory, ".new", text), &server.config).unwrap(),
        _ => {
            // As editors do it: the old file goes away, a new one comes.
            fs::rename(&server.config, directory.join("auth_config.yml~")).unwrap();
            fs::write(&server.config, text).unwrap();
            server.process.signal(Signal::Hangup);
        }
    });
}

#[test]
fn a_config_map_swapped_as_kubernetes_does_loses_no_request() {
    let pair = keys::as_in_the_guide(Kind::P256);
    let users = users();
    let volume = scratch::directory("volume");
    let put = |number: usize, text: &str| {
        let data = format!("..{number:04}");
        fs::create_dir(volume.join(&data)).unwrap();
        scratch::write(&volume.join(&data), "auth_config.yml", text);
        symlink(&data, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
        if let Some(old) = number.checked_sub(1) {
            fs::remove_dir_all(volume.join(format!("..{old:04}"))).unwrap();
        }
    };
    put(0, &version(&pair, &users, 0));
    let config = volume.join("auth_config.yml");
    symlink("..data/auth_config.yml", &config).unwrap();
    let server = Dockwarden::start_file(&config);
    change_under_load(&server, &pair, &users, put);
}

#[test]
fn a_new_key_pair_is_taken_up_under_load() {
    let pair = keys::as_in_the_guide(Kind::P256);
    let users = users();
    let server = Dockwarden::start(&version(&pair, &users, 0));
    let certificate = || {
        let reply = http::exchange(&server.address, &question());
        visit::header(reply.json()["token"].as_str().unwrap())["x5c"][0].clone()
    };
    let replace = |from: &Path, to: &Path| fs::rename(from, to).unwrap();
    under_load(&Way::Plain(&server.address), |_| {
        for _ in 0..3 {
            let before = certificate();
            let next = keys::as_in_the_guide(Kind::P256);
            // One file after the other: in between the two do not belong together, and the old pair must go on.
            replace(&next.certificate, &pair.certificate);
            replace(&next.key, &pair.key);
            server.process.until("tokens by the new key", |_| (certificate() != before).then_some(()));
        }
    });
}

#[test]
fn terminating_answers_what_was_asked_and_ends_well() {
    let pair = keys::as_in_the_guide(Kind::P256);
    // A login that takes about a second, and is not remembered by a server that has just begun.
    let slow = format!("  slow: {{password: \"{}\"}}\n", hash_of_cost("slow:pw", 14));
    let config = version(&pair, &(users() + &slow), 0);
    let chain = keys::for_localhost();
    let secure = dockwarden::with_tls(&config, &chain.leaf);
    let began = Instant::now();
    let stops = number("DOCKWARDEN_STOPS", STOPS);
    for stop in 0..stops {
        if stop.is_multiple_of(2) {
            stop_under_load(&secure, |address| Way::Tls(address, http::trusting(&chain.authority)));
        } else {
            stop_under_load(&config, |address| Way::Plain(address));
        }
    }
    println!("{stops} stops in {:?}", began.elapsed());
}

fn stop_under_load(config: &str, way: impl Fn(&str) -> Way<'_>) {
    let file = scratch::write(&scratch::directory("config"), "auth_config.yml", config);
    let server = Dockwarden::start_unready(&file);
    let way = way(&server.address);
    let form = format!(
        "grant_type=password&service={}&scope=repository:steady:pull&username=waldi&password={}",
        http::form_encode(SERVICE),
        http::form_encode(&password("waldi"))
    );
    let kind = [("Content-Type", "application/x-www-form-urlencoded"), ("Expect", "100-continue")];
    let wire = http::request("POST", "/auth", "localhost", &kind, form.as_bytes());
    let (asked, rest) = wire.split_at(wire.len() - form.len());
    let target = format!("/auth?service={}", http::form_encode(SERVICE));
    let authorization = visit::basic("slow", "slow:pw");
    let login = http::request("GET", &target, "localhost", &[("Authorization", &authorization)], b"");
    let readiness = http::request("GET", "/readyz", "localhost", &[], b"");
    let ready = || way.open().and_then(|mut connection| connection.send(&readiness)).map(|reply| reply.status);
    under_load(&way, |load| {
        assert_eq!(ready().unwrap(), 200);
        // In flight for certain: the server has read their heads (it asks for the bodies) and waits for the rest.
        let mut slow: Vec<Connection> = (0..3).map(|_| way.open().unwrap()).collect();
        for connection in &mut slow {
            connection.write(asked).unwrap();
            assert_eq!(connection.read(true).unwrap().status, 100);
        }
        // Its password is being hashed while the server begins to stop.
        let mut hashed = way.open().unwrap();
        hashed.write(&login).unwrap();
        load.stopping.store(true, Ordering::SeqCst);
        server.process.signal(Signal::Terminate);
        let told = Instant::now();
        // Whoever asks is told before anybody is turned away.
        server.process.until("a server that is not ready", |_| (ready().unwrap() == 503).then_some(()));
        load.leaving.store(true, Ordering::SeqCst);
        server.process.until("the listener to close", |_| Connection::open(&server.address).is_err().then_some(()));
        for connection in &mut slow {
            connection.write(rest).unwrap();
            let reply = connection.read(false).unwrap();
            assert!(lets_pull(&reply), "{reply:?}");
        }
        let reply = hashed.read(false).unwrap();
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")), "{reply:?}");
        let status = server.process.end();
        assert!(status.success(), "{status}");
        assert!(machine::elapsed(told) < Duration::from_secs(10), "{:?}", told.elapsed());
        // Clients that came after the signal, and before their proxy had heard of it.
        assert!(load.answered_late.load(Ordering::SeqCst) > 0, "nobody new was answered");
        assert!(load.sent_away.load(Ordering::SeqCst) > 0, "nobody was told to leave a connection that was kept");
    });
}
