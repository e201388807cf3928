//! Reads [`Credentials`] from what a request presents: a Basic header, or a form's user name and password.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::authn::{Account, Credentials, Secret};
use crate::secret::lasting::{Form, LastingSecret};

/// Credentials that could not be read at all, or that nobody can have. A 401, never anonymous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They are not an account and a password.
    #[error("the credentials are not understood; send an account and a password by Basic authentication")]
    NotAPair,
    /// A secret of ours with a typing error, or cut off: nobody is asked about it.
    #[error("the token is mistyped: its checksum does not fit; copy it once more")]
    Mistyped,
}

/// What clients write in place of an account that a secret says by itself: docker and others, and those that cannot do without
/// one.
const NOBODY: [&str; 3] = ["", "<token>", "00000000-0000-0000-0000-000000000000"];

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
        return Err(Malformed::NotAPair);
    }
    let line = line.to_str().map_err(|_| Malformed::NotAPair)?.trim();
    if line.is_empty() {
        return Ok(Credentials::Anonymous);
    }
    let (scheme, encoded) = line.split_once(' ').unwrap_or((line, ""));
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Malformed::NotAPair);
    }
    let encoded = encoded.trim();
    if encoded.is_empty() {
        return Ok(Credentials::Anonymous);
    }
    let (account, password) = pair_of(encoded).ok_or(Malformed::NotAPair)?;
    match (account.as_str(), password.as_str()) {
        ("", "") => Ok(Credentials::Anonymous),
        (account, password) => from_pair(account, password),
    }
}

/// The account and the password that Basic authentication encodes (RFC 7617), whatever they are.
pub(super) fn pair_of(encoded: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    text.split_once(':').map(|(account, password)| (account.to_owned(), password.to_owned()))
}

/// An account and a password as one pair; an empty one of the two is refused here, so that no backend ever compares
/// (or binds with) an empty password.
///
/// # Errors
/// [`Malformed`].
pub fn from_pair(account: &str, password: &str) -> Result<Credentials, Malformed> {
    // In the wrong place: as an account it would stand in the log.
    if LastingSecret::read(account).is_ours() {
        return Err(Malformed::NotAPair);
    }
    // The names of some accounts have a colon in them (`account_prefix`), and who reads a pair cuts it at the first one. A secret has none:
    // what stands before its own is the rest of the name.
    if let Some((rest, last)) = password.rsplit_once(':') {
        match LastingSecret::read(last) {
            Form::Lasting(_) => return from_pair(&format!("{account}:{rest}"), last),
            Form::Mistyped | Form::Otherwise => {}
        }
    }
    let secret = match LastingSecret::read(password) {
        Form::Otherwise => None,
        Form::Mistyped => return Err(Malformed::Mistyped),
        Form::Lasting(secret) => Some(secret),
    };
    if let Some(secret) = secret {
        let claimed = match account {
            nobody if NOBODY.contains(&nobody) => None,
            account => {
                let account = Account::parse(account).ok().filter(Account::is_typed);
                Some(account.ok_or(Malformed::NotAPair)?)
            }
        };
        return Ok(Credentials::Secret { claimed, secret });
    }
    match Account::parse(account) {
        Ok(account) if account.is_typed() && !password.is_empty() => {
            Ok(Credentials::Password { account, password: Secret::new(password) })
        }
        Ok(_) | Err(_) => Err(Malformed::NotAPair),
    }
}

/// A secret without an account: OAuth's `refresh_token`.
///
/// # Errors
/// [`Malformed`].
pub fn from_refresh_token(text: &str) -> Result<Credentials, Malformed> {
    match LastingSecret::read(text) {
        Form::Lasting(secret) => Ok(Credentials::Secret { claimed: None, secret }),
        Form::Mistyped => Err(Malformed::Mistyped),
        Form::Otherwise => Err(Malformed::NotAPair),
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
            assert!(matches!(read(Some(line)), Err(Malformed::NotAPair)), "{line}");
        }
    }

    #[test]
    fn the_password_begins_after_the_first_colon() {
        let credentials = read(Some("Basic YWxpK2NlOnArdzrDtiAl"));
        assert_eq!(credentials, from_pair("ali+ce", "p+w:ö %"));
        let read = credentials.as_ref().ok().and_then(Credentials::password);
        assert_eq!(read.map(|(account, password)| (account.as_str(), password.reveal())), Some(("ali+ce", "p+w:ö %")));
    }

    /// Check 7 of lasting tokens: where a secret stands, and with which names.
    #[test]
    fn a_secret_is_told_apart_whatever_name_stands_before_it() -> anyhow::Result<()> {
        let secret = LastingSecret::draw(crate::secret::lasting::SecretKind::Refresh)?;
        let text = secret.reveal();
        let pair = |account: &str| from_pair(account, text);
        for nobody in NOBODY {
            assert_eq!(pair(nobody), Ok(Credentials::Secret { claimed: None, secret: secret.clone() }), "{nobody}");
        }
        // As `echo` and files have it. What stands before it, or is no end of a line, is not trimmed: it may be a password.
        for (before, behind, is_one) in
            [("", "\n", true), ("", "\r\n", true), ("", " \t\n", true), (" ", "", false), ("", "\u{a0}", false)]
        {
            let read = from_pair("", &format!("{before}{text}{behind}"));
            assert_eq!(read == Ok(Credentials::Secret { claimed: None, secret: secret.clone() }), is_one, "{behind:?}");
            assert_eq!(from_refresh_token(&format!("{text}{behind}")).is_ok(), !behind.contains('\u{a0}'));
        }
        assert_eq!(from_pair("alice", &format!("{}\n", text.replace("dwi_", "dwp_"))), Err(Malformed::Mistyped));
        let password = from_pair("alice", "pw \n").ok();
        assert_eq!(password.as_ref().and_then(Credentials::password).map(|(_, pw)| pw.reveal()), Some("pw \n"));
        for account in ["alice", "robot+ci", "<Token>"] {
            let claimed = Some(Account::parse(account)?);
            assert_eq!(pair(account), Ok(Credentials::Secret { claimed, secret: secret.clone() }));
        }
        // As `docker login -u work:ada@example.org` comes, in Basic and in a form.
        let claimed = Some(Account::parse("work:ada@example.org")?);
        let with_colon = Ok(Credentials::Secret { claimed, secret: secret.clone() });
        assert_eq!(pair("work:ada@example.org"), with_colon);
        assert_eq!(from_pair("work", &format!("ada@example.org:{text}")), with_colon);
        let encoded = STANDARD.encode(format!("work:ada@example.org:{text}"));
        assert_eq!(self::read(Some(&format!("Basic {encoded}"))), with_colon);
        // A password may hold colons, and what only begins as a secret does.
        let password = from_pair("alice", "x:dwp_y").ok();
        assert_eq!(password.as_ref().and_then(Credentials::password).map(|(_, pw)| pw.reveal()), Some("x:dwp_y"));
        assert_eq!(pair("a\nb"), Err(Malformed::NotAPair));
        assert_eq!(from_refresh_token(text), Ok(Credentials::Secret { claimed: None, secret: secret.clone() }));
        assert_eq!(from_refresh_token("x"), Err(Malformed::NotAPair));
        // A secret in place of the account would be logged as one.
        assert_eq!(from_pair(text, "x"), Err(Malformed::NotAPair));
        assert_eq!(from_pair(text, text), Err(Malformed::NotAPair));
        let mistyped = text.replace("dwi_", "dwp_");
        for account in ["alice", "", "<token>"] {
            assert_eq!(from_pair(account, &mistyped), Err(Malformed::Mistyped), "check 18");
        }
        assert_eq!(from_refresh_token(&mistyped), Err(Malformed::Mistyped));
        Ok(())
    }

    #[test]
    fn names_that_no_account_can_have_are_refused() {
        let long = "a".repeat(256);
        for account in ["", "a\nb", "a\0", long.as_str()] {
            assert!(from_pair(account, "secret").is_err(), "{account:?}");
        }
    }
}
