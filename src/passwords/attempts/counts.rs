//! The counts of wrong passwords, by network of the client and account.

use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use super::{FIRST_WAIT, FORGOTTEN_AFTER, Guess, LONGEST_WAIT, Manner, ShortDigest, Spelled};
use crate::client_network::ClientNetwork;

/// The wrong passwords that are remembered for an account, so that each is counted once however often it is sent.
const KNOWN_AGAIN: usize = 16;
/// The accounts of one network that have a count of their own.
pub(super) const MOST_OF_NETWORK: usize = 256;
/// The accounts that have a count of their own, in all networks, and the networks. Together they take 30 MiB at most.
pub(super) const MOST: usize = 65_536;

/// All counts.
pub(super) struct Counts {
    /// The network whose last wrong password is longest ago comes last. A network without wrong passwords has no entry.
    pub(super) networks: LruCache<ClientNetwork, Network>,
    accounts: usize,
}

/// The counts of one network.
#[derive(Default)]
pub(super) struct Network {
    pub(super) accounts: Vec<(Spelled, Record)>,
    /// The count of every other account: the worst of those that had to make room. So a network gains nothing by trying one
    /// account after the other. Accounts that log in there regularly are not held up by it.
    others: Option<Count>,
}

/// The wrong passwords for one account.
pub(super) struct Record {
    count: Count,
    known: Vec<ShortDigest>,
    written: Written,
}

/// How the account was written, with the wrong passwords for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    /// In this way each time.
    Always(ShortDigest),
    /// In several ways, which may be accounts of several people.
    Differently,
}

/// A number of wrong passwords, and when the last one came.
#[derive(Clone, Copy)]
pub(super) struct Count {
    pub(super) wrong: u32,
    last: Instant,
}

impl Count {
    fn is_forgotten(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) >= FORGOTTEN_AFTER
    }

    /// How long it takes until the next password is checked.
    pub(super) fn wait(&self, manner: Manner, now: Instant) -> Duration {
        let Some(beyond) = self.wrong.checked_sub(manner.forgiven()) else { return Duration::ZERO };
        let wait = match manner {
            Manner::Passwords => FIRST_WAIT.saturating_mul(2_u32.saturating_pow(beyond)).min(LONGEST_WAIT),
            Manner::Tokens | Manner::Codes => LONGEST_WAIT,
            Manner::Secrets | Manner::Returns => FIRST_WAIT,
        };
        (self.last + wait).saturating_duration_since(now)
    }

    /// A count that is as strict as both.
    fn worst(one: Option<Count>, other: Count) -> Count {
        let Some(one) = one else { return other };
        Count { wrong: one.wrong.max(other.wrong), last: one.last.max(other.last) }
    }
}

impl Network {
    fn record(&self, account: &Spelled) -> Option<&Record> {
        self.accounts.iter().find(|(own, _)| own == account).map(|(_, record)| record)
    }

    /// The count that holds for an account.
    pub(super) fn count(&self, account: &Spelled, now: Instant) -> Option<Count> {
        let own = self.record(account).map(|record| record.count).filter(|count| !count.is_forgotten(now));
        own.or(self.others.filter(|count| !count.is_forgotten(now)))
    }

    /// Whether this password was wrong a moment ago.
    pub(super) fn knows(&self, account: &Spelled, secret: &ShortDigest, now: Instant) -> bool {
        self.record(account).is_some_and(|record| !record.count.is_forgotten(now) && record.known.contains(secret))
    }

    /// Notes how an account was written.
    fn note_written(&mut self, account: &Spelled, written: Written) {
        let of_account = self.accounts.iter_mut().filter(|(own, _)| own == account);
        for (_, record) in of_account.filter(|(_, record)| record.written != written) {
            record.written = Written::Differently;
        }
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        let mut counts = self.accounts.iter().map(|(_, record)| record.count).chain(self.others);
        counts.all(|count| count.is_forgotten(now))
    }

    /// Takes its own count from the account whose last wrong password is longest ago.
    fn fold_oldest(&mut self, now: Instant) {
        let oldest = self.accounts.iter().enumerate().min_by_key(|(_, (_, record))| record.count.last);
        if let Some(place) = oldest.map(|(place, _)| place) {
            let (_, record) = self.accounts.swap_remove(place);
            if !record.count.is_forgotten(now) {
                self.others = Some(Count::worst(self.others.filter(|count| !count.is_forgotten(now)), record.count));
            }
        }
    }
}

impl Counts {
    /// No wrong passwords yet.
    pub(super) fn new() -> Counts {
        Counts { networks: LruCache::unbounded(), accounts: 0 }
    }

    /// The number of accounts that have a count of their own.
    pub(super) fn accounts(&self) -> usize {
        self.accounts
    }

    /// Counts one more wrong password, unless it is known already.
    pub(super) fn count_wrong(&mut self, guess: &Guess, now: Instant) {
        let Guess { network, account, written, secret } = *guess;
        let written = Written::Always(written);
        if let Some(own) = self.networks.peek_mut(&network)
            && own.knows(&account, &secret, now)
        {
            own.note_written(&account, written);
            return;
        }
        self.forget(now);
        let own = self.networks.get_or_insert_mut(network, Network::default);
        let before = own.count(&account, now).map_or(0, |count| count.wrong);
        let count = Count { wrong: before.saturating_add(1), last: now };
        match own.accounts.iter_mut().find(|(other, _)| *other == account) {
            Some((_, record)) => {
                if record.count.is_forgotten(now) {
                    record.known.clear();
                    record.written = written;
                }
                if record.known.len() >= KNOWN_AGAIN {
                    record.known.remove(0);
                }
                record.known.push(secret);
                record.count = count;
                own.note_written(&account, written);
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

    /// Keeps to the bound. The network that needs room gives it up first, so that no single network pushes out others.
    fn make_room(&mut self, network: ClientNetwork, now: Instant) {
        if self.accounts > MOST
            && let Some(own) = self.networks.peek_mut(&network).filter(|own| own.accounts.len() > 1)
        {
            own.fold_oldest(now);
            self.accounts -= 1;
        }
        while self.accounts > MOST || self.networks.len() > MOST {
            self.drop_oldest();
        }
    }

    /// Drops the networks whose last wrong password is forgotten.
    pub(super) fn forget(&mut self, now: Instant) {
        while self.networks.peek_lru().is_some_and(|(_, network)| network.is_forgotten(now)) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, gone)) = self.networks.pop_lru() {
            self.accounts -= gone.accounts.len();
        }
    }

    /// Forgets the wrong passwords for an account that was written like this each time. Those for another spelling stay: it
    /// may be another account, and otherwise whoever has `muller` could guess at `müller` for ever.
    pub(super) fn forgive(&mut self, guess: &Guess) {
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
