//! A fair queue for expensive work (hashing a password, deciding a costly question, signing a token, asking a program, an API or
//! a directory): a few at a time, round robin by client network, and nobody waits for long.
//!
//! Such work is what a stranger can make us do most of: whoever sends a thousand guesses waits behind their own, while somebody
//! else's one login waits for one of them. Where a thousand addresses send one guess each, every second turn is for networks from
//! which a right password came before.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::client_network::ClientNetwork;
use crate::clock;

mod order;

use order::{State, Waiter};

/// How long a password waits for its turn before its client is told to come back.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Why a password was not hashed, a question not decided, or a backend not asked. What would have come of it is not known:
/// nobody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// The clients of this network have their share of the places already.
    #[error("too many requests from the same network wait for their turn")]
    NetworkFull,
    /// All places are taken, or this one was given to a network that had fewer.
    #[error("too many requests wait for their turn")]
    Full,
    /// So many wait before it, and their turns take so long, that its own would not come in time.
    #[error("so many requests wait for their turn that this one's would come too late")]
    TooMany,
    /// Its turn did not come in time.
    #[error("a request waited too long for its turn")]
    Late,
}

/// Whether a network has shown before that there is somebody in it whom we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// A right password came from it, not long ago.
    Known,
    /// None has, as far as is remembered.
    Strangers,
}

/// Who waits for a turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// Where it is: clients of one network share their turns.
    pub(crate) network: ClientNetwork,
    /// Whether its network is known.
    pub(crate) lane: Lane,
}

impl Client {
    /// An administrator's command.
    pub(crate) const OURSELVES: Client = Client { network: ClientNetwork::Unknown, lane: Lane::Known };
}

/// The queue before the threads, or before a backend. Clones are the same queue.
#[derive(Clone)]
pub(crate) struct Turns(Arc<Queue>);

/// How many may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// A bounded number of one network and in all: each takes long, so that many would be told to come back anyway.
    Bounded,
    /// As many as there are requests, which connections bound: each takes less than a millisecond or a few.
    Everybody,
}

struct Queue {
    at_once: usize,
    room: Room,
    state: Mutex<State>,
}

/// The right to hash one password, to decide one question, to sign one token or to ask a backend, until it is dropped.
pub(crate) struct Turn {
    queue: Arc<Queue>,
    since: Instant,
}

/// A place in the queue. It is given up when this is dropped.
pub(crate) struct QueuePlace {
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
    /// A queue that leaves one core to everything else: as many at once as there are others, and one where there is none.
    pub(crate) fn beside_one_core() -> Turns {
        Turns::new(cores().saturating_sub(1))
    }

    /// A queue for all cores, of work so short that there is a place for everybody.
    pub(crate) fn on_all_cores() -> Turns {
        Turns::with(cores(), Room::Everybody)
    }

    /// A queue for so many turns at once, and for one at least.
    pub(crate) fn new(at_once: usize) -> Turns {
        Turns::with(at_once, Room::Bounded)
    }

    fn with(at_once: usize, room: Room) -> Turns {
        Turns(Arc::new(Queue { at_once: at_once.max(1), room, state: Mutex::default() }))
    }

    /// Waits for a turn, to use before the deadline.
    ///
    /// # Errors
    /// There is no place for this network, it was given to somebody else, or no turn came by the deadline.
    pub(crate) async fn turn(&self, client: Client, deadline: Instant) -> Result<Turn, Busy> {
        let turn = self.queue(client, deadline)?.turn().await?;
        // Whoever had it before was stopped at this very moment: it comes too late to be of use.
        if clock::now() >= deadline {
            return Err(Busy::Late);
        }
        Ok(turn)
    }

    /// Waits for a turn to ask somebody, whose `name` an error has; `whole` is the time that ends at the deadline.
    ///
    /// # Errors
    /// [`Busy`]: no turn came.
    pub(crate) async fn turn_to_ask(
        &self,
        name: &str,
        client: Client,
        deadline: Instant,
        whole: Duration,
    ) -> anyhow::Result<Turn> {
        let at_once = self.0.at_once;
        self.turn(client, deadline).await.map_err(|busy| {
            let what = match busy {
                Busy::Late => format!("{name}: no turn within {whole:?} ({at_once} at once)"),
                Busy::NetworkFull | Busy::Full | Busy::TooMany => name.to_owned(),
            };
            anyhow::Error::new(busy).context(what)
        })
    }

    /// Takes a place, which is a turn by the deadline or never.
    ///
    /// # Errors
    /// There is none for this network.
    pub(crate) fn queue(&self, client: Client, deadline: Instant) -> Result<QueuePlace, Busy> {
        let Client { network, lane } = client;
        let (call, called) = oneshot::channel();
        let mut state = self.0.state();
        let id = state.next_id;
        state.next_id = state.next_id.wrapping_add(1);
        if state.taken < self.0.at_once {
            state.taken += 1;
            // The receiver is in our hands, so it is there.
            call.send(()).ok();
        } else {
            let pushed_out = match self.0.room {
                Room::Bounded => {
                    let left = deadline.saturating_duration_since(clock::now());
                    // With some room for chance: who is not sent away now should have the turn, and not wait in vain.
                    if state.expected(network, lane, self.0.at_once) > left.mul_f64(0.8) {
                        return Err(Busy::TooMany);
                    }
                    state.make_room(network, lane)?
                }
                Room::Everybody => None,
            };
            state.add(network, lane, Waiter { id, call });
            drop(state);
            // Their client is told outside of the lock.
            drop(pushed_out);
        }
        Ok(QueuePlace { queue: Arc::clone(&self.0), network, id, call: called, deadline, state: Called::NotYet })
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
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

impl QueuePlace {
    /// Waits for the turn. May be given up and asked again.
    ///
    /// # Errors
    /// The turn did not come in time, or the place was given to somebody else.
    pub(crate) async fn turn(&mut self) -> Result<Turn, Busy> {
        match timeout_at(self.deadline, &mut self.call).await {
            Ok(Ok(())) => {
                self.state = Called::Already;
                Ok(Turn { queue: Arc::clone(&self.queue), since: clock::now() })
            }
            Ok(Err(_)) => Err(Busy::Full),
            Err(_) => Err(Busy::Late),
        }
    }
}

impl Drop for QueuePlace {
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
        if self.queue.room == Room::Bounded {
            self.queue.state().took(self.since.elapsed());
        }
        self.queue.pass_on();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::{IpAddr, Ipv4Addr};

    use super::order::{MOST_OF_NETWORK, MOST_WAITING};
    use super::*;

    fn network(number: u32) -> ClientNetwork {
        ClientNetwork::of(Some(IpAddr::V4(Ipv4Addr::from_bits(number))))
    }

    fn turns() -> Turns {
        Turns::new(1)
    }

    fn place(turns: &Turns, number: u32, lane: Lane) -> Result<QueuePlace, Busy> {
        turns.queue(Client { network: network(number), lane }, clock::now() + PATIENCE)
    }

    fn counts(turns: &Turns) -> (usize, usize, usize, usize) {
        let state = turns.0.state();
        (state.taken, state.waiting, state.networks.len(), state.known.len() + state.strangers.len())
    }

    /// Whether the turn of this place has come.
    fn called(place: &mut QueuePlace) -> Option<Turn> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(place.turn()).poll(&mut context) {
            std::task::Poll::Ready(Ok(turn)) => Some(turn),
            std::task::Poll::Ready(Err(_)) | std::task::Poll::Pending => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_login_waits_for_one_of_a_hundred_guesses() -> Result<(), Busy> {
        let turns = turns();
        let mut first = place(&turns, 1, Lane::Strangers)?;
        let mut turn = first.turn().await?;
        let mut guesses = (0..100).map(|_| place(&turns, 1, Lane::Strangers)).collect::<Result<VecDeque<_>, _>>()?;
        let mut login = Some(place(&turns, 2, Lane::Strangers)?);
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
        let busy = place(&turns, 0, Lane::Strangers)?;
        let mut places = Vec::new();
        for greedy in 1..=8 {
            for _ in 0..MOST_OF_NETWORK {
                places.push(place(&turns, greedy, Lane::Strangers)?);
            }
            assert_eq!(place(&turns, greedy, Lane::Strangers).err(), Some(Busy::NetworkFull));
        }
        assert_eq!(counts(&turns).1, MOST_WAITING);
        // The last of one that has 128.
        let honest = place(&turns, 99, Lane::Strangers)?;
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
        let _busy = place(&turns, 0, Lane::Strangers)?;
        let _places = (0..MOST_WAITING as u32)
            .map(|number| place(&turns, 1 + number, Lane::Strangers))
            .collect::<Result<Vec<_>, _>>()?;
        assert_eq!(place(&turns, u32::MAX, Lane::Strangers).err(), Some(Busy::Full));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_in_vain_is_told_at_once() -> Result<(), Busy> {
        let turns = turns();
        let mut first = place(&turns, 0, Lane::Strangers)?;
        let turn = first.turn().await?;
        tokio::time::advance(Duration::from_secs(1)).await;
        drop((turn, first));
        // Turns take a second each, and there are ten of them.
        let mut first = place(&turns, 0, Lane::Strangers)?;
        let turn = first.turn().await?;
        let mut waiting = Vec::new();
        for (number, lane, more) in [
            // Eight turns, and some room for chance.
            (1, Lane::Strangers, 8),
            // In the next round, which is the first for each of these.
            (2, Lane::Strangers, 4),
            (3, Lane::Strangers, 2),
            (4, Lane::Strangers, 2),
            (5, Lane::Known, 4),
            (6, Lane::Known, 2),
        ] {
            for _ in 0..more {
                waiting.push(place(&turns, number, lane)?);
            }
            assert_eq!(place(&turns, number, lane).err(), Some(Busy::TooMany), "{number}");
        }
        drop((waiting, turn));
        // Quick ones are soon believed.
        for _ in 0..30 {
            drop(place(&turns, 1, Lane::Strangers)?.turn().await?);
        }
        let mut first = place(&turns, 1, Lane::Strangers)?;
        let _turn = first.turn().await?;
        let many = (0..MOST_OF_NETWORK).map(|_| place(&turns, 1, Lane::Strangers)).collect::<Result<Vec<_>, _>>();
        assert!(many.is_ok());
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_too_long_is_told_and_gives_the_place_up() -> Result<(), Busy> {
        let turns = turns();
        let mut first = place(&turns, 1, Lane::Strangers)?;
        let turn = first.turn().await?;
        let mut late = place(&turns, 2, Lane::Strangers)?;
        let began = clock::now();
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
        let mut first = place(&turns, 1, Lane::Strangers)?;
        let turn = first.turn().await?;
        let (gone, mut next) = (place(&turns, 2, Lane::Strangers)?, place(&turns, 3, Lane::Strangers)?);
        drop(turn);
        // It is called now, and its client goes away before it looks.
        drop(gone);
        assert!(called(&mut next).is_some());
        drop(next);
        assert_eq!(counts(&turns), (0, 0, 0, 0));
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_strangers_leave_every_second_turn_to_networks_that_are_known() -> Result<(), Busy> {
        let turns = turns();
        let mut first = place(&turns, 0, Lane::Strangers)?;
        let mut turn = first.turn().await?;
        let many = MOST_WAITING as u32;
        let mut strangers =
            (1..=many).map(|number| place(&turns, number, Lane::Strangers)).collect::<Result<VecDeque<_>, _>>()?;
        assert_eq!(place(&turns, many + 1, Lane::Strangers).err(), Some(Busy::Full));
        // All places are taken, each by another network: the last stranger makes room, and the next to the last.
        let mut known: VecDeque<QueuePlace> =
            (1..=2).map(|number| place(&turns, many + number, Lane::Known)).collect::<Result<_, _>>()?;
        for _ in 0..2 {
            let mut pushed_out = strangers.pop_back().ok_or(Busy::Full)?;
            assert_eq!(pushed_out.turn().await.err(), Some(Busy::Full));
        }
        let mut order = String::new();
        for _ in 0..5 {
            drop(turn);
            let come = [('k', &mut known), ('s', &mut strangers)].into_iter().find_map(|(lane, waiting)| {
                let turn = called(waiting.front_mut()?)?;
                waiting.pop_front();
                Some((lane, turn))
            });
            let (lane, next) = come.ok_or(Busy::Full)?;
            order.push(lane);
            turn = next;
        }
        assert_eq!(order, "kskss");
        drop((turn, first, strangers, known));
        assert_eq!(counts(&turns), (0, 0, 0, 0));
        Ok(())
    }
}
