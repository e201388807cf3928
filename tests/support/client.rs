//! The command-line clients, each with a home of its own: no login, storage or policy of the machine reaches them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::Process;
use super::{part, scratch};

/// A new home with what the clients want to find in it.
pub(crate) fn home() -> PathBuf {
    let home = scratch::directory("home");
    let containers = home.join(".config/containers");
    fs::create_dir_all(&containers).unwrap();
    fs::create_dir(home.join("run")).unwrap();
    scratch::write(&containers, "policy.json", r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
    scratch::write(&containers, "registries.conf", "unqualified-search-registries = []\n");
    home
}

fn at_home(program: &str, home: &Path) -> Command {
    let mut command = part::client(program);
    command
        .current_dir(home)
        .env("HOME", home)
        .env("TMPDIR", home)
        .env("XDG_RUNTIME_DIR", home.join("run"))
        .env("DOCKER_CONFIG", home)
        .env("REGISTRY_AUTH_FILE", home.join("auth.json"));
    command
}

/// `skopeo`, with a file for its logins.
pub(crate) fn skopeo(home: &Path) -> Command {
    at_home("skopeo", home)
}

/// `podman`, with storage, state and locks at home.
pub(crate) fn podman(home: &Path) -> Command {
    let mut command = at_home("podman", home);
    command
        .args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none"])
        .arg(format!("--root={}", home.join("podman").display()))
        .arg(format!("--runroot={}", home.join("podman-run").display()))
        .arg(format!("--tmpdir={}", home.join("podman-tmp").display()));
    command
}

/// `buildah`, with its storage at home.
pub(crate) fn buildah(home: &Path) -> Command {
    let mut command = at_home("buildah", home);
    command
        .arg("--storage-driver=vfs")
        .arg(format!("--root={}", home.join("buildah").display()))
        .arg(format!("--runroot={}", home.join("buildah-run").display()));
    command
}

/// `crane`, with a file for its logins.
pub(crate) fn crane(home: &Path) -> Command {
    at_home("crane", home)
}

/// `helm`, with its files at home.
pub(crate) fn helm(home: &Path) -> Command {
    at_home("helm", home)
}

/// `oras`, with a file for its logins.
pub(crate) fn oras(home: &Path) -> Command {
    at_home("oras", home)
}

/// `regctl`, with a file for its logins, and told to speak HTTP to a registry.
pub(crate) fn regctl(home: &Path, registry: &str) -> Command {
    let mut command = at_home("regctl", home);
    command.arg("--host").arg(format!("reg={registry},tls=disabled"));
    command
}

/// A containerd of its own, for `ctr`.
#[derive(Debug)]
pub(crate) struct Containerd {
    /// Held so that it lives as long as this, and shows its log when a test fails.
    _process: Process,
    socket: PathBuf,
}

impl Containerd {
    /// Starts it and waits until it answers.
    pub(crate) fn start() -> Self {
        let directory = scratch::directory("containerd");
        let socket = directory.join("sock");
        // Namespaces see only what they pulled themselves: what was pushed from one is really fetched into another.
        let config = scratch::write(
            &directory,
            "config.toml",
            "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.snapshotter.v1.btrfs\", \
             \"io.containerd.snapshotter.v1.devmapper\", \"io.containerd.internal.v1.opt\"]\n\
             [plugins.\"io.containerd.metadata.v1.bolt\"]\ncontent_sharing_policy = \"isolated\"\n",
        );
        let mut serve = part::command("unshare");
        serve
            .args(["--mount", "--"])
            .arg(part::path("containerd"))
            .arg("--config")
            .arg(config)
            .arg("--root")
            .arg(directory.join("root"))
            .arg("--state")
            .arg(directory.join("state"))
            .arg("--address")
            .arg(&socket);
        let process = Process::start("containerd", &serve);
        process.until("an answer to `ctr version`", |_| {
            part::run(ctr(&socket, "any").arg("version")).success.then_some(())
        });
        Self { _process: process, socket }
    }

    /// A `ctr` command line that talks to it, in one of its namespaces.
    pub(crate) fn ctr(&self, namespace: &str) -> Command {
        ctr(&self.socket, namespace)
    }
}

fn ctr(socket: &Path, namespace: &str) -> Command {
    let mut command = part::client("ctr");
    command.arg("--address").arg(socket).args(["--namespace", namespace]);
    command
}
