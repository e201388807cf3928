//! ECR as an upstream: moto in the place of AWS's API, and a stand-in whose tokens end every few seconds.

use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::dockwarden::{Dockwarden, hash, password};
use crate::support::gateway::{self, Challenge};
use crate::support::http::{self, Connection};
use crate::support::image::{self, TAG};
use crate::support::port;
use crate::support::process::Process;
use crate::support::registry::{Edition, Registry};
use crate::support::standin::{Head, Standin, Then};
use crate::support::visit::basic;
use crate::support::{client, part, scratch};

/// What AWS's own tools would find in the environment. moto takes any.
pub(super) const CREDENTIALS: &[(&str, &str)] =
    &[("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")];
pub(super) const ACCOUNT: &str = "012345678901";
/// The password before the stand-in has given its first token.
pub(super) const NO_TOKEN_YET: &str = "none yet";

/// A file of htpasswd's with the one account that ECR has, `AWS`, and this password.
fn passwords(directory: &Path, password: &str) -> PathBuf {
    // Put in place as a whole: the registry reads it at any moment.
    let new = scratch::write(directory, "new", &format!("AWS:{}\n", hash(password)));
    let file = directory.join("htpasswd");
    fs::rename(new, &file).unwrap();
    file
}

fn upstream(registry: &Registry, api: &str) -> String {
    format!(
        "url: \"http://{}\", auth: {{ecr: {{region: eu-central-1, registry_id: \"{ACCOUNT}\", endpoint: \"http://{api}\"}}}}",
        registry.address()
    )
}

fn get(gateway: &Dockwarden, account: &str, target: &str) -> u16 {
    let authorization = basic(account, &password(account));
    let headers = [("Authorization", authorization.as_str()), ("Accept", "application/vnd.oci.image.manifest.v1+json")];
    http::exchange(&gateway.address, &http::request("GET", target, &gateway.host(), &headers, b"")).status
}

/// moto, and where it listens.
fn moto() -> (Process, String) {
    port::with_free(|[port]| {
        let mut serve = part::command("moto_server");
        serve.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = Process::start("moto", &serve);
        let up = process.up_or_ended("its port", |_| TcpStream::connect(("127.0.0.1", port)).ok());
        up.map(|_| (process, format!("127.0.0.1:{port}")))
    })
}

/// moto's tokens claim to have ended in 2015. They are used all the same, and asked for once.
#[test]
fn the_sdk_gets_a_token_from_moto_that_the_registry_takes() {
    let (moto, api) = moto();
    let directory = scratch::directory("ecr");
    let registry =
        Registry::start_with_passwords(Edition::V3, &passwords(&directory, &format!("{ACCOUNT}-auth-token")));
    let all_logged = [CREDENTIALS, &[("RUST_LOG", "trace")]].concat();
    let gateway = Dockwarden::start_in(&gateway::config(Challenge::Basic, &[upstream(&registry, &api)]), &all_logged);
    let (home, host) = (client::home(), gateway.host());
    let image = image::layout("ecr");
    let skopeo = |arguments: &[&str]| part::run(client::skopeo(&home).args(arguments));
    skopeo(&["login", "--tls-verify=false", "-u", "alice", "-p", &password("alice"), &host]).well();
    let remote = format!("docker://{host}/team/app:1");
    skopeo(&["copy", "--dest-tls-verify=false", &format!("oci:{}:{TAG}", image.directory.display()), &remote]).well();
    assert!(skopeo(&["inspect", "--tls-verify=false", &remote]).well().stdout.contains("ecr"));
    for _ in 0..20 {
        assert_eq!(get(&gateway, "bob", "/v2/team/app/manifests/1"), 200);
    }
    let asked = moto.until("the line of the question", |moto| {
        Some(moto.log().matches("POST / ").count()).filter(|asked| *asked > 0)
    });
    assert_eq!(asked, 1, "{}", moto.tail());
    let log = gateway.whole_log();
    for secret in ["auth-token", "QVdT", "wJalrXUtnFEMI"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn credentials_come_from_a_profile_and_their_absence_is_a_502() {
    let (_moto, api) = moto();
    let directory = scratch::directory("ecr");
    let registry =
        Registry::start_with_passwords(Edition::V2, &passwords(&directory, &format!("{ACCOUNT}-auth-token")));
    let file = scratch::write(
        &directory,
        "credentials",
        "[pull]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = wJalrXUtnFEMI\n",
    );
    let with = |profile: &str| upstream(&registry, &api).replace("{region", &format!("{{profile: {profile}, region"));
    let environment = [
        ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().unwrap()),
        // There is no such machine here to ask.
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    for (profile, expected) in [("pull", 404), ("none", 502)] {
        let config = gateway::config(Challenge::Basic, &[with(profile)]);
        let gateway = Dockwarden::start_in(&config, &environment);
        assert_eq!(get(&gateway, "bob", "/v2/team/app/manifests/1"), expected, "{profile}: {}", gateway.process.tail());
        let says = |text: &'static str| {
            gateway.process.until(text, move |process| process.log().contains(text).then_some(()));
        };
        if expected == 502 {
            says("upstream_credentials");
        } else {
            says("\"transferred\"");
            assert!(!gateway.process.log().contains("upstream_credentials"), "{}", gateway.process.tail());
        }
    }
}

/// An answer that breaks off after the token: the log says what is wrong with it, and not what was in it.
#[test]
fn a_broken_answer_with_a_token_in_it_does_not_get_into_the_log() {
    let body = "{\"authorizationData\":[{\"authorizationToken\":\"QVdTOmNhbmFyeQ==\",\"expiresAt\":";
    let api = Standin::start(move |head: &Head, stream: &mut BufReader<TcpStream>| {
        let length = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink()).unwrap();
        let reply = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        match stream.get_mut().write_all(reply.as_bytes()) {
            Ok(()) => Then::GoOn,
            Err(_) => Then::Close,
        }
    });
    let registry = Registry::start_with_passwords(Edition::V2, &gateway::inside());
    let config = gateway::config(Challenge::Basic, &[upstream(&registry, &api.address)]);
    let gateway = Dockwarden::start_in(&config, &[CREDENTIALS, &[("RUST_LOG", "trace")]].concat());
    assert_eq!(get(&gateway, "bob", "/v2/team/app/manifests/1"), 502);
    let said = "ECR gives no token";
    let log = gateway.process.until(said, |process| Some(process.log()).filter(|log| log.contains(said)));
    assert!(!log.contains("QVdT"), "{log}");
}

/// The stretch of time whose token is given now. It is the next one's already where this one is nearly over: an answer that
/// claims to be over when it arrives is a story of its own.
fn stretch_of(life: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + life / 4;
    u64::try_from(now.as_millis() / life.as_millis()).unwrap()
}

/// The stand-in: a token for each stretch of time, the same for whoever asks. The registry knows the newest one only.
pub(super) struct Changing {
    pub(super) api: Standin,
    pub(super) registry: Registry,
    calls: Arc<AtomicUsize>,
    tokens: Arc<Mutex<Vec<u64>>>,
}

impl Changing {
    pub(super) fn start(life: Duration) -> Self {
        let directory = scratch::directory("ecr");
        let file = passwords(&directory, NO_TOKEN_YET);
        let (calls, tokens) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counted, given) = (Arc::clone(&calls), Arc::clone(&tokens));
        let api = Standin::start(move |head: &Head, stream: &mut BufReader<TcpStream>| {
            let length = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink()).unwrap();
            assert!(head.header("authorization").is_some_and(|line| line.contains("AKIDEXAMPLE")), "{head:?}");
            counted.fetch_add(1, Ordering::SeqCst);
            let mut given = given.lock().unwrap();
            // On a busy machine, hashing may take longer than the rest of a stretch.
            let stretch = loop {
                let stretch = stretch_of(life);
                if given.last() != Some(&stretch) {
                    // Before anybody has it, the registry takes it; and from then on it takes no other.
                    passwords(&directory, &format!("token-{stretch}"));
                    given.push(stretch);
                }
                if stretch_of(life) == stretch {
                    break stretch;
                }
            };
            drop(given);
            let end = life.as_secs_f64() * (stretch as f64 + 1.0);
            let token = STANDARD.encode(format!("AWS:token-{stretch}"));
            let body = json!({"authorizationData": [{"authorizationToken": token, "expiresAt": end}]}).to_string();
            let reply = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            match stream.get_mut().write_all(reply.as_bytes()) {
                Ok(()) => Then::GoOn,
                Err(_) => Then::Close,
            }
        });
        let registry = Registry::start_with_passwords(Edition::V2, &file);
        Self { api, registry, calls, tokens }
    }

    /// How many tokens it has given so far.
    pub(super) fn tokens(&self) -> usize {
        self.tokens.lock().unwrap().len()
    }

    /// How often it was asked.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// Two gateways side by side, under load, while the token changes again and again: no request fails.
#[test]
fn changing_tokens_are_followed_under_load_without_a_failed_request() {
    let parts = Changing::start(Duration::from_secs(5));
    let start = || {
        let config = gateway::config(Challenge::Basic, &[upstream(&parts.registry, &parts.api.address)]);
        Dockwarden::start_in(&config, CREDENTIALS)
    };
    let gateways = [start(), start()];
    let done = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    thread::scope(|scope| {
        for gateway in &gateways {
            for method in ["GET", "POST"] {
                let (done, answered) = (&done, &answered);
                scope.spawn(move || {
                    let authorization = basic("alice", &password("alice"));
                    let headers = [("Authorization", authorization.as_str()), ("Content-Length", "0")];
                    let (target, expected) = match method {
                        "GET" => ("/v2/team/app/tags/list", 404),
                        _ => ("/v2/team/app/blobs/uploads/", 202),
                    };
                    let raw = http::request(method, target, &gateway.host(), &headers, b"");
                    let mut connection = Connection::open(&gateway.address).unwrap();
                    while !done.load(Ordering::SeqCst) {
                        let reply = connection.send(&raw).unwrap();
                        assert_eq!(reply.status, expected, "{method}: {}\n{}", reply.text(), gateway.process.tail());
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        }
        // Asked for by renewals alone: nobody else wants one.
        let enough = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            crate::support::process::until("the fifth token", || (parts.tokens() >= 5).then_some(()));
        }));
        done.store(true, Ordering::SeqCst);
        enough.unwrap();
    });
    let (calls, answered) = (parts.calls(), answered.load(Ordering::SeqCst));
    eprintln!("{answered} requests, {calls} questions to the API, {:?}", parts.tokens.lock().unwrap());
    assert!(answered > 500, "{answered} requests were no load");
    assert!(calls < answered / 10, "{calls} questions for {answered} requests");
}

/// ECR's catalog: pages in no order, and a `last` that is a token of its own. With a name in that place it answers as AWS does
/// with an invalid token.
fn catalog_by_token(names: &'static [&'static str], page: usize) -> Standin {
    Standin::start(move |head: &Head, stream: &mut BufReader<TcpStream>| {
        let query = head.line.split_once('?').map_or("", |(_, rest)| rest.split(' ').next().unwrap_or_default());
        let last = query.split('&').find_map(|pair| pair.strip_prefix("last="));
        let begin =
            last.map_or(Some(0), |last| last.strip_prefix("tok.").and_then(|token| token.parse::<usize>().ok()));
        let reply = match begin {
            None => "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_owned(),
            Some(begin) => {
                let end = names.len().min(begin + page);
                let body = json!({"repositories": names[begin..end]}).to_string();
                let link = match end < names.len() {
                    true => format!("Link: <https://ecr.test/v2/_catalog?last=tok.{end}&n=1000>; rel=\"next\"\r\n"),
                    false => String::new(),
                };
                format!("HTTP/1.1 200 OK\r\n{link}Content-Length: {}\r\n\r\n{body}", body.len())
            }
        };
        match stream.get_mut().write_all(reply.as_bytes()) {
            Ok(()) => Then::GoOn,
            Err(_) => Then::Close,
        }
    })
}

/// Whoever goes through the pages sees each name once, alone and beside another registry.
#[test]
fn the_catalog_goes_on_although_the_registry_knows_no_names_as_places() {
    let (_moto, api) = moto();
    let ecr = catalog_by_token(&["team/e", "team/a", "team/d", "team/b", "team/c"], 2);
    let settings = format!(
        "url: \"http://{}\", auth: {{ecr: {{region: eu-central-1, registry_id: \"{ACCOUNT}\", endpoint: \"http://{api}\"}}}}",
        ecr.address
    );
    let other = Registry::start_with_passwords(Edition::V2, &gateway::inside());
    for (upstreams, expected) in [
        (vec![settings.clone()], ["team/a", "team/b", "team/c", "team/d", "team/e"]),
        (
            vec![format!("prefix: team, {settings}"), format!("url: \"http://{}\"", other.address())],
            ["team/a", "team/b", "team/c", "team/d", "team/e"],
        ),
    ] {
        let gateway = Dockwarden::start_in(&gateway::config(Challenge::Basic, &upstreams), CREDENTIALS);
        let authorization = basic("alice", &password("alice"));
        let (mut seen, mut target) = (Vec::new(), "/v2/_catalog?n=2".to_owned());
        loop {
            let headers = [("Authorization", authorization.as_str())];
            let reply =
                http::exchange(&gateway.address, &http::request("GET", &target, &gateway.host(), &headers, b""));
            assert_eq!(reply.status, 200, "{target}: {}\n{}", reply.text(), gateway.process.tail());
            let names = reply.json()["repositories"].as_array().unwrap().clone();
            seen.extend(names.iter().map(|name| name.as_str().unwrap().to_owned()));
            match reply.header("link") {
                None => break,
                Some(link) => target = link.split(['<', '>']).nth(1).unwrap().to_owned(),
            }
        }
        assert_eq!(seen, expected);
    }
}
