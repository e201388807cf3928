//! Deleting a tag or a repository: by tag where the registry can (3.x), else by digest, which takes along all tags that name it; and
//! what came of it is seen to before it is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use policy::scope::Action;
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tracing::info;

use super::name::{is_repository, is_tag};
use super::registry::{DeleteReply, Named, RegistryFailure, TagList};
use super::{AT_ONCE, Catalogue, Known, Shared, this_moment};
use crate::access::Decision;
use crate::records::Failure;
use crate::records::catalogue::Listing;

/// The most tags of a repository whose digests are compared for one deletion.
const MOST_TAGS: usize = 20_000;

/// That somebody may delete in a repository: it is made of a decision, and of nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MayDelete {
    account: String,
    service: String,
    repository: String,
}

impl MayDelete {
    /// The right that a decision for this service grants; `None` where it does not grant `delete` in the repository.
    pub fn from_decision(decision: &Decision, service: &str, repository: &str) -> Option<MayDelete> {
        let granted = decision.grants().iter().any(|grant| {
            grant.scope.resource.kind() == "repository"
                && grant.scope.resource.name() == repository
                && grant.granted.iter().map(Action::as_str).any(|action| action == "delete")
        });
        granted.then(|| MayDelete {
            account: decision.account().to_owned(),
            service: service.to_owned(),
            repository: repository.to_owned(),
        })
    }
}

/// What whoever deletes a tag has seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The digest that the tag named then, if that was looked at.
    pub digest: Option<String>,
    /// The other tags that go with it, as they were named.
    pub siblings: Option<Siblings>,
}

/// The other tags that name the same manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Siblings(pub BTreeSet<String>);

/// What came of deleting a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone, and those others with it.
    Done {
        /// The manifest that it named.
        digest: String,
        /// The tags that went along.
        with: BTreeSet<String>,
    },
    /// The registry has no such tag; the list is put right.
    WasGone,
    /// The registry deletes by digest alone, and these tags would go along. Nothing was deleted: name exactly those.
    Siblings(Siblings),
    /// The tag names another manifest than the one that was seen. Nothing was deleted.
    Changed {
        /// What it names now.
        digest: String,
    },
    /// The registry deletes nothing.
    Off,
    /// The repository has too many tags to find those that would go along. Nothing was deleted.
    TooManyTags,
    /// The registry said that it deleted it, and has it all the same.
    StillThere,
}

impl Deleted {
    /// What people are told.
    pub fn sentence(&self) -> String {
        match self {
            Deleted::Done { with, .. } if with.is_empty() => "the tag is deleted".to_owned(),
            Deleted::Done { with, .. } => format!("the tag is deleted, and with it {}", listed(with)),
            Deleted::WasGone => "the registry has no such tag; it is not listed any more".to_owned(),
            Deleted::Siblings(Siblings(tags)) => format!(
                "this registry deletes a manifest with all its tags, and {} would go too; name exactly these to delete all",
                listed(tags)
            ),
            Deleted::Changed { digest } => {
                format!("somebody pushed the tag since you saw it, and it is {digest} now; look again")
            }
            Deleted::Off => {
                "the registry deletes nothing: set REGISTRY_STORAGE_DELETE_ENABLED=true there; a pull-through \
                             cache and a registry that is read-only never do"
                    .to_owned()
            }
            Deleted::TooManyTags => format!(
                "this registry deletes by digest, and the repository has more than {MOST_TAGS} tags to compare; delete them there"
            ),
            Deleted::StillThere => {
                "the registry said that it deleted the tag, and still has it; look into its log".to_owned()
            }
        }
    }

    /// Its name in the log and the metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Deleted::Done { .. } => "deleted",
            Deleted::WasGone => "was_gone",
            Deleted::Siblings(_) => "siblings",
            Deleted::Changed { .. } => "changed",
            Deleted::Off => "off",
            Deleted::TooManyTags => "too_many_tags",
            Deleted::StillThere => "still_there",
        }
    }
}

/// What came of deleting all tags of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emptied {
    /// All are gone: so many.
    Done(usize),
    /// The registry knows no tags of it; the list is put right.
    WasGone,
    /// It stopped at a tag, after so many.
    Stopped {
        /// How many were deleted before.
        deleted: usize,
        /// The tag.
        tag: String,
        /// What came of it.
        by: Deleted,
    },
}

/// Where deleting a repository stopped, in a few words.
pub fn stopped_at(tag: &str, deleted: usize) -> String {
    match deleted {
        0 => format!("it stopped at {tag}, and nothing is deleted"),
        1 => format!("it stopped at {tag}, and one tag is deleted"),
        _ => format!("it stopped at {tag}, and {deleted} tags are deleted"),
    }
}

/// Why it is not known what came of it.
#[derive(Debug, thiserror::Error)]
pub enum NotDeleted {
    /// There is no such registry.
    #[error("there is no registry of this name")]
    NoRegistry,
    /// This is no name of a repository or a tag.
    #[error("this is no name of a repository or of a tag")]
    NotAName,
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryFailure),
    /// The records failed; the registry may have deleted it.
    #[error(transparent)]
    Failure(#[from] Failure),
}

fn listed(tags: &BTreeSet<String>) -> String {
    tags.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

impl Catalogue {
    /// Deletes a tag.
    ///
    /// # Errors
    /// It is not known what came of it.
    pub async fn delete_tag(&self, right: &MayDelete, tag: &str, seen: &Seen) -> Result<Deleted, NotDeleted> {
        let MayDelete { account, service, repository } = right;
        let known = self.known(service).ok_or(NotDeleted::NoRegistry)?;
        if !is_repository(repository) || !is_tag(tag) {
            return Err(NotDeleted::NotAName);
        }
        let deleted = known.delete_tag(repository, tag, seen).await?;
        self.shared.metrics.tag_deleted(service, deleted.as_str());
        // Our request is the registry's; who asked for it is known here alone.
        info!(account, service, repository, tag, outcome = deleted.as_str(), "a tag was to be deleted");
        let is_ghost = match deleted {
            Deleted::WasGone => true,
            Deleted::Done { .. }
            | Deleted::Siblings(_)
            | Deleted::Changed { .. }
            | Deleted::Off
            | Deleted::TooManyTags
            | Deleted::StillThere => false,
        };
        // Registries list tags whose manifest is gone.
        let ghosts = is_ghost.then(|| tag.to_owned()).into_iter().collect();
        self.shared.put_right(&known, repository, &ghosts).await?;
        Ok(deleted)
    }

    /// Deletes all tags of a repository. Its layers stay until the registry's own `garbage-collect`, and what people wrote about it stays.
    ///
    /// # Errors
    /// It is not known what came of it.
    pub async fn delete_repository(&self, right: &MayDelete) -> Result<Emptied, NotDeleted> {
        let MayDelete { account, service, repository } = right;
        let known = self.known(service).ok_or(NotDeleted::NoRegistry)?;
        if !is_repository(repository) {
            return Err(NotDeleted::NotAName);
        }
        let mut gone = BTreeSet::new();
        let emptied = known.delete_repository(repository, &mut gone).await;
        let outcome = match &emptied {
            Ok(Emptied::Done(_)) => "deleted",
            Ok(Emptied::WasGone) => "was_gone",
            Ok(Emptied::Stopped { by, .. }) => by.as_str(),
            Err(_) => "failed",
        };
        self.shared.metrics.tag_deleted(service, outcome);
        info!(account, service, repository, outcome, "a repository was to be deleted");
        match emptied {
            Ok(emptied) => {
                // Somebody may have pushed meanwhile: what is left is what the registry says now, and not what was there before.
                self.shared.put_right(&known, repository, &gone).await?;
                Ok(emptied)
            }
            Err(failure) => {
                // Whatever is gone by now is seen soon.
                self.shared.records.doubt(service, repository).await?;
                Err(failure.into())
            }
        }
    }
}

impl Shared {
    /// Lists a repository's tags anew, but for those of these that are ghosts: registries list tags whose manifest is gone. What the
    /// registry cannot say now is asked for again later.
    async fn put_right(&self, known: &Arc<Known>, repository: &str, gone: &BTreeSet<String>) -> Result<(), Failure> {
        let service = known.registry.service.as_str();
        self.records.doubt(service, repository).await?;
        match known.tags_left(repository, gone).await {
            Ok((tags, asked)) => {
                let listing = Listing { repository: repository.to_owned(), tags, asked };
                self.records.listed(service, &[listing], this_moment()).await?;
            }
            Err(_) => self.records.doubt(service, repository).await?,
        }
        self.refresh().await
    }
}

impl Known {
    /// The tags that the registry says there are, and when it was asked.
    async fn living_tags(&self, repository: &str) -> Result<(Vec<String>, OffsetDateTime), RegistryFailure> {
        let asked = this_moment();
        match self.client.tags(repository).await? {
            TagList::Listed(tags) => Ok((tags, asked)),
            TagList::Unknown => Ok((Vec::new(), asked)),
        }
    }

    /// The same without those of these whose manifest is gone.
    async fn tags_left(
        &self,
        repository: &str,
        gone: &BTreeSet<String>,
    ) -> Result<(Vec<String>, OffsetDateTime), RegistryFailure> {
        let (all, asked) = self.living_tags(repository).await?;
        let mut tags = Vec::with_capacity(all.len());
        for tag in all {
            if !gone.contains(&tag) || self.client.head(repository, &tag).await?.is_some() {
                tags.push(tag);
            }
        }
        Ok((tags, asked))
    }

    async fn delete_tag(
        self: &Arc<Self>,
        repository: &str,
        tag: &str,
        seen: &Seen,
    ) -> Result<Deleted, RegistryFailure> {
        let Some(Named { digest, .. }) = self.client.head(repository, tag).await? else { return Ok(Deleted::WasGone) };
        if seen.digest.as_ref().is_some_and(|seen| *seen != digest) {
            return Ok(Deleted::Changed { digest });
        }
        let with = match self.client.delete(repository, tag).await? {
            DeleteReply::Accepted => BTreeSet::new(),
            DeleteReply::Missing => return Ok(Deleted::WasGone),
            DeleteReply::Off => return Ok(Deleted::Off),
            DeleteReply::ByDigestOnly => {
                let Some(siblings) = self.siblings(repository, tag, &digest).await? else {
                    return Ok(Deleted::TooManyTags);
                };
                let named = seen.siblings.clone().unwrap_or(Siblings(BTreeSet::new()));
                if siblings != named.0 {
                    return Ok(Deleted::Siblings(Siblings(siblings)));
                }
                match self.client.delete(repository, &digest).await? {
                    DeleteReply::Accepted => siblings,
                    DeleteReply::Missing => return Ok(Deleted::WasGone),
                    DeleteReply::Off => return Ok(Deleted::Off),
                    DeleteReply::ByDigestOnly => {
                        return Err(RegistryFailure::Odd("it takes neither a tag nor a digest".to_owned()));
                    }
                }
            }
        };
        // A registry may say that it did, and have done nothing.
        match self.client.head(repository, tag).await? {
            Some(left) if left.digest == digest => Ok(Deleted::StillThere),
            // Pushed again meanwhile, as something else.
            Some(_) | None => Ok(Deleted::Done { digest, with }),
        }
    }

    /// The other tags that name this digest, each as the registry says it now; `None` where there are too many to ask.
    async fn siblings(
        self: &Arc<Self>,
        repository: &str,
        tag: &str,
        digest: &str,
    ) -> Result<Option<BTreeSet<String>>, RegistryFailure> {
        let TagList::Listed(tags) = self.client.tags(repository).await? else {
            return Ok(Some(BTreeSet::new()));
        };
        if tags.len() > MOST_TAGS {
            return Ok(None);
        }
        let mut siblings = BTreeSet::new();
        for lot in tags.chunks(AT_ONCE) {
            let mut tasks = JoinSet::new();
            for other in lot.iter().filter(|other| *other != tag) {
                let (known, repository, other) = (Arc::clone(self), repository.to_owned(), other.clone());
                tasks.spawn(async move {
                    let named = known.client.head(&repository, &other).await;
                    (other, named)
                });
            }
            while let Some(answer) = tasks.join_next().await {
                let (other, named) = answer.map_err(|died| RegistryFailure::Away(died.to_string()))?;
                if named?.is_some_and(|named| named.digest == digest) {
                    siblings.insert(other);
                }
            }
        }
        Ok(Some(siblings))
    }

    /// Deletes all tags that there are; `gone` are those that went.
    async fn delete_repository(
        self: &Arc<Self>,
        repository: &str,
        gone: &mut BTreeSet<String>,
    ) -> Result<Emptied, RegistryFailure> {
        let (tags, _) = self.living_tags(repository).await?;
        if tags.is_empty() {
            return Ok(Emptied::WasGone);
        }
        let everything: BTreeSet<String> = tags.iter().cloned().collect();
        for tag in &tags {
            if gone.contains(tag) {
                continue;
            }
            // All of them go: whichever go along are meant.
            let mut seen = Seen::default();
            let by = loop {
                match self.delete_tag(repository, tag, &seen).await? {
                    Deleted::Siblings(siblings) if siblings.0.is_subset(&everything) && seen.siblings.is_none() => {
                        seen.siblings = Some(siblings);
                    }
                    by => break by,
                }
            };
            match by {
                Deleted::Done { with, .. } => {
                    gone.insert(tag.clone());
                    gone.extend(with);
                }
                Deleted::WasGone => _ = gone.insert(tag.clone()),
                by @ (Deleted::Siblings(_)
                | Deleted::Changed { .. }
                | Deleted::Off
                | Deleted::TooManyTags
                | Deleted::StillThere) => {
                    return Ok(Emptied::Stopped { deleted: gone.len(), tag: tag.clone(), by });
                }
            }
        }
        Ok(Emptied::Done(gone.len()))
    }
}
