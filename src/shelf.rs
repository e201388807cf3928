//! Documents of users and rules as administrators' commands change them, one at a time: of a collection of MongoDB, of the
//! records, which have the same documents as JSON, or of docker_auth's SQL tables, whose rows are read as such documents.
//!
//! Every change says what the document was, and does nothing if it is something else by now.

pub(crate) mod entry;
mod kept;
mod tables;

use std::time::Duration;

use mongodb::bson::{Bson, Document as Bsons, doc};

use crate::mongo::document::to_json;
use crate::mongo::settings::CollectionSettings;
use crate::mongo::{self, Collection, NotChanged, Write, all};
use crate::records::Settings;
use crate::sql;

use kept::Kept;
pub(crate) use tables::WRONG;
use tables::{Draft, Rules, Users};

/// How long reading all may take.
const READING: Duration = Duration::from_secs(60);

/// Where the documents are.
pub(crate) enum Shelf {
    /// In a collection of MongoDB.
    Collection(Box<Collection>),
    /// In the records.
    Records(Box<Kept>),
    /// Users in SQL.
    Users(Users),
    /// Rules in SQL.
    Rules(Rules),
    /// Rules in SQL while they are changed: nothing is written before [`Shelf::commit`].
    Draft(Draft),
}

/// Whose documents they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Users,
    Rules,
}

impl Shelf {
    pub(crate) fn collection(settings: &CollectionSettings) -> Shelf {
        Shelf::Collection(Box::new(Collection::new(settings.clone())))
    }

    pub(crate) fn records(settings: &Settings, what: What) -> Shelf {
        Shelf::Records(Box::new(Kept::new(settings, what)))
    }

    /// docker_auth's table in this database.
    pub(crate) fn table(settings: &sql::Settings, what: What) -> Shelf {
        match what {
            What::Users => Shelf::Users(Users::new(settings)),
            What::Rules => Shelf::Rules(Rules::new(settings)),
        }
    }

    /// Whether all that a document says can be kept.
    ///
    /// # Errors
    /// What cannot.
    pub(crate) fn check(&self, document: &Bsons) -> Result<(), NotChanged> {
        match self {
            Shelf::Users(users) => users.check(document),
            Shelf::Collection(_) | Shelf::Records(_) | Shelf::Rules(_) | Shelf::Draft(_) => Ok(()),
        }
    }

    /// All documents in memory, to be changed there and written at once; `None` where each write stands for itself.
    pub(crate) async fn draft(&self) -> Result<Option<Shelf>, NotChanged> {
        match self {
            Shelf::Rules(rules) => Ok(Some(Shelf::Draft(rules.draft().await?))),
            Shelf::Collection(_) | Shelf::Records(_) | Shelf::Users(_) | Shelf::Draft(_) => Ok(None),
        }
    }

    /// Writes what was changed in a draft, in one transaction. A conflict is that somebody else changed anything since it was
    /// read.
    pub(crate) async fn commit(&self) -> Result<Write, NotChanged> {
        match self {
            Shelf::Draft(draft) => draft.commit().await,
            Shelf::Collection(_) | Shelf::Records(_) | Shelf::Users(_) | Shelf::Rules(_) => Ok(Write::Applied),
        }
    }

    /// Its name, for messages.
    pub(crate) fn namespace(&self) -> String {
        match self {
            Shelf::Users(users) => users.place(),
            Shelf::Rules(rules) => rules.place(),
            Shelf::Draft(draft) => draft.place(),
            Shelf::Collection(collection) => collection.settings().namespace(),
            Shelf::Records(kept) => kept.place(),
        }
    }

    /// The documents that `filter` finds, in the order of `sort`.
    pub(crate) async fn find(&self, filter: Bsons, sort: Bsons) -> Result<Vec<Bsons>, mongo::Failure> {
        match self {
            Shelf::Collection(collection) => {
                let found = collection.ask_within(READING, |collection| {
                    let (filter, sort) = (filter.clone(), sort.clone());
                    async move { all(collection.find(filter).sort(sort).await?).await }
                });
                found.await
            }
            Shelf::Records(kept) => kept.find(&filter).await,
            Shelf::Users(users) => users.find(&filter).await,
            Shelf::Rules(rules) => Ok(rules.draft().await?.find(&filter)),
            Shelf::Draft(draft) => Ok(draft.find(&filter)),
        }
    }

    /// Inserts a document; a conflict is a name or number that is taken.
    pub(crate) async fn insert(&self, document: &Bsons) -> Result<Write, NotChanged> {
        match self {
            Shelf::Collection(collection) => collection.insert(document).await,
            Shelf::Records(kept) => kept.insert(document).await,
            Shelf::Users(users) => users.insert(document).await,
            Shelf::Rules(rules) => rules.alone(|draft| draft.insert(document)).await,
            Shelf::Draft(draft) => Ok(draft.insert(document)),
        }
    }

    /// Changes the one document that `filter` finds by `$set`, `$unset` and `$inc`.
    pub(crate) async fn update(&self, filter: &Bsons, change: &Bsons) -> Result<Write, NotChanged> {
        match self {
            Shelf::Collection(collection) => collection.update(filter, change).await,
            Shelf::Records(kept) => kept.change(filter, |document| Some(updated(document, change))).await,
            Shelf::Users(users) => users.change_one(filter, |document| Some(updated(document, change))).await,
            Shelf::Rules(rules) => rules.alone(|draft| draft.update(filter, change)).await,
            Shelf::Draft(draft) => Ok(draft.update(filter, change)),
        }
    }

    /// Puts a document in place of the one that `filter` finds, under its `_id`.
    pub(crate) async fn replace(&self, filter: &Bsons, document: &Bsons) -> Result<Write, NotChanged> {
        let under = |before: &Bsons| {
            let mut after = doc! { "_id": before.get("_id").cloned() };
            after.extend(document.clone());
            Some(after)
        };
        match self {
            Shelf::Collection(collection) => collection.replace(filter, document).await,
            Shelf::Records(kept) => kept.change(filter, under).await,
            Shelf::Users(users) => users.change_one(filter, under).await,
            Shelf::Rules(rules) => rules.alone(|draft| draft.change_one(filter, under)).await,
            Shelf::Draft(draft) => Ok(draft.change_one(filter, under)),
        }
    }

    /// Removes the one document that `filter` finds.
    pub(crate) async fn delete(&self, filter: &Bsons) -> Result<Write, NotChanged> {
        match self {
            Shelf::Collection(collection) => collection.delete(filter).await,
            Shelf::Records(kept) => kept.change(filter, |_| None).await,
            Shelf::Users(users) => users.change_one(filter, |_| None).await,
            Shelf::Rules(rules) => rules.alone(|draft| draft.change_one(filter, |_| None)).await,
            Shelf::Draft(draft) => Ok(draft.change_one(filter, |_| None)),
        }
    }
}

/// The rules with one more; `None` where its number is taken.
fn inserted(rules: &[Bsons], document: &Bsons) -> Option<Vec<Bsons>> {
    let is_taken = rules.iter().any(|rule| same(rule.get("seq"), document.get("seq")));
    (!is_taken).then(|| [rules, std::slice::from_ref(document)].concat())
}

/// The rules after a change, or without it, of the one that `filter` finds; `None` where there is none, or where its new number is
/// taken.
fn changed(rules: &[Bsons], filter: &Bsons, change: impl Fn(&Bsons) -> Option<Bsons>) -> Option<Vec<Bsons>> {
    let at = rules.iter().position(|rule| is_found(rule, filter))?;
    let mut rules = rules.to_vec();
    let after = rules.get(at).and_then(&change);
    let others = |rules: &[Bsons], seq: Option<&Bson>| {
        rules.iter().enumerate().any(|(other, rule)| other != at && same(rule.get("seq"), seq))
    };
    match after {
        Some(after) if others(&rules, after.get("seq")) => return None,
        Some(after) => *rules.get_mut(at)? = after,
        None => drop(rules.remove(at)),
    }
    Some(rules)
}

/// The number that rules are sorted by; what has none comes first, and is refused as a whole.
fn seq_of(rule: &Bsons) -> i64 {
    match rule.get("seq") {
        Some(Bson::Int32(number)) => i64::from(*number),
        Some(Bson::Int64(number)) => *number,
        _ => i64::MIN,
    }
}

/// Whether two values are the same once they are kept.
fn same(one: Option<&Bson>, other: Option<&Bson>) -> bool {
    one.map(to_json) == other.map(to_json)
}

/// Whether a filter finds a document: each key is what it says, `{$eq: …}`, or is not there, `{$exists: false}`.
fn is_found(document: &Bsons, filter: &Bsons) -> bool {
    filter.iter().all(|(key, wanted)| match wanted {
        Bson::Document(operators) if operators.contains_key("$exists") => !document.contains_key(key),
        Bson::Document(operators) if operators.contains_key("$eq") => same(document.get(key), operators.get("$eq")),
        value => same(document.get(key), Some(value)),
    })
}

/// A document after `$set`, `$unset` and `$inc`.
fn updated(document: &Bsons, change: &Bsons) -> Bsons {
    let mut after = document.clone();
    for (key, by) in change.get_document("$inc").into_iter().flatten() {
        let sum = document.get_i64(key).unwrap_or_default().saturating_add(by.as_i64().unwrap_or_default());
        after.insert(key, sum);
    }
    for (key, value) in change.get_document("$set").into_iter().flatten() {
        after.insert(key, value.clone());
    }
    for (key, _) in change.get_document("$unset").into_iter().flatten() {
        after.remove(key);
    }
    after
}
