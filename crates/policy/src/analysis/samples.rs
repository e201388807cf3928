//! Names made of what an account has, for rules that hold it against a piece of the name: no walk through all names meets them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use regex_syntax::hir::{Hir, HirKind, Repetition};

use super::Place;
use crate::pattern::{Bindings, Field, FieldValues, LabelValue, LabelValues, Pattern, Placeholder};
use crate::regular::{DEEPEST, Grammar, walk};
use crate::rule::Rule;

/// So many names are made for an account and a rule.
const MOST_NAMES: usize = 32;
/// So many expressions are walked through, each a few hundred steps.
const MOST_WALKS: usize = 2_000;

/// A piece of a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Whole,
    Group(usize),
}

/// Names that were made, each looked for once.
#[derive(Default)]
pub(super) struct Samples {
    /// A shortest name for each expression that was made of what an account has.
    known: HashMap<(Grammar, String, Option<String>), Option<String>>,
}

impl Samples {
    /// Names that a rule could match for an account, with any of these labels; with `within`, such as this expression matches too.
    pub(super) fn names<'l>(
        &mut self,
        rule: &Rule,
        (account, labels): (&str, impl IntoIterator<Item = &'l LabelValues>),
        (place, within): (&Place, Option<&str>),
        still: &dyn Fn() -> bool,
    ) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for labels in labels {
            let mut pieces = pieces(rule, account, labels);
            // Whatever the whole name is held against is one.
            names.extend(pieces.remove(&Piece::Whole).unwrap_or_default());
            let Some(pattern) = rule.pattern(Field::Name).filter(|_| !pieces.is_empty()) else { continue };
            let values = FieldValues { account, kind: &place.kind, name: "", service: &place.service };
            let is_open = |placeholder: &Placeholder| match placeholder {
                Placeholder::Value(Field::Name) | Placeholder::Capture(..) => true,
                Placeholder::Value(Field::Account | Field::Type | Field::Service) | Placeholder::Label(_) => false,
            };
            let language = pattern.language(&Bindings::new(values, labels), &is_open);
            let grammar = Grammar::of_names(&place.kind);
            for filled in with_groups(language.source(), pattern.groups().unwrap_or_default(), &pieces) {
                names.extend(self.shortest((grammar, filled, within.map(str::to_owned)), still));
            }
        }
        names
    }

    /// A shortest name that the expression matches, and the other one too where there is one.
    fn shortest(&mut self, key: (Grammar, String, Option<String>), still: &dyn Fn() -> bool) -> Option<String> {
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        if self.known.len() >= MOST_WALKS {
            return None;
        }
        let mut shortest = None;
        // Where nothing was found, there is no name to ask about: the rule is told as undecided.
        let (grammar, source, within) = &key;
        let _ = walk(*grammar, Some(&[source]), &[within.as_ref().unwrap_or(source)], still, &mut |met| {
            shortest = (!met.matched.is_empty()).then(|| met.text());
            if shortest.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.known.insert(key, shortest.clone());
        shortest
    }
}

/// What pieces of the name would have to be for this account: by the fields that the rule holds against them.
fn pieces(rule: &Rule, account: &str, labels: &LabelValues) -> BTreeMap<Piece, BTreeSet<String>> {
    let of_account = rule.pattern(Field::Account).map(|pattern| (pattern, vec![account]));
    let of_labels = rule.label_patterns().iter().map(|(label, pattern)| {
        let values = labels.get(label).map(Vec::as_slice).unwrap_or_default();
        (pattern, values.iter().map(LabelValue::text).collect::<Vec<_>>())
    });
    let mut pieces: BTreeMap<Piece, BTreeSet<String>> = BTreeMap::new();
    for (pattern, texts) in of_account.into_iter().chain(of_labels) {
        for placeholder in pattern.placeholders() {
            let piece = match placeholder {
                Placeholder::Value(Field::Name) => Piece::Whole,
                Placeholder::Capture(Field::Name, group) => Piece::Group(*group),
                Placeholder::Value(Field::Account | Field::Type | Field::Service)
                | Placeholder::Capture(Field::Account | Field::Type | Field::Service, _)
                | Placeholder::Label(_) => continue,
            };
            let filled = texts.iter().map(|text| inside(pattern, placeholder, text).to_owned());
            pieces.entry(piece).or_default().extend(filled.take(MOST_NAMES));
        }
    }
    pieces
}

/// What a placeholder stands for where its pattern is to match a text: all of it, but for what stands before and behind.
fn inside<'t>(pattern: &Pattern, placeholder: &Placeholder, text: &'t str) -> &'t str {
    let Some((before, behind)) = pattern.text().split_once(&placeholder.to_string()) else { return text };
    text.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind)).unwrap_or(text)
}

/// An expression with what stands in its groups in place of them, for some of the choices that there are. Where the expression is written
/// several times, so are its groups.
fn with_groups(source: &str, groups: usize, pieces: &BTreeMap<Piece, BTreeSet<String>>) -> Vec<String> {
    let mut chosen: Vec<BTreeMap<usize, &str>> = vec![BTreeMap::new()];
    for (piece, texts) in pieces {
        let Piece::Group(group) = piece else { continue };
        let more = chosen.iter().flat_map(|known| {
            texts.iter().map(move |text| {
                let mut more = known.clone();
                more.insert(*group, text.as_str());
                more
            })
        });
        chosen = more.take(MOST_NAMES).collect();
    }
    chosen.retain(|texts| !texts.is_empty());
    let parsed = regex_syntax::ParserBuilder::new().nest_limit(DEEPEST).build().parse(source);
    let Some(expression) = parsed.ok().filter(|_| groups > 0) else { return Vec::new() };
    chosen.iter().map(|texts| filled(&expression, groups, texts).to_string()).collect()
}

fn filled(expression: &Hir, groups: usize, texts: &BTreeMap<usize, &str>) -> Hir {
    let all = |parts: &[Hir]| parts.iter().map(|part| filled(part, groups, texts)).collect::<Vec<_>>();
    match expression.kind() {
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => expression.clone(),
        HirKind::Repetition(Repetition { min, max, greedy, sub }) => {
            let sub = Box::new(filled(sub, groups, texts));
            Hir::repetition(Repetition { min: *min, max: *max, greedy: *greedy, sub })
        }
        HirKind::Capture(group) => {
            let index = usize::try_from(group.index).unwrap_or_default();
            // Counted from 1, and again for each time that the expression is written.
            let own = index.checked_sub(1).and_then(|index| index.checked_rem(groups)).map(|index| index + 1);
            match own.and_then(|own| texts.get(&own)) {
                Some(text) => Hir::literal(text.as_bytes()),
                None => filled(&group.sub, groups, texts),
            }
        }
        HirKind::Alternation(parts) => Hir::alternation(all(parts)),
        HirKind::Concat(parts) => Hir::concat(all(parts)),
    }
}
