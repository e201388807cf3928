//! The `forward_auth:` section: which proxies may ask about a request of somebody else's, and what lies outside `/v2/`.

use policy::pattern::{Bindings, FieldValues, LabelValues, Pattern};
use policy::scope::Scope;
use settings::{At, Refusal, Section};

use super::server::read_peers;
use crate::client_address::Peers;

/// How requests that proxies ask about are decided.
#[derive(Debug)]
pub struct ForwardAuth {
    /// Who may ask. From anybody else the headers would be the client's own words.
    pub proxies: Peers,
    /// Which headers carry the original request.
    pub headers: OriginalHeaders,
    /// The registry behind the proxy: what rules see as `service`, and what tokens have to be for.
    pub service: String,
    /// How clients are told to log in.
    pub challenge: Challenge,
    /// What is protected outside of `/v2/`, the first that matches.
    pub paths: Vec<ProtectedPath>,
}

/// The family of headers that a proxy describes the original request with. Only one is believed: a proxy sets its own
/// and passes the client's of the other family on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginalHeaders {
    /// `X-Original-Method` and `X-Original-URI`, as configured in nginx.
    Original,
    /// `X-Forwarded-Method` and `X-Forwarded-Uri`, as Traefik and Caddy send them.
    Forwarded,
}

/// How clients are told to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// With account and password at each request.
    Basic,
    /// With a token of ours, to be fetched at this address.
    Bearer {
        /// The token endpoint, as clients reach it.
        realm: String,
    },
}

/// A row of the table of what is protected outside of `/v2/`.
#[derive(Debug)]
pub struct ProtectedPath {
    path: PathPattern,
    methods: Vec<String>,
    /// What is needed there.
    pub scope: Scope,
}

#[derive(Debug)]
enum PathPattern {
    /// `/docs/**`: everything below, as a prefix that ends in a slash.
    Below(String),
    /// A glob for the whole path, without its first slash.
    Glob(Pattern),
}

impl ProtectedPath {
    /// Whether this row is about such a request. `path` is in canonical form.
    pub fn covers(&self, method: &str, path: &str) -> bool {
        let labels = LabelValues::new();
        let nothing = FieldValues { account: "", kind: "", name: "", service: "" };
        self.methods.iter().any(|own| own == method)
            && match &self.path {
                PathPattern::Below(prefix) => path.starts_with(prefix.as_str()),
                PathPattern::Glob(pattern) => path
                    .strip_prefix('/')
                    .is_some_and(|path| pattern.matches(path, &Bindings::new(nothing, &labels)).unwrap_or(false)),
            }
    }
}

/// Reads the section. `services` are the audiences of tokens, where that section could be read: the only one is the
/// default here.
pub(super) fn read(mut section: Section<'_>, services: Option<&[String]>) -> Option<ForwardAuth> {
    let proxies = read_peers(&mut section, "trusted_proxies");
    if proxies == Peers::default() {
        let message = "name the proxies that may ask: their networks or addresses, or unix; everybody else is refused";
        section.missing("trusted_proxies", message);
    }
    let headers = section.word("headers", |text| match text {
        "original" => Ok(OriginalHeaders::Original),
        "forwarded" => Ok(OriginalHeaders::Forwarded),
        _ => Err(Refusal::is("neither original (nginx) nor forwarded (Traefik, Caddy)")),
    });
    let service = read_service(&mut section, services, "name the registry behind the proxy, as rules and tokens do");
    let challenge = read_challenge(&mut section);
    let paths = read_paths(&mut section);
    section.finish();
    Some(ForwardAuth {
        proxies,
        headers: headers.map_or(OriginalHeaders::Original, |at| at.value),
        service: service?,
        challenge: challenge?,
        paths,
    })
}

/// Reads `service`: the only audience of tokens is the default, and `otherwise` is said where there is none.
pub(super) fn read_service(section: &mut Section<'_>, services: Option<&[String]>, otherwise: &str) -> Option<String> {
    match (section.filled("service"), services) {
        (Some(at), _) => check_audience(section, &at, services).then_some(at.value),
        (None, Some([only])) => Some(only.clone()),
        (None, None) => None,
        (None, Some(_)) => {
            section.missing("service", otherwise);
            None
        }
    }
}

/// Whether there may be tokens for this `service`; it is a problem if not.
pub(super) fn check_audience(section: &mut Section<'_>, service: &At<String>, services: Option<&[String]>) -> bool {
    let is_one = services.is_none_or(|known| known.is_empty() || known.contains(&service.value));
    if !is_one {
        section.refuse_word(service, "service", &Refusal::is("not among token.services"));
    }
    is_one
}

/// Reads `challenge` and `realm`.
pub(super) fn read_challenge(section: &mut Section<'_>) -> Option<Challenge> {
    let realm = section.parsed("realm", |text| {
        let is_url = ["http://", "https://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
        let plain = text.bytes().all(|letter| letter.is_ascii_graphic() && !matches!(letter, b'"' | b'\\'));
        let server = text.split('/').nth(2).unwrap_or_default().split(['?', '#']).next().unwrap_or_default();
        match is_url && plain {
            // Every client is told this address.
            true if server.contains('@') => Err(Refusal::says(
                "every client is told this address, so it must not contain a user or a password; leave out everything up to the @",
            )),
            true => Ok(text.to_owned()),
            false => Err(Refusal::is("not an address; write it as clients reach it: https://auth.example.org/auth")),
        }
    });
    let challenge = section.word("challenge", |text| match text {
        "basic" => Ok(false),
        "bearer" => Ok(true),
        _ => Err(Refusal::is("neither basic nor bearer")),
    });
    match (challenge, realm) {
        (Some(At { value: true, .. }), Some(realm)) => Some(Challenge::Bearer { realm: realm.value }),
        (Some(At { value: true, place }), None) => {
            section.problem(&place, "realm", "clients need the address of the token endpoint: https://…/auth");
            None
        }
        (Some(At { value: false, .. }) | None, None) => Some(Challenge::Basic),
        (Some(At { value: false, .. }) | None, Some(realm)) => {
            section.problem(&realm.place, "realm", "this is for challenge: bearer; write that, or leave it out");
            None
        }
    }
}

fn read_paths(section: &mut Section<'_>) -> Vec<ProtectedPath> {
    let Some(field) = section.field("paths") else { return Vec::new() };
    let Some(rows) = field.items() else {
        field.problem(
            "a list is expected here: paths: [{path: \"/docs/**\", methods: [GET], scope: \"web:docs:read\"}]",
        );
        return Vec::new();
    };
    rows.iter().filter_map(|row| read_row(row.section()?)).collect()
}

fn read_row(mut row: Section<'_>) -> Option<ProtectedPath> {
    let path = row.parsed("path", read_path);
    if path.is_none() && !row.has("path") {
        row.missing("path", "a path is needed, such as /docs/** for everything below /docs/");
    }
    let mut methods = Vec::new();
    for method in row.texts("methods").unwrap_or_default() {
        match !method.value.is_empty() && method.value.bytes().all(|letter| letter.is_ascii_uppercase()) {
            true => methods.push(method.value),
            false => row.refuse_word(&method, "methods", &Refusal::is("not a method; write GET, HEAD, POST, …")),
        }
    }
    if methods.is_empty() {
        methods.extend(["GET", "HEAD"].map(str::to_owned));
    }
    let scope = row.word("scope", |text| match Scope::parse(text) {
        Ok(scope) if scope.actions.is_empty() => Err(Refusal::says("this asks for nothing; write web:docs:read")),
        Ok(scope) => Ok(scope),
        Err(error) => Err(Refusal::is(format!("not a scope: {error}"))),
    });
    if scope.is_none() && !row.has("scope") {
        row.missing("scope", "say what is needed there, such as web:docs:read");
    }
    row.finish();
    Some(ProtectedPath { path: path?.value, methods, scope: scope?.value })
}

fn read_path(text: &str) -> Result<PathPattern, Refusal> {
    let Some(below_root) = text.strip_prefix('/') else {
        return Err(Refusal::is("not a path; it begins with a slash"));
    };
    if text == "/v2" || text.starts_with("/v2/") {
        return Err(Refusal::says(
            "what lies below /v2/ is the registry's, and its rights follow from method and path",
        ));
    }
    if let Some(prefix) = text.strip_suffix("**")
        && prefix.ends_with('/')
        && !prefix.contains(['*', '?', '[', '\\'])
    {
        return Ok(PathPattern::Below(prefix.to_owned()));
    }
    let pattern = Pattern::compile(below_root).map_err(|error| error.to_string())?;
    if let Some(placeholder) = pattern.placeholders().next() {
        return Err(Refusal::says(format!("{placeholder} stands for nothing here; write the path itself")));
    }
    match pattern.is_regex() {
        true => Err(Refusal::says("this has an empty segment")),
        false => Ok(PathPattern::Glob(pattern)),
    }
}
