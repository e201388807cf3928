//! Access tokens that were made for secrets, at our own doors: what a secret could not get now, a token of it does not get either.

use dockwarden::app::Reload;
use dockwarden::secrets::Changes;

use super::*;
use crate::bed::ALICE;

/// An upstream that is not there: who was let in is told 502.
const GATEWAY: &str = "gateway: {service: registry, upstreams: [{url: \"http://127.0.0.1:1\"}]}\n";
const LET_IN: u16 = 502;

async fn through(bed: &Bed, token: &str, address: &str) -> u16 {
    let ask = bed.get("/v2/web/app/manifests/latest").header("authorization", &format!("Bearer {token}"));
    ask.from(address).send().await.status
}

#[tokio::test]
async fn a_token_of_a_secret_is_for_the_networks_and_scopes_that_the_secret_has_now() {
    let bed = Bed::with(&format!("{LASTING}{GATEWAY}"));
    let from = vec!["192.0.2.0/24".parse().unwrap()];
    let made = bed.personal_at("alice", limited(Limits { from, ..Limits::default() }), now()).await;
    let token = bed.present("alice", made.secret.reveal(), ASK).await.ok().token();
    for (address, expected) in
        [("192.0.2.77", LET_IN), ("::ffff:192.0.2.77", LET_IN), ("198.51.100.1", 401), ("::1", 401)]
    {
        assert_eq!(through(&bed, &token, address).await, expected, "{address}");
    }
    let limits = |allow: &str, from: &str, not_before| Limits {
        allow: vec![allow.to_owned()],
        from: vec![from.parse().unwrap()],
        not_before,
        services: Vec::new(),
    };
    let later = Some(now() + days(1));
    for (limits, expected) in [
        (limits("repository:web/*:pull", "192.0.2.0/24", None), LET_IN),
        (limits("repository:web/*:push", "192.0.2.0/24", None), 401),
        (limits("repository:other/*:pull", "192.0.2.0/24", None), 401),
        (limits("repository:web/*:pull", "203.0.113.0/24", None), 401),
        (limits("repository:web/*:pull", "192.0.2.0/24", later), 401),
        (limits("repository:*/*:*", "192.0.2.0/24", None), LET_IN),
    ] {
        let old = bed.lasting().show(&made.kept.id).await.unwrap().unwrap();
        let (seen, changes) = (old.version, Changes { name: None, limits: Some(limits.clone()) });
        bed.lasting().change(old, changes, seen).await.unwrap();
        assert_eq!(through(&bed, &token, "192.0.2.77").await, expected, "{limits:?}");
    }
}

#[tokio::test]
async fn a_token_of_a_secret_ends_with_its_owner() {
    let bob = format!("bob: {{password: \"{BOB_HASH}\"}}");
    let config = |users: &str| format!("{users}{GATEWAY}");
    let as_it_was = config(&users(ALICE_HASH, &bob));
    let bed = Bed::with(&as_it_was);
    let token = {
        let secret = bed.personal("alice", named("laptop")).await;
        bed.present("alice", &secret, ASK).await.ok().token()
    };
    let by_password = bed.get(ASK).by(ALICE).send().await.ok().token();
    for (change, config) in [
        ("another password", config(&users(BOB_HASH, &bob))),
        ("disabled", config(&users(ALICE_HASH, &bob).replace("labels:", "disabled: true, labels:"))),
        ("removed", config(&format!("{LASTING}users:\n  {bob}\n"))),
    ] {
        assert_eq!(through(&bed, &token, "192.0.2.1").await, LET_IN, "before: {change}");
        bed.folder.configure(&config);
        assert_eq!(bed.app.reload(), Reload::Done, "{change}");
        assert_eq!(through(&bed, &token, "192.0.2.1").await, 401, "{change}");
        assert_eq!(through(&bed, &by_password, "192.0.2.1").await, LET_IN, "{change}: it is as good as it says");
        bed.folder.configure(&as_it_was);
        assert_eq!(bed.app.reload(), Reload::Done);
    }
}

#[tokio::test]
async fn a_token_of_the_second_in_which_its_secret_was_renewed_is_the_old_ones() {
    let bed = Bed::with(&format!("{LASTING}{GATEWAY}"));
    let made = bed.personal_at("alice", named("laptop"), now()).await;
    let old = bed.present("alice", made.secret.reveal(), ASK).await.ok();
    let moment = OffsetDateTime::from_unix_timestamp(old.claims()["iat"].as_i64().unwrap()).unwrap();
    assert_eq!(through(&bed, &old.token(), "192.0.2.1").await, LET_IN);
    let end = Some(Expires::In(Duration::from_secs(3600)));
    let owner = Some(bed.look_up("alice").await);
    let renewed = bed.lasting().renew(&made.kept.id, owner, (end, None), moment).await.unwrap();
    let new = bed.present("alice", renewed.secret.reveal(), ASK).await.ok().token();
    assert_eq!(through(&bed, &old.token(), "192.0.2.1").await, 401);
    assert_eq!(through(&bed, &new, "192.0.2.1").await, LET_IN);
}

/// A refresh token would otherwise be kept from its rest by asking where it is refused.
#[tokio::test]
async fn what_the_api_refuses_is_no_use_of_a_secret() {
    let rules = "api: {listen: main}\nacl: [{match: {type: dockwarden, account: alice}, actions: [list]}]\n";
    let bed = Bed::with(&format!("{LASTING}{rules}"));
    let refresh = bed.refresh(ALICE).await;
    let personal = bed.personal("alice", named("laptop")).await;
    for (secret, status, uses) in [(&refresh, 401, 0), (&personal, 200, 1)] {
        let reply = bed.present("alice", secret, "/api/v1/tokens").await;
        assert_eq!((reply.status, bed.lasting().write_uses().await.unwrap()), (status, uses), "{}", reply.text());
    }
}
