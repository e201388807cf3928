//! The catalog as an account may see it: the names of the repositories that it may pull, page by page.
//!
//! All upstreams are read together (`names.rs`), until the client's page is full. A page continues after the last name that was
//! shown, so that no other name is told.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use policy::scope::Scope;
use policy::target::Query;
use time::OffsetDateTime;

use super::names::Names;
use super::refusal::GatewayRefusal;
use crate::authn::Identity;
use crate::gateway::places::Places;
use crate::gateway::upstream::Upstream;
use crate::http::paging::{self, Page};
use crate::http::visit::{NotAdmitted, Visit};

/// How long it may take to fill one.
const SCAN_WITHIN: Duration = Duration::from_secs(60);

/// The client that looks at the catalog.
pub(super) struct Viewer<'a> {
    pub(super) visit: &'a Visit<'a>,
    pub(super) identity: &'a Identity,
    /// The places for catalogs that are looked through at once.
    pub(super) places: &'a Places,
    /// The headers that upstreams are asked with.
    pub(super) via: HeaderMap,
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
    let names = tokio::time::timeout(SCAN_WITHIN, scan).await.map_err(|_| GatewayRefusal::CatalogTooLong)??;
    Ok(page.reply(&names))
}

/// The names of a page, and one more where there are more.
async fn scan(
    upstreams: &[&Arc<Upstream>],
    viewer: &Viewer<'_>,
    page: &Page,
    needed: &[Scope],
) -> Result<Vec<Arc<str>>, GatewayRefusal> {
    let mut names = Names::new(upstreams, page.last.as_deref(), needed, &viewer.via);
    let mut shown = Vec::new();
    while shown.len() <= page.n {
        let next = names.next(paging::LARGEST).await?;
        if next.is_empty() {
            break;
        }
        let left = page.n.saturating_add(1).saturating_sub(shown.len());
        shown.extend(viewer.pullable(next, left).await?);
    }
    names.end(&viewer.visit.id)?;
    Ok(shown)
}

impl Viewer<'_> {
    async fn pullable(&self, names: Vec<String>, most: usize) -> Result<Vec<Arc<str>>, GatewayRefusal> {
        #[expect(clippy::disallowed_methods, reason = "a scan may take a minute, in which an account can expire")]
        let now = OffsetDateTime::now_utc();
        let names: Vec<Arc<str>> = names.into_iter().map(Arc::from).collect();
        Ok(self.visit.pullable(self.identity, names, most, now).await.map_err(NotAdmitted::from)?)
    }
}
