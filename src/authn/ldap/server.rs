//! One directory server: whether it is asked, and the connections to it that wait for the next question.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::address::Address;
use super::connection::Connection;
use super::verdict::Failure;
use crate::breaker::Breaker;

/// A connection that was not used for so long is closed.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// How long a server that does not take our own credentials is left alone: directories lock accounts that are tried again
/// and again with a wrong password.
const ESTRANGED: Duration = Duration::from_secs(30);
/// How long after our own credentials were taken several connections may try them at once: where each answer takes long, as many
/// would otherwise wait for each other for longer than a login may.
const INTRODUCED: Duration = Duration::from_secs(5);

/// What a connection is for. A search never runs on a connection that a user's password was checked on, as it would be
/// made in the user's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Searching, in the name of this configuration.
    Searching,
    /// Checking passwords.
    Checking,
}

/// One server.
pub(super) struct Server {
    /// Where it is.
    pub(super) address: Address,
    /// Whether it is asked.
    pub(super) breaker: Breaker,
    /// Held while our own credentials are tried: if they are refused, nobody else tries them.
    pub(super) introduction: tokio::sync::Mutex<Introduction>,
    waiting: Mutex<Waiting>,
    most: usize,
}

/// What came of the last trials of our own credentials.
#[derive(Default)]
pub(super) struct Introduction {
    taken: Option<Instant>,
    unanswered: Option<(Instant, SocketAddr, Failure)>,
}

impl Introduction {
    /// They were taken.
    pub(super) fn was_taken(&mut self) {
        *self = Introduction { taken: Some(crate::clock::now()), unanswered: None };
    }

    /// This address did not answer.
    pub(super) fn was_unanswered(&mut self, at: SocketAddr, failure: &Failure) {
        *self = Introduction { taken: None, unanswered: Some((crate::clock::now(), at, failure.clone())) };
    }

    /// Whether they were taken so short a time ago that they will be again.
    pub(super) fn is_recent(&self) -> bool {
        self.taken.is_some_and(|at| at.elapsed() < INTRODUCED)
    }

    /// How this address failed somebody else after this moment: whoever waited since need not find out again.
    pub(super) fn failure_since(&self, moment: Instant, at: SocketAddr) -> Option<Failure> {
        let same = |(when, failed, _): &&(Instant, SocketAddr, Failure)| *when > moment && *failed == at;
        self.unanswered.as_ref().filter(same).map(|(_, _, failure)| failure.clone())
    }
}

#[derive(Default)]
struct Waiting {
    searching: VecDeque<(Connection, Instant)>,
    checking: VecDeque<(Connection, Instant)>,
    /// Until when it is left alone, as it does not take our own credentials, and what it said to them.
    estranged: Option<(Instant, Failure)>,
    failure: Option<String>,
    /// The addresses that failed, the last one last. No more than the name has.
    passed_over: Vec<SocketAddr>,
}

impl Waiting {
    fn of(&mut self, purpose: Purpose) -> &mut VecDeque<(Connection, Instant)> {
        match purpose {
            Purpose::Searching => &mut self.searching,
            Purpose::Checking => &mut self.checking,
        }
    }
}

impl Server {
    /// A server that nothing is known about yet. At most so many connections of each kind are kept to it.
    pub(super) fn new(address: Address, most: usize) -> Server {
        Server {
            address,
            breaker: Breaker::default(),
            introduction: tokio::sync::Mutex::default(),
            waiting: Mutex::default(),
            most,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, if one waits.
    pub(super) fn take(&self, purpose: Purpose) -> Option<Connection> {
        let (connection, since) = self.waiting().of(purpose).pop_back()?;
        (since.elapsed() < IDLE).then_some(connection)
    }

    /// Keeps a connection whose last question was answered whole.
    pub(super) fn give_back(&self, purpose: Purpose, connection: Connection) {
        let mut waiting = self.waiting();
        let kept = waiting.of(purpose);
        // A trial makes one beside those of the logins.
        if kept.len() < self.most {
            kept.push_back((connection, crate::clock::now()));
        }
    }

    /// Closes every connection that waits.
    pub(super) fn forget(&self) {
        let mut waiting = self.waiting();
        waiting.searching.clear();
        waiting.checking.clear();
    }

    /// Closes those that wait to this address.
    pub(super) fn forget_at(&self, address: SocketAddr) {
        let mut waiting = self.waiting();
        for purpose in [Purpose::Searching, Purpose::Checking] {
            waiting.of(purpose).retain(|(connection, _)| connection.at() != address);
        }
    }

    /// The addresses in the order in which they are to be tried: those that failed come last, the one that failed last at the
    /// end.
    pub(super) fn in_order(&self, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let mut waiting = self.waiting();
        waiting.passed_over.retain(|address| addresses.contains(address));
        addresses.sort_by_key(|address| waiting.passed_over.iter().position(|failed| failed == address));
        addresses
    }

    /// Takes note that this address failed: others are tried first from now on.
    pub(super) fn pass_over(&self, address: SocketAddr) {
        self.forget_at(address);
        let mut waiting = self.waiting();
        waiting.passed_over.retain(|failed| *failed != address);
        waiting.passed_over.push(address);
    }

    /// Closes the connections that nobody has used for a while.
    pub(super) fn close_idle(&self) {
        let mut waiting = self.waiting();
        for purpose in [Purpose::Searching, Purpose::Checking] {
            waiting.of(purpose).retain(|(_, since)| since.elapsed() < IDLE);
        }
    }

    /// Takes note of why it failed, for messages.
    pub(super) fn failed_by(&self, failure: &Failure) {
        self.waiting().failure = Some(failure.to_string());
    }

    /// Takes note that it does not take our own credentials.
    pub(super) fn refused_us(&self, failure: &Failure) {
        self.waiting().estranged = Some((crate::clock::now() + ESTRANGED, failure.clone()));
    }

    /// Why it failed last, for messages.
    pub(super) fn last_failure(&self) -> String {
        let failure = self.waiting().failure.clone();
        format!("{}: {}", self.address, failure.as_deref().unwrap_or("it does not answer"))
    }

    /// What it said to our own credentials, while it is to be left alone for that.
    pub(super) fn estranged(&self) -> Option<Failure> {
        let waiting = self.waiting();
        waiting.estranged.as_ref().filter(|(until, _)| crate::clock::now() < *until).map(|(_, failure)| failure.clone())
    }
}
