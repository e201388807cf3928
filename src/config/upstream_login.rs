//! Who we are to a registry behind the gateway: the `auth:` of an upstream.

use std::net::IpAddr;

use axum::http::Uri;
use axum::http::uri::Scheme;
use settings::{At, Noted, Refusal, Section};

use crate::authn::Secret;

/// Who we are to an upstream.
#[derive(Clone, Debug, PartialEq)]
pub enum Login {
    /// Nobody.
    Anonymous,
    /// An account and a password at each request.
    Basic(UpstreamAccount),
    /// Tokens from the upstream's own token service.
    TokenService {
        /// The token endpoint. The only place that the account is ever shown to, whatever the upstream says.
        realm: Uri,
        /// The audience that it knows the registry by.
        service: String,
        /// Who we are there, if not nobody.
        account: Option<UpstreamAccount>,
    },
    /// Authorization tokens of ECR.
    Ecr(Ecr),
}

/// Where authorization tokens of ECR come from. What is absent is found out as AWS's own tools do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ecr {
    /// The region.
    pub region: Option<String>,
    /// The account that the registry belongs to.
    pub registry_id: Option<String>,
    /// Another address of ECR's API.
    pub endpoint: Option<String>,
    /// The profile in AWS's shared files.
    pub profile: Option<String>,
}

/// An account of ours at an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamAccount {
    /// Its name.
    pub username: String,
    /// Its password.
    pub password: Secret,
}

/// An address with a scheme of HTTP and a host, and without a login in it: addresses are logged.
pub(super) fn read_url(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let known = url.scheme() == Some(&Scheme::HTTP) || url.scheme() == Some(&Scheme::HTTPS);
    let host = url.host().is_some_and(|host| !host.is_empty());
    (known && host && !text.contains(['@', '#', ' '])).then_some(url)
}

/// Whether what is sent there can be read on the way: plain HTTP to another machine.
pub(super) fn in_the_clear(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    // By what it is and not by how it begins: 127.0.0.1.example.org is anybody's.
    let here = host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback());
    url.scheme() == Some(&Scheme::HTTP) && !here
}

/// Reads `auth`; `url` is where the registry is, which may say more.
pub(super) fn read_login(mut auth: Section<'_>, url: Option<&Uri>) -> Option<Login> {
    let basic = auth.section("basic");
    let token = auth.section("token");
    let ecr = auth.section("ecr");
    let login = match (basic, token, ecr) {
        (Some(mut basic), None, None) => {
            let account = read_account(&mut basic);
            if let Ok(None) = account {
                basic.missing("username", "the login has no user name; write username, and password or password_file");
            }
            basic.finish();
            account.ok().flatten().map(Login::Basic)
        }
        (None, Some(token), None) => read_token_service(token),
        (None, None, Some(ecr)) => read_ecr(ecr, url),
        (None, None, None) => {
            auth.missing("basic", "say how to log in: basic, token or ecr; leave auth out for no login");
            None
        }
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            // Their keys are left alone: half of them are to go.
            auth.missing("basic", "there is more than one way to log in; keep one of basic, token and ecr");
            None
        }
    };
    auth.finish();
    login
}

/// The region and the account that stand in the host name of an ECR registry: `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, or
/// `ACCOUNT.dkr-ecr.REGION.on.aws`. Nobody but Amazon has names below these.
fn in_host_name(url: Option<&Uri>) -> Option<(String, String)> {
    let host = url?.host()?.to_ascii_lowercase();
    let amazons = [".amazonaws.com", ".amazonaws.com.cn"].into_iter().find_map(|end| host.strip_suffix(end));
    let (account, region) = match amazons {
        Some(name) => name.split_once(".dkr.ecr.").or_else(|| name.split_once(".dkr.ecr-fips."))?,
        None => {
            let name = host.strip_suffix(".on.aws")?;
            name.split_once(".dkr-ecr.").or_else(|| name.split_once(".dkr-ecr-fips."))?
        }
    };
    let is_label = |text: &str| !text.is_empty() && !text.contains('.');
    (is_account(account) && is_label(region)).then(|| (region.to_owned(), account.to_owned()))
}

/// Whether it is the number of an AWS account.
fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_digit())
}

fn read_ecr(mut ecr: Section<'_>, url: Option<&Uri>) -> Option<Login> {
    let (region, account) = in_host_name(url).unzip();
    let registry_id = ecr.parsed("registry_id", |text| match is_account(text) {
        true => Ok(text.to_owned()),
        false => Err(Refusal::is("not an AWS account; one has twelve digits (in quotes, if the first is 0)")),
    });
    let wrong = registry_id.is_none() && ecr.has("registry_id");
    let endpoint = ecr.parsed("endpoint", |text| match read_url(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(Refusal::is("not an address; write https://api.ecr.eu-central-1.amazonaws.com")),
    });
    let wrong = wrong || (endpoint.is_none() && ecr.has("endpoint"));
    let said = ecr.filled("region");
    // The token is for all that the account may reach, and goes to whoever answers there.
    let profile = ecr.filled("profile").map(|at| at.value);
    let is_named = region.is_some() || ecr.has("region") || ecr.has("profile");
    let elsewhere = url.is_some() && !is_named;
    if elsewhere {
        let message = "url is no address of ECR's; write ACCOUNT.dkr.ecr.REGION.amazonaws.com there, or region here if ECR is behind it: ecr: {region: eu-central-1}";
        ecr.missing("region", message);
    }
    let wrong = wrong || elsewhere;
    let settings = Ecr {
        region: said.map(|at| at.value).or(region),
        registry_id: registry_id.map(|at| at.value).or(account),
        endpoint: endpoint.map(|at| at.value),
        profile,
    };
    ecr.finish();
    (!wrong).then_some(Login::Ecr(settings))
}

fn read_token_service(mut token: Section<'_>) -> Option<Login> {
    let realm = token.parsed("realm", |text| {
        read_url(text).ok_or_else(|| Refusal::is("not an address; write https://auth.example.org/token"))
    });
    if realm.is_none() && !token.has("realm") {
        token.missing("realm", "the address of the token service is needed: the realm of the registry's own challenge");
    }
    let service = token.filled("service");
    if service.is_none() {
        token.missing("service", "the audience of the tokens is needed: the service of the registry's own challenge");
    }
    let account = read_account(&mut token);
    if let (Some(At { place, value }), Ok(Some(_))) = (&realm, &account)
        && in_the_clear(value)
    {
        let message = "our password goes there unencrypted, readable by everybody on the way; use https://";
        token.warn(place, "realm", message);
    }
    token.finish();
    Some(Login::TokenService { realm: realm?.value, service: service?.value, account: account.ok()? })
}

/// An account of ours, `None` where none is named. What is half named is a problem.
fn read_account(section: &mut Section<'_>) -> Result<Option<UpstreamAccount>, Noted> {
    let username = section.filled("username");
    let (place, message) = match (username, section.secret("password", "password_file")?) {
        (Some(username), _) if username.value.contains(':') => {
            (username.place, "a colon ends the name; no account can have one")
        }
        (Some(username), Some(password)) => {
            return Ok(Some(UpstreamAccount { username: username.value, password: Secret::new(password.value) }));
        }
        (Some(username), None) => (username.place, "a user name is given without password or password_file"),
        (None, Some(password)) => (password.place, "a password is given without its user name"),
        (None, None) => return Ok(None),
    };
    section.problem(&place, "username", message);
    Err(Noted)
}
