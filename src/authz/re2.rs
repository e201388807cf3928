//! Regular expressions as Go's `regexp` reads them, written out again for the Rust `regex` crate.
//!
//! The two agree on most of the syntax, and where they do not, an access rule would change its meaning without a
//! word. So the text is parsed here by Go's rules, and the tree is printed with nothing left to defaults: every
//! class is spelled out in characters, and every flag stands on the very piece it acts on.

use std::fmt::Write as _;

use super::glob::{Sense, Set, Span, Token};

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
pub(super) struct Expression {
    /// The expression in the syntax of the `regex` crate.
    pub(super) segments: Vec<Segment>,
    /// Both ends are tied down, or left open in so many words.
    pub(super) ends: Ends,
    /// How many groups catch something. The crate itself forgets groups that can never take part, as in `(a){0}`.
    pub(super) groups: usize,
}

/// What holds the two ends of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// `^…$` around everything, or an end that says `.*` itself.
    Held,
    /// At least one end may lie in the middle of a longer text without the expression saying so.
    Loose,
}

/// Groups inside groups; deeper than anyone writes, and shallow enough for every stack.
const DEEPEST: usize = 100;
/// Operators on top of each other; Go allows that only with an empty group of flags in between.
const MOST_STACKED: usize = 4;
/// The class of no character at all.
pub(super) const NEVER: &str = r"[^\x{0}-\x{10FFFF}]";
const MOST_REPEATS: u32 = 1000;

#[derive(Debug)]
enum Node {
    Nothing,
    Char(char, Case),
    /// A bracketed class of the `regex` crate.
    Class(String, Case),
    AnyButNewline,
    Any,
    TextStart,
    TextEnd,
    LineStart,
    LineEnd,
    WordEdge,
    NoWordEdge,
    Slot(usize, Case),
    Group(Kind, Box<Node>),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Repeat(Box<Node>, Times),
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Capturing,
    Plain,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    least: u32,
    most: Option<u32>,
    appetite: Appetite,
    written: Written,
}

#[derive(Clone, Copy, Debug)]
enum Appetite {
    Greedy,
    Lazy,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Written {
    /// `*`, `+`, `?`
    Sign,
    /// `{…}`, which counts towards the limit on repetitions.
    Counted,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Flags {
    fold: bool,
    multi_line: bool,
    dot_newline: bool,
    ungreedy: bool,
}

impl Flags {
    fn case(self) -> Case {
        if self.fold { Case::Folded } else { Case::Exact }
    }
}

/// An open group, or the whole expression.
struct Frame {
    kind: Kind,
    open: usize,
    /// The flags to return to when it closes.
    flags: Flags,
    choices: Vec<Node>,
    sequence: Vec<Node>,
    /// How many operators sit on the last node of `sequence`.
    stacked: usize,
}

impl Frame {
    fn new(kind: Kind, open: usize, flags: Flags) -> Frame {
        Frame { kind, open, flags, choices: Vec::new(), sequence: Vec::new(), stacked: 0 }
    }

    fn push(&mut self, node: Node) {
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

    fn close(mut self) -> (Kind, Node) {
        self.end_choice();
        let node = match self.choices.len() {
            1 => self.choices.pop().unwrap_or(Node::Nothing),
            _ => Node::Choice(self.choices),
        };
        (self.kind, node)
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    spans: &'t [Span],
    flags: Flags,
    groups: usize,
    /// The open groups, the innermost last.
    outer: Vec<Frame>,
    frame: Frame,
}

/// Reads an expression. `spans` are the placeholders in it.
pub(super) fn parse(text: &str, spans: &[Span]) -> Result<Expression, BadRegex> {
    let flags = Flags { fold: false, multi_line: false, dot_newline: false, ungreedy: false };
    let frame = Frame::new(Kind::Plain, 0, flags);
    let mut parser = Parser { text, at: 0, spans, flags, groups: 0, outer: Vec::new(), frame };
    parser.run()?;
    if !parser.outer.is_empty() {
        return Err(BadRegex {
            at: parser.frame.open,
            why: "this `(` is never closed; add the `)`, or write `\\(` for a plain parenthesis".to_owned(),
        });
    }
    let (_, node) = parser.frame.close();
    let mut printer = Printer::default();
    printer.node(&node);
    let ends = if held(&node, End::Start) && held(&node, End::Finish) { Ends::Held } else { Ends::Loose };
    Ok(Expression { segments: printer.finish(), ends, groups: parser.groups })
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    fn refuse<T>(&self, at: usize, why: impl Into<String>) -> Result<T, BadRegex> {
        // A placeholder where it may not be is often the very reason of the trouble, so it is told first.
        self.no_placeholder(at, self.at)?;
        Err(BadRegex { at, why: why.into() })
    }

    /// Refuses a placeholder that lies in what was just read as one piece of syntax.
    fn no_placeholder(&self, from: usize, to: usize) -> Result<(), BadRegex> {
        if self.spans.iter().any(|span| span.start < to && from < span.end) {
            return Err(BadRegex {
                at: from,
                why: "a placeholder stands inside a piece of syntax (after a `\\`, in `[…]`, in a group's name or in `\\Q…\\E`), \
                      where data would become syntax; move it out of there"
                    .to_owned(),
            });
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), BadRegex> {
        // Set while the node before is a repetition: `a**` is refused.
        let mut repeated = false;
        loop {
            let start = self.at;
            let mut is_repeat = false;
            if let Some(span) = self.spans.iter().find(|span| span.start == start) {
                self.at = span.end;
                let node = Node::Slot(span.slot, self.flags.case());
                self.frame.push(node);
                repeated = false;
                continue;
            }
            let Some(c) = self.take() else { return Ok(()) };
            match c {
                '(' => {
                    if self.peek() == Some('?') {
                        self.flags_or_group(start)?;
                    } else {
                        self.open(Kind::Capturing, start, self.flags)?;
                    }
                }
                ')' => self.close(start)?,
                '|' => self.frame.end_choice(),
                '^' => {
                    let node = if self.flags.multi_line { Node::LineStart } else { Node::TextStart };
                    self.frame.push(node);
                }
                '$' => {
                    let node = if self.flags.multi_line { Node::LineEnd } else { Node::TextEnd };
                    self.frame.push(node);
                }
                '.' => {
                    let node = if self.flags.dot_newline { Node::Any } else { Node::AnyButNewline };
                    self.frame.push(node);
                }
                '[' => self.class(start)?,
                '*' => is_repeat = self.repeat(start, 0, None, Written::Sign, repeated)?,
                '+' => is_repeat = self.repeat(start, 1, None, Written::Sign, repeated)?,
                '?' => is_repeat = self.repeat(start, 0, Some(1), Written::Sign, repeated)?,
                '{' => match self.counts(start)? {
                    Some((least, most)) => is_repeat = self.repeat(start, least, most, Written::Counted, repeated)?,
                    None => self.char('{'),
                },
                '\\' => self.escape(start)?,
                plain => self.char(plain),
            }
            self.no_placeholder(start, self.at)?;
            repeated = is_repeat;
        }
    }

    fn char(&mut self, c: char) {
        let case = self.flags.case();
        self.frame.push(Node::Char(c, case));
    }

    fn open(&mut self, kind: Kind, start: usize, inner: Flags) -> Result<(), BadRegex> {
        if self.outer.len() >= DEEPEST {
            return self.refuse(start, format!("groups are nested more than {DEEPEST} deep; write it flatter"));
        }
        match kind {
            Kind::Capturing => self.groups += 1,
            Kind::Plain => {}
        }
        let frame = Frame::new(kind, start, self.flags);
        self.outer.push(std::mem::replace(&mut self.frame, frame));
        self.flags = inner;
        Ok(())
    }

    fn close(&mut self, start: usize) -> Result<(), BadRegex> {
        let Some(outer) = self.outer.pop() else {
            return self.refuse(start, "this `)` closes nothing; take it away, or write `\\)` for a plain parenthesis");
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
                    "a named group is written `(?P<name>…)` with letters, digits and `_` in its name; looking ahead or \
                     behind does not exist in this syntax",
                );
            }
            self.no_placeholder(start, self.at)?;
            return self.open(Kind::Capturing, start, self.flags);
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
                Some(':') if on || seen => return self.open(Kind::Plain, start, flags),
                Some(')') if on || seen => {
                    self.flags = flags;
                    return Ok(());
                }
                Some(_) | None => {
                    return self.refuse(
                        start,
                        "after `(?` only `:`, a name as in `(?P<name>…)`, or the flags i, m, s and U can stand; looking \
                         ahead or behind does not exist in this syntax",
                    );
                }
            }
            seen = true;
        }
    }

    /// After `{`: the numbers of a repetition, or nothing where the brace is a plain character.
    fn counts(&mut self, start: usize) -> Result<Option<(u32, Option<u32>)>, BadRegex> {
        // What stands in the braces may not come from data: an account called `3}` would make it a repetition.
        let digits = self.rest().bytes().take_while(|b| b.is_ascii_digit() || *b == b',').count();
        if self.no_placeholder(start, self.at + digits + 1).is_err() {
            return Err(BadRegex {
                at: start,
                why: "a placeholder stands inside `{…}`, where data would become a repetition; write `\\{` for a plain brace".to_owned(),
            });
        }
        let Some((inside, _)) = self.rest().split_once('}') else { return Ok(None) };
        let (least, most) = match inside.split_once(',') {
            None => match number(inside) {
                Some(count) => (count, Some(count)),
                None => return Ok(None),
            },
            Some((least, most)) => match (number(least), number(most)) {
                (Some(least), None) if most.is_empty() => (least, None),
                (Some(least), Some(most)) => (least, Some(most)),
                (Some(_), None) | (None, _) => return Ok(None),
            },
        };
        self.at += inside.len() + 1;
        if least > MOST_REPEATS || most.is_some_and(|most| most > MOST_REPEATS || most < least) {
            return self.refuse(
                start,
                format!("a repetition is `{{least,most}}` with numbers up to {MOST_REPEATS}, the smaller one first"),
            );
        }
        Ok(Some((least, most)))
    }

    fn repeat(
        &mut self,
        start: usize,
        least: u32,
        most: Option<u32>,
        written: Written,
        repeated: bool,
    ) -> Result<bool, BadRegex> {
        let mut lazy = self.flags.ungreedy;
        if self.eat("?") {
            lazy = !lazy;
        }
        if repeated {
            return self.refuse(start, "two repetitions follow each other; put the first one in a group, `(?:…)`");
        }
        let Some(last) = self.frame.sequence.pop() else {
            return self.refuse(
                start,
                "there is nothing before this repetition; write `\\` before it for the plain character",
            );
        };
        self.frame.stacked += 1;
        if self.frame.stacked > MOST_STACKED {
            return self.refuse(start, "too many repetitions sit on one another; one is enough");
        }
        let appetite = if lazy { Appetite::Lazy } else { Appetite::Greedy };
        let node = Node::Repeat(Box::new(last), Times { least, most, appetite, written });
        let several = least >= 2 || most.is_some_and(|most| most >= 2);
        if written == Written::Counted && several && !few_enough(&node, MOST_REPEATS) {
            return self
                .refuse(start, format!("repetitions inside repetitions come to more than {MOST_REPEATS} times"));
        }
        self.frame.sequence.push(node);
        Ok(true)
    }

    /// After a `\` outside a class.
    fn escape(&mut self, start: usize) -> Result<(), BadRegex> {
        let case = self.flags.case();
        let node = match self.peek() {
            Some('A') => Node::TextStart,
            Some('z') => Node::TextEnd,
            Some('b') => Node::WordEdge,
            Some('B') => Node::NoWordEdge,
            Some('Q') => {
                self.take();
                let rest = self.rest();
                let (quoted, length) = match rest.split_once("\\E") {
                    Some((quoted, _)) => (quoted, quoted.len() + 2),
                    None => (rest, rest.len()),
                };
                self.at += length;
                quoted.chars().for_each(|c| self.char(c));
                return Ok(());
            }
            Some(_) | None => {
                let node = match self.set_escape(start)? {
                    Some(set) => Node::Class(format!("[{set}]"), case),
                    // Half of a surrogate pair is no character, and no text holds it.
                    None => match char::from_u32(self.code_escape(start)?) {
                        Some(c) => Node::Char(c, case),
                        None => Node::Class(NEVER.to_owned(), case),
                    },
                };
                self.frame.push(node);
                return Ok(());
            }
        };
        self.take();
        self.frame.push(node);
        Ok(())
    }

    /// After a `\`: `\d` and its like, and `\p{…}`, as the inside of a bracketed class.
    fn set_escape(&mut self, start: usize) -> Result<Option<String>, BadRegex> {
        let set = match self.peek() {
            Some('d') => "0-9",
            Some('D') => "[^0-9]",
            Some('s') => r"\x{9}\x{A}\x{C}\x{D}\x{20}",
            Some('S') => r"[^\x{9}\x{A}\x{C}\x{D}\x{20}]",
            Some('w') => "0-9A-Za-z_",
            Some('W') => "[^0-9A-Za-z_]",
            Some('p' | 'P') => return self.unicode_class(start).map(Some),
            Some(_) | None => return Ok(None),
        };
        self.take();
        Ok(Some(set.to_owned()))
    }

    /// After a `\`, at `p` or `P`.
    fn unicode_class(&mut self, start: usize) -> Result<String, BadRegex> {
        let mut negated = self.take() == Some('P');
        let mut name = String::new();
        match self.take() {
            Some('{') => match self.rest().split_once('}') {
                Some((inside, _)) => {
                    name.push_str(inside);
                    self.at += inside.len() + 1;
                }
                None => return self.refuse(start, "this `\\p{` is never closed; write `\\p{Greek}`"),
            },
            Some(letter) => name.push(letter),
            None => return self.refuse(start, "after `\\p` comes a class of characters, as in `\\p{Greek}` or `\\pL`"),
        }
        let mut bare = name.as_str();
        if let Some(inner) = bare.strip_prefix('^') {
            negated = !negated;
            bare = inner;
        }
        match unicode_set(bare) {
            Some(set) if negated => Ok(format!("[^{set}]")),
            Some(set) => Ok(format!("[{set}]")),
            None => self.refuse(
                start,
                format!("there is no class of characters called `{bare}`; a general category as in `\\pL` or a script as in `\\p{{Greek}}` can stand here"),
            ),
        }
    }

    /// After a `\`: one character, by its number.
    fn code_escape(&mut self, start: usize) -> Result<u32, BadRegex> {
        let Some(c) = self.take() else {
            return self.refuse(start, "it ends in a lone `\\`; write `\\\\` for a plain backslash, or take it away");
        };
        let code = match c {
            'a' => 0x07,
            'f' => 0x0C,
            'n' => 0x0A,
            'r' => 0x0D,
            't' => 0x09,
            'v' => 0x0B,
            '0' => self.octal(0),
            '1'..='7' if self.peek().is_some_and(|next| next.is_digit(8)) => {
                self.octal(c.to_digit(8).unwrap_or_default())
            }
            'x' => match self.hex() {
                Some(code) => code,
                None => return self.refuse(start, "a character by its number is written `\\x7F` or `\\x{10FFFF}`"),
            },
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => u32::from(c),
            _ => {
                return self.refuse(
                    start,
                    format!("`\\{c}` means nothing here; for a plain `{c}` leave the `\\` away, for a plain backslash write `\\\\`"),
                );
            }
        };
        Ok(code)
    }

    /// Up to two more octal digits.
    fn octal(&mut self, first: u32) -> u32 {
        let mut code = first;
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) else { break };
            self.take();
            code = code * 8 + digit;
        }
        code
    }

    fn hex(&mut self) -> Option<u32> {
        if self.eat("{") {
            let (digits, _) = self.rest().split_once('}')?;
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            let code = digits.trim_start_matches('0');
            let code = if code.is_empty() { 0 } else { u32::from_str_radix(code, 16).ok()? };
            self.at += digits.len() + 1;
            return (code <= 0x0010_FFFF).then_some(code);
        }
        let high = self.take()?.to_digit(16)?;
        let low = self.take()?.to_digit(16)?;
        Some(high * 16 + low)
    }

    /// After a `[`.
    fn class(&mut self, start: usize) -> Result<(), BadRegex> {
        let mut inside = String::new();
        let negated = self.eat("^");
        let mut first = true;
        while first || self.peek() != Some(']') {
            first = false;
            if self.rest().starts_with("[:")
                && let Some((name, _)) = self.rest().get(2..).and_then(|rest| rest.split_once(":]"))
            {
                self.at += name.len() + 4;
                if !is_posix(name.strip_prefix('^').unwrap_or(name)) {
                    return self.refuse(
                        start,
                        format!("there is no class of characters called `[:{name}:]`; write one as in `[[:alnum:]]`"),
                    );
                }
                // Infallible: a String takes everything.
                let _ = write!(inside, "[:{name}:]");
                continue;
            }
            if self.rest().starts_with('\\') {
                let before = self.at;
                self.take();
                if let Some(set) = self.set_escape(before)? {
                    inside.push_str(&set);
                    continue;
                }
                self.at = before;
            }
            let low = self.class_char(start)?;
            let mut high = low;
            if self.rest().starts_with('-') && !self.rest().starts_with("-]") && self.rest().len() > 1 {
                self.take();
                high = self.class_char(start)?;
                if high < low {
                    return self
                        .refuse(start, "a range in this class runs backwards; write the smaller character first");
                }
            }
            push_range(&mut inside, low, high);
        }
        self.take();
        if inside.is_empty() {
            inside.push_str(NEVER);
        }
        let case = self.flags.case();
        let class = if negated { format!("[^{inside}]") } else { format!("[{inside}]") };
        self.frame.push(Node::Class(class, case));
        Ok(())
    }

    /// One character of a class, by its number.
    fn class_char(&mut self, start: usize) -> Result<u32, BadRegex> {
        let before = self.at;
        match self.take() {
            Some('\\') => self.code_escape(before),
            Some(c) => Ok(u32::from(c)),
            None => self.refuse(start, "this `[` is never closed; add the `]`, or write `\\[` for a plain bracket"),
        }
    }
}

/// A number of a repetition: no leading zero. One too large to count is still a number.
fn number(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    Some(text.parse().unwrap_or(u32::MAX))
}

/// Whether counted repetitions inside each other stay within `most` copies of the innermost.
fn few_enough(node: &Node, most: u32) -> bool {
    match node {
        Node::Repeat(inner, times) => {
            let mut left = most;
            if times.written == Written::Counted {
                let count = times.most.unwrap_or(times.least);
                if times.most == Some(0) {
                    return true;
                }
                if count > most {
                    return false;
                }
                left = most.checked_div(count).unwrap_or(most);
            }
            few_enough(inner, left)
        }
        Node::Group(_, inner) => few_enough(inner, most),
        Node::Sequence(nodes) | Node::Choice(nodes) => nodes.iter().all(|node| few_enough(node, most)),
        Node::Nothing
        | Node::Char(..)
        | Node::Class(..)
        | Node::AnyButNewline
        | Node::Any
        | Node::TextStart
        | Node::TextEnd
        | Node::LineStart
        | Node::LineEnd
        | Node::WordEdge
        | Node::NoWordEdge
        | Node::Slot(..) => true,
    }
}

/// Appends a range without its surrogates, which no text holds.
fn push_range(inside: &mut String, low: u32, high: u32) {
    for (low, high) in [(low, high.min(0xD7FF)), (low.max(0xE000), high)] {
        if low <= high {
            // Infallible: a String takes everything.
            let _ = write!(inside, r"\x{{{low:X}}}-\x{{{high:X}}}");
        }
    }
}

fn is_posix(name: &str) -> bool {
    matches!(
        name,
        "alnum"
            | "alpha"
            | "ascii"
            | "blank"
            | "cntrl"
            | "digit"
            | "graph"
            | "lower"
            | "print"
            | "punct"
            | "space"
            | "upper"
            | "word"
            | "xdigit"
    )
}

/// The inside of a bracketed class for a Unicode class Go knows.
fn unicode_set(name: &str) -> Option<String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b' ')) {
        return None;
    }
    let folded: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    match folded.as_str() {
        "" => return None,
        "any" => return Some(r"\x{0}-\x{10FFFF}".to_owned()),
        "ascii" => return Some(r"\x{0}-\x{7F}".to_owned()),
        "assigned" => return Some(r"\P{gc=Cn}".to_owned()),
        "cs" | "surrogate" => return Some(NEVER.to_owned()),
        // The `regex` crate would leave away a leading "is"; Go does not.
        _ if folded.starts_with("is") => return None,
        _ => {}
    }
    let script = SCRIPTS
        .split_ascii_whitespace()
        .any(|script| script.chars().filter(|c| *c != '_').map(|c| c.to_ascii_lowercase()).eq(folded.chars()));
    let set = if script { format!(r"\p{{sc={folded}}}") } else { format!(r"\p{{gc={folded}}}") };
    // The table of general categories is the crate's own.
    regex::Regex::new(&set).ok().map(|_| set)
}

/// The scripts of Unicode 15 by their full names. Abbreviations such as `Grek` are not taken, as in Go.
const SCRIPTS: &str = "Adlam Ahom Anatolian_Hieroglyphs Arabic Armenian Avestan Balinese Bamum Bassa_Vah Batak Bengali \
    Bhaiksuki Bopomofo Brahmi Braille Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee \
    Chorasmian Common Coptic Cuneiform Cypriot Cypro_Minoan Cyrillic Deseret Devanagari Dives_Akuru Dogra Duployan \
    Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Georgian Glagolitic Gothic Grantha Greek Gujarati Gunjala_Gondi \
    Gurmukhi Han Hangul Hanifi_Rohingya Hanunoo Hatran Hebrew Hiragana Imperial_Aramaic Inherited Inscriptional_Pahlavi \
    Inscriptional_Parthian Javanese Kaithi Kannada Katakana Kawi Kayah_Li Kharoshthi Khitan_Small_Script Khmer Khojki \
    Khudawadi Lao Latin Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean \
    Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi \
    Mongolian Mro Multani Myanmar Nabataean Nag_Mundari Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong \
    Ogham Ol_Chiki Old_Hungarian Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian \
    Old_Turkic Old_Uyghur Oriya Osage Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi \
    Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese \
    Syloti_Nagri Syriac Tagalog Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tamil Tangsa Tangut Telugu Thaana Thai Tibetan \
    Tifinagh Tirhuta Toto Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square";

/// Which end of an expression is asked about.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Start,
    Finish,
}

/// Whether every match of `node` is tied to that end of the text, or says itself that anything may stand there.
fn held(node: &Node, end: End) -> bool {
    match node {
        Node::TextStart => end == End::Start,
        Node::TextEnd => end == End::Finish,
        Node::Group(_, inner) => held(inner, end),
        Node::Choice(nodes) => nodes.iter().all(|node| held(node, end)),
        Node::Sequence(nodes) => {
            let outward = |node: &&Node| !matches!(node, Node::WordEdge | Node::NoWordEdge | Node::Nothing);
            let outermost = match end {
                End::Start => nodes.iter().find(outward),
                End::Finish => nodes.iter().rev().find(outward),
            };
            outermost.is_some_and(|node| held(node, end))
        }
        Node::Repeat(inner, times) => match inner.as_ref() {
            Node::Any | Node::AnyButNewline => times.most.is_none(),
            inner => times.least > 0 && held(inner, end),
        },
        Node::Nothing
        | Node::Char(..)
        | Node::Class(..)
        | Node::AnyButNewline
        | Node::Any
        | Node::LineStart
        | Node::LineEnd
        | Node::WordEdge
        | Node::NoWordEdge
        | Node::Slot(..) => false,
    }
}

/// Writes a tree in the syntax of the `regex` crate.
#[derive(Default)]
struct Printer {
    segments: Vec<Segment>,
    text: String,
}

impl Printer {
    fn finish(mut self) -> Vec<Segment> {
        if !self.text.is_empty() {
            self.segments.push(Segment::Text(self.text));
        }
        self.segments
    }

    fn with_case(&mut self, case: Case, text: &str) {
        match case {
            Case::Exact => self.text.push_str(text),
            Case::Folded => {
                self.text.push_str("(?i:");
                self.text.push_str(text);
                self.text.push(')');
            }
        }
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Nothing => self.text.push_str("(?:)"),
            Node::Char(c, case) => self.with_case(*case, &regex::escape(c.encode_utf8(&mut [0; 4]))),
            Node::Class(class, case) => self.with_case(*case, class),
            Node::AnyButNewline => self.text.push_str(r"[^\n]"),
            Node::Any => self.text.push_str("(?s:.)"),
            Node::TextStart => self.text.push_str(r"\A"),
            Node::TextEnd => self.text.push_str(r"\z"),
            Node::LineStart => self.text.push_str("(?m:^)"),
            Node::LineEnd => self.text.push_str("(?m:$)"),
            Node::WordEdge => self.text.push_str(r"(?-u:\b)"),
            Node::NoWordEdge => self.text.push_str(r"(?-u:\B)"),
            Node::Slot(slot, case) => {
                if !self.text.is_empty() {
                    self.segments.push(Segment::Text(std::mem::take(&mut self.text)));
                }
                self.segments.push(Segment::Slot { slot: *slot, case: *case });
            }
            Node::Group(kind, inner) => {
                self.text.push_str(match kind {
                    Kind::Capturing => "(",
                    Kind::Plain => "(?:",
                });
                self.node(inner);
                self.text.push(')');
            }
            Node::Sequence(nodes) => self.sequence(nodes),
            Node::Choice(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    if index > 0 {
                        self.text.push('|');
                    }
                    self.node(node);
                }
            }
            Node::Repeat(inner, times) => self.repeat(inner, *times),
        }
    }

    /// Neighbours under the same flag share one group, so that a plain word stays readable and quick.
    fn sequence(&mut self, nodes: &[Node]) {
        let mut folded = String::new();
        for node in nodes {
            if let Node::Char(c, Case::Folded) = node {
                folded.push(*c);
                continue;
            }
            self.folded_run(&mut folded);
            self.node(node);
        }
        self.folded_run(&mut folded);
    }

    fn folded_run(&mut self, run: &mut String) {
        if !run.is_empty() {
            self.with_case(Case::Folded, &regex::escape(run));
            run.clear();
        }
    }

    fn repeat(&mut self, inner: &Node, times: Times) {
        let single = matches!(
            inner,
            Node::Char(..) | Node::Class(..) | Node::AnyButNewline | Node::Any | Node::Slot(..) | Node::Group(..)
        );
        if single {
            self.node(inner);
        } else {
            self.text.push_str("(?:");
            self.node(inner);
            self.text.push(')');
        }
        // Infallible: a String takes everything.
        let _ = match (times.least, times.most) {
            (0, None) => write!(self.text, "*"),
            (1, None) => write!(self.text, "+"),
            (0, Some(1)) => write!(self.text, "?"),
            (least, None) => write!(self.text, "{{{least},}}"),
            (least, Some(most)) => write!(self.text, "{{{least},{most}}}"),
        };
        match times.appetite {
            Appetite::Greedy => {}
            Appetite::Lazy => self.text.push('?'),
        }
    }
}

/// A glob, as an administrator wrote it in a label, as a piece of an expression.
pub(super) fn push_glob(out: &mut String, tokens: &[Token]) {
    for token in tokens {
        match token {
            Token::Text(text) => out.push_str(&regex::escape(text)),
            Token::Run => out.push_str("[^/]*"),
            Token::One => out.push_str("[^/]"),
            Token::Set(set) => push_set(out, set),
            // A label's value holds no placeholder.
            Token::Slot(_) => out.push_str(NEVER),
        }
    }
}

fn push_set(out: &mut String, set: &Set) {
    let mut inside = String::new();
    for &(low, high) in &set.ranges {
        push_range(&mut inside, u32::from(low), u32::from(high));
    }
    if inside.is_empty() {
        inside.push_str(NEVER);
    }
    out.push_str(match set.sense {
        Sense::Takes => "[",
        Sense::Leaves => "[^",
    });
    out.push_str(&inside);
    out.push(']');
}

#[cfg(test)]
mod tests;
