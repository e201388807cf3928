//! The errors of patterns: refused when the rules are loaded, or too much work to decide.

use super::{PATTERN_BYTES, PATTERN_PLACEHOLDERS, REGEX_BYTES};
use crate::glob::{BadGlob, Spent};
use crate::re2::BadRegex;

/// The reason why a pattern is refused when the rules are loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Go's `path.Match` would refuse this glob. docker_auth lets it load and it then never matches, so that a rule
    /// which denies something denies nothing.
    #[error("the glob `{text}` is not valid at character {place}: {why}")]
    Glob {
        /// The glob as written.
        text: String,
        /// Where it goes wrong, in characters, counted from 1.
        place: usize,
        /// The fault, and what to write instead.
        why: String,
    },
    /// Go's `regexp` would refuse this regular expression, or a placeholder in it would become syntax.
    #[error("the regular expression `{text}` is not valid at character {place}: {why}")]
    Regex {
        /// The pattern as written, with its slashes.
        text: String,
        /// Where it goes wrong, in characters of the pattern, counted from 1.
        place: usize,
        /// The fault, and what to write instead.
        why: String,
    },
    /// The regular expression compiles to more than [`REGEX_BYTES`].
    #[error(
        "the regular expression `{text}` is too big: compiled, it takes more than {} KiB; write smaller repetitions or split the rule",
        REGEX_BYTES / 1024
    )]
    TooBig {
        /// The pattern as written.
        text: String,
    },
    /// The pattern is longer than [`PATTERN_BYTES`].
    #[error(
        "the pattern that begins with `{start}` is {length} bytes long; at most {PATTERN_BYTES} are allowed, so split the rule"
    )]
    TooLong {
        /// The first characters of the pattern.
        start: String,
        /// Its length in bytes.
        length: usize,
    },
    /// The pattern has more than [`PATTERN_PLACEHOLDERS`] different placeholders.
    #[error("the pattern `{text}` has more than {PATTERN_PLACEHOLDERS} different placeholders; split the rule")]
    TooManyPlaceholders {
        /// The pattern as written.
        text: String,
    },
}

impl PatternError {
    pub(crate) fn glob(text: &str, bad: BadGlob) -> PatternError {
        PatternError::Glob { text: text.to_owned(), place: place(text, bad.at), why: bad.why.to_owned() }
    }

    /// `text` is the pattern with its slashes.
    pub(super) fn regex(text: &str, bad: BadRegex) -> PatternError {
        PatternError::Regex { text: text.to_owned(), place: place(text, bad.at + 1), why: bad.why }
    }
}

/// The character a byte position lies at, counted from 1.
fn place(text: &str, at: usize) -> usize {
    text.get(..at).map_or(0, |before| before.chars().count()) + 1
}

/// A decision that would take more work than a request may cost: too many label values, or too big a regular expression once
/// they are filled in.
///
/// This is not an answer: skipping the rule could skip a refusal, so the request must fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are too many combinations of label values to decide")]
pub struct TooComplex;

impl From<Spent> for TooComplex {
    fn from(_: Spent) -> TooComplex {
        TooComplex
    }
}
