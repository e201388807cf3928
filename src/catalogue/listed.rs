//! The repositories that have tags, in memory: what search and the catalog are answered from.

use std::collections::BTreeMap;
use std::ops::Bound;
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
    /// Its name.
    pub name: Arc<str>,
    /// What people wrote about it.
    pub description: Description,
    /// The text of it in small letters, to be searched; empty where nothing is written.
    pub folded: Box<str>,
    /// How many people gave it a star.
    pub stars: i64,
    /// How many tags it has; at least one.
    pub tags: i64,
    seq: Seq,
}

/// The repositories of one registry, in the order that registries have: part by part of their names, `a/b` before `a-b`.
#[derive(Clone, Debug, Default)]
pub struct Listing(Arc<BTreeMap<Box<str>, Arc<Entry>>>);

impl Listing {
    /// The repository of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Entry>> {
        self.0.get(&*place_of(name))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.0.values()
    }

    /// Those that come behind a name, whether that is one of theirs or not.
    pub fn after(&self, name: &str) -> impl Iterator<Item = &Arc<Entry>> {
        let behind = (Bound::Excluded(place_of(name)), Bound::Unbounded);
        self.0.range(behind).map(|(_, entry)| entry)
    }
}

/// What sorts as registries sort names: a slash comes before all that is in a name besides.
fn place_of(name: &str) -> Box<str> {
    name.replace('/', "!").into()
}

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
            let place = place_of(&name);
            let before = list.0.get(&place);
            if before.is_some_and(|before| before.seq > seq) || (before.is_none() && tags == 0) {
                continue;
            }
            let folded = description.text.to_lowercase().into();
            let entry = Entry { name: name.into(), description, folded, stars, tags, seq };
            // Only where somebody still holds the list is it copied, and the copy is of pointers.
            match tags {
                0 => _ = Arc::make_mut(&mut list.0).remove(&place),
                _ if before.is_some_and(|before| **before == entry) => {}
                _ => _ = Arc::make_mut(&mut list.0).insert(place, Arc::new(entry)),
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn repositories_are_listed_part_by_part_of_their_names() {
        let sorted = ["a", "a/b", "a/b/c", "a/b-c", "a-b", "a-b/c", "a.b/c", "a0", "a_b", "ab/c", "b"];
        let listed = Listed::default();
        let mut all: Vec<Repository> =
            sorted.map(|name| Repository { tags: 1, ..Repository::unknown("reg", name) }).into();
        all.reverse();
        listed.take(all);
        let listing = listed.of("reg");
        let names = |entries: &mut dyn Iterator<Item = &Arc<Entry>>| -> Vec<String> {
            entries.map(|entry| entry.name.to_string()).collect()
        };
        assert_eq!(names(&mut listing.iter()), sorted);
        for (at, name) in sorted.iter().enumerate() {
            assert_eq!(&*listing.get(name).unwrap().name, *name);
            assert_eq!(names(&mut listing.after(name)), sorted.get(at + 1..).unwrap());
        }
        assert_eq!(names(&mut listing.after("a/bb")), sorted.get(4..).unwrap(), "there is none of this name");
    }
}
