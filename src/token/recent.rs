//! Recently signed tokens, which are handed out again for the same answer (`token.reuse`).
//!
//! A token is looked up only after the client was identified and its rights were decided anew, so that an old token goes
//! only to somebody who would get the same one now.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::{HeaderForm, TokenContent};
use crate::digest::sha256;

/// The memory that all remembered tokens may take, in bytes. A token takes one to two thousand.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// The memory that a remembered token takes besides its text, in bytes.
const ENTRY_FRAME: usize = 256;
/// The shortest remaining life with which a token is handed out again, in seconds: clients read every shorter one as 60.
pub const LEAST_LEFT: i64 = 60;

/// The digest of a token's content and header: answers with the same one may share a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ContentDigest([u8; 32]);

impl ContentDigest {
    /// The digest of a token with this content and this header.
    pub fn new(content: &TokenContent, form: HeaderForm) -> ContentDigest {
        let form: &[u8] = match form {
            HeaderForm::X5c => b"x5c",
            HeaderForm::Kid => b"kid",
        };
        let TokenContent { subject, audience, access, secret } = content;
        // Each entry begins with its number of actions, so that none can be taken for the beginning of the next entry.
        let counts: Vec<[u8; 8]> = access.iter().map(|entry| (entry.actions.len() as u64).to_be_bytes()).collect();
        let entries = access.iter().zip(&counts).flat_map(|(entry, count)| {
            let start = [count.as_slice(), entry.kind.as_bytes(), entry.name.as_bytes()];
            start.into_iter().chain(entry.actions.iter().map(String::as_bytes))
        });
        // Behind the entries, of which each has its number of parts.
        let epoch = secret.as_ref().map(|secret| secret.epoch.to_be_bytes());
        let secret = secret.iter().flat_map(|secret| [secret.id.as_bytes(), secret.last4.as_bytes()]);
        let secret = secret.chain(epoch.iter().map(<[u8; 8]>::as_slice));
        let parts = [form, subject.as_bytes(), audience.as_bytes(), &(access.len() as u64).to_be_bytes()];
        ContentDigest(sha256(parts.into_iter().chain(entries).chain(secret)))
    }
}

/// A recently signed token.
#[derive(Clone)]
pub struct RecentToken {
    /// The token.
    pub token: Arc<str>,
    /// Its `jti`.
    pub id: Arc<str>,
    /// When it was signed.
    pub signed: OffsetDateTime,
    /// Its `exp`, in seconds since 1970.
    pub expires: i64,
}

impl RecentToken {
    /// Whether it may be handed out now, `held` after it was kept, to somebody whose new token would expire at `latest`.
    ///
    /// Its age is the larger one of two clocks, since setting the wall clock back makes no token younger. It is not handed
    /// out if that clock is now before its signing, when registries of the same clock would refuse it, nor with less than
    /// half of its life left: a client that gets it would soon be back.
    fn serves(&self, window: Duration, held: Duration, now: OffsetDateTime, latest: i64) -> bool {
        let Ok(age) = Duration::try_from(now - self.signed) else { return false };
        let age = age.max(held);
        let left = self.expires.saturating_sub(now.unix_timestamp());
        let life = self.expires.saturating_sub(self.signed.unix_timestamp());
        age < window && self.expires <= latest && left >= LEAST_LEFT && left.saturating_mul(2) >= life
    }
}

/// The recently signed tokens of one configuration. A new configuration starts with none: no token is handed out again
/// after its key, its issuer or its lifetime has changed.
pub struct RecentTokens {
    window: Duration,
    kept: Mutex<Kept>,
}

struct Kept {
    /// Each with the moment at which it was kept.
    tokens: LruCache<ContentDigest, (RecentToken, Instant)>,
    bytes: usize,
}

impl RecentTokens {
    /// An empty list. Each token is handed out again for the length of `window`.
    pub fn new(window: Duration) -> RecentTokens {
        RecentTokens { window, kept: Mutex::new(Kept { tokens: LruCache::unbounded(), bytes: 0 }) }
    }

    /// A token of this content that may be handed out again now and expires at `latest` or before, in seconds since 1970.
    pub fn find(&self, content: &ContentDigest, now: OffsetDateTime, latest: i64) -> Option<RecentToken> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (found, since) = kept.tokens.get(content)?;
        let held = since.elapsed();
        if found.serves(self.window, held, now, latest) {
            return Some(found.clone());
        }
        // If not expired, it still serves somebody who may have one for longer, or who asked a moment later.
        let is_expired = !found.serves(self.window, held, now.max(found.signed), i64::MAX);
        if is_expired {
            kept.remove(content);
        }
        None
    }

    /// Remembers a token. Drops expired ones, and, if all take too much memory, the least recently used.
    pub fn keep(&self, content: ContentDigest, recent: RecentToken) {
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
    fn remove(&mut self, content: &ContentDigest) {
        if let Some((gone, _)) = self.tokens.pop(content) {
            self.bytes = self.bytes.saturating_sub(size(&gone));
        }
    }
}

fn size(recent: &RecentToken) -> usize {
    recent.token.len() + recent.id.len() + ENTRY_FRAME
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::{AccessEntry, SecretClaims};
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(NOW + seconds).unwrap()
    }

    fn entry(kind: &str, name: &str, actions: &[&str]) -> AccessEntry {
        let actions = actions.iter().map(|action| (*action).to_owned()).collect();
        AccessEntry { kind: kind.to_owned(), name: name.to_owned(), actions }
    }

    fn content(subject: &str, audience: &str, access: &[AccessEntry]) -> TokenContent {
        let (subject, audience) = (subject.to_owned(), audience.to_owned());
        TokenContent { subject, audience, access: access.to_vec(), secret: None }
    }

    fn digest(subject: &str, audience: &str, access: &[AccessEntry]) -> ContentDigest {
        ContentDigest::new(&content(subject, audience, access), HeaderForm::X5c)
    }

    fn recent(token: &str, life: i64) -> RecentToken {
        RecentToken { token: token.into(), id: "id".into(), signed: at(0), expires: NOW + life }
    }

    #[test]
    fn contents_differ_wherever_tokens_would() {
        let pull = || vec![entry("repository", "a", &["pull"])];
        let of_secret = |id: &str, epoch, last4: &str| {
            let secret = Some(SecretClaims { id: id.to_owned(), epoch, last4: last4.to_owned() });
            ContentDigest::new(&TokenContent { secret, ..content("alice", "registry", &pull()) }, HeaderForm::X5c)
        };
        let contents = [
            digest("alice", "registry", &pull()),
            ContentDigest::new(&content("alice", "registry", &pull()), HeaderForm::Kid),
            of_secret("a", 0, "abcd"),
            of_secret("a", 0, "abce"),
            of_secret("a", 1, "abcd"),
            of_secret("b", 0, "abcd"),
            digest("alicer", "egistry", &pull()),
            digest("Alice", "registry", &pull()),
            digest("", "registry", &pull()),
            digest("alice", "other", &pull()),
            digest("alice", "registry", &[]),
            digest("alice", "registry", &[entry("repository", "a", &[])]),
            digest("alice", "registry", &[entry("repository", "a", &["pull", "push"])]),
            digest("alice", "registry", &[entry("repository", "a", &["push"])]),
            digest("alice", "registry", &[entry("registry", "a", &["pull"])]),
            digest("alice", "registry", &[entry("repository", "b", &["pull"])]),
            digest("alice", "registry", &[entry("repository", "apull", &[])]),
            digest("alice", "registry", &[pull(), pull()].concat()),
            // The same texts in the same order, cut into entries otherwise.
            digest("alice", "registry", &[entry("a", "b", &["c", "d", "e"]), entry("f", "g", &[])]),
            digest("alice", "registry", &[entry("a", "b", &[]), entry("c", "d", &["e", "f", "g"])]),
        ];
        for (index, one) in contents.iter().enumerate() {
            for (other_index, other) in contents.iter().enumerate() {
                assert_eq!(one == other, index == other_index, "{index} and {other_index}");
            }
        }
        assert_eq!(contents.first(), Some(&digest("alice", "registry", &pull())));
    }

    #[test]
    fn a_token_is_given_again_in_its_window_and_while_most_of_its_life_is_left() {
        let content = digest("alice", "registry", &[]);
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
        let contents = [1, 2].map(|number: u8| digest(&number.to_string(), "registry", &[]));
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
    fn what_is_remembered_is_bounded_and_what_has_expired_goes() {
        let tokens = RecentTokens::new(Duration::from_secs(30));
        let content = |number: usize| digest(&number.to_string(), "registry", &[]);
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

        // Long after: the next one that is signed clears what has expired.
        tokens.keep(content(5000), RecentToken { signed: at(60), expires: NOW + 960, ..recent("token", 0) });
        let kept = tokens.kept.lock().unwrap();
        assert_eq!((kept.tokens.len(), kept.bytes), (1, "token".len() + 2 + ENTRY_FRAME));
    }
}
