//! What a token says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::json;

/// An entry of the `access` claim: the actions that are allowed on one resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessEntry {
    /// The resource's type, `repository` or `registry`, without any class.
    #[serde(rename = "type")]
    pub kind: String,
    /// The resource's name.
    pub name: String,
    /// The allowed actions; an empty list allows nothing.
    pub actions: Vec<String>,
}

/// All that a token says but its times and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenContent {
    /// The account; empty for anonymous.
    pub subject: String,
    /// The service the token is for.
    pub audience: String,
    /// What it allows.
    pub access: Vec<AccessEntry>,
    /// The secret that it is made for, if it is one.
    pub secret: Option<SecretClaims>,
}

/// What a token says of the secret that it was made for, so that our own doors can refuse it once the secret is dead. Registries
/// overlook all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretClaims {
    /// The secret's id.
    pub id: String,
    /// The epoch of the secret's owner.
    pub epoch: i64,
    /// Its last four characters: of a secret that is made anew they are others, and the id stays.
    pub last4: String,
}

/// A token's claims. All times are whole seconds since 1970: registries refuse fractions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The account; empty for anonymous.
    pub sub: String,
    /// The service the token is for: one text, since registry 2.x cannot read a list.
    pub aud: String,
    /// The moment at which it expires.
    pub exp: i64,
    /// The first moment at which it is valid.
    pub nbf: i64,
    /// The moment at which it was made.
    pub iat: i64,
    /// Its own id.
    pub jti: String,
    /// What it allows.
    #[serde(deserialize_with = "json::objects")]
    pub access: Vec<AccessEntry>,
    /// The id of the secret that it was made for. A claim of our own, as the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cred: Option<String>,
    /// The epoch of the secret's owner then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<i64>,
    /// The secret's last four characters; tokens of older versions do not say them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cred_last4: Option<String>,
}

/// The id of a token, from 16 bytes of a cryptographic generator: whoever can guess an id can claim another's token.
pub fn jti(random: [u8; 16]) -> String {
    URL_SAFE_NO_PAD.encode(random)
}
