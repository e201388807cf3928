//! What the clients send, byte for byte as it was captured on the wire, and the traps that clients and people set.
//!
//! Only the hosts are left as they were: a token server has no reason to look at them.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::support::dockwarden::{self, Dockwarden, ISSUER};
use crate::support::http::{self, Reply};
use crate::support::keys::{self, Kind, Pair};
use crate::support::visit::{basic, claims};

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
enum Outcome {
    /// 200 and a token for this account with these entries, each `type:name:actions`; entries without an action are
    /// left out.
    Token(&'static str, &'static [&'static str]),
    /// An error with this status, and an OAuth `error` if one is given.
    Error(u16, Option<&'static str>),
}

use Outcome::{Error, Token};

/// Several servers that differ in their users or services.
struct Servers {
    /// `ali+ce` has the password of the docker capture; nobody may come without a name too.
    docker: Dockwarden,
    /// `ali+ce` has the password of the containerd capture.
    containerd: Dockwarden,
    /// No anonymous access, and two services.
    closed: Dockwarden,
    /// One service.
    single: Dockwarden,
}

fn servers() -> &'static Servers {
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
fn raw(request: &str) -> Vec<u8> {
    let (head, body) = request.split_once("\n\n").unwrap_or((request.trim_end_matches('\n'), ""));
    let mut wire = head.replace('\n', "\r\n");
    wire.push_str("\r\n\r\n");
    wire.push_str(body);
    wire.into_bytes()
}

/// A GET of one of the captures of which only the target and the headers that matter were written down.
fn get(target: &str, headers: &str) -> Vec<u8> {
    raw(&format!("GET {target} HTTP/1.1\nHost: localhost:15000\nUser-Agent: replay\nAccept-Encoding: gzip\n{headers}"))
}

/// A form as the captures of which only the body was written down.
fn post(body: &str, headers: &str) -> Vec<u8> {
    raw(&format!(
        "POST /token HTTP/1.1\nHost: localhost:15000\nUser-Agent: replay\nContent-Length: {}\n{headers}\n\n{body}",
        body.len()
    ))
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

fn form(body: &str) -> Vec<u8> {
    post(body, FORM)
}

/// Sends a request and checks everything that must hold of any answer, then the outcome.
#[track_caller]
fn expect(server: &Dockwarden, what: &str, wire: &[u8], outcome: Outcome) -> Reply {
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
    reply
}

/// The access entries of a token as `type:name:actions`, sorted, without those that give nothing.
///
/// # Panics
/// If one resource has two entries.
fn entries(claims: &Value) -> Vec<String> {
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
const ALICE: &[&str] = &["repository:foo/bar:pull,push"];

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
        ("repository%3Afoo%2Fbar%3A%2A", &["repository:foo/bar:delete,pull,push"]),
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
fn chunked(body: &str) -> Vec<u8> {
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

/// A GET with these raw scope parameters, as alice.
fn alice(query: &str) -> Vec<u8> {
    get(&format!("/token?service=registry.test{query}"), "Authorization: Basic YWxpY2U6cHc=")
}

#[test]
fn trap_scopes() {
    let server = &servers().docker;
    let bar: &[&str] = ALICE;
    for (what, query, access) in [
        ("twice, in another order", "&scope=repository:foo/bar:pull,push&scope=repository:foo/bar:push,pull", bar),
        ("twice, one action each", "&scope=repository:foo/bar:pull&scope=repository:foo/bar:push", bar),
        ("two in one by plus", "&scope=repository:foo/bar:push+repository:foo/bar:pull", bar),
        ("two in one by %20", "&scope=repository:foo/bar:push%20repository:foo/bar:pull", bar),
        ("spaces around", "&scope=+repository:foo/bar:push,pull++", bar),
        ("an empty one first", "&scope=&scope=repository:foo/bar:push,pull", bar),
        ("no colon", "&scope=foo&scope=repository:foo/bar:push,pull", bar),
        ("one colon", "&scope=repository:x&scope=repository:foo/bar:push,pull", bar),
        ("only colons", "&scope=::&scope=repository:foo/bar:push,pull", bar),
        ("a space in the name", "&scope=repository:A%20B:pull&scope=repository:foo/bar:push,pull", bar),
        (
            "a host and port in the name",
            "&scope=repository:host.tld:5000/foo:pull",
            &["repository:host.tld:5000/foo:pull"],
        ),
        ("every action", "&scope=repository:foo/bar:*", &["repository:foo/bar:delete,pull,push"]),
        ("every action where one is allowed", "&scope=repository:src/img:*", &["repository:src/img:pull"]),
        ("an empty action", "&scope=repository:foo/bar:pull,,push", bar),
        ("no action", "&scope=repository:foo/bar:", &[]),
        ("an action in capitals", "&scope=repository:foo/bar:PULL", &[]),
        ("an unknown action", "&scope=repository:foo/bar:pull,push,admin", bar),
        ("a class", "&scope=repository(plugin):foo/bar:pull", &["repository:foo/bar:pull"]),
        ("a name in capitals", "&scope=repository:FOO/bar:pull", &[]),
        ("a type in capitals", "&scope=Repository:foo/bar:pull", &[]),
        ("up and down again", "&scope=repository:foo/../src/img:pull", &[]),
        ("up, encoded twice", "&scope=repository:foo/%252e%252e/src/img:pull", &[]),
        ("a slash at the front", "&scope=repository:/foo/bar:pull", &[]),
        ("more parameters of a realm", "&tenant=a&scope=repository:foo/bar:push,pull", bar),
    ] {
        expect(server, what, &alice(query), Token("alice", access));
    }
}

#[test]
fn trap_three_hundred_scopes() {
    use std::fmt::Write as _;
    let server = &servers().docker;
    let mut query = String::new();
    for number in 0..300 {
        write!(query, "&scope=repository%3Afoo%2Fx{number}%3Apull%2Cpush").unwrap();
    }
    let reply = http::exchange(&server.address, &alice(&query));
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert!(reply.body.len() < 64 * 1024, "{} bytes", reply.body.len());
    let entries = entries(&claims(reply.json()["token"].as_str().unwrap()));
    assert!(entries.len() >= 100, "{}", entries.len());
    assert!(entries.contains(&"repository:foo/x0:pull,push".to_owned()), "the tail may be ignored, not the head");
}

#[test]
fn trap_services() {
    let servers = servers();
    let ask = |server: &Dockwarden, query: &str, outcome: Outcome| {
        let wire = get(&format!("/auth{query}"), "Authorization: Basic YWxpY2U6cHc=");
        expect(server, query, &wire, outcome)
    };
    ask(&servers.docker, "", Error(400, None));
    ask(&servers.docker, "?service=", Error(400, None));
    expect(&servers.docker, "POST", &form("grant_type=password&username=alice&password=pw"), Error(400, None));
    ask(&servers.docker, "?service=any", Token("alice", &[]));
    ask(&servers.closed, "?service=SVC", Token("alice", &[]));
    ask(&servers.closed, "?service=elsewhere", Error(400, None));
    ask(&servers.closed, "", Error(400, None));
    ask(&servers.single, "?service=elsewhere", Error(400, None));
    let reply = ask(&servers.single, "?service=registry.test", Token("alice", &[]));
    assert_eq!(claims(reply.json()["token"].as_str().unwrap())["aud"], "registry.test");
}

#[test]
fn trap_credentials() {
    let server = &servers().docker;
    let bar = "scope=repository:foo/bar:push,pull&service=registry.test";
    let plain = format!("/token?{bar}");
    let other = format!("/token?account=ali%2Bce&{bar}");
    let nobody = Token("", &["repository:foo/bar:pull"]);
    for (what, target, authorization, outcome) in [
        ("account is a hint only", &other, "Basic YWxpY2U6cHc=", Token("alice", ALICE)),
        ("an account without a password is nobody", &other, "", nobody),
        ("a colon alone is nobody", &plain, "Basic Og==", nobody),
        ("a name without a password", &plain, "Basic dXNlcjo=", Error(401, None)),
        ("a known name without a password", &plain, "Basic YWxpY2U6", Error(401, None)),
        ("not base64", &plain, "Basic !!!", Error(401, None)),
        ("no colon", &plain, "Basic YWxpY2U=", Error(401, None)),
        ("nothing after Basic is nobody", &plain, "Basic", nobody),
        ("a bearer token", &plain, "Bearer x", Error(401, None)),
        ("a password without a name", &plain, "Basic OlJFRlJFU0gx", Error(401, None)),
        ("a wrong password", &plain, "Basic YWxpY2U6d3Jvbmc=", Error(401, None)),
        ("scheme in small letters", &plain, "basic YWxpY2U6cHc=", Token("alice", ALICE)),
    ] {
        let header = if authorization.is_empty() { String::new() } else { format!("Authorization: {authorization}") };
        expect(server, what, &get(target, &header), outcome);
    }
    let refresh = format!("Authorization: {}", basic("<token>", "REFRESH1"));
    expect(server, "a refresh token by hand", &get(&plain, &refresh), Error(401, None));
    let two = format!("{plain}&again=1");
    let header = "Authorization: Basic YWxpY2U6cHc=\nAuthorization: Basic YWxpY2U6d3Jvbmc=";
    let reply = http::exchange(&server.address, &get(&two, header));
    assert!(matches!(reply.status, 400 | 401), "two different Authorization lines: {reply:?}");
}

#[test]
fn trap_forms() {
    let server = &servers().docker;
    let good =
        "grant_type=password&username=alice&password=pw&scope=repository:foo/bar:pull,push&service=registry.test";
    let token = Token("alice", ALICE);
    let unsupported = Error(400, Some("unsupported_grant_type"));
    expect(server, "chunked", &chunked(good), token);
    for (what, header, outcome) in [
        ("with a charset", "Content-Type: application/x-www-form-urlencoded; charset=utf-8", token),
        ("in capitals", "Content-Type: Application/X-WWW-Form-Urlencoded", token),
        ("no type", "Accept: */*", Error(415, None)),
        ("JSON by its type", "Content-Type: application/json", Error(415, None)),
        ("multipart", "Content-Type: multipart/form-data; boundary=x", Error(415, None)),
        (
            "the same credentials in the header",
            "Content-Type: application/x-www-form-urlencoded\nAuthorization: Basic YWxpY2U6cHc=",
            token,
        ),
        (
            "another password in the header",
            "Content-Type: application/x-www-form-urlencoded\nAuthorization: Basic YWxpY2U6d3Jvbmc=",
            Error(400, None),
        ),
        (
            "another name in the header",
            "Content-Type: application/x-www-form-urlencoded\nAuthorization: Basic Ym9iOnB3",
            Error(400, None),
        ),
    ] {
        expect(server, what, &post(good, header), outcome);
    }
    let json = json!({"grant_type": "password", "username": "alice", "password": "pw", "service": "SVC"}).to_string();
    expect(server, "JSON", &post(&json, "Content-Type: application/json"), Error(415, None));
    for (what, body, outcome) in [
        ("no grant type", "username=alice&password=pw&service=SVC", unsupported),
        ("another grant type", "grant_type=authorization_code&code=x&service=SVC", unsupported),
        ("a refresh token", "grant_type=refresh_token&refresh_token=x&service=SVC", unsupported),
        ("a wrong password", "grant_type=password&username=alice&password=no&service=SVC", Error(401, None)),
        (
            "the name in the form decides, not the account",
            "grant_type=password&username=alice&account=ali%2Bce&password=pw&service=SVC",
            Token("alice", &[]),
        ),
        (
            "scopes repeated and joined",
            "grant_type=password&username=alice&password=pw&service=SVC&scope=repository:foo/bar:pull+repository:src/img:pull&scope=repository:foo/bar:push",
            Token("alice", &["repository:foo/bar:pull,push", "repository:src/img:pull"]),
        ),
    ] {
        expect(server, what, &form(body), outcome);
    }
    let empty = http::exchange(&server.address, &form("grant_type=password&username=alice&password=&service=SVC"));
    assert!(matches!(empty.status, 400 | 401), "a name with an empty password is never anonymous: {empty:?}");
}

#[test]
fn trap_methods_and_paths() {
    let server = &servers().docker;
    for method in ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"] {
        let wire = raw(&format!("{method} /token?service=SVC HTTP/1.1\nHost: localhost\nContent-Length: 0"));
        let reply = http::exchange(&server.address, &wire);
        assert_eq!(reply.status, 405, "{method}: {reply:?}");
        let mut allowed: Vec<&str> = reply.header("allow").unwrap_or_default().split(',').map(str::trim).collect();
        allowed.sort_unstable();
        assert_eq!(allowed, ["GET", "POST"], "{method}");
    }
    for path in ["/auth", "/auth/", "/auth/token", "/auth/token/", "/token"] {
        let target = format!("{path}?service=SVC&scope=repository:foo/bar:pull,push");
        expect(server, path, &get(&target, "Authorization: Basic YWxpY2U6cHc="), Token("alice", ALICE));
        let body = "grant_type=password&username=alice&password=pw&service=SVC";
        let wire = http::request(
            "POST",
            path,
            "localhost",
            &[("Content-Type", "application/x-www-form-urlencoded")],
            body.as_bytes(),
        );
        expect(server, path, &wire, Token("alice", &[]));
    }
}

#[test]
fn trap_nobody() {
    let servers = servers();
    let target = "/token?service=SVC&scope=repository:foo/bar:pull&scope=repository:secret:pull";
    expect(&servers.docker, "nobody, where that is allowed", &get(target, ""), Token("", &["repository:foo/bar:pull"]));
    let nothing = "/token?service=SVC&scope=repository:secret:pull";
    expect(&servers.docker, "nobody without rights", &get(nothing, ""), Token("", &[]));
    for header in ["", "Authorization: Basic Og=="] {
        expect(&servers.closed, "nobody, where that is not allowed", &get(target, header), Error(401, None));
    }
}
