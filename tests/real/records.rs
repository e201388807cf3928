//! Records in PostgreSQL and MongoDB: the suite that every store passes, preparing them, moving from one to another, and a server's
//! bad days.

mod moved;
mod outages;
mod owner;

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dockwarden::config::{Config, Secrets};
use dockwarden::records::{Failure, Presented, Records, Room, Settings, Whose, back_up, migrate, open, restore};
use mongodb::bson::doc;

use crate::support::mongo::{DATABASE, Database};
use crate::support::records::{account, at, conforms, hash, personal, survives_being_killed};
use crate::support::scratch;
use crate::support::sql::{Product, Server, Tables};
use crate::support::{catalogue, directory, machine, persons};

/// What this `records` section says.
fn settings(section: &str) -> Settings {
    let text = format!(
        "server: {{addr: \":1\"}}\ntoken: {{issuer: i, certificate: c, key: k}}\nusers: {{}}\nacl: []\n{section}"
    );
    let config = Config::read(Path::new("config.yml"), &text, [], Secrets::Skip);
    config.unwrap_or_else(|problems| panic!("{problems:?}")).records.unwrap()
}

pub(crate) fn of_mongo(database: &Database) -> String {
    format!(
        "records: {{mongo: {{dial_info: {{addrs: [\"{}\"], database: \"{DATABASE}\", username: root, password: example}}}}}}\n",
        database.address()
    )
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// Records in a database that nobody has prepared cannot be used, and say what to do; afterwards they do what all do.
async fn is_prepared_and_conforms(settings: &Settings) {
    let Err(Failure::Unusable { cause }) = open(settings).find(&hash("a")).await else { panic!("it is not prepared") };
    assert!(cause.contains("is not prepared for records; run: dockwarden migrate"), "{cause}");
    assert!(migrate(settings, true).await.unwrap(), "there is something to do");
    assert!(open(settings).prepare().await.is_err(), "and it was not done");
    assert!(migrate(settings, false).await.unwrap());
    assert!(!migrate(settings, false).await.unwrap(), "there is nothing left to do");
    conforms(&*open(settings)).await;
    catalogue::conforms(&*open(settings)).await;
    directory::conforms(&*open(settings)).await;
    directory::what_is_named_stays(settings).await;
    persons::conforms(&*open(settings)).await;
}

#[test]
fn postgresql_keeps_records_as_every_store_does() {
    let tables = Tables::new(Product::Postgres);
    let settings = settings(&tables.records());
    block_on(is_prepared_and_conforms(&settings));
    tables.run("UPDATE dockwarden_records SET version = 5 WHERE name = 'schema'");
    block_on(is_refused_as_newer(&settings));
}

#[test]
fn mongodb_keeps_records_as_every_store_does() {
    let database = Database::start();
    let settings = settings(&of_mongo(&database));
    block_on(is_prepared_and_conforms(&settings));
    database.update("dockwarden_records", doc! { "_id": "schema" }, doc! { "$set": { "version": 5_i64 } });
    block_on(is_refused_as_newer(&settings));
}

async fn is_refused_as_newer(settings: &Settings) {
    let records = open(settings);
    for refused in [records.find(&hash("a")).await.err(), migrate(settings, false).await.err()] {
        let Some(Failure::Unusable { cause }) = refused else { panic!("{refused:?}") };
        assert!(cause.contains("was made by a newer Dockwarden"), "{cause}");
    }
}

/// A backup of any store can be restored into any, and ends every secret there.
#[test]
fn records_move_from_one_store_to_another() {
    let folder = scratch::directory("records");
    let (tables, database) = (Tables::new(Product::Postgres), Database::start());
    let stores = [
        settings(&tables.records()),
        settings(&of_mongo(&database)),
        Settings::sqlite(folder.join("dockwarden.db")),
        settings(&Tables::new(Product::Postgres).records()),
    ];
    block_on(async {
        for store in &stores {
            migrate(store, false).await.unwrap();
        }
        let first = open(&stores[0]);
        for number in 0..2100 {
            let secret = personal(&format!("m{number:04}"), "mia");
            first.add(&secret, Room::Any, at(1)).await.unwrap();
        }
        first.make_user(&account("mia"), "{\"password\": \"x\"}").await.unwrap();
        first.replace_rules("[7]", first.rules_version().await.unwrap()).await.unwrap();
        moved::write(&*first).await;
        let mut epoch = first.raise(&account("max"), at(2)).await.unwrap();
        for (number, pair) in stores.windows(2).enumerate() {
            let [from, to] = pair else { unreachable!("two stores") };
            let backup = folder.join(format!("backup{number}"));
            back_up(from, &backup).await.unwrap();
            let restored = restore(to, &backup, at(3)).await.unwrap();
            assert_eq!((restored.secrets, restored.users), (2100, 1));
            let records = open(to);
            let found = records.find(&hash("m2099")).await.unwrap().unwrap();
            assert!(found.epoch > found.secret.epoch, "no secret lives in {to:?}");
            assert_eq!(number_of_secrets(&*records).await, 2100);
            assert_eq!(records.rules().await.unwrap().text, "[7]");
            moved::is_there(&*records).await;
            let raised = records.epoch(&account("max")).await.unwrap();
            assert!(raised > epoch, "{raised:?} {epoch:?}");
            epoch = raised;
            // What was there is gone.
            records.add(&personal("gone", "mia"), Room::Any, at(4)).await.unwrap();
            // Whatever it is called.
            records.make_user(&account("schema"), "{}").await.unwrap();
            // But not that a token was used: it could be once more.
            let used = hash(&format!("used {number}"));
            assert_eq!(records.see(&used, at(100), at(4)).await.unwrap(), Presented::First);
            drop(records);
            restore(to, &backup, at(5)).await.unwrap();
            assert_eq!(open(to).find(&hash("gone")).await.unwrap(), None);
            assert_eq!(open(to).user(&account("schema")).await.unwrap(), None);
            assert_eq!(open(to).see(&used, at(100), at(5)).await.unwrap(), Presented::Again);
        }
    });
}

/// How many secrets there are, read some at a time as the program does.
async fn number_of_secrets(records: &dyn Records) -> usize {
    let (mut number, mut after) = (0, None);
    loop {
        let page = records.list(&Whose::All, after.as_ref(), 500).await.unwrap();
        let Some(last) = page.last() else { return number };
        after = Some(last.id.clone());
        number += page.len();
    }
}

/// Where a victim's store is, for the process that is killed.
const STORE: &str = "DOCKWARDEN_TEST_STORE";

fn is_killed(test: &str, most: usize, make: impl FnOnce() -> String) {
    let section = std::env::var(STORE).unwrap_or_else(|_| {
        let section = make();
        block_on(migrate(&settings(&section), false)).unwrap();
        section
    });
    survives_being_killed(test, 10, (STORE, OsStr::new(&section)), most, || open(&settings(&section)));
}

/// Check 48.
#[test]
fn a_kill_leaves_whole_records_in_postgresql() {
    is_killed("records::a_kill_leaves_whole_records_in_postgresql", 3, || Tables::new(Product::Postgres).records());
}

/// Check 48. Without transactions, one may be there that was to give way.
#[test]
fn a_kill_leaves_whole_records_in_mongodb() {
    let mut database = None;
    is_killed("records::a_kill_leaves_whole_records_in_mongodb", 4, || of_mongo(database.insert(Database::start())));
}

/// An outage is an error within two seconds, at once while it lasts, and over by itself.
async fn an_outage_is_told_in_time(records: &Arc<dyn Records>, kill: impl Fn(), restart: impl Fn()) {
    records.add(&personal("kept", "alice"), Room::Any, at(1)).await.unwrap();
    kill();
    for limit in [2000, 100] {
        let began = Instant::now();
        let refused = records.find(&hash("kept")).await;
        assert!(matches!(refused, Err(Failure::Away { .. })), "{refused:?}");
        assert!(machine::elapsed(began) < Duration::from_millis(limit), "{:?}", began.elapsed());
    }
    restart();
    let began = Instant::now();
    while records.find(&hash("kept")).await.is_err() {
        assert!(machine::elapsed(began) < Duration::from_secs(10), "it does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(records.find(&hash("kept")).await.unwrap().is_some());
}

#[test]
fn postgresql_comes_back_by_itself() {
    let server = Server::start(Product::Postgres);
    let settings = settings(&Tables::in_server(&server).records());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(migrate(&settings, false)).unwrap();
    let records = open(&settings);
    let outage =
        an_outage_is_told_in_time(&records, || server.kill(), || tokio::task::block_in_place(|| server.restart()));
    runtime.block_on(outage);
}

#[test]
fn mongodb_comes_back_by_itself() {
    let database = Database::start();
    let settings = settings(&of_mongo(&database));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(migrate(&settings, false)).unwrap();
    let records = open(&settings);
    runtime.block_on(an_outage_is_told_in_time(&records, || database.kill(), || database.restart()));
}
