//! Secrets, epochs, robots and tokens seen once, in MongoDB.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mongodb::bson::{Bson, Document as Bsons, doc};
use time::OffsetDateTime;

use super::super::row::{EVERYBODY, RobotRow, SecretRow, hexadecimal, milliseconds, name_of, nobodys, over, robot_key};
use super::super::{
    Added, Changed, Epoch, Epochs, Failure, Found, Kept, MOST_ENDED, Presented, Robot, RobotName, Robots, Room,
    SecretHash, SecretId, SecretKind, Secrets, SeenTokens, Use, Version, Whose,
};
use super::documents::{integer, robot_document, robot_row, secret_document, secret_row};
use super::{EPOCHS, MongoRecords, ROBOTS, SECRETS, SEEN, next, unless_duplicate};
use crate::identity::Account;
use crate::mongo::all;

/// So many that ended are forgotten for one that is made. More than one come at a time only where an older version left them.
const FORGOTTEN_AT_ONCE: i64 = 1_000;

/// What finds an owner's living secrets of a kind, where the owner has this epoch.
fn living_of(owner: &str, (kind, epoch): (&str, i64), now: OffsetDateTime) -> Bsons {
    let lives = vec![doc! { "over": Bson::Null }, doc! { "over": { "$gt": milliseconds(now) } }];
    doc! { "owner": owner, "kind": kind, "revoked": Bson::Null, "epoch": { "$gte": epoch }, "$or": lives }
}

impl MongoRecords {
    /// A secret, its owner's epoch, and its robot.
    async fn found(&self, filter: Bsons) -> Result<Option<Found>, Failure> {
        let Some(document) = self.find_one(SECRETS, filter).await? else { return Ok(None) };
        let row = secret_row(&document)?;
        // Afterwards, so that what ended before this question is seen.
        let robot = async {
            match &row.robot {
                Some(name) => self.robot(&RobotName(name.as_str().into())).await,
                None => Ok(None),
            }
        };
        let (epoch, robot) = tokio::try_join!(self.epoch_of(&row.owner), robot)?;
        Ok(Some(Found { epoch, robot, secret: row.into_kept()? }))
    }

    /// Raises one epoch; two that do so for the first time at once both do.
    async fn raise_one(&self, owner: &str, change: Bsons) -> Result<(), Failure> {
        loop {
            let raised = self.ask(EPOCHS, |epochs| {
                let (which, change) = (doc! { "_id": owner }, change.clone());
                async move { unless_duplicate(epochs.update_one(which, change).upsert(true).await) }
            });
            if raised.await?.is_some() {
                return Ok(());
            }
        }
    }

    async fn epoch_of(&self, owner: &str) -> Result<Epoch, Failure> {
        let found = self.find_some(EPOCHS, doc! { "_id": { "$in": [owner, EVERYBODY] } }, 2).await?;
        let numbers = found.iter().map(|found| integer(found, "epoch", EPOCHS)).collect::<Result<Vec<_>, _>>()?;
        Ok(Epoch(numbers.into_iter().fold(0, i64::saturating_add)))
    }

    /// Takes its name and slot from what ended by itself, or with its owner's epoch.
    async fn give_way(&self, key: &'static str, (value, epoch): (&str, i64), now: i64) -> Result<(), Failure> {
        let Some(holder) = self.find_one(SECRETS, doc! { key: value }).await? else { return Ok(()) };
        let holder = secret_row(&holder)?;
        if holder.over.is_some_and(|over| over <= now) || holder.epoch < epoch {
            let filter = doc! { "_id": &holder.id, "version": holder.version };
            let free = nobodys(&holder.id);
            self.change(SECRETS, filter, doc! { "$set": { "living": &free, "place": &free } }).await?;
        }
        Ok(())
    }

    /// Revokes the longest unused of an owner's living secrets, but for the newest, until there are no more than `most`.
    async fn evict(&self, newest: &SecretRow, most: u32, now: OffsetDateTime) -> Result<Vec<SecretId>, Failure> {
        let filter = doc! { "owner": &newest.owner, "kind": &newest.kind, "revoked": Bson::Null };
        let at = milliseconds(now);
        let mut others = Vec::new();
        for document in self.find_some(SECRETS, filter, 0).await? {
            let row = secret_row(&document)?;
            if row.id != newest.id && row.over.is_none_or(|over| over > at) && row.epoch >= newest.epoch {
                others.push(row);
            }
        }
        others.sort_by(|one, other| {
            (one.used.unwrap_or(one.made), &one.id).cmp(&(other.used.unwrap_or(other.made), &other.id))
        });
        let room = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(1);
        let mut evicted = Vec::new();
        for row in others.iter().take(others.len().saturating_sub(room)) {
            let id = SecretId(row.id.as_str().into());
            match self.revoke(&id, now).await? {
                Changed::Done => evicted.push(id),
                Changed::Missing | Changed::Conflict => {}
            }
        }
        let ended = doc! { "$or": [{ "over": { "$lte": at } }, { "epoch": { "$lt": newest.epoch } }] };
        self.thin_out(newest, doc! { "revoked": { "$ne": Bson::Null } }, "revoked").await?;
        self.thin_out(newest, doc! { "revoked": Bson::Null, "$and": [ended] }, "over").await?;
        Ok(evicted)
    }

    /// Forgets those of an owner's secrets that `ended` finds, but for the [`MOST_ENDED`] with the last moments under a key.
    async fn thin_out(&self, newest: &SecretRow, mut ended: Bsons, moment: &'static str) -> Result<(), Failure> {
        ended.extend(doc! { "owner": &newest.owner, "kind": &newest.kind });
        let beyond = self.ask(SECRETS, |secrets| {
            let ended = ended.clone();
            async move {
                let sorted = doc! { moment: -1, "_id": -1 };
                let found = secrets.find(ended).projection(doc! { "_id": 1 }).sort(sorted);
                all(found.skip(u64::from(MOST_ENDED)).limit(FORGOTTEN_AT_ONCE).await?).await
            }
        });
        let ids: Vec<Bson> = beyond.await?.iter().filter_map(|found| found.get("_id").cloned()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.ask(SECRETS, |secrets| {
            let which = doc! { "_id": { "$in": ids.clone() } };
            async move { secrets.delete_many(which).await }
        })
        .await?;
        Ok(())
    }
}

#[async_trait]
impl Secrets for MongoRecords {
    async fn find(&self, hash: &SecretHash) -> Result<Option<Found>, Failure> {
        self.found(doc! { "hash": hexadecimal(&hash.0) }).await
    }

    async fn get(&self, id: &SecretId) -> Result<Option<Found>, Failure> {
        self.found(doc! { "_id": &*id.0 }).await
    }

    async fn add(&self, secret: &Kept, room: Room, now: OffsetDateTime) -> Result<Added, Failure> {
        let row = SecretRow::from_kept(secret)?;
        self.give_way("living", (&row.living, row.epoch), milliseconds(now)).await?;
        self.give_way("place", (&row.place, row.epoch), milliseconds(now)).await?;
        match self.insert(SECRETS, secret_document(row.clone())).await? {
            Changed::Done => {}
            Changed::Missing | Changed::Conflict => return Ok(Added::Taken),
        }
        let evicted = match room {
            Room::Any => Vec::new(),
            Room::Evict(most) => self.evict(&row, most, now).await?,
            Room::Refuse(most) => {
                // Afterwards, with it: of two that are added at once, neither is one too many.
                let filter = living_of(&row.owner, (&row.kind, row.epoch), now);
                let living = self.ask(SECRETS, |secrets| {
                    let filter = filter.clone();
                    async move { secrets.count_documents(filter).await }
                });
                if living.await? > u64::from(most) {
                    self.ask(SECRETS, |secrets| {
                        let which = doc! { "_id": &row.id };
                        async move { secrets.delete_one(which).await }
                    })
                    .await?;
                    return Ok(Added::Full);
                }
                Vec::new()
            }
        };
        Ok(Added::Kept { evicted })
    }

    async fn list(&self, whose: &Whose, after: Option<&SecretId>, count: u32) -> Result<Vec<Kept>, Failure> {
        let mut filter = match whose {
            Whose::All => doc! {},
            Whose::Account(account) => doc! { "owner": account.as_str() },
            Whose::Robot(name) => doc! { "owner": robot_key(name) },
        };
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": &*after.0 });
        }
        if count == 0 {
            // To the server, no limit.
            return Ok(Vec::new());
        }
        let found = self.find_some(SECRETS, filter, i64::from(count)).await?;
        found.iter().map(|document| secret_row(document)?.into_kept()).collect()
    }

    async fn living(
        &self,
        (account, kind): (&Account, SecretKind),
        (after, count): (Option<&SecretId>, u32),
        now: OffsetDateTime,
    ) -> Result<Vec<Kept>, Failure> {
        if count == 0 {
            // To the server, no limit.
            return Ok(Vec::new());
        }
        let epoch = self.epoch(account).await?.0;
        let mut filter = living_of(account.as_str(), (name_of(kind), epoch), now);
        if let Some(after) = after {
            filter.insert("_id", doc! { "$gt": &*after.0 });
        }
        let found = self.find_some(SECRETS, filter, i64::from(count)).await?;
        found.iter().map(|document| secret_row(document)?.into_kept()).collect()
    }

    async fn replace(&self, secret: &Kept, seen: Version) -> Result<Changed, Failure> {
        let mut document = secret_document(SecretRow::from_kept(&Kept { version: next(seen), ..secret.clone() })?);
        let filter = doc! { "_id": document.remove("_id"), "version": seen.0, "revoked": Bson::Null };
        // Whose it is does not change, and its uses are written down by themselves.
        for key in ["kind", "owner", "robot", "used", "used_from", "used_by", "revoked"] {
            document.remove(key);
        }
        self.change(SECRETS, filter, doc! { "$set": document }).await
    }

    async fn revoke(&self, id: &SecretId, now: OffsetDateTime) -> Result<Changed, Failure> {
        let filter = doc! { "_id": &*id.0, "revoked": Bson::Null };
        let free = nobodys(&id.0);
        let change = doc! {
            "$set": { "revoked": milliseconds(now), "living": &free, "place": &free },
            "$inc": { "version": 1_i64 },
        };
        self.change(SECRETS, filter, change).await
    }

    async fn used(&self, uses: &BTreeMap<SecretId, Use>) -> Result<(), Failure> {
        for (id, used) in uses {
            let Some(found) = self.find_one(SECRETS, doc! { "_id": &*id.0 }).await? else { continue };
            let (row, at) = (secret_row(&found)?, milliseconds(used.at));
            if row.used.is_some_and(|before| before >= at) {
                continue;
            }
            let filter = doc! { "_id": &row.id, "used": row.used, "version": row.version };
            let change = doc! { "$set": {
                "used": at,
                "used_from": used.network.map(|network| network.to_string()),
                "used_by": &used.client,
                "over": over(row.ends, row.idle, at),
            } };
            // One that was changed in between is left to the next time.
            self.change(SECRETS, filter, change).await?;
        }
        Ok(())
    }

    async fn forget(&self, kind: SecretKind, ended_before: OffsetDateTime) -> Result<u64, Failure> {
        let end = milliseconds(ended_before);
        self.ask(SECRETS, |secrets| async move {
            let over = [doc! { "revoked": { "$lt": end } }, doc! { "over": { "$lt": end } }];
            let ended = doc! { "kind": name_of(kind), "$or": over };
            secrets.delete_many(ended).await.map(|done| done.deleted_count)
        })
        .await
    }
}

#[async_trait]
impl Epochs for MongoRecords {
    async fn epoch(&self, account: &Account) -> Result<Epoch, Failure> {
        self.epoch_of(account).await
    }

    async fn raise(&self, account: &Account, _now: OffsetDateTime) -> Result<Epoch, Failure> {
        self.raise_one(account, doc! { "$inc": { "epoch": 1_i64 } }).await?;
        self.epoch_of(account).await
    }

    async fn raise_all(&self, now: OffsetDateTime) -> Result<(), Failure> {
        // Each alone raises it; together they do what one change does elsewhere.
        self.raise_one(EVERYBODY, doc! { "$inc": { "epoch": 1_i64 } }).await?;
        self.raise_one(EVERYBODY, doc! { "$max": { "epoch": milliseconds(now) } }).await
    }
}

#[async_trait]
impl Robots for MongoRecords {
    async fn robot(&self, name: &RobotName) -> Result<Option<Robot>, Failure> {
        let found = self.find_one(ROBOTS, doc! { "_id": &*name.0 }).await?;
        found.map(|document| robot_row(&document)?.into_robot()).transpose()
    }

    async fn robots(&self, after: Option<&RobotName>, count: u32) -> Result<Vec<Robot>, Failure> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let filter = after.map_or_else(Bsons::new, |after| doc! { "_id": { "$gt": &*after.0 } });
        let found = self.find_some(ROBOTS, filter, i64::from(count)).await?;
        found.iter().map(|document| robot_row(document)?.into_robot()).collect()
    }

    async fn make_robot(&self, robot: &Robot) -> Result<Changed, Failure> {
        self.insert(ROBOTS, robot_document(RobotRow::from_robot(robot)?)).await
    }

    async fn replace_robot(&self, robot: &Robot, seen: Version) -> Result<Changed, Failure> {
        let row = RobotRow::from_robot(robot)?;
        let filter = doc! { "_id": row.name, "version": seen.0 };
        let set = doc! { "labels": row.labels, "disabled": row.disabled, "version": next(seen).0 };
        self.change(ROBOTS, filter, doc! { "$set": set }).await
    }

    async fn remove_robot(&self, name: &RobotName, now: OffsetDateTime) -> Result<Changed, Failure> {
        let key = robot_key(name);
        let raise = || self.raise_one(&key, doc! { "$inc": { "epoch": 1_i64 } });
        // Its secrets end with its epoch, before it is removed and after: one that is made anew has none of them, wherever
        // this is interrupted, and whatever was added meanwhile.
        raise().await?;
        let removed = self.ask(ROBOTS, |robots| {
            let which = doc! { "_id": &*name.0 };
            async move { robots.delete_one(which).await.map(|done| done.deleted_count) }
        });
        if removed.await? == 0 {
            return Ok(Changed::Missing);
        }
        raise().await?;
        for document in self.find_some(SECRETS, doc! { "owner": &key, "revoked": Bson::Null }, 0).await? {
            self.revoke(&SecretId(secret_row(&document)?.id.into()), now).await?;
        }
        Ok(Changed::Done)
    }
}

#[async_trait]
impl SeenTokens for MongoRecords {
    async fn see(&self, hash: &SecretHash, ends: OffsetDateTime, now: OffsetDateTime) -> Result<Presented, Failure> {
        let now = milliseconds(now);
        self.ask(SEEN, |seen| async move { seen.delete_many(doc! { "ends": { "$lte": now } }).await }).await?;
        Ok(match self.insert(SEEN, doc! { "_id": hexadecimal(&hash.0), "ends": milliseconds(ends) }).await? {
            Changed::Done => Presented::First,
            Changed::Conflict | Changed::Missing => Presented::Again,
        })
    }

    async fn was_seen(&self, hash: &SecretHash) -> Result<bool, Failure> {
        Ok(self.find_one(SEEN, doc! { "_id": hexadecimal(&hash.0) }).await?.is_some())
    }
}
