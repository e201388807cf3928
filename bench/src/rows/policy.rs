//! Files that are too much of something: how soon `check` is done with them, and in how much memory.

use std::fmt::Write as _;

use anyhow::Context as _;

use crate::bed;
use crate::figures::{Outcome, milliseconds};
use crate::process::{Program, Running, free_address};
use crate::scenario::Setup;

use super::Run;

/// Rules in a file of rules alone; and of accounts, keys and depth there is as much.
const MANY: usize = 10_000;

/// What `check` should say of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Usable.
    Usable,
    /// Not usable.
    Refused,
}

impl Verdict {
    fn status(self) -> i32 {
        match self {
            Verdict::Usable => 0,
            Verdict::Refused => 1,
        }
    }
}

/// Reads each file so many times, and takes the slowest.
pub fn measure(run: &Run, program: &Program, setup: &Setup, times: usize) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let address = free_address()?;
    let config = |rules: &str| run.text(setup, address, rules, "");
    let usual = config(&bed::rules(10))?;
    let files = [
        ("aliases", format!("{}{usual}", aliases()), Verdict::Refused),
        ("nesting", format!("{usual}x: {}{}\n", "[".repeat(MANY), "]".repeat(MANY)), Verdict::Refused),
        ("keys_twice", format!("{usual}{}", keys_twice()), Verdict::Refused),
        ("rules", config(&bed::rules(MANY))?, Verdict::Usable),
        ("expression", config(&expressions(1))?, Verdict::Refused),
        ("expressions", config(&expressions(MANY))?, Verdict::Refused),
        ("bad_rules", config(&bad_rules())?, Verdict::Refused),
    ];
    let (mut longest, mut most, mut wrong) = (0.0_f64, 0.0_f64, 0_u32);
    let path = run.bed.path("policy.yml");
    for (name, text, verdict) in files {
        std::fs::write(&path, text)?;
        let (mut took, mut mebibytes) = (0.0_f64, 0.0_f64);
        for _ in 0..times {
            let command = program.check(&path).context("the peer checks no files")?;
            let log = run.bed.path(&format!("policy-{name}.log"));
            let ended = Running::start(command, log)?.until_it_ends()?;
            took = took.max(milliseconds(ended.took));
            mebibytes = mebibytes.max(ended.most as f64 / 1024.0);
            if ended.status != Some(verdict.status()) {
                wrong += 1;
                outcome.notes.push(format!("{name}: ended with {:?}, and should be {verdict:?}", ended.status));
            }
        }
        outcome.add(format!("{name}_ms"), took);
        outcome.add(format!("{name}_mib"), mebibytes);
        longest = longest.max(took);
        most = most.max(mebibytes);
    }
    outcome.add("longest_ms", longest);
    outcome.add("most_mib", most);
    outcome.add("wrong_status", f64::from(wrong));
    Ok(outcome)
}

/// Ten lists of which each holds the one before ten times: unfolded, ten thousand million texts.
fn aliases() -> String {
    (1..10).fold("a0: &a0 [x]\n".to_owned(), |text, level| {
        let before = vec![format!("*a{}", level - 1); 10].join(", ");
        format!("{text}a{level}: &a{level} [{before}]\n")
    })
}

/// Accounts of which the last has the name of the first.
fn keys_twice() -> String {
    let mut text = "x:\n".to_owned();
    for number in (0..MANY).chain([0]) {
        writeln!(text, "  key{number}: value").ok();
    }
    text
}

/// Expressions that would be too large when compiled, each another one.
fn expressions(count: usize) -> String {
    let rule = |number| {
        let name = format!("/^x{number}\\\\pL{{1000}}$/");
        format!("  - {{match: {{name: \"{name}\"}}, actions: [pull]}}\n")
    };
    (0..count).map(rule).collect()
}

/// Rules of which each is wrong.
fn bad_rules() -> String {
    (0..MANY).map(|number| format!("  - {{match: {{name: \"/(/\", acount: a{number}}}, actions: 7}}\n")).collect()
}
