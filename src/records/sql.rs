//! Records in SQLite and PostgreSQL: each change is one transaction, and each use of a secret one question.

pub(super) mod catalogue;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::lock::{Holding, Lock, NotTaken};
use super::row::{EVERYBODY, RobotRow, SecretRow, hexadecimal, milliseconds, name_of, owner_key, robot_key};
use super::schema;
use super::{
    Added, Changed, Document, Epoch, Epochs, Failure, Found, Kept, Presented, Robot, RobotName, Robots, Rules,
    SecretHash, SecretId, SecretKind, Secrets, SeenTokens, Use, Users, Version, Whose,
};
use crate::breaker::Passage;
use crate::identity::Account;
use crate::records;
use crate::sql::{self, Database, Dialect, Outage, Row, Server, Settings, Step, Value, Written};

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

/// The columns of a secret, in the order of [`secret_row`].
macro_rules! columns {
    () => {
        "s.id, s.hash, s.kind, s.owner, s.robot, s.living, s.place, s.epoch, s.made, s.ends, s.idle, s.over, s.used, \
         s.used_from, s.used_by, s.revoked, s.version, s.document"
    };
}
/// How many they are.
const COLUMNS: usize = 18;

/// What finds a secret with its owner's epoch and its robot; a condition follows.
macro_rules! found {
    () => {
        concat!(
            "SELECT ",
            columns!(),
            ", COALESCE(e.epoch, 0) + COALESCE(a.epoch, 0), r.name, r.labels, r.disabled, r.made, r.version \
             FROM dockwarden_secrets s LEFT JOIN dockwarden_epochs e ON e.owner = s.owner \
             LEFT JOIN dockwarden_epochs a ON a.owner = '' LEFT JOIN dockwarden_robots r ON r.name = s.robot"
        )
    };
}

/// A page of all secrets, for a backup.
pub(super) const SECRETS: &str =
    concat!("SELECT ", columns!(), " FROM dockwarden_secrets s WHERE s.id > $1 ORDER BY s.id LIMIT $2");

/// What revokes a secret, at the moment `$1`.
macro_rules! revoke {
    () => {
        "UPDATE dockwarden_secrets SET revoked = $1, living = '-/' || id, place = '-/' || id, version = version + 1"
    };
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

    /// The secret that a question by [`found!`] finds.
    async fn found(&self, sql: &'static str, by: Value) -> Result<Option<Found>, Failure> {
        let rows = self.read(sql, &[by]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let robot = match row.optional_text(COLUMNS + 1)? {
            Some(_) => Some(robot_row(row, COLUMNS + 1)?.into_robot()?),
            None => None,
        };
        Ok(Some(Found { secret: secret_row(row)?.into_kept()?, epoch: Epoch(row.integer(COLUMNS)?), robot }))
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

/// Reads the first columns of a row as a secret.
pub(super) fn secret_row(row: &Row) -> Result<SecretRow, Failure> {
    let (number, optional) = (|column| row.integer(column), |column| row.optional_integer(column));
    let words = |column| Ok::<_, sql::Mistyped>(row.optional_text(column)?.map(str::to_owned));
    let text = |column| Ok::<_, sql::Mistyped>(row.text(column)?.to_owned());
    Ok(SecretRow {
        id: text(0)?,
        hash: text(1)?,
        kind: text(2)?,
        owner: text(3)?,
        robot: words(4)?,
        living: text(5)?,
        place: text(6)?,
        epoch: number(7)?,
        made: number(8)?,
        ends: optional(9)?,
        idle: optional(10)?,
        over: optional(11)?,
        used: optional(12)?,
        used_from: words(13)?,
        used_by: words(14)?,
        revoked: optional(15)?,
        version: number(16)?,
        document: text(17)?,
    })
}

/// Reads five columns from one on as a robot.
pub(super) fn robot_row(row: &Row, from: usize) -> Result<RobotRow, Failure> {
    Ok(RobotRow {
        name: row.text(from)?.to_owned(),
        labels: row.text(from + 1)?.to_owned(),
        disabled: row.integer(from + 2)?,
        made: row.integer(from + 3)?,
        version: row.integer(from + 4)?,
    })
}

/// Reads a name, a version and a text.
pub(super) fn named_document(row: &Row) -> Result<(String, Document), Failure> {
    let document = Document { version: Version(row.integer(1)?), text: row.text(2)?.to_owned() };
    Ok((row.text(0)?.to_owned(), document))
}

pub(super) fn insert_secret(row: SecretRow) -> Step {
    Step::any(
        "INSERT INTO dockwarden_secrets (id, hash, kind, owner, robot, living, place, epoch, made, ends, idle, over, used, \
         used_from, used_by, revoked, version, document) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
        vec![
            row.id.into(),
            row.hash.into(),
            row.kind.into(),
            row.owner.into(),
            row.robot.into(),
            row.living.into(),
            row.place.into(),
            row.epoch.into(),
            row.made.into(),
            row.ends.into(),
            row.idle.into(),
            row.over.into(),
            row.used.into(),
            row.used_from.into(),
            row.used_by.into(),
            row.revoked.into(),
            row.version.into(),
            row.document.into(),
        ],
    )
}

pub(super) fn insert_robot(row: RobotRow) -> Step {
    let args = vec![row.name.into(), row.labels.into(), row.disabled.into(), row.made.into(), row.version.into()];
    Step::any("INSERT INTO dockwarden_robots (name, labels, disabled, made, version) VALUES ($1, $2, $3, $4, $5)", args)
}

fn raise_epoch(owner: &str) -> Step {
    let sql = "INSERT INTO dockwarden_epochs (owner, epoch) VALUES ($1, 1) \
               ON CONFLICT (owner) DO UPDATE SET epoch = dockwarden_epochs.epoch + 1";
    Step::any(sql, vec![owner.into()])
}

pub(super) fn raise_everybody(now: i64) -> Step {
    let sql = "INSERT INTO dockwarden_epochs (owner, epoch) VALUES ($1, $2) ON CONFLICT (owner) DO UPDATE SET epoch = \
               CASE WHEN dockwarden_epochs.epoch < excluded.epoch THEN excluded.epoch ELSE dockwarden_epochs.epoch + 1 END";
    Step::any(sql, vec![EVERYBODY.into(), now.into()])
}

#[async_trait]
impl Secrets for SqlRecords {
    async fn find(&self, hash: &SecretHash) -> Result<Option<Found>, Failure> {
        self.found(concat!(found!(), " WHERE s.hash = $1"), hexadecimal(&hash.0).into()).await
    }

    async fn get(&self, id: &SecretId) -> Result<Option<Found>, Failure> {
        self.found(concat!(found!(), " WHERE s.id = $1"), (&*id.0).into()).await
    }

    async fn add(&self, secret: &Kept, most: Option<u32>, now: OffsetDateTime) -> Result<Added, Failure> {
        let (row, at) = (SecretRow::from_kept(secret)?, milliseconds(now));
        let (id, owner, kind) = (row.id.clone(), row.owner.clone(), row.kind.clone());
        let mut steps = Vec::new();
        if most.is_some() {
            // Of two that are added at once, the second counts the first: on PostgreSQL this row is theirs in turn.
            let sql = "INSERT INTO dockwarden_epochs (owner, epoch) VALUES ($1, 0) \
                       ON CONFLICT (owner) DO UPDATE SET epoch = dockwarden_epochs.epoch";
            steps.push(Step::any(sql, vec![owner.as_str().into()]));
        }
        // What ended by itself gives its name and slot away.
        let sql = "UPDATE dockwarden_secrets SET living = '-/' || id WHERE living = $1 AND over <= $2";
        steps.push(Step::any(sql, vec![row.living.as_str().into(), at.into()]));
        let sql = "UPDATE dockwarden_secrets SET place = '-/' || id WHERE place = $1 AND over <= $2";
        steps.push(Step::any(sql, vec![row.place.as_str().into(), at.into()]));
        steps.push(insert_secret(row));
        if let Some(most) = most {
            let sql = concat!(
                revoke!(),
                ", evicted_for = $2 WHERE id IN (SELECT id FROM dockwarden_secrets WHERE owner = $3 AND kind = $4 \
                 AND revoked IS NULL AND (over IS NULL OR over > $1) AND id <> $2 \
                 ORDER BY COALESCE(used, made) DESC, id DESC LIMIT 1000000 OFFSET $5)"
            );
            let room = i64::from(most.saturating_sub(1));
            let args = vec![at.into(), id.as_str().into(), owner.into(), kind.into(), room.into()];
            steps.push(Step::any(sql, args));
        }
        match self.write(&steps).await? {
            Written::Applied(_) if most.is_none() => return Ok(Added::Kept { evicted: Vec::new() }),
            Written::Applied(_) => {}
            Written::Duplicate { .. } | Written::Unmet { .. } => return Ok(Added::Taken),
        }
        let sql =
            "SELECT id FROM dockwarden_secrets WHERE owner = $1 AND evicted_for = $2 ORDER BY COALESCE(used, made), id";
        // The secret is kept, whether or not anybody learns now which others are not any more.
        let rows = self.read(sql, &[owner_key(&secret.owner).into(), id.into()]).await.unwrap_or_default();
        let evicted = rows.iter().map(|row| Ok(SecretId(row.text(0)?.into()))).collect::<Result<_, Failure>>()?;
        Ok(Added::Kept { evicted })
    }

    async fn list(&self, whose: &Whose, after: Option<&SecretId>, count: u32) -> Result<Vec<Kept>, Failure> {
        let after = after.map_or("", |after| &after.0).into();
        let one = concat!(
            "SELECT ",
            columns!(),
            " FROM dockwarden_secrets s WHERE s.id > $1 AND s.owner = $3 ORDER BY s.id LIMIT $2"
        );
        let count = i64::from(count).into();
        let rows = match whose {
            Whose::All => self.read(SECRETS, &[after, count]).await,
            Whose::Account(account) => self.read(one, &[after, count, account.as_str().into()]).await,
            Whose::Robot(name) => self.read(one, &[after, count, robot_key(name).into()]).await,
        };
        rows?.iter().map(|row| secret_row(row)?.into_kept()).collect()
    }

    async fn replace(&self, secret: &Kept, seen: Version) -> Result<Changed, Failure> {
        let row = SecretRow::from_kept(secret)?;
        let sql = "UPDATE dockwarden_secrets SET hash = $3, living = $4, place = $5, epoch = $6, ends = $7, idle = $8, \
                   over = $9, document = $10, made = $11, version = version + 1 WHERE id = $1 AND version = $2 AND revoked IS NULL";
        let id = Value::from(row.id);
        let args = vec![
            id.clone(),
            seen.0.into(),
            row.hash.into(),
            row.living.into(),
            row.place.into(),
            row.epoch.into(),
            row.ends.into(),
            row.idle.into(),
            row.over.into(),
            row.document.into(),
            row.made.into(),
        ];
        self.change(&[Step::one(sql, args)], "SELECT 1 FROM dockwarden_secrets WHERE id = $1", id).await
    }

    async fn revoke(&self, id: &SecretId, now: OffsetDateTime) -> Result<Changed, Failure> {
        let sql = concat!(revoke!(), " WHERE id = $2 AND revoked IS NULL");
        let step = Step::one(sql, vec![milliseconds(now).into(), (&*id.0).into()]);
        self.change(&[step], "SELECT 1 FROM dockwarden_secrets WHERE id = $1", (&*id.0).into()).await
    }

    async fn used(&self, uses: &BTreeMap<SecretId, Use>) -> Result<(), Failure> {
        let sql = "UPDATE dockwarden_secrets SET used = $2, used_from = $3, used_by = $4, over = \
                   CASE WHEN idle IS NULL THEN over WHEN ends IS NULL OR ends > $2 + idle THEN $2 + idle ELSE ends END \
                   WHERE id = $1 AND (used IS NULL OR used < $2)";
        let step = |(id, used): (&SecretId, &Use)| {
            let network = used.network.map(|network| network.to_string());
            let args = vec![(&*id.0).into(), milliseconds(used.at).into(), network.into(), used.client.as_str().into()];
            Step::any(sql, args)
        };
        let steps: Vec<Step> = uses.iter().map(step).collect();
        if !steps.is_empty() {
            self.write(&steps).await?;
        }
        Ok(())
    }

    async fn forget(&self, kind: SecretKind, ended_before: OffsetDateTime) -> Result<u64, Failure> {
        let sql = "DELETE FROM dockwarden_secrets WHERE kind = $2 AND (revoked < $1 OR over < $1)";
        let args = vec![milliseconds(ended_before).into(), name_of(kind).into()];
        match self.write(&[Step::any(sql, args)]).await? {
            Written::Applied(counts) => Ok(counts.into_iter().sum()),
            Written::Unmet { .. } | Written::Duplicate { .. } => Ok(0),
        }
    }
}

#[async_trait]
impl Epochs for SqlRecords {
    async fn epoch(&self, account: &Account) -> Result<Epoch, Failure> {
        let sql =
            "SELECT CAST(COALESCE(SUM(epoch), 0) AS BIGINT) FROM dockwarden_epochs WHERE owner = $1 OR owner = ''";
        let rows = self.read(sql, &[account.as_str().into()]).await?;
        rows.first().map_or(Ok(Epoch(0)), |row| Ok(Epoch(row.integer(0)?)))
    }

    async fn raise(&self, account: &Account, _now: OffsetDateTime) -> Result<Epoch, Failure> {
        self.write(&[raise_epoch(account)]).await?;
        self.epoch(account).await
    }

    async fn raise_all(&self, now: OffsetDateTime) -> Result<(), Failure> {
        self.write(&[raise_everybody(milliseconds(now))]).await.map(|_| ())
    }
}

#[async_trait]
impl Robots for SqlRecords {
    async fn robot(&self, name: &RobotName) -> Result<Option<Robot>, Failure> {
        let sql = "SELECT name, labels, disabled, made, version FROM dockwarden_robots WHERE name = $1";
        let rows = self.read(sql, &[(&*name.0).into()]).await?;
        rows.first().map(|row| robot_row(row, 0)?.into_robot()).transpose()
    }

    async fn robots(&self, after: Option<&RobotName>, count: u32) -> Result<Vec<Robot>, Failure> {
        let sql = "SELECT name, labels, disabled, made, version FROM dockwarden_robots WHERE name > $1 ORDER BY name LIMIT $2";
        let after = after.map_or("", |after| &after.0);
        let rows = self.read(sql, &[after.into(), i64::from(count).into()]).await?;
        rows.iter().map(|row| robot_row(row, 0)?.into_robot()).collect()
    }

    async fn make_robot(&self, robot: &Robot) -> Result<Changed, Failure> {
        self.make(insert_robot(RobotRow::from_robot(robot)?)).await
    }

    async fn replace_robot(&self, robot: &Robot, seen: Version) -> Result<Changed, Failure> {
        let row = RobotRow::from_robot(robot)?;
        let sql = "UPDATE dockwarden_robots SET labels = $3, disabled = $4, version = version + 1 \
                   WHERE name = $1 AND version = $2";
        let name = Value::from(row.name);
        let args = vec![name.clone(), seen.0.into(), row.labels.into(), row.disabled.into()];
        self.change(&[Step::one(sql, args)], "SELECT 1 FROM dockwarden_robots WHERE name = $1", name).await
    }

    async fn remove_robot(&self, name: &RobotName, now: OffsetDateTime) -> Result<Changed, Failure> {
        let id = Value::from(&*name.0);
        let steps = [
            Step::one("DELETE FROM dockwarden_robots WHERE name = $1", vec![id.clone()]),
            Step::any(
                concat!(revoke!(), " WHERE robot = $2 AND revoked IS NULL"),
                vec![milliseconds(now).into(), id.clone()],
            ),
            // A secret that is added at this moment ends with it.
            raise_epoch(&robot_key(name)),
        ];
        self.change(&steps, "SELECT 1 FROM dockwarden_robots WHERE name = $1", id).await
    }
}

#[async_trait]
impl SeenTokens for SqlRecords {
    async fn see(&self, hash: &SecretHash, ends: OffsetDateTime, now: OffsetDateTime) -> Result<Presented, Failure> {
        let steps = [
            Step::any("DELETE FROM dockwarden_seen WHERE ends <= $1", vec![milliseconds(now).into()]),
            Step::one(
                "INSERT INTO dockwarden_seen (hash, ends) VALUES ($1, $2)",
                vec![hexadecimal(&hash.0).into(), milliseconds(ends).into()],
            ),
        ];
        Ok(match self.write(&steps).await? {
            Written::Applied(_) => Presented::First,
            Written::Duplicate { .. } | Written::Unmet { .. } => Presented::Again,
        })
    }
}

#[async_trait]
impl Users for SqlRecords {
    async fn user(&self, name: &Account) -> Result<Option<Document>, Failure> {
        let sql = "SELECT name, version, document FROM dockwarden_users WHERE name = $1";
        let rows = self.read(sql, &[name.as_str().into()]).await?;
        rows.first().map(|row| Ok(named_document(row)?.1)).transpose()
    }

    async fn users(&self, after: Option<&Account>, count: u32) -> Result<Vec<(String, Document)>, Failure> {
        let sql = "SELECT name, version, document FROM dockwarden_users WHERE name > $1 ORDER BY name LIMIT $2";
        let after = after.map_or("", Account::as_str);
        let rows = self.read(sql, &[after.into(), i64::from(count).into()]).await?;
        rows.iter().map(named_document).collect()
    }

    async fn make_user(&self, name: &Account, text: &str) -> Result<Changed, Failure> {
        let sql = "INSERT INTO dockwarden_users (name, version, document) VALUES ($1, 1, $2)";
        self.make(Step::one(sql, vec![name.as_str().into(), text.into()])).await
    }

    async fn replace_user(&self, name: &Account, text: &str, seen: Version) -> Result<Changed, Failure> {
        let sql = "UPDATE dockwarden_users SET document = $3, version = version + 1 WHERE name = $1 AND version = $2";
        let step = Step::one(sql, vec![name.as_str().into(), seen.0.into(), text.into()]);
        self.change(&[step], "SELECT 1 FROM dockwarden_users WHERE name = $1", name.as_str().into()).await
    }

    async fn remove_user(&self, name: &Account, seen: Version) -> Result<Changed, Failure> {
        let sql = "DELETE FROM dockwarden_users WHERE name = $1 AND version = $2";
        let step = Step::one(sql, vec![name.as_str().into(), seen.0.into()]);
        self.change(&[step], "SELECT 1 FROM dockwarden_users WHERE name = $1", name.as_str().into()).await
    }
}

#[async_trait]
impl Rules for SqlRecords {
    async fn rules(&self) -> Result<Document, Failure> {
        let rows =
            self.read("SELECT name, version, document FROM dockwarden_records WHERE name = 'rules'", &[]).await?;
        rows.first().map_or_else(|| Ok(Document::no_rules()), |row| Ok(named_document(row)?.1))
    }

    async fn rules_version(&self) -> Result<Version, Failure> {
        let rows = self.read("SELECT version FROM dockwarden_records WHERE name = 'rules'", &[]).await?;
        rows.first().map_or(Ok(Version(0)), |row| Ok(Version(row.integer(0)?)))
    }

    async fn replace_rules(&self, text: &str, seen: Version) -> Result<Changed, Failure> {
        let step = match seen {
            Version(0) => {
                let sql = "INSERT INTO dockwarden_records (name, version, document) VALUES ('rules', 1, $1)";
                Step::one(sql, vec![text.into()])
            }
            Version(seen) => {
                let sql = "UPDATE dockwarden_records SET document = $2, version = version + 1 \
                           WHERE name = 'rules' AND version = $1";
                Step::one(sql, vec![seen.into(), text.into()])
            }
        };
        self.change(&[step], "SELECT 1 FROM dockwarden_records WHERE name = $1", "rules".into()).await
    }
}
