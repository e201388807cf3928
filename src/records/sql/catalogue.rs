//! What is in registries, in SQLite and PostgreSQL: of each page of a sweep, one transaction.

use std::collections::BTreeSet;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::SqlRecords;
use super::rows::count_up;
use crate::records::catalogue::{
    Complete, Description, Listing, Mark, PushedTag, Repositories, Repository, Seq, Stamp, Star, Sweep, SweepNumber,
    Sweeps, Tag,
};
use crate::records::row::{milliseconds, moment};
use crate::records::{Changed, Failure};
use crate::sql::{Dialect, Row, Step, Value, Written};

/// Begins what changes the list that is kept in memory. Whoever does so at once does it in turn: what has a lower number was written
/// before.
fn next_seq() -> Step {
    count_up("catalogue")
}
/// The number of this change.
macro_rules! seq {
    () => {
        "(SELECT version FROM dockwarden_records WHERE name = 'catalogue')"
    };
}
/// The texts of a JSON list, as rows of one column `value`.
macro_rules! each {
    (sqlite, $list:literal) => {
        concat!("json_each($", $list, ")")
    };
    (postgres, $list:literal) => {
        concat!("jsonb_array_elements_text(CAST(CAST($", $list, " AS TEXT) AS JSONB)) AS each(value)")
    };
}
/// A statement over a list, in the dialect of the database.
macro_rules! over_list {
    ($records:expr, $before:expr, $list:literal, $after:expr) => {
        match $records.settings().dialect() {
            Dialect::Sqlite => concat!($before, each!(sqlite, $list), $after),
            Dialect::Postgres | Dialect::MySql => concat!($before, each!(postgres, $list), $after),
        }
    };
}

/// The columns of a repository, in the order of [`repository_row`].
macro_rules! columns {
    () => {
        "service, name, tags, pushed, pulled, description, official, automated, stars, listed, seq"
    };
}

mod events;

pub(in crate::records) use events::{PULLS, insert_pull, pull_row};

/// A page of what people wrote, for a backup.
pub(in crate::records) const DESCRIBED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM dockwarden_repositories WHERE description <> '' OR official = 1 OR automated = 1"
);
/// All stars, for a backup.
pub(in crate::records) const STARS: &str = "SELECT service, repository, account FROM dockwarden_stars";
/// A list as JSON. Texts alone are in it.
fn list<'a>(texts: impl IntoIterator<Item = &'a String>) -> Value {
    Value::Text(serde_json::Value::from_iter(texts.into_iter().map(String::as_str)).to_string())
}

fn odd(what: &str) -> Failure {
    Failure::Unusable { cause: format!("a moment in {what} is not as this program writes it") }
}

fn at(row: &Row, column: usize) -> Result<Option<OffsetDateTime>, Failure> {
    let number = row.optional_integer(column)?;
    number.map(|number| moment(number).ok_or_else(|| odd("the catalogue"))).transpose()
}

fn stamp(row: &Row, column: usize) -> Result<Option<Stamp>, Failure> {
    Ok(row.optional_integer(column)?.map(Stamp))
}

pub(in crate::records) fn repository_row(row: &Row) -> Result<Repository, Failure> {
    Ok(Repository {
        service: row.text(0)?.to_owned(),
        name: row.text(1)?.to_owned(),
        tags: row.integer(2)?,
        pushed: stamp(row, 3)?,
        pulled: stamp(row, 4)?,
        description: Description {
            text: row.text(5)?.to_owned(),
            official: Mark::from_number(row.integer(6)?),
            automated: Mark::from_number(row.integer(7)?),
        },
        stars: row.integer(8)?,
        listed: at(row, 9)?,
        seq: Seq(row.integer(10)?),
    })
}

/// The steps that put back what people wrote, into tables that are empty.
pub(in crate::records) fn insert_described(repository: &Repository) -> Step {
    let Description { text, official, automated } = &repository.description;
    Step::any(
        "INSERT INTO dockwarden_repositories (service, name, description, official, automated) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (service, name) DO UPDATE SET description = excluded.description, official = excluded.official, \
         automated = excluded.automated",
        vec![
            repository.service.as_str().into(),
            repository.name.as_str().into(),
            text.as_str().into(),
            official.number().into(),
            automated.number().into(),
        ],
    )
}

/// The steps that put back a star, of a repository that is there or not.
pub(in crate::records) fn insert_star(service: &str, repository: &str, account: &str) -> [Step; 3] {
    let key = vec![Value::from(service), Value::from(repository)];
    [
        Step::any(
            "INSERT INTO dockwarden_repositories (service, name) VALUES ($1, $2) ON CONFLICT (service, name) DO NOTHING",
            key.clone(),
        ),
        Step::any(
            "INSERT INTO dockwarden_stars (service, repository, account) VALUES ($1, $2, $3)",
            vec![service.into(), repository.into(), account.into()],
        ),
        Step::any(COUNT_STARS, key),
    ]
}

const COUNT_STARS: &str = concat!(
    "UPDATE dockwarden_repositories SET seq = COALESCE(",
    seq!(),
    ", 0), stars = (SELECT COUNT(*) FROM dockwarden_stars s WHERE s.service = $1 AND s.repository = $2) \
     WHERE service = $1 AND name = $2"
);

/// Counts the tags of a repository.
fn count_tags(service: &str, repository: &str) -> Step {
    let sql = "UPDATE dockwarden_repositories SET tags = (SELECT COUNT(*) FROM dockwarden_tags t \
               WHERE t.service = $1 AND t.repository = $2 AND t.gone IS NULL) WHERE service = $1 AND name = $2";
    Step::any(sql, vec![service.into(), repository.into()])
}

impl SqlRecords {
    fn listing_steps(&self, service: &str, listing: &Listing, now: i64, steps: &mut Vec<Step>) {
        let (service, name) = (Value::from(service), Value::from(listing.repository.as_str()));
        // What an event changed since then stays in doubt, and is asked for once more.
        steps.push(Step::any(
            concat!(
                "UPDATE dockwarden_repositories SET seq = ",
                seq!(),
                ", listed = $4, doubt = 0 WHERE service = $1 AND name = $2 AND touched < $3"
            ),
            vec![service.clone(), name.clone(), milliseconds(listing.asked).into(), now.into()],
        ));
        let tags = list(&listing.tags);
        let args = vec![service, name, tags, now.into()];
        steps.push(Step::any(
            over_list!(
                self,
                "INSERT INTO dockwarden_tags (service, repository, name) SELECT $1, $2, value FROM ",
                3,
                " WHERE EXISTS (SELECT 1 FROM dockwarden_repositories r WHERE r.service = $1 AND r.name = $2 AND r.listed = $4 \
                 AND r.doubt = 0) ON CONFLICT (service, repository, name) DO UPDATE SET gone = NULL \
                 WHERE dockwarden_tags.gone IS NOT NULL"
            ),
            args.clone(),
        ));
        steps.push(Step::any(
            over_list!(
                self,
                "DELETE FROM dockwarden_tags WHERE service = $1 AND repository = $2 AND gone IS NULL AND EXISTS (SELECT 1 \
                 FROM dockwarden_repositories r WHERE r.service = $1 AND r.name = $2 AND r.listed = $4 AND r.doubt = 0) \
                 AND name NOT IN (SELECT value FROM ",
                3,
                ")"
            ),
            args,
        ));
    }

    async fn changed(&self, steps: &[Step], guard: usize) -> Result<Changed, Failure> {
        Ok(match self.write(steps).await? {
            Written::Applied(_) => Changed::Done,
            Written::Unmet { step } if step == guard => Changed::Missing,
            Written::Unmet { .. } | Written::Duplicate { .. } => Changed::Conflict,
        })
    }

    async fn names(&self, sql: &'static str, args: &[Value]) -> Result<Vec<String>, Failure> {
        self.read(sql, args).await?.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    async fn deleted(&self, sql: &'static str, before: OffsetDateTime) -> Result<u64, Failure> {
        match self.write(&[Step::any(sql, vec![milliseconds(before).into()])]).await? {
            Written::Applied(counts) => Ok(counts.into_iter().sum()),
            Written::Unmet { .. } | Written::Duplicate { .. } => Ok(0),
        }
    }
}

#[async_trait]
impl Repositories for SqlRecords {
    async fn repository(&self, service: &str, name: &str) -> Result<Option<Repository>, Failure> {
        let sql = concat!("SELECT ", columns!(), " FROM dockwarden_repositories WHERE service = $1 AND name = $2");
        self.read(sql, &[service.into(), name.into()]).await?.first().map(repository_row).transpose()
    }

    async fn changed_repositories(&self, from: Seq, count: u32) -> Result<Vec<Repository>, Failure> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM dockwarden_repositories WHERE seq >= $1 AND seq > 0 ORDER BY seq, service, name LIMIT $2"
        );
        self.read(sql, &[from.0.into(), i64::from(count).into()]).await?.iter().map(repository_row).collect()
    }

    async fn tags(
        &self,
        service: &str,
        repository: &str,
        after: Option<&str>,
        count: u32,
    ) -> Result<Vec<Tag>, Failure> {
        let sql = "SELECT name, digest, media_type, size, pushed FROM dockwarden_tags WHERE service = $1 \
                   AND repository = $2 AND gone IS NULL AND name > $3 ORDER BY name LIMIT $4";
        let args = [service.into(), repository.into(), after.unwrap_or_default().into(), i64::from(count).into()];
        let read = |row: &Row| {
            let pushed = match (row.optional_text(1)?, stamp(row, 4)?) {
                (Some(digest), Some(at)) => Some(PushedTag {
                    digest: digest.to_owned(),
                    media_type: row.optional_text(2)?.unwrap_or_default().to_owned(),
                    size: row.optional_integer(3)?.unwrap_or(0),
                    at,
                }),
                (None, _) | (_, None) => None,
            };
            Ok(Tag { name: row.text(0)?.to_owned(), pushed })
        };
        self.read(sql, &args).await?.iter().map(read).collect()
    }

    async fn describe(&self, service: &str, name: &str, description: &Description) -> Result<Changed, Failure> {
        let sql = concat!(
            "UPDATE dockwarden_repositories SET seq = ",
            seq!(),
            ", description = $3, official = $4, automated = $5 WHERE service = $1 AND name = $2"
        );
        let args = vec![
            service.into(),
            name.into(),
            description.text.as_str().into(),
            description.official.number().into(),
            description.automated.number().into(),
        ];
        self.changed(&[next_seq(), Step::one(sql, args)], 1).await
    }

    async fn star(&self, service: &str, name: &str, account: &str, star: Star) -> Result<Changed, Failure> {
        let sql = match star {
            Star::Given => "INSERT INTO dockwarden_stars (service, repository, account) VALUES ($1, $2, $3)",
            Star::TakenBack => "DELETE FROM dockwarden_stars WHERE service = $1 AND repository = $2 AND account = $3",
        };
        let is_there = "UPDATE dockwarden_repositories SET stars = stars WHERE service = $1 AND name = $2";
        let key = vec![Value::from(service), Value::from(name)];
        let steps = [
            next_seq(),
            Step::one(is_there, key.clone()),
            Step::one(sql, vec![service.into(), name.into(), account.into()]),
            Step::any(COUNT_STARS, key),
        ];
        self.changed(&steps, 1).await
    }
}

#[async_trait]
impl Sweeps for SqlRecords {
    async fn sweep(&self, service: &str) -> Result<Sweep, Failure> {
        let sql = "SELECT number, began, cursor, ended, found, before_number, before_began, before_ended, error, error_at \
                   FROM dockwarden_sweeps WHERE service = $1";
        let rows = self.read(sql, &[service.into()]).await?;
        let Some(row) = rows.first() else { return Ok(Sweep::default()) };
        let before = Complete::from_kept(row.optional_integer(5)?, at(row, 6)?, at(row, 7)?);
        Ok(Sweep {
            number: SweepNumber(row.integer(0)?),
            began: at(row, 1)?,
            cursor: row.optional_text(2)?.map(str::to_owned),
            ended: at(row, 3)?,
            found: row.integer(4)?,
            before,
            error: row.optional_text(8)?.map(str::to_owned).zip(at(row, 9)?),
        })
    }

    async fn save_sweep(&self, service: &str, sweep: &Sweep) -> Result<(), Failure> {
        let sql = "INSERT INTO dockwarden_sweeps (service, number, began, cursor, ended, found, before_number, before_began, \
                   before_ended, error, error_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
                   ON CONFLICT (service) DO UPDATE SET number = excluded.number, began = excluded.began, \
                   cursor = excluded.cursor, ended = excluded.ended, found = excluded.found, \
                   before_number = excluded.before_number, before_began = excluded.before_began, \
                   before_ended = excluded.before_ended, error = excluded.error, error_at = excluded.error_at";
        let args = vec![
            service.into(),
            sweep.number.0.into(),
            sweep.began.map(milliseconds).into(),
            sweep.cursor.as_deref().into(),
            sweep.ended.map(milliseconds).into(),
            sweep.found.into(),
            sweep.before.map(|before| before.number.0).into(),
            sweep.before.map(|before| milliseconds(before.began)).into(),
            sweep.before.map(|before| milliseconds(before.ended)).into(),
            sweep.error.as_ref().map(|(error, _)| error.as_str()).into(),
            sweep.error.as_ref().map(|(_, at)| milliseconds(*at)).into(),
        ];
        self.write(&[Step::any(sql, args)]).await.map(|_| ())
    }

    async fn found(
        &self,
        service: &str,
        sweep: SweepNumber,
        names: &[String],
        listed_since: OffsetDateTime,
    ) -> Result<Vec<String>, Failure> {
        let names = list(names.iter().collect::<BTreeSet<_>>());
        let sql = over_list!(
            self,
            "INSERT INTO dockwarden_repositories (service, name, swept) SELECT $1, value, $3 FROM ",
            2,
            " WHERE true ON CONFLICT (service, name) DO UPDATE SET swept = excluded.swept"
        );
        self.write(&[Step::any(sql, vec![service.into(), names.clone(), sweep.0.into()])]).await?;
        let sql = over_list!(
            self,
            "SELECT r.name FROM ",
            2,
            " JOIN dockwarden_repositories r ON r.name = value WHERE r.service = $1 AND (r.doubt = 1 OR r.tags = 0 OR r.listed < $3) \
             ORDER BY r.name"
        );
        self.names(sql, &[service.into(), names, milliseconds(listed_since).into()]).await
    }

    async fn listed(&self, service: &str, listings: &[Listing], now: OffsetDateTime) -> Result<(), Failure> {
        if listings.is_empty() {
            return Ok(());
        }
        let mut steps = vec![next_seq()];
        for listing in listings {
            self.listing_steps(service, listing, milliseconds(now), &mut steps);
            steps.push(count_tags(service, &listing.repository));
        }
        self.write(&steps).await.map(|_| ())
    }

    async fn doubtful(&self, service: &str, count: u32) -> Result<Vec<String>, Failure> {
        let sql = "SELECT name FROM dockwarden_repositories WHERE service = $1 AND doubt = 1 ORDER BY name LIMIT $2";
        self.names(sql, &[service.into(), i64::from(count).into()]).await
    }

    async fn doubt(&self, service: &str, repository: &str) -> Result<(), Failure> {
        let sql = "UPDATE dockwarden_repositories SET doubt = 1 WHERE service = $1 AND name = $2";
        self.write(&[Step::any(sql, vec![service.into(), repository.into()])]).await.map(|_| ())
    }

    async fn forget_gone(&self, before: OffsetDateTime) -> Result<u64, Failure> {
        let tags = "DELETE FROM dockwarden_tags WHERE gone IS NOT NULL AND gone < $1";
        // What is in doubt is asked for first; a ghost that a catalog still lists is found again by the next sweep.
        let repositories = "DELETE FROM dockwarden_repositories WHERE tags = 0 AND doubt = 0 AND stars = 0 \
                            AND description = '' AND official = 0 AND automated = 0 AND touched < $1 AND listed < $1";
        let at = milliseconds(before);
        let steps = [Step::any(tags, vec![at.saturating_mul(1000).into()]), Step::any(repositories, vec![at.into()])];
        match self.write(&steps).await? {
            Written::Applied(counts) => Ok(counts.into_iter().sum()),
            Written::Unmet { .. } | Written::Duplicate { .. } => Ok(0),
        }
    }

    async fn unseen(
        &self,
        service: &str,
        since: &Complete,
        after: Option<&str>,
        count: u32,
    ) -> Result<Vec<String>, Failure> {
        let sql = "SELECT name FROM dockwarden_repositories WHERE service = $1 AND tags > 0 AND swept < $2 \
                   AND touched < $3 AND name > $4 ORDER BY name LIMIT $5";
        let args = [
            service.into(),
            since.number.0.into(),
            milliseconds(since.began).into(),
            after.unwrap_or_default().into(),
            i64::from(count).into(),
        ];
        self.names(sql, &args).await
    }
}
