//! Workloads and real clients: docker logs in with a JWT and lives from the session that it gets; others are given one by a token
//! exchange. The issuer is a stand-in. Numbers are those of the checks in the reference on lasting tokens.

#[path = "../support/oidc.rs"]
#[expect(dead_code, reason = "here it publishes its keys and nothing else")]
pub(crate) mod oidc;

use std::fs;
use std::thread;

use ::dockwarden::keys::generate;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::support::clock::{self, Clocked};
use crate::support::dockwarden::{self, Dockwarden};
use crate::support::image::{self, TAG};
use crate::support::keys::{self, Kind};
use crate::support::registry::{Edition, Registry};
use crate::support::sql::{Product, Tables};
use crate::support::{client, engine, http, part, scratch, visit};
use oidc::{Key, Provider};

const AUDIENCE: &str = "registry.example.org";
const ISSUER: &str = "https://token.actions.githubusercontent.com";
const TARGET: &str = "/auth?service=Docker%20registry&scope=repository:octo-app:pull";

pub(crate) fn issuer() -> (Key, Provider) {
    let pem = generate(Algorithm::ES256, "issuer.test", OffsetDateTime::now_utc()).unwrap().key_pem;
    let key = Key::new("k1", Algorithm::ES256, &pem);
    let provider = Provider::start(&[&key]);
    (key, provider)
}

/// One entry, which is for what the main branch of one owner's repositories runs.
pub(crate) fn workload(provider: &Provider) -> String {
    format!(
        "workload:\n  - issuer: {ISSUER}\n    name: github\n    audiences: [{AUDIENCE}]\n    keys: {{url: \"{}/jwks\", plain_http: loopback}}\n    require: {{repository_owner_id: \"1234\", ref: refs/heads/main}}\n    account: \"github:${{claim:repository}}\"\n",
        provider.address
    )
}

/// A policy of one workload, which owns what begins with its owner's name.
fn policy(provider: &Provider, records: &str, more: &str) -> String {
    format!(
        "users: {{}}\nacl: [{{match: {{account: \"github:octo/app\", name: \"octo-*\"}}, actions: [\"*\"]}}]\n{records}{}{more}",
        workload(provider)
    )
}

/// A token of GitHub's, made at this moment: it lives for five minutes.
fn jwt(key: &Key, made: i64, number: usize) -> String {
    key.sign(&json!({
        "iss": ISSUER, "aud": AUDIENCE, "iat": made, "nbf": made, "exp": made + 300, "jti": number.to_string(),
        "sub": "repo:octo/app:ref:refs/heads/main", "repository": "octo/app", "repository_owner_id": "1234",
        "ref": "refs/heads/main", "event_name": "push",
    }))
}

fn login(server: &Dockwarden, secret: &str) -> http::Reply {
    let line = visit::basic("github", secret);
    let asked = http::request("GET", TARGET, &server.host(), &[("Authorization", &line)], b"");
    http::exchange(&server.host(), &asked)
}

/// The session that a token is exchanged for, as curl does it.
fn exchanged(server: &Dockwarden, jwt: &str) -> String {
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("subject_token", jwt),
        ("audience", dockwarden::SERVICE),
    ];
    let form = fields.map(|(name, value)| format!("{name}={}", http::form_encode(value))).join("&");
    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
    let asked = http::request("POST", "/auth", &server.host(), &headers, form.as_bytes());
    let reply = http::exchange(&server.host(), &asked);
    reply.json()["access_token"].as_str().unwrap_or_else(|| panic!("{}", reply.text())).to_owned()
}

/// The server's clock is ten minutes behind, and then it is not.
#[test]
fn check_31_docker_logs_in_with_a_jwt_and_pulls_when_that_is_over() {
    let (key, provider) = issuer();
    let pair = keys::valid(Kind::P256, "20200101000000Z", "20480101000000Z");
    let file = scratch::directory("records").join("dockwarden.db");
    let records = format!("records: {{sqlite: \"{}\"}}\n", file.display());
    let clocked = Clocked::start(&dockwarden::config(&pair, "", &policy(&provider, &records, "")), -600);
    let server = &clocked.dockwarden;
    let engine = engine::shared();
    for edition in Edition::ALL {
        let started = Registry::start(edition, server, &pair.certificate);
        let registry = started.host();
        clocked.set(-600);
        let token = jwt(&key, clock::now() - 600, 1);
        let home = scratch::directory("docker-home");
        let docker = |arguments: &[&str]| part::run(engine.docker(&home).args(arguments));
        let mut command = engine.docker(&home);
        command.args(["login", "--username", "github", "--password-stdin", &registry]);
        part::run_with(&mut command, token.as_bytes()).well();
        let kept = fs::read_to_string(home.join("config.json")).unwrap();
        let file: Value = serde_json::from_str(&kept).unwrap();
        let session = file["auths"][&registry]["identitytoken"].as_str().unwrap();
        assert!(session.starts_with("dws_") && !kept.contains(&token), "{kept}");

        let remote = format!("{registry}/octo-app:{edition:?}").to_lowercase();
        let context = image::build_context(&format!("session-{edition:?}").to_lowercase());
        docker(&["build", "--quiet", "--tag", &remote, &context.display().to_string()]).well();
        docker(&["push", &remote]).well();
        docker(&["rmi", "--force", &remote]).well();

        clocked.set(0);
        assert_eq!(login(server, &token).status, 401, "the token itself is over");
        docker(&["pull", &remote]).well();
        docker(&["rmi", "--force", &remote]).well();
        clocked.set(3000);
        let refused = docker(&["pull", &remote]).refused(&["log in again"]);
        assert!(!refused.text.contains(session), "{}", refused.text);
        clocked.set(0);

        // Those that ask for no session are given one.
        let fresh = jwt(&key, clock::now(), 2);
        let session = exchanged(server, &fresh);
        let home = client::home();
        let image = image::layout(&format!("exchanged-{edition:?}").to_lowercase());
        let source = format!("oci:{}:{TAG}", image.directory.display());
        let remote = format!("{registry}/octo-exchanged:1");
        let skopeo = |arguments: &[&str]| part::run(client::skopeo(&home).args(arguments));
        skopeo(&["login", "--tls-verify=false", "-u", "<token>", "-p", &session, &registry]).well();
        skopeo(&["copy", "--dest-tls-verify=false", &source, &format!("docker://{remote}")]).well();
        let home = client::home();
        let podman = |arguments: &[&str]| part::run(client::podman(&home).args(arguments));
        podman(&["login", "--tls-verify=false", "-u", "<token>", "-p", &session, &registry]).well();
        podman(&["pull", "--tls-verify=false", &remote]).well();
        let home = client::home();
        let crane = |arguments: &[&str]| part::run(client::crane(&home).args(arguments));
        crane(&["auth", "login", "--insecure", &registry, "-u", "workload", "-p", &session]).well();
        assert!(crane(&["digest", "--insecure", &remote]).well().stdout.starts_with("sha256:"));
        let home = client::home();
        let mut helm = client::helm(&home);
        helm.args(["registry", "login", "--plain-http", &registry, "-u", "<token>", "-p", &session]);
        part::run(&mut helm).well();

        let log = server.whole_log();
        for secret in [&token, &fresh] {
            assert!(!log.contains(secret.rsplit_once('.').unwrap().1), "a JWT is in the log");
        }
        assert!(!log.contains(&session));
    }
    server.process.keeps_secrets();
}

/// Check 42, with two servers on one PostgreSQL.
#[test]
fn check_42_of_two_servers_on_one_postgresql_one_takes_a_token_for_one_use() {
    let (key, provider) = issuer();
    let pair = keys::as_in_the_guide(Kind::P256);
    let tables = Tables::new(Product::Postgres);
    let config = dockwarden::config(&pair, "", &policy(&provider, &tables.records(), "    single_use: true\n"));
    let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &config);
    part::run(part::command_at(dockwarden::program()).arg("migrate").arg(&file)).well();
    let servers = [Dockwarden::start(&config), Dockwarden::start(&config)];
    for round in 0..20 {
        let token = jwt(&key, clock::now(), round);
        let mut statuses: Vec<u16> = thread::scope(|scope| {
            let asked = servers.each_ref().map(|server| scope.spawn(|| login(server, &token).status));
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 401], "round {round}");
        assert!(servers.iter().all(|server| login(server, &token).status == 401));
    }
}
