//! What whole lists of rules decide, for every question at once: what two policies decide differently, who may do something, and which rules
//! decide nothing.
//!
//! An account with its labels, a type, a service, an address, a moment and a tag are taken one for each kind that rules
//! tell apart (`places`). What is left of a rule then is a set of names, and nearly always a regular one (`held`): the names for
//! which two lists have different first matches are found by one walk through an automaton (`outcomes`). Nothing is
//! told that the ordinary decision did not confirm, so a mistake here can only miss something.

mod aligned;
mod decider;
mod diff;
mod held;
mod outcomes;
mod places;
mod samples;
mod spare;
mod unlisted;
mod who;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use time::OffsetDateTime;

pub use self::diff::{Difference, Findings, Shift, Side, Undecided, diff};
pub use self::spare::{After, Spare, mergeable, shadowed, spare};
pub use self::who::{Can, Names, Symbolic, Tie, Wanted, Way, Ways, WhatCan, WhoCan, deciding, what_can, who_can};

use super::acl::Acl;
use super::pattern::LabelValues;
use super::rule::{Grants, Rule};
use super::scope::{Action, Actions, OUR_SERVICE, OURS, Reference, Resource};
use super::{Answer, Budget, Compiling, Question};

/// Who may ask besides the listed accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// Nobody.
    Nobody,
    /// Accounts of any name, with any labels: of a directory, or whatever else cannot be listed.
    Anybody,
}

/// What happens to a question that no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Below {
    /// It is granted nothing.
    Nothing,
    /// Somebody else decides it, whose rules are not known. Two policies that have the same number ask the same one.
    SomebodyElse(u32),
}

impl Below {
    /// Whether anybody decides there.
    fn is_somebody(self) -> bool {
        match self {
            Below::Nothing => false,
            Below::SomebodyElse(_) => true,
        }
    }
}

/// Why nobody can tell what is decided below the rules.
const DECIDED_BELOW: &str = "what no rule matches is decided by somebody whose rules are not known";

/// When an account may come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// From this moment on, if not from ever.
    pub not_before: Option<OffsetDateTime>,
    /// Until just before this one, if not for ever.
    pub not_after: Option<OffsetDateTime>,
}

impl Term {
    fn holds(&self, now: OffsetDateTime) -> bool {
        self.not_before.is_none_or(|start| now >= start) && self.not_after.is_none_or(|end| now < end)
    }

    /// The moments at which it begins and ends, if they are later than this one.
    fn after(self, from: OffsetDateTime) -> impl Iterator<Item = OffsetDateTime> {
        [self.not_before, self.not_after].into_iter().flatten().filter(move |moment| *moment > from)
    }
}

/// A policy: rules, and who may ask.
#[derive(Clone, Debug)]
pub struct World<'p> {
    /// The lists of rules, in the order in which they are asked.
    pub lists: Vec<&'p Acl>,
    /// The accounts that can be listed, with their labels, or without where they are closed; `""` is every client without an account.
    pub accounts: BTreeMap<String, Option<Arc<LabelValues>>>,
    /// When those of them may come in that may not always.
    pub terms: BTreeMap<String, Term>,
    /// The services that tokens are issued for; none: any.
    pub services: Vec<String>,
    /// Where that is any: those that are known to be asked for, whatever rules say of services.
    pub known_services: Vec<String>,
    /// Who may ask besides.
    pub unlisted: Unlisted,
    /// What happens to what no rule matches.
    pub below: Below,
}

/// Where and when questions are asked, where that is not left open.
#[derive(Clone, Debug)]
pub struct Narrow {
    /// Only for this service.
    pub service: Option<String>,
    /// Only from this address.
    pub address: Option<IpAddr>,
    /// Only at this moment.
    pub at: Option<OffsetDateTime>,
    /// The earliest moment that matters: what ended before it is past.
    pub from: OffsetDateTime,
}

/// Where a question is asked from, when, and about what kind of thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The type of the resource.
    pub kind: String,
    /// The service.
    pub service: String,
    /// The client's address, if it is known.
    pub address: Option<IpAddr>,
    /// The tag or the digest, if the request names one.
    pub reference: Option<Reference>,
    /// The moment.
    pub now: OffsetDateTime,
}

impl<'p> World<'p> {
    /// The rules of all lists, one after the other: their numbers count through them.
    pub fn rules(&self) -> Vec<&'p Rule> {
        self.lists.iter().flat_map(|list| list.rules()).collect()
    }

    /// Whether anything of this type is asked for this service.
    fn serves(&self, kind: &str, service: &str) -> bool {
        match kind {
            OURS => service == OUR_SERVICE,
            _ => self.services.is_empty() || self.services.iter().any(|known| known == service),
        }
    }

    /// When an account may come in.
    fn term(&self, account: &str) -> Term {
        self.terms.get(account).copied().unwrap_or_default()
    }

    /// The labels with which an account asks at a moment; `None` where nobody lets it in.
    fn labels(&self, account: &str, now: OffsetDateTime) -> Option<Arc<LabelValues>> {
        match (self.accounts.get(account), self.unlisted) {
            (Some(labels), Unlisted::Nobody | Unlisted::Anybody) => {
                labels.clone().filter(|_| self.term(account).holds(now))
            }
            (None, Unlisted::Anybody) if !account.is_empty() => Some(Arc::default()),
            (None, Unlisted::Nobody | Unlisted::Anybody) => None,
        }
    }

    /// The rule that decides, by the ordinary decision; `Err` where that would take too much work.
    fn decide(&self, account: &str, labels: &LabelValues, place: &Place, name: &str) -> Result<Option<usize>, ()> {
        let resource = Resource::of_type(&place.kind, name).map_err(|_| ())?;
        let question = Question {
            account,
            labels,
            address: place.address,
            service: &place.service,
            resource: &resource,
            actions: &Actions::from([Action::Pull]),
            reference: place.reference.as_ref(),
            now: place.now,
        };
        let mut budget = Budget::new(super::REQUEST_STEPS, Compiling::Allowed);
        let mut above = 0;
        for list in &self.lists {
            match list.decide(&question, &mut budget).map_err(|_| ())? {
                Answer::Decided { by, .. } => return Ok(Some(above + by.index)),
                Answer::NoMatch { .. } => above += list.rules().len(),
            }
        }
        Ok(None)
    }
}

/// All words that rules tell apart: those that registries know, and those that any rule lists.
fn words<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Actions {
    let mut words = Actions::from([Action::All, Action::Delete, Action::Pull, Action::Push]);
    for rule in rules {
        match rule.grants() {
            Grants::All => {}
            Grants::Listed(listed) => words.extend(listed.iter().cloned()),
        }
    }
    words
}

/// Whether a rule grants a word that is asked for by itself. `*` is a word of its own: registries read it as everything.
fn grants(rule: Option<&&Rule>, word: &Action) -> bool {
    rule.is_some_and(|rule| rule.grants().of(&Actions::from([word.clone()])).contains(word))
}
