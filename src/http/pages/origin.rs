//! Whether a form was sent by a page of ours, and not by somebody else's page in the same browser (cross-site request forgery).

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use url::Url;

use super::frame::Problem;

/// Refuses what another site has sent. Browsers say so by `Sec-Fetch-Site`; older ones by `Origin`, which names our host, and the
/// scheme of `url` where it is known: a page of our host over plain HTTP can be anybody's. What says neither is no browser's form.
///
/// # Errors
/// [`Problem::OtherSite`].
pub(super) fn check(headers: &HeaderMap, url: Option<&Url>) -> Result<(), Problem> {
    let one = |name: &str| {
        let mut lines = headers.get_all(name).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => line.to_str().ok(),
            (_, _) => None,
        }
    };
    let is_ours = match one("sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => match (one(ORIGIN.as_str()), one(HOST.as_str())) {
            (Some(origin), Some(host)) => {
                let is_scheme = |scheme: &str| url.is_none_or(|url| url.scheme().eq_ignore_ascii_case(scheme));
                let sent_by = origin.split_once("://");
                sent_by.is_some_and(|(scheme, by)| is_scheme(scheme) && by.eq_ignore_ascii_case(host))
            }
            (_, _) => false,
        },
    };
    if is_ours { Ok(()) } else { Err(Problem::OtherSite) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_of_ours_sends_forms() {
        for (lines, is_ours) in [
            (&[("sec-fetch-site", "same-origin")][..], true),
            // As browsers have it whose owner sends no referrer.
            (&[("sec-fetch-site", "same-origin"), ("origin", "null")], true),
            (
                &[
                    ("sec-fetch-site", "same-site"),
                    ("origin", "https://auth.example.org"),
                    ("host", "auth.example.org"),
                ],
                false,
            ),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
            (&[("origin", "https://auth.example.org"), ("host", "auth.example.org")], true),
            (&[("origin", "http://127.0.0.1:5001"), ("host", "127.0.0.1:5001")], true),
            (&[("origin", "https://evil.example"), ("host", "auth.example.org")], false),
            (&[("origin", "null"), ("host", "null")], false),
            (&[("host", "auth.example.org")], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                if let (Ok(name), Ok(value)) = (name.parse::<axum::http::HeaderName>(), value.parse()) {
                    headers.append(name, value);
                }
            }
            assert_eq!(check(&headers, None).is_ok(), is_ours, "{lines:?}");
        }
    }

    #[test]
    fn where_our_address_is_known_its_scheme_is_too() {
        for (url, origin, is_ours) in [
            ("https://auth.example.org", "https://auth.example.org", true),
            ("https://auth.example.org", "http://auth.example.org", false),
            ("http://auth.example.org", "http://auth.example.org", true),
            ("http://auth.example.org", "https://auth.example.org", false),
        ] {
            let lines = [(ORIGIN, origin), (HOST, "auth.example.org")];
            let headers = lines.map(|(name, value)| (name, axum::http::HeaderValue::from_static(value)));
            let url = Url::parse(url).ok();
            assert!(url.is_some());
            assert_eq!(check(&headers.into_iter().collect(), url.as_ref()).is_ok(), is_ours, "{url:?} {origin}");
        }
    }
}
