//! The directory's entries in MongoDB: each change is whole in one document, and is counted afterwards. Where that is missed, servers
//! see the change when they read all again.

use async_trait::async_trait;
use mongodb::bson::{Document as Bsons, doc};

use super::documents::{integer, text};
use super::{MongoRecords, next};
use crate::records::directory::{DirectoryEntries, Entry, EntryAt};
use crate::records::{Changed, Failure, Version};

/// The collection.
pub(in crate::records) const DIRECTORY: &str = "dockwarden_directory";

pub(in crate::records) fn entry_of(document: &Bsons) -> Result<Entry, Failure> {
    let version = Version(integer(document, "version", DIRECTORY)?);
    let (place, claim) = (text(document, "_id", DIRECTORY)?, text(document, "claim", DIRECTORY)?);
    Entry::from_kept(&place, &claim, text(document, "document", DIRECTORY)?, version)
}

pub(in crate::records) fn entry_document(entry: &Entry) -> Bsons {
    doc! {
        "_id": entry.at.to_string(),
        "claim": entry.claimed(),
        "version": entry.version.0,
        "document": &entry.text,
    }
}

impl MongoRecords {
    /// Counts what was changed.
    pub(in crate::records) async fn count_change(&self) -> Result<(), Failure> {
        self.count_up("directory").await
    }

    async fn told(&self, changed: Changed) -> Result<Changed, Failure> {
        match changed {
            Changed::Done => self.count_change().await?,
            Changed::Missing | Changed::Conflict => {}
        }
        Ok(changed)
    }
}

#[async_trait]
impl DirectoryEntries for MongoRecords {
    async fn entry(&self, at: &EntryAt) -> Result<Option<Entry>, Failure> {
        let found = self.find_one(DIRECTORY, doc! { "_id": at.to_string() }).await?;
        found.as_ref().map(entry_of).transpose()
    }

    async fn entries(&self, after: Option<&EntryAt>, count: u32) -> Result<Vec<Entry>, Failure> {
        let filter = after.map_or_else(Bsons::new, |after| doc! { "_id": { "$gt": after.to_string() } });
        self.some(DIRECTORY, filter, doc! { "_id": 1 }, count).await?.iter().map(entry_of).collect()
    }

    async fn directory_version(&self) -> Result<Version, Failure> {
        Ok(Version(self.counted("directory").await?.unwrap_or(0)))
    }

    async fn make_entry(&self, entry: &Entry) -> Result<Changed, Failure> {
        let entry = Entry { version: Version(1), ..entry.clone() };
        let made = self.insert(DIRECTORY, entry_document(&entry)).await?;
        self.told(made).await
    }

    async fn replace_entry(&self, entry: &Entry, seen: Version) -> Result<Changed, Failure> {
        let filter = doc! { "_id": entry.at.to_string(), "version": seen.0 };
        let set = doc! { "claim": entry.claimed(), "document": &entry.text, "version": next(seen).0 };
        let replaced = self.change(DIRECTORY, filter, doc! { "$set": set }).await?;
        self.told(replaced).await
    }

    async fn remove_entry(&self, at: &EntryAt, seen: Version) -> Result<Changed, Failure> {
        let place = at.to_string();
        let removed = self.ask(DIRECTORY, |directory| {
            let which = doc! { "_id": &place, "version": seen.0 };
            async move { directory.delete_one(which).await.map(|done| done.deleted_count) }
        });
        match removed.await? {
            0 => self.missing_or_conflict(DIRECTORY, Some(place.into())).await,
            _ => self.told(Changed::Done).await,
        }
    }
}
