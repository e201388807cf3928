//! nginx with the settings that docker-compose.yml ships: TLS in front of the token server and a registry.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use super::dockwarden::Dockwarden;
use super::keys::{self, Pair};
use super::process::Process;
use super::registry::{Edition, Registry, Trust};
use super::{part, port, scratch};

/// A registry behind nginx, which also leads to the token server.
#[derive(Debug)]
pub(crate) struct Front {
    /// `localhost:port` with TLS, for both.
    pub(crate) host: String,
    /// The authority that signed nginx's certificate, PEM.
    pub(crate) authority: PathBuf,
    /// Held so that they live as long as this, and show their logs when a test fails.
    _processes: (Process, Registry),
}

impl Front {
    /// Starts a registry with nginx before it and before `dockwarden`.
    pub(crate) fn start(edition: Edition, dockwarden: &Dockwarden, pair: &Pair) -> Self {
        // nginx cannot be asked which port it got. A port that was free a moment ago is nearly always still free; when
        // it is not, everything is put up again, since the registry knows the port.
        (0..5).find_map(|_| Self::try_start(edition, dockwarden, pair)).unwrap_or_else(|| panic!("no port for nginx"))
    }

    fn try_start(edition: Edition, dockwarden: &Dockwarden, pair: &Pair) -> Option<Self> {
        let held = port::hold();
        let address = held.local_addr().unwrap().to_string();
        let host = address.replace("127.0.0.1", "localhost");
        let trust = Trust::Bundle(pair.certificate.clone());
        let registry = Registry::start_with(edition, &format!("https://{host}/auth"), &trust);
        let tls = keys::for_localhost();
        let directory = scratch::directory("nginx");
        let shipped = shipped_settings(&tls.leaf, &address, &registry.address(), &dockwarden.address);
        let file = scratch::write(&directory, "nginx.conf", &around(&directory, &shipped));
        let mut serve = part::command("nginx");
        serve.arg("-p").arg(&directory).arg("-c").arg(file).arg("-e").arg(directory.join("error.log"));
        drop(held);
        let process = Process::start("nginx", &serve);
        let up = process.up_or_ended("a TLS port that answers", |_| TcpStream::connect(&address).ok());
        if up.is_none() {
            assert!(process.log().contains("Address already in use"), "{}", process.tail());
            return None;
        }
        Some(Self { host, authority: tls.authority, _processes: (process, registry) })
    }
}

/// The file that docker-compose.yml mounts, with the places of this run.
///
/// # Panics
/// If a text that is to be replaced is not in it: the test would no longer try what is shipped.
fn shipped_settings(tls: &Pair, address: &str, registry: &str, dockwarden: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx/registry.conf");
    let mut text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("deploy/nginx/registry.conf: {error}"));
    for (theirs, ours) in [
        // The proxied places are addresses here, so there is nothing to look up.
        ("resolver 127.0.0.11 valid=10s ipv6=off;", String::new()),
        ("/etc/nginx/tls/fullchain.pem", tls.certificate.display().to_string()),
        ("/etc/nginx/tls/privkey.pem", tls.key.display().to_string()),
        ("listen 80;", "listen unix:plain.sock;".to_owned()),
        ("listen 443 ssl;", format!("listen {address} ssl;")),
        ("http://registry:5000", format!("http://{registry}")),
        ("http://dockwarden:5001", format!("http://{dockwarden}")),
    ] {
        assert!(text.contains(theirs), "{theirs:?} is no longer in deploy/nginx/registry.conf");
        text = text.replace(theirs, &ours);
    }
    text
}

/// What the nginx image has around the mounted file. One process without a master, so that it dies with the run.
fn around(directory: &Path, shipped: &str) -> String {
    let there = directory.display();
    let shipped = shipped.replace("unix:plain.sock", &format!("unix:{there}/plain.sock"));
    format!(
        "daemon off;\nmaster_process off;\npid {there}/pid;\nerror_log stderr notice;\nevents {{}}\nhttp {{\n\
         access_log off;\nclient_body_temp_path {there}/body;\nproxy_temp_path {there}/proxy;\n\
         fastcgi_temp_path {there}/fastcgi;\nuwsgi_temp_path {there}/uwsgi;\nscgi_temp_path {there}/scgi;\n\
         {shipped}\n}}\n"
    )
}
