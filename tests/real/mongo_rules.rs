//! Rules in MongoDB over time: how long they are used without the server, and how soon a change of them holds.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mongodb::bson::doc;

use crate::mongo::{granted, guide_file, pair};
use crate::support::change_streams::{ChangeStreams, Streams};
use crate::support::dockwarden::{Dockwarden, hash, password};
use crate::support::link::{Link, State};
use crate::support::machine;
use crate::support::mongo::Database;
use crate::support::process::{Signal, until};
use crate::support::scratch;

/// A static user, whose rules are in MongoDB alone, at this address.
fn rules_of_local(address: &str, times: &str) -> PathBuf {
    let local = format!("users:\n  local: {{password: \"{}\"}}\n", hash(&password("local")));
    let text = std::fs::read_to_string(guide_file(pair(), address, &local)).unwrap();
    let text = text.replace("cache_ttl: \"10s\"", times);
    // Users are looked up nowhere but in the file.
    let (before, rest) = text.split_once("mongo_auth:").unwrap();
    let (_, rules) = rest.split_once("acl_mongo:").unwrap();
    scratch::write(&scratch::directory("rules"), "auth_config.yml", &format!("{before}acl_mongo:{rules}"))
}

const ASK: &str = "repository:app:pull";

#[test]
fn rules_are_used_until_max_stale_and_then_nothing_is_decided() {
    const MAX_STALE: Duration = Duration::from_secs(3);
    let database = Database::start();
    database.insert("acl", &[doc! { "seq": 1, "match": { "account": "local" }, "actions": ["pull"] }]);
    let file = rules_of_local(&database.address(), "cache_ttl: 1s\n  max_stale: 3s");
    let server = Dockwarden::start_file(&file);
    let pull = || Ok(vec!["pull".to_owned()]);
    for _ in 0..2 {
        assert_eq!(granted(&server, "local", ASK), pull());
        let began = Instant::now();
        database.kill();
        let over = until("rules that are too old", || {
            let (before, said, ready) = (Instant::now(), granted(&server, "local", ASK), server.ready());
            if said == pull() {
                // Ready as long as it decides; the end may come between the two questions.
                assert!(ready == Some(200) || granted(&server, "local", ASK) == Err(503), "{ready:?}");
                return None;
            }
            assert_eq!(said, Err(503));
            Some(before)
        });
        // They were read at most cache_ttl, and a moment for the reading, before the server died.
        let used = (over - began).saturating_sub(machine::delay_between(began, over));
        assert!(over - began > MAX_STALE.saturating_sub(Duration::from_millis(1500)), "{used:?}");
        assert!(used < MAX_STALE + Duration::from_millis(500), "{used:?}");
        assert_eq!((server.ready(), granted(&server, "local", "")), (Some(503), Ok(vec![])), "a login needs no rule");
        let told = |log: String| log.contains("longer than max_stale");
        server.process.until("why nothing is decided", |process| told(process.log()).then_some(()));

        database.restart();
        let back = Instant::now();
        until("rules that are read again", || (granted(&server, "local", ASK) == pull()).then_some(()));
        assert!(machine::elapsed(back) < Duration::from_secs(2), "{:?}", back.elapsed());
        assert_eq!(server.ready(), Some(200));
    }
    let told = |log: String| log.matches("\"rules_current\"").count() == 2;
    server.process.until("each end of an outage in the log", |process| told(process.log()).then_some(()));
}

/// A rule for the static user, to be changed in each test.
fn one_rule() -> Database {
    let database = Database::start();
    database.insert("acl", &[doc! { "seq": 1, "match": { "account": "local" }, "actions": ["pull"] }]);
    database
}

fn set_actions(database: &Database, actions: &[&str]) {
    database.update("acl", doc! { "seq": 1 }, doc! { "$set": { "actions": actions } });
}

/// Waits until what is granted is this, and gives the time from `since`.
#[track_caller]
fn holds(server: &Dockwarden, actions: &[&str], since: Instant) -> Duration {
    let asked = "repository:app:pull,push";
    until("the rule as it is now", || (granted(server, "local", asked).unwrap() == actions).then_some(()));
    machine::elapsed(since)
}

/// The number of lines with this reason.
fn told(server: &Dockwarden, reason: &str) -> usize {
    server.process.log().matches(&format!("\"reason\":\"{reason}\"")).count()
}

/// Check 6 of the tests of the policy: rules that would fail one leave the last good ones in use, and are named.
#[test]
fn check_6_a_rule_that_breaks_a_test_leaves_the_last_good_rules_in_use() {
    let database = one_rule();
    let file = rules_of_local(&database.address(), "cache_ttl: 1s");
    let text = std::fs::read_to_string(&file).unwrap();
    let test = "tests: [{name: local never pushes, as: local, ask: \"repository:app:pull,push\", want: [pull]}]\n";
    std::fs::write(&file, format!("{text}{test}")).unwrap();
    let server = Dockwarden::start_file(&file);
    holds(&server, &["pull"], Instant::now());
    set_actions(&database, &["pull", "push"]);
    server.process.until("the test in the log", |process| {
        let named = process.log().contains("\"test\":\"local never pushes\"");
        (told(&server, "rules_refused") == 1 && named).then_some(())
    });
    assert_eq!(granted(&server, "local", "repository:app:pull,push").unwrap(), ["pull"]);
    set_actions(&database, &["pull"]);
    server.process.until("rules that are good again", |_| (told(&server, "rules_current") == 1).then_some(()));
}

#[test]
fn a_change_that_the_server_tells_is_read_at_once() {
    let database = one_rule();
    let streams = ChangeStreams::before(database.address());
    let server = Dockwarden::start_file(&rules_of_local(&streams.address(), "cache_ttl: 60s"));
    until("a stream", || (streams.open() == 1).then_some(()));
    server.process.until("the line that says so", |_| (told(&server, "rules_watched") == 1).then_some(()));
    let both = ["pull", "push"];
    let mut times = Vec::new();
    for actions in [&both[..], &["push"], &[], &["pull"], &both] {
        set_actions(&database, actions);
        let since = Instant::now();
        streams.tell_a_write();
        times.push(holds(&server, actions, since));
    }
    println!("from the event to the decision: {times:?}");
    // Far below cache_ttl: no reading that comes by itself.
    assert!(times.iter().all(|time| *time < Duration::from_secs(5)), "{times:?}");

    // What is no rule is not used, however it is told of; and what is right again is.
    set_actions(&database, &["PULL"]);
    streams.tell_a_write();
    server.process.until("a refused document", |_| (told(&server, "rules_refused") == 1).then_some(()));
    holds(&server, &both, Instant::now());
    set_actions(&database, &["pull"]);
    streams.tell_a_write();
    holds(&server, &["pull"], Instant::now());

    // Many changes at once are read together.
    let before = streams.finds();
    for _ in 0..200 {
        streams.tell_a_write();
    }
    set_actions(&database, &both);
    streams.tell_a_write();
    holds(&server, &both, Instant::now());
    let reads = streams.finds() - before;
    assert!(reads < 40, "{reads} reads for 200 events");
    assert_eq!((streams.asked(), streams.open()), (1, 1), "one stream all the time");
}

#[test]
fn a_stream_that_breaks_is_asked_for_again_and_meanwhile_rules_are_polled() {
    let database = one_rule();
    let streams = ChangeStreams::before(database.address());
    let server = Dockwarden::start_file(&rules_of_local(&streams.address(), "cache_ttl: 1s"));
    until("a stream", || (streams.open() == 1).then_some(()));
    streams.break_all(Streams::Open);
    server.process.until("the line about polling", |_| (told(&server, "rules_polled") == 1).then_some(()));
    until("a new stream", || (streams.open() == 1).then_some(()));
    server.process.until("the line about watching", |_| (told(&server, "rules_watched") == 2).then_some(()));

    // Now the server has none any more.
    streams.break_all(Streams::Refused);
    server.process.until("the line about polling", |_| {
        server.process.log().contains("only supported on replica sets").then_some(())
    });
    let asked = streams.asked();
    let before = streams.finds();
    until("some rounds of polling", || (streams.finds() >= before + 4).then_some(()));
    assert_eq!(streams.asked(), asked, "it is not asked again and again");
    set_actions(&database, &["push"]);
    let took = holds(&server, &["push"], Instant::now());
    assert!(took < Duration::from_secs(2), "{took:?}");

    // A server that was away may be another one.
    database.kill();
    server.process.until("the outage", |_| (told(&server, "rules_unread") >= 1).then_some(()));
    streams.break_all(Streams::Open);
    database.restart();
    until("a stream again", || (streams.open() == 1).then_some(()));
    assert!(streams.asked() <= asked + 3, "{} after {asked}", streams.asked());
}

#[test]
fn a_server_without_change_streams_is_polled_and_that_is_said_once() {
    let database = one_rule();
    let counted = ChangeStreams::before(database.address());
    counted.break_all(Streams::Refused);
    // The same by FerretDB itself, which has none.
    for (address, asked) in [(database.address(), None), (counted.address(), Some(&counted))] {
        set_actions(&database, &["pull"]);
        let server = Dockwarden::start_file(&rules_of_local(&address, "cache_ttl: 1s"));
        server.process.until("the line that says so", |_| (told(&server, "rules_polled") == 1).then_some(()));
        for actions in [&["push"][..], &["pull", "push"], &[]] {
            set_actions(&database, actions);
            let took = holds(&server, actions, Instant::now());
            assert!(took < Duration::from_secs(2), "{took:?}");
        }
        assert_eq!((told(&server, "rules_polled"), told(&server, "rules_watched")), (1, 0));
        if let Some(counted) = asked {
            assert_eq!(counted.asked(), 1);
        }
    }
}

#[test]
fn a_stream_ends_with_the_rules_that_it_is_for() {
    let database = one_rule();
    let streams = ChangeStreams::before(database.address());
    let link = Link::to(streams.address());
    let file = rules_of_local(&link.address(), "cache_ttl: 60s");
    let server = Dockwarden::start_file(&file);
    until("a stream", || (streams.open() == 1).then_some(()));
    // Other rules, from another address: nothing of the old ones stays.
    let original = std::fs::read_to_string(&file).unwrap();
    let reload = |text: &str| {
        let before = server.process.log().matches("configuration reloaded").count();
        std::fs::write(&file, text).unwrap();
        server.process.signal(Signal::Hangup);
        server.process.until("the reload", |process| {
            (process.log().matches("configuration reloaded").count() > before).then_some(())
        });
    };
    reload(&original.replace(&link.address(), &database.address()));
    until("no connection, and no stream", || (link.open() == 0 && streams.open() == 0).then_some(()));
    // The same while the server hangs: there is nobody to say goodbye to.
    reload(&original);
    until("a stream", || (streams.open() == 1).then_some(()));
    link.set(State::Stalled);
    reload(&original.replace(&link.address(), &database.address()));
    until("no connection", || (link.open() == 0).then_some(()));
    link.set(State::Passing);
    reload(&original);
    until("a stream", || (link.open() > 0 && streams.open() >= 1).then_some(()));
    let began = Instant::now();
    server.process.signal(Signal::Terminate);
    assert!(server.process.end().success());
    assert!(machine::elapsed(began) < Duration::from_secs(4), "an open stream keeps no process: {:?}", began.elapsed());
}
