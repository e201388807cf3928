//! A rule with its number, as a document of the database, as YAML and as a line of JSON: what commands show and take.
//!
//! Pure. What is written here and read again is the same rule.

use mongodb::bson::{Bson, Document, doc};
use policy::rule::RuleText;

use crate::mongo::document::{insert_window, written};
use crate::shown::printable;

/// The keys of a rule's document.
pub(super) const KEYS: &[&str] = &["seq", "match", "actions", "comment", "not_before", "not_after"];

/// A rule with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// Rules are looked at in the order of this.
    pub seq: i64,
    /// What it says.
    pub text: RuleText,
}

/// How rules are written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A list in YAML.
    Yaml,
    /// One JSON object a line, as docker_auth's documentation has them and `mongoimport` takes them.
    JsonLines,
}

/// All rules as one text.
pub fn write_all(rules: &[Numbered], format: Format) -> String {
    match (format, rules) {
        (Format::Yaml, []) => "[]\n".to_owned(),
        (Format::Yaml, rules) => rules.iter().map(Numbered::to_yaml).collect(),
        (Format::JsonLines, rules) => rules.iter().map(|rule| rule.to_json_line() + "\n").collect(),
    }
}

impl Numbered {
    /// The rule's document, without `_id`.
    pub fn to_document(&self) -> Document {
        let mut document = doc! { "seq": number(self.seq), "match": matched::<Document, _>(&self.text) };
        document.insert("actions", self.text.actions.clone());
        if let Some(comment) = &self.text.comment {
            document.insert("comment", comment);
        }
        insert_window(&mut document, self.text.not_before, self.text.not_after);
        document
    }

    /// The rule as an item of a YAML list. Texts are always quoted, so that none reads as something else.
    pub fn to_yaml(&self) -> String {
        to_yaml(&format!("seq: {}\n  ", self.seq), &self.text)
    }
    /// The rule as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let mut rule = serde_json::Map::new();
        rule.insert("seq".to_owned(), self.seq.into());
        rule.insert("match".to_owned(), matched::<serde_json::Map<_, _>, _>(&self.text).into());
        rule.insert("actions".to_owned(), self.text.actions.clone().into());
        rule.extend(extras(&self.text).map(|(key, value)| (key.to_owned(), value.into())));
        rule.into()
    }

    /// The rule as JSON on one line, its keys in the order in which people write them.
    fn to_json_line(&self) -> String {
        let rule = self.to_json();
        let keys = KEYS.iter().filter_map(|key| Some(format!("\"{key}\": {}", rule.get(key)?)));
        format!("{{{}}}", keys.collect::<Vec<_>>().join(", "))
    }
}

/// Rules without numbers as one text, as the list of a configuration file has them.
pub fn write_list(rules: &[RuleText]) -> String {
    match rules {
        [] => "[]\n".to_owned(),
        rules => rules.iter().map(|text| to_yaml("", text)).collect(),
    }
}

/// A rule as an item of a YAML list, behind what stands before it. Texts are always quoted, so that none reads as something else.
fn to_yaml(before: &str, text: &RuleText) -> String {
    let mut conditions: Vec<String> =
        text.conditions().map(|(field, pattern)| format!("{field}: {}", quoted(pattern))).collect();
    if !text.labels.is_empty() {
        let labels = text.labels.iter().map(|(label, pattern)| format!("{}: {}", quoted(label), quoted(pattern)));
        conditions.push(format!("labels: {{{}}}", labels.collect::<Vec<_>>().join(", ")));
    }
    let actions: Vec<String> = text.actions.iter().map(|action| quoted(action)).collect();
    let (conditions, actions) = (conditions.join(", "), actions.join(", "));
    let mut yaml = format!("- {before}match: {{{conditions}}}\n  actions: [{actions}]\n");
    for (key, value) in extras(text) {
        yaml.push_str(&format!("  {key}: {}\n", quoted(&value)));
    }
    yaml
}

/// What may be there beside match and actions.
fn extras(text: &RuleText) -> impl Iterator<Item = (&'static str, String)> {
    let comment = text.comment.clone().map(|comment| ("comment", comment));
    let before = text.not_before.map(|moment| ("not_before", written(moment)));
    let after = text.not_after.map(|moment| ("not_after", written(moment)));
    [comment, before, after].into_iter().flatten()
}

impl std::fmt::Display for Numbered {
    /// On one line, for people.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts: Vec<String> =
            self.text.conditions().map(|(field, pattern)| format!("{field}={}", quoted(pattern))).collect();
        parts.extend(
            self.text.labels.iter().map(|(label, pattern)| format!("labels.{}={}", printable(label), quoted(pattern))),
        );
        if parts.is_empty() {
            parts.push("everybody and everything".to_owned());
        }
        let actions = match self.text.actions.as_slice() {
            [] => "nothing".to_owned(),
            listed => listed.join(","),
        };
        write!(out, "{:>6}  {} -> {actions}", self.seq, parts.join(" "))?;
        for (key, value) in extras(&self.text) {
            match key {
                "comment" => write!(out, "  # {}", printable(&value))?,
                moment => write!(out, "  {moment} {value}")?,
            }
        }
        Ok(())
    }
}

/// What `match` holds, as a map of either kind.
fn matched<M: FromIterator<(String, V)>, V: From<String> + From<M>>(text: &RuleText) -> M {
    let owned = |(key, pattern): (&str, &str)| (key.to_owned(), V::from(pattern.to_owned()));
    let labels: M = text.labels.iter().map(|(label, pattern)| owned((label, pattern))).collect();
    let labels = (!text.labels.is_empty()).then(|| ("labels".to_owned(), V::from(labels)));
    text.conditions().map(|(field, pattern)| owned((field.key(), pattern))).chain(labels).collect()
}

/// As small a number as the shell would write.
pub(super) fn number(seq: i64) -> Bson {
    i32::try_from(seq).map_or(Bson::Int64(seq), Bson::Int32)
}

/// A text between double quotes that both YAML and JSON read as this text.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // YAML allows no others unescaped, and readers of YAML 1.1 take some of them for line breaks.
            '\0'..='\u{1f}' | '\u{7f}'..='\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
