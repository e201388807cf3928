//! Servers that are far away: each of their answers takes half a second or a whole one, and none of that is an outage.

use std::time::Duration;

use crate::mongo::{granted, guide_file, pair};
use crate::support::dockwarden::{self, Dockwarden, config, hash};
use crate::support::http_api::HttpApi;
use crate::support::keys;
use crate::support::link::{Link, State};
use crate::support::process::until;
use crate::support::{part, scratch};

/// How long each answer takes.
const ANSWERS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(1)];

/// A link over which each answer takes so long.
fn far(address: String, answer: Duration) -> Link {
    let link = Link::to(address);
    link.set(State::Slowed(answer / 2));
    link
}

fn check(file: &std::path::Path) -> part::Said {
    part::run(part::command_at(dockwarden::program()).args(["check", "--connect"]).arg(file))
}

#[test]
fn users_and_rules_in_a_distant_mongodb_are_found() {
    for answer in ANSWERS {
        let database = crate::mongo::guide_database();
        let link = far(database.address(), answer);
        let file = guide_file(pair(), &link.address(), "");
        let server = Dockwarden::start_unready(&file);
        let scope = "repository:test:pull,push";
        let all = Ok(vec!["pull".to_owned(), "push".to_owned()]);
        until("a login", || (granted(&server, "waldi", scope) == all).then_some(()));
        for _ in 0..3 {
            assert_eq!(granted(&server, "waldi", scope), all, "{answer:?}");
        }
        let said = check(&file).well();
        assert!(
            said.stdout.contains("mongo_auth: ok: ") && said.stdout.contains("looking one up took "),
            "{}",
            said.text
        );
        let log = server.whole_log();
        assert!(!log.contains("backend_down"), "{answer:?}: {log}");
    }
}

#[test]
fn a_distant_api_knows_and_decides() {
    for answer in ANSWERS {
        let chain = keys::for_localhost();
        let authority = chain.authority.clone();
        let (plain, over_tls) = (HttpApi::start(), HttpApi::start_tls(chain));
        for (api, scheme, tls) in [
            (&plain, "http://127.0.0.1", String::new()),
            (&over_tls, "https://localhost", format!(", tls: {{ca_certificate: \"{}\"}}", authority.display())),
        ] {
            let link = far(api.address(), answer);
            let origin = format!("{scheme}:{}", link.address().rsplit(':').next().unwrap());
            let sections = format!(
                "users:\n  local: {{password: \"{}\"}}\nhttp_auth: {{url: \"{origin}/\", headers: {{Authorization: \
                 \"Basic ${{basic}}\"}}{tls}}}\nacl: []\nhttp_authz: {{url: \"{origin}/may\"{tls}}}\n",
                hash("local")
            );
            let file =
                scratch::write(&scratch::directory("distant"), "auth_config.yml", &config(pair(), "", &sections));
            let server = Dockwarden::start_file(&file);
            for _ in 0..3 {
                let got = crate::http_api::ask(&server.address, "testuser", "testpassword", "repository:open/app:pull");
                assert_eq!(got, (200, vec!["pull".to_owned()]), "{scheme} {answer:?}: {}", server.process.log());
            }
            let said = check(&file).well();
            assert!(said.stdout.contains("http_auth: ok: ") && said.stdout.contains("connecting "), "{}", said.text);
            let log = server.whole_log();
            assert!(!log.contains("backend_down"), "{scheme} {answer:?}: {log}");
        }
    }
}
