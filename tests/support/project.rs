//! A directory with the compose files as they are shipped, brought up at the engine that has networks of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use super::engine::{self, Engine};
use super::part::{self, Said};
use super::process::until_within;
use super::{client, keys, scratch, shipped};

/// The registry's name in the world.
pub(crate) const HOST: &str = "registry.example.com";

/// How long a service may take to be healthy: longer than its health check waits before it looks.
const HEALTHY: Duration = Duration::from_secs(90);

/// A project, alone at its engine: the compose files name addresses and ports that exist once.
pub(crate) struct Project {
    /// Where its files are.
    pub(crate) directory: PathBuf,
    files: Vec<String>,
    engine: &'static Engine,
    home: PathBuf,
    _alone: MutexGuard<'static, ()>,
}

impl Project {
    /// A copy of what the repository holds for docker compose, with TLS for [`HOST`], and the images.
    pub(crate) fn shipped(files: &[&str]) -> Self {
        let project = Self::empty(files);
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        part::run(part::client("cp").arg("-r").arg(repository.join("deploy")).arg(&project.directory)).well();
        for file in ["docker-compose.yml", "docker-compose.mongodb.yml"] {
            fs::copy(repository.join(file), project.directory.join(file)).unwrap();
        }
        fs::create_dir_all(project.directory.join("certs/tls")).unwrap();
        project.renew_tls();
        project
    }

    /// A project whose files are still to be written.
    pub(crate) fn empty(files: &[&str]) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        static IMAGES: OnceLock<()> = OnceLock::new();
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = engine::apart();
        IMAGES.get_or_init(|| {
            shipped::build(engine);
            shipped::neighbours(engine);
            shipped::ferretdb(engine);
        });
        Self {
            directory: scratch::directory("project"),
            files: files.iter().map(|&file| file.to_owned()).collect(),
            engine,
            home: client::home(),
            _alone: alone,
        }
    }

    /// The engine.
    pub(crate) fn engine(&self) -> &'static Engine {
        self.engine
    }

    /// Puts another certificate for [`HOST`] in nginx's place, by another authority, which the engine trusts then.
    pub(crate) fn renew_tls(&self) -> PathBuf {
        let chain = keys::for_host(HOST);
        let tls = self.directory.join("certs/tls");
        fs::copy(&chain.both, tls.join("fullchain.pem")).unwrap();
        fs::copy(&chain.leaf.key, tls.join("privkey.pem")).unwrap();
        self.engine.knows(HOST, &fs::read_to_string(&chain.authority).unwrap());
        chain.authority
    }

    /// A command line in the project's directory, for its engine.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = self.engine.client(program, &self.home);
        command.current_dir(&self.directory).env("COMPOSE_FILE", self.files.join(":"));
        command
    }

    /// `docker compose`, in whichever edition this machine has it.
    pub(crate) fn compose(&self, arguments: &[&str]) -> Said {
        part::run(self.command("docker-compose").args(arguments))
    }

    /// The same, with something on its standard input.
    pub(crate) fn compose_with(&self, arguments: &[&str], input: &str) -> Said {
        part::run_with(self.command("docker-compose").args(arguments), input.as_bytes())
    }

    /// `docker`, at the project's engine.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Said {
        part::run(self.command("docker").args(arguments))
    }

    /// The id of a service's container.
    pub(crate) fn container(&self, service: &str) -> String {
        self.compose(&["ps", "-q", service]).well().stdout.trim().to_owned()
    }

    /// A field of a service's container, as a template of `docker inspect` gives it.
    pub(crate) fn inspect(&self, service: &str, field: &str) -> String {
        self.docker(&["inspect", "--format", field, &self.container(service)]).well().stdout.trim().to_owned()
    }

    /// Waits until a service's health check has turned healthy.
    pub(crate) fn healthy(&self, service: &str) {
        until_within(HEALTHY, &format!("{service} to be healthy"), || {
            (self.inspect(service, "{{.State.Health.Status}}") == "healthy").then_some(())
        });
    }

    /// Kills a service's process as a crash would, and waits until the engine has started it again.
    pub(crate) fn crash(&self, service: &str) {
        let before = self.inspect(service, "{{.State.Pid}}");
        part::run(self.engine.inside("sh").args(["-c", &format!("kill -KILL {before}")])).well();
        until_within(HEALTHY, &format!("{service} to be started again"), || {
            let now = self.inspect(service, "{{.State.Status}} {{.State.Pid}}");
            (now.starts_with("running ") && !now.ends_with(&format!(" {before}"))).then_some(())
        });
    }

    /// curl among the engine's networks: HTTP status, and where it is sent, if anywhere.
    pub(crate) fn curl(&self, authority: &Path, arguments: &[&str]) -> String {
        let mut curl = self.engine.inside("curl");
        curl.args(["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code} %{redirect_url}"]);
        part::run(curl.arg("--cacert").arg(authority).args(arguments)).well().stdout
    }

    /// Takes all of it away, and looks that nothing is left.
    pub(crate) fn down(self) {
        self.compose(&["down", "--volumes", "--remove-orphans"]).well();
        assert_eq!(self.docker(&["ps", "--all", "--quiet"]).well().stdout, "");
        assert_eq!(self.docker(&["volume", "ls", "--quiet"]).well().stdout, "");
        let networks = self.docker(&["network", "ls", "--format", "{{.Name}}"]).well().stdout;
        assert!(networks.lines().all(|name| ["bridge", "host", "none"].contains(&name)), "{networks}");
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.compose(&["ps", "--all"]).text);
            eprintln!("{}", self.compose(&["logs", "--tail", "40"]).text);
        }
        self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "1"]);
    }
}
