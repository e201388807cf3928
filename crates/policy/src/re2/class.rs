//! Classes in brackets, such as `[a-z]`, as the `regex` crate writes them.

use std::fmt::Write as _;

use super::parser::Parser;
use super::tree::Node;
use super::{BadRegex, NEVER};

/// The names that can stand in `[:…:]`.
const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

impl Parser<'_> {
    /// After a `[`.
    pub(super) fn class(&mut self, start: usize) -> Result<(), BadRegex> {
        let mut inside = String::new();
        let negated = self.eat("^");
        let mut first = true;
        while first || self.peek() != Some(']') {
            first = false;
            if self.rest().starts_with("[:")
                && let Some((name, _)) = self.rest().get(2..).and_then(|rest| rest.split_once(":]"))
            {
                self.at += name.len() + 4;
                if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return self.refuse(
                        start,
                        format!("`[:{name}:]` is not a character class; write one such as `[[:alnum:]]`"),
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

/// Appends a range without its surrogates, which no text holds.
pub(super) fn push_range(inside: &mut String, low: u32, high: u32) {
    for (low, high) in [(low, high.min(0xD7FF)), (low.max(0xE000), high)] {
        if low <= high {
            // Infallible: a String takes everything.
            let _ = write!(inside, r"\x{{{low:X}}}-\x{{{high:X}}}");
        }
    }
}
