//! Every page in a real browser, light and dark, narrow and wide: what axe finds, the way of the Tab key, what the browser says of our
//! policy for pages, and how large it all is. `DOCKWARDEN_PICTURES=1` makes the pictures in `docs/images` anew meanwhile.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use super::people::{Site, made};
use crate::support::browser::{Browser, Window};
use crate::support::dockwarden::{self, password};
use crate::support::image::{self, TAG};
use crate::support::process::until;
use crate::support::registry::Edition;
use crate::support::{client, http, part, visit};

/// A page and all that it loads, in bytes.
const LARGEST: u64 = 60_000;
/// A picture, in bytes; and how wide and high it is at most, in pixels.
const LARGEST_PICTURE: u64 = 40_000;
const DESK: (u32, u32) = (1100, 860);
const LOW: (u32, u32) = (1100, 590);
const HAND: (u32, u32) = (360, 900);

/// Light and dark, on a desk and in a hand.
const WINDOWS: [Window; 4] = [
    Window { scheme: "light", width: 1280, script: true },
    Window { scheme: "dark", width: 1280, script: true },
    Window { scheme: "light", width: 320, script: true },
    Window { scheme: "dark", width: 320, script: true },
];

/// For which passwords are made, one a round.
const MACHINES: [&str; WINDOWS.len()] = ["laptop", "desktop", "telephone", "tablet"];

/// The pages, each with the name of its picture, if it has one.
const PAGES: [(&str, &str); 35] = [
    ("/account", "passwords"),
    ("/device", ""),
    ("/device?user_code=$CODE", "device"),
    ("/repositories", "repositories"),
    ("/repositories?search=none", ""),
    ("/repositories/one?registry=reg&name=groups/10/web", "repository"),
    ("/repositories/tag?registry=reg&name=groups/10/web&tag=v1", "tag"),
    ("/repositories/callers?registry=reg&name=groups/10/web&action=push", ""),
    ("/repositories/delete?registry=reg&name=groups/10/web", ""),
    ("/registries", "registries"),
    ("/registries/new", "new-registry"),
    ("/registries/one?name=reg", "registry"),
    ("/registries/one?name=added", ""),
    ("/registries/remove?name=added", ""),
    ("/groups", "groups"),
    ("/groups/new", ""),
    ("/groups/one?name=dev", "group"),
    ("/apps", "apps"),
    ("/apps/new", ""),
    ("/apps/one?name=web", ""),
    ("/services", "services"),
    ("/services/new", ""),
    ("/services/one?name=web%40n1", ""),
    ("/users", "users"),
    ("/users/new", ""),
    ("/users/one?name=ann", ""),
    ("/secrets", "secrets"),
    ("/secrets?robot=ci-web", ""),
    ("/secrets/new", ""),
    ("/why", ""),
    ("/why?scope=repository:groups/10/web:pull,push&account=ann&service=reg&labels=team%3Dweb", "why"),
    ("/why/who?action=push&resource=repository:groups/10/web", "who"),
    ("/overview", "overview"),
    ("/decisions?id=0123456789abcdef", ""),
    ("/decisions?id=$DECISION", "decision"),
];

fn site() -> Site {
    let accounts = [("ann", "{}"), ("bob", "{}"), ("cat", "{}")];
    let hash = dockwarden::hash(&password("service"));
    let to_whom = ", hosts: [registry.example.org], restricted: false, publications: [dev], responsibles: [ops]";
    let site = Site::start(Edition::V3, to_whom, |_| {
        format!(
            "{}acl:\n  - match: {{account: cat, type: dockwarden}}\n    actions: [list, show, create, change, delete, sweep, renew, revoke, \
             explain, who-can]\n    comment: who runs it\n  - match: {{account: \"robot+ci-*\", name: \"lib/*\"}}\n    actions: [pull]\n    \
             comment: robots\nstandard_rules: opensvc\napi: {{listen: main}}\n\
             directory:\n  groups: {{dev: {{id: 10}}, ops: {{id: 20}}, fin: {{id: 30}}}}\n  users:\n    \
             ann: {{id: 1, groups: [dev], privileges: [puller, pusher]}}\n    bob: {{id: 2, groups: [dev], privileges: [puller]}}\n    \
             cat: {{id: 3, groups: [dev, ops], privileges: [puller, pusher, manager]}}\n  \
             apps: {{web: {{id: 100, responsibles: [dev], publications: [dev]}}}}\n  \
             services: {{\"web@n1\": {{app: web, secrets: [\"{hash}\"]}}}}\n",
            dockwarden::users(&accounts),
        )
    });
    let image = image::layout("shown");
    for (account, name) in [("ann", "groups/10/web:v1"), ("ann", "groups/10/web:v2"), ("cat", "users/3/tools:latest")] {
        let creds = format!("{account}:{}", password(account));
        let (source, target) =
            (format!("oci:{}:{TAG}", image.directory.display()), format!("docker://{}/{name}", site.registry));
        let options = ["copy", "--dest-tls-verify=false", "--dest-creds", &creds, &source, &target];
        part::run(client::skopeo(&client::home()).args(options)).well();
    }
    site
}

/// Has some logins refused, and something withheld: the id of that decision.
fn some_decisions(site: &Site) -> String {
    let host = site.dockwarden.host();
    let ask = |account: &str, password: &str, scope: &str| {
        let target = format!("/auth?service=reg&scope=repository:{scope}");
        let login = visit::basic(account, password);
        http::exchange(&host, &http::request("GET", &target, &host, &[("Authorization", &login)], b""))
    };
    for (account, wrong) in [("bob", "guess"), ("bob", "guess"), ("mallory", "guess")] {
        assert_eq!(ask(account, wrong, "groups/10/web:pull").status, 401);
    }
    let reply = ask("bob", &password("bob"), "groups/10/web:pull,push");
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.header("x-decision-id").unwrap().to_owned()
}

/// The code of a terminal that waits for an answer.
fn code(site: &Site) -> String {
    let form = "machine=build-7&days=30";
    let host = site.dockwarden.host();
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let asked = http::request("POST", "/device_authorization", &host, &headers, form.as_bytes());
    let begun = http::exchange(&site.dockwarden.address, &asked);
    begun.json()["user_code"].as_str().unwrap_or_else(|| panic!("{}", begun.text())).to_owned()
}

pub(super) fn sign_in(browser: &mut Browser, account: &str) {
    browser.open("/sign-in");
    browser.fill("role=textbox[name='Account']", account);
    browser.fill("#password", &password(account));
    browser.press("role=button[name='Sign in']");
    browser.arrive("/account");
}

/// Looks at the page that is open.
fn look(browser: &mut Browser, what: &str, wrong: &mut Vec<String>) {
    let said = browser.said();
    for (kind, found) in [("tab", browser.tab()), ("axe", browser.axe()), ("said", said)] {
        wrong.extend(found.iter().map(|found| format!("{what}: {kind}: {found}")));
    }
    let overhang = browser.overhang();
    if overhang > 0 {
        wrong.push(format!("{what}: wider than the window by {overhang} pixels"));
    }
}

/// The picture that a page has in this round: all of them as on a desk by day, one in the dark, and one in a hand.
fn in_round(round: usize, name: &str) -> Option<(String, (u32, u32))> {
    match (round, name) {
        (_, "") => None,
        // There is a rule a line, and many of them.
        (0, "why" | "who") => Some((name.to_owned(), LOW)),
        (0, _) => Some((name.to_owned(), DESK)),
        (1, "overview") => Some(("overview-dark".to_owned(), LOW)),
        (2, "repository") => Some(("repository-narrow".to_owned(), HAND)),
        (_, _) => None,
    }
}

fn picture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/images/{name}.png"))
}

/// Makes a picture anew, if somebody wants that; in any case there is one, which is small.
fn pictured(browser: &mut Browser, name: &str, size: (u32, u32)) {
    let file = picture(name);
    if env::var_os("DOCKWARDEN_PICTURES").is_some() {
        browser.picture(&file, size);
        let options = ["--speed", "1", "--strip", "--force", "--ext", ".png"];
        part::run(part::command("pngquant").args(options).arg(&file)).well();
    }
    let size = fs::metadata(&file).map(|file| file.len());
    assert!(size.as_ref().is_ok_and(|size| *size < LARGEST_PICTURE), "{name}: {size:?}");
}

/// Checks 35 to 37 of the reference on policy tools, for pages.
#[test]
fn no_page_keeps_anybody_out_breaks_its_own_policy_or_is_large() {
    let site = site();
    let code = code(&site);
    let mut browser = Browser::start(&site.pages, WINDOWS[0]);
    let mut wrong = Vec::new();
    sign_in(&mut browser, "cat");
    until("the pushed images on the pages", || {
        let page = "/repositories/tag?registry=reg&name=groups/10/web&tag=v2";
        (browser.open(page).status == 200 && browser.open("/repositories").status == 200).then_some(())
    });
    browser.open("/registries/one?name=reg");
    browser.press("role=button[name='Sweep now']");
    until("the end of a sweep", || {
        browser.open("/registries/one?name=reg");
        (browser.count("dd:text-is('swept')") == 1).then_some(())
    });
    browser.open("/registries/new");
    browser.fill("role=textbox >> nth=0", "added");
    browser.fill("role=textbox >> nth=1", "https://added.example.org");
    browser.press("main >> role=button");
    browser.text("h1:has-text('added')");
    browser.open("/account");
    for machine in ["build server", "workstation"] {
        made(&mut browser, machine);
    }
    browser.open("/secrets/new");
    browser.fill("role=textbox[name=/^Robot/]", "ci-web");
    browser.fill("role=textbox[name=/^Name/]", "deploy");
    browser.press("role=checkbox");
    browser.press("main >> role=button");
    assert!(browser.text("#secret").starts_with("dwr_"));
    look(&mut browser, "a robot's new secret", &mut wrong);
    pictured(&mut browser, "secret", DESK);
    let decision = some_decisions(&site);
    for (round, window) in WINDOWS.into_iter().enumerate() {
        browser.window(window);
        for (page, shot) in PAGES {
            let target = page.replace("$CODE", &code).replace("$DECISION", &decision);
            let opened = browser.open(&target);
            let what = format!("{page} {} {}", window.scheme, window.width);
            assert_eq!(opened.status, 200, "{what}: {}", browser.text("body"));
            assert!(opened.bytes > 1000 && opened.bytes < LARGEST, "{what}: {} bytes", opened.bytes);
            look(&mut browser, &what, &mut wrong);
            if let Some((name, size)) = in_round(round, shot) {
                pictured(&mut browser, &name, size);
            }
        }
        // With all that it shows once, and how a problem is told.
        browser.open("/account");
        browser.fill("role=textbox[name='Machine']", MACHINES[round]);
        browser.press("role=button[name='Make a password']");
        assert!(browser.text("#password").starts_with("dwp_"));
        look(&mut browser, "/account with a new password", &mut wrong);
        if let Some((name, size)) = in_round(round, "account") {
            pictured(&mut browser, &name, size);
        }
        assert_eq!(browser.open("/repositories/one?registry=reg&name=none").status, 404);
        assert!(browser.said().iter().all(|said| said.contains("status of 404")));
        look(&mut browser, "nothing here", &mut wrong);
        browser.open("/account");
        browser.press("role=button[name='Sign out']");
        browser.arrive("/sign-in");
        look(&mut browser, "/sign-in", &mut wrong);
        if let Some((name, size)) = in_round(round, "sign-in") {
            pictured(&mut browser, &name, size);
        }
        sign_in(&mut browser, "cat");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // What looks for all that finds it where it is.
    browser.spoil();
    let mut found = Vec::new();
    look(&mut browser, "spoilt", &mut found);
    for expected in ["axe: image-alt", "tab: 0: the key comes", "Content Security Policy", "wider than the window"] {
        assert!(found.iter().any(|found| found.contains(expected)), "{expected} is not among {found:#?}");
    }
    site.dockwarden.process.keeps_secrets();
}

/// By keys alone, and without script: signing in, a password, and its end.
#[test]
fn a_keyboard_is_enough() {
    let site = site();
    let mut browser = Browser::start(&site.pages, Window { scheme: "dark", width: 320, script: false });
    browser.open("/sign-in");
    browser.type_at("role=textbox[name='Account']", "ann");
    browser.type_at("#password", &password("ann"));
    browser.enter_at("role=button[name='Sign in']");
    browser.arrive("/account");
    browser.type_at("role=textbox[name='Machine']", "laptop");
    browser.enter_at("role=button[name='Make a password']");
    let password = browser.text("#password");
    browser.enter_at("role=button[name='Revoke laptop']");
    browser.text("main:not(:has(tr)) >> text=There are none.");
    let line = crate::support::visit::basic("ann", &password);
    let asked = http::request("GET", "/auth?service=reg", &site.dockwarden.host(), &[("Authorization", &line)], b"");
    assert_eq!(http::exchange(&site.dockwarden.address, &asked).status, 401);
    browser.enter_at("role=link[name='Repositories']");
    until("the list", || browser.text("main").contains("groups/10/web").then_some(()));
    browser.enter_at("role=button[name='Sign out']");
    browser.arrive("/sign-in");
    assert_eq!(browser.said(), [""; 0]);
    site.dockwarden.process.keeps_secrets();
}
