//! An HTTP API of the operator's, asked one question at a time: under a deadline, with turns, and with a breaker.
//!
//! [`crate::authn::http_api`] and [`crate::authz::http_api`] ask. What an API has to do is in `docs/reference/config-http.md`.

mod exchange;
pub mod memory;
pub mod request;
pub mod settings;
pub mod template;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use axum::http::StatusCode;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::breaker::{Breaker, Pass, Pauses, Trial, trials_of};
use crate::dial::{Dialer, Patience, Progress};
use crate::turns::{Client as Waiting, Turns};
use exchange::{Http, Sending, Silent, client, drain};
use request::Request;
use settings::ApiSettings;

/// How long an answer is waited for that the client was not, to see whether somebody is there: login pages let refusals
/// wait for some seconds.
const LINGER: Duration = Duration::from_secs(10);
/// How long it is remembered that answers came late.
const LATE_FOR: Duration = Duration::from_secs(600);
/// What is wanted of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Its status says all.
    Status,
    /// Its body, of so many bytes at most.
    Body(usize),
}

/// A reply.
pub struct ApiReply {
    /// The status; never one that says that the API is away (502, 503, 504).
    pub status: StatusCode,
    /// The body, where it was wanted.
    pub body: Vec<u8>,
}

/// What became of a question whose client was told that nobody answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// It was answered with this status.
    Answer(StatusCode),
    /// It was asked over a connection, and nothing came of it as long as an answer was waited for.
    Silence,
}

/// What tells that an API is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Nobody takes a connection. Whether that has changed, a connection tells, which is not a login.
    NoConnection,
    /// Nothing is said. Only another question tells whether that has changed.
    Silence,
    /// A proxy says that the API behind it is away; likewise.
    Refusal,
}

/// Why there is no reply.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody can be reached there, or nobody answers in time: no other question would fare better.
    #[error("{origin} cannot be asked: {cause}")]
    Down {
        /// What tells it.
        sign: Sign,
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
    settings: ApiSettings,
    dialer: Dialer,
    client: ArcSwap<Http>,
    turns: Turns,
    breaker: Breaker,
    /// Whose answers are waited for although nobody needs them any more.
    lingering: Arc<Semaphore>,
    life: Mutex<Life>,
    /// A question that no answer to can let anybody do anything; it finds out whether somebody answers.
    trial: Request,
}

/// What is known of how the API answers.
#[derive(Clone, Copy, Default)]
struct Life {
    /// When it last answered anything.
    heard: Option<Instant>,
    /// When an answer came later than `timeout`, and after how long.
    late: Option<(Instant, Duration)>,
}

/// What came of a trial question.
struct Probed {
    status: StatusCode,
    took: Duration,
    steps: Arc<Progress>,
}

/// A question that got no answer in time.
struct Unanswered {
    sending: Sending,
    asked: Instant,
    steps: Arc<Progress>,
    pass: Pass,
}

impl Unanswered {
    /// It is given up. Only somebody who took a connection can have looked at what it holds.
    fn gave_up(steps: &Progress, late: impl FnOnce(Late)) {
        if steps.has_connection() {
            late(Late::Silence);
        }
    }
}

impl Api {
    /// An API. `backend` names it in the log; `trial` must be a question whose answer lets nobody do anything.
    ///
    /// # Errors
    /// The certificates cannot be used.
    pub fn new(backend: &'static str, settings: ApiSettings, trial: Request) -> anyhow::Result<Api> {
        // A little less, so that what is said is that there was no connection.
        let patience = Patience { silence: settings.timeout.mul_f64(0.95), whole: settings.deadline };
        let dialer = Dialer::new(Arc::new(settings.tls.config()?), patience);
        Ok(Api(Arc::new(Inner {
            backend,
            client: ArcSwap::from_pointee(client(&settings, &dialer)),
            dialer,
            turns: Turns::new(settings.concurrency),
            breaker: Breaker::default(),
            lingering: Arc::new(Semaphore::new(settings.concurrency)),
            life: Mutex::default(),
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
    /// reply with this status. `late` hears what becomes of a question that got no answer in time for the client; where it was
    /// an outage, it is dropped unheard.
    ///
    /// If the returned future is dropped, the question is taken back.
    ///
    /// # Errors
    /// [`Busy`](crate::turns::Busy) where no turn came: the API is not to blame. Otherwise there is no reply in time, or not a whole one.
    pub(crate) async fn ask(
        &self,
        request: &Request,
        client: Waiting,
        began: Instant,
        wanted: impl Fn(StatusCode) -> Wanted,
        late: impl FnOnce(Late) + Send + 'static,
    ) -> anyhow::Result<ApiReply> {
        let inner = &self.0;
        let ApiSettings { deadline: whole, .. } = &inner.settings;
        let deadline = began + *whole;
        if crate::clock::now() >= deadline {
            anyhow::bail!("{} was not asked: the {whole:?} for the whole request had expired", self.origin());
        }
        let pass = inner.breaker.admit().with_context(|| self.origin())?;
        let turn = inner.turns.turn_to_ask(&self.origin(), client, deadline, *whole).await?;
        // It may have failed while this one waited for its turn.
        let pass = if pass.is_invited() { pass } else { inner.breaker.admit().with_context(|| self.origin())? };
        let asked = crate::clock::now();
        let steps = Arc::<Progress>::default();
        let mut sending = Inner::sending(inner, request.clone(), Arc::clone(&steps), inner.settings.timeout);
        let answer = match inner.in_time(&mut sending, &steps, deadline).await {
            Ok(Ok(response)) => inner.take(response, turn, wanted, deadline).await,
            Ok(Err(failure)) => Err(failure),
            Err(silent) => {
                let failure = inner.silent(silent, asked, &steps);
                self.linger(Unanswered { sending, asked, steps, pass }, &failure, late);
                return Err(failure.into());
            }
        };
        match &answer {
            Ok(_) => inner.heard(),
            Err(failure) => self.failed(pass, failure),
        }
        Ok(answer?)
    }

    /// Waits on for an answer whose client has gone with a 503. Any answer is a sign of life, also a late one: an API that
    /// lets refusals wait must not be taken for one that is away. And one that refuses, or no answer where somebody was asked,
    /// is a guess that may have been looked at.
    fn linger(&self, question: Unanswered, failure: &Failure, late: impl FnOnce(Late) + Send + 'static) {
        let inner = &self.0;
        let Unanswered { mut sending, asked, steps, pass } = question;
        // Where answers were late before, silence says nothing until it is longer than that.
        let usual = inner.lateness().map_or(Duration::ZERO, |by| by.mul_f64(1.5).min(LINGER));
        let failure = match failure {
            Failure::Down { .. } if usual <= asked.elapsed() => {
                self.failed(pass, failure);
                None
            }
            Failure::Down { .. } => Some(failure.clone()),
            Failure::Broken { .. } => None,
        };
        let Ok(place) = Arc::clone(&inner.lingering).try_acquire_owned() else {
            return Unanswered::gave_up(&steps, late);
        };
        let api = self.clone();
        tokio::spawn(async move {
            let _place = place;
            let mut answer = timeout_at(asked + usual, &mut sending).await;
            if answer.is_err() {
                if let Some(failure) = failure {
                    api.failed(pass, &failure);
                }
                answer = timeout_at(asked + LINGER.max(api.0.settings.timeout), &mut sending).await;
            }
            match answer {
                Ok(Ok(response)) => {
                    api.0.was_late(asked);
                    late(Late::Answer(response.status()));
                    drain(response, None, crate::clock::now() + api.0.settings.timeout);
                }
                // An outage, whose end came late.
                Ok(Err(_)) => drop(late),
                Err(_) => Unanswered::gave_up(&steps, late),
            }
        });
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
            match Inner::probe(&api.0).await {
                Ok(Probed { status, .. }) if accepting(status) => {
                    warn!(reason = "accepts_anybody", backend = api.0.backend, "{}", api.0.accepts_anybody(status));
                }
                Ok(_) => {}
                Err(failure) => api.failed(pass, &failure),
            }
        };
        drop(crate::background::spawn(greeting)?);
        Ok(())
    }

    /// Asks the trial question, and says in a few words what was found, and how long it took.
    ///
    /// # Errors
    /// Nobody answers; or the answer has a status that would let anybody in.
    pub async fn reach(&self, accepting: impl Fn(StatusCode) -> bool) -> anyhow::Result<String> {
        let probed = Inner::probe(&self.0).await;
        let Probed { status, took, steps } = probed.map_err(|failure| {
            anyhow::anyhow!("{failure}; is the url right, does the API run, and may this machine connect to it?")
        })?;
        anyhow::ensure!(!accepting(status), "{}", self.0.accepts_anybody(status));
        let timeout = self.0.settings.timeout;
        let hint = match took > timeout {
            true => format!(
                "; that is longer than timeout ({} ms): while it takes so long to refuse, wrong passwords are answered \
                 with 503, so write a longer timeout",
                timeout.as_millis()
            ),
            false => String::new(),
        };
        let (origin, status, took) = (self.origin(), status.as_u16(), took.as_millis());
        Ok(format!("{origin} answers (a question without credentials with {status}); it took {took} ms{steps}{hint}"))
    }

    /// Closes the door after a failure that other questions would meet too.
    fn failed(&self, pass: Pass, failure: &Failure) {
        let (pauses, advice) = match failure {
            // It is quick, and may be the fault of this very question: nobody else is kept out for it.
            Failure::Broken { .. } => return,
            Failure::Down { sign: Sign::NoConnection, .. } => (Pauses::Short, ""),
            Failure::Down { sign: Sign::Refusal, .. } => (Pauses::Growing, ""),
            Failure::Down { sign: Sign::Silence, .. } => {
                (Pauses::Growing, " (an API that lets refused logins wait needs a longer timeout)")
            }
        };
        let trial = trials_of(&self.0, move |inner| async move { Inner::try_again(&inner, pauses).await });
        let backend = self.0.backend;
        let closed = self.0.breaker.fail_with(pass, pauses, trial, move || {
            info!(reason = "backend_back", backend, "the API is asked again");
        });
        if closed {
            // Connections to a server that vanished without a word would swallow a question each.
            self.0.client.store(Arc::new(client(&self.0.settings, &self.0.dialer)));
            warn!(reason = "backend_down", backend = self.0.backend, cause = %failure,
                "the API cannot be asked{advice}; what needs it is answered with 503 until it can");
        }
    }
}

impl Inner {
    fn origin(&self) -> String {
        self.settings.origin.as_str().trim_end_matches('/').to_owned()
    }

    fn down(&self, sign: Sign, cause: impl Into<String>) -> Failure {
        Failure::Down { sign, origin: self.origin(), cause: cause.into() }
    }

    fn broken(&self, cause: impl Into<String>) -> Failure {
        Failure::Broken { origin: self.origin(), cause: cause.into() }
    }

    fn accepts_anybody(&self, status: StatusCode) -> String {
        let (origin, status) = (self.origin(), status.as_u16());
        format!("{origin} answers {status} to a question without credentials, which lets anybody in; is the url right?")
    }

    fn life(&self) -> std::sync::MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It answered.
    fn heard(&self) {
        self.life().heard = Some(crate::clock::now());
        self.breaker.heard();
    }

    /// It answered, long after it was asked.
    fn was_late(&self, asked: Instant) {
        let now = crate::clock::now();
        let longest = self.lateness().unwrap_or_default().max(now - asked);
        self.life().late = Some((now, longest));
        self.heard();
    }

    /// How late answers came lately.
    fn lateness(&self) -> Option<Duration> {
        self.life().late.filter(|(at, _)| at.elapsed() < LATE_FOR).map(|(_, by)| by)
    }

    /// Why a question got no answer in time.
    fn silent(&self, silent: Silent, asked: Instant, steps: &Progress) -> Failure {
        let ApiSettings { timeout, deadline, .. } = &self.settings;
        let heard = self.life().heard.is_some_and(|heard| heard > asked);
        match silent {
            Silent::Since if heard => self.broken(format!(
                "no answer within {} ms (timeout){steps}, while it answers others: an API that lets refused logins wait \
                 needs a longer timeout",
                timeout.as_millis()
            )),
            Silent::Since => self.down(
                Sign::Silence,
                format!(
                    "no answer within {} ms (timeout){steps}; an API that lets refused logins wait needs a longer timeout",
                    timeout.as_millis()
                ),
            ),
            // Nothing was said for so long that the rest would have been silence as well.
            Silent::AtTheEnd { since } if since >= *timeout / 2 && !heard => {
                self.down(Sign::Silence, format!("no answer within {} ms{steps}", deadline.as_millis()))
            }
            // So little time was left that nobody could have answered: that says nothing about the API.
            Silent::AtTheEnd { .. } if asked.elapsed() < *deadline / 2 => {
                self.broken(format!("no answer in the little time that was left{steps}"))
            }
            Silent::AtTheEnd { .. } => self.broken(format!(
                "it took longer than {} ms (deadline){steps}; write a longer deadline",
                deadline.as_millis()
            )),
        }
    }

    /// Asks the trial question. Any answer will do, also a late one: many an API lets refusals wait.
    async fn probe(inner: &Arc<Inner>) -> Result<Probed, Failure> {
        let (asked, steps) = (crate::clock::now(), Arc::<Progress>::default());
        let limit = LINGER.max(inner.settings.timeout);
        let sending = Inner::sending(inner, inner.trial.clone(), Arc::clone(&steps), limit);
        let sent = tokio::time::timeout(limit, sending).await;
        let response =
            sent.map_err(|_| inner.down(Sign::Silence, format!("no answer within {} ms{steps}", limit.as_millis())))??;
        inner.heard();
        let (status, took) = (response.status(), asked.elapsed());
        drain(response, None, crate::clock::now() + inner.settings.timeout);
        Ok(Probed { status, took, steps })
    }

    /// Finds out whether somebody is there again. What happens to a real question, only a real question shows.
    async fn try_again(inner: &Arc<Inner>, pauses: Pauses) -> Trial {
        match pauses {
            Pauses::Short => match inner.trial.uri() {
                Some(place) => match inner.dialer.knock(&place).await {
                    Ok(()) => Trial::Answered,
                    Err(_) => Trial::Failed,
                },
                None => Trial::Answered,
            },
            Pauses::Growing => match Inner::probe(inner).await {
                Err(Failure::Down { .. }) => Trial::Failed,
                Ok(_) | Err(Failure::Broken { .. }) => Trial::Answered,
            },
        }
    }
}
