//! First logins, more than the cores can hash, and what becomes of somebody who is verified already.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Context as _;

use crate::bed;
use crate::figures::Outcome;
use crate::load::{self, Load, Pace};
use crate::process::Program;
use crate::scenario::Setup;

use super::Run;

/// Addresses that the logins come from: a farm of builders, and not one machine.
const SOURCES: Range<u32> = 2..66;

/// Measures both at once.
pub fn measure(run: &Run, program: &Program, setup: &Setup, clients: usize, rate: f64) -> anyhow::Result<Outcome> {
    let served = run.serve(program, setup)?;
    let address = served.server.address;
    let ask = |number| {
        let account = bed::account(number);
        bed::request(address, &account, &[format!("repository:{account}/app:pull")])
    };
    // The first account was verified when the server started.
    let verified = Load::at_rate(address, Arc::from([ask(0)]), rate, run.lasts);
    let fresh = Load {
        requests: (1..setup.users).map(ask).collect(),
        pace: Pace::Closed { clients },
        connections: clients,
        most: clients,
        sources: SOURCES,
        watched: Some(served.server.process.pid()),
        ..verified.clone()
    };
    let logins = std::thread::spawn(move || load::run(fresh));
    let verified = load::run(verified)?;
    let fresh = logins.join().ok().context("the thread of the logins died")??;

    // The server hashes on one core fewer than there are, so that one is left for everybody else.
    let turns = run.machine.cores.saturating_sub(1).max(1) as f64;
    let mut outcome = Outcome::default();
    outcome.add("logins_per_s", fresh.rate());
    outcome.add("share_of_hashes", fresh.rate() * run.machine.bcrypt10 / turns);
    outcome.add_latency("verified", &verified);
    outcome.add_latency("login", &fresh);
    Ok(outcome)
}
