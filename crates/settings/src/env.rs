//! Environment variables that override single values of the file: `DOCKWARDEN__TOKEN__ISSUER` is `token.issuer`.

use crate::problem::Place;
use crate::reading::Reading;
use crate::yaml::{Entry, Node, Style, Value};

/// What every such variable's name starts with; path segments follow, separated by two underscores.
pub const PREFIX: &str = "DOCKWARDEN__";

/// No key lies deeper.
const MAX_SEGMENTS: usize = 16;

/// Puts the variables' values into the tree.
///
/// A segment means the key that it spells, or else one that differs from it only in case; a key that is not there is added in
/// lower case (and refused later, with the variable's name, if no such key exists). A number picks from a list. A variable
/// that names a whole map or list, or a position that is not there, is a problem.
pub fn override_with(root: &mut Node, variables: impl IntoIterator<Item = (String, String)>, reading: &Reading) {
    for (name, value) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let segments: Vec<&str> = path.split("__").collect();
        let place = Place::Environment(name.clone());
        let done = if segments.len() > MAX_SEGMENTS {
            Err("the name has more parts than any key".to_owned())
        } else if segments.iter().any(|segment| segment.is_empty()) {
            Err("the name has an empty part; write DOCKWARDEN__TOKEN__ISSUER for token.issuer".to_owned())
        } else {
            set(root, &segments, &value, &place)
        };
        if let Err(message) = done {
            reading.problem(&place, "", message);
        }
    }
}

fn set(node: &mut Node, segments: &[&str], text: &str, place: &Place) -> Result<(), String> {
    let Some((segment, rest)) = segments.split_first() else {
        return match node.value {
            Value::Null | Value::Text(_) => {
                *node = Node { place: place.clone(), value: Value::Text(text.to_owned()), style: Style::Plain };
                Ok(())
            }
            Value::List(_) | Value::Map(_) => Err(format!(
                "a variable overrides one value, and this names {}; name a key inside it",
                node.value.describe()
            )),
        };
    };
    match &mut node.value {
        Value::List(items) => match segment.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
            Some(item) => set(item, rest, text, place),
            None => Err(format!("\"{segment}\" is not a position in this list; positions count from 0")),
        },
        Value::Null => {
            node.value = Value::Map(Vec::new());
            set(node, segments, text, place)
        }
        Value::Text(_) => Err(format!("\"{segment}\" would lie inside a single value")),
        Value::Map(entries) => {
            let spelled = entries.iter().position(|entry| entry.key == *segment);
            let index = spelled.or_else(|| entries.iter().position(|entry| entry.key.eq_ignore_ascii_case(segment)));
            let index = index.unwrap_or_else(|| {
                entries.push(Entry {
                    key: segment.to_ascii_lowercase(),
                    place: place.clone(),
                    node: Node { place: place.clone(), value: Value::Null, style: Style::Plain },
                });
                entries.len() - 1
            });
            match entries.get_mut(index) {
                Some(entry) => set(&mut entry.node, rest, text, place),
                None => Err("the key could not be added".to_owned()),
            }
        }
    }
}
