//! The choice of the upstream that a request is for: first by the host name that the client used, then by the repository.

use axum::http::header::HOST;
use axum::http::{HeaderMap, Uri, Version};

use crate::config;
use crate::registries::name_and_port;

/// A request that names its host in two ways, or in none that can be read: two readers could each see another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request does not name exactly one host")]
pub(in crate::http) struct NoHost;

/// The host that the client used, in lower case and with its port. HTTP/2 has it in the target, HTTP/1.1 in a header
/// (RFC 9112, section 3.2.2: a target in absolute form counts more, but a proxy before us may have looked at the other).
///
/// # Errors
/// [`NoHost`].
pub(in crate::http) fn host_of(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<String, NoHost> {
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

/// Whether an upstream is for clients that use this host name.
fn serves_host(upstream: &config::Upstream, host: &str) -> bool {
    let Some(own) = upstream.host.as_deref() else { return false };
    own == host || own == name_and_port(host).0
}

/// The length of the upstream's prefix, if the repository is below it; the longest of several counts.
fn holds(upstream: &config::Upstream, repository: &str) -> Option<usize> {
    let Some(prefix) = upstream.prefix.as_deref() else { return Some(0) };
    let rest = repository.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(prefix.len())
}

/// The upstreams that clients of this host name reach: those for the name, or, where there is none, those without one.
pub(super) fn of_host<'a, U>(upstreams: &'a [U], host: &str, settings: impl Fn(&U) -> &config::Upstream) -> Vec<&'a U> {
    let named: Vec<&U> = upstreams.iter().filter(|upstream| serves_host(settings(upstream), host)).collect();
    match named.is_empty() {
        true => upstreams.iter().filter(|upstream| settings(upstream).host.is_none()).collect(),
        false => named,
    }
}

/// Of these upstreams, the one with the longest prefix that the repository has.
pub(super) fn of_repository<'a, U>(
    upstreams: &[&'a U],
    repository: &str,
    settings: impl Fn(&U) -> &config::Upstream,
) -> Option<&'a U> {
    let holding = upstreams.iter().filter_map(|upstream| Some((holds(settings(upstream), repository)?, *upstream)));
    holding.max_by_key(|(length, _)| *length).map(|(_, upstream)| upstream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Login, Upstream, Writes};
    use axum::http::uri::{Authority, Scheme};
    use std::time::Duration;

    fn upstream(name: &str, host: Option<&str>, prefix: Option<&str>) -> Upstream {
        Upstream {
            name: name.to_owned(),
            host: host.map(str::to_owned),
            service: None,
            prefix: prefix.map(str::to_owned),
            scheme: Scheme::HTTP,
            authority: Authority::from_static("127.0.0.1:1"),
            login: Login::Anonymous,
            writes: Writes::Passed,
            authorities: None,
            connect_within: Duration::from_secs(1),
            respond_within: Duration::from_secs(1),
            idle_for: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_host_counts_first_and_then_the_longest_prefix() {
        let upstreams = [
            upstream("rest", None, None),
            upstream("team", None, Some("team")),
            upstream("team-app", None, Some("team/app")),
            upstream("docker", Some("docker.test"), Some("pub")),
            upstream("port", Some("docker.test:444"), None),
        ];
        for (host, repository, expected) in [
            ("registry.test", "other", Some("rest")),
            ("registry.test", "teams/app", Some("rest")),
            ("registry.test", "team", Some("team")),
            ("registry.test", "team/x", Some("team")),
            ("registry.test", "team/apps", Some("team")),
            ("registry.test", "team/app", Some("team-app")),
            ("registry.test", "team/app/x/y", Some("team-app")),
            ("", "team/app/x/y", Some("team-app")),
            // A host that is named has its own upstreams and no others.
            ("docker.test", "pub/a", Some("docker")),
            ("docker.test:5000", "pub/a", Some("docker")),
            ("docker.test", "team/app", None),
            ("docker.test:444", "team/app", Some("port")),
            ("docker.test:444", "pub/a", Some("docker")),
            ("xdocker.test", "pub/a", Some("rest")),
            ("docker.test.", "pub/a", Some("rest")),
        ] {
            let of_host = of_host(&upstreams, host, |upstream| upstream);
            let found = of_repository(&of_host, repository, |upstream| upstream);
            assert_eq!(found.map(|upstream| upstream.name.as_str()), expected, "{repository} at {host}");
        }
    }

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
