//! The whole picture of docker-compose.yml: nginx ends TLS in front of the token server and of the registry.

use serde_json::Value;

use crate::support::bed::guide_policy;
use crate::support::dockwarden::{self, Dockwarden, SERVICE, events, password};
use crate::support::front::Front;
use crate::support::keys::{self, Kind, Pair};
use crate::support::part;
use crate::support::person::Person;
use crate::support::registry::Edition;
use crate::support::{client, http, image, visit};

/// Rules that tell addresses apart, before the guide's own.
const BY_ADDRESS: &str = r#"acl:
  - match: {ip: "10.0.0.0/8"}
    actions: ["*"]
    comment: "whom only a forged header puts there"
  - match: {ip: "127.0.0.5", name: "by-address"}
    actions: ["pull"]
    comment: "this one client"
"#;

fn start(pair: &Pair) -> Dockwarden {
    let policy = guide_policy().replace("acl:\n", BY_ADDRESS);
    let config = dockwarden::config(pair, "", &policy);
    Dockwarden::start(&config.replace("server:\n", "server:\n  trusted_proxies: [\"127.0.0.1/32\"]\n"))
}

#[test]
fn crane_and_docker_work_through_tls() {
    let pair = keys::as_in_the_guide(Kind::P256);
    let dockwarden = start(&pair);
    for edition in Edition::ALL {
        let front = Front::start(edition, &dockwarden, &pair);
        let marker = format!("front-{edition:?}").to_lowercase();
        crane_trusts_the_authority(&front, &marker);
        docker_pushes(&front, &marker);
    }
}

fn crane_trusts_the_authority(front: &Front, marker: &str) {
    let home = client::home();
    let image = image::layout(marker);
    // Go's own variable: crane checks the certificate, at the registry and at the token server.
    let crane =
        |arguments: &[&str]| part::run(client::crane(&home).env("SSL_CERT_FILE", &front.authority).args(arguments));
    let directory = image.directory.display().to_string();
    let remote = format!("{}/socken-front:1", front.host);
    crane(&["auth", "login", &front.host, "-u", "waldi", "-p", &password("waldi")]).well();
    crane(&["push", &directory, &remote]).well();
    assert_eq!(crane(&["digest", &remote]).well().stdout.trim(), image.digest);
    crane(&["push", &directory, &format!("{}/test-front:1", front.host)]).refused(&["unauthorized", "denied"]);
}

fn docker_pushes(front: &Front, marker: &str) {
    let waldi = Person::logged_in(&front.host, "waldi", &password("waldi"));
    waldi.build(marker);
    waldi.push(marker, "test").well();
    waldi.push(marker, "test-socke").refused(&["denied"]);
}

#[test]
fn the_clients_address_is_its_own_and_nobody_can_borrow_one() {
    let pair = keys::as_in_the_guide(Kind::P256);
    let dockwarden = start(&pair);
    let front = Front::start(Edition::V3, &dockwarden, &pair);
    let behind = format!("https://{}", front.host);
    let direct = format!("http://{}", dockwarden.address);
    let borrowed = "X-Forwarded-For: 127.0.0.5";
    let forged = "X-Forwarded-For: 10.1.2.3";
    for (base, from, headers, granted, why) in [
        (&behind, "127.0.0.5", &[][..], 1, "the rule for its address"),
        (&behind, "127.0.0.6", &[], 0, "another address"),
        (&behind, "127.0.0.6", &[borrowed], 0, "another's address"),
        (&behind, "127.0.0.6", &[forged], 0, "an address that would open everything"),
        (&behind, "127.0.0.6", &[forged, "X-Real-IP: 10.1.2.3", "Forwarded: for=10.1.2.3"], 0, "in every header"),
        (&direct, "127.0.0.6", &[borrowed], 0, "no proxy of ours, so not believed"),
        (&direct, "127.0.0.6", &[forged], 0, "no proxy of ours, so not believed"),
        (&direct, "127.0.0.1", &[borrowed], 1, "a proxy of ours says so"),
        (&direct, "127.0.0.1", &[forged, borrowed], 1, "the last line is the proxy's own"),
        (&direct, "127.0.0.1", &["X-Forwarded-For: 10.1.2.3, 127.0.0.6"], 0, "the proxy's own word comes last"),
    ] {
        let mut curl = part::client("curl");
        curl.args(["--silent", "--show-error", "--fail", "--interface", from, "--cacert"]).arg(&front.authority);
        for header in headers {
            curl.args(["--header", header]);
        }
        let service = http::form_encode(SERVICE);
        curl.arg("--user").arg(format!("busy-guy:{}", password("busy-guy")));
        curl.arg(format!("{base}/auth?service={service}&scope=repository:by-address:pull"));
        let reply: Value = serde_json::from_str(&part::run(&mut curl).well().stdout).unwrap();
        let claims = visit::claims(reply["token"].as_str().unwrap());
        let actions = claims["access"][0]["actions"].as_array().map_or(0, Vec::len);
        assert_eq!(actions, granted, "{why}: {base} from {from} with {headers:?}");
    }
    nobody_chooses_where_an_upload_goes(&front);
    let log = dockwarden.whole_log();
    let seen = |address: &str| events(&log, "decided").iter().any(|line| line["client.address"] == address);
    assert!(seen("127.0.0.5") && seen("127.0.0.6"), "the addresses are in the log");
    assert!(!seen("10.1.2.3"), "the forged one is not");
}

/// The registry makes addresses of headers that a client could send itself.
fn nobody_chooses_where_an_upload_goes(front: &Front) {
    let curl = |arguments: &[&str], url: &str| {
        let mut curl = part::client("curl");
        curl.args(["--silent", "--show-error", "--include", "--http1.1", "--cacert"]).arg(&front.authority);
        part::run(curl.args(arguments).arg(format!("https://{}{url}", front.host))).well().stdout
    };
    let question = format!("/auth?service={}&scope=repository:test:pull,push", http::form_encode(SERVICE));
    let reply = curl(&["--user", &format!("waldi:{}", password("waldi"))], &question);
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    let token = serde_json::from_str::<Value>(body).unwrap()["token"].as_str().unwrap().to_owned();
    let authorization = format!("Authorization: Bearer {token}");
    for forged in [
        "Forwarded: host=forged.test;proto=http",
        "X-Forwarded-Host: forged.test",
        "X-Forwarded-Proto: http",
        "X-Forwarded-For: 10.1.2.3",
    ] {
        let begun =
            curl(&["--request", "POST", "--header", &authorization, "--header", forged], "/v2/test/blobs/uploads/");
        assert!(
            begun.contains(&format!("\r\nLocation: https://{}/v2/test/blobs/uploads/", front.host)),
            "{forged}: {begun}"
        );
    }
}
