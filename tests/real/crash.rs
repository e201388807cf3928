//! The server's own bad days, under a constant load: it is killed and started again, or holds still for a while. What is
//! answered then has to be as right as ever, and nothing that was answered before makes a difference.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::chaos::{Over, at_a_constant_rate, cycles};
use crate::support::dockwarden::{self, Dockwarden, SERVICE, password};
use crate::support::http::{self, Connection, Reply};
use crate::support::keys::{self, Kind};
use crate::support::machine;
use crate::support::port;
use crate::support::process::{Signal, until};
use crate::support::{scratch, visit};

/// Answers to every client between two bad moments.
const BETWEEN: usize = 10;
/// From the start of the process to its first token.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// Who may pull and push, and who may only pull.
const POLICY: &str = "acl:\n  - {match: {account: waldi, name: \"waldi/*\"}, actions: [\"*\"]}\n  \
                      - {match: {account: robot}, actions: [pull]}\n";

/// Who asks, with which password, and what comes of it.
struct Client {
    account: &'static str,
    password: String,
    /// The actions on `waldi/app` that are granted; nothing where the login is refused.
    granted: Option<&'static [&'static str]>,
    answered: AtomicUsize,
    waits: AtomicBool,
}

/// What clients met that must not be, in words, and how often nobody was there.
#[derive(Default)]
struct Seen {
    /// Odd from before the server is killed until it is back.
    changes: AtomicUsize,
    unanswered: AtomicUsize,
    wrong: Mutex<Vec<String>>,
    over: AtomicBool,
}

fn clients() -> Vec<Client> {
    let client = |account: &'static str, password: String, granted: Option<&'static [&'static str]>| Client {
        account,
        password,
        granted,
        answered: AtomicUsize::new(0),
        waits: AtomicBool::new(false),
    };
    vec![
        client("waldi", password("waldi"), Some(&["pull", "push"])),
        client("robot", password("robot"), Some(&["pull"])),
        client("waldi", "wrong".to_owned(), None),
        client("nobody", password("waldi"), None),
    ]
}

impl Client {
    fn ask(&self, address: &str) -> io::Result<Reply> {
        let target = format!("/auth?service={}&scope=repository:waldi/app:pull,push", http::form_encode(SERVICE));
        let authorization = visit::basic(self.account, &self.password);
        Connection::open(address)?.send(&http::request(
            "GET",
            &target,
            address,
            &[("Authorization", &authorization)],
            b"",
        ))
    }

    /// Whether this is what this client has to be told.
    fn is_right(&self, reply: &Reply) -> bool {
        let Some(granted) = self.granted else { return reply.status == 401 };
        reply.status == 200
            && reply.json()["token"]
                .as_str()
                .is_some_and(|token| visit::claims(token)["access"][0]["actions"] == serde_json::json!(granted))
    }

    /// Asks at a constant rate until all is over.
    fn go_on(&self, address: &str, seen: &Seen) {
        at_a_constant_rate(&seen.over, || {
            let at_first = seen.changes.load(Ordering::SeqCst);
            self.waits.store(true, Ordering::SeqCst);
            let answer = self.ask(address);
            self.waits.store(false, Ordering::SeqCst);
            let was_well = at_first.is_multiple_of(2) && seen.changes.load(Ordering::SeqCst) == at_first;
            let what = match answer {
                Ok(reply) if self.is_right(&reply) => {
                    self.answered.fetch_add(1, Ordering::SeqCst);
                    None
                }
                Ok(reply) => Some(format!("{} was told {}: {}", self.account, reply.status, reply.text())),
                Err(_) if !was_well => {
                    seen.unanswered.fetch_add(1, Ordering::SeqCst);
                    None
                }
                Err(error) => Some(format!("{} was told nothing: {error}", self.account)),
            };
            seen.wrong.lock().unwrap().extend(what);
        });
    }
}

/// Runs `deeds` under load: after each cycle all clients have been answered again, and at the end none was told what is
/// wrong.
fn under_load(address: &str, deed: impl Fn(&Seen, &[Client])) -> Seen {
    let (seen, clients) = (Seen::default(), clients());
    thread::scope(|scope| {
        let over = Over(&seen.over);
        for client in &clients {
            let seen = &seen;
            scope.spawn(move || client.go_on(address, seen));
        }
        for _ in 0..cycles() {
            let counts: Vec<usize> = clients.iter().map(|client| client.answered.load(Ordering::SeqCst)).collect();
            until("answers to everybody", || {
                let more = |(client, before): (&Client, &usize)| client.answered.load(Ordering::SeqCst) - before;
                clients.iter().zip(&counts).all(|pair| more(pair) >= BETWEEN).then_some(())
            });
            deed(&seen, &clients);
        }
        drop(over);
    });
    let wrong = seen.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "{} wrong answers: {:#?}", wrong.len(), &wrong[..wrong.len().min(5)]);
    drop(wrong);
    seen
}

/// A config of the two accounts, on this address.
fn file(address: &str) -> std::path::PathBuf {
    let users = dockwarden::users(&[("waldi", "{}"), ("robot", "{}")]);
    let text = dockwarden::config(&keys::as_in_the_guide(Kind::P256), "", &format!("{users}{POLICY}"));
    scratch::write(&scratch::directory("crash"), "auth_config.yml", &text.replace("127.0.0.1:0", address))
}

#[test]
fn killed_and_started_again_it_answers_as_before() {
    // Nobody else takes it while the server is away.
    let address = port::hold().local_addr().unwrap().to_string();
    let file = file(&address);
    let server = Mutex::new(Dockwarden::start_file(&file));
    let returns = Mutex::new(Vec::new());
    let seen = under_load(&address, |seen, clients| {
        seen.changes.fetch_add(1, Ordering::SeqCst);
        let mut server = server.lock().unwrap();
        server.process.signal(Signal::Kill);
        server.process.end();
        let unanswered = seen.unanswered.load(Ordering::SeqCst);
        until("clients that find nobody", || {
            (seen.unanswered.load(Ordering::SeqCst) >= unanswered + clients.len()).then_some(())
        });
        let began = Instant::now();
        *server = Dockwarden::start_file(&file);
        let back = clients.iter().find(|client| client.granted.is_some()).unwrap();
        until("a token", || back.ask(&address).is_ok_and(|reply| back.is_right(&reply)).then_some(()));
        returns.lock().unwrap().push(machine::elapsed(began));
        seen.changes.fetch_add(1, Ordering::SeqCst);
    });
    let returns = returns.into_inner().unwrap();
    println!("killed: {} questions found nobody; back after {returns:?}", seen.unanswered.into_inner());
    assert!(returns.iter().all(|back| *back < BACK_WITHIN), "{returns:?}");
}

#[test]
fn paused_it_answers_everybody_when_it_goes_on() {
    let server = Dockwarden::start_file(&file("127.0.0.1:0"));
    let seen = under_load(&server.address, |_, clients| {
        server.process.signal(Signal::Stop);
        until("clients that all wait", || {
            clients.iter().all(|client| client.waits.load(Ordering::SeqCst)).then_some(())
        });
        server.process.signal(Signal::Continue);
    });
    assert_eq!(seen.unanswered.into_inner(), 0);
}
