//! The load: requests at their own rate, whatever the server does, each timed from the moment it was meant to start.
//!
//! One thread drives all connections, with as little work for each request as can be: whatever it takes of the cores is
//! missing to the server under test.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketType};
use rustix::time::Timespec;

use crate::bed;
use crate::process::{Usage, thread_cpu};
use crate::reply::{self, Found};

/// How long after the end an answer is usually waited for.
pub const GRACE: Duration = Duration::from_secs(5);
/// 127.0.0.1 alone, as the number of an address of 127.0.0.0/8.
pub const HERE: Range<u32> = 1..2;
/// How long replies come together where the maximum is looked for.
const GATHERED_FOR: Duration = Duration::from_millis(1);
/// The longest latency that is told apart, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// When the next request starts.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many a second, at random moments, whether or not the earlier ones are answered.
    Open {
        /// Requests a second.
        rate: f64,
    },
    /// On each of so many connections as soon as the one before is answered: what the server can do at most.
    Closed {
        /// How many.
        clients: usize,
    },
}

/// Which of the connections that are free takes the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turns {
    /// The one that was used last: the others stay idle.
    Last,
    /// All in turn: none is idle for longer than a round takes.
    Round,
}

/// What is sent, how often, and over what.
#[derive(Clone)]
pub struct Load {
    /// Who is asked.
    pub address: SocketAddr,
    /// Whole requests as bytes, sent one after the other, again and again.
    pub requests: Arc<[Vec<u8>]>,
    /// When.
    pub pace: Pace,
    /// Connections that are open from the beginning.
    pub connections: usize,
    /// Connections that are open at most: with an open pace, more are opened while none is free.
    pub most: usize,
    /// The order in which they are used.
    pub turns: Turns,
    /// The addresses that they come from in turn, by their numbers in 127.0.0.0/8.
    pub sources: Range<u32>,
    /// Sent, and not counted, before the measuring begins.
    pub warm: Duration,
    /// How long is measured.
    pub lasts: Duration,
    /// How long answers are waited for after that.
    pub grace: Duration,
    /// The process whose use of the machine is measured meanwhile.
    pub watched: Option<u32>,
}

impl Load {
    /// So many requests a second from 127.0.0.1, over a few connections that are kept.
    pub fn at_rate(address: SocketAddr, requests: Arc<[Vec<u8>]>, rate: f64, lasts: Duration) -> Load {
        Load {
            address,
            requests,
            pace: Pace::Open { rate },
            connections: 4,
            most: 64,
            turns: Turns::Last,
            sources: HERE,
            warm: Duration::from_millis(500),
            lasts,
            grace: GRACE,
            watched: None,
        }
    }

    /// The same over a connection of its own for each request. So the server must close it after the reply, as it does
    /// if a request says that it is the last one ([`crate::bed::alone`]).
    pub fn alone(self) -> Load {
        Load { requests: self.requests.iter().map(|request| bed::alone(request)).collect(), connections: 0, ..self }
    }
}

/// What came of it.
pub struct Measured {
    /// Time from the intended start to the whole reply, in nanoseconds, of requests answered with 200.
    pub latency: Histogram<u64>,
    /// The same of the other requests that were answered, by status.
    pub others: BTreeMap<u16, Histogram<u64>>,
    /// Replies by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Connections that broke before the reply.
    pub broken: u64,
    /// Requests without an answer by the end, unsent ones among them.
    pub unanswered: u64,
    /// Answered with 200 while it was measured, whenever they were asked.
    pub answered: u64,
    /// How long was measured.
    pub lasted: Duration,
    /// What the watched process used meanwhile.
    pub used: Usage,
    /// What this thread used.
    pub own_cpu: Duration,
}

impl Measured {
    /// Requests answered with 200, a second.
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.lasted.as_secs_f64()
    }

    /// Everything that is no 200, of all that was to be asked.
    pub fn failures(&self) -> u64 {
        let others: u64 = self.statuses.iter().filter(|(status, _)| **status != 200).map(|(_, count)| count).sum();
        others + self.broken + self.unanswered
    }

    /// A percentile of the latency.
    pub fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(percent / 100.0))
    }
}

/// A connection from the address of this number in 127.0.0.0/8.
pub fn connect_from(number: u32, to: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).context("a socket")?;
    // That address the system takes by itself.
    if number != HERE.start {
        let [_, b, c, d] = number.to_be_bytes();
        rustix::net::sockopt::set_socket_reuseaddr(&socket, true).ok();
        rustix::net::bind(&socket, &SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, b, c, d)), 0))
            .context("an address of this machine")?;
    }
    rustix::net::connect(&socket, &to).with_context(|| to.to_string())?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Latencies in nanoseconds.
pub fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST, 3).context("a histogram")
}

struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    /// The intended start of the request that is under way.
    started: Option<Instant>,
}

struct Generator {
    load: Load,
    epoll: rustix::fd::OwnedFd,
    connections: Vec<Option<Connection>>,
    open: usize,
    free: VecDeque<usize>,
    vacant: Vec<usize>,
    waiting: VecDeque<Instant>,
    next_request: usize,
    next_source: u32,
    measured: Measured,
    /// From when on answers count, and from when on no more.
    window: (Instant, Instant),
}

/// Sends the load, and measures.
pub fn run(load: Load) -> anyhow::Result<Measured> {
    // Timers are usually allowed to be 50 µs late, so that the processor may sleep longer.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).ok();
    let begin = Instant::now();
    let mut generator = Generator {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?,
        connections: Vec::new(),
        open: 0,
        free: VecDeque::new(),
        vacant: Vec::new(),
        waiting: VecDeque::new(),
        next_request: 0,
        next_source: 0,
        measured: Measured {
            latency: histogram()?,
            others: BTreeMap::new(),
            statuses: BTreeMap::new(),
            broken: 0,
            unanswered: 0,
            answered: 0,
            lasted: load.lasts,
            used: Usage::default(),
            own_cpu: Duration::ZERO,
        },
        window: (begin, begin),
        load,
    };
    let first = match generator.load.pace {
        Pace::Open { .. } => generator.load.connections,
        Pace::Closed { clients } => clients,
    };
    for _ in 0..first {
        generator.connect()?;
    }
    generator.drive()?;
    Ok(generator.measured)
}

impl Generator {
    fn drive(&mut self) -> anyhow::Result<()> {
        let begin = Instant::now();
        let from = begin + self.load.warm;
        let end = from + self.load.lasts;
        self.window = (from, end);
        let mut due = begin;
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let mut at_start: Option<(Usage, Duration, Instant)> = None;
        if let Pace::Closed { clients } = self.load.pace {
            self.waiting.extend(std::iter::repeat_n(begin, clients));
        }
        let nothing = epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        let mut events = vec![nothing; 512];
        loop {
            let now = Instant::now();
            if now >= from && at_start.is_none() {
                at_start = Some((self.usage()?, thread_cpu(), now));
            }
            if now >= end {
                break;
            }
            if let Pace::Open { rate } = self.load.pace {
                while due <= now {
                    self.waiting.push_back(due);
                    due += Duration::from_secs_f64(dice.exponential() / rate);
                }
            }
            self.send_waiting()?;
            let next = match self.load.pace {
                Pace::Open { .. } => due.min(end),
                Pace::Closed { .. } => end,
            };
            let next = if at_start.is_none() { next.min(from) } else { next };
            if let Pace::Closed { .. } = self.load.pace {
                // Woken for each reply, this thread would take the core from the server each time.
                std::thread::sleep(GATHERED_FOR);
            }
            self.take_replies(&mut events, next.saturating_duration_since(Instant::now()))?;
        }
        let (used, own, since) = at_start.context("the measuring never began")?;
        self.measured.lasted = since.elapsed();
        self.measured.used = self.usage()?.since(&used);
        self.measured.own_cpu = thread_cpu().saturating_sub(own);
        // What was meant to be sent and is late is still sent, and its answer waited for: to forget it would make a slow
        // server look quick.
        let patience = Instant::now() + self.load.grace;
        if let Pace::Closed { .. } = self.load.pace {
            self.waiting.clear();
        }
        while self.under_way() > 0 && Instant::now() < patience {
            self.send_waiting()?;
            self.take_replies(&mut events, Duration::from_millis(20))?;
        }
        self.measured.unanswered = (self.under_way() + self.waiting.len()) as u64;
        Ok(())
    }

    fn under_way(&self) -> usize {
        self.connections.iter().flatten().filter(|connection| connection.started.is_some()).count()
    }

    fn usage(&self) -> anyhow::Result<Usage> {
        match self.load.watched {
            Some(pid) => Usage::of(pid),
            None => Ok(Usage::default()),
        }
    }

    fn connect(&mut self) -> anyhow::Result<usize> {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let stream = connect_from(self.load.sources.start + self.next_source, self.load.address)?;
        self.next_source = (self.next_source + 1) % self.load.sources.len().max(1) as u32;
        stream.set_nonblocking(true)?;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(slot as u64), epoll::EventFlags::IN)?;
        if let Some(place) = self.connections.get_mut(slot) {
            *place = Some(Connection { stream, read: Vec::with_capacity(8192), started: None });
        }
        self.open += 1;
        self.free.push_back(slot);
        Ok(slot)
    }

    fn send_waiting(&mut self) -> anyhow::Result<()> {
        while let Some(started) = self.waiting.front().copied() {
            let slot = match self.load.turns {
                Turns::Last => self.free.pop_back(),
                Turns::Round => self.free.pop_front(),
            };
            let Some(slot) = slot else {
                if self.open < self.load.most {
                    self.connect()?;
                    continue;
                }
                return Ok(());
            };
            let request = self.next_request % self.load.requests.len();
            let (Some(Some(connection)), Some(bytes)) =
                (self.connections.get_mut(slot), self.load.requests.get(request))
            else {
                continue;
            };
            match connection.stream.write(bytes) {
                Ok(written) if written == bytes.len() => {
                    connection.started = Some(started);
                    connection.read.clear();
                    self.next_request += 1;
                    self.waiting.pop_front();
                }
                // The server has closed it while it was idle, as it may: the request goes over another.
                Ok(_) | Err(_) => self.drop_connection(slot),
            }
        }
        Ok(())
    }

    fn take_replies(&mut self, events: &mut [epoll::Event], wait: Duration) -> anyhow::Result<()> {
        let timeout = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        let ready = match epoll::wait(&self.epoll, &mut *events, Some(&timeout)) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => 0,
            Err(cause) => bail!("epoll: {cause}"),
        };
        for event in events.iter().take(ready) {
            let slot = event.data.u64() as usize;
            let Some(Some(connection)) = self.connections.get_mut(slot) else { continue };
            let mut chunk = [0_u8; 16 * 1024];
            let read = match connection.stream.read(&mut chunk) {
                Ok(read) if read > 0 => read,
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => continue,
                Ok(_) | Err(_) => {
                    if connection.started.is_some() {
                        self.measured.broken += 1;
                        if let Pace::Closed { .. } = self.load.pace {
                            self.waiting.push_back(Instant::now());
                        }
                    }
                    self.drop_connection(slot);
                    continue;
                }
            };
            connection.read.extend_from_slice(chunk.get(..read).unwrap_or_default());
            let Found::Whole { status, keep } = reply::find(&connection.read) else { continue };
            let Some(started) = connection.started.take() else {
                self.drop_connection(slot);
                continue;
            };
            let now = Instant::now();
            self.note(status, started, now)?;
            match keep {
                true => self.free.push_back(slot),
                false => self.drop_connection(slot),
            }
            if let Pace::Closed { .. } = self.load.pace
                && now < self.window.1
            {
                self.waiting.push_back(now);
            }
        }
        Ok(())
    }

    fn note(&mut self, status: u16, started: Instant, now: Instant) -> anyhow::Result<()> {
        let (from, end) = self.window;
        // The rate is that of answers, whenever their requests began: with few and slow ones it makes a difference.
        if status == 200 && (from..end).contains(&now) {
            self.measured.answered += 1;
        }
        // Latency counts by the intended start: a late answer belongs to it.
        if started < from {
            return Ok(());
        }
        *self.measured.statuses.entry(status).or_default() += 1;
        let took = u64::try_from(now.saturating_duration_since(started).as_nanos()).unwrap_or(LONGEST);
        let latency = match (status, self.measured.others.entry(status)) {
            (200, _) => &mut self.measured.latency,
            (_, Entry::Occupied(known)) => known.into_mut(),
            (_, Entry::Vacant(new)) => new.insert(histogram()?),
        };
        latency.saturating_record(took.max(1));
        Ok(())
    }

    fn drop_connection(&mut self, slot: usize) {
        self.free.retain(|other| *other != slot);
        if let Some(place) = self.connections.get_mut(slot)
            && place.take().is_some()
        {
            self.open -= 1;
            self.vacant.push(slot);
        }
    }
}

/// Random numbers that are the same in each run (xorshift64).
pub struct Dice(pub u64);

impl Dice {
    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll() % end.max(1)
    }

    /// An exponentially distributed number of mean 1: the gaps between arrivals that know nothing of each other.
    pub fn exponential(&mut self) -> f64 {
        let uniform = (self.roll() >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - uniform).ln()
    }
}
