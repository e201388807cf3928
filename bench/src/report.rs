//! What a run says in the end: a table for people, and the same with everything else as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::figures::{Met, Outcome};
use crate::machine::Machine;
use crate::rows::Run;
use crate::scenario::Row;

/// One row of one program.
pub struct Entry<'a> {
    /// The row.
    pub row: &'a Row,
    /// The program.
    pub program: &'static str,
    /// What was measured.
    pub outcome: Outcome,
}

/// A whole run.
pub struct Report<'a> {
    /// The rows in their order; those of the peer come after ours.
    pub entries: Vec<Entry<'a>>,
    machine: Machine,
    date: String,
    seconds: f64,
}

impl<'a> Report<'a> {
    /// An empty report on this run.
    pub fn new(run: &Run, seconds: f64) -> Report<'a> {
        let date = OffsetDateTime::now_utc().date().to_string();
        Report { entries: Vec::new(), machine: run.machine.clone(), date, seconds }
    }

    fn of_peer(&self, entry: &Entry<'_>, figure: &str) -> Option<f64> {
        let peer =
            self.entries.iter().find(|other| other.row.name == entry.row.name && other.program != entry.program)?;
        peer.outcome.get(figure)
    }

    /// The table, as Markdown.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let machine = &self.machine;
        writeln!(
            text,
            "{}, {} cores of {}; {} s a load. One core by `openssl speed` ({}): {} signatures a second with RSA-2048, {} with \
             P-256. One bcrypt hash of cost 10: {} ms.\n",
            self.date,
            machine.cores,
            machine.processor,
            number(self.seconds),
            machine.openssl,
            number(machine.rsa2048),
            number(machine.p256),
            number(machine.bcrypt10 * 1e3),
        )
        .ok();
        let with_peer = self.entries.iter().any(|entry| entry.program != "dockwarden");
        let (heads, line) = match with_peer {
            true => (" | docker_auth | ratio |", "|---|---|---|"),
            false => (" |", "|"),
        };
        writeln!(text, "| row | figure | measured | bar | met{heads}\n|---|---|---|---|---{line}").ok();
        for entry in self.entries.iter().filter(|entry| entry.program == "dockwarden") {
            let mut what = entry.row.what.as_str();
            for figure in &entry.outcome.figures {
                let bar = entry.row.bar.iter().find(|bar| bar.figure == figure.name);
                let (bar, met) = match bar {
                    None => (String::new(), ""),
                    Some(bar) => (
                        bar.words(),
                        match bar.met(Some(figure.value)) {
                            Met::Yes => "yes",
                            Met::No => "**no**",
                            Met::Unknown => "?",
                        },
                    ),
                };
                write!(text, "| {what} | {} | {} | {bar} | {met} |", figure.name, number(figure.value)).ok();
                if with_peer {
                    let peer = self.of_peer(entry, &figure.name);
                    let ratio = peer.map(|peer| number(figure.value / peer)).unwrap_or_default();
                    write!(text, " {} | {ratio} |", peer.map(number).unwrap_or_default()).ok();
                }
                text.push('\n');
                what = "";
            }
            for bar in entry.row.bar.iter().filter(|bar| entry.outcome.get(&bar.figure).is_none()) {
                let more = if with_peer { " | |" } else { "" };
                writeln!(text, "| {what} | {} | not measured | {} | ? |{more}", bar.figure, bar.words()).ok();
                what = "";
            }
        }
        let mut notes = String::new();
        for entry in &self.entries {
            for note in &entry.outcome.notes {
                writeln!(notes, "- {} ({}): {note}", entry.row.name, entry.program).ok();
            }
        }
        if !notes.is_empty() {
            write!(text, "\n{notes}").ok();
        }
        text
    }

    /// Everything, for other programs.
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .entries
            .iter()
            .map(|entry| {
                let bars: Vec<Value> = entry
                    .row
                    .bar
                    .iter()
                    .map(|bar| json!({"figure": bar.figure, "bar": bar.words(), "met": bar.met(entry.outcome.get(&bar.figure))}))
                    .collect();
                json!({
                    "row": entry.row.name,
                    "what": entry.row.what,
                    "program": entry.program,
                    "figures": entry.outcome.figures,
                    "bars": bars,
                    "notes": entry.outcome.notes,
                })
            })
            .collect();
        json!({"date": self.date, "seconds": self.seconds, "machine": self.machine, "rows": rows})
    }
}

/// A number with three or four digits that count.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.3}"),
    }
}
