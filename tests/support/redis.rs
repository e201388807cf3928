//! Redis on free loopback ports, and docker_auth's token databases, filled by docker_auth's own libraries.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use super::dockwarden::password;
use super::keys::{self, Chain};
use super::process::{Process, Signal, until};
use super::{part, port, scratch};

/// Who may read docker_auth's records, and that password.
pub(crate) const READER: (&str, &str) = ("reader", "canary-redis-reader");
/// The password of whoever may do anything.
const ADMIN: &str = "admin";

/// A server.
pub(crate) struct Redis {
    process: Mutex<Process>,
    file: PathBuf,
    chain: Chain,
    port: u16,
    tls_port: u16,
    /// At which nodes of a cluster speak with each other.
    bus_port: u16,
}

fn launch(file: &Path) -> Process {
    let mut command = part::command("redis-server");
    command.arg(file);
    Process::start("redis", &command)
}

fn is_up(process: &Process) -> Option<()> {
    process.log().contains("Ready to accept connections").then_some(())
}

impl Redis {
    pub(crate) fn start() -> Redis {
        Redis::start_with("")
    }

    /// With more lines in its configuration.
    fn start_with(more: &str) -> Redis {
        let directory = scratch::directory("redis");
        let chain = keys::for_localhost();
        let (process, file, [port, tls_port, bus_port]) = port::with_free(|ports: [u16; 3]| {
            let [port, tls_port, bus_port] = ports;
            let (reader, password) = READER;
            let text = format!(
                "bind 127.0.0.1\nport {port}\ntls-port {tls_port}\nsave \"\"\ndir {}\ntls-cert-file {}\ntls-key-file {}\n\
                 tls-auth-clients no\nuser default on >{ADMIN} ~* &* +@all\nuser {reader} on >{password} ~t:* +get\n{}",
                directory.display(),
                chain.leaf.certificate.display(),
                chain.leaf.key.display(),
                more.replace("$BUS", &bus_port.to_string()),
            );
            let file = scratch::write(&directory, "redis.conf", &text);
            let process = launch(&file);
            process.up_or_ended("Redis", is_up).map(|()| (process, file, ports))
        });
        Redis { process: Mutex::new(process), file, chain, port, tls_port, bus_port }
    }

    /// Two nodes of a cluster that have half of the keys each, which know each other.
    pub(crate) fn cluster() -> [Redis; 2] {
        let more = "cluster-enabled yes\ncluster-port $BUS\nmasterauth admin\ncluster-require-full-coverage yes\n";
        let nodes = [Redis::start_with(more), Redis::start_with(more)];
        // Told apart from the beginning, they write no other epoch down later, for which each of them would wait for the disk.
        for (node, epoch) in nodes.iter().zip(["1", "2"]) {
            node.ask(&["cluster", "set-config-epoch", epoch]);
        }
        nodes[0].ask(&["cluster", "addslotsrange", "0", "8191"]);
        nodes[1].ask(&["cluster", "addslotsrange", "8192", "16383"]);
        let Redis { port, bus_port, .. } = &nodes[1];
        nodes[0].ask(&["cluster", "meet", "127.0.0.1", &port.to_string(), &bus_port.to_string()]);
        for node in &nodes {
            until("the cluster is whole", || node.ask(&["cluster", "info"]).contains("cluster_state:ok").then_some(()));
        }
        nodes
    }

    /// What it answers to its administrator.
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        let mut client = part::client("redis-cli");
        client.args(["--no-auth-warning", "-a", ADMIN, "-p", &self.port.to_string()]).args(words);
        part::run(&mut client).well().stdout
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The same over TLS.
    pub(crate) fn tls_address(&self) -> String {
        format!("127.0.0.1:{}", self.tls_port)
    }

    /// The certificate of its authority.
    pub(crate) fn authority(&self) -> &Path {
        &self.chain.authority
    }

    /// Stores docker_auth's records.
    pub(crate) fn fill(&self, records: &[Value]) {
        fill("redis", &format!("redis://:{ADMIN}@{}", self.address()), records);
    }

    pub(crate) fn stop(&self) {
        let process = self.process.lock().unwrap();
        process.signal(Signal::Kill);
        process.end();
    }

    /// Starts it again. It has forgotten everything.
    pub(crate) fn start_again(&self) {
        let process = launch(&self.file);
        process.until("Redis is back", is_up);
        *self.process.lock().unwrap() = process;
    }
}

/// Stores docker_auth's records in a folder of LevelDB.
pub(crate) fn fill_level(folder: &Path, records: &[Value]) {
    fill("level", folder.to_str().unwrap(), records);
}

fn lines(records: &[Value]) -> String {
    records.iter().map(|record| format!("{record}\n")).collect()
}

fn fill(way: &str, place: &str, records: &[Value]) {
    let mut command = part::client("tokendb");
    part::run_with(command.args([way, place]), lines(records).as_bytes()).well();
}

/// docker_auth, as far as it has its database open.
pub(crate) struct Holder(Child);

impl Holder {
    /// Opens the database.
    pub(crate) fn of(folder: &Path) -> Holder {
        let mut command: Command = part::client("tokendb");
        command.arg("hold").arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut said, &mut line).unwrap();
        assert_eq!(line, "held\n");
        Holder(child)
    }

    /// Writes this record while it has the database, and closes that.
    pub(crate) fn close_with(mut self, record: &Value) {
        let mut input = self.0.stdin.take().unwrap();
        input.write_all(lines(std::slice::from_ref(record)).as_bytes()).unwrap();
        drop(input);
        assert!(self.0.wait().unwrap().success());
    }
}

/// docker_auth's record of somebody, which counts for ten minutes: with this name's password of the test bed, as the tool reads it.
pub(crate) fn record(name: &str) -> Value {
    let ends = time::OffsetDateTime::now_utc() + time::Duration::minutes(10);
    let ends = ends.format(&time::format_description::well_known::Rfc3339).unwrap();
    json!({"user": name, "password": password(name), "value": {
        "token_type": "Bearer", "access_token": "canary-access", "refresh_token": "canary-refresh", "valid_until": ends,
        "labels": {"groups": ["dev"]},
    }})
}
