//! The users of a collection as an administrator changes them, one at a time.
//!
//! Every change names what the document was and does nothing if it is something else by now: two people never overwrite
//! each other unseen. A document that could not be used for a login is never written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};

use super::labels::LabelChange;
use super::{Settings, User, read_user};
use crate::authn::LabelSyntax;
use crate::authn::password::PasswordHash;
use crate::authn::{AccountState, Identity, Standing};
use crate::mongo::document::{Single, name_of, texts_of, unchanged};
use crate::mongo::{Collection, Failure, Wrote};

/// How long reading all users may take.
const READING: Duration = Duration::from_secs(60);
/// The longest name that can log in, in bytes.
const MAX_NAME: usize = 255;
/// The keys of a user's document.
const KEYS: &[&str] = &["username", "password", "labels", "disabled", "not_before", "not_after"];

/// The users of a collection.
pub struct Accounts {
    collection: Collection,
    label_values: LabelSyntax,
}

/// One user's document, and what it means.
#[derive(Clone, Debug)]
pub struct Account {
    /// The name; a document without one that is a text is named by its `_id`.
    pub name: String,
    /// The labels as they are written, each with its values.
    pub labels: BTreeMap<String, Vec<String>>,
    /// What can be used of it.
    pub usable: Result<Usable, Vec<String>>,
    document: Document,
}

/// What a user's document says, beside the labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Usable {
    /// Who that is to the rules.
    pub identity: Identity,
    /// The kind of hash, such as `$2y$`.
    pub kind: String,
    /// Its work factor.
    pub cost: u32,
}

/// Why nothing was changed, or is known.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The users could not be read.
    #[error("{failure}; {advice}", failure = .0, advice = .0.advice())]
    Unread(#[from] Failure),
    /// A write got no answer.
    #[error("{0}; whether the change was made is not known: look before you try again")]
    Unknown(Failure),
    /// It must not, or cannot, be done.
    #[error("{0}")]
    Said(String),
}

fn said<T>(message: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Said(message.into()))
}

/// Whether somebody can log in by this name.
///
/// # Errors
/// Says why not.
pub fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("a user needs a name; who logs in with none is anonymous, and that is users: {\"\": {}}".to_owned());
    }
    if name.contains(char::is_control) {
        return Err("a name must not contain control characters".to_owned());
    }
    if name.contains(':') {
        return Err("a name cannot contain a colon: nobody could log in with it (RFC 7617)".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!("the name has {} bytes; nobody can log in with more than {MAX_NAME}", name.len()));
    }
    Ok(())
}

impl Accounts {
    /// The users that the section names; nothing is connected yet.
    pub fn open(settings: &Settings) -> Accounts {
        Accounts { collection: Collection::new(settings.collection.clone()), label_values: settings.label_values }
    }

    /// The collection's full name.
    pub fn namespace(&self) -> String {
        self.collection.settings().namespace()
    }

    /// All users, by name.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn list(&self) -> Result<Vec<Account>, Refused> {
        let documents = self.collection.ask_within(READING, |collection| async move {
            let mut cursor = collection.find(doc! {}).await?;
            let mut documents: Vec<Document> = Vec::new();
            while cursor.advance().await? {
                documents.push(cursor.deserialize_current()?);
            }
            Ok(documents)
        });
        let mut accounts: Vec<Account> =
            documents.await?.into_iter().map(|document| read(document, self.label_values)).collect();
        accounts.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(accounts)
    }

    /// The user with this very name.
    ///
    /// # Errors
    /// It cannot be read, or there are two.
    pub async fn find(&self, name: &str) -> Result<Option<Account>, Refused> {
        if name.is_empty() || name.contains('\0') {
            return Ok(None);
        }
        let mut documents = self.with_name(name).await?;
        let (one, other) = (documents.pop(), documents.pop());
        match (one, other) {
            (Some(one), Some(other)) => said(format!(
                "two documents of {} have this username: {} and {}; remove one, then run: dockwarden migrate",
                self.namespace(),
                name_of(&one),
                name_of(&other)
            )),
            (one, _) => Ok(one.map(|document| read(document, self.label_values))),
        }
    }

    async fn with_name(&self, name: &str) -> Result<Vec<Document>, Refused> {
        // Typed as a text: a name that looks like an operator is a name.
        let name = Bson::String(name.to_owned());
        let found = self.collection.ask_within(READING, |collection| {
            let filter = doc! { "username": &name };
            async move {
                let mut cursor = collection.find(filter).limit(8).await?;
                let mut documents: Vec<Document> = Vec::new();
                while cursor.advance().await? {
                    documents.push(cursor.deserialize_current()?);
                }
                Ok(documents)
            }
        });
        let mut documents = found.await?;
        // A collection that compares without regard to case.
        documents.retain(|document| document.get("username") == Some(&name));
        Ok(documents)
    }

    /// The user with this very name, who must be there.
    ///
    /// # Errors
    /// As [`Accounts::find`], or there is none.
    pub async fn get(&self, name: &str) -> Result<Account, Refused> {
        match self.find(name).await? {
            Some(account) => Ok(account),
            None => said(format!("there is no user \"{}\" in {}", name.escape_debug(), self.namespace())),
        }
    }

    /// Whether a name is free.
    ///
    /// # Errors
    /// It cannot be used, or is taken.
    pub async fn check_free(&self, name: &str) -> Result<(), Refused> {
        check_name(name).map_err(Refused::Said)?;
        match self.with_name(name).await?.is_empty() {
            true => Ok(()),
            false => self.taken(name),
        }
    }

    /// Adds a user and gives it back as it is now.
    ///
    /// # Errors
    /// Why there is no such user now.
    pub async fn add(
        &self,
        name: &str,
        hash: &str,
        labels: &[LabelChange],
        state: AccountState,
    ) -> Result<Account, Refused> {
        self.check_free(name).await?;
        let mut document = doc! { "_id": ObjectId::new(), "username": name, "password": hash };
        let mut wanted = BTreeMap::new();
        labels.iter().for_each(|change| change.apply(&mut wanted));
        if !wanted.is_empty() {
            document.insert("labels", written(&wanted));
        }
        match state {
            AccountState::Enabled => {}
            AccountState::Disabled => drop(document.insert("disabled", true)),
        }
        self.usable(&document, &[])?;
        if self.collection.insert(&document).await.map_err(Refused::Unknown)? == Wrote::Nothing {
            return self.taken(name);
        }
        // Without a unique index two can be added at once, and then neither could log in.
        if self.with_name(name).await?.len() > 1 {
            self.collection.delete(&unchanged(&document, KEYS)).await.map_err(Refused::Unknown)?;
            return self.taken(name);
        }
        Ok(read(document, self.label_values))
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// Why it was not changed.
    pub async fn set_password(&self, account: &Account, hash: &str) -> Result<Account, Refused> {
        self.change(account, |document| drop(document.insert("password", hash))).await
    }

    /// Gives a user other labels.
    ///
    /// # Errors
    /// Why they were not changed.
    pub async fn set_labels(
        &self,
        account: &Account,
        labels: &BTreeMap<String, Vec<String>>,
    ) -> Result<Account, Refused> {
        self.change(account, |document| drop(document.insert("labels", written(labels)))).await
    }

    /// Switches a user on or off. Off, it cannot log in from now on; tokens that it has live on.
    ///
    /// # Errors
    /// Why it was not changed.
    pub async fn set_state(&self, account: &Account, state: AccountState) -> Result<Account, Refused> {
        let disabled = match state {
            AccountState::Enabled => false,
            AccountState::Disabled => true,
        };
        self.change(account, |document| drop(document.insert("disabled", disabled))).await
    }

    /// Removes a user.
    ///
    /// # Errors
    /// Why it is still there.
    pub async fn remove(&self, account: &Account) -> Result<(), Refused> {
        match self.collection.delete(&unchanged(&account.document, KEYS)).await.map_err(Refused::Unknown)? {
            Wrote::It => Ok(()),
            Wrote::Nothing => changed_meanwhile(),
        }
    }

    async fn change(&self, account: &Account, change: impl FnOnce(&mut Document)) -> Result<Account, Refused> {
        let mut document = account.document.clone();
        change(&mut document);
        if document == account.document {
            return Ok(account.clone());
        }
        let before = account.usable.as_ref().err().map(Vec::as_slice).unwrap_or_default();
        self.usable(&document, before)?;
        let set: Document = KEYS
            .iter()
            .filter(|key| document.get(key) != account.document.get(key))
            .filter_map(|key| Some(((*key).to_owned(), document.get(key)?.clone())))
            .collect();
        let update = doc! { "$set": set };
        match self.collection.update(&unchanged(&account.document, KEYS), &update).await.map_err(Refused::Unknown)? {
            Wrote::It => Ok(read(document, self.label_values)),
            Wrote::Nothing => changed_meanwhile(),
        }
    }

    /// Whether a document can be used; problems that it had before are no reason not to change something else.
    fn usable(&self, document: &Document, before: &[String]) -> Result<(), Refused> {
        let problems = read_user(document, self.label_values).err().unwrap_or_default();
        let new: Vec<&str> = problems.iter().filter(|one| !before.contains(one)).map(String::as_str).collect();
        match new.as_slice() {
            [] => Ok(()),
            new => said(format!("nobody could log in then; nothing was changed: {}", new.join("; "))),
        }
    }

    fn taken<T>(&self, name: &str) -> Result<T, Refused> {
        said(format!("there is a user \"{name}\" in {} already", self.namespace()))
    }
}

fn changed_meanwhile<T>() -> Result<T, Refused> {
    said("somebody else changed this user at the same time; nothing was changed: look at it, and try again")
}

fn written(labels: &BTreeMap<String, Vec<String>>) -> Document {
    labels.iter().map(|(label, values)| (label.clone(), Bson::from(values.clone()))).collect()
}

fn read(document: Document, label_values: LabelSyntax) -> Account {
    let name = document.get_str("username").map_or_else(|_| name_of(&document), str::to_owned);
    let labels = document.get_document("labels").into_iter().flatten().filter_map(|(label, values)| {
        let values = texts_of(values, Single::IsAList).ok()?.into_iter().map(str::to_owned).collect();
        Some((label.clone(), values))
    });
    let labels = labels.collect();
    let usable = read_user(&document, label_values).map(|user| {
        let kind = document.get_str("password").ok().and_then(|hash| hash.get(..4)).unwrap_or_default().to_owned();
        let User { password, labels, standing } = user;
        Usable {
            identity: Identity { account: name.clone(), labels: Arc::new(labels), standing },
            kind,
            cost: PasswordHash::cost(&password),
        }
    });
    Account { name, labels, usable, document }
}

impl Account {
    /// The document's `_id`.
    pub fn id(&self) -> String {
        name_of(&self.document)
    }

    /// Whether and when it may be used; `None` where the document cannot be used at all.
    pub fn standing(&self) -> Option<Standing> {
        self.usable.as_ref().ok().map(|usable| usable.identity.standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_can_log_in() {
        for name in ["alice", "a.b", "*", "{$ne}", "wal di", "ö", &"x".repeat(255)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, expected) in [
            ("", "needs a name"),
            ("a\0b", "control characters"),
            ("a\nb", "control characters"),
            ("a:b", "colon"),
            (&"x".repeat(256), "256 bytes"),
        ] {
            assert!(check_name(name).is_err_and(|message| message.contains(expected)), "{name:?}");
        }
    }
}
