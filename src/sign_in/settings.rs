//! The sections of providers, with docker_auth's keys, and `sign_in:` itself.

mod check;
mod token_db;

use std::sync::Arc;
use std::time::Duration;

use settings::number::{duration, waiting_time};
use settings::yaml::Value;
use settings::{At, Field, Refusal, Section as Map};
use url::Url;

pub use check::check;
pub(super) use check::may_be_called;

use crate::pem::named::read_authorities;
use crate::pem::tls::Authorities;
use crate::records;
use crate::secret::Secret;
use crate::secret::sealing::SealingKey;
use crate::sign_in::token_db::TokenDb;
use crate::workload::{ClaimPath, PlainHttp, read_plain_http};

/// How long the word of a provider counts, where the file does not say.
const USUAL_LIFE: Duration = Duration::from_secs(3600);
/// How long the last word counts of one that is away, where the file does not say.
const USUAL_GRACE: Duration = Duration::from_secs(3600);
/// The longest of both: somebody who left would be in for so long.
pub(super) const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a provider may take to answer, where the file does not say, and at most.
const USUAL_ANSWER: Duration = Duration::from_secs(10);
const LONGEST_ANSWER: Duration = Duration::from_secs(60);
/// The shortest secret of ours, in bytes.
const SHORTEST_SECRET: usize = 32;
/// Google's issuer.
const GOOGLE: &str = "https://accounts.google.com";

/// The kinds of sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brand {
    OpenId,
    Google,
    GitHub,
    GitLab,
}

impl Brand {
    fn section(self) -> &'static str {
        match self {
            Brand::OpenId => super::OPENID.key,
            Brand::Google => super::GOOGLE.key,
            Brand::GitHub => super::GITHUB.key,
            Brand::GitLab => super::GITLAB.key,
        }
    }
}

/// A section: its providers, and what it keeps people with.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) section: &'static str,
    pub(super) providers: Vec<Arc<ProviderSettings>>,
    pub(super) store: Option<records::Settings>,
    pub(super) key: Option<SealingKey>,
}

/// One provider.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProviderSettings {
    pub(super) name: Option<String>,
    pub(super) title: String,
    pub(super) asked: Asked,
    pub(super) client_id: String,
    pub(super) client_secret: Secret,
    pub(super) redirect_url: Url,
    /// What its accounts begin with.
    pub(super) account_prefix: String,
    /// The registry that people are told to log in to.
    pub(super) registry: Option<String>,
    pub(super) revalidate_after: Duration,
    pub(super) grace: Duration,
    pub(super) http_timeout: Duration,
    pub(super) authorities: Option<Authorities>,
    /// Where docker_auth kept the passwords of its people.
    pub(super) token_db: Option<TokenDb>,
}

/// How it is asked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Asked {
    OpenId(OpenIdSettings),
    GitHub(GitHubSettings),
    GitLab(GitLabSettings),
}

/// A provider of OpenID Connect.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpenIdSettings {
    pub(super) dialect: Dialect,
    /// As its tokens have it, byte for byte.
    pub(super) issuer: String,
    pub(super) plain_http: PlainHttp,
    pub(super) user_claim: ClaimPath,
    pub(super) label_claims: Vec<ClaimPath>,
    pub(super) scopes: Vec<String>,
    /// The domain that addresses have to be of.
    pub(super) domain: Option<String>,
}

/// Whose ways a provider has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Plain,
    Google,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct GitHubSettings {
    pub(super) web: Url,
    pub(super) api: Url,
    pub(super) organization: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct GitLabSettings {
    pub(super) web: Url,
    pub(super) api: Url,
}

impl ProviderSettings {
    /// Who it is: of two providers of one issuer, an application each.
    pub(super) fn issuer(&self) -> &str {
        match &self.asked {
            Asked::OpenId(own) => &own.issuer,
            Asked::GitHub(own) => own.web.as_str(),
            Asked::GitLab(own) => own.web.as_str(),
        }
    }
}

/// Reads a section of providers. One that may be named more than once is a list, or a map of one.
pub(super) fn read_section(field: Field<'_>, brand: Brand) -> Option<Settings> {
    let problems_before = field.problem_count();
    let rows = match field.value() {
        Value::List(_) if brand == Brand::OpenId => field.items().unwrap_or_default(),
        Value::List(_) | Value::Null | Value::Text(_) | Value::Map(_) => vec![field.clone()],
    };
    let is_one = rows.len() == 1;
    let read = rows.iter().map(|row| read_provider(row.section()?, brand));
    let providers: Vec<Option<ProviderSettings>> = read.collect();
    for (index, (row, own)) in rows.iter().zip(&providers).enumerate() {
        let Some(own) = own else { continue };
        if !is_one && own.name.is_none() {
            row.problem("there are several; give each a name, which is in its address: name: work");
        }
        if providers.iter().take(index).flatten().any(|other| other.name == own.name && own.name.is_some()) {
            row.problem("another provider has this name; give each its own");
        }
    }
    if rows.is_empty() {
        field.problem("the list names no provider; leave the section out if there is none");
    }
    let providers: Vec<Arc<ProviderSettings>> =
        providers.into_iter().map(|one| one.map(Arc::new)).collect::<Option<_>>()?;
    (field.problem_count() == problems_before && !providers.is_empty()).then(|| Settings {
        section: brand.section(),
        providers,
        store: None,
        key: None,
    })
}

fn read_provider(mut map: Map<'_>, brand: Brand) -> Option<ProviderSettings> {
    let name = map.parsed("name", |text| match is_plain(text) {
        true => Ok(text.to_owned()),
        false => Err(Refusal::is("not a name; write letters, digits, dots, dashes and underscores")),
    });
    let client_id = map.filled("client_id");
    if client_id.is_none() {
        map.missing("client_id", "by which id does the provider know us? write the one of the application there");
    }
    let client_secret = map.secret("client_secret", "client_secret_file");
    if let Ok(None) = client_secret {
        map.missing(
            "client_secret_file",
            "the provider gives no tokens without the application's secret; write the file that holds it",
        );
    }
    let plain_http = read_plain_http(&mut map);
    let redirect_url = read_redirect(&mut map, brand, name.as_ref().map(|at| at.value.as_str()));
    let account_prefix = map.parsed("account_prefix", |text| {
        let is_one = |letter: u8| letter.is_ascii_alphanumeric() || b"._-".contains(&letter);
        match text.strip_suffix(':') {
            Some(name) if !name.is_empty() && name.len() <= 32 && name.bytes().all(is_one) => Ok(text.to_owned()),
            Some(_) | None if text.is_empty() => Ok(String::new()),
            Some(_) | None => {
                Err(Refusal::is("not a prefix; write letters and digits with a colon behind them: github:"))
            }
        }
    });
    let registry = map.filled("registry_url").map(|at| registry_of(&at.value));
    let title = map.filled("title").map(|at| at.value);
    let mut length = |key, usual| map.word(key, length_of).map_or(usual, |at: At<Duration>| at.value);
    let (revalidate_after, grace) = (length("revalidate_after", USUAL_LIFE), length("grace", USUAL_GRACE));
    let http_timeout = map.word("http_timeout", |text| waiting_time(text, LONGEST_ANSWER, "10s"));
    let authorities = map.path("ca_certificate").map(|at| read_authorities(&map, &at, "ca_certificate")).transpose();
    let token_db = token_db::read(&mut map);
    warn_of_prefix(&map, account_prefix.as_ref(), token_db.as_ref());
    let (usual_title, asked) = match brand {
        Brand::OpenId => ("OpenID Connect", read_openid(&mut map, plain_http).map(Asked::OpenId)),
        Brand::Google => ("Google", read_google(&mut map).map(Asked::OpenId)),
        Brand::GitHub => ("GitHub", read_github(&mut map, plain_http).map(Asked::GitHub)),
        Brand::GitLab => ("GitLab", read_gitlab(&mut map, plain_http).map(Asked::GitLab)),
    };
    map.finish();
    Some(ProviderSettings {
        title: title.or_else(|| name.as_ref().map(|at| at.value.clone())).unwrap_or_else(|| usual_title.to_owned()),
        name: name.map(|at| at.value),
        asked: asked?,
        client_id: client_id?.value,
        client_secret: Secret::new(client_secret.ok()??.value),
        redirect_url: redirect_url?,
        account_prefix: account_prefix.map(|at| at.value).unwrap_or_default(),
        registry,
        revalidate_after,
        grace,
        http_timeout: http_timeout.map_or(USUAL_ANSWER, |at| at.value),
        authorities: authorities.ok()?,
        token_db,
    })
}

/// Reads the address that browsers come back to. It is never made of what a client says of our name: whoever can set that could have
/// codes sent to themselves.
fn read_redirect(map: &mut Map<'_>, brand: Brand, name: Option<&str>) -> Option<Url> {
    let key = match brand {
        Brand::OpenId | Brand::Google | Brand::GitHub => "redirect_url",
        Brand::GitLab => "redirect_uri",
    };
    let end = match name {
        Some(name) => format!("/{}/{name}", brand.section()),
        None => format!("/{}", brand.section()),
    };
    // A name is not repeated: a secret can stand in its place.
    let shown = match name {
        Some(_) => format!("/{}/NAME", brand.section()),
        None => end.clone(),
    };
    if !map.has(key) {
        let how = match brand {
            Brand::OpenId | Brand::GitLab => "",
            Brand::Google => " (docker_auth's set-up had none: add it to the client's authorized redirect URIs)",
            Brand::GitHub => " (as the application's authorization callback URL has it)",
        };
        map.missing(
            key,
            format!(
                "where do browsers come back to? write https://auth.example.org{shown}, and register it there{how}"
            ),
        );
        return None;
    }
    let read = map.parsed(key, |text| {
        let url = Url::parse(text).ok().filter(|url| {
            let is_plain = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
            is_plain && matches!(url.scheme(), "https" | "http") && url.has_host() && url.path().ends_with(&end)
        });
        url.ok_or_else(|| {
            Refusal::is(format!("not an address that browsers come back to; write https://auth.example.org{shown}"))
        })
    });
    let At { place, value } = read?;
    if value.scheme() == "http" {
        map.warn(&place, key, "codes come back over plain HTTP, where anybody on the way can take them; write https");
    }
    Some(value)
}

fn read_openid(map: &mut Map<'_>, plain_http: PlainHttp) -> Option<OpenIdSettings> {
    let issuer = map.parsed("issuer", |text| {
        let url = Url::parse(text).ok().filter(|url| url.query().is_none() && url.fragment().is_none());
        match url {
            Some(url) if url.scheme() == "https" || plain_http.takes(&url) => Ok(text.to_owned()),
            Some(_) => Err(Refusal::says(
                "without TLS, anybody on the way could say who somebody is; write an issuer with https",
            )),
            None => {
                Err(Refusal::is("not an issuer; write it as its tokens have it in iss: https://accounts.example.org"))
            }
        }
    });
    if issuer.is_none() && !map.has("issuer") {
        map.missing("issuer", "who is asked? write iss as its tokens have it: https://accounts.example.org");
    }
    let user_claim = map.parsed("user_claim", claim_path);
    let label_claims = read_label_claims(map);
    let scopes = map.texts("scopes").map(|all| all.into_iter().map(|at| at.value).collect());
    let mut scopes: Vec<String> = scopes.unwrap_or_else(|| vec!["openid".to_owned(), "email".to_owned()]);
    if !scopes.iter().any(|scope| scope == "openid") {
        scopes.insert(0, "openid".to_owned());
    }
    let domain = map.filled("domain").map(|at| at.value);
    Some(OpenIdSettings {
        dialect: Dialect::Plain,
        issuer: issuer?.value,
        plain_http,
        user_claim: user_claim.map(|at| at.value).or_else(|| ClaimPath::parse("email"))?,
        label_claims: label_claims?,
        scopes,
        domain,
    })
}

fn read_google(map: &mut Map<'_>) -> Option<OpenIdSettings> {
    let domain = map.filled("domain");
    if domain.is_none() {
        map.warn(
            map.place(),
            "domain",
            "everybody with an address at Google may sign in; write domain: example.org for yours alone",
        );
    }
    Some(OpenIdSettings {
        dialect: Dialect::Google,
        issuer: GOOGLE.to_owned(),
        plain_http: PlainHttp::Refused,
        user_claim: ClaimPath::parse("email")?,
        label_claims: Vec::new(),
        scopes: ["openid", "email"].map(str::to_owned).into(),
        domain: domain.map(|at| at.value),
    })
}

fn read_label_claims(map: &mut Map<'_>) -> Option<Vec<ClaimPath>> {
    // docker_auth's reference names the one and its code reads the other.
    let (own, theirs) = (map.texts("label_claims"), map.texts("labels_claims"));
    if let (Some(_), Some(_)) = (&own, &theirs) {
        map.missing("labels_claims", "label_claims and labels_claims are two spellings of one key; write one of them");
        return None;
    }
    let mut paths = Vec::new();
    for at in own.or(theirs).unwrap_or_default() {
        match claim_path(&at.value) {
            Ok(path) => paths.push(path),
            Err(refusal) => {
                map.refuse_word(&at, "label_claims", &refusal);
                return None;
            }
        }
    }
    Some(paths)
}

fn claim_path(text: &str) -> Result<ClaimPath, Refusal> {
    let wrong =
        || Refusal::is("not a claim's name; write it as the token has it, with dots between names: realm_access.roles");
    ClaimPath::parse(text).ok_or_else(wrong)
}

fn read_github(map: &mut Map<'_>, plain_http: PlainHttp) -> Option<GitHubSettings> {
    let web = read_address(map, "github_web_uri", "https://github.com", plain_http);
    let api = read_address(map, "github_api_uri", "https://api.github.com", plain_http);
    let organization = map.filled("organization");
    if organization.is_none() {
        map.warn(
            map.place(),
            "organization",
            "everybody at GitHub may sign in; write organization: yours for its members alone",
        );
    }
    Some(GitHubSettings { web: web?, api: api?, organization: organization.map(|at| at.value) })
}

fn read_gitlab(map: &mut Map<'_>, plain_http: PlainHttp) -> Option<GitLabSettings> {
    let web = read_address(map, "gitlab_web_uri", "https://gitlab.com", plain_http);
    let api = read_address(map, "gitlab_api_uri", "https://gitlab.com/api/v4", plain_http);
    map.word("grant_type", |text| match text {
        "authorization_code" => Ok(()),
        _ => Err(Refusal::is("not a way in that a browser has; write authorization_code, or leave this out")),
    });
    map.refuse(
        "organization",
        "docker_auth reads this and never looks: everybody was let in. GitLab shows groups to OpenID Connect; use an oidc_auth of your \
         GitLab with label_claims: [groups_direct], and rules that name the group",
    );
    Some(GitLabSettings { web: web?, api: api? })
}

fn read_address(map: &mut Map<'_>, key: &'static str, usual: &str, plain_http: PlainHttp) -> Option<Url> {
    if !map.has(key) {
        return Url::parse(usual).ok();
    }
    let read = map.parsed(key, |text| {
        let url = Url::parse(text).ok().filter(|url| url.query().is_none() && url.username().is_empty());
        url.filter(|url| url.scheme() == "https" || plain_http.takes(url))
            .ok_or_else(|| Refusal::is(format!("not an address over TLS; write {usual}")))
    });
    Some(read?.value)
}

/// Whoever logs in as before has no prefix.
fn warn_of_prefix(map: &Map<'_>, prefix: Option<&At<String>>, token_db: Option<&TokenDb>) {
    if let (Some(at), Some(_)) = (prefix.filter(|at| !at.value.is_empty()), token_db) {
        map.warn(
            &at.place,
            "account_prefix",
            "the passwords of docker_auth work on under names with this prefix alone: people have to run docker login again",
        );
    }
}

fn length_of(text: &str) -> Result<Duration, Refusal> {
    match duration(text)? {
        length if length <= LONGEST => Ok(length),
        _ => Err(Refusal::says("who left would be in for so long; write 168h or less")),
    }
}

/// The registry as docker is told it, whatever stands before its name.
fn registry_of(text: &str) -> String {
    let text = text.trim_start_matches("https://").trim_start_matches("http://");
    text.trim_end_matches('/').to_owned()
}

fn is_plain(text: &str) -> bool {
    let is_one = |letter: u8| letter.is_ascii_alphanumeric() || b"._-".contains(&letter);
    !text.is_empty() && text.len() <= 64 && text.bytes().all(is_one)
}

/// The `sign_in:` section: what is common to all ways of signing in.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// What browsers' cookies are signed with, and providers' tokens sealed.
    pub key: SealingKey,
    /// The registry that people are told to log in to, where their provider's section does not say.
    pub registry: Option<String>,
    /// Where people reach the pages, `server.path_prefix` included. Terminals name it, and log in only where it is set.
    pub url: Option<Url>,
}

/// Reads the section. `None` where something is wrong with it.
pub fn read(mut map: Map<'_>) -> Option<Section> {
    const HOW: &str = "a secret of 32 characters or more is needed, the same on all replicas; write secret_file with what \
                       `openssl rand -base64 48` says";
    let secret = map.secret("secret", "secret_file");
    let registry = map.filled("registry_url").map(|at| registry_of(&at.value));
    // As where browsers come back to, it is never made of what a client says of our name.
    let has_url = map.has("url");
    let url = map.parsed("url", |text| {
        let url = Url::parse(text).ok().filter(|url| {
            let is_plain = url.username().is_empty() && url.query().is_none() && url.fragment().is_none();
            is_plain && matches!(url.scheme(), "https" | "http") && url.has_host()
        });
        url.ok_or_else(|| Refusal::is("not an address of pages; write https://auth.example.org"))
    });
    if let Some(At { place, value }) = url.as_ref().filter(|at| at.value.scheme() == "http") {
        let is_far = value.host_str().is_none_or(|host| !matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
        if is_far {
            map.warn(place, "url", "terminals send people there over plain HTTP, where anybody on the way can sign in as them; write https");
        }
    }
    let secrets = map.secrets();
    let key = match secret {
        Ok(Some(at)) if at.value.len() >= SHORTEST_SECRET || secrets == settings::Secrets::Skip => {
            Some(SealingKey::from_secret(Secret::new(at.value)))
        }
        Ok(Some(at)) => {
            map.problem(&at.place, "secret", format!("this is too short; {HOW}"));
            None
        }
        Ok(None) => {
            map.missing("secret_file", HOW);
            None
        }
        Err(_) => None,
    };
    map.finish();
    let url = url.map(|at| at.value);
    if has_url && url.is_none() {
        return None;
    }
    Some(Section { key: key?, registry, url })
}
