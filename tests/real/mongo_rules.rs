//! Rules in MongoDB over time: how long they are used without the server, and how soon a change of them holds.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mongodb::bson::doc;

use crate::mongo::{granted, guide_file, pair};
use crate::support::dockwarden::{Dockwarden, hash};
use crate::support::mongo::Database;
use crate::support::process::until;
use crate::support::scratch;

/// A static user, whose rules are in MongoDB alone, at this address.
fn rules_of_local(address: &str, times: &str) -> PathBuf {
    let local =
        format!("users:\n  local: {{password: \"{}\"}}\n", hash(&crate::support::dockwarden::password("local")));
    let text = std::fs::read_to_string(guide_file(pair(), address, &local)).unwrap();
    let text = text.replace("cache_ttl: \"10s\"", times);
    // Users are looked up nowhere but in the file.
    let (before, rest) = text.split_once("mongo_auth:").unwrap();
    let (_, rules) = rest.split_once("acl_mongo:").unwrap();
    scratch::write(&scratch::directory("rules"), "auth_config.yml", &format!("{before}acl_mongo:{rules}"))
}

const ASK: &str = "repository:app:pull";

#[test]
fn rules_are_used_until_max_stale_and_then_nothing_is_decided() {
    const MAX_STALE: Duration = Duration::from_secs(3);
    let database = Database::start();
    database.insert("acl", &[doc! { "seq": 1, "match": { "account": "local" }, "actions": ["pull"] }]);
    let file = rules_of_local(&database.address(), "cache_ttl: 1s\n  max_stale: 3s");
    let server = Dockwarden::start_file(&file);
    let pull = || Ok(vec!["pull".to_owned()]);
    for _ in 0..2 {
        assert_eq!(granted(&server, "local", ASK), pull());
        let began = Instant::now();
        database.kill();
        let over = until("rules that are too old", || {
            let (before, said, ready) = (Instant::now(), granted(&server, "local", ASK), server.ready());
            if said == pull() {
                // Ready as long as it decides; the end may come between the two questions.
                assert!(ready == Some(200) || granted(&server, "local", ASK) == Err(503), "{ready:?}");
                return None;
            }
            assert_eq!(said, Err(503));
            Some(before)
        });
        // They were read at most cache_ttl, and a moment for the reading, before the server died.
        let used = over - began;
        assert!(used > MAX_STALE.saturating_sub(Duration::from_millis(1500)), "{used:?}");
        assert!(used < MAX_STALE + Duration::from_millis(500), "{used:?}");
        assert_eq!((server.ready(), granted(&server, "local", "")), (Some(503), Ok(vec![])), "a login needs no rule");
        assert!(server.process.log().contains("longer than max_stale"));

        database.restart();
        let back = Instant::now();
        until("rules that are read again", || (granted(&server, "local", ASK) == pull()).then_some(()));
        assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
        assert_eq!(server.ready(), Some(200));
    }
    let told = |log: String| log.matches("\"rules_current\"").count() == 2;
    server.process.until("each end of an outage in the log", |process| told(process.log()).then_some(()));
}
