//! What registries told, in MongoDB: their events, what each changes, who pulled what, and which replica works on it.

use async_trait::async_trait;
use mongodb::bson::{Bson, Document as Bsons, doc};
use time::OffsetDateTime;

use super::{REPOSITORIES, TAGS, at, key, unknown_before};
use crate::mongo::all;
use crate::records::Failure;
use crate::records::catalogue::{
    Change, EventQueue, LAST, Lease, Leased, Leases, NEVER_FORGOTTEN, Pull, Pulled, Pulls, Stamp, StoredEvent, What,
    Work,
};
use crate::records::mongo::MongoRecords;
use crate::records::mongo::documents::{integer, odd, optional_integer, optional_text, text};
use crate::records::row::milliseconds;

pub(in crate::records) const EVENTS: &str = "dockwarden_events";
pub(in crate::records) const PULLS: &str = "dockwarden_pulls";
const LEASES: &str = "dockwarden_leases";

pub(in crate::records) fn pull_of(document: &Bsons) -> Result<Pull, Failure> {
    let word = |name| text(document, name, PULLS);
    Ok(Pull {
        service: word("service")?,
        repository: word("repository")?,
        digest: word("digest")?,
        account: word("account")?,
        address: word("address")?,
        tag: optional_text(document, "tag", PULLS)?,
        first: Stamp(integer(document, "first_pulled", PULLS)?),
        last: Stamp(integer(document, "last_pulled", PULLS)?),
        heard: at(document, "heard", PULLS)?.ok_or_else(|| odd(PULLS))?,
    })
}

pub(in crate::records) fn pull_document(pull: &Pull) -> Bsons {
    doc! {
        "_id": key(&[&pull.service, &pull.repository, &pull.digest, &pull.account, &pull.address]),
        "service": &pull.service,
        "repository": &pull.repository,
        "digest": &pull.digest,
        "account": &pull.account,
        "address": &pull.address,
        "tag": &pull.tag,
        "first_pulled": pull.first.0,
        "last_pulled": pull.last.0,
        "heard": milliseconds(pull.heard),
    }
}

/// At most this, or missing.
fn none_after(name: &str, most: i64) -> Bsons {
    doc! { "$or": [{ name: Bson::Null }, { name: { "$lte": most } }] }
}

/// Less than this, or missing.
fn none_from(name: &str, end: i64) -> Bsons {
    doc! { "$or": [{ name: Bson::Null }, { name: { "$lt": end } }] }
}

impl MongoRecords {
    async fn touch(&self, service: &str, change: &Change, doubt: bool, now: i64, seq: i64) -> Result<(), Failure> {
        let id = key(&[service, &change.repository]);
        let later = doc! { "_id": &id, "latest": { "$gt": change.at.0 } };
        self.update(REPOSITORIES, later, doc! { "$set": { "doubt": 1_i64 } }).await?;
        let mut set = doc! { "seq": seq };
        if doubt {
            set.insert("doubt", 1_i64);
        }
        let max = doc! { "touched": now, "latest": change.at.0 };
        self.update(REPOSITORIES, doc! { "_id": &id }, doc! { "$set": set, "$max": max }).await.map(|_| ())
    }

    async fn make_change(&self, service: &str, change: &Change, now: i64, seq: i64) -> Result<(), Failure> {
        let Change { repository, at: Stamp(at), what } = change;
        let (at, id) = (*at, key(&[service, repository]));
        match what {
            What::Pushed { tag, digest, media_type, size } => {
                let mut new = unknown_before(service, repository);
                new.insert("doubt", 1_i64);
                new.remove("touched");
                let made = doc! { "$setOnInsert": new, "$max": { "pushed": at, "touched": 0_i64 } };
                self.upsert(REPOSITORIES, doc! { "_id": &id }, made).await?;
                self.touch(service, change, false, now, seq).await?;
                let Some(tag) = tag else { return Ok(()) };
                let found = self.find_one(REPOSITORIES, doc! { "_id": &id }).await?;
                let deleted = found.map(|found| optional_integer(&found, "deleted", REPOSITORIES)).transpose()?;
                if deleted.flatten().is_some_and(|deleted| deleted > at) {
                    return Ok(());
                }
                let which = doc! {
                    "_id": key(&[service, repository, tag]),
                    "$and": [none_after("pushed", at), none_after("gone", at)],
                };
                let set = doc! {
                    "service": service, "repository": repository, "name": tag, "digest": digest,
                    "media_type": media_type, "size": size, "pushed": at, "gone": Bson::Null,
                };
                self.upsert(TAGS, which, doc! { "$set": set }).await
            }
            What::TagGone(tag) => {
                self.touch(service, change, false, now, seq).await?;
                let which = doc! {
                    "_id": key(&[service, repository, tag]),
                    "$and": [none_from("pushed", at), none_from("gone", at)],
                };
                let set = doc! { "service": service, "repository": repository, "name": tag, "gone": at };
                self.upsert(TAGS, which, doc! { "$set": set }).await
            }
            What::DigestGone(digest) => {
                self.touch(service, change, true, now, seq).await?;
                let which = doc! {
                    "service": service, "repository": repository, "digest": digest, "gone": Bson::Null,
                    "$and": [none_from("pushed", at)],
                };
                self.update(TAGS, which, doc! { "$set": { "gone": at } }).await.map(|_| ())
            }
            What::RepositoryGone => {
                self.touch(service, change, true, now, seq).await?;
                self.update(REPOSITORIES, doc! { "_id": &id }, doc! { "$max": { "deleted": at } }).await?;
                let which = doc! {
                    "service": service, "repository": repository, "gone": Bson::Null,
                    "$and": [none_from("pushed", at)],
                };
                self.update(TAGS, which, doc! { "$set": { "gone": at } }).await.map(|_| ())
            }
        }
    }

    /// Puts one pull in place of an older one.
    async fn note_pull(&self, pull: &Pull) -> Result<(), Failure> {
        let mut document = pull_document(pull);
        let id = document.remove("_id");
        let tag = document.remove("tag").unwrap_or(Bson::Null);
        for moment in ["first_pulled", "last_pulled", "heard"] {
            document.remove(moment);
        }
        let change = doc! {
            "$setOnInsert": document,
            "$min": { "first_pulled": pull.first.0 },
            "$max": { "last_pulled": pull.last.0, "heard": milliseconds(pull.heard) },
        };
        self.upsert(PULLS, doc! { "_id": id.clone() }, change).await?;
        let newest = doc! { "_id": id, "last_pulled": pull.last.0 };
        self.update(PULLS, newest, doc! { "$set": { "tag": tag } }).await?;
        let which = doc! { "_id": key(&[&pull.service, &pull.repository]) };
        self.update(REPOSITORIES, which, doc! { "$max": { "pulled": pull.last.0 } }).await.map(|_| ())
    }

    async fn holds(&self, lease: &Lease) -> Result<Leased, Failure> {
        let found = self.find_one(LEASES, doc! { "_id": &lease.name, "holder": &lease.holder }).await?;
        Ok(if found.is_some() { Leased::Held } else { Leased::Elsewhere })
    }
}

#[async_trait]
impl EventQueue for MongoRecords {
    async fn keep_events(&self, events: &[StoredEvent], now: OffsetDateTime) -> Result<(), Failure> {
        let document = |StoredEvent { service, id, document }: &StoredEvent| {
            doc! {
                "_id": key(&[service, id]), "service": service, "id": id, "came": milliseconds(now), "done": Bson::Null,
                "document": document,
            }
        };
        self.make_all(EVENTS, events.iter().map(document).collect()).await
    }

    async fn waiting_events(&self, count: u32) -> Result<Vec<StoredEvent>, Failure> {
        let found = self.some(EVENTS, doc! { "done": Bson::Null }, doc! { "came": 1 }, count).await?;
        let read = |document: &Bsons| {
            let text = |name| text(document, name, EVENTS);
            Ok(StoredEvent { service: text("service")?, id: text("id")?, document: text("document")? })
        };
        found.iter().map(read).collect()
    }

    async fn count_waiting(&self, most: u32) -> Result<u64, Failure> {
        self.ask(EVENTS, |events| async move {
            events.count_documents(doc! { "done": Bson::Null }).limit(u64::from(most)).await
        })
        .await
    }

    async fn work_off(&self, work: &Work, lease: &Lease, now: OffsetDateTime) -> Result<Leased, Failure> {
        if self.holds(lease).await? == Leased::Elsewhere {
            return Ok(Leased::Elsewhere);
        }
        let at = milliseconds(now);
        let seq = if work.changes.is_empty() { 0 } else { self.next_seq().await? };
        for (service, change) in &work.changes {
            self.make_change(service, change, at, seq).await?;
        }
        for (service, repository) in work.touched() {
            self.count_tags(service, repository).await?;
        }
        for pull in &work.pulls {
            self.note_pull(pull).await?;
        }
        let ids: Vec<String> = work.done.iter().map(|(service, id)| key(&[service, id])).collect();
        let done = doc! { "$set": { "done": at, "document": "" } };
        self.update(EVENTS, doc! { "_id": { "$in": ids } }, done).await?;
        // Beside the events themselves, which are forgotten: one a registry, however many there were.
        for service in work.services() {
            let set = doc! { "service": service, "id": LAST, "came": at, "done": NEVER_FORGOTTEN, "document": "" };
            self.upsert(EVENTS, doc! { "_id": key(&[service, LAST]) }, doc! { "$set": set }).await?;
        }
        Ok(Leased::Held)
    }

    async fn last_event(&self, service: &str) -> Result<Option<OffsetDateTime>, Failure> {
        let filter = doc! { "_id": key(&[service, LAST]) };
        let found = self.some(EVENTS, filter, doc! { "_id": 1 }, 1).await?;
        found.first().map_or(Ok(None), |found| at(found, "came", EVENTS))
    }

    async fn forget_events(&self, came_before: OffsetDateTime) -> Result<u64, Failure> {
        let came = milliseconds(came_before);
        self.remove(EVENTS, doc! { "done": { "$gt": 0_i64 }, "came": { "$lt": came } }).await
    }
}

#[async_trait]
impl Pulls for MongoRecords {
    async fn pulls(&self, service: &str, what: &Pulled, skip: u32, count: u32) -> Result<Vec<Pull>, Failure> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut filter = doc! { "service": service };
        match what {
            Pulled::Repository(name) => filter.extend(doc! { "repository": name }),
            Pulled::Manifest { repository, digest } => {
                filter.extend(doc! { "repository": repository, "digest": digest })
            }
            Pulled::Digest(digest) => filter.extend(doc! { "digest": digest }),
        }
        let found = self.ask(PULLS, |pulls| {
            let filter = filter.clone();
            let order = doc! { "account": 1, "address": 1, "repository": 1, "digest": 1 };
            async move {
                all(pulls.find(filter).sort(order).skip(u64::from(skip)).limit(i64::from(count)).await?).await
            }
        });
        found.await?.iter().map(pull_of).collect()
    }

    async fn forget_pulls(&self, heard_before: OffsetDateTime) -> Result<u64, Failure> {
        self.remove(PULLS, doc! { "heard": { "$lt": milliseconds(heard_before) } }).await
    }
}

#[async_trait]
impl Leases for MongoRecords {
    async fn lease(&self, lease: &Lease, until: OffsetDateTime, now: OffsetDateTime) -> Result<Leased, Failure> {
        let free = doc! { "$or": [{ "holder": &lease.holder }, { "ends": { "$lte": milliseconds(now) } }], "_id": &lease.name };
        let set = doc! { "$set": { "holder": &lease.holder, "ends": milliseconds(until) } };
        self.upsert(LEASES, free, set).await?;
        self.holds(lease).await
    }

    async fn give_back(&self, lease: &Lease) -> Result<(), Failure> {
        self.remove(LEASES, doc! { "_id": &lease.name, "holder": &lease.holder }).await.map(|_| ())
    }
}
