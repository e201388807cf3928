//! The explanation of a decision: each rule with the first field that did not agree, up to the rule that decided.

use super::acl::Acl;
use super::pattern::{Bindings, Field, Pattern, Placeholder, TooComplex};
use super::rule::{MatchField, Rule, RuleId, RuleMatch};
use super::{Budget, Question};

/// One rule in an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparedRule {
    /// The rule's position, from 0.
    pub index: usize,
    /// What it is found by wherever it stands.
    pub id: RuleId,
    /// Its comment.
    pub comment: Option<String>,
    /// Whether it decided, and why not.
    pub said: RuleOutcome,
}

/// Why a rule decided a question, or did not match it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleOutcome {
    /// It matches, and decides.
    Decides,
    /// A field does not agree.
    Differs {
        /// The field.
        field: MatchField,
        /// The value that the rule requires, with placeholders filled in.
        wanted: String,
        /// The value in the question.
        found: FoundValue,
    },
}

/// The value of a field in a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundValue {
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
    /// The client's address is unknown.
    NoAddress,
    /// The request names neither a tag nor a digest.
    NoReference,
}

impl FoundValue {
    /// The value as text.
    pub fn text(&self) -> &str {
        match self {
            FoundValue::Text(text) | FoundValue::WithoutLabel { text, .. } => text,
            FoundValue::NoLabel => "[]",
            FoundValue::NoAddress => "an unknown address",
            FoundValue::NoReference => "no tag or digest, as in every token request",
        }
    }
}

/// Compares the rules with the question one by one, up to the one that decides.
///
/// # Errors
/// As [`Acl::decide`]: the same rules are compared by the same code.
pub fn explain(acl: &Acl, question: &Question<'_>, budget: &mut Budget) -> Result<Vec<ComparedRule>, TooComplex> {
    let mut steps = Vec::new();
    for (index, rule) in acl.rules().iter().enumerate() {
        let said = match rule.check(question, budget)? {
            RuleMatch::Matches => RuleOutcome::Decides,
            RuleMatch::Fails(field) => differs(rule, question, field, budget)?,
        };
        let decided = said == RuleOutcome::Decides;
        steps.push(ComparedRule { index, id: rule.id(), comment: rule.comment().map(str::to_owned), said });
        if decided {
            break;
        }
    }
    Ok(steps)
}

fn differs(
    rule: &Rule,
    question: &Question<'_>,
    field: MatchField,
    budget: &mut Budget,
) -> Result<RuleOutcome, TooComplex> {
    let bindings = rule.bindings(question, budget)?;
    let (start, end) = rule.window();
    let moment = |moment: Option<time::OffsetDateTime>| moment.map(|moment| moment.to_string()).unwrap_or_default();
    let (wanted, found) = match &field {
        MatchField::Account => pattern_differs(rule, Field::Account, question, &bindings),
        MatchField::Type => pattern_differs(rule, Field::Type, question, &bindings),
        MatchField::Name => pattern_differs(rule, Field::Name, question, &bindings),
        MatchField::Service => pattern_differs(rule, Field::Service, question, &bindings),
        MatchField::Ip => (
            rule.network().map(ToString::to_string).unwrap_or_default(),
            question.address.map_or(FoundValue::NoAddress, |address| FoundValue::Text(address.to_string())),
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
                [] => FoundValue::NoLabel,
                texts => FoundValue::Text(format!("[{}]", texts.join(", "))),
            };
            (pattern.map(|pattern| pattern.expand(&bindings)).unwrap_or_default(), found)
        }
        MatchField::NotBefore => (moment(start), FoundValue::Text(question.now.to_string())),
        MatchField::NotAfter => (moment(end), FoundValue::Text(question.now.to_string())),
        // No question fails on what a rule would grant.
        MatchField::Actions => (String::new(), FoundValue::Text(String::new())),
    };
    Ok(RuleOutcome::Differs { field, wanted, found })
}

fn found_reference(question: &Question<'_>) -> FoundValue {
    question.reference.map_or(FoundValue::NoReference, |reference| FoundValue::Text(reference.as_str().to_owned()))
}

fn pattern_differs(
    rule: &Rule,
    field: Field,
    question: &Question<'_>,
    bindings: &Bindings<'_>,
) -> (String, FoundValue) {
    let pattern = rule.pattern(field);
    let wanted = pattern.map(|pattern| pattern.expand(bindings)).unwrap_or_default();
    let text = bindings.values().get(field).to_owned();
    let lacks = |label: &str| question.labels.get(label).is_none_or(Vec::is_empty);
    let lacking = pattern.into_iter().flat_map(Pattern::placeholders).find_map(|placeholder| match placeholder {
        Placeholder::Label(label) if lacks(label) => Some(label.clone()),
        Placeholder::Label(_) | Placeholder::Value(_) | Placeholder::Capture(..) => None,
    });
    match lacking {
        Some(label) => (wanted, FoundValue::WithoutLabel { text, label }),
        None => (wanted, FoundValue::Text(text)),
    }
}
