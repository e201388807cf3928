//! The public half of a key that signs tokens: what verifies its signatures, and its JSON Web Keys.

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::private::{KeyKind, PrivateKey};
use super::public::{PublicKey, libtrust_kid};
use super::{KidForm, RSA_BITS, SignError, authority, chain};

/// A public key with both of its ids.
#[derive(Clone)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    verifier: DecodingKey,
    public: PublicKey,
    kid_libtrust: String,
    kid_thumbprint: String,
}

/// Shows the algorithm and an id.
impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey").field("algorithm", &self.algorithm).field("kid", &self.kid_libtrust).finish()
    }
}

impl VerifyingKey {
    /// The public half of a private key.
    pub(super) fn from_key(key: &PrivateKey) -> Result<VerifyingKey, SignError> {
        VerifyingKey::from_parts(key.kind(), key.public_bits(), &key.spki()?)
    }

    /// The key of a certificate in DER, whoever it is from; `None` if it is of a kind that signs no tokens.
    pub fn from_certificate(der: &[u8]) -> Option<VerifyingKey> {
        let certificate = authority::parsed(der)?;
        let kind = chain::kind_of(&certificate).ok()?;
        if let KeyKind::Rsa(bits) = kind
            && !RSA_BITS.contains(&bits)
        {
            return None;
        }
        VerifyingKey::from_parts(kind, chain::bits_of(&certificate), certificate.public_key().raw).ok()
    }

    fn from_parts(kind: KeyKind, bits: &[u8], spki: &[u8]) -> Result<VerifyingKey, SignError> {
        let public = PublicKey::from_bits(kind, bits)?;
        let verifier = match kind {
            KeyKind::Rsa(_) => DecodingKey::from_rsa_der(bits),
            KeyKind::Ec(_) => DecodingKey::from_ec_der(bits),
        };
        Ok(VerifyingKey {
            algorithm: kind.algorithm(),
            verifier,
            kid_libtrust: libtrust_kid(spki),
            kid_thumbprint: public.thumbprint(),
            public,
        })
    }

    /// The one algorithm of its signatures.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What verifies its signatures.
    pub fn verifier(&self) -> &DecodingKey {
        &self.verifier
    }

    /// The key's id in this form.
    pub fn kid(&self, form: KidForm) -> &str {
        match form {
            KidForm::Libtrust => &self.kid_libtrust,
            KidForm::Thumbprint => &self.kid_thumbprint,
        }
    }

    /// Whether this is one of its ids.
    pub fn is_called(&self, kid: &str) -> bool {
        kid == self.kid_libtrust || kid == self.kid_thumbprint
    }

    /// Its JWKs (RFC 7517 section 4), one under each form of its id.
    pub fn jwks(&self) -> [Value; 2] {
        [KidForm::Libtrust, KidForm::Thumbprint].map(|form| self.public.jwk(self.algorithm, self.kid(form)))
    }
}
