//! The program as an operator types it: what it prints, where, and with which exit code.

mod analysis;
mod connect;
mod credential;
mod directory;
mod events_secret;
mod explain;
mod given;
mod health;
mod keys;
mod lint;
mod looking;
mod man;
mod minimise;
mod registry;
mod sections;
mod table;
mod test;
mod token;
mod unseen;
mod wholes;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bed::{ALICE_HASH, Bed, Folder};

/// What a run came to.
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

fn command(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dockwarden"));
    command.args(arguments).env_remove("RUST_LOG");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("DOCKWARDEN__")) {
        command.env_remove(name);
    }
    command
}

fn finish(mut command: Command, input: &str) -> Run {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // On a thread of its own: a long input would otherwise wait for output that nobody reads. A program that stops
    // early does not take all of it.
    let writing = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

pub(crate) fn run(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
    finish(command(arguments), "")
}

/// A folder whose `config.yml` is this text, and the file's path.
fn configured(text: &str) -> (Folder, String) {
    let folder = Folder::new();
    let file = folder.configure(text).to_str().unwrap().to_owned();
    (folder, file)
}

const STRONG: &str = "$2b$10$abcdefghijklmnopqrstuu9UGc9IJbl39mlDZvvYWvWECKJosLcIu";

fn strong_users() -> String {
    format!("users:\n  alice: {{password: \"{STRONG}\", labels: {{team: [web, api]}}}}\n  \"\": {{}}\n")
}

/// A file, and what is wrong with it by place and a piece of what is said.
const BROKEN: &str = "server:\n  addr: nowhere\nusers:\n  alice: {pasword: x}\nacl:\n  - match: {account:\"admin\"}\n    actions: [\"*\"]\n  - match: {name: \"[a\"}\n    actions: [Pull]\ntoken:\n  issuer: Acme\n  certificate: $DIR/token.crt\n  key: $DIR/none.key\n";
const ITS_PROBLEMS: [(usize, &str); 7] = [
    (2, "server.addr: \"nowhere\" is not an address"),
    (4, "users.alice.password: a named user needs a bcrypt hash"),
    (4, "users.alice.pasword: there is no such key; did you mean \"password\"?"),
    (6, "acl[0].match.account: there is no such key; a space is missing after the colon?"),
    (8, "acl[1].match.name: the glob `[a` is not valid"),
    (9, "acl[1].actions: \"Pull\" is not an action"),
    (13, "token.key: "),
];

fn assert_all_problems(text: &str, file: &str, by: &str) {
    let mut from = 0;
    for (line, piece) in ITS_PROBLEMS {
        let wanted = format!("{file}:{line}: {piece}");
        let at =
            text[from..].find(&wanted).unwrap_or_else(|| panic!("{by}: {wanted} is not, or not there, in\n{text}"));
        from += at + wanted.len();
    }
}

#[test]
fn check_names_every_problem_and_fails() {
    let (_folder, file) = configured(BROKEN);
    let run = run(["check", &file]);
    assert_eq!((run.code, run.out.as_str()), (1, ""));
    assert_all_problems(&run.err, &file, "check");
    assert!(run.err.ends_with("7 problems: the file cannot be used\n"), "{}", run.err);
    let missing = run_in(Path::new("/"), ["check", "nowhere/auth.yml"]);
    assert_eq!(missing.code, 1);
    assert!(missing.err.starts_with("nowhere/auth.yml cannot be read"), "{}", missing.err);
}

fn run_in<const N: usize>(folder: &Path, arguments: [&str; N]) -> Run {
    let mut command = command(arguments);
    command.current_dir(folder);
    finish(command, "")
}

#[test]
fn check_passes_what_can_be_served() {
    let (_folder, file) =
        configured(&format!("{}acl: [{{match: {{account: alice}}, actions: [\"*\"]}}]\n", strong_users()));
    let clean = run(["check", &file]);
    assert_eq!((clean.code, clean.err.as_str()), (0, ""));
    assert_eq!(clean.out, format!("{file}: ok (2 users, 1 rule, signing with ES256)\n"));
    let (folder, file) =
        configured("users: ~\nhtpasswd_auth: {path: $DIR/htpasswd}\nacl: [{match: {}, actions: []}]\n");
    let hash = ALICE_HASH;
    folder.put("htpasswd", &format!("carol:{hash}\ndave:{hash}\n"));
    let elsewhere = run(["check", &file]);
    assert!(elsewhere.out.contains("(0 users and 2 accounts of htpasswd_auth, 1 rule, "), "{}", elsewhere.out);
    let upstreams =
        "gateway: {service: s, upstreams: [{url: \"http://127.0.0.1:1\"}, {url: \"http://h\", name: b, prefix: b}]}";
    let (_folder, file) = configured(&format!("{}acl: []\n{upstreams}\n", strong_users()));
    let gateway = run(["check", &file]);
    assert!(
        gateway.out.ends_with(", signing with ES256, gateway to 127.0.0.1:1, b)\n"),
        "{}{}",
        gateway.out,
        gateway.err
    );
    // A pair that will be made at the first start is none of check's business, and is not made by it.
    let text = "token: {issuer: Acme, certificate: $DIR/new.crt, key: $DIR/new.key, generate: true}\n";
    let (folder, file) = configured(&format!("{}acl: []\n{text}", strong_users()));
    let generate = run(["check", &file]);
    assert_eq!(generate.code, 0, "{}", generate.err);
    assert!(generate.out.contains("RS256, made at the first start"), "{}", generate.out);
    assert!(!folder.path("new.key").exists());
}

#[test]
fn check_points_out_what_is_probably_not_meant() {
    let weak = format!("users: {{alice: {{password: \"{ALICE_HASH}\", labels: {{team: [web]}}}}}}\nacl: []\n");
    let mixed = format!("users: {{alice: {{password: \"{ALICE_HASH}\"}}, bob: {{password: \"{STRONG}\"}}}}\nacl: []\n");
    let many = |hash: &str| {
        let users: Vec<String> = (0..300).map(|number| format!("u{number}: {{password: \"{hash}\"}}")).collect();
        format!("users: {{{}}}\nacl: []\n", users.join(", "))
    };
    let rules = |text: &str| format!("{}acl:\n  - {}\n", strong_users(), text.replace("; ", "\n  - "));
    // The configuration, how many warnings, and the one that is looked at: its line (two lines of defaults stand above
    // the users, and the first rule is in line 7) and a piece of its text.
    let cases: &[(String, usize, usize, &str)] = &[
        (weak, 1, 3, "users.alice.password: the hash's cost of 4 is weak"),
        (mixed, 2, 3, "users: hashes of different cost take different time"),
        // One warning for all of them, at the first.
        (
            many(ALICE_HASH),
            1,
            3,
            "users: 300 hashes of a cost below 10 are weak; make new ones with: dockwarden hash-password --cost 10 (\"u0\" has the first)",
        ),
        (many(&STRONG.replace("$10$", "$14$")), 1, 3, "users: 300 hashes of a cost above 13 keep a core busy"),
        // A rule that is shadowed
        (
            rules("{match: {name: a}, actions: [pull]}; {match: {name: a, account: alice}, actions: [pull, push]}"),
            1,
            8,
            "acl[1]: never decides: acl[0] matches everything it does",
        ),
        (
            rules("{match: {name: \"team/*\"}, actions: [pull]}; {match: {name: team/app}, actions: []}"),
            1,
            8,
            "acl[1]: never decides",
        ),
        // An expression on accounts that matches inside others
        (
            rules("{match: {account: \"/admin1|admin2/\"}, actions: [pull]}"),
            1,
            7,
            "acl[0].match.account: /admin1|admin2/ also matches inside longer names",
        ),
        (rules("{match: {account: \"/^admin|root$/\"}, actions: [pull]}"), 1, 7, "also matches inside longer names"),
        // A star that does not cross a slash
        (rules("{match: {name: \"*\"}, actions: [pull]}"), 1, 7, "acl[0].match.name: \"*\" does not cross a slash"),
        (rules("{match: {name: \"team/**\"}, actions: [pull]}"), 1, 7, "so \"team/**\" does not match"),
        // Nobody may push
        (
            rules("{match: {name: \"pub/*\"}, actions: [pull, push]}"),
            1,
            7,
            "acl[0]: clients without an account may push or delete",
        ),
        (rules("{match: {account: \"*\"}, actions: [\"*\"]}"), 1, 7, "clients without an account may push or delete"),
        // An empty match above others
        (
            rules("{match: {}, actions: [pull]}; {match: {account: alice}, actions: [pull]}"),
            2,
            7,
            "acl[0].match: an empty match is for everybody and everything",
        ),
        // Stars among other actions, words that no registry knows, placeholders that are none
        (
            rules("{match: {account: alice}, actions: [\"*\", pull]}"),
            1,
            7,
            "acl[0].actions: \"*\" beside other actions stands only for itself",
        ),
        (
            rules("{match: {account: alice}, actions: [admin]}"),
            1,
            7,
            "acl[0].actions: \"admin\" is not an action of a registry",
        ),
        // One of our own, for what is no registry
        (
            format!(
                "{}forward_auth: {{trusted_proxies: [192.0.2.1], service: web, paths: [{{path: \"/docs/**\", scope: \"web:docs:read\"}}]}}\n",
                rules("{match: {account: alice, type: web}, actions: [read]}")
            ),
            0,
            0,
            "",
        ),
        (
            rules("{match: {account: alice, name: \"${acount}/*\"}, actions: [pull]}"),
            1,
            7,
            "acl[0].match.name: ${acount} is not a placeholder",
        ),
        (rules("{match: {name: \"${labels:taem}/*\"}, actions: [pull]}"), 1, 7, "no user has the label \"taem\""),
        (
            rules("{match: {account: alice, name: \"${account:1}/*\"}, actions: [pull]}"),
            1,
            7,
            "${account:1} stands for nothing",
        ),
        // And what is as it should be
        (
            rules(
                "{match: {account: \"/^(?:admin|root)$/\"}, actions: [pull]}; {match: {account: \"/.+/\"}, actions: [pull, push]}; {match: {}, actions: [pull]}",
            ),
            0,
            0,
            "",
        ),
        (
            rules(
                "{match: {name: \"${labels:team}/*\"}, actions: [pull, push]}; {match: {ip: 10.0.0.0/8, name: x}, actions: [pull, push]}",
            ),
            0,
            0,
            "",
        ),
    ];
    for (text, count, line, piece) in cases {
        let (_folder, file) = configured(text);
        let run = run(["check", &file]);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{text}");
        let warnings: Vec<&str> = run.out.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
        assert_eq!(warnings.len(), *count, "{text}\n{}", run.out);
        let summary = match count {
            0 => ": ok (".to_owned(),
            1 => ": usable, with 1 warning (".to_owned(),
            count => format!(": usable, with {count} warnings ("),
        };
        assert!(run.out.lines().last().unwrap().contains(&summary), "{}", run.out);
        let place = format!("{file}:{line}: ");
        let placed = warnings.iter().any(|warning| warning.contains(piece) && warning.starts_with(&place));
        assert!(*count == 0 || placed, "{piece} is not at line {line}: {}", run.out);
    }
}

#[test]
fn serve_says_all_that_is_wrong_and_ends() {
    let (_folder, file) = configured(BROKEN);
    let ways: [&[&str]; 9] = [
        &["serve", &file],
        &[&file],
        // docker_auth's flags, with one dash or two, before the file and after it
        &["--v=2", "--alsologtostderr", &file],
        &["-v", "2", "-alsologtostderr=true", &file],
        &["-logtostderr", "-v=3", &file],
        &["--stderrthreshold", "INFO", "--log_dir=/var/log", "--vmodule=a=1", &file],
        &[&file, "--v=2", "--alsologtostderr"],
        &["serve", &file, "-v", "2"],
        &["serve", "--alsologtostderr", &file],
    ];
    for arguments in ways {
        let run = run(arguments);
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{arguments:?}: {}", run.err);
        // One JSON object a line, where nobody watches.
        let messages: Vec<String> = run
            .err
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .map(|line| {
                assert_eq!((&line["level"], &line["reason"]), (&json!("ERROR"), &json!("startup_failed")), "{line}");
                line["message"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(messages.len(), 7, "{messages:?}");
        assert_all_problems(&messages.join("\n"), &file, &format!("{arguments:?}"));
    }
}

#[test]
fn the_environment_overrides_the_file_and_is_named_where_it_is_wrong() {
    let (_folder, file) = configured(&format!("{}acl: []\n", strong_users()));
    for (name, value, code, piece) in [
        ("DOCKWARDEN__TOKEN__EXPIRATION", "900", 0, ": ok ("),
        (
            "DOCKWARDEN__TOKEN__EXPIRATION",
            "soon",
            1,
            "DOCKWARDEN__TOKEN__EXPIRATION: token.expiration: \"soon\" is not a duration",
        ),
        (
            "DOCKWARDEN__TOKEN__ISUER",
            "x",
            1,
            "DOCKWARDEN__TOKEN__ISUER: token.isuer: there is no such key; did you mean \"issuer\"?",
        ),
    ] {
        let mut check = command(["check", &file]);
        check.env(name, value);
        let run = finish(check, "");
        assert_eq!(run.code, code, "{name}={value}: {}{}", run.out, run.err);
        assert!(format!("{}{}", run.out, run.err).contains(piece), "{name}={value}: {}{}", run.out, run.err);
    }
}

#[tokio::test]
async fn the_hash_of_a_password_lets_its_owner_in() {
    for (input, password) in [("pa ss:wörd\n", "pa ss:wörd"), ("secret", "secret"), ("secret\r\n", "secret")] {
        let made = finish(command(["hash-password", "--cost", "4"]), input);
        assert_eq!((made.code, made.err.as_str()), (0, ""));
        let hash = made.out.strip_suffix('\n').unwrap();
        assert!(hash.starts_with("$2b$04$") && hash.len() == 60, "{hash}");
        let bed = Bed::with(&format!("users: {{alice: {{password: \"{hash}\"}}}}\n"));
        assert_eq!(bed.get("/auth?service=registry").basic("alice", password).send().await.status, 200, "{input:?}");
        assert_eq!(bed.get("/auth?service=registry").basic("alice", "other").send().await.status, 401);
    }
    let usual = finish(command(["hash-password"]), "x");
    assert!(usual.out.starts_with("$2b$10$"), "{}", usual.out);
    let twice = [0, 1].map(|_| finish(command(["hash-password", "--cost", "4"]), "x").out);
    assert_ne!(twice[0], twice[1], "each hash has a salt of its own");
    let long = "x".repeat(73);
    for (input, piece) in [
        ("", "the password is empty"),
        ("\n", "the password is empty"),
        (long.as_str(), "72"),
        ("a\nb\n", "more than one line"),
        ("a\0b", "NUL"),
    ] {
        let refused = finish(command(["hash-password", "--cost", "4"]), input);
        assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{input:?}");
        assert!(refused.err.contains(piece), "{input:?}: {}", refused.err);
    }
    for cost in ["3", "21", "x"] {
        assert_eq!(finish(command(["hash-password", "--cost", cost]), "x").code, 2, "{cost}");
    }
}

#[tokio::test]
async fn a_generated_password_is_shown_once_and_lets_its_owner_in() {
    let generated = || finish(command(["hash-password", "--cost", "4", "--generate"]), "what is on standard input");
    let made = generated();
    assert_eq!(made.code, 0, "{}", made.err);
    // Standard output goes into a file, so that the password must not be in it.
    let hash = made.out.strip_suffix('\n').unwrap();
    assert!(hash.starts_with("$2b$04$") && hash.len() == 60, "{hash}");
    let password = made.err.strip_prefix("Password, shown this once: ").unwrap().strip_suffix('\n').unwrap();
    assert!(password.len() == 32 && password.bytes().all(|letter| letter.is_ascii_hexdigit()), "{password}");
    assert_ne!(generated().err, made.err);
    let bed = Bed::with(&format!("users: {{alice: {{password: \"{hash}\"}}}}\n"));
    assert_eq!(bed.get("/auth?service=registry").basic("alice", password).send().await.status, 200);

    // A hash whose password nobody has seen is not handed out.
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut unseen = command(["hash-password", "--cost", "4", "--generate"]);
    let output = unseen.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(full).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"".as_slice()));
}

/// Whoever gives a password as an argument has shown it to the machine already; we do not show it to a log as well.
#[test]
fn a_password_as_an_argument_is_not_repeated() {
    for arguments in [
        &["hash-password", "hunter2 Tr0"][..],
        &["hash-password", "--password=hunter2"],
        &["user", "passwd", "x.yml", "waldi", "hunter2"],
        &["user", "add", "x.yml", "waldi", "--password", "hunter2"],
    ] {
        let refused = run(arguments.iter().copied());
        assert_eq!(refused.code, 2, "{arguments:?}");
        assert!(refused.err.contains("an argument too many") && !refused.err.contains("hunter2"), "{}", refused.err);
    }
}

#[test]
fn the_program_describes_itself() {
    let version = run(["--version"]);
    assert_eq!((version.code, version.out), (0, format!("dockwarden {}\n", env!("CARGO_PKG_VERSION"))));
    for arguments in [&["--help"] as &[&str], &["help"], &["help", "explain"], &["check", "--help"]] {
        let help = run(arguments);
        assert_eq!(help.code, 0, "{arguments:?}");
        assert!(help.out.contains("Usage: dockwarden"), "{arguments:?}: {}", help.out);
    }
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let completions = run(["completions", shell]);
        assert_eq!((completions.code, completions.err.as_str()), (0, ""), "{shell}");
        assert!(completions.out.contains("hash-password"), "{shell}");
    }
    for arguments in [&[] as &[&str], &["--nonsense"], &["check"], &["serve"], &["completions", "cmd"]] {
        let wrong = run(arguments);
        assert_eq!((wrong.code, wrong.out.as_str()), (2, ""), "{arguments:?}");
        assert!(wrong.err.contains("--help"), "{arguments:?}: {}", wrong.err);
    }
}

/// `check | head -1`, and a pager that was left: nobody reads what is printed, and that is no fault to report.
#[test]
fn an_answer_that_nobody_reads_is_no_failure() {
    let (_folder, file) =
        configured(&format!("{}acl: [{{match: {{account: alice}}, actions: [pull]}}]\n", strong_users()));
    let (_other, broken) = configured(BROKEN);
    for arguments in [
        &["check", &file] as &[&str],
        &["check", &broken],
        &["explain", &file, "--account", "alice", "repository:a:pull"],
        &["explain", &file, "--account", "alice", "repository:a:push"],
        &["explain", &file, "--json", "repository:a:push"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["--help"],
        &["--version"],
        &["hash-password", "--cost", "4"],
    ] {
        let read = finish(command(arguments), "secret");
        let (reader, writer) = std::io::pipe().unwrap();
        // Before the program starts, so that its first write already fails.
        drop(reader);
        let mut unread = command(arguments);
        let mut child = unread.stdin(Stdio::piped()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdin.take().unwrap().write_all(b"secret"));
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said), (Some(read.code), read.err), "{arguments:?}");
    }
    // So it is where the answers are many; they just end.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut explain = command(["explain", &file, "--requests", "-"]);
    let mut child = explain.stdin(Stdio::piped()).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let question = "{\"type\":\"repository\",\"name\":\"a\",\"actions\":[\"pull\"]}\n";
    drop(child.stdin.take().unwrap().write_all(question.repeat(10_000).as_bytes()));
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code().is_some_and(|code| code < 2) && !said.contains("panicked"), "{said}");
}

/// Nothing reads these, and a server that starts with its usual settings says so.
#[test]
fn variables_that_nothing_reads_are_told() {
    let (_folder, file) = configured(&strong_users());
    let with = |variables: &[(&str, &str)]| {
        let mut check = command(["check", file.as_str()]);
        check.envs(variables.iter().copied());
        finish(check, "")
    };
    let usual = with(&[]);
    let told = with(&[("DOCKWARDEN_TOKEN_ISSUER", "Hunter2"), ("RUST_LOG", "dockwarden=Hunter2")]);
    assert_eq!((usual.code, told.code), (0, 0), "{}", told.err);
    for expected in
        ["warning: DOCKWARDEN_TOKEN_ISSUER: nothing reads this variable", "warning: RUST_LOG: this cannot be read"]
    {
        assert!(told.out.contains(expected) && !usual.out.contains(expected), "{}", told.out);
    }
    assert!(!told.out.contains("Hunter2"), "{}", told.out);
    // All the more where the file lacks what the variable was to say.
    let mut check = command(["check", "/nowhere/at/all.yml"]);
    check.env("DOCKWARDEN_TOKEN_ISSUER", "Hunter2");
    let missing = finish(check, "");
    assert!(missing.code == 1 && missing.err.contains("nothing reads this variable"), "{}", missing.err);
    let mut serve = command(["serve", "/nowhere/at/all.yml"]);
    serve.env("DOCKWARDEN_TOKEN_ISSUER", "Hunter2").env("RUST_LOG", "debugg");
    let served = finish(serve, "");
    assert!(served.err.contains("nothing reads this variable") && served.err.contains("RUST_LOG"), "{}", served.err);
    assert!(!served.err.contains("Hunter2"), "{}", served.err);
}
