//! Lines of the log that a client would like to write: whatever it sends, each request has its own line, and each line is one.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{config, pair};
use crate::support::dockwarden::{Dockwarden, SERVICE};
use crate::support::http::{self, Connection, Reply};

/// The longest text that a field of a line may hold, in bytes.
const MAX_FIELD: usize = 1024;

/// What would end a line, forge one, or move the cursor of whoever looks at it; what is no text at all; and what is long.
fn values() -> Vec<Vec<u8>> {
    let line =
        "{\"level\":\"INFO\",\"message\":\"decided\",\"decision.outcome\":\"granted\",\"user.account\":\"root\"}";
    let mut values: Vec<Vec<u8>> = [
        "x\r\ny".to_owned(),
        format!("x\n{line}\n"),
        format!("x\",{}", &line[1..]),
        "\x1b[2J\x1b]0;title\x07".to_owned(),
        "x\x07".to_owned(),
        "\"".to_owned(),
        "\\".to_owned(),
        "\\\",\\u001b\\n".to_owned(),
        "x\u{2028}y\u{2029}z".to_owned(),
        "x\u{85}y\u{9b}2J".to_owned(),
        "x\0y".to_owned(),
        "x\u{202e}y\u{200b}z".to_owned(),
        "%0a%1b%00%u2028".to_owned(),
        "\\".repeat(250),
        "\u{2028}".repeat(80),
        "a".repeat(255),
        "\"".repeat(8 * 1024),
        "a".repeat(64 * 1024),
    ]
    .map(String::into_bytes)
    .into();
    values.extend([vec![0xff, 0xfe, b'x'], vec![b'x', 0xc3], vec![0xed, 0xa0, 0x80]]);
    values
}

fn percent(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

/// As a header may hold it: where it forbids a byte, that byte is written as in an address.
fn in_header(bytes: &[u8]) -> Vec<u8> {
    let write = |byte: &u8| match byte {
        0..=31 | 127 => percent(&[*byte]).into_bytes(),
        other => vec![*other],
    };
    bytes.iter().flat_map(write).collect()
}

/// A request with a header line that may be no text.
fn with(target: &str, name: &str, value: &[u8]) -> Vec<u8> {
    let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{name}: ");
    [head.as_bytes(), value, b"\r\n\r\n"].concat()
}

/// The value in every place of a request that has something to do with the log.
fn requests(value: &[u8]) -> Vec<Vec<u8>> {
    let service = http::form_encode(SERVICE);
    let asked = format!("/auth?service={service}&scope=repository:open:pull");
    let get = |target: &str| http::request("GET", target, "localhost", &[], b"");
    let (encoded, header) = (percent(value), in_header(value));
    let basic = |pair: &[u8]| with(&asked, "Authorization", format!("Basic {}", STANDARD.encode(pair)).as_bytes());
    let form = format!("grant_type=password&service={service}&username={encoded}&password=wrong");
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let proxied = |uri: &[u8]| with("/forward_auth", "X-Original-Method: GET\r\nX-Original-URI", uri);
    vec![
        basic(&[value, b":wrong"].concat()),
        basic(value),
        with(&asked, "Authorization", &header),
        http::request("POST", "/auth", "localhost", &kind, form.as_bytes()),
        with(&asked, "User-Agent", &header),
        with(&asked, "X-Forwarded-For", &header),
        with(&asked, "X-Forwarded-For", &[&header[..], b", 192.0.2.1"].concat()),
        get(&format!("/auth?service={encoded}&scope=repository:open:pull")),
        get(&format!("/auth?service={service}&account={encoded}")),
        get(&format!("/auth?service={service}&scope={encoded}")),
        get(&format!("/auth?service={service}&scope=repository:{encoded}:pull")),
        get(&format!("/auth?service={service}&scope=repository:open:{encoded}")),
        get(&format!("/auth?{encoded}")),
        proxied(&[b"/v2/", encoded.as_bytes(), b"/manifests/latest"].concat()),
        proxied(&[b"/v2/open/manifests/", &header[..]].concat()),
    ]
}

/// Sends it. A server that does not read to the end of what is too long may end the connection before all was written.
fn ask(address: &str, request: &[u8]) -> Option<Reply> {
    let reply = Connection::open(address).and_then(|mut connection| connection.send(request));
    match reply {
        Ok(reply) => Some(reply),
        Err(error) => {
            assert!(request.len() > 32 * 1024, "{error}: {}", String::from_utf8_lossy(request));
            None
        }
    }
}

/// Every text in a line, under whichever name.
fn texts(line: &Map<String, Value>) -> Vec<(&str, &str)> {
    line.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect()
}

/// The beginning of something long.
fn beginning(text: &str) -> String {
    text.chars().take(300).collect()
}

#[test]
fn whatever_a_client_sends_each_request_has_a_line_and_each_line_is_one() {
    let more = format!("forward_auth: {{trusted_proxies: [127.0.0.1], service: \"{SERVICE}\"}}\n");
    let config = config(&pair(), "open") + &more;
    let config =
        config.replace("server:\n", "server:\n  real_ip_header: X-Forwarded-For\n  trusted_proxies: [127.0.0.1]\n");
    let server = Dockwarden::start(&config);
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    let (mut sent, mut unread) = (0, 0);
    for request in values().iter().flat_map(|value| requests(value)) {
        sent += 1;
        match ask(&server.address, &request).and_then(|reply| reply.header("x-decision-id").map(str::to_owned)) {
            // A line for each scope, and there is one at most.
            Some(id) => assert_eq!(ids.insert(id, 0), None, "two replies of one name"),
            None => unread += 1,
        }
    }
    // Hundreds of the longest scopes that are understood.
    let actions: Vec<String> = (0..16).map(|number| format!("{}-{number}", "w".repeat(28))).collect();
    let name = "n".repeat(240);
    let many: Vec<String> = (0..40).map(|number| format!("repository:{name}-{number}:{}", actions.join(","))).collect();
    let target = format!("/auth?service={}&scope={}", http::form_encode(SERVICE), many.join("+"));
    let reply = ask(&server.address, &http::request("GET", &target, "localhost", &[], b"")).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let of_many = reply.header("x-decision-id").unwrap().to_owned();
    // The last line of all: those before it are in the log with it.
    let last = ask(&server.address, &super::question("open")).unwrap().header("x-decision-id").unwrap().to_owned();
    let is_whole = |log: &String| log.contains(&last) && log.ends_with('\n');
    let log = server.process.until("the last line", |process| Some(process.log()).filter(is_whole));
    assert!(!log.bytes().any(|byte| byte < 0x20 && byte != b'\n'), "a control character");
    let mut lines_of_many = 0;
    for text in log.lines() {
        let line: Map<String, Value> =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {}", beginning(text)));
        for (name, text) in texts(&line) {
            assert!(text.len() <= MAX_FIELD, "{name} has {} bytes: {}", text.len(), beginning(text));
            let obeyed = |letter: char| letter.is_control() || "\u{2028}\u{2029}\u{202e}\u{200b}".contains(letter);
            assert!(!text.contains(obeyed), "{name}: {text:?}");
        }
        let Some(id) = line.get("decision.id").and_then(Value::as_str) else {
            assert!(!line.contains_key("decision.outcome"), "a decision of no request: {text}");
            continue;
        };
        assert_ne!(line["user.account"], "root", "{text}");
        match ids.get_mut(id) {
            Some(seen) => *seen += 1,
            None if id == of_many => lines_of_many += 1,
            None => assert_eq!(id, last, "a line of a request that nobody made: {text}"),
        }
    }
    assert!(lines_of_many > 1, "a list of scopes that long does not fit into a line");
    let others: Vec<_> = ids.iter().filter(|(_, lines)| **lines != 1).collect();
    assert!(others.is_empty(), "these requests have more lines than one, or none: {others:?}");
    println!("{sent} requests, {unread} of them refused before they were read");
    assert!(unread * 4 < sent, "{unread} of {sent} were never understood far enough to be decided");
}
