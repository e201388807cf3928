//! The policy language: requests ([`scope`], [`target`]), rules ([`rule`], [`pattern`]), decisions ([`acl`], [`explain`]), and
//! warnings about likely mistakes ([`lint`]).
//!
//! Pure: no I/O, no clock, no thread. The account, the time and the work that is left are arguments. What rules mean is in
//! `docs/reference/rules.md`.

pub mod acl;
pub mod analysis;
pub mod cut;
pub mod explain;
mod glob;
pub mod index;
pub mod lint;
pub mod names;
pub mod pattern;
mod re2;
mod regular;
pub mod rule;
pub mod scope;
pub mod target;

use std::net::IpAddr;
use std::sync::Arc;

use time::OffsetDateTime;

pub use glob::{Budget, Compiling, REQUEST_STEPS};
use pattern::LabelValues;
use rule::RuleId;
use scope::{Actions, Reference, Resource};

/// One question: may this account do these things to this resource?
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The account; empty for an anonymous client.
    pub account: &'a str,
    /// The account's labels.
    pub labels: &'a LabelValues,
    /// The client's address, if known; a rule with `ip` never matches without one.
    pub address: Option<IpAddr>,
    /// The registry that the token is for (its audience).
    pub service: &'a str,
    /// The requested resource.
    pub resource: &'a Resource,
    /// The requested actions.
    pub actions: &'a Actions,
    /// The requested tag or digest, if the request names one; a rule with `tag` or `reference` never matches without it.
    pub reference: Option<&'a Reference>,
    /// The time of the decision.
    pub now: OffsetDateTime,
}

/// The rule that a decision came from, for the log and `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// The rule's position in its list, counted from 0.
    pub index: usize,
    /// The rule's own number, if its source numbers rules.
    pub seq: Option<i64>,
    /// What the rule is found by wherever it stands; `None` where nobody shows us a rule.
    pub id: Option<RuleId>,
    /// The rule's comment, if it has one.
    pub comment: Option<Arc<str>>,
}

/// The answer of a source of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A rule decided; `actions` may be empty, which is a refusal and final.
    Decided {
        /// The granted actions, never more than were requested.
        actions: Actions,
        /// The rule that decided.
        by: RuleRef,
        /// When this answer expires by itself: the deciding rule ends, or one before it begins.
        until: Option<OffsetDateTime>,
    },
    /// No rule here matches: the next source is asked, and after the last one nothing is granted.
    NoMatch {
        /// When the first rule begins that would have matched.
        until: Option<OffsetDateTime>,
    },
}
