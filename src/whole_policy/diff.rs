//! What two policies decide differently, as JSON.

use std::collections::BTreeMap;
use std::net::IpAddr;

use policy::analysis::{Difference, Findings, Shift, Side, Undecided};
use policy::pattern::LabelValue;
use serde::Serialize;
use time::format_description::well_known::Rfc3339;

use super::{Named, Places, WholePolicy};

/// One row: what one pair of rules decides differently, with a shortest question that shows it.
#[derive(Debug, Serialize)]
pub struct DifferenceTold {
    account: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    /// The moment, where it is another than now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What is asked for.
    pub scope: String,
    old_rule: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_source: Option<&'static str>,
    new_rule: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_source: Option<&'static str>,
    accounts: Accounts,
}

#[derive(Debug, Serialize)]
struct Accounts {
    count: usize,
    first: Vec<String>,
}

/// What could not be told.
#[derive(Debug, Serialize)]
struct Open {
    why: String,
    old_rules: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_sources: Option<Vec<&'static str>>,
    new_rules: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_sources: Option<Vec<&'static str>>,
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct DiffTold {
    granted: Vec<DifferenceTold>,
    withheld: Vec<DifferenceTold>,
    undecided: Vec<Open>,
}

impl DifferenceTold {
    /// One difference between these two.
    pub fn of(row: &Difference, old: &WholePolicy, new: &WholePolicy) -> DifferenceTold {
        let (from, to) = (row.old.and_then(|rule| old.named(rule)), row.new.and_then(|rule| new.named(rule)));
        // A moment that matters: what is true now needs none.
        let at = (row.place.now != new.now).then_some(row.place.now);
        DifferenceTold {
            account: row.account.clone(),
            labels: row.labels.as_ref().map(|labels| {
                let texts = |values: &Vec<LabelValue>| values.iter().map(|value| value.text().to_owned()).collect();
                labels.iter().map(|(label, values)| (label.clone(), texts(values))).collect()
            }),
            ip: row.place.address,
            service: row.place.service.clone(),
            reference: row.place.reference.as_ref().map(|reference| reference.as_str().to_owned()),
            at: at.and_then(|at| at.format(&Rfc3339).ok()),
            scope: format!("{}:{}:{}", row.place.kind, row.name, row.action),
            old_source: from.as_ref().and_then(Named::unusual),
            old_rule: from.map(|rule| rule.index),
            new_source: to.as_ref().and_then(Named::unusual),
            new_rule: to.map(|rule| rule.index),
            accounts: Accounts { count: row.count, first: row.first.clone() },
        }
    }
}

impl DiffTold {
    /// What was found between these two.
    pub fn of(found: &Findings, old: &WholePolicy, new: &WholePolicy) -> DiffTold {
        let rows = |shift| {
            let rows = found.differences.iter().filter(|row| row.shift == shift);
            rows.map(|row| DifferenceTold::of(row, old, new)).collect()
        };
        let of = |undecided: &Undecided, wanted: Side, policy: &WholePolicy| -> Places {
            let own = undecided.rules.iter().filter(|(side, _)| *side == wanted);
            policy.places(own.map(|(_, rule)| *rule))
        };
        let open = |undecided: &Undecided| {
            let Places { rules: old_rules, sources: old_sources } = of(undecided, Side::Old, old);
            let Places { rules: new_rules, sources: new_sources } = of(undecided, Side::New, new);
            Open { why: undecided.why.clone().into_owned(), old_rules, old_sources, new_rules, new_sources }
        };
        DiffTold {
            granted: rows(Shift::Granted),
            withheld: rows(Shift::Withheld),
            undecided: found.undecided.iter().map(open).collect(),
        }
    }
}
