//! Certificates and keys in files that the configuration names.

use std::fmt::Display;
use std::path::PathBuf;

use settings::files::read_pem;
use settings::{At, Noted, Section};

use super::PairFile;
use super::tls::{Authorities, TlsIdentity, TlsProblem};

/// A file, and the key that names it.
pub(crate) type NamedFile<'key> = (&'key At<PathBuf>, &'key str);

/// The authorities of the file that a key names; none where it is left alone.
///
/// # Errors
/// What is wrong with the file is noted.
pub(crate) fn read_authorities(section: &Section<'_>, file: &At<PathBuf>, key: &str) -> Result<Authorities, Noted> {
    let read = section
        .read_file(file, key, |path| Authorities::from_pem(&read_pem(path)?).map_err(|problem| problem.to_string()));
    Ok(read?.unwrap_or_else(Authorities::unread))
}

/// What `parse` makes of a certificate's file and its key's. `Ok(None)` where such files are left alone. `about` is the file
/// of the pair that a problem is about.
///
/// # Errors
/// What is wrong with either file is noted, all at once.
pub(crate) fn read_pair<T, P: Display>(
    section: &Section<'_>,
    certificate: NamedFile<'_>,
    key: NamedFile<'_>,
    parse: impl FnOnce(&[u8], &[u8]) -> Result<T, Vec<P>>,
    about: impl Fn(&P) -> PairFile,
) -> Result<Option<T>, Noted> {
    let read = |(at, key): NamedFile<'_>| section.read_file(at, key, read_pem);
    let (certificate_pem, key_pem) = (read(certificate), read(key));
    let (Some(certificate_pem), Some(key_pem)) = (certificate_pem?, key_pem?) else { return Ok(None) };
    parse(&certificate_pem, &key_pem).map(Some).map_err(|problems| {
        for problem in problems {
            let (at, key) = match about(&problem) {
                PairFile::Certificate => certificate,
                PairFile::Key => key,
            };
            section.problem(&at.place, key, problem.to_string());
        }
        Noted
    })
}

/// The pair for TLS in one file. `hint` says which file is meant.
///
/// # Errors
/// What is wrong with the file is noted, once.
pub(crate) fn read_pair_in_one(
    section: &Section<'_>,
    (file, key): NamedFile<'_>,
    hint: &str,
) -> Result<Option<TlsIdentity>, Noted> {
    section.read_file(file, key, |path| {
        let both = read_pem(path)?;
        TlsIdentity::from_pem(&both, &both).map_err(|problems| {
            let first = problems.first().map(TlsProblem::to_string).unwrap_or_default();
            format!("{first}; {hint} must hold the certificate and its key")
        })
    })
}
