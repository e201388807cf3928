//! Questions about a whole policy: what changes between two, who may do something, and what somebody may do.

mod diff;
mod minimise;
mod policies;
mod unlisted;
mod who;

use std::time::Duration;

use super::{MISUSED, complain};
use crate::clock;

pub(super) use diff::{Arguments as DiffArguments, run as diff};
pub(super) use minimise::{Arguments as MinimiseArguments, run as minimise};
pub(super) use who::{WhatArguments, WhoArguments, what_can, who_can};

/// So long one command looks; what was found so far is then told.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a command gives no answer.
enum Refused {
    /// It was called wrongly.
    CommandLine(String),
    /// What it was to read cannot be used.
    Unusable(String),
}

impl From<String> for Refused {
    fn from(message: String) -> Refused {
        Refused::Unusable(message)
    }
}

/// The status of a command; why it has no answer is printed.
fn status(answer: Result<u8, Refused>) -> u8 {
    match answer {
        Ok(status) => status,
        Err(Refused::Unusable(message)) => complain(&format!("dockwarden: {message}")),
        Err(Refused::CommandLine(message)) => {
            complain(&format!("dockwarden: {message}"));
            MISUSED
        }
    }
}

/// Whether there is still time.
fn still() -> impl Fn() -> bool {
    let began = clock::now();
    move || clock::now().duration_since(began) < PATIENCE
}
