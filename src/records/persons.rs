//! People who signed in at a provider, in the records: each by who the provider says it is, and by the account that it has here.

use async_trait::async_trait;

use super::{Changed, Failure, Version};
use crate::digest::sha256;
use crate::identity::Account;

/// What a person is found by: a digest of who keeps it and of what it is called there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonId(pub String);

impl PersonId {
    /// The person of these parts: the provider, its issuer and the subject there.
    pub fn of(parts: &[&str]) -> PersonId {
        PersonId(sha256(parts).iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// A person as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// What it is found by.
    pub id: PersonId,
    /// The account, which no other person has.
    pub account: Account,
    /// The rest, as JSON.
    pub text: String,
    /// Of this record.
    pub version: Version,
}

/// People who signed in at a provider.
#[async_trait]
pub trait Persons: Send + Sync {
    /// A person.
    ///
    /// # Errors
    /// [`Failure`], as for all that follow.
    async fn person(&self, id: &PersonId) -> Result<Option<Person>, Failure>;

    /// The person who has this account.
    ///
    /// # Errors
    /// [`Failure`].
    async fn person_called(&self, account: &Account) -> Result<Option<Person>, Failure>;

    /// Keeps a person; [`Changed::Conflict`] where there is this one already, or another of this account.
    ///
    /// # Errors
    /// [`Failure`].
    async fn make_person(&self, person: &Person) -> Result<Changed, Failure>;

    /// Puts a person in place of the one of its id, if that still has version `seen`; [`Changed::Conflict`] too where another has
    /// its account.
    ///
    /// # Errors
    /// [`Failure`].
    async fn replace_person(&self, person: &Person, seen: Version) -> Result<Changed, Failure>;

    /// Removes a person that still has version `seen`; the account is free again.
    ///
    /// # Errors
    /// [`Failure`].
    async fn remove_person(&self, id: &PersonId, seen: Version) -> Result<Changed, Failure>;
}
