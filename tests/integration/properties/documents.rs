//! Documents of MongoDB made at random, as rules and as users.

use mongodb::bson::{Bson, Document, doc};
use proptest::prelude::{Just, Strategy, any, prop_oneof};

use super::every_document::{rules_survive_being_written, user_needs_a_hash};

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

    #[test]
    fn users_of_any_kind(
        key in "username|labels|disabled|disable|not_before|not_after|other",
        value in prop_oneof![
            "[a-z*\\[]{0,4}".prop_map(Bson::String),
            any::<bool>().prop_map(Bson::Boolean),
            any::<i32>().prop_map(Bson::Int32),
            "[a-z*\\[]{0,4}".prop_map(|text| Bson::Document(doc! { "team": [text] })),
            Just(Bson::Null),
        ],
    ) {
        user_needs_a_hash(&doc! { "username": "waldi", "password": 7, key: value });
    }
}
