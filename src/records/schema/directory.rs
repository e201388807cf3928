//! The table of the directory's entries, in both dialects.

pub(super) const POSTGRES: &[&str] = &["CREATE TABLE IF NOT EXISTS dockwarden_directory (
       place TEXT COLLATE \"C\" PRIMARY KEY, claim TEXT NOT NULL UNIQUE, version BIGINT NOT NULL, document TEXT NOT NULL)"];

pub(super) const SQLITE: &[&str] = &["CREATE TABLE IF NOT EXISTS dockwarden_directory (
       place TEXT NOT NULL PRIMARY KEY, claim TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, document TEXT NOT NULL) STRICT"];
