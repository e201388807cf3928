//! Wrong passwords, many more than can be hashed, and what becomes of everybody else: of somebody who is verified, of first
//! logins from a network that is known and from networks that are not, and of whoever looks at the server's health.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;

use crate::bed;
use crate::figures::{Outcome, milliseconds};
use crate::load::{self, Load, Measured, Turns};
use crate::process::Program;
use crate::reply;
use crate::scenario::Setup;

use super::Run;

/// How long the flood goes on before anything is measured, and how long its answers are waited for afterwards: a little longer
/// than a password waits for its turn (10 seconds), so that the queue is as full as it gets, and nobody's wait is left out.
const QUEUE_FULL: Duration = Duration::from_secs(12);
/// Whoever waited so long was not refused because the queue is full, but because the turn did not come.
const WAITED: Duration = Duration::from_millis(9900);
/// The verified client's requests, a second.
const VERIFIED_RATE: f64 = 50.0;
/// How often health is asked for, a second.
const HEALTH_RATE: f64 = 50.0;
/// First logins a second, of each kind.
const FRESH_RATE: f64 = 1.0;
/// The address that a right password came from before.
const KNOWN: Range<u32> = 200..201;
/// Addresses that nothing came from before: one for each login.
const STRANGERS: Range<u32> = 100_000..200_000;
/// The first address of the flood.
const GUESSERS: u32 = 1000;
/// One guess in four is about one of so few accounts, which soon have had too many.
const VICTIMS: usize = 10;
/// Connections that the flood may have: more than can wait, so that none waits for a connection.
const MOST: usize = 4096;

/// Accounts by what they are for; the first is the verified client.
struct Accounts {
    known: Range<usize>,
    strangers: Range<usize>,
    guessed: Range<usize>,
}

impl Accounts {
    fn of(setup: &Setup) -> Accounts {
        let quarter = setup.users / 4;
        Accounts { known: 1..quarter, strangers: quarter..2 * quarter, guessed: 2 * quarter..setup.users }
    }
}

/// Measures all of them at once.
pub fn measure(run: &Run, program: &Program, setup: &Setup, guesses: f64, networks: u32) -> anyhow::Result<Outcome> {
    let served = run.serve(program, setup)?;
    let address = served.server.address;
    let accounts = Accounts::of(setup);
    let (warm, lasts, grace) = match run.is_whole() {
        true => (QUEUE_FULL, run.lasts * 4, QUEUE_FULL),
        false => (QUEUE_FULL / 10, run.lasts * 2, Duration::ZERO),
    };
    let honest = |requests: Arc<[Vec<u8>]>, rate| Load { warm, ..Load::at_rate(address, requests, rate, lasts) };
    let fresh = |of: Range<usize>, sources| Load {
        sources,
        // Whatever comes of a login counts, however late.
        grace: QUEUE_FULL,
        ..honest(of.map(|number| own(address, number)).collect(), FRESH_RATE).alone()
    };

    // The first account of that network has logged in; its other accounts have not.
    let mut stream = load::connect_from(KNOWN.start, address)?;
    let first = reply::ask_over(&mut stream, &own(address, accounts.known.start))?;
    if first.status != 200 {
        bail!("the first login was answered with {}", first.status);
    }
    let known = fresh(accounts.known.start + 1..accounts.known.end, KNOWN);
    let strangers = fresh(accounts.strangers, STRANGERS);
    let health = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes();
    let flood = Load {
        connections: 0,
        most: MOST,
        turns: Turns::Round,
        sources: GUESSERS..GUESSERS + networks,
        grace,
        watched: Some(served.server.process.pid()),
        ..honest(wrong(address, accounts.guessed, (guesses * (warm + lasts).as_secs_f64() * 1.5) as usize), guesses)
    };
    let loads = [
        honest(Arc::from([own(address, 0)]), VERIFIED_RATE),
        honest(Arc::from([health]), HEALTH_RATE),
        known,
        strangers,
        flood,
    ];
    let running = loads.map(|load| std::thread::spawn(move || load::run(load)));
    let mut done = Vec::new();
    for load in running {
        done.push(load.join().ok().context("the thread of a load died")??);
    }
    let Ok([verified, health, known, strangers, flood]) = <[Measured; 5]>::try_from(done) else {
        bail!("a load is missing");
    };

    let mut outcome = Outcome::default();
    outcome.add_latency("verified", &verified);
    outcome.add_latency("healthz", &health);
    for (name, fresh) in [("fresh_known", &known), ("fresh_stranger", &strangers)] {
        let ok = fresh.latency.len() as f64;
        outcome.add(format!("{name}_ok_share"), ok / (ok + fresh.failures() as f64));
        outcome.add_latency(name, fresh);
    }
    outcome.add("failed", (verified.failures() + health.failures()) as f64);
    add_refused(&mut outcome, &flood)?;
    let hashing = run.machine.cores.saturating_sub(1).max(1) as f64;
    let used = flood.used.cpu.as_secs_f64() / flood.lasted.as_secs_f64();
    outcome.add("server_cores", used);
    outcome.add("cores_beside_hashing", used - hashing);
    if !run.is_whole() {
        outcome.notes.push("too short for the queue to be as full as it gets".to_owned());
    }
    Ok(outcome)
}

/// What became of the guesses: how many were looked at, and how long it took to be refused.
fn add_refused(outcome: &mut Outcome, flood: &Measured) -> anyhow::Result<()> {
    let of = |status: u16| flood.statuses.get(&status).copied().unwrap_or(0) as f64 / flood.lasted.as_secs_f64();
    outcome.add("guesses_hashed_per_s", of(401));
    outcome.add("guesses_429_per_s", of(429));
    outcome.add("guesses_503_per_s", of(503));
    let (mut refused, mut at_once) = (load::histogram()?, load::histogram()?);
    for others in [429, 503].iter().filter_map(|status| flood.others.get(status)) {
        refused.add(others)?;
    }
    let waited = u64::try_from(WAITED.as_nanos())?;
    for value in refused.iter_recorded().filter(|value| value.value_iterated_to() < waited) {
        at_once.record_n(value.value_iterated_to(), value.count_at_value())?;
    }
    let p99 = |took: &Histogram<u64>| match took.is_empty() {
        true => f64::NAN,
        false => milliseconds(Duration::from_nanos(took.value_at_quantile(0.99))),
    };
    outcome.add("refused_p99_ms", p99(&refused));
    outcome.add("refused_at_once_share", at_once.len() as f64 / refused.len().max(1) as f64);
    outcome.add("refused_at_once_p99_ms", p99(&at_once));
    outcome.latencies.insert("refused".to_owned(), refused);
    // Nobody who guesses is let in; a token would be worse than any delay.
    outcome.add("wrong_tokens", flood.latency.len() as f64);
    outcome.add("unanswered", (flood.broken + flood.unanswered) as f64);
    Ok(())
}

fn own(address: SocketAddr, number: usize) -> Vec<u8> {
    let account = bed::account(number);
    bed::request(address, &account, &[format!("repository:{account}/app:pull")])
}

/// So many wrong passwords, each another one: for accounts that there are and that there are not, in turn, and one in four for
/// one of a few victims.
fn wrong(address: SocketAddr, guessed: Range<usize>, count: usize) -> Arc<[Vec<u8>]> {
    let guess = |number: usize| {
        let account = match number % 4 {
            0 => bed::account(guessed.start + number % VICTIMS),
            2 => bed::account(guessed.start + VICTIMS + number % guessed.len().saturating_sub(VICTIMS).max(1)),
            _ => format!("nobody{number}"),
        };
        bed::request_with(address, &account, &format!("guess {number}"), &["repository:some/app:pull".to_owned()])
    };
    (0..count).map(guess).collect()
}
