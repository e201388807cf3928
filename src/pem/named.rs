//! Certificates and keys in files that the configuration names.

use std::path::PathBuf;

use settings::files::read_pem;
use settings::{At, Noted, Section};

use super::tls::Authorities;

/// The authorities of the file that a key names; none where it is left alone.
///
/// # Errors
/// What is wrong with the file is noted.
pub(crate) fn read_authorities(section: &Section<'_>, file: &At<PathBuf>, key: &str) -> Result<Authorities, Noted> {
    let read = section
        .read_file(file, key, |path| Authorities::from_pem(&read_pem(path)?).map_err(|problem| problem.to_string()));
    Ok(read?.unwrap_or_else(Authorities::unread))
}
