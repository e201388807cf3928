//! Generated requests through nginx's recipe to a real registry: what the registry says that it served is compared with
//! what was decided on, and with a second reading of the rules. The gateway is put through the same.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::thread;

use serde_json::Value;

use super::targets::{BLOB, DIGEST, METHODS, SECRET_BLOB, SECRET_DIGEST, target};
use crate::support::dice::Dice;
use crate::support::door::{ALICE, BOB, Behind, Door, Login, ROOT};
use crate::support::http::{self, Connection};
use crate::support::http2;
use crate::support::part;
use crate::support::process::until;
use crate::support::registry::Edition;
use crate::support::visit::basic;

const SEED: u64 = 20_150_401;
/// What is there to be found.
pub(crate) const REPOSITORIES: [&str; 3] = ["public/app", "web/app", "secret/app"];
/// One for each connection that is kept busy.
const THREADS: usize = 4;
const EACH: usize = 12_500;
const BY_HTTP2: u32 = 4_000;
/// Requests on one HTTP/2 connection: below the streams that nginx allows at once.
const STREAMS: u32 = 100;

/// What is asked for after everything else, and by nobody before.
pub(crate) const LAST: &str = "/v2/the/last/one/tags/list";

/// Who sends a request. The name travels as User-Agent, which the registry logs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    Nobody,
    Alice,
    Bob,
    /// With a token that pulls `web/app`.
    Token,
    /// With a token of nobody's.
    Junk,
}

impl Caller {
    pub(crate) const ALL: [Self; 5] = [Self::Nobody, Self::Alice, Self::Bob, Self::Token, Self::Junk];

    /// Alice, who may most, comes as often as all others: what nobody may get arrives nowhere.
    fn any(dice: &mut Dice) -> Self {
        match dice.once_in(2) {
            true => Self::Alice,
            false => Self::ALL[dice.below(Self::ALL.len())],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Alice => "alice",
            Self::Bob => "bob",
            Self::Token => "token",
            Self::Junk => "junk",
        }
    }

    /// The recipe's rules again, by another hand. `tag` is the tag or the digest in the path.
    fn may(self, method: &str, repository: &str, tag: &str) -> bool {
        let (public, web) = (is_one_below("public/", repository), is_one_below("web/", repository));
        let reads = matches!(method, "GET" | "HEAD");
        match self {
            Self::Nobody => reads && public,
            Self::Alice => web || (reads && public),
            Self::Bob => reads && (public || (web && (tag.starts_with('v') || tag.contains(':')))),
            Self::Token => reads && repository == "web/app",
            Self::Junk => false,
        }
    }
}

fn is_one_below(folder: &str, repository: &str) -> bool {
    repository.strip_prefix(folder).is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

/// Headers that somebody could take for the target, the method or the client.
const NOISE: &[&str] = &[
    "X-Original-URI: /v2/public/app/manifests/v1",
    "x-original-uri: /v2/web/app/manifests/v1",
    "X_Original_URI: /v2/public/app/manifests/v1",
    "X.Original.URI: /v2/public/app/manifests/v1",
    "X-Original-URI : /v2/public/app/manifests/v1",
    "X-Original-Method: GET",
    "X_Original_Method: GET",
    "X-Original-URL: /v2/secret/app/manifests/v1",
    "X-Rewrite-URL: /v2/secret/app/manifests/v1",
    "X-HTTP-Method-Override: DELETE",
    "X-Forwarded-Uri: /v2/public/app/manifests/v1",
    "X-Forwarded-Method: GET",
    "X-Forwarded-Prefix: /v2/secret",
    "X-Forwarded-Host: secret",
    "X-Forwarded-For: 127.0.0.1, 10.0.0.1",
    "Forwarded: for=127.0.0.1;host=secret",
    "X-Auth-Account: alice",
    "X_Auth_Account: root",
    "Connection: X-Original-URI, X-Original-Method",
    "Connection: keep-alive, Content-Type",
    "Upgrade: h2c",
    "Range: bytes=0-1",
    "TE: trailers",
    "Content-Type: application/x-www-form-urlencoded",
    "Authorization: Basic Og==",
];

const BODIES: &[(&str, &str)] = &[
    ("", ""),
    ("", ""),
    ("Content-Type: application/octet-stream\r\n", "from=secret/app"),
    ("Content-Type: application/x-www-form-urlencoded\r\n", "from=secret/app&mount=DIGEST"),
    ("Content-Type: application/x-www-form-urlencoded\r\n", "mount=DIGEST&fro%6D=secret%2Fapp"),
    ("content-type:APPLICATION/X-WWW-FORM-URLENCODED;charset=x\r\n", "from=secret/app&mount=DIGEST"),
    ("Content-Type: text/plain\r\nContent-Type: application/x-www-form-urlencoded\r\n", "from=secret/app"),
    (
        "Content-Type: multipart/form-data; boundary=b\r\n",
        "--b\r\nContent-Disposition: form-data; name=\"from\"\r\n\r\nsecret/app\r\n--b--\r\n",
    ),
    ("Content-Type : application/x-www-form-urlencoded\r\n", "from=secret/app"),
    ("", "from=secret/app"),
];

/// Puts the blobs that the targets name, through whoever is at this address.
pub(crate) fn put_blobs(address: &str) {
    for repository in REPOSITORIES {
        put_blob(address, repository, BLOB, DIGEST);
    }
    put_blob(address, "secret/app", SECRET_BLOB, SECRET_DIGEST);
}

fn put_blob(address: &str, repository: &str, blob: &[u8], digest: &str) {
    let authorization = basic(ROOT.0, ROOT.1);
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/octet-stream")];
    let call = |method, target: &str, body: &[u8]| {
        http::exchange(address, &http::request(method, target, "localhost", &headers, body))
    };
    let begun = call("POST", &format!("/v2/{repository}/blobs/uploads/"), b"");
    let location = begun.header("location").unwrap();
    let path = &location[location.find("/v2/").unwrap()..];
    assert_eq!(call("PUT", &format!("{path}&digest={}", http::form_encode(digest)), blob).status, 201);
}

/// The header lines with which each caller comes.
pub(crate) type Logins = HashMap<&'static str, String>;

/// The logins at whoever is at this address, with a token from there.
pub(crate) fn logins(address: &str) -> Logins {
    let target = "/auth?service=Docker%20registry&scope=repository:web/app:pull";
    let authorization = basic(ALICE.0, ALICE.1);
    let request = http::request("GET", target, address, &[("Authorization", &authorization)], b"");
    let token = http::exchange(address, &request).json()["token"].as_str().unwrap().to_owned();
    let forged = token.replace('.', "A.");
    [
        (Caller::Nobody, String::new()),
        (Caller::Alice, authorization),
        (Caller::Bob, basic(BOB.0, BOB.1)),
        (Caller::Token, format!("Bearer {token}")),
        (Caller::Junk, format!("Bearer {forged}")),
    ]
    .map(|(caller, value)| (caller.name(), value))
    .into()
}

/// One request as bytes.
fn request(dice: &mut Dice, logins: &Logins) -> Vec<u8> {
    let caller = Caller::any(dice);
    let (method, target) = (dice.pick(METHODS), target(dice));
    let version = dice.pick(&["1.1", "1.1", "1.1", "1.1", "1.1", "1.0"]);
    let host = match dice.once_in(50) {
        true => dice.pick(&["x/v2/secret/app", "", "a b", "secret\r\nHost: public"]),
        false => dice.pick(&["localhost", "localhost:5000", "secret", "127.0.0.1", "[::1]:443"]),
    };
    let mut text = format!("{method} {target} HTTP/{version}\r\nHost: {host}\r\nUser-Agent: {}\r\n", caller.name());
    text.push_str("Accept: application/vnd.oci.image.manifest.v1+json\r\n");
    if version == "1.0" {
        text.push_str("Connection: keep-alive\r\n");
    }
    let login = &logins[caller.name()];
    if !login.is_empty() {
        text.push_str(&format!("Authorization: {login}\r\n"));
    }
    if dice.once_in(3) {
        for _ in 0..=dice.below(3) {
            text.push_str(dice.pick(NOISE));
            text.push_str("\r\n");
        }
    }
    let (kind, body) = match matches!(method, "POST" | "PUT" | "PATCH") || dice.once_in(20) {
        true => BODIES[dice.below(BODIES.len())],
        false => ("", ""),
    };
    let body = body.replace("DIGEST", &http::form_encode(SECRET_DIGEST));
    let framed = match (body.is_empty(), dice.once_in(6) && version == "1.1") {
        (true, _) => String::new(),
        (false, false) => format!("Content-Length: {}\r\n\r\n{body}", body.len()),
        (false, true) => format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
    };
    text.push_str(kind);
    text.push_str(if framed.is_empty() { "\r\n" } else { &framed });
    text.into_bytes()
}

/// Sends requests one after the other, and counts the replies by status; 0 for a connection that was closed instead.
pub(crate) fn send(address: &str, seed: u64, logins: &Logins) -> BTreeMap<u16, usize> {
    let mut dice = Dice(seed);
    let mut statuses = BTreeMap::new();
    let mut connection = Connection::open(address).unwrap();
    for _ in 0..EACH {
        let raw = request(&mut dice, logins);
        // A connection that the proxy has closed after the reply before is no answer to this one.
        let reply = match connection.send(&raw) {
            Err(error) if closed(&error) => {
                connection = Connection::open(address).unwrap();
                connection.send(&raw)
            }
            other => other,
        };
        let status = match reply {
            Ok(reply) => {
                // The registry has some of its own, and says so; one of nginx's would be an answer of ours that it does
                // not take.
                let by_nginx = reply.status >= 500 && !reply.text().starts_with("{\"errors\":");
                assert!(!by_nginx || raw.starts_with(b"HEAD "), "{}\n{reply:?}", String::from_utf8_lossy(&raw));
                reply.status
            }
            Err(error) => {
                assert!(closed(&error), "{error}: {}", String::from_utf8_lossy(&raw));
                connection = Connection::open(address).unwrap();
                0
            }
        };
        *statuses.entry(status).or_default() += 1;
    }
    statuses
}

fn closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// The same generator's targets by HTTP/2, so many at once on each connection.
pub(crate) fn send_by_http2(address: &str, seed: u64, logins: &Logins, streams: u32) {
    let mut dice = Dice(seed);
    for _ in 0..BY_HTTP2 / streams {
        let mut connection = http2::Connection::open(address, 1 << 16);
        for number in 0..streams {
            let caller = Caller::any(&mut dice);
            let (method, target) = (dice.pick(METHODS), target(&mut dice));
            let authority = dice.pick(&["localhost", "secret", "localhost/v2/secret"]);
            let mut fields =
                vec![(":method", method), (":scheme", "http"), (":path", &target), (":authority", authority)];
            fields.push(("user-agent", caller.name()));
            let login = &logins[caller.name()];
            if !login.is_empty() {
                fields.push(("authorization", login));
            }
            let noise = dice.pick(NOISE).to_ascii_lowercase();
            if let Some((name, value)) = noise.split_once(": ")
                && !matches!(name, "connection" | "te" | "upgrade" | "authorization" | "x-original-uri ")
                && dice.once_in(3)
            {
                fields.push((name, value));
                connection.ask(number, &fields);
            } else {
                connection.ask(number, &fields);
            }
        }
        until("an answer to each stream", || {
            connection.attend();
            (connection.closed || connection.replies + connection.resets >= streams as usize).then_some(())
        });
    }
}

/// The requests that were let on, with how often and with which scopes.
pub(crate) type Allowed = HashMap<String, (usize, HashSet<String>)>;

/// What was decided at a door, as its log tells.
pub(crate) fn decided(log: &str, door: &'static str) -> Allowed {
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let of = |messages: &'static [&str]| {
        lines.iter().filter(move |line| line["door"] == door && messages.iter().any(|own| line["message"] == **own))
    };
    let refused = of(&["refused", "could not be decided", "was decided, and could not be answered"]);
    let refused: HashSet<String> = refused.map(|line| text(line, "decision.id")).collect();
    let mut seen = HashSet::new();
    let mut allowed = Allowed::new();
    for line in of(&["decided", "allowed"]) {
        let id = text(line, "decision.id");
        if refused.contains(&id) {
            continue;
        }
        let (count, scopes) = allowed.entry(text(line, "request")).or_default();
        *count += usize::from(seen.insert(id));
        scopes.extend(text(line, "scope").split(' ').map(str::to_owned));
    }
    allowed
}

/// # Panics
/// If Dockwarden dropped lines of its log, because they could not be written in time.
pub(crate) fn none_dropped(metrics: &str) {
    let metric = metrics.lines().find_map(|line| line.strip_prefix("dockwarden_log_lines_dropped_total "));
    assert_eq!(metric, Some("0"), "decisions are missing in the log");
}

/// The metrics of the Dockwarden behind a door, which listens on a socket.
fn metrics(door: &Door) -> String {
    let mut curl = part::client("curl");
    let socket = door.asked_at.trim_start_matches("unix:");
    curl.args(["--silent", "--fail", "--unix-socket", socket, "http://localhost/metrics"]);
    part::run(&mut curl).well().stdout
}

/// A line of the registry's access log: `ADDRESS - USER [TIME] "METHOD TARGET PROTOCOL" STATUS …`.
fn arrival(line: &str) -> Option<(String, u16)> {
    let (_, rest) = line.split_once("] \"")?;
    let (request, rest) = rest.split_once(" HTTP/1.1\" ")?;
    Some((request.replace("\\\"", "\"").replace("\\\\", "\\"), rest.get(..3)?.parse().ok()?))
}

#[test]
fn nothing_is_served_but_what_was_decided_on() {
    for edition in Edition::ALL {
        let seed = SEED + edition as u64 * 1_000;
        confuse(edition, seed);
    }
}

/// Counts what arrived at the registry, as its access log tells, and what of it succeeded.
///
/// # Panics
/// If something arrived that nobody decided on, or more often than it was let on.
pub(crate) fn arrived(edition: Edition, log: &str, allowed: &mut Allowed) -> (usize, usize) {
    let (mut arrived, mut successes) = (0, 0);
    for (request, status) in log.lines().filter_map(arrival) {
        let left = allowed.get_mut(&request).map(|(count, _)| count);
        let left =
            left.unwrap_or_else(|| panic!("{edition:?}: nobody decided on {request:?}, which was answered {status}"));
        *left = left
            .checked_sub(1)
            .unwrap_or_else(|| panic!("{edition:?}: {request:?} came more often than it was allowed"));
        arrived += 1;
        successes += usize::from((200..300).contains(&status));
    }
    (arrived, successes)
}

/// Counts what the registry took for requests of each caller's, as its log tells.
///
/// # Panics
/// If it took one for a request that its caller may not make, or that was not decided on.
pub(crate) fn served(edition: Edition, log: &str, allowed: &Allowed) -> BTreeMap<&'static str, usize> {
    let mut served: BTreeMap<&str, usize> = BTreeMap::new();
    for line in log.lines().filter(|line| line.contains("\"authorizing request\"")) {
        let line: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| line[key].as_str().unwrap_or_default();
        let (method, uri, repository) = (text("http.request.method"), text("http.request.uri"), text("vars.name"));
        let caller = text("http.request.useragent");
        let caller = Caller::ALL.into_iter().find(|known| known.name() == caller);
        let caller = caller.unwrap_or_else(|| panic!("{edition:?}: nobody sent {method} {uri}"));
        *served.entry(caller.name()).or_default() += 1;
        let whole = format!("{edition:?}: {} {method} {uri} was served as {repository:?}", caller.name());
        let (_, scopes) = allowed.get(&format!("{method} {uri}")).unwrap_or_else(|| panic!("{whole}, not decided on"));
        if repository.is_empty() {
            assert!(matches!(uri.split('?').next(), Some("/v2/")), "{whole}");
            assert!(matches!(caller, Caller::Alice | Caller::Bob | Caller::Token), "{whole}");
            continue;
        }
        let tag = [text("vars.reference"), text("vars.digest")].concat();
        assert!(caller.may(method, repository, &tag), "{whole}, which nobody allows them");
        let begin = format!("repository:{repository}:");
        assert!(scopes.iter().any(|scope| scope.starts_with(&begin)), "{whole}, decided on {scopes:?}");
        let (_, query) = uri.split_once('?').unwrap_or_default();
        for (_, from) in
            form_urlencoded::parse(query.as_bytes()).filter(|(key, value)| key == "from" && !value.is_empty())
        {
            assert!(caller.may("GET", &from, ""), "{whole} with {from:?}, which nobody allows them");
            assert!(scopes.contains(&format!("repository:{from}:pull")), "{whole}, decided on {scopes:?}");
        }
    }
    served
}

/// Whatever was in a query or a body, the secret blob was mounted nowhere.
pub(crate) fn nothing_was_mounted(address: &str) {
    let authorization = basic(ROOT.0, ROOT.1);
    for repository in ["web/app", "web/other", "web/blobs", "web/tags"] {
        let target = format!("/v2/{repository}/blobs/{SECRET_DIGEST}");
        let request = http::request("HEAD", &target, "localhost", &[("Authorization", &authorization)], b"");
        assert_eq!(http::exchange(address, &request).status, 404, "{repository}");
    }
}

/// Sends what the generator makes of this seed: 50,000 requests to `plain` one after the other on each connection, and
/// more to `http2`. Gives how often each status came.
pub(crate) fn send_all(plain: &str, http2: &str, streams: u32, seed: u64, logins: &Logins) -> BTreeMap<u16, usize> {
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS as u64).map(|number| scope.spawn(move || send(plain, seed + number, logins))).collect();
        scope.spawn(move || send_by_http2(http2, seed + 100, logins, streams));
        for thread in threads {
            for (status, count) in thread.join().unwrap() {
                *statuses.entry(status).or_default() += count;
            }
        }
    });
    assert_eq!(statuses.values().sum::<usize>(), EACH * THREADS);
    statuses
}

/// Not by refusing everything.
pub(crate) fn enough(arrived: usize, successes: usize, served: &BTreeMap<&'static str, usize>) {
    assert!(arrived > 3_000 && successes > 700, "{arrived} arrived, {successes} with success");
    for caller in [Caller::Nobody, Caller::Alice, Caller::Bob, Caller::Token] {
        assert!(served.get(caller.name()).is_some_and(|count| *count > 100), "{served:?}");
    }
    assert!(!served.contains_key(Caller::Junk.name()), "{served:?}");
}

fn confuse(edition: Edition, seed: u64) {
    let door = Door::nginx(Behind::TalkativeRegistry(edition), Login::Tokens);
    for repository in REPOSITORIES {
        super::put(&door, repository, "v1");
    }
    put_blobs(&door.plain);
    let logins = logins(&door.plain);
    let prepared = door.registry.as_ref().unwrap().log().len();
    let statuses = send_all(&door.plain, &door.http2, STREAMS, seed, &logins);
    let known = [0, 200, 201, 202, 204, 206, 301, 400, 401, 403, 404, 405, 414, 416, 500];
    assert!(statuses.keys().all(|status| known.contains(status)), "{statuses:?}");

    // What arrived first: all of it was decided on before. Decisions are written beside the replies, in their order, so that
    // all are there once a later one is; and none may have been dropped.
    let log = door.registry.as_ref().unwrap().log().split_off(prepared);
    assert_eq!(super::ask(&door, Some(ALICE), "GET", LAST, &[]).status, 403);
    door.dockwarden.until("the last decision", |process| process.log().contains(LAST).then_some(()));
    none_dropped(&metrics(&door));
    let mut allowed = decided(&door.dockwarden.log(), "forward_auth");
    let (arrived, successes) = arrived(edition, &log, &mut allowed);
    let served = served(edition, &log, &allowed);
    nothing_was_mounted(&door.plain);
    for arrival in door.handbook.take() {
        let account = arrival.all("x-auth-account");
        assert!(matches!(account.as_slice(), ["alice" | "bob"]), "{arrival:?}");
        assert!(
            arrival.line.starts_with("GET /handbook/") || arrival.line.starts_with("HEAD /handbook/"),
            "{arrival:?}"
        );
    }
    eprintln!("{edition:?}: {statuses:?}; {arrived} arrived, {successes} with success; served {served:?}");
    enough(arrived, successes, &served);
}
