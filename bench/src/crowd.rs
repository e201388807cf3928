//! A crowd of slow connections: each does as little as it can to seem alive, and is opened anew when the server closes it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::event::epoll;
use rustix::time::Timespec;

use crate::load;

/// The addresses that they come from, so that none has more connections than one may: 500 of 127.0.0.0/8.
const SOURCES: Range<u32> = 256..756;
/// How often each of them sends a little more. Often enough that the server sees something in each of its deadlines.
const EVERY: Duration = Duration::from_secs(4);
/// How many are opened at once, between two looks at the others.
const AT_ONCE: usize = 20;
/// How long one look at the others takes at most.
const LOOK: Duration = Duration::from_millis(20);
/// How long they are given to be closed in the end.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a connection is slow with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// One line of a header after the other.
    Header,
    /// One byte of a form after the other.
    Body,
    /// Half of what begins a TLS connection, and nothing more.
    Handshake,
}

/// All of them, in the order in which they take turns.
const ALL: [Slow; 3] = [Slow::Header, Slow::Body, Slow::Handshake];

impl Slow {
    fn first(self) -> &'static [u8] {
        match self {
            Slow::Header => b"GET /auth HTTP/1.1\r\nHost: localhost\r\n",
            Slow::Body => {
                b"POST /auth HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                  Content-Length: 60000\r\n\r\nservice="
            }
            // RFC 8446, section 5.1: a record of 512 bytes, of which the first five come.
            Slow::Handshake => &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3],
        }
    }

    fn more(self) -> &'static [u8] {
        match self {
            Slow::Header => b"X: x\r\n",
            Slow::Body => b"x",
            Slow::Handshake => b"",
        }
    }
}

/// What whoever measures and the crowd tell each other.
#[derive(Default)]
pub struct Signals {
    /// How many connections are open.
    pub open: AtomicUsize,
    /// No more are opened.
    pub enough: AtomicBool,
    /// Those that are open are left at once.
    pub leave: AtomicBool,
}

/// For how long the server left them open.
#[derive(Default)]
pub struct Longest([Duration; ALL.len()]);

impl Longest {
    /// The longest time of those that were slow with this.
    pub fn of(&self, slow: Slow) -> Duration {
        let place = ALL.iter().position(|other| *other == slow);
        place.and_then(|place| self.0.get(place)).copied().unwrap_or_default()
    }

    fn note(&mut self, kind: usize, lasted: Duration) {
        if let Some(longest) = self.0.get_mut(kind) {
            *longest = lasted.max(*longest);
        }
    }
}

struct Connection {
    stream: TcpStream,
    opened: Instant,
}

struct Crowd {
    plain: SocketAddr,
    tls: SocketAddr,
    epoll: rustix::fd::OwnedFd,
    slots: Vec<Option<Connection>>,
    vacant: Vec<usize>,
    /// Who sends next, and when. All wait equally long, so that it is in order; who was closed meanwhile is told by the time.
    due: VecDeque<(Instant, usize, Instant)>,
    longest: Longest,
    next_source: u32,
}

/// Keeps `wanted` connections open, of each kind as many, until there is enough; then waits until the server has closed
/// all of them. Those with TLS go to `tls`.
pub fn keep(plain: SocketAddr, tls: SocketAddr, wanted: usize, signals: &Signals) -> anyhow::Result<Longest> {
    let mut crowd = Crowd {
        plain,
        tls,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?,
        slots: (0..wanted).map(|_| None).collect(),
        vacant: (0..wanted).rev().collect(),
        due: VecDeque::new(),
        longest: Longest::default(),
        next_source: 0,
    };
    let mut since_enough = None;
    while !signals.leave.load(Ordering::Relaxed) {
        match signals.enough.load(Ordering::Relaxed) {
            false => crowd.open()?,
            true => {
                let began = *since_enough.get_or_insert_with(Instant::now);
                if crowd.vacant.len() == wanted {
                    break;
                }
                if began.elapsed() > PATIENCE {
                    bail!("{} slow connections were never closed", wanted - crowd.vacant.len());
                }
            }
        }
        crowd.send_more();
        crowd.look()?;
        signals.open.store(wanted - crowd.vacant.len(), Ordering::Relaxed);
    }
    Ok(crowd.longest)
}

impl Crowd {
    fn open(&mut self) -> anyhow::Result<()> {
        for _ in 0..AT_ONCE {
            let Some(slot) = self.vacant.pop() else { return Ok(()) };
            let kind = kind(slot);
            let to = match kind {
                Slow::Header | Slow::Body => self.plain,
                Slow::Handshake => self.tls,
            };
            let opened = Instant::now();
            let mut stream = load::connect_from(SOURCES.start + self.next_source, to)?;
            self.next_source = (self.next_source + 1) % SOURCES.len() as u32;
            stream.write_all(kind.first())?;
            stream.set_nonblocking(true)?;
            epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(slot as u64), epoll::EventFlags::IN)?;
            if let Some(place) = self.slots.get_mut(slot) {
                *place = Some(Connection { stream, opened });
            }
            if !kind.more().is_empty() {
                self.due.push_back((opened + EVERY, slot, opened));
            }
        }
        Ok(())
    }

    fn send_more(&mut self) {
        let now = Instant::now();
        while let Some((_, slot, opened)) = self.due.pop_front_if(|(due, _, _)| *due <= now) {
            let Some(Some(connection)) = self.slots.get_mut(slot) else { continue };
            if connection.opened != opened {
                continue;
            }
            // That it is closed is found by reading.
            connection.stream.write_all(kind(slot).more()).ok();
            self.due.push_back((now + EVERY, slot, opened));
        }
    }

    /// Looks for those that the server has closed.
    fn look(&mut self) -> anyhow::Result<()> {
        let nothing = epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
        let mut events = [nothing; 256];
        let timeout = Timespec { tv_sec: 0, tv_nsec: LOOK.subsec_nanos().into() };
        let ready = match epoll::wait(&self.epoll, &mut events[..], Some(&timeout)) {
            Ok(ready) => ready,
            Err(rustix::io::Errno::INTR) => 0,
            Err(cause) => bail!("epoll: {cause}"),
        };
        for event in events.iter().take(ready) {
            let slot = event.data.u64() as usize;
            let Some(Some(connection)) = self.slots.get_mut(slot) else { continue };
            let mut chunk = [0; 1024];
            match connection.stream.read(&mut chunk) {
                // What is answered before the end, as a form is that takes too long, does not matter here.
                Ok(read) if read > 0 => continue,
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => continue,
                Ok(_) | Err(_) => {}
            }
            let lasted = connection.opened.elapsed();
            self.longest.note(slot % ALL.len(), lasted);
            if let Some(place) = self.slots.get_mut(slot) {
                *place = None;
            }
            self.vacant.push(slot);
        }
        Ok(())
    }
}

fn kind(slot: usize) -> Slow {
    ALL.get(slot % ALL.len()).copied().unwrap_or(Slow::Header)
}
