//! Bad days of a backend, under a constant load of logins: something happens to it, again and again, and what clients were
//! told meanwhile is counted. What can happen is in `victim.rs`, `impostor.rs` and `script.rs`.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::dockwarden::{Dockwarden, SERVICE, hash, password};
use super::http::{self, Reply};
use super::process::{until, until_within};
use super::visit;
use super::{machine, number};

/// How often each backend suffers each fault, unless `DOCKWARDEN_CYCLES` says otherwise: `make long` says 10.
const CYCLES: usize = 3;
/// Questions a second, of each client.
const RATE: u32 = 40;
/// Good answers to the backend's own user between two faults.
const GOOD_BETWEEN: usize = 10;
/// How long clients go on asking after they were told of an outage.
const ASKED_IN_VAIN: Duration = Duration::from_millis(100);
/// The longest time that an answer may take, beyond what the machine itself delays: the static user, who waits for
/// nobody, tells that.
const ANSWER_WITHIN: Duration = Duration::from_millis(1500);
/// The longest time that a static user may wait. Less than any backend's deadline, and far more than it takes: the
/// machine may be busy.
const STATIC_WITHIN: Duration = Duration::from_secs(1);
/// A delay of the machine's own that a backend's deadline may not survive.
const LONG_DELAY: Duration = Duration::from_millis(300);
/// What may come to that, to tell somebody that a backend is known not to answer.
const SHUT_WITHIN: Duration = Duration::from_millis(20);
/// Answers of which the slowest in a hundred says something: those of a long run.
const ENOUGH: usize = 500;
/// What an outage of others may add to a static user's wait.
const ADDED_WITHIN: Duration = Duration::from_millis(10);
/// The longest time from the backend's return to the first good answer.
const RECOVERY_WITHIN: Duration = Duration::from_secs(2);

/// How often something is suffered in one test.
pub(crate) fn cycles() -> usize {
    number("DOCKWARDEN_CYCLES", CYCLES)
}

/// Bad things that happen to a backend, in turn. Each has happened when its method returns.
pub(crate) trait Ordeal: Sync {
    /// What they are, for messages.
    fn name(&self) -> String;
    /// How many different ones there are.
    fn kinds(&self) -> usize {
        1
    }
    /// How often each of them is suffered, unless `DOCKWARDEN_CYCLES` says otherwise.
    fn rounds(&self) -> usize {
        CYCLES
    }
    /// From here on the backend is of no use.
    fn begins(&self, kind: usize);
    /// The backend is well again.
    fn ends(&self, kind: usize);
    /// The backend becomes a little slower, so that all clients wait for it at the same time, or stops being so.
    fn drags(&self, pace: Pace);
    /// What the server holds of it now: connections, or processes.
    fn held(&self, server: &Dockwarden) -> usize;
    /// The most that may be held a while after the last question.
    fn held_at_rest(&self) -> usize {
        usize::MAX
    }
    /// How many questions may still be told of an outage that is over, with so much held before it.
    fn swallowed(&self, _held: usize) -> usize {
        0
    }
    /// Whether clients are told of an outage at once, after the first has waited for the backend.
    fn breaker(&self) -> Breaker {
        Breaker::Opens
    }
}

/// How fast a backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    Usual,
    Slow,
}

/// What stands before a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaker {
    Opens,
    /// Each question waits for the backend by itself.
    None,
}

/// Who asks.
pub(crate) struct Row<'a> {
    /// The server's config file. It has to hold [`users`] and [`RULE`].
    pub(crate) config: PathBuf,
    /// An account of the backend, with its password. `nobody` must be unknown everywhere.
    pub(crate) account: &'a str,
    pub(crate) password: &'a str,
    /// What that account is granted in full.
    pub(crate) scope: &'a str,
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
    /// The same from when it is known that the backend does not answer.
    shut: AtomicUsize,
    good: AtomicUsize,
    unavailable: AtomicUsize,
    /// The same from questions that were asked and answered while the backend was well.
    unavailable_when_well: AtomicUsize,
    static_good: AtomicUsize,
    /// The answers that must not be, in words.
    wrong: Mutex<Vec<String>>,
    times: Mutex<Vec<Duration>>,
    /// Of them, the times of those who were told what was known already.
    shut_times: Mutex<Vec<Duration>>,
    /// The static user's, while the backend was well, and while it was not.
    static_times: [Mutex<Vec<Duration>>; 2],
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
        let (changes, shut) = (seen.changes.load(Ordering::SeqCst), seen.shut.load(Ordering::SeqCst));
        let began = Instant::now();
        let reply = self.ask(server, client);
        let ended = Instant::now();
        let delay = machine::delay_between(began, ended);
        let took = (ended - began).saturating_sub(delay);
        // Where the machine itself stood still, so may the backend have.
        let ran = delay < LONG_DELAY;
        let was_well = changes.is_multiple_of(2) && seen.changes.load(Ordering::SeqCst) == changes && ran;
        let was_shut = !shut.is_multiple_of(2) && seen.shut.load(Ordering::SeqCst) == shut;
        let [well, hurt] = &seen.static_times;
        let times = match client {
            Client::Static if was_well => well,
            Client::Static => hurt,
            Client::Right | Client::WrongPassword | Client::Unknown => &seen.times,
        };
        times.lock().unwrap().push(took);
        if was_shut && client != Client::Static {
            seen.shut_times.lock().unwrap().push(took);
        }
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
                let what = format!("{client:?} was told {status} after {changes} changes: {}", reply.text());
                seen.wrong.lock().unwrap().push(what);
            }
        }
    }

    /// Goes through the ordeal, round after round.
    ///
    /// # Panics
    /// If anybody was told what is wrong, or too late, or of an outage that is over; or if something is left behind.
    pub(crate) fn suffers(&self, ordeal: &dyn Ordeal) {
        let name = ordeal.name();
        let server = Dockwarden::start_file(&self.config);
        until("a backend that is well", || self.is_well(&server).then_some(()));
        let (seen, over) = (Seen::default(), AtomicBool::new(false));
        let good = |more: usize| {
            let enough = seen.good.load(Ordering::SeqCst) + more;
            until("good answers", || (seen.good.load(Ordering::SeqCst) >= enough).then_some(()));
        };
        let cycles = ordeal.kinds() * number("DOCKWARDEN_CYCLES", ordeal.rounds());
        let mut recoveries = Vec::new();
        let (before, after) = thread::scope(|scope| {
            // Whatever goes wrong below must not leave the clients asking for ever.
            let over = Over(&over);
            for client in [Client::Right, Client::Right, Client::WrongPassword, Client::Unknown, Client::Static] {
                let (seen, over, server) = (&seen, over.0, &server);
                scope.spawn(move || at_a_constant_rate(over, || self.look(server, client, seen)));
            }
            good(GOOD_BETWEEN);
            // What clients that all wait at the same time need is what may be there at the end.
            ordeal.drags(Pace::Slow);
            for _ in 0..GOOD_BETWEEN {
                assert!(self.is_well(&server), "a backend that is a little slow is well");
            }
            ordeal.drags(Pace::Usual);
            let looks = [(); GOOD_BETWEEN].map(|()| {
                good(1);
                held(&server, ordeal)
            });
            let before = looks.iter().fold((0, 0), |most, look| (look.0.max(most.0), look.1.max(most.1)));
            for kind in (0..ordeal.kinds()).cycle().take(cycles) {
                seen.changes.fetch_add(1, Ordering::SeqCst);
                ordeal.begins(kind);
                let told = || (self.ask(&server, Client::Right).status == 503).then_some(());
                until("an outage to be told", told);
                // Who is told a second time is not told by the rules' own connection to the backend.
                until("an outage to be told again", told);
                seen.shut.fetch_add(1, Ordering::SeqCst);
                thread::sleep(ASKED_IN_VAIN);
                seen.shut.fetch_add(1, Ordering::SeqCst);
                ordeal.ends(kind);
                let back = Instant::now();
                let well = || self.is_well(&server).then(|| machine::elapsed(back));
                recoveries.push(until_within(Duration::from_secs(20), "a recovery", well));
                // From here on nobody is told of the outage any more.
                seen.changes.fetch_add(1, Ordering::SeqCst);
                good(GOOD_BETWEEN);
            }
            (before, settled(&server, ordeal, before))
        });
        println!("{name}: held of the backend and descriptors: {before:?} before, {after:?} after");
        assert!(after.0 <= before.0 && after.1 <= before.1, "{name}: something is left behind: {before:?}, {after:?}");
        let at_rest = || (ordeal.held(&server) <= ordeal.held_at_rest()).then_some(());
        until_within(RECOVERY_WITHIN, "nothing to be left of the backend when nobody asks", at_rest);
        assert!(server.process.ended().is_none(), "{}", server.process.tail());
        seen.judge(&name, &recoveries, cycles * ordeal.swallowed(before.0), ordeal.breaker());
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

/// What is held of the backend, and the descriptors of our process.
type Held = (usize, usize);

fn held(server: &Dockwarden, ordeal: &dyn Ordeal) -> Held {
    (ordeal.held(server), server.process.descriptors())
}

/// Waits until no more is held than before.
fn settled(server: &Dockwarden, ordeal: &dyn Ordeal, before: Held) -> Held {
    let mut now = held(server, ordeal);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) && (now.0 > before.0 || now.1 > before.1) {
        thread::sleep(Duration::from_millis(50));
        now = held(server, ordeal);
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

/// Times, the shortest first.
struct Times(Vec<Duration>);

impl Times {
    fn of(times: impl IntoIterator<Item = Mutex<Vec<Duration>>>) -> Times {
        let mut all: Vec<_> = times.into_iter().flat_map(|times| times.into_inner().unwrap()).collect();
        all.sort_unstable();
        Times(all)
    }

    /// The time within which so many of a hundred were answered; nothing took no time.
    fn share(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((self.0.len() * percent / 100).min(last)).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [median, most, longest] = [50, 99, 100].map(|percent| self.share(percent));
        write!(out, "{} answers, median {median:?}, 99 % {most:?}, longest {longest:?}", self.0.len())
    }
}

impl Seen {
    /// Looks at all of it. So many questions may be told of an outage that is over.
    fn judge(self, name: &str, recoveries: &[Duration], swallowed: usize, breaker: Breaker) {
        let (times, shut) = (Times::of([self.times]), Times::of([self.shut_times]));
        let [well, hurt] = self.static_times.map(|times| Times::of([times]));
        let (good, unavailable) = (self.good.into_inner(), self.unavailable.into_inner());
        let late = self.unavailable_when_well.into_inner();
        println!(
            "{name}: {times} ({good} good, {unavailable} unavailable, {late} when well)\n  told what is known: {shut}\n  \
             static user when all is well: {well}\n  static user in an outage: {hurt}\n  recoveries {recoveries:?}"
        );
        let wrong = self.wrong.into_inner().unwrap();
        assert!(wrong.is_empty(), "{name}: {} wrong answers: {wrong:#?}", wrong.len());
        assert!(late <= swallowed, "{name}: {late} questions found no backend after it was well");
        assert!(good > 0 && unavailable > 0, "{name}: {good} good, {unavailable} unavailable");
        assert_eq!(self.static_good.into_inner(), well.0.len() + hurt.0.len(), "{name}");
        let (longest, machine) = (times.share(100), well.share(100).max(hurt.share(100)));
        assert!(longest <= ANSWER_WITHIN + machine, "{name}: {longest:?}, and {machine:?} of a static user");
        assert!(machine <= STATIC_WITHIN, "{name}: a static user waited for {machine:?}");
        let (median, usual) = (hurt.share(50), well.share(90));
        assert!(median <= ADDED_WITHIN + usual, "{name}: a static user usually waits {median:?} in an outage");
        match breaker {
            Breaker::Opens => {
                // One in a hundred is one moment of the machine's until there are some hundreds.
                let (most, usual) = match shut.0.len() {
                    0..ENOUGH => (shut.share(90), well.share(90).max(hurt.share(90))),
                    ENOUGH.. => (shut.share(99), machine),
                };
                assert!(!shut.0.is_empty(), "{name}: nobody asked while the outage was known");
                assert!(most <= SHUT_WITHIN + usual, "{name}: {most:?} for what is known, a static user {usual:?}");
            }
            Breaker::None => {}
        }
        let slow: Vec<_> = recoveries.iter().filter(|time| **time > RECOVERY_WITHIN).collect();
        assert!(slow.is_empty(), "{name}: {slow:?}");
    }
}
