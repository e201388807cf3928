//! Commands on docker_auth's tables, where the database does not keep what it was given.

use sqlx::{Connection as _, Row as _};

use super::{command, configured, finish, run};
use crate::bed::ALICE_HASH;

/// A column that holds less, or a trigger: what would be kept is looked at before it is, and nothing is changed.
#[tokio::test]
async fn what_a_database_would_keep_otherwise_is_not_written() {
    let (folder, file) =
        configured("xorm_auth: {database_type: sqlite3, conn_string: $DIR/users.db}\nusers: ~\nacl: []\n");
    let migrated = run(["migrate", &file]);
    assert_eq!(migrated.code, 0, "{}", migrated.err);
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path("users.db"));
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    let add = |name: &str| finish(command(["user", "add", &file, name, "--label", "team=web", "--hash"]), ALICE_HASH);
    assert_eq!(add("alice").code, 0);
    for (trigger, name, is_added) in [
        ("UPDATE xorm_user SET labels = '{}' WHERE id = NEW.id", "bob", false),
        ("DELETE FROM xorm_user WHERE id = NEW.id", "bob", false),
        ("UPDATE xorm_user SET labels = labels WHERE id = NEW.id", "carol", true),
    ] {
        let make = format!("CREATE TRIGGER own AFTER INSERT ON xorm_user BEGIN {trigger}; END");
        sqlx::raw_sql(sqlx::AssertSqlSafe(make)).execute(&mut connection).await.unwrap();
        let added = add(name);
        assert_eq!(added.code == 0, is_added, "{trigger}: {}", added.err);
        let told = ["would keep something else than what was to be written", "nothing was changed"];
        assert!(is_added || told.iter().all(|told| added.err.contains(told)), "{trigger}: {}", added.err);
        sqlx::raw_sql("DROP TRIGGER own").execute(&mut connection).await.unwrap();
        let rows = sqlx::query("SELECT username FROM xorm_user ORDER BY id").fetch_all(&mut connection).await.unwrap();
        let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(names, if is_added { vec!["alice", "carol"] } else { vec!["alice"] }, "{trigger}");
    }
    connection.close().await.unwrap();
}
