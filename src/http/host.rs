//! The host name that a client used: by it, the registry or the upstream is chosen that a request is for.

use axum::http::header::HOST;
use axum::http::{HeaderMap, Uri, Version};

/// A request that names its host in two ways, or in none that can be read: two readers could each see another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request does not name exactly one host")]
pub(super) struct NoHost;

/// The host that the client used, in lower case and with its port. HTTP/2 has it in the target, HTTP/1.1 in a header
/// (RFC 9112, section 3.2.2: a target in absolute form counts more, but a proxy before us may have looked at the other).
///
/// # Errors
/// [`NoHost`].
pub(super) fn host_of(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<String, NoHost> {
    let mut lines = headers.get_all(HOST).iter();
    let line = match (lines.next(), lines.next()) {
        (Some(line), None) => Some(line.to_str().map_err(|_| NoHost)?.to_ascii_lowercase()),
        (None, _) => None,
        (Some(_), Some(_)) => return Err(NoHost),
    };
    let target = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
    let host = match (target, line) {
        (Some(target), Some(line)) if target != line => return Err(NoHost),
        (Some(host), _) | (None, Some(host)) => host,
        // HTTP/1.0 has no host; such a request is for an upstream without one. From 1.1 on there has to be one (RFC 9112,
        // section 3.2): whoever leaves it out would choose which upstreams are looked at.
        (None, None) if matches!(version, Version::HTTP_09 | Version::HTTP_10) => String::new(),
        (None, None) => return Err(NoHost),
    };
    match host.bytes().all(|letter| letter.is_ascii_graphic() && !matches!(letter, b'/' | b'@' | b'?' | b'#' | b'\\')) {
        true => Ok(host),
        false => Err(NoHost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_one_host() {
        let read_by = |version: Version, target: &str, lines: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                if let Ok(line) = axum::http::HeaderValue::from_bytes(line) {
                    headers.append(HOST, line);
                }
            }
            host_of(version, &target.parse().unwrap_or_default(), &headers)
        };
        let read = |target: &str, lines: &[&[u8]]| read_by(Version::HTTP_11, target, lines);
        let host = |text: &str| Ok(text.to_owned());
        assert_eq!(read("/v2/", &[b"Docker.Test:5000"]), host("docker.test:5000"));
        assert_eq!(read("https://docker.test/v2/", &[]), host("docker.test"));
        assert_eq!(read("https://docker.test/v2/", &[b"docker.test"]), host("docker.test"));
        assert_eq!(read("/v2/", &[]), Err(NoHost));
        assert_eq!(read_by(Version::HTTP_2, "/v2/", &[]), Err(NoHost));
        assert_eq!(read_by(Version::HTTP_10, "/v2/", &[]), host(""));
        assert_eq!(read("https://docker.test/v2/", &[b"other.test"]), Err(NoHost));
        assert_eq!(read("/v2/", &[b"a", b"a"]), Err(NoHost));
        assert_eq!(read("/v2/", &[b"a", b"b"]), Err(NoHost));
        assert_eq!(read("/v2/", &[b"a/../b"]), Err(NoHost));
        assert_eq!(read("/v2/", &[b"user@b"]), Err(NoHost));
        assert_eq!(read("/v2/", &[b"\xff"]), Err(NoHost));
    }
}
