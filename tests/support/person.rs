//! Somebody at a docker command line: logs in, builds, pushes and pulls.

use std::path::{Path, PathBuf};

use super::engine::{self, Engine};
use super::part::{self, Said};
use super::{client, image};

/// Somebody who works with one registry, with logins of their own.
#[derive(Debug)]
pub(crate) struct Person {
    home: PathBuf,
    registry: String,
    engine: &'static Engine,
}

impl Person {
    /// Somebody who has not logged in to the registry, `localhost:port`.
    pub(crate) fn new(registry: &str) -> Self {
        Self::at(engine::shared(), registry)
    }

    /// The same, at another engine than that of the run.
    pub(crate) fn at(engine: &'static Engine, registry: &str) -> Self {
        Self { home: client::home(), registry: registry.to_owned(), engine }
    }

    /// Somebody who has.
    pub(crate) fn logged_in(registry: &str, account: &str, password: &str) -> Self {
        let person = Self::new(registry);
        person.login(account, password).well();
        person
    }

    /// Any other command of docker's.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Said {
        part::run(self.engine.docker(&self.home).args(arguments))
    }

    /// Logs in, with the password on standard input.
    pub(crate) fn login(&self, account: &str, password: &str) -> Said {
        let mut login = self.engine.docker(&self.home);
        login.args(["login", "--username", account, "--password-stdin", &self.registry]);
        part::run_with(&mut login, password.as_bytes())
    }

    /// Builds an image with one file of its own, more than a mebibyte large: `FROM scratch` with the static busybox.
    pub(crate) fn build(&self, name: &str) {
        let context = image::build_context(name);
        part::run(self.engine.docker(&self.home).args(["build", "--tag", name]).arg(&context)).well();
    }

    /// Makes an image of a tar file.
    pub(crate) fn import(&self, tar: &Path, name: &str) {
        part::run(self.engine.docker(&self.home).arg("import").arg(tar).arg(name)).well();
    }

    /// Pushes a local image as `repository:latest`. The tag is the engine's, not the person's: of tests with one registry, each
    /// pushes to repositories of its own.
    pub(crate) fn push(&self, local: &str, repository: &str) -> Said {
        let name = format!("{}/{repository}:latest", self.registry);
        self.docker(&["tag", local, &name]).well();
        self.docker(&["push", &name])
    }

    /// Pulls `repository:latest`.
    pub(crate) fn pull(&self, repository: &str) -> Said {
        self.docker(&["pull", &format!("{}/{repository}:latest", self.registry)])
    }

    /// Removes an image with all its tags, so that a pull has to fetch its layers.
    pub(crate) fn forget(&self, local: &str) {
        let id = self.docker(&["image", "inspect", "--format", "{{.Id}}", local]).well();
        self.docker(&["image", "rm", "--force", id.stdout.trim()]).well();
    }
}
