//! The server under test, as the process that operators run, and its command line.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::keys::Pair;
use super::process::Process;
use super::{http, part, scratch};

/// The guide's `issuer`.
pub(crate) const ISSUER: &str = "Acme auth server";

/// The guide's `service`, with its space.
pub(crate) const SERVICE: &str = "Docker registry";

/// A config with the pair, an address that the system picks, and `policy` (users and acl) as it stands.
pub(crate) fn config(pair: &Pair, more_token_settings: &str, policy: &str) -> String {
    format!(
        "server:\n  addr: \"127.0.0.1:0\"\ntoken:\n  issuer: \"{ISSUER}\"\n  expiration: 900\n  certificate: \"{}\"\n  \
         key: \"{}\"\n{more_token_settings}{policy}",
        pair.certificate.display(),
        pair.key.display(),
    )
}

/// The password of an account of the test bed: every character that Basic, forms and shells get wrong, and for each
/// account a different one.
pub(crate) fn password(account: &str) -> String {
    format!("{account}:p+w% ö&=1")
}

/// The `users` section, each with a hash by `htpasswd -B` as in the guide; `labels` is YAML.
pub(crate) fn users(accounts: &[(&str, &str)]) -> String {
    let mut section = "users:\n".to_owned();
    for (account, labels) in accounts {
        if account.is_empty() {
            section.push_str("  \"\": {}\n");
            continue;
        }
        let hash = hash(&password(account));
        write!(section, "  {account}:\n    password: \"{hash}\"\n    labels: {labels}\n").unwrap();
    }
    section
}

/// A bcrypt hash by `htpasswd`, at the lowest cost that it takes: the tests ask for many tokens.
pub(crate) fn hash(password: &str) -> String {
    hash_of_cost(password, 4)
}

/// The same, of this cost.
pub(crate) fn hash_of_cost(password: &str, cost: u32) -> String {
    let cost = cost.to_string();
    let said = part::run_with(part::client("htpasswd").args(["-niB", "-C", &cost, "x"]), password.as_bytes()).well();
    said.stdout.trim().strip_prefix("x:").unwrap().to_owned()
}

/// The program under test.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dockwarden"))
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Dockwarden {
    /// The process, with its log.
    pub(crate) process: Process,
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    /// The config file that it was started with.
    pub(crate) config: PathBuf,
}

impl Dockwarden {
    /// Starts the server with this text as its config file, and waits until it is ready.
    pub(crate) fn start(config: &str) -> Self {
        let directory = scratch::directory("config");
        Self::start_file(&scratch::write(&directory, "auth_config.yml", config))
    }

    /// Starts the server with an existing config file, and waits until it is ready.
    pub(crate) fn start_file(config: &Path) -> Self {
        let started = Self::start_unready(config);
        started.process.until("/readyz", |_| (started.ready() == Some(200)).then_some(()));
        started
    }

    /// Starts the server with this text as its config file and these environment variables, and waits until it is ready.
    pub(crate) fn start_in(config: &str, environment: &[(&str, &str)]) -> Self {
        let config = scratch::write(&scratch::directory("config"), "auth_config.yml", config);
        let mut serve = Command::new(program());
        serve.arg("serve").arg(&config).env_clear().envs(environment.iter().copied());
        let process = Process::start("dockwarden", &serve);
        let address = address(&process, "listening");
        let started = Self { process, address, config };
        started.process.until("/readyz", |_| (started.ready() == Some(200)).then_some(()));
        started
    }

    /// Everything that it has logged by now: see [`whole_log`].
    #[track_caller]
    pub(crate) fn whole_log(&self) -> String {
        whole_log(&self.process, &self.address)
    }

    /// What `/readyz` says; nothing if nobody answers.
    pub(crate) fn ready(&self) -> Option<u16> {
        let ready = http::Connection::open(&self.address)
            .and_then(|mut connection| connection.send(&http::request("GET", "/readyz", &self.address, &[], b"")));
        ready.ok().map(|reply| reply.status)
    }

    /// Starts the server with an existing config file, and waits until it listens.
    pub(crate) fn start_unready(config: &Path) -> Self {
        let (process, address) = listening(config);
        Self { process, address, config: config.to_owned() }
    }

    /// `localhost:port`: what registries are told. Some clients refuse a realm on a loopback address.
    pub(crate) fn host(&self) -> String {
        self.address.replace("127.0.0.1", "localhost")
    }

    /// The realm that registries are given.
    pub(crate) fn realm(&self) -> String {
        format!("http://{}/auth", self.host())
    }

    /// What `explain --requests` says to each of the questions, in order.
    pub(crate) fn explain(&self, questions: &[Value]) -> Vec<Value> {
        let mut lines = String::new();
        for question in questions {
            writeln!(lines, "{question}").unwrap();
        }
        let said = part::run_with(
            part::command_at(program()).arg("explain").arg(&self.config).args(["--requests", "-"]),
            lines.as_bytes(),
        )
        .well();
        let answers: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), questions.len(), "one answer a question\n{}", said.text);
        answers
    }
}

/// Starts the server with this config file on whatever kind of listener it names; waits until it listens, and gives the
/// address that it logs.
pub(crate) fn listening(config: &Path) -> (Process, String) {
    let mut serve = Command::new(program());
    serve.arg("serve").arg(config).env_clear();
    let process = Process::start("dockwarden", &serve);
    let address = address(&process, "listening");
    (process, address)
}

/// The same, not waited for, with these limits of open files (`soft:hard`).
pub(crate) fn with_descriptors(config: &Path, limits: &str) -> Process {
    let mut serve = Command::new(part::path("prlimit"));
    serve.arg(format!("--nofile={limits}")).arg(program()).arg("serve").arg(config);
    Process::start("dockwarden", &serve)
}

/// This config with TLS on the listener.
pub(crate) fn with_tls(config: &str, pair: &Pair) -> String {
    let (certificate, key) = (pair.certificate.display(), pair.key.display());
    config.replace("server:\n", &format!("server:\n  certificate: \"{certificate}\"\n  key: \"{key}\"\n"))
}

/// The address in the log line with this message, which is there once connections are taken.
pub(crate) fn address(process: &Process, message: &str) -> String {
    process.until(&format!("the line \"{message}\" with its address"), |process| {
        Some(events(&process.log(), message).first()?.get("address")?.as_str()?.to_owned())
    })
}

/// Everything that the server at this address has logged by now, in whole lines.
///
/// A thread of its own writes the log, often after the answer, and in the order in which it was told. This asks something that
/// no server understands, whose line in the log is thus behind all that were told before, and waits for it.
#[track_caller]
pub(crate) fn whole_log(process: &Process, address: &str) -> String {
    let nonsense = http::request("GET", "/auth", "localhost", &[("Authorization", "Basic !")], b"");
    let reply = http::exchange(address, &nonsense);
    let id = reply.header("x-decision-id").unwrap_or_else(|| panic!("{}: {}", reply.status, reply.text())).to_owned();
    process.until("the line of the last question", |process| {
        let mut log = process.log();
        log.truncate(log.rfind('\n').map_or(0, |end| end + 1));
        log.contains(&id).then_some(log)
    })
}

/// Waits for at least so many lines with this message, and gives all of them.
#[track_caller]
pub(crate) fn logged(process: &Process, message: &str, number: usize) -> Vec<Value> {
    process.until(&format!("{number} lines \"{message}\""), |process| {
        Some(events(&process.log(), message)).filter(|lines| lines.len() >= number)
    })
}

/// The lines of a JSON log with this message.
pub(crate) fn events(log: &str, message: &str) -> Vec<Value> {
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line.get("message").and_then(Value::as_str) == Some(message))
        .collect()
}
