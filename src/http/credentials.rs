//! Reads [`Credentials`] from what a request presents: a Basic header, or a form's user name and password.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::authn::{Account, Credentials, Secret};

/// Credentials that could not be read at all, or that nobody can have. A 401, never anonymous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credentials are not understood; send an account and a password by Basic authentication")]
pub struct Malformed;

/// Reads the Authorization header.
///
/// No header, an empty one and `Og==` (":") are anonymous: clients without an account send all three. Everything else
/// that is not an account with a password is an error and never anonymous: a refresh token or a mistyped header must
/// not quietly become somebody with fewer rights.
///
/// # Errors
/// [`Malformed`].
pub fn from_header(headers: &HeaderMap) -> Result<Credentials, Malformed> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(Credentials::Anonymous) };
    if lines.next().is_some() {
        return Err(Malformed);
    }
    let line = line.to_str().map_err(|_| Malformed)?.trim();
    if line.is_empty() {
        return Ok(Credentials::Anonymous);
    }
    let (scheme, encoded) = line.split_once(' ').unwrap_or((line, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Malformed);
    }
    let encoded = encoded.trim();
    if encoded.is_empty() {
        return Ok(Credentials::Anonymous);
    }
    let decoded = STANDARD.decode(encoded).map_err(|_| Malformed)?;
    let text = String::from_utf8(decoded).map_err(|_| Malformed)?;
    match text.split_once(':') {
        Some(("", "")) => Ok(Credentials::Anonymous),
        Some((account, password)) => from_pair(account, password),
        None => Err(Malformed),
    }
}

/// An account and a password as one pair; an empty one of the two is refused here, so that no backend ever compares
/// (or binds with) an empty password.
///
/// # Errors
/// [`Malformed`].
pub fn from_pair(account: &str, password: &str) -> Result<Credentials, Malformed> {
    match Account::parse(account) {
        Ok(account) if account.is_typed() && !password.is_empty() => {
            Ok(Credentials::Password { account, password: Secret::new(password) })
        }
        Ok(_) | Err(_) => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: Option<&str>) -> Result<Credentials, Malformed> {
        let mut headers = HeaderMap::new();
        if let Some(line) = line.and_then(|line| line.parse().ok()) {
            headers.insert(AUTHORIZATION, line);
        }
        from_header(&headers)
    }

    #[test]
    fn only_nothing_is_anonymous() {
        for line in [None, Some(""), Some("Basic "), Some("basic"), Some("Basic Og==")] {
            assert!(matches!(read(line), Ok(Credentials::Anonymous)), "{line:?}");
        }
        // user: | :token | junk | no colon | not UTF-8 | other schemes
        for line in [
            "Basic dXNlcjo=",
            "Basic OlJFRlJFU0gx",
            "Basic !!!",
            "Basic dXNlcg==",
            "Basic //86eA==",
            "Bearer x",
            "Digest a=b",
            "Basi",
        ] {
            assert!(matches!(read(Some(line)), Err(Malformed)), "{line}");
        }
    }

    #[test]
    fn the_password_begins_after_the_first_colon() {
        let credentials = read(Some("Basic YWxpK2NlOnArdzrDtiAl"));
        assert_eq!(credentials, from_pair("ali+ce", "p+w:ö %"));
        let read = credentials.as_ref().ok().and_then(Credentials::password);
        assert_eq!(read.map(|(account, password)| (account.as_str(), password.reveal())), Some(("ali+ce", "p+w:ö %")));
    }

    #[test]
    fn names_that_no_account_can_have_are_refused() {
        let long = "a".repeat(256);
        for account in ["", "a\nb", "a\0", long.as_str()] {
            assert!(from_pair(account, "secret").is_err(), "{account:?}");
        }
    }
}
