//! Checking a password against a bcrypt hash, without stopping other requests and without telling who exists.

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use aws_lc_rs::hmac;
use bcrypt::HashParts;
use lru::LruCache;
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use super::{Secret, Standing};

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
/// How long a request waits for its turn to hash before it is told that we are too busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// The cost that an unknown account is hashed with where no user is known.
const USUAL_COST: u32 = 10;
/// bcrypt's own least cost.
const LEAST_COST: u32 = 4;
/// A hash above this cost takes many seconds, and meanwhile nobody else can log in.
pub const MAX_COST: u32 = 16;

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
        match standing.check(OffsetDateTime::now_utc()) {
            Ok(()) => Memory::Used,
            Err(_) => Memory::Unused,
        }
    }
}

/// Checks passwords: hashing runs on a few blocking threads, and what was verified a moment ago is not hashed again.
pub struct Passwords {
    turns: Arc<Semaphore>,
    remembered: Mutex<LruCache<[u8; 32], Instant>>,
    memory_key: hmac::Key,
    observe: Box<dyn Fn(Duration) + Send + Sync>,
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
    /// A checker that hashes on at most one thread fewer than there are cores. `observe` is told how long each hash
    /// took.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn new(observe: impl Fn(Duration) + Send + Sync + 'static) -> anyhow::Result<Passwords> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| anyhow::anyhow!("the system gave no random bytes"))?;
        Ok(Passwords {
            turns: Arc::new(Semaphore::new(cores.saturating_sub(1).max(1))),
            remembered: Mutex::new(LruCache::new(REMEMBERED)),
            memory_key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            observe: Box::new(observe),
        })
    }

    /// Compares a password with the account's hash.
    ///
    /// # Errors
    /// No turn to hash came in time, or the hashing thread died: not known, so nobody is let in.
    pub async fn check(
        &self,
        account: &str,
        password: &Secret,
        hash: &PasswordHash,
        memory: Memory,
    ) -> anyhow::Result<Check> {
        let password = password.reveal();
        if password.len() > MAX_PASSWORD || password.contains('\0') {
            // bcrypt would compare only the beginning. The time is spent all the same, so that the refusal tells nothing.
            self.hash(String::new(), hash.clone()).await?;
            return Ok(Check::Wrong);
        }
        let name = self.memory_name(account, password, hash);
        if memory == Memory::Used && self.remembers(&name) {
            return Ok(Check::Right);
        }
        let check = self.hash(password.to_owned(), hash.clone()).await?;
        match check {
            Check::Right if memory == Memory::Used => self.remember(name),
            Check::Right | Check::Wrong => {}
        }
        Ok(check)
    }

    /// Takes as long as a wrong password does, for an account that nobody knows: otherwise the time of the answer
    /// would tell which accounts exist.
    ///
    /// # Errors
    /// As [`Passwords::check`].
    pub async fn check_nobody(&self, password: &Secret, usual: &PasswordHash) -> anyhow::Result<()> {
        let text = match password.reveal() {
            text if text.len() > MAX_PASSWORD => String::new(),
            text => text.to_owned(),
        };
        self.hash(text, usual.clone()).await.map(|_| ())
    }

    async fn hash(&self, password: String, hash: PasswordHash) -> anyhow::Result<Check> {
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned())
            .await
            .context("too many logins wait for their password to be checked")??;
        let (check, took) = tokio::task::spawn_blocking(move || {
            // The turn ends with the hashing, not with the request: a client that goes away frees nothing earlier.
            let _turn = turn;
            let started = Instant::now();
            let check = match bcrypt::verify(password, &hash.text) {
                Ok(true) => Check::Right,
                Ok(false) | Err(_) => Check::Wrong,
            };
            (check, started.elapsed())
        })
        .await
        .context("the hashing thread died")?;
        (self.observe)(took);
        Ok(check)
    }

    /// What a verified password is remembered under. The stored hash is part of it, so the memory dies with the
    /// password; lengths come first, so that no two triples read the same; and without the key, which no one else
    /// has, nothing can be guessed from it.
    fn memory_name(&self, account: &str, password: &str, hash: &PasswordHash) -> [u8; 32] {
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

    fn remembers(&self, name: &[u8; 32]) -> bool {
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

    fn remember(&self, name: [u8; 32]) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).put(name, Instant::now());
    }
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
