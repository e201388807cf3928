//! The table of people who signed in at a provider, in both dialects.

pub(super) const POSTGRES: &[&str] = &["CREATE TABLE IF NOT EXISTS dockwarden_persons (
       id TEXT COLLATE \"C\" PRIMARY KEY, account TEXT COLLATE \"C\" NOT NULL UNIQUE, version BIGINT NOT NULL, document TEXT NOT NULL)"];

pub(super) const SQLITE: &[&str] = &["CREATE TABLE IF NOT EXISTS dockwarden_persons (
       id TEXT NOT NULL PRIMARY KEY, account TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, document TEXT NOT NULL) STRICT"];
