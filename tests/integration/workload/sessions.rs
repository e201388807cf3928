//! What is remembered of workloads: tokens that may be used once (check 42), and sessions, which outlive the token that brought them
//! (check 31), by a login and by a token exchange (RFC 8693).

use std::sync::Arc;

use dockwarden::authn::{Account, Credentials, Secret};
use dockwarden::records::{Kept, Whose};
use dockwarden::secrets::Lasting;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{AUDIENCE, claims, key, login};
use crate::bed::{ALICE, Ask, Bed, Folder, Reply};
use crate::logs::{Form, Log};
use crate::oidc::{Key, Provider, changed};

const ISSUER: &str = "https://ci.example.org";
const ACCOUNT: &str = "ci:octo/app";
const RECORDS: &str = "records: {sqlite: $DIR/dockwarden.db}\n";
const AWAY: &str =
    "records: {postgres: {host: 127.0.0.1, port: 1, database: d, username: u, password: p, tls: disable}}\n";
const OFFLINE: &str = "/auth?service=registry&offline_token=true&client_id=docker";
const PULL: &str = "/auth?service=registry&scope=repository:x/app:pull";
const EXCHANGE: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange";
const JWT: &str = "subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt";
const REFRESH: &str = "urn:ietf:params:oauth:token-type:refresh_token";

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// A server that takes the tokens of one issuer, and the key that signs them.
struct Site {
    bed: Bed,
    key: Key,
    provider: Provider,
}

impl Site {
    /// `sections` besides the entry, to which `more` belongs (`session: 2h`).
    fn with(sections: &str, more: &str) -> Site {
        let key = key("k1", 0);
        let provider = Provider::start(&[&key]);
        let bed = Bed::with(&text(&provider, sections, more));
        Site { bed, key, provider }
    }

    /// Another replica on the same records.
    fn replica(&self, more: &str) -> Bed {
        let file = self.bed.folder.path("dockwarden.db");
        Bed::with(&text(&self.provider, &format!("records: {{sqlite: \"{}\"}}\n", file.display()), more))
    }

    /// A token of the job, good for five minutes; these claims besides.
    fn jwt(&self, more: Value) -> String {
        let job =
            json!({"iss": ISSUER, "org": "7", "sub": "octo/app", "project": "x", "jti": rand(), "group": ["*", "x"]});
        self.key.sign(&changed(&claims(job), &more))
    }

    fn lasting(&self) -> Arc<Lasting> {
        Arc::clone(self.bed.app.snapshot().access.lasting().unwrap())
    }

    async fn kept(&self) -> Vec<Kept> {
        self.lasting().list(&Whose::All, None, 100).await.unwrap()
    }

    /// The session that a login gets, if it gets one.
    async fn session(&self, jwt: &str) -> Option<String> {
        session_in(&self.bed.get(OFFLINE).basic("whoever", jwt).send().await.ok())
    }

    async fn present(&self, session: &str) -> Reply {
        self.bed.get(PULL).basic("<token>", session).send().await
    }

    fn exchange(&self, jwt: &str, more: &str) -> Ask {
        self.bed.post("/auth", &format!("{EXCHANGE}&{JWT}&subject_token={jwt}&service=registry{more}"))
    }
}

fn text(provider: &Provider, sections: &str, more: &str) -> String {
    format!(
        "{sections}acl: [{{match: {{account: \"{ACCOUNT}\", name: \"${{labels:project}}/*\"}}, actions: [pull]}}, {{match: {{labels: {{group: x}}, name: \"g/*\"}}, actions: [pull]}}]\nworkload:\n  - issuer: {ISSUER}\n    name: ci\n    audiences: [{AUDIENCE}]\n    keys: {{url: \"{}/jwks\", plain_http: loopback}}\n    require: {{org: \"7\"}}\n    account: \"ci:${{claim:sub}}\"\n    labels: {{project: \"${{claim:project}}\", group: \"${{claim:group}}\"}}\n{more}",
        provider.address
    )
}

/// What no other token has.
fn rand() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn session_in(reply: &Reply) -> Option<String> {
    let session = reply.json().get("refresh_token")?.as_str().unwrap().to_owned();
    assert!(session.starts_with("dws_") && session.len() == 40);
    Some(session)
}

/// The same JWT by ES256 with another signature, which is as right: `n - s` in the place of `s`.
fn resigned(jwt: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    const N: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad,
        0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrowed = 0;
    for place in (0..32).rev() {
        let difference = i16::from(N[place]) - i16::from(signature[32 + place]) - borrowed;
        borrowed = i16::from(difference < 0);
        signature[32 + place] = u8::try_from(difference + 256 * borrowed).unwrap();
    }
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test]
async fn check_42_of_those_that_present_a_token_for_one_use_one_gets_in() {
    let site = Site::with(RECORDS, "    single_use: true\n");
    let other = site.replica("    single_use: true\n");
    for round in 0..5 {
        let jwt = site.jwt(json!({}));
        let asked = (0..6).map(|number| {
            let bed = if number % 2 == 0 { &site.bed } else { &other };
            tokio::spawn(bed.get(PULL).basic("whoever", &jwt).send())
        });
        let mut statuses = Vec::new();
        for reply in asked.collect::<Vec<_>>() {
            statuses.push(reply.await.unwrap().status);
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401, 401, 401, 401, 401], "round {round}");
        let log = Log::start(Form::Json);
        assert_eq!(login(&other, &jwt).await.status, 401);
        let text = log.text();
        assert!(text.contains("workload_refused") && text.contains("used before, and ci takes each once"), "{text}");
    }
    // Who saw one and shapes it anew has the same one.
    let jwt = site.jwt(json!({}));
    let again = resigned(&jwt);
    assert_ne!(jwt, again);
    login(&site.bed, &jwt).await.ok();
    assert_eq!(login(&other, &again).await.status, 401);
    let every_time = Site::with(RECORDS, "");
    let jwt = every_time.jwt(json!({}));
    for jwt in [&jwt, &resigned(&jwt), &jwt] {
        login(&every_time.bed, jwt).await.ok();
    }
}

/// One replica's clock is ahead, and it forgets what is over by it.
#[tokio::test]
async fn a_replica_whose_clock_is_ahead_forgets_no_token_that_another_still_takes() {
    let site = Site::with(RECORDS, "    single_use: true\n");
    let (first, other) = (site.jwt(json!({})), site.jwt(json!({"exp": now().unix_timestamp() + 3600})));
    let identify = async |token: &str, minutes: i64| {
        let who = Credentials::Workload { token: Secret::new(token) };
        let snapshot = site.bed.app.snapshot();
        snapshot.access.identify(&who, None, now() + time::Duration::minutes(minutes)).await.is_ok()
    };
    assert!(identify(&first, 0).await);
    assert!(identify(&other, 8).await, "by a clock by which the first is over");
    assert!(!identify(&first, 4).await);
}

/// At the doors to registries a session is what a password is, and its access token ends with it.
#[tokio::test]
async fn a_session_and_its_access_token_are_taken_by_a_proxy_until_it_is_revoked() {
    let door = "forward_auth: {trusted_proxies: [192.0.2.1], service: registry}\n";
    let site = Site::with(&format!("{RECORDS}{door}"), "");
    let jwt = site.jwt(json!({}));
    let session = site.session(&jwt).await.unwrap();
    let token = site.present(&session).await.ok().token();
    let ask = || {
        site.bed.get("/forward_auth").header("x-original-method", "GET").header("x-original-uri", "/v2/x/app/tags/list")
    };
    let bearer = format!("Bearer {token}");
    let statuses = async || {
        [
            ask().basic("w", &jwt).send().await.status,
            ask().basic("<token>", &session).send().await.status,
            ask().header("authorization", &bearer).send().await.status,
        ]
    };
    assert_eq!(statuses().await, [200, 200, 200]);
    site.lasting().revoke_presented(&session, now()).await.unwrap();
    assert_eq!(statuses().await, [200, 401, 401]);
}

/// It brings one session, once; and an exchange is a use as well.
#[tokio::test]
async fn a_token_for_one_use_brings_one_session() {
    let site = Site::with(RECORDS, "    single_use: true\n");
    let jwt = site.jwt(json!({}));
    let session = site.session(&jwt).await.unwrap();
    for ask in [site.bed.get(OFFLINE).basic("whoever", &jwt), site.exchange(&jwt, "")] {
        assert_eq!(ask.send().await.status, 401);
    }
    site.present(&session).await.ok();
    let jwt = site.jwt(json!({}));
    site.exchange(&jwt, "").send().await.ok();
    assert_eq!(login(&site.bed, &jwt).await.status, 401);
    assert_eq!(site.kept().await.len(), 2);
}

#[tokio::test]
async fn a_token_for_one_use_is_503_without_the_records_and_others_are_not() {
    let site = Site::with(AWAY, "    single_use: true\n");
    let jwt = site.jwt(json!({}));
    for _ in 0..2 {
        let log = Log::start(Form::Json);
        let reply = login(&site.bed, &jwt).await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"));
        assert!(log.text().contains("\"cause\":\"records could not answer"), "{}", log.text());
    }
    // A refused one asks nobody.
    assert_eq!(login(&site.bed, &site.jwt(json!({"exp": 1}))).await.status, 401);
    site.bed.get("/auth?service=registry").by(ALICE).send().await.ok();
}

#[tokio::test]
async fn an_entry_that_needs_records_has_them_beside_the_key() {
    for (more, expected) in
        [("    single_use: true\n", true), ("    session: 30m\n", true), ("    session: false\n", false), ("", false)]
    {
        let site = Site::with("", more);
        assert_eq!(site.bed.app.snapshot().access.lasting().is_some(), expected, "{more}");
        login(&site.bed, &site.jwt(json!({}))).await.ok();
        if more.contains("single_use") {
            assert!(site.bed.folder.path("dockwarden.db").exists());
        }
        assert_eq!(site.session(&site.jwt(json!({}))).await.is_some(), expected, "{more}");
    }
}

/// Check 31: a token that lives for five minutes, and a pull ten minutes after the login with it.
#[tokio::test]
async fn check_31_a_session_outlives_the_token_that_brought_it() {
    let site = Site::with(RECORDS, "");
    let then = now() - time::Duration::minutes(10);
    let at = then.unix_timestamp();
    let jwt = site.jwt(json!({"iat": at, "nbf": at, "exp": at + 300}));
    let who =
        Credentials::Password { account: Account::parse("whoever").unwrap(), password: Secret::new(jwt.as_str()) };
    let identity = site.bed.app.snapshot().access.identify(&who, None, then).await.unwrap();
    let made = site.lasting().make_session(&identity, "registry", then).await.unwrap();
    assert_eq!(made.kept.ends.unwrap().unix_timestamp(), at + 3600);
    assert_eq!(login(&site.bed, &jwt).await.status, 401, "by now");
    let reply = site.present(made.secret.reveal()).await.ok();
    assert_eq!((&reply.claims()["sub"], reply.access()), (&json!(ACCOUNT), vec!["repository:x/app:pull".to_owned()]));
    // An hour after it was made it is over, and of the last minute no token is made.
    for (ago, status) in [(58, 200), (60, 401), (61, 401)] {
        let then = now() - time::Duration::minutes(ago);
        let identity =
            dockwarden::authn::Identity { session: Some(then + time::Duration::hours(1)), ..identity.clone() };
        let made = site.lasting().make_session(&identity, "registry", then).await.unwrap();
        assert_eq!(site.present(made.secret.reveal()).await.status, status, "{ago} minutes ago");
    }
}

#[tokio::test]
async fn a_login_gets_a_session_where_it_asks_and_there_are_records() {
    let posted = "grant_type=password&service=registry&username=whoever&password=";
    for (sections, more, target, form, expected) in [
        (RECORDS, "", OFFLINE, "", true),
        (RECORDS, "", PULL, "", false),
        (RECORDS, "", "/auth?service=registry&offline_token=false", "", false),
        (RECORDS, "", "", "&access_type=offline", true),
        (RECORDS, "", "", "&access_type=online", false),
        (RECORDS, "    session: 12h\n", OFFLINE, "", true),
        (RECORDS, "    session: false\n", OFFLINE, "", false),
        ("records: {sqlite: $DIR/r.db}\nlasting: {refresh: false}\n", "", OFFLINE, "", true),
        ("lasting: {refresh: [other]}\n", "", OFFLINE, "", true),
        ("", "", OFFLINE, "", false),
    ] {
        let site = Site::with(sections, more);
        let jwt = site.jwt(json!({}));
        let ask = match form {
            "" => site.bed.get(target).basic("whoever", &jwt),
            form => site.bed.post("/auth", &format!("{posted}{jwt}{form}")),
        };
        let session = session_in(&ask.send().await.ok());
        assert_eq!(session.is_some(), expected, "{sections} {more} {target} {form}");
        if let Some(session) = session {
            assert_eq!(site.present(&session).await.ok().claims()["sub"], ACCOUNT);
        }
    }
}

/// As for refresh tokens: `docker login` always asks for one.
#[tokio::test]
async fn without_the_records_a_login_goes_on_and_an_exchange_does_not() {
    let site = Site::with(AWAY, "");
    let log = Log::start(Form::Json);
    assert_eq!(site.session(&site.jwt(json!({}))).await, None);
    assert!(log.text().contains("refresh_token_not_issued"), "{}", log.text());
    let metrics = site.bed.get("/metrics").send().await.text();
    assert!(metrics.contains("dockwarden_refresh_tokens_total{outcome=\"unavailable\"} 1\n"), "{metrics}");
    let reply = site.exchange(&site.jwt(json!({})), "").send().await;
    assert_eq!((reply.status, &reply.json()["error"]), (503, &json!("temporarily_unavailable")), "{}", reply.text());
}

#[tokio::test]
async fn a_session_is_presented_wherever_a_secret_is_and_brings_no_other() {
    let site = Site::with(RECORDS, "");
    let session = site.session(&site.jwt(json!({}))).await.unwrap();
    let scope = "service=registry&scope=repository:x/app:pull";
    for account in ["<token>", "", "00000000-0000-0000-0000-000000000000", ACCOUNT, "workload", "alice"] {
        if account != ACCOUNT {
            let reply = site.bed.get(PULL).basic(account, &session).send().await.ok();
            assert_eq!(reply.access(), ["repository:x/app:pull"], "{account}");
        }
        let form = format!("grant_type=password&username={account}&password={session}&{scope}");
        assert_eq!(site.bed.post("/auth", &form).send().await.ok().claims()["sub"], ACCOUNT, "{account}");
    }
    let form = format!("grant_type=refresh_token&refresh_token={session}&{scope}&access_type=offline");
    let reply = site.bed.post("/auth", &form).send().await.ok();
    assert_eq!((reply.access(), session_in(&reply)), (vec!["repository:x/app:pull".to_owned()], None));
    assert_eq!(session_in(&site.bed.get(OFFLINE).basic("", &session).send().await.ok()), None);
    assert_eq!(site.exchange(&session, "").send().await.status, 401);
    assert_eq!(site.bed.get("/auth?service=other").basic("", &session).send().await.status, 401);
}

/// What a claim says is plain text to rules, in a session as in the token itself.
#[tokio::test]
async fn a_session_has_the_labels_that_the_token_brought_and_they_are_no_patterns() {
    let site = Site::with(RECORDS, "");
    for (project, group, granted) in [
        ("x", "x", "repository:x/app:pull repository:g/app:pull"),
        ("y", "x", "repository:x/app: repository:g/app:pull"),
        ("*", "*", "repository:x/app: repository:g/app:"),
    ] {
        let jwt = site.jwt(json!({"project": project, "group": [group]}));
        let session = site.session(&jwt).await.unwrap();
        let ask = "/auth?service=registry&scope=repository:x/app:pull&scope=repository:g/app:pull";
        for secret in [&jwt, &session] {
            let reply = site.bed.get(ask).basic("w", secret).send().await.ok();
            assert_eq!(reply.access().join(" "), granted, "{project}");
        }
    }
}

#[tokio::test]
async fn a_session_ends_with_its_entry_its_account_and_by_itself() {
    let site = Site::with(RECORDS, "");
    let session = site.session(&site.jwt(json!({}))).await.unwrap();
    let configure = |sections: &str, name: &str| {
        let text = text(&site.provider, sections, "").replace("name: ci\n", &format!("name: {name}\n"));
        site.bed.folder.configure(&text);
        site.bed.app.reload();
    };
    configure(RECORDS, "renamed");
    let log = Log::start(Form::Json);
    assert_eq!(site.present(&session).await.status, 401);
    assert!(log.text().contains("secret_owner_gone"), "{}", log.text());
    configure(RECORDS, "ci");
    site.present(&session).await.ok();
    let other = site.session(&site.jwt(json!({"sub": "octo/other"}))).await.unwrap();
    site.lasting().sign_out(&Account::parse(ACCOUNT).unwrap(), now()).await.unwrap();
    let log = Log::start(Form::Json);
    assert_eq!(site.present(&session).await.status, 401);
    assert!(log.text().contains("secret_signed_out"), "{}", log.text());
    site.present(&other).await.ok();
    let session = site.session(&site.jwt(json!({}))).await.unwrap();
    site.present(&session).await.ok();
    site.lasting().revoke_presented(&session, now()).await.unwrap();
    assert_eq!(site.present(&session).await.status, 401);

    // No access token outlives it.
    let short = Site::with(RECORDS, "    session: 5m\n");
    let session = short.session(&short.jwt(json!({}))).await.unwrap();
    let life = short.present(&session).await.ok().life();
    assert!((290..=300).contains(&life), "{life}");
}

/// The longest life is `lasting.longest`'s, too.
#[tokio::test]
async fn a_session_lives_as_long_as_its_entry_says() {
    let review = "    token_review: {api: \"ADDRESS\", token_file: $DIR/reviewer, plain_http: loopback}\n";
    let reviewed = |more: &str| format!("{review}{more}");
    for (sections, more, exp, expected) in [
        ("", String::new(), 300, Some(3600)),
        ("", "    session: 2h\n".to_owned(), 300, Some(7200)),
        ("lasting: {longest: 1800s}\n", "    session: 2h\n".to_owned(), 300, Some(1800)),
        // With token_review as long as the token, and an hour at most: nobody asks the cluster about a session.
        ("", reviewed(""), 600, Some(600)),
        ("", reviewed(""), 7200, Some(3600)),
        ("", reviewed(""), 90, None),
        ("", reviewed("    session: 2h\n"), 600, Some(7200)),
        ("", reviewed("    session: false\n"), 600, None),
    ] {
        let sections = format!("{RECORDS}{sections}");
        let key = key("k1", 0);
        let provider = Provider::start(&[&key]);
        provider.review(json!({"authenticated": true, "user": {"username": "octo/app"}, "audiences": [AUDIENCE]}));
        let folder = Folder::new();
        folder.put("reviewer", "reviewers.own.token\n");
        let more = more.replace("ADDRESS", &provider.address);
        // Whose tokens are reviewed is a cluster, of which more is required.
        let text = text(&provider, &sections, &more).replace("{org: \"7\"}", "{org: \"7\", sub: octo/app}");
        let site = Site { bed: Bed::in_folder(folder, &text), key, provider };
        let at = now().unix_timestamp();
        let session = site.session(&site.jwt(json!({"exp": at + exp}))).await;
        assert_eq!(session.is_some(), expected.is_some(), "{more}");
        if let Some(expected) = expected {
            let left = site.kept().await[0].ends.unwrap().unix_timestamp() - at;
            assert!((expected - 5..=expected + 5).contains(&left), "{more} {left}");
            site.present(&session.unwrap()).await.ok();
        }
    }
}

/// RFC 8693, as curl asks.
#[tokio::test]
async fn a_token_is_exchanged_for_a_session() {
    let site = Site::with(RECORDS, "");
    for more in [
        "",
        "&audience=registry",
        "&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Arefresh_token",
        "&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&scope=",
    ] {
        let reply = site.exchange(&site.jwt(json!({})), more).send().await.ok();
        let (json, session) = (reply.json(), reply.json()["access_token"].as_str().unwrap().to_owned());
        assert!(session.starts_with("dws_"), "{json}");
        let expected = json!({
            "access_token": session, "issued_token_type": REFRESH, "token_type": "N_A", "expires_in": json["expires_in"],
        });
        assert_eq!(json, expected, "{more}");
        assert!((3590..=3600).contains(&json["expires_in"].as_i64().unwrap()), "{json}");
        assert_eq!(reply.header("cache-control"), "no-store");
        assert_eq!(site.present(&session).await.ok().access(), ["repository:x/app:pull"]);
    }
    // The service by its name in the RFC alone.
    let form = format!("{EXCHANGE}&{JWT}&audience=registry&subject_token={}", site.jwt(json!({})));
    site.bed.post("/auth", &form).send().await.ok();
    let kept = site.kept().await;
    assert!(kept.iter().all(|kept| kept.limits.services == ["registry"]), "{kept:?}");
}

#[tokio::test]
async fn an_exchange_that_is_refused_says_why_and_repeats_nothing() {
    let services =
        "token: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key, services: [registry, other]}\n";
    let site = Site::with(&format!("{RECORDS}{services}"), "");
    let jwt = site.jwt(json!({}));
    let over = site.jwt(json!({"exp": 1}));
    let foreign = super::key("k1", 1).sign(&claims(json!({"iss": ISSUER, "org": "7", "sub": "octo/app"})));
    let elsewhere = site.jwt(json!({"iss": "https://evil.example.org"}));
    let subject = |token: &str| format!("&service=registry&{JWT}&subject_token={token}");
    let good = subject(&jwt);
    let wrong = [
        (format!("&service=registry&{JWT}"), 400, "invalid_request"),
        (format!("&service=registry&{JWT}&subject_token="), 400, "invalid_request"),
        (format!("&service=registry&subject_token={jwt}"), 400, "invalid_request"),
        (good.replace("token-type%3Ajwt", "token-type%3Asaml2"), 400, "invalid_request"),
        (format!("{good}&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt"), 400, "invalid_request"),
        (format!("{good}&actor_token=x"), 400, "invalid_request"),
        (format!("{good}&resource=https%3A%2F%2Fregistry.example.org"), 400, "invalid_request"),
        (format!("{good}&scope=repository:x/app:pull"), 400, "invalid_request"),
        (format!("{good}&audience=other"), 400, "invalid_request"),
        (format!("{good}&subject_token=x"), 400, "invalid_request"),
        (good.replace("service=registry", "service=unknown"), 400, "invalid_target"),
        (good.replace("service=registry", "audience=unknown"), 400, "invalid_target"),
        (good.replace("&service=registry", ""), 400, "invalid_request"),
        (subject(&over), 401, "invalid_request"),
        (subject(&foreign), 401, "invalid_request"),
        (subject(&elsewhere), 401, "invalid_request"),
        (subject("alice-pw"), 401, "invalid_request"),
        (subject(&"x".repeat(64 * 1024)), 413, "invalid_request"),
    ];
    let log = Log::start(Form::Json);
    for (more, status, error) in &wrong {
        let reply = site.bed.post("/auth", &format!("{EXCHANGE}{more}")).send().await;
        let what = more.chars().take(120).collect::<String>();
        assert_eq!((reply.status, &reply.json()["error"]), (*status, &json!(error)), "{what} {}", reply.text());
        reply.code();
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    // Both a header and a form say who it is.
    let both = site.bed.post("/auth", &format!("{EXCHANGE}{good}")).by(ALICE).send().await;
    assert_eq!((both.status, &both.json()["error"]), (400, &json!("invalid_request")));
    // By GET there are no grants: whoever asks is nobody.
    let reply = site.bed.get(&format!("/auth?{EXCHANGE}{good}")).send().await.ok();
    assert!(reply.json().get("issued_token_type").is_none());
    let logged = log.text();
    for token in [&jwt, &over, &foreign, &elsewhere] {
        let signature = token.rsplit_once('.').unwrap().1;
        assert!(!logged.contains(signature), "{logged}");
    }
    assert!(site.kept().await.is_empty());

    // Where the entry gives none, and where nothing keeps them.
    let none = Site::with(RECORDS, "    session: false\n");
    let reply = none.exchange(&none.jwt(json!({})), "").send().await;
    assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("invalid_request")), "{}", reply.text());
    let nothing = Site::with("", "");
    let reply = nothing.exchange(&nothing.jwt(json!({})), "").send().await;
    assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("unsupported_grant_type")));
}

/// A flood of refused tokens is looked at for a while, by this door as by the others.
#[tokio::test]
async fn an_exchange_is_counted_as_a_login_is() {
    let site = Site::with(RECORDS, "");
    let jwt = site.jwt(json!({}));
    for _ in 0..60 {
        assert_eq!(site.exchange("alice-pw", "").send().await.status, 401);
        assert_eq!(login(&site.bed, &site.jwt(json!({"exp": 1}))).await.status, 401);
    }
    for ask in [site.exchange("alice-pw", ""), site.exchange(&jwt, ""), site.bed.get(PULL).basic("w", &jwt)] {
        let reply = ask.send().await;
        assert_eq!(reply.status, 429, "{}", reply.text());
        assert!(!reply.header("retry-after").is_empty());
    }
    site.exchange(&jwt, "").from("198.51.100.1").send().await.ok();
}

/// Where the longest unused has to go, a pipeline of many jobs goes on.
#[tokio::test]
async fn an_account_has_a_thousand_sessions_at_most() {
    assert_eq!(dockwarden::secrets::MOST_SESSIONS, 1000);
    let site = Site::with(RECORDS, "");
    let jwt = site.jwt(json!({}));
    let who = Credentials::Workload { token: Secret::new(jwt.as_str()) };
    let identity = site.bed.app.snapshot().access.identify(&who, None, now()).await.unwrap();
    let earlier = now() - time::Duration::seconds(10);
    let first = site.lasting().make_session(&identity, "registry", earlier).await.unwrap().secret.reveal().to_owned();
    for number in 1..=1000 {
        let made = site.lasting().make_session(&identity, "registry", now()).await.unwrap();
        assert_eq!(made.evicted.len(), usize::from(number == 1000), "{number}");
    }
    let last = site.session(&site.jwt(json!({"sub": "octo/other"}))).await.unwrap();
    assert_eq!(site.present(&first).await.status, 401);
    site.present(&last).await.ok();
}
