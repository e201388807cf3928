//! The folder in which certificate and account key are kept, with the names and forms of files that docker_auth's has: what it had
//! ordered is used, and the other way round. Replicas share it.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use settings::ShownPath;
use settings::files::read_pem;

use super::settings::Settings;
use super::shown::Held;
use crate::keys::replace_private;
use crate::pem::{self, KeyBlock};

/// The file of the account's key.
const ACCOUNT: &str = "acme_account+key";
/// What the name of the file ends with that answers a challenge.
const CHALLENGE: &str = "+token";
/// The same of the one that is locked while somebody orders.
const LOCK: &str = "+lock";
/// How the line begins that says who issued a certificate. Readers of PEM skip it.
const ISSUED_BY: &str = "Ordered at ";

/// The folder, for one name.
pub(super) struct Cache {
    folder: PathBuf,
    host: String,
    authority: String,
}

impl Cache {
    pub(super) fn new(settings: &Settings) -> Cache {
        Cache {
            folder: settings.cache_dir.clone(),
            host: settings.host.clone(),
            authority: settings.directory_url.to_string(),
        }
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}{ending}", self.host))
    }

    /// The certificate that is kept.
    ///
    /// # Errors
    /// It cannot be read, or is not of use: where, and why.
    pub(super) fn certificate(&self) -> Result<Option<Held>, String> {
        let path = self.file("");
        let Some(text) = read(&path)? else { return Ok(None) };
        let mut held = Held::from_pem(&text, &self.host).map_err(|what| format!("{}: {what}", ShownPath(&path)))?;
        let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let ordered_at = first.strip_prefix(ISSUED_BY.as_bytes());
        held.is_elsewhere = ordered_at.is_some_and(|at| at != self.authority.as_bytes());
        Ok(Some(held))
    }

    /// Keeps a certificate with its key, as one PEM text.
    ///
    /// # Errors
    /// It could not be written.
    pub(super) fn keep_certificate(&self, pem: &str) -> Result<(), String> {
        self.keep(&self.file(""), format!("{ISSUED_BY}{}\n{pem}", self.authority).as_bytes())
    }

    /// The account's key.
    ///
    /// # Errors
    /// It cannot be read, or is not of use.
    pub(super) fn account_key(&self) -> Result<Option<PrivatePkcs8KeyDer<'static>>, String> {
        let path = self.folder.join(ACCOUNT);
        let Some(text) = read(&path)? else { return Ok(None) };
        let key = KeyBlock::from_pem(&text).ok().and_then(|block| {
            // docker_auth's is written as RFC 5915 has it.
            EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &block.der).ok()?.to_pkcs8v1().ok()
        });
        match key {
            Some(key) => Ok(Some(PrivatePkcs8KeyDer::from(key.as_ref().to_vec()))),
            None => {
                Err(format!("{}: this is no key on P-256; move it away, and a new account is made", ShownPath(&path)))
            }
        }
    }

    /// Keeps the account's key.
    ///
    /// # Errors
    /// It could not be written.
    pub(super) fn keep_account_key(&self, key: &PrivatePkcs8KeyDer<'_>) -> Result<(), String> {
        self.keep(&self.folder.join(ACCOUNT), pem::write("PRIVATE KEY", key.secret_pkcs8_der()).as_bytes())
    }

    /// What answers the challenge that is under way: perhaps the authority asks another replica than the one that orders.
    pub(super) fn challenge(&self) -> Option<Vec<u8>> {
        read(&self.file(CHALLENGE)).ok().flatten()
    }

    /// Keeps it for the others.
    ///
    /// # Errors
    /// It could not be written.
    pub(super) fn keep_challenge(&self, pem: &str) -> Result<(), String> {
        self.keep(&self.file(CHALLENGE), pem.as_bytes())
    }

    /// The challenge is over. A file that stays answers nothing any more.
    pub(super) fn forget_challenge(&self) {
        drop(fs::remove_file(self.file(CHALLENGE)));
    }

    /// The leave to order, held as long as the file is open; nothing while another replica has it.
    ///
    /// # Errors
    /// It can be had by nobody.
    pub(super) fn lock(&self) -> Result<Option<File>, String> {
        self.make_folder()?;
        let path = self.file(LOCK);
        let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = opened.map_err(|cause| failed("write", &path, &cause))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(cause)) => Err(failed("lock", &path, &cause)),
        }
    }

    /// Makes the folder, for its owner alone.
    fn make_folder(&self) -> Result<(), String> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|cause| failed("make the folder", &self.folder, &cause))
    }

    fn keep(&self, path: &Path, content: &[u8]) -> Result<(), String> {
        self.make_folder()?;
        replace_private(path, content).map_err(|cause| failed("write", path, &cause))
    }
}

/// A file of the folder; nothing where there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match path.try_exists() {
        Ok(false) => Ok(None),
        Ok(true) => read_pem(path).map(Some),
        Err(cause) => Err(failed("look for", path, &cause)),
    }
}

fn failed(doing: &str, path: &Path, cause: &io::Error) -> String {
    format!(
        "could not {doing} {}: {cause}; make server.letsencrypt.cache_dir a folder that this user may write to",
        ShownPath(path)
    )
}
