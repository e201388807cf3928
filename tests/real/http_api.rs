//! Accounts and rights from an HTTP API that is a process: the two published set-ups end to end.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::guide::DENIED;
use crate::support::bed::Bed;
use crate::support::dockwarden::{self, Dockwarden, SERVICE, hash, password};
use crate::support::http_api::HttpApi;
use crate::support::image::TAG;
use crate::support::keys::{self, Kind, Pair};
use crate::support::process::Process;
use crate::support::registry::Edition;
use crate::support::{client, http, image, part, scratch, visit};

/// How skopeo says that a login was refused.
const REFUSED: [&str; 2] = ["invalid username/password", "unauthorized"];

fn pair() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| keys::as_in_the_guide(Kind::P256))
}

/// An example's file with the API and the key pair of this run in it, and `rules` after its own.
fn example(name: &str, address: &str, api: &HttpApi, more: &str, rules: &str) -> PathBuf {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    let text = std::fs::read_to_string(file).unwrap();
    let mut whole = text.clone();
    for (from, to) in [
        (address, api.origin().as_str()),
        ("addr: \":5001\"", "addr: \"127.0.0.1:0\""),
        ("issuer: Acme,", &format!("issuer: {},", dockwarden::ISSUER)),
        ("certificate: token.crt", &format!("certificate: {}", pair().certificate.display())),
        ("key: token.key, generate: true", &format!("key: {}", pair().key.display())),
        ("acl:\n", &format!("{more}acl:\n")),
    ] {
        assert!(whole.contains(from), "{from}");
        whole = whole.replace(from, to);
    }
    scratch::write(&scratch::directory("example"), name, &format!("{whole}{rules}"))
}

/// The status for these credentials and one scope, and what is granted of it.
pub(crate) fn ask(address: &str, account: &str, password: &str, scope: &str) -> (u16, Vec<String>) {
    let authorization = visit::basic(account, password);
    let target = format!("/auth?service={}&scope={}", http::form_encode(SERVICE), http::form_encode(scope));
    let reply =
        http::exchange(address, &http::request("GET", &target, address, &[("Authorization", &authorization)], b""));
    if reply.status != 200 {
        return (reply.status, Vec::new());
    }
    let claims = visit::claims(reply.json()["token"].as_str().unwrap());
    let actions = claims["access"][0]["actions"].as_array().cloned().unwrap_or_default();
    (200, actions.iter().map(|action| action.as_str().unwrap().to_owned()).collect())
}

/// Developers pull what they have a licence for, with skopeo against both registries.
#[test]
fn kloudless_end_to_end() {
    let api = HttpApi::start();
    let vendor = format!("users:\n  vendor: {{password: \"{}\"}}\n", hash(&password("vendor")));
    let rules = "  - match: {account: vendor}\n    actions: [\"*\"]\n";
    let file = example("kloudless.yml", "https://api.kloudless.com", &api, &vendor, rules);
    let bed = Bed::around(Dockwarden::start_file(&file), pair());
    for edition in Edition::ALL {
        let host = bed.registry(edition).host();
        let as_account = |account: &str, secret: &str| {
            let home = client::home();
            let login = ["login", "--tls-verify=false", "-u", account, "-p", secret, &host];
            (part::run(client::skopeo(&home).args(login)), home)
        };
        let layout = image::layout(&format!("kloudless-{edition:?}").to_lowercase());
        let local = format!("oci:{}:{TAG}", layout.directory.display());
        let push = |home: &std::path::Path, name: &str| {
            let place = format!("docker://{host}/{name}:1");
            part::run(client::skopeo(home).args(["copy", "--dest-tls-verify=false", &local, &place]))
        };
        let pull = |home: &std::path::Path, name: &str| {
            let place = format!("docker://{host}/{name}:1");
            part::run(client::skopeo(home).args(["inspect", "--raw", "--tls-verify=false", &place]))
        };
        let (said, home) = as_account("vendor", &password("vendor"));
        said.well();
        for channel in ["stable/app", "beta/app", "dev/app"] {
            push(&home, channel).well();
        }

        let (said, home) = as_account("dev@example.com", "beta-token");
        said.well();
        pull(&home, "beta/app").well();
        pull(&home, "stable/app").refused(&[DENIED, "unauthorized"]);
        pull(&home, "dev/app").refused(&[DENIED, "unauthorized"]);
        push(&home, "beta/app").refused(&[DENIED, "unauthorized"]);
        let (said, home) = as_account("dev@example.com", "both-token");
        said.well();
        pull(&home, "beta/app").well();
        pull(&home, "stable/app").well();

        // No token, and a good one under the name of a user of the file.
        as_account("dev@example.com", "no-token").0.refused(&REFUSED);
        as_account("vendor", "both-token").0.refused(&REFUSED);
    }
    let log = bed.dockwarden.whole_log();
    for secret in ["both-token", "beta-token", "no-token"] {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
}

#[test]
fn opendns_end_to_end_over_tls() {
    let chain = keys::for_localhost();
    let authority = chain.authority.clone();
    let api = HttpApi::start_tls(chain);
    let file = example("opendns.yml", "https://auth.example.com", &api, "", "");
    let text = std::fs::read_to_string(&file).unwrap();
    let start = |tls: &str| {
        let changed = text.replace("  headers:\n", &format!("{tls}  headers:\n"));
        std::fs::write(&file, changed).unwrap();
        Dockwarden::start_file(&file)
    };
    let server = start(&format!("  tls: {{ca_certificate: \"{}\"}}\n", authority.display()));
    let scope = "repository:app:pull,push";
    let all = (200, vec!["pull".to_owned(), "push".to_owned()]);
    assert_eq!(ask(&server.address, "testuser", "testpassword", scope), all);
    // Every character that Basic, forms and shells get wrong.
    assert_eq!(ask(&server.address, "carol", "p+w% ö&=1", scope), all);
    for (account, secret) in [("testuser", "wrong"), ("nobody", "testpassword"), ("testuser", "testpassword ")] {
        assert_eq!(ask(&server.address, account, secret, scope).0, 401, "{account}");
    }
    // A private authority that nobody told us about.
    let server = start("");
    assert_eq!(ask(&server.address, "testuser", "testpassword", scope).0, 503);
}

/// Who reads passwords is said by the configuration, and not by a variable that a machine sets for browsers.
#[test]
fn proxies_of_the_environment_are_ignored() {
    let api = HttpApi::start();
    let file = example("opendns.yml", "https://auth.example.com", &api, "", "");
    let mut serve = Command::new(dockwarden::program());
    serve.arg("serve").arg(&file).env_clear();
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        // Nobody listens there.
        serve.env(name, "http://127.0.0.1:1");
    }
    let process = Process::start("dockwarden", &serve);
    let address = dockwarden::address(&process, "listening");
    assert_eq!(ask(&address, "testuser", "testpassword", "repository:app:pull"), (200, vec!["pull".to_owned()]));
}

/// A server that asks the API at this address who somebody is and what they may do, and that knows `local` itself.
fn both_sections(address: &str) -> Dockwarden {
    let origin = format!("http://{address}");
    let sections = format!(
        "users:\n  local: {{password: \"{}\"}}\nhttp_auth: {{url: \"{origin}/\", headers: {{Authorization: \"Basic \
         ${{basic}}\"}}}}\nacl:\n  - match: {{account: local}}\n    actions: [\"*\"]\nhttp_authz: {{url: \"{origin}/may\"}}\n",
        hash("local")
    );
    Dockwarden::start(&dockwarden::config(pair(), "", &sections))
}

#[test]
fn the_api_decides_who_and_what() {
    let api = HttpApi::start();
    let server = both_sections(&api.address());
    let of = |scope: &str| ask(&server.address, "testuser", "testpassword", scope);
    assert_eq!(of("repository:open/app:pull,push"), (200, vec!["pull".to_owned()]));
    assert_eq!(of("repository:closed/app:pull"), (200, vec![]));
    assert_eq!(of("repository:next/app:pull"), (200, vec![]), "nobody is asked next");
    assert_eq!(ask(&server.address, "local", "local", "repository:x:push"), (200, vec!["push".to_owned()]));
    assert_eq!(ask(&server.address, "local", "wrong", "repository:x:push").0, 401);

    // What `check --connect` finds there, and what it says of an address that lets anybody in.
    let text = std::fs::read_to_string(&server.config).unwrap();
    let check = |text: &str| {
        let file = scratch::write(&scratch::directory("check"), "auth_config.yml", text);
        part::run(part::command_at(dockwarden::program()).args(["check", "--connect"]).arg(file))
    };
    let origin = api.origin();
    let well = check(&text).well();
    for line in [
        format!("http_auth: ok: {origin} answers (a question without credentials with 401); it took "),
        format!("http_authz: ok: {origin} answers (a question without credentials with 200); it took "),
    ] {
        assert!(well.stdout.contains(&line), "{}", well.text);
    }
    let wrong =
        check(&text.replace("/\", headers", "/may\", method: POST, body: '{\"name\": \"${account}\"}', headers"));
    let line = format!(
        "http_auth: failed: {origin} answers 200 to a question without credentials, which lets anybody in; is \
                        the url right?\n"
    );
    assert!(!wrong.success && wrong.stdout.contains(&line), "{}", wrong.text);
    api.kill();
    let gone = check(&text);
    let line = format!("http_auth: failed: {origin} cannot be asked: ");
    assert!(!gone.success && gone.stdout.contains(&line), "{}", gone.text);
    assert!(
        gone.stdout.contains("is the url right, does the API run, and may this machine connect to it?"),
        "{}",
        gone.text
    );
}

/// Whether an account exists takes us no time to say: what the API takes for it is its own matter.
#[test]
fn an_unknown_account_takes_as_long_as_a_wrong_password() {
    let api = HttpApi::start();
    let server = both_sections(&api.address());
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..400 {
        for (times, account) in times.iter_mut().zip(["testuser", "nobodyxx"]) {
            let began = Instant::now();
            assert_eq!(ask(&server.address, account, "wrong", "repository:open/app:pull").0, 401);
            times.push(began.elapsed());
        }
    }
    let [known, unknown] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    println!("wrong password {known:?}, unknown account {unknown:?}");
    // Far from what a hash takes, in either direction; the machine is busy with other tests.
    assert!(known.abs_diff(unknown) < Duration::from_millis(2), "{known:?} {unknown:?}");
}
