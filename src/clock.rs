//! The monotonic clock, and a watch on the wall clock, which may be set while the server runs.
//!
//! Nothing but tokens, certificates and dates of accounts and rules goes by the wall clock: whatever waits, or is
//! remembered for a while, goes by the monotonic one, which nobody can set.

use time::{Duration, OffsetDateTime};
use tokio::time::Instant;

/// This moment by the monotonic clock: for deadlines, pauses, and how long something took.
#[expect(clippy::disallowed_methods, reason = "the one place that reads it; with tokio's, tests can stop it")]
pub fn now() -> Instant {
    Instant::now()
}

/// What strays less than this between two looks was not set. A token allows for far more.
const NOTICED: Duration = Duration::seconds(10);

/// The wall clock at the last look.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    wall: OffsetDateTime,
    steady: Instant,
}

impl WallClock {
    /// The first look.
    pub fn seen(wall: OffsetDateTime, steady: Instant) -> WallClock {
        WallClock { wall, steady }
    }

    /// The next look: by how many seconds the clock was set since the last one, forward or (negative) back. A machine
    /// that slept looks like one whose clock was set forward.
    pub fn set_by(&mut self, wall: OffsetDateTime, steady: Instant) -> Option<i64> {
        let passed = steady.saturating_duration_since(self.steady);
        let passed = Duration::try_from(passed).unwrap_or(Duration::MAX);
        let set_by = (wall - self.wall).saturating_sub(passed);
        *self = WallClock { wall, steady };
        (set_by.abs() >= NOTICED).then_some(set_by.whole_seconds())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_is_set_is_noticed_once_and_what_passes_is_not() {
        let wall = |milliseconds: i64| {
            OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap() + Duration::milliseconds(milliseconds)
        };
        let start = now();
        let steady = |milliseconds: u64| start + std::time::Duration::from_millis(milliseconds);
        let mut clock = WallClock::seen(wall(0), steady(0));
        // The wall clock and the monotonic one at each look, both in milliseconds, and what is noticed.
        for (moment, at, set_by) in [
            (500, 500, None),
            // Nobody looked for an hour.
            (3_600_500, 3_600_500, None),
            // It runs fast, or slow, as clocks do that are brought in step.
            (3_610_499, 3_600_500, None),
            (3_601_000, 3_601_000, None),
            (3_611_000, 3_601_000, Some(10)),
            (3_611_500, 3_601_500, None),
            (3_600_000, 3_602_000, Some(-12)),
            (7_200_500, 3_602_500, Some(3600)),
            (0, 3_602_500, Some(-7200)),
            (500, 3_603_000, None),
        ] {
            assert_eq!(clock.set_by(wall(moment), steady(at)), set_by, "{moment} at {at}");
        }
    }
}
