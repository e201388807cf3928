//! A real API of Kubernetes: etcd and the API server, built by `install.sh long`. It keeps objects, and starts no pod: that would be the
//! kubelet's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::Value;

use super::http::{self, Connection, Reply};
use super::process::{Process, until, until_within};
use super::{keys, part, port, scratch};

/// Who may do everything there.
pub(crate) const ADMIN: &str = "the-administrators-token";
/// Who signs the tokens of service accounts.
pub(crate) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// How long the API server may take to make its own roles and be ready.
const READY: Duration = Duration::from_secs(180);

/// A running API, with nothing in it but what it makes itself.
#[derive(Debug)]
pub(crate) struct Cluster {
    server: Process,
    _etcd: Process,
    /// `127.0.0.1:port`; its certificate is for `localhost`, too.
    address: String,
    /// Whom to trust for that, PEM.
    pub(crate) authority: PathBuf,
    tls: Arc<ClientConfig>,
}

/// The status of a `GET`, if anybody answers.
fn status(connection: std::io::Result<Connection>, target: &str) -> Option<u16> {
    let asked = http::request("GET", target, "localhost", &[("Authorization", &format!("Bearer {ADMIN}"))], b"");
    connection.and_then(|mut connection| connection.send(&asked)).ok().map(|reply| reply.status)
}

/// etcd, and its address.
fn etcd() -> (Process, String) {
    port::with_free(|[client, peer]| {
        let [client, peer] = [client, peer].map(|port| format!("127.0.0.1:{port}"));
        let (own, peers) = (format!("http://{client}"), format!("http://{peer}"));
        let mut serve = Command::new(part::path("long/etcd"));
        serve.env_clear().arg("--data-dir").arg(scratch::directory("etcd").join("data"));
        serve.args(["--listen-client-urls", &own, "--advertise-client-urls", &own]);
        serve.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
        serve.args(["--initial-cluster", &format!("default={peers}"), "--unsafe-no-fsync", "--log-level", "warn"]);
        let process = Process::start("etcd", &serve);
        let healthy = |_: &Process| (status(Connection::open(&client), "/health") == Some(200)).then_some(());
        process.up_or_ended("/health", healthy).map(|()| (process, client))
    })
}

impl Cluster {
    /// The one of this run. Tests keep to namespaces of their own.
    pub(crate) fn shared() -> &'static Self {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        CLUSTER.get_or_init(Self::start)
    }

    fn start() -> Self {
        let (etcd, store) = etcd();
        let directory = scratch::directory("apiserver");
        let signing = directory.join("accounts.key");
        part::run(
            part::client("openssl").args(["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out"]).arg(&signing),
        )
        .well();
        let tokens = scratch::write(&directory, "tokens.csv", &format!("{ADMIN},admin,1,system:masters\n"));
        let chain = keys::for_localhost();
        let tls = http::trusting(&chain.authority);
        let (server, address) = port::with_free(|[port]| {
            let mut serve = Command::new(part::path("long/kube-apiserver"));
            serve.env_clear().arg(format!("--etcd-servers=http://{store}")).arg(format!("--secure-port={port}"));
            serve.args(["--bind-address=127.0.0.1", "--endpoint-reconciler-type=none", "--authorization-mode=RBAC"]);
            serve.args(["--service-cluster-ip-range=10.0.0.0/24", &format!("--service-account-issuer={ISSUER}")]);
            for (option, file) in [
                ("cert-dir", &directory),
                ("tls-cert-file", &chain.both),
                ("tls-private-key-file", &chain.leaf.key),
                ("token-auth-file", &tokens),
                ("service-account-key-file", &signing),
                ("service-account-signing-key-file", &signing),
            ] {
                serve.arg(format!("--{option}={}", file.display()));
            }
            let process = Process::start("kube-apiserver", &serve);
            let address = format!("127.0.0.1:{port}");
            // It takes seconds before it says that the port was not free any more.
            let listens = |_: &Process| status(Connection::open_tls(&address, &tls), "/livez");
            process.up_or_ended("to listen", listens).map(|_| (process, address))
        });
        until_within(READY, "/readyz", || {
            (status(Connection::open_tls(&address, &tls), "/readyz") == Some(200)).then_some(())
        });
        Self { server, _etcd: etcd, address, authority: chain.authority, tls }
    }

    /// `https://localhost:port`.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address.replace("127.0.0.1", "localhost"))
    }

    /// One request of the administrator's; the body is YAML or JSON, which is YAML, too.
    pub(crate) fn ask(&self, method: &str, target: &str, body: &str) -> Reply {
        let bearer = format!("Bearer {ADMIN}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/yaml"),
            ("Accept", "application/json, */*"),
        ];
        let asked = http::request(method, target, "localhost", &headers, body.as_bytes());
        let reply = Connection::open_tls(&self.address, &self.tls).and_then(|mut connection| connection.send(&asked));
        reply.unwrap_or_else(|error| panic!("{method} {target}: {error}\n{}", self.server.tail()))
    }

    /// Makes an object, and gives it as it is kept. No field may be unknown, and nothing deprecated.
    ///
    /// # Panics
    /// If it is refused, or taken with a warning.
    #[track_caller]
    pub(crate) fn create(&self, collection: &str, object: &str) -> Value {
        let reply = self.ask("POST", &format!("{collection}?fieldValidation=Strict"), object);
        assert_eq!(reply.status, 201, "{collection}: {}\n{object}", reply.text());
        assert_eq!(reply.header("warning"), None, "{object}");
        reply.json()
    }

    /// A namespace where only pods are let in that can do least.
    pub(crate) fn restricted(&self, name: &str) {
        self.create(
            "/api/v1/namespaces",
            &format!("{{kind: Namespace, apiVersion: v1, metadata: {{name: {name}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}}}"),
        );
    }

    /// The kind of object that Prometheus' operator brings along.
    pub(crate) fn with_service_monitors(&self) {
        let definition = std::fs::read_to_string(part::path("long/servicemonitors.yaml")).unwrap();
        self.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition);
        until("the kind ServiceMonitor", || {
            let known = self.ask("GET", "/apis/monitoring.coreos.com/v1", "");
            (known.status == 200 && known.text().contains("servicemonitors")).then_some(())
        });
    }

    /// Where objects of this kind are made.
    pub(crate) fn collection(object: &Value) -> String {
        let [version, kind] = ["apiVersion", "kind"].map(|key| object[key].as_str().unwrap());
        let base = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
        let plural = match kind.to_lowercase() {
            policy if policy.ends_with("policy") => policy.replace("policy", "policies"),
            ingress if ingress.ends_with('s') => format!("{ingress}es"),
            other => format!("{other}s"),
        };
        match object["metadata"]["namespace"].as_str() {
            Some(namespace) => format!("{base}/namespaces/{namespace}/{plural}"),
            None => format!("{base}/{plural}"),
        }
    }

    /// Helm, with the administrator's rights here.
    pub(crate) fn helm(&self, home: &Path) -> Command {
        let mut helm = part::client("helm");
        helm.env("HOME", home).args(["--kube-apiserver", &self.url(), "--kube-token", ADMIN, "--kube-ca-file"]);
        helm.arg(&self.authority);
        helm
    }
}
