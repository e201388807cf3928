//! Rules as a configuration file writes them: read strictly, compiled, and everything that is wrong with them at once.
//!
//! No file is opened here. What rules mean is in `docs/reference/rules.md`, and in the crate `policy`.

use std::collections::BTreeMap;

use policy::rule::{MatchField, Rule, RuleProblem, RuleText};
use policy::scope::Action;
use settings::refused::is_plain_word;
use settings::spelling::distance;
use settings::yaml::{Entry, Node, Value};
use settings::{At, DayEnd, Field, Holds, Place, Refusal, Section};

/// Problems of rules that are told. To find a regular expression too big takes a millisecond: a file of ten thousand of
/// them would keep `check`, and a reload, busy for many seconds, to say what nobody reads.
const MOST_PROBLEMS: usize = 50;

/// Reads a list of rules, as it stands below `acl:`. Problems are noted; `None` where it is no list.
pub fn read_rules(list: &Field<'_>) -> Option<Vec<At<Rule>>> {
    let Some(items) = list.items() else {
        list.problem("a list of rules is expected here: acl: [{match: {…}, actions: […]}]");
        return None;
    };
    let mut rules = Vec::new();
    let before = list.problem_count();
    for item in items {
        if list.problem_count() - before >= MOST_PROBLEMS {
            item.problem(format!(
                "the rules above have {MOST_PROBLEMS} problems or more; from here on they were not looked at"
            ));
            break;
        }
        let Some(mut section) = item.section() else { continue };
        if let Some(Entry { node: Node { value: Value::Map(conditions), .. }, .. }) = section.entry("match") {
            for Entry { key, place, .. } in conditions.iter().filter(|entry| matches!(entry.node.value, Value::Null)) {
                if let Some((_, _, whom)) = CONDITIONS.iter().find(|(known, _, _)| known == key) {
                    let message = format!(
                        "nothing is written here, so the rule is for {whom}; write what it is for, or remove the key"
                    );
                    section.warn(place, &format!("match.{key}"), message);
                }
            }
        }
        rules.extend(read_rule(section).map(|(_, value)| At { place: item.place().clone(), value }));
    }
    Some(rules)
}

/// Where each of a rule's fields stands, for the problems that compiling it brings up.
#[derive(Default)]
struct Places(Vec<(MatchField, Place)>);

impl Places {
    fn note(&mut self, field: MatchField, at: Option<At<String>>) -> Option<String> {
        let At { place, value } = at?;
        self.0.push((field, place));
        Some(value)
    }

    /// Where the next problem with a field stands.
    fn take(&mut self, field: &MatchField) -> Option<Place> {
        let index = self.0.iter().position(|(own, _)| own == field)?;
        Some(self.0.remove(index).1)
    }
}

/// Reads one rule, as it is written and compiled. Keys that were asked for before are known besides those of a rule.
pub fn read_rule(mut fields: Section<'_>) -> Option<(RuleText, Rule)> {
    let mut places = Places::default();
    let mut text = RuleText::default();
    let mut complete = true;
    match fields.entry("match").map(|entry| &entry.node.value) {
        // A rule that says nothing about whom it is for would be for everybody; the empty match has to be written.
        None | Some(Value::Null) => {
            let message = needs_match(fields.keys());
            fields.missing("match", message);
            complete = false;
        }
        Some(Value::Text(_) | Value::List(_) | Value::Map(_)) => match fields.section("match") {
            Some(conditions) => read_match(conditions, &mut text, &mut places),
            None => complete = false,
        },
    }
    match fields.entry("actions").map(|entry| (&entry.place, &entry.node.value)) {
        None | Some((_, Value::Null)) => {
            fields.missing("actions", "a rule needs actions; write actions: [] to refuse, [\"*\"] to allow everything");
            complete = false;
        }
        Some((_, Value::Text(_))) => {
            fields.missing("actions", "actions are a list; write actions: [pull, push]");
            complete = false;
        }
        Some((_, Value::List(_) | Value::Map(_))) => {
            let actions = fields.texts("actions").unwrap_or_default();
            // The problems with actions come in the order of the words that are none.
            let wrong = actions.iter().filter(|at| Action::parse(&at.value).is_none());
            places.0.extend(wrong.map(|at| (MatchField::Actions, at.place.clone())));
            text.actions = actions.into_iter().map(|at| at.value).collect();
        }
    }
    text.comment = fields.text("comment").map(|at| at.value);
    text.not_before = fields.moment("not_before", DayEnd::Start).map(|at| at.value);
    text.not_after = fields.moment("not_after", DayEnd::End).map(|at| at.value);
    let compiled = Rule::compile(&text);
    if let Err(problems) = &compiled {
        for problem in problems {
            let at = places.take(&problem.field).unwrap_or_else(|| fields.place().clone());
            fields.problem(&at, &key_of(&problem.field), about_rule(problem));
        }
    }
    fields.finish_with(meant_in_rule);
    compiled.ok().filter(|_| complete).map(|rule| (text, rule))
}

fn read_match(mut conditions: Section<'_>, text: &mut RuleText, places: &mut Places) {
    for (field, text) in text.conditions_mut() {
        let key = field.key();
        let read = if field == MatchField::Reference {
            conditions.text(key)
        } else {
            let instead = if field == MatchField::Ip { "write a rule for each network" } else { ONE_PATTERN };
            one(&mut conditions, key, instead)
        };
        *text = places.note(field, read);
    }
    text.labels = read_labels(&mut conditions, places);
    conditions.finish_with(meant_in_match);
}

/// What to write where a pattern is a list.
const ONE_PATTERN: &str = "write one expression for all of them, \"/^(one|two)$/\", or a rule for each";

/// A single value; `instead` is what to write where it is a list.
fn one(conditions: &mut Section<'_>, key: &'static str, instead: &str) -> Option<At<String>> {
    let field = conditions.field(key)?;
    match field.value() {
        Value::List(_) => {
            field.problem(format!("one value is expected here, not a list; {instead}"));
            None
        }
        Value::Null | Value::Text(_) | Value::Map(_) => field.text(),
    }
}

/// The keys of `match`, other words for them, and what a rule without the key is for.
const CONDITIONS: &[(&str, &[&str], &str)] = &[
    (MatchField::Account.key(), &["user", "username", "login"], "everybody"),
    (MatchField::Type.key(), &["kind"], "every type"),
    (MatchField::Name.key(), &["repository", "repo", "image"], "every name"),
    (MatchField::Service.key(), &["registry", "audience"], "every service"),
    (MatchField::Ip.key(), &["network", "cidr", "address"], "every address"),
    (MatchField::Tag.key(), &[], "every tag and digest"),
    (MatchField::Reference.key(), &["digest"], "every tag and digest"),
    ("labels", &[], "everybody"),
];

/// What to write for a rule with these keys that has no `match`. The empty one is for everybody: it is no advice where
/// conditions stand beside the place that they belong to.
pub fn needs_match<'key>(keys: impl Iterator<Item = &'key str>) -> String {
    let keys: Vec<&str> = keys.collect();
    let conditions: Vec<&str> = CONDITIONS
        .iter()
        .filter(|(known, words, _)| keys.iter().any(|key| key == known || words.contains(key)))
        .map(|(known, _, _)| *known)
        .collect();
    if conditions.is_empty() {
        return "a rule needs a match; write match: {} if it is for everybody and everything".to_owned();
    }
    let within: Vec<String> = conditions.iter().map(|key| format!("{key}: …")).collect();
    format!("{} in a rule's match, not beside it; write match: {{{}}}", belong(&conditions), within.join(", "))
}

fn belong(keys: &[&str]) -> String {
    match keys.split_last() {
        Some((last, [])) => format!("{last} belongs"),
        Some((last, others)) => format!("{} and {last} belong", others.join(", ")),
        None => String::new(),
    }
}

/// What a key that a rule does not have is meant for.
fn meant_in_rule(entry: &Entry) -> Option<String> {
    let key = entry.key.as_str();
    let (known, _, _) = CONDITIONS.iter().find(|(known, words, _)| *known == key || words.contains(&key))?;
    Some(format!("this belongs in the rule's match, not beside it; write match: {{{known}: …}}"))
}

/// What a key that `match` does not have is meant for.
fn meant_in_match(entry: &Entry) -> Option<String> {
    let key = entry.key.as_str();
    if ["actions", "comment", "not_before", "not_after"].contains(&key) {
        return Some("this belongs to the rule: beside match, not in it".to_owned());
    }
    if let Some((known, _, _)) = CONDITIONS.iter().find(|(_, words, _)| words.contains(&key)) {
        return Some(format!("there is no such key; did you mean \"{known}\"?"));
    }
    // `team` is two letters from `tag`, and a label.
    let is_slip = CONDITIONS.iter().any(|(known, _, _)| distance(key, known) <= if key.len() > 4 { 2 } else { 1 });
    let is_label = is_plain_word(key) && !is_slip && matches!(entry.node.value, Value::Text(_) | Value::List(_));
    is_label.then(|| {
        format!("there is no such key; for a label of the account's, write labels: {{{key}: …}}, and one pattern in it")
    })
}

fn read_labels(conditions: &mut Section<'_>, places: &mut Places) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(field) = conditions.field("labels") else { return labels };
    let Some(entries) = field.entries() else {
        field.problem("labels are names with one pattern each: labels: {team: \"web*\"}");
        return labels;
    };
    for (label, field) in entries {
        match field.value() {
            Value::Text(pattern) => {
                places.0.push((MatchField::Label(label.to_owned()), field.place().clone()));
                labels.insert(label.to_owned(), pattern.clone());
            }
            Value::List(_) => field.problem(format!("one pattern is expected here, not a list; {ONE_PATTERN}")),
            Value::Null | Value::Map(_) => {
                field.problem(format!("one pattern is expected here, not {}", field.value().describe()));
            }
        }
    }
    labels
}

/// The key of a field, from the rule on.
pub fn key_of(field: &MatchField) -> String {
    match field {
        MatchField::Actions | MatchField::NotBefore | MatchField::NotAfter => field.to_string(),
        MatchField::Account
        | MatchField::Type
        | MatchField::Name
        | MatchField::Service
        | MatchField::Ip
        | MatchField::Tag
        | MatchField::Reference
        | MatchField::Label(_) => format!("match.{field}"),
    }
}

/// What is wrong with a rule, as a message says it: words are repeated where they are harmless.
pub fn about_rule(problem: &RuleProblem) -> String {
    match &problem.refused {
        Some(value) => Refusal::is(&problem.message).about(value, Holds::Words),
        None => problem.message.clone(),
    }
}
