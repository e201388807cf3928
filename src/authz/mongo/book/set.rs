//! All rules of a collection at one moment: what a server would make of them, and which one somebody means.

use std::str::FromStr;

use mongodb::bson::{Bson, Document};
use policy::acl::Acl;

use crate::authz::mongo::documents::{compile, name_with_seq, read_text};
use crate::authz::mongo::guard;
use crate::authz::mongo::order::Shift;
use crate::authz::mongo::text::{Numbered, number};
use crate::mongo::document::name_of;
use crate::mongo::{NotChanged, not_changed};

/// All documents of a collection at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSet {
    /// In the order of `seq`, without the guard of an import.
    pub(super) documents: Vec<Document>,
    guard: Option<Document>,
}

/// One document of the set.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// How messages name it.
    pub name: String,
    /// The rule, or what is wrong with it.
    pub rule: Result<Numbered, Vec<String>>,
    /// The document as it was read.
    pub document: Document,
}

/// Names a rule: by its `seq`, or by the `_id` of its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The number.
    Seq(i64),
    /// An ObjectId in hexadecimal, or a text.
    Id(String),
}

impl FromStr for Which {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Which, Self::Err> {
        Ok(text.parse().map_or_else(|_| Which::Id(text.to_owned()), Which::Seq))
    }
}

impl Stored {
    /// The rule, or what can be read of it: for an editor.
    pub fn draft(&self) -> Numbered {
        let (seq, text, _) = read_text(&self.document);
        Numbered { seq: seq.unwrap_or_default(), text }
    }
}

impl RuleSet {
    pub(super) fn new(documents: Vec<Document>) -> RuleSet {
        let (mut guards, mut documents): (Vec<_>, Vec<_>) = documents.into_iter().partition(guard::is_guard);
        documents.sort_by_key(|document| read_text(document).0);
        RuleSet { documents, guard: guards.pop() }
    }

    /// The set as a server would use it.
    ///
    /// # Errors
    /// What keeps a server from using it.
    pub fn compile(&self) -> Result<(Acl, Vec<i64>), Vec<String>> {
        let all: Vec<Document> = self.guard.iter().chain(&self.documents).cloned().collect();
        compile_all(&all)
    }

    /// The documents, in the order of `seq`.
    pub fn stored(&self) -> impl Iterator<Item = Stored> {
        self.documents.iter().map(|document| Stored {
            name: name_with_seq(document),
            rule: read_whole(document),
            document: document.clone(),
        })
    }

    /// The rules, in their order.
    ///
    /// # Errors
    /// What is wrong with documents that are not rules.
    pub fn rules(&self) -> Result<Vec<Numbered>, Vec<String>> {
        let mut rules = Vec::new();
        let mut wrong = Vec::new();
        for stored in self.stored() {
            match stored.rule {
                Ok(rule) => rules.push(rule),
                Err(problems) => wrong.extend(problems),
            }
        }
        rules.sort_by_key(|rule| rule.seq);
        if wrong.is_empty() { Ok(rules) } else { Err(wrong) }
    }

    /// What an import that has not ended means, if there is one.
    pub fn under_import(&self) -> Option<String> {
        self.guard.as_ref().map(guard::told)
    }

    /// The one document that is meant.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn find(&self, which: &Which) -> Result<Stored, NotChanged> {
        let meant = |stored: &Stored| match which {
            Which::Seq(seq) => read_text(&stored.document).0 == Some(*seq),
            Which::Id(id) => match stored.document.get("_id") {
                Some(Bson::ObjectId(own)) => own.to_hex() == *id,
                Some(Bson::String(own)) => own == id,
                Some(_) | None => false,
            },
        };
        let mut found = self.stored().filter(meant);
        match (found.next(), found.next(), which) {
            (Some(one), None, _) => Ok(one),
            (None, _, Which::Seq(seq)) => not_changed(format!("there is no rule with the seq {seq}")),
            (None, _, Which::Id(id)) => not_changed(format!("there is no rule with the seq or the _id {id}")),
            (Some(one), Some(other), _) => not_changed(format!(
                "there are several rules with this seq: {} and {}; name one by its _id",
                one.name, other.name
            )),
        }
    }

    pub(super) fn position_of(&self, id: Option<&Bson>) -> Result<usize, NotChanged> {
        match self.documents.iter().position(|document| document.get("_id") == id) {
            Some(position) => Ok(position),
            None => not_changed("the rule was removed by somebody else at the same time"),
        }
    }

    /// The numbers, if the set is right as a whole: only then has it an order in which a place can be found.
    pub(super) fn seqs(&self) -> Result<Vec<i64>, NotChanged> {
        match self.compile() {
            Ok((_, seqs)) => Ok(seqs),
            Err(problems) => not_changed(format!(
                "the rules are not right as they are, so a place among them cannot be found; mend them first, by acl \
                 edit or acl remove:\n  {}",
                problems.join("\n  ")
            )),
        }
    }
}

/// Compiles what would be there after a change, as a server does.
pub(super) fn right<'d>(documents: impl IntoIterator<Item = &'d Document>, shifts: &[Shift]) -> Result<(), NotChanged> {
    let after: Vec<Document> = documents
        .into_iter()
        .enumerate()
        .map(|(index, document)| {
            let mut document = document.clone();
            if let Some(shift) = shifts.iter().find(|shift| shift.index == index) {
                document.insert("seq", number(shift.to));
            }
            document
        })
        .collect();
    match compile_all(&after) {
        Ok(_) => Ok(()),
        Err(problems) => {
            not_changed(format!("the rules could not be used then; nothing was changed:\n  {}", problems.join("\n  ")))
        }
    }
}

fn compile_all(documents: &[Document]) -> Result<(Acl, Vec<i64>), Vec<String>> {
    compile(documents).map_err(|wrong| wrong.iter().map(ToString::to_string).collect())
}

/// One document as a rule, without its neighbours.
fn read_whole(document: &Document) -> Result<Numbered, Vec<String>> {
    compile_all(std::slice::from_ref(document))?;
    let (seq, text, _) = read_text(document);
    seq.map(|seq| Numbered { seq, text }).ok_or_else(|| vec![name_of(document)])
}

/// A document on one line, whether it is a rule or not.
pub(super) fn shown(document: &Document) -> String {
    match read_whole(document) {
        Ok(rule) => rule.to_string(),
        Err(_) => name_with_seq(document),
    }
}
