//! Bad days of a backend that is a server: it is killed, paused, lost, reset or slowed, behind a link of its own.

use std::time::Duration;

use super::chaos::{Ordeal, Pace};
use super::dockwarden::Dockwarden;
use super::link::{Link, State};
use super::process::Signal;

/// A backend that can be hurt. All commands return when they have taken effect.
pub(crate) trait Victim: Sync {
    /// `host:port`, the same after each restart.
    fn address(&self) -> String;
    /// Ends it as `kill -9` does.
    fn kill(&self);
    /// Starts it again after that, with what it knew.
    fn restart(&self);
    /// Pauses it ([`Signal::Stop`]) and lets it go on ([`Signal::Continue`]).
    fn signal(&self, signal: Signal);
}

/// What the backend suffers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// It is killed, and its port is closed, until it is started again.
    Killed,
    /// It holds still, with all connections open.
    Paused,
    /// It is unreachable, and afterwards no connection from before, or from meanwhile, is of any use.
    Lost,
    /// Every connection to it is reset.
    Reset,
    /// Every chunk takes longer than anybody waits.
    Slowed,
}

/// A victim behind its link, and what it suffers there.
pub(crate) struct Hurt<'a> {
    victim: &'a dyn Victim,
    link: Link,
    fault: Fault,
}

impl<'a> Hurt<'a> {
    pub(crate) fn new(victim: &'a dyn Victim, fault: Fault) -> Self {
        Hurt { victim, link: Link::to(victim.address()), fault }
    }

    /// Where the server has to look for the victim.
    pub(crate) fn address(&self) -> String {
        self.link.address()
    }
}

impl Ordeal for Hurt<'_> {
    fn name(&self) -> String {
        format!("{:?}", self.fault)
    }

    fn begins(&self, _kind: usize) {
        match self.fault {
            Fault::Killed => {
                self.victim.kill();
                self.link.set(State::Cut);
            }
            Fault::Paused => self.victim.signal(Signal::Stop),
            Fault::Lost => self.link.set(State::Lost),
            Fault::Reset => self.link.set(State::Reset),
            Fault::Slowed => self.link.set(State::Slowed(Duration::from_secs(5))),
        }
    }

    fn ends(&self, _kind: usize) {
        match self.fault {
            Fault::Killed => {
                self.victim.restart();
                self.link.set(State::Passing);
            }
            Fault::Paused => self.victim.signal(Signal::Continue),
            Fault::Lost | Fault::Reset | Fault::Slowed => self.link.set(State::Passing),
        }
    }

    fn drags(&self, pace: Pace) {
        slow_down(&self.link, pace);
    }

    fn held(&self, _server: &Dockwarden) -> usize {
        self.link.open()
    }

    fn swallowed(&self, held: usize) -> usize {
        match self.fault {
            // That such a connection is of no use shows only when a question on it gets no answer.
            Fault::Lost => held,
            Fault::Killed | Fault::Paused | Fault::Reset | Fault::Slowed => 0,
        }
    }
}

/// Makes a link a little slower than it is, or not.
pub(crate) fn slow_down(link: &Link, pace: Pace) {
    link.set(match pace {
        Pace::Usual => State::Passing,
        Pace::Slow => State::Slowed(Duration::from_millis(20)),
    });
}
