//! What holds of every user's document, whoever wrote it: the unit tests ask it of those made at random, and a fuzz target of
//! those that it finds.

use mongodb::bson::Document;

use super::read_user;
use crate::authn::LabelSyntax;

/// A hash that is well formed.
pub(super) const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu9UGc9IJbl39mlDZvvYWvWECKJosLcIu";
/// A password where its hash should be.
const PASSWORD: &str = "Zq7XvCanary9Kd";

/// A document is a user or is refused with a reason; without a hash it is nobody's, and what stands in its place is never
/// repeated in the reason.
///
/// # Panics
/// If that is not so.
pub fn user_needs_a_hash(document: &Document) {
    for syntax in [LabelSyntax::Glob, LabelSyntax::Literal] {
        let read_with = |password: Option<&str>| {
            let mut document = document.clone();
            match password {
                Some(password) => drop(document.insert("password", password)),
                None => drop(document.remove("password")),
            }
            read_user(&document, syntax).err()
        };
        if let Err(problems) = read_user(document, syntax) {
            assert!(!problems.is_empty(), "refused without a reason");
        }
        let others = read_with(Some(HASH)).unwrap_or_default();
        for password in [None, Some(""), Some(PASSWORD)] {
            let problems = read_with(password).unwrap_or_default();
            assert_eq!(problems.len(), others.len() + 1, "{password:?}: {problems:?}");
            assert!(problems.iter().any(|problem| problem.starts_with("password: ")), "{problems:?}");
            assert!(!problems.concat().contains(PASSWORD), "{problems:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Bson, doc};
    use proptest::prelude::{Just, Strategy, any, prop_oneof};

    use super::*;

    proptest::proptest! {
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
}
