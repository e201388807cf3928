//! The choice of the upstream that a request is for: first by the host name that the client used, then by the repository.

use crate::config;
use crate::registries::name_and_port;

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
}
