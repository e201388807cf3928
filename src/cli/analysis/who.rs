//! `dockwarden who-can` and `what-can`: everybody who may do something, and everything that somebody may do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use ::policy::analysis::{self, Names, Symbolic, Unlisted, Wanted, Way, Ways};
use ::policy::pattern::{LabelValues, Pattern};
use ::policy::rule::Grants;
use ::policy::scope::{Action, OURS, Resource, words};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::policies::{Loaded, Only};
use super::still;
use crate::cli::{DONE, UNDECIDED, complain, say};
use crate::shown::printable;

/// The arguments of `who-can`.
#[derive(clap::Args)]
pub(in crate::cli) struct WhoArguments {
    /// The configuration file
    config: PathBuf,
    /// The action, such as push
    action: String,
    /// What it is done to, such as repository:team/app; the name may be a pattern as in rules: repository:team/*
    resource: String,
    /// Of a pattern: who may do it to at least one of the names (the default)
    #[arg(long, conflicts_with = "all")]
    any: bool,
    /// Of a pattern: who may do it to all of the names
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    only: Only,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The arguments of `what-can`.
#[derive(clap::Args)]
pub(in crate::cli) struct WhatArguments {
    /// The configuration file
    config: PathBuf,
    /// The account; "" is every client without one
    account: String,
    #[command(flatten)]
    only: Only,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A way to a right, as JSON.
#[derive(Serialize)]
struct ToldWay {
    rule: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    services: BTreeSet<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    /// Rules above it that decide otherwise where they match too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    except: Vec<usize>,
    example: String,
}

#[derive(Serialize)]
struct ToldAccount {
    account: String,
    always: bool,
    ways: Vec<ToldWay>,
}

#[derive(Serialize)]
struct ToldSymbolic {
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(flatten)]
    way: ToldWay,
}

#[derive(Serialize)]
struct ToldOpen {
    why: &'static str,
    rules: Vec<usize>,
}

#[derive(Serialize)]
struct Who {
    accounts: Vec<ToldAccount>,
    symbolic: Vec<ToldSymbolic>,
    undecided: Vec<ToldOpen>,
}

#[derive(Serialize)]
struct ToldCan {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: String,
    #[serde(flatten)]
    way: ToldWay,
}

#[derive(Serialize)]
struct What {
    account: String,
    rules: Vec<ToldCan>,
    undecided: Vec<ToldOpen>,
}

/// Runs `who-can`.
pub(in crate::cli) fn who_can(arguments: &WhoArguments) -> u8 {
    who(arguments).unwrap_or_else(|message| complain(&format!("dockwarden: {message}")))
}

/// Runs `what-can`.
pub(in crate::cli) fn what_can(arguments: &WhatArguments) -> u8 {
    what(arguments).unwrap_or_else(|message| complain(&format!("dockwarden: {message}")))
}

fn who(arguments: &WhoArguments) -> Result<u8, String> {
    let WhoArguments { config, action, resource, any: _, all, only, json } = arguments;
    let action = Action::parse(action).ok_or_else(|| format!("\"{}\" is not an action", printable(action)))?;
    let Some((kind, name)) = resource.split_once(':') else {
        return Err(format!("\"{0}\" names no type; meant: repository:{0}", printable(resource)));
    };
    let pattern = Pattern::compile(name).map_err(|error| error.to_string())?;
    let names = match (pattern.literal(), all) {
        (Some(name), _) => Names::One(name.to_owned()),
        (None, false) => Names::AnyOf(pattern),
        (None, true) => Names::AllOf(pattern),
    };
    if let Names::One(name) = &names {
        let one = if kind == OURS { Resource::ours(name) } else { Resource::new(kind, name) };
        one.map_err(|_| {
            format!("{}: nobody can ask about that: it is no name of type {}", printable(name), printable(kind))
        })?;
    }
    if let Some(placeholder) = match &names {
        Names::AnyOf(pattern) | Names::AllOf(pattern) => pattern.placeholders().next(),
        Names::One(_) => None,
    } {
        return Err(format!(
            "{placeholder} stands for nothing here: a name or a pattern without placeholders is wanted"
        ));
    }
    let policy = Loaded::read(&config.to_string_lossy())?;
    let wanted = Wanted { action, kind: kind.to_owned(), names };
    let found = analysis::who_can(&policy.world(), &wanted, &only.narrow(policy.policy.now), &still());
    let status = if found.undecided.is_empty() { DONE } else { UNDECIDED };
    if *json {
        let account = |(account, Ways { ways, always }): &(String, Ways)| ToldAccount {
            account: account.clone(),
            always: *always,
            ways: ways.iter().filter_map(|way| told(&policy, way)).collect(),
        };
        let answer = Who {
            accounts: found.accounts.iter().map(account).collect(),
            symbolic: found.symbolic.iter().filter_map(|other| symbolic(&policy, other)).collect(),
            undecided: open(&policy, &found.undecided),
        };
        return print(&answer, status);
    }
    let mut out = String::new();
    for (account, Ways { ways, always }) in &found.accounts {
        let name = if account.is_empty() { "anonymous".to_owned() } else { printable(account) };
        let told: Vec<String> = ways.iter().map(|way| in_words(&policy, way)).collect();
        out.push_str(&format!("{name}  {}{}\n", told.join("; or "), if *always { "" } else { " (on conditions)" }));
    }
    for other in &found.symbolic {
        let Some(ToldSymbolic { account, labels, way: _ }) = symbolic(&policy, other) else { continue };
        let who = account.map_or("anyone".to_owned(), |account| format!("anyone called {}", printable(&account)));
        let with: Vec<String> = labels.iter().map(|(label, value)| printable(&format!("{label}={value}"))).collect();
        let with = if with.is_empty() { String::new() } else { format!(" with {}", with.join(", ")) };
        out.push_str(&format!("{who}{with}  {}\n", in_words(&policy, &other.way)));
    }
    if out.is_empty() {
        out.push_str("nobody\n");
    }
    out.push_str(&undecided(&policy, &found.undecided));
    Ok(say(&out, status))
}

fn what(arguments: &WhatArguments) -> Result<u8, String> {
    let WhatArguments { config, account, only, json } = arguments;
    let policy = Loaded::read(&config.to_string_lossy())?;
    let labels: Arc<LabelValues> = match (policy.accounts.get(account), policy.unlisted) {
        (Some(Some(labels)), _) => Arc::clone(labels),
        (Some(None), _) => return Err(format!("{}: the account is closed, and may do nothing", printable(account))),
        (None, Unlisted::Anybody) if !account.is_empty() => Arc::default(),
        (None, _) => return Err(format!("{}: nobody lets this account in", printable(account))),
    };
    let narrow = only.narrow(policy.policy.now);
    let found = analysis::what_can(&policy.world(), account, &labels, &narrow, &still());
    let status = if found.undecided.is_empty() { DONE } else { UNDECIDED };
    let actions = |rule: usize| match policy.rule(rule).map(|rule| rule.grants()) {
        Some(Grants::All) => "*".to_owned(),
        Some(Grants::Listed(listed)) => words(listed),
        None => String::new(),
    };
    let granting: Vec<_> = found.rules.iter().filter(|can| !actions(can.way.rule).is_empty()).collect();
    if *json {
        let can = |can: &&analysis::Can| {
            let (kind, name) = (can.kind.clone(), can.name.clone());
            Some(ToldCan { kind, name, actions: actions(can.way.rule), way: told(&policy, &can.way)? })
        };
        let answer = What {
            account: account.clone(),
            rules: granting.iter().filter_map(can).collect(),
            undecided: open(&policy, &found.undecided),
        };
        return print(&answer, status);
    }
    let mut out = String::new();
    for can in granting {
        let scope = printable(&format!("{}:{}:{}", can.kind, can.name, actions(can.way.rule)));
        out.push_str(&format!("{scope}  {}, such as {}\n", in_words(&policy, &can.way), printable(&can.way.example)));
    }
    if out.is_empty() {
        out.push_str("nothing\n");
    }
    out.push_str(&undecided(&policy, &found.undecided));
    Ok(say(&out, status))
}

fn print(answer: &impl Serialize, status: u8) -> Result<u8, String> {
    let text = serde_json::to_string_pretty(answer).map_err(|error| error.to_string())?;
    Ok(say(&format!("{text}\n"), status))
}

fn told(policy: &Loaded, way: &Way) -> Option<ToldWay> {
    let (rule, named) = (policy.rule(way.rule)?, policy.named(way.rule)?);
    let moment = |moment: Option<OffsetDateTime>| moment.and_then(|moment| moment.format(&Rfc3339).ok());
    let (from, until) = rule.window();
    Some(ToldWay {
        rule: named.index,
        source: Some(named.source).filter(|source| *source != "acl"),
        comment: named.comment,
        services: way.services.clone(),
        ip: rule.network().map(ToString::to_string),
        tag: rule.tag().map(|tag| tag.text().to_owned()),
        reference: rule.reference().map(|kind| kind.as_str()),
        from: moment(from),
        until: moment(until),
        except: way.except.iter().filter_map(|rule| Some(policy.named(*rule)?.index)).collect(),
        example: way.example.clone(),
    })
}

fn symbolic(policy: &Loaded, other: &Symbolic) -> Option<ToldSymbolic> {
    let rule = policy.rule(other.way.rule)?;
    let own = rule.pattern(::policy::pattern::Field::Account);
    let account = match own {
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
    Some(ToldSymbolic { account, labels: other.labels.iter().map(label).collect(), way: told(policy, &other.way)? })
}

/// A way as people read it: `acl[3] (the team), from 10.0.0.0/8, until 2027-01-01T00:00:00Z`.
fn in_words(policy: &Loaded, way: &Way) -> String {
    let (Some(told), Some(named)) = (told(policy, way), policy.named(way.rule)) else { return String::new() };
    let mut words = vec![named.told()];
    let one_of_many = policy.policy.services.len() != way.services.len();
    if one_of_many && !policy.policy.services.is_empty() {
        let services: Vec<&str> = told.services.iter().map(String::as_str).collect();
        words.push(format!("for {}", printable(&services.join(", "))));
    }
    words.extend(told.ip.map(|network| format!("from {network}")));
    words.extend(told.tag.map(|tag| format!("tag {}", printable(&tag))));
    words.extend(told.reference.map(|kind| format!("by {kind}")));
    words.extend(told.from.map(|moment| format!("not before {moment}")));
    words.extend(told.until.map(|moment| format!("until {moment}")));
    if !way.except.is_empty() {
        let except = way.except.iter().filter_map(|rule| Some(policy.named(*rule)?.told()));
        words.push(format!("except where {} decides", except.collect::<Vec<_>>().join(" or ")));
    }
    words.join(", ")
}

fn open(policy: &Loaded, undecided: &[(&'static str, BTreeSet<usize>)]) -> Vec<ToldOpen> {
    let rules = |rules: &BTreeSet<usize>| rules.iter().filter_map(|rule| Some(policy.named(*rule)?.index)).collect();
    undecided.iter().map(|(why, of)| ToldOpen { why, rules: rules(of) }).collect()
}

fn undecided(policy: &Loaded, undecided: &[(&'static str, BTreeSet<usize>)]) -> String {
    let line = |(why, rules): &(&'static str, BTreeSet<usize>)| {
        let named: Vec<String> = rules.iter().filter_map(|rule| Some(policy.named(*rule)?.told())).collect();
        let named = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
        format!("undecided {why}{named}\n")
    };
    undecided.iter().map(line).collect()
}
