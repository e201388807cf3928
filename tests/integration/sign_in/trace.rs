//! Everything that the log says of people, at its finest.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::{Browser, SECRET, Scene};
use crate::bed::ALICE;
use crate::logs::{Form, Log};

/// The forms in which a secret could stand in a line.
fn forms(secret: &str) -> BTreeSet<String> {
    let mut forms: BTreeSet<String> = [secret.to_owned()].into();
    forms.insert(form_urlencoded::byte_serialize(secret.as_bytes()).collect());
    forms.insert(secret.bytes().map(|byte| format!("{byte:02x}")).collect());
    // As Rust's debug output has bytes.
    forms.insert(secret.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", "));
    // Within a longer text, base64 looks in three ways; what depends on the neighbours is left out.
    for before in 0..3_usize {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(secret.as_bytes());
        let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        let encoded = [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)];
        forms.extend(encoded.map(|text| text[first..end].to_owned()));
    }
    forms
}

/// Takes note of what a browser keeps by now.
fn note(secrets: &mut BTreeMap<String, &'static str>, browser: &Browser) {
    secrets.extend(browser.cookies.values().map(|cookie| (cookie.clone(), "a cookie")));
}

/// Check 25: a person's whole way, with a login and another one once the provider was asked again, and each way that fails.
#[tokio::test]
async fn the_log_of_a_whole_login_has_none_of_its_secrets() {
    let scene = Scene::with("revalidate_after: 0");
    let log = Log::start(Form::Json);
    let text = Log::start(Form::Text);
    let mut secrets: BTreeMap<String, &'static str> =
        [(SECRET.to_owned(), "sign_in.secret"), ("of-the-client".to_owned(), "client_secret")].into();
    let mut browser = Browser::default();
    let asked = browser.begin(&scene.bed).await;
    note(&mut secrets, &browser);
    // The test's code is the nonce.
    secrets.extend([(asked["state"].clone(), "the state"), (asked["nonce"].clone(), "the code, and the nonce")]);
    assert_eq!(browser.come_back(&scene.bed, &asked).await.status, 303);
    note(&mut secrets, &browser);
    assert_eq!(browser.come_back(&scene.bed, &asked).await.status, 400, "a code that was used");
    let made = browser.post(&scene.bed, "/account/passwords", "name=laptop&days=30").await;
    assert_eq!(made.status, 303, "{}", made.text());
    note(&mut secrets, &browser);
    let page = browser.get(&scene.bed, "/account").await.ok().text();
    let password = page.split_once("id=\"password\">").unwrap().1.split('<').next().unwrap().to_owned();
    secrets.insert(password.clone(), "a docker password");
    for asked in ["", "&offline_token=true"] {
        let login = scene.bed.get(&format!("/auth?service=registry&scope=repository:dev/app:pull{asked}"));
        let token = login.basic("ada@example.org", &password).send().await.ok().token();
        secrets.insert(token.rsplit('.').next().unwrap().to_owned(), "the signature of an access token");
    }
    // What fails: a provider that refuses, one that is away, and passwords that are wrong.
    scene.claim(json!({"email_verified": false}));
    assert_eq!(Browser::default().sign_in(&scene.bed).await.status, 403);
    scene.claim(json!({"iss": "https://evil.example"}));
    assert_eq!(Browser::default().sign_in(&scene.bed).await.status, 400);
    scene.provider.answer_tokens(|_| (500, json!({"error": "server_error", "error_description": "of-the-provider"})));
    secrets.insert("of-the-provider".to_owned(), "what a provider says of an error");
    assert_eq!(Browser::default().sign_in(&scene.bed).await.status, 503);
    assert_eq!(scene.grants("ada@example.org", &password).await, Ok(vec!["repository:dev/app:pull,push".to_owned()]));
    for guess in ["guessed-1-password", "dwp_guessedguessedguessedguessedguess012345"] {
        secrets.insert(guess.to_owned(), "a wrong password");
        assert_eq!(scene.grants("ada@example.org", guess).await, Err(401));
        let form = format!("account=ada%40example.org&password={guess}");
        assert_eq!(browser.clone().post(&scene.bed, "/sign-in", &form).await.status, 401);
    }
    let mut alice = Browser::default();
    assert_eq!(alice.post(&scene.bed, "/sign-in", "account=alice&password=alice-pw").await.status, 303);
    note(&mut secrets, &alice);
    secrets.insert("alice-pw".to_owned(), "a password with us");
    scene.bed.get("/auth?service=registry").by(ALICE).send().await.ok();
    assert_eq!(alice.post(&scene.bed, "/sign-out", "").await.status, 303);
    assert_eq!(browser.post(&scene.bed, "/account/sign-out-everywhere", "").await.status, 303);
    // What was sent to the provider, and what it sent: the verifier, and tokens.
    let bodies = scene.provider.bodies();
    let fields = |body: &String| form_urlencoded::parse(body.as_bytes()).into_owned().collect::<Vec<_>>();
    for (name, value) in bodies.iter().flat_map(fields) {
        let what = match name.as_str() {
            "code_verifier" => "the verifier",
            "refresh_token" => "a refresh token",
            "code" => "a code",
            "client_secret" => "client_secret",
            _ => continue,
        };
        secrets.insert(value, what);
    }
    let kinds: BTreeSet<&str> = secrets.values().copied().collect();
    for kind in ["the verifier", "a refresh token", "a code", "a cookie", "the state"] {
        assert!(kinds.contains(kind), "{kind} was not seen: {kinds:?}");
    }
    secrets.extend([("access-token-of-it".to_owned(), "the provider's access token")]);
    for (log, piece) in [(log.text(), "\"message\":\"somebody signed in\""), (text.text(), "somebody signed in")] {
        assert!(log.contains(piece) && log.contains("a docker password was made"), "{log}");
        assert!(log.contains("sign_in_away") && log.contains("TRACE"), "{log}");
        for (secret, what) in &secrets {
            let shown = forms(secret).into_iter().find(|form| log.contains(form.as_str()));
            assert_eq!(shown, None, "{what} is in the log");
        }
        assert!(!log.contains("eyJ"), "a JWT is in the log");
    }
}
