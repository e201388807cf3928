//! People who signed in at a provider, in MongoDB.

use async_trait::async_trait;
use mongodb::bson::{Document as Bsons, doc};

use super::documents::{integer, text};
use super::{MongoRecords, next};
use crate::identity::Account;
use crate::records::persons::{Person, PersonId, Persons};
use crate::records::{Changed, Failure, Version};

/// The collection.
pub(in crate::records) const PERSONS: &str = "dockwarden_persons";

pub(in crate::records) fn person_of(document: &Bsons) -> Result<Person, Failure> {
    let odd = |_| Failure::Unusable { cause: "a person's account is not as this program writes it".to_owned() };
    Ok(Person {
        id: PersonId(text(document, "_id", PERSONS)?),
        account: Account::parse(&text(document, "account", PERSONS)?).map_err(odd)?,
        version: Version(integer(document, "version", PERSONS)?),
        text: text(document, "document", PERSONS)?,
    })
}

pub(in crate::records) fn person_document(person: &Person) -> Bsons {
    let Person { id, account, text, version } = person;
    doc! { "_id": &id.0, "account": account.as_str(), "version": version.0, "document": text }
}

#[async_trait]
impl Persons for MongoRecords {
    async fn person(&self, id: &PersonId) -> Result<Option<Person>, Failure> {
        self.find_one(PERSONS, doc! { "_id": &id.0 }).await?.as_ref().map(person_of).transpose()
    }

    async fn person_called(&self, account: &Account) -> Result<Option<Person>, Failure> {
        self.find_one(PERSONS, doc! { "account": account.as_str() }).await?.as_ref().map(person_of).transpose()
    }

    async fn make_person(&self, person: &Person) -> Result<Changed, Failure> {
        self.insert(PERSONS, person_document(&Person { version: Version(1), ..person.clone() })).await
    }

    async fn replace_person(&self, person: &Person, seen: Version) -> Result<Changed, Failure> {
        let Person { id, account, text, version: _ } = person;
        let filter = doc! { "_id": &id.0, "version": seen.0 };
        let set = doc! { "account": account.as_str(), "document": text, "version": next(seen).0 };
        self.change(PERSONS, filter, doc! { "$set": set }).await
    }

    async fn remove_person(&self, id: &PersonId, seen: Version) -> Result<Changed, Failure> {
        let removed = self.ask(PERSONS, |persons| {
            let which = doc! { "_id": &id.0, "version": seen.0 };
            async move { persons.delete_one(which).await.map(|done| done.deleted_count) }
        });
        match removed.await? {
            0 => self.missing_or_conflict(PERSONS, Some(id.0.as_str().into())).await,
            _ => Ok(Changed::Done),
        }
    }
}
