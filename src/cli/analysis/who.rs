//! `dockwarden who-can` and `what-can`: everybody who may do something, and everything that somebody may do.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use ::policy::analysis::{self, Unlisted, Ways};
use ::policy::pattern::LabelValues;
use serde::Serialize;

use super::policies::{self, Only};
use super::{Refused, status, still};
use crate::cli::given::place;
use crate::cli::{DONE, UNDECIDED, say};
use crate::shell::quoted;
use crate::shown::printable;
use crate::whole_policy::{
    OfPattern, SymbolicTold, WhatCanTold, WhoCanTold, WholePolicy, actions_of, in_words, term, wanted,
};

#[derive(clap::Args)]
pub(in crate::cli) struct WhoArguments {
    /// The configuration: a file, git:REV:PATH, or "-" for standard input
    #[arg(value_parser = place())]
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

#[derive(clap::Args)]
pub(in crate::cli) struct WhatArguments {
    /// The configuration: a file, git:REV:PATH, or "-" for standard input
    #[arg(value_parser = place())]
    config: PathBuf,
    /// The account; "" is every client without one
    account: String,
    #[command(flatten)]
    only: Only,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs `who-can`.
pub(in crate::cli) fn who_can(arguments: &WhoArguments) -> u8 {
    status(who(arguments))
}

/// Runs `what-can`.
pub(in crate::cli) fn what_can(arguments: &WhatArguments) -> u8 {
    status(what(arguments))
}

fn who(arguments: &WhoArguments) -> Result<u8, Refused> {
    let WhoArguments { config, action, resource, any: _, all, only, json } = arguments;
    let of_pattern = if *all { OfPattern::All } else { OfPattern::Any };
    let wanted = wanted(action, resource, of_pattern)
        .map_err(|wrong| Refused::CommandLine(format!("{}: {wrong}", printable(&format!("{action} {resource}")))))?;
    let policy = policies::read(config)?;
    let found = analysis::who_can(&policy.world(), &wanted, &only.within([&policy])?, &still());
    let code = if found.undecided.is_empty() { DONE } else { UNDECIDED };
    if *json {
        return print(&WhoCanTold::of(&found, &policy), code);
    }
    let mut out = String::new();
    for (account, Ways { ways, always }) in &found.accounts {
        let name = if account.is_empty() { "anonymous".to_owned() } else { printable(account) };
        let told: Vec<String> = ways.iter().map(|way| in_words(&policy, way)).collect();
        let conditions = if *always { "" } else { " (on conditions)" };
        out.push_str(&format!("{name}{}  {}{conditions}\n", term(&policy, account), told.join("; or ")));
    }
    for other in &found.symbolic {
        let Some(SymbolicTold { account, labels, .. }) = SymbolicTold::of(&policy, other) else { continue };
        let who = account.map_or("anyone".to_owned(), |account| format!("anyone called {}", printable(&account)));
        let with: Vec<String> =
            labels.iter().map(|(label, value)| format!("{}={}", quoted(label), printable(value))).collect();
        let with = if with.is_empty() { String::new() } else { format!(" with {}", with.join(", ")) };
        out.push_str(&format!("{who}{with}  {}\n", in_words(&policy, &other.way)));
    }
    if out.is_empty() {
        out.push_str("nobody\n");
    }
    out.push_str(&undecided(&policy, &found.undecided));
    Ok(say(&out, code))
}

fn what(arguments: &WhatArguments) -> Result<u8, Refused> {
    let WhatArguments { config, account, only, json } = arguments;
    let policy = policies::read(config)?;
    let labels: Arc<LabelValues> = match (policy.listed.accounts.get(account), policy.unlisted) {
        (Some(Some(labels)), _) => Arc::clone(labels),
        (Some(None), _) => {
            return Err(format!("{}: the account is closed, and may do nothing", printable(account)).into());
        }
        (None, Unlisted::Anybody) if !account.is_empty() => Arc::default(),
        (None, _) if account.is_empty() => return Err("nobody comes in without an account".to_owned().into()),
        (None, _) => return Err(format!("{}: nobody lets this account in", printable(account)).into()),
    };
    let narrow = only.within([&policy])?;
    let found = analysis::what_can(&policy.world(), account, &labels, &narrow, &still());
    let code = if found.undecided.is_empty() { DONE } else { UNDECIDED };
    if *json {
        return print(&WhatCanTold::of(&found, account, &policy), code);
    }
    let mut out = match term(&policy, account) {
        always if always.is_empty() => String::new(),
        term => format!("{}{term}:\n", printable(account)),
    };
    let granting = found.rules.iter().map(|can| (can, actions_of(&policy, can)));
    let granting: Vec<_> = granting.filter(|(_, actions)| !actions.is_empty()).collect();
    for (can, actions) in &granting {
        let scope = printable(&format!("{}:{}:{actions}", can.kind, can.name));
        out.push_str(&format!("{scope}  {}, such as {}\n", in_words(&policy, &can.way), printable(&can.way.example)));
    }
    if granting.is_empty() {
        out.push_str(if found.undecided.is_empty() { "nothing\n" } else { "nothing that is sure\n" });
    }
    out.push_str(&undecided(&policy, &found.undecided));
    Ok(say(&out, code))
}

fn print(answer: &impl Serialize, code: u8) -> Result<u8, Refused> {
    let text = serde_json::to_string_pretty(answer).map_err(|error| error.to_string())?;
    Ok(say(&format!("{text}\n"), code))
}

fn undecided(policy: &WholePolicy, undecided: &[(&'static str, BTreeSet<usize>)]) -> String {
    let line = |(why, rules): &(&'static str, BTreeSet<usize>)| {
        let named: Vec<String> = rules.iter().filter_map(|rule| Some(policy.named(*rule)?.told())).collect();
        let named = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
        format!("undecided {why}{named}\n")
    };
    undecided.iter().map(line).collect()
}
