//! The catalog as an account may see it: the names of the repositories that it may pull, page by page.
//!
//! All upstreams are read together (`names.rs`), until the client's page is full. A page continues after the last name that was
//! shown, so that no other name is told.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::Response;
use policy::scope::{Action, Resource, Scope};
use policy::target::Query;
use time::OffsetDateTime;

use super::names::Names;
use super::refusal::GatewayRefusal;
use crate::authn::Identity;
use crate::gateway::places::Places;
use crate::gateway::upstream::Upstream;
use crate::http::page::Page;
use crate::http::visit::{NotAdmitted, Visit};

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
