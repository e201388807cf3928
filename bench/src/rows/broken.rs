//! A backend that is not there, and one that takes connections and says nothing: how soon its own accounts are told, and what
//! those notice that are in the file.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::bed;
use crate::figures::{Outcome, milliseconds};
use crate::load::{self, Load, Measured};
use crate::process::{Program, free_address};
use crate::scenario::Setup;

use super::{Run, mongo, own_repositories};

/// How long the backend's accounts ask before anything is measured: longer than a question to it may take.
const UNTIL_OPEN: Duration = Duration::from_millis(2500);
/// The status of "cannot be answered now".
const UNAVAILABLE: u16 = 503;
/// Accounts of the backend, as far as anybody knows.
const THEIRS: usize = 100;

/// How the backend is broken.
#[derive(Clone, Copy)]
enum Broken {
    /// Nobody listens there.
    Gone,
    /// Connections are taken, and nothing is ever said.
    Silent,
}

/// Measures both kinds.
pub fn measure(run: &Run, program: &Program, setup: &Setup, rate: f64) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    std::fs::write(run.bed.path("mongo-password"), mongo::PASSWORD)?;
    let (mut other, mut failed) = (0, 0);
    let lasts = run.lasts_each();
    let until_open = if run.is_whole() { UNTIL_OPEN } else { UNTIL_OPEN.mul_f64(0.6) };
    for (name, broken) in [("gone", Broken::Gone), ("silent", Broken::Silent)] {
        let backend = broken.start()?;
        let served = run.serve_with(program, setup, &bed::rules(setup.rules), &backend.to_string())?;
        let address = served.server.address;
        let ours = Load::at_rate(address, own_repositories(address, setup.users), rate, lasts);
        let before = load::run(Load { warm: Duration::from_millis(200), ..ours.clone() })?;
        let request = |number| bed::request(address, &format!("theirs{number}"), &[]);
        let theirs = Load {
            most: 1024,
            warm: until_open,
            ..Load::at_rate(address, (0..THEIRS).map(request).collect::<Arc<[_]>>(), rate, lasts)
        };
        let asking = std::thread::spawn(move || load::run(theirs));
        let meanwhile = load::run(Load { warm: until_open, ..ours })?;
        let theirs = asking.join().ok().context("the thread of the load died")??;
        let told = theirs.others.get(&UNAVAILABLE);
        let told_p99 = told.map_or(f64::NAN, |took| took.value_at_quantile(0.99) as f64 / 1e6);
        outcome.add(format!("{name}_told_p99_ms"), told_p99);
        let p99 = |measured: &Measured| milliseconds(measured.percentile(99.0));
        outcome.add_latency(&format!("{name}_before"), &before);
        outcome.add_latency(&format!("{name}_file"), &meanwhile);
        outcome.add(format!("{name}_file_added_p99_ms"), p99(&meanwhile) - p99(&before));
        other += theirs.latency.len() + theirs.failures() - told.map_or(0, |took| took.len());
        failed += before.failures() + meanwhile.failures();
    }
    // A token or a 401 would say that the password is right, or wrong: nobody knows.
    outcome.add("other_answers", other as f64);
    outcome.add("failed", failed as f64);
    Ok(outcome)
}

impl Broken {
    fn start(self) -> anyhow::Result<SocketAddr> {
        match self {
            Broken::Gone => free_address(),
            Broken::Silent => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                let address = listener.local_addr()?;
                // As long as this process lives, what it took is held.
                std::thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
                Ok(address)
            }
        }
    }
}
