//! Documents as rules: what is read from the collection, checked and compiled as a whole.

use mongodb::bson::{Bson, Document};
use policy::acl::Acl;
use policy::rule::{Rule, RuleText};
use settings::DayEnd;

use super::guard;
use crate::authz::kept::{MAX_RULES, Wrong};
use crate::authz::rules::{about_rule, key_of, needs_match};
use crate::mongo::document::{Fields, Single, Unknown, describe, name_of};
use crate::shelf::WRONG;

/// The number of wrong documents that are named at once.
pub(in crate::authz) const MAX_NAMED: usize = 10;

/// Makes a set of rules from all documents, in the order of `seq`.
///
/// # Errors
/// The first documents that are wrong. One of them makes the whole set unusable: left out, what it refuses would be
/// decided by a later rule.
pub fn compile(documents: &[Document]) -> Result<(Acl, Vec<i64>), Vec<Wrong>> {
    let mut wrong = Vec::new();
    if let Some(guard) = documents.iter().find(|document| guard::is_guard(document)) {
        // What else stands there is half of a change: naming it would be noise.
        return Err(vec![Wrong { document: name_of(guard), message: guard::told(guard) }]);
    }
    if documents.len() > MAX_RULES {
        let message = format!("there are more than {MAX_RULES} rules");
        return Err(vec![Wrong { document: "the collection".to_owned(), message }]);
    }
    let mut rules = Vec::with_capacity(documents.len());
    for document in documents {
        let document_name = || name_with_seq(document);
        match read_rule(document) {
            Ok((seq, rule)) => rules.push((seq, document_name(), rule)),
            Err(problems) => {
                wrong.extend(problems.into_iter().map(|message| Wrong { document: document_name(), message }));
            }
        }
    }
    rules.sort_by_key(|(seq, _, _)| *seq);
    for ((one, one_name, _), (other, other_name, _)) in rules.iter().zip(rules.iter().skip(1)) {
        if one == other {
            for (document, same) in [(one_name, other_name), (other_name, one_name)] {
                let message = format!("seq: {same} has the same number, so their order is open; change one of them");
                wrong.push(Wrong { document: document.clone(), message });
            }
        }
    }
    if !wrong.is_empty() {
        wrong.truncate(MAX_NAMED);
        return Err(wrong);
    }
    let (seqs, rules) = rules.into_iter().map(|(seq, _, rule)| (seq, rule)).unzip();
    Ok((Acl::new(rules), seqs))
}

/// How a rule's document is named in messages.
pub(super) fn name_with_seq(document: &Document) -> String {
    match document.get("seq") {
        Some(Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_)) => {
            format!("{} (seq {})", name_of(document), document.get("seq").map(Bson::to_string).unwrap_or_default())
        }
        Some(_) | None => name_of(document),
    }
}

/// Reads and compiles one rule.
///
/// # Errors
/// Everything that is wrong with it.
pub(in crate::authz) fn read_rule(document: &Document) -> Result<(i64, Rule), Vec<String>> {
    let (seq, text, mut problems) = read_text(document);
    let compiled = Rule::compile(&text);
    if let Err(refused) = &compiled {
        problems.extend(refused.iter().map(|problem| format!("{}: {}", key_of(&problem.field), about_rule(problem))));
    }
    match (seq, compiled) {
        (Some(seq), Ok(rule)) if problems.is_empty() => Ok((seq, rule)),
        (Some(_) | None, Ok(_) | Err(_)) => Err(problems),
    }
}

/// Reads one rule as it is written, and what is wrong with its types; of a row of SQL that is none, what is wrong with that. What
/// could not be read is left out of the text.
pub fn read_text(document: &Document) -> (Option<i64>, RuleText, Vec<String>) {
    let mut fields = Fields::open(document, "");
    let seq = match fields.value("seq") {
        Some(_) => fields.integer("seq"),
        None => {
            fields.problem("seq", "a number is needed: rules are looked at in its order");
            None
        }
    };
    let mut text = RuleText::default();
    let mut in_match = Vec::new();
    match fields.value("match") {
        Some(Bson::Document(conditions)) => in_match = read_match(conditions, &mut text),
        Some(other) => {
            fields.problem("match", format!("a document with keys is expected here, not {}", describe(other)))
        }
        // A rule that says nothing about whom it is for would be for everybody.
        None => fields.problem("match", needs_match(document.keys().map(String::as_str))),
    }
    match fields.value("actions") {
        Some(_) => {
            let actions = fields.texts("actions", Single::IsWrong).unwrap_or_default();
            text.actions = actions.into_iter().map(str::to_owned).collect();
        }
        None => fields.problem("actions", "a rule needs actions; write [] to refuse, [\"*\"] to allow everything"),
    }
    text.comment = fields.text("comment").map(str::to_owned);
    text.not_before = fields.moment("not_before", DayEnd::Start);
    text.not_after = fields.moment("not_after", DayEnd::End);
    let mut problems = fields.finish(Unknown::LeftAloneUnlessNear);
    problems.extend(in_match);
    let wrong: Vec<String> =
        document.get_array(WRONG).into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect();
    (seq, text, if wrong.is_empty() { problems } else { wrong })
}

fn read_match(conditions: &Document, text: &mut RuleText) -> Vec<String> {
    let mut fields = Fields::open(conditions, "match.");
    for (field, text) in text.conditions_mut() {
        *text = fields.text(field.key()).map(str::to_owned);
    }
    text.labels = fields.map("labels", |value| match value {
        Bson::String(pattern) => Ok(pattern.clone()),
        other => Err(format!("one pattern is expected here, not {}", describe(other))),
    });
    // A misspelt key would make the rule match more than it says.
    fields.finish(Unknown::Refused)
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    fn rule(more: Document) -> Document {
        let mut document = doc! { "_id": "x", "seq": 1, "match": { "name": "a" }, "actions": ["pull"] };
        document.extend(more);
        document
    }

    #[test]
    fn rules_are_in_the_order_of_their_numbers_whatever_type_those_have() {
        let documents = [rule(doc! { "seq": 30_i64 }), rule(doc! { "seq": -5 }), rule(doc! { "seq": 20.0 })];
        let compiled = compile(&documents);
        assert_eq!(compiled.map(|(acl, seqs)| (acl.rules().len(), seqs)), Ok((3, vec![-5, 20, 30])));
    }

    #[test]
    fn whatever_is_wrong_with_a_rule_is_named_with_its_document() {
        for (more, expected) in [
            (doc! { "seq": null }, "_id x: seq: a number is needed"),
            (doc! { "seq": "1" }, "_id x: seq: a whole number is expected here, not a text"),
            (doc! { "seq": 10.5 }, "_id x (seq 10.5): seq: a whole number is expected here, not 10.5"),
            (doc! { "match": null }, "_id x (seq 1): match: a rule needs a match"),
            (doc! { "match": [] }, "_id x (seq 1): match: a document with keys is expected here, not a list"),
            (doc! { "match": { "acount": "a" } }, "match.acount: there is no such key; did you mean \"account\"?"),
            (doc! { "match": { "whatever": "a" } }, "match.whatever: there is no such key (known here: account, type"),
            (doc! { "match": { "account": 1 } }, "match.account: a text is expected here, not a number"),
            (doc! { "match": { "name": "[a" } }, "match.name: "),
            (doc! { "match": { "account": "/(/" } }, "match.account: "),
            (doc! { "match": { "ip": "home" } }, "match.ip: \"home\" is neither an address nor a network"),
            (doc! { "match": { "labels": { "team": ["a"] } } }, "match.labels.team: one pattern is expected here"),
            (doc! { "actions": null }, "actions: a rule needs actions"),
            (doc! { "actions": "pull" }, "actions: a list of texts is expected here, not a text"),
            (doc! { "actions": ["PULL"] }, "actions: \"PULL\" is not an action"),
            (doc! { "actions": [1] }, "actions: the list must hold texts, not a number"),
            (doc! { "comment": 1 }, "comment: a text is expected here, not a number"),
            (doc! { "not_afer": "2026-01-01" }, "not_afer: there is no such key; did you mean \"not_after\"?"),
            (doc! { "not_after": "soon" }, "not_after: \"soon\" is not a date or time"),
            (
                doc! { "not_after": mongodb::bson::DateTime::from_millis(-100_000_000_000_000) },
                "not_after: this date is too far away",
            ),
        ] {
            let wrong =
                compile(&[rule(doc! { "_id": "fine", "seq": 7 }), rule(more.clone())]).err().unwrap_or_default();
            let lines: Vec<String> = wrong.iter().map(Wrong::to_string).collect();
            assert!(lines.iter().any(|line| line.starts_with("_id x") && line.contains(expected)), "{more}: {lines:?}");
        }
    }

    #[test]
    fn two_rules_with_one_number_are_no_set() {
        let documents = [rule(doc! { "_id": "one" }), rule(doc! { "_id": "two", "seq": 1.0 })];
        let wrong = compile(&documents).err().unwrap_or_default();
        let lines: Vec<String> = wrong.iter().map(Wrong::to_string).collect();
        assert!(lines.concat().contains("_id one (seq 1): seq: _id two (seq 1) has the same number"), "{lines:?}");
        assert!(lines.concat().contains("_id two (seq 1): seq: _id one (seq 1) has the same number"), "{lines:?}");
    }

    #[test]
    fn keys_of_other_programs_are_left_alone() {
        let compiled = compile(&[rule(doc! { "__v": 3, "_class": "Rule", "created": "today" })]);
        assert_eq!(compiled.map(|(_, seqs)| seqs), Ok(vec![1]));
    }
}
