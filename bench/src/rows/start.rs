//! From the start of the process to its first token.

use hdrhistogram::Histogram;

use crate::figures::{Outcome, milliseconds};
use crate::process::Program;
use crate::scenario::Setup;

use super::Run;

/// Starts the server again and again. The account's password is hashed at the cost of the setup, once a start.
pub fn measure(run: &Run, program: &Program, setup: &Setup, times: usize) -> anyhow::Result<Outcome> {
    let mut took = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
    let mut all = Vec::new();
    for _ in 0..times {
        let after = run.serve(program, setup)?.server.ready_after;
        took.saturating_record(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
        all.push(milliseconds(after));
    }
    all.sort_by(f64::total_cmp);
    let mut outcome = Outcome::default();
    outcome.add("median_ms", all.get(all.len() / 2).copied().unwrap_or(f64::NAN));
    outcome.add("longest_ms", all.last().copied().unwrap_or(f64::NAN));
    outcome.latencies.insert("start".to_owned(), took);
    Ok(outcome)
}
