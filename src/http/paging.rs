//! The pages of a catalog: what clients ask for by `n` and `last`, and the reply with the link to the next one.

use axum::Json;
use axum::http::HeaderValue;
use axum::http::header::LINK;
use axum::response::{IntoResponse as _, Response};
use policy::target::Query;
use serde_json::json;

/// The number of names in a page where the client does not say.
const USUAL: usize = 100;
/// The most names in one. Registries allow this many.
pub(super) const LARGEST: usize = 1000;

/// The page that the client asks for: at most `n` names, after `last`.
pub(super) struct Page {
    pub(super) n: usize,
    pub(super) last: Option<String>,
}

/// `n` and `last` name no page of the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the catalog has no such page")]
pub(super) struct NoPage;

impl Page {
    /// Reads `n` and `last`.
    ///
    /// # Errors
    /// One of them is there twice, or `n` is no number of names.
    pub(super) fn read(query: &Query) -> Result<Page, NoPage> {
        let (mut n, mut last) = (None, None);
        for parameter in query.parameters() {
            let slot = match parameter.name.as_str() {
                "n" => &mut n,
                "last" => &mut last,
                _ => continue,
            };
            if slot.replace(parameter.value.as_str()).is_some() {
                return Err(NoPage);
            }
        }
        let n = match n {
            Some(text) => text.parse().ok().filter(|n| *n > 0).ok_or(NoPage)?,
            None => USUAL,
        };
        Ok(Page { n: n.min(LARGEST), last: last.filter(|last| !last.is_empty()).map(str::to_owned) })
    }

    /// The reply with these names, of which one more than the page has tells that there are more.
    pub(super) fn reply<Name: AsRef<str>>(&self, names: &[Name]) -> Response {
        let shown: Vec<&str> = names.iter().take(self.n).map(AsRef::as_ref).collect();
        let link = shown.last().filter(|_| names.len() > self.n).map(|last| {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("last", last)
                .append_pair("n", &self.n.to_string())
                .finish();
            format!("</v2/_catalog?{query}>; rel=\"next\"")
        });
        let mut response = Json(json!({ "repositories": shown })).into_response();
        if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
            response.headers_mut().insert(LINK, link);
        }
        response
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
            ("", Some((USUAL, None))),
            ("n=1", Some((1, None))),
            ("n=5&last=a%2Fb", Some((5, Some("a/b".to_owned())))),
            ("n=100000000", Some((LARGEST, None))),
            ("last=", Some((USUAL, None))),
            ("x=1", Some((USUAL, None))),
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
