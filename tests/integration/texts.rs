//! Text from files and pipes: a byte order mark is no part of it, wherever it is read, and a byte that is no text has a place.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use dockwarden::config::{Config, Secrets};
use settings::files::read_secret;

use crate::backends::casbin_authz;
use crate::bed::{ALICE, ALICE_HASH, Bed, Folder};

/// The keys that name a file of text, each with a configuration in which `$FILE` is the file.
const KEYS: &[(&str, &str)] = &[
    ("users.alice.password_file", "users: {alice: {password_file: $FILE}}\n"),
    ("htpasswd_auth.path", "htpasswd_auth: {path: $FILE}\n"),
    (
        "ldap_auth.bind_password_file",
        "ldap_auth: {addr: \"ldaps://127.0.0.1:1\", base: \"dc=a\", filter: \"(uid=${account})\", bind_dn: cn=a, bind_password_file: $FILE}\n",
    ),
    (
        "mongo_auth.dial_info.password_file",
        "mongo_auth: {collection: c, dial_info: {addrs: [\"127.0.0.1:1\"], database: d, username: u, password_file: $FILE}}\n",
    ),
    (
        "acl_mongo.dial_info.password_file",
        "acl_mongo: {collection: c, dial_info: {addrs: [\"127.0.0.1:1\"], database: d, username: u, password_file: $FILE}}\n",
    ),
    ("xorm_auth.conn_string_file", "xorm_auth: {database_type: sqlite3, conn_string_file: $FILE}\n"),
    ("acl_xorm.conn_string_file", "acl_xorm: {database_type: sqlite3, conn_string_file: $FILE}\n"),
    (
        "records.postgres.password_file",
        "records: {postgres: {host: \"127.0.0.1\", database: d, username: u, password_file: $FILE}}\n",
    ),
    (
        "http_auth.headers.X.file",
        "http_auth: {url: \"https://127.0.0.1:1/\", headers: {Authorization: \"Basic ${basic}\", X: {file: $FILE}}}\n",
    ),
    ("casbin_authz.policy_path", "casbin_authz: {model_path: $DIR/model.conf, policy_path: $FILE}\n"),
    (
        "gateway.upstreams[0].auth.basic.password_file",
        "gateway: {service: s, upstreams: [{url: \"https://127.0.0.1:1\", auth: {basic: {username: u, password_file: $FILE}}}]}\n",
    ),
];

/// What the program says to this input.
fn said(arguments: &[&str], input: &[u8]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dockwarden"));
    command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that stops early does not take all of it.
    drop(child.stdin.take().unwrap().write_all(input));
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn a_byte_that_is_no_text_has_its_line_and_column_and_is_not_shown() {
    for (key, text) in KEYS {
        let folder = Folder::new();
        folder.put("model.conf", casbin_authz::MODEL);
        let config = folder.configure(&text.replace("$FILE", "$DIR/file"));
        fs::write(folder.path("file"), b"hunter2\nhunter2 \xc3\xa4\xe4 hunter2\n").unwrap();
        let problems = Config::load(&config, [], Secrets::Read).err().unwrap().problems;
        let [problem] = problems.as_slice() else { panic!("{key}: {problems:?}") };
        let expected = format!("{}:2: column 10: the letter here is not UTF-8", folder.path("file").display());
        assert!(problem.path == *key && problem.message.starts_with(&expected), "{key}: {problem:?}");
        assert!(!problem.message.contains("hunter2"), "{problem:?}");
        fs::write(folder.path("file"), b"\xff\xfeh\0u\0").unwrap();
        let problems = Config::load(&config, [], Secrets::Read).err().unwrap().problems;
        assert!(problems.len() == 1 && problems[0].message.contains("UTF-16"), "{key}: {problems:?}");
    }
    // The configuration itself, rules to import, questions to explain, and what comes by a pipe.
    let folder = Folder::new();
    let config = folder.configure("");
    let file = config.to_str().unwrap();
    let good = fs::read(&config).unwrap();
    let rules = folder.path("rules.yml");
    fs::write(&rules, b"- match: {account: a}\n  actions: [pull]\n  comment: f\xfcr alle\n").unwrap();
    fs::write(&config, [&good[..], b"# f\xfcr alle\n"].concat()).unwrap();
    let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
    let (_, told) = said(&["check", file], b"");
    assert!(told.starts_with(&format!("{file}:{line}: column 4: the letter here is not UTF-8")), "{told}");
    fs::write(&config, &good).unwrap();
    let rules = rules.to_str().unwrap();
    let question = b"{\"type\":\"repository\",\"name\":\"a\",\"actions\":[\"pull\"]}\n";
    for (arguments, input, expected) in [
        (&["acl", "import", file, rules][..], &b""[..], format!("{rules}:3: column 13: ")),
        (&["acl", "import", file, "-"], b"a\nb\xff", "standard input:2: column 2: ".to_owned()),
        (&["explain", file, "--requests", "-"], &[&question[..], b"\"\xff"].concat(), "-:2: column 2: ".to_owned()),
        (&["hash-password"], b"hunter\xff", "standard input:1: column 7: ".to_owned()),
        (&["hash-password"], b"\xff\xfeh\0", "standard input:1: this is UTF-16 text".to_owned()),
    ] {
        let (done, told) = said(arguments, input);
        assert!(!done && told.contains(&expected) && !told.contains("hunter"), "{arguments:?}: {told}");
    }
}

#[test]
fn a_mark_is_no_part_of_a_secret() {
    for (key, text) in KEYS {
        let folder = Folder::new();
        folder.put("model.conf", casbin_authz::MODEL);
        let content = match *key {
            "htpasswd_auth.path" => format!("alice:{ALICE_HASH}"),
            "casbin_authz.policy_path" => "g, bob, role1".to_owned(),
            _ => ALICE_HASH.to_owned(),
        };
        let config = folder.configure(&text.replace("$FILE", "$DIR/file"));
        let read = |content: &str| {
            let file = folder.put("file", content);
            let config = Config::load(&config, [], Secrets::Read).unwrap_or_else(|invalid| panic!("{key}: {invalid}"));
            (config, read_secret(&file).unwrap())
        };
        let (plain, marked) = (read(&format!("{content}\n")), read(&format!("\u{feff}{content}\r\n")));
        assert_eq!(marked.1, content);
        let (one, other) = (&plain.0.backends, &marked.0.backends);
        assert_eq!(one.0.len(), other.0.len(), "{key}");
        // Rules of the file itself are never the same as others, nor is a policy.
        for (one, other) in
            one.0.iter().zip(&other.0).filter(|(one, _)| !["acl", "casbin_authz"].contains(&one.kind.key))
        {
            assert!(one.settings.same(&*other.settings), "{key}: {}", one.kind.key);
        }
        let upstreams = [plain.0.gateway, marked.0.gateway].map(|gateway| gateway.map(|gateway| gateway.upstreams));
        assert_eq!(upstreams[0], upstreams[1], "{key}");
    }
    // A password by a pipe, as PowerShell gives it.
    let (done, hash) = said(&["hash-password", "--cost", "4"], "\u{feff}alice-pw\r\n".as_bytes());
    assert!(done && bcrypt::verify("alice-pw", hash.trim()).unwrap(), "{hash}");
    let folder = Folder::new();
    let config = folder.configure("");
    let question = "\u{feff}{\"type\":\"repository\",\"name\":\"pub/a\",\"actions\":[\"pull\"]}\n";
    let (done, told) = said(&["explain", config.to_str().unwrap(), "--requests", "-"], question.as_bytes());
    assert!(done && told.contains("\"granted\":[\"pull\"]"), "{told}");
}

#[tokio::test]
async fn a_marked_file_lets_in_whom_it_names() {
    let folder = Folder::new();
    folder.put("alice", &format!("\u{feff}{ALICE_HASH}\r\n"));
    let bed = Bed::in_folder(folder, "users: {alice: {password_file: $DIR/alice}}\n");
    assert_eq!(bed.grants(ALICE, "repository:alice/a:pull").await, ["repository:alice/a:pull"]);
}
