//! Who is no workload of ours: tokens of other issuers, and accounts that are called as a workload's could be.

use dockwarden::authn::{Account, LookUp};
use serde_json::json;

use super::{ASK, AUDIENCE, bed, claims, key};
use crate::bed::Bed;
use crate::logs::{Form, Log};

const ENTRY: &str = "  - {issuer: \"https://ci.example.org\", name: ci, audiences: [AUDIENCE], keys: discovery, require: {org: 7}, \
                     account: \"ci:${claim:sub}\"}\n";

fn with_entry() -> Bed {
    bed(&ENTRY.replace("AUDIENCE", AUDIENCE))
}

/// The client is told what it is of every wrong password; the log says which issuer an operator may have mistyped.
#[tokio::test]
async fn the_log_names_the_issuer_of_a_token_that_no_entry_is_for() {
    let key = key("k1", 0);
    let token = |issuer: serde_json::Value| key.sign(&claims(json!({"iss": issuer, "sub": "job"})));
    let long = format!("https://{}.example", "a".repeat(500));
    for (bed, password, cause) in [
        (with_entry(), token(json!("https://other.example")), Some("is a JWT of https://other.example, which")),
        (Bed::with(""), token(json!("https://other.example")), Some("is a JWT of https://other.example, which")),
        // It cannot write over the terminal, nor fill the log.
        (with_entry(), token(json!("https://x\u{1b}[2J\n.example")), Some("is a JWT of https://x")),
        (with_entry(), token(json!(long)), Some(&long[..128])),
        (with_entry(), token(json!(7)), None),
        (with_entry(), token(json!(null)), None),
        (with_entry(), "eyJ.eyJ.x".to_owned(), None),
        (with_entry(), "hunter2".to_owned(), None),
    ] {
        let log = Log::start(Form::Json);
        let reply = bed.get(ASK).basic("alice", &password).send().await;
        let message = reply.json()["errors"][0]["message"].as_str().map(str::to_owned);
        assert_eq!((reply.status, message.as_deref()), (401, Some("the account or the password is wrong")));
        let text = log.text();
        assert!(text.contains("\"reason\":\"wrong_credentials\"") && !text.contains(&password), "{text}");
        assert_eq!(text.contains("is a JWT of "), cause.is_some(), "{text}");
        assert!(cause.is_none_or(|cause| text.contains(cause)), "{text}");
        assert!(!text.contains(&long[..129]) && !text.contains("\\u001b"), "{text}");
    }
}

/// As with robots, whatever the case of the letters.
#[tokio::test]
async fn an_account_that_is_called_as_a_workloads_is_looked_up_nowhere() {
    let bed = with_entry();
    let snapshot = bed.app.snapshot();
    for (name, expected) in [
        ("ci:bob", LookUp::OnlyByLogin),
        ("CI:bob", LookUp::OnlyByLogin),
        ("Ci:", LookUp::OnlyByLogin),
        ("cix:bob", LookUp::Unknown),
        ("ci", LookUp::Unknown),
        ("\u{e9}ci:bob", LookUp::Unknown),
    ] {
        let found = snapshot.access.look_up(&Account::parse(name).unwrap(), None).await.unwrap();
        assert_eq!(found, expected, "{name}");
    }
}
