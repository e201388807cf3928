//! How often each rule decided, by day: what nobody needs any more is seen by it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use policy::rule::RuleId;
use time::OffsetDateTime;

use super::Failure;

/// A day in UTC, counted from 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(pub i64);

impl Day {
    /// The day of a moment.
    pub fn of(moment: OffsetDateTime) -> Day {
        Day(moment.unix_timestamp().div_euclid(24 * 60 * 60))
    }
}

/// How often rules decided on a day.
pub type RuleCounts = BTreeMap<(RuleId, Day), u64>;

/// A rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleUse {
    /// Which rule.
    pub rule: RuleId,
    /// The first day that is known.
    pub first: Day,
    /// The last one.
    pub last: Day,
    /// How often in all.
    pub uses: u64,
}

/// How often each rule decided, over all replicas.
#[async_trait]
pub trait RuleUses: Send + Sync {
    /// Adds to what is there, in one go.
    ///
    /// # Errors
    /// [`Failure`], as for all that follow; then some of it may be added.
    async fn add_rule_uses(&self, counts: &RuleCounts) -> Result<(), Failure>;

    /// Every rule that decided on a day that is still known.
    ///
    /// # Errors
    /// [`Failure`].
    async fn rule_uses(&self) -> Result<Vec<RuleUse>, Failure>;

    /// Forgets days before this one: how many entries.
    ///
    /// # Errors
    /// [`Failure`].
    async fn forget_rule_uses(&self, before: Day) -> Result<u64, Failure>;
}

/// A use as it is kept.
pub(super) fn kept(rule: &str, first: i64, last: i64, uses: i64) -> Result<RuleUse, Failure> {
    let rule = RuleId::parse(rule).ok_or_else(|| Failure::Unusable {
        cause: format!("the use of a rule {} is not as this program writes it", rule.escape_debug()),
    })?;
    Ok(RuleUse { rule, first: Day(first), last: Day(last), uses: u64::try_from(uses).unwrap_or_default() })
}
