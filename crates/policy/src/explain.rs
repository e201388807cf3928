//! Why a question was decided as it was: each rule with the first field that did not agree, up to the one that decided.

use super::acl::Acl;
use super::pattern::{Bindings, Field, Pattern, Placeholder, TooComplex};
use super::rule::{MatchField, Rule, Verdict};
use super::{Budget, Question};

/// What one rule said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rule's position, from 0.
    pub index: usize,
    /// Its comment.
    pub comment: Option<String>,
    /// What it said.
    pub said: Said,
}

/// What a rule says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It matches, and decides.
    Decides,
    /// A field does not agree.
    Differs {
        /// The field.
        field: MatchField,
        /// What the rule wants there, with placeholders filled in.
        wanted: String,
        /// What the question has there.
        found: Found,
    },
}

/// What a question has in a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// This text.
    Text(String),
    /// This text, where the rule wants a label in it that the account does not have.
    WithoutLabel {
        /// The text.
        text: String,
        /// The label.
        label: String,
    },
    /// The account does not have the label itself.
    NoLabel,
    /// Nobody said where the client is.
    NoAddress,
    /// The request names neither tag nor digest.
    NoReference,
}

impl Found {
    /// What was found, as a text of its own.
    pub fn text(&self) -> &str {
        match self {
            Found::Text(text) | Found::WithoutLabel { text, .. } => text,
            Found::NoLabel => "[]",
            Found::NoAddress => "an unknown address",
            Found::NoReference => "no tag or digest, as in every token request",
        }
    }
}

/// Asks the rules one by one, up to the one that decides.
///
/// # Errors
/// As [`Acl::decide`]: the same rules are compared by the same code.
pub fn explain(acl: &Acl, question: &Question<'_>, budget: &mut Budget) -> Result<Vec<Step>, TooComplex> {
    let mut steps = Vec::new();
    for (index, rule) in acl.rules().iter().enumerate() {
        let said = match rule.check(question, budget)? {
            Verdict::Matches => Said::Decides,
            Verdict::Fails(field) => differs(rule, question, field, budget)?,
        };
        let decided = said == Said::Decides;
        steps.push(Step { index, comment: rule.comment().map(str::to_owned), said });
        if decided {
            break;
        }
    }
    Ok(steps)
}

fn differs(rule: &Rule, question: &Question<'_>, field: MatchField, budget: &mut Budget) -> Result<Said, TooComplex> {
    let bindings = rule.bindings(question, budget)?;
    let (start, end) = rule.window();
    let moment = |moment: Option<time::OffsetDateTime>| moment.map(|moment| moment.to_string()).unwrap_or_default();
    let (wanted, found) = match &field {
        MatchField::Account => of_field(rule, Field::Account, question, &bindings),
        MatchField::Type => of_field(rule, Field::Type, question, &bindings),
        MatchField::Name => of_field(rule, Field::Name, question, &bindings),
        MatchField::Service => of_field(rule, Field::Service, question, &bindings),
        MatchField::Ip => (
            rule.network().map(ToString::to_string).unwrap_or_default(),
            question.address.map_or(Found::NoAddress, |address| Found::Text(address.to_string())),
        ),
        MatchField::Tag => {
            (rule.tag().map(|pattern| pattern.expand(&bindings)).unwrap_or_default(), found_reference(question))
        }
        MatchField::Reference => {
            (rule.reference().map(|kind| kind.as_str().to_owned()).unwrap_or_default(), found_reference(question))
        }
        MatchField::Label(label) => {
            let pattern = rule.label_patterns().iter().find(|(own, _)| own == label).map(|(_, pattern)| pattern);
            let values = question.labels.get(label).map(Vec::as_slice).unwrap_or_default();
            let texts: Vec<&str> = values.iter().map(super::pattern::LabelValue::text).collect();
            let found = match texts.as_slice() {
                [] => Found::NoLabel,
                texts => Found::Text(format!("[{}]", texts.join(", "))),
            };
            (pattern.map(|pattern| pattern.expand(&bindings)).unwrap_or_default(), found)
        }
        MatchField::NotBefore => (moment(start), Found::Text(question.now.to_string())),
        MatchField::NotAfter => (moment(end), Found::Text(question.now.to_string())),
        // No question fails on what a rule would grant.
        MatchField::Actions => (String::new(), Found::Text(String::new())),
    };
    Ok(Said::Differs { field, wanted, found })
}

fn found_reference(question: &Question<'_>) -> Found {
    question.reference.map_or(Found::NoReference, |reference| Found::Text(reference.as_str().to_owned()))
}

fn of_field(rule: &Rule, field: Field, question: &Question<'_>, bindings: &Bindings<'_>) -> (String, Found) {
    let pattern = rule.pattern(field);
    let wanted = pattern.map(|pattern| pattern.expand(bindings)).unwrap_or_default();
    let text = bindings.values().get(field).to_owned();
    let lacks = |label: &str| question.labels.get(label).is_none_or(Vec::is_empty);
    let lacking = pattern.into_iter().flat_map(Pattern::placeholders).find_map(|placeholder| match placeholder {
        Placeholder::Label(label) if lacks(label) => Some(label.clone()),
        Placeholder::Label(_) | Placeholder::Value(_) | Placeholder::Capture(..) => None,
    });
    match lacking {
        Some(label) => (wanted, Found::WithoutLabel { text, label }),
        None => (wanted, Found::Text(text)),
    }
}
