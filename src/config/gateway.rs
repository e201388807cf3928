//! The `gateway:` section: which registries are served through us, and who we are to each of them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::uri::{Authority, Scheme};
use policy::scope::Resource;
use rustls::pki_types::CertificateDer;
use settings::number::duration;
use settings::{At, Noted, Refusal, Section};

use super::forward_auth::{Challenge, check_audience, read_challenge, read_service};
use super::server::{ListenAddress, parse_address};
use super::upstream_login::{Login, in_the_clear, read_login, read_url};
use crate::pem::named;
use crate::registries::name_and_port;

/// How long connecting to an upstream may take, TLS included, where the file does not say.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long an upstream may think about a whole request. Registries put a large blob together before they answer.
const RESPOND_WITHIN: Duration = Duration::from_secs(300);
/// How long nothing may move, in either direction, before a transfer is given up.
const IDLE_FOR: Duration = Duration::from_secs(60);
/// The longest that any of the three may say.
const LONGEST: Duration = Duration::from_secs(3600);

/// The registries behind the gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Where it listens, if not where tokens are asked for.
    pub listen: Option<ListenAddress>,
    /// What rules see as `service`, and what tokens have to be for, where no upstream's own is meant.
    pub service: String,
    /// How clients are told to log in.
    pub challenge: Challenge,
    /// The registries; at least one.
    pub upstreams: Vec<Upstream>,
}

/// A registry behind the gateway. Its `Debug` form holds no secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its name in the log and in the metrics.
    pub name: String,
    /// The host name, in lower case and perhaps with a port, under which clients reach it; `None` means any.
    pub host: Option<String>,
    /// What rules see as `service` there, and what tokens have to be for; `None` means the gateway's. All upstreams that
    /// one request could be for have the same.
    pub service: Option<String>,
    /// The repositories that are there: this one and all below it; `None` means all.
    pub prefix: Option<String>,
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority,
    /// Who we are there.
    pub login: Login,
    /// Whether anything can be changed there through us.
    pub writes: Writes,
    /// The authorities that its certificate may come from, in place of the public ones.
    pub authorities: Option<AuthoritiesFile>,
    /// How long connecting may take, TLS included.
    pub connect_within: Duration,
    /// How long it may take to begin its reply, once it has the whole request.
    pub respond_within: Duration,
    /// How long nothing may move in a transfer.
    pub idle_for: Duration,
}

/// Certificates of authorities, and the file they came from.
#[derive(Clone, PartialEq)]
pub struct AuthoritiesFile {
    /// The file, PEM.
    pub file: PathBuf,
    /// What it holds; empty where it was not read.
    pub certificates: Vec<CertificateDer<'static>>,
}

impl std::fmt::Debug for AuthoritiesFile {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("AuthoritiesFile").field("file", &self.file).finish_non_exhaustive()
    }
}

/// Whether anything can be changed at an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// As far as the rules allow it.
    Passed,
    /// Nothing but GET and HEAD goes there.
    Refused,
}

/// Reads the section. `services` are the audiences of tokens, and `server` is where tokens are asked for, where those
/// sections could be read.
pub(super) fn read(
    mut section: Section<'_>,
    services: Option<&[String]>,
    server: Option<&ListenAddress>,
) -> Option<Gateway> {
    let listen = section.word("addr", parse_address).map(|at| at.value);
    let service = read_service(&mut section, services, "name the registry that clients see, as rules and tokens do");
    let challenge = read_challenge(&mut section);
    let rows = section.field("upstreams").and_then(|field| field.items()).unwrap_or_default();
    if rows.is_empty() {
        section.missing("upstreams", "name the registries: upstreams: [{url: \"https://registry.example.org\"}]");
    }
    let upstreams: Vec<Option<At<Upstream>>> =
        rows.iter().map(|row| row.section().and_then(|row| read_upstream(row, services))).collect();
    let read: Vec<(usize, &At<Upstream>)> =
        upstreams.iter().enumerate().filter_map(|(index, at)| Some((index, at.as_ref()?))).collect();
    for (index, At { place, value }) in &read {
        let key = format!("upstreams[{index}]");
        let before = || read.iter().take_while(|(other, _)| other < index).map(|(_, at)| &at.value);
        if before().any(|other| other.host == value.host && other.prefix == value.prefix) {
            section.problem(
                place,
                &key,
                "another upstream has the same host and prefix, so no request would reach this one",
            );
        } else if before().any(|other| other.name == value.name) {
            let message =
                format!("another upstream is called {} in the log too; give each a name of its own", value.name);
            section.problem(place, &format!("{key}.name"), message);
        } else if before().any(|other| share_a_host(other, value) && other.service != value.service) {
            let message = "another upstream for this host has another service, or none, and clients log in to a host; \
                           write the same for both";
            section.problem(place, &format!("{key}.service"), message);
        }
    }
    if let Some(own) = listen.as_ref().or(server) {
        for (index, At { place, value }) in read.iter().filter(|(_, at)| leads_to(&at.value, own)) {
            let message =
                format!("{} is where this gateway listens; what goes there comes back, and is 508", value.authority);
            section.warn(place, &format!("upstreams[{index}].url"), message);
        }
    }
    section.finish();
    let upstreams: Vec<Upstream> = upstreams.into_iter().map(|at| Some(at?.value)).collect::<Option<_>>()?;
    (!upstreams.is_empty()).then_some(())?;
    Some(Gateway { listen, service: service?, challenge: challenge?, upstreams })
}

/// Whether requests to one host name could be for either.
fn share_a_host(one: &Upstream, other: &Upstream) -> bool {
    match (&one.host, &other.host) {
        (Some(one), Some(other)) => {
            let ((one, its_port), (other, other_port)) = (name_and_port(one), name_and_port(other));
            one == other && (its_port == other_port || its_port.is_none() || other_port.is_none())
        }
        (None, None) => true,
        (None, Some(_)) | (Some(_), None) => false,
    }
}

fn read_upstream(mut row: Section<'_>, services: Option<&[String]>) -> Option<At<Upstream>> {
    let url = row.parsed("url", |text| {
        let example = "write https://registry.example.org or http://127.0.0.1:5000, without a path";
        let url = read_url(text).filter(|url| url.path() == "/" && url.query().is_none());
        url.ok_or_else(|| Refusal::is(format!("not the address of a registry; {example}")))
    });
    if url.is_none() && !row.has("url") {
        row.missing("url", "the address of the registry is needed, such as https://registry.example.org");
    }
    let name = row.parsed("name", |text| match is_plain(text) {
        true => Ok(text.to_owned()),
        false => Err(Refusal::is("not a name; write letters, digits, dots and dashes")),
    });
    let host = row.parsed("host", |text| match is_plain(text) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(Refusal::is("not a host name; write it as clients do: docker.example.org, perhaps with :port")),
    });
    let service = row.filled("service");
    if let Some(service) = &service {
        check_audience(&mut row, service, services);
    }
    if let (Some(At { place, .. }), None) = (&service, &host) {
        row.problem(
            place,
            "service",
            "this is for upstreams with a host of their own; write gateway.service, or a host",
        );
    }
    let prefix = row.parsed("prefix", |text| {
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        match Resource::new("repository", trimmed) {
            Ok(_) => Ok(trimmed.to_owned()),
            Err(_) => Err(Refusal::says("no repository's name can begin like this; write team or team/apps")),
        }
    });
    let read_only = row.flag("read_only").is_some_and(|at| at.value);
    let authorities = read_authorities(&mut row);
    if let (Ok(Some(_)), Some(At { place, value })) = (&authorities, &url)
        && value.scheme() == Some(&Scheme::HTTP)
    {
        row.problem(place, "url", "an authority is named, and TLS is not spoken; write https://");
    }
    let connect_within = read_patience(&mut row, "connect_timeout", "5s");
    let respond_within = read_patience(&mut row, "response_timeout", "5m");
    let idle_for = read_patience(&mut row, "idle_timeout", "60s");
    let login = match row.field("auth") {
        Some(auth) => auth.section().and_then(|auth| read_login(auth, url.as_ref().map(|at| &at.value))),
        None => Some(Login::Anonymous),
    };
    let sends_secret =
        matches!(login, Some(Login::Basic(_) | Login::Ecr(_) | Login::TokenService { account: Some(_), .. }));
    if let Some(At { place, value }) = &url
        && sends_secret
        && in_the_clear(value)
    {
        let message = "our password or token goes there unencrypted, readable by everybody on the way; use https://";
        row.warn(place, "url", message);
    }
    let place = row.place().clone();
    row.finish();
    let url = url?.value.into_parts();
    let (scheme, authority) = (url.scheme?, url.authority?);
    Some(At {
        place,
        value: Upstream {
            name: name.map_or_else(|| authority.to_string(), |at| at.value),
            host: host.map(|at| at.value),
            service: service.map(|at| at.value),
            prefix: prefix.map(|at| at.value),
            scheme,
            authority,
            login: login?,
            writes: if read_only { Writes::Refused } else { Writes::Passed },
            authorities: authorities.ok()?,
            connect_within: connect_within.unwrap_or(CONNECT_WITHIN),
            respond_within: respond_within.unwrap_or(RESPOND_WITHIN),
            idle_for: idle_for.unwrap_or(IDLE_FOR),
        },
    })
}

/// Whether an upstream is what listens at this address, as far as the two texts tell.
fn leads_to(upstream: &Upstream, own: &ListenAddress) -> bool {
    let ListenAddress::Tcp { host: own, port } = own else { return false };
    let usual = if upstream.scheme == Scheme::HTTPS { 443 } else { 80 };
    let host = upstream.authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_this_machine = |host: &str| {
        host.eq_ignore_ascii_case("localhost")
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback() || address.is_unspecified())
    };
    let both_here = is_this_machine(host) && (own.is_empty() || is_this_machine(own));
    upstream.authority.port_u16().unwrap_or(usual) == *port && (both_here || host.eq_ignore_ascii_case(own))
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'.' | b'-' | b'_' | b':' | b'[' | b']'))
}

fn read_patience(row: &mut Section<'_>, key: &'static str, usual: &str) -> Option<Duration> {
    let read = row.word(key, |text| match duration(text)? {
        time if time < Duration::from_millis(50) => {
            Err(Refusal::says(format!("too short for any registry; {usual} is usual")))
        }
        time if time > LONGEST => Err(Refusal::says(format!("write an hour or less; {usual} is usual"))),
        time => Ok(time),
    });
    read.map(|at| at.value)
}

fn read_authorities(row: &mut Section<'_>) -> Result<Option<AuthoritiesFile>, Noted> {
    let Some(at) = row.path("ca_certificate") else { return Ok(None) };
    let read = named::read_authorities(row, &at, "ca_certificate")?;
    Ok(Some(AuthoritiesFile { file: at.value, certificates: read.certificates().to_vec() }))
}
