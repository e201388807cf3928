//! Checks a password against a bcrypt hash without holding up other requests, and without revealing which accounts exist.

mod hash;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use anyhow::Context;
use arc_swap::ArcSwap;
use lru::LruCache;
use time::OffsetDateTime;
use tokio::sync::OnceCell;
use tracing::warn;

pub use self::hash::{MAX_COST, MAX_PASSWORD, PasswordHash, hash};
use super::attempts::Attempts;
use super::{Secret, Standing};
use crate::client_network::ClientNetwork;
use crate::digest::DigestKey;
use crate::shown::printable;
use crate::turns::{Busy, PATIENCE, Turn, Turns};

/// How long a verified password is remembered, so that the next request need not hash it again.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// How many verified passwords are remembered at once (about 100 bytes each).
const REMEMBERED: NonZeroUsize = match NonZeroUsize::new(10_000) {
    Some(number) => number,
    None => NonZeroUsize::MIN,
};
/// How long a request waits for a check that another one began, which may take as long as two turns.
const LONGEST_CHECK: Duration = Duration::from_secs(20);
/// The cost below which a hash can be guessed offline quickly.
pub(crate) const WEAK_BELOW: u32 = 10;
/// The warning about a hash that was taken from an example.
pub(crate) const PUBLISHED_HASH: &str = "everybody can read this password: its hash is the one of an example; make a new one with: \
                                         dockwarden hash-password";

/// A checker of passwords, which hashes them on a few blocking threads and remembers those that were right.
pub struct Passwords {
    turns: Turns,
    remembered: Mutex<LruCache<Login, Instant>>,
    /// The checks that are not finished, for each of which several requests may wait.
    under_way: Mutex<HashMap<SharedBy, Arc<OnceCell<Check>>>>,
    key: DigestKey,
    attempts: Arc<Attempts>,
    /// Hashes of nobody's, with which a refusal is filled up to those of the account that has the most.
    further: ArcSwap<Vec<PasswordHash>>,
    observe: Arc<dyn Fn(HashEvent) + Send + Sync>,
}

/// The digest of an account, a password and the account's hashes. The memory of a password ends with any of them.
type Login = [u8; 32];
/// The requests that may share one check: those of one network with the same password.
type SharedBy = (ClientNetwork, Login);

/// A finished step of a check, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashEvent {
    /// Waiting for a turn.
    Waited(Duration),
    /// Hashing.
    Hashed(Duration),
}

/// One of the requests that wait for a check. With the last of them, the check is forgotten.
struct Waiting<'a> {
    passwords: &'a Passwords,
    key: SharedBy,
    check: Arc<OnceCell<Check>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut under_way = self.passwords.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours and the one in the list; more are only made under this lock.
        if Arc::strong_count(&self.check) <= 2 {
            under_way.remove(&self.key);
        }
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The password is the account's.
    Right,
    /// It is not.
    Wrong,
}

/// Whether a password that was right a moment ago is accepted without hashing it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recall {
    /// It is accepted.
    Allowed,
    /// It is hashed each time.
    Never,
}

impl Recall {
    /// Allowed, unless the account is closed: its passwords are hashed each time, as wrong ones are, because a quick refusal
    /// would reveal that the password was right.
    pub fn for_standing(standing: &Standing) -> Recall {
        #[expect(
            clippy::disallowed_methods,
            reason = "only how the check is made depends on it, and not what comes of it"
        )]
        let now = OffsetDateTime::now_utc();
        match standing.check(now) {
            Ok(()) => Recall::Allowed,
            Err(_) => Recall::Never,
        }
    }
}

/// A password to compare with an account's hashes.
#[derive(Clone, Copy)]
struct Comparison<'a> {
    account: &'a str,
    password: &'a Secret,
    hashes: &'a [PasswordHash],
    recall: Recall,
    from: ClientNetwork,
    /// How much longer it has to take than its hash.
    longer: Duration,
}

impl Comparison<'_> {
    /// Whether bcrypt would use all of the password.
    fn is_whole(&self) -> bool {
        let password = self.password.reveal();
        password.len() <= MAX_PASSWORD && !password.contains('\0')
    }
}

impl Passwords {
    /// A checker that hashes on one thread fewer than there are cores. `observe` is told how long each step took.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn new(observe: impl Fn(HashEvent) + Send + Sync + 'static) -> anyhow::Result<Passwords> {
        Ok(Passwords {
            turns: Turns::beside_one_core(),
            remembered: Mutex::new(LruCache::new(REMEMBERED)),
            under_way: Mutex::default(),
            key: DigestKey::random()?,
            attempts: Arc::new(Attempts::new()?),
            further: ArcSwap::default(),
            observe: Arc::new(observe),
        })
    }

    /// The wrong passwords of the last minutes, which outlive a reload as the right ones do.
    pub fn attempts(&self) -> &Arc<Attempts> {
        &self.attempts
    }

    /// Has each refusal of an account with one hash, and of an unknown one, take these hashes of nobody's too, where some account
    /// has so many more: otherwise the time of the reply would tell which account has how many, and so that it exists.
    pub(crate) fn fill_up_with(&self, further: Vec<PasswordHash>) {
        self.further.store(Arc::new(further));
    }

    /// Compares a password with the account's hashes, of which there is one or more. `from` is the network of the client.
    ///
    /// # Errors
    /// [`Busy`] if no turn to hash came, or the hashing thread died. Then it is not known whether the password is right:
    /// nobody is let in, and nobody is told that it is wrong.
    pub async fn check(
        &self,
        account: &str,
        password: &Secret,
        hashes: &[PasswordHash],
        recall: Recall,
        from: ClientNetwork,
    ) -> anyhow::Result<Check> {
        let comparison = Comparison { account, password, hashes, recall, from, longer: Duration::ZERO };
        let login = self.login(comparison);
        if recall == Recall::Allowed && self.remembers(&login) {
            return Ok(Check::Right);
        }
        let check = self.hash(comparison, login).await?;
        if comparison.is_whole() { Ok(check) } else { Ok(Check::Wrong) }
    }

    /// Takes as long as a wrong password does, for an unknown account: otherwise the time of the reply would reveal which
    /// accounts exist. `longer` is what else a known account costs, at most a millisecond.
    ///
    /// # Errors
    /// As [`Passwords::check`].
    pub async fn check_nobody(
        &self,
        account: &str,
        password: &Secret,
        nobodys: &PasswordHash,
        longer: Duration,
        from: ClientNetwork,
    ) -> anyhow::Result<()> {
        let hashes = std::slice::from_ref(nobodys);
        let comparison = Comparison { account, password, hashes, recall: Recall::Never, from, longer };
        self.hash(comparison, self.login(comparison)).await.map(|_| ())
    }

    /// Hashes a password when its turn comes, once for all requests with the same one from the same network: a group of
    /// machines that start together sends one password a hundred times, and takes one turn for it. Right and wrong passwords
    /// and those of unknown accounts are treated alike; otherwise the time that two requests take together would tell which
    /// it was.
    async fn hash(&self, comparison: Comparison<'_>, login: Login) -> anyhow::Result<Check> {
        let waiting = self.wait_for((comparison.from, login));
        // If the request that began goes away or gets no turn, the next one begins.
        let check = waiting.check.get_or_try_init(|| self.hash_at_turn(comparison, login));
        let check = tokio::time::timeout(LONGEST_CHECK, check).await.map_err(|_| Busy::Late)??;
        Ok(*check)
    }

    fn wait_for(&self, key: SharedBy) -> Waiting<'_> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let check = Arc::clone(under_way.entry(key).or_default());
        Waiting { passwords: self, key, check }
    }

    async fn hash_at_turn(&self, comparison: Comparison<'_>, login: Login) -> anyhow::Result<Check> {
        let began = crate::clock::now();
        let client = self.attempts.client(comparison.from);
        let turn = self.turns.turn(client, crate::clock::now() + PATIENCE).await;
        (self.observe)(HashEvent::Waited(began.elapsed()));
        let turn = turn?;
        // A request from another network may have had the same password hashed in the meantime.
        if comparison.recall == Recall::Allowed && self.remembers(&login) {
            return Ok(Check::Right);
        }
        let check = self.compare(comparison, turn).await?;
        if check == Check::Right && comparison.recall == Recall::Allowed && comparison.is_whole() {
            self.remember(login);
        }
        Ok(check)
    }

    /// Compares on a blocking thread, where the wrong password is counted too, since the request may be gone by then.
    async fn compare(&self, comparison: Comparison<'_>, turn: Turn) -> anyhow::Result<Check> {
        let Comparison { account, password, hashes, recall, from, longer } = comparison;
        // bcrypt would compare only the beginning. The time is spent all the same, so that the refusal reveals nothing.
        let text = if comparison.is_whole() { password.reveal().to_owned() } else { String::new() };
        let (further, guessed) = (self.further.load(), account.to_owned());
        let further = further.iter().skip(hashes.len().saturating_sub(1));
        let hashes: Vec<PasswordHash> = hashes.iter().chain(further).cloned().collect();
        let observe = Arc::clone(&self.observe);
        let count_wrong = self.attempts.if_wrong(account, password, from);
        // Dropped with this request.
        let request = Arc::new(());
        let gone = Arc::downgrade(&request);
        let check = tokio::task::spawn_blocking(move || {
            // The turn ends with the hashing, not with the request: a client that goes away frees nothing earlier.
            let _turn = turn;
            let (mut check, mut took) = (Check::Wrong, Vec::with_capacity(hashes.len()));
            for hash in &hashes {
                let started = crate::clock::now();
                if let Ok(true) = bcrypt::verify(&text, hash.text()) {
                    check = Check::Right;
                }
                took.push(started.elapsed());
                // One that is not let in all the same is refused as late as with a wrong password.
                if check == Check::Right && recall == Recall::Allowed {
                    break;
                }
            }
            // Sleeping is not fine enough: the system wakes up a twentieth of a millisecond late.
            let hashed = crate::clock::now();
            while hashed.elapsed() < longer {
                std::hint::spin_loop();
            }
            if check == Check::Wrong {
                count_wrong();
                if gone.strong_count() == 0 {
                    // No line of a request will show it.
                    warn!(reason = "guess_unanswered", user.account = %printable(&guessed), client.network = %from,
                        "a password was wrong whose client did not wait for the answer");
                }
            }
            took.into_iter().for_each(|took| observe(HashEvent::Hashed(took)));
            check
        })
        .await
        .context("the hashing thread died")?;
        drop(request);
        Ok(check)
    }

    fn login(&self, comparison: Comparison<'_>) -> Login {
        let hashes = comparison.hashes.iter().map(PasswordHash::text);
        self.key.digest([comparison.account, comparison.password.reveal()].into_iter().chain(hashes))
    }

    fn remembers(&self, login: &Login) -> bool {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(login).is_some_and(|since| since.elapsed() < REMEMBERED_FOR)
    }

    fn remember(&self, login: Login) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).put(login, crate::clock::now());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A client that hangs up while its password is compared is told nothing, and has used up a guess all the same.
    #[tokio::test]
    async fn a_guess_whose_client_hangs_up_is_counted() -> anyhow::Result<()> {
        let (waited, mut turn_came) = tokio::sync::mpsc::unbounded_channel();
        let (hashed, was_hashed) = mpsc::channel();
        let passwords = Arc::new(Passwords::new(move |step| match step {
            HashEvent::Waited(_) => drop(waited.send(())),
            HashEvent::Hashed(_) => drop(hashed.send(())),
        })?);
        let hash: PasswordHash = bcrypt::hash("right", 10)?.parse().map_err(|_| anyhow::anyhow!("no hash"))?;
        for guess in 1..=2 {
            let asking = {
                let (passwords, hash) = (Arc::clone(&passwords), hash.clone());
                let password = Secret::new(format!("guess {guess}"));
                async move { passwords.check("alice", &password, &[hash], Recall::Allowed, ClientNetwork::Unknown).await }
            };
            let asking = tokio::spawn(asking);
            anyhow::ensure!(turn_came.recv().await.is_some());
            asking.abort();
            anyhow::ensure!(asking.await.is_err_and(|error| error.is_cancelled()), "it was answered");
            was_hashed.recv()?;
        }
        let attempts = passwords.attempts();
        assert_eq!(attempts.counted(), 1);
        let mut left = 0;
        while attempts
            .begin("alice", &Secret::new(format!("another {left}")), ClientNetwork::Unknown)
            .map(crate::passwords::attempts::Attempt::was_wrong)
            .is_ok()
        {
            left += 1;
        }
        assert_eq!(left, 3);
        Ok(())
    }
}
