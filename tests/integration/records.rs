//! Records in SQLite, in process: the suite that every store passes, and what is of a file alone.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use dockwarden::app::Reload;
use dockwarden::records::persons::{Person, PersonId};
use dockwarden::records::{Failure, Presented, Records, Room, Settings, Version, Whose, back_up, open, restore};

use crate::bed::{ALICE, ALICE_HASH, Bed, Folder, NOBODY};
use crate::stores::{account, at, conforms, hash, personal, survives_being_killed};
use crate::{stores_of_catalogue, stores_of_directory, stores_of_persons};

fn sqlite(file: &Path) -> Arc<dyn Records> {
    open(&Settings::sqlite(file.to_owned()))
}

#[tokio::test]
async fn sqlite_keeps_records_as_every_store_does() {
    let folder = tempfile::tempdir().unwrap();
    let records = sqlite(&folder.path().join("dockwarden.db"));
    conforms(&*records).await;
    stores_of_catalogue::conforms(&*records).await;
    stores_of_directory::conforms(&*records).await;
    stores_of_persons::conforms(&*records).await;
}

#[tokio::test]
async fn what_is_named_in_sqlite_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dockwarden.db");
    sqlite(&file).prepare().await.unwrap();
    stores_of_directory::what_is_named_stays(&Settings::sqlite(file)).await;
}

#[tokio::test]
async fn the_file_is_made_for_our_eyes_only() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dockwarden.db");
    let records = sqlite(&file);
    assert!(!file.exists(), "nothing is made before it is needed");
    records.prepare().await.unwrap();
    records.add(&personal("a", "alice"), Room::Any, at(1)).await.unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}

/// Check 49: an older program refuses a newer store, and changes nothing in it.
#[tokio::test]
async fn a_newer_file_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dockwarden.db");
    sqlite(&file).prepare().await.unwrap();
    let newer = "UPDATE dockwarden_records SET version = 5 WHERE name = 'schema'";
    run(&file, newer).await;
    let records = sqlite(&file);
    for refused in [records.prepare().await, records.find(&hash("a")).await.map(|_| ())] {
        let Err(Failure::Unusable { cause }) = refused else { panic!("{refused:?}") };
        assert!(cause.contains("was made by a newer Dockwarden (its records have version 5"), "{cause}");
    }
    let refused = restore(&Settings::sqlite(folder.path().join("other.db")), &file, at(5)).await.unwrap_err();
    assert!(refused.to_string().contains("newer Dockwarden"), "{refused}");
}

/// Changes a database of SQLite behind our back.
async fn run(file: &Path, sql: &'static str) {
    use sqlx::Connection as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// Check 50: what was revoked after a backup was made does not live again.
#[tokio::test]
async fn restoring_a_backup_ends_every_secret() {
    let folder = tempfile::tempdir().unwrap();
    let (file, backup) = (folder.path().join("dockwarden.db"), folder.path().join("backup.db"));
    let settings = Settings::sqlite(file.clone());
    let records = sqlite(&file);
    records.add(&personal("kept", "alice"), Room::Any, at(1)).await.unwrap();
    records.make_user(&account("olga"), "{}").await.unwrap();
    let person =
        Person { id: PersonId::of(&["p"]), account: account("ada"), text: "{}".to_owned(), version: Version(1) };
    records.make_person(&person).await.unwrap();
    records.replace_rules("[1]", records.rules_version().await.unwrap()).await.unwrap();
    let see = async |records: &dyn Records, text: &str| records.see(&hash(text), at(100), at(2)).await.unwrap();
    assert_eq!(see(&*records, "before").await, Presented::First);
    back_up(&settings, &backup).await.unwrap();
    assert_eq!(backup.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = back_up(&settings, &backup).await.unwrap_err().to_string();
    assert!(again.contains("a backup never overwrites one"), "{again}");
    records.revoke(&personal("kept", "alice").id, at(2)).await.unwrap();
    records.add(&personal("later", "alice"), Room::Any, at(2)).await.unwrap();
    assert_eq!(see(&*records, "since").await, Presented::First);
    let epoch = records.raise(&account("bob"), at(2)).await.unwrap();
    // A server has it.
    let refused = restore(&settings, &backup, at(3)).await.unwrap_err().to_string();
    assert!(refused.contains("is in use; stop the server that has it"), "{refused}");
    drop(records);
    // A process that another test is starting has all of this one's files until it is another program.
    let restored = loop {
        match restore(&settings, &backup, at(3)).await {
            Err(error) if error.to_string().contains("is in use") => tokio::task::yield_now().await,
            restored => break restored.unwrap(),
        }
    };
    assert_eq!((restored.secrets, restored.robots, restored.users, restored.rules), (1, 0, 1, 1));
    let records = sqlite(&file);
    for used in ["before", "since"] {
        assert_eq!(see(&*records, used).await, Presented::Again, "{used}: it may be used once");
    }
    let found = records.find(&hash("kept")).await.unwrap().unwrap();
    assert!(found.secret.revoked.is_none() && found.epoch > found.secret.epoch, "{found:?}");
    assert_eq!(records.list(&Whose::All, None, 10).await.unwrap().len(), 1);
    assert!(records.epoch(&account("bob")).await.unwrap() > epoch, "none is lower than it was");
    assert_eq!(records.rules().await.unwrap().text, "[1]");
    assert!(records.user(&account("olga")).await.unwrap().is_some());
    assert_eq!(records.person(&person.id).await.unwrap(), Some(person));
}

#[tokio::test]
async fn what_is_no_backup_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (file, other) = (folder.path().join("dockwarden.db"), folder.path().join("other"));
    let records = sqlite(&file);
    records.add(&personal("kept", "alice"), Room::Any, at(1)).await.unwrap();
    drop(records);
    for content in
        ["", "no database at all, but a text that is longer than a header of one hundred bytes has to be to be read"]
    {
        std::fs::write(&other, content).unwrap();
        let refused = restore(&Settings::sqlite(file.clone()), &other, at(3)).await;
        assert!(refused.is_err(), "{content}");
    }
    assert!(restore(&Settings::sqlite(file.clone()), &folder.path().join("none"), at(3)).await.is_err());
    let found = sqlite(&file).find(&hash("kept")).await.unwrap().unwrap();
    assert_eq!(found.epoch, found.secret.epoch);
}

/// Check 49: locked by another program, it is an error within two seconds, and works again by itself.
#[tokio::test]
async fn a_locked_file_is_an_error_in_time_and_passes_by_itself() {
    use sqlx::Connection as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dockwarden.db");
    let records = sqlite(&file);
    records.add(&personal("a", "alice"), Room::Any, at(1)).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let mut other = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let began = std::time::Instant::now();
    let refused = records.revoke(&personal("a", "alice").id, at(2)).await;
    assert!(matches!(refused, Err(Failure::Away { .. })), "{refused:?}");
    assert!(began.elapsed().as_millis() < 2000, "{:?}", began.elapsed());
    // Who only reads does not wait for who writes.
    assert!(records.find(&hash("a")).await.unwrap().is_some());
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    records.revoke(&personal("a", "alice").id, at(3)).await.unwrap();
    assert_eq!(records.find(&hash("a")).await.unwrap().unwrap().secret.revoked, Some(at(3)));
}

/// Check 48.
#[test]
fn a_kill_at_any_moment_leaves_whole_records_or_none() {
    let name = "DOCKWARDEN_TEST_STORE";
    let folder = tempfile::tempdir().unwrap();
    let file = std::env::var_os(name).map_or_else(|| folder.path().join("dockwarden.db"), std::path::PathBuf::from);
    let test = "records::a_kill_at_any_moment_leaves_whole_records_or_none";
    survives_being_killed(test, 30, (name, file.as_os_str()), 3, || sqlite(&file));
}

/// What decides is what is there now: at the next login, and a second after the rules were changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_rules_in_the_records_are_changed_while_it_runs() {
    let folder = Folder::new();
    let file = folder.path("dockwarden.db");
    let records = sqlite(&file);
    let alice = account("alice");
    let user = |more: &str| {
        format!(
            "{{\"username\": \"alice\", \"password\": \"{ALICE_HASH}\", \"labels\": {{\"team\": [\"web\"]}}{more}}}"
        )
    };
    records.make_user(&alice, &user("")).await.unwrap();
    let rules = |actions: &str| {
        format!("[{{\"seq\": 10, \"match\": {{\"name\": \"${{labels:team}}/*\"}}, \"actions\": [{actions}]}}]")
    };
    records.replace_rules(&rules("\"pull\""), Version(0)).await.unwrap();
    // Where the section says nothing, they are beside the key that signs.
    let bed =
        Bed::in_folder(folder, "users: {}\nacl: []\nrecords_auth: {}\nacl_records: {cache_ttl: 1h, max_stale: 2h}\n");
    let scope = "repository:web/app:pull,push";
    let granted = async |expected: &[&str]| {
        let began = std::time::Instant::now();
        loop {
            let reply = bed.get(&format!("/auth?service=registry&scope={scope}")).by(ALICE).send().await;
            // Until the rules are read for the first time, and where none can be used.
            if reply.status == 200 && reply.access() == expected {
                return;
            }
            assert!(began.elapsed().as_secs() < 10, "{}", reply.text());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    granted(&["repository:web/app:pull"]).await;
    assert_eq!(bed.get("/auth?service=registry").basic("alice", "wrong").send().await.status, 401);
    assert_eq!(bed.get("/auth?service=registry").basic("Alice", "alice-pw").send().await.status, 401);
    assert_eq!(bed.get("/auth?service=registry").by(NOBODY).send().await.status, 401);
    records.replace_rules(&rules("\"pull\", \"push\""), Version(1)).await.unwrap();
    granted(&["repository:web/app:pull,push"]).await;
    // A rule that cannot be used keeps the last good ones in use.
    records.replace_rules(&rules("\"PULL\""), Version(2)).await.unwrap();
    let began = std::time::Instant::now();
    let is_refused =
        |line: &str| line.starts_with("dockwarden_rules_refused{source=\"acl_records\"") && line.ends_with(" 1");
    while !bed.get("/metrics").send().await.text().lines().any(is_refused) {
        assert!(began.elapsed().as_secs() < 10, "nobody is told of the wrong rule");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    granted(&["repository:web/app:pull,push"]).await;
    records.replace_rules(&rules(""), Version(3)).await.unwrap();
    granted(&["repository:web/app:"]).await;
    records.replace_user(&alice, &user(", \"disabled\": true"), Version(1)).await.unwrap();
    assert_eq!(bed.get("/auth?service=registry").by(ALICE).send().await.status, 401);
    records.replace_user(&alice, "{\"password\": 7}", Version(2)).await.unwrap();
    assert_eq!(bed.get("/auth?service=registry").by(ALICE).send().await.status, 503, "nobody knows what it means");
    records.remove_user(&alice, Version(3)).await.unwrap();
    assert_eq!(bed.get("/auth?service=registry").by(ALICE).send().await.status, 401);
}

/// Where the folder is not there yet, everybody else is served, and the records are used once it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_away_keep_nobody_else_out_and_come_back_by_themselves() {
    let folder = Folder::new();
    let config = "records: {sqlite: $DIR/later/dockwarden.db}\nrecords_auth: {}\n";
    let bed = Bed::in_folder(folder, &format!("{}{}{config}", crate::bed::USERS, crate::bed::RULES));
    bed.app.prepare().await.unwrap();
    assert_eq!(bed.get("/auth?service=registry").by(ALICE).send().await.status, 200);
    assert_eq!(bed.get("/auth?service=registry").basic("nobody", "x").send().await.status, 503);
    let text = bed.get("/metrics").send().await.ok().text();
    for backend in ["records", "records_auth"] {
        assert!(text.contains(&format!("dockwarden_backend_down{{backend=\"{backend}\"}} 1\n")), "{text}");
    }
    std::fs::create_dir(bed.folder.path("later")).unwrap();
    let began = std::time::Instant::now();
    while bed.get("/auth?service=registry").basic("nobody", "x").send().await.status != 401 {
        assert!(began.elapsed().as_secs() < 10, "it does not recover");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    bed.app.prepare().await.unwrap();
}

/// The commands, as an administrator runs them.
#[test]
fn records_are_saved_and_restored_by_command_and_a_newer_file_is_not_served() {
    let folder = Folder::new();
    let config = folder.configure("records: {sqlite: $DIR/dockwarden.db}\n");
    let (file, backup) = (folder.path("dockwarden.db"), folder.path("backup.db"));
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dockwarden"));
        command.args(arguments).arg(&config).env_clear();
        if arguments[0] == "records" {
            command.arg(&backup);
        }
        let done = command.output().unwrap();
        (done.status.code(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    };
    let (status, said) = run(&["records", "backup"]);
    assert!(status == Some(1) && said.contains("there are no records yet"), "{said}");
    assert!(!backup.exists(), "half a backup is worse than none");
    let (status, said) = run(&["check", "--connect"]);
    assert!(status == Some(0) && said.contains("records: ok: ") && said.contains("is not there yet"), "{said}");
    assert!(!file.exists(), "a check makes nothing");
    let with_rules = folder.complete("users: {}\nacl: []\nrecords_auth: {}\nacl_records: {}\n");
    let with_rules = folder.put("with_rules.yml", &with_rules);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dockwarden"));
    let done = command.args(["check", "--connect"]).arg(&with_rules).env_clear().output().unwrap();
    let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    assert!(done.status.success() && said.contains("acl_records: ok: ") && !said.contains("holds 0 rules"), "{said}");
    assert!(!file.exists() && !folder.path("dockwarden.db.lock").exists(), "nor where rules are in it");
    let (status, said) = run(&["migrate"]);
    assert!(status == Some(0) && said.ends_with("records: applied\n"), "{said}");
    for (arguments, expected) in [
        (["records", "backup"].as_slice(), " is saved in "),
        (&["records", "restore"], "EVERY SECRET HAS ENDED: none that was handed out before works any more"),
        (&["migrate"], "records: already there\n"),
        (&["check", "--connect"], " holds the records (version 4)"),
    ] {
        let (status, said) = run(arguments);
        assert!(status == Some(0) && said.contains(expected), "{said}");
    }
    tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(self::run(&file, "UPDATE dockwarden_records SET version = 5 WHERE name = 'schema'"));
    for arguments in [["serve"].as_slice(), &["check", "--connect"], &["migrate"]] {
        let (status, said) = run(arguments);
        assert!(status == Some(1) && said.contains("was made by a newer Dockwarden"), "{arguments:?}: {said}");
    }
}

/// The commands that change users and rules in MongoDB change those in the records, too.
#[test]
fn users_and_rules_in_the_records_are_changed_by_command() {
    let folder = Folder::new();
    let config = folder.configure("users: {}\nacl: []\nrecords_auth: {}\nacl_records: {}\n");
    let run = |command: [&str; 2], more: &[&str], input: &str| {
        use std::io::Write as _;
        use std::process::Stdio;
        let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_dockwarden"));
        run.args(command).arg(&config).args(more).env_clear();
        let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that wants nothing does not read it.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        let done = child.wait_with_output().unwrap();
        (done.status.code(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    };
    let done = |command: [&str; 2], more: &[&str], input: &str, expected: &str| {
        let (status, said) = run(command, more, input);
        assert!(status == Some(0) && said.contains(expected), "{command:?} {more:?}: {said}");
    };
    let refused = |command: [&str; 2], more: &[&str], input: &str, expected: &str| {
        let (status, said) = run(command, more, input);
        assert!(status != Some(0) && said.contains(expected), "{command:?} {more:?}: {said}");
    };
    done(["user", "add"], &["carol", "--label", "team=web", "--cost", "4"], "a long password\n", "carol: added");
    refused(["user", "add"], &["carol", "--cost", "4"], "a long password\n", "there is a user \"carol\"");
    done(["user", "label"], &["carol", "team+=ops"], "", "carol: ");
    done(["user", "disable"], &["carol"], "", "disabled");
    done(["user", "list"], &[], "", "carol  disabled");
    done(["user", "enable"], &["carol"], "", "");
    done(["user", "passwd"], &["carol", "--cost", "5"], "another password\n", "carol: new password");
    refused(["user", "show"], &["dave"], "", "there is no user \"dave\"");
    done(["acl", "add"], &["--name", "${labels:team}/*", "--actions", "pull"], "", "+ ");
    done(["acl", "add"], &["--account", "carol", "--actions", "", "--before", "10"], "", "+ ");
    done(["acl", "list"], &[], "", "${labels:team}/*");
    let more = "{\"match\": {\"account\": \"dave\"}, \"actions\": [\"push\"]}\n";
    done(["acl", "import"], &["-", "--append"], more, "1 rule changed");
    done(["acl", "export"], &["--format", "jsonl"], "", "\"dave\"");
    refused(["acl", "add"], &["--name", "/(/", "--actions", "pull"], "", "match.name");
    done(["acl", "import"], &["-", "--replace"], more, "");
    let (_, said) = run(["acl", "list"], &[], "");
    assert_eq!(said.lines().count(), 1, "{said}");
    refused(["acl", "list"], &["--section", "acl_mongo"], "", "there is no such section");
    done(["acl", "list"], &["--section", "acl_records"], "", "dave");
    done(["check", "--connect"], &[], "", " holds 1 rule\n");
    done(["user", "remove"], &["carol"], "", "carol: removed");
    done(["user", "list"], &[], "", "");
}

/// Check 49: where nothing can be written any more, that is an error, nothing is lost, and it passes by itself.
#[test]
fn a_file_that_cannot_grow_is_an_error_and_loses_nothing() {
    let folder = Folder::new();
    let config = folder.configure("users: {}\nacl: []\nrecords_auth: {}\n");
    let add = |limit: &str, name: &str| {
        // What is written beyond the limit is an error, as on a full disk, and no signal.
        let script = format!("trap '' XFSZ; {limit} exec \"$0\" user add \"$1\" {name} --cost 4");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_dockwarden")]).arg(&config);
        let password = folder.put("password", "a long password\n");
        command.stdin(std::fs::File::open(password).unwrap()).env_clear();
        let done = command.output().unwrap();
        (done.status.success(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
    };
    let (is_added, said) = add("", "first");
    assert!(is_added, "{said}");
    let began = std::time::Instant::now();
    let (is_added, said) = add("ulimit -f 1;", "second");
    assert!(!is_added && said.contains("dockwarden.db"), "{said}");
    assert!(began.elapsed().as_secs() < 4, "{:?}", began.elapsed());
    let (is_added, said) = add("", "third");
    assert!(is_added, "{said}");
    let records = sqlite(&folder.path("dockwarden.db"));
    let users = tokio::runtime::Runtime::new().unwrap().block_on(records.users(None, 10)).unwrap();
    assert_eq!(users.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["first", "third"]);
}

/// At a reload, records that did not change are kept as they are, and those that cannot be used are not taken over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_keeps_records_and_refuses_those_that_cannot_be_used() {
    let folder = Folder::new();
    sqlite(&folder.path("newer.db")).prepare().await.unwrap();
    run(&folder.path("newer.db"), "UPDATE dockwarden_records SET version = 5 WHERE name = 'schema'").await;
    let bed = Bed::in_folder(folder, "records: {sqlite: $DIR/dockwarden.db}\n");
    let records = || Arc::clone(&bed.app.snapshot().records.as_ref().unwrap().records);
    let first = records();
    let reload = async |file: &str| {
        bed.folder.configure(&format!("records: {{sqlite: $DIR/{file}}}\n"));
        let app = Arc::clone(&bed.app);
        tokio::task::spawn_blocking(move || app.reload()).await.unwrap()
    };
    assert_eq!(reload("dockwarden.db").await, Reload::Done);
    assert!(Arc::ptr_eq(&first, &records()));
    assert_eq!(reload("newer.db").await, Reload::Failed);
    assert!(Arc::ptr_eq(&first, &records()));
    assert_eq!(reload("other.db").await, Reload::Done);
    assert!(!Arc::ptr_eq(&first, &records()) && bed.folder.path("other.db").exists());
}
