//! Accounts that an HTTP API knows: what arrives there, what each answer means, and the two published set-ups.

mod late;
mod look_up;
pub(super) mod outage;
mod reply;
mod section;
mod slow;
mod tls;

use std::sync::Arc;

use axum::http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dockwarden::authn::attempts::Attempts;
use dockwarden::authn::http_api::{HttpAuthSettings, HttpUsers};
use dockwarden::authn::{Account, Authenticator as _, Credentials, Outcome, Secret};
use dockwarden::client_network::ClientNetwork;
use dockwarden::config::{Config, Secrets};
use serde_json::{Value, json};

use super::conformance::{ACCOUNTS, conforms};
use super::stand_in::{Act, Asked, StandIn};
use crate::bed::{Bed, Caller, Folder};

/// How credentials are passed on in most of these tests.
const BASIC: &str = "headers: {Authorization: \"Basic ${basic}\"}";

/// The section for this API; `fields` are its keys besides `url`, the path of which is `/check`.
fn section(api: &StandIn, fields: &str) -> String {
    format!("http_auth: {{url: \"{}/check\", {fields}}}\n", api.origin())
}

fn backend(section: &str) -> HttpUsers {
    let folder = Folder::new();
    let config =
        Config::load(&folder.configure(section), [], Secrets::Read).unwrap_or_else(|invalid| panic!("{invalid}"));
    HttpUsers::new(config.backends.get::<HttpAuthSettings>().unwrap().clone(), Arc::new(Attempts::new().unwrap()))
        .unwrap()
}

async fn login(backend: &HttpUsers, account: &str, password: &str) -> anyhow::Result<Outcome> {
    // What cannot be an account is refused at the door, and gets to no backend.
    let Ok(account) = Account::parse(account) else { return Ok(Outcome::Rejected) };
    let password = Secret::new(password);
    backend.authenticate(&Credentials::Password { account, password }, ClientNetwork::Unknown).await
}

/// Account and password of a Basic header.
fn basic(asked: &Asked) -> (String, String) {
    let encoded = asked.header("authorization").strip_prefix("Basic ").unwrap_or_default();
    let decoded = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
    let (account, password) = decoded.split_once(':').unwrap_or_default();
    (account.to_owned(), password.to_owned())
}

fn say(status: u16) -> Act {
    Act::Say(status, String::new())
}

/// An API that knows these accounts, and finds account and password in the question as `read` says.
fn knows(
    accounts: &'static [(&'static str, &'static str)],
    read: impl Fn(&Asked) -> (String, String) + Send + Sync + 'static,
) -> StandIn {
    StandIn::start(move |asked| {
        let (account, password) = read(asked);
        say(if accounts.contains(&(account.as_str(), password.as_str())) { 200 } else { 401 })
    })
}

fn percent_decoded(text: &str) -> String {
    let form = text.replace('+', "%2B");
    form_urlencoded::parse(format!("x={form}").as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

fn of_form(body: &str) -> (String, String) {
    let fields: std::collections::BTreeMap<String, String> =
        form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    (fields["user"].clone(), fields["key"].clone())
}

fn of_json(body: &str) -> (String, String) {
    let json: Value = serde_json::from_str(body).unwrap();
    (json["user"].as_str().unwrap().to_owned(), json["key"].as_str().unwrap().to_owned())
}

type Reading = fn(&Asked) -> (String, String);

/// Every place where account and password can stand, and how an API finds them there.
const PLACES: &[(&str, &str, Reading)] = &[
    ("", BASIC, basic),
    ("", "method: POST, body: '{\"user\": \"${account}\", \"key\": \"${password}\"}'", |asked| of_json(&asked.body)),
    (
        "",
        "method: POST, content_type: application/x-www-form-urlencoded, body: \"user=${account}&key=${password}\"",
        |asked| of_form(&asked.body),
    ),
    ("/${account}", "headers: {Authorization: \"Bearer ${password}\"}", |asked| {
        let account = asked.target.rsplit('/').next().unwrap();
        let password = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        (percent_decoded(account), password.to_owned())
    }),
    ("?user=${account}&key=${password}", "method: HEAD", |asked| {
        of_form(asked.target.parse::<Uri>().unwrap().query().unwrap())
    }),
    ("", "headers: {X-User: \"${account}\", X-Key: \"${password}\"}", |asked| {
        (asked.header("x-user").to_owned(), asked.header("x-key").to_owned())
    }),
];

#[tokio::test]
async fn the_backend_conforms_wherever_the_credentials_stand() {
    static KNOWN: [(&str, &str); 2] = ACCOUNTS;
    for (path, fields, read) in PLACES {
        let api = knows(&KNOWN, read);
        conforms(&backend(&section(&api, fields).replace("/check\"", &format!("/check{path}\"")))).await;
    }
}

/// The API reads exactly what was typed, or is not asked.
#[tokio::test]
async fn what_arrives_is_what_was_typed() {
    let odd = [
        ("carol", "carol_pw"),
        ("carol@example.com", "a b_pw"),
        ("ö", "ä€🦀_pw"),
        ("a&b=c", "x&user=root&key=_pw"),
        ("a\"b", "\",\"admin\":\"_pw"),
        ("100%", "%00_pw%"),
        ("${password}", "${account}_pw"),
        ("a+b", "a+b_pw"),
        ("-x", "'; DROP_pw"),
    ];
    for (path, fields, read) in PLACES {
        let api = StandIn::start(|_| say(401));
        let backend = backend(&section(&api, fields).replace("/check\"", &format!("/check{path}\"")));
        let mut number = 0;
        for (account, password) in odd {
            assert_eq!(login(&backend, account, password).await.unwrap(), Outcome::Rejected);
            let about: Vec<(String, String)> = api.asked().iter().map(read).collect();
            // A header cannot hold everything; all others can.
            let in_header = fields.starts_with("headers") && *fields != BASIC;
            let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
            if in_header && !(plain(password) && (plain(account) || fields.contains("Bearer"))) {
                assert_eq!(about.len(), number, "{fields}: {account} {password}");
                continue;
            }
            number += 1;
            assert_eq!(about.last(), Some(&(account.to_owned(), password.to_owned())), "{fields}");
        }
        assert!(number >= 4, "{fields}");
        for asked in api.asked() {
            assert_eq!(asked.header("accept"), "application/json");
            assert!(asked.header("user-agent").starts_with("dockwarden/"));
            assert_eq!(asked.header("host"), api.address().to_string());
        }
    }
}

/// What would not arrive as it is, or could be read as somebody else's, is refused without asking.
#[tokio::test]
async fn what_cannot_be_asked_is_refused_and_not_asked() {
    let api = StandIn::start(|asked| say(if asked.is_trial() { 401 } else { 200 }));
    let long = "x".repeat(4097 - "_pw".len()) + "_pw";
    let everywhere = [
        ("carol\n", "x_pw"),
        ("carol\0", "x_pw"),
        ("\u{7f}carol", "x_pw"),
        ("carol\u{85}", "x_pw"),
        (" carol", "x_pw"),
        ("carol ", "x_pw"),
        ("\u{a0}carol", "x_pw"),
        ("", "x_pw"),
        (&"c".repeat(256), "x_pw"),
        ("carol", ""),
        ("carol", "x_pw\r\nX-Admin: 1"),
        ("carol", "x_pw\0"),
        ("carol", &long),
    ];
    let basic = [("carol:x", "y_pw")];
    let path = [("a/b", "x_pw"), ("..", "x_pw"), (".", "x_pw"), ("a\\b", "x_pw")];
    let header = [("carol", "x y_pw"), ("carol", "x\u{e4}_pw"), ("carol", " x_pw")];
    let bearer = "headers: {Authorization: \"Bearer ${password}\"}";
    let json = "method: POST, body: '{\"user\": \"${account}\", \"key\": \"${password}\"}'";
    for (place, fields, own) in [
        ("", BASIC, basic.as_slice()),
        ("/${account}", bearer, &path),
        ("/${account}", bearer, &header),
        ("", json, &[]),
    ] {
        let backend = backend(&section(&api, fields).replace("/check\"", &format!("/check{place}\"")));
        for (account, password) in everywhere.iter().chain(own) {
            let said = login(&backend, account, password).await.unwrap();
            assert_eq!(said, Outcome::Rejected, "{fields}: {account:?} {:?}", password.get(..20));
        }
        assert_eq!(api.asked().len(), 0, "{fields}");
    }
    let backend = backend(&section(&api, BASIC));
    for (account, password) in [("carol", &long[1..]), ("carol x", "x y_pw"), (&"c".repeat(255), "x_pw")] {
        assert!(matches!(login(&backend, account, password).await, Ok(Outcome::Accepted(_))), "{account}");
    }
}

/// Whom another section knows, nobody becomes with a password that is good at the API.
#[tokio::test]
async fn a_name_that_another_section_knows_cannot_be_taken() {
    let api = StandIn::start(|asked| say(if asked.is_trial() { 401 } else { 200 }));
    let folder = Folder::new();
    folder.put("htpasswd", &format!("dave:{}\n", crate::bed::ALICE_HASH));
    let program = "ext_auth: {command: /bin/sh, args: [-c, \"case $(cat) in erin*) exit 1 ;; esac; exit 2\"]}\n";
    let token = section(&api, "headers: {Authorization: \"Bearer ${password}\"}, account: unchecked");
    let bed = Bed::in_folder(folder, &format!("htpasswd_auth: {{path: $DIR/htpasswd}}\n{program}{token}"));
    let ask = "/auth?service=registry&scope=repository:pub/app:pull";
    for (account, expected) in [("alice", 401), ("bob", 401), ("dave", 401), ("erin", 401), ("frank", 200)] {
        assert_eq!(bed.get(ask).basic(account, "mallory_pw").send().await.status, expected, "{account}");
    }
    assert_eq!(api.asked().len(), 1);
}

#[tokio::test]
async fn each_status_means_what_its_list_says() {
    let outcome = |said: anyhow::Result<Outcome>| match said {
        Ok(Outcome::Accepted(_)) => "accepted".to_owned(),
        Ok(Outcome::Rejected) => "rejected".to_owned(),
        Ok(Outcome::Closed(words)) => format!("closed: {words}"),
        Ok(Outcome::NotMine) => "not mine".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    let listed = "accept: [200, 204, 302], reject: [400, 403], not_mine: [401, 404]";
    for (status, usual, listed) in [
        (200, "accepted", "accepted"),
        (204, "answered 204, which is not listed", "accepted"),
        (302, "answered 302, which is not listed", "accepted"),
        (400, "answered 400, which is not listed", "rejected"),
        (401, "rejected", "not mine"),
        (403, "rejected", "rejected"),
        (404, "answered 404, which is not listed", "not mine"),
        (405, "answered 405, which is not listed", "answered 405, which is not listed"),
        (429, "answered 429, which is not listed", "answered 429, which is not listed"),
        (500, "answered 500, which is not listed", "answered 500, which is not listed"),
    ]
    .map(|(status, usual, own)| (status, usual, (own, listed)))
    {
        let (own, lists) = listed;
        let api = StandIn::start(move |_| say(status));
        for (fields, expected) in [(BASIC.to_owned(), usual), (format!("{BASIC}, {lists}"), own)] {
            let said = outcome(login(&backend(&section(&api, &fields)), "carol", "carol_pw").await);
            assert!(said.contains(expected), "{status}: {said}");
        }
        // None of these keeps anybody else out.
        let backend = backend(&section(&api, BASIC));
        for _ in 0..2 {
            assert!(outcome(login(&backend, "carol", "carol_pw").await).contains(usual));
        }
        assert_eq!(api.asked().len(), 4);
    }
}

/// Credentials never follow a redirect, wherever it leads.
#[tokio::test]
async fn redirects_are_never_followed() {
    let elsewhere = StandIn::start(|_| say(200));
    for status in [301, 302, 303, 307, 308] {
        let place = format!("{}/check", elsewhere.origin());
        let api = StandIn::start(move |asked| {
            if asked.target == "/check" {
                Act::SayWith(status, ("Location", place.clone()), String::new())
            } else {
                say(200)
            }
        });
        let message = login(&backend(&section(&api, BASIC)), "carol", "carol_pw").await.unwrap_err().to_string();
        assert!(
            message.contains(&format!("answered {status}")) && message.ends_with("redirects are not followed"),
            "{message}"
        );
        api.now(move |_| Act::SayWith(status, ("Location", "/other".to_owned()), String::new()));
        assert!(login(&backend(&section(&api, BASIC)), "carol", "carol_pw").await.is_err());
        assert!(api.all_asked().iter().all(|asked| asked.target == "/check"));
    }
    assert_eq!(elsewhere.connections(), (0, 0));
}

/// The configuration of an example, with `origin` in the place of its API's address.
fn example(name: &str, address: &str, api: &StandIn) -> Bed {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(address));
    let folder = Folder::new();
    let text = text
        .replace(address, &api.origin())
        .replace("certificate: token.crt, key: token.key", "certificate: $DIR/token.crt, key: $DIR/token.key");
    Bed::in_folder(folder, &format!("{text}users: {{}}\n"))
}

#[tokio::test]
async fn kloudless_is_a_configuration_file() {
    let api = StandIn::start(|asked| {
        assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/v1/meta/licenses/"));
        assert_eq!(asked.header("accept"), "application/json");
        match asked.header("authorization") {
            "Bearer both_pw" => {
                Act::Say(200, json!({"total": 2, "objects": [{"release": "stable"}, {"release": "beta"}]}).to_string())
            }
            "Bearer none_pw" => Act::Say(200, json!({"total": 0, "objects": []}).to_string()),
            "Bearer star_pw" => Act::Say(200, json!({"objects": [{"release": "*"}]}).to_string()),
            _ => Act::Say(401, json!({"error_code": "unauthorized"}).to_string()),
        }
    });
    let bed = example("kloudless.yml", "https://api.kloudless.com", &api);
    let scopes =
        "repository:stable/app:pull,push repository:beta/app:pull repository:dev/app:pull repository:stable:pull";
    for (password, expected) in [
        (
            "both_pw",
            ["repository:stable/app:pull", "repository:beta/app:pull", "repository:dev/app:", "repository:stable:"],
        ),
        ("none_pw", ["repository:stable/app:", "repository:beta/app:", "repository:dev/app:", "repository:stable:"]),
        ("star_pw", ["repository:stable/app:", "repository:beta/app:", "repository:dev/app:", "repository:stable:"]),
    ] {
        assert_eq!(bed.grants(Caller::Account("dev@example.com", password), scopes).await, expected, "{password}");
    }
    let ask = "/auth?service=registry&scope=repository:stable/app:pull";
    let reply = bed.get(ask).basic("dev@example.com", "both_pw").send().await.ok();
    assert_eq!(reply.claims()["sub"], "dev@example.com");
    for (account, password) in [("dev@example.com", "wrong_pw"), ("dev@example.com", "both pw"), ("", "both_pw")] {
        assert_eq!(bed.get(ask).basic(account, password).send().await.status, 401, "{account} {password}");
    }
    assert_eq!(bed.get(ask).send().await.status, 401, "nobody is asked about a client without credentials");
    assert!(api.all_asked().len() <= 6);
}

#[tokio::test]
async fn opendns_is_a_configuration_file() {
    let api = knows(&[("testuser", "testpassword")], |asked| {
        assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/"));
        basic(asked)
    });
    let bed = example("opendns.yml", "https://auth.example.com", &api);
    let caller = Caller::Account("testuser", "testpassword");
    assert_eq!(bed.grants(caller, "repository:app:pull,push").await, ["repository:app:pull,push"]);
    let ask = "/auth?service=registry&scope=repository:app:pull";
    for (account, password) in [("testuser", "wrong"), ("nobody", "testpassword"), ("Testuser", "testpassword")] {
        assert_eq!(bed.get(ask).basic(account, password).send().await.status, 401, "{account}");
    }
    assert_eq!(bed.get(ask).send().await.status, 401);
    // docker logs in with a form where it can.
    let form = "grant_type=password&service=registry&scope=repository:app:pull&username=testuser&password=testpassword";
    assert_eq!(bed.post("/auth", form).send().await.ok().access(), ["repository:app:pull"]);
    // A colon in the account would make it another one's: alice:x with y reads as alice with x:y.
    let form = "grant_type=password&service=registry&username=testuser:testpass&password=word";
    assert_eq!(bed.post("/auth", form).send().await.status, 401);
}
