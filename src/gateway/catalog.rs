//! The catalog as an account may see it: the names of what it may pull, in pages of its own.
//!
//! Upstreams are gone through together (`names.rs`), and no further than the client's page is full. What is not shown is
//! not named either: a page continues after the last name that was shown.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::header::LINK;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::OffsetDateTime;

use super::names::{LARGEST_PAGE, Names};
use super::places::Places;
use super::refusal::Refusal;
use super::upstream::Upstream;
use crate::access::Access;
use crate::authn::Identity;
use crate::decision_log::DecisionId;
use crate::http::door::NotAdmitted;
use crate::scope::{Action, Resource, Scope};

/// Names in a page where the client does not say.
const USUAL_PAGE: usize = 100;
/// How long it may take to fill one.
const SCAN_WITHIN: Duration = Duration::from_secs(60);
/// Names that are decided on at once: no more than a page needs are asked of a program or a server that decides.
const DECIDED_AT_ONCE: usize = 32;

/// Who looks at the catalog.
pub(super) struct Viewer<'a> {
    pub(super) access: &'a Access,
    pub(super) identity: &'a Identity,
    pub(super) address: Option<IpAddr>,
    pub(super) service: &'a str,
    /// Of the decision that let them look.
    pub(super) id: &'a DecisionId,
    /// Where a place among the catalogs that are looked through at once is to be had.
    pub(super) places: &'a Places,
    /// The headers that upstreams are asked with.
    pub(super) via: HeaderMap,
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
    let mut names = Names::of(upstreams, page.last.as_deref(), needed, &viewer.via);
    let mut shown = Vec::new();
    while shown.len() <= page.n {
        let next = names.next(DECIDED_AT_ONCE).await?;
        if next.is_empty() {
            break;
        }
        let asked: Vec<Scope> = next.iter().filter_map(|name| pulling(name)).collect();
        shown.extend(viewer.may_pull(asked).await?);
    }
    names.end(viewer.id)?;
    Ok(shown)
}

fn pulling(name: &str) -> Option<Scope> {
    let resource = Resource::new("repository", name).ok()?;
    Some(Scope { resource, class: None, actions: [Action::Pull].into(), reference: None })
}

impl Viewer<'_> {
    async fn may_pull(&self, names: Vec<Scope>) -> Result<Vec<String>, Refusal> {
        #[expect(
            clippy::disallowed_methods,
            reason = "a catalogue is gathered for many seconds, and each lot decided for the moment it is shown at"
        )]
        let now = OffsetDateTime::now_utc();
        let decision = self.access.decide(self.identity, self.address, self.service, names, now).await;
        let decision = decision.map_err(NotAdmitted::from)?;
        let granted = decision.grants().iter().filter(|grant| grant.granted.contains(&Action::Pull));
        Ok(granted.map(|grant| grant.scope.resource.name().to_owned()).collect())
    }
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
}
