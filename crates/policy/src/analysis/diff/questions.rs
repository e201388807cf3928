//! What is asked: one type, service, place and tag of each kind that the rules tell apart.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::{Phase, Profile, Side, Work};
use crate::analysis::Place;
use crate::analysis::places::{DIGEST, OPEN_SERVICES, OPEN_TYPES, addresses, kinds, moments, types};
use crate::pattern::{Field, Pattern};
use crate::regular::Grammar;
use crate::rule::Rule;
use crate::scope::Reference;

impl Work<'_, '_> {
    pub(super) fn types(&mut self, rules: &[&Rule], open: Vec<(Side, usize)>) -> Vec<String> {
        let found = types(rules, self.still);
        if !open.is_empty() || !found.complete {
            self.say(OPEN_TYPES, open);
        }
        found.texts
    }

    /// Those that registries have: what is Dockwarden's own has [`OUR_SERVICE`].
    pub(super) fn services(&mut self, rules: &[&Rule], open: Vec<(Side, usize)>) -> Vec<String> {
        if let Some(service) = &self.narrow.service {
            return vec![service.clone()];
        }
        let mut known: Vec<String> = Vec::new();
        for service in self.old.services.iter().chain(&self.new.services) {
            if !known.contains(service) {
                known.push(service.clone());
            }
        }
        if !self.old.services.is_empty() && !self.new.services.is_empty() {
            return known;
        }
        let patterns: Vec<&Pattern> = rules.iter().filter_map(|rule| rule.pattern(Field::Service)).collect();
        // Those of a side that lists them are not served as all others are: the other side has any.
        let apart: BTreeSet<&str> = known.iter().map(String::as_str).collect();
        let found = kinds(Grammar::Text, &patterns, &["registry"], &apart, 1, self.still);
        let others: Vec<String> = found.texts.into_iter().filter(|text| !apart.contains(text.as_str())).collect();
        if !open.is_empty() || !found.complete {
            self.say(OPEN_SERVICES, open);
        }
        known.extend(others);
        for service in self.old.known_services.iter().chain(&self.new.known_services) {
            if !known.contains(service) {
                known.push(service.clone());
            }
        }
        known
    }

    /// Each place that the rules of a group tell apart, the simplest first, with the sets of tags that the tag is in.
    pub(super) fn places(&mut self, profile: &Profile) -> Vec<(Place, Vec<usize>)> {
        let old = profile.old.iter().flatten().filter_map(|numbered| self.old_rules.get(numbered.live.rule).copied());
        let new = profile.new.iter().flatten().filter_map(|numbered| self.new_rules.get(numbered.live.rule).copied());
        let rules: Vec<&Rule> = old.chain(new).collect();
        let addresses = match self.narrow.address {
            Some(address) => vec![Some(address)],
            None => addresses(rules.iter().copied()),
        };
        let Phase { from, until } = profile.phase;
        let mut moments = match self.narrow.at {
            Some(at) => vec![at],
            None => moments(rules.iter().copied(), from),
        };
        moments.retain(|moment| until.is_none_or(|until| *moment < until));
        let mut references: Vec<(Option<Reference>, Vec<usize>)> = vec![(None, Vec::new())];
        if rules.iter().any(|rule| rule.needs_reference()) {
            references.extend(self.tags(profile));
            references.push((Reference::parse(DIGEST), Vec::new()));
        }
        let mut places = Vec::new();
        for (reference, tags) in references {
            for now in &moments {
                for address in &addresses {
                    let place = Place {
                        kind: profile.kind.clone(),
                        service: profile.service.clone(),
                        address: *address,
                        reference: reference.clone(),
                        now: *now,
                    };
                    places.push((place, tags.clone()));
                }
            }
        }
        places
    }

    /// One tag of each kind that the rules of a group tell apart, with the sets that it is in.
    pub(super) fn tags(&mut self, profile: &Profile) -> Vec<(Option<Reference>, Vec<usize>)> {
        let all = profile.old.iter().chain(&profile.new).flatten();
        let used: BTreeSet<usize> = all.filter_map(|numbered| numbered.tags).collect();
        let used: Vec<usize> = used.into_iter().collect();
        let sources: Vec<&str> = used.iter().filter_map(|set| self.sets.get(*set)).map(String::as_str).collect();
        let mut found: BTreeMap<Vec<usize>, String> = BTreeMap::new();
        let ended = crate::regular::walk(Grammar::Tag, None, &sources, self.still, &mut |met| {
            let sets: Vec<usize> = met.matched.iter().filter_map(|pattern| used.get(*pattern).copied()).collect();
            found.entry(sets).or_insert_with(|| met.text());
            ControlFlow::Continue(())
        });
        if ended.is_err() {
            let rules: Vec<(Side, usize)> = self.changed_numbers().collect();
            self.say("not all tags that rules tell apart could be tried", rules);
        }
        found.into_iter().map(|(sets, tag)| (Reference::parse(&tag), sets)).collect()
    }
}
