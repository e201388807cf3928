//! The docker passwords that docker_auth gave people, in the databases that its own libraries write.

use serde_json::{Value, json};

use crate::mongo::{granted, pair};
use crate::support::dockwarden::{Dockwarden, config, hash, password, program};
use crate::support::process::until;
use crate::support::redis::{self, Holder, READER, Redis, record};
use crate::support::{part, scratch};

const ADA: &str = "ada@example.org";
const BEA: &str = "bea@example.org";
const SCOPE: &str = "repository:dev/app:pull";

/// A configuration whose provider, which nobody has to ask in these tests, had this token database.
fn text(token_db: &str) -> String {
    let alice = format!("users:\n  alice: {{password: \"{}\"}}\n", hash(&password("alice")));
    let records = scratch::directory("people").join("people.db");
    format!(
        "{}acl: [{{match: {{labels: {{groups: dev}}, name: \"dev/*\"}}, actions: [pull]}}]\nrecords: {{sqlite: {}}}\n\
         sign_in: {{secret: b2Ygb3VyIG93biwgYW5kIG9mIG5vYm9keSBlbHNlIQ}}\noidc_auth: {{issuer: \"https://127.0.0.1:1\", redirect_url: \
         \"https://a/oidc_auth\", client_id: c, client_secret: s, {token_db}}}\n",
        config(pair(), "", &alice),
        records.display(),
    )
}

fn pulls(server: &Dockwarden, account: &str) -> Result<Vec<String>, u16> {
    granted(server, account, SCOPE)
}

fn may() -> Result<Vec<String>, u16> {
    Ok(vec!["pull".to_owned()])
}

/// What is over by itself: it has no part in the tests but to be there.
fn ballast(number: usize) -> Value {
    let value = json!({"access_token": "x".repeat(2_000), "valid_until": "2020-01-01T00:00:00Z", "docker_password": hash_text()});
    json!({"user": format!("{number}@example.net"), "raw": value.to_string()})
}

fn hash_text() -> &'static str {
    "$2a$10$gBzOzsfI2FDp578beYt0WO66NjTZDBQ3bwp5ACzAk750kugGy7m/u"
}

/// Check 39: some megabytes of records, in tables that are compressed and in a log, one of them replaced and one written by docker_auth
/// while the server waits for it.
#[test]
fn a_database_of_leveldb_is_imported_as_soon_as_docker_auth_lets_go_of_it() {
    let folder = scratch::directory("level").join("tokens.ldb");
    let mut records: Vec<Value> = (0..3_000).map(ballast).collect();
    let mut stale = record(ADA);
    stale["password"] = json!("another");
    records.insert(1_000, stale);
    redis::fill_level(&folder, &records);
    redis::fill_level(&folder, &[record(ADA)]);
    let held = Holder::of(&folder);
    let text = text(&format!("level_token_db: {{path: \"{}\"}}", folder.display()));
    let server = Dockwarden::start(&text);
    assert_eq!((pulls(&server, ADA), pulls(&server, "alice")), (Err(503), Ok(Vec::new())));
    let check = |file: &std::path::Path| part::run(part::command_at(program()).args(["check", "--connect"]).arg(file));
    check(&server.config).refused(&["oidc_auth: failed: "]);
    held.close_with(&record(BEA));
    until("the passwords are imported", || (pulls(&server, ADA) == may()).then_some(()));
    assert_eq!((pulls(&server, BEA), pulls(&server, "cy@example.org")), (may(), Err(401)));
    let log = server.process.log();
    assert!(log.contains("old_passwords_imported") && log.contains("old_passwords_unread"), "{log}");
    assert!(!log.contains("canary"), "{log}");
    // docker_auth finds everything as it was.
    redis::fill_level(&folder, &[record(BEA)]);
}

/// Checks 38 and 41: by TLS and as a user who may read no more than that.
#[test]
fn passwords_in_redis_log_in_until_they_are_taken_over_and_redis_may_go() {
    let redis = Redis::start();
    redis.fill(&[record(ADA), record(BEA)]);
    let (user, secret) = READER;
    let options = |secret: &str| {
        text(&format!(
            "redis_token_db: {{redis_options: {{addr: \"{}\", username: {user}, password: {secret}, tlsconfig: {{servername: localhost, \
             ca_certificate: \"{}\"}}}}}}",
            redis.tls_address(),
            redis.authority().display(),
        ))
    };
    let server = Dockwarden::start(&options(secret));
    assert_eq!((pulls(&server, ADA), pulls(&server, "cy@example.org")), (may(), Err(401)));
    let wrong = scratch::write(&scratch::directory("check"), "auth_config.yml", &options("canary-wrong"));
    let refused = part::run(part::command_at(program()).args(["check", "--connect"]).arg(wrong));
    assert!(!refused.success && !refused.text.contains("canary"), "{}", refused.text);
    redis.stop();
    assert_eq!((pulls(&server, BEA), pulls(&server, "alice"), pulls(&server, ADA)), (Err(503), Ok(Vec::new()), may()));
    redis.start_again();
    redis.fill(&[record(BEA)]);
    until("Redis is asked again", || (pulls(&server, BEA) == may()).then_some(()));
    // Of Ada it knows nothing now, and does not have to.
    assert_eq!(pulls(&server, ADA), may());
    let log = server.process.log();
    assert!(log.contains("backend_down") && log.contains("backend_back") && !log.contains("canary"), "{log}");
}

/// Half of the names are at the node that the file does not name. go-redis 6 cannot read how Redis 7 lists a cluster's nodes, and so the
/// records are written where their keys belong.
#[test]
fn a_cluster_is_followed_to_the_node_that_has_the_key() {
    let nodes = Redis::cluster();
    let (here, there) = ([ADA, BEA], ["dan@example.org", "eve@example.org"]);
    nodes[0].fill(&here.map(record));
    nodes[1].fill(&there.map(record));
    let (user, secret) = READER;
    let server = Dockwarden::start(&text(&format!(
        "redis_token_db: {{redis_cluster_options: {{addrs: [\"{}\"], username: {user}, password: {secret}}}}}",
        nodes[0].address(),
    )));
    for name in here.into_iter().chain(there) {
        assert_eq!(pulls(&server, name), may(), "{name}");
    }
    assert_eq!(pulls(&server, "cy@example.org"), Err(401));
}
