//! What a wrong password costs where the hashes are kept elsewhere: an unknown account has to cost the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::password::PasswordHash;

/// The costs of the hashes that were seen in a place.
pub(super) struct Costs {
    seen: Mutex<BTreeMap<u32, u64>>,
    usual: ArcSwap<PasswordHash>,
}

impl Costs {
    /// Nothing was seen yet.
    pub(super) fn new() -> anyhow::Result<Costs> {
        Ok(Costs { seen: Mutex::default(), usual: ArcSwap::from_pointee(PasswordHash::nobodys([])?) })
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
}
