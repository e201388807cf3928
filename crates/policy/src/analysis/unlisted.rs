//! Accounts that cannot be listed: some of those that rules tell apart.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::places::kinds;
use super::spare::at_most;
use crate::pattern::{Field, LabelValue, LabelValues, Pattern, Placeholder};
use crate::regular::{Grammar, walk};
use crate::rule::Rule;

/// So many names of each kind are looked at, since some are listed.
const NAMES_OF_A_KIND: usize = 6;
/// So many sets of labels are tried.
const MOST_LABELS: usize = 64;
/// The value of a label that any value will do for.
const SOME_VALUE: &str = "some-value";
/// The name of an account that any name will do for.
const SOMEBODY: &str = "somebody";

/// Accounts with labels that could be told apart by these rules, and whether they stand for all there can be. Labels are those that one or two of the
/// rules want: more values only make more rules match.
pub(super) fn profiles(
    rules: &[&Rule],
    changed: &[&Rule],
    listed: &BTreeSet<&str>,
    still: &dyn Fn() -> bool,
) -> (Vec<(String, Arc<LabelValues>)>, bool) {
    let patterns: Vec<&Pattern> = rules.iter().filter_map(|rule| rule.pattern(Field::Account)).collect();
    let of_each = |apart: &BTreeSet<&str>| kinds(Grammar::Text, &patterns, &[SOMEBODY], apart, NAMES_OF_A_KIND, still);
    let mut found = of_each(&BTreeSet::new());
    let is_unlisted = |name: &String| !listed.contains(name.as_str());
    let (unlisted, taken): (Vec<String>, Vec<String>) = found.texts.iter().cloned().partition(is_unlisted);
    // A kind of which only listed names were met may have others.
    let known: BTreeSet<Vec<bool>> = unlisted.iter().map(|name| kind_of(&patterns, name)).collect();
    if taken.iter().any(|name| !known.contains(&kind_of(&patterns, name))) {
        found = of_each(listed);
    }
    let names = one_of_a_kind(&patterns, found.texts.into_iter().filter(is_unlisted));
    let mut all: Vec<BTreeMap<String, BTreeSet<String>>> = vec![BTreeMap::new()];
    let mut add = |wanted: BTreeMap<String, BTreeSet<String>>| {
        if all.len() < MOST_LABELS && !all.contains(&wanted) {
            all.push(wanted);
        }
    };
    let kinds_of = values_of_a_kind(rules, still);
    let of_changed: Vec<_> = changed.iter().flat_map(|rule| all_wanted(rule, &kinds_of, still)).collect();
    let of_all: BTreeSet<_> = rules.iter().map(|rule| wanted(rule, still)).collect();
    of_changed.iter().for_each(|wanted| add(wanted.clone()));
    for one in &of_changed {
        for other in &of_all {
            let mut both = one.clone();
            for (label, values) in other {
                both.entry(label.clone()).or_default().extend(values.iter().cloned());
            }
            add(both);
        }
    }
    let labels: Vec<Arc<LabelValues>> = all
        .into_iter()
        .map(|wanted| {
            let literal = |values: BTreeSet<String>| values.iter().map(|value| LabelValue::literal(value)).collect();
            Arc::new(wanted.into_iter().map(|(label, values)| (label, literal(values))).collect())
        })
        .collect();
    let simple = |rule: &&Rule| {
        let fields = Field::ALL.into_iter().filter_map(|field| rule.pattern(field)).chain(rule.tag());
        rule.label_patterns().is_empty()
            && fields.flat_map(Pattern::placeholders).all(|placeholder| match placeholder {
                Placeholder::Label(_) => false,
                Placeholder::Value(field) | Placeholder::Capture(field, _) => *field != Field::Account,
            })
    };
    let complete = found.complete && rules.iter().all(simple);
    let pairs = names.iter().flat_map(|name| labels.iter().map(|labels| (name.clone(), Arc::clone(labels))));
    (pairs.collect(), complete)
}

/// The first of each kind.
fn one_of_a_kind(patterns: &[&Pattern], names: impl Iterator<Item = String>) -> Vec<String> {
    let mut known: BTreeSet<Vec<bool>> = BTreeSet::new();
    names.filter(|name| known.insert(kind_of(patterns, name))).collect()
}

/// Which of the patterns a name matches.
fn kind_of(patterns: &[&Pattern], name: &str) -> Vec<bool> {
    patterns.iter().map(|pattern| pattern.matches_alone(name).unwrap_or(false)).collect()
}

/// For each label one value of each kind that the rules tell apart.
fn values_of_a_kind(rules: &[&Rule], still: &dyn Fn() -> bool) -> BTreeMap<String, Vec<String>> {
    let mut patterns: BTreeMap<&String, Vec<&Pattern>> = BTreeMap::new();
    for (label, pattern) in rules.iter().flat_map(|rule| rule.label_patterns()) {
        patterns.entry(label).or_default().push(pattern);
    }
    let values = |patterns: &Vec<&Pattern>| kinds(Grammar::Text, patterns, &[], &BTreeSet::new(), 1, still).texts;
    patterns.into_iter().map(|(label, patterns)| (label.clone(), values(&patterns))).collect()
}

/// The labels that a rule wants, and the same with each other value that some rule tells from the one that will do.
fn all_wanted(
    rule: &Rule,
    kinds_of: &BTreeMap<String, Vec<String>>,
    still: &dyn Fn() -> bool,
) -> Vec<BTreeMap<String, BTreeSet<String>>> {
    let one = wanted(rule, still);
    let mut all = vec![one.clone()];
    for (label, pattern) in rule.label_patterns().iter().filter(|(_, pattern)| pattern.literal().is_none()) {
        for value in kinds_of.get(label).into_iter().flatten() {
            let mut other = one.clone();
            other.insert(label.clone(), BTreeSet::from([value.clone()]));
            if pattern.matches_alone(value).unwrap_or(false) && !all.contains(&other) {
                all.push(other);
            }
        }
    }
    all
}

/// The labels that a rule wants, each with a value that will do.
pub(super) fn wanted(rule: &Rule, still: &dyn Fn() -> bool) -> BTreeMap<String, BTreeSet<String>> {
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (label, pattern) in rule.label_patterns() {
        wanted.entry(label.clone()).or_default().insert(shortest(pattern, still));
    }
    let fields = Field::ALL.into_iter().filter_map(|field| rule.pattern(field)).chain(rule.tag());
    for placeholder in fields.flat_map(Pattern::placeholders) {
        match placeholder {
            Placeholder::Label(label) => {
                let values = wanted.entry(label.clone()).or_default();
                if values.is_empty() {
                    values.insert(SOME_VALUE.to_owned());
                }
            }
            Placeholder::Value(_) | Placeholder::Capture(..) => {}
        }
    }
    wanted
}

/// An account that is not listed, and that a pattern matches, if there is one; any where there is no pattern.
pub(super) fn somebody<'l>(
    pattern: Option<&Pattern>,
    listed: impl Iterator<Item = &'l str> + Clone,
    still: &dyn Fn() -> bool,
) -> String {
    let is_listed = |name: &str| listed.clone().any(|own| own == name);
    let Some(pattern) = pattern else {
        let more = (2..).map(|number| format!("{SOMEBODY}{number}"));
        let mut names = std::iter::once(SOMEBODY.to_owned()).chain(more);
        return names.find(|name| !is_listed(name)).unwrap_or_else(|| SOMEBODY.to_owned());
    };
    let first = shortest(pattern, still);
    if pattern.literal().is_some() || !is_listed(&first) {
        return first;
    }
    let source = at_most(pattern);
    let taken: Vec<String> = listed.map(regex_syntax::escape).collect();
    let mut found = None;
    // Where there is none, the one that is listed is passed over.
    let _ = walk(Grammar::Text, Some(&[&source]), &[&taken.join("|")], still, &mut |met| {
        let text = Some(met.text()).filter(|_| met.matched.is_empty());
        found = text.filter(|text| pattern.matches_alone(text).unwrap_or(false));
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    found.unwrap_or(first)
}

/// A text that a pattern matches.
pub(super) fn shortest(pattern: &Pattern, still: &dyn Fn() -> bool) -> String {
    if let Some(text) = pattern.literal() {
        return text.to_owned();
    }
    if pattern.matches_alone(SOME_VALUE).unwrap_or(false) {
        return SOME_VALUE.to_owned();
    }
    let source = at_most(pattern);
    let mut found = None;
    // Where nothing was found, it is a value that will not do, and is confirmed by nobody.
    let _ = walk(Grammar::Text, Some(&[&source]), &[&source], still, &mut |met| {
        found = Some(met.text());
        ControlFlow::Break(())
    });
    found.unwrap_or_else(|| SOME_VALUE.to_owned())
}
