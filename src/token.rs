//! The token that a registry verifies: its claims, its header, and the signed text of both.

mod claims;
mod living;
pub mod recent;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Header, Validation};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::json;
use crate::keys::{KidForm, SigningKey, VerifyingKey};

pub use self::claims::{AccessEntry, Claims, SecretClaims, TokenContent, jti};
pub use self::living::{Before, Trust};
pub use crate::keys::SignError;

/// How far `nbf` lies before `iat`, in seconds. Registries allow 60 seconds more by themselves, so that their clock may be a
/// minute and a half behind ours.
pub const NOT_BEFORE_MARGIN: i64 = 30;

/// The part of a token's header that tells the registry which key signed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderForm {
    /// The certificate chain (`x5c`) and the key's id: all that a registry with a `rootcertbundle` needs.
    X5c,
    /// The key's id (`kid`) alone: for registries that know the key by a JWK set.
    Kid,
}

/// The header that tokens get at a moment, and whether it is the configured one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderChoice {
    /// The header that was configured.
    Configured(HeaderForm),
    /// The key's id alone, although `x5c` is configured: registries would refuse the certificate now. The operator has to
    /// know, because registries that do not know the key by this id refuse the tokens.
    KidInstead(CertificateTime),
}

impl HeaderChoice {
    /// The header that the tokens do have.
    pub fn form(self) -> HeaderForm {
        match self {
            HeaderChoice::Configured(form) => form,
            HeaderChoice::KidInstead(CertificateTime::NotYetValid | CertificateTime::Expired) => HeaderForm::Kid,
        }
    }
}

/// Why the certificate chain cannot be used at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateTime {
    /// It is not valid yet.
    NotYetValid,
    /// It has expired.
    Expired,
}

/// The maker of tokens: a key, the issuer's name, and the header. The moment and the random id come in with each call.
#[derive(Debug)]
pub struct Issuer {
    key: Arc<SigningKey>,
    name: String,
    form: HeaderForm,
    kid_form: KidForm,
    /// Encoded once, since the headers are the same in all tokens; the chain is most of a token.
    x5c_header: String,
    kid_header: String,
    /// Where an authority for tokens stands above the key: whom we trust besides the key itself.
    trust: Option<Trust>,
    /// Tokens made before this moment are refused at our own doors.
    not_before: Option<OffsetDateTime>,
}

impl Issuer {
    /// An issuer called `name` (the `iss` claim, which the registries' `issuer` setting must equal).
    pub fn new(
        key: Arc<SigningKey>,
        name: impl Into<String>,
        form: HeaderForm,
        kid_form: KidForm,
    ) -> Result<Issuer, SignError> {
        let mut header = Header::new(key.algorithm());
        header.kid = Some(key.kid(kid_form).to_owned());
        let kid_header = part(&header)?;
        header.x5c = Some(key.certificates().iter().map(|der| STANDARD.encode(der)).collect());
        let x5c_header = part(&header)?;
        Ok(Issuer { key, name: name.into(), form, kid_form, x5c_header, kid_header, trust: None, not_before: None })
    }

    /// The same under an authority for tokens: tokens of all its leaves are ours, and none outlives the leaf that signed it.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Issuer {
        Issuer { trust: Some(trust), ..self }
    }

    /// The same, with tokens refused at our own doors that were made before this moment.
    #[must_use]
    pub fn refusing_before(self, not_before: Option<OffsetDateTime>) -> Issuer {
        Issuer { not_before, ..self }
    }

    /// The last moment at which a token may end that is made now, if a leaf says so.
    pub fn leaf_ends(&self) -> Option<OffsetDateTime> {
        self.trust.as_ref().map(|_| self.key.not_after())
    }

    /// The public keys under which our tokens are known: the one that signs, one that soon will, and those that signed tokens
    /// which are still good (RFC 7517 section 5).
    pub fn key_set(&self, coming: Option<&VerifyingKey>, now: OffsetDateTime) -> Value {
        let living = self.trust.iter().flat_map(|trust| trust.living(now));
        let keys = [self.key.public()].into_iter().chain(coming).chain(living);
        json!({ "keys": keys.flat_map(VerifyingKey::jwks).collect::<Vec<_>>() })
    }

    /// The id by which tokens of this issuer name `key`.
    pub fn kid_of<'a>(&self, key: &'a SigningKey) -> &'a str {
        key.kid(self.kid_form)
    }

    /// The `iss` claim.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key that signs.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The header of tokens that are made at this moment. Registries compare the certificates with their clock at each
    /// request and give no leeway, while a key that they know by its id does not expire. Their clock may be ahead of ours:
    /// see [`SigningKey::used_from`].
    pub fn header_form_at(&self, now: OffsetDateTime) -> HeaderChoice {
        match self.form {
            HeaderForm::Kid => HeaderChoice::Configured(HeaderForm::Kid),
            HeaderForm::X5c if now < self.key.used_from() => HeaderChoice::KidInstead(CertificateTime::NotYetValid),
            HeaderForm::X5c if now > self.key.not_after() => HeaderChoice::KidInstead(CertificateTime::Expired),
            HeaderForm::X5c => HeaderChoice::Configured(HeaderForm::X5c),
        }
    }

    /// The claims of a token that is made now and valid for `lifetime` seconds.
    pub fn claims(&self, content: TokenContent, now: OffsetDateTime, lifetime: u32, jti: String) -> Claims {
        let TokenContent { subject, audience, access, secret } = content;
        let (cred, epoch, cred_last4) = match secret {
            Some(SecretClaims { id, epoch, last4 }) => (Some(id), Some(epoch), Some(last4)),
            None => (None, None, None),
        };
        let iat = now.unix_timestamp();
        Claims {
            iss: self.name.clone(),
            sub: subject,
            aud: audience,
            exp: iat.saturating_add(i64::from(lifetime)),
            nbf: iat.saturating_sub(NOT_BEFORE_MARGIN),
            iat,
            jti,
            access,
            cred,
            epoch,
            cred_last4,
        }
    }

    /// The signed token (JWS in its compact form, RFC 7515 section 7.1). With a key of large [`Effort`](crate::keys::Effort),
    /// call it where blocking is allowed.
    pub fn mint(&self, claims: &Claims, now: OffsetDateTime) -> Result<String, SignError> {
        let choice = self.header_form_at(now);
        if self.trust.is_some() && !self.is_leaf_in_time(now) {
            return Err(SignError::LeafOutOfTime);
        }
        let header = match choice.form() {
            HeaderForm::X5c => &self.x5c_header,
            HeaderForm::Kid => &self.kid_header,
        };
        let mut token = format!("{header}.{}", part(claims)?);
        let signature = self.key.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

/// Why a token that was presented is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// Not signed by our key, not for this service, or not a token.
    #[error("the token is not one of ours for this service")]
    Forged,
    /// Not valid yet, or expired.
    #[error("the token is out of its time")]
    OutOfTime,
    /// Made before the moment that the configuration names (`token.not_before`).
    #[error("tokens that were made at that time are not accepted any more")]
    TooOld,
}

impl Issuer {
    fn is_leaf_in_time(&self, now: OffsetDateTime) -> bool {
        (self.key.used_from()..=self.key.not_after()).contains(&now)
    }

    /// The claims of a token that is ours, for `audience`, and valid now.
    ///
    /// The key that signs is the only one, unless an authority for tokens stands above it: then see [`Trust`]. Only the key's
    /// own algorithm is accepted: a header that names another (`none`, or an HMAC keyed with our public key) is a forgery, and
    /// so is a key that the token brings along and that the authority has not signed.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn verify(&self, token: &str, audience: &str, now: OffsetDateTime) -> Result<Claims, NotOurs> {
        let read = |key: &VerifyingKey| self.read(token, key, audience);
        let claims = match &self.trust {
            None => read(self.key.public()),
            Some(trust) => trust.verify(token, (&self.key, self.is_leaf_in_time(now)), now, read),
        }?;
        if self.not_before.is_some_and(|moment| claims.iat < moment.unix_timestamp()) {
            return Err(NotOurs::TooOld);
        }
        let now = now.unix_timestamp();
        match claims.nbf <= now && now < claims.exp {
            true => Ok(claims),
            false => Err(NotOurs::OutOfTime),
        }
    }

    /// The claims of a token that this key has signed, whatever its time.
    fn read(&self, token: &str, key: &VerifyingKey, audience: &str) -> Result<Claims, NotOurs> {
        let mut validation = Validation::new(key.algorithm());
        validation.set_issuer(&[&self.name]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["iss", "aud", "exp", "nbf"]);
        // Compared by the caller, with the moment of the whole decision.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let read = jsonwebtoken::decode::<json::Object<Claims>>(token, key.verifier(), &validation);
        let read = read.map_err(|_| NotOurs::Forged)?;
        // A token that names an extension which must be understood is refused by those who do not understand it (RFC 7515,
        // section 4.1.11). We understand none.
        if read.header.crit.is_some() {
            return Err(NotOurs::Forged);
        }
        let json::Object(claims) = read.claims;
        Ok(claims)
    }
}

fn part(value: &impl Serialize) -> Result<String, SignError> {
    let json = serde_json::to_vec(value).map_err(|_| SignError::Encoding)?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

#[cfg(test)]
mod tests;
