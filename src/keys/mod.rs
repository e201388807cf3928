//! The pair of signing key and certificate, by which registries trust our tokens: reading, checking and making it.

mod authority;
mod chain;
mod generate;
mod leaf;
mod new_file;
mod private;
mod problem;
mod public;
mod renewal;
#[cfg(test)]
mod tests;
mod verifying;

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use self::chain::{Certificates, Chain};
use self::private::{KeyKind, PrivateKey};

pub use self::authority::{Authority, AuthorityProblem, AuthorityWarning, ChainProblem, Window};
pub use self::generate::{GenerateError, GeneratedPair, PairFiles, create_pair, generate, generate_authority};
pub use self::leaf::{Issued, IssuingAuthority, LeafError, LeafFiles, LeafProblem, Standing, When, standing};
pub use self::problem::{KeyProblem, KeyWarning};
pub use self::renewal::Renewal;
pub use self::verifying::VerifyingKey;
pub use crate::pem::{PairFile, PemProblem};

/// Puts a whole file that only its owner reads at a path, in place of whatever is there.
///
/// # Errors
/// It is not there; what was there before, still is.
pub(crate) fn replace_private(path: &Path, content: &[u8]) -> io::Result<()> {
    new_file::replace(path, content, new_file::Readers::Owner)
}

/// The accepted sizes of RSA keys, in bits. Smaller keys can be broken; larger ones make signatures slow and tokens long.
const RSA_BITS: RangeInclusive<usize> = 2048..=4096;

/// The largest RSA key, in bits, that signs on the calling thread: handing over to another thread and back costs half as much
/// as its signature. Each doubling of the size makes a signature six to eight times as long.
const SIGNS_IN_PLACE: usize = 2048;

/// How long before its certificate expires the owner is warned.
const EXPIRY_NOTICE: Duration = Duration::days(30);

/// How far this machine's clock may be behind the registries' clocks: as far as a token allows it to be ahead.
const CLOCK_BEHIND: Duration = Duration::seconds(90);

/// The form of a key's id in a token's `kid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KidForm {
    /// Twelve groups of four letters, as registry 2.x computes it; docker_auth's default.
    Libtrust,
    /// The RFC 7638 thumbprint, as registry 3.x computes it; docker_auth's `disable_legacy_key_id: true`.
    Thumbprint,
}

/// How long a signature occupies its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Well under a millisecond: other requests can wait for it.
    Small,
    /// A millisecond or more: it belongs on a thread that may block.
    Large,
}

/// Why a signature could not be made. The cause is never the message: the key, or memory, failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The cryptographic library refused.
    #[error("the signing key could not be used")]
    Refused,
    /// The leaf of an authority for tokens is out of its time: registries would refuse every token.
    #[error("the leaf that signs tokens is out of its time")]
    LeafOutOfTime,
    /// The claims could not be written as JSON.
    #[error("the token's claims could not be written as JSON")]
    Encoding,
}

/// A private key and its certificate chain, both checked and fit to sign tokens.
pub struct SigningKey {
    key: PrivateKey,
    chain: Chain,
    public: VerifyingKey,
    warnings: Vec<KeyWarning>,
    trusted: Trusted,
}

/// By what registries trust the key's certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trusted {
    /// By itself, or by whatever is above it: only they know.
    ByThem,
    /// By its authority for tokens. It is renewed at this moment, if a new one would live longer.
    ByAuthority(Option<OffsetDateTime>),
}

/// Shows the public side only.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kind", &self.key.kind().to_string())
            .field("kid", &self.kid(KidForm::Libtrust))
            .field("certificates", &self.chain.certificates.len())
            .field("not_after", &self.chain.not_after)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads a pair from its PEM files and makes sure that it can sign: the kind and size of the key, the chain, that both
    /// belong together, and a trial signature. All problems of both files come at once. The dates of the certificates are
    /// not checked, see [`SigningKey::warnings`].
    pub fn from_pem(key_pem: &[u8], certificate_pem: &[u8]) -> Result<SigningKey, Vec<KeyProblem>> {
        let key = PrivateKey::from_pem(key_pem);
        let chain = Certificates::from_pem(certificate_pem)
            .map_err(|problem| vec![problem])
            .and_then(|certificates| certificates.chain(key.as_ref().ok().map(|(key, _)| key)));
        match (key, chain) {
            (Ok((key, warnings)), Ok(chain)) => {
                SigningKey::tried(key, chain, warnings).map_err(|problem| vec![problem])
            }
            (key, chain) => Err(key.err().into_iter().chain(chain.err().into_iter().flatten()).collect()),
        }
    }

    fn tried(key: PrivateKey, mut chain: Chain, mut warnings: Vec<KeyWarning>) -> Result<SigningKey, KeyProblem> {
        let broken = |error: SignError| KeyProblem::SelfTest(error.to_string());
        let public = VerifyingKey::from_key(&key).map_err(broken)?;
        trial(&key, public.verifier()).map_err(KeyProblem::SelfTest)?;
        warnings.append(&mut chain.warnings);
        warnings.extend(short_coordinate(&key).map(KeyWarning::ShortCoordinate));
        Ok(SigningKey { key, chain, public, warnings, trusted: Trusted::ByThem })
    }

    /// The same pair as a leaf of an authority for tokens: it is valid no longer than the authority, and is meant to be renewed.
    ///
    /// # Errors
    /// Why registries that trust the authority would refuse it.
    pub fn under(mut self, authority: &Authority) -> Result<SigningKey, ChainProblem> {
        let window = authority.certifies(&self.chain.certificates)?;
        let (from, until) = (self.chain.not_before.max(window.from), self.chain.not_after.min(window.until));
        // At two thirds of its life. Where it ends with its authority, a new one would end at the same moment.
        let (begins, ends) = self.chain.own;
        let due = begins + (ends - begins) * 2 / 3;
        self.trusted = Trusted::ByAuthority((ends < window.authority_until).then_some(due));
        (self.chain.not_before, self.chain.not_after) = (from, until);
        self.chain.renewals.clear();
        // Its authority is in the bundle, and these are about a bundle that holds the leaf.
        self.warnings.retain(|warning| match warning {
            KeyWarning::NotAsWritten(_) | KeyWarning::BeginNotFirst(_) | KeyWarning::CertificateHoldsKey => false,
            KeyWarning::NotYetValid(_)
            | KeyWarning::Expired(_)
            | KeyWarning::ExpiresSoon(_)
            | KeyWarning::LeafEndsSoon(_)
            | KeyWarning::LeafEnded(_)
            | KeyWarning::KeyUsage
            | KeyWarning::NotAnAuthority(_)
            | KeyWarning::NotInChain(_)
            | KeyWarning::WeakSignature(..)
            | KeyWarning::SeveralKeys(_)
            | KeyWarning::ShortCoordinate(_) => true,
        });
        Ok(self)
    }

    /// The moment from which a leaf is to be renewed; `None` if it is none, or if a new one would live no longer.
    pub fn renew_at(&self) -> Option<OffsetDateTime> {
        match self.trusted {
            Trusted::ByThem => None,
            Trusted::ByAuthority(due) => due,
        }
    }

    /// The public half, for verifying and for JWK sets.
    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// The algorithm that all registries accept for this kind of key: RS256, ES256 or ES384.
    pub fn algorithm(&self) -> Algorithm {
        self.key.kind().algorithm()
    }

    /// The key's id in this form.
    pub fn kid(&self, form: KidForm) -> &str {
        self.public.kid(form)
    }

    /// The certificates in DER: the key's own, then those above it (RFC 7515 section 4.1.6).
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.chain.certificates
    }

    /// The first moment at which the whole chain is valid. Registries check it at each request and give no leeway.
    pub fn not_before(&self) -> OffsetDateTime {
        self.chain.not_before
    }

    /// The first moment at which tokens carry the chain: a little before it is valid by this machine's clock. A new
    /// certificate is valid from when it is made; if our clock were a few seconds behind, registries that know the key by
    /// the certificate alone would refuse our tokens until then.
    pub fn used_from(&self) -> OffsetDateTime {
        self.not_before().saturating_sub(CLOCK_BEHIND)
    }

    /// The last moment at which the whole chain is valid. Registries check it at each request and give no leeway, so that a
    /// token with `x5c` is useless after it, whatever its own `exp` says.
    pub fn not_after(&self) -> OffsetDateTime {
        self.chain.not_after
    }

    /// How long a signature occupies its thread.
    pub fn effort(&self) -> Effort {
        match self.key.kind() {
            KeyKind::Rsa(bits) if bits > SIGNS_IN_PLACE => Effort::Large,
            KeyKind::Rsa(_) | KeyKind::Ec(_) => Effort::Small,
        }
    }

    /// Signs a message: RSASSA-PKCS1-v1_5 with SHA-256, or ECDSA as raw R and S side by side (RFC 7518 section 3.4). Where
    /// [`SigningKey::effort`] is [`Effort::Large`], call it on a thread that may block.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.key.sign(message)
    }

    /// The public key, for verifying this key's signatures.
    pub fn verifier(&self) -> &DecodingKey {
        self.public.verifier()
    }

    /// The public key as a JWK set (RFC 7517 section 5), under each form of its id, so that a registry with this set finds the
    /// key whichever form the tokens carry.
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.public.jwks() })
    }

    /// The signs that a program replaces the pair.
    pub fn renewals(&self) -> &[Renewal] {
        &self.chain.renewals
    }

    /// What the owner of the pair should know at this moment, although tokens can be signed.
    pub fn warnings(&self, now: OffsetDateTime) -> Vec<KeyWarning> {
        let mut warnings = self.warnings.clone();
        let not_after = self.not_after();
        if now < self.used_from() {
            warnings.push(KeyWarning::NotYetValid(day(self.not_before())));
        }
        let left = not_after - now;
        match self.trusted {
            Trusted::ByThem if now > not_after => warnings.push(KeyWarning::Expired(day(not_after))),
            Trusted::ByThem if left < EXPIRY_NOTICE => warnings.push(KeyWarning::ExpiresSoon(day(not_after))),
            Trusted::ByAuthority(_) if now > not_after => warnings.push(KeyWarning::LeafEnded(day(not_after))),
            // It should have been renewed when a third was left.
            Trusted::ByAuthority(_) if left < (not_after - self.not_before()) / 4 => {
                warnings.push(KeyWarning::LeafEndsSoon(day(not_after)));
            }
            Trusted::ByThem | Trusted::ByAuthority(_) => {}
        }
        warnings
    }
}

/// A date as text; every date that a certificate can hold has this form.
pub(crate) fn day(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap_or_else(|_| moment.to_string())
}

/// Signs once and verifies the signature with another library, so that a pair which cannot sign is found at startup, not by
/// the first client.
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

/// The name of the coordinate that starts with a zero byte, if an elliptic curve key has one.
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

/// A warning that others than its owner can use the key file: whoever has the key can make tokens for anything. `None` if
/// nobody else can, or if the file cannot be examined (reading it will say why).
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
