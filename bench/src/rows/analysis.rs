//! Questions about whole policies: how soon `diff` and `who-can` answer them, and in how much memory.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::time::Instant;

use anyhow::Context as _;
use policy::analysis::{Below, Narrow, Unlisted, World, diff};
use time::OffsetDateTime;

use crate::bed;
use crate::figures::{Outcome, milliseconds};
use crate::process::{Program, Running, free_address};
use crate::scenario::Setup;

use super::{Run, rules};

/// The last rules of a mix: what they match overlaps with all others, and with each other.
const BROAD: [&str; 4] = ["/.*app.*/", "/.*tool.*/", "/.*image.*/", "/.*notes.*/"];

/// How many there are of everything.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Rules that are the same in both files, or all but one.
    pub rules: usize,
    /// Rules that all are changed.
    pub mixed: usize,
    /// Accounts of which it is asked who can do something.
    pub accounts: usize,
}

/// Asks each question so often, and takes the slowest answer.
pub fn measure(run: &Run, program: &Program, setup: &Setup, sizes: Sizes) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let address = free_address()?;
    let text = |users: usize, rules: &str| run.text(&Setup { users, ..setup.clone() }, address, rules, "");
    let few = setup.users;
    let same = text(few, &bed::rules(sizes.rules))?;
    // The rule that the most others overlap with.
    let public = "name: \"public/*\"}, actions: [pull";
    let one = text(few, &bed::rules(sizes.rules).replace(public, &format!("{public}, push")))?;
    let mixed = mixed(sizes.mixed);
    let changed = mixed.replace("actions: [pull, push]", "actions: [pull]");
    let (old, new) = (text(1, &mixed)?, text(1, &changed)?);
    let many = text(sizes.accounts, &bed::rules(sizes.rules.min(1000)))?;
    let asked = ["pull", "repository:public/app", "--json"];
    let (mut most, mut wrong) = (0.0_f64, 0_u32);
    for (name, first, second, status) in [
        ("same", &same, Some(&same), 0),
        ("one_changed", &same, Some(&one), 3),
        ("mixed", &old, Some(&new), 3),
        ("who_can", &many, None, 0),
    ] {
        let (before, after) = (run.bed.path("before.yml"), run.bed.path("after.yml"));
        std::fs::write(&before, first)?;
        let mut arguments = vec![before.as_os_str()];
        match second {
            Some(second) => {
                std::fs::write(&after, second)?;
                arguments.push(after.as_os_str());
            }
            None => arguments.extend(asked.map(OsStr::new)),
        }
        let command = if second.is_some() { "diff" } else { "who-can" };
        let mut took = 0.0_f64;
        for _ in 0..run.some(3) {
            let command = program.asked(command, &arguments).context("the peer compares no policies")?;
            let ended = Running::start(command, run.bed.path(&format!("{name}.log")))?.until_it_ends()?;
            took = took.max(milliseconds(ended.took));
            most = most.max(ended.most as f64 / 1024.0);
            if ended.status != Some(status) {
                wrong += 1;
                outcome.notes.push(format!("{name}: ended with {:?}, and should be {status}", ended.status));
            }
        }
        outcome.add(format!("{name}_ms"), took);
    }
    outcome.add("first_ms", first_witness(&mixed, &changed)?);
    outcome.add("most_mib", most);
    outcome.add("wrong_status", f64::from(wrong));
    Ok(outcome)
}

/// The mix of rules, with some that overlap with all others at its end.
fn mixed(count: usize) -> String {
    let mut text = bed::rules(count.saturating_sub(BROAD.len()));
    for name in BROAD {
        writeln!(text, "  - {{match: {{name: \"{name}\"}}, actions: [pull, push]}}").ok();
    }
    text
}

/// How long it takes until the first difference is known, in milliseconds.
fn first_witness(old: &str, new: &str) -> anyhow::Result<f64> {
    let (old, new) = (rules::compile(old)?, rules::compile(new)?);
    let world = |acl| World {
        lists: vec![acl],
        accounts: (0..100).map(|number| (bed::account(number), Some(Default::default()))).collect(),
        terms: Default::default(),
        services: vec![bed::SERVICE.to_owned()],
        known_services: Vec::new(),
        unlisted: Unlisted::Nobody,
        below: Below::Nothing,
    };
    let narrow = Narrow { service: None, address: None, at: None, from: OffsetDateTime::UNIX_EPOCH };
    let began = Instant::now();
    let first = std::cell::Cell::new(None);
    diff(&world(&old), &world(&new), &narrow, &|| first.get().is_none(), &mut |_| {
        first.set(first.get().or(Some(began.elapsed())));
    });
    Ok(milliseconds(first.get().context("no difference was found")?))
}
