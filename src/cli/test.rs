//! `dockwarden test`: whether the rules keep what the tests of the policy promise, and what these tests cover.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use settings::Place;

use super::{DONE, NOT_ALL_GRANTED as FOUND, complain, given, say};
use crate::access::{Access, Chain};
use crate::app::Source;
use crate::authn::password::Passwords;
use crate::authz::rules::{KIND as ACL, Rules};
use crate::backend::{Backends, Facts, Purpose};
use crate::config::{Config, Invalid, Secrets, SecretsOf};
use crate::directory::{self, Directory};
use crate::metrics::Metrics;
use crate::policy_tests::{Coverage, CoveredRule, Failing, Summary, Test, Tests, junit, run, unusable};
use crate::shown::{counted, printable};

/// How long all tests together may take.
const MOST: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration file
    config: PathBuf,
    /// Files with more tests, each a list as under tests:
    files: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Also write the results there, as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Fail where there is no test
    #[arg(long)]
    require: bool,
    /// Also say which rules decided a test, and which conditions of a rule kept nobody out
    #[arg(long)]
    coverage: bool,
    /// Fail where fewer rules than this decided a test, in percent
    #[arg(long, value_name = "PERCENT", requires = "coverage", value_parser = clap::value_parser!(u8).range(0..=100))]
    min: Option<u8>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage: Option<&'a Coverage>,
}

/// Runs the command.
pub(super) fn run_command(arguments: Arguments) -> u8 {
    match answer(&arguments) {
        Ok((text, status)) => say(&text, status),
        Err(message) => {
            // What an earlier run wrote there says nothing of this one.
            if let Some(file) = &arguments.junit
                && let Err(error) = overwrite(file, &unusable(&arguments.config, &message))
            {
                complain(&format!("{}: {error}", file.display()));
            }
            complain(&message)
        }
    }
}

/// Writes a file that is there already, and makes none.
fn overwrite(file: &Path, text: &str) -> std::io::Result<()> {
    match file.try_exists()? {
        true => std::fs::write(file, text),
        false => Ok(()),
    }
}

fn answer(arguments: &Arguments) -> Result<(String, u8), String> {
    let config = load(&super::source(arguments.config.clone()), None).map_err(|invalid| invalid.to_string())?;
    let tests = all_tests(&config, &arguments.files)?;
    let places: Vec<Place> = config.backends.get::<Rules>().map(|rules| rules.places.clone()).unwrap_or_default();
    let chain = open(config, &tests, Elsewhere::Read)?;
    let in_use = chain.in_use();
    let run = run(&tests, &chain, &in_use, MOST);
    let summary = Summary::of(&run);
    let coverage = arguments.coverage.then(|| {
        let mut coverage = Coverage::of(&run, &chain, &in_use);
        for rule in coverage.each.iter_mut().filter(|rule| rule.source == ACL.key) {
            rule.line = match places.get(rule.rule) {
                Some(Place::Line(line)) => Some(*line),
                Some(Place::Environment(_)) | None => None,
            };
        }
        coverage
    });
    let mut too_few = Vec::new();
    if arguments.require && summary.tests == 0 {
        too_few.push("there is no test, and --require wants one".to_owned());
    }
    if let (Some(coverage), Some(min)) = (&coverage, arguments.min)
        && coverage.percent < usize::from(min)
    {
        too_few.push(format!("the tests cover {} % of the rules, and --min wants {min} %", coverage.percent));
    }
    if let Some(file) = &arguments.junit {
        std::fs::write(file, junit(&summary, &too_few, &arguments.config))
            .map_err(|error| format!("{}: {error}", file.display()))?;
    }
    for message in &too_few {
        complain(&format!("dockwarden: {message}"));
    }
    let text = match arguments.json {
        true => {
            let answer = Answer { summary: &summary, coverage: coverage.as_ref() };
            serde_json::to_string_pretty(&answer).map_err(|error| error.to_string())? + "\n"
        }
        false => {
            let told = coverage.as_ref().map(|coverage| table(coverage, &arguments.config)).unwrap_or_default();
            summary.table(&arguments.config) + &told
        }
    };
    let found = summary.failed + summary.waiting > 0 || !too_few.is_empty();
    Ok((text, if found { FOUND } else { DONE }))
}

/// Reads the file. Nobody's password is needed, but of those who keep rules or members.
/// `also` is a section that is asked besides.
pub(super) fn load(source: &Source, also: Option<&'static str>) -> Result<Config, Invalid> {
    let config = source.load(Secrets::Skip)?;
    let mut asked = given::ruling(&config);
    asked.extend(also);
    if asked.is_empty() { Ok(config) } else { source.load(SecretsOf::sections(asked)) }
}

fn all_tests(config: &Config, files: &[PathBuf]) -> Result<Tests, String> {
    let mut all: Vec<Test> = config.tests.to_vec();
    for file in files {
        let more = config.read_tests(file.clone()).map_err(|invalid| invalid.to_string())?;
        all.extend(more.iter().cloned());
    }
    Ok(all.into())
}

/// Whether tests that a file can decide by itself hold: what a server asks before it begins. No server is asked.
pub(super) fn hold(config: Config) -> Result<(), String> {
    let (tests, file) = (Arc::clone(&config.tests), config.file.clone());
    let chain = open(config, &tests, Elsewhere::Left)?;
    Failing::of(&run(&tests, &chain, &chain.in_use(), MOST), &file).map_or(Ok(()), |failing| Err(failing.to_string()))
}

/// What becomes of rules and members that are kept elsewhere.
#[derive(Clone, Copy)]
pub(super) enum Elsewhere {
    Read,
    Left,
}

/// Opens the rules, and those accounts that the file lists.
pub(super) fn open(config: Config, tests: &Tests, elsewhere: Elsewhere) -> Result<Chain, String> {
    let plain = |error: anyhow::Error| format!("dockwarden: {error:#}");
    let unmade = config.records.as_ref().filter(|store| matches!(store.unmade(), Ok(Some(_))));
    let is_asked = |row: &&crate::backend::Row| {
        // Who only looks makes no file.
        let is_unmade = unmade.is_some_and(|store| row.settings.kept_in(store).is_some());
        let is_listed = matches!(row.settings.facts(), Facts::Accounts(_));
        !is_unmade && (row.kind.purpose == Purpose::Rules || is_listed)
    };
    let rows = config.backends.0.iter().filter(is_asked).cloned().collect();
    let passwords = Arc::new(Passwords::new(|_| {}).map_err(plain)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let opened = runtime.block_on(async {
        let metrics = Metrics::default();
        let access = Access::open(&Backends(rows), None, &passwords, &metrics)?;
        let access = match config.directory {
            None => access,
            Some(settings) => {
                let directory = Directory::keep_or_open(settings, None)?;
                match elsewhere {
                    Elsewhere::Read => {
                        let read = directory.read_again().await;
                        read.map_err(|failure| anyhow::anyhow!("{}: {failure}", directory::NAME))?;
                    }
                    Elsewhere::Left => {}
                }
                access.with_directory(directory, &passwords, &metrics)?
            }
        };
        match elsewhere {
            Elsewhere::Read => drop(access.rules().await?),
            Elsewhere::Left => {}
        }
        anyhow::Ok(access.chain(tests.iter().map(|test| &test.account))?)
    });
    let opened = opened.map_err(plain);
    // What reads rules again in the background must not keep the command.
    runtime.shutdown_background();
    opened
}

/// What is not covered, a rule a line, and how much is.
fn table(coverage: &Coverage, config: &Path) -> String {
    let mut table = String::new();
    for rule in &coverage.each {
        let CoveredRule { source, rule: index, seq, line, comment, decided, shadowed, never_failed, .. } = rule;
        let what = match (decided, shadowed) {
            (0, 0) => "no test meets it".to_owned(),
            (0, shadowed) => format!("decided no test: earlier rules decided the {shadowed} that it matches"),
            (_, _) if !never_failed.is_empty() => {
                format!("decided {}, and none was kept out by {}", counted(*decided, "test"), never_failed.join(", "))
            }
            (_, _) => continue,
        };
        let place = line.map(|line| format!("{}:{line}: ", config.display())).unwrap_or_default();
        let number = seq.map_or_else(|| index.to_string(), |seq| format!("seq {seq}"));
        let comment = comment.as_deref().map(|text| format!(" # {}", printable(text))).unwrap_or_default();
        table.push_str(&format!("{place}{source}[{number}]{comment}: {what}\n"));
    }
    let Coverage { rules, decided, percent, .. } = coverage;
    table.push_str(&format!("{decided} of {} decided a test ({percent} %)\n", counted(*rules, "rule")));
    table
}
