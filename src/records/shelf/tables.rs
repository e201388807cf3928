//! Documents of users and rules in docker_auth's SQL tables, changed under a lock and only as long as what is there is what was
//! read: each change is one transaction, which ends by looking whether the database kept what was written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document as Bsons, doc};

use super::{READING, changed, entry, inserted, is_found, seq_of, updated};
use crate::digest::sha256;
use crate::mongo::document::{of_json, to_json};
use crate::mongo::{self, NotChanged, Write, not_changed};
use crate::sql::xorm::Table;
use crate::sql::{Database, Dialect, Failure, Row, Settings, Step, Value, Written};

/// How long one change may take: an import writes each rule by itself.
const CHANGING: Duration = Duration::from_secs(60);
/// So many characters a name may have where the column is no `TEXT`.
const LONGEST_NAME: usize = 128;
/// What is wrong with a row beyond its document: a list of texts under this key of it.
pub(crate) const WRONG: &str = "_dockwarden_wrong";
/// The keys of a user's document that the table has no column for.
const NO_COLUMN: &[&str] = &["disabled", "not_before", "not_after"];

/// One table of a database.
#[derive(Clone)]
struct Store {
    database: Arc<Database>,
    table: Table,
}

impl Store {
    fn new(settings: &Settings, table: Table) -> Store {
        Store { database: Arc::new(Database::without_breaker(settings.to_change())), table }
    }

    fn dialect(&self) -> Dialect {
        self.database.settings().dialect()
    }

    fn place(&self) -> String {
        self.database.settings().place()
    }

    async fn read(&self, sql: &'static str, args: &[Value]) -> Result<Vec<Row>, mongo::Failure> {
        self.database.read_within(READING, sql, args).await.map_err(|failure| self.unread(failure))
    }

    fn unread(&self, failure: Failure) -> mongo::Failure {
        let advice = advice(&failure);
        let (Failure::Down { place, cause, .. }
        | Failure::Stranger { place, cause }
        | Failure::Slow { place, cause }
        | Failure::Refused { place, cause, .. }
        | Failure::Forbidden { place, cause }) = failure
        else {
            return mongo::Failure::Down { place: self.place(), cause: "it failed a moment ago".to_owned(), advice };
        };
        mongo::Failure::Down { place, cause, advice }
    }

    /// Makes `changes` if `before` still holds, and if `after` does then.
    async fn change(&self, before: Step, changes: Vec<Step>, after: Step) -> Result<Write, NotChanged> {
        let steps: Vec<Step> =
            self.table.lock(self.dialect()).into_iter().chain([before]).chain(changes).chain([after]).collect();
        match self.database.write_within(CHANGING, &steps).await {
            Ok(Written::Applied(_)) => Ok(Write::Applied),
            Ok(Written::Unmet { step }) if step + 1 == steps.len() => not_changed(format!(
                "{} would keep something else than what was to be written; nothing was changed: does the character set of \
                 {} hold all of it, and are its columns those that docker_auth makes?",
                self.place(),
                self.table.name()
            )),
            Ok(Written::Unmet { .. } | Written::Duplicate { .. }) => Ok(Write::Conflict),
            Err(failure) => Err(self.not_written(failure)),
        }
    }

    fn not_written(&self, failure: Failure) -> NotChanged {
        let table = self.table.name();
        match &failure {
            Failure::Down { .. } => NotChanged::Unknown(self.unread(failure)),
            Failure::Forbidden { .. } => NotChanged::Refused(format!(
                "{failure}; nothing was changed: our user may not change {table}. Reading it is enough for the server; for \
                 commands, grant SELECT, INSERT, UPDATE and DELETE on it, or name another user in conn_string"
            )),
            Failure::Stranger { .. } | Failure::Slow { .. } | Failure::Refused { .. } | Failure::Open { .. } => {
                NotChanged::Refused(format!("{failure}; nothing was changed: {}", advice(&failure)))
            }
        }
    }
}

fn advice(failure: &Failure) -> &'static str {
    match failure {
        Failure::Refused { .. } => "is the table there? dockwarden migrate makes it",
        Failure::Forbidden { .. } => "our user may not read this table: grant it SELECT",
        Failure::Down { .. } | Failure::Stranger { .. } | Failure::Slow { .. } | Failure::Open { .. } => {
            failure.advice()
        }
    }
}

/// The users of a table. Of several rows with one name, the newest is the user, as for a login.
pub(crate) struct Users(Store);

/// A question about users, in which MySQL's rows are locked until the transaction ends.
#[derive(Clone, Copy)]
enum About {
    /// Of all: each row.
    All,
    /// Of one name: each row.
    Name,
    /// The same, of which nobody changes anything now.
    NameLocked,
    /// What these rows hold, but for their numbers.
    HeldLocked,
}

fn users(about: About, dialect: Dialect) -> &'static str {
    match (about, dialect) {
        (About::All, Dialect::Sqlite | Dialect::MySql) => {
            "SELECT id, username, password_hash, labels FROM xorm_user ORDER BY id"
        }
        (About::All, Dialect::Postgres) => {
            "SELECT id, username, password_hash, labels::text FROM xorm_user ORDER BY id"
        }
        (About::Name | About::NameLocked, Dialect::Sqlite) => {
            "SELECT id, username, password_hash, labels FROM xorm_user WHERE username = $1"
        }
        (About::Name | About::NameLocked, Dialect::Postgres) => {
            "SELECT id, username, password_hash, labels::text FROM xorm_user WHERE username = $1"
        }
        (About::Name, Dialect::MySql) => {
            "SELECT id, username, password_hash, labels FROM xorm_user WHERE username = $1 COLLATE utf8mb4_bin"
        }
        (About::NameLocked, Dialect::MySql) => {
            "SELECT id, username, password_hash, labels FROM xorm_user WHERE username = $1 COLLATE utf8mb4_bin FOR UPDATE"
        }
        (About::HeldLocked, Dialect::Sqlite) => {
            "SELECT username, password_hash, labels FROM xorm_user WHERE username = $1"
        }
        (About::HeldLocked, Dialect::Postgres) => {
            "SELECT username, password_hash, labels::text FROM xorm_user WHERE username = $1"
        }
        (About::HeldLocked, Dialect::MySql) => {
            "SELECT username, password_hash, labels FROM xorm_user WHERE username = $1 COLLATE utf8mb4_bin FOR UPDATE"
        }
    }
}

impl Users {
    pub(super) fn new(settings: &Settings) -> Users {
        Users(Store::new(settings, Table::Users))
    }

    pub(super) fn place(&self) -> String {
        self.0.place()
    }

    /// Whether the table has columns for all of a document.
    ///
    /// # Errors
    /// What it has none for.
    pub(super) fn check(&self, document: &Bsons) -> Result<(), NotChanged> {
        let is_said = |key: &str| !matches!(document.get(key), None | Some(Bson::Null | Bson::Boolean(false)));
        if let Some(key) = NO_COLUMN.iter().find(|key| is_said(key)) {
            return not_changed(format!(
                "docker_auth's table xorm_user has no column for {key}, so its users cannot have it; nothing was changed: \
                 remove the user, or give it another password"
            ));
        }
        let length = document.get_str("username").map_or(0, |name| name.chars().count());
        match self.0.dialect() {
            Dialect::Postgres | Dialect::MySql if length > LONGEST_NAME => not_changed(format!(
                "the name has {length} characters; docker_auth's table xorm_user holds no more than {LONGEST_NAME}"
            )),
            Dialect::Postgres | Dialect::MySql | Dialect::Sqlite => Ok(()),
        }
    }

    pub(super) async fn find(&self, filter: &Bsons) -> Result<Vec<Bsons>, mongo::Failure> {
        let mut rows = match filter.get_str("username") {
            Ok(name) => self.of_name(name).await?,
            Err(_) => self.0.read(users(About::All, self.0.dialect()), &[]).await?,
        };
        rows.sort();
        let newest: BTreeMap<String, Bsons> =
            rows.iter().map(|row| (row.text(1).unwrap_or_default().to_owned(), user_of(row))).collect();
        Ok(newest.into_values().filter(|document| is_found(document, filter)).collect())
    }

    async fn of_name(&self, name: &str) -> Result<Vec<Row>, mongo::Failure> {
        self.0.read(users(About::Name, self.0.dialect()), &[name.into()]).await
    }

    pub(super) async fn insert(&self, document: &Bsons) -> Result<Write, NotChanged> {
        self.check(document)?;
        let name = document.get_str("username").unwrap_or_default();
        let rows = self.of_name(name).await.map_err(NotChanged::Unread)?;
        if rows.iter().any(|row| row.text(1) == Ok(name)) {
            return Ok(Write::Conflict);
        }
        let sql = match self.0.dialect() {
            Dialect::Sqlite | Dialect::MySql => {
                "INSERT INTO xorm_user (username, password_hash, labels) VALUES ($1, $2, $3)"
            }
            Dialect::Postgres => "INSERT INTO xorm_user (username, password_hash, labels) VALUES ($1, $2, $3::json)",
        };
        let (hash, labels) = columns_of(document);
        let held = vec![name.into(), hash, labels];
        let after = rows.iter().map(held_of).chain([Row::of(held.clone())]).collect();
        self.change(name, rows, vec![Step::one(sql, held)], after).await
    }

    /// Changes or removes the user that `filter` finds. Who is removed is removed with all rows of the name: an older one would
    /// be the user then, with a password of long ago.
    pub(super) async fn change_one(
        &self,
        filter: &Bsons,
        change: impl Fn(&Bsons) -> Option<Bsons>,
    ) -> Result<Write, NotChanged> {
        let Ok(name) = filter.get_document("username").and_then(|name| name.get_str("$eq")) else {
            return Ok(Write::Conflict);
        };
        let rows = self.of_name(name).await.map_err(NotChanged::Unread)?;
        let (own, others): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.text(1) == Ok(name));
        let Some(newest) = own.iter().max().copied() else { return Ok(Write::Conflict) };
        let before = user_of(newest);
        if !is_found(&before, filter) {
            return Ok(Write::Conflict);
        }
        let Some(document) = change(&before) else {
            let remove = |row: &&Row| Step::one("DELETE FROM xorm_user WHERE id = $1", vec![row.value(0)]);
            let (steps, after) = (own.iter().map(remove).collect(), others.iter().map(|row| held_of(row)).collect());
            return self.change(name, rows.clone(), steps, after).await;
        };
        self.check(&document)?;
        let sql = match self.0.dialect() {
            Dialect::Sqlite | Dialect::MySql => "UPDATE xorm_user SET password_hash = $2, labels = $3 WHERE id = $1",
            Dialect::Postgres => "UPDATE xorm_user SET password_hash = $2, labels = $3::json WHERE id = $1",
        };
        let (hash, mut labels) = columns_of(&document);
        if document.get("labels") == before.get("labels") {
            labels = newest.value(3);
        }
        let after = rows.iter().map(|row| match row == newest {
            true => Row::of([name.into(), hash.clone(), labels.clone()]),
            false => held_of(row),
        });
        let after = after.collect();
        self.change(name, rows.clone(), vec![Step::one(sql, vec![newest.value(0), hash, labels])], after).await
    }

    async fn change(&self, name: &str, rows: Vec<Row>, steps: Vec<Step>, after: Vec<Row>) -> Result<Write, NotChanged> {
        let dialect = self.0.dialect();
        let before = Step::finds(users(About::NameLocked, dialect), vec![name.into()], rows);
        let after = Step::finds(users(About::HeldLocked, dialect), vec![name.into()], after);
        self.0.change(before, steps, after).await
    }
}

/// A row without its number.
fn held_of(row: &Row) -> Row {
    Row::of([row.value(1), row.value(2), row.value(3)])
}

/// A user's document. Labels that are no JSON object stay the text that they are, which is none of a document's.
fn user_of(row: &Row) -> Bsons {
    let mut document = doc! { "username": row.text(1).unwrap_or_default() };
    if let Ok(id) = row.integer(0) {
        document.insert("_id", id);
    }
    if let Ok(hash) = row.text(2) {
        document.insert("password", hash);
    }
    match row.optional_text(3) {
        Ok(None | Some("")) => {}
        Ok(Some(text)) if text.trim() == "null" => {}
        Ok(Some(text)) => {
            document.insert("labels", of_json(text).map_or_else(|| Bson::String(text.to_owned()), Bson::Document));
        }
        Err(_) => drop(document.insert("labels", "")),
    }
    document
}

/// The columns `password_hash` and `labels` of a user's document.
fn columns_of(document: &Bsons) -> (Value, Value) {
    let labels = match document.get("labels") {
        None | Some(Bson::Null) => Value::Null,
        Some(Bson::Document(labels)) if labels.is_empty() => Value::Null,
        Some(Bson::String(text)) => text.as_str().into(),
        Some(labels) => to_json(labels).to_string().into(),
    };
    (document.get_str("password").unwrap_or_default().into(), labels)
}

/// The rules of a table.
pub(crate) struct Rules(Store);

/// All rules as they were read, and as they are to be: changed in memory, and then written at once.
pub(crate) struct Draft {
    store: Store,
    /// Each row with its document.
    read: Vec<(Row, Bsons)>,
    documents: Mutex<Vec<Bsons>>,
}

fn all_rules(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite | Dialect::MySql => "SELECT seq, acl_entry FROM xorm_acl_entry",
        Dialect::Postgres => "SELECT seq, acl_entry::text FROM xorm_acl_entry",
    }
}

fn all_rules_locked(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::MySql => "SELECT seq, acl_entry FROM xorm_acl_entry FOR UPDATE",
        Dialect::Sqlite | Dialect::Postgres => all_rules(dialect),
    }
}

/// Removes one row of this number and entry: there may be several that are the same, and none has a key.
fn remove_rule(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "DELETE FROM xorm_acl_entry WHERE rowid = \
             (SELECT rowid FROM xorm_acl_entry WHERE seq IS $1 AND acl_entry IS $2 LIMIT 1)"
        }
        Dialect::Postgres => {
            "DELETE FROM xorm_acl_entry WHERE ctid = (SELECT ctid FROM xorm_acl_entry \
             WHERE seq IS NOT DISTINCT FROM $1 AND acl_entry::text IS NOT DISTINCT FROM $2 LIMIT 1)"
        }
        Dialect::MySql => {
            "DELETE FROM xorm_acl_entry WHERE seq <=> $1 \
             AND CONVERT(acl_entry USING utf8mb4) COLLATE utf8mb4_bin <=> $2 LIMIT 1"
        }
    }
}

fn insert_rule(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite | Dialect::MySql => "INSERT INTO xorm_acl_entry (seq, acl_entry) VALUES ($1, $2)",
        Dialect::Postgres => "INSERT INTO xorm_acl_entry (seq, acl_entry) VALUES ($1, $2::json)",
    }
}

impl Rules {
    pub(super) fn new(settings: &Settings) -> Rules {
        Rules(Store::new(settings, Table::Rules))
    }

    pub(super) fn place(&self) -> String {
        self.0.place()
    }

    /// One write by itself.
    pub(super) async fn alone(&self, write: impl Fn(&Draft) -> Write) -> Result<Write, NotChanged> {
        let draft = self.draft().await?;
        match write(&draft) {
            Write::Applied => draft.commit().await,
            Write::Conflict => Ok(Write::Conflict),
        }
    }

    /// All rules as they are at this moment.
    pub(super) async fn draft(&self) -> Result<Draft, mongo::Failure> {
        let mut rows = self.0.read(all_rules(self.0.dialect()), &[]).await?;
        rows.sort();
        let mut same: BTreeMap<String, usize> = BTreeMap::new();
        let read = rows.into_iter().map(|row| {
            let (mut id, mut document) = rule_of(&row);
            let count = same.entry(id.clone()).or_default();
            *count = count.saturating_add(1);
            if *count > 1 {
                id.push_str(&format!("-{count}"));
            }
            document.insert("_id", id);
            (row, document)
        });
        let read: Vec<(Row, Bsons)> = read.collect();
        let documents = read.iter().map(|(_, document)| document.clone()).collect();
        Ok(Draft { store: self.0.clone(), read, documents: Mutex::new(documents) })
    }
}

/// A rule's document, and what becomes its `_id`: made from the entry, so that the rule has the same wherever it is moved.
fn rule_of(row: &Row) -> (String, Bsons) {
    let digest = sha256([format!("{:?}", row.optional_text(1))]);
    // With a letter at the beginning, so that none is taken for a number.
    let id = digest.iter().take(6).fold("r".to_owned(), |id, byte| format!("{id}{byte:02x}"));
    let text = row.optional_text(1).map_err(|_| "acl_entry: a text is expected here".to_owned());
    let (mut document, mut wrong) = text.and_then(entry::read).unwrap_or_else(|problem| (Bsons::new(), vec![problem]));
    match row.optional_integer(0) {
        Ok(Some(seq)) => drop(document.insert("seq", i32::try_from(seq).map_or(Bson::Int64(seq), Bson::Int32))),
        Ok(None) => {}
        Err(_) => wrong.push("seq: a whole number is expected here".to_owned()),
    }
    if !wrong.is_empty() {
        document.insert(WRONG, wrong);
    }
    (id, document)
}

impl Draft {
    pub(super) fn place(&self) -> String {
        self.store.place()
    }

    pub(super) fn find(&self, filter: &Bsons) -> Vec<Bsons> {
        self.with(|documents| documents.iter().filter(|document| is_found(document, filter)).cloned().collect())
    }

    pub(super) fn insert(&self, document: &Bsons) -> Write {
        let mut document = document.clone();
        if !document.contains_key("_id") {
            document.insert("_id", ObjectId::new());
        }
        self.put(|documents| inserted(documents, &document))
    }

    pub(super) fn update(&self, filter: &Bsons, change: &Bsons) -> Write {
        self.change_one(filter, |document| {
            let mut after = updated(document, change);
            // What is written now is written as it should be.
            after.remove(WRONG);
            Some(after)
        })
    }

    pub(super) fn change_one(&self, filter: &Bsons, change: impl Fn(&Bsons) -> Option<Bsons>) -> Write {
        self.put(|documents| changed(documents, filter, change))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<Bsons>) -> T) -> T {
        work(&mut self.documents.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, change: impl FnOnce(&[Bsons]) -> Option<Vec<Bsons>>) -> Write {
        self.with(|documents| match change(documents) {
            Some(after) => {
                *documents = after;
                Write::Applied
            }
            None => Write::Conflict,
        })
    }

    /// Writes what was changed, all of it or nothing. A conflict is that the rules are not what was read any more.
    pub(super) async fn commit(&self) -> Result<Write, NotChanged> {
        let documents = self.with(|documents| documents.clone());
        let id = |document: &Bsons| document.get_str("_id").map(str::to_owned).unwrap_or_default();
        let read: BTreeMap<String, &(Row, Bsons)> = self.read.iter().map(|both| (id(&both.1), both)).collect();
        let mut gone: BTreeMap<String, &Row> = self.read.iter().map(|(row, document)| (id(document), row)).collect();
        let (mut after, mut new) = (Vec::with_capacity(documents.len()), Vec::new());
        for document in &documents {
            let before = read.get(&id(document)).copied();
            if let Some((row, before)) = before
                && before == document
            {
                gone.remove(&id(document));
                after.push(row.clone());
                continue;
            }
            let is_same = |before: &Bsons| entry::KEYS.iter().all(|key| before.get(key) == document.get(key));
            // A rule that was only moved is written as it was, in whatever words.
            let moved = before.filter(|(_, before)| !before.contains_key(WRONG) && is_same(before));
            let text = moved.map_or_else(|| entry::write(document).into(), |(row, _)| row.value(1));
            let row = Row::of([seq_of(document).into(), text]);
            after.push(row.clone());
            new.push(row);
        }
        if new.is_empty() && gone.is_empty() {
            return Ok(Write::Applied);
        }
        let dialect = self.store.dialect();
        let args = |row: &Row| vec![row.value(0), row.value(1)];
        let gone = gone.values().map(|row| Step::one(remove_rule(dialect), args(row)));
        let steps = gone.chain(new.iter().map(|row| Step::one(insert_rule(dialect), args(row)))).collect();
        let before = self.read.iter().map(|(row, _)| row.clone()).collect();
        let before = Step::finds(all_rules_locked(dialect), Vec::new(), before);
        let after = Step::finds(all_rules_locked(dialect), Vec::new(), after);
        self.store.change(before, steps, after).await
    }
}
