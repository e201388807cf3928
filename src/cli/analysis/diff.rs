//! `dockwarden diff`: what two policies decide differently, for whom, and by which rules.

use std::path::PathBuf;

use ::policy::analysis::{self, Difference, Findings, Shift, Side, Undecided};

use super::policies::{self, Both, Only};
use super::{Refused, status, still};
use crate::cli::explain::written_label;
use crate::cli::given::{STANDARD_INPUT, place};
use crate::cli::{DONE, FOUND, UNDECIDED, say};
use crate::shell::quoted;
use crate::shown::{counted, printable};
use crate::whole_policy::{DiffTold, DifferenceTold, Named, WholePolicy};

#[derive(clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The policy as it was: a configuration file, git:REV:PATH, or "-" for standard input
    #[arg(value_parser = place())]
    old: PathBuf,
    /// The policy as it is to be: the same
    #[arg(value_parser = place())]
    new: PathBuf,
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
    status(compare(arguments))
}

fn compare(arguments: &Arguments) -> Result<u8, Refused> {
    if [&arguments.old, &arguments.new].into_iter().all(|place| place.as_os_str() == STANDARD_INPUT) {
        return Err(Refused::CommandLine("standard input can be one of the two only".to_owned()));
    }
    let Both { old, new, undecided: unlisted } = policies::read_both(&arguments.old, &arguments.new)?;
    let narrow = arguments.only.within([&old, &new])?;
    let mut found = analysis::diff(&old.world(), &new.world(), &narrow, &still(), &mut |_| {});
    found.undecided.extend(unlisted);
    let Findings { differences, undecided } = &found;
    let told = Told { arguments, old: &old, new: &new };
    let counts = |shift| differences.iter().filter(|row| row.shift == shift).count();
    let is_found = match arguments.fail_on {
        FailOn::Any => !differences.is_empty(),
        FailOn::Granted => counts(Shift::Granted) > 0,
    };
    let code = match (is_found, undecided.is_empty()) {
        (true, _) => FOUND,
        (false, false) => UNDECIDED,
        (false, true) => DONE,
    };
    let text = match arguments.json {
        true => {
            let text = serde_json::to_string_pretty(&DiffTold::of(&found, &old, &new));
            text.map_err(|error| error.to_string())? + "\n"
        }
        false => told.text(differences, undecided),
    };
    Ok(say(&text, code))
}

/// How findings are told.
struct Told<'t> {
    arguments: &'t Arguments,
    old: &'t WholePolicy,
    new: &'t WholePolicy,
}

impl Told<'_> {
    fn rules(&self, row: &Difference) -> (Option<Named>, Option<Named>) {
        (row.old.and_then(|rule| self.old.named(rule)), row.new.and_then(|rule| self.new.named(rule)))
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
            let DifferenceTold { scope, at, .. } = DifferenceTold::of(row, self.old, self.new);
            out.push_str(&format!("{word}  {}  {} -> {}\n", printable(&scope), rule(old), rule(new)));
            let name = |account: &str| if account.is_empty() { "anonymous".to_owned() } else { printable(account) };
            out.push_str(&match row.labels {
                Some(_) => "          an account that cannot be listed, such as the one below\n".to_owned(),
                None => {
                    let first: Vec<String> = row.first.iter().map(|account| name(account)).collect();
                    let more = if row.count > first.len() { ", …" } else { "" };
                    format!("          {}: {}{more}\n", counted(row.count, "account"), first.join(", "))
                }
            });
            out.push_str(&format!("          {}\n", self.question(row, &scope, at.as_deref())));
        }
        for Undecided { why, rules } in undecided {
            let named = |(side, rule): &(Side, usize)| {
                let (file, policy) = match side {
                    Side::Old => (&self.arguments.old, self.old),
                    Side::New => (&self.arguments.new, self.new),
                };
                Some(format!("{} of {}", policy.named(*rule)?.told(), printable(&file.to_string_lossy())))
            };
            let named: Vec<String> = rules.iter().filter_map(named).collect();
            let named = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
            out.push_str(&format!("undecided {}{named}\n", printable(why)));
        }
        if differences.is_empty() && undecided.is_empty() {
            out.push_str("both decide everything alike\n");
        }
        out
    }

    /// The question as a command that says why.
    fn question(&self, row: &Difference, scope: &str, at: Option<&str>) -> String {
        let file = match row.shift {
            Shift::Granted => &self.arguments.new,
            Shift::Withheld => &self.arguments.old,
        };
        let mut line = format!("dockwarden explain {}", quoted(&file.to_string_lossy()));
        // What begins with a dash is no option where it is joined to one.
        let mut add =
            |option: &str, value: &str| line.push_str(&format!(" --{option}{}{}", joint(value), quoted(value)));
        if !row.account.is_empty() {
            add("account", &row.account);
        }
        for (label, values) in row.labels.iter().flat_map(|labels| labels.iter()) {
            values.iter().for_each(|value| add("label", &written_label(label, &escaped(value.text()))));
        }
        if let Some(address) = row.place.address {
            add("ip", &address.to_string());
        }
        if let Some(reference) = &row.place.reference {
            add("reference", reference.as_str());
        }
        add("service", &row.place.service);
        if let Some(at) = at {
            add("at", at);
        }
        line.push_str(&format!(" {}", quoted(scope)));
        line
    }
}

/// What stands between an option and its value.
fn joint(value: &str) -> &'static str {
    if value.starts_with('-') { "=" } else { " " }
}

/// A label's value as a glob that matches nothing else.
fn escaped(value: &str) -> String {
    let sign = |letter: char| "*?[\\".contains(letter);
    value.chars().flat_map(|letter| sign(letter).then_some('\\').into_iter().chain([letter])).collect()
}
