//! Thousands of slow connections, and what an honest client notices of them: one that keeps its connections, and one that
//! opens one for each request.
//!
//! A third of the crowd stops in the middle of a TLS handshake. The load speaks no TLS, so that third is at another process of
//! the same program, whose memory counts; the honest client is beside the other two thirds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::bed;
use crate::crowd::{self, Signals, Slow};
use crate::figures::{Outcome, milliseconds};
use crate::load::{self, Load, Measured};
use crate::process::{Program, Running, Usage, free_address};
use crate::scenario::Setup;

use super::{Run, memory, own_repositories};

/// How long the crowd may take to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Below so many milliseconds a latency is noise: the ratio is that to so much at least.
const NOISE_MS: f64 = 1.0;

/// What the two kinds of honest client saw.
struct Honest {
    kept: Measured,
    new: Measured,
}

/// Measures before the crowd comes, and while it is there.
pub fn measure(run: &Run, program: &Program, setup: &Setup, connections: usize, rate: f64) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let connections = memory::allowed(run.some(connections), &mut outcome);
    let served = run.serve(program, setup)?;
    let address = served.server.address;
    let (tls, tls_address) = start_tls(run, program, setup)?;
    let pids = [served.server.process.pid(), tls.pid()];
    let resident = || pids.iter().map(|pid| Ok(Usage::of(*pid)?.resident)).sum::<anyhow::Result<u64>>();
    let before = honest(run, address, setup, rate)?;
    let at_rest = resident()?;

    let signals = Arc::new(Signals::default());
    let of_crowd = Arc::clone(&signals);
    let crowd = std::thread::spawn(move || crowd::keep(address, tls_address, connections, &of_crowd));
    let began = Instant::now();
    while signals.open.load(Ordering::Relaxed) < connections {
        if crowd.is_finished() || began.elapsed() > PATIENCE {
            signals.leave.store(true, Ordering::Relaxed);
            crowd.join().ok().context("the thread of the crowd died")??;
            bail!("the crowd did not come in time");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let (mut most, mut least_open) = (at_rest, connections);
    let amid = std::thread::scope(|scope| {
        let asking = scope.spawn(|| honest(run, address, setup, rate));
        while !asking.is_finished() {
            most = most.max(resident()?);
            least_open = least_open.min(signals.open.load(Ordering::Relaxed));
            std::thread::sleep(Duration::from_millis(50));
        }
        asking.join().unwrap_or_else(|_| bail!("the thread of the honest client died"))
    });
    // To see how long each is left open takes longer than a short run may.
    let waits = run.is_whole();
    signals.enough.store(true, Ordering::Relaxed);
    signals.leave.store(!waits || amid.is_err(), Ordering::Relaxed);
    let longest = crowd.join().ok().context("the thread of the crowd died")??;
    let amid = amid?;

    outcome.add("connections", least_open as f64);
    for (name, before, amid) in [("kept", &before.kept, &amid.kept), ("new", &before.new, &amid.new)] {
        outcome.add_latency(&format!("{name}_before"), before);
        outcome.add_latency(name, amid);
        let p99 = |measured: &Measured| milliseconds(measured.percentile(99.0));
        outcome.add(format!("{name}_added_p99_ms"), p99(amid) - p99(before));
        outcome.add(format!("{name}_p99_ratio"), p99(amid) / p99(before).max(NOISE_MS));
    }
    outcome.add("failed", (amid.kept.failures() + amid.new.failures()) as f64);
    outcome.add("grown_mib", most.saturating_sub(at_rest) as f64 / 1024.0);
    if waits {
        for (name, slow) in [("header", Slow::Header), ("body", Slow::Body), ("handshake", Slow::Handshake)] {
            outcome.add(format!("{name}_longest_s"), longest.of(slow).as_secs_f64());
        }
    } else {
        outcome.notes.push("too short to see how long half-open connections are left open".to_owned());
    }
    Ok(outcome)
}

/// Both kinds at once.
fn honest(run: &Run, address: std::net::SocketAddr, setup: &Setup, rate: f64) -> anyhow::Result<Honest> {
    let kept = Load::at_rate(address, own_repositories(address, setup.users), rate, run.lasts_each());
    let new = kept.clone().alone();
    let new = std::thread::spawn(move || load::run(new));
    let kept = load::run(kept)?;
    Ok(Honest { kept, new: new.join().ok().context("the thread of the load died")?? })
}

/// A server that speaks TLS, with the certificate of its tokens: nobody gets far enough to look at its name.
fn start_tls(run: &Run, program: &Program, setup: &Setup) -> anyhow::Result<(Running, std::net::SocketAddr)> {
    let address = free_address()?;
    let config = run.bed.path("tls.yml");
    let setup = Setup { config: "tls".to_owned(), ..setup.clone() };
    std::fs::write(&config, run.text(&setup, address, &bed::rules(setup.rules), "")?)?;
    let mut server = Running::start(program.command(&config), run.bed.path("tls.log"))?;
    server.until_it_listens(address, "the server with TLS")?;
    Ok((server, address))
}
