//! `dockwarden login` with real clients: docker and podman push and pull with what it stored, and are refused once that is revoked on
//! the page; and two servers that share PostgreSQL, of which a terminal asks one and a browser the other.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::bed::{Bed, guide_policy};
use crate::support::dockwarden::{Dockwarden, config, password, program};
use crate::support::image;
use crate::support::keys::{self, Kind};
use crate::support::part::{self, Said};
use crate::support::registry::Edition;
use crate::support::sql::{Product, Tables};
use crate::support::{client, engine, http, scratch};

const REFUSED: &[&str] = &["unauthorized", "401", "authentication required", "no basic auth", "denied"];

fn policy(records: &str) -> String {
    let sign_in = "sign_in: {secret: b2Ygb3VyIG93biwgYW5kIG9mIG5vYm9keSBlbHNlIQ, url: \"https://auth.example.org\"}\n";
    guide_policy() + records + sign_in
}

/// Somebody's browser: a session, and forms of our own pages.
struct Browser<'server> {
    server: &'server Dockwarden,
    cookie: String,
}

impl Browser<'_> {
    fn signed_in(server: &Dockwarden) -> Browser<'_> {
        let mut browser = Browser { server, cookie: String::new() };
        let form = format!("account=waldi&password={}", http::form_encode(&password("waldi")));
        let reply = browser.ask("POST", "/sign-in", &form);
        let cookie = reply.header("set-cookie").unwrap().split(';').next().unwrap();
        browser.cookie = cookie.to_owned();
        browser
    }

    fn ask(&self, method: &str, target: &str, form: &str) -> http::Reply {
        let headers = [
            ("Cookie", self.cookie.as_str()),
            ("Sec-Fetch-Site", "same-origin"),
            ("Content-Type", "application/x-www-form-urlencoded"),
        ];
        http::exchange(
            &self.server.address,
            &http::request(method, target, &self.server.address, &headers, form.as_bytes()),
        )
    }

    fn approve(&self, code: &str) {
        let reply = self.ask("POST", "/device/answer", &format!("user_code={code}&answer=approve"));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    /// Ends the docker password of a machine.
    fn revoke(&self, machine: &str) {
        let page = self.ask("GET", "/account", "").text();
        let button = format!("Revoke {machine}\"");
        let form = page.split("action=\"").find(|rest| rest.contains(&button)).unwrap_or_else(|| panic!("{page}"));
        assert_eq!(self.ask("POST", form.split('"').next().unwrap(), "").status, 303);
    }
}

/// `dockwarden login` at a home, approved in this browser, which may be at another server.
fn log_in(home: &Path, server: &Dockwarden, more: &[&str], browser: &Browser<'_>) -> Said {
    let url = format!("http://{}", server.address);
    let mut login = Command::new(program());
    login.args(["login", &url]).args(more).env_clear().env("HOME", home).env("DOCKER_CONFIG", home);
    login.env("PATH", home.join("bin"));
    let mut child = login.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("Waiting") {
        assert!(lines.read_line(&mut said).unwrap() > 0, "{said}");
    }
    browser.approve(&said.split_once("user_code=").unwrap().1[..9]);
    child.stderr = Some(lines.into_inner());
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let text = format!("{said}{}{stdout}", String::from_utf8(output.stderr).unwrap());
    Said { line: format!("dockwarden login {url}"), success: output.status.success(), stdout, text }.well()
}

/// A folder for `PATH` with our program as docker's helper.
fn with_helper(home: &Path) -> String {
    let bin: PathBuf = home.join("bin");
    std::fs::create_dir(&bin).unwrap();
    symlink(program(), bin.join("docker-credential-dockwarden")).unwrap();
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

#[test]
fn docker_and_podman_work_with_what_a_login_stored_until_it_is_revoked() {
    let file = scratch::directory("records").join("dockwarden.db");
    let records = format!("records: {{sqlite: \"{}\"}}\n", file.display());
    let bed = Bed::start(&keys::as_in_the_guide(Kind::P256), &policy(&records));
    let browser = Browser::signed_in(&bed.dockwarden);
    let registry = bed.registry(Edition::ALL[0]).host();
    // In docker's own file; and by our helper.
    for machine in ["laptop", "server"] {
        let home = client::home();
        let path = with_helper(&home);
        if machine == "server" {
            scratch::write(
                &home,
                "config.json",
                &json!({"credHelpers": {registry.as_str(): "dockwarden"}}).to_string(),
            );
        }
        let said = log_in(&home, &bed.dockwarden, &["--registry", &registry, "--machine", machine], &browser);
        assert!(said.stdout.starts_with(&format!("Login succeeded: waldi at {registry}, until 2")), "{}", said.text);
        assert!(!said.text.contains("dwp_"), "{}", said.text);
        let kept = std::fs::read_to_string(home.join("config.json")).unwrap();
        assert_eq!(kept.contains("\"auth\""), machine == "laptop", "{kept}");

        let engine = engine::shared();
        let docker = |arguments: &[&str]| part::run(engine.docker(&home).env("PATH", &path).args(arguments));
        let podman = |arguments: &[&str]| {
            let mut podman = client::podman(&home);
            // podman reads docker's file as docker does.
            podman.env("PATH", &path).env("REGISTRY_AUTH_FILE", home.join("config.json"));
            part::run(podman.args(arguments))
        };
        let remote = format!("{registry}/socken-terminal:{machine}");
        let image = image::layout(&format!("terminal-{machine}"));
        docker(&["import", &image.layer.display().to_string(), &remote]).well();
        docker(&["push", &remote]).well();
        podman(&["pull", "--tls-verify=false", &remote]).well();
        browser.revoke(machine);
        docker(&["push", &remote]).refused(REFUSED);
        podman(&["pull", "--tls-verify=false", &remote]).refused(REFUSED);
        docker(&["rmi", "--force", &remote]).well();
    }
    bed.dockwarden.process.keeps_secrets();
}

/// Check 40 of the reference on sign-in, for terminals.
#[test]
fn a_terminal_asks_one_replica_and_a_browser_another() {
    let tables = Tables::new(Product::Postgres);
    let text = config(&keys::as_in_the_guide(Kind::P256), "", &policy(&tables.records()));
    let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &text);
    part::run(part::command_at(program()).arg("migrate").arg(&file)).well();
    let (one, other) = (Dockwarden::start_file(&file), Dockwarden::start_file(&file));
    let home = client::home();
    let said = log_in(&home, &one, &["--registry", "registry.example.org"], &Browser::signed_in(&other));
    assert!(said.stdout.contains("waldi at registry.example.org"), "{}", said.text);
    for server in [one, other] {
        server.process.keeps_secrets();
    }
}
