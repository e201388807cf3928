//! What is remembered of what is in registries: the events that they sent, their repositories and tags, how far a sweep has come, and
//! who pulled what.
//!
//! Two clocks meet here and are never compared: a [`Stamp`] is of a registry's own clock, and every other moment is of ours.

use std::collections::BTreeSet;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{Changed, Failure};

/// A moment by the clock of a registry, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub i64);

/// Counts the changes of all repositories, so that a list of them in memory is kept up to date. The first is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seq(pub i64);

/// Counts the sweeps of one registry. The first is 1; 0 is before all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SweepNumber(pub i64);

/// An event that a registry sent, as it waits to be worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The registry, by the service that its tokens are for.
    pub service: String,
    /// The event's id, which the registry made. One id is kept once.
    pub id: String,
    /// What is in it.
    pub document: String,
}

/// What an event says of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The repository.
    pub repository: String,
    /// By the registry's clock.
    pub at: Stamp,
    /// What happened.
    pub what: What,
}

/// What happened to a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A manifest was pushed, by this tag or by its digest alone.
    Pushed {
        /// The tag.
        tag: Option<String>,
        /// The manifest's digest.
        digest: String,
        /// Its media type.
        media_type: String,
        /// The manifest's own size, in bytes.
        size: i64,
    },
    /// A tag was deleted, and nothing else.
    TagGone(String),
    /// A manifest was deleted, and all tags that named it then.
    DigestGone(String),
    /// The whole repository was deleted.
    RepositoryGone,
}

/// That somebody pulled a manifest. Of one digest, account and address the last one is kept, and the first one's moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// The registry.
    pub service: String,
    /// The repository.
    pub repository: String,
    /// The manifest's digest.
    pub digest: String,
    /// The account; empty for anonymous.
    pub account: String,
    /// The address that the registry saw, without its port.
    pub address: String,
    /// The tag, where it was pulled by one the last time.
    pub tag: Option<String>,
    /// The first time that is remembered.
    pub first: Stamp,
    /// The last time.
    pub last: Stamp,
    /// The same by our clock: when we heard of it.
    pub heard: OffsetDateTime,
}

/// What is asked of the pulls that are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pulled {
    /// Who pulled anything of a repository.
    Repository(String),
    /// Who pulled this manifest of it.
    Manifest {
        /// The repository.
        repository: String,
        /// The digest.
        digest: String,
    },
    /// Who pulled this digest, in whatever repository: all who use an image.
    Digest(String),
}

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The registry.
    pub service: String,
    /// Its name.
    pub name: String,
    /// How many tags it has. One without any is not listed; what people wrote about it stays.
    pub tags: i64,
    /// The last push that an event told of.
    pub pushed: Option<Stamp>,
    /// The last pull that an event told of.
    pub pulled: Option<Stamp>,
    /// What people wrote about it.
    pub description: Description,
    /// How many people gave it a star.
    pub stars: i64,
    /// When its tags were last listed by the registry.
    pub listed: Option<OffsetDateTime>,
    /// The last change of what is kept in memory of it.
    pub seq: Seq,
}

impl Repository {
    /// One that nobody knows anything of yet.
    pub(crate) fn unknown(service: &str, name: &str) -> Repository {
        Repository {
            service: service.to_owned(),
            name: name.to_owned(),
            tags: 0,
            pushed: None,
            pulled: None,
            description: Description::default(),
            stars: 0,
            listed: None,
            seq: Seq(0),
        }
    }
}

/// What people write about a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// A text.
    pub text: String,
    /// Whether it is one of the site's official ones.
    pub official: Mark,
    /// Whether it is built automatically.
    pub automated: Mark,
}

/// Whether somebody marked a repository.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// It has the mark.
    Set,
    /// It does not.
    #[default]
    Unset,
}

impl Mark {
    /// The mark that this number is kept for.
    pub(super) fn from_number(number: i64) -> Mark {
        match number {
            0 => Mark::Unset,
            _ => Mark::Set,
        }
    }

    /// The number that it is kept as.
    pub(super) fn number(self) -> i64 {
        match self {
            Mark::Set => 1,
            Mark::Unset => 0,
        }
    }
}

/// A star that somebody gives, or takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Star {
    /// It is given; once for each account.
    Given,
    /// It is taken back.
    TakenBack,
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// What an event said of the last push, where one did.
    pub pushed: Option<PushedTag>,
}

/// The last push of a tag, as its event told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedTag {
    /// The digest that it named then.
    pub digest: String,
    /// The media type of that manifest.
    pub media_type: String,
    /// The manifest's own size, in bytes.
    pub size: i64,
    /// By the registry's clock.
    pub at: Stamp,
}

/// What a registry said when it was asked for the tags of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The repository.
    pub repository: String,
    /// Its tags; none where the registry does not know it, or no tags of it.
    pub tags: Vec<String>,
    /// When it was asked, by our clock. What events changed since then stays.
    pub asked: OffsetDateTime,
}

/// How far the sweeps of a registry have come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// The sweep that is under way, or the last one.
    pub number: SweepNumber,
    /// When it began.
    pub began: Option<OffsetDateTime>,
    /// The last repository of the page that came last, while it is under way.
    pub cursor: Option<String>,
    /// When it was complete; nothing while it is under way.
    pub ended: Option<OffsetDateTime>,
    /// How many repositories it found.
    pub found: i64,
    /// The last complete one before it.
    pub before: Option<Complete>,
    /// What went wrong last, and when.
    pub error: Option<(String, OffsetDateTime)>,
}

/// A sweep that saw the whole catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complete {
    /// Its number.
    pub number: SweepNumber,
    /// When it began.
    pub began: OffsetDateTime,
    /// When it ended.
    pub ended: OffsetDateTime,
}

impl Complete {
    /// The sweep of what is kept of it; `None` where there was none.
    pub(super) fn from_kept(
        number: Option<i64>,
        began: Option<OffsetDateTime>,
        ended: Option<OffsetDateTime>,
    ) -> Option<Complete> {
        Some(Complete { number: SweepNumber(number?), began: began?, ended: ended? })
    }
}

/// The id of what is kept of a registry's last event: no event has an empty one.
pub(super) const LAST: &str = "";
/// When that is done: never, so that it is not forgotten.
pub(super) const NEVER_FORGOTTEN: i64 = -1;

/// The right to do something that one replica does at a time, until it ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is done.
    pub name: String,
    /// Who does it: a name that no other replica has.
    pub holder: String,
}

/// Whether a lease was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leased {
    /// It is the holder's until it ends.
    Held,
    /// Somebody else has it.
    Elsewhere,
}

/// What is done with one lot of events, all at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// What they change, each with its registry.
    pub changes: Vec<(String, Change)>,
    /// Who pulled what.
    pub pulls: Vec<Pull>,
    /// The events, by registry and id.
    pub done: Vec<(String, String)>,
}

impl Work {
    /// The registries whose events they are.
    pub(super) fn services(&self) -> BTreeSet<&str> {
        self.done.iter().map(|(service, _)| service.as_str()).collect()
    }

    /// The repositories that it changes, by registry and name.
    pub(super) fn touched(&self) -> BTreeSet<(&str, &str)> {
        self.changes.iter().map(|(service, change)| (service.as_str(), change.repository.as_str())).collect()
    }
}

/// Events that wait to be worked on.
#[async_trait]
pub trait EventQueue: Send + Sync {
    /// Keeps events, so that none is lost once this returns. One that is there already, worked on or not, is left alone.
    ///
    /// # Errors
    /// [`Failure`], as for all that follow; then none of them may have been kept.
    async fn keep_events(&self, events: &[StoredEvent], now: OffsetDateTime) -> Result<(), Failure>;

    /// Those that wait, in the order in which they came, at most `count`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn waiting_events(&self, count: u32) -> Result<Vec<StoredEvent>, Failure>;

    /// How many wait, counted up to `most`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn count_waiting(&self, most: u32) -> Result<u64, Failure>;

    /// Makes the changes of a lot of events, and notes that they are done; nothing where the lease is not held any more. Whatever is
    /// done twice, or in another order, comes to the same.
    ///
    /// # Errors
    /// [`Failure`].
    async fn work_off(&self, work: &Work, lease: &Lease, now: OffsetDateTime) -> Result<Leased, Failure>;

    /// When an event of a registry was last worked on; `None` where none ever was.
    ///
    /// # Errors
    /// [`Failure`].
    async fn last_event(&self, service: &str) -> Result<Option<OffsetDateTime>, Failure>;

    /// Forgets events that came before this moment and are done: how many.
    ///
    /// # Errors
    /// [`Failure`].
    async fn forget_events(&self, came_before: OffsetDateTime) -> Result<u64, Failure>;
}

/// Repositories and their tags.
#[async_trait]
pub trait Repositories: Send + Sync {
    /// A repository, whether it has tags or not.
    ///
    /// # Errors
    /// [`Failure`], as for all that follow.
    async fn repository(&self, service: &str, name: &str) -> Result<Option<Repository>, Failure>;

    /// Repositories of all registries with a change from `from` on, in the order of changes, at most `count`; those with the last
    /// change of a full answer may be cut off, and begin the next one.
    ///
    /// # Errors
    /// [`Failure`].
    async fn changed_repositories(&self, from: Seq, count: u32) -> Result<Vec<Repository>, Failure>;

    /// The tags of a repository by name, at most `count`, beginning behind `after`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn tags(&self, service: &str, repository: &str, after: Option<&str>, count: u32)
    -> Result<Vec<Tag>, Failure>;

    /// Writes what people say of a repository; [`Changed::Missing`] where there never was one of this name.
    ///
    /// # Errors
    /// [`Failure`].
    async fn describe(&self, service: &str, name: &str, description: &Description) -> Result<Changed, Failure>;

    /// Gives a repository an account's star, or takes it back; [`Changed::Conflict`] where that is so already.
    ///
    /// # Errors
    /// [`Failure`].
    async fn star(&self, service: &str, name: &str, account: &str, star: Star) -> Result<Changed, Failure>;
}

/// What sweeps write down.
#[async_trait]
pub trait Sweeps: Send + Sync {
    /// How far the sweeps of a registry have come.
    ///
    /// # Errors
    /// [`Failure`], as for all that follow.
    async fn sweep(&self, service: &str) -> Result<Sweep, Failure>;

    /// Writes that down.
    ///
    /// # Errors
    /// [`Failure`].
    async fn save_sweep(&self, service: &str, sweep: &Sweep) -> Result<(), Failure>;

    /// Notes that a sweep saw these repositories, and returns those whose tags are to be asked for: new ones, doubtful ones, those
    /// without tags, and those whose tags were not listed since `listed_since`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn found(
        &self,
        service: &str,
        sweep: SweepNumber,
        names: &[String],
        listed_since: OffsetDateTime,
    ) -> Result<Vec<String>, Failure>;

    /// Takes what a registry said of the tags of some repositories.
    ///
    /// # Errors
    /// [`Failure`].
    async fn listed(&self, service: &str, listings: &[Listing], now: OffsetDateTime) -> Result<(), Failure>;

    /// Repositories whose tags are in doubt, at most `count`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn doubtful(&self, service: &str, count: u32) -> Result<Vec<String>, Failure>;

    /// Has the tags of a repository asked for soon.
    ///
    /// # Errors
    /// [`Failure`].
    async fn doubt(&self, service: &str, repository: &str) -> Result<(), Failure>;

    /// Forgets tags that were deleted before this moment, and repositories that have none since, of which nobody wrote anything: how
    /// many.
    ///
    /// # Errors
    /// [`Failure`].
    async fn forget_gone(&self, before: OffsetDateTime) -> Result<u64, Failure>;

    /// Repositories with tags that no sweep saw since this complete one, it included, and that no event touched since it began; by
    /// name behind `after`, at most `count`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn unseen(
        &self,
        service: &str,
        since: &Complete,
        after: Option<&str>,
        count: u32,
    ) -> Result<Vec<String>, Failure>;
}

/// Who pulled what.
#[async_trait]
pub trait Pulls: Send + Sync {
    /// Who pulled something, by account, address, repository and digest, at most `count`, beginning behind the `skip`th.
    ///
    /// # Errors
    /// [`Failure`].
    async fn pulls(&self, service: &str, what: &Pulled, skip: u32, count: u32) -> Result<Vec<Pull>, Failure>;

    /// Forgets pulls that we heard of before this moment and not since: how many.
    ///
    /// # Errors
    /// [`Failure`].
    async fn forget_pulls(&self, heard_before: OffsetDateTime) -> Result<u64, Failure>;
}

/// Who does what one replica does at a time.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes a lease, or keeps it, until `until`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn lease(&self, lease: &Lease, until: OffsetDateTime, now: OffsetDateTime) -> Result<Leased, Failure>;

    /// Gives a lease back, so that nobody waits for its end.
    ///
    /// # Errors
    /// [`Failure`]; then it ends by itself.
    async fn give_back(&self, lease: &Lease) -> Result<(), Failure>;
}
