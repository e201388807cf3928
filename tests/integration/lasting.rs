//! Secrets that last at the doors: what each is good for, and what ends it. Numbers are those of the checks in the reference on
//! lasting tokens.

mod doors;
mod slots;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Method;
use dockwarden::access::Access;
use dockwarden::authn::{Account, Identity, LookUp};
use dockwarden::records::{Limits, SecretId, Whose};
use dockwarden::secrets::{Expires, Lasting, Made, New, NotMade, robot_name};
use policy::pattern::{LabelValue, LabelValues};
use time::OffsetDateTime;

use crate::bed::{ALICE_HASH, Ask, BOB, BOB_HASH, Bed, Caller, Chunk, Folder, Reply};
use crate::logs::{Form, Log};

const LASTING: &str = "records: {sqlite: $DIR/dockwarden.db}\nlasting: {refresh: [registry], longest: 400d}\n";
const ASK: &str = "/auth?service=registry&scope=repository:web/app:pull,push";
const OFFLINE: &str = "/auth?service=registry&offline_token=true&client_id=docker";
const DEAD: &str = "the token is not valid any more: log in again (docker login)";

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn days(days: i64) -> time::Duration {
    time::Duration::days(days)
}

impl Bed {
    fn lasting(&self) -> Arc<Lasting> {
        Arc::clone(self.app.snapshot().access.lasting().unwrap())
    }

    async fn look_up(&self, account: &str) -> LookUp {
        let snapshot = self.app.snapshot();
        let access: &Access = &snapshot.access;
        access.look_up(&Account::parse(account).unwrap(), None).await.unwrap()
    }

    /// A personal secret of an account, made at this moment.
    async fn personal_at(&self, account: &str, new: New, moment: OffsetDateTime) -> Made {
        self.lasting().make_personal(self.look_up(account).await, new, moment).await.unwrap()
    }

    async fn personal(&self, account: &str, new: New) -> String {
        self.personal_at(account, new, now()).await.secret.reveal().to_owned()
    }

    async fn robot(&self, name: &str, team: &str, secret: &str) -> Result<Made, NotMade> {
        let labels = LabelValues::from([("team".to_owned(), vec![LabelValue::literal(team)])]);
        let name = robot_name(name).unwrap();
        self.lasting().make_robot(&name, Some(Arc::new(labels)), named(secret), now()).await
    }

    /// The refresh token that a login gets.
    async fn refresh(&self, caller: Caller) -> String {
        let reply = self.get(OFFLINE).by(caller).send().await.ok();
        reply.json()["refresh_token"].as_str().unwrap_or_else(|| panic!("{}", reply.text())).to_owned()
    }

    async fn present(&self, account: &str, secret: &str, target: &str) -> Reply {
        self.get(target).basic(account, secret).send().await
    }

    fn post_refresh(&self, secret: &str, more: &str) -> Ask {
        self.post("/auth", &format!("grant_type=refresh_token&service=registry&refresh_token={secret}{more}"))
    }

    async fn revoke(&self, made: &Made) {
        self.lasting().revoke(&made.kept.id, now()).await.unwrap();
    }
}

fn named(name: &str) -> New {
    let expires = Some(Expires::In(Duration::from_secs(90 * 24 * 3600)));
    New { name: name.to_owned(), expires, limits: Limits::default(), maker: None }
}

fn limited(limits: Limits) -> New {
    New { limits, ..named("limited") }
}

/// The 401 of a dead secret, by GET and by POST, as docker, containerd and buildx show it.
async fn is_dead(bed: &Bed, secret: &str, why: &str) {
    let log = Log::start(Form::Json);
    let get = bed.present("", secret, ASK).await;
    let post = bed.post_refresh(secret, "&scope=repository:web/app:pull").send().await;
    for reply in [get, post] {
        assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"), "{why}: {}", reply.text());
        let json = reply.json();
        assert_eq!((&json["error"], &json["error_description"]), (&"invalid_grant".into(), &DEAD.into()), "{why}");
        assert_eq!(json["errors"][0]["message"], DEAD);
        assert!(reply.header("www-authenticate").starts_with("Basic "));
    }
    let text = log.text();
    assert_eq!(text.matches(&format!("\"reason\":\"{why}\"")).count(), 2, "{why} in {text}");
    let is_found = !matches!(why, "secret_not_kept" | "secret_unknown");
    assert_eq!(text.matches("\"secret.id\":").count(), if is_found { 2 } else { 0 }, "{why} in {text}");
    assert!(!text.contains(secret) && !text.contains(&secret[4..34]));
}

fn users(alice: &str, bob: &str) -> String {
    format!("{LASTING}users:\n  alice: {{password: \"{alice}\", labels: {{team: [web, api]}}}}\n  {bob}\n")
}

#[tokio::test]
async fn checks_1_and_2_a_login_gets_a_refresh_token_where_the_file_gives_them() {
    let posted = "grant_type=password&service=registry&username=alice&password=alice-pw";
    for (config, target, form, issued) in [
        (LASTING, OFFLINE, "", true),
        (LASTING, "/auth?service=other&offline_token=true", "", false),
        (LASTING, "/auth?service=registry", "", false),
        (LASTING, "/auth?service=registry&offline_token=false", "", false),
        (LASTING, "/auth?service=registry&access_type=offline", "", false),
        (LASTING, "", "access_type=offline&client_id=nerdctl", true),
        (LASTING, "", "access_type=online", false),
        (LASTING, "", "offline_token=true", false),
        ("lasting: {refresh: true}\n", OFFLINE, "", true),
        ("lasting: {refresh: false}\n", OFFLINE, "", false),
        ("lasting: {}\n", OFFLINE, "", false),
        ("records: {sqlite: $DIR/r.db}\n", OFFLINE, "", false),
        ("", OFFLINE, "", false),
    ] {
        let bed = Bed::with(config);
        let ask = match form {
            "" => bed.get(target).basic("alice", "alice-pw"),
            more => bed.post("/auth", &format!("{posted}&{more}")),
        };
        let reply = ask.send().await.ok();
        let token = reply.json().get("refresh_token").cloned();
        assert_eq!(token.is_some(), issued, "{config} {target} {form}");
        if let Some(token) = token {
            let token = token.as_str().unwrap();
            assert!(token.starts_with("dwi_") && token.len() == 40);
            assert_eq!(bed.present("", token, "/auth?service=registry").await.ok().claims()["sub"], "alice");
        }
    }
    let bed = Bed::with(LASTING);
    let personal = bed.personal("alice", named("laptop")).await;
    let refresh = bed.refresh(Caller::Account("alice", "alice-pw")).await;
    for (ask, who) in [
        (bed.get(OFFLINE), "nobody"),
        (bed.get(OFFLINE).basic("alice", &personal), "a personal secret"),
        (bed.get(OFFLINE).basic("<token>", &refresh), "a refresh token"),
        (bed.post_refresh(&refresh, "&access_type=offline"), "check 5: a refresh token by POST"),
    ] {
        let reply = ask.send().await.ok();
        assert!(reply.json().get("refresh_token").is_none(), "{who}");
    }
    let metrics = bed.get("/metrics").send().await.text();
    assert!(metrics.contains("dockwarden_refresh_tokens_total{outcome=\"issued\"} 1\n"), "{metrics}");
}

#[tokio::test]
async fn check_3_a_refresh_token_asks_for_scopes_as_a_password_does() {
    let bed = Bed::with(LASTING);
    let token = bed.refresh(Caller::Account("alice", "alice-pw")).await;
    let expected = ["repository:web/app:pull,push", "repository:pub/x:pull"];
    let joined = bed.post_refresh(&token, "&scope=repository:web/app:pull,push+repository:pub/x:pull");
    let repeated = bed.post_refresh(&token, "&scope=repository:web/app:pull,push&scope=repository:pub/x:pull");
    let first = "grant_type=refresh_token&service=registry&scope=repository:web/app:pull,push+repository:pub/x:pull&refresh_token=";
    let chunked = bed.post("/auth", "").chunks([Chunk::Data(first), Chunk::Data(Box::leak(token.into_boxed_str()))]);
    for (ask, how) in [(joined, "joined"), (repeated, "repeated"), (chunked, "chunked")] {
        let reply = ask.send().await.ok();
        assert_eq!(reply.access(), expected, "{how}");
        assert_eq!(reply.json()["token_type"], "Bearer");
    }
}

#[tokio::test]
async fn check_4_many_at_once_at_two_replicas_are_all_served() {
    let bed = Bed::with(LASTING);
    let token = bed.refresh(Caller::Account("alice", "alice-pw")).await;
    let other = Bed::with(&format!("records: {{sqlite: \"{}\"}}\n", bed.folder.path("dockwarden.db").display()));
    let asked = (0..50).map(|number| {
        let bed = if number % 2 == 0 { &bed } else { &other };
        bed.post_refresh(&token, "&scope=repository:web/app:pull").send()
    });
    let asked: Vec<_> = asked.map(tokio::spawn).collect();
    for reply in asked {
        assert_eq!(reply.await.unwrap().ok().access(), ["repository:web/app:pull"]);
    }
    bed.post_refresh(&token, "").send().await.ok();
}

#[tokio::test]
async fn check_6_a_refresh_token_is_for_one_service_and_for_what_there_is() {
    let bed = Bed::with(&format!(
        "{LASTING}token: {{issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key, services: [registry, other]}}\n"
    ));
    let token = bed.refresh(Caller::Account("alice", "alice-pw")).await;
    let form = format!("grant_type=refresh_token&refresh_token={token}&service=");
    for (service, status) in [("registry", 200), ("other", 401), ("unknown", 400)] {
        assert_eq!(bed.post("/auth", &format!("{form}{service}")).send().await.status, status, "{service}");
        let target = format!("/auth?service={service}");
        assert_eq!(bed.present("<token>", &token, &target).await.status, status, "{service}");
    }
}

#[tokio::test]
async fn checks_7_and_8_a_secret_says_whose_it_is_in_every_slot() {
    let bed = Bed::with(LASTING);
    let refresh = bed.refresh(Caller::Account("alice", "alice-pw")).await;
    let personal = bed.personal("alice", named("laptop")).await;
    for secret in [&refresh, &personal] {
        for name in ["", "<token>", "alice", "Alice", "00000000-0000-0000-0000-000000000000"] {
            let reply = bed.present(name, secret, ASK).await.ok();
            assert_eq!(
                (&reply.claims()["sub"], reply.access()[0].as_str()),
                (&"alice".into(), "repository:web/app:pull,push")
            );
            let form = format!("grant_type=password&service=registry&username={name}&password={secret}");
            assert_eq!(bed.post("/auth", &form).send().await.ok().claims()["sub"], "alice", "{name}");
        }
        for name in ["bob", "nobody", "robot+ci"] {
            let reply = bed.present(name, secret, ASK).await;
            assert_eq!((reply.status, reply.json()["error"].as_str()), (401, Some("invalid_grant")), "{name}");
        }
        // As its own account: it would be in the log.
        assert_eq!(bed.present(secret, "x", ASK).await.status, 401);
        assert_eq!(bed.post_refresh(secret, "").send().await.ok().claims()["sub"], "alice");
    }
    let log = Log::start(Form::Json);
    bed.present("bob", &personal, ASK).await;
    bed.present(&personal, "x", ASK).await;
    let text = log.text();
    assert!(text.contains("\"reason\":\"secret_not_theirs\"") && !text.contains(&personal), "{text}");
}

#[tokio::test]
async fn check_9_what_has_ended_is_dead_in_every_slot() {
    let bed = Bed::with(LASTING);
    let refresh_at = async |moment| {
        let LookUp::Known(login) = bed.look_up("alice").await else { panic!("alice is not known") };
        let owner = LookUp::Known(login.clone());
        bed.lasting().make_refresh((&login, owner), "registry", "docker", moment).await.unwrap()
    };
    let idle = refresh_at(now() - days(31)).await;
    is_dead(&bed, idle.secret.reveal(), "secret_idle").await;
    let rested = refresh_at(now() - days(29)).await;
    bed.present("", rested.secret.reveal(), ASK).await.ok();
    let expired = refresh_at(now() - days(366)).await;
    is_dead(&bed, expired.secret.reveal(), "secret_expired").await;
    let revoked = refresh_at(now()).await;
    bed.revoke(&revoked).await;
    is_dead(&bed, revoked.secret.reveal(), "secret_revoked").await;
    // The longest unused one of fifty goes, and never one of somebody else.
    let of_bob = bed.refresh(BOB).await;
    let first = refresh_at(now() - days(2)).await;
    let mut evicted = Vec::new();
    for _ in 0..50 {
        evicted.extend(refresh_at(now() - days(1)).await.evicted);
    }
    assert!(evicted.contains(&first.kept.id));
    is_dead(&bed, first.secret.reveal(), "secret_revoked").await;
    bed.present("", &of_bob, ASK).await.ok();
    let made_up = dockwarden::secret::lasting::LastingSecret::read(&first.secret.reveal().replace("dwi_", "dwp_"));
    assert_eq!(made_up, dockwarden::secret::lasting::Form::Mistyped);
}

#[tokio::test]
async fn check_10_what_ends_an_account_ends_its_secrets() {
    let bob = format!("bob: {{password: \"{BOB_HASH}\"}}");
    for (change, config, why, comes_back) in [
        ("another password", users(BOB_HASH, &bob), "secret_owner_changed", true),
        ("disabled", users(ALICE_HASH, &bob).replace("labels:", "disabled: true, labels:"), "account_closed", true),
        ("removed", format!("{LASTING}users:\n  {bob}\n"), "secret_owner_gone", true),
    ] {
        let bed = Bed::with(&users(ALICE_HASH, &bob));
        let refresh = bed.refresh(Caller::Account("alice", "alice-pw")).await;
        let personal = bed.personal("alice", named("laptop")).await;
        bed.folder.configure(&config);
        assert_eq!(bed.app.reload(), dockwarden::app::Reload::Done, "{change}");
        for secret in [&refresh, &personal] {
            is_dead(&bed, secret, why).await;
        }
        bed.folder.configure(&users(ALICE_HASH, &bob));
        bed.app.reload();
        // As it was: the same account with the same password.
        assert_eq!(bed.present("", &personal, ASK).await.status == 200, comes_back, "{change}");
        // Signed out everywhere, nothing brings it back, and what is made afterwards is good.
        bed.lasting().sign_out(&Account::parse("alice").unwrap(), now()).await.unwrap();
        for secret in [&refresh, &personal] {
            is_dead(&bed, secret, "secret_signed_out").await;
        }
        let after = bed.personal("alice", named("desk")).await;
        bed.present("alice", &after, ASK).await.ok();
    }
}

#[tokio::test]
async fn checks_11_and_20_a_secret_does_what_its_owner_may_do_now() {
    let bed = Bed::with(LASTING);
    let secret = bed.personal("alice", named("laptop")).await;
    let wide =
        Limits { allow: vec!["repository:*/*:*".to_owned(), "registry:catalog:*".to_owned()], ..Limits::default() };
    let narrow = bed.personal("bob", limited(wide)).await;
    let everything = "/auth?service=registry&scope=repository:web/app:pull,push&scope=repository:bob/x:delete";
    assert_eq!(
        bed.present("", &secret, everything).await.ok().access(),
        ["repository:web/app:pull,push", "repository:bob/x:"]
    );
    assert_eq!(
        bed.present("", &narrow, everything).await.ok().access(),
        ["repository:web/app:", "repository:bob/x:delete"]
    );
    bed.folder.configure(&format!("{LASTING}acl: [{{match: {{account: alice, name: \"web/*\"}}, actions: [pull]}}]\n"));
    bed.app.reload();
    assert_eq!(
        bed.present("", &secret, everything).await.ok().access(),
        ["repository:web/app:pull", "repository:bob/x:"]
    );
}

#[tokio::test]
async fn check_13_without_the_records_secrets_are_503_and_passwords_go_on() {
    let away = "records: {postgres: {host: 127.0.0.1, port: 1, database: d, username: u, password: p, tls: disable}}\n\
                lasting: {refresh: true}\n";
    let elsewhere = Bed::with(LASTING);
    let secret = elsewhere.personal("alice", named("laptop")).await;
    let bed = Bed::with(away);
    let began = Instant::now();
    for _ in 0..3 {
        let log = Log::start(Form::Json);
        let reply = bed.present("alice", &secret, ASK).await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"), "{}", reply.text());
        assert!(log.text().contains("\"cause\":\"records could not answer"), "{}", log.text());
        assert_eq!(bed.post_refresh(&secret, "").send().await.status, 503);
    }
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    bed.get(ASK).basic("alice", "alice-pw").send().await.ok();
    // `docker login` always asks for one.
    let login = bed.get(OFFLINE).basic("alice", "alice-pw").send().await.ok();
    assert!(login.json().get("refresh_token").is_none());
    assert_eq!(bed.present("alice", "wrong", ASK).await.status, 401);
    let metrics = bed.get("/metrics").send().await.text();
    assert!(metrics.contains("dockwarden_refresh_tokens_total{outcome=\"unavailable\"} 1\n"), "{metrics}");
    assert!(metrics.contains("dockwarden_backend_answers_total{backend=\"records\",outcome=\"error\"}"), "{metrics}");
}

#[tokio::test]
async fn check_14_who_can_only_be_asked_by_a_login_gets_none() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let script = folder.put("auth", "#!/bin/sh\nread account password; [ \"$password\" = right ]\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let bed = Bed::in_folder(folder, &format!("{LASTING}ext_auth: {{command: $DIR/auth}}\n"));
    let login = bed.get(OFFLINE).basic("carol", "right").send().await.ok();
    assert_eq!(login.claims()["sub"], "carol");
    assert!(login.json().get("refresh_token").is_none());
    let refused = bed.lasting().make_personal(bed.look_up("carol").await, named("laptop"), now()).await;
    assert!(matches!(refused, Err(NotMade::OnlyByLogin)), "{refused:?}");
    let metrics = bed.get("/metrics").send().await.text();
    assert!(metrics.contains("dockwarden_refresh_tokens_total{outcome=\"owner_only_by_login\"} 1\n"), "{metrics}");
}

/// What is dead because somebody else has the name now, or the same person another password, is in nobody's way.
#[tokio::test]
async fn the_secrets_of_who_had_the_name_before_are_not_listed_and_give_their_names_away() {
    let bed = Bed::with(&users(ALICE_HASH, ""));
    let living = async || {
        let LookUp::Known(who) = bed.look_up("alice").await else { panic!("alice is known") };
        let all = bed.lasting().living_personal(&who, (None, 100), now()).await.unwrap();
        all.into_iter().map(|kept| kept.last4).collect::<Vec<_>>()
    };
    let old = bed.personal("alice", named("laptop")).await;
    assert_eq!(living().await, [old.get(36..).unwrap()]);
    bed.folder.configure(&users(BOB_HASH, ""));
    bed.app.reload();
    assert_eq!(living().await, [""; 0]);
    let new = bed.personal("alice", named("laptop")).await;
    assert_eq!(living().await, [new.get(36..).unwrap()]);
    is_dead(&bed, &old, "secret_revoked").await;
    bed.present("alice", &new, ASK).await.ok();
    let taken = bed.lasting().make_personal(bed.look_up("alice").await, named("laptop"), now()).await;
    assert!(matches!(taken, Err(NotMade::NameTaken)), "{taken:?}");
}

#[tokio::test]
async fn check_18_a_mistyped_secret_never_reaches_the_records() {
    // Nobody answers there: what asks them is 503.
    let bed = Bed::with(
        "records: {postgres: {host: 127.0.0.1, port: 1, database: d, username: u, password: p, tls: disable}}\n",
    );
    let elsewhere = Bed::with(LASTING);
    let secret = elsewhere.personal("alice", named("laptop")).await;
    let last = if secret.ends_with('x') { "y" } else { "x" };
    let mistyped = format!("{}{last}", &secret[..39]);
    for name in ["alice", "", "<token>", "nobody"] {
        assert_eq!(bed.present(name, &mistyped, ASK).await.status, 401, "{name}");
        assert_eq!(bed.present(name, &secret, ASK).await.status, 503, "{name}");
    }
    assert_eq!(bed.post_refresh(&mistyped, "").send().await.status, 401);
    assert_eq!(bed.post_refresh(&secret, "").send().await.status, 503);
    // Without records at all, ours is dead, and another's token is what it was before there were any.
    let none = Bed::with("");
    is_dead(&none, &secret, "secret_not_kept").await;
    assert_eq!(none.post_refresh("theirs", "").send().await.json()["error"], "unsupported_grant_type");
    assert_eq!(elsewhere.post_refresh("theirs", "").send().await.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn check_19_a_secret_is_cut_by_its_own_scopes() {
    let bed = Bed::with(LASTING);
    let allow = vec!["repository:alice/*:pull".to_owned()];
    let secret = bed.personal("alice", limited(Limits { allow, ..Limits::default() })).await;
    let log = Log::start(Form::Json);
    let asked = "/auth?service=registry&scope=repository:alice/x:pull,push&scope=repository:web/app:pull&scope=registry:catalog:*";
    let reply = bed.present("alice", &secret, asked).await.ok();
    assert_eq!(reply.access(), ["repository:alice/x:pull", "repository:web/app:", "registry:catalog:"]);
    let lines = log.text();
    assert!(lines.contains("\"cut\":\"push\"") && lines.contains("\"secret.id\":"), "{lines}");
}

#[tokio::test]
async fn check_21_a_secret_has_networks_services_and_times() {
    let bed = Bed::with(LASTING);
    let from = vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
    let inside =
        bed.personal("alice", New { name: "inside".to_owned(), ..limited(Limits { from, ..Limits::default() }) }).await;
    for (address, good) in [
        ("192.0.2.77", true),
        ("::ffff:192.0.2.77", true),
        ("2001:db8::1", true),
        ("198.51.100.1", false),
        ("::1", false),
    ] {
        let reply = bed.get(ASK).basic("alice", &inside).from(address).send().await;
        assert_eq!(reply.status, if good { 200 } else { 401 }, "{address}");
    }
    let services = vec!["other".to_owned()];
    let other = bed
        .personal("alice", New { name: "other".to_owned(), ..limited(Limits { services, ..Limits::default() }) })
        .await;
    is_dead(&bed, &other, "secret_service").await;
    bed.present("alice", &other, "/auth?service=other").await.ok();
    let not_before = Some(now() + days(1));
    let early = bed
        .personal("alice", New { name: "early".to_owned(), ..limited(Limits { not_before, ..Limits::default() }) })
        .await;
    is_dead(&bed, &early, "secret_not_yet").await;
    let over = bed.personal_at("alice", New { name: "over".to_owned(), ..named("over") }, now() - days(91)).await;
    is_dead(&bed, over.secret.reveal(), "secret_expired").await;
}

#[tokio::test]
async fn check_22_no_token_outlives_its_secret() {
    let bed = Bed::with(&format!(
        "{LASTING}token: {{issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key, expiration: 900}}\n"
    ));
    for (left, expected) in [(90, Some(90)), (61, Some(61)), (2000, Some(900)), (55, None)] {
        let expires = Some(Expires::At(now() + time::Duration::seconds(left)));
        // None is made that ends so soon.
        let before = now() - time::Duration::minutes(1);
        let made = bed.personal_at("alice", New { expires, ..named(&left.to_string()) }, before).await;
        let reply = bed.present("alice", made.secret.reveal(), ASK).await;
        match expected {
            Some(life) => {
                let reply = reply.ok();
                assert!((life - 3..=life).contains(&reply.life()), "{left}: {}", reply.life());
                assert!(
                    reply.claims()["exp"].as_i64().unwrap()
                        <= made.kept.ends.map_or(i64::MAX, OffsetDateTime::unix_timestamp)
                );
            }
            None => assert_eq!(reply.status, 401),
        }
    }
}

#[tokio::test]
async fn checks_23_and_24_a_robot_has_two_secrets_and_a_switch() {
    let bed = Bed::with(LASTING);
    let one = bed.robot("ci", "web", "first").await.unwrap();
    let two = bed.robot("ci", "web", "second").await.unwrap();
    let (first, second) = (one.secret.reveal(), two.secret.reveal());
    let pushes = async |secret: &str| {
        let reply = bed.present("robot+ci", secret, ASK).await;
        if reply.status == 200 {
            assert_eq!(reply.claims()["sub"], "robot+ci");
            assert_eq!(reply.access(), ["repository:web/app:pull,push"]);
        }
        reply.status
    };
    assert_eq!((pushes(first).await, pushes(second).await), (200, 200));
    assert_eq!(bed.present("alice", first, ASK).await.status, 401);
    assert!(matches!(bed.robot("ci", "web", "third").await, Err(NotMade::BothSlots)));
    assert!(matches!(bed.robot("ci", "api", "third").await, Err(NotMade::OtherLabels)));
    // The new one takes the place of the older one; the younger goes on.
    let third = bed.lasting().renew(&two.kept.id, None, (Some(Expires::Never), None), now()).await;
    assert!(matches!(third, Err(NotMade::TooLong { days: 400 })), "{third:?}");
    let end = Some(Expires::In(Duration::from_secs(3600)));
    let third = bed.lasting().renew(&two.kept.id, None, (end, None), now()).await.unwrap();
    assert_eq!((pushes(first).await, pushes(second).await, pushes(third.secret.reveal()).await), (401, 200, 200));
    assert_eq!((one.kept.name, third.kept.name.as_str()), ("first".to_owned(), "first"));
    bed.revoke(&two).await;
    assert_eq!((pushes(second).await, pushes(third.secret.reveal()).await), (401, 200));
    let fourth = bed.lasting().renew(&third.kept.id, None, (end, None), now()).await.unwrap();
    assert_eq!(fourth.kept.name, "first 2");
    bed.revoke(&fourth).await;
    // Switched off, at a replica too.
    let records = bed.app.snapshot().records.as_ref().map(|own| Arc::clone(&own.records)).unwrap();
    let robot = records.robot(&robot_name("ci").unwrap()).await.unwrap().unwrap();
    let off = dockwarden::records::Robot { state: dockwarden::authn::AccountState::Disabled, ..robot.clone() };
    records.replace_robot(&off, robot.version).await.unwrap();
    is_dead(&bed, third.secret.reveal(), "secret_robot_disabled").await;
    records.remove_robot(&robot.name, now()).await.unwrap();
    assert_eq!(pushes(third.secret.reveal()).await, 401);
    // Made anew, it has none of the old one's secrets.
    let anew = bed.robot("ci", "web", "again").await.unwrap();
    assert_eq!((pushes(third.secret.reveal()).await, pushes(anew.secret.reveal()).await), (401, 200));
}

#[tokio::test]
async fn no_backend_has_an_account_that_is_called_as_a_robot() {
    let folder = Folder::new();
    let file = folder.configure(&format!(
        "users:\n  robot+ci: {{password: \"{ALICE_HASH}\"}}\n  ROBOT+x: {{password: \"{ALICE_HASH}\"}}\n"
    ));
    let source = dockwarden::app::Source { file, variables: Vec::new() };
    let refused = source.load(dockwarden::config::Secrets::Read).unwrap_err().to_string();
    assert!(refused.matches("is kept for robots").count() == 2, "{refused}");
    // And one that only its backend knows is let in by nobody.
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let script = folder.put("auth", "#!/bin/sh\nexit 0\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let bed = Bed::in_folder(folder, &format!("{LASTING}ext_auth: {{command: $DIR/auth}}\n"));
    bed.present("carol", "any", ASK).await.ok();
    for name in ["robot+ci", "Robot+ci"] {
        assert_eq!(bed.present(name, "any", ASK).await.status, 401, "{name}");
    }
}

#[tokio::test]
async fn check_25_a_list_shows_whose_secrets_one_asks_for_and_no_secret() {
    let bed = Bed::with(LASTING);
    let secret = bed.personal("alice", named("laptop")).await;
    bed.personal("bob", named("laptop")).await;
    bed.robot("ci", "web", "one").await.unwrap();
    let lasting = bed.lasting();
    let own = lasting.list(&Whose::Account(Account::parse("alice").unwrap()), None, 10).await.unwrap();
    let names: Vec<&str> = own.iter().map(|kept| kept.name.as_str()).collect();
    assert_eq!((names, own[0].last4.as_str()), (vec!["laptop"], &secret[36..]));
    assert_eq!(lasting.list(&Whose::All, None, 10).await.unwrap().len(), 3);
    let printed = format!("{own:?}");
    assert!(!printed.contains(&secret[4..30]) && printed.contains("[hash]"), "{printed}");
    let shown = lasting.show(&own[0].id).await.unwrap().unwrap();
    assert_eq!(shown, own[0]);
    assert_eq!(lasting.show(&SecretId("none".into())).await.unwrap(), None);
}

#[tokio::test]
async fn check_26_uses_are_written_now_and_then_and_show_when_where_and_what() {
    let bed = Bed::with(LASTING);
    let made = bed.personal_at("alice", named("laptop"), now()).await;
    let lasting = bed.lasting();
    let used = async || {
        for _ in 0..200 {
            bed.get(ASK).basic("alice", made.secret.reveal()).header("user-agent", "docker/29.7").send().await.ok();
        }
    };
    used().await;
    assert_eq!(lasting.show(&made.kept.id).await.unwrap().unwrap().last_use, None, "nothing on a token's way writes");
    assert_eq!(lasting.write_uses().await.unwrap(), 1);
    let last = lasting.show(&made.kept.id).await.unwrap().unwrap().last_use.unwrap();
    assert_eq!(
        (last.network.map(|network| network.to_string()), last.client.as_str()),
        (Some("192.0.2.0/24".to_owned()), "docker/29.7")
    );
    assert!(now() - last.at < days(1));
    used().await;
    assert_eq!(lasting.write_uses().await.unwrap(), 0, "less than ten minutes later");
    assert_eq!(lasting.show(&made.kept.id).await.unwrap().unwrap().version, made.kept.version);
}

#[tokio::test]
async fn check_27_dead_secrets_are_never_in_the_way_of_a_password_or_of_a_living_one() {
    let bed = Bed::with(LASTING);
    let living = bed.personal("alice", named("living")).await;
    let mut dead = Vec::new();
    for number in 0..110 {
        let made = bed.personal_at("alice", named(&format!("job {number}")), now()).await;
        bed.revoke(&made).await;
        dead.push(made.secret.reveal().to_owned());
    }
    for _ in 0..100 {
        assert_eq!(bed.present("alice", &dead[0], ASK).await.status, 401);
    }
    let mut statuses = Vec::new();
    for secret in &dead {
        statuses.push(bed.present("alice", secret, ASK).await.status);
    }
    // Who goes on with ever new ones is told to wait.
    assert_eq!((statuses[90], statuses.last()), (401, Some(&429)));
    bed.present("alice", "alice-pw", ASK).await.ok();
    bed.present("alice", &living, ASK).await.ok();
}

#[tokio::test]
async fn checks_29_and_30_an_access_token_of_a_dead_secret_is_refused_at_our_doors() {
    let bed = Bed::with(&format!(
        "{LASTING}forward_auth: {{trusted_proxies: [192.0.2.1], service: registry}}\n\
         token: {{issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key, expiration: 900, reuse: 60s}}\n"
    ));
    let door = async |token: &str| {
        let ask = bed.get("/forward_auth").header("x-original-method", "GET");
        let ask = ask.header("x-original-uri", "/v2/web/app/manifests/latest");
        ask.header("authorization", &format!("Bearer {token}")).send().await
    };
    let by_password = bed.get(ASK).basic("alice", "alice-pw").send().await.ok();
    assert!(by_password.claims().get("cred").is_none());
    let made = bed.personal_at("alice", named("laptop"), now()).await;
    let by_secret = bed.present("alice", made.secret.reveal(), ASK).await.ok();
    assert_eq!(
        (by_secret.claims()["cred"].as_str(), &by_secret.claims()["epoch"]),
        (Some(&*made.kept.id.0), &0.into())
    );
    // `token.reuse`: what was made for the one is never handed out for the other.
    assert_ne!(by_password.token(), by_secret.token());
    assert_eq!(bed.present("alice", made.secret.reveal(), ASK).await.ok().token(), by_secret.token());
    let other = bed.personal_at("alice", named("desk"), now()).await;
    let by_other = bed.present("alice", other.secret.reveal(), ASK).await.ok();
    assert_ne!(by_other.token(), by_secret.token());
    for token in [by_password.token(), by_secret.token(), by_other.token()] {
        door(&token).await.ok();
    }
    bed.revoke(&made).await;
    assert_eq!(bed.present("alice", made.secret.reveal(), ASK).await.status, 401, "no old token for a dead secret");
    let refused = door(&by_secret.token()).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "UNAUTHORIZED"));
    for token in [by_password.token(), by_other.token()] {
        door(&token).await.ok();
    }
    // Renewed, the old secret and what was made for it are dead; the second of the renewal is not told from the one before.
    let owner = bed.look_up("alice").await;
    let end = Some(Expires::In(Duration::from_secs(3600)));
    let renewed = bed
        .lasting()
        .renew(&other.kept.id, Some(owner), (end, None), now() + time::Duration::seconds(2))
        .await
        .unwrap();
    assert_eq!((renewed.kept.id, renewed.kept.name.as_str()), (other.kept.id, "desk"));
    assert_eq!(door(&by_other.token()).await.status, 401);
    assert_eq!(bed.present("alice", other.secret.reveal(), ASK).await.status, 401);
    // And what is handed out for the new one is not what the doors have just refused.
    let by_renewed = bed.present("alice", renewed.secret.reveal(), ASK).await.ok().token();
    assert_ne!(by_renewed, by_other.token());
    // The gateway, whose upstream is not there: it was let in.
    let gateway = Bed::with(&format!(
        "records: {{sqlite: \"{}\"}}\ngateway: {{service: registry, upstreams: [{{url: \"http://127.0.0.1:1\"}}]}}\n",
        bed.folder.path("dockwarden.db").display()
    ));
    let made = bed.personal_at("alice", named("for the gateway"), now()).await;
    let token = gateway.present("alice", made.secret.reveal(), ASK).await.ok().token();
    let through = async || {
        gateway.get("/v2/web/app/manifests/latest").header("authorization", &format!("Bearer {token}")).send().await
    };
    assert_eq!(through().await.status, 502);
    bed.revoke(&made).await;
    let refused = through().await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "UNAUTHORIZED"), "{}", refused.text());
    assert!(
        refused.header("www-authenticate").contains("invalid_token")
            || refused.header("www-authenticate").starts_with("Basic")
    );
    // Signed out, too.
    let third = bed.personal_at("alice", named("phone"), now()).await;
    let by_third = bed.present("alice", third.secret.reveal(), ASK).await.ok();
    door(&by_third.token()).await.ok();
    bed.lasting().sign_out(&Account::parse("alice").unwrap(), now()).await.unwrap();
    assert_eq!(door(&by_third.token()).await.status, 401);
    door(&by_password.token()).await.ok();
}

#[tokio::test]
async fn a_secret_is_made_only_by_the_rules() {
    let bed = Bed::with(LASTING);
    let alice = bed.look_up("alice").await;
    let make = async |owner: LookUp, new: New| match bed.lasting().make_personal(owner, new, now()).await {
        Ok(_) => "made".to_owned(),
        Err(refused) => refused.to_string(),
    };
    let nobody = bed.look_up("nobody").await;
    let typed = bed.personal("bob", named("typed")).await;
    let allow = |text: &str| limited(Limits { allow: vec![text.to_owned()], ..Limits::default() });
    for (owner, new, expected) in [
        (nobody, named("a"), "no backend knows this account"),
        (alice.clone(), New { expires: None, ..named("a") }, "say when it ends"),
        (
            alice.clone(),
            New { expires: Some(Expires::Never), ..named("a") },
            "no secret may live longer than 400 days here",
        ),
        (alice.clone(), New { expires: Some(Expires::At(now())), ..named("a") }, "before it begins"),
        (alice.clone(), named(""), "a name has 1 to 64 bytes"),
        (alice.clone(), named("a\nb"), "no letters that cannot be seen"),
        (alice.clone(), named("a\u{202e}b"), "no letters that cannot be seen"),
        (alice.clone(), named(&typed), "this is a secret"),
        (alice.clone(), allow("repository:a"), "type:name:actions"),
        (alice.clone(), named("a"), "made"),
        (alice.clone(), named("a"), "there is a living secret of this name"),
    ] {
        let said = make(owner, new).await;
        assert!(said.contains(expected), "{expected}: {said}");
    }
    for name in ["", "Ci", "a b", "-a", "a-", &"a".repeat(65)] {
        assert!(robot_name(name).is_err(), "{name}");
    }
    assert!(robot_name("robot+ci-1.x").is_ok());
    let lasting = bed.lasting();
    let without = lasting.make_robot(&robot_name("ci").unwrap(), None, named("a"), now()).await;
    assert!(matches!(without, Err(NotMade::NoRobot)), "{without:?}");
    // Whoever has it may end it, and is told nothing else.
    let secret = bed.personal("bob", named("lost")).await;
    assert_eq!(lasting.revoke_presented("nonsense", now()).await.unwrap(), None);
    assert!(lasting.revoke_presented(&secret, now()).await.unwrap().is_some());
    is_dead(&bed, &secret, "secret_revoked").await;
    // What ends soon is said, of a robot's two only if both do.
    let soon = |new: New, days: u64| New { expires: Some(Expires::In(Duration::from_secs(days * 24 * 3600))), ..new };
    let labels = || Some(Arc::new(LabelValues::new()));
    for (name, ends) in [("ends", [5, 9]), ("stays", [5, 90])] {
        for (number, days) in ends.into_iter().enumerate() {
            let new = soon(named(&number.to_string()), days);
            lasting.make_robot(&robot_name(name).unwrap(), labels(), new, now()).await.unwrap();
        }
    }
    lasting.make_personal(alice, soon(named("soon"), 3), now()).await.unwrap();
    let mut ending: Vec<String> = lasting
        .ending(now() + days(14), now())
        .await
        .unwrap()
        .into_iter()
        .map(|kept| format!("{:?}", kept.name))
        .collect();
    ending.sort();
    assert_eq!(ending, ["\"0\"", "\"1\"", "\"soon\""]);
}

/// Whoever knows the password of before, and logs in while it is changed, would otherwise have what outlives the change.
#[tokio::test]
async fn a_login_that_the_owner_outran_brings_no_refresh_token() {
    let bed = Bed::with(LASTING);
    let LookUp::Known(owner) = bed.look_up("alice").await else { panic!("alice is known") };
    assert!(owner.mark.is_some());
    for (mark, expected) in [(owner.mark, true), (Some([7; 32]), false), (None, true)] {
        let login = Identity { mark, ..owner.clone() };
        let owner = LookUp::Known(owner.clone());
        let made = bed.lasting().make_refresh((&login, owner), "registry", "docker", now()).await;
        assert_eq!(made.is_ok(), expected, "{mark:?}");
    }
}

/// Whoever sends the rest of a request after the password was changed is found out about then.
#[tokio::test]
async fn the_api_asks_who_somebody_is_once_the_body_is_whole() {
    let bed = Bed::with(&format!("{LASTING}api: {{listen: main}}\n"));
    let long = " ".repeat(64 * 1024 + 1);
    for (body, status) in [("", 401), (long.as_str(), 413)] {
        let ask = bed.request(Method::POST, "/api/v1/tokens").header("content-type", "application/json");
        let reply = ask.basic("alice", "wrong").body(body).send().await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
}
