//! Whose password is hashed next, or whose costly question is decided: a few at a time, the clients' networks in turn, and
//! nobody waits for long.
//!
//! Hashing is what a stranger can make us do most of, so it is shared out: whoever sends a thousand guesses waits behind
//! their own, while somebody else's one login waits for one of them.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::client_network::ClientNetwork;

/// How long a password waits for its turn before its client is told to come back.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many passwords of one network wait at most.
const MOST_OF_NETWORK: usize = 128;
/// How many wait in all.
const MOST_WAITING: usize = 1024;

/// Why a password was not hashed, or a question not decided. What would have come of it is not known: nobody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// The clients of this network have their share of the places already.
    #[error("too many requests from the same network wait for their turn")]
    NetworkFull,
    /// All places are taken, or this one was given to a network that had fewer.
    #[error("too many requests wait for their turn")]
    Full,
    /// Its turn did not come in time.
    #[error("a request waited too long for its turn")]
    Late,
}

/// The queue before the threads. Clones are the same queue.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Queue>);

struct Queue {
    at_once: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Turns that are taken. Below the limit nobody waits.
    taken: usize,
    waiting: usize,
    /// Who waits, the first come first; no list is empty.
    networks: HashMap<ClientNetwork, VecDeque<Waiter>>,
    /// The keys of `networks`, the next one first.
    order: VecDeque<ClientNetwork>,
    next_id: u64,
}

struct Waiter {
    id: u64,
    /// Told when the turn has come; dropped when the place is given to somebody else.
    call: oneshot::Sender<()>,
}

/// The right to hash one password or to decide one question, until it is dropped.
pub(crate) struct Turn(Arc<Queue>);

/// A place in the queue. It is given up when this is dropped.
pub(crate) struct Place {
    queue: Arc<Queue>,
    network: ClientNetwork,
    id: u64,
    call: oneshot::Receiver<()>,
    deadline: Instant,
    state: Called,
}

/// Whether a place became a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Called {
    NotYet,
    Already,
}

impl Turns {
    /// A queue that lets so many hash at once.
    pub(crate) fn new(at_once: NonZeroUsize) -> Turns {
        Turns(Arc::new(Queue { at_once: at_once.get(), state: Mutex::default() }))
    }

    /// Takes a place.
    ///
    /// # Errors
    /// There is none for this network.
    pub(crate) fn queue(&self, network: ClientNetwork) -> Result<Place, Busy> {
        let (call, called) = oneshot::channel();
        let mut state = self.0.state();
        let id = state.next_id;
        state.next_id = state.next_id.wrapping_add(1);
        if state.taken < self.0.at_once {
            state.taken += 1;
            // The receiver is in our hands, so it is there.
            call.send(()).ok();
        } else {
            let pushed_out = state.make_room(network)?;
            state.add(network, Waiter { id, call });
            drop(state);
            // Their client is told outside of the lock.
            drop(pushed_out);
        }
        Ok(Place {
            queue: Arc::clone(&self.0),
            network,
            id,
            call: called,
            deadline: Instant::now() + PATIENCE,
            state: Called::NotYet,
        })
    }
}

impl State {
    /// Makes sure that there is a place for one more of this network, taking one from the network with the most if all
    /// are taken: a stranger with many connections must not keep everybody else out.
    fn make_room(&mut self, network: ClientNetwork) -> Result<Option<Waiter>, Busy> {
        let own = self.networks.get(&network).map_or(0, VecDeque::len);
        if own >= MOST_OF_NETWORK {
            return Err(Busy::NetworkFull);
        }
        if self.waiting < MOST_WAITING {
            return Ok(None);
        }
        let greediest = self.networks.iter().max_by_key(|(_, waiters)| waiters.len());
        let greediest = greediest.filter(|(_, waiters)| waiters.len() > own + 1).map(|(network, _)| *network);
        let last = greediest.and_then(|network| self.networks.get_mut(&network)).and_then(VecDeque::pop_back);
        match last {
            Some(waiter) => {
                self.waiting -= 1;
                Ok(Some(waiter))
            }
            None => Err(Busy::Full),
        }
    }

    fn add(&mut self, network: ClientNetwork, waiter: Waiter) {
        let waiters = self.networks.entry(network).or_default();
        if waiters.is_empty() {
            self.order.push_back(network);
        }
        waiters.push_back(waiter);
        self.waiting += 1;
    }

    /// The first of the next network, which then comes last.
    fn next(&mut self) -> Option<Waiter> {
        let network = self.order.pop_front()?;
        let waiters = self.networks.get_mut(&network)?;
        let waiter = waiters.pop_front()?;
        if waiters.is_empty() {
            self.networks.remove(&network);
        } else {
            self.order.push_back(network);
        }
        self.waiting -= 1;
        Some(waiter)
    }

    /// Gives a place up; nothing if it was taken away already.
    fn withdraw(&mut self, network: ClientNetwork, id: u64) {
        let Some(waiters) = self.networks.get_mut(&network) else { return };
        let before = waiters.len();
        waiters.retain(|waiter| waiter.id != id);
        self.waiting -= before - waiters.len();
        if waiters.is_empty() {
            self.networks.remove(&network);
            self.order.retain(|other| *other != network);
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a turn that has ended to the next who still waits.
    fn pass_on(&self) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.next();
                if next.is_none() {
                    state.taken = state.taken.saturating_sub(1);
                }
                next
            };
            match next.map(|waiter| waiter.call.send(())) {
                None | Some(Ok(())) => return,
                // That client has gone.
                Some(Err(())) => {}
            }
        }
    }
}

impl Place {
    /// Waits for the turn. May be given up and asked again.
    ///
    /// # Errors
    /// The turn did not come in time, or the place was given to somebody else.
    pub(crate) async fn turn(&mut self) -> Result<Turn, Busy> {
        match timeout_at(self.deadline, &mut self.call).await {
            Ok(Ok(())) => {
                self.state = Called::Already;
                Ok(Turn(Arc::clone(&self.queue)))
            }
            Ok(Err(_)) => Err(Busy::Full),
            Err(_) => Err(Busy::Late),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match self.state {
            Called::Already => return,
            Called::NotYet => self.call.close(),
        }
        // Nobody can call any more; whoever did already has given us the turn.
        match self.call.try_recv() {
            Ok(()) => self.queue.pass_on(),
            Err(_) => self.queue.state().withdraw(self.network, self.id),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn network(number: u32) -> ClientNetwork {
        ClientNetwork::of(Some(IpAddr::V4(Ipv4Addr::from_bits(number))))
    }

    fn turns() -> Turns {
        Turns::new(NonZeroUsize::MIN)
    }

    fn counts(turns: &Turns) -> (usize, usize, usize, usize) {
        let state = turns.0.state();
        (state.taken, state.waiting, state.networks.len(), state.order.len())
    }

    /// Whether the turn of this place has come.
    fn called(place: &mut Place) -> Option<Turn> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(place.turn()).poll(&mut context) {
            std::task::Poll::Ready(Ok(turn)) => Some(turn),
            std::task::Poll::Ready(Err(_)) | std::task::Poll::Pending => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_login_waits_for_one_of_a_hundred_guesses() -> Result<(), Busy> {
        let turns = turns();
        let mut first = turns.queue(network(1))?;
        let mut turn = first.turn().await?;
        let mut guesses = (0..100).map(|_| turns.queue(network(1))).collect::<Result<VecDeque<_>, _>>()?;
        let mut login = Some(turns.queue(network(2))?);
        let mut order = Vec::new();
        for _ in 0..3 {
            drop(turn);
            turn = match login.as_mut().and_then(called) {
                Some(turn) => {
                    order.push("login");
                    login = None;
                    turn
                }
                None => {
                    order.push("guess");
                    guesses.pop_front().as_mut().and_then(called).ok_or(Busy::Full)?
                }
            };
        }
        assert_eq!(order, ["guess", "login", "guess"]);
        drop((turn, first, guesses, login));
        assert_eq!(counts(&turns), (0, 0, 0, 0));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_has_its_share_of_the_places_and_the_greediest_makes_room() -> Result<(), Busy> {
        let turns = turns();
        let busy = turns.queue(network(0))?;
        let mut places = Vec::new();
        for greedy in 1..=8 {
            for _ in 0..MOST_OF_NETWORK {
                places.push(turns.queue(network(greedy))?);
            }
            assert_eq!(turns.queue(network(greedy)).err(), Some(Busy::NetworkFull));
        }
        assert_eq!(counts(&turns).1, MOST_WAITING);
        // The last of one that has 128.
        let honest = turns.queue(network(99))?;
        assert_eq!(counts(&turns).1, MOST_WAITING);
        let mut pushed_out = 0;
        for place in &mut places {
            pushed_out += usize::from(matches!(place.call.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        }
        assert_eq!(pushed_out, 1);
        drop((busy, places, honest));
        assert_eq!(counts(&turns), (0, 0, 0, 0));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn where_each_network_has_one_place_there_is_none_to_take() -> Result<(), Busy> {
        let turns = turns();
        let _busy = turns.queue(network(0))?;
        let _places =
            (0..MOST_WAITING as u32).map(|number| turns.queue(network(1 + number))).collect::<Result<Vec<_>, _>>()?;
        assert_eq!(turns.queue(network(u32::MAX)).err(), Some(Busy::Full));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_too_long_is_told_and_gives_the_place_up() -> Result<(), Busy> {
        let turns = turns();
        let mut first = turns.queue(network(1))?;
        let turn = first.turn().await?;
        let mut late = turns.queue(network(2))?;
        let began = Instant::now();
        assert_eq!(late.turn().await.err(), Some(Busy::Late));
        assert_eq!(began.elapsed(), PATIENCE);
        drop(late);
        assert_eq!(counts(&turns), (1, 0, 0, 0));
        drop(turn);
        assert_eq!(counts(&turns), (0, 0, 0, 0));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_was_called_and_not_taken_is_passed_on() -> Result<(), Busy> {
        let turns = turns();
        let mut first = turns.queue(network(1))?;
        let turn = first.turn().await?;
        let (gone, mut next) = (turns.queue(network(2))?, turns.queue(network(3))?);
        drop(turn);
        // It is called now, and its client goes away before it looks.
        drop(gone);
        assert!(called(&mut next).is_some());
        drop(next);
        assert_eq!(counts(&turns), (0, 0, 0, 0));
        Ok(())
    }
}
