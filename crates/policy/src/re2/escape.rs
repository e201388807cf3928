//! What stands after a `\`: classes of characters, characters by their number, and quoted text.

use super::parser::Parser;
use super::tree::Node;
use super::unicode::unicode_set;
use super::{BadRegex, NEVER};

impl Parser<'_> {
    /// After a `\` outside a class.
    pub(super) fn escape(&mut self, start: usize) -> Result<(), BadRegex> {
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
                    // Half of a surrogate pair is not a character, and no text holds it.
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
    pub(super) fn set_escape(&mut self, start: usize) -> Result<Option<String>, BadRegex> {
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
            None => return self.refuse(start, "`\\p` needs a character class after it, as in `\\p{Greek}` or `\\pL`"),
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
                format!("`{bare}` is not a character class; write a general category as in `\\pL` or a script as in `\\p{{Greek}}`"),
            ),
        }
    }

    /// After a `\`: one character, by its number.
    pub(super) fn code_escape(&mut self, start: usize) -> Result<u32, BadRegex> {
        let Some(c) = self.take() else {
            return self.refuse(start, "it ends in a lone `\\`; write `\\\\` for a plain backslash, or remove it");
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
                None => return self.refuse(start, "a character code is written `\\x7F` or `\\x{10FFFF}`"),
            },
            _ if c.is_ascii() && !c.is_ascii_alphanumeric() => u32::from(c),
            _ => {
                return self.refuse(
                    start,
                    format!("`\\{c}` has no meaning here; for a plain `{c}` remove the `\\`, for a plain backslash write `\\\\`"),
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
}
