//! The table of logins that a terminal began, in both dialects.

pub(super) const POSTGRES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS dockwarden_devices (
       id TEXT COLLATE \"C\" PRIMARY KEY, code TEXT COLLATE \"C\" NOT NULL UNIQUE, network TEXT NOT NULL, ends BIGINT NOT NULL,
       version BIGINT NOT NULL, document TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS dockwarden_devices_ends ON dockwarden_devices (ends)",
];

pub(super) const SQLITE: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS dockwarden_devices (
       id TEXT NOT NULL PRIMARY KEY, code TEXT NOT NULL UNIQUE, network TEXT NOT NULL, ends INTEGER NOT NULL,
       version INTEGER NOT NULL, document TEXT NOT NULL) STRICT",
    "CREATE INDEX IF NOT EXISTS dockwarden_devices_ends ON dockwarden_devices (ends)",
];
