//! One rule as docker_auth's SQL table has it: JSON, whose names are read in any case, as docker_auth reads them.

use std::collections::BTreeSet;

use mongodb::bson::{Bson, Document};
use serde_json::Value as Json;
use settings::spelling::nearest;

use crate::json;
use crate::mongo::document::{to_bson, to_json};

/// The keys of a rule, but for its number.
pub(super) const KEYS: &[&str] = &["match", "actions", "comment", "not_before", "not_after"];

/// Reads an entry: the rule's document without its number, and what is wrong with its names.
///
/// # Errors
/// It is no document at all.
pub(crate) fn read(text: Option<&str>) -> Result<(Document, Vec<String>), String> {
    let text = text.ok_or("acl_entry: this is NULL; remove the row, or write the rule")?;
    // The reader's own words would quote the text.
    let read = json::unambiguous(text).map_err(|_| "acl_entry: this is not JSON, or has a name twice")?;
    let Json::Object(entry) = read else {
        return Err("acl_entry: an object is expected here, {\"match\": {…}, \"actions\": […]}".to_owned());
    };
    let (mut rule, mut problems) = without_case(entry.into_iter().map(|(name, value)| (name, to_bson(value))), "");
    problems.extend(rule.keys().filter(|key| !KEYS.contains(&key.as_str())).map(|key| unknown(key)));
    if let Some(Bson::Document(conditions)) = rule.get("match") {
        let (conditions, more) = without_case(conditions.clone(), "match.");
        rule.insert("match", conditions);
        problems.extend(more);
    }
    Ok((rule, problems))
}

/// The entry of a rule's document.
pub(super) fn write(rule: &Document) -> String {
    let kept = KEYS.iter().filter_map(|key| Some(((*key).to_owned(), to_json(rule.get(key)?))));
    Json::Object(kept.collect()).to_string()
}

fn without_case(entries: impl IntoIterator<Item = (String, Bson)>, path: &str) -> (Document, Vec<String>) {
    let (mut document, mut twice) = (Document::new(), BTreeSet::new());
    for (name, value) in entries {
        let name = name.to_ascii_lowercase();
        if document.insert(name.clone(), value).is_some() {
            twice.insert(name);
        }
    }
    (document, twice.into_iter().map(|name| format!("{path}{name}: this name is there twice")).collect())
}

fn unknown(key: &str) -> String {
    match nearest(key, KEYS) {
        Some(meant) => format!("{key}: there is no such key; did you mean \"{meant}\"?"),
        None => format!("{key}: there is no such key (known here: {})", KEYS.join(", ")),
    }
}
