//! Makes a signing pair: a new key, a self-signed certificate, and the files of both.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use jsonwebtoken::Algorithm;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize,
};
use settings::ShownPath;
use time::{Duration, OffsetDateTime};

use super::new_file::{Placed, Readers, place};
use super::private::Curve;
use crate::pem::{self, PairFile};

/// How far a new certificate's beginning is set back. Registries compare it with their own clock and give no leeway:
/// otherwise one whose clock is behind would refuse the first tokens.
const BACKDATED: Duration = Duration::hours(1);
const LIFETIME: Duration = Duration::days(3650);

/// The upper bound of a common name in characters (RFC 5280 appendix A.1, `ub-common-name`).
const COMMON_NAME_LENGTH: usize = 64;

/// The text before the key in a file that we wrote. It tells a key that we made, and whose pair we may complete, from one
/// that its owner put there.
const KEY_PREFACE: &str = "Token signing key made by Dockwarden. Whoever reads it can make tokens: keep it secret.";

/// A reason why no pair was made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Not one of RS256, ES256 and ES384.
    #[error("cannot make a key for {0:?}; choose RS256, ES256 or ES384")]
    Algorithm(Algorithm),
    /// The cryptographic library failed.
    #[error("could not make the {0}: {1}")]
    Making(PairFile, String),
    /// The clock shows a year that a certificate cannot hold.
    #[error("cannot make a certificate that starts at {0}; set this machine's clock")]
    Clock(OffsetDateTime),
    /// Key and certificate would be one file.
    #[error(
        "the key and the certificate cannot both be made in {path}: registries get the certificate's file; name two files",
        path = ShownPath(.0)
    )]
    SameFile(PathBuf),
    /// There is a certificate, but its key is missing.
    #[error(
        "there is a certificate at {certificate} but no key at {key}; put its key there, or remove the certificate so that a new pair is made",
        certificate = ShownPath(.certificate), key = ShownPath(.key)
    )]
    KeyMissing {
        /// Where the key should be.
        key: PathBuf,
        /// The certificate that is there.
        certificate: PathBuf,
    },
    /// There is a key that we did not make, without a certificate.
    #[error(
        "there is a key at {key} but no certificate at {certificate}; put its certificate there, or remove the key so that a new pair is made",
        certificate = ShownPath(.certificate), key = ShownPath(.key)
    )]
    CertificateMissing {
        /// The key that is there.
        key: PathBuf,
        /// Where the certificate should be.
        certificate: PathBuf,
    },
    /// A file or directory could not be read or written.
    #[error("could not {doing} {path}: {cause}; make the directory writable for this user, or put a pair of your own in place and turn `token.generate` off", path = ShownPath(.path))]
    File {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
}

/// A new key and its certificate, as PEM text.
#[derive(Clone)]
pub struct GeneratedPair {
    /// The private key in PKCS#8.
    pub key_pem: String,
    /// The certificate, signed with the key itself.
    pub certificate_pem: String,
}

/// Shows the certificate only.
impl fmt::Debug for GeneratedPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratedPair").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// Makes a pair in memory: RS256 with 2048 bits (a signature costs a third of one with 3072), ES256 or ES384. It is valid from
/// an hour before `now` for ten years.
pub fn generate(algorithm: Algorithm, common_name: &str, now: OffsetDateTime) -> Result<GeneratedPair, GenerateError> {
    pair(algorithm, Made::Signer, common_name, now)
}

/// Makes the pair of an authority for tokens in memory. It may sign leaves, and no other authority.
pub fn generate_authority(
    algorithm: Algorithm,
    common_name: &str,
    now: OffsetDateTime,
) -> Result<GeneratedPair, GenerateError> {
    pair(algorithm, Made::Authority, common_name, now)
}

fn pair(
    algorithm: Algorithm,
    made: Made,
    common_name: &str,
    now: OffsetDateTime,
) -> Result<GeneratedPair, GenerateError> {
    let key = new_key(algorithm)?;
    Ok(GeneratedPair { key_pem: key_text(&key), certificate_pem: self_signed(&key, made, common_name, now)? })
}

/// What a self-signed certificate is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// Its key signs tokens.
    Signer,
    /// Its key signs leaves, whose keys sign tokens.
    Authority,
}

/// The result of [`create_pair`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairFiles {
    /// Both files were there, or another process made them meanwhile; nothing was changed.
    Found,
    /// A new key and its certificate were written.
    Made,
    /// A key made by an earlier start was there without its certificate; a new certificate for it was written.
    CertificateMade,
}

/// Makes sure that a pair is at the two paths: makes one if neither file exists, and never replaces a file.
///
/// Two processes that start at the same moment end with one matching pair, and so does one that is killed halfway and
/// started again. That takes no lock (locks fail on some network file systems, and outlive a crash): a file appears whole
/// or not at all, only one process can be the first to put it there, and the certificate is always made from the key that
/// is at its path by then, whoever made it. So whichever certificate wins, it belongs to the only key that there ever was.
pub fn create_pair(
    key_path: &Path,
    certificate_path: &Path,
    algorithm: Algorithm,
    common_name: &str,
    now: OffsetDateTime,
) -> Result<PairFiles, GenerateError> {
    create(key_path, certificate_path, (algorithm, Made::Signer), common_name, now)
}

/// The same for a pair of either purpose.
pub(super) fn create(
    key_path: &Path,
    certificate_path: &Path,
    (algorithm, made): (Algorithm, Made),
    common_name: &str,
    now: OffsetDateTime,
) -> Result<PairFiles, GenerateError> {
    if key_path == certificate_path {
        return Err(GenerateError::SameFile(key_path.to_owned()));
    }
    // The certificate first: a process that is making the pair writes the key first, so that the key of a certificate that
    // is there cannot be missing only because it comes later.
    let certificate_there = exists(certificate_path)?;
    let key_there = exists(key_path)?;
    match (key_there, certificate_there) {
        (true, true) => return Ok(PairFiles::Found),
        (false, true) => {
            return Err(GenerateError::KeyMissing { key: key_path.into(), certificate: certificate_path.into() });
        }
        (true | false, false) => {}
    }
    let key_placed = if key_there {
        Placed::AlreadyThere
    } else {
        place(key_path, key_text(&new_key(algorithm)?).as_bytes(), Readers::Owner)?
    };

    let text = fs::read(key_path).map_err(failed("read", key_path))?;
    if !is_ours(&text) {
        return Err(GenerateError::CertificateMissing { key: key_path.into(), certificate: certificate_path.into() });
    }
    let certificate = self_signed(&parse_own(&text)?, made, common_name, now)?;
    match (place(certificate_path, certificate.as_bytes(), Readers::All)?, key_placed) {
        (Placed::ByUs, Placed::ByUs) => Ok(PairFiles::Made),
        (Placed::ByUs, Placed::AlreadyThere) => Ok(PairFiles::CertificateMade),
        (Placed::AlreadyThere, _) => Ok(PairFiles::Found),
    }
}

/// Whether we wrote this file of a key.
pub(super) fn is_ours(key: &[u8]) -> bool {
    key.starts_with(KEY_PREFACE.as_bytes())
}

pub(super) fn new_key(algorithm: Algorithm) -> Result<KeyPair, GenerateError> {
    let ec = |curve: Curve, signature| loop {
        let key = KeyPair::generate_for(signature)?;
        // Registries up to 3.1.1 drop a coordinate's leading zero byte when they compute the RFC 7638 id, and then do not
        // find the key. One key in 128 has such a byte; another is made instead.
        let starts_with_zero = |at: usize| key.der_bytes().get(at) == Some(&0);
        if !starts_with_zero(1) && !starts_with_zero(1 + curve.field_bytes()) {
            break Ok(key);
        }
    };
    match algorithm {
        Algorithm::RS256 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        Algorithm::ES256 => ec(Curve::P256, &PKCS_ECDSA_P256_SHA256),
        Algorithm::ES384 => ec(Curve::P384, &PKCS_ECDSA_P384_SHA384),
        other => return Err(GenerateError::Algorithm(other)),
    }
    .map_err(|error| GenerateError::Making(PairFile::Key, error.to_string()))
}

pub(super) fn key_text(key: &KeyPair) -> String {
    format!("{KEY_PREFACE}\n{}", pem::write("PRIVATE KEY", key.serialized_der()))
}

/// A key from a file that we wrote.
fn parse_own(text: &[u8]) -> Result<KeyPair, GenerateError> {
    let unreadable = |what: String| GenerateError::Making(PairFile::Certificate, format!("the key: {what}"));
    let blocks = pem::blocks(text, PairFile::Key).map_err(|problem| unreadable(problem.to_string()))?;
    let block = blocks.first().ok_or_else(|| unreadable("its file is empty".to_owned()))?;
    // Without the library's own words, which may quote the key.
    KeyPair::try_from(block.der.as_slice()).map_err(|_| unreadable("it was not made here".to_owned()))
}

fn self_signed(key: &KeyPair, made: Made, common_name: &str, now: OffsetDateTime) -> Result<String, GenerateError> {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = backdated(now, LIFETIME)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject(common_name));
    (params.is_ca, params.key_usages) = match made {
        Made::Signer => (IsCa::ExplicitNoCa, vec![KeyUsagePurpose::DigitalSignature]),
        Made::Authority => (IsCa::Ca(BasicConstraints::Constrained(0)), vec![KeyUsagePurpose::KeyCertSign]),
    };
    let certificate =
        params.self_signed(key).map_err(|error| GenerateError::Making(PairFile::Certificate, error.to_string()))?;
    Ok(pem::write("CERTIFICATE", certificate.der()))
}

/// The beginning and the end of a certificate that is made now.
pub(super) fn backdated(
    now: OffsetDateTime,
    lifetime: Duration,
) -> Result<(OffsetDateTime, OffsetDateTime), GenerateError> {
    let clock = || GenerateError::Clock(now);
    let from = now.checked_sub(BACKDATED).ok_or_else(clock)?;
    let until = now.checked_add(lifetime).ok_or_else(clock)?;
    // A certificate cannot hold years outside these (RFC 5280 section 4.1.2.5).
    if from.year() < 1950 || until.year() > 9999 {
        return Err(clock());
    }
    Ok((from, until))
}

/// A common name that every reader accepts: not empty, not too long, and without control characters.
pub(super) fn subject(common_name: &str) -> String {
    let name: String = common_name.chars().filter(|c| !c.is_control()).take(COMMON_NAME_LENGTH).collect();
    if name.trim().is_empty() { "Dockwarden".to_owned() } else { name }
}

fn exists(path: &Path) -> Result<bool, GenerateError> {
    path.try_exists().map_err(failed("look for", path))
}

pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> GenerateError {
    let path = path.to_owned();
    move |cause| GenerateError::File { doing, path, cause }
}
