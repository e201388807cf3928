//! Questions to a provider, or of a terminal to a server of ours, over HTTPS: whole answers within bounds, and no redirects.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use axum::http::request::Builder;
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use url::Url;

use crate::dial::{Dialer, Patience};
use crate::link::next_link;
use crate::pem::tls::{Authorities, client_config};
use crate::secret::Secret;

/// The longest answer, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// Asks one server.
pub(crate) struct Web {
    client: Client<Dialer, Full<Bytes>>,
    within: Duration,
}

/// What it answered.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// The page that follows.
    pub(super) next: Option<String>,
    pub(crate) body: Bytes,
}

/// A provider answered, and did not say who it was asked about: it may be there for everybody else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address} answers with status {}", .status.as_u16())]
pub(super) struct NoWord {
    pub(super) address: String,
    pub(super) status: StatusCode,
}

impl NoWord {
    /// Whether the status is of a server that is away, or has too much to do, whoever is asked about.
    pub(super) fn is_of_everybody(&self) -> bool {
        matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        )
    }
}

/// Why a token endpoint gives no tokens, where what was presented to it is not to blame: our own login there is not taken, which is so for
/// everybody, or it has no word on this one person.
pub(super) fn no_tokens(address: &Url, status: StatusCode, error: Option<&str>) -> anyhow::Error {
    // The last is GitHub's.
    if matches!(error, Some("invalid_client" | "unauthorized_client" | "incorrect_client_credentials")) {
        return anyhow::anyhow!("{} does not take client_id and client_secret", shown(address));
    }
    anyhow::Error::from(NoWord { address: shown(address), status }).context("there are no tokens")
}

impl Web {
    /// Asks nothing yet. Each question may take so long.
    ///
    /// # Errors
    /// The TLS library does not take the authorities.
    pub(crate) fn new(authorities: Option<&Authorities>, within: Duration) -> anyhow::Result<Web> {
        let mut tls = client_config(authorities, None)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let dialer = Dialer::new(Arc::new(tls), Patience { silence: within, whole: within });
        // Redirects are not followed: they could lead into our own network. Questions are minutes apart.
        let client =
            Client::builder(TokioExecutor::new()).timer(TokioTimer::new()).pool_max_idle_per_host(0).build(dialer);
        Ok(Web { client, within })
    }

    /// Gets a document; `authorization` is a whole header.
    ///
    /// # Errors
    /// There is no whole answer in time.
    pub(super) async fn get(&self, address: &Url, authorization: Option<&Secret>) -> anyhow::Result<Reply> {
        self.ask(Request::get(address.as_str()), authorization, Bytes::new(), address).await
    }

    /// Sends a form.
    ///
    /// # Errors
    /// As for [`Web::get`].
    pub(crate) async fn post(
        &self,
        address: &Url,
        form: &[(&str, &str)],
        authorization: Option<&Secret>,
    ) -> anyhow::Result<Reply> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = Request::post(address.as_str()).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.ask(request, authorization, body.into(), address).await
    }

    async fn ask(
        &self,
        mut request: Builder,
        authorization: Option<&Secret>,
        body: Bytes,
        address: &Url,
    ) -> anyhow::Result<Reply> {
        if let Some(authorization) = authorization {
            let mut line = HeaderValue::from_str(authorization.reveal())
                .map_err(|_| anyhow::anyhow!("{}: the login cannot be sent", shown(address)))?;
            line.set_sensitive(true);
            request = request.header(AUTHORIZATION, line);
        }
        let request = request
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("dockwarden/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .with_context(|| shown(address))?;
        let asked = async {
            let reply = self.client.request(request).await.with_context(|| shown(address))?;
            let status = reply.status();
            let next = next_link(reply.headers()).map(str::to_owned);
            let body = Limited::new(reply.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{}: {error}", shown(address)))?.to_bytes();
            Ok(Reply { status, next, body })
        };
        let late = || anyhow::anyhow!("{}: no whole answer within {} ms", shown(address), self.within.as_millis());
        tokio::time::timeout(self.within, asked).await.unwrap_or_else(|_| Err(late()))
    }
}

/// An address for messages: what follows a question mark could be a key.
pub(super) fn shown(address: &Url) -> String {
    let mut shown = address.clone();
    shown.set_query(None);
    shown.to_string()
}

/// The login of an application at a provider (RFC 6749, section 2.3.1): both parts are encoded as in a form.
pub(super) fn basic(id: &str, secret: &Secret) -> Secret {
    use base64::Engine as _;
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(id), encoded(secret.reveal()));
    Secret::new(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
}
