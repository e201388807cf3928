//! What SQL keeps of records: the columns of each table, rows read as records, and records written as rows.

use super::super::row::{EVERYBODY, RobotRow, SecretRow};
use super::super::{Document, Failure, Version};
use crate::sql::{self, Row, Step};

/// The columns of a secret, in the order of [`secret_row`].
macro_rules! columns {
    () => {
        "s.id, s.hash, s.kind, s.owner, s.robot, s.living, s.place, s.epoch, s.made, s.ends, s.idle, s.over, s.used, \
         s.used_from, s.used_by, s.revoked, s.version, s.document"
    };
}
pub(super) use columns;
/// How many they are.
pub(super) const COLUMNS: usize = 18;

/// A page of all secrets, for a backup.
pub(in crate::records) const SECRETS: &str =
    concat!("SELECT ", columns!(), " FROM dockwarden_secrets s WHERE s.id > $1 ORDER BY s.id LIMIT $2");

/// Reads the first columns of a row as a secret.
pub(in crate::records) fn secret_row(row: &Row) -> Result<SecretRow, Failure> {
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
pub(in crate::records) fn robot_row(row: &Row, from: usize) -> Result<RobotRow, Failure> {
    Ok(RobotRow {
        name: row.text(from)?.to_owned(),
        labels: row.text(from + 1)?.to_owned(),
        disabled: row.integer(from + 2)?,
        made: row.integer(from + 3)?,
        version: row.integer(from + 4)?,
    })
}

/// Reads a name, a version and a text.
pub(in crate::records) fn named_document(row: &Row) -> Result<(String, Document), Failure> {
    let document = Document { version: Version(row.integer(1)?), text: row.text(2)?.to_owned() };
    Ok((row.text(0)?.to_owned(), document))
}

pub(in crate::records) fn insert_secret(row: SecretRow) -> Step {
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

pub(in crate::records) fn insert_robot(row: RobotRow) -> Step {
    let args = vec![row.name.into(), row.labels.into(), row.disabled.into(), row.made.into(), row.version.into()];
    Step::any("INSERT INTO dockwarden_robots (name, labels, disabled, made, version) VALUES ($1, $2, $3, $4, $5)", args)
}

pub(in crate::records) fn raise_everybody(now: i64) -> Step {
    let sql = "INSERT INTO dockwarden_epochs (owner, epoch) VALUES ($1, $2) ON CONFLICT (owner) DO UPDATE SET epoch = \
               CASE WHEN dockwarden_epochs.epoch < excluded.epoch THEN excluded.epoch ELSE dockwarden_epochs.epoch + 1 END";
    Step::any(sql, vec![EVERYBODY.into(), now.into()])
}

/// Counts up the version of one of the records, or makes it.
pub(super) fn count_up(name: &str) -> Step {
    let sql = "INSERT INTO dockwarden_records (name, version, document) VALUES ($1, 1, '') \
               ON CONFLICT (name) DO UPDATE SET version = dockwarden_records.version + 1";
    Step::any(sql, vec![name.into()])
}
