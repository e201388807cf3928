//! People in a real browser that runs no script: they sign in at strict providers, make a docker password, and clients push and pull
//! with it until it is revoked.

use std::process::Command;

use serde_json::json;

use super::dex;
use crate::support::browser::{self, Browser, Window};
use crate::support::dockwarden::{self, Dockwarden};
use crate::support::image::{self, TAG};
use crate::support::keys::{self, Kind};
use crate::support::process::{Process, until};
use crate::support::registry::{Edition, Registry};
use crate::support::{client, engine, part, port, scratch};

/// Of the registry's events.
const SECRET: &str = "0123456789abcdef-of-events";
pub(super) const REFUSED: &[&str] =
    &["unauthorized", "401", "authentication required", "denied", "invalid username/password"];
pub(super) const PLAIN: Window = Window { scheme: "light", width: 1280, script: false };

/// A server with pages, and the registry `reg`, which it knows.
pub(super) struct Site {
    pub(super) dockwarden: Dockwarden,
    _registry: Registry,
    /// `http://localhost:port` of the pages.
    pub(super) pages: String,
    /// `localhost:port`
    pub(super) registry: String,
}

impl Site {
    /// Starts both, with a policy that is told where the pages are; `registries` has what the registry is to whom.
    pub(super) fn start(edition: Edition, registries: &str, policy: impl Fn(&str) -> String) -> Site {
        let pair = keys::as_in_the_guide(Kind::P256);
        let held = [port::hold(), port::hold()];
        let [own, behind] = held.each_ref().map(|held| held.local_addr().unwrap().port());
        let (pages, registry) = (format!("http://localhost:{own}"), format!("localhost:{behind}"));
        let records = scratch::directory("people").join("records.db");
        let text = format!(
            "{}registries:\n  reg: {{url: \"http://127.0.0.1:{behind}\", events: {{secret: {SECRET}}}{registries}}}\n\
             records: {{sqlite: \"{}\"}}\nsign_in: {{secret: b2Ygb3VyIG93biwgYW5kIG9mIG5vYm9keSBlbHNlIQ, \
             registry_url: \"{registry}\", url: \"{pages}\"}}\n",
            policy(&pages),
            records.display(),
        );
        let text = dockwarden::config(&pair, "", &text).replace("127.0.0.1:0", &format!("127.0.0.1:{own}"));
        drop(held);
        let dockwarden = Dockwarden::start(&text);
        let registry_process = Registry::start_notifying(
            edition,
            (behind, "reg"),
            (&dockwarden.realm(), &pair.certificate),
            (&format!("{pages}/init/registry/call/json/events"), SECRET),
            true,
        );
        Site { dockwarden, _registry: registry_process, pages, registry }
    }
}

/// What every provider is told of us, but for its address.
fn provider(issuer: &str, pages: &str, more: &str) -> String {
    format!(
        "oidc_auth: {{issuer: \"{issuer}\", plain_http: loopback, redirect_url: \"{pages}/oidc_auth\", client_id: registry, \
         client_secret: of-the-client, title: work{more}}}\n"
    )
}

/// Makes a password for a machine: the command that the page shows, and the password.
pub(super) fn made(browser: &mut Browser, machine: &str) -> (String, String) {
    browser.fill("role=textbox[name='Machine']", machine);
    browser.press("role=button[name='Make a password']");
    let shown = (browser.text("code:has-text('docker login')"), browser.text("#password"));
    browser.open("/account");
    assert_eq!(browser.count("#password"), 0, "it is shown once");
    shown
}

/// A row of the table of passwords.
pub(super) fn row(browser: &mut Browser, machine: &str) -> String {
    browser.open("/account");
    browser.text(&format!("tr:has-text('{machine}')"))
}

/// Revokes the password of a machine.
pub(super) fn revoke(browser: &mut Browser, machine: &str) {
    browser.press(&format!("role=button[name='Revoke {machine}']"));
    // The page that comes then, whole.
    browser.text(&format!("main:has(#everywhere):not(:has(tr:has-text('{machine}')))"));
}

/// The whole way of a person: dex, docker, and back.
#[test]
fn somebody_signs_in_at_dex_and_docker_pushes_until_the_password_is_revoked() {
    let hash = dockwarden::hash_of_cost("password", 10);
    let dex_port = port::hold();
    let dex_address = format!("127.0.0.1:{}", dex_port.local_addr().unwrap().port());
    drop(dex_port);
    let issuer = format!("http://{dex_address}/dex");
    // The server is there before its provider (check 42).
    let site = Site::start(Edition::V3, "", |pages| {
        let rules =
            "users: {}\nacl: [{match: {account: ada@example.org, name: \"people/*\"}, actions: [pull, push]}]\n";
        format!("{rules}{}", provider(&issuer, pages, ""))
    });
    let _dex = dex::serve(&format!(
        "issuer: {issuer}\nstorage: {{type: memory}}\nweb: {{http: \"{dex_address}\"}}\noauth2: {{skipApprovalScreen: true}}\n\
         enablePasswordDB: true\nstaticClients: [{{id: registry, name: registry, secret: of-the-client, \
         redirectURIs: [\"{}/oidc_auth\"]}}]\n\
         staticPasswords: [{{email: ada@example.org, username: ada, userID: \"1234\", hash: \"{hash}\"}}]\n",
        site.pages
    ))
    .unwrap();
    let mut browser = Browser::start(&site.pages, PLAIN);
    assert_eq!(browser.open("/sign-in").status, 200);
    browser.press("role=link[name='Sign in with work']");
    browser.fill("#login", "ada@example.org");
    browser.fill("#password", "password");
    browser.press("#submit-login");
    browser.arrive("/account");
    assert!(browser.text("header").contains("ada@example.org"));
    let (command, password) = made(&mut browser, "laptop");
    let (_, other) = made(&mut browser, "server");
    assert_eq!(command, format!("docker login -u ada@example.org --password-stdin {}", site.registry));
    assert!(row(&mut browser, "laptop").contains("never"));

    // The line as it is shown, in a shell.
    let (engine, home) = (engine::shared(), client::home());
    let login = |secret: &str| part::run_with(engine.client("sh", &home).args(["-c", &command]), secret.as_bytes());
    let docker = |arguments: &[&str]| part::run(engine.docker(&home).args(arguments));
    login(&password).well();
    let remote = format!("{}/people/app:v1", site.registry);
    docker(&["import", &image::layout("people").layer.display().to_string(), &remote]).well();
    docker(&["push", &remote]).well();
    let elsewhere = remote.replace("people/", "other/");
    docker(&["tag", &remote, &elsewhere]).well();
    docker(&["push", &elsewhere]).refused(REFUSED);
    until("the last use on the page", || (!row(&mut browser, "laptop").contains("never")).then_some(()));
    assert!(row(&mut browser, "laptop").contains("127.0.0.0"), "{}", row(&mut browser, "laptop"));
    assert!(row(&mut browser, "server").contains("never"));
    until("the event of the push", || {
        browser.open("/repositories");
        browser.text("main").contains("people/app").then_some(())
    });

    browser.open("/account");
    revoke(&mut browser, "laptop");
    docker(&["push", &remote]).refused(REFUSED);
    docker(&["pull", &remote]).refused(REFUSED);
    login(&password).refused(REFUSED);
    // The one of another machine is as good as before, until all are ended.
    login(&other).well();
    docker(&["push", &remote]).well();
    browser.press("main >> role=button[name='Sign out everywhere']");
    browser.arrive("/sign-in");
    docker(&["push", &remote]).refused(REFUSED);
    browser.open("/account");
    browser.arrive("/sign-in");
    assert_eq!(browser.said(), [""; 0]);
    docker(&["rmi", "--force", &remote, &elsewhere]).well();
    for secret in [&password, &other] {
        assert!(!site.dockwarden.whole_log().contains(secret.as_str()));
    }
    site.dockwarden.process.keeps_secrets();
}

/// The strictest provider that there is, with groups, and another client.
#[test]
fn somebody_signs_in_at_a_provider_that_insists_on_everything_and_skopeo_pushes_by_their_group() {
    let held = port::hold();
    let at = held.local_addr().unwrap().port();
    drop(held);
    let issuer = format!("http://127.0.0.1:{at}");
    let site = Site::start(Edition::V2, "", |pages| {
        let rules = "users: {}\nacl: [{match: {labels: {groups: dev}, name: \"dev/*\"}, actions: [pull, push]}]\n";
        format!("{rules}{}", provider(&issuer, pages, ", label_claims: [groups], scopes: [openid, email, groups]"))
    });
    let client = json!({
        "client_id": "registry", "client_secret": "of-the-client", "redirect_uris": [format!("{}/oidc_auth", site.pages)],
    });
    let mut serve = Command::new(part::path("node"));
    serve.env_clear().arg(browser::scripts().join("provider.mjs")).arg(browser::modules());
    let provider = Process::start("oidc-provider", serve.arg(at.to_string()).arg(client.to_string()));
    provider.until("it listens", |provider| provider.log().contains("it listens").then_some(()));

    let mut browser = Browser::start(&site.pages, PLAIN);
    browser.open("/oidc_auth");
    browser.fill("[name=login]", "eve");
    browser.fill("[name=password]", "any");
    browser.press("role=button");
    browser.press("role=button[name='Continue']");
    browser.arrive("/account");
    let (_, password) = made(&mut browser, "builder");
    let home = client::home();
    let login = || {
        let mut login = client::skopeo(&home);
        login.args([
            "login",
            "--tls-verify=false",
            "--username",
            "eve@example.org",
            "--password-stdin",
            &site.registry,
        ]);
        part::run_with(&mut login, password.as_bytes())
    };
    let made = image::layout("by-group");
    let push = |repository: &str| {
        let (source, target) =
            (format!("oci:{}:{TAG}", made.directory.display()), format!("docker://{}/{repository}:v1", site.registry));
        part::run(client::skopeo(&home).args(["copy", "--dest-tls-verify=false", &source, &target]))
    };
    login().well();
    push("dev/app").well();
    push("other/app").refused(REFUSED);
    until("the last use on the page", || (!row(&mut browser, "builder").contains("never")).then_some(()));
    revoke(&mut browser, "builder");
    push("dev/app").refused(REFUSED);
    login().refused(REFUSED);
    assert_eq!(browser.said(), [""; 0]);
    assert!(!site.dockwarden.whole_log().contains(&password));
    site.dockwarden.process.keeps_secrets();
}
