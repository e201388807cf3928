//! What is told of tests: in sentences, in a table, as JSON and as JUnit writes it.

use std::path::Path;

use policy::scope::{Action, Actions};
use serde::Serialize;
use settings::Place;

use super::Test;
use super::run::{NearMiss, Outcome, Run, Verdict, named};
use crate::shown::printable;

/// What a test asked for, what it got, and why.
pub(super) fn told(test: &Test, verdict: &Verdict) -> String {
    let asked = format!("{} asks for {}", asker(test), printable(&test.scope.to_string()));
    let by = match &verdict.by {
        Some((source, rule)) => format!("{} decides", named(source, rule.index, rule.seq, rule.comment.as_deref())),
        None => "no rule matches".to_owned(),
    };
    let mut told = match &verdict.outcome {
        Outcome::Holds => format!("{asked} and gets {}, {by}", list(&verdict.granted)),
        Outcome::Differs => {
            format!("{asked}, wants {} and gets {}: {by}", list(&test.want), list(&verdict.granted))
        }
        Outcome::OtherRule => {
            let wanted = test.rule.as_deref().unwrap_or_default();
            format!("{asked} and gets {} by another rule than \"{}\": {by}", list(&verdict.granted), printable(wanted))
        }
        Outcome::NeedsMoment { what } => {
            format!(
                "{asked}: the answer depends on the time of {what}; write at: 2026-12-31T18:00:00Z, or another moment"
            )
        }
        Outcome::Waits { source } => format!("{asked}: {source} has not been read yet"),
        Outcome::Undecided { source } => {
            format!("{asked}: no rule matches, and {source} decides then, which tests do not ask")
        }
        Outcome::TooComplex => format!("{asked}: deciding it would take too much work; the server answers 503"),
        Outcome::NotReached => format!("{asked}: the tests before it took all the time there is for tests"),
    };
    if let Some(closed) = &verdict.closed {
        told.push_str(&format!(" ({closed})"));
    }
    for NearMiss { source, index, seq, comment, field, wanted, found } in &verdict.misses {
        let rule = named(source, *index, *seq, comment.as_deref());
        told.push_str(&format!(
            "; {rule} differs in {field}: \"{}\" is not \"{}\"",
            printable(found),
            printable(wanted)
        ));
    }
    told
}

fn asker(test: &Test) -> String {
    match &test.account {
        Some(account) => format!("\"{}\"", printable(account)),
        None => "a client without an account".to_owned(),
    }
}

fn list(actions: &Actions) -> String {
    let words: Vec<&str> = actions.iter().map(Action::as_str).collect();
    format!("[{}]", words.join(", "))
}

/// All tests and what came of them, as JSON.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// How many questions were asked.
    pub tests: usize,
    /// How many of them are answered otherwise than promised.
    pub failed: usize,
    /// How many nobody can answer yet.
    pub waiting: usize,
    /// Each of them.
    pub results: Vec<Told>,
}

/// One test and what came of it, as JSON.
#[derive(Debug, Serialize)]
pub struct Told {
    name: String,
    file: Option<String>,
    line: Option<usize>,
    account: String,
    scope: String,
    outcome: &'static str,
    want: Vec<String>,
    granted: Vec<String>,
    source: Option<&'static str>,
    rule: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
    rule_id: Option<String>,
    comment: Option<String>,
    /// The same in a sentence.
    message: String,
}

impl Outcome {
    /// Its word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Outcome::Holds => "holds",
            Outcome::Differs => "differs",
            Outcome::OtherRule => "other_rule",
            Outcome::NeedsMoment { .. } => "needs_moment",
            Outcome::Waits { .. } => "waits",
            Outcome::Undecided { .. } => "undecided",
            Outcome::TooComplex => "too_complex",
            Outcome::NotReached => "not_reached",
        }
    }
}

impl Summary {
    /// The summary of a run.
    pub fn of(run: &Run) -> Summary {
        let texts = |actions: &Actions| actions.iter().map(ToString::to_string).collect();
        let results: Vec<Told> = run
            .iter()
            .map(|(test, verdict)| {
                let by = verdict.by.as_ref();
                Told {
                    name: test.name.to_string(),
                    file: test.file.as_ref().map(|file| file.display().to_string()),
                    line: line_of(&test.place),
                    account: test.asker().to_owned(),
                    scope: test.scope.to_string(),
                    outcome: verdict.outcome.as_str(),
                    want: texts(&test.want),
                    granted: texts(&verdict.granted),
                    source: by.map(|(source, _)| *source),
                    rule: by.map(|(_, rule)| rule.index),
                    seq: by.and_then(|(_, rule)| rule.seq),
                    rule_id: by.and_then(|(_, rule)| rule.id).map(|id| id.to_string()),
                    comment: by.and_then(|(_, rule)| rule.comment.as_deref().map(str::to_owned)),
                    message: told(test, verdict),
                }
            })
            .collect();
        let waiting = run.verdicts.iter().filter(|verdict| matches!(verdict.outcome, Outcome::Waits { .. })).count();
        Summary { tests: results.len(), failed: run.failed().count(), waiting, results }
    }

    /// A table for people: what does not hold, each in a line of its own, and how many do.
    pub fn table(&self, config: &Path) -> String {
        let mut table = String::new();
        for one in self.results.iter().filter(|one| one.outcome != Outcome::Holds.as_str()) {
            let file = one.file.clone().unwrap_or_else(|| config.display().to_string());
            let line = one.line.map(|line| format!(":{line}")).unwrap_or_default();
            table.push_str(&format!("{file}{line}: {}: {}: {}\n", printable(&one.name), one.outcome, one.message));
        }
        let hold = self.tests - self.failed - self.waiting;
        table.push_str(&format!("{hold} of {} tests hold\n", self.tests));
        table
    }
}

fn line_of(place: &Place) -> Option<usize> {
    match place {
        Place::Line(line) => Some(*line),
        Place::Environment(_) => None,
    }
}

/// The tests as JUnit's XML, which CI systems show; what is wrong besides is a test of its own.
pub fn junit(summary: &Summary, besides: &[String], config: &Path) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let failures = summary.failed + summary.waiting + besides.len();
    let (tests, results) = (summary.tests + besides.len(), &summary.results);
    xml.push_str(&format!("<testsuites tests=\"{tests}\" failures=\"{failures}\">\n"));
    xml.push_str(&format!("<testsuite name=\"dockwarden\" tests=\"{tests}\" failures=\"{failures}\">\n"));
    for one in results {
        let file = one.file.as_ref().map_or_else(|| name_of(config), |file| name_of(Path::new(file)));
        let (name, class) = (escaped(&one.name), escaped(&format!("{file}: {} {}", one.account, one.scope)));
        let failure = match one.outcome == Outcome::Holds.as_str() {
            true => String::new(),
            false => format!("<failure type=\"{}\" message=\"{}\"/>", one.outcome, escaped(&one.message)),
        };
        xml.push_str(&format!("<testcase name=\"{name}\" classname=\"{class}\">{failure}</testcase>\n"));
    }
    for message in besides {
        let (class, message) = (escaped(&name_of(config)), escaped(message));
        xml.push_str(&format!(
            "<testcase name=\"there are enough tests\" classname=\"{class}\"><failure type=\"too_few\" message=\"{message}\"/></testcase>\n"
        ));
    }
    xml.push_str("</testsuite>\n</testsuites>\n");
    xml
}

/// What JUnit's XML says where no test could be run.
pub fn unusable(config: &Path, message: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"1\" errors=\"1\">\n\
         <testsuite name=\"dockwarden\" tests=\"1\" errors=\"1\">\n\
         <testcase name=\"the tests can be run\" classname=\"{}\"><error type=\"unusable\" message=\"{}\"/></testcase>\n\
         </testsuite>\n</testsuites>\n",
        escaped(&name_of(config)),
        escaped(message)
    )
}

/// The name of a file, without the folders that differ from one checkout to the next.
fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}

/// A text as XML has it in an attribute; what XML cannot hold is left out.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => {}
            letter if letter.is_control() => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}
