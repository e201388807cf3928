//! Users and rules in docker_auth's SQL tables, on PostgreSQL, MariaDB and SQLite: each check that a number names is of the
//! reference's list.

mod admin;
mod gate;
mod outages;

use crate::mongo::pair;
use crate::support::dockwarden::{Dockwarden, SERVICE, config, hash, logged, password, program};
use crate::support::http::{self, Reply};
use crate::support::process::until;
use crate::support::sql::{Product, READER, Server, Tables, reader_password};
use crate::support::{part, scratch, visit};

/// The sections of one database, and a static user.
fn file(sections: &str) -> String {
    let local = format!("users:\n  local: {{password: \"{}\"}}\n", hash(&password("local")));
    config(pair(), "", &format!("{local}{sections}"))
}

fn server(tables: &Tables) -> Dockwarden {
    Dockwarden::start(&file(&tables.sections(&tables.conn_string, ", cache_ttl: 1s")))
}

fn ask(server: &Dockwarden, account: &str, password: &str, scope: &str) -> Reply {
    let target = format!("/auth?service={}&scope={}", http::form_encode(SERVICE), http::form_encode(scope));
    let authorization = visit::basic(account, password);
    let request = http::request("GET", &target, &server.host(), &[("Authorization", &authorization)], b"");
    http::exchange(&server.address, &request)
}

/// What is granted of one scope, and to whom; or the status of the refusal.
fn granted(server: &Dockwarden, account: &str, secret: &str, scope: &str) -> Result<(String, Vec<String>), u16> {
    let reply = ask(server, account, secret, scope);
    if reply.status != 200 {
        return Err(reply.status);
    }
    let claims = visit::claims(reply.json()["token"].as_str().unwrap());
    let actions = claims["access"][0]["actions"].as_array().cloned().unwrap_or_default();
    let actions = actions.iter().map(|action| action.as_str().unwrap().to_owned()).collect();
    Ok((claims["sub"].as_str().unwrap().to_owned(), actions))
}

fn may(account: &str, actions: &[&str]) -> Result<(String, Vec<String>), u16> {
    Ok((account.to_owned(), actions.iter().map(|action| (*action).to_owned()).collect()))
}

const ALL: &str = "pull,push,delete";

/// Tables with a few people and rules.
fn filled(product: Product) -> Tables {
    let tables = Tables::new(product);
    fill(&tables);
    tables
}

/// Does the same on each database, at the same time.
fn on_each_at_once(test: impl Fn(Product) + Sync) {
    let test = &test;
    std::thread::scope(|scope| {
        for product in Product::ALL {
            scope.spawn(move || test(product));
        }
    });
}

fn fill(tables: &Tables) {
    let alice = hash(&password("alice"));
    tables.user("alice", &alice, Some(r#"{"team": ["web", "api-*"], "none": []}"#));
    tables.user("bob", &hash(&password("bob")), None);
    tables.user("it's \\ ö 🦊", &hash(&password("fox")), Some("{}"));
    tables.rule(Some(10), Some(r#"{"match": {"account": "mallory"}, "actions": []}"#));
    tables.rule(
        Some(30),
        Some(r#"{"Match": {"Type": "repository", "Name": "open/*"}, "Actions": ["pull"], "Comment": null}"#),
    );
    tables.rule(
        Some(20),
        Some(r#"{"match": {"name": "${labels:team}/*"}, "actions": ["pull", "push"], "Comment": "teams"}"#),
    );
    tables.rule(Some(-5), Some(r#"{"MATCH": {"ACCOUNT": "local"}, "ACTIONS": ["*"]}"#));
}

/// Checks 48 and 54: the reader may read, and nothing else.
#[test]
fn logins_labels_and_decisions_are_the_same_on_each_database() {
    for product in Product::ALL {
        let tables = filled(product);
        let server = server(&tables);
        for (account, secret, scope, expected) in [
            ("alice", "alice", "repository:web/app", may("alice", &["pull", "push"])),
            ("alice", "alice", "repository:api-v1/app", may("alice", &["pull", "push"])),
            ("alice", "alice", "repository:open/app", may("alice", &["pull"])),
            ("alice", "alice", "repository:other/app", may("alice", &[])),
            ("bob", "bob", "repository:web/app", may("bob", &[])),
            ("bob", "bob", "repository:open/app", may("bob", &["pull"])),
            ("it's \\ ö 🦊", "fox", "repository:open/app", may("it's \\ ö 🦊", &["pull"])),
            // Rules are there for users from elsewhere, too.
            ("local", "local", "repository:web/app", may("local", &["delete", "pull", "push"])),
            ("alice", "bob", "repository:web/app", Err(401)),
            ("nobody", "bob", "repository:web/app", Err(401)),
            ("🦊", "fox", "repository:web/app", Err(401)),
            ("alice' OR '1'='1", "alice", "repository:web/app", Err(401)),
            ("alice\\", "alice", "repository:web/app", Err(401)),
            ("%", "alice", "repository:web/app", Err(401)),
        ] {
            let found = granted(&server, account, &password(secret), &format!("{scope}:{ALL}"));
            let found = found.map(|(account, mut actions)| {
                actions.sort();
                (account, actions)
            });
            assert_eq!(found, expected, "{product:?}: {account} {scope}");
        }
        // What changes there holds at the next login.
        tables.run("DELETE FROM xorm_user WHERE username = 'bob'");
        assert_eq!(ask(&server, "bob", &password("bob"), "").status, 401, "{product:?}");
        tables.user("bob", &hash("another"), None);
        assert_eq!(ask(&server, "bob", &password("bob"), "").status, 401, "{product:?}");
        assert_eq!(ask(&server, "bob", "another", "").status, 200, "{product:?}");
        let check = part::run(part::command_at(program()).args(["check", "--connect"]).arg(&server.config)).well();
        for said in ["holds 3 users", "holds 4 rules"] {
            assert!(check.text.contains(said), "{product:?}: {}", check.text);
        }
    }
}

/// Check 49: what MariaDB takes for alice is not alice.
#[test]
fn a_name_that_is_only_alike_logs_nobody_in() {
    for product in Product::ALL {
        let tables = filled(product);
        let server = server(&tables);
        assert_eq!(ask(&server, "alice", &password("alice"), "").status, 200, "{product:?}");
        for alike in ["ALICE", "Alice", "álice", "alice ", " alice", "alice\u{200b}", "ａlice", "alice\u{301}"] {
            let found = ask(&server, alike, &password("alice"), "");
            assert_eq!(found.status, 401, "{product:?}: {alike:?}");
        }
        // Each is somebody of its own, where there is one.
        tables.user("ALICE", &hash("other"), None);
        assert_eq!(granted(&server, "ALICE", "other", "repository:web/a:pull"), may("ALICE", &[]), "{product:?}");
        assert_eq!(ask(&server, "ALICE", &password("alice"), "").status, 401, "{product:?}");
        let pull = granted(&server, "alice", &password("alice"), "repository:web/a:pull");
        assert_eq!(pull, may("alice", &["pull"]), "{product:?}: a newer row of somebody else is not hers");
    }
}

/// Check 49, where the tables have the character set that MariaDB has by itself.
#[test]
fn a_name_that_the_table_cannot_hold_is_nobodys() {
    let tables = Tables::new(Product::MariaDb);
    for table in ["xorm_user", "xorm_acl_entry"] {
        tables.run(&format!("ALTER TABLE {table} CONVERT TO CHARACTER SET latin1"));
    }
    tables.user("jürgen", &hash(&password("j")), Some(r#"{"team": ["wöb"]}"#));
    tables.rule(Some(1), Some(r#"{"match": {"labels": {"team": "wöb"}}, "actions": ["pull"]}"#));
    let server = server(&tables);
    assert_eq!(granted(&server, "jürgen", &password("j"), "repository:a:pull"), may("jürgen", &["pull"]));
    for nobody in ["jurgen", "JÜRGEN", "🦊", "jürgen🦊", "漢字"] {
        assert_eq!(ask(&server, nobody, &password("j"), "").status, 401, "{nobody}");
    }
}

/// Check 50.
#[test]
fn of_two_rows_with_one_name_the_newest_counts() {
    for product in Product::ALL {
        let tables = filled(product);
        tables.user("alice", &hash("newest"), Some(r#"{"team": ["db"]}"#));
        let server = server(&tables);
        assert_eq!(ask(&server, "alice", &password("alice"), "").status, 401, "{product:?}");
        assert_eq!(granted(&server, "alice", "newest", "repository:db/a:pull"), may("alice", &["pull"]), "{product:?}");
        assert_eq!(granted(&server, "alice", "newest", "repository:web/a:pull"), may("alice", &[]), "{product:?}");
    }
}

/// Check 51: as docker_auth's own query sorts on that database, and the log says so.
#[test]
fn a_rule_without_a_number_stands_where_the_database_sorts_it() {
    for product in Product::ALL {
        let tables = Tables::new(product);
        tables.rule(Some(1), Some(r#"{"match": {"account": "local"}, "actions": ["pull"]}"#));
        tables.rule(None, Some(r#"{"match": {"account": "local"}, "actions": ["push"]}"#));
        let server = server(&tables);
        let expected = match product {
            Product::Postgres => "pull",
            Product::MariaDb | Product::Sqlite => "push",
        };
        let found = granted(&server, "local", &password("local"), "repository:a:pull,push");
        assert_eq!(found, may("local", &[expected]), "{product:?}");
        let place = if product == Product::Postgres { "after all others" } else { "before all others" };
        server.process.until("the warning", |process| {
            let log = process.log();
            (log.contains("\"rules_unnumbered\"") && log.contains(place)).then_some(())
        });
    }
}

/// Check 52: the last good rules stay in use, and the log says what is wrong.
#[test]
fn a_rule_that_cannot_be_used_leaves_the_last_good_ones_in_use() {
    // Each waits for its rules to be read, again and again.
    on_each_at_once(|product| {
        let tables = filled(product);
        let server = server(&tables);
        let pull = || granted(&server, "bob", &password("bob"), "repository:open/a:pull,push");
        assert_eq!(pull(), may("bob", &["pull"]), "{product:?}");
        let mut told = 0;
        for (entry, message) in [
            (None, "acl_entry: this is NULL"),
            (Some(r#"{"match": {"acount": "x"}, "actions": ["*"]}"#), "match.acount: there is no such key"),
            (Some(r#"{"match": {}}"#), "actions: a rule needs actions"),
            (Some(r#"{"match": {"name": "/(/"}, "actions": []}"#), "match.name: "),
            (Some(r#"["match"]"#), "acl_entry: an object is expected here"),
        ] {
            tables.rule(Some(5), entry);
            told += 1;
            server.process.until("what is wrong", |process| {
                let log = process.log();
                let lines = log.lines().filter(|line| line.contains("\"rules_refused\""));
                let told_now: Vec<&str> = lines.collect();
                (told_now.len() == told && told_now.last()?.contains(message)).then_some(())
            });
            // Nothing of what is new holds.
            tables.run("UPDATE xorm_acl_entry SET seq = 31 WHERE seq = 30");
            assert_eq!((pull(), server.ready()), (may("bob", &["pull"]), Some(200)), "{product:?}: {entry:?}");
            tables.run("DELETE FROM xorm_acl_entry WHERE seq = 5");
            server.process.until("the end of it", |process| {
                (process.log().matches("\"rules_current\"").count() == told).then_some(())
            });
        }
        tables.run("DELETE FROM xorm_acl_entry WHERE seq = 31");
        until("the rules as they are", || (pull() == may("bob", &[])).then_some(()));
        assert_eq!(told, 5);
    });
}

/// Check 53: and who logs in elsewhere is not concerned.
#[test]
fn a_user_that_cannot_be_read_is_answered_with_503_and_no_word_of_it() {
    for product in Product::ALL {
        let tables = filled(product);
        tables.user("text", &hash(&password("text")), Some(r#"{"team": "web"}"#));
        tables.user("list", &hash(&password("list")), Some(r#"["web"]"#));
        tables.user("plain", "hunter2", None);
        let server = server(&tables);
        for (account, why) in [
            ("text", "labels.team: a list of texts is expected here"),
            ("list", "labels: an object is expected here"),
            ("plain", "password_hash: this is not a bcrypt hash"),
        ] {
            let reply = ask(&server, account, &password(account), "repository:web/a:pull");
            assert_eq!(reply.status, 503, "{product:?}: {account}");
            assert!(!reply.text().contains("label") && !reply.text().contains("hash"), "{}", reply.text());
            server.process.until("the cause in the log", |process| process.log().contains(why).then_some(()));
        }
        assert!(!server.process.log().contains("hunter2"), "{product:?}");
        assert_eq!(ask(&server, "alice", &password("alice"), "").status, 200, "{product:?}");
    }
}

/// Check 56: each way to write where the database is, with a password of everything that parts such a text.
#[test]
fn each_form_of_the_connection_string_reaches_the_database() {
    for product in Product::SERVERS {
        let (server, tables) = (Server::shared(product), filled(product));
        let (secret, database, port) = (reader_password(), tables.database(), server.port());
        let (socket, authority) = (server.socket(), server.authority());
        let (socket, authority) = (socket.display(), authority.display());
        let pairs = secret.replace('\\', "\\\\").replace('\'', "\\'");
        let forms = match product {
            Product::Postgres => vec![
                // TLS with whoever answers is what its driver does by itself.
                format!("user={READER} password='{pairs}' host=127.0.0.1 port={port} dbname={database}"),
                format!("user={READER} password='{pairs}' host={socket} port={port} dbname={database}"),
                format!(
                    "user={READER} password='{pairs}' host=localhost port={port} dbname={database} \
                     sslmode=verify-full sslrootcert='{authority}'"
                ),
                tables.conn_string.replace("?sslmode=disable", ""),
                tables.conn_string.replace("postgres://", "postgresql://"),
                format!("{}&search_path=public&connect_timeout=5", tables.conn_string),
            ],
            Product::MariaDb | Product::Sqlite => vec![
                format!("{READER}:{secret}@tcp(127.0.0.1:{port})/{database}?charset=utf8mb4&parseTime=true"),
                format!("{READER}:{secret}@tcp(localhost:{port})/{database}?tls=skip-verify"),
                format!("{READER}:{secret}@tcp(localhost:{port})/{database}?tls=preferred"),
                format!("{READER}:{secret}@unix({socket})/{database}"),
                format!("{READER}:{secret}@(127.0.0.1:{port})/{database}?tls=false"),
            ],
        };
        for form in forms {
            let server = Dockwarden::start(&file(&tables.sections(&form, "")));
            assert_eq!(ask(&server, "alice", &password("alice"), "").status, 200, "{product:?}: {form}");
        }
        // Who checks whose certificate it is finds an authority that is not known.
        let strict = match product {
            Product::Postgres => tables.conn_string.replace("disable", "verify-full"),
            Product::MariaDb | Product::Sqlite => format!("{}?tls=true", tables.conn_string),
        };
        let wrong = tables.conn_string.replace(READER, "stranger");
        for (form, message) in [(strict, "UnknownIssuer"), (wrong, "")] {
            let server = Dockwarden::start_unready(&{
                let directory = scratch::directory("sql");
                scratch::write(&directory, "auth_config.yml", &file(&tables.sections(&form, "")))
            });
            assert_eq!(ask(&server, "alice", &password("alice"), "").status, 503, "{product:?}: {form}");
            let down = server.process.until("the outage in the log", |process| {
                let log = process.log();
                log.lines().find(|line| line.contains("\"backend_down\"")).map(str::to_owned)
            });
            assert!(down.contains(message), "{product:?}: {down}");
            assert_eq!(ask(&server, "local", &password("local"), "").status, 200, "{product:?}: {form}");
        }
    }
}

/// The password in a file of its own, as with other secrets.
#[test]
fn the_connection_string_may_stand_in_a_file() {
    let tables = filled(Product::Postgres);
    let secret = scratch::write(&scratch::directory("sql"), "conn_string", &format!("{}\n", tables.conn_string));
    let section = format!("{{database_type: postgres, conn_string_file: \"{}\"}}", secret.display());
    let server = Dockwarden::start(&file(&format!("xorm_auth: {section}\nacl_xorm: {section}\n")));
    let found = granted(&server, "alice", &password("alice"), "repository:web/a:pull");
    assert_eq!(found, may("alice", &["pull"]));
    let explained = part::run(part::command_at(program()).arg("explain").arg(&server.config).args([
        "--account",
        "alice",
        "repository:web/a:pull",
    ]));
    assert!(explained.well().text.contains("pull"));
}

/// A change holds after `cache_ttl`.
#[test]
fn a_rule_that_changes_holds_soon() {
    for product in Product::ALL {
        let tables = filled(product);
        let server = server(&tables);
        let pull = || granted(&server, "bob", &password("bob"), "repository:open/a:pull");
        assert_eq!(pull(), may("bob", &["pull"]), "{product:?}");
        tables.rule(Some(1), Some(r#"{"match": {"account": "bob"}, "actions": []}"#));
        until("the new rule", || (pull() == may("bob", &[])).then_some(()));
        logged(&server.process, "new rules are in use", 2);
    }
}
