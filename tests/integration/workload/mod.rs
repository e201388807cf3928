//! Workloads without passwords: what of an issuer's tokens is taken in place of a password, and how each known attack ends.

mod config;
pub(crate) mod keys;
mod recipes;
mod review;
mod sessions;
mod strangers;
mod verification;

use std::sync::OnceLock;

use dockwarden::keys::generate;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::bed::{Bed, Reply, pair};
use crate::oidc::{Key, changed};

const AUDIENCE: &str = "registry.example.org";
const ASK: &str = "/auth?service=registry&scope=repository:x/app:pull";
/// Workloads may pull what is called like their account.
const RULES: &str = "acl: [{match: {account: \"/^[a-z0-9]+:.+$/\", name: \"x/*\"}, actions: [pull]}]\n";

/// A key that was made once for the whole run; each number is another one.
fn key(kid: &str, number: usize) -> Key {
    static MADE: OnceLock<Vec<String>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let make = |_| generate(Algorithm::ES256, "issuer.test", OffsetDateTime::now_utc()).unwrap().key_pem;
        (0..3).map(make).collect()
    });
    Key::new(kid, Algorithm::ES256, &made[number])
}

fn rsa(kid: &str) -> Key {
    Key::new(kid, Algorithm::RS256, &pair(Algorithm::RS256).key_pem)
}

/// Claims of a token that is good now, for us; these besides.
fn claims(more: Value) -> Value {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    changed(&json!({"aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 300}), &more)
}

/// A server with one entry, and no users of its own but Alice and Bob.
fn bed(entries: &str) -> Bed {
    Bed::with(&format!("{RULES}workload:\n{entries}"))
}

/// What somebody gets who has this token for a password.
async fn login(bed: &Bed, token: &str) -> Reply {
    bed.get(ASK).basic("whoever", token).send().await
}

/// The account that a token is of, or the status of the refusal.
async fn whose(bed: &Bed, token: &str) -> Result<String, u16> {
    let reply = login(bed, token).await;
    match reply.status {
        200 => Ok(reply.claims()["sub"].as_str().unwrap().to_owned()),
        status => Err(status),
    }
}
