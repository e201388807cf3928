//! Headers that a client sends to be taken for somebody else, or its request for another: through both proxies, from the
//! proxy's own place, and from elsewhere.

use serde_json::Value;

use crate::support::dockwarden::{self, events};
use crate::support::door::{ALICE, BOB, Behind, Door, Login};
use crate::support::http::{self, Reply};
use crate::support::part;
use crate::support::process::until;
use crate::support::recorder::Recorder;
use crate::support::visit::basic;

/// An address that would open nothing, and that nobody has.
const FORGED: &str = "10.9.8.7";
const OWN: &str = "/v2/web/app/manifests/v1";
const SECRET: &str = "/v2/secret/app/manifests/v1";

/// Each header with what a client would gain by it: the first makes its request look like one that is allowed, the second
/// like somebody else's or another.
const FORGERIES: &[(&str, &str, &str)] = &[
    ("X-Forwarded-For", FORGED, FORGED),
    ("Forwarded", "for=10.9.8.7;host=forged.test", "for=10.9.8.7;host=forged.test"),
    ("X-Real-IP", FORGED, FORGED),
    ("X-Forwarded-Uri", OWN, SECRET),
    ("X-Forwarded-Method", "GET", "DELETE"),
    ("X-Forwarded-Prefix", "/v2/web", "/v2/secret"),
    ("X-Forwarded-Host", "forged.test", "forged.test"),
    ("X-Forwarded-Proto", "forged", "forged"),
    ("X-Forwarded-Port", "9876", "9876"),
    ("X-Original-URI", OWN, SECRET),
    ("X-Original-Method", "GET", "DELETE"),
    ("X-Original-URL", OWN, SECRET),
    ("X-Rewrite-URL", OWN, SECRET),
    ("X-HTTP-Method-Override", "GET", "DELETE"),
    ("X-HTTP-Method", "GET", "DELETE"),
    ("X-Method-Override", "GET", "DELETE"),
    ("X-Auth-Account", "root", "root"),
    ("X-Auth-Labels-Team", "secret", "secret"),
    ("X-Decision-Id", "forged", "forged"),
];

/// The ways in which a header can be written.
fn forms(name: &str, value: &str) -> Vec<String> {
    let line = |name: &str| format!("{name}: {value}\r\n");
    vec![
        line(name),
        line(&name.to_lowercase()),
        line(&name.replace('-', "_")),
        line(&name.replace('-', ".")),
        line(&name.replacen('-', "_", 1)),
        line(name).repeat(2),
        format!("{}{}", line(name), line(&name.replace('-', "_"))),
        format!("Connection: {name}\r\n{}", line(name)),
        format!("Connection: close, {name}\r\n"),
    ]
}

fn send(door: &Door, method: &str, target: &str, lines: &str) -> Reply {
    let authorization = basic(ALICE.0, ALICE.1);
    let raw =
        format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: {authorization}\r\n{lines}\r\n", door.host);
    http::exchange(&door.plain, raw.as_bytes())
}

#[test]
fn nothing_that_a_client_says_about_itself_is_believed_behind_nginx() {
    let registry = Recorder::start();
    believed_nowhere(&Door::nginx(Behind::Recorder(&registry), Login::Passwords), &registry);
}

#[test]
fn nothing_that_a_client_says_about_itself_is_believed_behind_caddy() {
    let registry = Recorder::start();
    believed_nowhere(&Door::caddy(Behind::Recorder(&registry)), &registry);
}

fn believed_nowhere(door: &Door, registry: &Recorder) {
    let (mut passed, mut refused) = (0, 0);
    for (name, helpful, harmful) in FORGERIES {
        for lines in forms(name, helpful) {
            let reply = send(door, "GET", SECRET, &lines);
            assert!(matches!(reply.status, 403 | 400), "{lines:?} opened a secret: {}", reply.status);
            assert!(registry.take().is_empty(), "{lines:?}");
        }
        for lines in forms(name, harmful) {
            let reply = send(door, "GET", OWN, &lines);
            let arrived = registry.take();
            match reply.status {
                200 => passed += 1,
                // nginx takes some for no header at all; an identity is refused by us.
                400 | 403 => {
                    assert!(arrived.is_empty(), "{lines:?}: {arrived:?}");
                    refused += 1;
                    continue;
                }
                other => panic!("{lines:?}: {other}"),
            }
            let [only] = arrived.as_slice() else { panic!("{lines:?}: {arrived:?}") };
            assert_eq!(only.line, format!("GET {OWN} HTTP/1.1"), "{lines:?}");
            assert_eq!(only.all("x-auth-account"), ["alice"], "{lines:?}");
            assert_eq!(only.all("x-forwarded-for"), ["127.0.0.1"], "{lines:?}");
            assert_eq!(only.all("x-forwarded-proto"), ["http"], "{lines:?}");
            assert!(only.all("authorization").is_empty(), "{lines:?}");
            let expected = ["alice", "127.0.0.1", "http"];
            let leaked = only.all(name).into_iter().find(|value| value.contains(harmful) && !expected.contains(value));
            assert_eq!(leaked, None, "{lines:?} arrived: {only:?}");
        }
    }
    assert!(passed > refused * 3, "{passed} passed, {refused} refused");
    // Each that passed was decided on, and its line may come after it.
    let own = format!("GET {OWN}");
    let decided = door.dockwarden.until("the lines of all that passed", |process| {
        let decided = events(&process.log(), "decided");
        (decided.iter().filter(|line| line["request"] == *own).count() >= passed).then_some(decided)
    });
    assert!(decided.len() > 200);
    let seen: Vec<&Value> = decided.iter().filter(|line| line["client.address"] != "127.0.0.1").collect();
    assert!(seen.is_empty(), "{seen:?}");
    let asked = [own, format!("GET {SECRET}")];
    assert!(decided.iter().all(|line| asked.iter().any(|own| line["request"] == **own)));
}

/// A question that curl asks Dockwarden itself from one of this machine's addresses.
fn question(door: &Door, from: &str, who: (&str, &str), headers: &[&str]) -> (u16, String) {
    let mut curl = part::client("curl");
    curl.args(["--silent", "--show-error", "--include", "--interface", from]);
    curl.arg("--user").arg(format!("{}:{}", who.0, who.1));
    for header in headers {
        curl.args(["--header", header]);
    }
    let said = part::run(curl.arg(format!("http://{}/forward_auth", door.asked_at))).well();
    (said.stdout.split(' ').nth(1).unwrap().parse().unwrap(), said.stdout)
}

#[test]
fn whoever_is_no_proxy_is_never_answered() {
    let registry = Recorder::start();
    let door = Door::caddy(Behind::Recorder(&registry));
    let honest = ["X-Forwarded-Method: GET".to_owned(), format!("X-Forwarded-Uri: {OWN}")];
    let mut cases: Vec<Vec<String>> = vec![honest.to_vec(), vec![]];
    for (name, value, _) in FORGERIES {
        for lines in forms(name, value) {
            let lines = lines.lines().map(str::to_owned);
            cases.push(honest.iter().cloned().chain(lines).collect());
        }
    }
    for claim in ["127.0.0.1", "127.0.0.1, 127.0.0.1", "::1", "unix", "\"127.0.0.1\""] {
        for name in
            ["X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "X-Cluster-Client-Ip", "True-Client-IP", "Via"]
        {
            let value = if name == "Forwarded" { format!("for={claim}") } else { claim.to_owned() };
            cases.push(honest.iter().cloned().chain([format!("{name}: {value}")]).collect());
        }
    }
    for case in &cases {
        let headers: Vec<&str> = case.iter().map(String::as_str).collect();
        let (status, reply) = question(&door, "127.0.0.2", ALICE, &headers);
        assert_eq!(status, 403, "{case:?}: {reply}");
        assert!(!reply.to_lowercase().contains("x-auth-account"), "{reply}");
    }
    // The last of the lines may be written a moment after its reply.
    until("a line of the log for each", || {
        let refused = events(&door.dockwarden.log(), "refused");
        (refused.iter().filter(|line| line["reason"] == "not_a_proxy").count() == cases.len()).then_some(())
    });
    let honest = honest.each_ref().map(String::as_str);
    assert_eq!(question(&door, "127.0.0.1", ALICE, &honest).0, 200, "the proxy itself");
}

/// The headers of Traefik 3's middleware, as its source sends them; Traefik itself is not here.
#[test]
fn traefiks_questions_are_answered() {
    let registry = Recorder::start();
    let door = Door::caddy(Behind::Recorder(&registry));
    let ask = |who: (&str, &str), method: &str, target: &str, more: &[&str]| {
        let own = [
            format!("X-Forwarded-Method: {method}"),
            format!("X-Forwarded-Uri: {target}"),
            "X-Forwarded-Proto: https".to_owned(),
            "X-Forwarded-Host: registry.example.org".to_owned(),
            "X-Forwarded-Port: 443".to_owned(),
            "X-Forwarded-Server: traefik".to_owned(),
            "X-Forwarded-For: 203.0.113.7".to_owned(),
            "X-Real-Ip: 203.0.113.7".to_owned(),
            "User-Agent: docker/28".to_owned(),
            "Accept-Encoding: gzip".to_owned(),
        ];
        let headers: Vec<&str> = own.iter().map(String::as_str).chain(more.iter().copied()).collect();
        question(&door, "127.0.0.1", who, &headers)
    };
    for (who, method, target, more, expected) in [
        (ALICE, "GET", "/v2/", &[][..], 200),
        ((ALICE.0, "wrong"), "GET", "/v2/", &[], 401),
        (ALICE, "PUT", OWN, &[], 200),
        (BOB, "PUT", OWN, &[], 403),
        (BOB, "GET", OWN, &[], 200),
        (ALICE, "GET", SECRET, &[], 403),
        (ALICE, "POST", "/v2/web/app/blobs/uploads/?from=secret%2Fapp", &[], 403),
        (ALICE, "POST", "/v2/web/app/blobs/uploads/", &["Content-Type: application/x-www-form-urlencoded"], 403),
        (BOB, "GET", "/handbook/a", &[], 200),
        (ALICE, "GET", OWN, &["X-Auth-Labels-Role: admin"], 403),
    ] {
        let (status, reply) = ask(who, method, target, more);
        assert_eq!(status, expected, "{method} {target} {more:?}: {reply}");
        assert_eq!(reply.contains("\r\nx-auth-account: "), status == 200, "{reply}");
        assert_eq!(reply.contains("\r\nwww-authenticate: Basic realm=\"Acme auth server\""), status == 401, "{reply}");
    }
    let decided = events(&dockwarden::whole_log(&door.dockwarden, &door.asked_at), "decided");
    assert!(!decided.is_empty() && decided.iter().all(|line| line["client.address"] == "203.0.113.7"), "{decided:?}");
}
