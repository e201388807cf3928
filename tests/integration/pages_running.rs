//! The pages for whoever runs it: why, who may, what was decided, how the server is, and the secrets of robots. Each is there for its
//! right alone.

use std::collections::BTreeSet;

use dockwarden::identity::Account;
use dockwarden::records::Limits;
use dockwarden::secrets::New;

use crate::bed::{ALICE_HASH, Bed, Caller, Reply};
use crate::directory::{granted, opensvc, ready};
use crate::management::bed_with;
use crate::pages_managing::{NAMES, PEOPLE, Person, SIGN_IN, unescaped};

const RULES: &str = "acl:
  - match: {account: cat, type: dockwarden}
    actions: [list, show, create, renew, revoke, explain, who-can]
  - match: {account: dan, type: dockwarden, name: policy}
    actions: [explain]
  - match: {account: eve, type: dockwarden, name: overview}
    actions: [show]
  - match: {account: bob, type: dockwarden, name: \"tokens/robot+ci-*\"}
    actions: [list, show]
  - match: {account: \"robot+ci-*\", name: \"lib/*\"}
    actions: [pull]
    comment: <robots>
  - match: {account: mad, name: \"/^(x*)*y$/\"}
    actions: [pull]
";

async fn bed() -> Bed {
    bed_with(&format!("{}{SIGN_IN}", opensvc().replace("acl: []\n", RULES))).await
}

/// A secret that a robot's page shows.
pub(crate) fn shown(page: &str) -> String {
    let (_, rest) = page.split_once("id=\"secret\">").unwrap_or_else(|| panic!("no secret: {page}"));
    rest.split('<').next().unwrap().to_owned()
}

/// What a page says of something.
fn fact(page: &str, name: &str) -> String {
    let (_, rest) = page.split_once(&format!("<dt>{name}</dt><dd>")).unwrap_or_else(|| panic!("no {name}: {page}"));
    rest.split("</dd>").next().unwrap().to_owned()
}

/// A page about the whole policy: the tests beside this one ask as well, and there is one turn for all.
async fn patiently(person: &Person<'_>, target: &str) -> Reply {
    loop {
        let reply = person.get(target).await;
        if reply.status != 503 {
            return reply;
        }
    }
}

pub(crate) async fn login(bed: &Bed, account: &str, secret: &str) -> u16 {
    let caller = Caller::Account(account.to_owned().leak(), secret.to_owned().leak());
    bed.get("/auth?service=reg&scope=repository:lib/x:pull").by(caller).send().await.status
}

#[tokio::test]
async fn each_page_is_there_for_its_right_alone() {
    let bed = bed().await;
    let cat = Person::signed_in(&bed, "cat").await;
    let made = cat.post("/secrets/new", "robot=ci-web&new=1&name=deploy&expires=90d").await.ok().text();
    let (_, id) = made.split_once("/secrets/one?id=").unwrap();
    let id = id.split('"').next().unwrap();
    let [one, renew, revoke] = ["one", "renew", "revoke"].map(|page| format!("/secrets/{page}?id={id}"));
    let pages = [
        ("/overview", "/overview", &["cat", "eve"][..]),
        ("/decisions?id=0123456789abcdef", "", &["cat", "eve"]),
        // Whoever may look decisions up has that form, and no other.
        ("/why", "", &["cat", "dan", "eve"]),
        ("/why?scope=repository:lib/x:pull", "/why", &["cat", "dan"]),
        ("/why/who?action=pull&resource=repository:lib/x", "", &["cat"]),
        ("/secrets", "", &["cat", "bob"]),
        ("/secrets?robot=ci-web", "", &["cat", "bob"]),
        ("/secrets?robot=other", "/secrets", &["cat"]),
        ("/secrets/new", "", &["cat"]),
        (&one, "", &["cat", "bob"]),
        (&renew, "", &["cat"]),
        (&revoke, "", &["cat"]),
        ("/secrets/one?id=nothing", "", &[]),
    ];
    for who in PEOPLE {
        let person = Person::signed_in(&bed, who).await;
        let account = person.get("/account").await.ok().text();
        for (target, link, whose) in pages {
            let reply = patiently(&person, target).await;
            let expected = if whose.contains(&who) { 200 } else { 404 };
            assert_eq!(reply.status, expected, "{who} {target}: {}", reply.text());
            if !link.is_empty() {
                let shown = account.contains(&format!("<a href=\"{link}\">"));
                assert_eq!(shown, whose.contains(&who), "{who} {link}: {account}");
            }
        }
        if who == "cat" {
            continue;
        }
        for (target, form) in [
            ("/secrets/new", "robot=ci-web&name=deploy&expires=90d".to_owned()),
            ("/secrets/renew", format!("id={id}&expires=90d")),
            ("/secrets/revoke", format!("id={id}")),
        ] {
            let reply = person.post(target, &form).await;
            assert_eq!(reply.status, 404, "{who} {target}: {}", reply.text());
        }
        let page = person.get("/why").await.text();
        assert_eq!(page.contains("action=\"/why\""), who == "dan", "{who}: {page}");
        assert!(!page.contains("action=\"/why/who\""), "{who}: {page}");
        assert_eq!(page.contains("action=\"/decisions\""), who == "eve", "{who}: {page}");
    }
    assert_eq!(login(&bed, "robot+ci-web", &shown(&made)).await, 200, "none of them revoked it");
}

#[tokio::test]
async fn why_says_what_a_token_would_say_and_each_rule_with_its_first_field() {
    let bed = bed().await;
    let dan = Person::signed_in(&bed, "dan").await;
    for who in PEOPLE {
        for name in NAMES {
            let scope = format!("repository:{name}:pull,push");
            let page = dan.get(&format!("/why?account={who}&service=reg&scope={scope}")).await.ok().text();
            let mut told: Vec<String> = fact(&page, "Granted").split(',').map(str::to_owned).collect();
            told.retain(|word| word != "nothing");
            let token = granted(&bed, who, &scope, "reg").await;
            let mut really: Vec<String> = token.split(',').map(str::to_owned).collect();
            really.retain(|word| !word.is_empty());
            told.sort();
            really.sort();
            assert_eq!(told, really, "{who} {name}: {page}");
        }
    }
    let page =
        dan.get("/why?account=robot%2Bci-x&labels=a%3Db&service=reg&scope=repository:lib/x:pull").await.ok().text();
    let text = unescaped(&page);
    assert_eq!(fact(&page, "Granted"), "pull");
    assert!(text.contains("account: \"cat\" does not match \"robot+ci-x\""), "{text}");
    assert!(text.contains("acl[4]") && text.contains("matches, and decides"), "{text}");
    assert!(!text.contains("acl[5]") && !page.contains("<robots>"), "{page}");
    // Supposed to be there, it gets what the rules say; otherwise nobody lets it in.
    let page = dan.get("/why?account=robot%2Bci-x&service=reg&scope=repository:lib/x:pull").await.ok().text();
    assert_eq!(fact(&page, "Granted"), "nothing");
    assert!(fact(&page, "Note").contains("401"), "{page}");
    for (wrong, piece) in [
        ("scope=nonsense", "repository:team/app:pull,push"),
        ("scope=repository:lib/x:pull&ip=nowhere", "not an IP address"),
        ("scope=repository:lib/x:pull&at=soon", "neither a day nor a moment"),
        ("scope=repository:lib/x:pull&reference=!", "no tag and no digest"),
        ("scope=repository:lib/x:pull&labels=team", "name=value"),
    ] {
        let reply = dan.get(&format!("/why?{wrong}")).await;
        let text = reply.text();
        assert!(reply.status == 400 && text.contains("role=\"alert\"") && text.contains(piece), "{wrong}: {text}");
    }
}

#[tokio::test]
async fn who_may_push_is_told_with_the_rule_that_says_so() {
    let bed = bed().await;
    let cat = Person::signed_in(&bed, "cat").await;
    cat.post("/secrets/new", "robot=ci-web&new=1&name=deploy&expires=90d").await.ok();
    let page = patiently(&cat, "/why/who?action=pull&resource=repository:lib/x&service=reg").await.ok().text();
    assert!(page.contains("<th scope=\"row\">robot+ci-web</th>"), "{page}");
    assert!(page.contains("acl[4] (&#60;robots&#62;)"), "{page}");
    let page = patiently(&cat, "/why/who?action=push&resource=repository:lib/x&service=reg").await.ok().text();
    assert!(!page.contains("<th scope=\"row\">robot+ci-web</th>"), "{page}");
    let wrong = cat.get("/why/who?action=push&resource=nonsense").await;
    assert_eq!(wrong.status, 400, "{}", wrong.text());
}

#[tokio::test]
async fn the_overview_has_failing_logins_and_the_last_decisions_which_are_found_by_their_ids() {
    let bed = bed().await;
    let asks = |account: &'static str, password: &'static str| {
        bed.get("/auth?service=reg&scope=repository:lib/x:pull").by(Caller::Account(account, password))
    };
    let hostile = "<script>alert(1)</script>";
    let mut ids = Vec::new();
    for _ in 0..2 {
        let reply = asks(hostile, "wrong").send().await;
        assert_eq!(reply.status, 401);
        ids.push(reply.header("x-decision-id").to_owned());
    }
    let let_in = asks("ann", "alice-pw").send().await.ok().header("x-decision-id").to_owned();
    let eve = Person::signed_in(&bed, "eve").await;
    let page = eve.get("/overview").await.ok().text();
    assert!(!page.contains("<script") && page.contains("&#60;script&#62;alert(1)"), "{page}");
    let row = page.split("<th scope=\"row\">").find(|row| row.contains("script&#62;alert")).unwrap();
    assert!(row.contains("<td>wrong_credentials</td><td>2</td>"), "{row}");
    assert!(page.contains(&format!("/decisions?id={let_in}")), "{page}");
    assert_eq!(page.matches("<svg").count(), 4, "{page}");
    assert!(page.contains("Refused: <span class=\"note\">2 in the last hour, 2 in the last 24 hours"), "{page}");
    assert!(page.len() < 60_000, "{}", page.len());
    let found = eve.get(&format!("/decisions?id={}", ids[1])).await.ok().text();
    assert!(found.contains("refused: wrong_credentials") && !found.contains("<script"), "{found}");
    let found = eve.get(&format!("/decisions?id={let_in}")).await.ok().text();
    assert!(found.contains("<td>ann</td>") && found.contains("repository:lib/x:pull"), "{found}");
    let unknown = eve.get("/decisions?id=0123456789abcdef").await.ok().text();
    assert!(unknown.contains("the log has it."), "{unknown}");
    // Looking at it is none of what it counts.
    let again = eve.get("/overview").await.ok().text();
    let counted = |page: &str| {
        page.split("<figcaption>").skip(1).map(|rest| rest.split(':').nth(1).map(str::to_owned)).collect::<Vec<_>>()
    };
    assert!(!again.contains("dockwarden:overview"), "{again}");
    assert_eq!(counted(&again), counted(&page));
    // The signing certificate of the tests ends later than that.
    assert!(page.contains("What ends within 30 days"), "{page}");
}

#[tokio::test]
async fn decisions_are_remembered_where_somebody_can_look_at_them_and_nowhere_else() {
    let records = "records: {sqlite: $DIR/dockwarden.db}\n";
    for (sections, expected) in
        [(format!("{records}{SIGN_IN}"), 2), ("api: {listen: main}\n".to_owned(), 2), (records.to_owned(), 0)]
    {
        let bed = Bed::with(&format!("{}{sections}", opensvc()));
        if sections.contains(records) {
            ready(&bed).await;
        }
        for (password, status) in [("alice-pw", 200), ("wrong", 401)] {
            let ask = bed.get("/auth?service=reg&scope=repository:lib/x:pull").by(Caller::Account("ann", password));
            assert_eq!(ask.send().await.status, status);
        }
        assert_eq!(bed.app.decisions.recent(10).len(), expected, "{sections}");
    }
}

#[tokio::test]
async fn an_account_that_ends_soon_is_on_the_overview() {
    let soon = (time::OffsetDateTime::now_utc() + time::Duration::days(20)).date();
    let late = (time::OffsetDateTime::now_utc() + time::Duration::days(40)).date();
    let rules = opensvc().replace("acl: []\n", RULES);
    let rules = rules.replacen("  ann: {", &format!("  ann: {{not_after: {soon}, "), 1);
    let rules = rules.replacen("  bob: {", &format!("  bob: {{not_after: {late}, "), 1);
    let bed = bed_with(&format!("{rules}{SIGN_IN}")).await;
    let eve = Person::signed_in(&bed, "eve").await;
    let page = eve.get("/overview").await.ok().text();
    assert!(page.contains("<th scope=\"row\">ann</th><td>account</td>"), "{page}");
    assert!(!page.contains("<th scope=\"row\">bob</th><td>account</td>"), "{page}");
}

#[tokio::test]
async fn a_backend_that_is_down_is_on_the_overview_with_the_moment_since_when() {
    let rules = opensvc().replace("acl: []\n", RULES);
    // Nobody listens there.
    let ldap = "ldap_auth: {addr: \"127.0.0.1:1\", tls: none, base: dc=x, filter: \"(uid=${account})\"}\n";
    let bed = bed_with(&format!("{rules}{ldap}{SIGN_IN}")).await;
    let eve = Person::signed_in(&bed, "eve").await;
    let state = async || {
        let page = eve.get("/overview").await.ok().text();
        let (_, row) = page.split_once("<th scope=\"row\">ldap_auth</th>").unwrap_or_else(|| panic!("{page}"));
        row.split("</tr>").next().unwrap().to_owned()
    };
    assert_eq!(login(&bed, "somebody", "else").await, 503);
    let told = state().await;
    assert!(told.starts_with("<td>down</td><td>20") && told.ends_with(" UTC</td>"), "{told}");
    let page = eve.get("/overview").await.ok().text();
    assert!(page.contains("Could not be decided: <span class=\"note\">1 in the last hour"), "{page}");
}

#[tokio::test]
async fn a_robots_secret_is_made_shown_once_renewed_and_revoked() {
    let bed = bed().await;
    let cat = Person::signed_in(&bed, "cat").await;
    let form = "robot=ci-web&new=1&name=deploy&expires=90d&allow=repository:lib/*:pull";
    let made = cat.post("/secrets/new", form).await.ok();
    assert_eq!(made.header("cache-control"), "no-store");
    let (page, secret) = (made.text(), shown(&made.text()));
    assert!(page.contains("robot+ci-web") && secret.starts_with("dwr_"), "{page}");
    assert_eq!(login(&bed, "robot+ci-web", &secret).await, 200);
    let id = page.split_once("/secrets/one?id=").unwrap().1.split('"').next().unwrap().to_owned();
    for target in ["/secrets", "/secrets?robot=ci-web", &format!("/secrets/one?id={id}")] {
        let text = cat.get(target).await.ok().text();
        assert!(text.contains("deploy") && !text.contains(&secret), "{target}: {text}");
    }
    for (wrong, status) in [
        ("robot=ci-web&name=other&expires=soon", 400),
        ("robot=CI&name=other&expires=90d", 400),
        ("robot=unknown&name=other&expires=90d", 400),
        ("robot=fresh&new=1&labels=team%3Dothers&name=other&expires=90d", 403),
        ("robot=ci-web&name=other&expires=90d&from=nowhere", 400),
    ] {
        let reply = cat.post("/secrets/new", wrong).await;
        assert_eq!(reply.status, status, "{wrong}: {}", reply.text());
        assert!(!reply.text().contains("id=\"secret\""), "{wrong}");
    }
    let form = cat.get(&format!("/secrets/renew?id={id}")).await.ok().text();
    let once = form.split("name=\"once\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let over = cat.post("/secrets/renew", &format!("id={id}&once={once}&expires=2020-01-31")).await;
    assert_eq!(over.status, 400, "it made nothing, and may be sent again with another end");
    let renew = format!("id={id}&once={once}&expires=30d");
    let renewed = shown(&cat.post("/secrets/renew", &renew).await.ok().text());
    let again = cat.post("/secrets/renew", &renew).await;
    assert_eq!(again.status, 412, "a browser that goes back sends it once more");
    assert!(unescaped(&again.text()).contains("made the first time") && again.text().contains("renew it once more"));
    assert_eq!(login(&bed, "robot+ci-web", &renewed).await, 200);
    assert_eq!(login(&bed, "robot+ci-web", &secret).await, 200, "a robot's younger secret goes on");
    assert_eq!(cat.post("/secrets/revoke", &format!("id={id}")).await.status, 303);
    assert_eq!(login(&bed, "robot+ci-web", &secret).await, 401);
    assert!(fact(&cat.get(&format!("/secrets/one?id={id}")).await.ok().text(), "State").contains("revoked"));
}

/// Whoever presses a button twice sees the second answer: it must not be somebody else's fault.
#[tokio::test]
async fn a_robots_form_that_is_sent_twice_says_that_the_first_made_it() {
    let bed = bed().await;
    let cat = Person::signed_in(&bed, "cat").await;
    for asked in ["robot=ci-two&new=1&name=first&expires=90d", "robot=ci-two&name=second&expires=90d"] {
        let form = cat.get("/secrets/new").await.ok().text();
        let once = form.split("name=\"once\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let asked = format!("{asked}&once={once}");
        cat.post("/secrets/new", &asked).await.ok();
        let again = cat.post("/secrets/new", &asked).await;
        assert_eq!(again.status, 412, "{asked}: {}", again.text());
        assert!(unescaped(&again.text()).contains("made the first time"), "{asked}");
    }
    let other = cat.post("/secrets/new", "robot=ci-two&name=third&expires=90d").await;
    assert!(other.status == 400 && other.text().contains("two living secrets"), "{}", other.text());
}

#[tokio::test]
async fn whoever_has_signed_in_stays_so_on_the_page_of_a_wrong_method() {
    let bed = bed().await;
    let cat = Person::signed_in(&bed, "cat").await;
    let wrong = cat.post("/why", "").await;
    assert!(wrong.status == 405 && wrong.text().contains("Sign out"), "{}", wrong.text());
    let nothing = cat.get("/decisions").await.ok().text();
    assert!(!nothing.contains("does not remember"), "nothing was asked: {nothing}");
}

#[tokio::test]
async fn whoever_has_signed_in_stays_so_while_the_records_cannot_be_read() {
    use sqlx::Connection as _;
    let bed = bed().await;
    let cat = Person::signed_in(&bed, "cat").await;
    let file = format!("sqlite:{}", bed.folder.path("dockwarden.db").display());
    let mut records = sqlx::SqliteConnection::connect(&file).await.unwrap();
    sqlx::query("ALTER TABLE dockwarden_epochs RENAME TO away").execute(&mut records).await.unwrap();
    for target in ["/account", "/why"] {
        let page = cat.get(target).await;
        assert!(page.status == 503 && page.text().contains("Sign out"), "{target}: {}", page.text());
    }
    sqlx::query("ALTER TABLE away RENAME TO dockwarden_epochs").execute(&mut records).await.unwrap();
    cat.get("/account").await.ok();
}

/// Lists are cut where a page would be too large, and nothing is lost between two of them.
#[tokio::test]
async fn no_list_is_larger_than_a_page_whatever_names_people_choose() {
    let rules = RULES.replace("explain, who-can]", "explain, who-can, change, delete]");
    let bed = bed_with(&format!("{}{SIGN_IN}", opensvc().replace("acl: []\n", &rules))).await;
    let cat = Person::signed_in(&bed, "cat").await;
    let before = cat.listed("/groups").await.len();
    let hostile = "%3C".repeat(240);
    for id in 1000..1060 {
        let made = cat.post("/groups/new", &format!("name={hostile}{id}&id={id}")).await;
        assert_eq!(made.status, 303, "{}", made.text());
    }
    // Each page of the list is measured on the way.
    assert_eq!(cat.listed("/groups").await.len(), before + 60);
}

/// The same of secrets, which are by their ids.
#[tokio::test]
async fn no_secret_is_lost_between_two_pages() {
    // Each character is five bytes on a page.
    let hostile = "<".repeat(60);
    let user = format!("users:\n  \"{hostile}{hostile}\": {{password: \"{ALICE_HASH}\"}}\n");
    let rules = opensvc().replace("acl: []\n", RULES).replacen("users:\n", &user, 1);
    let bed = bed_with(&format!("{rules}{SIGN_IN}")).await;
    let cat = Person::signed_in(&bed, "cat").await;
    let snapshot = bed.app.snapshot();
    let owner = snapshot.access.look_up(&Account::parse(&hostile.repeat(2)).unwrap(), None).await.unwrap();
    let (lasting, now) = (snapshot.access.lasting().unwrap(), time::OffsetDateTime::now_utc());
    for number in 0..120 {
        let name = format!("{number:03}{hostile}");
        let new = New { name, expires: Some("90d".parse().unwrap()), limits: Limits::default(), maker: None };
        lasting.make_personal(owner.clone(), new, now).await.unwrap();
    }
    let listed: BTreeSet<String> = cat.listed("/secrets").await.into_iter().collect();
    assert_eq!(listed.len(), 120, "{listed:?}");
}

/// Somebody in a thousand groups, or a question with as many labels, makes no larger page.
#[tokio::test]
async fn why_has_room_for_the_labels_that_fit() {
    let groups: Vec<String> = (0..2000).map(|number| format!("\"<group-{number:04}>\"")).collect();
    let user = format!("users:\n  mia: {{password: \"{ALICE_HASH}\", labels: {{groups: [{}]}}}}\n", groups.join(", "));
    let rules = opensvc().replace("acl: []\n", RULES).replacen("users:\n", &user, 1);
    let bed = bed_with(&format!("{rules}{SIGN_IN}")).await;
    let dan = Person::signed_in(&bed, "dan").await;
    let page = dan.get("/why?account=mia&service=reg&scope=repository:lib/x:pull").await.ok().text();
    assert!(page.len() < 60_000, "{}", page.len());
    let labels = unescaped(&fact(&page, "Labels"));
    assert!(labels.starts_with("groups=[<group-0000>, ") && labels.contains("] and 1"), "{labels}");
    assert!(labels.ends_with(" more") && labels.len() < 4_000, "{labels}");
    for letters in [1_000, 3_900] {
        let asked = format!("service=reg&scope=repository:lib/x:pull&labels=team%3D{}", "x".repeat(letters));
        let page = dan.get(&format!("/why?{asked}")).await.ok().text();
        assert!(page.len() < 60_000, "{letters}: {}", page.len());
    }
    let asked = format!("service=reg&scope=repository:lib/x:pull&labels=team%3D{}", "%3C".repeat(15_000));
    let reply = dan.get(&format!("/why?{asked}")).await;
    let text = reply.text();
    assert!(reply.status == 400 && text.contains("more than the page has room for"), "{text}");
    assert!(text.len() < 60_000, "{}", text.len());
}

/// Row 47 of the reference on sign-in: behind a proxy that has the rest of the host, no way leads out of the prefix.
#[tokio::test]
async fn below_a_prefix_all_ways_on_pages_are_too() {
    let rules = opensvc().replace("acl: []\n", RULES);
    let bed = bed_with(&format!("server: {{addr: \"127.0.0.1:0\", path_prefix: /r}}\n{rules}{SIGN_IN}")).await;
    let form = "account=cat&password=alice-pw";
    let reply = bed.post("/r/sign-in", form).header("sec-fetch-site", "same-origin").send().await;
    assert_eq!((reply.status, reply.header("location")), (303, "/r/account"), "{}", reply.text());
    let cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
    for target in
        ["/account", "/repositories", "/repositories/one?registry=reg&name=lib/x", "/groups", "/secrets", "/why"]
    {
        let page = bed.get(&format!("/r{target}")).header("cookie", &cookie).send().await.ok().text();
        let ways = ["href=\"", "action=\""].into_iter().flat_map(|start| page.split(start).skip(1));
        let ways: Vec<&str> = ways.map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(ways.len() > 5, "{target}: {page}");
        assert!(ways.iter().all(|way| way.starts_with("/r/") || *way == "#main"), "{target}: {ways:?}");
    }
}
