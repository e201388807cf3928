//! The directory's entries in SQL: each change is one transaction, with the count of all changes.

use async_trait::async_trait;

use super::SqlRecords;
use super::rows::count_up;
use crate::records::directory::{DirectoryEntries, Entry, EntryAt};
use crate::records::{Changed, Failure, Version};
use crate::sql::{Row, Step};

/// A page of all entries, also for a backup.
pub(in crate::records) const ENTRIES: &str =
    "SELECT place, claim, version, document FROM dockwarden_directory WHERE place > $1 ORDER BY place LIMIT $2";
const IS_THERE: &str = "SELECT 1 FROM dockwarden_directory WHERE place = $1";

pub(in crate::records) fn entry_row(row: &Row) -> Result<Entry, Failure> {
    Entry::from_kept(row.text(0)?, row.text(1)?, row.text(3)?.to_owned(), Version(row.integer(2)?))
}

pub(in crate::records) fn insert_entry(entry: &Entry) -> Step {
    let args =
        vec![entry.at.to_string().into(), entry.claimed().into(), entry.version.0.into(), entry.text.as_str().into()];
    Step::one("INSERT INTO dockwarden_directory (place, claim, version, document) VALUES ($1, $2, $3, $4)", args)
}

/// Counts a change of the directory.
pub(in crate::records) fn count_change() -> Step {
    count_up("directory")
}

#[async_trait]
impl DirectoryEntries for SqlRecords {
    async fn entry(&self, at: &EntryAt) -> Result<Option<Entry>, Failure> {
        let sql = "SELECT place, claim, version, document FROM dockwarden_directory WHERE place = $1";
        self.read(sql, &[at.to_string().into()]).await?.first().map(entry_row).transpose()
    }

    async fn entries(&self, after: Option<&EntryAt>, count: u32) -> Result<Vec<Entry>, Failure> {
        let after = after.map(ToString::to_string).unwrap_or_default();
        self.read(ENTRIES, &[after.into(), i64::from(count).into()]).await?.iter().map(entry_row).collect()
    }

    async fn directory_version(&self) -> Result<Version, Failure> {
        let rows = self.read("SELECT version FROM dockwarden_records WHERE name = 'directory'", &[]).await?;
        rows.first().map_or(Ok(Version(0)), |row| Ok(Version(row.integer(0)?)))
    }

    async fn make_entry(&self, entry: &Entry) -> Result<Changed, Failure> {
        let entry = Entry { version: Version(1), ..entry.clone() };
        self.change(&[insert_entry(&entry), count_change()], IS_THERE, entry.at.to_string().into()).await
    }

    async fn replace_entry(&self, entry: &Entry, seen: Version) -> Result<Changed, Failure> {
        let place = entry.at.to_string();
        let sql = "UPDATE dockwarden_directory SET claim = $3, document = $4, version = version + 1 \
                   WHERE place = $1 AND version = $2";
        let args = vec![place.as_str().into(), seen.0.into(), entry.claimed().into(), entry.text.as_str().into()];
        self.change(&[Step::one(sql, args), count_change()], IS_THERE, place.into()).await
    }

    async fn remove_entry(&self, at: &EntryAt, seen: Version) -> Result<Changed, Failure> {
        let place = at.to_string();
        let sql = "DELETE FROM dockwarden_directory WHERE place = $1 AND version = $2";
        let step = Step::one(sql, vec![place.as_str().into(), seen.0.into()]);
        self.change(&[step, count_change()], IS_THERE, place.into()).await
    }
}
