//! A changed configuration, from the signal to the first token by the new rules, and what others notice of it.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::bed;
use crate::figures::{Outcome, milliseconds};
use crate::load::{self, Load};
use crate::process::Program;
use crate::reply;
use crate::scenario::Setup;

use super::{Run, Served, own_repositories};

/// How long one reload may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reloads again and again, under load.
pub fn measure(run: &Run, program: &Program, setup: &Setup, times: usize, rate: f64) -> anyhow::Result<Outcome> {
    let served = run.serve(program, setup)?;
    let address = served.server.address;
    let quiet = Load {
        connections: 16,
        most: 256,
        ..Load::at_rate(address, own_repositories(address, setup.users), rate, run.lasts)
    };
    let before = load::run(quiet.clone())?;
    let meanwhile = Load { lasts: Duration::from_millis(600).mul_f64(times as f64), ..quiet };
    let under_load = std::thread::spawn(move || load::run(meanwhile));
    let mut all = Vec::new();
    for number in 0..times {
        all.push(milliseconds(reload(run, setup, &served, number)?));
        std::thread::sleep(Duration::from_millis(100));
    }
    let during = under_load.join().ok().context("the thread of the load died")??;
    all.sort_by(f64::total_cmp);

    let mut outcome = Outcome::default();
    outcome.add("median_ms", all.get(all.len() / 2).copied().unwrap_or(f64::NAN));
    outcome.add("longest_ms", all.last().copied().unwrap_or(f64::NAN));
    outcome.add_latency("before", &before);
    outcome.add_latency("meanwhile", &during);
    outcome.add("meanwhile_longest_ms", during.latency.max() as f64 / 1e6);
    outcome.add("failed", during.failures() as f64);
    Ok(outcome)
}

/// Puts a rule for one more repository on top, and waits until it is granted.
fn reload(run: &Run, setup: &Setup, served: &Served, number: usize) -> anyhow::Result<Duration> {
    let address = served.server.address;
    let scope = format!("repository:reload/{number}:pull");
    let rules = format!(
        "  - {{match: {{name: \"reload/{number}\"}}, actions: [pull]}}\n{}",
        bed::rules(setup.rules.saturating_sub(1))
    );
    let written = served.config.with_extension("new");
    std::fs::write(&written, run.text(setup, address, &rules, "")?)?;
    let request = bed::request(address, &bed::account(0), std::slice::from_ref(&scope));
    let mut stream = TcpStream::connect(address)?;
    std::fs::rename(&written, &served.config)?;
    let began = Instant::now();
    served.server.process.reload()?;
    while began.elapsed() < PATIENCE {
        let reply = reply::ask_over(&mut stream, &request)?;
        if reply::granted(&reply.body)?.contains(&scope) {
            return Ok(began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("the changed rules were not taken over:\n{}", served.server.process.tail())
}
