//! Overview, for whoever runs it: what fails, what is down, what ends soon, and what was decided last; and a decision by its id.

use std::time::Duration;

use axum::response::Response;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use super::area::{Area, Room};
use super::frame::Problem;
use super::plot;
use super::sheet::{Cell, Plot, Sheet, Table, UNKNOWN, day, fitting};
use crate::app::{Ending, Overview, POINT};
use crate::decisions::{Failing, Kind, Noted};

const SECOND: StaticFormatDescription = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
/// The bytes of the tables: with plots and all, a page has 60 KB at most.
const FAILING_BYTES: usize = 8_000;
const DECISIONS_BYTES: usize = 14_000;
const ENDING_BYTES: usize = 6_000;
/// Those of the page about one decision, and how many of one request it has at most.
const DECISION_BYTES: usize = 32_000;
const DECISIONS: usize = 10;
/// What is told of one.
const FIELDS: [&str; 12] = [
    "Outcome",
    "When",
    "Door",
    "Account",
    "Known by",
    "Address",
    "Service",
    "Request",
    "Asked for",
    "Withheld",
    "Rule",
    "Cause",
];

/// When something was, to the second.
fn moment(at: OffsetDateTime) -> String {
    at.to_offset(UtcOffset::UTC).format(SECOND).unwrap_or_default()
}

/// How long something has been so, as people say it.
fn length(since: OffsetDateTime, now: OffsetDateTime) -> String {
    let time = Duration::try_from(now - since).unwrap_or_default();
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// What was decided, in a few words.
fn came(noted: &Noted) -> String {
    match (noted.reason, noted.granted.as_str()) {
        (Some(reason), _) => format!("{}: {reason}", noted.outcome),
        (None, "") => noted.outcome.to_owned(),
        (None, granted) => format!("{}: {granted}", noted.outcome),
    }
}

impl Room<'_> {
    /// That somebody may see this.
    async fn sees_overview(&self) -> Result<(), Problem> {
        match self.desk.sees_overview().await? {
            true => Ok(()),
            false => Err(Problem::Nothing),
        }
    }

    /// All of it.
    pub(super) async fn overview(&self) -> Result<Response, Problem> {
        self.sees_overview().await?;
        let now = self.desk.now;
        let seen = self.visit.app.overview(now)?;
        let tables = vec![
            self.failing(&seen.failing),
            backends(&seen),
            ending(&seen.ending, now),
            rules(&seen, now),
            self.decisions("The last decisions", &seen.decisions),
        ];
        let mut facts = vec![(
            "Configuration",
            format!("loaded {} ago, number {} since the server started", length(seen.loaded, now), seen.generation),
        )];
        let looked = |at| format!("{}, every 6 hours", moment(at));
        facts.push(("Secrets checked", seen.secrets_looked.map_or_else(|| "not yet".to_owned(), looked)));
        if seen.more_secrets > 0 {
            facts.push(("More secrets that end soon", seen.more_secrets.to_string()));
        }
        let title = "Overview".to_owned();
        self.show(Sheet { title, facts, tables, plots: plots(&seen.counts), ..Sheet::default() })
    }

    fn failing(&self, all: &[Failing]) -> Table {
        let row = |one: &Failing| {
            vec![
                Cell::text(if one.account.is_empty() { "anonymous" } else { one.account.as_str() }),
                Cell::text(&one.network),
                Cell::text(one.reason),
                Cell::text(one.count.to_string()),
                Cell::Moment(moment(one.last)),
            ]
        };
        Table {
            title: "Refused, by account, network and reason".to_owned(),
            columns: vec!["Account", "Network", "Reason", "How often", "Last"],
            rows: fitting(all.iter().map(row), FAILING_BYTES),
            empty: "Nobody, as far as this process remembers.",
            next: None,
        }
    }

    fn decisions(&self, title: &str, all: &[(OffsetDateTime, Noted)]) -> Table {
        let row = |(at, noted): &(OffsetDateTime, Noted)| {
            vec![
                Cell::Link(self.link(&noted.id, Area::Decision, &[("id", &noted.id)])),
                Cell::Moment(moment(*at)),
                Cell::text(if noted.account.is_empty() { "anonymous" } else { noted.account.as_str() }),
                Cell::text(&noted.scope),
                Cell::text(came(noted)),
                Cell::maybe(noted.rule.as_ref()),
            ]
        };
        Table {
            title: title.to_owned(),
            columns: vec!["Decision", "When", "Account", "Asked for", "Outcome", "Rule"],
            rows: fitting(all.iter().map(row), DECISIONS_BYTES),
            empty: "None since the server started.",
            next: None,
        }
    }

    /// One decision by its id.
    pub(super) async fn decision(&self) -> Result<Response, Problem> {
        self.sees_overview().await?;
        let id = self.said("id").unwrap_or_default();
        let found = self.visit.app.decided(id);
        let links = vec![self.link("Overview", Area::Overview, &[])];
        let row = |(at, noted): &(OffsetDateTime, Noted)| {
            let known = |text: &str| Cell::text(if text.is_empty() { UNKNOWN } else { text });
            vec![
                Cell::text(came(noted)),
                Cell::text(moment(*at)),
                Cell::text(noted.door),
                known(&noted.account),
                Cell::text(noted.backend.unwrap_or(UNKNOWN)),
                Cell::text(noted.address.map_or_else(|| UNKNOWN.to_owned(), |address| address.to_string())),
                known(&noted.service),
                known(noted.request.as_deref().unwrap_or_default()),
                known(&noted.scope),
                known(&noted.withheld),
                Cell::maybe(noted.rule.as_ref()),
                Cell::maybe(noted.cause.as_ref()),
            ]
        };
        let told = fitting(found.iter().take(DECISIONS).map(row), DECISION_BYTES);
        let empty = "This process does not remember it. If it was decided here, the log has it.";
        let table = |rows| Table {
            title: "What was decided".to_owned(),
            columns: vec!["Field", "Value"],
            rows,
            empty,
            next: None,
        };
        let fields =
            |told: Vec<Cell>| FIELDS.into_iter().map(Cell::text).zip(told).map(|(name, cell)| vec![name, cell]);
        let mut tables: Vec<Table> = told.into_iter().map(|told| table(fields(told).collect())).collect();
        if tables.is_empty() && !id.is_empty() {
            tables.push(table(Vec::new()));
        }
        let forms = vec![self.asks_for_id(id)];
        self.show(Sheet { title: "A decision".to_owned(), links, tables, forms, ..Sheet::default() })
    }
}

fn backends(seen: &Overview) -> Table {
    let row = |(name, since): &(&'static str, Option<OffsetDateTime>)| {
        let (state, at) = match since {
            None => ("answers", UNKNOWN.to_owned()),
            Some(since) => ("down", moment(*since)),
        };
        vec![Cell::text(*name), Cell::text(state), Cell::Text(at)]
    };
    Table {
        title: "Backends".to_owned(),
        columns: vec!["Section", "State", "Since"],
        rows: seen.backends.iter().map(row).collect(),
        empty: "None is asked over a network.",
        next: None,
    }
}

fn ending(all: &[Ending], now: OffsetDateTime) -> Table {
    let row = |one: &Ending| {
        let at = day(one.at);
        let at = if one.at <= now { format!("{at}, over") } else { at };
        vec![Cell::text(&one.name), Cell::text(one.what.as_str()), Cell::Moment(at)]
    };
    Table {
        title: "What ends within 30 days".to_owned(),
        columns: vec!["Name", "Kind", "Ends"],
        rows: fitting(all.iter().map(row), ENDING_BYTES),
        empty: "Nothing.",
        next: None,
    }
}

fn rules(seen: &Overview, now: OffsetDateTime) -> Table {
    let row = |one: &crate::app::RulesAge| {
        let age = one.known.map_or_else(|| "not read yet".to_owned(), |at| format!("{} ago", length(at, now)));
        vec![Cell::text(one.source), Cell::Text(age), Cell::Text(one.refused.join(", "))]
    };
    Table {
        title: "Rules that are read from elsewhere, on this replica".to_owned(),
        columns: vec!["Section", "Known to be all", "Refused"],
        rows: fitting(seen.rules.iter().map(row), ENDING_BYTES),
        empty: "All rules are in the configuration.",
        next: None,
    }
}

/// How many there were over the last day, kind by kind.
fn plots(counts: &[(Kind, Vec<u64>)]) -> Vec<Plot> {
    let of_kind = |(kind, points): &(Kind, Vec<u64>)| {
        let hour = points.iter().rev().take(60 / POINT).sum::<u64>();
        let day = points.iter().sum::<u64>();
        let said = format!("{hour} in the last hour, {day} in the last 24 hours");
        Some(Plot { title: kind.as_str().to_owned(), said, svg: plot::line(points, 24)? })
    };
    counts.iter().filter_map(of_kind).collect()
}
