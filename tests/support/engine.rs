//! The real Docker engine, started once for the whole run, and its command line.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::process::Process;
use super::{part, scratch};

/// A running engine.
#[derive(Debug)]
pub(crate) struct Engine {
    process: Process,
    socket: PathBuf,
}

impl Engine {
    fn start() -> Self {
        let user = part::run(part::client("id").arg("-u")).well();
        assert_eq!(user.stdout.trim(), "0", "the Docker engine needs root: run these tests as root");
        let directory = scratch::directory("engine");
        let socket = directory.join("sock");
        // In a mount namespace of its own: the engine mounts inside its directories, and what it leaves behind when
        // it is killed would keep them from being removed.
        let mut serve = part::command("unshare");
        serve
            .args(["--mount", "--"])
            .arg(part::path("dockerd"))
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"])
            .arg("--data-root")
            .arg(directory.join("data"))
            .arg("--exec-root")
            .arg(directory.join("exec"))
            .arg("--pidfile")
            .arg(directory.join("pid"))
            .arg("--host")
            .arg(format!("unix://{}", socket.display()))
            .env("HOME", &directory);
        let process = Process::start("dockerd", &serve);
        let engine = Self { process, socket };
        let home = scratch::directory("docker");
        engine
            .process
            .until("an answer to `docker info`", |_| part::run(engine.docker(&home).arg("info")).success.then_some(()));
        engine
    }

    /// A `docker` command line with its own home, where its logins are kept.
    pub(crate) fn docker(&self, home: &Path) -> Command {
        let mut command = part::client("docker");
        command
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()))
            .env("DOCKER_CONFIG", home)
            .env("HOME", home)
            // The builder that needs no plugin and no network.
            .env("DOCKER_BUILDKIT", "0");
        command
    }
}

/// The engine of the run.
pub(crate) fn shared() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(Engine::start)
}
