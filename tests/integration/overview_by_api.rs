//! How the server is and what it decided, by the API: what the pages show, for whom they show it, and described field by field.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Value, json};

use crate::bed::{Bed, Caller};
use crate::directory::{opensvc, person};
use crate::management::bed_with;
use crate::pages_managing::{PEOPLE, Person, SIGN_IN};

const RULES: &str = "acl:
  - match: {account: eve, type: dockwarden, name: overview}
    actions: [show]
  - match: {account: cat, type: dockwarden}
    actions: [list, create, change, delete, explain]
  - match: {account: \"/.+/\", type: dockwarden, name: \"tokens/${account}\"}
    actions: [create, list, revoke]
";
const OVERVIEW: &str = "/api/v1/overview";

async fn bed(more: &str) -> Bed {
    bed_with(&format!("{}{more}", opensvc().replace("acl: []\n", RULES))).await
}

/// Somebody's login for `lib/x`: the status, and the id of the decision.
async fn asked(bed: &Bed, account: &'static str, password: &'static str) -> (u16, String) {
    let ask = bed.get("/auth?service=reg&scope=repository:lib/x:pull").by(Caller::Account(account, password));
    let reply = ask.send().await;
    (reply.status, reply.header("x-decision-id").to_owned())
}

/// The schema that a value is described by, with references followed.
fn schema<'a>(described: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(place) => described.pointer(place.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

/// That a value has exactly the members that are described and required, all the way down, each with a word about it.
fn is_described(described: &Value, by: &Value, value: &Value, place: &str) {
    let by = schema(described, by);
    match value {
        Value::Object(members) => {
            let own: BTreeSet<&str> = members.keys().map(String::as_str).collect();
            let names = by["properties"].as_object().unwrap_or_else(|| panic!("{place} is not described: {by}"));
            assert_eq!(own, names.keys().map(String::as_str).collect(), "{place}");
            let required = by["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
            assert_eq!(own, required.collect(), "{place}");
            for (name, member) in members {
                let place = format!("{place}.{name}");
                let said = &names[name];
                assert!(said.get("description").or(said.get("$ref")).is_some() || said["items"].is_object(), "{place}");
                is_described(described, said, member, &place);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| is_described(described, &by["items"], item, place)),
        plain => {
            let kind = match plain {
                Value::String(_) => "string",
                Value::Number(_) => "integer",
                _ => "null",
            };
            let kinds = &by["type"];
            let has = kinds == kind || kinds.as_array().is_some_and(|kinds| kinds.iter().any(|own| own == kind));
            assert!(has, "{place}: {plain} is no {kinds}");
        }
    }
}

#[tokio::test]
async fn the_overview_by_the_api_is_what_its_page_shows() {
    let bed = bed(SIGN_IN).await;
    let mut ids = Vec::new();
    for (account, password, status) in
        [("ann", "alice-pw", 200), ("<b>mallory", "wrong", 401), ("<b>mallory", "wrong", 401)]
    {
        let (found, id) = asked(&bed, account, password).await;
        assert_eq!(found, status);
        ids.push(id);
    }
    let told = bed.get(OVERVIEW).by(person("eve")).send().await.ok().json();
    let described: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    let of = |path: &str| {
        let place = format!("/paths/{}/get/responses/200/content/application~1json/schema", path.replace('/', "~1"));
        described.pointer(&place).unwrap_or_else(|| panic!("{place}"))
    };
    is_described(&described, of("/overview"), &told, "overview");
    let refused = told["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 1, "{told}");
    assert_eq!(
        (&refused[0]["account"], &refused[0]["reason"], &refused[0]["count"]),
        (&json!("<b>mallory"), &json!("wrong_credentials"), &json!(2))
    );
    let decisions = told["decisions"].as_array().unwrap();
    let seen: Vec<&str> = decisions.iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(seen, ids.iter().rev().map(String::as_str).collect::<Vec<_>>(), "the newest first, and no looking");
    for (kind, number) in [("granted", 1), ("nothing_granted", 0), ("refused", 2), ("failed", 0)] {
        let numbers: Vec<u64> = told["counts"][kind].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        assert_eq!((numbers.len(), numbers.iter().sum::<u64>()), (144, number), "{kind}");
    }
    for (id, outcome) in [(&ids[0], "granted"), (&ids[1], "refused")] {
        let found = bed.get(&format!("/api/v1/decisions/{id}")).by(person("eve")).send().await.ok().json();
        is_described(&described, of("/decisions/{id}"), &found, "decisions");
        assert_eq!(found["decisions"].as_array().unwrap().len(), 1, "{found}");
        assert_eq!((&found["decisions"][0]["id"], &found["decisions"][0]["outcome"]), (&json!(id), &json!(outcome)));
        assert!(decisions.contains(&found["decisions"][0]), "{found}");
    }
    // The page says the same of each: when, who, what, and what came of it.
    let eve = Person::signed_in(&bed, "eve").await;
    let page = eve.get("/overview").await.ok().text();
    for one in decisions {
        let at = one["at"].as_str().unwrap();
        let account = one["account"].as_str().unwrap().replace('<', "&#60;").replace('>', "&#62;");
        let id = one["id"].as_str().unwrap();
        let row = page.split("<tr>").find(|row| row.contains(&format!("/decisions?id={id}")));
        let row = row.unwrap_or_else(|| panic!("{id}: {page}"));
        assert!(row.contains(at.split('T').next().unwrap()) && row.contains(" UTC</span></td>"), "{at}: {row}");
        for piece in [account.as_str(), one["scope"].as_str().unwrap(), one["outcome"].as_str().unwrap()] {
            assert!(row.contains(piece), "{piece}: {row}");
        }
    }
    assert!(page.contains(r#"Refused: <span class="note">2 in the last hour, 2 in the last 24 hours"#), "{page}");
}

/// What somebody may not see is not there, by the API as on pages: for neither is another word enough.
#[tokio::test]
async fn the_overview_is_for_whom_its_page_is_for() {
    let bed = bed(SIGN_IN).await;
    let (_, id) = asked(&bed, "ann", "alice-pw").await;
    let one = format!("/api/v1/decisions/{id}");
    for who in PEOPLE {
        let page = Person::signed_in(&bed, who).await;
        for (target, shown) in [(OVERVIEW, "/overview"), (&one, &format!("/decisions?id={id}"))] {
            let expected = if who == "eve" { 200 } else { 404 };
            let reply = bed.get(target).by(person(who)).send().await;
            assert_eq!(reply.status, expected, "{who} {target}: {}", reply.text());
            assert_eq!(page.get(shown).await.status, expected, "{who} {shown}");
            if expected == 404 {
                assert_eq!(reply.json()["reason"], "not_found");
            }
        }
    }
    for target in [OVERVIEW, &one] {
        let reply = bed.get(target).send().await;
        assert_eq!((reply.status, &reply.json()["reason"]), (401, &json!("login_needed")), "{target}");
        assert_eq!(bed.request(Method::POST, target).by(person("eve")).send().await.status, 405, "{target}");
    }
    let unknown = bed.get("/api/v1/decisions/0123456789abcdef").by(person("eve")).send().await;
    assert_eq!(unknown.status, 404, "{}", unknown.text());
}

/// A secret sees no more of it than it was made for.
#[tokio::test]
async fn a_secret_sees_the_overview_only_where_it_is_allowed_to() {
    let bed = bed("").await;
    for (allow, status) in [("dockwarden:overview:show", 200), ("dockwarden:tokens/eve:list", 404)] {
        let make = json!({ "name": allow, "expires": "90d", "allow": [allow] }).to_string();
        let asked = bed.request(Method::POST, "/api/v1/tokens").by(person("eve"));
        let made = asked.header("content-type", "application/json").body(&make).send().await;
        assert_eq!(made.status, 201, "{}", made.text());
        let secret = made.json()["token"].as_str().unwrap().to_owned();
        assert_eq!(bed.get(OVERVIEW).basic("eve", &secret).send().await.status, status, "{allow}");
    }
}

/// What the account's page does for its owner: everything that lasts is dead, and nothing of others.
#[tokio::test]
async fn signing_out_everywhere_is_the_apis_too() {
    let bed = bed(SIGN_IN).await;
    let json = |target: &str, body: Value| {
        bed.request(Method::POST, target).header("content-type", "application/json").body(&body.to_string())
    };
    let make = async |who: &'static str| {
        let body = json!({ "name": "laptop", "expires": "90d" });
        let made = json("/api/v1/tokens", body).by(person(who)).send().await;
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["token"].as_str().unwrap().to_owned()
    };
    let lives =
        async |who: &str, secret: &str| bed.get("/auth?service=reg").basic(who, secret).send().await.status == 200;
    let (own, other) = (make("ann").await, make("bob").await);
    let ann = Person::signed_in(&bed, "ann").await;
    let refused = json("/api/v1/sign-out", json!({ "account": "bob" })).by(person("ann")).send().await;
    assert_eq!((refused.status, &refused.json()["reason"]), (403, &json!("not_granted")));
    for (body, status) in [("", 400), ("{\"all\": true}", 400), ("{\"account\": \"\"}", 400)] {
        let asked = bed.request(Method::POST, "/api/v1/sign-out").header("content-type", "application/json");
        assert_eq!(asked.body(body).by(person("ann")).send().await.status, status, "{body}");
    }
    assert!(lives("ann", &own).await && ann.get("/account").await.status == 200);
    let done = json("/api/v1/sign-out", json!({})).by(person("ann")).send().await;
    assert_eq!((done.status, done.text().as_str()), (204, ""));
    assert!(!lives("ann", &own).await && lives("bob", &other).await);
    assert_eq!(ann.get("/account").await.header("location"), "/sign-in");
    assert!(lives("ann", "alice-pw").await, "a password is none of what lasts");
}
