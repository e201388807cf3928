//! The log of requests: who got what and why, tied to the reply by its id, and neither a secret nor a forged line in it.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;

use dockwarden::decision_log::{self, Asker, DecisionId, Fault};
use dockwarden::keys::generate;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use time::OffsetDateTime;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::bed::{ALICE, Bed, Caller, Folder, NOBODY};

thread_local! {
    /// What this thread's test has logged as JSON and as text, while somebody looks.
    static WRITTEN: RefCell<[Option<Vec<u8>>; 2]> = const { RefCell::new([None, None]) };
}

/// How the log is written: for programs, or for people at a terminal.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    Json,
    Text,
}

impl Write for Form {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WRITTEN.with_borrow_mut(|written| {
            if let Some(written) = &mut written[*self as usize] {
                written.extend_from_slice(bytes);
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that is logged on this thread from its start on, at the finest level.
pub(crate) struct Log(Form);

impl Log {
    pub(crate) fn start(form: Form) -> Log {
        static GLOBAL: Once = Once::new();
        // One for all threads: with one for each, a thread that has none could switch off an event for the others.
        GLOBAL.call_once(|| {
            let json = layer().json().flatten_event(true).with_writer(|| Form::Json);
            let text = layer().with_ansi(false).with_writer(|| Form::Text);
            tracing::subscriber::set_global_default(tracing_subscriber::registry().with(json).with(text)).unwrap();
        });
        WRITTEN.with_borrow_mut(|written| written[form as usize] = Some(Vec::new()));
        Log(form)
    }

    pub(crate) fn text(&self) -> String {
        let written = WRITTEN.with_borrow(|written| written[self.0 as usize].clone());
        String::from_utf8(written.unwrap()).unwrap()
    }

    /// What was written since the last look, one object a line.
    fn take(&self) -> Vec<Value> {
        let text = self.text();
        WRITTEN.with_borrow_mut(|written| written[self.0 as usize] = Some(Vec::new()));
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

/// The named members of a line.
fn part(line: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| ((*name).to_owned(), line[*name].clone())).collect::<serde_json::Map<_, _>>().into()
}

/// Somebody who asks for hundreds of scopes at once must not drown the lines of others.
#[tokio::test]
async fn scopes_that_are_many_have_a_line_for_those_decided_alike() {
    let rules = "acl: [{match: {name: \"a/*\"}, actions: [pull]}, {match: {name: \"b/*\"}, actions: [\"*\"]}]\n";
    let bed = Bed::with(rules);
    let log = Log::start(Form::Json);
    let ask = |each: usize| {
        let scopes = |name: &str, actions: &str| {
            (0..each).map(|number| format!("&scope=repository:{name}/{number}:{actions}")).collect::<String>()
        };
        let scopes = scopes("a", "pull,push") + &scopes("b", "pull") + &scopes("c", "delete");
        bed.get(&format!("/auth?service=registry{scopes}")).by(ALICE).send()
    };
    ask(4).await.ok();
    assert_eq!(log.take().len(), 12, "few have a line each");
    ask(50).await.ok();
    let lines = log.take();
    let names = ["decision.outcome", "granted", "withheld", "rule"];
    let partly = json!({"decision.outcome": "partly_granted", "granted": "pull", "withheld": "push", "rule": "acl[0]"});
    let granted = json!({"decision.outcome": "granted", "granted": "pull", "withheld": "", "rule": "acl[1]"});
    let nothing = json!({"decision.outcome": "nothing_granted", "granted": "", "withheld": "delete", "rule": null});
    // Fifty of each, in lists of at most 1 KiB.
    let found: Vec<Value> = lines.iter().map(|line| part(line, &names)).collect();
    let expected = [&partly, &partly, &granted, &granted, &nothing, &nothing];
    assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    let lists: Vec<&str> = lines.iter().map(|line| line["scope"].as_str().unwrap()).collect();
    assert!(lists.iter().all(|list| list.len() <= 1024), "{lists:?}");
    for alike in lists.chunks(2) {
        assert_eq!(alike.iter().flat_map(|list| list.split(' ')).count(), 50, "{alike:?}");
    }
}

#[tokio::test]
async fn each_decision_is_a_line_that_its_reply_names() {
    let rules = "acl: [{match: {account: alice, name: \"alice/*\"}, actions: [pull], comment: homes}]\n";
    let bed = Bed::with(rules);
    let log = Log::start(Form::Json);
    let target = "/auth?service=registry&scope=repository:alice/a:push,pull&scope=repository(plugin):b:pull&scope=junk";
    let reply = bed.get(target).by(ALICE).from("203.0.113.9").send().await.ok();
    let lines = log.take();
    let names =
        ["decision.outcome", "user.account", "client.address", "service", "scope", "granted", "withheld", "rule"];
    let found: Vec<Value> = lines.iter().map(|line| part(line, &names)).collect();
    assert_eq!(
        found,
        [
            json!({"decision.outcome": "partly_granted", "user.account": "alice", "client.address": "203.0.113.9",
                "service": "registry", "scope": "repository:alice/a:pull,push", "granted": "pull", "withheld": "push",
                "rule": "acl[0] homes"}),
            json!({"decision.outcome": "nothing_granted", "user.account": "alice", "client.address": "203.0.113.9",
                "service": "registry", "scope": "repository(plugin):b:pull", "granted": "", "withheld": "pull",
                "rule": null}),
        ]
    );
    for line in &lines {
        assert_eq!(line["decision.id"], reply.header("x-decision-id"));
        assert_eq!(
            (&line["level"], &line["snapshot"], &line["scopes.ignored"]),
            (&json!("INFO"), &json!(1), &json!(1))
        );
    }
    // A login and a refusal are a line each; the refusal says the reason that the client is not told.
    bed.get("/auth?service=registry").by(ALICE).send().await.ok();
    let login = log.take();
    assert_eq!(login.len(), 1);
    assert_eq!(login[0]["decision.outcome"], "login");
    let refused = [
        (bed.get(target).basic("alice", "wrong").send().await, "wrong_credentials", "alice"),
        (bed.get(target).basic("mallory", "wrong").send().await, "wrong_credentials", "mallory"),
        (bed.get(target).by(Caller::Header("Bearer x")).send().await, "malformed_credentials", ""),
        (bed.get("/auth").by(NOBODY).send().await, "bad_request", ""),
    ];
    let lines = log.take();
    for (reply, reason, account) in refused {
        let line = lines.iter().find(|line| line["decision.id"] == reply.header("x-decision-id"));
        let line = line.unwrap_or_else(|| panic!("{reason}: {lines:?}"));
        let expected =
            json!({"decision.outcome": "refused", "reason": reason, "user.account": account, "level": "WARN"});
        assert_eq!(part(line, &["decision.outcome", "reason", "user.account", "level"]), expected);
    }
}

#[tokio::test]
async fn a_closed_account_is_told_apart_in_the_log_only() {
    let users = format!("users: {{alice: {{password: \"{}\", disabled: true}}}}\n", crate::bed::ALICE_HASH);
    let bed = Bed::with(&users);
    let log = Log::start(Form::Json);
    let reply = bed.get("/auth?service=registry").by(ALICE).send().await;
    let lines = log.take();
    assert_eq!((reply.status, lines.len()), (401, 1));
    assert_eq!(lines[0]["reason"], "account_closed");
    assert!(lines[0]["cause"].as_str().unwrap().contains("the account is disabled"), "{}", lines[0]);
    assert!(!reply.text().contains("disabled"));
}

/// Passwords, headers, tokens and hashes, in whichever form, are nowhere in the log, at the finest level either.
#[tokio::test]
async fn no_secret_is_logged() {
    let bed = Bed::with("");
    let log = Log::start(Form::Json);
    let mut secrets = vec!["canary".to_owned(), "Y2FuYXJ5".to_owned(), "alice-pw".to_owned(), "$2b$04$".to_owned()];
    for caller in
        [ALICE, Caller::Account("alice", "canary"), Caller::Header("Bearer canary"), Caller::Header("Basic Y2FuYXJ5")]
    {
        let reply = bed
            .get("/auth?service=registry&scope=repository:alice/a:pull&refresh_token=canary")
            .by(caller)
            .send()
            .await;
        if reply.status == 200 {
            secrets.extend(reply.token().split('.').map(str::to_owned));
        }
    }
    for form in [
        "grant_type=password&username=alice&password=canary&service=registry",
        "grant_type=password&username=alice&password=alice-pw&service=registry",
        "grant_type=refresh_token&refresh_token=canary&service=registry",
        "grant_type=password&username=alice&password=canary&password=canary2&service=registry",
    ] {
        bed.post("/auth", form).send().await;
    }
    bed.folder.configure("users: {alice: {password: canary}}\n");
    bed.app.reload();
    let text = log.text();
    assert!(text.lines().count() >= 9, "{text}");
    for secret in secrets {
        assert!(!text.contains(&secret), "{secret} is in\n{text}");
    }
}

/// A client chooses its account, its service and its scopes, and none of them ends a line or moves a cursor.
#[tokio::test]
async fn no_client_forges_a_line() {
    let bed = Bed::with("");
    let forged = "x%0a2026-01-01T00:00:00Z%20INFO%20decided%1b%5b2J%e2%80%a8%e2%80%ae%c2%9b%00";
    let long = "s".repeat(8000);
    for form in [Form::Json, Form::Text] {
        let log = Log::start(form);
        for target in [
            format!("/auth?service={forged}"),
            format!("/auth?service={long}"),
            format!("/auth?service=registry&scope={forged}&scope=repository:{forged}:pull"),
            format!("/auth?service=registry&account={forged}"),
        ] {
            for ask in [
                bed.get(&target).by(ALICE),
                bed.get(&target).basic("ali\u{2028}ce\u{202e}", "x"),
                bed.get(&target).basic("a\nforged", "x"),
                bed.get(&target).basic(&"a".repeat(255), "x"),
            ] {
                let before = log.text().lines().count();
                ask.send().await;
                let text = log.text();
                assert_eq!(text.lines().count(), before + 1, "{text}");
            }
        }
        let text = log.text();
        let harmless = |letter: char| letter == '\n' || !(letter.is_control() || "\u{2028}\u{202e}".contains(letter));
        assert!(text.chars().all(harmless), "{text:?}");
        assert!(text.lines().all(|line| line.len() < 2048), "a line is longer than anybody reads");
    }
}

/// What was decided, and could not be signed or passed on, is not said to be undecided.
#[test]
fn the_message_is_true_of_what_failed_after_the_decision() {
    let log = Log::start(Form::Json);
    let cause = io::Error::other("the signing key could not be used");
    for (fault, level, message) in [
        (Fault::Ours, "ERROR", "could not be decided"),
        (Fault::OursAfterwards, "ERROR", "was decided, and could not be answered"),
        (Fault::Client, "WARN", "refused"),
        (Fault::Nobody, "INFO", "refused"),
    ] {
        decision_log::refused(None, &DecisionId::new(), &Asker::default(), "signing_failed", fault, &cause);
        let lines = log.take();
        let expected =
            json!({"level": level, "message": message, "reason": "signing_failed", "decision.outcome": "refused"});
        assert_eq!(part(&lines[0], &["level", "message", "reason", "decision.outcome"]), expected);
    }
}

/// A proxy's header that names nobody: who sent it is in the log, and what it holds is in neither.
#[tokio::test]
async fn who_sent_a_header_without_the_clients_address_is_in_the_log() {
    let bed = Bed::with("server: {addr: \"127.0.0.1:0\", trusted_proxies: [192.0.2.0/24]}\n");
    let log = Log::start(Form::Json);
    let reply = bed.get("/auth?service=registry").from("192.0.2.9").header("x-forwarded-for", "hunter2").send().await;
    let lines = log.take();
    assert_eq!((reply.status, lines.len()), (400, 1));
    assert_eq!(lines[0]["reason"], "no_client_address");
    let expected = "the header x-forwarded-for does not hold the client's address";
    let cause = format!("{expected}: element 1 from the right is not an IP address, in a request from 192.0.2.9");
    assert_eq!(lines[0]["cause"], cause);
    assert_eq!(reply.json()["errors"][0]["message"], expected);
}

/// Whoever renews a pair, or the program that does, learns that registries have to be told.
#[tokio::test]
async fn another_signing_pair_is_said_loudly_at_the_reload() {
    let bed = Bed::with("");
    let log = Log::start(Form::Json);
    let told = || {
        let lines = log.take();
        let found = lines.iter().find(|line| line["reason"] == "signing_pair_changed").cloned();
        found.map(|line| part(&line, &["level", "kid.before", "kid.now", "message"]))
    };
    bed.app.reload();
    assert_eq!(told(), None, "it is the same pair");
    let kid = async || bed.get("/.well-known/jwks.json").send().await.json()["keys"][0]["kid"].clone();
    let before = kid().await;
    bed.folder.put_pair(&generate(Algorithm::ES256, "next", OffsetDateTime::now_utc()).unwrap());
    bed.app.reload();
    let now = kid().await;
    let line = told().unwrap();
    assert_eq!(
        part(&line, &["level", "kid.before", "kid.now"]),
        json!({"level": "WARN", "kid.before": before, "kid.now": now})
    );
    let message = line["message"].as_str().unwrap();
    for piece in ["signed by another key from now on", "refuses every token until", "ROOTCERTBUNDLE", "started anew"] {
        assert!(message.contains(piece), "{message}");
    }
    bed.app.reload();
    assert_eq!(told(), None, "once is enough");
    // The form of the id is a setting.
    bed.folder.configure(
        "token: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key, disable_legacy_key_id: true}\n",
    );
    bed.app.reload();
    assert_eq!(told(), None, "it is the same key by another name");
}

/// Who said who it is stands beside the account, as soon as somebody has, and in no line before that.
#[tokio::test]
async fn each_line_names_the_section_that_knew_the_client() {
    let folder = Folder::new();
    let hash = crate::bed::BOB_HASH;
    folder.put("htpasswd", &format!("carol:{hash}\n"));
    let config = format!(
        "users:\n  alice: {{password: \"{}\"}}\n  closed: {{password: \"{hash}\", disabled: true}}\n  \"\": {{}}\n\
         htpasswd_auth: {{path: $DIR/htpasswd}}\nforward_auth: {{trusted_proxies: [192.0.2.1], service: registry}}\n",
        crate::bed::ALICE_HASH
    );
    let bed = Bed::in_folder(folder, &config);
    let log = Log::start(Form::Json);
    let auth = "/auth?service=registry&scope=repository:alice/app:pull";
    for (account, password, outcome, backend) in [
        ("alice", "alice-pw", "granted", Some("users")),
        ("carol", "bob-pw", "nothing_granted", Some("htpasswd_auth")),
        // The password was right.
        ("closed", "bob-pw", "refused", Some("users")),
        ("alice", "wrong", "refused", None),
        ("mallory", "wrong", "refused", None),
    ] {
        bed.get(auth).basic(account, password).send().await;
        let expected = json!({"decision.outcome": outcome, "user.account": account, "user.backend": backend});
        assert_eq!(part(&log.take()[0], &["decision.outcome", "user.account", "user.backend"]), expected);
    }
    bed.get(auth).by(NOBODY).send().await.ok();
    assert_eq!(
        part(&log.take()[0], &["user.account", "user.backend"]),
        json!({"user.account": "", "user.backend": "users"})
    );

    let token = bed.get(auth).by(ALICE).send().await.ok();
    let jti = token.claims()["jti"].clone();
    log.take();
    for (method, outcome) in [("GET", "allowed_by_token"), ("DELETE", "refused")] {
        let asked = bed.get("/forward_auth").header("x-original-method", method);
        let asked = asked.header("x-original-uri", "/v2/alice/app/manifests/v1");
        asked.header("authorization", &format!("Bearer {}", token.token())).send().await;
        let lines = log.take();
        let expected = json!({"decision.outcome": outcome, "user.account": "alice", "user.backend": "token"});
        assert_eq!(part(&lines[0], &["decision.outcome", "user.account", "user.backend"]), expected);
        assert!(outcome == "refused" || lines[0]["token.id"] == jti, "{}", lines[0]);
    }
}
