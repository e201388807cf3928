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
    /// What its own `/etc/docker` and `/etc/hosts` are, if it has such.
    etc: PathBuf,
}

/// Starts an engine with networks of its own: every network namespace, mount and process below it is in namespaces that end
/// with it, whichever way it ends, and its ports are on a loopback address that nobody else has. `$0` is its directory.
const APART: &str = r#"
set -e
ip link set lo up
mount --bind "$0/hosts" /etc/hosts
mount --bind "$0/docker" /etc/docker
exec "$@"
"#;

impl Engine {
    fn start() -> Self {
        let directory = root_only();
        // In a mount namespace of its own: the engine mounts inside its directories, and what it leaves behind when
        // it is killed would keep them from being removed.
        let mut serve = part::command("unshare");
        serve.args(["--mount", "--"]).arg(part::path("dockerd")).args(["--iptables=false", "--ip6tables=false"]);
        Self::launch(directory, serve, "vfs")
    }

    /// One of today, which keeps images in containerd, as a new one does: its programs are those of `install.sh long`.
    pub(crate) fn with_containerd() -> Self {
        let directory = root_only();
        let dockerd = part::path("long/dockerd");
        let path = std::env::join_paths(
            std::iter::once(dockerd.parent().unwrap().to_owned())
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
        );
        let mut serve = part::command("unshare");
        serve.args(["--mount", "--"]).arg(&dockerd).args(["--iptables=false", "--ip6tables=false"]);
        serve.args(["--feature", "containerd-snapshotter=true"]).env("PATH", path.unwrap());
        Self::launch(directory, serve, "native")
    }

    fn start_apart() -> Self {
        let directory = root_only();
        for name in ["docker", "docker/certs.d"] {
            std::fs::create_dir(directory.join(name)).unwrap();
        }
        scratch::write(&directory, "hosts", "127.0.0.1 localhost\n");
        // Where it is to be mounted.
        std::fs::create_dir_all("/etc/docker").unwrap();
        let mut serve = part::command("unshare");
        serve
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
            .args(["sh", "-c", APART])
            .arg(&directory)
            .arg(part::path("dockerd"));
        Self::launch(directory, serve, "vfs")
    }

    fn launch(directory: PathBuf, mut serve: Command, storage: &str) -> Self {
        let socket = directory.join("sock");
        serve
            .args(["--bridge=none", "--storage-driver", storage])
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
        let engine = Self { process, socket, etc: directory };
        let home = scratch::directory("docker");
        engine
            .process
            .until("an answer to `docker info`", |_| part::run(engine.docker(&home).arg("info")).success.then_some(()));
        engine
    }

    /// A `docker` command line with its own home, where its logins are kept.
    pub(crate) fn docker(&self, home: &Path) -> Command {
        self.client("docker", home)
    }

    /// A command line that talks to the engine.
    pub(crate) fn client(&self, program: &str, home: &Path) -> Command {
        let mut command = part::client(program);
        command
            .env("DOCKER_HOST", self.address())
            .env("DOCKER_CONFIG", home)
            .env("HOME", home)
            // The builder that needs no plugin and no network.
            .env("DOCKER_BUILDKIT", "0");
        command
    }

    /// What `DOCKER_HOST` is for it.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Has an engine apart find a host on its own loopback address, and trust these authorities there (PEM).
    pub(crate) fn knows(&self, host: &str, authorities: &str) {
        let name = host.split(':').next().unwrap();
        let directory = self.etc.join("docker/certs.d").join(host);
        std::fs::create_dir_all(&directory).unwrap();
        scratch::write(&directory, "ca.crt", authorities);
        scratch::write(&self.etc, "hosts", &format!("127.0.0.1 localhost {name}\n"));
    }

    /// A command among the networks and processes of an engine apart, as the numbers of processes are there.
    pub(crate) fn inside(&self, program: &str) -> Command {
        let namespaces = format!("/proc/{}/ns", self.process.pid());
        let mut command = part::client("nsenter");
        command
            .arg(format!("--net={namespaces}/net"))
            .arg(format!("--mount={namespaces}/mnt"))
            .arg(format!("--pid={namespaces}/pid_for_children"))
            .arg("--")
            .arg(part::path(program));
        command
    }
}

fn root_only() -> PathBuf {
    let user = part::run(part::client("id").arg("-u")).well();
    assert_eq!(user.stdout.trim(), "0", "the Docker engine needs root: run these tests as root");
    scratch::directory("engine")
}

/// The engine of the run.
pub(crate) fn shared() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(Engine::start)
}

/// A second one, with networks, names between containers and published ports.
pub(crate) fn apart() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(Engine::start_apart)
}
