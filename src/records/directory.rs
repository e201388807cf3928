//! The directory's entries in the records: groups, users, apps, services and registries, each whole in one document.

use std::fmt;

use async_trait::async_trait;

use super::{Changed, Failure, Version};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A group, with its privileges.
    Group,
    /// A user, with the groups that they are in, their privileges and quota.
    User,
    /// An app, with the groups that it is published to and that are responsible for it.
    App,
    /// A service.
    Service,
    /// A registry, with the groups that it is published to and that are responsible for it.
    Registry,
}

impl EntryKind {
    /// All of them.
    pub const ALL: [EntryKind; 5] =
        [EntryKind::Group, EntryKind::User, EntryKind::App, EntryKind::Service, EntryKind::Registry];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryKind::Group => "group",
            EntryKind::User => "user",
            EntryKind::App => "app",
            EntryKind::Service => "service",
            EntryKind::Registry => "registry",
        }
    }

    /// What all of them are called, where rules and addresses name them.
    pub fn plural(self) -> &'static str {
        match self {
            EntryKind::Group => "groups",
            EntryKind::User => "users",
            EntryKind::App => "apps",
            EntryKind::Service => "services",
            EntryKind::Registry => "registries",
        }
    }
}

/// What an entry is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryAt {
    /// What it is.
    pub kind: EntryKind,
    /// What it is called.
    pub name: String,
}

impl EntryAt {
    /// Reads what [`fmt::Display`] writes.
    pub(super) fn parse(text: &str) -> Option<EntryAt> {
        let (kind, name) = text.split_once('/')?;
        let kind = EntryKind::ALL.into_iter().find(|own| own.as_str() == kind)?;
        Some(EntryAt { kind, name: name.to_owned() })
    }
}

impl fmt::Display for EntryAt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.kind.as_str(), self.name)
    }
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is found by.
    pub at: EntryAt,
    /// What no other entry of its kind may have as well: an id, or a registry's address. Two that are made at once are told apart
    /// by it.
    pub claim: Option<String>,
    /// The rest, as JSON.
    pub text: String,
    /// Of this record.
    pub version: Version,
}

impl Entry {
    /// The claim as it is kept, where each entry has one.
    pub(super) fn claimed(&self) -> String {
        match &self.claim {
            Some(claim) => format!("{}#{claim}", self.at.kind.as_str()),
            None => format!("-/{}", self.at),
        }
    }

    /// The entry of what is kept of it.
    pub(super) fn from_kept(place: &str, claimed: &str, text: String, version: Version) -> Result<Entry, Failure> {
        let odd = || Failure::Unusable {
            cause: format!("the entry {} of the directory is not as this program writes it", place.escape_debug()),
        };
        let at = EntryAt::parse(place).ok_or_else(odd)?;
        let claim = match claimed.strip_prefix("-/") {
            Some(_) => None,
            None => Some(claimed.split_once('#').ok_or_else(odd)?.1.to_owned()),
        };
        Ok(Entry { at, claim, text, version })
    }
}

/// The directory's entries. A server reads all of them again when their version has changed.
#[async_trait]
pub trait DirectoryEntries: Send + Sync {
    /// An entry.
    ///
    /// # Errors
    /// [`Failure`], as for all that follow.
    async fn entry(&self, at: &EntryAt) -> Result<Option<Entry>, Failure>;

    /// All entries by kind and name, at most `count`, beginning behind `after`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn entries(&self, after: Option<&EntryAt>, count: u32) -> Result<Vec<Entry>, Failure>;

    /// Counts the changes of all entries: cheap enough to be asked all the time.
    ///
    /// # Errors
    /// [`Failure`].
    async fn directory_version(&self) -> Result<Version, Failure>;

    /// Makes an entry; [`Changed::Conflict`] where there is one of its name, or of its claim.
    ///
    /// # Errors
    /// [`Failure`].
    async fn make_entry(&self, entry: &Entry) -> Result<Changed, Failure>;

    /// Puts an entry in place of the one of its name, if that still has version `seen`; [`Changed::Conflict`] too where another
    /// has its claim.
    ///
    /// # Errors
    /// [`Failure`].
    async fn replace_entry(&self, entry: &Entry, seen: Version) -> Result<Changed, Failure>;

    /// Removes an entry that still has version `seen`.
    ///
    /// # Errors
    /// [`Failure`].
    async fn remove_entry(&self, at: &EntryAt, seen: Version) -> Result<Changed, Failure>;
}
