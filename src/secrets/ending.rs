//! How secrets are looked at, listed, ended and forgotten, whoever asks: command, API, or what runs beside the server.

use time::OffsetDateTime;

use super::making::MOST_PERSONAL;
use super::not_made::NotMade;
use super::{Dead, Lasting, State};
use crate::identity::{Account, Identity};
use crate::records::{Changed, Epoch, Failure, Kept, Owner, RobotName, SecretId, SecretKind, Slot, Whose};
use crate::secret::lasting::{Form, LastingSecret};

/// How many records are read at once where all are.
const PAGE: u32 = 500;

impl Lasting {
    /// A secret and whether it lives, by its id.
    ///
    /// # Errors
    /// The records could not tell.
    pub async fn show(&self, id: &SecretId) -> Result<Option<Kept>, Failure> {
        Ok(self.within(self.store.get(id)).await?.map(|found| found.secret))
    }

    /// Some secrets by id, those that have ended among them.
    ///
    /// # Errors
    /// The records could not tell.
    pub async fn list(&self, whose: &Whose, after: Option<&SecretId>, count: u32) -> Result<Vec<Kept>, Failure> {
        self.within(self.store.list(whose, after, count)).await
    }

    /// The personal secrets of an account that are good, by id, at most `count`, beginning behind `after`. `owner` is who has the name now:
    /// those of who had it before, or of this one with another password, are dead and somebody else's business.
    ///
    /// # Errors
    /// The records could not tell.
    pub async fn living_personal(
        &self,
        owner: &Identity,
        (after, count): (Option<&SecretId>, usize),
        now: OffsetDateTime,
    ) -> Result<Vec<Kept>, Failure> {
        let mut living = self.of_name(owner, after, now).await?;
        living.retain(|kept| is_of(kept, owner));
        living.truncate(count);
        Ok(living)
    }

    /// Ends for good what an account of this name has that is of somebody else, or of itself with another password: whether anything was.
    ///
    /// # Errors
    /// The records could not tell, or could not be changed.
    pub(super) async fn end_others(&self, owner: &Identity, now: OffsetDateTime) -> Result<bool, NotMade> {
        let mut living = self.of_name(owner, None, now).await?;
        living.retain(|kept| !is_of(kept, owner));
        for kept in &living {
            self.revoke(&kept.id, now).await?;
        }
        Ok(!living.is_empty())
    }

    /// The personal secrets under an account's name that nothing has ended, whoever they are of. There are never more.
    async fn of_name(
        &self,
        owner: &Identity,
        after: Option<&SecretId>,
        now: OffsetDateTime,
    ) -> Result<Vec<Kept>, Failure> {
        let Some(account) = &owner.account else { return Ok(Vec::new()) };
        self.within(self.store.living((account, SecretKind::Personal), (after, MOST_PERSONAL), now)).await
    }

    /// Ends a secret for good.
    ///
    /// # Errors
    /// There is none of this id, or the records could not be changed.
    pub async fn revoke(&self, id: &SecretId, now: OffsetDateTime) -> Result<(), NotMade> {
        match self.within(self.store.revoke(id, now)).await? {
            // It is dead, whoever did it.
            Changed::Done | Changed::Conflict => Ok(()),
            Changed::Missing => Err(NotMade::Missing),
        }
    }

    /// Ends all secrets of a robot for good: how many lived.
    ///
    /// # Errors
    /// There is no such robot, or the records could not be changed: then some may live.
    pub async fn revoke_robot(&self, name: &RobotName, now: OffsetDateTime) -> Result<usize, NotMade> {
        self.within(self.store.robot(name)).await?.ok_or(NotMade::Missing)?;
        let living = self.living_of(name, now).await?;
        for (_, kept) in &living {
            self.revoke(&kept.id, now).await?;
        }
        Ok(living.len())
    }

    /// Ends a secret for good that is presented itself: whoever has it may end it. What is none is none of our business.
    ///
    /// # Errors
    /// The records could not be asked or changed.
    pub async fn revoke_presented(&self, text: &str, now: OffsetDateTime) -> Result<Option<SecretId>, Failure> {
        let Form::Lasting(secret) = LastingSecret::read(text) else { return Ok(None) };
        let Some(found) = self.within(self.store.find(&secret.hash())).await? else { return Ok(None) };
        match self.within(self.store.revoke(&found.secret.id, now)).await? {
            Changed::Done | Changed::Conflict => Ok(Some(found.secret.id)),
            Changed::Missing => Ok(None),
        }
    }

    /// The epoch of an account: what began in an earlier one has been ended.
    ///
    /// # Errors
    /// The records could not tell.
    pub async fn epoch(&self, account: &Account) -> Result<Epoch, Failure> {
        self.within(self.store.epoch(account)).await
    }

    /// Ends everything lasting that an account or a robot has.
    ///
    /// # Errors
    /// The records could not be changed.
    pub async fn sign_out(&self, account: &Account, now: OffsetDateTime) -> Result<Epoch, Failure> {
        self.within(self.store.raise(account, now)).await
    }

    /// Forgets secrets of a kind that ended so long ago that nobody asks about them any more.
    ///
    /// # Errors
    /// The records could not be changed.
    pub async fn forget(&self, kind: SecretKind, ended_before: OffsetDateTime) -> Result<u64, Failure> {
        self.store.forget(kind, ended_before).await
    }

    /// The personal and robots' secrets that end before this moment and leave their owners without one: of a robot's two, the last.
    ///
    /// # Errors
    /// The records could not tell.
    pub async fn ending(&self, before: OffsetDateTime, now: OffsetDateTime) -> Result<Vec<Kept>, Failure> {
        let (mut ending, mut after) = (Vec::new(), None);
        loop {
            let page = self.listed(&Whose::All, (after.as_ref(), PAGE), now).await?;
            let Some(last) = page.last().map(|(last, _)| last.id.clone()) else { break };
            for (kept, state) in page {
                let lives = state == State::Active && kept.ends.is_some_and(|end| end < before);
                let stays = match (&kept.owner, lives) {
                    (_, false) | (Owner::Workload { .. }, true) => false,
                    (Owner::Account { .. }, true) => kept.kind == SecretKind::Personal,
                    (Owner::Robot { name, .. }, true) => {
                        let others = self.living_of(name, now).await?;
                        others.iter().all(|(_, other)| other.ends.is_some_and(|end| end < before))
                    }
                };
                if stays {
                    ending.push(kept);
                }
            }
            after = Some(last);
        }
        Ok(ending)
    }

    /// A robot's secrets that nothing has ended, the older one first.
    pub(super) async fn living_of(&self, name: &RobotName, now: OffsetDateTime) -> Result<Vec<(Slot, Kept)>, Failure> {
        let (mut living, mut after) = (Vec::new(), None);
        loop {
            let page = self.listed(&Whose::Robot(name.clone()), (after.as_ref(), PAGE), now).await?;
            let Some(last) = page.last().map(|(last, _)| last.id.clone()) else { break };
            for (kept, state) in page {
                if let (Owner::Robot { slot, .. }, State::Active) = (&kept.owner, state) {
                    living.push((*slot, kept));
                }
            }
            after = Some(last);
        }
        living.sort_by_key(|(slot, kept)| (kept.made, *slot));
        Ok(living)
    }
}

/// Whether a secret is of an account as it is now.
pub fn is_of(kept: &Kept, owner: &Identity) -> bool {
    same_owner(&kept.owner, owner).is_ok()
}

/// The backend that knows the owner of an account's secret, if this is still who the secret was made for.
///
/// # Errors
/// It is somebody else.
pub(super) fn same_owner(owner: &Owner, now: &Identity) -> Result<&'static str, Dead> {
    let Owner::Account { account, bound } = owner else { return Err(Dead::OwnerGone) };
    match now.by.as_ref().map(|by| by.backend).filter(|by| *by == bound.backend) {
        None => Err(Dead::OwnerGone),
        Some(_) if now.account.as_ref() != Some(account) || now.mark != bound.mark => Err(Dead::OwnerChanged),
        Some(by) => Ok(by),
    }
}
