//! Limits on password guessing: whoever tries one wrong password after the other on an account waits longer and longer.
//!
//! Wrong passwords are counted by account and network of the client. If they were counted by the account alone, a stranger
//! could lock somebody out; by the network alone, one forgotten build job would lock out everybody behind its router.

mod counts;
mod logins;
mod spelling;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::counts::Counts;
use self::logins::{Logins, Presented};
use self::spelling::Spelling;
use super::Secret;
use crate::client_network::ClientNetwork;
use crate::digest::DigestKey;
use crate::turns::{Client, Lane};

/// The number of wrong passwords that cost nothing.
const FORGIVEN: u32 = 5;
/// The same where an API knows the passwords ([`Manner::Tokens`]): as many as are otherwise checked in the first minute.
const FORGIVEN_TOKENS: u32 = 10;
/// The wait after the last of them; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The number of different dead secrets of ours from one network that cost nothing. A build server with many jobs is one network.
const FORGIVEN_SECRETS: u32 = 100;
/// The number of codes from one network that a provider did not know and that cost nothing. An office is one network.
const FORGIVEN_RETURNS: u32 = 50;
/// The time after the last wrong password at which all of them are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(900);

/// The password was not checked, because too many wrong ones came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many wrong passwords for this account from this network")]
pub struct TooMany {
    /// The time until the next attempt.
    pub wait: Duration,
}

/// The digest of an account, equal for all its spellings: only equality can be told from it.
pub type Spelled = [u8; 16];
/// The digest of a password, or of an account as it was written. If two passwords share one, they are counted once, and
/// nothing else is affected.
type ShortDigest = [u8; 8];

/// How wrong passwords are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// One account has one password: after a few wrong ones, the wait for the next grows.
    #[default]
    Passwords,
    /// An API knows the passwords, and one account may have many, such as the tokens of a build server's jobs. Expired ones
    /// must not shut out the next valid one. So as many as are otherwise checked within the first minute are checked at any
    /// time in it, and after them one a minute: a guesser gets no more tries in any minute.
    Tokens,
    /// Secrets of ours that were dead, of all accounts together: nobody guesses those. Counted so that a client which goes on trying
    /// them is told to come back later, and never in the way of a living one.
    Secrets,
    /// Codes that somebody typed who has signed in, to let a terminal in.
    Codes,
    /// Codes that browsers say a provider gave them, of all people of a network together: only the provider tells whose they are.
    Returns,
}

impl Manner {
    /// The number of wrong passwords that cost nothing.
    fn forgiven(self) -> u32 {
        match self {
            Manner::Passwords => FORGIVEN,
            Manner::Tokens => FORGIVEN_TOKENS,
            Manner::Secrets => FORGIVEN_SECRETS,
            Manner::Codes => FORGIVEN,
            Manner::Returns => FORGIVEN_RETURNS,
        }
    }
}

/// The wrong passwords of the last minutes and the right ones of the last day.
pub struct Attempts {
    key: DigestKey,
    spelling: Spelling,
    inner: Mutex<Inner>,
}

struct Inner {
    counts: Counts,
    /// The passwords that are being checked, and by how many requests each. However many are sent at once, no more are
    /// checked than if they came one after the other.
    under_way: HashMap<(ClientNetwork, Spelled), Vec<(ShortDigest, usize)>>,
    logins: Logins,
    manner: Manner,
}

/// A password that was presented for an account, as digests.
#[derive(Clone, Copy)]
struct Guess {
    network: ClientNetwork,
    /// The account, however it was written.
    account: Spelled,
    /// The account as it was written.
    written: ShortDigest,
    secret: ShortDigest,
}

impl Attempts {
    /// No attempts yet.
    ///
    /// # Errors
    /// The system gave no random bytes, or the tables by which spellings are compared cannot be used.
    pub fn new() -> anyhow::Result<Attempts> {
        let inner = Inner {
            counts: Counts::new(),
            under_way: HashMap::new(),
            logins: Logins::new(),
            manner: Manner::default(),
        };
        Ok(Attempts { key: DigestKey::random()?, spelling: Spelling::new()?, inner: Mutex::new(inner) })
    }

    /// A digest that is equal for all spellings which a backend may take for one account, such as `ALICE` and `alice`.
    pub(crate) fn spelled(&self, account: &str) -> Spelled {
        self.key.digest([&b"account"[..], &self.spelling.weights(account)])
    }

    /// Sets how wrong passwords are counted from now on. Those that were counted stay.
    pub(crate) fn count_as(&self, manner: Manner) {
        self.inner().manner = manner;
    }

    /// The number of accounts that have a count of their own now.
    pub fn counted(&self) -> usize {
        let mut inner = self.inner();
        inner.counts.forget(crate::clock::now());
        inner.counts.accounts()
    }

    /// The lane for clients of a network: networks from which a right password came within a day have their own.
    pub(crate) fn lane(&self, network: ClientNetwork) -> Lane {
        self.inner().logins.lane(network, crate::clock::now())
    }

    /// A client of this network, with its lane.
    pub(crate) fn client(&self, network: ClientNetwork) -> Client {
        Client { network, lane: self.lane(network) }
    }

    /// Begins to check a password. Known and unknown accounts are treated alike: the answer tells nobody whether one exists.
    ///
    /// # Errors
    /// [`TooMany`]: it must not be checked.
    pub fn begin(
        self: &Arc<Self>,
        account: &str,
        password: &Secret,
        network: ClientNetwork,
    ) -> Result<Attempt, TooMany> {
        let manner = self.inner().manner;
        self.begin_guess(self.guess(account, password, network), manner)
    }

    /// Begins to look for a code that an account typed. Apart from its passwords, and never forgiven by a right one: whoever has one
    /// could guess at others for ever.
    pub(crate) fn begin_code(
        self: &Arc<Self>,
        account: &str,
        code: &Secret,
        network: ClientNetwork,
    ) -> Result<Attempt, TooMany> {
        let typed = Guess { account: self.key.digest(["types codes", account]), ..self.guess(account, code, network) };
        self.begin_guess(typed, Manner::Codes)
    }

    /// Begins to ask a provider about a code that a browser came back with, in the sign-in of this state. By the network alone, and never
    /// forgiven by a right one: whoever has an account there could have the provider, and the records, asked about junk for ever.
    ///
    /// # Errors
    /// [`TooMany`]: nobody is to be asked.
    pub(crate) fn begin_return(self: &Arc<Self>, state: &str, network: ClientNetwork) -> Result<Attempt, TooMany> {
        let guess = self.guess("", &Secret::new(state), network);
        self.begin_guess(Guess { account: self.key.digest(["comes back"]), ..guess }, Manner::Returns)
    }

    fn begin_guess(self: &Arc<Self>, guess: Guess, manner: Manner) -> Result<Attempt, TooMany> {
        let Guess { network, account, secret, .. } = guess;
        let now = crate::clock::now();
        let mut inner = self.inner();
        match inner.logins.recognise(network, account, &secret, now) {
            // Not a guess: it does not wait for the guesses of others and is not counted among them.
            Presented::RightBefore => return Ok(Attempt { attempts: Arc::clone(self), guess, tracked: false }),
            Presented::Unknown => {}
        }
        let own = inner.counts.networks.peek(&network);
        let is_known = own.is_some_and(|own| own.knows(&account, &secret, now));
        let count = own.and_then(|own| own.count(&account, now));
        if let Some(wait) = count.map(|count| count.wait(manner, now)).filter(|wait| !wait.is_zero()) {
            return Err(TooMany { wait });
        }
        if !is_known {
            let most = manner.forgiven().saturating_sub(count.map_or(0, |count| count.wrong)).max(1);
            // Otherwise only those who guess one by one would have to wait.
            if !inner.track(&guess, most as usize) {
                return Err(TooMany { wait: FIRST_WAIT });
            }
        }
        Ok(Attempt { attempts: Arc::clone(self), guess, tracked: !is_known })
    }

    fn guess(&self, account: &str, password: &Secret, network: ClientNetwork) -> Guess {
        let spelling = self.spelling.weights(account);
        Guess {
            network,
            account: self.key.digest([&b"account"[..], &spelling]),
            written: self.key.digest(["written", account]),
            secret: self.key.digest([&b"password"[..], &spelling, password.reveal().as_bytes()]),
        }
    }

    /// Counts a secret of ours that was dead, by its network alone: by the account, jobs that still have an old one would shut out its
    /// owner's password. Nobody was let wait for this.
    ///
    /// # Errors
    /// [`TooMany`]: the client had better come back later.
    pub(crate) fn secret_was_dead(&self, secret: &Secret, network: ClientNetwork) -> Result<(), TooMany> {
        let guess = self.of_secret("", secret, network);
        let now = crate::clock::now();
        let mut inner = self.inner();
        let count = inner.counts.networks.peek(&network).and_then(|own| own.count(&guess.account, now));
        match count.map(|count| count.wait(Manner::Secrets, now)).filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(TooMany { wait }),
            None => {
                inner.counts.count_wrong(&guess, now);
                Ok(())
            }
        }
    }

    /// A secret of ours was good: its network is remembered. Apart from the account's passwords, of which it is none.
    pub(crate) fn secret_was_good(&self, account: &str, secret: &Secret, network: ClientNetwork) {
        let Guess { network, account, secret, .. } = self.of_secret(account, secret, network);
        self.inner().logins.was_right(network, account, secret, crate::clock::now());
    }

    /// A secret of ours in place of a guess, and of an account that no spelling of a name is. Were it counted under a name,
    /// even one with invisible letters, then whoever has the least of somebody's secrets could guess at the password for ever:
    /// each use of it would have the guesses before forgotten, as a right password does.
    fn of_secret(&self, account: &str, secret: &Secret, network: ClientNetwork) -> Guess {
        let spelling = self.spelling.weights(account);
        Guess {
            network,
            account: self.key.digest([&b"owner of secrets"[..], &spelling]),
            written: self.key.digest(["written", account]),
            secret: self.key.digest([&b"secret"[..], secret.reveal().as_bytes()]),
        }
    }

    /// A function that counts this password as wrong, whatever becomes of the request that brought it: otherwise a client
    /// that hangs up while its password is compared would have guessed for nothing.
    pub(crate) fn if_wrong(
        self: &Arc<Self>,
        account: &str,
        password: &Secret,
        network: ClientNetwork,
    ) -> impl FnOnce() + Send + 'static + use<> {
        let guess = self.guess(account, password, network);
        let attempts = Arc::clone(self);
        move || attempts.inner().counts.count_wrong(&guess, crate::clock::now())
    }

    /// Another attempt with the same password, for a backend that may answer after the request that brought it has ended:
    /// until then the password stays under way. Otherwise, where right passwords are answered at once, a guesser could take
    /// silence for a no and go on meanwhile.
    pub(crate) fn also(self: &Arc<Self>, account: &str, password: &Secret, network: ClientNetwork) -> Attempt {
        let guess = self.guess(account, password, network);
        let Guess { account, secret, .. } = guess;
        let now = crate::clock::now();
        let mut inner = self.inner();
        let is_known = inner.counts.networks.peek(&network).is_some_and(|own| own.knows(&account, &secret, now));
        let is_right_before = inner.logins.is_right_before(network, account, &secret, now);
        let tracked = !is_known && !is_right_before && inner.track(&guess, usize::MAX);
        Attempt { attempts: Arc::clone(self), guess, tracked }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Adds a password to those under way, unless `most` others are for the same account; whether it was added.
    fn track(&mut self, guess: &Guess, most: usize) -> bool {
        let under_way = self.under_way.entry((guess.network, guess.account)).or_default();
        let others = under_way.len();
        match under_way.iter_mut().find(|(other, _)| *other == guess.secret) {
            Some((_, times)) => *times += 1,
            None if others < most => under_way.push((guess.secret, 1)),
            None => return false,
        }
        true
    }
}

/// A password that is being checked. If it is dropped, it is not known whether the password is right.
pub struct Attempt {
    attempts: Arc<Attempts>,
    guess: Guess,
    /// Whether it is among those under way. One that is known to be wrong is not, nor one that was right before.
    tracked: bool,
}

impl Attempt {
    /// The password is right: earlier mistakes are forgiven, and the network is remembered.
    pub fn was_right(self) {
        let mut inner = self.attempts.inner();
        inner.counts.forgive(&self.guess);
        let Guess { network, account, secret, .. } = self.guess;
        inner.logins.was_right(network, account, secret, crate::clock::now());
    }

    /// The password is wrong, or the account does not exist, or it is closed.
    pub fn was_wrong(self) {
        let mut inner = self.attempts.inner();
        inner.counts.count_wrong(&self.guess, crate::clock::now());
        let Guess { network, account, secret, .. } = &self.guess;
        inner.logins.was_wrong(*network, *account, secret);
    }

    /// The backend gave no answer. That counts as wrong, because it tells a guesser as much, unless the password was right
    /// before: then it is not a guess.
    pub(crate) fn was_unanswered(self) {
        let now = crate::clock::now();
        let mut inner = self.attempts.inner();
        let Guess { network, account, secret, .. } = &self.guess;
        if !inner.logins.is_right_before(*network, *account, secret, now) {
            inner.counts.count_wrong(&self.guess, now);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.tracked {
            return;
        }
        let mut inner = self.attempts.inner();
        if let Entry::Occupied(mut entry) = inner.under_way.entry((self.guess.network, self.guess.account)) {
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
