//! What is left of the rules of both lists for one account.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Asker, Phase, Side, Work};
use crate::analysis::held::{Left, left};
use crate::analysis::outcomes::Live;
use crate::analysis::places::labels_of;
use crate::analysis::{Place, World};
use crate::pattern::LabelValues;
use crate::rule::{ReferenceKind, Rule};
use crate::scope::Reference;

/// What is left of the rules of both lists for a group of accounts, with the numbers of their sets.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Profile {
    pub(super) phase: Phase,
    pub(super) kind: String,
    pub(super) service: String,
    pub(super) old: Option<Vec<Numbered>>,
    pub(super) new: Option<Vec<Numbered>>,
}

/// What is left of a rule, with the numbers of its sets.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Numbered {
    pub(super) live: Live,
    pub(super) tags: Option<usize>,
    /// Whether the other list has no such rule, or other names are left of it there.
    pub(super) changed: bool,
}

impl Profile {
    /// How much is left of rules.
    pub(super) fn size(&self) -> usize {
        self.old.iter().chain(&self.new).map(Vec::len).sum()
    }
}

impl Work<'_, '_> {
    /// What is left of the rules for an account; `None` where no rule that concerns it has changed.
    pub(super) fn profile(
        &mut self,
        asker: &Asker,
        kind: &str,
        service: &str,
        old: &[usize],
        new: &[usize],
    ) -> Option<Profile> {
        let same_labels = asker.old == asker.new;
        let lets = |world: &World<'_>, labels: &Option<Arc<LabelValues>>| {
            labels.clone().filter(|_| world.serves(kind, service))
        };
        let (old_labels, new_labels) = (lets(self.old, &asker.old), lets(self.new, &asker.new));
        if old_labels.is_none() && new_labels.is_none() {
            return None;
        }
        let (old_rules, new_rules) = (&self.old_rules, &self.new_rules);
        let of = |rules: &[&Rule], number: usize, labels: &Option<Arc<LabelValues>>| -> Option<Left> {
            left(rules.get(number)?, &asker.name, labels.as_deref()?, kind, service)
        };
        let both_in = same_labels && old_labels.is_some() && new_labels.is_some();
        let is_changed = |partner: Option<&Option<usize>>| !matches!(partner, Some(Some(_)));
        if both_in {
            let olds = old.iter().filter(|number| is_changed(self.aligned.old.get(**number)));
            let news = new.iter().filter(|number| is_changed(self.aligned.new.get(**number)));
            let concerns = olds.clone().any(|number| of(old_rules, *number, &old_labels).is_some())
                || news.clone().any(|number| of(new_rules, *number, &new_labels).is_some());
            if !concerns {
                return None;
            }
        }
        let mut lefts: BTreeMap<(Side, usize), (Left, bool)> = BTreeMap::new();
        for number in old {
            let partner = self.aligned.old.get(*number).copied().flatten();
            let here = of(old_rules, *number, &old_labels);
            let there = match partner {
                Some(_) if both_in => here.clone(),
                Some(partner) => of(new_rules, partner, &new_labels),
                None => None,
            };
            let sees_the_same = || {
                let rule = old_rules.get(*number);
                rule.is_some_and(|rule| looks_alike(rule, old_labels.as_deref(), new_labels.as_deref()))
            };
            let sure = here.iter().chain(&there).all(|left| left.exact) || sees_the_same();
            let changed = partner.is_none() || here != there || !sure;
            lefts.extend(here.map(|left| ((Side::Old, *number), (left, changed))));
            if let (Some(partner), Some(there)) = (partner, there) {
                lefts.insert((Side::New, partner), (there, changed));
            }
        }
        for number in new {
            if is_changed(self.aligned.new.get(*number)) {
                lefts.extend(of(new_rules, *number, &new_labels).map(|left| ((Side::New, *number), (left, true))));
            }
        }
        let (mut in_old, mut in_new) = (Vec::new(), Vec::new());
        if both_in {
            // Only names that a changed rule matches are looked at.
            let changed = lefts.values().filter(|(_, changed)| *changed);
            let beginnings: BTreeSet<String> = changed.map(|(left, _)| left.beginning.clone()).collect();
            lefts.retain(|_, (left, _)| !beginnings.iter().all(|beginning| left.is_apart(beginning)));
        }
        for ((side, rule), (left, changed)) in lefts {
            let names = self.number(left.name);
            let tags = left.tag.map(|tag| self.number(tag));
            let numbered = Numbered { live: Live { rule, names, exact: left.exact }, tags, changed };
            match side {
                Side::Old => in_old.push(numbered),
                Side::New => in_new.push(numbered),
            }
        }
        let any = in_old.iter().chain(&in_new).any(|numbered| numbered.changed);
        let one_sided = old_labels.is_some() != new_labels.is_some();
        (any || one_sided).then(|| Profile {
            phase: asker.phase,
            kind: kind.to_owned(),
            service: service.to_owned(),
            old: old_labels.map(|_| in_old),
            new: new_labels.map(|_| in_new),
        })
    }
}

/// Whether the labels that a rule looks at are the same.
fn looks_alike(rule: &Rule, old: Option<&LabelValues>, new: Option<&LabelValues>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return false };
    labels_of(rule).all(|label| old.get(label) == new.get(label))
}

/// Whether a rule matches the address and the moment of a question.
pub(super) fn is_in_force(rule: &Rule, place: &Place) -> bool {
    let (begins, ends) = rule.window();
    let in_time = begins.is_none_or(|start| place.now >= start) && ends.is_none_or(|end| place.now < end);
    let from_there = rule
        .network()
        .is_none_or(|network| place.address.is_some_and(|address| network.contains(&address.to_canonical())));
    in_time && from_there
}

/// Whether a rule matches the tag or the digest of a question, or the lack of one.
pub(super) fn sees(rule: &Rule, place: &Place, tags: Option<usize>, inside: &[usize]) -> bool {
    let kind = match &place.reference {
        Some(Reference::Tag(_)) => Some(ReferenceKind::Tag),
        Some(Reference::Digest(_)) => Some(ReferenceKind::Digest),
        None => None,
    };
    let right_kind = rule.reference().is_none_or(|wanted| kind == Some(wanted));
    // Only a tag is in any set of tags.
    let right_tag = rule.tag().is_none() || tags.is_some_and(|tags| inside.contains(&tags));
    right_kind && right_tag
}
