//! Globs as Go's `path.Match` reads them: their parts, and matching a name against them.

mod parse;
mod walk;

pub(super) use self::parse::{BadGlob, parse};
pub use self::walk::{Budget, Compiling, REQUEST_STEPS};
pub(super) use self::walk::{Positions, Spent, Walk};

/// One placeholder inside a written pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// First byte of the placeholder, its `$`.
    pub(super) start: usize,
    /// The byte after its `}`.
    pub(super) end: usize,
    /// Which of the pattern's placeholders it is.
    pub(super) slot: usize,
}

/// One step of a glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GlobToken {
    /// These characters, exactly.
    Text(String),
    /// `*`: any run of characters other than `/`, also an empty one.
    Run,
    /// `?`: one character other than `/`.
    One,
    /// `[…]`: one character of a set.
    Set(Set),
    /// A placeholder, filled in when a request is decided.
    Slot(usize),
}

/// The characters between `[` and `]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) sense: Sense,
    pub(super) ranges: Vec<(char, char)>,
}

/// Whether a set lists what it takes or what it leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sense {
    /// `[abc]`
    Takes,
    /// `[^abc]`, which, as in Go, takes a `/` as well.
    Leaves,
}

impl Set {
    /// Whether this character is one of those that it takes.
    pub(super) fn takes(&self, c: char) -> bool {
        self.takes_any([c])
    }

    /// Whether a character is one of those that it takes, where the same character can be written in several ways.
    pub(super) fn takes_any(&self, written: impl IntoIterator<Item = char>) -> bool {
        let is_listed = |c| self.ranges.iter().any(|&(low, high)| low <= c && c <= high);
        let listed = written.into_iter().any(is_listed);
        match self.sense {
            Sense::Takes => listed,
            Sense::Leaves => !listed,
        }
    }
}

/// The one text a glob stands for, when it has no wildcard and no placeholder.
pub(super) fn literal(tokens: &[GlobToken]) -> Option<&str> {
    match tokens {
        [] => Some(""),
        [GlobToken::Text(text)] => Some(text),
        _ => None,
    }
}

/// Takes one stretch of tokens without a `*` off the front of a name, and returns what is left.
fn strip<'n>(stretch: &[GlobToken], name: &'n str) -> Option<&'n str> {
    let mut rest = name;
    for token in stretch {
        rest = match token {
            GlobToken::Text(text) => rest.strip_prefix(text.as_str())?,
            GlobToken::One => strip_char(rest, |c| c != '/')?,
            GlobToken::Set(set) => strip_char(rest, |c| set.takes(c))?,
            // A `*` ends a stretch, and a glob with a placeholder is decided by `Walk`.
            GlobToken::Run | GlobToken::Slot(_) => return None,
        };
    }
    Some(rest)
}

fn strip_char(text: &str, takes: impl FnOnce(char) -> bool) -> Option<&str> {
    let mut chars = text.chars();
    let c = chars.next()?;
    takes(c).then_some(chars.as_str())
}

/// Whether the whole of `name` matches a glob that has no placeholder. Never allocates.
///
/// Like Go, it settles for the first place where the stretch after a `*` fits and never comes back to it. That
/// decides otherwise than trying everything only where a set that takes `/` stands between two `*`, and there too
/// an existing rule must go on meaning what it meant.
pub(super) fn matches(tokens: &[GlobToken], name: &str) -> bool {
    let mut tokens = tokens;
    let mut name = name;
    'stretch: while let Some(first) = tokens.first() {
        let star = *first == GlobToken::Run;
        if star {
            tokens = tokens.get(1..).unwrap_or_default();
        }
        let length = tokens.iter().position(|token| *token == GlobToken::Run).unwrap_or(tokens.len());
        let Some((stretch, after)) = tokens.split_at_checked(length) else { return false };
        if star && stretch.is_empty() {
            return !name.contains('/');
        }
        let mut from = name;
        loop {
            // The last stretch has to reach the end of the name.
            if let Some(rest) = strip(stretch, from).filter(|rest| rest.is_empty() || !after.is_empty()) {
                name = rest;
                tokens = after;
                continue 'stretch;
            }
            match strip_char(from, |c| c != '/') {
                Some(next) if star => from = next,
                Some(_) | None => return false,
            }
        }
    }
    name.is_empty()
}

#[cfg(test)]
mod tests;
