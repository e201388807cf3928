//! How lists and entries are printed: as tables for people, as JSON for programs.

use serde::Serialize;
use serde_json::Value;

use crate::shown::printable;

/// A list as a table, or as JSON with its `items`.
pub(super) fn list(items: &[impl Serialize], json: bool) -> Result<String, String> {
    let items: Vec<Value> = items.iter().map(value).collect::<Result<_, _>>()?;
    match json {
        true => pretty(&serde_json::json!({ "items": items })),
        false => Ok(table(&items)),
    }
}

/// One entry, a member in a line, or as JSON.
pub(super) fn one(item: &impl Serialize, json: bool) -> Result<String, String> {
    let item = value(item)?;
    match json {
        true => pretty(&item),
        false => {
            let columns = columns(std::slice::from_ref(&item));
            let width = columns.iter().map(String::len).max().unwrap_or_default();
            Ok(columns.iter().map(|column| format!("{column:width$}  {}\n", cell(item.get(column)))).collect())
        }
    }
}

fn value(item: &impl Serialize) -> Result<Value, String> {
    serde_json::to_value(item).map_err(|error| error.to_string())
}

fn pretty(value: &Value) -> Result<String, String> {
    serde_json::to_string_pretty(value).map(|text| format!("{text}\n")).map_err(|error| error.to_string())
}

/// The members of the items: what they are called first.
fn columns(items: &[Value]) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for key in items.iter().filter_map(Value::as_object).flat_map(|item| item.keys()) {
        if !columns.contains(key) {
            columns.push(key.clone());
        }
    }
    columns.sort_by_key(|column| (column != "name" && column != "service", column.clone()));
    columns
}

fn table(items: &[Value]) -> String {
    let columns = columns(items);
    let head: Vec<String> = columns.iter().map(|column| column.to_uppercase()).collect();
    let rows = items.iter().map(|item| columns.iter().map(|column| cell(item.get(column))).collect());
    let rows: Vec<Vec<String>> =
        std::iter::once(head).chain(rows).filter(|row: &Vec<String>| !row.is_empty()).collect();
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|at| width(at).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// A value on a line, which cannot write over the terminal.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => printable(text),
        Some(Value::Array(values)) if values.is_empty() => "-".to_owned(),
        Some(Value::Array(values)) => values.iter().map(|value| cell(Some(value))).collect::<Vec<_>>().join(","),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_))) => printable(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_has_what_things_are_called_first_and_writes_over_nothing() {
        let items = [
            json!({ "id": 10, "name": "dev", "privileges": ["puller", "pusher"] }),
            json!({ "id": 5, "name": "a\u{1b}[2J", "privileges": [] }),
        ];
        let text = list(&items, false).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(
            lines.first().is_some_and(|head| head.starts_with("NAME ") && head.ends_with("  ID  PRIVILEGES")),
            "{text}"
        );
        assert!(text.contains("  10  puller,pusher\n") && text.contains("  5   -\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(
            one(&json!({ "url": "x", "service": "reg" }), false).is_ok_and(|text| text.starts_with("service  reg\n"))
        );
    }
}
