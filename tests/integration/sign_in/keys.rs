//! A provider's keys: fetched anew for one that is not known, and no oftener than is good for the provider.

use std::time::{Duration, Instant};

use dockwarden::keys::generate;
use jsonwebtoken::Algorithm;
use time::OffsetDateTime;
use tokio::task::JoinSet;

use super::{Browser, Scene, key, sections};
use crate::bed::Bed;
use crate::oidc::{Key, Manner, Provider};
use crate::workload::keys::later;

/// What came of so many people who come back at once.
async fn at_once(scene: &Scene, number: usize) -> Vec<u16> {
    let mut coming = JoinSet::new();
    for _ in 0..number {
        let mut browser = Browser::default();
        let asked = browser.begin(&scene.bed).await;
        let back = format!("/oidc_auth?code={}&state={}", asked["nonce"], asked["state"]);
        coming.spawn(scene.bed.get(&back).header("cookie", &browser.cookie()).send());
    }
    coming.join_all().await.iter().map(|reply| reply.status).collect()
}

/// Check 13, and trap 6: a key that is not known is asked for once in a minute, however many come with one.
#[tokio::test]
async fn a_key_that_is_not_known_is_asked_for_once_in_a_minute() {
    let scene = Scene::new();
    assert_eq!(Browser::default().sign_in(&scene.bed).await.status, 303);
    assert_eq!(scene.provider.fetches(), 1);
    // The provider signs by a key that it has published only now.
    let made = generate(Algorithm::ES256, "issuer.test", OffsetDateTime::now_utc()).unwrap();
    let new = Key::new("b", Algorithm::ES256, &made.key_pem);
    scene.provider.publish(&[&key(), &new]);
    scene.be_well_by(new.clone());
    later(Duration::from_secs(61)).await;
    assert_eq!(at_once(&scene, 5).await, [303; 5]);
    assert_eq!(scene.provider.fetches(), 2, "once for all of them");
    scene.be_well_by(Key { kid: "made-up".to_owned(), ..new });
    for (seconds, fetches) in [(0, 2), (31, 2), (30, 3), (59, 3)] {
        later(Duration::from_secs(seconds)).await;
        assert_eq!(at_once(&scene, 10).await, [400; 10]);
        assert_eq!(scene.provider.fetches(), fetches, "{seconds} s later");
    }
    // Who signs by a key that is known waits for nobody.
    scene.be_well();
    assert_eq!(Browser::default().sign_in(&scene.bed).await.status, 303);
    assert_eq!(scene.provider.fetches(), 3);
}

/// Check 64: keys are waited for no longer than anything else of a provider.
#[tokio::test]
async fn keys_that_do_not_come_are_a_503_within_the_time_of_the_file() {
    let provider = Provider::start(&[&key()]);
    provider.behave(Manner::KeysSilent);
    let bed = Bed::with(&sections(&provider, "http_timeout: 200ms"));
    let scene = Scene::of(provider, bed);
    let began = Instant::now();
    let reply = Browser::default().sign_in(&scene.bed).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    // Without the file's time it would be five seconds.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    scene.provider.behave(Manner::Well);
    later(Duration::from_secs(3)).await;
    assert_eq!(Browser::default().sign_in(&scene.bed).await.status, 303);
}
