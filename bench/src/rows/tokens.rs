//! Tokens for accounts that are verified already: what is left is the signature, and what stands beside it.

use std::time::Duration;

use crate::figures::{Outcome, microseconds};
use crate::load::{self, Load, Measured, Pace, Turns};
use crate::process::Program;
use crate::scenario::Setup;

use super::{Run, own_repositories};

/// Sent before the measuring begins, so that everybody is verified and all is warm.
const WARM: Duration = Duration::from_millis(500);

/// As many tokens as there can be.
pub fn measure(run: &Run, program: &Program, setup: &Setup, clients: usize) -> anyhow::Result<Outcome> {
    let measured = maximum(run, program, setup, clients)?;
    let mut outcome = Outcome::default();
    let signs = run.machine.signs(&setup.key);
    let cores = run.machine.cores as f64;
    let tokens = measured.answered.max(1) as f64;
    let cpu = measured.used.cpu.div_f64(tokens);
    let signature = Duration::from_secs_f64(1.0 / signs);
    let generator = measured.own_cpu.as_secs_f64() / measured.lasted.as_secs_f64();
    outcome.add("tokens_per_s", measured.rate());
    outcome.add("share_of_signatures", measured.rate() / (cores * signs));
    let at_once = run.machine.signs_at_once(&setup.key);
    outcome.add("share_of_signatures_at_once", measured.rate() / at_once);
    outcome.add("cpu_per_signature_at_once", cpu.as_secs_f64() * at_once / cores);
    // The load is made on the same cores; this is the share of what it leaves.
    outcome.add("share_less_load", measured.rate() / ((cores - generator) * signs));
    outcome.add("load_cores", generator);
    outcome.add("cpu_us_per_token", microseconds(cpu));
    outcome.add("cpu_per_signature", cpu.as_secs_f64() * signs);
    outcome.add("cpu_us_beside_signature", microseconds(cpu) - microseconds(signature));
    outcome.add("tokens_per_cpu_s", 1.0 / cpu.as_secs_f64());
    outcome.add_latency("", &measured);
    Ok(outcome)
}

/// The CPU time of a token by many rules, against one by few.
pub fn compare_rules(
    run: &Run,
    program: &Program,
    setup: &Setup,
    few: usize,
    clients: usize,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut cpu = |rules: usize, name: &str| -> anyhow::Result<f64> {
        let measured = maximum(run, program, &Setup { rules, ..setup.clone() }, clients)?;
        let cpu = microseconds(measured.used.cpu) / measured.answered.max(1) as f64;
        outcome.add(format!("cpu_us_per_token_{name}"), cpu);
        outcome.add_latency(name, &measured);
        Ok(cpu)
    };
    let little = cpu(few, "few")?;
    let much = cpu(setup.rules, "many")?;
    outcome.add("cpu_ratio", much / little);
    Ok(outcome)
}

fn maximum(run: &Run, program: &Program, setup: &Setup, clients: usize) -> anyhow::Result<Measured> {
    let served = run.serve(program, setup)?;
    load::run(Load {
        address: served.server.address,
        requests: own_repositories(served.server.address, setup.users),
        pace: Pace::Closed { clients },
        connections: clients,
        most: clients,
        turns: Turns::Last,
        sources: load::HERE,
        warm: WARM,
        lasts: run.lasts,
        grace: load::GRACE,
        watched: Some(served.server.process.pid()),
    })
}
