//! Records in MongoDB: read from the primary, written by majority, and each change whole in one document, since a standalone
//! server has no transactions.

pub(super) mod catalogue;
pub(super) mod devices;
pub(super) mod directory;
mod documents;
pub(super) mod logins;
mod people;
pub(super) mod persons;
mod rule_uses;
mod secrets;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::IndexModel;
use mongodb::bson::{Bson, Document as Bsons, doc};
use mongodb::error::Error;
use mongodb::options::{CollectionOptions, IndexOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use tracing::{info, warn};

use super::{Changed, Failure, Settings, Version, schema};
use crate::breaker::{Breaker, Pass, Passage, Trial, trials_of};
use crate::mongo::settings::CollectionSettings;
use crate::mongo::{Collection, all, is_duplicate};
use crate::{mongo, records};

use documents::integer;
pub(super) use documents::{named_document, numbered, robot_document, robot_row, secret_document, secret_row};

/// The collection of secrets, which the connections are named by.
pub(super) const SECRETS: &str = "dockwarden_secrets";
pub(super) const EPOCHS: &str = "dockwarden_epochs";
pub(super) const ROBOTS: &str = "dockwarden_robots";
pub(super) const SEEN: &str = "dockwarden_seen";
pub(super) const USERS: &str = "dockwarden_users";
/// The schema's version, and the rules.
pub(super) const DOCUMENTS: &str = "dockwarden_records";
/// How long work may take that nobody waits for, such as reading all.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How many documents a restore puts there in one question.
const PUT_AT_ONCE: usize = 100;

/// Records in a database of MongoDB.
pub(super) struct MongoRecords(Arc<Inner>);

struct Inner {
    collection: Collection,
    /// By which an outage is told.
    section: &'static str,
    breaker: Breaker,
    /// Whether the schema was looked at.
    is_known: AtomicBool,
}

/// Whether an index holds a value once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Unique,
    Any,
}

/// One of our collections, beside that of the settings.
type Handle = mongodb::Collection<Bsons>;

fn sibling(collection: &Handle, name: &str) -> Handle {
    let options = CollectionOptions::builder()
        .read_concern(ReadConcern::majority())
        .write_concern(WriteConcern::majority())
        // Whatever a URI says: a secondary may not know yet that a secret was revoked.
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build();
    collection.client().database(&collection.namespace().db).collection_with_options(name, options)
}

impl From<mongo::Failure> for Failure {
    fn from(failure: mongo::Failure) -> Failure {
        Failure::Away { cause: format!("{failure}; {}", failure.advice()) }
    }
}

impl MongoRecords {
    /// The records of a database; nothing is connected yet.
    pub(super) fn new(settings: CollectionSettings, section: &'static str) -> MongoRecords {
        let (breaker, is_known) = (Breaker::default(), AtomicBool::new(false));
        MongoRecords(Arc::new(Inner { collection: Collection::new(settings), section, breaker, is_known }))
    }

    pub(super) fn passage(&self) -> Passage {
        self.0.breaker.passage()
    }

    pub(super) fn place(&self) -> String {
        Settings::Mongo(self.0.collection.settings().clone()).place()
    }

    /// Whether the database was made ready, by this program or an older one.
    pub(super) async fn prepare(&self) -> Result<(), Failure> {
        if self.0.is_known.load(Ordering::Relaxed) {
            return Ok(());
        }
        records::check_schema(self.version().await?, &self.place())?;
        self.0.is_known.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The version of the collections that are there.
    pub(super) async fn version(&self) -> Result<Option<i64>, Failure> {
        let asked = |documents: Handle| async move { documents.find_one(doc! { "_id": "schema" }).await };
        let found = self.guarded(asked, DOCUMENTS).await?;
        found.map(|found| integer(&found, "version", DOCUMENTS)).transpose()
    }

    /// Makes the indexes, and notes the version; for `dockwarden migrate`.
    pub(super) async fn migrate(&self) -> Result<(), Failure> {
        let indexes = [
            (SECRETS, "hash", Values::Unique),
            (SECRETS, "living", Values::Unique),
            (SECRETS, "place", Values::Unique),
            (SECRETS, "owner", Values::Any),
            (SEEN, "ends", Values::Any),
            (catalogue::EVENTS, "came", Values::Any),
            (catalogue::REPOSITORIES, "seq", Values::Any),
            (catalogue::TAGS, "repository", Values::Any),
            (catalogue::PULLS, "repository", Values::Any),
            (catalogue::PULLS, "digest", Values::Any),
            (directory::DIRECTORY, "claim", Values::Unique),
            (persons::PERSONS, "account", Values::Unique),
            (devices::DEVICES, "code", Values::Unique),
            (devices::DEVICES, "ends", Values::Any),
        ];
        let asked = self.0.collection.ask_within(PATIENCE, |collection| async move {
            for (name, key, values) in indexes {
                let options = IndexOptions::builder().unique(values == Values::Unique).build();
                let index = IndexModel::builder().keys(doc! { key: 1 }).options(options).build();
                sibling(&collection, name).create_index(index).await?;
            }
            let (which, change) = (doc! { "_id": "schema" }, doc! { "$max": { "version": schema::VERSION } });
            sibling(&collection, DOCUMENTS).update_one(which, change).upsert(true).await
        });
        asked.await?;
        Ok(())
    }

    /// Asks one of our collections, once the schema is known to be ours.
    async fn ask<T, F, Q>(&self, name: &'static str, question: Q) -> Result<T, Failure>
    where
        Q: Fn(Handle) -> F + Send + Sync,
        F: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        self.prepare().await?;
        self.guarded(question, name).await
    }

    async fn guarded<T, F, Q>(&self, question: Q, name: &'static str) -> Result<T, Failure>
    where
        Q: Fn(Handle) -> F + Send + Sync,
        F: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        let pass =
            self.0.breaker.admit().map_err(|open| Failure::Away { cause: format!("{}: {open}", self.place()) })?;
        let asked = self.0.collection.ask(|collection| question(sibling(&collection, name))).await;
        asked.map_err(|failure| {
            self.failed(pass, &failure);
            failure.into()
        })
    }

    /// Closes the door after a failure that other questions would meet too.
    fn failed(&self, pass: Pass, failure: &mongo::Failure) {
        match failure {
            mongo::Failure::Refused { .. } | mongo::Failure::Slow { .. } => return,
            mongo::Failure::Down { .. } | mongo::Failure::Stranger { .. } => {}
        }
        let trial = trials_of(&self.0, |inner| async move {
            let asked = inner.collection.ask(|collection| async move {
                sibling(&collection, DOCUMENTS).find_one(doc! { "_id": "schema" }).await
            });
            match asked.await {
                Ok(_) => Trial::Answered,
                Err(mongo::Failure::Stranger { .. }) => Trial::Refused,
                Err(mongo::Failure::Down { .. } | mongo::Failure::Refused { .. } | mongo::Failure::Slow { .. }) => {
                    Trial::Failed
                }
            }
        });
        let backend = self.0.section;
        let back = move || info!(reason = "backend_back", backend, "{}", records::BACK);
        let closed = self.0.breaker.fail(pass, trial, back);
        if closed {
            warn!(reason = "backend_down", backend, cause = %failure, "{}", records::DOWN);
        }
    }

    /// Changes the one document that `filter` finds; a unique index that holds a value already is a conflict.
    async fn change(&self, name: &'static str, filter: Bsons, change: Bsons) -> Result<Changed, Failure> {
        let changed = self.ask(name, |collection| {
            let (filter, change) = (filter.clone(), change.clone());
            async move { unless_duplicate(collection.update_one(filter, change).await.map(|done| done.matched_count)) }
        });
        match changed.await? {
            Some(1..) => Ok(Changed::Done),
            Some(0) | None => {
                let id = filter.get("_id").cloned();
                self.missing_or_conflict(name, id).await
            }
        }
    }

    async fn missing_or_conflict(&self, name: &'static str, id: Option<Bson>) -> Result<Changed, Failure> {
        let found = self.ask(name, |collection| {
            let filter = doc! { "_id": id.clone() };
            async move { collection.find_one(filter).await }
        });
        Ok(if found.await?.is_some() { Changed::Conflict } else { Changed::Missing })
    }

    async fn insert(&self, name: &'static str, document: Bsons) -> Result<Changed, Failure> {
        let inserted = self.ask(name, |collection| {
            let document = document.clone();
            async move { unless_duplicate(collection.insert_one(document).await) }
        });
        Ok(if inserted.await?.is_some() { Changed::Done } else { Changed::Conflict })
    }

    async fn find_one(&self, name: &'static str, filter: Bsons) -> Result<Option<Bsons>, Failure> {
        self.ask(name, |collection| {
            let filter = filter.clone();
            async move { collection.find_one(filter).await }
        })
        .await
    }

    /// Documents by `_id`, at most `count`; all where that is 0.
    async fn find_some(&self, name: &'static str, filter: Bsons, count: i64) -> Result<Vec<Bsons>, Failure> {
        self.find_ordered(name, filter, doc! { "_id": 1 }, count).await
    }

    /// The same in another order.
    async fn find_ordered(
        &self,
        name: &'static str,
        filter: Bsons,
        order: Bsons,
        count: i64,
    ) -> Result<Vec<Bsons>, Failure> {
        self.ask(name, |collection| {
            let (filter, order) = (filter.clone(), order.clone());
            async move { all(collection.find(filter).sort(order).limit(count).await?).await }
        })
        .await
    }

    /// The same where none is asked for by 0, which a server takes for no limit.
    async fn some(&self, name: &'static str, filter: Bsons, order: Bsons, count: u32) -> Result<Vec<Bsons>, Failure> {
        if count == 0 {
            return Ok(Vec::new());
        }
        self.find_ordered(name, filter, order, i64::from(count)).await
    }

    /// Counts up the version of one of the records, or makes it.
    async fn count_up(&self, id: &'static str) -> Result<(), Failure> {
        loop {
            let counted = self.ask(DOCUMENTS, |documents| async move {
                let change = doc! { "$inc": { "version": 1_i64 } };
                unless_duplicate(documents.update_one(doc! { "_id": id }, change).upsert(true).await)
            });
            // Of two that make it at once, one finds it there the next time.
            if counted.await?.is_some() {
                return Ok(());
            }
        }
    }

    /// The version of one of the records; `None` where it is not there.
    async fn counted(&self, id: &'static str) -> Result<Option<i64>, Failure> {
        let found = self.find_one(DOCUMENTS, doc! { "_id": id }).await?;
        found.map(|found| integer(&found, "version", DOCUMENTS)).transpose()
    }

    /// Documents behind one, by `_id`; for a backup.
    pub(super) async fn page(
        &self,
        name: &'static str,
        after: Option<&Bson>,
        count: i64,
    ) -> Result<Vec<Bsons>, Failure> {
        let filter = after.map_or_else(Bsons::new, |after| doc! { "_id": { "$gt": after.clone() } });
        self.find_some(name, filter, count).await
    }

    /// Puts documents in place of those that `replaced` finds; for restoring a backup.
    pub(super) async fn put(&self, name: &'static str, replaced: Bsons, documents: Vec<Bsons>) -> Result<(), Failure> {
        self.prepare().await?;
        let emptied = self.0.collection.ask_within(PATIENCE, |collection| {
            let replaced = replaced.clone();
            async move { sibling(&collection, name).delete_many(replaced).await }
        });
        emptied.await?;
        // However many there are, each of these questions has the same time.
        for some in documents.chunks(PUT_AT_ONCE) {
            let put = self.0.collection.ask_within(PATIENCE, |collection| async move {
                let collection = sibling(&collection, name);
                for document in some {
                    let which = doc! { "_id": document.get("_id").cloned() };
                    collection.replace_one(which, document.clone()).upsert(true).await?;
                }
                Ok(())
            });
            put.await?;
        }
        Ok(())
    }
}

/// `None` where a unique index holds a value already.
fn unless_duplicate<T>(done: Result<T, Error>) -> Result<Option<T>, Error> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(error) if is_duplicate(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn next(version: Version) -> Version {
    Version(version.0.saturating_add(1))
}
