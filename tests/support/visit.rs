//! The token flow step by step in raw HTTP: ask the registry, read its challenge, fetch the token, ask again.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::dockwarden::password;
use super::http::{self, Reply};
use super::registry::Registry;

/// Media type of the manifests that the tests put.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What a registry asks for in its 401.
#[derive(Clone, Debug)]
pub(crate) struct Challenge {
    /// The token endpoint, a URL.
    pub(crate) realm: String,
    /// The audience.
    pub(crate) service: String,
    /// The scopes, separated by spaces; empty for `/v2/` itself.
    pub(crate) scope: String,
    /// `insufficient_scope`, `invalid_token`, or empty.
    pub(crate) error: String,
}

/// Reads a Bearer challenge.
///
/// # Panics
/// If the reply has none.
#[track_caller]
pub(crate) fn challenge(reply: &Reply) -> Challenge {
    let line = reply.header("www-authenticate").unwrap_or_else(|| panic!("no challenge: {reply:?}"));
    let pairs = line.strip_prefix("Bearer ").unwrap();
    let value = |name: &str| {
        let start = format!("{name}=\"");
        let rest = pairs.split_once(&start).map(|(_, rest)| rest).unwrap_or_default();
        rest.split('"').next().unwrap_or_default().to_owned()
    };
    Challenge { realm: value("realm"), service: value("service"), scope: value("scope"), error: value("error") }
}

/// The value of a Basic header.
pub(crate) fn basic(account: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{account}:{password}")))
}

/// The claims of a token, read without any check.
pub(crate) fn claims(token: &str) -> Value {
    segment(token, 1)
}

/// The header of a token, read without any check.
pub(crate) fn header(token: &str) -> Value {
    segment(token, 0)
}

fn segment(token: &str, number: usize) -> Value {
    let text = token.split('.').nth(number).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// The reply of the token endpoint to a GET with these scopes, by an account with its own password (or by nobody, if
/// `account` is empty).
#[track_caller]
pub(crate) fn ask_realm(realm: &str, service: &str, account: &str, scopes: &[&str]) -> Reply {
    let (host, path) = realm.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut target = format!("/{path}?service={}", http::form_encode(service));
    for scope in scopes {
        target.push_str("&scope=");
        target.push_str(&http::form_encode(scope));
    }
    let authorization = basic(account, &password(account));
    let headers: &[(&str, &str)] = if account.is_empty() { &[] } else { &[("Authorization", &authorization)] };
    let address = host.replace("localhost", "127.0.0.1");
    http::exchange(&address, &http::request("GET", &target, host, headers, b""))
}

/// The token for these scopes.
///
/// # Panics
/// If the token endpoint gives none.
#[track_caller]
pub(crate) fn token(realm: &str, service: &str, account: &str, scopes: &[&str]) -> String {
    let reply = ask_realm(realm, service, account, scopes);
    assert_eq!(reply.status, 200, "{account} asks for {scopes:?}: {}", reply.text());
    reply.json().get("token").and_then(Value::as_str).unwrap().to_owned()
}

/// One request to a registry through the whole flow.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// What the registry said to the request with the token.
    pub(crate) reply: Reply,
    /// What it had asked for.
    pub(crate) challenge: Challenge,
    /// What the token endpoint gave.
    pub(crate) token: String,
}

/// Sends a request as `account`, through challenge and token.
#[track_caller]
pub(crate) fn visit(registry: &Registry, account: &str, method: &str, target: &str, body: &[u8]) -> Visit {
    let first = call(registry, None, method, target, body);
    assert_eq!(first.status, 401, "{method} {target} without a token: {}", first.text());
    let challenge = challenge(&first);
    let scopes: Vec<&str> = challenge.scope.split(' ').filter(|scope| !scope.is_empty()).collect();
    let token = token(&challenge.realm, &challenge.service, account, &scopes);
    let reply = call(registry, Some(&token), method, target, body);
    Visit { reply, challenge, token }
}

/// One request to the registry, with a token or without.
#[track_caller]
pub(crate) fn call(registry: &Registry, token: Option<&str>, method: &str, target: &str, body: &[u8]) -> Reply {
    let authorization = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![("Accept", MANIFEST)];
    if let Some(authorization) = &authorization {
        headers.push(("Authorization", authorization));
    }
    if method == "PUT" {
        headers
            .push(("Content-Type", if target.contains("/manifests/") { MANIFEST } else { "application/octet-stream" }));
    }
    http::exchange(&registry.address(), &http::request(method, target, &registry.host(), &headers, body))
}

/// `sha256:…` of some bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = "sha256:".to_owned();
    for byte in aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref() {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// Puts a blob with a token that may push.
#[track_caller]
pub(crate) fn put_blob(registry: &Registry, token: &str, repository: &str, blob: &[u8]) {
    let started = call(registry, Some(token), "POST", &format!("/v2/{repository}/blobs/uploads/"), b"");
    assert_eq!(started.status, 202, "{}", started.text());
    let location = started.header("location").unwrap();
    let path = location.find("/v2/").map(|start| &location[start..]).unwrap();
    let separator = if path.contains('?') { '&' } else { '?' };
    let target = format!("{path}{separator}digest={}", form_digest(blob));
    let done = call(registry, Some(token), "PUT", &target, blob);
    assert_eq!(done.status, 201, "{}", done.text());
}

fn form_digest(blob: &[u8]) -> String {
    http::form_encode(&digest(blob))
}

/// A manifest whose config and only layer are `blob`; `marker` makes its digest its own.
pub(crate) fn manifest(blob: &[u8], marker: &str) -> Vec<u8> {
    let part =
        json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(blob), "size": blob.len()});
    json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": part, "layers": [], "annotations": {"marker": marker},
    })
    .to_string()
    .into_bytes()
}

/// Puts a manifest under a tag with a token that may push.
#[track_caller]
pub(crate) fn put_manifest(registry: &Registry, token: &str, repository: &str, tag: &str, manifest: &[u8]) {
    let done = call(registry, Some(token), "PUT", &format!("/v2/{repository}/manifests/{tag}"), manifest);
    assert_eq!(done.status, 201, "{}", done.text());
}
