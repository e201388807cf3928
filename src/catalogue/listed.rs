//! The repositories that have tags, in memory: what search and the catalog are answered from.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Shared;
use crate::records::Failure;
use crate::records::catalogue::{Description, Repository, Seq};

/// How many changes are read at once.
const PAGE: u32 = 5000;
/// So many numbers before the last one are read again: MongoDB may show two changes of one moment in the wrong order.
const AGAIN: i64 = 4;

/// What lists say of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What people wrote about it.
    pub description: Description,
    /// How many people gave it a star.
    pub stars: i64,
    /// How many tags it has; at least one.
    pub tags: i64,
    seq: Seq,
}

/// The repositories of one registry by name.
pub type Listing = Arc<BTreeMap<Arc<str>, Arc<Entry>>>;

/// The lists of all registries.
#[derive(Default)]
pub(super) struct Listed {
    lists: Mutex<Lists>,
    is_ready: AtomicBool,
}

#[derive(Default)]
struct Lists {
    of: BTreeMap<String, Listing>,
    last: Seq,
}

impl Listed {
    pub(super) fn of(&self, service: &str) -> Listing {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner).of.get(service).cloned().unwrap_or_default()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }

    fn begin(&self) -> Seq {
        let last = self.lists.lock().unwrap_or_else(PoisonError::into_inner).last;
        Seq((last.0 - AGAIN).max(0))
    }

    fn take(&self, changed: Vec<Repository>) {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        for repository in changed {
            let Repository { service, name, tags, description, stars, seq, .. } = repository;
            lists.last = lists.last.max(seq);
            let list = lists.of.entry(service).or_default();
            let before = list.get(name.as_str());
            if before.is_some_and(|before| before.seq > seq) || (before.is_none() && tags == 0) {
                continue;
            }
            let entry = Entry { description, stars, tags, seq };
            // Only where somebody still holds the list is it copied, and the copy is of pointers.
            match tags {
                0 => _ = Arc::make_mut(list).remove(name.as_str()),
                _ if before.is_some_and(|before| **before == entry) => {}
                _ => _ = Arc::make_mut(list).insert(name.into(), Arc::new(entry)),
            }
        }
    }
}

impl Shared {
    /// Reads what changed in the records since the last time.
    pub(super) async fn refresh(&self) -> Result<(), Failure> {
        let mut from = self.listed.begin();
        let mut count = PAGE;
        loop {
            let changed = self.records.changed_repositories(from, count).await?;
            let is_last = changed.len() < usize::try_from(count).unwrap_or(usize::MAX);
            let last = changed.last().map(|repository| repository.seq);
            self.listed.take(changed);
            match last {
                Some(last) if !is_last && last > from => (from, count) = (last, PAGE),
                // One change of more repositories than a page has.
                Some(_) if !is_last => count = count.saturating_mul(2),
                Some(_) | None => break,
            }
        }
        self.listed.is_ready.store(true, Ordering::Relaxed);
        Ok(())
    }
}
