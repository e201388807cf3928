//! Reading an expression by Go's rules: groups, flags, repetitions, and placeholders where no data can become syntax.

use super::tree::{Appetite, GroupKind, Node, Notation, Repetition, few_enough};
use super::{BadRegex, Case};
use crate::glob::Span;

/// Groups inside groups; deeper than anyone writes, and shallow enough for every stack.
pub(super) const DEEPEST: usize = 100;
/// Operators on top of each other; Go allows that only with an empty group of flags in between.
const MOST_STACKED: usize = 4;
/// Most times one piece may be repeated, also by repetitions inside each other.
const MOST_REPEATS: u32 = 1000;

#[derive(Clone, Copy)]
pub(super) struct Flags {
    fold: bool,
    multi_line: bool,
    dot_newline: bool,
    ungreedy: bool,
}

impl Flags {
    pub(super) fn case(self) -> Case {
        if self.fold { Case::Folded } else { Case::Exact }
    }
}

/// An open group, or the whole expression.
pub(super) struct Frame {
    kind: GroupKind,
    open: usize,
    /// The flags to return to when it closes.
    flags: Flags,
    choices: Vec<Node>,
    sequence: Vec<Node>,
    /// How many operators sit on the last node of `sequence`.
    stacked: usize,
}

impl Frame {
    fn new(kind: GroupKind, open: usize, flags: Flags) -> Frame {
        Frame { kind, open, flags, choices: Vec::new(), sequence: Vec::new(), stacked: 0 }
    }

    pub(super) fn push(&mut self, node: Node) {
        self.stacked = 0;
        self.sequence.push(node);
    }

    fn end_choice(&mut self) {
        let sequence = std::mem::take(&mut self.sequence);
        self.stacked = 0;
        self.choices.push(match sequence.len() {
            0 => Node::Nothing,
            _ => Node::Sequence(sequence),
        });
    }

    fn close(mut self) -> (GroupKind, Node) {
        self.end_choice();
        let node = match self.choices.len() {
            1 => self.choices.pop().unwrap_or(Node::Nothing),
            _ => Node::Choice(self.choices),
        };
        (self.kind, node)
    }
}

/// An expression being read.
pub(super) struct Parser<'t> {
    pub(super) text: &'t str,
    /// The byte to read next.
    pub(super) at: usize,
    /// The placeholders not yet reached. No piece of syntax may reach past the start of the first.
    ahead: &'t [Span],
    pub(super) flags: Flags,
    groups: usize,
    /// The open groups, the innermost last.
    outer: Vec<Frame>,
    pub(super) frame: Frame,
}

/// The tree of an expression, and how many of its groups catch something.
pub(super) fn parse(text: &str, spans: &[Span]) -> Result<(Node, usize), BadRegex> {
    let flags = Flags { fold: false, multi_line: false, dot_newline: false, ungreedy: false };
    let frame = Frame::new(GroupKind::Plain, 0, flags);
    let mut parser = Parser { text, at: 0, ahead: spans, flags, groups: 0, outer: Vec::new(), frame };
    parser.run()?;
    if !parser.outer.is_empty() {
        return Err(BadRegex {
            at: parser.frame.open,
            why: "this `(` is never closed; add the `)`, or write `\\(` for a plain parenthesis".to_owned(),
        });
    }
    let (_, node) = parser.frame.close();
    Ok((node, parser.groups))
}

impl<'t> Parser<'t> {
    pub(super) fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    pub(super) fn refuse<T>(&self, at: usize, why: impl Into<String>) -> Result<T, BadRegex> {
        // A placeholder where it may not be is often the very reason of the trouble, so it is told first.
        self.no_placeholder(at, self.at)?;
        Err(BadRegex { at, why: why.into() })
    }

    /// Refuses a placeholder that lies in what was just read as one piece of syntax.
    pub(super) fn no_placeholder(&self, from: usize, to: usize) -> Result<(), BadRegex> {
        if self.ahead.first().is_some_and(|span| span.start < to && from < span.end) {
            return Err(BadRegex {
                at: from,
                why: "a placeholder is inside a piece of syntax (after a `\\`, in `[…]`, in a group's name or in `\\Q…\\E`), \
                      where data would become syntax; move it out of there"
                    .to_owned(),
            });
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), BadRegex> {
        // Set while the piece before is a repetition: `a**` is refused.
        let mut repeated = false;
        loop {
            let start = self.at;
            if let Some((span, later)) = self.ahead.split_first()
                && span.start == start
            {
                self.ahead = later;
                self.at = span.end;
                let node = Node::Slot(span.slot, self.flags.case());
                self.frame.push(node);
                repeated = false;
                continue;
            }
            let Some(c) = self.take() else { return Ok(()) };
            let times = self.times(c, start)?;
            match times {
                Some(_) if repeated => {
                    let why = "two repetitions follow each other; put the first one in a group, `(?:…)`";
                    return self.refuse(start, why);
                }
                Some(times) => self.repeat(start, times)?,
                None => self.piece(c, start)?,
            }
            self.no_placeholder(start, self.at)?;
            repeated = times.is_some();
        }
    }

    /// After `c`, which is not a repetition.
    fn piece(&mut self, c: char, start: usize) -> Result<(), BadRegex> {
        let node = match c {
            '(' if self.peek() == Some('?') => return self.flags_or_group(start),
            '(' => return self.open(GroupKind::Capturing, start, self.flags),
            ')' => return self.close(start),
            '|' => {
                self.frame.end_choice();
                return Ok(());
            }
            '[' => return self.class(start),
            '\\' => return self.escape(start),
            '^' if self.flags.multi_line => Node::LineStart,
            '^' => Node::TextStart,
            '$' if self.flags.multi_line => Node::LineEnd,
            '$' => Node::TextEnd,
            '.' if self.flags.dot_newline => Node::Any,
            '.' => Node::AnyButNewline,
            plain => Node::Char(plain, self.flags.case()),
        };
        self.frame.push(node);
        Ok(())
    }

    pub(super) fn char(&mut self, c: char) {
        let case = self.flags.case();
        self.frame.push(Node::Char(c, case));
    }

    fn open(&mut self, kind: GroupKind, start: usize, inner: Flags) -> Result<(), BadRegex> {
        if self.outer.len() >= DEEPEST {
            return self.refuse(start, format!("groups are nested more than {DEEPEST} deep; use fewer of them"));
        }
        match kind {
            GroupKind::Capturing => self.groups += 1,
            GroupKind::Plain => {}
        }
        let frame = Frame::new(kind, start, self.flags);
        self.outer.push(std::mem::replace(&mut self.frame, frame));
        self.flags = inner;
        Ok(())
    }

    fn close(&mut self, start: usize) -> Result<(), BadRegex> {
        let Some(outer) = self.outer.pop() else {
            return self.refuse(start, "this `)` closes nothing; remove it, or write `\\)` for a plain parenthesis");
        };
        let inner = std::mem::replace(&mut self.frame, outer);
        self.flags = inner.flags;
        let (kind, node) = inner.close();
        self.frame.push(Node::Group(kind, Box::new(node)));
        Ok(())
    }

    /// After `(`, before `?`: a named group, or flags with or without a group.
    fn flags_or_group(&mut self, start: usize) -> Result<(), BadRegex> {
        self.take();
        if self.eat("P<") || self.eat("<") {
            let name_ok = match self.rest().split_once('>') {
                Some((name, _)) => {
                    self.at += name.len() + 1;
                    !name.is_empty() && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
                }
                None => false,
            };
            if !name_ok {
                return self.refuse(
                    start,
                    "a named group is written `(?P<name>…)` with letters, digits and `_` in its name; look-ahead and \
                     look-behind do not exist in this syntax",
                );
            }
            self.no_placeholder(start, self.at)?;
            return self.open(GroupKind::Capturing, start, self.flags);
        }
        let mut flags = self.flags;
        let mut on = true;
        let mut seen = false;
        loop {
            match self.take() {
                Some('i') => flags.fold = on,
                Some('m') => flags.multi_line = on,
                Some('s') => flags.dot_newline = on,
                Some('U') => flags.ungreedy = on,
                Some('-') if on => {
                    on = false;
                    seen = false;
                    continue;
                }
                Some(':') if on || seen => return self.open(GroupKind::Plain, start, flags),
                Some(')') if on || seen => {
                    self.flags = flags;
                    return Ok(());
                }
                Some(_) | None => {
                    return self.refuse(
                        start,
                        "after `(?` only `:`, a name as in `(?P<name>…)`, or the flags i, m, s and U can stand; \
                         look-ahead and look-behind do not exist in this syntax",
                    );
                }
            }
            seen = true;
        }
    }

    /// After `c`: how often it repeats the piece before, if it is a repetition.
    fn times(&mut self, c: char, start: usize) -> Result<Option<Repetition>, BadRegex> {
        let (least, most, written) = match c {
            '*' => (0, None, Notation::Sign),
            '+' => (1, None, Notation::Sign),
            '?' => (0, Some(1), Notation::Sign),
            '{' => match self.counts(start)? {
                Some((least, most)) => (least, most, Notation::Counted),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let appetite = match (self.eat("?"), self.flags.ungreedy) {
            (false, false) | (true, true) => Appetite::Greedy,
            (true, false) | (false, true) => Appetite::Lazy,
        };
        Ok(Some(Repetition { least, most, appetite, written }))
    }

    /// After `{`: the numbers of a repetition, or nothing where the brace is a plain character.
    fn counts(&mut self, start: usize) -> Result<Option<(u32, Option<u32>)>, BadRegex> {
        let length = self.rest().bytes().take_while(|b| b.is_ascii_digit() || *b == b',').count();
        // What stands in the braces may not come from data: an account called `3}` would make it a repetition.
        if self.no_placeholder(start, self.at + length + 1).is_err() {
            return Err(BadRegex {
                at: start,
                why:
                    "a placeholder is inside `{…}`, where data would become a repetition; write `\\{` for a plain brace"
                        .to_owned(),
            });
        }
        let Some((inside, after)) = self.rest().split_at_checked(length) else { return Ok(None) };
        if !after.starts_with('}') {
            return Ok(None);
        }
        let (least, most) = match inside.split_once(',') {
            None => match repeat_count(inside) {
                Some(count) => (count, Some(count)),
                None => return Ok(None),
            },
            Some((least, most)) => match (repeat_count(least), repeat_count(most)) {
                (Some(least), None) if most.is_empty() => (least, None),
                (Some(least), Some(most)) => (least, Some(most)),
                (Some(_), None) | (None, _) => return Ok(None),
            },
        };
        self.at += length + 1;
        if least > MOST_REPEATS || most.is_some_and(|most| most > MOST_REPEATS || most < least) {
            return self.refuse(
                start,
                format!("a repetition is `{{least,most}}` with numbers up to {MOST_REPEATS}, the smaller one first"),
            );
        }
        Ok(Some((least, most)))
    }

    fn repeat(&mut self, start: usize, times: Repetition) -> Result<(), BadRegex> {
        let Some(last) = self.frame.sequence.pop() else {
            return self.refuse(
                start,
                "there is nothing before this repetition; write `\\` before it for the plain character",
            );
        };
        self.frame.stacked += 1;
        if self.frame.stacked > MOST_STACKED {
            return self.refuse(start, "too many repetitions in a row; one is enough");
        }
        let node = Node::Repeat(Box::new(last), times);
        let several = times.least >= 2 || times.most.is_some_and(|most| most >= 2);
        if times.written == Notation::Counted && several && !few_enough(&node, MOST_REPEATS) {
            return self.refuse(
                start,
                format!("nested repetitions come to more than {MOST_REPEATS} times; write smaller numbers"),
            );
        }
        self.frame.sequence.push(node);
        Ok(())
    }
}

/// A number of a repetition: no leading zero. One too large to count is still a number.
fn repeat_count(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    Some(text.parse().unwrap_or(u32::MAX))
}
