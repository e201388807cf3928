//! Whole policies, and what is told of them: which rule a number means, and what was found as JSON.

mod compared;
mod diff;
mod who;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy::acl::Acl;
use policy::analysis::{Below, Term, Unlisted, World};
use policy::pattern::LabelValues;
use policy::rule::Rule;
use policy::scope::OUR_SERVICE;
use time::OffsetDateTime;

use crate::identity::{AccountState, Identity, Standing};
use crate::shown::printable;

pub use compared::{RuleTold, other_service};
pub use diff::{DiffTold, DifferenceTold};
pub use who::{
    OfPattern, SymbolicTold, TermTold, UndecidedTold, WayTold, WhatCanTold, WhoCanTold, actions_of, in_words, term,
    wanted,
};

/// The section whose rules are meant where none is named.
const USUAL: &str = "acl";

/// The rules of one section.
#[derive(Clone)]
pub struct List {
    /// The section.
    pub section: &'static str,
    /// Its rules.
    pub acl: Arc<Acl>,
    /// The rules' own numbers, in the same order, where it has such.
    pub seqs: Vec<Option<i64>>,
}

/// The accounts that can be listed; `""` is every client without one.
#[derive(Clone, Default)]
pub struct Listed {
    /// Their labels, or none where they are switched off.
    pub accounts: BTreeMap<String, Option<Arc<LabelValues>>>,
    /// When those of them may come in that may not always.
    pub terms: BTreeMap<String, Term>,
}

impl Listed {
    /// Lists one more.
    pub fn add(&mut self, name: &str, who: &Identity) {
        let Standing { state, not_before, not_after } = who.standing;
        let labels = match state {
            AccountState::Enabled => Some(Arc::clone(&who.labels)),
            AccountState::Disabled => None,
        };
        self.accounts.insert(name.to_owned(), labels);
        if not_before.is_some() || not_after.is_some() {
            self.terms.insert(name.to_owned(), Term { not_before, not_after });
        }
    }
}

/// A policy at one moment: its rules, and whoever it lets in.
pub struct WholePolicy {
    /// The lists of rules, in the order in which they are asked.
    pub lists: Vec<List>,
    /// The accounts that can be listed.
    pub listed: Listed,
    /// Who may ask besides.
    pub unlisted: Unlisted,
    /// The services that tokens are made for; none: any.
    pub services: Vec<String>,
    /// The services that rules see at the doors that need no token.
    pub door_services: BTreeSet<String>,
    /// What happens to what no rule matches.
    pub below: Below,
    /// The moment.
    pub now: OffsetDateTime,
}

/// A rule as it is told.
pub struct Named {
    /// Its section.
    pub section: &'static str,
    /// Its place there, from 0.
    pub index: usize,
    /// Its own number, where it has one.
    pub seq: Option<i64>,
    /// Its comment.
    pub comment: Option<String>,
}

impl Named {
    /// As the log names it, with its comment.
    pub fn told(&self) -> String {
        let place = match self.seq {
            Some(seq) => format!("{}[seq {seq}]", self.section),
            None => format!("{}[{}]", self.section, self.index),
        };
        match &self.comment {
            Some(comment) => format!("{place} ({})", printable(comment)),
            None => place,
        }
    }

    /// Its section, where that has to be said.
    fn unusual(&self) -> Option<&'static str> {
        Some(self.section).filter(|section| *section != USUAL)
    }
}

/// Rules as JSON names them.
#[derive(Default)]
pub struct Places {
    /// Their places in their sections, from 0.
    pub rules: Vec<usize>,
    /// Their sections, in the same order, where one of them has to be said.
    pub sources: Option<Vec<&'static str>>,
}

impl WholePolicy {
    /// What is asked about.
    pub fn world(&self) -> World<'_> {
        World {
            lists: self.lists.iter().map(|list| &*list.acl).collect(),
            accounts: self.listed.accounts.clone(),
            terms: self.listed.terms.clone(),
            services: self.services.clone(),
            known_services: self.door_services.iter().cloned().collect(),
            unlisted: self.unlisted,
            below: self.below,
        }
    }

    /// Whether anything is asked for this service: a token, or what is Dockwarden's own.
    pub fn knows(&self, service: &str) -> bool {
        self.services.is_empty() || self.services.iter().any(|known| known == service) || service == OUR_SERVICE
    }

    /// The rule with this number, counted through all lists.
    pub fn rule(&self, number: usize) -> Option<&Rule> {
        self.lists.iter().flat_map(|list| list.acl.rules()).nth(number)
    }

    /// Several of them, as JSON names them.
    pub fn places(&self, numbers: impl IntoIterator<Item = usize>) -> Places {
        let named: Vec<Named> = numbers.into_iter().filter_map(|number| self.named(number)).collect();
        let all_usual = named.iter().all(|rule| rule.unusual().is_none());
        Places {
            rules: named.iter().map(|rule| rule.index).collect(),
            sources: (!all_usual).then(|| named.iter().map(|rule| rule.section).collect()),
        }
    }

    /// One as it is told.
    pub fn named(&self, number: usize) -> Option<Named> {
        let mut above = 0;
        for List { section, acl, seqs } in &self.lists {
            let index = number.checked_sub(above)?;
            if let Some(rule) = acl.rules().get(index) {
                let comment = rule.comment().map(str::to_owned);
                return Some(Named { section, index, seq: seqs.get(index).copied().flatten(), comment });
            }
            above += acl.rules().len();
        }
        None
    }
}
