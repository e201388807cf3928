//! The repositories that have tags, in memory: what search and the catalog are answered from.
//!
//! A list is cut into blocks of some hundred repositories. A change makes one block anew and leaves the others to whoever still reads
//! the list as it was. The names of a block stand in one text, and what is written about them in another: a word is looked for in all
//! of it at once, and not in a hundred thousand small pieces of memory.

use std::cmp::Ordering as Sorted;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memmem::Finder;
use policy::names::{is_path, order};

use super::Shared;
use crate::records::Failure;
use crate::records::catalogue::{Description, Repository, Seq};

/// How many changes are read at once.
const PAGE: u32 = 5000;
/// So many numbers before the last one are read again: MongoDB may show two changes of one moment in the wrong order.
const AGAIN: i64 = 4;
/// The most repositories in a block: a change copies as many pointers and names.
const MOST: usize = 256;
/// What is left of a block with fewer goes to the one before it, where there is room.
const LEAST: usize = 64;

/// What lists say of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Arc<str>,
    /// What people wrote about it.
    pub description: Description,
    /// How many people gave it a star.
    pub stars: i64,
    /// How many tags it has; at least one.
    pub tags: i64,
    seq: Seq,
}

/// The repositories of one registry, in the order that registries have ([`order`]).
#[derive(Clone, Debug, Default)]
pub struct Listing(Arc<Vec<Arc<Block>>>);

/// Some of them that follow each other; at least one.
#[derive(Debug)]
struct Block {
    entries: Vec<Arc<Entry>>,
    names: Lines,
    /// What is written about each, in small letters.
    descriptions: Lines,
    /// Whether all names consist of parts ([`is_path`]).
    all_paths: bool,
}

/// Some repositories of a list that follow each other.
#[derive(Clone, Copy, Debug)]
pub struct Stretch<'l> {
    block: &'l Block,
    from: usize,
}

/// A text that is looked for, in small letters.
#[derive(Clone, Debug)]
pub struct Substring(Finder<'static>);

impl Substring {
    /// Looks for this text; the empty one is in every other.
    pub fn new(text: &str) -> Substring {
        Substring(Finder::new(text).into_owned())
    }

    fn is_in(&self, text: &str) -> bool {
        self.0.find(text.as_bytes()).is_some()
    }
}

impl Listing {
    /// The repository of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Entry>> {
        let block = self.0.get(self.block_of(name))?;
        block.entries.get(block.entries.binary_search_by(|entry| order(&entry.name, name)).ok()?)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|block| block.entries.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.0.iter().flat_map(|block| &block.entries)
    }

    /// Those that come behind a name, whether that is one of theirs or not, or all; in their order.
    pub fn after(&self, name: Option<&str>) -> impl Iterator<Item = Stretch<'_>> {
        let (first, from) = match name {
            None => (0, 0),
            Some(name) => {
                let block = self.block_of(name);
                let behind = |block: &Arc<Block>| {
                    block.entries.partition_point(|entry| order(&entry.name, name) != Sorted::Greater)
                };
                (block, self.0.get(block).map(behind).unwrap_or_default())
            }
        };
        let blocks = self.0.iter().skip(first).enumerate();
        blocks.map(move |(at, block)| Stretch { block, from: if at == 0 { from } else { 0 } })
    }

    /// The number of the block in which a name is, or would be.
    fn block_of(&self, name: &str) -> usize {
        let behind = self.0.partition_point(|block| {
            block.entries.first().is_some_and(|first| order(&first.name, name) != Sorted::Greater)
        });
        behind.saturating_sub(1)
    }

    /// The list with these changes, of which those without tags take something away.
    fn with(&self, mut changes: Vec<Entry>) -> Listing {
        changes.sort_by(|one, other| order(&one.name, &other.name).then(other.seq.cmp(&one.seq)));
        changes.dedup_by(|older, newer| older.name == newer.name);
        changes.retain(|change| match self.get(&change.name) {
            Some(before) => before.seq <= change.seq && **before != *change,
            None => change.tags > 0,
        });
        if changes.is_empty() {
            return self.clone();
        }
        let mut changes = changes.into_iter().map(Arc::new).peekable();
        let mut blocks: Vec<Arc<Block>> = Vec::with_capacity(self.0.len());
        let mut before = self.0.iter().peekable();
        loop {
            let block = before.next();
            let next = before.peek().and_then(|next| next.entries.first());
            let is_here = |change: &Arc<Entry>| next.is_none_or(|next| order(&change.name, &next.name) == Sorted::Less);
            match block {
                Some(block) if !changes.peek().is_some_and(is_here) => blocks.push(Arc::clone(block)),
                Some(_) | None => {
                    let old = block.map(|block| block.entries.as_slice()).unwrap_or_default();
                    put(&mut blocks, merged(old, std::iter::from_fn(|| changes.next_if(is_here))));
                }
            }
            if next.is_none() {
                return Listing(Arc::new(blocks));
            }
        }
    }
}

/// What was there, changed.
fn merged(before: &[Arc<Entry>], changes: impl Iterator<Item = Arc<Entry>>) -> Vec<Arc<Entry>> {
    let mut all = Vec::with_capacity(before.len().saturating_add(1));
    let mut before = before.iter().peekable();
    for change in changes {
        all.extend(
            std::iter::from_fn(|| before.next_if(|old| order(&old.name, &change.name) == Sorted::Less)).cloned(),
        );
        before.next_if(|old| old.name == change.name);
        if change.tags > 0 {
            all.push(change);
        }
    }
    all.extend(before.cloned());
    all
}

/// Puts entries in blocks of their own, or with those in the last one.
fn put(blocks: &mut Vec<Arc<Block>>, mut entries: Vec<Arc<Entry>>) {
    if entries.len() < LEAST
        && let Some(last) = blocks.pop_if(|last| last.entries.len().saturating_add(entries.len()) <= MOST)
    {
        entries.splice(0..0, last.entries.iter().cloned());
    }
    let each = entries.len().div_ceil(entries.len().div_ceil(MOST).max(1)).max(1);
    blocks.extend(entries.chunks(each).map(|some| Arc::new(Block::new(some.to_vec()))));
}

impl Block {
    fn new(entries: Vec<Arc<Entry>>) -> Block {
        let names = Lines::of(entries.iter().map(|entry| &*entry.name));
        let descriptions = Lines::of(entries.iter().map(|entry| entry.description.text.to_lowercase()));
        let all_paths = entries.iter().all(|entry| is_path(&entry.name));
        Block { entries, names, descriptions, all_paths }
    }
}

impl<'l> Stretch<'l> {
    /// Two names between which all these are, in [`order`], and nothing that does not consist of parts ([`is_path`]); nothing where
    /// that cannot be said.
    pub fn between(self) -> Option<(&'l str, &'l str)> {
        let (first, last) = (self.block.entries.get(self.from)?, self.block.entries.last()?);
        self.block.all_paths.then_some((&*first.name, &*last.name))
    }

    /// The names of all.
    pub fn names(self) -> impl Iterator<Item = &'l str> {
        self.places().map(|place| self.block.names.line(place))
    }

    /// The names that hold a text.
    pub fn named(self, text: &'l Substring) -> impl Iterator<Item = &'l str> {
        self.block.names.holding(text, self.from).map(|place| self.block.names.line(place))
    }

    /// The names of those that have a text in what is written about them, and not in their names.
    pub fn described(self, text: &'l Substring) -> impl Iterator<Item = &'l str> {
        let names = self.block.descriptions.holding(text, self.from).map(|place| self.block.names.line(place));
        names.filter(|name| !text.is_in(name))
    }

    /// Those that have a text in their names or in what is written about them.
    pub fn mentioning(self, text: Option<&'l Substring>) -> impl Iterator<Item = &'l Arc<Entry>> {
        let Block { entries, names, descriptions, .. } = self.block;
        let has = move |place: &usize| {
            text.is_none_or(|text| text.is_in(names.line(*place)) || text.is_in(descriptions.line(*place)))
        };
        self.places().filter(has).filter_map(|place| entries.get(place))
    }

    fn places(self) -> std::ops::Range<usize> {
        self.from..self.block.entries.len()
    }
}

/// Texts, one behind the other.
#[derive(Debug, Default)]
struct Lines {
    text: String,
    /// Where each of them ends.
    ends: Vec<usize>,
}

impl Lines {
    fn of<Text: AsRef<str>>(texts: impl Iterator<Item = Text>) -> Lines {
        let mut lines = Lines::default();
        for text in texts {
            lines.text.push_str(text.as_ref());
            lines.ends.push(lines.text.len());
        }
        lines.text.shrink_to_fit();
        lines.ends.shrink_to_fit();
        lines
    }

    fn begin(&self, line: usize) -> usize {
        line.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default()
    }

    fn line(&self, line: usize) -> &str {
        let end = self.ends.get(line).copied().unwrap_or_default();
        self.text.get(self.begin(line)..end).unwrap_or_default()
    }

    /// The numbers of those, from one on, that hold this text.
    fn holding<'l>(&'l self, text: &'l Substring, from: usize) -> impl Iterator<Item = usize> + 'l {
        let length = text.0.needle().len();
        let (mut line, mut begin) = (from, self.begin(from));
        std::iter::from_fn(move || {
            loop {
                let found = begin.saturating_add(text.0.find(self.text.as_bytes().get(begin..)?)?);
                // The empty text is found at the begin of each line, an empty one too.
                while *self.ends.get(line)? <= found && length > 0 {
                    line = line.saturating_add(1);
                }
                let end = *self.ends.get(line)?;
                let this = line;
                (line, begin) = (line.saturating_add(1), end);
                // What reaches into the next line is in neither, and nothing behind it is in this one.
                if found.saturating_add(length) <= end {
                    return Some(this);
                }
            }
        })
    }
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
        let mut of: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        let mut newest = Seq::default();
        for Repository { service, name, tags, description, stars, seq, .. } in changed {
            newest = newest.max(seq);
            of.entry(service).or_default().push(Entry { name: name.into(), description, stars, tags, seq });
        }
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.last = lists.last.max(newest);
        for (service, changes) in of {
            let list = lists.of.entry(service).or_default();
            *list = list.with(changes);
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

    fn repository(name: &str, tags: i64, seq: i64) -> Repository {
        Repository { tags, seq: Seq(seq), ..Repository::unknown("reg", name) }
    }

    #[test]
    fn repositories_are_listed_part_by_part_of_their_names() {
        let sorted = ["a", "a/b", "a/b/c", "a/b-c", "a-b", "a-b/c", "a.b/c", "a0", "a_b", "ab/c", "b"];
        let listed = Listed::default();
        let mut all: Vec<Repository> = sorted.map(|name| repository(name, 1, 0)).into();
        all.reverse();
        listed.take(all);
        let listing = listed.of("reg");
        let after = |name| listing.after(name).flat_map(Stretch::names).collect::<Vec<&str>>();
        assert_eq!(after(None), sorted);
        for (at, name) in sorted.iter().enumerate() {
            assert_eq!(&*listing.get(name).unwrap().name, *name);
            assert_eq!(after(Some(name)), sorted.get(at + 1..).unwrap());
        }
        assert_eq!(after(Some("a/bb")), sorted.get(4..).unwrap(), "there is none of this name");
        assert_eq!((after(Some("c")).len(), after(Some("0")).len()), (0, sorted.len()));
    }

    /// Of two that stand behind each other, neither holds a text that begins in the one and ends in the other.
    #[test]
    fn a_text_is_found_within_a_line() {
        let lines = Lines::of(["ab", "", "cab", "b", "xabab"].iter());
        for (text, from, expected) in [
            ("ab", 0, &[0, 2, 4][..]),
            ("ab", 1, &[2, 4]),
            ("bc", 0, &[]),
            ("bb", 0, &[]),
            ("bxa", 0, &[]),
            ("b", 0, &[0, 2, 3, 4]),
            ("c", 0, &[2]),
            ("xabab", 3, &[4]),
            ("xababx", 0, &[]),
            ("", 0, &[0, 1, 2, 3, 4]),
            ("", 3, &[3, 4]),
            ("ab", 9, &[]),
        ] {
            let text = &Substring::new(text);
            assert_eq!(lines.holding(text, from).collect::<Vec<_>>(), expected, "{text:?} from {from}");
        }
    }

    proptest::proptest! {
        /// Against a map that is changed one by one.
        #[test]
        fn a_list_has_what_came_last_of_each(
            batches in proptest::collection::vec(proptest::collection::vec((0..3000_u32, 0..3_i64), 1..900), 1..9),
        ) {
            let listed = Listed::default();
            let mut expected: BTreeMap<String, i64> = BTreeMap::new();
            let mut seq = 0;
            for batch in batches {
                let held = listed.of("reg");
                let names: Vec<String> = held.iter().map(|entry| entry.name.to_string()).collect();
                let mut changed = Vec::new();
                for (number, tags) in batch {
                    seq += 1;
                    let name = format!("p{}/r-{number}", number % 40);
                    changed.push(repository(&name, tags, seq));
                    match tags {
                        0 => _ = expected.remove(&name),
                        _ => _ = expected.insert(name, tags),
                    }
                }
                changed.reverse();
                listed.take(changed.clone());
                let listing = listed.of("reg");
                let mut sorted: Vec<(&str, i64)> = expected.iter().map(|(name, tags)| (name.as_str(), *tags)).collect();
                sorted.sort_by(|(one, _), (other, _)| order(one, other));
                assert_eq!(listing.iter().map(|entry| (&*entry.name, entry.tags)).collect::<Vec<_>>(), sorted);
                assert_eq!(listing.len(), sorted.len());
                for block in listing.0.iter() {
                    assert!((1..=MOST).contains(&block.entries.len()));
                    assert_eq!(block.entries.len(), block.names.ends.len());
                }
                assert!(held.iter().map(|entry| &*entry.name).eq(names.iter().map(String::as_str)), "as it was");
                // What is read again changes nothing.
                listed.take(changed);
                assert!(Arc::ptr_eq(&listing.0, &listed.of("reg").0));
            }
        }
    }
}
