//! What holds of every document of MongoDB, whoever wrote it. The tests ask it of documents made at random; the fuzz target
//! `documents`, which takes this file as it is, of those that it finds.

use std::path::Path;

use dockwarden::authn::LabelSyntax;
use dockwarden::authn::mongo::read_user;
use dockwarden::authz::mongo::documents::{compile, read_text};
use dockwarden::authz::mongo::import;
use dockwarden::authz::mongo::order::MAX_SEQ;
use dockwarden::authz::mongo::text::{Format, Numbered, write_all};
use dockwarden::mongo::document::Single;
use mongodb::bson::Document;

/// Documents are a set of rules or are refused with a reason, and a rule that is written down as a document, as YAML or as
/// JSON is read again as the same rule: what an administrator takes out with one command and puts back with another may grant
/// nothing else.
///
/// # Panics
/// If that is not so.
pub(crate) fn rules_survive_being_written(documents: &[Document]) {
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

/// A hash that is well formed.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu9UGc9IJbl39mlDZvvYWvWECKJosLcIu";
/// A password where its hash should be.
const PASSWORD: &str = "Zq7XvCanary9Kd";

/// A document is a user or is refused with a reason; without a hash it is nobody's, and what stands in its place is never
/// repeated in the reason.
///
/// # Panics
/// If that is not so.
pub(crate) fn user_needs_a_hash(document: &Document) {
    for syntax in [LabelSyntax::Glob, LabelSyntax::Literal] {
        let read_with = |password: Option<&str>| {
            let mut document = document.clone();
            match password {
                Some(password) => drop(document.insert("password", password)),
                None => drop(document.remove("password")),
            }
            read_user(&document, syntax, Single::IsAList).err()
        };
        if let Err(problems) = read_user(document, syntax, Single::IsAList) {
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
