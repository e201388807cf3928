//! What one rule said to a question: that it decides, or the first field that does not agree, and why.

use policy::explain::{ComparedRule, FoundValue, RuleOutcome};
use policy::rule::MatchField;
use policy::scope::OUR_SERVICE;
use serde::Serialize;

/// What one rule said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleTold {
    /// As the log names it: `acl[3]`, `mongo_acl[seq 5]`.
    #[serde(skip)]
    pub name: String,
    /// What it said, for people.
    #[serde(skip)]
    pub told: String,
    index: usize,
    /// Only of a rule that has a number of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i64>,
    id: String,
    /// Its comment.
    pub comment: Option<String>,
    /// Whether it decides.
    pub matches: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

/// Why nothing of Dockwarden's own is granted for another service.
pub fn other_service() -> String {
    format!("rights on what is Dockwarden's own are asked for the service \"{OUR_SERVICE}\" only")
}

impl RuleTold {
    /// What a rule of this section said, which has this number of its own, to a question of this account.
    pub fn of((section, seq): (&str, Option<i64>), step: ComparedRule, account: &str) -> RuleTold {
        let (told, matches, field, pattern, value) = match step.said {
            RuleOutcome::Decides => ("matches, and decides".to_owned(), true, None, None, None),
            RuleOutcome::Differs { field, wanted, found } => {
                let told = format!("{field}: \"{wanted}\" {}", why_not(&field, &found, account));
                (told, false, Some(field.to_string()), Some(wanted), Some(found.text().to_owned()))
            }
        };
        let name = match seq {
            Some(seq) => format!("{section}[seq {seq}]"),
            None => format!("{section}[{}]", step.index),
        };
        RuleTold {
            name,
            told,
            index: step.index,
            seq,
            id: step.id.to_string(),
            comment: step.comment,
            matches,
            field,
            pattern,
            value,
        }
    }
}

/// Why what the question has does not agree with what is wanted.
fn why_not(field: &MatchField, found: &FoundValue, account: &str) -> String {
    let account = if account.is_empty() { "an anonymous client" } else { account };
    let differs = format!("does not match \"{}\"", found.text());
    match (found, field) {
        (FoundValue::Text(_), _) => differs,
        (FoundValue::WithoutLabel { label, .. }, _) => format!("{differs}: {account} has no label {label}"),
        (FoundValue::NoLabel, MatchField::Label(label)) => format!("is wanted, and {account} has no label {label}"),
        (FoundValue::NoLabel, field) => format!("is wanted, and {account} has no {field}"),
        (FoundValue::NoAddress, _) => "is wanted, and the address is not known: give --ip".to_owned(),
        (FoundValue::NoReference, _) => {
            "is wanted, and a token request names no tag and no digest: give --reference to ask as a door does"
                .to_owned()
        }
    }
}
