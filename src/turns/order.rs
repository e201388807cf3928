//! The order of those who wait: round robin by client network, every second turn for networks that are known.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Busy, Lane};
use crate::client_network::ClientNetwork;

/// How many of one network wait at most, where that is bounded.
pub(super) const MOST_OF_NETWORK: usize = 128;
/// How many wait in all, where that is bounded.
pub(super) const MOST_WAITING: usize = 1024;

/// Who has a turn, and who waits for one.
#[derive(Default)]
pub(super) struct State {
    /// Turns that are taken. Below the limit nobody waits.
    pub(super) taken: usize,
    pub(super) waiting: usize,
    /// How long a turn takes, the last ones before all.
    usual: Duration,
    /// Who waits, the first come first; no list is empty. A network stays in the lane in which its first one came.
    pub(super) networks: HashMap<ClientNetwork, (Lane, VecDeque<Waiter>)>,
    /// The keys of `networks` by lane, the next one first.
    pub(super) known: VecDeque<ClientNetwork>,
    pub(super) strangers: VecDeque<ClientNetwork>,
    /// Whether it was one of the known ones last.
    last: Option<Lane>,
    pub(super) next_id: u64,
}

pub(super) struct Waiter {
    pub(super) id: u64,
    /// Told when the turn has come; dropped when the place is given to somebody else.
    pub(super) call: oneshot::Sender<()>,
}

impl State {
    /// Makes sure that there is a place for one more of this network, taking one from the network with the most if all
    /// are taken: a stranger with many connections must not keep everybody else out. A stranger with many addresses must
    /// not either: where nobody has more than another, one of the strangers makes room for one whom we know.
    pub(super) fn make_room(&mut self, network: ClientNetwork, lane: Lane) -> Result<Option<Waiter>, Busy> {
        let own = self.networks.get(&network).map_or(0, |(_, waiters)| waiters.len());
        if own >= MOST_OF_NETWORK {
            return Err(Busy::NetworkFull);
        }
        if self.waiting < MOST_WAITING {
            return Ok(None);
        }
        let greediest = self.networks.iter().max_by_key(|(_, (_, waiters))| waiters.len());
        let greediest = greediest.filter(|(_, (_, waiters))| waiters.len() > own + 1).map(|(network, _)| *network);
        let makes_room = match (greediest, lane) {
            (Some(greediest), _) => Some(greediest),
            (None, Lane::Known) => self.strangers.back().copied(),
            (None, Lane::Strangers) => None,
        };
        match makes_room.and_then(|network| self.take(network, VecDeque::pop_back)) {
            Some(waiter) => Ok(Some(waiter)),
            None => Err(Busy::Full),
        }
    }

    /// How long a new one of this network would wait at most, as far as can be told.
    pub(super) fn expected(&self, network: ClientNetwork, lane: Lane, at_once: usize) -> Duration {
        let (lane, own) = self.networks.get(&network).map_or((lane, 0), |(lane, waiters)| (*lane, waiters.len()));
        let (same, other) = match lane {
            Lane::Known => (self.known.len(), self.strangers.len()),
            Lane::Strangers => (self.strangers.len(), self.known.len()),
        };
        // As many rounds as there are of its own until it comes, every second turn being the other lane's.
        let of_lane = (own + 1).saturating_mul(same + usize::from(own == 0));
        let rounds = if other > 0 { of_lane.saturating_mul(2) } else { of_lane };
        let turns = rounds.min(self.waiting + 1);
        self.usual.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX)) / u32::try_from(at_once).unwrap_or(u32::MAX)
    }

    /// A turn took so long.
    pub(super) fn took(&mut self, time: Duration) {
        self.usual = match self.usual {
            Duration::ZERO => time,
            usual => (usual * 7 + time) / 8,
        };
    }

    /// Puts one at the end of its network's queue.
    pub(super) fn add(&mut self, network: ClientNetwork, lane: Lane, waiter: Waiter) {
        let (lane, waiters) = self.networks.entry(network).or_insert_with(|| (lane, VecDeque::new()));
        let (lane, is_first) = (*lane, waiters.is_empty());
        waiters.push_back(waiter);
        self.waiting += 1;
        if is_first {
            self.order(lane).push_back(network);
        }
    }

    fn order(&mut self, lane: Lane) -> &mut VecDeque<ClientNetwork> {
        match lane {
            Lane::Known => &mut self.known,
            Lane::Strangers => &mut self.strangers,
        }
    }

    /// One of those who wait in a network, which is gone from the order if there is none left.
    fn take(
        &mut self,
        network: ClientNetwork,
        pick: impl FnOnce(&mut VecDeque<Waiter>) -> Option<Waiter>,
    ) -> Option<Waiter> {
        let (lane, waiters) = self.networks.get_mut(&network)?;
        let lane = *lane;
        let waiter = pick(waiters)?;
        self.waiting -= 1;
        if waiters.is_empty() {
            self.networks.remove(&network);
            self.order(lane).retain(|other| *other != network);
        }
        Some(waiter)
    }

    /// The first of the next network, which then comes last; the lanes in turn, as long as somebody waits in both.
    pub(super) fn next(&mut self) -> Option<Waiter> {
        let lane = match self.last {
            Some(Lane::Known) if !self.strangers.is_empty() => Lane::Strangers,
            Some(Lane::Known | Lane::Strangers) | None if !self.known.is_empty() => Lane::Known,
            Some(Lane::Known | Lane::Strangers) | None => Lane::Strangers,
        };
        self.last = Some(lane);
        let network = self.order(lane).pop_front()?;
        let (_, waiters) = self.networks.get_mut(&network)?;
        let waiter = waiters.pop_front()?;
        self.waiting -= 1;
        if waiters.is_empty() {
            self.networks.remove(&network);
        } else {
            self.order(lane).push_back(network);
        }
        Some(waiter)
    }

    /// Gives a place up; nothing if it was taken away already.
    pub(super) fn withdraw(&mut self, network: ClientNetwork, id: u64) {
        self.take(network, |waiters| {
            // They are in the order of their numbers.
            let place = waiters.binary_search_by_key(&id, |waiter| waiter.id).ok()?;
            waiters.remove(place)
        });
    }
}
