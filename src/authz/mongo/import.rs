//! Rules out of a text: YAML, a whole configuration file, JSON, lines of JSON, and what `mongoexport` writes.
//!
//! Pure. Everything that is wrong is found in one reading and reported with its line.

use std::path::Path;

use policy::rule::RuleText;
use serde_json::Value as Json;
use settings::text::without_mark;
use settings::yaml::{self, Entry, Node, Style, Value};
use settings::{Place, Problem, Reading, Refusal, Secrets, number};

use super::order::{MAX_SEQ, NoRoom, numbers_after};
use super::text::Numbered;
use crate::authz::rules::read_rule;
use crate::json::Unambiguous;
use crate::mongo::document::{from_milliseconds, written};

/// A rule of the text, which may lack its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnumbered {
    /// Its `seq`, if it has one.
    pub seq: Option<i64>,
    /// What it says.
    pub text: RuleText,
}

/// Reads the rules of a text.
///
/// # Errors
/// Everything that is wrong, a line each, ready to be shown; `file` is named in it.
pub fn parse(file: &Path, text: &str) -> Result<Vec<Unnumbered>, Vec<String>> {
    let text = without_mark(text);
    let shown = |problem: &Problem| problem.in_file(file);
    let items = items_of(text).map_err(|problem| vec![shown(&problem)])?;
    let reading = Reading::default();
    let rules: Vec<Unnumbered> =
        items.iter().enumerate().filter_map(|(index, item)| read(item, index, &reading)).collect();
    let problems = reading.into_findings().problems;
    if problems.is_empty() && rules.len() == items.len() {
        return Ok(rules);
    }
    Err(problems.iter().map(shown).collect())
}

/// Gives the rules of a text their numbers and their order: those they have, or tens where none has one.
///
/// # Errors
/// Only some have a number, or two have the same.
pub fn number_all(rules: Vec<Unnumbered>) -> Result<Vec<Numbered>, String> {
    let without = rules.iter().filter(|rule| rule.seq.is_none()).count();
    if without > 0 && without < rules.len() {
        let have = if without == 1 { "has" } else { "have" };
        return Err(format!("{without} of {} rules {have} no seq; give one to each rule, or to none", rules.len()));
    }
    let mut numbered = match without {
        0 => rules.into_iter().filter_map(|rule| Some(Numbered { seq: rule.seq?, text: rule.text })).collect(),
        _ => number_after(None, rules).map_err(|error| error.to_string())?,
    };
    numbered.sort_by_key(|rule| rule.seq);
    match numbered.iter().zip(numbered.iter().skip(1)).find(|(one, other)| one.seq == other.seq) {
        Some((one, _)) => {
            Err(format!("two rules have the seq {}, so their order is open; change one of them", one.seq))
        }
        None => Ok(numbered),
    }
}

/// Gives the rules new numbers after `last`; the numbers they have say only in which order.
///
/// # Errors
/// The numbers have come to their end.
pub fn number_after(last: Option<i64>, mut rules: Vec<Unnumbered>) -> Result<Vec<Numbered>, NoRoom> {
    rules.sort_by_key(|rule| rule.seq);
    let numbers = numbers_after(last, rules.len())?;
    Ok(rules.into_iter().zip(numbers).map(|(rule, seq)| Numbered { seq, text: rule.text }).collect())
}

fn read(item: &Node, index: usize, reading: &Reading) -> Option<Unnumbered> {
    let plain = without_wrappers(item);
    let mut section = reading.field(&plain, format!("rule {}", index + 1), Secrets::Skip).section()?;
    // What `mongoexport` adds; the database gives its own.
    let _id = section.entry("_id");
    let given = section.has("seq");
    let seq = section.word("seq", |text| match number::whole(text) {
        Some(seq) if (-MAX_SEQ..=MAX_SEQ).contains(&seq) => Ok(seq),
        Some(_) | None => Err(Refusal::is("not a whole number that rules can be ordered by; write 10, 20, …")),
    });
    if given && seq.is_none() {
        return None;
    }
    let (text, _) = read_rule(section)?;
    Some(Unnumbered { seq: seq.map(|at| at.value), text })
}

/// The values of MongoDB's extended JSON, where a rule has any, in place of what they are wrapped in.
fn without_wrappers(item: &Node) -> Node {
    let Value::Map(entries) = &item.value else { return item.clone() };
    let entries = entries.iter().map(|entry| match entry.key.as_str() {
        "seq" | "not_before" | "not_after" => {
            Entry { node: unwrapped(&entry.node).unwrap_or_else(|| entry.node.clone()), ..entry.clone() }
        }
        _ => entry.clone(),
    });
    Node { place: item.place.clone(), value: Value::Map(entries.collect()), style: Style::Plain }
}

fn unwrapped(node: &Node) -> Option<Node> {
    let Value::Map(entries) = &node.value else { return None };
    let [only] = entries.as_slice() else { return None };
    let text = match (only.key.as_str(), &only.node.value) {
        ("$numberInt" | "$numberLong" | "$numberDouble", Value::Text(number)) => number.clone(),
        ("$date", Value::Text(date)) => match date.parse::<i64>() {
            Ok(milliseconds) => written(from_milliseconds(milliseconds)?),
            Err(_) => date.clone(),
        },
        ("$date", Value::Map(_)) => match &unwrapped(&only.node)?.value {
            Value::Text(milliseconds) => written(from_milliseconds(milliseconds.parse().ok()?)?),
            Value::Null | Value::List(_) | Value::Map(_) => return None,
        },
        _ => return None,
    };
    Some(Node { place: node.place.clone(), value: Value::Text(text), style: Style::Plain })
}

/// The rules as nodes, whatever form the text has.
fn items_of(text: &str) -> Result<Vec<Node>, Problem> {
    let whole = |message: &str| Problem::new(Place::Line(1), "", message);
    let root = match json(text) {
        Ok(mut values) if values.len() == 1 => values.pop(),
        // An object a line.
        Ok(values) if values.len() > 1 => return Ok(values),
        Ok(_) => None,
        Err(of_json) => match yaml::parse(text) {
            Ok(root) => Some(root),
            Err(_) if text.trim_start().starts_with(['{', '[']) => return Err(of_json),
            Err(of_yaml) => return Err(of_yaml),
        },
    };
    let Some(root) = root else { return Err(whole("there are no rules in it; write [] if really none are meant")) };
    let place = root.place.clone();
    match root.value {
        Value::List(items) => Ok(items),
        Value::Map(entries) => {
            let rule = entries.iter().any(|entry| entry.key == "match" || entry.key == "actions");
            if rule {
                return Ok(vec![Node { place, value: Value::Map(entries), style: Style::Plain }]);
            }
            match entries.into_iter().find(|entry| entry.key == "acl").map(|entry| entry.node) {
                Some(Node { value: Value::List(items), .. }) => Ok(items),
                Some(node) => Err(Problem::new(node.place, "acl", "a list of rules is expected here")),
                None => Err(whole("there are neither rules in it nor a configuration's acl")),
            }
        }
        Value::Null => Err(whole("there are no rules in it; write [] if really none are meant")),
        Value::Text(_) => Err(whole("there are neither rules in it nor a configuration's acl")),
    }
}

/// The JSON values of a text, one after the other, each with the line that it begins on.
fn json(text: &str) -> Result<Vec<Node>, Problem> {
    let mut values = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Unambiguous>();
    loop {
        let before = text.get(stream.byte_offset()..).unwrap_or_default();
        let blank = before.len().saturating_sub(before.trim_start().len());
        let begins = text.get(..stream.byte_offset().saturating_add(blank)).unwrap_or_default();
        let line = begins.matches('\n').count().saturating_add(1);
        match stream.next() {
            None => return Ok(values),
            Some(Ok(Unambiguous(value))) => values.push(node(value, line)),
            Some(Err(error)) => {
                return Err(Problem::new(Place::Line(error.line().max(1)), "", format!("this is not JSON: {error}")));
            }
        }
    }
}

/// A JSON value as a node of this line.
fn node(value: Json, line: usize) -> Node {
    let place = Place::Line(line);
    let value = match value {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Text(flag.to_string()),
        // `mongoexport` writes 10.0 for a whole number.
        Json::Number(number) => Value::Text(match number.as_f64().filter(|_| number.is_f64()) {
            Some(fraction) => fraction.to_string(),
            None => number.to_string(),
        }),
        Json::String(text) => Value::Text(text),
        Json::Array(items) => Value::List(items.into_iter().map(|item| node(item, line)).collect()),
        Json::Object(members) => {
            let entry = |(key, value)| Entry { key, place: place.clone(), node: node(value, line) };
            Value::Map(members.into_iter().map(entry).collect())
        }
    };
    Node { place, value, style: Style::Plain }
}

#[cfg(test)]
mod tests;
