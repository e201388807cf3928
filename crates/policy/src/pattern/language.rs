//! The texts that a pattern matches once its placeholders are filled in, as an expression for whole texts.

use super::bindings::{Bindings, Field, Filling, LabelMeaning, LabelValue, Placeholder};
use super::expression::Form;
use super::template::Slot;
use super::{Body, Pattern};
use crate::glob::{GlobToken, Set};
use crate::re2::{self, Case, Segment};

/// So many combinations of values are written out for placeholders that stand for the same value in several places.
const MOST_COMBINATIONS: usize = 256;
/// Longer expressions are not written, in bytes.
const LONGEST: usize = 4 << 20;
/// Any text.
pub(crate) const ANYTHING: &str = "(?s:.)*";

/// The texts that a pattern matches, in the syntax of the `regex` crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Language {
    /// These.
    Exactly(String),
    /// No others than these: which of them depends on what is not known here.
    AtMost(String),
    /// None at all.
    Nothing,
}

impl Language {
    pub(crate) fn source(&self) -> &str {
        match self {
            Language::Exactly(source) | Language::AtMost(source) => source,
            Language::Nothing => re2::NEVER,
        }
    }

    pub(crate) fn is_exact(&self) -> bool {
        match self {
            Language::Exactly(_) | Language::Nothing => true,
            Language::AtMost(_) => false,
        }
    }
}

/// One piece of a pattern as it is written.
enum Piece<'p> {
    Text(String),
    Slot(usize, Case),
    Token(&'p GlobToken),
}

impl Pattern {
    /// The texts that the pattern matches with these values, whatever the resource is called: a placeholder that is filled from the name, or
    /// from something that `is_open` names, could be any text.
    pub(crate) fn language(&self, bindings: &Bindings<'_>, is_open: &dyn Fn(&Placeholder) -> bool) -> Language {
        let (pieces, whole) = match &self.body {
            Body::Literal(text) => return Language::Exactly(regex_syntax::escape(text)),
            Body::Glob(tokens) => {
                let mut source = String::new();
                re2::push_glob(&mut source, tokens);
                return match settles_early(tokens) {
                    true => Language::AtMost(source),
                    false => Language::Exactly(source),
                };
            }
            Body::GlobTemplate(tokens) => (tokens.iter().map(Piece::from_token).collect::<Vec<_>>(), true),
            Body::Regex(expression) => match expression.form() {
                Form::Plain { source, compiled: _, shape: _ } => {
                    return Language::Exactly(format!("{ANYTHING}(?:{source}){ANYTHING}"));
                }
                Form::Template { piece: _, segments } => (segments.iter().map(Piece::from_segment).collect(), false),
            },
        };
        let fillings = self.template.fillings(bindings);
        let lacks = |(slot, filling): (&Slot, &Filling<'_>)| match filling {
            Filling::Nothing => !is_open(&slot.placeholder),
            Filling::Text(_) | Filling::AnyOf(_) => false,
        };
        if whole && self.template.slots.iter().zip(&fillings).any(lacks) {
            return Language::Nothing;
        }
        let open: Vec<bool> = self.template.slots.iter().map(|slot| is_open(&slot.placeholder)).collect();
        let mut combinations: Vec<Vec<Option<usize>>> = vec![vec![None; fillings.len()]];
        let mut exact = !open.contains(&true);
        for (index, slot) in self.template.slots.iter().enumerate() {
            let several = match fillings.get(index) {
                Some(Filling::AnyOf(values)) if slot.uses > 1 => values.len(),
                Some(Filling::AnyOf(_) | Filling::Text(_) | Filling::Nothing) | None => continue,
            };
            if combinations.len().saturating_mul(several) > MOST_COMBINATIONS {
                exact = false;
                continue;
            }
            combinations = combinations
                .into_iter()
                .flat_map(|known| {
                    (0..several).map(move |value| {
                        let mut more = known.clone();
                        if let Some(chosen) = more.get_mut(index) {
                            *chosen = Some(value);
                        }
                        more
                    })
                })
                .collect();
        }
        let mut source = String::new();
        for (number, combination) in combinations.iter().enumerate() {
            if number > 0 {
                source.push('|');
            }
            let mut one = String::new();
            for piece in &pieces {
                match piece {
                    Piece::Text(text) => one.push_str(text),
                    Piece::Token(token) => re2::push_glob(&mut one, std::slice::from_ref(*token)),
                    Piece::Slot(slot, _) if open.get(*slot) == Some(&true) => one.push_str(&format!("(?:{ANYTHING})")),
                    Piece::Slot(slot, case) => {
                        let filling = fillings.get(*slot).copied().unwrap_or(Filling::Nothing);
                        push_filling(&mut one, filling, combination.get(*slot).copied().flatten(), *case);
                    }
                }
                if source.len() + one.len() > LONGEST {
                    return Language::AtMost(ANYTHING.to_owned());
                }
            }
            match whole {
                true => source.push_str(&format!("(?:{one})")),
                false => source.push_str(&format!("{ANYTHING}(?:{one}){ANYTHING}")),
            }
        }
        match exact {
            true => Language::Exactly(source),
            false => Language::AtMost(source),
        }
    }

    /// Whether the pattern speaks of this field of the question.
    pub(crate) fn mentions(&self, wanted: Field) -> bool {
        self.placeholders().any(|placeholder| match placeholder {
            Placeholder::Value(field) | Placeholder::Capture(field, _) => *field == wanted,
            Placeholder::Label(_) => false,
        })
    }
}

impl<'p> Piece<'p> {
    fn from_token(token: &'p GlobToken) -> Piece<'p> {
        match token {
            GlobToken::Slot(slot) => Piece::Slot(*slot, Case::Exact),
            GlobToken::Text(_) | GlobToken::Run | GlobToken::One | GlobToken::Set(_) => Piece::Token(token),
        }
    }

    fn from_segment(segment: &'p Segment) -> Piece<'p> {
        match segment {
            Segment::Text(text) => Piece::Text(text.clone()),
            Segment::Slot { slot, case } => Piece::Slot(*slot, *case),
        }
    }
}

/// A group that takes what a placeholder stands for, or nothing at all where that is nothing.
fn push_filling(out: &mut String, filling: Filling<'_>, chosen: Option<usize>, case: Case) {
    out.push_str(match case {
        Case::Exact => "(?:",
        Case::Folded => "(?i:",
    });
    match filling {
        Filling::Nothing => out.push_str(re2::NEVER),
        Filling::Text(text) => out.push_str(&regex_syntax::escape(text)),
        Filling::AnyOf(values) => {
            let values: &[LabelValue] = match chosen {
                Some(one) => values.get(one..=one).unwrap_or_default(),
                None => values,
            };
            if values.is_empty() {
                out.push_str(re2::NEVER);
            }
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push('|');
                }
                match &value.meaning {
                    LabelMeaning::Exactly(text) => out.push_str(&regex_syntax::escape(text)),
                    LabelMeaning::Wildcards(tokens) => re2::push_glob(out, tokens),
                }
            }
        }
    }
    out.push(')');
}

/// Whether a glob without placeholders could take less than its steps say: the first fit after a `*` is final, which
/// shows where a set that takes a slash stands between two of them (see `glob::matches`).
fn settles_early(tokens: &[GlobToken]) -> bool {
    let takes_slash = |token: &GlobToken| match token {
        GlobToken::Set(set) => Set::takes(set, '/'),
        GlobToken::Text(_) | GlobToken::Run | GlobToken::One | GlobToken::Slot(_) => false,
    };
    let first = tokens.iter().position(|token| *token == GlobToken::Run);
    let last = tokens.iter().rposition(|token| *token == GlobToken::Run);
    match (first, last) {
        (Some(first), Some(last)) => tokens.get(first..last).is_some_and(|between| between.iter().any(takes_slash)),
        (Some(_), None) | (None, Some(_)) | (None, None) => false,
    }
}

impl Pattern {
    /// What every text that the pattern matches begins with, as far as that is quickly told.
    pub(crate) fn beginning(&self) -> &str {
        match &self.body {
            Body::Literal(text) => text,
            Body::Glob(tokens) | Body::GlobTemplate(tokens) => match tokens.first() {
                Some(GlobToken::Text(text)) => text,
                Some(GlobToken::Run | GlobToken::One | GlobToken::Set(_) | GlobToken::Slot(_)) | None => "",
            },
            Body::Regex(_) => self.expression_beginning(),
        }
    }

    /// The same with placeholders filled in.
    pub(crate) fn beginning_with(&self, bindings: &Bindings<'_>) -> String {
        let tokens = match &self.body {
            Body::Literal(_) | Body::Glob(_) | Body::Regex(_) => return self.beginning().to_owned(),
            Body::GlobTemplate(tokens) => tokens,
        };
        let fillings = self.template.fillings(bindings);
        let text = |token: &GlobToken| match token {
            GlobToken::Text(text) => Some(text.clone()),
            GlobToken::Slot(slot) => match fillings.get(*slot)? {
                Filling::Text(text) => Some((*text).to_owned()),
                Filling::AnyOf(_) | Filling::Nothing => None,
            },
            GlobToken::Run | GlobToken::One | GlobToken::Set(_) => None,
        };
        tokens.iter().map_while(text).collect()
    }

    /// The plain characters after the `^` of an expression that has one, and no choice or flag that could undo it.
    fn expression_beginning(&self) -> &str {
        let inner = self.text.strip_prefix("/^").unwrap_or_default();
        if inner.contains('|') || inner.contains("(?") {
            return "";
        }
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '/' | '-' | '_');
        let length = inner.find(|letter| !plain(letter)).unwrap_or(0);
        // The last one could be optional.
        let whole = match inner.get(length..).and_then(|rest| rest.chars().next()) {
            Some('*' | '?' | '{') => length.saturating_sub(1),
            Some(_) | None => length,
        };
        inner.get(..whole).unwrap_or_default()
    }
}
