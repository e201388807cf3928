//! Answers that were a yes a moment ago, where the operator trades a revocation's speed for fewer questions.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use crate::digest::DigestKey;

/// How many answers are remembered at once; the least used is forgotten first.
const REMEMBERED: NonZeroUsize = match NonZeroUsize::new(10_000) {
    Some(number) => number,
    None => NonZeroUsize::MIN,
};

/// What an answer is remembered under. Nothing that was asked can be told from it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name([u8; 32]);

/// The answers of one backend. It belongs to the settings that the backend was made from: with other settings begins
/// another memory, with another key.
pub struct Memory<T> {
    key: DigestKey,
    held: Mutex<LruCache<Name, (Instant, T)>>,
    lifetime: Duration,
}

impl<T: Clone> Memory<T> {
    /// An empty memory, in which an answer stays for `lifetime`.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn new(lifetime: Duration) -> anyhow::Result<Memory<T>> {
        Ok(Memory { key: DigestKey::random()?, held: Mutex::new(LruCache::new(REMEMBERED)), lifetime })
    }

    /// What the answer to this question is remembered under.
    pub fn name<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Name {
        Name(self.key.digest(parts))
    }

    /// The answer, if its time is not over.
    pub fn recall(&self, name: &Name) -> Option<T> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get(name) {
            Some((until, answer)) if crate::clock::now() < *until => Some(answer.clone()),
            Some(_) => {
                held.pop(name);
                None
            }
            None => None,
        }
    }

    /// Remembers an answer to a question that was asked at `asked`: its time counts from there, since what the answer
    /// says may have changed while it was on its way.
    pub fn remember(&self, name: Name, asked: Instant, answer: T) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).put(name, (asked + self.lifetime, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_remembered_for_its_time_from_the_question_on() -> anyhow::Result<()> {
        let memory = Memory::new(Duration::from_secs(10))?;
        let (name, asked) = (memory.name(["alice", "pw"]), crate::clock::now());
        assert_eq!(memory.recall(&name), None);
        tokio::time::advance(Duration::from_secs(4)).await;
        memory.remember(name, asked, 7);
        tokio::time::advance(Duration::from_millis(5999)).await;
        assert_eq!(memory.recall(&name), Some(7));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(memory.recall(&name), None);
        assert!(memory.held.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
        Ok(())
    }

    #[test]
    fn memory_is_bounded() -> anyhow::Result<()> {
        let memory = Memory::new(Duration::from_secs(10))?;
        for number in 0..=REMEMBERED.get() {
            memory.remember(memory.name([number.to_string().as_str()]), crate::clock::now(), number);
        }
        assert_eq!(memory.held.lock().unwrap_or_else(PoisonError::into_inner).len(), REMEMBERED.get());
        assert_eq!(memory.recall(&memory.name(["0"])), None, "the least used is gone");
        Ok(())
    }
}
