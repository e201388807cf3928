//! What somebody who has signed in can make, see and end.

use std::collections::BTreeSet;

use axum::http::Method;
use dockwarden::identity::Account;
use dockwarden::records::{self, Changed, Kept, Limits, Settings, Version, Whose};
use dockwarden::secrets::{MOST_PERSONAL, New, NotMade};
use serde_json::json;
use time::{Duration, OffsetDateTime};

use super::{Browser, Scene, sections};
use crate::bed::{ALICE, Bed};

/// Checks 17 to 21 and 23.
#[tokio::test]
async fn docker_passwords_are_shown_once_named_narrowed_and_revoked() {
    let scene = Scene::new();
    let mut browser = Browser::default();
    let laptop = scene.password(&mut browser, "laptop").await;
    let page = browser.get(&scene.bed, "/account").await.ok().text();
    assert!(page.contains("laptop") && !page.contains(&laptop), "it is shown once: {page}");
    let all = Ok(vec!["repository:dev/app:pull,push".to_owned()]);
    assert_eq!(scene.grants("ada@example.org", &laptop).await, all);
    let pulls = browser.make_password(&scene.bed, "ci", "&pull_only=1").await;
    assert_eq!(scene.grants("ada@example.org", &pulls).await, Ok(vec!["repository:dev/app:pull".to_owned()]));
    assert_eq!(scene.grants("ada@example.org", &laptop).await, all, "the first goes on working");
    assert_eq!(scene.grants("ada@example.org", "wrong").await, Err(401));
    // Forms of other sites, and of nobody.
    let page = browser.get(&scene.bed, "/account").await.ok().text();
    let revoke =
        page.split("action=\"").find(|rest| rest.contains("Revoke laptop")).unwrap().split('"').next().unwrap();
    for site in [Some("cross-site"), Some("same-site"), Some("none"), None] {
        for path in [revoke, "/account/passwords", "/sign-out", "/account/sign-out-everywhere"] {
            let asked = scene.bed.post(path, "name=evil&days=30").header("cookie", &browser.cookie());
            let asked = match site {
                Some(site) => asked.header("sec-fetch-site", site),
                None => asked.header("origin", "https://evil.example"),
            };
            assert_eq!(asked.send().await.status, 403, "{path} {site:?}");
        }
    }
    assert_eq!(scene.grants("ada@example.org", &laptop).await, all);
    assert_eq!(browser.post(&scene.bed, revoke, "").await.status, 303);
    assert_eq!(scene.grants("ada@example.org", &laptop).await, Err(401));
    assert!(scene.grants("ada@example.org", &pulls).await.is_ok());
    // Somebody else's is not there, and nobody signed in sees nothing.
    let mut other = Browser::default();
    scene.claim(json!({"sub": "2", "email": "eve@example.org"}));
    assert_eq!(other.sign_in(&scene.bed).await.status, 303);
    let page = browser.get(&scene.bed, "/account").await.ok().text();
    let revoke = page.split("action=\"").find(|rest| rest.contains("Revoke ci")).unwrap().split('"').next().unwrap();
    assert_eq!(other.post(&scene.bed, revoke, "").await.status, 404);
    assert_eq!(Browser::default().post(&scene.bed, revoke, "").await.header("location"), "/sign-in");
    // Everything ends at once, and the session with it, in whichever browser it is.
    let mut copy = browser.clone();
    assert_eq!(browser.post(&scene.bed, "/account/sign-out-everywhere", "").await.header("location"), "/sign-in");
    assert_eq!(scene.grants("ada@example.org", &pulls).await, Err(401));
    assert_eq!(copy.get(&scene.bed, "/account").await.header("location"), "/sign-in");
}

/// Check 16.
#[tokio::test]
async fn a_name_is_never_a_command_or_a_tag() {
    let scene = Scene::with("user_claim: name");
    scene.claim(json!({"name": "x;id'<b>"}));
    let mut browser = Browser::default();
    assert_eq!(browser.sign_in(&scene.bed).await.status, 303);
    browser.post(&scene.bed, "/account/passwords", "name=%3Ci%3Elaptop&days=30").await;
    let page = browser.get(&scene.bed, "/account").await.ok().text();
    assert!(!page.contains("<b>") && !page.contains("<i>"), "{page}");
    let unescaped = page
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&#60;", "<")
        .replace("&#62;", ">")
        .replace("&lt;", "<")
        .replace("&gt;", ">");
    assert!(unescaped.contains("docker login -u \"x;id'<b>\" --password-stdin registry.example.org"), "{page}");
}

/// Check 24; and who has a password with us has the same page.
#[tokio::test]
async fn a_password_with_us_signs_in_through_the_throttle_of_all_doors() {
    let scene = Scene::new();
    let mut browser = Browser::default();
    let reply = browser.post(&scene.bed, "/sign-in", "account=alice&password=alice-pw").await;
    assert_eq!((reply.status, reply.header("location")), (303, "/account"), "{}", reply.text());
    let made = browser.make_password(&scene.bed, "laptop", "").await;
    assert_eq!(scene.bed.get("/auth?service=registry").basic("alice", &made).send().await.status, 200);
    // What was made there makes no others.
    let reply = Browser::default().post(&scene.bed, "/sign-in", &format!("account=alice&password={made}")).await;
    assert!(reply.status == 403 && reply.text().contains("this is a docker password"), "{}", reply.text());
    let mut statuses = Vec::new();
    for guess in 0..6 {
        let reply =
            Browser::default().post(&scene.bed, "/sign-in", &format!("account=bob&password=guess-{guess}")).await;
        statuses.push(reply.status);
    }
    assert!(statuses[0] == 401 && statuses.last() == Some(&429), "{statuses:?}");
    assert_eq!(scene.bed.get("/auth?service=registry").by(crate::bed::BOB).send().await.status, 429);
    let foreign = scene.bed.post("/sign-in", "account=alice&password=alice-pw").header("sec-fetch-site", "cross-site");
    assert_eq!(foreign.send().await.status, 403, "nobody is signed in as somebody else by another site");
}

/// What is not there is asked for, and is no wrong password; a secret in the place of the account is shown to nobody.
#[tokio::test]
async fn a_sign_in_without_a_name_or_a_password_says_what_to_type() {
    let scene = Scene::new();
    let secret = scene.password(&mut Browser::default(), "laptop").await;
    for (form, status, told, value) in [
        ("account=&password=x".to_owned(), 400, "Account: type the name that you log in with", ""),
        ("account=+&password=x".to_owned(), 400, "Account: type the name", " "),
        ("password=x".to_owned(), 400, "Account: type the name", ""),
        ("account=alice&password=".to_owned(), 400, "Password: type the password", "alice"),
        ("account=alice&password=wrong".to_owned(), 401, "the account or the password is wrong", "alice"),
        (format!("account={secret}&password=x"), 401, "the account or the password is wrong", ""),
    ] {
        let reply = Browser::default().post(&scene.bed, "/sign-in", &form).await;
        let page = reply.text();
        assert_eq!(reply.status, status, "{form}: {page}");
        assert!(page.contains(&format!("<p role=\"alert\">{told}")), "{form}: {page}");
        assert!(page.contains(&format!("maxlength=\"255\" value=\"{value}\">")), "{form}: {page}");
        assert!(page.contains("href=\"/oidc_auth\"") && !page.contains(&secret), "{form}: {page}");
    }
}

/// A button that is pressed twice makes one password, and whoever did not see it learns what to do.
#[tokio::test]
async fn a_form_that_is_sent_twice_makes_one_password() {
    let scene = Scene::new();
    let mut browser = Browser::default();
    assert_eq!(browser.sign_in(&scene.bed).await.status, 303);
    let once = async |browser: &mut Browser| {
        let page = browser.get(&scene.bed, "/account").await.ok().text();
        page.split("name=\"once\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let form = format!("name=laptop&days=30&once={}", once(&mut browser).await);
    // The browser has not kept the first answer yet.
    let mut again = browser.clone();
    assert_eq!(browser.post(&scene.bed, "/account/passwords", &form).await.status, 303);
    let reply = again.post(&scene.bed, "/account/passwords", &form).await;
    let page = reply.text();
    assert_eq!(reply.status, 412, "{page}");
    let alert = page.split("<p role=\"alert\">").nth(1).unwrap().split('<').next().unwrap();
    for piece in ["sent twice", "made the first time", "shown only once", "revoke it"] {
        assert!(alert.contains(piece), "{piece}: {alert}");
    }
    assert_eq!(page.matches(">Revoke</button>").count(), 1, "it is in the list: {page}");
    assert!(browser.get(&scene.bed, "/account").await.ok().text().contains("id=\"password\">dwp_"), "it is shown");
    // Another one of the name is no second form, and comes back with what was typed.
    let form = format!("name=laptop&days=30&pull_only=1&once={}", once(&mut browser).await);
    let reply = browser.post(&scene.bed, "/account/passwords", &form).await;
    let page = reply.text();
    assert!(reply.status == 400 && page.contains("a living secret of this name"), "{page}");
    assert!(page.contains("value=\"laptop\"") && page.contains("value=\"30\" selected"), "{page}");
    assert!(page.contains("name=\"pull_only\" value=\"1\" checked"), "{page}");
    // One that brought nothing may be mended and sent.
    let mended = form.replace("laptop", "desk");
    assert_eq!(browser.post(&scene.bed, "/account/passwords", &mended).await.status, 303);
}

/// Check 37: nobody becomes an account of an earlier section, or of another person.
#[tokio::test]
async fn a_name_that_somebody_has_is_nobody_elses() {
    let scene = Scene::with("user_claim: name");
    for name in ["alice", "robot+ci"] {
        scene.claim(json!({"name": name, "sub": name}));
        let reply = Browser::default().sign_in(&scene.bed).await;
        assert_eq!(reply.status, 403, "{name}: {}", reply.text());
    }
    assert_eq!(scene.bed.get("/auth?service=registry").by(ALICE).send().await.status, 200);
    scene.claim(json!({"name": "ada", "sub": "1"}));
    let mut browser = Browser::default();
    let password = scene.password(&mut browser, "laptop").await;
    scene.claim(json!({"name": "ada", "sub": "2"}));
    assert_eq!(Browser::default().sign_in(&scene.bed).await.status, 403, "another person of that name");
    // Who is called otherwise now keeps nothing by the old name, which is free then.
    scene.claim(json!({"name": "ada.l", "sub": "1"}));
    assert_eq!(Browser::default().sign_in(&scene.bed).await.status, 303);
    assert_eq!(scene.grants("ada", &password).await, Err(401));
    scene.claim(json!({"name": "ada", "sub": "2"}));
    assert_eq!(Browser::default().sign_in(&scene.bed).await.status, 303);
    assert_eq!(scene.grants("ada", &password).await, Err(401), "it was another person's");
}

/// Check 40: the records are all that replicas share.
#[tokio::test]
async fn what_one_replica_let_in_another_knows() {
    let scene = Scene::new();
    let mut browser = Browser::default();
    let password = scene.password(&mut browser, "laptop").await;
    let folder = scene.bed.folder.path("records.db");
    let config = sections(&scene.provider, "").replace("$DIR/records.db", folder.to_str().unwrap());
    let other = Bed::with(&config);
    assert_eq!(other.get("/auth?service=registry").basic("ada@example.org", &password).send().await.status, 200);
    assert_eq!(browser.get(&other, "/account").await.status, 200, "and the session is good there");
}

/// Each password that is good is there to be revoked, whatever ended beside it, and there are no more than may be.
#[tokio::test]
async fn every_living_password_is_on_the_account_and_there_are_only_so_many() {
    let scene = Scene::new();
    let mut browser = Browser::default();
    assert_eq!(browser.sign_in(&scene.bed).await.status, 303);
    let snapshot = scene.bed.app.snapshot();
    let (lasting, now) = (snapshot.access.lasting().unwrap(), OffsetDateTime::now_utc());
    let ada = Account::parse("ada@example.org").unwrap();
    let owner = snapshot.access.look_up(&ada, None).await.unwrap();
    // Letters that HTML knows, for pages that are as long as they can be.
    let new = |name: &str| New {
        name: format!("{name}{}", "<".repeat(50)),
        expires: Some("90d".parse().unwrap()),
        limits: Limits::default(),
        maker: None,
    };
    let most = usize::try_from(MOST_PERSONAL).unwrap();
    for number in 0..most + 60 {
        let made = lasting.make_personal(owner.clone(), new(&format!("m{number:03}")), now).await.unwrap();
        if number < 60 {
            lasting.revoke(&made.kept.id, now).await.unwrap();
        }
    }
    let (mut seen, mut target) = (BTreeSet::new(), "/account".to_owned());
    loop {
        let page = browser.get(&scene.bed, &target).await.ok().text();
        assert!(page.len() < 60_000, "{target}: {}", page.len());
        let rows = page.split("<th scope=\"row\">").skip(1).map(|row| row[..4].to_owned());
        seen.extend(rows);
        let Some((before, _)) = page.split_once("\" rel=\"next\"") else { break };
        before.rsplit("href=\"").next().unwrap().clone_into(&mut target);
    }
    let expected: BTreeSet<String> = (60..most + 60).map(|number| format!("m{number:03}")).collect();
    assert_eq!(seen, expected);
    let refused = browser.post(&scene.bed, "/account/passwords", "name=one-more&days=30").await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert!(refused.text().contains("at most 200 living secrets"), "{}", refused.text());
    let refused = lasting.make_personal(owner, new("one-more"), now).await;
    assert!(matches!(refused, Err(NotMade::TooMany)), "{refused:?}");
}

/// Whoever kept a cookie has nothing of it once its browser has signed out, on any replica.
#[tokio::test]
async fn signing_out_ends_the_session_wherever_its_cookie_is() {
    let scene = Scene::new();
    let mut browser = Browser::default();
    assert_eq!(browser.sign_in(&scene.bed).await.status, 303);
    let (mut other, mut copy) = (Browser::default(), browser.clone());
    assert_eq!(other.sign_in(&scene.bed).await.status, 303);
    let folder = scene.bed.folder.path("records.db");
    let replica = Bed::with(&sections(&scene.provider, "").replace("$DIR/records.db", folder.to_str().unwrap()));
    for bed in [&scene.bed, &replica] {
        assert_eq!(copy.get(bed, "/account").await.status, 200);
    }
    assert_eq!(browser.post(&scene.bed, "/sign-out", "").await.header("location"), "/sign-in");
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    for bed in [&scene.bed, &replica] {
        assert_eq!(copy.get(bed, "/account").await.header("location"), "/sign-in");
        assert_eq!(copy.post(bed, "/account/passwords", "name=evil&days=30").await.header("location"), "/sign-in");
        assert_eq!(other.get(bed, "/account").await.status, 200, "another session of the account goes on");
    }
    assert_eq!(copy.post(&scene.bed, "/sign-out", "").await.header("location"), "/sign-in", "twice is once");
}

/// What looks at a page without showing it takes nothing from who opens it afterwards.
#[tokio::test]
async fn the_head_of_a_page_uses_no_new_password_up() {
    let scene = Scene::new();
    let mut browser = Browser::default();
    assert_eq!(scene.bed.request(Method::HEAD, "/sign-in").send().await.status, 200);
    assert_eq!(browser.sign_in(&scene.bed).await.status, 303);
    assert_eq!(browser.post(&scene.bed, "/account/passwords", "name=laptop&days=30").await.status, 303);
    let head = scene.bed.request(Method::HEAD, "/account").header("cookie", &browser.cookie()).send().await;
    assert_eq!((head.status, head.text().as_str()), (200, ""));
    browser.keep(&head);
    let page = browser.get(&scene.bed, "/account").await.ok().text();
    assert!(page.contains("id=\"password\">dwp_"), "{page}");
}

/// Check 22: an end is an end, to the second, whatever the owner may do, and it is not among the living any more.
#[tokio::test]
async fn a_password_that_is_over_is_refused() {
    let scene = Scene::new();
    let mut browser = Browser::default();
    let over = scene.password(&mut browser, "laptop").await;
    let living = browser.make_password(&scene.bed, "desk", "").await;
    let records = records::open(&Settings::sqlite(scene.bed.folder.path("records.db")));
    let ada = Account::parse("ada@example.org").unwrap();
    let kept = records.list(&Whose::Account(ada), None, 10).await.unwrap();
    let mut kept = kept.into_iter().find(|kept| kept.name == "laptop").unwrap();
    let now = OffsetDateTime::now_utc();
    for (left, expected) in
        [(120, Ok(vec!["repository:dev/app:pull,push".to_owned()])), (0, Err(401)), (-3600, Err(401))]
    {
        let seen = kept.version;
        kept = Kept { ends: Some(now + Duration::seconds(left)), version: Version(seen.0 + 1), ..kept };
        assert_eq!(records.replace(&kept, seen).await.unwrap(), Changed::Done);
        assert_eq!(scene.grants("ada@example.org", &over).await, expected, "{left} s are left");
    }
    assert!(scene.grants("ada@example.org", &living).await.is_ok());
    let page = browser.get(&scene.bed, "/account").await.ok().text();
    assert!(page.contains("desk") && !page.contains("laptop"), "{page}");
    let reply = scene.bed.get("/auth?service=registry").basic("ada@example.org", &over).send().await;
    assert_eq!(reply.header("www-authenticate").split(' ').next(), Some("Basic"), "docker asks for another");
}
