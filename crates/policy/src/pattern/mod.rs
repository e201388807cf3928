//! The patterns of access rules: globs and regular expressions, with placeholders for what a request brings.
//!
//! A pattern is compiled once, when the rules are loaded. What a request brings (its account, the labels, what a
//! regular expression caught) is compared as text and never read as syntax: whoever may choose an account name or an
//! attribute in a directory would otherwise write access rules. The one exception is a label value that an
//! administrator wrote, whose wildcards work ([`LabelValue::glob`]).

mod bindings;
mod error;
mod expression;
mod glob_template;
mod language;
mod path;
mod pieces;
mod sample;
mod template;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

pub use self::bindings::{Bindings, Field, FieldValues, LabelValue, LabelValues, Placeholder};
pub use self::error::{PatternError, TooComplex};
pub(crate) use self::language::{ANYTHING, Language};
pub use self::path::PathShape;

use self::bindings::Filling;
use self::expression::Expression;
use self::template::Template;
use super::glob::{self, Budget, Compiling, GlobToken};
use super::re2::Ends;

/// Longest pattern, in bytes.
pub const PATTERN_BYTES: usize = 16 * 1024;
/// Most different placeholders in one pattern.
pub const PATTERN_PLACEHOLDERS: usize = 32;
/// Largest regular expression as written, in bytes of memory once compiled.
pub const REGEX_BYTES: usize = 256 * 1024;
/// The work that matching one pattern by itself may take, outside a request, in steps.
const STEPS: u64 = 4_000_000;

/// The text that a subject must contain for a pattern to match it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needed {
    /// It must be this text.
    Whole(String),
    /// It must contain one of these texts.
    OneOf(Vec<String>),
}

impl Needed {
    /// The texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        match self {
            Needed::Whole(text) => std::slice::from_ref(text),
            Needed::OneOf(texts) => texts.as_slice(),
        }
        .iter()
        .map(String::as_str)
    }
}

/// One field of a rule, compiled.
#[derive(Debug)]
pub struct Pattern {
    text: String,
    template: Template,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// A glob without wildcards or placeholders, as the one text it matches.
    Literal(String),
    /// A glob without placeholders.
    Glob(Vec<GlobToken>),
    GlobTemplate(Vec<GlobToken>),
    /// Shared by all rules that have it.
    Regex(Arc<Expression>),
}

impl Pattern {
    /// Compiles what is written in a rule.
    ///
    /// A text of three bytes or more between slashes is a regular expression, as Go's `regexp` has them, and matches
    /// anywhere in the subject unless it is anchored. Everything else is a glob for the whole subject, as Go's
    /// `path.Match` has them. What is filled in later never changes which of the two it is.
    ///
    /// # Errors
    /// When Go would refuse it, when it is too big, or when a placeholder stands where data would become syntax.
    pub fn compile(text: &str) -> Result<Pattern, PatternError> {
        if text.len() > PATTERN_BYTES {
            return Err(PatternError::TooLong { start: text.chars().take(40).collect(), length: text.len() });
        }
        let regex = if text.len() > 2 { text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')) } else { None };
        let mut template = Template::read(regex.unwrap_or(text));
        if template.slots.len() > PATTERN_PLACEHOLDERS {
            return Err(PatternError::TooManyPlaceholders { text: text.to_owned() });
        }
        let body = match regex {
            Some(inner) => Body::Regex(Expression::shared(text, inner, &mut template)?),
            None => {
                let tokens = glob::parse(text, &template.spans).map_err(|bad| PatternError::glob(text, bad))?;
                match (glob::literal(&tokens), template.slots.is_empty()) {
                    (Some(exact), _) => Body::Literal(exact.to_owned()),
                    (None, true) => Body::Glob(tokens),
                    (None, false) => Body::GlobTemplate(tokens),
                }
            }
        };
        Ok(Pattern { text: text.to_owned(), template, body })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is written as a regular expression.
    #[must_use]
    pub fn is_regex(&self) -> bool {
        match self.body {
            Body::Literal(_) | Body::Glob(_) | Body::GlobTemplate(_) => false,
            Body::Regex(_) => true,
        }
    }

    /// The one text the pattern matches, when it is a glob without wildcards or placeholders: escapes are taken away.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match &self.body {
            Body::Literal(text) => Some(text),
            Body::Glob(_) | Body::GlobTemplate(_) | Body::Regex(_) => None,
        }
    }

    /// The steps of a glob; `None` for a regular expression.
    pub(crate) fn tokens(&self) -> Option<Cow<'_, [GlobToken]>> {
        match &self.body {
            Body::Literal(text) => Some(Cow::Owned(vec![GlobToken::Text(text.clone())])),
            Body::Glob(tokens) | Body::GlobTemplate(tokens) => Some(Cow::Borrowed(tokens)),
            Body::Regex(_) => None,
        }
    }

    /// The text that every matching subject contains, whatever the placeholders stand for; `None` if nothing is known.
    #[must_use]
    pub fn needed(&self) -> Option<Needed> {
        match &self.body {
            Body::Literal(text) => Some(Needed::Whole(text.clone())),
            Body::Glob(tokens) | Body::GlobTemplate(tokens) => {
                let texts = tokens.iter().filter_map(|token| match token {
                    GlobToken::Text(text) => Some(text),
                    GlobToken::Run | GlobToken::One | GlobToken::Set(_) | GlobToken::Slot(_) => None,
                });
                texts.max_by_key(|text| text.len()).map(|text| Needed::OneOf(vec![text.clone()]))
            }
            Body::Regex(expression) if expression.needed.is_empty() => None,
            Body::Regex(expression) => Some(Needed::OneOf(expression.needed.clone())),
        }
    }

    /// Whether the pattern is for whole subjects, or says itself that more may follow. `/^admin$/`, `/.+/` and `/^team-.*/` are
    /// anchored; `/admin/` and `/^admin|root$/` also match inside a longer text without saying so.
    #[must_use]
    pub fn is_anchored(&self) -> bool {
        match &self.body {
            Body::Literal(_) | Body::Glob(_) | Body::GlobTemplate(_) => true,
            Body::Regex(expression) => match expression.ends {
                Ends::Held => true,
                Ends::Loose => false,
            },
        }
    }

    /// The number of capturing groups of a regular expression; `None` for a glob.
    pub fn groups(&self) -> Option<usize> {
        match &self.body {
            Body::Literal(_) | Body::Glob(_) | Body::GlobTemplate(_) => None,
            Body::Regex(expression) => Some(expression.groups),
        }
    }

    /// The different placeholders in the pattern, in the order of their first use.
    pub fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.template.slots.iter().map(|slot| &slot.placeholder)
    }

    /// What it says of the parts of a path, if that is all that it says.
    pub(crate) fn path_shape(&self) -> Option<&PathShape> {
        match &self.body {
            Body::Literal(_) | Body::Glob(_) | Body::GlobTemplate(_) => None,
            Body::Regex(expression) => expression.path_shape(),
        }
    }

    /// The placeholder that is all of it: the pattern matches what that stands for.
    pub(crate) fn only_placeholder(&self) -> Option<&Placeholder> {
        match &self.body {
            Body::GlobTemplate(tokens) => match tokens.as_slice() {
                [GlobToken::Slot(slot)] => self.template.slots.get(*slot).map(|slot| &slot.placeholder),
                _ => None,
            },
            Body::Literal(_) | Body::Glob(_) | Body::Regex(_) => None,
        }
    }

    /// Texts, with one of which every name begins that a glob matches, where everything but the name is as in these values; no text,
    /// where it matches nothing; `None`, where they are not known.
    pub(crate) fn beginnings(&self, values: &FieldValues<'_>, labels: &LabelValues) -> Option<Vec<String>> {
        const MOST: usize = 256;
        let mut all = vec![String::new()];
        for token in self.tokens()?.iter() {
            match token {
                GlobToken::Text(text) => all.iter_mut().for_each(|one| one.push_str(text)),
                GlobToken::Slot(slot) => {
                    let texts: Option<Vec<&str>> = match &self.template.slots.get(*slot)?.placeholder {
                        Placeholder::Value(Field::Name) | Placeholder::Capture(..) => None,
                        Placeholder::Value(field @ (Field::Account | Field::Type | Field::Service)) => {
                            Some(vec![values.get(*field)])
                        }
                        Placeholder::Label(label) => {
                            let values = labels.get(label).map(Vec::as_slice).unwrap_or_default();
                            values.iter().map(LabelValue::exactly).collect()
                        }
                    };
                    let Some(texts) = texts.filter(|texts| texts.len() * all.len() <= MOST) else { break };
                    all = all.iter().flat_map(|one| texts.iter().map(move |text| format!("{one}{text}"))).collect();
                }
                GlobToken::Run | GlobToken::One | GlobToken::Set(_) => break,
            }
        }
        // By the empty text everything begins.
        (!all.iter().any(String::is_empty)).then_some(all)
    }

    /// Text that looks like a placeholder but is not one, such as `${acount}`: it is compared as plain text (in a regular
    /// expression, as Go reads it: the end of the text and then a brace, which matches nothing).
    pub fn unknown_placeholders(&self) -> impl Iterator<Item = &str> {
        self.template.unknown.iter().map(String::as_str)
    }

    /// Whether `subject` matches.
    ///
    /// A placeholder that stands for nothing (a label the account does not have, a group that does not exist) matches
    /// nothing. One that is used twice stands for the same value both times.
    ///
    /// # Errors
    /// When it would take too much work. That is not an answer: the request must fail.
    pub fn matches(&self, subject: &str, bindings: &Bindings<'_>) -> Result<bool, TooComplex> {
        self.matches_within(subject, bindings, &mut Budget::new(STEPS, Compiling::Allowed))
    }

    /// As [`Pattern::matches`] where nothing is known of who asks: whatever stands in a placeholder matches nothing.
    ///
    /// # Errors
    /// As [`Pattern::matches`].
    pub fn matches_alone(&self, subject: &str) -> Result<bool, TooComplex> {
        self.matches(subject, &Bindings::new(FieldValues::default(), &LabelValues::new()))
    }

    /// As [`Pattern::matches`], within this budget.
    ///
    /// # Errors
    /// When the budget is not enough.
    pub fn matches_within(
        &self,
        subject: &str,
        bindings: &Bindings<'_>,
        budget: &mut Budget,
    ) -> Result<bool, TooComplex> {
        match &self.body {
            Body::Literal(text) => Ok(text == subject),
            Body::Glob(tokens) => Ok(glob::matches(tokens, subject)),
            Body::GlobTemplate(tokens) => {
                Ok(glob_template::matches(tokens, &self.template, subject, bindings, budget)?)
            }
            Body::Regex(expression) => expression.matches(&self.template, subject, bindings, budget),
        }
    }

    /// The text that a group of this regular expression captures in `subject`; empty for a group that takes no part in the
    /// match.
    ///
    /// `None` when the subject does not match, when there is no such group, or when the pattern is a glob.
    ///
    /// # Errors
    /// As for [`Pattern::matches`].
    pub fn capture<'s>(
        &self,
        subject: &'s str,
        group: usize,
        bindings: &Bindings<'_>,
    ) -> Result<Option<&'s str>, TooComplex> {
        self.capture_within(subject, group, bindings, &mut Budget::new(STEPS, Compiling::Allowed))
    }

    /// As [`Pattern::capture`], within this budget.
    ///
    /// # Errors
    /// When the budget is not enough.
    pub fn capture_within<'s>(
        &self,
        subject: &'s str,
        group: usize,
        bindings: &Bindings<'_>,
        budget: &mut Budget,
    ) -> Result<Option<&'s str>, TooComplex> {
        match &self.body {
            Body::Literal(_) | Body::Glob(_) | Body::GlobTemplate(_) => Ok(None),
            Body::Regex(expression) => expression.capture(group, &self.template, subject, bindings, budget),
        }
    }

    /// The pattern with its placeholders filled in, for people to read: `{a|b}` for several values. A placeholder without a
    /// value stays as it is written.
    #[must_use]
    pub fn expand(&self, bindings: &Bindings<'_>) -> String {
        const SHOWN: usize = 10;
        // Spans count from the start of the expression, after its slash.
        let shift = usize::from(self.is_regex());
        let fillings = self.template.fillings(bindings);
        let mut out = String::new();
        let mut from = 0;
        for span in &self.template.spans {
            let written = span.start + shift..span.end + shift;
            out.push_str(self.piece(from..written.start));
            from = written.end;
            match fillings.get(span.slot).copied().unwrap_or(Filling::Nothing) {
                Filling::Nothing => out.push_str(self.piece(written)),
                Filling::Text(text) => out.push_str(text),
                Filling::AnyOf([only]) => out.push_str(only.text()),
                Filling::AnyOf(values) => {
                    let shown: Vec<&str> = values.iter().take(SHOWN).map(LabelValue::text).collect();
                    out.push('{');
                    out.push_str(&shown.join("|"));
                    if values.len() > SHOWN {
                        out.push_str(&format!("|… {} more", values.len() - SHOWN));
                    }
                    out.push('}');
                }
            }
        }
        out.push_str(self.piece(from..self.text.len()));
        out
    }

    fn piece(&self, range: Range<usize>) -> &str {
        self.text.get(range).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
