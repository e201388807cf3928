//! The tables of the records in SQL, one version after the other.

mod catalogue;
mod devices;
mod directory;
mod logins;
mod persons;
mod rule_uses;

use crate::sql::{Dialect, Step};

/// The version that this program makes, and the newest that it knows.
pub(super) const VERSION: i64 = 4;

/// `COLLATE "C"` compares bytes, as SQLite does by itself; another order would make pages of lists overlap.
const POSTGRES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS dockwarden_records (name TEXT PRIMARY KEY, version BIGINT NOT NULL, document TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS dockwarden_secrets (
       id TEXT COLLATE \"C\" PRIMARY KEY, hash TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, owner TEXT NOT NULL, robot TEXT,
       living TEXT NOT NULL UNIQUE, place TEXT NOT NULL UNIQUE, epoch BIGINT NOT NULL, made BIGINT NOT NULL, ends BIGINT,
       idle BIGINT, over BIGINT, used BIGINT, used_from TEXT, used_by TEXT, revoked BIGINT, version BIGINT NOT NULL,
       document TEXT NOT NULL, evicted_for TEXT)",
    "CREATE INDEX IF NOT EXISTS dockwarden_secrets_of ON dockwarden_secrets (owner, id)",
    "CREATE TABLE IF NOT EXISTS dockwarden_epochs (owner TEXT COLLATE \"C\" PRIMARY KEY, epoch BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS dockwarden_robots (
       name TEXT COLLATE \"C\" PRIMARY KEY, labels TEXT NOT NULL, disabled BIGINT NOT NULL, made BIGINT NOT NULL,
       version BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS dockwarden_seen (hash TEXT COLLATE \"C\" PRIMARY KEY, ends BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS dockwarden_seen_ends ON dockwarden_seen (ends)",
    "CREATE TABLE IF NOT EXISTS dockwarden_users (
       name TEXT COLLATE \"C\" PRIMARY KEY, version BIGINT NOT NULL, document TEXT NOT NULL)",
];

const SQLITE: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS dockwarden_records (
       name TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, document TEXT NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS dockwarden_secrets (
       id TEXT NOT NULL PRIMARY KEY, hash TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, owner TEXT NOT NULL, robot TEXT,
       living TEXT NOT NULL UNIQUE, place TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL, made INTEGER NOT NULL, ends INTEGER,
       idle INTEGER, over INTEGER, used INTEGER, used_from TEXT, used_by TEXT, revoked INTEGER, version INTEGER NOT NULL,
       document TEXT NOT NULL, evicted_for TEXT) STRICT",
    "CREATE INDEX IF NOT EXISTS dockwarden_secrets_of ON dockwarden_secrets (owner, id)",
    "CREATE TABLE IF NOT EXISTS dockwarden_epochs (owner TEXT NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS dockwarden_robots (
       name TEXT NOT NULL PRIMARY KEY, labels TEXT NOT NULL, disabled INTEGER NOT NULL, made INTEGER NOT NULL,
       version INTEGER NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS dockwarden_seen (hash TEXT NOT NULL PRIMARY KEY, ends INTEGER NOT NULL) STRICT",
    "CREATE INDEX IF NOT EXISTS dockwarden_seen_ends ON dockwarden_seen (ends)",
    "CREATE TABLE IF NOT EXISTS dockwarden_users (
       name TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL, document TEXT NOT NULL) STRICT",
];

/// The steps that make the tables and note their version.
pub(super) fn steps(dialect: Dialect) -> Vec<Step> {
    let tables = match dialect {
        Dialect::Sqlite => [
            SQLITE,
            catalogue::SQLITE,
            devices::SQLITE,
            directory::SQLITE,
            logins::SQLITE,
            persons::SQLITE,
            rule_uses::SQLITE,
        ],
        Dialect::Postgres | Dialect::MySql => [
            POSTGRES,
            catalogue::POSTGRES,
            devices::POSTGRES,
            directory::POSTGRES,
            logins::POSTGRES,
            persons::POSTGRES,
            rule_uses::POSTGRES,
        ],
    };
    let mut steps: Vec<Step> = tables.into_iter().flatten().map(|sql| Step::any(sql, Vec::new())).collect();
    let note = "INSERT INTO dockwarden_records (name, version, document) VALUES ('schema', $1, $2) ON CONFLICT (name) \
                DO UPDATE SET version = excluded.version, document = excluded.document \
                WHERE dockwarden_records.version < excluded.version";
    let by = concat!("dockwarden ", env!("CARGO_PKG_VERSION"));
    steps.push(Step::any(note, vec![VERSION.into(), by.into()]));
    steps
}

/// A question that finds a row where the table of the schema's version is.
pub(super) fn is_there(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'dockwarden_records'",
        Dialect::Postgres | Dialect::MySql => "SELECT 1 WHERE to_regclass('dockwarden_records') IS NOT NULL",
    }
}
