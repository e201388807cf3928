//! Names for which two lists have different first matches, and what both policies themselves say of them.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Asker, Difference, Shift, Side, Work};
use crate::analysis::held::is_tied;
use crate::analysis::outcomes::{Live, Outcome, TRIED, outcomes};
use crate::analysis::{Below, DECIDED_BELOW, Place, World, grants};
use crate::pattern::{Field, LabelValues, Pattern};
use crate::regular::{Grammar, Unfinished};
use crate::rule::Rule;
use crate::scope::Action;

/// Names are made for so many accounts of a group, for each rule.
const MOST_ACCOUNTS: usize = 200;

/// A name for which the lists have these outcomes.
pub(super) struct Candidate {
    name: String,
    old: Outcome,
    new: Outcome,
    /// Whether the outcomes are sure.
    sure: bool,
}

/// What was found among the names.
pub(super) struct Search {
    candidates: Vec<Candidate>,
    ended: Result<(), Unfinished>,
}

/// What is looked for among names.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Sought {
    pub(super) grammar: Grammar,
    /// What is left of the rules of both lists.
    pub(super) old: Vec<Live>,
    pub(super) new: Vec<Live>,
    /// The sets that changed rules have, where only these matter.
    pub(super) within: Option<Vec<usize>>,
    /// Old rules that the new list has too, and that may match other names there: the account has other labels.
    pub(super) apart: Vec<usize>,
    /// Whether each side asks somebody else about what no rule matches.
    pub(super) asks_below: (bool, bool),
}

impl Work<'_, '_> {
    /// Confirms what a search found, and says what it could not find.
    pub(super) fn settle(
        &mut self,
        search: &Search,
        sought: &Sought,
        people: &[&Asker],
        place: &Place,
        found: &mut dyn FnMut(&Difference),
    ) {
        let mut confirmed: HashSet<(&Outcome, &Outcome)> = HashSet::new();
        for candidate in &search.candidates {
            if self.confirm(candidate, people, place, found) {
                confirmed.insert((&candidate.old, &candidate.new));
            }
        }
        self.confirm_samples(sought, people, place, found);
        let mut told = HashSet::new();
        for candidate in &search.candidates {
            let outcome = (&candidate.old, &candidate.new);
            let is_sure = candidate.sure && confirmed.contains(&outcome);
            if is_sure || !told.insert(outcome) {
                continue;
            }
            let old = candidate.old.maybe.iter().map(|rule| (Side::Old, *rule));
            let new = candidate.new.maybe.iter().map(|rule| (Side::New, *rule));
            let mut rules: Vec<(Side, usize)> = old.chain(new).collect();
            let settled = rules.is_empty() && confirmed.contains(&outcome);
            // Rules that both have, and that both lists meet or pass, change nothing where a difference was found.
            if settled
                || (confirmed.contains(&outcome) && self.are_common(&candidate.old, &candidate.new, &sought.apart))
            {
                continue;
            }
            if rules.is_empty() {
                rules.extend(candidate.old.first.map(|rule| (Side::Old, rule)));
                rules.extend(candidate.new.first.map(|rule| (Side::New, rule)));
                let why = if (candidate.old.first.is_none() && sought.asks_below.0)
                    || (candidate.new.first.is_none() && sought.asks_below.1)
                {
                    DECIDED_BELOW
                } else {
                    "a name was found that both policies decide alike after all"
                };
                self.say(why, rules);
            } else {
                self.say("which names these rules match takes more than a regular expression", rules);
            }
        }
        match search.ended {
            Ok(()) => {}
            Err(unfinished) => {
                let broad = |side: Side, live: &[Live]| -> Vec<(Side, usize)> {
                    let many = live.iter().filter(|live| {
                        let rule = self.rule((side, live.rule));
                        rule.and_then(|rule| rule.pattern(Field::Name)).is_some_and(Pattern::is_regex)
                    });
                    many.map(|live| (side, live.rule)).collect()
                };
                let mut rules = broad(Side::Old, &sought.old);
                rules.extend(broad(Side::New, &sought.new));
                self.say(
                    match unfinished {
                        Unfinished::Time => {
                            "the time was not enough to try all names that these rules tell apart together"
                        }
                        Unfinished::Size => {
                            "the memory was not enough for all names that these rules tell apart together"
                        }
                    },
                    rules,
                );
            }
        }
    }

    /// Asks both policies about names that the rules which need more than a regular expression could match for these accounts.
    fn confirm_samples(
        &mut self,
        sought: &Sought,
        people: &[&Asker],
        place: &Place,
        found: &mut dyn FnMut(&Difference),
    ) {
        let has = |lives: &[Live], rule: usize| lives.iter().any(|live| live.rule == rule);
        let is_alike = |side: Side, rule: usize| match side {
            Side::Old => {
                let partner = self.aligned.old.get(rule).copied().flatten();
                partner.is_some_and(|partner| has(&sought.new, partner)) && !sought.apart.contains(&rule)
            }
            Side::New => {
                let partner = self.aligned.new.get(rule).copied().flatten();
                partner.is_some_and(|partner| has(&sought.old, partner))
            }
        };
        let old = sought.old.iter().map(|live| (Side::Old, live));
        let all = old.chain(sought.new.iter().map(|live| (Side::New, live)));
        let open = all.filter(|(side, live)| !live.exact && !is_alike(*side, live.rule));
        let rules: Vec<&Rule> = open.filter_map(|(side, live)| self.rule((side, live.rule))).collect();
        for rule in rules.into_iter().filter(|rule| is_tied(rule)) {
            for asker in people.iter().take(MOST_ACCOUNTS) {
                if !(self.still)() {
                    return;
                }
                let labels = asker.old.iter().chain(&asker.new).map(|labels| &**labels);
                for name in self.samples.names(rule, (&asker.name, labels), (place, None), self.still) {
                    let nothing = Outcome::default;
                    let candidate = Candidate { name, old: nothing(), new: nothing(), sure: false };
                    self.confirm(&candidate, &[asker], place, found);
                }
            }
        }
    }

    /// Whether the rules that may match are the same on both sides, and match the same.
    fn are_common(&self, old: &Outcome, new: &Outcome, apart: &[usize]) -> bool {
        let partner = |rule: &usize| self.aligned.old.get(*rule).copied().flatten();
        old.maybe.len() == new.maybe.len()
            && !old.maybe.iter().any(|rule| apart.contains(rule))
            && old.maybe.iter().zip(&new.maybe).all(|(old, new)| partner(old) == Some(*new))
    }

    pub(super) fn search(&mut self, sought: &Sought, mut early: impl FnMut(&Candidate, &mut Self)) -> Search {
        let Sought { grammar, old, new, within, apart: _, asks_below: _ } = sought;
        let mut met: HashMap<(Outcome, Outcome), usize> = HashMap::new();
        let mut candidates: Vec<Candidate> = Vec::new();
        let sets = std::mem::take(&mut self.sets);
        let still = self.still;
        let ended = outcomes(*grammar, within.as_deref(), &[old, new], &sets, still, &mut |text| {
            let Ok([old, new]) = <[Outcome; 2]>::try_from(text.outcomes) else { return ControlFlow::Continue(()) };
            let known = met.entry((old.clone(), new.clone())).or_default();
            let sure = old.maybe.is_empty() && new.maybe.is_empty();
            if *known >= if sure { 1 } else { TRIED } || !self.may_differ(&old, &new, sought) {
                return ControlFlow::Continue(());
            }
            *known += 1;
            let candidate = Candidate { name: text.met.text(), old, new, sure };
            early(&candidate, self);
            candidates.push(candidate);
            ControlFlow::Continue(())
        });
        self.sets = sets;
        Search { candidates, ended }
    }

    /// Whether the two outcomes could grant anything differently.
    fn may_differ(&self, old: &Outcome, new: &Outcome, Sought { apart, asks_below, .. }: &Sought) -> bool {
        if self.are_common(old, new, apart) {
            return self.differs(old.first, new.first, *asks_below);
        }
        let all = |outcome: &Outcome| -> Vec<Option<usize>> {
            outcome.maybe.iter().copied().map(Some).chain([outcome.first]).collect()
        };
        let news = all(new);
        all(old).iter().any(|old| news.iter().any(|new| self.differs(*old, *new, *asks_below)))
    }

    fn differs(&self, old: Option<usize>, new: Option<usize>, asks_below: (bool, bool)) -> bool {
        match (old.is_none() && asks_below.0, new.is_none() && asks_below.1) {
            // The same one is asked the same, or it was said before that it is not.
            (true, true) => false,
            (true, false) | (false, true) => true,
            (false, false) => self.words.iter().any(|word| self.shift(old, new, word).is_some()),
        }
    }

    fn shift(&self, old: Option<usize>, new: Option<usize>, word: &Action) -> Option<Shift> {
        let before = grants(old.and_then(|old| self.old_rules.get(old)), word);
        let after = grants(new.and_then(|new| self.new_rules.get(new)), word);
        match (before, after) {
            (false, true) => Some(Shift::Granted),
            (true, false) => Some(Shift::Withheld),
            (true, true) | (false, false) => None,
        }
    }

    /// Asks both policies themselves, for each of these accounts; whether any difference is real.
    pub(super) fn confirm(
        &mut self,
        candidate: &Candidate,
        people: &[&Asker],
        place: &Place,
        found: &mut dyn FnMut(&Difference),
    ) -> bool {
        let mut any = false;
        for asker in people {
            let decided = |world: &World<'_>, labels: &Option<Arc<LabelValues>>| match labels {
                Some(labels) if world.serves(&place.kind, &place.service) => {
                    world.decide(&asker.name, labels, place, &candidate.name).map(|rule| (rule, world.below))
                }
                Some(_) | None => Ok((None, Below::Nothing)),
            };
            let (Ok((old, old_below)), Ok((new, new_below))) =
                (decided(self.old, &asker.old), decided(self.new, &asker.new))
            else {
                continue;
            };
            let unknown = |rule: Option<usize>, below: Below| rule.is_none() && below.is_somebody();
            if unknown(old, old_below) || unknown(new, new_below) {
                continue;
            }
            for word in self.words.clone() {
                let Some(shift) = self.shift(old, new, &word) else { continue };
                any = true;
                let row = self.rows.entry((old, new, word.clone(), shift, asker.listed)).or_insert_with(|| {
                    let labels = asker.new.clone().or_else(|| asker.old.clone());
                    let row = Difference {
                        shift,
                        action: word,
                        account: asker.name.clone(),
                        labels: labels.filter(|_| !asker.listed),
                        place: place.clone(),
                        name: candidate.name.clone(),
                        old,
                        new,
                        count: 0,
                        first: Vec::new(),
                    };
                    found(&row);
                    (row, HashSet::new())
                });
                // What was met first need not be the shortest: others are asked about other names.
                if row.0.place.kind == place.kind && row.0.name.len() > candidate.name.len() {
                    let labels = asker.new.clone().or_else(|| asker.old.clone());
                    row.0.labels = labels.filter(|_| !asker.listed);
                    row.0.account.clone_from(&asker.name);
                    row.0.place.clone_from(place);
                    row.0.name.clone_from(&candidate.name);
                }
                if asker.listed {
                    row.1.insert(asker.name.clone());
                }
            }
        }
        any
    }
}
