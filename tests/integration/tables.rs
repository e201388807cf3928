//! Users and rules in docker_auth's tables in a file of SQLite, changed by command. The servers are in `tests/real/sql/admin.rs`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use dockwarden::authn::LabelSyntax;
use dockwarden::authn::mongo::accounts::Accounts;
use dockwarden::authn::password;
use dockwarden::authn::sql::XormAuthSettings;
use dockwarden::authz::mongo::book::{Change, Position, RuleBook, Which};
use dockwarden::authz::sql::AclXormSettings;
use dockwarden::config::{Config, Secrets};
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

use crate::bed::Folder;

const SECTIONS: &str = "xorm_auth: {database_type: sqlite3, conn_string: $DIR/auth.db}\n\
                        acl_xorm: {database_type: sqlite3, conn_string: $DIR/auth.db, cache_ttl: 1s}\n";

/// Runs a command on this file; what it printed, and whether it did what was asked.
fn run(config: &PathBuf, command: [&str; 2], more: &[&str], input: &str) -> (bool, String) {
    use std::io::Write as _;
    let mut run = Command::new(env!("CARGO_BIN_EXE_dockwarden"));
    run.args(command.iter().filter(|word| !word.is_empty())).arg(config).args(more).env_clear();
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that wants nothing does not read it.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let done = child.wait_with_output().unwrap();
    (done.status.success(), String::from_utf8([done.stdout, done.stderr].concat()).unwrap())
}

/// The tables, made by the command.
fn prepared() -> (Folder, PathBuf) {
    let folder = Folder::new();
    let config = folder.configure(SECTIONS);
    let (done, said) = run(&config, ["migrate", ""], &["--dry-run"], "");
    assert!(done && said.matches(": would be applied\n").count() == 2, "{said}");
    assert!(!folder.path("auth.db").exists(), "a dry run makes nothing");
    let (done, said) = run(&config, ["user", "list"], &[], "");
    assert!(!done && !folder.path("auth.db").exists(), "only migrate makes a file: {said}");
    let (done, said) = run(&config, ["migrate", ""], &[], "");
    assert!(done && said.matches(": applied\n").count() == 2, "{said}");
    (folder, config)
}

async fn behind_our_back(folder: &Folder, sql: &str) {
    let mut connection =
        SqliteConnection::connect(&format!("sqlite:{}", folder.path("auth.db").display())).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[test]
fn users_and_rules_in_sql_are_changed_by_command() {
    let (_folder, config) = prepared();
    let done = |command: [&str; 2], more: &[&str], input: &str, expected: &str| {
        let (done, said) = run(&config, command, more, input);
        assert!(done && said.contains(expected), "{command:?} {more:?}: {said}");
    };
    let refused = |command: [&str; 2], more: &[&str], input: &str, expected: &str| {
        let (done, said) = run(&config, command, more, input);
        assert!(!done && said.contains(expected), "{command:?} {more:?}: {said}");
    };
    done(["user", "add"], &["carol", "--label", "team=web", "--cost", "4"], "a long password\n", "carol: added");
    refused(["user", "add"], &["carol", "--cost", "4"], "a long password\n", "there is a user \"carol\" in the SQLite");
    refused(["user", "add"], &["dave", "--disabled"], "a long password\n", "has no column for disabled");
    refused(["user", "disable"], &["carol"], "", "has no column for disabled");
    done(["user", "label"], &["carol", "team+=ops"], "", "carol: team=[web] -> team=[web, ops]");
    done(["user", "passwd"], &["carol", "--cost", "5"], "another password\n", "carol: new password");
    done(["user", "list"], &["--section", "xorm_auth"], "", "carol  enabled   team=[web, ops]");
    done(["acl", "add"], &["--name", "${labels:team}/*", "--actions", "pull"], "", "+ ");
    done(["acl", "add"], &["--account", "carol", "--actions", "", "--before", "10"], "", "+      5  ");
    let more = "{\"match\": {\"account\": \"dave\"}, \"actions\": [\"push\"]}\n";
    done(["acl", "import"], &["-", "--append"], more, "1 rule changed");
    refused(
        ["acl", "test"],
        &["--account", "carol", "--scope", "repository:web/a:pull"],
        "",
        "acl_xorm[seq 5] matches",
    );
    refused(["acl", "add"], &["--name", "/(/", "--actions", "pull"], "", "match.name");
    done(["acl", "import"], &["-", "--replace"], more, "- ");
    done(["acl", "list"], &["--section", "acl_xorm"], "", "    10  account=\"dave\" -> push\n");
    done(["user", "remove"], &["carol"], "", "carol: removed");
    done(["user", "list"], &[], "", "");
}

/// What was read before somebody else changed it is not written over: not the user, and not the set of rules.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_by_somebody_else_is_not_overwritten() {
    let (folder, config) = prepared();
    let loaded = Config::load(&config, [], Secrets::Read).unwrap();
    let users = loaded.backends.get::<XormAuthSettings>().unwrap();
    let accounts = Accounts::in_table(users.database(), LabelSyntax::Glob);
    let hash = |text: &str| password::hash(text, 4).unwrap();
    let insert = format!("INSERT INTO xorm_user (username, password_hash) VALUES ('waldi', '{}')", hash("old"));
    behind_our_back(&folder, &insert).await;
    let read = accounts.get("waldi").await.unwrap();
    let new = hash("new").parse().unwrap();
    for (change, expected) in [
        ("UPDATE xorm_user SET labels = '{\"team\": [\"ops\"]}'", "somebody else changed this user at the same time"),
        ("DELETE FROM xorm_user", "somebody else changed this user at the same time"),
    ] {
        behind_our_back(&folder, change).await;
        let refused = accounts.set_password(&read, &new).await.unwrap_err().to_string();
        assert!(refused.contains(expected), "{change}: {refused}");
        assert!(accounts.remove(&read).await.is_err(), "{change}");
    }
    // A new user of the old name is another one.
    behind_our_back(&folder, &insert).await;
    assert!(accounts.set_password(&read, &new).await.is_err());
    let read = accounts.get("waldi").await.unwrap();
    accounts.set_password(&read, &new).await.unwrap();

    let rules = RuleBook::in_table(loaded.backends.get::<AclXormSettings>().unwrap().database());
    let rule = |name: &str| policy::rule::RuleText {
        name: Some(name.to_owned()),
        actions: vec!["pull".to_owned()],
        ..policy::rule::RuleText::default()
    };
    for name in ["a", "b"] {
        rules.add(&rule(name), &Position::End, |_| {}).await.unwrap();
    }
    let stored = rules.read().await.unwrap().find(&Which::Seq(20)).unwrap();
    let mut after = stored.draft();
    after.text.comment = Some("ours".to_owned());
    behind_our_back(&folder, "UPDATE xorm_acl_entry SET acl_entry = '{\"match\": {}, \"actions\": []}' WHERE seq = 20")
        .await;
    let mut told = Vec::new();
    let refused = rules.edit(&stored.document, &after, |change| told.push(change)).await.unwrap_err().to_string();
    assert!(refused.contains("somebody else changed this rule at the same time"), "{refused}");
    assert!(told.is_empty(), "what was not made is not told: {told:?}");
    // Whatever others make of the rest of the set meanwhile is not lost.
    behind_our_back(&folder, "UPDATE xorm_acl_entry SET seq = 15 WHERE seq = 20").await;
    rules.move_to(&Which::Seq(10), &Position::After(Which::Seq(15)), |change| told.push(change)).await.unwrap();
    assert!(matches!(told.as_slice(), [Change::Became { .. }]), "{told:?}");
    assert_eq!(rules.read().await.unwrap().compile().unwrap().1, [15, 20]);
}

/// A failure in the middle leaves all as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_is_made_whole_or_not_at_all() {
    let (folder, config) = prepared();
    let (_, said) = run(&config, ["acl", "add"], &["--name", "a", "--actions", "pull"], "");
    assert!(said.starts_with("+     10"), "{said}");
    let trigger =
        "CREATE TRIGGER full BEFORE INSERT ON xorm_acl_entry WHEN NEW.seq = 30 BEGIN SELECT RAISE(ABORT, 'full'); END";
    behind_our_back(&folder, trigger).await;
    let three = "- {match: {name: x}, actions: [pull]}\n".repeat(3);
    let (done, said) = run(&config, ["acl", "import"], &["-", "--replace"], &three);
    assert!(!done && said.contains("nothing was changed") && !said.contains("+ "), "{said}");
    let (_, said) = run(&config, ["acl", "list"], &[], "");
    assert_eq!(said, "    10  name=\"a\" -> pull\n");
    // What the database keeps otherwise than it was written is not kept at all.
    behind_our_back(
        &folder,
        "DROP TRIGGER full; CREATE TRIGGER cut AFTER INSERT ON xorm_acl_entry BEGIN \
         UPDATE xorm_acl_entry SET acl_entry = substr(acl_entry, 1, 9) WHERE rowid = NEW.rowid; END",
    )
    .await;
    let (done, said) = run(&config, ["acl", "import"], &["-", "--replace"], &three);
    assert!(!done && said.contains("would keep something else than what was to be written"), "{said}");
    let (_, said) = run(&config, ["acl", "list"], &[], "");
    assert_eq!(said, "    10  name=\"a\" -> pull\n");
}
