//! Wrong passwords: whoever tries one after the other on an account waits longer and longer, and nobody else does.
//!
//! They are counted by account and network of the client. By the account alone, a stranger could lock somebody out; by
//! the network alone, one forgotten build job would lock out everybody behind the same router.

mod logins;
mod spelling;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use lru::LruCache;
use tokio::time::Instant;

use self::logins::{Logins, Presented};
use self::spelling::Spelling;
use super::Secret;
use crate::client_network::ClientNetwork;
use crate::turns::{Client, Lane};

/// Wrong passwords that cost nothing.
const FORGIVEN: u32 = 5;
/// The same where an API knows the passwords ([`Manner::Tokens`]): as many as are looked at in the first minute otherwise.
const FORGIVEN_TOKENS: u32 = 10;
/// The wait after the last of them; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// It grows no longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// So long after the last wrong password all is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(900);
/// The wrong passwords of an account that are known again, so that one is counted once however often it is sent.
const KNOWN_AGAIN: usize = 16;
/// Accounts of one network that are counted by themselves.
const MOST_OF_NETWORK: usize = 256;
/// Accounts that are counted by themselves in all, and networks; together they take at most about 30 MiB.
const MOST: usize = 65_536;

/// There were too many wrong passwords; nothing was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many wrong passwords for this account from this network")]
pub struct TooMany {
    /// How long until the next attempt.
    pub wait: Duration,
}

/// Which account was meant. Without the key, which no one else has, nothing can be told from it.
type Account = [u8; 16];
/// The same for whoever compares names and counts nothing.
pub type Spelled = [u8; 16];
/// Which password it was; as above. Two that look the same would be counted once, which is all that can go wrong.
type Digest = [u8; 8];

/// How wrong passwords are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// One account has one password: after a few wrong ones, the wait for the next grows.
    #[default]
    Passwords,
    /// An API knows the passwords, and one account may stand for many, such as the tokens of a build server's jobs. Those
    /// that have ended must not shut out the next that is good. So as many as are looked at in a minute otherwise are
    /// looked at whenever they come in it, and then one a minute: whoever guesses has no more tries in any minute.
    Tokens,
}

impl Manner {
    /// Wrong passwords that cost nothing.
    fn forgiven(self) -> u32 {
        match self {
            Manner::Passwords => FORGIVEN,
            Manner::Tokens => FORGIVEN_TOKENS,
        }
    }
}

/// The wrong passwords of the last minutes.
pub struct Attempts {
    key: hmac::Key,
    spelling: Spelling,
    held: Mutex<Held>,
}

struct Held {
    /// The one whose last wrong password is longest ago comes last. Whoever has no wrong password is not in it.
    networks: LruCache<ClientNetwork, Network>,
    accounts: usize,
    /// Passwords that are being checked, and how often each: however many are sent at once, no more of them are looked
    /// at than one after the other.
    under_way: HashMap<(ClientNetwork, Account), Vec<(Digest, usize)>>,
    logins: Logins,
    manner: Manner,
}

/// What is known of one network.
#[derive(Default)]
struct Network {
    accounts: Vec<(Account, Record)>,
    /// What holds for every other account: the worst of those for which there is no room any more. So a network that tries
    /// one account after the other frees itself of nothing. Who logs in there as before is not held up by it.
    others: Option<Count>,
}

/// Wrong passwords for one account.
struct Record {
    count: Count,
    known: Vec<Digest>,
    written: Written,
}

/// How the account was written, with the wrong passwords for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// In this way each time.
    Always(Digest),
    /// In several ways, which may be accounts of several people.
    Differently,
}

#[derive(Clone, Copy)]
struct Count {
    wrong: u32,
    last: Instant,
}

impl Count {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= FORGOTTEN_AFTER
    }

    /// How long nothing is looked at any more.
    fn wait(&self, manner: Manner, now: Instant) -> Duration {
        let Some(beyond) = self.wrong.checked_sub(manner.forgiven()) else { return Duration::ZERO };
        let wait = match manner {
            Manner::Passwords => FIRST_WAIT.saturating_mul(2_u32.saturating_pow(beyond)).min(LONGEST_WAIT),
            Manner::Tokens => LONGEST_WAIT,
        };
        (self.last + wait).saturating_duration_since(now)
    }

    /// A count that is no milder than either.
    fn worst(one: Option<Count>, other: Count) -> Count {
        let Some(one) = one else { return other };
        Count { wrong: one.wrong.max(other.wrong), last: one.last.max(other.last) }
    }
}

impl Network {
    fn record(&self, account: &Account) -> Option<&Record> {
        self.accounts.iter().find(|(own, _)| own == account).map(|(_, record)| record)
    }

    /// How it stands with an account.
    fn count(&self, account: &Account, now: Instant) -> Option<Count> {
        let own = self.record(account).map(|record| record.count).filter(|count| !count.is_over(now));
        own.or(self.others.filter(|count| !count.is_over(now)))
    }

    /// Whether this password was wrong a moment ago.
    fn knows(&self, account: &Account, secret: &Digest, now: Instant) -> bool {
        self.record(account).is_some_and(|record| !record.count.is_over(now) && record.known.contains(secret))
    }

    /// An account was written like this.
    fn write(&mut self, account: &Account, written: Written) {
        let of_account = self.accounts.iter_mut().filter(|(own, _)| own == account);
        for (_, record) in of_account.filter(|(_, record)| record.written != written) {
            record.written = Written::Differently;
        }
    }

    fn last(&self) -> Option<Instant> {
        self.accounts.iter().map(|(_, record)| record.count.last).chain(self.others.map(|count| count.last)).max()
    }

    /// Takes the account that was wrong longest ago out of those that are counted by themselves.
    fn fold_oldest(&mut self, now: Instant) {
        let oldest = self.accounts.iter().enumerate().min_by_key(|(_, (_, record))| record.count.last);
        if let Some(place) = oldest.map(|(place, _)| place) {
            let (_, record) = self.accounts.swap_remove(place);
            if !record.count.is_over(now) {
                self.others = Some(Count::worst(self.others.filter(|count| !count.is_over(now)), record.count));
            }
        }
    }
}

impl Held {
    /// One more wrong password; not if it is known already.
    fn count_wrong(&mut self, guess: &Guess, now: Instant) {
        let Guess { network, account, written, secret } = *guess;
        let written = Written::Always(written);
        if let Some(own) = self.networks.peek_mut(&network)
            && own.knows(&account, &secret, now)
        {
            own.write(&account, written);
            return;
        }
        self.forget(now);
        let own = self.networks.get_or_insert_mut(network, Network::default);
        let before = own.count(&account, now).map_or(0, |count| count.wrong);
        let count = Count { wrong: before.saturating_add(1), last: now };
        match own.accounts.iter_mut().find(|(other, _)| *other == account) {
            Some((_, record)) => {
                if record.count.is_over(now) {
                    record.known.clear();
                    record.written = written;
                }
                if record.known.len() >= KNOWN_AGAIN {
                    record.known.remove(0);
                }
                record.known.push(secret);
                record.count = count;
                own.write(&account, written);
            }
            None => {
                own.accounts.push((account, Record { count, known: vec![secret], written }));
                self.accounts += 1;
                if own.accounts.len() > MOST_OF_NETWORK {
                    own.fold_oldest(now);
                    self.accounts -= 1;
                }
            }
        }
        self.make_room(network, now);
    }

    /// Keeps to the bound. Who needs the room gives it up first, so that nobody is pushed out by a single network.
    fn make_room(&mut self, network: ClientNetwork, now: Instant) {
        if self.accounts > MOST
            && let Some(own) = self.networks.peek_mut(&network).filter(|own| own.accounts.len() > 1)
        {
            own.fold_oldest(now);
            self.accounts -= 1;
        }
        while self.accounts > MOST || self.networks.len() > MOST {
            let Some((_, gone)) = self.networks.pop_lru() else { return };
            self.accounts -= gone.accounts.len();
        }
    }

    /// Drops the networks whose last wrong password is forgotten.
    fn forget(&mut self, now: Instant) {
        let is_over = |network: &Network| {
            network.last().is_none_or(|last| now.saturating_duration_since(last) >= FORGOTTEN_AFTER)
        };
        while self.networks.peek_lru().is_some_and(|(_, network)| is_over(network)) {
            let Some((_, gone)) = self.networks.pop_lru() else { return };
            self.accounts -= gone.accounts.len();
        }
    }

    /// Forgets wrong passwords for an account that was written like this each time. What was tried on another spelling stays:
    /// it may be another account, and whoever has `muller` would have as many guesses at `müller` as they like.
    fn forgive(&mut self, guess: &Guess) {
        let Guess { network, account, written, secret: _ } = *guess;
        let Some(own) = self.networks.peek_mut(&network) else { return };
        let before = own.accounts.len();
        own.accounts.retain(|(other, record)| *other != account || record.written != Written::Always(written));
        self.accounts -= before - own.accounts.len();
        if own.accounts.is_empty() && own.others.is_none() {
            self.networks.pop(&network);
        }
    }
}

/// Which password was presented for whom, and from where; nothing of it can be read from this.
#[derive(Clone, Copy)]
struct Guess {
    network: ClientNetwork,
    /// The account, however it was written.
    account: Account,
    /// The account as it was written.
    written: Digest,
    secret: Digest,
}

impl Attempts {
    /// No attempts yet.
    ///
    /// # Errors
    /// The system gave no random bytes, or the tables by which spellings are compared cannot be used.
    pub fn new() -> anyhow::Result<Attempts> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| anyhow::anyhow!("the system gave no random bytes"))?;
        let held = Held {
            networks: LruCache::unbounded(),
            accounts: 0,
            under_way: HashMap::new(),
            logins: Logins::new(),
            manner: Manner::default(),
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        Ok(Attempts { key, spelling: Spelling::new()?, held: Mutex::new(held) })
    }

    /// Equal for all spellings that a backend may take for one account, such as `ALICE` and `alice`.
    pub(crate) fn spelled(&self, account: &str) -> Spelled {
        self.digest([b"account", &self.spelling.of(account), b""])
    }

    /// Counts in this manner from now on; what was counted stays.
    pub(crate) fn count_as(&self, manner: Manner) {
        self.held().manner = manner;
    }

    /// How many accounts are counted by themselves now, as long as their last wrong passwords are not forgotten.
    pub fn counted(&self) -> usize {
        let mut held = self.held();
        held.forget(crate::clock::now());
        held.accounts
    }

    /// Which turns clients of a network have: those of networks from which a right password came within a day are apart.
    pub(crate) fn lane(&self, network: ClientNetwork) -> Lane {
        self.held().logins.lane(network, crate::clock::now())
    }

    /// A client of this network, for whose turns it is to be known or not.
    pub(crate) fn client(&self, network: ClientNetwork) -> Client {
        Client { network, lane: self.lane(network) }
    }

    /// Somebody presents a password. It is known or unknown accounts alike: whether one exists has no part in it.
    ///
    /// # Errors
    /// [`TooMany`]: it must not be looked at, or waiting would be for those only who guess one by one.
    pub fn begin(
        self: &Arc<Self>,
        account: &str,
        password: &Secret,
        network: ClientNetwork,
    ) -> Result<Attempt, TooMany> {
        let guess = self.guess(account, password, network);
        let Guess { account, secret, .. } = guess;
        let now = crate::clock::now();
        let mut held = self.held();
        match held.logins.recognise(network, account, &secret, now) {
            // No guess: it is neither held up by those of others nor counted among them.
            Presented::RightBefore => {
                return Ok(Attempt { attempts: Arc::clone(self), guess, tracked: false });
            }
            Presented::Unknown => {}
        }
        let own = held.networks.peek(&network);
        let is_known = own.is_some_and(|own| own.knows(&account, &secret, now));
        let count = own.and_then(|own| own.count(&account, now));
        let manner = held.manner;
        if let Some(wait) = count.map(|count| count.wait(manner, now)).filter(|wait| !wait.is_zero()) {
            return Err(TooMany { wait });
        }
        if !is_known {
            let most = manner.forgiven().saturating_sub(count.map_or(0, |count| count.wrong)).max(1);
            let under_way = held.under_way.entry((network, account)).or_default();
            let others = under_way.len();
            match under_way.iter_mut().find(|(other, _)| *other == secret) {
                Some((_, times)) => *times += 1,
                None if others < most as usize => under_way.push((secret, 1)),
                None => return Err(TooMany { wait: FIRST_WAIT }),
            }
        }
        Ok(Attempt { attempts: Arc::clone(self), guess, tracked: !is_known })
    }

    fn guess(&self, account: &str, password: &Secret, network: ClientNetwork) -> Guess {
        let spelling = self.spelling.of(account);
        Guess {
            network,
            account: self.digest([b"account", &spelling, b""]),
            written: self.digest([b"written", account.as_bytes(), b""]),
            secret: self.digest([b"password", &spelling, password.reveal().as_bytes()]),
        }
    }

    /// What counts this password as wrong, whatever becomes of the request that brought it: whoever hangs up while it is
    /// compared would otherwise have guessed for nothing.
    pub(crate) fn if_wrong(
        self: &Arc<Self>,
        account: &str,
        password: &Secret,
        network: ClientNetwork,
    ) -> impl FnOnce() + Send + 'static + use<> {
        let guess = self.guess(account, password, network);
        let attempts = Arc::clone(self);
        move || attempts.held().count_wrong(&guess, crate::clock::now())
    }

    /// The same password once more, for somebody else who is asked about it and may answer after the request that brought it
    /// has ended: until then it has its place among those under way. Otherwise whoever is told that nobody answers, while
    /// right passwords are answered at once, would guess on meanwhile.
    pub(crate) fn also(self: &Arc<Self>, account: &str, password: &Secret, network: ClientNetwork) -> Attempt {
        let guess = self.guess(account, password, network);
        let Guess { account, secret, .. } = guess;
        let now = crate::clock::now();
        let mut held = self.held();
        let is_known = held.networks.peek(&network).is_some_and(|own| own.knows(&account, &secret, now));
        let tracked = !is_known && !held.logins.is_right_before(network, account, &secret, now);
        if tracked {
            let under_way = held.under_way.entry((network, account)).or_default();
            match under_way.iter_mut().find(|(other, _)| *other == secret) {
                Some((_, times)) => *times += 1,
                None => under_way.push((secret, 1)),
            }
        }
        Attempt { attempts: Arc::clone(self), guess, tracked }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lengths come first, so that no two lists of texts read the same.
    fn digest<const BYTES: usize>(&self, parts: [&[u8]; 3]) -> [u8; BYTES] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; BYTES];
        for (to, from) in digest.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        digest
    }
}

/// One password that is being checked. Dropped without a word, it was not found out whether it is right.
pub struct Attempt {
    attempts: Arc<Attempts>,
    guess: Guess,
    /// Whether it is in the list of those under way; one that is known to be wrong is not, nor one that was right before.
    tracked: bool,
}

impl Attempt {
    /// It is the right one: earlier mistakes are forgiven, and it is remembered that it came from there.
    pub fn was_right(self) {
        let mut held = self.attempts.held();
        held.forgive(&self.guess);
        let Guess { network, account, secret, .. } = self.guess;
        held.logins.was_right(network, account, secret, crate::clock::now());
    }

    /// It is wrong, or there is no such account, or the account is closed.
    pub fn was_wrong(self) {
        let mut held = self.attempts.held();
        held.count_wrong(&self.guess, crate::clock::now());
        let Guess { network, account, secret, .. } = &self.guess;
        held.logins.was_wrong(*network, *account, secret);
    }

    /// Whoever was asked about it says nothing: that counts as wrong, since to whoever guesses it tells as much. Not so a
    /// password that was right before, which is no guess.
    pub(crate) fn was_unanswered(self) {
        let now = crate::clock::now();
        let mut held = self.attempts.held();
        let Guess { network, account, secret, .. } = &self.guess;
        if !held.logins.is_right_before(*network, *account, secret, now) {
            held.count_wrong(&self.guess, now);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.tracked {
            return;
        }
        let mut held = self.attempts.held();
        if let Entry::Occupied(mut entry) = held.under_way.entry((self.guess.network, self.guess.account)) {
            let under_way = entry.get_mut();
            for (_, times) in under_way.iter_mut().filter(|(secret, _)| *secret == self.guess.secret) {
                *times = times.saturating_sub(1);
            }
            under_way.retain(|(_, times)| *times > 0);
            if under_way.is_empty() {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests;
