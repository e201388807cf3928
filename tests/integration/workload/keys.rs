//! The keys of an issuer: found, kept, fetched anew, and not fetched where that would be an attack (checks 38 and 39).

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::{ASK, AUDIENCE, bed, claims, key, whose};
use crate::bed::Bed;
use crate::logs::{Form, Log};
use crate::oidc::{Key, Manner, Provider};

/// A server whose one entry has its keys from here.
fn with_keys(issuer: &str, keys: &str) -> Bed {
    bed(&format!(
        "  - issuer: \"{issuer}\"\n    name: ci\n    audiences: [{AUDIENCE}]\n    keys: {keys}\n    require: {{org: \"7\"}}\n    account: \"ci:${{claim:sub}}\"\n"
    ))
}

fn discovering(provider: &Provider) -> Bed {
    let address = &provider.address;
    with_keys(address, &format!("{{discovery: \"{address}/.well-known/openid-configuration\", plain_http: loopback}}"))
}

fn token(key: &Key, issuer: &str) -> String {
    key.sign(&claims(json!({"iss": issuer, "org": "7", "sub": "job"})))
}

/// The monotonic clock goes on by this much at once.
pub(crate) async fn later(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

/// Asks until this is so: what is fetched in the background is there some moment later.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(20), "it never came");
        tokio::task::yield_now().await;
    }
}

/// Logins at the same time with these tokens, from one network: their statuses, sorted.
async fn at_once(bed: &Bed, from: &str, tokens: impl IntoIterator<Item = String>) -> Vec<u16> {
    let mut asked = JoinSet::new();
    for token in tokens {
        asked.spawn(bed.get(ASK).basic("x", &token).from(from).send());
    }
    let mut statuses: Vec<u16> = asked.join_all().await.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    statuses
}

const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// Check 38.
#[tokio::test]
async fn a_key_that_is_not_known_is_asked_for_once_in_half_a_minute() {
    let (old, new) = (key("old", 0), key("new", 1));
    let provider = Provider::start(&[&old]);
    let bed = discovering(&provider);
    let issuer = provider.address.clone();
    assert_eq!(whose(&bed, &token(&old, &issuer)).await.as_deref(), Ok("ci:job"));
    assert_eq!(provider.fetches(), 1);
    let made_up = |number: usize| token(&Key { kid: format!("made-up-{number}"), ..new.clone() }, &issuer);
    assert_eq!(at_once(&bed, "203.0.113.1", (0..100).map(made_up)).await, [401; 100]);
    assert_eq!(provider.fetches(), 1);
    later(Duration::from_secs(31)).await;
    assert_eq!(at_once(&bed, "203.0.113.2", (0..100).map(made_up)).await, [401; 100]);
    assert_eq!(provider.fetches(), 2);
    // The issuer has a new key, and signs with it at once.
    provider.publish(&[&old, &new]);
    later(Duration::from_secs(30)).await;
    assert_eq!(whose(&bed, &token(&new, &issuer)).await.as_deref(), Ok("ci:job"));
    assert_eq!(whose(&bed, &token(&old, &issuer)).await.as_deref(), Ok("ci:job"));
    assert_eq!(provider.fetches(), 3);
    // One that was withdrawn is not taken for longer than keys are kept.
    provider.publish(&[&new]);
    later(Duration::from_secs(601)).await;
    until(async || provider.fetches() == 4).await;
    until(async || whose(&bed, &token(&old, &issuer)).await == Err(401)).await;
}

/// An issuer that publishes a set without keys has withdrawn them all, as after a theft: that is no outage.
#[tokio::test]
async fn an_issuer_that_withdraws_all_its_keys_is_believed() {
    let key = key("k1", 0);
    let provider = Provider::start(&[&key]);
    let bed = discovering(&provider);
    let token = token(&key, &provider.address);
    assert_eq!(whose(&bed, &token).await.as_deref(), Ok("ci:job"));
    let log = Log::start(Form::Json);
    provider.publish(&[]);
    later(Duration::from_secs(601)).await;
    until(async || provider.fetches() == 2).await;
    until(async || whose(&bed, &token).await == Err(401)).await;
    let text = log.text();
    assert!(text.contains("workload_keys_withdrawn") && !text.contains("workload_keys_failed"), "{text}");
    provider.publish(&[&key]);
    later(Duration::from_secs(31)).await;
    assert_eq!(whose(&bed, &token).await.as_deref(), Ok("ci:job"));
}

/// The first logins of a build server come at once, and wait for the same keys.
#[tokio::test]
async fn whoever_needs_keys_at_the_same_time_waits_for_one_fetch() {
    let key = key("k1", 0);
    let provider = Provider::start(&[&key]);
    let bed = discovering(&provider);
    let tokens = (0..50)
        .map(|number| key.sign(&claims(json!({"iss": provider.address, "org": "7", "sub": "job", "jti": number}))));
    assert_eq!(at_once(&bed, "203.0.113.1", tokens).await, [200; 50]);
    assert_eq!(provider.asked(), ["/.well-known/openid-configuration", "/jwks"]);
}

/// Made-up tokens cost no fetch: what they say is compared first.
#[tokio::test]
async fn nothing_is_fetched_for_who_is_not_meant() {
    let key = key("k1", 0);
    let provider = Provider::start(&[&key]);
    let bed = discovering(&provider);
    assert_eq!(whose(&bed, &token(&key, &provider.address)).await.as_deref(), Ok("ci:job"));
    later(Duration::from_secs(31)).await;
    let unknown = Key { kid: "unknown".to_owned(), ..key };
    for other in [json!({"aud": "other"}), json!({"org": "8"}), json!({"exp": 1})] {
        let claims = crate::oidc::changed(&claims(json!({"iss": provider.address, "org": "7", "sub": "job"})), &other);
        assert_eq!(whose(&bed, &unknown.sign(&claims)).await, Err(401), "{other}");
    }
    assert_eq!(provider.fetches(), 1);
}

/// Check 39. The issuer answers as nobody should: the keys of before are good for a day, and then nobody can tell.
#[tokio::test]
async fn old_keys_are_used_for_a_day_and_then_it_is_503_and_never_401() {
    let key = key("k1", 0);
    let evil = Provider::start(&[&key]);
    for manner in [
        Manner::Redirecting(evil.address.clone()),
        Manner::Huge,
        Manner::Status(500),
        Manner::Status(404),
        Manner::KeysAt(format!("{}/jwks", evil.address)),
        Manner::KeysAt("file:///etc/passwd".to_owned()),
        Manner::As(evil.address.clone()),
        Manner::Silent,
    ] {
        let provider = Provider::start(&[&key]);
        let bed = discovering(&provider);
        let token = token(&key, &provider.address);
        let unknown = self::token(&Key { kid: "unknown".to_owned(), ..key.clone() }, &provider.address);
        assert_eq!(whose(&bed, &token).await.as_deref(), Ok("ci:job"));
        provider.behave(manner.clone());
        let log = Log::start(Form::Json);
        // Half of a day later it was tried in the background, and nobody has to wait for that.
        let asked = provider.asked().len();
        later(A_DAY / 2).await;
        until(async || provider.asked().len() > asked).await;
        assert_eq!(whose(&bed, &token).await.as_deref(), Ok("ci:job"), "{manner:?}");
        if manner == Manner::Silent {
            later(Duration::from_secs(6)).await;
        }
        until(async || log.text().contains("workload_keys_failed")).await;
        assert_eq!(whose(&bed, &unknown).await, Err(503), "{manner:?}: it may be a new key");
        later(A_DAY / 2).await;
        let refused = match manner {
            Manner::Silent => {
                let before = provider.asked().len();
                // It waits for an answer that never comes.
                let (refused, ()) = tokio::join!(whose(&bed, &token), async {
                    until(async || provider.asked().len() > before).await;
                    later(Duration::from_secs(6)).await;
                });
                refused
            }
            _ => whose(&bed, &token).await,
        };
        assert_eq!(refused, Err(503), "{manner:?}");
        assert_eq!(whose(&bed, &unknown).await, Err(503), "{manner:?}");
        assert_eq!(bed.get(ASK).by(crate::bed::ALICE).send().await.status, 200, "others are not affected");
        let metrics = bed.get("/metrics").send().await.text();
        assert!(
            metrics.contains("dockwarden_backend_answers_total{backend=\"workload\",outcome=\"error\"}"),
            "{metrics}"
        );
        provider.behave(Manner::Well);
        later(Duration::from_secs(31)).await;
        assert_eq!(whose(&bed, &token).await.as_deref(), Ok("ci:job"), "{manner:?}");
        assert!(log.text().contains("workload_keys_back"), "{manner:?}: {}", log.text());
    }
    assert!(evil.asked().is_empty(), "{:?}", evil.asked());
}

/// An issuer that was never reached is an outage, too, and the first answer ends it.
#[tokio::test]
async fn an_issuer_that_is_away_from_the_beginning_is_503() {
    let key = key("k1", 0);
    let provider = Provider::start(&[&key]);
    provider.behave(Manner::Status(503));
    let bed = discovering(&provider);
    let token = token(&key, &provider.address);
    assert_eq!(whose(&bed, &token).await, Err(503));
    let metrics = bed.get("/metrics").send().await.text();
    assert!(metrics.contains("dockwarden_workload_keys_age_seconds{entry=\"ci\"} inf"), "{metrics}");
    provider.behave(Manner::Well);
    later(Duration::from_secs(2)).await;
    assert_eq!(whose(&bed, &token).await.as_deref(), Ok("ci:job"));
}

/// A set of keys in a file, which a reload reads anew.
#[tokio::test]
async fn keys_can_be_in_a_file() {
    let (old, new) = (key("old", 0), key("new", 1));
    let folder = crate::bed::Folder::new();
    let write = |key: &Key| folder.put("jwks.json", &json!({"keys": [key.jwk]}).to_string());
    write(&old);
    let text = format!(
        "{}workload:\n  - issuer: https://kubernetes.default.svc.cluster.local\n    audiences: [{AUDIENCE}]\n    keys: {{file: $DIR/jwks.json}}\n    require: {{kubernetes.io.namespace: ci}}\n    account: \"k8s:${{claim:sub}}\"\n",
        super::RULES
    );
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let sign = |key: &Key| key.sign(&claims(json!({"iss": issuer, "sub": "s", "kubernetes.io": {"namespace": "ci"}})));
    let bed = Bed::in_folder(folder, &text);
    assert_eq!(whose(&bed, &sign(&old)).await.as_deref(), Ok("k8s:s"));
    assert_eq!(whose(&bed, &sign(&new)).await, Err(401));
    bed.folder.put("jwks.json", &json!({"keys": [new.jwk]}).to_string());
    assert_eq!(bed.app.reload(), dockwarden::app::Reload::Done);
    assert_eq!(whose(&bed, &sign(&new)).await.as_deref(), Ok("k8s:s"));
    assert_eq!(whose(&bed, &sign(&old)).await, Err(401));
}

/// Two clusters have the same issuer, as most that were made by kubeadm: who signed tells them apart.
#[tokio::test]
async fn of_one_issuer_the_first_entry_is_asked_whose_keys_and_requirements_fit() {
    let (one, two) = (key("k1", 0), key("k1", 1));
    let (first, second) = (Provider::start(&[&one]), Provider::start(&[&two]));
    let entry = |name: &str, provider: &Provider, namespace: &str| {
        format!(
            "  - issuer: https://kubernetes.default.svc.cluster.local\n    name: {name}\n    audiences: [{AUDIENCE}]\n    keys: {{url: \"{}/jwks\", plain_http: loopback}}\n    require: {{kubernetes.io.namespace: {namespace}}}\n    account: \"{name}:${{claim:sub}}\"\n",
            provider.address
        )
    };
    let bed =
        bed(&format!("{}{}{}", entry("a", &first, "ci"), entry("b", &first, "[ci, web]"), entry("c", &second, "ci")));
    let sign = |key: &Key, namespace: &str| {
        let issuer = "https://kubernetes.default.svc.cluster.local";
        key.sign(&claims(json!({"iss": issuer, "sub": "s", "kubernetes.io": {"namespace": namespace}})))
    };
    for (key, namespace, expected) in [
        (&one, "ci", Ok("a:s")),
        (&one, "web", Ok("b:s")),
        (&two, "ci", Ok("c:s")),
        (&two, "web", Err(401)),
        (&one, "default", Err(401)),
    ] {
        assert_eq!(whose(&bed, &sign(key, namespace)).await, expected.map(str::to_owned), "{namespace}");
    }
    // Entries with the same keys fetch them once.
    assert_eq!((first.fetches(), second.fetches()), (1, 1));
    // What the first cluster's server would say is not needed for what the second one's keys tell.
    first.behave(Manner::Status(500));
    later(A_DAY).await;
    assert_eq!(whose(&bed, &sign(&two, "ci")).await.as_deref(), Ok("c:s"));
    assert_eq!(whose(&bed, &sign(&one, "ci")).await, Err(503));
}

/// A reload that changes something else keeps the keys.
#[tokio::test]
async fn a_reload_keeps_the_keys_of_an_issuer_that_stays() {
    let key = key("k1", 0);
    let provider = Provider::start(&[&key]);
    let bed = discovering(&provider);
    assert_eq!(whose(&bed, &token(&key, &provider.address)).await.as_deref(), Ok("ci:job"));
    let file = bed.folder.path("config.yml");
    let text = std::fs::read_to_string(&file).unwrap();
    for (from, to) in [("org: \"7\"", "org: [\"7\", \"8\"]"), ("actions: [pull]", "actions: [push]")] {
        std::fs::write(&file, text.replace(from, to)).unwrap();
        assert_eq!(bed.app.reload(), dockwarden::app::Reload::Done);
        assert_eq!(whose(&bed, &token(&key, &provider.address)).await.as_deref(), Ok("ci:job"));
    }
    assert_eq!(provider.fetches(), 1);
}

/// `check --connect` fetches the keys once, and says what is wrong.
#[tokio::test]
async fn an_issuer_is_tried_before_it_is_needed() {
    let key = key("k1", 0);
    let provider = Provider::start(&[&key]);
    let bed = discovering(&provider);
    let reach = async || {
        let reached = bed.app.snapshot().access.reach().await;
        let found = reached.into_iter().find(|reached| reached.name == "workload").unwrap().found;
        found.map_err(|cause| format!("{cause:#}"))
    };
    assert_eq!(reach().await, Ok(format!("ci: {} publishes 1 key that can be used", provider.address)));
    provider.behave(Manner::KeysAt("https://elsewhere.example/jwks".to_owned()));
    let wrong = reach().await.unwrap_err();
    assert!(wrong.starts_with("ci: ") && wrong.contains("names keys on another host; write keys: {url: …}"), "{wrong}");
    provider.behave(Manner::Status(500));
    assert!(reach().await.is_err_and(|wrong| wrong.ends_with("answers with status 500")));
}
