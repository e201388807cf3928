//! The `Link` to the next page of a registry's list (RFC 8288).

use axum::http::HeaderMap;
use axum::http::header::LINK;

/// Where the link to the next page leads, as it stands in the header; `None` where no line that can be read has one.
pub(crate) fn next_link(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(LINK).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(links).find(|(_, parameters)| leads_to_next(parameters)).map(|(target, _)| target)
}

/// Each link of a list, with what is said of it: the one does not end at a comma, which a target may hold.
fn links(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split('<').skip(1).filter_map(|link| link.split_once('>'))
}

/// Whether `next` is among the relations that are named.
fn leads_to_next(parameters: &str) -> bool {
    parameters.split([';', ',']).filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
        let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
        name.trim().eq_ignore_ascii_case("rel") && relations.any(|relation| relation.eq_ignore_ascii_case("next"))
    })
}
