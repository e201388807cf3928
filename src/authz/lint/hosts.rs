//! Names that begin with the registry's own host, which clients leave out.

use std::collections::BTreeSet;

use policy::lint::without_host;
use policy::pattern::{Field, Pattern};
use policy::rule::Rule;

/// Registries that people keep copies of under the name they have there: below these, names are meant so.
const COPIED: [&str; 14] = [
    "docker.io",
    "ghcr.io",
    "quay.io",
    "gcr.io",
    "registry.k8s.io",
    "mcr.microsoft.com",
    "public.ecr.aws",
    "nvcr.io",
    "lscr.io",
    "pkg.dev",
    "registry.gitlab.com",
    "docker.elastic.co",
    "registry.access.redhat.com",
    "registry.redhat.io",
];
/// What a host's name ends with, besides the countries' two letters.
const ENDS: [&str; 15] = [
    "com", "net", "org", "info", "dev", "app", "cloud", "local", "lan", "internal", "intranet", "corp", "home",
    "example", "test",
];

/// The hosts that names of a list of rules begin with.
pub(super) struct Hosts {
    found: BTreeSet<String>,
    /// Those that the configuration calls a registry.
    own: BTreeSet<String>,
}

impl Hosts {
    /// `services` are the audiences of tokens, and `served` the host names of the gateway's upstreams.
    pub(super) fn new<'r>(services: &[String], served: Vec<&str>, rules: impl IntoIterator<Item = &'r Rule>) -> Hosts {
        let found = rules.into_iter().filter_map(|rule| host_of(rule.pattern(Field::Name)?)).map(|(host, _)| host);
        let services = services.iter().map(String::as_str).filter(|service| service.contains('.'));
        let without_port = |host: &str| host.split(':').next().unwrap_or_default().to_owned();
        Hosts { found: found.collect(), own: services.chain(served).map(without_port).collect() }
    }

    /// Warns of a name that begins with a host. Not where several hosts are named, or one whose images are copied
    /// everywhere: then names are kept as they are elsewhere.
    pub(super) fn lint(&self, rule: &Rule, warn: &mut impl FnMut(&str, String)) {
        let Some((host, name)) = rule.pattern(Field::Name).and_then(host_of) else { return };
        let copied = COPIED.iter().any(|copied| host == *copied || host.ends_with(&format!(".{copied}")));
        if self.own.contains(&host) || (self.found.len() == 1 && !copied) {
            let without = without_host(&name);
            warn(
                ".match.name",
                format!("no name begins with \"{host}/\" unless the repository is called so: {without}"),
            );
        }
    }
}

/// The host that a pattern begins with, if its first part looks like one, and the pattern as a name.
fn host_of(pattern: &Pattern) -> Option<(String, String)> {
    let text = match pattern.is_regex() {
        true => pattern.text().strip_prefix("/^")?.replace("\\.", ".").replace("\\/", "/"),
        false => pattern.text().to_owned(),
    };
    let (host, rest) = text.split_once('/')?;
    let rest_is_a_name = !pattern.is_regex() && !rest.is_empty();
    let name = if rest_is_a_name { text.clone() } else { String::new() };
    is_host(host).then(|| (host.to_owned(), name))
}

/// Whether this is a host's whole name, such as `registry.example.com`, and no team's (`com.example.web`, `v1.2`).
fn is_host(text: &str) -> bool {
    let labels: Vec<&str> = text.split('.').collect();
    let is_label = |label: &&str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    };
    let is_end = |label: &&&str| {
        ENDS.contains(*label) || (label.len() == 2 && label.chars().all(|letter| letter.is_ascii_lowercase()))
    };
    let (first, last) = (labels.first(), labels.last());
    let copied = COPIED.contains(&text);
    labels.iter().all(is_label)
        && (copied || (labels.len() >= 3 && last.as_ref().is_some_and(is_end) && !first.as_ref().is_some_and(is_end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_from_a_name_with_dots() {
        for host in ["registry.example.com", "docker.corp.acme.de", "hub.lab.local", "ghcr.io", "docker.io"] {
            assert!(is_host(host), "{host}");
        }
        let names = "web web.api node.js v1.2.3 com.example.web de.acme.app registry.*.com a..com acme.io";
        for name in names.split(' ') {
            assert!(!is_host(name), "{name}");
        }
    }
}
