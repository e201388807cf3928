//! A TCP link to a backend that a test can slow down, stall, reset and cut, and that counts who uses it.
//!
//! Everything runs on one thread, so that a state is in force everywhere once it is stored: what is passed on
//! afterwards is passed on by it.

use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::port;

/// What is read at once, in bytes: a "chunk" of [`State::Slowed`].
const CHUNK: usize = 16 * 1024;
/// Chunks that are read before they can be passed on; then their sender is held up, as by a network.
const MOST_WAITING: usize = 64;

/// What the link does with what comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Everything is passed on.
    Passing,
    /// Each chunk, of either direction, is passed on this long after it came.
    Slowed(Duration),
    /// Connections are taken and stay open, and nothing is passed on until the state changes.
    Stalled,
    /// As [`State::Stalled`], and for good: connections that were open, or are made meanwhile, never hear anything again,
    /// not even an end. So does a machine that loses its power, or a firewall that forgets what passes it.
    Lost,
    /// Every connection is reset, new ones too.
    Reset,
    /// Nobody listens any more, and connections are closed.
    Cut,
}

/// A link to one address. Dropping it closes everything.
#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddr,
    orders: mpsc::UnboundedSender<(State, oneshot::Sender<()>)>,
    open: Arc<AtomicUsize>,
    taken: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Link {
    /// A link on a free port of this machine to `target`, passing.
    pub(crate) fn to(target: impl Into<String>) -> Link {
        let target = target.into();
        let listener = port::hold();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (orders, inbox) = mpsc::unbounded_channel();
        let (open, taken) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counters = (Arc::clone(&open), Arc::clone(&taken));
        let thread = thread::Builder::new().name("link".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(keep(listener, target, inbox, counters));
        });
        Link { address, orders, open, taken, thread: Some(thread.unwrap()) }
    }

    /// `127.0.0.1:port`, the same in every state.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Changes the state; it is in force when this returns: with [`State::Reset`] and [`State::Cut`], no connection is
    /// left, and with every other one, connections are taken.
    pub(crate) fn set(&self, state: State) {
        let (done, in_force) = oneshot::channel();
        self.orders.send((state, done)).unwrap();
        in_force.blocking_recv().unwrap();
    }

    /// The connections that clients have open now.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// The connections that clients have made since the beginning, those that were reset at once included.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // The thread ends with its inbox.
        self.orders = mpsc::unbounded_channel().0;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Takes connections and orders, until nobody can give orders any more.
async fn keep(
    listener: std::net::TcpListener,
    target: String,
    mut inbox: mpsc::UnboundedReceiver<(State, oneshot::Sender<()>)>,
    (open, taken): (Arc<AtomicUsize>, Arc<AtomicUsize>),
) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(TcpListener::from_std(listener).unwrap());
    let (state, states) = watch::channel(State::Passing);
    let losses = watch::Sender::new(());
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            order = inbox.recv() => {
                let Some((next, done)) = order else { return };
                if next == State::Cut
                    && let Some(listener) = listener.take()
                {
                    // Closing is not enough: a program that another test is starting may have a copy until it runs.
                    SockRef::from(&listener).shutdown(Shutdown::Both).unwrap();
                }
                state.send_replace(next);
                match next {
                    // Each of them sees the state and ends.
                    State::Reset | State::Cut => while connections.join_next().await.is_some() {},
                    State::Lost => losses.send_modify(|()| {}),
                    State::Passing | State::Slowed(_) | State::Stalled => {}
                }
                if listener.is_none() && next != State::Cut {
                    listener = Some(TcpListener::bind(address).await.unwrap());
                }
                done.send(()).ok();
            }
            accepted = accept(listener.as_ref()) => {
                let Ok(client) = accepted else { continue };
                taken.fetch_add(1, Ordering::SeqCst);
                let mut lost = losses.subscribe();
                if *states.borrow() == State::Lost {
                    lost.mark_changed();
                }
                connections.spawn(serve(client, target.clone(), states.clone(), lost, Counted::new(&open)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(client, _)| client),
        None => pending().await,
    }
}

/// One more open connection, for as long as this lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Counted {
        open.fetch_add(1, Ordering::SeqCst);
        Counted(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Serves one connection to its end: either side's, or that of the state.
async fn serve(
    mut client: TcpStream,
    target: String,
    states: watch::Receiver<State>,
    mut losses: watch::Receiver<()>,
    counted: Counted,
) {
    client.set_nodelay(true).ok();
    let mut server = None;
    let (mut ending, passing) = (states.clone(), states.clone());
    let mut nowhere = vec![0; CHUNK];
    tokio::select! {
        // First, so that not one byte is passed on by a state that is over.
        biased;
        _ = ending.wait_for(|state| matches!(state, State::Reset | State::Cut)) => {}
        () = async {
            tokio::select! {
                biased;
                _ = losses.changed() => {}
                () = pass(&mut client, &mut server, &target, passing) => return,
            }
            drop(server.take());
            // What comes is for nobody, until the client goes.
            while client.read(&mut nowhere).await.is_ok_and(|read| read > 0) {}
        } => {}
    }
    if *states.borrow() == State::Reset {
        reset(&client);
        server.iter().for_each(reset);
    }
    // The count goes down only after the sockets are closed.
    drop((client, server));
    drop(counted);
}

/// Closing it will send a reset, and nothing that waits to be sent.
fn reset(stream: &TcpStream) {
    stream.set_zero_linger().ok();
}

/// Passes on what comes, in both directions, until one side ends.
async fn pass(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    target: &str,
    mut states: watch::Receiver<State>,
) {
    let mut waiting = Waiting::default();
    // While nothing is passed on, the server need not even be there; that the client goes is noticed all the same.
    while *states.borrow_and_update() == State::Stalled {
        tokio::select! {
            _ = states.changed() => {}
            read = waiting.read(client) => if !read.is_ok_and(|read| read > 0) { return },
        }
    }
    let Ok(connected) = TcpStream::connect(target).await else {
        reset(client);
        return;
    };
    connected.set_nodelay(true).ok();
    let server = server.insert(connected);
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    tokio::select! {
        _ = pass_one_way(from_client, to_server, waiting, Stalled::EndsWithItsSource, states.clone()) => {}
        _ = pass_one_way(from_server, to_client, Waiting::default(), Stalled::KeepsWhatWaits, states) => {}
    }
}

/// What was read and is not passed on yet.
struct Waiting {
    chunks: VecDeque<(Instant, Vec<u8>)>,
    buffer: Vec<u8>,
}

impl Default for Waiting {
    fn default() -> Waiting {
        Waiting { chunks: VecDeque::new(), buffer: vec![0; CHUNK] }
    }
}

impl Waiting {
    fn has_room(&self) -> bool {
        self.chunks.len() < MOST_WAITING
    }

    /// Reads a chunk, where there is room; otherwise waits for ever.
    async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        if !self.has_room() {
            return pending().await;
        }
        let read = from.read(&mut self.buffer).await?;
        if read > 0 {
            self.chunks.push_back((Instant::now(), self.buffer[..read].to_vec()));
        }
        Ok(read)
    }
}

/// What a direction does that ends while nothing is passed on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stalled {
    /// It ends at once: its client is gone, and is to be counted no longer.
    EndsWithItsSource,
    /// It ends after what was read has been passed on.
    KeepsWhatWaits,
}

async fn pass_one_way(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut waiting: Waiting,
    stalled: Stalled,
    mut states: watch::Receiver<State>,
) -> io::Result<()> {
    let mut over = false;
    loop {
        let state = *states.borrow_and_update();
        let first = waiting.chunks.front().cloned();
        let due = match (state, &first) {
            (State::Passing, Some(_)) => Some(Instant::now()),
            (State::Slowed(delay), Some((read, _))) => Some(*read + delay),
            (State::Stalled | State::Lost | State::Reset | State::Cut, _) | (_, None) => None,
        };
        if over && (first.is_none() || (state == State::Stalled && stalled == Stalled::EndsWithItsSource)) {
            return to.shutdown().await;
        }
        let write = async {
            match (due, &first) {
                (Some(due), Some((_, chunk))) => {
                    tokio::time::sleep_until(due).await;
                    to.write(chunk).await
                }
                (None, _) | (_, None) => pending().await,
            }
        };
        tokio::select! {
            // First, so that not one byte is passed on by a state that is over.
            biased;
            _ = states.changed() => {}
            read = waiting.read(&mut from), if !over => over = read? == 0,
            written = write => {
                let written = written?;
                let (_, chunk) = waiting.chunks.front_mut().unwrap();
                chunk.drain(..written);
                if chunk.is_empty() {
                    waiting.chunks.pop_front();
                }
            }
        }
    }
}
