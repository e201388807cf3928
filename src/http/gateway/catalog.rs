//! The catalog as an account may see it: the names of the repositories that it may pull, page by page.
//!
//! All upstreams are read together (`names.rs`), until the client's page is full. A page continues after the last name that was
//! shown, so that no other name is told.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::http::header::LINK;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use policy::scope::{Action, Resource, Scope};
use policy::target::Query;
use serde_json::json;
use time::OffsetDateTime;

use super::names::{LARGEST_PAGE, Names};
use super::refusal::GatewayRefusal;
use crate::authn::Identity;
use crate::gateway::places::Places;
use crate::gateway::upstream::Upstream;
use crate::http::visit::{NotAdmitted, Visit};

/// The number of names in a page where the client does not say.
const USUAL_PAGE: usize = 100;
/// How long it may take to fill one.
const SCAN_WITHIN: Duration = Duration::from_secs(60);
/// The number of names that are decided on at once: a program or a server that decides is asked about no more than a page needs.
const DECIDED_AT_ONCE: usize = 32;

/// The client that looks at the catalog.
pub(super) struct Viewer<'a> {
    pub(super) visit: &'a Visit<'a>,
    pub(super) identity: &'a Identity,
    /// The places for catalogs that are looked through at once.
    pub(super) places: &'a Places,
    /// The headers that upstreams are asked with.
    pub(super) via: HeaderMap,
}

/// The page that the client asks for: at most `n` names, after `last`.
struct Page {
    n: usize,
    last: Option<String>,
}

impl Page {
    fn read(query: &Query) -> Result<Page, GatewayRefusal> {
        let (mut n, mut last) = (None, None);
        for parameter in query.parameters() {
            let slot = match parameter.name.as_str() {
                "n" => &mut n,
                "last" => &mut last,
                _ => continue,
            };
            if slot.replace(parameter.value.as_str()).is_some() {
                return Err(GatewayRefusal::NoPage);
            }
        }
        let n = match n {
            Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or(GatewayRefusal::NoPage)?,
            None => USUAL_PAGE,
        };
        Ok(Page { n: n.min(LARGEST_PAGE), last: last.filter(|last| !last.is_empty()).map(str::to_owned) })
    }
}

/// The reply to a client that asks for the catalog of these upstreams.
///
/// # Errors
/// Why there is none.
pub(super) async fn answer(
    upstreams: &[&Arc<Upstream>],
    viewer: &Viewer<'_>,
    query: &Query,
    needed: &[Scope],
) -> Result<Response, GatewayRefusal> {
    let page = Page::read(query)?;
    let _place = viewer.places.catalog(viewer.visit.asker.address).await?;
    let scan = scan(upstreams, viewer, &page, needed);
    let mut names = tokio::time::timeout(SCAN_WITHIN, scan).await.map_err(|_| GatewayRefusal::CatalogTooLong)??;
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
) -> Result<Vec<String>, GatewayRefusal> {
    let mut names = Names::new(upstreams, page.last.as_deref(), needed, &viewer.via);
    let mut shown = Vec::new();
    while shown.len() <= page.n {
        let next = names.next(DECIDED_AT_ONCE).await?;
        if next.is_empty() {
            break;
        }
        let asked: Vec<Scope> = next.iter().filter_map(|name| pulling(name)).collect();
        shown.extend(viewer.may_pull(asked).await?);
    }
    names.end(&viewer.visit.id)?;
    Ok(shown)
}

fn pulling(name: &str) -> Option<Scope> {
    let resource = Resource::new("repository", name).ok()?;
    Some(Scope { resource, class: None, actions: [Action::Pull].into(), reference: None })
}

impl Viewer<'_> {
    async fn may_pull(&self, names: Vec<Scope>) -> Result<Vec<String>, GatewayRefusal> {
        #[expect(clippy::disallowed_methods, reason = "a scan may take a minute, in which an account can expire")]
        let now = OffsetDateTime::now_utc();
        let (access, asker) = (&self.visit.snapshot.access, &self.visit.asker);
        let decision = access.decide(self.identity, asker.address, &asker.service, names, now).await;
        let decision = decision.map_err(NotAdmitted::from)?;
        let granted = decision.grants().iter().filter(|grant| grant.granted.contains(&Action::Pull));
        Ok(granted.map(|grant| grant.scope.resource.name().to_owned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::target::Target;

    #[test]
    fn pages_are_read_strictly() {
        let read = |query: &str| match Target::parse(&format!("/v2/_catalog?{query}")) {
            Ok(Target::Catalog(query)) => Page::read(&query).map(|page| (page.n, page.last)).ok(),
            other => unreachable!("{other:?}"),
        };
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
