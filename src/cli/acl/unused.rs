//! `dockwarden acl unused`: the rules that decided nothing for a while.

use std::collections::BTreeMap;
use std::path::PathBuf;

use policy::rule::{Grants, Rule, RuleId};
use policy::scope::Actions;
use serde::Serialize;
use time::{Duration, OffsetDateTime};

use super::super::test::{Elsewhere, load, open};
use super::super::{DONE, NOT_ALL_GRANTED as FOUND, Output, source};
use crate::authz::InUse;
use crate::policy_tests::{Tests, named};
use crate::records::{self, Day, RuleUse};
use crate::shown::counted;

/// A rule that decided nothing for so long, as JSON.
#[derive(Debug, Serialize)]
struct Unused {
    source: &'static str,
    rule: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
    rule_id: String,
    comment: Option<String>,
    /// The last day on which it decided, if one is known.
    last: Option<String>,
    /// It grants nothing: what it keeps out may never come, and it is needed all the same.
    refuses: bool,
    /// An earlier rule that says the same, so that this one can never decide.
    #[serde(skip_serializing_if = "Option::is_none")]
    same_as: Option<usize>,
}

/// What `--output json` prints.
#[derive(Serialize)]
struct Answer {
    /// The first day on which any rule decided, of those that are known; nothing before it says that a rule is not needed.
    since: String,
    unused: Vec<Unused>,
}

/// Runs the command.
pub(super) fn unused(config: PathBuf, days: u16, output: Output) -> Result<(String, u8), String> {
    let config = load(&source(config), Some(records::NAME)).map_err(|invalid| invalid.to_string())?;
    let Some(settings) = config.records.clone() else {
        return Err("which rules decide is counted where there are records; write records: in the file".to_owned());
    };
    if let Some(told) = settings.unmade().map_err(|error| format!("{error:#}"))? {
        return Err(format!("nothing is counted yet: {told}"));
    }
    let sources = open(config, &Tests::default(), Elsewhere::Read)?.in_use();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let uses = runtime.block_on(async { records::open(&settings).rule_uses().await });
    let uses = uses.map_err(|failure| failure.to_string())?;
    // As long as nobody counts, no rule is unused.
    let Some(since) = uses.iter().map(|one| one.first).min() else {
        return Err("nothing is counted yet: no server has written to these records which rules decide".to_owned());
    };
    #[expect(clippy::disallowed_methods, reason = "the moment of this command")]
    let now = OffsetDateTime::now_utc();
    let before = Day::of(now - Duration::days(days.into()));
    let answer = Answer { since: date(since), unused: unused_of(&uses, &sources, before) };
    let status = if answer.unused.is_empty() { DONE } else { FOUND };
    let text = match output {
        Output::Json => serde_json::to_string_pretty(&answer).map_err(|error| error.to_string())? + "\n",
        Output::Text => told(&answer, days),
    };
    Ok((text, status))
}

/// The rules that decided nothing since this day.
fn unused_of(uses: &[RuleUse], sources: &[(&'static str, InUse)], before: Day) -> Vec<Unused> {
    let last: BTreeMap<RuleId, Day> = uses.iter().map(|one| (one.rule, one.last)).collect();
    let mut unused = Vec::new();
    for (source, in_use) in sources {
        let InUse::Rules { acl, seqs } = in_use else { continue };
        let mut seen: BTreeMap<RuleId, usize> = BTreeMap::new();
        for (index, rule) in acl.rules().iter().enumerate() {
            let same_as = seen.get(&rule.id()).copied();
            seen.entry(rule.id()).or_insert(index);
            let last = last.get(&rule.id()).copied().filter(|_| same_as.is_none());
            if last.is_some_and(|last| last > before) {
                continue;
            }
            unused.push(Unused {
                source,
                rule: index,
                seq: seqs.get(index).copied().flatten(),
                rule_id: rule.id().to_string(),
                comment: rule.comment().map(str::to_owned),
                last: last.map(date),
                refuses: refuses(rule),
                same_as,
            });
        }
    }
    unused
}

fn refuses(rule: &Rule) -> bool {
    match rule.grants() {
        Grants::All => false,
        Grants::Listed(actions) => *actions == Actions::new(),
    }
}

/// The day as people write it.
fn date(day: Day) -> String {
    let moment = OffsetDateTime::UNIX_EPOCH.checked_add(Duration::days(day.0));
    moment.map_or_else(|| day.0.to_string(), |moment| moment.date().to_string())
}

fn told(answer: &Answer, days: u16) -> String {
    let mut text = String::new();
    for one in &answer.unused {
        let rule = named(one.source, one.rule, one.seq, one.comment.as_deref());
        let last = match (&one.same_as, &one.last) {
            (Some(earlier), _) => format!("says the same as {}[{earlier}], and never decides", one.source),
            (None, Some(last)) => format!("decided last on {last}"),
            (None, None) => "decided nothing".to_owned(),
        };
        let refuses = if one.refuses { "; it refuses, and may be needed all the same" } else { "" };
        text.push_str(&format!("{rule}: {last}{refuses}\n"));
    }
    let (rules, days) = (counted(answer.unused.len(), "rule"), counted(usize::from(days), "day"));
    text.push_str(&format!(
        "{rules} decided nothing for {days} (counted since {})
",
        answer.since
    ));
    text
}
