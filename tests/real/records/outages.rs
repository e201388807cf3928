//! The bad days of PostgreSQL under secrets that it keeps; what is owed on them is in `tests/support/chaos.rs`. The owner of the
//! secret stands in the file, so that nothing but the records is away.

use crate::mongo::pair;
use crate::support::chaos::{RULE, Row, users};
use crate::support::dockwarden::{config, hash, password, program};
use crate::support::sql::{Product, Server, Tables};
use crate::support::victim::{Fault, Hurt};
use crate::support::{part, scratch};

fn suffers(fault: Fault) {
    let server = Server::start(Product::Postgres);
    let tables = Tables::in_server(&server);
    let hurt = Hurt::new(&server, fault);
    let alice = format!("  alice: {{password: \"{}\"}}\n", hash(&password("alice")));
    let own = "  - {match: {account: alice, name: \"alice/*\"}, actions: [pull]}\n";
    let records = tables.records_at(&hurt.address());
    let text = config(pair(), "", &format!("{}{alice}acl:\n{RULE}{own}{records}lasting: {{}}\n", users()));
    let config = scratch::write(&scratch::directory("chaos"), "auth_config.yml", &text);
    part::run(part::command_at(program()).arg("migrate").arg(&config)).well();
    let mut create = part::command_at(program());
    create.args(["token", "create"]).arg(&config).args(["--account", "alice", "--name", "laptop", "--expires", "1d"]);
    let secret = part::run(&mut create).well().stdout;
    let row = Row { config, account: "alice", password: secret.trim(), scope: "repository:alice/app:pull" };
    row.suffers(&hurt);
}

#[test]
fn postgresql_is_killed() {
    suffers(Fault::Killed);
}

#[test]
fn postgresql_is_paused() {
    suffers(Fault::Paused);
}

#[test]
fn postgresql_is_lost() {
    suffers(Fault::Lost);
}

#[test]
fn postgresql_is_reset() {
    suffers(Fault::Reset);
}

#[test]
fn postgresql_is_slowed() {
    suffers(Fault::Slowed);
}
