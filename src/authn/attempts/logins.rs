//! The right passwords of the last day: from which networks they came, and which they were for each account there.
//!
//! Whoever works somewhere sends the password that was right there before. So it is told apart from guesses without being
//! looked at, and need not wait for what others guess.

use std::collections::HashMap;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use super::{Account, Digest, FORGIVEN, FORGOTTEN_AFTER};
use crate::client_network::ClientNetwork;
use crate::turns::Lane;

/// How long a right password is remembered. People log in once a working day.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);
/// Networks that are remembered (about 250 bytes each).
pub(super) const KNOWN_NETWORKS: usize = 65_536;
/// The most networks that are known by one account alone. Whoever has an account and a few hundred addresses could otherwise
/// have nearly all the turns of those whom we know.
const NETWORKS_OF_ACCOUNT: usize = 16;
/// How long an account has to have been silent in one of them before another one takes its place. Otherwise each of those
/// addresses would be known at the moment at which it asks.
const LEFT_AFTER: Duration = Duration::from_secs(600);
/// Accounts that are remembered, each with the network it came from (about 250 bytes each, 350 if guessed at). With the
/// networks that is at most about 28 MiB. Whoever has an account here and so many networks can have all others forgotten,
/// and then it is as if none of them had logged in before.
pub(super) const KNOWN_LOGINS: usize = 32_768;
/// Right passwords of one account from one network: where an API knows accounts, each machine may have its own.
const PASSWORDS: usize = 4;

/// Who logged in from where. The one whose last right password is longest ago comes last.
pub(super) struct Logins {
    networks: LruCache<ClientNetwork, Known>,
    /// The networks that each account made known.
    made_known: HashMap<Account, Vec<ClientNetwork>>,
    accounts: LruCache<(ClientNetwork, Account), Login>,
}

/// A network that somebody logged in from.
struct Known {
    last: Instant,
    /// Who did when it was not known yet.
    by: Account,
}

/// What is known of an account in one network.
struct Login {
    last: Instant,
    right: Vec<Digest>,
    /// Other passwords since the last right one, whether they were looked at or not.
    others: Vec<Digest>,
    last_other: Instant,
}

impl Logins {
    /// Nobody yet.
    pub(super) fn new() -> Logins {
        Logins { networks: LruCache::unbounded(), made_known: HashMap::new(), accounts: LruCache::unbounded() }
    }

    /// Whether somebody whom we know is in a network.
    pub(super) fn lane(&self, network: ClientNetwork, now: Instant) -> Lane {
        match self.networks.peek(&network) {
            Some(known) if !is_over(known.last, now) => Lane::Known,
            Some(_) | None => Lane::Strangers,
        }
    }

    /// Somebody presents a password: whether it is one that was right for this account from this network.
    ///
    /// Each other one is counted, and after as many as cost nothing none is recognised any more until they are forgotten:
    /// otherwise whoever has to wait could go on guessing here. Who guesses cannot see this count, nor whether there is
    /// one: an account would be known to exist that is recognised.
    pub(super) fn recognise(
        &mut self,
        network: ClientNetwork,
        account: Account,
        secret: &Digest,
        now: Instant,
    ) -> Presented {
        let login = self.accounts.peek_mut(&(network, account)).filter(|login| !is_over(login.last, now));
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

    /// Whether a password that was presented is recognised.
    pub(super) fn is_right_before(
        &self,
        network: ClientNetwork,
        account: Account,
        secret: &Digest,
        now: Instant,
    ) -> bool {
        let login = self.accounts.peek(&(network, account)).filter(|login| !is_over(login.last, now));
        login.is_some_and(|login| {
            let is_forgotten = now.saturating_duration_since(login.last_other) >= FORGOTTEN_AFTER;
            login.right.contains(secret) && (is_forgotten || login.others.len() < FORGIVEN as usize)
        })
    }

    /// A password was right.
    pub(super) fn was_right(&mut self, network: ClientNetwork, account: Account, secret: Digest, now: Instant) {
        self.forget(now);
        self.know(network, account, now);
        let new = || Login { last: now, right: Vec::new(), others: Vec::new(), last_other: now };
        let login = self.accounts.get_or_insert_mut((network, account), new);
        login.last = now;
        // Given back, since hardly any account is guessed at.
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

    fn know(&mut self, network: ClientNetwork, account: Account, now: Instant) {
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
        self.networks.put(network, Known { last: now, by: account });
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

    /// A password was wrong. It may have been right before.
    pub(super) fn was_wrong(&mut self, network: ClientNetwork, account: Account, secret: &Digest) {
        if let Some(login) = self.accounts.peek_mut(&(network, account)) {
            login.right.retain(|other| other != secret);
        }
    }

    /// Drops those whose last right password is too long ago.
    fn forget(&mut self, now: Instant) {
        while self.networks.peek_lru().is_some_and(|(_, known)| is_over(known.last, now)) {
            self.forget_network();
        }
        while self.accounts.peek_lru().is_some_and(|(_, login)| is_over(login.last, now)) {
            self.accounts.pop_lru();
        }
    }

    /// How many networks and how many accounts are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> (usize, usize) {
        let listed: usize = self.made_known.values().map(Vec::len).sum();
        assert_eq!(listed, self.networks.len(), "each network is in the list of one account");
        (self.networks.len(), self.accounts.len())
    }
}

/// A password, before anybody looked whether it is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presented {
    /// It was right for this account from this network, not long ago.
    RightBefore,
    /// It was not, as far as is remembered; or so many others were presented that it counts as one of them.
    Unknown,
}

fn is_over(last: Instant, now: Instant) -> bool {
    now.saturating_duration_since(last) >= KNOWN_FOR
}
