//! A real OIDC provider, dex: whom it lets in may log in here with the ID token that they got there.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::dockwarden::{self, Dockwarden, SERVICE};
use crate::support::keys::{self, Kind};
use crate::support::process::Process;
use crate::support::{http, part, port, scratch, visit};

const ISSUER: &str = "https://dex.example.org/dex";

/// dex with a configuration, at an address.
pub(super) fn serve(config: &str) -> Option<Process> {
    let file = scratch::write(&scratch::directory("dex"), "dex.yaml", config);
    let mut serve = Command::new(part::path("long/dex"));
    serve.env_clear().arg("serve").arg(file);
    let process = Process::start("dex", &serve);
    let listens = |process: &Process| process.log().contains("listening (http)").then_some(());
    process.up_or_ended("the line that tells its address", listens).map(|()| process)
}

/// dex, with one client and one person, whose password is `password`.
fn dex() -> (Process, String) {
    // It takes no hash of less.
    let hash = dockwarden::hash_of_cost("password", 10);
    port::with_free(|[port]| {
        let address = format!("127.0.0.1:{port}");
        let config = format!(
            "issuer: {ISSUER}\nstorage: {{type: memory}}\nweb: {{http: \"{address}\"}}\n\
             oauth2: {{passwordConnector: local, skipApprovalScreen: true}}\nenablePasswordDB: true\n\
             staticClients: [{{id: registry.example.org, name: registry, secret: of-the-client}}, {{id: another, name: another, secret: of-the-client}}]\n\
             staticPasswords: [{{email: ada@example.org, username: ada, userID: \"1234\", hash: \"{hash}\"}}]\n"
        );
        serve(&config).map(|process| (process, address))
    })
}

/// An ID token for this client.
fn id_token(dex: &str, client: &str) -> String {
    let form = "grant_type=password&scope=openid+email&username=ada@example.org&password=password";
    let login = visit::basic(client, "of-the-client");
    let headers = [("Authorization", login.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    let reply = http::exchange(dex, &http::request("POST", "/dex/token", dex, &headers, form.as_bytes()));
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{}", reply.text()));
    body["id_token"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

#[test]
fn an_id_token_of_dex_logs_in_and_one_for_another_client_does_not() {
    let (process, dex) = dex();
    let policy = format!(
        "users: {{}}\nacl: [{{match: {{account: \"dex:ada@example.org\", name: \"ada/*\"}}, actions: [pull]}}]\nworkload:\n  - issuer: {ISSUER}\n    name: dex\n    audiences: [registry.example.org]\n    keys: {{url: \"http://{dex}/dex/keys\", plain_http: loopback}}\n    require: {{email_verified: true, email: ada@example.org}}\n    account: \"dex:${{claim:email}}\"\n"
    );
    let server = Dockwarden::start(&dockwarden::config(&keys::as_in_the_guide(Kind::P256), "", &policy));
    let login = |jwt: &str| {
        let target = format!("/auth?service={}&scope=repository:ada/app:pull,push", http::form_encode(SERVICE));
        let line = visit::basic("ada", jwt);
        let asked = http::request("GET", &target, &server.host(), &[("Authorization", &line)], b"");
        http::exchange(&server.host(), &asked)
    };
    let reply = login(&id_token(&dex, "registry.example.org"));
    let claims = visit::claims(reply.json()["token"].as_str().unwrap_or_else(|| panic!("{}", reply.text())));
    assert_eq!((&claims["sub"], &claims["access"][0]["actions"]), (&json!("dex:ada@example.org"), &json!(["pull"])));
    assert_eq!(login(&id_token(&dex, "another")).status, 401);
    drop(process);
    server.process.keeps_secrets();
}
