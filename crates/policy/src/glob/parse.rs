//! Reading a glob: what Go's `path.Match` would refuse is refused, with the reason and what to write instead.

use super::{GlobToken, Sense, Set, Span};

/// A glob that Go's `path.Match` would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadGlob {
    /// Where it goes wrong: bytes from the start of the glob.
    pub(crate) at: usize,
    /// What is wrong and what to write instead.
    pub(crate) why: &'static str,
}

/// Characters of a text with their byte positions, one to look at and the rest to take.
struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..).and_then(|rest| rest.chars().next())
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }
}

pub(super) const OPEN_SET: &str =
    "this `[` is never closed; write `[a-z]` for a set of characters, or `\\[` for a plain bracket";
pub(super) const EMPTY_SET: &str =
    "a set of characters must hold at least one, and a `]` in it is written `\\]`; write `\\[` for a plain bracket";
pub(super) const DASH: &str =
    "a `-` in a set stands between two characters, as in `[a-z]`; write `\\-` for a plain dash";
pub(super) const TRAILING: &str = "it ends in a lone `\\`; write `\\\\` for a plain backslash, or remove it";
const ESCAPED_PLACEHOLDER: &str =
    "a `\\` is right before a placeholder; write `\\\\` for a plain backslash, or remove it";
const PLACEHOLDER_IN_SET: &str =
    "a placeholder is inside `[…]`, where data would become syntax; move it out of the brackets";

/// Reads a glob. `spans` are the placeholders in it, in the order they are written.
pub(crate) fn parse(text: &str, spans: &[Span]) -> Result<Vec<GlobToken>, BadGlob> {
    let mut tokens: Vec<GlobToken> = Vec::new();
    let mut run = String::new();
    // The placeholders not yet reached: no piece of a glob may reach past the start of one.
    let mut ahead = spans;
    let mut cursor = Cursor { text, at: 0 };
    loop {
        let start = cursor.at;
        if let Some((span, later)) = ahead.split_first()
            && span.start == start
        {
            ahead = later;
            flush(&mut run, &mut tokens);
            tokens.push(GlobToken::Slot(span.slot));
            cursor.at = span.end;
            continue;
        }
        let Some(c) = cursor.take() else { break };
        match c {
            '*' => {
                flush(&mut run, &mut tokens);
                // `**` means no more than `*` does.
                if tokens.last() != Some(&GlobToken::Run) {
                    tokens.push(GlobToken::Run);
                }
            }
            '?' => {
                flush(&mut run, &mut tokens);
                tokens.push(GlobToken::One);
            }
            '[' => {
                flush(&mut run, &mut tokens);
                let set = parse_set(&mut cursor, start);
                // Said first: the placeholder may be the very reason why the set makes no sense.
                if ahead.first().is_some_and(|span| span.start < cursor.at) {
                    return Err(BadGlob { at: start, why: PLACEHOLDER_IN_SET });
                }
                tokens.push(GlobToken::Set(set?));
            }
            '\\' => {
                if ahead.first().is_some_and(|span| span.start == cursor.at) {
                    return Err(BadGlob { at: start, why: ESCAPED_PLACEHOLDER });
                }
                run.push(cursor.take().ok_or(BadGlob { at: start, why: TRAILING })?);
            }
            plain => run.push(plain),
        }
    }
    flush(&mut run, &mut tokens);
    Ok(tokens)
}

fn flush(run: &mut String, tokens: &mut Vec<GlobToken>) {
    if !run.is_empty() {
        tokens.push(GlobToken::Text(std::mem::take(run)));
    }
}

/// Reads a set; the cursor stands after its `[`, which is at byte `open`.
fn parse_set(cursor: &mut Cursor<'_>, open: usize) -> Result<Set, BadGlob> {
    let mut sense = Sense::Takes;
    if cursor.peek() == Some('^') {
        cursor.take();
        sense = Sense::Leaves;
    }
    let mut ranges = Vec::new();
    loop {
        if cursor.peek() == Some(']') && !ranges.is_empty() {
            cursor.take();
            return Ok(Set { sense, ranges });
        }
        let low = parse_member(cursor, open, EMPTY_SET)?;
        let mut high = low;
        if cursor.peek() == Some('-') {
            cursor.take();
            high = parse_member(cursor, open, DASH)?;
        }
        ranges.push((low, high));
    }
}

fn parse_member(cursor: &mut Cursor<'_>, open: usize, closed_early: &'static str) -> Result<char, BadGlob> {
    let at = cursor.at;
    match cursor.take() {
        None => Err(BadGlob { at: open, why: OPEN_SET }),
        Some('-') => Err(BadGlob { at, why: DASH }),
        Some(']') => Err(BadGlob { at, why: closed_early }),
        Some('\\') => cursor.take().ok_or(BadGlob { at, why: TRAILING }),
        Some(c) => Ok(c),
    }
}
