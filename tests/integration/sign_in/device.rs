//! Logins that a terminal begins and somebody answers in a browser (RFC 8628). The numbers are those of the checks in the reference on
//! sign-in.

use dockwarden::records::devices::{DeviceId, DeviceLogin, UserCodeId};
use dockwarden::records::{self, Records, Settings, Version};
use serde_json::Value;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

use super::{Browser, SECRET};
use crate::bed::{Bed, Reply};

const RULES: &str = "acl: [{match: {account: alice, name: \"dev/*\"}, actions: [pull, push]}]\n";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

pub(super) fn bed() -> Bed {
    bed_of("$DIR/records.db", "")
}

fn bed_of(records: &str, more: &str) -> Bed {
    Bed::with(&format!(
        "{RULES}records: {{sqlite: {records}}}\nsign_in: {{secret: {SECRET}, registry_url: registry.example.org, url: \"https://auth.example.org\"}}\n{more}"
    ))
}

fn store(bed: &Bed) -> Arc<dyn Records> {
    records::open(&Settings::sqlite(bed.folder.path("records.db")))
}

/// A terminal that began a login.
struct Terminal {
    device_code: String,
    user_code: String,
}

async fn begin(bed: &Bed, machine: &str) -> Terminal {
    let reply = bed.post("/device_authorization", &format!("machine={machine}")).send().await.ok();
    assert_eq!(reply.header("cache-control"), "no-store");
    let said = reply.json();
    let code = said["user_code"].as_str().unwrap();
    assert_eq!(said["verification_uri"], "https://auth.example.org/device");
    assert_eq!(said["verification_uri_complete"], format!("https://auth.example.org/device?user_code={code}"));
    assert_eq!((&said["expires_in"], &said["interval"]), (&600.into(), &2.into()));
    Terminal { device_code: said["device_code"].as_str().unwrap().to_owned(), user_code: code.to_owned() }
}

impl Terminal {
    async fn poll(&self, bed: &Bed) -> Reply {
        bed.post("/device_token", &format!("grant_type={GRANT}&device_code={}", self.device_code)).send().await
    }

    /// The code of the refusal.
    async fn refusal(&self, bed: &Bed) -> String {
        let reply = self.poll(bed).await;
        assert_eq!(reply.status, 400, "{}", reply.text());
        reply.json()["error"].as_str().unwrap().to_owned()
    }

    /// As if it had last asked long ago, or begun so.
    async fn rewind(&self, bed: &Bed, ends: Option<OffsetDateTime>) {
        let store = store(bed);
        let id = DeviceId::of(&self.device_code);
        let login = store.device(&id).await.unwrap().unwrap();
        let mut document: Value = serde_json::from_str(&login.text).unwrap();
        document["asked"] = Value::Null;
        assert!(!login.text.contains(&self.device_code) && !login.text.contains(&self.user_code));
        store.replace_device(&id, &document.to_string(), login.version).await.unwrap();
        if let Some(ends) = ends {
            store.forget_devices(login.ends + Duration::seconds(1)).await.unwrap();
            store.make_device(&DeviceLogin { ends, text: document.to_string(), ..login }).await.unwrap();
        }
    }
}

async fn signed_in(bed: &Bed) -> Browser {
    let mut browser = Browser::default();
    let reply = browser.post(bed, "/sign-in", "account=alice&password=alice-pw").await;
    assert_eq!((reply.status, reply.header("location")), (303, "/account"), "{}", reply.text());
    browser
}

async fn answer(browser: &mut Browser, bed: &Bed, terminal: &Terminal, answer: &str) -> Reply {
    browser.post(bed, "/device/answer", &format!("user_code={}&answer={answer}", terminal.user_code)).await
}

/// Check 44: each answer of RFC 8628, and the one secret.
#[tokio::test]
async fn a_terminal_learns_what_somebody_answered_and_gets_one_secret() {
    let bed = bed();
    let mut browser = signed_in(&bed).await;
    let laptop = begin(&bed, "laptop%3Cb%3E").await;
    assert_eq!(laptop.refusal(&bed).await, "authorization_pending");
    assert_eq!(laptop.refusal(&bed).await, "slow_down");
    laptop.rewind(&bed, None).await;
    assert_eq!(laptop.refusal(&bed).await, "authorization_pending");
    // The page shows machine, address and code, and neither it nor the complete address answers anything.
    for reply in [
        browser.get(&bed, &format!("/device?user_code={}", laptop.user_code)).await,
        browser.post(&bed, "/device", &format!("user_code={}", laptop.user_code.to_lowercase())).await,
    ] {
        let page = reply.ok().text();
        for part in ["laptop&#60;b&#62;", "192.0.2.1", &laptop.user_code, "alice"] {
            assert!(page.contains(part), "{part}: {page}");
        }
    }
    laptop.rewind(&bed, None).await;
    assert_eq!(laptop.refusal(&bed).await, "authorization_pending");
    let foreign = bed
        .post("/device/answer", &format!("user_code={}&answer=approve", laptop.user_code))
        .header("cookie", &browser.cookie())
        .header("sec-fetch-site", "cross-site");
    assert_eq!(foreign.send().await.status, 403);
    laptop.rewind(&bed, None).await;
    assert_eq!(laptop.refusal(&bed).await, "authorization_pending");
    assert_eq!(answer(&mut browser, &bed, &laptop, "approve").await.status, 200);
    let got = laptop.poll(&bed).await.ok().json();
    assert_eq!((&got["username"], &got["registry"]), (&"alice".into(), &"registry.example.org".into()));
    assert_eq!(got["token_type"], "N_A");
    let secret = got["access_token"].as_str().unwrap();
    assert!(secret.starts_with("dwp_"));
    assert_eq!(bed.get("/auth?service=registry").basic("alice", secret).send().await.status, 200);
    assert!(browser.get(&bed, "/account").await.ok().text().contains("laptop"), "it is named for the machine");
    assert_eq!(laptop.refusal(&bed).await, "invalid_grant", "a code is good once");
    assert_eq!(answer(&mut browser, &bed, &laptop, "approve").await.status, 400, "and so is its answer");
    // A second machine of that name does not end the first one's.
    let other = begin(&bed, "laptop%3Cb%3E").await;
    assert_eq!(answer(&mut browser, &bed, &other, "approve").await.status, 200);
    let second = other.poll(&bed).await.ok().json();
    for secret in [secret, second["access_token"].as_str().unwrap()] {
        assert_eq!(bed.get("/auth?service=registry").basic("alice", secret).send().await.status, 200);
    }
    // Refused, expired, unknown.
    let refused = begin(&bed, "x").await;
    assert_eq!(answer(&mut browser, &bed, &refused, "refuse").await.status, 200);
    assert_eq!(refused.refusal(&bed).await, "access_denied");
    assert_eq!(answer(&mut browser, &bed, &refused, "approve").await.status, 400);
    let late = begin(&bed, "x").await;
    assert_eq!(answer(&mut browser, &bed, &late, "approve").await.status, 200);
    late.rewind(&bed, Some(OffsetDateTime::now_utc() - Duration::seconds(1))).await;
    assert_eq!(late.refusal(&bed).await, "expired_token");
    assert_eq!(answer(&mut browser, &bed, &late, "approve").await.status, 400);
    let nobody = Terminal { device_code: "x".to_owned(), user_code: "BCDF-GHJK".to_owned() };
    assert_eq!(nobody.refusal(&bed).await, "invalid_grant");
    for (form, error) in [
        ("device_code=x", "unsupported_grant_type"),
        ("grant_type=password&device_code=x", "unsupported_grant_type"),
        (&format!("grant_type={GRANT}"), "invalid_request"),
        (&format!("grant_type={GRANT}&device_code=x&device_code=y"), "invalid_request"),
        // What people see is good for nothing here, and neither is another's login.
        (&format!("grant_type={GRANT}&device_code={}", refused.user_code), "invalid_grant"),
    ] {
        let reply = bed.post("/device_token", form).send().await;
        assert_eq!((reply.status, &reply.json()["error"]), (400, &error.into()), "{form}");
    }
    assert_eq!(bed.get("/device_token").send().await.status, 405);
    for (form, error) in [
        ("machine=x&scope=openid", "invalid_scope"),
        ("machine=x&days=0", "invalid_request"),
        ("machine=x&days=366", "invalid_request"),
        ("machine=x&days=", "invalid_request"),
        ("machine=x&machine=y", "invalid_request"),
    ] {
        let reply = bed.post("/device_authorization", form).send().await;
        assert_eq!((reply.status, &reply.json()["error"]), (400, &error.into()), "{form}");
    }
    // What other clients of RFC 8628 send besides.
    bed.post("/device_authorization", "client_id=other&scope=").send().await.ok();
}

/// A terminal asks for less than its owner may, and never for longer than the file has it.
#[tokio::test]
async fn a_password_is_as_narrow_and_as_short_as_the_page_showed() {
    let bed = bed_of("$DIR/records.db", "lasting: {longest: 240h}\n");
    let mut browser = signed_in(&bed).await;
    for (wish, scope, days, granted) in [
        ("scope=pull&days=3", "pull only", 3, "repository:dev/app:pull"),
        ("days=30", "everything you may do", 10, "repository:dev/app:pull,push"),
    ] {
        let begun = bed.post("/device_authorization", wish).send().await.ok().json();
        let text = |name: &str| begun[name].as_str().unwrap().to_owned();
        let terminal = Terminal { device_code: text("device_code"), user_code: text("user_code") };
        assert_eq!(text("registry"), "registry.example.org");
        let page = browser.get(&bed, &format!("/device?user_code={}", terminal.user_code)).await.ok().text();
        assert!(page.contains(scope) && page.contains(&format!("{days} days")), "{page}");
        assert_eq!(answer(&mut browser, &bed, &terminal, "approve").await.status, 200);
        let got = terminal.poll(&bed).await.ok().json();
        // It ends at a whole second.
        let short = days * 24 * 3600 - got["expires_in"].as_i64().unwrap();
        assert!((0..=1).contains(&short), "{got}");
        let asked = "/auth?service=registry&scope=repository:dev/app:pull,push";
        let reply = bed.get(asked).basic("alice", got["access_token"].as_str().unwrap()).send().await.ok();
        assert_eq!(reply.access(), [granted]);
    }
}

/// Who approved and signed out everywhere has taken it back.
#[tokio::test]
async fn an_answer_ends_with_what_its_account_had_then() {
    let bed = bed();
    let mut browser = signed_in(&bed).await;
    let terminal = begin(&bed, "x").await;
    assert_eq!(answer(&mut browser, &bed, &terminal, "approve").await.status, 200);
    assert_eq!(browser.post(&bed, "/account/sign-out-everywhere", "").await.status, 303);
    assert_eq!(terminal.refusal(&bed).await, "invalid_grant");
}

/// Check 45; and what counts is not forgiven by a right code.
#[tokio::test]
async fn six_wrong_codes_are_too_many() {
    let bed = bed();
    let mut browser = signed_in(&bed).await;
    let terminal = begin(&bed, "x").await;
    let right = format!("user_code={}", terminal.user_code);
    let mut statuses = Vec::new();
    for letter in ["B", "C", "D", "F", "G", "H"] {
        if letter == "G" {
            assert_eq!(browser.post(&bed, "/device", &right).await.status, 200);
        }
        statuses.push(browser.post(&bed, "/device", &format!("user_code={}", letter.repeat(8))).await.status);
    }
    assert_eq!(statuses, [400, 400, 400, 400, 400, 429]);
    let reply = browser.post(&bed, "/device/answer", &format!("{right}&answer=approve")).await;
    assert_eq!(reply.status, 429);
    assert!(!reply.header("retry-after").is_empty());
    assert_eq!(
        bed.get("/auth?service=registry").by(crate::bed::ALICE).send().await.status,
        200,
        "passwords are others"
    );
}

/// Who has to sign in first comes back to the login that they came for.
#[tokio::test]
async fn whoever_signs_in_for_a_terminal_is_led_back_to_it() {
    let bed = bed();
    let terminal = begin(&bed, "laptop").await;
    let letters = terminal.user_code.replace('-', "");
    for (target, back) in [
        (format!("/device?user_code={}", terminal.user_code), format!("/device?user_code={letters}")),
        ("/device".to_owned(), "/device".to_owned()),
        ("/device?user_code=https://evil.example".to_owned(), "/device".to_owned()),
    ] {
        let mut browser = Browser::default();
        let reply = browser.get(&bed, &target).await;
        assert_eq!((reply.status, reply.header("location")), (303, "/sign-in"), "{target}");
        let reply = browser.post(&bed, "/sign-in", "account=alice&password=alice-pw").await;
        assert_eq!((reply.status, reply.header("location")), (303, back.as_str()), "{target}");
        assert_eq!(browser.get(&bed, &back).await.status, 200);
    }
}

/// The records are all that replicas share.
#[tokio::test]
async fn a_login_is_begun_answered_and_taken_at_three_replicas() {
    let first = bed();
    let folder = first.folder.path("records.db");
    let (second, third) = (bed_of(folder.to_str().unwrap(), ""), bed_of(folder.to_str().unwrap(), ""));
    let terminal = begin(&first, "laptop").await;
    let mut browser = signed_in(&second).await;
    assert_eq!(answer(&mut browser, &second, &terminal, "approve").await.status, 200);
    // Of those that come at once, one gets it.
    let (one, other) = tokio::join!(terminal.poll(&first), terminal.poll(&third));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400]);
}

#[tokio::test]
async fn nobody_fills_the_records_with_logins() {
    let bed = bed();
    for _ in 0..50 {
        begin(&bed, "x").await;
    }
    let reply = bed.post("/device_authorization", "machine=x").send().await;
    assert_eq!((reply.status, &reply.json()["error"]), (429, &"temporarily_unavailable".into()));
    let other = bed.post("/device_authorization", "machine=x").from("192.0.2.77").send().await;
    assert_eq!(other.status, 200, "{}", other.text());
    let code = UserCodeId::of("BCDFGHJK");
    let store = store(&bed);
    let old = DeviceLogin {
        id: DeviceId::of("old"),
        code: code.clone(),
        network: "192.0.2.1".to_owned(),
        ends: OffsetDateTime::now_utc() - Duration::seconds(601),
        text: "{}".to_owned(),
        version: Version(1),
    };
    store.make_device(&old).await.unwrap();
    bed.post("/device_authorization", "machine=x").from("192.0.2.77").send().await.ok();
    assert_eq!(store.device_called(&code).await.unwrap(), None, "ended ones are forgotten");
}

/// Without an address of its own, a server has no such logins: it is never made of the client's `Host`.
#[tokio::test]
async fn there_are_none_without_an_address() {
    let bed = Bed::with(&format!("{RULES}records: {{sqlite: $DIR/records.db}}\nsign_in: {{secret: {SECRET}}}\n"));
    for target in ["/device_authorization", "/device_token"] {
        assert_eq!(bed.post(target, "machine=x").send().await.status, 404, "{target}");
    }
    let mut browser = signed_in(&bed).await;
    assert_eq!(browser.get(&bed, "/device").await.status, 404);
}
