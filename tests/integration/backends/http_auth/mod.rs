//! Accounts that an HTTP API knows: what arrives there, what each answer means, and the two published set-ups.

mod outage;
mod section;
mod tls;

use axum::http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dockwarden::authn::http_api::HttpUsers;
use dockwarden::authn::{Authenticator as _, Credentials, Outcome, Secret};
use dockwarden::authz::pattern::LabelValue;
use dockwarden::config::{Config, Keys};
use serde_json::{Value, json};

use super::conformance::{ACCOUNTS, conforms};
use super::stand_in::{Act, Asked, StandIn};
use crate::bed::{Bed, Caller, Folder};
use crate::logs::{Form, Log};

/// How credentials are passed on in most of these tests.
const BASIC: &str = "headers: {Authorization: \"Basic ${basic}\"}";

/// The section for this API; `fields` are its keys besides `url`, the path of which is `/check`.
fn section(api: &StandIn, fields: &str) -> String {
    format!("http_auth: {{url: \"{}/check\", {fields}}}\n", api.origin())
}

fn backend(section: &str) -> HttpUsers {
    let folder = Folder::new();
    let config = Config::load(&folder.configure(section), [], Keys::Read).unwrap_or_else(|invalid| panic!("{invalid}"));
    HttpUsers::new(config.backends.http_auth.unwrap()).unwrap()
}

async fn login(backend: &HttpUsers, account: &str, password: &str) -> anyhow::Result<Outcome> {
    let password = Secret::new(password);
    backend.authenticate(&Credentials::Password { account: account.to_owned(), password }).await
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

#[tokio::test]
async fn each_status_means_what_its_list_says() {
    let outcome = |said: anyhow::Result<Outcome>| match said {
        Ok(Outcome::Accepted(_)) => "accepted".to_owned(),
        Ok(Outcome::Rejected) => "rejected".to_owned(),
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

/// An API that accepts, and whose reply is not what was agreed on: nobody gets in, and it is no wrong password.
#[tokio::test]
async fn an_accepting_reply_that_lies_lets_nobody_in() {
    let accepting = |body: &str| Act::Say(200, body.to_owned());
    let raw = |reply: &str| Act::Write(reply.as_bytes().to_vec());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    for (act, piece) in [
        (accepting(""), "its reply of 0 bytes is no JSON"),
        (accepting("<html>welcome</html>"), "its reply of 20 bytes is no JSON (line 1, column 1)"),
        (accepting("{\"email\": \"carol\"} trailing"), "is no JSON"),
        (accepting("{\"email\": \"carol\", \"teams\": [{\"name\": {}}]}"), "label team: $.teams[*].name is an object"),
        (
            accepting("{\"email\": \"carol\", \"teams\": [{\"name\": [\"a\"]}]}"),
            "label team: $.teams[*].name is a list",
        ),
        (accepting("{\"email\": \"carol\", \"teams\": [{\"name\": 1.5}]}"), "label team: $.teams[*].name is a number"),
        (accepting("{\"teams\": []}"), "its reply names no account at $.email"),
        (accepting("{\"email\": {}, \"teams\": []}"), "account: $.email is an object"),
        (accepting(&format!("\"{}\"", "x".repeat(256 * 1024))), "its reply is longer than 262144 bytes"),
        (accepting(&format!("[{}]", "[".repeat(100_000))), "is no JSON"),
        (raw(&format!("{head}Content-Length: 100\r\n\r\n{{\"email\": \"carol\"}}")), "gave no answer"),
        (raw(&format!("{head}Content-Length: 17\r\n\r\n{{\"email\": \"carol\"")), "is no JSON"),
        (raw(&format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"ema\r\n")), "gave no answer"),
        (raw(&format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n")), "gave no answer"),
        (raw(&format!("{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{{}}")), "gave no answer"),
        (raw("HTTP/1.1 200"), "gave no answer"),
        (raw("SSH-2.0-OpenSSH_9.6\r\n"), "gave no answer"),
        (raw(""), "gave no answer"),
        (raw(&format!("{head}X-Long: {}\r\n\r\n", "x".repeat(1_000_000))), "gave no answer"),
        (raw(&format!("{head}{}\r\n", "X-Many: x\r\n".repeat(5000))), "gave no answer"),
    ] {
        let api = StandIn::start(move |_| act.clone());
        let fields = format!("{BASIC}, account: \"$.email\", labels: {{team: \"$.teams[*].name\"}}");
        let backend = backend(&section(&api, &fields));
        for _ in 0..2 {
            let message = login(&backend, "carol", "carol_pw").await.map_err(|error| format!("{error:#}")).unwrap_err();
            assert!(message.contains(piece) && message.contains(&api.origin()), "{piece}: {message}");
            assert!(!message.contains("carol_pw") && message.len() < 500, "{message}");
        }
    }
    // Where nothing is taken out of the reply, its body says nothing.
    for body in ["", "junk", "{"] {
        let api = StandIn::start(move |_| Act::Say(200, body.to_owned()));
        assert!(matches!(login(&backend(&section(&api, BASIC)), "carol", "carol_pw").await, Ok(Outcome::Accepted(_))));
    }
}

#[tokio::test]
async fn labels_are_what_the_reply_holds_and_literal_unless_it_is_said() {
    let reply = json!({"teams": [{"name": "web"}, {"name": "w*"}, {"id": 3}], "level": 7, "none": null});
    let api = StandIn::start(move |_| Act::Say(200, reply.to_string()));
    let labels = "labels: {team: \"$.teams[*].name\", level: $.level, none: $.none, nowhere: \"$.x.y\"}";
    type Make = fn(&str) -> LabelValue;
    let makes: [(&str, Make); 2] =
        [("", LabelValue::literal), (", label_values: glob", |text| LabelValue::glob(text).unwrap())];
    for (more, value) in makes {
        let Ok(Outcome::Accepted(identity)) =
            login(&backend(&section(&api, &format!("{BASIC}, {labels}{more}"))), "carol", "carol_pw").await
        else {
            panic!("carol is not let in");
        };
        assert_eq!(identity.account, "carol");
        let found: Vec<(&str, Vec<LabelValue>)> =
            identity.labels.iter().map(|(name, values)| (name.as_str(), values.clone())).collect();
        let expected = [
            ("level", vec![value("7")]),
            ("none", vec![]),
            ("nowhere", vec![]),
            ("team", vec![value("web"), value("w*")]),
        ];
        assert_eq!(found, expected, "{more}");
    }
    // A reply that takes a thread of its own to read.
    let long = json!({"teams": [{"name": "x".repeat(100_000)}]});
    api.now(move |_| Act::Say(200, long.to_string()));
    let said = login(&backend(&section(&api, &format!("{BASIC}, {labels}"))), "carol", "carol_pw").await.unwrap();
    let Outcome::Accepted(identity) = said else { panic!("{said:?}") };
    assert_eq!(identity.labels["team"][0].text().len(), 100_000);
    api.now(|_| Act::Say(200, "{\"teams\": [{\"name\": \"[a\"}]}".to_owned()));
    let globs = backend(&section(&api, &format!("{BASIC}, {labels}, label_values: glob")));
    let message = format!("{:#}", login(&globs, "carol", "carol_pw").await.unwrap_err());
    assert!(message.contains("a value of the label team is no glob"), "{message}");
}

/// The account is whom the API says: neither a token of somebody else's, nor another spelling, changes who somebody is.
#[tokio::test]
async fn the_account_is_the_one_that_the_reply_names() {
    let api = StandIn::start(|asked| match asked.header("authorization") {
        "Bearer mallory_pw" => Act::Say(200, "{\"email\": \"mallory@example.com\"}".to_owned()),
        "Bearer alice_pw" => Act::Say(200, "{\"email\": \"Alice@Example.com\"}".to_owned()),
        _ => say(401),
    });
    let fields = "headers: {Authorization: \"Bearer ${password}\"}, account: \"$.email\"";
    let rules = "acl:\n  - match: {account: mallory@example.com}\n    actions: []\n  - match: {account: \"/^.+$/\"}\n    actions: [pull]\n";
    let bed = Bed::with(&format!("{rules}{}", section(&api, fields)));
    let log = Log::start(Form::Json);
    let ask = "/auth?service=registry&scope=repository:app:pull";
    for (account, password, expected) in [
        ("alice@example.com", "alice_pw", Some(("Alice@Example.com", "repository:app:pull"))),
        ("ALICE@EXAMPLE.COM", "alice_pw", Some(("Alice@Example.com", "repository:app:pull"))),
        ("mallory@example.com", "mallory_pw", Some(("mallory@example.com", "repository:app:"))),
        // The rule on mallory is not dodged as Mallory.
        ("Mallory@Example.com", "mallory_pw", Some(("mallory@example.com", "repository:app:"))),
        ("alice@example.com", "mallory_pw", None),
        ("nobody", "mallory_pw", None),
        ("alice@example.com", "wrong_pw", None),
    ] {
        let reply = bed.get(ask).basic(account, password).send().await;
        match expected {
            Some((subject, access)) => {
                let reply = reply.ok();
                assert_eq!((reply.claims()["sub"].as_str(), reply.access()), (Some(subject), vec![access.to_owned()]));
            }
            None => assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"), "{account} {password}"),
        }
    }
    let text = log.text();
    assert_eq!(text.matches("\"other_account\"").count(), 2, "{text}");
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
