//! What the clients send, byte for byte as it was captured on the wire.
//!
//! Only the hosts are left as they were: a token server has no reason to look at them.

use std::sync::OnceLock;

use serde_json::Value;

use crate::support::dockwarden::{self, Dockwarden, ISSUER};
use crate::support::http::{self, Reply};
use crate::support::keys::{self, Kind, Pair};
use crate::support::visit::claims;

/// The rules that every request of this module is judged by.
const ACL: &str = r#"
acl:
  - match: {account: "alice", type: "registry", name: "catalog"}
    actions: ["*"]
  - match: {account: "alice", name: "foo/*"}
    actions: ["*"]
  - match: {account: "alice", name: "host.tld:5000/foo"}
    actions: ["pull"]
  - match: {account: "ali+ce", name: "foo/*"}
    actions: ["pull"]
  - match: {account: "?*", name: "src/img"}
    actions: ["pull"]
  - match: {account: "", name: "foo/bar"}
    actions: ["pull"]
"#;

/// What the server must answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// 200 and a token for this account with these entries, each `type:name:actions`; entries without an action are
    /// left out.
    Token(&'static str, &'static [&'static str]),
    /// An error with this status, and an OAuth `error` if one is given.
    Error(u16, Option<&'static str>),
}

use Outcome::{Error, Token};

/// Several servers that differ in their users or services.
pub(crate) struct Servers {
    /// `ali+ce` has the password of the docker capture; nobody may come without a name too.
    pub(crate) docker: Dockwarden,
    /// `ali+ce` has the password of the containerd capture.
    pub(crate) containerd: Dockwarden,
    /// No anonymous access, and two services.
    pub(crate) closed: Dockwarden,
    /// One service.
    pub(crate) single: Dockwarden,
}

/// The servers of this module and of `traps`, started by the first test that comes.
pub(crate) fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let pair = keys::as_in_the_guide(Kind::P256);
        let start = |pair: &Pair, token: &str, anonymous: &str, alice_plus: &str| {
            let users = format!(
                "users:\n  alice: {{password: \"{}\"}}\n  \"ali+ce\": {{password: \"{}\"}}\n{anonymous}",
                dockwarden::hash("pw"),
                dockwarden::hash(alice_plus)
            );
            Dockwarden::start(&dockwarden::config(pair, token, &(users + ACL)))
        };
        let nobody = "  \"\": {}\n";
        Servers {
            docker: start(&pair, "", nobody, "p+w:ö %"),
            containerd: start(&pair, "", nobody, "p w:ö%"),
            closed: start(&pair, "  services: [\"registry.test\", \"SVC\"]\n", "", "x"),
            single: start(&pair, "  services: [\"registry.test\"]\n", nobody, "x"),
        }
    })
}

/// A request as text: lines end in `\n` here and in `\r\n` on the wire, all but the body's.
pub(crate) fn raw(request: &str) -> Vec<u8> {
    let (head, body) = request.split_once("\n\n").unwrap_or((request.trim_end_matches('\n'), ""));
    let mut wire = head.replace('\n', "\r\n");
    wire.push_str("\r\n\r\n");
    wire.push_str(body);
    wire.into_bytes()
}

/// A GET of one of the captures of which only the target and the headers that matter were written down.
pub(crate) fn get(target: &str, headers: &str) -> Vec<u8> {
    raw(&format!("GET {target} HTTP/1.1\nHost: localhost:15000\nUser-Agent: replay\nAccept-Encoding: gzip\n{headers}"))
}

/// A form as the captures of which only the body was written down.
pub(crate) fn post(body: &str, headers: &str) -> Vec<u8> {
    raw(&format!(
        "POST /token HTTP/1.1\nHost: localhost:15000\nUser-Agent: replay\nContent-Length: {}\n{headers}\n\n{body}",
        body.len()
    ))
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// A form as most clients send it.
pub(crate) fn form(body: &str) -> Vec<u8> {
    post(body, FORM)
}

/// Sends a request and checks everything that must hold of any answer, then the outcome.
#[track_caller]
pub(crate) fn expect(server: &Dockwarden, what: &str, wire: &[u8], outcome: Outcome) -> Reply {
    let reply = http::exchange(&server.address, wire);
    let context = format!("{what}\n{}\n{reply:?}\n{}", String::from_utf8_lossy(wire), reply.text());
    let kind = reply.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/json"), "{context}");
    let body = reply.json();
    match outcome {
        Token(account, access) => {
            assert_eq!(reply.status, 200, "{context}");
            let token = body["token"].as_str().unwrap_or_else(|| panic!("{context}"));
            assert_eq!(body["access_token"], token, "{context}");
            assert!(body["expires_in"].as_i64().is_some_and(|seconds| seconds >= 60), "{context}");
            assert_instant(body["issued_at"].as_str().unwrap_or_default());
            assert_eq!(body.get("refresh_token"), None, "{context}");
            assert!(reply.header("x-decision-id").is_some_and(|id| !id.is_empty()), "{context}");
            assert!(reply.body.len() < 64 * 1024, "more than go-containerregistry reads: {}", reply.body.len());
            let claims = claims(token);
            assert_eq!(claims["sub"], account, "{context}");
            assert_eq!(claims["iss"], ISSUER, "{context}");
            assert!(claims["aud"].is_string(), "{context}");
            for time in ["exp", "nbf", "iat"] {
                assert!(claims[time].is_i64(), "{time} has no fraction: {context}");
            }
            let mut expected: Vec<String> = access.iter().map(|&entry| entry.to_owned()).collect();
            expected.sort();
            assert_eq!(entries(&claims), expected, "{context}");
        }
        Error(status, oauth) => {
            assert_eq!(reply.status, status, "{context}");
            let first = &body["errors"][0];
            assert!(first["code"].as_str().is_some_and(|code| !code.is_empty()), "{context}");
            assert!(first["message"].as_str().is_some_and(|message| !message.is_empty()), "{context}");
            if let Some(oauth) = oauth {
                assert_eq!(body["error"], oauth, "{context}");
            }
            assert_eq!(body.get("token"), None, "{context}");
            if status == 401 {
                let realm = format!("Basic realm=\"{ISSUER}\"");
                assert_eq!(reply.header("www-authenticate"), Some(realm.as_str()), "{context}");
            }
        }
    }
    server.process.keeps_secrets();
    reply
}

/// The access entries of a token as `type:name:actions`, sorted, without those that give nothing.
///
/// # Panics
/// If one resource has two entries.
pub(crate) fn entries(claims: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut resources = Vec::new();
    let mut entries = Vec::new();
    for entry in claims["access"].as_array().unwrap() {
        let resource = format!("{}:{}", text(&entry["type"]), text(&entry["name"]));
        assert!(!resources.contains(&resource), "two entries for {resource}: {claims}");
        let mut actions: Vec<String> = entry["actions"].as_array().unwrap().iter().map(text).collect();
        actions.sort();
        if !actions.is_empty() {
            entries.push(format!("{resource}:{}", actions.join(",")));
        }
        resources.push(resource);
    }
    entries.sort();
    entries
}

/// RFC 3339 in UTC, as Go's decoder demands it.
#[track_caller]
fn assert_instant(text: &str) {
    let shape: String = text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    let shape = match shape.split_once('.') {
        Some((seconds, fraction)) if fraction.trim_start_matches('0') == "Z" => format!("{seconds}Z"),
        _ => shape,
    };
    assert_eq!(shape, "0000-00-00T00:00:00Z", "{text}");
}

/// What alice may do on the repository of the captures.
pub(crate) const ALICE: &[&str] = &["repository:foo/bar:pull,push"];

#[test]
fn docker() {
    let server = &servers().docker;
    expect(
        server,
        "docker login",
        &raw("GET /token?account=ali%2Bce&client_id=docker&offline_token=true&service=registry.test HTTP/1.1
Host: localhost:15000
User-Agent: Docker-Client/28.2.2 (linux)
Authorization: Basic YWxpK2NlOnArdzrDtiAl
Accept-Encoding: gzip
Connection: close
"),
        Token("ali+ce", &[]),
    );
    expect(
        server,
        "dockerd push with a cross-repository mount",
        &get(
            "/token?account=alice&scope=repository%3Afoo%2Fbar%3Apush%2Cpull&scope=repository%3Asrc%2Fimg%3Apull&service=registry.test",
            "Authorization: Basic YWxpY2U6cHc=",
        ),
        Token("alice", &["repository:foo/bar:pull,push", "repository:src/img:pull"]),
    );
    expect(
        server,
        "dockerd with an identity token",
        &raw("POST /token HTTP/1.1
Host: localhost:15000
Content-Length: 159
Content-Type: application/x-www-form-urlencoded

client_id=docker&grant_type=refresh_token&refresh_token=REFRESH1&scope=repository%3Afoo%2Fbar%3Apush%2Cpull+repository%3Asrc%2Fimg%3Apull&service=registry.test"),
        Error(400, Some("unsupported_grant_type")),
    );
    let plugin = "/token?account=alice&scope=repository%28plugin%29%3Afoo%2Fplug%3Apull&service=registry.test";
    expect(
        server,
        "docker plugin",
        &get(plugin, "Authorization: Basic YWxpY2U6cHc="),
        Token("alice", &["repository:foo/plug:pull"]),
    );
    expect(server, "docker plugin, nobody", &get(plugin, ""), Token("", &[]));
}

#[test]
fn containerd() {
    let server = &servers().containerd;
    expect(
        server,
        "password in a form, the same repository twice",
        &raw("POST /token HTTP/1.1
Host: localhost:15000
User-Agent: containerd/2.3.4+unknown
Content-Length: 185
Content-Type: application/x-www-form-urlencoded; charset=utf-8

client_id=containerd-client&grant_type=password&password=p+w%3A%C3%B6%25&scope=repository%3Afoo%2Fbar%3Apull+repository%3Afoo%2Fbar%3Apull%2Cpush&service=registry.test&username=ali%2Bce"),
        Token("ali+ce", &["repository:foo/bar:pull"]),
    );
    let twice =
        "/token?scope=repository%3Afoo%2Fbar%3Apull&scope=repository%3Afoo%2Fbar%3Apull%2Cpush&service=registry.test";
    let header = "Authorization: Basic YWxpK2NlOnAgdzrDtiU=";
    expect(server, "the GET after a refused POST", &get(twice, header), Token("ali+ce", &["repository:foo/bar:pull"]));
    expect(server, "anonymous", &get(twice, ""), Token("", &["repository:foo/bar:pull"]));
    let mount = "client_id=containerd-client&grant_type=password&password=pw&scope=repository%3Afoo%2Fbar%3Apull%2Cpush+repository%3Asrc%2Fimg%3Apull&service=registry.test&username=alice";
    expect(server, "mount", &form(mount), Token("alice", &["repository:foo/bar:pull,push", "repository:src/img:pull"]));
    let offline = "access_type=offline&client_id=containerd-client&grant_type=password&password=pw&scope=repository%3Afoo%2Fbar%3Apull&service=registry.test&username=alice";
    expect(server, "offline", &form(offline), Token("alice", &["repository:foo/bar:pull"]));
    let identity = "client_id=containerd-client&grant_type=refresh_token&refresh_token=REFRESH1&scope=repository%3Afoo%2Fbar%3Apull&service=registry.test";
    expect(server, "identity token", &form(identity), Error(400, Some("unsupported_grant_type")));
    expect(
        server,
        "identity token as a password without a name: never anonymous",
        &get("/token?scope=repository%3Afoo%2Fbar%3Apull&service=registry.test", "Authorization: Basic OlJFRlJFU0gx"),
        Error(401, None),
    );
}

#[test]
fn skopeo() {
    let server = &servers().docker;
    let alice = "Authorization: Basic YWxpY2U6cHc=\nConnection: close";
    let login = get("/token?account=ali%2Bce&service=registry.test", "Authorization: Basic YWxpK2NlOnArdzrDtiAl");
    expect(server, "login", &login, Token("ali+ce", &[]));
    for (scope, access) in [
        ("repository%3Afoo%2Fbar%3Apull", &["repository:foo/bar:pull"][..]),
        ("repository%3Afoo%2Fbar%3Apull%2Cpush", ALICE),
        // Delete.
        ("repository%3Afoo%2Fbar%3A%2A", &["repository:foo/bar:*"]),
    ] {
        let target = format!("/token?account=alice&scope={scope}&service=registry.test");
        expect(server, "pull, push, delete", &get(&target, alice), Token("alice", access));
    }
    let anonymous = get("/token?scope=repository%3Afoo%2Fbar%3Apull&service=registry.test", "");
    expect(server, "anonymous", &anonymous, Token("", &["repository:foo/bar:pull"]));
    let body = "client_id=containers%2Fimage&grant_type=refresh_token&refresh_token=REFRESH1&scope=repository%3Afoo%2Fbar%3Apull%2Cpush&scope=repository%3Asrc%2Fimg%3Apull&service=registry.test";
    expect(server, "identity token, chunked", &chunked(body), Error(400, Some("unsupported_grant_type")));
}

/// A form in two chunks, without a length.
pub(crate) fn chunked(body: &str) -> Vec<u8> {
    let (first, second) = body.split_at(body.len() / 3);
    let head = format!(
        "POST /token HTTP/1.1\nHost: localhost:15000\nUser-Agent: skopeo/1.9.3\nTransfer-Encoding: chunked\n{FORM}"
    );
    let mut wire = raw(&head);
    for chunk in [first, second] {
        wire.extend_from_slice(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes());
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

#[test]
fn crane() {
    let server = &servers().docker;
    for (scope, access) in [
        ("repository%3Afoo%2Fbar%3Apull", &["repository:foo/bar:pull"][..]),
        ("registry%3Acatalog%3A%2A", &["registry:catalog:*"]),
        ("repository%3Afoo%2Fbar%3Apush%2Cpull", ALICE),
        ("repository%3Afoo%2Fbar%3Apush%2Cpull%2Cdelete", &["repository:foo/bar:delete,pull,push"]),
        // One parameter with two scopes, after a mount's challenge.
        (
            "repository%3Afoo%2Fbar%3Apull%2Cpush+repository%3Asrc%2Fimg%3Apull",
            &["repository:foo/bar:pull,push", "repository:src/img:pull"],
        ),
    ] {
        let target = format!("/token?scope={scope}&service=registry.test");
        expect(
            server,
            "ls, catalog, push, delete",
            &get(&target, "Authorization: Basic YWxpY2U6cHc="),
            Token("alice", access),
        );
    }
    let identity = "client_id=go-containerregistry&grant_type=refresh_token&refresh_token=REFRESH1&scope=repository%3Afoo%2Fbar%3Apull&service=registry.test";
    expect(server, "identity token", &form(identity), Error(400, Some("unsupported_grant_type")));
}

#[test]
fn conformance_helm_regctl_and_buildx() {
    let server = &servers().docker;
    expect(
        server,
        "conformance, anonymous",
        &get(
            "/token?scope=repository%3Aconformance%2Frepo1%3Apull&service=SVC",
            "Accept: application/json\nAuthorization: Basic Og==",
        ),
        Token("", &[]),
    );
    let helm = "client_id=oras-go&grant_type=password&password=pw&service=SVC&username=alice";
    expect(server, "helm login", &form(helm), Token("alice", &[]));
    let regctl = "/token?account=alice&client_id=regclient&scope=repository%3Afoo%2Fbar%3Apull&service=SVC";
    expect(
        server,
        "regctl",
        &get(regctl, "Authorization: Basic YWxpY2U6cHc="),
        Token("alice", &["repository:foo/bar:pull"]),
    );
    let buildx = "client_id=buildkit-client&grant_type=password&password=pw&scope=repository%3Afoo%2Fbar%3Apull%2Cpush&service=SVC&username=alice";
    expect(server, "buildx", &form(buildx), Token("alice", ALICE));
}
