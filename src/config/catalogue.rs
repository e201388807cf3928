//! The `catalogue:` section: how registries are asked for what is in them.

use std::num::NonZeroU32;
use std::time::Duration;

use settings::{Refusal, Section};

use crate::catalogue::{AT_ONCE, Pace, Settings};
use crate::secrets::length;

/// The name of the section.
pub(super) const NAME: &str = "catalogue";
/// The shortest time between two sweeps.
const SHORTEST: Duration = Duration::from_secs(10);

/// Reads the section.
pub(super) fn read(mut section: Section<'_>) -> Settings {
    let usual = Settings::default();
    let every = section.word("sweep_every", |text| {
        let expected = || Refusal::is("not a length of time of ten seconds or more; write minutes (10m) or hours (6h)");
        length(text).filter(|length| *length >= SHORTEST).ok_or_else(expected)
    });
    let at_once = section.word("requests_at_once", |text| {
        let expected = || Refusal::is(format!("not a number from 1 to {AT_ONCE}"));
        text.parse().ok().filter(|number| (1..=AT_ONCE).contains(number)).ok_or_else(expected)
    });
    let per_second = section.word("requests_per_second", |text| {
        let expected = || Refusal::is("not a number of 1 or more; leave it out for as many as a registry answers");
        text.parse::<NonZeroU32>().map_err(|_| expected())
    });
    let pulls_kept = section.word("pulls_kept", |text| {
        let expected = || Refusal::is("not a length of time; write days (90d)");
        length(text).filter(|length| !length.is_zero()).ok_or_else(expected)
    });
    section.finish();
    Settings {
        pace: Pace {
            every: every.map_or(usual.pace.every, |at| at.value),
            at_once: at_once.map_or(usual.pace.at_once, |at| at.value),
            per_second: per_second.map(|at| at.value),
        },
        pulls_kept: pulls_kept.map_or(usual.pulls_kept, |at| at.value),
        networks: usual.networks,
    }
}
