//! OpenLDAP's bad days, and the connections to it on good ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{LABELS, account, backend, file, granted, patient, said, section};
use crate::support::dockwarden::Dockwarden;
use crate::support::machine;
use crate::support::process::{Signal, until};
use crate::support::slapd::{PEOPLE, READER, Slapd, costly_hash, line as ldif_line, password, person, somebody};
use crate::timing::{Hashed, Tells, measure_of, rounds};

#[test]
fn a_server_that_does_not_know_us_is_left_alone_for_a_while() {
    let slapd = Slapd::start();
    let users = backend(&patient(&slapd.address(), "").replace(READER.1, "not the password"));
    // Many at once, and for longer than the longest pause of the breaker: directories lock accounts that are tried again and
    // again.
    let end = Instant::now() + Duration::from_millis(1500);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while Instant::now() < end {
                    let error = said(&users, "alice", &password("alice")).unwrap_err();
                    assert!(error.contains("refused"), "{error}");
                }
            });
        }
    });
    let error = said(&users, "alice", &password("alice")).unwrap_err();
    assert!(error.contains("is refused: code 49") && error.contains("it has not answered since"), "{error}");
    assert_eq!(slapd.binds(), 1);
}

#[test]
fn a_server_that_is_gone_or_silent_is_passed_over_and_taken_back() {
    let (first, second) = (Slapd::start(), Slapd::start());
    second.change(&somebody("only-second", &[]));
    let servers = format!("[{}, \"ldap://{}\"]", first.address(), second.address());
    // Longer than usual, so that a machine that is busy does not look like a second server that is away.
    let users = backend(&section(&servers, "  deadline: 20s\n  connect_timeout: 5s\n  timeout: 2s"));
    let ask = |uid: &str| account(said(&users, uid, &password(uid)));
    let is_first = || ask("only-second") == Err("not mine".to_owned());
    assert!(is_first());
    for outage in [Signal::Kill, Signal::Stop] {
        match outage {
            Signal::Kill => first.kill(),
            _ => first.signal(Signal::Stop),
        }
        let began = Instant::now();
        // A server that is being stopped may still say a last word. Nobody is told 503 meanwhile.
        until("the second server to be asked", || match ask("only-second").as_deref().map_err(String::as_str) {
            Ok("only-second") => Some(()),
            Err("not mine") => None,
            other => panic!("{outage:?}: {other:?}"),
        });
        assert!(machine::elapsed(began) < Duration::from_secs(10), "{outage:?}: {:?}", began.elapsed());
        // Nobody else waits for it, which would take two seconds each.
        let began = Instant::now();
        for _ in 0..20 {
            assert_eq!(ask("only-second"), Ok("only-second".to_owned()), "{outage:?}");
        }
        assert!(machine::elapsed(began) < Duration::from_secs(10), "{outage:?}: {:?}", began.elapsed());
        match outage {
            Signal::Kill => first.restart(),
            _ => first.signal(Signal::Continue),
        }
        let back = Instant::now();
        until("the first server to be asked again", || is_first().then_some(()));
        assert!(machine::elapsed(back) < Duration::from_secs(2), "{outage:?}: {:?}", back.elapsed());
    }
}

#[test]
fn connections_are_few_and_a_reload_keeps_them() {
    let slapd = Slapd::start();
    let config = file(&patient(&slapd.address(), &format!("  pool_size: 3\n{LABELS}")));
    let server = Dockwarden::start_file(&config);
    let log_in = |count: usize| {
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    for _ in 0..count / 10 {
                        assert!(granted(&server, "alice", &password("alice"), "repository:x:pull").is_ok());
                        assert_eq!(granted(&server, "alice", "wrong", "repository:x:pull"), Err(401));
                    }
                });
            }
        });
    };
    log_in(200);
    // Three for searching and three for checking; the one that was made beside them at the start is closed by then.
    let held = until("a few connections", || Some(slapd.connections()).filter(|held| (1..=6).contains(held)));
    let accepted = || slapd.log().matches(" ACCEPT ").count();
    let before = accepted();
    log_in(50);
    assert_eq!((slapd.connections(), accepted()), (held, before), "they are used again");

    let text = std::fs::read_to_string(&config).unwrap();
    let reload = |text: &str, outcome: &str| {
        let times = server.process.log().matches(outcome).count();
        std::fs::write(&config, text).unwrap();
        server.process.signal(Signal::Hangup);
        server.process.until(outcome, |process| (process.log().matches(outcome).count() > times).then_some(()));
    };
    reload(&text.replace("expiration: 900", "expiration: 901"), "configuration reloaded");
    log_in(50);
    assert_eq!((slapd.connections(), accepted()), (held, before), "another setting changes nothing for them");

    // What is new has to answer before what works is given up for it.
    reload(&text.replace(READER.1, "not the password"), "\"reload_failed\"");
    reload(&text.replace(&slapd.address(), "127.0.0.1:1"), "\"reload_failed\"");
    reload(&text.replace(PEOPLE, "ou=nowhere,dc=example,dc=org"), "\"reload_failed\"");
    log_in(10);
    reload(&text.replace("pool_size: 3", "pool_size: 2"), "configuration reloaded");
    log_in(100);
    until("the old connections to be closed", || (slapd.connections() <= 4).then_some(()));
}

/// A search never runs under a user's name, and no password is checked on a connection that searches.
#[test]
fn searches_and_passwords_have_connections_of_their_own() {
    let slapd = Slapd::start();
    let users = backend(&patient(&slapd.address(), LABELS));
    for _ in 0..20 {
        assert!(said(&users, "alice", &password("alice")).is_ok());
        assert_eq!(said(&users, "alice", "wrong"), Err("rejected".to_owned()));
    }
    let mut names = BTreeMap::<String, BTreeSet<&str>>::new();
    let log = slapd.log();
    for line in log.lines() {
        let Some((_, rest)) = line.split_once("conn=") else { continue };
        let connection = rest.split(' ').next().unwrap().to_owned();
        if rest.contains(" SRCH base=\"ou=people") {
            names.entry(connection).or_default().insert("a search");
        } else if rest.contains("BIND dn=\"cn=reader") {
            names.entry(connection).or_default().insert("us");
        } else if rest.contains("BIND dn=\"uid=alice") {
            names.entry(connection).or_default().insert("a user");
        }
    }
    let kinds: Vec<Vec<&str>> = names.values().map(|kinds| kinds.iter().copied().collect()).collect();
    assert!(kinds.contains(&vec!["a search", "us"]) && kinds.contains(&vec!["a user"]), "{kinds:?}");
    let apart = |kinds: &Vec<&str>| !(kinds.contains(&"a user") && kinds.len() > 1);
    assert!(kinds.iter().all(apart), "{kinds:?}");
}

/// The directory computes a costly hash for who is there, and nothing for who is not. The rows are those of docs/explain/timing.md.
#[test]
fn an_unknown_account_takes_as_long_as_a_wrong_password() {
    for (kind, secret, usual, tells) in [
        ("as it is", password("alice"), 1000, Tells::Nothing),
        // Where the machine is busy, what slapd takes and what we wait differ more.
        ("argon2", costly_hash(&password("alice")), 300, Tells::AsDocumented),
    ] {
        let slapd = Slapd::start();
        let (name, secret) = (person("alice"), ldif_line("userPassword", &secret));
        slapd.change(&format!("dn: {name}\nchangetype: modify\nreplace: userPassword\n{secret}"));
        let server = Dockwarden::start_file(&file(&patient(&slapd.address(), LABELS)));
        assert!(granted(&server, "alice", &password("alice"), "repository:x:pull").is_ok());
        let backend = format!("`ldap_auth`, passwords stored {kind}");
        let ([known, unknown], asked) = measure_of(&server, rounds(usual), Hashed::There, &backend, "alice", tells);
        assert!(unknown > known / 2 && unknown < known * 2, "{kind}: known {known:?}, unknown {unknown:?}");
        // Nobody who is there was bound for them.
        let log = slapd.log();
        let bound = |name: &str| log.lines().filter(|line| line.contains(name) && line.contains(" method=")).count();
        assert_eq!((bound("dn=\"uid=alice,"), bound("dn=\"cn=nobody-")), (1 + asked, asked));
    }
}
