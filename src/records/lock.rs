//! The lock beside a database of SQLite: all who use it share it, and who puts another in its place has it alone.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Failure;
use crate::owner;

/// How somebody has the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holding {
    /// With others.
    Shared,
    /// Alone.
    Alone,
    /// Without a lock: a backup, or a file that nobody else knows of.
    Unlocked,
}

/// Why it was not taken.
pub(super) enum NotTaken {
    /// Others hold it.
    InUse(Failure),
    /// Its file cannot be made, and so the database's neither.
    Unmade(Failure),
}

/// Held as long as this lives, and no longer than the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// The lock's file. Not the database's own: closing that would let go of what SQLite holds.
fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

impl Lock {
    /// Takes it, or finds that it cannot be had now.
    pub(super) fn take(database: &Path, holding: Holding) -> Result<Option<Lock>, NotTaken> {
        let operation = match holding {
            Holding::Shared => FlockOperation::NonBlockingLockShared,
            Holding::Alone => FlockOperation::NonBlockingLockExclusive,
            Holding::Unlocked => return Ok(None),
        };
        let path = beside(database);
        let file = owner::open_or_make(&path).map_err(|error| unmade(&path, error))?;
        match flock(&file, operation) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(Errno::WOULDBLOCK) => Err(NotTaken::InUse(Failure::Away {
                cause: match holding {
                    Holding::Shared | Holding::Unlocked => {
                        format!("a backup is being restored into {}", database.display())
                    }
                    Holding::Alone => format!(
                        "{} is in use; stop the server that has it (and commands that use it), and try again",
                        database.display()
                    ),
                },
            })),
            Err(error) => Err(unmade(&path, error)),
        }
    }
}

fn unmade(path: &Path, error: impl std::fmt::Display) -> NotTaken {
    NotTaken::Unmade(Failure::Away { cause: format!("{}: {error}", path.display()) })
}
