//! Tokens that were signed a moment ago, to be handed out again for the very same answer (`token.reuse`).
//!
//! What is looked up is the answer to a request, after who asks was verified and what they may do was decided anew: an
//! old token is only ever given to somebody who would get the same one now.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use lru::LruCache;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{AccessEntry, HeaderForm};

/// What all remembered tokens may take, in bytes. A token takes one to two thousand.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// What a remembered token takes besides its text, in bytes.
const ENTRY_FRAME: usize = 256;
/// A token with less life than this is not handed out again, in seconds: clients read every shorter life as 60.
pub const LEAST_LEFT: i64 = 60;

/// What a token says, but for its times and its id: two answers that are alike in it may share a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Content([u8; 32]);

impl Content {
    /// The content of a token for this account and service, with these grants and this header.
    ///
    /// Lengths come before texts, so that no text can run into the next: an account could otherwise be chosen so that
    /// it and the service read like another's.
    pub fn of(subject: &str, audience: &str, access: &[AccessEntry], form: HeaderForm) -> Content {
        let mut content = digest::Context::new(&digest::SHA256);
        let mut count = |number: usize| content.update(&(number as u64).to_be_bytes());
        count(match form {
            HeaderForm::X5c => 0,
            HeaderForm::Kid => 1,
        });
        count(access.len());
        for entry in access {
            count(entry.actions.len());
        }
        let entries = access.iter().flat_map(|entry| {
            [entry.kind.as_str(), entry.name.as_str()].into_iter().chain(entry.actions.iter().map(String::as_str))
        });
        for text in [subject, audience].into_iter().chain(entries) {
            content.update(&(text.len() as u64).to_be_bytes());
            content.update(text.as_bytes());
        }
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(content.finish().as_ref()) {
            *to = *from;
        }
        Content(bytes)
    }
}

/// A token that was signed a moment ago.
#[derive(Clone)]
pub struct Recent {
    /// The token.
    pub token: Arc<str>,
    /// Its `jti`.
    pub id: Arc<str>,
    /// When it was signed.
    pub signed: OffsetDateTime,
    /// Its `exp`, in seconds since 1970.
    pub expires: i64,
}

impl Recent {
    /// Whether it may be handed out at this moment, `held` after its making, to somebody whose new token would not live
    /// beyond `latest`.
    ///
    /// Its age counts by both clocks: a clock that is set back makes no token younger. Not if it was set back behind its
    /// making, when registries of the same clock would not take it yet; and not with less than half of its life left: a
    /// client that gets it would soon be back.
    fn serves(&self, window: Duration, held: Duration, now: OffsetDateTime, latest: i64) -> bool {
        let Ok(age) = Duration::try_from(now - self.signed) else { return false };
        let age = age.max(held);
        let left = self.expires.saturating_sub(now.unix_timestamp());
        let life = self.expires.saturating_sub(self.signed.unix_timestamp());
        age < window && self.expires <= latest && left >= LEAST_LEFT && left.saturating_mul(2) >= life
    }
}

/// The tokens of the last moments. One configuration has its own: no token outlives the key, the issuer or the life that
/// it was made with, whatever the new file says.
pub struct RecentTokens {
    window: Duration,
    kept: Mutex<Kept>,
}

struct Kept {
    /// Each with when it came.
    tokens: LruCache<Content, (Recent, Instant)>,
    bytes: usize,
}

impl RecentTokens {
    /// None yet; each is handed out again for so long.
    pub fn new(window: Duration) -> RecentTokens {
        RecentTokens { window, kept: Mutex::new(Kept { tokens: LruCache::unbounded(), bytes: 0 }) }
    }

    /// A token of this content that may be handed out again now and ends no later than `latest`, in seconds since 1970.
    pub fn find(&self, content: &Content, now: OffsetDateTime, latest: i64) -> Option<Recent> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (found, since) = kept.tokens.get(content)?;
        let held = since.elapsed();
        if found.serves(self.window, held, now, latest) {
            return Some(found.clone());
        }
        // Otherwise it still serves somebody who may have one for longer, or who came a moment later.
        let is_over = !found.serves(self.window, held, now.max(found.signed), i64::MAX);
        if is_over {
            kept.remove(content);
        }
        None
    }

    /// Remembers a token, and forgets those that have not been asked for longest, if they take too much.
    pub fn keep(&self, content: Content, recent: Recent) {
        let now = recent.signed;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(&content);
        kept.bytes += size(&recent);
        kept.tokens.put(content, (recent, crate::clock::now()));
        while let Some((oldest, (recent, since))) = kept.tokens.peek_lru()
            && (kept.bytes > MOST_BYTES || !recent.serves(self.window, since.elapsed(), now, i64::MAX))
        {
            let oldest = *oldest;
            kept.remove(&oldest);
        }
    }
}

impl Kept {
    fn remove(&mut self, content: &Content) {
        if let Some((gone, _)) = self.tokens.pop(content) {
            self.bytes = self.bytes.saturating_sub(size(&gone));
        }
    }
}

fn size(recent: &Recent) -> usize {
    recent.token.len() + recent.id.len() + ENTRY_FRAME
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(NOW + seconds).unwrap()
    }

    fn entry(kind: &str, name: &str, actions: &[&str]) -> AccessEntry {
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        AccessEntry { kind: kind.to_owned(), name: name.to_owned(), actions }
    }

    fn recent(token: &str, life: i64) -> Recent {
        Recent { token: token.into(), id: "id".into(), signed: at(0), expires: NOW + life }
    }

    #[test]
    fn contents_differ_wherever_tokens_would() {
        let pull = || vec![entry("repository", "a", &["pull"])];
        let contents = [
            Content::of("alice", "registry", &pull(), HeaderForm::X5c),
            Content::of("alice", "registry", &pull(), HeaderForm::Kid),
            Content::of("alicer", "egistry", &pull(), HeaderForm::X5c),
            Content::of("Alice", "registry", &pull(), HeaderForm::X5c),
            Content::of("", "registry", &pull(), HeaderForm::X5c),
            Content::of("alice", "other", &pull(), HeaderForm::X5c),
            Content::of("alice", "registry", &[], HeaderForm::X5c),
            Content::of("alice", "registry", &[entry("repository", "a", &[])], HeaderForm::X5c),
            Content::of("alice", "registry", &[entry("repository", "a", &["pull", "push"])], HeaderForm::X5c),
            Content::of("alice", "registry", &[entry("repository", "a", &["push"])], HeaderForm::X5c),
            Content::of("alice", "registry", &[entry("registry", "a", &["pull"])], HeaderForm::X5c),
            Content::of("alice", "registry", &[entry("repository", "b", &["pull"])], HeaderForm::X5c),
            Content::of("alice", "registry", &[entry("repository", "apull", &[])], HeaderForm::X5c),
            Content::of("alice", "registry", &[pull(), pull()].concat(), HeaderForm::X5c),
            // The same texts in the same order, cut into entries otherwise.
            Content::of(
                "alice",
                "registry",
                &[entry("a", "b", &["c", "d", "e"]), entry("f", "g", &[])],
                HeaderForm::X5c,
            ),
            Content::of(
                "alice",
                "registry",
                &[entry("a", "b", &[]), entry("c", "d", &["e", "f", "g"])],
                HeaderForm::X5c,
            ),
        ];
        for (index, one) in contents.iter().enumerate() {
            for (other_index, other) in contents.iter().enumerate() {
                assert_eq!(one == other, index == other_index, "{index} and {other_index}");
            }
        }
        assert_eq!(contents.first(), Some(&Content::of("alice", "registry", &pull(), HeaderForm::X5c)));
    }

    #[test]
    fn a_token_is_given_again_in_its_window_and_while_most_of_its_life_is_left() {
        let content = Content::of("alice", "registry", &[], HeaderForm::X5c);
        let never = i64::MAX;
        // Its life, the moment it is asked for, the latest end that is allowed, and whether it is given.
        for (life, moment, latest, given) in [
            (900, 0, never, true),
            (900, 29, never, true),
            (900, 30, never, false),
            (900, -1, never, false),
            (900, 10, NOW + 900, true),
            (900, 10, NOW + 899, false),
            // An account or a rule that ends soon made it short.
            (120, 29, never, true),
            (80, 20, never, true),
            (80, 21, never, false),
            (50, 0, never, false),
        ] {
            let tokens = RecentTokens::new(Duration::from_secs(30));
            tokens.keep(content, recent("token", life));
            let found = tokens.find(&content, at(moment), latest);
            assert_eq!(found.is_some(), given, "life {life}, at {moment}, until {latest}");
        }
        let tokens = RecentTokens::new(Duration::from_secs(1000));
        tokens.keep(content, recent("token", 900));
        assert!(tokens.find(&content, at(450), never).is_some());
        // Not for these, and still for others.
        assert!(tokens.find(&content, at(100), NOW + 899).is_none());
        assert!(tokens.find(&content, at(-1), never).is_none());
        assert!(tokens.find(&content, at(100), never).is_some());
        assert!(tokens.find(&content, at(451), never).is_none(), "less than half of its life is left");
    }

    /// The window runs on when the clock stands still, or is set back again and again.
    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_makes_no_token_younger() {
        let tokens = RecentTokens::new(Duration::from_secs(30));
        let contents = [1, 2].map(|number: u8| Content::of(&number.to_string(), "registry", &[], HeaderForm::X5c));
        let [one, other] = contents;
        tokens.keep(one, recent("token", 900));
        for (pause, moment, given) in [(29, 29, true), (0, 5, true), (0, -1, false), (0, 5, true), (1, 5, false)] {
            tokio::time::advance(Duration::from_secs(pause)).await;
            assert_eq!(tokens.find(&one, at(moment), i64::MAX).is_some(), given, "{pause} later, at {moment}");
        }
        // And no token is kept for ever by it.
        for content in [one, other] {
            tokens.keep(content, recent("token", 900));
            tokio::time::advance(Duration::from_secs(30)).await;
        }
        assert_eq!(tokens.kept.lock().unwrap().tokens.len(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_over_goes() {
        let tokens = RecentTokens::new(Duration::from_secs(30));
        let content = |number: usize| Content::of(&number.to_string(), "registry", &[], HeaderForm::X5c);
        let long = "x".repeat(64 * 1024);
        for number in 0..1000 {
            tokens.keep(content(number), recent(&long, 900));
            assert!(tokens.find(&content(0), at(0), i64::MAX).is_some(), "the one that is used stays");
        }
        let (count, bytes) = {
            let kept = tokens.kept.lock().unwrap();
            (kept.tokens.len(), kept.bytes)
        };
        assert!(bytes <= MOST_BYTES && bytes > MOST_BYTES - 2 * long.len(), "{bytes}");
        assert_eq!(bytes, count * (long.len() + 2 + ENTRY_FRAME));
        assert!(tokens.find(&content(1), at(0), i64::MAX).is_none());

        // Long after: the next one that is signed clears what is over.
        tokens.keep(content(5000), Recent { signed: at(60), expires: NOW + 960, ..recent("token", 0) });
        let kept = tokens.kept.lock().unwrap();
        assert_eq!((kept.tokens.len(), kept.bytes), (1, "token".len() + 2 + ENTRY_FRAME));
    }
}
