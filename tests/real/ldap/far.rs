//! OpenLDAP at the end of a slow line, behind a name with several addresses, and behind one that says nothing.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{LABELS, account, backend, file, granted, patient, said, section, shared, test_command};
use crate::support::dockwarden::{self, Dockwarden};
use crate::support::link::{Link, State};
use crate::support::process::Process;
use crate::support::slapd::{GROUPS, PEOPLE, Slapd, password};
use crate::support::{keys, machine, part, scratch};

/// Labels from groups: one search more.
const FROM_GROUPS: &str = "  labels:\n    group: {attribute: cn, from: groups}\n";

fn in_groups() -> String {
    format!("  group_base: \"{GROUPS}\"\n{FROM_GROUPS}")
}

/// A line on which each answer takes so long.
fn slow(slapd: &str, each: Duration) -> Link {
    let link = Link::to(slapd);
    link.set(State::Slowed(each / 2));
    link
}

fn check_connect(config: &Path) -> part::Said {
    part::run(part::command_at(dockwarden::program()).args(["check", "--connect"]).arg(config))
}

#[test]
fn a_directory_that_is_far_away_lets_people_in() {
    for each in [300, 500, 1000].map(Duration::from_millis) {
        let link = slow(&shared().address(), each);
        let users = backend(&section(&link.address(), &in_groups()));
        for _ in 0..2 {
            let seen = said(&users, "alice", &password("alice"));
            let groups = seen.map(|seen| seen.labels[0].1.len());
            assert_eq!(groups, Ok(2), "{each:?}");
        }
        assert_eq!(said(&users, "alice", "wrong"), Err("rejected".to_owned()), "{each:?}");
        assert_eq!(said(&users, "nobody-of-this-name", "wrong"), Err("not mine".to_owned()), "{each:?}");
    }
}

#[test]
fn a_directory_that_is_far_away_lets_people_in_under_tls() {
    let chain = keys::for_localhost();
    let slapd = Slapd::start_tls(&chain);
    let authority = format!("  ca_certificate: \"{}\"\n", chain.authority.display());
    let each = Duration::from_millis(700);
    for (target, more) in [
        (slapd.tls_at("127.0.0.1"), "  tls: always\n".to_owned()),
        (slapd.clear_at("127.0.0.1"), "  tls: starttls\n".to_owned()),
    ] {
        let link = slow(&target, each);
        let users = backend(&section(&link.address(), &format!("{more}{authority}{LABELS}")));
        assert_eq!(account(said(&users, "alice", &password("alice"))), Ok("alice".to_owned()), "{more}");
    }
}

#[test]
fn the_commands_wait_for_a_directory_that_is_far_away_and_say_how_long() {
    // With room for a machine that is busy.
    let quick = check_connect(&file(&patient(&shared().address(), &in_groups()))).well();
    assert!(quick.text.contains("; a login took ") && !quick.text.contains("raise it"), "{}", quick.text);
    for piece in ["the bind as bind_dn ", "the search for the account ", "the search for groups "] {
        // On a quick machine a step takes no millisecond, and is left out; the whole is told.
        assert!(quick.text.contains(piece) || quick.text.contains(" ms ("), "{piece}: {}", quick.text);
    }
    let link = slow(&shared().address(), Duration::from_secs(1));
    let config = file(&section(&link.address(), &in_groups()));
    let far = check_connect(&config).well();
    for piece in [
        "ldap_auth: ok: ",
        "; a login took ",
        "the bind as bind_dn 1",
        "the search for the account 1",
        "the search for groups 1",
        "the check of the password 1",
        "took more than half of the 1400 ms of timeout; raise it",
    ] {
        assert!(far.text.contains(piece), "{piece}: {}", far.text);
    }
    let (success, text) = test_command(&config, &["alice", "--bind"], &format!("{}\n", password("alice")));
    assert!(success && text.contains("password: right\n"), "{text}");
    // A login that takes longer than it may is found here, and not at the first login.
    let tight = file(&section(&link.address(), &format!("  deadline: 2500ms\n{}", in_groups())));
    let failed = check_connect(&tight);
    assert!(!failed.success, "{}", failed.text);
    assert!(failed.text.contains("a login did not end within 2500 ms (deadline): "), "{}", failed.text);
    let near = file(&section(&link.address(), &format!("  deadline: 6s\n{}", in_groups())));
    let near = check_connect(&near).well();
    assert!(near.text.contains("more than half of the 6 s of deadline; raise it"), "{}", near.text);
}

#[test]
fn a_login_that_takes_too_long_says_what_took_so_long_and_keeps_nobody_out() {
    let link = slow(&shared().address(), Duration::from_secs(1));
    let users = backend(&section(&link.address(), &format!("  deadline: 3500ms\n{}", in_groups())));
    let error = said(&users, "alice", &password("alice")).unwrap_err();
    for piece in ["within 3500 ms (deadline): ", "the search for the account 1", ", which had not ended"] {
        assert!(error.contains(piece), "{piece}: {error}");
    }
    link.set(State::Passing);
    // Nothing was silent: the directory is not taken for one that is away.
    assert_eq!(account(said(&users, "alice", &password("alice"))), Ok("alice".to_owned()));
}

#[test]
fn a_directory_that_says_nothing_is_noticed_within_a_second_and_a_half() {
    let link = Link::to(shared().address());
    let users = backend(&section(&link.address(), ""));
    let ask = || {
        let began = Instant::now();
        let error = said(&users, "alice", &password("alice")).unwrap_err();
        (error, machine::elapsed(began))
    };
    // On connections that are there, and on new ones.
    for first in ["the search for the account", "the bind as bind_dn"] {
        if first == "the search for the account" {
            assert!(said(&users, "alice", &password("alice")).is_ok());
        }
        link.set(State::Stalled);
        let (error, took) = ask();
        assert!(error.contains(first) && error.contains("got no answer within 1400 ms (timeout)"), "{error}");
        assert!(took < Duration::from_millis(1600), "{took:?}");
        let (error, took) = ask();
        assert!(error.contains("it has not answered since") && took < Duration::from_millis(200), "{took:?} {error}");
        link.set(State::Reset);
        link.set(State::Passing);
        let back = Instant::now();
        crate::support::process::until("the directory to be asked again", || {
            said(&users, "alice", &password("alice")).ok()
        });
        assert!(machine::elapsed(back) < Duration::from_secs(2), "{:?}", back.elapsed());
        link.set(State::Reset);
        link.set(State::Passing);
    }
}

/// A library that gives one name two addresses, the first of which is not the directory's.
fn two_addresses(first: &str, second: &str) -> PathBuf {
    let directory = scratch::directory("names");
    let source = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
typedef int (*look)(const char*, const char*, const struct addrinfo*, struct addrinfo**);
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    look real = (look)dlsym(RTLD_NEXT, "getaddrinfo");
    if (!name || strcmp(name, "two.example.com")) return real(name, service, hints, found);
    struct addrinfo *first, *second, *last;
    int failed = real(FIRST, service, hints, &first);
    if (failed || (failed = real(SECOND, service, hints, &second))) return failed;
    for (last = first; last->ai_next; last = last->ai_next);
    last->ai_next = second;
    *found = first;
    return 0;
}
"#;
    let source = scratch::write(&directory, "names.c", source);
    let library = directory.join("names.so");
    let mut compile = part::client("cc");
    compile.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
    part::run(compile.args([format!("-DFIRST=\"{first}\""), format!("-DSECOND=\"{second}\"")])).well();
    library
}

#[test]
fn a_name_moves_on_from_an_address_that_takes_connections_and_says_nothing() {
    let slapd = Slapd::start();
    let (_, port) = slapd.address().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();
    // Connections are taken by the kernel, and nobody reads what comes.
    let silent = TcpListener::bind(format!("127.0.0.3:{port}")).unwrap();
    let config = file(&section(&format!("two.example.com:{port}"), LABELS));
    let mut serve = std::process::Command::new(dockwarden::program());
    serve.arg("serve").arg(&config).env_clear().env("LD_PRELOAD", two_addresses("127.0.0.3", "127.0.0.1"));
    let process = Process::start("dockwarden", &serve);
    let address = dockwarden::address(&process, "listening");
    let server = Dockwarden { process, address, config };
    let scope = "repository:developer/x:pull";
    for number in 0..4 {
        let began = Instant::now();
        let pull = Ok(vec!["pull".to_owned()]);
        assert_eq!(granted(&server, "alice", &password("alice"), scope), pull, "{number}: {}", server.process.log());
        let took = machine::elapsed(began);
        // Once for searching, and once for checking the password, at most; then it is known which one answers.
        let most = Duration::from_millis(if number == 0 { 3500 } else { 500 });
        assert!(took < most, "{number}: {took:?}");
    }
    let log = server.whole_log();
    assert!(!log.contains("backend_down"), "{log}");
    drop(silent);
}

#[test]
fn groups_that_are_looked_for_in_the_wrong_place_are_said_to_be() {
    let missing = format!("no group found below \"{PEOPLE}\"; set group_base to where the groups are");
    let wrong = file(&section(&shared().address(), FROM_GROUPS));
    let checked = check_connect(&wrong).well();
    assert!(checked.text.contains(&missing), "{}", checked.text);
    let shown = |config: &Path, account: &str| test_command(config, &[account], "").1;
    assert!(shown(&wrong, "alice").contains(&format!("warning:  {missing}\n")), "{}", shown(&wrong, "alice"));
    let right = file(&section(&shared().address(), &in_groups()));
    assert!(!check_connect(&right).well().text.contains("no group found"));
    // Mallory is in none, and it is no fault of the file.
    for account in ["alice", "mallory"] {
        assert!(!shown(&right, account).contains("warning:"), "{}", shown(&right, account));
    }
    let elsewhere = "ou=policies,dc=example,dc=org";
    let odd = file(&section(&shared().address(), &format!("  group_base: \"{elsewhere}\"\n{FROM_GROUPS}")));
    let expected = format!("no group found below \"{elsewhere}\"; see group_base and group_filter");
    assert!(check_connect(&odd).well().text.contains(&expected), "{}", check_connect(&odd).text);
}
