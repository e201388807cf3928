//! Rules in MongoDB (`acl_mongo:`): read whole, in the order of `seq`, again and again.

pub mod book;
mod changes;
pub mod documents;
mod guard;
pub mod import;
pub mod order;
pub mod text;

use std::sync::Arc;

use ::settings::Field;
use async_trait::async_trait;
use mongodb::bson::{Document, doc};

use super::kept::{self, Again, Changes, Compiled, Keeper, MAX_RULES, READING, Times, Unread, Wrong};
use crate::authn::password::Passwords;
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::digest::sha256;
use crate::mongo::{self, Collection, all, settings};
use documents::compile;

/// The row of the table.
pub const KIND: Kind = Kind { key: "acl_mongo", purpose: Purpose::Rules, read: |field| configured(read(field)) };

/// The `acl_mongo:` section.
#[derive(Clone, Debug, PartialEq)]
pub struct AclMongoSettings {
    collection: settings::CollectionSettings,
    times: Times,
}

impl AclMongoSettings {
    /// Where the documents are.
    pub fn collection(&self) -> &settings::CollectionSettings {
        &self.collection
    }
}

/// Reads the `acl_mongo:` section.
pub fn read(field: Field<'_>) -> Option<AclMongoSettings> {
    let mut section = field.section()?;
    let collection = settings::read(&mut section, "acl");
    let times = Times::read(&mut section);
    section.finish();
    Some(AclMongoSettings { collection: collection?, times })
}

impl Configured for AclMongoSettings {
    fn open(self: Arc<Self>, _passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        kept::open(Collection::new(self.collection.clone()), self.times)
    }

    fn facts(&self) -> Facts<'_> {
        Facts::RulesElsewhere
    }
}

#[async_trait]
impl Keeper for Collection {
    const KEY: &'static str = KIND.key;
    type Entries = Vec<Document>;

    fn place(&self) -> String {
        self.settings().namespace()
    }

    async fn fetch(&self) -> Result<Vec<Document>, Unread> {
        fetch(self).await.map_err(|failure| Unread {
            cause: failure.to_string(),
            advice: failure.advice(),
            again: match failure {
                mongo::Failure::Stranger { .. } => Again::Later,
                mongo::Failure::Down { .. } | mongo::Failure::Refused { .. } | mongo::Failure::Slow { .. } => {
                    Again::Soon
                }
            },
        })
    }

    fn digest(documents: &Vec<Document>) -> [u8; 32] {
        // What was just read can be written; if it could not, the digest would only miss a change in it.
        sha256(documents.iter().map(|document| document.to_vec().unwrap_or_default()))
    }

    fn compile(documents: Vec<Document>) -> Result<Compiled, Vec<Wrong>> {
        let (acl, seqs) = compile(&documents)?;
        Ok(Compiled { acl, seqs: seqs.into_iter().map(Some).collect(), remark: None })
    }

    async fn watch(&self, changes: &Changes) {
        changes::watch(self, changes).await;
    }
}

/// All documents of the collection, in the order of `seq`, and one more than there may be at most.
async fn fetch(collection: &Collection) -> Result<Vec<Document>, mongo::Failure> {
    let read = collection.ask_within(READING, |collection| async move {
        let most = i64::try_from(MAX_RULES).map_or(i64::MAX, |most| most.saturating_add(1));
        all(collection.find(doc! {}).sort(doc! { "seq": 1, "_id": 1 }).limit(most).max_time(READING).await?).await
    });
    read.await
}
