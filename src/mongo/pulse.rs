//! Whether a server that has not been asked yet is alive: for as long as the driver connects, which takes many answers of
//! which it tells nothing.
//!
//! Finding a server, TLS and logging in are eight answers or more. Over a long way each takes its time and none of them is
//! silence; a server that is away says nothing at all. So it is asked something small besides, over a connection of our own,
//! again and again, and whatever comes is a sign of life. It is not a login.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mongodb::bson::doc;
use mongodb::options::ServerAddress;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;

use crate::dial::Noting;

/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(50);
/// How many first answers the driver's connecting takes at most: one to find the server, and one with three more to log in,
/// in each of two databases.
const FIRST_ANSWERS: u32 = 12;
/// The pause after a connection that was refused or broke.
const AGAIN: Duration = Duration::from_millis(200);
/// The kind of message that asks (`OP_MSG`).
const ASKS: i32 = 2013;

tokio::task_local! {
    /// The question that the driver works on.
    static QUESTION: Arc<Question>;
}

/// One question, from the moment at which it was asked.
pub(super) struct Question(Mutex<State>);

struct State {
    /// The last sign of life.
    heard: Instant,
    /// When it went to a server that has not answered it.
    sent: Option<Instant>,
    /// Whether a server has answered it, or a part of it.
    answered: bool,
    /// How long a first answer takes over a new connection, as the questions besides have found.
    first_answer: Option<Duration>,
    /// What is wrong with each server that cannot be reached.
    wrong: Vec<(String, String)>,
}

impl Question {
    pub(super) fn new() -> Question {
        Question(Mutex::new(State {
            heard: crate::clock::now(),
            sent: None,
            answered: false,
            first_answer: None,
            wrong: Vec::new(),
        }))
    }

    /// Does what the driver does for this question.
    pub(super) async fn of<F: Future>(self: &Arc<Self>, work: F) -> F::Output {
        QUESTION.scope(Arc::clone(self), work).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it was sent, if it waits for its answer.
    pub(super) fn sent(&self) -> Option<Instant> {
        self.state().sent
    }

    /// Until when it is waited for, unless something comes: where it was sent, so long for its answer; otherwise so long from
    /// the last sign of life. A driver that has not connected in the time of many first answers hangs on a connection that is
    /// of no use any more, although the server is there.
    pub(super) fn silent_at(&self, began: Instant, answer_within: Duration, silence: Duration) -> Instant {
        let state = self.state();
        match (state.sent, state.first_answer) {
            (Some(sent), _) => sent + answer_within,
            (None, Some(first)) if !state.answered => {
                (state.heard + silence).min(began + silence.max(first * FIRST_ANSWERS + AGAIN))
            }
            (None, _) => state.heard + silence,
        }
    }

    /// Whether nothing was said, as far as can be told when the time is over.
    pub(super) fn is_silent(&self, answer_within: Duration) -> bool {
        let state = self.state();
        match state.sent {
            Some(sent) => sent.elapsed() >= answer_within / 2,
            None => state.first_answer.is_none() && !state.answered,
        }
    }

    /// Whether it has not found a server yet.
    pub(super) fn is_connecting(&self) -> bool {
        let state = self.state();
        state.sent.is_none() && !state.answered
    }

    /// What is wrong with the servers, for messages.
    pub(super) fn wrong(&self) -> Option<String> {
        let state = self.state();
        let each = state.wrong.iter().map(|(server, error)| format!("{server}: {error}"));
        let each: Vec<String> = each.collect();
        (!each.is_empty()).then(|| each.join("; "))
    }

    fn heard(&self, server: &str) {
        let mut state = self.state();
        state.heard = crate::clock::now();
        state.wrong.retain(|(other, _)| other != server);
    }

    /// Whoever breaks a connection, or shows a wrong certificate, is of no use: what came over it was not a sign of life.
    fn went_wrong(&self, server: &str, error: &io::Error, heard_before: Instant) {
        let mut state = self.state();
        state.heard = state.heard.min(heard_before);
        state.wrong.retain(|(other, _)| other != server);
        state.wrong.push((server.to_owned(), error.to_string()));
    }

    /// Asks the servers besides, until this is dropped.
    pub(super) async fn keep_asking(self: Arc<Self>, servers: Vec<ServerAddress>, tls: Option<Arc<ClientConfig>>) {
        sleep(PAUSE).await;
        let mut asking = JoinSet::new();
        for server in servers {
            let ServerAddress::Tcp { host, port } = server else { continue };
            asking.spawn(Arc::clone(&self).keep_asking_one(host, port.unwrap_or(27017), tls.clone()));
        }
        while asking.join_next().await.is_some() {}
    }

    async fn keep_asking_one(self: Arc<Self>, host: String, port: u16, tls: Option<Arc<ClientConfig>>) {
        let server = format!("{host}:{port}");
        let mut is_first = true;
        loop {
            let mut before = self.state().heard;
            let began = crate::clock::now();
            // Once, and not later: a server that takes connections and breaks them says nothing.
            let counts = std::mem::take(&mut is_first);
            let asked = async {
                let stream = TcpStream::connect((host.as_str(), port)).await?;
                if counts {
                    self.heard(&server);
                    before = self.state().heard;
                }
                let (question, from) = (Arc::clone(&self), server.clone());
                let stream = Noting::new(stream, move || question.heard(&from));
                match &tls {
                    None => self.ask_on(stream, began).await,
                    Some(tls) => {
                        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                        self.ask_on(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?, began).await
                    }
                }
            };
            if let Err(error) = asked.await {
                self.went_wrong(&server, &error, before);
            }
            sleep(AGAIN).await;
        }
    }

    async fn ask_on(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, began: Instant) -> io::Result<()> {
        let question = doc! { "hello": 1, "$db": "admin" }.to_vec().map_err(io::Error::other)?;
        let mut message = Vec::new();
        let length = i32::try_from(16 + 4 + 1 + question.len()).map_err(io::Error::other)?;
        for number in [length, 1, 0, ASKS, 0] {
            message.extend_from_slice(&number.to_le_bytes());
        }
        // One section, which is a document.
        message.push(0);
        message.extend_from_slice(&question);
        let mut answer = [0; 4096];
        loop {
            stream.write_all(&message).await?;
            if stream.read(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.state().first_answer.get_or_insert(began.elapsed());
            sleep(PAUSE).await;
        }
    }
}

/// The driver is about to ask a server.
pub(super) fn sent() {
    QUESTION.try_with(|question| question.state().sent = Some(crate::clock::now())).ok();
}

/// The driver has its answer.
pub(super) fn answered() {
    let note = |question: &Arc<Question>| {
        let mut state = question.state();
        (state.heard, state.sent, state.answered) = (crate::clock::now(), None, true);
    };
    QUESTION.try_with(note).ok();
}

/// The driver has lost the connection that it asked over.
pub(super) fn lost() {
    QUESTION.try_with(|question| question.state().sent = None).ok();
}
