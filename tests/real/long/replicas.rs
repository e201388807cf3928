//! Two people at once, each in a browser of their own, at two replicas that share PostgreSQL and the secrets of their configuration: what
//! somebody does at one replica is so at the other, and what is somebody else's is at neither.

use super::accessible::sign_in;
use super::people::{PLAIN, REFUSED, made, revoke, row};
use crate::support::browser::Browser;
use crate::support::dockwarden::{self, Dockwarden, SERVICE};
use crate::support::keys::{self, Kind};
use crate::support::process::until;
use crate::support::registry::{Edition, Registry, Trust};
use crate::support::sql::{Product, Tables};
use crate::support::{client, engine, http, image, part, scratch, visit};

/// What a replica says to a login with this password.
fn login(replica: &Dockwarden, account: &str, password: &str) -> u16 {
    let target = format!("/auth?service={}", http::form_encode(SERVICE));
    let line = visit::basic(account, password);
    let asked = http::request("GET", &target, &replica.host(), &[("Authorization", &line)], b"");
    http::exchange(&replica.address, &asked).status
}

/// Where a replica sends whoever brings these cookies to `/account`; nowhere, if it shows the page.
fn sent_on(replica: &Dockwarden, cookies: &str) -> Option<String> {
    let asked = http::request("GET", "/account", &replica.host(), &[("Cookie", cookies)], b"");
    let reply = http::exchange(&replica.address, &asked);
    assert!([200, 303].contains(&reply.status), "{}", reply.text());
    reply.header("location").map(str::to_owned)
}

#[test]
fn what_somebody_does_at_one_replica_is_so_at_the_other_and_nobody_sees_what_is_somebody_elses() {
    let tables = Tables::new(Product::Postgres);
    let pair = keys::as_in_the_guide(Kind::P256);
    let policy = format!(
        "{}acl: [{{match: {{name: \"${{account}}/*\"}}, actions: [pull, push]}}]\n{}\
         sign_in: {{secret: b2Ygb3VyIG93biwgYW5kIG9mIG5vYm9keSBlbHNlIQ}}\n",
        dockwarden::users(&[("ann", "{}"), ("bob", "{}")]),
        tables.records(),
    );
    let file =
        scratch::write(&scratch::directory("replicas"), "auth_config.yml", &dockwarden::config(&pair, "", &policy));
    part::run(part::command_at(dockwarden::program()).arg("migrate").arg(&file)).well();
    let [one, other] = [(); 2].map(|()| Dockwarden::start_file(&file));
    let registry = Registry::start_with(Edition::V3, &other.realm(), &Trust::Bundle(pair.certificate.clone()));
    // Cookies know no ports: both places are the same to a browser, as they are behind a proxy.
    let [at_one, at_other] = [&one, &other].map(|replica| format!("http://{}", replica.host()));

    let (mut ann, mut bob) = (Browser::start(&at_one, PLAIN), Browser::start(&at_other, PLAIN));
    sign_in(&mut ann, "ann");
    sign_in(&mut bob, "bob");
    let ((_, anns), (_, bobs)) = (made(&mut ann, "laptop"), made(&mut bob, "desktop"));
    // Each goes to the other replica, and is known there.
    ann.at(&at_other);
    bob.at(&at_one);
    for (browser, account, own, not_own) in
        [(&mut ann, "ann", "laptop", "desktop"), (&mut bob, "bob", "desktop", "laptop")]
    {
        assert_eq!(browser.open("/account").status, 200);
        assert!(browser.text("header").contains(account), "{account}");
        let shown = browser.text("main");
        assert!(shown.contains(own) && !shown.contains(not_own), "{account}: {shown}");
    }

    // The registry sends its clients to the replica that did not make the password.
    let (engine, home) = (engine::shared(), client::home());
    let docker = |arguments: &[&str]| part::run(engine.docker(&home).args(arguments));
    let host = registry.host();
    let mut docker_login = engine.docker(&home);
    docker_login.args(["login", "--username", "ann", "--password-stdin", &host]);
    part::run_with(&mut docker_login, anns.as_bytes()).well();
    let [own, not_own] = ["ann", "bob"].map(|account| format!("{host}/{account}/app:v1"));
    docker(&["import", &image::layout("replicas").layer.display().to_string(), &own]).well();
    docker(&["tag", &own, &not_own]).well();
    docker(&["push", &own]).well();
    docker(&["push", &not_own]).refused(REFUSED);
    ann.at(&at_one);
    until("the last use, at the replica that saw none", || (!row(&mut ann, "laptop").contains("never")).then_some(()));

    ann.at(&at_other);
    ann.open("/account");
    revoke(&mut ann, "laptop");
    for replica in [&one, &other] {
        assert_eq!(login(replica, "ann", &anns), 401);
        assert_eq!(login(replica, "bob", &bobs), 200);
    }
    docker(&["push", &own]).refused(REFUSED);

    // Whoever kept the cookie has nothing of it, wherever they bring it.
    let (kept, not_anns) = (ann.cookies(), bob.cookies());
    assert_eq!((sent_on(&one, &kept), sent_on(&other, &kept)), (None, None));
    ann.at(&at_one);
    ann.open("/account");
    ann.press("role=button[name='Sign out']");
    ann.arrive("/sign-in");
    for replica in [&one, &other] {
        assert!(sent_on(replica, &kept).is_some_and(|place| place == "/sign-in"));
        assert_eq!(sent_on(replica, &not_anns), None);
    }
    ann.at(&at_other);
    ann.open("/account");
    ann.arrive("/sign-in");
    bob.open("/account");
    assert!(bob.text("header").contains("bob") && bob.text("main").contains("desktop"));
    assert_eq!((ann.said(), bob.said()), (Vec::new(), Vec::new()));
    docker(&["rmi", "--force", &own, &not_own]).well();
    for replica in [one, other] {
        assert!(!replica.whole_log().contains(&anns) && !replica.whole_log().contains(&bobs));
        replica.process.keeps_secrets();
    }
}
