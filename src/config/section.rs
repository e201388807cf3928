//! Reading one map of the configuration key by key: typed values out, problems collected, unknown keys named.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, Time, UtcOffset};

use super::files::read_secret;
use super::problem::{At, Place};
use super::reading::{Context, Noted, Secrets};
use super::refused::{Holds, Refusal, ShownPath, is_harmless, is_plain_word, refusal_of_path, shown_name};
use super::yaml::{Entry, Node, Value};

/// What stands in the place of a secret whose file is left alone.
pub const UNREAD: &str = "not-read";

/// One value of the file with its path: what a key holds, or an item of a list.
#[derive(Clone)]
pub struct Field<'file> {
    node: &'file Node,
    key_place: &'file Place,
    path: String,
    context: Context<'file>,
}

impl<'file> Field<'file> {
    pub(super) fn new(node: &'file Node, path: String, context: Context<'file>) -> Field<'file> {
        Field { node, key_place: &node.place, path, context }
    }

    /// The value.
    pub fn value(&self) -> &'file Value {
        &self.node.value
    }

    /// Where the value begins.
    pub fn place(&self) -> &'file Place {
        &self.node.place
    }

    /// Where its key stands; of an item of a list, where it begins.
    pub fn key_place(&self) -> &'file Place {
        self.key_place
    }

    /// Its path, such as `acl[3]`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether files of secrets are read here.
    pub fn secrets(&self) -> Secrets {
        self.context.secrets
    }

    /// The same value, where files of secrets are read or not, whatever holds around it.
    pub fn with(mut self, secrets: Secrets) -> Field<'file> {
        self.context.secrets = secrets;
        self
    }

    /// How many problems there are so far, in the whole file.
    pub fn problem_count(&self) -> usize {
        self.context.reading.problem_count()
    }

    /// Notes a problem with the value.
    pub fn problem(&self, message: impl Into<String>) {
        self.problem_at(self.place(), message);
    }

    /// Notes a problem that is seen elsewhere, as in the value's key.
    pub fn problem_at(&self, place: &Place, message: impl Into<String>) {
        self.context.reading.problem(place, &self.path, message);
    }

    /// The value as a map; anything else is a problem. Nothing at all (`key:` or `~`) is an empty map.
    pub fn section(&self) -> Option<Section<'file>> {
        let entries: &[Entry] = match self.value() {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Text(_) | Value::List(_) => {
                let space = match self.value() {
                    Value::Text(text) if text.contains(':') => "; a space is missing after the colon?",
                    Value::Text(_) | Value::Null | Value::List(_) | Value::Map(_) => "",
                };
                let found = self.value().describe();
                self.problem(format!("keys are expected here (\"key: value\"), not {found}{space}"));
                return None;
            }
        };
        Some(Section { entries, field: self.clone(), asked: BTreeSet::new(), refused: BTreeSet::new() })
    }

    /// The items, where the value is a list.
    pub fn items(&self) -> Option<Vec<Field<'file>>> {
        let Value::List(items) = self.value() else { return None };
        let numbered = items.iter().enumerate();
        Some(numbered.map(|(index, item)| Field::new(item, format!("{}[{index}]", self.path), self.context)).collect())
    }

    /// The names and what stands under each, where the value is a map whose keys are names that somebody chose.
    pub fn entries(&self) -> Option<Vec<(&'file str, Field<'file>)>> {
        let Value::Map(entries) = self.value() else { return None };
        let named = |entry: &'file Entry| {
            let name = if entry.key.is_empty() { "\"\"" } else { shown_name(&entry.key) };
            let field = Field::new(&entry.node, join(&self.path, name), self.context);
            (entry.key.as_str(), Field { key_place: &entry.place, ..field })
        };
        Some(entries.iter().map(named).collect())
    }

    /// A single value, as written.
    pub fn text(&self) -> Option<At<String>> {
        match self.value() {
            Value::Text(text) => Some(At { place: self.place().clone(), value: text.clone() }),
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.problem(format!("one value is expected here, not {}", self.value().describe()));
                None
            }
        }
    }

    /// A list of single values. One value alone is read as a list of it.
    pub fn texts(&self) -> Vec<At<String>> {
        let items = match self.value() {
            Value::List(items) => items.as_slice(),
            Value::Text(_) => std::slice::from_ref(self.node),
            Value::Null => &[],
            Value::Map(_) => {
                self.problem("a list is expected here (\"[a, b]\"), not a map of keys");
                &[]
            }
        };
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            match &item.value {
                Value::Text(text) => texts.push(At { place: item.place.clone(), value: text.clone() }),
                Value::Null | Value::List(_) | Value::Map(_) => {
                    self.problem_at(&item.place, format!("each item must be one value, not {}", item.value.describe()));
                }
            }
        }
        texts
    }
}

/// One map of the file while it is being read. Keys that nobody asked for are problems when it is finished: a
/// misspelt key would otherwise silently change who may do what.
pub struct Section<'file> {
    entries: &'file [Entry],
    field: Field<'file>,
    asked: BTreeSet<&'static str>,
    refused: BTreeSet<&'static str>,
}

/// Which end of a day a bare date stands for.
#[derive(Clone, Copy)]
pub enum DayEnd {
    /// `not_before: 2026-12-01` begins with that day.
    Start,
    /// `not_after: 2026-12-31` holds to the end of that day.
    End,
}

impl<'file> Section<'file> {
    /// Where the section begins.
    pub fn place(&self) -> &'file Place {
        self.field.place()
    }

    /// The path of one of its keys.
    pub fn path_of(&self, key: &str) -> String {
        join(&self.field.path, key)
    }

    /// Whether files of secrets are read here.
    pub fn secrets(&self) -> Secrets {
        self.field.secrets()
    }

    /// The same section, where files of secrets are read or not, whatever holds around it.
    pub fn with(mut self, secrets: Secrets) -> Section<'file> {
        self.field = self.field.with(secrets);
        self
    }

    /// Notes a problem with one of its keys.
    pub fn problem(&self, place: &Place, key: &str, message: impl Into<String>) {
        self.field.context.reading.problem(place, self.path_of(key), message);
    }

    /// Notes that a key is missing: a problem of the section itself.
    pub fn missing(&self, key: &str, message: impl Into<String>) {
        self.problem(self.place(), key, message);
    }

    /// Notes what one of its keys says and is probably not meant.
    pub fn warn(&self, place: &Place, key: &str, message: impl Into<String>) {
        self.field.context.reading.warn(place, self.path_of(key), message);
    }

    /// Notes a file whose change means to read all again.
    pub fn watch(&self, file: &Path) {
        self.field.context.reading.watch(file);
    }

    /// The keys that are there, known or not.
    pub fn keys(&self) -> impl Iterator<Item = &'file str> + use<'file> {
        self.entries.iter().map(|entry| entry.key.as_str())
    }

    /// The key's entry, if it is there.
    pub fn entry(&mut self, key: &'static str) -> Option<&'file Entry> {
        self.asked.insert(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The key's value, if it is there and not null.
    pub fn field(&mut self, key: &'static str) -> Option<Field<'file>> {
        let entry = self.entry(key).filter(|entry| !matches!(entry.node.value, Value::Null))?;
        let field = Field::new(&entry.node, self.path_of(key), self.field.context);
        Some(Field { key_place: &entry.place, ..field })
    }

    /// Whether the key is there and not null.
    pub fn has(&mut self, key: &'static str) -> bool {
        self.field(key).is_some()
    }

    /// A section below this one; `None` where the key is absent or null.
    pub fn section(&mut self, key: &'static str) -> Option<Section<'file>> {
        self.field(key)?.section()
    }

    /// A single value, as written.
    pub fn text(&mut self, key: &'static str) -> Option<At<String>> {
        self.field(key)?.text()
    }

    /// A value parsed from its text, which is never shown: what `parse` refuses is a problem with its words. For every key
    /// that can hold a secret, an address or a file's name, or stands beside one.
    pub fn parsed<T, E: Into<Refusal>>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        self.parsed_as(Holds::Secrets, key, parse)
    }

    /// The same of a word out of a few, a number, a time or the like, which is quoted where it is refused.
    pub fn word<T, E: Into<Refusal>>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        self.parsed_as(Holds::Words, key, parse)
    }

    fn parsed_as<T, E: Into<Refusal>>(
        &mut self,
        holds: Holds,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        let At { place, value } = self.text(key)?;
        match parse(&value) {
            Ok(value) => Some(At { place, value }),
            Err(refusal) => {
                self.problem(&place, key, refusal.into().about(&value, holds));
                None
            }
        }
    }

    /// `true` or `false` (and YAML 1.1's yes, no, on, off, as docker_auth reads them).
    pub fn flag(&mut self, key: &'static str) -> Option<At<bool>> {
        self.word(key, |text| match text {
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Ok(true),
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Ok(false),
            _ => Err(Refusal::is("neither true nor false")),
        })
    }

    /// Notes that a word is refused, which was read before as a text.
    pub fn refuse_word(&self, word: &At<String>, key: &str, refusal: &Refusal) {
        self.problem(&word.place, key, refusal.about(&word.value, Holds::Words));
    }

    /// A text that is not empty; docker_auth reads an empty one as if the key were not there.
    pub fn filled(&mut self, key: &'static str) -> Option<At<String>> {
        self.text(key).filter(|at| !at.value.is_empty())
    }

    /// A path; what it names is not looked at here. An empty one is as if the key were not there. What cannot be a path,
    /// such as the key that should be in the file, is a problem.
    pub fn path(&mut self, key: &'static str) -> Option<At<PathBuf>> {
        let At { place, value } = self.filled(key)?;
        match refusal_of_path(&value) {
            None => Some(At { place, value: PathBuf::from(value) }),
            Some(refusal) => {
                self.problem(&place, key, refusal.about(&value, Holds::Secrets));
                None
            }
        }
    }

    /// What `read` makes of the file that a key names, which is watched from now on. `Ok(None)` where such files are left
    /// alone.
    ///
    /// # Errors
    /// What is wrong with the file is noted.
    pub fn read_file<T>(
        &self,
        file: &At<PathBuf>,
        key: &str,
        read: impl FnOnce(&Path) -> Result<T, String>,
    ) -> Result<Option<T>, Noted> {
        self.watch(&file.value);
        match self.secrets() {
            Secrets::Skip => Ok(None),
            Secrets::Read => read(&file.value).map(Some).map_err(|message| {
                self.problem(&file.place, key, without_name(&message, &file.value));
                Noted
            }),
        }
    }

    /// The secret in the file that a key names, or [`UNREAD`].
    ///
    /// # Errors
    /// What is wrong with the file is noted.
    pub fn secret_in(&self, file: &At<PathBuf>, key: &str) -> Result<String, Noted> {
        Ok(self.read_file(file, key, read_secret)?.unwrap_or_else(|| UNREAD.to_owned()))
    }

    /// A secret that stands under one key, or in the file that the other names. An empty text is as if the key were not
    /// there.
    ///
    /// # Errors
    /// One of them is not right, both are there, or the file is empty: it is noted.
    pub fn secret(&mut self, key: &'static str, file_key: &'static str) -> Result<Option<At<String>>, Noted> {
        let before = self.field.problem_count();
        let (inline, file) = (self.filled(key), self.path(file_key));
        let secret = match (inline, file) {
            (Some(_), Some(file)) => {
                self.problem(&file.place, file_key, format!("give {key} or {file_key}, not both"));
                None
            }
            (None, Some(file)) => {
                let value = self.secret_in(&file, file_key)?;
                if value.is_empty() {
                    self.problem(&file.place, file_key, "the file is empty");
                }
                Some(At { place: file.place, value })
            }
            (inline, None) => inline,
        };
        if self.field.problem_count() == before { Ok(secret) } else { Err(Noted) }
    }

    /// Refuses a key that is known but cannot be used here, unless it is null. Says whether it was there.
    pub fn refuse(&mut self, key: &'static str, message: &str) -> bool {
        let field = self.field(key);
        self.asked.remove(key);
        self.refused.insert(key);
        if let Some(field) = &field {
            field.problem(message);
        }
        field.is_some()
    }

    /// A list of single values. One value alone is read as a list of it.
    pub fn texts(&mut self, key: &'static str) -> Option<Vec<At<String>>> {
        Some(self.field(key)?.texts())
    }

    /// A moment: RFC 3339 (`2026-12-31T18:00:00Z`), or a date, which stands for the given end of that day in UTC.
    pub fn moment(&mut self, key: &'static str, day: DayEnd) -> Option<At<OffsetDateTime>> {
        self.word(key, |text| {
            parse_moment(text, day).ok_or_else(|| {
                Refusal::is("no moment; write 2026-12-31T18:00:00Z, or 2026-12-31 for the whole day (UTC)")
            })
        })
    }

    /// Ends the reading: keys that nobody asked for are problems.
    pub fn finish(self) {
        self.finish_with(|_| None);
    }

    /// The same, where `hint` may know what such a key is meant for.
    pub fn finish_with(self, hint: impl Fn(&Entry) -> Option<String>) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if self.asked.contains(key) || self.refused.contains(key) {
                continue;
            }
            let known: Vec<&str> = self.asked.iter().copied().collect();
            let (shown, message) = unknown_key(entry, &known, hint(entry));
            match shown {
                Some(shown) => self.problem(&entry.place, shown, message),
                None => self.field.problem_at(&entry.place, message),
            }
        }
    }
}

fn join(path: &str, key: &str) -> String {
    match path.is_empty() {
        true => key.to_owned(),
        false => format!("{path}.{key}"),
    }
}

/// The known key that was probably meant by an unknown one, if there is one so near.
pub(crate) fn nearest<'known>(key: &str, known: &[&'known str]) -> Option<&'known str> {
    let (near, other) = known.iter().map(|other| (distance(key, other), *other)).min()?;
    (near <= 2 || (near <= 3 && key.len() > 6)).then_some(other)
}

/// What may be shown of a key that does not exist, and what is said about it. It may be a part of a secret: a password
/// with a comma in `{…}` ends there, and the rest of it is a key without a value.
fn unknown_key<'entry>(entry: &'entry Entry, known: &[&str], hint: Option<String>) -> (Option<&'entry str>, String) {
    let (name, after) = match entry.key.split_once(':') {
        Some((name, _)) => (name, "; a space is missing after the colon?"),
        None => (entry.key.as_str(), ""),
    };
    let meant = nearest(name, known);
    let is_named = meant.is_some() || (is_plain_word(name) && !matches!(entry.node.value, Value::Null));
    let shown = (is_named && is_harmless(name)).then_some(name);
    let message = match (meant, shown) {
        _ if hint.is_some() => format!("{} (known here: {})", hint.unwrap_or_default(), known.join(", ")),
        (Some(meant), _) if after.is_empty() => format!("there is no such key; did you mean \"{meant}\"?"),
        (_, Some(_)) => format!("there is no such key{after} (known here: {})", known.join(", ")),
        (_, None) => format!(
            "a key stands here that does not exist{after} (known here: {}); a value with a comma or a colon in it is \
             written in quotes",
            known.join(", ")
        ),
    };
    (shown, message)
}

/// A message about a file, without its name where that could be a secret.
fn without_name(message: &str, file: &Path) -> String {
    let name = file.display().to_string();
    message.replace(&name, &ShownPath(file).to_string())
}

/// The number of single-letter edits between two words (Levenshtein), for "did you mean".
pub(crate) fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.chars().take(64).enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        let mut next = vec![left];
        for (cell, &target) in row.iter().skip(1).zip(&other) {
            let change = diagonal + usize::from(letter != target);
            diagonal = *cell;
            left = change.min(left + 1).min(cell + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

/// Reads a moment as [`Section::moment`] does, in UTC; `None` where it is none, or none that can be written down again
/// ([`can_be_written`]).
pub(crate) fn parse_moment(text: &str, day: DayEnd) -> Option<OffsetDateTime> {
    if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
        return moment.checked_to_offset(UtcOffset::UTC).filter(can_be_written);
    }
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let date = Date::parse(text, &format).ok()?;
    let moment = match (day, date.next_day()) {
        (DayEnd::Start, _) => OffsetDateTime::new_utc(date, Time::MIDNIGHT),
        (DayEnd::End, Some(next)) => OffsetDateTime::new_utc(next, Time::MIDNIGHT),
        // 9999-12-31, by which many mean "never".
        (DayEnd::End, None) => OffsetDateTime::new_utc(date, Time::MAX),
    };
    Some(moment).filter(can_be_written)
}

/// Whether a moment has a year of four digits, as RFC 3339 (section 5.6) writes it: rules are exported so.
pub(crate) fn can_be_written(moment: &OffsetDateTime) -> bool {
    (0..=9999).contains(&moment.year())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_far_as_they_can_be_written_down_again() {
        let (start, end) = (DayEnd::Start, DayEnd::End);
        for (text, day, expected) in [
            ("2026-12-31", start, Some("2026-12-31T00:00:00Z")),
            ("2026-12-31", end, Some("2027-01-01T00:00:00Z")),
            ("2026-12-31T18:00:00Z", end, Some("2026-12-31T18:00:00Z")),
            ("2026-12-31T18:00:00.5+02:00", start, Some("2026-12-31T16:00:00.5Z")),
            ("9999-12-31", end, Some("9999-12-31T23:59:59.999999999Z")),
            ("0000-01-01", start, Some("0000-01-01T00:00:00Z")),
            ("9999-12-31T23:30:00-01:00", start, None),
            ("0000-01-01T00:30:00+01:00", start, None),
            ("-0001-01-01", start, None),
            ("2026-02-30", start, None),
            ("", start, None),
        ] {
            let read = parse_moment(text, day).and_then(|moment| moment.format(&Rfc3339).ok());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
