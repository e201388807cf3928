//! The `server:` section: where to listen, with which certificate, and whom to believe about the client's address.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use policy::rule::parse_network;
use rustls::crypto::CryptoProvider;
use rustls::server::ResolvesServerCert;
use rustls::{ServerConfig, SupportedProtocolVersion};
use settings::{At, Holds, Noted, Place, Refusal, Secrets, Section, number};
use time::OffsetDateTime;

use crate::acme;
use crate::client_address::{AddressSource, Peers, Proxies};
use crate::connections::{LARGEST_SHARE, LONGEST_REST, PROXY_REST, USUAL_SHARE};
use crate::pem::named::read_pair;
use crate::pem::tls::{TlsIdentity, TlsProblem};

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where tokens are asked for.
    pub listen: ListenAddress,
    /// Where metrics and health are served; `None` means on the same listener.
    pub admin: Option<ListenAddress>,
    /// What the token endpoint's path starts with: empty, or `/some/path` without a slash at its end.
    pub path_prefix: String,
    /// Where a client's address is taken from.
    pub address: AddressSource,
    /// How many connections one network may have open, at least one.
    pub connections_per_address: usize,
    /// How long a connection of a trusted proxy may rest between two requests, where it is written.
    pub idle_timeout: Option<At<Duration>>,
    /// The files of certificate and key, where they are configured.
    pub pair: Option<FilesOfPair>,
    /// What is ordered of an authority in place of such files.
    pub acme: Option<acme::Settings>,
    /// TLS, where a certificate is configured and was read, or is ordered: it shows none by itself then.
    pub tls: Option<Tls>,
    /// Whether replies tell browsers to use TLS from now on.
    pub hsts: Hsts,
}

impl Server {
    /// Whether the listener speaks TLS.
    pub fn speaks_tls(&self) -> bool {
        self.pair.is_some() || self.acme.is_some()
    }

    /// How long a connection of a trusted proxy may rest between two requests.
    pub fn proxy_rest(&self) -> Duration {
        self.idle_timeout.as_ref().map_or(PROXY_REST, |at| at.value)
    }

    /// Whether some connections are known to be proxies', or of programs of this machine.
    pub(super) fn knows_proxies(&self) -> bool {
        matches!(self.listen, ListenAddress::Unix(_)) || matches!(self.address, AddressSource::Proxies(_))
    }
}

/// Whether replies carry `Strict-Transport-Security`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hsts {
    /// They do.
    Sent,
    /// They do not.
    Omitted,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP port; an empty host means every address of the machine, IPv4 and IPv6.
    Tcp {
        /// Host name or address, without brackets.
        host: String,
        /// Port; 0 lets the system choose.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether whoever listens here leaves no room for the other, as far as the two texts tell: only the system knows which
    /// addresses a name has.
    pub(super) fn takes(&self, other: &ListenAddress) -> bool {
        match (self, other) {
            (ListenAddress::Unix(one), ListenAddress::Unix(other)) => one == other,
            (ListenAddress::Tcp { port: 0, .. }, _) => false,
            (ListenAddress::Tcp { host, port }, ListenAddress::Tcp { host: other, port: others }) => {
                port == others && (host.eq_ignore_ascii_case(other) || host.is_empty() || other.is_empty())
            }
            (ListenAddress::Tcp { .. }, ListenAddress::Unix(_))
            | (ListenAddress::Unix(_), ListenAddress::Tcp { .. }) => false,
        }
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ListenAddress::Tcp { host, port } if host.contains(':') => write!(out, "[{host}]:{port}"),
            ListenAddress::Tcp { host, port } => write!(out, "{host}:{port}"),
            ListenAddress::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// What TLS connections are made with.
#[derive(Clone, Debug)]
pub struct Tls {
    /// What the TLS library needs.
    pub config: Arc<ServerConfig>,
    /// When the certificate of the files ends.
    pub ends: Option<OffsetDateTime>,
}

/// The files of a certificate and of its key.
pub(super) type FilesOfPair = (At<PathBuf>, At<PathBuf>);

/// Reads `certificate` and `key`, `None` where neither is named. One without the other is a problem.
pub(super) fn paths_of_pair(section: &mut Section<'_>) -> Result<Option<FilesOfPair>, Noted> {
    let (only, missing, message) = match (section.path("certificate"), section.path("key")) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => return Ok(Some((certificate, key))),
        (Some(only), None) => (only, "key", "a certificate is given without its key"),
        (None, Some(only)) => (only, "certificate", "a key is given without its certificate"),
    };
    section.problem(&only.place, missing, message);
    Err(Noted)
}

/// Reads the section.
///
/// `noted` is where certificate and key are noted as soon as they are known: they sign tokens too where nothing else is
/// named, whatever else is wrong in this section.
pub(super) fn read(mut section: Section<'_>, noted: &mut Option<FilesOfPair>) -> Option<Server> {
    let unix = section.word("net", |text| match text {
        "" | "tcp" => Ok(false),
        "unix" => Ok(true),
        _ => Err(Refusal::is("neither tcp nor unix")),
    });
    let unix = unix.is_some_and(|at| at.value);
    let written = section.text("addr");
    let listen = match &written {
        Some(addr) if unix => socket_path(addr.value.trim_start_matches("unix:"))
            .map_err(|refusal| section.refuse_word(addr, "addr", &refusal))
            .ok(),
        Some(addr) => parse_address(&addr.value).map_err(|refusal| section.refuse_word(addr, "addr", &refusal)).ok(),
        None => {
            section.missing("addr", "an address to listen on is needed; write addr: \":5001\"");
            None
        }
    };
    let admin = section.word("admin_addr", parse_address);
    if let (Some(listen), Some(At { place, value })) = (&listen, &admin)
        && listen.takes(value)
    {
        section.problem(place, "admin_addr", "this is addr, and only one can listen there; write another port");
    }
    let admin = admin.map(|at| at.value);
    let path_prefix = section.word("path_prefix", |text| match text.trim_end_matches('/') {
        "" => Ok(String::new()),
        path if path.starts_with('/') && path.split('/').skip(1).all(is_plain_segment) => Ok(path.to_owned()),
        _ => Err(Refusal::is("not a path; write it like /registry, with letters, digits, dots and dashes")),
    });
    let address = read_address_source(&mut section);
    let connections_per_address = section.word("max_connections_per_address", |text| {
        let number = number::whole(text).and_then(|number| usize::try_from(number).ok());
        number
            .filter(|number| (1..=LARGEST_SHARE).contains(number))
            .ok_or_else(|| Refusal::is(format!("not a number from 1 to {LARGEST_SHARE}")))
    });
    let idle_timeout = section.parsed("idle_timeout", |text| match number::duration(text)? {
        rest if (PROXY_REST..=LONGEST_REST).contains(&rest) => Ok(rest),
        _ => Err(Refusal::says(format!(
            "proxies' connections may rest for {} seconds as it is, and for {} at most; write 620 for a balancer that keeps them \
             for 600",
            PROXY_REST.as_secs(),
            LONGEST_REST.as_secs()
        ))),
    });
    let hsts = match section.flag("hsts") {
        Some(At { value: true, .. }) => Hsts::Sent,
        Some(At { value: false, .. }) | None => Hsts::Omitted,
    };
    let acme = section.section("letsencrypt").map(acme::read);
    let negotiation = read_negotiation(&mut section);
    let pair = paths_of_pair(&mut section).unwrap_or_default();
    noted.clone_from(&pair);
    if let Some(entry) = section.entry("letsencrypt").filter(|_| acme.is_some()) {
        let (place, key) = (&entry.place, "letsencrypt");
        if pair.is_some() {
            let message = "certificate and key are named too; leave them out, or leave letsencrypt out";
            section.problem(place, key, message);
        }
        if unix || matches!(listen, Some(ListenAddress::Unix(_))) {
            let message = "nobody can be sent a certificate over a socket, where no TLS is spoken: the authority connects to port 443 \
                           of host, and that has to lead here; write addr: \":443\", or have the proxy in front of the socket order \
                           the certificate";
            section.problem(place, key, message);
        }
    }
    let tls = match (&pair, &acme, section.secrets()) {
        (None, None, _) | (_, _, Secrets::Skip) => None,
        (Some((certificate, key)), _, Secrets::Read) => Some(build_tls(negotiation?, certificate, key, &section)?),
        (None, Some(_), Secrets::Read) => {
            let place = section.place().clone();
            Some(Tls { config: tls_of(negotiation?, acme::nothing_shown(), &place, &section)?, ends: None })
        }
    };
    section.finish();
    let acme = match acme {
        None => None,
        Some(read) => Some(read?),
    };
    Some(Server {
        listen: listen?,
        admin,
        path_prefix: path_prefix.map(|at| at.value).unwrap_or_default(),
        address: address?,
        connections_per_address: connections_per_address.map_or(USUAL_SHARE, |at| at.value),
        idle_timeout,
        pair,
        acme,
        tls,
        hsts,
    })
}

fn is_plain_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment.bytes().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'-' | b'_' | b'~'))
}

/// Reads `host:port`, `:port` or `[v6]:port`, or `unix:/path`.
pub(super) fn parse_address(text: &str) -> Result<ListenAddress, Refusal> {
    let wrong = || Refusal::is("not an address; write \":5001\", \"127.0.0.1:5001\" or \"[::1]:5001\"");
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.strip_suffix(']').ok_or_else(wrong)?,
        None if host.contains(':') => return Err(wrong()),
        None => host,
    };
    let port = port.parse().map_err(|_| wrong())?;
    Ok(ListenAddress::Tcp { host: host.to_owned(), port })
}

/// A socket's path: one without a name, or an abstract one, could be reached by nobody, or by everybody.
fn socket_path(path: &str) -> Result<ListenAddress, Refusal> {
    if path.is_empty() || path.contains('\0') {
        return Err(Refusal::says("the path of a socket is expected here, such as /run/dockwarden.sock"));
    }
    Ok(ListenAddress::Unix(PathBuf::from(path)))
}

fn read_address_source(section: &mut Section<'_>) -> Option<AddressSource> {
    let header = section.parsed("real_ip_header", |text| match text {
        "" => Ok(None),
        name => hyper::header::HeaderName::from_bytes(name.as_bytes())
            .map(Some)
            .map_err(|_| Refusal::is("not the name of a header; write X-Forwarded-For")),
    });
    let header = header.and_then(|At { place, value }| Some(At { place, value: value? }));
    if let Some(at) = header.as_ref().filter(|at| at.value == hyper::header::FORWARDED) {
        let message = "the header Forwarded (RFC 7239) has names in its list, such as for=192.0.2.1, and only bare addresses are \
                       read: every request would be 400; let the proxy send X-Forwarded-For";
        section.warn(&at.place, "real_ip_header", message);
    }
    let position = section.word("real_ip_pos", |text| {
        let position = number::whole(text).and_then(|position| i32::try_from(position).ok());
        position.ok_or_else(|| Refusal::is("not a position; 0 is the first address, -1 the last"))
    });
    let named = section.field("trusted_proxies").map(|field| field.place());
    let Some(place) = named else {
        let Some(header) = header else {
            if let Some(position) = position.filter(|position| position.value != 0) {
                section.problem(&position.place, "real_ip_pos", "this position has no meaning without real_ip_header");
                return None;
            }
            return Some(AddressSource::Peer);
        };
        let message = "the header is believed from anybody who can reach this port: limits by network count for \
                       whatever address a client writes there, and connections are not limited by network at all; \
                       name your proxies in trusted_proxies";
        section.warn(&header.place, "real_ip_header", message);
        return Some(AddressSource::Position { header: header.value, position: position.map_or(0, |at| at.value) });
    };
    let peers = read_peers(section, "trusted_proxies");
    if let Some(position) = position {
        let message =
            "a position is not needed with trusted_proxies: the address is found from the right, past your proxies";
        section.problem(&position.place, "real_ip_pos", message);
    }
    if peers == Peers::default() {
        section.problem(place, "trusted_proxies", "the list is empty; leave the key out if there is no proxy");
    }
    if takes_everybody(&peers) {
        let message = "everybody is taken for a proxy, so that a client chooses the address which rules and limits see; name \
                       only the networks of your proxies";
        section.warn(place, "trusted_proxies", message);
    }
    let header = header.map_or(hyper::header::HeaderName::from_static("x-forwarded-for"), |at| at.value);
    Some(AddressSource::Proxies(Proxies { header, peers }))
}

/// Whether all addresses of a family are among them.
pub(super) fn takes_everybody(peers: &Peers) -> bool {
    peers.networks.iter().any(|network| network.prefix_len() == 0)
}

/// Reads a list of networks, addresses, and `unix`.
pub(super) fn read_peers(section: &mut Section<'_>, key: &'static str) -> Peers {
    let mut peers = Peers::default();
    for text in section.texts(key).unwrap_or_default() {
        match parse_network(&text.value) {
            Some(network) => peers.networks.push(network),
            None if text.value == "unix" => peers.unix = true,
            None => {
                let refusal =
                    Refusal::is("not a network; write 10.0.0.0/8, an address, or unix for whoever connects by socket");
                section.refuse_word(&text, key, &refusal);
            }
        }
    }
    peers
}

/// What a TLS connection may agree on.
struct Negotiation {
    provider: CryptoProvider,
    versions: Vec<&'static SupportedProtocolVersion>,
}

fn read_negotiation(section: &mut Section<'_>) -> Option<Negotiation> {
    let minimum = section.word("tls_min_version", |text| {
        let version = text.to_ascii_uppercase().replace(['V', '.', ' ', '_'], "");
        match version.trim_start_matches("TLS") {
            "10" | "11" => Ok(MinimumVersion::Raised),
            "12" => Ok(MinimumVersion::Tls12),
            "13" => Ok(MinimumVersion::Tls13),
            _ => Err(Refusal::is("not a TLS version; write TLS12 or TLS13")),
        }
    });
    if let Some(At { place, value: MinimumVersion::Raised }) = &minimum {
        let message = "TLS 1.0 and 1.1 are broken and not supported; TLS 1.2 is the minimum";
        section.warn(place, "tls_min_version", message);
    }
    let provider = read_provider(section)?;
    let versions = match minimum.map(|at| at.value) {
        Some(MinimumVersion::Tls13) => vec![&rustls::version::TLS13],
        Some(MinimumVersion::Tls12 | MinimumVersion::Raised) | None => rustls::ALL_VERSIONS.to_vec(),
    };
    Some(Negotiation { provider, versions })
}

fn build_tls(
    negotiation: Negotiation,
    certificate: &At<PathBuf>,
    key: &At<PathBuf>,
    section: &Section<'_>,
) -> Option<Tls> {
    let (certificate_file, key_file) = ((certificate, "certificate"), (key, "key"));
    let identity =
        read_pair(section, certificate_file, key_file, TlsIdentity::from_pem, TlsProblem::file).ok().flatten();
    let ends = identity.as_ref().map(TlsIdentity::ends);
    let shown = identity.map_or_else(acme::nothing_shown, |identity| Arc::new(identity.shown()) as _);
    // What is wrong with the one is noted beside what is wrong with the other.
    let config = tls_of(negotiation, shown, &certificate.place, section);
    Some(Tls { ends: ends?, config: config? })
}

/// TLS that shows what `shown` says.
fn tls_of(
    negotiation: Negotiation,
    shown: Arc<dyn ResolvesServerCert>,
    place: &Place,
    section: &Section<'_>,
) -> Option<Arc<ServerConfig>> {
    let config = ServerConfig::builder_with_provider(Arc::new(negotiation.provider))
        .with_protocol_versions(&negotiation.versions)
        .map_err(|_| {
            let message = "none of the cipher suites and curves that are left can be used; leave the keys tls_… out";
            section.problem(place, "tls_cipher_suites", message);
        });
    let mut config = config.ok()?.with_no_client_auth().with_cert_resolver(shown);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Some(Arc::new(config))
}

/// The least TLS version that is spoken.
#[derive(Clone, Copy)]
enum MinimumVersion {
    /// 1.0 or 1.1 was asked for; it is 1.2.
    Raised,
    Tls12,
    Tls13,
}

/// The cryptography that connections may use: everything safe, or what `tls_cipher_suites` and
/// `tls_curve_preferences` leave of it.
fn read_provider(section: &mut Section<'_>) -> Option<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    if let Some(wanted) = section.texts("tls_cipher_suites") {
        let name_of = |suite: &rustls::SupportedCipherSuite| suite.suite().as_str().unwrap_or_default().to_owned();
        let spelled = |wanted: &str| match wanted {
            // Go's older names leave the hash out.
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305" => {
                format!("{wanted}_SHA256")
            }
            other => other.to_owned(),
        };
        let wanted_names: Vec<String> = wanted.iter().map(|at| spelled(&at.value)).collect();
        for (at, name) in wanted.iter().zip(&wanted_names) {
            if !provider.cipher_suites.iter().any(|suite| name_of(suite) == *name) {
                let message = Refusal::is("not among the cipher suites spoken here; it is left out");
                let message = message.about(&at.value, Holds::Words);
                section.warn(&at.place, "tls_cipher_suites", message);
            }
        }
        // The list is about TLS 1.2, as in Go: the suites of TLS 1.3 are all safe and not configurable.
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() || wanted_names.contains(&name_of(suite)));
        if let Some(first) = wanted.first()
            && provider.cipher_suites.iter().all(|suite| suite.tls13().is_some())
        {
            section.problem(
                &first.place,
                "tls_cipher_suites",
                "none of these cipher suites is spoken here; leave the key out for the safe default",
            );
            return None;
        }
    }
    if let Some(wanted) = section.texts("tls_curve_preferences") {
        let mut groups = Vec::with_capacity(wanted.len());
        for at in &wanted {
            let name = match at.value.to_ascii_uppercase().as_str() {
                "P256" | "CURVEP256" => Some(rustls::NamedGroup::secp256r1),
                "P384" | "CURVEP384" => Some(rustls::NamedGroup::secp384r1),
                "X25519" => Some(rustls::NamedGroup::X25519),
                _ => None,
            };
            match provider.kx_groups.iter().find(|group| Some(group.name()) == name) {
                Some(group) => groups.push(*group),
                None => {
                    let message = Refusal::is("not among the curves spoken here (P256, P384, X25519); it is left out");
                    let message = message.about(&at.value, Holds::Words);
                    section.warn(&at.place, "tls_curve_preferences", message);
                }
            }
        }
        match (groups.is_empty(), wanted.first()) {
            (true, Some(first)) => {
                section.problem(
                    &first.place,
                    "tls_curve_preferences",
                    "none of these curves is spoken here; write P256, P384 or X25519",
                );
                return None;
            }
            (true, None) => {}
            (false, _) => provider.kx_groups = groups,
        }
    }
    Some(provider)
}
