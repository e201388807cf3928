//! One address that asks without a pause over very many connections, and what a client elsewhere waits.

use std::sync::Arc;

use anyhow::Context as _;

use crate::figures::Outcome;
use crate::load::{self, Load, Pace};
use crate::process::Program;
use crate::scenario::Setup;

use super::{Run, own_repositories};

/// The address of the greedy one, by its number in 127.0.0.0/8.
const GREEDY: u32 = 1000;

/// Measures the client alone, and then beside the greedy one.
pub fn measure(run: &Run, program: &Program, setup: &Setup, connections: usize, rate: f64) -> anyhow::Result<Outcome> {
    let served = run.serve(program, setup)?;
    let address = served.server.address;
    let requests = own_repositories(address, setup.users);
    let [first, second] = [0, 1].map(|account| requests.get(account).cloned());
    let ask = |request: Option<Vec<u8>>| request.map(|request| Arc::from([request])).context("two accounts are needed");
    let honest = Load::at_rate(address, ask(first)?, rate, run.lasts);
    let greedy = Load {
        pace: Pace::Closed { clients: connections },
        connections,
        most: connections,
        sources: GREEDY..GREEDY + 1,
        // It has begun before the other is measured, and goes on until after.
        lasts: run.lasts * 2,
        watched: Some(served.server.process.pid()),
        ..Load::at_rate(address, ask(second)?, rate, run.lasts)
    };

    let alone = load::run(honest.clone())?;
    let asking = std::thread::spawn(move || load::run(greedy));
    let beside = load::run(honest)?;
    let greedy = asking.join().ok().context("the thread of a load died")??;

    let mut outcome = Outcome::default();
    outcome.add_latency("before", &alone);
    outcome.add_latency("beside", &beside);
    outcome.add("failed", beside.failures() as f64);
    outcome.add("greedy_per_s", greedy.rate());
    outcome.add_latency("greedy", &greedy);
    outcome.add("greedy_failed", greedy.failures() as f64);
    Ok(outcome)
}
