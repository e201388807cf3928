//! Decisions by an HTTP API: the question, what each answer grants, and every way of not answering.

use std::time::{Duration, Instant};

use dockwarden::config::{Config, Secrets};
use serde_json::{Value, json};

use super::stand_in::{Act, StandIn};
use crate::bed::{ALICE, BOB, Bed, Caller, Folder, NOBODY};
use crate::logs::{Form, Log};

/// Rules that leave all but two names to the API.
const RULES: &str =
    "acl:\n  - match: {name: static/yes}\n    actions: [pull]\n  - match: {name: static/no}\n    actions: []\n";

fn bed(api: &StandIn, fields: &str) -> Bed {
    Bed::with(&format!("{RULES}http_authz: {{url: \"{}/may\"{fields}}}\n", api.origin()))
}

fn answer(reply: Value) -> Act {
    Act::Say(200, reply.to_string())
}

#[tokio::test]
async fn the_question_is_one_object_a_scope_and_the_rules_come_first() {
    let api = StandIn::start(|_| answer(json!({"actions": ["*"]})));
    let bed = bed(&api, ", headers: {Authorization: Bearer our-own_pw}");
    let ask = "/auth?service=Docker+registry&scope=repository:static/yes:pull,push&scope=repository:static/no:pull\
               &scope=repository(plugin):a/b:push,pull&scope=registry:catalog:*";
    let reply = bed.get(ask).by(ALICE).from("::ffff:203.0.113.9").send().await.ok();
    let granted =
        ["repository:static/yes:pull", "repository:static/no:", "repository:a/b:pull,push", "registry:catalog:*"];
    assert_eq!(reply.access(), granted);
    bed.get("/auth?service=r&scope=repository:c:delete").by(NOBODY).from("2001:db8::1").send().await.ok();
    let asked = api.asked();
    let about = |body: &str| serde_json::from_str::<Value>(body).unwrap();
    let questions: Vec<Value> =
        asked.iter().map(|asked| about(&asked.body)).filter(|question| question["name"] != "").collect();
    let expected = [
        json!({"account": "alice", "type": "repository", "name": "a/b", "service": "Docker registry",
            "ip": "203.0.113.9", "actions": ["pull", "push"], "labels": {"team": ["web", "api"]}}),
        json!({"account": "alice", "type": "registry", "name": "catalog", "service": "Docker registry",
            "ip": "203.0.113.9", "actions": ["*"], "labels": {"team": ["web", "api"]}}),
        json!({"account": "", "type": "repository", "name": "c", "service": "r", "ip": "2001:db8::1",
            "actions": ["delete"], "labels": {}}),
    ];
    assert_eq!(questions, expected);
    for asked in asked {
        assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/may"));
        assert_eq!(asked.header("content-type"), "application/json");
        assert_eq!(asked.header("authorization"), "Bearer our-own_pw");
    }
}

/// Never more than was asked for, whatever the API says; and a "no" is final.
#[tokio::test]
async fn what_is_granted_is_what_was_asked_for_and_answered() {
    for (said, asked, granted) in [
        (json!({"actions": ["pull", "push"]}), "pull,push", "pull,push"),
        (json!({"actions": ["pull"]}), "pull,push", "pull"),
        (json!({"actions": ["pull", "push", "delete", "*"]}), "pull", "pull"),
        (json!({"actions": ["*"]}), "pull,push,frobnicate", "pull,push"),
        (json!({"actions": ["delete"]}), "pull", ""),
        (json!({"actions": ["frobnicate"]}), "pull,frobnicate", "frobnicate"),
        (json!({"actions": ["pull", "pull"]}), "pull", "pull"),
        // Who asks for everything gets what there is.
        (json!({"actions": ["pull"]}), "*", "pull"),
        (json!({"actions": ["*"]}), "*", "*"),
        (json!({"actions": []}), "pull", ""),
        (json!({"actions": [], "comment": "out of hours", "more": {"x": 1}}), "pull", ""),
        (json!({"actions": null}), "pull", ""),
    ] {
        let reply = said.clone();
        let api = StandIn::start(move |_| answer(reply.clone()));
        let bed = bed(&api, "");
        let scope = format!("repository:app:{asked}");
        assert_eq!(bed.grants(ALICE, &scope).await, [format!("repository:app:{granted}")], "{said} for {asked}");
    }
}

/// `null` leaves the question to the next source, and nothing else does.
#[tokio::test]
async fn an_api_can_leave_a_question_to_the_program() {
    let api = StandIn::start(|asked| {
        let question: Value = serde_json::from_str(&asked.body).unwrap();
        match question["name"].as_str().unwrap() {
            "ours/no" => answer(json!({"actions": []})),
            "ours/yes" => answer(json!({"actions": ["pull"], "comment": "ours"})),
            _ => answer(json!({"actions": null})),
        }
    });
    let log = Log::start(Form::Json);
    let program = "ext_authz: {command: /bin/sh, args: [-c, \"exit 0\"]}\n";
    let bed = Bed::with(&format!("acl: []\n{program}http_authz: {{url: \"{}/may\"}}\n", api.origin()));
    let scopes = "repository:ours/no:pull repository:ours/yes:pull repository:theirs:pull";
    let granted = ["repository:ours/no:", "repository:ours/yes:pull", "repository:theirs:pull"];
    assert_eq!(bed.grants(ALICE, scopes).await, granted);
    let text = log.text();
    assert!(text.contains("\"http_authz[0] ours\"") && text.contains("\"ext_authz[0]\""), "{text}");
}

/// No grant, and no refusal either: the client asks again, instead of taking "denied" for an answer.
#[tokio::test]
async fn an_api_that_does_not_answer_grants_nothing_and_is_no_refusal() {
    let say = |status, body: &str| Act::Say(status, body.to_owned());
    let yes = "{\"actions\": [\"pull\"]}";
    for (act, piece) in [
        (say(200, ""), "its reply is not {\\\"actions\\\""),
        (say(200, "{}"), "its reply is not"),
        (say(200, "{\"action\": [\"pull\"]}"), "its reply is not"),
        (say(200, "{\"actions\": \"pull\"}"), "its reply is not"),
        (say(200, "{\"actions\": [1]}"), "its reply is not"),
        (say(200, "{\"actions\": [null]}"), "its reply is not"),
        (say(200, "{\"actions\": {\"pull\": true}}"), "its reply is not"),
        (say(200, "{\"actions\": [\"pull\"], \"actions\": [\"push\"]}"), "its reply is not"),
        (say(200, "{\"actions\": [\"pull\"]"), "its reply is not"),
        (say(200, "true"), "its reply is not"),
        // The members in their order are no object.
        (say(200, "[[\"pull\"]]"), "its reply is not"),
        (say(200, "[[\"pull\"], null]"), "its reply is not"),
        (say(200, "[null]"), "its reply is not"),
        (say(200, "{\"actions\": [\"PULL\"]}"), "lists an unknown action (number 1)"),
        (say(200, "{\"actions\": [\"pull\", \"a b\"]}"), "lists an unknown action (number 2)"),
        (say(200, &format!("{{\"actions\": [], \"comment\": \"{}\"}}", "x".repeat(70_000))), "longer than 65536 bytes"),
        (say(201, yes), "answered 201; an answer has status 200"),
        (say(204, ""), "answered 204"),
        (say(302, yes), "answered 302"),
        (say(401, yes), "answered 401"),
        (say(403, yes), "answered 403"),
        (say(404, yes), "answered 404"),
        (say(500, yes), "answered 500"),
        (say(503, yes), "answers 503"),
        (Act::Hang, "no answer within 300 ms"),
        (Act::Write(Vec::new()), "gave no answer"),
    ] {
        let api = StandIn::start(move |_| act.clone());
        let bed = bed(&api, ", timeout: 300ms");
        let log = Log::start(Form::Json);
        for caller in [ALICE, NOBODY] {
            let scopes = "&scope=repository:static/yes:pull&scope=repository:open:pull";
            let reply = bed.get(&format!("/auth?service=registry{scopes}")).by(caller).send().await;
            assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"), "{piece}");
        }
        assert!(log.text().contains(piece), "{piece}: {}", log.text());
        // What the rules decide, and a login, need no API; a wrong password is wrong.
        assert_eq!(bed.grants(ALICE, "repository:static/yes:pull").await, ["repository:static/yes:pull"], "{piece}");
        assert_eq!(bed.get("/auth?service=registry").by(BOB).send().await.status, 200, "{piece}");
        let wrong = Caller::Account("alice", "wrong");
        assert_eq!(bed.get("/auth?service=registry&scope=repository:open:pull").by(wrong).send().await.status, 401);
    }
}

/// However many scopes a request has, they share one deadline.
#[tokio::test]
async fn all_scopes_of_a_request_share_one_deadline() {
    let api = StandIn::start(|_| Act::Late(Duration::from_millis(250), Box::new(answer(json!({"actions": ["*"]})))));
    let bed = bed(&api, ", timeout: 600ms");
    let scopes =
        |number: usize| (0..number).map(|scope| format!("&scope=repository:app{scope}:pull")).collect::<String>();
    let began = Instant::now();
    let reply = bed.get(&format!("/auth?service=registry{}", scopes(20))).by(ALICE).send().await;
    assert_eq!(reply.status, 503);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(api.asked().len() <= 4, "{}", api.asked().len());
    // That the third had too little time left closes the door for nobody.
    assert_eq!(bed.get(&format!("/auth?service=registry{}", scopes(1))).by(ALICE).send().await.status, 200);
}

/// Without `cache_ttl` each question is asked; with it, grants are remembered for exactly the same question.
#[tokio::test]
async fn only_grants_are_remembered_and_only_where_it_is_said() {
    let api = StandIn::start(|asked| {
        let question: Value = serde_json::from_str(&asked.body).unwrap();
        let actions: &[&str] = if question["name"] == "open" { &["pull"] } else { &[] };
        answer(json!({"actions": actions}))
    });
    let (off, on) = (bed(&api, ""), bed(&api, ", cache_ttl: 1h"));
    let asked = async |bed: &Bed, caller, scope: &str, from: &str| {
        let before = api.asked().len();
        bed.get(&format!("/auth?service=registry&scope={scope}")).by(caller).from(from).send().await.ok();
        api.asked().len() - before
    };
    for (bed, caller, scope, from, expected) in [
        (&off, ALICE, "repository:open:pull", "192.0.2.1", 1),
        (&off, ALICE, "repository:open:pull", "192.0.2.1", 1),
        (&on, ALICE, "repository:open:pull", "192.0.2.1", 1),
        (&on, ALICE, "repository:open:pull", "192.0.2.1", 0),
        (&on, BOB, "repository:open:pull", "192.0.2.1", 1),
        (&on, ALICE, "repository:open:pull", "192.0.2.2", 1),
        (&on, ALICE, "repository:open:pull,push", "192.0.2.1", 1),
        (&on, ALICE, "repository:closed:pull", "192.0.2.1", 1),
        (&on, ALICE, "repository:closed:pull", "192.0.2.1", 1),
        (&on, ALICE, "repository:open:pull", "192.0.2.1", 0),
    ] {
        assert_eq!(asked(bed, caller, scope, from).await, expected, "{caller:?} {scope} {from}");
    }
}

#[tokio::test]
async fn it_comes_back_by_itself() {
    let api = StandIn::start(|_| answer(json!({"actions": ["*"]})));
    let bed = bed(&api, "");
    let status = async || bed.get("/auth?service=registry&scope=repository:app:pull").by(ALICE).send().await.status;
    assert_eq!(status().await, 200);
    api.stop();
    assert_eq!((status().await, status().await), (503, 503));
    api.restart().unwrap();
    let back = Instant::now();
    while status().await != 200 {
        assert!(back.elapsed() < Duration::from_secs(2), "{:?}", back.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // What was asked meanwhile is about nobody and nothing.
    for asked in api.all_asked().iter().filter(|asked| asked.is_trial()) {
        let nothing =
            json!({"account": "", "type": "", "name": "", "service": "", "ip": null, "actions": [], "labels": {}});
        assert_eq!(serde_json::from_str::<Value>(&asked.body).unwrap(), nothing);
    }
}

#[test]
fn the_section_takes_the_place_of_rules_and_is_strict() {
    let folder = Folder::new();
    let read = |text: &str| Config::read(std::path::Path::new("config.yml"), &folder.complete(text), [], Secrets::Read);
    let config = read("acl: ~\nhttp_authz: {url: \"https://api.example.com/may\"}\n").unwrap();
    assert!(config.lint().iter().all(|warning| !warning.path.contains("http_authz")), "{:?}", config.lint());
    let config = read("http_authz: {url: \"http://api.example.com/may\"}\n").unwrap();
    assert!(config.warnings[0].message.contains("without TLS everybody on the way"), "{:?}", config.warnings);
    for (section, piece) in [
        ("{}", "http_authz.url: an address is needed"),
        ("{url: \"https://api.example.com/${account}\"}", "http_authz.url: ${account}: no placeholder can stand here"),
        ("{url: \"https://a/\", headers: {X: \"${password}\"}}", "http_authz.headers.X: ${password}: no placeholder"),
        ("{url: \"https://a/\", method: GET}", "http_authz.method: there is no such key"),
        ("{url: \"https://a/\", body: x}", "http_authz.body: there is no such key"),
        ("{url: \"https://a/\", accept: [200]}", "http_authz.accept: there is no such key"),
        ("{url: \"https://a/\", timeout: 1h}", "http_authz.timeout: clients do not wait that long"),
        ("{url: \"http://127.0.0.1/\", tls: {}}", "http_authz.tls: the address speaks no TLS"),
    ] {
        let problems = read(&format!("http_authz: {section}\n")).unwrap_err();
        let problems: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
        assert!(problems.len() == 1 && problems[0].starts_with(piece), "{section}: {problems:?}");
    }
}
