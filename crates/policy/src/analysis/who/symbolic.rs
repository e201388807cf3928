//! Accounts that cannot be listed, and have a right all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use time::OffsetDateTime;

use super::{Asking, Names, Symbolic, Tie, Wanted, Way};
use crate::analysis::spare::at_most;
use crate::analysis::unlisted::{shortest, somebody, wanted};
use crate::analysis::{Narrow, grants};
use crate::pattern::{Bindings, Field, FieldValues, LabelValue, LabelValues, Pattern, Placeholder};
use crate::rule::{MatchField, Rule};
use crate::scope::{Actions, Resource};
use crate::{Budget, Question};

/// What a label is told with where any value will do, as a rule would have it.
const ANY_VALUE: &str = "*";

/// The values that are wanted of each label.
type Wants = BTreeMap<String, BTreeSet<String>>;

impl Asking<'_, '_> {
    /// Accounts that cannot be listed: for each rule that grants it, one that has just what the rule asks for.
    pub(super) fn symbolic(&mut self, asked: &Wanted, narrow: &Narrow) -> Vec<Symbolic> {
        let mut found: Vec<Symbolic> = Vec::new();
        for number in self.near.clone() {
            let Some(rule) = self.rules.get(number).copied() else { continue };
            if !grants(Some(&rule), &asked.action) {
                continue;
            }
            if !(self.still)() {
                self.say("the time was not enough for all rules", None);
                break;
            }
            let mut shown = false;
            let mut taken: BTreeSet<Option<usize>> = BTreeSet::new();
            for (account, labels) in self.candidates(rule, asked) {
                let values = labels.iter().map(|(label, values)| {
                    (label.clone(), values.iter().map(|value| LabelValue::literal(value)).collect())
                });
                let given: Arc<LabelValues> = Arc::new(values.collect());
                if self.world.accounts.contains_key(&account) {
                    continue;
                }
                let ways = self.ways(&account, &given, asked);
                taken.extend(ways.ways.iter().map(|way| Some(way.rule)));
                if let Some(way) = ways.ways.into_iter().find(|way| way.rule == number) {
                    shown = true;
                    // All names that a pattern matches say what fills them as one name does.
                    let is_one = match asked.names {
                        Names::One(_) | Names::AllOf(_) => true,
                        Names::AnyOf(_) => false,
                    };
                    let told = told(rule, is_one, (account, labels), way);
                    if !found.iter().any(|known| {
                        known.way.rule == number && known.labels == told.labels && known.account == told.account
                    }) {
                        found.push(told);
                    }
                }
            }
            let is_plain = rule.label_patterns().is_empty()
                && rule.pattern(Field::Account).is_none()
                && !self.near.iter().any(|above| {
                    *above < number
                        && self.rules.get(*above).is_some_and(|above| {
                            !above.label_patterns().is_empty() || above.pattern(Field::Account).is_some()
                        })
                });
            let exactly = rule.pattern(Field::Account).and_then(Pattern::literal);
            let is_listed = exactly.is_some_and(|account| self.world.accounts.contains_key(account));
            if !shown && !is_plain && !is_listed && self.may_match(rule, asked) {
                self.say("no account was found that this rule decides for, and there may be one", Some(number));
            }
        }
        self.except_others(&mut found, asked, narrow);
        found
    }

    /// Whether the rule could match any of the names, whatever its placeholders stand for.
    fn may_match(&self, rule: &Rule, asked: &Wanted) -> bool {
        let Some(pattern) = rule.pattern(Field::Name) else { return true };
        self.may_name(asked, &at_most(pattern))
    }

    /// The account and the labels that a rule wants of whoever asks about this name, where it takes them from the name.
    fn by_name(
        &self,
        rule: &Rule,
        (account, wanted): (&str, &Wants),
        (kind, name): (&str, &str),
    ) -> Option<(String, Wants)> {
        let (by_name, labels_by_name) = (rule.by_name(), rule.labels_by_name().collect::<Vec<_>>());
        let own = rule.pattern(Field::Account).filter(|_| by_name.contains(&Field::Account));
        if own.is_none() && labels_by_name.is_empty() {
            return None;
        }
        let resource = Resource::of_type(kind, name).ok()?;
        let (nothing, no_actions) = (LabelValues::new(), Actions::new());
        let question = Question {
            account,
            labels: &nothing,
            address: None,
            service: "",
            resource: &resource,
            actions: &no_actions,
            reference: None,
            now: OffsetDateTime::UNIX_EPOCH,
        };
        let bindings = rule.bindings(&question, &mut Budget::for_request()).ok()?;
        let filled = |pattern: &Pattern| {
            let filled = Pattern::compile(&pattern.expand(&bindings)).ok();
            filled.map(|filled| shortest(&filled, self.still))
        };
        let account = own.map_or_else(|| Some(account.to_owned()), filled)?;
        let mut wanted = wanted.clone();
        for (label, pattern) in labels_by_name {
            wanted.insert(label.to_owned(), BTreeSet::from([filled(pattern)?]));
        }
        Some((account, wanted))
    }

    /// Accounts and labels with which a rule could match the name: what stands in a placeholder is a piece of the name.
    fn candidates(&self, rule: &Rule, asked: &Wanted) -> Vec<(String, Wants)> {
        let wanted = wanted(rule, self.still);
        let listed = self.world.accounts.keys().map(String::as_str);
        let account = somebody(rule.pattern(Field::Account), listed, self.still);
        let mut all = vec![(account.clone(), wanted.clone())];
        let Names::One(name) = &asked.names else { return all };
        all.extend(self.by_name(rule, (&account, &wanted), (&asked.kind, name)));
        let holes: BTreeSet<String> =
            rule.pattern(Field::Name).into_iter().flat_map(Pattern::placeholders).map(ToString::to_string).collect();
        let Some(pattern) = rule.pattern(Field::Name).filter(|_| holes.len() == 1) else { return all };
        let Some(hole) = pattern.placeholders().next() else { return all };
        all.clear();
        for piece in pieces(name) {
            let (labels, filled) = match hole {
                Placeholder::Label(label) => {
                    let mut filled = wanted.clone();
                    filled.entry(label.clone()).or_default().insert(piece.to_owned());
                    (LabelValues::from([(label.clone(), vec![LabelValue::literal(piece)])]), (account.clone(), filled))
                }
                Placeholder::Value(Field::Account) => (LabelValues::new(), (piece.to_owned(), wanted.clone())),
                Placeholder::Value(Field::Type | Field::Name | Field::Service) | Placeholder::Capture(..) => {
                    return vec![(account, wanted)];
                }
            };
            let values = FieldValues { account: &filled.0, kind: &asked.kind, name, service: "" };
            if pattern.matches(name, &Bindings::new(values, &labels)).unwrap_or(false) {
                let mut filled = filled;
                if let Placeholder::Label(label) = hole
                    && !rule.label_patterns().iter().any(|(own, _)| own == label)
                {
                    filled.1.insert(label.clone(), BTreeSet::from([piece.to_owned()]));
                }
                all.push(filled);
            }
        }
        all
    }
}

/// Whoever a rule is for, as far as one who was tried, and by it may do something, stands for others: of what that one is called and has,
/// only what others need as well.
fn told(rule: &Rule, is_one: bool, (account, mut labels): (String, Wants), mut way: Way) -> Symbolic {
    let name = rule.pattern(Field::Name);
    let fills_name = |label: &String| {
        let mut holes = name.into_iter().flat_map(Pattern::placeholders);
        holes.any(|hole| matches!(hole, Placeholder::Label(own) if own == label))
    };
    // Where the name says less of what fills it than is told, it is told which names are meant.
    let mut is_held = false;
    for (label, values) in &mut labels {
        let own = rule.label_patterns().iter().find(|(own, _)| own == label).map(|(_, pattern)| pattern);
        match own {
            Some(pattern) if pattern.placeholders().next().is_none() => {
                is_held |= pattern.literal().is_none() && fills_name(label);
            }
            // One name says what the value has to be.
            Some(_) if is_one => {}
            Some(pattern) => *values = BTreeSet::from([pattern.text().to_owned()]),
            None if is_one && fills_name(label) => {}
            None => {
                is_held |= fills_name(label);
                *values = BTreeSet::from([ANY_VALUE.to_owned()]);
            }
        }
    }
    let takes_account = name.is_some_and(|name| name.mentions(Field::Account));
    let elsewhere = [Field::Type, Field::Service].into_iter().filter_map(|field| rule.pattern(field));
    let account = match rule.pattern(Field::Account) {
        Some(pattern) if pattern.literal().is_some() => Some(account),
        Some(pattern) if pattern.placeholders().next().is_none() => {
            is_held |= takes_account;
            Some(account)
        }
        Some(pattern) => Some(if is_one { account } else { pattern.text().to_owned() }),
        None if elsewhere.into_iter().any(|pattern| pattern.mentions(Field::Account)) => Some(account),
        None if is_one => takes_account.then_some(account),
        None => {
            is_held |= takes_account;
            None
        }
    };
    for tie in &mut way.where_name {
        tie.values.clear();
    }
    if let Some(name) = name.filter(|_| is_held) {
        let pattern = name.text().to_owned();
        way.where_name.push(Tie { field: MatchField::Name, pattern, values: Vec::new() });
    }
    Symbolic { way, account, labels }
}

/// All pieces of a name, each once, the short ones first.
fn pieces(name: &str) -> BTreeSet<&str> {
    let ends = 0..=name.len();
    ends.clone()
        .flat_map(|from| ends.clone().filter_map(move |to| name.get(from..to)))
        .filter(|piece| !piece.is_empty())
        .collect()
}
