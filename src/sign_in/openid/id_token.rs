//! Whether an ID token is this provider's, for us, of this sign-in, and of now (OpenID Connect Core 1.0, section 3.1.3.7).

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde_json::Value;
use time::OffsetDateTime;

use crate::sign_in::found::Refused;
use crate::workload::{Claims, IssuerKeys, Jwt};

/// How far the provider's clock may be from ours, in seconds.
const LEEWAY: i64 = 60;

/// What a token has to repeat.
#[derive(Clone, Copy)]
pub(super) struct Expected<'asked> {
    /// The nonce of the sign-in; of a refresh there is none.
    pub(super) nonce: Option<&'asked str>,
    /// Whom it was about before.
    pub(super) subject: Option<&'asked str>,
}

/// Checks a token of this issuer for this client.
///
/// # Errors
/// The issuer's keys could not be fetched. Inside: what is wrong.
pub(super) async fn check(
    jwt: &Jwt<'_>,
    (issuer, client): (&str, &str),
    expected: Expected<'_>,
    keys: &IssuerKeys,
    now: OffsetDateTime,
) -> anyhow::Result<Result<(), Refused>> {
    let wrong = |what| Ok(Err(Refused::Answer(what)));
    // Before the signature, so that nothing is fetched for what is no answer to us.
    if let Err(refused) = check_claims(&jwt.claims, (issuer, client), expected) {
        return Ok(Err(refused));
    }
    if jwt.check_time_within(LEEWAY, now).is_err() {
        return wrong("the ID token is over, or not valid yet; is the clock right?");
    }
    let Ok(header) = jwt.header() else {
        return wrong("the ID token is not signed by a key that only the provider has");
    };
    let keys = keys.of(&header).await?;
    match keys.iter().any(|key| key.signed(jwt, header.algorithm)) {
        true => Ok(Ok(())),
        false => wrong("the ID token's signature is not by a key of the provider"),
    }
}

fn check_claims(claims: &Claims, (issuer, client): (&str, &str), expected: Expected<'_>) -> Result<(), Refused> {
    let text = |name: &str| claims.own(name).and_then(Value::as_str);
    if text("iss") != Some(issuer) {
        return Err(Refused::Answer("the ID token is of another issuer (iss)"));
    }
    let (is_ours, others) = match claims.own("aud") {
        Some(Value::String(audience)) => (audience == client, 0),
        Some(Value::Array(all)) => (
            all.iter().any(|one| one.as_str() == Some(client)),
            all.iter().filter(|one| one.as_str() != Some(client)).count(),
        ),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => (false, 0),
    };
    if !is_ours {
        return Err(Refused::Answer("the ID token is for another application (aud)"));
    }
    // Of one for several, azp says who asked for it.
    let is_asked_by_us = match claims.own("azp") {
        None => others == 0,
        Some(party) => party.as_str() == Some(client),
    };
    if !is_asked_by_us {
        return Err(Refused::Answer("the ID token was made for another application (azp)"));
    }
    if let Some(nonce) = expected.nonce {
        let own = text("nonce").unwrap_or_default();
        if verify_slices_are_equal(own.as_bytes(), nonce.as_bytes()).is_err() {
            return Err(Refused::Answer("the ID token is of another sign-in (nonce)"));
        }
    }
    match (text("sub"), expected.subject) {
        (None | Some(""), _) => Err(Refused::Answer("the ID token names nobody (sub)")),
        (Some(subject), Some(before)) if subject != before => {
            Err(Refused::Answer("the ID token is of somebody else than before (sub)"))
        }
        (Some(_), _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_of_the_issuer_for_us_and_of_this_sign_in() {
        let usual = json!({"iss": "https://i", "aud": "us", "sub": "1", "nonce": "n"});
        let expected = Expected { nonce: Some("n"), subject: None };
        for (changes, is_right) in [
            (json!({}), true),
            (json!({"iss": "https://i/"}), false),
            (json!({"iss": "HTTPS://i"}), false),
            (json!({"iss": null}), false),
            (json!({"aud": "them"}), false),
            (json!({"aud": ["us"]}), true),
            (json!({"aud": ["us", "them"]}), false),
            (json!({"aud": ["us", "them"], "azp": "us"}), true),
            (json!({"aud": ["us", "them"], "azp": "them"}), false),
            (json!({"azp": "them"}), false),
            (json!({"azp": 7}), false),
            (json!({"aud": []}), false),
            (json!({"nonce": "m"}), false),
            (json!({"nonce": null}), false),
            (json!({"sub": ""}), false),
            (json!({"sub": 1}), false),
        ] {
            let mut claims = usual.as_object().unwrap().clone();
            claims.extend(changes.as_object().unwrap().clone());
            let checked = check_claims(&Claims(claims), ("https://i", "us"), expected);
            assert_eq!(checked.is_ok(), is_right, "{changes}: {checked:?}");
        }
        let claims = Claims(usual.as_object().unwrap().clone());
        let refreshed = |subject| Expected { nonce: None, subject: Some(subject) };
        assert_eq!(check_claims(&claims, ("https://i", "us"), refreshed("1")), Ok(()));
        assert!(check_claims(&claims, ("https://i", "us"), refreshed("2")).is_err());
    }
}
