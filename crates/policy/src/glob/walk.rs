//! Matching a glob against a name from many positions at once, within a budget of work.

use super::{GlobToken, literal};
use crate::pattern::TooComplex;

/// A set of byte positions in one name, from 0 to its length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Positions {
    words: Vec<u64>,
}

impl Positions {
    /// Room for the positions of a name of `length` bytes; none is in it.
    pub(crate) fn none(length: usize) -> Positions {
        Positions { words: vec![0; length / 64 + 1] }
    }

    pub(crate) fn add(&mut self, at: usize) {
        if let Some(word) = self.words.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    pub(crate) fn has(&self, at: usize) -> bool {
        self.words.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    fn clear(&mut self) {
        self.words.fill(0);
    }

    pub(crate) fn add_all(&mut self, other: &Positions) {
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine |= theirs;
        }
    }

    pub(crate) fn remove_all(&mut self, other: &Positions) {
        for (mine, theirs) in self.words.iter_mut().zip(&other.words) {
            *mine &= !theirs;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
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

/// The work that deciding one request may take, for all its scopes and all rules, in steps of a few nanoseconds.
pub const REQUEST_STEPS: u64 = 10_000_000;

/// The work that a decision may still take before it is given up.
#[derive(Debug)]
pub struct Budget {
    left: u64,
    compiling: Compiling,
}

/// Whether regular expressions that have not been needed so far may be compiled now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiling {
    /// Yes. An expression is compiled once for all requests, so no request pays for it.
    Allowed,
    /// No: it takes too long for the thread that decides here.
    Elsewhere,
}

/// The budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent;

impl Budget {
    /// A budget of so many steps.
    pub fn new(steps: u64, compiling: Compiling) -> Budget {
        Budget { left: steps, compiling }
    }

    /// The budget of a whole request.
    pub fn for_request() -> Budget {
        Budget::new(REQUEST_STEPS, Compiling::Allowed)
    }

    /// Whether something may be compiled for all requests.
    pub(crate) fn compile(&self) -> Result<(), Spent> {
        match self.compiling {
            Compiling::Allowed => Ok(()),
            Compiling::Elsewhere => Err(Spent),
        }
    }

    pub(crate) fn spend(&mut self, steps: usize) -> Result<(), Spent> {
        self.left = self.left.checked_sub(u64::try_from(steps).unwrap_or(u64::MAX)).ok_or(Spent)?;
        Ok(())
    }

    /// Uses up so many steps, for what is decided by other means than rules.
    ///
    /// # Errors
    /// So many are not left.
    pub fn take(&mut self, steps: usize) -> Result<(), TooComplex> {
        Ok(self.spend(steps)?)
    }

    /// The remaining steps.
    pub fn left(&self) -> u64 {
        self.left
    }
}

/// From which positions of one name to which others a piece of a glob leads.
///
/// Following all positions at once is what makes many label values cheap: a placeholder leads to the union of
/// what its values lead to, and no combination of values is ever built.
pub(crate) struct Walk<'n> {
    name: &'n str,
    spare: Positions,
}

impl<'n> Walk<'n> {
    pub(crate) fn new(name: &'n str) -> Walk<'n> {
        Walk { name, spare: Positions::none(name.len()) }
    }

    pub(crate) fn name(&self) -> &'n str {
        self.name
    }

    /// Only the start of the name.
    pub(crate) fn start(&self) -> Positions {
        let mut positions = Positions::none(self.name.len());
        positions.add(0);
        positions
    }

    /// Every position of the name between two characters.
    pub(crate) fn everywhere(&self) -> Positions {
        let mut positions = Positions::none(self.name.len());
        self.name.char_indices().for_each(|(at, _)| positions.add(at));
        positions.add(self.name.len());
        positions
    }

    /// Adds to `to` where `text` leads to from `from`.
    pub(crate) fn text(
        &self,
        text: impl AsRef<[u8]>,
        from: &Positions,
        to: &mut Positions,
        budget: &mut Budget,
    ) -> Result<(), Spent> {
        let text = text.as_ref();
        for at in from.iter() {
            budget.spend(1)?;
            if self.name.as_bytes().get(at..).is_some_and(|rest| rest.starts_with(text)) {
                to.add(at + text.len());
            }
        }
        Ok(())
    }

    /// Adds to `to` where the tokens, which hold no placeholder, lead to from `from`.
    pub(crate) fn tokens(
        &mut self,
        tokens: &[GlobToken],
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
    pub(crate) fn token(
        &self,
        token: &GlobToken,
        from: &Positions,
        to: &mut Positions,
        budget: &mut Budget,
    ) -> Result<(), Spent> {
        match token {
            GlobToken::Text(text) => self.text(text, from, to, budget),
            GlobToken::Run => {
                let mut reached = from.clone();
                self.run(|c| c != '/', &mut reached, budget)?;
                to.add_all(&reached);
                Ok(())
            }
            GlobToken::One => self.char(|c| c != '/', from, to, budget),
            GlobToken::Set(set) => self.char(|c| set.takes(c), from, to, budget),
            GlobToken::Slot(_) => Ok(()),
        }
    }

    /// Adds where any number of characters that are taken lead to from what is reached.
    pub(crate) fn run(
        &self,
        takes: impl Fn(char) -> bool,
        reached: &mut Positions,
        budget: &mut Budget,
    ) -> Result<(), Spent> {
        budget.spend(self.name.len() + 1)?;
        let mut running = false;
        for (at, c) in self.name.char_indices() {
            running |= reached.has(at);
            if running {
                reached.add(at);
                running = takes(c);
            }
        }
        if running {
            reached.add(self.name.len());
        }
        Ok(())
    }

    /// Adds to `to` where one character that is taken leads to from `from`.
    pub(crate) fn char(
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
