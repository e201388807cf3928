//! Events that a server took before it was killed: what it said 202 to is there when it is back.

use std::collections::BTreeSet;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ::dockwarden::app::{App, Source};
use serde_json::json;

use crate::support::chaos::{Over, cycles};
use crate::support::dockwarden::{self, Dockwarden};
use crate::support::http::{self, Connection};
use crate::support::keys::{self, Kind};
use crate::support::process::{Signal, until};
use crate::support::{port, scratch};

/// Events a second, over all connections.
const RATE: u32 = 200;
/// As many connections as a registry and its replicas may have.
const LANES: u32 = 4;
const SECRET: &str = "0123456789abcdef-of-events";
/// Each event pushes a tag of its own to one of so many repositories.
const REPOSITORIES: usize = 40;

/// What the senders saw.
#[derive(Default)]
struct Seen {
    next: AtomicUsize,
    taken: Mutex<Vec<usize>>,
    unanswered: AtomicUsize,
    over: AtomicBool,
}

impl Seen {
    fn taken(&self) -> usize {
        self.taken.lock().unwrap().len()
    }

    /// Sends one event after the other at a constant rate until all is over, whether anybody is there or not.
    fn send(&self, address: &str) {
        let (mut due, mut connection) = (Instant::now(), None);
        while !self.over.load(Ordering::SeqCst) {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            match send_over(&mut connection, address, number) {
                Ok(202) => self.taken.lock().unwrap().push(number),
                // It said that it took none.
                Ok(503) => {}
                Ok(status) => panic!("event {number} was answered with {status}"),
                Err(_) => {
                    connection = None;
                    self.unanswered.fetch_add(1, Ordering::SeqCst);
                }
            }
            due = (due + Duration::from_secs(1) * LANES / RATE).max(Instant::now());
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

fn send_over(connection: &mut Option<Connection>, address: &str, number: usize) -> io::Result<u16> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(address)?),
    };
    let event = json!({"events": [{
        "id": format!("killed-{number}"), "timestamp": "2026-11-30T04:05:06Z", "action": "push",
        "target": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1,
            "digest": format!("sha256:{number:064x}"), "repository": repository(number % REPOSITORIES), "tag": tag(number)},
        "request": {"method": "PUT"}, "actor": {"name": "ann"},
    }]});
    let bearer = format!("Bearer {SECRET}");
    let headers =
        [("Authorization", bearer.as_str()), ("Content-Type", "application/vnd.docker.distribution.events.v2+json")];
    let request = http::request("POST", "/api/v1/events", address, &headers, event.to_string().as_bytes());
    Ok(open.send(&request)?.status)
}

fn repository(number: usize) -> String {
    format!("killed/r{number}")
}

fn tag(number: usize) -> String {
    format!("t{number}")
}

/// When the records are looked at.
#[derive(Clone, Copy)]
pub(crate) enum Looked {
    /// At once: what is not worked on yet waits there. Whoever was killed at work keeps others from it for some seconds.
    AtOnce,
    /// When all events are worked on.
    WorkedOn,
}

/// Kills the server so many times, each time as soon as it took so many events more.
pub(crate) fn none_is_lost(kills: usize, between: usize, looked: Looked) {
    // Nobody else takes it while the server is away.
    let address = port::hold().local_addr().unwrap().to_string();
    let directory = scratch::directory("killed");
    let policy = format!(
        "records: {{sqlite: \"{}\"}}\nregistries: {{reg: {{url: \"http://127.0.0.1:1\", events: {{secret: \"{SECRET}\"}}}}}}\n\
         catalogue: {{sweep_every: 24h}}\nusers: {{\"\": {{}}}}\nacl: []\n",
        directory.join("records.db").display(),
    );
    let text = dockwarden::config(&keys::as_in_the_guide(Kind::P256), "", &policy);
    let file = scratch::write(&directory, "auth_config.yml", &text.replace("127.0.0.1:0", &address));
    let (seen, began) = (Seen::default(), Instant::now());
    let mut server = Dockwarden::start_file(&file);
    thread::scope(|scope| {
        let over = Over(&seen.over);
        for _ in 0..LANES {
            scope.spawn(|| seen.send(&address));
        }
        for _ in 0..kills {
            let before = seen.taken();
            until("more events that are taken", || (seen.taken() >= before + between).then_some(()));
            server.process.signal(Signal::Kill);
            server.process.end();
            server = Dockwarden::start_file(&file);
        }
        drop(over);
    });
    let took = began.elapsed();
    let source = Source { file, variables: Vec::new() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = source.load_and_make_key().unwrap();
    let replica = runtime.block_on(async { App::open(source, config) }).unwrap();
    runtime.block_on(replica.prepare()).unwrap();
    let snapshot = replica.snapshot();
    let records = &snapshot.records.as_ref().unwrap().records;
    match looked {
        Looked::AtOnce => {}
        Looked::WorkedOn => until("all events are worked on", || {
            (runtime.block_on(records.count_waiting(1)).unwrap() == 0).then_some(())
        }),
    }
    // First what waits: meanwhile it may become a tag, and no tag becomes an event.
    let waiting = runtime.block_on(records.waiting_events(100_000)).unwrap();
    let mut kept: BTreeSet<String> = waiting.iter().map(|event| event.id.replace("killed-", "t")).collect();
    for number in 0..REPOSITORIES {
        let found = runtime.block_on(records.tags("reg", &repository(number), None, 100_000)).unwrap();
        kept.extend(found.into_iter().map(|tag| tag.name));
    }
    let taken = seen.taken.into_inner().unwrap();
    let lost: Vec<&usize> = taken.iter().filter(|number| !kept.contains(&tag(**number))).collect();
    let unanswered = seen.unanswered.into_inner();
    println!("{kills} kills in {took:?}: {} events taken, {unanswered} unanswered", taken.len());
    assert!(lost.is_empty(), "{} of {} are lost: {:?}", lost.len(), taken.len(), &lost[..lost.len().min(5)]);
    assert!(taken.len() >= kills * between && unanswered > 0);
}

/// How many it takes at this rate is measured by `make bench`.
#[test]
fn what_a_server_took_before_it_was_killed_is_there() {
    none_is_lost(cycles(), RATE as usize / 4, Looked::AtOnce);
}
