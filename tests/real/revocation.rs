//! Revocation: how long after a change in the database a decision still follows what was there before.

mod secrets;

use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};

use crate::mongo::{granted, guide_file, pair, status, user};
use crate::support::dockwarden::{Dockwarden, hash, password};
use crate::support::machine;
use crate::support::mongo::Database;
use crate::support::process::until;

/// Trials of each kind.
const TRIALS: usize = 200;
/// Trials at the same time.
const AT_ONCE: usize = 20;
/// `cache_ttl` here, and the second that is promised on top of it.
const CACHE_TTL: Duration = Duration::from_secs(1);
const BOUND: Duration = Duration::from_secs(2);

/// The guide's server, with a static user, on a database that is filled.
fn server(database: &Database) -> Dockwarden {
    let local = format!("users:\n  local: {{password: \"{}\"}}\n", hash(&password("local")));
    let file = guide_file(pair(), &database.address(), &local);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("cache_ttl: \"10s\"", &format!("cache_ttl: {}s", CACHE_TTL.as_secs()))).unwrap();
    Dockwarden::start_file(&file)
}

/// The value below which this share of the sorted times is.
fn share(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

#[test]
fn a_revoked_rule_ends_within_cache_ttl_and_a_second() {
    let database = Database::start();
    database.unique("acl", "seq");
    let rule = |number: usize| doc! { "seq": i64::try_from(number).unwrap(), "match": { "name": format!("app-{number}") }, "actions": ["pull"] };
    database.insert("acl", &(0..AT_ONCE).map(rule).collect::<Vec<_>>());
    let server = &server(&database);
    let times = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|number| {
                let admin = database.administrator();
                scope.spawn(move || {
                    let scope = format!("repository:app-{number}:pull");
                    let pull = || granted(server, "local", &scope).unwrap() == ["pull"];
                    let set = |actions: &[&str]| {
                        let which = doc! { "seq": i64::try_from(number).unwrap() };
                        admin.update("acl", which, doc! { "$set": { "actions": actions } });
                    };
                    let trial = |trial: usize| {
                        set(&["pull"]);
                        until("the grant", || pull().then_some(()));
                        // The grant was read a moment ago: without this, every revocation would come right after a reading.
                        for _ in 0..(trial * 7 + number * 3) % 40 {
                            pull();
                        }
                        set(&[]);
                        let revoked = Instant::now();
                        until("the end of the grant", || (!pull()).then(|| machine::elapsed(revoked)))
                    };
                    (0..TRIALS / AT_ONCE).map(trial).collect::<Vec<_>>()
                })
            })
            .collect();
        let mut times: Vec<Duration> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
        times.sort_unstable();
        times
    });
    println!(
        "{} rules revoked, until the decision flips: median {:?}, 90 % {:?}, 99 % {:?}, longest {:?}",
        times.len(),
        share(&times, 50),
        share(&times, 90),
        share(&times, 99),
        share(&times, 100),
    );
    assert_eq!(times.len(), TRIALS);
    let late: Vec<_> = times.iter().filter(|time| **time > BOUND).collect();
    assert!(late.is_empty(), "{} of {TRIALS} took longer than {BOUND:?}: {late:?}", late.len());
}

/// How a user is shut out.
#[derive(Clone, Copy)]
enum Withdrawn {
    Disabled,
    PasswordChanged,
    Expired,
}

#[test]
fn a_disabled_user_and_a_changed_password_end_with_the_next_request() {
    let database = Database::start();
    database.unique("users", "username");
    let names: Vec<String> = (0..TRIALS).map(|number| format!("user-{number}")).collect();
    database.insert("users", &names.iter().map(|name| user(name, doc! {})).collect::<Vec<_>>());
    let server = &server(&database);
    let new = &hash("new");
    std::thread::scope(|scope| {
        for names in names.chunks(TRIALS / AT_ONCE) {
            let admin = database.administrator();
            scope.spawn(move || {
                for (number, name) in names.iter().enumerate() {
                    let set =
                        |change: Document| admin.update("users", doc! { "username": name }, doc! { "$set": change });
                    let right = &password(name);
                    // "Could not find out" is no answer: on a busy machine the database may be late.
                    let said = |password: &str| {
                        until("an answer", || Some(status(server, name, password)).filter(|status| *status != 503))
                    };
                    assert_eq!((said(right), said(right)), (200, 200), "{name}: hashed, then remembered");
                    let how = [Withdrawn::Disabled, Withdrawn::PasswordChanged, Withdrawn::Expired][number % 3];
                    set(match how {
                        Withdrawn::Disabled => doc! { "disabled": true },
                        Withdrawn::PasswordChanged => doc! { "password": new },
                        Withdrawn::Expired => doc! { "not_after": "2020-01-01" },
                    });
                    assert_eq!(said(right), 401, "{name}");
                    match how {
                        Withdrawn::PasswordChanged => assert_eq!(said("new"), 200, "{name}"),
                        Withdrawn::Disabled | Withdrawn::Expired => {}
                    }
                }
            });
        }
    });
}
