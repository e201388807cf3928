//! Reading one document field by field: typed values out, everything that is wrong collected.

use std::collections::BTreeMap;

use mongodb::bson::spec::ElementType;
use mongodb::bson::{Bson, DateTime, Document, doc};
use serde_json::Value as Json;
use settings::moment::{can_be_written, parse_moment};
use settings::spelling::nearest;
use settings::{DayEnd, Holds, Refusal};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::json;

/// A document while it is being read.
///
/// A key that nobody asked for is left alone, since other programs may keep theirs in the same document; unless it
/// looks like one that was meant (`not_afer`), which would otherwise silently change who may do what.
pub struct Fields<'d> {
    document: &'d Document,
    path: &'d str,
    asked: Vec<&'static str>,
    problems: Vec<String>,
}

/// Which keys that nobody asked for are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Those that look like a known one.
    LeftAloneUnlessNear,
    /// All of them.
    Refused,
}

impl<'d> Fields<'d> {
    /// Opens a document; `path` stands before its keys in messages, and is empty for a whole one.
    pub fn open(document: &'d Document, path: &'d str) -> Fields<'d> {
        Fields { document, path, asked: Vec::new(), problems: Vec::new() }
    }

    /// Notes a problem with one of the keys.
    pub fn problem(&mut self, key: &str, message: impl std::fmt::Display) {
        let path = self.path;
        self.problems.push(format!("{path}{key}: {message}"));
    }

    /// The key's value, unless it is absent or null.
    pub fn value(&mut self, key: &'static str) -> Option<&'d Bson> {
        self.asked.push(key);
        self.document.get(key).filter(|value| !matches!(value, Bson::Null))
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Option<&'d str> {
        match self.value(key)? {
            Bson::String(text) => Some(text),
            other => {
                let found = describe(other);
                self.problem(key, format!("a text is expected here, not {found}"));
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        match self.value(key)? {
            Bson::Boolean(flag) => Some(*flag),
            other => {
                let found = describe(other);
                self.problem(key, format!("true or false is expected here, not {found}"));
                None
            }
        }
    }

    /// A whole number. The MongoDB shell writes `10` as a floating point number.
    pub fn integer(&mut self, key: &'static str) -> Option<i64> {
        let found = match self.value(key)? {
            Bson::Int32(number) => return Some(i64::from(*number)),
            Bson::Int64(number) => return Some(*number),
            #[expect(clippy::cast_possible_truncation, reason = "the number is whole and far below what fits")]
            Bson::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => return Some(*number as i64),
            Bson::Double(number) => number.to_string(),
            other => describe(other).to_owned(),
        };
        self.problem(key, format!("a whole number is expected here, not {found}"));
        None
    }

    /// A moment: a date of the database, or a text as in the configuration file.
    pub fn moment(&mut self, key: &'static str, day: DayEnd) -> Option<OffsetDateTime> {
        let message = match self.value(key)? {
            Bson::DateTime(moment) => match from_milliseconds(moment.timestamp_millis()).filter(can_be_written) {
                Some(moment) => return Some(moment),
                None => "this date is too far away".to_owned(),
            },
            Bson::String(text) => match parse_moment(text, day) {
                Some(moment) => return Some(moment),
                None => Refusal::is("not a date or time; write a date, or \"2026-12-31T18:00:00Z\"")
                    .about(text, Holds::Words),
            },
            other => format!("a date is expected here, not {}", describe(other)),
        };
        self.problem(key, message);
        None
    }

    /// A list of texts. With `Single::IsAList`, one text alone is a list of it.
    pub fn texts(&mut self, key: &'static str, single: Single) -> Option<Vec<&'d str>> {
        let value = self.value(key)?;
        match texts_of(value, single) {
            Ok(texts) => Some(texts),
            Err(message) => {
                self.problem(key, message);
                None
            }
        }
    }

    /// A document in this one.
    pub fn document(&mut self, key: &'static str) -> Option<&'d Document> {
        match self.value(key)? {
            Bson::Document(inner) => Some(inner),
            other => {
                let found = describe(other);
                self.problem(key, format!("a document with keys is expected here, not {found}"));
                None
            }
        }
    }

    /// A document whose keys are free: each with what `read` makes of its value.
    pub fn map<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&'d Bson) -> Result<T, String>,
    ) -> BTreeMap<String, T> {
        let mut values = BTreeMap::new();
        for (name, value) in self.document(key).into_iter().flatten() {
            match read(value) {
                Ok(value) => drop(values.insert(name.clone(), value)),
                Err(message) => self.problem(&format!("{key}.{name}"), message),
            }
        }
        values
    }

    /// Ends the reading: everything that is wrong.
    pub fn finish(mut self, unknown: Unknown) -> Vec<String> {
        for key in self.document.keys() {
            if self.asked.contains(&key.as_str()) || key.starts_with('_') && unknown == Unknown::LeftAloneUnlessNear {
                continue;
            }
            match (nearest(key, &self.asked), unknown) {
                (Some(meant), _) => {
                    self.problems.push(format!("{}{key}: there is no such key; did you mean \"{meant}\"?", self.path));
                }
                (None, Unknown::Refused) => {
                    let known = self.asked.join(", ");
                    self.problems.push(format!("{}{key}: there is no such key (known here: {known})", self.path));
                }
                (None, Unknown::LeftAloneUnlessNear) => {}
            }
        }
        self.problems
    }
}

/// What one text means where a list is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Single {
    /// A list of it.
    IsAList,
    /// A mistake.
    IsWrong,
}

/// The texts of a list.
///
/// # Errors
/// Says what stands there instead.
pub fn texts_of(value: &Bson, single: Single) -> Result<Vec<&str>, String> {
    match (value, single) {
        (Bson::Null, _) => Ok(Vec::new()),
        (Bson::String(text), Single::IsAList) => Ok(vec![text]),
        (Bson::Array(items), _) => items
            .iter()
            .map(|item| match item {
                Bson::String(text) => Ok(text.as_str()),
                other => Err(format!("the list must hold texts, not {}", describe(other))),
            })
            .collect(),
        (other, _) => Err(format!("a list of texts is expected here, not {}", describe(other))),
    }
}

/// What kind of value it is, in words for a message; never the value itself, which may be a secret.
pub fn describe(value: &Bson) -> &'static str {
    match value.element_type() {
        ElementType::String => "a text",
        ElementType::Double | ElementType::Int32 | ElementType::Int64 | ElementType::Decimal128 => "a number",
        ElementType::EmbeddedDocument => "a document",
        ElementType::Array => "a list",
        ElementType::Boolean => "true or false",
        ElementType::DateTime => "a date",
        ElementType::Null | ElementType::Undefined => "nothing",
        ElementType::RegularExpression => "a regular expression of the database (write it as a text, \"/…/\")",
        ElementType::ObjectId => "an ObjectId",
        _ => "a value of another kind",
    }
}

/// Finds this document only as long as these keys of it are what they are: nobody's change is overwritten unseen.
pub fn unchanged(document: &Document, keys: &[&str]) -> Document {
    let mut filter = Document::new();
    for key in std::iter::once(&"_id").chain(keys) {
        filter.insert(
            *key,
            match document.get(key) {
                Some(value) => doc! { "$eq": value.clone() },
                None => doc! { "$exists": false },
            },
        );
    }
    filter
}

/// The update that makes these keys of a document what they are in `after`. Keys of other programs stay.
pub(crate) fn update_to(before: &Document, after: &Document, keys: &[&str]) -> Document {
    let (mut set, mut unset) = (Document::new(), Document::new());
    for key in keys {
        match after.get(key) {
            Some(value) => drop(set.insert(*key, value.clone())),
            None if before.contains_key(key) => drop(unset.insert(*key, "")),
            None => {}
        }
    }
    let operators = [("$set", set), ("$unset", unset)].into_iter().filter(|(_, keys)| !keys.is_empty());
    operators.map(|(operator, keys)| (operator.to_owned(), Bson::Document(keys))).collect()
}

/// The value of JSON as documents have it. Nothing in it means anything special.
pub(crate) fn to_bson(value: Json) -> Bson {
    match value {
        Json::Null => Bson::Null,
        Json::Bool(flag) => Bson::Boolean(flag),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| Bson::Double(number.as_f64().unwrap_or(f64::NAN)), Bson::Int64)
        }
        Json::String(text) => Bson::String(text),
        Json::Array(items) => Bson::Array(items.into_iter().map(to_bson).collect()),
        Json::Object(entries) => {
            Bson::Document(entries.into_iter().map(|(name, value)| (name, to_bson(value))).collect())
        }
    }
}

/// A document that is kept as JSON; `None` where the text is none, or has a name twice.
pub(crate) fn of_json(text: &str) -> Option<Document> {
    match to_bson(json::unambiguous(text).ok()?) {
        Bson::Document(document) => Some(document),
        _ => None,
    }
}

/// The same of a list of documents.
pub(crate) fn list_of_json(text: &str) -> Option<Vec<Document>> {
    let Json::Array(items) = json::unambiguous(text).ok()? else { return None };
    let document = |item| match to_bson(item) {
        Bson::Document(document) => Some(document),
        _ => None,
    };
    items.into_iter().map(document).collect()
}

/// A document as it is kept as JSON: an id and a moment as their texts.
pub(crate) fn to_json(value: &Bson) -> Json {
    match value {
        Bson::Null | Bson::Undefined => Json::Null,
        Bson::Boolean(flag) => (*flag).into(),
        Bson::Int32(number) => (*number).into(),
        Bson::Int64(number) => (*number).into(),
        Bson::Double(number) => (*number).into(),
        Bson::String(text) => text.as_str().into(),
        Bson::ObjectId(id) => id.to_hex().into(),
        Bson::DateTime(moment) => match from_milliseconds(moment.timestamp_millis()) {
            Some(moment) => written(moment).into(),
            None => Json::Null,
        },
        Bson::Array(items) => items.iter().map(to_json).collect(),
        Bson::Document(document) => {
            Json::Object(document.iter().map(|(name, value)| (name.clone(), to_json(value))).collect())
        }
        other => other.to_string().into(),
    }
}

/// How a document is named in messages: its `_id`.
pub fn name_of(document: &Document) -> String {
    let id = match document.get("_id") {
        Some(Bson::ObjectId(id)) => id.to_hex(),
        Some(Bson::String(id)) => id.clone(),
        Some(other) => other.to_string(),
        None => "none".to_owned(),
    };
    format!("_id {}", id.chars().filter(|letter| !letter.is_control()).take(64).collect::<String>())
}

/// A date, which has milliseconds; a moment that is more exact, or that no date holds, stays a text.
fn date(moment: OffsetDateTime) -> Bson {
    let nanoseconds = moment.unix_timestamp_nanos();
    match i64::try_from(nanoseconds.div_euclid(1_000_000)) {
        Ok(milliseconds) if nanoseconds.rem_euclid(1_000_000) == 0 => {
            Bson::DateTime(DateTime::from_millis(milliseconds))
        }
        Ok(_) | Err(_) => Bson::String(written(moment)),
    }
}

/// Writes `not_before` and `not_after` into a document, where they are set.
pub(crate) fn insert_window(
    document: &mut Document,
    not_before: Option<OffsetDateTime>,
    not_after: Option<OffsetDateTime>,
) {
    let moments = [("not_before", not_before), ("not_after", not_after)];
    document.extend(moments.into_iter().filter_map(|(key, moment)| Some((key.to_owned(), date(moment?)))));
}

/// The moment of a date, which has milliseconds since 1970; `None` where it is too far away.
pub(crate) fn from_milliseconds(milliseconds: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds).saturating_mul(1_000_000)).ok()
}

/// RFC 3339 in UTC.
pub(crate) fn written(moment: OffsetDateTime) -> String {
    let utc = moment.checked_to_offset(time::UtcOffset::UTC).unwrap_or(moment);
    utc.format(&Rfc3339).unwrap_or_else(|_| utc.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_sets_what_is_there_and_takes_out_what_is_gone_of_these_keys_alone() {
        let before = doc! { "_id": 1, "seq": 10, "comment": "old", "created_by": "another program" };
        for (after, expected) in [
            (doc! { "seq": 20, "comment": "new" }, doc! { "$set": { "seq": 20, "comment": "new" } }),
            (doc! { "seq": 20 }, doc! { "$set": { "seq": 20 }, "$unset": { "comment": "" } }),
            (doc! { "seq": 10, "mine": 1 }, doc! { "$set": { "seq": 10 }, "$unset": { "comment": "" } }),
        ] {
            assert_eq!(update_to(&before, &after, &["seq", "comment", "not_after"]), expected, "{after}");
        }
    }
}
