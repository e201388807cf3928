//! Files that are written whole, with their permissions: where there is none yet, or in place of another.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::generate::{GenerateError, failed};
use crate::{owner, random};

/// Who may read a new file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    Owner,
    All,
}

/// Whose file is at a path.
pub(super) enum Placed {
    ByUs,
    AlreadyThere,
}

/// Puts a whole file at a path, unless there is one already.
pub(super) fn place(path: &Path, content: &[u8], readers: Readers) -> Result<Placed, GenerateError> {
    let directory = directory_of(path);
    make_directory(directory).map_err(failed("make the directory", directory))?;
    let draft = draft_beside(path).map_err(failed("find a name beside", path))?;

    // An error names the path: the draft's name tells nobody anything.
    write_new(&draft, content, readers, keep).map_err(failed("write", path))?;
    // A hard link, unlike a rename, fails when the name is taken.
    let linked = fs::hard_link(&draft, path);
    let removed = fs::remove_file(&draft);
    let placed = match linked {
        Ok(()) => {
            // A draft that stays is a second copy of the key, unknown to its owner.
            removed.map_err(failed("remove the draft beside", path))?;
            Placed::ByUs
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Placed::AlreadyThere,
        // Some file systems (FAT, some shared folders) have no hard links. There the file is written in place: only one
        // process can create it all the same, but another may see it half written, and then stops with an error.
        Err(_) => match write_new(path, content, readers, keep) {
            Ok(()) => Placed::ByUs,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Placed::AlreadyThere,
            Err(error) => return Err(failed("write", path)(error)),
        },
    };
    flush(directory);
    Ok(placed)
}

/// Puts a whole file at a path, in place of whatever is there: whoever reads it finds the old one or the new one.
pub(super) fn replace(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    let directory = directory_of(path);
    make_directory(directory)?;
    let draft = draft_beside(path)?;
    // A server goes on with a leaf that root has made anew.
    write_new(&draft, content, readers, owner::give)?;
    if let Err(error) = fs::rename(&draft, path) {
        // A draft that stays is a second copy of the key, unknown to its owner.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    flush(directory);
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// A name in the same directory that nobody has.
fn draft_beside(path: &Path) -> io::Result<PathBuf> {
    let random = random::bytes().map_err(io::Error::other)?;
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{:016x}.new", u64::from_be_bytes(random)));
    Ok(directory_of(path).join(name))
}

/// So that a power cut cannot lose the key and keep the certificate. Where directories cannot be flushed, the system decides
/// when that is.
fn flush(directory: &Path) {
    if let Ok(directory) = File::open(directory) {
        let _ = directory.sync_all();
    }
}

/// Leaves a file to whoever has made it.
fn keep(_: &File, _: &Path) {}

/// Creates a file that must not exist yet, says whose it is, and leaves nothing behind if writing fails.
fn write_new(path: &Path, content: &[u8], readers: Readers, give: impl FnOnce(&File, &Path)) -> io::Result<()> {
    let mut file = open_new(path, readers)?;
    give(&file, path);
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

/// Makes a directory that only its owner can write to, whatever the umask is.
fn make_directory(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)
}

fn open_new(path: &Path, readers: Readers) -> io::Result<File> {
    // The mode is given at creation: a later chmod would leave a moment in which others can open the key.
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::All => 0o644,
    };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}
