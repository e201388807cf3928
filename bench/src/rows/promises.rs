//! Tests of the policy: how soon `test` is done with many of them, beside many rules.

use std::fmt::Write as _;

use anyhow::Context as _;

use crate::bed;
use crate::figures::{Outcome, milliseconds};
use crate::process::{Program, Running, free_address};
use crate::scenario::Setup;

use super::Run;

/// Runs so many tests beside so many rules, and takes the slowest time; with a test that does not hold, and without.
pub fn measure(run: &Run, program: &Program, setup: &Setup, (tests, rules): (usize, usize)) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let usual = run.text(setup, free_address()?, &bed::rules(rules), "")?;
    let path = run.bed.path("promises.yml");
    let (mut longest, mut wrong) = (0.0_f64, 0_u32);
    for (name, last, status) in [("hold", "[]", 0), ("fail", "[push]", 3)] {
        std::fs::write(&path, format!("{usual}{}", promises(tests, last)))?;
        for _ in 0..run.some(5) {
            let command = program.test(&path).context("the peer has no tests")?;
            let log = run.bed.path(&format!("promises-{name}.log"));
            let ended = Running::start(command, log)?.until_it_ends()?;
            longest = longest.max(milliseconds(ended.took));
            if ended.status != Some(status) {
                wrong += 1;
                outcome.notes.push(format!("{name}: ended with {:?}, and should be {status}", ended.status));
            }
        }
    }
    outcome.add("longest_ms", longest);
    outcome.add("wrong_status", f64::from(wrong));
    Ok(outcome)
}

/// Tests about names that no rule has; the last one wants this.
fn promises(count: usize, last: &str) -> String {
    let mut text = "tests:\n".to_owned();
    for number in 1..=count {
        let want = if number == count { last } else { "[]" };
        writeln!(text, "  - {{as: nobody{number}, ask: \"repository:zzz/z{number}:push\", want: {want}}}").ok();
    }
    text
}
