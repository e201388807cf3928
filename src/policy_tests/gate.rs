//! The gate: nothing takes the place of a policy that passes its tests and would fail one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use settings::{Place, Problem};

use super::run::{Run, run};
use super::told::told;
use super::{Test, Tests};
use crate::access::Chain;
use crate::authz::{Gate, InUse, KeptOut};

/// How long all tests together may take before something is refused for it. A thousand take a fraction of that.
const MOST: Duration = Duration::from_secs(2);
/// The most failing tests that are told, one by one.
const MOST_TOLD: usize = 20;

/// Holds what is in use, and lets in what passes the tests. One for the process, whatever is reloaded.
#[derive(Default)]
pub struct PolicyGate(Mutex<Option<Guarded>>);

struct Guarded {
    tests: Tests,
    chain: Chain,
}

/// Tests that do not hold.
#[derive(Debug)]
pub struct Failing {
    file: PathBuf,
    problems: Vec<Problem>,
    more: usize,
    /// Their names.
    pub names: Vec<Arc<str>>,
}

impl fmt::Display for Failing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            write!(out, "{}", problem.in_file(&self.file))?;
        }
        match self.more {
            0 => Ok(()),
            1 => write!(out, "\nand 1 more test that does not hold"),
            more => write!(out, "\nand {more} more tests that do not hold"),
        }
    }
}

impl std::error::Error for Failing {}

impl Failing {
    /// The tests of a run that do not hold, if there are any. `file` is the configuration's.
    pub fn of(run: &Run, file: &Path) -> Option<Failing> {
        let failed: Vec<_> = run.failed().collect();
        if failed.is_empty() {
            return None;
        }
        let shown = failed.iter().take(MOST_TOLD);
        Some(Failing {
            file: file.to_owned(),
            problems: shown
                .clone()
                .map(|(test, verdict)| {
                    Problem::new(place(test), &*test.name, format!("this test does not hold: {}", told(test, verdict)))
                })
                .collect(),
            more: failed.len().saturating_sub(MOST_TOLD),
            names: shown.map(|(test, _)| Arc::clone(&test.name)).collect(),
        })
    }
}

fn place(test: &Test) -> Place {
    test.place.clone()
}

impl PolicyGate {
    /// Lets a whole configuration in if its tests hold by what its sources decide now, and calls `put`. Its sources take nothing
    /// newer over meanwhile, and from now on only what these tests hold by.
    ///
    /// This may take seconds, and so must not run on a thread that serves requests.
    ///
    /// # Errors
    /// The tests that do not hold; what was there before stays.
    pub fn enter(
        self: &Arc<PolicyGate>,
        (tests, chain): (Tests, Chain),
        file: &Path,
        put: impl FnOnce(),
    ) -> Result<Run, Failing> {
        let gate: Arc<dyn Gate> = Arc::clone(self) as Arc<dyn Gate>;
        // Before anything is looked at: what comes later waits at the gate.
        chain.guard(&gate);
        let mut guarded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let run = run(&tests, &chain, &chain.in_use(), MOST);
        if let Some(failing) = Failing::of(&run, file) {
            return Err(failing);
        }
        *guarded = Some(Guarded { tests, chain });
        put();
        Ok(run)
    }
}

impl Gate for PolicyGate {
    fn pass(&self, source: &'static str, newer: InUse, put: &mut dyn FnMut()) -> Result<(), Vec<KeptOut>> {
        let guarded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Guarded { tests, chain }) = &*guarded {
            let mut sources = chain.in_use();
            for (name, in_use) in &mut sources {
                if *name == source {
                    *in_use = newer.clone();
                }
            }
            let run = run(tests, chain, &sources, MOST);
            let failed = run.failed().take(MOST_TOLD);
            let kept_out: Vec<KeptOut> = failed
                .map(|(test, verdict)| KeptOut { test: Arc::clone(&test.name), message: told(test, verdict) })
                .collect();
            if !kept_out.is_empty() {
                return Err(kept_out);
            }
        }
        put();
        Ok(())
    }
}
