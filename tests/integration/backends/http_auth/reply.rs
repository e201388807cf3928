//! What is taken out of an API's reply: who somebody is, and which labels they have.

use dockwarden::authn::Outcome;
use policy::pattern::LabelValue;
use serde_json::json;

use super::{BASIC, backend, login, say, section};
use crate::backends::stand_in::{Act, StandIn};
use crate::bed::Bed;
use crate::logs::{Form, Log};

/// An API that accepts, and whose reply is not what was agreed on: nobody gets in, and it is no wrong password.
#[tokio::test]
async fn an_accepting_reply_that_lies_lets_nobody_in() {
    let accepting = |body: &str| Act::Say(200, body.to_owned());
    let raw = |reply: &str| Act::Write(reply.as_bytes().to_vec());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    for (act, piece) in [
        (accepting(""), "its reply of 0 bytes is not JSON"),
        (accepting("<html>welcome</html>"), "its reply of 20 bytes is not JSON (line 1, column 1)"),
        (accepting("{\"email\": \"carol\"} trailing"), "is not JSON"),
        (accepting("{\"email\": \"carol\", \"teams\": [{\"name\": {}}]}"), "label team: $.teams[*].name is an object"),
        (
            accepting("{\"email\": \"carol\", \"teams\": [{\"name\": [\"a\"]}]}"),
            "label team: $.teams[*].name is a list",
        ),
        (accepting("{\"email\": \"carol\", \"teams\": [{\"name\": 1.5}]}"), "label team: $.teams[*].name is a number"),
        (
            accepting("{\"email\": \"carol\", \"email\": \"dave\", \"teams\": []}"),
            "its reply of 48 bytes has a name twice",
        ),
        (accepting("{\"teams\": []}"), "its reply names no account at $.email"),
        (accepting("{\"email\": {}, \"teams\": []}"), "account: $.email is an object"),
        (accepting(&format!("\"{}\"", "x".repeat(256 * 1024))), "its reply is longer than 262144 bytes"),
        (accepting(&format!("[{}]", "[".repeat(100_000))), "is not JSON"),
        (raw(&format!("{head}Content-Length: 100\r\n\r\n{{\"email\": \"carol\"}}")), "gave no answer"),
        (raw(&format!("{head}Content-Length: 17\r\n\r\n{{\"email\": \"carol\"")), "is not JSON"),
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
        assert_eq!(identity.name(), "carol");
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
    assert!(message.contains("a value of the label team is not a glob"), "{message}");
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
