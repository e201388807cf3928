//! The catalog as an account may see it: the names of what it may pull, in pages of its own.
//!
//! Upstreams are gone through one after the other, a page at a time, and no further than the client's page is full. What
//! is not shown is not named either: a page continues after the last name that was shown.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::header::LINK;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use serde_json::json;
use time::OffsetDateTime;

use super::body::ClientBody;
use super::places::Places;
use super::refusal::Refusal;
use super::route;
use super::upstream::{Failure, Onward, Upstream};
use crate::access::Access;
use crate::authn::Identity;
use crate::http::door::NotAdmitted;
use crate::scope::{Action, Resource, Scope};

/// Names in a page where the client does not say.
const USUAL_PAGE: usize = 100;
/// Names in a page at most, whatever the client says; and how many are asked of an upstream at once. Registries allow
/// this many.
const LARGEST_PAGE: usize = 1000;
/// Pages of upstreams that are looked through for one page of ours.
const MAX_PAGES: usize = 500;
/// How long that may take.
const SCAN_WITHIN: Duration = Duration::from_secs(60);
/// How long one page of an upstream may take, if not even less is configured: long enough for a registry that goes through an
/// object store for its names, and much less than a blob may take, since everybody else's catalog waits for it.
const PAGE_WITHIN: Duration = Duration::from_secs(10);
/// Names that are decided on at once: no more than a page needs are asked of a program or a server that decides.
const DECIDED_AT_ONCE: usize = 32;
/// The longest page of an upstream, in bytes.
const MAX_REPLY: usize = 2 * 1024 * 1024;

/// Who looks at the catalog.
pub(super) struct Viewer<'a> {
    pub(super) access: &'a Access,
    pub(super) identity: &'a Identity,
    pub(super) address: Option<IpAddr>,
    pub(super) service: &'a str,
    /// Where a place among the catalogs that are looked through at once is to be had.
    pub(super) places: &'a Places,
}

/// The page that the client asks for.
struct Page {
    n: usize,
    last: Option<String>,
}

impl Page {
    fn read(query: &str) -> Result<Page, Refusal> {
        let (mut n, mut last) = (None, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let slot = match key.as_ref() {
                "n" => &mut n,
                "last" => &mut last,
                _ => continue,
            };
            if slot.replace(value.into_owned()).is_some() {
                return Err(Refusal::NoPage);
            }
        }
        let n = match n {
            Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or(Refusal::NoPage)?,
            None => USUAL_PAGE,
        };
        Ok(Page { n: n.min(LARGEST_PAGE), last: last.filter(|last| !last.is_empty()) })
    }
}

/// The reply to a client that asks for the catalog of these upstreams.
///
/// # Errors
/// Why there is none.
pub(super) async fn answer(
    upstreams: &[&Arc<Upstream>],
    viewer: &Viewer<'_>,
    query: &str,
    needed: &[Scope],
) -> Result<Response, Refusal> {
    let page = Page::read(query)?;
    let _place = viewer.places.catalog(viewer.address).await?;
    let scan = scan(upstreams, viewer, &page, needed);
    let mut names = tokio::time::timeout(SCAN_WITHIN, scan).await.map_err(|_| Refusal::CatalogTooLong)??;
    let more = names.len() > page.n;
    names.truncate(page.n);
    let link = names.last().filter(|_| more).map(|last| {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("last", last)
            .append_pair("n", &page.n.to_string())
            .finish();
        format!("</v2/_catalog?{query}>; rel=\"next\"")
    });
    let mut response = Json(json!({ "repositories": names })).into_response();
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

/// The names of a page, and one more where there are more.
async fn scan(
    upstreams: &[&Arc<Upstream>],
    viewer: &Viewer<'_>,
    page: &Page,
    needed: &[Scope],
) -> Result<Vec<String>, Refusal> {
    // A page ends within an upstream, and the next one begins there.
    let mut remaining = upstreams;
    if let Some(last) = &page.last {
        let at = route::of_repository(upstreams, last, |upstream| &upstream.settings).ok_or(Refusal::NoPage)?;
        let index = upstreams.iter().position(|upstream| Arc::ptr_eq(upstream, at)).ok_or(Refusal::NoPage)?;
        remaining = upstreams.get(index..).unwrap_or_default();
    }
    let mut shown = Vec::new();
    let mut pages = 0;
    for (index, upstream) in remaining.iter().enumerate() {
        let mut query = format!("n={LARGEST_PAGE}");
        if let Some(last) = page.last.as_ref().filter(|_| index == 0) {
            let last = form_urlencoded::Serializer::new(String::new()).append_pair("last", last).finish();
            query.push('&');
            query.push_str(&last);
        }
        loop {
            pages += 1;
            if pages > MAX_PAGES {
                return Err(Refusal::CatalogTooLong);
            }
            let (names, next) = fetch(upstream, &query, needed).await?;
            let own = names.into_iter().filter(|name| {
                let at = route::of_repository(upstreams, name, |upstream| &upstream.settings);
                // A name that another upstream is for leads there and not here.
                at.is_some_and(|at| Arc::ptr_eq(at, upstream))
            });
            let own: Vec<Scope> = own.filter_map(|name| pulling(&name)).collect();
            for names in own.chunks(DECIDED_AT_ONCE) {
                shown.extend(viewer.may_pull(names).await?);
                if shown.len() > page.n {
                    return Ok(shown);
                }
            }
            match next {
                Some(next) if next != query => query = next,
                Some(_) | None => break,
            }
        }
    }
    Ok(shown)
}

fn pulling(name: &str) -> Option<Scope> {
    let resource = Resource::new("repository", name).ok()?;
    Some(Scope { resource, class: None, actions: [Action::Pull].into(), reference: None })
}

impl Viewer<'_> {
    async fn may_pull(&self, names: &[Scope]) -> Result<Vec<String>, Refusal> {
        let now = OffsetDateTime::now_utc();
        let decision = self.access.decide(self.identity, self.address, self.service, names.to_vec(), now).await;
        let decision = decision.map_err(NotAdmitted::from)?;
        let granted = decision.grants().iter().filter(|grant| grant.granted.contains(&Action::Pull));
        Ok(granted.map(|grant| grant.scope.resource.name().to_owned()).collect())
    }
}

#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

/// One page of an upstream's catalog, and the query of the next one.
async fn fetch(upstream: &Upstream, query: &str, needed: &[Scope]) -> Result<(Vec<String>, Option<String>), Refusal> {
    let within = upstream.settings.respond_within.min(PAGE_WITHIN);
    let page = tokio::time::timeout(within, read_page(upstream, query, needed)).await;
    page.unwrap_or_else(|_| Err(upstream.failed(Failure::TooSlow("give a page of its catalog"))))
}

async fn read_page(
    upstream: &Upstream,
    query: &str,
    needed: &[Scope],
) -> Result<(Vec<String>, Option<String>), Refusal> {
    let wrong = |cause: String| Refusal::NoCatalog { upstream: upstream.settings.name.clone(), cause };
    let target = PathAndQuery::try_from(format!("/v2/_catalog?{query}")).map_err(|error| wrong(error.to_string()))?;
    let onward = Onward { method: Method::GET, target, headers: HeaderMap::new(), body: ClientBody::none(), needed };
    let reply = upstream.send(onward).await.map_err(|failure| upstream.failed(failure))?;
    if reply.status() != StatusCode::OK {
        return Err(wrong(format!("status {}", reply.status())));
    }
    let next = next_page(reply.headers());
    let body = Limited::new(reply.into_body(), MAX_REPLY).collect().await;
    let body = body.map_err(|error| wrong(error.to_string()))?.to_bytes();
    let names: Names = serde_json::from_slice(&body).map_err(|error| wrong(error.to_string()))?;
    Ok((names.repositories.unwrap_or_default(), next))
}

/// The query of the link to the next page (RFC 8288). Only the query is believed: the page is asked of the same upstream,
/// whatever host the link names.
fn next_page(headers: &HeaderMap) -> Option<String> {
    headers.get_all(LINK).iter().filter_map(|line| line.to_str().ok()).find_map(|line| {
        let (target, parameters) = line.strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.contains("rel=\"next\"") || parameters.contains("rel=next");
        let (_, query) = target.split_once('?').filter(|_| is_next)?;
        query.bytes().all(|letter| letter.is_ascii_graphic() && letter != b'#').then(|| query.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_strictly() {
        let read = |query: &str| Page::read(query).map(|page| (page.n, page.last)).ok();
        for (query, expected) in [
            ("", Some((USUAL_PAGE, None))),
            ("n=1", Some((1, None))),
            ("n=5&last=a%2Fb", Some((5, Some("a/b".to_owned())))),
            ("n=100000000", Some((LARGEST_PAGE, None))),
            ("last=", Some((USUAL_PAGE, None))),
            ("x=1", Some((USUAL_PAGE, None))),
            ("n=0", None),
            ("n=-1", None),
            ("n=1&n=1", None),
            ("last=a&last=b", None),
            ("n=99999999999999999999999", None),
        ] {
            assert_eq!(read(query), expected, "{query}");
        }
    }

    #[test]
    fn only_the_query_of_the_next_page_is_believed() {
        for (line, expected) in [
            ("</v2/_catalog?last=b&n=1000>; rel=\"next\"", Some("last=b&n=1000")),
            ("<https://elsewhere.test/v2/secret?last=b>; rel=next", Some("last=b")),
            ("</v2/_catalog?last=b>; rel=\"prev\"", None),
            ("</v2/_catalog>; rel=\"next\"", None),
            ("nothing", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, HeaderValue::from_static(line));
            assert_eq!(next_page(&headers).as_deref(), expected, "{line}");
        }
    }
}
