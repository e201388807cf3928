//! Files that are only in memory: the driver takes certificates and keys by their path alone.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;

use super::settings::{ClientCertificate, TlsFiles};

/// What the driver is to read, as long as this lives. It reads again for each server that it learns of.
///
/// It gets what our own reader of PEM has read, and never the file itself: its reader quotes the line that it cannot read in
/// its error, and a file can be replaced between our look and its own.
#[derive(Debug)]
pub(super) struct DriverFiles {
    authority: Option<File>,
    client: Option<File>,
}

impl DriverFiles {
    /// These certificates and keys.
    ///
    /// # Errors
    /// The system has no memory for files.
    pub(super) fn new(tls: &TlsFiles) -> io::Result<DriverFiles> {
        let client = tls.client.as_ref().and_then(|client| match client {
            ClientCertificate::Read(identity) => Some(identity.to_pem()),
            ClientCertificate::LeftAlone => None,
        });
        Ok(DriverFiles {
            authority: tls.authority.as_ref().map(|authority| in_memory(&authority.to_pem())).transpose()?,
            client: client.as_deref().map(in_memory).transpose()?,
        })
    }

    /// The path of the authorities' certificates.
    pub(super) fn authority(&self) -> Option<PathBuf> {
        self.authority.as_ref().map(path)
    }

    /// The path of our certificate and key.
    pub(super) fn client(&self) -> Option<PathBuf> {
        self.client.as_ref().map(path)
    }
}

/// A new file that has no name, and that no program we start inherits.
fn in_memory(text: &str) -> io::Result<File> {
    let made = match memfd_create("tls", MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL) {
        // Before Linux 6.3 the second flag is unknown; since then a system may demand it.
        Err(Errno::INVAL) => memfd_create("tls", MemfdFlags::CLOEXEC),
        made => made,
    };
    let mut file = File::from(made?);
    file.write_all(text.as_bytes())?;
    Ok(file)
}

fn path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
