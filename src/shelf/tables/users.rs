//! Users in docker_auth's table `xorm_user`.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document as Bsons, doc};

use super::super::is_found;
use super::Store;
use crate::mongo::document::{of_json, to_json};
use crate::mongo::{self, NotChanged, Write, not_changed};
use crate::sql::xorm::Table;
use crate::sql::{Dialect, Row, Settings, Step, Value};

/// So many characters a name may have where the column is no `TEXT`.
const LONGEST_NAME: usize = 128;
/// The keys of a user's document that the table has no column for.
const NO_COLUMN: &[&str] = &["disabled", "not_before", "not_after"];

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
    pub(in crate::shelf) fn new(settings: &Settings) -> Users {
        Users(Store::new(settings, Table::Users))
    }

    pub(in crate::shelf) fn place(&self) -> String {
        self.0.place()
    }

    /// Whether the table has columns for all of a document.
    ///
    /// # Errors
    /// What it has none for.
    pub(in crate::shelf) fn check(&self, document: &Bsons) -> Result<(), NotChanged> {
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

    pub(in crate::shelf) async fn find(&self, filter: &Bsons) -> Result<Vec<Bsons>, mongo::Failure> {
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

    pub(in crate::shelf) async fn insert(&self, document: &Bsons) -> Result<Write, NotChanged> {
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
    pub(in crate::shelf) async fn change_one(
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
