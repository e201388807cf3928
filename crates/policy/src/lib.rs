//! The policy language: what can be asked for ([`scope`], [`target`]), what a rule says ([`rule`], [`pattern`]), what a list
//! of rules decides ([`acl`], [`explain`]), and what in them is probably not meant ([`lint`]).
//!
//! Pure: no I/O, no clock, no thread. Who asks, at which moment and with how much work left are arguments. What rules mean is in
//! `docs/POLICY.md`.

pub mod acl;
pub mod explain;
mod glob;
pub mod index;
pub mod lint;
pub mod pattern;
mod re2;
pub mod rule;
pub mod scope;
pub mod target;

use std::net::IpAddr;
use std::sync::Arc;

use time::OffsetDateTime;

pub use glob::{Budget, Compiling, REQUEST_STEPS};
use pattern::LabelValues;
use scope::{Actions, Reference, Resource};

/// One question: may this account do these things to this resource?
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who asks; empty for nobody.
    pub account: &'a str,
    /// The account's labels.
    pub labels: &'a LabelValues,
    /// The client's address, where it is known; a rule with `ip` never matches without one.
    pub address: Option<IpAddr>,
    /// The registry that the token is for (its audience).
    pub service: &'a str,
    /// What is asked for.
    pub resource: &'a Resource,
    /// What is to be done to it.
    pub actions: &'a Actions,
    /// The tag or the digest that is asked for, where the door sees it; a rule with `tag` or `reference` never matches
    /// without one.
    pub reference: Option<&'a Reference>,
    /// The moment of the decision.
    pub now: OffsetDateTime,
}

/// Where a decision comes from, for the log and for `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// The rule's position in its list, counted from 0.
    pub index: usize,
    /// The number that the rule itself carries, where its source has such.
    pub seq: Option<i64>,
    /// The rule's comment, if it has one.
    pub comment: Option<Arc<str>>,
}

/// What a source of rules says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A rule decided; `actions` may be empty, which is a refusal and final.
    Decided {
        /// What is granted, never more than was asked.
        actions: Actions,
        /// The rule that decided.
        by: RuleRef,
        /// The moment at which this answer stops being true by itself: the deciding rule ends, or one before it begins.
        until: Option<OffsetDateTime>,
    },
    /// No rule here matches: the next source is asked, and after the last one nothing is granted.
    NoMatch {
        /// The moment at which a rule begins that would have matched.
        until: Option<OffsetDateTime>,
    },
}
