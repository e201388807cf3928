//! The bad days of each remote backend; what is owed on them is in `tests/support/chaos.rs`.

use crate::mongo::{guide_database, guide_file, pair};
use crate::support::chaos::{Fault, RULE, Row, Victim, users};
use crate::support::dockwarden::password;
use crate::support::mongo::Database;
use crate::support::process::Signal;

impl Victim for Database {
    fn address(&self) -> String {
        self.address()
    }

    fn kill(&self) {
        self.kill();
    }

    fn restart(&self) {
        self.restart();
    }

    fn signal(&self, signal: Signal) {
        self.signal(signal);
    }
}

/// Users and rules in MongoDB.
fn mongodb(fault: Fault) {
    let sections = format!("{}acl:\n{RULE}", users());
    Row {
        victim: &guide_database(),
        config: &|address| guide_file(pair(), address, &sections),
        account: "waldi",
        password: &password("waldi"),
        scope: "repository:test:pull,push",
    }
    .suffers(fault);
}

#[test]
fn mongodb_is_killed() {
    mongodb(Fault::Killed);
}

#[test]
fn mongodb_is_paused() {
    mongodb(Fault::Paused);
}

#[test]
fn mongodb_is_lost() {
    mongodb(Fault::Lost);
}

#[test]
fn mongodb_is_reset() {
    mongodb(Fault::Reset);
}

#[test]
fn mongodb_is_slowed() {
    mongodb(Fault::Slowed);
}
