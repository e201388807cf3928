//! When a provider is asked again, and what becomes of who it does not know any more.

use std::sync::Arc;

use dockwarden::identity::Account;
use dockwarden::records::{self, Settings};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Browser, Scene};

const ADA: &str = "ada@example.org";
const BEA: &str = "bea@example.org";

impl Scene {
    /// Lets so many seconds pass for what is known of Ada.
    pub(super) async fn later(&self, seconds: i64) {
        self.later_for(ADA, seconds).await;
    }

    /// The same for what is known of somebody.
    async fn later_for(&self, name: &str, seconds: i64) {
        let records = records::open(&Settings::sqlite(self.bed.folder.path("records.db")));
        let person = records.person_called(&Account::parse(name).unwrap()).await.unwrap().unwrap();
        let mut document: Value = serde_json::from_str(&person.text).unwrap();
        document["checked"] = json!(OffsetDateTime::now_utc().unix_timestamp() - seconds);
        let text = document.to_string();
        let changed =
            records.replace_person(&records::persons::Person { text, ..person.clone() }, person.version).await;
        assert_eq!(changed.unwrap(), records::Changed::Done);
    }

    fn refreshes(&self) -> usize {
        self.provider.bodies().iter().filter(|form| form.contains("grant_type=refresh_token")).count()
    }
}

fn all() -> Result<Vec<String>, u16> {
    Ok(vec!["repository:dev/app:pull,push".to_owned()])
}

/// Checks 26 and 29; and no token of the provider stands in the records as it is.
#[tokio::test]
async fn labels_are_renewed_and_each_rotated_token_is_kept() {
    let scene = Scene::new();
    let password = scene.password(&mut Browser::default(), "laptop").await;
    for rotations in 1..=3 {
        assert_eq!(scene.grants(ADA, &password).await, all());
        assert_eq!(scene.grants(ADA, &password).await, all());
        assert_eq!(scene.refreshes(), rotations - 1, "not before its word is old");
        scene.later(3601).await;
        assert_eq!(scene.grants(ADA, &password).await, all());
        assert_eq!(scene.refreshes(), rotations);
    }
    let bytes = std::fs::read(scene.bed.folder.path("records.db")).unwrap();
    assert!(!bytes.windows(8).any(|part| part == b"refresh-"), "a refresh token is readable in the records");
    scene.claim(json!({"groups": ["all"]}));
    assert_eq!(scene.grants(ADA, &password).await, all());
    scene.later(3601).await;
    assert_eq!(scene.grants(ADA, &password).await, Ok(vec!["repository:dev/app:".to_owned()]));
}

/// Check 27.
#[tokio::test]
async fn who_is_gone_there_is_locked_out_and_their_passwords_stay_dead() {
    let scene = Scene::new();
    let mut browser = Browser::default();
    let password = scene.password(&mut browser, "laptop").await;
    scene.provider.answer_tokens(|_| (400, json!({"error": "invalid_grant"})));
    scene.later(3601).await;
    assert_eq!(scene.grants(ADA, &password).await, Err(401));
    assert_eq!(browser.get(&scene.bed, "/account").await.header("location"), "/sign-in", "the session is over too");
    assert_eq!(scene.grants(ADA, &password).await, Err(401));
    assert_eq!(scene.refreshes(), 1, "the answer stays");
    scene.be_well();
    let other = scene.password(&mut Browser::default(), "laptop").await;
    assert_eq!((scene.grants(ADA, &other).await, scene.grants(ADA, &password).await), (all(), Err(401)));
}

/// An account that was made anew at the provider has another subject, and the name of the one before.
#[tokio::test]
async fn a_name_is_free_once_its_person_is_gone() {
    let scene = Scene::new();
    let old = scene.password(&mut Browser::default(), "laptop").await;
    scene.claim(json!({"sub": "5678"}));
    let taken = async || {
        let back = Browser::default().sign_in(&scene.bed).await;
        assert!(back.status == 403 && back.text().contains("somebody else has your name here"), "{}", back.text());
    };
    taken().await;
    assert_eq!(scene.grants(ADA, &old).await, all(), "who comes by the name alone takes nothing away");
    // The provider's word is old, and it takes the refresh token of the one before no more.
    scene.later(3601).await;
    let new = scene.password(&mut Browser::default(), "laptop").await;
    assert_eq!((scene.grants(ADA, &new).await, scene.grants(ADA, &old).await), (all(), Err(401)));

    // Of whom the provider still knows, the name stays, until whoever runs the server gives it away.
    scene.claim(json!({"sub": "9012"}));
    taken().await;
    let config = scene.bed.folder.path("config.yml");
    let sign_out = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dockwarden"));
        command.args(["user", "sign-out", "--forget"]).arg(&config).arg(ADA).output().unwrap()
    };
    let told = sign_out();
    assert!(String::from_utf8_lossy(&told.stdout).contains("for whomever the provider calls so next"), "{told:?}");
    assert_eq!(scene.grants(ADA, &new).await, Err(401));
    let told = sign_out();
    assert!(String::from_utf8_lossy(&told.stderr).contains("nobody is forgotten"), "{told:?}");
    let last = scene.password(&mut Browser::default(), "laptop").await;
    assert_eq!((scene.grants(ADA, &last).await, scene.grants(ADA, &new).await), (all(), Err(401)));
}

/// dex has another word for a refresh token that it does not take; what else is wrong with a request of ours is nobody's absence.
#[tokio::test]
async fn a_refresh_token_that_dex_does_not_take_is_of_nobody() {
    let of_dex = "Refresh token is invalid or has already been claimed by another client.";
    for (description, status) in [(of_dex, 401), ("Unsupported parameter.", 503)] {
        let scene = Scene::with("grace: 0");
        let password = scene.password(&mut Browser::default(), "laptop").await;
        let error = json!({"error": "invalid_request", "error_description": description});
        scene.provider.answer_tokens(move |_| (400, error.clone()));
        scene.later(3601).await;
        assert_eq!(scene.grants(ADA, &password).await, Err(status), "{description}");
    }
}

/// Whoever is removed at dex is answered with 500 there. Their machines go on trying, and must not lock out everybody else.
#[tokio::test]
async fn a_provider_that_has_no_word_on_one_person_is_asked_about_the_others() {
    let scene = Scene::with("grace: 0");
    let ada = scene.password(&mut Browser::default(), "laptop").await;
    scene.claim(json!({"sub": "5678", "email": BEA}));
    let bea = scene.password(&mut Browser::default(), "laptop").await;
    scene.provider.answer_tokens(|form| match form.contains("refresh-1") {
        true => (500, json!({"error": "server_error"})),
        false => (200, json!({"access_token": "access-token-of-it", "refresh_token": "refresh-2"})),
    });
    scene.later(3601).await;
    for asked in 1..=2 {
        assert_eq!(scene.grants(ADA, &ada).await, Err(503));
        scene.later_for(BEA, 3601).await;
        assert_eq!(scene.grants(BEA, &bea).await, all());
        assert_eq!(
            scene.refreshes(),
            1 + asked,
            "one question about Ada, who is left alone for a moment, and each about Bea"
        );
    }
    scene.provider.answer_tokens(|_| (503, json!({})));
    scene.later_for(BEA, 3601).await;
    assert_eq!(scene.grants(BEA, &bea).await, Err(503));
}

/// Check 28.
#[tokio::test]
async fn a_provider_that_is_away_is_believed_for_the_time_of_grace() {
    let scene = Scene::with("grace: 10m");
    let password = scene.password(&mut Browser::default(), "laptop").await;
    scene.provider.answer_tokens(|_| (500, json!({})));
    scene.later(3601).await;
    assert_eq!(scene.grants(ADA, &password).await, all());
    scene.later(4201).await;
    assert_eq!(scene.grants(ADA, &password).await, Err(503));
    assert_eq!(scene.bed.get("/auth?service=registry").by(crate::bed::ALICE).send().await.status, 200);
}

/// Whoever runs the server learns of a provider that cannot be asked, and not of one that has no word on one person.
#[tokio::test]
async fn a_provider_is_down_from_when_it_does_not_answer_until_it_does() {
    for (status, expected) in [(503, true), (500, false)] {
        let scene = Scene::with("grace: 0");
        let password = scene.password(&mut Browser::default(), "laptop").await;
        assert!(!is_down(&scene).await);
        scene.provider.answer_tokens(move |_| (status, json!({})));
        scene.later(3601).await;
        assert_eq!(scene.grants(ADA, &password).await, Err(503));
        assert_eq!(is_down(&scene).await, expected, "{status}");
        scene.be_well();
        scene.password(&mut Browser::default(), "desk").await;
        assert!(!is_down(&scene).await, "it has answered");
    }
}

/// Whether the metrics say that the provider is down.
async fn is_down(scene: &Scene) -> bool {
    let text = scene.bed.get("/metrics").send().await.ok().text();
    let (_, rest) =
        text.split_once("dockwarden_backend_down{backend=\"oidc_auth\"} ").unwrap_or_else(|| panic!("{text}"));
    rest.starts_with('1')
}

/// Check 30: they wait for the one answer, since without grace the last word does not count.
#[tokio::test]
async fn many_who_log_in_at_once_are_one_question() {
    let scene = Arc::new(Scene::with("grace: 0"));
    let password = scene.password(&mut Browser::default(), "laptop").await;
    scene.later(3601).await;
    let mut logins = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (scene, password) = (Arc::clone(&scene), password.clone());
        logins.spawn(async move { scene.grants(ADA, &password).await });
    }
    for granted in logins.join_all().await {
        assert_eq!(granted, all());
    }
    assert_eq!(scene.refreshes(), 1);
}

/// A provider without refresh tokens cannot be asked again.
#[tokio::test]
async fn without_a_refresh_token_the_word_of_the_sign_in_is_the_last() {
    let scene = Scene::new();
    let password = scene.password(&mut Browser::default(), "laptop").await;
    let records = records::open(&Settings::sqlite(scene.bed.folder.path("records.db")));
    let person = records.person_called(&Account::parse(ADA).unwrap()).await.unwrap().unwrap();
    let mut document: Value = serde_json::from_str(&person.text).unwrap();
    document["credential"] = Value::Null;
    let text = document.to_string();
    records.replace_person(&records::persons::Person { text, ..person.clone() }, person.version).await.unwrap();
    assert_eq!(scene.grants(ADA, &password).await, all());
    scene.later(3601).await;
    assert_eq!((scene.grants(ADA, &password).await, scene.refreshes()), (Err(401), 0));
}
