//! The API that administers secrets: who may do what by which rule, what it makes, shows, changes and ends, and what it never says.
//! Numbers are those of the checks in the reference on lasting tokens.

use std::collections::BTreeSet;

use axum::http::Method;
use dockwarden::app::Reload;
use dockwarden::http::{Managing, Operation, Right};
use dockwarden::policy_tests::PolicyAction;
use dockwarden::secrets::TokenAction;
use serde_json::{Value, json};

use crate::bed::{ALICE, Ask, BOB, BOB_HASH, Bed, Caller, NOBODY, Reply};
use crate::logs::{Form, Log};

const SERVED: &str = "records: {sqlite: $DIR/dockwarden.db}\nlasting: {longest: 400d}\napi: {listen: main}\n";
/// Everybody administers their own, Alice's team its robots; and Bob may do everything there is at registries.
const RULES: &str = r#"
acl:
  - match: {type: dockwarden, account: "/.+/", name: "tokens/${account}"}
    actions: [list, show, create, change, renew, revoke]
  - match: {type: dockwarden, labels: {team: web}, name: "tokens/robot+web-*"}
    actions: [list, show, create, renew, revoke]
  - match: {account: bob}
    actions: ["*"]
  - match: {name: "${labels:team}/*"}
    actions: [pull, push]
"#;
const TOKENS: &str = "/api/v1/tokens";

fn served() -> Bed {
    Bed::with(&format!("{SERVED}{RULES}"))
}

fn bed_of(rules: &str) -> Bed {
    Bed::with(&format!("{SERVED}acl: [{rules}]\n"))
}

impl Bed {
    fn send_json(&self, method: Method, target: &str, body: &Value) -> Ask {
        self.request(method, target).header("content-type", "application/json").body(&body.to_string())
    }

    async fn create(&self, caller: Caller, body: Value) -> Value {
        let reply = self.send_json(Method::POST, TOKENS, &body).by(caller).send().await;
        assert_eq!(reply.status, 201, "{body}: {}", reply.text());
        assert_eq!(reply.header("location"), format!("tokens/{}", reply.json()["id"].as_str().unwrap()));
        reply.json()
    }

    async fn listed(&self, caller: Caller, query: &str) -> Vec<String> {
        let reply = self.get(&format!("{TOKENS}{query}")).by(caller).send().await.ok();
        let names = |json: &Value| {
            let tokens = json["tokens"].as_array().unwrap().iter();
            tokens.map(|token| token["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let mut names = names(&reply.json());
        names.sort();
        names
    }

    async fn scopes(&self, account: &str, secret: &str, scope: &str) -> Reply {
        self.get(&format!("/auth?service=registry&scope={scope}")).basic(account, secret).send().await
    }
}

fn laptop() -> Value {
    json!({ "name": "laptop", "expires": "90d" })
}

fn text(json: &Value, key: &str) -> String {
    json[key].as_str().unwrap_or_else(|| panic!("{key} in {json}")).to_owned()
}

/// What a refusal says, whose form is looked at as well (RFC 9457).
fn reason(reply: &Reply) -> (u16, String) {
    assert_eq!(reply.header("content-type"), "application/problem+json", "{}", reply.text());
    let json = reply.json();
    let members: BTreeSet<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["type", "title", "status", "detail", "reason"]));
    assert_eq!((json["status"].as_u64(), &json["type"]), (Some(reply.status.into()), &"about:blank".into()));
    assert!(!text(&json, "detail").is_empty());
    (reply.status, text(&json, "reason"))
}

/// A request for an operation that would do what it does, if the right is there.
async fn ask(bed: &Bed, operation: Operation, id: &str, etag: &str) -> Ask {
    let (method, path, _) = operation.row();
    let target = format!("/api/v1{}", path.replace("{id}", id));
    match operation {
        Operation::List | Operation::Show | Operation::Describe => bed.request(method, &target),
        Operation::Create => bed.send_json(method, &target, &laptop()),
        Operation::Change => bed.send_json(method, &target, &json!({ "name": "desk" })).header("if-match", etag),
        Operation::Revoke => bed.request(method, &target),
        Operation::Renew => bed.send_json(method, &target, &json!({ "expires": "30d" })),
        Operation::SignOut => bed.send_json(method, &target, &json!({})),
        Operation::RevokePresented => bed.post(&target, "token=nothing"),
        Operation::CheckPolicy
        | Operation::TestPolicy
        | Operation::DiffPolicy
        | Operation::WhoCan
        | Operation::ExplainPolicy => bed.send_json(method, &target, &json!({ "acl": [] })),
    }
}

#[test]
fn the_table_and_the_description_hold_the_same() {
    let described: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    let mut rows = BTreeSet::new();
    for (path, item) in described["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
            let right = text(operation, "x-dockwarden-right");
            assert_eq!(
                operation["security"] == json!([]),
                right == "holder" || right == "everybody",
                "{method} {path}"
            );
            rows.insert((method.to_uppercase(), path.clone(), right));
        }
    }
    let table = Operation::ALL.map(|operation| {
        let (method, path, right) = operation.row();
        let right = match right {
            Right::Action(action) => action.as_str().to_owned(),
            Right::Policy(action) => format!("{} dockwarden:{}", action.as_str(), PolicyAction::ON),
            Right::Holder => "holder".to_owned(),
            Right::Everybody => "everybody".to_owned(),
        };
        (method.to_string(), path.to_owned(), right)
    });
    let managing = Managing::all().map(|operation| {
        let (method, path, right) = operation.row();
        (method.to_string(), path.to_owned(), right.to_string())
    });
    assert_eq!(rows, table.into_iter().chain(managing).collect());
    assert_eq!(described["openapi"], "3.1.0");
}

#[tokio::test]
async fn the_description_is_served_as_it_is_committed() {
    let reply = served().get("/api/v1/openapi.json").send().await.ok();
    assert_eq!(reply.text(), include_str!("../../docs/openapi.json"));
    assert_eq!(reply.header("content-type"), "application/json");
}

/// No operation without a right: nobody may do it, nor whoever has all the other words; with its own word it is done.
#[tokio::test]
async fn each_operation_needs_the_word_of_its_row() {
    for operation in Operation::ALL {
        let action = match operation.row().2 {
            Right::Action(action) => action,
            // In `policy_tests`.
            Right::Policy(_) => continue,
            Right::Holder | Right::Everybody => {
                assert_eq!(ask(&served(), operation, "x", "").await.send().await.status, 200, "{operation:?}");
                continue;
            }
        };
        let others = TokenAction::ALL.into_iter().filter(|other| *other != action).map(TokenAction::as_str);
        let others = others.collect::<Vec<_>>().join(", ");
        let rule = |actions: &str| {
            let rule = format!("{{match: {{type: dockwarden, name: tokens/bob}}, actions: [{actions}]}}");
            bed_of(&rule)
        };
        let (without, with) = (rule(&others), rule(action.as_str()));
        // Somebody has to have made one.
        for (bed, is_given) in [(&without, false), (&with, true)] {
            let file = bed.folder.path("dockwarden.db");
            let maker =
                Bed::with(&format!("records: {{sqlite: \"{}\"}}\napi: {{listen: main}}\n{RULES}", file.display()));
            let made = maker.create(BOB, json!({ "name": "first", "expires": "never" })).await;
            let id = text(&made, "id");
            let ask = async || ask(bed, operation, &id, "\"1\"").await;
            assert_eq!(reason(&ask().await.send().await), (401, "login_needed".to_owned()), "{operation:?}");
            let reply = ask().await.by(BOB).send().await;
            match is_given {
                true => assert!((200..300).contains(&reply.status), "{operation:?}: {}", reply.text()),
                false => assert!(matches!(reply.status, 403 | 404), "{operation:?}: {}", reply.text()),
            }
        }
    }
}

/// What is everything at registries is nothing here.
#[tokio::test]
async fn only_a_rule_that_lists_the_word_gives_a_right() {
    let given = "{match: {account: bob}, actions: [pull, list]}";
    for (rules, status) in [
        ("", 403),
        ("{match: {account: bob}, actions: [\"*\"]}", 403),
        ("{match: {}, actions: [\"*\"]}", 403),
        ("{match: {account: bob, type: dockwarden}, actions: [\"*\"]}", 403),
        ("{match: {account: bob, type: \"*\", name: \"*/*\"}, actions: [\"*\"]}", 403),
        ("{match: {account: bob, type: dockwarden}, actions: [pull, push, delete]}", 403),
        ("{match: {account: bob, type: dockwarden}, actions: [show, create, change, renew, revoke]}", 403),
        ("{match: {account: bob, type: dockwarden, name: tokens/bob}, actions: [list]}", 403),
        ("{match: {account: bob, type: dockwarden, name: alice}, actions: [list]}", 403),
        ("{match: {account: bob, type: repository, name: \"tokens/*\"}, actions: [list]}", 403),
        ("{match: {account: bob, type: dockwarden, ip: 198.51.100.0/24}, actions: [list]}", 403),
        ("{match: {account: bob, type: dockwarden, service: registry}, actions: [list]}", 403),
        ("{match: {account: bob, type: dockwarden}, actions: []}, {match: {}, actions: [list]}", 403),
        ("{match: {account: bob, type: dockwarden}, actions: [list]}", 200),
        ("{match: {account: bob, type: dockwarden, name: tokens/alice}, actions: [list]}", 200),
        ("{match: {account: bob, type: dockwarden, name: \"tokens/*\", service: dockwarden}, actions: [list]}", 200),
        ("{match: {account: bob, type: dockwarden, ip: 192.0.2.0/24}, actions: [list]}", 200),
        (given, 200),
    ] {
        let bed = bed_of(rules);
        let reply = bed.get(&format!("{TOKENS}?account=alice")).by(BOB).send().await;
        assert_eq!(reply.status, status, "{rules}: {}", reply.text());
        if status == 403 {
            assert_eq!(reason(&reply).1, "not_granted", "{rules}");
        }
    }
}

#[tokio::test]
async fn a_secret_is_made_shown_changed_renewed_and_ended() {
    let bed = served();
    let log = Log::start(Form::Json);
    let made = bed
        .create(
            ALICE,
            json!({ "name": "laptop", "expires": "90d", "allow": ["repository:web/*:pull"],
            "from": ["192.0.2.0/24", "2001:db8::1"], "services": ["registry"], "not_before": "2020-01-31" }),
        )
        .await;
    let (id, secret) = (text(&made, "id"), text(&made, "token"));
    assert!(secret.starts_with("dwp_") && secret.len() == 40 && secret.ends_with(&text(&made, "last4")));
    let mut expected = made.clone();
    expected.as_object_mut().unwrap().remove("token");
    for (key, value) in [
        ("kind", json!("personal")),
        ("account", json!("alice")),
        ("created_by", json!("alice")),
        ("state", json!("active")),
        ("allow", json!(["repository:web/*:pull"])),
        ("from", json!(["192.0.2.0/24", "2001:db8::1/128"])),
        ("services", json!(["registry"])),
        ("not_before", json!("2020-01-31T00:00:00Z")),
        ("last_used", Value::Null),
    ] {
        assert_eq!(expected[key], value, "{key}");
    }
    let place = format!("{TOKENS}/{id}");
    let shown = bed.get(&place).by(ALICE).send().await.ok();
    assert_eq!((shown.json(), shown.header("etag")), (expected.clone(), "\"1\""));
    assert_eq!((shown.header("cache-control"), shown.header("x-content-type-options")), ("no-store", "nosniff"));
    // Check 19.
    let asked = bed.scopes("alice", &secret, "repository:web/app:pull,push&scope=repository:api/x:pull").await.ok();
    assert_eq!(asked.access(), ["repository:web/app:pull", "repository:api/x:"]);

    let change = |etag: &str, body: Value| {
        let ask = bed.send_json(Method::PATCH, &place, &body).by(ALICE);
        if etag.is_empty() { ask } else { ask.header("if-match", etag) }
    };
    let wider = json!({ "name": "desk", "allow": ["repository:*/*:*"], "from": null });
    assert_eq!(reason(&change("", wider.clone()).send().await), (428, "secret_conflict".into()));
    assert_eq!(reason(&change("\"7\"", wider.clone()).send().await), (412, "secret_conflict".into()));
    assert_eq!(reason(&change("W/\"1\"", wider.clone()).send().await), (412, "secret_conflict".into()));
    let changed = change("\"9\", \"1\"", wider.clone()).send().await.ok();
    assert_eq!(
        (changed.header("etag"), &changed.json()["name"], &changed.json()["from"]),
        ("\"2\"", &"desk".into(), &json!([]))
    );
    assert_eq!((&changed.json()["services"], &changed.json()["id"]), (&json!(["registry"]), &made["id"]));
    assert_eq!(change("\"1\"", wider).send().await.status, 412, "what was seen is not there any more");
    let asked = bed.scopes("alice", &secret, "repository:web/app:pull,push").await.ok();
    assert_eq!(asked.access(), ["repository:web/app:pull,push"]);

    let renewed = bed.send_json(Method::POST, &format!("{place}/renew"), &json!({ "expires": "never" })).by(ALICE);
    assert_eq!(reason(&renewed.send().await), (422, "secret_not_made".into()), "lasting.longest is 400d");
    let renewed = bed.send_json(Method::POST, &format!("{place}/renew"), &json!({ "expires": "30d" })).by(ALICE);
    let renewed = renewed.send().await.ok();
    let fresh = text(&renewed.json(), "token");
    assert_eq!((renewed.header("etag"), &renewed.json()["id"], fresh == secret), ("\"3\"", &made["id"], false));
    assert_eq!(bed.scopes("alice", &secret, "repository:web/app:pull").await.status, 401);
    bed.scopes("alice", &fresh, "repository:web/app:pull").await.ok();

    let end = |etag: &str| bed.request(Method::DELETE, &place).by(ALICE).header("if-match", etag);
    assert_eq!(reason(&end("\"2\"").send().await), (412, "secret_conflict".into()));
    let ended = end("\"3\"").send().await;
    assert_eq!((ended.status, ended.text().as_str()), (204, ""));
    assert_eq!(bed.scopes("alice", &fresh, "repository:web/app:pull").await.status, 401);
    let shown = bed.get(&place).by(ALICE).send().await.ok().json();
    assert!(shown["state"] == "revoked" && shown["revoked"].is_string(), "{shown}");
    let again = bed.send_json(Method::POST, &format!("{place}/renew"), &json!({ "expires": "30d" })).by(ALICE);
    assert_eq!(reason(&again.send().await), (409, "secret_conflict".into()));

    let log = log.text();
    for message in ["a secret was made", "a secret was changed", "a secret was renewed", "a secret was revoked"] {
        assert!(log.contains(&format!("\"message\":\"{message}\"")), "{message}");
    }
    assert!(log.contains(&format!("\"secret.id\":\"{id}\"")) && log.contains("\"door\":\"api\""));
    for secret in [&secret, &fresh] {
        assert!(!log.contains(secret.as_str()) && !log.contains(&secret[4..34]), "check 28");
    }
}

/// Checks 20 to 22: what was said when it was made holds.
#[tokio::test]
async fn checks_20_to_22_a_secret_is_no_more_than_its_owner_and_its_limits() {
    let bed = served();
    for (body, scope, status) in [
        (json!({ "allow": ["repository:*/*:*"] }), "repository:other/x:pull", 200),
        (json!({ "from": ["198.51.100.0/24"] }), "repository:web/app:pull", 401),
        (json!({ "not_before": "2999-01-01" }), "repository:web/app:pull", 401),
        (json!({ "services": ["elsewhere"] }), "repository:web/app:pull", 401),
        (json!({ "expires": "150s" }), "repository:web/app:pull", 200),
    ] {
        let mut whole = json!({ "name": body.to_string(), "expires": "90d" });
        for (key, value) in body.as_object().unwrap() {
            whole[key] = value.clone();
        }
        let secret = text(&bed.create(ALICE, whole).await, "token");
        let reply = bed.scopes("alice", &secret, scope).await;
        assert_eq!(reply.status, status, "{body}");
        if body.get("expires").is_some() && status == 200 {
            assert!(reply.life() <= 150, "check 22: {}", reply.life());
        } else if status == 200 {
            assert_eq!(reply.access(), ["repository:other/x:"], "check 20");
        }
    }
    let brief = json!({ "name": "brief", "expires": "30s" });
    let refused = bed.send_json(Method::POST, TOKENS, &brief).by(ALICE).send().await;
    assert_eq!(reason(&refused), (422, "secret_not_made".into()), "no token could be made from it");
}

/// Check 23: one of a robot's two goes on while the other is changed.
#[tokio::test]
async fn check_23_a_robot_has_two_places_and_its_makers_labels() {
    let bed = served();
    let robot = |name: &str, labels: Value| json!({ "robot": name, "labels": labels, "name": "one", "expires": "90d" });
    for (body, status, why) in [
        (robot("web-ci", json!({ "team": ["ops"] })), 403, "not_granted"),
        (robot("web-ci", json!({ "team": ["web", "ops"] })), 403, "not_granted"),
        (robot("web-ci", json!({ "admin": ["yes"] })), 403, "not_granted"),
        (robot("ops-ci", json!({ "team": ["web"] })), 403, "not_granted"),
        (robot("Web", json!({ "team": ["web"] })), 422, "secret_not_made"),
        (json!({ "robot": "web-ci", "name": "one", "expires": "90d" }), 422, "secret_not_made"),
        (json!({ "account": "robot+web-ci", "name": "one", "expires": "90d" }), 422, "secret_not_made"),
        (json!({ "account": "alice", "robot": "web-ci", "name": "one", "expires": "90d" }), 400, "bad_request"),
        (json!({ "account": "alice", "labels": {}, "name": "one", "expires": "90d" }), 400, "bad_request"),
    ] {
        let reply = bed.send_json(Method::POST, TOKENS, &body).by(ALICE).send().await;
        assert_eq!(reason(&reply), (status, why.to_owned()), "{body}");
    }
    let first = bed.create(ALICE, robot("web-ci", json!({ "team": ["web"] }))).await;
    assert!(first["robot"] == "web-ci" && first.get("account").is_none() && text(&first, "token").starts_with("dwr_"));
    let renew = |id: String| {
        bed.send_json(Method::POST, &format!("{TOKENS}/{id}/renew"), &json!({ "expires": "90d" })).by(ALICE)
    };
    let second = renew(text(&first, "id")).send().await.ok().json();
    let works = async |made: &Value| bed.scopes("robot+web-ci", &text(made, "token"), "repository:web/app:pull").await;
    for made in [&first, &second] {
        assert_eq!(works(made).await.ok().access(), ["repository:web/app:pull"]);
    }
    let third =
        bed.send_json(Method::POST, TOKENS, &json!({ "robot": "web-ci", "name": "c", "expires": "90d" })).by(ALICE);
    assert_eq!(reason(&third.send().await), (409, "secret_conflict".into()), "both places are taken");
    let third = renew(text(&second, "id")).send().await.ok().json();
    for (made, status) in [(&first, 401), (&second, 200), (&third, 200)] {
        assert_eq!(works(made).await.status, status, "the older of two goes");
    }
    assert_eq!(bed.get(&format!("{TOKENS}?robot=web-ci")).by(BOB).send().await.status, 403);
    assert_eq!(bed.listed(ALICE, "?robot=robot%2Bweb-ci").await.len(), 3);
}

#[tokio::test]
async fn a_secret_of_an_owner_with_another_password_is_not_called_active() {
    let bed = served();
    let id = text(&bed.create(ALICE, laptop()).await, "id");
    let alice = format!("users: {{alice: {{password: \"{BOB_HASH}\", labels: {{team: [web, api]}}}}}}\n");
    bed.folder.configure(&format!("{SERVED}{RULES}{alice}"));
    assert_eq!(bed.app.reload(), Reload::Done);
    let now = Caller::Account("alice", "bob-pw");
    let listed = bed.get(TOKENS).by(now).send().await.ok().json();
    let shown = bed.get(&format!("{TOKENS}/{id}")).by(now).send().await.ok();
    let renamed = bed.request(Method::PATCH, &format!("{TOKENS}/{id}")).header("if-match", shown.header("etag"));
    let renamed = renamed.header("content-type", "application/json").body(r#"{"name": "desk"}"#).by(now).send().await;
    for state in [&listed["tokens"][0]["state"], &shown.json()["state"], &renamed.ok().json()["state"]] {
        assert_eq!(state, "owner_changed");
    }
}

/// Who reads `[]` reads "nothing", and no limit is "everything".
#[tokio::test]
async fn an_empty_list_is_refused_and_null_lifts_a_limit() {
    let bed = served();
    let limits = json!({ "allow": ["repository:web/*:pull"], "from": ["192.0.2.0/24"], "services": ["registry"],
        "not_before": "2020-01-31" });
    let mut whole = json!({ "name": "laptop", "expires": "90d" });
    for (field, limit) in limits.as_object().unwrap() {
        whole[field] = limit.clone();
    }
    let made = bed.create(ALICE, whole).await;
    let place = format!("{TOKENS}/{}", text(&made, "id"));
    let patch =
        async |body: Value| bed.send_json(Method::PATCH, &place, &body).by(ALICE).header("if-match", "*").send().await;
    for field in ["allow", "from", "services"] {
        let refused = patch(json!({ field: [] })).await;
        assert_eq!(reason(&refused), (422, "secret_not_made".into()), "{field}");
        assert!(text(&refused.json(), "detail").contains("write null"), "{}", refused.text());
        let new = json!({ "name": "other", "expires": "90d", field: [] });
        let refused = bed.send_json(Method::POST, TOKENS, &new).by(ALICE).send().await;
        assert_eq!(reason(&refused), (422, "secret_not_made".into()), "{field}");
    }
    let unchanged = patch(json!({ "name": "desk" })).await.ok().json();
    for (field, limit) in limits.as_object().unwrap() {
        let is_kept = unchanged[field] == *limit || field == "not_before";
        assert!(is_kept && unchanged[field].is_array() == limit.is_array(), "{field}: {unchanged}");
        let lifted = patch(json!({ field: null })).await.ok().json();
        assert!(lifted.get(field).is_none_or(|value| *value == json!([])), "{field}: {lifted}");
    }
    bed.create(ALICE, json!({ "name": "whole", "expires": "90d", "allow": null, "not_before": null })).await;
}

/// Check 25: own only, and no secret and no hash in it.
#[tokio::test]
async fn check_25_a_list_shows_what_the_asker_may_list_and_no_secret() {
    let bed = served();
    let mut secrets = Vec::new();
    let mut ids = BTreeSet::new();
    let mut note = |made: Value| {
        ids.insert(text(&made, "id"));
        secrets.push(text(&made, "token"));
    };
    for number in 0..5 {
        for caller in [ALICE, BOB] {
            let name = format!("{number}");
            note(bed.create(caller, json!({ "name": name, "expires": "90d" })).await);
        }
    }
    let robot = json!({ "robot": "web-a", "labels": { "team": ["web"] }, "name": "robot's", "expires": "1d" });
    note(bed.create(ALICE, robot).await);
    let own = ["0", "1", "2", "3", "4"];
    assert_eq!(bed.listed(ALICE, "").await, own);
    assert_eq!(bed.listed(BOB, "?account=bob&limit=100").await, own);
    assert_eq!(bed.listed(BOB, "?all=true").await, own);
    assert_eq!(bed.listed(ALICE, "?all=true").await, ["0", "1", "2", "3", "4", "robot's"]);
    assert_eq!(reason(&bed.get(&format!("{TOKENS}?account=alice")).by(BOB).send().await).0, 403);
    // Of whom nobody of the kind is known, too.
    assert_eq!(reason(&bed.get(&format!("{TOKENS}?account=carol")).by(BOB).send().await).0, 403);
    // Page by page.
    for (query, caller, expected) in [("", ALICE, 5), ("&all=true", ALICE, 6), ("&all=true", BOB, 5)] {
        let (mut cursor, mut seen, mut pages) = (String::new(), BTreeSet::new(), 0);
        loop {
            let page = bed.get(&format!("{TOKENS}?limit=2{query}{cursor}")).by(caller).send().await.ok();
            let json = page.json();
            for secret in &secrets {
                assert!(!page.text().contains(secret.as_str()) && !page.text().contains("hash"), "{}", page.text());
            }
            let tokens = json["tokens"].as_array().unwrap();
            assert!(tokens.len() <= 2);
            seen.extend(tokens.iter().map(|token| text(token, "id")));
            pages += 1;
            match json["next"].as_str() {
                Some(next) => {
                    assert!(!ids.contains(next), "a cursor tells no id, which may be one that nobody may know: {next}");
                    cursor = format!("&cursor={next}");
                }
                None => break,
            }
        }
        assert_eq!((seen.len(), pages >= 3), (expected, true), "{query}");
    }
    for query in [
        "?limit=0",
        "?limit=101",
        "?limit=x",
        "?all=yes",
        "?all=true&account=alice",
        "?account=alice&robot=web-a",
        "?account=",
        "?cursor=%00",
        "?cursor=..%2F",
        "?limit=1&limit=2",
        "?token=x",
    ] {
        let reply = bed.get(&format!("{TOKENS}{query}")).by(ALICE).send().await;
        assert_eq!(reason(&reply), (400, "bad_request".into()), "{query}");
    }
}

/// A secret is its owner cut by its limits; and it makes, renews and widens nothing.
#[tokio::test]
async fn a_secret_gets_no_further_than_its_limits_and_makes_no_other() {
    let bed = served();
    let of = |limits: Value| {
        let mut body = json!({ "name": limits.to_string(), "expires": "90d" });
        for (key, value) in limits.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    };
    let target = bed.create(ALICE, laptop()).await;
    let place = format!("{TOKENS}/{}", text(&target, "id"));
    for (limits, expected) in [
        // List, show, create, change, renew, revoke.
        (json!({}), [200, 200, 403, 403, 403, 204]),
        (json!({ "allow": ["repository:*/*:*"] }), [403, 404, 403, 403, 403, 404]),
        (json!({ "allow": ["dockwarden:*/*:*"] }), [403, 404, 403, 403, 403, 404]),
        (json!({ "allow": ["dockwarden:tokens/alice:list,show"] }), [200, 200, 403, 403, 403, 403]),
        (json!({ "allow": ["dockwarden:tokens/bob:list,show,create"] }), [403, 404, 403, 403, 403, 404]),
        (json!({ "services": ["registry"] }), [401, 401, 403, 403, 403, 401]),
        (json!({ "services": ["dockwarden"] }), [200, 200, 403, 403, 403, 204]),
        (json!({ "from": ["198.51.100.1"] }), [401, 401, 401, 401, 401, 401]),
    ] {
        let secret = text(&bed.create(ALICE, of(limits.clone())).await, "token");
        let asks = [
            bed.get(TOKENS),
            bed.get(&place),
            bed.send_json(Method::POST, TOKENS, &json!({ "name": "child", "expires": "300d" })),
            bed.send_json(Method::PATCH, &place, &json!({ "allow": [] })).header("if-match", "*"),
            bed.send_json(Method::POST, &format!("{place}/renew"), &json!({ "expires": "300d" })),
            bed.request(Method::DELETE, &place),
        ];
        let mut said = Vec::new();
        for ask in asks {
            said.push(ask.basic("alice", &secret).send().await.status);
        }
        assert_eq!(said, expected, "{limits}");
    }
    let secret = text(&bed.create(ALICE, json!({ "name": "whole", "expires": "90d" })).await, "token");
    let create = bed.send_json(Method::POST, TOKENS, &laptop()).basic("<token>", &secret).send().await;
    assert_eq!(reason(&create), (403, "password_needed".into()));
    // Check 18.
    let mistyped = secret.replace("dwp_", "dwr_");
    let reply = bed.get(TOKENS).basic("alice", &mistyped).send().await;
    assert_eq!(reason(&reply), (401, "malformed_credentials".into()));
    let bearer = bed.get("/auth?service=registry").by(ALICE).send().await.ok().token();
    let reply = bed.get(TOKENS).header("authorization", &format!("Bearer {bearer}")).send().await;
    assert_eq!(reply.status, 401, "an access token of a registry is none here");
}

#[tokio::test]
async fn whoever_has_a_secret_may_end_it_and_learns_nothing() {
    let bed = served();
    let secret = text(&bed.create(ALICE, laptop()).await, "token");
    let unknown = text(&served().create(ALICE, laptop()).await, "token");
    let lost = text(&bed.create(BOB, laptop()).await, "token");
    for form in ["token=nonsense".to_owned(), format!("token={unknown}"), format!("token={secret}&token_type_hint=x")] {
        let reply = bed.post("/api/v1/revoke", &form).send().await;
        assert_eq!((reply.status, reply.text().as_str()), (200, ""), "{form}");
    }
    assert_eq!(bed.scopes("alice", &secret, "repository:web/app:pull").await.status, 401);
    bed.scopes("bob", &lost, "repository:web/app:pull").await.ok();
    for form in ["", "id=x", "token=a&token=b"] {
        assert_eq!(reason(&bed.post("/api/v1/revoke", form).send().await).0, 400, "{form}");
    }
    let as_json = bed.send_json(Method::POST, "/api/v1/revoke", &json!({ "token": lost })).send().await;
    assert_eq!(reason(&as_json).0, 415);
    bed.scopes("bob", &lost, "repository:web/app:pull").await.ok();
}

/// A page of somebody else's can have a browser send forms, with the password that it keeps; and no JSON.
#[tokio::test]
async fn only_json_that_is_announced_changes_anything() {
    let bed = served();
    let body = laptop().to_string();
    for (types, status) in [
        (&["application/json"][..], 201),
        (&["Application/JSON; charset=utf-8"], 409),
        (&["text/plain"], 415),
        (&["application/x-www-form-urlencoded"], 415),
        (&["multipart/form-data; boundary=application/json"], 415),
        (&["text/plain; application/json"], 415),
        (&["application/json", "text/plain"], 415),
        (&["application/jsonx"], 415),
        (&[], 415),
    ] {
        let ask = bed.request(Method::POST, TOKENS).by(ALICE).body(&body);
        let ask = types.iter().fold(ask, |ask, kind| ask.header("content-type", kind));
        let reply = ask.header("cookie", "session=1").send().await;
        assert_eq!(reply.status, status, "{types:?}: {}", reply.text());
    }
    let with_cookie = bed.get(TOKENS).header("cookie", "session=1").send().await;
    assert_eq!(with_cookie.status, 401);
    assert!(
        with_cookie.header("set-cookie").is_empty() && with_cookie.header("access-control-allow-origin").is_empty()
    );
    assert!(with_cookie.header("www-authenticate").starts_with("Basic "));
}

/// What is sent wrongly is said by place, and never repeated: it could be a secret in the wrong field.
#[tokio::test]
async fn bodies_that_are_wrong_are_refused_and_not_repeated() {
    let bed = served();
    let log = Log::start(Form::Json);
    let long = format!("{{\"name\": \"{}\"}}", "a".repeat(70_000));
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("[]", 400),
        ("\"s3cr3t\"", 400),
        ("{\"name\": \"s3cr3t\"}", 400),
        ("{\"name\": \"a\", \"expires\": 90}", 400),
        ("{\"name\": \"a\", \"expires\": \"s3cr3t\"}", 400),
        ("{\"name\": \"a\", \"expires\": \"90d\", \"s3cr3t\": 1}", 400),
        ("{\"name\": \"a\", \"expires\": \"90d\", \"name\": \"b\"}", 400),
        ("{\"name\": \"a\", \"expires\": \"90d\", \"from\": [\"s3cr3t\"]}", 422),
        ("{\"name\": \"a\", \"expires\": \"90d\", \"not_before\": \"s3cr3t\"}", 422),
        ("{\"name\": \"a\", \"expires\": \"90d\", \"allow\": [\"s3cr3t\"]}", 422),
        ("{\"name\": \"\", \"expires\": \"90d\"}", 422),
        ("{\"name\": \"a\\u0000b\", \"expires\": \"90d\"}", 422),
        ("{\"name\": \"a\", \"expires\": \"0d\"}", 422),
        ("{\"name\": \"a\", \"expires\": \"401d\"}", 422),
        ("{\"name\": \"a\", \"expires\": \"90d\", \"account\": \"\"}", 400),
        ("{\"name\": \"a\", \"expires\": \"90d\", \"account\": \"a\\u0000b\"}", 400),
        (&long, 413),
    ] {
        let ask = bed.request(Method::POST, TOKENS).header("content-type", "application/json").body(body);
        let reply = ask.by(ALICE).send().await;
        assert_eq!(reason(&reply).0, status, "{body:.80}: {}", reply.text());
        assert!(!reply.text().contains("s3cr3t"), "{}", reply.text());
    }
    let in_path = format!("{TOKENS}/dwp_s3cr3t");
    assert_eq!(reason(&bed.get(&in_path).by(ALICE).send().await), (404, "secret_not_found".into()));
    for (method, path, allow) in [
        (Method::PUT, TOKENS, "GET, POST"),
        (Method::OPTIONS, TOKENS, "GET, POST"),
        (Method::POST, "/api/v1/tokens/abc", "GET, PATCH, DELETE"),
        (Method::GET, "/api/v1/revoke", "POST"),
    ] {
        let reply = bed.request(method, path).by(ALICE).send().await;
        assert_eq!((reason(&reply).0, reply.header("allow")), (405, allow), "{path}");
    }
    assert!(!log.text().contains("s3cr3t"));
}

#[tokio::test]
async fn it_is_served_where_the_configuration_says_and_nowhere_else() {
    let two = "server: {addr: \"127.0.0.1:0\", admin_addr: \"127.0.0.1:0\"}\n";
    let statuses = async |bed: &Bed| {
        let main = bed.get(TOKENS).by(ALICE).send().await.status;
        (main, Ask::new(bed.admin(), Method::GET, TOKENS).by(ALICE).send().await.status)
    };
    for (section, expected) in [
        ("", (404, 404)),
        ("api: {listen: off}\n", (404, 404)),
        ("api: {listen: main}\n", (200, 404)),
        ("api: {listen: admin}\n", (404, 200)),
    ] {
        let bed = Bed::with(&format!("{two}{section}{RULES}"));
        assert_eq!(statuses(&bed).await, expected, "{section}");
    }
    // Also by a reload.
    let bed = Bed::with(&format!("{two}api: {{listen: main}}\n{RULES}"));
    bed.folder.configure(&format!("{two}api: {{listen: off}}\n{RULES}"));
    assert_eq!(bed.app.reload(), Reload::Done);
    assert_eq!(statuses(&bed).await, (404, 404));
    let prefixed =
        Bed::with(&format!("server: {{addr: \"127.0.0.1:0\", path_prefix: /x}}\napi: {{listen: main}}\n{RULES}"));
    for (target, status) in [("/x/api/v1/tokens", 200), ("/api/v1/tokens", 404)] {
        assert_eq!(prefixed.get(target).by(ALICE).send().await.status, status, "{target}");
    }
    let metrics = served();
    metrics.get(TOKENS).by(ALICE).send().await.ok();
    metrics.get(TOKENS).by(NOBODY).send().await;
    let text = metrics.get("/metrics").send().await.text();
    for line in ["{outcome=\"done\"} 1", "{outcome=\"login_needed\"} 1", "{outcome=\"not_granted\"} 0"] {
        assert!(text.contains(&format!("dockwarden_api_requests_total{line}\n")), "{text}");
    }
}

/// Wrong passwords are counted here as at the other doors.
#[tokio::test]
async fn guessing_is_slowed_down_as_elsewhere() {
    let bed = served();
    let mut statuses = BTreeSet::new();
    for number in 0..30 {
        statuses.insert(bed.get(TOKENS).basic("alice", &format!("guess {number}")).send().await.status);
    }
    assert_eq!(statuses, BTreeSet::from([401, 429]));
}
