//! How a secret that is in use is narrowed, widened or called otherwise, and how secrets are listed with what became of them.

use std::collections::BTreeMap;

use policy::rule::parse_network;
use settings::moment::{DayEnd, parse_moment};
use time::OffsetDateTime;

use super::making::check_as;
use super::{Lasting, NotMade, State, robot_account};
use crate::identity::Account;
use crate::records::{Changed, Epoch, Failure, Found, Kept, Limits, Owner, SecretId, SecretKind, Version, Whose};

/// What is to be changed of a secret. Its end is not among it: a secret that is to live longer is renewed, and becomes another.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Its new name.
    pub name: Option<String>,
    /// What it may do from now on of what its owner may.
    pub limits: Option<Limits>,
}

impl Lasting {
    /// Changes a secret that nobody else has changed since it had version `seen`.
    ///
    /// # Errors
    /// Why it stays as it was.
    pub async fn change(&self, old: Kept, changes: Changes, seen: Version) -> Result<Kept, NotMade> {
        match old.kind {
            SecretKind::Personal | SecretKind::Robot => {}
            SecretKind::Refresh | SecretKind::Session => return Err(NotMade::NotChanged),
        }
        if old.revoked.is_some() {
            return Err(NotMade::Ended);
        }
        let Changes { name, limits } = changes;
        let name = name.unwrap_or_else(|| old.name.clone());
        let limits = limits.unwrap_or_else(|| old.limits.clone());
        check_as(&name, &limits)?;
        let kept = Kept { name, limits, version: Version(seen.0.saturating_add(1)), ..old };
        match self.within(self.store.replace(&kept, seen)).await? {
            Changed::Done => Ok(kept),
            Changed::Missing => Err(NotMade::Missing),
            Changed::Conflict => Err(NotMade::Conflict),
        }
    }

    /// A secret and what became of it, by its id.
    ///
    /// # Errors
    /// The records could not tell.
    pub async fn shown(&self, id: &SecretId, now: OffsetDateTime) -> Result<Option<(Kept, State)>, Failure> {
        let found = self.within(self.store.get(id)).await?;
        Ok(found.map(|found| (found.secret.clone(), State::of(&found, now))))
    }

    /// Some secrets by id and what became of each, at most `count`, beginning behind `after`.
    ///
    /// # Errors
    /// The records could not tell.
    pub async fn listed(
        &self,
        whose: &Whose,
        (after, count): (Option<&SecretId>, u32),
        now: OffsetDateTime,
    ) -> Result<Vec<(Kept, State)>, Failure> {
        let mut epochs: BTreeMap<Account, Epoch> = BTreeMap::new();
        let mut listed = Vec::new();
        for secret in self.list(whose, after, count).await? {
            let account = account_of(&secret.owner)?;
            let epoch = match epochs.get(&account) {
                Some(epoch) => *epoch,
                None => {
                    let epoch = self.within(self.store.epoch(&account)).await?;
                    epochs.insert(account, epoch);
                    epoch
                }
            };
            let found = Found { secret, epoch, robot: None };
            let state = State::of(&found, now);
            listed.push((found.secret, state));
        }
        Ok(listed)
    }
}

/// The account that the owner of a secret logs in with.
///
/// # Errors
/// A robot is called as none can be; no program of ours wrote it.
pub fn account_of(owner: &Owner) -> Result<Account, Failure> {
    match owner {
        Owner::Account { account, .. } | Owner::Workload { account, .. } => Ok(account.clone()),
        Owner::Robot { name, .. } => {
            robot_account(name).map_err(|_| Failure::Unusable { cause: "a robot has an impossible name".to_owned() })
        }
    }
}

/// What is said of a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wanted<T> {
    /// Nothing: it stays as it was.
    #[default]
    Unsaid,
    /// There is to be none.
    Lifted,
    /// It is to be this.
    Is(T),
}

impl<T> Wanted<T> {
    /// The limit that there is then.
    fn over(self, before: T) -> T
    where
        T: Default,
    {
        match self {
            Wanted::Unsaid => before,
            Wanted::Lifted => T::default(),
            Wanted::Is(wanted) => wanted,
        }
    }

    /// What is said, read.
    fn read<Read>(self, read: impl Fn(T) -> Result<Read, NotMade>) -> Result<Wanted<Read>, NotMade> {
        Ok(match self {
            Wanted::Unsaid => Wanted::Unsaid,
            Wanted::Lifted => Wanted::Lifted,
            Wanted::Is(text) => Wanted::Is(read(text)?),
        })
    }
}

/// How a secret is to be narrower than its owner, as people write it.
#[derive(Clone, Debug, Default)]
pub struct LimitTexts {
    /// Scopes with globs for names.
    pub allow: Wanted<Vec<String>>,
    /// Networks, or addresses.
    pub from: Wanted<Vec<String>>,
    /// Services.
    pub services: Wanted<Vec<String>>,
    /// A date or a moment.
    pub not_before: Wanted<String>,
}

impl LimitTexts {
    /// The limits, where `before` are those that there were.
    ///
    /// # Errors
    /// A network or a moment is none, or a list has nothing in it. Scopes are looked at when the secret is made or changed.
    pub fn over(self, before: Limits) -> Result<Limits, NotMade> {
        // An empty list reads as "nothing", and no limit is "everything": who meant the one must not get the other.
        let listed = |texts: Vec<String>| if texts.is_empty() { Err(NotMade::NoneListed) } else { Ok(texts) };
        let networks = |texts: Vec<String>| {
            let read: Option<Vec<_>> = listed(texts)?.iter().map(|text| parse_network(text)).collect();
            read.ok_or(NotMade::Network)
        };
        let moment = |text: String| parse_moment(&text, DayEnd::Start).map(Some).ok_or(NotMade::Moment);
        Ok(Limits {
            allow: self.allow.read(listed)?.over(before.allow),
            from: self.from.read(networks)?.over(before.from),
            services: self.services.read(listed)?.over(before.services),
            not_before: self.not_before.read(moment)?.over(before.not_before),
        })
    }
}
