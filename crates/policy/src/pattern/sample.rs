//! One text that a pattern matches, found without a walk through all texts.

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

use super::bindings::Placeholder;
use super::expression::{Form, parse};
use super::{Body, Pattern};
use crate::glob::{GlobToken, Sense, Set};
use crate::re2::Segment;

/// The letters that stand where one of several may, the first that may: names have them.
const LETTERS: [char; 5] = ['x', 'a', '0', 'A', '-'];
/// Stands where an expression says that the text ends. No name has it.
const END: char = '\0';
/// Longer samples are not made, in bytes.
const LONGEST: usize = 256;

impl Pattern {
    /// One text that the pattern matches; `value_of` says what a placeholder stands for. `None` where none is quickly found.
    /// To hold it against the pattern would compile that, which most are not for hours.
    pub(crate) fn sample(&self, value_of: &dyn Fn(&Placeholder) -> Option<String>) -> Option<String> {
        let mut sample = String::new();
        match &self.body {
            Body::Literal(text) => sample.push_str(text),
            Body::Glob(tokens) | Body::GlobTemplate(tokens) => {
                for token in tokens {
                    match token {
                        GlobToken::Text(text) => sample.push_str(text),
                        GlobToken::Run | GlobToken::One => sample.push('x'),
                        GlobToken::Set(set) => sample.push(letter_of(set)?),
                        GlobToken::Slot(slot) => {
                            sample.push_str(&value_of(&self.template.slots.get(*slot)?.placeholder)?);
                        }
                    }
                }
            }
            Body::Regex(expression) => match expression.form() {
                Form::Plain { source, shape: _, compiled: _ } => sample = of_expression(source)?,
                Form::Template { piece: _, segments } => {
                    let mut source = String::new();
                    for segment in segments {
                        match segment {
                            Segment::Text(text) => source.push_str(text),
                            Segment::Slot { slot, case: _ } => {
                                let value = value_of(&self.template.slots.get(*slot)?.placeholder)?;
                                source.push_str(&format!("(?:{})", regex_syntax::escape(&value)));
                            }
                        }
                    }
                    sample = of_expression(&source)?;
                }
            },
        }
        (sample.len() <= LONGEST).then_some(sample)
    }
}

/// A text that an expression matches.
fn of_expression(source: &str) -> Option<String> {
    let mut sample = String::new();
    push_sample(&mut sample, &parse(source).ok()?)?;
    // What marks the end is left out where it stands there.
    let text = sample.strip_suffix(END).unwrap_or(&sample);
    (!text.contains(END)).then(|| text.to_owned())
}

/// Adds a text that an expression matches.
fn push_sample(sample: &mut String, expression: &Hir) -> Option<()> {
    if sample.len() > LONGEST {
        return None;
    }
    match expression.kind() {
        HirKind::Empty => {}
        HirKind::Look(Look::Start) if sample.is_empty() => {}
        HirKind::Look(Look::End) => sample.push(END),
        HirKind::Look(_) => return None,
        HirKind::Literal(text) => sample.push_str(std::str::from_utf8(&text.0).ok()?),
        HirKind::Class(Class::Unicode(class)) => {
            let takes = |letter: &char| class.iter().any(|range| (range.start()..=range.end()).contains(letter));
            let first = || class.iter().next().map(|range| range.start());
            sample.push(LETTERS.into_iter().find(takes).or_else(first)?);
        }
        HirKind::Class(Class::Bytes(_)) => return None,
        HirKind::Repetition(Repetition { min, max, greedy: _, sub }) => {
            for _ in 0..(*min).max(1).min(max.unwrap_or(u32::MAX)) {
                push_sample(sample, sub)?;
            }
        }
        HirKind::Capture(group) => push_sample(sample, &group.sub)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| push_sample(sample, part))?,
        HirKind::Alternation(parts) => push_sample(sample, parts.first()?)?,
    }
    Some(())
}

/// A letter that a set takes.
fn letter_of(set: &Set) -> Option<char> {
    let first = || match set.sense {
        Sense::Takes => set.ranges.first().map(|(low, _)| *low),
        Sense::Leaves => None,
    };
    LETTERS.into_iter().find(|letter| set.takes(*letter)).or_else(first)
}
