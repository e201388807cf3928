//! Secrets that last, ended by command beside two servers that share a store of records: when does each of them, and its door, refuse
//! them?

use std::time::{Duration, Instant};

use super::share;
use crate::mongo::pair;
use crate::records::of_mongo;
use crate::support::dockwarden::{Dockwarden, SERVICE, config, hash, password, program};
use crate::support::http::{self, Reply};
use crate::support::mongo::Database;
use crate::support::process::until;
use crate::support::sql::{Product, Tables};
use crate::support::{machine, number, part, scratch, visit};

/// Secrets that end in each way on each store, unless `DOCKWARDEN_REVOCATIONS` says otherwise: `make long` says 200.
const TRIALS: usize = 20;
/// Trials at the same time, each of an account of its own.
const AT_ONCE: usize = 4;
/// From the end of the command until both servers and their doors refuse.
const BOUND: Duration = Duration::from_secs(5);

/// What ends a secret.
#[derive(Clone, Copy, Debug)]
enum End {
    Revoked,
    SignedOut,
}

/// Two servers that share a store, and the file of both.
struct Pair {
    servers: [Dockwarden; 2],
    file: std::path::PathBuf,
}

impl Pair {
    fn start(records: &str) -> Pair {
        let users = (0..AT_ONCE).map(|number| {
            let name = owner(number);
            format!("  {name}: {{password: \"{}\"}}\n", hash(&password(&name)))
        });
        let users: String = users.collect();
        // Many dead secrets from one address are guesses: each trial has an address of its own.
        let text = config(
            pair(),
            "",
            &format!(
                "users:\n{users}acl: [{{match: {{name: \"app\"}}, actions: [pull]}}]\n{records}lasting: {{}}\n\
                 forward_auth: {{trusted_proxies: [127.0.0.1], service: \"{SERVICE}\"}}\n"
            ),
        );
        let text = text.replace("server:\n", "server:\n  trusted_proxies: [127.0.0.1]\n");
        let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &text);
        let pair = |file: &std::path::Path| [Dockwarden::start_file(file), Dockwarden::start_file(file)];
        part::run(part::command_at(program()).arg("migrate").arg(&file)).well();
        Pair { servers: pair(&file), file }
    }

    /// Runs a command on the file until the store has answered, and gives what it prints: on a busy machine the store may be late.
    fn run(&self, command: [&str; 2], more: impl Fn(usize) -> Vec<String>) -> String {
        let mut tries = 0;
        until("an answer to the command", || {
            tries += 1;
            let said = part::run(part::command_at(program()).args(command).arg(&self.file).args(more(tries)));
            let is_late = !said.success && said.text.contains("the records cannot be asked: no answer within");
            (!is_late).then(|| said.well().stdout.trim().to_owned())
        })
    }

    fn make(&self, owner: &str, name: &str) -> String {
        // What was too late may have been done: a name of its own for each.
        let more = |tries| {
            let name = format!("{name}-{tries}");
            ["--account", owner, "--name", &name, "--expires", "1d"].map(str::to_owned).to_vec()
        };
        self.run(["token", "create"], more)
    }
}

fn owner(number: usize) -> String {
    format!("owner-{number}")
}

/// An answer to a request from this address. "Could not find out" is none: on a busy machine the store may be late.
fn answer(server: &Dockwarden, target: &str, headers: &[(&str, &str)]) -> Reply {
    until("an answer", || {
        let asked = http::request("GET", target, &server.host(), headers, b"");
        Some(http::exchange(&server.address, &asked)).filter(|reply| reply.status != 503)
    })
}

fn present(server: &Dockwarden, secret: &str, address: &str) -> Reply {
    let login = visit::basic("<token>", secret);
    let target = format!("/auth?service={}&scope=repository:app:pull", http::form_encode(SERVICE));
    answer(server, &target, &[("Authorization", &login), ("X-Forwarded-For", address)])
}

fn door(server: &Dockwarden, token: &str, address: &str) -> Reply {
    let bearer = format!("Bearer {token}");
    let asked = [("X-Original-Method", "GET"), ("X-Original-URI", "/v2/app/manifests/latest")];
    let who = [("Authorization", bearer.as_str()), ("X-Forwarded-For", address)];
    answer(server, "/forward_auth", &[asked, who].concat())
}

/// Ends a secret, and says how long both servers took to know. Another secret of its owner ends with it or lives on.
fn trial(pair: &Pair, end: End, owner: &str, (name, address): (&str, &str)) -> Duration {
    let [secret, other] = ["", "-other"].map(|more| pair.make(owner, &format!("{name}{more}")));
    let token = |server| {
        let reply = present(server, &secret, address);
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["token"].as_str().unwrap().to_owned()
    };
    let tokens = pair.servers.each_ref().map(token);
    let claims = visit::claims(&tokens[0]);
    assert_eq!((claims["sub"].as_str(), &claims["access"][0]["actions"][0]), (Some(owner), &"pull".into()));
    for server in &pair.servers {
        assert_eq!(present(server, &other, address).status, 200);
        // What either of them has signed is good at both doors.
        assert!(tokens.iter().all(|token| door(server, token, address).status == 200));
    }
    match end {
        End::Revoked => pair.run(["token", "revoke"], |_| vec![claims["cred"].as_str().unwrap().to_owned()]),
        End::SignedOut => pair.run(["user", "sign-out"], |_| vec![owner.to_owned()]),
    };
    let ended = Instant::now();
    let first = pair.servers.each_ref().map(|server| present(server, &secret, address));
    let at_doors = pair.servers.each_ref().map(|server| tokens.each_ref().map(|token| door(server, token, address)));
    let took = machine::elapsed(ended);
    for reply in first {
        assert_eq!((reply.status, &reply.json()["error"]), (401, &"invalid_grant".into()), "{end:?} {name}");
    }
    for reply in at_doors.iter().flatten() {
        assert_eq!(reply.status, 401, "{end:?} {name}: {}", reply.text());
    }
    let expected = match end {
        End::Revoked => 200,
        End::SignedOut => 401,
    };
    for server in &pair.servers {
        assert_eq!(present(server, &other, address).status, expected, "{end:?} {name}: the owner's other secret");
    }
    took
}

/// All trials of one kind, some at the same time.
fn trials(pair: &Pair, end: End, count: usize) -> Vec<Duration> {
    std::thread::scope(|scope| {
        let work = |worker: usize| {
            move || {
                let mine = (worker..count).step_by(AT_ONCE);
                let one = |number: usize| {
                    let address = format!("10.{}.{}.{}", end as usize, number / 250, number % 250 + 1);
                    trial(pair, end, &owner(worker), (&format!("{end:?}-{number}"), &address))
                };
                mine.map(one).collect::<Vec<_>>()
            }
        };
        let workers: Vec<_> = (0..AT_ONCE).map(|worker| scope.spawn(work(worker))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

fn end_at_once(store: &str, records: &str) {
    let pair = Pair::start(records);
    let count = number("DOCKWARDEN_REVOCATIONS", TRIALS);
    for end in [End::Revoked, End::SignedOut] {
        let mut times = trials(&pair, end, count);
        times.sort_unstable();
        println!(
            "{store}: {} secrets {end:?}, until two servers and their doors have refused them: median {:?}, 99 % {:?}, longest {:?}",
            times.len(),
            share(&times, 50),
            share(&times, 99),
            share(&times, 100),
        );
        assert_eq!(times.len(), count);
        assert!(share(&times, 100) <= BOUND, "{store}: {times:?}");
    }
    for server in &pair.servers {
        server.process.keeps_secrets();
    }
}

#[test]
fn secrets_in_sqlite_end_with_the_next_request_at_two_servers() {
    let file = scratch::directory("records").join("dockwarden.db");
    end_at_once("SQLite", &format!("records: {{sqlite: \"{}\"}}\n", file.display()));
}

#[test]
fn secrets_in_postgresql_end_with_the_next_request_at_two_servers() {
    end_at_once("PostgreSQL", &Tables::new(Product::Postgres).records());
}

#[test]
fn secrets_in_mongodb_end_with_the_next_request_at_two_servers() {
    let database = Database::start();
    end_at_once("MongoDB", &of_mongo(&database));
}
