//! The MongoDB sections: what of them loads, and each slip by name.

use std::path::Path;

use dockwarden::config::{Config, Secrets};
use dockwarden::{authn, authz};

use super::{around, read_with};

/// The guide's own file, but for its way to the password.
const GUIDE: &str = concat!(
    "server: {addr: \":5001\"}\n",
    "token: {issuer: Acme auth server, expiration: 900, certificate: c, key: k}\n",
    include_str!("../../support/guide_mongodb.yml")
);

#[test]
fn the_guides_file_needs_neither_users_nor_acl() {
    let config = read_with(GUIDE, &[]).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(
        config.backends.get::<authn::mongo::MongoAuthSettings>().is_some()
            && config.backends.get::<authz::mongo::AclMongoSettings>().is_some()
    );
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    // No secret gets out by way of a log or a message.
    assert!(!format!("{config:?}").contains("\"test\""), "{config:?}");
    let one_of_them = GUIDE.split("acl_mongo:").next().unwrap_or_default();
    let problems = read_with(one_of_them, &[]).err().unwrap_or_default();
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["acl"], "there have to be rules somewhere");
}

#[test]
fn each_slip_in_a_mongodb_section_is_named() {
    let dial = r#"addrs: ["authdb"], database: "23-5""#;
    for (dial_info, more, expected) in [
        ("", "", "mongo_auth.dial_info: this section is missing"),
        ("{}", "", "mongo_auth.dial_info.addrs: no server is named"),
        ("{}", "", "mongo_auth.dial_info.database: the database's name is missing"),
        ("{addrs: []}", "", "addrs: the list names no server"),
        ("{addrs: [\"host:port\"]}", "", "addrs: this is not a server; write host, host:27017"),
        ("{D, adrs: [x]}", "", "adrs: there is no such key; did you mean \"addrs\"?"),
        ("{D, timeout: soon}", "", "timeout: \"soon\" is not a duration"),
        ("{D, timeout: 0}", "", "timeout: no server can be reached in no time"),
        ("{D, username: ansi}", "", "username: a user name is given without password"),
        ("{D, username: a, password: b, password_file: c}", "", "password_file: give password or password_file"),
        ("{D, username: a, password_file: /nowhere/at/all}", "", "password_file: /nowhere/at/all cannot be read"),
        ("{D, username: a, password: b, mechanism: MONGODB-CR}", "", "mechanism: \"MONGODB-CR\" is not supported"),
        ("{D, mechanism: MONGODB-X509}", "", "mechanism: MONGODB-X509 needs enable_tls: true and client_certificate"),
        ("{D, enable_tls: true, enabled_tls: false}", "", "enabled_tls: this contradicts enable_tls"),
        ("{D, ca_certificate: /nowhere}", "", "enable_tls: certificates are given, and TLS is off"),
        ("{D, enable_tls: true, ca_certificate: /nowhere}", "", "ca_certificate: /nowhere cannot be read"),
        (
            "{D, enable_tls: true, ca_certificate: Cargo.toml}",
            "",
            "ca_certificate: the certificate file holds no PEM block",
        ),
        ("{D, uri: \"mongodb://h\"}", "", "uri: give addrs or uri, not both"),
        ("{uri: \"mongodb://u:p@ss@h/db\"}", "", "uri: this is not a MongoDB URI"),
        ("{uri: \"http://h/db\"}", "", "uri: this is not a MongoDB URI"),
        ("{uri: \"mongodb://h/?tls=true\"}", "", "database: the database's name is missing"),
        ("{uri: \"mongodb://h/db?tls=true&tlsInsecure=true\"}", "", "uri: a server whose certificate nobody checks"),
        (
            "{uri: \"mongodb://h/db?tls=true&tlsAllowInvalidCertificates=true\"}",
            "",
            "uri: a server whose certificate nobody checks",
        ),
        (
            "{D}",
            "collection: ~",
            "mongo_auth.collection: the collection's name is missing; write collection: \"users\"",
        ),
        ("{D}", "label_values: regex", "mongo_auth.label_values: \"regex\" is neither glob nor literal"),
        ("{D}", "deadline: 1h", "mongo_auth.deadline: clients do not wait that long"),
        ("{D}", "colection: x", "mongo_auth.colection: there is no such key"),
    ] {
        let dial_info = dial_info.replace("{D", &format!("{{{dial}"));
        let collection = if more.starts_with("collection") { "" } else { "  collection: users\n" };
        let text = around(&format!("mongo_auth:\n  dial_info: {dial_info}\n{collection}  {more}\n"));
        let problems = Config::read(Path::new("auth.yml"), &text, [], Secrets::Read).err().unwrap_or_default();
        let lines: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
        assert!(lines.iter().any(|line| line.contains(expected)), "{text}{lines:#?}");
        assert!(!lines.concat().contains("p@ss"), "the password is in {lines:?}");
    }
    for (more, expected) in [
        ("cache_ttl: 0", "cache_ttl: rules are read once a second at most"),
        ("cache_ttl: -1s", "cache_ttl: \"-1s\" is not a duration"),
        ("cache_ttl: 10m, max_stale: 5m", "max_stale: rules would be too old before they are read again"),
        ("label_values: glob", "label_values: there is no such key"),
    ] {
        let text = around(&format!("acl_mongo: {{dial_info: {{{dial}}}, collection: acl, {more}}}\n"));
        let problems = Config::read(Path::new("auth.yml"), &text, [], Secrets::Read).err().unwrap_or_default();
        let lines: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
        assert!(lines.iter().any(|line| line.contains(expected)), "{text}{lines:#?}");
    }
}

#[test]
fn what_docker_auths_example_file_says_about_mongodb_loads() {
    let dial = r#"addrs: ["localhost"], database: docker_auth, timeout: "10s", username: "", password: "", password_file: "", enable_tls: false"#;
    let text =
        around(&format!("mongo_auth: {{collection: users, dial_info: {{{dial}, failfast: true, service: s}}}}\n"));
    let config = read_with(&text, &[]).unwrap_or_else(|problems| panic!("{problems:?}"));
    let warnings: Vec<&str> = config.warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(warnings, ["mongo_auth.dial_info.service", "mongo_auth.dial_info.failfast"]);
}

/// Names are printed and logged: what was pasted in their place, with its login, is refused and not repeated.
#[test]
fn what_is_no_name_of_a_database_or_collection_is_refused_unseen() {
    let long = format!("Hunter2Zq9{}", "x".repeat(254));
    let databases = [
        "mongodb://r:Hunter2Zq9@h/x",
        "r:Hunter2Zq9@h",
        "Hunter2Zq9/x",
        "Hunter2Zq9\\\\x",
        "Hunter2Zq9.x",
        "Hunter2Zq9\\\"x",
        "Hunter2Zq9$x",
        "Hunter2Zq9*x",
        "Hunter2Zq9<x",
        "Hunter2Zq9>x",
        "Hunter2Zq9:x",
        "Hunter2Zq9|x",
        "Hunter2Zq9?x",
        "Hunter2Zq9 x",
        "Hunter2Zq9\\0x",
        "Hunter2Zq9\\nx",
        &long[..64],
    ];
    let collections = [
        "mongodb://r:Hunter2Zq9@h/x",
        "r:Hunter2Zq9@h",
        "http://Hunter2Zq9",
        "Hunter2Zq9$x",
        "Hunter2Zq9\\0x",
        "Hunter2Zq9\\nx",
        "system.Hunter2Zq9",
        &long,
    ];
    let place = |key: &str, name: &str| match key {
        "database" => format!("{{dial_info: {{addrs: [h], database: \"{name}\"}}, collection: c}}"),
        "source" => format!(
            "{{dial_info: {{addrs: [h], database: d, username: u, password: p, source: \"{name}\"}}, collection: c}}"
        ),
        "uri" => format!("{{dial_info: {{uri: \"{name}\"}}, collection: c}}"),
        _ => format!("{{dial_info: {{addrs: [h], database: d}}, collection: \"{name}\"}}"),
    };
    let rows = databases.iter().flat_map(|name| [("database", *name), ("source", *name)]);
    let rows = rows.chain(collections.iter().map(|name| ("collection", *name)));
    for (key, name) in rows.chain([("uri", "mongodb://h/a:Hunter2Zq9")]) {
        for section in ["mongo_auth", "acl_mongo"] {
            let text = around(&format!("{section}: {}\n", place(key, name)));
            let problems = read_with(&text, &[]).err().unwrap_or_default();
            let told: Vec<String> = problems.iter().map(|problem| problem.in_file(Path::new("c.yml"))).collect();
            assert_eq!(told.len(), 1, "{key} {name}: {told:?}");
            assert!(told[0].contains(&format!("{key}: ")) && !told[0].contains("Hunter2Zq9"), "{name}: {told:?}");
        }
    }
    for (key, name) in [
        ("database", "docker_auth"),
        ("database", "23-5"),
        ("database", "größe"),
        ("database", &long[..63]),
        ("source", "admin"),
        ("source", "$external"),
        ("collection", "auth.users"),
        ("collection", "my users/2"),
        ("collection", "systems"),
        ("uri", "mongodb://h/docker_auth"),
    ] {
        let text = around(&format!("mongo_auth: {}\n", place(key, name)));
        assert!(read_with(&text, &[]).is_ok(), "{key} {name}");
    }
}
