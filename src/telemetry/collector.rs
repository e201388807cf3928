//! The collector: one message after the other is posted to it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::timeout;

use super::Settings;
use crate::dial::{Dialer, Patience};
use crate::pem::tls::client_config;
use crate::shown::chain_of;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long a message may take, from connecting to the answer's last byte.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The longest answer, in bytes: it says how many spans were refused, and why.
const MAX_ANSWER: usize = 64 * 1024;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("dockwarden/", env!("CARGO_PKG_VERSION")));
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// A client of the collector.
pub(super) struct Collector {
    http: Client<Dialer, Full<Bytes>>,
    /// Without a slash at the end.
    base: String,
    origin: String,
    authorization: Option<HeaderValue>,
}

impl Collector {
    /// A client without a connection yet.
    ///
    /// # Errors
    /// No TLS can be made of the authorities.
    pub(super) fn new(settings: &Settings) -> anyhow::Result<Collector> {
        let mut tls = client_config(settings.authorities.as_ref(), None)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let dialer = Dialer::new(Arc::new(tls), Patience { silence: CONNECT_WITHIN, whole: CONNECT_WITHIN });
        // Redirects are not followed, and the environment names no proxy: the authorization goes where the file says.
        let http = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(1)
            .build(dialer);
        let endpoint = &settings.endpoint;
        Ok(Collector {
            http,
            base: endpoint.as_str().trim_end_matches('/').to_owned(),
            origin: endpoint.origin().ascii_serialization(),
            authorization: settings.authorization.clone(),
        })
    }

    /// Scheme, host and port, for messages.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Posts a message; its answer, if it was taken, otherwise what happened.
    pub(super) async fn post(&self, path: &str, message: Vec<u8>) -> Result<Bytes, String> {
        let mut request = Request::new(Full::new(Bytes::from(message)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::try_from(format!("{}/{path}", self.base)).map_err(|error| error.to_string())?;
        request.headers_mut().insert(CONTENT_TYPE, PROTOBUF);
        request.headers_mut().insert(USER_AGENT, AGENT);
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let answered = async {
            let response = self.http.request(request).await.map_err(|error| chain_of(&error))?;
            let status = response.status();
            let body =
                Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| chain_of(&*error))?;
            match status.is_success() {
                true => Ok(body.to_bytes()),
                false => Err(format!("it answers {status}")),
            }
        };
        let late = || Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs()));
        timeout(ANSWER_WITHIN, answered).await.unwrap_or_else(|_| late())
    }
}
