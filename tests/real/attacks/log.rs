//! A log that nobody reads, or whose reader has gone.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::{announced, config, healthy, metric, pair, pipe_at, pulls, scopes, stops};
use crate::support::dockwarden::{events, program};
use crate::support::http::Connection;
use crate::support::keys::Pair;
use crate::support::process::{Process, until};
use crate::support::{part, scratch};

/// Linux's number, on the machines that we build for.
const O_NONBLOCK: i32 = 0o4000;

/// Which outputs go into the pipe.
#[derive(Clone, Copy, Debug)]
enum Outputs {
    /// Standard error, where the log is.
    Error,
    /// Both, as under systemd, or with `2>&1 |`.
    Both,
}

/// A server whose log goes into a pipe that the test holds.
struct Piped {
    process: Process,
    address: String,
    config: PathBuf,
    pair: Pair,
    pipe: PathBuf,
    log: BufReader<File>,
}

impl Piped {
    fn start(outputs: Outputs) -> Self {
        let directory = scratch::directory("piped");
        let pair = pair();
        let config = scratch::write(&directory, "auth_config.yml", &self::config(&pair, "first"));
        let pipe = directory.join("pipe");
        pipe_at(&pipe);
        let mut command = Command::new(part::path("sh"));
        command.arg("-c").arg(match outputs {
            Outputs::Error => r#"exec 2>"$0"; exec "$@""#,
            Outputs::Both => r#"exec >"$0" 2>&1; exec "$@""#,
        });
        command.arg(&pipe).arg(program()).arg("serve").arg(&config);
        let process = Process::start("dockwarden", &command);
        let mut log = BufReader::new(File::open(&pipe).unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the log ended before the address");
            if let Some(event) = events(&line, "listening").first() {
                break event["address"].as_str().unwrap().to_owned();
            }
        };
        Self { process, address, config, pair, pipe, log }
    }

    /// Everything that a server does for others, in spite of the log, and its end.
    #[track_caller]
    fn works_and_stops(&self) {
        healthy(&self.address);
        assert!(pulls(&self.address, "first"));
        fs::write(&self.config, config(&self.pair, "second")).unwrap();
        self.process.until("the changed config", |_| pulls(&self.address, "second").then_some(()));
        assert!(!pulls(&self.address, "first"));
        stops(&self.process);
    }
}

#[test]
fn a_log_whose_reader_has_gone_stops_nothing() {
    for outputs in [Outputs::Error, Outputs::Both] {
        let mut server = Piped::start(outputs);
        // Nobody reads the pipe any more: every write to it fails.
        server.log = BufReader::new(File::open("/dev/null").unwrap());
        server.works_and_stops();
    }
}

#[test]
fn a_log_whose_reader_has_stalled_stops_nothing_and_its_lost_lines_are_counted() {
    for outputs in [Outputs::Error, Outputs::Both] {
        let server = Piped::start(outputs);
        // As many as have a line each.
        let many = scopes((0..16).map(|number| format!("r{number}")));
        let mut connection = Connection::open(&server.address).unwrap();
        // The pipe fills, then the queue before it, and then lines are lost.
        until("lost lines", || {
            assert_eq!(connection.send(&many).unwrap().status, 200);
            (metric(&server.address, "dockwarden_log_lines_dropped_total") > 0).then_some(())
        });
        // Not even a short message fits any more.
        let mut pipe = File::options().write(true).custom_flags(O_NONBLOCK).open(&server.pipe).unwrap();
        while pipe.write_all(b"\n").is_ok() {}
        server.works_and_stops();
    }
}

#[test]
fn an_empty_rust_log_leaves_the_decisions_in_the_log() {
    let directory = scratch::directory("config");
    let mut serve = Command::new(program());
    serve.arg(scratch::write(&directory, "auth_config.yml", &config(&pair(), "first"))).env("RUST_LOG", "");
    let process = Process::start("dockwarden", &serve);
    let address = announced(&process, "listening");
    assert!(pulls(&address, "first"));
    let decided = process.until("the decision", |process| events(&process.log(), "decided").first().cloned());
    assert_eq!(decided["scope"], "repository:first:pull", "{decided}");
}
