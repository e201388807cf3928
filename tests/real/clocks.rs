//! Clocks that differ: what registries take from a server whose clock is wrong, what each of them says, and what a clock
//! that is set while the server runs does to tokens, logins and waits.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::support::clock::{self, Clocked};
use crate::support::dockwarden::{self, Dockwarden, ISSUER, SERVICE, events, password};
use crate::support::gateway::{self, Challenge};
use crate::support::http::{self, Reply};
use crate::support::http_api::HttpApi;
use crate::support::image::{self, TAG};
use crate::support::keys::{self, Kind, Pair};
use crate::support::part::{self, Said};
use crate::support::person::Person;
use crate::support::process::{until, until_within};
use crate::support::registry::{Edition, Registry};
use crate::support::{client, verify_binary, visit};

const HOUR: i64 = 3600;
/// How long the tokens of `dockwarden::config` live.
const LIFE: i64 = 900;
/// The first second that 31 bits do not hold: 2038-01-19, a quarter past three.
const BEYOND_31_BITS: i64 = 1 << 31;

/// The most that passes between two looks at a clock, in seconds: a machine that builds something else takes its time.
const SLACK: i64 = 20;

/// A pair whose certificate says nothing about any of these clocks.
fn lasting() -> Pair {
    keys::valid(Kind::P256, "20200101000000Z", "20480101000000Z")
}

/// waldi's server, with its clock so many seconds ahead of the registries'.
fn start(pair: &Pair, token_settings: &str, ahead: i64) -> Clocked {
    let policy = dockwarden::users(&[("waldi", "{}")])
        + "forward_auth: {trusted_proxies: [127.0.0.1], service: \"Docker registry\"}\n\
           acl:\n  - match: {account: waldi}\n    actions: [\"*\"]\n";
    Clocked::start(&dockwarden::config(pair, token_settings, &policy), ahead)
}

fn registries(dockwarden: &Dockwarden, pair: &Pair) -> [Registry; 2] {
    Edition::ALL.map(|edition| Registry::start(edition, dockwarden, &pair.certificate))
}

fn seconds(claims: &Value, name: &str) -> i64 {
    claims[name].as_i64().unwrap()
}

/// Whether a moment is this far ahead of the machine's clock, give or take what the test itself takes.
#[track_caller]
fn assert_ahead(moment: i64, ahead: i64) {
    let found = moment - clock::now();
    assert!((found - ahead).abs() <= SLACK, "{found} s ahead, and not {ahead}");
}

/// By whose clock a reply was dated.
fn dated(reply: &Reply) -> i64 {
    OffsetDateTime::parse(reply.header("date").unwrap(), &Rfc2822).unwrap().unix_timestamp()
}

fn skopeo(arguments: &[&str]) -> Said {
    let credentials = format!("waldi:{}", password("waldi"));
    let home = client::home();
    let mut skopeo = client::skopeo(&home);
    skopeo.args(["copy", "--src-tls-verify=false", "--dest-tls-verify=false"]);
    skopeo.args(["--src-creds", &credentials, "--dest-creds", &credentials]).args(arguments);
    part::run(&mut skopeo)
}

#[test]
fn clocks_may_differ_by_a_minute_and_a_half_either_way() {
    let pair = lasting();
    let clocked = start(&pair, "", 0);
    let registries = registries(&clocked.dockwarden, &pair);
    for ahead in [30, -30, 90, -90] {
        clocked.set(ahead);
        for registry in &registries {
            let marker = format!("clock{ahead}-{:?}", registry.edition).to_lowercase();
            let image = image::layout(&marker);
            let local = format!("oci:{}:{TAG}", image.directory.display());
            let remote = format!("docker://{}/{marker}:1", registry.host());
            skopeo(&[&local, &remote]).well();
            skopeo(&[&remote, &format!("dir:{}", client::home().join("pulled").display())]).well();
            // Docker compares the token's end with a clock of its own, which is the registry's.
            let person = Person::logged_in(&registry.host(), "waldi", &password("waldi"));
            let repository = format!("docker-{marker}");
            person.import(&image.layer, &marker);
            person.push(&marker, &repository).well();
            person.forget(&marker);
            person.pull(&repository).well();
            let visited = visit::visit(registry, "waldi", "GET", &format!("/v2/{marker}/tags/list"), b"");
            assert_eq!(visited.reply.status, 200, "{marker}");
            assert_ahead(seconds(&visit::claims(&visited.token), "iat"), ahead);
        }
    }
}

/// What the registries say is in docs/explain/clocks.md, word by word.
#[test]
fn beyond_that_the_registries_refuse_and_only_they_say_why() {
    let pair = lasting();
    let clocked = start(&pair, "", 0);
    let registries = registries(&clocked.dockwarden, &pair);
    let image = image::layout("late");
    for (ahead, said) in [
        (100, "token not to be used before "),
        (HOUR, "token not to be used before "),
        (BEYOND_31_BITS - clock::now() + HOUR, "token not to be used before 2038-01-19 "),
        (-(LIFE + 70), "token not to be used after "),
        (-HOUR, "token not to be used after "),
        // Behind by no more than the token lives, and the minute that registries allow.
        (-(LIFE + 30), ""),
    ] {
        clocked.set(ahead);
        for registry in &registries {
            let before = registry.process.log().len();
            let visited = visit::visit(registry, "waldi", "GET", "/v2/late/tags/list", b"");
            let what = format!("{ahead} {:?}\n{}", registry.edition, registry.process.tail());
            if said.is_empty() {
                assert_eq!(visited.reply.status, 404, "let in, and there is nothing: {what}");
                continue;
            }
            assert_eq!(visited.reply.status, 401, "{what}");
            assert_eq!(visit::challenge(&visited.reply).error, "invalid_token", "{what}");
            let all_said = [said, " - currently 20", "error authorizing context: invalid token"];
            registry.process.until(&format!("{all_said:?} with the clock at {ahead}"), |process| {
                let log = process.log();
                let new = log.get(before..)?;
                all_said.iter().all(|words| new.contains(words)).then_some(())
            });
            // Each reply names the clock of who made it.
            let asked = http::request("GET", "/healthz", &clocked.dockwarden.host(), &[], b"");
            assert_ahead(dated(&http::exchange(&clocked.dockwarden.address, &asked)), ahead);
            assert_ahead(dated(&visited.reply), 0);
        }
        let granted = events(&clocked.dockwarden.whole_log(), "decided");
        assert!(!granted.is_empty() && granted.iter().all(|line| line["decision.outcome"] == "granted"), "{granted:?}");
    }
    clocked.set(HOUR);
    for registry in &registries {
        let local = format!("oci:{}:{TAG}", image.directory.display());
        skopeo(&[&local, &format!("docker://{}/late:1", registry.host())]).refused(&["unauthorized", "invalid token"]);
    }
}

/// A certificate begins when it is made. For a clock that is behind, that is in the future.
#[test]
fn a_new_certificate_is_used_by_a_clock_that_is_a_little_behind() {
    let pair = keys::as_in_the_guide(Kind::P256);
    let clocked = start(&pair, "", -30);
    let registries = registries(&clocked.dockwarden, &pair);
    // Some seconds less than what is allowed: the test itself takes some, but never backwards.
    for ahead in [-30, -85] {
        clocked.set(ahead);
        for registry in &registries {
            let visited = visit::visit(registry, "waldi", "GET", "/v2/new/tags/list", b"");
            assert_eq!(visited.reply.status, 404, "{ahead} {:?}: {}", registry.edition, registry.process.tail());
        }
    }
    let said = || events_for(&clocked.dockwarden, "certificate_out_of_time");
    assert_eq!(said(), Vec::<Value>::new());
    // Its time has not begun by far, and the log says what may be wrong.
    clocked.set(-HOUR);
    let line = until("the line about the certificate", || said().into_iter().next());
    assert!(line["message"].as_str().unwrap().contains("set the clock"), "{line}");
    let token = visit::token(&clocked.dockwarden.realm(), SERVICE, "waldi", &[]);
    assert_eq!(visit::header(&token).get("x5c"), None);
}

/// The lines of the log with this reason.
fn events_for(dockwarden: &Dockwarden, reason: &str) -> Vec<Value> {
    let log = dockwarden.process.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["reason"] == reason).collect()
}

/// The registries' view of a token at a moment, by a verifier that shares no code with the signer.
fn verify(token: &str, bundle: &Path, now: i64) -> Said {
    let mut verify = part::command_at(&verify_binary());
    verify.arg("-bundle").arg(bundle).args(["-issuer", ISSUER, "-service", SERVICE, "-now", &now.to_string()]);
    part::run_with(&mut verify, token.as_bytes())
}

#[test]
fn tokens_are_good_beyond_31_bits() {
    // The registries' clocks cannot be moved, but a token's end can: it is in 2038, and both take it today.
    let pair = lasting();
    let life = BEYOND_31_BITS + HOUR - clock::now();
    let clocked = start(&pair, "", 0);
    let config = std::fs::read_to_string(&clocked.dockwarden.config).unwrap();
    let long = Dockwarden::start(&config.replace("expiration: 900", &format!("expiration: {life}")));
    for registry in registries(&long, &pair) {
        let visited = visit::visit(&registry, "waldi", "GET", "/v2/long/tags/list", b"");
        assert!(seconds(&visit::claims(&visited.token), "exp") > BEYOND_31_BITS);
        assert_eq!(visited.reply.status, 404, "{:?}: {}", registry.edition, registry.process.tail());
    }
    // And a server that is in 2038 makes a key and a certificate, tokens that hold then, and takes them itself.
    let then = BEYOND_31_BITS + HOUR;
    let directory = crate::support::scratch::directory("generated");
    let pair = Pair { certificate: directory.join("auth.crt"), key: directory.join("auth.key") };
    let clocked = start(&pair, "  generate: true\n  reuse: 60s\n", then - clock::now());
    let token = token(&clocked.dockwarden);
    assert_eq!(visit::header(&token)["x5c"].as_array().unwrap().len(), 1);
    verify(&token, &pair.certificate, then).well();
    verify(&token, &pair.certificate, then - HOUR).refused(&["not valid before", "not yet", "nbf"]);
    verify(&token, &pair.certificate, then + HOUR).refused(&["exp", "expired"]);
    assert_eq!(self::token(&clocked.dockwarden), token, "the same once more");
    assert_eq!(at_the_door(&clocked.dockwarden, &token), 200);
}

fn token(dockwarden: &Dockwarden) -> String {
    visit::token(&dockwarden.realm(), SERVICE, "waldi", &["repository:test:pull"])
}

/// The status for a proxy that asks about a pull with this token.
fn at_the_door(dockwarden: &Dockwarden, token: &str) -> u16 {
    let headers = [
        ("Authorization", format!("Bearer {token}")),
        ("X-Original-Method", "GET".to_owned()),
        ("X-Original-URI", "/v2/test/manifests/1".to_owned()),
    ];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    http::exchange(&dockwarden.address, &http::request("GET", "/forward_auth", &dockwarden.host(), &headers, b""))
        .status
}

/// What a server knows from before its clock was set.
struct Before {
    token: String,
    hashes: String,
    open: http::Connection,
}

/// How many passwords were hashed so far, as the metrics say it.
fn hashes(dockwarden: &Dockwarden) -> String {
    let wire = http::request("GET", "/metrics", &dockwarden.host(), &[], b"");
    let text = http::exchange(&dockwarden.address, &wire).text();
    text.lines().find(|line| line.starts_with("dockwarden_password_hash_seconds_count")).unwrap().to_owned()
}

fn login(dockwarden: &Dockwarden, account: &str, password: &str) -> Reply {
    let authorization = visit::basic(account, password);
    let target = format!("/auth?service={}", http::form_encode(SERVICE));
    let wire = http::request("GET", &target, &dockwarden.host(), &[("Authorization", &authorization)], b"");
    http::exchange(&dockwarden.address, &wire)
}

/// A server whose clock is right, with an API that knows more accounts and whose word holds for `memory` seconds.
fn beside_an_api(memory: u32) -> (Clocked, HttpApi, Before) {
    let api = HttpApi::start();
    let more = format!(
        "  reuse: 60s\nhttp_auth: {{url: \"{}/\", headers: {{Authorization: \"Basic ${{basic}}\"}}, cache_ttl: {memory}}}\n",
        api.origin()
    );
    let clocked = start(&lasting(), &more, 0);
    let server = &clocked.dockwarden;
    assert_eq!(login(server, "testuser", "testpassword").status, 200);
    let token = token(server);
    assert_eq!(self::token(server), token, "it is handed out again");
    assert_eq!(at_the_door(server, &token), 200);
    let before = Before { token, hashes: hashes(server), open: http::Connection::open(&server.address).unwrap() };
    (clocked, api, before)
}

/// Tokens are made by the new clock at once, and none from before is given or taken; but nothing else has changed.
fn only_tokens_go_by_the_clock_that_was_set(clocked: &Clocked, mut before: Before, by: i64) {
    let server = &clocked.dockwarden;
    clocked.set(by);
    let new = token(server);
    assert_ne!(new, before.token);
    let claims = visit::claims(&new);
    assert_ahead(seconds(&claims, "iat"), by);
    assert_eq!(seconds(&claims, "exp") - seconds(&claims, "iat"), LIFE);
    assert_eq!(token(server), new, "the new one is handed out again");
    assert_eq!((at_the_door(server, &before.token), at_the_door(server, &new)), (401, 200));
    assert_eq!(hashes(server), before.hashes, "the login is still remembered");

    let ready = before.open.send(&http::request("GET", "/readyz", &server.host(), &[], b"")).unwrap();
    assert_eq!(ready.status, 200, "a connection from before is still open");
    assert_ahead(dated(&ready), by);
    let told = until("the line about the clock", || events_for(server, "clock_set").into_iter().next());
    let told = told["seconds"].as_i64().unwrap();
    assert!((told - by).abs() <= SLACK, "{told}");
    assert_eq!(events(&server.process.log(), "configuration reloaded"), Vec::<Value>::new());

    // Back in step: the tokens from before are good again, and still none of them is given.
    clocked.set(0);
    let last = token(server);
    assert_ahead(seconds(&visit::claims(&last), "iat"), 0);
    assert!(last != new && last != before.token);
    assert_eq!((at_the_door(server, &before.token), at_the_door(server, &new)), (200, 401));
    clocked.set(by);
}

/// Who sends wrong passwords waits as long as before: no longer where the clock was set back, and no shorter where it was
/// set forward.
fn waits_go_on(by: i64) {
    // Beside an API other waits hold, which are longer than a test should be.
    let clocked = start(&lasting(), "", 0);
    let server = &clocked.dockwarden;
    for number in 0..5 {
        assert_eq!(login(server, "waldi", &format!("wrong {number}")).status, 401);
    }
    assert_eq!(login(server, "waldi", "wrong 5").status, 429);
    clocked.set(by);
    let few_seconds = Duration::from_secs(10);
    until_within(few_seconds, "the end of the first wait", || {
        (login(server, "waldi", "wrong 6").status == 401).then_some(())
    });
    assert_eq!(login(server, "waldi", "wrong 7").status, 429, "the wrong ones from before are not forgotten");
    until_within(few_seconds, "the end of the second wait", || {
        (login(server, "waldi", &password("waldi")).status == 200).then_some(())
    });
}

#[test]
fn a_clock_that_is_set_forward_shortens_no_wait_and_no_memory() {
    let (clocked, api, before) = beside_an_api(600);
    only_tokens_go_by_the_clock_that_was_set(&clocked, before, HOUR);
    waits_go_on(HOUR);
    // Ten minutes have passed by the clock on the wall.
    api.kill();
    let server = &clocked.dockwarden;
    assert_eq!(login(server, "testuser", "testpassword").status, 200, "the API's word is still remembered");
    assert_eq!(login(server, "carol", "p+w% ö&=1").status, 503, "and the API is away");
}

#[test]
fn a_clock_that_is_set_back_prolongs_no_wait_and_no_memory() {
    let (clocked, api, before) = beside_an_api(2);
    only_tokens_go_by_the_clock_that_was_set(&clocked, before, -HOUR);
    waits_go_on(-HOUR);
    let server = &clocked.dockwarden;
    clocked.set(0);
    assert_eq!(login(server, "testuser", "testpassword").status, 200);
    api.kill();
    clocked.set(-HOUR);
    let few_seconds = Duration::from_secs(10);
    until_within(few_seconds, "the end of the API's word", || {
        (login(server, "testuser", "testpassword").status == 503).then_some(())
    });
    api.restart();
    clocked.set(-2 * HOUR);
    until_within(few_seconds, "the API's next word", || {
        (login(server, "testuser", "testpassword").status == 200).then_some(())
    });
}

/// The gateway's own tokens from an upstream last for as long as they were given for.
#[test]
fn the_gateway_keeps_its_tokens_although_its_clock_is_set() {
    let pair = lasting();
    let inside = start(&pair, "", 0);
    let registry = Registry::start(Edition::V3, &inside.dockwarden, &pair.certificate);
    let upstream = format!(
        "url: \"http://{}\", auth: {{token: {{realm: \"{}\", service: \"{SERVICE}\", username: waldi, password: \"{}\"}}}}",
        registry.address(),
        inside.dockwarden.realm(),
        password("waldi")
    );
    let gateway = Clocked::start(&gateway::config(Challenge::Basic, &[upstream]), 0);
    let server = &gateway.dockwarden;
    let asked = || {
        let wire = http::request("GET", "/metrics", &inside.dockwarden.host(), &[], b"");
        let text = http::exchange(&inside.dockwarden.address, &wire).text();
        text.lines().filter(|line| line.starts_with("dockwarden_token_requests_total")).collect::<String>()
    };
    let pull = || {
        let authorization = visit::basic("boss", &password("boss"));
        let headers = [("Authorization", authorization.as_str())];
        let wire = http::request("GET", "/v2/team/app/tags/list", &server.host(), &headers, b"");
        http::exchange(&server.address, &wire).status
    };
    assert_eq!(pull(), 404, "let in, and there is nothing\n{}", server.process.tail());
    let first = asked();
    assert!(first.contains("\"granted\"} 1"), "{first}");
    for ahead in [HOUR, -HOUR, 0] {
        gateway.set(ahead);
        assert_eq!(pull(), 404, "{ahead}");
        assert_eq!(asked(), first, "{ahead}");
    }
}
