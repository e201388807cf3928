//! How secrets are made and renewed. All rules about that are here, whoever asks: command, API or login.

use std::sync::Arc;
use std::time::Duration;

use policy::cut::Cut;
use policy::pattern::LabelValues;
use time::OffsetDateTime;

use super::ending::is_of;
use super::names::{free_name, is_robots, robot_account};
use super::not_made::{LONGEST_NAME, MOST_LISTED, NotMade};
use super::{Expires, Lasting};
use crate::identity::{Account, AccountState, Identity, Kind, LookUp};
use crate::random;
use crate::records::{
    Added, Bound, Changed, Epoch, Kept, Limits, Owner, Robot, RobotName, Room, SecretId, SecretKind, Slot, Version,
};
use crate::secret::lasting::LastingSecret;
use crate::shown::escaped;

/// The refresh tokens that an account may have; the longest unused goes for a new one. Build jobs log in all day.
pub const MOST_REFRESH: u32 = 50;
/// The personal secrets that an account may have at once.
pub const MOST_PERSONAL: u32 = 200;
/// The secrets that a service of the directory may have in the records at once: the new one, and the old one until all use the new.
const MOST_OF_SERVICE: u32 = 2;
/// The sessions that a workload's account may have; the longest unused goes for a new one. A pipeline of many jobs is one account.
pub const MOST_SESSIONS: u32 = 1_000;
/// How long a refresh token may rest unused.
const REFRESH_IDLE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long one lives in all, unless the file's `longest` is less.
const REFRESH_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A secret that was just made. It can be read here and nowhere else, and only once.
#[derive(Debug)]
pub struct Made {
    /// What to hand out.
    pub secret: LastingSecret,
    /// What is kept of it.
    pub kept: Kept,
    /// The secrets that had to go for it.
    pub evicted: Vec<SecretId>,
}

/// What somebody asks for who wants a secret.
#[derive(Clone, Debug)]
pub struct New {
    /// What it is to be called.
    pub name: String,
    /// When it is to end. It has to be said.
    pub expires: Option<Expires>,
    /// What it may do of what its owner may.
    pub limits: Limits,
    /// Who asks; `None` at the command line.
    pub maker: Option<Account>,
}

impl Lasting {
    /// Makes a personal secret of an account, of which `owner` is what a look-up says now.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn make_personal(&self, owner: LookUp, new: New, now: OffsetDateTime) -> Result<Made, NotMade> {
        let owner = known(owner, now)?;
        let ends = new.expires.ok_or(NotMade::NoEnd)?.end(self.settings.longest, now)?;
        // None has to go for a new one: a machine that nobody thinks of at the moment would be locked out.
        let room = match owner.1.kind {
            Kind::Account => Room::Refuse(MOST_PERSONAL),
            Kind::Service if new.maker.as_ref() == Some(&owner.0) => return Err(NotMade::OfService),
            Kind::Service => Room::Refuse(MOST_OF_SERVICE),
        };
        let draft = Draft { kind: SecretKind::Personal, ends, idle: None, new, room };
        self.make(owner.0, &owner.1, draft, now).await
    }

    /// Makes a secret of a service of the directory, in the free one of its two places. `owner` is what a look-up of its account says
    /// now.
    ///
    /// # Errors
    /// Why there is none; [`NotMade::BothSlots`] where both places are taken.
    pub async fn make_service(&self, owner: LookUp, expires: Expires, now: OffsetDateTime) -> Result<Made, NotMade> {
        let (account, owner) = known(owner, now)?;
        let ends = expires.end(self.settings.longest, now)?;
        for slot in [Slot::One, Slot::Two] {
            // One account has two living secrets of one name never, and so each place is filled once.
            let name = match slot {
                Slot::One => "service secret 1",
                Slot::Two => "service secret 2",
            };
            let new = New { name: name.to_owned(), expires: Some(expires), limits: Limits::default(), maker: None };
            let room = Room::Refuse(MOST_OF_SERVICE);
            let draft = Draft { kind: SecretKind::Personal, ends, idle: None, new, room };
            match self.make(account.clone(), &owner, draft, now).await {
                Err(NotMade::NameTaken) => {}
                made => return made,
            }
        }
        Err(NotMade::BothSlots)
    }

    /// Makes a robot's secret, and the robot where there is none: then `labels` have to be named, which give it its rights.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn make_robot(
        &self,
        name: &RobotName,
        labels: Option<Arc<LabelValues>>,
        new: New,
        now: OffsetDateTime,
    ) -> Result<Made, NotMade> {
        let ends = new.expires.ok_or(NotMade::NoEnd)?.end(self.settings.longest, now)?;
        check(&new)?;
        match (self.within(self.store.robot(name)).await?, labels) {
            (None, None) => return Err(NotMade::NoRobot),
            (None, Some(labels)) => {
                let state = AccountState::default();
                let robot = Robot { name: name.clone(), labels, state, made: whole_seconds(now), version: Version(1) };
                match self.within(self.store.make_robot(&robot)).await? {
                    Changed::Done => {}
                    Changed::Missing | Changed::Conflict => return Err(NotMade::Conflict),
                }
            }
            (Some(robot), Some(labels)) if robot.labels != labels => return Err(NotMade::OtherLabels),
            (Some(_), _) => {}
        }
        let living = self.living_of(name, now).await?;
        let taken = |slot| living.iter().any(|(own, _)| *own == slot);
        let slot = match (taken(Slot::One), taken(Slot::Two)) {
            (false, _) => Slot::One,
            (true, false) => Slot::Two,
            (true, true) => return Err(NotMade::BothSlots),
        };
        self.fill(name, slot, (new, ends), now).await
    }

    /// Makes a refresh token for a login. `owner` is what a look-up of the account says after it: where that does not know the account
    /// as the login did, there is none.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn make_refresh(
        &self,
        (login, owner): (&Identity, LookUp),
        service: &str,
        client: &str,
        now: OffsetDateTime,
    ) -> Result<Made, NotMade> {
        let owner = known(owner, now)?;
        match owner.1.kind {
            Kind::Account => {}
            Kind::Service => return Err(NotMade::OfService),
        }
        let backend = |identity: &Identity| identity.by.as_ref().map(|by| by.backend);
        if owner.1.account != login.account || backend(&owner.1) != backend(login) {
            return Err(NotMade::OnlyByLogin);
        }
        // It was changed between the login and now: who still had the old password would get what outlives it. A backend that
        // says at a login what tells an account from another says so at a look-up, too.
        if login.mark.is_some() && owner.1.mark != login.mark {
            return Err(NotMade::Conflict);
        }
        let life = self.settings.longest.map_or(REFRESH_LIFE, |longest| longest.min(REFRESH_LIFE));
        let limits = Limits { services: vec![service.to_owned()], ..Limits::default() };
        // Each has a name of its own, and says what it was made for.
        let name = match super::use_of(now, None, client).client {
            unnamed if unnamed.is_empty() => "login".to_owned(),
            client => client.chars().take(16).collect(),
        };
        let new = New { name: format!("{name} {}", new_id()?.0), expires: None, limits, maker: login.account.clone() };
        let ends = Expires::In(life).end(None, now)?;
        let draft =
            Draft { kind: SecretKind::Refresh, ends, idle: Some(REFRESH_IDLE), new, room: Room::Evict(MOST_REFRESH) };
        self.make(owner.0, &owner.1, draft, now).await
    }

    /// Makes the session of a workload that logged in by its own token.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn make_session(&self, login: &Identity, service: &str, now: OffsetDateTime) -> Result<Made, NotMade> {
        let entry = login.by.as_ref().and_then(|by| by.credential.clone());
        let (Some(account), Some(entry), Some(ends)) = (login.account.clone(), entry, login.session) else {
            return Err(NotMade::NoSession);
        };
        let longest = self.settings.longest.and_then(|longest| now.checked_add(longest.try_into().ok()?));
        let ends = Expires::At(longest.map_or(ends, |longest| longest.min(ends))).end(None, now)?;
        let limits = Limits { services: vec![service.to_owned()], ..Limits::default() };
        // Each has a name of its own, and says what it was made for.
        let short: String = entry.chars().take(32).collect();
        let new = New { name: format!("{short} {}", new_id()?.0), expires: None, limits, maker: Some(account.clone()) };
        let epoch = self.within(self.store.epoch(&account)).await?;
        let owner = Owner::Workload { entry, account, labels: Arc::clone(&login.labels) };
        let draft = Draft { kind: SecretKind::Session, ends, idle: None, new, room: Room::Evict(MOST_SESSIONS) };
        self.add(owner, epoch, draft, now).await
    }

    /// Makes a secret anew, with another end. A person's own takes the place of the old one, which is dead from then on. A robot's new
    /// one fills the place that is free, or else that of the older one, so that the younger goes on working until everybody has
    /// the new one. `owner` is what a look-up of its account says now; a robot has none. Whoever renews it has seen the new one, and is who
    /// made it: `by`, or nobody that is known at the command line.
    ///
    /// # Errors
    /// Why it was not renewed.
    pub async fn renew(
        &self,
        id: &SecretId,
        owner: Option<LookUp>,
        (expires, by): (Option<Expires>, Option<Account>),
        now: OffsetDateTime,
    ) -> Result<Made, NotMade> {
        let found = self.within(self.store.get(id)).await?.ok_or(NotMade::Missing)?;
        let old = found.secret;
        let ends = expires.ok_or(NotMade::NoEnd)?.end(self.settings.longest, now)?;
        if old.revoked.is_some() || old.epoch != found.epoch {
            return Err(NotMade::Ended);
        }
        match (old.kind, &old.owner) {
            (SecretKind::Personal, Owner::Account { .. }) => {
                let (_, identity) = known(owner.unwrap_or(LookUp::Unknown), now)?;
                if !is_of(&old, &identity) {
                    return Err(NotMade::Ended);
                }
                let secret = LastingSecret::draw(old.kind)?;
                let (hash, last4, seen) = (secret.hash(), secret.last4(), old.version);
                let kept = Kept {
                    hash,
                    last4,
                    made: whole_seconds(now),
                    ends,
                    maker: by,
                    version: Version(seen.0.saturating_add(1)),
                    ..old
                };
                match self.within(self.store.replace(&kept, seen)).await? {
                    Changed::Done => Ok(Made { secret, kept, evicted: Vec::new() }),
                    Changed::Missing => Err(NotMade::Missing),
                    Changed::Conflict => Err(NotMade::Conflict),
                }
            }
            (SecretKind::Robot, Owner::Robot { name, .. }) => {
                let name = name.clone();
                let living = self.living_of(&name, now).await?;
                let others: Vec<&str> = living.iter().map(|(_, other)| other.name.as_str()).collect();
                let (slot, called) = match living.as_slice() {
                    [] => (Slot::One, free_name(&old.name, &others)),
                    [(Slot::One, _)] => (Slot::Two, free_name(&old.name, &others)),
                    [(Slot::Two, _)] => (Slot::One, free_name(&old.name, &others)),
                    [(slot, older), ..] => {
                        match self.within(self.store.revoke(&older.id, now)).await? {
                            Changed::Done | Changed::Conflict => {}
                            Changed::Missing => return Err(NotMade::Conflict),
                        }
                        (*slot, older.name.clone())
                    }
                };
                let new = New { name: called, expires, limits: old.limits, maker: by };
                self.fill(&name, slot, (new, ends), now).await
            }
            (
                SecretKind::Personal | SecretKind::Robot | SecretKind::Refresh | SecretKind::Session,
                Owner::Account { .. } | Owner::Robot { .. } | Owner::Workload { .. },
            ) => Err(NotMade::NotRenewed),
        }
    }

    /// Makes the secret of one of a robot's places.
    async fn fill(
        &self,
        name: &RobotName,
        slot: Slot,
        (new, ends): (New, Option<OffsetDateTime>),
        now: OffsetDateTime,
    ) -> Result<Made, NotMade> {
        let epoch = self.within(self.store.epoch(&robot_account(name)?)).await?;
        let draft = Draft { kind: SecretKind::Robot, ends, idle: None, new, room: Room::Any };
        self.add(Owner::Robot { name: name.clone(), slot }, epoch, draft, now).await
    }

    /// Makes a secret of an account.
    async fn make(
        &self,
        account: Account,
        owner: &Identity,
        draft: Draft,
        now: OffsetDateTime,
    ) -> Result<Made, NotMade> {
        let bound = bound_of(owner).ok_or(NotMade::Unknown)?;
        let epoch = self.within(self.store.epoch(&account)).await?;
        let of = Owner::Account { account: account.clone(), bound };
        let mut made = self.add(of.clone(), epoch, draft.clone(), now).await;
        if matches!(made, Err(NotMade::NameTaken | NotMade::TooMany)) && self.end_others(owner, now).await? {
            made = self.add(of, epoch, draft, now).await;
        }
        match (made, owner.kind) {
            (Err(NotMade::TooMany), Kind::Service) => Err(NotMade::BothSlots),
            (made, Kind::Account | Kind::Service) => made,
        }
    }

    async fn add(&self, owner: Owner, epoch: Epoch, draft: Draft, now: OffsetDateTime) -> Result<Made, NotMade> {
        let Draft { kind, ends, idle, new, room } = draft;
        check(&new)?;
        let New { name, expires: _, limits, maker } = new;
        let secret = LastingSecret::draw(kind)?;
        let kept = Kept {
            id: new_id()?,
            kind,
            hash: secret.hash(),
            last4: secret.last4(),
            name,
            owner,
            epoch,
            maker,
            limits,
            made: whole_seconds(now),
            ends,
            idle,
            revoked: None,
            last_use: None,
            version: Version(1),
        };
        match self.within(self.store.add(&kept, room, now)).await? {
            Added::Kept { evicted } => Ok(Made { secret, kept, evicted }),
            Added::Taken => Err(NotMade::NameTaken),
            Added::Full => Err(NotMade::TooMany),
        }
    }
}

/// A secret that is about to be made.
#[derive(Clone)]
struct Draft {
    kind: SecretKind,
    ends: Option<OffsetDateTime>,
    idle: Option<Duration>,
    new: New,
    room: Room,
}

/// How many parts a repository's name may have that a secret which only pulls is for: a star stands for one.
const MOST_PARTS: usize = 32;

/// The limits of a secret that pulls, whatever its owner may do.
pub fn pull_only() -> Limits {
    let allow = (1..=MOST_PARTS).map(|parts| format!("repository:{}:pull", vec!["*"; parts].join("/"))).collect();
    Limits { allow, ..Limits::default() }
}

/// The owner, if there is one who may have a secret.
pub(super) fn known(owner: LookUp, now: OffsetDateTime) -> Result<(Account, Identity), NotMade> {
    match owner {
        LookUp::Known(identity) => {
            identity.standing.check(now)?;
            let account = identity.account.clone().filter(|account| !is_robots(account)).ok_or(NotMade::Unknown)?;
            Ok((account, identity))
        }
        LookUp::Unknown => Err(NotMade::Unknown),
        LookUp::OnlyByLogin => Err(NotMade::OnlyByLogin),
    }
}

/// What tells an account from another of its name.
pub(super) fn bound_of(owner: &Identity) -> Option<Bound> {
    let by = owner.by.as_ref()?;
    Some(Bound { backend: by.backend.to_owned(), mark: owner.mark })
}

fn check(new: &New) -> Result<(), NotMade> {
    check_as(&new.name, &new.limits)
}

/// Whether a secret may be called so and narrowed so.
pub(super) fn check_as(name: &str, limits: &Limits) -> Result<(), NotMade> {
    if name.is_empty() || name.len() > LONGEST_NAME || escaped(name) != name {
        return Err(NotMade::Name);
    }
    // Typed in the wrong place, it would be kept as it is, and listed.
    if LastingSecret::read(name).is_ours() {
        return Err(NotMade::NamedBySecret);
    }
    if limits.from.len() > MOST_LISTED || limits.services.len() > MOST_LISTED {
        return Err(NotMade::TooManyListed);
    }
    Cut::parse(limits.allow.iter().map(String::as_str))?;
    Ok(())
}

/// An id that nobody else has: 80 random bits.
fn new_id() -> Result<SecretId, random::NoRandomBytes> {
    let hex: String = random::bytes::<10>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(SecretId(hex.into()))
}

/// As every store keeps a moment, and as an access token says when it was made.
fn whole_seconds(now: OffsetDateTime) -> OffsetDateTime {
    now.replace_nanosecond(0).unwrap_or(now)
}
