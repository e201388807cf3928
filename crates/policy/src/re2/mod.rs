//! Regular expressions as Go's `regexp` reads them, written out again for the Rust `regex` crate.
//!
//! The two agree on most of the syntax, and where they do not, an access rule would change its meaning without a
//! word. So the text is parsed here by Go's rules, and the tree is printed with nothing left to defaults: every
//! class is spelled out in characters, and every flag stands on the very piece it acts on.

mod class;
mod escape;
mod needed;
mod parser;
mod print;
mod tree;
mod unicode;

pub(super) use self::print::push_glob;

use crate::glob::Span;

/// Why a regular expression is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadRegex {
    /// Where it goes wrong: bytes from the start of the expression, after its `/`.
    pub(super) at: usize,
    /// What is wrong and what to write instead.
    pub(super) why: String,
}

/// A piece of an expression in the syntax of the `regex` crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Fixed text.
    Text(String),
    /// A placeholder, to be filled with a group.
    Slot {
        /// Which of the pattern's placeholders it is.
        slot: usize,
        /// How its letters compare, as the flags around it say.
        case: Case,
    },
}

/// Whether upper and lower case are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    /// As written.
    Exact,
    /// Under `(?i)`.
    Folded,
}

/// A parsed expression, ready to be printed.
#[derive(Clone, Debug)]
pub(super) struct ParsedExpression {
    /// The expression in the syntax of the `regex` crate.
    pub(super) segments: Vec<Segment>,
    /// Both ends are tied down, or left open in so many words.
    pub(super) ends: Ends,
    /// How many groups catch something. The crate itself forgets groups that can never take part, as in `(a){0}`.
    pub(super) groups: usize,
    /// The placeholders that a repetition may take more than once.
    pub(super) repeated: Vec<usize>,
    /// Texts of which every match holds at least one; empty where nothing is known.
    pub(super) needed: Vec<String>,
}

/// What holds the two ends of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// `^…$` around everything, or an end that says `.*` itself.
    Held,
    /// At least one end may lie in the middle of a longer text without the expression saying so.
    Loose,
}

/// The class of no character at all.
pub(super) const NEVER: &str = r"[^\x{0}-\x{10FFFF}]";

/// Reads an expression. `spans` are the placeholders in it, in the order they are written.
pub(super) fn parse(text: &str, spans: &[Span]) -> Result<ParsedExpression, BadRegex> {
    let (node, groups) = parser::parse(text, spans)?;
    Ok(ParsedExpression {
        segments: print::segments(&node),
        ends: tree::ends(&node),
        groups,
        repeated: tree::repeated(&node),
        needed: needed::needed(&node),
    })
}

#[cfg(test)]
mod tests;
