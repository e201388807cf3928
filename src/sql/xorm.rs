//! docker_auth's two tables: how it makes them on each database, and whether they are there.

use std::time::Duration;

use super::settings::Dialect;
use super::{Database, Failure, Server, Settings, Step};

/// How long making a table may take: others may hold a lock.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// `xorm_user`
    Users,
    /// `xorm_acl_entry`
    Rules,
}

impl Table {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Table::Users => "xorm_user",
            Table::Rules => "xorm_acl_entry",
        }
    }

    fn make(self, dialect: Dialect) -> &'static str {
        match (self, dialect) {
            (Table::Users, Dialect::Sqlite) => {
                "CREATE TABLE IF NOT EXISTS `xorm_user` (`id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, \
                 `username` TEXT NOT NULL, `password_hash` TEXT NOT NULL, `labels` TEXT NULL)"
            }
            (Table::Users, Dialect::Postgres) => {
                "CREATE TABLE IF NOT EXISTS \"xorm_user\" (\"id\" BIGSERIAL PRIMARY KEY NOT NULL, \
                 \"username\" VARCHAR(128) NOT NULL, \"password_hash\" VARCHAR(128) NOT NULL, \"labels\" JSON NULL)"
            }
            (Table::Users, Dialect::MySql) => {
                "CREATE TABLE IF NOT EXISTS `xorm_user` (`id` BIGINT(20) PRIMARY KEY AUTO_INCREMENT NOT NULL, \
                 `username` VARCHAR(128) NOT NULL, `password_hash` VARCHAR(128) NOT NULL, `labels` TEXT NULL)"
            }
            (Table::Rules, Dialect::Sqlite) => {
                "CREATE TABLE IF NOT EXISTS `xorm_acl_entry` (`acl_entry` TEXT NULL, `seq` INTEGER NULL)"
            }
            (Table::Rules, Dialect::Postgres) => {
                "CREATE TABLE IF NOT EXISTS \"xorm_acl_entry\" (\"acl_entry\" JSON NULL, \"seq\" BIGINT NULL)"
            }
            (Table::Rules, Dialect::MySql) => {
                "CREATE TABLE IF NOT EXISTS `xorm_acl_entry` (`acl_entry` TEXT NULL, `seq` BIGINT(20) NULL)"
            }
        }
    }

    /// A question that finds a row where the table of the name `$1` is.
    fn look_for(dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => "SELECT 1 FROM sqlite_master WHERE type IN ('table', 'view') AND name = $1",
            Dialect::Postgres => "SELECT 1 WHERE to_regclass($1) IS NOT NULL",
            Dialect::MySql => {
                "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = $1"
            }
        }
    }

    /// A step that keeps others from changing the table until the transaction ends. SQLite lets in one at a time by itself;
    /// MySQL ends a transaction with each such statement, and its questions lock what they find instead.
    pub(crate) fn lock(self, dialect: Dialect) -> Option<Step> {
        let sql = match (self, dialect) {
            (Table::Users | Table::Rules, Dialect::Sqlite | Dialect::MySql) => return None,
            (Table::Users, Dialect::Postgres) => "LOCK TABLE xorm_user IN SHARE ROW EXCLUSIVE MODE",
            (Table::Rules, Dialect::Postgres) => "LOCK TABLE xorm_acl_entry IN SHARE ROW EXCLUSIVE MODE",
        };
        Some(Step::any(sql, Vec::new()))
    }

    /// Makes the table where it is missing, as docker_auth does; with `dry`, nothing. Whether it is, or would be, made.
    ///
    /// # Errors
    /// The database cannot be asked, or does not let us.
    pub(crate) async fn prepare(self, settings: &Settings, dry: bool) -> Result<bool, Failure> {
        let settings = if dry { settings.clone() } else { settings.to_prepare() };
        if let Server::Sqlite(file) = &settings.server
            && dry
            && !file.path().exists()
        {
            return Ok(true);
        }
        let (dialect, database) = (settings.dialect(), Database::without_breaker(settings));
        let found = database.read_within(PATIENCE, Table::look_for(dialect), &[self.name().into()]).await?;
        if found.is_empty() && !dry {
            database.write_within(PATIENCE, &[Step::any(self.make(dialect), Vec::new())]).await?;
        }
        Ok(found.is_empty())
    }
}
