//! `check --connect`: each backend that a file names is tried, whatever became of the others.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::{configured, run, strong_users};

#[test]
fn without_a_backend_there_is_nothing_to_try() {
    let (_folder, file) = configured(&format!("{}acl: []\n", strong_users()));
    let plain = run(["check", &file]);
    let tried = run(["check", "--connect", &file]);
    assert_eq!((tried.code, tried.err.as_str()), (0, ""));
    assert_eq!(tried.out, format!("{}nothing to try: the file names neither a server nor a program\n", plain.out));
}

/// A registry that takes one password, and answers once for each of so many clients; to others it says how to log in.
fn registry(clients: usize, challenge: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(clients).flatten() {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).is_ok_and(|read| read > 0) {}
            // "gateway:right"
            let known = head.starts_with("GET /v2/ ") && head.contains("Basic Z2F0ZXdheTpyaWdodA==");
            let status = if known { "200 OK" } else { "401 Unauthorized" };
            let wanted = if known { String::new() } else { format!("WWW-Authenticate: {challenge}\r\n") };
            let reply = format!("HTTP/1.1 {status}\r\n{wanted}Content-Length: 0\r\nConnection: close\r\n\r\n");
            // Who speaks another protocol is gone by then.
            stream.get_mut().write_all(reply.as_bytes()).ok();
        }
    });
    address
}

/// Where nobody listens. A port that was free a moment ago may be another test's by now.
const GONE: &str = "127.0.0.1:1";

#[test]
fn each_upstream_of_the_gateway_is_tried_with_our_credentials() {
    let registry = registry(3, "Basic realm=\"r\"");
    let with_tokens = self::registry(2, "Bearer realm=\"https://t.example.org\"");
    let plain = self::registry(1, "");
    let basic = |password: &str| format!(", auth: {{basic: {{username: gateway, password: {password}}}}}");
    let rows = [
        ("good", format!("http://{registry}"), basic("right")),
        ("bad", format!("http://{registry}"), basic("canary-6f1")),
        ("nobody", format!("http://{registry}"), String::new()),
        ("kind", format!("http://{with_tokens}"), basic("canary-6f1")),
        ("none", format!("http://{with_tokens}"), String::new()),
        ("tls", format!("https://{plain}"), String::new()),
        ("gone", format!("http://{GONE}"), basic("canary-6f1")),
    ];
    let upstreams: String = rows
        .iter()
        .map(|(name, url, login)| format!("{{url: \"{url}\", name: {name}, prefix: {name}{login}}}, "))
        .collect();
    let (_folder, file) =
        configured(&format!("{}acl: []\ngateway: {{service: s, upstreams: [{upstreams}]}}\n", strong_users()));
    let tried = run(["check", "--connect", &file]);
    assert_eq!((tried.code, tried.err.as_str()), (1, ""));
    let refused = "the upstream does not accept our credentials; it asks for";
    for line in [
        format!("gateway: ok: good: http://{registry}/v2/ takes our credentials\n"),
        format!("failed: bad: http://{registry}/v2/: {refused} Basic realm=\"r\"; are username and password right?\n"),
        format!("failed: nobody: http://{registry}/v2/: {refused} Basic realm=\"r\"; write auth: {{basic: "),
        format!(
            "failed: kind: http://{with_tokens}/v2/: {refused} Bearer realm=\"https://t.example.org\"; it has a token"
        ),
        format!(
            "failed: none: http://{with_tokens}/v2/: {refused} Bearer realm=\"https://t.example.org\"; write auth: {{token: "
        ),
        "; it speaks no TLS: write http:// in url\n".to_owned(),
        format!("gateway: failed: gone: http://{GONE}/v2/: the upstream cannot be reached: "),
    ] {
        assert!(tried.out.contains(&line), "{line}{}", tried.out);
    }
    assert!(!tried.out.contains("canary"), "{}", tried.out);
}

#[test]
fn each_backend_is_tried_and_named_although_others_fail() {
    // One that nobody listens on, and one that takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let dial = |address: &dyn std::fmt::Display| {
        format!("dial_info: {{addrs: [\"{address}\"], database: d, username: u, password: canary-6f1}}")
    };
    let silent_address = silent.local_addr().unwrap();
    let (_folder, file) = configured(&format!(
        "{}ext_auth: {{command: cat, args: [canary-6f1]}}\nmongo_auth: {{{}, collection: users}}\n\
         acl_mongo: {{{}, collection: acl}}\next_authz: {{command: $DIR/config.yml}}\n",
        strong_users(),
        dial(&GONE),
        dial(&silent_address),
    ));
    let began = Instant::now();
    let tried = run(["check", "--connect", &file]);
    assert!(began.elapsed() < Duration::from_secs(15), "at the same time: {:?}", began.elapsed());
    assert_eq!((tried.code, tried.err.as_str()), (1, ""));
    let lines: Vec<&str> =
        tried.out.lines().filter(|line| line.contains(": ok: ") || line.contains(": failed: ")).collect();
    let expected = [
        ("ext_auth: ok: ", "/cat can be started"),
        (
            "mongo_auth: failed: d.users cannot be asked: ",
            "is the server running, and are its address and enable_tls right?",
        ),
        ("acl_mongo: failed: ", "is the server running"),
        ("ext_authz: failed: ", "config.yml is not executable; make it so with: chmod +x "),
    ];
    assert_eq!(lines.len(), expected.len(), "{}", tried.out);
    for (line, (beginning, piece)) in lines.iter().zip(expected) {
        assert!(line.starts_with(beginning) && line.contains(piece), "{beginning}…{piece}: {line}");
    }
    assert!(tried.out.contains(GONE), "{}", tried.out);
    assert!(!tried.out.contains("canary"), "{}", tried.out);
    // A file that cannot be used is not tried.
    let (_folder, file) = configured("mongo_auth: {}\n");
    let broken = run(["check", "--connect", &file]);
    assert_eq!((broken.code, broken.out.as_str()), (1, ""));
    assert!(broken.err.ends_with("the file cannot be used\n"), "{}", broken.err);
}

/// Of a provider that is away, nothing keeps what docker_auth left behind from being looked at; and the other way round.
#[test]
fn a_provider_and_the_passwords_of_docker_auth_are_told_whatever_became_of_the_other() {
    let (folder, _) = configured("");
    let tokens = folder.path("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let with = |database: &str| {
        let (folder, file) = configured(&format!(
            "{}acl: []\nrecords: {{sqlite: \"{}\"}}\nsign_in: {{secret: b2Ygb3VyIG93biwgYW5kIG9mIG5vYm9keSBlbHNlIQ}}\n\
             oidc_auth: {{issuer: \"http://{GONE}\", plain_http: loopback, redirect_url: \"https://a/oidc_auth\", client_id: c, \
             client_secret: canary-7a2, {database}}}\n",
            strong_users(),
            tokens.join("records.db").display()
        ));
        let tried = run(["check", "--connect", &file]);
        drop(folder);
        assert_eq!(tried.code, 1, "{}{}", tried.out, tried.err);
        let line = tried.out.lines().find(|line| line.starts_with("oidc_auth: failed: "));
        line.unwrap_or_else(|| panic!("{}{}", tried.out, tried.err)).to_owned()
    };
    let line = with(&format!("level_token_db: {{path: {}}}", tokens.display()));
    assert!(line.contains(GONE) && line.contains(&format!("; there is no database in {}", tokens.display())), "{line}");
    std::fs::write(tokens.join("CURRENT"), "MANIFEST-000099\n").unwrap();
    let line = with(&format!("level_token_db: {{path: {}}}", tokens.display()));
    assert!(line.contains(GONE) && line.contains(" is damaged; "), "{line}");
    let line = with(&format!("redis_token_db: {{redis_options: {{addr: \"{GONE}\"}}}}"));
    assert!(line.matches(GONE).count() > 1 && line.contains("redis_token_db"), "{line}");
    assert!(!line.contains("canary"), "{line}");
}

#[test]
fn a_program_that_is_nowhere_is_said() {
    let acl = "acl: []\next_auth: {command: no-such-program-anywhere}\n";
    let (_folder, file) = configured(&format!("{}{acl}", strong_users()));
    let tried = run(["check", "--connect", &file]);
    assert_eq!(tried.code, 1);
    let line = "ext_auth: failed: no-such-program-anywhere is not in PATH; install it, or write its path\n";
    assert!(tried.out.ends_with(line), "{}", tried.out);
    assert_eq!(run(["check", &file]).code, 0, "it may come later");
}
