//! The pages about repositories, registries and the directory: what each shows to whom, and that what somebody may not have is not there.

use std::collections::BTreeSet;

use axum::http::Method;
use dockwarden::records::catalogue::{Description, Listing, Mark, SweepNumber};
use time::OffsetDateTime;

use crate::bed::{ALICE_HASH, Bed, Chunk, Reply};
use crate::directory::{granted, opensvc, ready};
use crate::management::bed_with;

pub(crate) const SIGN_IN: &str = "sign_in: {secret: b2Ygb3VyIG93biwgYW5kIG9mIG5vYm9keSBlbHNlIQ}\n";
pub(crate) const PEOPLE: [&str; 5] = ["ann", "bob", "cat", "dan", "eve"];
pub(crate) const NAMES: [&str; 9] = [
    "apps/100/x",
    "apps/101/x",
    "apps/999/x",
    "appstore/x",
    "groups/10/x",
    "groups/20/x",
    "lib/x",
    "users/1/x",
    "users/2/x",
];
/// All that the pages show, but for those that only take forms.
const SHOWN: [&str; 30] = [
    "/account",
    "/repositories",
    "/repositories/one?registry=reg&name=lib/x",
    "/repositories/callers?registry=reg&name=lib/x&action=push",
    "/repositories/delete?registry=reg&name=lib/x",
    "/registries",
    "/registries/new",
    "/registries/one?name=reg",
    "/groups",
    "/groups/new",
    "/groups/one?name=dev",
    "/apps",
    "/apps/new",
    "/apps/one?name=web",
    "/services",
    "/services/new",
    "/services/one?name=web%40n1",
    "/users",
    "/users/new",
    "/users/one?name=ann",
    "/users/one?name=cat",
    "/secrets",
    "/secrets?robot=ci",
    "/secrets/new",
    "/why",
    "/why?scope=repository:lib/x:pull,push&account=ann&labels=team%3Dweb",
    "/why/who",
    "/why/who?action=push&resource=repository:lib/x",
    "/overview",
    "/decisions?id=0123456789abcdef",
];

async fn bed() -> Bed {
    bed_with(&format!("{}{SIGN_IN}", opensvc())).await
}

/// The same where Cat may do everything with the directory.
async fn bed_of_cat() -> Bed {
    let actions = "list, show, create, change, delete, sweep, renew, revoke, explain, who-can";
    let rule = format!("acl: [{{match: {{account: cat, type: dockwarden}}, actions: [{actions}]}}]");
    bed_with(&format!("{}{SIGN_IN}", opensvc().replace("acl: []", &rule))).await
}

/// Somebody who has signed in.
pub(crate) struct Person<'bed> {
    bed: &'bed Bed,
    cookie: String,
}

impl Person<'_> {
    pub(crate) async fn signed_in<'bed>(bed: &'bed Bed, who: &str) -> Person<'bed> {
        let asked = bed.post("/sign-in", &format!("account={who}&password=alice-pw"));
        let reply = asked.header("sec-fetch-site", "same-origin").send().await;
        assert_eq!((reply.status, reply.header("location")), (303, "/account"), "{who}: {}", reply.text());
        let cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
        Person { bed, cookie }
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.bed.get(target).header("cookie", &self.cookie).send().await
    }

    pub(crate) async fn post(&self, target: &str, form: &str) -> Reply {
        let asked = self.bed.post(target, form).header("cookie", &self.cookie);
        asked.header("sec-fetch-site", "same-origin").send().await
    }

    /// The texts of the first cells of the rows, over all pages of a list.
    pub(crate) async fn listed(&self, target: &str) -> Vec<String> {
        let (mut all, mut target) = (Vec::new(), target.to_owned());
        loop {
            let text = self.get(&target).await.ok().text();
            assert!(text.len() < 60_000, "{target}: {}", text.len());
            let rows = text.split("<th scope=\"row\">").skip(1);
            all.extend(rows.map(|row| {
                let cell = row.split("</th>").next().unwrap();
                let inner = cell.split_once('>').map_or(cell, |(_, rest)| rest);
                inner.split('<').next().unwrap().to_owned()
            }));
            let Some((before, _)) = text.split_once("\" rel=\"next\"") else { return all };
            target = unescaped(before.rsplit("href=\"").next().unwrap());
        }
    }
}

pub(crate) fn unescaped(text: &str) -> String {
    text.replace("&#34;", "\"")
        .replace("&#38;", "&")
        .replace("&amp;", "&")
        .replace("&#39;", "'")
        .replace("&#60;", "<")
        .replace("&#62;", ">")
}

/// The version that a form sends along.
fn version(page: &str) -> &str {
    page.split_once("name=\"version\" value=\"").unwrap().1.split('"').next().unwrap()
}

#[tokio::test]
async fn a_list_of_repositories_has_exactly_what_pulling_would_give() {
    let bed = bed().await;
    for who in PEOPLE {
        let person = Person::signed_in(&bed, who).await;
        let mut may = Vec::new();
        for name in NAMES {
            if granted(&bed, who, &format!("repository:{name}:pull"), "reg").await == "pull" {
                may.push(name.to_owned());
            }
        }
        assert_eq!(person.listed("/repositories").await, may, "{who}");
        assert_eq!(person.listed("/repositories?registry=vault").await, [""; 0], "{who}");
        let found = person.listed("/repositories?search=USERS/").await;
        assert!(found.iter().all(|name| name.starts_with("users/")), "{found:?}");
        for name in NAMES {
            let page = person.get(&format!("/repositories/one?registry=reg&name={name}")).await;
            let pulls = may.iter().any(|own| own == name);
            let deletes = granted(&bed, who, &format!("repository:{name}:delete"), "reg").await == "delete";
            assert_eq!(page.status, if pulls || deletes { 200 } else { 404 }, "{who} {name}");
            let command = format!("<code class=\"copy\">docker pull reg/{name}:v1</code>");
            assert_eq!(unescaped(&page.text()).contains(&command), pulls, "{who} {name}");
            let target = format!("/repositories/delete?registry=reg&name={name}");
            assert_eq!(person.get(&target).await.status, if deletes { 200 } else { 404 }, "{who} {name}");
            // What speaks of a tag, and names none, never means all of them; nor does a form of when there were others.
            for (more, status) in [("tag=%20&digest=x", 400), ("tag=v1&tag=v1&digest=x", 400), ("tags=999", 412)] {
                let reply = person.post("/repositories/delete", &format!("registry=reg&name={name}&{more}")).await;
                assert_eq!(reply.status, if deletes { status } else { 404 }, "{who} {name} {more}: {}", reply.text());
            }
            if !deletes {
                let form = format!("registry=reg&name={name}&tag=v1&digest=sha256:0");
                assert_eq!(person.post("/repositories/delete", &form).await.status, 404, "{who} {name}");
                assert!(!page.text().contains("Delete"), "{who} {name}");
            }
        }
    }
}

/// Registries list `a/b` before `a-b`, and pages are cut between any two names.
#[tokio::test]
async fn no_repository_is_lost_between_two_pages() {
    let bed = bed().await;
    let snapshot = bed.app.snapshot();
    let records = &snapshot.records.as_ref().unwrap().records;
    let names: Vec<String> = (0..130).flat_map(|at| [format!("p{at}/b"), format!("p{at}-b")]).collect();
    let now = OffsetDateTime::now_utc();
    for service in ["reg", "vault"] {
        records.found(service, SweepNumber(1), &names, now).await.unwrap();
        let listing = |name: &String| Listing { repository: name.clone(), tags: vec!["v1".to_owned()], asked: now };
        records.listed(service, &names.iter().map(listing).collect::<Vec<_>>(), now).await.unwrap();
    }
    // The lists are read again with it.
    let text = Description { text: String::new(), official: Mark::Unset, automated: Mark::Unset };
    snapshot.catalogue.as_ref().unwrap().describe("reg", "lib/x", &text).await.unwrap();
    let cat = Person::signed_in(&bed, "cat").await;
    for service in ["reg", "vault"] {
        let listed = cat.listed(&format!("/repositories?registry={service}&search=p")).await;
        let once: BTreeSet<&String> = listed.iter().collect();
        assert!(names.iter().all(|name| once.contains(name)), "{service}: {listed:?}");
        assert_eq!(once.len(), listed.len());
    }
    let all = cat.listed("/repositories?search=-b").await;
    assert_eq!(all.len(), 260, "{all:?}");
}

#[tokio::test]
async fn what_somebody_may_not_have_is_neither_shown_nor_to_be_had() {
    let bed = bed().await;
    for (who, registries) in [("ann", true), ("eve", true), ("dan", false)] {
        let person = Person::signed_in(&bed, who).await;
        let account = person.get("/repositories").await.ok().text();
        assert_eq!(account.contains("href=\"/registries\""), registries, "{who}: {account}");
        for (target, is_there) in [
            ("/registries", registries),
            ("/registries/one?name=reg", registries),
            ("/registries/one?name=none", false),
            ("/registries/new", false),
            ("/registries/remove?name=reg", false),
            ("/groups/new", false),
            ("/groups/one?name=ops", false),
            ("/groups/remove?name=dev", false),
            ("/users/one?name=cat", false),
            ("/services/new", false),
        ] {
            let reply = person.get(target).await;
            assert_eq!(reply.status, if is_there { 200 } else { 404 }, "{who} {target}: {}", reply.text());
        }
        for (target, form) in [
            ("/registries/new", "name=other&url=https://other.example.org"),
            ("/registries/one", "name=reg&version=1&url=https://other.example.org"),
            ("/registries/remove", "name=reg&version=1"),
            ("/registries/sweep", "name=reg"),
            ("/groups/new", "name=other&id=90"),
            ("/groups/one", "name=dev&version=1&privileges=manager"),
            ("/groups/remove", "name=dev&version=1"),
            ("/users/one", "name=ann&version=1&privileges=manager"),
        ] {
            let reply = person.post(target, form).await;
            assert_eq!(reply.status, 404, "{who} {target}: {}", reply.text());
        }
        let page = person.get("/registries/one?name=reg").await.text();
        assert!(!page.contains("Sweep now") && !page.contains("Save"), "{page}");
    }
    for target in SHOWN {
        let reply = bed.get(target).send().await;
        assert_eq!((reply.status, reply.header("location")), (303, "/sign-in"), "{target}");
    }
}

#[tokio::test]
async fn a_manager_declares_changes_and_removes_a_registry() {
    let bed = bed().await;
    let cat = Person::signed_in(&bed, "cat").await;
    let form = cat.get("/registries/new").await.ok().text();
    assert!(form.contains("name=\"restricted\" value=\"1\" checked"), "as it is by the API and by command: {form}");
    assert!(form.contains("action=\"/registries/new\""), "{form}");
    let refused = cat.post("/registries/new", "name=new&url=nonsense").await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    let made =
        cat.post("/registries/new", "name=new&url=https://new.example.org&publications=dev&responsibles=20").await;
    assert_eq!((made.status, made.header("location")), (303, "/registries/one?name=new"), "{}", made.text());
    assert!(cat.listed("/registries").await.contains(&"new".to_owned()));
    let page = cat.get("/registries/one?name=new").await.ok().text();
    assert!(page.contains("https://new.example.org") && page.contains("Declared by"), "{page}");
    let seen = version(&page).to_owned();
    let change = format!("name=new&version={seen}&url=https://newer.example.org&publications=dev&responsibles=20");
    assert_eq!(cat.post("/registries/one", &change).await.status, 303);
    assert_eq!(cat.post("/registries/one", &change).await.status, 412, "it has another version by now");
    let page = cat.get("/registries/one?name=new").await.ok().text();
    assert!(page.contains("https://newer.example.org"), "{page}");
    let ask = cat.get("/registries/remove?name=new").await.ok().text();
    let remove = format!("name=new&version={}", version(&ask));
    assert_eq!(cat.post("/registries/remove", &remove).await.status, 303);
    assert_eq!(cat.get("/registries/one?name=new").await.status, 404);
    // That of the file is changed there.
    let page = cat.get("/registries/one?name=reg").await.ok().text();
    assert!(page.contains("in the file") && page.contains("Sweep now") && !page.contains("Save"), "{page}");
}

/// Row 35 of the reference on policy tooling: attackers choose names.
#[tokio::test]
async fn names_are_inert_in_all_lists() {
    let bed = bed_of_cat().await;
    let cat = Person::signed_in(&bed, "cat").await;
    let name = "%3Cscript%3Ealert(1)%3C/script%3E%22'%26";
    for (path, more) in [
        ("groups", "&id=90&privileges=puller%0Apusher"),
        ("apps", "&id=190&publications=dev"),
        ("users", "&id=290&groups=dev&quota=3"),
    ] {
        let made = cat.post(&format!("/{path}/new"), &format!("name={name}{more}")).await;
        assert_eq!(made.status, 303, "{path}: {}", made.text());
        let one = format!("/{path}/one?name={name}");
        for target in
            [format!("/{path}"), format!("/{path}?search={name}"), one.clone(), format!("/{path}/remove?name={name}")]
        {
            let text = cat.get(&target).await.ok().text();
            assert!(!text.contains("<script") && text.contains("&#60;script&#62;alert(1)"), "{target}: {text}");
        }
        let seen = cat.get(&one).await.ok().text();
        let changed = cat.post(&format!("/{path}/one"), &format!("name={name}&version={}", version(&seen))).await;
        assert_eq!(changed.status, 303, "{path}: {}", changed.text());
        let ask = cat.get(&format!("/{path}/remove?name={name}")).await.ok().text();
        let removed = cat.post(&format!("/{path}/remove"), &format!("name={name}&version={}", version(&ask))).await;
        assert_eq!(removed.status, 303, "{path}: {}", removed.text());
        assert_eq!(cat.get(&one).await.status, 404, "{path}");
    }
    let text = cat.get("/repositories").await.ok().text();
    assert!(text.contains("What &#60;everybody&#62; needs"), "{text}");
}

/// Whoever looks a group or an app up sees all of it, on as many pages as it takes.
#[tokio::test]
async fn all_members_of_a_group_and_all_services_of_an_app_are_listed() {
    let bed = bed_of_cat().await;
    let cat = Person::signed_in(&bed, "cat").await;
    let all = async || {
        let [users, services] = ["/groups/one?name=dev", "/apps/one?name=web"].map(|target| cat.listed(target));
        [users.await, services.await].map(|names| names.into_iter().collect::<BTreeSet<_>>())
    };
    let [mut users, mut services] = all().await;
    for number in 0..60 {
        let (user, service) = (format!("u{number:02}"), format!("web@s{number:02}"));
        let made = cat.post("/users/new", &format!("name={user}&id={}&groups=dev", 1000 + number)).await;
        assert_eq!(made.status, 303, "{}", made.text());
        let made = cat.post("/services/new", &format!("name={service}&app=web")).await;
        assert_eq!(made.status, 303, "{}", made.text());
        users.insert(user);
        services.insert(service);
    }
    assert_eq!(all().await, [users, services]);
}

/// Whoever may make the first of a kind finds the page where that is done, before there is any.
#[tokio::test]
async fn who_may_make_the_first_of_a_kind_is_shown_the_way() {
    let users = ["ann", "eve"].map(|name| format!("  {name}: {{password: \"{ALICE_HASH}\"}}\n")).concat();
    let rule = "{match: {account: eve, type: dockwarden}, actions: [list, show, create]}";
    let bed = Bed::with(&format!(
        "users:\n{users}acl: [{rule}]\ndirectory: {{}}\nrecords: {{sqlite: $DIR/dockwarden.db}}\n{SIGN_IN}"
    ));
    ready(&bed).await;
    let (ann, eve) = (Person::signed_in(&bed, "ann").await, Person::signed_in(&bed, "eve").await);
    let [for_ann, for_eve] = [ann.get("/account").await.ok().text(), eve.get("/account").await.ok().text()];
    for path in ["/groups", "/apps", "/services", "/users"] {
        let way = format!("<a href=\"{path}\"");
        assert!(for_eve.contains(&way) && !for_ann.contains(&way), "{path}: {for_eve} {for_ann}");
        assert!(eve.get(path).await.ok().text().contains(&format!("href=\"{path}/new\"")), "{path}");
        assert_eq!(ann.get(path).await.status, 404, "{path}");
    }
    let made = eve.post("/users/new", "name=zoe&id=1").await;
    assert_eq!(made.status, 303, "{}", made.text());
}

/// A form may be as long as what the API takes; of one that is not taken, it is said why.
#[tokio::test]
async fn a_form_may_have_as_much_as_a_body_of_the_api() {
    let bed = bed_of_cat().await;
    let cat = Person::signed_in(&bed, "cat").await;
    let form = |length: usize| format!("name=big&id=90&privileges=puller&more={}", "x".repeat(length));
    let reply = cat.post("/groups/new", &form(70_000)).await;
    assert_eq!(reply.status, 413, "{}", reply.text());
    assert!(reply.text().contains("longer than 64 KiB"), "{}", reply.text());
    let broken = bed.post("/groups/new", "").header("cookie", &cat.cookie).header("sec-fetch-site", "same-origin");
    let reply = broken.chunks([Chunk::Data("name=big&id=90"), Chunk::Broken]).send().await;
    assert!(reply.status == 400 && reply.text().contains("broke off"), "{}", reply.text());
    let reply = cat.post("/groups/new", &form(60_000)).await;
    assert_eq!(reply.status, 303, "{}", reply.text());
}

/// Whoever is told that something did not work is still signed in, learns what was wrong, and finds back.
#[tokio::test]
async fn a_page_that_tells_a_problem_is_still_theirs() {
    let bed = bed_of_cat().await;
    let cat = Person::signed_in(&bed, "cat").await;
    assert_eq!(cat.post("/groups/new", "name=new&id=91").await.status, 303);
    let stale = "href=\"/groups/one?name=new\">See it as it is now";
    for (target, form, status, pieces) in [
        ("/users/new", "name=x&id=abc", 400, ["action=\"/users/new\"", "alert\">Id: write a whole number"]),
        ("/users/new", "name=x&id=1000&quota=many", 400, ["action=\"/users/new\"", "Quota of registries: write"]),
        ("/account/passwords", "name=x&days=3", 400, ["action=\"/account/passwords\"", "alert\">Good for: choose"]),
        ("/groups/one", "name=new&version=9", 412, [stale, "somebody else changed it"]),
        ("/groups/one", "name=new", 428, [stale, "open it once more"]),
        ("/groups/one", "name=none&version=9", 404, ["<nav", "Decision"]),
        ("/groups/new", &"x".repeat(70_000), 413, ["<nav", "64 KiB"]),
    ] {
        let reply = cat.post(target, form).await;
        let text = unescaped(&reply.text());
        assert_eq!(reply.status, status, "{target}: {text}");
        assert!(pieces.iter().all(|piece| text.contains(piece)), "{target}: {text}");
        assert!(text.contains("<span>cat</span>") && text.contains("href=\"/groups\""), "{target}: {text}");
        assert!(!text.contains("/sign-in") && !text.contains("If-Match"), "{target}: {text}");
    }
    let text = cat.get("/groups/one?name=none").await.text();
    assert!(text.contains("<span>cat</span>") && !text.contains("/sign-in") && !text.contains("the form"), "{text}");
    let nobody = bed.post("/sign-in", "account=cat&password=wrong").header("sec-fetch-site", "same-origin");
    assert!(nobody.send().await.text().contains("action=\"/sign-in\""), "who has not signed in is shown where to");
}

/// What was typed comes back with what is wrong with it, and is to be sent again as what it was made for.
#[tokio::test]
async fn a_form_that_is_not_right_comes_back_as_it_was_typed() {
    let bed = bed_of_cat().await;
    let cat = Person::signed_in(&bed, "cat").await;
    assert_eq!(cat.post("/users/new", "name=new&id=1001&groups=dev").await.status, 303);
    let line = |name: &str, value: &str| format!(" name=\"{name}\" value=\"{value}\"");
    let lines = |name: &str, value: &str| format!(" name=\"{name}\" rows=\"3\">{value}</textarea>");
    let ticked = |name: &str| format!("name=\"{name}\" value=\"1\" checked");
    for (target, form, status, pieces) in [
        (
            "/users/new",
            "name=%3Cb%3E&id=abc&groups=dev%0D%0Aops&primary_group=dev&quota=7",
            400,
            vec![
                line("name", "<b>"),
                line("id", "abc"),
                lines("groups", "dev\r\nops"),
                line("primary_group", "dev"),
                line("quota", "7"),
            ],
        ),
        (
            "/groups/new",
            "name=dev&id=95&privileges=pusher",
            409,
            vec![line("name", "dev"), lines("privileges", "pusher")],
        ),
        (
            "/registries/new",
            "name=x&url=nonsense&hosts=h&restricted=1",
            422,
            vec![line("url", "nonsense"), lines("hosts", "h"), ticked("restricted")],
        ),
        // What others made of it meanwhile is not lost by it.
        ("/users/one", "name=new&version=99&quota=many", 400, vec![line("version", "99"), line("quota", "many")]),
        (
            "/secrets/new",
            "robot=ci&new=1&labels=team%3Dweb&name=deploy&expires=soon",
            400,
            vec![line("robot", "ci"), ticked("new"), lines("labels", "team=web"), line("expires", "soon")],
        ),
    ] {
        let reply = cat.post(target, form).await;
        let text = reply.text();
        assert_eq!(reply.status, status, "{target}: {text}");
        assert!(text.contains("<p role=\"alert\">") && text.contains("<form method=\"post\""), "{target}: {text}");
        assert!(!text.contains("<b>"), "{target}: {text}");
        let text = unescaped(&text);
        for piece in pieces {
            assert!(text.contains(&piece), "{target}: {piece} in {text}");
        }
    }
    // Whoever has a password is asked for it again.
    let asked = bed.post("/sign-in", "account=ann%22%3E&password=canary").header("sec-fetch-site", "same-origin");
    let reply = asked.send().await;
    let text = reply.text();
    assert!(reply.status == 401 && text.contains("<p role=\"alert\">"), "{text}");
    assert!(
        unescaped(&text).contains("value=\"ann\">\"") && !text.contains("canary") && !text.contains("ann\">"),
        "{text}"
    );
}

/// A proxy that passes on what the documentation says passes on each page.
#[test]
fn the_proxys_lines_and_the_table_of_addresses_have_all_pages() {
    let pages = crate::pages::pages_below("");
    let (lines, table) = (&pages["how-to/sign-in.md"], &pages["reference/http.md"]);
    let passed: Vec<&str> = lines.lines().filter(|line| line.trim_start().starts_with("location ~ ^/(")).collect();
    for target in SHOWN {
        let first = target.split(['/', '?']).nth(1).unwrap();
        let stands = |line: &&str| line.contains(&format!("({first}|")) || line.contains(&format!("|{first}"));
        assert!(passed.iter().any(stands), "{target}: {passed:?}");
        assert!(table.contains(&format!("`/{first}`")), "{target}");
    }
}

/// Rows 34 and 36: nothing of others, no script, each thing to fill in has its label, and the headings follow each other.
#[tokio::test]
async fn every_page_is_ours_alone_small_and_readable_without_a_mouse() {
    let bed = bed_of_cat().await;
    let cat = Person::signed_in(&bed, "cat").await;
    for target in SHOWN {
        // Who may do something is asked by other tests as well, and there is one turn for all.
        let mut reply = cat.get(target).await;
        while reply.status == 503 {
            reply = cat.get(target).await;
        }
        assert_eq!(reply.status, 200, "{target}: {}", reply.text());
        let policy = reply.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'self';") && !policy.contains("script"), "{policy}");
        assert_eq!(reply.header("x-frame-options"), "DENY");
        assert_eq!(reply.header("cache-control"), "no-store");
        let head = bed.request(Method::HEAD, target).header("cookie", &cat.cookie).send().await;
        assert!(head.status == 200 || head.status == 503, "{target}: {}", head.status);
        assert_eq!(head.text(), "", "{target}");
        let text = reply.text();
        assert!(
            text.len() < 60_000 && !text.contains("<script") && !text.contains(" style=") && !text.contains(" onclick")
        );
        assert_eq!(text.matches("<h1>").count(), 1, "{target}");
        assert!(
            text.contains("<main id=\"main\">") && text.contains("<nav aria-label=") && text.contains("<html lang=")
        );
        let mut ids = BTreeSet::new();
        for id in text.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(ids.insert(id), "{target}: two of the id {id}");
        }
        for start in ["<input id=\"", "<textarea id=\"", "<select id=\""] {
            for id in text.split(start).skip(1).map(|rest| rest.split('"').next().unwrap()) {
                assert!(text.contains(&format!("<label for=\"{id}\">")), "{target}: {id} has no label");
            }
        }
        for path in ["/registries/new", "/groups/new", "/repositories/delete", "/registries/sweep", "/secrets/new"] {
            let foreign = bed.post(path, "name=x&id=9").header("cookie", &cat.cookie);
            assert_eq!(foreign.header("sec-fetch-site", "cross-site").send().await.status, 403, "{path}");
        }
    }
}
