//! What is in registries, in MongoDB: each step leaves what another try completes, since a standalone server has no transactions.

use std::collections::BTreeSet;

use async_trait::async_trait;
use mongodb::bson::{Bson, Document as Bsons, doc};
use mongodb::error::Error;
use time::OffsetDateTime;

use super::documents::{integer, odd, optional_integer, optional_text, text};
use super::{Handle, MongoRecords, unless_duplicate};
use crate::mongo::all;
use crate::records::catalogue::{
    Change, Complete, Description, EventQueue, Lease, Leased, Leases, Listing, Mark, Pull, Pulled, Pulls, PushedTag,
    Repositories, Repository, Seq, Stamp, Star, StoredEvent, Sweep, SweepNumber, Sweeps, Tag, What, Work,
};
use crate::records::row::{milliseconds, moment};
use crate::records::{Changed, Failure};

pub(super) const EVENTS: &str = "dockwarden_events";
pub(in crate::records) const REPOSITORIES: &str = "dockwarden_repositories";
pub(in crate::records) const TAGS: &str = "dockwarden_tags";
pub(in crate::records) const STARS: &str = "dockwarden_stars";
pub(in crate::records) const SWEEPS: &str = "dockwarden_sweeps";
pub(in crate::records) const PULLS: &str = "dockwarden_pulls";
const LEASES: &str = "dockwarden_leases";

/// A key of several parts. No name of a service, a repository, a tag or an account has a control character.
fn key(parts: &[&str]) -> String {
    parts.join("\n")
}

fn at(document: &Bsons, name: &str, place: &str) -> Result<Option<OffsetDateTime>, Failure> {
    let number = optional_integer(document, name, place)?;
    number.map(|number| moment(number).ok_or_else(|| odd(place))).transpose()
}

fn mark_of(document: &Bsons, name: &str) -> Result<Mark, Failure> {
    Ok(optional_integer(document, name, REPOSITORIES)?.map_or(Mark::Unset, Mark::from_number))
}

pub(in crate::records) fn repository_of(document: &Bsons) -> Result<Repository, Failure> {
    let number = |name| optional_integer(document, name, REPOSITORIES);
    Ok(Repository {
        service: text(document, "service", REPOSITORIES)?,
        name: text(document, "name", REPOSITORIES)?,
        tags: number("tags")?.unwrap_or(0),
        pushed: number("pushed")?.map(Stamp),
        pulled: number("pulled")?.map(Stamp),
        description: Description {
            text: optional_text(document, "description", REPOSITORIES)?.unwrap_or_default(),
            official: mark_of(document, "official")?,
            automated: mark_of(document, "automated")?,
        },
        stars: number("stars")?.unwrap_or(0),
        listed: at(document, "listed", REPOSITORIES)?,
        seq: Seq(number("seq")?.unwrap_or(0)),
    })
}

/// A repository that nobody knows more of than its name, and what people wrote.
pub(in crate::records) fn described_document(repository: &Repository) -> Bsons {
    let Description { text, official, automated } = &repository.description;
    doc! {
        "_id": key(&[&repository.service, &repository.name]),
        "service": &repository.service,
        "name": &repository.name,
        "seq": repository.seq.0,
        "tags": 0_i64,
        "touched": 0_i64,
        "doubt": 1_i64,
        "swept": 0_i64,
        "description": text,
        "official": official.number(),
        "automated": automated.number(),
        "stars": repository.stars,
    }
}

pub(in crate::records) fn star_document(service: &str, repository: &str, account: &str) -> Bsons {
    doc! {
        "_id": key(&[service, repository, account]),
        "service": service,
        "repository": repository,
        "account": account,
    }
}

pub(in crate::records) fn star_of(document: &Bsons) -> Result<(String, String, String), Failure> {
    let text = |name| text(document, name, STARS);
    Ok((text("service")?, text("repository")?, text("account")?))
}

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

/// What is so of a repository that was not known before.
fn unknown_before(service: &str, name: &str) -> Bsons {
    doc! { "service": service, "name": name, "tags": 0_i64, "touched": 0_i64, "swept": 0_i64, "stars": 0_i64 }
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
    async fn update(&self, name: &'static str, filter: Bsons, change: Bsons) -> Result<u64, Failure> {
        self.ask(name, |collection| {
            let (filter, change) = (filter.clone(), change.clone());
            async move { collection.update_many(filter, change).await.map(|done| done.matched_count) }
        })
        .await
    }

    /// Changes one document, or makes it. One that is there and that the filter does not find is left alone.
    async fn upsert(&self, name: &'static str, filter: Bsons, change: Bsons) -> Result<(), Failure> {
        self.ask(name, |collection| {
            let (filter, change) = (filter.clone(), change.clone());
            async move { unless_duplicate(collection.update_one(filter, change).upsert(true).await) }
        })
        .await
        .map(|_| ())
    }

    async fn remove(&self, name: &'static str, filter: Bsons) -> Result<u64, Failure> {
        self.ask(name, |collection| {
            let filter = filter.clone();
            async move { collection.delete_many(filter).await.map(|done| done.deleted_count) }
        })
        .await
    }

    async fn count(&self, name: &'static str, filter: Bsons) -> Result<i64, Failure> {
        let counted = self.ask(name, |collection| {
            let filter = filter.clone();
            async move { collection.count_documents(filter).await }
        });
        Ok(i64::try_from(counted.await?).unwrap_or(i64::MAX))
    }

    /// The number of a change that is about to be written. Another change at the same moment may become visible after one with a
    /// higher number: whoever follows them begins a little earlier.
    async fn next_seq(&self) -> Result<i64, Failure> {
        self.count_up("catalogue").await?;
        Ok(self.counted("catalogue").await?.unwrap_or(1))
    }

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

    async fn count_tags(&self, service: &str, repository: &str) -> Result<(), Failure> {
        let tags = doc! { "service": service, "repository": repository, "gone": Bson::Null };
        let count = self.count(TAGS, tags).await?;
        let which = doc! { "_id": key(&[service, repository]) };
        self.update(REPOSITORIES, which, doc! { "$set": { "tags": count } }).await.map(|_| ())
    }

    /// Makes documents, and leaves those alone that are there.
    async fn make_all(&self, name: &'static str, documents: Vec<Bsons>) -> Result<(), Failure> {
        if documents.is_empty() {
            return Ok(());
        }
        let made = self.ask(name, |collection: Handle| {
            let documents = documents.clone();
            async move { unless_all_duplicate(collection.insert_many(documents).ordered(false).await.map(|_| ())) }
        });
        made.await
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

/// Documents that are there already are none too few.
fn unless_all_duplicate(done: Result<(), Error>) -> Result<(), Error> {
    use mongodb::error::ErrorKind;
    match done {
        Err(error) => match &*error.kind {
            ErrorKind::InsertMany(failed)
                if failed.write_concern_error.is_none()
                    && failed.write_errors.iter().flatten().all(|error| error.code == 11000) =>
            {
                Ok(())
            }
            _ => Err(error),
        },
        Ok(()) => Ok(()),
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
        Ok(Leased::Held)
    }

    async fn forget_events(&self, came_before: OffsetDateTime) -> Result<u64, Failure> {
        let came = milliseconds(came_before);
        self.remove(EVENTS, doc! { "done": { "$gt": 0_i64 }, "came": { "$lt": came } }).await
    }
}

#[async_trait]
impl Repositories for MongoRecords {
    async fn repository(&self, service: &str, name: &str) -> Result<Option<Repository>, Failure> {
        let found = self.find_one(REPOSITORIES, doc! { "_id": key(&[service, name]) }).await?;
        found.as_ref().map(repository_of).transpose()
    }

    async fn changed_repositories(&self, from: Seq, count: u32) -> Result<Vec<Repository>, Failure> {
        let filter = doc! { "seq": { "$gte": from.0.max(1) } };
        let found = self.some(REPOSITORIES, filter, doc! { "seq": 1, "_id": 1 }, count).await?;
        found.iter().map(repository_of).collect()
    }

    async fn tags(
        &self,
        service: &str,
        repository: &str,
        after: Option<&str>,
        count: u32,
    ) -> Result<Vec<Tag>, Failure> {
        let filter = doc! {
            "service": service, "repository": repository, "gone": Bson::Null,
            "name": { "$gt": after.unwrap_or_default() },
        };
        let read = |document: &Bsons| {
            let words = |name| optional_text(document, name, TAGS);
            let number = |name| optional_integer(document, name, TAGS);
            let pushed = match (words("digest")?, number("pushed")?) {
                (Some(digest), Some(at)) => Some(PushedTag {
                    digest,
                    media_type: words("media_type")?.unwrap_or_default(),
                    size: number("size")?.unwrap_or(0),
                    at: Stamp(at),
                }),
                (None, _) | (_, None) => None,
            };
            Ok(Tag { name: text(document, "name", TAGS)?, pushed })
        };
        self.some(TAGS, filter, doc! { "name": 1 }, count).await?.iter().map(read).collect()
    }

    async fn describe(&self, service: &str, name: &str, description: &Description) -> Result<Changed, Failure> {
        let seq = self.next_seq().await?;
        let set = doc! {
            "seq": seq,
            "description": &description.text,
            "official": description.official.number(),
            "automated": description.automated.number(),
        };
        self.change(REPOSITORIES, doc! { "_id": key(&[service, name]) }, doc! { "$set": set }).await
    }

    async fn star(&self, service: &str, name: &str, account: &str, star: Star) -> Result<Changed, Failure> {
        let id = key(&[service, name]);
        if self.find_one(REPOSITORIES, doc! { "_id": &id }).await?.is_none() {
            return Ok(Changed::Missing);
        }
        let document = star_document(service, name, account);
        let changed = match star {
            Star::Given => self.insert(STARS, document).await?,
            Star::TakenBack => match self.remove(STARS, doc! { "_id": document.get("_id").cloned() }).await? {
                0 => Changed::Conflict,
                _ => Changed::Done,
            },
        };
        // Also where nothing changed: another may have been interrupted here.
        let (seq, stars) =
            (self.next_seq().await?, self.count(STARS, doc! { "service": service, "repository": name }).await?);
        self.update(REPOSITORIES, doc! { "_id": &id }, doc! { "$set": { "seq": seq, "stars": stars } }).await?;
        Ok(changed)
    }
}

#[async_trait]
impl Sweeps for MongoRecords {
    async fn sweep(&self, service: &str) -> Result<Sweep, Failure> {
        let Some(found) = self.find_one(SWEEPS, doc! { "_id": service }).await? else { return Ok(Sweep::default()) };
        let number = |name| optional_integer(&found, name, SWEEPS);
        let at = |name| at(&found, name, SWEEPS);
        let before = Complete::from_kept(number("before_number")?, at("before_began")?, at("before_ended")?);
        Ok(Sweep {
            number: SweepNumber(integer(&found, "number", SWEEPS)?),
            began: at("began")?,
            cursor: optional_text(&found, "cursor", SWEEPS)?,
            ended: at("ended")?,
            found: number("found")?.unwrap_or(0),
            before,
            error: optional_text(&found, "error", SWEEPS)?.zip(at("error_at")?),
        })
    }

    async fn save_sweep(&self, service: &str, sweep: &Sweep) -> Result<(), Failure> {
        let set = doc! {
            "number": sweep.number.0,
            "began": sweep.began.map(milliseconds),
            "cursor": &sweep.cursor,
            "ended": sweep.ended.map(milliseconds),
            "found": sweep.found,
            "before_number": sweep.before.map(|before| before.number.0),
            "before_began": sweep.before.map(|before| milliseconds(before.began)),
            "before_ended": sweep.before.map(|before| milliseconds(before.ended)),
            "error": sweep.error.as_ref().map(|(error, _)| error),
            "error_at": sweep.error.as_ref().map(|(_, at)| milliseconds(*at)),
        };
        self.upsert(SWEEPS, doc! { "_id": service }, doc! { "$set": set }).await
    }

    async fn found(
        &self,
        service: &str,
        sweep: SweepNumber,
        names: &[String],
        listed_since: OffsetDateTime,
    ) -> Result<Vec<String>, Failure> {
        let names: BTreeSet<&String> = names.iter().collect();
        let ids: Vec<String> = names.iter().map(|name| key(&[service, name])).collect();
        let new = |name: &&String| {
            let mut new = unknown_before(service, name);
            new.extend(doc! { "_id": key(&[service, name]), "doubt": 1_i64, "seq": 0_i64 });
            new
        };
        let most = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let there = self.some(REPOSITORIES, doc! { "_id": { "$in": &ids } }, doc! { "_id": 1 }, most).await?;
        let there = there.iter().map(|found| text(found, "name", REPOSITORIES)).collect::<Result<BTreeSet<_>, _>>()?;
        self.make_all(REPOSITORIES, names.iter().filter(|name| !there.contains(**name)).map(new).collect()).await?;
        self.update(REPOSITORIES, doc! { "_id": { "$in": &ids } }, doc! { "$set": { "swept": sweep.0 } }).await?;
        let unlisted =
            [doc! { "doubt": 1_i64 }, doc! { "tags": 0_i64 }, doc! { "listed": { "$lt": milliseconds(listed_since) } }];
        let filter = doc! { "_id": { "$in": ids }, "$or": unlisted };
        let found = self.some(REPOSITORIES, filter, doc! { "_id": 1 }, most).await?;
        found.iter().map(|found| text(found, "name", REPOSITORIES)).collect()
    }

    async fn listed(&self, service: &str, listings: &[Listing], now: OffsetDateTime) -> Result<(), Failure> {
        if listings.is_empty() {
            return Ok(());
        }
        let seq = self.next_seq().await?;
        for Listing { repository, tags, asked } in listings {
            let which = doc! { "_id": key(&[service, repository]), "touched": { "$lt": milliseconds(*asked) } };
            let set = doc! { "seq": seq, "listed": milliseconds(now), "doubt": 0_i64 };
            if self.update(REPOSITORIES, which, doc! { "$set": set }).await? == 0 {
                continue;
            }
            let new = |tag: &String| {
                doc! { "_id": key(&[service, repository, tag]), "service": service, "repository": repository, "name": tag,
                "gone": Bson::Null }
            };
            self.make_all(TAGS, tags.iter().map(new).collect()).await?;
            let back = doc! {
                "service": service, "repository": repository, "name": { "$in": tags }, "gone": { "$gt": i64::MIN },
            };
            self.update(TAGS, back, doc! { "$set": { "gone": Bson::Null } }).await?;
            let gone = doc! {
                "service": service, "repository": repository, "gone": Bson::Null, "name": { "$nin": tags },
            };
            self.remove(TAGS, gone).await?;
            self.count_tags(service, repository).await?;
        }
        Ok(())
    }

    async fn doubtful(&self, service: &str, count: u32) -> Result<Vec<String>, Failure> {
        let filter = doc! { "service": service, "doubt": 1_i64 };
        let found = self.some(REPOSITORIES, filter, doc! { "_id": 1 }, count).await?;
        found.iter().map(|found| text(found, "name", REPOSITORIES)).collect()
    }

    async fn doubt(&self, service: &str, repository: &str) -> Result<(), Failure> {
        let which = doc! { "_id": key(&[service, repository]) };
        self.update(REPOSITORIES, which, doc! { "$set": { "doubt": 1_i64 } }).await.map(|_| ())
    }

    async fn forget_gone(&self, before: OffsetDateTime) -> Result<u64, Failure> {
        let at = milliseconds(before);
        let tags = doc! { "gone": { "$gt": i64::MIN, "$lt": at.saturating_mul(1000) } };
        let tags = self.remove(TAGS, tags).await?;
        let unset = |name: &str| doc! { "$or": [{ name: Bson::Null }, { name: 0_i64 }, { name: "" }] };
        // What is in doubt is asked for first; a ghost that a catalog still lists is found again by the next sweep.
        let which = doc! {
            "tags": 0_i64, "doubt": 0_i64, "stars": 0_i64, "touched": { "$lt": at }, "listed": { "$lt": at },
            "$and": [unset("description"), unset("official"), unset("automated")],
        };
        Ok(tags.saturating_add(self.remove(REPOSITORIES, which).await?))
    }

    async fn unseen(
        &self,
        service: &str,
        since: &Complete,
        after: Option<&str>,
        count: u32,
    ) -> Result<Vec<String>, Failure> {
        let filter = doc! {
            "service": service, "tags": { "$gt": 0_i64 }, "swept": { "$lt": since.number.0 },
            "touched": { "$lt": milliseconds(since.began) }, "name": { "$gt": after.unwrap_or_default() },
        };
        let found = self.some(REPOSITORIES, filter, doc! { "_id": 1 }, count).await?;
        found.iter().map(|found| text(found, "name", REPOSITORIES)).collect()
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
