//! The users of a collection, of the records or of an SQL table as an administrator changes them, one at a time.
//!
//! Every change names what the document was and does nothing if it is something else by now: two people never overwrite
//! each other unseen. A document that could not be used for a login is never written.

use std::collections::BTreeMap;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};

use super::{MongoAuthSettings, read_user};
use crate::authn::LabelSyntax;
use crate::authn::password::PasswordHash;
use crate::authn::stored::User;
use crate::authn::users::ROBOTS_NAME;
use crate::authn::{AccountState, NotAnAccount, Standing};
use crate::identity::{self, MAX_TYPED};
use crate::mongo::document::{Single, insert_window, name_of, texts_of, unchanged, update_to};
use crate::mongo::{NotChanged, Write, not_changed};
use crate::records::Settings;
use crate::secrets::is_robots;
use crate::shelf::{Shelf, What};
use crate::sql;

/// Of many users that are there already, so many are named.
const MOST_NAMED: usize = 20;
/// The keys of a user's document.
const KEYS: &[&str] = &["username", "password", "labels", "disabled", "not_before", "not_after"];

/// The users of a collection, of the records or of an SQL table.
pub struct Accounts {
    shelf: Shelf,
    label_values: LabelSyntax,
    /// What a text in place of a list of a label's values is to the server.
    single: Single,
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
    /// Whether and when it may be used.
    pub standing: Standing,
    /// The kind of hash, such as `$2y$`.
    pub kind: String,
    /// Its work factor.
    pub cost: u32,
}

/// A user as it is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct NewUser {
    /// The name.
    pub name: identity::Account,
    /// The hash of the password.
    pub hash: PasswordHash,
    /// The labels, each with its values.
    pub labels: BTreeMap<String, Vec<String>>,
    /// Whether and when it may be used.
    pub standing: Standing,
}

impl NewUser {
    /// What its document says, besides the name.
    fn keys(&self) -> Document {
        let mut document = doc! { "password": self.hash.text() };
        if !self.labels.is_empty() {
            document.insert("labels", written(&self.labels));
        }
        document.extend(keys_of(self.standing));
        document
    }
}

/// What a user's document says of its standing.
fn keys_of(Standing { state, not_before, not_after }: Standing) -> Document {
    let mut document = Document::new();
    match state {
        AccountState::Enabled => {}
        AccountState::Disabled => drop(document.insert("disabled", true)),
    }
    insert_window(&mut document, not_before, not_after);
    document
}

/// What becomes of users that are there already, when others of their names are brought in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Nothing is changed.
    Refused,
    /// The new ones take their place.
    Replaced,
}

/// What bringing in one user does.
#[derive(Clone, Debug)]
pub enum Step {
    /// It is new.
    Add(NewUser),
    /// It is there, and says the same.
    Same(Account),
    /// It takes the place of the one that is there.
    Replace(Box<Account>, NewUser),
}

impl Step {
    /// Whom it is about.
    pub fn name(&self) -> &str {
        match self {
            Step::Add(user) | Step::Replace(_, user) => &user.name,
            Step::Same(account) => &account.name,
        }
    }
}

/// The account of this name, if somebody can log in by it.
///
/// # Errors
/// Says why nobody can.
pub fn check_name(name: &str) -> Result<identity::Account, String> {
    let too_long = |length| format!("the name has {length} bytes; nobody can log in with more than {MAX_TYPED}");
    match identity::Account::parse(name) {
        Err(NotAnAccount::Empty) => {
            Err("a user needs a name; who logs in with none is anonymous, and that is users: {\"\": {}}".to_owned())
        }
        Err(wrong @ NotAnAccount::ControlCharacter) => Err(wrong.to_string()),
        _ if name.contains(':') => {
            Err("a name cannot contain a colon: nobody could log in with it (RFC 7617)".to_owned())
        }
        Err(NotAnAccount::TooLong(length)) => Err(too_long(length)),
        Ok(account) if is_robots(&account) => Err(ROBOTS_NAME.to_owned()),
        Ok(account) if !account.is_typed() => Err(too_long(account.len())),
        Ok(account) => Ok(account),
    }
}

impl Accounts {
    /// The users that the section names; nothing is connected yet.
    pub fn open(settings: &MongoAuthSettings) -> Accounts {
        let shelf = Shelf::collection(&settings.collection);
        Accounts { shelf, label_values: settings.label_values, single: Single::IsAList }
    }

    /// The users of the records.
    pub fn in_records(store: &Settings, label_values: LabelSyntax) -> Accounts {
        Accounts { shelf: Shelf::records(store, What::Users), label_values, single: Single::IsAList }
    }

    /// The users of docker_auth's SQL table.
    pub fn in_table(database: &sql::Settings, label_values: LabelSyntax) -> Accounts {
        Accounts { shelf: Shelf::table(database, What::Users), label_values, single: Single::IsWrong }
    }

    /// Where they are, for messages.
    pub fn namespace(&self) -> String {
        self.shelf.namespace()
    }

    /// What the values of labels are there.
    pub fn label_values(&self) -> LabelSyntax {
        self.label_values
    }

    /// All users, by name.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn list(&self) -> Result<Vec<Account>, NotChanged> {
        let documents = self.shelf.find(doc! {}, doc! {}).await?;
        let mut accounts: Vec<Account> = documents.into_iter().map(|document| self.read(document)).collect();
        accounts.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(accounts)
    }

    /// The user with this very name.
    ///
    /// # Errors
    /// It cannot be read, or there are two.
    pub async fn find(&self, name: &str) -> Result<Option<Account>, NotChanged> {
        if name.is_empty() || name.contains('\0') {
            return Ok(None);
        }
        let mut documents = self.with_name(name).await?;
        let (one, other) = (documents.pop(), documents.pop());
        match (one, other) {
            (Some(one), Some(other)) => not_changed(format!(
                "two documents of {} have this username: {} and {}; remove one, then run: dockwarden migrate",
                self.namespace(),
                name_of(&one),
                name_of(&other)
            )),
            (one, _) => Ok(one.map(|document| self.read(document))),
        }
    }

    async fn with_name(&self, name: &str) -> Result<Vec<Document>, NotChanged> {
        // Typed as a text: a name that looks like an operator is a name.
        let name = Bson::String(name.to_owned());
        let mut documents = self.shelf.find(doc! { "username": &name }, doc! {}).await?;
        // A collection that compares without regard to case.
        documents.retain(|document| document.get("username") == Some(&name));
        Ok(documents)
    }

    /// The user with this very name, who must be there.
    ///
    /// # Errors
    /// As [`Accounts::find`], or there is none.
    pub async fn get(&self, name: &str) -> Result<Account, NotChanged> {
        match self.find(name).await? {
            Some(account) => Ok(account),
            None => not_changed(format!("there is no user \"{}\" in {}", name.escape_debug(), self.namespace())),
        }
    }

    /// Whether a name is free.
    ///
    /// # Errors
    /// It cannot be used, or is taken.
    pub async fn check_free(&self, name: &str) -> Result<(), NotChanged> {
        check_name(name).map_err(NotChanged::Refused)?;
        match self.with_name(name).await?.is_empty() {
            true => Ok(()),
            false => self.taken(name),
        }
    }

    /// Whether a user can be in this state there.
    ///
    /// # Errors
    /// It cannot: the table has no column for that.
    pub fn check_standing(&self, standing: Standing) -> Result<(), NotChanged> {
        self.shelf.check(&keys_of(standing))
    }

    /// Adds a user and gives it back as it is now.
    ///
    /// # Errors
    /// Why there is no such user now.
    pub async fn add(&self, user: &NewUser) -> Result<Account, NotChanged> {
        let name = user.name.as_str();
        self.check_free(name).await?;
        let mut document = doc! { "_id": ObjectId::new(), "username": name };
        document.extend(user.keys());
        self.shelf.check(&document)?;
        self.usable(&document, &[])?;
        if self.shelf.insert(&document).await? == Write::Conflict {
            return self.taken(name);
        }
        // Without a unique index two can be added at once, and then neither could log in.
        if self.with_name(name).await?.len() > 1 {
            self.shelf.delete(&unchanged(&document, KEYS)).await?;
            return self.taken(name);
        }
        Ok(self.read(document))
    }

    /// What bringing these users in changes, in their order.
    ///
    /// # Errors
    /// They cannot be brought in, all of the reasons at once: some are there and say something else, or nobody could log in
    /// as they are.
    pub async fn plan(&self, users: &[NewUser], existing: Existing) -> Result<Vec<Step>, NotChanged> {
        let mut there: BTreeMap<String, Vec<Account>> = BTreeMap::new();
        for account in self.list().await? {
            there.entry(account.name.clone()).or_default().push(account);
        }
        let (mut steps, mut wrong) = (Vec::new(), Vec::new());
        let mut taken: Vec<&str> = Vec::new();
        for user in users {
            let found = there.get(user.name.as_str()).map(Vec::as_slice).unwrap_or_default();
            if let Err(refused) = self.shelf.check(&user.keys()).and_then(|()| self.usable(&user.keys(), &[])) {
                wrong.push(format!("\"{}\": {refused}", user.name));
            }
            match (found, existing) {
                ([], _) => steps.push(Step::Add(user.clone())),
                ([account], _) if account.says(user) => steps.push(Step::Same(account.clone())),
                ([account], Existing::Replaced) => steps.push(Step::Replace(Box::new(account.clone()), user.clone())),
                ([_], Existing::Refused) => taken.push(&user.name),
                // It says which two, and what to do.
                ([_, _, ..], _) => wrong.extend(self.find(&user.name).await.err().map(|refused| refused.to_string())),
            }
        }
        if !taken.is_empty() {
            let number = taken.len();
            let names: Vec<String> =
                taken.iter().take(MOST_NAMED).map(|name| name.escape_debug().to_string()).collect();
            let more = if number > MOST_NAMED { ", …" } else { "" };
            let are = if number == 1 { "is" } else { "are" };
            wrong.push(format!(
                "{number} of these users {are} in {} already, with another password, labels or state: {}{more}; nothing was \
                 changed: write --replace to put these in their place",
                self.namespace(),
                names.join(", ")
            ));
        }
        if wrong.is_empty() { Ok(steps) } else { not_changed(wrong.join("\n")) }
    }

    /// A user as it would be, for telling.
    pub fn preview(&self, user: &NewUser) -> Account {
        let mut document = doc! { "username": user.name.as_str() };
        document.extend(user.keys());
        self.read(document)
    }

    /// Does one step of a plan, and gives the user as it is now.
    ///
    /// # Errors
    /// Why this user is as it was.
    pub async fn take(&self, step: &Step) -> Result<Account, NotChanged> {
        match step {
            Step::Add(user) => self.add(user).await,
            Step::Same(account) => Ok(account.clone()),
            Step::Replace(account, user) => {
                let keys = user.keys();
                self.change(account, |document| {
                    for key in KEYS.iter().filter(|key| **key != "username" && !keys.contains_key(key)) {
                        document.remove(key);
                    }
                    document.extend(keys);
                })
                .await
            }
        }
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// Why it was not changed.
    pub async fn set_password(&self, account: &Account, hash: &PasswordHash) -> Result<Account, NotChanged> {
        self.change(account, |document| drop(document.insert("password", hash.text()))).await
    }

    /// Gives a user other labels.
    ///
    /// # Errors
    /// Why they were not changed.
    pub async fn set_labels(
        &self,
        account: &Account,
        labels: &BTreeMap<String, Vec<String>>,
    ) -> Result<Account, NotChanged> {
        self.change(account, |document| drop(document.insert("labels", written(labels)))).await
    }

    /// Switches a user on or off. Off, it cannot log in from now on; tokens that it has live on.
    ///
    /// # Errors
    /// Why it was not changed.
    pub async fn set_state(&self, account: &Account, state: AccountState) -> Result<Account, NotChanged> {
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
    pub async fn remove(&self, account: &Account) -> Result<(), NotChanged> {
        match self.shelf.delete(&unchanged(&account.document, KEYS)).await? {
            Write::Applied => Ok(()),
            Write::Conflict => changed_meanwhile(),
        }
    }

    async fn change(&self, account: &Account, change: impl FnOnce(&mut Document)) -> Result<Account, NotChanged> {
        let mut document = account.document.clone();
        change(&mut document);
        if document == account.document {
            return Ok(account.clone());
        }
        self.shelf.check(&document)?;
        let before = account.usable.as_ref().err().map(Vec::as_slice).unwrap_or_default();
        self.usable(&document, before)?;
        let update = update_to(&account.document, &document, KEYS);
        match self.shelf.update(&unchanged(&account.document, KEYS), &update).await? {
            Write::Applied => Ok(self.read(document)),
            Write::Conflict => changed_meanwhile(),
        }
    }

    /// Whether a document can be used; problems that it had before are no reason not to change something else.
    fn usable(&self, document: &Document, before: &[String]) -> Result<(), NotChanged> {
        let problems = read_user(document, self.label_values, self.single).err().unwrap_or_default();
        let new: Vec<&str> = problems.iter().filter(|one| !before.contains(one)).map(String::as_str).collect();
        match new.as_slice() {
            [] => Ok(()),
            new => not_changed(format!("nobody could log in then; nothing was changed: {}", new.join("; "))),
        }
    }

    fn read(&self, document: Document) -> Account {
        let name = document.get_str("username").map_or_else(|_| name_of(&document), str::to_owned);
        let labels = document.get_document("labels").into_iter().flatten().filter_map(|(label, values)| {
            let values = texts_of(values, self.single).ok()?.into_iter().map(str::to_owned).collect();
            Some((label.clone(), values))
        });
        let labels = labels.collect();
        let usable = read_user(&document, self.label_values, self.single).map(|user| {
            let kind = document.get_str("password").ok().and_then(|hash| hash.get(..4)).unwrap_or_default().to_owned();
            let User { id: _, password, labels: _, standing } = user;
            Usable { standing, kind, cost: password.cost() }
        });
        Account { name, labels, usable, document }
    }

    fn taken<T>(&self, name: &str) -> Result<T, NotChanged> {
        not_changed(format!("there is a user \"{name}\" in {} already", self.namespace()))
    }
}

fn changed_meanwhile<T>() -> Result<T, NotChanged> {
    not_changed("somebody else changed this user at the same time; nothing was changed: look at it, and try again")
}

fn written(labels: &BTreeMap<String, Vec<String>>) -> Document {
    labels.iter().map(|(label, values)| (label.clone(), Bson::from(values.clone()))).collect()
}

impl Account {
    /// Whether it says the same as this user, however it is written.
    fn says(&self, user: &NewUser) -> bool {
        let same_hash = self.document.get_str("password").is_ok_and(|hash| hash == user.hash.text());
        same_hash && self.labels == user.labels && self.standing() == Some(user.standing)
    }

    /// The document's `_id`.
    pub fn id(&self) -> String {
        name_of(&self.document)
    }

    /// Whether and when it may be used; `None` where the document cannot be used at all.
    pub fn standing(&self) -> Option<Standing> {
        self.usable.as_ref().ok().map(|usable| usable.standing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_can_log_in() {
        for name in ["alice", "a.b", "*", "{$ne}", "wal di", "ö", &"x".repeat(255)] {
            assert_eq!(check_name(name).as_deref(), Ok(name));
        }
        for (name, expected) in [
            ("", "needs a name"),
            ("a\0b", "control characters"),
            ("a\nb", "control characters"),
            ("a:b", "colon"),
            ("Robot+ci", "is kept for robots"),
            (&"x".repeat(256), "256 bytes"),
        ] {
            assert!(check_name(name).is_err_and(|message| message.contains(expected)), "{name:?}");
        }
    }
}
