//! The bad days of an SQL server; what is owed on them is in `tests/support/chaos.rs`.

use std::time::{Duration, Instant};

use super::{ask, file, fill, server};
use crate::mongo::pair;
use crate::support::chaos::{RULE, Row, users};
use crate::support::dockwarden::{Dockwarden, config, password};
use crate::support::link::{Link, State};
use crate::support::process::{Signal, until};
use crate::support::sql::{Product, Server, Tables};
use crate::support::victim::{Fault, Hurt, Victim};
use crate::support::{machine, scratch};

impl Victim for Server {
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

fn suffers(product: Product, fault: Fault) {
    let server = Server::start(product);
    let tables = Tables::in_server(&server);
    fill(&tables);
    let hurt = Hurt::new(&server, fault);
    let sections = tables.sections(&tables.conn_string_at(&hurt.address()), "");
    let text = config(pair(), "", &format!("{}acl:\n{RULE}{sections}", users()));
    let config = scratch::write(&scratch::directory("chaos"), "auth_config.yml", &text);
    let password = password("alice");
    Row { config, account: "alice", password: &password, scope: "repository:web/app:pull,push" }.suffers(&hurt);
}

macro_rules! outages {
    ($($name:ident: $product:ident $fault:ident;)+) => {
        $(#[test]
        fn $name() {
            suffers(Product::$product, Fault::$fault);
        })+
    };
}

outages! {
    postgres_is_killed: Postgres Killed;
    postgres_is_paused: Postgres Paused;
    postgres_is_lost: Postgres Lost;
    postgres_is_reset: Postgres Reset;
    postgres_is_slowed: Postgres Slowed;
    mariadb_is_killed: MariaDb Killed;
    mariadb_is_paused: MariaDb Paused;
    mariadb_is_lost: MariaDb Lost;
    mariadb_is_reset: MariaDb Reset;
    mariadb_is_slowed: MariaDb Slowed;
}

/// Check 55: and a static user waits for nobody.
#[test]
fn a_database_that_does_not_answer_is_told_of_in_time() {
    for product in Product::SERVERS {
        let tables = Tables::new(product);
        fill(&tables);
        let link = Link::to(Server::shared(product).address());
        let server = Dockwarden::start(&file(&tables.sections(&tables.conn_string_at(&link.address()), "")));
        assert_eq!(ask(&server, "alice", &password("alice"), "").status, 200, "{product:?}");
        link.set(State::Stalled);
        for _ in 0..3 {
            let began = Instant::now();
            assert_eq!(ask(&server, "alice", &password("alice"), "").status, 503, "{product:?}");
            assert!(machine::elapsed(began) < Duration::from_millis(1500), "{product:?}: {:?}", began.elapsed());
            assert_eq!(ask(&server, "local", &password("local"), "").status, 200, "{product:?}");
        }
        link.set(State::Passing);
        until("a login", || (ask(&server, "alice", &password("alice"), "").status == 200).then_some(()));
        let log = server.process.until("the end of the outage in the log", |process| {
            Some(process.log()).filter(|log| log.contains("\"backend_back\""))
        });
        for reason in ["backend_down", "backend_back"] {
            assert_eq!(log.matches(&format!("\"{reason}\"")).count(), 1, "{product:?}: {reason}");
        }
    }
}

/// Who holds a lock on the table, as a migration does, holds up its users and nobody else.
#[test]
fn a_locked_table_is_told_of_in_time_and_its_end_is_noticed() {
    let tables = Tables::new(Product::Sqlite);
    fill(&tables);
    let server = server(&tables);
    assert_eq!(ask(&server, "alice", &password("alice"), "").status, 200);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut holder = runtime.block_on(async {
        use sqlx::Connection as _;
        let mut holder = sqlx::SqliteConnection::connect(&format!("sqlite:{}", tables.conn_string)).await.unwrap();
        sqlx::raw_sql("BEGIN EXCLUSIVE").execute(&mut holder).await.unwrap();
        holder
    });
    let began = Instant::now();
    assert_eq!(ask(&server, "alice", &password("alice"), "").status, 503);
    assert!(machine::elapsed(began) < Duration::from_millis(1500), "{:?}", began.elapsed());
    assert_eq!(ask(&server, "local", &password("local"), "").status, 200);
    runtime.block_on(async { sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap() });
    assert_eq!(ask(&server, "alice", &password("alice"), "").status, 200);
}
