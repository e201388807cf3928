//! A Go plugin of docker_auth's behind the example that serves it: what it says about logins and rights is what counts.

use std::path::Path;
use std::process::Command;

use crate::http_api::ask;
use crate::support::dockwarden::{self, Dockwarden};
use crate::support::keys::{self, Kind};
use crate::support::process::Process;
use crate::support::scratch;

#[test]
fn a_go_plugin_lets_in_and_grants_over_http() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/go-plugin");
    let folder = scratch::directory("go-plugin");
    let program = folder.join("go-plugin");
    let built =
        Command::new("go").args(["build", "-trimpath", "-o"]).arg(&program).arg(".").current_dir(&example).output();
    let built = built.unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let mut serve = Command::new(&program);
    serve.env_clear().arg("127.0.0.1:0");
    let plugin = Process::start("go-plugin", &serve);
    let address = plugin.until("the line that tells its address", |process| {
        let log = process.log();
        Some(log.split_once("Listening on ")?.1.lines().next()?.trim().to_owned())
    });
    let pair = keys::as_in_the_guide(Kind::P256);
    let mut text = std::fs::read_to_string(example.join("dockwarden.yml")).unwrap();
    for (from, to) in [
        ("127.0.0.1:5002", address.as_str()),
        ("addr: \":5001\"", "addr: \"127.0.0.1:0\""),
        ("issuer: Acme,", &format!("issuer: {},", dockwarden::ISSUER)),
        ("certificate: token.crt", &format!("certificate: {}", pair.certificate.display())),
        ("key: token.key, generate: true", &format!("key: {}", pair.key.display())),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let server = Dockwarden::start_file(&scratch::write(&folder, "dockwarden.yml", &text));
    let may = |account: &str, password: &str, scope: &str| {
        let (status, granted) = ask(&server.address, account, password, scope);
        (status, granted.join(","))
    };
    let granted = |actions: &str| (200, actions.to_owned());
    assert_eq!(may("alice", "secret of alice", "repository:web/app:pull,push"), granted("pull,push"));
    assert_eq!(may("alice", "secret of alice", "repository:db/app:pull"), granted(""));
    assert_eq!(may("bob", "secret of bob", "repository:db/app:pull"), granted("pull"));
    // NoMatch: somebody else would be asked, and there is nobody.
    assert_eq!(may("alice", "secret of alice", "registry:catalog:*"), granted(""));
    for (account, password) in [("alice", "secret of bob"), ("carol", "secret of alice"), ("", "secret of alice")] {
        assert_eq!(may(account, password, "repository:web/app:pull").0, 401, "{account}");
    }
    drop(plugin);
    assert_eq!(may("alice", "secret of alice", "repository:web/app:pull").0, 503);
}
