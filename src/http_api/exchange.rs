//! One exchange with an API over HTTP: the question is sent, and its answer read as far as it is wanted.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{CONTENT_LENGTH, HeaderValue, USER_AGENT};
use axum::http::{Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::request::{Repeat, Request};
use super::settings::ApiSettings;
use super::{ApiReply, Failure, Inner, Sign, Wanted};
use crate::dial::{Dialer, Progress};
use crate::turns::Turn;

/// A connection that was not used for so long is closed. Many servers close theirs a little later, and a question that
/// meets the end of its connection has to be asked again.
const IDLE: Duration = Duration::from_secs(4);
/// How much of a reply that nobody wants is read, in bytes, so that its connection can be used again.
const UNWANTED: usize = 64 * 1024;
/// The longest header of a reply over HTTP/2, in bytes; over HTTP/1.1 the library's own limit is of that order.
const MAX_HEADER: u32 = 64 * 1024;
/// Who we say we are.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("dockwarden/", env!("CARGO_PKG_VERSION")));

/// The client library's part.
pub(super) type Http = Client<Dialer, Full<Bytes>>;

/// The client of an API, without a connection yet.
pub(super) fn client(settings: &ApiSettings, dialer: &Dialer) -> Http {
    // Redirects are not followed: credentials would go wherever the reply says. And no variable of the environment
    // (HTTP_PROXY) decides who reads passwords.
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(settings.concurrency)
        .http2_max_header_list_size(MAX_HEADER)
        .build(dialer.clone())
}

/// A question under way. It can go on without whoever asked it.
pub(super) type Sending = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Failure>> + Send>>;

impl Inner {
    /// Asks, in a way that goes on without whoever asked, who waits until nothing has come on for `patience`. It is not asked
    /// again for somebody who has gone.
    pub(super) fn sending(inner: &Arc<Inner>, request: Request, steps: Arc<Progress>, patience: Duration) -> Sending {
        let inner = Arc::clone(inner);
        Box::pin(async move {
            let again = async {
                match inner.send(&request, &steps).await {
                    // The server closed a connection of the pool just when it was used again, or so it looks.
                    Err(Failure::Broken { .. })
                        if request.repeat == Repeat::Allowed && steps.last().elapsed() < patience =>
                    {
                        inner.send(&request, &steps).await
                    }
                    sent => sent,
                }
            };
            steps.of(again).await
        })
    }

    /// Waits for the beginning of the answer, as long as something comes on.
    pub(super) async fn in_time(
        &self,
        sending: &mut Sending,
        steps: &Progress,
        deadline: Instant,
    ) -> Result<Result<Response<Incoming>, Failure>, Silent> {
        let timeout = self.settings.timeout;
        loop {
            tokio::select! {
                biased;
                sent = &mut *sending => return Ok(sent),
                () = sleep_until((steps.last() + timeout).min(deadline)) => {
                    let now = crate::clock::now();
                    let since = now - steps.last();
                    if since >= timeout {
                        return Err(Silent::Since);
                    }
                    if now >= deadline {
                        return Err(Silent::AtTheEnd { since });
                    }
                }
            }
        }
    }

    /// Takes what is wanted of the reply.
    pub(super) async fn take(
        &self,
        response: Response<Incoming>,
        turn: Turn,
        wanted: impl Fn(StatusCode) -> Wanted,
        deadline: Instant,
    ) -> Result<ApiReply, Failure> {
        let status = response.status();
        match wanted(status) {
            Wanted::Status => {
                drain(response, Some(turn), deadline);
                Ok(ApiReply { status, body: Vec::new() })
            }
            Wanted::Body(limit) => Ok(ApiReply { status, body: self.read(response, limit, deadline).await? }),
        }
    }

    async fn send(&self, request: &Request, steps: &Progress) -> Result<Response<Incoming>, Failure> {
        let body = request.body.as_ref().map(|body| body.reveal().to_owned());
        let mut sent = axum::http::Request::new(Full::new(Bytes::from(body.unwrap_or_default())));
        *sent.method_mut() = request.method.clone();
        *sent.uri_mut() = request.uri().ok_or_else(|| self.broken("the request's address cannot be used"))?;
        sent.headers_mut().clone_from(&request.headers);
        sent.headers_mut().entry(USER_AGENT).or_insert(AGENT);
        steps.waits_for(capture_connection(&mut sent));
        let client = self.client.load_full();
        let response = client.request(sent).await.map_err(|error| self.failure(&error))?;
        match response.status() {
            // What a proxy says when the API behind it is away.
            status @ (StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) => {
                Err(self.down(Sign::Refusal, format!("it answers {}", status.as_u16())))
            }
            _ => Ok(response),
        }
    }

    async fn read(&self, response: Response<Incoming>, limit: usize, deadline: Instant) -> Result<Vec<u8>, Failure> {
        let mut coming = response.into_body();
        let mut body = Vec::new();
        loop {
            let silence = crate::clock::now() + self.settings.timeout;
            let Ok(frame) = timeout_at(silence.min(deadline), coming.frame()).await else {
                let timeout = self.settings.timeout.as_millis();
                return Err(match silence <= deadline {
                    true => self.down(
                        Sign::Silence,
                        format!("no answer within {timeout} ms (timeout): half a reply, and then nothing"),
                    ),
                    false => self.broken("it took longer than the deadline to send its whole reply"),
                });
            };
            let Some(frame) = frame else { return Ok(body) };
            let frame = frame.map_err(|error| self.broken(chain(&error)))?;
            let Ok(data) = frame.into_data() else { continue };
            if body.len() + data.len() > limit {
                return Err(self.broken(format!("its reply is longer than {limit} bytes")));
            }
            body.extend_from_slice(&data);
        }
    }

    fn failure(&self, error: &legacy::Error) -> Failure {
        match error.is_connect() {
            true => self.down(Sign::NoConnection, chain(error)),
            false => self.broken(chain(error)),
        }
    }
}

/// How long nothing came, and why no more is waited for.
pub(super) enum Silent {
    /// As long as may be.
    Since,
    /// The time for all of it has expired.
    AtTheEnd { since: Duration },
}

impl Request {
    /// Where it goes, as the client wants it; `None` for what no URL of ours is.
    pub(super) fn uri(&self) -> Option<Uri> {
        Uri::try_from(self.url.as_str()).ok()
    }
}

/// What the library says, and what it says of that.
fn chain(error: &dyn std::error::Error) -> String {
    let mut cause = error.to_string();
    let mut next = error.source();
    while let Some(deeper) = next {
        // Writing to a text does not fail.
        write!(cause, ": {deeper}").ok();
        next = deeper.source();
    }
    cause
}

/// Reads the rest of a reply that nobody wants, in the background: a connection whose reply was not read to its end
/// cannot be used again. The turn lasts as long.
pub(super) fn drain(response: Response<Incoming>, turn: Option<Turn>, deadline: Instant) {
    let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > UNWANTED) {
        return;
    }
    let mut body = response.into_body();
    tokio::spawn(async move {
        let _turn = turn;
        let reading = async {
            let mut left = UNWANTED;
            while let Some(Ok(frame)) = body.frame().await {
                left = match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(left) => left,
                    None => return,
                };
            }
        };
        timeout_at(deadline, reading).await.ok();
    });
}
