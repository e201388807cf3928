//! An operator's HTTP API as a process: it knows accounts, licences and who may do what, and can be killed and paused.

use std::process::Command;
use std::sync::{Mutex, MutexGuard};

use super::keys::Chain;
use super::process::{Process, Signal};
use super::{part, port};

/// What the API knows, besides where it listens: `tests/support/go/api/main.go` has the addresses it answers.
const KNOWN: &[&str] = &[
    "-account=testuser:testpassword",
    "-account=carol:p+w% ö&=1",
    "-licence=both-token=stable,beta",
    "-licence=beta-token=beta",
];

/// A running API.
pub(crate) struct HttpApi {
    process: Mutex<Process>,
    port: u16,
    tls: Option<Chain>,
}

fn launch(port: u16, tls: Option<&Chain>) -> Option<Process> {
    let mut serve = Command::new(part::path("api"));
    serve.env_clear().arg(format!("-listen=127.0.0.1:{port}")).args(KNOWN);
    if let Some(chain) = tls {
        serve.args([format!("-certificate={}", chain.both.display()), format!("-key={}", chain.leaf.key.display())]);
    }
    let process = Process::start("api", &serve);
    let listens = process.up_or_ended("the line that tells its address", |process| {
        process.log().contains("Listening on ").then_some(())
    });
    listens.map(|()| process)
}

impl HttpApi {
    /// Starts one without TLS.
    pub(crate) fn start() -> Self {
        Self::start_with(None)
    }

    /// Starts one that speaks TLS on `localhost` with this certificate.
    pub(crate) fn start_tls(chain: Chain) -> Self {
        Self::start_with(Some(chain))
    }

    fn start_with(tls: Option<Chain>) -> Self {
        let (process, port) = port::with_free(|[port]| launch(port, tls.as_ref()).map(|process| (process, port)));
        Self { process: Mutex::new(process), port, tls }
    }

    /// `http://127.0.0.1:port`, or `https://localhost:port`.
    pub(crate) fn origin(&self) -> String {
        match self.tls {
            None => format!("http://{}", self.address()),
            Some(_) => format!("https://localhost:{}", self.port),
        }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends a signal to it.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(&self) {
        let process = self.process();
        process.signal(Signal::Kill);
        process.end();
    }

    /// Starts it again after its end, at the same address. It counts from 0.
    pub(crate) fn restart(&self) {
        let mut process = self.process();
        *process = launch(self.port, self.tls.as_ref()).unwrap();
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap()
    }
}
