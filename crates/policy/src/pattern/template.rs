//! The placeholders of a written pattern and their positions.

use super::bindings::{Bindings, Field, Filling, Placeholder};
use crate::glob::Span;

/// The placeholders of one written pattern.
#[derive(Debug, Default)]
pub(super) struct Template {
    /// Each once, in the order of first use: a slot is an index in here.
    pub(super) slots: Vec<Slot>,
    /// Where they stand in the pattern, in the order they are written.
    pub(super) spans: Vec<Span>,
    /// Text that looks like a placeholder but is not one, as written, each once.
    pub(super) unknown: Vec<String>,
}

/// One placeholder, however often it is used.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) placeholder: Placeholder,
    /// In how many places it stands, and one more for each that is repeated: its value is the same in all of them.
    pub(super) uses: usize,
}

impl Template {
    /// Finds the placeholders in a written pattern, from left to right and never inside one another.
    pub(super) fn read(text: &str) -> Template {
        let mut template = Template::default();
        let mut from = 0;
        while let Some((start, inside)) = next_placeholder(text, from) {
            if let Some(placeholder) = parse_placeholder(inside) {
                let end = start + inside.len() + 3;
                template.add(placeholder, start, end);
                from = end;
                continue;
            }
            if inside.starts_with(|c: char| c.is_ascii_alphabetic())
                && !inside.contains(['$', '{', '/', '[', '(', '\\'])
            {
                let written = format!("${{{inside}}}");
                if !template.unknown.contains(&written) {
                    template.unknown.push(written);
                }
            }
            from = start + 2;
        }
        template
    }

    fn add(&mut self, placeholder: Placeholder, start: usize, end: usize) {
        let slot = self.slots.iter().position(|slot| slot.placeholder == placeholder).unwrap_or(self.slots.len());
        match self.slots.get_mut(slot) {
            Some(known) => known.uses += 1,
            None => self.slots.push(Slot { placeholder, uses: 1 }),
        }
        self.spans.push(Span { start, end, slot });
    }

    /// Says which slots a repetition may take more than once.
    pub(super) fn repeat(&mut self, repeated: &[usize]) {
        for slot in repeated {
            if let Some(slot) = self.slots.get_mut(*slot) {
                slot.uses += 1;
            }
        }
    }

    /// What each slot may stand for.
    pub(super) fn fillings<'a>(&self, bindings: &Bindings<'a>) -> Vec<Filling<'a>> {
        self.slots.iter().map(|slot| bindings.filling(&slot.placeholder)).collect()
    }
}

/// The next `${…}` at or after a byte: where it starts, and what it holds.
fn next_placeholder(text: &str, from: usize) -> Option<(usize, &str)> {
    let rest = text.get(from..)?;
    let offset = rest.find("${")?;
    let (inside, _) = rest.get(offset + 2..)?.split_once('}')?;
    Some((from + offset, inside))
}

fn parse_placeholder(inside: &str) -> Option<Placeholder> {
    if let Some(field) = Field::ALL.into_iter().find(|field| field.as_str() == inside) {
        return Some(Placeholder::Value(field));
    }
    let (of, which) = inside.split_once(':')?;
    if of == "labels" {
        return (!which.is_empty() && !which.contains(['$', '{'])).then(|| Placeholder::Label(which.to_owned()));
    }
    // As in docker_auth, a capture may begin with a capital letter: `${Account:1}`.
    let mut letters = of.chars();
    let first = letters.next()?.to_ascii_lowercase();
    let field = Field::ALL.into_iter().find(|field| field.as_str().strip_prefix(first) == Some(letters.as_str()))?;
    if which.is_empty() || !which.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // A number too large to hold names a group that does not exist.
    let group: usize = which.parse().unwrap_or(usize::MAX);
    (group >= 1).then_some(Placeholder::Capture(field, group))
}
