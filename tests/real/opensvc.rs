//! The page for OpenSVC's users, run: its registry of either generation, its nginx and Dockwarden as processes, and what docker, podman
//! and crane find there. Checks 28 and 36 to 38 of the reference. `compose/opensvc.rs` brings up its compose file.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use crate::support::dockwarden::{Dockwarden, hash};
use crate::support::engine::{self, Engine};
use crate::support::front::{Tls, nginx};
use crate::support::image::{self, TAG};
use crate::support::part::Said;
use crate::support::person::Person;
use crate::support::process::{Process, until};
use crate::support::recipe::{NOBODYS_HASH, Recipe};
use crate::support::registry::{self, Edition};
use crate::support::{client, part, port, scratch};

/// The page's name for its registry.
const NAME: &str = "registry.example.com";
/// Of all its accounts, whose hash the page gives once.
const PASSWORD: &str = "p+w% ö&=1";
const SECRET: &str = "0123456789abcdef-of-events";

/// All that the page has, at ports of this machine.
struct Site {
    /// `localhost:port` of nginx, with TLS.
    host: String,
    /// The same by its address, which the engine takes for a registry whose certificate need not be known.
    by_address: String,
    dockwarden: Dockwarden,
    _registry: Process,
    _nginx: Process,
}

impl Site {
    fn start(edition: Edition) -> Self {
        let page = Recipe::read("opensvc.md");
        let tls = Tls::new();
        let home = scratch::directory("opensvc");
        let within = |name: &str| home.join(name).display().to_string();
        port::with_free(|[https, behind]| {
            let hashed = hash(PASSWORD);
            let config = page.file(
                "auth_config.yml",
                &[
                    ("addr: \":5001\"", "addr: \"127.0.0.1:0\""),
                    ("172.30.54.2", "127.0.0.1"),
                    ("/certs/token.crt", &within("token.crt")),
                    ("/keys/token.key", &within("token.key")),
                    ("/keys/dockwarden.db", &within("dockwarden.db")),
                    (
                        "url: \"http://registry:5000\"",
                        &format!("url: \"http://127.0.0.1:{behind}\"\n    hosts: [localhost, 127.0.0.1]"),
                    ),
                    ("THE-SECRET-OF-ITS-EVENTS", SECRET),
                    (NOBODYS_HASH, &hashed),
                ],
            );
            let dockwarden = Dockwarden::start(&config);
            let settings = page.file(
                "registry.yml",
                &[
                    ("/var/lib/registry", &within(&format!("images-{https}"))),
                    ("addr: :5000", &format!("addr: 127.0.0.1:{behind}")),
                    ("http://dockwarden:5001", &format!("http://{}", dockwarden.address)),
                    ("THE-SECRET-OF-ITS-EVENTS", SECRET),
                ],
            );
            let registry = registry::serve(edition, &settings, &environment(&page, https, &within("token.crt")));
            let site = page.file(
                "nginx.conf",
                &[
                    ("listen 443 ssl;", &format!("listen 127.0.0.1:{https} ssl;")),
                    ("/etc/nginx/ssl", tls.directory.to_str().unwrap()),
                    ("http://registry:5000", &format!("http://127.0.0.1:{behind}")),
                    ("http://dockwarden:5001", &format!("http://{}", dockwarden.address)),
                ],
            );
            let nginx = Process::start("nginx", &nginx(&site));
            let listens = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
            let up = [(&registry, behind), (&nginx, https)]
                .iter()
                .all(|(process, port)| process.up_or_ended("its port", |_| listens(*port).then_some(())).is_some());
            up.then(|| Self {
                host: format!("localhost:{https}"),
                by_address: format!("127.0.0.1:{https}"),
                dockwarden,
                _registry: registry,
                _nginx: nginx,
            })
        })
    }

    /// Pushes an image as an account, which its client logs in with.
    fn push(&self, account: &str, repository: &str) {
        let made = image::layout(repository);
        let creds = format!("{account}:{}", PASSWORD);
        let source = format!("oci:{}:{TAG}", made.directory.display());
        let target = format!("docker://{}/{repository}:v1", self.host);
        let options = ["copy", "--dest-tls-verify=false", "--dest-creds", &creds, &source, &target];
        part::run(client::skopeo(&client::home()).args(options)).well();
    }

    /// What crane lists, logged in from this home.
    fn catalog(&self, home: &Path) -> Said {
        part::run(client::crane(home).args(["catalog", "--insecure", &self.host]))
    }
}

/// What the page's compose file tells the registry.
fn environment(page: &Recipe, https: u16, certificate: &str) -> Vec<(String, String)> {
    let compose = page.file("compose.yml", &[(NAME, &format!("localhost:{https}")), ("/certs/token.crt", certificate)]);
    let lines = compose.lines().filter_map(|line| line.trim().split_once(": "));
    let variables = lines.filter(|(name, _)| name.starts_with("REGISTRY_"));
    let given =
        variables.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).map(|(name, value)| {
            // The registry's name is no host: it stays.
            let value = if name == "REGISTRY_AUTH_TOKEN_SERVICE" { NAME.to_owned() } else { value };
            (name, value)
        });
    given.collect()
}

/// A home in which podman and crane have logged in.
fn logged_in(site: &Site, account: &str) -> PathBuf {
    let home = client::home();
    let words = ["login", "--tls-verify=false", "--username", account, "--password", PASSWORD, &site.host];
    part::run(client::podman(&home).args(words)).well();
    // Crane reads docker's file.
    fs::copy(home.join("auth.json"), home.join("config.json")).unwrap();
    home
}

/// Docker, whose engine asks: with its login over TLS what that may pull, and without one nothing.
fn docker_finds_what_may_be_pulled(engine: &'static Engine, site: &Site) {
    let term = format!("{}/app", site.by_address);
    let person = || Person::at(engine, &site.by_address);
    for (account, expected) in [("ann", "groups/10/app\nusers/1/app\n"), ("bob", "groups/10/app\n")] {
        let person = person();
        person.login(account, PASSWORD).well();
        assert_eq!(person.docker(&["search", "--format", "{{.Name}}", &term]).well().stdout, expected, "{account}");
    }
    person().docker(&["search", &term]).refused(&["401", "unauthorized"]);
}

/// Check 38, with another engine than that of every run.
pub(crate) fn an_engine_searches(engine: &'static Engine) {
    for edition in Edition::ALL {
        let site = Site::start(edition);
        site.push("ann", "users/1/app");
        site.push("ann", "groups/10/app");
        let ann = logged_in(&site, "ann");
        until("both in the catalog", || (site.catalog(&ann).stdout.lines().count() == 2).then_some(()));
        docker_finds_what_may_be_pulled(engine, &site);
    }
}

#[test]
fn docker_podman_and_crane_find_what_may_be_pulled_behind_the_collectors_nginx() {
    for edition in Edition::ALL {
        let site = Site::start(edition);
        site.push("ann", "users/1/app");
        site.push("ann", "groups/10/app");
        let host = &site.host;
        let (ann, bob) = (logged_in(&site, "ann"), logged_in(&site, "bob"));
        // Crane: by its token for the catalog, which allows nothing.
        until("both in the catalog", || {
            let said = site.catalog(&ann);
            (said.success && said.stdout == "groups/10/app\nusers/1/app\n").then_some(())
        });
        assert_eq!(site.catalog(&bob).well().stdout, "groups/10/app\n", "{edition:?}");

        // Podman asks for a search without its login, and so goes on to the catalog with a token that was asked for without a scope.
        let found = |home: &PathBuf| {
            let words = ["search", "--tls-verify=false", "--format", "{{.Name}}", &format!("{host}/app")];
            part::run(client::podman(home).args(words)).well().stdout
        };
        assert_eq!(found(&ann), format!("{host}/groups/10/app\n{host}/users/1/app\n"), "{edition:?}");
        assert_eq!(found(&bob), format!("{host}/groups/10/app\n"), "{edition:?}");

        docker_finds_what_may_be_pulled(engine::shared(), &site);
        // All of it was asked here, and the events came with their secret.
        let log = site.dockwarden.whole_log();
        assert!(log.contains("/init/registry/call/json/search"), "{log}");
        site.dockwarden.process.keeps_secrets();
    }
}
