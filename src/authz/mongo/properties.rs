//! What holds of every set of documents, whoever wrote them: the unit tests ask it of those made at random, and a fuzz target of
//! those that it finds.

use std::path::Path;

use mongodb::bson::Document;

use super::documents::{compile, read_text};
use super::import;
use super::order::MAX_SEQ;
use super::text::{Format, Numbered, write_all};

/// Documents are a set of rules or are refused with a reason, and a rule that is written down as a document, as YAML or as
/// JSON is read again as the same rule: what an administrator takes out with one command and puts back with another may grant
/// nothing else.
///
/// # Panics
/// If that is not so.
pub fn rules_survive_being_written(documents: &[Document]) {
    match compile(documents) {
        Ok((acl, seqs)) => {
            assert_eq!((acl.rules().len(), seqs.len()), (documents.len(), documents.len()));
            assert!(seqs.is_sorted_by(|one, other| one < other), "the order is open: {seqs:?}");
        }
        Err(wrong) => assert!(!wrong.is_empty(), "refused without a reason"),
    }
    for document in documents {
        let (Some(seq), text, problems) = read_text(document) else { continue };
        if !problems.is_empty() {
            continue;
        }
        let rule = Numbered { seq, text };
        let written = rule.to_document();
        assert_eq!(read_text(&written), (Some(rule.seq), rule.text.clone(), Vec::new()), "{written}");
        // A text file is held to more: a pattern has to compile, and numbers have to leave room.
        if compile(std::slice::from_ref(&written)).is_err() || !(-MAX_SEQ..=MAX_SEQ).contains(&rule.seq) {
            continue;
        }
        for format in [Format::Yaml, Format::JsonLines] {
            let text = write_all(std::slice::from_ref(&rule), format);
            match import::parse(Path::new("rules"), &text).map(import::number_all) {
                Ok(Ok(read)) => assert_eq!(read, std::slice::from_ref(&rule), "{text}"),
                Ok(Err(message)) => unreachable!("{text}: {message}"),
                Err(messages) => unreachable!("{text}: {messages:?}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Bson, doc};
    use proptest::prelude::{Just, Strategy, any, prop_oneof};

    use super::*;

    fn value() -> impl Strategy<Value = Bson> {
        prop_oneof![
            "[a-z*?/$.{}:\\[\\]\"\\\\#\u{0}-\u{20}\u{7f}-\u{a0}\u{2028}\u{feff}]{0,8}".prop_map(Bson::String),
            any::<i32>().prop_map(Bson::Int32),
            any::<i64>().prop_map(Bson::Int64),
            any::<f64>().prop_map(Bson::Double),
            any::<i64>().prop_map(|at| Bson::DateTime(mongodb::bson::DateTime::from_millis(at))),
            Just(Bson::Null),
        ]
    }

    fn rule() -> impl Strategy<Value = Document> {
        let plain = (-9_i64..9, "[a-z]{0,3}").prop_map(|(seq, name)| {
            doc! { "_id": 1, "seq": seq, "match": { "name": name }, "actions": ["pull"] }
        });
        let key = "seq|match|actions|comment|not_before|not_after|not_afer";
        let field = "account|type|name|service|ip|tag|labels|acount";
        (plain, proptest::option::of((key, value())), proptest::option::of((field, value()))).prop_map(
            |(mut rule, outer, inner)| {
                if let (Some((field, value)), Ok(conditions)) = (inner, rule.get_document_mut("match")) {
                    conditions.insert(field, value);
                }
                if let Some((key, value)) = outer {
                    rule.insert(key, value);
                }
                rule
            },
        )
    }

    proptest::proptest! {
        #[test]
        fn documents_of_any_kind(documents in proptest::collection::vec(rule(), 0..4)) {
            rules_survive_being_written(&documents);
        }
    }
}
