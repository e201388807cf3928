//! What a wrong password costs where the hashes are kept elsewhere: an unknown account has to cost the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::password::PasswordHash;

/// How many look-ups of each kind are remembered: few enough to follow a store that slows down, enough for a steady median.
const REMEMBERED: usize = 64;
/// The longest that an unknown account is made to wait for what was not read.
const LONGEST_READING: Duration = Duration::from_millis(1);

/// What a look-up came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A user was found and read.
    User,
    /// There is none of this name.
    Nobody,
}

/// The costs of the hashes that were seen in a place, and of reading a user there.
pub(super) struct Costs {
    seen: Mutex<BTreeMap<u32, u64>>,
    usual: ArcSwap<PasswordHash>,
    took: Mutex<Took>,
}

/// How long the last look-ups took.
#[derive(Default)]
struct Took {
    users: VecDeque<Duration>,
    nobody: VecDeque<Duration>,
}

/// The median; nothing of nothing.
fn median(times: &VecDeque<Duration>) -> Option<Duration> {
    let mut times: Vec<Duration> = times.iter().copied().collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

impl Costs {
    /// Nothing was seen yet.
    pub(super) fn new() -> anyhow::Result<Costs> {
        Ok(Costs {
            seen: Mutex::default(),
            usual: ArcSwap::from_pointee(PasswordHash::nobodys([])?),
            took: Mutex::default(),
        })
    }

    /// A look-up took this long.
    pub(super) fn looked_up(&self, found: Found, time: Duration) {
        let mut took = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        let times = match found {
            Found::User => &mut took.users,
            Found::Nobody => &mut took.nobody,
        };
        if times.len() == REMEMBERED {
            times.pop_front();
        }
        times.push_back(time);
    }

    /// How much longer a look-up takes that finds a user than one that finds nobody. An unknown account has to wait for it:
    /// the hundredths of a millisecond for which a user is read are a tenth of what refusals differ by anyhow on a quiet machine,
    /// and after some hundred guesses tell who exists.
    pub(super) fn reading(&self) -> Duration {
        let took = self.took.lock().unwrap_or_else(PoisonError::into_inner);
        match (median(&took.users), median(&took.nobody)) {
            (Some(user), Some(nobody)) => user.saturating_sub(nobody).min(LONGEST_READING),
            (None, _) | (_, None) => Duration::ZERO,
        }
    }

    /// A hash of nobody's that costs what most there cost.
    pub(super) fn usual(&self) -> Arc<PasswordHash> {
        self.usual.load_full()
    }

    /// A hash of this cost was seen.
    pub(super) fn saw(&self, cost: u32) {
        let most = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let count = seen.entry(cost).or_default();
            *count = count.saturating_add(1);
            seen.iter().max_by_key(|(cost, count)| (**count, **cost)).map_or(cost, |(cost, _)| *cost)
        };
        if most != self.usual.load().cost()
            && let Ok(usual) = PasswordHash::nobodys([most])
        {
            self.usual.store(Arc::new(usual));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_account_costs_what_most_do() -> anyhow::Result<()> {
        let costs = Costs::new()?;
        assert_eq!(costs.usual().cost(), 10, "as long as nobody is known");
        for cost in [5, 5, 12] {
            costs.saw(cost);
        }
        assert_eq!(costs.usual().cost(), 5);
        Ok(())
    }

    #[test]
    fn reading_a_user_is_what_a_look_up_takes_longer_that_finds_one() -> anyhow::Result<()> {
        let costs = Costs::new()?;
        let micros = Duration::from_micros;
        costs.looked_up(Found::User, micros(500));
        assert_eq!(costs.reading(), Duration::ZERO, "as long as there is nothing to compare with");
        for (found, times) in [(Found::User, [540, 530, 90_000]), (Found::Nobody, [10_000, 500, 510])] {
            times.into_iter().for_each(|time| costs.looked_up(found, micros(time)));
        }
        // Of 500, 530, 540 and 90,000, and of 500, 510 and 10,000.
        assert_eq!(costs.reading(), micros(30));
        (0..REMEMBERED).for_each(|_| costs.looked_up(Found::User, micros(9_000)));
        assert_eq!(costs.reading(), LONGEST_READING, "whatever the store does");
        (0..REMEMBERED).for_each(|_| costs.looked_up(Found::User, micros(400)));
        assert_eq!(costs.reading(), Duration::ZERO, "the last count, and none is given back");
        Ok(())
    }
}
