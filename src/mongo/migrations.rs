//! What a database needs before it is used, as numbered commands in `migrations/`, and applying them.
//!
//! What is there already is found by looking, not by the notes of an earlier run: an index that somebody dropped is made
//! again. Documents are never changed.

use std::collections::BTreeMap;
use std::time::Duration;

use mongodb::IndexModel;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::error::Error;
use mongodb::options::IndexOptions;
use serde::Deserialize;

use super::document::name_of;
use super::{Collection, Failure, Run, all, code_of, is_duplicate, settings};
use crate::json;

/// How long one command may take: an index over many documents is not made at once.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where applied migrations are noted, in each database.
const BOOKKEEPING: &str = "dockwarden_migrations";
/// Stands in a command for the collection that the configuration names.
const PLACEHOLDER: &str = "${collection}";
/// Of a value that several documents have, so many documents are named.
const MOST_NAMED: usize = 5;
/// Of the values that several documents have, so many are named.
const MOST_VALUES: usize = 10;

/// The server's code for "there is such a collection already".
const NAMESPACE_EXISTS: i32 = 48;
/// The server's code for "there is no such collection".
const NAMESPACE_NOT_FOUND: i32 = 26;
/// The server's codes for "I do not know how to do that".
const UNSUPPORTED: &[i32] = &[59, 115, 238];
/// The server's code for "you may not do that".
const UNAUTHORIZED: i32 = 13;

/// The migrations, in order: name and content.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001-bookkeeping", include_str!("../../migrations/0001-bookkeeping.json")),
    ("0002-users", include_str!("../../migrations/0002-users.json")),
    ("0003-rules", include_str!("../../migrations/0003-rules.json")),
    ("0004-users-validator", include_str!("../../migrations/0004-users-validator.json")),
    ("0005-rules-validator", include_str!("../../migrations/0005-rules-validator.json")),
];

/// Whose documents a collection holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Section {
    /// `mongo_auth`
    #[serde(rename = "mongo_auth")]
    Users,
    /// `acl_mongo`
    #[serde(rename = "acl_mongo")]
    Rules,
}

/// One file of `migrations/`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Migration {
    #[serde(skip)]
    name: &'static str,
    #[serde(rename = "in")]
    sections: Vec<Section>,
    #[serde(deserialize_with = "json::objects")]
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    makes: String,
    /// A server that cannot do it, or does not let us, is used without it.
    #[serde(default)]
    where_supported: bool,
    command: Document,
}

/// What came of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was made.
    Applied,
    /// It would be made ([`Run::Dry`]).
    WouldApply,
    /// It would be made if the server can do it ([`Run::Dry`]).
    WouldTry,
    /// It was there.
    AlreadyThere,
    /// It was left as it is, and why.
    Skipped(String),
}

/// One step and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The migration's name.
    pub migration: &'static str,
    /// What the step makes.
    pub makes: String,
    /// What came of it.
    pub came: Came,
}

/// Why the rest was not applied.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// A file of `migrations/` is not as it must be.
    #[error("the migration {0} cannot be read: {1}")]
    Broken(&'static str, String),
    /// The server did not do it.
    #[error("{failure}; {advice}", failure = .0, advice = .0.advice())]
    Failure(#[from] Failure),
    /// What is in the database has to be changed first.
    #[error("{0}")]
    InTheWay(String),
}

/// Applies everything that one section's collection needs; `tell` hears of each step when it is done.
///
/// Two that run at once do each other no harm: each command either makes its thing or finds it made.
///
/// # Errors
/// Why it stopped. What was applied before stays; the next run goes on there.
pub async fn apply(
    section: Section,
    settings: &settings::CollectionSettings,
    run: Run,
    mut tell: impl FnMut(Done),
) -> Result<(), Stopped> {
    let database = Database { collection: Collection::new(settings.clone()), name: settings.collection.clone() };
    for newer in database.newer(&names()).await? {
        tell(Done {
            migration: "",
            makes: format!("{newer}, which this version does not know"),
            came: Came::Skipped("it was applied by a newer Dockwarden".to_owned()),
        });
    }
    for migration in read_all()? {
        if !migration.sections.contains(&section) {
            continue;
        }
        let mut complete = true;
        for step in &migration.steps {
            let came = database.step(step, run).await?;
            complete &= !matches!(came, Came::Skipped(_));
            tell(Done { migration: migration.name, makes: step.makes.clone(), came });
        }
        // What was skipped is not noted: a later server may do it.
        if complete && run == Run::Real {
            database.note(migration.name).await?;
        }
    }
    Ok(())
}

fn names() -> Vec<&'static str> {
    MIGRATIONS.iter().map(|(name, _)| *name).collect()
}

fn read_all() -> Result<Vec<Migration>, Stopped> {
    MIGRATIONS
        .iter()
        .map(|(name, text)| {
            let read: Migration =
                json::object(text.as_bytes()).map_err(|error| Stopped::Broken(name, error.to_string()))?;
            Ok(Migration { name, ..read })
        })
        .collect()
}

struct Database {
    collection: Collection,
    /// The collection's name.
    name: String,
}

impl Database {
    async fn step(&self, step: &Step, run: Run) -> Result<Came, Stopped> {
        let command = self.filled(&step.command);
        let there = match Kind::of(&command) {
            Some(Kind::Create) => self.options_of(command.get_str("create").unwrap_or_default()).await?.is_some(),
            Some(Kind::Index) => self.index_is_there(&command).await?,
            Some(Kind::Validator) => match self.validator_in_place(&command).await? {
                InPlace::Ours => true,
                InPlace::Nothing => false,
                InPlace::Another => {
                    return Ok(Came::Skipped("the collection has a validator of somebody else's".to_owned()));
                }
            },
            None => return Err(Stopped::Broken("", format!("no such command is known: {command}"))),
        };
        match (there, run) {
            (true, _) => return Ok(Came::AlreadyThere),
            (false, Run::Dry) if step.where_supported => return Ok(Came::WouldTry),
            (false, Run::Dry) => return Ok(Came::WouldApply),
            (false, Run::Real) => {}
        }
        match (self.send(&command).await?, step.where_supported) {
            (Ok(()), _) => Ok(Came::Applied),
            // Made by another between our look and our command.
            (Err(Refusal { code: NAMESPACE_EXISTS, .. }), _) => Ok(Came::AlreadyThere),
            (Err(Refusal { code, .. }), true) if UNSUPPORTED.contains(&code) => {
                Ok(Came::Skipped("this server does not support it".to_owned()))
            }
            (Err(Refusal { code: UNAUTHORIZED, .. }), true) => {
                Ok(Came::Skipped("this database user may not (it takes the role dbAdmin)".to_owned()))
            }
            (Err(refusal), _) => {
                let place = self.collection.settings().namespace();
                Err(Stopped::InTheWay(format!(
                    "{place}: {} was refused by the server: {}",
                    step.makes, refusal.message
                )))
            }
        }
    }

    /// The command with the collection's name in place of the placeholder.
    fn filled(&self, command: &Document) -> Document {
        let fill = |(key, value): (&String, &Bson)| match value {
            Bson::String(text) if text == PLACEHOLDER => (key.clone(), Bson::String(self.name.clone())),
            other => (key.clone(), other.clone()),
        };
        command.iter().map(fill).collect()
    }

    async fn send(&self, command: &Document) -> Result<Result<(), Refusal>, Failure> {
        let sent = self.collection.ask_within(PATIENCE, |collection| {
            let command = command.clone();
            async move {
                let database = collection.client().database(&collection.namespace().db);
                match database.run_command(command).await {
                    Ok(_) => Ok(Ok(())),
                    Err(error) => refused(error).map(Err),
                }
            }
        });
        sent.await
    }

    /// What a collection was made with; `None` where it is not there.
    async fn options_of(&self, name: &str) -> Result<Option<Document>, Failure> {
        let filter = doc! { "name": name };
        self.collection
            .ask_within(PATIENCE, |collection| {
                let filter = filter.clone();
                async move {
                    let database = collection.client().database(&collection.namespace().db);
                    let listed = database
                        .run_command(doc! { "listCollections": 1, "filter": filter, "cursor": {}, "nameOnly": false })
                        .await?;
                    let batch = listed.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
                    let first = batch.ok().and_then(|batch| batch.first()).and_then(Bson::as_document);
                    Ok(first.map(|found| found.get_document("options").cloned().unwrap_or_default()))
                }
            })
            .await
    }

    async fn validator_in_place(&self, command: &Document) -> Result<InPlace, Stopped> {
        let options = self.options_of(&self.name).await?.unwrap_or_default();
        Ok(match options.get("validator") {
            None => InPlace::Nothing,
            Some(Bson::Document(empty)) if empty.is_empty() => InPlace::Nothing,
            same if same == command.get("validator") => InPlace::Ours,
            Some(_) => InPlace::Another,
        })
    }

    /// Whether there is such an index. One on the same key that allows a value twice is in the way, and so are documents
    /// with one value.
    async fn index_is_there(&self, command: &Document) -> Result<bool, Stopped> {
        let Some(key) = wanted_key(command) else {
            return Err(Stopped::Broken("", format!("no index is named: {command}")));
        };
        let place = self.collection.settings().namespace();
        let existing: Vec<IndexModel> = self
            .collection
            .ask_within(PATIENCE, |collection| async move {
                match collection.list_indexes().await {
                    Ok(indexes) => all(indexes).await,
                    Err(error) if code_of(&error) == Some(NAMESPACE_NOT_FOUND) => Ok(Vec::new()),
                    Err(error) => Err(error),
                }
            })
            .await?;
        let on_this_key: Vec<IndexOptions> = existing
            .into_iter()
            .filter(|index| index.keys.len() == 1 && index.keys.contains_key(&key))
            .map(|index| index.options.unwrap_or_default())
            .collect();
        if on_this_key.iter().any(|options| options.unique == Some(true)) {
            return Ok(true);
        }
        if let Some(lax) = on_this_key.into_iter().next() {
            let name = lax.name.unwrap_or_default();
            return Err(Stopped::InTheWay(format!(
                "{place}: there is an index on {key} that allows the same value twice; remove it, and run this again: \
                 db.{}.dropIndex(\"{name}\")",
                self.name
            )));
        }
        match self.duplicates(&key).await?.as_slice() {
            [] => Ok(false),
            duplicates => Err(Stopped::InTheWay(format!(
                "{place}: {key} has to be different in each document, and is not; change or remove all but one of:\n  {}",
                duplicates.join("\n  ")
            ))),
        }
    }

    /// The values that several documents have, each with those documents. A document without the key has the value null.
    async fn duplicates(&self, key: &str) -> Result<Vec<String>, Failure> {
        let documents = self.collection.ask_within(PATIENCE, |collection| {
            let projection = doc! { key: 1 };
            async move { all(collection.find(doc! {}).projection(projection).await?).await }
        });
        Ok(said_of_duplicates(&documents.await?, key))
    }

    /// The migrations noted here that are not among `known`.
    async fn newer(&self, known: &[&str]) -> Result<Vec<String>, Failure> {
        let noted = self.collection.ask_within(PATIENCE, |collection| {
            let filter = doc! { "collection": collection.name() };
            async move {
                let notes =
                    collection.client().database(&collection.namespace().db).collection::<Document>(BOOKKEEPING);
                all(notes.find(filter).await?).await
            }
        });
        let noted = noted.await?;
        let names = noted.iter().filter_map(|note| note.get_str("migration").ok());
        Ok(names.filter(|name| !known.contains(name)).map(str::to_owned).collect())
    }

    async fn note(&self, migration: &str) -> Result<(), Failure> {
        let id = format!("{migration}/{}", self.name);
        let set = doc! {
            "migration": migration,
            "collection": &self.name,
            "applied": DateTime::now(),
            "by": concat!("dockwarden ", env!("CARGO_PKG_VERSION")),
        };
        self.collection
            .ask_within(PATIENCE, |collection| {
                let (filter, change) = (doc! { "_id": &id }, doc! { "$setOnInsert": &set });
                async move {
                    let notes =
                        collection.client().database(&collection.namespace().db).collection::<Document>(BOOKKEEPING);
                    match notes.update_one(filter, change).upsert(true).await {
                        Ok(_) => Ok(()),
                        // Noted by another at the same time.
                        Err(error) if is_duplicate(&error) => Ok(()),
                        Err(error) => Err(error),
                    }
                }
            })
            .await
    }
}

/// What kind of thing a command makes.
enum Kind {
    Create,
    Index,
    Validator,
}

impl Kind {
    fn of(command: &Document) -> Option<Kind> {
        match command.keys().next()?.as_str() {
            "create" => Some(Kind::Create),
            "createIndexes" => Some(Kind::Index),
            "collMod" => Some(Kind::Validator),
            _ => None,
        }
    }
}

/// What validator a collection has.
enum InPlace {
    Nothing,
    Ours,
    Another,
}

/// What the server does not do, and why.
struct Refusal {
    code: i32,
    message: String,
}

/// What the server said to the command; any other error is passed on.
fn refused(error: Error) -> Result<Refusal, Error> {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::Command(refusal) if refusal.code != super::AUTHENTICATION_FAILED => {
            Ok(Refusal { code: refusal.code, message: refusal.message.clone() })
        }
        _ => Err(error),
    }
}

/// The one field of the one index that a command makes.
fn wanted_key(command: &Document) -> Option<String> {
    let indexes = command.get_array("indexes").ok()?;
    let index = indexes.first()?.as_document()?;
    index.get_document("key").ok()?.keys().next().cloned()
}

fn said_of_duplicates(documents: &[Document], key: &str) -> Vec<String> {
    let mut by_value: BTreeMap<String, Vec<&Document>> = BTreeMap::new();
    for document in documents {
        let value = match document.get(key) {
            None | Some(Bson::Null) => "no value".to_owned(),
            Some(Bson::Int32(number)) => number.to_string(),
            Some(Bson::Int64(number)) => number.to_string(),
            // The same number to an index, whatever its type.
            Some(Bson::Double(number)) => number.to_string(),
            Some(other) => other.to_string(),
        };
        by_value.entry(value).or_default().push(document);
    }
    let several = by_value.into_iter().filter(|(_, documents)| documents.len() > 1);
    let said = several.map(|(value, documents)| {
        let mut names: Vec<String> = documents.iter().take(MOST_NAMED).map(|document| name_of(document)).collect();
        if let more @ 1.. = documents.len().saturating_sub(MOST_NAMED) {
            names.push(format!("{more} more"));
        }
        format!("{value}: {}", names.join(", "))
    });
    said.take(MOST_VALUES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_the_table_in_order_and_can_be_read() -> anyhow::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations"))? {
            files.push(entry?.path().with_extension("").file_name().map(|name| name.to_string_lossy().into_owned()));
        }
        files.sort();
        assert_eq!(files, names().iter().map(|name| Some((*name).to_owned())).collect::<Vec<_>>());
        for (number, migration) in read_all()?.iter().enumerate() {
            assert!(migration.name.starts_with(&format!("{:04}-", number + 1)), "{}", migration.name);
            assert!(!migration.sections.is_empty() && !migration.steps.is_empty(), "{}", migration.name);
            for step in &migration.steps {
                assert!(Kind::of(&step.command).is_some(), "{}", step.command);
                let validates = matches!(Kind::of(&step.command), Some(Kind::Validator));
                assert_eq!(
                    step.where_supported, validates,
                    "{}: only what can be done without may be left out",
                    step.makes
                );
            }
        }
        Ok(())
    }

    #[test]
    fn values_that_several_documents_have_are_named_with_them() {
        let documents = [
            doc! { "_id": "a", "seq": 10 },
            doc! { "_id": "b", "seq": 10.0 },
            doc! { "_id": "c", "seq": 20 },
            doc! { "_id": "d" },
            doc! { "_id": "e", "seq": Bson::Null },
            doc! { "_id": "f", "seq": "10" },
            doc! { "_id": "g", "seq": 30_i64 },
        ];
        assert_eq!(said_of_duplicates(&documents, "seq"), ["10: _id a, _id b", "no value: _id d, _id e"]);
        let many: Vec<Document> =
            (0..8).map(|number| doc! { "_id": number.to_string(), "username": "waldi" }).collect();
        let said = said_of_duplicates(&many, "username");
        assert_eq!(said, ["\"waldi\": _id 0, _id 1, _id 2, _id 3, _id 4, 3 more"]);
    }
}
