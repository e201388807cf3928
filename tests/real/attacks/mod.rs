//! What an attacker, or an accident that looks like one, does to the process: each kind in a file of its own, and what they
//! share here.

mod command_line;
mod connections;
mod files;
mod lines;
mod log;
mod sockets;

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::dockwarden::{self, SERVICE, events, program};
use crate::support::http::{self};
use crate::support::keys::{self, Kind, Pair};
use crate::support::process::{Process, Signal};
use crate::support::{part, visit};

/// A config by which everybody may pull one repository: questions need no password.
fn config(pair: &Pair, repository: &str) -> String {
    let policy = format!("users:\n  \"\": {{}}\nacl:\n  - match: {{name: {repository}}}\n    actions: [pull]\n");
    dockwarden::config(pair, "", &policy)
}

/// A pair that is made in no time.
fn pair() -> Pair {
    keys::as_in_the_guide(Kind::P256)
}

fn scopes(repositories: impl Iterator<Item = String>) -> Vec<u8> {
    let scopes: Vec<String> = repositories.map(|name| format!("repository:{name}:pull")).collect();
    let target = format!("/auth?service={}&scope={}", http::form_encode(SERVICE), scopes.join("+"));
    http::request("GET", &target, "localhost", &[], b"")
}

/// What asks whether `repository` may be pulled.
fn question(repository: &str) -> Vec<u8> {
    scopes(std::iter::once(repository.to_owned()))
}

/// Whether the token in the reply lets its owner pull.
#[track_caller]
fn lets_pull(token: &Value) -> bool {
    visit::claims(token["token"].as_str().unwrap())["access"][0]["actions"] == Value::from(vec!["pull"])
}

/// Asks over a connection of its own, which has to be answered.
#[track_caller]
fn pulls(address: &str, repository: &str) -> bool {
    let reply = http::exchange(address, &question(repository));
    assert_eq!(reply.status, 200, "{}", reply.text());
    lets_pull(&reply.json())
}

#[track_caller]
fn healthy(address: &str) {
    assert_eq!(http::exchange(address, &http::request("GET", "/healthz", "localhost", &[], b"")).status, 200);
}

/// A metric of `/metrics`.
#[track_caller]
fn metric(address: &str, name: &str) -> u64 {
    let text = http::exchange(address, &http::request("GET", "/metrics", "localhost", &[], b"")).text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}\n{text}")).parse().unwrap()
}

/// The address in the line of the log that has this message.
fn announced(process: &Process, message: &str) -> String {
    process.until(message, |process| {
        events(&process.log(), message).first().and_then(|line| Some(line["address"].as_str()?.to_owned()))
    })
}

/// How many lines of the log give this reason.
fn reasons(process: &Process, reason: &str) -> usize {
    process.log().lines().filter(|line| line.contains(&format!("\"reason\":\"{reason}\""))).count()
}

fn reloads(process: &Process) -> usize {
    events(&process.log(), "configuration reloaded").len()
}

/// Waits until a reload has failed `number` times.
#[track_caller]
fn until_failed(process: &Process, number: usize) {
    process.until("a reload that fails", |process| (reasons(process, "reload_failed") >= number).then_some(()));
}

/// Tells the server to stop, which has to end it with status 0.
#[track_caller]
fn stops(process: &Process) {
    process.signal(Signal::Terminate);
    let status = process.end();
    assert!(status.success(), "{status}\n{}", process.tail());
}

fn pipe_at(path: &Path) {
    part::run(part::command("mkfifo").arg(path)).well();
}

/// What runs the program with these arguments, and gives it ten seconds, so that one that hangs ends with 124.
fn limited(arguments: &[&str]) -> Command {
    let mut command = part::command("timeout");
    command.args(["--kill-after=1", "10"]).arg(program()).args(arguments);
    command
}

/// The exit status, standard output and standard error.
fn outcome(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}
