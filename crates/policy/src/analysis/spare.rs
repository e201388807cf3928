//! Rules that a list could do without, whoever may ask: what they match is decided alike without them.
//!
//! Told only where it is proved: a rule that is not told may be spare all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use ipnet::IpNet;
use time::OffsetDateTime;

use super::aligned::{Reaches, key_beside_texts};
use super::decider::decides_for;
use super::places::patterns_of;
use crate::acl::Acl;
use crate::pattern::{ANYTHING, Bindings, Field, FieldValues, LabelValues, Pattern, Placeholder};
use crate::regular::{Grammar, walk};
use crate::rule::{Grants, ReferenceKind, Rule};
use crate::scope::OURS;

/// So many rules are held against one together.
const MOST_TOGETHER: usize = 64;

/// Why a list could do without a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spare {
    /// It ended.
    Past,
    /// These rules above it match all that it does.
    NeverDecides(BTreeSet<usize>),
    /// Without it, this one decides alike.
    DecidedAlike(usize),
    /// It refuses what no rule grants.
    RefusesAnyway,
}

/// What decides after the last rule of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing: what no rule matches is refused.
    Refusal,
    /// Other rules, or somebody else.
    Others,
}

/// The rules that a list could do without, all of them together, with the reason; none any more when the time is over.
pub fn spare(acl: &Acl, after: After, from: OffsetDateTime, still: &dyn Fn() -> bool) -> Vec<(usize, Spare)> {
    let rules = acl.rules();
    let reaches = Reaches::new(rules);
    let mut gone: BTreeSet<usize> = BTreeSet::new();
    let mut found = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        if !still() {
            break;
        }
        let near = reaches.near(number);
        let above = || near.iter().copied().filter(|other| *other < number && !gone.contains(other)).collect();
        let below = near.iter().copied().filter(|other| *other > number);
        let past = rule.window().1.is_some_and(|end| end <= from);
        let why = if past {
            Some(Spare::Past)
        } else if let Some(by) = hidden(acl, number, &above, from, still) {
            Some(Spare::NeverDecides(by))
        } else {
            alike(rules, below, rule, (after, from), still)
        };
        if let Some(why) = why {
            gone.insert(number);
            found.push((number, why));
        }
    }
    found
}

/// The rules that decide nothing, each with those above it that match all that it does, as long as there is time.
pub fn shadowed(acl: &Acl, from: OffsetDateTime, still: &dyn Fn() -> bool) -> BTreeMap<usize, BTreeSet<usize>> {
    let reaches = Reaches::new(acl.rules());
    (0..acl.rules().len())
        .take_while(|_| still())
        .filter_map(|number| {
            let above = || reaches.near(number).into_iter().take_while(|above| *above < number).collect();
            Some((number, hidden(acl, number, &above, from, still)?))
        })
        .collect()
}

/// Neighbours that differ in one condition only, which could be one rule: the two and what they differ in.
pub fn mergeable(acl: &Acl) -> Vec<(usize, Field)> {
    let texts = |rule: &Rule| Field::ALL.map(|field| rule.pattern(field).map(|pattern| pattern.text().to_owned()));
    let mut found = Vec::new();
    for (number, pair) in acl.rules().windows(2).enumerate() {
        let [one, other] = pair else { continue };
        let (mine, theirs) = (texts(one), texts(other));
        let different: Vec<Field> = (Field::ALL.into_iter().zip(mine.iter().zip(&theirs)))
            .filter(|(_, (mine, theirs))| mine != theirs)
            .map(|(field, _)| field)
            .collect();
        if let [field] = different.as_slice()
            && [one, other]
                .into_iter()
                .all(|rule| rule.pattern(*field).is_some_and(|own| own.placeholders().next().is_none()))
            // Of two expressions that become one, the groups of one are counted on behind those of the other.
            && ![one, other].into_iter().any(|rule| takes_groups_of(rule, *field))
            && key_beside_texts(one) == key_beside_texts(other)
        {
            found.push((number, *field));
        }
    }
    found
}

/// Whether a rule takes what the expression of this field catches.
fn takes_groups_of(rule: &Rule, field: Field) -> bool {
    patterns_of(rule).flat_map(Pattern::placeholders).any(|placeholder| match placeholder {
        Placeholder::Capture(of, _) => *of == field,
        Placeholder::Value(_) | Placeholder::Label(_) => false,
    })
}

/// The rules that match all that a rule does, of those above it: one, or several together.
fn hidden(
    acl: &Acl,
    number: usize,
    above: &dyn Fn() -> Vec<usize>,
    from: OffsetDateTime,
    still: &dyn Fn() -> bool,
) -> Option<BTreeSet<usize>> {
    let rules = acl.rules();
    let rule = rules.get(number)?;
    let first = decides_for(acl, number, from);
    if first == Some(number) {
        return None;
    }
    let above = above();
    let names = Beside::Field(Field::Name);
    let is_alone = |above: &Rule| includes(above, rule, Field::Name, names_of(rule), still);
    // None before the first that matches one question of the rule matches all of them.
    if let Some(first) = first.filter(|first| above.contains(first))
        && let Some(likely) = rules.get(first)
        && covers(likely, rule, names, from, still)
        && is_alone(likely)
    {
        return Some(BTreeSet::from([first]));
    }
    let above: Vec<(usize, &Rule)> =
        above.into_iter().filter_map(|number| Some((number, rules.get(number)?))).collect();
    let wide = |beside: Beside| -> Vec<(usize, &Rule)> {
        let candidates = above.iter().copied().filter(|(_, above)| beside.is_told_by(above));
        candidates.filter(|(_, above)| covers(above, rule, beside, from, still)).take(MOST_TOGETHER).collect()
    };
    let by_name: Vec<(usize, &Rule)> = above
        .iter()
        .copied()
        .filter(|(_, above)| covers(above, rule, names, from, still))
        .take(MOST_TOGETHER)
        .collect();
    if let Some((number, _)) = by_name.iter().find(|(_, above)| is_alone(above)) {
        return Some(BTreeSet::from([*number]));
    }
    // One text is taken by one of them or by none.
    let fields = Field::ALL.into_iter().filter(|field| rule.pattern(*field).and_then(Pattern::literal).is_none());
    let by_fields = fields.map(|field| match field {
        Field::Name => together(rule, field, &by_name, still),
        Field::Account | Field::Type | Field::Service => together(rule, field, &wide(Beside::Field(field)), still),
    });
    by_fields.flatten().next().or_else(|| {
        let own = rule.network()?;
        let parts = wide(Beside::Network);
        let parts: Vec<(usize, IpNet)> =
            parts.into_iter().filter_map(|(number, above)| Some((number, *above.network()?))).collect();
        let whole = IpNet::aggregate(&parts.iter().map(|(_, network)| *network).collect());
        let needed = parts.iter().filter(|(_, part)| own.contains(part)).map(|(number, _)| *number);
        whole.iter().any(|whole| whole.contains(own)).then(|| needed.collect())
    })
}

/// The rules of which one or another takes each text that a rule takes in this field, where several do together.
fn together(rule: &Rule, field: Field, wide: &[(usize, &Rule)], still: &dyn Fn() -> bool) -> Option<BTreeSet<usize>> {
    let grammar = match field {
        Field::Account | Field::Service => Grammar::Any,
        Field::Type => Grammar::Type,
        Field::Name => names_of(rule),
    };
    let own = rule.pattern(field).map_or_else(|| ANYTHING.to_owned(), at_most);
    let exact = wide.iter().filter_map(|(number, above)| Some((*number, exactly(above.pattern(field)?)?)));
    let exact: Vec<(usize, String)> = exact.collect();
    if exact.len() < 2 {
        return None;
    }
    let sources: Vec<&str> = exact.iter().map(|(_, source)| source.as_str()).collect();
    let mut by: Option<BTreeSet<usize>> = Some(BTreeSet::new());
    let ended = walk(grammar, Some(&[&own]), &sources, still, &mut |met| {
        match met.matched.first().and_then(|first| exact.get(*first)) {
            Some((number, _)) => _ = by.as_mut().map(|by| by.insert(*number)),
            None => by = None,
        }
        if by.is_none() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    by.filter(|_| ended.is_ok())
}

/// The condition that several rules meet together, beside which each of them matches all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Field(Field),
    Network,
}

impl Beside {
    /// Whether a rule has that condition.
    fn is_told_by(self, rule: &Rule) -> bool {
        match self {
            Beside::Field(field) => rule.pattern(field).is_some(),
            Beside::Network => rule.network().is_some(),
        }
    }
}

/// The rule below that decides all that a rule does, and alike, or the refusal at the end.
fn alike(
    rules: &[Rule],
    below: impl Iterator<Item = usize>,
    rule: &Rule,
    (after, from): (After, OffsetDateTime),
    still: &dyn Fn() -> bool,
) -> Option<Spare> {
    for number in below {
        let other = rules.get(number)?;
        let same = other.grants() == rule.grants();
        if !same && !is_disjoint(other, rule, still) {
            return None;
        }
        if same
            && covers(other, rule, Beside::Field(Field::Name), from, still)
            && includes(other, rule, Field::Name, names_of(rule), still)
        {
            return Some(Spare::DecidedAlike(number));
        }
    }
    let refuses = matches!(rule.grants(), Grants::Listed(listed) if listed.is_empty());
    (refuses && after == After::Refusal).then_some(Spare::RefusesAnyway)
}

/// Whether `one` matches all that `other` does, but for this condition.
fn covers(one: &Rule, other: &Rule, beside: Beside, from: OffsetDateTime, still: &dyn Fn() -> bool) -> bool {
    let in_time = {
        let ((begins, ends), (other_begins, other_ends)) = (one.window(), other.window());
        let earliest = other_begins.map_or(from, |begins| begins.max(from));
        begins.is_none_or(|begins| begins <= earliest)
            && ends.is_none_or(|ends| other_ends.is_some_and(|other_ends| ends >= other_ends))
    };
    let from_there = match (one.network(), other.network()) {
        _ if beside == Beside::Network => true,
        (None, _) => true,
        (Some(wide), Some(narrow)) => wide.contains(narrow),
        (Some(_), None) => false,
    };
    let right_kind = match (one.reference(), other.reference(), other.tag()) {
        (None, _, _) | (Some(ReferenceKind::Tag), _, Some(_)) => true,
        (Some(kind), other, _) => other == Some(kind),
    };
    let right_tag = match (one.tag(), other.tag()) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => pattern_includes(wide, narrow, (one, other), Grammar::Tag, still),
        (Some(_), None) => false,
    };
    let labels = |(label, wide): &(String, Pattern)| {
        let own = other.label_patterns().iter().find(|(own, _)| own == label);
        own.is_some_and(|(_, narrow)| pattern_includes(wide, narrow, (one, other), Grammar::Any, still))
    };
    let takes = |field, grammar| beside == Beside::Field(field) || includes(one, other, field, grammar, still);
    in_time
        && from_there
        && right_kind
        && right_tag
        && takes(Field::Account, Grammar::Any)
        && takes(Field::Type, Grammar::Type)
        && takes(Field::Service, Grammar::Any)
        && takes(Field::Name, names_of(other))
        && one.label_patterns().iter().all(labels)
}

fn includes(one: &Rule, other: &Rule, field: Field, grammar: Grammar, still: &dyn Fn() -> bool) -> bool {
    match (one.pattern(field), other.pattern(field)) {
        (None, _) => true,
        (Some(wide), Some(narrow)) => pattern_includes(wide, narrow, (one, other), grammar, still),
        (Some(wide), None) => matches_all(wide, grammar, still),
    }
}

/// Whether a pattern matches every text of the grammar.
pub(super) fn matches_all(wide: &Pattern, grammar: Grammar, still: &dyn Fn() -> bool) -> bool {
    // Nearly all patterns leave these out, which are of each grammar, and are done with.
    wide.literal().is_none()
        && ["x", "repository"].iter().all(|text| wide.matches_alone(text).unwrap_or(false))
        && exactly(wide).is_some_and(|all| takes_all(grammar, None, &all, still))
}

/// Whether a pattern matches every text of the grammar that this expression does.
pub(super) fn takes_all_of(wide: &Pattern, grammar: Grammar, within: &str, still: &dyn Fn() -> bool) -> bool {
    exactly(wide).is_some_and(|all| takes_all(grammar, Some(&[within]), &all, still))
}

/// Whether every text of the grammar that matches what is `within` matches `all`.
fn takes_all(grammar: Grammar, within: Option<&[&str]>, all: &str, still: &dyn Fn() -> bool) -> bool {
    let mut left_out = false;
    let ended = walk(grammar, within, &[all], still, &mut |met| {
        left_out = met.matched.is_empty();
        if left_out { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    ended.is_ok() && !left_out
}

/// Whether the first pattern matches every text of the grammar that the second does.
fn pattern_includes(
    wide: &Pattern,
    narrow: &Pattern,
    (one, other): (&Rule, &Rule),
    grammar: Grammar,
    still: &dyn Fn() -> bool,
) -> bool {
    if wide.text() == narrow.text() {
        // The same text means the same, unless it speaks of groups of different expressions.
        return wide.placeholders().all(|placeholder| match placeholder {
            Placeholder::Capture(..) => Field::ALL
                .into_iter()
                .all(|field| one.pattern(field).map(Pattern::text) == other.pattern(field).map(Pattern::text)),
            Placeholder::Value(_) | Placeholder::Label(_) => true,
        });
    }
    let Some(all) = exactly(wide) else { return false };
    if let Some(text) = narrow.literal() {
        return wide.matches_alone(text).unwrap_or(false);
    }
    takes_all(grammar, Some(&[&at_most(narrow)]), &all, still)
}

/// Whether no question is matched by both.
fn is_disjoint(one: &Rule, other: &Rule, still: &dyn Fn() -> bool) -> bool {
    let networks = match (one.network(), other.network()) {
        (Some(one), Some(other)) => !one.contains(other) && !other.contains(one),
        (Some(_), None) | (None, Some(_)) | (None, None) => false,
    };
    let windows = |(begins, _): (Option<OffsetDateTime>, _), (_, ends): (_, Option<OffsetDateTime>)| {
        begins.zip(ends).is_some_and(|(begins, ends)| ends <= begins)
    };
    let fields = [
        (Field::Account, Grammar::Any),
        (Field::Type, Grammar::Type),
        (Field::Name, names_of(one).max(names_of(other))),
        (Field::Service, Grammar::Any),
    ];
    let nothing_in_both = |(field, grammar): &(Field, Grammar)| {
        let (Some(one), Some(other)) = (one.pattern(*field), other.pattern(*field)) else { return false };
        let mut both = false;
        let ended = walk(*grammar, Some(&[&at_most(one)]), &[&at_most(other)], still, &mut |met| {
            both = !met.matched.is_empty();
            if both { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        ended.is_ok() && !both
    };
    networks
        || windows(one.window(), other.window())
        || windows(other.window(), one.window())
        || fields.iter().any(nothing_in_both)
}

/// What a rule's names are: those of Dockwarden's own wherever they could be meant.
pub(super) fn names_of(rule: &Rule) -> Grammar {
    match rule.pattern(Field::Type).and_then(Pattern::literal) {
        Some(kind) if kind != OURS => Grammar::Name,
        Some(_) | None => Grammar::Ours,
    }
}

/// The texts that a pattern matches whatever its placeholders stand for, and perhaps others.
pub(super) fn at_most(pattern: &Pattern) -> String {
    let nothing = LabelValues::new();
    pattern.language(&Bindings::new(FieldValues::default(), &nothing), &|_| true).source().to_owned()
}

/// The texts that a pattern matches, where that is sure.
fn exactly(pattern: &Pattern) -> Option<String> {
    let nothing = LabelValues::new();
    let language = pattern.language(&Bindings::new(FieldValues::default(), &nothing), &|_| true);
    language.is_exact().then(|| language.source().to_owned())
}
