//! Rules in docker_auth's table `xorm_acl_entry`: they have no key, so all are read, changed in memory and written at once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document as Bsons};

use super::super::{changed, entry, inserted, is_found, seq_of, updated};
use super::{Store, WRONG};
use crate::digest::sha256;
use crate::mongo::{self, NotChanged, Write};
use crate::sql::xorm::Table;
use crate::sql::{Dialect, Row, Settings, Step};

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
    pub(in crate::shelf) fn new(settings: &Settings) -> Rules {
        Rules(Store::new(settings, Table::Rules))
    }

    pub(in crate::shelf) fn place(&self) -> String {
        self.0.place()
    }

    /// One write by itself.
    pub(in crate::shelf) async fn alone(&self, write: impl Fn(&Draft) -> Write) -> Result<Write, NotChanged> {
        let draft = self.draft().await?;
        match write(&draft) {
            Write::Applied => draft.commit().await,
            Write::Conflict => Ok(Write::Conflict),
        }
    }

    /// All rules as they are at this moment.
    pub(in crate::shelf) async fn draft(&self) -> Result<Draft, mongo::Failure> {
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
    pub(in crate::shelf) fn place(&self) -> String {
        self.store.place()
    }

    pub(in crate::shelf) fn find(&self, filter: &Bsons) -> Vec<Bsons> {
        self.with(|documents| documents.iter().filter(|document| is_found(document, filter)).cloned().collect())
    }

    pub(in crate::shelf) fn insert(&self, document: &Bsons) -> Write {
        let mut document = document.clone();
        if !document.contains_key("_id") {
            document.insert("_id", ObjectId::new());
        }
        self.put(|documents| inserted(documents, &document))
    }

    pub(in crate::shelf) fn update(&self, filter: &Bsons, change: &Bsons) -> Write {
        self.change_one(filter, |document| {
            let mut after = updated(document, change);
            // What is written now is written as it should be.
            after.remove(WRONG);
            Some(after)
        })
    }

    pub(in crate::shelf) fn change_one(&self, filter: &Bsons, change: impl Fn(&Bsons) -> Option<Bsons>) -> Write {
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
    pub(in crate::shelf) async fn commit(&self) -> Result<Write, NotChanged> {
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
