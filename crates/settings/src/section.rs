//! One map of the file, read key by key: typed values out, problems collected, unknown keys named.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use crate::field::{Field, join};
use crate::files::read_secret;
use crate::moment::{DayEnd, parse_moment};
use crate::problem::{At, Place};
use crate::reading::{Noted, Secrets};
use crate::refused::{Holds, Refusal, is_harmless, is_plain_word, refusal_of_path};
use crate::spelling::nearest;
use crate::yaml::{Entry, Value};

/// Stands in for a secret from a file that is left alone.
pub const UNREAD: &str = "not-read";

/// One map of the file while it is being read. Keys that nobody asked for are problems when it is finished: a
/// misspelt key would otherwise silently change who may do what.
pub struct Section<'file> {
    entries: &'file [Entry],
    field: Field<'file>,
    asked: BTreeSet<&'static str>,
    refused: BTreeSet<&'static str>,
}

impl<'file> Section<'file> {
    /// The map of these entries, which is the value of `field`.
    pub(crate) fn new(entries: &'file [Entry], field: Field<'file>) -> Section<'file> {
        Section { entries, field, asked: BTreeSet::new(), refused: BTreeSet::new() }
    }

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

    /// Notes a file: when it changes, everything has to be read again.
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
        Some(Field::from_entry(entry, self.path_of(key), self.field.context))
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
        self.flag_or(key, "neither true nor false")
    }

    /// The same where something else could stand as well, which `expected` names.
    pub fn flag_or(&mut self, key: &'static str, expected: &str) -> Option<At<bool>> {
        self.word(key, |text| match text {
            "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Ok(true),
            "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Ok(false),
            _ => Err(Refusal::is(expected)),
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
                self.problem(&file.place, key, message);
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
                Refusal::is("not a date or time; write 2026-12-31T18:00:00Z, or 2026-12-31 for the whole day (UTC)")
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Findings, Reading};
    use crate::yaml;

    /// What `read` makes of a text, and what was found out.
    fn read<T>(text: &str, secrets: Secrets, read: impl FnOnce(&mut Section<'_>) -> T) -> (Option<T>, Findings) {
        let Ok(root) = yaml::parse(text) else { unreachable!("{text}") };
        let reading = Reading::default();
        let value = reading.field(&root, "top", secrets).section().map(|mut section| {
            let value = read(&mut section);
            section.finish();
            value
        });
        (value, reading.into_findings())
    }

    fn told(findings: &Findings) -> Vec<String> {
        findings.problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
    }

    #[test]
    fn a_secret_stands_in_the_file_or_in_one_of_its_own() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(file("good"), "\u{feff}hunter\n")?;
        std::fs::write(file("empty"), " \n")?;
        let (good, empty, absent) = (file("good"), file("empty"), file("absent"));
        let cases = [
            ("{}".to_owned(), Ok(None), ""),
            ("{key: hunter}".to_owned(), Ok(Some("hunter")), ""),
            // An empty text is as if the key were not there.
            ("{key: ''}".to_owned(), Ok(None), ""),
            (format!("{{key: '', file: {good}}}"), Ok(Some("hunter")), ""),
            (format!("{{file: {good}}}"), Ok(Some("hunter")), ""),
            (format!("{{key: a, file: {good}}}"), Err(Noted), "top.file: give key or file, not both"),
            (format!("{{file: {empty}}}"), Err(Noted), "top.file: the file is empty"),
            (format!("{{file: {absent}}}"), Err(Noted), "top.file: "),
            ("{key: [a]}".to_owned(), Err(Noted), "top.key: one value is expected here, not a list"),
            ("{file: {a: b}}".to_owned(), Err(Noted), "top.file: one value is expected here, not a map"),
        ];
        for (text, expected, problem) in cases {
            let (value, findings) = read(&text, Secrets::Read, |section| section.secret("key", "file"));
            let value = value.map(|secret| secret.map(|at| at.map(|at| at.value)));
            assert_eq!(value, Some(expected.map(|secret| secret.map(str::to_owned))), "{text}");
            let told = told(&findings);
            assert_eq!(told.len(), usize::from(!problem.is_empty()), "{text}: {told:?}");
            assert!(told.iter().all(|told| told.starts_with(problem)), "{text}: {told:?}");
        }
        Ok(())
    }

    #[test]
    fn files_that_are_left_alone_are_watched_and_not_opened() {
        let secret = |section: &mut Section<'_>| section.secret("key", "file").ok().flatten().map(|at| at.value);
        let text = "{file: /nowhere/at/all}";
        let (value, findings) = read(text, Secrets::Skip, secret);
        assert_eq!(value.flatten().as_deref(), Some(UNREAD));
        assert_eq!((told(&findings), findings.files), (vec![], vec![PathBuf::from("/nowhere/at/all")]));
        let (value, findings) = read(text, Secrets::Read, secret);
        assert_eq!((value.flatten(), told(&findings).len(), findings.files.len()), (None, 1, 1));
    }

    #[test]
    fn a_section_hands_on_whether_secrets_are_read_and_may_say_otherwise() {
        let text = "{a: {b: {}}, c: [{}], d: {e: {}}}";
        let (value, findings) = read(text, Secrets::Skip, |section| {
            let inner = section.section("a").and_then(|mut a| a.field("b")).map(|b| b.secrets());
            let item = section.field("c").and_then(|c| c.items()?.first().map(Field::secrets));
            let other = section.field("d").map(|d| d.with(Secrets::Read));
            let below = other.and_then(|d| d.section()?.field("e")).map(|e| e.secrets());
            [inner, item, below, Some(section.secrets())]
        });
        assert_eq!(value, Some([Secrets::Skip, Secrets::Skip, Secrets::Read, Secrets::Skip].map(Some)));
        assert_eq!(told(&findings), Vec::<String>::new());
    }

    #[test]
    fn all_that_is_found_out_goes_to_one_reading_in_the_order_of_the_file() {
        let text = "b: {no_number: x}\nlist: [{x: 1}]\nc: y\n";
        let (_, findings) = read(text, Secrets::Skip, |section| {
            section.word("c", crate::number::duration);
            if let Some(item) = section.field("list").and_then(|list| list.items()?.into_iter().next()) {
                item.problem("wrong");
            }
            if let Some(b) = section.section("b") {
                b.warn(b.place(), "number", "odd");
                b.finish();
            }
        });
        let places: Vec<String> = findings.problems.iter().map(|problem| problem.place.to_string()).collect();
        assert_eq!(places, ["line 1", "line 2", "line 3"]);
        let paths: Vec<&str> = findings.problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["top.b.no_number", "top.list[0]", "top.c"]);
        assert_eq!(findings.warnings.iter().map(|odd| odd.path.as_str()).collect::<Vec<_>>(), ["top.b.number"]);
    }
}
