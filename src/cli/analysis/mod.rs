//! Questions about a whole policy: what changes between two, who may do something, and what somebody may do.

mod diff;
mod minimise;
mod policies;
mod who;

use std::time::Duration;

use crate::clock;

pub(super) use diff::{Arguments as DiffArguments, run as diff};
pub(super) use minimise::{Arguments as MinimiseArguments, run as minimise};
pub(super) use who::{WhatArguments, WhoArguments, what_can, who_can};

/// So long one command looks; what was found so far is then told.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether there is still time.
fn still() -> impl Fn() -> bool {
    let began = clock::now();
    move || clock::now().duration_since(began) < PATIENCE
}
