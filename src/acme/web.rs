//! Questions to an authority, over HTTPS: whole answers within bounds, and no redirects.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::uri::Scheme;
use axum::http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::time::timeout;

use crate::dial::{Dialer, Patience};
use crate::pem::tls::{Authorities, client_config};

/// How long one question may take.
const WITHIN: Duration = Duration::from_secs(30);
/// The longest answer, in bytes. A chain of certificates has some thousand.
const MAX_ANSWER: usize = 1024 * 1024;
/// How long connections are kept between two questions: an order takes a dozen.
const KEPT: Duration = Duration::from_secs(10);
/// The longest pause that an authority may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What an authority said of when it is to be asked again.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Option<Duration>>);

impl Told {
    /// The longest pause that a refusal asked for.
    pub(super) fn pause(&self) -> Option<Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, pause: Duration) {
        let mut longest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *longest = (*longest).max(Some(pause));
    }
}

/// Asks one authority.
pub(super) struct Web {
    client: Client<Dialer, BodyWrapper<Bytes>>,
    told: Arc<Told>,
}

impl Web {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// The TLS library does not take the authorities.
    pub(super) fn new(authorities: Option<&Authorities>, told: &Arc<Told>) -> Result<Web, rustls::Error> {
        let mut tls = client_config(authorities, None)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let dialer = Dialer::new(Arc::new(tls), Patience { silence: WITHIN, whole: WITHIN });
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            .build(dialer);
        Ok(Web { client, told: Arc::clone(told) })
    }
}

impl HttpClient for Web {
    fn request(
        &self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let place = request.uri().clone();
        // Whoever answers chooses where the next question goes.
        if place.scheme() != Some(&Scheme::HTTPS) {
            return Box::pin(async { Err(other("the authority names an address without TLS")) });
        }
        let agent = HeaderValue::from_static(concat!("dockwarden/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(axum::http::header::USER_AGENT, agent);
        let (asked, told) = (self.client.request(request), Arc::clone(&self.told));
        Box::pin(async move {
            let host = place.host().unwrap_or_default();
            let whole = async {
                let reply = asked.await.map_err(|cause| other(crate::shown::chain_of(&cause)))?;
                let (parts, body) = reply.into_parts();
                let is_refused = parts.status.is_client_error() || parts.status.is_server_error();
                if let Some(pause) = pause_of(&parts.headers).filter(|_| is_refused) {
                    told.note(pause);
                }
                if is_refused && !is_problem(&parts.headers) {
                    return Err(other(format!("{host} answers with status {}", parts.status.as_u16())));
                }
                let body = Limited::new(body, MAX_ANSWER).collect().await;
                let body = body.map_err(|cause| other(format!("{host}: {cause}")))?.to_bytes();
                Ok(BytesResponse::from(Response::from_parts(parts, Full::new(body))))
            };
            let late = || other(format!("{host}: no whole answer within {} s", WITHIN.as_secs()));
            timeout(WITHIN, whole).await.unwrap_or_else(|_| Err(late()))
        })
    }
}

fn other(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Other(cause.into())
}

/// Whether a refusal says why (RFC 8555, section 6.7).
fn is_problem(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/problem+json"))
}

/// The pause that a reply asks for (RFC 9110, section 10.2.3).
fn pause_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            #[expect(clippy::disallowed_methods, reason = "a pause until a moment begins when it is heard of")]
            let now = SystemTime::now();
            httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()
        }
    };
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date_and_has_an_end() {
        let at = |seconds: u64| httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        let pause = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).ok()?);
            pause_of(&headers)
        };
        for (text, expected) in [
            ("120", Some(Duration::from_secs(120))),
            (" 0 ", Some(Duration::ZERO)),
            ("99999999999", Some(LONGEST_PAUSE)),
            (&at(1_000_000_000), Some(Duration::ZERO)),
            (&at(100_000_000_000), Some(LONGEST_PAUSE)),
            ("soon", None),
            ("", None),
            ("-1", None),
        ] {
            assert_eq!(pause(text), expected, "{text}");
        }
        assert_eq!(pause_of(&HeaderMap::new()), None);
    }
}
