//! The secrets of a service on its page: which are good, making one that is shown once, and ending one, for whom the API lets.

use axum::http::Method;
use serde_json::json;

use crate::bed::Bed;
use crate::directory::{opensvc, person};
use crate::management::bed_with;
use crate::pages_managing::{Person, SIGN_IN, unescaped};
use crate::pages_running::{login, shown};

/// All but Ann see the service; Cat may do everything with its secrets, Dan sees which there are, Eve makes them, and Bob knows nothing
/// of them.
const RULES: &str = "acl:
  - match: {account: ann, type: dockwarden}
    actions: []
  - match: {account: cat, type: dockwarden}
    actions: [list, show, create, change, delete, renew, revoke]
  - match: {account: \"/^(bob|dan|eve)$/\", type: dockwarden, name: services/web@n1}
    actions: [list, show]
  - match: {account: dan, type: dockwarden, name: tokens/web@n1}
    actions: [list]
  - match: {account: eve, type: dockwarden, name: tokens/web@n1}
    actions: [create]
";
const PAGE: &str = "/services/one?name=web%40n1";
const MAKE: &str = "/secrets/new?account=web%40n1";

async fn bed() -> Bed {
    bed_with(&format!("{}{SIGN_IN}", opensvc().replace("acl: []\n", RULES))).await
}

/// The way that a page has to something, by its words.
fn way<'page>(page: &'page str, words: &str) -> Option<&'page str> {
    let (before, _) = page.split_once(&format!("\">{words}</a>"))?;
    before.rsplit("href=\"").next()
}

#[tokio::test]
async fn a_services_secret_is_made_shown_once_and_revoked() {
    let bed = bed().await;
    let cat = Person::signed_in(&bed, "cat").await;
    let page = cat.get(PAGE).await.ok().text();
    assert!(page.contains("None that is good.") && way(&page, "Make a secret …") == Some(MAKE), "{page}");
    let form = cat.get(MAKE).await.ok().text();
    assert!(form.contains("name=\"account\" value=\"web@n1\"") && !form.contains("name=\"robot\""), "{form}");
    let asked = "account=web%40n1&name=node&expires=90d&allow=repository:lib/*:pull";
    let made = cat.post("/secrets/new", asked).await.ok();
    assert_eq!(made.header("cache-control"), "no-store");
    let (text, secret) = (unescaped(&made.text()), shown(&made.text()));
    assert!(secret.starts_with("dwp_") && text.contains("docker login -u web@n1 --password-stdin"), "{text}");
    assert!(!text.contains(&format!("-p {secret}")), "it stands in nobody's history");
    assert_eq!(login(&bed, "web@n1", &secret).await, 200);
    // As it is by the API, which makes the same.
    let by_api = bed.get("/api/v1/tokens?account=web%40n1").by(person("cat")).send().await.ok().json();
    let tokens = by_api["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 1, "{by_api}");
    let told = |name: &str| tokens[0][name].as_str().unwrap().to_owned();
    assert_eq!([told("name"), told("account"), told("created_by")], ["node", "web@n1", "cat"]);
    let page = cat.get(PAGE).await.ok().text();
    assert!(page.contains(&format!("<code>{}</code>", told("last4"))) && !page.contains(&secret), "{page}");
    assert_eq!(way(&page, "node"), Some(format!("/secrets/one?id={}", told("id")).as_str()));
    for (wrong, status) in [
        ("account=web%40n1&name=node&expires=90d", 400),
        ("account=web%40n1&name=other&expires=soon", 400),
        ("account=web%40n1&name=&expires=90d", 400),
        ("account=web%40n9&name=other&expires=90d", 400),
        ("account=web%40n1&robot=ci&name=other&expires=90d&from=nowhere", 400),
    ] {
        let reply = cat.post("/secrets/new", wrong).await;
        assert_eq!(reply.status, status, "{wrong}: {}", reply.text());
        assert!(!reply.text().contains("id=\"secret\""), "{wrong}");
        let form = unescaped(&reply.text());
        assert!(
            form.contains("<p role=\"alert\">") && form.contains("name=\"account\" value=\"web@n"),
            "{wrong}: {form}"
        );
    }
    let revoke = way(&page, "Revoke node …").unwrap();
    assert!(cat.get(revoke).await.ok().text().contains("Revoke node of web@n1?"));
    assert_eq!(cat.post("/secrets/revoke", &format!("id={}", told("id"))).await.status, 303);
    assert_eq!(login(&bed, "web@n1", &secret).await, 401);
    let page = cat.get(PAGE).await.ok().text();
    assert!(page.contains("None that is good.") && !page.contains("Revoke node"), "{page}");
    let all = cat.get(way(&page, "All of its secrets, those that ended too").unwrap()).await.ok().text();
    assert!(all.contains("Secrets of web@n1") && all.contains("<td>revoked</td>"), "{all}");
    // What the file has of it goes on.
    assert_eq!(login(&bed, "web@n1", "alice-pw").await, 200);
    // A button that is pressed twice makes one.
    let form = cat.get(MAKE).await.ok().text();
    let once = form.split("name=\"once\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let asked = format!("account=web%40n1&name=twice&expires=90d&once={once}");
    cat.post("/secrets/new", &asked).await.ok();
    let again = cat.post("/secrets/new", &asked).await;
    let page = again.text();
    assert!(again.status == 412 && page.contains("the secret was made the first time"), "{page}");
    assert_eq!(way(&page, "See the list"), Some("/secrets?account=web%40n1"), "{page}");
}

/// A page shows and does what the API would, and of the rest neither a link nor an address.
#[tokio::test]
async fn a_services_secrets_are_for_whom_the_api_lets() {
    let bed = bed().await;
    let cat = Person::signed_in(&bed, "cat").await;
    let asked = "account=web%40n1&name=node&expires=90d";
    let secret = shown(&cat.post("/secrets/new", asked).await.ok().text());
    let id = way(&cat.get(PAGE).await.ok().text(), "node").unwrap().split_once("id=").unwrap().1.to_owned();
    for (who, sees, lists, shows, makes, revokes) in [
        ("ann", false, false, false, false, false),
        ("bob", true, false, false, false, false),
        ("dan", true, true, false, false, false),
        ("eve", true, false, false, true, false),
        ("cat", true, true, true, true, true),
    ] {
        let one = Person::signed_in(&bed, who).await;
        let page = one.get(PAGE).await;
        let found = |is: bool| if is { 200 } else { 404 };
        assert_eq!(page.status, found(sees), "{who}: {}", page.text());
        let page = page.text();
        let own = |words: &str| way(&page, words).is_some();
        assert_eq!(page.contains("<h2 id=\"table-1\">Its secrets</h2>"), lists, "{who}: {page}");
        assert_eq!(page.contains(">node<"), lists, "{who}: {page}");
        assert_eq!(own("node"), shows, "{who}: {page}");
        assert_eq!(own("Make a secret …"), makes, "{who}: {page}");
        assert_eq!(own("Revoke node …"), revokes, "{who}: {page}");
        for (target, is) in [
            ("/secrets?account=web%40n1".to_owned(), lists),
            (MAKE.to_owned(), makes),
            (format!("/secrets/one?id={id}"), shows),
            (format!("/secrets/revoke?id={id}"), revokes),
        ] {
            assert_eq!(one.get(&target).await.status, found(is), "{who} {target}");
        }
        let by_api = bed.get("/api/v1/tokens?account=web%40n1").by(person(who)).send().await;
        assert_eq!(by_api.status == 200, lists, "{who}: {}", by_api.text());
        let body = json!({ "account": "web@n1", "name": format!("of {who}"), "expires": "90d" }).to_string();
        let asked = bed.request(Method::POST, "/api/v1/tokens").by(person(who));
        let by_api = asked.header("content-type", "application/json").body(&body).send().await;
        assert_eq!(by_api.status == 201, makes, "{who}: {}", by_api.text());
        if makes {
            // It has two places, and both are taken now.
            let full = one.post("/secrets/new", &format!("account=web%40n1&name=by%20{who}&expires=90d")).await;
            assert!(full.status == 400 && full.text().contains("two living secrets"), "{who}: {}", full.text());
            let made = by_api.json()["id"].as_str().unwrap().to_owned();
            assert_eq!(cat.post("/secrets/revoke", &format!("id={made}")).await.status, 303);
        }
        let by_page = one.post("/secrets/new", &format!("account=web%40n1&name=by%20{who}&expires=90d")).await;
        assert_eq!(by_page.status, found(makes), "{who}: {}", by_page.text());
        if makes {
            let page = cat.get(PAGE).await.ok().text();
            let revoke = way(&page, &format!("Revoke by {who} …")).unwrap().split_once("id=").unwrap().1.to_owned();
            assert_eq!(cat.post("/secrets/revoke", &format!("id={revoke}")).await.status, 303);
        }
        // Who only makes them is led nowhere that is shut.
        assert_eq!(way(&by_page.text(), "About this secret").is_some(), makes && shows, "{who}");
        if !revokes {
            assert_eq!(one.post("/secrets/revoke", &format!("id={id}")).await.status, 404, "{who}");
        }
    }
    assert_eq!(login(&bed, "web@n1", &secret).await, 200, "none of them revoked it");
}

/// What a service could make by a secret would outlive that secret: whoever stole it would stay when it is exchanged.
#[tokio::test]
async fn a_service_makes_nothing_that_outlives_its_secret() {
    let own = "  - match: {account: \"web@n1\", type: dockwarden, name: tokens/web@n1}\n    actions: [create, list]\n";
    let rules = format!("{RULES}{own}lasting: {{refresh: [reg]}}\n");
    let bed = bed_with(&format!("{}{SIGN_IN}", opensvc().replace("acl: []\n", &rules))).await;
    let page = bed.post("/sign-in", "account=web%40n1&password=alice-pw").header("sec-fetch-site", "same-origin");
    let page = page.send().await;
    assert!(page.status == 403 && page.header("set-cookie").is_empty(), "{} {}", page.status, page.text());
    assert!(page.text().contains("a service has no pages"), "{}", page.text());
    let body = json!({ "account": "web@n1", "name": "mine", "expires": "90d" }).to_string();
    let asked = bed.request(Method::POST, "/api/v1/tokens").by(person("web@n1"));
    let made = asked.header("content-type", "application/json").body(&body).send().await;
    assert!(made.status == 422 && made.text().contains("by its own login"), "{} {}", made.status, made.text());
    let offline = "/auth?service=reg&offline_token=true&client_id=docker";
    for (who, has_one) in [("web@n1", false), ("cat", true)] {
        let login = bed.get(offline).by(person(who)).send().await.ok().json();
        assert!(login["token"].is_string() && login.get("refresh_token").is_some() == has_one, "{who}: {login}");
    }
}
