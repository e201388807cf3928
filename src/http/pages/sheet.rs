//! A page of facts, tables and forms: what most pages are made of. One template writes all of them, and escapes every text.

use askama::Template;
use settings::DayEnd;
use settings::moment::parse_moment;
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

use super::frame::Frame;

/// What stands on a page, from top to bottom.
#[derive(Default)]
pub(super) struct Sheet {
    pub(super) title: String,
    /// What went wrong, or what is to be known first.
    pub(super) alert: Option<String>,
    pub(super) links: Vec<Link>,
    pub(super) copies: Vec<Copy>,
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) plots: Vec<Plot>,
    pub(super) search: Option<Search>,
    pub(super) tables: Vec<Table>,
    pub(super) forms: Vec<Sending>,
}

/// The way to another page.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) href: String,
    pub(super) title: String,
}

/// A text that people copy.
pub(super) struct Copy {
    pub(super) title: &'static str,
    pub(super) text: String,
    /// Whether it is shown this once.
    pub(super) is_secret: bool,
}

/// Numbers over time.
pub(super) struct Plot {
    pub(super) title: String,
    /// What it shows, for who does not see it.
    pub(super) said: String,
    /// The drawing, which is of our own making and holds nobody's text.
    pub(super) svg: String,
}

/// The box above a list.
pub(super) struct Search {
    pub(super) action: String,
    pub(super) hidden: Hidden,
    pub(super) text: String,
}

/// What a form sends along unseen.
pub(super) type Hidden = Vec<(&'static str, String)>;

/// A table; the first cell of a row names it.
#[derive(Default)]
pub(super) struct Table {
    pub(super) title: String,
    pub(super) columns: Vec<&'static str>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// What is said where there are no rows.
    pub(super) empty: &'static str,
    /// Where the next page is.
    pub(super) next: Option<String>,
}

/// What stands in a table.
pub(super) enum Cell {
    Text(String),
    Code(String),
    /// A moment, in one line.
    Moment(String),
    Link(Link),
}

/// A form.
pub(super) struct Sending {
    pub(super) title: String,
    pub(super) method: &'static str,
    pub(super) action: String,
    pub(super) hidden: Hidden,
    pub(super) inputs: Vec<Input>,
    pub(super) button: &'static str,
}

/// Something that people fill in.
pub(super) struct Input {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) kind: Kind,
    pub(super) value: String,
    pub(super) is_needed: bool,
}

/// How it is filled in.
pub(super) enum Kind {
    Line,
    /// One entry a line.
    Lines,
    Check,
}

impl Cell {
    pub(super) fn text(text: impl Into<String>) -> Cell {
        Cell::Text(text.into())
    }

    /// As much of a text as has room in a table.
    pub(super) fn cut(text: &str) -> Cell {
        let mut left = LONGEST_CELL;
        let fits = |letter: &char| {
            let rest = left.checked_sub(written(letter.encode_utf8(&mut [0; 4])));
            left = rest.unwrap_or_default();
            rest.is_some()
        };
        let shown: String = text.chars().take_while(fits).collect();
        Cell::Text(if shown.len() < text.len() { format!("{shown}…") } else { shown })
    }

    /// How many bytes it has on a page.
    fn size(&self) -> usize {
        let own: usize = match self {
            Cell::Text(text) | Cell::Code(text) | Cell::Moment(text) => written(text),
            Cell::Link(Link { href, title }) => written(href).saturating_add(written(title)),
        };
        own.saturating_add(CELL)
    }

    /// A moment that the API told, which is not always known.
    pub(super) fn moment(text: Option<&String>) -> Cell {
        Cell::Moment(text.map_or_else(|| UNKNOWN.to_owned(), |text| minute_of(text)))
    }

    /// What is not always known.
    pub(super) fn maybe(text: Option<&String>) -> Cell {
        Cell::Text(text.cloned().unwrap_or_else(|| UNKNOWN.to_owned()))
    }
}

/// How many bytes a text has on a page, where a letter that HTML knows is five of them.
pub(super) fn written(text: &str) -> usize {
    text.bytes().map(|letter| if b"<>&\"'".contains(&letter) { 5 } else { 1 }).sum()
}

/// As many of these rows as have so many bytes, and one at least, so that a page has 60 KB at most, whatever names people choose.
pub(super) fn fitting(rows: impl Iterator<Item = Vec<Cell>>, bytes: usize) -> Vec<Vec<Cell>> {
    let mut left = bytes;
    let mut all = Vec::new();
    for row in rows {
        let size = row.iter().map(Cell::size).sum::<usize>().saturating_add(ROW);
        if size > left && !all.is_empty() {
            break;
        }
        left = left.saturating_sub(size);
        all.push(row);
    }
    all
}

/// The bytes of a cell that is cut.
const LONGEST_CELL: usize = 4_000;
/// The bytes around a row, and around a cell.
const ROW: usize = 40;
const CELL: usize = 40;

/// The day of a moment, in UTC.
pub(super) fn day(at: OffsetDateTime) -> String {
    at.to_offset(UtcOffset::UTC).format(format_description!("[year]-[month]-[day]")).unwrap_or_default()
}

/// A moment to the minute, in UTC.
pub(super) fn minute(at: OffsetDateTime) -> String {
    at.to_offset(UtcOffset::UTC).format(MINUTE).unwrap_or_default()
}

/// The same of one that the API told: RFC 3339 is for programs.
pub(super) fn minute_of(told: &str) -> String {
    parse_moment(told, DayEnd::Start).map_or_else(|| told.to_owned(), minute)
}

const MINUTE: StaticFormatDescription = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");

/// What stands where nothing is known.
pub(super) const UNKNOWN: &str = "–";

impl Input {
    pub(super) fn line(name: &'static str, label: &'static str, value: impl Into<String>) -> Input {
        Input { name, label, kind: Kind::Line, value: value.into(), is_needed: false }
    }

    pub(super) fn needed(name: &'static str, label: &'static str, value: impl Into<String>) -> Input {
        Input { is_needed: true, ..Input::line(name, label, value) }
    }

    pub(super) fn lines(name: &'static str, label: &'static str, value: &[String]) -> Input {
        Input { kind: Kind::Lines, ..Input::line(name, label, value.join("\n")) }
    }

    pub(super) fn check(name: &'static str, label: &'static str, is_set: bool) -> Input {
        Input { kind: Kind::Check, ..Input::line(name, label, if is_set { "1" } else { "" }) }
    }
}

#[derive(Template)]
#[template(path = "sheet.html")]
pub(super) struct SheetPage<'page> {
    pub(super) frame: &'page Frame<'page>,
    pub(super) sheet: Sheet,
}
