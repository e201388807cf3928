//! The configuration file as types that cannot be wrong: docker_auth's format, extended, and strict.
//!
//! Everything that is wrong is found in one reading and reported with file and line. What the keys mean is in
//! `docs/CONFIG.md`.

mod env;
mod forward_auth;
mod gateway;
mod indentation;
pub mod number;
pub mod problem;
pub mod refused;
pub mod section;
mod server;
mod token;
mod upstream_login;
pub mod yaml;

use std::path::{Path, PathBuf};

pub use env::{PREFIX as ENVIRONMENT_PREFIX, well_spelled};
pub use forward_auth::{Challenge, ForwardAuth, OriginalHeaders, ProtectedPath};
pub(crate) use gateway::name_and_port;
pub use gateway::{Authorities, Gateway, Upstream, Writes};
pub use problem::{Invalid, Problem};
pub use server::{Hsts, ListenAddress, Server, Tls};
pub use token::{Pair, Token};
pub use upstream_login::{Account, Ecr, Login};

use crate::authn::users::{self, Users};
use crate::authn::{htpasswd, http_api as http_users, ldap, mongo as mongo_users, program as program_authn};
use crate::authz::rules::{self, Rules};
use crate::authz::{http_api as http_authz, mongo as mongo_rules, program as program_authz};
use crate::backend::{Backends, Configured, Kind, Row};
use crate::{pem, program, text};
use problem::Place;
use refused::ShownPath;
use section::{Problems, Section};
use yaml::{Entry, Node, Value};

/// A larger file is refused, in bytes: ten thousand rules take less than two million.
const MAX_FILE: u64 = 32 * 1024 * 1024;
/// A larger secret, certificate or key is refused, in bytes.
const MAX_SECRET: u64 = 1024 * 1024;

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
    /// Who is asked who somebody is, and who is asked what they may do.
    pub backends: Backends,
    /// What was loaded but is probably not meant.
    pub warnings: Vec<Problem>,
    /// Every file that was read, or would have been: a change to any of them means to read all again.
    pub files: Vec<PathBuf>,
}

/// What a backend is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Identity,
    Rules,
}

/// The backends of docker_auth that are not here, and what to do about each.
const ABSENT: &[(&str, &str)] = &[
    ("google_auth", "Google sign-in is not supported; use users"),
    ("github_auth", "GitHub sign-in is not supported; use users"),
    ("gitlab_auth", "GitLab sign-in is not supported; use users"),
    ("oidc_auth", "OpenID Connect is not supported; use users"),
    ("xorm_auth", "SQL users are not supported; use users"),
    ("acl_xorm", "rules from SQL are not supported; use acl"),
    ("plugin_authn", "Go plugins cannot be loaded; use users"),
    ("plugin_authz", "Go plugins cannot be loaded; use acl"),
    ("casbin_authz", "Casbin policies are not supported; use acl"),
];

/// The sections besides `users` that let somebody log in.
const OTHER_AUTHN: &[&str] = &["htpasswd_auth", "ext_auth", "ldap_auth", "mongo_auth", "http_auth"];
/// The sections besides `acl` that let somebody do something.
const OTHER_AUTHZ: &[&str] = &["acl_mongo", "http_authz", "ext_authz"];

/// The sections that are neither.
const OTHERS: &[&str] = &["server", "token", "users", "acl", "forward_auth", "gateway"];

/// The names of all sections.
fn sections() -> impl Iterator<Item = &'static str> {
    [OTHERS, OTHER_AUTHN, OTHER_AUTHZ].into_iter().flatten().copied()
}

/// Whether certificates, keys and files of password hashes are read with the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// They are, and must be fit for use.
    Read,
    /// They are left alone: to explain a decision, nobody needs the keys, and they may not be on this machine.
    LeftAlone,
}

impl Config {
    /// Reads `file`, with the overrides that `variables` hold (see [`ENVIRONMENT_PREFIX`]).
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load(
        file: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
        keys: Keys,
    ) -> Result<Config, Invalid> {
        Config::load_with(file, variables, keys, keys)
    }

    /// The same for who asks the backends and signs nothing: their passwords, certificates and files are read, the keys of
    /// tokens and of the listener are left alone.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_backends(
        file: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, Invalid> {
        Config::load_with(file, variables, Keys::LeftAlone, Keys::Read)
    }

    fn load_with(
        file: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
        signing: Keys,
        keys: Keys,
    ) -> Result<Config, Invalid> {
        let invalid = |problems| Invalid { file: file.to_owned(), problems };
        let whole = |message: String| invalid(vec![Problem::new(Place::Line(1), "", message)]);
        let bytes = read_limited(file, &file.display().to_string(), MAX_FILE).map_err(whole)?;
        let text = text::decode(bytes)
            .map_err(|wrong| invalid(vec![Problem::new(Place::Line(wrong.line()), "", wrong.to_string())]))?;
        Config::read_with(file, &text, variables, signing, keys).map_err(invalid)
    }

    /// Reads a configuration from its text; `file` is where it came from, for messages and for reloading.
    ///
    /// # Errors
    /// Everything that is wrong, ordered by place.
    pub fn read(
        file: &Path,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        keys: Keys,
    ) -> Result<Config, Vec<Problem>> {
        Config::read_with(file, text, variables, keys, keys)
    }

    fn read_with(
        file: &Path,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        signing: Keys,
        keys: Keys,
    ) -> Result<Config, Vec<Problem>> {
        let mut root = yaml::parse(text).map_err(|problem| vec![problem])?;
        let problems = Problems::default();
        for problem in env::override_with(&mut root, variables) {
            problems.add(&problem.place, problem.path, problem.message);
        }
        let config = decode(file, &root, signing, keys, &problems);
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            Some(_) | None => Err(problems.into_sorted()),
        }
    }
}

/// How a server listens that was started with this file: what its `server` section says, with its certificate's file but
/// without looking into it. The rest of the file may be wrong, as after a change that the server has not taken over.
///
/// # Errors
/// What is wrong with it.
pub fn read_server(file: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Result<Server, Invalid> {
    let invalid = |problems| Invalid { file: file.to_owned(), problems };
    let text = read_text(file).map_err(|message| invalid(vec![Problem::new(Place::Line(1), "", message)]))?;
    let mut root = yaml::parse(&text).map_err(|problem| invalid(vec![problem]))?;
    // Problems with other keys are the server's own to tell.
    drop(env::override_with(&mut root, variables));
    let problems = Problems::default();
    let section = Section::open(&root, "", &problems).and_then(|mut top| match top.section("server") {
        None => {
            problems.add(&root.place, "server", "this section is missing; it says where the server listens");
            None
        }
        Some(section) => Some(section),
    });
    let server =
        section.and_then(|section| server::read(section, Keys::LeftAlone, &mut None, &mut Vec::new(), &mut Vec::new()));
    server.ok_or_else(|| invalid(problems.into_sorted()))
}

/// `signing` is about the keys of tokens and of the listener, `keys` about those of the backends.
fn decode(file: &Path, root: &Node, signing: Keys, keys: Keys, problems: &Problems) -> Option<Config> {
    let mut files = vec![file.to_owned()];
    let mut warnings = Vec::new();
    let mut top = match &root.value {
        Value::Null => {
            problems.add(&root.place, "", "the file is empty; start from config.example.yml");
            return None;
        }
        Value::Text(_) | Value::List(_) | Value::Map(_) => Section::open(root, "", problems)?,
    };
    // Where a backend is named that is not here, "none is configured" would be bad advice.
    let mut named = Vec::new();
    for &(key, instead) in ABSENT {
        if top.refuse(key, instead) {
            named.push(if key.contains("acl") || key.ends_with("authz") { Purpose::Rules } else { Purpose::Identity });
        }
    }
    if top.node("server").is_none() {
        problems.add(&root.place, "server", "this section is missing; it needs at least: addr: \":5001\"");
    }
    let mut of_server = None;
    let server = top
        .section("server")
        .and_then(|section| server::read(section, signing, &mut of_server, &mut files, &mut warnings));
    if top.node("token").is_none() {
        let message = "this section is missing; it needs at least: issuer: \"…\", as in the registry's settings";
        problems.add(&root.place, "token", message);
    }
    let token = top
        .section("token")
        .and_then(|section| token::read(section, of_server.as_ref(), signing, &mut files, &mut warnings));
    let services = token.as_ref().map(|token| token.services.as_slice());
    let forward_auth = top.section("forward_auth").and_then(|section| forward_auth::read(section, services, problems));
    if let Some(entry) = top.entry("forward_auth")
        && forward_auth.as_ref().is_some_and(|door| server::takes_everybody(&door.proxies))
    {
        let message = "everybody may ask as a proxy does, and say for which request and from which address; name only the \
                       networks of your proxies";
        warnings.push(Problem::new(entry.place.clone(), "forward_auth.trusted_proxies", message));
    }
    if let Some(server) = &server
        && let Some(idle) = &server.idle_timeout
        && !server.knows_proxies()
        && forward_auth.is_none()
    {
        let message = "only connections of proxies rest for so long, and none is named; name yours in trusted_proxies";
        warnings.push(Problem::new(idle.place.clone(), "server.idle_timeout", message));
    }
    let listen = server.as_ref().map(|server| &server.listen);
    let gateway = top
        .section("gateway")
        .and_then(|section| gateway::read(section, services, listen, keys, problems, &mut files, &mut warnings));
    if let (Some(server), Some(own)) = (&server, gateway.as_ref().and_then(|gateway| gateway.listen.as_ref())) {
        let others = [("server.addr", Some(&server.listen)), ("server.admin_addr", server.admin.as_ref())];
        let taken = others.into_iter().find(|(_, other)| other.is_some_and(|other| own.takes(other)));
        if let (Some((name, _)), Some(entry)) = (taken, top.entry("gateway")) {
            let message = format!("this is {name}, and only one can listen there; write another port");
            problems.add(&entry.place, "gateway.addr", message);
        }
    }
    let users = match top.node("users") {
        Some(node) => {
            let users = users::read(node, problems, &mut files);
            warnings.extend(users::doubts(&users));
            users
        }
        None if named.contains(&Purpose::Identity) => Users::new(),
        None if OTHER_AUTHN.iter().any(|key| top.node(key).is_some()) => Users::new(),
        None => {
            problems.add(&root.place, "users", "no way to log in is configured; write users: {} if really nobody may");
            Users::new()
        }
    };
    let acl = match top.node("acl") {
        Some(node) => rules::read(node, problems, &mut warnings),
        None if named.contains(&Purpose::Rules) => Rules::from_iter([]),
        None if OTHER_AUTHZ.iter().any(|key| top.node(key).is_some()) => Rules::from_iter([]),
        None => {
            problems.add(&root.place, "acl", "no rules are configured; write acl: [] if really nothing is allowed");
            Rules::from_iter([])
        }
    };
    let htpasswd_auth =
        top.section("htpasswd_auth").and_then(|section| htpasswd::read(section, keys, &mut files, &mut warnings));
    let ext_auth = top.section("ext_auth").and_then(program_authn::read);
    let ext_authz = top.section("ext_authz").and_then(program_authz::read);
    if keys == Keys::Read {
        let programs = [("ext_auth", ext_auth.as_ref().map(|users| &users.program)), ("ext_authz", ext_authz.as_ref())];
        for (key, settings) in programs {
            if let (Some(entry), Some(message)) = (top.entry(key), settings.and_then(program::warning)) {
                warnings.push(Problem::new(entry.place.clone(), format!("{key}.command"), message));
            }
        }
    }
    let ldap_auth =
        top.section("ldap_auth").and_then(|section| ldap::read(section, keys, problems, &mut files, &mut warnings));
    let mongo_auth = top
        .section("mongo_auth")
        .and_then(|section| mongo_users::read(section, keys, problems, &mut files, &mut warnings));
    let acl_mongo = top
        .section("acl_mongo")
        .and_then(|section| mongo_rules::read(section, keys, problems, &mut files, &mut warnings));
    let http_auth = top
        .section("http_auth")
        .and_then(|section| http_users::read(section, keys, problems, &mut files, &mut warnings));
    let http_authz = top
        .section("http_authz")
        .and_then(|section| http_authz::read(section, keys, problems, &mut files, &mut warnings));
    top.finish_with(meant_at_top);
    Some(Config {
        file: file.to_owned(),
        server: server?,
        token: token?,
        forward_auth,
        gateway,
        backends: Backends({
            fn row<T: Configured>(kind: &'static Kind, settings: Option<T>) -> Option<Row> {
                Some(Row { kind, settings: std::sync::Arc::new(settings?) })
            }
            [
                row(&users::KIND, Some(users).filter(|users| !users.is_empty())),
                row(&htpasswd::KIND, htpasswd_auth),
                row(&program_authn::KIND, ext_auth),
                row(&ldap::KIND, ldap_auth),
                row(&mongo_users::KIND, mongo_auth),
                row(&http_users::KIND, http_auth),
                row(&rules::KIND, Some(acl)),
                row(&mongo_rules::KIND, acl_mongo),
                row(&http_authz::KIND, http_authz),
                row(&program_authz::KIND, ext_authz),
            ]
            .into_iter()
            .flatten()
            .collect()
        }),
        warnings,
        files,
    })
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

/// The text of a file that may be as long as a configuration, and that was named on the command line.
///
/// # Errors
/// Says which file could not be read and why, with line and column.
pub fn read_text(file: &Path) -> Result<String, String> {
    text::decode_file(file, read_limited(file, &file.display().to_string(), MAX_FILE)?)
}

/// The same of a file that the configuration names.
///
/// # Errors
/// As [`read_text`].
pub(crate) fn read_named_text(file: &Path) -> Result<String, String> {
    text::decode_file(file, read_limited(file, &ShownPath(file).to_string(), MAX_FILE)?)
}

/// The secret in a file, without the white space around it (editors end files with a line break).
///
/// # Errors
/// Says which file could not be read and why.
pub fn read_secret(file: &Path) -> Result<String, String> {
    let text = text::decode_file(file, read_limited(file, &ShownPath(file).to_string(), MAX_SECRET)?)?;
    Ok(text.trim().to_owned())
}

/// The bytes of a certificate or key file. What is in them is for `pem` alone to read.
///
/// # Errors
/// Says which file could not be read and why.
pub fn read_pem(file: &Path) -> Result<Vec<u8>, String> {
    read_limited(file, &ShownPath(file).to_string(), MAX_SECRET)
}

/// The authorities of a PEM file; none where it is left alone.
///
/// # Errors
/// Says why the file could not be read, or what is wrong with what is in it.
pub(crate) fn read_authorities(file: &Path, keys: Keys) -> Result<pem::tls::Authorities, String> {
    match keys {
        Keys::Read => pem::tls::Authorities::from_pem(&read_pem(file)?).map_err(|problem| problem.to_string()),
        Keys::LeftAlone => Ok(pem::tls::Authorities::unread()),
    }
}

/// `name` is what the file is called in messages.
fn read_limited(file: &Path, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| match (error.kind(), process_user()) {
        (std::io::ErrorKind::PermissionDenied, Some(user)) => format!(
            "{name} cannot be read by user {user}, as whom this process runs; give the file to that user (chown {user} \
             {name}), or in a container run as the file's owner (user: in a compose file)",
        ),
        _ => format!("{name} cannot be read: {error}"),
    };
    // Opening a pipe waits for somebody to write into it, for ever if nobody does.
    if !std::fs::metadata(file).map_err(failed)?.is_file() {
        return Err(format!("{name} is not a regular file"));
    }
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(format!("{name} is larger than {limit} bytes"));
    }
    Ok(bytes)
}

/// The number of the user that this process runs as.
pub(crate) fn process_user() -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").ok().map(|seen| seen.uid())
}
