//! Events at their full rate while the server is killed again and again.

use crate::catalogue::killed::{Looked, none_is_lost};

/// A minute and more of 200 events a second.
#[test]
fn two_hundred_events_a_second_survive_that_the_server_is_killed() {
    none_is_lost(60, 250, Looked::WorkedOn);
}
