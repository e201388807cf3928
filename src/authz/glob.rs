//! Globs as Go's `path.Match` reads them: how one is parsed, and how a name is held against it.

/// A glob that Go's `path.Match` would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadGlob {
    /// Where it goes wrong: bytes from the start of the glob.
    pub(super) at: usize,
    /// What is wrong and what to write instead.
    pub(super) why: &'static str,
}

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
pub(super) enum Token {
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
    fn takes(&self, c: char) -> bool {
        let listed = self.ranges.iter().any(|&(low, high)| low <= c && c <= high);
        match self.sense {
            Sense::Takes => listed,
            Sense::Leaves => !listed,
        }
    }
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

const OPEN_SET: &str = "this `[` never ends; write `[a-z]` for a set of characters, or `\\[` for a plain bracket";
const EMPTY_SET: &str =
    "a set of characters must hold at least one, and a `]` in it is written `\\]`; write `\\[` for a plain bracket";
const DASH: &str = "a `-` in a set stands between two characters, as in `[a-z]`; write `\\-` for a plain dash";
const TRAILING: &str = "it ends in a lone `\\`; write `\\\\` for a plain backslash, or take it away";
const ESCAPED_PLACEHOLDER: &str =
    "a `\\` stands right before a placeholder; write `\\\\` for a plain backslash, or take it away";
const PLACEHOLDER_IN_SET: &str =
    "a placeholder stands inside `[…]`, where data would become syntax; move it out of the brackets";

/// Reads a glob. `spans` are the placeholders in it, in the order they are written.
pub(super) fn parse(text: &str, spans: &[Span]) -> Result<Vec<Token>, BadGlob> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut run = String::new();
    let mut cursor = Cursor { text, at: 0 };
    loop {
        let start = cursor.at;
        if let Some(span) = spans.iter().find(|span| span.start == start) {
            flush(&mut run, &mut tokens);
            tokens.push(Token::Slot(span.slot));
            cursor.at = span.end;
            continue;
        }
        let Some(c) = cursor.take() else { break };
        match c {
            '*' => {
                flush(&mut run, &mut tokens);
                // `**` means no more than `*` does.
                if tokens.last() != Some(&Token::Run) {
                    tokens.push(Token::Run);
                }
            }
            '?' => {
                flush(&mut run, &mut tokens);
                tokens.push(Token::One);
            }
            '[' => {
                flush(&mut run, &mut tokens);
                let set = parse_set(&mut cursor, start);
                // Said first: the placeholder may be the very reason why the set makes no sense.
                if spans.iter().any(|span| start < span.start && span.start < cursor.at) {
                    return Err(BadGlob { at: start, why: PLACEHOLDER_IN_SET });
                }
                tokens.push(Token::Set(set?));
            }
            '\\' => {
                if spans.iter().any(|span| span.start == cursor.at) {
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

fn flush(run: &mut String, tokens: &mut Vec<Token>) {
    if !run.is_empty() {
        tokens.push(Token::Text(std::mem::take(run)));
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

/// The one text a glob stands for, when it has no wildcard and no placeholder.
pub(super) fn literal(tokens: &[Token]) -> Option<&str> {
    match tokens {
        [] => Some(""),
        [Token::Text(text)] => Some(text),
        _ => None,
    }
}

/// Takes one stretch of tokens without a `*` off the front of a name, and returns what is left.
fn strip<'n>(stretch: &[Token], name: &'n str) -> Option<&'n str> {
    let mut rest = name;
    for token in stretch {
        rest = match token {
            Token::Text(text) => rest.strip_prefix(text.as_str())?,
            Token::One => strip_char(rest, |c| c != '/')?,
            Token::Set(set) => strip_char(rest, |c| set.takes(c))?,
            // A `*` ends a stretch, and a glob with a placeholder is decided by `Walk`.
            Token::Run | Token::Slot(_) => return None,
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
pub(super) fn matches(tokens: &[Token], name: &str) -> bool {
    let mut tokens = tokens;
    let mut name = name;
    'stretch: while let Some(first) = tokens.first() {
        let star = *first == Token::Run;
        if star {
            tokens = tokens.get(1..).unwrap_or_default();
        }
        let length = tokens.iter().position(|token| *token == Token::Run).unwrap_or(tokens.len());
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

/// A set of byte positions in one name, from 0 to its length.
#[derive(Clone, Debug, Default)]
pub(super) struct Positions {
    words: Vec<u64>,
}

impl Positions {
    /// Room for the positions of a name of `length` bytes; none is in it.
    pub(super) fn none(length: usize) -> Positions {
        Positions { words: vec![0; length / 64 + 1] }
    }

    pub(super) fn add(&mut self, at: usize) {
        if let Some(word) = self.words.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    pub(super) fn has(&self, at: usize) -> bool {
        self.words.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    fn clear(&mut self) {
        self.words.fill(0);
    }

    fn add_all(&mut self, other: &Positions) {
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }

    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                if left == 0 {
                    return None;
                }
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

/// The work one decision may take before it is given up.
#[derive(Debug)]
pub(super) struct Budget {
    left: u64,
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spent;

impl Budget {
    pub(super) fn new(steps: u64) -> Budget {
        Budget { left: steps }
    }

    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Spent> {
        self.left = self.left.checked_sub(u64::try_from(steps).unwrap_or(u64::MAX)).ok_or(Spent)?;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn left(&self) -> u64 {
        self.left
    }
}

/// From which positions of one name to which others a piece of a glob leads.
///
/// Following all positions at once is what makes many label values cheap: a placeholder leads to the union of
/// what its values lead to, and no combination of values is ever built.
pub(super) struct Walk<'n> {
    name: &'n str,
    spare: Positions,
}

impl<'n> Walk<'n> {
    pub(super) fn new(name: &'n str) -> Walk<'n> {
        Walk { name, spare: Positions::none(name.len()) }
    }

    pub(super) fn name(&self) -> &'n str {
        self.name
    }

    /// Only the start of the name.
    pub(super) fn start(&self) -> Positions {
        let mut positions = Positions::none(self.name.len());
        positions.add(0);
        positions
    }

    /// Every position of the name between two characters.
    pub(super) fn everywhere(&self) -> Positions {
        let mut positions = Positions::none(self.name.len());
        self.name.char_indices().for_each(|(at, _)| positions.add(at));
        positions.add(self.name.len());
        positions
    }

    /// Adds to `to` where `text` leads to from `from`.
    pub(super) fn text(
        &self,
        text: &str,
        from: &Positions,
        to: &mut Positions,
        budget: &mut Budget,
    ) -> Result<(), Spent> {
        for at in from.iter() {
            budget.spend(1)?;
            if self.name.as_bytes().get(at..).is_some_and(|rest| rest.starts_with(text.as_bytes())) {
                to.add(at + text.len());
            }
        }
        Ok(())
    }

    /// Adds to `to` where the tokens, which hold no placeholder, lead to from `from`.
    pub(super) fn tokens(
        &mut self,
        tokens: &[Token],
        from: &Positions,
        to: &mut Positions,
        budget: &mut Budget,
    ) -> Result<(), Spent> {
        if let Some(text) = literal(tokens) {
            return self.text(text, from, to, budget);
        }
        let mut now = from.clone();
        let mut next = std::mem::take(&mut self.spare);
        next.words.resize(now.words.len(), 0);
        for token in tokens {
            next.clear();
            self.token(token, &now, &mut next, budget)?;
            std::mem::swap(&mut now, &mut next);
            if now.is_empty() {
                break;
            }
        }
        self.spare = next;
        to.add_all(&now);
        Ok(())
    }

    /// Adds to `to` where one token leads to from `from`; a placeholder leads nowhere here.
    pub(super) fn token(
        &self,
        token: &Token,
        from: &Positions,
        to: &mut Positions,
        budget: &mut Budget,
    ) -> Result<(), Spent> {
        match token {
            Token::Text(text) => self.text(text, from, to, budget),
            Token::Run => {
                budget.spend(self.name.len() + 1)?;
                let mut running = false;
                for (at, c) in self.name.char_indices() {
                    running |= from.has(at);
                    if running {
                        to.add(at);
                    }
                    running &= c != '/';
                }
                if running || from.has(self.name.len()) {
                    to.add(self.name.len());
                }
                Ok(())
            }
            Token::One => self.char(|c| c != '/', from, to, budget),
            Token::Set(set) => self.char(|c| set.takes(c), from, to, budget),
            Token::Slot(_) => Ok(()),
        }
    }

    fn char(
        &self,
        takes: impl Fn(char) -> bool,
        from: &Positions,
        to: &mut Positions,
        budget: &mut Budget,
    ) -> Result<(), Spent> {
        for at in from.iter() {
            budget.spend(1)?;
            if let Some(c) = self.name.get(at..).and_then(|rest| rest.chars().next())
                && takes(c)
            {
                to.add(at + c.len_utf8());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
