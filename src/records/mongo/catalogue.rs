//! What is in registries, in MongoDB: each step leaves what another try completes, since a standalone server has no transactions.

mod events;

use std::collections::BTreeSet;

use async_trait::async_trait;
use mongodb::bson::{Bson, Document as Bsons, doc};
use mongodb::error::Error;
use time::OffsetDateTime;

pub(in crate::records) use events::{EVENTS, PULLS, pull_document, pull_of};

use super::documents::{integer, odd, optional_integer, optional_text, text};
use super::{Handle, MongoRecords, unless_duplicate};
use crate::records::catalogue::{
    Complete, Description, Listing, Mark, PushedTag, Repositories, Repository, Seq, Stamp, Star, Sweep, SweepNumber,
    Sweeps, Tag,
};
use crate::records::row::{milliseconds, moment};
use crate::records::{Changed, Failure};

pub(in crate::records) const REPOSITORIES: &str = "dockwarden_repositories";
pub(in crate::records) const TAGS: &str = "dockwarden_tags";
pub(in crate::records) const STARS: &str = "dockwarden_stars";
pub(in crate::records) const SWEEPS: &str = "dockwarden_sweeps";

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

/// What is so of a repository that was not known before.
fn unknown_before(service: &str, name: &str) -> Bsons {
    doc! { "service": service, "name": name, "tags": 0_i64, "touched": 0_i64, "swept": 0_i64, "stars": 0_i64 }
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
