//! Templates: what loads, and that nothing anybody types becomes more than the value it is.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is not as it should be")]

use super::*;

/// What nobody who logs in may turn into something else.
const NASTY: &[&str] = &[
    "alice",
    "carol@example.com",
    "a b",
    "a+b&c=d",
    "100%",
    "%2e%2e%2f",
    "?x=1#y",
    "ä€🦀",
    "\"}, {\"admin\": \"true",
    "\\\"",
    "${password}",
    "$(id)",
    "';--",
    "a,b;c=d",
];

fn who<'a>(account: &'a str, password: &'a str) -> Who<'a> {
    Who { account, password }
}

fn url(text: &str) -> UrlTemplate {
    UrlTemplate::parse(text, Allowed::Credentials).expect(text)
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match (byte, text.get(at + 1..at + 3)) {
            (b'%', Some(digits)) => {
                out.push(u8::from_str_radix(digits, 16).unwrap());
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn a_value_stays_one_segment_of_the_path_and_one_field_of_the_query() {
    let template = url("https://API.example.com:443/users/${account}/check?who=${account}&key=${password}&v=1");
    for account in NASTY {
        for password in NASTY {
            let Some(url) = template.filled(who(account, password)) else {
                assert!(account.contains(['/', '\\']), "{account:?} can be asked about");
                continue;
            };
            assert_eq!(url.origin().ascii_serialization(), "https://api.example.com", "{account:?}");
            let segments: Vec<String> = url.path().split('/').map(percent_decoded).collect();
            assert_eq!(segments, ["", "users", account, "check"]);
            let fields: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            let expected = [("who", *account), ("key", *password), ("v", "1")];
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(fields, expected);
            assert_eq!(url.fragment(), None);
        }
    }
    // What many a server decodes before it looks where the path leads, or what the path's own rules take out.
    for account in [".", "..", "a/b", "../admin", "a\\b", "/", "..\\x"] {
        assert_eq!(template.filled(who(account, "x")), None, "{account:?}");
    }
    // In the query they mean nothing.
    let query = url("https://api.example.com/check?who=${account}");
    for account in [".", "..", "a/b", "a\\b"] {
        let url = query.filled(who(account, "x")).unwrap();
        assert_eq!(url.query_pairs().into_owned().collect::<Vec<_>>(), [("who".to_owned(), account.to_owned())]);
    }
    // A value next to other text of its segment.
    let beside = url("https://api.example.com/u.${account}.json");
    assert_eq!(beside.filled(who("a", "")).unwrap().path(), "/u.a.json");
    let dot = url("https://api.example.com/.${account}");
    assert_eq!(dot.filled(who(".", "")), None);
    assert_eq!(query.filled(who(&"x".repeat(MAX_URL), "")), None);
}

#[test]
fn an_address_that_somebody_else_could_bend_is_refused() {
    for (text, piece) in [
        ("https://${account}.example.com/", "must not choose the server"),
        ("https://${account}/", "must not choose the server"),
        ("https://api.example.com:${account}/", "must not choose the server"),
        ("${account}://api.example.com/", "must not choose the server"),
        ("https://${account}@api.example.com/", "must not choose the server"),
        ("https://api.example.com${account}/", "must not choose the server"),
        ("${password}", "write a whole address"),
        ("https://user:pass@api.example.com/", "no user and no password"),
        ("https://user@api.example.com/", "no user and no password"),
        ("https://api.example.com/#${account}", "never sent"),
        ("https://api.example.com/${account}/../x", "write the path without dots"),
        (
            "https://api.example.com/${user}",
            "${user} is not a placeholder; there are ${account}, ${password} and ${basic}",
        ),
        ("https://api.example.com/${account", "a placeholder's } is missing"),
        ("https://api.example.com/${}", "${} is not a placeholder"),
        ("https:///path", "write a whole address"),
        ("https://api.example.com\\@evil.example/", "no backslash"),
        ("https://api.example.com/a b", "no white space"),
        ("https://bücher.example/", "no letters but ASCII"),
        ("ftp://api.example.com/", "write a whole address"),
        ("unix:/run/api.sock", "write a whole address"),
        ("/check", "write a whole address"),
        ("api.example.com/check", "write a whole address"),
        ("", "write a whole address"),
    ] {
        let message = UrlTemplate::parse(text, Allowed::Credentials).map(|_| ()).unwrap_err();
        assert!(message.contains(piece), "{text}: {message}");
    }
    let message = UrlTemplate::parse("https://api.example.com/${account}", Allowed::Nothing).map(|_| ()).unwrap_err();
    assert_eq!(message, "${account}: no placeholder can stand here");
}

#[test]
fn a_header_holds_the_value_as_it_is_or_nothing_is_asked() {
    let parse = |text: &str| HeaderTemplate::parse(HeaderName::from_static("x-test"), text, Allowed::Credentials);
    let bearer = parse("Bearer ${password}").unwrap();
    let text = |header: &HeaderTemplate, password: &str| {
        header.filled(who("alice", password)).map(|value| {
            assert!(value.is_sensitive(), "a secret is never indexed, and never shown");
            value.to_str().unwrap().to_owned()
        })
    };
    for password in ["token", "a.b-c_d~e+f/g=", "!\"#$%&'()*,;<>?@[\\]^`{|}", "${account}"] {
        assert_eq!(text(&bearer, password), Some(format!("Bearer {password}")));
    }
    let impossible =
        ["a b", " a", "a ", "a\r\nX-Admin: 1", "a\nb", "a\rb", "a\0b", "a\tb", "\u{7f}", "\u{1b}[m", "ä", "\u{a0}"];
    for password in impossible {
        assert_eq!(text(&bearer, password), None, "{password:?}");
    }
    assert_eq!(text(&bearer, ""), Some("Bearer".to_owned()), "the trial: no white space at the end (RFC 9113, 8.2.1)");
    let basic = parse("Basic ${basic}").unwrap();
    assert_eq!(text(&basic, "p w:ä\r\n").as_deref(), Some("Basic YWxpY2U6cCB3OsOkDQo="));
    assert_eq!(basic.filled(who("alice:x", "y")), None, "it would be read as alice with x:y");
    assert_eq!(parse("${account}").unwrap().filled(who("alice", "x")).unwrap(), "alice");
    assert_eq!(parse("fixed value").unwrap().filled(who("alice", "x")).unwrap(), "fixed value");
    for (value, piece) in [
        ("user=${account};password=${password}", "its last word, after a space"),
        ("user=${account}", "its last word, after a space"),
        ("${account} ${password}", "its last word, after a space"),
        ("Bearer ${password} x", "its last word, after a space"),
        ("Bearer ${password}\"", "its last word, after a space"),
        ("Bearer ${password} ", "no white space around them"),
        ("a\nb", "visible ASCII"),
        ("ä", "visible ASCII"),
        ("", "a header needs a value"),
        ("Bearer ${token}", "${token} is not a placeholder"),
    ] {
        let message = parse(value).map(|_| ()).unwrap_err();
        assert!(message.contains(piece), "{value:?}: {message}");
    }
}

#[test]
fn a_body_says_the_same_whatever_the_values_are() {
    let json = "{\"user\": \"${account}\", \"more\": [{\"secret\": \"<${password}>\"}], \"n\": 1}";
    let json = BodyTemplate::parse(json, ContentType::Json, Allowed::Credentials).unwrap();
    let form = BodyTemplate::parse(
        "grant_type=password&user=${account}&key=${password}",
        ContentType::Form,
        Allowed::Credentials,
    )
    .unwrap();
    for account in NASTY {
        for password in NASTY.iter().chain(&["a\r\nb", "\0"]) {
            let body = json.filled(who(account, password)).unwrap();
            let expected = serde_json::json!({"user": account, "more": [{"secret": format!("<{password}>")}], "n": 1});
            assert_eq!(serde_json::from_str::<serde_json::Value>(body.reveal()).unwrap(), expected);
            let body = form.filled(who(account, password)).unwrap();
            let fields: Vec<(String, String)> = form_urlencoded::parse(body.reveal().as_bytes()).into_owned().collect();
            let expected = [("grant_type", "password"), ("user", *account), ("key", *password)];
            assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
    }
    for (text, content_type, piece) in [
        ("{\"user\": ${account}}", ContentType::Json, "placeholders stand within quotes"),
        ("{\"user\": 1${account}}", ContentType::Json, "placeholders stand within quotes"),
        ("user=${account}", ContentType::Json, "For a form, write content_type"),
        ("", ContentType::Json, "this is not JSON"),
        ("{\"user\": \"${name}\"}", ContentType::Json, "${name} is not a placeholder"),
        ("{\"user\": \"${account}\"}", ContentType::Form, "this is not a form"),
        ("${account}", ContentType::Form, "this is not a form"),
        ("user=${account} &key=x", ContentType::Form, "this is not a form"),
    ] {
        let message = BodyTemplate::parse(text, content_type, Allowed::Credentials).map(|_| ()).unwrap_err();
        assert!(message.contains(piece), "{text}: {message}");
    }
}

#[test]
fn what_is_printed_of_a_template_is_no_secret() {
    let url = url("https://api.example.com/check?api_key=hunter2&who=${account}");
    let header = HeaderTemplate::parse(HeaderName::from_static("x-key"), "hunter2", Allowed::Nothing).unwrap();
    let body = BodyTemplate::parse("key=hunter2&who=${account}", ContentType::Form, Allowed::Credentials).unwrap();
    let printed = format!("{url:?} {header:?} {body:?} {}", url.origin());
    assert!(!printed.contains("hunter2") && printed.contains("https://api.example.com/"), "{printed}");
}
