//! A server that speaks MongoDB's protocol, with users of its own, and the guide's database in it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, Credential, ServerAddress};
use mongodb::{Client, IndexModel};
use tokio::runtime::Runtime;

use super::keys::Chain;
use super::process::{Process, Signal};
use super::{http, part, port, scratch};

/// The guide's database.
pub(crate) const DATABASE: &str = "23-5";

/// A running server. What is stored outlives its process, as long as this lives.
pub(crate) struct Database {
    directory: PathBuf,
    process: Mutex<Process>,
    port: u16,
    /// Where it speaks TLS as well, if it does.
    tls_port: Option<u16>,
    runtime: Runtime,
}

/// Starts the server; with `tls`, it speaks TLS on another port as well.
fn launch(directory: &std::path::Path, port: u16, tls: Option<&Chain>) -> Process {
    let files = directory.display();
    let mut serve = Command::new(part::path("ferretdb"));
    serve.env_clear().args([
        "--handler=sqlite".to_owned(),
        // Not waiting for the disk: other tests keep it busy. What was written before a kill is there all the same.
        format!("--sqlite-url=file:{files}/?_pragma=synchronous(off)"),
        format!("--state-dir={files}"),
        format!("--listen-addr=127.0.0.1:{port}"),
        "--debug-addr=127.0.0.1:0".to_owned(),
        "--telemetry=disable".to_owned(),
        "--test-enable-new-auth".to_owned(),
        "--setup-database=admin".to_owned(),
        "--setup-username=root".to_owned(),
        "--setup-password=example".to_owned(),
    ]);
    if let Some(chain) = tls {
        serve.args([
            "--listen-tls=127.0.0.1:0".to_owned(),
            format!("--listen-tls-cert-file={}", chain.both.display()),
            format!("--listen-tls-key-file={}", chain.leaf.key.display()),
        ]);
    }
    Process::start("ferretdb", &serve)
}

fn port_of(process: &Process, kind: &str) -> u16 {
    process.until("the line that tells its address", |process| address_in(&process.log(), kind))
}

fn address_in(log: &str, kind: &str) -> Option<u16> {
    let (_, rest) = log.split_once(&format!("Listening on {kind} 127.0.0.1:"))?;
    rest.split_once("...")?.0.parse().ok()
}

impl Database {
    /// Starts a server with the guide's user `ansi`, who is known in the guide's database only, and its unique indexes.
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// The same, speaking TLS with this certificate on another port.
    pub(crate) fn start_tls(chain: &Chain) -> Self {
        Self::start_with(Some(chain))
    }

    fn start_with(tls: Option<&Chain>) -> Self {
        // A port that the system gives to nobody else while this server is away.
        let (directory, process, port) = port::with_free(|[port]| {
            let directory = scratch::directory("ferretdb");
            let process = launch(&directory, port, tls);
            let is_up = |process: &Process| address_in(&process.log(), "TCP");
            process.up_or_ended("the line that tells its address", is_up)?;
            Some((directory, process, port))
        });
        let tls_port = tls.map(|_| port_of(&process, "TLS"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let database = Self { directory, process: Mutex::new(process), port, tls_port, runtime };
        // Without the guide's roles, which this server does not know.
        let create = doc! { "createUser": "ansi", "pwd": "test", "roles": [], "mechanisms": ["SCRAM-SHA-1"] };
        database.with(|client| async move { client.database(DATABASE).run_command(create).await.map(|_| ()) });
        database
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `localhost:port`, where it speaks TLS.
    pub(crate) fn tls_address(&self) -> String {
        format!("localhost:{}", self.tls_port.unwrap())
    }

    /// An administrator who stays connected, for many changes one after the other.
    pub(crate) fn administrator(&self) -> Administrator {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = self.as_root();
        let client = runtime.block_on(async { Client::with_options(options).unwrap() });
        Administrator { client, runtime }
    }

    fn as_root(&self) -> ClientOptions {
        let mut options = ClientOptions::builder()
            .hosts(vec![ServerAddress::Tcp { host: "127.0.0.1".to_owned(), port: Some(self.port) }])
            .server_selection_timeout(Duration::from_secs(10))
            .build();
        let mut root = Credential::default();
        root.username = Some("root".to_owned());
        root.password = Some("example".to_owned());
        root.source = Some("admin".to_owned());
        options.credential = Some(root);
        options
    }

    /// Does something as the administrator.
    pub(crate) fn with<T, F: Future<Output = mongodb::error::Result<T>>>(&self, act: impl FnOnce(Client) -> F) -> T {
        let options = self.as_root();
        self.runtime
            .block_on(async move { act(Client::with_options(options)?).await })
            .unwrap_or_else(|error| panic!("{error}\n{}", self.process().tail()))
    }

    /// Makes an index on a field that holds no value twice.
    pub(crate) fn unique(&self, collection: &str, field: &str) {
        let options = mongodb::options::IndexOptions::builder().unique(true).build();
        let index = IndexModel::builder().keys(doc! { field: 1 }).options(options).build();
        self.with(|client| async move {
            client.database(DATABASE).collection::<Document>(collection).create_index(index).await.map(|_| ())
        });
    }

    /// Inserts documents, one after the other.
    pub(crate) fn insert(&self, collection: &str, documents: &[Document]) {
        self.with(|client| async move {
            for document in documents {
                client.database(DATABASE).collection::<Document>(collection).insert_one(document).await?;
            }
            Ok(())
        });
    }

    /// Changes the one document that `which` names.
    pub(crate) fn update(&self, collection: &str, which: Document, change: Document) {
        let changed = self.with(|client| async move {
            client.database(DATABASE).collection::<Document>(collection).update_one(which, change).await
        });
        assert_eq!(changed.matched_count, 1);
    }

    /// All documents of a collection, in the order of their `_id`.
    pub(crate) fn documents(&self, collection: &str) -> Vec<Document> {
        self.with(|client| async move {
            let all = client.database(DATABASE).collection::<Document>(collection);
            let mut cursor = all.find(doc! {}).sort(doc! { "_id": 1 }).await?;
            let mut documents = Vec::new();
            while cursor.advance().await? {
                documents.push(cursor.deserialize_current()?);
            }
            Ok(documents)
        })
    }

    /// How often each command was sent to the server, by anybody.
    pub(crate) fn commands(&self) -> BTreeMap<String, u64> {
        let address = self.process().until("the address of its numbers", |process| {
            let log = process.log();
            let (_, rest) = log.rsplit_once("Starting debug server on http://")?;
            Some(rest.split_once('/')?.0.to_owned())
        });
        let reply = http::exchange(&address, &http::request("GET", "/debug/metrics", &address, &[], b""));
        let counts = reply
            .text()
            .lines()
            .filter_map(|line| {
                let (command, rest) =
                    line.strip_prefix("ferretdb_client_requests_total{command=\"")?.split_once('"')?;
                Some((command.to_owned(), rest.rsplit_once(' ')?.1.parse().ok()?))
            })
            .collect::<Vec<_>>();
        counts.into_iter().collect()
    }

    /// Removes the documents that `which` names.
    pub(crate) fn remove(&self, collection: &str, which: Document) {
        self.with(|client| async move {
            client.database(DATABASE).collection::<Document>(collection).delete_many(which).await.map(|_| ())
        });
    }

    /// Sends a signal to the server.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Kills the server, and waits until it is gone.
    pub(crate) fn kill(&self) {
        let process = self.process();
        process.signal(Signal::Kill);
        process.end();
    }

    /// Starts the server again after its end, at the same address and with what it stored.
    pub(crate) fn restart(&self) {
        let mut process = self.process();
        *process = launch(&self.directory, self.port, None);
        port_of(&process, "TCP");
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap()
    }
}

/// See [`Database::administrator`].
pub(crate) struct Administrator {
    client: Client,
    runtime: Runtime,
}

impl Administrator {
    /// Changes the one document that `which` names.
    pub(crate) fn update(&self, collection: &str, which: Document, change: Document) {
        let collection = self.client.database(DATABASE).collection::<Document>(collection);
        let changed = self.runtime.block_on(async { collection.update_one(which, change).await }).unwrap();
        assert_eq!(changed.matched_count, 1);
    }
}
