//! What is in registries, in SQLite and PostgreSQL: each lot of events is one transaction, and of each page of a sweep, too.

use std::collections::BTreeSet;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::SqlRecords;
use super::rows::count_up;
use crate::records::catalogue::{
    Change, Complete, Description, EventQueue, Lease, Leased, Leases, Listing, Mark, Pull, Pulled, Pulls, PushedTag,
    Repositories, Repository, Seq, Stamp, Star, StoredEvent, Sweep, SweepNumber, Sweeps, Tag, What, Work,
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

/// The columns of a pull.
macro_rules! pull_columns {
    () => {
        "service, repository, digest, account, address, tag, first_pulled, last_pulled, heard"
    };
}

/// A page of what people wrote, for a backup.
pub(in crate::records) const DESCRIBED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM dockwarden_repositories WHERE description <> '' OR official = 1 OR automated = 1"
);
/// All stars, for a backup.
pub(in crate::records) const STARS: &str = "SELECT service, repository, account FROM dockwarden_stars";
/// All pulls, for a backup.
pub(in crate::records) const PULLS: &str = concat!("SELECT ", pull_columns!(), " FROM dockwarden_pulls");

const INSERT_PULL: &str = concat!(
    "INSERT INTO dockwarden_pulls (",
    pull_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (service, repository, digest, account, address) DO UPDATE SET \
     tag = CASE WHEN excluded.last_pulled >= dockwarden_pulls.last_pulled THEN excluded.tag ELSE dockwarden_pulls.tag END, \
     first_pulled = CASE WHEN excluded.first_pulled < dockwarden_pulls.first_pulled THEN excluded.first_pulled \
     ELSE dockwarden_pulls.first_pulled END, \
     last_pulled = CASE WHEN excluded.last_pulled > dockwarden_pulls.last_pulled THEN excluded.last_pulled \
     ELSE dockwarden_pulls.last_pulled END, \
     heard = CASE WHEN excluded.heard > dockwarden_pulls.heard THEN excluded.heard ELSE dockwarden_pulls.heard END"
);

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

pub(in crate::records) fn pull_row(row: &Row) -> Result<Pull, Failure> {
    let text = |column| Ok::<_, Failure>(row.text(column)?.to_owned());
    Ok(Pull {
        service: text(0)?,
        repository: text(1)?,
        digest: text(2)?,
        account: text(3)?,
        address: text(4)?,
        tag: row.optional_text(5)?.map(str::to_owned),
        first: Stamp(row.integer(6)?),
        last: Stamp(row.integer(7)?),
        heard: at(row, 8)?.ok_or_else(|| odd("a pull"))?,
    })
}

pub(in crate::records) fn insert_pull(pull: &Pull) -> Step {
    let text = |text: &str| Value::from(text);
    let args = vec![
        text(&pull.service),
        text(&pull.repository),
        text(&pull.digest),
        text(&pull.account),
        text(&pull.address),
        pull.tag.as_deref().into(),
        pull.first.0.into(),
        pull.last.0.into(),
        milliseconds(pull.heard).into(),
    ];
    Step::any(INSERT_PULL, args)
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

/// A repository that an event is about: when it was touched, and whether the event comes out of its turn, so that the registry had
/// better be asked.
const TOUCH: &str = concat!(
    "UPDATE dockwarden_repositories SET seq = ",
    seq!(),
    ", touched = CASE WHEN touched < $4 THEN $4 ELSE touched END, \
     doubt = CASE WHEN latest > $3 OR $5 = 1 THEN 1 ELSE doubt END, \
     latest = CASE WHEN latest IS NULL OR latest < $3 THEN $3 ELSE latest END WHERE service = $1 AND name = $2"
);

/// The steps of one change.
fn change_steps(service: &str, change: &Change, now: i64, steps: &mut Vec<Step>) {
    let Change { repository, at: Stamp(at), what } = change;
    let (service, name) = (Value::from(service), Value::from(repository.as_str()));
    let touch =
        |doubt: i64| Step::any(TOUCH, vec![service.clone(), name.clone(), (*at).into(), now.into(), doubt.into()]);
    match what {
        What::Pushed { tag, digest, media_type, size } => {
            // In doubt from the beginning: it may have tags that nobody told us of.
            steps.push(Step::any(
                "INSERT INTO dockwarden_repositories (service, name, pushed) VALUES ($1, $2, $3) ON CONFLICT (service, name) \
                 DO UPDATE SET pushed = CASE WHEN dockwarden_repositories.pushed IS NULL \
                 OR dockwarden_repositories.pushed < excluded.pushed THEN excluded.pushed ELSE dockwarden_repositories.pushed END",
                vec![service.clone(), name.clone(), (*at).into()],
            ));
            steps.push(touch(0));
            if let Some(tag) = tag {
                steps.push(Step::any(
                    "INSERT INTO dockwarden_tags (service, repository, name, digest, media_type, size, pushed) \
                     SELECT $1, $2, $3, $4, $5, $6, $7 WHERE NOT EXISTS (SELECT 1 FROM dockwarden_repositories r \
                     WHERE r.service = $1 AND r.name = $2 AND r.deleted > $7) \
                     ON CONFLICT (service, repository, name) DO UPDATE SET digest = excluded.digest, \
                     media_type = excluded.media_type, size = excluded.size, pushed = excluded.pushed, gone = NULL \
                     WHERE (dockwarden_tags.pushed IS NULL OR dockwarden_tags.pushed <= excluded.pushed) \
                     AND (dockwarden_tags.gone IS NULL OR dockwarden_tags.gone <= excluded.pushed)",
                    vec![
                        service.clone(),
                        name.clone(),
                        tag.as_str().into(),
                        digest.as_str().into(),
                        media_type.as_str().into(),
                        (*size).into(),
                        (*at).into(),
                    ],
                ));
            }
        }
        What::TagGone(tag) => {
            steps.push(touch(0));
            steps.push(Step::any(
                "INSERT INTO dockwarden_tags (service, repository, name, gone) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (service, repository, name) DO UPDATE SET gone = excluded.gone \
                 WHERE (dockwarden_tags.pushed IS NULL OR dockwarden_tags.pushed < excluded.gone) \
                 AND (dockwarden_tags.gone IS NULL OR dockwarden_tags.gone < excluded.gone)",
                vec![service.clone(), name.clone(), tag.as_str().into(), (*at).into()],
            ));
        }
        What::DigestGone(digest) => {
            // Tags whose digest nobody told us of may have fallen with it.
            steps.push(touch(1));
            steps.push(Step::any(
                "UPDATE dockwarden_tags SET gone = $4 WHERE service = $1 AND repository = $2 AND digest = $3 \
                 AND gone IS NULL AND (pushed IS NULL OR pushed < $4)",
                vec![service.clone(), name.clone(), digest.as_str().into(), (*at).into()],
            ));
        }
        What::RepositoryGone => {
            steps.push(touch(1));
            steps.push(Step::any(
                "UPDATE dockwarden_repositories SET deleted = $3 WHERE service = $1 AND name = $2 \
                 AND (deleted IS NULL OR deleted < $3)",
                vec![service.clone(), name.clone(), (*at).into()],
            ));
            steps.push(Step::any(
                "UPDATE dockwarden_tags SET gone = $3 WHERE service = $1 AND repository = $2 AND gone IS NULL \
                 AND (pushed IS NULL OR pushed < $3)",
                vec![service, name, (*at).into()],
            ));
        }
    }
}

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
impl EventQueue for SqlRecords {
    async fn keep_events(&self, events: &[StoredEvent], now: OffsetDateTime) -> Result<(), Failure> {
        let sql = "INSERT INTO dockwarden_events (service, id, came, document) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (service, id) DO NOTHING";
        let now = milliseconds(now);
        let step = |event: &StoredEvent| {
            let StoredEvent { service, id, document } = event;
            Step::any(sql, vec![service.as_str().into(), id.as_str().into(), now.into(), document.as_str().into()])
        };
        self.write(&events.iter().map(step).collect::<Vec<_>>()).await.map(|_| ())
    }

    async fn waiting_events(&self, count: u32) -> Result<Vec<StoredEvent>, Failure> {
        let sql = "SELECT service, id, document FROM dockwarden_events WHERE done IS NULL ORDER BY came LIMIT $1";
        let read = |row: &Row| {
            let text = |column| Ok::<_, Failure>(row.text(column)?.to_owned());
            Ok(StoredEvent { service: text(0)?, id: text(1)?, document: text(2)? })
        };
        self.read(sql, &[i64::from(count).into()]).await?.iter().map(read).collect()
    }

    async fn count_waiting(&self, most: u32) -> Result<u64, Failure> {
        let sql = "SELECT COUNT(*) FROM (SELECT 1 FROM dockwarden_events WHERE done IS NULL LIMIT $1) AS waiting";
        let rows = self.read(sql, &[i64::from(most).into()]).await?;
        rows.first().map_or(Ok(0), |row| Ok(u64::try_from(row.integer(0)?).unwrap_or(0)))
    }

    async fn work_off(&self, work: &Work, lease: &Lease, now: OffsetDateTime) -> Result<Leased, Failure> {
        let now = milliseconds(now);
        let holds = "UPDATE dockwarden_leases SET ends = ends WHERE name = $1 AND holder = $2";
        let mut steps = vec![Step::one(holds, vec![lease.name.as_str().into(), lease.holder.as_str().into()])];
        if !work.changes.is_empty() {
            steps.push(next_seq());
        }
        for (service, change) in &work.changes {
            change_steps(service, change, now, &mut steps);
        }
        steps.extend(work.touched().into_iter().map(|(service, repository)| count_tags(service, repository)));
        for pull in &work.pulls {
            steps.push(insert_pull(pull));
            steps.push(Step::any(
                "UPDATE dockwarden_repositories SET pulled = $3 WHERE service = $1 AND name = $2 \
                 AND (pulled IS NULL OR pulled < $3)",
                vec![pull.service.as_str().into(), pull.repository.as_str().into(), pull.last.0.into()],
            ));
        }
        let done = "UPDATE dockwarden_events SET done = $3, document = '' WHERE service = $1 AND id = $2";
        steps.extend(
            work.done
                .iter()
                .map(|(service, id)| Step::any(done, vec![service.as_str().into(), id.as_str().into(), now.into()])),
        );
        Ok(match self.write(&steps).await? {
            Written::Applied(_) => Leased::Held,
            Written::Unmet { .. } | Written::Duplicate { .. } => Leased::Elsewhere,
        })
    }

    async fn forget_events(&self, came_before: OffsetDateTime) -> Result<u64, Failure> {
        self.deleted("DELETE FROM dockwarden_events WHERE done IS NOT NULL AND came < $1", came_before).await
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

#[async_trait]
impl Pulls for SqlRecords {
    async fn pulls(&self, service: &str, what: &Pulled, skip: u32, count: u32) -> Result<Vec<Pull>, Failure> {
        macro_rules! selected {
            ($condition:literal) => {
                concat!(
                    "SELECT ",
                    pull_columns!(),
                    " FROM dockwarden_pulls WHERE service = $1 AND ",
                    $condition,
                    " ORDER BY account, address, repository, digest LIMIT $2 OFFSET $3"
                )
            };
        }
        let page: [Value; 3] = [service.into(), i64::from(count).into(), i64::from(skip).into()];
        let (sql, more): (_, Vec<Value>) = match what {
            Pulled::Repository(name) => (selected!("repository = $4"), vec![name.as_str().into()]),
            Pulled::Manifest { repository, digest } => {
                (selected!("repository = $4 AND digest = $5"), vec![repository.as_str().into(), digest.as_str().into()])
            }
            Pulled::Digest(digest) => (selected!("digest = $4"), vec![digest.as_str().into()]),
        };
        let args: Vec<Value> = page.into_iter().chain(more).collect();
        self.read(sql, &args).await?.iter().map(pull_row).collect()
    }

    async fn forget_pulls(&self, heard_before: OffsetDateTime) -> Result<u64, Failure> {
        self.deleted("DELETE FROM dockwarden_pulls WHERE heard < $1", heard_before).await
    }
}

#[async_trait]
impl Leases for SqlRecords {
    async fn lease(&self, lease: &Lease, until: OffsetDateTime, now: OffsetDateTime) -> Result<Leased, Failure> {
        let sql = "INSERT INTO dockwarden_leases (name, holder, ends) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE SET \
                   holder = excluded.holder, ends = excluded.ends \
                   WHERE dockwarden_leases.holder = excluded.holder OR dockwarden_leases.ends <= $4";
        let args = vec![
            lease.name.as_str().into(),
            lease.holder.as_str().into(),
            milliseconds(until).into(),
            milliseconds(now).into(),
        ];
        Ok(match self.write(&[Step::one(sql, args)]).await? {
            Written::Applied(_) => Leased::Held,
            Written::Unmet { .. } | Written::Duplicate { .. } => Leased::Elsewhere,
        })
    }

    async fn give_back(&self, lease: &Lease) -> Result<(), Failure> {
        let sql = "DELETE FROM dockwarden_leases WHERE name = $1 AND holder = $2";
        self.write(&[Step::any(sql, vec![lease.name.as_str().into(), lease.holder.as_str().into()])]).await.map(|_| ())
    }
}
