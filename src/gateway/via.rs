//! `Via` (RFC 9110, section 7.6.3): by it a request that comes back to us is known, before it goes round again.
//!
//! An upstream whose address is our own, or that of another gateway with us as its upstream, would send one request round
//! until no place is left for any other.

use axum::http::header::VIA;
use axum::http::{HeaderMap, HeaderValue, Version};

use crate::decision_id::DecisionId;

/// What this process calls itself in `Via`: nobody else has the name, and it tells nothing of the machine.
#[derive(Clone)]
pub(super) struct Pseudonym(String);

impl Pseudonym {
    pub(super) fn new() -> Pseudonym {
        // Random in the same way as the ids of decisions.
        Pseudonym(format!("dockwarden-{}", DecisionId::new().as_str()))
    }

    /// Whether a request has been here before.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let lines = headers.get_all(VIA).iter().map(HeaderValue::as_bytes);
        let mut words = lines.flat_map(|line| line.split(|byte| matches!(byte, b',' | b' ' | b'\t')));
        words.any(|word| word.eq_ignore_ascii_case(self.0.as_bytes()))
    }

    /// The `Via` that a request goes on with: what it has, since who stands there may know it again, and ourselves.
    pub(super) fn onward(&self, version: Version, headers: &HeaderMap) -> HeaderMap {
        let mut onward = HeaderMap::new();
        for line in headers.get_all(VIA) {
            onward.append(VIA, line.clone());
        }
        let version = match version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        };
        if let Ok(line) = HeaderValue::try_from(format!("{version} {}", self.0)) {
            onward.append(VIA, line);
        }
        onward
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_here_is_known_again_wherever_it_went() {
        let (ours, other) = (Pseudonym::new(), Pseudonym::new());
        let name = &ours.0;
        for (lines, expected) in [
            (vec![], false),
            (vec![format!("1.1 {}", other.0)], false),
            (vec![format!("1.1 x{name}")], false),
            (vec![format!("1.1 {name}")], true),
            (vec![format!("HTTP/2 {name} (a comment)")], true),
            (vec![format!("1.1 {},2 {}", other.0, name.to_uppercase())], true),
            (vec![format!("1.1 {}", other.0), format!("1.0 proxy,\t1.1 {name}")], true),
        ] {
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(VIA, line.parse().unwrap_or(HeaderValue::from_static("")));
            }
            assert_eq!(ours.is_in(&headers), expected, "{lines:?}");
            let onward = ours.onward(Version::HTTP_2, &headers);
            assert!(ours.is_in(&onward) && onward.get_all(VIA).iter().count() == lines.len() + 1, "{onward:?}");
            assert!(other.is_in(&other.onward(Version::HTTP_11, &onward)));
        }
    }
}
