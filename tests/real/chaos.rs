//! The bad days of each remote backend; what is owed on them is in `tests/support/chaos.rs`.

use std::path::PathBuf;

use crate::mongo::{guide_database, guide_file, pair};
use crate::support::chaos::{Fault, RULE, Row, Victim, users};
use crate::support::dockwarden::{config, password};
use crate::support::http_api::HttpApi;
use crate::support::mongo::Database;
use crate::support::process::Signal;
use crate::support::scratch;
use crate::support::slapd::{self, PEOPLE, READER, Slapd};

/// Each can be hurt by methods of its own.
macro_rules! victims {
    ($($backend:ty),+) => {
        $(impl Victim for $backend {
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
        })+
    };
}

victims!(Database, Slapd, HttpApi);

/// A file with the static user and his rule, a rule for whom a label names, and this section.
fn file_with(section: &str) -> PathBuf {
    let own = "  - {match: {name: \"${labels:group}/*\"}, actions: [pull]}\n";
    let policy = format!("{}acl:\n{RULE}{own}{section}", users());
    scratch::write(&scratch::directory("chaos"), "auth_config.yml", &config(pair(), "", &policy))
}

/// Accounts in a directory, and the groups that they may pull for.
fn directory(fault: Fault) {
    let (name, secret) = READER;
    let section = |address: &str| {
        format!(
            "ldap_auth:\n  addr: {address}\n  base: \"{PEOPLE}\"\n  filter: \"(uid=${{account}})\"\n  bind_dn: \"{name}\"\n  \
             bind_password: \"{secret}\"\n  labels:\n    group: {{attribute: memberOf, parse_cn: true, lower_case: true}}\n"
        )
    };
    Row {
        victim: &Slapd::start(),
        config: &|address| file_with(&section(address)),
        account: "alice",
        password: &slapd::password("alice"),
        scope: "repository:developers/app:pull",
    }
    .suffers(fault);
}

/// Accounts that an HTTP API knows, and what they may do, which it decides.
fn http_api(fault: Fault) {
    let section = |address: &str| {
        format!(
            "http_auth: {{url: \"http://{address}/\", headers: {{Authorization: \"Basic ${{basic}}\"}}}}\n\
             http_authz: {{url: \"http://{address}/may\"}}\n"
        )
    };
    Row {
        victim: &HttpApi::start(),
        config: &|address| file_with(&section(address)),
        account: "testuser",
        password: "testpassword",
        scope: "repository:open/app:pull",
    }
    .suffers(fault);
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

#[test]
fn a_directory_is_killed() {
    directory(Fault::Killed);
}

#[test]
fn a_directory_is_paused() {
    directory(Fault::Paused);
}

#[test]
fn a_directory_is_lost() {
    directory(Fault::Lost);
}

#[test]
fn a_directory_is_reset() {
    directory(Fault::Reset);
}

#[test]
fn a_directory_is_slowed() {
    directory(Fault::Slowed);
}

#[test]
fn an_http_api_is_killed() {
    http_api(Fault::Killed);
}

#[test]
fn an_http_api_is_paused() {
    http_api(Fault::Paused);
}

#[test]
fn an_http_api_is_lost() {
    http_api(Fault::Lost);
}

#[test]
fn an_http_api_is_reset() {
    http_api(Fault::Reset);
}

#[test]
fn an_http_api_is_slowed() {
    http_api(Fault::Slowed);
}
