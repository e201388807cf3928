//! Where the `workload:` section says that an issuer's keys are, and whom it says to ask about tokens: HTTPS, or a file.

use settings::files::read_pem;
use settings::yaml::Value;
use settings::{Refusal, Section};
use url::{Host, Url};

use super::entry::Issuer;
use super::fetch::Published;
use super::key_set::{KeySet, Meant};
use super::keys::KeysFrom;
use super::review::ReviewSettings;
use crate::pem::named::read_authorities;
use crate::pem::tls::Authorities;
use crate::secret::Secret;

/// Where an issuer's discovery document is, below its address (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Reads `keys`.
pub(super) fn read_keys(section: &mut Section<'_>, issuer: Option<&Issuer>) -> Option<KeysFrom> {
    const HOW: &str =
        "where are the issuer's keys? write keys: discovery, or keys: {url: \"https://…\"} or keys: {file: jwks.json}";
    let Some(field) = section.field("keys") else {
        section.missing("keys", HOW);
        return None;
    };
    let meant = match issuer? {
        Issuer::Exactly(_) => Meant::Signatures,
        Issuer::TrustDomain(_) => Meant::JwtSvids,
    };
    let wrong = |message: &str| {
        field.problem(message);
        None
    };
    match (field.value(), issuer?) {
        (Value::Text(word), Issuer::Exactly(issuer)) if word == "discovery" => {
            let document = format!("{}{DISCOVERY}", issuer.trim_end_matches('/'));
            match Url::parse(&document).ok().filter(|document| document.scheme() == "https") {
                Some(document) => {
                    let published = Published::Discovery { document, issuer: issuer.clone() };
                    Some(KeysFrom::Issuer { published, authorities: None })
                }
                None => wrong(
                    "keys are not fetched without TLS, since anybody on the way could change them; write keys: {file: …}",
                ),
            }
        }
        (Value::Text(word), Issuer::TrustDomain(_)) if word == "discovery" => {
            wrong("a trust domain has no discovery; write keys: {url: …} of its bundle endpoint, or keys: {file: …}")
        }
        (Value::Text(_), _) => wrong(HOW),
        (Value::Null | Value::List(_) | Value::Map(_), issuer) => read_source(field.section()?, issuer, meant),
    }
}

fn read_source(mut keys: Section<'_>, issuer: &Issuer, meant: Meant) -> Option<KeysFrom> {
    let plain_http = read_plain_http(&mut keys);
    let mut address = |key: &'static str| {
        keys.parsed(key, |text| {
            let url = Url::parse(text).ok().filter(|url| url.username().is_empty() && url.password().is_none());
            match url {
                Some(url) if url.scheme() == "https" || plain_http.takes(&url) => Ok(url),
                Some(_) | None => Err(Refusal::is("not an address of keys; write https://…, without a login in it")),
            }
        })
    };
    let (discovery, url) = (address("discovery"), address("url"));
    let file = keys.path("file");
    let authorities = keys.path("ca_certificate");
    let has_authorities = authorities.is_some();
    let authorities = authorities.map(|at| read_authorities(&keys, &at, "ca_certificate")).transpose();
    let named = ["discovery", "url", "file"].into_iter().filter(|key| keys.has(key)).count();
    if named != 1 {
        keys.missing("url", "name one place where the keys are: discovery, url or file");
    }
    let of_issuer = |published, authorities: Result<Option<Authorities>, _>| {
        Some(KeysFrom::Issuer { published, authorities: authorities.ok()? })
    };
    let read = match (discovery, url, file) {
        (Some(discovery), None, None) => match issuer {
            Issuer::Exactly(issuer) => {
                of_issuer(Published::Discovery { document: discovery.value, issuer: issuer.clone() }, authorities)
            }
            Issuer::TrustDomain(_) => {
                keys.problem(&discovery.place, "discovery", "a trust domain has no discovery; write url or file");
                None
            }
        },
        (None, Some(url), None) => of_issuer(Published::Set { address: url.value, meant }, authorities),
        (None, None, Some(file)) => {
            if has_authorities {
                keys.problem(&file.place, "ca_certificate", "a file has no server whose certificate could be checked");
            }
            let read =
                |path: &std::path::Path| KeySet::parse(&read_pem(path)?, meant).map_err(|wrong| wrong.to_string());
            keys.read_file(&file, "file", read).ok().map(|keys| KeysFrom::File(keys.unwrap_or_default()))
        }
        (_, _, _) => None,
    };
    keys.finish();
    read.filter(|_| named == 1)
}

/// Whether something may be fetched without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlainHttp {
    /// Never: anybody on the way could answer.
    Refused,
    /// From this machine, where nobody is on the way: for tests.
    Loopback,
}

impl PlainHttp {
    /// Whether this address is one that is asked over plain HTTP.
    pub(crate) fn takes(self, url: &Url) -> bool {
        let is_loopback = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(_)) | None => false,
        };
        match self {
            PlainHttp::Refused => false,
            PlainHttp::Loopback => url.scheme() == "http" && is_loopback,
        }
    }
}

pub(crate) fn read_plain_http(section: &mut Section<'_>) -> PlainHttp {
    let said = section.word("plain_http", |text| match text {
        "loopback" => Ok(PlainHttp::Loopback),
        _ => Err(Refusal::is("not a place where nobody listens; write loopback, or leave this out")),
    });
    said.map_or(PlainHttp::Refused, |at| at.value)
}

/// Reads `token_review`.
pub(super) fn read_review(mut review: Section<'_>) -> Option<ReviewSettings> {
    let plain_http = read_plain_http(&mut review);
    let api = review.parsed("api", |text| {
        let url =
            Url::parse(text).ok().filter(|url| url.path() == "/" && url.query().is_none() && url.username().is_empty());
        match url {
            Some(url) if url.scheme() == "https" || plain_http.takes(&url) => Ok(url),
            Some(_) | None => {
                Err(Refusal::is("not the address of an API server; write https://kubernetes.default.svc"))
            }
        }
    });
    if api.is_none() && !review.has("api") {
        review.missing("api", "which API server? https://kubernetes.default.svc");
    }
    let authorities = review.path("ca").map(|at| read_authorities(&review, &at, "ca")).transpose();
    let file = review.path("token_file");
    if file.is_none() && !review.has("token_file") {
        let message = "a token for the cluster is needed; write the file of a service account's token that may make TokenReviews: \
                       /var/run/secrets/kubernetes.io/serviceaccount/token";
        review.missing("token_file", message);
    }
    let token = file.map(|file| {
        let token = review.secret_in(&file, "token_file")?;
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            review.problem(&file.place, "token_file", "the file holds no token");
        }
        Ok::<_, settings::Noted>(Secret::new(token))
    });
    review.finish();
    Some(ReviewSettings { api: api?.value, authorities: authorities.ok()?, token: token?.ok()? })
}
