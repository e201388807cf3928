//! A client of one registry: what is in it, asked with tokens that are made here for one repository and one request's actions.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LINK, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use lru::LruCache;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};

use super::name::{is_digest, is_repository, is_tag};
use super::{AT_ONCE, Pace};
use crate::dial::{Dialer, Patience};
use crate::keys::Effort;
use crate::pem::tls::client_config;
use crate::registries::Registry;
use crate::token::{AccessEntry, Issuer, TokenContent, jti};
use crate::{clock, json, random};

/// Whose requests ours are, in the registry's log and in its events. No account is called so: names of robots are nobody else's, and
/// none has a second plus sign.
pub(super) const OURSELVES: &str = "robot+dockwarden+catalogue";
/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long an answer may take, from the request to its last byte.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a page of the catalog may: registry 2.8 walks through its whole storage for each.
const PAGE_WITHIN: Duration = Duration::from_secs(300);
/// How many names a page of the catalog is asked for: as many as registries give by themselves.
const PAGE: usize = 1000;
/// The same for one that refuses so many.
const SMALL_PAGE: usize = 100;
/// The longest page of a catalog, in bytes: a thousand of the longest names.
const MAX_PAGE: usize = 1 << 20;
/// The longest list of tags, in bytes: 100,000 of the longest ones, from a registry that gives them at once.
const MAX_TAGS: usize = 16 << 20;
/// The most pages of tags of one repository.
const MAX_TAG_PAGES: usize = 1000;
/// The longest manifest, in bytes: what registries take.
const MAX_MANIFEST: usize = 4 << 20;
/// The longest error, in bytes.
const MAX_ERROR: usize = 64 * 1024;
/// How long our tokens live, in seconds.
const LIFE: u32 = 300;
/// How many tokens are kept for another request.
const TOKENS: NonZeroUsize = match NonZeroUsize::new(256) {
    Some(number) => number,
    None => NonZeroUsize::MIN,
};
const AGENT: HeaderValue = HeaderValue::from_static(concat!("dockwarden/", env!("CARGO_PKG_VERSION")));
/// The four types of manifests that there are; with fewer, a registry shows one of them as another, or not at all.
const MANIFESTS: HeaderValue = HeaderValue::from_static(
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json",
);

/// The registry did not answer as a registry does.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegistryFailure {
    /// It cannot be reached, or does not answer in time.
    #[error("the registry cannot be asked: {0}")]
    Away(String),
    /// It does not take our tokens.
    #[error(
        "the registry refuses our token (status {0}); are token.issuer, its REGISTRY_AUTH_TOKEN_ISSUER and _SERVICE, and its \
         rootcertbundle what they should be?"
    )]
    Refused(u16),
    /// Its answer is of no use.
    #[error("the registry's answer cannot be used: {0}")]
    Odd(String),
    /// No token could be made.
    #[error("no token for the registry can be made: {0}")]
    NoToken(String),
}

/// A page of the catalog.
#[derive(Debug)]
pub(super) struct CatalogPage {
    /// The names that can be one; others are overlooked.
    pub(super) names: Vec<String>,
    /// Where the next page begins.
    pub(super) next: Option<String>,
}

/// What a registry says of the tags of a repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TagList {
    /// These; none where it says so.
    Listed(Vec<String>),
    /// It says that it does not know the repository.
    Unknown,
}

/// What a tag or a digest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The digest.
    pub(super) digest: String,
    /// The media type.
    pub(super) media_type: String,
}

/// A manifest.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) named: Named,
    pub(super) body: Vec<u8>,
}

/// What a registry says when something is to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeleteReply {
    /// It is gone, or so it says.
    Accepted,
    /// There is nothing of this name.
    Missing,
    /// It deletes by digest alone (registry 2.8).
    ByDigestOnly,
    /// It deletes nothing.
    Off,
}

type Http = Client<Dialer, Full<Bytes>>;
/// Tokens that were made a moment ago, each with its end, by the repository and the actions that they are for.
type Tokens = LruCache<(String, &'static str), (HeaderValue, i64)>;

/// A client of one registry.
pub(super) struct RegistryClient {
    http: Http,
    /// Scheme and host, without a slash at the end.
    base: String,
    service: String,
    issuer: Arc<Issuer>,
    tokens: Mutex<Tokens>,
    places: Semaphore,
    rhythm: Rhythm,
}

/// When the next request may begin.
struct Rhythm {
    pause: Option<Duration>,
    next: Mutex<Instant>,
}

impl Rhythm {
    async fn turn(&self) {
        let Some(pause) = self.pause else { return };
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = (*next).max(clock::now());
            *next = at + pause;
            at
        };
        sleep_until(at).await;
    }
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct Catalog {
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default, deserialize_with = "json::objects")]
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
}

/// A request, as what is asked for differs.
struct Asked<'a> {
    method: Method,
    path: String,
    /// The repository, or nothing for the catalog.
    repository: Option<&'a str>,
    actions: &'static str,
    most: usize,
    within: Duration,
}

impl<'a> Asked<'a> {
    fn get(repository: &'a str, below: String, most: usize) -> Asked<'a> {
        Asked {
            method: Method::GET,
            path: format!("/v2/{repository}/{below}"),
            repository: Some(repository),
            actions: "pull",
            most,
            within: ANSWER_WITHIN,
        }
    }
}

impl RegistryClient {
    /// A client without a connection yet.
    ///
    /// # Errors
    /// No TLS can be made of the authorities that the registry's certificate may be from.
    pub(super) fn new(registry: &Registry, issuer: Arc<Issuer>, pace: &Pace) -> anyhow::Result<RegistryClient> {
        let mut tls = client_config(registry.authorities.as_ref(), None)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let dialer = Dialer::new(Arc::new(tls), Patience { silence: CONNECT_WITHIN, whole: CONNECT_WITHIN });
        let at_once = pace.at_once.clamp(1, AT_ONCE);
        // Redirects are not followed: the token would go wherever the reply says. Nor does the environment name a proxy.
        let http = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(at_once)
            .build(dialer);
        Ok(RegistryClient {
            http,
            base: registry.url.as_str().trim_end_matches('/').to_owned(),
            service: registry.service.clone(),
            issuer,
            tokens: Mutex::new(LruCache::new(TOKENS)),
            places: Semaphore::new(at_once),
            rhythm: Rhythm {
                pause: pace.per_second.map(|number| Duration::from_secs(1) / number.get()),
                next: Mutex::new(clock::now()),
            },
        })
    }

    /// A page of the catalog, behind a name.
    ///
    /// # Errors
    /// [`RegistryFailure`], as for all that follow.
    pub(super) async fn catalog(&self, after: Option<&str>) -> Result<CatalogPage, RegistryFailure> {
        let page = |number: usize| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("n", &number.to_string());
            if let Some(after) = after {
                query.append_pair("last", after);
            }
            Asked {
                method: Method::GET,
                path: format!("/v2/_catalog?{}", query.finish()),
                repository: None,
                actions: "*",
                most: MAX_PAGE,
                within: PAGE_WITHIN,
            }
        };
        let (mut reply, mut number) = (self.ask(&page(PAGE)).await?, PAGE);
        // PAGINATION_NUMBER_INVALID: this registry's catalog.maxentries is smaller.
        if reply.status == StatusCode::BAD_REQUEST {
            (reply, number) = (self.ask(&page(SMALL_PAGE)).await?, SMALL_PAGE);
        }
        let Catalog { repositories } = expect_ok(&reply, "its catalog")?;
        let listed = repositories.ok_or_else(|| RegistryFailure::Odd("its catalog has no list".to_owned()))?;
        let last = listed.last().cloned();
        let next = match link_last(&reply.headers)? {
            Some(next) => Some(next),
            // A proxy may have lost the link: one request more tells.
            None if listed.len() >= number => last,
            None => None,
        };
        match &next {
            // It would go round in circles.
            Some(next) if Some(next.as_str()) == after => {
                Err(RegistryFailure::Odd("its catalog leads back to the same page".to_owned()))
            }
            Some(_) | None => {
                Ok(CatalogPage { names: listed.into_iter().filter(|name| is_repository(name)).collect(), next })
            }
        }
    }

    /// The tags of a repository.
    pub(super) async fn tags(&self, repository: &str) -> Result<TagList, RegistryFailure> {
        let (mut all, mut after): (Vec<String>, Option<String>) = (Vec::new(), None);
        for _ in 0..MAX_TAG_PAGES {
            let mut below = "tags/list".to_owned();
            if let Some(after) = &after {
                let mut query = form_urlencoded::Serializer::new(String::new());
                query.append_pair("n", &PAGE.to_string()).append_pair("last", after);
                below = format!("{below}?{}", query.finish());
            }
            let reply = self.ask(&Asked::get(repository, below, MAX_TAGS)).await?;
            // A proxy's 404 is no word of the registry's.
            if reply.status == StatusCode::NOT_FOUND && error_codes(&reply).iter().any(|code| code == "NAME_UNKNOWN") {
                return Ok(TagList::Unknown);
            }
            let Tags { tags } = expect_ok(&reply, "its list of tags")?;
            all.extend(tags.unwrap_or_default().into_iter().filter(|tag| is_tag(tag)));
            let next = link_last(&reply.headers)?;
            if next.is_none() {
                return Ok(TagList::Listed(all));
            }
            if next == after {
                return Err(RegistryFailure::Odd("its list of tags leads back to the same page".to_owned()));
            }
            after = next;
        }
        Err(RegistryFailure::Odd("its list of tags does not end".to_owned()))
    }

    /// What a tag or a digest names; `None` where there is nothing.
    pub(super) async fn head(&self, repository: &str, reference: &str) -> Result<Option<Named>, RegistryFailure> {
        let asked = Asked { method: Method::HEAD, ..Asked::get(repository, format!("manifests/{reference}"), 0) };
        let reply = self.ask(&asked).await?;
        match reply.status {
            StatusCode::OK => named(&reply).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(unexpected(&reply, "the manifest")),
        }
    }

    /// The manifest that a tag or a digest names.
    pub(super) async fn manifest(
        &self,
        repository: &str,
        reference: &str,
    ) -> Result<Option<Manifest>, RegistryFailure> {
        let reply = self.ask(&Asked::get(repository, format!("manifests/{reference}"), MAX_MANIFEST)).await?;
        match reply.status {
            StatusCode::OK => Ok(Some(Manifest { named: named(&reply)?, body: reply.body })),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(unexpected(&reply, "the manifest")),
        }
    }

    /// What refers to a manifest (OCI distribution 1.1), as an index; `None` where the registry does not know of such.
    pub(super) async fn referrers(&self, repository: &str, digest: &str) -> Result<Option<Vec<u8>>, RegistryFailure> {
        let reply = self.ask(&Asked::get(repository, format!("referrers/{digest}"), MAX_MANIFEST)).await?;
        match reply.status {
            StatusCode::OK => Ok(Some(reply.body)),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST => Ok(None),
            _ => Err(unexpected(&reply, "the list of referrers")),
        }
    }

    /// Deletes what a tag or a digest names.
    pub(super) async fn delete(&self, repository: &str, reference: &str) -> Result<DeleteReply, RegistryFailure> {
        let asked = Asked {
            method: Method::DELETE,
            actions: "delete",
            ..Asked::get(repository, format!("manifests/{reference}"), MAX_ERROR)
        };
        let reply = self.ask(&asked).await?;
        let codes = error_codes(&reply);
        match reply.status {
            StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => Ok(DeleteReply::Accepted),
            StatusCode::NOT_FOUND => Ok(DeleteReply::Missing),
            StatusCode::METHOD_NOT_ALLOWED => Ok(DeleteReply::Off),
            StatusCode::BAD_REQUEST if codes.iter().any(|code| code == "DIGEST_INVALID") => {
                Ok(DeleteReply::ByDigestOnly)
            }
            _ => Err(unexpected(&reply, "the deletion")),
        }
    }

    async fn ask(&self, asked: &Asked<'_>) -> Result<Reply, RegistryFailure> {
        let _place = self.places.acquire().await.map_err(|_| RegistryFailure::Away("it is given up".to_owned()))?;
        self.rhythm.turn().await;
        let reply = match self.send(asked).await {
            // A connection of the pool was closed just when it was used again; what is asked may be asked twice.
            Err(Sent::Broken(_)) => self.send(asked).await,
            sent => sent,
        };
        let reply = reply.map_err(|failure| match failure {
            Sent::Broken(cause) => RegistryFailure::Away(cause),
            Sent::Other(failure) => failure,
        })?;
        match reply.status {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                Err(RegistryFailure::Refused(status.as_u16()))
            }
            _ => Ok(reply),
        }
    }

    async fn send(&self, asked: &Asked<'_>) -> Result<Reply, Sent> {
        let token = self.token(asked.repository, asked.actions).await.map_err(Sent::Other)?;
        let odd = |cause: String| Sent::Other(RegistryFailure::Odd(cause));
        let uri = Uri::try_from(format!("{}{}", self.base, asked.path)).map_err(|error| odd(error.to_string()))?;
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.method_mut() = asked.method.clone();
        *request.uri_mut() = uri;
        request.headers_mut().insert(AUTHORIZATION, token);
        request.headers_mut().insert(ACCEPT, MANIFESTS);
        request.headers_mut().insert(USER_AGENT, AGENT);
        let answered = async {
            let response = self.http.request(request).await.map_err(|error| match error.is_connect() {
                true => Sent::Other(RegistryFailure::Away(chain(&error))),
                false => Sent::Broken(chain(&error)),
            })?;
            let (parts, body) = response.into_parts();
            let most = if parts.status == StatusCode::OK { asked.most } else { MAX_ERROR };
            let body = read(body, most).await.map_err(Sent::Other)?;
            Ok(Reply { status: parts.status, headers: parts.headers, body })
        };
        let late = || format!("no answer within {} s", asked.within.as_secs());
        timeout(asked.within, answered).await.unwrap_or_else(|_| Err(Sent::Other(RegistryFailure::Away(late()))))
    }

    /// `Bearer` and a token for one repository's action, or for the catalog; one that was made a moment ago, if there is one.
    async fn token(&self, repository: Option<&str>, actions: &'static str) -> Result<HeaderValue, RegistryFailure> {
        #[expect(clippy::disallowed_methods, reason = "the registry compares the token with this moment")]
        let now = OffsetDateTime::now_utc();
        let key = (repository.unwrap_or_default().to_owned(), actions);
        let kept = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some((token, expires)) = kept
            && expires > now.unix_timestamp() + 60
        {
            return Ok(token);
        }
        let (kind, name) = match repository {
            Some(repository) => ("repository", repository),
            None => ("registry", "catalog"),
        };
        let content = TokenContent {
            subject: OURSELVES.to_owned(),
            audience: self.service.clone(),
            access: vec![AccessEntry {
                kind: kind.to_owned(),
                name: name.to_owned(),
                actions: vec![actions.to_owned()],
            }],
            secret: None,
        };
        let none = |cause: String| RegistryFailure::NoToken(cause);
        let id = jti(random::bytes().map_err(|error| none(error.to_string()))?);
        let claims = self.issuer.claims(content, now, LIFE, id);
        let expires = claims.exp;
        let issuer = Arc::clone(&self.issuer);
        let made = match issuer.key().effort() {
            Effort::Small => issuer.mint(&claims, now),
            Effort::Large => {
                let made = tokio::task::spawn_blocking(move || issuer.mint(&claims, now));
                made.await.map_err(|died| none(died.to_string()))?
            }
        };
        let token = made.map_err(|error| none(error.to_string()))?;
        let mut token = HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| none(error.to_string()))?;
        token.set_sensitive(true);
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).put(key, (token.clone(), expires));
        Ok(token)
    }
}

enum Sent {
    Broken(String),
    Other(RegistryFailure),
}

async fn read(mut body: Incoming, most: usize) -> Result<Vec<u8>, RegistryFailure> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| RegistryFailure::Away(chain(&error)))?;
        let Ok(piece) = frame.into_data() else { continue };
        if whole.len() + piece.len() > most {
            return Err(RegistryFailure::Odd(format!("it is longer than {most} bytes")));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

fn expect_ok<T: for<'de> Deserialize<'de>>(reply: &Reply, what: &str) -> Result<T, RegistryFailure> {
    match reply.status {
        StatusCode::OK => {
            json::object(&reply.body).map_err(|error| RegistryFailure::Odd(format!("{what} is none: {error}")))
        }
        _ => Err(unexpected(reply, what)),
    }
}

fn unexpected(reply: &Reply, what: &str) -> RegistryFailure {
    match reply.status {
        // One repository may be broken (500), and the registry well.
        status @ (StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS) => {
            RegistryFailure::Away(format!("it answers {} instead of {what}", status.as_u16()))
        }
        status => RegistryFailure::Odd(format!("it answers {} instead of {what}", status.as_u16())),
    }
}

/// The codes of a registry's errors; none where the body is something else.
fn error_codes(reply: &Reply) -> Vec<String> {
    let errors = json::object::<Errors>(&reply.body).map(|read| read.errors).unwrap_or_default();
    errors.into_iter().map(|error| error.code).collect()
}

fn named(reply: &Reply) -> Result<Named, RegistryFailure> {
    let text = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok());
    let digest = text("docker-content-digest").filter(|digest| is_digest(digest));
    let digest = digest.ok_or_else(|| RegistryFailure::Odd("a manifest comes without its digest".to_owned()))?;
    let media_type = text(CONTENT_TYPE.as_str()).unwrap_or_default().split(';').next().unwrap_or_default().trim();
    Ok(Named { digest: digest.to_owned(), media_type: media_type.to_owned() })
}

/// Where the next page begins, as the `Link` to it says (RFC 8288). Its address is not followed: of a registry behind a proxy it may
/// lead anywhere.
fn link_last(headers: &HeaderMap) -> Result<Option<String>, RegistryFailure> {
    let odd = || RegistryFailure::Odd("the link to the next page cannot be read".to_owned());
    for line in headers.get_all(LINK) {
        let text = line.to_str().map_err(|_| odd())?;
        let Some((target, rest)) = text.trim().strip_prefix('<').and_then(|rest| rest.split_once('>')) else {
            continue;
        };
        if !rest.replace([' ', '"'], "").split(';').any(|part| part.eq_ignore_ascii_case("rel=next")) {
            continue;
        }
        let query = target.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let last = query.split('&').find_map(|pair| pair.strip_prefix("last=")).ok_or_else(odd)?;
        let last = last.replace('+', " ");
        let last = percent_decode_str(&last).decode_utf8().map_err(|_| odd())?;
        return Ok(Some(last.into_owned()));
    }
    Ok(None)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut cause = error.to_string();
    let mut next = error.source();
    while let Some(deeper) = next {
        cause.push_str(": ");
        cause.push_str(&deeper.to_string());
        next = deeper.source();
    }
    cause
}
