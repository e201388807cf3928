//! The page about nginx, followed from its first step to its last, and what it says to do if it fails.

use std::fs;
use std::path::{Path, PathBuf};

use super::DENIED;
use crate::support::dockwarden::{self, events, program};
use crate::support::door::{all_open, pair_in, registry_on_loopback};
use crate::support::front::{self, Tls};
use crate::support::part::{self, Said};
use crate::support::person::Person;
use crate::support::process::{Process, Signal, until};
use crate::support::recipe::Recipe;
use crate::support::recorder::Recorder;
use crate::support::registry::Edition;
use crate::support::{port, scratch};

const PASSWORD: &str = "a password";

/// What stands after the page's steps.
struct Followed {
    page: Recipe,
    config: PathBuf,
    /// `localhost:port` of nginx, with TLS.
    host: String,
    authority: PathBuf,
    dockwarden: Process,
    registry: Process,
    _handbook: Recorder,
    _nginx: Process,
}

impl Followed {
    fn with(edition: Edition) -> Self {
        let page = Recipe::read("auth-request-nginx.md");
        let directory = scratch::directory("page");
        let there = directory.to_str().unwrap();
        pair_in(&directory);
        let (registry, registry_at) = registry_on_loopback(edition);
        let handbook = Recorder::start();

        let config = page.file(
            "auth_config.yml",
            &[
                ("addr: \"127.0.0.1:5001\"", "addr: \"127.0.0.1:0\""),
                ("/etc/dockwarden", there),
                ("/var/lib/dockwarden", there),
            ],
        );
        let config = scratch::write(&directory, "auth_config.yml", &config);
        let (dockwarden, asked_at) = dockwarden::listening(&config);
        let tls = Tls::new();
        let (https, nginx) = port::with_free(|[https]| {
            let site = page.file(
                "registry.conf",
                &[
                    ("127.0.0.1:5001", &asked_at),
                    ("127.0.0.1:5000", &registry_at),
                    ("127.0.0.1:8080", &handbook.address),
                    ("/etc/nginx/tls", tls.directory.to_str().unwrap()),
                    ("listen 443 ssl;", &format!("listen 127.0.0.1:{https} ssl;")),
                ],
            );
            let nginx = Process::start("nginx", &front::nginx(&site));
            let up = nginx.up_or_ended("its port", |_| all_open(&[https]));
            assert!(up.is_some() || nginx.log().contains("Address already in use"), "{}", nginx.tail());
            up.map(|()| (https, nginx))
        });
        add_user(&page, &config);
        let (host, authority) = (format!("localhost:{https}"), tls.authority);
        Self { page, config, host, authority, dockwarden, registry, _handbook: handbook, _nginx: nginx }
    }

    /// The page's curl, with alice's password where it would ask for it, or without a login.
    fn curl(&self, logged_in: bool, path: &str) -> Said {
        self.curl_with(logged_in, path, &[])
    }

    /// The same with more arguments.
    fn curl_with(&self, logged_in: bool, path: &str, more: &[&str]) -> Said {
        let line = self.page.line("curl --include --user alice https://registry.example.org/v2/");
        let line = line.replace("registry.example.org/v2/", &format!("{}{path}", self.host));
        let mut curl = part::client("curl");
        for word in line.split(' ').skip(1) {
            match (word, logged_in) {
                ("alice", true) => curl.arg(format!("alice:{PASSWORD}")),
                ("--user" | "alice", false) => &mut curl,
                (word, _) => curl.arg(word),
            };
        }
        curl.args(more);
        part::run(curl.args(["--silent", "--show-error", "--path-as-is", "--cacert"]).arg(&self.authority)).well()
    }

    /// What its first line has.
    fn status(&self, logged_in: bool, path: &str) -> String {
        self.curl(logged_in, path).stdout.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// Waits for a refusal with this reason in Dockwarden's log.
    fn refused(&self, reason: &str) {
        until(reason, || {
            let log = self.dockwarden.log();
            events(&log, "refused").iter().any(|line| line["reason"] == reason).then_some(())
        });
    }
}

/// The page's command, which asks for a password.
fn add_user(page: &Recipe, config: &Path) {
    let line = page.line("sudo dockwarden user add");
    let line = line.replace("/etc/dockwarden/auth_config.yml", config.to_str().unwrap());
    let mut add = part::command_at(program());
    add.args(line.split(' ').skip(2));
    part::run_with(&mut add, format!("{PASSWORD}\n").as_bytes()).well();
}

#[test]
fn whoever_follows_the_page_gives_a_registry_and_a_website_a_login() {
    for edition in Edition::ALL {
        let followed = Followed::with(edition);
        for path in ["/v2/", "/handbook/"] {
            let without = followed.curl(false, path).stdout;
            assert!(without.starts_with("HTTP/1.1 401 ") && without.contains("Basic realm="), "{path}: {without}");
            let with = followed.curl(true, path).stdout;
            assert!(with.starts_with("HTTP/1.1 200 "), "{path}: {with}");
        }
        let alice = Person::new(&followed.host);
        let marker = format!("page-{edition:?}").to_lowercase();
        alice.build(&marker);
        alice.login("alice", PASSWORD).well();
        alice.push(&marker, "web/hello").well();
        alice.push(&marker, "ops/hello").refused(DENIED);
        alice.forget(&marker);
        alice.pull("web/hello").well();
    }
}

#[test]
fn each_failure_looks_as_the_page_says() {
    let followed = Followed::with(Edition::V2);
    let posted = followed.curl_with(true, "/handbook/", &["--request", "POST"]).stdout;
    assert!(posted.starts_with("HTTP/1.1 403 "), "{posted}");
    followed.refused("unknown_path");
    for path in ["/v2//web/hello/manifests/v1", "/v2/web%2Fhello/manifests/v1"] {
        assert_eq!(followed.status(true, path), "403", "{path}");
    }
    followed.refused("target_refused");

    followed.registry.signal(Signal::Kill);
    followed.registry.end();
    assert_eq!(followed.status(true, "/v2/"), "502");

    let config = fs::read_to_string(&followed.config).unwrap();
    let (before, after) = config.split_once("\nforward_auth:\n  trusted_proxies: [127.0.0.1]\n").unwrap();
    fs::write(&followed.config, format!("{before}\nforward_auth:\n  trusted_proxies: [192.0.2.1]\n{after}")).unwrap();
    until("the change", || (followed.status(true, "/handbook/") == "403").then_some(()));
    followed.refused("not_a_proxy");

    followed.dockwarden.signal(Signal::Kill);
    followed.dockwarden.end();
    let page = followed.curl(true, "/v2/").stdout;
    assert!(page.starts_with("HTTP/1.1 500 ") && page.contains("<center>nginx"), "{page}");
}
