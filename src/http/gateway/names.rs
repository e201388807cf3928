//! One sorted list of the names in the catalogs of several upstreams; catalogs that cannot be had are left out.
//!
//! Of each upstream one page is held at a time, so that a list of any length takes the memory of a few pages. A client
//! goes on after a name, which each upstream is asked to do in its own catalog: that loses and repeats nothing where all
//! of them sort alike. ECR goes on only where its own link says, so its catalog is taken whole. The order is that of
//! distribution's registry, part by part of a name: `a/b` before `a-b`.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use policy::scope::Scope;
use serde::Deserialize;
use tokio::task::JoinSet;
use tracing::warn;

use super::refusal::{GatewayRefusal, failed};
use super::route;
use crate::config::Login;
use crate::decision_id::DecisionId;
use crate::gateway::body::ClientBody;
use crate::gateway::upstream::{OnwardRequest, Upstream, UpstreamFailure};
use crate::http::paging;
use crate::json;
use crate::link::next_link;
use crate::shown::chain_of;

/// The number of upstreams' pages that are read for one page of ours.
const MAX_PAGES: usize = 500;
/// How long one page of an upstream may take, if no less is configured: long enough for a registry that goes through an
/// object store for its names, and much less than a blob may take, since everybody else's catalog waits for it.
const PAGE_WITHIN: Duration = Duration::from_secs(10);
/// The number of names of one upstream that are held at once where its catalog is taken whole. A registry of AWS's has at most 100,000
/// repositories, by their own quota.
const MAX_HELD: usize = 100_000;
/// The longest page of an upstream, in bytes.
const MAX_REPLY: usize = 2 * 1024 * 1024;

/// The list, as far as it has not been taken yet.
pub(super) struct Names<'a> {
    upstreams: &'a [&'a Arc<Upstream>],
    /// Each upstream's, in the same order.
    catalogs: Vec<Catalog>,
    /// The name that the list begins after.
    last: Option<&'a str>,
    /// The scopes that asking for a catalog needs.
    needed: Arc<[Scope]>,
    headers: HeaderMap,
    pages: usize,
}

/// The catalog of one upstream.
struct Catalog {
    /// What is left of its last page.
    names: VecDeque<String>,
    rest: Rest,
    paging: Paging,
}

/// How an upstream goes on in its catalog.
enum Paging {
    /// After a name, in the order of names.
    AfterName,
    /// Only by the link to the next page: ECR's `last` is a token of its own, and any other text is an error there. Nor does
    /// it promise an order, so these names of it are held until all are here.
    ByLink(Vec<String>),
}

/// What comes after the names of a catalog that are here.
enum Rest {
    /// The page with this query.
    Page(String),
    Nothing,
    /// The catalog could not be had.
    Failed(GatewayRefusal),
}

/// One page, and the query of the next one.
type NamesPage = (Vec<String>, Option<String>);

impl<'a> Names<'a> {
    /// The names of these upstreams' repositories, after `last`, asked for with these headers.
    pub(super) fn new(
        upstreams: &'a [&'a Arc<Upstream>],
        last: Option<&'a str>,
        needed: &[Scope],
        headers: &HeaderMap,
    ) -> Names<'a> {
        let begin = |upstream: &&Arc<Upstream>| {
            let paging = match upstream.settings.login {
                Login::Ecr(_) => Paging::ByLink(Vec::new()),
                Login::Anonymous | Login::Basic(_) | Login::TokenService { .. } => Paging::AfterName,
            };
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("n", &paging::LARGEST.to_string());
            if let (Some(last), Paging::AfterName) = (last, &paging) {
                query.append_pair("last", last);
            }
            Catalog { names: VecDeque::new(), rest: Rest::Page(query.finish()), paging }
        };
        let catalogs = upstreams.iter().map(begin).collect();
        Names { upstreams, catalogs, last, needed: needed.into(), headers: headers.clone(), pages: 0 }
    }

    /// The next names, at most so many, and fewer where more would have to be asked for first. None is the end.
    ///
    /// # Errors
    /// The list is too long.
    pub(super) async fn next(&mut self, most: usize) -> Result<Vec<String>, GatewayRefusal> {
        self.refill().await?;
        let mut next = Vec::with_capacity(most);
        while next.len() < most {
            let first = self.catalogs.iter_mut().filter(|catalog| !catalog.names.is_empty());
            let Some(catalog) = first.min_by(|one, other| match (one.names.front(), other.names.front()) {
                (Some(one), Some(other)) => order(one, other),
                // Empty ones are left out above.
                _ => Ordering::Equal,
            }) else {
                break;
            };
            next.extend(catalog.names.pop_front());
            if catalog.names.is_empty() && matches!(catalog.rest, Rest::Page(_)) {
                break;
            }
        }
        Ok(next)
    }

    /// Says of which catalogs something was left out.
    ///
    /// # Errors
    /// Nothing is left: why the first one failed.
    pub(super) fn end(self, id: &DecisionId) -> Result<(), GatewayRefusal> {
        let all = self.catalogs.len();
        let of_upstreams = self.upstreams.iter().zip(self.catalogs);
        let mut failed: Vec<(&str, GatewayRefusal)> = of_upstreams
            .filter_map(|(upstream, catalog)| match catalog.rest {
                Rest::Failed(refusal) => Some((upstream.settings.name.as_str(), refusal)),
                Rest::Page(_) | Rest::Nothing => None,
            })
            .collect();
        if failed.len() == all && !failed.is_empty() {
            return Err(failed.swap_remove(0).1);
        }
        for (upstream, refusal) in failed {
            warn!(
                decision.id = id.as_str(),
                reason = "catalog_left_out",
                upstream,
                because = refusal.shape().reason,
                cause = %chain_of(&refusal),
                "the catalog is shown without this upstream's repositories"
            );
        }
        Ok(())
    }

    /// Asks, all at the same time, the upstreams of which the next name is not known.
    async fn refill(&mut self) -> Result<(), GatewayRefusal> {
        loop {
            let mut asked = JoinSet::new();
            for (index, (catalog, upstream)) in self.catalogs.iter().zip(self.upstreams).enumerate() {
                if let (true, Rest::Page(query)) = (catalog.names.is_empty(), &catalog.rest) {
                    let (upstream, query) = (Arc::clone(upstream), query.clone());
                    let (needed, headers) = (Arc::clone(&self.needed), self.headers.clone());
                    asked.spawn(async move { (index, fetch(&upstream, &query, &needed, headers).await) });
                }
            }
            if asked.is_empty() {
                return Ok(());
            }
            self.pages += asked.len();
            if self.pages > MAX_PAGES {
                return Err(GatewayRefusal::CatalogTooLong);
            }
            for (index, page) in asked.join_all().await {
                self.take(index, page);
            }
        }
    }

    fn take(&mut self, index: usize, page: Result<NamesPage, GatewayRefusal>) {
        let (Some(catalog), Some(upstream)) = (self.catalogs.get_mut(index), self.upstreams.get(index)) else { return };
        let (names, next) = match page {
            Ok(page) => page,
            Err(refusal) => {
                catalog.rest = Rest::Failed(refusal);
                return;
            }
        };
        let own = names.into_iter().filter(|name| {
            let at = route::of_repository(self.upstreams, name, |upstream| &upstream.settings);
            // A name that another upstream is for leads there and not here.
            at.is_some_and(|at| Arc::ptr_eq(at, upstream))
        });
        let mut own: Vec<String> = own.collect();
        catalog.rest = match (next, &catalog.rest) {
            (Some(next), Rest::Page(query)) if next != *query => Rest::Page(next),
            (_, Rest::Page(_) | Rest::Nothing | Rest::Failed(_)) => Rest::Nothing,
        };
        match &mut catalog.paging {
            // What one upstream says alone is in the order that it goes on in, whatever that is.
            Paging::AfterName if self.upstreams.len() == 1 => {}
            Paging::AfterName => sort_after(self.last, &mut own),
            Paging::ByLink(held) => {
                held.append(&mut own);
                if held.len() > MAX_HELD {
                    catalog.rest = Rest::Failed(GatewayRefusal::CatalogTooLong);
                    return;
                }
                if let Rest::Page(_) = catalog.rest {
                    return;
                }
                own = std::mem::take(held);
                sort_after(self.last, &mut own);
            }
        }
        catalog.names = own.into();
    }
}

/// Leaves the names that come after `last`, in order.
fn sort_after(last: Option<&str>, names: &mut Vec<String>) {
    names.retain(|name| last.is_none_or(|last| order(last, name) == Ordering::Less));
    names.sort_by(|one, other| order(one, other));
}

/// A slash comes before everything else.
fn order(one: &str, other: &str) -> Ordering {
    ranks(one).cmp(ranks(other))
}

fn ranks(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|byte| if byte == b'/' { 0 } else { byte })
}

/// A page of an upstream's catalog, as it comes (distribution's API).
#[derive(Deserialize)]
struct CatalogReply {
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

async fn fetch(
    upstream: &Upstream,
    query: &str,
    needed: &[Scope],
    headers: HeaderMap,
) -> Result<NamesPage, GatewayRefusal> {
    let within = upstream.settings.respond_within.min(PAGE_WITHIN);
    let page = tokio::time::timeout(within, read(upstream, query, needed, headers)).await;
    page.unwrap_or_else(|_| Err(failed(upstream, UpstreamFailure::TooSlow("give a page of its catalog"))))
}

async fn read(
    upstream: &Upstream,
    query: &str,
    needed: &[Scope],
    headers: HeaderMap,
) -> Result<NamesPage, GatewayRefusal> {
    let wrong = |cause: String| GatewayRefusal::NoCatalog { upstream: upstream.settings.name.clone(), cause };
    let target = PathAndQuery::try_from(format!("/v2/_catalog?{query}")).map_err(|error| wrong(error.to_string()))?;
    let onward = OnwardRequest { method: Method::GET, target, headers, body: ClientBody::none(), needed };
    let reply = upstream.send(onward).await.map_err(|failure| failed(upstream, failure))?;
    if reply.status() != StatusCode::OK {
        return Err(wrong(format!("status {}", reply.status())));
    }
    let next = next_page(reply.headers());
    let body = Limited::new(reply.into_body(), MAX_REPLY).collect().await;
    let body = body.map_err(|error| wrong(error.to_string()))?.to_bytes();
    let reply: CatalogReply = json::object(&body).map_err(|error| wrong(error.to_string()))?;
    Ok((reply.repositories.unwrap_or_default(), next))
}

/// The query of the link to the next page (RFC 8288). Only the query is believed: the page is asked of the same upstream,
/// whatever host the link names.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let target = next_link(headers)?;
    let (_, query) = target.split_once('?')?;
    query.bytes().all(|letter| letter.is_ascii_graphic() && letter != b'#').then(|| query.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use axum::http::header::LINK;

    #[test]
    fn names_are_sorted_part_by_part() {
        let sorted = ["a", "a/b", "a/b/c", "a/b-c", "a-b", "a-b/c", "a.b/c", "a0", "ab/c", "b"];
        for (index, one) in sorted.iter().enumerate() {
            for (other_index, other) in sorted.iter().enumerate() {
                assert_eq!(order(one, other), index.cmp(&other_index), "{one} {other}");
            }
        }
    }

    #[test]
    fn only_the_query_of_the_next_page_is_believed() {
        for (line, expected) in [
            ("</v2/_catalog?last=b&n=1000>; rel=\"next\"", Some("last=b&n=1000")),
            ("<https://elsewhere.test/v2/secret?last=b>; rel=next", Some("last=b")),
            ("</v2/_catalog?last=b>; rel=\"prev\"", None),
            // A list of several, with elements that are none.
            ("</v2/_catalog?last=a>; rel=\"prev\", </v2/_catalog?last=b,c>; rel=\"next\"", Some("last=b,c")),
            ("</v2/_catalog?last=b>; rel=next, </v2/_catalog?last=a>; rel=prev", Some("last=b")),
            (", ,</v2/_catalog?last=b>; title=\"x\"; rel=\"last Next\",", Some("last=b")),
            ("</v2/_catalog?last=b>; title=next", None),
            ("</v2/_catalog>; rel=\"next\"", None),
            ("nothing", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(LINK, HeaderValue::from_static(line));
            assert_eq!(next_page(&headers).as_deref(), expected, "{line}");
        }
    }
}
