//! Users and rules in a file of SQLite, with docker_auth's tables. The servers are in `tests/real/sql`.

use std::path::Path;
use std::sync::Arc;

use dockwarden::authn::password::{self, Passwords};
use dockwarden::authn::sql::XormAuthSettings;
use dockwarden::backend::{Configured as _, Opened};
use dockwarden::config::{Config, Secrets};
use sqlx::{Connection as _, SqliteConnection};

use super::conformance::{ACCOUNTS, conforms, outage_closes_and_says_so};
use crate::bed::{Bed, Folder};

const USERS: &str = "xorm_auth: {database_type: sqlite3, conn_string: $DIR/auth.db}\n";

/// Makes the tables in a file, with these users and their hashes.
pub(super) fn tables(path: &Path, users: &[(&str, &str)]) {
    // On a thread of its own: who calls has a runtime already.
    std::thread::scope(|scope| scope.spawn(|| make(path, users)).join().unwrap());
}

fn make(path: &Path, users: &[(&str, &str)]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let path = format!("sqlite:{}?mode=rwc", path.display());
        let mut connection = SqliteConnection::connect(&path).await.unwrap();
        sqlx::raw_sql(
            "CREATE TABLE xorm_user (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, username TEXT NOT NULL, \
             password_hash TEXT NOT NULL, labels TEXT NULL); \
             CREATE TABLE xorm_acl_entry (acl_entry TEXT NULL, seq INTEGER NULL)",
        )
        .execute(&mut connection)
        .await
        .unwrap();
        for (account, hash) in users {
            let user = sqlx::query("INSERT INTO xorm_user (username, password_hash) VALUES ($1, $2)");
            user.bind(*account).bind(*hash).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
    });
}

#[tokio::test]
async fn the_backend_conforms() {
    let folder = Folder::new();
    let users = ACCOUNTS.map(|(account, right)| (account, password::hash(right, 4).unwrap()));
    let users = users.each_ref().map(|(account, hash)| (*account, hash.as_str()));
    tables(&folder.path("auth.db"), &users);
    let config = Config::load(&folder.configure(USERS), [], Secrets::Read).unwrap();
    let passwords = Arc::new(Passwords::new(|_| {}).unwrap());
    let settings = Arc::new(config.backends.get::<XormAuthSettings>().unwrap().clone());
    let Opened::Identities(users, _) = settings.open(&passwords).unwrap() else { unreachable!("it knows users") };
    conforms(&*users).await;
}

#[tokio::test]
async fn a_file_that_is_not_there_or_is_none_closes_and_says_so() {
    for (what, text) in [("no file", None), ("no database", Some("what is no database".repeat(100)))] {
        let folder = Folder::new();
        if let Some(text) = text {
            folder.put("auth.db", &text);
        }
        let bed = Bed::in_folder(folder, USERS);
        outage_closes_and_says_so(&bed, what).await;
        let text = bed.get("/metrics").send().await.ok().text();
        assert!(text.lines().any(|line| line == "dockwarden_backend_down{backend=\"xorm_auth\"} 1"), "{what}: {text}");
    }
}

/// As where docker_auth never ran.
#[tokio::test]
async fn tables_that_are_not_there_close_and_say_so() {
    let folder = Folder::new();
    folder.put("auth.db", "");
    let bed = Bed::in_folder(folder, USERS);
    outage_closes_and_says_so(&bed, "no tables").await;
}
