//! A regular expression with placeholders, held against a text from many places at once: each placeholder stands for
//! any of its values, and nothing is compiled for the values that a request brings.

use std::collections::HashMap;

use regex_syntax::hir::{self, Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind};

use super::bindings::{LabelMeaning, LabelValue};
use crate::glob::{Budget, GlobToken, Positions, Spent, Walk};
use crate::re2::Case;

/// What each piece costs in steps, apart from the positions that it is held against.
const PIECE_STEPS: usize = 4;
/// What it costs to look up how a letter beyond ASCII is written otherwise.
const FOLD_STEPS: usize = 60;

/// A part of an expression.
#[derive(Debug)]
pub(super) enum Fragment {
    /// These bytes.
    Text(Box<[u8]>),
    /// One character of these ranges, which are in order.
    OneOf(Box<[(char, char)]>),
    /// No character, but a condition on the place.
    Assertion(Assertion),
    /// A placeholder, and how its letters compare.
    Slot(usize, Case),
    /// One after the other; none at all is the empty text.
    Sequence(Vec<Fragment>),
    /// One of them.
    Choice(Vec<Fragment>),
    /// The piece so many times.
    Repeat { piece: Box<Fragment>, least: u32, most: Option<u32> },
}

/// A condition on a place in the text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Assertion {
    TextStart,
    TextEnd,
    LineStart,
    LineEnd,
    WordEdge,
    NoWordEdge,
}

/// A group that stands where a placeholder does, by its name.
pub(super) type Slots = HashMap<String, (usize, Case)>;

impl Fragment {
    /// The pieces of an expression in which groups of these names stand for placeholders; `None` where it holds something
    /// that is never written.
    pub(super) fn from_hir(expression: &Hir, slots: &Slots) -> Option<Fragment> {
        Some(match expression.kind() {
            HirKind::Empty => Fragment::Sequence(Vec::new()),
            HirKind::Literal(literal) => Fragment::Text(literal.0.clone()),
            HirKind::Class(Class::Unicode(class)) => {
                Fragment::OneOf(class.iter().map(|range| (range.start(), range.end())).collect())
            }
            HirKind::Class(Class::Bytes(class)) => Fragment::OneOf(
                class.iter().map(|range| (char::from(range.start()), char::from(range.end()))).collect(),
            ),
            HirKind::Look(look) => Fragment::Assertion(Assertion::from_look(*look)?),
            HirKind::Repetition(repetition) => Fragment::Repeat {
                piece: Box::new(Fragment::from_hir(&repetition.sub, slots)?),
                least: repetition.min,
                most: repetition.max,
            },
            HirKind::Capture(capture) => match capture.name.as_ref().and_then(|name| slots.get(name.as_ref())) {
                Some(&(slot, case)) => Fragment::Slot(slot, case),
                None => Fragment::from_hir(&capture.sub, slots)?,
            },
            HirKind::Concat(all) => {
                Fragment::Sequence(all.iter().map(|one| Fragment::from_hir(one, slots)).collect::<Option<_>>()?)
            }
            HirKind::Alternation(all) => {
                Fragment::Choice(all.iter().map(|one| Fragment::from_hir(one, slots)).collect::<Option<_>>()?)
            }
        })
    }
}

impl Assertion {
    fn from_look(look: hir::Look) -> Option<Assertion> {
        match look {
            hir::Look::Start => Some(Assertion::TextStart),
            hir::Look::End => Some(Assertion::TextEnd),
            hir::Look::StartLF => Some(Assertion::LineStart),
            hir::Look::EndLF => Some(Assertion::LineEnd),
            hir::Look::WordAscii => Some(Assertion::WordEdge),
            hir::Look::WordAsciiNegate => Some(Assertion::NoWordEdge),
            // `re2` writes none of the others.
            _ => None,
        }
    }

    fn is_at(self, at: usize, text: &str) -> bool {
        let byte = |at: Option<usize>| at.and_then(|at| text.as_bytes().get(at).copied());
        let (before, after) = (byte(at.checked_sub(1)), byte(Some(at)));
        let in_word = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match self {
            Assertion::TextStart => before.is_none(),
            Assertion::TextEnd => after.is_none(),
            Assertion::LineStart => before.is_none_or(|byte| byte == b'\n'),
            Assertion::LineEnd => after.is_none_or(|byte| byte == b'\n'),
            Assertion::WordEdge => in_word(before) != in_word(after),
            Assertion::NoWordEdge => in_word(before) == in_word(after),
        }
    }
}

/// One thing that could stand in a placeholder.
#[derive(Clone, Copy)]
pub(super) enum Candidate<'a> {
    /// This text and no other.
    Exactly(&'a str),
    /// What this glob matches.
    Wildcards(&'a [GlobToken]),
}

impl<'a> From<&'a LabelValue> for Candidate<'a> {
    fn from(value: &'a LabelValue) -> Candidate<'a> {
        match &value.meaning {
            LabelMeaning::Exactly(text) => Candidate::Exactly(text),
            LabelMeaning::Wildcards(tokens) => Candidate::Wildcards(tokens),
        }
    }
}

/// One expression held against one text.
pub(super) struct Comparison<'c, 'a> {
    pub(super) walk: Walk<'c>,
    /// What could stand in each placeholder.
    pub(super) candidates: &'c [Vec<Candidate<'a>>],
    /// The one that a placeholder is settled on.
    pub(super) settled: Vec<Option<usize>>,
    pub(super) budget: &'c mut Budget,
}

impl<'a> Comparison<'_, 'a> {
    /// Settles these placeholders on the first of their combinations with which any part of the text matches, the last one's
    /// value changing first. False where no combination does.
    ///
    /// A value that leads nowhere, whatever the placeholders after it stand for, is left at once: the work grows with
    /// the values that fit and not with all combinations.
    pub(super) fn settle(&mut self, piece: &Fragment, slots: &[usize]) -> Result<bool, Spent> {
        let everywhere = self.walk.everywhere();
        if self.run(piece, &everywhere)?.is_empty() {
            return Ok(false);
        }
        let Some((&slot, others)) = slots.split_first() else { return Ok(true) };
        for value in 0..self.candidates.get(slot).map_or(0, Vec::len) {
            self.settle_on(slot, Some(value));
            if self.settle(piece, others)? {
                return Ok(true);
            }
        }
        self.settle_on(slot, None);
        Ok(false)
    }

    fn settle_on(&mut self, slot: usize, value: Option<usize>) {
        if let Some(settled) = self.settled.get_mut(slot) {
            *settled = value;
        }
    }

    fn candidates(&self, slot: usize) -> &[Candidate<'a>] {
        still_possible(self.candidates, &self.settled, slot)
    }

    /// Where the piece leads to from these positions.
    fn run(&mut self, piece: &Fragment, from: &Positions) -> Result<Positions, Spent> {
        let text = self.walk.name();
        self.budget.spend(PIECE_STEPS + text.len() / 64)?;
        let mut to = Positions::none(text.len());
        match piece {
            Fragment::Text(bytes) => self.walk.text(bytes, from, &mut to, self.budget)?,
            Fragment::OneOf(ranges) => self.walk.char(|c| holds(ranges, c), from, &mut to, self.budget)?,
            Fragment::Assertion(assertion) => match assertion {
                Assertion::TextStart if from.has(0) => to.add(0),
                Assertion::TextEnd if from.has(text.len()) => to.add(text.len()),
                Assertion::TextStart | Assertion::TextEnd => {}
                Assertion::LineStart | Assertion::LineEnd | Assertion::WordEdge | Assertion::NoWordEdge => {
                    for at in from.iter() {
                        self.budget.spend(1)?;
                        if assertion.is_at(at, text) {
                            to.add(at);
                        }
                    }
                }
            },
            Fragment::Slot(slot, case) => {
                for index in 0..self.candidates(*slot).len() {
                    if let Some(candidate) = self.candidates(*slot).get(index).copied() {
                        self.candidate(candidate, *case, from, &mut to)?;
                    }
                }
            }
            Fragment::Sequence(pieces) => {
                to.add_all(from);
                for piece in pieces {
                    to = self.run(piece, &to)?;
                    if to.is_empty() {
                        break;
                    }
                }
            }
            Fragment::Choice(pieces) => {
                for piece in pieces {
                    let reached = self.run(piece, from)?;
                    to.add_all(&reached);
                }
            }
            Fragment::Repeat { piece, least, most } => return self.repeat(piece, *least, *most, from),
        }
        Ok(to)
    }

    fn repeat(
        &mut self,
        piece: &Fragment,
        least: u32,
        most: Option<u32>,
        from: &Positions,
    ) -> Result<Positions, Spent> {
        let mut reached = from.clone();
        for _ in 0..least {
            let next = self.run(piece, &reached)?;
            // Once more would change nothing any more.
            if next == reached {
                break;
            }
            reached = next;
        }
        if let (Fragment::OneOf(ranges), None) = (piece, most) {
            self.walk.run(|c| holds(ranges, c), &mut reached, self.budget)?;
            return Ok(reached);
        }
        // Only what is new leads on: what was reached before had more repetitions left.
        let mut new = reached.clone();
        let mut left = most.map(|most| most.saturating_sub(least));
        while left != Some(0) && !new.is_empty() {
            new = self.run(piece, &new)?;
            new.remove_all(&reached);
            reached.add_all(&new);
            left = left.map(|left| left - 1);
        }
        Ok(reached)
    }

    fn candidate(
        &mut self,
        candidate: Candidate<'_>,
        case: Case,
        from: &Positions,
        to: &mut Positions,
    ) -> Result<(), Spent> {
        match (candidate, case) {
            (Candidate::Exactly(text), Case::Exact) => self.walk.text(text, from, to, self.budget),
            (Candidate::Exactly(text), Case::Folded) => self.folded_text(text, from, to),
            (Candidate::Wildcards(tokens), Case::Exact) => self.walk.tokens(tokens, from, to, self.budget),
            (Candidate::Wildcards(tokens), Case::Folded) => {
                let mut now = from.clone();
                for token in tokens {
                    let mut next = Positions::none(self.walk.name().len());
                    match token {
                        GlobToken::Text(text) => self.folded_text(text, &now, &mut next)?,
                        GlobToken::Set(set) => {
                            self.budget.spend(now.iter().count() * FOLD_STEPS)?;
                            self.walk.char(|c| set.takes_any(folded(c)), &now, &mut next, self.budget)?;
                        }
                        GlobToken::Run | GlobToken::One | GlobToken::Slot(_) => {
                            self.walk.token(token, &now, &mut next, self.budget)?;
                        }
                    }
                    now = next;
                }
                to.add_all(&now);
                Ok(())
            }
        }
    }

    /// As [`Walk::text`], without regard to case.
    fn folded_text(&mut self, text: &str, from: &Positions, to: &mut Positions) -> Result<(), Spent> {
        'position: for at in from.iter() {
            self.budget.spend(1)?;
            let Some(rest) = self.walk.name().get(at..) else { continue };
            let mut there = rest.chars();
            for wanted in text.chars() {
                let Some(found) = there.next() else { continue 'position };
                self.budget.spend(if wanted.is_ascii() && found.is_ascii() { 1 } else { FOLD_STEPS })?;
                if !is_same_folded(wanted, found) {
                    continue 'position;
                }
            }
            to.add(at + rest.len() - there.as_str().len());
        }
        Ok(())
    }
}

/// What a placeholder may stand for: the one that it is settled on, or any of them.
pub(super) fn still_possible<'c, 'a>(
    candidates: &'c [Vec<Candidate<'a>>],
    settled: &[Option<usize>],
    slot: usize,
) -> &'c [Candidate<'a>] {
    let all = candidates.get(slot).map(Vec::as_slice).unwrap_or_default();
    match settled.get(slot).copied().flatten() {
        Some(one) => all.get(one..=one).unwrap_or_default(),
        None => all,
    }
}

/// Whether one of the ranges, which are in order, holds the character.
fn holds(ranges: &[(char, char)], c: char) -> bool {
    let after = ranges.partition_point(|&(_, high)| high < c);
    ranges.get(after).is_some_and(|&(low, _)| low <= c)
}

/// Whether two characters are the same but for their case, by Unicode's simple folding.
fn is_same_folded(one: char, other: char) -> bool {
    if one.is_ascii() && other.is_ascii() {
        return one.eq_ignore_ascii_case(&other);
    }
    one == other || folded(one).any(|written| written == other)
}

/// The character itself, and the same in another case.
fn folded(c: char) -> impl Iterator<Item = char> {
    let mut class = ClassUnicode::new([ClassUnicodeRange::new(c, c)]);
    // Only without the tables of Unicode could this fail; every expression under `(?i)` was refused then.
    let _ = class.try_case_fold_simple();
    class.ranges().iter().flat_map(|range| range.start()..=range.end()).collect::<Vec<_>>().into_iter()
}
