//! The key that signs tokens, and the certificate by which registries trust it: reading, checking and making the pair.

mod chain;
mod generate;
mod private;
mod problem;
mod public;
mod renewal;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use self::chain::{Certificates, Chain};
use self::private::{Curve, KeyKind, PrivateKey};
use self::public::{PublicKey, libtrust_kid};

pub use self::generate::{GenerateError, GeneratedPair, PairFiles, create_pair, generate};
pub use self::problem::{KeyProblem, KeyWarning};
pub use self::renewal::Renewal;
pub use crate::pem::{PairFile, PemProblem};

/// Sizes of RSA keys, in bits. Fewer can be broken; more make each signature slow and each token long.
const RSA_BITS: RangeInclusive<usize> = 2048..=4096;

/// Keys of RSA up to this size, in bits, sign where they are asked: the hand-over to another thread and back costs half as
/// much as the signature. Each doubling of the size makes it six to eight times as long.
const SIGNS_IN_PLACE: usize = 2048;

/// How long before a certificate's end its owner is warned.
const EXPIRY_NOTICE: Duration = Duration::days(30);

/// How far this machine's clock may be behind the registries': as far as a token allows for it in the other direction.
const CLOCK_BEHIND: Duration = Duration::seconds(90);

/// The two ways to name a key in a token's `kid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KidForm {
    /// Twelve groups of four letters, as registry 2.x computes it; docker_auth's default.
    Libtrust,
    /// The RFC 7638 thumbprint, as registry 3.x computes it; docker_auth's `disable_legacy_key_id: true`.
    Thumbprint,
}

/// How long one signature keeps the thread that makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Well under a millisecond: other requests can wait for it.
    Small,
    /// A millisecond or more: for threads on which blocking is allowed.
    Large,
}

/// A signature could not be made. The cause is never the message to be signed: the key, or memory, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The cryptographic library refused.
    #[error("the signing key could not be used")]
    Refused,
    /// The claims could not be written as JSON.
    #[error("the token's claims could not be written as JSON")]
    Encoding,
}

/// A private key with the certificate chain that belongs to it, both checked and fit to sign tokens.
pub struct SigningKey {
    key: PrivateKey,
    chain: Chain,
    public: PublicKey,
    verifier: DecodingKey,
    kid_libtrust: String,
    kid_thumbprint: String,
    warnings: Vec<KeyWarning>,
}

/// Shows the public side only.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kind", &self.key.kind().to_string())
            .field("kid", &self.kid_libtrust)
            .field("certificates", &self.chain.certificates.len())
            .field("not_after", &self.chain.not_after)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads a pair from its PEM files and makes sure that it can sign: kind and size of the key, the chain, that
    /// both belong together, and one trial signature. All problems of both files come at once. The certificates'
    /// dates are not looked at, see [`SigningKey::warnings`].
    pub fn from_pem(key_pem: &[u8], certificate_pem: &[u8]) -> Result<SigningKey, Vec<KeyProblem>> {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let key = match PrivateKey::from_pem(key_pem) {
            Ok((key, noticed)) => {
                warnings.extend(noticed);
                Some(key)
            }
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        let chain = Certificates::from_pem(certificate_pem)
            .map_err(|problem| vec![problem])
            .and_then(|certificates| certificates.chain(key.as_ref()));
        match (key, chain) {
            (Some(key), Ok(chain)) => SigningKey::tried(key, chain, warnings).map_err(|problem| vec![problem]),
            (_, Err(more)) => {
                problems.extend(more);
                Err(problems)
            }
            (None, Ok(_)) => Err(problems),
        }
    }

    fn tried(key: PrivateKey, mut chain: Chain, mut warnings: Vec<KeyWarning>) -> Result<SigningKey, KeyProblem> {
        let broken = |error: SignError| KeyProblem::SelfTest(error.to_string());
        let public = PublicKey::from_bits(key.kind(), key.public_bits()).map_err(broken)?;
        let spki = key.spki().map_err(broken)?;
        let verifier = match key.kind() {
            KeyKind::Rsa(_) => DecodingKey::from_rsa_der(key.public_bits()),
            KeyKind::Ec(_) => DecodingKey::from_ec_der(key.public_bits()),
        };
        trial(&key, &verifier).map_err(KeyProblem::SelfTest)?;
        warnings.append(&mut chain.warnings);
        warnings.extend(short_coordinate(&key).map(KeyWarning::ShortCoordinate));
        Ok(SigningKey {
            kid_libtrust: libtrust_kid(&spki),
            kid_thumbprint: public.thumbprint(),
            key,
            chain,
            public,
            verifier,
            warnings,
        })
    }

    /// RS256, ES256 or ES384: the one that all registries accept for this kind of key.
    pub fn algorithm(&self) -> Algorithm {
        self.key.kind().algorithm()
    }

    /// The key's id in the wanted form.
    pub fn kid(&self, form: KidForm) -> &str {
        match form {
            KidForm::Libtrust => &self.kid_libtrust,
            KidForm::Thumbprint => &self.kid_thumbprint,
        }
    }

    /// The certificates in DER, the key's own first, then those above it (RFC 7515 section 4.1.6).
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.chain.certificates
    }

    /// The first moment at which the whole chain is valid. Registries look at each request and give no leeway.
    pub fn not_before(&self) -> OffsetDateTime {
        self.chain.not_before
    }

    /// The first moment at which tokens carry the chain: a little before its time begins by this machine's clock. A new
    /// certificate begins when it is made, and a clock that is a few seconds behind would otherwise keep every registry
    /// from its tokens that knows the key by the certificate alone.
    pub fn used_from(&self) -> OffsetDateTime {
        self.not_before().saturating_sub(CLOCK_BEHIND)
    }

    /// The last moment at which the whole chain is valid. Registries look at each request and give no leeway, so
    /// a token with `x5c` is of no use after it, whatever its own `exp` says.
    pub fn not_after(&self) -> OffsetDateTime {
        self.chain.not_after
    }

    /// How long a signature takes.
    pub fn effort(&self) -> Effort {
        match self.key.kind() {
            KeyKind::Rsa(bits) if bits > SIGNS_IN_PLACE => Effort::Large,
            KeyKind::Rsa(_) | KeyKind::Ec(_) => Effort::Small,
        }
    }

    /// Signs: RSASSA-PKCS1-v1_5 with SHA-256, or ECDSA as raw R and S side by side (RFC 7518 section 3.4). With a key of
    /// [`Effort::Large`], call it where blocking is allowed.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.key.sign(message)
    }

    /// The public key, to verify what this key signed.
    pub fn verifier(&self) -> &DecodingKey {
        &self.verifier
    }

    /// The public key as a JWK set (RFC 7517 section 5), once under each form of its id, so that a registry which
    /// only knows this set finds the key whichever form the tokens carry.
    pub fn jwks(&self) -> Value {
        let algorithm = match self.key.kind() {
            KeyKind::Rsa(_) => "RS256",
            KeyKind::Ec(Curve::P256) => "ES256",
            KeyKind::Ec(Curve::P384) => "ES384",
        };
        let keys: Vec<Value> =
            [KidForm::Libtrust, KidForm::Thumbprint].map(|form| self.public.jwk(algorithm, self.kid(form))).into();
        json!({ "keys": keys })
    }

    /// By what one sees that the pair is replaced while nobody looks.
    pub fn renewals(&self) -> &[Renewal] {
        &self.chain.renewals
    }

    /// What the pair's owner should know although tokens can be signed, at this time.
    pub fn warnings(&self, now: OffsetDateTime) -> Vec<KeyWarning> {
        let mut warnings = self.warnings.clone();
        let not_after = self.not_after();
        if now < self.used_from() {
            warnings.push(KeyWarning::NotYetValid(day(self.not_before())));
        }
        if now > not_after {
            warnings.push(KeyWarning::Expired(day(not_after)));
        } else if not_after - now < EXPIRY_NOTICE {
            warnings.push(KeyWarning::ExpiresSoon(day(not_after)));
        }
        warnings
    }
}

/// A certificate's date as text; every date that a certificate can hold has this form.
fn day(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap_or_else(|_| moment.to_string())
}

/// Signs once and verifies with the public key, by another reader than the one that signed, so that a pair which
/// cannot sign is found at startup and not by the first client.
fn trial(key: &PrivateKey, verifier: &DecodingKey) -> Result<(), String> {
    const MESSAGE: &[u8] = b"a token that nobody asked for";
    let signature = key.sign(MESSAGE).map_err(|error| error.to_string())?;
    let signature = URL_SAFE_NO_PAD.encode(signature);
    match jsonwebtoken::crypto::verify(&signature, MESSAGE, verifier, key.kind().algorithm()) {
        Ok(true) => Ok(()),
        Ok(false) => Err("the signature does not verify".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The coordinate of an elliptic curve key that starts with a zero byte, if one does.
fn short_coordinate(key: &PrivateKey) -> Option<&'static str> {
    match key.kind() {
        KeyKind::Rsa(_) => None,
        KeyKind::Ec(curve) => {
            let starts_with_zero = |at: usize| key.public_bits().get(at) == Some(&0);
            if starts_with_zero(1) {
                Some("x")
            } else if starts_with_zero(1 + curve.field_bytes()) {
                Some("y")
            } else {
                None
            }
        }
    }
}

/// Says so when others than its owner can read the key file: whoever has the key can make tokens for anything.
/// `None` when all is well, when the file cannot be looked at (reading it will say why), and on systems without
/// these permissions.
#[cfg(unix)]
pub fn key_permission_warning(path: &std::path::Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let who = match (mode & 0o007, mode & 0o070) {
        (0, 0) => return None,
        (0, _) => "its group",
        (_, _) => "everybody on this machine",
    };
    Some(format!(
        "the key file {path} can be used by {who} (mode {mode:04o}), and whoever reads it can make tokens for any \
         repository; run `chmod 0600 {path}`",
        path = path.display()
    ))
}

/// Says so when others than its owner can read the key file; there is nothing to see on this system.
#[cfg(not(unix))]
pub fn key_permission_warning(_path: &std::path::Path) -> Option<String> {
    None
}
