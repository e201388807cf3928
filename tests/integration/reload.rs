//! A changed configuration while requests are answered: all of the new one, or all of the old one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::http::Method;
use dockwarden::keys::generate;
use jsonwebtoken::Algorithm;
use time::OffsetDateTime;

use crate::bed::{ALICE, ALICE_HASH, Ask, BOB_HASH, Bed, Caller, in_seconds};

fn config(issuer: &str, action: &str) -> String {
    format!(
        "token: {{issuer: {issuer}, certificate: $DIR/token.crt, key: $DIR/token.key}}\nacl: [{{match: {{}}, actions: [{action}]}}]\n"
    )
}

const ASK: &str = "/auth?service=registry&scope=repository:a:pull,push";

/// The issuer, the granted action and the number of the snapshot of one request.
async fn seen(bed: &Bed) -> (String, Vec<String>, u64) {
    let reply = bed.get(ASK).by(ALICE).send().await.ok();
    (reply.claims()["iss"].as_str().unwrap().to_owned(), reply.access(), bed.app.snapshot().generation)
}

#[tokio::test]
async fn a_good_change_is_taken_over_as_a_whole() {
    let bed = Bed::with(&config("first", "pull"));
    assert_eq!(seen(&bed).await, ("first".to_owned(), vec!["repository:a:pull".to_owned()], 1));
    bed.folder.configure(&config("second", "push"));
    // Nothing happens by itself here.
    assert_eq!(seen(&bed).await.0, "first");
    bed.app.reload();
    assert_eq!(seen(&bed).await, ("second".to_owned(), vec!["repository:a:push".to_owned()], 2));
    let metrics = bed.get("/metrics").send().await.text();
    assert!(metrics.contains("dockwarden_reloads_total 1\n"), "{metrics}");
    assert!(metrics.contains("dockwarden_reload_failures_total 0\n"), "{metrics}");
}

#[tokio::test]
async fn a_bad_change_leaves_everything_as_it_is() {
    let bed = Bed::with(&config("first", "pull"));
    let files = bed.app.files();
    let other = generate(Algorithm::ES256, "other", OffsetDateTime::now_utc()).unwrap();
    let good = bed.folder.configure(&config("first", "pull"));
    let breakages: [(&str, &dyn Fn()); 7] = [
        ("an unknown key", &|| drop(bed.folder.configure(&format!("{}aclx: []\n", config("second", "push"))))),
        ("a bad rule", &|| drop(bed.folder.configure(&config("second", "Push")))),
        ("no YAML", &|| drop(bed.folder.put("config.yml", "{"))),
        ("an empty file", &|| drop(bed.folder.put("config.yml", ""))),
        ("no file", &|| std::fs::remove_file(&good).unwrap()),
        ("another certificate", &|| {
            bed.folder.configure(&config("second", "push"));
            bed.folder.put("token.crt", &other.certificate_pem);
        }),
        ("no key", &|| {
            bed.folder.put_pair(crate::bed::pair(Algorithm::ES256));
            std::fs::remove_file(bed.folder.path("token.key")).unwrap();
        }),
    ];
    for (failures, (what, break_it)) in (1..).zip(breakages) {
        break_it();
        bed.app.reload();
        let expected = ("first".to_owned(), vec!["repository:a:pull".to_owned()], 1);
        assert_eq!(seen(&bed).await, expected, "{what}");
        let metrics = bed.get("/metrics").send().await.text();
        assert!(metrics.contains(&format!("dockwarden_reload_failures_total {failures}\n")), "{what}: {metrics}");
        assert!(metrics.contains("dockwarden_reloads_total 0\n"), "{what}");
        assert_eq!(bed.app.files(), files, "{what}: the same files are watched, so that a repair is seen");
    }
    // Once it is repaired it is taken over.
    bed.folder.put_pair(crate::bed::pair(Algorithm::ES256));
    bed.folder.configure(&config("third", "push"));
    bed.app.reload();
    assert_eq!(seen(&bed).await.0, "third");
}

#[tokio::test]
async fn a_changed_key_signs_from_then_on() {
    let bed = Bed::with("");
    let before = bed.get(ASK).by(ALICE).send().await.ok().token_header();
    bed.folder.put_pair(&generate(Algorithm::ES256, "next", OffsetDateTime::now_utc()).unwrap());
    bed.app.reload();
    let after = bed.get(ASK).by(ALICE).send().await.ok().token_header();
    assert_ne!(before["kid"], after["kid"]);
    assert_ne!(before["x5c"], after["x5c"]);
    let set = bed.get("/.well-known/jwks.json").send().await.json();
    assert_eq!(set["keys"][0]["kid"], after["kid"]);
}

/// A password that was right a moment ago is remembered, and all the same worth nothing once it was changed.
#[tokio::test]
async fn a_withdrawn_account_is_refused_at_once() {
    let users = |fields: &str| format!("users: {{alice: {{{fields}}}}}\n");
    let bed = Bed::with(&users(&format!("password: \"{ALICE_HASH}\"")));
    let status = async |caller: Caller| bed.get(ASK).by(caller).send().await.status;
    let with_bobs_password = Caller::Account("alice", "bob-pw");
    assert_eq!((status(ALICE).await, status(with_bobs_password).await), (200, 401));
    let (past, _) = in_seconds(-1);
    for (change, old, new) in [
        (users(&format!("password: \"{BOB_HASH}\"")), 401, 200),
        (users(&format!("password: \"{ALICE_HASH}\"")), 200, 401),
        (users(&format!("password: \"{ALICE_HASH}\", disabled: true")), 401, 401),
        (users(&format!("password: \"{ALICE_HASH}\"")), 200, 401),
        (users(&format!("password: \"{ALICE_HASH}\", not_after: {past}")), 401, 401),
        ("users: {}\n".to_owned(), 401, 401),
    ] {
        bed.folder.configure(&change);
        bed.app.reload();
        assert_eq!((status(ALICE).await, status(with_bobs_password).await), (old, new), "{change}");
    }
}

const CLIENTS: usize = 4;

/// Every request is answered, and each from one configuration: issuer, rule and audience always belong together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_during_reloads_see_one_configuration_each() {
    let configs = [("first", "pull"), ("second", "push")];
    let bed = Bed::with(&config("first", "pull"));
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (router, done, answered) = (bed.router(), Arc::clone(&done), Arc::clone(&answered));
        clients.spawn(async move {
            let mut answers = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let reply = Ask::new(router.clone(), Method::GET, ASK).by(ALICE).send().await;
                let reply = reply.ok();
                answers.push((reply.claims()["iss"].as_str().unwrap().to_owned(), reply.access().join(" ")));
                answered.fetch_add(1, Ordering::Relaxed);
            }
            answers
        });
    }
    let app = Arc::clone(&bed.app);
    let texts = configs.map(|(issuer, action)| bed.folder.complete(&config(issuer, action)));
    let file = bed.folder.path("config.yml");
    tokio::task::spawn_blocking(move || {
        for turn in 1..=50 {
            std::fs::write(&file, &texts[turn % 2]).unwrap();
            app.reload();
            // More answers than there are clients: at least one of them was asked for after this reload.
            let enough = answered.load(Ordering::Relaxed) + CLIENTS + 1;
            while answered.load(Ordering::Relaxed) < enough {
                std::thread::yield_now();
            }
        }
    })
    .await
    .unwrap();
    done.store(true, Ordering::Relaxed);
    let answers: Vec<(String, String)> = clients.join_all().await.into_iter().flatten().collect();
    for (issuer, action) in configs {
        let expected = (issuer.to_owned(), format!("repository:a:{action}"));
        assert!(answers.contains(&expected), "no answer from {issuer} among {}", answers.len());
    }
    let mixed = answers.iter().find(|(issuer, access)| {
        !configs.iter().any(|(own, action)| own == issuer && *access == format!("repository:a:{action}"))
    });
    assert_eq!(mixed, None);
    assert_eq!(bed.app.snapshot().generation, 51);
}

/// Two reloads at once: the one that begins later reads the newer file, and it wins, whichever is given a thread first.
#[tokio::test]
async fn a_slow_reload_never_puts_an_older_configuration_back() {
    let bed = Bed::with(&config("first", "pull"));
    // Many rules make the older file slow to read.
    let rules = "  - match: {account: '/^a(b|c){1,40}$/', name: 'a/*'}\n    actions: []\n".repeat(60);
    for _ in 0..10 {
        bed.folder.configure(&format!("{}\n{rules}", config("older", "pull")));
        let (app, (began, has_begun)) = (Arc::clone(&bed.app), std::sync::mpsc::channel());
        let slow = std::thread::spawn(move || {
            began.send(()).unwrap();
            app.reload()
        });
        has_begun.recv().unwrap();
        bed.folder.configure(&config("newer", "push"));
        let app = Arc::clone(&bed.app);
        let quick = std::thread::spawn(move || app.reload());
        slow.join().unwrap();
        quick.join().unwrap();
        assert_eq!(seen(&bed).await.0, "newer");
    }
}

/// Where to listen and under which path cannot change while the server runs; the rest of such a change is taken over.
#[tokio::test]
async fn what_needs_a_restart_stays_until_then() {
    let bed = Bed::with(&config("first", "pull"));
    bed.folder
        .configure(&format!("server: {{addr: \"127.0.0.1:1\", path_prefix: /new}}\n{}", config("second", "push")));
    bed.app.reload();
    assert_eq!(seen(&bed).await.0, "second");
    assert_eq!(bed.get(&format!("/new{ASK}")).by(ALICE).send().await.status, 404);
}
