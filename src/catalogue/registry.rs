//! A client of one registry: what is in it.

mod reply;
mod tokens;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{ACCEPT, AUTHORIZATION, USER_AGENT};
use axum::http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};

pub(super) use reply::Named;
pub use reply::RegistryFailure;
use reply::{Catalog, Reply, Tags, error_codes, expect_ok, named, next_name, read, unexpected};
pub(super) use tokens::OURSELVES;
use tokens::OwnTokens;

use super::name::{is_digest, is_repository, is_tag};
use super::{AT_ONCE, Settings};
use crate::clock;
use crate::dial::{Dialer, Patience};
use crate::pem::tls::client_config;
use crate::registries::{DeclaredBy, Registry};
use crate::shown::chain_of;
use crate::token::Issuer;

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
/// The most tags of one repository.
const MOST_TAGS: usize = 200_000;
/// The longest manifest, in bytes: what registries take.
const MAX_MANIFEST: usize = 4 << 20;
/// The longest error, in bytes.
const MAX_ERROR: usize = 64 * 1024;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("dockwarden/", env!("CARGO_PKG_VERSION")));
/// The four types of manifests that there are; with fewer, a registry shows one of them as another, or not at all.
const MANIFESTS: HeaderValue = HeaderValue::from_static(
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json",
);

/// A page of the catalog.
#[derive(Debug)]
pub(super) struct CatalogPage {
    /// The names that can be one; others are overlooked.
    pub(super) names: Vec<String>,
    /// How many there were with those.
    pub(super) listed: usize,
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

/// A manifest.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) named: Named,
    pub(super) body: Bytes,
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

/// A client of one registry.
pub(super) struct RegistryClient {
    http: Http,
    /// Scheme and host, without a slash at the end.
    base: String,
    tokens: OwnTokens,
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
    pub(super) fn new(registry: &Registry, issuer: Arc<Issuer>, settings: &Settings) -> anyhow::Result<RegistryClient> {
        let Settings { pace, networks, .. } = settings;
        let mut tls = client_config(registry.authorities.as_ref(), None)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let dialer = Dialer::new(Arc::new(tls), Patience { silence: CONNECT_WITHIN, whole: CONNECT_WITHIN });
        let dialer = match registry.declared {
            DeclaredBy::Operator => dialer,
            DeclaredBy::Manager => dialer.only_in(networks.clone()),
        };
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
            tokens: OwnTokens::new(issuer, &registry.service),
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
        let next = match next_name(&reply.headers)? {
            Some(next) => Some(next),
            // A proxy may have lost the link: one request more tells.
            None if listed.len() >= number => last,
            None => None,
        };
        let count = listed.len();
        let names = listed.into_iter().filter(|name| is_repository(name)).collect();
        Ok(CatalogPage { names, listed: count, next })
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
            if all.len() > MOST_TAGS {
                return Err(RegistryFailure::Odd(format!("a repository has more than {MOST_TAGS} tags")));
            }
            let next = next_name(&reply.headers)?;
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
            StatusCode::OK => {
                let named = named(&reply)?;
                // What is shown under a digest is what that digest names.
                let is_asked = !is_digest(reference) || named.digest == reference;
                match is_asked && named.is_of(&reply.body) {
                    true => Ok(Some(Manifest { named, body: reply.body })),
                    false => Err(RegistryFailure::Odd("a manifest is not what its digest names".to_owned())),
                }
            }
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(unexpected(&reply, "the manifest")),
        }
    }

    /// What refers to a manifest (OCI distribution 1.1), as an index; `None` where the registry does not know of such.
    pub(super) async fn referrers(&self, repository: &str, digest: &str) -> Result<Option<Bytes>, RegistryFailure> {
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
        let token = self.tokens.bearer(asked.repository, asked.actions).await.map_err(Sent::Other)?;
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
                true => Sent::Other(RegistryFailure::Away(chain_of(&error))),
                false => Sent::Broken(chain_of(&error)),
            })?;
            let (parts, body) = response.into_parts();
            let most = if parts.status == StatusCode::OK { asked.most } else { MAX_ERROR };
            let body = read(body, most).await.map_err(Sent::Other)?;
            Ok(Reply { status: parts.status, headers: parts.headers, body })
        };
        let late = || format!("no answer within {} s", asked.within.as_secs());
        timeout(asked.within, answered).await.unwrap_or_else(|_| Err(Sent::Other(RegistryFailure::Away(late()))))
    }
}

enum Sent {
    Broken(String),
    Other(RegistryFailure),
}
