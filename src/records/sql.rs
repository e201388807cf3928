//! Records in SQLite and PostgreSQL: each change is one transaction, and each use of a secret one question.

pub(super) mod catalogue;
mod devices;
pub(super) mod directory;
pub(super) mod logins;
mod people;
pub(super) mod persons;
mod rows;
mod rule_uses;
mod secrets;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::lock::{Holding, Lock, NotTaken};
use super::{Changed, Failure, schema};
use crate::breaker::Passage;
use crate::records;
use crate::sql::{self, Database, Dialect, Outage, Row, Server, Settings, Step, Value, Written};

pub(super) use rows::{SECRETS, insert_robot, insert_secret, named_document, raise_everybody, robot_row, secret_row};

/// How long work may take that nobody waits for, such as a backup.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the log is told of an outage, as whoever keeps something here.
fn outage(section: &'static str) -> Outage {
    Outage {
        backend: section,
        trial: "SELECT version FROM dockwarden_records WHERE name = 'schema'",
        down: records::DOWN,
        back: records::BACK,
    }
}

/// Records in a database of SQL.
pub(super) struct SqlRecords {
    database: Database,
    holding: Holding,
    /// Of a file of SQLite.
    lock: OnceLock<Lock>,
    /// Whether the schema was looked at.
    is_known: AtomicBool,
}

impl From<sql::Failure> for Failure {
    fn from(failure: sql::Failure) -> Failure {
        Failure::Away { cause: format!("{failure}; {}", failure.advice()) }
    }
}

impl From<sql::Mistyped> for Failure {
    fn from(mistyped: sql::Mistyped) -> Failure {
        Failure::Unusable { cause: format!("a row is not as this program writes it: {mistyped}") }
    }
}

impl SqlRecords {
    /// The records of a database; nothing is connected, and no file made yet.
    pub(super) fn new(settings: Settings, section: &'static str, holding: Holding) -> SqlRecords {
        SqlRecords {
            database: Database::new(settings, outage(section)),
            holding,
            lock: OnceLock::new(),
            is_known: AtomicBool::new(false),
        }
    }

    pub(super) fn passage(&self) -> Passage {
        self.database.passage()
    }

    pub(super) fn settings(&self) -> &Settings {
        self.database.settings()
    }

    /// The file, of SQLite.
    pub(super) fn file(&self) -> Option<&Path> {
        match &self.settings().server {
            Server::Sqlite(file) => Some(file.path()),
            Server::Postgres(_) | Server::MySql(_) => None,
        }
    }

    /// Sees to it that the tables are there: those of SQLite are made and raised, those of a server are for
    /// `dockwarden migrate`.
    pub(super) async fn prepare(&self) -> Result<(), Failure> {
        if self.is_known.load(Ordering::Relaxed) {
            return Ok(());
        }
        let unmade = self.lock()?;
        // Where the folder is away, the database says so, and is tried until it is back.
        let version = self.version().await?;
        if let Some(failure) = unmade {
            return Err(failure);
        }
        match (self.settings().dialect(), version) {
            (Dialect::Sqlite, None) => self.migrate().await?,
            (Dialect::Sqlite, Some(version)) if version < schema::VERSION => self.migrate().await?,
            (Dialect::Sqlite | Dialect::Postgres | Dialect::MySql, version) => {
                records::check_schema(version, &self.settings().place())?;
            }
        }
        self.is_known.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the lock of a file, once; why its own file could not be made, if that is so.
    fn lock(&self) -> Result<Option<Failure>, Failure> {
        let Some(file) = self.file().filter(|_| self.lock.get().is_none()) else { return Ok(None) };
        match Lock::take(file, self.holding) {
            // Another who asks at the same time may have taken it meanwhile; then this one is let go of.
            Ok(Some(lock)) => drop(self.lock.set(lock)),
            Ok(None) => {}
            Err(NotTaken::Unmade(failure)) => return Ok(Some(failure)),
            Err(NotTaken::InUse(failure)) => return Err(failure),
        }
        Ok(None)
    }

    /// The version of the tables that are there.
    pub(super) async fn version(&self) -> Result<Option<i64>, Failure> {
        if self.database.read(schema::is_there(self.settings().dialect()), &[]).await?.is_empty() {
            return Ok(None);
        }
        let rows = self.database.read("SELECT version FROM dockwarden_records WHERE name = 'schema'", &[]).await?;
        Ok(rows.first().map(|row| row.integer(0)).transpose()?)
    }

    /// Makes the tables, in one transaction.
    pub(super) async fn migrate(&self) -> Result<(), Failure> {
        self.database.write_within(PATIENCE, &schema::steps(self.settings().dialect())).await?;
        Ok(())
    }

    async fn read(&self, sql: &'static str, args: &[Value]) -> Result<Vec<Row>, Failure> {
        self.prepare().await?;
        Ok(self.database.read(sql, args).await?)
    }

    async fn write(&self, steps: &[Step]) -> Result<Written, Failure> {
        self.prepare().await?;
        Ok(self.database.write(steps).await?)
    }

    /// Makes changes of which the first has to find its record; `is_there` says whether there is one at all, by the same
    /// first argument.
    async fn change(&self, steps: &[Step], is_there: &'static str, id: Value) -> Result<Changed, Failure> {
        match self.write(steps).await? {
            Written::Applied(_) => Ok(Changed::Done),
            Written::Duplicate { .. } => Ok(Changed::Conflict),
            Written::Unmet { .. } => {
                let found = self.read(is_there, &[id]).await?;
                Ok(if found.is_empty() { Changed::Missing } else { Changed::Conflict })
            }
        }
    }

    async fn make(&self, step: Step) -> Result<Changed, Failure> {
        Ok(match self.write(&[step]).await? {
            Written::Applied(_) => Changed::Done,
            Written::Duplicate { .. } | Written::Unmet { .. } => Changed::Conflict,
        })
    }

    /// Rows behind one; for a backup.
    pub(super) async fn page(&self, sql: &'static str, after: &str, count: i64) -> Result<Vec<Row>, Failure> {
        self.prepare().await?;
        Ok(self.database.read_within(PATIENCE, sql, &[after.into(), count.into()]).await?)
    }

    /// All rows of a question without arguments; for a backup.
    pub(super) async fn all(&self, sql: &'static str) -> Result<Vec<Row>, Failure> {
        self.prepare().await?;
        Ok(self.database.read_within(PATIENCE, sql, &[]).await?)
    }

    /// The epoch of each owner, and of everybody.
    pub(super) async fn epochs(&self) -> Result<BTreeMap<String, i64>, Failure> {
        self.prepare().await?;
        let rows = self.database.read_within(PATIENCE, "SELECT owner, epoch FROM dockwarden_epochs", &[]).await?;
        rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.integer(1)?))).collect()
    }

    /// Makes all steps or none, however long that takes; for restoring a backup.
    pub(super) async fn put(&self, steps: &[Step]) -> Result<(), Failure> {
        self.prepare().await?;
        match self.database.write_within(PATIENCE, steps).await? {
            Written::Applied(_) => Ok(()),
            Written::Unmet { step } | Written::Duplicate { step } => {
                Err(Failure::Unusable { cause: format!("step {step} of restoring could not be made") })
            }
        }
    }

    /// Writes a copy of the database into a file that is empty.
    pub(super) async fn copy_into(&self, file: &Path) -> Result<(), Failure> {
        self.prepare().await?;
        let Some(name) = file.to_str() else {
            return Err(Failure::Unusable { cause: "the backup's name must be UTF-8".to_owned() });
        };
        self.database.read_within(PATIENCE, "VACUUM INTO $1", &[name.into()]).await?;
        Ok(())
    }
}
