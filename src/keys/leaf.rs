//! Leaves under an authority for tokens: what stands at their paths, making them, and putting them in place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jsonwebtoken::Algorithm;
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use settings::ShownPath;
use time::{Duration, OffsetDateTime};

use super::authority::{Authority, AuthorityProblem, ChainProblem};
use super::chain::bits_of;
use super::generate::{
    self, GenerateError, GeneratedPair, Made, PairFiles, backdated, create, key_text, new_key, subject,
};
use super::new_file::{Readers, replace};
use super::private::PrivateKey;
use super::{KeyProblem, PairFile, SigningKey, day};
use crate::pem::{self, KeyBlock};

/// How long a leaf lives: a stolen one makes tokens for as long.
const LIFETIME: Duration = Duration::days(30);
/// The algorithm of a first leaf: registries of both generations take it, and its tokens are the shortest.
const ALGORITHM: Algorithm = Algorithm::ES256;

/// A reason why no leaf was made or put in place.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// The authority or its key is not fit.
    #[error("{}: {}", ShownPath(.path), all(.problems))]
    Authority {
        /// The file that is meant.
        path: PathBuf,
        /// What is wrong.
        problems: Vec<AuthorityProblem>,
    },
    /// The authority's time is over.
    #[error("the authority for tokens was valid until {}, and no leaf can outlive it; make a new authority", day(*.0))]
    AuthorityEnded(OffsetDateTime),
    /// Registries would refuse it.
    #[error("registries would refuse the new leaf: {0}")]
    Refused(#[from] ChainProblem),
    /// The pair could not be made.
    #[error(transparent)]
    Making(#[from] GenerateError),
    /// There is a pair that is neither a leaf of this authority nor made by us.
    #[error(
        "{path} holds a key that was not made here, and its certificate is not from the authority: it is not replaced; move both files \
         away, or name others in token.certificate and token.key",
        path = ShownPath(.0)
    )]
    OthersPair(PathBuf),
    /// A file could not be read.
    #[error("could not read {path}: {cause}; see that it is there, and that this user may read it", path = ShownPath(.path))]
    Unread {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// A file could not be written.
    #[error(
        "could not {doing} {path}: {cause}; make its directory writable for this user, or have leaves made elsewhere: leave \
         token.authority.key out here, and run `dockwarden keys issue-leaf CONFIG` where the authority's key is",
        path = ShownPath(.path)
    )]
    File {
        /// What was tried.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
}

fn all(problems: &[AuthorityProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LeafError {
    let path = path.to_owned();
    move |cause| LeafError::File { doing, path, cause }
}

fn unread(path: &Path) -> impl FnOnce(io::Error) -> LeafError {
    let path = path.to_owned();
    move |cause| LeafError::Unread { path, cause }
}

/// A reason why the pair at a leaf's paths cannot sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafProblem {
    /// The pair by itself.
    #[error(transparent)]
    Pair(#[from] KeyProblem),
    /// Its way up to the authority.
    #[error(transparent)]
    Chain(#[from] ChainProblem),
    /// A key that we did not make, without a certificate.
    #[error(
        "there is a key that was not made here, and no certificate for it; put its certificate there, from the authority, or remove the \
         key so that a leaf is made"
    )]
    KeyAlone,
}

impl LeafProblem {
    /// The file that a configuration error should point to.
    pub fn file(&self) -> PairFile {
        match self {
            LeafProblem::Pair(problem) => problem.file(),
            LeafProblem::Chain(_) => PairFile::Certificate,
            LeafProblem::KeyAlone => PairFile::Key,
        }
    }
}

/// What stands at the two paths of a leaf.
#[derive(Debug)]
pub enum Standing {
    /// A leaf of the authority, whose time may be over.
    Leaf(Box<SigningKey>),
    /// Nothing, or the halves of two leaves, as a process leaves them that was stopped between the two.
    Needed,
}

/// Looks at what stands at the paths of a leaf: the contents of the certificate's file and of the key's, if they are there.
///
/// # Errors
/// A pair that is not a leaf of this authority, or a leaf that registries refuse. It is left alone.
pub fn standing(
    certificate: Option<&[u8]>,
    key: Option<&[u8]>,
    authority: &Authority,
) -> Result<Standing, Vec<LeafProblem>> {
    let chain_problem = |problem: ChainProblem| vec![LeafProblem::Chain(problem)];
    match (certificate, key) {
        (None, None) => Ok(Standing::Needed),
        (None, Some(key)) if generate::is_ours(key) => Ok(Standing::Needed),
        (None, Some(_)) => Err(vec![LeafProblem::KeyAlone]),
        (Some(certificate), None) => {
            authority.has_signed(certificate).map(|()| Standing::Needed).map_err(chain_problem)
        }
        (Some(certificate), Some(key)) => match SigningKey::from_pem(key, certificate) {
            Ok(pair) => pair.under(authority).map(|leaf| Standing::Leaf(Box::new(leaf))).map_err(chain_problem),
            Err(problems) => {
                let is_mixed = matches!(problems.as_slice(), [KeyProblem::Mismatch { .. }]);
                match is_mixed && generate::is_ours(key) && authority.has_signed(certificate).is_ok() {
                    true => Ok(Standing::Needed),
                    false => Err(problems.into_iter().map(LeafProblem::Pair).collect()),
                }
            }
        },
    }
}

/// An authority with its key: what makes leaves.
pub struct IssuingAuthority {
    issuer: Issuer<'static, KeyPair>,
    authority: Authority,
    ends: OffsetDateTime,
}

impl IssuingAuthority {
    /// Reads the PEM files of an authority and of its key, and makes sure that they belong together.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn from_pem(certificate_pem: &[u8], key_pem: &[u8]) -> Result<IssuingAuthority, Vec<AuthorityProblem>> {
        let (authority, _) = Authority::from_pem(certificate_pem)?;
        let problem = |problem: KeyProblem| vec![AuthorityProblem::File(problem)];
        let (key, _) = PrivateKey::from_pem(key_pem).map_err(problem)?;
        let of_key =
            |der: &&Vec<u8>| super::authority::parsed(der).is_some_and(|one| bits_of(&one) == key.public_bits());
        let own = authority.certificates().iter().find(of_key);
        let own = own.ok_or_else(|| vec![AuthorityProblem::OthersKey(key.kind().to_string())])?;
        let unreadable = || vec![AuthorityProblem::Name];
        let certificate = super::authority::parsed(own).ok_or_else(unreadable)?;
        let ends = super::chain::window(&certificate).1;
        let is_whole = certificate.subject().iter().all(|part| part.iter().count() == 1);
        let block = KeyBlock::from_pem(key_pem).map_err(|pem| problem(pem.into()))?;
        // Without the library's own words, which may quote the key.
        let pair = KeyPair::try_from(block.der.as_slice()).map_err(|_| {
            problem(KeyProblem::KeyUnreadable("it is in a form that cannot sign certificates".to_owned()))
        })?;
        let issuer = match is_whole {
            true => Issuer::from_ca_cert_der(&own.as_slice().into(), pair).map_err(|_| unreadable())?,
            false => return Err(unreadable()),
        };
        Ok(IssuingAuthority { issuer, authority, ends })
    }

    /// Makes a leaf and its key in memory. It is valid from an hour before `now` for 30 days, and no longer than the authority.
    ///
    /// # Errors
    /// The authority's time is over, or registries would refuse the leaf.
    pub fn leaf(&self, algorithm: Algorithm, name: &str, now: OffsetDateTime) -> Result<GeneratedPair, LeafError> {
        if now >= self.ends {
            return Err(LeafError::AuthorityEnded(self.ends));
        }
        let key = new_key(algorithm)?;
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = backdated(now, LIFETIME)?;
        params.not_after = params.not_after.min(self.ends);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, subject(name));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(|error| GenerateError::Making(PairFile::Certificate, error.to_string()))?;
        self.authority.certifies(&[certificate.der()])?;
        let certificate_pem = pem::write("CERTIFICATE", certificate.der());
        Ok(GeneratedPair { key_pem: key_text(&key), certificate_pem })
    }
}

/// The files of an authority and of the leaf that it signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafFiles {
    /// The authority's certificate, which registries get as their bundle.
    pub authority_certificate: PathBuf,
    /// The authority's key.
    pub authority_key: PathBuf,
    /// The leaf's certificate.
    pub certificate: PathBuf,
    /// The leaf's key.
    pub key: PathBuf,
}

/// Whether a leaf that is there is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Only if it is to be renewed, or its time is over.
    Needed,
    /// In any case.
    Always,
}

/// What came of [`LeafFiles::issue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issued {
    /// A new leaf is in place.
    Made,
    /// There is a good one, which another process may have made meanwhile.
    Found,
}

impl LeafFiles {
    /// Makes the authority's pair where neither file is there: for tokens alone, and for leaves without another authority
    /// between. Nothing is ever replaced.
    ///
    /// # Errors
    /// Why it was not made.
    pub fn make_authority(&self, name: &str, now: OffsetDateTime) -> Result<PairFiles, GenerateError> {
        let name = format!("Token authority of {name}");
        create(&self.authority_key, &self.authority_certificate, (ALGORITHM, Made::Authority), &name, now)
    }

    fn authority(&self) -> Result<IssuingAuthority, LeafError> {
        let read = |path: &Path| fs::read(path).map_err(unread(path));
        let (certificate, key) = (read(&self.authority_certificate)?, read(&self.authority_key)?);
        IssuingAuthority::from_pem(&certificate, &key)
            .map_err(|problems| LeafError::Authority { path: self.authority_key.clone(), problems })
    }

    /// A leaf in memory, of the kind that is in place.
    ///
    /// # Errors
    /// Why it was not made.
    pub fn prepare(&self, name: &str, now: OffsetDateTime) -> Result<GeneratedPair, LeafError> {
        self.authority()?.leaf(self.algorithm()?, name, now)
    }

    /// Puts a prepared leaf in place.
    ///
    /// # Errors
    /// A file could not be written; there may be a pair that is not ours to replace.
    pub fn put(&self, pair: &GeneratedPair) -> Result<(), LeafError> {
        let _alone = self.lock();
        self.may_replace(&self.authority()?.authority)?;
        self.write(pair)
    }

    /// Puts a new leaf in place. Of several processes that do it at once for [`When::Needed`], one does.
    ///
    /// # Errors
    /// Why there is none.
    pub fn issue(&self, when: When, name: &str, now: OffsetDateTime) -> Result<Issued, LeafError> {
        let _alone = self.lock();
        let issuing = self.authority()?;
        let (certificate, key) = (there(&self.certificate)?, there(&self.key)?);
        if when == When::Needed
            && let Ok(Standing::Leaf(leaf)) = standing(certificate.as_deref(), key.as_deref(), &issuing.authority)
            && now <= leaf.not_after()
            && leaf.renew_at().is_none_or(|due| now < due)
        {
            return Ok(Issued::Found);
        }
        self.may_replace(&issuing.authority)?;
        self.write(&issuing.leaf(self.algorithm()?, name, now)?)?;
        Ok(Issued::Made)
    }

    /// A lock on the authority's key: replicas that share their files make one leaf. Where the file system has no locks, the
    /// halves of two leaves may meet; they are then made anew.
    fn lock(&self) -> Option<fs::File> {
        let file = fs::File::open(&self.authority_key).ok()?;
        file.lock().ok()?;
        Some(file)
    }

    /// The algorithm of the pair in place, so that a registry which lists the ones that it takes goes on.
    fn algorithm(&self) -> Result<Algorithm, LeafError> {
        let pair = there(&self.certificate)?.zip(there(&self.key)?);
        let read = pair.and_then(|(certificate, key)| SigningKey::from_pem(&key, &certificate).ok());
        Ok(read.map_or(ALGORITHM, |key| key.algorithm()))
    }

    /// Makes sure that no pair is lost that is neither a leaf of the authority nor made by us.
    fn may_replace(&self, authority: &Authority) -> Result<(), LeafError> {
        let Some(key) = there(&self.key)? else { return Ok(()) };
        let is_leaf =
            || Ok::<_, LeafError>(there(&self.certificate)?.is_some_and(|file| authority.has_signed(&file).is_ok()));
        match generate::is_ours(&key) || is_leaf()? {
            true => Ok(()),
            false => Err(LeafError::OthersPair(self.key.clone())),
        }
    }

    /// The key first: a process that is stopped between the two leaves a new key and an old leaf, which [`standing`] takes for
    /// none at all.
    fn write(&self, pair: &GeneratedPair) -> Result<(), LeafError> {
        replace(&self.key, pair.key_pem.as_bytes(), Readers::Owner).map_err(failed("write", &self.key))?;
        replace(&self.certificate, pair.certificate_pem.as_bytes(), Readers::All)
            .map_err(failed("write", &self.certificate))
    }
}

fn there(path: &Path) -> Result<Option<Vec<u8>>, LeafError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unread(path)(error)),
    }
}
