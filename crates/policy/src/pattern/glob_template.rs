//! Deciding on a glob with placeholders: each stands for any of its values, and no combination of them is built.

use super::bindings::{Bindings, Filling, LabelMeaning, LabelValue};
use super::template::{Slot, Template};
use crate::glob::{Budget, GlobToken, Positions, Spent, Walk};

/// Whether the whole of `subject` matches.
pub(super) fn matches(
    tokens: &[GlobToken],
    template: &Template,
    subject: &str,
    bindings: &Bindings<'_>,
    budget: &mut Budget,
) -> Result<bool, Spent> {
    let mut decision = Decision {
        walk: Walk::new(subject),
        slots: &template.slots,
        fillings: template.fillings(bindings),
        chosen: vec![None; template.slots.len()],
        budget,
    };
    let start = decision.walk.start();
    decision.run(tokens, start)
}

/// One glob held against one subject.
struct Decision<'d, 'a> {
    walk: Walk<'d>,
    slots: &'d [Slot],
    fillings: Vec<Filling<'a>>,
    /// The value settled on for a placeholder that is used more than once.
    chosen: Vec<Option<&'a LabelValue>>,
    budget: &'d mut Budget,
}

impl<'a> Decision<'_, 'a> {
    /// Whether the tokens lead from any of these positions to the end of the subject.
    fn run(&mut self, tokens: &[GlobToken], from: Positions) -> Result<bool, Spent> {
        let length = self.walk.name().len();
        let mut now = from;
        let mut tokens = tokens;
        while let Some((token, after)) = tokens.split_first() {
            tokens = after;
            let mut next = Positions::none(length);
            self.budget.spend(1 + length / 64)?;
            match token {
                GlobToken::Slot(slot) => match self.filling(*slot) {
                    Filling::Nothing => {}
                    Filling::Text(text) => self.walk.text(text, &now, &mut next, self.budget)?,
                    Filling::AnyOf(values)
                        if values.len() > 1 && self.slots.get(*slot).is_some_and(|slot| slot.uses > 1) =>
                    {
                        return self.choose(*slot, values, after, &now);
                    }
                    Filling::AnyOf(values) => {
                        for value in values {
                            self.value(value, &now, &mut next)?;
                        }
                    }
                },
                GlobToken::Text(_) | GlobToken::Run | GlobToken::One | GlobToken::Set(_) => {
                    self.walk.token(token, &now, &mut next, self.budget)?;
                }
            }
            if next.is_empty() {
                return Ok(false);
            }
            now = next;
        }
        Ok(now.has(length))
    }

    fn filling(&self, slot: usize) -> Filling<'a> {
        match self.chosen.get(slot) {
            Some(Some(value)) => Filling::AnyOf(std::slice::from_ref(*value)),
            Some(None) | None => self.fillings.get(slot).copied().unwrap_or(Filling::Nothing),
        }
    }

    fn settle(&mut self, slot: usize, value: Option<&'a LabelValue>) {
        if let Some(chosen) = self.chosen.get_mut(slot) {
            *chosen = value;
        }
    }

    /// Settles a placeholder that comes again later on each of its values in turn. A value that leads nowhere here is
    /// left at once, so that the work grows with the values that fit and not with all combinations.
    fn choose(
        &mut self,
        slot: usize,
        values: &'a [LabelValue],
        after: &[GlobToken],
        from: &Positions,
    ) -> Result<bool, Spent> {
        let length = self.walk.name().len();
        let mut next = Positions::none(length);
        for value in values {
            self.value(value, from, &mut next)?;
            if next.is_empty() {
                continue;
            }
            self.settle(slot, Some(value));
            let reached = std::mem::replace(&mut next, Positions::none(length));
            if self.run(after, reached)? {
                return Ok(true);
            }
        }
        self.settle(slot, None);
        Ok(false)
    }

    /// Adds to `to` where one label value leads to from `from`.
    fn value(&mut self, value: &LabelValue, from: &Positions, to: &mut Positions) -> Result<(), Spent> {
        match &value.meaning {
            LabelMeaning::Exactly(text) => self.walk.text(text, from, to, self.budget),
            LabelMeaning::Wildcards(tokens) => self.walk.tokens(tokens, from, to, self.budget),
        }
    }
}
