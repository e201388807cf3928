//! The right passwords of the last day, by network and account.
//!
//! Regular users send the password that was right before from the same network. So they can be told apart from guessers
//! without checking the password, and do not wait because of what others guess.

use std::collections::HashMap;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use super::{FORGIVEN, FORGOTTEN_AFTER, ShortDigest, Spelled};
use crate::client_network::ClientNetwork;
use crate::turns::Lane;

/// How long a right password is remembered. People log in once a working day.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);
/// The networks that are remembered (about 250 bytes each).
pub(super) const KNOWN_NETWORKS: usize = 65_536;
/// The most networks that one account alone can make known. Otherwise an attacker with an account and a few hundred addresses
/// could take nearly all turns of known networks.
const NETWORKS_OF_ACCOUNT: usize = 16;
/// How long an account has to be silent in one of them before another network can take its place. Otherwise each of those
/// addresses would become known at the moment at which it asks.
const LEFT_AFTER: Duration = Duration::from_secs(600);
/// The pairs of account and network that are remembered (about 250 bytes each, 350 if guessed at). With the networks they
/// take 28 MiB at most. An attacker with an account and this many networks can have all others forgotten; then they are
/// treated as if they had not logged in before.
pub(super) const KNOWN_LOGINS: usize = 32_768;
/// The right passwords that are remembered of one account in one network: where an API knows accounts, each machine may have
/// its own.
const PASSWORDS: usize = 4;

/// The logins of the last day. In both lists, the entry whose last right password is longest ago comes last.
pub(super) struct Logins {
    networks: LruCache<ClientNetwork, KnownNetwork>,
    /// The networks that each account made known.
    made_known: HashMap<Spelled, Vec<ClientNetwork>>,
    accounts: LruCache<(ClientNetwork, Spelled), AccountLogins>,
}

/// A network from which somebody logged in.
struct KnownNetwork {
    last: Instant,
    /// The account that made it known.
    by: Spelled,
}

/// An account in one network.
struct AccountLogins {
    last: Instant,
    right: Vec<ShortDigest>,
    /// The other passwords since the last right one, whether they were checked or not.
    others: Vec<ShortDigest>,
    last_other: Instant,
}

impl Logins {
    /// No logins yet.
    pub(super) fn new() -> Logins {
        Logins { networks: LruCache::unbounded(), made_known: HashMap::new(), accounts: LruCache::unbounded() }
    }

    /// The lane for clients of a network.
    pub(super) fn lane(&self, network: ClientNetwork, now: Instant) -> Lane {
        match self.networks.peek(&network) {
            Some(known) if !is_expired(known.last, now) => Lane::Known,
            Some(_) | None => Lane::Strangers,
        }
    }

    /// Tells whether a presented password was right before for this account in this network.
    ///
    /// Every other password is counted, and after as many as cost nothing, none is recognised until they are forgotten:
    /// otherwise a guesser who has to wait could go on guessing here. Guessers cannot see this count, nor whether there is
    /// one, because an account that is recognised is one that exists.
    pub(super) fn recognise(
        &mut self,
        network: ClientNetwork,
        account: Spelled,
        secret: &ShortDigest,
        now: Instant,
    ) -> Presented {
        let login = self.accounts.peek_mut(&(network, account)).filter(|login| !is_expired(login.last, now));
        let Some(login) = login else { return Presented::Unknown };
        if now.saturating_duration_since(login.last_other) >= FORGOTTEN_AFTER {
            login.others.clear();
        }
        let room = (FORGIVEN as usize).saturating_sub(login.others.len());
        if login.right.contains(secret) {
            return if room > 0 { Presented::RightBefore } else { Presented::Unknown };
        }
        if !login.others.contains(secret) {
            login.last_other = now;
            if room > 0 {
                login.others.push(*secret);
            }
        }
        Presented::Unknown
    }

    /// Whether a presented password would be recognised.
    pub(super) fn is_right_before(
        &self,
        network: ClientNetwork,
        account: Spelled,
        secret: &ShortDigest,
        now: Instant,
    ) -> bool {
        let login = self.accounts.peek(&(network, account)).filter(|login| !is_expired(login.last, now));
        login.is_some_and(|login| {
            let is_forgotten = now.saturating_duration_since(login.last_other) >= FORGOTTEN_AFTER;
            login.right.contains(secret) && (is_forgotten || login.others.len() < FORGIVEN as usize)
        })
    }

    /// Remembers a right password.
    pub(super) fn was_right(&mut self, network: ClientNetwork, account: Spelled, secret: ShortDigest, now: Instant) {
        self.forget(now);
        self.know(network, account, now);
        let new = || AccountLogins { last: now, right: Vec::new(), others: Vec::new(), last_other: now };
        let login = self.accounts.get_or_insert_mut((network, account), new);
        login.last = now;
        // A new list, which takes no memory: hardly any account is guessed at.
        login.others = Vec::new();
        login.right.retain(|other| *other != secret);
        if login.right.len() >= PASSWORDS {
            login.right.remove(0);
        }
        login.right.push(secret);
        if self.networks.len() > KNOWN_NETWORKS {
            self.forget_network();
        }
        if self.accounts.len() > KNOWN_LOGINS {
            self.accounts.pop_lru();
        }
    }

    fn know(&mut self, network: ClientNetwork, account: Spelled, now: Instant) {
        if let Some(known) = self.networks.get_mut(&network) {
            known.last = now;
            return;
        }
        let own = self.made_known.entry(account).or_default();
        if own.len() >= NETWORKS_OF_ACCOUNT {
            let last = |network: &ClientNetwork| self.networks.peek(network).map(|known| known.last);
            let Some(longest_ago) = own.iter().copied().min_by_key(last) else { return };
            if last(&longest_ago).is_some_and(|last| now.saturating_duration_since(last) < LEFT_AFTER) {
                return;
            }
            self.networks.pop(&longest_ago);
            own.retain(|other| *other != longest_ago);
        }
        own.push(network);
        self.networks.put(network, KnownNetwork { last: now, by: account });
    }

    /// Forgets the network from which nobody has logged in for longest.
    fn forget_network(&mut self) {
        let Some((network, known)) = self.networks.pop_lru() else { return };
        let Some(own) = self.made_known.get_mut(&known.by) else { return };
        own.retain(|other| *other != network);
        if own.is_empty() {
            self.made_known.remove(&known.by);
        }
    }

    /// Forgets a password that was wrong now; it may have been right before.
    pub(super) fn was_wrong(&mut self, network: ClientNetwork, account: Spelled, secret: &ShortDigest) {
        if let Some(login) = self.accounts.peek_mut(&(network, account)) {
            login.right.retain(|other| other != secret);
        }
    }

    /// Drops the entries whose last right password is too long ago.
    fn forget(&mut self, now: Instant) {
        while self.networks.peek_lru().is_some_and(|(_, known)| is_expired(known.last, now)) {
            self.forget_network();
        }
        while self.accounts.peek_lru().is_some_and(|(_, login)| is_expired(login.last, now)) {
            self.accounts.pop_lru();
        }
    }

    /// The numbers of networks and of accounts that are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        let listed: usize = self.made_known.values().map(Vec::len).sum();
        assert_eq!(listed, self.networks.len(), "each network is in the list of one account");
        (self.networks.len(), self.accounts.len())
    }
}

/// What can be told of a presented password without checking it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presented {
    /// It was right for this account in this network within the last day.
    RightBefore,
    /// It was not, as far as is remembered; or too many others were presented since.
    Unknown,
}

fn is_expired(last: Instant, now: Instant) -> bool {
    now.saturating_duration_since(last) >= KNOWN_FOR
}
