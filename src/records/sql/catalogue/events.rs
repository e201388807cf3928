//! What registries told, in SQL: their events, of which each lot is one transaction, who pulled what, and which replica works on it.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{at, count_tags, next_seq, odd};
use crate::records::Failure;
use crate::records::catalogue::{
    Change, EventQueue, LAST, Lease, Leased, Leases, NEVER_FORGOTTEN, Pull, Pulled, Pulls, Stamp, StoredEvent, What,
    Work,
};
use crate::records::row::milliseconds;
use crate::records::sql::SqlRecords;
use crate::sql::{Row, Step, Value, Written};

/// The columns of a pull.
macro_rules! pull_columns {
    () => {
        "service, repository, digest, account, address, tag, first_pulled, last_pulled, heard"
    };
}

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
        // Beside the events themselves, which are forgotten: one a registry, however many there were.
        let last = "INSERT INTO dockwarden_events (service, id, came, done, document) VALUES ($1, $2, $3, $4, '') \
                    ON CONFLICT (service, id) DO UPDATE SET came = excluded.came WHERE dockwarden_events.came < excluded.came";
        steps.extend(
            work.services()
                .into_iter()
                .map(|service| Step::any(last, vec![service.into(), LAST.into(), now.into(), NEVER_FORGOTTEN.into()])),
        );
        Ok(match self.write(&steps).await? {
            Written::Applied(_) => Leased::Held,
            Written::Unmet { .. } | Written::Duplicate { .. } => Leased::Elsewhere,
        })
    }

    async fn last_event(&self, service: &str) -> Result<Option<OffsetDateTime>, Failure> {
        let sql = "SELECT came FROM dockwarden_events WHERE service = $1 AND id = $2";
        let rows = self.read(sql, &[service.into(), LAST.into()]).await?;
        rows.first().map_or(Ok(None), |row| at(row, 0))
    }

    async fn forget_events(&self, came_before: OffsetDateTime) -> Result<u64, Failure> {
        self.deleted("DELETE FROM dockwarden_events WHERE done >= 0 AND came < $1", came_before).await
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
