//! Users and rules that are kept among the records, in MongoDB.

use async_trait::async_trait;
use mongodb::bson::{Document as Bsons, doc};

use super::super::{Changed, Document, Failure, Rules, Users, Version};
use super::documents::{integer, named_document};
use super::{DOCUMENTS, MongoRecords, USERS, next};
use crate::identity::Account;

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
