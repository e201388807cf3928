//! Who may do something, and what somebody may do, as JSON.

use std::collections::{BTreeMap, BTreeSet};

use policy::analysis::{Can, Names, Symbolic, Term, Tie, Wanted, Way, Ways, WhatCan, WhoCan};
use policy::pattern::{Field, Pattern};
use policy::rule::Grants;
use policy::scope::{Action, Resource, words};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Named, Places, WholePolicy};
use crate::shown::printable;

/// Which names of a pattern are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfPattern {
    /// At least one of them.
    Any,
    /// All of them.
    All,
}

/// A way to a right: a rule that gives it, with its conditions.
#[derive(Debug, Serialize)]
pub struct WayTold {
    rule: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    /// The services for which it is one.
    pub services: BTreeSet<String>,
    /// The services as the rule has them, where tokens are made for any, and those that were tried stand for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// With which tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// By tag or by digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<&'static str>,
    /// From when on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Rules above it that decide otherwise where they match too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    except: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    except_sources: Option<Vec<&'static str>>,
    /// What has to agree with the name, where several are asked about.
    #[serde(rename = "where", skip_serializing_if = "Vec::is_empty")]
    where_name: Vec<TieTold>,
    example: String,
}

/// A condition that takes something from the name.
#[derive(Debug, Serialize)]
struct TieTold {
    field: String,
    pattern: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
}

/// When an account may come in.
#[derive(Debug, Serialize)]
pub struct TermTold {
    /// From when on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

#[derive(Debug, Serialize)]
struct AccountTold {
    account: String,
    #[serde(flatten)]
    term: TermTold,
    always: bool,
    ways: Vec<WayTold>,
}

/// Accounts that cannot be listed, and what they need.
#[derive(Debug, Serialize)]
pub struct SymbolicTold {
    /// What they are called, where that matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The labels that they need.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(flatten)]
    way: WayTold,
}

/// What could not be told.
#[derive(Debug, Serialize)]
pub struct UndecidedTold {
    why: &'static str,
    rules: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sources: Option<Vec<&'static str>>,
}

/// Everybody who may do something.
#[derive(Debug, Serialize)]
pub struct WhoCanTold {
    accounts: Vec<AccountTold>,
    symbolic: Vec<SymbolicTold>,
    undecided: Vec<UndecidedTold>,
}

#[derive(Debug, Serialize)]
struct CanTold {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: String,
    #[serde(flatten)]
    way: WayTold,
}

/// Everything that an account may do.
#[derive(Debug, Serialize)]
pub struct WhatCanTold {
    account: String,
    #[serde(flatten)]
    term: TermTold,
    rules: Vec<CanTold>,
    undecided: Vec<UndecidedTold>,
}

/// What is asked about: an action, and what it is done to, `type:name`. The name may be a pattern as in rules.
///
/// # Errors
/// What is wrong, in words that repeat nothing of it.
pub fn wanted(action: &str, resource: &str, of_pattern: OfPattern) -> Result<Wanted, String> {
    let action = Action::parse(action).ok_or("the action is none; write pull, push, delete or \"*\"")?;
    let (kind, name) = resource.split_once(':').ok_or("what it is done to names no type; write repository:team/app")?;
    let pattern = Pattern::compile(name).map_err(|error| error.to_string())?;
    let names = match (pattern.literal(), of_pattern) {
        (Some(name), _) => {
            let one = Resource::of_type(kind, name);
            one.map_err(|_| "nobody can ask about that: it is no name of its type")?;
            Names::One(name.to_owned())
        }
        (None, _) if pattern.placeholders().next().is_some() => {
            return Err("a placeholder stands for nothing here: a name or a pattern without one is wanted".to_owned());
        }
        (None, OfPattern::Any) => Names::AnyOf(pattern),
        (None, OfPattern::All) => Names::AllOf(pattern),
    };
    Ok(Wanted { action, kind: kind.to_owned(), names })
}

/// What a rule grants there, in words; nothing where it refuses, or lists only what nobody asks for there.
pub fn actions_of(policy: &WholePolicy, can: &Can) -> String {
    match policy.rule(can.way.rule).map(|rule| rule.grants()) {
        Some(Grants::All) => "*".to_owned(),
        Some(Grants::Listed(listed)) => words(&can.rights(listed)),
        None => String::new(),
    }
}

fn moment_told(moment: Option<OffsetDateTime>) -> Option<String> {
    moment.and_then(|moment| moment.format(&Rfc3339).ok())
}

impl TermTold {
    /// When this account may come in.
    pub fn of(policy: &WholePolicy, account: &str) -> TermTold {
        let Term { not_before, not_after } = policy.listed.terms.get(account).copied().unwrap_or_default();
        TermTold { from: moment_told(not_before), until: moment_told(not_after) }
    }
}

impl TieTold {
    fn of(tie: &Tie) -> TieTold {
        TieTold { field: tie.field.to_string(), pattern: tie.pattern.clone(), values: tie.values.clone() }
    }

    /// As people read it: `labels.team (web or api) matches "${name:1}"`.
    fn in_words(&self) -> String {
        let values: Vec<String> = self.values.iter().map(|value| printable(value)).collect();
        let values = if values.is_empty() { String::new() } else { format!(" ({})", values.join(" or ")) };
        format!("{}{values} matches \"{}\"", printable(&self.field), printable(&self.pattern))
    }
}

impl WayTold {
    /// A way by a rule of this policy.
    pub fn of(policy: &WholePolicy, way: &Way) -> Option<WayTold> {
        let (rule, named) = (policy.rule(way.rule)?, policy.named(way.rule)?);
        let (from, until) = rule.window();
        let source = named.unusual();
        let Places { rules: except, sources: except_sources } = policy.places(way.except.iter().copied());
        let Named { index, comment, section: _, seq: _ } = named;
        Some(WayTold {
            rule: index,
            source,
            comment,
            services: way.services.clone(),
            service: rule
                .pattern(Field::Service)
                .filter(|_| policy.services.is_empty())
                .map(|own| own.text().to_owned()),
            ip: rule.network().map(ToString::to_string),
            tag: rule.tag().map(|tag| tag.text().to_owned()),
            reference: rule.reference().map(|kind| kind.as_str()),
            from: moment_told(from),
            until: moment_told(until),
            except,
            except_sources,
            where_name: way.where_name.iter().map(TieTold::of).collect(),
            example: way.example.clone(),
        })
    }
}

impl SymbolicTold {
    /// Accounts that cannot be listed, by a rule of this policy.
    pub fn of(policy: &WholePolicy, other: &Symbolic) -> Option<SymbolicTold> {
        let rule = policy.rule(other.way.rule)?;
        let account = match rule.pattern(Field::Account) {
            // The pattern says more than the one account that was tried.
            Some(pattern) if pattern.placeholders().next().is_none() => Some(pattern.text().to_owned()),
            Some(_) | None => other.account.clone(),
        };
        let label = |(label, values): (&String, &BTreeSet<String>)| {
            let pattern = rule.label_patterns().iter().find(|(own, _)| own == label).map(|(_, pattern)| pattern);
            let value = match pattern {
                Some(pattern) if pattern.placeholders().next().is_none() => pattern.text().to_owned(),
                Some(_) | None => values.iter().cloned().collect::<Vec<_>>().join(","),
            };
            (label.clone(), value)
        };
        let labels = other.labels.iter().map(label).collect();
        Some(SymbolicTold { account, labels, way: WayTold::of(policy, &other.way)? })
    }
}

impl UndecidedTold {
    /// What could not be told of this policy.
    fn all(policy: &WholePolicy, undecided: &[(&'static str, BTreeSet<usize>)]) -> Vec<UndecidedTold> {
        let told = |(why, of): &(&'static str, BTreeSet<usize>)| {
            let Places { rules, sources } = policy.places(of.iter().copied());
            UndecidedTold { why, rules, sources }
        };
        undecided.iter().map(told).collect()
    }
}

impl WhoCanTold {
    /// What was found in this policy.
    pub fn of(found: &WhoCan, policy: &WholePolicy) -> WhoCanTold {
        let account = |(account, Ways { ways, always }): &(String, Ways)| AccountTold {
            account: account.clone(),
            term: TermTold::of(policy, account),
            always: *always,
            ways: ways.iter().filter_map(|way| WayTold::of(policy, way)).collect(),
        };
        WhoCanTold {
            accounts: found.accounts.iter().map(account).collect(),
            symbolic: found.symbolic.iter().filter_map(|other| SymbolicTold::of(policy, other)).collect(),
            undecided: UndecidedTold::all(policy, &found.undecided),
        }
    }
}

impl WhatCanTold {
    /// What was found in this policy about an account: what rules grant it.
    pub fn of(found: &WhatCan, account: &str, policy: &WholePolicy) -> WhatCanTold {
        let rules = found.rules.iter().filter_map(|can| {
            let actions = actions_of(policy, can);
            let (kind, name) = (can.kind.clone(), can.name.clone());
            (!actions.is_empty()).then_some(CanTold { kind, name, actions, way: WayTold::of(policy, &can.way)? })
        });
        WhatCanTold {
            account: account.to_owned(),
            term: TermTold::of(policy, account),
            rules: rules.collect(),
            undecided: UndecidedTold::all(policy, &found.undecided),
        }
    }
}

/// When an account may come in, if not always, behind its name.
pub fn term(policy: &WholePolicy, account: &str) -> String {
    let TermTold { from, until } = TermTold::of(policy, account);
    let from = from.map(|moment| format!(", not before {moment}")).unwrap_or_default();
    from + &until.map(|moment| format!(", until {moment}")).unwrap_or_default()
}

/// A way as people read it: `acl[3] (the team), from 10.0.0.0/8, until 2027-01-01T00:00:00Z`.
pub fn in_words(policy: &WholePolicy, way: &Way) -> String {
    let (Some(told), Some(named)) = (WayTold::of(policy, way), policy.named(way.rule)) else { return String::new() };
    let mut words = vec![named.told()];
    let one_of_many = policy.services.len() != way.services.len();
    if one_of_many && !policy.services.is_empty() {
        let services: Vec<&str> = told.services.iter().map(String::as_str).collect();
        words.push(format!("for {}", printable(&services.join(", "))));
    }
    words.extend(told.service.map(|pattern| format!("for services {}", printable(&pattern))));
    words.extend(told.ip.map(|network| format!("from {network}")));
    words.extend(told.tag.map(|tag| format!("tag {}", printable(&tag))));
    words.extend(told.reference.map(|kind| format!("by {kind}")));
    words.extend(told.from.map(|moment| format!("not before {moment}")));
    words.extend(told.until.map(|moment| format!("until {moment}")));
    if !told.where_name.is_empty() {
        let ties: Vec<String> = told.where_name.iter().map(TieTold::in_words).collect();
        words.push(format!("where {}", ties.join(" and ")));
    }
    if !way.except.is_empty() {
        let except = way.except.iter().filter_map(|rule| Some(policy.named(*rule)?.told()));
        words.push(format!("except where {} decides", except.collect::<Vec<_>>().join(" or ")));
    }
    words.join(", ")
}
