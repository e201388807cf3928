//! YAML text as a tree of nodes that know their line, read the way docker_auth's reader does.
//!
//! Scalars keep the text as it was written (`1.10` stays `1.10`, `yes` stays `yes`): what a value means is decided
//! where it is used. Anchors, aliases and merge keys are resolved here; what aliases may add is bounded, since a
//! file of a few hundred bytes can otherwise ask for billions of nodes.

use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use crate::indentation;
use crate::problem::{Place, Problem};
use crate::refused::is_plain_word;
use crate::text::without_mark;

/// Nesting deeper than this is refused: no configuration needs it, and dropping a deeper tree could exhaust a stack.
const MAX_DEPTH: usize = 64;
/// What aliases may add to a file: a node counts one, and one more for every 32 bytes of text.
const MAX_ALIASED_NODES: usize = 100_000;

/// One value of the file and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where the value begins.
    pub place: Place,
    /// What it holds.
    pub value: Value,
    /// How a scalar is written: what a text without quotes means is for whoever reads it.
    pub style: Style,
}

/// How a scalar is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes; also what is not a scalar.
    Plain,
    /// In quotes or as a block: it is a text, whatever it looks like.
    Quoted,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing: `~`, `null` or no text at all.
    Null,
    /// A scalar, as written.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and their values, in order; no key stands twice.
    Map(Vec<Entry>),
}

/// One key of a map and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// Its value.
    pub node: Node,
}

impl Style {
    fn of(style: ScalarStyle) -> Style {
        match style {
            ScalarStyle::Plain => Style::Plain,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted | ScalarStyle::Literal | ScalarStyle::Folded => {
                Style::Quoted
            }
        }
    }
}

impl Value {
    /// What kind of value this is, in words for a message.
    pub fn describe(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Text(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map of keys",
        }
    }
}

/// A list or a map that has not ended yet.
enum Open {
    List {
        place: Place,
        anchor: usize,
        items: Vec<Node>,
        size: usize,
    },
    Map {
        place: Place,
        anchor: usize,
        entries: Vec<Entry>,
        names: HashSet<String>,
        merges: Vec<Node>,
        key: Option<(Key, Place)>,
        size: usize,
    },
}

/// A map's key before its value is known.
enum Key {
    Named(String),
    Merge,
}

struct Anchored {
    node: Node,
    size: usize,
}

/// Reads one YAML document.
///
/// # Errors
/// The first thing that is not YAML, or that no configuration can mean (a key twice, an alias to itself, a second
/// document): a file that cannot be read as a tree has no further problems worth listing.
pub fn parse(text: &str) -> Result<Node, Problem> {
    let text = without_mark(text);
    let mut reading = Reading::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let (number, why) = indentation::explain(text, error.marker().line(), error.info());
            Problem::new(line(number), "", format!("this is not YAML: {why}"))
        })?;
        let place = line(span.start.line());
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => reading.start_document(place)?,
            Event::Alias(anchor) => reading.alias(anchor, place)?,
            Event::Scalar(text, style, anchor, tag) => {
                let value = scalar(&text, style, tag.as_deref(), &place)?;
                let is_said_text = tag.as_deref().is_some_and(|tag| tag.suffix == "str");
                let style = if is_said_text { ScalarStyle::DoubleQuoted } else { style };
                reading.scalar(value, style, anchor, place)?;
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "seq", &place)?;
                reading.open(Open::List { place, anchor, items: Vec::new(), size: 1 })?;
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(tag.as_deref(), "map", &place)?;
                reading.open(Open::Map {
                    place,
                    anchor,
                    entries: Vec::new(),
                    names: HashSet::new(),
                    merges: Vec::new(),
                    key: None,
                    size: 1,
                })?;
            }
            Event::SequenceEnd | Event::MappingEnd => reading.close()?,
        }
    }
    Ok(reading.root.unwrap_or(Node { place: line(1), value: Value::Null, style: Style::Plain }))
}

fn line(number: usize) -> Place {
    Place::Line(number.max(1))
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, place: &Place) -> Result<Value, Problem> {
    let plain = matches!(style, ScalarStyle::Plain);
    match tag {
        None if plain && is_null(text) => Ok(Value::Null),
        None => Ok(Value::Text(text.to_owned())),
        Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
            "str" | "int" | "float" | "bool" | "timestamp" => Ok(Value::Text(text.to_owned())),
            "null" => Ok(Value::Null),
            _ => Err(unknown_tag(place)),
        },
        Some(_) => Err(unknown_tag(place)),
    }
}

/// What a single value counts where an alias repeats it: otherwise a long text, repeated, could fill the memory.
fn size_of_text(value: &Value) -> usize {
    match value {
        Value::Text(text) => 1 + text.len() / 32,
        Value::Null | Value::List(_) | Value::Map(_) => 1,
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

fn refuse_tag(tag: Option<&Tag>, expected: &str, place: &Place) -> Result<(), Problem> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == expected => Ok(()),
        Some(_) => Err(unknown_tag(place)),
    }
}

/// The tag is not repeated: a password that begins with `!` is one.
fn unknown_tag(place: &Place) -> Problem {
    let message = "what begins with ! is a tag of YAML's, and this one has no meaning here; write the value without it, or \
                   in quotes if it begins with ! itself";
    Problem::new(place.clone(), "", message)
}

#[derive(Default)]
struct Reading {
    root: Option<Node>,
    documents: usize,
    stack: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    aliased: usize,
}

impl Reading {
    fn start_document(&mut self, place: Place) -> Result<(), Problem> {
        self.documents += 1;
        if self.documents > 1 {
            return Err(Problem::new(
                place,
                "",
                "a second document starts here; keep the configuration in one document",
            ));
        }
        Ok(())
    }

    fn open(&mut self, open: Open) -> Result<(), Problem> {
        if self.stack.len() >= MAX_DEPTH {
            let place = match open {
                Open::List { place, .. } | Open::Map { place, .. } => place,
            };
            return Err(Problem::new(place, "", format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.refuse_as_key(&open)?;
        self.stack.push(open);
        Ok(())
    }

    fn refuse_as_key(&self, open: &Open) -> Result<(), Problem> {
        match (self.stack.last(), open) {
            (Some(Open::Map { key: None, .. }), Open::List { place, .. } | Open::Map { place, .. }) => {
                Err(Problem::new(place.clone(), "", "a key must be a single value, not a list or a map"))
            }
            (Some(Open::Map { key: Some(_), .. } | Open::List { .. }) | None, _) => Ok(()),
        }
    }

    fn close(&mut self) -> Result<(), Problem> {
        match self.stack.pop() {
            Some(Open::List { place, anchor, items, size }) => {
                self.value(Node { place, value: Value::List(items), style: Style::Plain }, size, anchor)
            }
            Some(Open::Map { place, anchor, mut entries, mut names, merges, size, .. }) => {
                for merged in merges {
                    merge(&mut entries, &mut names, merged)?;
                }
                self.value(Node { place, value: Value::Map(entries), style: Style::Plain }, size, anchor)
            }
            None => Ok(()),
        }
    }

    fn scalar(&mut self, value: Value, style: ScalarStyle, anchor: usize, place: Place) -> Result<(), Problem> {
        if let Some(Open::Map { key: key @ None, .. }) = self.stack.last_mut() {
            let name = match &value {
                Value::Text(text) => text.clone(),
                Value::Null | Value::List(_) | Value::Map(_) => {
                    return Err(Problem::new(place, "", "a key is missing before this colon"));
                }
            };
            let merges = name == "<<" && matches!(style, ScalarStyle::Plain);
            *key = Some((if merges { Key::Merge } else { Key::Named(name) }, place.clone()));
            if anchor > 0 {
                let size = size_of_text(&value);
                self.anchors.insert(anchor, Anchored { node: Node { place, value, style: Style::of(style) }, size });
            }
            return Ok(());
        }
        let size = size_of_text(&value);
        self.value(Node { place, value, style: Style::of(style) }, size, anchor)
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<(), Problem> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(Problem::new(place, "", "this alias refers to itself, or to an anchor that comes later"));
        };
        self.aliased = self.aliased.saturating_add(anchored.size);
        if self.aliased > MAX_ALIASED_NODES {
            return Err(Problem::new(
                place,
                "",
                format!("aliases add too much to this file (more than {MAX_ALIASED_NODES} values, or long texts)"),
            ));
        }
        let (node, size) = (anchored.node.clone(), anchored.size);
        if let Some(Open::Map { key: None, .. }) = self.stack.last() {
            return match node.value {
                Value::Text(_) => self.scalar(node.value, ScalarStyle::DoubleQuoted, 0, place),
                Value::Null | Value::List(_) | Value::Map(_) => {
                    Err(Problem::new(place, "", "a key must be a single value, not a list or a map"))
                }
            };
        }
        self.value(node, size, 0)
    }

    /// Puts a finished value where it belongs: into the open list or map, or as the document itself.
    fn value(&mut self, node: Node, size: usize, anchor: usize) -> Result<(), Problem> {
        if anchor > 0 {
            self.anchors.insert(anchor, Anchored { node: node.clone(), size });
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, size: total, .. }) => {
                *total = total.saturating_add(size);
                items.push(node);
            }
            Some(Open::Map { entries, names, merges, key, size: total, .. }) => {
                *total = total.saturating_add(size);
                match key.take() {
                    Some((Key::Merge, _)) => merges.push(node),
                    Some((Key::Named(name), place)) => {
                        if !names.insert(name.clone()) {
                            let first = entries.iter().find(|entry| entry.key == name).map(|entry| &entry.place);
                            return Err(twice(&name, first, place));
                        }
                        entries.push(Entry { key: name, place, node });
                    }
                    None => return Err(Problem::new(node.place, "", "a value without a key")),
                }
            }
        }
        Ok(())
    }
}

/// The key itself is shown only if it cannot be a secret.
fn twice(name: &str, first: Option<&Place>, place: Place) -> Problem {
    let key = if is_plain_word(name) { format!("the key \"{name}\"") } else { "this key".to_owned() };
    let first = first.map(|first| format!("; the first is in {first}")).unwrap_or_default();
    Problem::new(place, "", format!("{key} stands here a second time{first}"))
}

/// Adds the keys of `<<: *other` that the map does not have itself (YAML's merge key: a map's own keys win, and of
/// several merged maps the first).
fn merge(entries: &mut Vec<Entry>, names: &mut HashSet<String>, merged: Node) -> Result<(), Problem> {
    match merged.value {
        Value::Map(others) => {
            for entry in others {
                if names.insert(entry.key.clone()) {
                    entries.push(entry);
                }
            }
            Ok(())
        }
        Value::List(items) => items.into_iter().try_for_each(|item| match item.value {
            Value::Map(_) => merge(entries, names, item),
            Value::Null | Value::Text(_) | Value::List(_) => Err(not_mergeable(item.place)),
        }),
        Value::Null | Value::Text(_) => Err(not_mergeable(merged.place)),
    }
}

fn not_mergeable(place: Place) -> Problem {
    Problem::new(place, "", "\"<<\" takes a map, or a list of maps")
}
