//! The records are away: what needs them is told to come again, and nobody else waits for them.

use super::{Browser, Scene, key, sections};
use crate::bed::{ALICE, BOB, Bed};
use crate::oidc::Provider;

/// Check 41.
#[tokio::test]
async fn without_the_records_people_are_told_to_come_again_and_static_users_go_on() {
    let scene = Scene::new();
    let mut browser = Browser::default();
    let password = scene.password(&mut browser, "laptop").await;
    // The same server once its records do not answer: nobody listens there.
    let away = "records: {postgres: {host: 127.0.0.1, port: 1, database: d, username: u, password: p, tls: disable}}";
    let provider = Provider::start(&[&key()]);
    let bed = Bed::with(&sections(&provider, "").replace("records: {sqlite: $DIR/records.db}", away));
    let down = Scene::of(provider, bed);
    let asks = |account: &str, password: &str| down.bed.get("/auth?service=registry").basic(account, password).send();
    for (account, secret, status) in [
        ("ada@example.org", password.as_str(), 503),
        ("ada@example.org", "not-a-secret", 503),
        // It could be somebody's who signed in.
        ("nobody", "not-a-secret", 503),
        ("alice", "alice-pw", 200),
        ("alice", "wrong", 401),
    ] {
        let reply = asks(account, secret).await;
        assert_eq!(reply.status, status, "{account}: {}", reply.text());
    }
    for caller in [ALICE, BOB] {
        down.bed.get("/auth?service=registry&scope=repository:dev/app:pull").by(caller).send().await.ok();
    }
    // Signed in before, and by a provider that is well: neither is a page that shows nothing as if there were nothing.
    let asked = browser.begin(&down.bed).await;
    for (reply, what) in [
        (browser.get(&down.bed, "/account").await, "an account"),
        (browser.get(&down.bed, "/repositories").await, "what may be pulled"),
        (browser.post(&down.bed, "/account/passwords", "name=desk&days=30").await, "a new password"),
        (browser.post(&down.bed, "/account/sign-out-everywhere", "").await, "the end of all"),
        (browser.come_back(&down.bed, &asked).await, "a sign-in at a provider"),
        (browser.post(&down.bed, "/sign-in", "account=alice&password=alice-pw").await, "a sign-in by password"),
    ] {
        assert_eq!(reply.status, 503, "{what}: {}", reply.text());
        assert!(!reply.header("retry-after").is_empty(), "{what}");
        assert!(!reply.text().contains("127.0.0.1") && !reply.text().contains("postgres"), "{what}: {}", reply.text());
    }
    assert_eq!(down.provider.bodies(), Vec::<String>::new(), "no code is redeemed that could be redeemed twice");
    down.bed.get("/sign-in").send().await.ok();
}
