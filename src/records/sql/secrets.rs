//! Secrets, epochs, robots and tokens seen once, in SQL.

use std::collections::BTreeMap;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::super::row::{RobotRow, SecretRow, hexadecimal, milliseconds, name_of, owner_key, robot_key};
use super::super::{
    Added, Changed, Epoch, Epochs, Failure, Found, Kept, MOST_ENDED, Presented, Robot, RobotName, Robots, Room,
    SecretHash, SecretId, SecretKind, Secrets, SeenTokens, Use, Version, Whose,
};
use super::SqlRecords;
use super::rows::{COLUMNS, SECRETS, columns, insert_robot, insert_secret, raise_everybody, robot_row, secret_row};
use crate::identity::Account;
use crate::sql::{Step, Value, Written};

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

/// What revokes a secret, at the moment `$1`.
macro_rules! revoke {
    () => {
        "UPDATE dockwarden_secrets SET revoked = $1, living = '-/' || id, place = '-/' || id, version = version + 1"
    };
}

fn raise_epoch(owner: &str) -> Step {
    let sql = "INSERT INTO dockwarden_epochs (owner, epoch) VALUES ($1, 1) \
               ON CONFLICT (owner) DO UPDATE SET epoch = dockwarden_epochs.epoch + 1";
    Step::any(sql, vec![owner.into()])
}

impl SqlRecords {
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
}

#[async_trait]
impl Secrets for SqlRecords {
    async fn find(&self, hash: &SecretHash) -> Result<Option<Found>, Failure> {
        self.found(concat!(found!(), " WHERE s.hash = $1"), hexadecimal(&hash.0).into()).await
    }

    async fn get(&self, id: &SecretId) -> Result<Option<Found>, Failure> {
        self.found(concat!(found!(), " WHERE s.id = $1"), (&*id.0).into()).await
    }

    async fn add(&self, secret: &Kept, room: Room, now: OffsetDateTime) -> Result<Added, Failure> {
        let (row, at) = (SecretRow::from_kept(secret)?, milliseconds(now));
        let (id, owner, kind) = (row.id.clone(), row.owner.clone(), row.kind.clone());
        let epoch = row.epoch;
        // Of two that are added at once, the second counts the first: on PostgreSQL this row is theirs in turn.
        let in_turn = "INSERT INTO dockwarden_epochs (owner, epoch) VALUES ($1, 0) \
                       ON CONFLICT (owner) DO UPDATE SET epoch = dockwarden_epochs.epoch";
        let in_turn = Step::any(in_turn, vec![owner.as_str().into()]);
        let mut steps = Vec::new();
        let most = match room {
            Room::Any => None,
            Room::Evict(most) => {
                steps.push(in_turn);
                Some(most)
            }
            Room::Refuse(most) => {
                steps.push(in_turn);
                let sql = "UPDATE dockwarden_epochs SET epoch = epoch WHERE owner = $1 AND (SELECT COUNT(*) \
                           FROM dockwarden_secrets s WHERE s.owner = $1 AND s.kind = $2 AND s.revoked IS NULL \
                           AND (s.over IS NULL OR s.over > $3) AND s.epoch >= $4) < $5";
                let (of, called) = (owner.as_str().into(), kind.as_str().into());
                steps.push(Step::one(sql, vec![of, called, at.into(), epoch.into(), i64::from(most).into()]));
                None
            }
        };
        // What ended by itself, or with its owner's epoch, gives its name and slot away.
        let sql = "UPDATE dockwarden_secrets SET living = '-/' || id WHERE living = $1 AND (over <= $2 OR epoch < $3)";
        steps.push(Step::any(sql, vec![row.living.as_str().into(), at.into(), epoch.into()]));
        let sql = "UPDATE dockwarden_secrets SET place = '-/' || id WHERE place = $1 AND (over <= $2 OR epoch < $3)";
        steps.push(Step::any(sql, vec![row.place.as_str().into(), at.into(), epoch.into()]));
        steps.push(insert_secret(row));
        if let Some(most) = most {
            let sql = concat!(
                revoke!(),
                ", evicted_for = $2 WHERE id IN (SELECT id FROM dockwarden_secrets WHERE owner = $3 AND kind = $4 \
                 AND revoked IS NULL AND (over IS NULL OR over > $1) AND epoch >= $6 AND id <> $2 \
                 ORDER BY COALESCE(used, made) DESC, id DESC LIMIT 1000000 OFFSET $5)"
            );
            let (room, ended) = (i64::from(most.saturating_sub(1)), i64::from(MOST_ENDED));
            let whose = || (owner.as_str().into(), kind.as_str().into());
            let (of, called) = whose();
            let args = vec![at.into(), id.as_str().into(), of, called, room.into(), epoch.into()];
            steps.push(Step::any(sql, args));
            let sql = "DELETE FROM dockwarden_secrets WHERE id IN (SELECT id FROM dockwarden_secrets WHERE owner = $1 \
                       AND kind = $2 AND revoked IS NOT NULL ORDER BY revoked DESC, id DESC LIMIT 1000000 OFFSET $3)";
            let (of, called) = whose();
            steps.push(Step::any(sql, vec![of, called, ended.into()]));
            let sql = "DELETE FROM dockwarden_secrets WHERE id IN (SELECT id FROM dockwarden_secrets WHERE owner = $1 \
                       AND kind = $2 AND revoked IS NULL AND (over <= $4 OR epoch < $5) \
                       ORDER BY over DESC, id DESC LIMIT 1000000 OFFSET $3)";
            let (of, called) = whose();
            steps.push(Step::any(sql, vec![of, called, ended.into(), at.into(), epoch.into()]));
        }
        match self.write(&steps).await? {
            Written::Applied(_) if most.is_none() => return Ok(Added::Kept { evicted: Vec::new() }),
            Written::Applied(_) => {}
            Written::Duplicate { .. } => return Ok(Added::Taken),
            Written::Unmet { .. } => return Ok(Added::Full),
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

    async fn living(
        &self,
        (account, kind): (&Account, SecretKind),
        (after, count): (Option<&SecretId>, u32),
        now: OffsetDateTime,
    ) -> Result<Vec<Kept>, Failure> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM dockwarden_secrets s WHERE s.id > $1 AND s.owner = $3 AND s.kind = $4 AND s.revoked IS NULL \
             AND (s.over IS NULL OR s.over > $5) AND s.epoch = (SELECT CAST(COALESCE(SUM(e.epoch), 0) AS BIGINT) \
             FROM dockwarden_epochs e WHERE e.owner = $3 OR e.owner = '') ORDER BY s.id LIMIT $2"
        );
        let after = after.map_or("", |after| &after.0).into();
        let (owner, kind) = (account.as_str().into(), name_of(kind).into());
        let rows = self.read(sql, &[after, i64::from(count).into(), owner, kind, milliseconds(now).into()]).await?;
        rows.iter().map(|row| secret_row(row)?.into_kept()).collect()
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

    async fn was_seen(&self, hash: &SecretHash) -> Result<bool, Failure> {
        let sql = "SELECT 1 FROM dockwarden_seen WHERE hash = $1";
        Ok(!self.read(sql, &[hexadecimal(&hash.0).into()]).await?.is_empty())
    }
}
