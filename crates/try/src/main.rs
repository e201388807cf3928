//! Tries rules: one question as JSON on standard input, and the answer as JSON on standard output. Compiled to WebAssembly it is what
//! the page `docs/try/index.html` asks; rules mean here what they mean in a server, since they are read and compared by the same code.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _, stdin, stdout};
use std::process::ExitCode;

use policy::acl::Acl;
use policy::explain::{ComparedRule, RuleOutcome, explain};
use policy::pattern::{LabelValue, LabelValues};
use policy::scope::{Action, Reference, Scope};
use policy::{Answer, Budget, Question};
use serde::{Deserialize, Serialize};
use settings::moment::parse_moment;
use settings::yaml::{self, Value};
use settings::{DayEnd, Field, Findings, Place, Problem, Reading, Secrets};

/// The longest question, in bytes.
const MOST: u64 = 1024 * 1024;

/// What is asked: rules as a configuration file has them, and who asks for what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    rules: String,
    #[serde(default)]
    account: String,
    #[serde(default)]
    labels: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    ip: String,
    #[serde(default)]
    service: String,
    #[serde(default)]
    reference: String,
    /// The moment, as RFC 3339 has it.
    at: String,
    scope: String,
}

/// The answer.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    /// The rules or the question cannot be used.
    Problems(Vec<String>),
    /// What came of it.
    Decided(Decided),
}

/// What the rules decide.
#[derive(Serialize)]
struct Decided {
    granted: Vec<String>,
    withheld: Vec<String>,
    /// The rule that decided, from 0.
    rule: Option<usize>,
    /// Each rule that was compared, up to that one.
    rules: Vec<Step>,
}

/// One rule that was compared.
#[derive(Serialize)]
struct Step {
    rule: usize,
    comment: Option<String>,
    matches: bool,
    field: Option<String>,
    wanted: Option<String>,
    found: Option<String>,
}

fn main() -> ExitCode {
    let mut text = Vec::new();
    if stdin().take(MOST + 1).read_to_end(&mut text).is_err() {
        return ExitCode::FAILURE;
    }
    let told = match serde_json::from_slice::<Asked>(&text) {
        Ok(asked) => answer(&asked).unwrap_or_else(Told::Problems),
        Err(error) => Told::Problems(vec![error.to_string()]),
    };
    match serde_json::to_vec(&told).map(|text| stdout().write_all(&text)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(_)) | Err(_) => ExitCode::FAILURE,
    }
}

fn answer(asked: &Asked) -> Result<Told, Vec<String>> {
    let rules = read(&asked.rules)?;
    let one = |message: &str| vec![message.to_owned()];
    let mut labels = LabelValues::new();
    for (name, values) in &asked.labels {
        let values: Result<Vec<LabelValue>, _> = values.iter().map(|value| LabelValue::glob(value)).collect();
        labels.insert(name.clone(), values.map_err(|error| vec![error.to_string()])?);
    }
    let address = match asked.ip.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| one("the address is none; write 10.1.2.3, or leave it empty"))?),
    };
    let reference = match asked.reference.as_str() {
        "" => None,
        text => Some(Reference::parse(text).ok_or_else(|| one("this is neither a tag nor a digest"))?),
    };
    let now =
        parse_moment(&asked.at, DayEnd::Start).ok_or_else(|| one("the moment is none; write 2026-12-31T18:00:00Z"))?;
    let scope = Scope::parse(&asked.scope)
        .map_err(|error| vec![format!("this is not a scope: {error}; write repository:team/app:pull,push")])?;
    let question = Question {
        account: &asked.account,
        labels: &labels,
        address,
        service: &asked.service,
        resource: &scope.resource,
        actions: &scope.actions,
        reference: reference.as_ref(),
        now,
    };
    let costly = |_| one("comparing these rules would take more work than a server does for one request");
    let (granted, rule) = match rules.decide(&question, &mut Budget::for_request()).map_err(costly)? {
        Answer::Decided { actions, by, .. } => (actions, Some(by.index)),
        Answer::NoMatch { .. } => Default::default(),
    };
    let steps = explain(&rules, &question, &mut Budget::for_request()).map_err(costly)?;
    Ok(Told::Decided(Decided {
        withheld: scope.actions.difference(&granted).map(Action::to_string).collect(),
        granted: granted.iter().map(Action::to_string).collect(),
        rule,
        rules: steps.into_iter().map(Step::of).collect(),
    }))
}

impl Step {
    fn of(compared: ComparedRule) -> Step {
        let ComparedRule { index, id: _, comment, said } = compared;
        let (matches, field, wanted, found) = match said {
            RuleOutcome::Decides => (true, None, None, None),
            RuleOutcome::Differs { field, wanted, found } => {
                (false, Some(field.to_string()), Some(wanted), Some(found.text().to_owned()))
            }
        };
        Step { rule: index, comment, matches, field, wanted, found }
    }
}

/// Reads rules: the list alone, or a file whose `acl` it is.
fn read(text: &str) -> Result<Acl, Vec<String>> {
    let told = |problem: &Problem| {
        let place = match &problem.place {
            Place::Line(line) => format!("line {line}"),
            Place::Environment(name) => name.clone(),
        };
        let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
        format!("{place}: {path}{}", problem.message)
    };
    let root = yaml::parse(text).map_err(|problem| vec![told(&problem)])?;
    let reading = Reading::default();
    let list: Option<Field<'_>> = match &root.value {
        Value::Map(entries) => entries
            .iter()
            .find(|entry| entry.key == "acl")
            .map(|entry| reading.field(&entry.node, "acl", Secrets::Skip)),
        Value::List(_) | Value::Null | Value::Text(_) => Some(reading.field(&root, "acl", Secrets::Skip)),
    };
    let Some(list) = list else { return Err(vec!["there is no acl: in this text".to_owned()]) };
    let rules = rulefile::read_rules(&list);
    let Findings { problems, .. } = reading.into_findings();
    match (rules, problems.is_empty()) {
        (Some(rules), true) => Ok(Acl::new(rules.into_iter().map(|rule| rule.value).collect())),
        (Some(_) | None, _) => Err(problems.iter().map(told).collect()),
    }
}
