//! Places among what the gateway has under way at once: so many in all, and for one account, one network or one upstream a
//! share of them.
//!
//! A transfer takes a descriptor besides its client's, and ends when its upstream likes: without a bound, whoever has many
//! requests on few connections (HTTP/2) would leave none for clients that want tokens. Without shares, one network that
//! reads nothing, or one upstream that answers nothing, would hold all places and close the gateway for everybody else.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;

use crate::client_network::ClientNetwork;
use crate::descriptors::transfers_at_once;

/// How long a request waits for a place.
const WAIT: Duration = Duration::from_secs(5);
/// The part of all transfers that the clients of one network may have: one in so many.
const SHARE_OF_NETWORK: usize = 4;
/// The part that one account may have, wherever its clients are: one line of IPv6 has thousands of networks.
const SHARE_OF_ACCOUNT: usize = 4;
/// The part that all clients without an account may have together, who are as many networks as they like.
const SHARE_OF_ANONYMOUS: usize = 2;
/// The part that one of several upstreams may have: of all transfers, and of those of one network. The second is for
/// clients who all come from one address: what hangs at one upstream leaves half of their share for the others.
const SHARE_OF_UPSTREAM: usize = 2;
/// Catalogs that are looked through at once. One question is many for the upstreams and for the rules, and whoever may log
/// in, or nobody at all where rules are for everybody, can ask as often as they like.
const CATALOGS: usize = 8;
/// The same for the clients of one network.
const CATALOGS_OF_NETWORK: usize = 2;

/// The places of all configurations together. Clones are the same places.
#[derive(Clone)]
pub(super) struct Places {
    transfers: Room,
    catalogs: Room,
}

/// One place, until it is dropped.
pub(super) struct Place {
    _all: OwnedSemaphorePermit,
    _shares: Vec<Share>,
}

/// There was no place in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many {what} as {whose} may have are under way")]
pub(super) struct Full {
    what: &'static str,
    whose: &'static str,
}

impl Places {
    pub(super) fn new() -> Places {
        Places { transfers: Room::new("transfers", transfers_at_once()), catalogs: Room::new("catalogs", CATALOGS) }
    }

    /// A place for a request to an upstream, which is one of `upstreams`. The account is empty for those who have
    /// none, who share what is theirs.
    ///
    /// # Errors
    /// [`Full`]: none was free for five seconds.
    pub(super) async fn transfer(
        &self,
        account: &str,
        client: Option<IpAddr>,
        upstream: &str,
        upstreams: usize,
    ) -> Result<Place, Full> {
        let network = ClientNetwork::of(client);
        let of_network = self.transfers.most / SHARE_OF_NETWORK;
        let is_one_of_several = upstreams > 1;
        // In this order each waits for: what is more one's own comes first, so that whoever waits for it holds nothing that
        // others, or the same client elsewhere, could use.
        let mut shares = Vec::new();
        if !account.is_empty() {
            shares.push((Sharer::Account(account.to_owned()), self.transfers.most / SHARE_OF_ACCOUNT));
        }
        if is_one_of_several {
            let at_upstream = Sharer::NetworkAtUpstream(network, upstream.to_owned());
            shares.push((at_upstream, of_network / SHARE_OF_UPSTREAM));
        }
        shares.push((Sharer::Network(network), of_network));
        if account.is_empty() {
            let of_anonymous = self.transfers.most / SHARE_OF_ANONYMOUS;
            if is_one_of_several {
                // Otherwise they could have all that one upstream has, whose share is the same.
                let at_upstream = Sharer::AnonymousAtUpstream(upstream.to_owned());
                shares.push((at_upstream, of_anonymous / SHARE_OF_UPSTREAM));
            }
            shares.push((Sharer::Anonymous, of_anonymous));
        }
        if is_one_of_several {
            shares.push((Sharer::Upstream(upstream.to_owned()), self.transfers.most / SHARE_OF_UPSTREAM));
        }
        self.transfers.enter(shares).await
    }

    /// A place for looking through the catalogs of upstreams.
    ///
    /// # Errors
    /// [`Full`]: none was free for five seconds.
    pub(super) async fn catalog(&self, client: Option<IpAddr>) -> Result<Place, Full> {
        let share = (Sharer::Network(ClientNetwork::of(client)), CATALOGS_OF_NETWORK);
        self.catalogs.enter(vec![share]).await
    }
}

/// Whose share it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Sharer {
    Account(String),
    Anonymous,
    AnonymousAtUpstream(String),
    Network(ClientNetwork),
    Upstream(String),
    NetworkAtUpstream(ClientNetwork, String),
}

impl Sharer {
    fn called(&self) -> &'static str {
        match self {
            Sharer::Account(_) => "one account",
            Sharer::Anonymous => "clients without an account",
            Sharer::AnonymousAtUpstream(_) => "clients without an account at one upstream",
            Sharer::Network(_) => "one network",
            Sharer::Upstream(_) => "one upstream",
            Sharer::NetworkAtUpstream(..) => "one network at one upstream",
        }
    }
}

/// So many places of one kind, and who has how many of them.
#[derive(Clone)]
struct Room {
    what: &'static str,
    most: usize,
    all: Arc<Semaphore>,
    shares: Arc<Shares>,
}

impl Room {
    fn new(what: &'static str, most: usize) -> Room {
        Room { what, most, all: Arc::new(Semaphore::new(most)), shares: Arc::default() }
    }

    /// Takes one of each of these shares, in this order, and a place.
    async fn enter(&self, wanted: Vec<(Sharer, usize)>) -> Result<Place, Full> {
        let deadline = crate::clock::now() + WAIT;
        let full = |whose| Full { what: self.what, whose };
        let mut held = Vec::with_capacity(wanted.len());
        for (sharer, most) in wanted {
            let whose = sharer.called();
            let mut share = self.shares.of(sharer, most.max(1));
            let permit = timeout_at(deadline, Arc::clone(&share.semaphore).acquire_owned()).await;
            let Ok(Ok(permit)) = permit else { return Err(full(whose)) };
            share.permit = Some(permit);
            held.push(share);
        }
        let all = timeout_at(deadline, Arc::clone(&self.all).acquire_owned()).await;
        let Ok(Ok(all)) = all else { return Err(full("all clients together")) };
        Ok(Place { _all: all, _shares: held })
    }
}

/// Who has something under way, or waits for it, and nobody else: the size of a share is a part of its name, so that one
/// that a reload made smaller or larger counts at once.
#[derive(Default)]
struct Shares(Mutex<HashMap<(Sharer, usize), Sharing>>);

struct Sharing {
    semaphore: Arc<Semaphore>,
    /// How many hold or want something of it; none is not kept.
    members: usize,
}

/// A part in what one sharer may have, or in its queue, until it is dropped.
struct Share {
    shares: Arc<Shares>,
    key: (Sharer, usize),
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Shares {
    fn locked(&self) -> MutexGuard<'_, HashMap<(Sharer, usize), Sharing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(self: &Arc<Shares>, sharer: Sharer, most: usize) -> Share {
        let key = (sharer, most);
        let mut shares = self.locked();
        let sharing = shares
            .entry(key.clone())
            .or_insert_with(|| Sharing { semaphore: Arc::new(Semaphore::new(most)), members: 0 });
        sharing.members += 1;
        let semaphore = Arc::clone(&sharing.semaphore);
        drop(shares);
        Share { shares: Arc::clone(self), key, semaphore, permit: None }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Before the entry: whoever comes next must not find one whose places are taken by nobody.
        drop(self.permit.take());
        let mut shares = self.shares.locked();
        if let Some(sharing) = shares.get_mut(&self.key) {
            sharing.members = sharing.members.saturating_sub(1);
            if sharing.members == 0 {
                shares.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(transfers: usize) -> Places {
        Places { transfers: Room::new("transfers", transfers), catalogs: Room::new("catalogs", CATALOGS) }
    }

    fn from(number: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, number]))
    }

    /// Takes places until there is none left within the time that requests wait.
    async fn all_of(places: &Places, client: u8, upstream: &str, upstreams: usize) -> (Vec<Place>, &'static str) {
        all_as(places, "", client, upstream, upstreams).await
    }

    async fn all_as(
        places: &Places,
        account: &str,
        client: u8,
        upstream: &str,
        upstreams: usize,
    ) -> (Vec<Place>, &'static str) {
        let mut held = Vec::new();
        loop {
            match places.transfer(account, from(client), upstream, upstreams).await {
                Ok(place) => held.push(place),
                Err(full) => return (held, full.whose),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_network_has_a_quarter_and_leaves_the_rest_to_others() {
        let places = places(32);
        let (greedy, whose) = all_of(&places, 1, "a", 1).await;
        assert_eq!((greedy.len(), whose), (8, "one network"));
        // One upstream is all there is, so that it may have everything.
        let mut others = Vec::new();
        for (account, client, expected) in [
            ("", 2, (8, "one network")),
            ("", 3, (0, "clients without an account")),
            ("alice", 3, (8, "one account")),
            ("bob", 4, (8, "one account")),
            ("carol", 5, (0, "all clients together")),
        ] {
            let (held, whose) = all_as(&places, account, client, "a", 1).await;
            assert_eq!((held.len(), whose), expected, "{account} at {client}");
            others.extend(held);
        }
        drop(greedy);
        assert_eq!(all_of(&places, 5, "a", 1).await.0.len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn one_account_has_a_quarter_wherever_it_comes_from() {
        let places = places(32);
        let (here, whose) = all_as(&places, "mallory", 1, "a", 2).await;
        assert_eq!((here.len(), whose), (4, "one network at one upstream"));
        let (there, whose) = all_as(&places, "mallory", 2, "b", 2).await;
        assert_eq!((there.len(), whose), (4, "one account"));
        let (nowhere, whose) = all_as(&places, "mallory", 3, "a", 2).await;
        assert_eq!((nowhere.len(), whose), (0, "one account"));
        // In the same networks, others and those without an account go on.
        assert_eq!(all_as(&places, "alice", 1, "b", 2).await.0.len(), 4);
        assert_eq!(all_of(&places, 2, "a", 2).await.0.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_several_upstreams_has_half_and_half_of_each_networks_share() {
        let places = places(32);
        let mut dead = Vec::new();
        for client in 1..=4 {
            let (held, whose) = all_as(&places, &format!("user-{client}"), client, "dead", 2).await;
            assert_eq!((held.len(), whose), (4, "one network at one upstream"), "{client}");
            dead.extend(held);
        }
        let (none, whose) = all_as(&places, "user-5", 5, "dead", 2).await;
        assert_eq!((none.len(), whose), (0, "one upstream"));
        // Who has requests that hang there goes on elsewhere; so does who has none.
        for (client, expected) in [(1, 4), (5, 4)] {
            assert_eq!(all_of(&places, client, "alive", 2).await.0.len(), expected, "{client}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clients_without_an_account_leave_half_of_each_upstream_to_those_who_have_one() {
        let places = places(32);
        let mut held = Vec::new();
        for (client, upstream, expected) in [
            (1, "a", (4, "one network at one upstream")),
            (2, "a", (4, "one network at one upstream")),
            (3, "a", (0, "clients without an account at one upstream")),
            (3, "b", (4, "one network at one upstream")),
            (4, "b", (4, "one network at one upstream")),
            (5, "b", (0, "clients without an account at one upstream")),
            (5, "c", (0, "clients without an account")),
        ] {
            let (more, whose) = all_of(&places, client, upstream, 3).await;
            assert_eq!((more.len(), whose), expected, "{client} at {upstream}");
            held.extend(more);
        }
        for (account, client, upstream) in [("alice", 6, "a"), ("bob", 7, "b")] {
            // While more of the others than there are places left wait for what they cannot have.
            let mut waiting = tokio::task::JoinSet::new();
            for other in 0..12 {
                let places = places.clone();
                waiting.spawn(async move { places.transfer("", from(9 + other / 4), upstream, 3).await.is_ok() });
            }
            tokio::task::yield_now().await;
            let began = crate::clock::now();
            assert!(places.transfer(account, from(client), upstream, 3).await.is_ok());
            assert_eq!(began.elapsed(), Duration::ZERO, "{account}");
            assert_eq!(waiting.join_all().await, [false; 12]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_network_has_two_catalogs() {
        let places = places(32);
        let mut held = Vec::new();
        for client in 1..=4 {
            for number in 1..=3 {
                match places.catalog(from(client)).await {
                    Ok(place) => held.push(place),
                    Err(full) => assert_eq!((number, full.whose), (3, "one network")),
                }
            }
        }
        assert_eq!(held.len(), CATALOGS);
        let full = places.catalog(from(9)).await.err();
        assert_eq!(full, Some(Full { what: "catalogs", whose: "all clients together" }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_becomes_free_goes_to_who_waits_and_nothing_is_kept_of_those_who_left() {
        let places = places(8);
        let (mut held, _) = all_of(&places, 1, "a", 1).await;
        assert_eq!(held.len(), 2);
        let waits = {
            let places = places.clone();
            tokio::spawn(async move { places.transfer("", from(1), "a", 1).await.map(drop) })
        };
        let gives_up = {
            let places = places.clone();
            tokio::spawn(async move { places.transfer("", from(1), "a", 1).await.map(drop) })
        };
        tokio::task::yield_now().await;
        gives_up.abort();
        held.pop();
        assert!(waits.await.is_ok_and(|entered| entered.is_ok()));
        assert!(gives_up.await.is_err());
        // Even the smallest machine lets everybody do something.
        let few = self::places(1);
        assert!(few.transfer("", from(1), "a", 2).await.is_ok());
        assert!(few.transfers.shares.locked().is_empty());
        drop(held);
        assert!(places.transfers.shares.locked().is_empty());
        assert_eq!(places.transfers.all.available_permits(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_gets_company_has_its_share_at_once() {
        let places = places(32);
        let (_alone, _) = all_of(&places, 1, "a", 1).await;
        let (held, whose) = all_of(&places, 2, "a", 2).await;
        assert_eq!((held.len(), whose), (4, "one network at one upstream"));
    }
}
