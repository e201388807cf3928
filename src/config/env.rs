//! Environment variables that override single values of the file: `DOCKWARDEN__TOKEN__ISSUER` is `token.issuer`.

use super::problem::{Place, Problem};
use super::yaml::{Entry, Node, Value};

/// What every such variable's name starts with; path segments follow, separated by two underscores.
pub const PREFIX: &str = "DOCKWARDEN__";

/// What Kubernetes adds to the name of a service, in the variables that it gives to every container.
const OF_A_SERVICE: &[&str] = &["SERVICE_HOST", "SERVICE_PORT", "PORT"];

/// The settings of a user, behind the account's name.
const OF_A_USER: &[&str] = &["PASSWORD", "PASSWORD_FILE", "DISABLED", "NOT_BEFORE", "NOT_AFTER"];

/// How a variable is spelled whose name is that of a key but for its underscores, or its capitals; nothing reads it then.
/// `None` for every other.
pub fn well_spelled(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let path = upper.strip_prefix("DOCKWARDEN_").filter(|_| !name.starts_with(PREFIX))?.trim_start_matches('_');
    let of_section = |section: &'static str| {
        let section = section.to_ascii_uppercase();
        let rest = path.strip_prefix(&section)?.strip_prefix('_')?;
        let is_key = !OF_A_SERVICE.iter().any(|word| rest.starts_with(word));
        is_key.then(|| (section, rest.trim_start_matches('_').to_owned()))
    };
    // Where one section's name begins another's, the longer one is meant.
    let (section, rest) = super::sections().filter_map(of_section).max_by_key(|(section, _)| section.len())?;
    let of_user = OF_A_USER.iter().filter(|_| section == "USERS" && !rest.contains("__")).filter_map(|key| {
        let account = rest.strip_suffix(key)?.strip_suffix('_')?;
        Some(format!("{account}__{key}"))
    });
    let rest = of_user.max_by_key(String::len).unwrap_or(rest);
    Some(format!("{PREFIX}{section}__{rest}"))
}

/// No key lies deeper.
const MAX_SEGMENTS: usize = 16;

/// Puts the variables' values into the tree.
///
/// A segment means the key that it spells, or else one that differs from it only in case; a key that is not there is added in
/// lower case (and refused later, with the variable's name, if no such key exists). A number picks from a list.
/// Returns the problems: a variable that names a whole map or list, or a position that is not there.
pub(super) fn override_with(root: &mut Node, variables: impl IntoIterator<Item = (String, String)>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, value) in variables {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let segments: Vec<&str> = path.split("__").collect();
        let place = Place::Environment(name.clone());
        if segments.len() > MAX_SEGMENTS {
            problems.push(Problem::new(place, "", "the name has more parts than any key"));
            continue;
        }
        if segments.iter().any(|segment| segment.is_empty()) {
            problems.push(Problem::new(
                place,
                "",
                "the name has an empty part; write DOCKWARDEN__TOKEN__ISSUER for token.issuer",
            ));
            continue;
        }
        if let Err(message) = set(root, &segments, &value, &place) {
            problems.push(Problem::new(place, "", message));
        }
    }
    problems
}

fn set(node: &mut Node, segments: &[&str], text: &str, place: &Place) -> Result<(), String> {
    let Some((segment, rest)) = segments.split_first() else {
        return match node.value {
            Value::Null | Value::Text(_) => {
                *node = Node { place: place.clone(), value: Value::Text(text.to_owned()) };
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
            None => Err(format!("\"{segment}\" is no position in this list; positions count from 0")),
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
                    node: Node { place: place.clone(), value: Value::Null },
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
