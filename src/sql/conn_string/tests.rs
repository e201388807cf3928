//! Connection strings as people write them, and what must not be seen of them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use settings::{Findings, Reading, yaml};

use super::*;

fn tcp(host: &str, port: u16) -> Address {
    Address::Tcp { host: host.to_owned(), port }
}

fn socket(path: &str, port: u16) -> Address {
    Address::Socket { path: path.into(), port }
}

/// Check 56 of the reference: a password with every character that parts the text.
#[test]
fn a_mysql_string_is_parted_at_the_last_slash_and_at_sign() {
    for (text, address, login, database, tls) in [
        ("/db", tcp("127.0.0.1", 3306), ("", None), "db", Wanted::Off),
        ("@/db", tcp("127.0.0.1", 3306), ("", None), "db", Wanted::Off),
        ("reader@/db", tcp("127.0.0.1", 3306), ("reader", None), "db", Wanted::Off),
        ("reader:@tcp/db", tcp("127.0.0.1", 3306), ("reader", None), "db", Wanted::Off),
        ("reader:pw@tcp(db)/db", tcp("db", 3306), ("reader", Some("pw")), "db", Wanted::Off),
        ("reader:pw@tcp(:3307)/db", tcp("127.0.0.1", 3307), ("reader", Some("pw")), "db", Wanted::Off),
        ("r:p@/:p(w)?x@tcp(db:3307)/db?tls=true", tcp("db", 3307), ("r", Some("p@/:p(w)?x")), "db", Wanted::Checked),
        ("r:p%20w@tcp([::1]:3307)/my%2Fdb", tcp("::1", 3307), ("r", Some("p%20w")), "my/db", Wanted::Off),
        ("r:pw@tcp([fe80::1])/db?tls=skip-verify", tcp("fe80::1", 3306), ("r", Some("pw")), "db", Wanted::Unchecked),
        ("r:pw@unix(/run/my.sock)/db?tls=true", socket("/run/my.sock", 3306), ("r", Some("pw")), "db", Wanted::Off),
        ("r@unix/db", socket("/tmp/mysql.sock", 3306), ("r", None), "db", Wanted::Off),
        ("r@(db)/db?charset=utf8&tls=Preferred&loc=Local", tcp("db", 3306), ("r", None), "db", Wanted::Preferred),
    ] {
        let named = mysql::parse(text).unwrap();
        assert_eq!((&named.address, named.database.as_str(), named.tls), (&address, database, tls), "{text}");
        assert_eq!((named.username.as_str(), named.password.as_deref()), login, "{text}");
        assert_eq!(named.remarks, Vec::<String>::new(), "{text}");
    }
    for (text, message) in [
        ("reader:pw@tcp(db:3306)", "there is no /"),
        ("reader:pw@tcp(db:3306)/", "the database's name is missing"),
        ("reader:pw@tcp(db:3306/db", "must stand in brackets"),
        ("reader:pw@udp(db)/db", "tcp(host:port) or unix("),
        ("reader:pw@tcp(db:x)/db", "not host:port"),
        ("reader:pw@tcp(db)/db?tls=corporate", "tls is true, false"),
        ("reader:pw@tcp(db)/db?allowCleartextPasswords=true", "never sent in the clear"),
    ] {
        let refused = mysql::parse(text).unwrap_err();
        assert!(refused.contains(message), "{text}: {refused}");
    }
    let remarks = mysql::parse("r@tcp(db)/db?timeout=5s&sql_mode=ANSI").unwrap().remarks;
    assert_eq!(remarks.len(), 2, "{remarks:?}");
}

/// Check 56 of the reference.
#[test]
fn a_postgres_string_is_a_url_or_pairs() {
    let nothing = |_: &str| None;
    let (db, pw) = ("db", Some("p@/: w%"));
    for (text, address, login, database, tls) in [
        ("postgres://r@db/x", tcp(db, 5432), ("r", None), "x", Wanted::Unchecked),
        ("postgresql://r:p%40%2F%3A%20w%25@db:5433/my%20db", tcp(db, 5433), ("r", pw), "my db", Wanted::Unchecked),
        ("postgres://r@[::1]/x?sslmode=disable", tcp("::1", 5432), ("r", None), "x", Wanted::Off),
        ("postgres://r@db", tcp(db, 5432), ("r", None), "r", Wanted::Unchecked),
        ("postgres:///x?host=/run/pg&user=r", socket("/run/pg", 5432), ("r", None), "x", Wanted::Off),
        ("postgres://r@%2Frun%2Fpg:5433/x", socket("/run/pg", 5433), ("r", None), "x", Wanted::Off),
        ("postgres://r@db/x?sslmode=verify-ca", tcp(db, 5432), ("r", None), "x", Wanted::Checked),
        ("user=r dbname=x", tcp("localhost", 5432), ("r", None), "x", Wanted::Unchecked),
        ("  user = r  password='p@/: w%' dbname=x host=db", tcp(db, 5432), ("r", pw), "x", Wanted::Unchecked),
        (
            r"user=r password=p@/:\ w% dbname=x host=db sslmode=verify-full",
            tcp(db, 5432),
            ("r", pw),
            "x",
            Wanted::Checked,
        ),
        (r"user=r password='it\'s \\' host=db", tcp(db, 5432), ("r", Some(r"it's \")), "r", Wanted::Unchecked),
        ("user=r host=/run/pg port=5433 dbname=x", socket("/run/pg", 5433), ("r", None), "x", Wanted::Off),
    ] {
        let named = postgres::parse(text, nothing).unwrap();
        assert_eq!((&named.address, named.database.as_str(), named.tls), (&address, database, tls), "{text}");
        assert_eq!((named.username.as_str(), named.password.as_deref()), login, "{text}");
        assert_eq!(named.remarks, Vec::<String>::new(), "{text}");
    }
    for (text, message) in [
        ("postgres://r:p/w@db/x", "percent-encoded"),
        ("postgres://r:p#w@db/x", "percent-encoded"),
        ("postgres://r@a,b/x", "only one host"),
        ("user=r port=x", "the port is not a number"),
        ("user=r sslmode=prefer", "sslmode is disable, require"),
        ("user=r sslcert=c", "need each other"),
        ("user=r sslinline=true", "read from files"),
        ("user", "no = and value"),
        ("user=r password='open", "a quote is not closed"),
    ] {
        let refused = postgres::parse(text, nothing).unwrap_err();
        assert!(refused.contains(message), "{text}: {refused}");
    }
    let named =
        postgres::parse("user=r sslrootcert=ca.pem search_path=auth connect_timeout=5 work_mem=1", nothing).unwrap();
    assert_eq!((named.tls, named.root.as_deref()), (Wanted::Checked, Some(Path::new("ca.pem"))));
    assert_eq!((named.search_path.as_deref(), named.remarks.len()), (Some("auth"), 2));
}

#[test]
fn what_a_postgres_string_does_not_say_comes_from_the_environment() {
    let environment = |name: &str| match name {
        "PGHOST" => Some("db".to_owned()),
        "PGPORT" => Some("5433".to_owned()),
        "PGUSER" => Some("reader".to_owned()),
        "PGPASSWORD" => Some("pw".to_owned()),
        "PGSSLMODE" => Some("verify-full".to_owned()),
        _ => None,
    };
    let named = postgres::parse("dbname=x", environment).unwrap();
    assert_eq!((named.address, named.tls), (tcp("db", 5433), Wanted::Checked));
    assert_eq!((named.username.as_str(), named.password.as_deref()), ("reader", Some("pw")));
    let named = postgres::parse("dbname=x host=other user=writer sslmode=disable", environment).unwrap();
    assert_eq!((named.address, named.tls, named.username.as_str()), (tcp("other", 5433), Wanted::Off, "writer"));
}

#[test]
fn an_sqlite_string_is_a_path() {
    for (text, path, remarks) in [
        ("/data/auth.db", "/data/auth.db", 0),
        ("auth.db?_loc=auto", "auth.db", 0),
        ("file:auth.db?cache=shared&mode=ro", "auth.db", 0),
        ("file:/data/my%20auth.db?_busy_timeout=5000", "/data/my auth.db", 1),
        ("file:///data/auth.db", "/data/auth.db", 0),
        ("file://localhost/data/auth.db#x", "/data/auth.db", 0),
    ] {
        let parsed = sqlite::parse(text).map(|(path, remarks)| (path, remarks.len()));
        assert_eq!(parsed, Ok((PathBuf::from(path), remarks)), "{text}");
    }
    for text in [":memory:", "file::memory:?cache=shared", "file:x?mode=memory", "", "file:", "file://other/x"] {
        assert!(sqlite::parse(text).is_err(), "{text}");
    }
}

fn read_section(text: &str) -> (Option<Settings>, Vec<String>, Vec<String>) {
    let node = yaml::parse(text).unwrap();
    let reading = Reading::default();
    let settings = reading.root(&node, Secrets::Read).section().and_then(|mut section| {
        let settings = read(&mut section);
        section.finish();
        settings
    });
    let Findings { problems, warnings, .. } = reading.into_findings();
    let told = |list: Vec<settings::Problem>| list.into_iter().map(|problem| problem.message).collect();
    (settings, told(problems), told(warnings))
}

/// Check 61 of the reference.
#[test]
fn what_can_be_read_on_the_way_is_warned_of_and_this_machine_is_not_on_the_way() {
    let (clear, anybody) = ("without TLS, whoever is on the way", "nobody looks whose certificate");
    for (kind, text, expected) in [
        ("mysql", "r:pw@tcp(db.example.com)/x?tls=skip-verify", Some(anybody)),
        ("mysql", "r:pw@tcp(db.example.com)/x?tls=preferred", Some(anybody)),
        ("mysql", "r:pw@tcp(10.0.0.1)/x", Some(clear)),
        ("mysql", "r:pw@tcp(127.0.0.1.example.com)/x", Some(clear)),
        ("mysql", "r:pw@tcp(db.example.com)/x?tls=true", None),
        ("mysql", "r:pw@tcp(127.0.0.2)/x", None),
        ("mysql", "r:pw@unix(/run/my.sock)/x", None),
        ("postgres", "host=db.example.com user=r sslmode=disable", Some(clear)),
        ("postgres", "host=db.example.com user=r", Some(anybody)),
        ("postgres", "host=db.example.com user=r sslmode=verify-full", None),
        ("postgres", "postgres://r@[::1]/x?sslmode=disable", None),
        ("postgres", "host=LOCALHOST user=r sslmode=disable", None),
        ("postgres", "host=/run/pg user=r", None),
    ] {
        let (settings, problems, warnings) = read_section(&format!("database_type: {kind}\nconn_string: \"{text}\"\n"));
        assert!(settings.is_some() && problems.is_empty(), "{text}: {problems:?}");
        let found: Vec<bool> =
            warnings.iter().map(|warning| expected.is_some_and(|text| warning.contains(text))).collect();
        assert_eq!(found, vec![true; usize::from(expected.is_some())], "{text}: {warnings:?}");
    }
}

#[test]
fn no_message_and_no_debug_form_repeats_any_part_of_the_string() {
    for kind in ["mysql", "postgres", "sqlite3"] {
        for text in [
            "hunter2-user:hunter2-pw@tcp(hunter2.example)/hunter2?hunter2=hunter2&timeout=1s",
            "hunter2-user:hunter2-pw@tcp(hunter2.example",
            "hunter2-user:hunter2-pw@hunter2/x?tls=hunter2",
            "hunter2-user:3/hunter2-w@tcp(db)",
            "postgres://hunter2:3/hunter2-w@db/x",
            "postgres://hunter2:hunter2-p/w@hunter2:x/hunter2",
            "postgres://hunter2:hunter2@hunter2/hunter2?sslmode=hunter2&hunter2=1",
            "user=hunter2 password='hunter2",
            "user=hunter2 password=hunter2 sslrootcert=/hunter2-missing",
            "file://hunter2/hunter2",
        ] {
            let (settings, problems, warnings) =
                read_section(&format!("database_type: {kind}\nconn_string: \"{text}\"\n"));
            let told = format!("{problems:?}{warnings:?}");
            // Only where the string names a file does a message: the path is needed, and no secret.
            assert!(!told.replace("/hunter2-missing", "").contains("hunter2"), "{kind} {text}: {told}");
            let places = format!("{settings:?} {:?}", settings.as_ref().map(Settings::place));
            assert!(!places.contains("hunter2-pw") && !places.contains("hunter2-w"), "{places}");
        }
    }
}

#[test]
fn what_is_missing_or_not_known_is_a_problem() {
    for (text, expected) in [
        ("{}", vec!["which database is it", "where is the database"]),
        ("{database_type: postgres}", vec!["where is the database? write \"postgres://"]),
        ("{database_type: oracle, conn_string: x}", vec!["\"oracle\" is not a database that is known here"]),
        ("{database_type: sqlite3, conn_string: x, deadline: 1ms}", vec!["no server answers within that"]),
        ("{database_type: sqlite3, conn_string: x, conn_string_file: y}", vec!["not both"]),
        ("{database_type: sqlite3, conn_string: x, password: y}", vec!["there is no such key"]),
    ] {
        let (_, problems, _) = read_section(text);
        let found: Vec<bool> =
            problems.iter().zip(&expected).map(|(problem, expected)| problem.contains(expected)).collect();
        assert_eq!((found, problems.len()), (vec![true; expected.len()], expected.len()), "{text}: {problems:?}");
    }
}
