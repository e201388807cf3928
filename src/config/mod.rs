//! The configuration file as types that cannot be wrong: docker_auth's format, extended, and strict.
//!
//! Everything that is wrong is found in one reading and reported with file and line. What the keys mean is in
//! `docs/reference/config.md`.

mod api;
mod catalogue;
mod env;
mod forward_auth;
mod gateway;
mod lasting;
mod lint;
mod load;
mod registries_declared;
mod server;
mod tests;
mod token;
mod upstream_login;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use settings::env::override_with;
use settings::files::read_document;
use settings::yaml::{self, Entry, Value};
use settings::{Field, Reading};
use url::Url;

pub use api::Api;
pub use env::well_spelled;
pub use forward_auth::{Challenge, ForwardAuth, OriginalHeaders, ProtectedPath};
pub use gateway::{AuthoritiesFile, Gateway, Upstream, Writes};
pub use load::SecretsOf;
pub use server::{Hsts, ListenAddress, Server, Tls};
pub use settings::env::PREFIX as ENVIRONMENT_PREFIX;
pub use settings::{Invalid, Problem, Secrets};
pub use token::{Leaves, Pair, ServicesFrom, Token, TokenAuthority};
pub use upstream_login::{Ecr, Login, UpstreamAccount};

use crate::authz::standard::StandardRules;
use crate::backend::{Backends, Facts, Purpose, Row};
use crate::backends::BACKENDS;
use crate::directory::Elsewhere;
use crate::policy_tests::{self, Tests};
use crate::registries::{self, Registries};
use crate::telemetry;
use crate::{authn, authz, directory, records, secrets, sign_in, workload};

/// A configuration that can be served.
#[derive(Debug)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// Where and how to listen.
    pub server: Server,
    /// What tokens look like and what signs them.
    pub token: Token,
    /// How requests that proxies ask about are decided, if they may ask.
    pub forward_auth: Option<ForwardAuth>,
    /// The registries that are served through us, if there are any.
    pub gateway: Option<Gateway>,
    /// The registries that tokens are for, as far as the file declares them.
    pub registries: Registries,
    /// The services that rules see at the doors that need no token: of `forward_auth`, and of the gateway with its upstreams.
    pub door_services: BTreeSet<String>,
    /// The host names of this server and of the gateway's upstreams, as far as the file says them, in small letters.
    pub own_hosts: BTreeSet<String>,
    /// Who is in which groups, and what they are for, if anybody says so.
    pub directory: Option<directory::Settings>,
    /// How they are asked for what is in them.
    pub catalogue: crate::catalogue::Settings,
    /// Where is kept what is remembered, if anything is.
    pub records: Option<records::Settings>,
    /// Which logins get a refresh token, and how long secrets may live.
    pub lasting: secrets::Settings,
    /// Where secrets are administered, if anywhere.
    pub api: Api,
    /// The collector that is told of requests and metrics.
    pub telemetry: Option<telemetry::Settings>,
    /// How people sign in in a browser, if they do.
    pub sign_in: Option<sign_in::Section>,
    /// The workloads whose issuers' tokens are taken in place of passwords, if there are any.
    pub workload: Option<workload::Settings>,
    /// Who is asked who somebody is, and who is asked what they may do.
    pub backends: Backends,
    /// What the policy promises.
    pub tests: Tests,
    /// What was loaded but is probably not meant.
    pub warnings: Vec<Problem>,
    /// Every file that was read, or would have been: a change to any of them means to read all again.
    pub files: Vec<PathBuf>,
}

/// docker_auth's plugins, and the section that takes the place of each.
const PLUGINS: [(&str, &str); 2] =
    [("plugin_authn", authn::http_api::KIND.key), ("plugin_authz", authz::http_api::KIND.key)];

/// The sections that are not backends.
const OTHERS: [&str; 14] = [
    directory::NAME,
    "server",
    "token",
    "forward_auth",
    "gateway",
    registries::NAME,
    catalogue::NAME,
    records::NAME,
    lasting::NAME,
    api::NAME,
    telemetry::NAME,
    sign_in::NAME,
    "workload",
    policy_tests::NAME,
];

/// The sections for which there are records, whether or not the file says where.
const KEPT_IN_RECORDS: [&str; 4] = [authn::records::KIND.key, authz::records::KIND.key, api::NAME, sign_in::NAME];

/// The names of all sections.
fn sections() -> impl Iterator<Item = &'static str> {
    BACKENDS.iter().map(|kind| kind.key).chain(OTHERS)
}

/// How a server listens that was started with this file: what its `server` section says, with its certificate's file but
/// without looking into it. The rest of the file may be wrong, as after a change that the server has not taken over.
///
/// # Errors
/// What is wrong with it.
pub fn read_server(file: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Result<Server, Invalid> {
    let invalid = |problems| Invalid { file: file.to_owned(), problems };
    let mut root = read_document(file).and_then(|text| yaml::parse(&text)).map_err(|problem| invalid(vec![problem]))?;
    // Problems with other keys are the server's own to tell.
    override_with(&mut root, variables, &Reading::default());
    let reading = Reading::default();
    let server = reading.root(&root, Secrets::Skip).section().and_then(|mut top| match top.section("server") {
        None => {
            top.missing("server", "this section is missing; it says where the server listens");
            None
        }
        Some(section) => server::read(section, &mut None),
    });
    server.ok_or_else(|| invalid(reading.into_findings().problems))
}

/// `signing` is about the keys of tokens and of the listener. Warnings and files are not in what is returned.
fn decode(file: &Path, root: &Field<'_>, secrets: &SecretsOf) -> Option<Config> {
    let mut top = match root.value() {
        Value::Null => {
            root.problem("the file is empty; start from config.example.yml");
            return None;
        }
        Value::Text(_) | Value::List(_) | Value::Map(_) => root.section()?,
    };
    // Where a backend is named that is not here, "none is configured" would be bad advice.
    let mut named = Vec::new();
    let plugins = PLUGINS.map(|(key, instead)| {
        let message = format!(
            "Go plugins cannot be loaded; serve yours over HTTP, as examples/go-plugin does, and use {instead}"
        );
        (key, message)
    });
    for (key, instead) in plugins.iter().map(|(key, message)| (*key, message.as_str())) {
        if top.refuse(key, instead) {
            named.push(if key.contains("acl") || key.ends_with("authz") { Purpose::Rules } else { Purpose::Identity });
        }
    }
    if !top.has("server") {
        top.missing("server", "this section is missing; it needs at least: addr: \":5001\"");
    }
    let mut of_server = None;
    let server = top.section("server").and_then(|section| server::read(section.with(secrets.signing), &mut of_server));
    if !top.has("token") {
        let message = "this section is missing; it needs at least: issuer: \"…\", as in the registry's settings";
        top.missing("token", message);
    }
    let token = top.section("token").and_then(|section| token::read(section.with(secrets.signing), of_server.as_ref()));
    let declared = top.field(registries::NAME).map(|field| registries::read(&field));
    let token = match (token, &declared) {
        // Who declares the registries need not name them once more.
        (Some(token), Some(Some(declared))) if token.services.is_empty() => {
            let services = declared.registries.iter().map(|registry| registry.service.clone()).collect();
            Some(token::Token { services, services_from: ServicesFrom::Registries, ..token })
        }
        (token, _) => token,
    };
    let declared = declared.unwrap_or_else(|| Some(registries::Declared::default()));
    let key = token.as_ref().map(|token| token.key.as_path());
    let of_sign_ins = sign_in::KINDS.map(|kind| kind.key);
    let is_needed = KEPT_IN_RECORDS.iter().chain(&of_sign_ins).any(|key| top.has(key));
    let remembered = match top.section(records::NAME) {
        Some(section) => records::read(section.with(secrets.of(records::NAME)), key),
        None if is_needed => key.map(records::Settings::usual),
        None => None,
    };
    let services = token.as_ref().map(|token| token.services.as_slice());
    let lasting = top.section(lasting::NAME).map(|section| lasting::read(section, services));
    let remembered = match (&lasting, top.has(records::NAME)) {
        (Some(_), false) => key.map(records::Settings::usual),
        (Some(_), true) | (None, _) => remembered,
    };
    let catalogue = top.section(catalogue::NAME).map(catalogue::read);
    let networks = top.section(registries_declared::NAME).map(registries_declared::read).unwrap_or_default();
    let is_declared = declared.as_ref().is_some_and(|declared| !declared.registries.is_empty());
    let remembered = match (is_declared, top.has(records::NAME)) {
        (true, false) if remembered.is_none() => key.map(records::Settings::usual),
        (true | false, _) => remembered,
    };
    let admin = server.as_ref().and_then(|server| server.admin.as_ref());
    let api = top.section(api::NAME).map(|section| api::read(section, admin));
    let telemetry = top.section(telemetry::NAME).map(telemetry::read);
    let forward_auth = top.section("forward_auth").and_then(|section| forward_auth::read(section, services));
    if let Some(entry) = top.entry("forward_auth")
        && forward_auth.as_ref().is_some_and(|door| server::takes_everybody(&door.proxies))
    {
        let message = "everybody may ask as a proxy does, and say for which request and from which address; name only the \
                       networks of your proxies";
        top.warn(&entry.place, "forward_auth.trusted_proxies", message);
    }
    if let Some(server) = &server
        && let Some(idle) = &server.idle_timeout
        && !server.knows_proxies()
        && forward_auth.is_none()
    {
        let message = "this is for connections of proxies only, and no proxy is named; name yours in trusted_proxies";
        top.warn(&idle.place, "server.idle_timeout", message);
    }
    let listen = server.as_ref().map(|server| &server.listen);
    let gateway = top.section("gateway").and_then(|section| gateway::read(section, services, listen));
    if let (Some(server), Some(own)) = (&server, gateway.as_ref().and_then(|gateway| gateway.listen.as_ref())) {
        let others = [("server.addr", Some(&server.listen)), ("server.admin_addr", server.admin.as_ref())];
        let taken = others.into_iter().find(|(_, other)| other.is_some_and(|other| own.takes(other)));
        if let (Some((name, _)), Some(entry)) = (taken, top.entry("gateway")) {
            let message = format!("this is {name}, and only one can listen there; write another port");
            top.problem(&entry.place, "gateway.addr", message);
        }
    }
    let own_issuer = token.as_ref().map(|token| token.issuer.as_str());
    let workload = top.field("workload").and_then(|field| workload::read(&field, own_issuer));
    let remembered = match (&workload, top.has(records::NAME)) {
        (Some(entries), false) if remembered.is_none() && entries.need_records() => key.map(records::Settings::usual),
        (Some(_), _) | (None, _) => remembered,
    };
    let mut is_missing = |purpose| {
        let mut keys = BACKENDS.iter().filter(|kind| kind.purpose == purpose).map(|kind| kind.key);
        !named.contains(&purpose) && !keys.any(|key| top.has(key))
    };
    let (is_without_identities, is_without_rules) = (is_missing(Purpose::Identity), is_missing(Purpose::Rules));
    if is_without_identities && !top.has("workload") && !top.has(directory::NAME) {
        top.missing("users", "no way to log in is configured; write users: {} if really nobody may");
    }
    if is_without_rules {
        top.missing("acl", "no rules are configured; write acl: [] if really nothing is allowed");
    }
    let people = top.section(sign_in::NAME).and_then(sign_in::read);
    let rows = BACKENDS.iter().filter_map(|kind| {
        let settings = (kind.read)(top.field(kind.key)?.with(secrets.of(kind.key)))?;
        let settings = remembered.as_ref().and_then(|store| settings.kept_in(store)).unwrap_or(settings);
        let sealed = people.as_ref().and_then(|section| settings.sealed_with(&section.key));
        Some(Row { kind, settings: sealed.unwrap_or(settings) })
    });
    let backends = Backends(rows.collect());
    sign_in::check(&mut top, &backends);
    if backends.get::<StandardRules>().is_some() && !top.has(directory::NAME) {
        let message = "these rules go by the labels that the directory gives, and there is none; write directory: with its groups \
                       and users";
        top.missing(authz::standard::KIND.key, message);
    }
    let registries = declared.as_ref().map(|declared| declared.registries.clone());
    // Records that are there for other things do not make a directory of a file go away with them.
    let kept = remembered.as_ref().filter(|_| top.has(records::NAME));
    let directory = match (top.field(directory::NAME), declared) {
        (Some(field), declared) => read_directory(&field, declared.unwrap_or_default(), &backends, kept).map(Some),
        (None, declared) => {
            if let Some(group) = declared.iter().flat_map(|declared| &declared.groups).next() {
                let message = "no directory says who is in this group; write directory: with its groups and users";
                top.warn(&group.place, registries::NAME, message);
            }
            Some(None)
        }
    };
    let acme = server.as_ref().and_then(|server| server.acme.as_ref());
    let mut own_hosts = own_hosts((acme, people.as_ref()), forward_auth.as_ref(), gateway.as_ref());
    own_hosts.extend(server.as_ref().map(|server| hosts_of(&server.listen)).unwrap_or_default());
    let door_services = door_services(forward_auth.as_ref(), gateway.as_ref());
    // What tokens are made for, and what rules see as `service`, by the file alone.
    let of_tokens = token.iter().flat_map(|token| &token.services);
    let audiences = of_tokens.chain(&door_services).cloned().collect();
    let tests = top
        .field(policy_tests::NAME)
        .map(|field| policy_tests::read(&field, &tests::read_with(token.as_ref(), &backends, None)));
    top.finish_with(meant_at_top);
    Some(Config {
        file: file.to_owned(),
        server: server?,
        token: token?,
        forward_auth,
        gateway,
        registries: registries?,
        door_services,
        own_hosts,
        catalogue: crate::catalogue::Settings { networks: networks.clone(), ..catalogue.unwrap_or_default() },
        directory: directory?.map(|directory| directory::Settings { networks, audiences, ..directory }),
        records: remembered,
        lasting: lasting.unwrap_or_default(),
        api: api.unwrap_or_default(),
        telemetry: telemetry.flatten(),
        sign_in: people,
        workload,
        backends,
        tests: tests.unwrap_or_default(),
        warnings: Vec::new(),
        files: Vec::new(),
    })
}

/// What rules see as `service` where no token is needed.
fn door_services(forward_auth: Option<&ForwardAuth>, gateway: Option<&Gateway>) -> BTreeSet<String> {
    let of_gateway = gateway.into_iter().flat_map(|gateway| {
        let upstreams = gateway.upstreams.iter().filter_map(|upstream| upstream.service.as_ref());
        upstreams.chain([&gateway.service])
    });
    of_gateway.chain(forward_auth.map(|door| &door.service)).cloned().collect()
}

/// The host names by which clients reach this server, as far as its sections say them.
fn own_hosts(
    (acme, people): (Option<&crate::acme::Settings>, Option<&sign_in::Section>),
    forward_auth: Option<&ForwardAuth>,
    gateway: Option<&Gateway>,
) -> BTreeSet<String> {
    let challenges = forward_auth.map(|door| &door.challenge).into_iter().chain(gateway.map(|own| &own.challenge));
    let realms = challenges.filter_map(|challenge| match challenge {
        Challenge::Basic => None,
        Challenge::Bearer { realm } => Url::parse(realm).ok(),
    });
    let pages = people.and_then(|section| section.url.clone());
    let of_urls = realms.chain(pages).filter_map(|url| url.host_str().map(str::to_ascii_lowercase));
    let upstreams = gateway.into_iter().flat_map(|gateway| &gateway.upstreams);
    let of_upstreams = upstreams.filter_map(|upstream| upstream.host.clone());
    of_urls.chain(of_upstreams).chain(acme.map(|settings| settings.host().to_owned())).collect()
}

/// The hosts that clients write who reach this address by what the file says of it: of a name, on whichever port.
fn hosts_of(listen: &ListenAddress) -> Vec<String> {
    match listen {
        ListenAddress::Unix(_) => Vec::new(),
        ListenAddress::Tcp { host, .. } if host.is_empty() => Vec::new(),
        ListenAddress::Tcp { host, port } => match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => vec![format!("{host}:{port}")],
            Ok(IpAddr::V6(_)) => vec![format!("[{host}]:{port}")],
            Err(_) => vec![registries::host_from(host)],
        },
    }
}

/// Reads the directory, and notes the accounts that are called as its services: those log in before all others, and by their own
/// secrets alone.
fn read_directory(
    field: &Field<'_>,
    declared: registries::Declared,
    backends: &Backends,
    remembered: Option<&records::Settings>,
) -> Option<directory::Settings> {
    let elsewhere = remembered.map_or(Elsewhere::Nothing, |_| Elsewhere::Records);
    let mut directory = directory::read(field, declared, elsewhere)?;
    let mut own = BTreeSet::new();
    for (section, facts) in backends.facts() {
        let Facts::Accounts(accounts) = facts else { continue };
        for (account, _) in accounts {
            if let Some(service) = directory.service_alike(account) {
                let message = format!(
                    "the service {service} logs in by this name, and {section} has an account of it; rename one"
                );
                field.problem(message);
            }
            own.insert(account.to_lowercase());
        }
    }
    directory.entries.accounts = own;
    Some(directory::Settings { store: remembered.cloned(), ..directory })
}

/// What a section that does not exist is meant for: mostly it stands one level too far to the left.
fn meant_at_top(entry: &Entry) -> Option<String> {
    const OF_A_USER: &[&str] = &["password", "password_file", "labels", "disabled"];
    let has = |keys: &[&str]| match &entry.node.value {
        Value::Map(inner) => inner.iter().any(|inner| keys.contains(&inner.key.as_str())),
        Value::Null | Value::Text(_) | Value::List(_) => false,
    };
    match entry.key.as_str() {
        "match" | "actions" => {
            Some("this is part of a rule, and belongs below acl:, further to the right and behind a dash".to_owned())
        }
        _ if has(OF_A_USER) => {
            Some("this looks like an account, and belongs below users:, further to the right".to_owned())
        }
        _ => None,
    }
}
