//! Whether a form was sent by a page of ours, and not by somebody else's page in the same browser (cross-site request forgery).

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};

use super::frame::Problem;

/// Refuses what another site has sent. Browsers say so by `Sec-Fetch-Site`; older ones by `Origin`, which names our host. What says
/// neither is no browser's form.
///
/// # Errors
/// [`Problem::OtherSite`].
pub(super) fn check(headers: &HeaderMap) -> Result<(), Problem> {
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
                let sent_by = origin.split_once("://").map(|(_, rest)| rest);
                sent_by.is_some_and(|by| by.eq_ignore_ascii_case(host))
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
            // As browsers have it under `Referrer-Policy: no-referrer`.
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
            assert_eq!(check(&headers).is_ok(), is_ours, "{lines:?}");
        }
    }
}
