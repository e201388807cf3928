//! A provider of OpenID Connect: where it is asked, what is asked, and whether its ID token is one for us (OpenID Connect Core 1.0;
//! Discovery 1.0).

mod discovery;
mod id_token;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use url::Url;

use self::discovery::{Discovered, Discovery};
use self::id_token::Expected;
use super::found::{Before, Found, MOST_VALUES, Refused};
use super::settings::{Dialect, OpenIdSettings, ProviderSettings};
use super::web::{Reply, Web, basic, no_tokens, shown};
use crate::backend::sign_in::Flow;
use crate::json;
use crate::secret::Secret;
use crate::workload::{ClaimPath, Claims, Jwt};

/// The claim of an e-mail address, and the one that says whether somebody looked.
const EMAIL: &str = "email";
const EMAIL_VERIFIED: &str = "email_verified";
/// The longest ID token, in bytes: of somebody in a thousand groups. Longer ones are refused with those who are in more.
const MAX_ID_TOKEN: usize = 512 * 1024;
/// The scope that brings a refresh token.
const OFFLINE: &str = "offline_access";

/// A provider of OpenID Connect.
pub(super) struct OpenId {
    settings: Arc<ProviderSettings>,
    own: OpenIdSettings,
    web: Web,
    discovery: Discovery,
}

/// What the token endpoint says (RFC 6749, sections 5.1 and 5.2).
#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct TokenError {
    error: String,
    error_description: Option<String>,
}

impl TokenError {
    /// Whether it means `invalid_grant`: dex says otherwise that a refresh token is unknown, taken back or used.
    fn is_about_the_grant(&self) -> bool {
        let of_dex =
            || self.error_description.as_deref().is_some_and(|text| text.starts_with("Refresh token is invalid"));
        self.error == "invalid_grant" || (self.error == "invalid_request" && of_dex())
    }
}

impl OpenId {
    /// Asks nothing yet: a provider that is away when we start may be there when somebody signs in.
    ///
    /// # Errors
    /// The TLS library does not take the authorities.
    pub(super) fn open(
        settings: &Arc<ProviderSettings>,
        own: &OpenIdSettings,
        section: &'static str,
    ) -> anyhow::Result<OpenId> {
        let web = Web::new(settings.authorities.as_ref(), settings.http_timeout)?;
        let asked = (settings.authorities.clone(), settings.http_timeout);
        let discovery = Discovery::new(own.clone(), asked, section);
        Ok(OpenId { settings: Arc::clone(settings), own: own.clone(), web, discovery })
    }

    /// Where a browser is sent to begin.
    ///
    /// # Errors
    /// The provider does not say.
    pub(super) async fn begin(&self, flow: &Flow<'_>) -> anyhow::Result<Url> {
        let at = self.discovery.get(&self.web).await?;
        let mut address = at.authorization.clone();
        let challenge = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, flow.verifier.reveal().as_bytes());
        let scopes = self.scopes(&at);
        let mut query = address.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", self.settings.redirect_url.as_str())
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", flow.state)
            .append_pair("nonce", flow.nonce)
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256");
        match self.own.dialect {
            Dialect::Plain => {}
            Dialect::Google => {
                // Otherwise Google gives a refresh token the first time only.
                query.append_pair("access_type", "offline").append_pair("prompt", "consent");
                if let Some(domain) = &self.own.domain {
                    query.append_pair("hd", domain);
                }
            }
        }
        drop(query);
        Ok(address)
    }

    /// What is asked for: without a refresh token, a docker password would end with the first word of the provider.
    fn scopes(&self, at: &Discovered) -> Vec<String> {
        let mut scopes = self.own.scopes.clone();
        if at.scopes.iter().any(|scope| scope == OFFLINE) && !scopes.iter().any(|scope| scope == OFFLINE) {
            scopes.push(OFFLINE.to_owned());
        }
        scopes
    }

    /// Redeems a code.
    ///
    /// # Errors
    /// The provider could not be asked.
    pub(super) async fn finish(
        &self,
        flow: &Flow<'_>,
        code: &Secret,
        now: OffsetDateTime,
    ) -> anyhow::Result<Result<Found, Refused>> {
        let at = self.discovery.get(&self.web).await?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.reveal()),
            ("redirect_uri", self.settings.redirect_url.as_str()),
            ("code_verifier", flow.verifier.reveal()),
        ];
        let reply = self.ask_for_tokens(&at, &form).await?;
        let Some(tokens) = self.tokens(&at, &reply)? else { return Ok(Err(Refused::Code)) };
        let Some(id_token) = tokens.id_token else { return Ok(Err(Refused::Answer("there is no ID token"))) };
        let expected = Expected { nonce: Some(flow.nonce), subject: None };
        self.found(&at, &id_token, expected, tokens.refresh_token, now).await
    }

    /// Asks who somebody is now, by the refresh token of before.
    ///
    /// # Errors
    /// The provider could not be asked, or says something that cannot be believed.
    pub(super) async fn recheck(
        &self,
        credential: &Secret,
        before: &Before,
        renewed: &mut Option<Secret>,
        now: OffsetDateTime,
    ) -> anyhow::Result<Result<Found, Refused>> {
        let at = self.discovery.get(&self.web).await?;
        let form = [("grant_type", "refresh_token"), ("refresh_token", credential.reveal())];
        let reply = self.ask_for_tokens(&at, &form).await?;
        let Some(tokens) = self.tokens(&at, &reply)? else { return Ok(Err(Refused::Gone)) };
        *renewed = tokens.refresh_token.clone().map(Secret::new);
        // One that stays the same need not be sent again.
        let credential = tokens.refresh_token.or_else(|| Some(credential.reveal().to_owned()));
        match tokens.id_token {
            Some(id_token) => {
                let expected = Expected { nonce: None, subject: before.subject.as_deref() };
                self.found(&at, &id_token, expected, credential, now).await
            }
            // It need not send one (section 12.2), and then says that they are there and no more.
            None => Ok(before.subject.clone().map_or(Err(Refused::Other), |subject| {
                let Before { name, labels, .. } = before;
                let credential = credential.map(Secret::new);
                Ok(Found { subject, name: name.clone(), labels: labels.clone(), credential })
            })),
        }
    }

    async fn ask_for_tokens(&self, at: &Discovered, form: &[(&str, &str)]) -> anyhow::Result<Reply> {
        let (id, secret) = (self.settings.client_id.as_str(), &self.settings.client_secret);
        if at.takes_basic {
            return self.web.post(&at.token, form, Some(&basic(id, secret))).await;
        }
        let mut all = form.to_vec();
        all.extend([("client_id", id), ("client_secret", secret.reveal())]);
        self.web.post(&at.token, &all, None).await
    }

    /// The tokens; `None` where the provider does not take what was presented.
    fn tokens(&self, at: &Discovered, reply: &Reply) -> anyhow::Result<Option<Tokens>> {
        if reply.status == StatusCode::OK {
            let read: Option<Tokens> = json::object(&reply.body).ok();
            return read.map(Some).with_context(|| format!("{} answers with no tokens", shown(&at.token)));
        }
        let error = json::object::<TokenError>(&reply.body).ok();
        match error {
            Some(error) if error.is_about_the_grant() => Ok(None),
            error => Err(no_tokens(&at.token, reply.status, error.as_ref().map(|error| error.error.as_str()))),
        }
    }

    async fn found(
        &self,
        at: &Discovered,
        id_token: &str,
        expected: Expected<'_>,
        credential: Option<String>,
        now: OffsetDateTime,
    ) -> anyhow::Result<Result<Found, Refused>> {
        let Some(jwt) = Jwt::parse_within(MAX_ID_TOKEN, id_token) else {
            return Ok(Err(Refused::Answer("the ID token cannot be read")));
        };
        let about = (self.own.issuer.as_str(), self.settings.client_id.as_str());
        if let Err(refused) = id_token::check(&jwt, about, expected, &at.keys, now).await? {
            return Ok(Err(refused));
        }
        Ok(person(&self.own, &jwt.claims).map(|found| Found { credential: credential.map(Secret::new), ..found }))
    }

    /// In a few words, whether the provider is there.
    ///
    /// # Errors
    /// It is not.
    pub(super) async fn reach(&self) -> anyhow::Result<String> {
        self.discovery.get(&self.web).await?;
        Ok(format!("{} says where people sign in", self.own.issuer))
    }
}

/// Who verified claims are about.
fn person(own: &OpenIdSettings, claims: &Claims) -> Result<Found, Refused> {
    let subject = claims.own("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
    if own.user_claim.as_str() == EMAIL || own.domain.is_some() {
        match claims.own(EMAIL_VERIFIED) {
            Some(Value::Bool(true)) => {}
            // Some providers write flags as texts.
            Some(Value::String(text)) if text == "true" => {}
            Some(_) | None => return Err(Refused::Unverified),
        }
    }
    let name = match claims.at(&own.user_claim) {
        Some(Value::String(name)) => name.clone(),
        Some(_) | None => return Err(Refused::NoName),
    };
    if let Some(domain) = &own.domain {
        let email = claims.own(EMAIL).and_then(Value::as_str).unwrap_or_default();
        let is_of = |text: &str| text.eq_ignore_ascii_case(domain);
        // The first @, as docker_auth has it.
        let in_email = email.split_once('@').is_some_and(|(_, behind)| is_of(behind));
        let hosted = claims.own("hd").and_then(Value::as_str);
        // An address can be of a domain whose owner does not keep the account: Google says so by `hd`.
        let is_hosted = match own.dialect {
            Dialect::Plain => true,
            Dialect::Google => hosted.is_some_and(is_of) || is_of("gmail.com"),
        };
        if !in_email || !is_hosted {
            return Err(Refused::NotMember);
        }
    }
    let labels = own.label_claims.iter().map(|path| Ok((path.as_str().to_owned(), values(claims, path)?)));
    let labels = labels.collect::<Result<BTreeMap<_, _>, Refused>>()?;
    Ok(Found { subject, name, labels, credential: None })
}

/// The values of a claim as a label's: a text, or a list of texts.
fn values(claims: &Claims, path: &ClaimPath) -> Result<Vec<String>, Refused> {
    let values: Vec<String> = match claims.at(path) {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => Vec::new(),
    };
    if values.len() > MOST_VALUES { Err(Refused::TooManyValues) } else { Ok(values) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use serde_json::json;

    use super::*;
    use crate::workload::PlainHttp;

    fn settings(dialect: Dialect, domain: Option<&str>) -> OpenIdSettings {
        OpenIdSettings {
            dialect,
            issuer: "https://accounts.google.com".to_owned(),
            plain_http: PlainHttp::Refused,
            user_claim: ClaimPath::parse(EMAIL).unwrap(),
            label_claims: Vec::new(),
            scopes: Vec::new(),
            domain: domain.map(str::to_owned),
        }
    }

    /// Check 36: an address of the domain is not enough at Google, where anybody may have registered it; the token has to say that the
    /// domain's owner keeps the account (`hd`).
    #[test]
    fn of_a_domain_at_google_is_whoever_it_keeps() {
        use Refused::{NoName, NotMember, Unverified};
        let usual = json!({"sub": "1", "email": "ada@example.org", "email_verified": true, "hd": "example.org"});
        for (domain, changes, expected) in [
            (Some("example.org"), json!({}), Ok("ada@example.org")),
            (Some("Example.ORG"), json!({}), Ok("ada@example.org")),
            (Some("example.org"), json!({"hd": "example.com"}), Err(NotMember)),
            (Some("example.org"), json!({"hd": null}), Err(NotMember)),
            (Some("example.org"), json!({"hd": ["example.org"]}), Err(NotMember)),
            (Some("example.org"), json!({"hd": ""}), Err(NotMember)),
            (Some("example.org"), json!({"email": "ada@example.com"}), Err(NotMember)),
            (Some("example.org"), json!({"email": "ada@example.com", "hd": "example.com"}), Err(NotMember)),
            (Some("example.org"), json!({"email": "ada@example.com@example.org"}), Err(NotMember)),
            (Some("example.org"), json!({"email": "ada@sub.example.org"}), Err(NotMember)),
            (Some("example.org"), json!({"email": "example.org"}), Err(NotMember)),
            (Some("example.org"), json!({"email": null}), Err(NoName)),
            (Some("example.org"), json!({"email": null, "email_verified": null}), Err(Unverified)),
            (Some("example.org"), json!({"email_verified": false}), Err(Unverified)),
            // Of these, Google itself keeps each.
            (Some("gmail.com"), json!({"email": "ada@gmail.com", "hd": null}), Ok("ada@gmail.com")),
            (Some("gmail.com"), json!({}), Err(NotMember)),
            (None, json!({"hd": null}), Ok("ada@example.org")),
            (None, json!({"email": null}), Err(NoName)),
            (None, json!({"email": "ada@example.org", "email_verified": null}), Err(Unverified)),
        ] {
            let mut claims = usual.as_object().unwrap().clone();
            claims.extend(changes.as_object().unwrap().clone());
            let found = person(&settings(Dialect::Google, domain), &Claims(claims)).map(|found| found.name);
            assert_eq!(found, expected.map(str::to_owned), "{domain:?} {changes}");
        }
        // All of them are about the person, and so a page with 403.
        assert!([NoName, NotMember, Unverified].iter().all(Refused::is_of_person));
    }
}
