//! A registry behind the gateway: sends requests there with our own credentials, and says what came of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, TRANSFER_ENCODING, WWW_AUTHENTICATE};
use axum::http::uri::{PathAndQuery, Scheme, Uri};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use policy::scope::Scope;

use super::body::{ClientBody, Missing};
use super::connect::{self, HttpClient};
use super::ecr::Ecr;
use super::token_service::TokenService;
use crate::config::{self, Login, UpstreamAccount};

/// The part of an upstream's reply that is read and logged where it denies us something, in bytes, and for how long it is read.
const SAID: usize = 512;
const SAID_WITHIN: Duration = Duration::from_secs(1);

/// Our credentials at an upstream.
#[async_trait]
pub(crate) trait UpstreamCredentials: Send + Sync {
    /// The Authorization header of a request that needs these scopes; `None` for an anonymous request.
    ///
    /// # Errors
    /// There is none now.
    async fn authorization(&self, needed: &[Scope]) -> anyhow::Result<Option<HeaderValue>>;

    /// Another one, after the upstream answered `refused` with `status`; `None` where that was not its fault, or where
    /// there is no other.
    ///
    /// # Errors
    /// It could not be found out whether there is another.
    async fn another(
        &self,
        _needed: &[Scope],
        _refused: Option<&HeaderValue>,
        _status: StatusCode,
    ) -> anyhow::Result<Option<HeaderValue>> {
        Ok(None)
    }
}

/// The same header at each request, or none.
struct Fixed(Option<HeaderValue>);

#[async_trait]
impl UpstreamCredentials for Fixed {
    async fn authorization(&self, _needed: &[Scope]) -> anyhow::Result<Option<HeaderValue>> {
        Ok(self.0.clone())
    }
}

/// `Basic …`, marked so that no debug output shows it.
///
/// # Errors
/// Never, but for a header's own rules.
pub(crate) fn basic(account: &UpstreamAccount) -> anyhow::Result<HeaderValue> {
    let pair = format!("{}:{}", account.username, account.password.reveal());
    secret(&format!("Basic {}", STANDARD.encode(pair)))
}

/// A header's value that no debug output shows.
///
/// # Errors
/// No header can hold it; the text is not repeated.
pub(crate) fn secret(text: &str) -> anyhow::Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text).map_err(|_| anyhow::anyhow!("no header can hold these credentials"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A registry behind the gateway.
pub(crate) struct Upstream {
    /// Its part of the configuration.
    pub(crate) settings: config::Upstream,
    client: HttpClient,
    credentials: Arc<dyn UpstreamCredentials>,
}

/// Why there is no reply to pass on. The client learns the status alone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamFailure {
    /// We have no credentials for it.
    #[error("there are no credentials for the upstream")]
    NoCredentials(#[source] anyhow::Error),
    /// Our credentials are not good enough. A client that were told so would throw its own away.
    #[error("the upstream does not accept our credentials; {0}")]
    RefusedUs(WantedLogin),
    /// Our account may not do this there. What it says of that may name our account, our role and other insides.
    #[error("the upstream does not allow our account this (status 403): {0}")]
    DeniedUs(String),
    /// No connection could be made, or the certificate is not one that we trust.
    #[error("the upstream cannot be reached")]
    Unreachable(#[source] anyhow::Error),
    /// It takes too long to connect, to read, or to answer.
    #[error("the upstream took too long to {0}")]
    TooSlow(&'static str),
    /// The connection broke, or the reply was not HTTP.
    #[error("the upstream's connection broke")]
    Broke(#[source] anyhow::Error),
    /// The reply ends where the connection does, so that half of one would look whole; or it says in two ways where it ends.
    #[error("the upstream's reply does not say in one way where it ends")]
    NoEnd,
    /// The client's body broke off or could not be read.
    #[error("the client's body broke off")]
    ClientBroke,
    /// The client does not go on sending.
    #[error("the client stalls")]
    ClientStalls,
}

/// The login that an upstream wants: its first challenge, or nothing.
#[derive(Debug)]
pub(crate) struct WantedLogin(Option<String>);

impl WantedLogin {
    fn from_headers(headers: &HeaderMap) -> WantedLogin {
        let challenge = headers.get(WWW_AUTHENTICATE).map(|value| String::from_utf8_lossy(value.as_bytes()));
        WantedLogin(challenge.map(|text| text.chars().take(SAID).collect()))
    }

    fn is_token(&self) -> bool {
        self.0.as_deref().is_some_and(|text| text.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("bearer ")))
    }
}

impl std::fmt::Display for WantedLogin {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(challenge) => write!(out, "it asks for {challenge}"),
            None => out.write_str("it does not say what it asks for"),
        }
    }
}

/// A request as it is sent to an upstream.
pub(crate) struct OnwardRequest<'a> {
    pub(crate) method: Method,
    /// Exactly as it was decided on.
    pub(crate) target: PathAndQuery,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ClientBody,
    /// The scopes that the request needs there.
    pub(crate) needed: &'a [Scope],
}

impl Upstream {
    /// Makes an upstream ready. Nothing is connected yet.
    ///
    /// # Errors
    /// Its certificates or its account cannot be used.
    pub(crate) fn open(settings: config::Upstream) -> anyhow::Result<Upstream> {
        let client = connect::client(settings.authorities.as_ref(), settings.connect_within)
            .with_context(|| format!("gateway.upstreams: {}", settings.name))?;
        let credentials: Arc<dyn UpstreamCredentials> = match &settings.login {
            Login::Anonymous => Arc::new(Fixed(None)),
            Login::Basic(account) => Arc::new(Fixed(Some(basic(account)?))),
            Login::Ecr(settings) => Arc::new(Ecr::new(settings.clone())?),
            Login::TokenService { realm, service, account } => {
                Arc::new(TokenService::new(client.clone(), realm.clone(), service.clone(), account.as_ref())?)
            }
        };
        Ok(Upstream { settings, client, credentials })
    }

    /// Sends a request with our credentials, and once more with others where the upstream no longer accepts the first ones
    /// and nothing of the body has been sent.
    ///
    /// # Errors
    /// Why there is no reply for the client.
    pub(crate) async fn send(&self, onward: OnwardRequest<'_>) -> Result<Response<Incoming>, UpstreamFailure> {
        let OnwardRequest { method, target, mut headers, mut body, needed } = onward;
        if matches!(method, Method::POST | Method::PUT | Method::PATCH)
            && let Some(length) = body.size_hint().exact()
        {
            // Some servers want to be told that there is none (411).
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let uri = Uri::builder()
            .scheme(self.settings.scheme.clone())
            .authority(self.settings.authority.clone())
            .path_and_query(target)
            .build()
            .map_err(|error| UpstreamFailure::Broke(error.into()))?;
        let mut authorization = self.credentials.authorization(needed).await.map_err(UpstreamFailure::NoCredentials)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let mut request = Request::new(body.clone());
            *request.method_mut() = method.clone();
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers.clone();
            if let Some(value) = &authorization {
                request.headers_mut().insert(AUTHORIZATION, value.clone());
            }
            let reply = match self.exchange(request, &body).await {
                // It may have closed a connection that was kept at the same moment. What changes nothing can be asked again.
                Err(UpstreamFailure::Broke(_))
                    if tries < 2 && matches!(method, Method::GET | Method::HEAD) && body.is_untouched() =>
                {
                    body = body.again();
                    continue;
                }
                reply => reply?,
            };
            let status = reply.status();
            if status.is_informational() {
                // Another protocol on the connection. Nobody has asked for one.
                return Err(UpstreamFailure::Broke(anyhow::anyhow!("the reply's status is {status}")));
            }
            if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
                return whole_or_known_to_end(&method, reply);
            }
            // Asked for even where the body is gone: the client's next try is to find good ones.
            let another = self.credentials.another(needed, authorization.as_ref(), status).await;
            let another = another.map_err(UpstreamFailure::NoCredentials)?;
            match (another, status) {
                (Some(another), _) if tries < 2 && body.is_untouched() => {
                    authorization = Some(another);
                    body = body.again();
                }
                (Some(_) | None, StatusCode::UNAUTHORIZED) => {
                    return Err(UpstreamFailure::RefusedUs(WantedLogin::from_headers(reply.headers())));
                }
                (Some(_) | None, _) => return Err(UpstreamFailure::DeniedUs(beginning(reply.into_body()).await)),
            }
        }
    }

    /// Asks for what every registry has, with our credentials, and says what it answered.
    ///
    /// # Errors
    /// It does not answer as it must, or does not take our credentials.
    pub(crate) async fn reach(&self) -> anyhow::Result<String> {
        let target = PathAndQuery::from_static("/v2/");
        let headers = HeaderMap::new();
        let onward = OnwardRequest { method: Method::GET, target, headers, body: ClientBody::none(), needed: &[] };
        let place = format!("{}://{}/v2/", self.settings.scheme, self.settings.authority);
        let name = &self.settings.name;
        let reply = match self.send(onward).await {
            Ok(reply) => reply,
            Err(failure) => {
                let advice = self.advice(&failure).map(|advice| format!("; {advice}")).unwrap_or_default();
                anyhow::bail!("{name}: {place}: {:#}{advice}", anyhow::Error::new(failure));
            }
        };
        match (reply.status(), &self.settings.login) {
            (StatusCode::OK, Login::Anonymous) => Ok(format!("{name}: {place} lets everybody in")),
            (StatusCode::OK, _) => Ok(format!("{name}: {place} takes our credentials")),
            (StatusCode::BAD_REQUEST, _) if self.settings.scheme == Scheme::HTTP => {
                anyhow::bail!("{name}: {place} answers with status 400; does it speak TLS? Then write https:// in url")
            }
            (status, _) => anyhow::bail!("{name}: {place} answers with status {status}; is it a registry?"),
        }
    }

    /// What to write in the configuration instead, where that can be told from the failure.
    fn advice(&self, failure: &UpstreamFailure) -> Option<&'static str> {
        match (failure, &self.settings.login) {
            (UpstreamFailure::RefusedUs(wanted), Login::Anonymous) if wanted.is_token() => Some(
                "write auth: {token: {realm: …, service: …}}, with an account if nobody in particular may not pull",
            ),
            (UpstreamFailure::RefusedUs(_), Login::Anonymous) => {
                Some("write auth: {basic: {username: …, password_file: …}}")
            }
            (UpstreamFailure::RefusedUs(wanted), Login::Basic(_)) if wanted.is_token() => Some(
                "it has a token service: write auth: {token: {realm: …, service: …, username: …, password_file: …}}",
            ),
            (UpstreamFailure::RefusedUs(_), Login::Basic(_)) => Some("are username and password right?"),
            (UpstreamFailure::NoCredentials(_), Login::Ecr(_)) => Some(
                "AWS's credentials are looked for in the environment, in its shared files (profile) and as the role of the \
                 container or of the machine; the role needs ecr:GetAuthorizationToken",
            ),
            (UpstreamFailure::Unreachable(error), _) if is_no_tls(error) => {
                Some("it speaks no TLS: write http:// in url")
            }
            (
                UpstreamFailure::NoCredentials(_)
                | UpstreamFailure::RefusedUs(_)
                | UpstreamFailure::DeniedUs(_)
                | UpstreamFailure::Unreachable(_)
                | UpstreamFailure::TooSlow(_)
                | UpstreamFailure::Broke(_)
                | UpstreamFailure::NoEnd
                | UpstreamFailure::ClientBroke
                | UpstreamFailure::ClientStalls,
                _,
            ) => None,
        }
    }

    async fn exchange(
        &self,
        request: Request<ClientBody>,
        body: &ClientBody,
    ) -> Result<Response<Incoming>, UpstreamFailure> {
        let sending = self.client.request(request);
        let error = tokio::select! {
            reply = sending => match reply {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            },
            missing = body.stalled(self.settings.idle_for, self.settings.respond_within) => {
                return Err(match missing {
                    Missing::Body => UpstreamFailure::ClientStalls,
                    Missing::Reader => UpstreamFailure::TooSlow("read"),
                    Missing::Reply => UpstreamFailure::TooSlow("answer"),
                });
            }
        };
        if body.broke() {
            return Err(UpstreamFailure::ClientBroke);
        }
        let connecting = error.is_connect();
        let error = anyhow::Error::new(error);
        Err(match (connecting, took_too_long(&error)) {
            (true, true) => UpstreamFailure::TooSlow("connect"),
            (true, false) => UpstreamFailure::Unreachable(error),
            (false, _) => UpstreamFailure::Broke(error),
        })
    }
}

/// The beginning of an upstream's reply, for the log.
async fn beginning(mut body: Incoming) -> String {
    let mut said = Vec::new();
    let read = async {
        while let (true, Some(Ok(frame))) = (said.len() < SAID, body.frame().await) {
            said.extend(frame.into_data().unwrap_or_default());
        }
    };
    // What came until then is what there is to tell.
    tokio::time::timeout(SAID_WITHIN, read).await.ok();
    said.truncate(SAID);
    String::from_utf8_lossy(&said).into_owned()
}

/// Whether the answer to a TLS handshake was something else.
fn is_no_tls(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let mut cause: &(dyn std::error::Error + 'static) = cause;
        // An I/O error shows the one that it wraps to those only who ask for it.
        while let Some(inside) = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            cause = inside;
        }
        matches!(cause.downcast_ref::<rustls::Error>(), Some(rustls::Error::InvalidMessage(_)))
    })
}

fn took_too_long(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut))
}

/// A reply in HTTP/1 has a length, or pieces of which the last says so, or neither (RFC 9112, section 6.3). In the last
/// case a broken connection looks like the end, and half a blob would be passed on as a whole one. With both, or with a
/// coding besides the pieces that would have to be undone, two readers could see two replies.
fn whole_or_known_to_end(method: &Method, reply: Response<Incoming>) -> Result<Response<Incoming>, UpstreamFailure> {
    let has_body = *method != Method::HEAD && !reply.body().is_end_stream();
    match reply.version() {
        Version::HTTP_10 | Version::HTTP_11 if has_body => {}
        _ => return Ok(reply),
    }
    let mut codings = reply.headers().get_all(TRANSFER_ENCODING).iter();
    let has_end = match (codings.next(), codings.next()) {
        (None, _) => reply.body().size_hint().exact().is_some(),
        (Some(only), None) => {
            only.as_bytes().eq_ignore_ascii_case(b"chunked") && !reply.headers().contains_key(CONTENT_LENGTH)
        }
        (Some(_), Some(_)) => false,
    };
    if has_end { Ok(reply) } else { Err(UpstreamFailure::NoEnd) }
}
