//! What a refusal costs beside services that have two secrets: the same for everybody, so that its time tells nobody who exists.

use super::opensvc;
use crate::bed::{ALICE_HASH, BOB_HASH, Bed};

const ASK: &str = "/auth?service=reg&scope=repository:apps/100/x:pull";

/// With the secrets of `web@n1` as the configuration has them, and nothing of `web@n3`'s.
fn bed(secrets: &str) -> Bed {
    let ours = format!("\"web@n1\": {{app: web, secrets: [\"{ALICE_HASH}\"]}}");
    let text = opensvc();
    assert!(text.contains(&ours), "{text}");
    let with = format!("\"web@n1\": {{app: web, secrets: [{secrets}]}}\n    \"web@n3\": {{app: web}}");
    let closed = format!("users:\n  gone: {{password: \"{ALICE_HASH}\", disabled: true}}\n");
    Bed::with(&text.replace(&ours, &with).replace("users:\n  ann", &format!("{closed}  ann")))
}

async fn hashes(bed: &Bed) -> u32 {
    let text = bed.get("/metrics").send().await.text();
    let line = text.lines().find_map(|line| line.strip_prefix("dockwarden_password_hash_seconds_count "));
    line.unwrap().parse().unwrap()
}

/// A service with two secrets, with one and with none; somebody else, somebody who is closed and whose password is right, and nobody.
const ASKED: [(&str, &str); 8] = [
    ("web@n1", "wrong"),
    ("web@n2", "wrong"),
    ("web@n3", "wrong"),
    ("ghost@n1", "wrong"),
    ("ann", "wrong"),
    ("gone", "alice-pw"),
    ("gone", "wrong"),
    ("ghost", "wrong"),
];

#[tokio::test]
async fn every_refusal_costs_as_many_hashes_as_the_service_with_the_most() {
    for (secrets, most) in
        [(format!("\"{ALICE_HASH}\""), 1), (format!("\"{BOB_HASH}\", \"{ALICE_HASH}\""), 2), (String::new(), 1)]
    {
        let bed = bed(&secrets);
        for (account, password) in ASKED {
            let before = hashes(&bed).await;
            assert_eq!(bed.get(ASK).basic(account, password).send().await.status, 401, "{account} {password}");
            assert_eq!(hashes(&bed).await - before, most, "{account} {password}");
        }
    }
}

/// Who is let in does not wait for what a refusal costs, and is remembered whichever of the two secrets it was.
#[tokio::test]
async fn either_of_two_secrets_lets_in_and_is_remembered() {
    let bed = bed(&format!("\"{BOB_HASH}\", \"{ALICE_HASH}\""));
    for (password, cost) in [("bob-pw", 1), ("alice-pw", 2)] {
        for cost in [cost, 0] {
            let before = hashes(&bed).await;
            assert_eq!(bed.get(ASK).basic("web@n1", password).send().await.status, 200, "{password}");
            assert_eq!(hashes(&bed).await - before, cost, "{password}");
        }
    }
}
