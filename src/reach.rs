//! What a configuration depends on outside this process, and trying whether it is there: for `check --connect`, and before
//! a reload gives up what works.

use std::pin::Pin;
use std::time::Duration;

use crate::breaker::Passage;

/// How long a backend may take to be reached, before a reload gives it up or `check --connect` says so. One that says nothing
/// ends sooner by itself; over a long way, all that connecting takes is more than ten answers.
pub(crate) const REACH_WITHIN: Duration = Duration::from_secs(30);

/// The result of trying one backend or upstream.
#[derive(Debug)]
pub struct Reached {
    /// Its section of the file.
    pub name: &'static str,
    /// A few words on what was found; otherwise what is wrong, and what to do.
    pub found: anyhow::Result<String>,
}

/// What an opened backend needs outside this process.
pub enum Reach<'backend> {
    /// Nothing.
    Nothing,
    /// A program, looked for and not started: a few words on what was found, or what is wrong and what to do.
    Program(anyhow::Result<String>),
    /// A server.
    Server {
        /// How long the question may take.
        within: Duration,
        /// A question that changes nothing, answered in a few words on what was found there. An error says why the server does
        /// not answer as it must, and what to do; never with a secret, since the message is printed.
        question: Pin<Box<dyn Future<Output = anyhow::Result<String>> + Send + 'backend>>,
    },
}

impl<'backend> Reach<'backend> {
    /// A server that has the usual time to answer.
    pub fn server(question: impl Future<Output = anyhow::Result<String>> + Send + 'backend) -> Reach<'backend> {
        Reach::Server { within: REACH_WITHIN, question: Box::pin(question) }
    }

    /// Tries it; `None` where there is nothing to try.
    pub(crate) async fn found(self) -> Option<anyhow::Result<String>> {
        match self {
            Reach::Nothing => None,
            Reach::Program(found) => Some(found),
            Reach::Server { within, question } => {
                let asked = tokio::time::timeout(within, question).await;
                let silent = || anyhow::bail!("no answer within {} s; is the server running?", within.as_secs());
                Some(asked.unwrap_or_else(|_| silent()))
            }
        }
    }
}

/// What every opened backend owes, whatever it is for. Nothing here has a default, so that no backend can forget it.
pub trait Reachable: Send + Sync {
    /// What it needs outside this process.
    fn reach(&self) -> Reach<'_>;

    /// Whether it is asked now, or known not to answer, as `dockwarden_backend_down` tells; `None` for one that asks nobody
    /// else, or that remembers no outage.
    fn passage(&self) -> Option<Passage>;
}
