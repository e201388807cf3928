//! Dockwarden as the gateway to registries that know nothing of its tokens.

use std::path::PathBuf;

use super::dockwarden::{self, Dockwarden, SERVICE};
use super::keys::{self, Kind};
use super::{part, port, scratch};

/// Our account at the registries, and its password.
pub(crate) const INSIDE: (&str, &str) = ("gateway", "in:si de");

/// Who may what: alice has `team/*`, bob reads it, everybody who logs in reads `public/*`, and boss has everything.
const RULES: &str = r#"
acl:
  - match: {account: boss}
    actions: ["*"]
  - match: {account: alice, name: "team/*"}
    actions: ["*"]
  - match: {account: bob, name: "team/*"}
    actions: [pull]
  - match: {account: "/.+/", name: "public/*"}
    actions: [pull]
  - match: {account: "/.+/", type: registry, name: catalog}
    actions: ["*"]
"#;

/// How clients log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer,
}

/// A file with our account, for a registry.
pub(crate) fn inside() -> PathBuf {
    let directory = scratch::directory("htpasswd");
    let hash = dockwarden::hash(INSIDE.1);
    scratch::write(&directory, "htpasswd", &format!("{}:{hash}\n", INSIDE.0))
}

/// What a registry with that file needs in its upstream.
pub(crate) fn login() -> String {
    format!("auth: {{basic: {{username: {}, password: \"{}\"}}}}", INSIDE.0, INSIDE.1)
}

/// The config of a gateway to these upstreams, each the inside of a YAML map.
pub(crate) fn config(challenge: Challenge, upstreams: &[String]) -> String {
    let pair = keys::as_in_the_guide(Kind::P256);
    let people = dockwarden::users(&[("alice", "{}"), ("bob", "{}"), ("boss", "{}")]);
    // Nobody else uses these ports, so that it can be told before the start.
    let port = port::hold().local_addr().unwrap().port();
    let login = match challenge {
        Challenge::Basic => String::new(),
        Challenge::Bearer => format!("  challenge: bearer\n  realm: http://localhost:{port}/auth\n"),
    };
    let upstreams: String = upstreams.iter().map(|upstream| format!("    - {{{upstream}}}\n")).collect();
    let policy = format!("{people}{RULES}gateway:\n  service: {SERVICE}\n{login}  upstreams:\n{upstreams}");
    dockwarden::config(&pair, "", &policy).replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))
}

/// Starts a gateway.
pub(crate) fn start(challenge: Challenge, upstreams: &[String]) -> Dockwarden {
    Dockwarden::start(&config(challenge, upstreams))
}

/// The digest of so many zero bytes, by a program that is not ours.
pub(crate) fn digest_of_zeros(bytes: u64) -> String {
    let said = part::run(part::client("sh").args(["-c", &format!("head -c {bytes} /dev/zero | sha256sum")])).well();
    format!("sha256:{}", said.stdout.split_whitespace().next().unwrap())
}
