//! Authorization tokens of ECR, fetched from AWS with the credentials that AWS's own tools would find.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_ecr::config::http::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::result::ConnectorError;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use policy::scope::Scope;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::OnceCell;

use super::body::ClientBody;
use super::connect::{self, HttpClient};
use super::renewing::{CredentialLife, CredentialSource, Fetched, Renewing};
use super::upstream::{UpstreamCredentials, secret};
use crate::config::Ecr as Settings;

/// How long connecting to an API of AWS may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The longest reply of an API of AWS, in bytes. Tokens are some thousand bytes long.
const MAX_REPLY: usize = 1024 * 1024;
/// How often a token may be replaced because of a 403: ECR answers so to a token that has expired, and to an account without
/// rights, where another token changes nothing.
const FORBIDDEN_AGAIN: Duration = Duration::from_secs(60);

/// Tokens of one ECR registry, in memory only.
pub(super) struct Ecr(Renewing<Tokens>);

struct Tokens {
    settings: Settings,
    client: HttpClient,
    /// Made when the first token is needed: looking for credentials may ask the machine that we run on.
    api: OnceCell<aws_sdk_ecr::Client>,
}

impl Ecr {
    /// Asks for nothing yet.
    ///
    /// # Errors
    /// No client could be made.
    pub(super) fn new(settings: Settings) -> anyhow::Result<Ecr> {
        let client = connect::client(None, CONNECT_WITHIN)?;
        Ok(Ecr(Renewing::new(Tokens { settings, client, api: OnceCell::new() })))
    }
}

#[async_trait]
impl UpstreamCredentials for Ecr {
    async fn authorization(&self, _needed: &[Scope]) -> anyhow::Result<Option<HeaderValue>> {
        self.0.current().await.map(Some)
    }

    async fn another(
        &self,
        _needed: &[Scope],
        refused: Option<&HeaderValue>,
        status: StatusCode,
    ) -> anyhow::Result<Option<HeaderValue>> {
        match status {
            StatusCode::FORBIDDEN => self.0.other_than(refused, FORBIDDEN_AGAIN).await,
            _ => self.0.other_than(refused, Duration::ZERO).await,
        }
    }
}

impl Tokens {
    async fn api(&self) -> &aws_sdk_ecr::Client {
        let make = || async {
            let client = self.client.clone();
            let http = http_client_fn(move |settings, _| {
                let limits = [settings.connect_timeout(), settings.read_timeout()];
                let within = limits.into_iter().flatten().reduce(|one, other| one + other);
                SharedHttpConnector::new(SdkClient { client: client.clone(), within })
            });
            let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
            if let Some(region) = &self.settings.region {
                loader = loader.region(Region::new(region.clone()));
            }
            if let Some(profile) = &self.settings.profile {
                loader = loader.profile_name(profile);
            }
            let mut config = aws_sdk_ecr::config::Builder::from(&loader.load().await);
            if let Some(endpoint) = &self.settings.endpoint {
                config = config.endpoint_url(endpoint);
            }
            aws_sdk_ecr::Client::from_conf(config.build())
        };
        self.api.get_or_init(make).await
    }
}

#[async_trait]
impl CredentialSource for Tokens {
    fn what(&self) -> String {
        "an authorization token of ECR".to_owned()
    }

    async fn fetch(&self) -> anyhow::Result<Fetched> {
        // The field is deprecated for registries that one may reach anyway, and says which of several one means.
        #[expect(deprecated, reason = "the only way to name the registry of another account")]
        let asked = self
            .api()
            .await
            .get_authorization_token()
            .set_registry_ids(self.settings.registry_id.clone().map(|id| vec![id]));
        let answer = asked.send().await;
        // In the error's own words and not in its debug form, which repeats the reply: there may be a token in it.
        let answer = answer.context("ECR gives no token")?;
        let data = answer.authorization_data().first().context("ECR's answer holds no token")?;
        let token = data.authorization_token().context("ECR's answer holds no token")?;
        #[expect(clippy::disallowed_methods, reason = "the life of a token counts from when it comes")]
        let now = SystemTime::now();
        let life = match data.expires_at().map(|end| SystemTime::try_from(*end)) {
            Some(Ok(end)) => match end.duration_since(now) {
                Ok(life) if !life.is_zero() => CredentialLife::For(life),
                Ok(_) | Err(_) => CredentialLife::Expired,
            },
            // Nothing that could be believed.
            Some(Err(_)) | None => CredentialLife::Expired,
        };
        Ok(Fetched { value: secret(&format!("Basic {token}"))?, life })
    }
}

/// Sends the SDK's requests as all others are sent: the SDK's own client would bring a second HTTP and TLS along.
#[derive(Clone)]
struct SdkClient {
    client: HttpClient,
    /// The time that the SDK gives a request.
    within: Option<Duration>,
}

impl std::fmt::Debug for SdkClient {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("HttpClient")
    }
}

impl HttpConnector for SdkClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let sdk = self.clone();
        HttpConnectorFuture::new(async move {
            let Some(within) = sdk.within else { return sdk.send(request).await };
            match tokio::time::timeout(within, sdk.send(request)).await {
                Ok(answer) => answer,
                Err(elapsed) => Err(ConnectorError::timeout(elapsed.into())),
            }
        })
    }
}

impl SdkClient {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
        let request = request.map(|body| {
            let bytes = Bytes::copy_from_slice(body.bytes().unwrap_or_default());
            ClientBody::new(Body::new(Full::new(bytes)), Counter::default())
        });
        let answer = self.client.request(request).await.map_err(|error| ConnectorError::io(error.into()))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MAX_REPLY).collect().await.map_err(ConnectorError::io)?.to_bytes();
        let answer = axum::http::Response::from_parts(parts, body.into());
        HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
    }
}
