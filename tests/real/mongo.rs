//! Users and rules in MongoDB: the guide as it stands, changes on the fly, and the server's bad days.

use std::io::Write as _;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};

use crate::guide::DENIED;
use crate::support::bed::{Bed, Shared};
use crate::support::dockwarden::{Dockwarden, ISSUER, SERVICE, events, hash, password};
use crate::support::image::TAG;
use crate::support::keys::{self, Kind, Pair};
use crate::support::machine;
use crate::support::mongo::Database;
use crate::support::person::Person;
use crate::support::process::{Signal, until};
use crate::support::registry::Edition;
use crate::support::standin::{Standin, Then};
use crate::support::{client, http, image, part, scratch, visit};

/// The guide's two sections; the password comes from a file there.
const GUIDE: &str = include_str!("../support/guide_mongodb.yml");

/// The guide's file for a key pair and a server, with `more` sections after it.
pub(crate) fn guide_file(pair: &Pair, database: &str, more: &str) -> std::path::PathBuf {
    let directory = scratch::directory("mongo");
    let secret = scratch::write(&directory, "mongopass.txt", "test\n");
    let sections = GUIDE
        .replace("\"authdb\"", &format!("\"{database}\""))
        .replace("password: \"test\"", &format!("password_file: \"{}\"", secret.display()));
    let config = format!(
        "server:\n  addr: \"127.0.0.1:0\"\ntoken:\n  issuer: \"{ISSUER}\"\n  expiration: 900\n  certificate: \"{}\"\n  \
         key: \"{}\"\n{sections}{more}",
        pair.certificate.display(),
        pair.key.display(),
    );
    scratch::write(&directory, "auth_config.yml", &config)
}

pub(crate) fn user(account: &str, labels: Document) -> Document {
    doc! { "username": account, "password": hash(&password(account)), "labels": labels }
}

pub(crate) fn guide_users() -> [Document; 2] {
    [
        user("waldi", doc! { "full-access": ["test", "socke*"], "read-only-access": ["prod/*"] }),
        user(
            "busy-guy",
            doc! { "group": ["web", "webdev"], "project": ["website", "api"], "tier": ["frontend", "backend"] },
        ),
    ]
}

pub(crate) fn guide_rules() -> [Document; 3] {
    [
        doc! { "seq": 10, "match": { "name": "${labels:full-access}" }, "actions": ["*"], "comment": "full access" },
        doc! { "seq": 20, "match": { "name": "${labels:read-only-access}" }, "actions": ["pull"], "comment": "pull access" },
        doc! {
            "seq": 30,
            "match": { "name": "${labels:project}/${labels:group}-${labels:tier}" },
            "actions": ["push", "pull"],
            "comment": "Contrived multiple label match rule",
        },
    ]
}

/// A server with the guide's documents.
pub(super) fn guide_database() -> Database {
    let database = Database::start();
    database.unique("users", "username");
    database.unique("acl", "seq");
    database.insert("users", &guide_users());
    database.insert("acl", &guide_rules());
    database
}

/// A quick key: what these tests are about is not the signature.
pub(crate) fn pair() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| keys::as_in_the_guide(Kind::P256))
}

/// What is granted of one scope, or the status of the refusal.
pub(crate) fn granted(server: &Dockwarden, account: &str, scope: &str) -> Result<Vec<String>, u16> {
    let reply = visit::ask_realm(&server.realm(), SERVICE, account, &[scope]);
    if reply.status != 200 {
        return Err(reply.status);
    }
    let access = visit::claims(reply.json()["token"].as_str().unwrap())["access"].clone();
    let actions = access[0]["actions"].as_array().cloned().unwrap_or_default();
    Ok(actions.iter().map(|action| action.as_str().unwrap().to_owned()).collect())
}

fn the_guide_end_to_end(edition: Edition) {
    static DATABASE: OnceLock<Database> = OnceLock::new();
    static BED: OnceLock<Bed> = OnceLock::new();
    let database = DATABASE.get_or_init(guide_database);
    let bed = Shared::get(&BED, || {
        let pair = keys::as_in_the_guide(Kind::Rsa);
        Bed::around(Dockwarden::start_file(&guide_file(&pair, &database.address(), "")), &pair)
    });
    let registry = bed.registry(edition);
    let waldi = Person::new(&registry.host());
    let local = format!("mongo-{edition:?}").to_lowercase();
    waldi.build(&local);
    waldi.login("waldi", "not the password").refused(&["unauthorized", "401"]);
    waldi.login("nobody", "not the password").refused(&["unauthorized", "401"]);
    waldi.login("waldi", &password("waldi")).well();
    waldi.push(&local, "test").well();
    waldi.push(&local, "socken-test").well();
    waldi.push(&local, "test-socke").refused(&[DENIED]);
    waldi.push(&local, "prod/server").refused(&[DENIED]);

    let busy = Person::new(&registry.host());
    busy.login("busy-guy", &password("busy-guy")).well();
    busy.push(&local, "website/webdev-backend").well();
    busy.push(&local, "website/webdev-database").refused(&[DENIED]);

    // The same by skopeo, which keeps its logins elsewhere.
    let home = client::home();
    let layout = image::layout(&local);
    let skopeo = |arguments: &[&str]| part::run(client::skopeo(&home).args(arguments));
    skopeo(&["login", "--tls-verify=false", "-u", "waldi", "-p", &password("waldi"), &registry.host()]).well();
    let source = format!("oci:{}:{TAG}", layout.directory.display());
    let copy =
        |to: &str| skopeo(&["copy", "--dest-tls-verify=false", &source, &format!("docker://{}/{to}", registry.host())]);
    copy("socken-skopeo:1").well();
    copy("prod/skopeo:1").refused(&["denied", "unauthorized"]);

    // A right granted and one revoked: the next push obeys, without a login between. The account is this test's own, since
    // FerretDB loses one of two updates of a document at one time, and the other registry's test runs beside this one.
    let account = format!("grown-{local}");
    database.insert("users", &[user(&account, doc! { "full-access": ["socke*"] })]);
    let grown = Person::new(&registry.host());
    grown.login(&account, &password(&account)).well();
    let mine = format!("granted-{local}");
    grown.push(&local, &mine).refused(&[DENIED]);
    let which = doc! { "username": &account };
    database.update("users", which.clone(), doc! { "$push": { "labels.full-access": &mine } });
    grown.push(&local, &mine).well();
    database.update("users", which, doc! { "$pull": { "labels.full-access": &mine } });
    grown.push(&local, &mine).refused(&[DENIED]);

    let log = bed.dockwarden.whole_log();
    for secret in [password("waldi"), password("busy-guy"), "$2y$".to_owned()] {
        assert!(!log.contains(&secret), "the log holds {secret}");
    }
}

#[test]
fn the_guide_end_to_end_with_registry_2() {
    the_guide_end_to_end(Edition::V2);
}

#[test]
fn the_guide_end_to_end_with_registry_3() {
    the_guide_end_to_end(Edition::V3);
}

/// The value of a metric of `/metrics`.
pub(super) fn metric(server: &Dockwarden, name: &str) -> Option<String> {
    let reply = http::exchange(&server.address, &http::request("GET", "/metrics", &server.address, &[], b""));
    reply.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned))
}

#[test]
fn rules_are_looked_at_by_seq_and_a_poisoned_one_keeps_the_last_good_set() {
    let database = Database::start();
    database.insert("users", &[user("waldi", doc! {})]);
    // The one that allows stands first in the collection, and second by its number; as the shell writes numbers.
    database.insert(
        "acl",
        &[
            doc! { "seq": 20.0, "match": { "account": "waldi" }, "actions": ["*"], "comment": "all" },
            doc! { "seq": 10.0, "match": { "name": "secret" }, "actions": [], "comment": "nobody" },
        ],
    );
    let file = guide_file(pair(), &database.address(), "");
    let text = std::fs::read_to_string(&file).unwrap().replace("cache_ttl: \"10s\"", "cache_ttl: \"1s\"");
    std::fs::write(&file, text).unwrap();
    let server = Dockwarden::start_file(&file);
    assert_eq!(granted(&server, "waldi", "repository:secret:pull"), Ok(vec![]));
    assert_eq!(granted(&server, "waldi", "repository:open:pull"), Ok(vec!["pull".to_owned()]));
    server.process.until("a line that names the rule by its number", |process| {
        process.log().contains("acl_mongo[seq 10] nobody").then_some(())
    });

    let poisons = [
        doc! { "_id": "no-seq", "match": {}, "actions": ["*"] },
        doc! { "_id": "twice", "seq": 10, "match": {}, "actions": ["*"] },
        doc! { "_id": "wrong-type", "seq": 5, "match": {}, "actions": "pull" },
        doc! { "_id": "no-match", "seq": 5, "actions": ["*"] },
        doc! { "_id": "no-actions", "seq": 5, "match": {} },
        doc! { "_id": "bad-pattern", "seq": 5, "match": { "name": "/(/" }, "actions": ["*"] },
    ];
    for poison in poisons {
        let id = poison.get_str("_id").unwrap().to_owned();
        database.insert("acl", &[poison]);
        let refused = format!("dockwarden_rules_refused{{source=\"acl_mongo\",document=\"_id {id}");
        server.process.until(&format!("a metric that names {id}"), |server_process| {
            let reply = http::exchange(&server.address, &http::request("GET", "/metrics", &server.address, &[], b""));
            let named = reply.text().contains(&refused);
            let logged = server_process.log().contains(&format!("_id {id}"));
            (named && logged).then_some(())
        });
        assert_eq!(granted(&server, "waldi", "repository:secret:pull"), Ok(vec![]), "with {id}");
        assert_eq!(granted(&server, "waldi", "repository:open:pull"), Ok(vec!["pull".to_owned()]), "with {id}");
        assert_eq!(server.ready(), Some(200), "the last good rules are not old yet");
        database.remove("acl", doc! { "_id": &id });
        server.process.until("no metric that names a document", |_| {
            (metric(&server, "dockwarden_rules_refused{source=\"acl_mongo\",document=\"\"}")? == "0").then_some(())
        });
    }

    // A change that is right holds within cache_ttl and a second.
    let changed = Instant::now();
    database.update("acl", doc! { "seq": 10 }, doc! { "$set": { "actions": ["pull"] } });
    until("the change to hold", || {
        (granted(&server, "waldi", "repository:secret:pull") == Ok(vec!["pull".to_owned()])).then_some(())
    });
    assert!(machine::elapsed(changed) < Duration::from_secs(2), "{:?}", changed.elapsed());
}

#[test]
fn a_server_that_is_not_there_at_the_start_is_used_once_it_is() {
    let users = guide_database();
    let rules = guide_database();
    users.remove("acl", doc! {});
    rules.remove("users", doc! {});
    users.kill();
    rules.kill();
    // Each section has a server of its own.
    let file = guide_file(pair(), &users.address(), "users:\n  \"\": {}\nacl: []\n");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, after) = text.split_once("acl_mongo:").unwrap();
    let text = format!("{before}acl_mongo:{}", after.replacen(&users.address(), &rules.address(), 1));
    std::fs::write(&file, text).unwrap();
    let server = Dockwarden::start_unready(&file);
    let scope = "repository:test:pull,push";
    assert_eq!(server.ready(), Some(503));
    assert_eq!(granted(&server, "waldi", scope), Err(503));
    assert_eq!(granted(&server, "", scope), Err(503), "the account is known, and the rules are not");

    users.restart();
    until("users to be looked up", || events(&server.process.log(), "users are looked up again").pop());
    assert_eq!(granted(&server, "waldi", scope), Err(503), "there are no rules yet");
    assert_eq!(server.ready(), Some(503));

    rules.restart();
    until("readiness", || (server.ready() == Some(200)).then_some(()));
    assert_eq!(granted(&server, "waldi", scope), Ok(vec!["pull".to_owned(), "push".to_owned()]));
    assert_eq!(granted(&server, "", scope), Ok(vec![]));
}

/// The status for these very credentials.
pub(crate) fn status(server: &Dockwarden, account: &str, password: &str) -> u16 {
    let authorization = visit::basic(account, password);
    let target = format!("/auth?service={}", http::form_encode(SERVICE));
    let request = http::request("GET", &target, &server.host(), &[("Authorization", &authorization)], b"");
    http::exchange(&server.address, &request).status
}

#[test]
fn names_and_passwords_of_every_shape_are_what_they_are() {
    let database = guide_database();
    let odd = ["*", ")(", "{$ne}", "$where", "a.b", "Waldi", "wal di"];
    for name in odd {
        database.insert("users", &[user(name, doc! {})]);
    }
    database.insert(
        "users",
        &[
            doc! { "_id": "no-password", "username": "open" },
            doc! { "_id": "bad-hash", "username": "plain", "password": "plain" },
            doc! { "_id": "wrong-type", "username": "typed", "password": hash("typed"), "disabled": "yes" },
            doc! { "_id": "nobody", "username": "", "password": hash("nobody") },
            doc! { "username": "off", "password": hash("off"), "disabled": true },
        ],
    );
    let server = Dockwarden::start_file(&guide_file(pair(), &database.address(), ""));
    for name in odd {
        // The right one last: what was wrong for `Waldi` would otherwise count for `waldi`, whose right one does not forgive it.
        assert_eq!(status(&server, name, &password("waldi")), 401, "{name}");
        assert_eq!(status(&server, name, &password(name)), 200, "{name}");
    }
    let right = password("waldi");
    let long = "x".repeat(73);
    for (account, secret, expected) in [
        ("waldi", right.as_str(), 200),
        ("waldi", "wrong", 401),
        ("waldi", "", 401),
        ("waldi", long.as_str(), 401),
        ("waldi", &"x".repeat(8000), 401),
        ("waldi", "a\0b", 401),
        // Five wrong ones without a right one between them, and the next would not be looked at.
        ("waldi", right.as_str(), 200),
        ("WALDI", right.as_str(), 401),
        ("nobody", right.as_str(), 401),
        ("", "nobody", 401),
        ("waldi\0", right.as_str(), 401),
        ("{\"$gt\":\"\"}", right.as_str(), 401),
        ("w*", right.as_str(), 401),
        (&"w".repeat(255), right.as_str(), 401),
        ("off", "off", 401),
        ("open", "anything", 503),
        ("plain", "plain", 503),
        ("typed", "typed", 503),
    ] {
        assert_eq!(status(&server, account, secret), expected, "{account:?} with {} bytes", secret.len());
    }
    // Lines are written beside the answers, and the last one may come after its answer.
    for id in ["no-password", "bad-hash", "wrong-type"] {
        server.process.until(&format!("a line that names {id}"), |process| {
            process.log().contains(&format!("_id {id}")).then_some(())
        });
    }
    let log = server.process.log();
    // Others are not affected by documents that are wrong, nor by names that the database would refuse.
    assert_eq!(status(&server, "waldi", &right), 200);
    assert!(events(&log, "users cannot be looked up").is_empty(), "{log}");

    // A changed password and a switched-off account hold at once, whatever was remembered.
    let which = doc! { "username": "waldi" };
    database.update("users", which.clone(), doc! { "$set": { "password": hash("new") } });
    assert_eq!(status(&server, "waldi", &right), 401);
    assert_eq!(status(&server, "waldi", "new"), 200);
    database.update("users", which, doc! { "$set": { "disabled": true } });
    assert_eq!(status(&server, "waldi", "new"), 401);
}

#[test]
fn tls_is_spoken_and_only_with_a_server_whose_certificate_is_known() {
    let chain = keys::for_localhost();
    let database = Database::start_tls(&chain);
    database.insert("users", &guide_users());
    database.insert("acl", &guide_rules());
    let start = |tls: &str| {
        let file = guide_file(pair(), &database.tls_address(), "");
        let text = std::fs::read_to_string(&file).unwrap().replace("enabled_tls: false", tls);
        std::fs::write(&file, text).unwrap();
        Dockwarden::start_unready(&file)
    };
    let scope = "repository:test:pull";
    let authority = std::fs::read_to_string(&chain.authority).unwrap();
    let [certificate, key] =
        [&chain.leaf.certificate, &chain.leaf.key].map(|file| std::fs::read_to_string(file).unwrap());
    let folder = scratch::directory("mended");
    // Files that the driver could not read by itself.
    let one_line = scratch::write(&folder, "ca", &authority.replace('\n', " "));
    let own = scratch::write(&folder, "own", &format!("\u{feff}{}", [certificate, key].concat().replace('\n', "\\n")));
    let whole = chain.authority.display().to_string();
    for more in [
        format!("ca_certificate: \"{whole}\""),
        format!("ca_certificate: \"{}\"\n    client_certificate: \"{}\"", one_line.display(), own.display()),
    ] {
        let known = start(&format!("enable_tls: true\n    {more}"));
        until("readiness", || (known.ready() == Some(200)).then_some(()));
        assert_eq!(granted(&known, "waldi", scope), Ok(vec!["pull".to_owned()]), "{more}");
    }
    // The same name with a certificate from nobody that is trusted, and a server that speaks TLS where we do not.
    for tls in ["enable_tls: true", "enable_tls: false"] {
        let unknown = start(tls);
        until("the reason in the log", || events_with(&unknown, "rules_unread").pop());
        assert_eq!(granted(&unknown, "waldi", scope), Err(503), "{tls}");
        assert_eq!(unknown.ready(), Some(503), "{tls}");
    }
}

/// The log's lines with this reason.
pub(super) fn events_with(server: &Dockwarden, reason: &str) -> Vec<serde_json::Value> {
    let lines = server.process.log();
    let parsed = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    parsed.filter(|line| line["reason"] == reason).collect()
}

#[test]
fn a_reload_keeps_what_did_not_change_and_takes_over_only_what_answers() {
    let database = guide_database();
    let file = guide_file(pair(), &database.address(), "");
    let server = Dockwarden::start_file(&file);
    let original = std::fs::read_to_string(&file).unwrap();
    let (scope, all) = ("repository:test:pull", vec!["pull".to_owned()]);
    let reload = |text: &str, outcome: &str, number: usize| {
        std::fs::write(&file, text).unwrap();
        server.process.signal(Signal::Hangup);
        let count = |log: &str| log.matches(outcome).count();
        server.process.until(outcome, |process| (count(&process.log()) == number).then_some(()));
    };
    let taken_over = || server.process.log().matches("new rules are in use").count();
    until("the line of the first rules", || (taken_over() == 1).then_some(()));

    // Another setting: not even the database is needed.
    database.kill();
    reload(&original.replace("expiration: 900", "expiration: 901"), "configuration reloaded", 1);
    assert_eq!((taken_over(), server.ready()), (1, Some(200)));
    database.restart();
    until("an allowed request", || (granted(&server, "waldi", scope) == Ok(all.clone())).then_some(()));

    // Another server that does not answer, a wrong password, and a collection with a rule that cannot be used.
    database.insert("broken", &[doc! { "seq": 1 }]);
    let wrong_password = original.replace("password_file: \"", "password: \"x").replace("mongopass.txt", "");
    let wrong = [
        original.replace(&database.address(), "127.0.0.1:1"),
        wrong_password,
        original.replace("collection: \"acl\"", "collection: \"broken\""),
    ];
    for (number, text) in wrong.iter().enumerate() {
        reload(text, "\"reload_failed\"", number + 1);
        assert_eq!(granted(&server, "waldi", scope), Ok(all.clone()), "the old one stays");
    }

    // Another collection that is right.
    database.insert("other", &[doc! { "seq": 1, "match": {}, "actions": [] }]);
    reload(&original.replace("collection: \"acl\"", "collection: \"other\""), "configuration reloaded", 2);
    assert_eq!(granted(&server, "waldi", scope), Ok(vec![]));
}

/// Under another spelling, an API that respells opens no account of the collection's: neither one that is closed nor any other.
#[test]
fn an_account_of_the_collection_is_not_opened_by_an_api_that_respells() {
    let database = Database::start();
    let mut closed = user("closed", doc! {});
    closed.insert("disabled", true);
    database.insert("users", &[closed, user("open", doc! {})]);
    let respells = Standin::start(|head, stream| {
        let name = head.header("x-user").unwrap_or_default().to_lowercase();
        let (status, body) = match head.header("x-key") {
            Some("any-password") => ("200 OK", format!("{{\"name\":\"{name}\"}}")),
            Some(_) | None => ("401 Unauthorized", String::new()),
        };
        let reply = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        match stream.get_mut().write_all(reply.as_bytes()) {
            Ok(()) => Then::GoOn,
            Err(_) => Then::Close,
        }
    });
    let api = format!(
        "http_auth: {{url: \"http://{}/\", headers: {{X-User: \"${{account}}\", X-Key: \"${{password}}\"}}, account: \"$.name\"}}\n",
        respells.address
    );
    let server = Dockwarden::start_file(&guide_file(pair(), &database.address(), &api));
    let status = |account: &str| {
        let authorization = visit::basic(account, "any-password");
        let raw = http::request(
            "GET",
            &format!("/auth?service={}", http::form_encode(SERVICE)),
            "x",
            &[("Authorization", &authorization)],
            b"",
        );
        http::exchange(&server.address, &raw).status
    };
    for (account, expected) in [("CLOSED", 401), ("Open", 401), ("Nobody", 200)] {
        assert_eq!(status(account), expected, "{account}: {}", server.process.tail());
    }
    server.process.until("both refusals in the log", |process| {
        let refused = events(&process.log(), "refused");
        (refused.iter().filter(|line| line["reason"] == "name_taken").count() == 2).then_some(())
    });
}
