//! The `registries:` section: the registries that tokens are for, how each is reached, and which groups it is for.

pub mod events;

use std::collections::BTreeSet;

use settings::yaml::Value;
use settings::{At, Field, Noted, Refusal, Secrets, Section};
use url::Url;

use events::EventsSecret;

pub use crate::dial::networks::{Networks, NotAllowed};
use crate::pem::named::read_authorities;
use crate::pem::tls::Authorities;

/// The name of the section.
pub const NAME: &str = "registries";
/// The longest name of a registry, in bytes: what tokens may be asked for.
const LONGEST_SERVICE: usize = 255;
/// The longest host name, in bytes: what DNS has.
const LONGEST_HOST: usize = 253;
/// The most host names of a registry that a manager declares.
pub const MOST_HOSTS: usize = 32;
/// The shortest secret of events, in bytes: whoever guesses it says what is in the registry.
const SHORTEST_SECRET: usize = 16;

/// The registries that somebody declared, each with a name of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Registries(Vec<Registry>);

/// A registry, as it was declared.
#[derive(Clone, Debug, PartialEq)]
pub struct Registry {
    /// What its `REGISTRY_AUTH_TOKEN_SERVICE` says: the audience of its tokens, and its name everywhere.
    pub service: String,
    /// Where it is: a scheme, a host and perhaps a port.
    pub url: Url,
    /// The host names, in lower case and perhaps with a port, under which clients reach it; at least one.
    pub hosts: Vec<String>,
    /// The authorities that its certificate may come from, in place of the public ones.
    pub(crate) authorities: Option<Authorities>,
    /// What pushing needs.
    pub restriction: Restriction,
    /// The groups, by name or id, that it is published to.
    pub publications: Vec<String>,
    /// The groups, by name or id, that are responsible for it.
    pub responsibles: Vec<String>,
    /// What its notifications are known by; nothing where it sends none.
    pub events: Vec<EventsSecret>,
    /// Who declared it.
    pub declared: DeclaredBy,
}

/// Who said where a registry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeclaredBy {
    /// The operator, in the configuration file.
    Operator,
    /// Whoever may declare registries while the server runs, who may not have it connect to just anywhere.
    Manager,
}

impl Registry {
    /// A registry of which nothing is known but its name and its address: it is restricted, and for nobody.
    pub fn from_address(service: &str, url: Url) -> Registry {
        Registry {
            service: service.to_owned(),
            hosts: usual_hosts(service, &url),
            url,
            authorities: None,
            restriction: Restriction::Restricted,
            publications: Vec::new(),
            responsibles: Vec::new(),
            events: Vec::new(),
            declared: DeclaredBy::Manager,
        }
    }

    /// Whether clients who mean another registry would come to this one: by a host that both have, or by one with a port where the other
    /// has all ports of that name. The place where this one is itself is nobody else's.
    pub(crate) fn takes_a_host_of(&self, other: &Registry) -> bool {
        let place = host_of(&self.url);
        self.hosts.iter().any(|host| {
            let (name, port) = name_and_port(host);
            let has_all_ports = || other.hosts.iter().any(|own| own == name);
            other.hosts.contains(host) || (port.is_some() && place.as_ref() != Some(host) && has_all_ports())
        })
    }

    /// Whether the same is asked in the same way: what else was declared of it makes no difference to its client.
    pub(crate) fn is_asked_as(&self, other: &Registry) -> bool {
        self.service == other.service
            && self.url == other.url
            && self.authorities == other.authorities
            && self.declared == other.declared
    }
}

/// What pushing to a registry needs, beside the privilege.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restriction {
    /// That it is published to a group of theirs.
    Open,
    /// That a group of theirs is responsible for it, too.
    Restricted,
}

impl Restriction {
    /// What `restricted` says.
    pub fn from_flag(restricted: bool) -> Restriction {
        match restricted {
            true => Restriction::Restricted,
            false => Restriction::Open,
        }
    }

    /// The same as `restricted` says it.
    pub fn is_restricted(self) -> bool {
        match self {
            Restriction::Restricted => true,
            Restriction::Open => false,
        }
    }
}

/// The section as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Declared {
    /// The registries.
    pub registries: Registries,
    /// The groups that they name, each where it stands: who knows the groups says which there are not.
    pub groups: Vec<At<String>>,
}

impl Registries {
    /// These registries, of which each has another name.
    pub fn from_declared(registries: impl IntoIterator<Item = Registry>) -> Registries {
        Registries(registries.into_iter().collect())
    }

    /// All of them, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Registry> {
        self.0.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The registry of this name.
    pub fn get(&self, service: &str) -> Option<&Registry> {
        self.0.iter().find(|registry| registry.service == service)
    }

    /// The registry that clients mean by a `Host`: the one of the operator's that has it in its `hosts`, with its port before without, or
    /// the only one that the operator declared. Only where neither is there, the same of those that managers declared.
    ///
    /// What managers declare takes nobody's clients away: neither a host of the operator's registries, nor one of these `own` names of
    /// ours, nor, by being there, those who mean the operator's only one.
    pub fn of_host(&self, host: &str, own: &BTreeSet<String>) -> Option<&Registry> {
        let host = host_from(host);
        let (name, _) = name_and_port(&host);
        let of = |by: DeclaredBy| self.0.iter().filter(move |registry| registry.declared == by);
        let has = |by: DeclaredBy, host: &str| of(by).find(|registry| registry.hosts.iter().any(|own| own == host));
        let meant = |by: DeclaredBy| has(by, &host).or_else(|| has(by, name));
        let only = |by: DeclaredBy| {
            let mut all = of(by);
            all.next().filter(|_| all.next().is_none())
        };
        let is_ours = own.contains(&host) || own.contains(name);
        let by_operator = meant(DeclaredBy::Operator).or_else(|| only(DeclaredBy::Operator));
        by_operator.or_else(|| meant(DeclaredBy::Manager).filter(|_| !is_ours)).or_else(|| {
            match of(DeclaredBy::Operator).next() {
                Some(_) => None,
                None => only(DeclaredBy::Manager),
            }
        })
    }
}

/// A host as it is compared: in lower case, and without the dot at the end of its name, which means the same place.
pub fn host_from(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    match name_and_port(&text) {
        (name, Some(port)) => format!("{}:{port}", name.strip_suffix('.').unwrap_or(name)),
        (name, None) => name.strip_suffix('.').unwrap_or(name).to_owned(),
    }
}

/// A host's name, and its port where there is one.
pub(crate) fn name_and_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => (name, Some(port)),
        Some(_) | None => (host, None),
    }
}

/// A registry's address: a scheme of HTTP and a host, without a path or a login in it, since addresses are logged.
///
/// # Errors
/// What is wrong with it.
pub fn read_url(text: &str) -> Result<Url, Refusal> {
    let is_one = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    };
    let example = "write https://registry.example.org or http://127.0.0.1:5000, without a path";
    let url = Url::parse(text).ok().filter(is_one);
    url.ok_or_else(|| Refusal::is(format!("not the address of a registry; {example}")))
}

/// The name of a registry, as its tokens and its rules have it.
///
/// # Errors
/// What is wrong with it.
pub fn check_service(text: &str) -> Result<(), &'static str> {
    match text {
        "" => Err("a registry needs a name, its REGISTRY_AUTH_TOKEN_SERVICE"),
        _ if text.len() > LONGEST_SERVICE => Err("a registry's name has 255 bytes at most"),
        _ if text.contains(|letter: char| letter.is_control() || letter.is_whitespace()) => {
            Err("a registry's name is one word; write it as its REGISTRY_AUTH_TOKEN_SERVICE has it")
        }
        _ if text.contains(['"', '\'']) => {
            Err("quotes are part of this name; docker's -e keeps them too, so leave them out in both places")
        }
        _ => Ok(()),
    }
}

/// The hosts that are meant where a registry names none: its name, and the host of its address.
pub fn usual_hosts(service: &str, url: &Url) -> Vec<String> {
    let mut hosts = Vec::new();
    if is_host(service) {
        hosts.push(host_from(service));
    }
    hosts.extend(host_of(url));
    hosts.dedup();
    hosts
}

/// The host of an address, with its port where that is not the scheme's own.
fn host_of(url: &Url) -> Option<String> {
    let host = host_from(url.host_str()?);
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    })
}

/// Whether a text can be what clients send as `Host`.
pub fn is_host(text: &str) -> bool {
    !host_from(text).is_empty()
        && text.len() <= LONGEST_HOST
        && text
            .bytes()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
}

/// Reads the section. `None` where something is wrong with it.
pub fn read(field: &Field<'_>) -> Option<Declared> {
    let before = field.problem_count();
    let entries = match field.value() {
        Value::Null => Vec::new(),
        Value::Text(_) | Value::List(_) | Value::Map(_) => field.entries().unwrap_or_else(|| {
            field.problem(
                "registries by their names are expected here: registries: {registry.example.org: {url: \"https://…\"}}",
            );
            Vec::new()
        }),
    };
    let mut groups = Vec::new();
    let mut read: Vec<(Field<'_>, Registry)> = Vec::new();
    for (service, entry) in entries {
        if let Err(message) = check_service(service) {
            field.problem_at(entry.key_place(), message);
        } else if let Some(registry) = entry.section().and_then(|section| read_registry(service, section, &mut groups))
        {
            check_beside(&read, &entry, &registry);
            read.push((entry, registry));
        }
    }
    let registries = Registries(read.into_iter().map(|(_, registry)| registry).collect());
    (field.problem_count() == before).then_some(Declared { registries, groups })
}

/// Notes what two registries have that only one may have.
fn check_beside(read: &[(Field<'_>, Registry)], entry: &Field<'_>, registry: &Registry) {
    for (_, other) in read {
        let name = &other.service;
        if other.url == registry.url {
            entry.problem(format!("{name} has the same url; one registry is declared once"));
        } else if let Some(host) = registry.hosts.iter().find(|host| other.hosts.contains(host)) {
            entry.problem(format!(
                "clients reach {name} as {host} too, and only one of them can be meant; write hosts: for each"
            ));
        }
        let is_read = match entry.secrets() {
            Secrets::Read => true,
            Secrets::Skip => false,
        };
        if is_read && registry.events.iter().any(|secret| other.events.contains(secret)) {
            entry.problem(format!(
                "events of {name} have the same secret, and it is what tells whose they are; give each registry its own"
            ));
        }
    }
}

fn read_registry(service: &str, mut section: Section<'_>, groups: &mut Vec<At<String>>) -> Option<Registry> {
    let url = section.parsed("url", read_url);
    if url.is_none() && !section.has("url") {
        section.missing("url", "the address of the registry is needed, such as https://registry.example.org");
    }
    let hosts = section.texts("hosts").map(|hosts| {
        if hosts.is_empty() {
            section.missing(
                "hosts",
                "the list names no host; leave the key out for the registry's name and its url's host",
            );
        }
        let mut read = Vec::with_capacity(hosts.len());
        for host in hosts {
            match is_host(&host.value) {
                true => read.push(host_from(&host.value)),
                false => section.problem(
                    &host.place,
                    "hosts",
                    "this is no host name; write it as clients do: docker.example.org, perhaps with :port",
                ),
            }
        }
        read
    });
    let authorities = match section.path("ca_certificate") {
        None => Ok(None),
        Some(file) => read_authorities(&section, &file, "ca_certificate").map(Some),
    };
    if let (Ok(Some(_)), Some(At { place, value })) = (&authorities, &url)
        && value.scheme() == "http"
    {
        section.problem(place, "url", "an authority is named, and TLS is not spoken; write https://");
    }
    section.refuse(
        "insecure",
        "a certificate that nobody checks is anybody's; name the registry's authority in ca_certificate, or write http:// where \
         there is no TLS",
    );
    // Who does not say gets the narrower of both.
    let restricted = section.flag("restricted").is_none_or(|at| at.value);
    let publications = read_names(&mut section, "publications", groups);
    let responsibles = read_names(&mut section, "responsibles", groups);
    let events = match section.section("events") {
        None => Ok(None),
        Some(events) => read_events(events).map(Some),
    };
    section.finish();
    let url = url?.value;
    Some(Registry {
        service: service.to_owned(),
        hosts: hosts.unwrap_or_else(|| usual_hosts(service, &url)),
        url,
        authorities: authorities.ok()?,
        restriction: Restriction::from_flag(restricted),
        publications,
        responsibles,
        events: events.ok()?.into_iter().collect(),
        declared: DeclaredBy::Operator,
    })
}

/// Reads a list of names of something that is declared elsewhere, and notes where each stands.
pub(crate) fn read_names(
    section: &mut Section<'_>,
    key: &'static str,
    references: &mut Vec<At<String>>,
) -> Vec<String> {
    let named = section.texts(key).unwrap_or_default();
    references.extend(named.iter().cloned());
    named.into_iter().map(|at| at.value).collect()
}

fn read_events(mut section: Section<'_>) -> Result<EventsSecret, Noted> {
    let secret = section.secret("secret", "secret_file");
    let is_read = match section.secrets() {
        Secrets::Read => true,
        Secrets::Skip => false,
    };
    let secret = match secret? {
        None => {
            section.missing(
                "secret_file",
                "events without a secret are anybody's; name a file with a random text, and send it as Authorization: Bearer",
            );
            Err(Noted)
        }
        Some(At { place, value }) if is_read && value.len() < SHORTEST_SECRET => {
            section.problem(&place, "secret_file", "this can be guessed; make one with: openssl rand -hex 32");
            Err(Noted)
        }
        Some(At { value, .. }) => Ok(EventsSecret::from_text(&value)),
    };
    section.finish();
    secret
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use settings::{Findings, Reading, yaml};

    use super::*;

    fn declared(text: &str) -> (Option<Declared>, Findings) {
        let root = yaml::parse(text).unwrap();
        let reading = Reading::default();
        let declared = read(&reading.field(&root, NAME, Secrets::Read));
        (declared, reading.into_findings())
    }

    #[test]
    fn what_is_declared_is_read_and_what_is_left_out_is_the_narrower() {
        let text = "
            reg: {url: 'http://127.0.0.1:5000', restricted: false, publications: [dev], responsibles: [ops], \
                  events: {secret: 0123456789abcdef}}
            vault.example.org: {url: 'https://Vault.internal'}
            other: {url: 'https://other.internal:8443/', hosts: [Other.example.org]}";
        let (declared, findings) = declared(text);
        assert!(findings.problems.is_empty(), "{:?}", findings.problems);
        let Declared { registries, groups } = declared.unwrap();
        let shown = |registry: &Registry| {
            let Registry { service, hosts, restriction, publications, .. } = registry;
            (service.clone(), hosts.join(" "), restriction.is_restricted(), publications.join(" "))
        };
        let shown: Vec<_> = registries.iter().map(shown).collect();
        let expected = [
            ("reg", "reg 127.0.0.1:5000", false, "dev"),
            ("vault.example.org", "vault.example.org vault.internal", true, ""),
            ("other", "other.example.org", true, ""),
        ];
        let expected = expected.map(|(service, hosts, restricted, publications)| {
            (service.to_owned(), hosts.to_owned(), restricted, publications.to_owned())
        });
        assert_eq!(shown, expected);
        assert_eq!(groups.iter().map(|at| at.value.as_str()).collect::<Vec<_>>(), ["dev", "ops"]);
        for (host, service) in [
            ("reg", Some("reg")),
            ("127.0.0.1:5000", Some("reg")),
            ("VAULT.example.org", Some("vault.example.org")),
            ("vault.internal:443", Some("vault.example.org")),
            ("127.0.0.1", None),
            ("nobody.example.org", None),
        ] {
            let found = registries.of_host(host, &BTreeSet::new());
            assert_eq!(found.map(|found| found.service.as_str()), service, "{host}");
        }
        let only = Registries(registries.0.into_iter().take(1).collect());
        let found = only.of_host("nobody.example.org", &BTreeSet::new());
        assert_eq!(found.map(|found| found.service.as_str()), Some("reg"));
    }

    /// Clients who search send their login with the `Host`: a manager's registry gets none that is not meant for it.
    #[test]
    fn what_managers_declare_takes_no_host_away() {
        let one = |service: &str, declared: DeclaredBy, hosts: &[&str]| {
            let url = format!("https://{service}.internal").parse().unwrap();
            let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
            Registry { declared, hosts, ..Registry::from_address(service, url) }
        };
        let (file, kept) = (DeclaredBy::Operator, DeclaredBy::Manager);
        let reg = || one("reg", file, &["reg.example.org"]);
        let other = || one("other", file, &["other.example.org"]);
        let thief =
            || one("thief", kept, &["thief.example.org", "reg.example.org:5000", "auth.example.org", "localhost"]);
        let more = || one("more", kept, &["more.example.org"]);
        let own = BTreeSet::from(["auth.example.org".to_owned()]);
        for (all, host, expected) in [
            (vec![thief(), reg()], "unclaimed.example.org", Some("reg")),
            (vec![thief(), reg(), more()], "unclaimed.example.org", Some("reg")),
            (vec![thief(), reg()], "auth.example.org", Some("reg")),
            (vec![thief(), reg()], "AUTH.example.org:5001", Some("reg")),
            (vec![thief(), reg()], "reg.example.org:5000", Some("reg")),
            (vec![thief(), reg()], "thief.example.org", Some("reg")),
            (vec![thief(), reg(), other()], "thief.example.org", Some("thief")),
            (vec![thief(), reg(), other()], "Thief.example.org.:443", Some("thief")),
            (vec![thief(), reg(), other()], "auth.example.org.", None),
            (vec![thief(), reg(), other()], "reg.example.org.", Some("reg")),
            (vec![thief(), reg(), other()], "reg.example.org.:5000", Some("reg")),
            (vec![thief(), reg(), other()], "unclaimed.example.org", None),
            (vec![thief(), reg(), other()], "other.example.org:443", Some("other")),
            (vec![thief()], "unclaimed.example.org", Some("thief")),
            (vec![thief(), more()], "unclaimed.example.org", None),
            (vec![thief(), more()], "auth.example.org", None),
            (vec![], "auth.example.org", None),
        ] {
            let all = Registries::from_declared(all);
            let found = all.of_host(host, &own).map(|found| found.service.as_str());
            assert_eq!(found, expected, "{host} of {:?}", all.iter().map(|one| &one.service).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_write_instead() {
        let cases = [
            ("[a]", "registries by their names are expected here"),
            ("{a: {}}", "the address of the registry is needed"),
            ("{'a b': {url: 'https://a'}}", "one word"),
            ("{'': {url: 'https://a'}}", "REGISTRY_AUTH_TOKEN_SERVICE"),
            ("{'\"a\"': {url: 'https://a'}}", "quotes are part"),
            ("{a: {url: 'https://a/v2/'}}", "not the address of a registry"),
            ("{a: {url: 'https://u:p@a'}}", "not the address of a registry"),
            ("{a: {url: 'ftp://a'}}", "not the address of a registry"),
            ("{a: {url: 'https://a', insecure: true}}", "ca_certificate"),
            ("{a: {url: 'https://a', hosts: []}}", "names no host"),
            ("{a: {url: 'https://a', hosts: ['https://a']}}", "no host name"),
            ("{a: {url: 'https://a', events: {}}}", "anybody's"),
            ("{a: {url: 'https://a', events: {secret: short}}}", "guessed"),
            ("{a: {url: 'https://a', restricted: maybe}}", "neither true nor false"),
            ("{a: {url: 'https://a', published: [dev]}}", "there is no such key"),
            ("{a: {url: 'https://a'}, b: {url: 'https://a'}}", "the same url"),
            ("{a: {url: 'https://x'}, b: {url: 'https://y', hosts: [a]}}", "only one of them can be meant"),
            (
                "{a: {url: 'https://x', events: {secret: 0123456789abcdef}}, \
                 b: {url: 'https://y', events: {secret: 0123456789abcdef}}}",
                "same secret",
            ),
        ];
        for (text, message) in cases {
            let (declared, findings) = declared(text);
            assert!(declared.is_none(), "{text}");
            let told: Vec<&str> = findings.problems.iter().map(|problem| problem.message.as_str()).collect();
            assert!(told.len() == 1 && told.iter().all(|told| told.contains(message)), "{text}: {told:?}");
        }
    }
}
