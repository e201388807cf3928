//! The traps that clients and people set: scopes, services, credentials and forms as they should not be.

use serde_json::json;

use crate::replay::Outcome::{self, Error, Token};
use crate::replay::{ALICE, chunked, entries, expect, form, get, post, raw, servers};
use crate::support::dockwarden::Dockwarden;
use crate::support::http;
use crate::support::visit::{basic, claims};

/// A GET with these raw scope parameters, as alice.
fn alice(query: &str) -> Vec<u8> {
    get(&format!("/token?service=registry.test{query}"), "Authorization: Basic YWxpY2U6cHc=")
}

#[test]
fn scopes() {
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
        ("every action", "&scope=repository:foo/bar:*", &["repository:foo/bar:*"]),
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
fn three_hundred_scopes() {
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
fn services() {
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
fn credentials() {
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
fn forms() {
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
fn methods_and_paths() {
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
fn nobody() {
    let servers = servers();
    let target = "/token?service=SVC&scope=repository:foo/bar:pull&scope=repository:secret:pull";
    expect(&servers.docker, "nobody, where that is allowed", &get(target, ""), Token("", &["repository:foo/bar:pull"]));
    let nothing = "/token?service=SVC&scope=repository:secret:pull";
    expect(&servers.docker, "nobody without rights", &get(nothing, ""), Token("", &[]));
    for header in ["", "Authorization: Basic Og=="] {
        expect(&servers.closed, "nobody, where that is not allowed", &get(target, header), Error(401, None));
    }
}
