//! Why a question was decided as it was: each rule with the first field that did not agree, up to the one that decided.

use super::acl::Acl;
use super::pattern::{Bindings, Field, TooComplex};
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
        found: String,
    },
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
        MatchField::Account => of_field(rule, Field::Account, &bindings),
        MatchField::Type => of_field(rule, Field::Type, &bindings),
        MatchField::Name => of_field(rule, Field::Name, &bindings),
        MatchField::Service => of_field(rule, Field::Service, &bindings),
        MatchField::Ip => (
            rule.network().map(ToString::to_string).unwrap_or_default(),
            question.address.map_or("an unknown address".to_owned(), |address| address.to_string()),
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
            (pattern.map(|pattern| pattern.expand(&bindings)).unwrap_or_default(), format!("[{}]", texts.join(", ")))
        }
        MatchField::NotBefore => (moment(start), question.now.to_string()),
        MatchField::NotAfter => (moment(end), question.now.to_string()),
        // No question fails on what a rule would grant.
        MatchField::Actions => (String::new(), String::new()),
    };
    Ok(Said::Differs { field, wanted, found })
}

fn found_reference(question: &Question<'_>) -> String {
    question
        .reference
        .map_or("no tag or digest, as in every token request".to_owned(), |reference| reference.as_str().to_owned())
}

fn of_field(rule: &Rule, field: Field, bindings: &Bindings<'_>) -> (String, String) {
    let wanted = rule.pattern(field).map(|pattern| pattern.expand(bindings)).unwrap_or_default();
    (wanted, bindings.values().get(field).to_owned())
}
