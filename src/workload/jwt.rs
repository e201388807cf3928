//! A JWT as it is presented, read and not verified (RFC 7519; the compact form of RFC 7515).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::Value;
use time::OffsetDateTime;

use super::Refused;
use super::claims::Claims;
use crate::json::Unambiguous;

/// The longest JWT that is looked at, in bytes: GitHub's have 1.5 KiB, and those with many groups in them a few more.
const MAX_JWT: usize = 16 * 1024;
/// How far the issuer's clock may be ahead of ours, in seconds.
const LEEWAY: i64 = 60;

/// A JWT whose claims can be read, and that nobody has verified.
#[derive(Debug)]
pub(crate) struct Jwt<'text> {
    /// The whole, which is a secret.
    pub(crate) whole: &'text str,
    header: &'text str,
    /// What is signed: header and claims.
    pub(crate) signed: &'text str,
    /// The signature in base64url.
    pub(crate) signature: &'text str,
    /// The claims.
    pub(crate) claims: Claims,
}

/// What the header says, as far as it is believed: which key of the issuer's signed, and by what. A key that the token brings
/// along (`jwk`, `x5c`) or points to (`jku`, `x5u`) is the sender's own, and not looked at.
#[derive(Debug)]
pub(crate) struct Header {
    /// How it is signed.
    pub(crate) algorithm: Algorithm,
    /// The id of the key.
    pub(crate) kid: Option<String>,
}

impl<'text> Jwt<'text> {
    /// Reads what has the form of a JWT (`eyJ….eyJ….…`) with claims that can be read in one way only. `None` for everything
    /// else, which may be anybody's password.
    pub(crate) fn parse(text: &'text str) -> Option<Jwt<'text>> {
        Jwt::parse_within(MAX_JWT, text)
    }

    /// The same of at most so many bytes.
    pub(crate) fn parse_within(most: usize, text: &'text str) -> Option<Jwt<'text>> {
        if text.len() > most || !text.starts_with("eyJ") {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.').filter(|(_, claims)| claims.starts_with("eyJ"))?;
        Some(Jwt { whole: text, header, signed, signature, claims: Claims(object(claims)?) })
    }

    /// What the header says.
    ///
    /// # Errors
    /// It cannot be read; it names an extension that must be understood (`crit`, of which we understand none), no algorithm,
    /// or one by which nobody but the issuer could not sign as well: `none`, or an HMAC.
    pub(crate) fn header(&self) -> Result<Header, Refused> {
        let header = object(self.header).ok_or(Refused::Header)?;
        if header.contains_key("crit") {
            return Err(Refused::Header);
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Refused::Header),
        };
        let named = header.get("alg").and_then(Value::as_str).ok_or(Refused::Header)?;
        let algorithm = named.parse().ok().filter(|algorithm| is_asymmetric(*algorithm)).ok_or(Refused::Algorithm)?;
        Ok(Header { algorithm, kid })
    }

    /// Whether it may be used at this moment. It must say when it ends.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_time(&self, now: OffsetDateTime) -> Result<(), Refused> {
        self.check_time_within(0, now)
    }

    /// The same of one that may have ended so many seconds ago: whoever made it reads another clock.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_time_within(&self, leeway: i64, now: OffsetDateTime) -> Result<(), Refused> {
        let now = now.unix_timestamp();
        match self.moment("exp")? {
            None => return Err(Refused::NoEnd),
            Some(end) if end.saturating_add(leeway) <= now => return Err(Refused::Over),
            Some(_) => {}
        }
        for start in ["nbf", "iat"] {
            if self.moment(start)?.is_some_and(|start| start > now.saturating_add(LEEWAY)) {
                return Err(Refused::NotYet);
            }
        }
        Ok(())
    }

    /// When it ends, where it says so.
    pub(crate) fn end(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp(self.moment("exp").ok()??).ok()
    }

    /// A moment, in whole seconds since 1970 (NumericDate, RFC 7519 section 2).
    fn moment(&self, name: &str) -> Result<Option<i64>, Refused> {
        let Some(claim) = self.claims.own(name) else { return Ok(None) };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a fraction is cut off, and what is too large is the largest"
        )]
        let seconds = claim.as_i64().or_else(|| claim.as_f64().map(|seconds| seconds as i64));
        seconds.map(Some).ok_or(Refused::Time)
    }
}

/// Whether only who has the private key can sign so.
pub(crate) fn is_asymmetric(algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => false,
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512
        | Algorithm::ES256
        | Algorithm::ES384
        | Algorithm::EdDSA => true,
        _ => false,
    }
}

/// A JSON object in base64url, without a name that stands twice: another reader could take the other one.
fn object(encoded: &str) -> Option<serde_json::Map<String, Value>> {
    let text = URL_SAFE_NO_PAD.decode(encoded).ok()?;
    match serde_json::from_slice(&text).ok()? {
        Unambiguous(Value::Object(members)) => Some(members),
        Unambiguous(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    fn encoded(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[test]
    fn only_three_parts_with_claims_that_can_be_read_in_one_way_are_a_jwt() {
        let header = encoded(r#"{"alg":"ES256"}"#);
        let claims = encoded(r#"{"iss":"i"}"#);
        for (text, expected) in [
            (format!("{header}.{claims}.c2ln"), true),
            (format!("{header}.{claims}."), true),
            (format!("{header}.{claims}"), false),
            (format!("{header}.{claims}.a.b"), false),
            (format!("{header}.{}.c2ln", encoded(r#"{"iss":"i","iss":"j"}"#)), false),
            (format!("{header}.{}.c2ln", encoded("[1]")), false),
            (format!("{header}.{}.c2ln", encoded(r#"{"a":"#)), false),
            (format!("{header}.{claims}{}.c2ln", "=".repeat(2)), false),
            ("a password".to_owned(), false),
            (format!("{header}.{claims}.{}", "A".repeat(MAX_JWT)), false),
        ] {
            assert_eq!(Jwt::parse(&text).is_some(), expected, "{text}");
        }
    }

    #[test]
    fn of_the_header_only_a_public_key_algorithm_and_the_kid_are_believed() {
        let claims = encoded(r#"{"iss":"i"}"#);
        for (header, expected) in [
            (json!({"alg": "ES256", "kid": "k"}), Ok(Some("k"))),
            (
                json!({"alg": "RS256", "typ": "JWT", "jwk": {}, "jku": "https://evil.example", "x5c": [], "x5u": ""}),
                Ok(None),
            ),
            (json!({"alg": "none"}), Err(Refused::Algorithm)),
            (json!({"alg": "HS256"}), Err(Refused::Algorithm)),
            (json!({"alg": "es256"}), Err(Refused::Algorithm)),
            (json!({"kid": "k"}), Err(Refused::Header)),
            (json!({"alg": "ES256", "kid": 1}), Err(Refused::Header)),
            (json!({"alg": "ES256", "crit": ["b64"], "b64": false}), Err(Refused::Header)),
        ] {
            let text = format!("{}.{claims}.c2ln", encoded(&header.to_string()));
            let read = Jwt::parse(&text).unwrap().header().map(|header| header.kid);
            assert_eq!(read, expected.map(|kid| kid.map(str::to_owned)), "{header}");
        }
    }

    #[test]
    fn it_says_when_it_ends_and_may_come_from_a_clock_that_is_a_minute_ahead() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let header = encoded(r#"{"alg":"ES256"}"#);
        let at = |seconds: i64| 1_800_000_000 + seconds;
        for (claims, expected) in [
            (json!({"exp": at(1)}), Ok(())),
            (json!({"exp": at(1), "nbf": at(60), "iat": at(60)}), Ok(())),
            (json!({"exp": at(9)  , "nbf": 0}), Ok(())),
            (json!({"exp": 1_800_000_001.5}), Ok(())),
            (json!({"exp": at(0)}), Err(Refused::Over)),
            (json!({"exp": at(-1)}), Err(Refused::Over)),
            (json!({}), Err(Refused::NoEnd)),
            (json!({"exp": null}), Err(Refused::Time)),
            (json!({"exp": "1900000000"}), Err(Refused::Time)),
            (json!({"exp": at(900), "nbf": at(61)}), Err(Refused::NotYet)),
            (json!({"exp": at(900), "nbf": at(300)}), Err(Refused::NotYet)),
            (json!({"exp": at(900), "iat": at(61)}), Err(Refused::NotYet)),
            (json!({"exp": at(900), "iat": "now"}), Err(Refused::Time)),
        ] {
            // An empty object in base64url begins otherwise.
            let mut claims = claims;
            claims.as_object_mut().unwrap().insert("iss".to_owned(), json!("i"));
            let text = format!("{header}.{}.c2ln", encoded(&claims.to_string()));
            assert_eq!(Jwt::parse(&text).unwrap().check_time(now), expected, "{claims}");
        }
    }
}
