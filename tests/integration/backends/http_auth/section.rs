//! The `http_auth:` section: what is refused, what is warned about, and what stands where nothing is said.

use dockwarden::backend::{Facts, Names};
use dockwarden::config::{Config, Secrets};

use super::BASIC;
use crate::bed::Folder;

fn problems(section: &str) -> String {
    let folder = Folder::new();
    folder.put("secret", "hunter2\n");
    folder.put("empty", "");
    match Config::load(&folder.configure(&format!("http_auth: {{{section}}}\n")), [], Secrets::Read) {
        Ok(_) => panic!("{section} is not refused"),
        Err(invalid) => invalid.to_string(),
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_to_write_instead() {
    let url = "url: \"https://api.example.com/check\"";
    let asked = format!("{url}, {BASIC}");
    let of = |fields: &str| format!("{asked}, {fields}");
    let cases: Vec<(String, &str)> = vec![
        (BASIC.to_owned(), "http_auth.url: an address is needed; write url: https://api.example.com/check"),
        (
            format!("url: \"https://${{account}}/\", {BASIC}"),
            "http_auth.url: whoever logs in must not choose the server",
        ),
        (format!("url: \"https://u:p@api.example.com/\", {BASIC}"), "http_auth.url: an address is logged"),
        (format!("url: [a], {BASIC}"), "http_auth.url: one value is expected here"),
        (of("method: DELETE"), "http_auth.method: \"DELETE\" is not used to ask something; write GET, HEAD or POST"),
        (of("method: post"), "http_auth.method: \"post\" is not used"),
        (of("body: \"{}\""), "http_auth.body: only a POST has a body; write method: POST"),
        (of("method: POST, body: \"{\""), "http_auth.body: this is not JSON"),
        (of("content_type: application/json"), "http_auth.content_type: this is the type of a body, and there is none"),
        (
            of("method: POST, content_type: text/xml, body: x"),
            "http_auth.content_type: \"text/xml\" is not written here",
        ),
        (
            format!("{url}, headers: {{Authorization: \"Bearer ${{token}}\"}}"),
            "${token} is not a placeholder; there are",
        ),
        (
            format!("{url}, headers: {{Host: x, X: \"${{basic}}\"}}"),
            "http_auth.headers.Host: this header belongs to the connection",
        ),
        (format!("{url}, headers: {{\"content-type\": x, X: \"${{basic}}\"}}"), "write content_type beside body"),
        (
            format!("{url}, headers: {{\"X Y\": \"${{basic}}\"}}"),
            "http_auth.headers.X Y: this is not the name of a header",
        ),
        (format!("{url}, headers: {{X: \"${{basic}}\", x: y}}"), "http_auth.headers.x: this header is here twice"),
        (
            format!("{url}, headers: {{X: [\"${{basic}}\"]}}"),
            "http_auth.headers.X: a header has one value, or {file: PATH}",
        ),
        (format!("{url}, headers: [\"X: ${{basic}}\"]"), "http_auth.headers: headers are names with values"),
        (
            format!("{url}, headers: {{A: \"${{basic}}\", X: {{file: $DIR/nowhere}}}}"),
            "http_auth.headers.X.file: $DIR/nowhere cannot be read",
        ),
        (
            format!("{url}, headers: {{A: \"${{basic}}\", X: {{file: $DIR/empty}}}}"),
            "http_auth.headers.X: a header needs a value",
        ),
        (format!("{url}, headers: {{A: \"${{basic}}\", X: {{}}}}"), "http_auth.headers.X.file: a file is needed"),
        (
            format!("{url}, headers: {{A: \"${{basic}}\", X: {{file: $DIR/secret, path: a}}}}"),
            "http_auth.headers.X.path: there is no such key",
        ),
        // Nobody's password is looked at.
        (url.to_owned(), "http_auth.url: the password is sent nowhere, so every password would do"),
        (format!("{url}, headers: {{X: \"${{account}}\"}}"), "http_auth.url: the password is sent nowhere"),
        // Nobody looks whose it is.
        (format!("{url}, headers: {{X: \"${{password}}\"}}"), "http_auth.account: the account is sent nowhere"),
        (of("account: email"), "http_auth.account: this is not a JSONPath"),
        (of("account: \"$.[\""), "http_auth.account: this is not a JSONPath"),
        (of("labels: {team: teams}"), "http_auth.labels.team: this is not a JSONPath"),
        (of("labels: {team: [\"$.a\"]}"), "http_auth.labels.team: labels are names with the place of their values"),
        (of("labels: [team]"), "http_auth.labels: labels are names with the place of their values"),
        (of("label_values: regex"), "http_auth.label_values: \"regex\" is neither glob nor literal"),
        (of("method: HEAD, labels: {team: \"$.a\"}"), "http_auth.method: a reply to HEAD holds nothing"),
        (of("method: HEAD, account: \"$.a\""), "http_auth.method: a reply to HEAD holds nothing"),
        (of("accept: [200, 401]"), "http_auth.accept: 401: no API says yes with that"),
        (of("accept: [500]"), "http_auth.accept: 500: no API says yes with that"),
        (of("accept: []"), "http_auth.accept: nobody could log in"),
        (of("accept: [ok]"), "http_auth.accept: \"ok\" is not an HTTP status"),
        (of("accept: [\"2xx\"]"), "http_auth.accept: \"2xx\" is not an HTTP status"),
        (of("reject: [503]"), "http_auth.reject: 503: from 500 on something is broken"),
        (of("reject: [429]"), "http_auth.reject: 429: with that an API says \"not now\""),
        (of("not_mine: [500]"), "http_auth.not_mine: 500: from 500 on something is broken"),
        (of("not_mine: [401]"), "http_auth.not_mine: 401 is in reject too"),
        (of("reject: [200]"), "http_auth.reject: 200 is in accept too"),
        (of("accept: [204], not_mine: [204]"), "http_auth.not_mine: 204 is in accept too"),
        (of("timeout: 0"), "http_auth.timeout: no server answers within that; 1400ms is usual"),
        (of("timeout: 31s"), "http_auth.timeout: clients do not wait that long"),
        (of("concurrency: 0"), "http_auth.concurrency: write how many may be asked at once, from 1 to 512"),
        (of("concurrency: 513"), "http_auth.concurrency: write how many"),
        (of("cache_ttl: 2h"), "http_auth.cache_ttl: for so long a revoked right would live on"),
        (of("tls: {ca_certificate: $DIR/nowhere}"), "http_auth.tls.ca_certificate: $DIR/nowhere cannot be read"),
        (
            of("tls: {ca_certificate: $DIR/secret}"),
            "http_auth.tls.ca_certificate: the certificate file holds no PEM block",
        ),
        (
            of("tls: {client_certificate: $DIR/secret}"),
            "http_auth.tls.client_certificate: the certificate file holds no PEM block",
        ),
        (of("tls: {client_certificate: $DIR/token.crt}"), "http_auth.tls.client_certificate: "),
        (
            of("tls: {client_key: $DIR/token.key}"),
            "http_auth.tls.client_certificate: a key is given without its certificate",
        ),
        (of("tls: {insecure: true}"), "http_auth.tls.insecure: there is no such key"),
        (format!("url: \"http://127.0.0.1/\", {BASIC}, tls: {{}}"), "http_auth.tls: the address speaks no TLS"),
        (of("proxy: x"), "http_auth.proxy: there is no such key"),
        (of("look_up: {}"), "http_auth.look_up.url: an address is needed"),
        (
            of("look_up: {url: \"https://api.example.com/users\"}"),
            "http_auth.look_up.url: the account is sent nowhere, so the answer cannot be about it",
        ),
        (
            of("look_up: {url: \"https://api.example.com/${account}\", headers: {X: \"${password}\"}}"),
            "http_auth.look_up.headers.X: ${password}: only ${account} can stand here",
        ),
        (
            of("look_up: {url: \"https://other.example.com/${account}\"}"),
            "http_auth.look_up.url: an account is looked up where its logins are checked",
        ),
        (
            of("account: \"$.a\", look_up: {url: \"https://api.example.com/${account}\", method: HEAD}"),
            "http_auth.look_up.method: a reply to HEAD holds nothing",
        ),
        (
            of("look_up: {url: \"https://api.example.com/${account}\", timeout: 1}"),
            "http_auth.look_up.timeout: there is no such key",
        ),
        (
            of("account: unchecked, look_up: {url: \"https://api.example.com/${account}\"}"),
            "http_auth.look_up: with account: unchecked any name will do",
        ),
    ];
    for (section, piece) in cases {
        let said = problems(&section);
        let said = said
            .split_once("config.yml")
            .map_or(said.clone(), |(folder, _)| said.replace(folder, "$DIR/").replace("//", "/"));
        assert!(said.contains(&piece.replace("//", "/")), "{section}: {piece}\n{said}");
        assert_eq!(said.lines().count(), 1, "{section}: {said}");
        assert!(!said.contains("hunter2") && !said.contains("u:p@"), "{said}");
    }
}

fn warnings(text: &str) -> Vec<String> {
    let folder = Folder::new();
    let config = Config::load(&folder.configure(text), [], Secrets::Read).unwrap_or_else(|invalid| panic!("{invalid}"));
    let all = config.lint().into_iter().map(|warning| format!("{}: {}", warning.path, warning.message));
    all.filter(|warning| warning.contains("http_auth")).collect()
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let check = "https://api.example.com/check";
    for (url, more, expected) in [
        (check, BASIC, None),
        ("http://127.0.0.1:8000/", BASIC, None),
        ("http://[::1]:8000/", BASIC, None),
        ("http://localhost:8000/", BASIC, None),
        ("http://api.example.com/", BASIC, Some("http_auth.url: without TLS everybody on the way reads")),
        ("http://localhost.example.com/", BASIC, Some("http_auth.url: without TLS")),
        ("http://10.0.0.1/", BASIC, Some("http_auth.url: without TLS")),
        ("https://api.example.com/?a=${account}", "headers: {X: \"${password}\"}", None),
        (
            "https://api.example.com/?a=${account}&p=${password}",
            "method: GET",
            Some("http_auth.url: the password is part of the address"),
        ),
        ("https://api.example.com/${basic}", "method: GET", Some("http_auth.url: the password is part of the address")),
        (
            check,
            "headers: {X: \"${password}\"}, account: unchecked",
            Some("http_auth.account: nobody looks whose password it is"),
        ),
    ] {
        let found = warnings(&format!("acl: []\nhttp_auth: {{url: \"{url}\", {more}}}\n"));
        match expected {
            None => assert!(found.is_empty(), "{url}: {found:?}"),
            Some(piece) => assert!(found.len() == 1 && found[0].starts_with(piece), "{url}: {found:?}"),
        }
    }
}

/// Where nobody looks whose password it is, each rule that looks at the account is named.
#[test]
fn rules_on_accounts_that_nobody_checks_are_warnings() {
    for (rule, expected) in [
        ("{name: \"${labels:channel}/*\"}", 0),
        ("{account: \"/^.+$/\", name: \"${labels:channel}/*\"}", 0),
        ("{account: alice}", 0),
        ("{account: \"\"}", 0),
        ("{account: admin}", 1),
        ("{account: \"*@example.com\"}", 1),
        ("{account: \"/^admin$/\"}", 1),
        ("{name: \"${account}/*\"}", 1),
        ("{account: \"/^(.+)@.*$/\", name: \"${account:1}/*\"}", 1),
        ("{labels: {owner: \"${account}\"}}", 1),
    ] {
        let text = |account: &str| {
            format!(
                "acl: [{{match: {rule}, actions: [pull]}}]\nhttp_auth: {{url: \"https://api.example.com/\", \
                 headers: {{X: \"${{password}}\"}}, account: {account}}}\n"
            )
        };
        let found = warnings(&text("unchecked"));
        assert_eq!(found.iter().filter(|warning| warning.starts_with("acl[0]")).count(), expected, "{rule}: {found:?}");
        assert!(warnings(&text("\"$.email\"")).is_empty(), "{rule}");
    }
}

#[test]
fn the_section_lets_somebody_log_in_and_prints_no_secret() {
    let folder = Folder::new();
    folder.put("secret", "hunter2-hunter2\n");
    let text = folder.complete(
        "users: ~\nacl: []\nhttp_auth: {url: \"https://api.example.com/?key=hunter2\", headers: {Authorization: \
         \"Basic ${basic}\", X-Key: hunter2, X-File: {file: $DIR/secret}}}\n",
    );
    let config = Config::read(std::path::Path::new("config.yml"), &text, [], Secrets::Read).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let facts = config.backends.facts().find(|(section, _)| *section == "http_auth");
    assert_eq!(facts, Some(("http_auth", Facts::LoginsElsewhere(Names::Checked))));
    assert!(config.files.contains(&folder.path("secret")), "a change to it is seen");
    let printed = format!("{config:?}");
    assert!(printed.contains("https://api.example.com/") && !printed.contains("hunter2"), "{printed}");
}
