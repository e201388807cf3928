//! Generated requests through the gateway: what arrives is, byte for byte, a target that its sender may see, in a form that
//! nobody can read in a second way.

use std::collections::HashMap;
use std::thread;

use crate::support::dockwarden::password;
use crate::support::gateway::{self, Challenge};
use crate::support::http::Connection;
use crate::support::standin::{Head, Standin, Then};
use crate::support::visit::basic;

const THREADS: u64 = 4;
const EACH: u64 = 12_500;

/// The same choices in every run, so that a failure can be repeated.
struct Choices(u64);

impl Choices {
    fn below(&mut self, limit: usize) -> usize {
        // A linear congruential generator; its upper bits are good enough.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn of<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Alice has `team/*`, both read `public/*` and bob reads `team/*`; `secret` is nobody's.
const REPOSITORIES: &[&str] =
    &["team/app", "team/app", "team/app", "public/app", "secret/app", "secret", "team/app/deep"];
const PARTS: &[&str] =
    &["manifests/v1", "tags/list", "blobs/DIGEST", "blobs/uploads/", "blobs/uploads/1-a", "referrers/DIGEST"];
const METHODS: &[&str] = &["GET", "GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get", "PURGE"];

/// What is written in the place of one letter, or between two.
const BENDS: &[&str] = &[
    "/", "//", "/./", "/../", "/..;/", "/;x/", "\\", "%2f", "%2F", "%5c", "%2e%2e/", "%252e", "%00", "%0d%0a", "%20",
    "%61", "#", "?", "&", ";", ".", "..", "A", "+", "@", ":", "~", "*", "\u{fc}", "\t", " ", "%c0%af", "%u002f",
    "\u{7f}", "_", "-",
];
const QUERIES: &[&str] = &[
    "from=secret/app",
    "from=team%2Fapp",
    "from=public/app",
    "fro%6D=secret/app",
    "from=secret/app&from=team/app",
    "from=team/app;from=secret/app",
    "mount=DIGEST",
    "mount=DIGEST&from=secret%2Fapp",
    "mount=DIGEST&from=team%2Fapp",
    "n=1",
    "_method=DELETE",
    "%zz",
];
/// Headers that somebody could take for the target, the method, the host or the client.
const NOISE: &[&str] = &[
    "X-Original-URI: /v2/secret/app/manifests/v1",
    "X-Original-URL: /v2/secret/app/manifests/v1",
    "X-Rewrite-URL: /v2/secret/app/manifests/v1",
    "X-HTTP-Method-Override: DELETE",
    "X-Forwarded-Prefix: /v2/secret",
    "X-Forwarded-For: 10.0.0.1",
    "X_Forwarded_For: 10.0.0.1",
    "X-Auth-Account: boss",
    "Host: elsewhere",
    "Cookie: session=boss",
    "Connection: Host, Authorization",
    "Upgrade: h2c",
    "Content-Type: application/x-www-form-urlencoded",
    "Transfer-Encoding: chunked\r\nContent-Length: 4",
];

fn target(choices: &mut Choices) -> String {
    let (repository, part) = (choices.of(REPOSITORIES), choices.of(PARTS));
    let mut text = format!("/v2/{repository}/{part}").replace("DIGEST", DIGEST);
    // Half of them are as clients write them.
    for _ in 0..choices.below(2) * (1 + choices.below(3)) {
        let at = choices.below(text.len() + 1);
        let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        let (before, after) = text.split_at(at);
        let rest = match choices.below(2) {
            0 => after,
            _ => after.char_indices().nth(1).map_or("", |(next, _)| &after[next..]),
        };
        text = format!("{before}{}{rest}", choices.of(BENDS));
    }
    if choices.below(3) == 0 {
        text = format!("{text}?{}", choices.of(QUERIES).replace("DIGEST", DIGEST));
    }
    match choices.below(40) {
        0 => format!("http://localhost{text}"),
        1 => format!("http://elsewhere{text}"),
        2 => format!("/{text}"),
        _ => text,
    }
}

/// Whether the rules let somebody do this, by another hand.
fn may(account: &str, method: &str, repository: &str) -> bool {
    let reads = matches!(method, "GET" | "HEAD");
    let is_one_below = |folder: &str| repository.strip_prefix(folder).is_some_and(|name| !name.contains('/'));
    match account {
        "alice" => is_one_below("team/") || (reads && is_one_below("public/")),
        "bob" => reads && (is_one_below("team/") || is_one_below("public/")),
        other => panic!("{other}"),
    }
}

/// The repository of a target that can be read in one way only.
fn repository(target: &str) -> &str {
    let path = target.split('?').next().unwrap();
    assert!(path.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"/:._-=".contains(&letter)), "{path}");
    assert!(!path.contains("//") && !path.split('/').any(|segment| segment == "." || segment == ".."), "{path}");
    let below = path.strip_prefix("/v2/").unwrap();
    let ends = ["/manifests/", "/blobs/uploads/", "/blobs/", "/tags/", "/referrers/"];
    let end = ends.iter().filter_map(|end| below.rfind(end).filter(|at| !below[at + end.len()..].contains('/'))).min();
    let name = &below[..end.unwrap_or_else(|| panic!("no route: {path}"))];
    assert!(!name.bytes().any(|letter| letter.is_ascii_uppercase()), "{path}");
    name
}

/// What was sent: by whom, the method, and the target.
type Sent = HashMap<String, (&'static str, String, String)>;

fn send(address: &str, thread: u64) -> (Sent, usize) {
    let mut choices = Choices(thread + 1);
    let (mut sent, mut refused) = (Sent::new(), 0);
    let logins = ["alice", "bob"].map(|account| (account, basic(account, &password(account))));
    let mut connection = Connection::open(address).unwrap();
    for number in 0..EACH {
        let (account, authorization) = &logins[choices.below(2)];
        let (method, target) = (choices.of(METHODS), target(&mut choices));
        let id = format!("{thread}-{number}");
        let noise = match choices.below(4) {
            0 => format!("{}\r\n", choices.of(NOISE)),
            _ => String::new(),
        };
        let body = if noise.contains("chunked") { "0\r\n\r\n" } else { "" };
        let raw = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: {id}\r\nAuthorization: {authorization}\r\n\
             {noise}\r\n{body}"
        );
        sent.insert(id, (*account, method.to_owned(), target));
        match connection.send(raw.as_bytes()) {
            Ok(reply) if reply.status == 200 => {}
            Ok(reply) => {
                assert!((400..500).contains(&reply.status), "{raw}: {}", reply.status);
                refused += 1;
                if reply.header("connection").is_some_and(|text| text.eq_ignore_ascii_case("close")) {
                    connection = Connection::open(address).unwrap();
                }
            }
            Err(_) => {
                refused += 1;
                connection = Connection::open(address).unwrap();
            }
        }
    }
    (sent, refused)
}

#[test]
fn nothing_arrives_that_was_not_decided_on() {
    let upstream = Standin::start(|head: &Head, stream| {
        use std::io::{Read as _, Write as _};
        let length = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink()).unwrap();
        if head.header("transfer-encoding").is_some() {
            // The only body that is sent in pieces is the empty one.
            stream.read_exact(&mut [0; 5]).unwrap();
        }
        match stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") {
            Ok(()) => Then::GoOn,
            Err(_) => Then::Close,
        }
    });
    let gateway = gateway::start(Challenge::Basic, &[format!("url: \"http://{}\"", upstream.address)]);
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let address = gateway.address.clone();
            thread::spawn(move || send(&address, thread))
        })
        .collect();
    let (mut sent, mut refused) = (Sent::new(), 0);
    for thread in threads {
        let (more, of_it) = thread.join().unwrap();
        sent.extend(more);
        refused += of_it;
    }
    let arrivals = upstream.take();
    for arrival in &arrivals {
        let (account, method, target) = &sent[arrival.header("user-agent").unwrap()];
        let mut words = arrival.line.split(' ');
        let (own_method, own_target) = (words.next().unwrap(), words.next().unwrap());
        assert_eq!(own_method, method, "{target}");
        // A fragment is no part of a request, and a host before the path is the same as the header (RFC 9112, 3.2.2).
        let plain = target.split('#').next().unwrap();
        let plain = plain.strip_prefix("http://localhost").unwrap_or(plain);
        let (path, query) = own_target.split_once('?').unwrap_or((own_target, ""));
        let without_mount = plain.contains("mount=") && query.is_empty() && plain.starts_with(&format!("{path}?"));
        assert!(own_target == plain || without_mount, "{target} arrived as {own_target}");
        assert!(may(account, method, repository(own_target)), "{account} reached {own_target}");
        if query.contains("from=") || query.contains("fro%6D=") {
            let from = query.rsplit("from=").next().unwrap().replace("%2F", "/");
            assert!(may(account, "GET", &from), "{account} mounts from {from}");
        }
        let all = arrival.headers.join("\n").to_lowercase();
        assert!(
            !["x-original", "rewrite", "override", "x_", "prefix", "x-auth", "cookie", "upgrade", "elsewhere"]
                .iter()
                .any(|name| all.contains(name)),
            "{all}"
        );
        assert_eq!(arrival.header("x-forwarded-for"), Some("127.0.0.1"));
    }
    let all = usize::try_from(THREADS * EACH).unwrap();
    eprintln!("{all} requests: {} arrived, {refused} refused", arrivals.len());
    // Besides these there is only what the gateway answers itself: `/v2/` and the catalog, cut out of something longer.
    assert!((all * 99 / 100..=all).contains(&(arrivals.len() + refused)));
    assert!(arrivals.len() > all / 10 && refused > all / 4);
}
