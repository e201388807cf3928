//! `dockwarden acl`: the rules in MongoDB, SQL or the records, changed one by one or brought in; each command prints what it changed.

mod editor;
mod unused;

use std::io::{IsTerminal as _, stdin};
use std::path::{Path, PathBuf};

use policy::rule::{Rule, RuleText};
use settings::DayEnd;
use settings::moment::parse_moment;

use super::{DONE, Output, complain, explain, mongo, say};
use crate::authz::mongo::book::{Change, Mode, Position, RuleBook, RuleSet, Which};
use crate::authz::mongo::import::{Unnumbered, parse};
use crate::authz::mongo::text::{Format, Numbered, write_all, write_list};
use crate::authz::standard::StandardRules;
use crate::backend::Purpose;
use crate::config::Config;
use crate::mongo::Run;
use crate::shown::printable;

/// Change the rules in MongoDB, SQL or the records (acl_mongo, acl_xorm, acl_records)
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Command {
    /// List the rules in their order
    List {
        #[command(flatten)]
        config: mongo::Place,
        /// The output format
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Add a rule, given by the options below or as YAML or JSON on standard input
    Add {
        #[command(flatten)]
        config: mongo::Place,
        #[command(flatten)]
        place: PlaceOptions,
        /// Give it exactly this seq
        #[arg(long, value_name = "SEQ", allow_negative_numbers = true, conflicts_with_all = ["before", "after"])]
        seq: Option<i64>,
        #[command(flatten)]
        rule: Box<RuleOptions>,
    },
    /// Move a rule before or after another one
    Move {
        #[command(flatten)]
        config: mongo::Place,
        /// The rule's seq, or its _id
        #[arg(value_name = "SEQ", allow_negative_numbers = true)]
        which: Which,
        #[command(flatten)]
        place: PlaceOptions,
    },
    /// Remove a rule
    Remove {
        #[command(flatten)]
        config: mongo::Place,
        /// The rule's seq, or its _id
        #[arg(value_name = "SEQ", allow_negative_numbers = true)]
        which: Which,
    },
    /// Change a rule in an editor ($VISUAL, $EDITOR, vi)
    Edit {
        #[command(flatten)]
        config: mongo::Place,
        /// The rule's seq, or its _id
        #[arg(value_name = "SEQ", allow_negative_numbers = true)]
        which: Which,
    },
    /// Import rules: YAML, JSON, lines of JSON, or the acl of a configuration file
    Import {
        #[command(flatten)]
        config: mongo::Place,
        /// The file with the rules ("-" is standard input)
        file: PathBuf,
        /// Replace all rules that are there
        #[arg(long, conflicts_with = "append")]
        replace: bool,
        /// Append them to the rules that are there
        #[arg(long)]
        append: bool,
        /// Print what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Print all rules, so that import reads them again
    Export {
        #[command(flatten)]
        config: mongo::Place,
        /// The output format
        #[arg(long, value_enum, default_value_t)]
        format: ExportFormat,
    },
    /// List the rules that decided nothing for a while, as servers count it in the records
    Unused {
        /// The configuration file
        config: PathBuf,
        /// For how many days
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=400))]
        days: u16,
        /// The output format
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
    /// Print the standard rules that the configuration names, as its acl would have them
    Show {
        /// The configuration file
        config: PathBuf,
        /// Those of standard_rules
        #[arg(long, required = true)]
        standard: bool,
    },
    /// Answer a question by the rules in MongoDB, SQL or the records alone, as they are now, rule by rule
    Test {
        #[command(flatten)]
        config: mongo::Place,
        #[command(flatten)]
        query: explain::Query,
        /// What is asked for, such as repository:team/app:pull,push (may be repeated)
        #[arg(long = "scope", required = true, value_name = "SCOPE")]
        scopes: Vec<String>,
        /// The output format
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

/// The form of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ExportFormat {
    /// A list
    #[default]
    Yaml,
    /// One object a line
    Jsonl,
}

// Where a rule is to be.
#[derive(clap::Args)]
pub(super) struct PlaceOptions {
    /// Directly before this rule
    #[arg(long, value_name = "SEQ", allow_negative_numbers = true)]
    before: Option<Which>,
    /// Directly after this rule
    #[arg(long, value_name = "SEQ", allow_negative_numbers = true, conflicts_with = "before")]
    after: Option<Which>,
}

impl PlaceOptions {
    fn position(self) -> Option<Position> {
        self.before.map(Position::Before).or(self.after.map(Position::After))
    }
}

// A rule in words of the command line.
#[derive(clap::Args)]
pub(super) struct RuleOptions {
    /// Pattern on the account
    #[arg(long, value_name = "PATTERN")]
    account: Option<String>,
    /// Pattern on the resource's type
    #[arg(long = "type", value_name = "PATTERN")]
    kind: Option<String>,
    /// Pattern on the resource's name
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    /// Pattern on the service
    #[arg(long, value_name = "PATTERN")]
    service: Option<String>,
    /// An address or a network
    #[arg(long, value_name = "NETWORK")]
    ip: Option<String>,
    /// Pattern on the tag, for doors that see it
    #[arg(long, value_name = "PATTERN")]
    tag: Option<String>,
    /// What is asked for by: tag or digest, for doors that see it
    #[arg(long, value_name = "KIND")]
    reference: Option<String>,
    /// Pattern on a label (may be repeated)
    #[arg(long = "label", value_name = "NAME=PATTERN")]
    labels: Vec<String>,
    /// The actions that it grants: pull,push or "*"; "" refuses
    #[arg(long, value_name = "ACTIONS")]
    actions: Option<String>,
    /// A comment, shown where the rule decides
    #[arg(long)]
    comment: Option<String>,
    /// The moment from which it holds
    #[arg(long, value_name = "MOMENT")]
    not_before: Option<String>,
    /// The moment until which it holds
    #[arg(long, value_name = "MOMENT")]
    not_after: Option<String>,
}

impl RuleOptions {
    /// The rule, if any of the options is given.
    fn rule(&self) -> Result<Option<RuleText>, String> {
        let fields = [&self.account, &self.kind, &self.name, &self.service, &self.ip, &self.tag, &self.reference];
        let names_something = fields.iter().any(|field| field.is_some()) || !self.labels.is_empty();
        let others = [&self.actions, &self.comment, &self.not_before, &self.not_after];
        if !names_something && others.iter().all(|option| option.is_none()) {
            return Ok(None);
        }
        if !names_something {
            return Err(
                "the rule would be for everybody and everything; if that is meant, give it on standard input, \
                        with match: {}"
                    .to_owned(),
            );
        }
        let actions =
            self.actions.as_deref().ok_or("a rule needs actions: --actions pull,push, or --actions \"\" to refuse")?;
        let labels = self.labels.iter().map(|text| {
            let (name, pattern) =
                text.split_once('=').ok_or("a pattern on a label is written as --label name=pattern")?;
            Ok::<_, String>((name.to_owned(), pattern.to_owned()))
        });
        let moment = |text: &Option<String>, day: DayEnd| {
            match text {
            None => Ok(None),
            Some(text) => parse_moment(text, day).map(Some).ok_or_else(|| {
                format!("\"{text}\" is not a date or time; write 2026-12-31T18:00:00Z, or 2026-12-31 for the whole day (UTC)")
            }),
        }
        };
        Ok(Some(RuleText {
            account: self.account.clone(),
            kind: self.kind.clone(),
            name: self.name.clone(),
            service: self.service.clone(),
            ip: self.ip.clone(),
            tag: self.tag.clone(),
            reference: self.reference.clone(),
            labels: labels.collect::<Result<_, _>>()?,
            actions: actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned).collect(),
            comment: self.comment.clone(),
            not_before: moment(&self.not_before, DayEnd::Start)?,
            not_after: moment(&self.not_after, DayEnd::End)?,
        }))
    }
}

/// Runs the command.
pub(super) fn run(command: Command) -> u8 {
    match command {
        Command::Test { config, query, scopes, output } => {
            let answered = mongo::load_one(config, Purpose::Rules).and_then(|config| {
                let (section, _) = mongo::rules(&config)?;
                explain::test(config, section, &query, &scopes, output)
            });
            answered.unwrap_or_else(|message| complain(&format!("dockwarden: {message}")))
        }
        Command::Show { config, standard: _ } => match show_standard(config) {
            Ok(text) => say(&text, DONE),
            Err(message) => complain(&format!("dockwarden: {message}")),
        },
        Command::Unused { config, days, output } => match unused::unused(config, days, output) {
            Ok((text, status)) => say(&text, status),
            Err(message) => complain(&format!("dockwarden: {message}")),
        },
        Command::List { config, output } => mongo::run(list(config, output)),
        Command::Export { config, format } => mongo::run(export(config, format)),
        Command::Add { config, place, seq, rule } => mongo::run(add(config, place, seq, rule)),
        Command::Move { config, which, place } => mongo::run(async move {
            let position = place.position().ok_or("say where to: --before SEQ or --after SEQ")?;
            open(config)?.move_to(&which, &position, print).await.map_err(mongo::plain)?;
            Ok(DONE)
        }),
        Command::Remove { config, which } => mongo::run(async move {
            open(config)?.remove(&which, print).await.map_err(mongo::plain)?;
            Ok(DONE)
        }),
        Command::Edit { config, which } => mongo::run(async move {
            let config = mongo::load_one(config, Purpose::Rules)?;
            let (_, book) = mongo::rules(&config)?;
            let stored = set(&book).await?.find(&which).map_err(mongo::plain)?;
            editor::edit(&book, &stored, &config).await
        }),
        Command::Import { config, file, replace, append, dry_run } => {
            let mode = match (replace, append) {
                (true, _) => Mode::Replace,
                (false, true) => Mode::Append,
                (false, false) => Mode::IntoEmpty,
            };
            mongo::run(import(config, file, mode, if dry_run { Run::Dry } else { Run::Real }))
        }
    }
}

/// The rules that `standard_rules` brings, as a site may copy them.
fn show_standard(config: PathBuf) -> Result<String, String> {
    let config = mongo::load(config)?;
    match config.backends.get::<StandardRules>() {
        Some(standard) => Ok(write_list(&standard.rules())),
        None => {
            Err(format!("{}: there are no standard_rules in it; write standard_rules: opensvc", config.file.display()))
        }
    }
}

fn open(place: mongo::Place) -> Result<RuleBook, String> {
    Ok(mongo::rules(&mongo::load_one(place, Purpose::Rules)?)?.1)
}

/// The rules; an import that has not ended is told beside them.
async fn set(book: &RuleBook) -> Result<RuleSet, String> {
    let set = book.read().await.map_err(mongo::plain)?;
    if let Some(told) = set.under_import() {
        complain(&format!("dockwarden: {told}"));
    }
    Ok(set)
}

fn print(change: Change) {
    let text = match change {
        Change::Added(rule) => format!("+ {rule}\n"),
        Change::Removed(rule) => format!("- {rule}\n"),
        Change::Became { before, after } => format!("- {before}\n+ {after}\n"),
        Change::Renumbered { from, to } => format!("  seq {from} -> {to}, to make room\n"),
        Change::Note(note) => {
            complain(&format!("dockwarden: {note}"));
            return;
        }
    };
    // A change that was made is made, whether anybody reads of it or not.
    say(&text, DONE);
}

async fn list(config: mongo::Place, output: Output) -> Result<u8, String> {
    let book = open(config)?;
    let set = set(&book).await?;
    let text = match output {
        Output::Text => set
            .stored()
            .map(|stored| match stored.rule {
                Ok(rule) => format!("{rule}\n"),
                Err(problems) => problems.iter().map(|problem| format!("     ?  {}\n", printable(problem))).collect(),
            })
            .collect(),
        Output::Json => {
            let rules: Vec<serde_json::Value> = set
                .stored()
                .map(|stored| match stored.rule {
                    Ok(rule) => rule.to_json(),
                    Err(problems) => serde_json::json!({ "document": stored.name, "problems": problems }),
                })
                .collect();
            serde_json::to_string_pretty(&rules).map_err(|error| error.to_string())? + "\n"
        }
    };
    let status = say(&text, DONE);
    if let (Err(problems), None) = (set.compile(), set.under_import()) {
        complain(&format!(
            "dockwarden: the rules cannot be used as they are; {}:\n  {}",
            book.consequence(),
            problems.join("\n  ")
        ));
    }
    Ok(status)
}

async fn export(config: mongo::Place, format: ExportFormat) -> Result<u8, String> {
    let book = open(config)?;
    let rules = set(&book).await?.rules().map_err(|problems| {
        format!(
            "some documents are not rules; mend them first, by acl edit or acl remove:\n  {}",
            problems.join("\n  ")
        )
    })?;
    let format = match format {
        ExportFormat::Yaml => Format::Yaml,
        ExportFormat::Jsonl => Format::JsonLines,
    };
    Ok(say(&write_all(&rules, format), DONE))
}

async fn add(
    config: mongo::Place,
    place: PlaceOptions,
    seq: Option<i64>,
    options: Box<RuleOptions>,
) -> Result<u8, String> {
    let wanted = place.position().or(seq.map(Position::At));
    let (text, position) = match options.rule()? {
        Some(text) => (text, wanted),
        None => {
            if stdin().is_terminal() {
                return Err(
                    "say the rule by options (--name PATTERN --actions pull,push), or give it on standard input"
                        .to_owned(),
                );
            }
            let Unnumbered { seq, text } = only(parse_from(Path::new("-"))?)?;
            match (wanted, seq) {
                (Some(_), Some(seq)) => {
                    return Err(format!(
                        "the rule has the seq {seq}, and another place is given; leave one of them out"
                    ));
                }
                (wanted, seq) => (text, wanted.or(seq.map(Position::At))),
            }
        }
    };
    let config = mongo::load_one(config, Purpose::Rules)?;
    let (_, book) = mongo::rules(&config)?;
    book.add(&text, &position.unwrap_or(Position::End), print).await.map_err(mongo::plain)?;
    warn_of(&config, [("the rule".to_owned(), &text)]);
    Ok(DONE)
}

/// Points out what is probably not meant, as `check` does for the rules of the file; the change is made all the same.
fn warn_of<'r>(config: &Config, rules: impl IntoIterator<Item = (String, &'r RuleText)>) {
    // What does not compile was refused before.
    let rules = rules.into_iter().filter_map(|(name, text)| Some((name, Rule::compile(text).ok()?)));
    let (names, rules): (Vec<String>, Vec<Rule>) = rules.unzip();
    for (index, field, message) in config.lint_elsewhere(&rules) {
        let name = names.get(index).map(String::as_str).unwrap_or_default();
        let field = if field.is_empty() { String::new() } else { format!("{field}: ") };
        complain(&format!("dockwarden: warning: {name}: {}", printable(&format!("{field}{message}"))));
    }
}

fn only(rules: Vec<Unnumbered>) -> Result<Unnumbered, String> {
    let count = rules.len();
    let mut rules = rules.into_iter();
    match (rules.next(), rules.next()) {
        (Some(rule), None) => Ok(rule),
        _ => Err(format!("one rule is expected, not {count}; for several there is: dockwarden acl import")),
    }
}

async fn import(config: mongo::Place, file: PathBuf, mode: Mode, run: Run) -> Result<u8, String> {
    let rules = parse_from(&file)?;
    let config = mongo::load_one(config, Purpose::Rules)?;
    let (_, book) = mongo::rules(&config)?;
    let mut changes: usize = 0;
    let tell = |change: Change| {
        match change {
            Change::Note(_) => {}
            Change::Added(_) | Change::Removed(_) | Change::Became { .. } | Change::Renumbered { .. } => {
                changes = changes.saturating_add(1);
            }
        }
        print(change);
    };
    book.import(&rules, mode, run, &ourselves(), tell).await.map_err(mongo::plain)?;
    if changes > 0 {
        warn_of(&config, rules.iter().enumerate().map(|(index, rule)| (name_of(index, rule), &rule.text)));
    }
    Ok(say(&mongo::summary(changes, "rule", run), DONE))
}

/// How a rule of a text is named: by its number, or by its place.
fn name_of(index: usize, rule: &Unnumbered) -> String {
    rule.seq.map_or_else(|| format!("rule {}", index.saturating_add(1)), |seq| format!("seq {seq}"))
}

/// Who is at work, for somebody who finds an import that has not ended.
fn ourselves() -> String {
    format!("process {} on {}", std::process::id(), super::host_name())
}

fn parse_from(file: &Path) -> Result<Vec<Unnumbered>, String> {
    let (name, text) = mongo::input(file)?;
    parse(name, &text).map_err(|problems| problems.join("\n"))
}

/// The one rule of an edited text; a number that was taken out stays what it was.
fn edited(file: &Path, text: &str, before: &Numbered) -> Result<Numbered, String> {
    let Unnumbered { seq, text } = only(parse(file, text).map_err(|problems| problems.join("\n"))?)?;
    Ok(Numbered { seq: seq.unwrap_or(before.seq), text })
}
