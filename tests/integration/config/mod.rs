//! The configuration reader: what loads and what it then means, and for what does not, every problem with its line.

mod canary;
mod gateway;
mod ldap;
mod mongo;
mod problems;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dockwarden::authn::users::{User, Users};
use dockwarden::authn::{Account, AccountState};
use dockwarden::authz::rules::Rules;
use dockwarden::config::{Config, Hsts, ListenAddress, Pair, Problem, Secrets};
use dockwarden::keys::KidForm;
use dockwarden::token::HeaderForm;
use policy::pattern::{Field, LabelValue, Pattern};
use policy::rule::Rule;
use settings::Place;
use time::OffsetDateTime;

use crate::bed::{ALICE_HASH, Folder};

type Variables<'a> = &'a [(&'a str, &'a str)];

fn read_with(text: &str, variables: Variables<'_>) -> Result<Config, Vec<Problem>> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::read(Path::new("auth.yml"), text, variables, Secrets::Skip)
}

fn loaded(text: &str) -> Config {
    read_with(text, &[]).unwrap_or_else(|problems| panic!("{problems:?} in\n{text}"))
}

fn users(config: &Config) -> &BTreeMap<Account, User> {
    &config.backends.get::<Users>().unwrap().named
}

fn rules(config: &Config) -> &[Rule] {
    config.backends.get::<Rules>().unwrap().acl.rules()
}

/// A whole file around the sections that a case is about: its first line is the case's first line.
fn around(text: &str) -> String {
    let has = |section: &str| text.lines().any(|line| line.trim_start_matches('\u{feff}').starts_with(section));
    let mut whole = format!("{text}\n");
    for (section, line) in [
        ("server:", "server: {addr: \":5001\"}\n"),
        ("token:", "token: {issuer: Acme, certificate: token.crt, key: token.key}\n"),
        ("users:", "users: {}\n"),
        ("acl:", "acl: []\n"),
    ] {
        if !has(section) {
            whole.push_str(line);
        }
    }
    whole
}

/// A problem as the tables below write it: line, key, a piece of the message.
type Expected<'a> = (usize, &'a str, &'a str);

fn expect(text: &str, variables: Variables<'_>, expected: &[Expected<'_>]) {
    if let Some(difference) = difference(text, variables, expected) {
        panic!("{difference}");
    }
}

/// How the problems of a text differ from what is expected, if they do.
fn difference(text: &str, variables: Variables<'_>, expected: &[Expected<'_>]) -> Option<String> {
    let problems = read_with(text, variables).err().unwrap_or_default();
    let found: Vec<String> = problems.iter().map(|problem| problem.in_file(Path::new("auth.yml"))).collect();
    let same = problems.len() == expected.len()
        && problems.iter().zip(expected).all(|(problem, (line, path, piece))| {
            problem.place == Place::Line(*line) && problem.path == *path && problem.message.contains(piece)
        });
    (!same).then(|| format!("\n{}\nis not\n{expected:?}\nfor\n{text}", found.join("\n")))
}

#[test]
fn nobody_and_nothing_may_be_configured_but_have_to_be_written() {
    let config = loaded(&around("users: {}\nacl: []"));
    assert!(
        config.backends.get::<Users>().is_none() && rules(&config).is_empty() && config.warnings.is_empty(),
        "{:?}",
        config.warnings
    );
    for (missing, path) in [("users: {}", "acl"), ("acl: []", "users")] {
        let text = format!("server: {{addr: \":1\"}}\ntoken: {{issuer: a, certificate: c, key: k}}\n{missing}\n");
        let problems = read_with(&text, &[]).err().unwrap_or_default();
        assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), [path]);
    }
}

/// What a file's scalars mean, seen in the labels of a user, the rules and the settings.
#[test]
fn names_keep_the_text_that_was_written() {
    let text = format!(
        "users:\n  1.10: {{password: \"{ALICE_HASH}\", labels: {{yes: [no, 1.10, 0x10, 010, 1e3, ~x, 2026-01-01, 'true', \"null\"]}}}}\n  on: {{password: \"{ALICE_HASH}\"}}\n  0123: {{password: \"{ALICE_HASH}\", labels: {{one: single}}}}\n  true: {{password: \"{ALICE_HASH}\"}}\nacl:\n  - match: {{account: 1.10, name: 010, service: yes, type: ~}}\n    actions: [pull]\n    comment: 7\n"
    );
    let config = loaded(&around(&text));
    let accounts: Vec<&str> = users(&config).keys().map(Account::as_str).collect();
    assert_eq!(accounts, ["0123", "1.10", "on", "true"]);
    let labels = &users(&config)["1.10"].labels["yes"];
    let labels: Vec<&str> = labels.iter().map(LabelValue::text).collect();
    assert_eq!(labels, ["no", "1.10", "0x10", "010", "1e3", "~x", "2026-01-01", "true", "null"]);
    assert_eq!(users(&config)["0123"].labels["one"].len(), 1);
    let rule = &rules(&config)[0];
    let pattern = |field| rule.pattern(field).map(Pattern::text);
    assert_eq!(pattern(Field::Account), Some("1.10"));
    assert_eq!(pattern(Field::Name), Some("010"));
    assert_eq!(pattern(Field::Service), Some("yes"));
    assert_eq!(pattern(Field::Type), None, "~ is any");
    assert_eq!(rule.comment(), Some("7"));
}

#[test]
fn yaml_is_read_as_docker_auth_reads_it() {
    let anchors = format!(
        "users:\n  alice: &base\n    password: &hash \"{ALICE_HASH}\"\n    labels: {{team: [web]}}\n  bob:\n    <<: *base\n    labels: {{team: [api]}}\n  carol: *base\n  dave: {{password: *hash}}\n  erin:\n    <<: [{{disabled: true}}, *base]\nacl:\n  - &rule\n    match: {{account: alice}}\n    actions: [pull]\n  - {{<<: *rule, match: {{account: bob}}}}\n  - *rule\n"
    );
    let config = loaded(&around(&anchors));
    let team = |account: &str| users(&config)[account].labels.get("team").map(|values| values[0].text());
    assert_eq!(
        (team("alice"), team("bob"), team("carol"), team("dave"), team("erin")),
        (Some("web"), Some("api"), Some("web"), None, Some("web"))
    );
    assert_eq!(users(&config)["erin"].standing.state, AccountState::Disabled);
    assert_eq!(users(&config)["bob"].standing.state, AccountState::Enabled);
    assert_eq!(rules(&config).len(), 3);
    // Line ends and a byte order mark change nothing, lines are counted all the same.
    let text = around("users: {}\nacl:\n  - match: {}\n    actions: [pull]");
    for text in [
        text.replace('\n', "\r\n"),
        format!("\u{feff}{text}"),
        format!("\u{feff}---\n{text}...\n"),
        format!("%YAML 1.2\n---\n{text}"),
    ] {
        assert_eq!(rules(&loaded(&text)).len(), 1, "{text:?}");
    }
    expect(
        "\u{feff}server: {addr: 1}\r\nusers: {}\r\nacl: []\r\ntokn: {}\r\n",
        &[],
        &[(1, "server.addr", "is not an address"), (1, "token", "missing"), (4, "tokn", "did you mean \"token\"?")],
    );
}

#[test]
fn environment_variables_override_single_values() {
    let base = around(&format!(
        "token:\n  issuer: Acme\n  certificate: c\n  key: k\nusers:\n  alice: {{password: \"{ALICE_HASH}\"}}\nacl:\n  - {{match: {{account: a}}, actions: [pull]}}\n  - {{match: {{account: b}}, actions: [pull]}}"
    ));
    let with = |variables: Variables<'_>| read_with(&base, variables).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(with(&[]).token.issuer, "Acme");
    assert_eq!(with(&[("DOCKWARDEN__TOKEN__ISSUER", "Other")]).token.issuer, "Other");
    assert_eq!(with(&[("DOCKWARDEN__TOKEN__EXPIRATION", "15m")]).token.life, Duration::from_secs(900));
    assert_eq!(with(&[("DOCKWARDEN__SERVER__HSTS", "true")]).server.hsts, Hsts::Sent);
    assert_eq!(
        users(&with(&[("DOCKWARDEN__USERS__ALICE__DISABLED", "true")]))["alice"].standing.state,
        AccountState::Disabled
    );
    assert_eq!(
        with(&[("OTHER__TOKEN__ISSUER", "x"), ("DOCKWARDEN_TOKEN_ISSUER", "x"), ("PATH", "x")]).token.issuer,
        "Acme"
    );
    let second = with(&[("DOCKWARDEN__ACL__1__MATCH__ACCOUNT", "carol")]);
    let account = |config: &Config, index: usize| {
        let field = Field::Account;
        rules(config)[index].pattern(field).map(|pattern| pattern.text().to_owned())
    };
    assert_eq!((account(&second, 0), account(&second, 1)), (Some("a".to_owned()), Some("carol".to_owned())));

    for (name, value, path, piece) in [
        ("DOCKWARDEN__TOKEN__ISUER", "x", "token.isuer", "did you mean \"issuer\"?"),
        ("DOCKWARDEN__TOKEN__EXPIRATION", "0", "token.expiration", "at least one second"),
        ("DOCKWARDEN__NOTHING", "x", "nothing", "there is no such key"),
        ("DOCKWARDEN__TOKEN", "x", "", "a variable overrides one value"),
        ("DOCKWARDEN__ACL__2__COMMENT", "x", "", "\"2\" is not a position in this list"),
        ("DOCKWARDEN__ACL__FIRST__COMMENT", "x", "", "\"FIRST\" is not a position"),
        ("DOCKWARDEN__TOKEN__ISSUER__X", "x", "", "inside a single value"),
        ("DOCKWARDEN__TOKEN____ISSUER", "x", "", "the name has an empty part"),
        ("DOCKWARDEN__PLUGIN_AUTHN__PLUGIN_PATH", "x", "plugin_authn", "Go plugins cannot be loaded"),
    ] {
        let problems = read_with(&base, &[(name, value)]).err().unwrap_or_default();
        let [problem] = problems.as_slice() else { panic!("{name}: {problems:?}") };
        assert_eq!((&problem.place, problem.path.as_str()), (&Place::Environment(name.to_owned()), path));
        assert!(problem.message.contains(piece), "{name}: {}", problem.message);
        assert!(problem.in_file(Path::new("auth.yml")).starts_with(name), "the variable is named, not the file");
    }
}

/// Accounts may differ in case only; a variable then speaks of the one that it spells.
#[test]
fn a_variable_prefers_the_key_that_it_spells() {
    let hash = ALICE_HASH;
    let text = around(&format!("users: {{Alice: {{password: \"{hash}\"}}, alice: {{password: \"{hash}\"}}}}"));
    for (name, expected) in [("Alice", [true, false]), ("alice", [false, true])] {
        let variable = format!("DOCKWARDEN__USERS__{name}__DISABLED");
        let config = read_with(&text, &[(variable.as_str(), "true")]).unwrap_or_else(|problems| panic!("{problems:?}"));
        let disabled =
            ["Alice", "alice"].map(|account| users(&config)[account].standing.state == AccountState::Disabled);
        assert_eq!(disabled, expected, "{variable}");
    }
}

/// An empty list of audiences names none; it must not mean "any", as leaving the key out does.
#[test]
fn an_empty_list_of_services_is_not_every_service() {
    let text = around("token: {issuer: a, certificate: c, key: k, services: []}");
    let problems = read_with(&text, &[]).err().unwrap_or_default();
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["token.services"]);
}

#[test]
fn lengths_of_time_are_seconds_or_have_units() {
    for (written, seconds) in [
        ("900", 900),
        ("\"900\"", 900),
        ("15m", 900),
        ("1h", 3600),
        ("1h30m", 5400),
        ("90s", 90),
        ("24h", 86400),
        ("1", 1),
        ("1000ms", 1),
    ] {
        let config = loaded(&around(&format!("token: {{issuer: a, certificate: c, key: k, expiration: {written}}}")));
        assert_eq!(config.token.life, Duration::from_secs(seconds), "{written}");
        let warned = config.warnings.iter().any(|warning| warning.path == "token.expiration");
        assert_eq!(warned, seconds < 60, "{written}: {:?}", config.warnings);
    }
}

#[test]
fn what_is_left_out_has_its_default_and_what_is_written_its_meaning() {
    let config = loaded(&around(""));
    assert_eq!(config.server.listen, ListenAddress::Tcp { host: String::new(), port: 5001 });
    assert_eq!(config.token.life, Duration::from_secs(300));
    assert_eq!((config.token.header, config.token.kid), (HeaderForm::X5c, KidForm::Libtrust));
    assert_eq!((config.server.hsts, config.server.path_prefix.as_str()), (Hsts::Omitted, ""));
    assert!(config.token.services.is_empty() && config.server.admin.is_none() && config.server.pair.is_none());
    let config = loaded(&around(
        "server: {addr: /run/auth.sock, net: unix, admin_addr: \"[::1]:9\", path_prefix: /x/, hsts: on}\ntoken: {issuer: a, certificate: c, key: k, header: kid, disable_legacy_key_id: true, services: [a, b]}",
    ));
    assert_eq!(config.server.listen, ListenAddress::Unix("/run/auth.sock".into()));
    assert_eq!(config.server.admin, Some(ListenAddress::Tcp { host: "::1".to_owned(), port: 9 }));
    assert_eq!((config.server.hsts, config.server.path_prefix.as_str()), (Hsts::Sent, "/x"));
    assert_eq!((config.token.header, config.token.kid), (HeaderForm::Kid, KidForm::Thumbprint));
    assert_eq!(config.token.services, ["a", "b"]);
    // The pair that signs is the server's where the section names none, as in docker_auth.
    let config = loaded(&around("server: {addr: \":1\", certificate: s.crt, key: s.key}\ntoken: {issuer: a}"));
    assert_eq!(config.token.certificate, Path::new("s.crt"));
    let config = loaded(&around(
        "server: {addr: \":1\", certificate: s.crt, key: s.key}\ntoken: {issuer: a, certificate: t.crt, key: t.key}",
    ));
    assert_eq!(config.token.certificate, Path::new("t.crt"));
}

/// Settings that templates fill with nothing, as Helm charts do: docker_auth reads each as if it were not there.
#[test]
fn what_is_empty_is_as_if_it_were_left_out() {
    let plain = loaded(&around(""));
    let described = |config: &Config| format!("{:?} {:?}", config.server, config.token);
    for server in [
        "certificate: \"\", key: \"\"",
        "certificate: ~, key:",
        "real_ip_header: \"\"",
        "real_ip_header: \"\", real_ip_pos: 0",
        "real_ip_pos: 0",
        "letsencrypt: ~",
        "net: \"\", path_prefix: \"\", tls_min_version: ~, hsts: ~, trusted_proxies: ~, admin_addr: ~",
    ] {
        let config = loaded(&around(&format!("server: {{addr: \":5001\", {server}}}")));
        assert_eq!(described(&config), described(&plain), "{server}");
        assert_eq!(config.warnings, [], "{server}");
    }
    for section in ["mongo_auth: ~", "acl_mongo:", "github_auth: null", "ext_auth: ~\nplugin_authz: ~"] {
        assert_eq!(loaded(&around(section)).warnings, [], "{section}");
    }
    // An empty pair of the token's is none, so that the server's signs.
    let server = "server: {addr: \":1\", certificate: s.crt, key: s.key}";
    let config = loaded(&around(&format!("{server}\ntoken: {{issuer: a, certificate: \"\", key: \"\"}}")));
    assert_eq!(config.token.certificate, Path::new("s.crt"));
    // Nothing else takes the place of what is needed.
    let hash = ALICE_HASH;
    for (text, expected) in [
        ("server: {addr: \":1\", certificate: c, key: \"\"}", (1, "server.key", "without its key")),
        ("server: {addr: \":1\", real_ip_pos: 1}", (1, "server.real_ip_pos", "no meaning without real_ip_header")),
        ("server: {addr: \":1\", real_ip_pos: -1}", (1, "server.real_ip_pos", "no meaning without real_ip_header")),
        (
            "server: {addr: \":1\", letsencrypt: {host: a, email: a@b}}",
            (1, "server.letsencrypt.cache_dir", "without a folder"),
        ),
        ("token: {issuer: a, certificate: \"\", key: \"\"}", (1, "token.certificate", "needed to sign tokens")),
        ("token: {issuer: \"\", certificate: c, key: k}", (1, "token.issuer", "an issuer is needed")),
        ("users: {alice: {password: \"\"}}", (1, "users.alice.password", "bcrypt hash")),
        ("users: {alice: {password: ~}}", (1, "users.alice.password", "bcrypt hash")),
        ("plugin_authn: {}", (1, "plugin_authn", "Go plugins cannot be loaded")),
        ("users: {alice: {password_file: \"\"}}", (1, "users.alice.password", "bcrypt hash")),
        ("users: {alice: {password: \"\"}}", (1, "users.alice.password", "bcrypt hash")),
    ] {
        expect(&around(text), &[], &[expected]);
    }
    let both = format!("users: {{alice: {{password: \"{hash}\", password_file: ~, disabled: ~, labels: ~}}}}");
    assert!(users(&loaded(&around(&both)))["alice"].password.is_some());
}

#[test]
fn what_loads_but_is_dangerous_is_a_warning() {
    for (server, path, piece) in [
        ("real_ip_header: X-Forwarded-For", "server.real_ip_header", "name your proxies in trusted_proxies"),
        ("real_ip_header: X-Forwarded-For, real_ip_pos: -1", "server.real_ip_header", "believed from anybody"),
        (
            "real_ip_header: X-F",
            "server.real_ip_header",
            "limits by network count for whatever address a client writes",
        ),
        ("real_ip_header: X-F", "server.real_ip_header", "connections are not limited by network at all"),
        ("real_ip_header: Forwarded, trusted_proxies: [10.0.0.1]", "server.real_ip_header", "send X-Forwarded-For"),
        ("tls_min_version: TLS10", "server.tls_min_version", "TLS 1.2 is the minimum"),
        ("tls_min_version: TLS11", "server.tls_min_version", "TLS 1.2 is the minimum"),
        ("tls_curve_preferences: [P521, P256]", "server.tls_curve_preferences", "\"P521\" is not among the curves"),
        (
            "tls_cipher_suites: [TLS_RSA_WITH_RC4_128_SHA, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]",
            "server.tls_cipher_suites",
            "it is left out",
        ),
    ] {
        let config = loaded(&around(&format!("server: {{addr: \":1\", {server}}}")));
        let [warning] = config.warnings.as_slice() else { panic!("{server}: {:?}", config.warnings) };
        assert_eq!((&warning.place, warning.path.as_str()), (&Place::Line(1), path), "{server}");
        assert!(warning.message.contains(piece), "{server}: {}", warning.message);
    }
    for (life, piece) in [("59s", "below 60 seconds"), ("25h", "a token keeps a right that you take away")] {
        let token = format!("token: {{issuer: a, certificate: c, key: k, expiration: {life}}}");
        let config = loaded(&around(&token));
        let [warning] = config.warnings.as_slice() else { panic!("{life}: {:?}", config.warnings) };
        assert_eq!(warning.path, "token.expiration");
        assert!(warning.message.contains(piece), "{life}: {}", warning.message);
    }
    for server in [
        "trusted_proxies: [10.0.0.0/8]",
        "trusted_proxies: 10.0.0.1, real_ip_header: X-F",
        "tls_min_version: TLS12",
        "tls_min_version: tls1.3",
    ] {
        assert_eq!(loaded(&around(&format!("server: {{addr: \":1\", {server}}}"))).warnings, [], "{server}");
    }
}

#[test]
fn secrets_may_be_files_of_their_own() {
    let folder = Folder::new();
    for written in [ALICE_HASH.to_owned(), format!("{ALICE_HASH}\n"), format!("{ALICE_HASH}\r\n")] {
        let file = folder.put("alice.hash", &written);
        let text = around(&format!("users: {{alice: {{password_file: {}}}}}", file.display()));
        let config = loaded(&text);
        assert!(users(&config)["alice"].password.is_some());
        assert!(config.files.contains(&file), "a change of the file means to read all again: {:?}", config.files);
    }
    let file = folder.put("alice.hash", "not a hash");
    let text = around(&format!("users: {{alice: {{password_file: {}}}}}", file.display()));
    expect(&text, &[], &[(1, "users.alice.password", "this is not a bcrypt hash")]);
}

#[test]
fn the_pair_is_read_and_judged_with_the_file() {
    let folder = Folder::new();
    let text = folder.complete("");
    let file = Path::new("auth.yml");
    let read = |text: &str| Config::read(file, text, [], Secrets::Read);
    let config = read(&text).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(matches!(config.token.pair, Pair::Loaded(_)) && config.warnings.is_empty(), "{:?}", config.warnings);
    for name in ["token.crt", "token.key"] {
        assert!(config.files.contains(&folder.path(name)), "{:?}", config.files);
    }
    // Missing files, one problem each; with `generate` the pair is made later, and only if no certificate is there.
    let elsewhere = text.replace("token.crt", "none.crt").replace("token.key", "none.key");
    let problems = read(&elsewhere).err().unwrap_or_default();
    let found: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(found, ["token.certificate", "token.key"], "{problems:?}");
    assert!(problems.iter().all(|problem| problem.message.contains("cannot be read")), "{problems:?}");
    let generate = elsewhere.replace("key: ", "generate: true, key: ");
    let made = read(&generate).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(matches!(made.token.pair, Pair::ToBeMade { key } if key == folder.path("none.key")));
    // Two halves of different pairs, and files that hold something else.
    let other = crate::bed::pair(jsonwebtoken::Algorithm::ES384);
    for (name, content, piece) in [
        ("token.crt", other.certificate_pem.as_str(), "does not belong to the key"),
        ("token.crt", "text", "holds no PEM block"),
        ("token.crt", other.key_pem.as_str(), "holds a private key and no certificate"),
        ("token.key", other.certificate_pem.as_str(), "holds a certificate and no private key"),
        ("token.key", "", "is empty"),
    ] {
        let folder = Folder::new();
        folder.put(name, content);
        let problems = read(&folder.complete("")).err().unwrap_or_default();
        assert!(problems.iter().any(|problem| problem.message.contains(piece)), "{name}: {problems:?}");
    }
}

#[test]
fn the_example_file_has_no_problem() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.yml")).unwrap();
    // `make run` makes this one.
    let folder = Folder::new();
    let hash = folder.put("test.hash", &format!("{}\n", ALICE_HASH.replace("$04$", "$10$"))).display().to_string();
    assert!(text.contains("password_file: certs/test.hash\n"), "{text}");
    let text = text.replace("certs/test.hash", &hash);
    let file = folder.put("config.example.yml", &text);
    let config = Config::load(&file, [], Secrets::Skip).unwrap_or_else(|invalid| panic!("{invalid}"));
    assert_eq!(config.warnings, []);
    let named: Vec<&str> = users(&config).keys().map(Account::as_str).collect();
    let has_anonymous = config.backends.get::<Users>().unwrap().anonymous.is_some();
    assert_eq!((has_anonymous, named.as_slice()), (true, ["admin", "test"].as_slice()));
    // Every setting that is commented out in it is one that the reader knows, and loads with the value shown.
    let mut shown = 0;
    for line in text.lines() {
        let Some((indent, setting)) = line.split_once("# ").filter(|(indent, _)| indent.trim().is_empty()) else {
            continue;
        };
        let key = setting.split(':').next().unwrap_or_default();
        let is_setting = setting.contains(": ")
            && !key.is_empty()
            && key.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'_');
        // A pair of files goes together, so each alone is a problem of another kind.
        if !is_setting || ["certificate", "key"].contains(&key) {
            continue;
        }
        shown += 1;
        let with = text.replacen(line, &format!("{indent}{setting}"), 1);
        let problems = read_with(&with, &[]).err().unwrap_or_default();
        assert!(problems.is_empty(), "{setting}: {problems:?}");
    }
    assert!(shown >= 10, "only {shown} settings are shown");
}

/// Whoever sees a message or a dump of the configuration learns no hash and no key.
#[test]
fn no_message_and_no_dump_holds_a_secret() {
    let secrets = ["canary-plain-password", "9UGc9IJbl39mlDZvvYWvWECKJosLcIu", "hunter2"];
    let wrong = format!(
        "users:\n  alice: {{password: canary-plain-password}}\n  bob: {{password: \"{ALICE_HASH}x\"}}\n  carol: {{password: [hunter2]}}\n  dave: {{password: \"{ALICE_HASH}\", password_file: hunter2x}}\n"
    );
    let problems = read_with(&around(&wrong), &[]).err().unwrap_or_default();
    assert!(problems.len() >= 4, "{problems:?}");
    let debug = format!("{problems:?}");
    let shown = problems.iter().map(|problem| problem.in_file(Path::new("auth.yml"))).collect::<Vec<_>>().join("\n");
    for secret in secrets {
        assert!(!debug.contains(secret) && !shown.contains(secret), "{secret} is in\n{shown}");
    }
    let variables = [("DOCKWARDEN__USERS__ALICE__PASSWORD", "canary-plain-password")];
    let problems = read_with(&around(&format!("users: {{alice: {{password: \"{ALICE_HASH}\"}}}}")), &variables);
    assert!(!format!("{:?}", problems.err()).contains("canary"));
    let folder = Folder::new();
    let config = Config::read(Path::new("auth.yml"), &folder.complete(""), [], Secrets::Read).unwrap();
    let dump = format!("{config:?} {config:#?}");
    let key = std::fs::read_to_string(folder.path("token.key")).unwrap();
    let key_lines = key.lines().filter(|line| line.len() > 40 && !line.contains(' '));
    for secret in key_lines.chain(["9UGc9IJbl39mlDZvvYWvWECKJosLcIu", "BSPqili1AuAUfsGpVfcuMOCPHEQzfIC", "PRIVATE KEY"])
    {
        assert!(!dump.contains(secret), "{secret} is in the dump");
    }
}

/// How long a proxy's connections may rest.
#[test]
fn proxies_may_be_let_rest_for_longer() {
    let proxies = "trusted_proxies: [10.0.0.0/8]";
    for (server, seconds) in [
        (proxies.to_owned(), 75),
        (format!("{proxies}, idle_timeout: 75"), 75),
        (format!("{proxies}, idle_timeout: 620s"), 620),
        (format!("{proxies}, idle_timeout: 2h"), 7200),
        ("idle_timeout: 4m, net: unix".to_owned(), 240),
    ] {
        let config = loaded(&around(&format!("server: {{addr: \":1\", {server}}}")));
        assert_eq!((config.server.proxy_rest(), config.warnings.len()), (Duration::from_secs(seconds), 0), "{server}");
    }
    for value in ["0", "74", "74999ms", "2h1s", "7201"] {
        expect(
            &around(&format!("server: {{addr: \":1\", {proxies}, idle_timeout: {value}}}")),
            &[],
            &[(1, "server.idle_timeout", "for 75 seconds as it is, and for 7200 at most; write 620")],
        );
    }
    let config = loaded(&around("server: {addr: \":1\", idle_timeout: 620}"));
    let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    assert_eq!((&warning.place, warning.path.as_str()), (&Place::Line(1), "server.idle_timeout"));
    assert!(warning.message.contains("name yours in trusted_proxies"), "{}", warning.message);
    let asked = "server: {addr: \":1\", idle_timeout: 620}\nforward_auth: {trusted_proxies: [unix], service: a}";
    assert_eq!(loaded(&around(asked)).warnings, []);
}

/// What certbot or cert-manager renews is the wrong pair to sign with.
#[test]
fn a_signing_pair_that_is_likely_to_be_renewed_is_a_warning() {
    let folder = Folder::new();
    let read = |text: &str| {
        let config = Config::read(Path::new("auth.yml"), &folder.complete(text), [], Secrets::Read).unwrap();
        config.warnings.into_iter().map(|warning| (warning.path, warning.message)).collect::<Vec<_>>()
    };
    let tls = "server: {addr: \":1\", certificate: $DIR/token.crt, key: $DIR/token.key}\n";
    for ending in ["crt", "key"] {
        std::fs::copy(folder.path(&format!("token.{ending}")), folder.path(&format!("tls.{ending}"))).unwrap();
    }
    assert_eq!(read("").len() + read(&tls.replace("/token", "/tls")).len(), 0);
    for token in ["token: {issuer: Acme}\n", ""] {
        let [(path, message)] = read(&format!("{tls}{token}")).try_into().unwrap();
        assert_eq!(path, "token.certificate");
        for piece in [
            "the pair that signs tokens is the one that server speaks TLS with",
            "when it is renewed, registries refuse every token",
            "generate: true",
            "an authority of your own",
        ] {
            assert!(message.contains(piece), "{message}");
        }
    }
    // A random key of one's own would bring another warning, once in 128 times: a coordinate that begins with zeros.
    let key = rcgen::KeyPair::from_pem(&std::fs::read_to_string(folder.path("token.key")).unwrap()).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.not_before = OffsetDateTime::now_utc();
    params.not_after = params.not_before + time::Duration::days(90);
    folder.put("token.crt", &params.self_signed(&key).unwrap().pem());
    let [(path, message)] = read("").try_into().unwrap();
    assert_eq!(path, "token.certificate");
    assert!(message.starts_with("the pair that signs tokens lives for 90 days: "), "{message}");
    let [(_, message)] = read(&format!("{tls}token: {{issuer: Acme}}\n")).try_into().unwrap();
    assert!(message.contains(" is the one that server speaks TLS with and lives for 90 days: "), "{message}");
}
