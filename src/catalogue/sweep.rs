//! Sweeps: the whole catalog of a registry, page by page, and the tags of what is new, doubtful or long not looked at.
//!
//! A sweep goes on where it was interrupted, in whichever replica. It takes nothing away by itself: what two complete sweeps lacked,
//! and no event touched, is asked for once more by name, and only the registry's own word that it knows no tags of it ends it.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{info, warn};

use super::course::Course;
use super::registry::{RegistryFailure, TagList};
use super::{AT_ONCE, Catalogue, Known, Shared, this_moment};
use crate::records::Failure;
use crate::records::catalogue::{Complete, Lease, Leased, Listing, Sweep, SweepNumber};

/// How long one replica sweeps without a word: longer than a page may take.
const LEASE: time::Duration = time::Duration::seconds(360);
/// After so long a sweep that was interrupted begins anew.
const TOO_OLD: time::Duration = time::Duration::days(1);
/// Tags that were not listed for so long are, although nothing says that they changed: events may have been lost.
const LISTED_FOR: time::Duration = time::Duration::days(1);
/// How many listings are written at once.
const LOT: usize = 200;
/// With so many tags in them, fewer are.
const TAGS_IN_LOT: usize = 200_000;
/// How many doubtful repositories are asked for at once.
const DOUBTFUL: u32 = 200;
/// How often doubtful ones are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How many tags of a repository are read at once.
const TAGS: u32 = 10_000;

/// What came of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swept {
    /// It saw the whole catalog: so many repositories.
    Complete(i64),
    /// Somebody else is at it, in this replica or another.
    Elsewhere,
}

/// Why a sweep did not come to its end. It goes on from there the next time.
#[derive(Debug, thiserror::Error)]
pub enum NotSwept {
    /// There is no such registry.
    #[error("there is no registry of this name")]
    NoRegistry,
    /// The registry.
    #[error(transparent)]
    Registry(#[from] RegistryFailure),
    /// The records.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl Catalogue {
    /// Sweeps each registry that is declared again and again, and asks for the tags of what is in doubt, for ever.
    pub async fn sweep_all(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let mut begun: Vec<(Arc<Known>, AbortHandle)> = Vec::new();
        loop {
            let declared = self.declared.load_full();
            begun.retain(|(known, task)| {
                let stays = declared.known.values().any(|own| Arc::ptr_eq(own, known)) && !task.is_finished();
                if !stays {
                    task.abort();
                }
                stays
            });
            for known in declared.known.values() {
                if !begun.iter().any(|(own, _)| Arc::ptr_eq(own, known)) {
                    let task = tasks.spawn(Arc::clone(&self).look_after(Arc::clone(known)));
                    begun.push((Arc::clone(known), task));
                }
            }
            while tasks.try_join_next().is_some() {}
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Sweeps a registry to its end, now.
    ///
    /// # Errors
    /// Why not; what it found until then is kept.
    pub async fn sweep(&self, service: &str) -> Result<Swept, NotSwept> {
        let known = self.known(service).ok_or(NotSwept::NoRegistry)?;
        let swept = self.shared.sweep(&known).await;
        self.shared.refresh().await?;
        swept
    }

    async fn look_after(self: Arc<Self>, known: Arc<Known>) {
        loop {
            if !known.is_resting() {
                let looked = self.look(&known, this_moment()).await;
                match looked {
                    Ok(()) => {}
                    // What is wrong with a registry was said and written down; what is wrong with the records, by them.
                    Err(NotSwept::Registry(_) | NotSwept::Failure(_) | NotSwept::NoRegistry) => known.rest(),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look(&self, known: &Arc<Known>, now: OffsetDateTime) -> Result<(), NotSwept> {
        let service = &known.registry.service;
        let sweep = self.shared.records.sweep(service).await?;
        let every = time::Duration::try_from(self.settings.pace.every).unwrap_or(time::Duration::MAX);
        let is_due = match sweep.ended {
            Some(ended) => now - ended >= every || ended > now + time::Duration::HOUR,
            None => true,
        };
        if is_due {
            self.shared.sweep(known).await?;
        }
        let doubtful = self.shared.records.doubtful(service, DOUBTFUL).await?;
        let lease = self.shared.lease_of(format!("sweep {service}"));
        if doubtful.is_empty() || self.shared.records.lease(&lease, now + LEASE, now).await? == Leased::Elsewhere {
            return Ok(());
        }
        let listed = self.shared.list_tags(known, doubtful).await;
        self.shared.records.give_back(&lease).await?;
        self.shared.came.notify_one();
        match listed? {
            Some(odd) => Err(odd.into()),
            None => Ok(()),
        }
    }
}

impl Shared {
    async fn sweep(&self, known: &Arc<Known>) -> Result<Swept, NotSwept> {
        let service = known.registry.service.as_str();
        // The lease is this replica's, whoever in it asks for a sweep.
        let Ok(_alone) = known.sweeping.try_lock() else { return Ok(Swept::Elsewhere) };
        let (lease, now) = (self.lease_of(format!("sweep {service}")), this_moment());
        if self.records.lease(&lease, now + LEASE, now).await? == Leased::Elsewhere {
            return Ok(Swept::Elsewhere);
        }
        let mut sweep = begun(self.records.sweep(service).await?, now);
        let swept = self.go_through(known, &mut sweep, &lease).await;
        let outcome = match &swept {
            Ok(found) => {
                info!(service, found, sweep = sweep.number.0, "a sweep of the registry is complete");
                "complete"
            }
            Err(NotSwept::Registry(cause)) => {
                sweep.error = Some((cause.to_string(), this_moment()));
                self.records.save_sweep(service, &sweep).await?;
                warn!(reason = "sweep_failed", service, cause = %cause, "the registry's catalog could not be read to its end; \
                       the sweep goes on there later, and nothing is taken away");
                "failed"
            }
            Err(NotSwept::Failure(_) | NotSwept::NoRegistry) => "failed",
        };
        self.metrics.swept(service, outcome);
        self.records.give_back(&lease).await?;
        swept.map(Swept::Complete)
    }

    async fn go_through(&self, known: &Arc<Known>, sweep: &mut Sweep, lease: &Lease) -> Result<i64, NotSwept> {
        let service = known.registry.service.as_str();
        self.records.save_sweep(service, sweep).await?;
        let (mut odd, mut course) = (None, Course::from_found(sweep.found));
        loop {
            let page = known.client.catalog(sweep.cursor.as_deref()).await?;
            let now = this_moment();
            // Counted once the page is done: where its tags cannot be listed, it is read again.
            let found = sweep.found.saturating_add(i64::try_from(page.names.len()).unwrap_or(0));
            if !course.goes_on(sweep.cursor.as_deref(), &page) {
                // From where it is, it would be led on once more.
                (sweep.cursor, sweep.found) = (None, 0);
                return Err(RegistryFailure::Odd("its catalog has no end".to_owned()).into());
            }
            let to_ask = self.records.found(service, sweep.number, &page.names, now - LISTED_FOR).await?;
            odd = self.list_tags(known, to_ask).await?.or(odd);
            let now = this_moment();
            if self.records.lease(lease, now + LEASE, now).await? == Leased::Elsewhere {
                // It took too long, and another replica goes on.
                let cause = "another replica has taken the sweep over".to_owned();
                return Err(Failure::Away { cause }.into());
            }
            (sweep.cursor, sweep.found) = (page.next, found);
            if sweep.cursor.is_none() {
                break;
            }
            self.records.save_sweep(service, sweep).await?;
        }
        if let Some(before) = sweep.before {
            odd = self.end_unseen(known, &before).await?.or(odd);
        }
        sweep.ended = Some(this_moment());
        sweep.error = odd.map(|odd| (format!("some tags could not be listed: {odd}"), this_moment()));
        self.records.save_sweep(service, sweep).await?;
        Ok(sweep.found)
    }

    /// Asks by name for what two complete sweeps lacked; returns what kept one of them from being answered for.
    async fn end_unseen(&self, known: &Arc<Known>, since: &Complete) -> Result<Option<RegistryFailure>, NotSwept> {
        let service = known.registry.service.as_str();
        let (mut after, mut odd): (Option<String>, _) = (None, None);
        loop {
            let names = self.records.unseen(service, since, after.as_deref(), DOUBTFUL).await?;
            let Some(last) = names.last() else { return Ok(odd) };
            after = Some(last.clone());
            let mut names = names.into_iter();
            while names.len() > 0 {
                let mut ended = Vec::new();
                for (repository, asked, tags) in self.ask_tags(known, &mut names).await {
                    let tags = match one_by_one(tags)? {
                        Ok(TagList::Listed(tags)) => tags,
                        Ok(TagList::Unknown) => Vec::new(),
                        Err(failure) => {
                            odd = Some(failure);
                            continue;
                        }
                    };
                    ended.push(Listing { repository, tags, asked });
                }
                self.records.listed(service, &ended, this_moment()).await?;
            }
        }
    }

    /// Has the tags of some repositories listed, and writes them down. One that the registry does not know keeps those that it had, and
    /// so does one that it could not list, of which one is returned.
    pub(super) async fn list_tags(
        &self,
        known: &Arc<Known>,
        names: Vec<String>,
    ) -> Result<Option<RegistryFailure>, NotSwept> {
        let service = known.registry.service.as_str();
        let (mut odd, mut failed) = (None, None);
        let mut names = names.into_iter();
        while names.len() > 0 {
            let mut listings = Vec::new();
            for (repository, asked, tags) in self.ask_tags(known, &mut names).await {
                let tags = match one_by_one(tags) {
                    Ok(Ok(TagList::Listed(tags))) => tags,
                    Ok(Ok(TagList::Unknown)) => self.all_tags(service, &repository).await?,
                    Ok(Err(failure)) => {
                        odd = Some(failure);
                        continue;
                    }
                    Err(failure) => {
                        failed = Some(failure);
                        continue;
                    }
                };
                listings.push(Listing { repository, tags, asked });
            }
            self.records.listed(service, &listings, this_moment()).await?;
            if let Some(failure) = failed {
                return Err(failure.into());
            }
        }
        Ok(odd)
    }

    /// All tags that are known of a repository.
    pub(super) async fn all_tags(&self, service: &str, repository: &str) -> Result<Vec<String>, Failure> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let page = self.records.tags(service, repository, all.last().map(String::as_str), TAGS).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page.into_iter().map(|tag| tag.name));
        }
    }

    /// Asks for the tags of the first of some repositories, as many as make a lot and some of them at once, each with the moment at
    /// which it was asked.
    async fn ask_tags(
        &self,
        known: &Arc<Known>,
        names: &mut std::vec::IntoIter<String>,
    ) -> Vec<(String, OffsetDateTime, Result<TagList, RegistryFailure>)> {
        let (mut tasks, mut answers, mut tags, mut begun) = (JoinSet::new(), Vec::new(), 0_usize, 0_usize);
        let ask = |name: String| {
            let known = Arc::clone(known);
            async move {
                let asked = this_moment();
                let tags = known.client.tags(&name).await;
                (name, asked, tags)
            }
        };
        for name in names.by_ref().take(AT_ONCE) {
            begun += 1;
            tasks.spawn(ask(name));
        }
        let mut is_there = true;
        while let Some(answer) = tasks.join_next().await {
            // One that died answered nothing, and is asked again another time.
            let Ok(answer) = answer else { continue };
            let goes_on = !matches!(
                answer.2,
                Err(RegistryFailure::Away(_) | RegistryFailure::Refused(_) | RegistryFailure::NoToken(_))
            );
            if let Ok(TagList::Listed(listed)) = &answer.2 {
                tags = tags.saturating_add(listed.len());
            }
            answers.push(answer);
            // A registry that is away is not asked for the rest.
            is_there &= goes_on;
            if is_there
                && begun < LOT
                && tags < TAGS_IN_LOT
                && let Some(name) = names.next()
            {
                begun += 1;
                tasks.spawn(ask(name));
            }
        }
        answers
    }
}

/// Whether others had better not be asked either.
fn one_by_one(answer: Result<TagList, RegistryFailure>) -> Result<Result<TagList, RegistryFailure>, RegistryFailure> {
    match answer {
        Ok(tags) => Ok(Ok(tags)),
        Err(odd @ RegistryFailure::Odd(_)) => Ok(Err(odd)),
        Err(failure @ (RegistryFailure::Away(_) | RegistryFailure::Refused(_) | RegistryFailure::NoToken(_))) => {
            Err(failure)
        }
    }
}

/// The sweep that was interrupted, or the next one.
fn begun(last: Sweep, now: OffsetDateTime) -> Sweep {
    match (last.began, last.ended) {
        (Some(began), None) if now - began < TOO_OLD && began <= now => last,
        (Some(began), Some(ended)) => Sweep {
            number: SweepNumber(last.number.0 + 1),
            began: Some(now),
            cursor: None,
            ended: None,
            found: 0,
            before: Some(Complete { number: last.number, began, ended }),
            error: last.error,
        },
        (Some(_) | None, _) => Sweep {
            number: SweepNumber(last.number.0 + 1),
            began: Some(now),
            cursor: None,
            ended: None,
            found: 0,
            before: last.before,
            error: last.error,
        },
    }
}
