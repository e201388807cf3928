//! One value of the file with its path: what a key holds, or an item of a list.

use crate::problem::{At, Place};
use crate::reading::{Context, Secrets};
use crate::refused::shown_name;
use crate::section::Section;
use crate::yaml::{Entry, Node, Style, Value};

/// One value of the file with its path: what a key holds, or an item of a list.
#[derive(Clone)]
pub struct Field<'file> {
    node: &'file Node,
    key_place: &'file Place,
    pub(crate) path: String,
    pub(crate) context: Context<'file>,
}

impl<'file> Field<'file> {
    /// A part of the document that stands under no key.
    pub(crate) fn new(node: &'file Node, path: String, context: Context<'file>) -> Field<'file> {
        Field { node, key_place: &node.place, path, context }
    }

    /// What stands under a key, which `path` names.
    pub(crate) fn from_entry(entry: &'file Entry, path: String, context: Context<'file>) -> Field<'file> {
        Field { node: &entry.node, key_place: &entry.place, path, context }
    }

    /// The value.
    pub fn value(&self) -> &'file Value {
        &self.node.value
    }

    /// Whether a single value stands in quotes.
    pub fn style(&self) -> Style {
        self.node.style
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
        Some(Section::new(entries, self.clone()))
    }

    /// The items, where the value is a list.
    pub fn items(&self) -> Option<Vec<Field<'file>>> {
        let Value::List(items) = self.value() else { return None };
        let numbered = items.iter().enumerate();
        Some(numbered.map(|(index, item)| Field::new(item, format!("{}[{index}]", self.path), self.context)).collect())
    }

    /// The keys and what stands under each, where the value is a map with keys that somebody chose, as those of `users` are.
    pub fn entries(&self) -> Option<Vec<(&'file str, Field<'file>)>> {
        let Value::Map(entries) = self.value() else { return None };
        let named = |entry: &'file Entry| {
            let name = if entry.key.is_empty() { "\"\"" } else { shown_name(&entry.key) };
            (entry.key.as_str(), Field::from_entry(entry, join(&self.path, name), self.context))
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

pub(crate) fn join(path: &str, key: &str) -> String {
    match path.is_empty() {
        true => key.to_owned(),
        false => format!("{path}.{key}"),
    }
}
