//! No part of a private key in anything that is said, whatever is wrong with the file that holds it, and whichever key of the
//! configuration names it; and what can be mended is simply read.

use std::fs;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::Algorithm;

use crate::bed::{Bed, Folder, pair};
use crate::logs::{Form, Log};

/// What a key of the configuration wants in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    Key,
    Certificate,
    /// Both in one file.
    Both,
}

/// Every key that names a PEM file: its path, what it wants, and a configuration in which `$FILE` is the file.
const KEYS: &[(&str, Wants, &str)] = &[
    ("token.certificate", Wants::Certificate, "token: {issuer: a, certificate: $FILE, key: $DIR/token.key}\n"),
    ("token.key", Wants::Key, "token: {issuer: a, certificate: $DIR/token.crt, key: $FILE}\n"),
    (
        "server.certificate",
        Wants::Certificate,
        "server: {addr: \"127.0.0.1:0\", certificate: $FILE, key: $DIR/token.key}\n",
    ),
    ("server.key", Wants::Key, "server: {addr: \"127.0.0.1:0\", certificate: $DIR/token.crt, key: $FILE}\n"),
    (
        "http_auth.tls.ca_certificate",
        Wants::Certificate,
        "http_auth: {url: \"https://127.0.0.1:1/\", headers: {Authorization: \"Basic ${basic}\"}, tls: {ca_certificate: $FILE}}\n",
    ),
    (
        "http_auth.tls.client_certificate",
        Wants::Both,
        "http_auth: {url: \"https://127.0.0.1:1/\", headers: {Authorization: \"Basic ${basic}\"}, tls: {client_certificate: $FILE}}\n",
    ),
    (
        "http_auth.tls.client_certificate",
        Wants::Certificate,
        "http_auth: {url: \"https://127.0.0.1:1/\", headers: {Authorization: \"Basic ${basic}\"}, tls: {client_certificate: $FILE, client_key: $DIR/token.key}}\n",
    ),
    (
        "http_auth.tls.client_key",
        Wants::Key,
        "http_auth: {url: \"https://127.0.0.1:1/\", headers: {Authorization: \"Basic ${basic}\"}, tls: {client_certificate: $DIR/token.crt, client_key: $FILE}}\n",
    ),
    (
        "http_authz.tls.ca_certificate",
        Wants::Certificate,
        "http_authz: {url: \"https://127.0.0.1:1/\", tls: {ca_certificate: $FILE}}\n",
    ),
    (
        "http_authz.tls.client_certificate",
        Wants::Both,
        "http_authz: {url: \"https://127.0.0.1:1/\", tls: {client_certificate: $FILE}}\n",
    ),
    (
        "http_authz.tls.client_key",
        Wants::Key,
        "http_authz: {url: \"https://127.0.0.1:1/\", tls: {client_certificate: $DIR/token.crt, client_key: $FILE}}\n",
    ),
    (
        "ldap_auth.ca_certificate",
        Wants::Certificate,
        "ldap_auth: {addr: \"ldaps://127.0.0.1:1\", base: \"dc=a\", filter: \"(uid=${account})\", ca_certificate: $FILE}\n",
    ),
    (
        "gateway.upstreams[0].ca_certificate",
        Wants::Certificate,
        "gateway: {service: s, upstreams: [{url: \"https://127.0.0.1:1\", ca_certificate: $FILE}]}\n",
    ),
    (
        "mongo_auth.dial_info.ca_certificate",
        Wants::Certificate,
        "mongo_auth: {collection: c, deadline: 100ms, dial_info: {addrs: [\"127.0.0.1:1\"], database: d, enable_tls: true, ca_certificate: $FILE}}\n",
    ),
    (
        "mongo_auth.dial_info.client_certificate",
        Wants::Both,
        "mongo_auth: {collection: c, deadline: 100ms, dial_info: {addrs: [\"127.0.0.1:1\"], database: d, enable_tls: true, client_certificate: $FILE}}\n",
    ),
    (
        "acl_mongo.dial_info.ca_certificate",
        Wants::Certificate,
        "acl_mongo: {collection: c, deadline: 100ms, dial_info: {addrs: [\"127.0.0.1:1\"], database: d, enable_tls: true, ca_certificate: $FILE}}\n",
    ),
    (
        "acl_mongo.dial_info.client_certificate",
        Wants::Both,
        "acl_mongo: {collection: c, deadline: 100ms, dial_info: {addrs: [\"127.0.0.1:1\"], database: d, enable_tls: true, client_certificate: $FILE}}\n",
    ),
    (
        "mongo_auth.dial_info.uri",
        Wants::Certificate,
        "mongo_auth: {collection: c, deadline: 100ms, dial_info: {uri: \"mongodb://127.0.0.1:1/d?tls=true&tlsCAFile=$FILE\"}}\n",
    ),
    (
        "mongo_auth.dial_info.uri",
        Wants::Both,
        "mongo_auth: {collection: c, deadline: 100ms, dial_info: {uri: \"mongodb://127.0.0.1:1/d?tls=true&tlsCertificateKeyFile=$FILE\"}}\n",
    ),
];

/// Certificate and key as they are, and the lines of the key's base64.
struct Pair {
    certificate: &'static str,
    key: &'static str,
}

impl Pair {
    fn get() -> Pair {
        let pair = pair(Algorithm::ES256);
        Pair { certificate: &pair.certificate_pem, key: &pair.key_pem }
    }

    fn base64(&self) -> String {
        let inside =
            self.key.lines().skip_while(|line| !line.starts_with("-----")).filter(|line| !line.starts_with('-'));
        inside.collect()
    }

    /// A good file for who wants this; a certificate's file holds the key too, as some do.
    fn good(&self, wants: Wants) -> String {
        match wants {
            Wants::Key => self.key.to_owned(),
            Wants::Certificate | Wants::Both => [self.certificate, self.key].concat(),
        }
    }

    /// Where in the text a part of the key is: sixteen letters of it, as they are or as a list of bytes.
    fn shown_in(&self, text: &str) -> Option<String> {
        let base64 = self.base64();
        let mut windows = base64.as_bytes().windows(16).map(|window| String::from_utf8(window.to_vec()).unwrap());
        let listed = |window: &str| window.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
        windows.find(|window| text.contains(window.as_str()) || text.contains(&listed(window)))
    }
}

/// What comes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It is read as if nothing were wrong with it.
    Read,
    /// It is a problem, with these words.
    Refused(&'static str),
}

fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(order).collect()
}

/// What happens to files on their way.
fn damages(pair: &Pair, wants: Wants) -> Vec<(&'static str, Vec<u8>, Outcome)> {
    let good = pair.good(wants);
    let cut = good.trim_end().trim_end_matches("-----END PRIVATE KEY-----").to_owned();
    let (swapped, of_swapped) = match wants {
        Wants::Key => (pair.certificate, "certificate"),
        Wants::Certificate | Wants::Both => (pair.key, "private key"),
    };
    let missing = match wants {
        Wants::Key => "-----BEGIN PRIVATE KEY-----",
        Wants::Certificate | Wants::Both => "-----BEGIN CERTIFICATE-----",
    };
    let der = STANDARD.decode(pair.base64()).unwrap();
    let texts = [
        ("spaces", good.replace('\n', " "), Outcome::Read),
        ("no breaks", good.replace('\n', ""), Outcome::Read),
        ("two characters", good.replace('\n', "\\n"), Outcome::Read),
        ("a JSON string", serde_json::to_string(&good).unwrap(), Outcome::Read),
        ("a byte order mark", format!("\u{feff}{good}"), Outcome::Read),
        ("CRLF", good.replace('\n', "\r\n"), Outcome::Read),
        ("CR", good.replace('\n', "\r"), Outcome::Read),
        ("cut short", cut.clone(), Outcome::Refused("has no END line")),
        ("cut short, in one line", cut.replace('\n', " "), Outcome::Refused("has no line breaks: a secret store")),
        ("the other file", swapped.to_owned(), Outcome::Refused(of_swapped)),
        ("nonsense in it", good.replace("\nM", "\n*"), Outcome::Refused("is not base64")),
        ("nonsense, in one line", good.replace("\nM", "\n*").replace('\n', " "), Outcome::Refused("is not base64")),
        ("dashes lost", good.replace("-----", "---"), Outcome::Refused(missing)),
        ("dashes lost, in one line", good.replace("-----\n", " ").replace('\n', " "), Outcome::Refused(missing)),
        ("base64 alone", pair.base64(), Outcome::Refused(missing)),
        ("empty", String::new(), Outcome::Refused("is empty")),
    ];
    let bytes = [
        ("UTF-16", utf16(&format!("\u{feff}{good}"), u16::to_le_bytes), Outcome::Refused("UTF-16")),
        ("UTF-16 without a mark", utf16(&good, u16::to_be_bytes), Outcome::Refused("UTF-16")),
        ("DER", der, Outcome::Refused("binary (DER)")),
    ];
    texts.into_iter().map(|(name, text, outcome)| (name, text.into_bytes(), outcome)).chain(bytes).collect()
}

/// What the program says; it must end by itself.
fn said(arguments: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dockwarden"));
    command.args(arguments).env_clear().env("RUST_LOG", "trace").envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// What is wrong with what was said about a file, if anything is.
fn judged(pair: &Pair, key: &str, outcome: Outcome, usable: bool, text: &str) -> Option<String> {
    if let Some(part) = pair.shown_in(text) {
        return Some(format!("{part} of the key is in {text}"));
    }
    match outcome {
        Outcome::Read if usable => None,
        Outcome::Refused(words) if !usable && text.contains(&format!("{key}: ")) && text.contains(words) => None,
        Outcome::Read | Outcome::Refused(_) => Some(text.to_owned()),
    }
}

#[test]
fn no_part_of_a_key_is_in_what_check_and_a_start_say_of_its_file() {
    let pair = Pair::get();
    let mut wrong = Vec::new();
    for (key, wants, text) in KEYS {
        let folder = Folder::new();
        let file = folder.configure(&text.replace("$FILE", "$DIR/file.pem"));
        let file = file.to_str().unwrap();
        for (damage, content, outcome) in damages(&pair, *wants) {
            fs::write(folder.path("file.pem"), content).unwrap();
            let (usable, told) = said(&["check", file], &[]);
            wrong
                .extend(judged(&pair, key, outcome, usable, &told).map(|why| format!("check, {key}, {damage}: {why}")));
            // With a good file, it would go on.
            if !usable {
                let (served, told) = said(&["serve", file], &[]);
                wrong.extend(
                    judged(&pair, key, outcome, served, &told).map(|why| format!("serve, {key}, {damage}: {why}")),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_key_in_the_place_of_its_path_is_not_repeated() {
    let pair = Pair::get();
    let mut wrong = Vec::new();
    for (key, wants, text) in KEYS.iter().filter(|(key, ..)| !key.ends_with(".uri")) {
        let good = pair.good(*wants);
        for inline in [
            good.clone(),
            good.replace('\n', " "),
            good.replace('\n', "\\n"),
            pair.base64(),
            format!("/{}", pair.base64()),
        ] {
            let folder = Folder::new();
            let file = folder.configure(&text.replace("$FILE", &serde_json::to_string(&inline).unwrap()));
            for command in ["check", "serve"] {
                let (usable, told) = said(&[command, file.to_str().unwrap()], &[]);
                wrong.extend(
                    judged(&pair, key, Outcome::Refused(""), usable, &told)
                        .map(|why| format!("{command}, {key}: {why}")),
                );
            }
            // From a variable of the environment.
            if *key == "token.key" {
                let file = folder.configure("");
                let (usable, told) = said(&["check", file.to_str().unwrap()], &[("DOCKWARDEN__TOKEN__KEY", &inline)]);
                wrong.extend(judged(&pair, key, Outcome::Refused(""), usable, &told));
            }
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A file that is replaced while the server runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_part_of_a_key_is_in_what_a_reload_says_of_its_file() {
    let pair = Pair::get();
    let mut wrong = Vec::new();
    for (key, wants, text) in KEYS {
        let folder = Folder::new();
        folder.put("file.pem", &pair.good(*wants));
        let bed = Bed::in_folder(folder, &text.replace("$FILE", "$DIR/file.pem"));
        for (damage, content, outcome) in damages(&pair, *wants) {
            fs::write(bed.folder.path("file.pem"), content).unwrap();
            let app = Arc::clone(&bed.app);
            let log = tokio::task::spawn_blocking(move || {
                let log = Log::start(Form::Json);
                app.reload();
                log.text()
            });
            let told = log.await.unwrap();
            let usable = !told.contains("reload_failed");
            wrong.extend(
                judged(&pair, key, outcome, usable, &told).map(|why| format!("reload, {key}, {damage}: {why}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A certificate that was mended is read here, and by no registry.
#[test]
fn what_registries_cannot_read_is_warned_of() {
    let pair = Pair::get();
    for (text, words) in [
        (pair.certificate.to_owned(), None),
        (pair.certificate.replace('\n', "\r\n"), None),
        (pair.certificate.replace('\n', " "), Some("has lost its line breaks")),
        (pair.certificate.replace('\n', "\\n"), Some("has lost its line breaks")),
        (format!("\u{feff}{}", pair.certificate), Some("a byte order mark or spaces come first")),
    ] {
        let folder = Folder::new();
        folder.put("token.crt", &text);
        let file = folder.configure("");
        let (usable, told) = said(&["check", file.to_str().unwrap()], &[]);
        assert!(usable, "{told}");
        let warned = told.lines().find(|line| line.contains("token.certificate: "));
        assert_eq!(warned.is_some(), words.is_some(), "{told}");
        assert!(
            warned
                .is_none_or(|line| line.contains("rootcertbundle") && words.is_some_and(|words| line.contains(words))),
            "{told}"
        );
    }
}

/// What a failed reload says names every cause of it, not only the section.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_reload_says_more_than_the_section() {
    let bed = Bed::with("");
    bed.folder.configure("ldap_auth: {addr: \"ldap://127.0.0.1:1\", base: \"dc=a\", filter: \"(uid=${account})\"}\n");
    let app = Arc::clone(&bed.app);
    let log = tokio::task::spawn_blocking(move || {
        let log = Log::start(Form::Json);
        app.reload();
        log.text()
    });
    let told = log.await.unwrap();
    let line = told.lines().find(|line| line.contains("reload_failed")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let cause = line["cause"].as_str().unwrap();
    assert!(cause.starts_with("ldap_auth: ") && cause.contains("127.0.0.1:1"), "{cause}");
}
