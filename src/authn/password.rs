//! Checking a password against a bcrypt hash, without stopping other requests and without telling who exists.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use anyhow::Context;
use aws_lc_rs::hmac;
use bcrypt::HashParts;
use lru::LruCache;
use time::OffsetDateTime;
use tokio::sync::OnceCell;
use tracing::warn;

use super::attempts::Attempts;
use super::hash_kind::HashKind;
use super::{Secret, Standing};
use crate::client_network::ClientNetwork;
use crate::shown::printable;
use crate::turns::{Busy, PATIENCE, Turn, Turns};

/// The number of bytes of a password that bcrypt looks at. A longer one is refused: it would be equal to every other
/// password with the same beginning.
pub const MAX_PASSWORD: usize = 72;
/// How long a verified password is remembered, so that the next request need not be hashed again.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// How many verified passwords are remembered at once (about 100 bytes each).
const REMEMBERED: NonZeroUsize = match NonZeroUsize::new(10_000) {
    Some(number) => number,
    None => NonZeroUsize::MIN,
};
/// How long a request waits for a check that another one began. Such a one may take the wait of two turns, and nobody
/// waits for ever.
const LONGEST_CHECK: Duration = Duration::from_secs(20);
/// The cost that an unknown account is hashed with where no user is known.
const USUAL_COST: u32 = 10;
/// bcrypt's own least cost.
const LEAST_COST: u32 = 4;
/// A hash above this cost takes many seconds, and meanwhile nobody else can log in.
pub const MAX_COST: u32 = 16;

/// The hashes in our own examples, and in docker_auth's, from which many files begin.
const PUBLISHED: [&str; 5] = [
    "$2b$10$MsqvqhkO90ZkPh/07vciqOUh2/5Sq8wG3GSpMztZv97BcrHG/lzBu",
    "$2b$10$.aUGXSuuixCSv8TZKcEs9u05qUoA.BheTkNfe21wSrKjbNJjjEeYi",
    "$2y$10$LQjRsihpHBw9IrvTWXG3auDzBfrVpTK7EFoyYz2mLyKPWxqGjhUSe",
    "$2y$05$LO.vzwpWC5LZGqThvEfznu8qhb5SGqvBSWY1J3yZ4AxtMRZ3kN5jC",
    "$2y$05$WuwBasGDAgr.QCbGIjKJaep4dhxeai9gNZdmBnQXqpKly57oNutya",
];

/// A bcrypt hash that was checked when it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    text: String,
    cost: u32,
}

impl PasswordHash {
    /// The work factor.
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// The hash itself, for the one place that stores it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it stands in an example, so that everybody can read its password there.
    pub fn is_published(&self) -> bool {
        PUBLISHED.contains(&self.text.as_str())
    }
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "[bcrypt, cost {}]", self.cost)
    }
}

impl FromStr for PasswordHash {
    type Err = String;

    fn from_str(text: &str) -> Result<PasswordHash, String> {
        let wrong = "this is no bcrypt hash ($2a$, $2b$ or $2y$ and 60 characters in all); make one with: dockwarden hash-password";
        let line = text.split_once(':').and_then(|(_, after)| HashKind::of(after));
        match (line, HashKind::of(text)) {
            (Some(HashKind::Bcrypt), _) => {
                return Err("this is a line of an htpasswd file; take what stands after the colon".to_owned());
            }
            (Some(HashKind::Other(kind)), _) | (None, Some(HashKind::Other(kind))) => {
                return Err(format!("this is no bcrypt hash but {kind}; make one with: dockwarden hash-password"));
            }
            (None, Some(HashKind::Bcrypt)) if text.len() != 60 => {
                return Err(format!(
                    "this is no bcrypt hash ($2a$, $2b$ or $2y$ and 60 characters in all; this one has {}): a shell or a \
                     compose file takes what follows a dollar sign for a variable, unless it stands in '…' or is doubled",
                    text.len()
                ));
            }
            (None, Some(HashKind::Bcrypt) | None) => {}
        }
        let known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| text.starts_with(version));
        // A non-ASCII text of the right length has made this parser panic before (RUSTSEC-2026-0199).
        if !text.is_ascii() || text.len() != 60 || !known {
            return Err(wrong.to_owned());
        }
        let cost = HashParts::from_str(text).map_err(|_| wrong.to_owned())?.get_cost();
        if cost < LEAST_COST {
            return Err(format!("a bcrypt cost of {cost} does not exist; the least is {LEAST_COST}, and 10 is usual"));
        }
        if cost > MAX_COST {
            return Err(format!(
                "a bcrypt cost of {cost} takes very long for each login; use 10 to 12 (at most {MAX_COST})"
            ));
        }
        Ok(PasswordHash { text: text.to_owned(), cost })
    }
}

/// Makes the hash of a new password.
///
/// # Errors
/// Says why the password or the cost cannot be used.
pub fn hash(password: &str, cost: u32) -> Result<String, String> {
    if password.is_empty() {
        return Err("the password is empty".to_owned());
    }
    if password.len() > MAX_PASSWORD {
        return Err(format!("the password has {} bytes; bcrypt looks at no more than {MAX_PASSWORD}", password.len()));
    }
    if password.contains('\0') {
        return Err("the password contains a NUL byte".to_owned());
    }
    let hashed = bcrypt::hash_with_result(password, cost).map_err(|error| error.to_string())?;
    Ok(hashed.format_for_version(bcrypt::Version::TwoB))
}

impl Memory {
    /// Used, unless the account is closed: that is hashed each time, as a wrong password is, because a quick refusal
    /// would tell that the password was right.
    pub fn of(standing: &Standing) -> Memory {
        #[expect(
            clippy::disallowed_methods,
            reason = "only how the check is made depends on it, and not what comes of it"
        )]
        let now = OffsetDateTime::now_utc();
        match standing.check(now) {
            Ok(()) => Memory::Used,
            Err(_) => Memory::Unused,
        }
    }
}

/// Checks passwords: hashing runs on a few blocking threads, and what was verified a moment ago is not hashed again.
pub struct Passwords {
    turns: Turns,
    remembered: Mutex<LruCache<MemoryName, Instant>>,
    /// Checks that are not finished, each of which may have many who wait for it.
    under_way: Mutex<HashMap<Joint, Arc<OnceCell<Check>>>>,
    memory_key: hmac::Key,
    attempts: Arc<Attempts>,
    observe: Arc<dyn Fn(Step) + Send + Sync>,
}

/// What a verified password is remembered under.
type MemoryName = [u8; 32];
/// Who may wait for one check together: those of one network, with the same password.
type Joint = (ClientNetwork, MemoryName);

/// One step of a check, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It waited for its turn.
    Waited(Duration),
    /// It was hashed.
    Hashed(Duration),
}

/// One of those who wait for a check. With the last of them it is forgotten.
struct Joined<'a> {
    passwords: &'a Passwords,
    key: Joint,
    check: Arc<OnceCell<Check>>,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        let mut under_way = self.passwords.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // Ours and the one in the list; more are only made under this lock.
        if Arc::strong_count(&self.check) <= 2 {
            under_way.remove(&self.key);
        }
    }
}

/// Whether a password is the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is.
    Right,
    /// It is not.
    Wrong,
}

/// Whether a password that was right a moment ago is taken without hashing it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// It is.
    Used,
    /// It is hashed each time.
    Unused,
}

impl Passwords {
    /// A checker that hashes on at most one thread fewer than there are cores. `observe` is told how long each step took.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn new(observe: impl Fn(Step) + Send + Sync + 'static) -> anyhow::Result<Passwords> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| anyhow::anyhow!("the system gave no random bytes"))?;
        Ok(Passwords {
            turns: Turns::beside_one_core(),
            remembered: Mutex::new(LruCache::new(REMEMBERED)),
            under_way: Mutex::default(),
            memory_key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            attempts: Arc::new(Attempts::new()?),
            observe: Arc::new(observe),
        })
    }

    /// The wrong passwords of the last minutes, which outlive a reload as the right ones do.
    pub fn attempts(&self) -> &Arc<Attempts> {
        &self.attempts
    }

    /// Compares a password with the account's hash. `from` is where its client is.
    ///
    /// # Errors
    /// [`Busy`] where no turn to hash came, or the hashing thread died: not known, so nobody is let in, and nobody is
    /// told that the password is wrong.
    pub async fn check(
        &self,
        account: &str,
        password: &Secret,
        hash: &PasswordHash,
        memory: Memory,
        from: ClientNetwork,
    ) -> anyhow::Result<Check> {
        let name = self.memory_name(account, password.reveal(), hash);
        if memory == Memory::Used && self.remembers(&name) {
            return Ok(Check::Right);
        }
        let check = self.hash(account, password, hash, name, memory, from).await?;
        if is_whole(password) { Ok(check) } else { Ok(Check::Wrong) }
    }

    /// Takes as long as a wrong password does, for an account that nobody knows: otherwise the time of the answer
    /// would tell which accounts exist.
    ///
    /// # Errors
    /// As [`Passwords::check`].
    pub async fn check_nobody(
        &self,
        account: &str,
        password: &Secret,
        usual: &PasswordHash,
        from: ClientNetwork,
    ) -> anyhow::Result<()> {
        let name = self.memory_name(account, password.reveal(), usual);
        self.hash(account, password, usual, name, Memory::Unused, from).await.map(|_| ())
    }

    /// Hashes a password when its turn comes, once for all who wait with the same one from the same network: a farm of
    /// machines that starts sends one password a hundred times, and has one place for it. It is the same for right and
    /// wrong passwords and for accounts that nobody knows, or what two requests at once take would tell them apart.
    async fn hash(
        &self,
        account: &str,
        password: &Secret,
        hash: &PasswordHash,
        name: MemoryName,
        memory: Memory,
        from: ClientNetwork,
    ) -> anyhow::Result<Check> {
        let joined = self.join((from, name));
        // If whoever began goes away or gets no turn, the next one begins.
        let check = joined.check.get_or_try_init(|| self.hash_at_turn(account, password, hash, name, memory, from));
        let check = tokio::time::timeout(LONGEST_CHECK, check).await.map_err(|_| Busy::Late)??;
        Ok(*check)
    }

    fn join(&self, key: Joint) -> Joined<'_> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let check = Arc::clone(under_way.entry(key).or_default());
        Joined { passwords: self, key, check }
    }

    async fn hash_at_turn(
        &self,
        account: &str,
        password: &Secret,
        hash: &PasswordHash,
        name: MemoryName,
        memory: Memory,
        from: ClientNetwork,
    ) -> anyhow::Result<Check> {
        let began = crate::clock::now();
        let turn = self.turn(from).await;
        (self.observe)(Step::Waited(began.elapsed()));
        let turn = turn?;
        // Somebody from another network may have had the same one hashed in the meantime.
        if memory == Memory::Used && self.remembers(&name) {
            return Ok(Check::Right);
        }
        // bcrypt would compare only the beginning. The time is spent all the same, so that the refusal tells nothing.
        let text = if is_whole(password) { password.reveal().to_owned() } else { String::new() };
        let stored = hash.clone();
        let observe = Arc::clone(&self.observe);
        let count_wrong = self.attempts.if_wrong(account, password, from);
        // Dropped with this request.
        let asker = Arc::new(());
        let (gone, guessed) = (Arc::downgrade(&asker), account.to_owned());
        let check = tokio::task::spawn_blocking(move || {
            // The turn ends with the hashing, not with the request: a client that goes away frees nothing earlier.
            let _turn = turn;
            let started = crate::clock::now();
            let check = match bcrypt::verify(text, &stored.text) {
                Ok(true) => Check::Right,
                Ok(false) | Err(_) => Check::Wrong,
            };
            let took = started.elapsed();
            match check {
                Check::Right => {}
                // Here, since whoever asked may be gone.
                Check::Wrong => {
                    count_wrong();
                    if gone.strong_count() == 0 {
                        // There is no request any more whose line would tell it.
                        warn!(reason = "guess_unanswered", user.account = %printable(&guessed), client.network = %from,
                            "a password was wrong whose client did not wait for the answer");
                    }
                }
            }
            observe(Step::Hashed(took));
            check
        })
        .await
        .context("the hashing thread died")?;
        drop(asker);
        match check {
            Check::Right if memory == Memory::Used && is_whole(password) => {
                self.remember(name);
            }
            Check::Right | Check::Wrong => {}
        }
        Ok(check)
    }

    async fn turn(&self, from: ClientNetwork) -> Result<Turn, Busy> {
        self.turns.turn(self.attempts.client(from), crate::clock::now() + PATIENCE).await
    }

    /// What a verified password is remembered under. The stored hash is part of it, so the memory dies with the
    /// password; lengths come first, so that no two triples read the same; and without the key, which no one else
    /// has, nothing can be guessed from it.
    fn memory_name(&self, account: &str, password: &str, hash: &PasswordHash) -> MemoryName {
        let mut context = hmac::Context::with_key(&self.memory_key);
        for part in [account, password, &hash.text] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut name = [0; 32];
        for (to, from) in name.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        name
    }

    fn remembers(&self, name: &MemoryName) -> bool {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        match remembered.get(name) {
            Some(since) if since.elapsed() < REMEMBERED_FOR => true,
            Some(_) => {
                remembered.pop(name);
                false
            }
            None => false,
        }
    }

    fn remember(&self, name: MemoryName) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).put(name, crate::clock::now());
    }
}

/// Whether bcrypt looks at all of it.
fn is_whole(password: &Secret) -> bool {
    password.reveal().len() <= MAX_PASSWORD && !password.reveal().contains('\0')
}

/// The hash that unknown accounts are compared with: of no password anybody knows, at the cost most users have.
///
/// # Errors
/// The system gave no random bytes.
pub fn usual_hash(costs: impl IntoIterator<Item = u32>) -> anyhow::Result<PasswordHash> {
    let mut counts = std::collections::BTreeMap::<u32, usize>::new();
    for cost in costs {
        *counts.entry(cost).or_default() += 1;
    }
    let cost = counts.into_iter().max_by_key(|(cost, count)| (*count, *cost)).map_or(USUAL_COST, |(cost, _)| cost);
    let alphabet = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = [0_u8; 53];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("the system gave no random bytes"))?;
    let letter = |byte: &u8| alphabet.get(usize::from(byte % 64)).copied().map_or('.', char::from);
    // The last character of the salt and of the hash carry fewer than six bits; "." and "O" are valid there.
    let mut body: Vec<char> = random.iter().map(letter).collect();
    for (position, valid) in [(21, 'O'), (52, '.')] {
        if let Some(place) = body.get_mut(position) {
            *place = valid;
        }
    }
    let text = format!("$2b${cost:02}${}", body.into_iter().collect::<String>());
    PasswordHash::from_str(&text).map_err(anyhow::Error::msg)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Whoever hangs up while the password is compared is told nothing, and has used up a guess all the same.
    #[tokio::test]
    async fn a_guess_whose_client_hangs_up_is_counted() -> anyhow::Result<()> {
        let (waited, mut turn_came) = tokio::sync::mpsc::unbounded_channel();
        let (hashed, was_hashed) = mpsc::channel();
        let passwords = Arc::new(Passwords::new(move |step| match step {
            Step::Waited(_) => drop(waited.send(())),
            Step::Hashed(_) => drop(hashed.send(())),
        })?);
        let hash: PasswordHash = bcrypt::hash("right", 10)?.parse().map_err(|_| anyhow::anyhow!("no hash"))?;
        for guess in 1..=2 {
            let asking = {
                let (passwords, hash) = (Arc::clone(&passwords), hash.clone());
                let password = Secret::new(format!("guess {guess}"));
                async move { passwords.check("alice", &password, &hash, Memory::Used, ClientNetwork::Unknown).await }
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
            .map(crate::authn::attempts::Attempt::was_wrong)
            .is_ok()
        {
            left += 1;
        }
        assert_eq!(left, 3);
        Ok(())
    }
}
