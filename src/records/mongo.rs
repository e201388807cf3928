//! Records in MongoDB: read from the primary, written by majority, and each change whole in one document, since a standalone
//! server has no transactions.

pub(super) mod catalogue;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mongodb::IndexModel;
use mongodb::bson::{Bson, Document as Bsons, doc};
use mongodb::error::Error;
use mongodb::options::{CollectionOptions, IndexOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use time::OffsetDateTime;
use tracing::{info, warn};

use super::row::{EVERYBODY, RobotRow, SecretRow, hexadecimal, milliseconds, name_of, nobodys, over, robot_key};
use super::schema;
use super::{
    Added, Changed, Document, Epoch, Epochs, Failure, Found, Kept, Presented, Robot, RobotName, Robots, Rules,
    SecretHash, SecretId, SecretKind, Secrets, SeenTokens, Settings, Use, Users, Version, Whose,
};
use crate::breaker::{Breaker, Pass, Passage, Trial, trials_of};
use crate::identity::Account;
use crate::mongo::settings::CollectionSettings;
use crate::mongo::{Collection, all, is_duplicate};
use crate::{mongo, records};

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

    /// A secret, its owner's epoch, and its robot.
    async fn found(&self, filter: Bsons) -> Result<Option<Found>, Failure> {
        let Some(document) = self.find_one(SECRETS, filter).await? else { return Ok(None) };
        let row = secret_row(&document)?;
        // Afterwards, so that what ended before this question is seen.
        let robot = async {
            match &row.robot {
                Some(name) => self.robot(&RobotName(name.as_str().into())).await,
                None => Ok(None),
            }
        };
        let (epoch, robot) = tokio::try_join!(self.epoch_of(&row.owner), robot)?;
        Ok(Some(Found { epoch, robot, secret: row.into_kept()? }))
    }

    /// Documents by `_id`, at most `count`.
    async fn find_some(&self, name: &'static str, filter: Bsons, count: i64) -> Result<Vec<Bsons>, Failure> {
        self.ask(name, |collection| {
            let filter = filter.clone();
            async move { all(collection.find(filter).sort(doc! { "_id": 1 }).limit(count).await?).await }
        })
        .await
    }

    /// Raises one epoch; two that do so for the first time at once both do.
    async fn raise_one(&self, owner: &str, change: Bsons) -> Result<(), Failure> {
        loop {
            let raised = self.ask(EPOCHS, |epochs| {
                let (which, change) = (doc! { "_id": owner }, change.clone());
                async move { unless_duplicate(epochs.update_one(which, change).upsert(true).await) }
            });
            if raised.await?.is_some() {
                return Ok(());
            }
        }
    }

    async fn epoch_of(&self, owner: &str) -> Result<Epoch, Failure> {
        let found = self.find_some(EPOCHS, doc! { "_id": { "$in": [owner, EVERYBODY] } }, 2).await?;
        let numbers = found.iter().map(|found| integer(found, "epoch", EPOCHS)).collect::<Result<Vec<_>, _>>()?;
        Ok(Epoch(numbers.into_iter().fold(0, i64::saturating_add)))
    }

    /// Takes its name and slot from what ended by itself.
    async fn give_way(&self, key: &'static str, value: &str, now: i64) -> Result<(), Failure> {
        let Some(holder) = self.find_one(SECRETS, doc! { key: value }).await? else { return Ok(()) };
        let holder = secret_row(&holder)?;
        if holder.over.is_some_and(|over| over <= now) {
            let filter = doc! { "_id": &holder.id, "version": holder.version };
            let free = nobodys(&holder.id);
            self.change(SECRETS, filter, doc! { "$set": { "living": &free, "place": &free } }).await?;
        }
        Ok(())
    }

    /// Revokes the longest unused of an owner's living secrets, but for the newest, until there are no more than `most`.
    async fn evict(&self, newest: &SecretRow, most: u32, now: OffsetDateTime) -> Result<Vec<SecretId>, Failure> {
        let filter = doc! { "owner": &newest.owner, "kind": &newest.kind, "revoked": Bson::Null };
        let at = milliseconds(now);
        let mut others = Vec::new();
        for document in self.find_some(SECRETS, filter, 0).await? {
            let row = secret_row(&document)?;
            if row.id != newest.id && row.over.is_none_or(|over| over > at) {
                others.push(row);
            }
        }
        others.sort_by(|one, other| {
            (one.used.unwrap_or(one.made), &one.id).cmp(&(other.used.unwrap_or(other.made), &other.id))
        });
        let room = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(1);
        let mut evicted = Vec::new();
        for row in others.iter().take(others.len().saturating_sub(room)) {
            let id = SecretId(row.id.as_str().into());
            match self.revoke(&id, now).await? {
                Changed::Done => evicted.push(id),
                Changed::Missing | Changed::Conflict => {}
            }
        }
        Ok(evicted)
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

    /// Puts documents in place of all that there are; for restoring a backup.
    pub(super) async fn put(&self, name: &'static str, documents: Vec<Bsons>) -> Result<(), Failure> {
        self.prepare().await?;
        let asked = self.0.collection.ask_within(PATIENCE, |collection| {
            let documents = documents.clone();
            async move {
                let collection = sibling(&collection, name);
                collection.delete_many(doc! { "_id": { "$nin": ["schema", "catalogue"] } }).await?;
                for document in documents {
                    let which = doc! { "_id": document.get("_id").cloned() };
                    collection.replace_one(which, document).upsert(true).await?;
                }
                Ok(())
            }
        });
        Ok(asked.await?)
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

fn odd(place: &str) -> Failure {
    Failure::Unusable { cause: format!("a document of {place} is not as this program writes it") }
}

fn integer(document: &Bsons, key: &str, place: &str) -> Result<i64, Failure> {
    optional_integer(document, key, place)?.ok_or_else(|| odd(place))
}

fn optional_integer(document: &Bsons, key: &str, place: &str) -> Result<Option<i64>, Failure> {
    match document.get(key) {
        None | Some(Bson::Null) => Ok(None),
        Some(Bson::Int64(number)) => Ok(Some(*number)),
        Some(Bson::Int32(number)) => Ok(Some(i64::from(*number))),
        Some(_) => Err(odd(place)),
    }
}

fn text(document: &Bsons, key: &str, place: &str) -> Result<String, Failure> {
    optional_text(document, key, place)?.ok_or_else(|| odd(place))
}

fn optional_text(document: &Bsons, key: &str, place: &str) -> Result<Option<String>, Failure> {
    match document.get(key) {
        None | Some(Bson::Null) => Ok(None),
        Some(Bson::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(odd(place)),
    }
}

pub(super) fn secret_row(document: &Bsons) -> Result<SecretRow, Failure> {
    let number = |key| optional_integer(document, key, SECRETS);
    let words = |key| optional_text(document, key, SECRETS);
    Ok(SecretRow {
        id: text(document, "_id", SECRETS)?,
        hash: text(document, "hash", SECRETS)?,
        kind: text(document, "kind", SECRETS)?,
        owner: text(document, "owner", SECRETS)?,
        robot: words("robot")?,
        living: text(document, "living", SECRETS)?,
        place: text(document, "place", SECRETS)?,
        epoch: integer(document, "epoch", SECRETS)?,
        made: integer(document, "made", SECRETS)?,
        ends: number("ends")?,
        idle: number("idle")?,
        over: number("over")?,
        used: number("used")?,
        used_from: words("used_from")?,
        used_by: words("used_by")?,
        revoked: number("revoked")?,
        version: integer(document, "version", SECRETS)?,
        document: text(document, "document", SECRETS)?,
    })
}

pub(super) fn secret_document(row: SecretRow) -> Bsons {
    doc! {
        "_id": row.id,
        "hash": row.hash,
        "kind": row.kind,
        "owner": row.owner,
        "robot": row.robot,
        "living": row.living,
        "place": row.place,
        "epoch": row.epoch,
        "made": row.made,
        "ends": row.ends,
        "idle": row.idle,
        "over": row.over,
        "used": row.used,
        "used_from": row.used_from,
        "used_by": row.used_by,
        "revoked": row.revoked,
        "version": row.version,
        "document": row.document,
    }
}

pub(super) fn robot_row(document: &Bsons) -> Result<RobotRow, Failure> {
    Ok(RobotRow {
        name: text(document, "_id", ROBOTS)?,
        labels: text(document, "labels", ROBOTS)?,
        disabled: integer(document, "disabled", ROBOTS)?,
        made: integer(document, "made", ROBOTS)?,
        version: integer(document, "version", ROBOTS)?,
    })
}

pub(super) fn robot_document(row: RobotRow) -> Bsons {
    doc! { "_id": row.name, "labels": row.labels, "disabled": row.disabled, "made": row.made, "version": row.version }
}

/// A name, and the number under a key.
pub(super) fn numbered(document: &Bsons, key: &str, place: &str) -> Result<(String, i64), Failure> {
    Ok((text(document, "_id", place)?, integer(document, key, place)?))
}

/// A text with its version, and its name.
pub(super) fn named_document(document: &Bsons, place: &str) -> Result<(String, Document), Failure> {
    let version = Version(integer(document, "version", place)?);
    Ok((text(document, "_id", place)?, Document { text: text(document, "document", place)?, version }))
}

#[async_trait]
impl Secrets for MongoRecords {
    async fn find(&self, hash: &SecretHash) -> Result<Option<Found>, Failure> {
        self.found(doc! { "hash": hexadecimal(&hash.0) }).await
    }

    async fn get(&self, id: &SecretId) -> Result<Option<Found>, Failure> {
        self.found(doc! { "_id": &*id.0 }).await
    }

    async fn add(&self, secret: &Kept, most: Option<u32>, now: OffsetDateTime) -> Result<Added, Failure> {
        let row = SecretRow::from_kept(secret)?;
        self.give_way("living", &row.living, milliseconds(now)).await?;
        self.give_way("place", &row.place, milliseconds(now)).await?;
        match self.insert(SECRETS, secret_document(row.clone())).await? {
            Changed::Done => {}
            Changed::Missing | Changed::Conflict => return Ok(Added::Taken),
        }
        let evicted = match most {
            Some(most) => self.evict(&row, most, now).await?,
            None => Vec::new(),
        };
        Ok(Added::Kept { evicted })
    }

    async fn list(&self, whose: &Whose, after: Option<&SecretId>, count: u32) -> Result<Vec<Kept>, Failure> {
        let mut filter = match whose {
            Whose::All => doc! {},
            Whose::Account(account) => doc! { "owner": account.as_str() },
            Whose::Robot(name) => doc! { "owner": robot_key(name) },
        };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": &*after.0 });
        }
        if count == 0 {
            // To the server, no limit.
            return Ok(Vec::new());
        }
        let found = self.find_some(SECRETS, filter, i64::from(count)).await?;
        found.iter().map(|document| secret_row(document)?.into_kept()).collect()
    }

    async fn replace(&self, secret: &Kept, seen: Version) -> Result<Changed, Failure> {
        let mut document = secret_document(SecretRow::from_kept(&Kept { version: next(seen), ..secret.clone() })?);
        let filter = doc! { "_id": document.remove("_id"), "version": seen.0, "revoked": Bson::Null };
        // Whose it is does not change, and its uses are written down by themselves.
        for key in ["kind", "owner", "robot", "used", "used_from", "used_by", "revoked"] {
            document.remove(key);
        }
        self.change(SECRETS, filter, doc! { "$set": document }).await
    }

    async fn revoke(&self, id: &SecretId, now: OffsetDateTime) -> Result<Changed, Failure> {
        let filter = doc! { "_id": &*id.0, "revoked": Bson::Null };
        let free = nobodys(&id.0);
        let change = doc! {
            "$set": { "revoked": milliseconds(now), "living": &free, "place": &free },
            "$inc": { "version": 1_i64 },
        };
        self.change(SECRETS, filter, change).await
    }

    async fn used(&self, uses: &BTreeMap<SecretId, Use>) -> Result<(), Failure> {
        for (id, used) in uses {
            let Some(found) = self.find_one(SECRETS, doc! { "_id": &*id.0 }).await? else { continue };
            let (row, at) = (secret_row(&found)?, milliseconds(used.at));
            if row.used.is_some_and(|before| before >= at) {
                continue;
            }
            let filter = doc! { "_id": &row.id, "used": row.used, "version": row.version };
            let change = doc! { "$set": {
                "used": at,
                "used_from": used.network.map(|network| network.to_string()),
                "used_by": &used.client,
                "over": over(row.ends, row.idle, at),
            } };
            // One that was changed in between is left to the next time.
            self.change(SECRETS, filter, change).await?;
        }
        Ok(())
    }

    async fn forget(&self, kind: SecretKind, ended_before: OffsetDateTime) -> Result<u64, Failure> {
        let end = milliseconds(ended_before);
        self.ask(SECRETS, |secrets| async move {
            let over = [doc! { "revoked": { "$lt": end } }, doc! { "over": { "$lt": end } }];
            let ended = doc! { "kind": name_of(kind), "$or": over };
            secrets.delete_many(ended).await.map(|done| done.deleted_count)
        })
        .await
    }
}

fn next(version: Version) -> Version {
    Version(version.0.saturating_add(1))
}

#[async_trait]
impl Epochs for MongoRecords {
    async fn epoch(&self, account: &Account) -> Result<Epoch, Failure> {
        self.epoch_of(account).await
    }

    async fn raise(&self, account: &Account, _now: OffsetDateTime) -> Result<Epoch, Failure> {
        self.raise_one(account, doc! { "$inc": { "epoch": 1_i64 } }).await?;
        self.epoch_of(account).await
    }

    async fn raise_all(&self, now: OffsetDateTime) -> Result<(), Failure> {
        // Each alone raises it; together they do what one change does elsewhere.
        self.raise_one(EVERYBODY, doc! { "$inc": { "epoch": 1_i64 } }).await?;
        self.raise_one(EVERYBODY, doc! { "$max": { "epoch": milliseconds(now) } }).await
    }
}

#[async_trait]
impl Robots for MongoRecords {
    async fn robot(&self, name: &RobotName) -> Result<Option<Robot>, Failure> {
        let found = self.find_one(ROBOTS, doc! { "_id": &*name.0 }).await?;
        found.map(|document| robot_row(&document)?.into_robot()).transpose()
    }

    async fn robots(&self, after: Option<&RobotName>, count: u32) -> Result<Vec<Robot>, Failure> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let filter = after.map_or_else(Bsons::new, |after| doc! { "_id": { "$gt": &*after.0 } });
        let found = self.find_some(ROBOTS, filter, i64::from(count)).await?;
        found.iter().map(|document| robot_row(document)?.into_robot()).collect()
    }

    async fn make_robot(&self, robot: &Robot) -> Result<Changed, Failure> {
        self.insert(ROBOTS, robot_document(RobotRow::from_robot(robot)?)).await
    }

    async fn replace_robot(&self, robot: &Robot, seen: Version) -> Result<Changed, Failure> {
        let row = RobotRow::from_robot(robot)?;
        let filter = doc! { "_id": row.name, "version": seen.0 };
        let set = doc! { "labels": row.labels, "disabled": row.disabled, "version": next(seen).0 };
        self.change(ROBOTS, filter, doc! { "$set": set }).await
    }

    async fn remove_robot(&self, name: &RobotName, now: OffsetDateTime) -> Result<Changed, Failure> {
        let key = robot_key(name);
        let raise = || self.raise_one(&key, doc! { "$inc": { "epoch": 1_i64 } });
        // Its secrets end with its epoch, before it is removed and after: one that is made anew has none of them, wherever
        // this is interrupted, and whatever was added meanwhile.
        raise().await?;
        let removed = self.ask(ROBOTS, |robots| {
            let which = doc! { "_id": &*name.0 };
            async move { robots.delete_one(which).await.map(|done| done.deleted_count) }
        });
        if removed.await? == 0 {
            return Ok(Changed::Missing);
        }
        raise().await?;
        for document in self.find_some(SECRETS, doc! { "owner": &key, "revoked": Bson::Null }, 0).await? {
            self.revoke(&SecretId(secret_row(&document)?.id.into()), now).await?;
        }
        Ok(Changed::Done)
    }
}

#[async_trait]
impl SeenTokens for MongoRecords {
    async fn see(&self, hash: &SecretHash, ends: OffsetDateTime, now: OffsetDateTime) -> Result<Presented, Failure> {
        let now = milliseconds(now);
        self.ask(SEEN, |seen| async move { seen.delete_many(doc! { "ends": { "$lte": now } }).await }).await?;
        Ok(match self.insert(SEEN, doc! { "_id": hexadecimal(&hash.0), "ends": milliseconds(ends) }).await? {
            Changed::Done => Presented::First,
            Changed::Conflict | Changed::Missing => Presented::Again,
        })
    }
}

#[async_trait]
impl Users for MongoRecords {
    async fn user(&self, name: &Account) -> Result<Option<Document>, Failure> {
        let found = self.find_one(USERS, doc! { "_id": name.as_str() }).await?;
        found.map(|document| Ok(named_document(&document, USERS)?.1)).transpose()
    }

    async fn users(&self, after: Option<&Account>, count: u32) -> Result<Vec<(String, Document)>, Failure> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let filter = after.map_or_else(Bsons::new, |after| doc! { "_id": { "$gt": after.as_str() } });
        let found = self.find_some(USERS, filter, i64::from(count)).await?;
        found.iter().map(|document| named_document(document, USERS)).collect()
    }

    async fn make_user(&self, name: &Account, text: &str) -> Result<Changed, Failure> {
        self.insert(USERS, doc! { "_id": name.as_str(), "version": 1_i64, "document": text }).await
    }

    async fn replace_user(&self, name: &Account, text: &str, seen: Version) -> Result<Changed, Failure> {
        let filter = doc! { "_id": name.as_str(), "version": seen.0 };
        self.change(USERS, filter, doc! { "$set": { "version": next(seen).0, "document": text } }).await
    }

    async fn remove_user(&self, name: &Account, seen: Version) -> Result<Changed, Failure> {
        let removed = self.ask(USERS, |users| {
            let which = doc! { "_id": name.as_str(), "version": seen.0 };
            async move { users.delete_one(which).await.map(|done| done.deleted_count) }
        });
        match removed.await? {
            0 => self.missing_or_conflict(USERS, Some(name.as_str().into())).await,
            _ => Ok(Changed::Done),
        }
    }
}

#[async_trait]
impl Rules for MongoRecords {
    async fn rules(&self) -> Result<Document, Failure> {
        let found = self.find_one(DOCUMENTS, doc! { "_id": "rules" }).await?;
        found.map_or_else(|| Ok(Document::no_rules()), |document| Ok(named_document(&document, DOCUMENTS)?.1))
    }

    async fn rules_version(&self) -> Result<Version, Failure> {
        let found = self.ask(DOCUMENTS, |documents| async move {
            documents.find_one(doc! { "_id": "rules" }).projection(doc! { "version": 1 }).await
        });
        found.await?.map_or(Ok(Version(0)), |found| Ok(Version(integer(&found, "version", DOCUMENTS)?)))
    }

    async fn replace_rules(&self, text: &str, seen: Version) -> Result<Changed, Failure> {
        let (version, document) = (next(seen).0, text);
        match seen {
            Version(0) => {
                self.insert(DOCUMENTS, doc! { "_id": "rules", "version": version, "document": document }).await
            }
            Version(seen) => {
                let filter = doc! { "_id": "rules", "version": seen };
                self.change(DOCUMENTS, filter, doc! { "$set": { "version": version, "document": document } }).await
            }
        }
    }
}
