//! Who is let in, who is turned away without learning why, and how long what they get lasts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::bed::{ALICE, ALICE_HASH, BOB_HASH, Bed, Caller, NOBODY, Reply, in_seconds};

const ASK: &str = "/auth?service=registry&scope=repository:pub/app:pull";

#[tokio::test]
async fn a_header_is_an_account_or_nobody_or_an_error() {
    let bed = Bed::with("");
    // `Some` is the subject of the token.
    let cases: &[(Caller, Option<&str>)] = &[
        (ALICE, Some("alice")),
        (NOBODY, Some("")),
        (Caller::Header(""), Some("")),
        (Caller::Header("Basic"), Some("")),
        (Caller::Header("Basic "), Some("")),
        (Caller::Header("Basic Og=="), Some("")),
        // alice:alice-pw, the scheme in any case
        (Caller::Header("basic YWxpY2U6YWxpY2UtcHc="), Some("alice")),
        (Caller::Header("BASIC  YWxpY2U6YWxpY2UtcHc="), Some("alice")),
        (Caller::Account("alice", "wrong"), None),
        (Caller::Account("alice", "Alice-pw"), None),
        (Caller::Account("alice", "alice-pw "), None),
        (Caller::Account("Alice", "alice-pw"), None),
        (Caller::Account(" alice", "alice-pw"), None),
        (Caller::Account("mallory", "alice-pw"), None),
        (Caller::Account("bob", "alice-pw"), None),
        // `user:`, with an empty password, and `:REFRESH1`, containerd's refresh token, and older helpers' `<token>`
        (Caller::Header("Basic dXNlcjo="), None),
        (Caller::Account("alice", ""), None),
        (Caller::Header("Basic OlJFRlJFU0gx"), None),
        (Caller::Account("", "alice-pw"), None),
        (Caller::Account("<token>", "REFRESH1"), None),
        (Caller::Header("Basic !!!"), None),
        (Caller::Header("Basic YWxpY2U"), None),
        (Caller::Header("Basic dXNlcg=="), None),
        (Caller::Header("Basic //86eA=="), None),
        (Caller::Header("Basic YWxpY2U6YWxpY2UtcHc= x"), None),
        (Caller::Header("Bearer x"), None),
        (Caller::Header("Bearer"), None),
        (Caller::Header("Digest username=\"alice\""), None),
        (Caller::Header("YWxpY2U6YWxpY2UtcHc="), None),
    ];
    for (caller, expected) in cases {
        let reply = bed.get(ASK).by(*caller).send().await;
        match expected {
            Some(subject) => assert_eq!(reply.ok().claims()["sub"], *subject, "{caller:?}"),
            None => assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"), "{caller:?}"),
        }
    }
    // Two headers of which only one could be checked.
    let twice = bed.get(ASK).by(ALICE).header("authorization", "Basic Og==").send().await;
    assert_eq!(twice.status, 401);
    let not_text = bed.get(ASK).header_bytes("authorization", b"Basic \xff\xfe").send().await;
    assert_eq!(not_text.status, 401);
}

#[tokio::test]
async fn without_an_anonymous_user_nobody_is_turned_away() {
    let users = format!("users: {{alice: {{password: \"{ALICE_HASH}\"}}}}\n");
    let closed = format!("users: {{alice: {{password: \"{ALICE_HASH}\"}}, \"\": {{disabled: true}}}}\n");
    for config in [users, closed, "users: {}\n".to_owned()] {
        let bed = Bed::with(&config);
        for caller in [NOBODY, Caller::Header("Basic Og==")] {
            assert_eq!(bed.get(ASK).by(caller).send().await.status, 401, "{config} {caller:?}");
        }
    }
    // An anonymous user without any rights gets a token that allows nothing: docker then says "may require docker login".
    let bed = Bed::with("acl: []");
    assert_eq!(bed.grants(NOBODY, "repository:pub/app:pull").await, ["repository:pub/app:"]);
}

#[tokio::test]
async fn passwords_are_compared_as_a_whole_and_start_after_the_first_colon() {
    let long = "x".repeat(72);
    // The hashes were made by Python's crypt; in the second password everything that a form or a URL encodes.
    let users = r#"users:
  "ali+ce": {password: "$2a$04$abcdefghijklmnopqrstuuuOL9Fe882HFhio.dEkfklsK.coaXKsm"}
  long: {password: "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i"}
  ünïcode: {password: "$2b$04$abcdefghijklmnopqrstuuyvPXIbu7xe6/CED2DzX8z6Si09MlzlW"}
"#;
    let bed = Bed::with(users);
    let cases: &[(&str, &str, u16)] = &[
        ("ali+ce", "p+w:ö %", 200),
        ("ali+ce", "p+w", 401),
        ("ali ce", "p+w:ö %", 401),
        ("ünïcode", "pw", 200),
        ("long", &long, 200),
        // bcrypt looks at 72 bytes, and stops at a NUL: neither may make another password the same.
        ("long", &format!("{long}y"), 401),
        ("ünïcode", "pw\0", 401),
        ("ünïcode", "pw\0more", 401),
    ];
    for (account, password, status) in cases {
        assert_eq!(bed.get(ASK).basic(account, password).send().await.status, *status, "{account} {password:?}");
        let mut form = form_urlencoded::Serializer::new("grant_type=password&service=registry".to_owned());
        form.append_pair("username", account).append_pair("password", password);
        assert_eq!(bed.post("/auth", &form.finish()).send().await.status, *status, "form: {account} {password:?}");
    }
}

/// What a client can see of a refusal: everything but the id of the decision and the time of day.
fn seen(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let headers = reply.headers.iter().filter(|(name, _)| *name != "x-decision-id" && *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    (reply.status, headers, reply.text())
}

#[tokio::test]
async fn every_closed_account_looks_like_a_wrong_password() {
    let (past, _) = in_seconds(-60);
    let (future, _) = in_seconds(3600);
    let bed = Bed::with(&format!(
        r#"users:
  alice: {{password: "{ALICE_HASH}"}}
  disabled: {{password: "{ALICE_HASH}", disabled: true}}
  disabled-yes: {{password: "{ALICE_HASH}", disabled: yes}}
  expired: {{password: "{ALICE_HASH}", not_after: {past}}}
  expired-day: {{password: "{ALICE_HASH}", not_after: 2020-12-31}}
  not-yet: {{password: "{ALICE_HASH}", not_before: {future}}}
  open: {{password: "{ALICE_HASH}", disabled: false, not_before: {past}, not_after: {future}}}
"#
    ));
    let wrong_password = seen(&bed.get(ASK).basic("alice", "wrong").send().await);
    assert_eq!(wrong_password.0, 401);
    let wrong_in_form = "grant_type=password&username=alice&password=wrong&service=registry";
    let wrong_in_form = seen(&bed.post("/auth", wrong_in_form).send().await);
    for account in ["disabled", "disabled-yes", "expired", "expired-day", "not-yet", "unknown"] {
        for password in ["alice-pw", "wrong"] {
            let by_get = seen(&bed.get(ASK).basic(account, password).send().await);
            assert_eq!(by_get, wrong_password, "{account} {password}");
            let form = format!("grant_type=password&username={account}&password={password}&service=registry");
            assert_eq!(seen(&bed.post("/auth", &form).send().await), wrong_in_form, "{account} {password}");
        }
    }
    assert_eq!(bed.get(ASK).basic("open", "alice-pw").send().await.status, 200);
}

/// Whoever measures the time of a refusal learns nothing either: each takes one hash, whether the account exists or not.
#[tokio::test]
async fn every_refusal_costs_one_hash() {
    let bed = Bed::with(&format!(
        "users: {{alice: {{password: \"{ALICE_HASH}\"}}, gone: {{password: \"{ALICE_HASH}\", disabled: true}}}}\n"
    ));
    let hashes = async || {
        let text = bed.get("/metrics").send().await.text();
        let line = text.lines().find_map(|line| line.strip_prefix("dockwarden_password_hash_seconds_count "));
        line.unwrap().parse::<u32>().unwrap()
    };
    let long = "x".repeat(100);
    for (account, password) in [
        ("alice", "wrong"),
        ("unknown", "wrong"),
        ("gone", "alice-pw"),
        ("alice", &long),
        ("unknown", &long),
        ("alice", "a\0b"),
    ] {
        let before = hashes().await;
        assert_eq!(bed.get(ASK).basic(account, password).send().await.status, 401);
        assert_eq!(hashes().await, before + 1, "{account} {password:?}");
    }
}

#[tokio::test]
async fn the_challenge_quotes_the_issuer() {
    for (issuer, realm) in [
        ("Acme auth server", r#"Basic realm="Acme auth server""#),
        (r#"'say "hi" \ bye'"#, r#"Basic realm="say \"hi\" \\ bye""#),
    ] {
        let token = format!("token: {{issuer: {issuer}, certificate: $DIR/token.crt, key: $DIR/token.key}}");
        let bed = Bed::with(&token);
        for reply in [
            bed.get(ASK).basic("alice", "wrong").send().await,
            bed.get(ASK).by(Caller::Header("Bearer x")).send().await,
            bed.post("/auth", "grant_type=password&username=x&password=x&service=registry").send().await,
        ] {
            assert_eq!((reply.status, reply.header("www-authenticate")), (401, realm));
        }
        // No other reply carries a challenge.
        assert_eq!(bed.get("/auth").by(ALICE).send().await.header("www-authenticate"), "");
        assert_eq!(bed.get(ASK).by(ALICE).send().await.header("www-authenticate"), "");
    }
    let bed = Bed::with("token: {issuer: Ämter, certificate: $DIR/token.crt, key: $DIR/token.key}");
    let reply = bed.get(ASK).basic("alice", "wrong").send().await;
    assert_eq!(reply.headers["www-authenticate"].as_bytes(), "Basic realm=\"Ämter\"".as_bytes());
}

/// A token ends with the account, with the rule that granted it, and where an earlier rule begins; and otherwise when
/// the configuration says.
#[tokio::test]
async fn a_token_never_outlives_what_it_rests_on() {
    let (soon, soon_at) = in_seconds(100);
    let (later, later_at) = in_seconds(200);
    let (far, _) = in_seconds(5000);
    let users = format!(
        r#"users:
  alice: {{password: "{ALICE_HASH}"}}
  bob: {{password: "{BOB_HASH}", not_after: {soon}}}
  far: {{password: "{ALICE_HASH}", not_after: {far}}}
token: {{issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key, expiration: 900}}
"#
    );
    let end = |rules: &str| format!("{users}acl: [{rules}]\n");
    let all = "{match: {}, actions: ['*']}";
    let push = "repository:x:push";
    // The rules, who asks for what, and when the token ends (`None`: after 900 seconds).
    let cases: &[(String, &str, &str, Option<i64>)] = &[
        (end(all), "alice", push, None),
        (end(all), "far", push, None),
        (end(all), "bob", push, Some(soon_at)),
        // Even for a token that allows nothing, and for a login.
        (end(""), "bob", push, Some(soon_at)),
        (end(""), "bob", "", Some(soon_at)),
        (end(&format!("{{match: {{}}, actions: [push], not_after: {soon}}}")), "alice", push, Some(soon_at)),
        (end(&format!("{{match: {{}}, actions: [push], not_after: {far}}}")), "alice", push, None),
        (end(&format!("{{match: {{}}, actions: [push], not_after: {later}}}")), "bob", push, Some(soon_at)),
        // It decides nothing here, so its end is no matter.
        (end(&format!("{{match: {{name: other}}, actions: [push], not_after: {soon}}}, {all}")), "alice", push, None),
        // It will decide once it begins.
        (end(&format!("{{match: {{}}, actions: [], not_before: {soon}}}, {all}")), "alice", push, Some(soon_at)),
        (end(&format!("{{match: {{}}, actions: [push], not_before: {later}}}")), "alice", push, Some(later_at)),
        (end(&format!("{{match: {{name: other}}, actions: [], not_before: {soon}}}, {all}")), "alice", push, None),
        // The earliest of several scopes counts.
        (
            end(&format!("{{match: {{name: y}}, actions: [push], not_after: {soon}}}, {all}")),
            "alice",
            "repository:x:push+repository:y:push",
            Some(soon_at),
        ),
        // A rule below the one that decides is no matter.
        (end(&format!("{all}, {{match: {{}}, actions: [], not_before: {soon}}}")), "alice", push, None),
    ];
    for (config, account, scope, expected) in cases {
        let bed = Bed::with(config);
        let password = if *account == "bob" { "bob-pw" } else { "alice-pw" };
        let target = format!("/auth?service=registry&scope={scope}");
        let reply = bed.get(&target).basic(account, password).send().await.ok();
        let claims = reply.claims();
        let iat = claims["iat"].as_i64().unwrap();
        assert_eq!(claims["exp"].as_i64(), Some(expected.unwrap_or(iat + 900)), "{account} {scope} {config}");
        assert_eq!(reply.json()["expires_in"].as_i64(), Some(reply.life().max(60)), "{account} {scope} {config}");
    }
}

#[tokio::test]
async fn a_rule_holds_between_its_two_moments() {
    let (past, _) = in_seconds(-60);
    let (future, _) = in_seconds(3600);
    let rule =
        |times: &str| format!("acl: [{{match: {{}}, actions: [push]{times}}}, {{match: {{}}, actions: [pull]}}]");
    for (times, expected) in [
        (String::new(), "push"),
        (format!(", not_before: {past}"), "push"),
        (format!(", not_after: {future}"), "push"),
        (format!(", not_before: {past}, not_after: {future}"), "push"),
        (format!(", not_before: {future}"), "pull"),
        (format!(", not_after: {past}"), "pull"),
        (", not_after: 2020-01-01".to_owned(), "pull"),
        (", not_before: 2020-01-01".to_owned(), "push"),
    ] {
        let bed = Bed::with(&rule(&times));
        assert_eq!(bed.grants(ALICE, "repository:x:pull,push").await, [format!("repository:x:{expected}")], "{times}");
    }
}

#[tokio::test]
async fn an_answer_holds_no_password_and_no_hash() {
    let bed = Bed::with("");
    let encoded = STANDARD.encode("alice:hunter2-canary");
    for reply in [
        bed.get(ASK).basic("alice", "hunter2-canary").send().await,
        bed.post("/auth", "grant_type=password&username=alice&password=hunter2-canary&service=registry").send().await,
        bed.post("/auth", "grant_type=password&username=alice&password=hunter2-canary&password=x").send().await,
        bed.get(ASK).by(ALICE).send().await,
        bed.get("/metrics").send().await,
    ] {
        let all = format!(
            "{:?} {} {}",
            reply.headers,
            reply.text(),
            if reply.status == 200 && !reply.header("x-decision-id").is_empty() {
                reply.claims().to_string()
            } else {
                String::new()
            }
        );
        for secret in ["hunter2-canary", "alice-pw", encoded.as_str(), "$2b$", ALICE_HASH] {
            assert!(!all.contains(secret), "{secret} is in {all}");
        }
    }
}
