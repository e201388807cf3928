//! Accounts that the API is asked about by a request of its own, without their passwords.

use dockwarden::authn::{Account, Authenticator as _, LookUp};
use dockwarden::client_network::ClientNetwork;
use policy::pattern::LabelValue;
use serde_json::{Value, json};

use super::{BASIC, backend, basic, login, percent_decoded, say, section};
use crate::backends::conformance::{ACCOUNTS, conforms};
use crate::backends::stand_in::{Act, Asked, StandIn};

/// The section with `look_up`, which asks at this path.
fn with(api: &StandIn, fields: &str, path: &str, look_up: &str) -> String {
    section(api, &format!("{fields}, look_up: {{url: \"{}{path}\", {look_up}}}", api.origin()))
}

/// What a look-up brings, in a word or in the words of the error.
async fn said(section: &str, account: &str) -> String {
    let account = Account::parse(account).unwrap();
    match backend(section).look_up(&account, ClientNetwork::Unknown).await {
        Ok(LookUp::Known(identity)) => {
            let texts = |values: &[LabelValue]| values.iter().map(LabelValue::text).collect::<Vec<_>>().join(",");
            let labels = identity.labels.iter().map(|(name, values)| format!(" {name}={}", texts(values)));
            format!("known {}{}", identity.name(), labels.collect::<String>())
        }
        Ok(LookUp::Unknown) => "unknown".to_owned(),
        Ok(LookUp::OnlyByLogin) => "only by login".to_owned(),
        Err(error) => format!("{error:#}"),
    }
}

type Reading = fn(&Asked) -> String;

/// Every place where the account can stand, and how an API finds it there.
const PLACES: &[(&str, &str, Reading)] = &[
    ("/users/${account}", "method: HEAD", |asked| percent_decoded(asked.target.rsplit('/').next().unwrap())),
    ("/users?name=${account}", "", |asked| percent_decoded(asked.target.rsplit('=').next().unwrap())),
    ("/users", "headers: {X-User: \"${account}\"}", |asked| asked.header("x-user").to_owned()),
    ("/users", "method: POST, body: '{\"user\": \"${account}\"}'", |asked| {
        serde_json::from_str::<Value>(&asked.body).unwrap()["user"].as_str().unwrap().to_owned()
    }),
];

#[tokio::test]
async fn the_backend_conforms_wherever_the_account_stands_and_sends_no_password() {
    for &(path, look_up, read) in PLACES {
        let api = StandIn::start(move |asked| match asked.target.starts_with("/users") {
            true => say(if ACCOUNTS.iter().any(|(account, _)| *account == read(asked)) { 200 } else { 404 }),
            false => {
                let (account, password) = basic(asked);
                say(if ACCOUNTS.contains(&(account.as_str(), password.as_str())) { 200 } else { 401 })
            }
        });
        let section = with(&api, &format!("{BASIC}, not_mine: [404]"), path, look_up);
        conforms(&backend(&section)).await;
        assert_eq!(said(&section, "alice").await, "known alice");
        assert_eq!(said(&section, "mallory").await, "unknown");
        // It would arrive under another name.
        assert_eq!(said(&section, " alice").await, "unknown");
        let looked_up: Vec<Asked> =
            api.all_asked().into_iter().filter(|asked| asked.target.starts_with("/users")).collect();
        assert!(looked_up.len() > 20, "{}", looked_up.len());
        for asked in looked_up {
            // One of the accounts is called so.
            let holds_one = format!("{asked:?}").contains("pw") && !read(&asked).contains("pw");
            assert!(!asked.headers.contains_key("authorization") && !holds_one, "{asked:?}");
        }
    }
}

#[tokio::test]
async fn a_reply_is_read_as_that_of_a_login() {
    let fields = format!("{BASIC}, not_mine: [404], account: \"$.name\", labels: {{team: \"$.teams[*]\"}}");
    let body = |body: Value| Act::Say(200, body.to_string());
    for (act, expected) in [
        (body(json!({"name": "Carol", "teams": ["web", "db"]})), "known Carol team=web,db"),
        (body(json!({"name": "carol"})), "known carol team="),
        // A search that found somebody else, and one that found nobody.
        (body(json!({"name": "caroline"})), "unknown"),
        (body(json!([])), "unknown"),
        (say(404), "unknown"),
        (say(401), "$ refuses to look accounts up, with 401"),
        (say(403), "$ refuses to look accounts up, with 403"),
        (say(302), "$ answered 302, which is not listed"),
        (say(500), "$ answered 500, which is not listed"),
        (Act::Say(200, "<html>".to_owned()), "$: its reply of 6 bytes is not JSON"),
        (body(json!({"name": ["carol"]})), "$: account: $.name is a list"),
        (body(json!({"name": "carol", "teams": [{}]})), "$: label team: $.teams[*] is an object"),
        (Act::Write(Vec::new()), "$ gave no answer"),
    ] {
        let api = StandIn::start(move |_| act.clone());
        let said = said(&with(&api, &fields, "/users/${account}", ""), "carol").await.replace(&api.origin(), "$");
        assert!(said.starts_with(expected), "{expected}: {said}");
    }
    let api = StandIn::start(|_| say(200));
    assert_eq!(said(&section(&api, BASIC), "carol").await, "only by login");
    assert!(api.all_asked().iter().all(|asked| !asked.target.contains("carol")), "a trial asks about nobody");
}

/// What is remembered of a look-up lets nobody in, and the other way round.
#[tokio::test]
async fn a_look_up_and_a_login_are_remembered_apart() {
    let api = StandIn::start(|asked| say(if asked.target.starts_with("/users") { 200 } else { 401 }));
    let backend = backend(&with(&api, &format!("{BASIC}, cache_ttl: 60"), "/users/${account}", ""));
    let carol = Account::parse("carol").unwrap();
    for _ in 0..3 {
        assert!(matches!(backend.look_up(&carol, ClientNetwork::Unknown).await, Ok(LookUp::Known(_))));
        assert_eq!(login(&backend, "carol", "pw").await.unwrap(), dockwarden::authn::Outcome::Rejected);
    }
    let looked_up = api.all_asked().iter().filter(|asked| asked.target.starts_with("/users")).count();
    assert_eq!(looked_up, 1);
}
