//! What does not load: each slip with its line, its key, and what to write instead.

use std::time::{Duration, Instant};

use dockwarden::authn::program::ProgramUsers;
use settings::Place;

use super::{Expected, around, difference, expect, read_with};
use crate::bed::ALICE_HASH;

#[test]
fn all_problems_of_a_file_are_reported_at_once_in_its_order() {
    let text = r#"server:
  addr: 5001
  certifikate: a.crt
  net: udp
token:
  issuer: ""
  expiration: soon
  header: x509
  certificate: token.crt
users:
  alice: {pasword: "x"}
  bob: {password: secret}
  "a:b": {}
acl:
  - match: {account:"admin"}
    actions: ["*"]
  - match: {name: "[a"}
    actions: pull
plugin_authn: {}
aclx: []
"#;
    expect(
        text,
        &[],
        &[
            (2, "server.addr", "write \":5001\""),
            (3, "server.certifikate", "did you mean \"certificate\"?"),
            (4, "server.net", "neither tcp nor unix"),
            (6, "token.issuer", "an issuer is needed"),
            (7, "token.expiration", "write seconds (900) or a value with units"),
            (8, "token.header", "neither x5c nor kid"),
            (9, "token.key", "a certificate is given without its key"),
            (11, "users.alice.password", "needs a bcrypt hash"),
            (11, "users.alice.pasword", "did you mean \"password\"?"),
            (12, "users.bob.password", "this is not a bcrypt hash"),
            (13, "users.a", "cannot contain a colon"),
            (15, "acl[0].match.account", "a space is missing after the colon?"),
            (17, "acl[1].actions", "actions are a list"),
            (17, "acl[1].match.name", "this `[` is never closed"),
            (19, "plugin_authn", "Go plugins cannot be loaded"),
            (20, "aclx", "did you mean \"acl\"?"),
        ],
    );
}

/// Each of these takes a millisecond to be found too big.
#[test]
fn of_thousands_of_bad_rules_the_first_fifty_are_told() {
    for (rules, told) in [(49, 49), (50, 50), (51, 51), (10_000, 51)] {
        let lines: String = (0..rules)
            .map(|number| format!("  - {{match: {{name: '/x{number}\\pL{{1000}}/'}}, actions: [pull]}}\n"))
            .collect();
        let problems = read_with(&around(&format!("acl:\n{lines}")), &[]).err().unwrap_or_default();
        assert_eq!(problems.len(), told, "{rules} rules");
        for (index, problem) in problems.iter().enumerate() {
            let expected = if index < 50 { "is too big" } else { "from here on they were not looked at" };
            assert!(problem.message.contains(expected), "{rules} rules: {problem:?}");
            assert_eq!(problem.place, Place::Line(2 + index), "{rules} rules");
        }
    }
}

#[test]
fn each_slip_is_named_with_its_line_and_what_to_write() {
    let hash = ALICE_HASH;
    let user = |fields: &str| format!("users:\n  alice: {{{fields}}}");
    let rule = |text: &str| format!("acl:\n  - {text}");
    let cases: &[(String, &[Expected<'_>])] = &[
        // Sections
        ("users: ~".to_owned(), &[(1, "users", "write users: {} if really nobody may")]),
        ("acl: ~".to_owned(), &[(1, "acl", "write acl: [] if really nothing is allowed")]),
        ("users: [alice]".to_owned(), &[(1, "users", "accounts and their settings are expected here")]),
        ("acl: {match: {}}".to_owned(), &[(1, "acl", "a list of rules is expected here")]),
        ("server: {}".to_owned(), &[(1, "server.addr", "write addr: \":5001\"")]),
        ("serverr: {}".to_owned(), &[(1, "serverr", "did you mean \"server\"?")]),
        ("log_level: 3".to_owned(), &[(1, "log_level", "there is no such key (known here: ")]),
        // Users
        (user(""), &[(2, "users.alice.password", "make one with: dockwarden hash-password")]),
        (user("password: ~"), &[(2, "users.alice.password", "needs a bcrypt hash")]),
        (user("password: \"\""), &[(2, "users.alice.password", "a named user needs a bcrypt hash")]),
        (user("password: plain"), &[(2, "users.alice.password", "this is not a bcrypt hash")]),
        (
            user("password: \"$1$abcdefgh$abcdefghijklmnopqrstuv\""),
            &[(2, "users.alice.password", "this is an MD5 hash ($1$), not a bcrypt hash")],
        ),
        (
            user("password: \"$2b$31$abcdefghijklmnopqrstuu9UGc9IJbl39mlDZvvYWvWECKJosLcIu\""),
            &[(2, "users.alice.password", "takes very long")],
        ),
        (
            user("password: \"$2b$04$äbcdefghijklmnopqrstuu9UGc9IJbl39mlDZvvYWvWECKJosLcI\""),
            &[(2, "users.alice.password", "this is not a bcrypt hash")],
        ),
        (
            user(&format!("passwrod: \"{hash}\"")),
            &[
                (2, "users.alice.password", "needs a bcrypt hash"),
                (2, "users.alice.passwrod", "did you mean \"password\"?"),
            ],
        ),
        (
            user(&format!("password: \"{hash}\", labels: {{team: \"[a\"}}")),
            &[(2, "users.alice.labels.team", "this `[` is never closed")],
        ),
        (
            user(&format!("password: \"{hash}\", labels: [team]")),
            &[(2, "users.alice.labels", "labels are names with lists of values")],
        ),
        (
            user(&format!("password: \"{hash}\", labels: {{team: {{a: b}}}}")),
            &[(2, "users.alice.labels.team", "a list is expected here")],
        ),
        (
            user(&format!("password: \"{hash}\", disabled: maybe")),
            &[(2, "users.alice.disabled", "\"maybe\" is neither true nor false")],
        ),
        (
            user(&format!("password: \"{hash}\", not_after: next year")),
            &[(2, "users.alice.not_after", "\"next year\" is not a date or time")],
        ),
        (
            user(&format!("password: \"{hash}\", not_before: 2027-01-01, not_after: 2026-01-01")),
            &[(2, "users.alice.not_after", "swap not_before and not_after")],
        ),
        (
            format!("users:\n  \"\": {{password: \"{hash}\"}}"),
            &[(2, "users.\"\".password", "the anonymous user has no password")],
        ),
        (
            format!("users:\n  \"a\\nb\": {{password: \"{hash}\"}}"),
            &[(2, "users", "must not contain control characters")],
        ),
        (
            user(&format!("password: \"{hash}\", team: web")),
            &[(2, "users.alice.team", "a label is written labels: {team: […]}")],
        ),
        (
            user(&format!("password: \"{hash}\", groups: [web]")),
            &[(2, "users.alice.groups", "a label is written labels: {groups: […]}")],
        ),
        (format!("users: {{bob: {hash}}}"), &[(1, "users.bob", "write bob: {password: \"…\"}")]),
        (format!("users:\n  bob:{hash}"), &[(2, "users", "this is a line of an htpasswd file")]),
        // Rules
        (rule("{actions: []}"), &[(2, "acl[0].match", "write match: {} if it is for everybody")]),
        (rule("{match: ~, actions: []}"), &[(2, "acl[0].match", "write match: {}")]),
        (
            rule("{account: bob, name: \"web/*\", actions: []}"),
            &[
                (
                    2,
                    "acl[0].match",
                    "account and name belong in a rule's match, not beside it; write match: {account: …, name: …}",
                ),
                (2, "acl[0].account", "this belongs in the rule's match, not beside it; write match: {account: …}"),
                (2, "acl[0].name", "write match: {name: …}"),
            ],
        ),
        (
            rule("match:\n    repository: web\n    actions: []"),
            &[
                (2, "acl[0].match", "name belongs in a rule's match, not beside it; write match: {name: …}"),
                (3, "acl[0].repository", "write match: {name: …}"),
            ],
        ),
        (
            rule("match: {account: bob}\n    name: web\n    actions: []"),
            &[(3, "acl[0].name", "this belongs in the rule's match, not beside it; write match: {name: …}")],
        ),
        (rule("{match: {}}"), &[(2, "acl[0].actions", "write actions: [] to refuse")]),
        (rule("{match: {}, actions: }"), &[(2, "acl[0].actions", "write actions: [] to refuse")]),
        (rule("{match: {account:\"admin\"}, actions: []}"), &[(2, "acl[0].match.account", "a space is missing")]),
        (
            rule("match:\n      name: \"/a(/\"\n    actions: []"),
            &[(3, "acl[0].match.name", "the regular expression `/a(/`")],
        ),
        (
            rule("match:\n      account: a\n      name: \"[a-]\"\n    actions: []"),
            &[(4, "acl[0].match.name", "the glob `[a-]` is not valid at character 4")],
        ),
        (
            rule("match: {}\n    actions:\n      - pull\n      - pus h"),
            &[(5, "acl[0].actions", "\"pus h\" is not an action")],
        ),
        (rule("{match: {}, actions: [], seq: 10}"), &[(2, "acl[0].seq", "there is no such key")]),
        // Token
        ("token: {issuer: Acme}".to_owned(), &[(1, "token.certificate", "write generate: true to have them made")]),
        (
            "token: {issuer: Acme, key: k}".to_owned(),
            &[(1, "token.certificate", "a key is given without its certificate")],
        ),
        (
            "token: {issuer: \"a\\nb\", certificate: c, key: k}".to_owned(),
            &[(1, "token.issuer", "must not contain control characters")],
        ),
        (
            "token: {issuer: Acme, certificate: c, key: k, expiration: 0}".to_owned(),
            &[(1, "token.expiration", "at least one second")],
        ),
        (
            "token: {issuer: Acme, certificate: c, key: k, expiration: -5}".to_owned(),
            &[(1, "token.expiration", "\"-5\" is not a duration")],
        ),
        (
            "token: {issuer: Acme, certificate: c, key: k, expiration: 2d}".to_owned(),
            &[(1, "token.expiration", "\"2d\" is not a duration")],
        ),
        (
            "token: {issuer: Acme, certificate: c, key: k, expiration: 1000000h}".to_owned(),
            &[(1, "token.expiration", "a hundred years")],
        ),
        (
            "token: {issuer: Acme, certificate: c, key: k, expiration: 1500ms}".to_owned(),
            &[(1, "token.expiration", "whole seconds")],
        ),
        (
            "token: {issuer: Acme, certificate: c, key: k, services: [\"\"]}".to_owned(),
            &[(1, "token.services", "a service needs a name")],
        ),
        (
            "token: {issuer: Acme, certificate: c, key: k, disable_legacy_key_id: 1}".to_owned(),
            &[(1, "token.disable_legacy_key_id", "neither true nor false")],
        ),
        (
            "token: {issuer: Acme, certificat: c, key: k}".to_owned(),
            &[
                (1, "token.certificate", "a key is given without its certificate"),
                (1, "token.certificat", "did you mean \"certificate\"?"),
            ],
        ),
        // Server
        ("server: {addr: \":70000\"}".to_owned(), &[(1, "server.addr", "\":70000\" is not an address")]),
        ("server: {addr: \"::1:5001\"}".to_owned(), &[(1, "server.addr", "\"[::1]:5001\"")]),
        (
            "server: {addr: \":1\", path_prefix: registry}".to_owned(),
            &[(1, "server.path_prefix", "write it like /registry")],
        ),
        ("server: {addr: \":1\", path_prefix: /a/../b}".to_owned(), &[(1, "server.path_prefix", "is not a path")]),
        ("server: {addr: \":1\", path_prefix: \"/{x}\"}".to_owned(), &[(1, "server.path_prefix", "is not a path")]),
        (
            "server: {addr: \":1\", tls_min_version: SSL3}".to_owned(),
            &[(1, "server.tls_min_version", "write TLS12 or TLS13")],
        ),
        (
            "server: {addr: \":1\", certificate: a}".to_owned(),
            &[(1, "server.key", "a certificate is given without its key")],
        ),
        (
            "server: {addr: \":1\", key: a}".to_owned(),
            &[(1, "server.certificate", "a key is given without its certificate")],
        ),
        ("server: {addr: \":1\", real_ip_pos: 1}".to_owned(), &[(1, "server.real_ip_pos", "without real_ip_header")]),
        (
            "server: {addr: \":1\", real_ip_header: X-F, real_ip_pos: last}".to_owned(),
            &[(1, "server.real_ip_pos", "\"last\" is not a position")],
        ),
        (
            "server: {addr: \":1\", real_ip_header: \"no header\"}".to_owned(),
            &[(1, "server.real_ip_header", "is not the name of a header")],
        ),
        (
            "server: {addr: \":1\", trusted_proxies: []}".to_owned(),
            &[(1, "server.trusted_proxies", "the list is empty")],
        ),
        (
            "server: {addr: \":1\", trusted_proxies: [10.0.0.0/33, proxy.local]}".to_owned(),
            &[
                (1, "server.trusted_proxies", "\"10.0.0.0/33\" is not a network"),
                (1, "server.trusted_proxies", "\"proxy.local\" is not a network"),
                (1, "server.trusted_proxies", "the list is empty"),
            ],
        ),
        (
            "server: {addr: \":1\", trusted_proxies: [10.0.0.1], real_ip_pos: 1}".to_owned(),
            &[(1, "server.real_ip_pos", "not needed with trusted_proxies")],
        ),
        (
            "server: {addr: \":1\", letsencrypt: {host: \"*.a\", email: nobody, directory_url: \"http://a\"}}"
                .to_owned(),
            &[
                (1, "server.letsencrypt.host", "is not a host name"),
                (1, "server.letsencrypt.email", "is not an e-mail address"),
                (1, "server.letsencrypt.cache_dir", "without a folder"),
                (1, "server.letsencrypt.directory_url", "is not the address of an authority's directory"),
            ],
        ),
        (
            "server: {addr: \":1\", letsencrypt: {host: 127.0.0.1, email: \"\", cache_dir: c}}".to_owned(),
            &[
                (1, "server.letsencrypt.host", "is not a host name"),
                (1, "server.letsencrypt.email", "whom does the authority write to"),
            ],
        ),
        (
            "server: {addr: \":1\", certificate: c, key: k, letsencrypt: {host: a.b, email: a@b, cache_dir: c}}"
                .to_owned(),
            &[(1, "server.letsencrypt", "certificate and key are named too")],
        ),
        (
            "server: {addr: s, net: unix, letsencrypt: {host: a.b, email: a@b, cache_dir: c}}".to_owned(),
            &[(1, "server.letsencrypt", "the authority connects to port 443")],
        ),
        (
            "server: {addr: \":1\", tls_cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]}".to_owned(),
            &[(1, "server.tls_cipher_suites", "none of these cipher suites")],
        ),
        (
            "server: {addr: \":1\", tls_curve_preferences: [P521]}".to_owned(),
            &[(1, "server.tls_curve_preferences", "none of these curves")],
        ),
    ];
    let wrong: Vec<String> =
        cases.iter().filter_map(|(text, expected)| difference(&around(text), &[], expected)).collect();
    assert!(wrong.is_empty(), "{}", wrong.concat());
    // What is missing altogether is a problem of the file.
    expect(
        "server: {addr: \":1\"}",
        &[],
        &[(1, "token", "missing"), (1, "users", "no way to log in"), (1, "acl", "no rules")],
    );
    expect("", &[], &[(1, "", "the file is empty; start from config.example.yml")]);
    expect("# nothing\n", &[], &[(1, "", "the file is empty")]);
    expect("just text", &[], &[(1, "", "keys are expected here")]);
    expect("- a\n- b", &[], &[(1, "", "keys are expected here")]);
}

/// The first thing that is said about a value of the wrong kind is what is wrong with it.
#[test]
fn a_value_that_cannot_be_read_is_named_first() {
    for (text, path, piece) in [
        ("server: \":5001\"", "server", "keys are expected here"),
        ("token: [a]", "token", "keys are expected here"),
        ("users: {alice: {password: [a]}}", "users.alice.password", "one value is expected here"),
        ("users: {alice: {password: {a: b}}}", "users.alice.password", "one value is expected here"),
        ("users: {alice: {password: a, password_file: b}}", "users.alice.password_file", "not both"),
        (
            "users: {alice: {password_file: nowhere/secret}}",
            "users.alice.password_file",
            "nowhere/secret cannot be read",
        ),
        ("users: {alice: text}", "users.alice", "keys are expected here"),
    ] {
        let problems = read_with(&around(text), &[]).err().unwrap_or_default();
        let first = problems.first().map(|problem| (problem.place.clone(), problem.path.as_str()));
        assert_eq!(first, Some((Place::Line(1), path)), "{text}: {problems:?}");
        assert!(problems[0].message.contains(piece), "{text}: {problems:?}");
    }
}

#[test]
fn plugins_are_refused_by_name() {
    for (key, instead) in [
        ("plugin_authn", "examples/go-plugin does, and use http_auth"),
        ("plugin_authz", "examples/go-plugin does, and use http_authz"),
    ] {
        for value in ["{a: b}", "[]"] {
            let text = around(&format!("# {key}\n{key}: {value}"));
            let problems = read_with(&text, &[]).err().unwrap_or_default();
            let [problem] = problems.as_slice() else { panic!("{key}: {problems:?}") };
            assert_eq!((&problem.place, problem.path.as_str()), (&Place::Line(2), key));
            assert!(problem.message.contains(instead) && problem.message.contains("; "), "{key}: {}", problem.message);
        }
    }
}

#[test]
fn what_is_no_configuration_tree_is_one_problem() {
    let bomb = {
        let mut text = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, from) in
            ["b", "c", "d", "e", "f", "g", "h", "i"].iter().zip(["a", "b", "c", "d", "e", "f", "g", "h"])
        {
            text.push_str(&format!("{name}: &{name} [{}]\n", [format!("*{from}").as_str(); 9].join(", ")));
        }
        text
    };
    let merges = {
        let mut text = "a: &a {k: v}\n".to_owned();
        for level in 0..8 {
            let from = char::from(b'a' + level);
            let name = char::from(b'b' + level);
            text.push_str(&format!("{name}: &{name}\n  <<: [{}]\n", [format!("*{from}").as_str(); 9].join(", ")));
        }
        text
    };
    let deep = format!("a: {}{}", "[".repeat(5000), "]".repeat(5000));
    let cases: &[(&str, Expected<'_>)] = &[
        (&bomb, (6, "", "aliases add too much")),
        (&merges, (0, "", "")),
        (&deep, (1, "", "recursion limit")),
        ("server: {addr: a}\nserver: {addr: b}", (2, "", "the key \"server\" stands here a second time")),
        ("users:\n  a: {}\n  'a': {}", (3, "", "the key \"a\" stands here a second time")),
        ("users: {}\n---\nacl: []", (2, "", "a second document starts here")),
        ("users: *nobody", (1, "", "this is not YAML")),
        ("users: &a {b: *a}", (1, "", "")),
        ("users: {a: b", (1, "", "the { of this line is not closed")),
        ("users:\n\t- a", (2, "", "this is not YAML")),
        ("users:\n  ? [a]\n  : b", (2, "", "a key must be a single value")),
        ("users:\n  ~: {}", (2, "", "a key is missing")),
        ("users: !ruby/object {}", (1, "", "")),
        ("users: {<<: text}", (1, "", "\"<<\" takes a map")),
    ];
    for (text, (line, path, piece)) in cases {
        let started = Instant::now();
        let problems = read_with(text, &[]).err().unwrap_or_default();
        assert!(started.elapsed() < Duration::from_secs(2), "{:?} for {text:.80}", started.elapsed());
        assert!(!problems.is_empty(), "{text:.80}");
        if !piece.is_empty() {
            let [problem] = problems.as_slice() else { panic!("{text:.80}: {problems:?}") };
            assert_eq!(
                (&problem.place, problem.path.as_str()),
                (&Place::Line(*line), *path),
                "{text:.80}: {problem:?}"
            );
            assert!(problem.message.contains(piece), "{text:.80}: {problem:?}");
        }
    }
}

/// What a newcomer writes first, and what to write instead.
#[test]
fn common_slips_are_told_with_what_is_meant() {
    let hash = ALICE_HASH;
    let rule = |text: &str| format!("acl:\n  - {{match: {{{text}}}, actions: [pull]}}");
    let user = |text: &str| format!("users:\n  alice: {{{text}}}");
    let token = |text: &str| format!("token: {{issuer: Acme, certificate: c, key: k, {text}}}");
    let cases: &[(String, &[Expected<'_>])] = &[
        (
            format!("users:\nbob:\n  password: \"{hash}\""),
            &[(1, "users", "no way to log in"), (2, "bob", "this looks like an account, and belongs below users:")],
        ),
        ("match: {account: a}".to_owned(), &[(1, "match", "this is part of a rule, and belongs below acl:")]),
        (
            rule("ip: [10.0.0.0/8, 10.1.2.3]"),
            &[(2, "acl[0].match.ip", "one value is expected here, not a list; write a rule for each network")],
        ),
        (
            rule("account: [bob, eve]"),
            &[(2, "acl[0].match.account", "not a list; write one expression for all of them, \"/^(one|two)$/\"")],
        ),
        (
            rule("labels: {team: [web, api]}"),
            &[(2, "acl[0].match.labels.team", "not a list; write one expression for all of them")],
        ),
        (rule("team: web"), &[(2, "acl[0].match.team", "for a label of the account's, write labels: {team: …}")]),
        (rule("acount: a"), &[(2, "acl[0].match.acount", "did you mean \"account\"?")]),
        (rule("tags: a"), &[(2, "acl[0].match.tags", "did you mean \"tag\"?")]),
        (rule("repository: a"), &[(2, "acl[0].match.repository", "did you mean \"name\"?")]),
        (rule("actions: [pull]"), &[(2, "acl[0].match.actions", "this belongs to the rule: beside match")]),
        (
            format!("users:\n  \"bob:{hash}\":"),
            &[(2, "users.bob", "this is a line of an htpasswd file; write alice: {password:")],
        ),
        (user(&format!("password: \"bob:{hash}\"")), &[(2, "users.alice.password", "take what follows the colon")]),
        (
            user("password: \"$argon2id$v=19$m=65536\""),
            &[(2, "users.alice.password", "this is an Argon2 hash ($argon2id$), not a bcrypt hash")],
        ),
        ("users:\n  alice: \"password:x\"".to_owned(), &[(2, "users.alice", "a space is missing after the colon?")]),
        (
            user("password: a,Zq7"),
            &[
                (2, "users.alice.password", "this is not a bcrypt hash"),
                (2, "users.alice", "a key stands here that does not exist"),
            ],
        ),
        (token("reuse: 0.5"), &[(1, "token.reuse", "\"0.5\" is not a duration")]),
        (
            "server: {addr: \":1\", key: \"-----BEGIN PRIVATE KEY----- MII\"}".to_owned(),
            &[(1, "server.key", "a key or a certificate itself stands here; write it into a file")],
        ),
        (
            around_gateway("realm: \"https://user:secret@auth.example.org/auth\", challenge: bearer"),
            &[
                (1, "gateway.realm", "every client is told this address, so it must not contain a user or a password"),
                (1, "gateway.realm", "clients need the address"),
            ],
        ),
    ];
    let wrong: Vec<String> =
        cases.iter().filter_map(|(text, expected)| difference(&around(text), &[], expected)).collect();
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

fn around_gateway(text: &str) -> String {
    format!("gateway: {{service: registry, {text}, upstreams: [{{url: \"http://127.0.0.1:1\"}}]}}")
}

/// Every number and every length of time, in a form that templates write.
#[test]
fn numbers_are_taken_in_every_form_that_go_yaml_takes() {
    let dial = "dial_info: {addrs: [a], database: d, timeout: 1e+00}";
    let text = format!(
        "server: {{addr: \":1\", max_connections_per_address: 1e+03, real_ip_header: X-F, real_ip_pos: -0x1}}\n\
         token: {{issuer: Acme, certificate: c, key: k, expiration: 1e+06, reuse: 0x3c}}\n\
         gateway: {{service: s, upstreams: [{{url: \"http://127.0.0.1:2\", connect_timeout: 5.0, response_timeout: 0b11, \
         idle_timeout: 1_0}}]}}\n\
         ext_auth: {{command: c, timeout: 010, concurrency: 1_6}}\n\
         ldap_auth: {{addr: localhost, base: dc=x, filter: \"(uid=${{account}})\", pool_size: 0o10, deadline: 1.5e1, \
         connect_timeout: 1.0, timeout: 2.}}\n\
         mongo_auth: {{{dial}, collection: u, deadline: 2.0}}\n\
         acl_mongo: {{{dial}, collection: a, cache_ttl: 1e1, max_stale: 0x3C}}\n\
         http_auth: {{url: \"https://a/\", headers: {{A: \"${{basic}}\"}}, accept: [2e2], reject: [0x191], timeout: 1.0, \
         cache_ttl: 1_0, concurrency: 1e+02}}\n\
         http_authz: {{url: \"https://a/\", timeout: 01, concurrency: 0x10, cache_ttl: 10.0}}\n\
         ext_authz: {{command: c, timeout: 5.0, concurrency: 0b10}}\n\
         users: {{}}\nacl: []\n"
    );
    let config = read_with(&text, &[]).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(config.server.connections_per_address, 1000);
    assert_eq!(
        (config.token.life, config.token.reuse),
        (Duration::from_secs(1_000_000), Some(Duration::from_secs(60)))
    );
    let upstream = &config.gateway.as_ref().unwrap().upstreams[0];
    let seconds = [upstream.connect_within, upstream.respond_within, upstream.idle_for].map(|time| time.as_secs());
    assert_eq!(seconds, [5, 3, 10]);
    let program = &config.backends.get::<ProgramUsers>().unwrap().program;
    assert_eq!((program.timeout.as_secs(), program.concurrency), (8, 16));
    // What Go refuses is refused with its line.
    for (key, value) in [("expiration", "1:30"), ("expiration", "_1"), ("reuse", "0b2"), ("expiration", "900.5")] {
        let text = around(&format!("token: {{issuer: Acme, certificate: c, key: k, {key}: \"{value}\"}}"));
        expect(&text, &[], &[(1, &format!("token.{key}"), "is not a duration")]);
    }
}

#[test]
fn quotation_marks_in_the_issuer_are_a_warning() {
    for (issuer, is_told) in [
        ("\u{201c}Acme\u{201d}", true),
        ("\u{201e}Acme\u{201c}", true),
        ("\u{ab}Acme\u{bb}", true),
        ("\"'Acme'\"", true),
        ("'\"Acme\"'", true),
        ("\"Acme\"", false),
        ("\"Ann's\"", false),
    ] {
        let text = around(&format!("token: {{issuer: {issuer}, certificate: c, key: k, services: [{issuer}]}}"));
        let config = read_with(&text, &[]).unwrap_or_else(|problems| panic!("{problems:?}"));
        let told: Vec<&str> = config
            .warnings
            .iter()
            .filter(|warning| warning.message.contains("quotation marks are part of this text"))
            .map(|warning| warning.path.as_str())
            .collect();
        let expected: &[&str] = if is_told { &["token.issuer", "token.services"] } else { &[] };
        assert_eq!(told, expected, "{issuer}");
    }
}

#[test]
fn two_listeners_cannot_be_at_one_address() {
    let gateway =
        |addr: &str| format!("gateway: {{addr: {addr}, service: r, upstreams: [{{url: \"http://r.example.org\"}}]}}\n");
    let rest = "token: {issuer: a, certificate: c, key: k}\nusers: {}\nacl: []\n";
    // The server's two addresses, the gateway's, and the key that is refused.
    for (server, of_gateway, refused) in [
        ("addr: \":1\", admin_addr: \":1\"", None, Some("server.admin_addr")),
        ("addr: \":1\", admin_addr: \"127.0.0.1:1\"", None, Some("server.admin_addr")),
        ("addr: \"Localhost:1\", admin_addr: \"localhost:1\"", None, Some("server.admin_addr")),
        ("addr: \"unix:/a\", admin_addr: \"unix:/a\"", None, Some("server.admin_addr")),
        ("addr: \":1\"", Some("\":1\""), Some("gateway.addr")),
        ("addr: \":1\", admin_addr: \"127.0.0.1:2\"", Some("\"127.0.0.1:2\""), Some("gateway.addr")),
        ("addr: \":1\", admin_addr: \"127.0.0.1:2\"", Some("\":3\""), None),
        ("addr: \"127.0.0.1:1\", admin_addr: \"127.0.0.2:1\"", None, None),
        ("addr: \"127.0.0.1:0\", admin_addr: \"127.0.0.1:0\"", Some("\"127.0.0.1:0\""), None),
        ("addr: \"unix:/a\", admin_addr: \"unix:/b\"", None, None),
    ] {
        let text = format!("server: {{{server}}}\n{rest}{}", of_gateway.map(gateway).unwrap_or_default());
        let problems = read_with(&text, &[]).err().unwrap_or_default();
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, refused.into_iter().collect::<Vec<_>>(), "{server} {of_gateway:?}: {problems:?}");
    }
}

#[test]
fn an_api_may_not_be_silent_for_longer_than_an_answer_may_take() {
    for (section, more) in
        [("http_auth", ", account: unchecked, headers: {Authorization: \"${basic}\"}"), ("http_authz", "")]
    {
        for (times, refused) in [
            ("timeout: 5, deadline: 2", true),
            ("timeout: 2, deadline: 2", false),
            ("timeout: 20", false),
            ("deadline: 50ms", false),
        ] {
            let text =
                around(&format!("{section}: {{url: \"http://127.0.0.1:1/\"{more}, {times}}}\nusers: {{}}\nacl: []\n"));
            let problems = read_with(&text, &[]).err().unwrap_or_default();
            assert_eq!(!problems.is_empty(), refused, "{section} {times}: {problems:?}");
            if refused {
                assert_eq!(problems[0].path, format!("{section}.timeout"));
                assert!(problems[0].message.contains("2000 ms (deadline)"), "{problems:?}");
            }
        }
    }
}

#[test]
fn a_condition_that_holds_nothing_is_warned_of() {
    for (condition, whom) in [
        ("account: ~", Some("everybody")),
        ("labels: ~", Some("everybody")),
        ("ip: ", Some("every address")),
        ("name: null", Some("every name")),
        ("type: ~", Some("every type")),
        ("service: ~", Some("every service")),
        ("tag: ~", Some("every tag and digest")),
        ("account: \"\"", None),
        ("account: alice", None),
    ] {
        let text = around(&format!("users: {{}}\nacl:\n- match: {{{condition}}}\n  actions: []\n"));
        let config = read_with(&text, &[]).unwrap_or_else(|problems| panic!("{problems:?}"));
        let told: Vec<&str> = config.warnings.iter().map(|warning| warning.message.as_str()).collect();
        let key = condition.split(':').next().unwrap();
        match whom {
            None => assert!(told.is_empty(), "{condition}: {told:?}"),
            Some(whom) => {
                assert_eq!(told.len(), 1, "{condition}: {told:?}");
                assert!(
                    told[0].starts_with(&format!("nothing is written here, so the rule is for {whom};")),
                    "{told:?}"
                );
                assert_eq!(config.warnings[0].path, format!("acl[0].match.{key}"));
            }
        }
    }
}
