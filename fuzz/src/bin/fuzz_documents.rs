//! Any documents of MongoDB as rules and as users: a set of rules that survives being written down, or refused; a user with a
//! hash, or refused.
#![no_main]

#[path = "../../../tests/integration/properties/every_document.rs"]
mod every_document;

use libfuzzer_sys::fuzz_target;
use mongodb::bson::Document;

use every_document::{rules_survive_being_written, user_needs_a_hash};

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let mut documents = Vec::new();
    while documents.len() < 4
        && let Ok(document) = Document::from_reader(&mut rest)
    {
        documents.push(document);
    }
    documents.iter().for_each(user_needs_a_hash);
    rules_survive_being_written(&documents);
});
