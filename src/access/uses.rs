//! How often each rule decided: gathered in memory, and written now and then, all at once. Nothing on a token's way writes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use policy::rule::RuleId;
use time::OffsetDateTime;

use super::Access;
use crate::records::{Day, Failure, RuleCounts, RuleUses};

/// How many rules have uses here that are not written yet (about 50 bytes each). Of further ones none is counted: more rules decided
/// within half a minute than most sites have.
const MOST: usize = 32_768;
/// How many are written in one go, so that no other change of the records waits long for it.
const AT_ONCE: usize = 500;

/// The uses that are not written yet.
#[derive(Debug, Default)]
pub struct UsedRules(Mutex<RuleCounts>);

impl UsedRules {
    /// A rule decided.
    pub fn note(&self, rule: RuleId, now: OffsetDateTime) {
        let mut pending = self.pending();
        let key = (rule, Day::of(now));
        if pending.len() < MOST || pending.contains_key(&key) {
            *pending.entry(key).or_default() += 1;
        }
    }

    /// Writes all of them down. What cannot be written is kept for the next time.
    ///
    /// # Errors
    /// Why not everything was written.
    pub async fn write(&self, store: &(impl RuleUses + ?Sized)) -> Result<(), Failure> {
        let mut left = std::mem::take(&mut *self.pending());
        while !left.is_empty() {
            let rest = split_behind(&mut left, AT_ONCE);
            if let Err(failure) = store.add_rule_uses(&left).await {
                let mut pending = self.pending();
                for (key, uses) in left.into_iter().chain(rest) {
                    if pending.len() < MOST || pending.contains_key(&key) {
                        *pending.entry(key).or_default() += uses;
                    }
                }
                return Err(failure);
            }
            left = rest;
        }
        Ok(())
    }

    fn pending(&self) -> MutexGuard<'_, RuleCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes off what stands behind the first so many.
pub(super) fn split_behind<K: Ord + Clone, V>(all: &mut BTreeMap<K, V>, most: usize) -> BTreeMap<K, V> {
    match all.keys().nth(most).cloned() {
        Some(next) => all.split_off(&next),
        None => BTreeMap::new(),
    }
}

impl Access {
    /// The same, where it is counted which rules decide.
    pub fn with_used_rules(self, used: Arc<UsedRules>) -> Access {
        Access { used_rules: Some(used), ..self }
    }

    /// The uses that are not written down yet, where they are counted; the next configuration goes on with them.
    pub fn used_rules(&self) -> Option<&Arc<UsedRules>> {
        self.used_rules.as_ref()
    }
}
