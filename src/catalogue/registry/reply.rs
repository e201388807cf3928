//! What a registry answers, and what is wrong where it does not answer as a registry does.

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, LINK};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::catalogue::name::is_digest;
use crate::json;
use crate::link::next_link;
use crate::records::hexadecimal;
use crate::shown::chain_of;

/// The registry did not answer as a registry does.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegistryFailure {
    /// It cannot be reached, or does not answer in time.
    #[error("the registry cannot be asked: {0}")]
    Away(String),
    /// It does not take our tokens.
    #[error(
        "the registry refuses our token (status {0}); are token.issuer, its REGISTRY_AUTH_TOKEN_ISSUER and _SERVICE, and its \
         rootcertbundle what they should be?"
    )]
    Refused(u16),
    /// Its answer is of no use.
    #[error("the registry's answer cannot be used: {0}")]
    Odd(String),
    /// No token could be made.
    #[error("no token for the registry can be made: {0}")]
    NoToken(String),
}

/// An answer, read to its end.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Deserialize)]
pub(super) struct Catalog {
    #[serde(default)]
    pub(super) repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
pub(super) struct Tags {
    #[serde(default)]
    pub(super) tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default, deserialize_with = "json::objects")]
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
}

/// What a tag or a digest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::catalogue) struct Named {
    /// The digest.
    pub(in crate::catalogue) digest: String,
    /// The media type.
    pub(in crate::catalogue) media_type: String,
}

impl Named {
    /// Whether this is the manifest that the digest names. Of a digest that is no SHA-256 nobody can say, nor of docker's first kind of
    /// manifest, whose signature is in it.
    pub(super) fn is_of(&self, body: &[u8]) -> bool {
        match self.digest.strip_prefix("sha256:") {
            Some(digest) if !self.media_type.starts_with("application/vnd.docker.distribution.manifest.v1+") => {
                hexadecimal(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body).as_ref()) == digest
            }
            Some(_) | None => true,
        }
    }
}

/// Reads a body of `most` bytes at most.
pub(super) async fn read(body: Incoming, most: usize) -> Result<Bytes, RegistryFailure> {
    let read = Limited::new(body, most).collect().await;
    read.map(|whole| whole.to_bytes()).map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => RegistryFailure::Odd(format!("it is longer than {most} bytes")),
        None => RegistryFailure::Away(chain_of(&*error)),
    })
}

/// What an answer of 200 says; `what` names it in a failure.
pub(super) fn expect_ok<T: for<'de> Deserialize<'de>>(reply: &Reply, what: &str) -> Result<T, RegistryFailure> {
    match reply.status {
        StatusCode::OK => {
            json::object(&reply.body).map_err(|error| RegistryFailure::Odd(format!("{what} is none: {error}")))
        }
        _ => Err(unexpected(reply, what)),
    }
}

/// The failure that an answer of any other status is.
pub(super) fn unexpected(reply: &Reply, what: &str) -> RegistryFailure {
    match reply.status {
        // One repository may be broken (500), and the registry well.
        status @ (StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS) => {
            RegistryFailure::Away(format!("it answers {} instead of {what}", status.as_u16()))
        }
        status => RegistryFailure::Odd(format!("it answers {} instead of {what}", status.as_u16())),
    }
}

/// The codes of a registry's errors; none where the body is something else.
pub(super) fn error_codes(reply: &Reply) -> Vec<String> {
    let errors = json::object::<Errors>(&reply.body).map(|read| read.errors).unwrap_or_default();
    errors.into_iter().map(|error| error.code).collect()
}

/// The digest and the media type that an answer names in its headers.
pub(super) fn named(reply: &Reply) -> Result<Named, RegistryFailure> {
    let text = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok());
    let digest = text("docker-content-digest").filter(|digest| is_digest(digest));
    let digest = digest.ok_or_else(|| RegistryFailure::Odd("a manifest comes without its digest".to_owned()))?;
    let media_type = text(CONTENT_TYPE.as_str()).unwrap_or_default().split(';').next().unwrap_or_default().trim();
    Ok(Named { digest: digest.to_owned(), media_type: media_type.to_owned() })
}

/// Where the next page begins, as the `Link` to it says. Its address is not followed: of a registry behind a proxy it may lead anywhere.
pub(super) fn next_name(headers: &HeaderMap) -> Result<Option<String>, RegistryFailure> {
    let odd = || RegistryFailure::Odd("the link to the next page cannot be read".to_owned());
    if headers.get_all(LINK).iter().any(|line| line.to_str().is_err()) {
        return Err(odd());
    }
    let Some(target) = next_link(headers) else { return Ok(None) };
    let query = target.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let last = query.split('&').find_map(|pair| pair.strip_prefix("last=")).ok_or_else(odd)?;
    let last = last.replace('+', " ");
    let last = percent_decode_str(&last).decode_utf8().map_err(|_| odd())?;
    Ok(Some(last.into_owned()))
}
