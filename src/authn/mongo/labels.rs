//! Changes of a user's labels as they are written on a command line. Pure.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::shown::printable;

/// A change of labels, as it is written: `team=web,api` sets, `team+=ops` adds, `team-=web` takes out, `team=` takes the
/// whole label away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelChange {
    label: String,
    how: How,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Set,
    Add,
    TakeOut,
}

impl FromStr for LabelChange {
    type Err = String;

    fn from_str(text: &str) -> Result<LabelChange, String> {
        let wrong = || {
            format!(
                "\"{text}\" is not a label change; write team=web,api to set, team+=ops to add, team-=web to take out, team= to remove"
            )
        };
        let (label, values) = text.split_once('=').ok_or_else(wrong)?;
        let (label, how) = match (label.strip_suffix('+'), label.strip_suffix('-')) {
            (Some(label), _) => (label, How::Add),
            (None, Some(label)) => (label, How::TakeOut),
            (None, None) => (label, How::Set),
        };
        if label.is_empty() {
            return Err(wrong());
        }
        check_label(label)?;
        let values: Vec<String> = values.split(',').filter(|value| !value.is_empty()).map(str::to_owned).collect();
        match how {
            How::Add | How::TakeOut if values.is_empty() => Err(wrong()),
            How::Set | How::Add | How::TakeOut => Ok(LabelChange { label: label.to_owned(), how, values }),
        }
    }
}

/// Whether every server takes a label's name as a key.
///
/// # Errors
/// Says why not.
pub(super) fn check_label(label: &str) -> Result<(), String> {
    if label.contains(['.', '\0']) || label.starts_with('$') {
        return Err(format!(
            "the label's name \"{}\" holds a dot or NUL, or begins with $, which not every server takes",
            label.escape_debug()
        ));
    }
    Ok(())
}

impl LabelChange {
    /// Makes the change.
    pub fn apply(&self, labels: &mut BTreeMap<String, Vec<String>>) {
        let values = labels.entry(self.label.clone()).or_default();
        if self.how == How::Set {
            values.clear();
        }
        match self.how {
            How::TakeOut => values.retain(|value| !self.values.contains(value)),
            How::Set | How::Add => {
                for value in &self.values {
                    if !values.contains(value) {
                        values.push(value.clone());
                    }
                }
            }
        }
        if values.is_empty() {
            labels.remove(&self.label);
        }
    }
}

/// Labels on one line, for people.
pub fn shown(labels: &BTreeMap<String, Vec<String>>) -> String {
    let each: Vec<String> = labels
        .iter()
        .map(|(label, values)| format!("{}=[{}]", printable(label), printable(&values.join(", "))))
        .collect();
    if each.is_empty() { "no labels".to_owned() } else { each.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_change_as_they_are_written() -> Result<(), String> {
        for (changes, expected) in [
            (&[][..], "one=[a] team=[web, api]"),
            (&["team=ops"], "one=[a] team=[ops]"),
            (&["team=ops,web,ops"], "one=[a] team=[ops, web]"),
            (&["team+=ops,web"], "one=[a] team=[web, api, ops]"),
            (&["team-=web,none"], "one=[a] team=[api]"),
            (&["team-=web,api"], "one=[a]"),
            (&["team="], "one=[a]"),
            (&["new+=x", "one="], "new=[x] team=[web, api]"),
            (&["none-=x", "none2="], "one=[a] team=[web, api]"),
            (&["full-access=test,socke*", "one=", "team="], "full-access=[test, socke*]"),
            (&["one=", "team=", "x=a=b"], "x=[a=b]"),
            (&["one=", "team="], "no labels"),
        ] {
            let mut labels: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for before in ["team=web,api", "one=a"] {
                LabelChange::from_str(before)?.apply(&mut labels);
            }
            for change in changes {
                LabelChange::from_str(change)?.apply(&mut labels);
            }
            assert_eq!(shown(&labels), expected, "{changes:?}");
        }
        for wrong in ["team", "", "=web", "+=web", "team+=", "team-=", "a.b=x", "$a=x", "a\0=x"] {
            assert!(LabelChange::from_str(wrong).is_err(), "{wrong:?}");
        }
        Ok(())
    }
}
