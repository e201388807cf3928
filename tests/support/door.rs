//! The doors of the recipes: a proxy that asks Dockwarden about each request, before what has no login of its own.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use super::dockwarden::hash;
use super::front::{self, Tls};
use super::process::Process;
use super::recipe::{NOBODYS_HASH, Recipe};
use super::recorder::Recorder;
use super::registry::{self, Edition};
use super::{dockwarden, keys, part, port, scratch};

/// The passwords that the tests give the recipe's accounts, and the one that they add, who may do everything.
pub(crate) const ALICE: (&str, &str) = ("alice", "123");
pub(crate) const BOB: (&str, &str) = ("bob", "badmin");
pub(crate) const ROOT: (&str, &str) = ("root", "123");

/// How clients log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    Passwords,
    /// The recipe's section about tokens is followed.
    Tokens,
}

/// What is behind the door.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behind<'a> {
    Registry(Edition),
    /// A registry with a line in its log for each request that it takes for one of a repository: which, and whose.
    TalkativeRegistry(Edition),
    /// Something that shows what arrives.
    Recorder(&'a Recorder),
}

/// A proxy with Dockwarden and what they protect.
#[derive(Debug)]
pub(crate) struct Door {
    /// `localhost:port`: how docker and others name it. With TLS, where the proxy is nginx.
    pub(crate) host: String,
    /// `127.0.0.1:port`, HTTP/1 without TLS.
    pub(crate) plain: String,
    /// `127.0.0.1:port`, HTTP/2 without TLS, where the proxy is nginx.
    pub(crate) http2: String,
    /// Dockwarden, which answers `unix:/path` or `127.0.0.1:port`.
    pub(crate) dockwarden: Process,
    /// Where it listens.
    pub(crate) asked_at: String,
    /// The registry, if there is one.
    pub(crate) registry: Option<Process>,
    /// The path of its socket, or `127.0.0.1:port`.
    pub(crate) registry_at: String,
    /// What is behind `/handbook/`.
    pub(crate) handbook: Recorder,
    /// nginx or Caddy.
    _proxy: Process,
}

/// The recipe's users with passwords of their own, and one more.
pub(crate) fn with_root(config: &str) -> String {
    let hashed = [ALICE, BOB].iter().fold(config.to_owned(), |config, (account, password)| {
        let (before, after) = config.split_once(&format!("\n  {account}:\n")).unwrap();
        let after = after.replacen(NOBODYS_HASH, &hash(password), 1);
        format!("{before}\n  {account}:\n{after}")
    });
    hashed
        .replace("\nusers:\n", &format!("\nusers:\n  root: {{password: \"{}\"}}\n", hash(ROOT.1)))
        .replace("\nacl:\n", "\nacl:\n  - {match: {account: root}, actions: [\"*\"]}\n")
}

/// A registry on the recipe's socket, with an access log besides its own.
fn registry_on_socket(edition: Edition, level: &str) -> (Process, String) {
    let directory = scratch::directory("hidden");
    let socket = directory.join("sock").display().to_string();
    let config = registry_config(&directory, &[("/run/registry/http.sock", &socket)]);
    let process = registry::serve(edition, &config, &logged(level));
    process.until("its socket", |process| process.log().contains(&format!("listening on {socket}")).then_some(()));
    (process, socket)
}

fn registry_config(directory: &Path, changes: &[(&str, &str)]) -> String {
    let data = directory.join("data").display().to_string();
    Recipe::read("auth-request-dockwarden.md").file("config.yml", &[&[("/var/lib/registry", &*data)], changes].concat())
}

/// The same on a port of the loopback interface, and where.
pub(crate) fn registry_on_loopback(edition: Edition) -> (Process, String) {
    let directory = scratch::directory("beside");
    let config = registry_config(&directory, &[("net: unix\n  addr: /run/registry/http.sock", "addr: 127.0.0.1:0")]);
    let process = registry::serve(edition, &config, &logged("info"));
    let address = process.until("its port", |process| {
        let log = process.log();
        let (_, rest) = log.split_once("listening on ")?;
        Some(rest.split_once('"')?.0.to_owned())
    });
    (process, address)
}

/// The pair that the recipe finds in `/etc/dockwarden`.
pub(crate) fn pair_in(directory: &Path) {
    let pair = keys::as_in_the_guide(keys::Kind::P256);
    for (name, file) in [("token.crt", pair.certificate), ("token.key", pair.key)] {
        fs::copy(file, directory.join(name)).unwrap();
    }
}

fn logged(level: &str) -> [(String, String); 2] {
    [("REGISTRY_LOG_LEVEL", level), ("REGISTRY_LOG_FORMATTER", "json")].map(|(key, value)| (key.into(), value.into()))
}

impl Door {
    /// nginx's recipe.
    pub(crate) fn nginx(behind: Behind<'_>, login: Login) -> Self {
        let (recipe, behind_it) = (Recipe::read("auth-request-nginx.md"), Recipe::read("auth-request-dockwarden.md"));
        let tls = Tls::new();
        let directory = scratch::directory("asked");
        pair_in(&directory);
        let socket = directory.join("sock").display().to_string();
        let handbook = Recorder::start();
        let (registry, registry_at, upstream) = match behind {
            Behind::Registry(edition) | Behind::TalkativeRegistry(edition) => {
                let level = if matches!(behind, Behind::Registry(_)) { "info" } else { "debug" };
                let (process, socket) = registry_on_socket(edition, level);
                let upstream = format!("unix:{socket}");
                (Some(process), socket, upstream)
            }
            Behind::Recorder(recorder) => (None, recorder.address.clone(), recorder.address.clone()),
        };
        let (ports, dockwarden, asked_at, proxy) = port::with_free(|[https, plain, http2]| {
            let host = format!("localhost:{https}");
            let mut config = behind_it.file(
                "auth_config.yml",
                &[("/run/dockwarden/http.sock", &socket), ("/etc/dockwarden", directory.to_str().unwrap())],
            );
            let mut site = recipe.file(
                "registry.conf",
                &[
                    ("server 127.0.0.1:5001;", &format!("server unix:{socket};")),
                    ("server 127.0.0.1:5000;", &format!("server {upstream};")),
                    ("127.0.0.1:8080", &handbook.address),
                    ("/etc/nginx/tls", tls.directory.to_str().unwrap()),
                    (
                        "listen 443 ssl;",
                        &format!(
                            "listen 127.0.0.1:{https} ssl; listen 127.0.0.1:{plain}; listen 127.0.0.1:{http2} http2;"
                        ),
                    ),
                ],
            );
            if login == Login::Tokens {
                let more = behind_it.file("tokens.yml", &[("registry.example.org", &host)]);
                config = config.replace("\nforward_auth:\n", &format!("\nforward_auth:\n{more}"));
                let more = behind_it.file("tokens.conf", &[]);
                site = site.replace("    location / {", &format!("{more}    location / {{"));
            }
            let config = scratch::write(&directory, "auth_config.yml", &with_root(&config));
            let (dockwarden, asked_at) = dockwarden::listening(&config);
            let proxy = Process::start("nginx", &front::nginx(&site));
            let up = proxy.up_or_ended("all ports", |_| all_open(&[https, plain, http2]));
            assert!(up.is_some() || proxy.log().contains("Address already in use"), "{}", proxy.tail());
            up.map(|()| ([https, plain, http2], dockwarden, asked_at, proxy))
        });
        let [https, plain, http2] = ports.map(|port| format!("127.0.0.1:{port}"));
        let host = https.replace("127.0.0.1", "localhost");
        Self { host, plain, http2, dockwarden, asked_at, registry, registry_at, handbook, _proxy: proxy }
    }

    /// Caddy's recipe, without TLS.
    pub(crate) fn caddy(behind: Behind<'_>) -> Self {
        let recipe = Recipe::read("auth-request-caddy.md");
        let directory = scratch::directory("asked");
        pair_in(&directory);
        let handbook = Recorder::start();
        let (registry, registry_at) = match behind {
            Behind::Registry(edition) | Behind::TalkativeRegistry(edition) => {
                let (process, address) = registry_on_loopback(edition);
                (Some(process), address)
            }
            Behind::Recorder(recorder) => (None, recorder.address.clone()),
        };
        let people = Recipe::read("auth-request-dockwarden.md").file("auth_config.yml", &[]);
        let people = people.split_once("\nusers:\n").unwrap().1;
        let config = recipe.file(
            "auth_config.yml",
            &[("127.0.0.1:5001", "127.0.0.1:0"), ("/etc/dockwarden", directory.to_str().unwrap())],
        );
        let config = scratch::write(&directory, "auth_config.yml", &with_root(&format!("{config}\nusers:\n{people}")));
        let (dockwarden, asked_at) = dockwarden::listening(&config);
        let (plain, proxy) = port::with_free(|[plain]| {
            let site = recipe.file(
                "Caddyfile",
                &[
                    ("registry.example.org {", &format!("http://:{plain} {{\n\tbind 127.0.0.1")),
                    ("127.0.0.1:5001", &asked_at),
                    ("127.0.0.1:5000", &registry_at),
                    ("127.0.0.1:8080", &handbook.address),
                ],
            );
            let file =
                scratch::write(&directory, "Caddyfile", &format!("{{\n\tadmin off\n\tauto_https off\n}}\n{site}"));
            let mut run = part::command("caddy");
            run.args(["run", "--adapter", "caddyfile", "--config"]).arg(file).env("HOME", &directory);
            let proxy = Process::start("caddy", &run);
            let up = proxy.up_or_ended("its port", |_| all_open(&[plain]));
            assert!(up.is_some() || proxy.log().contains("address already in use"), "{}", proxy.tail());
            up.map(|()| (plain, proxy))
        });
        let plain = format!("127.0.0.1:{plain}");
        Self {
            host: plain.replace("127.0.0.1", "localhost"),
            http2: String::new(),
            plain,
            dockwarden,
            asked_at,
            registry,
            registry_at,
            handbook,
            _proxy: proxy,
        }
    }

    /// The path of the registry's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.registry_at.clone().into()
    }
}

pub(crate) fn all_open(ports: &[u16]) -> Option<()> {
    ports.iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()).then_some(())
}
