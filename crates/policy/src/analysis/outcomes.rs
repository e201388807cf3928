//! The first match of each of several lists for every name at once.

use std::collections::{BTreeSet, HashMap};
use std::ops::ControlFlow;

use crate::regular::{Grammar, Met, Unfinished, walk};

/// So many names are tried where it is not known which of them a rule matches.
pub(super) const TRIED: usize = 24;

/// One rule of a list, as far as names go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Live {
    /// Its number.
    pub(super) rule: usize,
    /// The number of its set of names.
    pub(super) names: usize,
    /// Whether it matches all of them.
    pub(super) exact: bool,
}

/// What a list decides for a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Outcome {
    /// The first rule that surely matches.
    pub(super) first: Option<usize>,
    /// Rules above it that may match.
    pub(super) maybe: Vec<usize>,
}

/// A name, and what each list decides for it.
pub(super) struct Decided<'m> {
    pub(super) met: &'m Met<'m>,
    /// The sets that it is in.
    pub(super) sets: &'m [usize],
    /// One of each list.
    pub(super) outcomes: Vec<Outcome>,
}

/// Rules of one list by their set of names.
struct BySet {
    first: HashMap<usize, usize>,
    maybe: HashMap<usize, Vec<usize>>,
}

impl BySet {
    fn new(live: &[Live]) -> BySet {
        let mut by_set = BySet { first: HashMap::new(), maybe: HashMap::new() };
        for Live { rule, names, exact } in live {
            match exact {
                true => {
                    let first = by_set.first.entry(*names).or_insert(*rule);
                    *first = (*first).min(*rule);
                }
                false => by_set.maybe.entry(*names).or_default().push(*rule),
            }
        }
        by_set
    }

    fn outcome(&self, sets: impl Iterator<Item = usize> + Clone) -> Outcome {
        let first = sets.clone().filter_map(|set| self.first.get(&set).copied()).min();
        let above = |rule: &usize| first.is_none_or(|first| *rule < first);
        let maybe: BTreeSet<usize> =
            sets.filter_map(|set| self.maybe.get(&set)).flatten().copied().filter(above).collect();
        Outcome { first, maybe: maybe.into_iter().collect() }
    }
}

/// Tells of names, of each combination of outcomes at least one, what each of the lists decides for it, and in which sets it is. With `within`, only of names in one of these
/// sets.
pub(super) fn outcomes(
    grammar: Grammar,
    within: Option<&[usize]>,
    lists: &[&[Live]],
    sets: &[String],
    still: &dyn Fn() -> bool,
    meet: &mut dyn FnMut(Decided<'_>) -> ControlFlow<()>,
) -> Result<(), Unfinished> {
    let used: BTreeSet<usize> = lists.iter().flat_map(|list| list.iter().map(|live| live.names)).collect();
    let used: Vec<usize> = used.into_iter().collect();
    let source = |set: &usize| sets.get(*set).map(String::as_str);
    let patterns: Vec<&str> = used.iter().filter_map(source).collect();
    let within: Option<Vec<&str>> = within.map(|within| within.iter().filter_map(source).collect());
    let by_set: Vec<BySet> = lists.iter().map(|list| BySet::new(list)).collect();
    walk(grammar, within.as_deref(), &patterns, still, &mut |met| {
        let matched: Vec<usize> = met.matched.iter().filter_map(|pattern| used.get(*pattern).copied()).collect();
        let outcomes = by_set.iter().map(|list| list.outcome(matched.iter().copied())).collect();
        meet(Decided { met, sets: &matched, outcomes })
    })
}
