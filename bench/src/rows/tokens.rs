//! Tokens for accounts that are verified already: what is left is the signature, and what stands beside it.

use std::time::Duration;

use crate::bed;
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

/// How often each of two servers is measured in turn where a few microseconds between them matter.
const ROUNDS: usize = 3;

/// The CPU time of a token by the standard rules, for members of so many groups, against one by three rules of one's own.
pub fn compare_standard(
    run: &Run,
    program: &Program,
    setup: &Setup,
    groups: usize,
    clients: usize,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let all = [("own", bed::rules(setup.rules)), ("standard", standard(groups, setup.users))];
    let mut spent = [Vec::new(), Vec::new()];
    for round in 0..if run.is_whole() { ROUNDS } else { 1 } {
        for ((name, rules), spent) in all.iter().zip(&mut spent) {
            let measured = maximum_by(run, program, setup, rules, clients)?;
            spent.push(microseconds(measured.used.cpu) / measured.answered.max(1) as f64);
            if round == 0 {
                outcome.add_latency(name, &measured);
            }
        }
    }
    let [own, standard] = spent.map(|mut spent| {
        spent.sort_by(f64::total_cmp);
        spent.get(spent.len() / 2).copied().unwrap_or(f64::NAN)
    });
    outcome.add("cpu_us_per_token_own", own);
    outcome.add("cpu_us_per_token_standard", standard);
    outcome.add("cpu_us_more", standard - own);
    Ok(outcome)
}

/// The standard rules alone, and a directory in which so many accounts are in so many groups. What they ask for is nobody's place, so
/// that nearly all of the rules are compared.
fn standard(groups: usize, accounts: usize) -> String {
    let list = |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(", ");
    let members = list(groups, &|number| format!("g{number}"));
    let account = |number| {
        format!("{}: {{id: {}, groups: [{members}], privileges: [puller, pusher]}}", bed::account(number), number + 1)
    };
    format!(
        "  []\nstandard_rules: opensvc\n\
         registries: {{{}: {{url: \"http://127.0.0.1:1\", publications: [g0], responsibles: [g0]}}}}\n\
         directory:\n  groups: {{{}}}\n  users: {{{}}}\n",
        bed::SERVICE,
        list(groups, &|number| format!("g{number}: {{id: {}}}", number + 1)),
        list(accounts, &account),
    )
}

fn maximum(run: &Run, program: &Program, setup: &Setup, clients: usize) -> anyhow::Result<Measured> {
    maximum_by(run, program, setup, &bed::rules(setup.rules), clients)
}

fn maximum_by(run: &Run, program: &Program, setup: &Setup, rules: &str, clients: usize) -> anyhow::Result<Measured> {
    let served = run.serve_with(program, setup, rules, "")?;
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
