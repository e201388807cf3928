//! `token.reuse`: the same token for the same answer, and for no other.

use serde_json::{Value, json};
use tokio::time::Duration;

use crate::bed::{ALICE, BOB, Bed, Caller, NOBODY, Reply, in_seconds};
use crate::logs::{Form, Log};

const TOKEN: &str =
    "token: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key, expiration: 900, reuse: 60s}\n";
const ASK: &str = "/auth?service=registry&scope=repository:web/app:pull,push";

async fn ask(bed: &Bed, caller: Caller, target: &str) -> Reply {
    bed.get(target).by(caller).send().await.ok()
}

#[tokio::test]
async fn the_same_answer_is_the_same_token_and_any_other_is_another() {
    let bed = Bed::with(TOKEN);
    let first = ask(&bed, ALICE, ASK).await;
    let again = ask(&bed, ALICE, ASK).await;
    assert_eq!(again.token(), first.token());
    assert_eq!(again.claims()["sub"], "alice");
    let left = again.json()["expires_in"].as_i64().unwrap();
    assert!((895..=900).contains(&left), "{left}");
    assert_ne!(again.header("x-decision-id"), first.header("x-decision-id"), "each request is decided by itself");
    // Another way to ask for the same is the same answer.
    let posted = bed
        .post(
            "/auth",
            "grant_type=password&service=registry&username=alice&password=alice-pw&scope=repository:web/app:push,pull",
        )
        .send()
        .await
        .ok();
    assert_eq!(posted.token(), first.token());

    let mut tokens = vec![first.token()];
    for (caller, target) in [
        (BOB, ASK),
        (NOBODY, ASK),
        (ALICE, "/auth?service=other&scope=repository:web/app:pull,push"),
        (ALICE, "/auth?service=registry&scope=repository:web/app:pull"),
        (ALICE, "/auth?service=registry&scope=repository:api/app:pull,push"),
        (ALICE, "/auth?service=registry&scope=repository:web/app:pull,push&scope=repository:pub/x:pull"),
        (ALICE, "/auth?service=registry"),
        (BOB, "/auth?service=registry"),
    ] {
        let reply = ask(&bed, caller, target).await;
        assert!(!tokens.contains(&reply.token()), "{caller:?} {target}");
        let account = match caller {
            Caller::Account(account, _) => account,
            Caller::Nobody | Caller::Header(_) => "",
        };
        assert_eq!(reply.claims()["sub"], account);
        tokens.push(reply.token());
    }
    let metrics = bed.get("/metrics").send().await.text();
    assert!(metrics.contains("dockwarden_tokens_reused_total 2\n"), "{metrics}");
}

#[tokio::test]
async fn without_the_setting_each_token_is_new() {
    let bed = Bed::with("");
    assert_ne!(ask(&bed, ALICE, ASK).await.token(), ask(&bed, ALICE, ASK).await.token());
    let off = Bed::with(&TOKEN.replace("60s", "0"));
    assert_ne!(ask(&off, ALICE, ASK).await.token(), ask(&off, ALICE, ASK).await.token());
}

#[tokio::test]
async fn who_may_not_have_a_new_token_gets_no_old_one() {
    let bed = Bed::with(TOKEN);
    let before = ask(&bed, ALICE, ASK).await.token();
    for wrong in [Caller::Account("alice", "wrong"), Caller::Account("alice", "bob-pw")] {
        let reply = bed.get(ASK).by(wrong).send().await;
        assert_eq!(reply.status, 401);
        assert!(!reply.text().contains(&before));
    }
}

/// Each change is one that a new token shows; an old one would not.
#[tokio::test]
async fn no_token_outlives_the_configuration_that_it_was_made_with() {
    let labels = |teams: &str| {
        format!("users:\n  alice: {{password: \"{}\", labels: {{team: [{teams}]}}}}\n", crate::bed::ALICE_HASH)
    };
    let start = format!("{TOKEN}{}", labels("web"));
    for (change, changed) in [
        ("nothing", start.clone()),
        ("the issuer", start.replace("Acme", "Other")),
        ("the life", start.replace("900", "600")),
        ("the header", start.replace("reuse", "header: kid, reuse")),
        ("a label", format!("{TOKEN}{}", labels("api"))),
        ("the rules", format!("{start}acl: [{{match: {{name: \"web/*\"}}, actions: [pull]}}]\n")),
    ] {
        let bed = Bed::with(&start);
        let before = ask(&bed, ALICE, ASK).await;
        assert_eq!(before.access(), ["repository:web/app:pull,push"]);
        bed.folder.configure(&changed);
        bed.app.reload();
        let after = ask(&bed, ALICE, ASK).await;
        assert_ne!(after.token(), before.token(), "{change}");
        match change {
            "the issuer" => assert_eq!(after.claims()["iss"], "Other"),
            "the life" => assert_eq!(after.life(), 600),
            "the header" => assert!(after.token_header().get("x5c").is_none()),
            "a label" => assert_eq!(after.access(), ["repository:web/app:"]),
            "the rules" => assert_eq!(after.access(), ["repository:web/app:pull"]),
            _ => assert_eq!(after.access(), before.access()),
        }
    }
}

/// The account ends in 80 seconds: its token has no minute left for long, and is not handed out then.
#[tokio::test]
async fn a_short_token_is_handed_out_again_while_most_of_it_is_left_only() {
    let bed_until = |seconds: i64| {
        let (end, _) = in_seconds(seconds);
        let hash = crate::bed::ALICE_HASH;
        Bed::with(&format!(
            "{TOKEN}users:\n  alice: {{password: \"{hash}\", labels: {{team: web}}, not_after: \"{end}\"}}\n"
        ))
    };
    let long_enough = bed_until(200);
    assert_eq!(ask(&long_enough, ALICE, ASK).await.token(), ask(&long_enough, ALICE, ASK).await.token());
    let too_short = bed_until(59);
    assert_ne!(ask(&too_short, ALICE, ASK).await.token(), ask(&too_short, ALICE, ASK).await.token());
}

#[tokio::test]
async fn the_log_ties_each_decision_to_its_token() {
    let bed = Bed::with(TOKEN);
    let log = Log::start(Form::Json);
    let replies = [ask(&bed, ALICE, ASK).await, ask(&bed, ALICE, ASK).await];
    let lines: Vec<Value> = log
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["message"] == "decided")
        .collect();
    let seen: Vec<Value> =
        lines.iter().map(|line| json!([line["decision.id"], line["token.id"], line["token.reused"]])).collect();
    let id = &replies[0].claims()["jti"];
    assert_eq!(
        seen,
        [json!([replies[0].header("x-decision-id"), id, false]), json!([replies[1].header("x-decision-id"), id, true])]
    );
    assert!(!log.text().contains(&replies[0].token()));
}

#[test]
fn how_long_a_token_is_reused_is_bounded_by_its_life() {
    let read = |expiration: &str, reuse: &str| {
        let text = format!(
            "server: {{addr: ':1'}}\ntoken: {{issuer: i, certificate: none, key: none{expiration}, reuse: {reuse}}}\nusers: {{}}\nacl: []\n"
        );
        dockwarden::config::Config::read(std::path::Path::new("c.yml"), &text, [], dockwarden::config::Secrets::Skip)
            .map(|config| config.token.reuse)
            .map_err(|problems| format!("{problems:?}"))
    };
    for (expiration, reuse, expected) in [
        ("", "60s", Ok(Some(60))),
        ("", "150", Ok(Some(150))),
        ("", "151", Err("with an expiration of 300 seconds, write 150 or less")),
        (", expiration: 100", "40", Ok(Some(40))),
        (", expiration: 100", "41", Err("write 40 or less")),
        (", expiration: 60", "1", Err("cannot be handed out again")),
        (", expiration: 60", "0", Ok(None)),
    ] {
        match (read(expiration, reuse), expected) {
            (Ok(read), Ok(seconds)) => assert_eq!(read, seconds.map(Duration::from_secs), "{expiration} {reuse}"),
            (Err(said), Err(expected)) => assert!(said.contains(expected), "{said}"),
            (read, expected) => panic!("{expiration} {reuse}: {read:?}, not {expected:?}"),
        }
    }
}
