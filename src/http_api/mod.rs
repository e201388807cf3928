//! An HTTP API of the operator's, asked one question at a time: under a deadline, with turns, and with a breaker.
//!
//! [`crate::authn::http_api`] and [`crate::authz::http_api`] ask. What an API has to do is in `docs/CONFIG.md`.

pub mod memory;
pub mod request;
pub mod settings;
pub mod template;

use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use reqwest::{Client, Response, StatusCode, redirect};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::breaker::{Breaker, Pass, Trial};
use crate::turns::{Busy, Client as Waiting, Turn, Turns};
use request::{Repeat, Request};
use settings::Settings;

/// A connection that was not used for so long is closed. Many servers close theirs a little later, and a question that
/// meets the end of its connection has to be asked again.
const IDLE: Duration = Duration::from_secs(4);
/// How much of a reply that nobody wants is read, in bytes, so that its connection can be used again.
const UNWANTED: usize = 64 * 1024;
/// The longest header of a reply over HTTP/2, in bytes; over HTTP/1.1 the library's own limit is of that order.
const MAX_HEADER: u32 = 64 * 1024;

/// What is wanted of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Its status says all.
    Status,
    /// Its body, of so many bytes at most.
    Body(usize),
}

/// A reply.
pub struct Reply {
    /// The status; never one that says that the API is away (502, 503, 504).
    pub status: StatusCode,
    /// The body, where it was wanted.
    pub body: Vec<u8>,
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody can be reached there, or nobody answers in time: no other question would fare better.
    #[error("{origin} cannot be asked: {cause}")]
    Down {
        /// Scheme, host and port.
        origin: String,
        /// What happened.
        cause: String,
    },
    /// This one question got no whole answer.
    #[error("{origin} gave no answer: {cause}")]
    Broken {
        /// Scheme, host and port.
        origin: String,
        /// What happened.
        cause: String,
    },
}

/// An API, its connections and its turns. Cloning shares them.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    backend: &'static str,
    settings: Settings,
    client: ArcSwap<Client>,
    turns: Turns,
    breaker: Breaker,
    /// A question that no answer to can let anybody do anything; it finds out whether somebody answers.
    trial: Request,
}

/// The client of an API, without a connection yet.
fn client(settings: &Settings) -> anyhow::Result<Client> {
    Client::builder()
        .tls_backend_preconfigured(settings.tls.config()?)
        // Credentials would go wherever the reply says.
        .redirect(redirect::Policy::none())
        .referer(false)
        // A variable of the environment (HTTP_PROXY) must not decide who reads passwords.
        .no_proxy()
        .user_agent(concat!("dockwarden/", env!("CARGO_PKG_VERSION")))
        // A part of the whole time, so that what is said in the log is that there was no connection.
        .connect_timeout(settings.timeout.mul_f64(2.0 / 3.0))
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(settings.concurrency)
        .http2_max_header_list_size(MAX_HEADER)
        .build()
        .context("the HTTP client")
}

impl Api {
    /// An API. `backend` names it in the log; `trial` must be a question whose answer lets nobody do anything.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub fn new(backend: &'static str, settings: Settings, trial: Request) -> anyhow::Result<Api> {
        Ok(Api(Arc::new(Inner {
            backend,
            client: ArcSwap::from_pointee(client(&settings)?),
            turns: Turns::new(settings.concurrency),
            breaker: Breaker::default(),
            settings,
            trial,
        })))
    }

    /// What keeps questions from it while it cannot be reached.
    pub fn breaker(&self) -> &Breaker {
        &self.0.breaker
    }

    /// Scheme, host and port, for messages.
    pub fn origin(&self) -> String {
        self.0.origin()
    }

    /// Asks one question for a client, when it is its turn; its time counts from `began`. `wanted` says what is wanted of a
    /// reply with this status.
    ///
    /// If the returned future is dropped, the question is taken back.
    ///
    /// # Errors
    /// [`Busy`] where no turn came: the API is not to blame. Otherwise there is no reply in time, or not a whole one.
    pub(crate) async fn ask(
        &self,
        request: &Request,
        client: Waiting,
        began: Instant,
        wanted: impl Fn(StatusCode) -> Wanted,
    ) -> anyhow::Result<Reply> {
        let inner = &self.0;
        let Settings { timeout, concurrency, .. } = &inner.settings;
        let deadline = began + *timeout;
        if Instant::now() >= deadline {
            anyhow::bail!("{} was not asked: the {timeout:?} for the whole request were over", self.origin());
        }
        inner.breaker.admit().with_context(|| self.origin())?;
        let turn = match inner.turns.turn(client, deadline).await {
            Ok(turn) => turn,
            Err(Busy::Late) => {
                let late = format!("{}: no turn within {timeout:?} ({concurrency} questions at once)", self.origin());
                return Err(anyhow::Error::new(Busy::Late).context(late));
            }
            Err(full @ (Busy::NetworkFull | Busy::Full | Busy::TooMany)) => {
                return Err(full).with_context(|| self.origin());
            }
        };
        // It may have failed while this one waited for its turn.
        let pass = inner.breaker.admit().with_context(|| self.origin())?;
        let asked = Instant::now();
        let answer = match timeout_at(deadline, inner.exchange(request, turn, deadline, wanted)).await {
            Ok(answer) => answer,
            // So little time was left that nobody could have answered: that says nothing about the API.
            Err(_) if deadline - asked < *timeout / 2 => {
                Err(inner.broken("no answer in the little time that was left"))
            }
            Err(_) => Err(inner.down(format!("no answer within {} ms", timeout.as_millis()))),
        };
        answer.map_err(|failure| {
            self.failed(pass, &failure);
            failure.into()
        })
    }

    /// Connects before the first login has to wait for that, and says in the log if nobody is there, or if a question
    /// without credentials is answered with one of these statuses.
    ///
    /// # Errors
    /// There is no runtime to do it in the background.
    pub fn greet(&self, accepting: impl Fn(StatusCode) -> bool + Send + 'static) -> anyhow::Result<()> {
        let api = self.clone();
        let greeting = async move {
            let Ok(pass) = api.0.breaker.admit() else { return };
            match api.0.probe().await {
                Ok(status) if accepting(status) => {
                    warn!(reason = "accepts_anybody", backend = api.0.backend, "{}", api.0.accepts_anybody(status));
                }
                Ok(_) => {}
                Err(failure) => api.failed(pass, &failure),
            }
        };
        let runtime = tokio::runtime::Handle::try_current().context("background work needs a running server")?;
        drop(runtime.spawn(greeting));
        Ok(())
    }

    /// Asks the trial question, and says in a few words what was found.
    ///
    /// # Errors
    /// Nobody answers; or the answer has a status that would let anybody in.
    pub async fn reach(&self, accepting: impl Fn(StatusCode) -> bool) -> anyhow::Result<String> {
        let probed = self.0.probe().await;
        let status = probed.map_err(|failure| {
            anyhow::anyhow!("{failure}; is the url right, does the API run, and may this machine connect to it?")
        })?;
        anyhow::ensure!(!accepting(status), "{}", self.0.accepts_anybody(status));
        Ok(format!("{} answers (a question without credentials with {})", self.origin(), status.as_u16()))
    }

    /// Closes the door after a failure that other questions would meet too.
    fn failed(&self, pass: Pass, failure: &Failure) {
        match failure {
            // It is quick, and may be the fault of this very question: nobody else is kept out for it.
            Failure::Broken { .. } => return,
            Failure::Down { .. } => {}
        }
        let inner = Arc::downgrade(&self.0);
        let trial = move || {
            let inner = inner.upgrade();
            async move {
                let Some(inner) = inner else { return Trial::Ended };
                match inner.probe().await {
                    Err(Failure::Down { .. }) => Trial::Failed,
                    // Somebody is there. What happens to a real question, only a real question shows.
                    Ok(_) | Err(Failure::Broken { .. }) => Trial::Answered,
                }
            }
        };
        let backend = self.0.backend;
        let closed = self.0.breaker.fail(pass, trial, move || {
            info!(reason = "backend_back", backend, "the API is asked again");
        });
        if closed {
            // Connections to a server that vanished without a word would swallow a question each.
            match client(&self.0.settings) {
                Ok(fresh) => self.0.client.store(Arc::new(fresh)),
                Err(error) => warn!(reason = "backend_down", backend = self.0.backend, cause = %error, "no new client"),
            }
            warn!(reason = "backend_down", backend = self.0.backend, cause = %failure,
                "the API cannot be asked; what needs it is answered with 503 until it can");
        }
    }
}

impl Inner {
    fn origin(&self) -> String {
        self.settings.origin.as_str().trim_end_matches('/').to_owned()
    }

    fn down(&self, cause: impl Into<String>) -> Failure {
        Failure::Down { origin: self.origin(), cause: cause.into() }
    }

    fn broken(&self, cause: impl Into<String>) -> Failure {
        Failure::Broken { origin: self.origin(), cause: cause.into() }
    }

    fn accepts_anybody(&self, status: StatusCode) -> String {
        let (origin, status) = (self.origin(), status.as_u16());
        format!("{origin} answers {status} to a question without credentials, which lets anybody in; is the url right?")
    }

    /// Asks the trial question.
    async fn probe(&self) -> Result<StatusCode, Failure> {
        let limit = self.settings.timeout;
        let sent = tokio::time::timeout(limit, self.send(&self.trial)).await;
        let response = sent.map_err(|_| self.down(format!("no answer within {} ms", limit.as_millis())))??;
        let status = response.status();
        drain(response, None, Instant::now() + limit);
        Ok(status)
    }

    /// Asks, and reads what is wanted of the reply.
    async fn exchange(
        &self,
        request: &Request,
        turn: Turn,
        deadline: Instant,
        wanted: impl Fn(StatusCode) -> Wanted,
    ) -> Result<Reply, Failure> {
        let response = match self.send(request).await {
            Err(failure @ Failure::Broken { .. }) => match request.repeat {
                // The server closed a connection of the pool just when it was used again, or so it looks.
                Repeat::Allowed => self.send(request).await?,
                Repeat::Refused => return Err(failure),
            },
            sent => sent?,
        };
        let status = response.status();
        match wanted(status) {
            Wanted::Status => {
                drain(response, Some(turn), deadline);
                Ok(Reply { status, body: Vec::new() })
            }
            Wanted::Body(limit) => Ok(Reply { status, body: self.read(response, limit).await? }),
        }
    }

    async fn send(&self, request: &Request) -> Result<Response, Failure> {
        let mut sent = reqwest::Request::new(request.method.clone(), request.url.clone());
        sent.headers_mut().clone_from(&request.headers);
        *sent.body_mut() = request.body.as_ref().map(|body| body.reveal().to_owned().into());
        let response = self.client.load_full().execute(sent).await.map_err(|error| self.failure(error))?;
        match response.status() {
            // What a proxy says when the API behind it is away.
            status @ (StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) => {
                Err(self.down(format!("it answers {}", status.as_u16())))
            }
            _ => Ok(response),
        }
    }

    async fn read(&self, mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(error))? {
            if body.len() + chunk.len() > limit {
                return Err(self.broken(format!("its reply is longer than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// What the library says, without the address that was asked for: it may hold a password.
    fn failure(&self, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        let down = error.is_connect() || error.is_timeout();
        let mut cause = error.to_string();
        let mut next = error.source();
        while let Some(deeper) = next {
            // Writing to a text does not fail.
            write!(cause, ": {deeper}").ok();
            next = deeper.source();
        }
        match down {
            true => self.down(cause),
            false => self.broken(cause),
        }
    }
}

/// Reads the rest of a reply that nobody wants, in the background: a connection whose reply was not read to its end
/// cannot be used again. The turn lasts as long.
fn drain(mut response: Response, turn: Option<Turn>, deadline: Instant) {
    if response.content_length().is_some_and(|length| length > UNWANTED as u64) {
        return;
    }
    tokio::spawn(async move {
        let _turn = turn;
        let reading = async {
            let mut left = UNWANTED;
            while let Ok(Some(chunk)) = response.chunk().await {
                left = match left.checked_sub(chunk.len()) {
                    Some(left) => left,
                    None => return,
                };
            }
        };
        timeout_at(deadline, reading).await.ok();
    });
}
