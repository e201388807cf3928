//! The table of when users last logged in, in both dialects.

pub(super) const POSTGRES: &[&str] = &["CREATE TABLE IF NOT EXISTS dockwarden_logins (
       account TEXT COLLATE \"C\" PRIMARY KEY, last BIGINT NOT NULL)"];

pub(super) const SQLITE: &[&str] = &["CREATE TABLE IF NOT EXISTS dockwarden_logins (
       account TEXT NOT NULL PRIMARY KEY, last INTEGER NOT NULL) STRICT, WITHOUT ROWID"];
