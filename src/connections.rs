//! The open connections of clients: how many one network may have, so that it cannot take every place there is; and which
//! connection makes room when many networks together have taken them all.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError, oneshot};
use tracing::warn;

use crate::client_network::ClientNetwork;
use crate::last_said::LastSaid;

/// What one network may have open where the configuration says nothing. Behind one address there may be a whole company.
pub const USUAL_SHARE: usize = 1024;
/// The highest number that the configuration may say: as many as there are places.
pub const LARGEST_SHARE: usize = 16_384;
/// How long a proxy's connection may rest between two requests where the configuration says nothing: longer than nginx and
/// the usual balancers keep one, since whoever sends a request on a connection that is being closed has to answer 502.
pub const PROXY_REST: Duration = Duration::from_secs(75);
/// The longest that the configuration may say: more than any balancer can be told to keep one.
pub const LONGEST_REST: Duration = Duration::from_secs(7200);

/// Whatever the configuration says, one network gets no more than such a part of the places that there are: where few files
/// may be open, one address could otherwise take them all.
const LARGEST_PART: usize = 4;

/// The open connections, counted by network.
pub struct Connections {
    /// What one network may have at most.
    most: usize,
    open: Mutex<Open>,
    said_too_many: LastSaid,
    said_all_taken: LastSaid,
}

/// One connection of those that are counted, until it is dropped.
pub struct Counted {
    connections: Arc<Connections>,
    whose: Whose,
    /// How long it may rest if it is a proxy's.
    proxy_rest: Option<Duration>,
}

/// Whose connections are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Whose {
    /// Those of one network, which has a share of the places.
    Network(ClientNetwork),
    /// Those of proxies that are trusted, and of programs of this machine: they have no end.
    Proxies,
}

/// A connection between two requests, until it is dropped: it may have to leave for a new one.
pub struct AtRest<'a> {
    counted: &'a Counted,
    number: u64,
    /// Comes when it has to leave.
    order: oneshot::Receiver<()>,
    answer: Answer,
}

/// What a connection does that was told to leave.
enum Answer {
    /// Its next request was there first.
    GoesOn,
    Leaves,
}

/// A listener that waits for a place, until it is dropped.
struct Waiting<'a>(&'a Connections);

/// The networks that have anything, and the order in which those of them give up a place that have something at rest.
#[derive(Default)]
struct Open {
    networks: HashMap<Whose, OfNetwork>,
    /// Those that have something at rest. The last is next.
    givers: BTreeMap<Turn, Whose>,
    /// How many have ever begun to rest.
    rested: u64,
    /// Listeners that wait for a place.
    waiting: usize,
    /// Connections that were told to leave and have neither left nor gone on.
    told: usize,
}

#[derive(Default)]
struct OfNetwork {
    open: usize,
    /// By when they began to rest.
    resting: BTreeMap<u64, oneshot::Sender<()>>,
}

/// Whether it is a network, how many connections it has, and when the one began to rest that rests longest: among networks that
/// have the same number, as where each has one, the one is closed that was of no use for longest. Proxies come after all
/// networks, as those that they serve have done nothing.
type Turn = (bool, usize, Reverse<u64>);

/// What becomes of a new connection.
pub enum Admission {
    /// It is one of its network's share, or a proxy's.
    Counted(Counted),
    /// It is not counted: everybody is believed to be a proxy.
    Uncounted,
    /// The network has as many as it may have.
    Refused,
}

/// Who a new connection is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client, whose network may have so many.
    Client {
        /// Its address.
        address: IpAddr,
        /// What the configuration allows one network.
        most: usize,
    },
    /// A proxy that is trusted, or a program of this machine: all clients come from there.
    Proxy {
        /// How long its connection may rest.
        rest: Duration,
    },
    /// Somebody who is believed to be a proxy, as everybody is, and not trusted.
    Unknown,
}

impl Connections {
    /// Nobody has any of so many places yet.
    pub fn sharing(places: usize) -> Connections {
        Connections {
            most: (places / LARGEST_PART).max(1),
            open: Mutex::default(),
            said_too_many: LastSaid::default(),
            said_all_taken: LastSaid::default(),
        }
    }

    /// Looks whether a new connection may stay.
    pub fn admit(self: &Arc<Connections>, origin: Origin) -> Admission {
        let (address, most) = match origin {
            Origin::Client { address, most } => (address, most.min(self.most)),
            Origin::Proxy { rest } => return Admission::Counted(self.count_proxy(rest)),
            Origin::Unknown => return Admission::Uncounted,
        };
        match self.count(ClientNetwork::of(Some(address)), most) {
            Some(counted) => Admission::Counted(counted),
            None => {
                if self.said_too_many.is_long_ago() {
                    warn!(
                        reason = "too_many_connections",
                        client.address = %address,
                        connections = most,
                        "connections are closed whose network has too many; if it is a proxy's, name it in \
                         server.trusted_proxies"
                    );
                }
                Admission::Refused
            }
        }
    }

    /// One of these places. If all are taken, a connection that rests is closed for it, one of the network that has the most
    /// connections: many networks, which one line of IPv6 has, could otherwise hold every place with hardly any requests.
    /// Where none rests, this waits until one does or leaves by itself.
    ///
    /// # Errors
    /// There are no places any more: they were closed.
    pub async fn place(&self, places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, AcquireError> {
        match Arc::clone(places).try_acquire_owned() {
            Ok(place) => return Ok(place),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {}
        }
        if self.said_all_taken.is_long_ago() {
            warn!(
                reason = "all_places_taken",
                "as many connections are open as there may be; those that rest are closed for new ones"
            );
        }
        let _waiting = self.wait();
        Arc::clone(places).acquire_owned().await
    }

    fn wait(&self) -> Waiting<'_> {
        let mut open = self.locked();
        open.waiting += 1;
        open.make_room();
        Waiting(self)
    }

    /// Counts a connection for its network; nothing if that has as many as it may have.
    pub(crate) fn count(self: &Arc<Connections>, network: ClientNetwork, most: usize) -> Option<Counted> {
        let whose = Whose::Network(network);
        let room = self.locked().change(whose, |of| {
            let room = of.open < most;
            of.open += usize::from(room);
            room
        });
        room.then(|| Counted { connections: Arc::clone(self), whose, proxy_rest: None })
    }

    /// Counts a proxy's connection, which may rest for so long.
    pub(crate) fn count_proxy(self: &Arc<Connections>, rest: Duration) -> Counted {
        self.locked().change(Whose::Proxies, |of| of.open += 1);
        Counted { connections: Arc::clone(self), whose: Whose::Proxies, proxy_rest: Some(rest) }
    }

    fn locked(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Changes what a network has, or the proxies, and with it when it is its turn.
    fn change<T>(&mut self, whose: Whose, change: impl FnOnce(&mut OfNetwork) -> T) -> T {
        let of = self.networks.entry(whose).or_default();
        if let Some(turn) = of.turn(whose) {
            self.givers.remove(&turn);
        }
        let outcome = change(of);
        match of.turn(whose) {
            Some(turn) => {
                self.givers.insert(turn, whose);
            }
            None if of.open == 0 => {
                self.networks.remove(&whose);
            }
            None => {}
        }
        outcome
    }

    /// Tells connections that rest to leave: one for each listener that waits.
    fn make_room(&mut self) {
        while self.told < self.waiting
            && let Some((_, &whose)) = self.givers.last_key_value()
        {
            let longest = self.change(whose, |of| of.resting.pop_first());
            if longest.is_some_and(|(_, order)| order.send(()).is_ok()) {
                self.told += 1;
            }
        }
    }
}

impl OfNetwork {
    /// Nothing if none of its connections rests.
    fn turn(&self, whose: Whose) -> Option<Turn> {
        let (first, _) = self.resting.first_key_value()?;
        let is_network = match whose {
            Whose::Network(_) => true,
            Whose::Proxies => false,
        };
        Some((is_network, self.open, Reverse(*first)))
    }
}

impl Counted {
    /// How long it may rest if it is a proxy's; nothing if it is anybody else's.
    pub fn proxy_rest(&self) -> Option<Duration> {
        self.proxy_rest
    }

    /// The connection rests from now on.
    pub fn rest(&self) -> AtRest<'_> {
        let (sender, order) = oneshot::channel();
        let mut open = self.connections.locked();
        open.rested += 1;
        let number = open.rested;
        open.change(self.whose, |of| of.resting.insert(number, sender));
        open.make_room();
        drop(open);
        AtRest { counted: self, number, order, answer: Answer::GoesOn }
    }
}

impl AtRest<'_> {
    /// Waits until the connection has to leave. If it goes on nevertheless, this is dropped, and another one is told.
    pub async fn wanted(&mut self) {
        // An error would mean that nobody can tell it any more, and that happens only to one that was told.
        let _ = (&mut self.order).await;
    }

    /// The connection was told to leave, and does.
    pub fn leave(mut self) {
        self.answer = Answer::Leaves;
    }
}

impl Drop for AtRest<'_> {
    fn drop(&mut self) {
        let mut open = self.counted.connections.locked();
        let untold = open.change(self.counted.whose, |of| of.resting.remove(&self.number));
        if untold.is_none() {
            open.told = open.told.saturating_sub(1);
            match self.answer {
                Answer::GoesOn => open.make_room(),
                Answer::Leaves => {}
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut open = self.0.locked();
        open.waiting = open.waiting.saturating_sub(1);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.locked().change(self.whose, |of| of.open = of.open.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_share_and_gets_back_what_it_closes() {
        let connections = Arc::new(Connections::sharing(LARGEST_SHARE));
        let network = |text: &str| ClientNetwork::of(text.parse().ok());
        let one = network("2001:db8:1:2::1");
        let mut open: Vec<Option<Counted>> = (0..5).map(|_| connections.count(one, 3)).collect();
        assert_eq!(open.iter().flatten().count(), 3);
        assert!(connections.count(network("2001:db8:1:2:ffff::"), 3).is_none(), "the same 64 bits");
        let elsewhere = connections.count(network("2001:db8:1:3::1"), 3);
        assert!(elsewhere.is_some());
        open.remove(0);
        assert!(connections.count(one, 3).is_some());
        // A share that a reload made smaller closes nothing, and lets nobody in either.
        assert!(connections.count(one, 1).is_none());
        drop((open, elsewhere));
        assert!(connections.locked().networks.is_empty());
    }

    /// Whether a connection that rests was told to leave.
    fn told(resting: &AtRest<'_>) -> bool {
        !resting.order.is_empty()
    }

    #[test]
    #[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
    fn whoever_has_the_most_gives_up_what_rests_longest() {
        let connections = Arc::new(Connections::sharing(LARGEST_SHARE));
        let open = |address: &str, number: usize| -> Vec<Counted> {
            let network = ClientNetwork::of(address.parse().ok());
            (0..number).filter_map(|_| connections.count(network, 10)).collect()
        };
        let [few, most, busy] = [("192.0.2.1", 2), ("2001:db8::1", 4), ("192.0.2.9", 6)].map(|(of, n)| open(of, n));
        let [first, second] = [&few[0], &few[1]].map(Counted::rest);
        let [third, fourth, fifth] = [&most[0], &most[1], &most[2]].map(Counted::rest);
        let all_told = |resting: &[&AtRest<'_>]| resting.iter().map(|resting| told(resting)).collect::<Vec<_>>();
        assert_eq!(all_told(&[&first, &second, &third, &fourth, &fifth]), [false; 5], "there is room");

        let waiting = [connections.wait(), connections.wait()];
        assert_eq!(all_told(&[&first, &second, &third, &fourth, &fifth]), [false, false, true, true, false]);
        // They leave, so that the listeners have their places and nobody else has to go.
        third.leave();
        fourth.leave();
        drop(waiting);
        assert_eq!(all_told(&[&first, &second, &fifth]), [false; 3]);

        // One that goes on in that moment: the next one is told instead of it.
        let waiting = connections.wait();
        assert_eq!(all_told(&[&first, &second, &fifth]), [false, false, true]);
        drop(fifth);
        assert_eq!(all_told(&[&first, &second]), [true, false]);
        first.leave();
        assert!(!told(&second));
        drop((waiting, second));

        // While none rests there is nobody to tell; the first that does is told then.
        let waiting = connections.wait();
        let late = [&busy[0], &busy[1]].map(Counted::rest);
        assert_eq!(all_told(&[&late[0], &late[1]]), [true, false]);
        drop(waiting);
        drop(late);
        drop((few, most, busy));
        let left = connections.locked();
        assert!(left.networks.is_empty() && left.givers.is_empty());
        assert_eq!((left.waiting, left.told), (0, 0));
    }

    #[test]
    fn of_networks_that_have_the_same_the_one_gives_way_that_rests_longest() {
        let connections = Arc::new(Connections::sharing(LARGEST_SHARE));
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
            let counted: Vec<Counted> = order
                .iter()
                .filter_map(|last| connections.count(ClientNetwork::of(Some([192, 0, 2, *last].into())), 1))
                .collect();
            let resting: Vec<AtRest<'_>> = counted.iter().map(Counted::rest).collect();
            let _waiting = connections.wait();
            assert_eq!(resting.iter().map(told).collect::<Vec<_>>(), [true, false, false], "{order:?}");
        }
    }
}
