//! Bad days of a backend, under a constant load of logins: it is killed, paused, reset or slowed, ten times over, and
//! what clients were told meanwhile is counted.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::dockwarden::{Dockwarden, SERVICE, hash, password};
use super::http::{self, Reply};
use super::link::{Link, State};
use super::number;
use super::process::{Signal, until, until_within};
use super::visit;

/// How often each backend suffers each fault, unless `DOCKWARDEN_CYCLES` says otherwise.
const CYCLES: usize = 10;
/// Questions a second, of each client.
const RATE: u32 = 40;
/// Good answers to the backend's own user between two faults.
const GOOD_BETWEEN: usize = 10;
/// The longest time that an answer may take, beyond what the machine itself delays: the static user, who waits for
/// nobody, tells that.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);
/// The longest time that a static user may wait. Less than any backend's deadline, and far more than it takes: the
/// machine may be busy.
const STATIC_WITHIN: Duration = Duration::from_secs(1);
/// The longest time from the backend's return to the first good answer.
const RECOVERY_WITHIN: Duration = Duration::from_secs(2);

/// How often something is suffered in one test.
pub(crate) fn cycles() -> usize {
    number("DOCKWARDEN_CYCLES", CYCLES)
}

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

/// A backend with what is known of it.
pub(crate) struct Row<'a> {
    pub(crate) victim: &'a dyn Victim,
    /// Writes the config file of a server that finds the victim at this address. It has to hold [`users`] and
    /// [`RULE`].
    pub(crate) config: &'a (dyn Fn(&str) -> PathBuf + Sync),
    /// An account of the backend, with its password. `nobody` must be unknown everywhere.
    pub(crate) account: &'a str,
    pub(crate) password: &'a str,
    /// What that account is granted in full.
    pub(crate) scope: &'a str,
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

/// The static user: a `users` section.
pub(crate) fn users() -> String {
    format!("users:\n  local: {{password: \"{}\"}}\n", hash(&password("local")))
}

/// The static user's rule, as an item of the `acl` section.
pub(crate) const RULE: &str = "  - {match: {account: local, name: \"local/*\"}, actions: [\"*\"]}\n";
const STATIC_SCOPE: &str = "repository:local/app:pull,push";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Right,
    WrongPassword,
    Unknown,
    Static,
}

/// What clients saw.
#[derive(Default)]
struct Seen {
    /// Counted up when a fault begins, to an odd number, and when the backend is well again.
    changes: AtomicUsize,
    good: AtomicUsize,
    unavailable: AtomicUsize,
    /// The same from questions that were asked and answered while the backend was well.
    unavailable_when_well: AtomicUsize,
    static_good: AtomicUsize,
    /// The answers that must not be, in words.
    wrong: Mutex<Vec<String>>,
    times: Mutex<Vec<Duration>>,
    static_times: Mutex<Vec<Duration>>,
}

impl Row<'_> {
    fn ask(&self, server: &Dockwarden, client: Client) -> Reply {
        let local = password("local");
        let (account, password, scope) = match client {
            Client::Right => (self.account, self.password, self.scope),
            Client::WrongPassword => (self.account, "wrong", self.scope),
            Client::Unknown => ("nobody", self.password, self.scope),
            Client::Static => ("local", local.as_str(), STATIC_SCOPE),
        };
        let target = format!("/auth?service={}&scope={}", http::form_encode(SERVICE), http::form_encode(scope));
        let authorization = visit::basic(account, password);
        let request = http::request("GET", &target, &server.host(), &[("Authorization", &authorization)], b"");
        http::exchange(&server.address, &request)
    }

    /// Whether the backend's own user gets what is right.
    fn is_well(&self, server: &Dockwarden) -> bool {
        let reply = self.ask(server, Client::Right);
        reply.status == 200 && granted(&reply) == self.scope
    }

    /// Asks once, and looks at the answer.
    fn look(&self, server: &Dockwarden, client: Client, seen: &Seen) {
        let (began, at_first) = (Instant::now(), seen.changes.load(Ordering::SeqCst));
        let reply = self.ask(server, client);
        let was_well = at_first % 2 == 0 && seen.changes.load(Ordering::SeqCst) == at_first;
        let times = if client == Client::Static { &seen.static_times } else { &seen.times };
        times.lock().unwrap().push(began.elapsed());
        let count = |counter: &AtomicUsize| {
            counter.fetch_add(1, Ordering::SeqCst);
        };
        match (client, reply.status) {
            (Client::Right, 200) if granted(&reply) == self.scope => count(&seen.good),
            (Client::Static, 200) if granted(&reply) == STATIC_SCOPE => count(&seen.static_good),
            (Client::Right | Client::WrongPassword | Client::Unknown, 503) if !was_well => count(&seen.unavailable),
            (Client::Right | Client::WrongPassword | Client::Unknown, 503) => count(&seen.unavailable_when_well),
            (Client::WrongPassword | Client::Unknown, 401) => {}
            (_, status) => {
                let what = format!("{client:?} was told {status}: {}", reply.text());
                seen.wrong.lock().unwrap().push(what);
            }
        }
    }

    fn hurt(&self, link: &Link, fault: Fault) {
        match fault {
            Fault::Killed => {
                self.victim.kill();
                link.set(State::Cut);
            }
            Fault::Paused => self.victim.signal(Signal::Stop),
            Fault::Lost => link.set(State::Lost),
            Fault::Reset => link.set(State::Reset),
            Fault::Slowed => link.set(State::Slowed(Duration::from_secs(5))),
        }
    }

    fn heal(&self, link: &Link, fault: Fault) {
        match fault {
            Fault::Killed => {
                self.victim.restart();
                link.set(State::Passing);
            }
            Fault::Paused => self.victim.signal(Signal::Continue),
            Fault::Lost | Fault::Reset | Fault::Slowed => link.set(State::Passing),
        }
    }

    /// Ten cycles of one fault.
    ///
    /// # Panics
    /// If anybody was told what is wrong, or too late, or of an outage that is over; or if something is left behind.
    pub(crate) fn suffers(&self, fault: Fault) {
        let link = Link::to(self.victim.address());
        let server = Dockwarden::start_file(&(self.config)(&link.address()));
        until("a backend that is well", || self.is_well(&server).then_some(()));
        let (seen, over) = (Seen::default(), AtomicBool::new(false));
        let good = |more: usize| {
            let enough = seen.good.load(Ordering::SeqCst) + more;
            until("good answers", || (seen.good.load(Ordering::SeqCst) >= enough).then_some(()));
        };
        let cycles = cycles();
        let mut recoveries = Vec::new();
        let (before, after) = thread::scope(|scope| {
            // Whatever goes wrong below must not leave the clients asking for ever.
            let over = Over(&over);
            for client in [Client::Right, Client::Right, Client::WrongPassword, Client::Unknown, Client::Static] {
                let (seen, over, server) = (&seen, over.0, &server);
                scope.spawn(move || at_a_constant_rate(over, || self.look(server, client, seen)));
            }
            good(GOOD_BETWEEN);
            // A little slower, so that all clients wait at the same time: the connections that they then need are what may
            // be there at the end.
            link.set(State::Slowed(Duration::from_millis(20)));
            for _ in 0..GOOD_BETWEEN {
                assert!(self.is_well(&server), "a backend that is a little slow is well");
            }
            link.set(State::Passing);
            good(GOOD_BETWEEN);
            let before = held(&server, &link);
            for _ in 0..cycles {
                seen.changes.fetch_add(1, Ordering::SeqCst);
                self.hurt(&link, fault);
                until("an outage to be told", || (self.ask(&server, Client::Right).status == 503).then_some(()));
                self.heal(&link, fault);
                let back = Instant::now();
                let well = || self.is_well(&server).then(|| back.elapsed());
                recoveries.push(until_within(Duration::from_secs(20), "a recovery", well));
                // From here on nobody is told of the outage any more.
                seen.changes.fetch_add(1, Ordering::SeqCst);
                good(GOOD_BETWEEN);
            }
            (before, settled(&server, &link, before))
        });
        println!("{fault:?}: connections to the backend and descriptors: {before:?} before, {after:?} after");
        assert!(
            after.0 <= before.0 && after.1 <= before.1,
            "{fault:?}: something is left behind: {before:?}, {after:?}"
        );
        assert!(server.process.ended().is_none(), "{}", server.process.tail());
        let swallowed = match fault {
            // That such a connection is of no use shows only when a question on it gets no answer.
            Fault::Lost => cycles * before.0,
            Fault::Killed | Fault::Paused | Fault::Reset | Fault::Slowed => 0,
        };
        seen.judge(fault, &recoveries, swallowed);
    }
}

/// Ends the load when it goes out of scope, also if what goes on meanwhile panics.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The clock of the load: clients that ask without a pause would only show how busy the machine is.
pub(crate) fn at_a_constant_rate(over: &AtomicBool, mut ask: impl FnMut()) {
    let mut next = Instant::now();
    while !over.load(Ordering::SeqCst) {
        ask();
        next = (next + Duration::from_secs(1) / RATE).max(Instant::now());
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// Connections to the backend, and descriptors of our process.
type Held = (usize, usize);

fn held(server: &Dockwarden, link: &Link) -> Held {
    (link.open(), server.process.descriptors())
}

/// Waits until no more is held than before.
fn settled(server: &Dockwarden, link: &Link, before: Held) -> Held {
    let mut now = held(server, link);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) && (now.0 > before.0 || now.1 > before.1) {
        thread::sleep(Duration::from_millis(50));
        now = held(server, link);
    }
    now
}

/// What is granted, in the form of a scope.
fn granted(reply: &Reply) -> String {
    let claims = visit::claims(reply.json()["token"].as_str().unwrap());
    let one = &claims["access"][0];
    let actions: Vec<&str> = one["actions"].as_array().unwrap().iter().map(|action| action.as_str().unwrap()).collect();
    format!("{}:{}:{}", one["type"].as_str().unwrap(), one["name"].as_str().unwrap(), actions.join(","))
}

impl Seen {
    /// Looks at all of it. So many questions may be told of an outage that is over.
    fn judge(self, fault: Fault, recoveries: &[Duration], swallowed: usize) {
        let sorted = |times: Mutex<Vec<Duration>>| {
            let mut times = times.into_inner().unwrap();
            times.sort_unstable();
            times
        };
        let (times, static_times) = (sorted(self.times), sorted(self.static_times));
        let (good, unavailable) = (self.good.into_inner(), self.unavailable.into_inner());
        let late = self.unavailable_when_well.into_inner();
        let share = |times: &[Duration], percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
        println!(
            "{fault:?}: {} answers ({good} good, {unavailable} unavailable, {late} when well), median {:?}, 99 % {:?}, longest {:?}; \
             static user: {} answers, 99 % {:?}, longest {:?}; recoveries {recoveries:?}",
            times.len(),
            share(&times, 50),
            share(&times, 99),
            share(&times, 100),
            static_times.len(),
            share(&static_times, 99),
            share(&static_times, 100),
        );
        let wrong = self.wrong.into_inner().unwrap();
        assert!(wrong.is_empty(), "{fault:?}: {} wrong answers: {wrong:#?}", wrong.len());
        assert!(late <= swallowed, "{fault:?}: {late} questions found no backend after it was well");
        assert!(good > 0 && unavailable > 0, "{fault:?}: {good} good, {unavailable} unavailable");
        assert_eq!(self.static_good.into_inner(), static_times.len(), "{fault:?}");
        let (longest, machine) = (share(&times, 100), share(&static_times, 100));
        assert!(longest <= ANSWER_WITHIN + machine, "{fault:?}: {longest:?}, and {machine:?} of a static user");
        assert!(machine <= STATIC_WITHIN, "{fault:?}: a static user waited for {machine:?}");
        let slow: Vec<_> = recoveries.iter().filter(|time| **time > RECOVERY_WITHIN).collect();
        assert!(slow.is_empty(), "{fault:?}: {slow:?}");
    }
}
