//! The recipe of a registry with one password, as its page shows it; and who pulls without a login.

use std::fs;
use std::path::PathBuf;

use super::clients::REFUSED;
use crate::support::dockwarden::{self, hash, program};
use crate::support::gateway::{self, Challenge, INSIDE};
use crate::support::person::Person;
use crate::support::process::Process;
use crate::support::recipe::{NOBODYS_HASH, Recipe};
use crate::support::registry::{Edition, Registry};
use crate::support::{client, keys, part, port, scratch};

/// The recipe's server.
struct Server {
    _process: Process,
    host: String,
    config: PathBuf,
}

/// The recipe before such a registry, both on this machine's addresses.
fn start(registry: &Registry, challenge: Challenge) -> Server {
    let tls = keys::for_localhost().leaf;
    let directory = scratch::directory("plain");
    let password = scratch::write(&directory, "registry-password", &format!("{}\n", INSIDE.1));
    // Nobody else uses these ports, so that it can be told before the start.
    let port = port::hold().local_addr().unwrap().port();
    let page = Recipe::read("gateway.md");
    let config = page.file(
        "auth_config.yml",
        &[
            ("\":443\"", &format!("\"127.0.0.1:{port}\"")),
            ("/etc/dockwarden/docker.example.org.crt", tls.certificate.to_str().unwrap()),
            ("/etc/dockwarden/docker.example.org.key", tls.key.to_str().unwrap()),
            ("/etc/dockwarden/registry-password", password.to_str().unwrap()),
            ("/var/lib/dockwarden", directory.to_str().unwrap()),
            ("https://docker.example.org/auth", &format!("https://localhost:{port}/auth")),
            ("http://127.0.0.1:5000", &format!("http://{}", registry.address())),
            (NOBODYS_HASH, &hash("testpassword")),
        ],
    );
    let config = match challenge {
        Challenge::Bearer => config,
        // Without TLS besides: docker tries to go on without it where it is refused, and tells of that alone.
        Challenge::Basic => config
            .replace("  challenge: bearer\n", "  challenge: basic\n")
            .replace(&format!("  realm: https://localhost:{port}/auth\n"), "")
            .replace(&format!("  certificate: {}\n  key: {}\n", tls.certificate.display(), tls.key.display()), ""),
    };
    let config = scratch::write(&directory, "auth_config.yml", &config);
    let (process, address) = dockwarden::listening(&config);
    Server { _process: process, host: address.replace("127.0.0.1", "localhost"), config }
}

#[test]
fn the_recipe_serves_people_and_nobody_in_particular() {
    for edition in Edition::ALL {
        let registry = Registry::start_with_passwords(edition, &gateway::inside());
        let server = start(&registry, Challenge::Bearer);
        let mut check = part::command_at(program());
        let said = part::run(check.arg("check").arg("--connect").arg(&server.config)).well();
        assert!(
            said.stdout.contains("gateway: ok: ") && said.stdout.contains("takes our credentials"),
            "{}",
            said.text
        );

        let marker = format!("plain-{edition:?}").to_lowercase();
        let host = &server.host;
        let alice = Person::logged_in(host, "alice", "testpassword");
        alice.build(&marker);
        alice.push(&marker, "public/app").well();
        let bob = Person::logged_in(host, "bob", "testpassword");
        bob.push(&marker, "public/app").refused(REFUSED);
        bob.push(&marker, "team/app").well();
        alice.forget(&marker);
        let nobody = Person::new(host);
        nobody.pull("public/app").well();
        nobody.pull("team/app").refused(REFUSED);
        pulls_without_login(host);
        assert!(!fs::read_to_string(&server.config).unwrap().contains(INSIDE.1), "the password is in its own file");
    }
}

/// As the page says of docker. The other clients go on without a password.
#[test]
fn with_basic_docker_pulls_nothing_without_a_login() {
    let registry = Registry::start_with_passwords(Edition::V3, &gateway::inside());
    let server = start(&registry, Challenge::Basic);
    let host = &server.host;
    let alice = Person::logged_in(host, "alice", "testpassword");
    alice.build("plain-basic");
    alice.push("plain-basic", "public/app").well();
    alice.forget("plain-basic");
    Person::new(host).pull("public/app").refused(REFUSED);
    pulls_without_login(host);
}

fn pulls_without_login(host: &str) {
    let home = client::home();
    let image = format!("{host}/public/app:latest");
    part::run(client::skopeo(&home).args(["inspect", "--tls-verify=false", &format!("docker://{image}")])).well();
    part::run(client::crane(&home).args(["manifest", "--insecure", &image])).well();
}
