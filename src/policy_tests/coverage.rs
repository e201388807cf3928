//! What tests cover: which rules decided one, and which of a rule's conditions was seen to keep somebody out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy::Budget;
use policy::acl::Acl;
use policy::pattern::Field;
use policy::rule::{MatchField, Rule, RuleMatch};
use serde::Serialize;
use time::OffsetDateTime;

use super::run::{Outcome, Run, question, who};
use crate::access::Chain;
use crate::authz::InUse;

/// The rules that tests can cover: those that are shown.
#[derive(Debug, Serialize)]
pub struct Coverage {
    /// How many rules there are.
    pub rules: usize,
    /// How many of them decided a test.
    pub decided: usize,
    /// The same in percent, rounded down: 100 only where all did.
    pub percent: usize,
    /// Each rule.
    pub each: Vec<CoveredRule>,
}

/// One rule, as far as tests met it.
#[derive(Debug, Serialize)]
pub struct CoveredRule {
    /// The section that it stands in.
    pub source: &'static str,
    /// Its position there, from 0.
    pub rule: usize,
    /// Its line in the file, if it stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Its own number, if the source numbers rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// What it is found by wherever it stands.
    pub rule_id: String,
    /// Its comment.
    pub comment: Option<String>,
    /// How many tests it decided.
    pub decided: usize,
    /// How many more it matches, which an earlier rule decided.
    pub shadowed: usize,
    /// The conditions that kept nobody of the tests out: without them, all tests would hold as well.
    pub never_failed: Vec<String>,
}

#[derive(Default)]
struct Met {
    decided: usize,
    shadowed: usize,
    failed: BTreeSet<MatchField>,
}

impl Coverage {
    /// What the tests of a run cover. All rules are compared with all tests.
    pub fn of(run: &Run, chain: &Chain, sources: &[(&'static str, InUse)]) -> Coverage {
        let shown: Vec<_> = sources
            .iter()
            .filter_map(|(source, in_use)| match in_use {
                InUse::Rules { acl, seqs } => Some((*source, acl, seqs)),
                InUse::Policy(_) | InUse::Unread | InUse::Elsewhere => None,
            })
            .collect();
        let mut met: BTreeMap<(usize, usize), Met> = BTreeMap::new();
        for (test, verdict) in run.iter() {
            // A question without an answer is decided by nobody, and hides no rule.
            let is_answered = match verdict.outcome {
                Outcome::Holds | Outcome::Differs | Outcome::OtherRule => true,
                Outcome::NeedsMoment { .. }
                | Outcome::Waits { .. }
                | Outcome::Undecided { .. }
                | Outcome::TooComplex
                | Outcome::NotReached => false,
            };
            let Ok((identity, None)) = who(test, chain) else { continue };
            let question = question(test, &identity, test.at.unwrap_or(OffsetDateTime::UNIX_EPOCH));
            for (number, (source, acl, _)) in shown.iter().enumerate() {
                for (index, rule) in acl.rules().iter().enumerate() {
                    let met = met.entry((number, index)).or_default();
                    match rule.check(&question, &mut Budget::for_request()) {
                        Ok(RuleMatch::Fails(field)) => _ = met.failed.insert(field),
                        Ok(RuleMatch::Matches) if !is_answered => {}
                        Ok(RuleMatch::Matches) => {
                            let decides = verdict.by.as_ref();
                            match decides.is_some_and(|(own, by)| own == source && by.index == index) {
                                true => met.decided += 1,
                                false => met.shadowed += 1,
                            }
                        }
                        // The test itself says so.
                        Err(_) => {}
                    }
                }
            }
        }
        let mut each = Vec::new();
        for (number, (source, acl, seqs)) in shown.iter().enumerate() {
            let acl: &Arc<Acl> = acl;
            for (index, rule) in acl.rules().iter().enumerate() {
                let Met { decided, shadowed, failed } = met.remove(&(number, index)).unwrap_or_default();
                let never = conditions(rule).into_iter().filter(|field| !failed.contains(field));
                each.push(CoveredRule {
                    source,
                    rule: index,
                    line: None,
                    seq: seqs.get(index).copied().flatten(),
                    rule_id: rule.id().to_string(),
                    comment: rule.comment().map(str::to_owned),
                    decided,
                    shadowed,
                    never_failed: never.map(|field| field.to_string()).collect(),
                });
            }
        }
        let decided = each.iter().filter(|rule| rule.decided > 0).count();
        let percent = (decided * 100).checked_div(each.len()).unwrap_or(100);
        Coverage { rules: each.len(), decided, percent, each }
    }
}

/// The conditions that a rule has.
fn conditions(rule: &Rule) -> Vec<MatchField> {
    let fields = [Field::Account, Field::Type, Field::Name, Field::Service];
    let patterns = fields.into_iter().filter(|field| rule.pattern(*field).is_some()).map(MatchField::from);
    let others = [
        (rule.network().is_some(), MatchField::Ip),
        (rule.reference().is_some(), MatchField::Reference),
        (rule.tag().is_some(), MatchField::Tag),
        (rule.window().0.is_some(), MatchField::NotBefore),
        (rule.window().1.is_some(), MatchField::NotAfter),
    ];
    let others = others.into_iter().filter(|(is_there, _)| *is_there).map(|(_, field)| field);
    let labels = rule.label_patterns().iter().map(|(label, _)| MatchField::Label(label.clone()));
    patterns.chain(others).chain(labels).collect()
}
