//! The rules that two lists have in common, in the same order, and rules that surely match nothing together.

use std::collections::{BTreeMap, HashMap};

use crate::pattern::{Field, Pattern};
use crate::rule::Rule;

/// Which rules of two lists are the same. What is left of either is changed: put in, taken out, or moved.
#[derive(Debug)]
pub(super) struct Aligned {
    /// For each old rule the new one that it is.
    pub(super) old: Vec<Option<usize>>,
    /// For each new rule the old one.
    pub(super) new: Vec<Option<usize>>,
}

impl Aligned {
    pub(super) fn new(old: &[&Rule], new: &[&Rule]) -> Aligned {
        let mut aligned = Aligned { old: vec![None; old.len()], new: vec![None; new.len()] };
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for (number, rule) in new.iter().enumerate().rev() {
            places.entry(key(rule)).or_default().push(number);
        }
        // The first with the first, the second with the second.
        let pairs: Vec<(usize, usize)> = old
            .iter()
            .enumerate()
            .filter_map(|(number, rule)| Some((number, places.get_mut(&key(rule))?.pop()?)))
            .collect();
        for (old, new) in longest_rising(&pairs) {
            if let (Some(to), Some(from)) = (aligned.old.get_mut(old), aligned.new.get_mut(new)) {
                (*to, *from) = (Some(new), Some(old));
            }
        }
        aligned
    }

    /// Whether nothing changed.
    pub(super) fn is_whole(&self) -> bool {
        !self.old.contains(&None) && !self.new.contains(&None)
    }
}

/// All that a rule says, but for its comment.
pub(super) fn key(rule: &Rule) -> String {
    let fields = Field::ALL.map(|field| rule.pattern(field).map(Pattern::text));
    format!("{fields:?}{}", key_beside_texts(rule))
}

/// All that a rule says besides the four texts and the comment.
pub(super) fn key_beside_texts(rule: &Rule) -> String {
    let labels: BTreeMap<&str, &str> =
        rule.label_patterns().iter().map(|(label, pattern)| (label.as_str(), pattern.text())).collect();
    let others = (rule.network(), rule.tag().map(Pattern::text), rule.reference(), rule.window());
    format!("{:?}", (labels, others, rule.grants()))
}

/// The longest choice of pairs whose second numbers rise as the first do.
fn longest_rising(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // For each length the pair that ends such a choice with the smallest number, and for each pair the one before it.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = vec![None; pairs.len()];
    let second = |index: usize| pairs.get(index).map(|pair| pair.1);
    for index in 0..pairs.len() {
        let length = ends.partition_point(|end| second(*end) < second(index));
        if let Some(before) = before.get_mut(index) {
            *before = length.checked_sub(1).and_then(|last| ends.get(last).copied());
        }
        match ends.get_mut(length) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let mut chosen = Vec::new();
    let mut at = ends.last().copied();
    while let Some(index) = at {
        chosen.extend(pairs.get(index).copied());
        at = before.get(index).copied().flatten();
    }
    chosen.reverse();
    chosen
}

/// What a rule matches at most, as far as that is quickly told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach<'r> {
    account: Option<&'r str>,
    kind: Option<&'r str>,
    service: Option<&'r str>,
    name: Beginning<'r>,
}

/// How the names that a rule matches begin.
#[derive(Clone, Copy, Debug)]
enum Beginning<'r> {
    Whole(&'r str),
    With(&'r str),
}

impl<'r> Reach<'r> {
    pub(super) fn new(rule: &'r Rule) -> Reach<'r> {
        let literal = |field| rule.pattern(field).and_then(Pattern::literal);
        let name = match (literal(Field::Name), rule.pattern(Field::Name)) {
            (Some(whole), _) => Beginning::Whole(whole),
            (None, Some(pattern)) => Beginning::With(pattern.beginning()),
            (None, None) => Beginning::With(""),
        };
        Reach { account: literal(Field::Account), kind: literal(Field::Type), service: literal(Field::Service), name }
    }

    /// Whether the rule could match anything of this type whose name begins so.
    pub(super) fn may_begin(&self, kind: &str, beginning: &str) -> bool {
        let any = Reach { account: None, kind: Some(kind), service: None, name: Beginning::With(beginning) };
        !self.is_apart(&any)
    }

    /// Whether the rule could match this resource.
    pub(super) fn may_reach(&self, kind: &str, name: &str) -> bool {
        let one = Reach { account: None, kind: Some(kind), service: None, name: Beginning::Whole(name) };
        !self.is_apart(&one)
    }

    /// What all names begin with that the rule matches.
    fn beginning(&self) -> &'r str {
        match self.name {
            Beginning::Whole(text) | Beginning::With(text) => text,
        }
    }

    /// Whether no question is matched by both.
    pub(super) fn is_apart(&self, other: &Reach<'_>) -> bool {
        let differ =
            |one: Option<&str>, other: Option<&str>| matches!((one, other), (Some(one), Some(other)) if one != other);
        differ(self.account, other.account)
            || differ(self.kind, other.kind)
            || differ(self.service, other.service)
            || match (self.name, other.name) {
                (Beginning::Whole(one), Beginning::Whole(other)) => one != other,
                (Beginning::Whole(whole), Beginning::With(beginning))
                | (Beginning::With(beginning), Beginning::Whole(whole)) => !whole.starts_with(beginning),
                (Beginning::With(one), Beginning::With(other)) => !one.starts_with(other) && !other.starts_with(one),
            }
    }
}

/// Rules by how the names begin that they match: of very many, few could match anything together with one.
#[derive(Debug)]
pub(super) struct Reaches<'r> {
    all: Vec<Reach<'r>>,
    by_beginning: BTreeMap<&'r str, Vec<usize>>,
}

impl<'r> Reaches<'r> {
    pub(super) fn new(rules: &'r [Rule]) -> Reaches<'r> {
        let all: Vec<Reach<'r>> = rules.iter().map(Reach::new).collect();
        let mut by_beginning: BTreeMap<&'r str, Vec<usize>> = BTreeMap::new();
        for (number, reach) in all.iter().enumerate() {
            by_beginning.entry(reach.beginning()).or_default().push(number);
        }
        Reaches { all, by_beginning }
    }

    /// The rules besides this one that could match anything together with it, in their order.
    pub(super) fn near(&self, number: usize) -> Vec<usize> {
        let Some(own) = self.all.get(number) else { return Vec::new() };
        let text = own.beginning();
        // One of two names that are not apart begins with the other's beginning.
        let shorter = (0..text.len()).filter_map(|end| self.by_beginning.get(text.get(..end)?));
        let longer = self.by_beginning.range(text..).take_while(|(other, _)| other.starts_with(text));
        let found = shorter.chain(longer.map(|(_, found)| found)).flatten().copied();
        let is_near = |other: &usize| self.all.get(*other).is_some_and(|other| !other.is_apart(own));
        let mut near: Vec<usize> = found.filter(|other| *other != number).filter(is_near).collect();
        near.sort_unstable();
        near
    }
}
