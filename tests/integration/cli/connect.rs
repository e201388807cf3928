//! `check --connect`: each backend that a file names is tried, whatever became of the others.

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

#[test]
fn each_backend_is_tried_and_named_although_others_fail() {
    // One that nobody listens on any more, and one that takes connections and says nothing.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let dial = |address: &dyn std::fmt::Display| {
        format!("dial_info: {{addrs: [\"{address}\"], database: d, username: u, password: canary-6f1}}")
    };
    let silent_address = silent.local_addr().unwrap();
    let (_folder, file) = configured(&format!(
        "{}ext_auth: {{command: cat, args: [canary-6f1]}}\nmongo_auth: {{{}, collection: users}}\n\
         acl_mongo: {{{}, collection: acl}}\next_authz: {{command: $DIR/config.yml}}\n",
        strong_users(),
        dial(&gone),
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
        ("ext_authz: failed: ", "config.yml is not executable; make it so with: chmod +x "),
        (
            "mongo_auth: failed: d.users cannot be asked: ",
            "is the server running, and are its address and enable_tls right?",
        ),
        ("acl_mongo: failed: ", "is the server running"),
    ];
    assert_eq!(lines.len(), expected.len(), "{}", tried.out);
    for (line, (beginning, piece)) in lines.iter().zip(expected) {
        assert!(line.starts_with(beginning) && line.contains(piece), "{beginning}…{piece}: {line}");
    }
    assert!(tried.out.contains(&gone.to_string()), "{}", tried.out);
    assert!(!tried.out.contains("canary"), "{}", tried.out);
    // A file that cannot be used is not tried.
    let (_folder, file) = configured("mongo_auth: {}\n");
    let broken = run(["check", "--connect", &file]);
    assert_eq!((broken.code, broken.out.as_str()), (1, ""));
    assert!(broken.err.ends_with("the file cannot be used\n"), "{}", broken.err);
}

#[test]
fn a_program_that_is_nowhere_is_said() {
    let acl = "acl: []\next_auth: {command: no-such-program-anywhere}\n";
    let (_folder, file) = configured(&format!("{}{acl}", strong_users()));
    let tried = run(["check", "--connect", &file]);
    assert_eq!(tried.code, 1);
    let line =
        "ext_auth: failed: no program no-such-program-anywhere is in PATH; install it, or write the path of one\n";
    assert!(tried.out.ends_with(line), "{}", tried.out);
    assert_eq!(run(["check", &file]).code, 0, "it may come later");
}
