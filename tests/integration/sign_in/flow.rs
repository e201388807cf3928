//! The way to a provider and back.

use dockwarden::secret::Secret;
use dockwarden::secret::sealing::SealingKey;
use serde_json::json;
use time::OffsetDateTime;

use super::{Browser, SECRET, Scene, key, sections};
use crate::bed::Bed;
use crate::oidc::{Manner, Provider};

/// Check 1.
#[tokio::test]
async fn each_page_goes_out_with_headers_that_close_it() {
    let scene = Scene::new();
    for (path, status) in [("/sign-in", 200), ("/oidc_auth?code=x", 400), ("/account", 303), ("/oidc_auth", 303)] {
        let reply = scene.bed.get(path).send().await;
        assert_eq!(reply.status, status, "{path}");
        assert!(reply.header("content-security-policy").starts_with("default-src 'none';"), "{path}");
        assert!(reply.header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("cache-control", "no-store"),
            ("referrer-policy", "same-origin"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(reply.header(name), value, "{path}");
        }
        assert!(reply.body.len() < 60 * 1024);
    }
    let page = scene.bed.get("/sign-in").send().await.text();
    assert!(page.contains("href=\"/oidc_auth\"") && !page.contains("<script"), "{page}");
    let style = page.split("stylesheet\" href=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let style = scene.bed.get(style).send().await.ok();
    assert!(style.header("content-type").starts_with("text/css"));
    assert_eq!(style.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn there_are_no_pages_unless_they_are_configured() {
    let bed = Bed::with("");
    for path in ["/sign-in", "/account", "/oidc_auth", "/google_auth?code=x", "/sign-out"] {
        assert_eq!(bed.get(path).send().await.status, 404, "{path}");
    }
}

/// Check 2, and where the address of ours comes from: never from what a client calls us.
#[tokio::test]
async fn a_browser_is_sent_to_the_provider_with_all_that_binds_its_answer() {
    let scene = Scene::new();
    let reply = scene.bed.get("/oidc_auth").header("host", "evil.example").send().await;
    assert!(reply.header("location").starts_with(&format!("{}/authorize?", scene.provider.address)));
    assert!(!reply.header("location").contains("evil"));
    let mut browser = Browser::default();
    let (one, other) = (browser.begin(&scene.bed).await, browser.begin(&scene.bed).await);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "registry"),
        ("redirect_uri", "https://auth.example.org/oidc_auth"),
        ("scope", "openid email offline_access"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(one[name], value);
    }
    for name in ["state", "nonce", "code_challenge"] {
        assert!(one[name].len() >= 43 && one[name] != other[name], "{name}");
    }
    // Each tab has its own, and both come to their end.
    assert_eq!(browser.cookies.len(), 2);
    assert!(browser.cookies.keys().all(|name| name.starts_with("__Host-dockwarden-flow-")));
    assert_eq!(browser.come_back(&scene.bed, &one).await.status, 303);
    assert_eq!(browser.come_back(&scene.bed, &other).await.status, 303);
    assert!(browser.cookies.keys().all(|name| !name.contains("flow")), "{:?}", browser.cookies.keys());
    let forms = scene.provider.bodies();
    assert!(forms[0].contains("code_verifier="), "{}", forms[0]);
}

/// A browser that is sent here again and again keeps a few of its cookies: a header of all of them would be too long for any page.
#[tokio::test]
async fn a_browser_keeps_only_a_few_sign_ins_that_it_began() {
    let scene = Scene::new();
    let mut browser = Browser::default();
    let mut asked = browser.begin(&scene.bed).await;
    for _ in 0..30 {
        asked = browser.begin(&scene.bed).await;
        assert!(browser.cookies.len() <= 8 && browser.cookie().len() < 4096, "{:?}", browser.cookies);
    }
    assert_eq!(browser.come_back(&scene.bed, &asked).await.status, 303, "the last one comes to its end");
}

/// Checks 3 to 6.
#[tokio::test]
async fn a_code_is_redeemed_once_in_time_and_for_the_browser_that_asked() {
    let scene = Scene::new();
    let (mut browser, mut victim) = (Browser::default(), Browser::default());
    let (asked, other) = (browser.begin(&scene.bed).await, victim.begin(&scene.bed).await);
    let back = format!("/oidc_auth?code={}&state={}", asked["nonce"], asked["state"]);
    let refused = |reply: crate::bed::Reply, what: &str| assert_eq!(reply.status, 400, "{what}");
    refused(scene.bed.get(&back).send().await, "without a cookie");
    refused(victim.get(&scene.bed, &back).await, "in another browser");
    refused(browser.come_back(&scene.bed, &other).await, "with the state of another browser");
    refused(browser.get(&scene.bed, "/oidc_auth?code=x").await, "without a state");
    refused(browser.get(&scene.bed, &format!("{back}&code=y")).await, "with two codes");
    assert_eq!(browser.get(&scene.bed, &back.replace("/oidc_auth", "/google_auth")).await.status, 404);
    assert_eq!(browser.get(&scene.bed, &back.replace("/oidc_auth", "/oidc_auth/other")).await.status, 400);
    let head = scene.bed.request(axum::http::Method::HEAD, &back).header("cookie", &browser.cookie()).send().await;
    assert_eq!((head.status, head.header("allow")), (405, "GET"));
    let mut late = browser.clone();
    for (name, value) in &mut late.cookies {
        let key = SealingKey::from_secret(Secret::new(SECRET));
        let text = key.verified("flow", value).unwrap();
        let began = OffsetDateTime::now_utc().unix_timestamp() - 600;
        let mut flow: serde_json::Value = serde_json::from_str(&text).unwrap();
        flow["began"] = json!(began);
        assert!(name.contains("flow"));
        *value = key.signed("flow", &flow.to_string());
    }
    refused(late.get(&scene.bed, &back).await, "after ten minutes");
    assert_eq!(scene.provider.bodies(), Vec::<String>::new(), "no code was redeemed");
    let mut again = browser.clone();
    assert_eq!(browser.come_back(&scene.bed, &asked).await.status, 303);
    refused(again.come_back(&scene.bed, &asked).await, "a second time");
    assert_eq!(scene.provider.bodies().len(), 1);
}

/// Anybody can begin sign-ins and bring codes of their own making: the provider is not asked about all of them, and others come in meanwhile.
#[tokio::test]
async fn codes_that_no_provider_gave_are_not_asked_about_for_ever() {
    let scene = Scene::new();
    scene.provider.answer_tokens(|_| (400, json!({"error": "invalid_grant"})));
    let mut attacker = Browser::default();
    for number in 1..=51 {
        let asked = attacker.begin(&scene.bed).await;
        let back = attacker.come_back(&scene.bed, &asked).await;
        let (status, wait) = if number <= 50 { (400, "") } else { (429, "1") };
        assert_eq!((back.status, back.header("retry-after")), (status, wait), "{number}: {}", back.text());
    }
    assert_eq!(scene.provider.bodies().len(), 50);
    scene.be_well();
    let mut other = Browser::default();
    let asked = other.begin(&scene.bed).await;
    let back = format!("/oidc_auth?code={}&state={}", asked["nonce"], asked["state"]);
    let elsewhere = scene.bed.get(&back).header("cookie", &other.cookie()).from("198.51.100.7").send().await;
    assert_eq!(elsewhere.status, 303, "{}", elsewhere.text());
}

/// Check 7.
#[tokio::test]
async fn what_a_provider_says_is_shown_escaped() {
    let scene = Scene::new();
    let mut browser = Browser::default();
    let asked = browser.begin(&scene.bed).await;
    let reply =
        browser.get(&scene.bed, &format!("/oidc_auth?error=%3Cb%3Eaccess_denied&state={}", asked["state"])).await;
    let page = reply.text();
    assert!(reply.status == 400 && page.contains("access_denied") && !page.contains("<b>"), "{page}");
}

/// Checks 8 to 12, 14, 15, 62 and 63; what the algorithms `none` and `HS256` come to is tested with workloads' tokens, by the same
/// reader.
#[tokio::test]
async fn an_id_token_is_this_providers_for_us_of_this_sign_in_and_of_now() {
    let scene = Scene::with("user_claim: email, scopes: [openid]");
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let many: Vec<String> = (0..5_000).map(|number| format!("group-{number}")).collect();
    for (claims, status) in [
        (json!({}), 303),
        (json!({"iss": format!("{}/", scene.provider.address)}), 400),
        (json!({"nonce": "another"}), 400),
        (json!({"nonce": null}), 400),
        (json!({"aud": "another"}), 400),
        (json!({"aud": ["registry", "another"]}), 400),
        (json!({"azp": "another"}), 400),
        (json!({"exp": now - 61}), 400),
        (json!({"exp": now - 55}), 303),
        (json!({"exp": null}), 400),
        (json!({"nbf": now + 120}), 400),
        (json!({"sub": ""}), 400),
        (json!({"email_verified": false}), 403),
        (json!({"email_verified": null}), 403),
        (json!({"email": null}), 403),
        (json!({"email": ["ada@example.org"]}), 403),
        (json!({"email": "a\nb@example.org"}), 403),
        (json!({"email": "work:ada@example.org"}), 403),
        (json!({"email": ""}), 403),
        (json!({"groups": many}), 403),
    ] {
        scene.claim(claims.clone());
        let reply = Browser::default().sign_in(&scene.bed).await;
        assert_eq!(
            reply.status,
            status,
            "{}: {}",
            claims.to_string().chars().take(80).collect::<String>(),
            reply.text()
        );
    }
    // What is signed by somebody else under the same id, and by nobody.
    let stranger = dockwarden::keys::generate(jsonwebtoken::Algorithm::ES256, "i", OffsetDateTime::now_utc()).unwrap();
    let stranger = crate::oidc::Key::new("a", jsonwebtoken::Algorithm::ES256, &stranger.key_pem);
    let issuer = scene.provider.address.clone();
    let claims = move |form: &str| {
        let nonce =
            url::form_urlencoded::parse(form.as_bytes()).find(|(name, _)| name == "code").unwrap().1.into_owned();
        json!({"iss": issuer, "aud": "registry", "sub": "1", "exp": now + 300, "nonce": nonce, "email": "a@b.c", "email_verified": true})
    };
    for header in [json!({"alg": "ES256", "kid": "a"}), json!({"alg": "none"}), json!({"alg": "HS256", "kid": "a"})] {
        let (claims, stranger) = (claims.clone(), stranger.clone());
        let told = header.clone();
        scene
            .provider
            .answer_tokens(move |form| (200, json!({"id_token": stranger.sign_with(header.clone(), &claims(form))})));
        assert_eq!(Browser::default().sign_in(&scene.bed).await.status, 400, "{told}");
    }
}

/// RFC 9207: the answer of another provider.
#[tokio::test]
async fn an_answer_that_names_another_issuer_is_not_redeemed() {
    let scene = Scene::new();
    let mut browser = Browser::default();
    let asked = browser.begin(&scene.bed).await;
    let target = |issuer: &str| format!("/oidc_auth?code={}&state={}&iss={issuer}", asked["nonce"], asked["state"]);
    let mut other = browser.clone();
    assert_eq!(other.get(&scene.bed, &target("https://evil.example")).await.status, 400);
    assert_eq!(scene.provider.bodies(), Vec::<String>::new());
}

/// Checks 42 and 64.
#[tokio::test]
async fn a_provider_that_is_away_slow_or_endless_is_a_503_and_the_others_work() {
    for manner in [Manner::Status(500), Manner::Silent, Manner::Huge, Manner::As("https://evil.example".to_owned())] {
        let provider = Provider::start(&[&key()]);
        provider.behave(manner.clone());
        let bed = Bed::with(&sections(&provider, "http_timeout: 200ms"));
        assert_eq!(bed.get("/auth?service=registry").by(crate::bed::ALICE).send().await.status, 200, "{manner:?}");
        let scene = Scene::of(provider, bed);
        // Of endless keys, the document is whole.
        let reply = match manner {
            Manner::Huge => Browser::default().sign_in(&scene.bed).await,
            Manner::Well
            | Manner::Redirecting(_)
            | Manner::Silent
            | Manner::KeysSilent
            | Manner::Status(_)
            | Manner::KeysAt(_)
            | Manner::As(_) => scene.bed.get("/oidc_auth").send().await,
        };
        assert_eq!(reply.status, 503, "{manner:?}: {}", reply.text());
        assert!(!reply.header("retry-after").is_empty() && !reply.text().contains("127.0.0.1"));
    }
}

/// Check 47.
#[tokio::test]
async fn below_a_prefix_all_links_redirects_and_cookies_are_too() {
    let provider = Provider::start(&[&key()]);
    let config = sections(&provider, "").replace("org/oidc_auth", "org/r/oidc_auth");
    let bed = Bed::with(&format!("server: {{addr: \"127.0.0.1:0\", path_prefix: /r}}\n{config}"));
    let scene = Scene::of(provider, bed);
    let page = scene.bed.get("/r/sign-in").send().await.ok().text();
    for link in page.split("href=\"").skip(1).chain(page.split("action=\"").skip(1)) {
        assert!(link.starts_with("/r/") || link.starts_with('#'), "{link}");
    }
    let mut browser = Browser { prefix: "/r", ..Browser::default() };
    let asked = browser.begin(&scene.bed).await;
    assert!(browser.cookies.keys().all(|name| name.starts_with("__Secure-")), "{:?}", browser.cookies);
    let begun = scene.bed.get("/r/oidc_auth").send().await;
    assert!(begun.header("set-cookie").contains("; Path=/r;"), "{}", begun.header("set-cookie"));
    let back = browser.come_back(&scene.bed, &asked).await;
    assert_eq!((back.status, back.header("location")), (303, "/r/account"));
    let page = browser.get(&scene.bed, "/r/account").await.ok().text();
    for link in page.split("href=\"").skip(1).chain(page.split("action=\"").skip(1)) {
        assert!(link.starts_with("/r/") || link.starts_with('#'), "{link}");
    }
    assert_eq!(scene.bed.get("/sign-in").send().await.status, 404);
    assert_eq!(scene.bed.get("/").send().await.status, 200, "and no redirect that browsers keep");
}
