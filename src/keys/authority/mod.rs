//! The authority for tokens alone: the certificates that registries have in their bundle, and whether a leaf is theirs.

mod names;
mod problem;

use std::fmt;

use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::X509Version;

use super::chain::{Certificates, kind_of_authority, weak_signature, window};
use super::renewal::is_public_root;

pub use self::problem::{AuthorityProblem, AuthorityWarning, ChainProblem};

/// The longest chain that is looked at, the authority not counted. A token brings its own, and nobody has verified it yet.
const LONGEST_CHAIN: usize = 6;

/// The most signatures of certificates that are verified for one chain: certificates that all have one name could be tried in every
/// order, and whoever sends a token chooses them.
const MOST_SIGNATURES: usize = 16;

/// How long before the end of an authority its owner is warned: a new one has to reach the bundle of every registry, and each
/// of them has to be started anew.
const END_NOTICE: Duration = Duration::days(90);

/// The extensions that registries understand where they are marked critical (Go's `crypto/x509`).
const KNOWN_EXTENSIONS: [&str; 9] = [
    "2.5.29.14",
    "2.5.29.15",
    "2.5.29.17",
    "2.5.29.19",
    "2.5.29.30",
    "2.5.29.31",
    "2.5.29.32",
    "2.5.29.35",
    "2.5.29.37",
];

/// The time in which every certificate of a chain is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first moment.
    pub from: OffsetDateTime,
    /// Its last moment.
    pub until: OffsetDateTime,
    /// The end of the authority alone.
    pub authority_until: OffsetDateTime,
}

/// The certificates of the authorities that registries trust, each fit to sign leaves. Whoever has the key of one can make
/// tokens, and so can whoever has any certificate from it.
pub struct Authority {
    certificates: Vec<Vec<u8>>,
}

/// Shows how many there are.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("certificates", &self.certificates.len()).finish()
    }
}

impl Authority {
    /// Reads the PEM file that registries get as their bundle. Every certificate in it has to be fit for that, since registries
    /// trust each; the dates are left to [`Authority::warnings`].
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn from_pem(bytes: &[u8]) -> Result<(Authority, Vec<AuthorityWarning>), Vec<AuthorityProblem>> {
        let read = Certificates::from_pem(bytes).map_err(|problem| vec![AuthorityProblem::File(problem)])?;
        let (certificates, noticed) = read.into_ders();
        let mut problems = Vec::new();
        let mut warnings: Vec<_> = noticed.into_iter().map(AuthorityWarning::File).collect();
        for (number, der) in (1..).zip(&certificates) {
            match parsed(der) {
                Some(certificate) => {
                    problems.extend(unfit(&certificate));
                    warnings.extend(not_for_tokens_alone(&certificate));
                }
                None => problems.push(AuthorityProblem::Unreadable(number)),
            }
        }
        if problems.is_empty() { Ok((Authority { certificates }, warnings)) } else { Err(problems) }
    }

    /// The certificates in DER, in the order of their file.
    pub(super) fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    /// Verifies a chain as registries do (RFC 5280 section 6 as Go's `crypto/x509` has it): signatures, who may sign for whom,
    /// the length of the path, names, and extensions that must be understood. The leaf comes first. The dates are returned,
    /// and not compared with any clock.
    ///
    /// # Errors
    /// Why registries would refuse it.
    pub fn certifies<D: AsRef<[u8]>>(&self, chain: &[D]) -> Result<Window, ChainProblem> {
        self.judge(chain).0
    }

    /// The same, and how many signatures were verified for it.
    pub(super) fn judge<D: AsRef<[u8]>>(&self, chain: &[D]) -> (Result<Window, ChainProblem>, usize) {
        if chain.len() > LONGEST_CHAIN {
            return (Err(ChainProblem::TooLong(chain.len())), 0);
        }
        let read: Option<Vec<_>> = chain.iter().map(|der| parsed(der.as_ref())).collect();
        let Some((leaf, others)) = read.as_deref().and_then(<[_]>::split_first) else {
            return (Err(ChainProblem::Unreadable), 0);
        };
        let roots: Vec<_> = self.certificates.iter().filter_map(|der| parsed(der)).collect();
        let mut climb = Climb { roots: &roots, others, signatures: 0, found: None, problem: None };
        climb.from(&mut vec![leaf]);
        let stranger =
            || ChainProblem::Stranger { subject: leaf.subject().to_string(), issuer: leaf.issuer().to_string() };
        (climb.found.ok_or_else(|| climb.problem.unwrap_or_else(stranger)), climb.signatures)
    }

    /// Verifies the chain of a PEM file, whatever its key.
    ///
    /// # Errors
    /// As [`Authority::certifies`].
    pub fn has_signed(&self, pem: &[u8]) -> Result<(), ChainProblem> {
        let read = Certificates::from_pem(pem).map_err(|_| ChainProblem::Unreadable)?;
        self.certifies(&read.into_ders().0).map(|_| ())
    }

    /// What the owner should know of its dates at this moment.
    pub fn warnings(&self, now: OffsetDateTime) -> Vec<AuthorityWarning> {
        let told = |der: &Vec<u8>| {
            let certificate = parsed(der)?;
            let (from, until) = window(&certificate);
            let name = certificate.subject().to_string();
            if now > until {
                Some(AuthorityWarning::Ended(name, super::day(until)))
            } else if now < from {
                Some(AuthorityWarning::NotBegun(name, super::day(from)))
            } else if until - now < END_NOTICE {
                Some(AuthorityWarning::EndsSoon(name, super::day(until)))
            } else {
                None
            }
        };
        self.certificates.iter().filter_map(told).collect()
    }
}

/// A search for the way from a leaf up to an authority: by names first, which costs nothing, and then by signatures from the
/// authority down, so that a chain of strangers ends with the first of them.
struct Climb<'a> {
    roots: &'a [X509Certificate<'a>],
    others: &'a [X509Certificate<'a>],
    /// How many were verified.
    signatures: usize,
    /// The time of the way that is valid for longest.
    found: Option<Window>,
    /// What is wrong with a way that leads up, but is not allowed.
    problem: Option<ChainProblem>,
}

impl<'a> Climb<'a> {
    fn from(&mut self, path: &mut Vec<&'a X509Certificate<'a>>) {
        let Some(top) = path.last().copied() else { return };
        for root in self.roots {
            if !is_named(top, root) || !self.is_signed(path, root) {
                continue;
            }
            match allowed(path, root) {
                Ok(window) => {
                    self.found = Some(self.found.filter(|found| found.until >= window.until).unwrap_or(window));
                }
                Err(problem) => self.problem = Some(problem),
            }
        }
        for other in self.others {
            if !path.iter().any(|certificate| std::ptr::eq(*certificate, other)) && is_named(top, other) {
                path.push(other);
                self.from(path);
                path.pop();
            }
        }
    }

    /// Whether each of a path has signed the one below it, from the root down.
    fn is_signed(&mut self, path: &[&X509Certificate<'_>], root: &X509Certificate<'_>) -> bool {
        let above = [root].into_iter().chain(path.iter().rev().copied());
        above.zip(path.iter().rev()).all(|(above, below)| self.has_signed(above, below))
    }

    fn has_signed(&mut self, above: &X509Certificate<'_>, below: &X509Certificate<'_>) -> bool {
        let name = || below.subject().to_string();
        if self.signatures == MOST_SIGNATURES {
            return false;
        }
        self.signatures += 1;
        if let Some(hash) = weak_signature(below) {
            self.problem.get_or_insert_with(|| ChainProblem::WeakSignature(name(), hash.to_owned()));
            return false;
        }
        let is_right = below.verify_signature(Some(above.public_key())).is_ok();
        if !is_right {
            self.problem.get_or_insert_with(|| ChainProblem::Signature(name(), above.subject().to_string()));
        }
        is_right
    }
}

/// Whether a certificate names another as who signed it.
fn is_named(below: &X509Certificate<'_>, above: &X509Certificate<'_>) -> bool {
    below.issuer().as_raw() == above.subject().as_raw()
}

pub(super) fn parsed(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, certificate)| certificate)
}

/// Whether a certificate is marked as an authority; `None` where it has no mark.
fn mark(certificate: &X509Certificate<'_>) -> Option<(bool, Option<u32>)> {
    let mark = certificate.basic_constraints().ok().flatten()?;
    Some((mark.value.ca, mark.value.path_len_constraint))
}

fn may_not_sign(certificate: &X509Certificate<'_>) -> bool {
    matches!(certificate.key_usage(), Ok(Some(usage)) if !usage.value.key_cert_sign())
}

/// The first critical extension that registries do not understand.
fn unknown_extension(certificate: &X509Certificate<'_>) -> Option<String> {
    let critical = certificate.extensions().iter().filter(|extension| extension.critical);
    let mut named = critical.map(|extension| extension.oid.to_id_string());
    named.find(|oid| !KNOWN_EXTENSIONS.contains(&oid.as_str()))
}

/// Why registries refuse everything that this certificate has signed.
fn unfit(certificate: &X509Certificate<'_>) -> Vec<AuthorityProblem> {
    let name = || certificate.subject().to_string();
    let mut problems = Vec::new();
    match mark(certificate) {
        Some((true, _)) => {}
        // A certificate of version 1 cannot have the mark, and is accepted as a root.
        None if certificate.version() != X509Version::V3 => {}
        Some((false, _)) | None => problems.push(AuthorityProblem::NotMarked(name())),
    }
    if may_not_sign(certificate) {
        problems.push(AuthorityProblem::MayNotSign(name()));
    }
    if let Err(kind) = kind_of_authority(certificate) {
        problems.push(AuthorityProblem::Kind(name(), kind));
    }
    if let Some(oid) = unknown_extension(certificate) {
        problems.push(AuthorityProblem::UnknownExtension(name(), oid));
    }
    problems
}

/// The signs that an authority signs other things than leaves for tokens.
fn not_for_tokens_alone(certificate: &X509Certificate<'_>) -> Option<AuthorityWarning> {
    let name = certificate.subject().to_string();
    if is_public_root(certificate.subject()) {
        return Some(AuthorityWarning::Public(name));
    }
    if let Ok(Some(usage)) = certificate.extended_key_usage()
        && (usage.value.server_auth || usage.value.client_auth || usage.value.any)
    {
        return Some(AuthorityWarning::ForTls(name));
    }
    let issuer = certificate.issuer();
    (issuer.as_raw() != certificate.subject().as_raw()).then(|| AuthorityWarning::Below(name, issuer.to_string()))
}

/// The time of a whole way from the leaf (first) to an authority.
///
/// # Errors
/// Why registries refuse it.
fn allowed(path: &[&X509Certificate<'_>], root: &X509Certificate<'_>) -> Result<Window, ChainProblem> {
    let above: Vec<&X509Certificate<'_>> = path.iter().skip(1).copied().chain([root]).collect();
    for (between, certificate) in above.iter().enumerate() {
        let name = || certificate.subject().to_string();
        let is_root = between + 1 == above.len();
        let limit = match mark(certificate) {
            Some((true, limit)) => limit,
            // Looked at when the file was read.
            Some((false, _)) | None if is_root => None,
            Some((false, _)) | None => return Err(ChainProblem::NotMarked(name())),
        };
        if may_not_sign(certificate) {
            return Err(ChainProblem::MayNotSign(name()));
        }
        if limit.is_some_and(|limit| usize::try_from(limit).is_ok_and(|limit| between > limit)) {
            return Err(ChainProblem::PathLength { authority: name(), between });
        }
        for below in path.iter().take(between + 1) {
            names::within(below, certificate)?;
        }
    }
    if let Some((certificate, oid)) = path.iter().find_map(|one| Some((one, unknown_extension(one)?))) {
        return Err(ChainProblem::UnknownExtension(certificate.subject().to_string(), oid));
    }
    let (begins, authority_until) = window(root);
    let start = Window { from: begins, until: authority_until, authority_until };
    Ok(path.iter().map(|certificate| window(certificate)).fold(start, |whole, (begins, ends)| Window {
        from: whole.from.max(begins),
        until: whole.until.min(ends),
        ..whole
    }))
}
