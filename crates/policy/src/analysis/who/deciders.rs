//! The rules that decide some name that a pattern matches.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{Asking, NOT_REGULAR, TOO_MUCH};
use crate::analysis::Place;
use crate::analysis::held::{Left, is_tied, left};
use crate::analysis::outcomes::{Decided, Live, Outcome, TRIED, outcomes};
use crate::pattern::{Bindings, Field, FieldValues, LabelValues, Pattern, Placeholder};
use crate::regular::{Grammar, Unfinished};
use crate::rule::Rule;
use crate::scope::{Reference, Resource};

/// The outcomes that there are, each with names.
pub(super) struct Search {
    met: Vec<(Outcome, Vec<String>)>,
    /// Rules that match names which others decide, each with those.
    hidden: BTreeSet<(usize, usize)>,
    ended: Result<(), Unfinished>,
}

impl Asking<'_, '_> {
    /// Each rule that decides any name that the pattern matches, with such a name; confirmed by the ordinary decision. In `hidden`,
    /// each rule that matches some such name is put beside those that decide it instead. And each choice of rules among which it is not
    /// known which one decides a name.
    pub(super) fn deciders(
        &mut self,
        (account, labels): (&str, &Arc<LabelValues>),
        place: &Place,
        pattern: Option<&Pattern>,
        hidden: &mut BTreeSet<(usize, usize)>,
    ) -> (Vec<(Option<usize>, String)>, Vec<Outcome>) {
        let mut sets: Vec<String> = Vec::new();
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut live: Vec<Live> = Vec::new();
        for number in &self.near {
            let Some(rule) = self.rules.get(*number) else { continue };
            let Some(left) = left(rule, account, labels, &place.kind, &place.service) else { continue };
            if pattern.is_some_and(|pattern| left.is_apart(pattern.beginning())) {
                continue;
            }
            let Left { name, tag: _, exact, beginning: _ } = left;
            let matched = match_beside_name(rule, account, labels, place);
            if matched == Some(false) {
                continue;
            }
            let names = *numbers.entry(name).or_insert_with_key(|name| {
                sets.push(name.clone());
                sets.len() - 1
            });
            live.push(Live { rule: *number, names, exact: exact && matched == Some(true) });
        }
        let nothing = LabelValues::new();
        let within =
            pattern.map(|pattern| pattern.language(&Bindings::new(FieldValues::default(), &nothing), &|_| true));
        let asked = within.map(|language| language.source().to_owned());
        let within: Option<usize> = asked.clone().map(|source| {
            sets.push(source);
            sets.len() - 1
        });
        let grammar = Grammar::of_names(&place.kind);
        let key = (grammar, live, sets);
        let search = match self.searches.get(&key) {
            Some(known) => Arc::clone(known),
            None => {
                let mut met: Vec<(Outcome, Vec<String>)> = Vec::new();
                let mut known: HashMap<Outcome, usize> = HashMap::new();
                let mut hidden: BTreeSet<(usize, usize)> = BTreeSet::new();
                let mut seen: HashSet<Vec<usize>> = HashSet::new();
                let mut of_set: HashMap<usize, Vec<usize>> = HashMap::new();
                for live in &key.1 {
                    of_set.entry(live.names).or_default().push(live.rule);
                }
                let within = within.map(|within| vec![within]);
                let ended = outcomes(
                    grammar,
                    within.as_deref(),
                    &[&key.1],
                    &key.2,
                    self.still,
                    &mut |Decided { met: text, sets, outcomes }| {
                        for outcome in outcomes {
                            if seen.insert(sets.to_vec()) {
                                let inside = sets.iter().filter_map(|set| of_set.get(set)).flatten();
                                let by = || outcome.first.iter().chain(&outcome.maybe);
                                hidden.extend(inside.flat_map(|rule| by().map(|by| (*rule, *by))));
                            }
                            let place = *known.entry(outcome.clone()).or_insert_with(|| {
                                met.push((outcome.clone(), Vec::new()));
                                met.len() - 1
                            });
                            if let Some((outcome, names)) = met.get_mut(place)
                                && names.len() < if outcome.maybe.is_empty() { 1 } else { TRIED }
                            {
                                names.push(text.text());
                            }
                        }
                        ControlFlow::Continue(())
                    },
                );
                let search = Arc::new(Search { met, hidden, ended });
                self.searches.insert(key.clone(), Arc::clone(&search));
                search
            }
        };
        match search.ended {
            Ok(()) => {}
            Err(Unfinished::Time) => self.say("the time was not enough to try all names", None),
            Err(Unfinished::Size) => self.say("the memory was not enough to try all names", None),
        }
        hidden.extend(&search.hidden);
        self.falls_through |= search.met.iter().any(|(outcome, _)| outcome.first.is_none());
        let mut found: BTreeMap<Option<usize>, String> = BTreeMap::new();
        for name in search.met.iter().flat_map(|(_, names)| names) {
            match self.world.decide(account, labels, place, name) {
                Ok(by) => _ = found.entry(by).or_insert_with(|| name.clone()),
                Err(()) => self.say(TOO_MUCH, None),
            }
        }
        let open: BTreeSet<usize> = search.met.iter().flat_map(|(outcome, _)| &outcome.maybe).copied().collect();
        let tied: Vec<&Rule> =
            open.into_iter().filter_map(|rule| self.rules.get(rule).copied()).filter(|rule| is_tied(rule)).collect();
        for rule in tied {
            let sought = (place, asked.as_deref());
            for name in self.samples.names(rule, (account, [&**labels]), sought, self.still) {
                let is_meant = pattern.is_none_or(|pattern| pattern.matches_alone(&name).unwrap_or(false));
                // What is no name is asked for by nobody.
                if !is_meant || Resource::of_type(&place.kind, &name).is_err() {
                    continue;
                }
                match self.world.decide(account, labels, place, &name) {
                    Ok(by) => _ = found.entry(by).or_insert(name),
                    Err(()) => self.say(TOO_MUCH, None),
                }
            }
        }
        for (outcome, _) in &search.met {
            let missing = |rule: &usize| !found.contains_key(&Some(*rule));
            let open: Vec<usize> = outcome.maybe.iter().copied().filter(missing).collect();
            if !open.is_empty() {
                self.say(NOT_REGULAR, open);
            }
        }
        let unsure = search.met.iter().map(|(outcome, _)| outcome).filter(|outcome| !outcome.maybe.is_empty());
        (found.into_iter().collect(), unsure.cloned().collect())
    }
}

/// Whether a rule matches as far as address, time, tag and reference go; `None` where that depends on the name.
fn match_beside_name(rule: &Rule, account: &str, labels: &LabelValues, place: &Place) -> Option<bool> {
    let (begins, ends) = rule.window();
    let in_time = begins.is_none_or(|start| place.now >= start) && ends.is_none_or(|end| place.now < end);
    let from_there = rule
        .network()
        .is_none_or(|network| place.address.is_some_and(|address| network.contains(&address.to_canonical())));
    let right_kind = rule.reference().is_none_or(|kind| match &place.reference {
        Some(Reference::Tag(_)) => kind.as_str() == "tag",
        Some(Reference::Digest(_)) => kind.as_str() == "digest",
        None => false,
    });
    let right_tag = match (rule.tag(), &place.reference) {
        (None, _) => Some(true),
        (Some(pattern), Some(Reference::Tag(tag))) => {
            let captures = pattern.placeholders().any(|placeholder| match placeholder {
                Placeholder::Capture(..) | Placeholder::Value(Field::Name) => true,
                Placeholder::Value(Field::Account | Field::Type | Field::Service) | Placeholder::Label(_) => false,
            });
            let values = FieldValues { account, kind: &place.kind, name: "", service: &place.service };
            match captures {
                true => None,
                false => pattern.matches(tag, &Bindings::new(values, labels)).ok(),
            }
        }
        (Some(_), Some(Reference::Digest(_)) | None) => Some(false),
    };
    match in_time && from_there && right_kind {
        true => right_tag,
        false => Some(false),
    }
}
