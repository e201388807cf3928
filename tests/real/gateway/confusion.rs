//! Generated requests through the gateway, to real registries and to one that only keeps them: what arrives is, byte for
//! byte, a target that its sender may see, in a form that nobody can read in a second way.

use std::collections::HashMap;
use std::thread;

use crate::forward_auth::confusion;
use crate::forward_auth::targets::{METHODS, target};
use crate::support::dice::Dice;
use crate::support::dockwarden::{Dockwarden, password};
use crate::support::door::{ALICE, ROOT, with_root};
use crate::support::gateway::{self, Challenge};
use crate::support::http::{self, Connection};
use crate::support::image::{self, TAG};
use crate::support::recipe::Recipe;
use crate::support::registry::{Edition, Registry};
use crate::support::standin::{Head, Standin, Then};
use crate::support::visit::basic;
use crate::support::{at_length, client, part, scratch};

const THREADS: usize = 4;
/// Five times as many at length.
const EACH: usize = 2_500;

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

/// Whether the rules let somebody do this, by another hand.
fn may(account: &str, method: &str, repository: &str) -> bool {
    let reads = matches!(method, "GET" | "HEAD");
    let is_one_below = |folder: &str| repository.strip_prefix(folder).is_some_and(|name| !name.contains('/'));
    match account {
        "alice" => is_one_below("web/") || (reads && is_one_below("public/")),
        "bob" => reads && (is_one_below("web/") || is_one_below("public/")),
        other => panic!("{other}"),
    }
}

/// The repository of a target that can be read in one way only.
fn repository(target: &str) -> &str {
    let path = target.split('?').next().unwrap();
    assert!(path.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"/:._-=+".contains(&letter)), "{path}");
    assert!(!path.contains("//") && !path.split('/').any(|segment| segment == "." || segment == ".."), "{path}");
    let below = path.strip_prefix("/v2/").unwrap();
    let ends = ["/manifests/", "/blobs/uploads/", "/blobs/", "/tags/", "/referrers/"];
    let end = ends.iter().filter_map(|end| below.rfind(end).filter(|at| !below[at + end.len()..].contains('/'))).min();
    let name = &below[..end.unwrap_or_else(|| panic!("no route: {path}"))];
    // A digest may have a plus in its algorithm's name.
    assert!(!name.bytes().any(|letter| letter.is_ascii_uppercase() || letter == b'+'), "{path}");
    name
}

/// What was sent: by whom, the method, and the target.
type Sent = HashMap<String, (&'static str, String, String)>;

fn send(address: &str, thread: usize) -> (Sent, usize) {
    let mut dice = Dice(thread as u64 + 1);
    let (mut sent, mut refused) = (Sent::new(), 0);
    let logins = ["alice", "bob"].map(|account| (account, basic(account, &password(account))));
    let mut connection = Connection::open(address).unwrap();
    for number in 0..at_length(EACH) {
        let (account, authorization) = &logins[dice.below(2)];
        let (method, target) = (dice.pick(METHODS), target(&mut dice));
        let id = format!("{thread}-{number}");
        let noise = match dice.below(4) {
            0 => format!("{}\r\n", dice.pick(NOISE)),
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
        // The catalog too is asked for.
        let body = if head.line.starts_with("HEAD ") { "" } else { "{\"repositories\":[]}" };
        let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{body}");
        match stream.get_mut().write_all(reply.as_bytes()) {
            Ok(()) => Then::GoOn,
            Err(_) => Then::Close,
        }
    });
    let config = gateway::config(Challenge::Basic, &[format!("url: \"http://{}\"", upstream.address)]);
    let gateway = Dockwarden::start(&config.replace("team/*", "web/*"));
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
        let Some(id) = arrival.header("user-agent") else {
            assert_eq!(arrival.line, "GET /v2/_catalog?n=1000 HTTP/1.1", "the gateway's own question");
            continue;
        };
        let (account, method, target) = &sent[id];
        let mut words = arrival.line.split(' ');
        let (own_method, own_target) = (words.next().unwrap(), words.next().unwrap());
        assert_eq!(own_method, method, "{target}");
        // A fragment is no part of a request, and a host before the path is the same as the header (RFC 9112, 3.2.2).
        let plain = target.split('#').next().unwrap();
        let plain = match plain.split_once("://") {
            Some((scheme, rest)) if ["http", "https"].contains(&&*scheme.to_lowercase()) => {
                let (host, path) = rest.split_at(rest.find('/').unwrap());
                assert!(host.eq_ignore_ascii_case("localhost"), "{target}");
                path
            }
            Some(_) | None => plain,
        };
        let (path, query) = own_target.split_once('?').unwrap_or((own_target, ""));
        let without_mount = plain.contains("mount=") && query.is_empty() && plain.starts_with(&format!("{path}?"));
        let keys = ["n", "last", "mount", "from", "digest", "artifactType", ""];
        let known = |(key, _): (std::borrow::Cow<'_, str>, _)| keys.contains(&&*key);
        assert!(form_urlencoded::parse(query.as_bytes()).all(known) || path.contains("/uploads/"), "{own_target}");
        assert!(own_target == plain || without_mount, "{target} arrived as {own_target}");
        assert!(may(account, method, repository(own_target)), "{account} reached {own_target}");
        for (_, from) in
            form_urlencoded::parse(query.as_bytes()).filter(|(key, from)| key == "from" && !from.is_empty())
        {
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
    let all = THREADS * at_length(EACH);
    eprintln!("{all} requests: {} arrived, {refused} refused", arrivals.len());
    // Besides these there is only what the gateway answers itself: `/v2/` and the catalog, one in a hundred.
    assert!((all * 98 / 100..=all).contains(&(arrivals.len() + refused)));
    // A third of the targets have a query that most places do not know.
    assert!(arrivals.len() > all / 12 && refused > all / 4);
}

/// Which upstreams there are depends on the host; only HTTP/1.0 has none (RFC 9112, section 3.2).
#[test]
fn a_request_names_its_host() {
    let gateway = gateway::start(Challenge::Basic, &["url: \"http://127.0.0.1:9\"".to_owned()]);
    for (head, expected) in [
        ("GET /v2/ HTTP/1.1\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: a\r\n", 401),
        ("GET /v2/ HTTP/1.0\r\n", 401),
    ] {
        let reply = http::exchange(&gateway.address, format!("{head}\r\n").as_bytes());
        assert_eq!(reply.status, expected, "{head}");
    }
}

const SEED: u64 = 20_260_111;
/// Requests on one HTTP/2 connection: what the gateway allows at once.
const STREAMS: u32 = 16;

/// The forward-auth recipe's people and rules, in front of this registry.
fn before(registry: &Registry) -> Dockwarden {
    let recipe = Recipe::read("auth-request-dockwarden.md").file("auth_config.yml", &[]);
    let (_, people) = recipe.split_once("\nusers:\n").unwrap();
    let directory = scratch::directory("token");
    let top = format!(
        "server: {{addr: \"127.0.0.1:0\"}}\n\
         token: {{issuer: Acme, services: [Docker registry], certificate: {0}/c, key: {0}/k, generate: true}}\n\
         gateway: {{upstreams: [{{url: \"http://{1}\", {2}}}]}}\n",
        directory.display(),
        registry.address(),
        gateway::login(),
    );
    let people = with_root(&format!("\nusers:\n{people}"));
    Dockwarden::start(&format!("{top}{people}"))
}

/// What was let on, under the names that the registry knows it by. A target of HTTP/2 is told with its host; and what would
/// be mounted from nowhere in particular is no mount any more.
fn let_on(log: &str) -> confusion::Allowed {
    let mut allowed = confusion::Allowed::new();
    for (request, (count, scopes)) in confusion::decided(log, "gateway") {
        let (method, target) = request.split_once(' ').unwrap();
        let target = match target.split_once("://") {
            Some((_, rest)) => &rest[rest.find('/').unwrap()..],
            None => target,
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let has = |name: &str| {
            form_urlencoded::parse(query.as_bytes())
                .any(|(key, value)| key == name && (name == "mount" || !value.is_empty()))
        };
        let target = if method == "POST" && has("mount") && !has("from") { path } else { target };
        let entry = allowed.entry(format!("{method} {target}")).or_default();
        entry.0 += count;
        entry.1.extend(scopes);
    }
    allowed
}

#[test]
fn a_real_registry_serves_nothing_but_what_was_decided_on() {
    for edition in Edition::ALL {
        let registry = Registry::start_talkative(edition, &gateway::inside());
        let gateway = before(&registry);
        let image = image::layout("confusion");
        let (home, login) = (client::home(), format!("{}:{}", ROOT.0, ROOT.1));
        for repository in confusion::REPOSITORIES {
            let source = format!("oci:{}:{TAG}", image.directory.display());
            let place = format!("docker://{}/{repository}:v1", gateway.host());
            let copy = ["copy", "--dest-tls-verify=false", "--dest-creds", &login, &source, &place];
            part::run(client::skopeo(&home).args(copy)).well();
        }
        confusion::put_blobs(&gateway.address);
        let logins = confusion::logins(&gateway.address);
        let prepared = registry.process.log().len();
        let seed = SEED + edition as u64 * 1_000;
        let statuses = confusion::send_all(&gateway.address, &gateway.address, STREAMS, seed, &logins);
        let known = [0, 200, 201, 202, 204, 206, 400, 401, 403, 404, 405, 415, 416, 500];
        assert!(statuses.keys().all(|status| known.contains(status)), "{statuses:?}");

        // What arrived first, as in the other test.
        let log = registry.process.log().split_off(prepared);
        let ask = |target: &str| {
            let authorization = basic(ALICE.0, ALICE.1);
            let headers = [("Authorization", authorization.as_str())];
            http::exchange(&gateway.address, &http::request("GET", target, "x", &headers, b""))
        };
        assert_eq!(ask(confusion::LAST).status, 403);
        gateway.process.until("the last decision", |process| process.log().contains(confusion::LAST).then_some(()));
        confusion::none_dropped(&ask("/metrics").text());
        let mut allowed = let_on(&gateway.process.log());
        // The gateway's own question, for somebody who wants to see the catalog.
        let log: String =
            log.lines().filter(|line| !line.contains("/v2/_catalog?n=1000")).flat_map(|line| [line, "\n"]).collect();
        let (arrived, successes) = confusion::arrived(edition, &log, &mut allowed);
        let served = confusion::served(edition, &log, &allowed);
        confusion::nothing_was_mounted(&gateway.address);
        eprintln!("{edition:?}: {statuses:?}; {arrived} arrived, {successes} with success; served {served:?}");
        confusion::enough(arrived, successes, &served);
    }
}
