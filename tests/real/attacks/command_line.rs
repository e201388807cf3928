//! Answers of commands that nobody reads on.

use std::fs::File;
use std::io::{self};
use std::process::Stdio;

use super::{config, limited, outcome, pair};
use crate::support::scratch;

#[test]
fn an_answer_that_nobody_reads_on_or_can_be_written_nowhere() {
    let pair = pair();
    let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &config(&pair, "first"));
    let file = file.to_str().unwrap();
    let password = scratch::write(&scratch::directory("password"), "password", "a password\n");
    let limited = |arguments: &[&str]| {
        let mut command = limited(arguments);
        command.stdin(File::open(&password).unwrap());
        command
    };
    for (arguments, usual) in [
        (&["check", file][..], 0),
        (&["explain", file, "repository:first:pull"], 0),
        (&["explain", file, "--json", "repository:first:pull"], 0),
        (&["explain", file, "repository:first:push"], 3),
        (&["hash-password", "--cost", "4"], 0),
        (&["completions", "bash"], 0),
    ] {
        let (status, answer, said) = outcome(&mut limited(arguments));
        assert_eq!(status, Some(usual), "{arguments:?}: {said}");
        assert!(!answer.is_empty(), "{arguments:?}");

        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let (status, _, said) = outcome(limited(arguments).stdout(writer));
        assert_eq!(status, Some(usual), "{arguments:?}, unread: {said}");
        assert_eq!(said, "", "{arguments:?}, unread");

        let full = File::options().write(true).open("/dev/full").unwrap();
        let (status, _, said) = outcome(limited(arguments).stdout(full));
        assert_eq!(status, Some(1), "{arguments:?}, nowhere: {said}");
        assert!(said.starts_with("dockwarden: the answer cannot be written: "), "{arguments:?}, nowhere: {said}");
        assert!(!said.contains("panicked"), "{arguments:?}, nowhere: {said}");

        // Where not even the message can be written, the status still tells.
        let [out, err] = [(); 2].map(|()| Stdio::from(File::options().write(true).open("/dev/full").unwrap()));
        let (status, ..) = outcome(limited(arguments).stdout(out).stderr(err));
        assert_eq!(status, Some(1), "{arguments:?}, no message either");
    }
}
