//! Pebble, the authority that Let's Encrypt tests clients of ACME with: it refuses nonces, and looks whether a name leads to the listener.

use std::path::PathBuf;

use serde_json::json;

use super::keys::{self, Chain};
use super::process::Process;
use super::{part, port, scratch};

/// The name that it issues for; every name leads to this machine.
pub(crate) const HOST: &str = "localhost";

/// A running authority.
#[derive(Debug)]
pub(crate) struct Pebble {
    pub(crate) process: Process,
    _names: Process,
    /// The port on which it looks for the challenge.
    pub(crate) listener: u16,
    port: u16,
    management: u16,
    tls: Chain,
}

impl Pebble {
    /// Starts one whose certificates live for so many seconds.
    pub(crate) fn start(life: u32) -> Pebble {
        let tls = keys::for_localhost();
        port::with_free(|ports| Pebble::start_on(ports, life, &tls))
    }

    fn start_on(ports: [u16; 5], life: u32, tls: &Chain) -> Option<Pebble> {
        let [listener, port, management, names, of_names] = ports;
        let at = |port: u16| format!("127.0.0.1:{port}");
        let config = json!({"pebble": {
            "listenAddress": at(port),
            "managementListenAddress": at(management),
            "certificate": tls.leaf.certificate,
            "privateKey": tls.leaf.key,
            "httpPort": 1,
            "tlsPort": listener,
            "retryAfter": {"authz": 1, "order": 1},
            "keyAlgorithm": "ecdsa",
            "profiles": {"default": {"description": "for a test", "validityPeriod": life}},
        }});
        let config = scratch::write(&scratch::directory("pebble"), "config.json", &config.to_string());
        let mut resolver = part::command("pebble-challtestsrv");
        resolver.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dnsserver", &at(names)]);
        resolver.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-management", &at(of_names)]);
        let names_process = Process::start("pebble-challtestsrv", &resolver);
        let mut command = part::command("pebble");
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "5");
        command.arg("-config").arg(config).args(["-dnsserver", &at(names)]);
        let process = Process::start("pebble", &command);
        for listening in [(&names_process, of_names), (&process, port), (&process, management)] {
            listening.0.up_or_ended("a connection", |_| std::net::TcpStream::connect(at(listening.1)).ok())?;
        }
        Some(Pebble { process, _names: names_process, listener, port, management, tls: tls.clone() })
    }

    /// The section `letsencrypt` of a configuration for it, with the certificates in this folder.
    pub(crate) fn section(&self, folder: &std::path::Path) -> String {
        format!(
            "  letsencrypt: {{host: {HOST}, email: \"waldi@example.org\", cache_dir: \"{}\", directory_url: \
             \"https://localhost:{}/dir\", ca_certificate: \"{}\"}}\n",
            folder.display(),
            self.port,
            self.tls.authority.display()
        )
    }

    /// The root of the certificates that it issues, as it is now.
    pub(crate) fn root(&self) -> PathBuf {
        let mut curl = part::client("curl");
        curl.args(["--silent", "--show-error", "--fail", "--cacert"]).arg(&self.tls.authority);
        let said = part::run(curl.arg(format!("https://localhost:{}/roots/0", self.management))).well();
        scratch::write(&scratch::directory("root"), "root.pem", &said.stdout)
    }

    /// How many orders it was given.
    pub(crate) fn orders(&self) -> usize {
        self.process.log().matches("/order-plz -> calling handler").count()
    }

    /// How many questions it was asked.
    pub(crate) fn questions(&self) -> usize {
        self.process.log().matches(" -> calling handler").count()
    }
}
