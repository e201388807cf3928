//! What people are told of registries, repositories and tags, the same by every way in.

use policy::scope::Actions;
use serde::Serialize;
use time::OffsetDateTime;
use time::UtcOffset;
use time::format_description::well_known::Rfc3339;

use crate::catalogue::{Details, Entry, Kind};
use crate::directory::Origin;
use crate::records::Version;
use crate::records::catalogue::{Mark, Repository, Stamp, Tag};

/// A registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToldRegistry {
    /// Its name.
    pub service: String,
    /// Where it is; for whoever may change it, as who declared it, how many repositories it has and what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The host names under which clients reach it.
    pub hosts: Vec<String>,
    /// Whether pushing needs a group that is responsible.
    pub restricted: bool,
    /// The groups that it is published to.
    pub publications: Vec<String>,
    /// The groups that are responsible for it.
    pub responsibles: Vec<String>,
    /// Who declared it, where somebody did by the API or a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
    /// `file` or `records`.
    pub origin: &'static str,
    /// How many repositories with tags it has, where that is known; of one registry alone, as all that follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repositories: Option<usize>,
    /// When its last event came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_event: Option<String>,
    /// When the last sweep began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep_began: Option<String>,
    /// When it was complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sweep_ended: Option<String>,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<String>,
}

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToldRepository {
    /// Its name.
    pub name: String,
    /// What people wrote about it.
    pub description: String,
    /// Whether it is one of the site's official ones.
    pub official: bool,
    /// Whether it is built automatically.
    pub automated: bool,
    /// How many people gave it a star.
    pub stars: i64,
    /// How many tags it has.
    pub tags: i64,
    /// The last push that an event told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed: Option<String>,
    /// The last pull that an event told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pulled: Option<String>,
    /// What the asker may do there, where it is asked for by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<String>>,
}

impl ToldRepository {
    /// One of a list.
    pub fn listed(entry: &Entry) -> ToldRepository {
        ToldRepository {
            name: entry.name.to_string(),
            description: entry.description.text.clone(),
            official: is_set(entry.description.official),
            automated: is_set(entry.description.automated),
            stars: entry.stars,
            tags: entry.tags,
            pushed: None,
            pulled: None,
            actions: None,
        }
    }

    /// One by its name, with what somebody may do there.
    pub fn of(repository: &Repository, may: Option<&Actions>) -> ToldRepository {
        ToldRepository {
            name: repository.name.clone(),
            description: repository.description.text.clone(),
            official: is_set(repository.description.official),
            automated: is_set(repository.description.automated),
            stars: repository.stars,
            tags: repository.tags,
            pushed: repository.pushed.and_then(stamp),
            pulled: repository.pulled.and_then(stamp),
            actions: may.map(|may| may.iter().map(|action| action.as_str().to_owned()).collect()),
        }
    }
}

/// A tag, as the last event told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToldTag {
    /// Its name.
    pub name: String,
    /// The digest that was pushed last, where an event told of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The media type of that manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// When it was pushed, by the registry's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed: Option<String>,
}

impl ToldTag {
    /// The tag as it is told.
    pub fn of(tag: &Tag) -> ToldTag {
        let pushed = tag.pushed.as_ref();
        ToldTag {
            name: tag.name.clone(),
            digest: pushed.map(|pushed| pushed.digest.clone()),
            media_type: pushed.map(|pushed| pushed.media_type.clone()),
            pushed: pushed.and_then(|pushed| stamp(pushed.at)),
        }
    }
}

/// What a tag names now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToldDetails {
    /// The tag.
    pub name: String,
    /// The digest that it names.
    pub digest: String,
    /// The media type.
    pub media_type: String,
    /// What an artifact says that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The bytes of an image or an artifact, which a pull moves at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The parts of an index.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<ToldPlatform>,
    /// What refers to it: signatures, attestations and the like.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub referrers: Vec<ToldReferrer>,
}

/// A part of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToldPlatform {
    /// `linux/arm64/v8`; empty where the index does not say.
    pub platform: String,
    /// Its digest.
    pub digest: String,
    /// The manifest's own size, in bytes.
    pub size: u64,
}

/// What refers to a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToldReferrer {
    /// Its digest.
    pub digest: String,
    /// What it says that it is.
    pub artifact_type: String,
    /// The manifest's own size, in bytes.
    pub size: u64,
}

impl ToldDetails {
    /// What a tag of this name names.
    pub fn of(name: &str, details: &Details) -> ToldDetails {
        let (size, platforms) = match &details.kind {
            Kind::Single { size } => (Some(*size), &[][..]),
            Kind::Index { platforms } => (None, platforms.as_slice()),
            Kind::Unknown => (None, &[][..]),
        };
        let told = platforms.iter().map(|part| ToldPlatform {
            platform: part.platform.clone(),
            digest: part.digest.clone(),
            size: part.size,
        });
        let referrers = details.referrers.iter().map(|referrer| ToldReferrer {
            digest: referrer.digest.clone(),
            artifact_type: referrer.artifact_type.clone(),
            size: referrer.size,
        });
        ToldDetails {
            name: name.to_owned(),
            digest: details.digest.clone(),
            media_type: details.media_type.clone(),
            artifact_type: details.artifact_type.clone(),
            size,
            platforms: told.collect(),
            referrers: referrers.collect(),
        }
    }
}

/// A moment in UTC, to the second.
pub(super) fn moment(at: OffsetDateTime) -> String {
    let utc = at.to_offset(UtcOffset::UTC);
    utc.replace_nanosecond(0).unwrap_or(utc).format(&Rfc3339).unwrap_or_default()
}

/// The same by a registry's clock; `None` for what no calendar has.
pub(super) fn stamp(at: Stamp) -> Option<String> {
    at.moment().map(moment)
}

/// Where an entry is, in a word.
pub(super) fn origin(origin: Option<&Origin>) -> &'static str {
    match origin {
        Some(Origin::Records { .. }) => "records",
        Some(Origin::File) | None => "file",
    }
}

/// The version of an entry of the records.
pub(super) fn version(origin: &Origin) -> Option<Version> {
    match origin {
        Origin::File => None,
        Origin::Records { version, .. } => Some(*version),
    }
}

/// Who declared an entry of the records.
pub(super) fn creator(origin: &Origin) -> Option<String> {
    match origin {
        Origin::File => None,
        Origin::Records { creator, .. } => creator.clone(),
    }
}

fn is_set(mark: Mark) -> bool {
    match mark {
        Mark::Set => true,
        Mark::Unset => false,
    }
}
