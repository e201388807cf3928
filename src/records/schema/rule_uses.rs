//! The table of how often rules decided, in both dialects.

pub(super) const POSTGRES: &[&str] = &["CREATE TABLE IF NOT EXISTS dockwarden_rule_uses (
       rule TEXT COLLATE \"C\" NOT NULL, day BIGINT NOT NULL, uses BIGINT NOT NULL, PRIMARY KEY (rule, day))"];

pub(super) const SQLITE: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS dockwarden_rule_uses (
       rule TEXT NOT NULL, day INTEGER NOT NULL, uses INTEGER NOT NULL, PRIMARY KEY (rule, day)) STRICT, WITHOUT ROWID",
];
