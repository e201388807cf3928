//! Whose a new file is: what a command of root makes in the server's folder is the server's.
//!
//! Otherwise `sudo dockwarden user add`, run before the server's first start, would leave records that the server cannot open. The owner of
//! the folder learns nothing by it that it could not have: it can put files of its own in the place of these.
//!
//! **The attack:** whoever has the folder and is not root puts a link to `/etc/shadow` where root is about to make a file, to be given that.
//! So only a file that this process has just made is given away, by its descriptor and not by its name; links are not followed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

use rustix::fs::OFlags;

/// Makes an empty file that only the owner of its folder can use; `None` if something is at the path already.
///
/// # Errors
/// It could not be made.
pub(crate) fn make(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => {
            give(&file, path);
            Ok(Some(file))
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a file, or makes it as [`make`] does.
///
/// # Errors
/// It could not be opened or made, or is a link.
pub(crate) fn open_or_make(path: &Path) -> io::Result<File> {
    let nofollow = OFlags::NOFOLLOW.bits().try_into().map_err(io::Error::other)?;
    match make(path)? {
        Some(made) => Ok(made),
        None => OpenOptions::new().write(true).custom_flags(nofollow).open(path),
    }
}

/// Gives a file that this process has just made to the owner of its folder, if this process is root's.
///
/// Where that cannot be done (root of a container without that right), the file stays root's, which nobody gains by.
pub(crate) fn give(file: &File, path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    if let Ok(folder) = fs::metadata(folder) {
        let _ = fchown(file, Some(folder.uid()), Some(folder.gid()));
    }
}
