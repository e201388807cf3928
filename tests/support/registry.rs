//! Stock registries of both generations, each with nothing but the guide's five settings for tokens.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::dockwarden::{Dockwarden, ISSUER, SERVICE};
use super::keys::Pair;
use super::process::Process;
use super::{part, scratch};

/// Which registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edition {
    /// Debian's `docker-registry`, 2.8.
    V2,
    /// Registry 3.1, built from source.
    V3,
}

impl Edition {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::V2, Self::V3];

    fn program(self) -> &'static str {
        match self {
            Self::V2 => "docker-registry",
            Self::V3 => "registry",
        }
    }
}

/// What a registry knows the token server's key by.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// `rootcertbundle`: certificates in PEM.
    Bundle(PathBuf),
    /// `jwks`: registry 3 only.
    Jwks(PathBuf),
}

/// A running registry.
#[derive(Debug)]
pub(crate) struct Registry {
    /// Which one it is.
    pub(crate) edition: Edition,
    /// The process, with its log.
    pub(crate) process: Process,
    port: u16,
}

impl Registry {
    /// Starts a registry that sends its clients to `dockwarden` and trusts the certificates in `bundle`.
    pub(crate) fn start(edition: Edition, dockwarden: &Dockwarden, bundle: &Path) -> Self {
        Self::start_with(edition, &dockwarden.realm(), &Trust::Bundle(bundle.to_owned()))
    }

    /// Starts a registry that sends its clients to `realm`.
    pub(crate) fn start_with(edition: Edition, realm: &str, trust: &Trust) -> Self {
        let trust = match trust {
            Trust::Bundle(file) => format!("rootcertbundle: {}", file.display()),
            Trust::Jwks(file) => format!("jwks: {}", file.display()),
        };
        let auth =
            format!("auth:\n  token:\n    realm: {realm}\n    service: {SERVICE}\n    issuer: {ISSUER}\n    {trust}\n");
        Self::launch(edition, &auth, &[])
    }

    /// Starts a registry that knows of its token server what these variables say, as `docker run --env-file` gives them.
    pub(crate) fn start_in(edition: Edition, environment: &[(String, String)]) -> Self {
        Self::launch(edition, "", environment)
    }

    /// Starts a registry that knows nothing of tokens: whoever is in this file of htpasswd's may do everything.
    pub(crate) fn start_with_passwords(edition: Edition, file: &Path) -> Self {
        let auth = format!("auth:\n  htpasswd:\n    realm: inside\n    path: {}\n", file.display());
        Self::launch(edition, &auth, &[])
    }

    /// The same, which calls itself by this name (`http.host`), wherever it is.
    pub(crate) fn start_called(edition: Edition, file: &Path, host: &str) -> Self {
        let auth = format!("auth:\n  htpasswd:\n    realm: inside\n    path: {}\n", file.display());
        Self::launch(edition, &auth, &[("REGISTRY_HTTP_HOST".to_owned(), host.to_owned())])
    }

    /// The same, with a line in its log for each request, and one for each that it takes for one of a repository's.
    pub(crate) fn start_talkative(edition: Edition, file: &Path) -> Self {
        let auth = format!("auth:\n  htpasswd:\n    realm: inside\n    path: {}\n", file.display());
        let variables = [
            ("REGISTRY_LOG_LEVEL", "debug"),
            ("REGISTRY_LOG_FORMATTER", "json"),
            ("REGISTRY_LOG_ACCESSLOG_DISABLED", "false"),
        ];
        Self::launch(edition, &auth, &variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
    }

    /// The same with TLS, which is HTTP/2 to whoever can, and a line in its log for each request.
    pub(crate) fn start_with_tls(edition: Edition, file: &Path, pair: &Pair) -> Self {
        let auth = format!("auth:\n  htpasswd:\n    realm: inside\n    path: {}\n", file.display());
        let variables = [
            ("REGISTRY_HTTP_TLS_CERTIFICATE", pair.certificate.display().to_string()),
            ("REGISTRY_HTTP_TLS_KEY", pair.key.display().to_string()),
            ("REGISTRY_LOG_ACCESSLOG_DISABLED", "false".to_owned()),
        ];
        Self::launch(edition, &auth, &variables.map(|(name, value)| (name.to_owned(), value)))
    }

    /// Starts a registry at a port, called `service`, that sends its events to `events` with this secret, and deletes or not.
    pub(crate) fn start_notifying(
        edition: Edition,
        (port, service): (u16, &str),
        (realm, bundle): (&str, &Path),
        (events, secret): (&str, &str),
        deletes: bool,
    ) -> Self {
        let auth = format!(
            "auth:\n  token:\n    realm: {realm}\n    service: {service}\n    issuer: {ISSUER}\n    rootcertbundle: {}\n\
             notifications:\n  endpoints:\n    - name: dockwarden\n      url: {events}\n      headers:\n        \
             Authorization: [Bearer {secret}]\n      timeout: 5s\n      threshold: 5\n      backoff: 200ms\n      ignore:\n        \
             mediatypes: [application/octet-stream]\n        actions: [mount]\n",
            bundle.display(),
        );
        let variables = [
            ("REGISTRY_HTTP_ADDR", format!("127.0.0.1:{port}")),
            ("REGISTRY_STORAGE_DELETE_ENABLED", deletes.to_string()),
        ];
        Self::launch(edition, &auth, &variables.map(|(name, value)| (name.to_owned(), value)))
    }

    fn launch(edition: Edition, auth: &str, environment: &[(String, String)]) -> Self {
        let directory = scratch::directory("registry");
        let process = serve(
            edition,
            &format!(
                "version: 0.1\n\
                 log:\n  level: info\n  accesslog:\n    disabled: true\n\
                 storage:\n  filesystem:\n    rootdirectory: {}\n  delete:\n    enabled: true\n  \
                 maintenance:\n    uploadpurging:\n      enabled: false\n\
                 http:\n  addr: 127.0.0.1:0\n  secret: only-this-one\n\
                 {auth}",
                directory.join("data").display(),
            ),
            environment,
        );
        let port = process.until("the line that tells its address", |process| {
            let log = process.log();
            let (_, rest) = log.split_once("listening on 127.0.0.1:")?;
            let digits = rest.split(|other: char| !other.is_ascii_digit()).next()?;
            // A line that is still being written has no end after the digits.
            (digits.len() < rest.len()).then(|| digits.parse().ok()).flatten()
        });
        Self { edition, process, port }
    }

    /// `localhost:port`: how clients name it.
    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// `127.0.0.1:port`: where it listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Starts a registry with this file as its configuration, and does not wait for it.
pub(crate) fn serve(edition: Edition, config: &str, environment: &[(String, String)]) -> Process {
    let program = edition.program();
    let config = scratch::write(&scratch::directory(program), "config.yml", config);
    let mut serve = Command::new(part::path(program));
    serve.arg("serve").arg(config).env_clear();
    // Registry 3 would send its traces to a collector that is not there.
    serve.env("OTEL_TRACES_EXPORTER", "none");
    serve.envs(environment.iter().map(|(name, value)| (name, value)));
    Process::start(program, &serve)
}
