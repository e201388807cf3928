//! What of a rule has to agree with the name: it cannot be told by the names alone.

use crate::pattern::{Field, LabelValue, LabelValues, Pattern};
use crate::rule::{MatchField, Rule};

/// A condition that takes something from the name; or the name's own, where what fills it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tie {
    /// What is held against the name.
    pub field: MatchField,
    /// What it has to be, as the rule has it: `${name:1}`.
    pub pattern: String,
    /// What it is for this account, one of which has to be that; nothing where that is not the account's.
    pub values: Vec<String>,
}

/// Those of a rule, for an account with these labels. A tag is none: it is a condition of its own.
pub(super) fn ties(rule: &Rule, account: &str, labels: &LabelValues) -> Vec<Tie> {
    let by_name = rule.by_name();
    let of_fields = [
        (Field::Account, MatchField::Account, vec![account.to_owned()]),
        (Field::Type, MatchField::Type, Vec::new()),
        (Field::Service, MatchField::Service, Vec::new()),
    ];
    let of_fields = of_fields.into_iter().filter(|(field, _, _)| by_name.contains(field));
    let of_fields = of_fields.filter_map(|(field, told, values)| Some((told, rule.pattern(field)?, values)));
    let of_labels = rule.labels_by_name().map(|(label, pattern)| {
        let values = labels.get(label).map(Vec::as_slice).unwrap_or_default();
        (MatchField::Label(label.to_owned()), pattern, values.iter().map(LabelValue::text).map(str::to_owned).collect())
    });
    let tie = |(field, pattern, values): (MatchField, &Pattern, Vec<String>)| Tie {
        field,
        pattern: pattern.text().to_owned(),
        values,
    };
    of_fields.chain(of_labels).map(tie).collect()
}
