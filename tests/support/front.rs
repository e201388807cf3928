//! nginx with the settings that docker-compose.yml ships: TLS in front of the token server and a registry.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::dockwarden::Dockwarden;
use super::keys::{self, Pair};
use super::process::Process;
use super::registry::{Edition, Registry, Trust};
use super::{part, port, scratch};

/// The file that docker-compose.yml mounts.
const SHIPPED: &str = "deploy/nginx/registry.conf";

/// A registry behind nginx, which also leads to the token server.
#[derive(Debug)]
pub(crate) struct Front {
    /// `localhost:port` with TLS, for both.
    pub(crate) host: String,
    /// `localhost:port` without TLS.
    pub(crate) plain: String,
    /// The authority that signed nginx's certificate, PEM.
    pub(crate) authority: PathBuf,
    /// nginx, with its log.
    pub(crate) process: Process,
    /// Held so that it lives as long as this, and shows its log when a test fails.
    _registry: Registry,
}

impl Front {
    /// Starts a registry that trusts the pair's certificate, with nginx before it and before `dockwarden`.
    pub(crate) fn start(edition: Edition, dockwarden: &Dockwarden, pair: &Pair) -> Self {
        let trust = Trust::Bundle(pair.certificate.clone());
        Self::before(dockwarden, |host| Registry::start_with(edition, &format!("https://{host}/auth"), &trust))
    }

    /// Starts nginx before `dockwarden` and before a registry that is told nginx's own `localhost:port`.
    pub(crate) fn before(dockwarden: &Dockwarden, registry: impl Fn(&str) -> Registry) -> Self {
        let tls = Tls::new();
        // nginx cannot be asked which port it got, and the registry has to know: when a port is taken, all is put up again.
        port::with_free(|[https, plain]| {
            let host = format!("localhost:{https}");
            let registry = registry(&host);
            let site = site(&[
                ("/etc/nginx/tls", tls.directory.to_str().unwrap()),
                ("listen 80;", &format!("listen 127.0.0.1:{plain};")),
                ("listen 443 ssl;", &format!("listen 127.0.0.1:{https} ssl;")),
                ("http://registry:5000", &format!("http://{}", registry.address())),
                ("http://dockwarden:5001", &format!("http://{}", dockwarden.address)),
            ]);
            let process = Process::start("nginx", &nginx(&site));
            let up = process.up_or_ended("both ports", |_| {
                [https, plain].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()).then_some(())
            });
            assert!(up.is_some() || process.log().contains("Address already in use"), "{}", process.tail());
            let (plain, authority) = (format!("localhost:{plain}"), tls.authority.clone());
            up.map(|()| Self { host, plain, authority, process, _registry: registry })
        })
    }
}

/// What the shipped settings want to find for TLS.
pub(crate) struct Tls {
    /// Holds `fullchain.pem` and `privkey.pem`.
    pub(crate) directory: PathBuf,
    /// The authority that signed the certificate, PEM.
    pub(crate) authority: PathBuf,
}

impl Tls {
    pub(crate) fn new() -> Self {
        let directory = scratch::directory("tls");
        let chain = keys::for_localhost();
        fs::copy(&chain.both, directory.join("fullchain.pem")).unwrap();
        fs::copy(&chain.leaf.key, directory.join("privkey.pem")).unwrap();
        Self { directory, authority: chain.authority }
    }
}

/// The shipped settings, with what this machine has in the place of what they name.
///
/// # Panics
/// If a text that is to be replaced is not in them: the test would no longer try what is shipped.
pub(crate) fn site(changes: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(SHIPPED);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{SHIPPED}: {error}"));
    changes.iter().fold(text, |text, (theirs, ours)| {
        assert!(text.contains(theirs), "{theirs:?} is no longer in {SHIPPED}");
        text.replace(theirs, ours)
    })
}

/// nginx with what its image has around the mounted file. One process without a master, so that it dies with the run.
pub(crate) fn nginx(site: &str) -> Command {
    let directory = scratch::directory("nginx");
    let there = directory.display();
    let paths =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {there}/{kind};\n"));
    let main = format!(
        "daemon off;\nmaster_process off;\npid {there}/pid;\nerror_log stderr notice;\nevents {{}}\n\
         http {{\naccess_log off;\n{}{site}}}\n",
        paths.concat()
    );
    let mut command = part::command("nginx");
    command.arg("-p").arg(&directory).arg("-c").arg(scratch::write(&directory, "nginx.conf", &main));
    command.arg("-e").arg(directory.join("error.log"));
    command
}
