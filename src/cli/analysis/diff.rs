//! `dockwarden diff`: what two policies decide differently, for whom, and by which rules.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ::policy::analysis::{self, Difference, Findings, Shift, Side, Undecided};
use ::policy::pattern::LabelValue;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::policies::{Loaded, Named, Only};
use super::still;
use crate::cli::{DONE, FOUND, UNDECIDED, complain, say};
use crate::shown::printable;

/// The command's arguments.
#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The policy as it was: a configuration file, or git:REV:PATH
    old: String,
    /// The policy as it is to be: the same
    new: String,
    #[command(flatten)]
    only: Only,
    /// What makes the status 3
    #[arg(long, value_enum, default_value_t)]
    fail_on: FailOn,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What makes the status 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum FailOn {
    /// Anything that is decided differently
    #[default]
    Any,
    /// Only what is granted newly
    Granted,
}

/// Runs the command.
pub(in crate::cli) fn run(arguments: &Arguments) -> u8 {
    compare(arguments).unwrap_or_else(|message| complain(&format!("dockwarden: {message}")))
}

fn compare(arguments: &Arguments) -> Result<u8, String> {
    let (old, new) = (Loaded::read(&arguments.old)?, Loaded::read(&arguments.new)?);
    let narrow = arguments.only.narrow(new.policy.now);
    let Findings { differences, undecided } =
        analysis::diff(&old.world(), &new.world(), &narrow, &still(), &mut |_| {});
    let told = Told { arguments, old: &old, new: &new, now: new.policy.now };
    let counts = |shift| differences.iter().filter(|row| row.shift == shift).count();
    let found = match arguments.fail_on {
        FailOn::Any => !differences.is_empty(),
        FailOn::Granted => counts(Shift::Granted) > 0,
    };
    let status = match (found, undecided.is_empty()) {
        (true, _) => FOUND,
        (false, false) => UNDECIDED,
        (false, true) => DONE,
    };
    let text = match arguments.json {
        true => told.json(&differences, &undecided)?,
        false => told.text(&differences, &undecided),
    };
    Ok(say(&text, status))
}

/// How findings are told.
struct Told<'t> {
    arguments: &'t Arguments,
    old: &'t Loaded,
    new: &'t Loaded,
    now: OffsetDateTime,
}

/// One row of the answer, as JSON.
#[derive(Serialize)]
struct Row {
    account: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<BTreeMap<String, Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    scope: String,
    old_rule: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old_source: Option<&'static str>,
    new_rule: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_source: Option<&'static str>,
    accounts: Accounts,
}

#[derive(Serialize)]
struct Accounts {
    count: usize,
    first: Vec<String>,
}

/// What could not be told, as JSON.
#[derive(Serialize)]
struct Open {
    why: &'static str,
    old_rules: Vec<usize>,
    new_rules: Vec<usize>,
}

#[derive(Serialize)]
struct Answer {
    granted: Vec<Row>,
    withheld: Vec<Row>,
    undecided: Vec<Open>,
}

impl Told<'_> {
    fn rules(&self, row: &Difference) -> (Option<Named>, Option<Named>) {
        (row.old.and_then(|rule| self.old.named(rule)), row.new.and_then(|rule| self.new.named(rule)))
    }

    /// A moment that matters: what is true now needs none.
    fn at(&self, row: &Difference) -> Option<String> {
        let at = (row.place.now != self.now).then_some(row.place.now)?;
        at.format(&Rfc3339).ok()
    }

    fn row(&self, row: &Difference) -> Row {
        let (old, new) = self.rules(row);
        // The rules of the file are meant where no source is named.
        let source = |rule: &Option<Named>| rule.as_ref().map(|rule| rule.source).filter(|source| *source != "acl");
        let (old_source, new_source) = (source(&old), source(&new));
        Row {
            account: row.account.clone(),
            labels: row.labels.as_ref().map(|labels| {
                let texts = |values: &Vec<LabelValue>| values.iter().map(|value| value.text().to_owned()).collect();
                labels.iter().map(|(label, values)| (label.clone(), texts(values))).collect()
            }),
            ip: row.place.address,
            service: row.place.service.clone(),
            reference: row.place.reference.as_ref().map(|reference| reference.as_str().to_owned()),
            at: self.at(row),
            scope: format!("{}:{}:{}", row.place.kind, row.name, row.action),
            old_rule: old.map(|rule| rule.index),
            old_source,
            new_rule: new.map(|rule| rule.index),
            new_source,
            accounts: Accounts { count: row.count, first: row.first.clone() },
        }
    }

    fn json(&self, differences: &[Difference], undecided: &[Undecided]) -> Result<String, String> {
        let rows = |shift| differences.iter().filter(|row| row.shift == shift).map(|row| self.row(row)).collect();
        let of = |undecided: &Undecided, wanted: Side, policy: &Loaded| -> Vec<usize> {
            let own = undecided.rules.iter().filter(|(side, _)| *side == wanted);
            own.filter_map(|(_, rule)| Some(policy.named(*rule)?.index)).collect()
        };
        let answer = Answer {
            granted: rows(Shift::Granted),
            withheld: rows(Shift::Withheld),
            undecided: undecided
                .iter()
                .map(|undecided| Open {
                    why: undecided.why,
                    old_rules: of(undecided, Side::Old, self.old),
                    new_rules: of(undecided, Side::New, self.new),
                })
                .collect(),
        };
        serde_json::to_string_pretty(&answer).map(|text| format!("{text}\n")).map_err(|error| error.to_string())
    }

    fn text(&self, differences: &[Difference], undecided: &[Undecided]) -> String {
        let mut out = String::new();
        for row in differences {
            let word = match row.shift {
                Shift::Granted => "granted ",
                Shift::Withheld => "withheld",
            };
            let (old, new) = self.rules(row);
            let rule = |rule: Option<Named>| rule.map_or("no rule".to_owned(), |rule| rule.told());
            let Row { scope, .. } = self.row(row);
            out.push_str(&format!("{word}  {}  {} -> {}\n", printable(&scope), rule(old), rule(new)));
            let name = |account: &str| if account.is_empty() { "anonymous".to_owned() } else { printable(account) };
            out.push_str(&match row.labels {
                Some(_) => "          an account that cannot be listed, such as the one below\n".to_owned(),
                None => {
                    let first: Vec<String> = row.first.iter().map(|account| name(account)).collect();
                    let more = if row.count > first.len() { ", …" } else { "" };
                    format!("          {} account(s): {}{more}\n", row.count, first.join(", "))
                }
            });
            out.push_str(&format!("          {}\n", self.question(row, &scope)));
        }
        for Undecided { why, rules } in undecided {
            let named = |(side, rule): &(Side, usize)| {
                let (file, policy) = match side {
                    Side::Old => (&self.arguments.old, self.old),
                    Side::New => (&self.arguments.new, self.new),
                };
                Some(format!("{} of {}", policy.named(*rule)?.told(), printable(file)))
            };
            let named: Vec<String> = rules.iter().filter_map(named).collect();
            let named = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
            out.push_str(&format!("undecided {why}{named}\n"));
        }
        if differences.is_empty() && undecided.is_empty() {
            out.push_str("both decide everything alike\n");
        }
        out
    }

    /// The question as a command that says why.
    fn question(&self, row: &Difference, scope: &str) -> String {
        let file = match row.shift {
            Shift::Granted => &self.arguments.new,
            Shift::Withheld => &self.arguments.old,
        };
        let mut line = format!("dockwarden explain {}", quoted(file));
        let mut add = |option: &str, value: &str| line.push_str(&format!(" --{option} {}", quoted(value)));
        if !row.account.is_empty() {
            add("account", &row.account);
        }
        for (label, values) in row.labels.iter().flat_map(|labels| labels.iter()) {
            values.iter().for_each(|value| add("label", &format!("{label}={}", value.text())));
        }
        if let Some(address) = row.place.address {
            add("ip", &address.to_string());
        }
        if let Some(reference) = &row.place.reference {
            add("reference", reference.as_str());
        }
        add("service", &row.place.service);
        line.push_str(&format!(" {}", quoted(scope)));
        if let Some(at) = self.at(row) {
            line.push_str(&format!("  # at {at}"));
        }
        line
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=@,+".contains(letter);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", printable(word).replace('\'', r"'\''")),
    }
}
