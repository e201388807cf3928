//! When users last logged in, in MongoDB: a document for each account.

use async_trait::async_trait;
use mongodb::bson::doc;

use super::documents::numbered;
use super::{MongoRecords, unless_duplicate};
use crate::records::Failure;
use crate::records::logins::{LastLogins, Logins, kept};
use crate::records::row::milliseconds;

/// The collection.
pub(in crate::records) const LOGINS: &str = "dockwarden_logins";
/// So many accounts are asked for at once.
const LOT: usize = 500;

#[async_trait]
impl LastLogins for MongoRecords {
    async fn note_logins(&self, logins: &Logins) -> Result<(), Failure> {
        for (account, at) in logins {
            let at = milliseconds(*at);
            // Of two that note the first login of an account at once, one may be told that it is there already.
            loop {
                let noted = self.ask(LOGINS, |all| {
                    let (which, change) = (doc! { "_id": account.as_str() }, doc! { "$max": { "last": at } });
                    async move { unless_duplicate(all.update_one(which, change).upsert(true).await) }
                });
                if noted.await?.is_some() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn last_logins(&self, accounts: &[&str]) -> Result<Logins, Failure> {
        let mut all = Logins::new();
        for lot in accounts.chunks(LOT) {
            for document in &self.find_some(LOGINS, doc! { "_id": { "$in": lot } }, 0).await? {
                let (account, at) = numbered(document, "last", LOGINS)?;
                all.extend([kept(&account, at)?]);
            }
        }
        Ok(all)
    }

    async fn forget_login(&self, account: &str) -> Result<(), Failure> {
        self.ask(LOGINS, |all| async move { all.delete_one(doc! { "_id": account }).await.map(|_| ()) }).await
    }
}
