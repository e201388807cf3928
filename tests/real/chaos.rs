//! The bad days of each remote backend; what is owed on them is in `tests/support/chaos.rs`.

use std::fs;
use std::path::PathBuf;

use crate::mongo::{guide_database, guide_file, pair};
use crate::support::chaos::{RULE, Row, users};
use crate::support::dockwarden::{self, config, password};
use crate::support::http_api::HttpApi;
use crate::support::impostor::Impostor;
use crate::support::mongo::Database;
use crate::support::process::Signal;
use crate::support::scratch;
use crate::support::script::Script;
use crate::support::slapd::{self, PEOPLE, READER, Slapd};
use crate::support::victim::{Fault, Hurt, Victim};

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
    write(&format!("{}acl:\n{RULE}{own}{section}", users()))
}

fn write(policy: &str) -> PathBuf {
    scratch::write(&scratch::directory("chaos"), "auth_config.yml", &config(pair(), "", policy))
}

/// Accounts in a directory, and the groups that they may pull for; `more` is YAML of the section.
fn directory_row<'a>(address: &str, more: &str, password: &'a str) -> Row<'a> {
    let (name, secret) = READER;
    let section = format!(
        "ldap_auth:\n  addr: {address}\n  base: \"{PEOPLE}\"\n  filter: \"(uid=${{account}})\"\n  bind_dn: \"{name}\"\n  \
         bind_password: \"{secret}\"\n  labels:\n    group: {{attribute: memberOf, parse_cn: true, lower_case: true}}\n{more}"
    );
    Row { config: file_with(&section), account: "alice", password, scope: "repository:developers/app:pull" }
}

fn directory(fault: Fault) {
    let slapd = Slapd::start();
    let hurt = Hurt::new(&slapd, fault);
    directory_row(&hurt.address(), "", &slapd::password("alice")).suffers(&hurt);
}

/// Accounts that an HTTP API knows, and what they may do, which it decides; `more` is YAML of both sections.
fn http_api_row(origin: &str, more: &str) -> Row<'static> {
    let sections = format!(
        "http_auth: {{url: \"{origin}/\", headers: {{Authorization: \"Basic ${{basic}}\"}}{more}}}\n\
         http_authz: {{url: \"{origin}/may\"{more}}}\n"
    );
    Row {
        config: file_with(&sections),
        account: "testuser",
        password: "testpassword",
        scope: "repository:open/app:pull",
    }
}

fn http_api(fault: Fault) {
    let api = HttpApi::start();
    let hurt = Hurt::new(&api, fault);
    http_api_row(&format!("http://{}", hurt.address()), "").suffers(&hurt);
}

/// Users and rules in MongoDB.
fn mongodb_row<'a>(address: &str, password: &'a str) -> Row<'a> {
    let config = guide_file(pair(), address, &format!("{}acl:\n{RULE}", users()));
    Row { config, account: "waldi", password, scope: "repository:test:pull,push" }
}

fn mongodb(fault: Fault) {
    let database = guide_database();
    let hurt = Hurt::new(&database, fault);
    mongodb_row(&hurt.address(), &password("waldi")).suffers(&hurt);
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

#[test]
fn a_directory_shows_a_wrong_certificate() {
    let slapd = Slapd::start();
    let impostor = Impostor::before(slapd.address());
    let authority = format!("  ca_certificate: \"{}\"\n", impostor.authority().display());
    directory_row(&format!("ldaps://{}", impostor.address()), &authority, &slapd::password("alice")).suffers(&impostor);
}

#[test]
fn an_http_api_shows_a_wrong_certificate() {
    let api = HttpApi::start();
    let impostor = Impostor::before(api.address());
    let authority = format!(", tls: {{ca_certificate: \"{}\"}}", impostor.authority().display());
    http_api_row(&format!("https://{}", impostor.address()), &authority).suffers(&impostor);
}

#[test]
fn mongodb_shows_a_wrong_certificate() {
    let database = guide_database();
    let impostor = Impostor::before(database.address());
    let password = password("waldi");
    let row = mongodb_row(&impostor.address(), &password);
    let tls = format!("enabled_tls: true\n    ca_certificate: \"{}\"", impostor.authority().display());
    fs::write(&row.config, fs::read_to_string(&row.config).unwrap().replace("enabled_tls: false", &tls)).unwrap();
    row.suffers(&impostor);
}

/// A program's time, less than the longest that an answer may take in an outage.
const TIME: &str = "1s";

#[test]
fn a_program_that_knows_accounts_is_none_any_more() {
    let script = Script::new(
        "read -r account secret\n[ \"$account $secret\" = \"paula right\" ] && exit 0\n\
         [ \"$account\" = paula ] && exit 1\nexit 2\n",
    );
    let rule = "  - {match: {account: paula}, actions: [pull]}\n";
    let section = format!("ext_auth: {{command: \"{}\", timeout: {TIME}}}\n", script.path().display());
    let config = write(&format!("{}acl:\n{RULE}{rule}{section}", users()));
    Row { config, account: "paula", password: "right", scope: "repository:any/app:pull" }.suffers(&script);
}

#[test]
fn a_program_that_decides_is_none_any_more() {
    let script = Script::new("case $(cat) in *'\"Name\":\"open/app\"'*) exit 0;; esac\nexit 1\n");
    let section = format!("ext_authz: {{command: \"{}\", timeout: {TIME}}}\n", script.path().display());
    let waldi = format!("  waldi: {{password: \"{}\"}}\n", dockwarden::hash(&password("waldi")));
    let config = write(&format!("{}{waldi}acl:\n{RULE}{section}", users()));
    let row = Row { config, account: "waldi", password: &password("waldi"), scope: "repository:open/app:pull" };
    row.suffers(&script);
}
