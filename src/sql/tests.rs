//! A database of SQLite, in a folder of its own. The others need their servers: see `tests/real/sql`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::settings::{ANSWER_WITHIN, Access, File};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use super::*;

const OUTAGE: Outage = Outage { backend: "test", trial: "SELECT 1", down: "it is away", back: "it is back" };

fn database(path: &Path, access: Access) -> Database {
    let server = Server::Sqlite(File { path: path.to_owned(), access });
    Database::new(Settings { server, answer_within: ANSWER_WITHIN }, OUTAGE)
}

async fn made(path: &Path) -> Database {
    let database = database(path, Access::Own);
    let steps = [
        Step::any("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT UNIQUE, photo BLOB)", Vec::new()),
        Step::one("INSERT INTO people (name, photo) VALUES ($1, $2)", vec!["alice".into(), vec![1, 0].into()]),
        Step::one("INSERT INTO people (name, photo) VALUES ($2, $1)", vec![Value::Null, "bob".into()]),
    ];
    assert_eq!(database.write(&steps).await.unwrap(), Written::Applied(vec![0, 1, 1]));
    database
}

async fn names(database: &Database) -> Vec<String> {
    let rows = database.read("SELECT name FROM people ORDER BY id", &[]).await.unwrap();
    rows.iter().map(|row| row.text(0).unwrap().to_owned()).collect()
}

#[tokio::test]
async fn values_come_back_as_they_were_written_and_a_wrong_type_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let database = made(&folder.path().join("db")).await;
    let sql = "SELECT id, name, photo FROM people WHERE id >= $1 AND name <> $2 ORDER BY id";
    let rows = database.read(sql, &[1.into(), "carol".into()]).await.unwrap();
    let values = |row: &Row| {
        (row.integer(0), row.text(1).map(str::to_owned), row.optional_bytes(2).map(|b| b.map(<[u8]>::to_vec)))
    };
    assert_eq!(values(&rows[0]), (Ok(1), Ok("alice".to_owned()), Ok(Some(vec![1, 0]))));
    assert_eq!(values(&rows[1]), (Ok(2), Ok("bob".to_owned()), Ok(None)));
    for (wrong, message) in [
        (rows[0].text(0).map(|_| ()), "column 0 of the answer must be a text, and is a number"),
        (rows[0].integer(1).map(|_| ()), "column 1 of the answer must be a number, and is a text"),
        (rows[1].bytes(2).map(|_| ()), "column 2 of the answer must be bytes, and is NULL"),
        (rows[1].optional_text(3).map(|_| ()), "column 3 of the answer must be a text, and is no column"),
    ] {
        assert_eq!(wrong.unwrap_err().to_string(), message);
    }
    assert_eq!(format!("{:?}", rows[0]), "Row([a number, a text, bytes])", "no value is shown");
}

#[tokio::test]
async fn all_steps_are_made_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let database = made(&folder.path().join("db")).await;
    let rename =
        |from: &str, to: &str| Step::one("UPDATE people SET name = $2 WHERE name = $1", vec![from.into(), to.into()]);
    for (steps, expected) in [
        (vec![rename("alice", "anna"), rename("nobody", "carol")], Written::Unmet { step: 1 }),
        (vec![rename("alice", "anna"), rename("anna", "bob")], Written::Duplicate { step: 1 }),
        (vec![Step::one("DELETE FROM people", Vec::new())], Written::Unmet { step: 0 }),
    ] {
        assert_eq!(database.write(&steps).await.unwrap(), expected);
        assert_eq!(names(&database).await, ["alice", "bob"]);
    }
    let refused = database.write(&[rename("alice", "anna"), Step::any("nonsense", Vec::new())]).await;
    assert!(matches!(refused, Err(Failure::Refused { .. })), "{refused:?}");
    assert_eq!(names(&database).await, ["alice", "bob"]);
    assert_eq!(database.passage(), Passage::Passing, "what it refuses one keeps nobody else out");
    assert_eq!(database.write(&[rename("alice", "anna")]).await.unwrap(), Written::Applied(vec![1]));
    assert_eq!(names(&database).await, ["anna", "bob"]);
}

#[tokio::test]
async fn a_file_of_ours_is_for_our_eyes_only_and_somebody_elses_is_only_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let ours = made(&path).await;
    for file in ["db", "db-wal", "db-shm"] {
        let mode = folder.path().join(file).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    for (pragma, expected) in [("PRAGMA synchronous", 2), ("PRAGMA foreign_keys", 1)] {
        assert_eq!(ours.read(pragma, &[]).await.unwrap()[0].integer(0), Ok(expected), "{pragma}");
    }
    assert_eq!(ours.read("PRAGMA journal_mode", &[]).await.unwrap()[0].text(0), Ok("wal"));
    let theirs = database(&path, Access::ReadOnly);
    assert_eq!(names(&theirs).await, ["alice", "bob"]);
    let refused = theirs.write(&[Step::any("DELETE FROM people", Vec::new())]).await.unwrap_err();
    assert!(matches!(refused, Failure::Forbidden { .. }) && refused.advice().contains("change them"), "{refused:?}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_known_to_be_away_until_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let away = database(&path, Access::ReadOnly);
    let failure = away.read("SELECT 1", &[]).await.unwrap_err();
    assert!(matches!(failure, Failure::Down { .. }), "{failure}");
    assert!(failure.to_string().contains(&path.display().to_string()), "{failure}");
    let failure = away.read("SELECT 1", &[]).await.unwrap_err();
    assert!(matches!(failure, Failure::Open { .. }), "{failure}");
    assert!(matches!(away.passage(), Passage::Shut { .. }));
    made(&path).await;
    let mut tries = 0;
    while away.passage() != Passage::Passing {
        tokio::time::sleep(Duration::from_millis(10)).await;
        tries += 1;
        assert!(tries < 1000, "it was not noticed");
    }
    assert_eq!(names(&away).await, ["alice", "bob"]);
}

#[tokio::test]
async fn a_lock_is_waited_for_no_longer_than_a_question_may_take() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let one = made(&path).await;
    let other = database(&path, Access::Own);
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
    let began = crate::clock::now();
    let delete = [Step::any("DELETE FROM people", Vec::new())];
    let failure = other.write(&delete).await.unwrap_err();
    assert!(matches!(failure, Failure::Slow { .. }), "{failure}");
    assert!(began.elapsed() < ANSWER_WITHIN * 2);
    assert_eq!(names(&one).await, ["alice", "bob"], "who reads waits for nobody");
    sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
    assert_eq!(other.write(&delete).await.unwrap(), Written::Applied(vec![2]));
}

/// Many at once share a few connections.
#[tokio::test]
async fn many_writes_at_once_are_all_made() {
    let folder = tempfile::tempdir().unwrap();
    let database = Arc::new(made(&folder.path().join("db")).await);
    let mut work = tokio::task::JoinSet::new();
    for number in 0..100_i64 {
        let database = Arc::clone(&database);
        work.spawn(async move {
            let step = Step::one("INSERT INTO people (name) VALUES ($1)", vec![format!("p{number}").into()]);
            let limit = Duration::from_secs(20);
            assert_eq!(database.write_within(limit, &[step]).await.unwrap(), Written::Applied(vec![1]));
            assert!(!database.read_within(limit, "SELECT name FROM people", &[]).await.unwrap().is_empty());
        });
    }
    work.join_all().await;
    assert_eq!(names(&database).await.len(), 102);
}

/// At the first start, users, rules and secrets ask for the file at once, and each would give it a write-ahead log.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_file_is_made_by_many_at_once() {
    for round in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let mut work = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let database = database(&folder.path().join("db"), Access::Own);
            work.spawn(async move { database.read("SELECT 1", &[]).await.map(|_| ()) });
        }
        for made in work.join_all().await {
            assert!(made.is_ok(), "round {round}: {made:?}");
        }
    }
}

/// What to do about a file is said of the file; nothing of an address or a deadline.
#[tokio::test]
async fn what_can_be_done_about_a_file_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    std::fs::write(&path, [7; 8192]).unwrap();
    for (access, advice) in [(Access::Own, "restore a backup"), (Access::ReadOnly, "is the file there")] {
        let database = database(&path, access);
        for _ in 0..2 {
            let failure = database.read("SELECT 1 FROM people", &[]).await.unwrap_err();
            assert!(failure.advice().contains(advice), "{failure}; {}", failure.advice());
        }
    }
}

/// Who only looks makes no file, and says whether it could be made.
#[test]
fn a_file_that_is_not_there_yet_is_told_from_one_that_cannot_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let settings = |path: &Path, access| {
        let server = Server::Sqlite(File { path: path.to_owned(), access });
        Settings { server, answer_within: ANSWER_WITHIN }
    };
    let path = folder.path().join("db");
    let told = settings(&path, Access::Own).unmade().unwrap().unwrap();
    assert!(told.contains("is not there yet; it is made when the server starts"), "{told}");
    assert!(settings(&path, Access::ReadOnly).unmade().unwrap().is_none(), "it is somebody else's");
    let told = settings(&folder.path().join("no/db"), Access::Own).unmade().unwrap_err().to_string();
    assert!(told.contains("cannot be made in the folder") && told.contains("No such file or directory"), "{told}");
    std::fs::write(&path, "").unwrap();
    assert!(settings(&path, Access::Own).unmade().unwrap().is_none());
}
