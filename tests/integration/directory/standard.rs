//! What the standard rules decide: each row of the reference's table, at the real token endpoint.

use dockwarden::authn::{Account, Identity, LookUp};
use dockwarden::directory::rights::{Managed, ManagedAction};
use policy::scope::{Resource, Scope};
use time::OffsetDateTime;

use super::{granted, opensvc, person};
use crate::bed::{Bed, Caller};

/// The check of the reference, or 0 beside them: who asks for what at which registry, and what is granted.
const ROWS: &[(u8, &str, &str, &str, &str)] = &[
    (1, "ann", "repository:users/1/x:pull,push", "reg", "pull,push"),
    (0, "ann", "repository:users/ann/x:pull,push", "reg", "pull,push"),
    (2, "ann", "repository:users/2/x:pull,push", "reg", ""),
    (3, "bob", "repository:users/2/x:pull,push", "reg", "pull"),
    (4, "eve", "repository:users/5/x:pull", "reg", ""),
    (5, "dan", "repository:users/4/x:pull,push", "reg", ""),
    (6, "ann", "repository:users/1/x:pull,push", "vault", "pull"),
    (7, "cat", "repository:users/3/x:pull,push", "vault", "pull,push"),
    (8, "ann", "repository:groups/10/x:pull,push", "reg", "pull,push"),
    (0, "ann", "repository:groups/dev/x/y/z:pull,push", "reg", "pull,push"),
    (9, "ann", "repository:groups/20/x:pull,push", "reg", ""),
    (0, "ann", "repository:groups/everybody/x:pull", "reg", ""),
    (10, "ann", "repository:apps/100/x:pull,push", "reg", "pull,push"),
    (0, "ann", "repository:apps/web/x:pull,push", "reg", "pull,push"),
    (11, "ann", "repository:apps/101/x:pull,push", "reg", "pull"),
    (12, "ann", "repository:apps/999/x:pull", "reg", ""),
    (13, "ann", "repository:lib/x:pull,push", "reg", "pull"),
    (14, "cat", "repository:lib/x:pull,push", "reg", "pull,push"),
    (15, "ann", "repository:lib/x:*", "reg", "pull"),
    (0, "cat", "repository:lib/x:*", "reg", "delete,pull,push"),
    (16, "ann", "repository:lib/x:delete", "reg", ""),
    (16, "cat", "repository:lib/x:delete", "reg", "delete"),
    (0, "cat", "repository:apps/100/x:pull,push,delete", "reg", "delete,pull,push"),
    (0, "cat", "repository:apps/101/x:pull,push,delete", "reg", "delete,pull"),
    (0, "cat", "repository:users/1/x:pull,push,delete", "reg", "delete"),
    (0, "cat", "repository:users/1:pull,push,delete", "reg", ""),
    (17, "ann", "registry:catalog:*", "reg", ""),
    (0, "cat", "registry:catalog:*", "reg", ""),
    (0, "web@n1", "registry:catalog:*", "reg", ""),
    (18, "web@n1", "repository:apps/100/x:pull,push", "reg", "pull"),
    (0, "web@n1", "repository:apps/web/x:pull", "vault", "pull"),
    (19, "web@n1", "repository:apps/101/x:pull", "reg", ""),
    (20, "web@n1", "repository:users/1/x:pull", "reg", ""),
    (20, "web@n1", "repository:groups/10/x:pull", "reg", ""),
    (21, "web@n1", "repository:lib/x:pull,push", "reg", "pull"),
    (21, "bank@n1", "repository:lib/x:pull,push", "reg", ""),
    (0, "bank@n1", "repository:apps/101/x:pull", "reg", ""),
    (22, "ann", "repository:users/1:pull,push", "reg", ""),
    (0, "ann", "repository:groups/10:pull", "reg", ""),
    (0, "ann", "repository:apps/100:pull", "reg", ""),
    (0, "ann", "repository:users:pull", "reg", "pull"),
    (23, "ann", "repository:appstore/x:pull", "reg", "pull"),
];

/// Checks 1 to 23, by their numbers.
#[tokio::test]
async fn checks_1_to_23_each_row_of_the_reference_is_decided_as_it_says() {
    let bed = Bed::with(&opensvc());
    for (check, who, scope, service, expected) in ROWS {
        let found = granted(&bed, who, scope, service).await;
        assert_eq!(found, *expected, "check {check}: {who} asks for {scope} at {service}");
    }
    let mut checks: Vec<u8> = ROWS.iter().map(|row| row.0).filter(|check| *check > 0).collect();
    checks.dedup();
    assert_eq!(checks, (1..=23).collect::<Vec<u8>>());
}

/// Checks 24 and 29: two scopes in either way are both decided; a double quote in a name is no access.
#[tokio::test]
async fn scopes_are_decided_each_by_itself() {
    let bed = Bed::with(&opensvc());
    let both = ["repository:users/1/x:pull,push", "repository:lib/x:pull"];
    for query in [
        "scope=repository:users/1/x:pull,push&scope=repository:lib/x:pull,push",
        "scope=repository:users/1/x:pull,push%20repository:lib/x:pull,push",
    ] {
        let reply = bed.get(&format!("/auth?service=reg&{query}")).by(person("ann")).send().await.ok();
        assert_eq!(reply.access(), both, "{query}");
    }
    let reply = bed.get("/auth?service=reg&scope=repository:a%22b:pull").by(person("ann")).send().await.ok();
    assert_eq!(reply.access(), Vec::<String>::new());
    // The registries of the file are those that tokens are for.
    assert_eq!(bed.get("/auth?service=other").by(person("ann")).send().await.status, 400);
}

/// Checks 25 to 28: a service's secret is no other service's, nobody else is let in as a service, and none is made by asking.
#[tokio::test]
async fn services_log_in_by_their_own_secrets() {
    let bed = Bed::with(&opensvc());
    for (account, password, status) in [
        ("web@n1", "alice-pw", 200),
        ("web@n1", "bob-pw", 401),
        ("web@n2", "bob-pw", 200),
        ("web@n2", "alice-pw", 401),
        ("ghost@n1", "alice-pw", 401),
        ("n1", "alice-pw", 401),
        ("WEB@n1", "alice-pw", 401),
    ] {
        let reply = bed.get("/auth?service=reg").by(Caller::Account(account, password)).send().await;
        assert_eq!(reply.status, status, "{account} with {password}");
        if status == 200 {
            let claims = reply.claims();
            assert_eq!(claims["sub"], account);
            assert!(
                claims["jti"].as_str().is_some_and(|id| !id.is_empty())
                    && reply.json()["expires_in"].as_i64() > Some(0)
            );
        }
    }
    let reply = bed.get("/auth?service=reg").by(Caller::Nobody).send().await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"));
}

/// What a backend says of itself under the directory's names gives nobody what the directory does not.
#[tokio::test]
async fn labels_of_a_backend_never_stand_for_those_of_the_directory() {
    let text = opensvc().replace(
        "  eve: {password: ",
        "  eve: {labels: {pull: [\"*\"], push: [\"*\"], push_other: [reg], manage: [reg], uid: [\"1\"], gid: [\"10\"], privilege: [manager]}, password: ",
    );
    let bed = Bed::with(&text);
    for scope in ["repository:lib/x:*", "repository:users/1/x:pull,push,delete", "repository:users/5/x:pull"] {
        assert_eq!(granted(&bed, "eve", scope, "reg").await, "", "{scope}");
    }
    let found = bed.app.snapshot().access.look_up(&Account::parse("eve").unwrap(), None).await.unwrap();
    let LookUp::Known(eve) = found else { panic!("{found:?}") };
    let labels: Vec<&str> = eve.labels.keys().map(String::as_str).collect();
    assert_eq!(labels, ["app_pull", "app_push", "gid", "see", "uid"]);
}

/// Groups of a login count where the directory knows them, with what the group may do.
#[tokio::test]
async fn groups_may_come_from_a_label() {
    let text = opensvc()
        .replace("directory:\n", "directory:\n  groups_from: group\n")
        .replace("ops: {id: 20}", "ops: {id: 20, privileges: [puller]}")
        .replace("  dan: {password: ", "  dan: {labels: {group: [dev, nowhere, \"*\"]}, password: ")
        .replace("  eve: {password: ", "  eve: {labels: {group: [ops]}, password: ")
        .replace(
            "users:\n  ann",
            &format!("users:\n  zoe: {{labels: {{group: [ops]}}, password: \"{}\"}}\n  ann", crate::bed::ALICE_HASH),
        );
    let bed = Bed::with(&text);
    for (who, scope, service, expected) in [
        ("dan", "repository:users/4/x:pull,push", "reg", "pull,push"),
        ("dan", "repository:groups/10/x:pull", "reg", "pull"),
        ("dan", "repository:groups/20/x:pull", "reg", ""),
        ("eve", "repository:users/5/x:pull,push", "reg", "pull"),
        ("eve", "repository:groups/ops/x:pull", "vault", "pull"),
        // Not among the users, and so without an id.
        ("zoe", "repository:groups/20/x:pull", "vault", "pull"),
        ("zoe", "repository:lib/x:pull", "reg", ""),
    ] {
        assert_eq!(granted(&bed, who, scope, service).await, expected, "{who} asks for {scope} at {service}");
    }
}

/// Who manages what, asked as the API asks.
#[tokio::test]
async fn rights_of_managing_are_rules_too() {
    use ManagedAction::{Change, Create, Delete, Describe, List, Show, Sweep};
    let bed = Bed::with(&opensvc());
    for (who, what, expected) in [
        ("cat", Managed::Registries, &[Create][..]),
        ("ann", Managed::Registries, &[]),
        ("cat", Managed::Registry("reg"), &[List, Show, Change, Delete, Sweep]),
        ("ann", Managed::Registry("vault"), &[List, Show]),
        ("dan", Managed::Registry("reg"), &[]),
        ("ann", Managed::Descriptions("reg"), &[Describe]),
        ("ann", Managed::Descriptions("vault"), &[]),
        ("bob", Managed::Descriptions("reg"), &[]),
        ("cat", Managed::Pulls("vault"), &[List]),
        ("ann", Managed::Pulls("vault"), &[]),
        ("ann", Managed::Group(10), &[List, Show]),
        ("ann", Managed::Group(20), &[]),
        ("ann", Managed::App(101), &[List, Show]),
        ("web@n1", Managed::App(101), &[]),
        ("dan", Managed::User(4), &[List, Show]),
        ("dan", Managed::User(1), &[]),
        ("cat", Managed::Service("web@n1"), &[]),
    ] {
        let snapshot = bed.app.snapshot();
        let found = snapshot.access.look_up(&Account::parse(who).unwrap(), None).await.unwrap();
        let LookUp::Known(identity) = found else { panic!("{found:?}") };
        assert_eq!(managed(&bed, &identity, what).await, words(expected), "{who}: {what:?}");
    }
}

fn words(actions: &[ManagedAction]) -> Vec<String> {
    let mut words: Vec<String> = actions.iter().map(|action| action.as_str().to_owned()).collect();
    words.sort();
    words
}

async fn managed(bed: &Bed, who: &Identity, what: Managed<'_>) -> Vec<String> {
    let resource = Resource::ours(&what.name()).unwrap();
    let actions = ManagedAction::actions().iter().cloned().collect();
    let scope = Scope { resource, class: None, actions, reference: None };
    let now = OffsetDateTime::now_utc();
    let decision = bed.app.snapshot().access.decide(who, None, "", vec![scope], now).await.unwrap();
    let mut words: Vec<String> = decision.grants()[0].granted.iter().map(|action| action.as_str().to_owned()).collect();
    words.sort();
    words
}
