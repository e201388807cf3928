//! A configuration from where the command line says: a file, a file as it was in a revision of git, or standard input.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use clap::builder::{OsStringValueParser, TypedValueParser};
use settings::files::read_document;
use settings::text;

use super::mongo;
use crate::authn::htpasswd;
use crate::backend::{Facts, Row};
use crate::config::{Config, Secrets, SecretsOf};
use crate::records;
use crate::shown::printable;

/// What stands for standard input.
pub(super) const STANDARD_INPUT: &str = "-";
/// What the place of a file of git begins with.
const GIT: &str = "git:";

/// What a command asks of whom the file names. Of nobody else, passwords are read.
#[derive(Clone, Copy)]
pub(super) enum Asks {
    /// Who an account is that somebody asks about.
    Accounts,
    /// Which accounts and rules there are.
    Lists,
}

/// Reads the configuration in a file, at `git:REV:PATH` or from standard input (`-`); passwords only where somebody has to be asked.
///
/// # Errors
/// Everything that is wrong with it, in words.
pub(super) fn load(place: &Path, asks: Asks) -> Result<Config, String> {
    match place.to_str() {
        Some(STANDARD_INPUT) => {
            let (told, text) = mongo::input(place)?;
            load_text(told, &text, told, asks)
        }
        Some(text) if text.starts_with(GIT) => committed(text, asks),
        Some(_) | None => {
            let text = read_document(place).map_err(|problem| problem.in_file(place))?;
            load_text(place, &text, place, asks)
        }
    }
}

/// How the command line names a configuration: what begins as a file of git has to be one.
pub(super) fn place() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|place| match place.to_str().filter(|text| text.starts_with(GIT)) {
        Some(text) => of_git(text).map(|_| PathBuf::from(&place)),
        None => Ok(PathBuf::from(place)),
    })
}

/// The revision and the path of `git:REV:PATH`.
fn of_git(place: &str) -> Result<(&str, &str), String> {
    let parts = place.strip_prefix(GIT).and_then(|rest| rest.split_once(':'));
    // A revision is never an option, and git is asked for one file in one line.
    let is_whole = |(revision, path): &(&str, &str)| {
        !revision.is_empty() && !revision.starts_with('-') && !path.is_empty() && !place.contains('\n')
    };
    parts
        .filter(is_whole)
        .ok_or_else(|| format!("{} does not name a file in git: write git:REV:PATH", printable(place)))
}

/// Reads a configuration whose text is not the one that is in the file.
pub(super) fn load_text(file: &Path, text: &str, told: &Path, asks: Asks) -> Result<Config, String> {
    let variables = || super::source(file.to_owned()).variables;
    let loaded = Config::read(file, text, variables(), Secrets::Skip).and_then(|config| {
        let asked = match asks {
            Asks::Accounts if config.backends.facts().any(|(_, facts)| is_elsewhere(&facts)) => {
                return Config::read(file, text, variables(), SecretsOf::backends());
            }
            Asks::Accounts => keeps_members(&config).then_some(records::NAME).into_iter().collect(),
            Asks::Lists => listed(&config),
        };
        // What is only in the file needs nobody's password.
        if asked.is_empty() { Ok(config) } else { Config::read(file, text, variables(), SecretsOf::sections(asked)) }
    });
    loaded.map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|problem| problem.in_file(told)).collect();
        lines.join("\n")
    })
}

/// Whether the records have a part of the directory.
fn keeps_members(config: &Config) -> bool {
    config.directory.as_ref().is_some_and(|directory| directory.store.is_some())
}

/// The sections that are asked for their accounts or rules as a whole. One that only tells who somebody is, such as a directory, is
/// asked about the accounts of those behind it, and about nobody else.
pub(super) fn listed(config: &Config) -> BTreeSet<&'static str> {
    let rows = &config.backends.0;
    let last = rows.iter().rposition(|row| mongo::LISTED.contains(&row.kind.key));
    let is_asked = |(at, row): &(usize, &Row)| match row.settings.facts() {
        Facts::AccountsElsewhere(_) => row.kind.key == htpasswd::KIND.key || last.is_some_and(|last| *at <= last),
        Facts::RulesElsewhere => true,
        Facts::Accounts(_) | Facts::LoginsElsewhere(_) | Facts::Rules | Facts::Decisions => false,
    };
    let rows = rows.iter().enumerate().filter(is_asked).map(|(_, row)| row.kind.key);
    // The records know the robots.
    rows.chain(config.records.as_ref().map(|_| records::NAME)).collect()
}

/// The sections that are asked for the rules and the members of the directory; and the accounts that another file lists.
pub(super) fn ruling(config: &Config) -> BTreeSet<&'static str> {
    let is_asked = |row: &&Row| match row.settings.facts() {
        Facts::RulesElsewhere => true,
        Facts::Accounts(_)
        | Facts::AccountsElsewhere(_)
        | Facts::LoginsElsewhere(_)
        | Facts::Rules
        | Facts::Decisions => false,
    };
    let asked: Vec<&Row> = config.backends.0.iter().filter(is_asked).collect();
    let is_kept = |store| asked.iter().any(|row| row.settings.kept_in(store).is_some());
    let has_records = keeps_members(config) || config.records.as_ref().is_some_and(is_kept);
    let mut all: BTreeSet<&'static str> = asked.iter().map(|row| row.kind.key).collect();
    all.extend(has_records.then_some(records::NAME));
    if !all.is_empty() {
        all.insert(htpasswd::KIND.key);
    }
    all
}

/// Whether somebody else has to be asked without a login.
fn is_elsewhere(facts: &Facts<'_>) -> bool {
    match facts {
        Facts::AccountsElsewhere(_) | Facts::RulesElsewhere => true,
        Facts::Accounts(_) | Facts::LoginsElsewhere(_) | Facts::Rules | Facts::Decisions => false,
    }
}

fn run_git(arguments: &[&str], input: &str) -> std::io::Result<Output> {
    let piped = || Stdio::piped();
    let mut git = Command::new("git").args(arguments).stdin(piped()).stdout(piped()).stderr(piped()).spawn()?;
    if let Some(mut stdin) = git.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    git.wait_with_output()
}

/// The configuration as a revision has it. What it names besides (files of users, keys) is read as it is now.
fn committed(place: &str, asks: Asks) -> Result<Config, String> {
    let (revision, path) = of_git(place)?;
    let file = Path::new(path);
    // As git itself reads it: from the top of the repository on, or from here where it begins with `./`.
    let named = format!("{revision}:{path}");
    let tell = |why: &str| format!("{}: git does not show it: {}", printable(place), printable(why.trim()));
    let git = |arguments: &[&str], input: &str| {
        run_git(arguments, input).map_err(|error| format!("git cannot be run: {error}")).and_then(|done| {
            let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            if done.status.success() { Ok(done.stdout) } else { Err(tell(&said(&done.stderr))) }
        })
    };
    let found = git(&["cat-file", "--batch-check", "--follow-symlinks"], &format!("{named}\n"))?;
    let found = String::from_utf8_lossy(&found);
    let file_at = match found.split_whitespace().collect::<Vec<_>>().as_slice() {
        [object, "blob", _] => *object,
        // It would be shown as the names that are in it.
        [_, "tree", _] => return Err(tell("it is a folder, and a file is wanted")),
        ["symlink", ..] => return Err(tell("it is a symbolic link that leads out of the repository")),
        ["dangling", ..] => return Err(tell("a symbolic link leads to what this revision does not have")),
        ["loop", ..] => return Err(tell("it is a symbolic link that leads back to itself")),
        _ => {
            // This says why there is no such file, which the command above does not; but takes no link for a folder.
            git(&["cat-file", "-e", &named], "")?;
            return Err(tell("it is not a file"));
        }
    };
    let text = text::decode(git(&["cat-file", "blob", file_at], "")?);
    let text = text.map_err(|wrong| format!("{}: {wrong}", printable(place)))?;
    load_text(file, &text, Path::new(place), asks)
}
