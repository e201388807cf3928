//! Every address of the pages, and whom it answers; and that nobody is shown the way to what is shut.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dockwarden::http::page_addresses;

use crate::bed::{Bed, Reply};
use crate::directory::opensvc;
use crate::management::bed_with;
use crate::pages_managing::{Person, unescaped};

/// Eve runs it. Ann is an ordinary user, and Cat a manager, as the standard rules have them. Dan sees which there are of everything, and
/// none of them.
const RULES: &str = "acl:
  - match: {account: eve, type: dockwarden}
    actions: [list, show, create, change, delete, sweep, renew, revoke, explain, who-can]
  - match: {account: dan, type: dockwarden}
    actions: [list]
  - match: {account: eve, name: \"lib/*\"}
    actions: [\"*\"]
";
const SIGN_IN: &str =
    "sign_in: {secret: b2Ygb3VyIG93biwgYW5kIG9mIG5vYm9keSBlbHNlIQ, url: \"https://auth.example.org\"}\n";
/// The queries in which something stands that only this run knows.
const SECRET: &str = "{secret}";

/// What somebody who asks for an address is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// The page, or that what they sent is not right: it is there for them.
    There,
    /// To sign in.
    SignIn,
    /// That there is nothing.
    Nothing,
    /// That the address takes another method.
    Method,
}
use Told::{Method, Nothing, SignIn, There};

impl Told {
    fn by(reply: &Reply) -> Told {
        match (reply.status, reply.header("location")) {
            (303, "/sign-in") => SignIn,
            (404, _) => Nothing,
            (405, _) => Method,
            // Not right, or the registry behind it is away.
            (200 | 303 | 400 | 409 | 412 | 422 | 428 | 502 | 503, _) => There,
            (status, _) => panic!("{status}: {}", reply.text()),
        }
    }
}

/// An address, what is asked for there, and what nobody, Ann, Cat and Eve are told.
type Row = (&'static str, &'static str, [Told; 4]);

/// Pages that show.
const SHOWN: &[Row] = &[
    ("/sign-in", "", [There; 4]),
    ("/account", "", [SignIn, There, There, There]),
    ("/device", "", [SignIn, There, There, There]),
    ("/account/passwords", "", [Method; 4]),
    ("/account/passwords/{id}/revoke", "", [Method; 4]),
    ("/device/answer", "", [Method; 4]),
    ("/sign-out", "", [Method; 4]),
    ("/account/sign-out-everywhere", "", [Method; 4]),
    ("/repositories", "", [SignIn, There, There, There]),
    ("/repositories/one", "registry=reg&name=lib/x", [SignIn, There, There, There]),
    ("/repositories/one", "registry=reg&name=groups/20/x", [SignIn, Nothing, There, Nothing]),
    ("/repositories/tag", "registry=reg&name=lib/x&tag=v1", [SignIn, There, There, There]),
    ("/repositories/tag", "registry=reg&name=groups/20/x&tag=v1", [SignIn, Nothing, There, Nothing]),
    ("/repositories/callers", "registry=reg&name=groups/20/x&action=push", [SignIn, Nothing, There, Nothing]),
    ("/repositories/callers", "registry=reg&name=lib/x&action=push", [SignIn, There, There, There]),
    ("/repositories/delete", "registry=reg&name=lib/x", [SignIn, Nothing, There, There]),
    ("/registries", "", [SignIn, There, There, There]),
    ("/registries/new", "", [SignIn, Nothing, There, There]),
    ("/registries/one", "name=reg", [SignIn, There, There, There]),
    ("/registries/one", "name=made", [SignIn, Nothing, Nothing, There]),
    ("/registries/sweep", "name=reg", [Method; 4]),
    ("/registries/remove", "name=made", [SignIn, Nothing, Nothing, There]),
    ("/groups", "", [SignIn, There, There, There]),
    ("/groups/new", "", [SignIn, Nothing, Nothing, There]),
    ("/groups/one", "name=dev", [SignIn, There, There, There]),
    ("/groups/one", "name=made", [SignIn, Nothing, Nothing, There]),
    ("/groups/remove", "name=made", [SignIn, Nothing, Nothing, There]),
    ("/apps", "", [SignIn, There, There, There]),
    ("/apps/new", "", [SignIn, Nothing, Nothing, There]),
    ("/apps/one", "name=web", [SignIn, There, There, There]),
    ("/apps/one", "name=made", [SignIn, Nothing, Nothing, There]),
    ("/apps/remove", "name=made", [SignIn, Nothing, Nothing, There]),
    ("/services", "", [SignIn, Nothing, Nothing, There]),
    ("/services/new", "", [SignIn, Nothing, Nothing, There]),
    ("/services/one", "name=web%40n1", [SignIn, Nothing, Nothing, There]),
    ("/services/remove", "name=made%40n1", [SignIn, Nothing, Nothing, There]),
    ("/users", "", [SignIn, There, There, There]),
    ("/users/new", "", [SignIn, Nothing, Nothing, There]),
    ("/users/one", "name=ann", [SignIn, There, Nothing, There]),
    ("/users/remove", "name=made", [SignIn, Nothing, Nothing, There]),
    ("/secrets", "", [SignIn, Nothing, Nothing, There]),
    ("/secrets", "account=web%40n1", [SignIn, Nothing, Nothing, There]),
    ("/secrets", "robot=ci", [SignIn, Nothing, Nothing, There]),
    ("/secrets/new", "", [SignIn, Nothing, Nothing, There]),
    ("/secrets/new", "account=web%40n1", [SignIn, Nothing, Nothing, There]),
    ("/secrets/one", "id={secret}", [SignIn, Nothing, Nothing, There]),
    ("/secrets/renew", "id={secret}", [SignIn, Nothing, Nothing, There]),
    ("/secrets/revoke", "id={secret}", [SignIn, Nothing, Nothing, There]),
    ("/why", "", [SignIn, Nothing, Nothing, There]),
    ("/why", "scope=repository:lib/x:pull", [SignIn, Nothing, Nothing, There]),
    ("/why/who", "", [SignIn, Nothing, Nothing, There]),
    ("/overview", "", [SignIn, Nothing, Nothing, There]),
    ("/decisions", "id=0123456789abcdef", [SignIn, Nothing, Nothing, There]),
    // None of these is in the file.
    ("/oidc_auth", "", [Nothing; 4]),
    ("/oidc_auth/{name}", "", [Nothing; 4]),
    ("/google_auth", "", [Nothing; 4]),
    ("/google_auth/{name}", "", [Nothing; 4]),
    ("/github_auth", "", [Nothing; 4]),
    ("/github_auth/{name}", "", [Nothing; 4]),
    ("/gitlab_auth", "", [Nothing; 4]),
    ("/gitlab_auth/{name}", "", [Nothing; 4]),
];

/// Forms that are sent. What would end something for good is sent so that it does not, for whom it is there.
const SENT: &[Row] = &[
    ("/sign-in", "account=ann&password=wrong", [There; 4]),
    ("/account", "", [Method; 4]),
    ("/device", "user_code=BCDFGHJK", [SignIn, There, There, There]),
    ("/device/answer", "user_code=BCDFGHJK&answer=approve", [SignIn, There, There, There]),
    ("/account/passwords", "name=x&days=3", [SignIn, There, There, There]),
    ("/account/passwords/{id}/revoke", "", [SignIn, Nothing, Nothing, Nothing]),
    ("/repositories/delete", "registry=reg&name=lib/x&tag=v1&digest=sha256:0", [SignIn, Nothing, There, There]),
    ("/registries/new", "name=x&url=nonsense", [SignIn, Nothing, There, There]),
    ("/registries/one", "name=made&version=99&url=https://x.example", [SignIn, Nothing, Nothing, There]),
    ("/registries/sweep", "name=reg", [SignIn, Nothing, There, There]),
    ("/registries/remove", "name=made&version=99", [SignIn, Nothing, Nothing, There]),
    ("/groups/new", "name=x&id=91&privileges=nonsense", [SignIn, Nothing, Nothing, There]),
    ("/groups/one", "name=made&version=99", [SignIn, Nothing, Nothing, There]),
    ("/groups/remove", "name=made&version=99", [SignIn, Nothing, Nothing, There]),
    ("/apps/new", "name=x&id=191&publications=nobody", [SignIn, Nothing, Nothing, There]),
    ("/apps/one", "name=made&version=99", [SignIn, Nothing, Nothing, There]),
    ("/apps/remove", "name=made&version=99", [SignIn, Nothing, Nothing, There]),
    ("/services/new", "name=x%40n1&app=nothing", [SignIn, Nothing, Nothing, There]),
    ("/services/one", "name=made%40n1&version=99&app=made", [SignIn, Nothing, Nothing, There]),
    ("/services/remove", "name=made%40n1&version=99", [SignIn, Nothing, Nothing, There]),
    ("/users/new", "name=x&id=291&groups=nothing", [SignIn, Nothing, Nothing, There]),
    ("/users/one", "name=made&version=99", [SignIn, Nothing, Nothing, There]),
    ("/users/remove", "name=made&version=99", [SignIn, Nothing, Nothing, There]),
    ("/groups/new", "name=x&id=none", [SignIn, Nothing, Nothing, There]),
    ("/groups/one", "name=dev&version=1&privileges=nonsense", [SignIn, Nothing, Nothing, There]),
    ("/users/one", "name=made&version=99&quota=many", [SignIn, Nothing, Nothing, There]),
    ("/users/one", "name=nobody&version=99&quota=many", [SignIn, Nothing, Nothing, Nothing]),
    ("/secrets/new", "robot=CI&name=x&expires=soon", [SignIn, Nothing, Nothing, There]),
    ("/secrets/new", "robot=ci&name=x&expires=soon", [SignIn, Nothing, Nothing, There]),
    ("/secrets/new", "account=web%40n1&name=x&expires=soon", [SignIn, Nothing, Nothing, There]),
    ("/secrets/renew", "id={secret}&expires=soon", [SignIn, Nothing, Nothing, There]),
    ("/secrets/revoke", "id=nothing", [SignIn, Nothing, Nothing, Nothing]),
    ("/overview", "", [Method; 4]),
    ("/why", "scope=repository:lib/x:pull", [Method; 4]),
];

/// A server with something of each kind that can be removed, and the id of a secret.
async fn bed() -> (Bed, String) {
    let bed = bed_with(&format!("{}{SIGN_IN}", opensvc().replace("acl: []\n", RULES))).await;
    let eve = Person::signed_in(&bed, "eve").await;
    for (target, form) in [
        ("/groups/new", "name=made&id=90"),
        ("/apps/new", "name=made&id=190&publications=made"),
        ("/services/new", "name=made%40n1&app=made"),
        ("/users/new", "name=made&id=290&groups=made"),
        ("/registries/new", "name=made&url=https://made.example.org&publications=made&responsibles=made"),
    ] {
        let made = eve.post(target, form).await;
        assert_eq!(made.status, 303, "{target}: {}", made.text());
    }
    let made = eve.post("/secrets/new", "robot=ci&new=1&name=deploy&expires=90d").await.ok().text();
    eve.post("/secrets/new", "account=web%40n1&name=node&expires=90d").await.ok();
    let id = made.split_once("/secrets/one?id=").unwrap().1.split('"').next().unwrap().to_owned();
    (bed, id)
}

/// Those of the table, in its order, and Dan.
async fn people(bed: &Bed) -> [(&'static str, Option<Person<'_>>); 5] {
    let dan = Person::signed_in(bed, "dan").await;
    let ann = Person::signed_in(bed, "ann").await;
    let (cat, eve) = (Person::signed_in(bed, "cat").await, Person::signed_in(bed, "eve").await);
    [("nobody", None), ("ann", Some(ann)), ("cat", Some(cat)), ("eve", Some(eve)), ("dan", Some(dan))]
}

#[tokio::test]
async fn each_address_answers_whom_it_is_for() {
    let (bed, id) = bed().await;
    let in_table: BTreeSet<String> = SHOWN.iter().map(|(path, ..)| (*path).to_owned()).collect();
    assert_eq!(in_table, page_addresses().into_iter().collect(), "the table has all addresses");
    let people = people(&bed).await;
    let mut wrong = Vec::new();
    for (path, query, expected) in SHOWN {
        let path = path.replace("{id}", &id).replace("{name}", "work");
        let target = format!("{path}?{}", query.replace(SECRET, &id));
        for ((who, person), expected) in people.iter().zip(expected) {
            let reply = match person {
                Some(person) => person.get(&target).await,
                None => bed.get(&target).send().await,
            };
            // Who has signed in is led from where one signs in.
            let told = Told::by(&reply);
            if told != *expected {
                wrong.push(format!("GET {target} of {who}: {told:?}, and not {expected:?}"));
            }
        }
    }
    for (path, form, expected) in SENT {
        let (target, form) = (path.replace("{id}", &id), form.replace(SECRET, &id));
        for ((who, person), expected) in people.iter().zip(expected) {
            let reply = match person {
                Some(person) => person.post(&target, &form).await,
                None => bed.post(&target, &form).header("sec-fetch-site", "same-origin").send().await,
            };
            let told = match (path, reply.status) {
                // A wrong password is no page that is shut.
                (&"/sign-in", 401 | 429) | (&"/device" | &"/device/answer", 429) => There,
                _ => Told::by(&reply),
            };
            if told != *expected {
                wrong.push(format!("POST {target} {form} of {who}: {told:?}, and not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The ways on a page: what it links to, and where its forms are, each with what it sends along unseen.
fn ways(page: &str) -> BTreeSet<String> {
    let mut ways: BTreeSet<String> = BTreeSet::new();
    for link in page.split("<a href=\"").skip(1) {
        ways.insert(unescaped(link.split('"').next().unwrap()));
    }
    for form in page.split("<form ").skip(1) {
        let form = form.split("</form>").next().unwrap();
        let action = form.split("action=\"").nth(1).unwrap().split('"').next().unwrap();
        let mut query = form_urlencoded::Serializer::new(String::new());
        for hidden in form.split("type=\"hidden\" name=\"").skip(1) {
            let (name, rest) = hidden.split_once("\" value=\"").unwrap();
            // Another one each time, which an address does not need.
            if name != "once" {
                query.append_pair(name, &unescaped(rest.split('"').next().unwrap()));
            }
        }
        ways.insert(format!("{}?{}", unescaped(action), query.finish()));
    }
    ways.retain(|way| way.starts_with('/'));
    ways
}

/// Whoever follows all that they are shown never comes to what is shut, and comes to all kinds of pages that are there for them.
#[tokio::test]
async fn no_page_has_a_way_to_what_is_shut() {
    let (bed, _) = bed().await;
    for (place, (who, person)) in people(&bed).await.iter().enumerate() {
        let Some(person) = person else { continue };
        let mut queue: VecDeque<(String, String)> = [(String::new(), "/account".to_owned())].into();
        let mut seen: BTreeMap<String, u16> = BTreeMap::new();
        while let Some((from, target)) = queue.pop_front() {
            if seen.contains_key(&target) {
                continue;
            }
            let reply = person.get(&target).await;
            // What a form alone is for is no page to look at; a registry or the turn of others may not be there now.
            let is_there = matches!(reply.status, 200 | 303 | 405 | 400 | 502 | 503);
            assert!(is_there, "{who}: {from} has the way {target}: {}", reply.status);
            seen.insert(target.clone(), reply.status);
            if reply.status == 200 {
                queue.extend(ways(&reply.text()).into_iter().map(|way| (target.clone(), way)));
            }
            assert!(seen.len() < 500, "{seen:?}");
        }
        if *who == "dan" {
            let page = person.get("/groups").await.ok().text() + &person.get("/secrets").await.ok().text();
            assert!(page.contains(">made</th>") && page.contains(">deploy</th>"), "he sees their names: {page}");
        }
        let reached: BTreeSet<&str> = seen.keys().map(|target| target.split('?').next().unwrap()).collect();
        // A code's page is found from a terminal, and the ways in by who has not signed in.
        for (path, _, expected) in SHOWN.iter().filter(|(path, ..)| !matches!(*path, "/device" | "/sign-in")) {
            if expected.get(place) == Some(&There) {
                assert!(reached.contains(path), "{who} finds no way to {path}: {reached:?}");
            }
        }
    }
}
