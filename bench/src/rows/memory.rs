//! Memory: at rest, and with many connections of which each asks now and then.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::figures::Outcome;
use crate::load::{self, Load, Pace, Turns};
use crate::process::{Program, Server, Usage, free_address};
use crate::scenario::Setup;

use super::{Run, own_repositories};

/// Addresses that the connections come from.
const SOURCES: Range<u32> = 2..502;
/// Descriptors that are needed besides those of connections.
const SPARE: u64 = 128;

/// Measures both.
pub fn measure(run: &Run, program: &Program, setup: &Setup, connections: usize, rate: f64) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    if let Program::Dockwarden(_) = program {
        let rest = at_rest(run, program)?;
        outcome.add("rest_mib", rest.resident as f64 / 1024.0);
        outcome.add("rest_own_mib", rest.own as f64 / 1024.0);
    }
    let connections = allowed(run.some(connections), &mut outcome);
    // Each connection asks again before the server would close it as idle.
    let rate = rate * connections as f64 / 10_000.0;
    let served = run.serve(program, setup)?;
    let pid = served.server.process.pid();
    let load = Load {
        address: served.server.address,
        requests: own_repositories(served.server.address, setup.users),
        pace: Pace::Open { rate },
        connections,
        most: connections,
        turns: Turns::Round,
        sources: SOURCES,
        warm: Duration::from_secs(1),
        lasts: run.memory_lasts,
        grace: load::GRACE,
        watched: Some(pid),
    };
    let under_load = std::thread::spawn(move || load::run(load));
    let began = Instant::now();
    let mut seen: Vec<(f64, f64)> = Vec::new();
    while !under_load.is_finished() {
        let usage = Usage::of(pid)?;
        seen.push((began.elapsed().as_secs_f64(), usage.resident as f64 / 1024.0));
        std::thread::sleep(Duration::from_millis(100));
    }
    let measured = under_load.join().ok().context("the thread of the load died")??;
    let most = seen.iter().map(|(_, mib)| *mib).fold(0.0, f64::max);
    let quarter = |from: f64, to: f64| {
        let end = seen.last().map_or(0.0, |(at, _)| *at);
        let part: Vec<f64> =
            seen.iter().filter(|(at, _)| *at >= end * from && *at < end * to).map(|(_, mib)| *mib).collect();
        part.iter().sum::<f64>() / part.len().max(1) as f64
    };
    outcome.add("connections", connections as f64);
    outcome.add("requests_per_s", measured.rate());
    outcome.add("most_mib", most);
    // The second quarter against the last: what is left when everything has been used once.
    outcome.add("growth", quarter(0.75, 1.0) / quarter(0.25, 0.5).max(1.0));
    outcome.add_latency("", &measured);
    Ok(outcome)
}

/// What a server with the example configuration uses, after its first token.
fn at_rest(run: &Run, program: &Program) -> anyhow::Result<Usage> {
    let address = free_address()?;
    let example = std::fs::read_to_string(run.repository.join("config.example.yml")).context("config.example.yml")?;
    let text = example
        .replace("127.0.0.1:5001", &address.to_string())
        .replace("certs/token", &run.bed.path("rsa2048").display().to_string())
        .replace("password_file: certs/test.hash", &format!("password: \"{}\"", crate::bed::hash(10)?));
    let config = run.bed.path("example.yml");
    std::fs::write(&config, text)?;
    // Nobody in particular: the example lets in anonymous clients.
    let request = format!("GET /auth?service=Docker+registry HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let server = Server::start(program, &config, address, request.as_bytes())?;
    std::thread::sleep(Duration::from_millis(500));
    server.usage()
}

/// As many connections as this process may open.
pub(super) fn allowed(wanted: usize, outcome: &mut Outcome) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let needed = wanted as u64 + SPARE;
    setrlimit(
        Resource::Nofile,
        Rlimit { current: Some(needed.max(limit.current.unwrap_or(0)).min(most)), maximum: limit.maximum },
    )
    .ok();
    let possible = usize::try_from(most.saturating_sub(SPARE)).unwrap_or(usize::MAX);
    if possible < wanted {
        outcome.notes.push(format!("the limit of open files (ulimit -Hn) allows {possible} connections, not {wanted}"));
    }
    wanted.min(possible)
}
